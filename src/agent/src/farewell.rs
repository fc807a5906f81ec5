//! The end of dialogs that another process has left behind, within the loop: few at a time, and not for ever.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use siprec_session::LeftDialog;
use siprec_sip::{
    Credentials, DialogEvent, DialogNote, DialogUa, Endpoint, LEFT_BEHIND_STEP, Message, NameAddr, Random,
    Request, TRANSACTION_TIMEOUT, UriBuilder,
};
use siprec_transport::{Destination, ResolveError, Target};
use tracing::instrument::WithSubscriber as _;

use crate::pool::Identity;
use crate::redact::Redacted;
use crate::routes::{ONLY, Routes, Way};
use crate::state::{Keeper, Left, LeftKey};
use crate::worker::{Worker, call_id, tell};

/// Most BYEs that wait for their answers.
const AT_ONCE: usize = 32;
/// The time from one BYE to the next.
const PACE: Duration = Duration::from_millis(10);
/// The time from a BYE that could not be sent to the next one in its dialog.
const AGAIN: Duration = Duration::from_secs(4);
/// After this time the recorders have most likely ended the rest by their session timers, or are gone for good.
const WHOLE: Duration = Duration::from_secs(600);

/// What became of the name of a hop.
pub(crate) type Sought = (String, Target, Result<Vec<Destination>, ResolveError>);

/// The dialogs that are to be ended.
#[derive(Debug)]
pub(crate) struct Farewells {
    who: Identity,
    credentials: Vec<Credentials>,
    random: Random,
    waiting: VecDeque<Waiting>,
    /// Those whose BYE could not be sent, and when they wait again: the next one first.
    put_off: VecDeque<(Instant, Waiting)>,
    /// Where no BYE can be sent, as the log was told.
    unreached: HashSet<SocketAddr>,
    /// By Call-ID.
    open: HashMap<String, Farewell>,
    /// When the next one may begin.
    next: Option<Instant>,
    /// When those that wait are given up.
    end: Option<Instant>,
    ended: usize,
}

/// A dialog whose BYE is to be sent.
#[derive(Debug)]
struct Waiting {
    left: Left,
    /// The number that was written down of it when this process first tried.
    written: Option<u32>,
}

#[derive(Debug)]
struct Farewell {
    left: Left,
    written: Option<u32>,
    ua: DialogUa,
    routes: Routes,
    begun: Instant,
}

impl Farewells {
    pub(crate) fn new(who: Identity, credentials: Vec<Credentials>, random: Random) -> Self {
        Self {
            who,
            credentials,
            random,
            waiting: VecDeque::new(),
            put_off: VecDeque::new(),
            unreached: HashSet::new(),
            open: HashMap::new(),
            next: None,
            end: None,
            ended: 0,
        }
    }

    /// When [`Worker::run_farewells`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let begins = self.next.filter(|_| !self.waiting.is_empty() && self.open.len() < AT_ONCE);
        let returns = self.put_off.front().map(|(due, _)| *due);
        let ends = self.end.filter(|_| self.waits());
        let open = self.open.values().filter_map(|farewell| farewell.ua.next_timeout());
        open.chain(begins).chain(returns).chain(ends).min()
    }

    /// Whether the Call-ID is that of a dialog that is being ended.
    pub(crate) fn knows(&self, call_id: &str) -> bool {
        self.open.contains_key(call_id)
    }

    /// Whether any is still to be begun.
    fn waits(&self) -> bool {
        !self.waiting.is_empty() || !self.put_off.is_empty()
    }

    /// The next to begin, if one may: a dialog whose Call-ID is not in use (another branch of a fork).
    fn draw(&mut self, now: Instant) -> Option<Waiting> {
        while let Some((_, waiting)) = self.put_off.pop_front_if(|(due, _)| *due <= now) {
            self.waiting.push_back(waiting);
        }
        if self.open.len() >= AT_ONCE || self.next.is_some_and(|next| now < next) {
            return None;
        }
        let free = |waiting: &Waiting| !self.open.contains_key(&name(&waiting.left.dialog));
        let index = self.waiting.iter().position(free);
        self.next = Some(now + PACE);
        self.waiting.remove(index?)
    }

    /// Those who wait for the same place as one that said nothing wait behind all others.
    fn put_back(&mut self, silent: SocketAddr) {
        let is_there = |waiting: &Waiting| waiting.left.dialog.way.remote == silent;
        let (behind, before) = self.waiting.drain(..).partition(is_there);
        let (behind, before): (VecDeque<_>, VecDeque<_>) = (behind, before);
        self.waiting = before;
        self.waiting.extend(behind);
    }

    /// The dialog as ours to end, with the message that does.
    fn take_on(&mut self, waiting: &Waiting, local: IpAddr, port: u16, now: Instant) -> Option<DialogUa> {
        let left = &waiting.left.dialog;
        let host = local.to_string();
        let contact = UriBuilder::sip(&host).user(&self.who.user).port(port).build().ok()?;
        let mut endpoint =
            Endpoint::new(left.way.transport, &host, Some(port), NameAddr::new(contact)).ok()?;
        endpoint.user_agent = Some(self.who.user_agent.clone()).filter(|agent| !agent.is_empty());
        endpoint.credentials = self.credentials.clone();
        let bye = if waiting.written.is_some() { DialogUa::bye_again } else { DialogUa::bye_left_behind };
        Some(bye(endpoint, left.dialog.clone(), &mut self.random, now))
    }
}

