//! Reports count up to what they acknowledge.

use std::time::Instant;

use rtcp_types::{ReceiverReport, ReceiverReportBuilder, ReportBlock};
use siprec_model::{BranchEvent, BranchLimits, TimeSpan};

use crate::session::*;

type Told = Vec<(u64, BranchEvent)>;

/// Packets leave each so many milliseconds, as many as there are of 20 ms.
#[derive(Clone, Copy)]
struct Speech {
    burst: u64,
}

const SPEECH: Speech = Speech { burst: 20 };

impl Speech {
    /// Speech of a source until a moment. What is told.
    fn of(self, ssrc: u32, session: &mut Session, until: u64) -> Told {
        let mut told = Vec::new();
        while session.ms < until {
            session.ms += 20;
            if session.ms.is_multiple_of(self.burst) {
                for _ in 0..self.burst / 20 {
                    session.sequence = session.sequence.wrapping_add(1);
                    session.numbered_packet(session.sequence, ssrc, 160);
                }
            }
            told.extend(polled(session));
        }
        told
    }
}

/// Silence until a moment. What is told.
fn silence(session: &mut Session, until: u64) -> Told {
    let mut told = Vec::new();
    while session.ms < until {
        session.ms += 20;
        told.extend(polled(session));
    }
    told
}

fn polled(session: &mut Session) -> Told {
    session.report();
    std::iter::from_fn(|| session.reporter.poll_event()).map(|event| (session.ms, event)).collect()
}

/// The number of the last packet that had left at a moment of speech which has not been interrupted.
fn left_at(ms: u64) -> u16 {
    // The branch begins at 300, with the packet of 20 ms.
    (299 + ms / 20) as u16
}

/// A report that has come of all that had left by a moment, and since when it lets miss what left.
fn acknowledge(session: &mut Session, heard: u64) -> Option<u64> {
    let told = session.acknowledge(A, left_at(heard));
    let [BranchEvent::ReportReceived { missing_since, .. }] = told[..] else { panic!("{told:?}") };
    missing_since.map(|since| since.duration_since(session.start).as_millis() as u64)
}

/// That a report is overdue and that they have stopped is told that long after a moment, or some time later: as roughly as it is known
/// when packets left.
fn assert_deaf(told: &Told, since: u64, interval: u64) {
    let [(overdue, BranchEvent::ReportOverdue), (stopped, BranchEvent::ReportsStopped)] = told[..] else {
        panic!("{told:?}")
    };
    let (first, last) = (since + interval * 3 / 2, since + interval * 3);
    // Eight packets more, which may leave faster than they came.
    let later = |ms: u64| ms + 40..=ms + 320;
    assert!(later(first).contains(&overdue) && later(last).contains(&stopped), "{first}: {told:?}");
}

#[test]
fn a_report_counts_from_when_what_left_has_not_come_unless_it_may_be_under_way() {
    for always in [true, false] {
        for (heard, since) in
            [(9_980, 10_000), (9_100, 10_000), (8_600, 8_600), (6_000, 6_000), (5_020, 5_020)]
        {
            let mut session = Session::new();
            session.open_to(always);
            assert_eq!(SPEECH.of(A, &mut session, 5_000), []);
            assert_eq!(acknowledge(&mut session, 4_980), None);
            assert_eq!(SPEECH.of(A, &mut session, 10_000), []);
            let missing = acknowledge(&mut session, heard);
            assert_eq!(missing.is_some(), since < 10_000, "{heard}");
            assert!(missing.is_none_or(|missing| (since + 160..=since + 260).contains(&missing)));
            assert_deaf(&SPEECH.of(A, &mut session, 26_000), since, 5_000);
        }
    }
}

#[test]
fn a_report_that_repeats_itself_shows_that_what_was_under_way_has_not_come() {
    for repeats in [true, false] {
        let mut session = Session::new();
        session.open();
        SPEECH.of(A, &mut session, 5_000);
        acknowledge(&mut session, 4_980);
        SPEECH.of(A, &mut session, 10_000);
        assert_eq!(acknowledge(&mut session, 9_100), None);
        let mut told = SPEECH.of(A, &mut session, 14_000);
        if repeats {
            assert_eq!(session.acknowledge(A, left_at(9_100)), []);
        }
        told.extend(SPEECH.of(A, &mut session, 26_000));
        assert_deaf(&told, if repeats { 9_100 } else { 10_000 }, 5_000);
    }
}

#[test]
fn the_time_from_what_has_not_come_to_the_next_report_makes_no_interval_longer() {
    let mut session = Session::new();
    session.open();
    for (ms, heard) in [(5_000, 4_980), (10_000, 6_000), (15_000, 14_980)] {
        let told = SPEECH.of(A, &mut session, ms);
        assert!(told.iter().all(|(_, event)| *event == BranchEvent::ReportOverdue), "{told:?}");
        acknowledge(&mut session, heard);
    }
    assert_deaf(&SPEECH.of(A, &mut session, 31_000), 15_000, 5_000);
}

