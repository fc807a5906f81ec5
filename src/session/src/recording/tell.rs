//! What the application is told.

use siprec_model::{
    BranchEvent, BranchId, Medium, RecordingState, SessionEvent, SessionEventKind, SessionInfo,
};

use super::slot::Slot;
use super::{Recording, Stage};
use crate::io::Output;
use crate::recorder::RecorderTarget;

impl Recording {
    /// Tells of an event, about one party where a slot is given.
    pub(super) fn tell(&mut self, slot: Option<u16>, kind: SessionEventKind) {
        let info = SessionInfo {
            session: self.call_id.clone(),
            recording_id: self.id.clone(),
            call_uuid: self.call_uuid.clone(),
            recorder: self.recorder().map(RecorderTarget::shown),
            dn: slot.and_then(|slot| self.config.dn(slot)).map(str::to_owned),
        };
        self.output.push_back(Output::Event(SessionEvent { info, kind }));
    }

    /// What a branch says that the application should know.
    pub(super) fn tell_media(&mut self, branch: BranchId, event: &BranchEvent) {
        let kind = match event {
            BranchEvent::KeyframeWanted => SessionEventKind::KeyframeWanted,
            BranchEvent::Gap { packets, duration, cause } => {
                SessionEventKind::Gap { packets: *packets, duration: *duration, cause: *cause }
            }
            BranchEvent::Closed(report) => {
                let medium = self.slots.get(&branch.slot).map_or(Medium::Audio, Slot::medium);
                SessionEventKind::Report { medium, report: report.clone() }
            }
            _ => return,
        };
        self.tell(Some(branch.slot), kind);
    }

    /// A stream is not recorded although the call has it.
    pub(super) fn tell_off(&mut self, slot: u16, reason: String) {
        let medium = self.slots.get(&slot).map_or(Medium::Audio, Slot::medium);
        self.tell(Some(slot), SessionEventKind::MediumOff { medium, reason });
    }

    /// The recorder has accepted. A session that was set up paused says so once that is settled.
    pub(super) fn tell_answered(&mut self) {
        if !self.paused {
            self.tell(None, SessionEventKind::Started);
        }
    }

    /// Tells of the aggregate state, if it has changed.
    pub(super) fn tell_state(&mut self) {
        let recorder = || self.recorder().map(RecorderTarget::shown).unwrap_or_default();
        let (state, reason) = match &self.stage {
            Stage::Idle { .. } | Stage::Closing { .. } | Stage::Told | Stage::Finished => return,
            Stage::Draining { reason } => (RecordingState::Draining, reason.as_str().to_owned()),
            Stage::Running => match self.leg.session().filter(|session| session.is_up()) {
                None => (RecordingState::Starting, format!("{} is invited", recorder())),
                Some(session) if session.is_settled() => {
                    // A refused pause keeps the gates closed, a refused resume keeps the session inactive.
                    let silent = self.paused || session.is_silent();
                    if silent && self.slots.values().any(Slot::is_described) {
                        (RecordingState::Paused, "paused".to_owned())
                    } else {
                        (RecordingState::Recording, format!("{} records", recorder()))
                    }
                }
                Some(_) if !self.paused && self.state == RecordingState::Starting => {
                    (RecordingState::Recording, format!("{} records", recorder()))
                }
                Some(_) => return,
            },
        };
        self.change_state(state, reason);
    }

    pub(super) fn change_state(&mut self, state: RecordingState, reason: String) {
        let before = std::mem::replace(&mut self.state, state);
        if before == state {
            return;
        }
        match (before, state) {
            (_, RecordingState::Paused) => self.tell(None, SessionEventKind::Paused),
            (RecordingState::Paused, RecordingState::Recording) => self.tell(None, SessionEventKind::Resumed),
            _ => {}
        }
        self.tell(None, SessionEventKind::StateChanged { state, reason });
    }
}
