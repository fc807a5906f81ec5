//! A packet of G.711 on its way through a branch, without cryptography.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
const RECORDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5005);
const RULES: [PayloadRule; 1] = [PayloadRule { from: 0, to: 0 }];

pub(crate) fn works() -> Vec<Work> {
    let (mut live, mut held, mut resent) = (Stream::open(), Stream::open(), Stream::open());
    let (mut acknowledged, mut reporter) = (Stream::open(), Reporter::new("1001@call", 7, Instant::now()));
    let mut paused = Stream::open();
    paused.branch.pause(paused.now);
    vec![
        Work::new("a packet leaves at once", TIMES, move |_| live.pass()),
        Work::new(
            "a packet leaves at once, and a report a second says that it arrived",
            TIMES,
            move |number| {
                acknowledged.pass();
                if number % 50 == 0 {
                    acknowledged.report(&mut reporter);
                }
            },
        ),
        Work::new("a packet waits behind a shut gate, and leaves when it opens", TIMES, move |number| {
            held.packet(true);
            if number % 100 == 0 {
                held.now += Duration::from_secs(4);
                held.drain();
            }
        }),
        Work::new("a packet leaves twice, since the first recorder failed", TIMES, move |number| {
            resent.pass();
            if number % 100 == 0 {
                resent.recall();
            }
        }),
        Work::new("a packet comes while the recording is paused", TIMES, move |_| paused.pass()),
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
    /// The next packet of the call, and all that may leave.
    fn pass(&mut self) {
        self.packet(false);
        self.drain();
    }

    /// The recorder says that all has arrived.
    fn report(&mut self, reporter: &mut Reporter) {
        let block = ReportBlock::builder(SSRC).extended_sequence_number(self.last as u32);
        let report = ReceiverReport::builder(1).add_report_block(block);
        let mut datagram = [0; 64];
        if let Ok(length) = report.write_into(&mut datagram) {
            let datagram = datagram.get(..length).unwrap_or_default();
            reporter.handle_datagram(datagram, RECORDER, &mut self.branch, self.now);
        }
        while reporter.poll_event().is_some() {}
    }

    /// The last two seconds once more.
    fn recall(&mut self) {
        self.branch.hold(self.now);
        self.branch.recall(self.now - Duration::from_secs(2), self.now);
        self.branch.open(&RULES, self.now);
        for _ in 0..100 {
            self.now += Duration::from_millis(20);
            self.drain();
        }
    }
}
