//! The call's recording as a whole: its copies, each at a recorder of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use siprec_agent::{AgentError, StateWatch, new_uuid};
use siprec_model::{CallUuid, RecordingId, RecordingState, SessionEvent};
use siprec_session::{Copies, Indication, News, RecordingConfig};

use super::enums::{SiprecPolicy, SiprecState};
use super::settings::Settings;
use crate::sync::lock;

/// One recording of the call, in as many copies as there are recorders at once.
pub(super) struct Whole {
    copies: Mutex<Copies>,
    /// What each copy that could begin has come to, by its number. Locked before the copies.
    watches: Mutex<BTreeMap<usize, StateWatch>>,
    pub(super) names: Names,
    /// The call is to end when it cannot be recorded.
    pub(super) is_mandatory: bool,
}

impl Whole {
    /// A recording as the settings ask for it.
    ///
    /// # Errors
    /// The system gives no name to what the user has given none; the recording is there all the same, and cannot begin.
    pub(super) fn new(settings: &Settings) -> (Arc<Self>, Result<(), AgentError>) {
        let mut names = Names::set(settings);
        let named = names.complete();
        let whole = Self {
            copies: Mutex::new(Copies::new(settings.copies())),
            watches: Mutex::default(),
            names,
            is_mandatory: settings.policy == SiprecPolicy::Mandatory,
        };
        (Arc::new(whole), named)
    }

    /// How many copies there are to be.
    pub(super) fn copies(&self) -> usize {
        lock(&self.copies).count()
    }

    /// Takes note of what happened to a copy, counted from 0. Gives what that changes, and what is to be told of the call
    /// from now on.
    pub(super) fn note(&self, copy: usize, event: &SessionEvent) -> (Option<News>, Indication) {
        let mut copies = lock(&self.copies);
        (copies.note(copy, event), copies.indication())
    }

    /// The same of a copy that could not even begin.
    pub(super) fn refuse(&self, copy: usize, reason: &str) -> (Option<News>, Indication) {
        let mut copies = lock(&self.copies);
        (copies.refuse(copy, reason), copies.indication())
    }

    /// What is to be told of the call now.
    pub(super) fn indication(&self) -> Indication {
        lock(&self.copies).indication()
    }

    /// A copy, counted from 0, has begun.
    pub(super) fn watch(&self, copy: usize, watch: StateWatch) {
        lock(&self.watches).insert(copy, watch);
    }

    /// Where the recording is, whatever the application has heard so far: its handlers may take their time.
    fn state(&self) -> RecordingState {
        let watches = lock(&self.watches);
        lock(&self.copies).state_where(|copy| watches.get(&copy).map(StateWatch::state))
    }

    /// What ends from now on was meant to.
    pub(super) fn end(&self) {
        lock(&self.copies).end();
    }

    /// Each copy: its state, and its sessions.
    fn stats(&self) -> gst::Array {
        let watches = lock(&self.watches);
        let copies = lock(&self.copies);
        let session = |(call_id, session): (&str, &siprec_session::Session)| {
            let off = session.off.iter().map(|((dn, medium), reason)| {
                gst::Structure::builder("stream")
                    .field_if_some("dn", dn.as_deref())
                    .field("medium", medium.as_str())
                    .field("reason", reason)
                    .build()
                    .to_send_value()
            });
            gst::Structure::builder("session")
                .field("session", call_id)
                .field_if_some("recorder", session.recorder.as_deref())
                .field_if_some("dn", session.dn.as_deref())
                .field("state", SiprecState::from(session.state))
                .field("off", gst::Array::from_values(off))
                .build()
                .to_send_value()
        };
        let present =
            |copy: usize| watches.get(&copy).map_or_else(|| copies.state_of(copy), StateWatch::state);
        let copy = |copy: usize| {
            gst::Structure::builder("copy")
                .field("state", SiprecState::from(present(copy)))
                .field("sessions", gst::Array::from_values(copies.sessions_of(copy).map(session)))
                .build()
                .to_send_value()
        };
        gst::Array::from_values((0..copies.count()).map(copy))
    }
}

/// What a recording and its call are called, the same in every copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) recording_id: Option<String>,
    pub(super) call_uuid: Option<String>,
}

impl Names {
    /// Those that the user has set.
    pub(super) fn set(settings: &Settings) -> Self {
        Self { recording_id: settings.recording_id.clone(), call_uuid: settings.call_uuid.clone() }
    }

    /// Makes those that are missing.
    fn complete(&mut self) -> Result<(), AgentError> {
        for name in [&mut self.recording_id, &mut self.call_uuid] {
            if name.is_none() {
                *name = Some(new_uuid()?);
            }
        }
        Ok(())
    }

    /// Gives them to a copy.
    pub(super) fn give(&self, config: &mut RecordingConfig) {
        config.recording_id = self.recording_id.clone().map(RecordingId::new);
        config.call_uuid = self.call_uuid.clone().map(CallUuid::new);
    }
}

/// The element's latest recording, right even when notices to the application are late or lost.
#[derive(Default)]
pub(super) struct Progress(Mutex<Option<Arc<Whole>>>);

impl Progress {
    pub(super) fn state(&self) -> RecordingState {
        self.latest().map(|whole| whole.state()).unwrap_or_default()
    }

    /// The latest recording, if there was one.
    pub(super) fn latest(&self) -> Option<Arc<Whole>> {
        lock(&self.0).clone()
    }

    /// The copies of the latest recording; none before there was one.
    pub(super) fn copies(&self) -> gst::Array {
        self.latest().map_or_else(|| gst::Array::new::<gst::Structure>([]), |whole| whole.stats())
    }

    pub(super) fn begin(&self, whole: Arc<Whole>) {
        *lock(&self.0) = Some(whole);
    }

    /// Whether the application should hear of this recording's state: that of one which another has followed is not the
    /// element's any more.
    pub(super) fn is_latest(&self, whole: &Arc<Whole>) -> bool {
        lock(&self.0).as_ref().is_some_and(|latest| Arc::ptr_eq(latest, whole))
    }
}
