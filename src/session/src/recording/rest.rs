//! A recording that has failed, and may be asked to begin anew.

use std::time::Instant;

use siprec_model::BranchId;

use super::end::Outcome;
use super::leg::Leg;
use super::slot::Slot;
use super::{CLOSING_TIME, Recording, Stage};

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

impl Recording {
    /// Whether the recording waits, now that its last session has ended, for being asked to begin anew.
    pub(super) fn may_rest(&self) -> bool {
        let is_last = !self.legs.iter().any(Leg::is_active);
        self.config.begins_anew
            && matches!(self.stage, Stage::Running)
            && is_last
            && self.outcome() == Some(Outcome::Failed)
    }

    /// Whether it has failed and was not asked to begin anew.
    pub(super) fn is_at_rest(&self) -> bool {
        self.rest.is_some() && matches!(self.stage, Stage::Idle { asked: false, .. })
    }

    /// Every stream that is there goes on as another one, which is held from here on: before the branches of the failed
    /// session are closed, so that no packet goes between the two.
    pub(super) fn rest(&mut self, now: Instant) {
        let present: Vec<u16> =
            self.slots.values().filter(|slot| slot.is_present()).map(Slot::number).collect();
        let mut commands = Vec::new();
        for number in present {
            let Some(slot) = self.slots.get(&number) else { continue };
            let (pad, branch) = (slot.pad(), slot.branch());
            let Some(number) = self.number_for(pad) else { continue };
            let Some(slot) = self.slots.get(&branch.slot) else { continue };
            let mut next = slot.next(BranchId { slot: number, ..branch });
            next.create(self.config.limits, &mut commands);
            self.slots.insert(number, next);
        }
        self.branches(commands);
        self.stage = Stage::Idle { asked: false, deadline: None };
        self.rest = Some(Rest { told: false, deadline: now + CLOSING_TIME });
    }

    /// Tells that the recording has failed, once the branches of its sessions have given their account.
    pub(super) fn tell_rest(&mut self, now: Instant) {
        let Some(Rest { told: false, deadline }) = self.rest else { return };
        let mut former = self.slots.values_mut().filter(|slot| slot.is_abandoned());
        if deadline <= now {
            former.for_each(Slot::give_up);
        } else if !former.all(|slot| slot.is_gone()) {
            return;
        }
        self.rest = Some(Rest { told: true, deadline });
        if !matches!(self.stage, Stage::Idle { .. }) {
            return;
        }
        self.tell_end(Outcome::Failed);
        self.slots.retain(|_, slot| !slot.is_over());
        self.legs.clear();
    }

    /// Whether a recording that was asked to begin may.
    pub(super) fn has_come_to_rest(&self) -> bool {
        self.rest.is_none_or(|rest| rest.told)
    }
}
