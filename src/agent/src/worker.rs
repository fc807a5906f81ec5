//! The one loop: what happens goes into the recordings, what they want done is done.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, FailureReason, RecordingKey, RecordingState, SessionEvent,
    SessionEventKind, SessionInfo, StopReason,
};
use siprec_session::{Command, Flow, Input, Output, TransportEvent};
use siprec_sip::{HeaderName, Message, Request, Uri};
use siprec_transport::{
    Destination, Incoming, Protocol, Received, ResolveError, SendFailure, Target, Transport,
};
use tokio::sync::mpsc;
use tracing::instrument::WithSubscriber as _;

use crate::entry::{Entry, Panicked, unmade};
use crate::idle::Idle;
use crate::inbox::{Inbox, Item, Opening};
use crate::notifier::Notifier;
use crate::outbox::{Outbox, Refused};
use crate::redact::Redacted;
use crate::responder::Responder;
use crate::routes::Way;
use crate::runtime::AgentRuntime;

/// Messages taken in one turn, before timers and commands have theirs.
const MESSAGES: usize = 64;
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
    pub(crate) responder: Responder,
    pub(crate) advertised: Option<IpAddr>,
    pub(crate) media: Option<IpAddr>,
    pub(crate) resolve_timeout: Duration,
    /// Keeps the loop's own threads.
    pub(crate) runtime: Arc<AgentRuntime>,
}

/// The loop's state.
pub(crate) struct Worker {
    parts: Parts,
    recordings: HashMap<RecordingKey, Entry>,
    /// Whose a Call-ID is.
    dialogs: HashMap<String, Claim>,
    timers: BTreeSet<(Instant, RecordingKey)>,
    /// Inputs that follow from effects.
    pending: VecDeque<(RecordingKey, Input)>,
    resolving: mpsc::Sender<Resolution>,
    resolved: mpsc::Receiver<Resolution>,
    stopping: Option<Stopping>,
}

/// The attempt that a Call-ID belongs to.
#[derive(Clone, Copy, Debug)]
struct Dialog {
    key: RecordingKey,
    attempt: u32,
}

/// A Call-ID of ours.
#[derive(Debug)]
struct Claim {
    dialog: Dialog,
    /// The tag that we gave ourselves: requests of the dialog carry it in To (RFC 3261 §12.2.2).
    tag: Option<String>,
}

/// What became of a name.
#[derive(Debug)]
struct Resolution {
    dialog: Dialog,
    target: Target,
    /// The recorder itself, not a later hop.
    first: bool,
    outcome: Result<Destination, ResolveError>,
}

