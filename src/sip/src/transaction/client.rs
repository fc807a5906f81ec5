//! A client transaction: the INVITE one or the other one.

use std::collections::VecDeque;
use std::time::Instant;

use super::Outbox;
use super::client_invite::InviteClient;
use super::client_request::RequestClient;
use super::kept_bytes;
use super::key::ClientKey;
use crate::auth::credentials_of;
use crate::{CSeq, HeaderName, Message, Method, Request, Response, Transport};

/// A request that was sent and waits for its responses.
///
/// The request must carry its Via with a fresh branch, as those of [`Endpoint::request`](crate::Endpoint::request) do.
/// An ACK is no transaction and cannot be sent so.
#[derive(Debug)]
pub struct ClientTransaction {
    key: ClientKey,
    machine: Machine,
    out: Outbox,
}

#[derive(Debug)]
enum Machine {
    Invite(Box<InviteClient>),
    Other(Box<RequestClient>),
}

/// Why a transaction ended without a final response, or without an ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactionFailure {
    /// The other side stayed silent for 64 × T1. Counts as 408 (RFC 3261 §8.1.3.1).
    #[error("no answer within 32 s")]
    TimedOut,
    /// The message could not be sent. Counts as 503 (RFC 3261 §8.1.3.1).
    #[error("the message could not be sent")]
    Transport,
}

impl ClientTransaction {
    /// Starts the transaction; the request is the first thing that [`poll_transmit`](Self::poll_transmit) gives.
    pub fn new(request: Request, transport: Transport, now: Instant) -> ClientTransaction {
        let mut out = VecDeque::new();
        let reliable = transport.is_reliable();
        let key = ClientKey::of_request(&request);
        let machine = if request.method == Method::Invite {
            Machine::Invite(Box::new(InviteClient::new(request, reliable, now, &mut out)))
        } else {
            Machine::Other(Box::new(RequestClient::new(request, reliable, now, &mut out)))
        };
        ClientTransaction { key, machine, out }
    }

    /// The request, as it was sent; without its content once that was forgotten.
    pub fn request(&self) -> &Request {
        match &self.machine {
            Machine::Invite(invite) => invite.request(),
            Machine::Other(other) => other.request(),
        }
    }

    /// Whether `response` belongs here (RFC 3261 §17.1.3).
    pub fn is_match(&self, response: &Response) -> bool {
        ClientKey::of_response(response).is_some_and(|key| self.has_key(&key))
    }

    /// [`is_match`](Self::is_match), for who asks several transactions.
    pub(crate) fn has_key(&self, response: &ClientKey) -> bool {
        self.key.is_match(response)
    }

    /// Takes a response that [matches](Self::is_match). Returns it when it is news for the user: a provisional
    /// response, the final one, or (for INVITE) any 2xx, which the user must acknowledge each time.
    /// A refused INVITE is acknowledged here.
    pub fn handle_response(&mut self, response: Response, now: Instant) -> Option<Response> {
        match &mut self.machine {
            Machine::Invite(invite) => invite.handle_response(response, now, &mut self.out),
            Machine::Other(other) => other.handle_response(response, now),
        }
    }

    /// Does what is due at `now`. Says so when the transaction ended without an answer.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<TransactionFailure> {
        match &mut self.machine {
            Machine::Invite(invite) => invite.handle_timeout(now, &mut self.out),
            Machine::Other(other) => other.handle_timeout(now, &mut self.out),
        }
    }

    /// The transport cannot send to the peer. Says so when that ends the transaction without an answer.
    pub fn handle_transport_error(&mut self) -> Option<TransactionFailure> {
        match &mut self.machine {
            Machine::Invite(invite) => invite.handle_transport_error(),
            Machine::Other(other) => other.handle_transport_error(),
        }
    }

    /// The transport cannot send to the peer now, which may pass: the request goes again, after T2 where nothing repeats it anyway, for
    /// as long as its answer has time. An INVITE is not sent so.
    pub(crate) fn send_later(&mut self, now: Instant) {
        if let Machine::Other(other) = &mut self.machine {
            other.send_later(now);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Invite(invite) => invite.next_timeout(),
            Machine::Other(other) => other.next_timeout(),
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// Whether the final response has come, or never will.
    pub fn is_answered(&self) -> bool {
        match &self.machine {
            Machine::Invite(invite) => invite.is_answered(),
            Machine::Other(other) => other.is_answered(),
        }
    }

    /// Whether nothing more can happen: the value may be dropped once `poll_transmit` is empty.
    pub fn is_terminated(&self) -> bool {
        match &self.machine {
            Machine::Invite(invite) => invite.is_terminated(),
            Machine::Other(other) => other.is_terminated(),
        }
    }

    /// Whether an INVITE has a provisional and no final response: the time when it may be cancelled (RFC 3261 §9.1).
    pub(crate) fn is_cancellable(&self) -> bool {
        match &self.machine {
            Machine::Invite(invite) => invite.is_proceeding(),
            Machine::Other(_) => false,
        }
    }

    /// Lets go of the content of a request that is answered, which nobody will ask for.
    pub(crate) fn forget_request(&mut self) {
        match &mut self.machine {
            Machine::Invite(invite) => invite.forget_request(),
            Machine::Other(other) => other.forget_request(),
        }
    }

    /// The bytes, about, that are kept for responses that come again.
    pub(crate) fn kept_bytes(&self) -> usize {
        let ack = match &self.machine {
            Machine::Invite(invite) => invite.kept().map_or(0, |ack| kept_bytes(&ack.headers, &ack.body)),
            Machine::Other(_) => 0,
        };
        size_of::<InviteClient>() + self.key.kept_bytes() + self.request().uri.as_str().len() + ack
    }

    /// Repeats the request no more. A response is still awaited, and a refusal of an INVITE acknowledged.
    pub(crate) fn fall_silent(&mut self) {
        match &mut self.machine {
            Machine::Invite(invite) => invite.fall_silent(),
            Machine::Other(other) => other.fall_silent(),
        }
    }

    /// Gives up at once.
    pub(crate) fn terminate(&mut self) {
        match &mut self.machine {
            Machine::Invite(invite) => invite.terminate(),
            Machine::Other(other) => other.terminate(),
        }
    }
}

/// The ACK of a refusal (RFC 3261 §17.1.1.3). It belongs to the INVITE's transaction, hence to its branch and its way.
pub(super) fn ack_for(invite: &Request, refusal: &Response) -> Request {
    let mut ack = sibling_of(invite, Method::Ack);
    ack.headers.extend(&credentials_of(&invite.headers));
    // One that nobody can read is not repeated.
    if let Ok(to) = refusal.headers.to() {
        ack.headers.set(HeaderName::To, to);
    }
    ack
}

/// The CANCEL of an INVITE (RFC 3261 §9.1).
pub(crate) fn cancel_for(invite: &Request) -> Request {
    sibling_of(invite, Method::Cancel)
}

/// A request that goes the INVITE's way, under its branch and number.
fn sibling_of(invite: &Request, method: Method) -> Request {
    let mut request = Request::new(method.clone(), invite.uri.clone());
    if let Some(via) = invite.headers.get(&HeaderName::Via) {
        request.headers.push(HeaderName::Via, via.clone());
    }
    for name in
        [HeaderName::MaxForwards, HeaderName::Route, HeaderName::From, HeaderName::To, HeaderName::CallId]
    {
        request.headers.copy_from(&invite.headers, &name);
    }
    let number = invite.headers.cseq().map_or(0, |cseq| cseq.number);
    request.headers.push(HeaderName::CSeq, CSeq::new(number, method));
    request
}
