//! The one loop: what happens goes into the recordings, what they want done is done.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use siprec_model::{RecordingKey, RecordingState, StopReason};
use siprec_session::{Command, Input, TransportEvent};
use siprec_sip::{HeaderName, Headers, Message, Request};
use siprec_transport::{
    Destination, Incoming, LostConnection, Received, ResolveError, SendFailure, Target, Transport,
};
use tokio::sync::mpsc;

use crate::end::{Stopping, panicked};
use crate::entry::{Entry, unmade};
use crate::farewell::{self, Farewells, Sought};
use crate::health::Found;
use crate::idle::Idle;
use crate::inbox::{Inbox, Item, Opening};
use crate::notifier::Notifier;
use crate::outbox::Outbox;
use crate::pool::{self, Checks, Roster};
use crate::redact::Redacted;
use crate::responder::Responder;
use crate::runtime::AgentRuntime;
use crate::state::Keeper;

/// Messages taken in one turn, before timers and commands have theirs.
const MESSAGES: usize = 64;
/// Timers run in one turn, before messages have theirs again.
const TIMERS: usize = 64;
/// Resolved names that wait for the loop; further ones wait in their tasks.
const RESOLUTIONS: usize = 256;
/// A recording that asks for the time again at once is told it no more often than this.
const TICK: Duration = Duration::from_millis(1);
/// At the end, the longest time for what is queued to leave the sockets.
const FLUSH: Duration = Duration::from_millis(500);

/// What the loop is made from.
pub(crate) struct Parts {
    pub(crate) transport: Transport,
    pub(crate) arrivals: mpsc::Receiver<Incoming>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) outbox: Outbox,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) idle: Arc<Idle>,
    pub(crate) roster: Arc<Mutex<Roster>>,
    /// Writes dialogs down.
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) responder: Responder,
    pub(crate) advertised: Option<IpAddr>,
    pub(crate) media: Option<IpAddr>,
    pub(crate) resolve_timeout: Duration,
    /// Keeps the loop's own threads.
    pub(crate) _runtime: Arc<AgentRuntime>,
}

/// The loop's state.
pub(crate) struct Worker {
    pub(crate) parts: Parts,
    pub(crate) recordings: HashMap<RecordingKey, Entry>,
    /// Whose a Call-ID is.
    pub(crate) dialogs: HashMap<String, Claim>,
    pub(crate) timers: BTreeSet<(Instant, RecordingKey)>,
    /// What came before this is read, although timers of before it have not run yet.
    pub(crate) read_until: Option<Instant>,
    /// Inputs that follow from effects.
    pub(crate) pending: VecDeque<(RecordingKey, Input)>,
    pub(crate) resolving: mpsc::Sender<Resolution>,
    resolved: mpsc::Receiver<Resolution>,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) checks: Checks,
    pub(crate) finding: mpsc::Sender<Found>,
    found: mpsc::Receiver<Found>,
    pub(crate) farewells: Farewells,
    pub(crate) seeking: mpsc::Sender<Sought>,
    sought: mpsc::Receiver<Sought>,
}

/// However the loop ends, the doors are shut, so that nobody hands it what it will never do.
struct End {
    inbox: Arc<Inbox>,
    notifier: Arc<Notifier>,
    idle: Arc<Idle>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.inbox.end();
        self.notifier.close();
        self.idle.set_ended();
    }
}

/// The attempt that a Call-ID belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialog {
    pub(crate) key: RecordingKey,
    pub(crate) attempt: u32,
}

/// A Call-ID of ours.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) dialog: Dialog,
    /// The tag that we gave ourselves: requests of the dialog carry it in To (RFC 3261 §12.2.2).
    pub(crate) tag: Option<String>,
}

/// What became of a name.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) dialog: Dialog,
    pub(crate) target: Target,
    /// The recorder itself, not a later hop.
    pub(crate) first: bool,
    pub(crate) outcome: Result<Vec<Destination>, ResolveError>,
}

impl Worker {
    pub(crate) fn new(parts: Parts, checks: Checks, farewells: Farewells) -> Self {
        let (resolving, resolved) = mpsc::channel(RESOLUTIONS);
        let (finding, found) = mpsc::channel(RESOLUTIONS);
        let (seeking, sought) = mpsc::channel(RESOLUTIONS);
        Self {
            parts,
            recordings: HashMap::new(),
            dialogs: HashMap::new(),
            timers: BTreeSet::new(),
            read_until: None,
            pending: VecDeque::new(),
            resolving,
            resolved,
            stopping: None,
            checks,
            finding,
            found,
            farewells,
            seeking,
            sought,
        }
    }

