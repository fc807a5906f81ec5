//! What a branch holds: packets that wait for a recorder, and packets that one may have, should it be lost.

use std::time::Duration;

use siprec_model::{DropCause, RECALL_OVERLAP};

use crate::entry::{Entry, Fate, Left, Times};
use crate::forgotten::{Forgotten, Lost};
use crate::group::Groups;
use crate::memory::Purpose;
use crate::receipts::{Between, Outgoing, Report};
use crate::rewrite::Rewriter;
use crate::ring::Ring;
use crate::rtp::RtpView;

/// In nanoseconds.
const OVERLAP: u64 = RECALL_OVERLAP.as_nanos() as u64;
const REPORTS_WITHIN: u64 = siprec_model::REPORTS_WITHIN.as_nanos() as u64;

/// A hole that goes on is told of each time that it is so long.
const LONG_HOLE: Duration = Duration::from_secs(10);

/// The ring, and what has gone from it too early.
///
/// Packets that were sent make room before any that wait does: what no recorder has is worth more than what one may
/// have.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) ring: Ring,
    forgotten: Forgotten,
    given_up: GivenUp,
    /// The interval of numbers in which the last packet left.
    opening: Option<u32>,
    /// When the first packet left for this recorder, in nanoseconds since the branch was made.
    begun: Option<u64>,
    /// Until when nothing is settled, since another recorder is sought for what was not sent, in nanoseconds since the branch
    /// was made.
    pub(crate) waits_until: u64,
    /// How often its recorder was lost.
    pub(crate) recalls: u32,
    /// The last packet that had to go belongs to a group with the one behind it.
    torn: bool,
}

/// Packets that did not leave, and that no recorder gets any more, by the cause.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GivenUp {
    send_failed: Lost,
    not_protected: Lost,
}

/// Whether a source's first report says that all has come that left of it before. A receiver counts from the first packet on that it has
/// received (RFC 3550 A.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginnings {
    Certain,
    /// Not before the way is known not to have been cut then, of what left since then or shortly before, in nanoseconds since the branch was
    /// made.
    UncertainSince(u64),
}

/// What decides on kept packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) groups: &'a Groups,
    pub(crate) rewriter: &'a Rewriter,
    /// Mean time between packets.
    pub(crate) spacing: Duration,
}

