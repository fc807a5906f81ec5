//! The packets of one push, copied before the push and given to the branches after it.

use crate::packet::with_bytes;

/// Copies of packets, in one piece of memory that is used again for the next push.
#[derive(Debug, Default)]
pub(super) struct Copies {
    bytes: Vec<u8>,
    packets: Vec<Copied>,
    is_list: bool,
}

/// One packet: where its bytes end, and what its buffer said of it.
#[derive(Clone, Copy, Debug)]
struct Copied {
    end: usize,
    timing: Timing,
}

/// When a packet is, as its buffer said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) pts: Option<gst::ClockTime>,
    pub(super) dts: Option<gst::ClockTime>,
}

impl Copies {
    /// Takes a buffer in place of what was copied before.
    pub(super) fn take_buffer(&mut self, buffer: &gst::BufferRef) {
        self.clear(false);
        self.add(buffer);
    }

    /// Takes a list in place of what was copied before.
    pub(super) fn take_list(&mut self, list: &gst::BufferListRef) {
        self.clear(true);
        list.iter().for_each(|buffer| self.add(buffer));
    }

    /// Whether the packets came as a list.
    pub(super) fn is_list(&self) -> bool {
        self.is_list
    }

    /// The packets in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Timing)> {
        let mut start = 0;
        self.packets.iter().filter_map(move |packet| {
            let bytes = self.bytes.get(start..packet.end);
            start = packet.end;
            bytes.map(|bytes| (bytes, packet.timing))
        })
    }

    fn clear(&mut self, is_list: bool) {
        self.bytes.clear();
        self.packets.clear();
        self.is_list = is_list;
    }

    fn add(&mut self, buffer: &gst::BufferRef) {
        let copied =
            with_bytes(buffer, |parts| parts.iter().for_each(|part| self.bytes.extend_from_slice(part)));
        if copied.is_some() {
            let timing = Timing { pts: buffer.pts(), dts: buffer.dts() };
            self.packets.push(Copied { end: self.bytes.len(), timing });
        }
    }
}
