//! Encrypted calls and encrypted recordings through real programs: `srtpenc` of GStreamer makes the call's packets, `srtpdec`
//! in the reference recorder opens what it is sent (both libsrtp).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::net::{free_udp_port, wait_for_udp};
use siprec_system_tests::process::{Process, run};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::wav;
use siprec_system_tests::wiretap::Wiretap;

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

/// A key as it might be found: its bytes, in hexadecimal, in base64.
struct Secret {
    what: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn new(what: &str, bytes: &[u8]) -> Self {
        // The master key alone, too: what is found of it may end where it does.
        let parts = [&bytes[..bytes.len() / 3 * 3], &bytes[..15]];
        let forms = parts.iter().flat_map(|part| {
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            let listed = format!("{part:?}");
            let inside = listed.trim_matches(['[', ']']).to_owned();
            [
                part.to_vec(),
                hex.to_uppercase().into_bytes(),
                hex.into_bytes(),
                base64(part).into_bytes(),
                inside.into_bytes(),
            ]
        });
        Self { what: what.to_owned(), forms: forms.collect() }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| text.windows(form.len()).any(|window| window == form))
    }
}

/// Base64 without padding, of a multiple of three bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(bytes.len() % 3, 0);
    let triple = |triple: &[u8]| {
        let bits = triple.iter().fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| LETTERS[bits >> shift & 63] as char)
    };
    bytes.chunks(3).flat_map(triple).collect()
}

fn unbase64(text: &str) -> Vec<u8> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters: Vec<_> = text.trim_end_matches('=').chars().map(|c| LETTERS.find(c).unwrap()).collect();
    let group = |group: &[usize]| {
        let bits = group.iter().fold(0, |bits, letter| bits << 6 | letter) << (6 * (4 - group.len()));
        [16, 8, 0].map(|shift| (bits >> shift) as u8).into_iter().take(group.len() - 1).collect::<Vec<_>>()
    };
    letters.chunks(4).flat_map(group).collect()
}

fn every_file(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            every_file(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn no_key_is_in_any_log_graph_message_or_file_of_an_encrypted_call() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let wiretap = Wiretap::before(recorder.address().parse().unwrap()).unwrap();
    let ports = [free_udp_port().unwrap(), free_udp_port().unwrap()];
    // Of the phones, one process knows the keys; of the relay, the application alone.
    let keys = [key(0x51), key(0xA7)];
    let caps = "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0";
    let relay = format!(
        "siprec name=rec recorder=sip:{};transport=tcp allow-clear-keys=true dn=1001 other-dn=1002 \
         udpsrc address=127.0.0.1 port={} caps={caps} ! rec.sink_0 rec.src_0 ! fakesink \
         udpsrc address=127.0.0.1 port={} caps={caps} ! rec.sink_1 rec.src_1 ! fakesink",
        wiretap.address(),
        ports[0],
        ports[1]
    );
    let kept = sandbox.join("kept");
    std::fs::create_dir(&kept).unwrap();
    let mut command = sandbox.command("/usr/bin/python3");
    command.arg(sandbox.source().join("tests/support/relay.py")).arg(&relay);
    command
        .env("GST_DEBUG", "*:6,siprec*:9,GST_CAPS:9,GST_EVENT:9,GST_BUS:9,GST_SIGNAL:9")
        .env("GST_DEBUG_NO_COLOR", "1");
    command.env("GST_DEBUG_FILE", kept.join("gst.log")).env("GST_DEBUG_DUMP_DOT_DIR", &kept);
    let mut relay = Process::start_led(&sandbox, "relay", &mut command).unwrap();
    ports.iter().for_each(|port| wait_for_udp(*port, PATIENCE).unwrap());

    let bytes = |key: &str| {
        (0..30)
            .map(|place| u8::from_str_radix(&key[2 * place..2 * place + 2], 16).unwrap())
            .collect::<Vec<_>>()
    };
    let line = |key: &str| format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", base64(&bytes(key)));
    let sdp = sandbox.join("1001.sdp");
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n";
    std::fs::write(&sdp, format!("{head}a=crypto:{}\r\n", line(&keys[0]))).unwrap();
    let orders = [format!("sdp 1001 {}", sdp.display()), format!("keys sink_1 {}", line(&keys[1]))];
    for (order, done) in orders.iter().zip(["done: set-party-sdp", "done: keys"]) {
        relay.say(order).unwrap();
        relay.wait_for_line(done, PATIENCE).unwrap();
    }
    let phone = |key: &str, port: u16| {
        format!("{} ! srtpenc key={key} ! udpsink host=127.0.0.1 port={port} ", AUDIO.replace("350", "150"))
    };
    let phones = phone(&keys[0], ports[0]) + &phone(&keys[1], ports[1]);
    let (status, printed) = run(&sandbox, "phones", &mut sandbox.gst_launch(&phones), PATIENCE).unwrap();
    assert!(status.success(), "{printed}");
    relay.say("dot").unwrap();
    relay.wait_for_line("done: dot", PATIENCE).unwrap();
    relay.say("quit").unwrap();
    relay.succeed(PATIENCE).unwrap();
    let session = recorder.sessions(1, PATIENCE).unwrap().remove(0);
    for stream in session.json["streams"].as_array().unwrap() {
        assert_eq!((&stream["packets"], &stream["lost"]), (&150.into(), &0.into()), "{stream}");
        assert!(stream["srtp"].is_object(), "{stream}");
    }

    // The keys of the recording, as the wire has them.
    let heard: Vec<u8> = wiretap.heard().into_iter().flat_map(|segment| segment.bytes).collect();
    let heard = String::from_utf8_lossy(&heard);
    let inline: BTreeSet<_> =
        heard.match_indices("inline:").map(|(at, word)| &heard[at + word.len()..]).collect();
    let inline = inline.into_iter().map(|rest| rest.split(['|', '\r', ' ']).next().unwrap());
    let mut secrets: Vec<_> = inline.map(|key| Secret::new("of the recording", &unbase64(key))).collect();
    assert!(secrets.len() >= 6, "two lines of two suites, and two answers: {}", secrets.len());
    secrets.extend(keys.iter().map(|key| Secret::new("of the call", &bytes(key))));
    assert!(secrets[0].is_in(heard.as_bytes()), "the search finds what is there");

    std::fs::write(kept.join("printed"), relay.output()).unwrap();
    let mut files = Vec::new();
    every_file(&kept, &mut files).unwrap();
    every_file(recorder.folder(), &mut files).unwrap();
    let names: Vec<_> =
        files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for wanted in ["gst.log", "printed", "session.json", "ladder.txt"] {
        assert!(names.iter().any(|name| name == wanted), "{names:?}");
    }
    assert!(names.iter().any(|name| name.ends_with(".dot")), "{names:?}");
    let log = std::fs::read_to_string(kept.join("gst.log")).unwrap();
    assert!(log.contains("a=crypto:1 AEAD_AES_128_GCM inline:<redacted>"), "SIP is logged");
    for file in files {
        let text = std::fs::read(&file).unwrap();
        for secret in &secrets {
            assert!(!secret.is_in(&text), "a key {} is in {}", secret.what, file.display());
        }
    }
}
