//! One call's recordings at several recorders at once, as one: what is told of the whole.

use std::collections::BTreeMap;

use siprec_model::{Medium, RecordingState, SessionEvent, SessionEventKind, StopReason};

/// The recordings of one call at several recorders at once: its copies.
///
/// Each is a [`Recording`](crate::Recording) of its own that knows nothing of the others. This follows their events, in
/// the order in which the application hears them, and says what they amount to.
///
/// The state of the whole is that of the copy that is best off: `recording` before `paused` before `starting` before
/// `draining` before `idle` before `stopped` before `failed`. Once the end was asked for, `draining` comes before `starting`.
#[derive(Debug)]
pub struct Copies {
    copies: Vec<Copy>,
    /// The state of the whole, as last told.
    told: RecordingState,
    /// The end was asked for, or the call is over.
    ending: bool,
    /// That recording is impossible was told.
    impossible: bool,
}

#[derive(Debug, Default)]
struct Copy {
    state: RecordingState,
    /// Why it is in that state.
    reason: String,
    /// Its sessions with recorders, by Call-ID.
    sessions: BTreeMap<String, Session>,
    /// Its end was asked for: `stop`, the end of the call, or the agent was shut down.
    meant: bool,
}

/// A session of a copy with a recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The recorder, as events name it.
    pub recorder: Option<String>,
    /// The party whose session it is, where it is one's alone.
    pub dn: Option<String>,
    /// `Starting`, `Recording` or `Paused`.
    pub state: RecordingState,
    /// Whose medium is not recorded although the call has it, and why.
    pub off: BTreeMap<(Option<String>, Medium), String>,
    /// The recorder has accepted it, and takes none of its streams.
    pub takes_nothing: bool,
}

/// A copy has another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Its state.
    pub copy: RecordingState,
    /// Why, in words for people.
    pub copy_reason: String,
    /// The state of the whole.
    pub whole: RecordingState,
    /// How many copies record now.
    pub recording: usize,
    /// Why the whole has the state that it has, in words for people, where that is another one than before.
    pub changed: Option<String>,
    /// No copy records any more or ever will, although nobody asked for that and the call goes on: why each has ended.
    /// Once until one of them begins anew.
    pub impossible: Option<String>,
}

/// What a call's party is told of its recording (`GSIP_RECORD`, `protocol` 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indication {
    /// It is recorded.
    On,
    /// Its recording is paused.
    Paused,
    /// It is not recorded.
    Off,
}

impl Indication {
    /// The value of `GSIP_RECORD`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "ON",
            Self::Paused => "PAUSED",
            Self::Off => "OFF",
        }
    }
}

/// The states of a copy, the best first.
const BEST_FIRST: [RecordingState; 7] = [
    RecordingState::Recording,
    RecordingState::Paused,
    RecordingState::Starting,
    RecordingState::Draining,
    RecordingState::Idle,
    RecordingState::Stopped,
    RecordingState::Failed,
];

impl Copies {
    /// So many copies, of which nothing was heard yet.
    pub fn new(count: usize) -> Self {
        Self {
            copies: std::iter::repeat_with(Copy::default).take(count).collect(),
            told: RecordingState::Idle,
            ending: false,
            impossible: false,
        }
    }

    /// How many there are to be.
    pub fn count(&self) -> usize {
        self.copies.len()
    }

    /// The end was asked for, or the call is over: what ends now was meant to.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Takes note of what happened to a copy, counted from 0. Says so where that has another state now.
    pub fn note(&mut self, copy: usize, event: &SessionEvent) -> Option<News> {
        if let SessionEventKind::StateChanged { state, reason } = &event.kind {
            return self.change(copy, *state, reason);
        }
        self.copies.get_mut(copy)?.note(event);
        None
    }

    /// A copy, counted from 0, could not even begin.
    pub fn refuse(&mut self, copy: usize, reason: &str) -> Option<News> {
        self.change(copy, RecordingState::Failed, reason)
    }

    /// The state of the whole, as far as events have told it.
    pub fn state(&self) -> RecordingState {
        self.state_where(|_| None)
    }

    /// The state of the whole where copies, counted from 0, have come as far as `present` says: events may be late.
    pub fn state_where(&self, present: impl Fn(usize) -> Option<RecordingState>) -> RecordingState {
        let state_of = |(number, copy): (usize, &Copy)| present(number).unwrap_or(copy.state);
        let has =
            |state: &RecordingState| self.copies.iter().enumerate().map(state_of).any(|of| of == *state);
        // Nothing begins any more: one that is late with its end does not take the whole back.
        let draining = Some(RecordingState::Draining).filter(|state| self.ending && has(state));
        match BEST_FIRST.into_iter().find(has).unwrap_or_default() {
            RecordingState::Starting => draining.unwrap_or(RecordingState::Starting),
            best => best,
        }
    }

