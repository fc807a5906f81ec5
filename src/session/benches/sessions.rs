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
const SESSIONS: usize = 10_000;

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
    let settle = |mut held: Held| {
        held.wait(Duration::from_secs(60));
        held
    };
    // What one lets go of the next one takes, so that the process grows by what stays.
    let before = resident_bytes();
    let old: Vec<_> = (0..SESSIONS).map(|number| settle(Held::new(number, now))).collect();
    let settled = (resident_bytes() - before) / SESSIONS;

    let (before, began) = (resident_bytes(), Instant::now());
    let new: Vec<_> = (0..SESSIONS).map(|number| Held::new(number, now)).collect();
    let took = began.elapsed();
    let fresh = (resident_bytes() - before) / SESSIONS;
    println!(
        "{SESSIONS} sessions: {fresh} bytes each when new, {settled} a minute later; set up at {:.0} a second",
        SESSIONS as f64 / took.as_secs_f64()
    );
    black_box((old, new));
}
