//! The recorder's host refuses the media: what refutes that, and how it ends.

use rtcp_types::{ReceiverReport, ReportBlock};
use siprec_model::{BranchEvent, BranchLimits, DropCause};

use crate::session::*;

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
    session.suspect();
    (10..20).for_each(|number| send(&mut session, A, number));
    // It goes on, and counts from its beginning.
    session.suspect();
    assert!(!refutes(&mut session, A, 9), "sent before the refusal");
    assert!(!refutes(&mut session, A, 20), "never sent");
    assert!(!refutes(&mut session, B, 15), "not our source");
    assert!(refutes(&mut session, A, 10));
    assert!(!refutes(&mut session, A, 19), "told once");
    // Again, and whatever else it refuses meanwhile.
    session.suspect();
    assert!(refutes(&mut session, A, 19), "the last that has left has come");
    (20..30).for_each(|number| send(&mut session, A, number));
    session.suspect();
    assert!(refutes(&mut session, A, 29));
    session.suspect();
    // Another recorder has nothing to do with it.
    (30..40).for_each(|number| send(&mut session, A, number));
    let now = session.now();
    session.reporter.restart(now);
    assert!(!refutes(&mut session, A, 39));
}

/// The call goes on for so long, a packet each 20 ms; what is told.
fn talk(session: &mut Session, ms: u64) -> Vec<BranchEvent> {
    talk_as(session, A, ms)
}

/// The same of a source of another name.
fn talk_as(session: &mut Session, ssrc: u32, ms: u64) -> Vec<BranchEvent> {
    let mut told = Vec::new();
    for _ in 0..ms / 20 {
        session.ms += 20;
        session.sequence = session.sequence.wrapping_add(1);
        session.numbered_packet(session.sequence, ssrc, u32::from(session.sequence) * 160);
        session.report();
        told.extend(std::iter::from_fn(|| session.reporter.poll_event()));
        told.extend(std::iter::from_fn(|| session.branch.poll_event()));
    }
    told.retain(|event| !matches!(event, BranchEvent::FirstPacket { .. }));
    told
}

/// The number of the last packet of the source.
fn newest(session: &Session) -> u32 {
    session.branch.senders().find(|sender| sender.ssrc == A).unwrap().packets as u32 + 299
}

/// What it has received of the source by now, as a receiver says that calls itself so.
fn acknowledge_as(session: &mut Session, reporter: u32) -> Option<BranchEvent> {
    report_as(session, reporter, newest(session), 0)
}

/// What a receiver says that calls itself so.
fn report_as(session: &mut Session, reporter: u32, highest: u32, lost: u32) -> Option<BranchEvent> {
    let block = ReportBlock::builder(A).extended_sequence_number(highest).cumulative_lost(lost);
    session.hear(&written(ReceiverReport::builder(reporter).add_report_block(block)))
}

#[test]
fn a_refusal_is_over_when_packets_leave_without_one_for_four_seconds() {
    let mut session = Session::new();
    session.open();
    assert_eq!(talk(&mut session, 1_000), []);
    session.suspect();
    assert_eq!(talk(&mut session, 2_000), []);
    session.suspect();
    // In a silence nothing is taken.
    assert_eq!(talk(&mut session, 1_000), []);
    session.ms += 10_000;
    session.report();
    assert_eq!(talk(&mut session, 2_500), []);
    let told = talk(&mut session, 1_000);
    // Nobody reports: what was refused has not been sent.
    let [BranchEvent::RefusalsOver, BranchEvent::StretchMissed { packets, .. }] = told[..] else {
        panic!("{told:?}")
    };
    assert!((101..=107).contains(&packets), "two seconds, and what the first error may be of: {packets}");
    let report = session.branch.report();
    assert_eq!(report.drops.of(DropCause::SendFailed), packets);
    assert_eq!(report.sent + packets, report.seen);
    assert_eq!(talk(&mut session, 5_000), []);
    // The next one begins anew.
    session.suspect();
    let told = talk(&mut session, 4_500);
    assert_eq!(told, [BranchEvent::RefusalsOver], "a moment is worth no other session");
}

