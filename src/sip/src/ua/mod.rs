//! One dialog of an INVITE with all its transactions, at either end.

mod answer;
mod challenge;
mod endpoint;
mod event;
mod incoming;
mod memory;
mod note;
mod outgoing;
mod repeat;
mod response;
mod slots;

use std::collections::VecDeque;
use std::time::Instant;

pub use endpoint::{Body, Endpoint};
pub use event::{
    DialogEvent, NothingToAcknowledge, RequestError, RequestToken, RespondError, ServerToken, Termination,
};

use crate::auth::Keyring;
use crate::dialog::Dialog;
use crate::transaction::TRANSACTION_TIMEOUT;
use crate::transaction::timer::{Timers, earliest};
use crate::{HeaderName, HeaderValue, Headers, Message, NameAddr, Random, Request, Uri};
use memory::ForgottenInvites;
use note::Noted;
pub use note::{DialogNote, LEFT_BEHIND_STEP};
use repeat::MinSe;
use slots::{ClientSlot, Fork, Kind, ServerSlot};

/// Whom to invite, and how.
#[derive(Debug, Clone)]
pub struct UacConfig {
    /// How we present ourselves.
    pub endpoint: Endpoint,
    /// Request-URI of the INVITE; the remote target until the peer gives its Contact.
    pub request_uri: Uri,
    /// From; its tag is made here.
    pub from: NameAddr,
    /// To; a tag is taken off.
    pub to: NameAddr,
    /// Proxies to go through, the first hop first; they give way to the peer's Record-Route.
    pub route: Vec<Uri>,
}

/// One dialog that an INVITE opens, with all its transactions, as caller or as callee.
///
/// What the dialog can decide alone it does: ACK, CANCEL at its time (RFC 3261 §9.1), ACK and BYE to the other
/// branches of a fork, retransmission, 200 to BYE, INFO and OPTIONS, 487 to what a BYE leaves open, 491 and 500 at glare,
/// 405, 420, 481, 489, 501. A request of ours with Session-Expires that meets 422 is repeated with a longer interval, and
/// the largest Min-SE that was seen goes into all later ones (RFC 4028 §7.3, §7.4). Offers, answers and the refreshes of
/// the session timer are the user's. One that meets 401 or 407 is repeated with credentials ([`Endpoint::credentials`]).
///
/// # Run loop
/// After each `handle_*` and each command: take all of [`poll_note`](Self::poll_note), if the dialog is to be written
/// down, then all of [`poll_transmit`](Self::poll_transmit), then all of [`poll_event`](Self::poll_event), and again, until both are empty; then wait for
/// [`next_timeout`](Self::next_timeout). After [`DialogEvent::Terminated`] the value goes on answering late messages
/// until [`is_finished`](Self::is_finished); it may be dropped sooner.
///
/// No time limit for an answer is set here, besides those of RFC 3261: give up by [`cancel`](Self::cancel), or BYE.
///
/// ```
/// use std::time::Instant;
/// use siprec_sip::{Body, DialogUa, Endpoint, Headers, NameAddr, Random, Transport, UacConfig, Uri};
///
/// let now = Instant::now();
/// let contact = NameAddr::new(Uri::parse("sip:client@192.0.2.1")?);
/// let config = UacConfig {
///     endpoint: Endpoint::new(Transport::Udp, "192.0.2.1", Some(5060), contact.clone())?,
///     request_uri: Uri::parse("sip:record=1@recorder.example")?,
///     from: contact,
///     to: NameAddr::new(Uri::parse("sip:record=1@recorder.example")?),
///     route: Vec::new(),
/// };
/// let offer = Body::sdp("v=0\r\n");
/// let mut random = Random::from_seed([0; 32]);
/// let mut ua = DialogUa::invite(config, Headers::new(), Some(offer), &mut random, now);
/// while let Some(message) = ua.poll_transmit() {
///     assert!(message.to_bytes().starts_with(b"INVITE sip:record=1@recorder.example SIP/2.0\r\n"));
/// }
/// assert_eq!(ua.next_timeout(), Some(now + siprec_sip::T1), "to send it again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DialogUa {
    endpoint: Endpoint,
    random: Random,
    role: Role,
    /// The caller's view before anybody answered, of which each answer opens a dialog; the callee's first view.
    origin: Dialog,
    state: State,
    clients: Vec<ClientSlot>,
    servers: Vec<ServerSlot>,
    forks: Vec<Fork>,
    forgotten: Option<ForgottenInvites>,
    min_se: MinSe,
    timers: Timers<Timer>,
    out: VecDeque<Message>,
    events: VecDeque<DialogEvent>,
    last_token: u64,
    keyring: Keyring,
    /// What the user was last given to write down of the confirmed dialog.
    noted: Option<Noted>,
}

/// Which end of the first INVITE this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Owner of the Call-ID.
    Caller,
    /// `cseq` is the number of the INVITE that came.
    Callee { cseq: u32 },
}

