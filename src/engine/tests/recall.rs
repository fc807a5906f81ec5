//! A recorder is lost, and another one takes its place.

mod common;

use std::time::{Duration, Instant};

use common::{FAST, LOCAL, Packet, Recorder, Rig, assert_in_order, numbered};
use siprec_engine::EngineConfig;
use siprec_model::{BranchCommand, BranchEvent, BranchLimits, BranchReport, DropCause, RtcpMode};

const SSRC: u32 = 0x1234_5678;
const SPACING: Duration = Duration::from_millis(20);

#[test]
fn nothing_goes_to_a_recorder_that_was_lost_and_numbers_begin_anew_at_the_next() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, lost, next) = (rig.tap(), Recorder::new(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &lost);
    let start = Instant::now();
    (0..10).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    let before = lost.packets(10);
    rig.command(BranchCommand::Recall { branch, since: start });
    // Commands to a branch take effect in order: this one's answer says that the other has.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 10), Instant::now());
    lost.assert_silence();
    rig.open(branch, &next);
    let after = next.packet();
    assert!((256..0x8000).contains(&after.sequence), "RFC 4568 §6.4");
    assert_ne!(after.sequence, before[9].sequence.wrapping_add(1));
    lost.assert_silence();
}

/// A recorder takes a call, is lost at once, and another one gets the rest: what that one receives, by number, and the
/// account.
fn after_recall(config: EngineConfig, limits: BranchLimits, lost_from: u32) -> (Vec<u32>, BranchReport) {
    let rig = Rig::new(config);
    let (tap, lost, next) = (rig.tap(), Recorder::new(), Recorder::new());
    let branch = rig.create(&tap, 0, limits);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &lost);
    // Open before the first packet comes: they leave as they come.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    // 20 s of a call, which end now.
    let start = Instant::now() - Duration::from_secs(20);
    for number in 0..1000 {
        tap.push(&numbered(SSRC, number), start + SPACING * number);
    }
    lost.packets(1000);
    rig.command(BranchCommand::Recall { branch, since: start + SPACING * lost_from });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (1000..1010).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    rig.open(branch, &next);
    rig.command(BranchCommand::Drain { branch });
    rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty).then_some(()));
    let packets = next.arrived();
    let (_, report) = rig.close(branch);
    assert_in_order(&packets, packets.first().map_or(0, Packet::number));
    (packets.iter().map(Packet::number).collect(), report)
}

#[test]
fn the_next_recorder_gets_everything_since_the_last_proof_of_life_and_a_second_more() {
    let (numbers, report) = after_recall(EngineConfig::default(), FAST, 500);
    assert_eq!(numbers, (450..1010).collect::<Vec<u32>>());
    assert_eq!((report.seen, report.sent, report.resent, report.drops.total()), (1010, 1010, 550, 0));
}

#[test]
fn what_the_ring_has_no_room_for_is_told_as_lost_with_the_recorder() {
    let limits = BranchLimits { hold_bytes: 207 * 300, ..FAST };
    let (numbers, report) = after_recall(EngineConfig::default(), limits, 500);
    // Of 500 packets that it may not have, 300 were kept, and 10 of them made room for those that came.
    assert_eq!(numbers, (710..1010).collect::<Vec<u32>>());
    let told = [DropCause::RecorderLost, DropCause::RingFull].map(|cause| report.drops.of(cause));
    assert_eq!((report.seen, report.sent, report.resent), (1010, 800, 290));
    assert_eq!(told, [200, 10]);
}

#[test]
fn the_memory_of_all_branches_bounds_what_is_kept_and_then_what_waits() {
    let config = EngineConfig { hold_memory: 64 << 10, ..EngineConfig::default() };
    let (numbers, report) = after_recall(config, FAST, 0);
    // Three quarters are for what was sent.
    let kept = 1000 - u64::from(numbers[0]);
    assert!((150..=237).contains(&kept), "{kept}");
    assert_eq!(numbers.last(), Some(&1009));
    assert_eq!((report.seen, report.seen - report.sent), (1010, report.drops.total()));
    assert_eq!(report.drops.of(DropCause::RecorderLost), 1000 - kept);
}
