//! Many calls at once, recorded, with every packet accounted for.
//!
//! ```text
//! siprec recorder --listen 127.0.0.1:5060 --count-only &
//! cargo run --release --example load -- sip:127.0.0.1:5060 250 10
//! ```
//!
//! Each call has two streams of 50 packets a second (G.711, 20 ms), each on a streaming thread of its own. Prints what
//! went in, what came out of the calls and what was sent to the recorder, and fails if a packet is missing anywhere. With
//! several recorders (`"URI URI"`) one may die meanwhile: each message is printed with how often it came.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;

const PACKET: Duration = Duration::from_millis(20);
/// Bytes of RTP before the payload.
const HEADER: usize = 12;
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
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for call in 0..calls {
        let rec = gst::ElementFactory::make("siprec")
            .property("recorder", &recorder)
            .property("call-uuid", format!("LOAD-{call}"))
            .property("dn", format!("{}", 2 * call))
            .property("other-dn", format!("{}", 2 * call + 1))
            .build()?;
        pipeline.add(&rec)?;
        for party in 0..2 {
            let (input, output) = add_party(&pipeline, &rec, party)?;
            inputs.push(input);
            outputs.push(output);
        }
    }
    pipeline.set_state(gst::State::Playing)?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    let mut tally = Tally::default();

    // Every session is up before the calls are measured: what is measured is recording, not setting up.
    push(&inputs, 0)?;
    tally.listen(&bus, PATIENCE, |tally| tally.told("siprec-started") == u64::from(calls))?;
    println!("started");
    let packets = seconds * 50;
    let talk = std::thread::spawn(move || talk(&inputs, packets));
    let longest = Duration::from_secs(seconds) + PATIENCE;
    tally.listen(&bus, longest, |tally| tally.told("siprec-stopped") == u64::from(calls))?;
    pipeline.set_state(gst::State::Null)?;
    let latest = talk.join().map_err(|_| anyhow::anyhow!("the talking thread panicked"))??;

    let pushed = outputs.len() as u64 * (packets + 1);
    let mut latencies: Vec<u64> = Vec::new();
    for output in &outputs {
        latencies.append(&mut output.lock().unwrap_or_else(PoisonError::into_inner));
    }
    latencies.sort_unstable();
    let heard = latencies.len() as u64;
    let latency = |percent| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0);
    println!("pushed={pushed} heard={heard} seen={} sent={} lag={latest:?}", tally.seen, tally.sent);
    println!("p50={} p99={} resent={} dropped={:?}", latency(50), latency(99), tally.resent, tally.dropped);
    ensure!(heard == pushed, "{} packets of the calls are missing", pushed - heard);
    ensure!(tally.sent == pushed, "{} packets of the recordings are missing", pushed - tally.sent);
    Ok(())
}

/// Each stream's packets, in real time; gives how late the latest of them were.
fn talk(inputs: &[gst_app::AppSrc], packets: u64) -> Result<Duration> {
    let began = Instant::now();
    let mut latest = Duration::ZERO;
    for sequence in 1..=packets {
        let due = PACKET * u32::try_from(sequence)?;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        latest = latest.max(began.elapsed().saturating_sub(due));
        push(inputs, sequence)?;
    }
    for input in inputs {
        input.end_of_stream()?;
    }
    Ok(latest)
}

/// Microseconds since the first call.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// How long each packet of a stream was on its way, in microseconds.
type Latencies = Arc<Mutex<Vec<u64>>>;

/// `appsrc ! rec.sink_n  rec.src_n ! fakesink`
fn add_party(
    pipeline: &gst::Pipeline,
    rec: &gst::Element,
    index: u32,
) -> Result<(gst_app::AppSrc, Latencies)> {
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
    let latencies = Latencies::default();
    let heard = latencies.clone();
    let sink = output.static_pad("sink").context("a fakesink has a pad")?;
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let time = info.buffer().and_then(|buffer| {
            let mut sent = [0; 8];
            buffer.copy_to_slice(HEADER, &mut sent).ok()?;
            Some(now().saturating_sub(u64::from_be_bytes(sent)))
        });
        heard.lock().unwrap_or_else(PoisonError::into_inner).extend(time);
        gst::PadProbeReturn::Ok
    });
    Ok((input, latencies))
}

/// One packet of every stream, which says when it was sent.
fn push(inputs: &[gst_app::AppSrc], sequence: u64) -> Result<()> {
    for (stream, input) in (0_u32..).zip(inputs) {
        let mut packet = vec![0x80, 0];
        packet.extend((sequence as u16).to_be_bytes());
        packet.extend((sequence as u32).wrapping_mul(160).to_be_bytes());
        packet.extend((0x4000 + stream).to_be_bytes());
        packet.extend(now().to_be_bytes());
        packet.extend([0x55; 152]);
        input.push_buffer(gst::Buffer::from_mut_slice(packet))?;
    }
    Ok(())
}

/// What the elements have told.
#[derive(Default)]
struct Tally {
    told: BTreeMap<String, u64>,
    seen: u64,
    sent: u64,
    resent: u64,
    dropped: BTreeMap<String, u64>,
}

impl Tally {
    /// How often this message came.
    fn told(&self, message: &str) -> u64 {
        self.told.get(message).copied().unwrap_or(0)
    }

    /// Takes messages until something is so.
    fn listen(&mut self, bus: &gst::Bus, longest: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + longest;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = bus.timed_pop(gst::ClockTime::try_from(left)?);
            let message = message.with_context(|| format!("within {longest:?} only {:?}", self.told))?;
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
        let name = structure.name().as_str();
        *self.told.entry(name.to_owned()).or_default() += 1;
        match name {
            // Another recorder may take over; `whole` says whether one has.
            "siprec-state" => {
                let whole = gst::glib::EnumValue::from_value(structure.value("whole")?);
                ensure!(whole.is_some_and(|(_, state)| state.nick() != "failed"), "{structure}");
            }
            "siprec-report" => {
                self.seen += structure.get::<u64>("seen")?;
                self.sent += structure.get::<u64>("sent")?;
                self.resent += structure.get::<u64>("resent")?;
                for (field, value) in structure.iter() {
                    if let (Some(cause), Ok(packets)) = (field.strip_prefix("dropped-"), value.get::<u64>())
                        && packets > 0
                    {
                        *self.dropped.entry(cause.to_owned()).or_default() += packets;
                    }
                }
            }
            _ => println!("{name} {}", self.told(name)),
        }
        Ok(())
    }
}
