//! What a ring knows of one packet.

use crate::rtp::{Header, RtpView};

/// Bytes that stand before each packet in the ring.
pub(crate) const PREFIX: usize = 35;

/// It begins a group of packets that belong together.
const BEGINS: u8 = 1;
/// It left in another interval of numbers than the one before it, or is to.
const AFRESH: u8 = 1 << 1;
/// It has left before, to a recorder that was lost.
const RECALLED: u8 = 1 << 2;
/// It waited before it left.
const WAITED: u8 = 1 << 3;
/// Where the [`Fate`] stands.
const FATE: u8 = 3 << 4;

/// What a ring knows of a packet without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) header: Header,
    pub(crate) times: Times,
    /// The low 32 bits of the index under which it left; 0 before.
    index: u32,
    /// Milliseconds from its arrival to its leaving, rounded up.
    delay_ms: u32,
    /// How many of them the branch was paused, rounded down.
    paused_ms: u32,
    /// Bytes of the whole packet, and of the one before it.
    length: u16,
    previous: u16,
    flags: u8,
}

/// When a packet came, in nanoseconds of the branch's own clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    /// Since the branch was made.
    pub(crate) arrival: u64,
    /// How much of that the branch was paused.
    pub(crate) paused: u64,
}

/// How a packet left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// Its index on the branch.
    pub(crate) index: u64,
    pub(crate) at: Times,
    /// In another interval of numbers than the packet before it.
    pub(crate) afresh: bool,
    /// It waited first.
    pub(crate) waited: bool,
}

/// What became of a packet that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was sent.
    Sent,
    /// It is out of use.
    Void,
    /// The socket did not take it, and it is counted as lost.
    SendFailed,
    /// It could not be encrypted, and is counted as lost.
    NotProtected,
}

impl Times {
    /// The branch's time without its pauses: what is held does not grow old while it may not leave.
    pub(crate) fn active(&self) -> u64 {
        self.arrival.saturating_sub(self.paused)
    }
}

impl Entry {
    /// Of a packet that is about to be pushed.
    pub(crate) fn arriving(packet: &RtpView<'_>, times: Times) -> Self {
        let length = u16::try_from(packet.bytes().len()).unwrap_or(u16::MAX);
        let header = packet.header;
        Self { header, times, index: 0, delay_ms: 0, paused_ms: 0, length, previous: 0, flags: 0 }
    }

    pub(crate) fn beginning(self, begins: bool) -> Self {
        self.with(BEGINS, begins)
    }

    /// Behind a hole of our making.
    pub(crate) fn afresh(self, afresh: bool) -> Self {
        self.with(AFRESH, afresh)
    }

    pub(crate) fn behind(self, previous: u16) -> Self {
        Self { previous, ..self }
    }

    pub(crate) fn left(self, left: Left) -> Self {
        let delay = left.at.arrival.saturating_sub(self.times.arrival);
        let paused = left.at.paused.saturating_sub(self.times.paused);
        Self {
            index: left.index as u32,
            delay_ms: u32::try_from(delay.div_ceil(MS)).unwrap_or(u32::MAX),
            paused_ms: u32::try_from(paused / MS).unwrap_or(u32::MAX),
            ..self.with_fate(Fate::Sent).with(AFRESH, left.afresh).with(WAITED, left.waited)
        }
    }

    pub(crate) fn with_fate(self, fate: Fate) -> Self {
        Self { flags: self.flags & !FATE | (fate as u8) << 4, ..self }
    }

    /// As it waits for another recorder.
    pub(crate) fn recalled(self) -> Self {
        self.with_fate(Fate::Sent).with(RECALLED, true)
    }

    pub(crate) fn begins(&self) -> bool {
        self.flags & BEGINS != 0
    }

    pub(crate) fn is_afresh(&self) -> bool {
        self.flags & AFRESH != 0
    }

    pub(crate) fn is_recalled(&self) -> bool {
        self.flags & RECALLED != 0
    }

    pub(crate) fn has_waited(&self) -> bool {
        self.flags & WAITED != 0
    }

    pub(crate) fn fate(&self) -> Fate {
        match (self.flags & FATE) >> 4 {
            0 => Fate::Sent,
            1 => Fate::Void,
            2 => Fate::SendFailed,
            _ => Fate::NotProtected,
        }
    }

    /// Whether it was sent, as far as is known.
    pub(crate) fn is_sent(&self) -> bool {
        self.fate() == Fate::Sent
    }

    /// Whether it has not left, so that it is lost unless another recorder gets it.
    pub(crate) fn counts_as_lost(&self) -> bool {
        matches!(self.fate(), Fate::SendFailed | Fate::NotProtected)
    }

    /// The low 32 bits of its index on the branch.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Whether its index on the branch is that one or an earlier one, not half of all indices away.
    pub(crate) fn is_within(&self, index: u64) -> bool {
        (index as u32).wrapping_sub(self.index).cast_signed() >= 0
    }

    /// The sequence number under which it left.
    pub(crate) fn sequence(&self) -> u16 {
        self.index as u16
    }

