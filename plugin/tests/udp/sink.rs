//! What a sink does.

use gst::prelude::*;

use crate::common::Inlet;
use crate::peer::{Playing, address, count, make, packet, peer, port, receive, sink_to, source, wait_until};

/// A sink in PLAYING, with a pad before it.
fn pushing(sink: &gst::Element) -> Inlet {
    sink.set_state(gst::State::Playing).unwrap();
    let inlet = Inlet::before(&sink.static_pad("sink").unwrap());
    inlet.begin();
    inlet
}

#[test]
fn a_buffer_of_several_memories_is_one_packet() {
    let out = peer();
    let sink = sink_to(&out);
    let inlet = pushing(&sink);
    let mut buffer = gst::Buffer::new();
    for part in [&b"head"[..], b"er", b"payload"] {
        buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(part));
    }
    assert!(inlet.pad.push(buffer).is_ok());
    assert_eq!(receive(&out).0, b"headerpayload");
    sink.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_buffer_list_leaves_in_order_whatever_the_sizes_are() {
    let out = peer();
    let sink = sink_to(&out);
    let inlet = pushing(&sink);
    let sizes = [100, 100, 100, 7, 100, 1200, 1200, 1200, 1100, 0, 0, 3, 3000, 3000];
    let packets: Vec<Vec<u8>> = (0u8..).zip(sizes).map(|(number, size)| vec![number; size]).collect();
    let list: gst::BufferList = packets.iter().map(|bytes| gst::Buffer::from_slice(bytes.clone())).collect();
    for _ in 0..3 {
        assert!(inlet.pad.push_list(list.clone()).is_ok());
        for (number, sent) in packets.iter().enumerate() {
            assert!(receive(&out).0 == *sent, "packet {number}");
        }
    }
    assert_eq!(count(&sink, "packets"), 3 * packets.len() as u64);
    assert_eq!(count(&sink, "bytes"), 3 * sizes.iter().sum::<usize>() as u64);
    sink.set_state(gst::State::Null).unwrap();
}

