//! What a branch never had, or did not get out: losses that others have found.

use std::time::Instant;

use siprec_model::DropCause;

use super::{Branch, State};
use crate::entry::Fate;

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
}
