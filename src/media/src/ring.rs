//! Packets that wait: a packed, bounded ring of bytes.

use std::fmt;

use crate::rtp::{Header, RtpView};

/// Bytes that stand before each packet in the ring.
const PREFIX: usize = 20;
/// Stands in the count of paused nanoseconds for a packet that begins a group: time does not reach that far.
const BEGINS: u64 = 1 << 63;
/// Where the byte with [`BEGINS`] stands before a packet.
const BEGINS_BYTE: usize = 15;
/// Capacity of the first allocation, and the most that an emptied ring keeps, in bytes.
const SMALL: usize = 16 * 1024;

/// Packets in the order in which they came, back to back in one circular buffer that doubles up to its limit.
///
/// Held packets are few in a healthy call and many when a recorder is late, so memory follows what is held: an
/// empty ring of a branch that just passes packets on owns (almost) none.
pub(crate) struct Ring {
    buffer: Box<[u8]>,
    /// Where the oldest packet starts; less than the buffer's length unless that is 0.
    start: usize,
    /// Bytes in use.
    used: usize,
    packets: usize,
    /// Packets that begin a group.
    groups: usize,
    limit: usize,
}

/// What the ring knows of a packet without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) header: Header,
    pub(crate) times: Times,
    /// It begins a group of packets that belong together.
    pub(crate) begins: bool,
    /// Length of the whole packet in bytes.
    pub(crate) length: u16,
}

/// When a packet came, in nanoseconds of the branch's own clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Since the branch was made.
    pub(crate) arrival: u64,
    /// How much of that the branch was paused.
    pub(crate) paused: u64,
}

