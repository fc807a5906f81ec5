//! A thousand calls leave nothing behind.
#![cfg(test)]

mod common;

use common::recorder::{Recorder, Script};
use common::{Inlet, Outlet, init, rtp};
use gst::prelude::*;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
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
    // What is made once for the process is made now.
    call(&siprec(&recorder.uri()));
    let before = (open_files(), threads());
    gst::Plugin::load_by_name("coretracers").unwrap();
    let leaks = gst::glib::Object::with_type(gst::glib::Type::from_name("GstLeaksTracer").unwrap());
    let again = siprec(&recorder.uri());
    for round in 0..500 {
        call(&again);
        call(&siprec(&recorder.uri()));
        if round % 100 == 99 {
            assert!(open_files() <= before.0 && threads() <= before.1, "round {round}");
        }
    }
    let alive = || {
        let alive = leaks.emit_by_name::<gst::Structure>("get-live-objects", &[]);
        alive.get::<gst::List>("live-objects-list").unwrap()
    };
    assert!(!alive().is_empty(), "the tracer sees the last element");
    drop(again);
    let left = alive();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!((open_files(), threads()), before);
}
