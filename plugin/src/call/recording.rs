//! The recording behind the element: opened, fed and ended as the call goes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use gst::subclass::prelude::*;
use siprec_agent::RecordingHandle;
use siprec_model::{
    Medium, RecordingKey, RecordingState, SessionEvent, SessionEventKind, StopReason, StreamId,
};
use siprec_session::{Command, SessionMode};

use super::imp::Siprec;
use super::messages;
use super::settings::SettingsError;
use crate::agent::Lease;
use crate::sync::lock;

/// What is happening: the agent in use and the call's recording.
///
/// Lock order: this one before a feed's. No lock is held while the call's data is pushed, a message is posted or a
/// signal emitted.
#[derive(Default)]
pub(super) struct Live {
    /// From NULL to READY on.
    pub(super) lease: Option<Lease>,
    pub(super) recording: Option<RecordingHandle>,
    /// The recording was asked to end. It may still deliver what it holds, but takes nothing new.
    pub(super) ending: bool,
    /// How the recording spreads parties over sessions.
    pub(super) mode: SessionMode,
    /// Asked by `pause` and not taken back: it outlives recordings and states, so that nothing slips through before
    /// one begins.
    pub(super) paused: bool,
    /// The streams of parties that left, by pad: their lines wait for successors until the pad goes.
    pub(super) left: BTreeMap<u16, StreamId>,
    /// What the application must hear once the lock is free.
    pub(super) faults: Vec<Fault>,
}

/// What goes wrong on this side of the agent, each with its reason in words for people.
pub(super) enum Fault {
    /// A recording cannot begin.
    Start(String),
    /// A stream of a party cannot be recorded.
    Stream { dn: Option<String>, medium: Medium, reason: String },
    /// A command was not taken.
    Command(String),
}

/// The state of the element's latest recording, right even when notices to the application are lost.
#[derive(Default)]
pub(super) struct Progress(Mutex<(Option<RecordingKey>, RecordingState)>);

impl Progress {
    pub(super) fn state(&self) -> RecordingState {
        lock(&self.0).1
    }

    fn begin(&self, key: RecordingKey) {
        *lock(&self.0) = (Some(key), RecordingState::Idle);
    }

    /// The latest recording could not even begin.
    fn fail(&self) {
        *lock(&self.0) = (None, RecordingState::Failed);
    }

    /// Takes note of an event. Says whether the application should hear of it: the states of a recording that another
    /// one has followed are not the element's any more.
    fn note(&self, key: RecordingKey, event: &SessionEvent) -> bool {
        let SessionEventKind::StateChanged { state, .. } = &event.kind else { return true };
        let mut latest = lock(&self.0);
        let is_latest = latest.0 == Some(key);
        if is_latest {
            latest.1 = *state;
        }
        is_latest
    }
}

/// What the application or the call wants of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Stop(StopReason),
    StopNow,
    Pause,
    Resume,
}

impl Siprec {
    /// NULL to READY: everything that can be wrong with the configuration is found here.
    pub(super) fn acquire_agent(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings();
        settings.check(self.parties().in_order()).map_err(|error| {
            gst::error_msg!(gst::ResourceError::Settings, ("The recording is configured wrongly: {error}"))
        })?;
        let pool = settings.pool();
        let agent = settings.agent.or_else(|| self.agent_of_context());
        let lease = Lease::acquire(agent.as_ref()).map_err(|error| {
            gst::error_msg!(gst::ResourceError::OpenReadWrite, ("The recording agent cannot start: {error}"))
        })?;
        if let Some(name) = pool.filter(|name| !lease.has_pool(name)) {
            lease.end(Duration::ZERO);
            let error = SettingsError::UnknownPool(name);
            let text = format!("The recording is configured wrongly: {error}");
            return Err(gst::error_msg!(gst::ResourceError::Settings, ("{text}")));
        }
        lock(self.live()).lease = Some(lease);
        Ok(())
    }

    /// READY to NULL: waits as long as `stop-timeout` when this is the last element of the shared agent.
    pub(super) fn release_agent(&self) {
        self.call_ends();
        let lease = lock(self.live()).lease.take();
        if let Some(lease) = lease {
            lease.end(self.settings().stop_timeout());
        }
    }

