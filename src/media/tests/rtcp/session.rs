//! A branch and its reporter, on a clock of the test's own, and what they say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use rtcp_types::prelude::*;
use rtcp_types::{Compound, Packet, ReceiverReport, ReportBlock, SdesItem};
use siprec_media::rtcp::Reporter;
use siprec_media::{Branch, BranchSettings, RtpView, WallClock};
use siprec_model::{BranchEvent, BranchLimits, Medium, PayloadRule};

// No leading zero bytes: the parser that judges here takes those of a second chunk for padding.
pub(crate) const A: u32 = 0xA000_0007;
pub(crate) const B: u32 = 0xB000_0008;

/// Where the recorder's RTCP comes from.
pub(crate) const RECORDER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 3001);

/// What a compound packet says, in short.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Sender { ssrc: u32, ntp: u64, rtp: u32, packets: u32, octets: u32 },
    Receiver(u32),
    Cname(u32, String),
    Bye(Vec<u32>),
}

pub(crate) struct Session {
    pub(crate) branch: Branch,
    pub(crate) reporter: Reporter,
    pub(crate) clock: WallClock,
    pub(crate) start: Instant,
    pub(crate) ms: u64,
    /// Of the last packet of [`Session::speech`].
    pub(crate) sequence: u16,
    /// The highest sequence number of the last report.
    pub(crate) reported: u32,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self::keeping(BranchLimits::default())
    }

    pub(crate) fn keeping(limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        Self {
            branch: Branch::new(settings, 300, start),
            reporter: Reporter::new("1001@call", 0x1234_5678_0000_0001, start),
            clock: WallClock::new(start, SystemTime::UNIX_EPOCH),
            start,
            ms: 0,
            sequence: 20_000,
            reported: 0xFFFF,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// NTP time of a moment of the call.
    pub(crate) fn ntp(&self, ms: u64) -> u64 {
        self.clock.ntp(self.start + Duration::from_millis(ms))
    }

    pub(crate) fn open(&mut self) {
        self.open_to(false);
    }

    /// To a recorder that always sends reports, if `always`.
    pub(crate) fn open_to(&mut self, always: bool) {
        self.branch.open(&[PayloadRule { from: 0, to: 0 }], self.now());
        self.reporter.expect(always, &self.branch, self.now());
    }

    /// A packet of the call, now, and what is due of those held.
    pub(crate) fn packet(&mut self, ssrc: u32, timestamp: u32) {
        self.numbered_packet((self.ms / 20) as u16, ssrc, timestamp);
    }

    pub(crate) fn numbered_packet(&mut self, sequence: u16, ssrc: u32, timestamp: u32) {
        let header = [&[0x80, 0, 0, 0][..], &timestamp.to_be_bytes(), &ssrc.to_be_bytes(), &[0; 100]];
        let mut packet = header.concat();
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        let mut out = Vec::new();
        self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), self.now(), &mut out);
        while self.branch.next_packet(self.now(), &mut out).is_some() {}
    }

    /// So many packets, all at once, that a report should come of them.
    pub(crate) fn speech(&mut self, ssrc: u32) {
        for _ in 0..8 {
            self.sequence = self.sequence.wrapping_add(1);
            self.numbered_packet(self.sequence, ssrc, 160);
        }
        self.report();
    }

    pub(crate) fn report(&mut self) -> Option<Vec<Said>> {
        let mut out = vec![0xEE];
        let now = self.now();
        let length = self.reporter.poll_report(&mut self.branch, &self.clock, now, &mut out);
        length.map(|length| {
            assert_eq!(out.len(), 1 + length);
            said(&out[1..])
        })
    }

    /// Goes on to the next report and gives it.
    pub(crate) fn next_report(&mut self) -> Vec<Said> {
        while self.now() < self.reporter.next_timeout() {
            assert_eq!(self.report(), None, "not due at {} ms", self.ms);
            self.ms += 1;
        }
        self.report().unwrap()
    }

    pub(crate) fn goodbye(&mut self) -> Option<Vec<Said>> {
        let mut out = Vec::new();
        self.reporter.goodbye(&self.branch, &self.clock, &mut out).map(|_| said(&out))
    }

    pub(crate) fn hear(&mut self, datagram: &[u8]) -> Option<BranchEvent> {
        self.hear_from(RECORDER, datagram)
    }

    pub(crate) fn hear_from(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<BranchEvent> {
        let now = self.now();
        self.reporter.handle_datagram(datagram, from, &mut self.branch, now);
        self.reporter.poll_event()
    }

    /// Everything that is told when the recorder reports that it has received a packet of ours, by its number.
    pub(crate) fn acknowledge(&mut self, ssrc: u32, sequence: u16) -> Vec<BranchEvent> {
        let block = ReportBlock::builder(ssrc).extended_sequence_number(u32::from(sequence));
        let first = self.hear(&written(ReceiverReport::builder(99).add_report_block(block)));
        first.into_iter().chain(std::iter::from_fn(|| self.reporter.poll_event())).collect()
    }

    /// When the next report is told of as overdue, in milliseconds; the timer knows of it, and it is told once.
    pub(crate) fn overdue_after(&mut self) -> u64 {
        loop {
            while self.now() < self.reporter.next_timeout() {
                self.ms += 1;
            }
            self.report();
            match self.reporter.poll_event() {
                Some(BranchEvent::ReportOverdue) => break,
                other => assert_eq!(other, None),
            }
        }
        self.report();
        assert_eq!(self.reporter.poll_event(), None);
        self.ms
    }

    /// The recorder's host refuses what was sent.
    pub(crate) fn suspect(&mut self) {
        let now = self.now();
        let refused = now - Duration::from_millis(100)..=now;
        self.reporter.suspect(&self.branch, &refused, now);
    }

    /// A report of more than the one before.
    pub(crate) fn hear_report(&mut self, ssrc: u32) -> Option<BranchEvent> {
        self.reported += 1;
        self.repeat_report(ssrc)
    }

    /// The same report once more.
    pub(crate) fn repeat_report(&mut self, ssrc: u32) -> Option<BranchEvent> {
        let block = ReportBlock::builder(ssrc)
            .fraction_lost(3)
            .cumulative_lost(7)
            .extended_sequence_number(self.reported);
        self.hear(&written(ReceiverReport::builder(99).add_report_block(block)))
    }
}

