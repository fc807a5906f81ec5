//! The synchronisation sources of one stream.

use std::time::{Duration, Instant};

use crate::numbering::Numbering;
use crate::receipts::{
    Beginning, Between, Finding, Missed, Outgoing, Passage, Receipts, Repair, Report, Shortfall,
};
use crate::rtp::Header;

/// Sources that a stream has at once (`protocol` section 3).
const MAX_ACTIVE: usize = 8;
/// Sources that a stream has over its whole life: those retired are remembered, since they may not come again.
const MAX_EVER: usize = 64;
/// A source silent for so long gives its place to a new one.
const IDLE: Duration = Duration::from_secs(5);

/// What a sender report says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Synchronisation source, the call's own.
    pub ssrc: u32,
    /// RTP packets sent to the recorder.
    pub packets: u64,
    /// Payload bytes sent to the recorder.
    pub octets: u64,
    /// RTP timestamp of the newest moment of the stream that was sent.
    pub timestamp: u32,
    /// When the call's packet with this timestamp arrived. Not when it was sent: a backlog leaves late.
    pub arrival: Instant,
}

/// One source: its numbers, and its account for sender reports.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) numbering: Numbering,
    sender: Sender,
    last_arrival: Instant,
    /// The first index that this recorder was sent.
    first_index: Option<u64>,
    receipts: Receipts,
}

/// The sources that a branch has sent packets of.
#[derive(Debug)]
pub(crate) struct Sources {
    first_sequence: u16,
    active: Vec<Source>,
    retired: Vec<u32>,
    /// Place of the source of the last packet: nearly always that of the next one too.
    last: usize,
    admitted: usize,
}

/// The stream has had more sources than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManySources;

impl Sources {
    pub(crate) fn new(first_sequence: u16) -> Self {
        Self { first_sequence, active: Vec::with_capacity(1), retired: Vec::new(), last: 0, admitted: 0 }
    }

    /// The source of a packet. A new one is admitted while there is room; when all places are taken, the one silent
    /// for longest gives way if it has been silent for [`IDLE`], so that a flood of forged sources cannot push out
    /// the call's own.
    pub(crate) fn of(&mut self, header: &Header, arrival: Instant) -> Result<&mut Source, TooManySources> {
        let known = match self.active.get(self.last) {
            Some(source) if source.sender.ssrc == header.ssrc => Some(self.last),
            _ => self.active.iter().position(|source| source.sender.ssrc == header.ssrc),
        };
        self.last = match known {
            Some(place) => place,
            None => self.admit(header, arrival)?,
        };
        self.active.get_mut(self.last).ok_or(TooManySources)
    }

    /// For a receiver that knows nothing of what was sent: see [`Numbering::make_room`].
    pub(crate) fn make_room(&mut self, first_sequence: u16) {
        self.first_sequence = first_sequence;
        self.active.iter_mut().for_each(|source| source.numbering.make_room(first_sequence));
        self.forget_reports();
    }

    /// What reports said is no more evidence: numbers or recorder are others.
    pub(crate) fn forget_reports(&mut self) {
        for source in &mut self.active {
            (source.first_index, source.receipts) = (None, Receipts::default());
        }
    }

    /// A receiver report came at `at`: what it says of a source that has sent. See [`Source::report`] and [`Receipts::take`].
    pub(crate) fn acknowledge(
        &mut self,
        ssrc: u32,
        (highest_sequence, lost): (u32, i32),
        at: u64,
        repair: Repair,
        outgoing: impl Fn(u64, u64) -> Outgoing,
        kept: impl Fn(u64, u64) -> Passage,
    ) -> Finding {
        let is_other = |source: &Source| source.sender.ssrc != ssrc && source.receipts.taken().is_some();
        let others = self.active.iter().any(is_other);
        let beginning = if others { Beginning::Unknown } else { Beginning::Known };
        let source = self.source_mut(ssrc);
        let reported = source.and_then(|source| source.report(highest_sequence).zip(Some(source)));
        let Some((index, source)) = reported else { return Finding::Nothing };
        let report = Report { index, lost, at };
        let first = source.first_index.unwrap_or(index);
        source.receipts.take(report, first, beginning, repair, outgoing, kept)
    }

