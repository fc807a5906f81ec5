//! What the core costs: microseconds for a message of the recorder, from its bytes to ours, and bytes of memory for a
//! session that is held.
//!
//! `cargo bench -p siprec-session`
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a benchmark prints its result")]

#[path = "../tests/support/held.rs"]
mod held;

use std::hint::black_box;
use std::time::{Duration, Instant};

use held::{Held, resident_bytes};

/// Sessions that are held at once.
const SESSIONS: [usize; 3] = [1000, 10_000, 50_000];

/// Messages of each kind.
const MESSAGES: u32 = 20_000;

fn main() {
    for (what, method, body) in [
        ("an OPTIONS", "OPTIONS", false),
        ("a refresh by UPDATE", "UPDATE", false),
        ("a re-INVITE with SDP", "INVITE", true),
    ] {
        let mut held = Held::new(0, Instant::now());
        let mut spent = Duration::ZERO;
        for _ in 0..MESSAGES {
            let request = held.request(method, body);
            let began = Instant::now();
            black_box(held.receive(&request));
            spent += began.elapsed();
            // What a transaction keeps is forgotten after half a minute.
            held.settle(method);
        }
        println!("{what}: {:.1} µs", spent.as_secs_f64() * 1e6 / f64::from(MESSAGES));
    }

    let now = Instant::now();
    // The memory of one number's sessions would be the next one's.
    let mut kept = Vec::new();
    for sessions in SESSIONS {
        // What one lets go of the next one takes, so that the process grows by what stays.
        let settled = |number| {
            let mut held = Held::new(number, now);
            held.wait(Duration::from_secs(60));
            held
        };
        let before = resident_bytes();
        kept.push((0..sessions).map(settled).collect::<Vec<_>>());
        let old = (resident_bytes() - before) / sessions;

        let (before, began) = (resident_bytes(), processor_time());
        kept.push((0..sessions).map(|number| Held::new(number, now)).collect());
        let took = processor_time() - began;
        let new = (resident_bytes() - before) / sessions;
        println!(
            "{sessions} sessions: {:.0} µs of set-up each, {new} bytes each when new, {old} a minute later",
            took.as_secs_f64() * 1e6 / sessions as f64
        );
    }
    black_box(kept);
}

/// Processor time of this thread: what else runs on the machine has no part in it.
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
}