impl Ring {
    /// An empty ring that holds at most `limit` bytes, a few bytes of bookkeeping for each packet included.
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: Box::default(), start: 0, used: 0, packets: 0, groups: 0, limit }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Packets held.
    pub(crate) fn packets(&self) -> usize {
        self.packets
    }

    /// Bytes held, bookkeeping included.
    pub(crate) fn bytes(&self) -> usize {
        self.used
    }

    /// Packets held that begin a group.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Another limit. The caller throws out what is beyond it, then calls [`Ring::fit`].
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether more is held than may be.
    pub(crate) fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// Gives back the memory beyond the limit.
    pub(crate) fn fit(&mut self) {
        if self.buffer.len() > self.limit.max(SMALL) {
            self.move_to(self.limit.max(self.used));
        }
    }

    /// Whether the packet would fit into an empty ring.
    pub(crate) fn could_hold(&self, packet: &RtpView<'_>) -> bool {
        PREFIX + packet.bytes().len() <= self.limit
    }

    /// Whether the packet fits beside what is held.
    pub(crate) fn has_room_for(&self, packet: &RtpView<'_>) -> bool {
        self.used + PREFIX + packet.bytes().len() <= self.limit
    }

    /// Appends a packet, which `begins` a group or not. The caller has made room.
    pub(crate) fn push(&mut self, packet: &RtpView<'_>, times: Times, begins: bool) {
        let bytes = packet.bytes();
        let Ok(length) = u16::try_from(bytes.len()) else { return };
        self.grow_to(self.used + PREFIX + bytes.len());
        self.append(&times.arrival.to_le_bytes());
        self.append(&(times.paused & !BEGINS | if begins { BEGINS } else { 0 }).to_le_bytes());
        self.append(&length.to_le_bytes());
        self.append(&packet.header.payload_octets.to_le_bytes());
        self.append(bytes);
        self.packets += 1;
        self.groups += usize::from(begins);
    }

    /// Judges anew, from the oldest on, which packets begin a group.
    pub(crate) fn regroup(&mut self, mut begins: impl FnMut(&RtpView<'_>) -> bool) {
        let mut at = self.start;
        let mut bytes = Vec::new();
        self.groups = 0;
        for _ in 0..self.packets {
            let Some(held) = self.read(at) else { return };
            bytes.clear();
            self.copy(at, &held, &mut bytes);
            let begins = RtpView::parse(&bytes).is_ok_and(|packet| begins(&packet));
            self.groups += usize::from(begins);
            let mark_at = self.wrap(at + BEGINS_BYTE);
            if let Some(mark) = self.buffer.get_mut(mark_at) {
                *mark = *mark & 0x7F | if begins { 0x80 } else { 0 };
            }
            at = self.wrap(at + held.size());
        }
    }

    /// The oldest packet.
    pub(crate) fn front(&self) -> Option<Held> {
        self.read(self.start)
    }

    /// Appends the bytes of the oldest packet to `out`.
    pub(crate) fn copy_front(&self, held: &Held, out: &mut Vec<u8>) {
        self.copy(self.start, held, out);
    }

    /// Forgets the oldest packet.
    pub(crate) fn pop(&mut self) -> Option<Held> {
        let held = self.front()?;
        self.start = self.wrap(self.start + held.size());
        self.used -= held.size();
        self.packets -= 1;
        self.groups -= usize::from(held.begins);
        if self.packets == 0 {
            self.start = 0;
            if self.buffer.len() > SMALL {
                self.buffer = Box::default();
            }
        }
        Some(held)
    }

    fn read(&self, at: usize) -> Option<Held> {
        if self.packets == 0 {
            return None;
        }
        let mut bytes = [0; PREFIX + Header::FIXED];
        let (head, tail) = self.slices(at, bytes.len());
        if let Some(to) = bytes.get_mut(..head.len()) {
            to.copy_from_slice(head);
        }
        if let Some(to) = bytes.get_mut(head.len()..head.len() + tail.len()) {
            to.copy_from_slice(tail);
        }
        let (prefix, fixed) = bytes.split_first_chunk::<PREFIX>()?;
        let (arrival, rest) = prefix.split_first_chunk::<8>()?;
        let (paused, rest) = rest.split_first_chunk::<8>()?;
        let [l0, l1, p0, p1] = *rest.first_chunk::<4>()?;
        let paused = u64::from_le_bytes(*paused);
        Some(Held {
            header: Header::of_checked(*fixed.first_chunk()?, u16::from_le_bytes([p0, p1])),
            times: Times { arrival: u64::from_le_bytes(*arrival), paused: paused & !BEGINS },
            begins: paused & BEGINS != 0,
            length: u16::from_le_bytes([l0, l1]),
        })
    }

    /// Appends the bytes of the packet at position `at` to `out`.
    fn copy(&self, at: usize, held: &Held, out: &mut Vec<u8>) {
        let (head, tail) = self.slices(self.wrap(at + PREFIX), usize::from(held.length));
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
    }

    /// The two parts of `length` bytes from position `at`, the second empty unless they wrap.
    fn slices(&self, at: usize, length: usize) -> (&[u8], &[u8]) {
        let first = length.min(self.buffer.len() - at);
        let head = self.buffer.get(at..at + first).unwrap_or_default();
        let tail = self.buffer.get(..length - first).unwrap_or_default();
        (head, tail)
    }

    fn append(&mut self, bytes: &[u8]) {
        let at = self.wrap(self.start + self.used);
        let (head, tail) = bytes.split_at(bytes.len().min(self.buffer.len() - at));
        if let Some(to) = self.buffer.get_mut(at..at + head.len()) {
            to.copy_from_slice(head);
        }
        if let Some(to) = self.buffer.get_mut(..tail.len()) {
            to.copy_from_slice(tail);
        }
        self.used += bytes.len();
    }

    fn grow_to(&mut self, needed: usize) {
        if needed <= self.buffer.len() {
            return;
        }
        self.move_to(needed.max(self.buffer.len() * 2).max(SMALL).min(self.limit.max(needed)));
    }

    /// Moves what is held into a new buffer, which has room for it.
    fn move_to(&mut self, capacity: usize) {
        let mut grown = Vec::with_capacity(capacity);
        let (head, tail) = self.slices(self.start, self.used);
        grown.extend_from_slice(head);
        grown.extend_from_slice(tail);
        grown.resize(capacity, 0);
        self.buffer = grown.into_boxed_slice();
        self.start = 0;
    }

    /// A position of at most twice the buffer's length, brought back into the buffer.
    fn wrap(&self, position: usize) -> usize {
        if position >= self.buffer.len() { position - self.buffer.len() } else { position }
    }
}

/// Without the packets: they are somebody's words.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, used, limit, .. } = self;
        f.debug_struct("Ring").field("packets", packets).field("used", used).field("limit", limit).finish()
    }
}

impl Times {
    /// The branch's time without its pauses: what is held does not grow old while it may not leave.
    pub(crate) fn active(&self) -> u64 {
        self.arrival.saturating_sub(self.paused)
    }
}

impl Held {
    /// What the ring will know of a packet that is about to be pushed.
    pub(crate) fn arriving(packet: &RtpView<'_>, times: Times) -> Self {
        let length = u16::try_from(packet.bytes().len()).unwrap_or(u16::MAX);
        Self { header: packet.header, times, begins: false, length }
    }

    /// Whether both are of one picture, or one moment of sound.
    pub(crate) fn is_same_picture(&self, other: &Self) -> bool {
        self.header.ssrc == other.header.ssrc && self.header.timestamp == other.header.timestamp
    }

    fn size(&self) -> usize {
        PREFIX + usize::from(self.length)
    }
}
