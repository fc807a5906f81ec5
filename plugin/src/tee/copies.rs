//! The packets of one push, copied before the push and given to the branches after it.

use siprec_model::DropCause;

use crate::packet::with_bytes;
use crate::pool::Pools;

/// Most bytes that protecting adds to a packet: a tag of GCM, and a master key identifier (RFC 3711 §3.1).
const OVERHEAD: usize = 16 + 128;

/// A packet of the stream in the buffer in which it leaves on a branch, mapped until then.
pub(super) struct Packet {
    buffer: gst::MappedBuffer<gst::buffer::Writable>,
    /// How many bytes there are, or why it is for nobody.
    length: Result<usize, DropCause>,
}

impl Packet {
    /// A copy of the bytes of `buffer`, with its times. `None` where it cannot be read.
    fn copied(buffer: &gst::BufferRef, pools: &Pools) -> Option<Self> {
        let times = (buffer.pts(), buffer.dts());
        with_bytes(buffer, |parts| Self::gathered(parts, times, pools)).flatten()
    }

    /// Another of the same, for another branch.
    fn again(&self, pools: &Pools) -> Option<Self> {
        let times = (self.buffer.buffer().pts(), self.buffer.buffer().dts());
        let bytes = self.length.map_or(&[][..], |length| self.buffer.get(..length).unwrap_or_default());
        let again = Self::gathered(&[bytes], times, pools)?;
        Some(Self { length: self.length, ..again })
    }

    fn gathered(
        parts: &[&[u8]],
        (pts, dts): (Option<gst::ClockTime>, Option<gst::ClockTime>),
        pools: &Pools,
    ) -> Option<Self> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut buffer = pools.buffer(length.saturating_add(OVERHEAD))?;
        let times = buffer.get_mut()?;
        times.set_pts(pts);
        times.set_dts(dts);
        let mut buffer = buffer.into_mapped_buffer_writable().ok()?;
        let mut room = buffer.as_mut_slice();
        for part in parts {
            let place;
            (place, room) = room.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
        }
        Some(Self { buffer, length: Ok(length) })
    }

    /// Why it is for nobody, if it is.
    pub(super) fn fault(&self) -> Option<DropCause> {
        self.length.err()
    }

    /// Changes it in its place; it then has the length, or the fault, that `work` answers. `work` sees the packet, and has
    /// no more room.
    pub(super) fn work_on(&mut self, work: impl FnOnce(&mut [u8]) -> Result<usize, DropCause>) {
        if let Ok(length) = self.length
            && let Some(bytes) = self.buffer.get_mut(..length)
        {
            self.length = work(bytes).map(|kept| kept.min(length));
        }
    }

    /// The length of the packet, and all the room that it may grow into.
    pub(super) fn room(&mut self) -> Result<(usize, &mut [u8]), DropCause> {
        self.length.map(|length| (length, self.buffer.as_mut_slice()))
    }

    /// Its first bytes as a buffer of their own.
    pub(super) fn into_buffer(self, length: usize) -> Option<gst::Buffer> {
        let mut buffer = self.buffer.into_buffer();
        buffer.get_mut()?.set_size(length);
        Some(buffer)
    }
}

/// Copies of the packets of one push.
pub(super) enum Copies {
    /// Of a buffer; none where that cannot be read.
    One(Option<Packet>),
    /// Of a list.
    List(Vec<Packet>),
}

impl Copies {
    /// Of a buffer.
    pub(super) fn of_buffer(buffer: &gst::BufferRef, pools: &Pools) -> Self {
        Self::One(Packet::copied(buffer, pools))
    }

    /// Of what can be read of a list.
    pub(super) fn of_list(list: &gst::BufferListRef, pools: &Pools) -> Self {
        Self::List(list.iter().filter_map(|buffer| Packet::copied(buffer, pools)).collect())
    }

    /// The same again, for another branch.
    pub(super) fn again(&self, pools: &Pools) -> Self {
        match self {
            Self::One(packet) => Self::One(packet.as_ref().and_then(|packet| packet.again(pools))),
            Self::List(list) => Self::List(list.iter().filter_map(|packet| packet.again(pools)).collect()),
        }
    }

    /// The packets in their order.
    pub(super) fn packets(&mut self) -> &mut [Packet] {
        match self {
            Self::One(packet) => packet.as_mut_slice(),
            Self::List(list) => list,
        }
    }
}
