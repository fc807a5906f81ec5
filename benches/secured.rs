//! What it costs to decrypt a call's packet and to encrypt it for a recorder, in the pipeline and without sockets: `siprectee`
//! with one branch beside `tee ! srtpdec ! srtpenc`, which GStreamer's users have, in the same run and in turns.
//!
//! All of it runs on one thread. A row is the time of a packet beyond that of a `tee` with nothing behind it, the best of all
//! rounds; each round takes the ways one after the other, and each stream a packet in turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "../plugin/tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::srtp::{Encoder, SUITES, Suite};
use common::{Inlet, Outlet, init, rtp_bytes};
use gst::prelude::*;

const ROUNDS: usize = 5;
/// Packets of all streams in a round.
const PACKETS: usize = 10_000;
const WAYS: [&str; 3] = ["tee", "tee ! srtpdec ! srtpenc", "siprectee"];

fn main() {
    init();
    println!("{:<26} {:>8} {:>12} {:>12} {:>8}", "suite", "streams", "stock, ns", "siprectee, ns", "ratio");
    for suite in [SUITES[0], SUITES[3]] {
        for streams in [1, 200, 1000] {
            let [call, stock, ours] = measured(suite, streams);
            let [stock, ours] = [stock, ours].map(|time| time.saturating_sub(call).as_nanos());
            let ratio = ours as f64 / stock as f64;
            println!("{:<26} {streams:>8} {stock:>12} {ours:>12} {ratio:>8.3}", suite.name);
        }
    }
}

/// The time of a packet each way.
fn measured(suite: Suite, streams: usize) -> [Duration; 3] {
    let key = suite.key(1);
    let encoders: Vec<_> = (0..streams).map(|_| Encoder::new(suite, &key, None)).collect();
    let ways: Vec<Vec<Way>> =
        WAYS.iter().map(|way| (0..streams).map(|_| Way::new(way, suite, &key)).collect()).collect();
    let each = PACKETS / streams;
    let mut best = [Duration::MAX; 3];
    // The first round warms up.
    for round in 0..=ROUNDS {
        let sequences = (round * each)..((round + 1) * each);
        let packets: Vec<Vec<u8>> = sequences
            .flat_map(|sequence| {
                encoders.iter().map(move |encoder| encoder.protect(rtp_bytes(sequence as u16)))
            })
            .collect();
        for (way, best) in ways.iter().zip(&mut best) {
            let buffers: Vec<_> = packets.iter().cloned().map(gst::Buffer::from_mut_slice).collect();
            let started = Instant::now();
            for (buffer, stream) in buffers.into_iter().zip(way.iter().cycle()) {
                stream.inlet.pad.push(buffer).expect("a push");
            }
            let time = started.elapsed() / u32::try_from(packets.len()).expect("a few packets");
            if round > 0 {
                *best = time.min(*best);
            }
        }
    }
    for way in ways.iter().flatten() {
        // Where nothing came out, nothing was measured.
        let wanted = (ROUNDS + 1) * each;
        assert!(
            way.name == "tee" || way.came.load(std::sync::atomic::Ordering::SeqCst) == wanted,
            "{}",
            way.name
        );
    }
    best
}

/// One stream's way through elements.
struct Way {
    name: &'static str,
    elements: Vec<gst::Element>,
    inlet: Inlet,
    _ends: Vec<gst::Pad>,
    came: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Way {
    fn new(name: &'static str, suite: Suite, key: &[u8]) -> Self {
        let make = |factory: &str| gst::ElementFactory::make(factory).build().expect("an element");
        let first = make(name.split(' ').next().expect("a name"));
        let mut elements = vec![first.clone()];
        let call = first.static_pad("src").or_else(|| first.request_pad_simple("src_%u")).expect("a pad");
        let mut ends = vec![Outlet::ignoring(&call)];
        let out = match name {
            "tee" => None,
            "siprectee" => {
                let pad = first.request_pad_simple("rec_%u").expect("a branch");
                pad.set_property_from_str("srtp-suite", &suite.name.to_lowercase().replace('_', "-"));
                pad.set_property("srtp-key", gst::Buffer::from_slice(suite.key(2)));
                Some(pad)
            }
            _ => {
                let (decoder, encoder) = (make("srtpdec"), make("srtpenc"));
                encoder.set_property("key", gst::Buffer::from_slice(suite.key(2)));
                for (property, value) in [
                    ("rtp-cipher", suite.cipher),
                    ("rtp-auth", suite.auth),
                    ("rtcp-cipher", suite.cipher),
                    ("rtcp-auth", suite.rtcp_auth),
                ] {
                    encoder.set_property_from_str(property, value);
                }
                let branch = first.request_pad_simple("src_%u").expect("a branch");
                // Without a buffer of its own, srtpdec of 1.22 ends the call.
                branch.add_probe(gst::PadProbeType::BUFFER, |_, info| {
                    if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                        buffer.make_mut();
                    }
                    gst::PadProbeReturn::Ok
                });
                branch.link(&decoder.static_pad("rtp_sink").expect("a pad")).expect("a link");
                let sink = encoder.request_pad_simple("rtp_sink_0").expect("a pad");
                decoder.static_pad("rtp_src").expect("a pad").link(&sink).expect("a link");
                let out = encoder.static_pad("rtp_src_0").expect("a pad");
                elements.extend([decoder, encoder]);
                Some(out)
            }
        };
        let came = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        if let Some(out) = out {
            let counted = came.clone();
            out.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                gst::PadProbeReturn::Ok
            });
            ends.push(Outlet::ignoring(&out));
        }
        let inlet = Inlet::before(&first.static_pad("sink").expect("a pad"));
        for element in elements.iter().rev() {
            element.set_state(gst::State::Playing).expect("a playing element");
        }
        let mut caps: gst::Caps =
            "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"
                .parse()
                .expect("caps");
        let keys = suite.caps(key, None);
        let fields = keys.structure(0).expect("a structure");
        for (field, value) in fields.iter() {
            caps.make_mut().structure_mut(0).expect("a structure").set_value(field, value.clone());
        }
        inlet.begin_with(&caps);
        Self { name, elements, inlet, _ends: ends, came }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        for element in &self.elements {
            element.set_state(gst::State::Null).expect("an ended element");
        }
    }
}
