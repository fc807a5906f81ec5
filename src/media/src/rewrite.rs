//! What leaves, and as what.

use std::time::Instant;

use siprec_model::{DropCause, Medium};

use crate::doubt::Doubt;
use crate::numbering::{Interval, Numbered, Unplaced};
use crate::payload::PayloadMap;
use crate::rtp::Header;
use crate::source::Sources;

/// Decides whether and as what a packet leaves.
#[derive(Debug)]
pub(crate) struct Rewriter {
    medium: Medium,
    clock_rate: u32,
    pub(crate) sources: Sources,
    opening: u32,
}

/// What is written over a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite {
    /// The second byte of the header.
    pub(crate) marker_and_type: u8,
    /// Rollover counter x 65,536 + sequence number.
    pub(crate) index: u64,
}

/// Why a packet does not leave now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// Nor will it ever.
    Dropped(DropCause),
    /// What comes behind it tells whether it will: see [`Doubt`].
    Doubtful,
}

impl From<DropCause> for Unsent {
    fn from(cause: DropCause) -> Self {
        Self::Dropped(cause)
    }
}

impl Rewrite {
    /// Writes over the header of a packet.
    pub(crate) fn write(&self, packet: &mut [u8]) {
        if let [_, second, high, low, ..] = packet {
            *second = self.marker_and_type;
            // The low 16 bits are the sequence number, those above the rollover counter (RFC 3711 §3.3.1).
            [*high, *low] = (self.index as u16).to_be_bytes();
        }
    }
}

impl Rewriter {
    /// `first_sequence` is brought into 256 ..= 32,767 (RFC 4568 §6.4).
    pub(crate) fn new(medium: Medium, clock_rate: u32, first_sequence: u16) -> Self {
        let sources = Sources::new(within_bounds(first_sequence));
        let mut rewriter = Self { medium, clock_rate, sources, opening: 0 };
        rewriter.describe(medium, clock_rate);
        rewriter
    }

    /// A `clock_rate` of 0 counts as 8000.
    pub(crate) fn describe(&mut self, medium: Medium, clock_rate: u32) {
        self.medium = medium;
        self.clock_rate = if clock_rate == 0 { 8000 } else { clock_rate };
    }

    pub(crate) fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// The interval that the next packet leaves in.
    pub(crate) fn opening(&self) -> u32 {
        self.opening
    }

    /// From now on the numbers of each source go on at the last one + 1.
    pub(crate) fn begin_interval(&mut self) {
        self.opening = self.opening.wrapping_add(1);
    }

    /// The receiver is another one: numbers that would soon wrap begin anew.
    pub(crate) fn make_room(&mut self, first_sequence: u16) {
        self.sources.make_room(within_bounds(first_sequence));
        self.begin_interval();
    }

    /// The receiver knows nothing: sources and numbers begin anew.
    pub(crate) fn begin_session(&mut self, first_sequence: u16) {
        self.sources.begin_session(within_bounds(first_sequence));
        self.begin_interval();
    }

    /// Decides on the next packet, which came after `paused` nanoseconds of pauses.
    pub(crate) fn rewrite(
        &mut self,
        payloads: &mut PayloadMap,
        header: &Header,
        arrival: Instant,
        paused: u64,
    ) -> Result<Rewrite, Unsent> {
        let payload_type = payloads.map(header.payload_type).ok_or(DropCause::PayloadUnknown)?;
        let source = self.sources.of(header, arrival).map_err(|_| DropCause::TooManySources)?;
        let interval = Interval { opening: self.opening, paused };
        let Numbered { index, begins } = source
            .numbering
            .assign(interval, header.sequence, header.timestamp, self.clock_rate)
            .map_err(|unplaced| match unplaced {
                Unplaced::Repeated => Unsent::Dropped(DropCause::Stale),
                Unplaced::Doubtful => Unsent::Doubtful,
            })?;
        // The receiver's play-out starts afresh after a hole of our making (RFC 3551 §4.1).
        let restarts = begins && self.medium == Medium::Audio && !source.is_new();
        source.sent(header, arrival, begins, index);
        let marker = if header.marker || restarts { 0x80 } else { 0 };
        Ok(Rewrite { marker_and_type: marker | payload_type, index })
    }

    /// A doubtful packet cannot wait: see [`Numbering::doubt`](crate::numbering::Numbering::doubt).
    pub(crate) fn doubt(&mut self, header: &Header, arrival: Instant) -> Option<Doubt> {
        self.sources.source_mut(header.ssrc)?.numbering.doubt(header, arrival, self.clock_rate)
    }
}

/// RFC 4568 §6.4.
fn within_bounds(first_sequence: u16) -> u16 {
    first_sequence.clamp(256, 0x7FFF)
}
