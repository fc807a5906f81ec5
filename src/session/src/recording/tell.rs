//! What the application is told.

use std::time::Instant;

use siprec_model::{
    BranchEvent, BranchId, Gap, Hole, Medium, RecordingState, SessionEvent, SessionEventKind, SessionInfo,
};

use super::leg::{Leg, Lost};
use super::slot::Slot;
use super::{Recording, Stage};
use crate::io::Output;
use crate::parties::PartyKey;
use crate::recorder::RecorderTarget;

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// The recording as a whole. Where it has one session only, that one.
    Recording,
    /// One session.
    Leg(usize),
    /// One stream.
    Slot(u16),
    /// A pad that has no stream.
    Pad(u16),
}

impl Recording {
    /// Tells of an event.
    pub(super) fn tell(&mut self, scope: Scope, kind: SessionEventKind) {
        let only = if self.legs.len() == 1 { Some(0) } else { None };
        let (leg, dn) = match scope {
            Scope::Recording => (only, None),
            Scope::Leg(id) => (Some(id), None),
            Scope::Slot(number) => {
                let slot = self.slots.get(&number);
                (slot.and_then(Slot::leg), slot.and_then(|slot| slot.party().dn()))
            }
            Scope::Pad(pad) => (only, self.config.dn(pad)),
        };
        let dn = dn.map(str::to_owned);
        let of_leg = leg.and_then(|id| self.legs.get(id));
        let party = of_leg.and_then(|leg| leg.party.as_ref()).and_then(PartyKey::dn).map(str::to_owned);
        let info = SessionInfo {
            session: of_leg.and_then(|leg| leg.call_id.clone()),
            recording_id: self.id.clone(),
            call_uuid: self.call_uuid.clone(),
            recorder: leg.and_then(|id| self.recorder(id)).map(RecorderTarget::shown),
            dn: dn.or(party),
        };
        self.output.push_back(Output::Event(SessionEvent { info, kind }));
    }

    /// What a branch says that the application should know.
    pub(super) fn tell_media(&mut self, branch: BranchId, event: &BranchEvent) {
        let Some(slot) = self.slots.get(&branch.slot) else { return };
        let kind = match event {
            BranchEvent::KeyframeWanted => SessionEventKind::KeyframeWanted,
            // What a stream held that is not to be recorded is no loss.
            BranchEvent::Gap(hole) if !slot.is_dismissed() => {
                SessionEventKind::Gap { medium: slot.medium(), gap: self.gap(hole) }
            }
            BranchEvent::Closed(report) if !slot.is_dismissed() => {
                let gaps = report.holes.iter().map(|hole| self.gap(hole)).collect();
                SessionEventKind::Report { medium: slot.medium(), report: report.clone(), gaps }
            }
            _ => return,
        };
        self.tell(Scope::Slot(branch.slot), kind);
    }

    /// A hole on the call's clock.
    fn gap(&self, hole: &Hole) -> Gap {
        Gap::new(hole, self.begun.unwrap_or(hole.start))
    }

    /// A stream is not recorded although the call has it.
    pub(super) fn tell_off(&mut self, slot: u16, reason: String) {
        self.turn_off(slot);
        self.say_off(slot, reason);
    }

    /// The same, unless it was told of the present attempt.
    pub(super) fn tell_off_once(&mut self, slot: u16, reason: impl FnOnce() -> String) {
        if self.turn_off(slot) {
            self.say_off(slot, reason());
        }
    }

    fn say_off(&mut self, slot: u16, reason: String) {
        let medium = self.slots.get(&slot).map_or(Medium::Audio, Slot::medium);
        self.say_off_of(Scope::Slot(slot), self.attempt_of(slot), medium, reason);
    }

    /// The same of a stream that may be gone, in a session and its attempt.
    pub(super) fn say_off_of(
        &mut self,
        scope: Scope,
        (id, attempt): (Option<usize>, u32),
        medium: Medium,
        reason: String,
    ) {
        let is_taken = |other: &Slot| other.leg() == id && other.is_present() && !other.is_off(attempt);
        let others = self.slots.values().any(is_taken);
        if let Some(leg) = id.filter(|_| !others).and_then(|id| self.legs.get_mut(id)) {
            leg.takes_nothing = Some(attempt);
        }
        self.tell(scope, SessionEventKind::MediumOff { medium, reason, others });
    }

