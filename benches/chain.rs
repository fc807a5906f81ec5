//! What an element costs the call: from the entry of its chain function to the start of the call's own push, and the
//! whole chain call, for `siprec` and `siprectee` beside `identity` and `tee` in the same run.
//!
//! Both ends are pad probes: one on the element's sink pad runs just before its chain function, one on its source pad
//! just before the peer's. Their own cost (two looks at the clock) is in every row alike, and in the row `identity`
//! with next to nothing else. The packets come in bursts of ten each millisecond, as 200 streams of 50 packets a
//! second bring them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "../plugin/tests/common/mod.rs"]
mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::recorder::{Recorder, Script};
use common::{Inlet, Outlet, init, rtp};
use gst::prelude::*;

const BURSTS: u16 = 3000;
const BURST: u16 = 10;

fn main() {
    init();
    println!("{:<34} {:>26} {:>26}", "", "entry to own push, ns", "whole chain call, ns");
    println!(
        "{:<34} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "element", "p50", "mean", "p99", "p50", "mean", "p99"
    );
    measure("identity", "identity", &[], |_| ());
    measure("tee, one pad", "tee", &[], |_| ());
    measure("tee, second pad with queue", "tee", &[], |element| branch(element, "src_%u"));
    measure("siprec, nothing recorded", "siprec", &[("auto-start", false.into())], |_| ());
    let recorder = Recorder::start(Script::Accept);
    measure("siprec, one open recording", "siprec", &[("recorder", recorder.uri().into())], |element| {
        wait_for(element, gstsiprec::SiprecState::Recording);
    });
    measure("siprectee, no branch", "siprectee", &[], |_| ());
    measure("siprectee, one branch with queue", "siprectee", &[], |element| branch(element, "rec_%u"));
}

/// Pushes all packets through one element and prints a row.
fn measure(
    row: &str,
    factory: &str,
    properties: &[(&str, gst::glib::Value)],
    prepare: impl FnOnce(&gst::Element),
) {
    let element = gst::ElementFactory::make(factory).build().expect("an element");
    for (name, value) in properties {
        element.set_property_from_value(name, value);
    }
    let pad = |name: &str| element.static_pad(name).or_else(|| element.request_pad_simple(name));
    let sink = pad("sink").or_else(|| pad("sink_0")).expect("a sink pad");
    let source = pad("src").or_else(|| pad("src_0")).expect("a source pad");
    let (inlet, _outlet) = (Inlet::before(&sink), Outlet::ignoring(&source));
    element.set_state(gst::State::Playing).expect("a playing element");
    inlet.begin();
    inlet.pad.push(rtp(0)).expect("a push");
    prepare(&element);

    let (entered, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for (pad, time) in [(&sink, entered.clone()), (&source, left.clone())] {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            time.store(now(), Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
    let (mut to_push, mut whole) = (Vec::new(), Vec::new());
    for burst in 0..BURSTS {
        let packets: Vec<_> =
            (0..BURST).map(|packet| rtp((burst * BURST + packet).wrapping_add(1))).collect();
        for packet in packets {
            inlet.pad.push(packet).expect("a push");
            let end = now();
            to_push.push(left.load(Ordering::Relaxed) - entered.load(Ordering::Relaxed));
            whole.push(end - entered.load(Ordering::Relaxed));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    element.set_state(gst::State::Null).expect("an ended element");
    let [push, whole] = [to_push, whole].map(|mut times| {
        times.sort_unstable();
        let mean = times.iter().sum::<u64>() / times.len() as u64;
        format!("{:>8} {mean:>8} {:>8}", times[times.len() / 2], times[times.len() * 99 / 100])
    });
    println!("{row:<34} {push} {whole}");
}

/// Nanoseconds since the first call.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Gives an element a second way out, with a thread of its own.
fn branch(element: &gst::Element, template: &str) {
    let queue = gst::ElementFactory::make("queue").build().expect("a queue");
    let sink = gst::ElementFactory::make("fakesink").property("async", false).build().expect("a sink");
    queue.link(&sink).expect("a link");
    let pad = element.request_pad_simple(template).expect("a branch");
    pad.link(&queue.static_pad("sink").expect("a pad")).expect("a link");
    for element in [&sink, &queue] {
        element.set_state(gst::State::Playing).expect("a playing element");
    }
    // They run until the program ends.
    std::mem::forget((queue, sink));
}

fn wait_for(element: &gst::Element, state: gstsiprec::SiprecState) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while element.property::<gstsiprec::SiprecState>("state") != state {
        assert!(Instant::now() < deadline, "never {state:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