impl Worker {
    /// Takes the dialogs that were found.
    pub(crate) fn take_left(&mut self) {
        let Some(keeper) = &self.parts.keeper else { return };
        let found = keeper.take_found().into_iter().map(|left| Waiting { left, written: None });
        self.farewells.waiting.extend(found);
        let now = Instant::now();
        self.farewells.end = Some(now + WHOLE);
        self.farewells.next.get_or_insert(now);
    }

    /// Does what is due.
    pub(crate) fn run_farewells(&mut self, now: Instant) {
        let is_due = |farewell: &Farewell| farewell.ua.next_timeout().is_some_and(|due| due <= now);
        let due: Vec<String> = self
            .farewells
            .open
            .iter()
            .filter(|(_, farewell)| is_due(farewell))
            .map(|(call_id, _)| call_id.clone())
            .collect();
        for call_id in due {
            self.with_farewell(&call_id, |ua| ua.handle_timeout(now));
        }
        if self.farewells.end.is_some_and(|end| end <= now) {
            self.give_up_waiting();
        }
        while let Some(waiting) = self.farewells.draw(now) {
            self.begin_farewell(waiting, now);
        }
        if !self.farewells.waits() && self.farewells.open.is_empty() && self.farewells.ended > 0 {
            let dialogs = std::mem::take(&mut self.farewells.ended);
            tracing::info!(dialogs, "no dialog that was left behind is open any more");
        }
    }

    /// Takes a message, if it belongs to a dialog that is being ended; else gives it back.
    pub(crate) fn take_farewell(&mut self, message: Message) -> Option<Message> {
        let Some(call_id) = call_id(message.headers()).filter(|call_id| self.farewells.knows(call_id)) else {
            return Some(message);
        };
        let mut foreign = None;
        self.with_farewell(&call_id, |ua| foreign = ua.handle_message(message, Instant::now()).err());
        foreign.map(|message| *message)
    }

    /// A message of a dialog that is being ended was not delivered: that says nothing of the recorder, and may pass.
    pub(crate) fn fail_farewell(&mut self, call_id: &str, reason: &str) {
        let Some(Farewell { mut left, written, ua, .. }) = self.farewells.open.remove(call_id) else {
            return;
        };
        if let Some(dialog) = ua.dialog() {
            left.dialog.dialog = dialog.clone();
        }
        self.put_off(Waiting { left, written }, reason, Instant::now());
    }

    pub(crate) fn take_sought(&mut self, (call_id, target, outcome): Sought) {
        let Some(farewell) = self.farewells.open.get_mut(&call_id) else { return };
        for way in farewell.routes.resolved(ONLY, &target, outcome) {
            self.go_farewell(&call_id, way);
        }
    }

    fn begin_farewell(&mut self, waiting: Waiting, now: Instant) {
        let way = &waiting.left.dialog.way;
        let routes = match Routes::found_before(way) {
            Ok(routes) => routes,
            Err(error) => return self.give_up_farewell(&waiting.left, &error.to_string()),
        };
        let local = match self.parts.transport.local_towards(way.remote) {
            Ok(local) => self.parts.advertised.unwrap_or(local),
            Err(error) => return self.put_off(waiting, &error.to_string(), now),
        };
        let port = self.parts.transport.port(routes.protocol().unwrap_or(siprec_transport::Protocol::Udp));
        let Some(ua) = self.farewells.take_on(&waiting, local, port, now) else {
            return self.give_up_farewell(&waiting.left, "our address stands in no message");
        };
        let call_id = name(&waiting.left.dialog);
        let Waiting { left, written } = waiting;
        self.farewells.open.insert(call_id.clone(), Farewell { left, written, ua, routes, begun: now });
        self.with_farewell(&call_id, |_| ());
    }

    /// The BYE of a dialog cannot be sent. It goes again, as long as there is time.
    fn put_off(&mut self, waiting: Waiting, reason: &str, now: Instant) {
        let remote = waiting.left.dialog.way.remote;
        if self.farewells.end.is_none_or(|end| end <= now) {
            return self.give_up_farewell(&waiting.left, reason);
        }
        let recording = waiting.left.dialog.recording_id.as_str();
        if self.farewells.unreached.insert(remote) {
            tracing::warn!(
                recording, %remote, reason,
                "the BYE of a dialog that was left behind cannot be sent; it is tried again"
            );
        } else {
            tracing::debug!(recording, %remote, reason, "a BYE cannot be sent there yet");
        }
        self.farewells.put_back(remote);
        self.farewells.put_off.push_back((now + AGAIN, waiting));
    }

