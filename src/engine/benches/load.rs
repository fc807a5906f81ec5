//! What a recording costs: CPU time of the media thread for each packet, G.711 at 50 packets a second, each stream from a port
//! of its own and all from one, to one address.
//!
//! `cargo bench -p siprec-engine --bench load`
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use siprec_engine::{Engine, EngineConfig, MediaSource, TapConfig};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, BranchLimits, MediaControl as _, MediaSecurity, Medium, OpenBranch,
    PayloadRule, RecorderKey, RecordingKey, RtcpMode,
};

const SECONDS: u32 = 4;

fn main() -> Result<(), Box<dyn Error>> {
    for streams in [1, 50, 200, 500] {
        for source in [MediaSource::PerStream, MediaSource::Shared] {
            run(streams, source)?;
        }
    }
    Ok(())
}

fn run(streams: u16, media_source: MediaSource) -> Result<(), Box<dyn Error>> {
    let recorder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let remote = recorder.local_addr()?;
    let (sink, events) = mpsc::channel();
    let engine = Engine::start(EngineConfig { media_source, ..EngineConfig::default() }, move |_, event| {
        let _ = sink.send(event);
    })?;
    let recording = RecordingKey::unique();
    let mut taps = Vec::new();
    for slot in 0..streams {
        let tap = engine.tap(TapConfig::default());
        let branch = BranchId { recording, leg: 0, slot };
        engine.command(BranchCommand::Create {
            branch,
            stream: tap.stream(),
            medium: Medium::Audio,
            clock_rate: 8000,
            cname: "party".into(),
            limits: BranchLimits::default(),
        })?;
        engine.command(BranchCommand::Bind { branch, local: remote.ip(), rtcp: RtcpMode::Mux })?;
        engine.command(BranchCommand::Open(OpenBranch {
            branch,
            recorder: RecorderKey::from_raw(1),
            rtp: remote,
            rtcp: None,
            security: MediaSecurity::Plain,
            may_expose: false,
            payloads: vec![PayloadRule { from: 0, to: 0 }],
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        }))?;
        taps.push(tap);
    }
    let mut packet = [0xD5; 172];
    let packets = SECONDS * 50;
    let start = Instant::now();
    let mut before = 0;
    for number in 0..packets {
        for (stream, tap) in (0u32..).zip(&taps) {
            let due = start
                + Duration::from_millis(20) * number
                + Duration::from_millis(20) * stream / u32::from(streams);
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            packet[..12].copy_from_slice(&header(number, stream));
            tap.push(&packet, Instant::now());
        }
        if number == 49 {
            before = cpu_time()?;
        }
    }
    let spent = cpu_time()?.saturating_sub(before);
    let counted = u64::from(packets - 50) * u64::from(streams);
    for slot in 0..streams {
        engine.command(BranchCommand::Close { branch: BranchId { recording, leg: 0, slot } })?;
    }
    let (mut sent, mut open) = (0, streams);
    while open > 0 {
        if let BranchEvent::Closed(report) = events.recv_timeout(Duration::from_secs(5))? {
            sent += report.sent;
            open -= 1;
        }
    }
    let micros = spent as f64 / 1000.0 / counted as f64;
    println!(
        "{streams} streams, {media_source:?}: {micros:.2} us of CPU a packet, {sent} of {} sent",
        u64::from(packets) * u64::from(streams)
    );
    Ok(())
}

fn header(number: u32, ssrc: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = 0x80;
    header[2..4].copy_from_slice(&(number as u16).to_be_bytes());
    header[4..8].copy_from_slice(&(number * 160).to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.to_be_bytes());
    header
}

/// Nanoseconds that the newest media thread of this process has run.
fn cpu_time() -> Result<u64, Box<dyn Error>> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "siprec-engine" {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            return Ok(times.split_whitespace().next().ok_or("no times")?.parse()?);
        }
    }
    Err("no media thread".into())
}
