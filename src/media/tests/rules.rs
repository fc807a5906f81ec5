//! The rules of holding, opening and draining, one test each, on a clock of the test's own.

#![cfg(test)]

use std::time::{Duration, Instant};

use siprec_media::{Branch, BranchSettings, HoldMemory, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Hole, Medium, PayloadRule};

const RULES: &[PayloadRule] = &[PayloadRule { from: 0, to: 0 }];
const FIRST: u16 = 5000;

/// A branch and a call of 20 ms packets.
struct Call {
    branch: Branch,
    start: Instant,
    ms: u64,
    /// Sent packets: when (ms), index, marker, the call's own timestamp.
    sent: Vec<(u64, u64, bool, u32)>,
}

impl Call {
    fn new(medium: Medium, limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium, clock_rate: 8000, limits };
        Self { branch: Branch::new(settings, FIRST, start), start, ms: 0, sent: Vec::new() }
    }

    fn audio() -> Self {
        Self::new(Medium::Audio, BranchLimits::default())
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn open(&mut self) {
        self.branch.open(RULES, self.now());
    }

    /// The call's packet of this moment: sequence number and timestamp follow the time.
    fn packet(&self) -> Vec<u8> {
        packet((self.ms / 20) as u16, (self.ms * 8) as u32, 1, 0)
    }

    /// Packets for `ms` milliseconds, polling as the engine does.
    fn talk(&mut self, ms: u64) {
        for _ in 0..ms / 20 {
            let packet = self.packet();
            self.take(&packet);
            for _ in 0..4 {
                self.ms += 5;
                self.poll();
            }
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let mut out = Vec::new();
        let sent = self.branch.handle_packet(&RtpView::parse(packet).unwrap(), self.now(), &mut out);
        if let Some(sent) = sent {
            self.note(&out, sent.index);
        }
    }

    fn poll(&mut self) {
        let mut out = Vec::new();
        while let Some(sent) = self.branch.next_packet(self.now(), &mut out) {
            self.note(&out, sent.index);
            out.clear();
        }
    }

    fn note(&mut self, out: &[u8], index: u64) {
        let view = RtpView::parse(out).unwrap();
        assert_eq!(view.sequence(), index as u16);
        self.sent.push((self.ms, index, view.marker(), view.timestamp()));
    }

    fn events(&mut self) -> Vec<BranchEvent> {
        std::iter::from_fn(|| self.branch.poll_event()).collect()
    }

    fn gaps(&mut self) -> Vec<(u64, u64, DropCause)> {
        let of = |event| match event {
            BranchEvent::Gap(Hole { packets, duration, cause, .. }) => {
                Some((packets, duration.as_millis() as u64, cause))
            }
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    fn indices(&self) -> Vec<u64> {
        self.sent.iter().map(|(_, index, ..)| *index).collect()
    }
}

fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) -> Vec<u8> {
    let header = [
        &[0x80, payload_type][..],
        &sequence.to_be_bytes(),
        &timestamp.to_be_bytes(),
        &ssrc.to_be_bytes(),
        &[0xD5; 160],
    ];
    header.concat()
}

#[test]
fn the_calls_first_packet_is_the_recordings_first_although_the_recorder_answers_3_s_late() {
    let mut call = Call::audio();
    call.talk(3000);
    assert_eq!(call.sent, []);
    call.open();
    call.talk(4000);
    assert_eq!(call.sent.len(), 350);
    assert!(call.sent.iter().zip(0..).all(|((_, index, marker, timestamp), n)| {
        (*index, *marker, *timestamp) == (u64::from(FIRST) + n, false, n as u32 * 160)
    }));
    let report = call.branch.report();
    assert_eq!((report.seen, report.sent, report.gaps), (350, 350, 0));
}

#[test]
fn a_backlog_leaves_at_twice_real_time_and_live_packets_join_its_tail() {
    let mut call = Call::audio();
    call.talk(3000);
    call.open();
    call.talk(4000);
    for (at, .., timestamp) in &call.sent {
        let due = 3000 + u64::from(*timestamp) / 8 / 2;
        let live = u64::from(*timestamp) / 8;
        let lateness = at - due.max(live);
        assert!(lateness <= 5, "packet of {live} ms left at {at} ms");
    }
    // 3 s of backlog at twice real time: gone 3 s after the opening.
    let caught_up = call.sent.iter().find(|(at, .., timestamp)| *at == u64::from(*timestamp) / 8);
    assert!((5950..=6050).contains(&caught_up.unwrap().0), "{caught_up:?}");
    assert!((295..=305).contains(&call.branch.report().held), "{}", call.branch.report().held);
}

#[test]
fn catch_up_of_one_keeps_the_delay() {
    let mut call = Call::new(Medium::Audio, BranchLimits { catch_up: 1.0, ..BranchLimits::default() });
    call.talk(1000);
    call.open();
    call.poll();
    call.talk(2000);
    assert_eq!((call.sent.len(), call.branch.held_packets()), (101, 49));
    assert!(call.sent.iter().all(|(at, .., timestamp)| *at == u64::from(*timestamp) / 8 + 1000));
}

#[test]
fn catch_up_of_zero_drops_the_backlog_and_tells_the_gap() {
    let mut call = Call::new(Medium::Audio, BranchLimits { catch_up: 0.0, ..BranchLimits::default() });
    call.talk(1000);
    call.open();
    call.talk(40);
    assert_eq!(call.sent.len(), 2);
    assert_eq!(call.sent[0].1, u64::from(FIRST));
    assert_eq!(call.gaps(), [(50, 1000, DropCause::RingFull)]);
    assert_eq!(call.branch.report().drops.of(DropCause::RingFull), 50);
}

#[test]
fn a_recorder_that_takes_no_backlog_gets_none_and_the_next_one_does() {
    let mut call = Call::audio();
    call.talk(1000);
    call.branch.pace(Some(0.0));
    call.open();
    call.talk(40);
    assert_eq!(call.sent.len(), 2);
    assert_eq!(call.gaps(), [(50, 1000, DropCause::RingFull)]);
    // It is lost: the next one is as most are.
    call.branch.recall(call.now(), call.now());
    call.branch.pace(None);
    call.open();
    call.talk(1000);
    assert_eq!(call.sent.len(), 4 + 50, "the two packets again, and all that came");
    assert_eq!(call.gaps(), []);
}

#[test]
fn what_the_next_recorder_is_not_offered_any_more_of_what_the_lost_one_had_is_a_gap() {
    let mut call = Call::audio();
    call.open();
    call.talk(100);
    call.branch.recall(call.start, call.now());
    // The call has another codec since.
    call.branch.open(&[PayloadRule { from: 8, to: 8 }], call.now());
    let mut packet = call.packet();
    packet[1] = 8;
    call.take(&packet);
    while call.branch.held_packets() > 0 {
        call.ms += 20;
        call.poll();
    }
    assert_eq!(call.gaps(), [(5, 100, DropCause::RecorderLost)]);
}

/// The call's packets, by number, that the next recorder gets of those that the lost one had.
fn replayed(call: &mut Call) -> Vec<u64> {
    let before = call.sent.len();
    call.open();
    while call.branch.held_packets() > 0 {
        call.ms += 20;
        call.poll();
    }
    call.sent[before..].iter().map(|(.., timestamp)| u64::from(*timestamp) / 160).collect()
}

#[test]
fn what_left_before_a_sign_of_life_is_not_kept_where_no_report_has_come_in_time() {
    let mut call = Call::audio();
    call.open();
    call.talk(14_000);
    let all = call.branch.kept_bytes();
    call.branch.confirm(call.now());
    assert_eq!(call.branch.kept_bytes(), all, "a report may yet come, and say less");
    call.talk(6_000);
    call.branch.confirm(call.now());
    let second = 50 * (35 + packet(0, 0, 1, 0).len());
    assert_eq!(call.branch.kept_bytes(), 2 * second);
    // Two questions each 5 s, the second of which nobody answers.
    call.talk(5_000);
    assert_eq!(call.branch.kept_bytes(), 7 * second);
    let proof = call.start + Duration::from_secs(20);
    call.branch.confirm(proof);
    call.branch.recall(proof, call.now());
    assert_eq!(replayed(&mut call), (900..1250).collect::<Vec<_>>());
    // The next recorder has time for its first report again.
    let all = call.branch.kept_bytes();
    call.talk(5_000);
    call.branch.confirm(call.now());
    assert!(call.branch.kept_bytes() > all);
}

#[test]
fn where_reports_have_stopped_all_behind_the_last_one_is_sent_again_whatever_sip_says() {
    let mut call = Call::audio();
    call.open();
    call.talk(6_000);
    // The report acknowledges all but the last 10 packets; then the recorder turns deaf.
    let (_, highest, ..) = call.sent[289];
    call.branch.acknowledge(1, highest as u32, 0, call.now());
    for _ in 0..3 {
        call.talk(5_000);
        call.branch.confirm(call.now());
    }
    call.branch.recall(call.now(), call.now());
    assert_eq!(
        replayed(&mut call),
        (201..1050).collect::<Vec<_>>(),
        "and what left in the two seconds before it"
    );
    assert_eq!(call.gaps(), []);
}

#[test]
fn from_the_first_report_on_however_late_it_comes_answers_count_no_more() {
    let mut call = Call::audio();
    call.open();
    // No report has come for 20 s, and an answer says that the recorder lives.
    call.talk(20_000);
    call.branch.confirm(call.now());
    let second = 50 * (35 + packet(0, 0, 1, 0).len());
    assert_eq!(call.branch.kept_bytes(), 2 * second);
    // Its first report says nothing of what came before it began to hear, and what was confirmed is gone.
    let (_, highest, ..) = call.sent[949];
    call.branch.acknowledge(1, highest as u32, 0, call.now());
    call.talk(5_000);
    call.branch.confirm(call.now());
    call.branch.recall(call.now(), call.now());
    assert_eq!(replayed(&mut call), (901..1250).collect::<Vec<_>>());
    assert_eq!(call.gaps(), []);
}

#[test]
fn memory_that_a_recorder_has_filled_is_there_for_others_once_it_has_reported() {
    let memory = HoldMemory::new(1 << 20);
    let mut call = Call::audio();
    call.branch.share_memory(memory.clone());
    call.open();
    call.talk(25_000);
    let filled = memory.used();
    assert!(filled >= 1250 * (35 + packet(0, 0, 1, 0).len()), "{filled}");
    for _ in 0..20 {
        let (_, highest, ..) = *call.sent.last().unwrap();
        call.branch.acknowledge(1, highest as u32, 0, call.now());
        call.talk(5_000);
    }
    assert!(memory.used() < filled / 2, "{} of {filled}", memory.used());
    drop(call);
    assert_eq!(memory.used(), 0);
}

#[test]
fn next_timeout_is_when_the_next_held_packet_is_due() {
    let mut call = Call::audio();
    call.talk(100);
    assert_eq!(call.branch.next_timeout(call.now()), None);
    call.open();
    assert_eq!(call.branch.next_timeout(call.now()), Some(call.now()));
    call.poll();
    assert_eq!(call.branch.next_timeout(call.now()), Some(call.now() + Duration::from_millis(10)));
    call.ms += 2000;
    call.poll();
    assert_eq!(call.branch.next_timeout(call.now()), None);
}

#[test]
fn each_backlog_is_paced_anew() {
    let mut call = Call::audio();
    call.open();
    for round in 0..2 {
        for _ in 0..10 {
            let packet = call.packet();
            call.branch.store_packet(&RtpView::parse(&packet).unwrap(), call.now());
            call.ms += 20;
        }
        call.poll();
        assert_eq!(call.branch.held_packets(), 9, "backlog {round}");
        call.ms += 90;
        call.poll();
        assert_eq!((call.branch.held_packets(), call.sent.len()), (0, 10 * (round + 1)));
        call.ms += 5000;
    }
}

#[test]
fn a_full_ring_throws_out_the_oldest_and_tells_the_hole_with_its_length() {
    let limits = BranchLimits { hold_time: Duration::from_secs(2), ..BranchLimits::default() };
    let mut call = Call::new(Medium::Audio, limits);
    call.talk(5000);
    assert_eq!(call.branch.held_packets(), 101);
    assert_eq!(call.gaps(), []);
    call.open();
    call.poll();
    assert_eq!(call.sent[0], (5000, u64::from(FIRST), false, 150 * 160));
    assert_eq!(call.gaps(), [(150, 3000, DropCause::RingFull)]);
}

#[test]
fn holes_are_measured_with_the_clock_rate_that_was_described_last() {
    let limits = BranchLimits { hold_time: Duration::from_secs(2), ..BranchLimits::default() };
    let mut call = Call::new(Medium::Audio, limits);
    call.branch.describe(Medium::Audio, 4000, None);
    call.talk(5000);
    call.open();
    call.poll();
    assert_eq!(call.gaps(), [(150, 6000, DropCause::RingFull)]);
}

#[test]
fn nothing_that_was_said_shows_in_debug_output() {
    let mut call = Call::audio();
    call.talk(1000);
    let text = format!("{:?}", call.branch);
    assert!(text.contains("packets: 50"), "{text}");
    assert!(!text.contains("213, 213"), "payload bytes show");
}

#[test]
fn bytes_bound_the_ring_too() {
    let limits = BranchLimits { hold_bytes: 10_400, ..BranchLimits::default() };
    let mut call = Call::new(Medium::Audio, limits);
    call.talk(5000);
    assert!(call.branch.held_bytes() <= 10_400);
    assert!(call.branch.held_packets() >= 50);
    let report = call.branch.report();
    assert_eq!(report.drops.of(DropCause::RingFull) + call.branch.held_packets() as u64, 250);
}

#[test]
fn a_ring_that_overflows_while_it_drains_loses_the_oldest_and_numbers_go_on() {
    let limits = BranchLimits { hold_bytes: 10_400, catch_up: 1.0, ..BranchLimits::default() };
    let mut call = Call::new(Medium::Audio, limits);
    call.talk(1000);
    call.open();
    call.poll();
    // The host gives it no time for 200 ms: the ring is full, 10 packets go.
    for _ in 0..10 {
        let packet = call.packet();
        call.take(&packet);
        call.ms += 20;
    }
    call.poll();
    let [first, second, ..] = call.sent[..] else { panic!("{:?}", call.sent) };
    assert_eq!((first.1, second.1), (u64::from(FIRST), u64::from(FIRST) + 1));
    assert!(second.2, "audio starts afresh after the hole");
    let lost = u64::from(second.3 - first.3) / 160 - 1;
    assert!(lost > 0);
    assert_eq!(call.gaps(), [(lost, lost * 20, DropCause::RingFull)]);
}

#[test]
fn a_pause_of_40000_packets_leaves_no_hole_in_the_numbers() {
    for (medium, marker) in [(Medium::Audio, true), (Medium::Video, false)] {
        let mut call = Call::new(medium, BranchLimits::default());
        call.open();
        call.talk(200);
        call.branch.pause(call.now());
        call.talk(800_000);
        call.open();
        call.talk(200);
        assert_eq!(call.indices(), (5000..5020).collect::<Vec<u64>>());
        assert!(call.sent.iter().zip(0..).all(|((_, _, set, _), n)| *set == (marker && n == 10)));
        assert_eq!(call.sent[10].3, (800_200 * 8) as u32, "the call's own timestamp");
        assert_eq!(call.branch.report().seen, 20);
    }
}

#[test]
fn what_was_held_before_a_pause_goes_first_after_it_however_long_it_was() {
    let mut call = Call::audio();
    call.talk(1000);
    call.branch.pause(call.now());
    call.talk(600_000);
    call.branch.hold(call.now());
    call.talk(1000);
    assert_eq!((call.sent.len(), call.branch.held_packets()), (0, 100));
    call.open();
    call.talk(4000);
    assert_eq!(call.indices(), (5000..5300).collect::<Vec<u64>>());
    let restarts: Vec<usize> = (0..300).filter(|n| call.sent[*n].2).collect();
    assert_eq!(restarts, [50], "play-out starts afresh where the pause was");
    assert_eq!(call.branch.report().drops.total(), 0);
    // The pause is no part of the pace.
    let (before, after) = (call.sent[49].0, call.sent[50].0);
    assert!(after - before <= 15, "{before} {after}");
}

#[test]
fn what_arrived_before_the_pause_is_held_although_it_is_handled_later() {
    let mut call = Call::audio();
    call.open();
    let (packet, arrival) = (call.packet(), call.now());
    call.ms += 1;
    call.branch.pause(call.now());
    call.branch.store_packet(&RtpView::parse(&packet).unwrap(), arrival);
    call.branch.store_packet(&RtpView::parse(&packet).unwrap(), call.now());
    assert_eq!((call.branch.held_packets(), call.branch.report().seen), (1, 1));
}

#[test]
fn behind_a_shut_gate_an_open_branch_stores() {
    let mut call = Call::audio();
    call.open();
    let packet = call.packet();
    call.branch.store_packet(&RtpView::parse(&packet).unwrap(), call.now());
    assert_eq!(call.branch.held_packets(), 1);
    call.talk(20);
    assert_eq!(call.sent.len(), 1, "the duplicate is stale");
    assert_eq!(call.branch.report().drops.of(DropCause::Stale), 1);
}

#[test]
fn opening_again_with_the_same_rules_begins_nothing_and_a_move_does() {
    let mut call = Call::audio();
    call.open();
    call.talk(20);
    call.ms += 20;
    call.open();
    call.talk(20);
    assert_eq!(call.indices(), [5000, 5002], "a loss of the call stays visible");
    call.ms += 20;
    call.branch.begin_interval();
    call.talk(20);
    call.ms += 20;
    call.branch.open(&[PayloadRule { from: 0, to: 8 }], call.now());
    call.talk(20);
    assert_eq!(call.indices(), [5000, 5002, 5003, 5004]);
}

#[test]
fn each_source_keeps_its_ssrc_and_has_numbers_of_its_own() {
    let mut call = Call::audio();
    call.open();
    for (sequence, ssrc) in [(100, 1), (101, 1), (9, 2), (102, 1), (10, 2)] {
        let packet = packet(sequence, u32::from(sequence) * 160, ssrc, 0);
        call.take(&packet);
    }
    assert_eq!(call.indices(), [5000, 5001, 5000, 5002, 5001]);
    let events = call.events();
    assert_eq!(
        events,
        [
            BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival: call.now() },
            BranchEvent::SourceChanged { ssrc: 2 }
        ]
    );
}

#[test]
fn a_flood_of_sources_does_not_push_out_the_calls_own() {
    let mut call = Call::audio();
    call.open();
    for n in 0..3000u32 {
        let forged = packet(n as u16, 0, 1000 + n, 0);
        call.take(&forged);
        call.talk(20);
    }
    let report = call.branch.report();
    // 7 places at first, and again each time 7 have been silent for 5 s, until there have been 64 sources.
    assert_eq!(report.sent, 3000 + 63);
    assert_eq!(report.drops.of(DropCause::TooManySources), 6000 - report.sent);
    let own = call.indices().into_iter().filter(|index| *index > 5000).collect::<Vec<u64>>();
    assert_eq!(own, (5001..8000).collect::<Vec<u64>>());
    let told = call.gaps();
    assert!(told.len() <= 61, "at most one a second: {}", told.len());
}

#[test]
fn a_retired_source_is_never_admitted_again() {
    let mut call = Call::audio();
    call.open();
    for ssrc in 0..9 {
        let packet = packet(1, 0, ssrc, 0);
        call.take(&packet);
        call.ms += if ssrc == 7 { 4999 } else { 0 };
    }
    assert_eq!(call.branch.report().drops.of(DropCause::TooManySources), 1, "nobody was silent for 5 s");
    call.ms += 1;
    for (ssrc, sent) in [(8, true), (0, false), (1, true)] {
        let before = call.sent.len();
        let packet = packet(2, 160, ssrc, 0);
        call.take(&packet);
        assert_eq!(call.sent.len() > before, sent, "source {ssrc}");
    }
}

#[test]
fn an_unknown_payload_type_is_counted_and_told_once_per_opening() {
    let mut call = Call::audio();
    let unknown = packet(1, 0, 1, 13);
    call.take(&unknown);
    call.open();
    call.poll();
    call.take(&unknown);
    let first = BranchEvent::FirstPacket { payload_type: 13, ssrc: 1, arrival: call.now() };
    let told = BranchEvent::PayloadUnknown { payload_type: 13 };
    assert_eq!(call.events(), [first, told.clone()]);
    call.branch.pause(call.now());
    call.open();
    call.take(&unknown);
    assert_eq!(call.events(), [told]);
    call.poll();
    call.ms += 500;
    call.poll();
    assert_eq!(call.branch.report().drops.of(DropCause::PayloadUnknown), 3);
    assert_eq!(call.sent, []);
}

#[test]
fn a_disabled_branch_forgets_what_it_holds_and_counts_what_comes() {
    let mut call = Call::audio();
    call.talk(100);
    call.branch.disable(call.now());
    call.talk(100);
    assert_eq!((call.branch.held_packets(), call.branch.report().drops.of(DropCause::Closed)), (0, 10));
    call.branch.hold(call.now());
    call.talk(100);
    call.open();
    call.talk(100);
    assert_eq!(call.indices()[0], u64::from(FIRST));
    assert_eq!(call.sent[0].3, 200 * 8);
}

#[test]
fn backlog_empty_is_told_once_when_all_that_was_held_has_left() {
    let mut call = Call::audio();
    call.talk(200);
    call.events();
    call.branch.drain();
    assert_eq!(call.events(), []);
    call.open();
    for _ in 0..30 {
        call.poll();
        let done = call.branch.held_packets() == 0;
        assert_eq!(call.events().contains(&BranchEvent::BacklogEmpty { recalls: 0 }), done && call.ms == 290);
        call.ms += 5;
    }
    assert_eq!(call.sent.len(), 10);
}

#[test]
fn backlog_empty_comes_at_once_when_nothing_is_held() {
    let mut call = Call::audio();
    call.branch.drain();
    assert_eq!(call.events(), [BranchEvent::BacklogEmpty { recalls: 0 }]);
    call.branch.drain();
    assert_eq!(call.events(), []);
}

#[test]
fn what_is_still_held_at_the_end_is_lost_and_told() {
    let mut call = Call::audio();
    call.talk(1000);
    call.branch.close(call.now());
    assert_eq!(call.gaps(), [(50, 1000, DropCause::NotDrained)]);
    let report = call.branch.report();
    assert_eq!(
        (report.seen, report.sent, report.drops.of(DropCause::NotDrained), report.gaps),
        (50, 0, 50, 1)
    );
    call.talk(20);
    assert_eq!(call.branch.report().drops.of(DropCause::Closed), 1);
}

#[test]
fn losses_before_and_after_the_branch_are_counted_and_told() {
    let mut call = Call::audio();
    call.open();
    call.talk(200);
    call.branch.handle_loss(DropCause::QueueFull, 3);
    call.branch.handle_loss(DropCause::NotRtp, 2);
    call.branch.handle_send_failure(4, 4 * 172);
    call.talk(20);
    let report = call.branch.report();
    assert_eq!((report.seen, report.sent, report.sent_bytes), (16, 7, 7 * 172));
    assert_eq!(call.gaps(), [(3, 60, DropCause::QueueFull)], "another recorder may get what did not leave");
    call.branch.pause(call.now());
    call.branch.handle_loss(DropCause::NotRtp, 1);
    assert_eq!(call.branch.report().seen, 16, "a pause is not meant to be recorded");
}

#[test]
fn held_never_exceeds_sent() {
    let mut call = Call::audio();
    call.talk(40);
    call.open();
    call.talk(100);
    call.branch.handle_send_failure(u64::MAX, 0);
    let report = call.branch.report();
    assert_eq!((report.sent, report.held), (0, 0));
}

#[test]
fn a_packet_larger_than_the_ring_is_dropped_alone() {
    let limits = BranchLimits { hold_bytes: 1100, ..BranchLimits::default() };
    let mut call = Call::new(Medium::Audio, limits);
    call.talk(100);
    let held = call.branch.held_packets();
    let large = [packet(6, 960, 1, 0), vec![0; 1000]].concat();
    call.take(&large);
    assert_eq!(call.branch.held_packets(), held);
    assert_eq!(call.branch.report().drops.of(DropCause::RingFull), 1);
}

#[test]
fn the_first_number_leaves_room_before_the_first_wrap() {
    for (given, first) in [(0, 256), (255, 256), (256, 256), (0x7FFF, 0x7FFF), (0xFFFF, 0x7FFF)] {
        let now = Instant::now();
        let limits = BranchLimits::default();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut branch = Branch::new(settings, given, now);
        branch.open(RULES, now);
        let mut out = Vec::new();
        let packet = packet(60_000, 0, 1, 0);
        let sent = branch.handle_packet(&RtpView::parse(&packet).unwrap(), now, &mut out);
        assert_eq!(sent.unwrap().index, first);
    }
}

#[test]
fn a_packet_changed_in_place_is_the_one_that_is_appended() {
    let now = Instant::now();
    // What does not fit leaves or goes at once.
    let limits = BranchLimits { catch_up: 0.0, ..BranchLimits::default() };
    let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
    let branch = || {
        let mut branch = Branch::new(settings, FIRST, now);
        branch.open(RULES, now);
        branch
    };
    let (mut appending, mut in_place) = (branch(), branch());
    let mut last = packet(8, 160, 1, 0);
    last[0] |= 0x20;
    let packets = [packet(7, 0, 1, 0), packet(7, 0, 1, 0), packet(9, 320, 1, 99), packet(3, 0, 2, 0), last];
    for mut packet in packets {
        let mut out = Vec::new();
        let appended = match RtpView::parse(&packet) {
            Ok(view) => appending.handle_packet(&view, now, &mut out),
            Err(unusable) => {
                appending.handle_loss(unusable.into(), 1);
                None
            }
        };
        let before = packet.clone();
        assert_eq!(in_place.handle_packet_in_place(&mut packet, now), appended);
        assert_eq!(packet, if appended.is_some() { out } else { before });
    }
    assert_eq!(in_place.report(), appending.report());
    assert_eq!(in_place.report().sent, 2);
    // What does not leave at once is held as ever.
    in_place.hold(now);
    assert_eq!(in_place.handle_packet_in_place(&mut packet(8, 160, 1, 0), now), None);
    assert_eq!(in_place.held_packets(), 1);
}
