//! What a session takes whose recorder never stops asking. In a file, and so in a process, of its own, as each test is that
//! measures the memory of its process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/held.rs"]
mod held;

use std::time::Instant;

use held::{Held, resident_bytes};

#[test]
fn a_recorder_that_never_stops_asking_makes_a_session_no_larger_than_a_bound() {
    const SESSIONS: usize = 40;
    let now = Instant::now();
    let mut all: Vec<_> = (0..SESSIONS).map(|number| Held::new(number, now)).collect();
    let before = resident_bytes();
    for round in 0..200 {
        for held in &mut all {
            let update = held.request("UPDATE", true);
            assert_eq!(held.receive(&update), 1, "request {round} is answered");
        }
    }
    let each = (resident_bytes() - before) / all.len();
    // 64 KiB are kept of what is answered, and the allocator has its share.
    assert!(each < 130_000, "{each} bytes");
}
