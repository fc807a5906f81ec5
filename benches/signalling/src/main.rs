//! What recording sessions cost in signalling alone: an agent, no media, and SIPp as the recorder.
//!
//!     cargo run --release -p siprec-signalling -- --sessions 10000 --transport udp --hold 600
//!
//! Prints how many sessions were set up in a second and in a second of processor time, what a session takes of memory and,
//! while it is held, of processor time. Fails if one session fails.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

/// Shared with the tests of the agent.
#[path = "../../../src/agent/tests/support/answering.rs"]
mod answering;
mod calls;
mod process;
mod recorder;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Parser, ValueEnum};
use siprec_agent::{Agent, AgentConfig};

use crate::answering::Answering;
use crate::calls::Calls;
use crate::process::{Usage, dropped_datagrams};
use crate::recorder::Recorder;

#[derive(Parser)]
#[command(about = "What recording sessions cost in signalling alone, with SIPp as the recorder")]
struct Arguments {
    /// Sessions that are held at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: u32,
    /// How SIP travels.
    #[arg(long, value_enum, default_value_t = Transport::Udp)]
    transport: Transport,
    /// Sessions that are being set up at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    window: u32,
    /// How long they are held, in seconds.
    #[arg(long, default_value_t = 10)]
    hold: u64,
    /// The interval that the recorder asks for, in seconds: we refresh at half of it.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(90..=86_400))]
    interval: u32,
    /// Seconds between questions whether the recorder lives; 0 for none. There is no media here whose reports would answer.
    #[arg(long, default_value_t = 5)]
    probe: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Udp,
    Tcp,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let recorder = Recorder::start(arguments.transport, arguments.interval)?;
    let media = Arc::new(Answering::default());
    let config =
        AgentConfig { local_address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), ..AgentConfig::default() };
    let agent = Arc::new(Agent::start(config, Arc::clone(&media) as _)?);
    media.connect(&agent);
    let mut calls = Calls::new(&agent, recorder.uri(), Duration::from_secs(arguments.probe));
    // Threads, buffers and code that the first sessions bring are not theirs.
    calls.set_up(arguments.sessions.min(100), arguments.window)?;
    calls.end(arguments.window)?;

    let (before, began) = (Usage::now()?, Instant::now());
    calls.set_up(arguments.sessions, arguments.window)?;
    let (spent, took) = (Usage::now()?.since(&before), began.elapsed());
    println!(
        "set up: {} sessions in {:.2} s = {:.0}/s; {:.2} s of processor time = {:.0}/s of a core; {} bytes each",
        arguments.sessions,
        took.as_secs_f64(),
        per_second(arguments.sessions, took),
        spent.processor.as_secs_f64(),
        per_second(arguments.sessions, spent.processor),
        spent.resident / i64::from(arguments.sessions),
    );

    let time = Duration::from_secs(arguments.hold);
    let (before, its_before) = (Usage::now()?, Usage::of(recorder.process())?);
    let held = calls.hold(time)?;
    let (spent, its) = (Usage::now()?.since(&before), Usage::of(recorder.process())?.since(&its_before));
    println!(
        "held: {} s, {:.1} % of a core (SIPp {:.1} %), {} bytes more each; {} times an answer was late, {} were lost",
        arguments.hold,
        spent.percent_of(time),
        its.percent_of(time),
        spent.resident / i64::from(arguments.sessions),
        held.suspected,
        held.lost,
    );
    println!(
        "datagrams without room in a socket: {} of ours, {} of SIPp's",
        dropped_datagrams(agent.local().port())?,
        dropped_datagrams(recorder.port())?,
    );
    if let Some(told) = held.first_loss {
        recorder.stop()?;
        bail!("{} sessions were lost, the first: {told}; SIPp has nothing to say", held.lost);
    }

    let (before, began) = (Usage::now()?, Instant::now());
    calls.end(arguments.window)?;
    let (spent, took) = (Usage::now()?.since(&before), began.elapsed());
    println!(
        "ended: in {:.2} s = {:.0}/s, {:.0}/s of a core",
        took.as_secs_f64(),
        per_second(arguments.sessions, took),
        per_second(arguments.sessions, spent.processor),
    );
    ensure!(agent.shutdown(Duration::from_secs(10)), "the agent does not end");
    recorder.stop()
}

fn per_second(sessions: u32, time: Duration) -> f64 {
    f64::from(sessions) / time.as_secs_f64().max(0.01)
}
