//! The end of dialogs that another process has left behind, within the loop: few at a time, and not for ever.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use siprec_session::LeftDialog;
use siprec_sip::{
    Credentials, DialogEvent, DialogNote, DialogUa, Endpoint, Message, NameAddr, Random, Request,
    TRANSACTION_TIMEOUT, UriBuilder,
};
use siprec_transport::{Destination, ResolveError, Target};
use tracing::instrument::WithSubscriber as _;

use crate::pool::Identity;
use crate::redact::Redacted;
use crate::routes::{ONLY, Routes, Way};
use crate::state::{Keeper, Left, LeftKey};
use crate::worker::{Worker, call_id};

/// Most BYEs that wait for their answers.
const AT_ONCE: usize = 32;
/// The time from one BYE to the next.
const PACE: Duration = Duration::from_millis(10);
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
    waiting: VecDeque<Left>,
    /// By Call-ID.
    open: HashMap<String, Farewell>,
    /// When the next one may begin.
    next: Option<Instant>,
    /// When those that wait are given up.
    end: Option<Instant>,
    ended: usize,
}

#[derive(Debug)]
struct Farewell {
    left: Left,
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
            open: HashMap::new(),
            next: None,
            end: None,
            ended: 0,
        }
    }

    /// When [`Worker::run_farewells`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let begins = self.next.filter(|_| !self.waiting.is_empty() && self.open.len() < AT_ONCE);
        let ends = self.end.filter(|_| !self.waiting.is_empty());
        let open = self.open.values().filter_map(|farewell| farewell.ua.next_timeout());
        open.chain(begins).chain(ends).min()
    }

    /// Whether the Call-ID is that of a dialog that is being ended.
    pub(crate) fn knows(&self, call_id: &str) -> bool {
        self.open.contains_key(call_id)
    }

    /// The next to begin, if one may: a dialog whose Call-ID is not in use (another branch of a fork).
    fn draw(&mut self, now: Instant) -> Option<Left> {
        if self.open.len() >= AT_ONCE || self.next.is_some_and(|next| now < next) {
            return None;
        }
        let free = |left: &Left| !self.open.contains_key(&name(&left.dialog));
        let index = self.waiting.iter().position(free);
        self.next = Some(now + PACE);
        self.waiting.remove(index?)
    }

    /// Those who wait for the same place as one that said nothing wait behind all others.
    fn put_back(&mut self, silent: SocketAddr) {
        let (behind, before) = self.waiting.drain(..).partition(|left| left.dialog.way.remote == silent);
        let (behind, before): (VecDeque<_>, VecDeque<_>) = (behind, before);
        self.waiting = before;
        self.waiting.extend(behind);
    }

    /// The dialog as ours to end, with the message that does.
    fn take_on(&mut self, left: &LeftDialog, local: IpAddr, port: u16, now: Instant) -> Option<DialogUa> {
        let host = local.to_string();
        let contact = UriBuilder::sip(&host).user(&self.who.user).port(port).build().ok()?;
        let mut endpoint =
            Endpoint::new(left.way.transport, &host, Some(port), NameAddr::new(contact)).ok()?;
        endpoint.user_agent = Some(self.who.user_agent.clone()).filter(|agent| !agent.is_empty());
        endpoint.credentials = self.credentials.clone();
        Some(DialogUa::bye_left_behind(endpoint, left.dialog.clone(), &mut self.random, now))
    }
}