pub(crate) fn said(compound: &[u8]) -> Vec<Said> {
    let mut all = Vec::new();
    for packet in Compound::parse(compound).unwrap() {
        match packet.unwrap() {
            Packet::Sr(report) => all.push(Said::Sender {
                ssrc: report.ssrc(),
                ntp: report.ntp_timestamp(),
                rtp: report.rtp_timestamp(),
                packets: report.packet_count(),
                octets: report.octet_count(),
            }),
            Packet::Rr(report) => {
                assert_eq!(report.n_reports(), 0);
                all.push(Said::Receiver(report.ssrc()));
            }
            Packet::Sdes(sdes) => {
                for chunk in sdes.chunks() {
                    let items: Vec<_> = chunk.items().collect();
                    assert_eq!(items.len(), 1);
                    assert_eq!(items[0].type_(), SdesItem::CNAME);
                    all.push(Said::Cname(chunk.ssrc(), items[0].get_value_string().unwrap()));
                }
            }
            Packet::Bye(bye) => all.push(Said::Bye(bye.ssrcs().collect())),
            other => panic!("{other:?}"),
        }
    }
    all
}

pub(crate) fn written(packet: impl RtcpPacketWriter) -> Vec<u8> {
    let mut bytes = vec![0; packet.calculate_size().unwrap()];
    packet.write_into(&mut bytes).unwrap();
    bytes
}

pub(crate) fn cname(ssrc: u32) -> Said {
    Said::Cname(ssrc, "1001@call".into())
}
