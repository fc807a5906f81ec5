//! A shut gate lets nothing through and loses nothing.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::{LOCAL, Recorder, Rig, assert_in_order, numbered};
use siprec_engine::{EngineConfig, Gate, TapConfig};
use siprec_model::{BranchCommand, BranchEvent, DropCause, RtcpMode};

const SSRC: u32 = 77;

#[test]
fn nothing_leaves_after_the_gate_is_shut_and_what_came_before_is_kept() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    let stop = AtomicBool::new(false);
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                tap.push(&numbered(SSRC, number), Instant::now());
                number += 1;
                // As fast as the engine is asked to run, not faster than it can.
                std::thread::park_timeout(std::time::Duration::from_micros(200));
            }
        });
        for _ in 0..50 {
            received.push(recorder.packet());
            tap.close_gate();
            received.extend(recorder.arrived());
            recorder.assert_silence();
            tap.open_gate();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let stats = tap.stats();
    assert!(stats.gated > 0);
    assert_eq!(stats.queue_full, 0);
    while received.len() < stats.packets as usize {
        received.push(recorder.packet());
    }
    assert!(received.is_sorted_by(|a, b| a.number() < b.number()));
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (stats.packets, stats.packets));
}

#[test]
fn a_pause_freezes_what_was_held_and_resume_sends_it_first() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, common::FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    // Held, since the recorder has not answered yet.
    for number in 0..5 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    tap.close_gate();
    rig.command(BranchCommand::Pause { branch });
    for number in 5..10 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    tap.open_gate();
    // The session's word has not come yet, but the command to resume has been given.
    for number in 10..15 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    rig.command(BranchCommand::Hold { branch });
    recorder.assert_silence();
    rig.open(branch, &recorder);
    let packets = recorder.packets(10);
    assert_in_order(&packets[..5], 0);
    assert_eq!(packets[5..].iter().map(common::Packet::number).collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    assert_eq!(tap.stats().gated, 5);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.total()), (10, 10, 0));
}

#[test]
fn what_a_pause_froze_leaves_when_the_call_has_ended_and_the_recorder_takes_it_again() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    tap.close_gate();
    rig.command(BranchCommand::Pause { branch });
    let is_empty = |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(());
    rig.command(BranchCommand::Drain { branch });
    // Nothing was held.
    rig.expect(branch, is_empty);
    rig.close(branch);

    let tap = rig.tap();
    let branch = rig.create(&tap, 1, common::FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (1..6).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    tap.close_gate();
    (6..9).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    rig.command(BranchCommand::Pause { branch });
    rig.command(BranchCommand::Drain { branch });
    recorder.assert_silence();
    rig.open(branch, &recorder);
    assert_eq!(
        recorder.packets(5).iter().map(common::Packet::number).collect::<Vec<_>>(),
        (1..6).collect::<Vec<_>>()
    );
    rig.expect(branch, is_empty);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.total()), (5, 5, 0));
}

#[test]
fn a_tap_may_start_with_its_gate_shut() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.engine.tap(TapConfig { gate: Gate::Closed, ..TapConfig::default() });
    let recorder = Recorder::new();
    rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    assert_eq!(tap.gate(), Gate::Closed);
    recorder.assert_silence();
    tap.open_gate();
    tap.push(&numbered(SSRC, 1), Instant::now());
    assert_eq!(recorder.packet().number(), 1);
    assert_eq!((tap.gate(), tap.stats().gated), (Gate::Open, 1));
}

#[test]
fn a_disabled_branch_sends_nothing_and_stores_nothing_until_it_is_opened() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    let before = recorder.packet();
    rig.command(BranchCommand::Disable { branch });
    // Answered after the command before it: ports that are held are kept.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 1), Instant::now());
    recorder.assert_silence();
    rig.open(branch, &recorder);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 2), Instant::now());
    let after = recorder.packet();
    assert_eq!((after.number(), after.sequence), (2, before.sequence.wrapping_add(1)));
}

#[test]
fn what_waits_when_the_recorder_asks_for_silence_leaves_first_when_it_opens_the_stream_again() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, common::FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (0..5).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    rig.command(BranchCommand::Freeze { branch });
    // Answered after the command before it: ports that are held are kept.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (5..8).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    recorder.assert_silence();
    rig.open(branch, &recorder);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 8), Instant::now());
    let packets = recorder.packets(6);
    assert_in_order(&packets[..5], 0);
    assert_eq!(packets[5].number(), 8);
    assert_eq!(packets[5].sequence, packets[4].sequence.wrapping_add(1));
    let (events, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.of(DropCause::Closed)), (9, 6, 3));
    assert!(!events.iter().any(|event| matches!(event, BranchEvent::Gap(_))), "{events:?}");
}

/// As where the agent is shut down in the middle of a call: nobody shuts its gates.
#[test]
fn what_comes_once_a_branch_drains_is_not_for_it_although_the_gate_is_open_and_is_for_others() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder, other) = (rig.tap(), Recorder::new(), Recorder::new());
    let ending = rig.create(&tap, 0, common::FAST);
    let (lasting, _) = rig.open_branch(&tap, 1, &other);
    rig.bind(ending, LOCAL, RtcpMode::Pair);
    (0..5).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    rig.command(BranchCommand::Drain { branch: ending });
    // The command has been executed when the next one has.
    rig.bind(ending, LOCAL, RtcpMode::Pair);
    (5..10).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    assert_in_order(&other.packets(10), 0);
    rig.open(ending, &recorder);
    assert_in_order(&recorder.packets(5), 0);
    rig.expect(ending, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
    (10..15).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    assert_in_order(&other.packets(5), 10);
    recorder.assert_silence();
    let reports = [ending, lasting].map(|branch| rig.close(branch).1);
    assert_eq!(reports.each_ref().map(|report| (report.seen, report.sent)), [(5, 5), (15, 15)]);
}
