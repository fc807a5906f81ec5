//! What a tap costs the call's streaming thread: nanoseconds for each packet, while the engine takes them.
//!
//! `cargo bench -p siprec-engine`
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use siprec_engine::{Engine, EngineConfig, EngineError, TapConfig};
use siprec_model::{BranchCommand, BranchId, BranchLimits, MediaControl as _, Medium, RecordingKey};

/// Packets of each run: a second of a thousand streams.
const PACKETS: u32 = 50_000;

fn main() -> Result<(), EngineError> {
    let engine = Engine::start(EngineConfig::default(), |_, _| {})?;
    for size in [172, 1200] {
        let tap = engine.tap(TapConfig { queue_bytes: 64 << 20, ..TapConfig::default() });
        let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
        let limits = BranchLimits::default();
        let create = BranchCommand::Create {
            branch,
            stream: tap.stream(),
            medium: Medium::Audio,
            clock_rate: 8000,
            cname: String::new(),
            limits,
        };
        if let Err(error) = engine.command(create) {
            println!("{error}");
        }
        let mut packet = vec![0xD5; size];
        packet.splice(..2, [0x80, 0]);
        let mut best = f64::INFINITY;
        for _ in 0..20 {
            best = best.min(run(|arrival| tap.push(black_box(&packet), arrival)));
        }
        println!("push of {size} bytes: {best:.0} ns a packet, {:?}", tap.stats());
    }
    Ok(())
}

/// Nanoseconds for one packet. Bursts with pauses, so that the engine runs beside it as it does in a call.
fn run(push: impl Fn(Instant)) -> f64 {
    const BURST: u32 = 500;
    let mut spent = Duration::ZERO;
    for _ in 0..PACKETS / BURST {
        let arrival = Instant::now();
        for _ in 0..BURST {
            push(arrival);
        }
        spent += arrival.elapsed();
        std::thread::park_timeout(Duration::from_micros(200));
    }
    spent.as_nanos() as f64 / f64::from(PACKETS)
}