impl Worker {
    /// Takes the dialogs that were found.
    pub(crate) fn take_left(&mut self) {
        let Some(keeper) = &self.parts.keeper else { return };
        self.farewells.waiting.extend(keeper.take_found());
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
        while let Some(left) = self.farewells.draw(now) {
            self.begin_farewell(left, now);
        }
        if self.farewells.waiting.is_empty() && self.farewells.open.is_empty() && self.farewells.ended > 0 {
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

    /// A message of a dialog that is being ended was not delivered.
    pub(crate) fn fail_farewell(&mut self, call_id: &str) {
        self.with_farewell(call_id, |ua| ua.handle_transport_error(Instant::now()));
    }

    pub(crate) fn take_sought(&mut self, (call_id, target, outcome): Sought) {
        let Some(farewell) = self.farewells.open.get_mut(&call_id) else { return };
        for way in farewell.routes.resolved(ONLY, &target, outcome) {
            self.go_farewell(&call_id, way);
        }
    }

    fn begin_farewell(&mut self, left: Left, now: Instant) {
        let way = &left.dialog.way;
        let routes = Routes::found_before(way).map_err(|error| error.to_string());
        let local = self.parts.transport.local_towards(way.remote).map_err(|error| error.to_string());
        let begun = routes.and_then(|routes| {
            let local = self.parts.advertised.unwrap_or(local?);
            let port =
                self.parts.transport.port(routes.protocol().unwrap_or(siprec_transport::Protocol::Udp));
            let ua = self.farewells.take_on(&left.dialog, local, port, now);
            Ok((routes, ua.ok_or("our address stands in no message")?))
        });
        match begun {
            Ok((routes, ua)) => {
                let call_id = name(&left.dialog);
                self.farewells.open.insert(call_id.clone(), Farewell { left, ua, routes, begun: now });
                self.with_farewell(&call_id, |_| ());
            }
            Err(reason) => {
                let LeftDialog { recording_id, way, .. } = &left.dialog;
                let (recording, remote) = (recording_id.as_str(), way.remote);
                tracing::warn!(recording, %remote, reason, "a dialog that was left behind cannot be ended");
                self.forget_left(left.key);
            }
        }
    }

    /// Has something happen to a dialog, and does what follows.
    fn with_farewell(&mut self, call_id: &str, act: impl FnOnce(&mut DialogUa)) {
        let Some(farewell) = self.farewells.open.get_mut(call_id) else { return };
        act(&mut farewell.ua);
        // A message that cannot be sent is an event of the dialog, which may have more to say.
        loop {
            let Some(farewell) = self.farewells.open.get_mut(call_id) else { return };
            while let Some(note) = farewell.ua.poll_note() {
                // That it is over is told below.
                if let (DialogNote::Stands(dialog), Some(keeper)) = (note, &self.parts.keeper) {
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
                let (transport, sought) = (self.parts.transport.clone(), self.seeking.clone());
                let (deadline, call_id) = (self.parts.resolve_timeout, call_id.to_owned());
                let task = async move {
                    let outcome = transport.resolve_target(&target, deadline).await;
                    // The loop may be over.
                    let _ = sought.send((call_id, target, outcome)).await;
                };
                tokio::spawn(task.with_current_subscriber());
            }
            Way::Wait => {}
            Way::Lost(reason) => self.fail_unsent(call_id, reason),
        }
    }

    fn send_farewell(&mut self, call_id: &str, request: Request, destination: Destination) {
        tracing::debug!("sent to {}\n{}", destination.remote, Redacted(&request.to_bytes()));
        if let Err(error) = self.parts.transport.send(request, destination) {
            self.fail_unsent(call_id, &error.to_string());
        }
    }

    fn fail_unsent(&mut self, call_id: &str, reason: &str) {
        tracing::info!(reason, "the BYE of a dialog that was left behind cannot be sent");
        if let Some(farewell) = self.farewells.open.get_mut(call_id) {
            farewell.ua.handle_transport_error(Instant::now());
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
        let waiting = std::mem::take(&mut self.farewells.waiting);
        if !waiting.is_empty() {
            let dialogs = waiting.len();
            tracing::warn!(
                dialogs,
                "dialogs that were left behind are given up: too many recorders do not answer"
            );
        }
        self.farewells.end = None;
        waiting.into_iter().for_each(|left| self.forget_left(left.key));
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