/// The end of the agent.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    /// What has not ended by then is ended at once; `None` when that was done.
    last_call: Option<Instant>,
    /// What has not ended by then is given up.
    deadline: Instant,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        let (resolving, resolved) = mpsc::channel(RESOLUTIONS);
        Self {
            parts,
            recordings: HashMap::new(),
            dialogs: HashMap::new(),
            timers: BTreeSet::new(),
            pending: VecDeque::new(),
            resolving,
            resolved,
            stopping: None,
        }
    }

    /// Runs until the agent is shut down and every recording has ended or was given up.
    pub(crate) async fn run(mut self) {
        let inbox = Arc::clone(&self.parts.inbox);
        while self.stopping.is_none() || !self.recordings.is_empty() {
            let deadline = self.next_deadline(Instant::now());
            tokio::select! {
                () = inbox.filled() => self.take_inbox(),
                Some(incoming) = self.parts.arrivals.recv() => self.take_arrivals(incoming),
                Some(resolution) = self.resolved.recv() => self.take_resolution(resolution),
                () = sleep_until(deadline) => {}
            }
            self.run_timers(Instant::now());
        }
        let Parts { transport, notifier, idle, runtime, .. } = self.parts;
        transport.close(FLUSH).await;
        notifier.close();
        idle.set_ended();
        drop(runtime);
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
                Item::Shutdown(deadline) => self.shut_down(deadline),
            }
        }
    }

    fn take_arrivals(&mut self, first: Incoming) {
        let mut next = Some(first);
        for _ in 0..MESSAGES {
            match next {
                Some(Incoming::Message(received)) => self.take_message(received),
                Some(Incoming::Failed(failure)) => self.take_failure(failure),
                None => return,
            }
            next = self.parts.arrivals.try_recv().ok();
        }
        if let Some(Incoming::Message(received)) = next {
            self.take_message(received);
        } else if let Some(Incoming::Failed(failure)) = next {
            self.take_failure(failure);
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
        // A late response to a dialog that is over needs no answer.
        let Message::Request(request) = message else { return };
        if let Some(response) = self.parts.responder.answer(&request) {
            self.send_response(response.into());
        }
    }

    fn take_failure(&mut self, SendFailure { message, remote, error }: SendFailure) {
        tracing::info!(%remote, %error, "a message was not delivered");
        if let (Some(claim), Message::Request(_)) = (self.claim(&message), &message) {
            let Dialog { key, attempt } = claim.dialog;
            self.feed(key, Input::Transport(TransportEvent::Failed { attempt, reason: error.to_string() }));
        }
    }

    fn take_resolution(&mut self, Resolution { dialog, target, first, outcome }: Resolution) {
        let Dialog { key, attempt } = dialog;
        if first {
            let event = match outcome {
                Ok(destination) => self.begin_attempt(dialog, target, destination),
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
        match Entry::open(opening) {
            Ok(entry) => {
                self.recordings.insert(key, entry);
                if self.stopping.is_some() {
                    self.feed(key, Input::Command(Command::Stop(StopReason::Shutdown)));
                }
            }
            Err(Panicked) => {
                shared.set_state(RecordingState::Failed);
                self.tell_failed(key, &unmade(key), panicked());
                self.leave(key);
            }
        }
    }

    /// Tells a recording something, and does all that follows.
    fn feed(&mut self, key: RecordingKey, input: Input) {
        self.pending.push_back((key, input));
        self.run_pending();
    }

    fn run_pending(&mut self) {
        while let Some((key, input)) = self.pending.pop_front() {
            let Some(entry) = self.recordings.get_mut(&key) else { continue };
            match entry.handle(input, Instant::now()) {
                Ok(outputs) => outputs.into_iter().for_each(|output| self.carry_out(key, output)),
                Err(Panicked) => {
                    tracing::error!(recording = %key, "a recording panicked; the others go on");
                    self.give_up(key, panicked());
                }
            }
            self.schedule(key);
        }
    }

    fn carry_out(&mut self, key: RecordingKey, output: Output) {
        match output {
            Output::Resolve { attempt, uri } => self.resolve(Dialog { key, attempt }, &uri),
            Output::Send { attempt, message } => self.send(Dialog { key, attempt }, message),
            Output::Branch(command) => {
                if let Some(entry) = self.recordings.get_mut(&key) {
                    entry.note(&command);
                }
                self.command(command);
            }
            Output::Event(event) => {
                if let Some(entry) = self.recordings.get_mut(&key) {
                    entry.info = event.info.clone();
                }
                self.parts.notifier.push(key, event);
            }
            Output::Finished => self.remove(key),
        }
    }

    fn resolve(&mut self, dialog: Dialog, uri: &Uri) {
        let Dialog { key, attempt } = dialog;
        let event = match Target::of(uri) {
            Err(error) => TransportEvent::Unresolved { attempt, reason: error.to_string() },
            Ok(target) => match target.literal() {
                Some(destination) => self.begin_attempt(dialog, target, destination),
                None => return self.look_up(dialog, target, true),
            },
        };
        self.pending.push_back((key, Input::Transport(event)));
    }

    fn look_up(&self, dialog: Dialog, target: Target, first: bool) {
        let transport = self.parts.transport.clone();
        let resolving = self.resolving.clone();
        let deadline = self.parts.resolve_timeout;
        let task = async move {
            let outcome = transport.resolve_target(&target, deadline).await;
            // The loop may be over.
            let _ = resolving.send(Resolution { dialog, target, first, outcome }).await;
        };
        tokio::spawn(task.with_current_subscriber());
    }

    /// Chooses the local addresses of an attempt by the route to its recorder.
    fn begin_attempt(&mut self, dialog: Dialog, target: Target, destination: Destination) -> TransportEvent {
        let Dialog { key, attempt } = dialog;
        let local = match self.parts.transport.local_towards(destination.remote) {
            Ok(local) => local,
            Err(error) => return TransportEvent::Unresolved { attempt, reason: error.to_string() },
        };
        let transport = match destination.protocol {
            Protocol::Tcp => siprec_sip::Transport::Tcp,
            _ => siprec_sip::Transport::Udp,
        };
        let port = self.parts.transport.local().port();
        let flow = Flow {
            transport,
            remote: destination.remote,
            local: SocketAddr::new(self.parts.advertised.unwrap_or(local), port),
            media: self.parts.media.unwrap_or(local),
        };
        if let Some(entry) = self.recordings.get_mut(&key) {
            entry.routes.insert(attempt, target, destination);
        }
        TransportEvent::Resolved { attempt, flow }
    }

    fn send(&mut self, dialog: Dialog, message: Message) {
        let request = match message {
            Message::Response(_) => return self.send_response(message),
            Message::Request(request) => request,
        };
        let Some(entry) = self.recordings.get_mut(&dialog.key) else { return };
        if let Some(call_id) = call_id(&request.headers)
            && !self.dialogs.contains_key(&call_id)
        {
            entry.call_ids.push(call_id.clone());
            let tag = request.headers.from().ok().and_then(|from| from.tag().map(str::to_owned));
            self.dialogs.insert(call_id, Claim { dialog, tag });
        }
        let way = entry.routes.way(dialog.attempt, request);
        self.go(dialog, way);
    }

    fn go(&mut self, dialog: Dialog, way: Way) {
        match way {
            Way::Send(request, destination) => self.send_request(dialog, *request, destination),
            Way::Resolve(target) => self.look_up(dialog, target, false),
            Way::Wait => {}
            Way::Lost(reason) => self.fail(dialog, reason.to_owned()),
        }
    }

    fn send_request(&mut self, dialog: Dialog, request: Request, destination: Destination) {
        tracing::debug!("sent to {}\n{}", destination.remote, Redacted(&request.to_bytes()));
        if let Err(error) = self.parts.transport.send(request, destination) {
            self.fail(dialog, error.to_string());
        }
    }

    fn send_response(&self, message: Message) {
        tracing::debug!("answered\n{}", Redacted(&message.to_bytes()));
        let Message::Response(response) = message else { return };
        if let Err(error) = self.parts.transport.respond(response) {
            // The peer repeats its request, or gives up.
            tracing::info!(%error, "a response was not sent");
        }
    }

    fn fail(&mut self, Dialog { key, attempt }: Dialog, reason: String) {
        self.pending.push_back((key, Input::Transport(TransportEvent::Failed { attempt, reason })));
    }

    /// Gives the engine a command; one that it does not take is a fault of its branch, told to the recording.
    fn command(&mut self, command: BranchCommand) {
        if let Err(refused) = self.parts.outbox.push(command, Instant::now()) {
            self.refused(refused);
        }
    }

    fn refused(&mut self, Refused { command, error }: Refused) {
        let branch = command.branch();
        tracing::error!(%branch, %error, "a command was lost");
        self.pending.push_back((branch.recording, crashed(branch, error.to_string())));
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
        let stop = self.stopping.map(|stopping| stopping.last_call.unwrap_or(stopping.deadline));
        [timer, retry, stop].into_iter().flatten().min()
    }

    fn run_timers(&mut self, now: Instant) {
        for refused in self.parts.outbox.retry(now) {
            self.refused(refused);
        }
        self.run_pending();
        while let Some(&(deadline, key)) = self.timers.first()
            && deadline <= now
        {
            self.timers.pop_first();
            if let Some(entry) = self.recordings.get_mut(&key) {
                entry.deadline = None;
            }
            self.feed(key, Input::Timer);
        }
        self.run_stop(now);
    }

    fn shut_down(&mut self, deadline: Instant) {
        let begun = self.stopping.is_some();
        let deadline = self.stopping.map_or(deadline, |stopping| stopping.deadline.min(deadline));
        // Time for a BYE or CANCEL and its answer.
        let left = deadline.saturating_duration_since(Instant::now());
        let last_call = deadline - (left / 4).min(FLUSH);
        self.stopping = Some(Stopping { last_call: Some(last_call), deadline });
        if !begun {
            self.command_all(&Command::Stop(StopReason::Shutdown));
        }
    }

    fn run_stop(&mut self, now: Instant) {
        let Some(stopping) = &mut self.stopping else { return };
        let deadline = stopping.deadline;
        if stopping.last_call.take_if(|last_call| *last_call <= now).is_some() {
            self.command_all(&Command::StopNow);
        }
        if deadline <= now {
            let reason =
                FailureReason::DialogLost("the agent shut down before the recorder answered".to_owned());
            for key in self.keys() {
                self.give_up(key, reason.clone());
            }
        }
    }

    fn command_all(&mut self, command: &Command) {
        for key in self.keys() {
            self.feed(key, Input::Command(command.clone()));
        }
    }

    fn keys(&self) -> Vec<RecordingKey> {
        self.recordings.keys().copied().collect()
    }

    /// Ends a recording without its help.
    fn give_up(&mut self, key: RecordingKey, reason: FailureReason) {
        let Some(entry) = self.recordings.get(&key) else { return };
        for branch in entry.branches.clone() {
            self.command(BranchCommand::Close { branch });
        }
        if let Some(entry) = self.recordings.get(&key)
            && !entry.shared.state().is_final()
        {
            entry.shared.set_state(RecordingState::Failed);
            self.tell_failed(key, &entry.info, reason);
        }
        self.remove(key);
    }

    fn tell_failed(&self, key: RecordingKey, info: &SessionInfo, reason: FailureReason) {
        let words = reason.to_string();
        let changed = SessionEventKind::StateChanged { state: RecordingState::Failed, reason: words };
        for kind in [SessionEventKind::Failed { reason, sip_code: None }, changed] {
            self.parts.notifier.push(key, SessionEvent { info: info.clone(), kind });
        }
    }

    fn remove(&mut self, key: RecordingKey) {
        let Some(entry) = self.recordings.remove(&key) else { return };
        if let Some(deadline) = entry.deadline {
            self.timers.remove(&(deadline, key));
        }
        for call_id in &entry.call_ids {
            self.dialogs.remove(call_id);
        }
        self.leave(key);
    }

    fn leave(&self, key: RecordingKey) {
        self.parts.notifier.end(key);
        self.parts.idle.leave(key);
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

/// The Call-ID byte by byte as far as a text can hold it; it is compared with nothing but itself.
fn call_id(headers: &siprec_sip::Headers) -> Option<String> {
    headers.get(&HeaderName::CallId).map(|value| value.to_string_lossy().into_owned())
}

fn panicked() -> FailureReason {
    FailureReason::LocalResources("a fault of the recording client; the log has its place".to_owned())
}

fn crashed(branch: BranchId, reason: String) -> Input {
    Input::Media(branch, BranchEvent::Crashed { reason })
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
