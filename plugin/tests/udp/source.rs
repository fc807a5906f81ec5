//! What a source does.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::common::{Outlet, caps};
use crate::peer::{Playing, address, count, make, peer, peer_at, port, receive, sink_to, source, wait_until};

#[test]
fn port_0_becomes_one_that_can_be_read_until_null() {
    let source = source();
    let notified = Arc::new(Mutex::new(Vec::new()));
    let seen = notified.clone();
    source.connect_notify(Some("port"), move |source, _| {
        seen.lock().unwrap().push(source.property::<i32>("port"));
    });
    assert_eq!(source.property::<i32>("port"), 0);
    source.set_state(gst::State::Ready).unwrap();
    let (_, port) = address(&source);
    assert_eq!(*notified.lock().unwrap(), [i32::from(port)]);
    assert!(source.property::<Option<gst::glib::Object>>("used-socket").is_some());
    source.set_state(gst::State::Null).unwrap();
    assert_eq!(source.property::<i32>("port"), 0);
    assert!(source.property::<Option<gst::glib::Object>>("used-socket").is_none());
}

#[test]
fn an_address_of_another_host_or_of_none_is_an_error_at_ready() {
    let taken = peer();
    let cases = [("192.0.2.1", 0), ("no host at all", 0), ("127.0.0.1", i32::from(port(&taken)))];
    for (address, port) in cases {
        let source = make("siprecudpsrc");
        source.set_property("address", address);
        source.set_property("port", port);
        let bus = gst::Bus::new();
        source.set_bus(Some(&bus));
        assert!(source.set_state(gst::State::Ready).is_err(), "{address}");
        assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_some());
        source.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn events_come_in_order_and_end_with_eos() {
    let source = source();
    source.set_property("caps", caps());
    let outlet = Outlet::behind(&source.static_pad("src").unwrap());
    source.set_state(gst::State::Playing).unwrap();
    let from = peer();
    from.send_to(b"first", address(&source)).unwrap();
    wait_until("a packet", || outlet.bytes() == [b"first"]);
    assert_eq!(outlet.pad.current_caps(), Some(caps()));
    let other: gst::Caps = "application/x-rtp,payload=8".parse().unwrap();
    source.set_property("caps", &other);
    from.send_to(b"second", address(&source)).unwrap();
    wait_until("another packet", || outlet.bytes().len() == 2);
    assert_eq!(outlet.pad.current_caps(), Some(other));
    let tags = gst::event::Tag::new(gst::TagList::new());
    assert!(source.send_event(tags));
    assert!(source.send_event(gst::event::Eos::new()));
    wait_until("EOS", || outlet.events().contains(&gst::EventType::Eos));
    assert_eq!(
        outlet.events(),
        [
            gst::EventType::StreamStart,
            gst::EventType::Caps,
            gst::EventType::Segment,
            gst::EventType::Caps,
            gst::EventType::Tag,
            gst::EventType::Eos
        ]
    );
    source.set_state(gst::State::Null).unwrap();
}

#[test]
fn eos_in_paused_comes_without_a_packet() {
    let source = source();
    let outlet = Outlet::behind(&source.static_pad("src").unwrap());
    assert!(!source.send_event(gst::event::Eos::new()), "there is no stream yet");
    assert_eq!(source.set_state(gst::State::Paused), Ok(gst::StateChangeSuccess::NoPreroll));
    assert!(source.send_event(gst::event::Eos::new()));
    wait_until("EOS", || outlet.events().contains(&gst::EventType::Eos));
    source.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_flush_is_followed_by_a_segment_and_the_stream_goes_on() {
    let source = source();
    let outlet = Outlet::behind(&source.static_pad("src").unwrap());
    source.set_state(gst::State::Playing).unwrap();
    let from = peer();
    for round in 1..=3 {
        from.send_to(b"packet", address(&source)).unwrap();
        wait_until("a packet", || outlet.bytes().len() == round);
        assert!(source.send_event(gst::event::FlushStart::new()));
        assert!(source.send_event(gst::event::FlushStop::new(true)));
    }
    let segments = outlet.events().iter().filter(|kind| **kind == gst::EventType::Segment).count();
    assert_eq!(segments, 3);
    source.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_source_is_live_and_its_packets_have_the_running_time_of_their_arrival() {
    let (source, out) = (source(), peer());
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = times.clone();
    source.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        let flags = buffer.flags() & gst::BufferFlags::DISCONT;
        seen.lock().unwrap().push((buffer.pts().unwrap(), buffer.dts().unwrap(), !flags.is_empty()));
        gst::PadProbeReturn::Ok
    });
    let playing = Playing::of(&[&source, &sink_to(&out)]);
    let mut query = gst::query::Latency::new();
    assert!(source.query(&mut query));
    assert_eq!(query.result(), (true, gst::ClockTime::ZERO, gst::ClockTime::NONE));
    let mut bounds = Vec::new();
    let from = peer();
    for _ in 0..5 {
        let before = playing.0.current_running_time().unwrap();
        from.send_to(b"packet", address(&source)).unwrap();
        receive(&out);
        bounds.push((before, playing.0.current_running_time().unwrap()));
    }
    let times = times.lock().unwrap();
    for (index, ((pts, dts, is_discont), (before, after))) in times.iter().zip(&bounds).enumerate() {
        assert!(before <= pts && pts <= after && pts == dts, "{before} {pts} {after}");
        assert_eq!(*is_discont, index == 0);
    }
    playing.ensure_quiet();
}

#[test]
fn a_packet_of_any_size_arrives_whole() {
    let (source, out) = (source(), peer());
    let _playing = Playing::of(&[&source, &sink_to(&out)]);
    let from = peer();
    for size in [0, 1, 512, 513, 2048, 2049, 9000, 65_507] {
        let sent: Vec<u8> = (0..size).map(|index| index as u8).collect();
        from.send_to(&sent, address(&source)).unwrap();
        assert!(receive(&out).0 == sent, "{size}");
    }
}

#[test]
fn so_many_packets_as_are_asked_for_are_followed_by_eos() {
    let (source, out) = (source(), peer());
    source.set_property("num-buffers", 3);
    let playing = Playing::of(&[&source, &sink_to(&out)]);
    let from = peer();
    (0..5).for_each(|_| {
        from.send_to(b"packet", address(&source)).unwrap();
    });
    playing.message(&[gst::MessageType::Eos]);
    assert_eq!(count(&source, "packets"), 3);
}

#[test]
fn none_are_followed_by_eos_at_once() {
    let (source, out) = (source(), peer());
    source.set_property("num-buffers", 0);
    let playing = Playing::of(&[&source, &sink_to(&out)]);
    playing.message(&[gst::MessageType::Eos]);
    assert_eq!(count(&source, "packets"), 0);
}

#[test]
fn silence_is_told_by_the_message_of_udpsrc() {
    let (source, out) = (source(), peer());
    let timeout = gst::ClockTime::from_mseconds(50);
    source.set_property("timeout", timeout.nseconds());
    let playing = Playing::of(&[&source, &sink_to(&out)]);
    for _ in 0..2 {
        let message = playing.message(&[gst::MessageType::Element]);
        let told = message.structure().unwrap();
        assert_eq!((told.name().as_str(), told.get("timeout")), ("GstUDPSrcTimeout", Ok(timeout.nseconds())));
        assert_eq!(message.src(), Some(source.upcast_ref()));
    }
}

#[test]
fn the_sender_of_a_packet_is_told_when_asked_for() {
    let (source, out) = (source(), peer());
    source.set_property("retrieve-sender-address", true);
    let metas = Arc::new(Mutex::new(Vec::new()));
    let seen = metas.clone();
    source.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let meta = info.buffer().unwrap().meta::<gst_net::NetAddressMeta>().unwrap();
        let inet = meta.addr().downcast::<gst_net::gio::InetSocketAddress>().unwrap();
        seen.lock().unwrap().push(std::net::SocketAddr::from(inet));
        gst::PadProbeReturn::Ok
    });
    let _playing = Playing::of(&[&source, &sink_to(&out)]);
    let from = peer();
    from.send_to(b"packet", address(&source)).unwrap();
    receive(&out);
    assert_eq!(*metas.lock().unwrap(), [from.local_addr().unwrap()]);
}