#[test]
fn what_was_refused_before_the_first_report_no_report_speaks_of_and_waits_for_another_recorder() {
    let mut session = Session::new();
    session.open();
    session.suspect();
    assert_eq!(talk(&mut session, 1_500), []);
    session.suspect();
    assert_eq!(talk(&mut session, 500), []);
    assert!(acknowledge_as(&mut session, 1).is_some());
    let told = talk(&mut session, 500);
    let [BranchEvent::RefusalsOver, BranchEvent::StretchMissed { packets, .. }] = told[..] else {
        panic!("{told:?}")
    };
    // While one is sought, what this one says makes no end of it.
    for _ in 0..5 {
        assert!(acknowledge_as(&mut session, 1).is_some());
        assert_eq!(talk(&mut session, 2_000), []);
    }
    session.branch.recall(session.start, session.now());
    assert_eq!(session.branch.report().drops.of(DropCause::SendFailed), 0);
    assert!(session.branch.held_packets() as u64 >= packets);
}

#[test]
fn what_a_refusal_has_cost_is_told_once_it_is_not_kept_any_more() {
    let mut session = Session::new();
    session.open();
    assert_eq!(talk(&mut session, 1_000), []);
    session.suspect();
    assert_eq!(talk(&mut session, 4_500), [BranchEvent::RefusalsOver]);
    let told = talk(&mut session, 40_000);
    let [BranchEvent::Gap(hole)] = told[..] else { panic!("{told:?}") };
    assert_eq!(hole.cause, DropCause::SendFailed);
    assert!((1..=7).contains(&hole.packets), "{hole:?}");
}

/// Two seconds of talk, in the middle of which the recorder has reported.
fn reporting() -> Session {
    let mut session = Session::new();
    session.open();
    assert_eq!(talk(&mut session, 1_000), []);
    assert!(acknowledge_as(&mut session, 1).is_some());
    assert_eq!(talk(&mut session, 1_000), []);
    session
}

#[test]
fn whoever_goes_on_to_report_knows_what_has_come_and_another_receiver_does_not() {
    for same in [true, false] {
        let mut session = reporting();
        session.suspect();
        assert_eq!(talk(&mut session, 1_500), []);
        session.suspect();
        assert_eq!(talk(&mut session, 1_000), []);
        let told = acknowledge_as(&mut session, if same { 1 } else { 2 });
        assert!(matches!(told, Some(BranchEvent::ReportReceived { .. })), "{told:?}");
        let told = talk(&mut session, 3_500);
        let lost = session.branch.report().drops.of(DropCause::SendFailed);
        if same {
            assert_eq!((told, lost), (vec![BranchEvent::RefusalRefuted], 0));
            continue;
        }
        let [BranchEvent::RefusalsOver, BranchEvent::StretchMissed { packets, .. }] = told[..] else {
            panic!("{told:?}")
        };
        assert!((76..=82).contains(&packets) && packets == lost, "{packets} {lost}");
        // It is sent again to whoever is next.
        session.branch.recall(session.now(), session.now());
        assert_eq!(session.branch.report().drops.of(DropCause::SendFailed), 0);
    }
}

/// ICMP is told once a second, whatever the number of streams.
#[test]
fn what_the_host_refused_of_others_another_receiver_that_begins_to_report_has_not_got_either() {
    for (reporter, has_reported_since, is_lost) in [(2, false, true), (1, false, false), (2, true, false)] {
        let mut session = reporting();
        let begun = session.now();
        assert_eq!(talk(&mut session, 2_500), []);
        let refused = begun..=session.now();
        if has_reported_since {
            session.ms += 1;
            assert!(acknowledge_as(&mut session, 1).is_some());
        }
        assert_eq!(talk(&mut session, 4_000), []);
        session.reporter.hear_host(refused);
        assert!(acknowledge_as(&mut session, reporter).is_some());
        let told = talk(&mut session, 4_500);
        let lost = session.branch.report().drops.of(DropCause::SendFailed);
        if !is_lost {
            assert_eq!((told, lost), (vec![], 0), "{reporter} {has_reported_since}");
            continue;
        }
        let [BranchEvent::RefusalsOver, BranchEvent::StretchMissed { packets, .. }] = told[..] else {
            panic!("{told:?}")
        };
        assert!((125..=127).contains(&packets) && packets == lost, "{packets} {lost}");
    }
}

