//! What has left a branch and is kept until its recorder has it for certain.

use std::time::Instant;

use siprec_model::{BranchEvent, DropCause, TimeSpan};

use super::{Branch, Drain, State, judge};
use crate::hold::Beginnings;
use crate::missed::{Cut, Untold};
use crate::receipts::{Between, Finding, Repair};
use crate::unproven::Unproven;

impl Branch {
    /// A receiver report of the recorder came at `now`: of this source it has received everything up to this extended
    /// highest sequence number (RFC 3550 §6.4.1), but for what was lost on the way. That need not be kept, apart from the
    /// last two seconds before the report. What contradicts the packets that were sent is ignored.
    ///
    /// `cumulative_lost` is what it has lost since the beginning, a number of 24 bits with a sign. Where that has grown at once
    /// by a second or more of what was sent, and neither before nor behind it report after report tells of losses, the way to the
    /// recorder was cut: all behind the last report before is kept, and once a report tells of next to none,
    /// [`BranchEvent::StretchMissed`] says so; when the call has ended and all has left, without such a report, too. What is not
    /// [recalled](Branch::recall) by the next report is lost, and told as a hole; at once where the branch catches
    /// nothing up, or where so little is still kept of what left between the two reports, less than a second of it, that nothing is to
    /// be had by a recall.
    ///
    /// [`BranchEvent::StretchMissed`]: siprec_model::BranchEvent::StretchMissed
    pub fn acknowledge(&mut self, ssrc: u32, highest_sequence: u32, cumulative_lost: i32, now: Instant) {
        self.prove(ssrc, highest_sequence, now);
        let at = self.clock.times(now).arrival;
        if at < self.hold.waits_until {
            return;
        }
        let repair = match self.state {
            _ if self.keeps_time() => Repair::Never,
            State::Open(_) => Repair::Possible,
            State::Closed | State::Holding | State::Paused(_) | State::Frozen(_) => Repair::Suspended,
        };
        let hold = &self.hold;
        let outgoing = |behind, to| hold.outgoing_between(ssrc, behind, to);
        let kept = |behind, to| hold.ring.sent_between(ssrc, behind, to);
        let told = (highest_sequence, cumulative_lost);
        match self.rewriter.sources.acknowledge(ssrc, told, at, repair, outgoing, kept) {
            Finding::Nothing => return,
            Finding::Taken => {}
            Finding::Cut(missed, within) => {
                self.missed.cut(missed, within);
                return;
            }
            Finding::Lost(missed, within) => {
                self.account.lost(missed.into());
                self.missed.lost(within);
            }
        }
        self.hold.settle(judge(&self.groups, &self.rewriter, &self.account));
    }

    /// The recorder is lost, which gave its last sign of life at `since`, but for its receiver reports. What it may not
    /// have waits again, in front of what waits, as [`BranchCommand::Recall`] says. An open branch holds; one that is
    /// paused, frozen or closed stays so.
    ///
    /// [`BranchCommand::Recall`]: siprec_model::BranchCommand::Recall
    pub fn recall(&mut self, since: Instant, now: Instant) {
        self.recall_with(Beginnings::Certain, since, now);
    }

    /// The same where the recorder has missed a stretch at once, by the reports of any stream of its session, since `missed_since` at the
    /// earliest: the first report of a source that began meanwhile says nothing of its beginning, which waits again, too, as far as it is kept.
    pub fn recall_missed(&mut self, since: Instant, missed_since: Instant, now: Instant) {
        let missed_since = self.clock.times(missed_since).arrival;
        self.recall_with(Beginnings::UncertainSince(missed_since), since, now);
    }

    fn recall_with(&mut self, beginnings: Beginnings, since: Instant, now: Instant) {
        let since = self.clock.times(since).arrival;
        // What was refused it has not, whatever it has said by SIP since.
        let refused = self.unproven.first();
        let since = refused.map_or(since, |refused| refused.min(since));
        self.unproven = Unproven::default();
        let is_cut = self.rewriter.sources.shortfalls().next().is_some();
        if is_cut && !matches!(self.state, State::Paused(_) | State::Frozen(_)) {
            // What is too old to wait for long is judged with what is kept no more: not all of it has failed to come.
            self.forget_older(self.clock.times(now));
        }
        let judge = judge(&self.groups, &self.rewriter, &self.account);
        let lost = self.hold.recall(since, beginnings, judge, |entry| self.account.recalled(entry));
        self.account.lost(lost);
        // What is left of a group whose beginning had to go can be decoded by nobody.
        while self.hold.begins_torn()
            && let Some(rest) = self.hold.ring.discard()
        {
            self.lose(&rest, DropCause::RecorderLost);
        }
        self.rewriter.sources.forget_reports();
        self.missed = Untold::default();
        if let State::Open(_) = self.state {
            self.hold(now);
        }
        if self.drain == Drain::Told {
            self.drain = Drain::Asked;
        }
    }

    /// The recorder lives, which gave a sign of life at `since`, but for its receiver reports: see
    /// [`BranchCommand::Confirm`].
    ///
    /// [`BranchCommand::Confirm`]: siprec_model::BranchCommand::Confirm
    pub fn confirm(&mut self, since: Instant) {
        let since = self.clock.times(since).arrival;
        if since < self.hold.waits_until || !self.unproven.is_empty() {
            return;
        }
        self.hold.confirm(since, judge(&self.groups, &self.rewriter, &self.account));
    }

    /// When that left which left last of a source under this sequence number, if it is kept. To the millisecond where it had waited.
    pub fn left_at(&self, ssrc: u32, sequence: u16) -> Option<Instant> {
        self.hold.ring.sent_as(ssrc, sequence).map(|entry| self.clock.moment(entry.left_at()))
    }

    /// Over which time the reports of a source show, without a break, that what left has come: see
    /// [`BranchEvent::ReportReceived`].
    ///
    /// [`BranchEvent::ReportReceived`]: siprec_model::BranchEvent::ReportReceived
    pub fn unbroken(&self, ssrc: u32) -> Option<TimeSpan> {
        self.rewriter.sources.unbroken(ssrc).map(|within| self.moments(within))
    }

    /// All has left, and nothing more comes that could tell a cut from a lossy network.
    pub(super) fn conclude(&mut self) {
        if !self.keeps_time() {
            let kept = |ssrc, behind, to| self.hold.ring.sent_between(ssrc, behind, to);
            for (missed, within) in self.rewriter.sources.conclude(kept) {
                self.missed.cut(missed, within);
            }
            self.conclude_unproven();
        }
        for within in self.rewriter.sources.last_holes() {
            self.missed.lost(within);
        }
    }

    /// What is to be told of what the recorder has missed.
    #[cold]
    pub(super) fn poll_missed(&mut self) -> Option<BranchEvent> {
        if let Some(Cut { packets, within }) = self.missed.take_cut() {
            let within = within.map(|within| self.moments(within));
            return Some(BranchEvent::StretchMissed { packets, within });
        }
        let within = self.missed.take_lost()?;
        Some(BranchEvent::StretchLost { within: self.moments(within) })
    }

    pub(super) fn moments(&self, Between { from, to }: Between) -> TimeSpan {
        TimeSpan { from: self.clock.moment(from), to: self.clock.moment(to) }
    }

    /// How often its recorder was lost.
    pub fn recalls(&self) -> u32 {
        self.hold.recalls
    }

    /// Bytes of packets that have left and are kept, bookkeeping included.
    pub fn kept_bytes(&self) -> usize {
        self.hold.ring.kept_bytes()
    }
}