#[derive(Debug)]
enum State {
    Calling(Calling),
    Ringing(Ringing),
    Confirmed(Confirmed),
    Ending(Ending),
    Ended(Ended),
}

/// Caller, without a final response.
#[derive(Debug)]
struct Calling {
    early: Vec<Dialog>,
    cancel: Cancel,
}

/// How far the wish to cancel has come (RFC 3261 §9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    NotWanted,
    /// No provisional response has come, so CANCEL must wait for one.
    Wanted,
    Sent,
}

/// Callee, before its final response.
#[derive(Debug)]
struct Ringing {
    dialog: Dialog,
}

#[derive(Debug)]
struct Confirmed {
    dialog: Dialog,
}

/// BYE is out, or waits for the ACK without which a callee must not send it (RFC 3261 §15).
#[derive(Debug)]
struct Ending {
    dialog: Dialog,
    held_bye: Option<Box<HeldBye>>,
    why: Termination,
}

/// A BYE to be sent later.
#[derive(Debug)]
struct HeldBye {
    token: RequestToken,
    headers: Headers,
    body: Option<Body>,
}

/// Over; the dialog is kept to know late requests by.
#[derive(Debug)]
struct Ended {
    dialog: Option<Dialog>,
    /// Our BYE had no answer.
    is_unanswered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Timer {
    /// A cancelled INVITE counts as ended without a final response (RFC 3261 §9.1).
    Cancelled,
    /// After the end nothing is waited for any longer than this.
    Linger,
}

impl DialogUa {
    /// Takes a message that arrived.
    ///
    /// # Errors
    /// Gives it back when it belongs to another dialog or to none.
    pub fn handle_message(&mut self, message: Message, now: Instant) -> Result<(), Box<Message>> {
        if message.headers().get(&HeaderName::CallId) != Some(self.origin.call_id()) {
            return Err(Box::new(message));
        }
        let foreign = match message {
            Message::Response(response) => {
                self.handle_response(response, now);
                None
            }
            Message::Request(request) => self.handle_request(request, now),
        };
        self.collect();
        foreign.map_or(Ok(()), |request| Err(Box::new(Message::Request(request))))
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.fail_clients(now, |slot| slot.transaction.handle_timeout(now));
        self.time_out_servers(now);
        for fork in &mut self.forks {
            fork.bye.handle_timeout(now);
        }
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Cancelled => self.give_up_cancelled(now),
                Timer::Linger => {
                    self.clients.clear();
                    self.servers.clear();
                    self.forks.clear();
                }
            }
        }
        self.collect();
    }

    /// The transport cannot send to the peer: requests of ours that wait for an answer fail at once, save an INVITE that
    /// has a provisional response, whose answer can still come, and BYE. That is sent again for as long as its answer has time, every 4 s
    /// at least: the peer keeps the dialog until it hears of the end.
    pub fn handle_transport_error(&mut self, now: Instant) {
        let hangs_up = self.is_hanging_up();
        self.fail_clients(now, |slot| {
            if hangs_up && slot.kind() == Kind::Bye {
                slot.transaction.send_later(now);
                return None;
            }
            slot.transaction.handle_transport_error()
        });
        for fork in &mut self.forks {
            fork.bye.send_later(now);
        }
        self.collect();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn next_timeout(&self) -> Option<Instant> {
        let goes_on = !self.is_terminated();
        let clients = self.clients.iter().map(|slot| slot.next_timeout(goes_on));
        let servers = self.servers.iter().map(ServerSlot::next_timeout);
        let forks = self.forks.iter().map(|fork| fork.bye.next_timeout());
        clients.chain(servers).chain(forks).fold(self.timers.next_timeout(), earliest)
    }

    /// The next message to send: a request to [its next hop](Self::next_hop_of), a response to where its Via says.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        let next = self.out.pop_front();
        if next.is_none() {
            // A dialog spends nearly all of its life with nothing to say.
            self.out.shrink_to_fit();
        }
        next
    }

    /// The next thing that the user should know.
    pub fn poll_event(&mut self) -> Option<DialogEvent> {
        let next = self.events.pop_front();
        if next.is_none() {
            self.events.shrink_to_fit();
        }
        next
    }

    /// Call-ID, as it stands on the wire.
    pub fn call_id(&self) -> &HeaderValue {
        self.origin.call_id()
    }

    /// Our tag.
    pub fn local_tag(&self) -> &str {
        self.origin.local_tag()
    }

    /// The dialog, once it is confirmed.
    pub fn dialog(&self) -> Option<&Dialog> {
        self.state.dialog()
    }

    /// Where our requests are addressed to at present.
    pub fn remote_target(&self) -> &Uri {
        self.dialog().unwrap_or(&self.origin).remote_target()
    }

    /// Where our requests are sent to at present: the first proxy, else the remote target.
    pub fn next_hop(&self) -> &Uri {
        self.dialog().unwrap_or(&self.origin).next_hop()
    }

    /// Where a request that [`poll_transmit`](Self::poll_transmit) gave is sent to (RFC 3261 §8.1.2, §12.2.1.1): to its
    /// top Route, else to its Request-URI; to the latter also where that is a strict router of this dialog.
    pub fn next_hop_of(&self, request: &Request) -> Uri {
        let strict = self.dialog().and_then(Dialog::strict_router);
        let top = request.headers.routes().ok().and_then(|routes| routes.into_iter().next());
        match top {
            Some(route) if strict != Some(&request.uri) => route.uri,
            _ => request.uri.clone(),
        }
    }

    /// How we present ourselves.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the first INVITE has its 2xx and no BYE has passed.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed(_))
    }

    /// Whether our BYE is due or out, and neither its answer has come nor its time is over.
    pub fn is_hanging_up(&self) -> bool {
        matches!(self.state, State::Ending(_))
    }

    /// Whether the dialog is over.
    pub fn is_terminated(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Whether an INVITE of ours has no final response. Even after the end of the dialog it is due an ACK.
    pub fn is_inviting(&self) -> bool {
        self.clients.iter().any(|slot| slot.is_invite() && !slot.transaction.is_answered())
    }

    /// Whether the dialog is over and no late message needs an answer, so that the value has no use any more.
    pub fn is_finished(&self) -> bool {
        self.is_terminated()
            && self.clients.is_empty()
            && self.servers.is_empty()
            && self.forks.is_empty()
            && self.out.is_empty()
            && self.events.is_empty()
    }

    fn new(endpoint: Endpoint, random: Random, role: Role, origin: Dialog, state: State) -> DialogUa {
        DialogUa {
            keyring: Keyring::new(endpoint.credentials.clone()),
            endpoint,
            random,
            role,
            origin,
            state,
            clients: Vec::new(),
            servers: Vec::new(),
            forks: Vec::new(),
            forgotten: None,
            min_se: MinSe::default(),
            timers: Timers::new(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            last_token: 0,
            noted: None,
        }
    }

    fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Tells the user, who hears nothing between its wish to end the dialog and the end.
    fn emit(&mut self, event: DialogEvent) {
        let is_ending = match &self.state {
            State::Calling(calling) => calling.cancel != Cancel::NotWanted,
            State::Ringing(_) | State::Confirmed(_) => false,
            State::Ending(_) | State::Ended(_) => true,
        };
        if !is_ending {
            self.events.push_back(event);
        }
    }

    /// Ends the dialog. Transactions go on for what they owe to the peer, but not for ever.
    fn terminate(&mut self, why: Termination, now: Instant) {
        if self.is_terminated() {
            return;
        }
        self.refuse_open_requests(now);
        self.events.push_back(DialogEvent::Terminated(why));
        let dialog = match self.take_state() {
            State::Confirmed(Confirmed { dialog })
            | State::Ending(Ending { dialog, .. })
            | State::Ringing(Ringing { dialog }) => Some(dialog),
            State::Ended(ended) => ended.dialog,
            State::Calling(_) => None,
        };
        if dialog.is_some() {
            // The peer has forgotten the dialog: what it has not answered in it, it will not any more.
            self.clients.iter_mut().for_each(|slot| slot.transaction.fall_silent());
        }
        self.state = State::Ended(Ended { dialog, is_unanswered: false });
        self.timers.clear();
        self.timers.set(Timer::Linger, now + TRANSACTION_TIMEOUT);
    }

    /// Moves the state out, to be replaced at once.
    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Ended(Ended { dialog: None, is_unanswered: false }))
    }

    /// Takes what the transactions want to send, and forgets those that are done.
    fn collect(&mut self) {
        for slot in &mut self.servers {
            self.out.extend(std::iter::from_fn(|| slot.transaction.poll_transmit()));
        }
        for slot in &mut self.clients {
            self.out.extend(std::iter::from_fn(|| slot.transaction.poll_transmit()));
        }
        for fork in &mut self.forks {
            self.out.extend(std::iter::from_fn(|| fork.bye.poll_transmit()));
        }
        self.forget();
        if self.is_terminated() && self.clients.is_empty() && self.servers.is_empty() && self.forks.is_empty()
        {
            self.timers.clear();
        }
    }
}

impl State {
    /// The dialog, once it is confirmed.
    fn dialog(&self) -> Option<&Dialog> {
        match self {
            State::Confirmed(Confirmed { dialog }) | State::Ending(Ending { dialog, .. }) => Some(dialog),
            State::Ended(Ended { dialog, .. }) => dialog.as_ref(),
            State::Calling(_) | State::Ringing(_) => None,
        }
    }

    fn dialog_mut(&mut self) -> Option<&mut Dialog> {
        match self {
            State::Confirmed(Confirmed { dialog }) | State::Ending(Ending { dialog, .. }) => Some(dialog),
            State::Ended(Ended { dialog, .. }) => dialog.as_mut(),
            State::Calling(_) | State::Ringing(_) => None,
        }
    }
}