    /// Whether a receiver report of a source contradicts nothing that was sent.
    pub(crate) fn is_plausible(&self, ssrc: u32, highest_sequence: u32) -> bool {
        let source = self.source(ssrc);
        source.is_some_and(|source| source.report(highest_sequence).is_some())
    }

    /// What the recorder has of a source.
    pub(crate) fn acknowledged(&self, ssrc: u32) -> Option<Report> {
        self.source(ssrc)?.receipts.taken()
    }

    /// Up to this index a source's beginning is not certain yet, although it is acknowledged.
    pub(crate) fn uncertain(&self, ssrc: u32) -> Option<u64> {
        self.source(ssrc)?.receipts.uncertain()
    }

    /// Over which time the reports of a source show that all has come: see [`Receipts::unbroken`].
    pub(crate) fn unbroken(&self, ssrc: u32) -> Option<Between> {
        self.source(ssrc)?.receipts.unbroken()
    }

    /// The newest report of a source that makes sense.
    pub(crate) fn newest_report(&self, ssrc: u32) -> Option<Report> {
        self.source(ssrc)?.receipts.newest()
    }

    /// What the recorder has missed at once, where it was not certain, nothing comes that says more, and a part of it may be `kept`: what
    /// of a source left behind one index up to another.
    pub(crate) fn conclude(
        &mut self,
        kept: impl Fn(u32, u64, u64) -> Passage,
    ) -> impl Iterator<Item = (Missed, Between)> {
        self.active.iter_mut().filter_map(move |source| {
            let ssrc = source.sender.ssrc;
            source.receipts.conclude(|behind, to| kept(ssrc, behind, to))
        })
    }

