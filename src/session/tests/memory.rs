//! What a session that is held takes. `cargo bench -p siprec-session` measures it closer. One test alone: it measures the
//! memory of its process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "support/held.rs"]
mod held;

use std::time::Instant;

use held::{Held, resident_bytes};

#[test]
fn a_session_takes_less_than_30_kilobytes() {
    const SESSIONS: usize = 1000;
    let now = Instant::now();
    let before = resident_bytes();
    let all: Vec<_> = (0..SESSIONS).map(|number| Held::new(number, now)).collect();
    let each = (resident_bytes() - before) / all.len();
    assert!((1000..30_000).contains(&each), "{each} bytes");
}
