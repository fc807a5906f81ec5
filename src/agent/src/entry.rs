//! One recording within the loop.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use siprec_model::{BranchCommand, BranchEvent, BranchId, CallUuid, RecordingId, RecordingKey, SessionInfo};
use siprec_session::{Input, Output, Recording};
use siprec_transport::{Destination, KeepAlive, LostConnection, Protocol, Transport};

use crate::inbox::{Opening, Shared};
use crate::routes::Routes;

/// A recording and what the loop keeps of it.
pub(crate) struct Entry {
    recording: Recording,
    pub(crate) shared: Arc<Shared>,
    pub(crate) routes: Routes,
    /// By attempt: the connection that its dialog uses.
    kept: HashMap<u32, (Destination, KeepAlive)>,
    /// Call-IDs of its dialogs.
    pub(crate) call_ids: Vec<String>,
    /// The numbers under which its dialogs are written down, by attempt and the recorder's tag.
    pub(crate) noted: HashMap<(u32, Option<String>), u64>,
    /// By attempt: why its last message that could not be sent was not.
    pub(crate) unsent: HashMap<u32, String>,
    /// Branches that the engine has for it.
    pub(crate) branches: BTreeSet<BranchId>,
    /// Which session its last event spoke of.
    pub(crate) info: SessionInfo,
    /// Only dialogs with recorders that were given up are left of it.
    pub(crate) is_released: bool,
    /// When it is in the table of timers.
    pub(crate) deadline: Option<Instant>,
}

impl Entry {
    /// Makes the recording.
    pub(crate) fn open(opening: Opening) -> Self {
        let Opening { config, seed, opened, shared, .. } = opening;
        let recording = Recording::new(config, seed, opened);
        let info = SessionInfo {
            session: None,
            recording_id: recording.recording_id().clone(),
            call_uuid: recording.call_uuid().clone(),
            recorder: None,
            dn: None,
        };
        Self {
            recording,
            shared,
            routes: Routes::default(),
            kept: HashMap::new(),
            call_ids: Vec::new(),
            noted: HashMap::new(),
            unsent: HashMap::new(),
            branches: BTreeSet::new(),
            info,
            is_released: false,
            deadline: None,
        }
    }

    /// Tells the recording something, and takes what it wants done.
    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Vec<Output> {
        if let Input::Media(branch, BranchEvent::Closed(_) | BranchEvent::Crashed { .. }) = &input {
            self.branches.remove(branch);
        }
        self.recording.handle(input, now);
        let outputs = std::iter::from_fn(|| self.recording.poll()).collect();
        self.shared.set_state(self.recording.state());
        if self.recording.is_over() {
            self.shared.set_over();
        }
        outputs
    }

    /// Keeps the connection alive that an attempt's requests take now.
    pub(crate) fn keep_alive(&mut self, attempt: u32, destination: &Destination, transport: &Transport) {
        if self.kept.get(&attempt).is_none_or(|(kept, _)| kept != destination) {
            let kept = (destination.clone(), transport.keep_alive(destination));
            self.kept.insert(attempt, kept);
        }
    }

    /// The attempts whose dialogs used a connection.
    pub(crate) fn attempts_over(&self, connection: &LostConnection) -> impl Iterator<Item = u32> {
        let used = |(destination, keeper): &(Destination, KeepAlive)| {
            destination.protocol != Protocol::Udp && connection.was_kept_by(keeper)
        };
        self.kept.iter().filter(move |(_, kept)| used(kept)).map(|(attempt, _)| *attempt)
    }

    /// When the recording wants to be told the time.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.recording.next_deadline()
    }

    /// Notes what the engine will have.
    pub(crate) fn note(&mut self, command: &BranchCommand) {
        if let BranchCommand::Create { branch, .. } = command {
            self.branches.insert(*branch);
        }
    }
}

/// How a recording presents itself that could not even be made.
pub(crate) fn unmade(key: RecordingKey) -> SessionInfo {
    SessionInfo {
        session: None,
        recording_id: RecordingId::new(key.to_string()),
        call_uuid: CallUuid::new(""),
        recorder: None,
        dn: None,
    }
}
