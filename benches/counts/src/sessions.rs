//! A recording session, from bytes to bytes, with nothing around it.

use std::hint::black_box;
use std::time::Instant;

use crate::Work;

#[allow(clippy::unwrap_used, reason = "shared with the tests of the session core")]
#[path = "../../../src/session/tests/support/held.rs"]
mod held;

use held::Held;

const TIMES: u32 = 200;

pub(crate) fn works() -> Vec<Box<dyn Work>> {
    let mut works: Vec<Box<dyn Work>> = vec![Box::new(SetUp { now: Instant::now(), next: 0 })];
    for (name, method, with_sdp) in [
        ("the recorder asks by OPTIONS", "OPTIONS", false),
        ("the recorder refreshes by UPDATE", "UPDATE", false),
        ("the recorder offers by re-INVITE", "INVITE", true),
    ] {
        works.push(Box::new(Asked { name, method, with_sdp, held: Held::new(0, Instant::now()) }));
    }
    works
}

struct SetUp {
    now: Instant,
    next: usize,
}

impl Work for SetUp {
    fn name(&self) -> &'static str {
        "a session is set up"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for _ in 0..TIMES {
            black_box(Held::new(self.next, self.now));
            self.next += 1;
        }
    }
}

struct Asked {
    name: &'static str,
    method: &'static str,
    with_sdp: bool,
    held: Held,
}

impl Work for Asked {
    fn name(&self) -> &'static str {
        self.name
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for _ in 0..TIMES {
            let request = self.held.request(self.method, self.with_sdp);
            black_box(self.held.receive(&request));
            self.held.settle(self.method);
        }
    }
}
