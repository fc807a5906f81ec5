//! Calls come and go for days. The only test of its process: it counts what the process owns.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::{Recorder, Rig, numbered};
use siprec_engine::EngineConfig;
use siprec_model::BranchEvent;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory in pages.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_calls_leave_no_descriptor_and_no_memory() {
    let rig = Rig::new(EngineConfig::default());
    let recorder = Recorder::new();
    let mut before = (0, 0);
    for cycle in 0..1000u32 {
        if cycle == 100 {
            before = (descriptors(), resident());
        }
        let tap = rig.tap();
        let (branch, _) = rig.open_branch(&tap, 0, &recorder);
        tap.push(&numbered(cycle, 0), Instant::now());
        assert_eq!(recorder.packet().ssrc, cycle);
        // Either may go first.
        if cycle % 2 == 0 {
            drop(tap);
            rig.close(branch);
        } else {
            rig.close(branch);
            drop(tap);
        }
        recorder.rtcp.set_nonblocking(true).unwrap();
        while recorder.rtcp.recv(&mut [0; 1500]).is_ok() {}
    }
    assert_eq!(descriptors(), before.0);
    let grown = resident().saturating_sub(before.1) * 4;
    assert!(grown < 2048, "{grown} KiB more than after 100 calls");

    // A branch that nobody closed goes with the engine.
    let tap = rig.tap();
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    let begun = Instant::now();
    let events = rig.into_events();
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "the engine ends at once");
    let last = events.try_iter().filter(|(from, _)| *from == branch).last();
    assert!(matches!(last, Some((_, BranchEvent::Closed(_)))), "{last:?}");
    tap.push(&numbered(0, 0), Instant::now());
}
