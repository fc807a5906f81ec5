//! One session of a recording: the attempts at recorders, and the m-lines of the one that takes it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use siprec_model::{BranchId, HangUp, OpenBranch, RecordingState, StopReason};

use super::lines::LineTable;
use super::repair::Repairs;
use super::tried::{Again, Tried};
use crate::branches::BranchMode;
use crate::io::Flow;
use crate::parties::PartyKey;
use crate::recorder::RecorderTarget;
use crate::security::Weaker;
use crate::session::{Ports, RecordingSession, Verdict, WantedLine};

/// One session, whichever recorder takes it.
#[derive(Debug)]
pub(super) struct Leg {
    /// Whose session it is; None for the session of all.
    pub(super) party: Option<PartyKey>,
    /// The recorders that were tried.
    pub(super) tried: Tried,
    /// The recorder of the present attempt.
    pub(super) recorder: Option<RecorderTarget>,
    /// Where its recorders have sent it, not tried yet.
    pub(super) redirects: VecDeque<RecorderTarget>,
    /// To how many places it was sent.
    pub(super) redirected: usize,
    /// Number of the present attempt, unique within the recording.
    pub(super) attempt: u32,
    /// The recorder has further addresses than that of the present attempt.
    pub(super) more: bool,
    pub(super) step: Step,
    pub(super) lines: LineTable,
    /// Call-ID of the present or last dialog.
    pub(super) call_id: Option<String>,
    /// The recorder that was lost while it had the session, until another has it.
    pub(super) lost: Option<Lost>,
    /// How often the session was lost in a row.
    pub(super) losses: u32,
    /// How many of its recorders were left since they did not report, although they answered and nothing was said of that.
    pub(super) unreported: u32,
    /// Why each recorder failed, in order.
    pub(super) failures: Vec<String>,
    /// Where the session is, as last told.
    pub(super) told: RecordingState,
    /// What the application was told of as weak.
    pub(super) weaknesses: Weaknesses,
    /// The attempt whose recorder was last said to take no stream at all.
    pub(super) takes_nothing: Option<u32>,
    /// The recorder was told that the session is over, and has not said yet that it has lived to the end.
    pub(super) parting: Option<Parting>,
    /// The call has ended, and what is from before a pause or mute leaves all the same.
    pub(super) speaks_out: bool,
    /// What was done about stretches that its recorders have missed.
    pub(super) repairs: Repairs,
    /// How it ended.
    pub(super) end: Option<LegEnd>,
    /// What the recorder has said of its own end.
    pub(super) said: HangUp,
}

/// What is weak in a session with one recorder, as it was told.
#[derive(Debug, Default)]
pub(super) struct Weaknesses {
    /// Number of the attempt that it is true of.
    attempt: u32,
    told: Vec<String>,
    weaker: Vec<Weaker>,
}

impl Weaknesses {
    /// Notes what is weak in the session of this attempt. Whether that is new.
    pub(super) fn note(&mut self, attempt: u32, reason: &str) -> bool {
        let told = &mut self.of(attempt).told;
        let is_new = !told.iter().any(|known| known == reason);
        if is_new {
            told.push(reason.to_owned());
        }
        is_new
    }

    /// The same of a suite, which is asked at each step.
    pub(super) fn note_weaker(&mut self, attempt: u32, weaker: Weaker) -> bool {
        let known = &mut self.of(attempt).weaker;
        let is_new = !known.contains(&weaker);
        if is_new {
            known.push(weaker);
        }
        is_new
    }

    fn of(&mut self, attempt: u32) -> &mut Self {
        if self.attempt != attempt {
            *self = Self { attempt, ..Self::default() };
        }
        self
    }
}

/// A recorder that was lost.
#[derive(Debug)]
pub(super) struct Lost {
    /// As its events named it.
    pub(super) recorder: String,
    /// When it was last alive for sure, receiver reports aside: what was sent since is kept for another one.
    pub(super) proof: Instant,
    /// The same as it is told: reports count, too.
    pub(super) alive: Instant,
    /// When it was lost.
    pub(super) at: Instant,
    pub(super) comeback: Comeback,
}

/// Whether recorders that are not there after a loss get time to be restarted, or to be reached again.
///
/// Where a host says at once that nobody is there (ICMP, TCP), or our own link is down, all of them can have failed before any can be
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comeback {
    /// They would get it until then. All are there so far.
    Unneeded { until: Instant },
    /// One was not there.
    Due { until: Instant },
    /// They have got it.
    Over,
}

