//! Which reports must come, and when they are missed.

use std::net::SocketAddr;

use rtcp_types::{Bye, ReceiverReport, ReportBlock};
use siprec_model::BranchEvent;

use crate::session::*;

/// What is told until a moment, and when, in milliseconds: each half a second, and when the timer says so.
fn told(session: &mut Session, until: u64) -> Vec<(u64, BranchEvent)> {
    let mut told = Vec::new();
    while session.ms < until {
        let due = session.reporter.next_timeout().saturating_duration_since(session.start);
        let due = (due.as_nanos().div_ceil(1_000_000) as u64).max(session.ms + 1);
        session.ms = (session.ms + 500).min(due).min(until);
        session.report();
        told.extend(std::iter::from_fn(|| session.reporter.poll_event()).map(|event| (session.ms, event)));
    }
    told
}

/// A report is overdue, and they have stopped.
fn deaf(overdue: u64, stopped: u64) -> [(u64, BranchEvent); 2] {
    [(overdue, BranchEvent::ReportOverdue), (stopped, BranchEvent::ReportsStopped)]
}

#[test]
fn reports_that_came_and_stay_away_for_three_intervals_are_told_and_again_after_three_more() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.ms = 60_000;
    session.report();
    assert_eq!(session.reporter.poll_event(), None, "none came, none is missed");
    session.hear_report(A);
    session.speech(A);
    // It has taken 60 s to its first report: so much it may take to each.
    assert_eq!(session.overdue_after(), 60_000 + 90_000);
    session.ms = 239_999;
    session.report();
    assert_eq!(session.reporter.poll_event(), None);
    while session.now() < session.reporter.next_timeout() {
        session.ms += 1;
    }
    assert_eq!(session.ms, 240_000, "the timer knows of it");
    session.report();
    assert_eq!(session.reporter.poll_event(), Some(BranchEvent::ReportsStopped));
    assert_eq!(told(&mut session, 300_000), [], "nothing has left since");
    session.speech(A);
    assert_eq!(told(&mut session, 320_000), deaf(307_500, 315_000));
}

#[test]
fn a_recorder_that_is_sent_nothing_need_not_report() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    assert_eq!(told(&mut session, 63_000), []);
    session.speech(A);
    assert_eq!(told(&mut session, 80_000), deaf(70_500, 78_000));
}

#[test]
fn a_recorder_that_reports_often_is_given_15_s_too() {
    let mut session = Session::new();
    session.open();
    for ms in [1000, 2000] {
        session.speech(A);
        session.ms = ms;
        session.hear_report(A);
    }
    session.speech(A);
    assert_eq!(told(&mut session, 20_000), deaf(9_500, 17_000));
}

#[test]
fn a_report_on_two_sources_is_one_report_and_says_nothing_of_the_interval() {
    let mut session = Session::new();
    session.open();
    let overdue = vec![(7_500, BranchEvent::ReportOverdue)];
    for (ms, missed) in [(0, vec![]), (14_000, overdue), (34_000, vec![])] {
        assert_eq!(told(&mut session, ms), missed);
        session.speech(A);
        session.speech(B);
        session.reported += 1;
        let block = |ssrc| ReportBlock::builder(ssrc).extended_sequence_number(session.reported);
        let both = ReceiverReport::builder(99).add_report_block(block(A)).add_report_block(block(B));
        let heard = session.hear(&written(both));
        assert!(matches!(heard, Some(BranchEvent::ReportReceived { .. })), "{heard:?}");
        session.speech(A);
        session.speech(B);
    }
}

#[test]
fn a_recorder_that_reports_rarely_is_given_its_own_interval() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    session.speech(A);
    assert_eq!(told(&mut session, 14_000), [(7_500, BranchEvent::ReportOverdue)]);
    session.hear_report(A);
    session.speech(A);
    assert_eq!(told(&mut session, 60_000), deaf(14_000 + 21_000, 14_000 + 42_000));
}

/// A call of 20 s from now on, with a report at its end.
fn rare_report(session: &mut Session) {
    session.speech(A);
    let until = session.ms + 20_000;
    assert_eq!(told(session, until), []);
    assert!(matches!(session.hear_report(A), Some(BranchEvent::ReportReceived { .. })));
}

#[test]
fn a_recorder_that_reports_rarely_from_the_first_report_on_is_not_missed_before_its_time() {
    let mut session = Session::new();
    session.open();
    (0..5).for_each(|_| rare_report(&mut session));
    session.speech(A);
    assert_eq!(told(&mut session, 170_000), deaf(130_000, 160_000));
}

