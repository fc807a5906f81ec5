//! Requests of ours and the responses to them.

use std::time::{Duration, Instant};

use super::endpoint::add_user_headers;
use super::slots::{Ack, ClientSlot, Fork, Invitation, Kind, Purpose, ServerSlot, carries_sdp};
use super::{
    Body, Calling, Cancel, Confirmed, DialogEvent, DialogUa, Ended, Ending, HeldBye, NothingToAcknowledge,
    RequestError, RequestToken, Role, State, Termination, Timer, UacConfig,
};
use crate::dialog::{Dialog, remote_tag};
use crate::transaction::{ClientTransaction, TRANSACTION_TIMEOUT, TransactionFailure, cancel_for};
use crate::{HeaderName, Headers, Message, Method, NameAddr, Random, Request, Response};

/// More branches of a fork than a recorder has any reason to make; those above are ignored.
const MAX_FORKS: usize = 16;

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
        let invitation = Invitation::new(number(&request), carries_sdp(&request.headers, &request.body));
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
                self.hang_up(HeldBye { token, headers, body }, Termination::LocalBye, now);
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

    pub(super) fn handle_response(&mut self, response: Response, now: Instant) {
        if let Some(fork) = self.forks.iter_mut().find(|fork| fork.bye.is_match(&response)) {
            fork.bye.handle_response(response, now);
            return;
        }
        let Some(index) = self.clients.iter().position(|slot| slot.transaction.is_match(&response)) else {
            return self.handle_stray(&response, now);
        };
        self.with_client(index, |ua, slot| {
            if let Some(response) = slot.transaction.handle_response(response, now) {
                ua.on_response(slot, response, now);
            }
        });
    }

    pub(super) fn time_out_clients(&mut self, now: Instant) {
        let fail = |slot: &mut ClientSlot| {
            slot.transaction.handle_timeout(now).map(|failure| (slot.token, slot.kind(), failure))
        };
        let failed: Vec<_> = self.clients.iter_mut().filter_map(fail).collect();
        for (token, kind, failure) in failed {
            self.on_failure(token, kind, failure, now);
        }
    }

    pub(super) fn lose_clients(&mut self, now: Instant) {
        let fail = |slot: &mut ClientSlot| {
            slot.transaction.handle_transport_error().map(|failure| (slot.token, slot.kind(), failure))
        };
        let failed: Vec<_> = self.clients.iter_mut().filter_map(fail).collect();
        for (token, kind, failure) in failed {
            self.on_failure(token, kind, failure, now);
        }
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

    /// Whether an INVITE of ours has no final response.
    pub(super) fn is_inviting(&self) -> bool {
        self.clients.iter().any(|slot| slot.is_invite() && !slot.transaction.is_answered())
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
            Method::Invite => Purpose::ReInvite(Invitation::new(number(&request), offers)),
            Method::Update => Purpose::Update { offer: offers },
            _ => Purpose::Other,
        };
        let token = RequestToken(self.next_token());
        self.start(token, request, purpose, now);
        Ok(token)
    }

    fn start(&mut self, token: RequestToken, request: Request, purpose: Purpose, now: Instant) {
        let transaction = ClientTransaction::new(request, self.endpoint.transport(), now);
        self.clients.push(ClientSlot { token, transaction, purpose });
    }

    fn send_cancel(&mut self, cancel: Request, now: Instant) {
        if let State::Calling(calling) = &mut self.state {
            calling.cancel = Cancel::Sent;
        }
        self.timers.set(Timer::Cancelled, now + TRANSACTION_TIMEOUT);
        let token = RequestToken(self.next_token());
        self.start(token, cancel, Purpose::Cancel, now);
    }

    /// Lends a slot to a closure together with the rest of the dialog.
    fn with_client(&mut self, index: usize, act: impl FnOnce(&mut DialogUa, &mut ClientSlot)) {
        if index < self.clients.len() {
            let mut slot = self.clients.remove(index);
            act(self, &mut slot);
            // What was added meanwhile stands behind it.
            self.clients.insert(index.min(self.clients.len()), slot);
        }
    }

    fn on_response(&mut self, slot: &mut ClientSlot, response: Response, now: Instant) {
        let token = slot.token;
        let status = response.status;
        match &mut slot.purpose {
            Purpose::Initial(_) if status < 200 => self.on_progress(slot, response, now),
            Purpose::Initial(invitation) if status < 300 => {
                self.on_initial_answer(token, invitation, response, now);
            }
            Purpose::Initial(_) => {
                let why = self.unestablished();
                self.emit(DialogEvent::Refused { token, response });
                self.terminate(why, now);
            }
            Purpose::ReInvite(_) if status < 200 => self.emit(DialogEvent::Progress { token, response }),
            Purpose::ReInvite(invitation) if status < 300 => self.on_answer(token, invitation, response),
            Purpose::ReInvite(_) => self.emit(DialogEvent::Refused { token, response }),
            Purpose::Bye if status >= 200 => self.end(now),
            Purpose::Update { .. } | Purpose::Other if status >= 200 => {
                self.refresh_target(&response.headers);
                self.emit(DialogEvent::Responded { token, response });
            }
            Purpose::Bye | Purpose::Cancel | Purpose::Update { .. } | Purpose::Other => {}
        }
    }

    /// A provisional response to the first INVITE.
    fn on_progress(&mut self, slot: &ClientSlot, response: Response, now: Instant) {
        let State::Calling(calling) = &mut self.state else { return };
        let tag = remote_tag(&response);
        let known = calling.early.iter().any(|dialog| dialog.remote_tag() == tag.as_deref());
        if response.status > 100 && tag.is_some() && !known && calling.early.len() < MAX_FORKS {
            calling.early.push(self.origin.opened_by(&response));
        }
        if calling.cancel == Cancel::Wanted {
            self.send_cancel(cancel_for(slot.transaction.request()), now);
        }
        self.emit(DialogEvent::Progress { token: slot.token, response });
    }

    /// A 2xx to the first INVITE: the first such, the same again, or that of another branch.
    fn on_initial_answer(
        &mut self,
        token: RequestToken,
        invitation: &mut Invitation,
        response: Response,
        now: Instant,
    ) {
        let tag = remote_tag(&response);
        let calling = match self.take_state() {
            State::Calling(calling) => calling,
            other => {
                let same = other.dialog().is_some_and(|dialog| dialog.remote_tag() == tag.as_deref());
                self.state = other;
                return if same {
                    self.on_answer(token, invitation, response)
                } else {
                    self.fork(&response, now)
                };
            }
        };
        let early = calling.early.into_iter().find(|dialog| dialog.remote_tag() == tag.as_deref());
        let dialog = match early {
            Some(mut dialog) => {
                dialog.confirm(&response);
                dialog
            }
            None => self.origin.opened_by(&response),
        };
        self.state = State::Confirmed(Confirmed { dialog });
        self.timers.stop(Timer::Cancelled);
        if calling.cancel == Cancel::NotWanted {
            return self.on_answer(token, invitation, response);
        }
        // The 2xx crossed the CANCEL (RFC 3261 §9.1): the session exists and has to be ended.
        self.send_ack(invitation, None);
        let token = RequestToken(self.next_token());
        self.hang_up(HeldBye { token, headers: Headers::new(), body: None }, Termination::Cancelled, now);
    }

    /// A 2xx to an INVITE of ours in this dialog.
    fn on_answer(&mut self, token: RequestToken, invitation: &mut Invitation, response: Response) {
        match &invitation.ack {
            // It came again, so our ACK was lost.
            Ack::Sent(ack) => return self.out.push_back(Message::Request(ack.as_ref().clone())),
            Ack::Due => return,
            Ack::NotDue => self.refresh_target(&response.headers),
        }
        // After a BYE nobody will answer an offer, and the ACK is owed all the same.
        if invitation.offered || !self.is_confirmed() {
            self.send_ack(invitation, None);
        } else {
            invitation.ack = Ack::Due;
        }
        self.emit(DialogEvent::Answered { token, response });
    }

    fn send_due_ack(&mut self, slot: &mut ClientSlot, body: Option<Body>) {
        if let Purpose::Initial(invitation) | Purpose::ReInvite(invitation) = &mut slot.purpose {
            self.send_ack(invitation, body);
        }
    }

    fn send_ack(&mut self, invitation: &mut Invitation, body: Option<Body>) {
        let Some(dialog) = self.state.dialog() else { return };
        let mut ack = dialog.ack(invitation.cseq, &self.endpoint, &mut self.random);
        self.complete(&mut ack, Headers::new(), body);
        self.out.push_back(Message::Request(ack.clone()));
        invitation.ack = Ack::Sent(Box::new(ack));
    }

    /// Another branch of the first INVITE answered: acknowledged and ended (RFC 3261 §13.2.2.4).
    fn fork(&mut self, response: &Response, now: Instant) {
        let tag = remote_tag(response);
        if let Some(fork) = self.forks.iter().find(|fork| fork.remote_tag == tag) {
            self.out.push_back(Message::Request(fork.ack.clone()));
            return;
        }
        let Ok(cseq) = response.headers.cseq() else { return };
        if self.forks.len() >= MAX_FORKS {
            return;
        }
        let mut dialog = self.origin.opened_by(response);
        let ack = dialog.ack(cseq.number, &self.endpoint, &mut self.random);
        self.out.push_back(Message::Request(ack.clone()));
        let mut bye = dialog.request(Method::Bye, &self.endpoint, &mut self.random);
        self.complete(&mut bye, Headers::new(), None);
        let bye = ClientTransaction::new(bye, self.endpoint.transport(), now);
        self.forks.push(Fork { remote_tag: tag, ack, bye });
    }

    /// A response without a transaction is dropped (RFC 6026 §8.1), save a 2xx to an INVITE that was given up: it made a
    /// session that has to be ended.
    fn handle_stray(&mut self, response: &Response, now: Instant) {
        let headers = &response.headers;
        let is_ours = headers.from().is_ok_and(|from| from.tag() == Some(self.origin.local_tag()));
        let is_invite = headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        let is_given_up =
            matches!(self.state, State::Ended(Ended { dialog: None })) && self.role == Role::Caller;
        if response.is_success() && is_ours && is_invite && is_given_up {
            self.fork(response, now);
        }
    }

    fn on_failure(&mut self, token: RequestToken, kind: Kind, failure: TransactionFailure, now: Instant) {
        match kind {
            Kind::Initial => {
                let why = self.unestablished();
                self.emit(DialogEvent::Failed { token, failure });
                self.terminate(why, now);
            }
            Kind::Bye => self.end(now),
            // The INVITE has its own time limit.
            Kind::Cancel => {}
            Kind::Other => self.emit(DialogEvent::Failed { token, failure }),
        }
    }

    /// Our BYE is done.
    fn end(&mut self, now: Instant) {
        if let State::Ending(ending) = &mut self.state {
            let why = std::mem::replace(&mut ending.why, Termination::LocalBye);
            self.terminate(why, now);
        }
    }

    fn unestablished(&self) -> Termination {
        match &self.state {
            State::Calling(Calling { cancel: Cancel::Wanted | Cancel::Sent, .. }) => Termination::Cancelled,
            _ => Termination::NotEstablished,
        }
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
    fn complete(&self, request: &mut Request, headers: Headers, body: Option<Body>) {
        add_user_headers(&mut request.headers, &headers);
        self.endpoint.present(&request.method, &mut request.headers);
        if let Some(body) = body {
            request.headers.push(HeaderName::ContentType, body.content_type);
            request.body = body.bytes;
        }
    }
}

fn number(request: &Request) -> u32 {
    request.headers.cseq().map_or(0, |cseq| cseq.number)
}
