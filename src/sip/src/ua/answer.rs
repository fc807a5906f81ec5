//! Answers to the peer's requests.

use std::time::Instant;

use super::endpoint::add_user_headers;
use super::slots::{ServerSlot, Unacknowledged, carries_sdp};
use super::{
    Body, Confirmed, DialogUa, Endpoint, HeldBye, RequestToken, RespondError, Ringing, Role, ServerToken,
    State, Termination,
};
use crate::dialog::Dialog;
use crate::transaction::{ServerTransaction, response_to};
use crate::{HeaderName, Headers, Message, Method, Random, Request, Response};

impl DialogUa {
    /// Takes an INVITE that no other dialog wants (a To without tag). The user answers it as any other request, by the
    /// token; the request is not told again.
    ///
    /// # Errors
    /// The refusal to send back, by a [`ServerTransaction`]: 400 when the INVITE cannot open a dialog, 420 when it
    /// requires what the endpoint does not support.
    pub fn accept_invite(
        endpoint: Endpoint,
        invite: Request,
        random: &mut Random,
        now: Instant,
    ) -> Result<(DialogUa, ServerToken), Box<Response>> {
        let mut random = random.fork();
        let tag = random.tag();
        let refuse = |status, headers: &Headers| {
            let mut response = response_to(&invite, status, Some(&tag));
            response.headers.extend(headers);
            endpoint.present_in_response(&Method::Invite, status, &mut response.headers);
            Box::new(response)
        };
        let dialog = Dialog::of_callee(&invite, &tag).map_err(|malformed| {
            let mut response = refuse(400, &Headers::new());
            response.reason = malformed.to_string();
            response
        })?;
        if let Some(unsupported) = unsupported(&invite.headers, &endpoint.supported) {
            return Err(refuse(420, &unsupported));
        }
        let cseq = invite.headers.cseq().map_or(0, |cseq| cseq.number);
        let state = State::Ringing(Ringing { dialog: dialog.clone() });
        let mut ua = DialogUa::new(endpoint, random, Role::Callee { cseq }, dialog, state);
        let token = ua.receive(invite, now);
        Ok((ua, token))
    }

    /// Answers a request of the peer: any number of provisional responses, then one final response. An empty `reason`
    /// means the usual phrase. `headers` are added (those of the protocol itself are left out, save the Contacts of a 3xx,
    /// which say where to go).
    ///
    /// A 2xx to an INVITE is sent again until the ACK comes; without one the dialog ends by BYE after 64 × T1.
    ///
    /// # Errors
    /// When there is nothing to answer any more, or the status is none.
    pub fn respond(
        &mut self,
        token: ServerToken,
        status: u16,
        reason: &str,
        headers: Headers,
        body: Option<Body>,
        now: Instant,
    ) -> Result<(), RespondError> {
        if !(100..700).contains(&status) {
            return Err(RespondError::Status(status));
        }
        let open = |slot: &&mut ServerSlot| slot.token == token && !slot.transaction.is_answered();
        let slot = self.servers.iter_mut().find(open).ok_or(RespondError::AlreadyAnswered)?;
        let request = slot.transaction.request();
        let method = request.method.clone();
        let mut response = response_to(request, status, Some(self.origin.local_tag()));
        if !reason.is_empty() {
            reason.clone_into(&mut response.reason);
        }
        if method == Method::Invite && (101..300).contains(&status) {
            // RFC 3261 §12.1.1: the caller learns its route from it.
            response.headers.copy_from(&request.headers, &HeaderName::RecordRoute);
        }
        add_user_headers(&mut response.headers, &headers);
        if (300..400).contains(&status) {
            // RFC 3261 §21.3
            response.headers.copy_from(&headers, &HeaderName::Contact);
        }
        self.endpoint.present_in_response(&method, status, &mut response.headers);
        if let Some(body) = body {
            response.headers.push(HeaderName::ContentType, body.content_type);
            response.body = body.bytes;
        }
        if method == Method::Invite && response.is_success() {
            let cseq = request.headers.cseq().map_or(0, |cseq| cseq.number);
            let offers = !carries_sdp(&request.headers, &request.body)
                && carries_sdp(&response.headers, &response.body);
            slot.unacknowledged = Some(Unacknowledged::new(cseq, offers, response.clone(), now));
        }
        slot.transaction.respond(response, now).map_err(|_| RespondError::AlreadyAnswered)?;
        if method == Method::Invite && status >= 200 {
            self.establish(status < 300, now);
        }
        self.collect();
        Ok(())
    }

