//! The end of a recording and of its sessions: delivering what is held, CANCEL or BYE, closing the branches.

use std::time::Instant;

use siprec_model::{HangUp, RecordingState, SessionEventKind, StopReason};

use super::leg::{Leg, LegEnd};
use super::reasons::joined;
use super::slot::{Loss, Slot};
use super::tell::Scope;
use super::{CLOSING_TIME, Recording, Stage};
use crate::io::Output;

/// Most characters of why its recorders have failed, but for how many more there are.
const REASONS: usize = 2000;

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
                    self.stage = Stage::Draining { reason, since: now, is_last_call: false };
                    // What is offered holds up what is held, and another recorder needs time for that.
                    for session in self.legs.iter_mut().filter_map(Leg::session_mut) {
                        session.hurry(now);
                    }
                }
            }
            Stage::Draining { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => {}
        }
    }

    /// The streams that match have ended. Where their recorder was lost a short while ago, the next one has its time for what that may
    /// not have.
    pub(super) fn end_streams(&mut self, matches: impl Fn(&Slot) -> bool, now: Instant) {
        let deadline = now + self.config.timers.drain;
        let again: Vec<_> = self.legs.iter().map(|leg| self.delivered_again(leg, now)).collect();
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| matches(slot)) {
            let again = slot.leg().filter(|_| slot.is_fed()).and_then(|id| again.get(id).copied().flatten());
            slot.end(now, again.map_or(deadline, |again| again.max(deadline)), &mut commands);
        }
        self.branches(commands);
    }

    /// Closes the branches of streams that have ended and delivered what they held, and ends the sessions that have
    /// nothing left: each party's own when its streams are gone, all when the call has ended.
    /// Says whether that was so for any.
    pub(super) fn close_drained(&mut self, now: Instant) -> bool {
        // What a stream is to deliver once more to the next recorder is not known yet.
        let is_repaired = |slot: &Slot| {
            let leg = slot.leg().and_then(|id| self.legs.get(id));
            leg.is_some_and(|leg| leg.repairs.are_under_way()) && !slot.is_out_of_time(now)
        };
        let is_drained = |slot: &&Slot| slot.is_drained(self.may_open(slot), now) && !is_repaired(slot);
        let drained: Vec<u16> = self.slots.values().filter(is_drained).map(Slot::number).collect();
        let doubts = self.doubt_ended(&drained, now);
        if doubts.lost {
            // What they may not have is recalled before anything is closed.
            return true;
        }
        let drained: Vec<u16> = drained.into_iter().filter(|number| !doubts.slots.contains(number)).collect();
        if let Stage::Draining { reason, .. } = self.stage
            && drained.len() == self.slots.len()
        {
            let overdue = self.slots.values().any(|slot| slot.is_overdue(now));
            return self.part_all(if overdue { StopReason::DrainTimeout } else { reason }, now);
        }
        if !matches!(self.stage, Stage::Idle { .. } | Stage::Running | Stage::Draining { .. }) {
            return false;
        }
        let mut any = self.part_deserted(&drained, now);
        let successors = self.waiting_for_lines();
        let mut commands = Vec::new();
        for number in drained {
            let Some(slot) = self.slots.get(&number) else { continue };
            let leg = slot.leg();
            let parts = leg.and_then(|id| self.legs.get(id)).is_some_and(|leg| leg.parting.is_some());
            if parts || !slot.is_live() {
                continue;
            }
            let has_successor =
                successors.iter().filter_map(|number| self.slots.get(number)).any(|successor| {
                    successor.leg() == leg
                        && successor.medium() == slot.medium()
                        && successor.number() != number
                });
            // While the call ends nothing is renegotiated that nobody waits for.
            if matches!(self.stage, Stage::Draining { .. }) && !has_successor {
                continue;
            }
            let keeps_line = slot.is_left() && !has_successor && leg.is_some();
            let needed_until = self.needed_until(slot, now);
            let Some(slot) = self.slots.get_mut(&number) else { continue };
            if slot.kept_until().is_some() && needed_until.is_some() {
                continue;
            }
            if keeps_line {
                any |= !slot.is_parked() && slot.is_live();
                slot.park();
            } else if let Some(until) = needed_until {
                any = true;
                slot.keep(until, &mut commands);
                self.release_line(leg, number);
            } else {
                any |= slot.is_live();
                slot.close(&mut commands);
                self.release_line(leg, number);
            }
        }
        self.branches(commands);
        any
    }

    /// Ends one session: CANCEL or BYE, and its branches are closed. The recording ends with its last session, unless
    /// that ended because its party left: others may come.
    pub(super) fn end_leg(&mut self, id: usize, end: LegEnd, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told | Stage::Finished) {
            return;
        }
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_active()) else { return };
        leg.end = Some(end);
        if let Some(session) = leg.session_mut() {
            session.end(now);
        }
        self.retire(id);
        self.abandon_repair(id, now);
        self.recall_tail(id, Loss::default());
        let goes_on = self.legs.iter().any(Leg::is_active)
            || self.slots.values().any(|slot| slot.leg().is_none() && slot.is_live() && !slot.is_stranded());
        let outcome = self.outcome().filter(|_| !goes_on);
        let rests = self.may_rest(outcome);
        if rests {
            self.rest(now);
        } else if goes_on && end == LegEnd::Failed {
            self.strand(id);
        }
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            slot.abandon(&mut commands);
        }
        self.branches(commands);
        if let Some(outcome) = outcome.filter(|_| !rests) {
            self.close(outcome, now);
        }
    }

    /// How a recording ended whose sessions all have; None where it waits for other parties.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let reasons = self.legs.iter().filter_map(|leg| match leg.end {
            Some(LegEnd::Stopped { reason, .. }) => Some(reason),
            _ => None,
        });
        let failed = self.legs.iter().any(|leg| leg.end == Some(LegEnd::Failed));
        let is_running = matches!(self.stage, Stage::Running);
        match reasons.max_by_key(|reason| *reason != StopReason::PartyLeft) {
            None => Some(Outcome::Failed),
            // Who is still there has no recorder.
            Some(StopReason::PartyLeft) if is_running && self.has_left_out() => Some(Outcome::Failed),
            Some(StopReason::PartyLeft) if is_running && !failed => None,
            Some(reason) => Some(Outcome::Stopped(reason)),
        }
    }

    /// Whether a party is there whose session has failed.
    fn has_left_out(&self) -> bool {
        let has_failed = |leg: Option<&Leg>| leg.is_some_and(|leg| leg.end == Some(LegEnd::Failed));
        let leg_of = |slot: &Slot| slot.leg().and_then(|id| self.legs.get(id));
        self.slots.values().any(|slot| slot.is_present() && (slot.is_stranded() || has_failed(leg_of(slot))))
    }

    /// Ends everything: CANCEL or BYE, and the branches are closed.
    pub(super) fn close(&mut self, outcome: Outcome, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told | Stage::Finished) {
            return;
        }
        // One that has failed has, however its wait ends.
        let outcome = if self.has_failed_idly() { Outcome::Failed } else { outcome };
        self.stage = Stage::Closing { outcome, deadline: now + CLOSING_TIME };
        (0..self.legs.len()).for_each(|id| {
            self.recall_doubtful(id, now);
            self.recall_tail(id, Loss::default());
            self.abandon_repair(id, now);
        });
        let mut commands = Vec::new();
        for slot in self.slots.values_mut() {
            slot.close(&mut commands);
        }
        self.branches(commands);
        for id in 0..self.legs.len() {
            if let Some(session) = self.legs.get_mut(id).and_then(Leg::session_mut) {
                session.end(now);
            }
            self.retire(id);
            let Some(leg) = self.legs.get_mut(id) else { continue };
            leg.end = leg.end.or(Some(match outcome {
                Outcome::Stopped(reason) => LegEnd::Stopped { reason, told: false },
                Outcome::Failed => LegEnd::Failed,
            }));
        }
    }

    /// What a recorder may not have that is in doubt when all ends at once is told as lost: nobody waits for what it has to say. What its
    /// host has refused of a stream that has long been silent speaks against that stream alone.
    fn recall_doubtful(&mut self, id: usize, now: Instant) {
        let Some(leg) = self.legs.get(id).filter(|leg| leg.is_active()) else { return };
        let Some(session) = leg.session() else { return };
        let since = match leg.parting {
            Some(parting) => session.owes_farewell(now).then_some(parting.proof),
            None => session.in_doubt_since(now),
        };
        if let Some(since) = since {
            if let Some(session) = self.legs.get_mut(id).and_then(Leg::session_mut) {
                session.give_up();
            }
            self.recall_since(id, since, Loss::default());
        } else if leg.parting.is_none() {
            let refused = session.refused_streams();
            let since =
                |branch| refused.iter().find(|(stream, _)| *stream == branch).map(|(_, since)| *since);
            self.recall_streams(id, since, Loss::default());
        }
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        self.handled = now;
        self.expire_legs(now);
        if matches!(self.stage, Stage::Closing { deadline, .. } if deadline <= now) {
            self.slots.values_mut().for_each(Slot::give_up);
        }
    }

    /// Tells how each session ended once every branch of it has given its account; the recording finishes once that is
    /// so for all and every dialog is over.
    pub(super) fn finish_when_over(&mut self) {
        self.tell_ended();
        self.slots.retain(|slot| !slot.is_over());
        if let Stage::Closing { outcome, .. } = self.stage
            && self.slots.values().all(Slot::is_gone)
        {
            self.stage = Stage::Told;
            self.tell_end(outcome);
        }
        for (attempt, _) in self.former.extract_if(.., |(_, session)| session.is_over()) {
            self.output.push_back(Output::AttemptOver { attempt });
        }
        if matches!(self.stage, Stage::Told) && self.former.is_empty() {
            self.stage = Stage::Finished;
            self.output.push_back(Output::Finished);
        } else if !self.is_released && self.released_at().is_some_and(|at| at <= self.handled) {
            self.is_released = true;
            self.output.push_back(Output::Released);
        }
    }

    /// From when on nobody need wait for the dialogs that are left, since their recorders were given up; None where any other is.
    pub(super) fn released_at(&self) -> Option<Instant> {
        if !matches!(self.stage, Stage::Told) {
            return None;
        }
        let left = self.former.iter().map(|(_, session)| session.may_be_left_at());
        left.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    pub(super) fn tell_ended(&mut self) {
        for id in 0..self.legs.len() {
            let is_gone = self.slots.values().filter(|slot| slot.is_of(id)).all(Slot::is_gone);
            let Some(LegEnd::Stopped { reason, told: told @ false }) =
                self.legs.get_mut(id).and_then(|leg| leg.end.as_mut())
            else {
                continue;
            };
            if is_gone {
                *told = true;
                let reason = *reason;
                let said = self.legs.get_mut(id).map(|leg| std::mem::take(&mut leg.said)).unwrap_or_default();
                self.tell(Scope::Leg(id), SessionEventKind::Stopped { reason, said });
            }
        }
    }

    pub(super) fn tell_end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stopped(reason) => {
                if self.legs.is_empty() {
                    self.tell(
                        Scope::Recording,
                        SessionEventKind::Stopped { reason, said: HangUp::default() },
                    );
                }
                self.change_state(RecordingState::Stopped, reason.as_str().to_owned());
            }
            Outcome::Failed => {
                let reasons = self.legs.iter().flat_map(|leg| &leg.failures).map(String::as_str);
                let reasons = joined(reasons, REASONS);
                self.change_state(RecordingState::Failed, reasons);
            }
        }
    }
}
