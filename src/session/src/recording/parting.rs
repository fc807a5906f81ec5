//! The last seconds of a session: what was sent since the recorder last proved that it lives is its only when it answers
//! our BYE. Where it does not, it is lost as in the middle of a call, and the next one gets that stretch.

use std::time::Instant;

use siprec_model::{BranchCommand, BranchId, StopReason};

use super::leg::{Leg, LegEnd, Parting, Step};
use super::slot::{Loss, Slot};
use super::{Recording, Stage};
use crate::config::SessionMode;
use crate::session::RecordingSession;

impl Recording {
    /// Ends a session that has delivered everything, or has no time left for it. Its branches stay until the recorder has
    /// answered the BYE, where anything was sent that it has not confirmed, or waits that it has not taken: if it does not live, another
    /// one gets that.
    fn part(&mut self, id: usize, reason: StopReason, now: Instant) {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| leg.is_running()) else { return };
        let attempt = leg.attempt;
        let lived = leg.session().filter(|session| session.is_up()).and_then(RecordingSession::lived);
        let is_doubtful = |proof| {
            let may_be_lost = |slot: &Slot| slot.may_be_lost(proof) || slot.is_withheld();
            self.slots.values().any(|slot| slot.is_of(id) && may_be_lost(slot))
        };
        let Some(lived) = lived.filter(|lived| is_doubtful(lived.proof)) else {
            return self.end_leg(id, LegEnd::Stopped { reason, told: false }, now);
        };
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.parting = Some(Parting { reason, attempt, proof: lived.proof, is_lost: false });
        if let Some(session) = leg.session_mut() {
            session.part(now);
        }
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            slot.part(&mut commands);
        }
        self.branches(commands);
    }

    /// Ends all sessions of a call that has ended and been delivered. Says whether there was any to end.
    pub(super) fn part_all(&mut self, reason: StopReason, now: Instant) -> bool {
        let running: Vec<usize> = self.legs_where(Leg::is_running);
        for id in &running {
            self.part(*id, reason, now);
        }
        let any = !running.is_empty() | self.give_up_tails(now);
        if !self.legs.iter().any(Leg::is_active) {
            self.close(super::end::Outcome::Stopped(reason), now);
            return true;
        }
        any
    }

    /// Ends the sessions of parties that have left, once what they left is delivered. Says whether there was any.
    pub(super) fn part_deserted(&mut self, drained: &[u16], now: Instant) -> bool {
        if self.mode != SessionMode::PerParty || !matches!(self.stage, Stage::Running) {
            return false;
        }
        let is_deserted = |id: usize, leg: &Leg| {
            let mut live = self.slots.values().filter(|slot| slot.is_of(id) && slot.is_live());
            leg.is_running() && live.all(|slot| drained.contains(&slot.number()))
        };
        let legs = self.legs.iter().enumerate();
        let deserted: Vec<usize> = legs.filter(|(id, leg)| is_deserted(*id, leg)).map(|(id, _)| id).collect();
        for id in &deserted {
            self.part(*id, StopReason::PartyLeft, now);
        }
        !deserted.is_empty() | self.give_up_tails(now)
    }

    /// The recorder has answered the BYE: everything is its.
    pub(super) fn parted(&mut self, id: usize, now: Instant) {
        let parting = self.legs.get_mut(id).and_then(|leg| leg.parting.take());
        if let Some(Parting { reason, .. }) = parting {
            self.end_leg(id, LegEnd::Stopped { reason, told: false }, now);
        }
    }

    /// A recorder may answer its BYE when the next one is being sought already.
    pub(super) fn hear_late_farewells(&mut self, now: Instant) {
        for id in self.legs_where(|leg| leg.parting.is_some_and(|parting| parting.is_lost)) {
            let parting = self.legs.get(id).and_then(|leg| leg.parting);
            let has_parted = |(attempt, session): &(u32, RecordingSession)| {
                parting.is_some_and(|parting| parting.attempt == *attempt) && session.has_parted()
            };
            if self.former.iter().any(has_parted) {
                self.parted(id, now);
            }
        }
    }

    /// A recorder has accepted the session of one that has not answered its BYE: it gets what that may not have. Until then
    /// that may still answer.
    pub(super) fn recall_tails(&mut self) {
        let is_accepted = |leg: &Leg| {
            leg.parting.is_some_and(|parting| parting.is_lost)
                && leg.session().is_some_and(RecordingSession::is_up)
        };
        for id in self.legs_where(is_accepted) {
            self.recall_tail(id, Loss { next: self.attempt(id), missed: None });
        }
    }

    /// What the recorder that has not answered its BYE may not have waits again: for the next one, or to be told as lost.
    pub(super) fn recall_tail(&mut self, id: usize, loss: Loss) {
        let parting = self.legs.get_mut(id).and_then(|leg| leg.parting.take());
        if let Some(Parting { proof, .. }) = parting.filter(|parting| parting.is_lost) {
            self.recall_since(id, proof, loss);
        }
    }

    /// What was sent in a session since a moment, when its recorder was alive for sure, waits again.
    pub(super) fn recall_since(&mut self, id: usize, since: Instant, loss: Loss) {
        self.recall_streams(id, |_| Some(since), loss);
    }

    /// What was sent of each stream of a session since its own moment waits again, where it has one.
    pub(super) fn recall_streams(
        &mut self,
        id: usize,
        since: impl Fn(BranchId) -> Option<Instant>,
        loss: Loss,
    ) {
        let mut commands: Vec<BranchCommand> = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            if let Some(since) = since(slot.branch()) {
                slot.recall(since, loss, &mut commands);
            }
        }
        self.branches(commands);
    }

    /// Whether there is still time and reason for another recorder to get what the last one may not have.
    pub(super) fn may_redeliver(&self, id: usize, now: Instant) -> bool {
        let is_silent = self.is_silent(id);
        let may_leave = |slot: &Slot| slot.is_live() && (!is_silent || slot.speaks_out());
        self.slots.values().any(|slot| slot.is_of(id) && may_leave(slot) && !slot.is_out_of_time(now))
    }

    /// Ends the sessions for whose last stretch no other recorder was found in time.
    fn give_up_tails(&mut self, now: Instant) -> bool {
        let is_late = |leg: &Leg| leg.parting.is_some_and(|parting| parting.is_lost) && leg.is_active();
        let late: Vec<usize> =
            self.legs_where(is_late).into_iter().filter(|id| !self.may_redeliver(*id, now)).collect();
        for id in &late {
            self.give_up_tail(*id, now);
        }
        !late.is_empty()
    }

    /// The last stretch of a session is lost.
    pub(super) fn give_up_tail(&mut self, id: usize, now: Instant) {
        self.end_leg(id, LegEnd::Stopped { reason: StopReason::DrainTimeout, told: false }, now);
    }

    /// The number of a session's present attempt.
    pub(super) fn attempt(&self, id: usize) -> Option<u32> {
        self.legs.get(id).map(|leg| leg.attempt)
    }

    fn legs_where(&self, matches: impl Fn(&Leg) -> bool) -> Vec<usize> {
        self.legs.iter().enumerate().filter(|(_, leg)| matches(leg)).map(|(id, _)| id).collect()
    }
}

impl Leg {
    /// Marks its session, whose BYE stays unanswered, as lost with its recorder.
    pub(super) fn lose_tail(&mut self) {
        if let Some(parting) = &mut self.parting
            && matches!(self.step, Step::Session { .. })
        {
            parting.is_lost = true;
        }
    }
}