    /// Opens the transaction of a request.
    pub(super) fn receive(&mut self, request: Request, now: Instant) -> ServerToken {
        let token = ServerToken(self.next_token());
        let transaction = ServerTransaction::new(request, self.endpoint.transport(), now).absorbing();
        self.servers.push(ServerSlot { token, transaction, unacknowledged: None });
        token
    }

    /// Answers a request at once; where too many are open, without a transaction.
    pub(super) fn answer(&mut self, request: Request, status: u16, headers: Headers, now: Instant) {
        if request.method != Method::Bye && self.is_full() {
            let response = plain_response(&self.endpoint, &self.origin, &request, status, &headers);
            self.out.push_back(Message::Response(response));
            return;
        }
        let token = self.receive(request, now);
        self.answer_token(token, status, &headers, now);
    }

    /// Answers a request that waits, if it still does. No success to an INVITE goes out this way.
    pub(super) fn answer_token(&mut self, token: ServerToken, status: u16, headers: &Headers, now: Instant) {
        let Some(slot) = self.servers.iter_mut().find(|slot| slot.token == token) else { return };
        let request = slot.transaction.request();
        if slot.transaction.is_answered() {
            return;
        }
        let response = plain_response(&self.endpoint, &self.origin, request, status, headers);
        // It fails when it has been answered, and it has not.
        let _ = slot.transaction.respond(response, now);
    }

    /// The dialog ends, so that nobody will answer what is open (RFC 3261 §15.1.2).
    pub(super) fn refuse_open_requests(&mut self, now: Instant) {
        let open = self.servers.iter().filter(|slot| !slot.transaction.is_answered());
        for token in open.map(|slot| slot.token).collect::<Vec<_>>() {
            self.answer_token(token, 487, &Headers::new(), now);
        }
    }

    pub(super) fn time_out_servers(&mut self, now: Instant) {
        let mut gave_up = false;
        for slot in &mut self.servers {
            if let Some(answer) = &mut slot.unacknowledged
                && answer.handle_timeout(now, &mut self.out)
            {
                slot.unacknowledged = None;
                gave_up = true;
            }
            slot.transaction.handle_timeout(now);
        }
        if gave_up {
            self.on_unacknowledged(now);
        }
    }

    /// The ACK of our 2xx never came: the session is ended (RFC 3261 §13.3.1.4, §14.2).
    fn on_unacknowledged(&mut self, now: Instant) {
        match self.state {
            State::Confirmed(_) => {
                let token = RequestToken(self.next_token());
                let bye = HeldBye { token, headers: Headers::new(), body: None };
                self.hang_up(bye, Termination::Unacknowledged, now);
            }
            State::Ending(_) => self.send_held_bye(now),
            State::Calling(_) | State::Ringing(_) | State::Ended(_) => {}
        }
    }

    /// Whether this callee waits for the ACK of its first 2xx.
    pub(super) fn awaits_first_ack(&self) -> bool {
        let Role::Callee { cseq } = self.role else { return false };
        let waits =
            |slot: &ServerSlot| slot.unacknowledged.as_ref().is_some_and(|answer| answer.cseq == cseq);
        self.servers.iter().any(waits)
    }

    /// An INVITE has our final answer; if it is the first, the dialog stands or falls.
    fn establish(&mut self, accepted: bool, now: Instant) {
        match self.take_state() {
            State::Ringing(Ringing { dialog }) if accepted => {
                self.state = State::Confirmed(Confirmed { dialog })
            }
            State::Ringing(ringing) => {
                self.state = State::Ringing(ringing);
                self.terminate(Termination::NotEstablished, now);
            }
            other => self.state = other,
        }
    }
}

/// A response without a body, to anything but the INVITE that it accepts.
fn plain_response(
    endpoint: &Endpoint,
    origin: &Dialog,
    request: &Request,
    status: u16,
    headers: &Headers,
) -> Response {
    let mut response = response_to(request, status, Some(origin.local_tag()));
    response.headers.extend(headers);
    endpoint.present_in_response(&request.method, status, &mut response.headers);
    response
}

/// Unsupported, with what a request requires beyond `supported` (RFC 3261 §8.2.2.3).
pub(super) fn unsupported(request: &Headers, supported: &[String]) -> Option<Headers> {
    let known = |tag: &String| supported.iter().any(|own| own.eq_ignore_ascii_case(tag));
    let unknown: Vec<String> = request.require().into_iter().filter(|tag| !known(tag)).collect();
    if unknown.is_empty() {
        return None;
    }
    let mut headers = Headers::new();
    headers.push(HeaderName::Unsupported, unknown.join(", "));
    Some(headers)
}
