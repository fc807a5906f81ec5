//! Who gets what a sink sends, whatever is wrong with the others.

use std::net::UdpSocket;

use gst::prelude::*;

use crate::common::Inlet;
use crate::peer::{make, peer, peer_at, port, receive, sink_to};

/// Not even a name server that is silent makes it a slow one.
const NOWHERE: &str = "no host at all";

/// A sink in PLAYING, with a pad before it and a bus.
struct Sending {
    sink: gst::Element,
    inlet: Inlet,
    bus: gst::Bus,
}

impl Sending {
    fn by(sink: gst::Element) -> Self {
        let bus = gst::Bus::new();
        sink.set_bus(Some(&bus));
        sink.set_state(gst::State::Playing).unwrap();
        let inlet = Inlet::before(&sink.static_pad("sink").unwrap());
        inlet.begin();
        Self { sink, inlet, bus }
    }

    fn push(&self, text: &'static str) {
        assert!(self.inlet.pad.push(gst::Buffer::from_slice(text)).is_ok());
    }

    fn emit(&self, signal: &str, host: &str, port: impl Into<i32>) {
        self.sink.emit_by_name::<()>(signal, &[&host, &port.into()]);
    }

    /// There is one WARNING, with this text.
    fn is_warned(&self, text: &str) {
        let warning = self.bus.pop_filtered(&[gst::MessageType::Warning]).expect("a warning");
        let gst::MessageView::Warning(warning) = warning.view() else { panic!("{warning:?}") };
        let told = warning.error().message().to_owned();
        assert!(told.contains(text), "{told}");
        self.is_quiet();
    }

    fn is_quiet(&self) {
        let told = self.bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]);
        assert!(told.is_none(), "{told:?}");
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.sink.set_bus(None::<&gst::Bus>);
        self.sink.set_state(gst::State::Null).unwrap();
    }
}

/// These and no others in between.
fn gets(out: &UdpSocket, expected: &[&str]) {
    for text in expected {
        let got = receive(out).0;
        assert_eq!(String::from_utf8_lossy(&got), *text);
    }
}

fn place(out: &UdpSocket) -> String {
    format!("127.0.0.1:{}", port(out))
}

#[test]
fn a_client_without_an_address_is_told_and_others_come_and_go_at_once() {
    let outs = [peer(), peer(), peer()];
    let sink = sink_to(&outs[0]);
    sink.set_property("clients", format!("{},{}", place(&outs[0]), place(&outs[1])));
    let sending = Sending::by(sink);
    sending.push("one");
    sending.emit("add", NOWHERE, 5);
    sending.is_warned("No packets go to no host at all:5");
    sending.emit("remove", "127.0.0.1", port(&outs[0]));
    sending.push("two");
    sending.emit("add", "127.0.0.1", port(&outs[2]));
    sending.push("three");
    let clients = sending.sink.property::<String>("clients");
    assert_eq!(clients, format!("{},{NOWHERE}:5,{}", place(&outs[1]), place(&outs[2])));
    sending.emit("remove", NOWHERE, 5);
    sending.emit("add", "127.0.0.1", port(&outs[0]));
    sending.push("four");
    gets(&outs[0], &["one", "four"]);
    gets(&outs[1], &["one", "two", "three", "four"]);
    gets(&outs[2], &["three", "four"]);
    sending.emit("add", "127.0.0.1", 70_000);
    sending.is_warned("127.0.0.1:70000");
}

#[test]
fn of_a_list_the_good_clients_take_effect_and_the_bad_ones_are_told() {
    let outs = [peer(), peer()];
    let sending = Sending::by(sink_to(&outs[0]));
    sending.push("one");
    sending.sink.set_property("clients", format!("foo,{}", place(&outs[1])));
    sending.is_warned("\"foo\"");
    sending.push("two");
    sending.sink.set_property("clients", "127.0.0.1:70000");
    sending.is_warned("127.0.0.1:70000");
    assert_eq!(sending.sink.property::<String>("clients"), "127.0.0.1:70000");
    sending.push("nobody's");
    sending.sink.set_property("clients", format!("{},{}", place(&outs[0]), place(&outs[1])));
    sending.push("four");
    gets(&outs[0], &["one", "four"]);
    gets(&outs[1], &["two", "four"]);
    sending.is_quiet();
}

