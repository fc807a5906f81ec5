//! A packet of G.711 on its way through a branch, without cryptography.

use std::time::{Duration, Instant};

use rtcp_types::prelude::*;
use rtcp_types::{ReceiverReport, ReportBlock};
use siprec_media::rtcp::Reporter;
use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, Medium, PayloadRule};

use crate::Work;

const TIMES: u32 = 10_000;
/// Of G.711, 20 ms.
const LENGTH: usize = 172;
const SSRC: u32 = 0xC0FF_EE00;
const RULES: [PayloadRule; 1] = [PayloadRule { from: 0, to: 0 }];

pub(crate) fn works() -> Vec<Box<dyn Work>> {
    vec![
        Box::new(Open(Stream::open())),
        Box::new(Acknowledged(Stream::open(), Reporter::new("1001@call", 7, Instant::now()))),
        Box::new(Held(Stream::open())),
        Box::new(Resent(Stream::open())),
        Box::new(Paused(Stream::open())),
    ]
}

/// One stream of a call and its branch.
struct Stream {
    branch: Branch,
    now: Instant,
    sequence: u16,
    /// What left last: rollover counter and sequence number.
    last: u64,
    out: Vec<u8>,
}

impl Stream {
    fn open() -> Self {
        let limits = BranchLimits::default();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let now = Instant::now();
        let mut branch = Branch::new(settings, 1000, now);
        branch.open(&RULES, now);
        Self { branch, now, sequence: 60_000, last: 0, out: Vec::with_capacity(4096) }
    }

    /// The next packet of the call, whether or not the gate is shut.
    fn packet(&mut self, shut: bool) {
        self.now += Duration::from_millis(20);
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = [0xD5; LENGTH];
        let timestamp = u32::from(self.sequence).wrapping_mul(160);
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = timestamp.to_be_bytes();
        let head = [0x80, 0, s0, s1, t0, t1, t2, t3, 0xC0, 0xFF, 0xEE, 0];
        packet.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        self.out.clear();
        let Ok(view) = RtpView::parse(&packet) else { return };
        if shut {
            self.branch.store_packet(&view, self.now);
        } else {
            let sent = self.branch.handle_packet(&view, self.now, &mut self.out);
            self.last = sent.map_or(self.last, |sent| sent.index);
        }
    }

    /// All that may leave now.
    fn drain(&mut self) {
        while self.branch.next_packet(self.now, &mut self.out).is_some() {
            self.out.clear();
        }
        while self.branch.poll_event().is_some() {}
    }
}

struct Open(Stream);

impl Work for Open {
    fn name(&self) -> &'static str {
        "a packet leaves at once"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for _ in 0..TIMES {
            self.0.packet(false);
            self.0.drain();
        }
    }
}

struct Acknowledged(Stream, Reporter);

impl Work for Acknowledged {
    fn name(&self) -> &'static str {
        "a packet leaves at once, and a report a second says that it arrived"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for number in 0..TIMES {
            self.0.packet(false);
            self.0.drain();
            if number % 50 == 0 {
                self.report();
            }
        }
    }
}

impl Acknowledged {
    fn report(&mut self) {
        let block = ReportBlock::builder(SSRC).extended_sequence_number(self.0.last as u32);
        let report = ReceiverReport::builder(1).add_report_block(block);
        let mut datagram = [0; 64];
        if let Ok(length) = report.write_into(&mut datagram) {
            self.1.handle_datagram(
                datagram.get(..length).unwrap_or_default(),
                &mut self.0.branch,
                self.0.now,
            );
        }
        while self.1.poll_event().is_some() {}
    }
}

struct Held(Stream);

impl Work for Held {
    fn name(&self) -> &'static str {
        "a packet waits behind a shut gate, and leaves when it opens"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for number in 1..=TIMES {
            self.0.packet(true);
            if number % 100 == 0 {
                self.0.now += Duration::from_secs(4);
                self.0.drain();
            }
        }
    }
}

struct Resent(Stream);

impl Work for Resent {
    fn name(&self) -> &'static str {
        "a packet leaves twice, since the first recorder failed"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        for number in 1..=TIMES {
            self.0.packet(false);
            self.0.drain();
            if number % 100 == 0 {
                self.recall();
            }
        }
    }
}

impl Resent {
    /// The last two seconds once more.
    fn recall(&mut self) {
        let Stream { branch, now, .. } = &mut self.0;
        branch.hold(*now);
        branch.recall(*now - Duration::from_secs(2), *now);
        branch.open(&RULES, *now);
        for _ in 0..100 {
            self.0.now += Duration::from_millis(20);
            self.0.drain();
        }
    }
}

struct Paused(Stream);

impl Work for Paused {
    fn name(&self) -> &'static str {
        "a packet comes while the recording is paused"
    }

    fn times(&self) -> u32 {
        TIMES
    }

    fn run(&mut self) {
        self.0.branch.pause(self.0.now);
        for _ in 0..TIMES {
            self.0.packet(false);
            self.0.drain();
        }
    }
}