#[test]
fn a_recorder_that_reports_rarely_has_its_time_behind_a_silence_too() {
    let mut session = Session::new();
    session.open();
    session.reported = 306;
    rare_report(&mut session);
    for _ in 0..5 {
        let silence = session.ms + 15_000;
        assert_eq!(told(&mut session, silence), []);
        session.speech(A);
        let until = session.ms + 5_000;
        assert_eq!(told(&mut session, until), []);
        session.reported += 7;
        assert!(session.hear_report(A).is_some());
        // It says so once more in a silence, in which it need say nothing.
        let silence = session.ms + 20_000;
        assert_eq!(told(&mut session, silence), []);
        assert!(session.repeat_report(A).is_some());
    }
    assert_eq!(session.ms, 220_000);
    session.speech(A);
    assert_eq!(told(&mut session, 290_000), deaf(250_000, 280_000));
}

#[test]
fn a_silence_makes_no_interval_longer() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.reported = 306;
    session.hear_report(A);
    session.ms = 60_000;
    session.speech(A);
    session.ms = 61_000;
    session.hear_report(A);
    for _ in 0..5 {
        session.ms += 6_200;
        assert!(session.repeat_report(A).is_some());
    }
    assert_eq!(session.ms, 92_000);
    session.speech(A);
    assert_eq!(told(&mut session, 110_000), deaf(99_500, 107_000));
}

#[test]
fn the_first_interval_begins_when_packets_have_left_and_has_no_pause_in_it() {
    let mut session = Session::new();
    session.open();
    // Nothing has left.
    assert_eq!(told(&mut session, 60_000), []);
    session.speech(A);
    assert_eq!(told(&mut session, 64_000), []);
    session.reporter.rest(session.now());
    assert_eq!(told(&mut session, 100_000), []);
    session.open();
    assert_eq!(told(&mut session, 108_000), []);
    session.reporter.rest(session.now());
    assert_eq!(told(&mut session, 200_000), []);
    // 12 s.
    session.hear_report(A);
    session.open();
    session.speech(A);
    assert_eq!(told(&mut session, 240_000), deaf(218_000, 236_000));
}

#[test]
fn that_a_recorder_always_reports_may_be_said_late() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    assert_eq!(told(&mut session, 60_000), []);
    session.open_to(true);
    session.speech(A);
    assert_eq!(told(&mut session, 80_000), deaf(67_500, 75_000));
}

#[test]
fn after_its_bye_no_report_is_missed() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    session.speech(A);
    assert_eq!(told(&mut session, 100_000), []);
}

#[test]
fn the_bye_of_one_that_does_not_report_says_nothing_of_the_one_that_does() {
    for always in [true, false] {
        let mut session = Session::new();
        session.open_to(always);
        session.speech(A);
        session.hear_report(A);
        // It has called itself otherwise since, and what it was is gone: that may come late (RFC 3550 §8.2).
        session.reported += 1;
        let block = ReportBlock::builder(A).extended_sequence_number(session.reported);
        session.hear(&written(ReceiverReport::builder(98).add_report_block(block)));
        session.speech(A);
        for ms in [2_000, 4_000, 6_000] {
            assert_eq!(told(&mut session, ms), []);
            assert_eq!(session.hear(&written(Bye::builder().add_source(97).add_source(99))), None);
            assert_eq!(session.hear(&written(Bye::builder())), None);
        }
        assert_eq!(told(&mut session, 20_000), deaf(7_500, 15_000), "always: {always}");
    }
}

#[test]
fn the_bye_of_one_that_has_never_reported_gives_one_that_always_does_no_time() {
    let mut session = Session::new();
    session.open_to(true);
    session.speech(A);
    assert_eq!(told(&mut session, 6_000), []);
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    assert_eq!(told(&mut session, 10_000), [(7_500, BranchEvent::ReportOverdue)]);
}

#[test]
fn one_that_reports_again_after_its_bye_is_missed_again() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    session.speech(A);
    assert_eq!(told(&mut session, 4_000), []);
    session.hear_report(A);
    session.speech(A);
    assert_eq!(told(&mut session, 30_000), deaf(11_500, 19_000));
}

#[test]
fn who_always_reports_is_missed_from_the_first_packet_that_leaves() {
    let mut session = Session::new();
    session.open_to(true);
    assert_eq!(told(&mut session, 60_000), [], "nothing has left");
    session.speech(A);
    assert_eq!(told(&mut session, 75_000), deaf(67_500, 75_000));
    assert_eq!(told(&mut session, 140_000), [], "nothing more has left");
    session.speech(A);
    // Another command to open says nothing new.
    session.ms += 4_000;
    session.reporter.expect(true, &session.branch, session.now());
    assert_eq!(told(&mut session, 200_000), deaf(147_500, 155_000));
}