    /// Runs until the agent is shut down and every recording has ended or was given up. For recorders that were given up it does not go on.
    pub(crate) async fn run(mut self) {
        let end = End {
            inbox: Arc::clone(&self.parts.inbox),
            notifier: Arc::clone(&self.parts.notifier),
            idle: Arc::clone(&self.parts.idle),
        };
        let keeper = self.parts.keeper.clone();
        self.follow_pools();
        while self.stopping.is_none() || !self.is_released() {
            let deadline = self.next_deadline(Instant::now());
            tokio::select! {
                () = end.inbox.filled() => self.take_inbox(),
                Some(incoming) = self.parts.arrivals.recv() => self.take_arrivals(incoming),
                Some(found) = self.found.recv() => self.take_found(found),
                () = farewell::found(keeper.as_deref()) => self.take_left(),
                Some(sought) = self.sought.recv() => self.take_sought(sought),
                Some(resolution) = self.resolved.recv() => self.take_resolution(resolution),
                () = sleep_until(deadline) => {}
            }
            // Answers first: who has answered is not to be blamed for silence.
            self.take_waiting();
            self.catch_up().await;
            self.run_timers(Instant::now());
        }
        self.let_go();
        // Whoever still looks for a name holds the sockets.
        self.resolved.close();
        self.found.close();
        self.sought.close();
        if let Some(keeper) = keeper {
            keeper.close(FLUSH);
        }
        self.parts.transport.close(FLUSH).await;
    }

    fn take_inbox(&mut self) {
        let (items, dropped) = self.parts.inbox.take();
        if dropped > 0 {
            tracing::warn!(dropped, "media events that only inform were dropped: the agent is behind");
        }
        for item in items {
            match item {
                Item::Open(opening) => self.open(*opening),
                Item::Command(key, command) => {
                    if let Some(entry) = self.recordings.get(&key) {
                        entry.shared.release();
                    }
                    self.feed(key, Input::Command(command));
                }
                Item::Media(branch, event) => self.feed(branch.recording, Input::Media(branch, event)),
                Item::Pools => self.follow_pools(),
                Item::Shutdown(deadline) => self.shut_down(deadline),
                Item::Leave(deadline) => self.leave_all(deadline),
            }
        }
    }

    pub(crate) fn take_arrivals(&mut self, first: Incoming) {
        self.take_arrival(first);
        self.take_waiting();
    }

    fn take_waiting(&mut self) {
        for _ in 0..MESSAGES {
            match self.parts.arrivals.try_recv() {
                Ok(next) => self.take_arrival(next),
                Err(_) => return,
            }
        }
    }

    fn take_arrival(&mut self, arrival: Incoming) {
        match arrival {
            Incoming::Message(received) => self.take_message(received),
            Incoming::Failed(failure) => self.take_failure(failure),
            Incoming::Lost(connection) => self.take_lost(&connection),
        }
    }

    /// A connection has ended that dialogs use: each asks its recorder, over a new one.
    fn take_lost(&mut self, connection: &LostConnection) {
        let attempts = |(key, entry): (&RecordingKey, &Entry)| {
            entry.attempts_over(connection).map(|attempt| (*key, attempt)).collect::<Vec<_>>()
        };
        let concerned: Vec<_> = self.recordings.iter().flat_map(attempts).collect();
        for (key, attempt) in concerned {
            self.feed(key, Input::Transport(TransportEvent::ConnectionLost { attempt }));
        }
    }

    fn take_message(&mut self, Received { message, source }: Received) {
        tracing::debug!("received from {source}\n{}", Redacted(&message.to_bytes()));
        if let Some(claim) = self.claim(&message)
            && claim.takes(&message)
        {
            let key = claim.dialog.key;
            return self.feed(key, Input::Message(message));
        }
        let Some(message) = self.take_farewell(message) else { return };
        let request = match message {
            Message::Request(request) => request,
            // A late response to a dialog that is over needs no answer.
            Message::Response(response) => return self.take_health(response),
        };
        self.answer_stray(&request);
    }

    /// Answers a request that belongs to no dialog.
    pub(crate) fn answer_stray(&self, request: &Request) {
        if let Some(response) = self.parts.responder.answer(request) {
            self.send_response(response.into());
        }
    }

    fn take_failure(&mut self, SendFailure { message, remote, error }: SendFailure) {
        tracing::info!(%remote, %error, "a message was not delivered");
        if let (Some(claim), Message::Request(_)) = (self.claim(&message), &message) {
            self.fail(claim.dialog, error.to_string());
            self.run_pending();
        } else if let (Some(call_id), Message::Request(_)) =
            (call_id(message.headers()).filter(|id| self.farewells.knows(id)), &message)
        {
            self.fail_farewell(&call_id, &error.to_string());
        } else {
            self.take_unasked(&message, error.to_string());
        }
    }

