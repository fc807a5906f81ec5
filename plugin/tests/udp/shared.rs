//! What elements have together: the thread, and sockets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::peer::{LONG, Playing, address, count, peer, receive, relay, sink_to, source, wait_until};

#[test]
fn thousands_of_packets_pass_in_order_and_are_counted_exactly() {
    let (source, out) = (source(), peer());
    let sink = sink_to(&out);
    let playing = Playing::of(&[&source, &sink]);
    let from = peer();
    relay(&from, address(&source), &out, 2000, 1);
    relay(&from, address(&source), &out, 3000, 30);
    for element in [&source, &sink] {
        assert_eq!(count(element, "packets"), 5000);
    }
    assert_eq!(count(&source, "bytes"), count(&sink, "bytes"));
    assert_eq!((count(&source, "dropped"), count(&source, "kernel-dropped")), (0, 0));
    playing.ensure_quiet();
}

#[test]
fn a_downstream_that_blocks_is_named_and_stops_nobody_else() {
    let (slow, slow_out) = (source(), peer());
    let (good, good_out) = (source(), peer());
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let held = Arc::new(AtomicUsize::new(0));
    let holds = held.clone();
    slow.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if holds.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = released.lock().unwrap().recv_timeout(LONG);
        }
        gst::PadProbeReturn::Ok
    });
    let blocked = Playing::of(&[&slow, &sink_to(&slow_out)]);
    let goes_on = Playing::of(&[&good, &sink_to(&good_out)]);
    let from = peer();
    relay(&from, address(&good), &good_out, 100, 10);
    (0..50u8).for_each(|number| {
        from.send_to(&[number], address(&slow)).unwrap();
    });
    wait_until("the first packet is held", || held.load(Ordering::SeqCst) == 1);
    // Two seconds of a call and more, all of it while the other one hangs.
    relay(&from, address(&good), &good_out, 200, 1);
    assert_eq!(held.load(Ordering::SeqCst), 1);
    let message = blocked.message(&[gst::MessageType::Element]);
    assert_eq!(message.src(), Some(slow.upcast_ref()));
    assert_eq!(message.structure().unwrap().name(), "siprecudp-blocked");
    let warning = blocked.message(&[gst::MessageType::Warning]);
    assert_eq!(warning.src(), Some(slow.upcast_ref()));
    assert_eq!(count(&slow, "moved"), 1);
    // It has lost nothing, and goes on by itself.
    release.send(()).unwrap();
    for number in 0..50u8 {
        assert_eq!(receive(&slow_out).0, [number]);
    }
    relay(&from, address(&slow), &slow_out, 100, 10);
    relay(&from, address(&good), &good_out, 100, 10);
    // After a pause it is as good as any other.
    blocked.0.set_state(gst::State::Paused).unwrap();
    blocked.0.set_state(gst::State::Playing).unwrap();
    relay(&from, address(&slow), &slow_out, 100, 10);
    goes_on.ensure_quiet();
}

#[test]
fn how_long_a_downstream_has_held_up_the_others_is_told_as_it_was() {
    let (slow, out) = (source(), peer());
    let (stop, stopped) = mpsc::channel::<()>();
    let stopped = Mutex::new(stopped);
    slow.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        // What computes may take longer than what waits.
        while stopped.lock().unwrap().try_recv() == Err(mpsc::TryRecvError::Empty) {}
        gst::PadProbeReturn::Remove
    });
    let playing = Playing::of(&[&slow, &sink_to(&out)]);
    peer().send_to(b"packet", address(&slow)).unwrap();
    let message = playing.message(&[gst::MessageType::Element]);
    let warning = playing.message(&[gst::MessageType::Warning]);
    stop.send(()).unwrap();
    let longer = message.structure().unwrap().get::<gst::ClockTime>("longer-than").unwrap();
    assert!(longer > gst::ClockTime::from_mseconds(500), "{longer}");
    let gst::MessageView::Warning(warning) = warning.view() else { panic!("{warning:?}") };
    let told = warning.error().message().to_owned();
    assert!(told.contains(&format!("for {} ms", longer.mseconds())), "{told}");
    assert_eq!(receive(&out).0, b"packet");
}

#[test]
fn a_stream_that_hangs_can_be_stopped() {
    let (slow, out) = (source(), peer());
    let queue = gst::ElementFactory::make("queue").property("max-size-buffers", 1u32).build().unwrap();
    // Nobody takes anything from the queue.
    queue
        .static_pad("src")
        .unwrap()
        .add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    let playing = Playing::of(&[&slow, &queue, &sink_to(&out)]);
    let from = peer();
    (0..10).for_each(|_| {
        from.send_to(b"packet", address(&slow)).unwrap();
    });
    wait_until("it is moved", || count(&slow, "moved") == 1);
    drop(playing);
    assert_eq!(slow.current_state(), gst::State::Null);
}

#[test]
fn a_sink_sends_from_the_port_of_a_source() {
    let (source, out) = (source(), peer());
    let playing = Playing::of(&[&source, &sink_to(&out)]);
    let port = address(&source).1;
    let by_port = sink_to(&out);
    by_port.set_property("bind-address", "127.0.0.1");
    by_port.set_property("bind-port", i32::from(port));
    let by_socket = sink_to(&out);
    by_socket.set_property("socket", source.property::<gst::glib::Object>("used-socket"));
    let from = peer();
    for sink in [by_port, by_socket] {
        let inner = self::source();
        let back = Playing::of(&[&inner, &sink]);
        from.send_to(b"symmetric", address(&inner)).unwrap();
        let (bytes, sender) = receive(&out);
        assert_eq!((bytes.as_slice(), sender.port()), (&b"symmetric"[..], port));
        // Its source goes on when the sink is gone.
        drop(back);
        relay(&from, address(&source), &out, 20, 1);
    }
    playing.ensure_quiet();
}

#[test]
fn what_came_before_playing_is_the_first_that_is_pushed() {
    let (source, out) = (source(), peer());
    source.set_state(gst::State::Ready).unwrap();
    peer().send_to(b"first word", address(&source)).unwrap();
    let _playing = Playing::of(&[&source, &sink_to(&out)]);
    assert_eq!(receive(&out).0, b"first word");
}
