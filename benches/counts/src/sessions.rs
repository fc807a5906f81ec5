//! A recording session, from bytes to bytes, with nothing around it.

use std::hint::black_box;
use std::time::Instant;

use crate::Work;

#[allow(clippy::unwrap_used, reason = "shared with the tests of the session core")]
#[path = "../../../src/session/tests/support/held.rs"]
mod held;

use held::Held;

const TIMES: u32 = 200;

pub(crate) fn works() -> Vec<Work> {
    let (now, mut next) = (Instant::now(), 0);
    let set_up = move |_| {
        black_box(Held::new(next, now));
        next += 1;
    };
    let mut works = vec![Work::new("a session is set up", TIMES, set_up)];
    for (name, method, with_sdp) in [
        ("the recorder asks by OPTIONS", "OPTIONS", false),
        ("the recorder refreshes by UPDATE", "UPDATE", false),
        ("the recorder offers by re-INVITE", "INVITE", true),
    ] {
        let mut held = Held::new(0, now);
        works.push(Work::new(name, TIMES, move |_| {
            let request = held.request(method, with_sdp);
            black_box(held.receive(&request));
            held.settle(method);
        }));
    }
    works
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator;

    /// What else runs in the process allocates, too: the least of some times is what one alone takes.
    fn allocations_of_one(next: &mut usize, now: Instant) -> u64 {
        let mut once = || {
            *next += 1;
            allocator::during(|| drop(black_box(Held::new(*next, now))))
        };
        (0..10).map(|_| once()).min().unwrap_or_default()
    }

    #[test]
    fn a_session_allocates_as_often_beside_thousands_as_alone() {
        let (now, mut next) = (Instant::now(), 0);
        let alone = allocations_of_one(&mut next, now);
        let others: Vec<_> = (0..2000).map(|number| Held::new(100_000 + number, now)).collect();
        assert!(alone > 100, "{alone}: nothing is counted");
        assert_eq!(allocations_of_one(&mut next, now), alone);
        drop(others);
    }
}
