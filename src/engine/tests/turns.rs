//! When packets leave: in turns, and what does not wait for its turn.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, assert_in_order, numbered, receive};
use siprec_engine::{EngineConfig, Tap};
use siprec_model::{BranchCommand, BranchId, BranchLimits, RtcpMode};

const SSRC: u32 = 5;
const PACKET: Duration = Duration::from_millis(20);

fn sending_each(send_interval: Duration) -> Rig {
    Rig::new(EngineConfig { send_interval, ..EngineConfig::default() })
}

/// How many bursts 60 packets make that come 20 ms apart.
fn bursts(send_interval: Duration, limits: BranchLimits) -> usize {
    let rig = sending_each(send_interval);
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, limits);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    // What comes before the branch is open is not for a recorder that places it by its arrival.
    let end = Instant::now() + DEADLINE;
    let first = (0..).find(|number| {
        assert!(Instant::now() < end, "nothing comes");
        tap.push(&numbered(SSRC, *number), Instant::now());
        receive(&recorder.rtp, 2 * EngineConfig::default().send_interval).is_some()
    });
    let first = first.unwrap() + 1;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for number in 0..60 {
                std::thread::sleep((start + PACKET * number).saturating_duration_since(Instant::now()));
                tap.push(&numbered(SSRC, first + number), Instant::now());
            }
        });
        let mut bursts = 0;
        let mut last = None;
        for _ in 0..60 {
            assert!(receive(&recorder.rtp, DEADLINE).is_some(), "a packet is missing");
            let now = Instant::now();
            bursts += usize::from(last.is_none_or(|last| now - last > PACKET / 4));
            last = Some(now);
        }
        bursts
    })
}

#[test]
fn packets_of_an_interval_leave_together_but_where_a_recorder_places_them_by_their_arrival() {
    let by_arrival = BranchLimits { catch_up: 0.0, ..FAST };
    let often = Duration::from_millis(10);
    let rarely = EngineConfig::default().send_interval;
    let bursts = std::thread::scope(|scope| {
        let all = [(often, FAST), (rarely, FAST), (rarely, by_arrival)];
        let all = all.map(|(interval, limits)| scope.spawn(move || bursts(interval, limits)));
        all.map(|bursts| bursts.join().unwrap())
    });
    assert!(bursts[1] * 2 < bursts[0] && bursts[1] * 2 < bursts[2], "{bursts:?}");
}

/// A stream whose turn, the only one in a second, is just over.
fn after_its_turn(rig: &Rig) -> (Tap, Recorder, BranchId) {
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    // This one has waited for the turn.
    tap.push(&numbered(SSRC, 1), Instant::now());
    recorder.packet();
    (tap, recorder, branch)
}

#[test]
fn much_does_not_wait_for_its_turn() {
    let rig = sending_each(Duration::from_secs(1));
    let (tap, recorder, _) = after_its_turn(&rig);
    for number in 2..202 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    assert!(receive(&recorder.rtp, Duration::from_millis(500)).is_some(), "it waits for its turn");
    assert_in_order(&recorder.packets(199), 3);
}

#[test]
fn a_command_does_not_wait_for_the_turn_of_what_came_before_it() {
    let rig = sending_each(Duration::from_secs(1));
    let (tap, recorder, branch) = after_its_turn(&rig);
    tap.push(&numbered(SSRC, 2), Instant::now());
    tap.push(&numbered(SSRC, 3), Instant::now());
    rig.command(BranchCommand::Drain { branch });
    assert!(receive(&recorder.rtp, Duration::from_millis(500)).is_some(), "it waits for its turn");
    assert_in_order(&recorder.packets(1), 3);
}

#[test]
fn an_interval_out_of_bounds_is_refused() {
    for ms in [0, 9, 1001] {
        let config = EngineConfig { send_interval: Duration::from_millis(ms), ..EngineConfig::default() };
        let error = siprec_engine::Engine::start(config, |_, _| ()).err().unwrap();
        assert!(error.to_string().contains("is not in 10ms to 1s"), "{error}");
    }
}
