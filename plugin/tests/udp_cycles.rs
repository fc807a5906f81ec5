//! Streams that begin and end leave nothing behind.
#![cfg(test)]

mod common;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::init;
use common::leaks::Leaks;
use gst::prelude::*;

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Through these states, with a packet in each PLAYING.
fn cycle(states: &[gst::State], out: &UdpSocket) {
    let text = format!(
        "siprecudpsrc name=in address=127.0.0.1 port=0 ! siprecudpsink host=127.0.0.1 port={}",
        out.local_addr().unwrap().port()
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap();
    for state in states.iter().chain(&[gst::State::Null]) {
        pipeline.set_state(*state).unwrap();
        if *state == gst::State::Playing {
            let port = u16::try_from(source.property::<i32>("port")).unwrap();
            out.send_to(b"packet", ("127.0.0.1", port)).unwrap();
            let mut bytes = [0; 16];
            assert_eq!(out.recv(&mut bytes).unwrap(), 6);
        }
    }
}

// The only test here: it counts what the process has.
#[test]
fn a_hundred_streams_in_any_order_of_states_leave_no_object_no_file_and_no_thread() {
    use gst::State::{Null, Paused, Playing, Ready};
    init();
    let out = UdpSocket::bind("127.0.0.1:0").unwrap();
    out.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // GStreamer's bindings and GLib make some things once.
    cycle(&[Playing], &out);
    let before = (open_files(), threads());
    let leaks = Leaks::track();
    let orders: [&[gst::State]; 6] = [
        &[Playing],
        &[Ready, Playing, Ready, Playing],
        &[Paused, Playing, Paused, Playing, Null, Playing],
        &[Ready],
        &[Paused],
        &[Playing, Paused, Ready, Paused, Ready, Null, Ready, Playing, Paused, Playing],
    ];
    for round in 0..100 {
        cycle(orders[round % orders.len()], &out);
    }
    leaks.assert_none_left("GstSiprecUdpSrc");
    let deadline = Instant::now() + Duration::from_secs(60);
    while (open_files(), threads()) != before {
        assert!(Instant::now() < deadline, "{:?}, {before:?} before", (open_files(), threads()));
        std::thread::yield_now();
    }
}
