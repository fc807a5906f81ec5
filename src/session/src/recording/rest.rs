//! A recording that has failed, and may be asked to begin anew.

use std::time::Instant;

use siprec_model::{BranchId, FailureReason, Medium, RecordingState, SessionEventKind, StreamId};

use super::end::Outcome;
use super::slot::Slot;
use super::tell::Scope;
use super::{CLOSING_TIME, Recording, Stage};
use crate::config::SessionMode;

/// What the recording waits for before it has failed as the application sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// Its former branches have given their account, and the application knows that it has failed.
    told: bool,
    /// Until when they may give it.
    deadline: Instant,
}

impl Rest {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.told).then_some(self.deadline)
    }
}

/// Why a stream is not recorded, in words for people.
#[derive(Debug)]
pub(super) struct Unrecordable {
    reason: String,
    /// The application knows that no stream is.
    told: bool,
}

/// A stream that cannot be recorded any more.
#[derive(Debug)]
pub(super) struct Forbidden {
    pub(super) stream: StreamId,
    /// The attempt of which the application was told that.
    attempt: u32,
    medium: Medium,
    /// In words for people.
    reason: String,
}

impl Recording {
    /// A stream of the call cannot be recorded any more, or none was told of. What it brought is still delivered.
    pub(super) fn forbid(&mut self, stream: Option<StreamId>, reason: String, now: Instant) {
        let is_meant = |slot: &&Slot| Some(slot.stream()) == stream && slot.is_present();
        let known = self.slots.values().find(is_meant);
        let known = known.map(|slot| (slot.number(), slot.pad(), slot.stream(), slot.medium()));
        if let Some((number, pad, stream, medium)) = known {
            let (_, attempt) = self.attempt_of(number);
            // Caps may come and go faster than a recorder answers.
            if self.forbidden.get(&pad).is_none_or(|before| before.attempt != attempt) {
                self.tell_off_once(number, || reason.clone());
            }
            self.remove_stream(stream, now);
            let reason = reason.clone();
            self.forbidden.insert(pad, Forbidden { stream, attempt, medium, reason });
        } else if let Some(stream) = stream {
            self.remove_stream(stream, now);
        }
        self.note_unrecordable(reason, now);
    }

    /// A recorder has accepted the session of all: what could not be recorded before cannot be by this one, either. Each party's own
    /// is over with its stream.
    pub(super) fn tell_forbidden(&mut self, id: usize) {
        let Some(attempt) = self.legs.get(id).map(|leg| leg.attempt) else { return };
        if self.mode != SessionMode::BothParties {
            return;
        }
        let slots = &self.slots;
        let is_gone = |pad: u16| !slots.values().any(|slot| slot.pad() == pad && slot.is_present());
        let untold = self.forbidden.iter_mut().filter(|(pad, it)| it.attempt != attempt && is_gone(**pad));
        let untold = untold.map(|(pad, it)| {
            it.attempt = attempt;
            (*pad, it.medium, it.reason.clone())
        });
        for (pad, medium, reason) in untold.collect::<Vec<_>>() {
            self.say_off_of(Scope::Pad(pad), (Some(id), attempt), medium, reason);
        }
    }

    /// A stream cannot be recorded. Others get some time to come.
    pub(super) fn note_unrecordable(&mut self, reason: String, now: Instant) {
        let Stage::Idle { asked, deadline } = &mut self.stage else { return };
        if *asked {
            deadline.get_or_insert(now + self.config.timers.auto_start);
        }
        self.unrecordable.get_or_insert(Unrecordable { reason, told: false });
    }

    /// Tells that the recording has failed where no stream of the call can be recorded, once.
    pub(super) fn tell_unrecordable(&mut self) {
        if !self.slots.values().filter(|slot| slot.is_live()).all(Slot::is_unrecordable) {
            return;
        }
        let Some(Unrecordable { reason, told: told @ false }) = &mut self.unrecordable else { return };
        *told = true;
        let reason = format!("no stream of the call can be recorded: {reason}");
        let failed = FailureReason::Configuration(reason.clone());
        self.tell(Scope::Recording, SessionEventKind::Failed { reason: failed, sip_code: None });
        self.change_state(RecordingState::Failed, reason);
    }

