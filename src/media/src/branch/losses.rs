//! What a branch never had, or did not get out: losses that others have found.

use std::time::Instant;

use siprec_model::{DropCause, TimeSpan};

use super::{Branch, State, judge};
use crate::branch_clock::BranchClock;
use crate::entry::{Entry, Fate};
use crate::receipts::{Between, Passage};
use crate::source::{Sender, Sources};
use crate::unproven::Stretch;

/// For so long nothing else makes an end of what another recorder is sought for, in nanoseconds.
const SOUGHT_WITHIN: u64 = 15_000_000_000;

impl Branch {
    /// Accounts for packets of the call that this branch cannot take: not RTP, malformed, lost in a full queue.
    pub fn handle_loss(&mut self, cause: DropCause, packets: u64) {
        if !matches!(self.state, State::Paused(_)) {
            self.account.report.seen += packets;
            self.account.missed(cause, packets);
        }
    }

    /// The same for one packet, where it is known when it came: what could not be decrypted is told by that.
    pub fn handle_lost_packet(&mut self, cause: DropCause, arrival: Option<Instant>) {
        match (cause, arrival) {
            (DropCause::NoKey | DropCause::NotAuthentic, Some(arrival)) => {
                if !matches!(self.state, State::Paused(_)) {
                    self.account.undecrypted(cause, 1, (arrival, arrival));
                }
            }
            _ => self.handle_loss(cause, 1),
        }
    }

    /// Accounts for packets that came from `first` to `last` and waited for a key in vain. They were to be recorded when
    /// they came: a pause that has begun since makes no difference.
    pub fn handle_vain_wait(&mut self, cause: DropCause, packets: u64, (first, last): (Instant, Instant)) {
        self.account.undecrypted(cause, packets, (first, last));
    }

    /// Tells of losses that go on, although no packet comes that ends them: a key that is missing or wrong.
    pub fn tell_lasting_losses(&mut self, now: Instant) {
        self.account.gaps.persist(now);
    }

    /// Accounts for the last packets that were given out as sent, `bytes` in all, which did not leave the host. They are
    /// kept: the next recorder may get them, and no hole is told before they go.
    pub fn handle_send_failure(&mut self, packets: u64, bytes: u64) {
        self.handle_refusal(DropCause::SendFailed, packets, bytes);
    }

    /// The same for packets that were not let out for this cause.
    pub fn handle_refusal(&mut self, cause: DropCause, packets: u64, bytes: u64) {
        let fate = match cause {
            DropCause::SendFailed => Fate::SendFailed,
            DropCause::NotProtected => Fate::NotProtected,
            _ => Fate::Void,
        };
        let kept = if fate == Fate::Void { 0 } else { self.hold.ring.fail(packets, fate) };
        self.account.refused(cause, packets, bytes, kept);
    }

    /// The recorder's host has refused what left from `first` on until `last`, or came then and left at once, as far as it was told
    /// of, and nobody says what has come: that counts as not sent, as with [`Branch::handle_send_failure`]. Where it is a second or more at once,
    /// [`BranchEvent::StretchMissed`] says so, unless the branch catches nothing up.
    ///
    /// [`BranchEvent::StretchMissed`]: siprec_model::BranchEvent::StretchMissed
    pub fn handle_refusals(&mut self, first: Instant, last: Instant, now: Instant) {
        let [from, to] = [first, last].map(|moment| self.clock.times(moment).arrival);
        self.fail_between(from, to, now);
    }

    /// The same of a recorder that had reported before, as far as can be told from what its host refuses of other calls: its next report
    /// says what has come, unless it never comes. At the end of the call another session may get it
    /// ([`BranchEvent::StretchMissed`]); without that, what no report acknowledges is lost.
    ///
    /// [`BranchEvent::StretchMissed`]: siprec_model::BranchEvent::StretchMissed
    pub fn doubt(&mut self, first: Instant, last: Instant) {
        let marks = self.marks().collect();
        self.await_proof(first, last, marks);
    }

    /// What has been sent of each source: the index of its last packet.
    pub(crate) fn marks(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.senders().filter_map(|sender| Some((sender.ssrc, self.highest_sent(sender.ssrc)?)))
    }

    /// The same of what was refused when each source had been sent up to the index of its mark.
    pub(crate) fn await_proof(&mut self, first: Instant, last: Instant, marks: Vec<(u32, u64)>) {
        let [first, last] = [first, last].map(|moment| self.clock.times(moment).arrival);
        self.unproven.note(first, last, marks);
    }