#[test]
fn when_a_packet_left_is_known_by_its_number_for_as_long_as_it_is_kept() {
    let mut session = Session::new();
    session.open();
    assert_eq!(talk(&mut session, 1_000), []);
    let (left, number) = (session.now(), session.branch.senders().next().unwrap().packets as u16 + 299);
    assert_eq!(talk(&mut session, 20_000), []);
    assert_eq!(session.branch.left_at(A, number), Some(left));
    assert_eq!(session.branch.left_at(A + 1, number), None);
    talk(&mut session, 20_000);
    assert_eq!(session.branch.left_at(A, number), None);
}

#[test]
fn what_was_refused_and_is_kept_no_more_is_told_as_a_hole() {
    // Room for about a fifth of what is refused.
    let mut session = Session::keeping(BranchLimits { hold_bytes: 4_000, ..BranchLimits::default() });
    session.open();
    assert_eq!(talk(&mut session, 1_000), []);
    session.suspect();
    assert_eq!(talk(&mut session, 2_000), []);
    session.suspect();
    let told = talk(&mut session, 5_000);
    assert_eq!(told.first(), Some(&BranchEvent::RefusalsOver), "{told:?}");
    let report = session.branch.report();
    let lost = report.drops.of(DropCause::SendFailed);
    assert!((100..=108).contains(&lost), "two seconds, and what the first error may be of: {lost}");
    assert_eq!(report.sent + lost, report.seen);
    assert!(
        told.iter()
            .any(|event| matches!(event, BranchEvent::Gap(hole) if hole.cause == DropCause::SendFailed)),
        "{told:?}"
    );
}

/// A host of a recorder that reports has refused two seconds, and has taken four since; no report has come.
fn healed() -> Session {
    let mut session = reporting();
    session.suspect();
    assert_eq!(talk(&mut session, 2_000), []);
    session.suspect();
    assert_eq!(talk(&mut session, 4_500), [BranchEvent::RefusalsOver]);
    session
}

/// The recording ends at once: how many packets are told as lost, the first of which came so many milliseconds after the beginning.
fn close(session: &mut Session) -> Option<(u64, u128)> {
    session.branch.close(session.now());
    let hole = std::iter::from_fn(|| session.branch.poll_event()).find_map(|event| match event {
        BranchEvent::Gap(hole) => Some(hole),
        _ => None,
    });
    let report = session.branch.report();
    assert_eq!(report.sent + report.drops.total(), report.seen);
    assert_eq!(report.drops.of(DropCause::RecorderLost), hole.map_or(0, |hole| hole.packets));
    let hole = hole?;
    assert_eq!(hole.cause, DropCause::RecorderLost);
    let length = u128::from(hole.packets) * 20;
    assert!(hole.duration.as_millis().abs_diff(length) < 20, "{hole:?}");
    Some((hole.packets, hole.start.duration_since(session.start).as_millis()))
}

#[test]
fn what_was_refused_and_no_report_has_spoken_of_is_lost_where_all_ends_at_once() {
    // From the first that may have been refused to the last, which the host may say a second too early.
    assert_eq!(close(&mut healed()), Some((156, 1_900)));
}

#[test]
fn what_was_refused_and_a_report_has_spoken_of_since_is_not_lost_unless_that_says_so() {
    let mut session = healed();
    assert!(acknowledge_as(&mut session, 1).is_some());
    assert_eq!(close(&mut session), None, "forged, as none is missing");
    let mut session = healed();
    let highest = newest(&session);
    assert!(report_as(&mut session, 1, highest, 101).is_some());
    session.branch.close(session.now());
    assert_eq!(session.branch.report().drops.of(DropCause::RecorderLost), 101);
}

