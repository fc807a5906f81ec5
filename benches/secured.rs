//! What decrypting a call's stream and encrypting it anew costs inside a pipeline: `siprectee` with one branch, and the
//! engine behind `siprec` without sockets, beside stock `tee ! srtpdec ! srtpenc`, in the same run and in turns.
//!
//! Without sockets and queues: the time of a push into the element. In either row the call itself goes on to a pad that
//! takes it, and so does the branch. The rows without a branch say what of it is the call's. The stock branch has a
//! probe that makes its buffers writable first, without which `srtpdec` behind a `tee` ends the call. The engine's row
//! is the time of a push into the tap and the processor time of the media thread, its waking up included.
//!
//! `--allocations ROW PACKETS` pushes so many packets and nothing else, for `allocations.sh`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "../plugin/tests/common/mod.rs"]
mod common;
mod engine;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::srtp::{SUITES, Suite, buffer};
use common::{Inlet, Outlet, init, rtp_bytes};
use engine::Recorded;
use gst::prelude::*;
use siprec_media::srtp::Protector;
use siprec_model::{SrtpKey, SrtpSuite};

/// Packets of all streams together, each row.
const PACKETS: usize = 40_000;
const ROWS: [Row; 4] = [Row::Tee, Row::Stock, Row::Siprectee, Row::Own];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// `tee` with the call's pad alone.
    Tee,
    /// The same with a branch of `srtpdec ! srtpenc`.
    Stock,
    /// `siprectee` without a branch.
    Siprectee,
    /// The same with a branch.
    Own,
}

fn main() {
    init();
    let words: Vec<String> = std::env::args().collect();
    if let Some(place) = words.iter().position(|word| word == "--allocations") {
        allocations(&words[place + 1], words[place + 2].parse().expect("a number of packets"));
        return;
    }
    println!("ns for a packet of 172 bytes, median over rounds; branch = with it - without it");
    println!(
        "{:<26} {:>7} | {:>7} {:>7} {:>8} | {:>9} {:>9} {:>8} {:>6} | {:>8} {:>6}",
        "suite of call and branch",
        "streams",
        "tee",
        "stock",
        "branch",
        "siprectee",
        "+ branch",
        "branch",
        "ratio",
        "engine",
        "ratio"
    );
    for suite in [SUITES[0], SUITES[3]] {
        for streams in [1, 200, 1000] {
            compare(suite, streams);
        }
    }
}

/// Every row with so many streams, in turns.
fn compare(suite: Suite, streams: usize) {
    let mut rows =
        ROWS.map(|row| (0..streams).map(|number| Stream::new(row, suite, number)).collect::<Vec<_>>());
    let named = srtp_suite(suite);
    let mut recorded = Recorded::new(streams, |number| {
        [1, 2].map(|mark| SrtpKey::new(named, &key(suite, mark, number)).expect("a key")).into()
    });
    let rounds = PACKETS / streams.max(100) / 10 * 10;
    // A single stream gets many packets a round, so that looking at the clock costs nothing.
    let burst = if streams == 1 { 100 } else { 1 };
    let mut times = ROWS.map(|_| Vec::new());
    let mut of_engine = Vec::new();
    for round in 0..rounds {
        for (row, times) in rows.iter_mut().zip(&mut times) {
            let packets: Vec<Vec<gst::Buffer>> =
                row.iter_mut().map(|stream| (0..burst).map(|_| stream.next()).collect()).collect();
            let start = Instant::now();
            for (stream, packets) in row.iter().zip(packets) {
                for packet in packets {
                    stream.inlet.pad.push(packet).expect("a push");
                }
            }
            times.push(start.elapsed() / (streams * burst) as u32);
        }
        // In blocks, since the engine's rounds have a pause each, after which everything is slower.
        if round % 10 == 9 {
            of_engine.extend((0..10).map(|_| recorded.round(burst)));
        }
    }
    recorded.ensure_all_protected();
    for (row, name) in rows.iter().zip(ROWS) {
        row.iter().for_each(|stream| stream.ensure_all_left(rounds * burst, name));
    }
    let median = |mut times: Vec<Duration>| {
        // The first tenth warms up.
        times.drain(..times.len() / 10);
        times.sort_unstable();
        times[times.len() / 2].as_nanos() as i64
    };
    let ([tee, stock, siprectee, own], engine) = (times.map(median), median(of_engine));
    let (theirs, ours) = (stock - tee, own - siprectee);
    let ratio = |time| time as f64 / theirs as f64;
    println!(
        "{:<26} {streams:>7} | {tee:>7} {stock:>7} {theirs:>8} | {siprectee:>9} {own:>9} {ours:>8} {:>6.3} | {engine:>8} {:>6.3}",
        suite.name,
        ratio(ours),
        ratio(engine)
    );
}

