//! When nothing of a session's streams may be sent, and how that ends with the call.

use std::time::Instant;

use super::slot::Slot;
use super::{Recording, Stage};

impl Recording {
    /// Whether nothing of a session's streams may be sent (`protocol` 1.3).
    pub(super) fn is_silent(&self, id: usize) -> bool {
        let speaks_out = self.legs.get(id).is_some_and(|leg| leg.speaks_out);
        !speaks_out && (self.paused || self.slots.values().any(|slot| slot.is_of(id) && slot.is_muted()))
    }

    /// The end of the call ends pauses and mutes where they have frozen something: what was said before them was to be recorded,
    /// and of what was said since nothing is here.
    pub(super) fn end_silences(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Draining { .. }) {
            return;
        }
        for id in 0..self.legs.len() {
            let is_frozen = |slot: &Slot| slot.is_of(id) && slot.is_frozen(now);
            if self.is_silent(id) && self.slots.values().any(is_frozen) {
                self.end_silence(id, now);
            }
        }
    }

    /// The same for one session, where the call has ended.
    pub(super) fn end_silence(&mut self, id: usize, now: Instant) {
        if !matches!(self.stage, Stage::Draining { .. }) {
            return;
        }
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_active()) else { return };
        leg.speaks_out = true;
        if let Some(session) = leg.session_mut() {
            session.hurry(now);
        }
    }
}
