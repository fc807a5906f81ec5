//! One call's recording: streams, attempts at recorders, the session with the one that takes it, the end.

mod attempt;
mod belief;
mod companions;
mod end;
mod kept;
mod last_call;
mod leg;
mod lines;
mod parting;
mod protection;
mod reasons;
mod redirect;
mod repair;
mod rest;
mod silence;
mod slot;
mod slots;
mod streams;
mod tell;
mod tried;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, CallUuid, RecordingId, RecordingKey, RecordingState, StopReason};
use siprec_sip::Random;
use siprec_sip::sdp::MAX_MEDIA;

use crate::config::{RecordingConfig, SessionMode};
use crate::io::{Command, Input, Output};
use crate::parties::PartyKey;
use crate::session::RecordingSession;
use end::Outcome;
use leg::Leg;
use rest::{Forbidden, Rest, Unrecordable};
use slot::Slot;
use slots::Slots;

/// How long closed branches may take to say that they are gone.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Each stream goes to one recorder.
const COPY: u16 = 0;

/// One call's recording, without input, output, clock or chance of its own.
///
/// Give it what happens by [`handle`](Self::handle), then take what must be done from [`poll`](Self::poll) until it is
/// empty, and call `handle` with [`Input::Timer`] when [`next_deadline`](Self::next_deadline) has come. After
/// [`Output::Finished`] it does nothing more.
///
/// | state | what happens | until |
/// |---|---|---|
/// | idle | packets are held | every stream has a format, or 1 s after the first packet; without auto-start also [`Command::Start`] |
/// | attempting | recorder by recorder: choice, address, ports, INVITE | one answers, or all have failed |
/// | in session | offer and answer follow what is wanted | the end of the call, BYE, loss |
/// | draining | the call has ended; what is held is delivered | nothing is held, or the drain time is over |
/// | closing | CANCEL or BYE, branches are closed | all are gone |
///
/// One that [may begin anew](RecordingConfig::begins_anew) is idle again once it has failed, but for its state. So is one that has
/// failed since no stream of the call can be recorded: it begins with the first that can.
#[derive(Debug)]
pub struct Recording {
    config: RecordingConfig,
    id: RecordingId,
    call_uuid: CallUuid,
    random: Random,
    stage: Stage,
    /// The streams by their numbers within the recording.
    slots: Slots,
    /// The next number for a stream whose pad's own is taken.
    next_number: u16,
    /// RTCP names of the parties.
    cnames: BTreeMap<PartyKey, String>,
    paused: bool,
    /// Pads whose parties have muted, there or not.
    muted: BTreeSet<u16>,
    mode: SessionMode,
    /// The sessions: one for all, or one for each party. Those that have ended stay.
    legs: Vec<Leg>,
    /// How many attempts were begun, over all sessions.
    attempts: u32,
    /// Dialogs of ended sessions and failed attempts that are not over yet.
    former: Vec<(u32, RecordingSession)>,
    state: RecordingState,
    /// It has failed, and did not begin anew since.
    rest: Option<Rest>,
    /// Pads whose stream cannot be recorded, until one of theirs is.
    forbidden: BTreeMap<u16, Forbidden>,
    /// A stream cannot be recorded, and none is yet.
    unrecordable: Option<Unrecordable>,
    /// When the first packet of any stream came.
    begun: Option<Instant>,
    /// The time of the last input.
    handled: Instant,
    /// When it is settled at the latest what is in doubt of streams that have ended.
    judgement: Option<Instant>,
    output: VecDeque<Output>,
    /// [`Output::Released`] was given.
    is_released: bool,
}

#[derive(Debug)]
enum Stage {
    /// Not started. From the deadline on, streams without a format are no longer waited for.
    Idle { asked: bool, deadline: Option<Instant> },
    /// Started.
    Running,
    /// The call has ended.
    Draining {
        reason: StopReason,
        since: Instant,
        /// The time for it is nearly over: nothing more is delivered, and no recorder sought.
        is_last_call: bool,
    },
    /// The end is decided.
    Closing { outcome: Outcome, deadline: Instant },
    /// The application has been told; dialogs may still be open.
    Told,
    /// [`Output::Finished`] was given.
    Finished,
}

