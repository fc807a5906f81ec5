//! The recording behind the element: opened, fed and ended as the call goes.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_agent::RecordingHandle;
use siprec_engine::{Gate, Tap};
use siprec_model::{RecordingKey, RecordingState, SessionEvent, SessionEventKind, StopReason};
use siprec_session::Command;

use super::imp::Siprec;
use super::messages;
use super::pad::SiprecSinkPad;
use crate::agent::Lease;
use crate::sync::lock;

/// What is happening: the agent in use and the call's recording.
///
/// Lock order: this one before a feed's. No lock is held while the call's data is pushed, a message is posted or a
/// signal emitted.
#[derive(Default)]
pub(super) struct Live {
    /// From NULL to READY on.
    lease: Option<Lease>,
    recording: Option<RecordingHandle>,
    /// Asked by `pause` and not taken back: it outlives recordings and states, so that nothing slips through before
    /// one begins.
    paused: bool,
    /// What the application must hear once the lock is free.
    failures: Vec<Failure>,
}

/// Something of the recording that failed before there was a session.
struct Failure {
    dn: Option<String>,
    reason: String,
}

/// The state of the element's latest recording, right even when notices to the application are lost.
#[derive(Default)]
pub(super) struct Progress(Mutex<Option<(RecordingKey, RecordingState)>>);

impl Progress {
    pub(super) fn state(&self) -> RecordingState {
        lock(&self.0).map_or(RecordingState::Idle, |(_, state)| state)
    }

    fn begin(&self, key: RecordingKey) {
        *lock(&self.0) = Some((key, RecordingState::Idle));
    }

    fn note(&self, key: RecordingKey, event: &SessionEvent) {
        if let SessionEventKind::StateChanged { state, .. } = &event.kind
            && let Some(latest) = lock(&self.0).as_mut().filter(|(latest, _)| *latest == key)
        {
            latest.1 = *state;
        }
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
        let agent = settings.agent.or_else(|| self.agent_of_context());
        let lease = Lease::acquire(agent.as_ref()).map_err(|error| {
            gst::error_msg!(gst::ResourceError::OpenReadWrite, ("The recording agent cannot start: {error}"))
        })?;
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
                if live.recording.as_ref().is_none_or(over) {
                    self.open(live);
                }
                live.order(Command::Start);
            }
            Wish::Stop(reason) => {
                self.sink_pads().for_each(|pad| pad.feed().disconnect());
                live.order(Command::Stop(reason));
            }
            Wish::StopNow => {
                self.gates(Tap::close_gate);
                live.order(Command::StopNow);
                self.sink_pads().for_each(|pad| pad.feed().disconnect());
            }
            Wish::Pause => {
                live.paused = true;
                // The gates first: when this returns nothing is sent, whatever the session does.
                self.gates(Tap::close_gate);
                live.order(Command::Pause);
            }
            Wish::Resume => {
                live.paused = false;
                self.gates(Tap::open_gate);
                live.order(Command::Resume);
            }
        });
    }

    /// A sink pad was added.
    pub(super) fn stream_added(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| live.attach(pad));
    }

    /// A sink pad goes; what it brought is still recorded.
    pub(super) fn stream_removed(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| live.detach(pad));
    }

    /// A stream's caps say something new.
    pub(super) fn format_changed(&self, pad: &SiprecSinkPad) {
        self.with_live(|live| match (pad.format(), pad.feed().tap()) {
            (Some(Ok(format)), Some(tap)) => {
                live.order(Command::StreamFormat { stream: tap.stream(), format });
            }
            (Some(Ok(_)), None) => live.attach(pad),
            (Some(Err(fault)), _) => {
                live.detach(pad);
                let reason = format!("the stream of {} is not recorded: {fault}", pad.name());
                live.failures.push(Failure { dn: self.parties().dn(pad.index()), reason });
            }
            (None, _) => {}
        });
    }

    /// A party has another DN.
    pub(super) fn party_changed(&self, index: u16) {
        let dn = self.parties().dn(index).unwrap_or_default();
        self.with_live(|live| live.order(Command::SetDn { slot: index, dn }));
    }

    /// A stream has ended. The call has when every one of its streams has.
    pub(super) fn stream_ended(&self) {
        let mut pads = self.sink_pads().peekable();
        if pads.peek().is_some() && pads.all(|pad| pad.has_ended()) {
            self.wish(Wish::Stop(StopReason::CallEnded));
        }
    }

    fn with_live(&self, work: impl FnOnce(&mut Live)) {
        let failures = {
            let mut live = lock(self.live());
            work(&mut live);
            std::mem::take(&mut live.failures)
        };
        for Failure { dn, reason } in failures {
            messages::tell_failure(&self.obj(), dn.as_deref(), &reason);
        }
    }

    /// Opens a recording for the streams that are there.
    fn open(&self, live: &mut Live) {
        let Some(lease) = live.lease.as_ref() else {
            gst::warning!(crate::CAT, imp = self, "there is no recording in state NULL");
            return;
        };
        match self.opened(lease) {
            Ok(recording) => {
                live.recording = Some(recording);
                if live.paused {
                    live.order(Command::Pause);
                }
                self.sink_pads().for_each(|pad| live.attach(&pad));
            }
            Err(reason) => {
                live.recording = None;
                live.failures
                    .push(Failure { dn: None, reason: format!("the recording cannot start: {reason}") });
            }
        }
    }

    fn opened(&self, lease: &Lease) -> Result<RecordingHandle, String> {
        let config =
            self.settings().recording(self.parties().in_order()).map_err(|error| error.to_string())?;
        let (key, progress) = (config.key, self.progress().clone());
        progress.begin(key);
        let element = self.obj().downgrade();
        let heard = move |event: SessionEvent| {
            progress.note(key, &event);
            if let Some(element) = element.upgrade() {
                messages::tell(&element, &event);
            }
        };
        lease.open(config, heard).map_err(|error| error.to_string())
    }

    /// Closes or opens the gates of all streams on this thread.
    fn gates(&self, turn: impl Fn(&Tap)) {
        self.sink_pads().filter_map(|pad| pad.feed().tap()).for_each(|tap| turn(&tap));
    }
}

impl Live {
    /// Feeds a pad's stream into the recording, unless its caps forbid it.
    fn attach(&mut self, pad: &SiprecSinkPad) {
        let format = pad.format();
        let (Some(lease), Some(_), false) = (&self.lease, &self.recording, matches!(format, Some(Err(_))))
        else {
            return;
        };
        let gate = if self.paused { Gate::Closed } else { Gate::Open };
        let tap = Arc::new(lease.tap(gate));
        let stream = tap.stream();
        self.order(Command::AddStream { slot: pad.index(), stream });
        if let Some(Ok(format)) = format {
            self.order(Command::StreamFormat { stream, format });
        }
        pad.feed().connect(tap);
    }

    fn detach(&mut self, pad: &SiprecSinkPad) {
        if let Some(tap) = pad.feed().tap() {
            pad.feed().disconnect();
            self.order(Command::RemoveStream { stream: tap.stream() });
        }
    }

    fn order(&mut self, command: Command) {
        let Some(recording) = &self.recording else { return };
        if let Err(error) = recording.command(command) {
            let reason = format!("the recording agent did not take a command: {error}");
            self.failures.push(Failure { dn: None, reason });
        }
    }
}