    /// When it left, or came where it has not left yet; in nanoseconds since the branch was made.
    pub(crate) fn left_at(&self) -> u64 {
        self.times.arrival.saturating_add(u64::from(self.delay_ms) * MS)
    }

    /// Whether it was sent from one moment on until another, in the same time.
    pub(crate) fn was_sent_within(&self, from: u64, to: u64) -> bool {
        self.is_sent() && (from..=to).contains(&self.left_at())
    }

    /// From when on it grows old: since it left, or came, in the branch's time without its pauses.
    pub(crate) fn ages_from(&self) -> u64 {
        let paused = self.times.paused.saturating_add(u64::from(self.paused_ms) * MS);
        self.left_at().saturating_sub(paused)
    }

    /// Whether both are of one picture, or one moment of sound.
    pub(crate) fn is_same_picture(&self, other: &Self) -> bool {
        self.header.ssrc == other.header.ssrc && self.header.timestamp == other.header.timestamp
    }

    /// Bytes of the packet.
    pub(crate) fn length(&self) -> u16 {
        self.length
    }

    /// Bytes of the packet before it.
    pub(crate) fn previous(&self) -> u16 {
        self.previous
    }

    /// Bytes that it takes in the ring.
    pub(crate) fn size(&self) -> usize {
        PREFIX + usize::from(self.length)
    }

    /// What stands before the packet.
    pub(crate) fn prefix(&self) -> [u8; PREFIX] {
        let mut prefix = [0; PREFIX];
        let mut rest = prefix.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            if let Some((place, after)) = std::mem::take(&mut rest).split_at_mut_checked(bytes.len()) {
                place.copy_from_slice(bytes);
                rest = after;
            }
        };
        put(&self.times.arrival.to_le_bytes());
        put(&self.times.paused.to_le_bytes());
        put(&self.index.to_le_bytes());
        put(&self.delay_ms.to_le_bytes());
        put(&self.paused_ms.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.previous.to_le_bytes());
        put(&self.header.payload_octets.to_le_bytes());
        put(&[self.flags]);
        prefix
    }

    /// From what stands before a packet and its fixed header.
    pub(crate) fn from_bytes(bytes: &[u8; PREFIX + Header::FIXED]) -> Option<Self> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (bytes, after) = rest.split_first_chunk()?;
            *rest = after;
            Some(*bytes)
        }
        let rest = &mut bytes.as_slice();
        let times =
            Times { arrival: u64::from_le_bytes(take(rest)?), paused: u64::from_le_bytes(take(rest)?) };
        let index = u32::from_le_bytes(take(rest)?);
        let delay_ms = u32::from_le_bytes(take(rest)?);
        let paused_ms = u32::from_le_bytes(take(rest)?);
        let length = u16::from_le_bytes(take(rest)?);
        let previous = u16::from_le_bytes(take(rest)?);
        let payload_octets = u16::from_le_bytes(take(rest)?);
        let [flags] = take(rest)?;
        let header = Header::of_checked(take(rest)?, payload_octets);
        Some(Self { header, times, index, delay_ms, paused_ms, length, previous, flags })
    }

    fn with(self, flag: u8, set: bool) -> Self {
        Self { flags: if set { self.flags | flag } else { self.flags & !flag }, ..self }
    }
}

const MS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let packet = [&[0x80, 0x88, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8][..], &[9; 4]].concat();
        let times = Times { arrival: 7_000_000_001, paused: 2_000_000 };
        let at = Times { arrival: 9_000_000_002, paused: 503_999_999 };
        for (begins, afresh, waited) in [(true, false, true), (false, true, false)] {
            let left = Left { index: 0x1_0000_0005, at, afresh, waited };
            let entry = Entry::arriving(&RtpView::parse(&packet).unwrap(), times);
            let entry = entry.behind(99).beginning(begins).left(left);
            for entry in [entry, entry.recalled(), entry.with_fate(Fate::NotProtected)] {
                let mut bytes = [0; PREFIX + Header::FIXED];
                bytes[..PREFIX].copy_from_slice(&entry.prefix());
                bytes[PREFIX..].copy_from_slice(&packet[..Header::FIXED]);
                assert_eq!(Entry::from_bytes(&bytes), Some(entry));
            }
            assert_eq!((entry.left_at(), entry.ages_from()), (9_001_000_001, 9_001_000_001 - 503_000_000));
            assert!(entry.is_within(0x1_0000_0005) && entry.is_within(0x1_0000_0006));
            assert!(!entry.is_within(0x1_0000_0004));
            assert_eq!((entry.begins(), entry.is_afresh(), entry.has_waited()), (begins, afresh, waited));
        }
    }

    #[test]
    fn a_fate_is_what_it_was_set_to() {
        let packet = [0x80; 12];
        let entry = Entry::arriving(&RtpView::parse(&packet).unwrap(), Times { arrival: 0, paused: 0 });
        for fate in [Fate::Sent, Fate::Void, Fate::SendFailed, Fate::NotProtected] {
            let fated = entry.beginning(true).with_fate(Fate::NotProtected).with_fate(fate);
            assert_eq!((fated.fate(), fated.begins()), (fate, true));
            assert_eq!(fated.recalled().fate(), Fate::Sent);
        }
    }
}