impl Recording {
    /// A recording that waits for its streams. `seed` must be unguessable: tags, branches and ids come from it.
    pub fn new(config: RecordingConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut random = Random::from_seed(seed);
        let id = config.recording_id.clone().unwrap_or_else(|| RecordingId::new(uuid(&mut random)));
        let call_uuid = config.call_uuid.clone().unwrap_or_else(|| CallUuid::new(uuid(&mut random)));
        Self {
            id,
            call_uuid,
            random,
            stage: Stage::Idle { asked: config.auto_start, deadline: None },
            slots: Slots::default(),
            next_number: MAX_MEDIA as u16,
            cnames: BTreeMap::new(),
            paused: false,
            muted: BTreeSet::new(),
            mode: config.session_mode(),
            legs: Vec::new(),
            attempts: 0,
            former: Vec::new(),
            state: RecordingState::Idle,
            rest: None,
            forbidden: BTreeMap::new(),
            unrecordable: None,
            begun: None,
            handled: now,
            judgement: None,
            output: VecDeque::new(),
            is_released: false,
            config,
        }
    }

    /// The recording's number within this process.
    pub fn key(&self) -> RecordingKey {
        self.config.key
    }

    /// The aggregate state.
    pub fn state(&self) -> RecordingState {
        self.state
    }

