//! Packets one behind the other in one piece of memory.

use std::time::Instant;

use siprec_media::srtp::Passed;
use siprec_model::DropCause;

/// Largest UDP payload over IPv4 in bytes: 65535 less the headers.
pub(crate) const MAX_PACKET: usize = 65_507;

/// Packets in the order of their arrival, and what happened between them.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Packets dropped since the last entry.
    overflow: u64,
    /// A mark says that packets are encrypted, or are not any more.
    changes_security: bool,
    /// What the last mark says of that.
    confidential: Option<bool>,
}

/// One thing among packed packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A packet and when it arrived.
    Packet(&'a [u8], Instant),
    /// A packet that is no use, why, and when it arrived, where that is known.
    Lost(DropCause, Option<Instant>),
    /// The gate was opened here.
    GateOpened,
    /// From here on packets are confidential, or are not.
    Confidential(bool),
}

/// One thing among packed packets that are still being worked on.
#[derive(Debug)]
pub(crate) enum Raw<'a> {
    /// A packet, to be changed in its place, and when it arrived.
    Packet(&'a mut [u8], Instant),
    /// Something happened here.
    Mark(&'a Mark),
}

/// What becomes of a packet that was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has this many bytes now, at most as many as before.
    Keep(usize),
    /// It is no use.
    Lose(DropCause),
    /// It is not here any more.
    Remove,
}

/// What happened between two packets.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    /// The gate was opened.
    pub(crate) gate_opened: bool,
    /// From here on packets are encrypted, or are not.
    pub(crate) secured: Option<bool>,
    /// From here on packets are confidential, encrypted or not, or are not.
    pub(crate) confidential: Option<bool>,
    /// What passed here without being kept.
    pub(crate) passed: Passed,
}

#[derive(Debug)]
enum Entry {
    /// Its bytes end at `end`, where those of the next packet begin, whatever becomes of it.
    Packet {
        end: usize,
        arrival: Instant,
        fate: Fate,
    },
    /// A packet whose bytes were not kept.
    Oversized,
    Mark(Box<Mark>),
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It has this many bytes.
    Kept(u32),
    Lost(DropCause),
    Removed,
}

impl Packed {
    /// Appends a packet, whose bytes are those of `parts` in order. `size` is how many there are.
    pub(crate) fn push(&mut self, parts: &[&[u8]], size: usize, arrival: Instant) {
        match u32::try_from(size) {
            Ok(length) if size <= MAX_PACKET => {
                for part in parts {
                    self.bytes.extend_from_slice(part);
                }
                self.entries.push(Entry::Packet { end: self.bytes.len(), arrival, fate: Fate::Kept(length) });
            }
            _ => self.entries.push(Entry::Oversized),
        }
    }

    /// Appends what happened. Between two packets one mark says it all, so that marks take no more room than packets.
    pub(crate) fn mark(&mut self, mark: Mark) {
        self.changes_security |= mark.secured.is_some();
        self.confidential = mark.confidential.or(self.confidential);
        if let Some(Entry::Mark(last)) = self.entries.last_mut() {
            last.gate_opened |= mark.gate_opened;
            last.secured = mark.secured.or(last.secured);
            last.confidential = mark.confidential.or(last.confidential);
            last.passed.join(&mark.passed);
        } else {
            self.entries.push(Entry::Mark(Box::new(mark)));
        }
    }

    /// Whether something says that packets are encrypted, or are not any more.
    pub(crate) fn changes_security(&self) -> bool {
        self.changes_security
    }

    /// Whether what comes after all of it is confidential, if any of it says so.
    pub(crate) fn confidential(&self) -> Option<bool> {
        self.confidential
    }

    /// Counts a packet that found no room.
    pub(crate) fn overflow_by_one(&mut self) {
        self.overflow += 1;
    }

