//! When nothing of a session's streams may be sent, and how that ends with the call, or for a stream with its own end.

use std::time::Instant;

use super::{Recording, Stage};

impl Recording {
    /// Whether nothing of a session's streams may be sent (`protocol` 1.3), but for what those speak out that have ended.
    pub(super) fn is_silent(&self, id: usize) -> bool {
        let speaks_out = self.legs.get(id).is_some_and(|leg| leg.speaks_out);
        !speaks_out && (self.paused || self.slots.values().any(|slot| slot.is_of(id) && slot.is_muted()))
    }

    /// The end of the call ends pauses and mutes where they have frozen something: what was said before them was to be recorded,
    /// and of what was said since nothing is here. So does the end of a stream, for that alone.
    pub(super) fn end_silences(&mut self, now: Instant) {
        for id in 0..self.legs.len() {
            if !self.is_silent(id) {
                continue;
            }
            match self.stage {
                Stage::Draining { .. } => {
                    if self.slots.values().any(|slot| slot.is_of(id) && slot.is_frozen(now)) {
                        self.end_silence(id, now);
                    }
                }
                Stage::Running => self.speak_out(id, now),
                Stage::Idle { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => {}
            }
        }
    }

    /// The same for one session, whose streams have all ended.
    pub(super) fn end_silence(&mut self, id: usize, now: Instant) {
        let has_ended = matches!(self.stage, Stage::Draining { .. });
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_active()) else { return };
        // While the call goes on, its party may come back.
        leg.speaks_out |= has_ended;
        if let Some(session) = leg.session_mut() {
            session.hurry(now);
        }
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            slot.speak_out();
        }
    }

    /// Streams that have ended speak out what they have from before the silence, while the others of the session stay silent.
    fn speak_out(&mut self, id: usize, now: Instant) {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_running()) else { return };
        let mut asks = false;
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id) && slot.is_left_over(now)) {
            asks |= slot.speak_out() && leg.lines.index(slot.number()).is_some();
        }
        if asks && let Some(session) = leg.session_mut() {
            session.press(now);
        }
    }
}
