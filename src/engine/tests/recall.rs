//! A recorder is lost, and another one takes its place.

mod common;

use std::time::Instant;

use common::{FAST, LOCAL, Recorder, Rig, numbered};
use siprec_engine::EngineConfig;
use siprec_model::{BranchCommand, RtcpMode};

const SSRC: u32 = 0x1234_5678;

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