#[test]
fn a_report_of_before_says_nothing_of_what_was_refused_later() {
    let mut session = healed();
    assert!(report_as(&mut session, 1, 399, 0).is_some());
    assert_eq!(close(&mut session), Some((150, 2_020)));
}

#[test]
fn what_was_refused_for_less_than_a_second_is_not_told_without_a_report() {
    let mut session = reporting();
    session.suspect();
    assert_eq!(talk(&mut session, 4_500), [BranchEvent::RefusalsOver]);
    assert_eq!(close(&mut session), None);
}

#[test]
fn what_was_refused_and_no_report_has_spoken_of_is_worth_another_session_at_the_end_of_the_call() {
    for is_recalled in [true, false] {
        let mut session = healed();
        session.branch.drain();
        let told: Vec<_> = std::iter::from_fn(|| session.branch.poll_event()).collect();
        let empty = BranchEvent::BacklogEmpty { recalls: 0 };
        assert_eq!(told, [BranchEvent::StretchMissed { packets: 156, within: None }, empty]);
        if is_recalled {
            session.branch.recall(session.now(), session.now());
            let held = session.branch.held_packets();
            assert!((400..430).contains(&held), "all since two seconds before the last report: {held}");
        } else {
            assert_eq!(close(&mut session), Some((156, 1_900)));
        }
    }
}

#[test]
fn of_what_was_refused_before_another_receiver_reports_nothing_has_come() {
    let mut session = healed();
    talk(&mut session, 12_000);
    assert!(acknowledge_as(&mut session, 2).is_some());
    let told: Vec<_> = std::iter::from_fn(|| session.branch.poll_event()).collect();
    assert_eq!(told, [BranchEvent::StretchMissed { packets: 156, within: None }]);
    session.branch.recall(session.now(), session.now());
    assert!(session.branch.held_packets() > 155);
}

#[test]
fn of_what_was_refused_no_report_says_what_has_come_of_a_source_that_began_or_ended_meanwhile() {
    for (changes_after, reports_after) in [(500, 1_000), (500, 5_000), (1_500, 1_000), (1_500, 5_000)] {
        let mut session = reporting();
        session.suspect();
        assert_eq!(talk(&mut session, changes_after), []);
        session.suspect();
        talk_as(&mut session, B, 2_000 - changes_after);
        session.suspect();
        talk_as(&mut session, B, reports_after);
        // Of the new source, which has come from its hundredth packet on: none is missed.
        let sent = session.branch.senders().find(|sender| sender.ssrc == B).unwrap().packets as u32;
        let block = ReportBlock::builder(B).extended_sequence_number(sent + 299).cumulative_lost(0);
        session.hear(&written(ReceiverReport::builder(1).add_report_block(block)));
        let told: Vec<_> = std::iter::from_fn(|| session.branch.poll_event()).collect();
        let missed = told.iter().find_map(|event| match event {
            BranchEvent::StretchMissed { packets, .. } => Some(*packets),
            _ => None,
        });
        // Two seconds, what the first error may be of, and a second more.
        assert!(missed.is_some_and(|missed| (140..=157).contains(&missed)), "{changes_after} {told:?}");
        session.branch.recall_missed(session.now(), session.start, session.now());
        assert!(session.branch.held_packets() as u64 >= missed.unwrap());
        assert_eq!(session.branch.report().drops.total(), 0);
    }
}

#[test]
fn what_was_refused_and_is_kept_no_more_is_lost_all_the_same_where_all_ends_at_once() {
    let mut session = healed();
    // Longer than it is kept, without a report.
    talk(&mut session, 40_000);
    let (lost, _) = close(&mut session).unwrap();
    assert!((154..=158).contains(&lost), "{lost}");
}