    fn take_resolution(&mut self, Resolution { dialog, target, first, outcome }: Resolution) {
        let Dialog { key, attempt } = dialog;
        if first {
            let event = match outcome {
                Ok(destinations) => self.begin_attempt(dialog, target, destinations),
                Err(error) => TransportEvent::Unresolved { attempt, reason: error.to_string() },
            };
            return self.feed(key, Input::Transport(event));
        }
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        for way in entry.routes.resolved(attempt, &target, outcome) {
            self.go(dialog, way);
        }
        self.run_pending();
    }

    fn open(&mut self, mut opening: Opening) {
        let key = opening.config.key;
        let events = std::mem::replace(&mut opening.events, Box::new(|_| {}));
        let shared = Arc::clone(&opening.shared);
        self.parts.notifier.open(key, events);
        match catch_unwind(AssertUnwindSafe(|| Entry::open(opening))) {
            Ok(entry) => {
                self.recordings.insert(key, entry);
                if self.stopping.is_some() {
                    self.feed(key, Input::Command(Command::Stop(StopReason::Shutdown)));
                }
            }
            Err(_) => {
                shared.set_state(RecordingState::Failed);
                shared.set_over();
                self.tell_failed(key, &unmade(key), panicked());
                self.leave(key);
            }
        }
    }

    /// Tells a recording something, and does all that follows.
    pub(crate) fn feed(&mut self, key: RecordingKey, input: Input) {
        self.pending.push_back((key, input));
        self.run_pending();
    }

    pub(crate) fn run_pending(&mut self) {
        while let Some((key, input)) = self.pending.pop_front() {
            if catch_unwind(AssertUnwindSafe(|| self.step(key, input))).is_err() {
                tracing::error!(recording = %key, "a recording panicked; the others go on");
                self.give_up(key, panicked());
            }
        }
    }

    fn step(&mut self, key: RecordingKey, input: Input) {
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        for output in entry.handle(input, Instant::now()) {
            self.carry_out(key, output);
        }
        self.schedule(key);
    }

    fn schedule(&mut self, key: RecordingKey) {
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        let earliest = Instant::now() + TICK;
        let deadline = entry.next_deadline().map(|deadline| deadline.max(earliest));
        if entry.deadline == deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut entry.deadline, deadline) {
            self.timers.remove(&(old, key));
        }
        if let Some(new) = deadline {
            self.timers.insert((new, key));
        }
    }

    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let timer = self.timers.first().map(|(deadline, _)| *deadline);
        let retry = self.parts.outbox.next_retry(now);
        let stop = self.stopping.as_ref().map(Stopping::next_deadline);
        let own = [self.checks.next_deadline(), self.farewells.next_deadline()].into_iter().flatten().min();
        let own = own.filter(|_| self.stopping.is_none()).map(|deadline| deadline.max(now + TICK));
        [timer, retry, stop, own].into_iter().flatten().min()
    }

    fn run_timers(&mut self, now: Instant) {
        for refused in self.parts.outbox.retry(now) {
            self.refused(refused);
        }
        self.run_pending();
        for _ in 0..TIMERS {
            let Some(&(deadline, key)) = self.timers.first().filter(|(deadline, _)| *deadline <= now) else {
                break;
            };
            self.timers.remove(&(deadline, key));
            if let Some(entry) = self.recordings.get_mut(&key) {
                entry.deadline = None;
            }
            self.feed(key, Input::Timer);
        }
        if self.stopping.is_none() {
            self.run_checks(now);
            self.run_farewells(now);
        }
        self.run_stop(now);
    }

    pub(crate) fn roster(&self) -> MutexGuard<'_, Roster> {
        pool::lock(&self.parts.roster)
    }

    fn claim(&self, message: &Message) -> Option<&Claim> {
        self.dialogs.get(&call_id(message.headers())?)
    }
}

impl Claim {
    /// Whether a message with the Call-ID belongs to the dialog; a request may be somebody's guess.
    fn takes(&self, message: &Message) -> bool {
        match message {
            Message::Response(_) => true,
            Message::Request(request) => request.headers.to().is_ok_and(|to| to.tag() == self.tag.as_deref()),
        }
    }
}

/// Has the outcome of a search told to the loop, unless that is over.
pub(crate) async fn tell<T>(teller: mpsc::Sender<T>, search: impl Future<Output = T>) {
    tokio::select! {
        // The loop may be over by now.
        outcome = search => drop(teller.send(outcome).await),
        () = teller.closed() => {}
    }
}

/// The Call-ID byte by byte as far as a text can hold it; it is compared with nothing but itself.
pub(crate) fn call_id(headers: &Headers) -> Option<String> {
    headers.get(&HeaderName::CallId).map(|value| value.to_string_lossy().into_owned())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