#[test]
fn who_always_reports_need_not_more_often_than_others_and_not_more_rarely() {
    let mut session = Session::new();
    session.open_to(true);
    for _ in 0..5 {
        session.speech(A);
        session.ms += 7_400;
        session.report();
        assert!(matches!(session.hear_report(A), Some(BranchEvent::ReportReceived { .. })));
    }
    session.speech(A);
    let begun = session.ms;
    assert_eq!(told(&mut session, begun + 20_000), deaf(begun + 7_500, begun + 15_000));
}

#[test]
fn in_a_pause_no_report_need_come_and_what_left_before_is_still_to_be_reported_on() {
    for always in [true, false] {
        let mut session = Session::new();
        session.open_to(always);
        session.speech(A);
        session.hear_report(A);
        session.ms = 500;
        session.speech(A);
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
        assert_eq!(told(&mut session, 200_000), deaf(188_000, 195_500), "always: {always}");
    }
}

#[test]
fn a_report_that_comes_in_a_pause_counts() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    session.ms = 500;
    session.speech(A);
    session.reporter.rest(session.now());
    session.ms = 2_000;
    session.hear_report(A);
    assert_eq!(told(&mut session, 60_000), []);
    session.reporter.expect(false, &session.branch, session.now());
    assert_eq!(told(&mut session, 90_000), [], "nothing has left since");
    session.speech(A);
    assert_eq!(told(&mut session, 120_000), deaf(97_500, 105_000));
}

#[test]
fn who_always_reports_does_so_after_its_bye_too() {
    let mut session = Session::new();
    session.open_to(true);
    session.speech(A);
    session.hear_report(A);
    session.speech(A);
    // What left before is still to be reported on, however often it says that it leaves.
    for ms in [1_000, 2_000, 6_000, 7_000] {
        assert_eq!(told(&mut session, ms), []);
        assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    }
    assert_eq!(told(&mut session, 10_000), [(7_500, BranchEvent::ReportOverdue)]);
    assert_eq!(session.hear(&written(Bye::builder().add_source(99))), None);
    assert_eq!(told(&mut session, 20_000), [(15_000, BranchEvent::ReportsStopped)]);
}

#[test]
fn the_bye_that_comes_from_elsewhere_than_the_reports_says_nothing() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    session.speech(A);
    let bye = written(Bye::builder().add_source(99));
    for stranger in [
        SocketAddr::new(RECORDER.ip(), RECORDER.port() + 1),
        SocketAddr::new([192, 0, 2, 8].into(), RECORDER.port()),
    ] {
        assert_eq!(session.hear_from(stranger, &bye), None);
    }
    assert_eq!(told(&mut session, 20_000), deaf(7_500, 15_000));
    // The recorder moves, as behind a NAT: its BYE comes from where its last report did.
    let block = ReportBlock::builder(A).extended_sequence_number(session.reported + 1);
    let moved = SocketAddr::new(RECORDER.ip(), 4000);
    session.hear_from(moved, &written(ReceiverReport::builder(99).add_report_block(block)));
    session.hear_from(moved, &bye);
    session.speech(A);
    assert_eq!(told(&mut session, 100_000), []);
}

#[test]
fn another_recorder_is_expected_to_do_as_it_is_said_to() {
    let mut session = Session::new();
    session.open_to(true);
    session.speech(A);
    session.reporter.restart(session.now());
    session.reporter.expect(false, &session.branch, session.now());
    session.speech(A);
    assert_eq!(told(&mut session, 60_000), []);
}

#[test]
fn a_report_that_repeats_itself_while_packets_leave_says_nothing() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.reported = 300;
    session.hear_report(A);
    let mut stopped = Vec::new();
    for _ in 0..8 {
        session.speech(A);
        let until = session.ms + 2_000;
        stopped.extend(told(&mut session, until));
        assert_eq!(session.repeat_report(A), None);
    }
    assert_eq!(stopped, deaf(7_500, 15_000));
}

/// What is told in a silence of half a minute behind so many packets that are lost on the way, in which the recorder repeats its report
/// each 5 s.
fn silence(session: &mut Session, lost: u64) -> Vec<BranchEvent> {
    session.speech(A);
    // The branch begins at 300.
    session.reported = 306;
    assert!(session.hear_report(A).is_some());
    for _ in 0..lost {
        session.ms += 20;
        session.sequence += 1;
        session.numbered_packet(session.sequence, A, 160);
        session.report();
    }
    let mut all = Vec::new();
    for _ in 0..6 {
        let until = session.ms + 5_000;
        all.extend(told(session, until).into_iter().map(|(_, event)| event));
        all.extend(session.repeat_report(A));
    }
    all
}

