//! The packets of one push, copied before the push and given to the branches after it.

use siprec_model::DropCause;

use crate::packet::with_bytes;

/// Copies of packets, in one piece of memory that is used again for the next push.
#[derive(Debug, Default)]
pub(super) struct Copies {
    bytes: Vec<u8>,
    packets: Vec<Copied>,
    is_list: bool,
}

/// One packet: where its bytes are, what its buffer said of it, and why it is for nobody, if it is not.
#[derive(Clone, Copy, Debug)]
struct Copied {
    start: usize,
    end: usize,
    timing: Timing,
    fault: Option<DropCause>,
}

/// When a packet is, as its buffer said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) pts: Option<gst::ClockTime>,
    pub(super) dts: Option<gst::ClockTime>,
}

impl Copies {
    /// Takes the packets of one push in place of what was copied before.
    pub(super) fn take<'a>(&mut self, packets: impl Iterator<Item = &'a gst::BufferRef>, is_list: bool) {
        self.bytes.clear();
        self.packets.clear();
        self.is_list = is_list;
        packets.for_each(|buffer| self.add(buffer));
    }

    /// Whether the packets came as a list.
    pub(super) fn is_list(&self) -> bool {
        self.is_list
    }

    /// How many packets there are.
    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }

    /// The packets in their order, each with its bytes or why they cannot be had.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Result<&[u8], DropCause>, Timing)> {
        self.packets.iter().filter_map(move |packet| {
            let bytes = self.bytes.get(packet.start..packet.end)?;
            Some((packet.fault.map_or(Ok(bytes), Err), packet.timing))
        })
    }

    /// Changes a packet in its place; it then has the length, or the fault, that `work` answers.
    pub(super) fn work_on(&mut self, place: usize, work: impl FnOnce(&mut [u8]) -> Result<usize, DropCause>) {
        if let Some(packet) = self.packets.get_mut(place)
            && let Some(bytes) = self.bytes.get_mut(packet.start..packet.end)
        {
            let most = bytes.len();
            match work(bytes) {
                Ok(length) => packet.end = packet.start + length.min(most),
                Err(fault) => packet.fault = Some(fault),
            }
        }
    }

    fn add(&mut self, buffer: &gst::BufferRef) {
        let start = self.bytes.len();
        let copied =
            with_bytes(buffer, |parts| parts.iter().for_each(|part| self.bytes.extend_from_slice(part)));
        if copied.is_some() {
            let timing = Timing { pts: buffer.pts(), dts: buffer.dts() };
            self.packets.push(Copied { start, end: self.bytes.len(), timing, fault: None });
        }
    }
}
