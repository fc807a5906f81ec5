//! The bounds of what is held, and what is lost beyond them and elsewhere.

use std::time::Duration;

use siprec_model::{BranchLimits, DropCause, Medium};

use crate::call::{Call, FIRST, packet};

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
fn a_ring_is_filled_to_the_last_byte_and_not_beyond() {
    let each = 35 + packet(0, 0, 1, 0).len();
    for (hold_bytes, packets) in [(50 * each, 50), (50 * each - 1, 49)] {
        let mut call = Call::new(Medium::Audio, BranchLimits { hold_bytes, ..BranchLimits::default() });
        call.talk(5000);
        assert_eq!((call.branch.held_packets(), call.branch.held_bytes()), (packets, packets * each));
    }
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
