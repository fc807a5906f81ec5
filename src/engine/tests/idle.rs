//! The media thread as the kernel sees it. The only test of its process: the process has one such thread.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, Recorder, Rig, numbered};
use siprec_engine::EngineConfig;

const SSRC: u32 = 5;

/// A file of the media thread in `/proc`.
fn thread_file(name: &str) -> String {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim() == "siprec-engine")
        .map(|task| std::fs::read_to_string(task.join(name)).unwrap())
        .unwrap()
}

fn wake_ups() -> u64 {
    let status = thread_file("status");
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

fn nice(stat: &str) -> i32 {
    stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[test]
fn the_thread_stands_back_behind_the_call_and_sleeps_while_nothing_is_tapped() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    rig.open_branch(&tap, 0, &recorder);
    tap.push(&numbered(SSRC, 0), Instant::now());
    recorder.packet();
    let ours = nice(&std::fs::read_to_string("/proc/thread-self/stat").unwrap());
    assert_eq!(nice(&thread_file("stat")), (ours + 5).min(19));

    let deadline = Instant::now() + DEADLINE;
    loop {
        let before = wake_ups();
        rig.events_within(Duration::from_millis(300));
        if wake_ups() == before {
            break;
        }
        assert!(Instant::now() < deadline, "the thread does not come to rest");
    }
    tap.push(&numbered(SSRC, 1), Instant::now());
    assert_eq!(recorder.packet().number(), 1, "a packet wakes it");
}
