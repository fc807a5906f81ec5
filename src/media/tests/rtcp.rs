//! RTCP towards the recorder and back.

#![cfg(test)]

use std::time::{Duration, Instant, SystemTime};

use rtcp_types::prelude::*;
use rtcp_types::{Bye, Compound, Packet, PayloadFeedback, Pli, ReceiverReport, ReportBlock, SdesItem};
use siprec_media::rtcp::Reporter;
use siprec_media::{Branch, BranchSettings, RtpView, WallClock};
use siprec_model::{BranchEvent, BranchLimits, Medium, PayloadRule};

// No leading zero bytes: the parser that judges here takes those of a second chunk for padding.
const A: u32 = 0xA000_0007;
const B: u32 = 0xB000_0008;

/// What a compound packet says, in short.
#[derive(Debug, PartialEq)]
enum Said {
    Sender { ssrc: u32, ntp: u64, rtp: u32, packets: u32, octets: u32 },
    Receiver(u32),
    Cname(u32, String),
    Bye(Vec<u32>),
}

struct Session {
    branch: Branch,
    reporter: Reporter,
    clock: WallClock,
    start: Instant,
    ms: u64,
}

impl Session {
    fn new() -> Self {
        let start = Instant::now();
        let limits = BranchLimits::default();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        Self {
            branch: Branch::new(settings, 300, start),
            reporter: Reporter::new("1001@call", 0x1234_5678_0000_0001, start),
            clock: WallClock::new(start, SystemTime::UNIX_EPOCH),
            start,
            ms: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// NTP time of a moment of the call.
    fn ntp(&self, ms: u64) -> u64 {
        self.clock.ntp(self.start + Duration::from_millis(ms))
    }

    fn open(&mut self) {
        self.branch.open(&[PayloadRule { from: 0, to: 0 }], self.now());
    }

    /// A packet of the call, now, and what is due of those held.
    fn packet(&mut self, ssrc: u32, timestamp: u32) {
        self.numbered_packet((self.ms / 20) as u16, ssrc, timestamp);
    }

    fn numbered_packet(&mut self, sequence: u16, ssrc: u32, timestamp: u32) {
        let header = [&[0x80, 0, 0, 0][..], &timestamp.to_be_bytes(), &ssrc.to_be_bytes(), &[0; 100]];
        let mut packet = header.concat();
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        let mut out = Vec::new();
        self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), self.now(), &mut out);
        while self.branch.next_packet(self.now(), &mut out).is_some() {}
    }

    fn report(&mut self) -> Option<Vec<Said>> {
        let mut out = vec![0xEE];
        let length = self.reporter.poll_report(&self.branch, &self.clock, self.now(), &mut out);
        length.map(|length| {
            assert_eq!(out.len(), 1 + length);
            said(&out[1..])
        })
    }

    /// Goes on to the next report and gives it.
    fn next_report(&mut self) -> Vec<Said> {
        while self.now() < self.reporter.next_timeout() {
            assert_eq!(self.report(), None, "not due at {} ms", self.ms);
            self.ms += 1;
        }
        self.report().unwrap()
    }

    fn goodbye(&mut self) -> Option<Vec<Said>> {
        let mut out = Vec::new();
        self.reporter.goodbye(&self.branch, &self.clock, &mut out).map(|_| said(&out))
    }

    fn hear(&mut self, datagram: &[u8]) -> Option<BranchEvent> {
        let now = self.now();
        self.reporter.handle_datagram(datagram, &mut self.branch, now);
        self.reporter.poll_event()
    }

    /// Everything that is told when the recorder reports that it has received a packet of ours, by its number.
    fn acknowledge(&mut self, ssrc: u32, sequence: u16) -> Vec<BranchEvent> {
        let block = ReportBlock::builder(ssrc).extended_sequence_number(u32::from(sequence));
        let first = self.hear(&written(ReceiverReport::builder(99).add_report_block(block)));
        first.into_iter().chain(std::iter::from_fn(|| self.reporter.poll_event())).collect()
    }