#[test]
fn a_recorder_that_reports_rarely_has_its_own_interval_from_what_has_not_come_on() {
    let mut session = Session::new();
    session.open();
    for ms in [20_000, 40_000] {
        assert_eq!(SPEECH.of(A, &mut session, ms), []);
        assert_eq!(acknowledge(&mut session, ms - 20), None);
    }
    assert_eq!(SPEECH.of(A, &mut session, 60_000), []);
    let missing = acknowledge(&mut session, 48_000).unwrap();
    assert!((48_160..49_000).contains(&missing), "{missing}");
    let told = SPEECH.of(A, &mut session, 112_000);
    let [(overdue, BranchEvent::ReportOverdue), (stopped, BranchEvent::ReportsStopped)] = told[..] else {
        panic!("{told:?}")
    };
    // From eight packets to a report.
    let interval = 20_000 - 160;
    assert!(
        (overdue - missing).abs_diff(interval * 3 / 2) <= 20
            && (stopped - missing).abs_diff(interval * 3) <= 20
    );
}

#[test]
fn what_is_heard_without_a_break_ends_where_packets_are_missing() {
    let (mut session, speech) = (Session::new(), Speech { burst: 20 });
    session.open();
    let mut hear = |until: u64, heard: u64| {
        speech.of(A, &mut session, until);
        let told = session.acknowledge(A, left_at(heard));
        let [BranchEvent::ReportReceived { missing_since, unbroken, .. }] = told[..] else {
            panic!("{told:?}")
        };
        let since = |moment: Instant| moment.duration_since(session.start).as_millis() as u64;
        (missing_since.map(since), unbroken.map(|TimeSpan { from, to }| [since(from), since(to)]))
    };
    assert_eq!(hear(5_000, 5_000), (None, Some([5_000, 5_000])));
    assert_eq!(hear(10_000, 10_000), (None, Some([5_000, 10_000])));
    let (missing, unbroken) = hear(15_000, 12_000);
    assert!(missing.is_some_and(|since| (12_000..12_400).contains(&since)), "{missing:?}");
    assert_eq!(unbroken, missing.map(|since| [5_000, since]));
}

/// RFC 3550 §6.3.1: 6.2 s are the longest that a receiver takes which means to report each 5 s.
#[test]
fn a_long_way_bursts_and_a_receiver_that_takes_a_moment_are_no_sign() {
    for burst in [20, 100, 1_000] {
        for (way, takes) in [(0, 0), (20, 200), (500, 0), (500, 240)] {
            let (mut session, speech) = (Session::new(), Speech { burst });
            session.open_to(true);
            for interval in [2_060, 6_160, 6_160, 4_000, 6_160, 2_060, 5_000] {
                let begun = session.ms;
                let told = speech.of(A, &mut session, begun + interval);
                assert_eq!(told, [], "each {burst} ms, {way} ms away, {takes} ms later");
                // A burst leaves at once, when it is full.
                let heard = (session.ms - 2 * way - takes) / burst * burst;
                acknowledge(&mut session, heard.max(burst));
            }
        }
    }
}

#[test]
fn what_is_lost_before_a_silence_is_no_sign_unless_it_is_more_than_a_second() {
    for (after, lost, is_deaf) in
        [(5_500, 800, false), (5_100, 1_000, false), (8_000, 1_000, false), (8_000, 1_100, true)]
    {
        let mut session = Session::new();
        session.open();
        SPEECH.of(A, &mut session, 2_000);
        acknowledge(&mut session, 1_980);
        SPEECH.of(A, &mut session, 5_000);
        let mut told = silence(&mut session, after);
        for _ in 0..6 {
            told.extend(session.acknowledge(A, left_at(5_000 - lost)).into_iter().map(|event| (0, event)));
            let until = session.ms + 5_000;
            told.extend(silence(&mut session, until));
        }
        let is_missed = told.iter().any(|(_, event)| *event == BranchEvent::ReportsStopped);
        assert_eq!(is_missed, is_deaf, "{lost} ms, {after}: {told:?}");
    }
}

#[test]
fn in_a_pause_the_time_from_what_has_not_come_stands_still() {
    // When the report comes that lets miss what left: before the pause, in it, behind it.
    for report in [9_000, 40_000, 70_500] {
        let mut session = Session::new();
        session.open_to(true);
        SPEECH.of(A, &mut session, 5_000);
        acknowledge(&mut session, 4_980);
        let mut told = SPEECH.of(A, &mut session, 9_000);
        if report == 9_000 {
            acknowledge(&mut session, 6_000);
        }
        told.extend(SPEECH.of(A, &mut session, 10_000));
        session.reporter.rest(session.now());
        told.extend(silence(&mut session, 40_000));
        if report == 40_000 {
            acknowledge(&mut session, 6_000);
        }
        told.extend(silence(&mut session, 70_000));
        session.open_to(true);
        told.extend(SPEECH.of(A, &mut session, 70_500));
        if report == 70_500 {
            acknowledge(&mut session, 6_000);
        }
        told.extend(SPEECH.of(A, &mut session, 88_000));
        assert_deaf(&told, 66_000, 5_000);
    }
}

