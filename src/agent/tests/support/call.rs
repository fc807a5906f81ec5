//! A call whose recording is watched.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use siprec_agent::{Agent, AgentConfig, RecordingHandle};
use siprec_model::{RecordingState, SessionEvent, SessionEventKind, StopReason};
use siprec_session::{Command, RecordingConfig, parse_recorders};

use super::{DEADLINE, FakeMedia, LOCALHOST, begin};

pub(crate) fn agent(media: &Arc<FakeMedia>) -> Arc<Agent> {
    agent_with(media, AgentConfig::default())
}

pub(crate) fn agent_with(media: &Arc<FakeMedia>, config: AgentConfig) -> Arc<Agent> {
    let config = AgentConfig { local_address: config.local_address.or(Some(LOCALHOST)), ..config };
    let agent = Arc::new(Agent::start(config, Arc::clone(media) as _).unwrap());
    media.connect(&agent);
    agent
}

/// Recorders separated by spaces.
pub(crate) fn config(recorders: &str) -> RecordingConfig {
    RecordingConfig::new(parse_recorders(recorders).unwrap())
}

/// A recording of a call with two parties.
pub(crate) struct Call {
    pub(crate) handle: RecordingHandle,
    events: Receiver<SessionEvent>,
    seen: Vec<SessionEventKind>,
}

impl Call {
    pub(crate) fn open(agent: &Agent, config: RecordingConfig) -> Self {
        let (tell, events) = mpsc::channel();
        // The test may have seen enough.
        let handle = agent.open(config, move |event| drop(tell.send(event))).unwrap();
        begin(&handle).unwrap();
        Self { handle, events, seen: Vec::new() }
    }

    /// Waits for an event; those before it are kept in [`Call::so_far`].
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        is_wanted: impl Fn(&SessionEventKind) -> bool,
    ) -> SessionEventKind {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else { panic!("no {what} after {:?}", self.seen) };
            self.seen.push(event.kind.clone());
            if is_wanted(&event.kind) {
                return event.kind;
            }
        }
    }

    /// The events waited for, and those before them.
    pub(crate) fn so_far(&self) -> &[SessionEventKind] {
        &self.seen
    }

    pub(crate) fn wait_for_state(&mut self, wanted: RecordingState) {
        self.wait_for(
            wanted.as_str(),
            |kind| matches!(kind, SessionEventKind::StateChanged { state, .. } if *state == wanted),
        );
    }

    pub(crate) fn stop(&self) {
        self.handle.command(Command::Stop(StopReason::CallEnded)).unwrap();
    }

    /// All events until the agent lets go of the recording.
    pub(crate) fn seen(mut self) -> Vec<SessionEventKind> {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event.kind),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.seen,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the recording never ended: {:?}", self.seen),
            }
        }
    }
}
