//! Ordinary phones as recorders: they know nothing of recording, refuse the second m-line (port 0), hold, refresh and hang
//! up as phones do. The session runs with what they take.

use std::f64::consts::TAU;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::Call;
use siprec_system_tests::net::{free_rtp_port, free_udp_port, wait_for_udp};
use siprec_system_tests::pjsua::Pjsua;
use siprec_system_tests::process::Process;
use siprec_system_tests::rtp::{Packet, packetize};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

/// What the first and the second party hum, in Hz.
const TONES: [f64; 2] = [500.0, 1300.0];

/// A relay with a phone as its recorder.
fn call(sandbox: &Sandbox, recorder: &str) -> Result<Call> {
    Call::start_led(
        sandbox,
        &format!("recorder={recorder} recording-id=R1 call-uuid=C1 dn=1001 other-dn=1002"),
    )
}

/// Both parties hum, from second `from` of their streams on.
fn hum(call: &Call, from: usize, seconds: usize) -> Result<()> {
    let said = [0, 1].map(|party| stream(party, from + seconds)[from * 50..].to_vec());
    call.talk_untouched(&said)
}

fn stream(party: usize, seconds: usize) -> Vec<Packet> {
    let tone = |n: usize| encode((8000.0 * (TAU * TONES[party] * n as f64 / 8000.0).sin()) as i16);
    // Both tones begin again after 80 samples.
    let period: Vec<u8> = (0..80).map(tone).collect();
    let samples = period.repeat(seconds * 100);
    packetize(&samples, 0, 0x2000_0000 + party as u32, 100, 1000)
}

/// The code of G.711 that comes nearest.
fn encode(sample: i16) -> u8 {
    let distance = |code: &u8| (i32::from(wav::decode_ulaw(*code)) - i32::from(sample)).abs();
    (0..=255).min_by_key(distance).unwrap_or(0xff)
}

