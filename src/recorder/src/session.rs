//! One recording session, from its INVITE to its last message.

mod acting;
mod answering;
mod timer;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use siprec_sip::{
    DialogEvent, DialogUa, HeaderName, HeaderValue, Headers, Message, Method, Random, Request, Response,
    ServerToken, SessionDescription, Termination,
};
use siprec_transport::{Destination, Protocol, Source, Transport};
use tokio::sync::{mpsc, watch};

use crate::answer::{Line, TakenLine};
use crate::behaviour::Behaviour;
use crate::behaviour::plan::{Plan, Step};
use crate::clock::{rfc3339, seconds};
use crate::config::RecorderConfig;
use crate::files::report::{SessionReport, StateReport};
use crate::finished::FinishedSession;
use crate::invitation::Invitation;
use crate::ladder::{Ladder, Way};
use crate::ledger::{Ledger, Use};
use crate::recording::{FLUSH_INTERVAL, Recording};
use acting::OwnOffer;
use timer::{Due, SessionTimer};

/// How long packets are taken after the BYE: the last ones may still be on their way.
const GRACE: Duration = Duration::from_millis(250);
/// How long the answer to a BYE is waited for when the recorder stops.
const BYE_PATIENCE: Duration = Duration::from_secs(2);
/// How long a host name in a Contact may take to resolve.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);

/// What all sessions of a recorder share.
pub(crate) struct Shared {
    pub(crate) config: RecorderConfig,
    pub(crate) transport: Transport,
    pub(crate) finished: Box<dyn Fn(FinishedSession) + Send + Sync>,
    /// From when on nothing is answered or sent, once that is known.
    pub(crate) silent_from: OnceLock<Instant>,
    /// First INVITEs refused because the recorder is told to.
    pub(crate) refused: AtomicU32,
    pub(crate) ledger: Mutex<Ledger>,
}

impl Shared {
    /// Whether the recorder has fallen silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent_from.get().is_some_and(|from| *from <= Instant::now())
    }

    fn behaviour(&self) -> &Behaviour {
        &self.config.behaviour
    }
}

/// One session.
pub(crate) struct Session {
    shared: Arc<Shared>,
    ua: DialogUa,
    /// The INVITE, until it is answered.
    ringing: Option<ServerToken>,
    invite: Request,
    /// Where the INVITE came from.
    source: Source,
    /// Local address towards the client.
    address: IpAddr,
    random: Random,
    recording: Option<Recording>,
    invitation: Invitation,
    report: SessionReport,
    /// The report has news for the disk.
    changed: bool,
    ladder: Ladder,
    started: SystemTime,
    answered: Option<Instant>,
    session_id: u64,
    version: u64,
    /// Our last description.
    answer: Option<SessionDescription>,
    /// The m-lines as the client wants them, from our view.
    lines: Vec<Line>,
    timer: SessionTimer,
    /// What the recorder does by itself, from the answer on.
    plan: Option<Plan>,
    /// Steps that wait until an offer may be made, the first not before a time.
    waiting: VecDeque<Step>,
    not_before: Option<Instant>,
    /// The recorder has asked for silence.
    paused: bool,
    /// Our offer or refresh that is not answered yet.
    own: Option<OwnOffer>,
    /// A 2xx of ours offers: the ACK answers it.
    offered: bool,
    /// Later offers of the client that were refused.
    refused: u32,
    /// When to end without waiting any longer.
    end_at: Option<Instant>,
    over: bool,
}