    /// Whether it has failed since nothing of the call can be recorded.
    fn has_nothing_to_record(&self) -> bool {
        self.unrecordable.as_ref().is_some_and(|unrecordable| unrecordable.told)
    }

    /// Whether it has failed, without anything that is still under way.
    pub(super) fn has_failed_idly(&self) -> bool {
        self.is_at_rest() || matches!(self.stage, Stage::Idle { .. }) && self.has_nothing_to_record()
    }

    /// Whether the recording waits, once its last session has ended with this outcome, for being asked to begin anew.
    pub(super) fn may_rest(&self, outcome: Option<Outcome>) -> bool {
        let is_running = matches!(self.stage, Stage::Running);
        self.config.begins_anew && is_running && outcome == Some(Outcome::Failed)
    }

    /// Whether it has failed and was not asked to begin anew.
    pub(super) fn is_at_rest(&self) -> bool {
        self.rest.is_some() && matches!(self.stage, Stage::Idle { asked: false, .. })
    }

    /// Every stream that is there is held from here on; those that are already, since their party's session failed before the
    /// last one, with what they hold.
    pub(super) fn rest(&mut self, now: Instant) {
        self.hold_anew(|slot| !(slot.is_stranded() && slot.is_live()));
        self.slots.values_mut().for_each(|slot| slot.strand(false));
        self.stage = Stage::Idle { asked: false, deadline: None };
        self.rest = Some(Rest { told: false, deadline: now + CLOSING_TIME });
    }

    /// A party's session has failed while others go on. What its streams bring is held from here on: for the recording, where
    /// that begins anew once all have failed, for a session that the party gets by another stream, and else for the account of what was
    /// not recorded.
    pub(super) fn strand(&mut self, id: usize) {
        for number in self.hold_anew(|slot| slot.is_of(id)) {
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.strand(true);
            }
        }
    }

    /// Every stream that matches and is there goes on as another one, which is held: before the branch of the one that was is
    /// closed, so that no packet goes between the two. Their numbers.
    fn hold_anew(&mut self, matches: impl Fn(&Slot) -> bool) -> Vec<u16> {
        let is_to_go_on = |slot: &&Slot| slot.is_present() && matches(slot);
        let before: Vec<u16> = self.slots.values().filter(is_to_go_on).map(Slot::number).collect();
        let (mut commands, mut numbers) = (Vec::new(), Vec::new());
        for number in &before {
            let Some(pad) = self.slots.get(number).map(Slot::pad) else { continue };
            let Some(free) = self.number_for(pad) else { continue };
            let Some(slot) = self.slots.get(number) else { continue };
            let mut next = slot.next(BranchId { slot: free, ..slot.branch() });
            next.create(self.config.limits, &mut commands);
            self.slots.insert(free, next);
            numbers.push(free);
        }
        for number in before {
            if let Some(slot) = self.slots.get_mut(&number) {
                slot.abandon(&mut commands);
            }
        }
        self.branches(commands);
        numbers
    }

    /// Tells that the recording has failed, once the branches of its sessions have given their account.
    pub(super) fn tell_rest(&mut self, now: Instant) {
        let Some(Rest { told: false, deadline }) = self.rest else { return };
        if deadline <= now {
            self.slots.values_mut().filter(|slot| slot.is_abandoned()).for_each(Slot::give_up);
        } else if !self.slots.values().filter(|slot| slot.is_abandoned()).all(Slot::is_gone) {
            return;
        }
        self.rest = Some(Rest { told: true, deadline });
        if !matches!(self.stage, Stage::Idle { .. }) {
            return;
        }
        // One that ended since its party left may have done so by the last account.
        self.tell_ended();
        self.tell_end(Outcome::Failed);
        self.slots.retain(|slot| !slot.is_over());
        self.legs.clear();
    }

    /// Whether a recording that was asked to begin may.
    pub(super) fn has_come_to_rest(&self) -> bool {
        self.rest.is_none_or(|rest| rest.told)
    }
}
