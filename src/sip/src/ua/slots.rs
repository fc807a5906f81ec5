//! The transactions of a dialog and what the dialog must remember about each.

use std::time::{Duration, Instant};

use super::{RequestToken, ServerToken};
use crate::auth::{Attempts, credentials_of};
use crate::dialog::Dialog;
use crate::transaction::timer::{T1, T4, TRANSACTION_TIMEOUT, Timers, back_off, earliest};
use crate::transaction::{ClientTransaction, ServerTransaction, kept_bytes};
use crate::{Headers, Message, Method, Request, Response};

/// A request of ours.
#[derive(Debug)]
pub(super) struct ClientSlot {
    pub(super) token: RequestToken,
    pub(super) transaction: ClientTransaction,
    pub(super) purpose: Purpose,
    /// The challenges that the request has met.
    pub(super) attempts: Attempts,
}

impl ClientSlot {
    pub(super) fn kind(&self) -> Kind {
        match self.purpose {
            Purpose::Initial(_) => Kind::Initial,
            Purpose::Bye => Kind::Bye,
            Purpose::Cancel => Kind::Cancel,
            Purpose::Repeated => Kind::Repeated,
            Purpose::ReInvite(_) | Purpose::Update { .. } | Purpose::Other => Kind::Other,
        }
    }

    pub(super) fn is_invite(&self) -> bool {
        matches!(self.purpose, Purpose::Initial(_) | Purpose::ReInvite(_))
    }

    /// When something is to be done about it. One that is answered and only absorbs what comes again (timer K) is forgotten when
    /// something else is due after that, or late: while the dialog `goes_on`, a wake for that alone would be as many wakes as
    /// there are questions.
    pub(super) fn next_timeout(&self, goes_on: bool) -> Option<Instant> {
        let due = self.transaction.next_timeout()?;
        let only_absorbs = goes_on && !self.is_invite() && self.transaction.is_answered();
        Some(if only_absorbs { due + (TRANSACTION_TIMEOUT - T4) } else { due })
    }

    /// The bytes, about, that are kept only for responses that come again; `None` while the request is more than that.
    pub(super) fn kept_bytes(&self) -> Option<usize> {
        if !self.transaction.is_answered() || self.is_ack_due() {
            return None;
        }
        let ack = match &self.purpose {
            // By it other branches of a fork are known; and these are few.
            Purpose::Initial(_) | Purpose::Bye | Purpose::Cancel => return None,
            Purpose::ReInvite(Invitation { ack: Ack::Sent(ack), .. }) => kept_bytes(&ack.headers, &ack.body),
            Purpose::ReInvite(_) | Purpose::Update { .. } | Purpose::Repeated | Purpose::Other => 0,
        };
        Some(size_of::<ClientSlot>() + ack + self.transaction.kept_bytes())
    }

    /// The number of an INVITE whose 2xx is acknowledged.
    pub(super) fn acknowledged_invite(&self) -> Option<u32> {
        match &self.purpose {
            Purpose::ReInvite(Invitation { cseq, ack: Ack::Sent(_), .. }) => Some(*cseq),
            _ => None,
        }
    }

    /// Whether a 2xx with an offer waits for the user's answer.
    pub(super) fn is_ack_due(&self) -> bool {
        match &self.purpose {
            Purpose::Initial(invitation) | Purpose::ReInvite(invitation) => {
                matches!(invitation.ack, Ack::Due)
            }
            _ => false,
        }
    }
}

/// What the failure of a request of ours means to the dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Initial,
    Bye,
    Cancel,
    Repeated,
    Other,
}

/// What a request of ours is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The first INVITE.
    Initial(Invitation),
    /// A later INVITE.
    ReInvite(Invitation),
    /// An UPDATE, with or without an offer.
    Update {
        offer: bool,
    },
    Bye,
    Cancel,
    /// It was refused and is on its way again in another transaction; this one only absorbs what comes again.
    Repeated,
    Other,
}

/// What belongs to an INVITE of ours besides its transaction.
#[derive(Debug, Default)]
pub(super) struct Invitation {
    pub(super) cseq: u32,
    /// Whether it carried the offer; else the 2xx does, and the user's answer goes into the ACK.
    pub(super) offered: bool,
    pub(super) ack: Ack,
    /// Its credentials, which its ACK repeats: nobody may ask for those of an ACK (RFC 3261 §22.1).
    credentials: Headers,
}

/// The ACK of a 2xx.
#[derive(Debug, Default)]
pub(super) enum Ack {
    /// No 2xx yet.
    #[default]
    NotDue,
    /// A 2xx with an offer waits for the user's answer.
    Due,
    /// Sent, and sent again with each 2xx that comes again (RFC 3261 §13.2.2.4).
    Sent(Box<Request>),
}