    /// When the next report is told of as overdue, in milliseconds; the timer knows of it, and it is told once.
    fn overdue_after(&mut self) -> u64 {
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

    fn hear_report(&mut self, ssrc: u32) -> Option<BranchEvent> {
        let block = ReportBlock::builder(ssrc)
            .fraction_lost(3)
            .cumulative_lost(7)
            .extended_sequence_number(0x0001_0000);
        self.hear(&written(ReceiverReport::builder(99).add_report_block(block)))
    }
}

fn said(compound: &[u8]) -> Vec<Said> {
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

fn written(packet: impl RtcpPacketWriter) -> Vec<u8> {
    let mut bytes = vec![0; packet.calculate_size().unwrap()];
    packet.write_into(&mut bytes).unwrap();
    bytes
}

fn cname(ssrc: u32) -> Said {
    Said::Cname(ssrc, "1001@call".into())
}

#[test]
fn the_first_packet_of_a_source_is_reported_at_once() {
    let mut session = Session::new();
    session.open();
    assert_eq!(session.report(), None);
    session.ms = 40;
    session.packet(A, 1000);
    let sender = Said::Sender { ssrc: A, ntp: session.ntp(40), rtp: 1000, packets: 1, octets: 100 };
    assert_eq!(session.report(), Some(vec![sender, cname(A)]));
    session.ms = 60;
    session.packet(A, 1160);
    assert_eq!(session.report(), None);
    session.packet(B, 5);
    let [_, _, ..] = session.report().unwrap()[..] else { panic!("both sources are reported") };
}

#[test]
fn a_sender_report_maps_the_arrival_and_not_the_moment_of_sending() {
    let mut session = Session::new();
    session.ms = 20;
    session.packet(A, 160);
    session.ms = 3000;
    session.open();
    session.packet(A, 24_000);
    let reports = session.report().unwrap();
    // The live packet waits behind the one held.
    assert_eq!(reports[0], Said::Sender { ssrc: A, ntp: session.ntp(20), rtp: 160, packets: 1, octets: 100 });
    session.ms += 1490;
    session.packet(A, 24_000 + 1490 * 8);
    let reports = session.next_report();
    let Said::Sender { ntp, rtp, packets, .. } = reports[0] else { panic!("{reports:?}") };
    assert_eq!((ntp, rtp, packets), (session.ntp(3000), 24_000, 2));
}

#[test]
fn packets_that_share_a_timestamp_map_the_first_of_them() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.report();
    for ms in [20, 70, 120] {
        session.ms = ms;
        session.packet(A, 320);
    }
    let reports = session.next_report();
    assert_eq!(reports[0], Said::Sender { ssrc: A, ntp: session.ntp(20), rtp: 320, packets: 4, octets: 400 });
}

#[test]
fn a_source_that_starts_again_is_mapped_anew() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 0x4000_0000);
    session.report();
    // Other numbers, and timestamps that look older.
    session.ms = 40;
    session.numbered_packet(9000, A, 160);
    let reports = session.next_report();
    let expected = Said::Sender { ssrc: A, ntp: session.ntp(40), rtp: 160, packets: 2, octets: 200 };
    assert_eq!(reports[0], expected);
}

#[test]
fn reports_go_on_while_nothing_is_sent_and_say_so() {
    let mut session = Session::new();
    let own = match session.next_report()[..] {
        [Said::Receiver(own), Said::Cname(same, _)] if own == same => own,
        ref other => panic!("{other:?}"),
    };
    session.open();
    session.packet(A, 160);
    assert!(matches!(session.report().unwrap()[..], [Said::Sender { .. }, Said::Cname(A, _)]));
    session.branch.pause(session.now());
    // It has sent since the last report but one: still a sender (RFC 3550 §6.4).
    assert!(matches!(session.next_report()[0], Said::Sender { ssrc: A, .. }));
    assert_eq!(session.next_report(), [Said::Receiver(A), cname(A)]);
    assert_eq!(session.next_report(), [Said::Receiver(A), cname(A)]);
    let goodbye = session.goodbye().unwrap();
    assert!(matches!(goodbye[0], Said::Sender { ssrc: A, packets: 1, .. }), "the last word on what was sent");
    assert_eq!(goodbye.last(), Some(&Said::Bye(vec![A, own])));
}

