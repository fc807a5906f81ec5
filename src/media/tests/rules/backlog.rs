//! What is held, and how it leaves once there is a recorder.

use std::time::Duration;

use siprec_media::RtpView;
use siprec_model::{BranchEvent, BranchLimits, DropCause, Medium};

use crate::call::{Call, FIRST};

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