impl Invitation {
    pub(super) fn new(offered: bool) -> Invitation {
        Invitation { offered, ..Invitation::default() }
    }

    /// What an INVITE with this number can have been.
    pub(super) fn forgotten(cseq: u32) -> Invitation {
        Invitation { cseq, ..Invitation::default() }
    }

    /// This INVITE is sent, for the first time or again.
    pub(super) fn is_sent_as(&mut self, invite: &Request) {
        self.cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
        self.credentials = credentials_of(&invite.headers);
    }

    pub(super) fn credentials(&self) -> &Headers {
        &self.credentials
    }
}

/// Another branch of a forked INVITE that answered too, and is being told that nobody wants it.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) dialog: Dialog,
    pub(super) ack: Request,
    pub(super) bye: ClientTransaction,
    /// The BYE has its final answer.
    pub(super) is_answered: bool,
    pub(super) note: ForkNote,
}

/// What the user was given to write down of another branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForkNote {
    /// Nothing.
    No,
    /// That it stands.
    Stands,
    /// That it is over.
    Over,
}

impl Fork {
    /// Whether it can be forgotten: its BYE is done, and the user does not wait to be told so.
    pub(super) fn is_done(&self) -> bool {
        self.bye.is_terminated() && self.note != ForkNote::Stands
    }
}

/// A request of the peer.
#[derive(Debug)]
pub(super) struct ServerSlot {
    pub(super) token: ServerToken,
    pub(super) transaction: ServerTransaction,
    /// A 2xx to an INVITE that the peer has not acknowledged.
    pub(super) unacknowledged: Option<Unacknowledged>,
}

impl ServerSlot {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let own = self.unacknowledged.as_ref().and_then(|answer| answer.timers.next_timeout());
        earliest(own, self.transaction.next_timeout())
    }

    /// Whether something is left to be done for it: an answer, or waiting for the ACK of one.
    pub(super) fn is_open(&self) -> bool {
        !self.transaction.is_answered() || self.transaction.is_open_invite() || self.unacknowledged.is_some()
    }

    /// The bytes, about, that are kept only to know the request when it comes again; `None` while it is open.
    pub(super) fn kept_bytes(&self) -> Option<usize> {
        (!self.is_open()).then(|| size_of::<ServerSlot>() + self.transaction.kept_bytes())
    }

    /// Whether RFC 3261 §17.2 keeps it over a stream too.
    pub(super) fn is_absorbed_on_streams(&self) -> bool {
        self.is_open() || self.transaction.request().method == Method::Invite
    }

    pub(super) fn is_done(&self) -> bool {
        self.transaction.is_terminated() && self.unacknowledged.is_none()
    }

    /// Whether it carried an offer that we have yet to answer.
    pub(super) fn is_open_offer(&self) -> bool {
        let request = self.transaction.request();
        !self.transaction.is_answered() && carries_sdp(&request.headers, &request.body)
    }
}

/// A 2xx to an INVITE, sent again until its ACK comes, over any transport (RFC 3261 §13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) cseq: u32,
    /// Whether the 2xx makes the offer, so that the ACK must bring the answer.
    pub(super) offers: bool,
    response: Response,
    interval: Duration,
    timers: Timers<Timer>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Timer {
    Again,
    GiveUp,
}

impl Unacknowledged {
    pub(super) fn new(cseq: u32, offers: bool, response: Response, now: Instant) -> Unacknowledged {
        let mut timers = Timers::new();
        timers.set(Timer::Again, now + T1);
        timers.set(Timer::GiveUp, now + TRANSACTION_TIMEOUT);
        Unacknowledged { cseq, offers, response, interval: T1, timers }
    }

    /// Sends the 2xx again when it is time. True when it is time to give up.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut impl Extend<Message>) -> bool {
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::GiveUp => return true,
                Timer::Again => {
                    self.interval = back_off(self.interval);
                    self.timers.set(Timer::Again, now + self.interval);
                    out.extend([Message::Response(self.response.clone())]);
                }
            }
        }
        false
    }
}

/// Whether a body is, or holds, a session description. An untyped body counts as one, as before RFC 3261.
pub(super) fn carries_sdp(headers: &Headers, body: &[u8]) -> bool {
    if body.is_empty() {
        return false;
    }
    match headers.content_type() {
        Ok(Some(kind)) => kind.is("application/sdp") || kind.is_multipart(),
        Ok(None) => true,
        Err(_) => false,
    }
}
