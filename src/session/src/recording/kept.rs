//! Streams that have ended while their session goes on: what they have sent is kept until the recorder has it for sure, since
//! the next one is to get it, should this one be lost.

use std::time::{Duration, Instant};

use super::leg::Leg;
use super::slot::Slot;
use super::{Recording, Stage};
use crate::session::RecordingSession;

impl Recording {
    /// Until when what an ended stream has sent is kept, at the latest; None where nobody needs it any more.
    ///
    /// A recorder has it for sure that has shown two seconds later that it lives: by the receiver reports of any stream that tell of all the
    /// time in between, since those of this one are over, or where it sends none by an answer.
    pub(super) fn needed_until(&self, slot: &Slot, now: Instant) -> Option<Instant> {
        let sent = slot.sent_until()?;
        let leg = slot.leg().and_then(|id| self.legs.get(id)).filter(|leg| leg.is_running())?;
        let until = slot.kept_until().unwrap_or(sent + self.config.limits.hold_time);
        let session = leg.session();
        let begun = slot.sent_since().unwrap_or(sent);
        let is_proven = session.is_some_and(|session| session.has_for_sure(slot.branch(), begun, sent, now));
        let is_doubtful = session.is_some_and(|session| session.in_doubt_since(now).is_some());
        // A doubt that nothing settles, as where nothing is sent that could be, is no reason to keep it for ever.
        let latest = until + if is_doubtful { self.config.limits.hold_time } else { Duration::ZERO };
        Some(until).filter(|_| !is_proven && now < latest)
    }

    /// When [`Self::needed_until`] may change by itself for a stream that is kept: when its time is over, also in doubt, and when the
    /// doubt is.
    pub(super) fn next_kept_deadline(&self, slot: &Slot) -> Option<Instant> {
        let until = slot.kept_until()?;
        let session = slot.leg().and_then(|id| self.legs.get(id)).and_then(Leg::session);
        let doubt = session.and_then(RecordingSession::refusals_fade);
        let ends = [Some(until), Some(until + self.config.limits.hold_time), doubt];
        ends.into_iter().flatten().filter(|end| *end > self.handled).min()
    }

    /// Until when what a stream leaves that ends now may be delivered, where the recorder of its session was lost a short while ago: the
    /// next one gets what that may not have before, or is yet to accept.
    pub(super) fn delivered_again(&self, leg: &Leg, now: Instant) -> Option<Instant> {
        let time = self.config.timers.drain.max(self.config.limits.hold_time);
        let accepted = leg.session().filter(|session| session.is_up()).and_then(RecordingSession::lived);
        match &leg.lost {
            Some(_) => Some(now + time),
            None if leg.losses > 0 => Some(accepted?.since + time),
            None => None,
        }
    }

    /// Has what ended streams of a session left delivered once more, now that its recorder is lost. At the end of the call, too, they
    /// have their time anew, since judging the recorder took of it; not where that was over before, and no longer than twice that
    /// behind the end, however many recorders are lost then.
    pub(super) fn deliver_again(&mut self, id: usize, now: Instant) {
        let time = self.config.timers.drain.max(self.config.limits.hold_time);
        let (goes_on, until) = match self.stage {
            Stage::Running => (true, now + time),
            Stage::Draining { since, .. } => (false, (now + time).min(since + time * 2)),
            Stage::Idle { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => return,
        };
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            if goes_on || !slot.is_out_of_time(now) {
                slot.prolong(until);
            }
        }
    }
}