#[test]
fn a_host_is_no_longer_sent_to_when_another_is_set_that_has_no_address() {
    let out = peer();
    let sending = Sending::by(sink_to(&out));
    sending.push("one");
    sending.sink.set_property("host", NOWHERE);
    sending.is_warned(NOWHERE);
    sending.push("nobody's");
    sending.sink.set_property("host", "127.0.0.1");
    sending.push("two");
    gets(&out, &["one", "two"]);
    sending.is_quiet();
}

#[test]
fn another_port_of_the_same_host_takes_effect_at_once() {
    let outs = [peer(), peer()];
    let sink = sink_to(&outs[0]);
    sink.set_property("host", "localhost");
    let sending = Sending::by(sink);
    sending.push("one");
    sending.sink.set_property("port", i32::from(port(&outs[1])));
    sending.push("two");
    gets(&outs[0], &["one"]);
    gets(&outs[1], &["two"]);
}

#[test]
fn clients_that_are_none_are_an_error_at_ready_that_names_them() {
    let refused = |sink: &gst::Element, named: &str| {
        let bus = gst::Bus::new();
        sink.set_bus(Some(&bus));
        assert!(sink.set_state(gst::State::Ready).is_err(), "{named}");
        let error = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = error.view() else { panic!("{error:?}") };
        assert!(error.error().message().contains(named), "{error:?}");
        sink.set_bus(None::<&gst::Bus>);
        sink.set_state(gst::State::Null).unwrap();
    };
    for (property, value) in [
        ("clients", "foo"),
        ("clients", "127.0.0.1:70000"),
        ("clients", "127.0.0.1:5004,no host at all:5"),
        ("host", NOWHERE),
    ] {
        let sink = make("siprecudpsink");
        sink.set_property(property, value);
        refused(&sink, value.rsplit(',').next().unwrap().trim_end_matches(":5"));
        sink.set_property("clients", "127.0.0.1:5004");
        sink.set_state(gst::State::Ready).unwrap();
        sink.set_state(gst::State::Null).unwrap();
    }
    let sink = make("siprecudpsink");
    sink.emit_by_name::<()>("add", &[&"127.0.0.1", &70_000]);
    refused(&sink, "127.0.0.1:70000");
}

#[test]
fn a_local_address_of_another_family_is_an_error_at_ready_and_a_warning_later() {
    for (bind_address, host) in [("::1", "127.0.0.1"), ("127.0.0.1", "::1")] {
        let sink = make("siprecudpsink");
        sink.set_property("bind-address", bind_address);
        sink.set_property("host", host);
        assert!(sink.set_state(gst::State::Ready).is_err(), "{bind_address} {host}");
        sink.set_state(gst::State::Null).unwrap();
    }
    let out = peer();
    let sink = sink_to(&out);
    sink.set_property("bind-address", "127.0.0.1");
    let sending = Sending::by(sink);
    sending.emit("add", "::1", 9);
    sending.is_warned("[::1]:9");
    sending.push("goes on");
    gets(&out, &["goes on"]);
    sending.is_quiet();
}

#[test]
fn any_local_address_is_for_both_families() {
    // Not every host has IPv6.
    let Ok(_) = UdpSocket::bind("[::1]:0") else { return };
    let outs = [peer(), peer_at("[::1]:0")];
    for bind_address in ["::", "0.0.0.0"] {
        let sink = sink_to(&outs[0]);
        sink.set_property("bind-address", bind_address);
        let sending = Sending::by(sink);
        sending.emit("add", "::1", port(&outs[1]));
        sending.push("both");
        outs.iter().for_each(|out| gets(out, &["both"]));
        sending.is_quiet();
    }
}