    /// The recorder of the present attempt does not take a stream. Whether the application does not know that yet.
    fn turn_off(&mut self, slot: u16) -> bool {
        let (_, attempt) = self.attempt_of(slot);
        self.slots.get_mut(&slot).is_some_and(|slot| slot.turn_off(attempt))
    }

    /// Whose session a stream's is, and its present attempt.
    pub(super) fn attempt_of(&self, slot: u16) -> (Option<usize>, u32) {
        let id = self.slots.get(&slot).and_then(Slot::leg);
        (id, id.and_then(|id| self.legs.get(id)).map_or(0, |leg| leg.attempt))
    }

    /// The recorder has accepted. A session that was set up silent says so once that is settled.
    pub(super) fn tell_answered(&mut self, id: usize, now: Instant) {
        // First: what the call's parties are to be told may else be wrong for a moment.
        self.tell_forbidden(id);
        if !self.is_silent(id) {
            self.tell(Scope::Leg(id), SessionEventKind::Started);
        }
        if let Some(Lost { recorder: from, alive, .. }) =
            self.legs.get_mut(id).and_then(|leg| leg.lost.take())
        {
            let uncertain = now.saturating_duration_since(alive);
            self.tell(Scope::Leg(id), SessionEventKind::FailedOver { from, uncertain });
        }
    }

    /// Tells of pauses of each session, and of the aggregate state, if it has changed.
    pub(super) fn tell_state(&mut self) {
        match &self.stage {
            Stage::Idle { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => {}
            Stage::Draining { reason, .. } => {
                let reason = reason.as_str().to_owned();
                self.change_state(RecordingState::Draining, reason);
            }
            Stage::Running => {
                for id in 0..self.legs.len() {
                    self.tell_leg(id);
                }
                self.tell_aggregate();
            }
        }
    }

    /// Tells whether a session is paused or goes on.
    fn tell_leg(&mut self, id: usize) {
        let Some(state) = self.legs.get(id).filter(|leg| leg.is_running()).map(|leg| self.leg_state(id, leg))
        else {
            return;
        };
        let Some(leg) = self.legs.get_mut(id) else { return };
        let before = std::mem::replace(&mut leg.told, state);
        match (before, state) {
            (RecordingState::Paused, RecordingState::Paused) => {}
            (_, RecordingState::Paused) => self.tell_of_standing(id, SessionEventKind::Paused),
            (RecordingState::Paused, RecordingState::Recording) => {
                self.tell(Scope::Leg(id), SessionEventKind::Resumed);
            }
            _ => {}
        }
    }

    fn leg_state(&self, id: usize, leg: &Leg) -> RecordingState {
        let session = leg.session().filter(|session| session.is_up());
        if session.is_none() && !leg.repairs.are_under_way() {
            return RecordingState::Starting;
        }
        // The gates are closed, whatever the recorder says of it, and when.
        if self.is_silent(id) {
            return RecordingState::Paused;
        }
        let Some(session) = session.filter(|_| !leg.repairs.are_under_way()) else { return leg.told };
        if session.is_settled() {
            // A refused resume keeps the session inactive.
            let has_stream = self.slots.values().any(|slot| slot.is_of(id) && slot.is_described());
            if session.is_silent() && has_stream { RecordingState::Paused } else { RecordingState::Recording }
        } else if leg.told == RecordingState::Starting {
            RecordingState::Recording
        } else {
            leg.told
        }
    }

    /// A recording records when any session does, and is paused when all are that have an answer.
    fn tell_aggregate(&mut self) {
        use RecordingState::{Paused, Recording, Starting};
        let active = || self.legs.iter().enumerate().filter(|(_, leg)| leg.is_running());
        let found = [Recording, Starting, Paused]
            .into_iter()
            .find_map(|state| active().find(|(_, leg)| leg.told == state).map(|(id, _)| (state, id)));
        let (state, reason) = match found {
            Some((Recording, id)) => (Recording, format!("{} records", self.recorder_shown(id))),
            Some((Paused, _)) => (Paused, "paused".to_owned()),
            Some((state, id)) => (state, format!("{} is invited", self.recorder_shown(id))),
            // The parties have left, and others may come.
            None if self.paused => (Paused, "paused".to_owned()),
            None => (Starting, "no party is there".to_owned()),
        };
        self.change_state(state, reason);
    }

    pub(super) fn change_state(&mut self, state: RecordingState, reason: String) {
        if std::mem::replace(&mut self.state, state) != state {
            self.tell(Scope::Recording, SessionEventKind::StateChanged { state, reason });
        }
    }
}
