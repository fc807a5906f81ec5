//! Requests of ours and the responses to them.

use std::time::{Duration, Instant};

use super::endpoint::add_user_headers;
use super::repeat::refreshes;
use super::slots::{Ack, ClientSlot, Invitation, Kind, Purpose, ServerSlot, carries_sdp};
use super::{
    Body, Calling, Cancel, Confirmed, DialogUa, Ending, HeldBye, NothingToAcknowledge, RequestError,
    RequestToken, Role, State, Termination, Timer, UacConfig,
};
use crate::auth::Attempts;
use crate::dialog::Dialog;
use crate::transaction::{ClientTransaction, TRANSACTION_TIMEOUT, cancel_for};
use crate::{HeaderName, Headers, Message, Method, NameAddr, Random, Request};

impl DialogUa {
    /// Invites. `headers` are added to the INVITE (those of the protocol itself are left out).
    ///
    /// A body makes the offer; without one the 2xx does.
    pub fn invite(
        config: UacConfig,
        headers: Headers,
        body: Option<Body>,
        random: &mut Random,
        now: Instant,
    ) -> DialogUa {
        let mut random = random.fork();
        let origin = Dialog::unanswered(
            random.token(24),
            config.from.with_tag(&random.tag()),
            config.to.without_tag(),
            config.request_uri,
            config.route.into_iter().map(NameAddr::new).collect(),
        );
        let calling = Calling { early: Vec::new(), cancel: Cancel::NotWanted };
        let mut ua = DialogUa::new(config.endpoint, random, Role::Caller, origin, State::Calling(calling));
        let mut request = ua.origin.request(Method::Invite, &ua.endpoint, &mut ua.random);
        ua.complete(&mut request, headers, body);
        let invitation = Invitation::new(carries_sdp(&request.headers, &request.body));
        let token = RequestToken(ua.next_token());
        ua.start(token, request, Purpose::Initial(invitation), now);
        ua.collect();
        ua
    }

    /// Sends a request in the confirmed dialog: INVITE, UPDATE, INFO, OPTIONS, BYE or any other but ACK and CANCEL.
    /// `headers` are added to it (those of the protocol itself are left out).
    ///
    /// After BYE the only event to come is `Terminated`; a callee's BYE waits for the ACK of its first 2xx
    /// (RFC 3261 §15).
    ///
    /// # Errors
    /// When RFC 3261 or RFC 3311 forbids the request now; see [`may_offer`](Self::may_offer).
    pub fn request(
        &mut self,
        method: Method,
        headers: Headers,
        body: Option<Body>,
        now: Instant,
    ) -> Result<RequestToken, RequestError> {
        match self.state {
            State::Confirmed(_) => {}
            State::Calling(_) | State::Ringing(_) => return Err(RequestError::NotEstablished),
            State::Ending(_) | State::Ended(_) => return Err(RequestError::Ended),
        }
        let token = match method {
            Method::Ack | Method::Cancel => return Err(RequestError::Method),
            Method::Bye => {
                let token = RequestToken(self.next_token());
                self.hang_up(HeldBye { token, headers, body }, Termination::LocalBye { status: None }, now);
                token
            }
            method => self.send(method, headers, body, now)?,
        };
        self.collect();
        Ok(token)
    }

    /// Gives up the first INVITE while it has no final response: CANCEL goes out as soon as a provisional response
    /// allows it (RFC 3261 §9.1). A 2xx that crosses it is acknowledged and the dialog ended by BYE.
    /// The only event to come is `Terminated`. Without such an INVITE nothing happens.
    pub fn cancel(&mut self, now: Instant) {
        let State::Calling(calling) = &mut self.state else { return };
        if calling.cancel != Cancel::NotWanted {
            return;
        }
        calling.cancel = Cancel::Wanted;
        let initial = self.clients.iter().find(|slot| matches!(slot.purpose, Purpose::Initial(_)));
        let due = initial.filter(|slot| slot.transaction.is_cancellable());
        if let Some(cancel) = due.map(|slot| cancel_for(slot.transaction.request())) {
            self.send_cancel(cancel, now);
            self.collect();
        }
    }