#[test]
fn a_backlog_that_leaves_faster_than_it_came_is_acknowledged_as_it_left() {
    for heard in [5_000, 3_000] {
        let mut session = Session::keeping(BranchLimits { catch_up: 4.0, ..BranchLimits::default() });
        // Nothing leaves before the recorder has answered.
        assert_eq!(SPEECH.of(A, &mut session, 20_000), []);
        session.open_to(true);
        let mut left = Vec::new();
        let mut told = Vec::new();
        for ms in 0..1_250 {
            told.extend(SPEECH.of(A, &mut session, 20_000 + 20 * (ms + 1)));
            left.push(session.branch.senders().map(|sender| sender.packets).sum::<u64>());
            if session.ms == 25_000 {
                assert_eq!(told, []);
                // It hears until `heard` behind the opening.
                let number = 299 + left[heard / 20 - 1];
                session.acknowledge(A, number as u16);
            }
        }
        assert_deaf(&told, 20_000 + heard as u64, 5_000);
    }
}

#[test]
fn of_several_sources_one_that_is_heard_is_enough() {
    for (together, first, late) in [(true, A, 0), (true, B, 1), (false, A, 0), (false, B, 0), (false, B, 1)] {
        let mut session = Session::new();
        session.open();
        SPEECH.of(A, &mut session, 5_000);
        acknowledge(&mut session, 3_800);
        // The call goes on with another source, and the last second of the first one was lost, or comes very late.
        let mut told = Vec::new();
        for round in 0..6 {
            let until = session.ms + if round < 5 { 5_000 } else { 7_000 };
            if round < 5 {
                told.extend(SPEECH.of(B, &mut session, until));
            } else {
                told.extend(silence(&mut session, until));
            }
            let sent = session.branch.senders().find(|sender| sender.ssrc == B).unwrap().packets as u32;
            let number = |ssrc| if ssrc == A { u32::from(left_at(3_800)) + round * late } else { 299 + sent };
            let block = |ssrc| ReportBlock::builder(ssrc).extended_sequence_number(number(ssrc));
            let (one, other) = (block(first), block(if first == A { B } else { A }));
            let report = ReceiverReport::builder(99).add_report_block(one);
            if together {
                session.hear(&written(report.add_report_block(other)));
            } else {
                session.hear(&written(report));
                let until = session.ms + if round < 5 { 500 } else { 0 };
                told.extend(SPEECH.of(B, &mut session, until));
                session.hear(&written(ReceiverReport::builder(99).add_report_block(other)));
            }
        }
        let until = session.ms + 5_000;
        told.extend(silence(&mut session, until));
        assert_eq!(told, [], "{first:x} first, together: {together}, {late}");
    }
}

#[test]
fn a_source_that_is_heard_in_part_says_less_than_another_in_the_same_report_that_is_heard_whole() {
    for (whole, is_missed) in [(true, false), (false, true)] {
        let mut session = Session::new();
        session.open_to(true);
        let mut told = Vec::new();
        for ms in (0..10_000).step_by(40) {
            if ms == 5_000 {
                acknowledge(&mut session, 4_980);
            }
            told.extend(SPEECH.of(A, &mut session, ms + 20));
            told.extend(SPEECH.of(B, &mut session, ms + 40));
        }
        // The numbers of the call are common to both, and of B the first packet leaves a moment later.
        let number = |ssrc, ms: u32| 299 + ms / 20 - u32::from(ssrc == B);
        let block = |ssrc, ms| ReportBlock::builder(ssrc).extended_sequence_number(number(ssrc, ms));
        for order in [[A, B], [B, A]] {
            let heard = |ssrc| if ssrc == B && whole { 9_960 } else { 6_000 };
            let blocks = order.map(|ssrc| block(ssrc, heard(ssrc)));
            let report =
                blocks.into_iter().fold(ReceiverReport::builder(99), ReceiverReportBuilder::add_report_block);
            session.hear(&written(report));
            if !whole {
                break;
            }
        }
        told.extend(SPEECH.of(A, &mut session, 15_000));
        assert_eq!(told.iter().any(|(_, event)| *event == BranchEvent::ReportOverdue), is_missed, "{told:?}");
    }
}

#[test]
fn what_another_receiver_has_not_got_makes_no_report_of_the_first_one_less() {
    let mut session = Session::new();
    session.open_to(true);
    for ms in [5_000, 10_000, 15_000, 20_000, 25_000] {
        assert_eq!(SPEECH.of(A, &mut session, ms), []);
        acknowledge(&mut session, ms - 20);
        let block = ReportBlock::builder(A).extended_sequence_number(left_at(3_000).into());
        session.hear(&written(ReceiverReport::builder(98).add_report_block(block)));
    }
}

#[test]
fn what_left_to_the_recorder_before_is_nothing_that_the_next_one_lets_miss() {
    let mut session = Session::new();
    session.open_to(true);
    SPEECH.of(A, &mut session, 5_000);
    acknowledge(&mut session, 1_000);
    session.branch.recall(session.now(), session.now());
    session.branch.begin_session(300);
    session.reporter.restart(session.now());
    session.reporter.welcome(RECORDER);
    session.open_to(true);
    assert_eq!(SPEECH.of(A, &mut session, 12_000), []);
}