#[test]
fn a_report_that_repeats_itself_in_a_silence_shows_that_the_recorder_hears_unless_it_misses_a_second() {
    for (lost, heard) in [(0, 6), (10, 5), (50, 5), (51, 0)] {
        let mut session = Session::new();
        session.open();
        let told = silence(&mut session, lost);
        let reports = told.iter().filter(|event| matches!(event, BranchEvent::ReportReceived { .. })).count();
        assert_eq!(reports, heard, "{lost} packets");
        assert_eq!(told.contains(&BranchEvent::ReportsStopped), heard == 0, "{lost} packets: {told:?}");
        // Another receiver shows nothing by what this one has said, before it has said so itself.
        let mut say = |reporter| {
            let block = ReportBlock::builder(A).extended_sequence_number(307);
            session.hear(&written(ReceiverReport::builder(reporter).add_report_block(block))).is_some()
        };
        assert_eq!([say(98), say(98), say(99)], [false, heard > 0, false]);
    }
}

#[test]
fn in_the_silence_of_one_source_a_report_that_repeats_itself_says_nothing_while_another_sends() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.reported = 306;
    session.hear_report(A);
    let mut stopped = Vec::new();
    for until in [5_000, 10_000, 15_000] {
        session.speech(B);
        stopped.extend(told(&mut session, until));
        assert_eq!(session.repeat_report(A), None);
    }
    assert_eq!(stopped, deaf(7_500, 15_000));
}

#[test]
fn one_whose_reports_never_make_sense_is_not_deaf_for_that() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.reported = 0;
    for _ in 0..8 {
        session.speech(A);
        let until = session.ms + 5_000;
        assert_eq!(told(&mut session, until), []);
        assert!(session.repeat_report(A).is_some());
    }
}

#[test]
fn of_a_few_packets_that_may_be_lost_on_the_way_no_report_need_come() {
    let mut session = Session::new();
    session.open();
    session.speech(A);
    session.hear_report(A);
    for ms in [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000] {
        session.ms = ms;
        session.packet(A, 160);
        session.report();
    }
    assert_eq!(told(&mut session, 60_000), []);
    session.packet(A, 160);
    session.report();
    assert_eq!(told(&mut session, 70_000), [(67_500, BranchEvent::ReportOverdue)]);
}

#[test]
fn one_that_always_reports_has_to_go_on_also_where_its_reports_make_no_sense() {
    for goes_on in [true, false] {
        let mut session = Session::new();
        session.open_to(true);
        session.speech(A);
        let mut events = Vec::new();
        for _ in 0..8 {
            session.speech(A);
            if goes_on {
                session.hear_report(A);
            } else {
                session.repeat_report(A);
            }
            let until = session.ms + 5_000;
            events.extend(told(&mut session, until).into_iter().map(|(_, event)| event));
        }
        assert_eq!(events.contains(&BranchEvent::ReportsStopped), !goes_on, "{events:?}");
    }
}

#[test]
fn what_the_recorder_before_goes_on_to_report_says_nothing_of_the_next_one() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 6005));
    for (welcome, is_deaf) in [(elsewhere, true), (RECORDER, false)] {
        let mut session = Session::new();
        session.open_to(true);
        session.speech(A);
        assert!(session.hear_report(A).is_some());
        session.reporter.restart(session.now());
        session.reporter.welcome(welcome);
        session.open_to(true);
        let mut events = Vec::new();
        for _ in 0..4 {
            session.speech(A);
            // Also where its numbers go on, as of one that is alive and has other packets.
            assert_eq!(session.hear_report(A).is_none(), is_deaf);
            let until = session.ms + 5_000;
            events.extend(told(&mut session, until).into_iter().map(|(_, event)| event));
        }
        assert_eq!(events.contains(&BranchEvent::ReportsStopped), is_deaf, "{events:?}");
    }
}

#[test]
fn the_loss_that_lost_recorders_have_reported_is_not_forgotten() {
    let mut session = Session::new();
    session.open();
    session.packet(A, 160);
    assert_eq!(session.reporter.receiver_lost(), None);
    session.hear_report(A);
    for recorder in 1..3 {
        session.reporter.restart(session.now());
        assert_eq!(session.reporter.receiver_lost(), Some(7 * recorder));
        session.reporter.welcome(RECORDER);
        session.hear_report(A);
        assert_eq!(session.reporter.receiver_lost(), Some(7 * (recorder + 1)));
    }
}