    /// Sends the ACK of a 2xx that made the offer, with the answer.
    ///
    /// # Errors
    /// When no such 2xx waits.
    pub fn acknowledge(
        &mut self,
        token: RequestToken,
        body: Option<Body>,
    ) -> Result<(), NothingToAcknowledge> {
        let due = |slot: &ClientSlot| slot.token == token && slot.is_ack_due();
        let index = self.clients.iter().position(due).ok_or(NothingToAcknowledge)?;
        self.with_client(index, |ua, slot| ua.send_due_ack(slot, body));
        Ok(())
    }

    /// Whether an INVITE, or an UPDATE with an offer, may be sent now: the dialog is confirmed, and neither an INVITE
    /// nor an offer is open in either direction (RFC 3261 §14.1, RFC 3311 §5.1).
    pub fn may_offer(&self) -> bool {
        self.is_confirmed()
            && !self.is_invite_open()
            && !self.is_our_offer_open()
            && !self.is_peer_offer_open()
    }

    /// How long to wait before an offer that met 491 is tried again (RFC 3261 §14.1): 2.1-4 s for the owner of the
    /// Call-ID, 0-2 s for the other side, in steps of 10 ms.
    pub fn glare_delay(&mut self) -> Duration {
        let steps = match self.role {
            Role::Caller => 210 + self.random.below(191),
            Role::Callee { .. } => self.random.below(201),
        };
        Duration::from_millis(u64::from(steps) * 10)
    }

    /// No final response came in the time that RFC 3261 §9.1 gives to a cancelled INVITE.
    pub(super) fn give_up_cancelled(&mut self, now: Instant) {
        for slot in self.clients.iter_mut().filter(|slot| slot.kind() == Kind::Initial) {
            slot.transaction.terminate();
        }
        self.terminate(Termination::Cancelled, now);
    }

    /// Ends the confirmed dialog.
    pub(super) fn hang_up(&mut self, bye: HeldBye, why: Termination, now: Instant) {
        // RFC 3261 §15: whatever is open ends with the dialog.
        self.refuse_open_requests(now);
        for index in 0..self.clients.len() {
            if self.clients.get(index).is_some_and(ClientSlot::is_ack_due) {
                self.with_client(index, |ua, slot| ua.send_due_ack(slot, None));
            }
        }
        let dialog = match self.take_state() {
            State::Confirmed(Confirmed { dialog }) => dialog,
            other => {
                self.state = other;
                return;
            }
        };
        self.state = State::Ending(Ending { dialog, held_bye: Some(Box::new(bye)), why });
        if !self.awaits_first_ack() {
            self.send_held_bye(now);
        }
    }

    /// Sends the BYE that waited for an ACK, if there is one.
    pub(super) fn send_held_bye(&mut self, now: Instant) {
        let State::Ending(ending) = &mut self.state else { return };
        let Some(bye) = ending.held_bye.take() else { return };
        let mut request = ending.dialog.request(Method::Bye, &self.endpoint, &mut self.random);
        self.complete(&mut request, bye.headers, bye.body);
        self.start(bye.token, request, Purpose::Bye, now);
    }

    /// Whether an offer of ours, in either kind of request or in a 2xx, has no answer.
    pub(super) fn is_our_offer_open(&self) -> bool {
        let in_request = |slot: &ClientSlot| {
            matches!(slot.purpose, Purpose::Update { offer: true }) && !slot.transaction.is_answered()
        };
        self.is_inviting()
            || self.clients.iter().any(in_request)
            || self
                .servers
                .iter()
                .any(|slot| slot.unacknowledged.as_ref().is_some_and(|answer| answer.offers))
    }

    /// Whether the peer's offer, in either kind of request or in a 2xx, has no answer.
    pub(super) fn is_peer_offer_open(&self) -> bool {
        self.servers.iter().any(ServerSlot::is_open_offer) || self.clients.iter().any(ClientSlot::is_ack_due)
    }

