//! The end of a recording: delivering what is held, CANCEL or BYE, closing the branches.

use std::time::Instant;

use siprec_model::{SessionEventKind, StopReason};

use super::slot::Slot;
use super::{CLOSING_TIME, Recording, Stage};
use crate::io::Output;

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stopped(StopReason),
    /// No recorder could take it.
    Failed,
}

impl Recording {
    /// The call, or the wish to record it, is over: what is held is still delivered.
    pub(super) fn stop(&mut self, reason: StopReason, now: Instant) {
        match self.stage {
            Stage::Idle { asked: false, .. } => self.close(Outcome::Stopped(reason), now),
            Stage::Idle { asked: true, .. } | Stage::Running => {
                self.end_streams(|_| true, now);
                // A recording that holds something and waits for formats begins at once with those that are known.
                let holds = self.slots.values().any(Slot::is_fed);
                if let Stage::Idle { deadline, .. } = &mut self.stage
                    && holds
                {
                    *deadline = Some(now);
                    self.begin_when_ready(now);
                }
                if matches!(self.stage, Stage::Idle { .. }) {
                    self.close(Outcome::Stopped(reason), now);
                } else if matches!(self.stage, Stage::Running) {
                    self.stage = Stage::Draining { reason };
                }
            }
            Stage::Draining { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => {}
        }
    }

    /// The streams that match have ended.
    pub(super) fn end_streams(&mut self, matches: impl Fn(&Slot) -> bool, now: Instant) {
        let deadline = now + self.config.timers.drain;
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| matches(slot)) {
            slot.end(now, deadline, &mut commands);
        }
        self.branches(commands);
    }

    /// Closes the branches of streams that have ended and delivered what they held; ends the session when the call has
    /// ended and that is so for all.
    /// Says whether that was so for any.
    pub(super) fn close_drained(&mut self, now: Instant) -> bool {
        let waiting = matches!(self.stage, Stage::Idle { asked: true, .. }) || self.leg.is_attempting();
        let unsettled = self.leg.session().is_some_and(|session| session.is_up() && !session.is_settled());
        let may_open = waiting || unsettled;
        let drained = |slot: &Slot| slot.is_drained(may_open, now);
        match self.stage {
            Stage::Draining { reason } if self.slots.values().all(drained) => {
                let overdue = self.slots.values().any(|slot| slot.is_overdue(now));
                self.close(Outcome::Stopped(if overdue { StopReason::DrainTimeout } else { reason }), now);
                true
            }
            Stage::Idle { .. } | Stage::Running => {
                let mut commands = Vec::new();
                for slot in self.slots.values_mut().filter(|slot| drained(slot)) {
                    slot.close(&mut commands);
                }
                let any = !commands.is_empty();
                self.branches(commands);
                any
            }
            _ => false,
        }
    }

    /// Ends everything: CANCEL or BYE, and the branches are closed.
    pub(super) fn close(&mut self, outcome: Outcome, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told | Stage::Finished) {
            return;
        }
        self.stage = Stage::Closing { outcome, deadline: now + CLOSING_TIME };
        let mut commands = Vec::new();
        for slot in self.slots.values_mut() {
            slot.close(&mut commands);
        }
        self.branches(commands);
        if let Some((attempt, mut session)) = self.leg.finish() {
            session.end(now);
            self.former.push((attempt, session));
        }
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        self.handled = now;
        self.expire_leg(now);
        if matches!(self.stage, Stage::Closing { deadline, .. } if deadline <= now) {
            self.slots.values_mut().for_each(Slot::give_up);
        }
    }

    /// Tells how it ended once every branch has given its account, and finishes once every dialog is over.
    pub(super) fn finish_when_over(&mut self) {
        if let Stage::Closing { outcome, .. } = self.stage
            && self.slots.values().all(Slot::is_gone)
        {
            self.stage = Stage::Told;
            self.tell_end(outcome);
        }
        self.former.retain(|(_, session)| !session.is_over());
        if matches!(self.stage, Stage::Told) && self.former.is_empty() {
            self.stage = Stage::Finished;
            self.output.push_back(Output::Finished);
        }
    }

    fn tell_end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stopped(reason) => {
                self.tell(None, SessionEventKind::Stopped { reason });
                self.change_state(siprec_model::RecordingState::Stopped, reason.as_str().to_owned());
            }
            Outcome::Failed => {
                let reasons = self.leg.failures().join("; ");
                self.change_state(siprec_model::RecordingState::Failed, reasons);
            }
        }
    }
}
