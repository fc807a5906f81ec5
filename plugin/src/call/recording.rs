//! The recording behind the element: opened, fed and ended as the call goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gst::subclass::prelude::*;
use siprec_agent::RecordingHandle;
use siprec_model::{Medium, RecordingState, SessionEvent, StopReason, StreamId};
use siprec_session::{Command, RecordingConfig, SessionMode};

use super::imp::Siprec;
use super::messages;
use super::settings::SettingsError;
use super::whole::Whole;
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
    /// The call's recording: a handle for each copy that could begin. The copies know nothing of each other, and each gets
    /// every command; the taps are common to all.
    pub(super) recordings: Vec<RecordingHandle>,
    /// What the copies amount to.
    pub(super) whole: Option<Arc<Whole>>,
    /// `start` has asked for a recording in NULL: it begins in READY.
    pub(super) wanted: bool,
    /// The recording was asked to end. It may still deliver what it holds, but takes nothing new.
    pub(super) ending: bool,
    /// The application has asked for the end.
    pub(super) dismissed: bool,
    /// The call has ended with its last sink pad. The next one is another call's.
    pub(super) deserted: bool,
    /// How the recording spreads parties over sessions.
    pub(super) mode: SessionMode,
    /// Asked by `pause` and not taken back: it outlives recordings and states, so that nothing slips through before
    /// one begins.
    pub(super) paused: bool,
    /// The streams of parties that left, by pad: their lines wait for successors until the pad goes. And those that were told as ones
    /// that cannot be recorded, which the call has until then.
    pub(super) left: BTreeMap<u16, StreamId>,
    /// What the application must hear once the lock is free.
    pub(super) faults: Vec<Fault>,
}

