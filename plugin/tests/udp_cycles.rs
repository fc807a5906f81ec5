//! Streams share a thread, and leave nothing behind.
#![cfg(test)]

mod common;
#[path = "udp/peer.rs"]
#[allow(dead_code)]
mod peer;

use std::net::UdpSocket;
use std::sync::Mutex;

use common::init;
use common::leaks::Leaks;
use gst::prelude::*;
use peer::{Playing, address, count, peer, port, receive, relay, sink_to, source, wait_until};

/// These tests count what the process has: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// How many threads of ours there are.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("siprecudp")).count()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn many_streams_have_one_thread_and_who_watches_it() {
    let _alone = ALONE.lock().unwrap();
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let (source, out) = (source(), peer());
            let playing = Playing::of(&[&source, &sink_to(&out)]);
            (playing, source, out)
        })
        .collect();
    let from = peer();
    for _ in 0..5 {
        for (_, source, out) in &streams {
            relay(&from, address(source), out, 3, 3);
        }
    }
    // Another one may be on its way where the machine is so busy that a push seems to hang.
    wait_until("one thread", || {
        let moved: u64 = streams.iter().map(|(_, source, _)| count(source, "moved")).sum();
        threads() <= 2 + moved as usize
    });
    drop(streams);
    assert_eq!(threads(), 0);
}

/// Through these states, with a packet in each PLAYING.
fn cycle(states: &[gst::State], out: &UdpSocket) {
    let text = format!(
        "siprecudpsrc name=in address=127.0.0.1 port=0 ! siprecudpsink host=127.0.0.1 port={}",
        port(out)
    );
    let pipeline = gst::parse::launch(&text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source = pipeline.by_name("in").unwrap();
    for state in states.iter().chain(&[gst::State::Null]) {
        pipeline.set_state(*state).unwrap();
        if *state == gst::State::Playing {
            out.send_to(b"packet", address(&source)).unwrap();
            assert_eq!(receive(out).0, b"packet");
        }
    }
}

#[test]
fn a_hundred_streams_in_any_order_of_states_leave_no_object_no_file_and_no_thread() {
    use gst::State::{Null, Paused, Playing, Ready};
    let _alone = ALONE.lock().unwrap();
    init();
    let out = peer();
    // GStreamer's bindings and GLib make some things once.
    cycle(&[Playing], &out);
    assert_eq!(threads(), 0);
    let before = open_files();
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
    wait_until("no file is left open", || open_files() == before);
    wait_until("no thread is left", || threads() == 0);
}