    fn send(
        &mut self,
        method: Method,
        headers: Headers,
        body: Option<Body>,
        now: Instant,
    ) -> Result<RequestToken, RequestError> {
        let offers = body.as_ref().is_some_and(Body::is_offer);
        if method == Method::Invite && self.is_invite_open() {
            return Err(RequestError::InviteOpen);
        }
        let opens = method == Method::Invite || method == Method::Update && offers;
        if opens && (self.is_our_offer_open() || self.is_peer_offer_open()) {
            return Err(RequestError::OfferOpen);
        }
        let State::Confirmed(Confirmed { dialog }) = &mut self.state else { return Err(RequestError::Ended) };
        let mut request = dialog.request(method.clone(), &self.endpoint, &mut self.random);
        self.complete(&mut request, headers, body);
        let purpose = match method {
            Method::Invite => Purpose::ReInvite(Invitation::new(offers)),
            Method::Update => Purpose::Update { offer: offers },
            _ => Purpose::Other,
        };
        let token = RequestToken(self.next_token());
        self.min_se.begin();
        self.start(token, request, purpose, now);
        Ok(token)
    }

    fn start(&mut self, token: RequestToken, request: Request, purpose: Purpose, now: Instant) {
        self.start_after(Attempts::default(), token, request, purpose, now);
    }

    /// Sends a request that has met these challenges.
    pub(super) fn start_after(
        &mut self,
        attempts: Attempts,
        token: RequestToken,
        mut request: Request,
        mut purpose: Purpose,
        now: Instant,
    ) {
        // A CANCEL cannot be sent again, so that nobody may ask for its credentials (RFC 3261 §22.1).
        if !matches!(purpose, Purpose::Cancel) {
            self.keyring.authorize(&mut request);
        }
        if let Purpose::Initial(invitation) | Purpose::ReInvite(invitation) = &mut purpose {
            invitation.is_sent_as(&request);
        }
        let transaction = ClientTransaction::new(request, self.endpoint.transport(), now);
        self.clients.push(ClientSlot { token, transaction, purpose, attempts });
    }

    pub(super) fn send_cancel(&mut self, cancel: Request, now: Instant) {
        if let State::Calling(calling) = &mut self.state {
            calling.cancel = Cancel::Sent;
        }
        self.timers.set(Timer::Cancelled, now + TRANSACTION_TIMEOUT);
        let token = RequestToken(self.next_token());
        self.start(token, cancel, Purpose::Cancel, now);
    }

    /// Lends a slot to a closure together with the rest of the dialog.
    pub(super) fn with_client(&mut self, index: usize, act: impl FnOnce(&mut DialogUa, &mut ClientSlot)) {
        if index < self.clients.len() {
            let mut slot = self.clients.remove(index);
            act(self, &mut slot);
            // What was added meanwhile stands behind it.
            self.clients.insert(index.min(self.clients.len()), slot);
        }
    }

    fn send_due_ack(&mut self, slot: &mut ClientSlot, body: Option<Body>) {
        if let Purpose::Initial(invitation) | Purpose::ReInvite(invitation) = &mut slot.purpose {
            self.send_ack(invitation, body);
        }
    }

    pub(super) fn send_ack(&mut self, invitation: &mut Invitation, body: Option<Body>) {
        let Some(dialog) = self.state.dialog() else { return };
        let mut ack = dialog.ack(invitation.cseq, &self.endpoint, &mut self.random);
        self.complete(&mut ack, Headers::new(), body);
        ack.headers.extend(invitation.credentials());
        self.out.push_back(Message::Request(ack.clone()));
        invitation.ack = Ack::Sent(Box::new(ack));
    }

    /// Whether an INVITE forbids another one of ours (RFC 3261 §14.1).
    fn is_invite_open(&self) -> bool {
        self.is_inviting()
            || self
                .servers
                .iter()
                .any(|slot| slot.transaction.is_open_invite() || slot.unacknowledged.is_some())
    }

    /// Whom a request is from, and what it carries.
    pub(super) fn complete(&self, request: &mut Request, headers: Headers, body: Option<Body>) {
        add_user_headers(&mut request.headers, &headers);
        if refreshes(&request.method) {
            self.min_se.apply(&mut request.headers);
        }
        self.endpoint.present(&request.method, &mut request.headers);
        if let Some(body) = body {
            request.headers.push(HeaderName::ContentType, body.content_type);
            request.body = body.bytes;
        }
    }
}