    /// Whether it does nothing more that the application would hear of: it has ended, and cannot be asked to
    /// [begin anew](RecordingConfig::begins_anew).
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Told | Stage::Finished)
    }

    /// The recording's name at the recorder, given or made.
    pub fn recording_id(&self) -> &RecordingId {
        &self.id
    }

    /// The call's name, given or made.
    pub fn call_uuid(&self) -> &CallUuid {
        &self.call_uuid
    }

    /// Takes something that happened. Input that no longer matters is ignored.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if matches!(self.stage, Stage::Finished) {
            return;
        }
        match input {
            Input::Command(command) => self.command(command, now),
            Input::Message(message) => self.message(message, now),
            Input::Recorder { attempt, choice } => self.chosen(attempt, *choice, now),
            Input::Transport(event) => self.transport(event, now),
            Input::Media(branch, event) => self.media(branch, event, now),
            Input::Timer => {}
        }
        self.settle(now);
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Output> {
        let next = self.output.pop_front();
        if next.is_none() {
            // A session spends nearly all of its life with nothing to say.
            self.output.shrink_to_fit();
        }
        next
    }

    /// When to give [`Input::Timer`], if nothing else comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let stage = match &self.stage {
            // Once it has passed, the first format that becomes known starts the recording.
            Stage::Idle { deadline, .. } => deadline.filter(|deadline| *deadline > self.handled),
            Stage::Closing { deadline, .. } => Some(*deadline),
            Stage::Running | Stage::Draining { .. } | Stage::Told | Stage::Finished => None,
        };
        let slots = self.slots.values().filter_map(|slot| slot.next_deadline(self.handled));
        let kept = self.slots.values().filter_map(|slot| self.next_kept_deadline(slot));
        let former = self.former.iter().filter_map(|(_, session)| session.next_deadline());
        let legs = self.legs.iter().filter_map(Leg::next_deadline);
        let rest = self.rest.as_ref().and_then(Rest::next_deadline);
        let released = self.released_at().filter(|_| !self.is_released);
        let judgement = self.judgement.filter(|judgement| *judgement > self.handled);
        stage
            .into_iter()
            .chain(rest)
            .chain(judgement)
            .chain(released)
            .chain(legs)
            .chain(slots)
            .chain(kept)
            .chain(former)
            .min()
    }

    fn command(&mut self, command: Command, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told) {
            return;
        }
        match command {
            Command::AddStream { slot, stream } => self.add_stream(slot, stream, now),
            Command::StreamFormat { stream, format } => self.describe(stream, format, now),
            Command::Unrecordable { stream, reason } => self.forbid(stream, reason, now),
            Command::StreamSecurity { stream, security } => {
                let kept_for = self.config.limits.hold_time;
                let slot = self.slots.values_mut().find(|slot| slot.carries(stream));
                slot.into_iter().for_each(|slot| slot.secure(security, kept_for, now));
            }
            Command::RemoveStream { stream } => self.remove_stream(stream, now),
            Command::PartyLeft { stream } => self.party_left(stream, now),
            Command::SetDn { slot, dn } => self.set_dn(slot, dn, false),
            Command::ReplaceParty { slot, dn } => self.set_dn(slot, dn, true),
            Command::PartyMoved { slot } => self.party_moved(slot),
            Command::Mute { slot, muted } => self.mute(slot, muted),
            Command::Batch(commands) => commands.into_iter().for_each(|command| self.command(command, now)),
            Command::Start => self.start(now),
            Command::Stop(reason) => self.stop(reason, now),
            Command::Part => self.part_now(now),
            Command::StopNow => self.stop_now(now),
            Command::Conclude if self.is_at_rest() => self.close(Outcome::Failed, now),
            Command::Conclude => {}
            Command::Pause => self.paused = true,
            Command::Resume => self.paused = false,
        }
    }

    fn start(&mut self, now: Instant) {
        if let Stage::Idle { asked, deadline } = &mut self.stage {
            *asked = true;
            deadline.get_or_insert(now + self.config.timers.auto_start);
            let mut commands = Vec::new();
            for slot in self.slots.values_mut() {
                slot.create(self.config.limits, &mut commands);
            }
            self.branches(commands);
        }
    }

    /// Ends at once. Where the agent has asked for the end, and its time is up, that is the reason.
    fn stop_now(&mut self, now: Instant) {
        self.give_up_farewells(now);
        let reason = match self.stage {
            Stage::Draining { reason: StopReason::Shutdown, .. }
            | Stage::Draining { is_last_call: true, .. } => StopReason::Shutdown,
            _ => StopReason::AskedAtOnce,
        };
        self.close(Outcome::Stopped(reason), now);
    }

    /// Does what the present facts ask for, until nothing more follows from them.
    fn settle(&mut self, now: Instant) {
        self.expire(now);
        self.tell_rest(now);
        loop {
            self.begin_when_ready(now);
            self.place_streams(now);
            // All else stays behind what begins an attempt, as if the choice were made here.
            if self.legs.iter().any(Leg::is_choosing) {
                return self.ask_for_a_recorder();
            }
            self.invite_when_bound(now);
            self.hear_late_farewells(now);
            self.recall_tails();
            self.repair(now);
            self.secure_sessions(now);
            self.end_silences(now);
            self.steer(now);
            let news = self.take_notices(now);
            // An attempt may have failed before anything was sent, and the next one is to be begun.
            let begins = self.legs.iter().any(Leg::is_choosing);
            if !self.close_drained(now) && !news && !begins {
                break;
            }
        }
        self.confirm(now);
        self.send();
        self.tell_state();
        self.finish_when_over();
    }

    /// Starts the first attempt when there is something to offer and no reason to wait.
    fn begin_when_ready(&mut self, now: Instant) {
        let Stage::Idle { asked: true, deadline } = self.stage else { return };
        if !self.has_come_to_rest() {
            return;
        }
        let live = || self.slots.values().filter(|slot| slot.is_live());
        let overdue = deadline.is_some_and(|deadline| now >= deadline);
        let ready = live().any(Slot::is_described) && (overdue || live().all(Slot::is_described));
        if ready {
            (self.rest, self.unrecordable) = (None, None);
            self.stage = Stage::Running;
        } else if overdue {
            self.tell_unrecordable();
        }
    }

    /// What recorders have for sure need not be kept.
    fn confirm(&mut self, now: Instant) {
        let mut commands = Vec::new();
        for (id, leg) in self.legs.iter_mut().enumerate().filter(|(_, leg)| leg.is_running()) {
            let Some(since) = leg.session_mut().and_then(|session| session.poll_confirmed(now)) else {
                continue;
            };
            let live = self.slots.values().filter(|slot| slot.is_of(id) && slot.is_live());
            commands.extend(live.map(|slot| BranchCommand::Confirm { branch: slot.branch(), since }));
        }
        self.branches(commands);
    }

    fn branches(&mut self, commands: Vec<BranchCommand>) {
        self.output.extend(commands.into_iter().map(Output::Branch));
    }
}

fn uuid(random: &mut Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    random_uuid(bytes)
}

/// The UUID of random bytes (RFC 9562 §5.4).
pub fn random_uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) | 4 << 76;
    let number = number & !(0x3 << 62) | 2 << 62;
    let hex = format!("{number:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}