/// How long after the loss, and after each try, they are tried again; after one that took longer, so soon.
pub(super) const COMEBACK: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_secs(1);

impl Lost {
    /// A recorder was not there.
    pub(super) fn miss(&mut self) {
        if let Comeback::Unneeded { until } = self.comeback {
            self.comeback = Comeback::Due { until };
        }
    }

    /// A recorder is back then, as it says.
    pub(super) fn put_off(&mut self, back: Instant) {
        if let Comeback::Unneeded { until } | Comeback::Due { until } = self.comeback {
            self.comeback = Comeback::Due { until: until.max(back) };
        }
    }

    /// Until when those that are not there get time: what was sent is kept for `kept_for`, and they are tried again once however short
    /// that is.
    fn await_comeback(&mut self, kept_for: Duration, now: Instant) -> Option<Instant> {
        let Comeback::Due { until } = self.comeback else { return None };
        let until = if now < until { until } else { now + PAUSE };
        let is_in_time = until <= (self.proof + kept_for).max(self.at + COMEBACK);
        self.comeback =
            if is_in_time { Comeback::Unneeded { until: until + COMEBACK } } else { Comeback::Over };
        is_in_time.then_some(until)
    }
}

/// The end of a session, of which it is not known yet whether the recorder has all that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parting {
    /// Why it ends.
    pub(super) reason: StopReason,
    /// The attempt that is over by our BYE.
    pub(super) attempt: u32,
    /// When the recorder of that was last alive for sure.
    pub(super) proof: Instant,
    /// It has not answered: what it may not have goes to the next one that accepts.
    pub(super) is_lost: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegEnd {
    /// As asked, or by the recorder. The application is told once the branches have given their account.
    Stopped { reason: StopReason, told: bool },
    /// No recorder was left.
    Failed,
}

/// What recorder was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// None yet.
    No,
    /// Any that will do.
    ForAny,
    /// The one that another has named.
    ForRedirect,
}

#[derive(Debug)]
pub(super) enum Step {
    /// The recorder is being chosen, or will be once those of other sessions are.
    Choosing { asked: Asked, deadline: Instant },
    /// All recorders have failed, some of which may be on their way back: they are tried once more then.
    Waiting { until: Instant },
    /// The recorder's address is being looked for.
    Resolving { deadline: Instant },
    /// The ports for the offer are being bound.
    Binding { flow: Flow, deadline: Instant },
    /// The dialog is there, from the INVITE on.
    Session { flow: Flow, session: Box<RecordingSession> },
    /// No attempt is under way.
    Over,
}

impl Leg {
    pub(super) fn new(party: Option<PartyKey>) -> Self {
        Self {
            party,
            tried: Tried::default(),
            recorder: None,
            redirects: VecDeque::new(),
            redirected: 0,
            attempt: 0,
            more: false,
            step: Step::Over,
            lines: LineTable::default(),
            call_id: None,
            failures: Vec::new(),
            told: RecordingState::Starting,
            lost: None,
            losses: 0,
            unreported: 0,
            weaknesses: Weaknesses::default(),
            takes_nothing: None,
            parting: None,
            speaks_out: false,
            repairs: Repairs::default(),
            end: None,
            said: HangUp::default(),
        }
    }