    /// The state of a copy, counted from 0.
    pub fn state_of(&self, copy: usize) -> RecordingState {
        self.copies.get(copy).map(|copy| copy.state).unwrap_or_default()
    }

    /// The sessions of a copy, counted from 0, by Call-ID.
    pub fn sessions_of(&self, copy: usize) -> impl Iterator<Item = (&str, &Session)> {
        let sessions = self.copies.get(copy).into_iter().flat_map(|copy| &copy.sessions);
        sessions.map(|(call_id, session)| (call_id.as_str(), session))
    }

    /// Whether what the call says now is recorded by any recorder, or is not because its recording is paused. What is
    /// only still delivered is not recorded.
    pub fn indication(&self) -> Indication {
        let is_live = |copy: &&Copy| !copy.state.is_final() && copy.state != RecordingState::Draining;
        let sessions = || self.copies.iter().filter(is_live).flat_map(|copy| copy.sessions.values());
        let any = |state: RecordingState| sessions().any(|session| session.state == state);
        if sessions().any(|session| session.state == RecordingState::Recording && !session.takes_nothing) {
            Indication::On
        } else if any(RecordingState::Paused) {
            Indication::Paused
        } else {
            Indication::Off
        }
    }

    fn change(&mut self, number: usize, state: RecordingState, reason: &str) -> Option<News> {
        let copy = self.copies.get_mut(number)?;
        if std::mem::replace(&mut copy.state, state) == state {
            return None;
        }
        reason.clone_into(&mut copy.reason);
        copy.meant = match state {
            RecordingState::Draining => true,
            RecordingState::Stopped | RecordingState::Failed => copy.meant,
            _ => false,
        };
        if state.is_final() {
            copy.sessions.clear();
        } else {
            self.impossible = false;
        }
        let whole = self.state();
        let is_changed = std::mem::replace(&mut self.told, whole) != whole;
        Some(News {
            copy: state,
            copy_reason: reason.to_owned(),
            whole,
            recording: self.copies.iter().filter(|copy| copy.state == RecordingState::Recording).count(),
            changed: is_changed.then(|| self.reason(number)),
            impossible: self.impossible(),
        })
    }

    /// Why the whole has its state since this copy has changed.
    fn reason(&self, changed: usize) -> String {
        let state = self.state();
        if state == RecordingState::Failed {
            return self.reasons();
        }
        let has_it = |copy: &&Copy| copy.state == state;
        let found = self.copies.get(changed).filter(has_it).or_else(|| self.copies.iter().find(has_it));
        found.map(|copy| copy.reason.clone()).unwrap_or_default()
    }

    /// Why every copy has ended, the first time that all have without being asked to.
    fn impossible(&mut self) -> Option<String> {
        let is_over = self.copies.iter().all(|copy| copy.state.is_final());
        let was_meant = self.ending || self.copies.iter().any(|copy| copy.meant);
        if !is_over || was_meant || std::mem::replace(&mut self.impossible, true) {
            return None;
        }
        Some(self.reasons())
    }

    fn reasons(&self) -> String {
        if let [copy] = self.copies.as_slice() {
            return copy.reason.clone();
        }
        let reasons =
            self.copies.iter().zip(1..).map(|(copy, number)| format!("copy {number}: {}", copy.reason));
        reasons.collect::<Vec<_>>().join("; ")
    }
}

impl Copy {
    fn note(&mut self, event: &SessionEvent) {
        if matches!(event.kind, SessionEventKind::Stopped { reason: StopReason::Shutdown, .. }) {
            self.meant = true;
        }
        let Some(call_id) = &event.info.session else { return };
        let of_medium = |medium: Medium| (event.info.dn.clone(), medium);
        match &event.kind {
            SessionEventKind::Started | SessionEventKind::Resumed => {
                self.session(call_id, event).state = RecordingState::Recording;
            }
            SessionEventKind::Paused => self.session(call_id, event).state = RecordingState::Paused,
            SessionEventKind::MediumOff { medium, reason, others } => {
                let session = self.session(call_id, event);
                session.takes_nothing = !others;
                session.off.insert(of_medium(*medium), reason.clone());
            }
            SessionEventKind::MediumOn { medium } => {
                let session = self.session(call_id, event);
                session.takes_nothing = false;
                session.off.remove(&of_medium(*medium));
            }
            SessionEventKind::Stopped { .. } | SessionEventKind::Failed { .. } => {
                self.sessions.remove(call_id);
            }
            _ => {}
        }
    }

    fn session(&mut self, call_id: &str, event: &SessionEvent) -> &mut Session {
        self.sessions.entry(call_id.to_owned()).or_insert_with(|| Session {
            recorder: event.info.recorder.clone(),
            dn: event.info.dn.clone(),
            state: RecordingState::Starting,
            off: BTreeMap::new(),
            takes_nothing: false,
        })
    }
}