/// How much of a sound is at this frequency: 1 for a pure tone of it.
fn share(samples: &[i16], frequency: f64) -> f64 {
    let (mut real, mut imaginary, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().map(|sample| f64::from(*sample)).enumerate() {
        let angle = TAU * frequency * n as f64 / 8000.0;
        real += sample * angle.cos();
        imaginary += sample * angle.sin();
        energy += sample * sample;
    }
    2.0 * (real * real + imaginary * imaginary) / (energy * samples.len() as f64).max(1.0)
}

/// The loudest half second that a phone heard is the first party's hum, and nowhere is the second one's.
fn ensure_heard_first(file: &Path) -> Result<()> {
    let (rate, channels) = wav::channels(file)?;
    ensure!(!channels.is_empty() && rate % 8000 == 0, "{rate} Hz, {} channels", channels.len());
    let samples: Vec<i16> = channels[0].iter().copied().step_by(rate as usize / 8000).collect();
    let windows: Vec<_> = samples.chunks_exact(400).collect();
    let own = windows.iter().map(|window| share(window, TONES[0])).fold(0.0, f64::max);
    let other = windows.iter().map(|window| share(window, TONES[1])).fold(0.0, f64::max);
    ensure!(own > 0.8 && other < 0.2, "the first party's share is {own:.2}, the second one's {other:.2}");
    Ok(())
}

const OFF: &str = "WARNING: The recording goes on without the audio";

#[test]
fn pjsua_refuses_the_second_line_and_records_the_first() {
    let sandbox = Sandbox::new().unwrap();
    let mut phone = Pjsua::start(&sandbox, 90).unwrap();
    let mut call = call(&sandbox, &phone.uri()).unwrap();
    hum(&call, 0, 1).unwrap();
    phone.wait_for("call: CONFIRMED", 1).unwrap();
    let warning = call.relay.wait_for_line(OFF, Duration::from_secs(10)).unwrap();
    assert!(warning.contains("the recorder refuses it"), "{warning}");

    // It refreshes by the same media, in both ways.
    phone.order("reinvite", "got: 200 INVITE").unwrap();
    phone.order("update", "got: 200 UPDATE").unwrap();
    // It holds the line: off until it takes that back.
    phone.order("hold", "got: 200 INVITE").unwrap();
    let off = |call: &Call| call.relay.output().lines().filter(|line| line.starts_with(OFF)).count();
    hum(&call, 1, 1).unwrap();
    assert_eq!(off(&call), 2, "{}", call.relay.output());
    phone.order("unhold", "got: 200 INVITE").unwrap();
    hum(&call, 2, 1).unwrap();
    assert_eq!(off(&call), 2, "{}", call.relay.output());

    // It answers our offers.
    call.order("action pause").unwrap();
    call.relay.wait_for_line("siprec-paused", Duration::from_secs(10)).unwrap();
    call.order("action resume").unwrap();
    call.relay.wait_for_line("siprec-resumed", Duration::from_secs(10)).unwrap();
    phone.wait_for("answered: 200 INVITE", 3).unwrap();
    hum(&call, 3, 1).unwrap();
    call.relay.say("quit").unwrap();
    call.relay.succeed(Duration::from_secs(10)).unwrap();
    phone.wait_for("call: DISCONNECTED", 1).unwrap();
    ensure_heard_first(&phone.finish().unwrap()).unwrap();
}

#[test]
fn pjsua_finds_the_interval_too_small_and_gets_its_own() {
    let sandbox = Sandbox::new().unwrap();
    let phone = Pjsua::start(&sandbox, 3600).unwrap();
    let mut call = call(&sandbox, &phone.uri()).unwrap();
    hum(&call, 0, 1).unwrap();
    phone.wait_for("call: CONFIRMED", 1).unwrap();
    call.order("action pause").unwrap();
    phone.wait_for("answered: 200 INVITE", 2).unwrap();
    call.relay.wait_for_line("siprec-paused", Duration::from_secs(10)).unwrap();
    assert!(!call.relay.output().contains("siprec-failed"), "{}", call.relay.output());
}

#[test]
fn pjsua_hangs_up_and_the_call_goes_on() {
    let sandbox = Sandbox::new().unwrap();
    let mut phone = Pjsua::start(&sandbox, 90).unwrap();
    let mut call = call(&sandbox, &phone.uri()).unwrap();
    hum(&call, 0, 1).unwrap();
    phone.wait_for("call: CONFIRMED", 1).unwrap();
    phone.order("hangup", "call: DISCONNECTED").unwrap();
    let stopped = call.relay.wait_for_line("siprec-stopped", Duration::from_secs(10)).unwrap();
    assert!(stopped.contains("recorder-bye"), "{stopped}");
    hum(&call, 1, 1).unwrap();
}

/// A baresip that answers, and prints at the end of the call how many packets it received.
fn baresip(sandbox: &Sandbox) -> Result<(Process, String)> {
    let folder = sandbox.join("baresip");
    std::fs::create_dir(&folder)?;
    let (sip, rtp) = (free_udp_port()?, free_rtp_port()?);
    let config = format!(
        "poll_method epoll\nsip_listen 127.0.0.1:{sip}\nnet_interface 127.0.0.1\nrtp_ports {rtp}-{}\n\
         module_path /usr/lib/baresip/modules\nmodule g711.so\nmodule_tmp account.so\nmodule_app menu.so\n\
         module_app rtcpsummary.so\n",
        rtp + 8,
    );
    std::fs::write(folder.join("config"), config)?;
    // It answers only for a user that it knows.
    let account = "<sip:record=R1@127.0.0.1>;regint=0;audio_codecs=PCMU;answermode=auto\n";
    std::fs::write(folder.join("accounts"), account)?;
    std::fs::write(folder.join("contacts"), "")?;
    let mut command = sandbox.command("baresip");
    command.arg("-f").arg(&folder).args(["-t", "30"]);
    let process = Process::start(sandbox, "baresip", &mut command)?;
    wait_for_udp(sip, Duration::from_secs(10)).with_context(|| process.output())?;
    Ok((process, format!("sip:127.0.0.1:{sip}")))
}

#[test]
fn baresip_refuses_the_second_line_and_records_the_first() {
    let sandbox = Sandbox::new().unwrap();
    let (mut phone, uri) = baresip(&sandbox).unwrap();
    let mut call = call(&sandbox, &uri).unwrap();
    hum(&call, 0, 1).unwrap();
    call.relay
        .wait_for_line("siprec-started", Duration::from_secs(10))
        .with_context(|| phone.output())
        .unwrap();
    let warning = call.relay.wait_for_line(OFF, Duration::from_secs(10)).unwrap();
    assert!(warning.contains("the recorder refuses it"), "{warning}");
    call.order("action pause").unwrap();
    call.relay.wait_for_line("siprec-paused", Duration::from_secs(10)).unwrap();
    call.order("action resume").unwrap();
    call.relay.wait_for_line("siprec-resumed", Duration::from_secs(10)).unwrap();
    hum(&call, 1, 1).unwrap();
    call.relay.say("quit").unwrap();
    let told = call.relay.succeed(Duration::from_secs(10)).unwrap();
    assert!(told.contains("siprec-stopped") && !told.contains("siprec-failed"), "{told}");
    let report =
        told.lines().find(|line| line.starts_with("siprec-report") && line.contains("dn=(string)1001"));
    assert!(report.unwrap().contains("sent=(guint64)100"), "{told}");
    // PR: packets received, PL: packets that it or we found lost. It counts its packets anew now and then, at the start
    // and when a hold ends, so that the whole is known from our own account only.
    let summary = phone.wait_for_line("EX=BareSip", Duration::from_secs(10)).unwrap();
    let received = summary.split(";PR=").nth(1).and_then(|rest| rest.split(';').next()?.parse::<u32>().ok());
    assert!(received.is_some_and(|received| (1..=100).contains(&received)), "{summary}");
    assert!(summary.contains(";PL=0,0;"), "{summary}");
}