    /// READY to PAUSED: packets may come from now on.
    pub(super) fn call_begins(&self) {
        if self.settings().records_from_the_first_packet() {
            self.with_live(|live| {
                if live.recording.is_none() {
                    self.open(live);
                }
            });
        }
    }

    /// PAUSED to READY, after the last packet: what is held is still delivered, by agent and engine alone.
    pub(super) fn call_ends(&self) {
        self.wish(Wish::Stop(StopReason::CallEnded));
        lock(self.live()).recording = None;
    }

    /// Does what the application or the call wants. Never waits for the recorder.
    pub(super) fn wish(&self, wish: Wish) {
        self.with_live(|live| match wish {
            Wish::Start => {
                let over = |recording: &RecordingHandle| {
                    let state = recording.state();
                    state.is_final() || state == RecordingState::Draining
                };
                if live.ending || live.recording.as_ref().is_none_or(over) {
                    self.open(live);
                }
                live.order(Command::Start);
            }
            Wish::Stop(reason) => {
                self.sink_pads().for_each(|pad| pad.feed().disconnect());
                live.end(Command::Stop(reason));
            }
            Wish::StopNow => {
                self.close_gates();
                live.end(Command::StopNow);
                self.sink_pads().for_each(|pad| pad.feed().disconnect());
            }
            Wish::Pause => {
                live.paused = true;
                // The gates first: when this returns nothing is sent, whatever the session does.
                self.turn_gates(live);
                live.order(Command::Pause);
            }
            Wish::Resume => {
                live.paused = false;
                self.turn_gates(live);
                live.order(Command::Resume);
            }
        });
    }

    /// A stream has ended. The call has when every one of its streams has.
    pub(super) fn stream_ended(&self) {
        let mut pads = self.sink_pads().peekable();
        if pads.peek().is_some() && pads.all(|pad| pad.has_ended()) {
            self.wish(Wish::Stop(StopReason::CallEnded));
        }
    }

    /// Works on what is happening; what failed is told afterwards, with no lock held.
    pub(super) fn with_live(&self, work: impl FnOnce(&mut Live)) {
        let faults = {
            let mut live = lock(self.live());
            work(&mut live);
            std::mem::take(&mut live.faults)
        };
        for fault in &faults {
            messages::tell_fault(&self.obj(), fault);
        }
    }

    /// Opens a recording for the streams that are there.
    fn open(&self, live: &mut Live) {
        let Some(lease) = live.lease.as_ref() else {
            gst::warning!(crate::CAT, imp = self, "there is no recording in state NULL");
            return;
        };
        match self.opened(lease) {
            Ok((recording, mode)) => {
                live.recording = Some(recording);
                live.mode = mode;
                live.ending = false;
                if live.paused {
                    live.order(Command::Pause);
                }
                live.left.clear();
                self.sink_pads().for_each(|pad| self.attach(live, &pad));
            }
            Err(reason) => {
                live.recording = None;
                self.progress().fail();
                live.faults.push(Fault::Start(format!("the recording cannot start: {reason}")));
            }
        }
    }

    fn opened(&self, lease: &Lease) -> Result<(RecordingHandle, SessionMode), String> {
        let config =
            self.settings().recording(self.parties().in_order()).map_err(|error| error.to_string())?;
        let (key, progress) = (config.key, self.progress().clone());
        progress.begin(key);
        let element = self.obj().downgrade();
        let heard = move |event: SessionEvent| {
            if progress.note(key, &event)
                && let Some(element) = element.upgrade()
            {
                messages::tell(&element, &event);
            }
        };
        let recording = lease.open(config, heard).map_err(|error| error.to_string())?;
        let mode = recording.session_mode();
        Ok((recording, mode))
    }
}

impl Live {
    /// Gives the recording a command, where there is one.
    pub(super) fn order(&mut self, command: Command) {
        let Some(recording) = &self.recording else { return };
        if let Err(error) = recording.command(command) {
            self.faults.push(Fault::Command(format!("the recording agent did not take a command: {error}")));
        }
    }

    /// Has the recording end, by this command.
    fn end(&mut self, command: Command) {
        self.ending = true;
        self.order(command);
    }
}