#[test]
fn a_branch_that_never_spoke_says_no_goodbye() {
    assert_eq!(Session::new().goodbye(), None);
}

#[test]
fn goodbye_carries_a_last_report_of_every_source() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.packet(B, 160);
    let goodbye = session.goodbye().unwrap();
    assert!(matches!(
        goodbye[..],
        [
            Said::Sender { ssrc: A, .. },
            Said::Sender { ssrc: B, .. },
            Said::Cname(A, _),
            Said::Cname(B, _),
            Said::Bye(_)
        ]
    ));
    assert_eq!(goodbye.last(), Some(&Said::Bye(vec![A, B])));
}

#[test]
fn a_long_name_is_cut_at_a_character() {
    let start = Instant::now();
    let mut session = Session::new();
    session.reporter = Reporter::new(&format!("a{}", "ü".repeat(200)), 1, start);
    let Said::Cname(_, ref name) = session.next_report()[1] else { panic!("no CNAME") };
    assert_eq!(*name, format!("a{}", "ü".repeat(127)));
}

#[test]
fn receiver_reports_of_our_sources_are_told() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    assert_eq!(session.hear_report(B), None, "not our source");
    let told =
        BranchEvent::ReportReceived { highest_sequence: 0x0001_0000, cumulative_lost: 7, fraction_lost: 3 };
    assert_eq!(session.hear_report(A), Some(told));
    assert_eq!(session.reporter.receiver_lost(), Some(7));
}

#[test]
fn the_loss_that_a_recorder_reports_is_that_of_all_sources() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.packet(B, 160);
    for (first, second) in [(3, 4), (5, 0)] {
        let block = |ssrc, lost| {
            ReportBlock::builder(ssrc).cumulative_lost(lost).extended_sequence_number(0x0001_0000)
        };
        let report = ReceiverReport::builder(99).add_report_block(block(A, first));
        session.hear(&written(report.add_report_block(block(B, second))));
        assert_eq!(session.reporter.receiver_lost(), Some((first + second) as i32));
    }
}

#[test]
fn only_a_report_of_what_was_sent_since_refutes_a_refusal_and_does_so_once() {
    let mut session = Session::new();
    session.open();
    let first = 300u16;
    let send = |session: &mut Session, ssrc, number: u16| {
        session.ms = u64::from(number) * 20;
        session.numbered_packet(number, ssrc, u32::from(number) * 160);
    };
    let refutes = |session: &mut Session, ssrc, number: u16| {
        session.acknowledge(ssrc, first.wrapping_add(number)).contains(&BranchEvent::RefusalRefuted)
    };
    (0..10).for_each(|number| send(&mut session, A, number));
    assert!(!refutes(&mut session, A, 5), "nothing was refused");
    session.reporter.suspect(&session.branch, true);
    (10..20).for_each(|number| send(&mut session, A, number));
    // It goes on, and counts from its beginning.
    session.reporter.suspect(&session.branch, false);
    assert!(!refutes(&mut session, A, 9), "sent before the refusal");
    assert!(!refutes(&mut session, A, 20), "never sent");
    assert!(!refutes(&mut session, B, 15), "not our source");
    assert!(refutes(&mut session, A, 10));
    assert!(!refutes(&mut session, A, 19), "told once");
    // Again, and after a long pause.
    session.reporter.suspect(&session.branch, false);
    assert!(!refutes(&mut session, A, 19));
    (20..30).for_each(|number| send(&mut session, A, number));
    session.reporter.suspect(&session.branch, true);
    assert!(!refutes(&mut session, A, 29));
    // Another recorder has nothing to do with it.
    (30..40).for_each(|number| send(&mut session, A, number));
    let now = session.now();
    session.reporter.restart(now);
    assert!(!refutes(&mut session, A, 39));
}