impl Session {
    /// A session for an INVITE that `ua` was made from.
    pub(crate) fn new(
        shared: Arc<Shared>,
        (ua, token): (DialogUa, ServerToken),
        invite: &Request,
        source: Source,
        address: IpAddr,
        mut random: Random,
    ) -> Self {
        let started = SystemTime::now();
        let mut ladder = Ladder::new(&ua.call_id().to_string_lossy(), source, started);
        ladder.message(Way::Received, &Message::Request(invite.clone()), started);
        let invitation = Invitation::of(invite);
        let header = |name: &str| {
            let found = invitation.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value.clone())
        };
        let report = SessionReport {
            recording_id: invitation.recording_id.clone(),
            call_uuid: invitation.call_uuid.clone(),
            call_id: ua.call_id().to_string_lossy().into_owned(),
            request_uri: invite.uri.to_string(),
            from: header("From").or_else(|| header("f")).unwrap_or_default(),
            to: header("To").or_else(|| header("t")).unwrap_or_default(),
            client: source.to_string(),
            user_agent: header("User-Agent"),
            parameters: invitation.parameters.clone(),
            headers: invitation.headers.clone(),
            invited: rfc3339(started),
            ..SessionReport::default()
        };
        let session_id = random.next_u64() >> 2;
        let timer = SessionTimer::new(shared.behaviour());
        let mut session = Self {
            shared,
            ua,
            ringing: Some(token),
            invite: invite.clone(),
            source,
            address,
            random,
            recording: None,
            invitation,
            report,
            changed: true,
            ladder,
            started,
            answered: None,
            session_id,
            version: 1,
            answer: None,
            lines: Vec::new(),
            timer,
            plan: None,
            waiting: VecDeque::new(),
            not_before: None,
            paused: false,
            own: None,
            offered: false,
            refused: 0,
            end_at: None,
            over: false,
        };
        session.enter("invited", "");
        session
    }

    /// Runs to the end of the dialog, or until `stop` and its bounded farewell. When the recorder is gone without
    /// having stopped, ends at once and leaves the files as they are.
    pub(crate) async fn run(mut self, mut mailbox: mpsc::Receiver<Message>, mut stop: watch::Receiver<bool>) {
        let behaviour = self.shared.behaviour();
        let answer_at = Instant::now() + behaviour.answer_after;
        if behaviour.ring
            && let Some(token) = self.ringing
        {
            // It fails only when the INVITE is gone, and then `Terminated` tells.
            let _ = self.ua.respond(token, 180, "", Headers::new(), None, Instant::now());
        }
        let mut flush = tokio::time::interval(FLUSH_INTERVAL);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            self.pump().await;
            if self.over && (stopping || self.ua.is_finished()) {
                return;
            }
            self.act_when_possible().await;
            self.pump().await;
            let timer = self.ua.next_timeout();
            let due = self.next_deadline();
            let (ringing, recording) = (self.ringing.is_some(), self.recording.is_some());
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
                () = sleep_until(timer) => self.ua.handle_timeout(Instant::now()),
                () = sleep_until(Some(answer_at)), if ringing => self.answer_invite().await,
                () = sleep_until(due), if !self.over => self.take_due().await,
                () = sleep_until(self.end_at), if !self.over => self.complete().await,
                _ = flush.tick(), if recording => self.flush().await,
                () = raised(&mut stop), if !stopping => {
                    if !*stop.borrow() {
                        return;
                    }
                    stopping = true;
                    self.hang_up("the recorder stops");
                }
            }
        }
    }

    fn receive(&mut self, message: Message) {
        self.ladder.message(Way::Received, &message, SystemTime::now());
        let Err(stray) = self.ua.handle_message(message, Instant::now()) else { return };
        let Message::Request(stray) = *stray else { return };
        if stray.method == Method::Ack {
            return;
        }
        // RFC 3261 §12.2.2: the same Call-ID, but no dialog of ours.
        let response = Response::to_request(&stray, 481);
        self.send_response(response);
    }

    /// Carries out what the dialog wants, until it wants nothing more.
    async fn pump(&mut self) {
        loop {
            if let Some(message) = self.ua.poll_transmit() {
                self.transmit(message).await;
            } else if let Some(event) = self.ua.poll_event() {
                self.handle(event).await;
            } else {
                return;
            }
        }
    }

    async fn handle(&mut self, event: DialogEvent) {
        match event {
            DialogEvent::Request { token, request } => self.renegotiate(token, &request).await,
            DialogEvent::Terminated(why) => {
                self.ringing = None;
                let (state, reason) = match why {
                    Termination::RemoteBye(_) => ("ended", "BYE from the client"),
                    Termination::LocalBye { .. } => ("ended", "BYE from the recorder"),
                    Termination::Cancelled => ("cancelled", "CANCEL from the client"),
                    Termination::NotEstablished => ("refused", ""),
                    Termination::Unacknowledged => ("failed", "the answer was never acknowledged"),
                };
                self.end(state, reason);
                let grace = if self.recording.is_some() { GRACE } else { Duration::ZERO };
                self.end_at = Some(Instant::now() + grace);
            }
            DialogEvent::Answered { token, response } => self.own_accepted(token, &response).await,
            DialogEvent::Responded { token, response, .. } if response.is_success() => {
                self.own_accepted(token, &response).await;
            }
            DialogEvent::Refused { token, response, .. } | DialogEvent::Responded { token, response, .. } => {
                self.own_refused(token, &response);
            }
            DialogEvent::Failed { .. } => self.hang_up("the client does not answer"),
            DialogEvent::Acknowledged { ack, .. } => self.acknowledged(&ack),
            DialogEvent::Progress { .. }
            | DialogEvent::Challenged { .. }
            | DialogEvent::Info(_)
            | DialogEvent::Cancelled { .. } => {}
        }
    }

    async fn transmit(&mut self, message: Message) {
        if self.shared.is_silent() {
            return;
        }
        self.ladder.message(Way::Sent, &message, SystemTime::now());
        let request = match message {
            Message::Request(request) => request,
            Message::Response(response) => {
                return self.report_unsent(self.shared.transport.respond(response).is_err());
            }
        };
        if self.source.protocol == Protocol::Tls {
            // A client without a port for TLS is reached by the connection that it made (RFC 5923).
            let Source { remote, protocol } = self.source;
            let destination = Destination { remote, protocol, fixed: true, tls: None };
            return self.report_unsent(self.shared.transport.send(request, destination).is_err());
        }
        let next_hop = self.ua.next_hop().clone();
        let found = self.shared.transport.resolve(&next_hop, RESOLVE_PATIENCE).await;
        let destination = found.ok().and_then(|destinations| destinations.into_iter().next());
        let sent =
            destination.is_some_and(|destination| self.shared.transport.send(request, destination).is_ok());
        self.report_unsent(!sent);
    }

    fn send_response(&mut self, response: Response) {
        if self.shared.is_silent() {
            return;
        }
        self.ladder.message(Way::Sent, &Message::Response(response.clone()), SystemTime::now());
        let unsent = self.shared.transport.respond(response).is_err();
        self.report_unsent(unsent);
    }

    fn report_unsent(&mut self, unsent: bool) {
        if unsent {
            self.ua.handle_transport_error(Instant::now());
        }
    }

    async fn flush(&mut self) {
        self.tell_alarms();
        let mut report = None;
        if self.changed {
            let mut full = self.report.clone();
            if let Some(recording) = &self.recording {
                recording.describe(&mut full);
            }
            report = Some(full);
        }
        let Some(recording) = &mut self.recording else { return };
        let (ladder, changed) = (&mut self.ladder, &mut self.changed);
        recording
            .flush(
                || ladder.take(),
                || {
                    *changed = false;
                    report
                },
            )
            .await;
        if let Some(failure) = recording.failure().map(str::to_owned)
            && self.end_at.is_none()
        {
            // Better no recording that the client knows of than one that it believes in.
            self.end("failed", &failure);
            self.hang_up_with(&failure, failed_headers());
        }
    }

    /// Tells of keys that should have been others.
    fn judge_keys(&mut self) {
        let mut told = Vec::new();
        let mut ledger = self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, line) in self.lines.iter().enumerate() {
            let Line::Taken(TakenLine { keys: Some(keys), source, .. }) = line else { continue };
            let now = Use { session: self.session_id, line: index, source: *source };
            let why = keys.theirs.keys().iter().find_map(|key| ledger.note(key, now));
            told.extend(why.map(|why| format!("m-line {index}: {why}")));
        }
        drop(ledger);
        told.iter().for_each(|note| self.enter_note(note));
    }

    /// Tells what came that is not authentic.
    fn tell_alarms(&mut self) {
        for alarm in self.recording.as_ref().map(Recording::alarms).unwrap_or_default() {
            self.enter_note(&alarm);
        }
    }

    /// Ends the session from our side, in bounded time.
    fn hang_up(&mut self, reason: &str) {
        self.hang_up_with(reason, Headers::new());
    }

    /// The same with headers of the BYE.
    fn hang_up_with(&mut self, reason: &str, headers: Headers) {
        let now = Instant::now();
        if let Some(token) = self.ringing.take() {
            // It fails only when the INVITE is gone.
            let _ = self.ua.respond(token, 480, "", Headers::new(), None, now);
        } else if self.ua.is_confirmed() {
            // It fails only when the dialog is over.
            let _ = self.ua.request(Method::Bye, headers, None, now);
        }
        self.end("ended", reason);
        self.end_at.get_or_insert(now + BYE_PATIENCE);
    }

    /// Stops receiving and completes the files.
    async fn complete(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        if let Some(recording) = &mut self.recording {
            recording.stop().await;
        }
        self.tell_alarms();
        let mut report = std::mem::take(&mut self.report);
        let mut folder = None;
        if let Some(recording) = self.recording.take() {
            folder = recording.folder().map(Into::into);
            report = recording.finish(self.ladder.take(), report).await;
        }
        (self.shared.finished)(FinishedSession { folder, report });
    }

    /// The session has ended; what comes later changes nothing about why.
    fn end(&mut self, state: &str, reason: &str) {
        if self.report.ended.is_none() {
            self.report.ended = Some(rfc3339(SystemTime::now()));
            self.report.end_reason = Some(reason.to_owned());
            self.report.duration =
                self.answered.map_or(0.0, |at| seconds(at.elapsed().as_micros() as i64, 1_000_000));
            self.enter(state, reason);
        }
    }

    fn enter(&mut self, state: &str, reason: &str) {
        self.changed = true;
        let at = rfc3339(SystemTime::now());
        self.report.states.push(StateReport { at, state: state.to_owned(), reason: reason.to_owned() });
    }
}

/// What tells the client that the recorder has not chosen to stop, but cannot go on (RFC 3326 §2).
fn failed_headers() -> Headers {
    let mut headers = Headers::new();
    if let Ok(value) = HeaderValue::new("SIP;cause=500;text=\"the recording cannot be written\"") {
        headers.push(HeaderName::Reason, value);
    }
    headers
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Done when the recorder is to stop, or is gone.
pub(crate) async fn raised(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