    /// A report has come of a source: what was refused before that is known from here on, but for a source that has begun or ended
    /// meanwhile. A receiver counts from the first packet on that it has received (RFC 3550 A.3), and reports no more on what has ended: of these
    /// nothing has come.
    pub(super) fn prove(&mut self, ssrc: u32, highest_sequence: u32, now: Instant) {
        if self.unproven.is_empty() {
            return;
        }
        let mut unproven = std::mem::take(&mut self.unproven);
        let proven = unproven.prove(ssrc, |mark| self.has_come_since(mark, ssrc, highest_sequence));
        self.unproven = unproven;
        for Stretch { first, last, .. } in proven {
            let passage = {
                let judge = judge(&self.groups, &self.rewriter, &self.account);
                let is_unreported = unreported(&self.rewriter.sources, &self.clock, last);
                let is_open = |entry: &Entry| !judge.is_received(entry) && is_unreported(entry.header.ssrc);
                self.hold.ring.fail_between(first, last, is_open)
            };
            self.have_failed(passage, now);
        }
    }

    /// By the reports of another stream of the session, the recorder has missed what left within this time: see
    /// [`BranchCommand::Concede`].
    ///
    /// [`BranchCommand::Concede`]: siprec_model::BranchCommand::Concede
    pub fn concede(&mut self, within: TimeSpan, now: Instant) {
        let [from, to] = [within.from, within.to].map(|moment| self.clock.times(moment).arrival);
        let judge = judge(&self.groups, &self.rewriter, &self.account);
        // Of a stream that has ended, and all of which has left, no report comes any more.
        let has_ended = self.has_ended();
        let is_past = unreported(&self.rewriter.sources, &self.clock, to);
        let is_unreported = |ssrc| has_ended || is_past(ssrc);
        let is_open = |entry: &Entry| {
            !judge.is_certain(entry) || !judge.is_received(entry) && is_unreported(entry.header.ssrc)
        };
        let account = &mut self.account;
        let told = |entry: &Entry, span| account.not_come(entry, span);
        let gone = self.hold.lose_within(Between { from, to }, is_open, is_unreported, judge, told);
        self.account.lost(gone);
        self.account.gaps.go_on(now);
    }

    /// Whoever reports from here on knows nothing of what was refused before: it has not been sent.
    pub(crate) fn give_up_proof(&mut self, now: Instant) {
        for stretch in self.unproven.take() {
            self.fail_between(stretch.first, stretch.last, now);
        }
    }

    /// All has left, and no report has spoken of what was refused: it is worth another session.
    pub(super) fn conclude_unproven(&mut self) {
        for stretch in self.unproven.take_untold() {
            let passage = self.hold.ring.left_between(stretch.first, stretch.last);
            if passage.is_stretch() {
                self.missed.refused(passage.packets);
            }
        }
    }

    /// Nothing more comes, and nobody gets what was refused: what of it no report acknowledges is lost with the recorder.
    pub(super) fn lose_unproven(&mut self) {
        for stretch in self.unproven.take() {
            let within = Between { from: stretch.first, to: stretch.last };
            let judge = judge(&self.groups, &self.rewriter, &self.account);
            let is_open = |entry: &Entry| !judge.is_received(entry);
            let account = &mut self.account;
            let told = |entry: &Entry, span| account.not_come(entry, span);
            let lost = self.hold.lose_within(within, is_open, |_| true, judge, told);
            self.account.lost(lost);
        }
    }

    fn fail_between(&mut self, from: u64, to: u64, now: Instant) {
        let passage = self.hold.ring.fail_between(from, to, |_| true);
        self.have_failed(passage, now);
        // What the ring has not kept so long nobody can get any more.
        self.account.gone(DropCause::SendFailed, self.hold.lose_between(from, to));
    }

    /// This has not left after all, and is kept.
    fn have_failed(&mut self, passage: Passage, now: Instant) {
        self.account.refused(DropCause::SendFailed, passage.packets, passage.bytes, passage.packets);
        if passage.is_stretch() && !self.keeps_time() {
            self.missed.refused(passage.packets);
            self.hold.waits_until = self.clock.times(now).arrival.saturating_add(SOUGHT_WITHIN);
        }
    }
}

/// Which sources no report speaks of, or will, of what they sent until `last`: those of which none has come, and those that have ended.
fn unreported<'a>(sources: &'a Sources, clock: &'a BranchClock, last: u64) -> impl Fn(u32) -> bool + 'a {
    let present = sources.last_ssrc();
    move |ssrc| {
        let sender = sources.senders().find(|sender| sender.ssrc == ssrc);
        let is_past = |sender: &Sender| clock.times(sender.arrival).arrival <= last;
        let has_ended = || present != Some(ssrc) && sender.is_none_or(is_past);
        sources.acknowledged(ssrc).is_none() || has_ended()
    }
}
