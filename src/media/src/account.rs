//! The account of a branch.

use std::time::{Duration, Instant};

use siprec_model::{BranchReport, DropCause, Hole};

use crate::Sent;
use crate::doubt::Doubt;
use crate::entry::{Entry, Fate};
use crate::forgotten::Lost;
use crate::gap::Gaps;
use crate::hold::GivenUp;
use crate::rewrite::Rewrite;
use crate::rtp::Header;

/// The branch's account, and the holes in it.
#[derive(Debug)]
pub(crate) struct Account {
    /// When the branch was made.
    epoch: Instant,
    pub(crate) report: BranchReport,
    pub(crate) gaps: Gaps,
    /// Sources that the events have told of.
    pub(crate) sources_told: usize,
    last_arrival: Option<Instant>,
    /// When the packet came that left last.
    last_left: Option<Instant>,
    /// The last packet that did not leave at once, nor will: its source and timestamp, and when it came.
    last_stayed: Option<(u32, u32, Instant)>,
    /// Mean time between packets: the length of a lost packet that nobody saw.
    pub(crate) spacing: Duration,
}

/// From where a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the call.
    Live,
    /// From the ring, for the first time.
    Held,
    /// From the ring, after it had left to a recorder that was lost.
    Again,
}

impl Account {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            report: BranchReport::default(),
            gaps: Gaps::default(),
            sources_told: 0,
            last_arrival: None,
            last_left: None,
            last_stayed: None,
            spacing: Duration::ZERO,
        }
    }

    /// The next hole that can be told.
    pub(crate) fn poll_hole(&mut self) -> Option<Hole> {
        let hole = self.gaps.poll()?;
        if self.report.holes.len() < BranchReport::MOST_HOLES {
            self.report.holes.push(hole);
        }
        Some(hole)
    }

    /// A packet of the call that should be recorded.
    pub(crate) fn seen(&mut self, arrival: Instant) {
        self.report.seen += 1;
        if let Some(last) = self.last_arrival {
            let step = arrival.saturating_duration_since(last).min(Duration::from_secs(1));
            self.spacing = if self.spacing.is_zero() { step } else { (self.spacing * 7 + step) / 8 };
        }
        self.last_arrival = Some(arrival);
    }

    /// Packets that should be recorded and cannot be decrypted, and when the first and the last of them came.
    pub(crate) fn undecrypted(&mut self, cause: DropCause, packets: u64, (first, last): (Instant, Instant)) {
        self.report.seen += packets;
        self.report.drops.add(cause, packets);
        self.gaps.lost_between(cause, packets, first, last);
    }

    /// Packets that do not leave, a hole of `duration`. The first came at `start`, in nanoseconds since the branch was made.
    pub(crate) fn dropped(&mut self, cause: DropCause, packets: u64, duration: Duration, start: u64) {
        self.report.drops.add(cause, packets);
        self.gaps.lost(cause, packets, duration, self.epoch + Duration::from_nanos(start));
    }

    /// The same of packets that nobody has seen: they came behind the last that did.
    pub(crate) fn missed(&mut self, cause: DropCause, packets: u64) {
        self.report.drops.add(cause, packets);
        let start = self.last_arrival.map_or(self.epoch, |last| last + self.spacing);
        self.gaps.lost(cause, packets, spanned(self.spacing, packets), start);
    }

    /// A packet that had left waits again.
    pub(crate) fn recalled(&mut self, entry: &Entry) {
        let report = &mut self.report;
        report.held = report.held.saturating_sub(entry.has_waited().into());
        report.resent = report.resent.saturating_sub(entry.is_recalled().into());
        let cause = match entry.fate() {
            Fate::Sent | Fate::Void => {
                report.sent = report.sent.saturating_sub(1);
                report.sent_bytes = report.sent_bytes.saturating_sub(entry.length().into());
                return;
            }
            Fate::SendFailed => DropCause::SendFailed,
            Fate::NotProtected => DropCause::NotProtected,
        };
        report.drops.take_back(cause, 1);
    }

    /// A packet that had left has not come, and takes so long.
    pub(crate) fn not_come(&mut self, entry: &Entry, span: Duration) {
        self.recalled(entry);
        self.dropped(DropCause::RecorderLost, 1, span, entry.times.arrival);
    }

    /// Packets that did not leave, and are no longer kept for another recorder.
    pub(crate) fn given_up(&mut self, given_up: Option<GivenUp>) {
        let Some(given_up) = given_up else { return };
        for (cause, lost) in given_up.each().into_iter().filter(|(_, lost)| lost.packets > 0) {
            self.gaps.lost(cause, lost.packets, lost.duration, self.epoch + Duration::from_nanos(lost.start));
        }
    }

    /// A recorder was lost that may not have these, and they are no longer held.
    pub(crate) fn lost(&mut self, lost: Lost) {
        self.gone(DropCause::RecorderLost, lost);
    }

    /// Packets that were given out as sent, and are no longer held, have not come, for this cause.
    pub(crate) fn gone(&mut self, cause: DropCause, lost: Lost) {
        let packets = lost.packets.min(self.report.sent);
        self.report.sent -= packets;
        self.bound();
        self.dropped(cause, packets, lost.duration, lost.start);
    }

    /// Packets that were given out as sent have not left. So many of them are `kept`, and no hole before they go.
    pub(crate) fn refused(&mut self, cause: DropCause, packets: u64, bytes: u64, kept: u64) {
        let packets = packets.min(self.report.sent);
        self.report.sent -= packets;
        self.report.sent_bytes = self.report.sent_bytes.saturating_sub(bytes);
        self.bound();
        let duration = spanned(self.spacing, packets);
        let last = self.last_left.unwrap_or(self.epoch);
        let start = last.checked_sub(duration.saturating_sub(self.spacing)).unwrap_or(self.epoch);
        self.report.drops.add(cause, packets);
        let gone = packets.saturating_sub(kept);
        self.gaps.lost(cause, gone, spanned(self.spacing, gone), start.max(self.epoch));
    }

    fn bound(&mut self) {
        let report = &mut self.report;
        report.held = report.held.min(report.sent);
        report.resent = report.resent.min(report.sent);
    }

    /// Accounts for a packet that came at `arrival`, is so long in the stream's own time, and may not leave.
    pub(crate) fn stays(&mut self, cause: DropCause, span: Duration, arrival: Instant, way: Way) {
        // A lost recorder may have had it, in a format that the call has left since and this one does not take, or in an order
        // in which this one does not get it.
        let is_left = way == Way::Again && matches!(cause, DropCause::PayloadUnknown | DropCause::Stale);
        let cause = if is_left { DropCause::RecorderLost } else { cause };
        self.report.drops.add(cause, 1);
        // A duplicate loses nothing, and what comes so late is a loss of the call's: its number is missing.
        if cause != DropCause::Stale {
            self.gaps.lost(cause, 1, span, arrival);
        }
    }

    /// The packets of a doubt were dropped as late and were not: the source has started again with the one that came now.
    pub(crate) fn misjudged(&mut self, doubt: &Doubt, now: Instant) {
        let duration = now.saturating_duration_since(doubt.since);
        self.gaps.lost(DropCause::Stale, doubt.before_last(), duration, doubt.since);
    }

    /// How long a packet is that came at `arrival` and does not leave: behind another such one the time from that, in the
    /// stream's own.
    pub(crate) fn span(&mut self, header: &Header, arrival: Instant, clock_rate: u32) -> Duration {
        let before = self.last_stayed.replace((header.ssrc, header.timestamp, arrival));
        let goes_on = |at: Instant| self.last_left.is_none_or(|left| left <= at);
        let before = before.filter(|(ssrc, _, at)| *ssrc == header.ssrc && goes_on(*at));
        let span = before.map(|(_, timestamp, _)| {
            let ticks = header.timestamp.wrapping_sub(timestamp);
            Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / u64::from(clock_rate))
        });
        span.filter(|span| *span < Duration::from_secs(1)).unwrap_or(self.spacing)
    }

    /// Accounts for a packet of `length` bytes that came at `arrival` and leaves `now`.
    pub(crate) fn leaves(
        &mut self,
        rewrite: Rewrite,
        (arrival, now): (Instant, Instant),
        header: &Header,
        length: usize,
        way: Way,
    ) -> Sent {
        self.gaps.go_on(now);
        self.last_left = Some(arrival);
        self.report.sent += 1;
        self.report.sent_bytes += length as u64;
        self.report.held += u64::from(way != Way::Live);
        self.report.resent += u64::from(way == Way::Again);
        let held = way != Way::Live;
        Sent { length, index: rewrite.index, ssrc: header.ssrc, held }
    }
}

/// The time of so many packets.
fn spanned(spacing: Duration, packets: u64) -> Duration {
    spacing.saturating_mul(u32::try_from(packets).unwrap_or(u32::MAX))
}
