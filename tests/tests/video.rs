//! Calls with video: what GStreamer's encoders send is recorded packet for packet, and its decoders show every picture.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use siprec_system_tests::net::{free_udp_port, local, udp, wait_for_udp};
use siprec_system_tests::process::{Process, run};
use siprec_system_tests::recorder::{Recorder, Session};
use siprec_system_tests::rtp::Packet;
use siprec_system_tests::sandbox::Sandbox;

const PATIENCE: Duration = Duration::from_secs(20);
/// Pictures of each call: three seconds.
const PICTURES: usize = 75;

/// How a codec is sent and shown.
struct Codec {
    name: &'static str,
    encode: &'static str,
    decode: &'static str,
}

const VP8: Codec = Codec {
    name: "VP8",
    encode: "vp8enc deadline=1 keyframe-max-dist=25 ! rtpvp8pay pt=96",
    decode: "rtpvp8depay ! vp8dec",
};

const H264: Codec = Codec {
    name: "H264",
    encode: "openh264enc gop-size=25 ! rtph264pay pt=96 config-interval=-1",
    decode: "rtph264depay ! h264parse ! avdec_h264",
};

/// Records a call of audio and video of one party, and audio of the other. Gives the one session.
fn recorded(
    sandbox: &Sandbox,
    recorder: &Recorder,
    codec: &Codec,
    properties: &str,
) -> Result<(Session, String)> {
    let audio = "audiotestsrc is-live=true num-buffers=150 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! \
                 mulawenc ! rtppcmupay";
    let video = format!(
        "videotestsrc is-live=true pattern=ball num-buffers={PICTURES} ! \
         video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! {}",
        codec.encode
    );
    let pipeline = format!(
        "siprec name=rec recorder={} dn=1001 other-dn=1002 sink_2::dn=1001 stop-timeout=10000000000 {properties} \
         {audio} ! rec.sink_0 rec.src_0 ! fakesink {audio} ! rec.sink_1 rec.src_1 ! fakesink \
         {video} ! rec.sink_2 rec.src_2 ! fakesink",
        recorder.uri()
    );
    let (status, printed) = run(sandbox, "call", &mut sandbox.gst_launch(&pipeline), PATIENCE)?;
    ensure!(status.success(), "{printed}");
    let mut sessions = recorder.sessions(1, PATIENCE)?;
    Ok((sessions.remove(0), printed))
}

fn stream<'a>(session: &'a Session, medium: &str) -> Result<&'a Value> {
    let streams = session.json["streams"].as_array().context("no streams")?;
    streams
        .iter()
        .find(|stream| stream["medium"] == medium)
        .with_context(|| format!("no {medium}: {streams:?}"))
}

/// The RTP packets of an rtpdump file: a line and 16 bytes, then each with 8 bytes before it, RTCP with a length of 0.
fn packets(session: &Session, stream: &Value) -> Result<Vec<Vec<u8>>> {
    let name = stream["rtp_file"].as_str().context("its packets were not kept")?;
    let bytes = std::fs::read(session.folder.join(name))?;
    let line = bytes.iter().position(|byte| *byte == b'\n').context("no rtpdump")?;
    let mut rest = bytes.get(line + 17..).context("no header")?;
    let mut packets = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]])).saturating_sub(8);
        let packet = tail.get(..length).context("a torn packet")?;
        if head[2..4] != [0, 0] {
            packets.push(packet.to_vec());
        }
        rest = &tail[length..];
    }
    Ok(packets)
}

/// How many pictures GStreamer's decoder shows of these packets.
fn shown(sandbox: &Sandbox, codec: &Codec, packets: &[Vec<u8>]) -> Result<usize> {
    let port = free_udp_port()?;
    let pipeline = format!(
        "udpsrc address=127.0.0.1 port={port} \
         caps=application/x-rtp,media=video,clock-rate=90000,encoding-name={},payload=96 ! {} ! \
         fakesink name=shown silent=false sync=false",
        codec.name, codec.decode
    );
    let mut command = sandbox.gst_launch(&pipeline);
    command.arg("-v");
    let mut decoder = Process::start(sandbox, "decoder", &mut command)?;
    wait_for_udp(port, PATIENCE)?;
    let socket = udp()?;
    for packet in packets {
        socket.send_to(packet, local(port))?;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    // It has everything when nothing more is shown.
    let count = |text: &str| text.matches("shown:sink) (").count();
    let mut before = 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(500));
        let now = count(&decoder.output());
        if now == before && now > 0 {
            break;
        }
        before = now;
    }
    decoder.signal("INT")?;
    decoder.wait(PATIENCE)?;
    Ok(count(&decoder.output()))
}

fn every_picture_is_recorded(codec: &Codec) {
    let sandbox = Sandbox::new().unwrap();
    // The first pictures wait for the answer.
    let recorder = Recorder::start(&sandbox, &["--answer-after", "1"]).unwrap();
    let (session, printed) = recorded(&sandbox, &recorder, codec, "").unwrap();
    assert!(printed.contains("siprec-keyframe-wanted"), "{printed}");
    assert_eq!(session.json["streams"].as_array().unwrap().len(), 3);
    let video = stream(&session, "video").unwrap();
    assert_eq!(video["lost"], 0, "{video}");
    let kept = packets(&session, video).unwrap();
    let sequences: Vec<u16> = kept.iter().map(|bytes| Packet::parse(bytes).unwrap().sequence).collect();
    let torn: Vec<_> = sequences.windows(2).filter(|pair| pair[1] != pair[0].wrapping_add(1)).collect();
    assert!(torn.is_empty(), "in order, none missing: {torn:?} of {}", sequences.len());
    assert_eq!(shown(&sandbox, codec, &kept).unwrap(), PICTURES);
    assert_eq!(stream(&session, "audio").unwrap()["packets"], 150);
}

#[test]
fn every_picture_of_vp8_is_recorded_although_the_recorder_answers_late() {
    every_picture_is_recorded(&VP8);
}

#[test]
fn every_picture_of_h264_is_recorded_although_the_recorder_answers_late() {
    every_picture_is_recorded(&H264);
}

#[test]
fn what_did_not_fit_while_the_recorder_was_silent_goes_by_whole_groups_of_pictures() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &["--answer-after", "2.2"]).unwrap();
    let (session, printed) = recorded(&sandbox, &recorder, &VP8, "hold-time=1500000000").unwrap();
    assert!(printed.contains("ring-full"), "{printed}");
    let video = stream(&session, "video").unwrap();
    let kept = packets(&session, video).unwrap();
    let shown = shown(&sandbox, &VP8, &kept).unwrap();
    // The pictures of the first second are gone, and what is left begins with a key frame: each is shown.
    let first = Packet::parse(&kept[0]).unwrap();
    let pictures: std::collections::BTreeSet<u32> =
        kept.iter().map(|bytes| Packet::parse(bytes).unwrap().timestamp).collect();
    assert!((25..=PICTURES - 20).contains(&shown), "{shown} pictures");
    assert_eq!(shown, pictures.len(), "from {} on", first.timestamp);
}

#[test]
fn video_that_is_not_to_be_recorded_is_not_offered() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let (session, _) = recorded(&sandbox, &recorder, &VP8, "record-video=false").unwrap();
    assert!(stream(&session, "video").is_err());
    assert_eq!(session.json["streams"].as_array().unwrap().len(), 2);
}
