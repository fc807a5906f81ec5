//! No packet costs a heap allocation after warm-up, of Rust's or of GLib's: both are counted by a malloc that stands before
//! the C library's (`benches/allocations.c`), in a process of its own.
#![cfg(test)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::recorder::{Recorder, Script};
use common::srtp::{SUITES, Suite, buffer};
use common::{Inlet, Outlet, caps, idle_siprec, rtp_bytes, siprectee};
use gst::prelude::*;
use siprec_media::srtp::Protector;
use siprec_model::SrtpKey;

/// Says to a test's own process which run it is to make, and over how many packets.
const ASKED: &str = "SIPREC_COUNTED_RUN";
const SHORT: u32 = 2000;
const LONG: u32 = 10_000;

/// Heap allocations of `LONG - SHORT` packets in one kind of run of the test `test`.
fn allocations(test: &str, run: &str) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("counter.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/allocations.c");
    let built = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&counter).arg(source).status();
    assert!(built.unwrap().success());
    let counted = |packets: u32| -> i64 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ASKED, format!("{run} {packets}"))
            .env("LD_PRELOAD", &counter)
            .env("G_SLICE", "always-malloc")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{run}: {text}");
        let count = text.lines().find_map(|line| line.strip_prefix("allocations "));
        count.unwrap_or_else(|| panic!("{run}: {text}")).parse().unwrap()
    };
    counted(LONG) - counted(SHORT)
}

/// The run that this process was started for, if it was, and its packets.
fn asked() -> Option<(String, u32)> {
    let asked = std::env::var(ASKED).ok()?;
    let (run, packets) = asked.rsplit_once(' ').unwrap();
    Some((run.to_owned(), packets.parse().unwrap()))
}

/// Pushes packets of a stream that is encrypted, or not.
fn push(inlet: &Inlet, key: Option<&SrtpKey>, packets: u32) {
    let mut protector = key.map(|key| Protector::new(key).unwrap());
    for index in 1000..1000 + u64::from(packets) {
        let mut packet = rtp_bytes(index as u16);
        if let Some(protector) = &mut protector {
            protector.protect_rtp(&mut packet, 172, 0xC0FF_EE00, index).unwrap();
        }
        assert_eq!(inlet.pad.push(buffer(&packet)), Ok(gst::FlowSuccess::Ok));
    }
}

fn call(suite: Option<Suite>) -> (gst::Caps, Option<SrtpKey>) {
    let Some(suite) = suite else { return (caps(), None) };
    let key = suite.key(1);
    let mut caps = suite.caps(&key, None);
    for (field, value) in [("media", "audio"), ("encoding-name", "PCMU")] {
        caps.make_mut().set(field, value);
    }
    for (field, value) in [("clock-rate", 8000), ("payload", 0)] {
        caps.make_mut().set(field, value);
    }
    (caps, Some(SrtpKey::new(suite.name.parse().unwrap(), &key).unwrap()))
}

