//! rtpengine as the recorder's media side: it decrypts what we send with the keys that were negotiated, and passes it on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::net::{free_rtp_port, free_udp_port, wait_for_udp};
use siprec_system_tests::process::Process;
use siprec_system_tests::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(20);
/// The suites that it knows.
const SUITES: [&str; 5] = [
    "AEAD_AES_256_GCM",
    "AES_256_CM_HMAC_SHA1_80",
    "AEAD_AES_128_GCM",
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
];

/// The payloads of each stream of a short call, as rtpengine has decrypted them, and as they were said.
fn witnessed(suite: &str) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (control, first) = (free_udp_port()?, free_rtp_port()?);
    let mut command = sandbox.command("rtpengine");
    command.args(["--foreground", "--log-stderr", "--log-level=6", "--table=-1", "--interface=127.0.0.1"]);
    command.arg(format!("--listen-ng=127.0.0.1:{control}"));
    command.arg(format!("--port-min={first}"));
    // It passes over ports that others have.
    command.arg(format!("--port-max={}", first.saturating_add(400)));
    let engine = Process::start(&sandbox, "rtpengine", &mut command)?;
    wait_for_udp(control, PATIENCE).with_context(|| engine.output())?;
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/witness.py")).arg(format!("127.0.0.1:{control}"));
    let mut witness = Process::start(&sandbox, "witness", &mut command)?;
    let listening = witness.wait_for_line("listening", PATIENCE)?;
    let port = listening.split_whitespace().nth(1).context("no port")?;

    let properties = format!(
        "recorder=sip:127.0.0.1:{port} srtp=require allow-clear-keys=true srtp-suites={suite} dn=1 other-dn=2"
    );
    let mut call = Call::start(&sandbox, &properties)?;
    let said = [babble(0, 2), babble(1, 2)];
    call.talk_untouched(&said)?;
    call.hang_up()?;
    let printed = witness.succeed(PATIENCE).with_context(|| engine.output())?;
    for (party, said) in said.iter().enumerate() {
        let wanted = format!("stream {party}:");
        let heard = printed.lines().find_map(|line| line.strip_prefix(&wanted)).context("no such stream")?;
        let heard: Vec<_> = heard.split_whitespace().collect();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let said: Vec<_> = said.iter().map(|packet| hex(&packet.payload)).collect();
        ensure!(said.len() == heard.len(), "{suite}: {} packets said, {} decrypted", said.len(), heard.len());
        ensure!(
            said.iter().zip(heard).all(|(said, heard)| said == heard),
            "{suite}: party {party} said else"
        );
    }
    Ok(())
}

#[test]
fn rtpengine_decrypts_every_packet_of_each_suite() {
    for suite in SUITES {
        witnessed(suite).unwrap();
    }
}
