//! Encrypted calls and encrypted recordings through real programs: `srtpenc` of GStreamer makes the call's packets, `srtpdec`
//! in the reference recorder opens what it is sent (both libsrtp).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::process::Process;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;

const PATIENCE: Duration = Duration::from_secs(20);
const AUDIO: &str = "audiotestsrc is-live=true num-buffers=350 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! \
                     mulawenc ! rtppcmupay max-ptime=20000000";
const VIDEO: &str = "videotestsrc is-live=true pattern=ball num-buffers=175 ! \
                     video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! \
                     vp8enc deadline=1 keyframe-max-dist=25 ! rtpvp8pay pt=96";

/// A key and salt for AES_CM_128_HMAC_SHA1_80, in hexadecimal.
fn key(mark: u8) -> String {
    (0..30u8).map(|byte| format!("{:02x}", byte.wrapping_mul(37) ^ mark)).collect()
}

/// A call of audio and video of one party, and audio of the other, seven seconds long: whether the call is encrypted, and
/// whether its recording is.
fn recorded(properties: &str, is_call_secured: bool, is_recording_secured: bool) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let lock = |mark| if is_call_secured { format!("! srtpenc key={} ", key(mark)) } else { String::new() };
    let pipeline = format!(
        "siprec name=rec recorder={} dn=1001 other-dn=1002 sink_2::dn=1001 stop-timeout=10000000000 {properties} \
         {AUDIO} {}! rec.sink_0 rec.src_0 ! fakesink {AUDIO} {}! rec.sink_1 rec.src_1 ! fakesink \
         {VIDEO} {}! rec.sink_2 rec.src_2 ! fakesink",
        recorder.uri(),
        lock(1),
        lock(2),
        lock(3)
    );
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/relay.py")).arg(&pipeline);
    let mut relay = Process::start_led(&sandbox, "relay", &mut command)?;
    let session = recorder.sessions(1, 2 * PATIENCE).with_context(|| relay.output())?.remove(0);
    relay.say("quit")?;
    let printed = relay.succeed(PATIENCE)?;
    let streams = session.json["streams"].as_array().context("no streams")?;
    ensure!(streams.len() == 3, "{streams:?}");
    for stream in streams {
        ensure!(stream["srtp"].is_object() == is_recording_secured, "{stream}");
        ensure!(stream["lost"] == 0, "{stream}");
        ensure!(stream["sender_reports"].as_u64() > Some(0), "no SRTCP was understood: {stream}");
        if is_recording_secured {
            ensure!(stream["srtp"]["packets"] == stream["packets"], "{stream}");
            ensure!(stream["srtp"]["not_authentic"] == 0, "{stream}");
        }
        if stream["medium"] == "audio" {
            ensure!(stream["packets"] == 350, "{stream}");
        }
    }
    let (_, channels) = wav::channels(&session.wav())?;
    let loud: Vec<_> = channels.iter().map(|channel| wav::rms(channel)).collect();
    ensure!(loud.len() == 2 && loud.iter().all(|loudness| *loudness > 1000.0), "{loud:?}");
    // The recorder's receiver reports have come back, under its own key where there are keys.
    let reports = printed.lines().filter(|line| line.contains("siprec-report")).collect::<Vec<_>>();
    ensure!(reports.len() == 3, "{reports:?}");
    for report in reports {
        ensure!(report.contains("receiver-lost=(int)0"), "{report}");
        ensure!(report.contains("gaps=(guint64)0"), "{report}");
    }
    Ok(())
}

#[test]
fn a_plain_call_is_recorded_plain() {
    recorded("", false, false).unwrap();
}

#[test]
fn a_plain_call_is_recorded_encrypted() {
    recorded("srtp=require allow-clear-keys=true", false, true).unwrap();
}

#[test]
fn an_encrypted_call_is_recorded_encrypted() {
    recorded("allow-clear-keys=true srtp-suites=AEAD_AES_256_GCM", true, true).unwrap();
}

#[test]
fn an_encrypted_call_is_recorded_plain_where_that_is_allowed() {
    recorded("srtp=disable allow-downgrade=true", true, false).unwrap();
}