/// Through `siprectee`, with a branch of the suite or without any.
fn through_tee(suite: Option<Suite>, branches: usize, packets: u32) {
    let tee = siprectee();
    let _outlet = Outlet::ignoring(&tee.static_pad("src").unwrap());
    let branches: Vec<_> = (0..branches)
        .map(|number| {
            let pad = tee.request_pad_simple("rec_%u").unwrap();
            if let Some(suite) = suite {
                common::tee::secure(&pad, suite, &suite.key(2 + number as u8));
            }
            Outlet::counting(&pad)
        })
        .collect();
    tee.set_state(gst::State::Playing).unwrap();
    let inlet = Inlet::before(&tee.static_pad("sink").unwrap());
    let (caps, key) = call(suite);
    inlet.begin_with(&caps);
    push(&inlet, key.as_ref(), packets);
    for (_, left) in &branches {
        assert_eq!(left.load(std::sync::atomic::Ordering::Relaxed), packets as usize);
    }
    tee.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_branch_of_siprectee_allocates_nothing_for_a_packet() {
    const TEST: &str = "a_branch_of_siprectee_allocates_nothing_for_a_packet";
    let suites = [None, Some(SUITES[0]), Some(SUITES[3])];
    if let Some((run, packets)) = asked() {
        let [suite, branches] = run.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<usize>>()[..]
        else {
            panic!("{run}")
        };
        return through_tee(suites[suite], branches, packets);
    }
    for (number, suite) in suites.iter().enumerate() {
        // What the packets themselves cost their maker.
        let bare = allocations(TEST, &format!("{number} 0"));
        for branches in [1, 3] {
            let more = allocations(TEST, &format!("{number} {branches}")) - bare;
            assert!(
                more.abs() <= 20,
                "{more} for {} packets to {branches} branches, {suite:?}",
                LONG - SHORT
            );
        }
    }
}

/// Through `siprec`, which records or does not.
fn through_siprec(suite: Option<Suite>, records: bool, packets: u32) {
    let siprec = idle_siprec();
    let recorder = Recorder::start(Script::Accept);
    siprec.set_property("recorder", recorder.uri());
    siprec.set_property("allow-downgrade", true);
    siprec.set_property_from_str("srtp", "disable");
    let sink = siprec.request_pad_simple("sink_0").unwrap();
    let _outlet = Outlet::ignoring(&siprec.static_pad("src_0").unwrap());
    let inlet = Inlet::before(&sink);
    siprec.set_state(gst::State::Playing).unwrap();
    let (caps, key) = call(suite);
    inlet.begin_with(&caps);
    if records {
        siprec.emit_by_name::<()>("start", &[]);
        let deadline = Instant::now() + Duration::from_secs(30);
        while siprec.property::<gstsiprec::SiprecState>("state") != gstsiprec::SiprecState::Recording {
            assert!(Instant::now() < deadline, "no recording");
            std::thread::yield_now();
        }
    }
    push(&inlet, key.as_ref(), packets);
    if records {
        assert!(recorder.packet(0).is_some());
    }
    siprec.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_recording_of_siprec_allocates_nothing_for_a_packet() {
    const TEST: &str = "a_recording_of_siprec_allocates_nothing_for_a_packet";
    let suites = [None, Some(SUITES[0]), Some(SUITES[3])];
    if let Some((run, packets)) = asked() {
        let [suite, records] = run.split(' ').map(|word| word.parse().unwrap()).collect::<Vec<usize>>()[..]
        else {
            panic!("{run}")
        };
        return through_siprec(suites[suite], records == 1, packets);
    }
    for (number, suite) in suites.iter().enumerate() {
        let [without, with] = [0, 1].map(|records| allocations(TEST, &format!("{number} {records}")));
        // What its queues grow by and what its threads do from time to time, some hundreds (`docs/speed.md` names them), is no
        // cost of a packet, which would be as many as there are packets.
        let most = i64::from(LONG - SHORT) / 10;
        assert!((with - without).abs() <= most, "{} for {} packets, {suite:?}", with - without, LONG - SHORT);
    }
}

/// Through `siprecudpsrc ! siprecudpsink`, between plain sockets.
fn through_relay(packets: u32) {
    common::init();
    let out = UdpSocket::bind("127.0.0.1:0").unwrap();
    out.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let text = format!(
        "siprecudpsrc name=in address=127.0.0.1 port=0 ! siprecudpsink host=127.0.0.1 port={}",
        out.local_addr().unwrap().port()
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let port = u16::try_from(pipeline.by_name("in").unwrap().property::<i32>("port")).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let mut bytes = [0; 1024];
    // One by one, and in bursts, which are another way.
    for start in (0..packets).step_by(20) {
        let at_once = if start < packets / 2 { 1 } else { 20 };
        for _ in 0..20 / at_once {
            (0..at_once).for_each(|_| assert_eq!(out.send_to(&[7; 172], to).unwrap(), 172));
            (0..at_once).for_each(|_| assert_eq!(out.recv(&mut bytes).unwrap(), 172));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_relay_of_udp_packets_allocates_nothing_for_a_packet() {
    const TEST: &str = "a_relay_of_udp_packets_allocates_nothing_for_a_packet";
    if let Some((_, packets)) = asked() {
        return through_relay(packets);
    }
    let more = allocations(TEST, "relay");
    // A busy machine may move the stream to a thread of its own, which costs some once.
    assert!(more.abs() <= i64::from(LONG - SHORT) / 10, "{more} for {} packets", LONG - SHORT);
}
