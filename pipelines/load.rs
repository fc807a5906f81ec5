//! Many calls at once, recorded, with every packet accounted for.
//!
//! ```text
//! siprec recorder --listen 127.0.0.1:5060 --count-only &
//! cargo run --release --example load -- sip:127.0.0.1:5060 250 10
//! ```
//!
//! Each call has two streams of 50 packets a second (G.711, 20 ms), each on a streaming thread of its own. Prints what
//! went in, what came out of the calls and what was sent to the recorder, and fails if a packet is missing anywhere.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;

const PACKET: Duration = Duration::from_millis(20);
/// How long sessions may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(recorder), Some(calls), Some(seconds)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!("usage: load RECORDER-URI CALLS SECONDS");
    };
    let calls: u32 = calls.parse().context("CALLS is no number")?;
    let seconds: u64 = seconds.parse().context("SECONDS is no number")?;
    gst::init()?;

    let pipeline = gst::Pipeline::new();
    let heard = Arc::new(AtomicU64::new(0));
    let mut inputs = Vec::new();
    for call in 0..calls {
        let rec = gst::ElementFactory::make("siprec")
            .property("recorder", &recorder)
            .property("call-uuid", format!("LOAD-{call}"))
            .property("dn", format!("{}", 2 * call))
            .property("other-dn", format!("{}", 2 * call + 1))
            .build()?;
        pipeline.add(&rec)?;
        for party in 0..2 {
            inputs.push(add_party(&pipeline, &rec, party, &heard)?);
        }
    }
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    let mut tally = Tally::default();

    // Every session is up before the calls are measured: what is measured is recording, not setting up.
    push(&inputs, 0)?;
    tally.listen(&bus, PATIENCE, |tally| tally.started == u64::from(calls))?;
    let packets = seconds * 50;
    let began = Instant::now();
    let mut latest = Duration::ZERO;
    for sequence in 1..=packets {
        let due = PACKET * u32::try_from(sequence)?;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        latest = latest.max(began.elapsed().saturating_sub(due));
        push(&inputs, sequence)?;
    }
    for input in &inputs {
        input.end_of_stream()?;
    }
    tally.listen(&bus, PATIENCE, |tally| tally.stopped == u64::from(calls))?;
    pipeline.set_state(gst::State::Null)?;

    let pushed = inputs.len() as u64 * (packets + 1);
    let heard = heard.load(Ordering::SeqCst);
    println!("pushed={pushed} heard={heard} seen={} sent={} lag={latest:?}", tally.seen, tally.sent);
    println!("dropped={:?}", tally.dropped);
    ensure!(heard == pushed, "{} packets of the calls are missing", pushed - heard);
    ensure!(tally.sent == pushed, "{} packets of the recordings are missing", pushed - tally.sent);
    Ok(())
}

/// `appsrc ! rec.sink_n  rec.src_n ! fakesink`
fn add_party(
    pipeline: &gst::Pipeline,
    rec: &gst::Element,
    index: u32,
    heard: &Arc<AtomicU64>,
) -> Result<gst_app::AppSrc> {
    let caps = gst::Caps::builder("application/x-rtp")
        .field("media", "audio")
        .field("encoding-name", "PCMU")
        .field("clock-rate", 8000)
        .field("payload", 0)
        .build();
    let input = gst_app::AppSrc::builder().caps(&caps).is_live(true).format(gst::Format::Time).build();
    let output =
        gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build()?;
    pipeline.add_many([input.upcast_ref::<gst::Element>(), &output])?;
    input.link_pads(None, rec, Some(&format!("sink_{index}")))?;
    rec.link_pads(Some(&format!("src_{index}")), &output, None)?;
    let heard = heard.clone();
    let sink = output.static_pad("sink").context("a fakesink has a pad")?;
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        heard.fetch_add(1, Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    Ok(input)
}

/// One packet of every stream.
fn push(inputs: &[gst_app::AppSrc], sequence: u64) -> Result<()> {
    for (stream, input) in (0_u32..).zip(inputs) {
        let mut packet = vec![0x80, 0];
        packet.extend((sequence as u16).to_be_bytes());
        packet.extend((sequence as u32).wrapping_mul(160).to_be_bytes());
        packet.extend((0x4000 + stream).to_be_bytes());
        packet.extend([0x55; 160]);
        input.push_buffer(gst::Buffer::from_mut_slice(packet))?;
    }
    Ok(())
}

/// What the elements have told.
#[derive(Default)]
struct Tally {
    started: u64,
    stopped: u64,
    seen: u64,
    sent: u64,
    dropped: BTreeMap<String, u64>,
}

impl Tally {
    /// Takes messages until something is so.
    fn listen(&mut self, bus: &gst::Bus, longest: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + longest;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = bus.timed_pop(gst::ClockTime::try_from(left)?);
            let message = message.with_context(|| {
                format!("{} sessions started and {} stopped within {longest:?}", self.started, self.stopped)
            })?;
            match message.view() {
                gst::MessageView::Error(error) => bail!("{}", error.error()),
                gst::MessageView::Element(element) => {
                    if let Some(structure) = element.structure() {
                        self.take(structure)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, structure: &gst::StructureRef) -> Result<()> {
        match structure.name().as_str() {
            "siprec-started" => self.started += 1,
            "siprec-stopped" => self.stopped += 1,
            "siprec-failed" => bail!("{structure}"),
            "siprec-report" => {
                self.seen += structure.get::<u64>("seen")?;
                self.sent += structure.get::<u64>("sent")?;
                for (name, value) in structure.iter() {
                    if let (Some(cause), Ok(packets)) = (name.strip_prefix("dropped-"), value.get::<u64>())
                        && packets > 0
                    {
                        *self.dropped.entry(cause.to_owned()).or_default() += packets;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
