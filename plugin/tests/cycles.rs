//! A thousand calls leave nothing behind.
#![cfg(test)]

mod common;

use std::time::{Duration, Instant};

use common::leaks::Leaks;
use common::recorder::{Recorder, Script};
use common::{Inlet, Outlet, init, rtp};
use gst::prelude::*;

fn open_files() -> usize {
    files().len()
}

/// What the process has open, with the folder that is being read for it.
fn files() -> Vec<String> {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok()).map(|to| to.display().to_string()).collect()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// One call: started, a few packets, ended.
fn call(siprec: &gst::Element) {
    let sinks: Vec<_> = (0..2).map(|_| siprec.request_pad_simple("sink_%u").unwrap()).collect();
    let ways: Vec<_> = sinks
        .iter()
        .map(|sink| {
            let source = siprec.static_pad(&sink.name().replace("sink", "src")).unwrap();
            (Inlet::before(sink), Outlet::behind(&source))
        })
        .collect();
    siprec.set_state(gst::State::Playing).unwrap();
    for (inlet, _) in &ways {
        inlet.begin();
        (0..3).for_each(|sequence| assert!(inlet.pad.push(rtp(sequence)).is_ok()));
    }
    siprec.set_state(gst::State::Null).unwrap();
    sinks.iter().for_each(|sink| siprec.release_request_pad(sink));
}

// The only test here: it counts what the process has.
#[test]
fn a_thousand_calls_leave_no_object_no_file_and_no_thread() {
    init();
    let recorder = Recorder::start(Script::Accept);
    let siprec = |recorder: &str| {
        gst::ElementFactory::make("siprec")
            .property("recorder", recorder)
            .property("stop-timeout", gst::ClockTime::from_seconds(10).nseconds())
            .build()
            .unwrap()
    };
    // GStreamer's bindings make their allocator once.
    drop(rtp(0));
    // So does the runtime its signal pipe, in a build in which some crate asks for signals.
    let alone = threads();
    call(&siprec(&recorder.uri()));
    let deadline = Instant::now() + Duration::from_secs(40);
    while threads() > alone {
        assert!(Instant::now() < deadline, "{} threads after one call, {alone} before", threads());
        std::thread::yield_now();
    }
    let before = (open_files(), threads());
    let files_before = files();
    let leaks = Leaks::track();
    let again = siprec(&recorder.uri());
    for round in 0..500 {
        call(&again);
        call(&siprec(&recorder.uri()));
        if round % 100 == 99 {
            // One running agent with its calls, and no more.
            assert!(open_files() < before.0 + 40 && threads() < before.1 + 10, "round {round}");
        }
    }
    drop(again);
    leaks.assert_none_left("GstSiprec");
    // A goodbye whose answer was lost keeps its agent for 64 x T1 = 32 s (RFC 3261 §17.1.2.2).
    let deadline = Instant::now() + Duration::from_secs(40);
    while open_files() > before.0 || threads() > before.1 {
        assert!(
            Instant::now() < deadline,
            "files {:?}, before {files_before:?}; {} threads, {} before",
            files(),
            threads(),
            before.1
        );
        std::thread::yield_now();
    }
}