impl Hold {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            ring: Ring::new(limit),
            forgotten: Forgotten::default(),
            given_up: GivenUp::default(),
            opening: None,
            begun: None,
            waits_until: 0,
            recalls: 0,
            torn: false,
        }
    }

    /// Keeps a packet that has left at once.
    pub(crate) fn keep(
        &mut self,
        packet: &RtpView<'_>,
        times: Times,
        begins: bool,
        index: u64,
        judge: Judge<'_>,
    ) {
        let afresh = self.enter(judge.rewriter.opening(), times);
        let left = Left { index, at: times, afresh, waited: false };
        if self.makes_room_for(packet, Purpose::Kept, judge) {
            self.ring.push_left(packet, times, begins, left);
        } else if self.ring.is_wanted() {
            self.forgotten.note(&Entry::arriving(packet, times).left(left), judge.spacing);
        }
    }

    /// The first packet that waits has left as `index` at the time `at`.
    pub(crate) fn leave(&mut self, front: Entry, index: u64, at: Times, opening: u32) {
        let afresh = self.enter(opening, at);
        self.ring.leave(front, Left { index, at, afresh, waited: true });
    }

    /// Forgets packets that are kept until the ring has room for another; whether it has then.
    pub(crate) fn makes_room_for(
        &mut self,
        packet: &RtpView<'_>,
        purpose: Purpose,
        judge: Judge<'_>,
    ) -> bool {
        while !self.ring.makes_room_for(packet, purpose) {
            if !self.forget(judge) {
                return false;
            }
        }
        true
    }

    /// Forgets the kept packets that left before `oldest`, a moment of [`Entry::ages_from`].
    pub(crate) fn forget_older(&mut self, oldest: u64, judge: Judge<'_>) {
        while self.ring.ages_from().is_some_and(|ages_from| ages_from < oldest) {
            self.forget(judge);
        }
    }

    /// Forgets the oldest packet that is kept; whether there was one.
    pub(crate) fn forget(&mut self, judge: Judge<'_>) -> bool {
        let second = self.ring.second();
        let Some(oldest) = self.ring.forget() else { return false };
        self.torn = second.is_some_and(|second| !second.begins());
        if oldest.counts_as_lost() {
            self.given_up.add(&oldest, judge.span(&oldest, second.as_ref()));
        } else if oldest.is_sent() && !judge.is_acknowledged(&oldest) {
            self.forgotten.note(&oldest, judge.span(&oldest, second.as_ref()));
        }
        true
    }

    /// What was given up since this last gave something: a hole as a whole, unless it is a long one.
    #[inline]
    pub(crate) fn take_given_up(&mut self) -> Option<GivenUp> {
        if self.given_up.is_empty() { None } else { self.take_hole() }
    }

    #[cold]
    fn take_hole(&mut self) -> Option<GivenUp> {
        let goes_on = self.ring.oldest().is_some_and(|oldest| oldest.counts_as_lost());
        let is_told = !goes_on || self.given_up.duration() >= LONG_HOLE;
        is_told.then(|| std::mem::take(&mut self.given_up))
    }

    /// Receiver reports have come: what they acknowledge is the recorder's.
    pub(crate) fn settle(&mut self, judge: Judge<'_>) {
        self.settle_until(None, Beginnings::UncertainSince(0), judge);
        self.forgotten.settle(|ssrc| judge.acknowledged(ssrc).map(|report| report.index));
    }

    /// The recorder gave a sign of life at `since`, in nanoseconds since the branch was made, by anything but reports: where
    /// none have come although there was time for them, what had left by then is its.
    pub(crate) fn confirm(&mut self, since: u64, judge: Judge<'_>) {
        let had_time = self.begun.is_some_and(|begun| begun.saturating_add(REPORTS_WITHIN) <= since);
        if had_time && !judge.rewriter.sources.have_reports() {
            self.settle_until(Some(since), Beginnings::Certain, judge);
        }
    }

    /// The recorder is lost, which gave its last sign of life at `since`, in nanoseconds since the branch was made, but
    /// for its reports. What it may not have waits again; each packet is told of as it was kept. What is no longer here is
    /// lost.
    pub(crate) fn recall(
        &mut self,
        since: u64,
        beginnings: Beginnings,
        judge: Judge<'_>,
        told: impl FnMut(&Entry),
    ) -> Lost {
        let since_if_silent = (!judge.rewriter.sources.have_reports()).then_some(since);
        self.settle_until(since_if_silent, beginnings, judge);
        self.ring.recall(told);
        (self.opening, self.begun, self.waits_until) = (None, None, 0);
        self.recalls += 1;
        for (ssrc, shortfall) in judge.rewriter.sources.shortfalls() {
            self.forgotten.limit(ssrc, shortfall);
        }
        self.forgotten.take(since, |ssrc| judge.acknowledged(ssrc).is_some())
    }

    /// What was sent of a source behind an index up to another one, kept or not, and what was to be and is kept.
    pub(crate) fn outgoing_between(&self, ssrc: u32, behind: u64, to: u64) -> Outgoing {
        let Outgoing { sent, unsent } = self.ring.outgoing_between(ssrc, behind, to);
        Outgoing { sent: self.forgotten.sent_between(ssrc, behind, to).and(sent), unsent }
    }

    /// Forgets what is the recorder's by its reports, or where there are none by a sign of life at `since`.
    #[inline(never)]
    fn settle_until(&mut self, since: Option<u64>, beginnings: Beginnings, judge: Judge<'_>) {
        let given_up = &mut self.given_up;
        let told = |entry: &Entry, next: Option<&Entry>| given_up.add(entry, judge.span(entry, next));
        self.ring.settle(judge.groups.are_known(), |entry| judge.is_settled(entry, since, beginnings), told);
    }

    /// What left from one moment on until another, in nanoseconds since the branch was made, and is kept no more, was refused: it is
    /// lost.
    pub(crate) fn lose_between(&mut self, from: u64, to: u64) -> Lost {
        self.forgotten.take_between(from, to)
    }

    /// What left within this time is lost, whatever becomes of the recorder: what is kept and `is_open`, each packet of which is `told` of with
    /// the time that it takes, and of these `sources` what is kept no more.
    pub(crate) fn lose_within(
        &mut self,
        Between { from, to }: Between,
        is_open: impl Fn(&Entry) -> bool,
        sources: impl Fn(u32) -> bool,
        judge: Judge<'_>,
        mut told: impl FnMut(&Entry, Duration),
    ) -> Lost {
        self.ring.void_between(from, to, is_open, |entry, next| told(entry, judge.span(entry, next)));
        self.forgotten.take_of(sources, from, to)
    }

    /// Whether what waits begins in the middle of a group whose beginning had to go, and another group is behind it.
    pub(crate) fn begins_torn(&self) -> bool {
        self.torn && self.ring.groups() > 0 && self.ring.front().is_some_and(|front| !front.begins())
    }

    /// Forgets everything that is kept, for good.
    pub(crate) fn forget_all(&mut self, judge: Judge<'_>) {
        let given_up = &mut self.given_up;
        let told = |entry: &Entry, next: Option<&Entry>| given_up.add(entry, judge.span(entry, next));
        self.ring.settle(false, |_| true, told);
        self.forgotten = Forgotten::default();
    }

    /// Whether the packet that leaves now is the first of an interval.
    fn enter(&mut self, opening: u32, at: Times) -> bool {
        let begins = self.opening.replace(opening) != Some(opening);
        if begins {
            self.begun.get_or_insert(at.arrival);
        }
        begins
    }
}