#[test]
fn a_multicast_group_is_joined_and_sent_to_on_the_interface_that_is_named() {
    let source = make("siprecudpsrc");
    source.set_property("address", "239.255.77.1");
    source.set_property("port", 0);
    source.set_property("multicast-iface", "lo");
    source.set_state(gst::State::Ready).unwrap();
    let sink = make("siprecudpsink");
    sink.set_property("host", "239.255.77.1");
    sink.set_property("port", i32::from(address(&source).1));
    sink.set_property("multicast-iface", "lo");
    let (first, out) = (self::source(), peer());
    let _sends = Playing::of(&[&first, &sink]);
    let _receives = Playing::of(&[&source, &sink_to(&out)]);
    peer().send_to(b"to all", address(&first)).unwrap();
    assert_eq!(receive(&out).0, b"to all");
}

/// Groups that an interface of this host is a member of, and how it is called.
fn memberships() -> Vec<(String, String)> {
    let listed = std::fs::read_to_string("/proc/net/igmp6").unwrap_or_default();
    let fields = listed.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    fields
        .filter(|fields| fields.len() > 2)
        .map(|fields| (fields[2].to_owned(), fields[1].to_owned()))
        .collect()
}

#[test]
fn a_group_of_a_link_is_joined_on_the_interface_that_is_named() {
    // Not every host has IPv6.
    let Ok(_) = UdpSocket::bind("[::1]:0") else { return };
    // No other process has these groups.
    let process = std::process::id();
    for (number, scope, interface) in [(1, "", "lo"), (2, "%lo", ""), (3, "%lo", "lo")] {
        let group = format!("ff02::{number}:{:x}:{:x}", process >> 16, process & 0xffff);
        let raw: String =
            group.parse::<Ipv6Addr>().unwrap().octets().iter().map(|byte| format!("{byte:02x}")).collect();
        let is_member = || memberships().contains(&(raw.clone(), "lo".to_owned()));
        let source = make("siprecudpsrc");
        source.set_property("address", format!("{group}{scope}"));
        source.set_property("port", 0);
        source.set_property("multicast-iface", interface);
        source.set_state(gst::State::Ready).unwrap();
        assert!(is_member(), "{group}{scope} {interface}");
        source.set_state(gst::State::Null).unwrap();
        assert!(!is_member(), "{group}{scope} {interface}");
    }
}

#[test]
fn ipv6_is_spoken_as_well() {
    // Not every host has it.
    let Ok(_) = UdpSocket::bind("[::1]:0") else { return };
    let out = peer_at("[::1]:0");
    let source = make("siprecudpsrc");
    source.set_property("address", "::1");
    source.set_property("port", 0);
    let sink = make("siprecudpsink");
    sink.set_property("clients", format!("[::1]:{}", port(&out)));
    let _playing = Playing::of(&[&source, &sink]);
    peer_at("[::1]:0").send_to(b"six", ("::1", address(&source).1)).unwrap();
    assert_eq!(receive(&out).0, b"six");
    assert_eq!(sink.property::<String>("host"), "[::1]");
}