#[test]
fn clients_come_and_go_while_packets_flow() {
    let outs = [peer(), peer(), peer()];
    let sink = sink_to(&outs[0]);
    let inlet = pushing(&sink);
    let push = |text: &'static str| assert!(inlet.pad.push(gst::Buffer::from_slice(text)).is_ok());
    push("one");
    sink.emit_by_name::<()>("add", &[&"127.0.0.1", &i32::from(port(&outs[1]))]);
    push("two");
    sink.emit_by_name::<()>("remove", &[&"127.0.0.1", &i32::from(port(&outs[0]))]);
    push("three");
    sink.set_property("clients", format!("127.0.0.1:{}", port(&outs[2])));
    push("four");
    sink.emit_by_name::<()>("clear", &[]);
    push("nobody's");
    sink.emit_by_name::<()>("add", &[&"127.0.0.1", &i32::from(port(&outs[0]))]);
    sink.emit_by_name::<()>("add", &[&"127.0.0.1", &i32::from(port(&outs[1]))]);
    push("six");
    let told = |out: usize, expected: &[&str]| {
        for text in expected {
            assert_eq!(receive(&outs[out]).0, text.as_bytes());
        }
    };
    told(0, &["one", "two", "six"]);
    told(1, &["two", "three", "six"]);
    told(2, &["four"]);
    assert_eq!(count(&sink, "packets"), 7);
    sink.set_property("clients", "not a client");
    push("nobody's");
    sink.set_property("clients", format!("127.0.0.1:{}", port(&outs[0])));
    push("eight");
    told(0, &["eight"]);
    sink.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_host_that_refuses_does_not_end_the_stream_and_is_told_once() {
    let (source, sink) = (source(), make("siprecudpsink"));
    // Nobody has this address of the host.
    sink.set_property("host", "127.77.33.11");
    sink.set_property("port", 9);
    let playing = Playing::of(&[&source, &sink]);
    let from = peer();
    wait_until("refusals", || {
        from.send_to(b"packet", address(&source)).unwrap();
        count(&sink, "refused") > 20
    });
    let is_told = || {
        let warning = playing.message(&[gst::MessageType::Warning, gst::MessageType::Error]);
        let gst::MessageView::Warning(warning) = warning.view() else { panic!("{warning:?}") };
        warning.error().message().contains("127.77.33.11:9")
    };
    wait_until("a warning that names the host", is_told);
    playing.ensure_quiet();
    // Whoever listens later gets what is sent from then on.
    let out = peer();
    sink.set_property("clients", format!("127.0.0.1:{}", port(&out)));
    from.send_to(b"heard", address(&source)).unwrap();
    while receive(&out).0 != b"heard" {}
}

#[test]
fn a_packet_too_large_is_lost_alone() {
    let out = peer();
    let sink = sink_to(&out);
    let inlet = pushing(&sink);
    let bus = gst::Bus::new();
    sink.set_bus(Some(&bus));
    let large = || gst::Buffer::with_size(65_508).unwrap();
    assert!(inlet.pad.push(large()).is_ok());
    let list = [gst::Buffer::from_slice(b"one"), large(), large(), gst::Buffer::from_slice(b"two")];
    assert!(inlet.pad.push_list(gst::BufferList::from_iter(list)).is_ok());
    assert_eq!((receive(&out).0, receive(&out).0), (b"one".to_vec(), b"two".to_vec()));
    assert_eq!((count(&sink, "too-large"), count(&sink, "packets")), (3, 2));
    assert!(bus.pop_filtered(&[gst::MessageType::Warning]).is_some());
    assert!(bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]).is_none());
    sink.set_bus(None::<&gst::Bus>);
    sink.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_host_without_an_address_is_an_error_at_ready() {
    for (property, value) in [("host", "no host at all"), ("bind-address", "192.0.2.1")] {
        let sink = make("siprecudpsink");
        sink.set_property(property, value);
        let bus = gst::Bus::new();
        sink.set_bus(Some(&bus));
        assert!(sink.set_state(gst::State::Ready).is_err(), "{property}");
        assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_some());
        sink.set_bus(None::<&gst::Bus>);
        sink.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn eos_is_told_in_playing_only_and_once() {
    let out = peer();
    let sink = sink_to(&out);
    let bus = gst::Bus::new();
    sink.set_bus(Some(&bus));
    sink.set_state(gst::State::Paused).unwrap();
    let inlet = Inlet::before(&sink.static_pad("sink").unwrap());
    inlet.begin();
    let eos = gst::event::Eos::new();
    let seqnum = eos.seqnum();
    assert!(inlet.pad.push_event(eos));
    assert!(bus.pop_filtered(&[gst::MessageType::Eos]).is_none());
    sink.set_state(gst::State::Playing).unwrap();
    assert_eq!(bus.pop_filtered(&[gst::MessageType::Eos]).map(|eos| eos.seqnum()), Some(seqnum));
    sink.set_state(gst::State::Paused).unwrap();
    sink.set_state(gst::State::Playing).unwrap();
    assert!(bus.pop_filtered(&[gst::MessageType::Eos]).is_none());
    sink.set_bus(None::<&gst::Bus>);
    sink.set_state(gst::State::Null).unwrap();
}

#[test]
fn with_sync_packets_leave_at_their_time_and_without_at_once() {
    let out = peer();
    let sink = sink_to(&out);
    sink.set_property("sync", true);
    let source = make("appsrc");
    source.set_property_from_str("format", "time");
    let playing = Playing::of(&[&source, &sink]);
    for number in 0..5 {
        let mut buffer = gst::Buffer::from_slice(packet(number));
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(20 * u64::from(number)));
        assert_eq!(source.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]), gst::FlowReturn::Ok);
    }
    for number in 0..5 {
        assert_eq!(receive(&out).0, packet(number));
        let now = playing.0.current_running_time().unwrap();
        assert!(now >= gst::ClockTime::from_mseconds(20 * u64::from(number)), "{number}: {now}");
    }
    // One that is far away does not keep NULL from coming.
    let mut buffer = gst::Buffer::from_slice(b"much later");
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(86_400));
    assert_eq!(source.emit_by_name::<gst::FlowReturn>("push-buffer", &[&buffer]), gst::FlowReturn::Ok);
}
