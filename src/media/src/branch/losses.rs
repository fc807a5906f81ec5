//! What a branch never had, or did not get out: losses that others have found.

use std::time::Instant;

use siprec_model::DropCause;

use super::{Branch, State};
use crate::entry::Fate;

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
    pub fn handle_refusals(&mut self, first: Instant, last: Instant) {
        let from = self.clock.times(first).arrival;
        let to = self.clock.times(last).arrival;
        let passage = self.hold.ring.fail_between(from, to);
        self.account.refused(DropCause::SendFailed, passage.packets, passage.bytes, passage.packets);
        // What the ring has not kept so long nobody can get any more.
        self.account.gone(DropCause::SendFailed, self.hold.lose_between(from, to));
        if passage.is_stretch() && !self.keeps_time() {
            self.cut = Some(self.cut.unwrap_or(0) + passage.packets);
            self.hold.waits_until = to.saturating_add(SOUGHT_WITHIN);
        }
    }
}