impl GivenUp {
    fn is_empty(&self) -> bool {
        self.send_failed.packets == 0 && self.not_protected.packets == 0
    }

    fn duration(&self) -> Duration {
        self.send_failed.duration + self.not_protected.duration
    }

    /// With their causes.
    pub(crate) fn each(self) -> [(DropCause, Lost); 2] {
        [(DropCause::SendFailed, self.send_failed), (DropCause::NotProtected, self.not_protected)]
    }

    fn add(&mut self, entry: &Entry, span: Duration) {
        let lost =
            if entry.fate() == Fate::NotProtected { &mut self.not_protected } else { &mut self.send_failed };
        lost.add(entry, span);
    }
}

impl Judge<'_> {
    /// Whether the recorder has it for certain: received a while ago.
    fn is_settled(&self, entry: &Entry, since: Option<u64>, beginnings: Beginnings) -> bool {
        let safe = entry.left_at().saturating_add(OVERLAP);
        let is_certain = || match beginnings {
            Beginnings::Certain => true,
            Beginnings::UncertainSince(since) => safe < since || self.is_certain(entry),
        };
        match self.acknowledged(entry.header.ssrc) {
            Some(Report { index, at, .. }) => entry.is_within(index) && safe <= at && is_certain(),
            None => since.is_some_and(|since| safe < since),
        }
    }

    /// Whether it is no beginning of a source of which nobody knows yet whether it has come.
    pub(crate) fn is_certain(&self, entry: &Entry) -> bool {
        let uncertain = self.rewriter.sources.uncertain(entry.header.ssrc);
        uncertain.is_none_or(|index| !entry.is_within(index))
    }

    fn is_acknowledged(&self, entry: &Entry) -> bool {
        self.acknowledged(entry.header.ssrc).is_some_and(|Report { index, .. }| entry.is_within(index))
    }

    /// Whether the newest report reaches so far, be it that something was missed before.
    pub(crate) fn is_received(&self, entry: &Entry) -> bool {
        let newest = self.rewriter.sources.newest_report(entry.header.ssrc);
        newest.is_some_and(|Report { index, .. }| entry.is_within(index))
    }

    fn acknowledged(&self, ssrc: u32) -> Option<Report> {
        self.rewriter.sources.acknowledged(ssrc)
    }

    fn span(&self, from: &Entry, to: Option<&Entry>) -> Duration {
        self.groups.span(from, to, self.rewriter.clock_rate()).unwrap_or(self.spacing)
    }
}