    /// Whether it has not ended.
    pub(super) fn is_active(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it goes on, as far as it is ours to say.
    pub(super) fn is_running(&self) -> bool {
        self.is_active() && self.parting.is_none()
    }

    /// Whether the present attempt has this number.
    pub(super) fn attempts(&self, attempt: u32) -> bool {
        self.attempt == attempt && self.is_active()
    }

    /// Whether the next recorder is awaited, or about to be.
    pub(super) fn is_choosing(&self) -> bool {
        self.asked().is_some()
    }

    /// What recorder was asked for, while one is awaited.
    pub(super) fn asked(&self) -> Option<Asked> {
        match self.step {
            Step::Choosing { asked, .. } => Some(asked),
            _ => None,
        }
    }

    /// Notes what recorder is asked for.
    pub(super) fn ask(&mut self, what: Asked) {
        if let Step::Choosing { asked, .. } = &mut self.step {
            *asked = what;
        }
    }

    /// Its recorder is left, and another one is sought. Where its recorders once sent it is forgotten: they may send it there again.
    pub(super) fn look_elsewhere(&mut self, again: Again) {
        let is_punctual = self.session().is_some_and(RecordingSession::is_punctual);
        self.unreported += u32::from(self.session().is_some_and(RecordingSession::was_unreported));
        if let Some(recorder) = &self.recorder {
            self.tried.lose(recorder, again);
            if is_punctual {
                self.tried.note_punctual(recorder);
            }
        }
        self.redirects.clear();
        self.redirected = 0;
    }

    /// No recorder is left; whether those that are not there get time to come back.
    pub(super) fn waits_for_a_comeback(&mut self, kept_for: Duration, now: Instant) -> bool {
        let until = self.lost.as_mut().and_then(|lost| lost.await_comeback(kept_for, now));
        if let Some(until) = until {
            self.step = Step::Waiting { until };
        }
        until.is_some()
    }

    /// Whether an attempt is under way that has no dialog yet.
    pub(super) fn is_before_dialog(&self) -> bool {
        matches!(
            self.step,
            Step::Choosing { .. } | Step::Waiting { .. } | Step::Resolving { .. } | Step::Binding { .. }
        )
    }

    pub(super) fn flow(&self) -> Option<Flow> {
        match &self.step {
            Step::Binding { flow, .. } | Step::Session { flow, .. } => Some(*flow),
            Step::Choosing { .. } | Step::Waiting { .. } | Step::Resolving { .. } | Step::Over => None,
        }
    }

    pub(super) fn session(&self) -> Option<&RecordingSession> {
        match &self.step {
            Step::Session { session, .. } => Some(session),
            _ => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut RecordingSession> {
        match &mut self.step {
            Step::Session { session, .. } => Some(session),
            _ => None,
        }
    }

    /// The session with the number of its attempt.
    pub(super) fn attempt_session(&mut self) -> Option<(u32, &mut RecordingSession)> {
        let attempt = self.attempt;
        self.session_mut().map(|session| (attempt, session))
    }

    /// Whether an attempt is under way that the recorder has not answered yet, or not by its handshakes.
    pub(super) fn is_attempting(&self) -> bool {
        match &self.step {
            Step::Choosing { .. } | Step::Waiting { .. } | Step::Resolving { .. } | Step::Binding { .. } => {
                true
            }
            Step::Session { session, .. } => session.is_inviting() || session.shakes_hands(),
            Step::Over => false,
        }
    }

    /// Whether the recorder has accepted, and something is wanted that is not agreed yet.
    pub(super) fn is_unsettled(&self) -> bool {
        self.session().is_some_and(|session| session.is_up() && !session.is_settled())
    }

    /// Whether the session is plain and is to be encrypted by an offer that is open or to come.
    pub(super) fn turns_secured(&self) -> bool {
        self.session().is_some_and(|session| session.is_secured() && session.is_up() && !session.is_settled())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Choosing { deadline, .. }
            | Step::Waiting { until: deadline }
            | Step::Resolving { deadline }
            | Step::Binding { deadline, .. } => Some(*deadline),
            Step::Session { session, .. } => session.next_deadline(),
            Step::Over => None,
        }
    }

    pub(super) fn want(&mut self, wanted: &[WantedLine]) {
        if let Some(session) = self.session_mut() {
            session.want(wanted);
        }
    }

    pub(super) fn offer(&mut self, now: Instant) {
        if let Some(session) = self.session_mut() {
            session.offer_difference(now);
        }
    }

    /// What a branch is to do while nothing asks for silence; None where it goes on as it is.
    pub(super) fn verdict(&self, branch: BranchId) -> Option<Verdict> {
        let holding = || Some(Verdict { mode: BranchMode::Holding, off: None });
        match (&self.step, self.lines.index(branch.slot)) {
            (Step::Session { session, .. }, Some(index)) => session.verdict(branch, index),
            _ => holding(),
        }
    }

    /// Whether its recorder was last said to take no stream at all.
    pub(super) fn takes_nothing(&self) -> bool {
        self.takes_nothing == Some(self.attempt)
    }

    /// The DTLS association that a branch with these ports should have by now.
    pub(super) fn association(&self, branch: BranchId, ports: Ports) -> Option<OpenBranch> {
        self.session()?.association(branch, ports, self.lines.index(branch.slot)?)
    }

    /// Takes the session out; nothing is attempted any more.
    pub(super) fn finish(&mut self) -> Option<(u32, RecordingSession)> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Session { session, .. } => Some((self.attempt, *session)),
            _ => None,
        }
    }
}