fn allocations(row: &str, packets: usize) {
    let row = ROWS.into_iter().find(|known| format!("{known:?}").eq_ignore_ascii_case(row)).expect("a row");
    let mut stream = Stream::new(row, SUITES[0], 0);
    for _ in 0..packets {
        let packet = stream.next();
        stream.inlet.pad.push(packet).expect("a push");
    }
    stream.ensure_all_left(packets, row);
}

fn srtp_suite(suite: Suite) -> SrtpSuite {
    suite.name.parse().expect("a suite")
}

/// A key that no other stream has.
fn key(suite: Suite, mark: u8, number: usize) -> Vec<u8> {
    let mut key = suite.key(mark);
    key[..4].copy_from_slice(&(number as u32).to_be_bytes());
    key
}

/// What comes in: encrypted packets of one source.
struct Call {
    protector: Protector,
    sequence: u64,
    out: Vec<u8>,
}

impl Call {
    fn new(key: &SrtpKey) -> Self {
        Self { protector: Protector::new(key).expect("a key"), sequence: 1000, out: Vec::new() }
    }

    fn next(&mut self) -> &[u8] {
        self.out.clear();
        self.out.extend_from_slice(&rtp_bytes(self.sequence as u16));
        let length = self.out.len();
        let ssrc = u32::from_be_bytes([self.out[8], self.out[9], self.out[10], self.out[11]]);
        self.protector.protect_rtp(&mut self.out, length, ssrc, self.sequence).expect("a packet");
        self.sequence += 1;
        &self.out
    }
}

/// One encrypted stream on its way.
struct Stream {
    elements: Vec<gst::Element>,
    inlet: Inlet,
    _outlets: Vec<gst::Pad>,
    /// How many packets have left on the branch, if there is one.
    left: Option<Arc<AtomicUsize>>,
    call: Call,
}

impl Stream {
    fn new(row: Row, suite: Suite, number: usize) -> Self {
        let (call, own) = (key(suite, 1, number), key(suite, 2, number));
        let factory = if matches!(row, Row::Tee | Row::Stock) { "tee" } else { "siprectee" };
        let make = |name: &str| gst::ElementFactory::make(name).build().expect("an element");
        let element = make(factory);
        let mut elements = vec![element.clone()];
        let source = match element.static_pad("src") {
            Some(source) => source,
            None => element.request_pad_simple("src_%u").expect("a pad"),
        };
        let mut outlets = vec![Outlet::ignoring(&source)];
        let branch = match row {
            Row::Tee | Row::Siprectee => None,
            Row::Own => {
                let pad = element.request_pad_simple("rec_%u").expect("a branch");
                common::tee::secure(&pad, suite, &own);
                Some(pad)
            }
            Row::Stock => {
                let (decoder, encoder) = (make("srtpdec"), make("srtpenc"));
                let keys = suite.caps(&call, None);
                decoder.connect("request-key", false, move |_| Some(keys.to_value()));
                encoder.set_property("key", buffer(&own));
                for (property, name) in [
                    ("rtp-cipher", suite.cipher),
                    ("rtp-auth", suite.auth),
                    ("rtcp-cipher", suite.cipher),
                    ("rtcp-auth", suite.rtcp_auth),
                ] {
                    encoder.set_property_from_str(property, name);
                }
                let copy = element.request_pad_simple("src_%u").expect("a pad");
                copy.add_probe(gst::PadProbeType::BUFFER, |_, info| {
                    if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                        buffer.make_mut();
                    }
                    gst::PadProbeReturn::Ok
                });
                let within = encoder.request_pad_simple("rtp_sink_0").expect("a pad");
                decoder.static_pad("rtp_src").expect("a pad").link(&within).expect("a link");
                copy.link(&decoder.static_pad("rtp_sink").expect("a pad")).expect("a link");
                elements.extend([decoder, encoder.clone()]);
                Some(encoder.static_pad("rtp_src_0").expect("a pad"))
            }
        };
        let left = branch.map(|branch| {
            let (outlet, left) = Outlet::counting(&branch);
            outlets.push(outlet);
            left
        });
        let inlet = Inlet::before(&element.static_pad("sink").expect("a pad"));
        for element in &elements {
            element.set_state(gst::State::Playing).expect("it plays");
        }
        let mut keys = suite.caps(&call, None);
        keys.make_mut().set("media", "audio");
        inlet.begin_with(&keys);
        let call = Call::new(&SrtpKey::new(srtp_suite(suite), &call).expect("a key"));
        Self { elements, inlet, _outlets: outlets, left, call }
    }

    fn next(&mut self) -> gst::Buffer {
        let packet = self.call.next();
        let mut buffer = gst::Buffer::with_size(packet.len()).expect("a buffer");
        buffer.get_mut().expect("a new one").copy_from_slice(0, packet).expect("its size");
        buffer
    }

    /// A row that drops packets would be a fast one.
    fn ensure_all_left(&self, pushed: usize, row: Row) {
        if let Some(left) = &self.left {
            assert_eq!(left.load(Ordering::Relaxed), pushed, "{row:?} lost packets");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for element in &self.elements {
            let _ = element.set_state(gst::State::Null);
        }
    }
}