#[test]
fn reports_that_came_and_stay_away_for_three_intervals_are_told_once() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.ms = 60_000;
    session.report();
    assert_eq!(session.reporter.poll_event(), None, "none came, none is missed");
    session.hear_report(A);
    session.packet(A, 160);
    session.report();
    assert_eq!(session.overdue_after(), 67_500);
    session.ms = 74_999;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
    while session.now() < session.reporter.next_timeout() {
        session.ms += 1;
    }
    assert_eq!(session.ms, 75_000, "the timer knows of it");
    session.report();
    assert_eq!(session.reporter.poll_event(), Some(BranchEvent::ReportsStopped));
    session.ms = 200_000;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
}

#[test]
fn a_recorder_that_is_sent_nothing_need_not_report() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.hear_report(A);
    for ms in (5_000..=60_000).step_by(5_000) {
        session.ms = ms;
        session.report();
        assert_eq!(session.reporter.poll_event(), None, "nothing has been sent for {ms} ms");
    }
    session.ms = 63_000;
    session.packet(A, 160);
    session.report();
    assert_eq!(session.overdue_after(), 63_000 + 7_500);
    session.ms = 63_000 + 14_999;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
    session.ms += 1;
    session.report();
    assert_eq!(session.reporter.poll_event(), Some(BranchEvent::ReportsStopped));
}

#[test]
fn a_recorder_that_reports_often_is_given_15_s_too() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    for ms in [1000, 2000] {
        session.ms = ms;
        session.hear_report(A);
    }
    session.ms = 16_999;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
}

#[test]
fn a_recorder_that_reports_rarely_is_given_its_own_interval() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.hear_report(A);
    session.packet(A, 160);
    session.report();
    session.ms = 14_000;
    session.hear_report(A);
    session.packet(A, 160);
    session.report();
    assert_eq!(session.overdue_after(), 14_000 + 21_000);
    session.ms = 14_000 + 41_999;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
    session.ms += 1;
    session.report();
    assert_eq!(session.reporter.poll_event(), Some(BranchEvent::ReportsStopped));
}

#[test]
fn after_its_bye_no_report_is_missed() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.hear_report(A);
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    session.ms = 100_000;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
}

/// When the next thing is told of what the recorder reports, until a moment; in milliseconds.
fn told(session: &mut Session, until: u64) -> Vec<(u64, BranchEvent)> {
    let mut told = Vec::new();
    while session.ms < until {
        session.ms = (session.ms + 500).min(until);
        session.report();
        told.extend(std::iter::from_fn(|| session.reporter.poll_event()).map(|event| (session.ms, event)));
    }
    told
}

#[test]
fn who_always_reports_is_missed_from_the_first_packet_that_leaves() {
    use BranchEvent::{ReportOverdue, ReportsStopped};
    let mut session = Session::new();
    session.reporter.expect(true, &session.branch, session.now());
    session.open();
    assert_eq!(told(&mut session, 60_000), [], "nothing has left");
    session.packet(A, 160);
    session.report();
    assert_eq!(told(&mut session, 75_000), [(67_500, ReportOverdue), (75_000, ReportsStopped)]);
    assert_eq!(told(&mut session, 140_000), [], "nothing more has left");
    session.packet(A, 160);
    session.report();
    // Another command to open says nothing new.
    session.ms += 4_000;
    session.reporter.expect(true, &session.branch, session.now());
    assert_eq!(told(&mut session, 200_000), [(147_500, ReportOverdue), (155_000, ReportsStopped)]);
}

