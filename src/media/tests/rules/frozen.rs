//! What waits while the recorder asks for silence.

use siprec_media::RtpView;
use siprec_model::{BranchLimits, DropCause, Medium};

use crate::call::Call;

/// The call's packets, by number, that have left.
fn left(call: &Call) -> Vec<u64> {
    call.sent.iter().map(|(.., timestamp)| u64::from(*timestamp) / 160).collect()
}

/// A call of 4 s that was held for 3 s, half of it sent, when its recorder asks for silence, which lasts `silence` ms.
fn frozen_in_its_catching_up(silence: u64) -> Call {
    let mut call = Call::audio();
    call.talk(3000);
    call.open();
    call.talk(1000);
    assert_eq!(left(&call).len(), 100);
    call.branch.freeze(call.now());
    call.talk(silence);
    assert_eq!((left(&call).len(), call.branch.held_packets()), (100, 100));
    call
}

#[test]
fn what_waits_when_the_recorder_asks_for_silence_goes_first_when_it_opens_again_and_nothing_of_in_between_does()
 {
    // 600 s are more than hold-time: it does not grow old.
    for silence in [1000, 600_000] {
        let mut call = frozen_in_its_catching_up(silence);
        call.open();
        call.talk(4000);
        let behind = 200 + silence / 20;
        let expected: Vec<u64> = (0..200).chain(behind..behind + 200).collect();
        assert_eq!(left(&call), expected);
        assert_eq!(call.indices(), (5000..5400).collect::<Vec<u64>>(), "no hole in the numbers");
        let report = call.branch.report();
        assert_eq!((report.drops.total(), report.drops.of(DropCause::Closed)), (silence / 20, silence / 20));
        assert_eq!(call.gaps(), []);
    }
}

#[test]
fn what_is_frozen_is_told_as_lost_where_the_recorder_never_opens_the_stream_again() {
    let mut call = frozen_in_its_catching_up(1000);
    assert_eq!(call.gaps(), []);
    call.branch.close(call.now());
    assert_eq!(call.gaps(), [(100, 2000, DropCause::NotDrained)]);
    let drops = call.branch.report().drops;
    assert_eq!((drops.of(DropCause::NotDrained), drops.of(DropCause::Closed)), (100, 50));
}

#[test]
fn what_is_frozen_goes_to_the_next_recorder_behind_what_the_lost_one_may_not_have() {
    let mut call = frozen_in_its_catching_up(1000);
    call.branch.recall(call.start, call.now());
    assert_eq!(call.branch.held_packets(), 200);
    call.branch.hold(call.now());
    call.talk(100);
    call.sent.clear();
    call.open();
    call.talk(8000);
    assert_eq!(left(&call), (0..200).chain(250..655).collect::<Vec<u64>>());
    assert_eq!((call.gaps(), call.branch.report().resent), (vec![], 100));
}

#[test]
fn a_pause_of_ours_while_the_recorder_asks_for_silence_costs_nothing_that_is_frozen() {
    let mut call = frozen_in_its_catching_up(1000);
    call.branch.pause(call.now());
    call.talk(60_000);
    call.branch.freeze(call.now());
    call.talk(1000);
    assert_eq!(call.branch.held_packets(), 100);
    assert_eq!(call.branch.report().drops.of(DropCause::Closed), 100, "a pause is not counted");
    call.open();
    call.talk(4000);
    assert_eq!(left(&call)[..201], (0..200).chain([3300]).collect::<Vec<u64>>());
}

#[test]
fn for_who_catches_nothing_up_what_was_frozen_is_a_gap_when_it_opens_the_stream_again() {
    let mut call = Call::new(Medium::Audio, BranchLimits { catch_up: 0.0, ..BranchLimits::default() });
    call.talk(200);
    call.branch.freeze(call.now());
    call.talk(200);
    call.open();
    call.talk(200);
    assert_eq!(left(&call), (20..30).collect::<Vec<u64>>());
    assert_eq!(call.gaps(), [(10, 200, DropCause::RingFull)]);
}

#[test]
fn what_arrived_before_the_recorder_asked_for_silence_is_frozen_although_it_is_handled_later() {
    let mut call = Call::audio();
    call.open();
    let (packet, arrival) = (call.packet(), call.now());
    call.ms += 1;
    call.branch.freeze(call.now());
    call.branch.store_packet(&RtpView::parse(&packet).unwrap(), arrival);
    call.branch.store_packet(&RtpView::parse(&packet).unwrap(), call.now());
    let report = call.branch.report();
    assert_eq!((call.branch.held_packets(), report.seen, report.drops.of(DropCause::Closed)), (1, 2, 1));
}
