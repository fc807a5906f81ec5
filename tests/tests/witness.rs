//! rtpengine as the recorder's media side: it decrypts what we send with the keys that were negotiated, and passes it on.
//! Its handshakes of DTLS are OpenSSL's.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::net::{OwnPorts, free_udp_port, wait_for_udp};
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

/// A running rtpengine.
struct Rtpengine {
    sandbox: Sandbox,
    process: Process,
    control: u16,
    _ports: OwnPorts,
}

impl Rtpengine {
    fn start(arguments: &[&str]) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let (control, ports) = (free_udp_port()?, OwnPorts::claim()?);
        // Without a configuration of its own it takes the system's, and that one's fixed ports.
        let configuration = sandbox.join("rtpengine.conf");
        std::fs::write(&configuration, "[rtpengine]\n")?;
        let mut command = sandbox.command("rtpengine");
        command.arg("--config-file").arg(&configuration).args(arguments);
        command.args([
            "--foreground",
            "--log-stderr",
            "--log-level=6",
            "--table=-1",
            // Several threads take a socket's datagrams in turn, and one of media may pass that which ends the handshake.
            "--num-threads=1",
            "--interface=127.0.0.1",
        ]);
        command.arg(format!("--listen-ng=127.0.0.1:{control}"));
        command.args([format!("--port-min={}", ports.first), format!("--port-max={}", ports.last)]);
        let process = Process::start(&sandbox, "rtpengine", &mut command)?;
        wait_for_udp(control, PATIENCE).with_context(|| process.output())?;
        Ok(Self { sandbox, process, control, _ports: ports })
    }

    /// A recorder that answers with these options of `witness.py` and waits for so many packets of a stream, and a call that is
    /// recorded there.
    fn answer(&self, properties: &str, packets: usize, options: &[&str]) -> Result<(Process, Call)> {
        let Self { sandbox, control, .. } = self;
        let mut command = sandbox.command("/usr/bin/python3");
        command.arg(sandbox.source().join("tests/support/witness.py")).arg(format!("127.0.0.1:{control}"));
        let mut witness = Process::start(sandbox, "witness", command.arg(packets.to_string()).args(options))?;
        let listening = witness.wait_for_line("listening", PATIENCE)?;
        let port = listening.split_whitespace().nth(1).context("no port")?;
        // A busy machine may be late with a handshake.
        let properties = format!(
            "recorder=sip:127.0.0.1:{port} srtp=require {properties} dn=1 other-dn=2 stop-timeout=15000000000"
        );
        Ok((witness, Call::start(sandbox, &properties)?))
    }

    /// Has a short call recorded: the payloads of each stream are as they were said after rtpengine has decrypted them. Gives
    /// what `witness.py` has printed.
    fn decrypts(&self, properties: &str, options: &[&str]) -> Result<String> {
        let said = [babble(0, 2), babble(1, 2)];
        let (mut witness, mut call) = self.answer(properties, said[0].len(), options)?;
        call.talk_untouched(&said)?;
        call.relay.signal("INT")?;
        let relay = call.relay.succeed(PATIENCE)?;
        let printed = witness.succeed(PATIENCE).with_context(|| self.process.output())?;
        for (party, said) in said.iter().enumerate() {
            let wanted = format!("stream {party}:");
            let heard =
                printed.lines().find_map(|line| line.strip_prefix(&wanted)).context("no such stream")?;
            let heard: Vec<_> = heard.split_whitespace().collect();
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let said: Vec<_> = said.iter().map(|packet| hex(&packet.payload)).collect();
            let counts = format!("{properties}: {} packets said, {} decrypted", said.len(), heard.len());
            let missing: Vec<_> = (0..said.len()).filter(|at| !heard.contains(&said[*at].as_str())).collect();
            ensure!(
                said.len() == heard.len(),
                "{counts}, missing {missing:?}\n{relay}\n{}",
                self.process.output()
            );
            ensure!(
                said.iter().zip(heard).all(|(said, heard)| said == heard),
                "{properties}: {party} said else"
            );
        }
        Ok(printed)
    }
}

#[test]
fn rtpengine_decrypts_every_packet_of_each_suite() {
    let engine = Rtpengine::start(&[]).unwrap();
    for suite in SUITES {
        engine.decrypts(&format!("allow-clear-keys=true srtp-suites={suite}"), &[]).unwrap();
    }
}

#[test]
fn rtpengine_shakes_hands_whoever_begins_and_decrypts_every_packet() {
    let engine = Rtpengine::start(&[]).unwrap();
    for (setup, options) in [("active", &[][..]), ("passive", &["--passive"])] {
        let printed = engine.decrypts("srtp-keying=dtls", options).unwrap();
        let answered = format!("a=setup:{setup}");
        assert_eq!(printed.lines().filter(|line| *line == answered).count(), 2, "{setup}");
        assert!(!printed.contains("a=crypto"), "{setup}: the handshake is the only source of keys");
    }
    // RTP and RTCP of two streams, of two calls.
    let ended = engine.process.output().matches("DTLS-SRTP successfully negotiated").count();
    assert_eq!(ended, 8, "{}", engine.process.output());
}

/// No certificate of RSA is spoken: nothing is sent, what to look at is told, and the call goes on.
#[test]
fn rtpengine_with_a_certificate_of_rsa_gets_nothing_and_the_reason_is_told() {
    let engine = Rtpengine::start(&["--dtls-cert-cipher=RSA"]).unwrap();
    let (mut witness, mut call) = engine.answer("srtp-keying=dtls", 0, &[]).unwrap();
    let said = [babble(0, 1), babble(1, 1)];
    call.talk_untouched(&said).unwrap();
    let failed = call.relay.wait_for_line("siprec-failed", 2 * PATIENCE).unwrap();
    assert!(failed.contains("shown\\ no\\ certificate") && failed.contains("not\\ of\\ ECDSA"), "{failed}");
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    let heard = witness.succeed(PATIENCE).unwrap();
    for stream in ["stream 0:", "stream 1:"] {
        assert!(heard.lines().any(|line| line == stream), "{heard}");
    }
}