    /// How many packets were dropped after the last item.
    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Bytes that all of it takes, bookkeeping included.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * Self::ENTRY
    }

    /// Bytes of bookkeeping for each packet.
    pub(crate) const ENTRY: usize = size_of::<Entry>();

    /// Everything in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let mut start = 0;
        self.entries
            .iter()
            .flat_map(move |entry| match entry {
                Entry::Packet { end, arrival, fate } => {
                    let bytes = self.bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default();
                    let item = match *fate {
                        Fate::Kept(length) => {
                            Some(Item::Packet(bytes.get(..length as usize).unwrap_or_default(), *arrival))
                        }
                        Fate::Lost(cause) => Some(Item::Lost(cause, Some(*arrival))),
                        Fate::Removed => None,
                    };
                    [item, None]
                }
                Entry::Oversized => [Some(Item::Lost(DropCause::Malformed, None)), None],
                Entry::Mark(mark) => {
                    [mark.confidential.map(Item::Confidential), mark.gate_opened.then_some(Item::GateOpened)]
                }
            })
            .flatten()
    }

    /// Works on everything in order, once. What is answered of a mark does not matter.
    pub(crate) fn work(&mut self, mut judge: impl FnMut(Raw<'_>) -> Verdict) {
        let mut start = 0;
        for entry in &mut self.entries {
            match entry {
                Entry::Packet { end, arrival, fate } => {
                    let place = std::mem::replace(&mut start, *end)..*end;
                    let bytes = self.bytes.get_mut(place).unwrap_or_default();
                    let length = bytes.len();
                    *fate = match judge(Raw::Packet(bytes, *arrival)) {
                        Verdict::Keep(kept) => {
                            Fate::Kept(u32::try_from(kept.min(length)).unwrap_or_default())
                        }
                        Verdict::Lose(cause) => Fate::Lost(cause),
                        Verdict::Remove => Fate::Removed,
                    };
                }
                Entry::Mark(mark) => {
                    judge(Raw::Mark(mark));
                }
                Entry::Oversized => {}
            }
        }
    }

    /// Forgets everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.overflow = 0;
        self.changes_security = false;
        self.confidential = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(packets: &[&[u8]]) -> Packed {
        let mut packed = Packed::default();
        let now = Instant::now();
        packets.iter().for_each(|packet| packed.push(&[packet], packet.len(), now));
        packed
    }

    #[test]
    fn what_is_worked_on_is_shorter_lost_or_gone_and_the_rest_stays() {
        let mut packed = packed(&[b"one", b"three", b"", b"seven", b"nine"]);
        packed.work(|raw| match raw {
            Raw::Packet(bytes, _) if bytes == b"three" => {
                bytes.reverse();
                Verdict::Keep(2)
            }
            Raw::Packet([], _) => Verdict::Lose(DropCause::NoKey),
            Raw::Packet(bytes, _) if bytes == b"seven" => Verdict::Remove,
            Raw::Packet(bytes, _) => Verdict::Keep(bytes.len() + 9),
            Raw::Mark(_) => unreachable!(),
        });
        let words: Vec<_> = packed
            .items()
            .map(|item| match item {
                Item::Packet(bytes, _) => String::from_utf8_lossy(bytes).into_owned(),
                Item::Lost(cause, arrival) => format!("{cause:?}, {}", arrival.is_some()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(words, ["one", "ee", "NoKey, true", "nine"]);
    }

    #[test]
    fn marks_between_two_packets_become_one() {
        let mut packed = packed(&[b"one"]);
        for secured in [Some(true), None, Some(false), None] {
            packed.mark(Mark { secured, ..Mark::default() });
            packed.mark(Mark { gate_opened: true, ..Mark::default() });
        }
        packed.push(&[b"two"], 3, Instant::now());
        packed.mark(Mark { secured: Some(true), ..Mark::default() });
        let mut marks = Vec::new();
        packed.work(|raw| match raw {
            Raw::Packet(bytes, _) => Verdict::Keep(bytes.len()),
            Raw::Mark(mark) => {
                marks.push((mark.gate_opened, mark.secured));
                Verdict::Remove
            }
        });
        assert_eq!(marks, [(true, Some(false)), (false, Some(true))]);
        assert_eq!(packed.items().filter(|item| *item == Item::GateOpened).count(), 1);
    }
}
