//! A server transaction: the INVITE one or the other one.

use std::collections::VecDeque;
use std::time::Instant;

use super::Outbox;
use super::client::TransactionFailure;
use super::kept_bytes;
use super::key::ServerKey;
use super::server_invite::InviteServer;
use super::server_request::RequestServer;
use crate::{HeaderName, Message, Method, Request, Response, Transport};

/// A request that was received and must be answered.
#[derive(Debug)]
pub struct ServerTransaction {
    key: ServerKey,
    machine: Machine,
    out: Outbox,
}

#[derive(Debug)]
enum Machine {
    Invite(Box<InviteServer>),
    Other(Box<RequestServer>),
}

/// The request has its final response already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has been answered already")]
pub struct AlreadyAnswered;

impl ServerTransaction {
    /// Starts the transaction of a request (never of an ACK, which has none). An INVITE that stays unanswered for
    /// 200 ms is answered 100 Trying by itself.
    pub fn new(request: Request, transport: Transport, now: Instant) -> ServerTransaction {
        let reliable = transport.is_reliable();
        let key = ServerKey::of(&request);
        let machine = if request.method == Method::Invite {
            Machine::Invite(Box::new(InviteServer::new(request, reliable, now)))
        } else {
            Machine::Other(Box::new(RequestServer::new(request, !reliable)))
        };
        ServerTransaction { key, machine, out: VecDeque::new() }
    }

    /// The same, which absorbs its request over a stream too. RFC 3261 §17.2.2 lets go of it there; but a peer whose
    /// connection breaks sends what has no answer once more by the next one.
    pub(crate) fn absorbing(mut self) -> ServerTransaction {
        if let Machine::Other(other) = &mut self.machine {
            other.absorb();
        }
        self
    }

    /// The request, as it was received; once it is answered, its method and URI alone.
    pub fn request(&self) -> &Request {
        match &self.machine {
            Machine::Invite(invite) => invite.request(),
            Machine::Other(other) => other.request(),
        }
    }

    /// Whether `request` is this one again, or the ACK of its refusal (RFC 3261 §17.2.3).
    pub fn is_match(&self, request: &Request) -> bool {
        self.has_key(&ServerKey::of(request))
    }

    /// [`is_match`](Self::is_match), for who asks several transactions.
    pub(crate) fn has_key(&self, request: &ServerKey) -> bool {
        self.key.is_match(request)
    }

    /// Whether `cancel` is the CANCEL of this request (RFC 3261 §9.2).
    pub fn is_cancelled_by(&self, cancel: &Request) -> bool {
        self.key.is_cancelled_by(&ServerKey::of(cancel))
    }

    /// Takes a request that [matches](Self::is_match). False when it is an ACK of a 2xx, which is for the user.
    pub fn handle_request(&mut self, request: &Request, now: Instant) -> bool {
        match &mut self.machine {
            Machine::Invite(invite) if request.method == Method::Ack => return invite.handle_ack(now),
            Machine::Invite(invite) => invite.handle_retransmission(&mut self.out),
            Machine::Other(other) => other.handle_retransmission(&mut self.out),
        }
        true
    }

    /// Sends `response`. After a 2xx to an INVITE more of them may follow: sending it again until the ACK comes is the
    /// user's task (RFC 3261 §13.3.1.4).
    ///
    /// # Errors
    /// When a final response has been sent.
    pub fn respond(&mut self, response: Response, now: Instant) -> Result<(), AlreadyAnswered> {
        match &mut self.machine {
            Machine::Invite(invite) => invite.respond(response, now, &mut self.out),
            Machine::Other(other) => other.respond(response, now, &mut self.out),
        }
    }

    /// Does what is due at `now`. Says so when the ACK of a refusal never came.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<TransactionFailure> {
        match &mut self.machine {
            Machine::Invite(invite) => invite.handle_timeout(now, &mut self.out),
            Machine::Other(other) => {
                other.handle_timeout(now);
                None
            }
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

    /// Whether a final response has been sent.
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

    /// The bytes, about, that are kept only to know the request when it comes again.
    pub(crate) fn kept_bytes(&self) -> usize {
        let answer = match &self.machine {
            Machine::Invite(_) => 0,
            Machine::Other(other) => {
                other.kept().map_or(0, |answer| kept_bytes(&answer.headers, &answer.body))
            }
        };
        size_of::<InviteServer>() + self.key.kept_bytes() + self.request().uri.as_str().len() + answer
    }

    /// Whether this is an INVITE that forbids one of ours (RFC 3261 §14.1).
    pub(crate) fn is_open_invite(&self) -> bool {
        match &self.machine {
            Machine::Invite(invite) => invite.is_open(),
            Machine::Other(_) => false,
        }
    }
}

/// A response to `request` with the headers that each must have (RFC 3261 §8.2.6) and the usual reason phrase.
/// `to_tag` is put on a To that has no tag; a 100 needs none.
pub fn response_to(request: &Request, status: u16, to_tag: Option<&str>) -> Response {
    let mut response = Response::to_request(request, status);
    if let Some(tag) = to_tag
        && let Ok(to) = request.headers.to()
        && to.tag().is_none()
    {
        response.headers.set(HeaderName::To, to.with_tag(tag));
    }
    response
}