#[test]
fn who_always_reports_need_not_more_often_than_others_and_not_more_rarely() {
    let mut session = Session::new();
    session.reporter.expect(true, &session.branch, session.now());
    session.open();
    for _ in 0..5 {
        session.packet(A, 160);
        session.report();
        session.ms += 7_400;
        session.report();
        assert!(matches!(session.hear_report(A), Some(BranchEvent::ReportReceived { .. })));
    }
    session.packet(A, 160);
    session.report();
    let begun = session.ms;
    let overdue = (begun + 7_500, BranchEvent::ReportOverdue);
    assert_eq!(told(&mut session, begun + 20_000), [overdue, (begun + 15_000, BranchEvent::ReportsStopped)]);
}

#[test]
fn in_a_pause_no_report_need_come_and_what_left_before_is_still_to_be_reported_on() {
    for always in [true, false] {
        let mut session = Session::new();
        session.reporter.expect(always, &session.branch, session.now());
        session.open();
        session.packet(A, 160);
        session.hear_report(A);
        session.ms = 500;
        session.packet(A, 160);
        session.report();
        // Again and again before it is missed.
        for round in 0..3 {
            session.ms += 2_000;
            session.reporter.rest(session.now());
            session.reporter.rest(session.now());
            assert_eq!(told(&mut session, 62_500 + round * 62_000), [], "always: {always}");
            session.reporter.expect(always, &session.branch, session.now());
            session.reporter.expect(always, &session.branch, session.now());
        }
        assert_eq!(session.ms, 186_500);
        let [overdue, stopped] =
            [(188_000, BranchEvent::ReportOverdue), (195_500, BranchEvent::ReportsStopped)];
        assert_eq!(told(&mut session, 200_000), [overdue, stopped], "always: {always}");
    }
}

#[test]
fn a_report_that_comes_in_a_pause_counts() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    session.hear_report(A);
    session.ms = 500;
    session.packet(A, 160);
    session.report();
    session.reporter.rest(session.now());
    session.ms = 2_000;
    session.hear_report(A);
    assert_eq!(told(&mut session, 60_000), []);
    session.reporter.expect(false, &session.branch, session.now());
    assert_eq!(told(&mut session, 90_000), [], "nothing has left since");
    session.packet(A, 160);
    session.report();
    let [overdue, stopped] = [(97_500, BranchEvent::ReportOverdue), (105_000, BranchEvent::ReportsStopped)];
    assert_eq!(told(&mut session, 120_000), [overdue, stopped]);
}

#[test]
fn who_always_reports_does_so_after_its_bye_too() {
    let mut session = Session::new();
    session.reporter.expect(true, &session.branch, session.now());
    session.open();
    session.packet(A, 160);
    session.report();
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    session.ms = 500;
    session.packet(A, 160);
    session.report();
    assert_eq!(told(&mut session, 10_000), [(8_000, BranchEvent::ReportOverdue)]);
}

#[test]
fn another_recorder_is_expected_to_do_as_it_is_said_to() {
    let mut session = Session::new();
    session.reporter.expect(true, &session.branch, session.now());
    session.open();
    session.packet(A, 160);
    session.report();
    session.reporter.restart(session.now());
    session.reporter.expect(false, &session.branch, session.now());
    session.packet(A, 160);
    assert_eq!(told(&mut session, 60_000), []);
}

#[test]
fn key_frame_requests_for_our_sources_are_told_as_one() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    let of = |ssrc| written(PayloadFeedback::builder_owned(Pli::builder()).sender_ssrc(99).media_ssrc(ssrc));
    assert_eq!(session.hear(&of(B)), None);
    session.reporter.handle_datagram(&of(A), &mut session.branch, session.start);
    assert_eq!(session.hear(&of(A)), Some(BranchEvent::KeyframeWanted));
    assert_eq!(session.reporter.poll_event(), None);
}