    fn give_up_farewell(&mut self, left: &Left, reason: &str) {
        let LeftDialog { recording_id, way, .. } = &left.dialog;
        let (recording, remote) = (recording_id.as_str(), way.remote);
        tracing::warn!(recording, %remote, reason, "a dialog that was left behind cannot be ended");
        self.forget_left(left.key);
    }

    /// Has something happen to a dialog, and does what follows.
    fn with_farewell(&mut self, call_id: &str, act: impl FnOnce(&mut DialogUa)) {
        let Some(farewell) = self.farewells.open.get_mut(call_id) else { return };
        act(&mut farewell.ua);
        // A message that cannot be sent is an event of the dialog, which may have more to say.
        loop {
            let Some(farewell) = self.farewells.open.get_mut(call_id) else { return };
            while let Some(note) = farewell.ua.poll_note() {
                // That it is over is told below. Numbers of later tries need not be written down before they run away.
                if let (DialogNote::Stands(dialog), Some(keeper)) = (note, &self.parts.keeper)
                    && farewell
                        .written
                        .is_none_or(|written| dialog.local_cseq() >= written + LEFT_BEHIND_STEP / 2)
                {
                    farewell.written = Some(dialog.local_cseq());
                    let now = LeftDialog { dialog: *dialog, ..farewell.left.dialog.clone() };
                    keeper.left(farewell.left.key, Some(&now));
                }
            }
            let Some(message) = farewell.ua.poll_transmit() else { break };
            match message {
                Message::Response(_) => self.send_response(message),
                Message::Request(request) => {
                    let hop = Some(Box::new(farewell.ua.next_hop_of(&request)));
                    let way = farewell.routes.way(ONLY, request, hop);
                    self.go_farewell_once(call_id, way);
                }
            }
        }
        let Some(farewell) = self.farewells.open.get_mut(call_id) else { return };
        let ends = |event| matches!(event, DialogEvent::Terminated(_));
        if std::iter::from_fn(|| farewell.ua.poll_event()).any(ends) {
            self.end_farewell(call_id);
        }
    }

    fn go_farewell(&mut self, call_id: &str, way: Way) {
        self.go_farewell_once(call_id, way);
        self.with_farewell(call_id, |_| ());
    }

    fn go_farewell_once(&mut self, call_id: &str, way: Way) {
        match way {
            Way::Send(request, destination) => self.send_farewell(call_id, *request, destination),
            Way::Resolve(target) => {
                let transport = self.parts.transport.clone();
                let (deadline, call_id) = (self.parts.resolve_timeout, call_id.to_owned());
                let search = async move {
                    let outcome = transport.resolve_target(&target, deadline).await;
                    (call_id, target, outcome)
                };
                tokio::spawn(tell(self.seeking.clone(), search).with_current_subscriber());
            }
            Way::Wait => {}
            Way::Lost(reason) => self.fail_farewell(call_id, reason),
        }
    }

    fn send_farewell(&mut self, call_id: &str, request: Request, destination: Destination) {
        tracing::debug!("sent to {}\n{}", destination.remote, Redacted(&request.to_bytes()));
        if let Err(error) = self.parts.transport.send(request, destination) {
            self.fail_farewell(call_id, &error.to_string());
        }
    }

    fn end_farewell(&mut self, call_id: &str) {
        let Some(Farewell { left, begun, .. }) = self.farewells.open.remove(call_id) else { return };
        let LeftDialog { recording_id, call_uuid, way, .. } = &left.dialog;
        let (recording, call, remote) = (recording_id.as_str(), call_uuid.as_str(), way.remote);
        if begun.elapsed() >= TRANSACTION_TIMEOUT {
            tracing::warn!(recording, call, %remote, "nobody has answered the BYE of a dialog that was left behind");
            self.farewells.put_back(remote);
        } else {
            tracing::info!(recording, call, %remote, "a dialog that was left behind has ended");
            self.farewells.unreached.remove(&remote);
        }
        self.forget_left(left.key);
    }

    fn forget_left(&mut self, key: LeftKey) {
        self.farewells.ended += 1;
        if let Some(keeper) = &self.parts.keeper {
            keeper.left(key, None);
        }
    }

    fn give_up_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.farewells.waiting);
        waiting.extend(std::mem::take(&mut self.farewells.put_off).into_iter().map(|(_, waiting)| waiting));
        if !waiting.is_empty() {
            let dialogs = waiting.len();
            tracing::warn!(
                dialogs,
                "dialogs that were left behind are given up: recorders cannot be reached, or too many do not answer"
            );
        }
        self.farewells.end = None;
        waiting.into_iter().for_each(|waiting| self.forget_left(waiting.left.key));
    }
}

/// The Call-ID as messages are known by.
fn name(left: &LeftDialog) -> String {
    left.dialog.call_id().to_string_lossy().into_owned()
}

/// Done when dialogs may have been found; never, where none are kept.
pub(crate) async fn found(keeper: Option<&Keeper>) {
    match keeper {
        Some(keeper) => keeper.found().await,
        None => std::future::pending().await,
    }
}