/// What goes wrong on this side of the agent, each with its reason in words for people.
pub(super) enum Fault {
    /// A copy of a recording, counted from 0, cannot begin.
    Start { whole: Arc<Whole>, copy: usize, reason: String },
    /// A stream of a party cannot be recorded.
    Stream { dn: Option<String>, medium: Medium, reason: String },
    /// What is told by a WARNING alone, such as a command that was not taken.
    Command(String),
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
        settings.check(&self.parties().in_order()).map_err(|error| {
            gst::error_msg!(gst::ResourceError::Settings, ("The recording is configured wrongly: {error}"))
        })?;
        let pools = settings.pools();
        let agent = settings.agent.or_else(|| self.agent_of_context());
        let lease = Lease::acquire(agent.as_ref()).map_err(|error| {
            gst::error_msg!(gst::ResourceError::OpenReadWrite, ("The recording agent cannot start: {error}"))
        })?;
        if let Some((property, name)) = pools.into_iter().find(|(_, name)| !lease.has_pool(name)) {
            lease.end(Duration::ZERO);
            let error = SettingsError::UnknownPool { property, name };
            let text = format!("The recording is configured wrongly: {error}");
            return Err(gst::error_msg!(gst::ResourceError::Settings, ("{text}")));
        }
        let wanted = {
            let mut live = lock(self.live());
            live.lease = Some(lease);
            std::mem::take(&mut live.wanted)
        };
        if wanted {
            self.wish(Wish::Start);
        }
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
                if live.recordings.is_empty() {
                    self.open(live);
                }
            });
        }
    }

    /// PAUSED to READY, after the last packet: what is held is still delivered, by agent and engine alone.
    pub(super) fn call_ends(&self) {
        self.wish(Wish::Stop(StopReason::CallEnded));
        lock(self.live()).recordings.clear();
        self.sink_pads().for_each(|pad| pad.outlive_call());
    }

    /// Does what the application or the call wants. Never waits for the recorder.
    pub(super) fn wish(&self, wish: Wish) {
        self.with_live(|live| match wish {
            Wish::Start if live.lease.is_none() => live.wanted = true,
            Wish::Start => {
                let over = |recording: &RecordingHandle| {
                    let state = recording.state();
                    state.is_final() || state == RecordingState::Draining
                };
                if live.ending || live.recordings.iter().all(over) {
                    // Those that have failed need not wait any more.
                    live.order(Command::Stop(StopReason::Asked));
                    self.open(live);
                } else if live.recordings.iter().any(|copy| copy.state() == RecordingState::Failed) {
                    live.order(Command::Batch(self.introductions()));
                }
                live.order(Command::Start);
            }
            Wish::Stop(reason) => {
                live.dismissed |= reason == StopReason::Asked;
                live.wanted = false;
                self.stop(live, reason);
            }
            Wish::StopNow => {
                live.dismissed = true;
                live.wanted = false;
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

    /// Every copy of this recording has ended: those that have failed are not begun anew any more.
    pub(super) fn recording_ended(&self, whole: &Arc<Whole>) {
        self.with_live(|live| {
            if live.whole.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, whole)) {
                live.order(Command::Conclude);
            }
        });
    }

    /// A stream has ended, or gone with its pad. The call has ended when every one of its streams has.
    pub(super) fn stream_ended(&self) {
        self.with_live(|live| {
            // A party that had muted, and has gone with its pad, silences nobody any more.
            self.turn_gates(live);
            let mut pads = self.sink_pads().peekable();
            let deserted = pads.peek().is_none();
            if pads.all(|pad| pad.has_ended()) {
                live.deserted |= deserted && !live.recordings.is_empty() && !live.dismissed;
                self.stop(live, StopReason::CallEnded);
            }
        });
    }

    /// Opens a recording for a call whose first sink pad has come behind the last one of the call before, unless the
    /// application begins them. Answers whether it has.
    pub(super) fn open_anew(&self, live: &mut Live) -> bool {
        let opens = live.deserted && self.settings().records_from_the_first_packet();
        if opens {
            self.open(live);
        }
        opens
    }

    fn stop(&self, live: &mut Live, reason: StopReason) {
        self.sink_pads().for_each(|pad| pad.feed().disconnect());
        live.end(Command::Stop(reason));
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

    /// Opens a recording for the streams that are there, in every copy.
    fn open(&self, live: &mut Live) {
        let Some(lease) = live.lease.as_ref() else {
            gst::warning!(crate::CAT, imp = self, "there is no recording in state NULL");
            return;
        };
        let settings = self.settings();
        let (whole, named) = Whole::new(&settings);
        self.progress().begin(whole.clone());
        live.whole = Some(whole.clone());
        live.recordings.clear();
        let configs = named.map_err(|error| error.to_string()).and_then(|()| {
            settings.recordings(&self.parties().in_order()).map_err(|error| error.to_string())
        });
        let configs = match configs {
            Ok(configs) => configs.into_iter().map(Ok).collect(),
            Err(reason) => vec![Err(reason); whole.copies()],
        };
        for (copy, config) in configs.into_iter().enumerate() {
            let beside = live.recordings.first().map(RecordingHandle::session_mode);
            match config.and_then(|config| self.opened(lease, &whole, copy, config, beside)) {
                Ok(recording) => {
                    whole.watch(copy, recording.watch());
                    live.recordings.push(recording);
                }
                Err(reason) => {
                    let reason = format!("the recording cannot start: {reason}");
                    live.faults.push(Fault::Start { whole: whole.clone(), copy, reason });
                }
            }
        }
        let Some(first) = live.recordings.first() else { return };
        live.mode = first.session_mode();
        (live.ending, live.dismissed, live.deserted) = (false, false, false);
        if live.paused {
            live.order(Command::Pause);
        }
        live.left.clear();
        self.sink_pads().for_each(|pad| self.attach(live, &pad));
    }

    /// Opens one copy, whose parties are spread over sessions as those of the one `beside` it, if there is one.
    fn opened(
        &self,
        lease: &Lease,
        whole: &Arc<Whole>,
        copy: usize,
        mut config: RecordingConfig,
        beside: Option<SessionMode>,
    ) -> Result<RecordingHandle, String> {
        whole.names.give(&mut config);
        config.required_mode = beside;
        let (element, whole) = (self.obj().downgrade(), whole.clone());
        let heard = move |event: SessionEvent| {
            if let Some(element) = element.upgrade() {
                messages::tell(&element, &whole, copy, &event);
            }
        };
        lease.open(config, heard).map_err(|error| error.to_string())
    }
}

impl Live {
    /// Gives every copy of the recording a command, where there is one. What one does not take, the others do.
    pub(super) fn order(&mut self, command: Command) {
        for recording in &self.recordings {
            if let Err(error) = recording.command(command.clone()) {
                let reason = format!("the recording agent did not take a command: {error}");
                self.faults.push(Fault::Command(reason));
            }
        }
    }

    /// Has the recording end, by this command.
    fn end(&mut self, command: Command) {
        self.ending = true;
        self.whole.iter().for_each(|whole| whole.end());
        self.order(command);
    }
}