    /// Nothing more comes: when something was missed that nobody gets. Once.
    pub(crate) fn last_holes(&mut self) -> impl Iterator<Item = Between> + '_ {
        self.active.iter_mut().filter_map(|source| source.receipts.last_hole())
    }

    /// What is known to have been missed at once of each source, and not given up.
    pub(crate) fn shortfalls(&self) -> impl Iterator<Item = (u32, Shortfall)> + '_ {
        self.active.iter().filter_map(|source| Some((source.sender.ssrc, source.receipts.shortfall()?)))
    }

    /// What the recorder has missed at once and will not get any more.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Missed> + '_ {
        self.active.iter_mut().filter_map(|source| source.receipts.give_up())
    }

    /// The highest index that was given to a packet of a source.
    pub(crate) fn highest_sent(&self, ssrc: u32) -> Option<u64> {
        let source = self.source(ssrc)?;
        Some(source.numbering.highest())
    }

    /// The source of this name, if it is active.
    pub(crate) fn source_mut(&mut self, ssrc: u32) -> Option<&mut Source> {
        self.active.iter_mut().find(|source| source.sender.ssrc == ssrc)
    }

    fn source(&self, ssrc: u32) -> Option<&Source> {
        self.active.iter().find(|source| source.sender.ssrc == ssrc)
    }

    /// Whether a packet of a source would be newer than all that has left in its present run of numbers.
    pub(crate) fn would_be_new(&self, header: &Header) -> bool {
        let source = self.source(header.ssrc);
        source.is_some_and(|source| source.numbering.is_new(header.sequence))
    }

    /// Whether reports have come of any source.
    pub(crate) fn have_reports(&self) -> bool {
        self.active.iter().any(|source| source.receipts.taken().is_some())
    }

    /// For a receiver that knows nothing, under a key that none of the numbers given has been used with.
    pub(crate) fn begin_session(&mut self, first_sequence: u16) {
        *self = Self::new(first_sequence);
    }

    /// Sources admitted so far.
    pub(crate) fn admitted(&self) -> usize {
        self.admitted
    }

    /// The source admitted as the last but `back`, if it is still active.
    pub(crate) fn newest(&self, back: usize) -> Option<u32> {
        let place = self.active.len().checked_sub(back + 1)?;
        self.active.get(place).map(|source| source.sender.ssrc)
    }

    /// The account of each source, in the order of admission.
    pub(crate) fn senders(&self) -> impl Iterator<Item = &Sender> {
        self.active.iter().map(|source| &source.sender).filter(|sender| sender.packets > 0)
    }

    /// The source of the last packet.
    pub(crate) fn last_ssrc(&self) -> Option<u32> {
        self.active.get(self.last).map(|source| source.sender.ssrc)
    }

    fn admit(&mut self, header: &Header, arrival: Instant) -> Result<usize, TooManySources> {
        if self.admitted >= MAX_EVER || self.retired.contains(&header.ssrc) {
            return Err(TooManySources);
        }
        if self.active.len() >= MAX_ACTIVE {
            self.retire_idle(arrival)?;
        }
        self.admitted += 1;
        self.active.push(Source {
            numbering: Numbering::starting_at(self.first_sequence),
            sender: Sender { ssrc: header.ssrc, packets: 0, octets: 0, timestamp: header.timestamp, arrival },
            last_arrival: arrival,
            first_index: None,
            receipts: Receipts::default(),
        });
        Ok(self.active.len() - 1)
    }

    fn retire_idle(&mut self, now: Instant) -> Result<(), TooManySources> {
        let idle = self.active.iter().enumerate().min_by_key(|(_, source)| source.last_arrival);
        let place = idle
            .filter(|(_, source)| now.saturating_duration_since(source.last_arrival) >= IDLE)
            .map(|(place, _)| place)
            .ok_or(TooManySources)?;
        self.retired.push(self.active.remove(place).sender.ssrc);
        Ok(())
    }
}

impl Source {
    /// Whether nothing of this source has been sent yet.
    pub(crate) fn is_new(&self) -> bool {
        self.sender.packets == 0
    }

    /// Accounts for a packet that leaves; `begins` a run of numbers, so that its timestamp owes nothing to the last.
    pub(crate) fn sent(&mut self, header: &Header, arrival: Instant, begins: bool, index: u64) {
        self.first_index.get_or_insert(index);
        // Packets that share a timestamp (a video frame, a telephone event, RFC 4733 §2.2.1) arrive one after the
        // other; the first of them is the moment that the timestamp means.
        let newer = header.timestamp.wrapping_sub(self.sender.timestamp).cast_signed() > 0;
        if newer || begins || arrival.saturating_duration_since(self.sender.arrival) >= IDLE {
            self.sender.timestamp = header.timestamp;
            self.sender.arrival = arrival;
        }
        self.sender.packets += 1;
        self.sender.octets += u64::from(header.payload_octets);
        self.last_arrival = arrival;
    }

    /// A receiver report says that this is the highest sequence number received, extended by the receiver's count of
    /// cycles (RFC 3550 §6.4.1). That count begins when the receiver does, so only the low 16 bits say which packet is
    /// meant. A report that contradicts what was sent says nothing: ahead of it, before the first packet, or going
    /// backwards. The index of that packet, if it says anything.
    fn report(&self, highest_sequence: u32) -> Option<u64> {
        let sent = self.numbering.highest();
        let back = (sent as u16).wrapping_sub(highest_sequence as u16);
        let is_ahead = u64::from(highest_sequence) > sent || back > 0x7FFF;
        let earliest = self.receipts.newest().map(|before| before.index).or(self.first_index)?;
        sent.checked_sub(u64::from(back)).filter(|index| *index >= earliest && !is_ahead)
    }
}
