//! Plain sockets, and pipelines between them.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::common::init;

/// No wait is longer, however busy the machine is.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A socket at a free port of this host.
pub(crate) fn peer() -> UdpSocket {
    peer_at("127.0.0.1:0")
}

pub(crate) fn peer_at(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

pub(crate) fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().unwrap().port()
}

/// The next packet, and who sent it.
pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = vec![0; 65_536];
    let (size, from) = socket.recv_from(&mut bytes).unwrap();
    bytes.truncate(size);
    (bytes, from)
}

pub(crate) fn make(factory: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(factory).build().unwrap()
}

/// A source at a free port.
pub(crate) fn source() -> gst::Element {
    let source = make("siprecudpsrc");
    source.set_property("address", "127.0.0.1");
    source.set_property("port", 0);
    source
}

/// A sink to this socket.
pub(crate) fn sink_to(socket: &UdpSocket) -> gst::Element {
    let sink = make("siprecudpsink");
    sink.set_property("host", "127.0.0.1");
    sink.set_property("port", i32::from(port(socket)));
    sink
}

/// Where a source receives.
pub(crate) fn address(source: &gst::Element) -> (&'static str, u16) {
    let port = source.property::<i32>("port");
    assert_ne!(port, 0);
    ("127.0.0.1", u16::try_from(port).unwrap())
}

/// A count of an element's statistics.
pub(crate) fn count(element: &gst::Element, name: &str) -> u64 {
    element.property::<gst::Structure>("stats").get(name).unwrap()
}

/// A pipeline of these in a row, playing.
pub(crate) struct Playing(pub(crate) gst::Pipeline);

impl Playing {
    pub(crate) fn of(elements: &[&gst::Element]) -> Self {
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(elements).unwrap();
        gst::Element::link_many(elements).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self(pipeline)
    }

    /// The next message of these types.
    pub(crate) fn message(&self, types: &[gst::MessageType]) -> gst::Message {
        let bus = self.0.bus().unwrap();
        let wait = gst::ClockTime::try_from(LONG).unwrap();
        bus.timed_pop_filtered(wait, types).unwrap_or_else(|| panic!("none of {types:?}"))
    }

    /// Neither WARNING nor ERROR has been posted, but that of a stream that was moved: on a busy machine a push may seem
    /// to hang.
    pub(crate) fn ensure_quiet(&self) {
        let bus = self.0.bus().unwrap();
        let types = [gst::MessageType::Error, gst::MessageType::Warning];
        while let Some(found) = bus.pop_filtered(&types) {
            let gst::MessageView::Warning(warning) = found.view() else { panic!("{found:?}") };
            assert!(warning.error().message().starts_with("What follows has not taken"), "{found:?}");
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.set_state(gst::State::Null).unwrap();
    }
}

pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Sends packets by `from` to `to` and sees each of them come out at `out`, at most so many on their way.
pub(crate) fn relay(from: &UdpSocket, to: (&str, u16), out: &UdpSocket, packets: u32, at_once: u32) {
    for start in (0..packets).step_by(at_once as usize) {
        let numbers = start..packets.min(start + at_once);
        for number in numbers.clone() {
            from.send_to(&packet(number), to).unwrap();
        }
        for number in numbers {
            assert!(receive(out).0 == packet(number), "packet {number} is missing or another");
        }
    }
}

/// A packet of its own size and content.
pub(crate) fn packet(number: u32) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(4 + (number / 7 % 300) as usize, number as u8);
    bytes
}
