//! Responses to our requests, and requests that stay without one.

use std::time::Instant;

use super::slots::{Ack, ClientSlot, Fork, ForkNote, Invitation, Kind, Purpose};
use super::{
    Calling, Cancel, Confirmed, DialogEvent, DialogUa, Ended, HeldBye, RequestToken, Role, State,
    Termination, Timer,
};
use crate::dialog::remote_tag;
use crate::transaction::{ClientKey, ClientTransaction, TransactionFailure, cancel_for};
use crate::{Headers, Message, Method, Response};

/// More early dialogs, and more other branches of a fork, than any recorder has reason to make; those above are
/// ignored.
const MAX_FORKS: usize = 16;

impl DialogUa {
    pub(super) fn handle_response(&mut self, response: Response, now: Instant) {
        let Some(key) = ClientKey::of_response(&response) else { return };
        if let Some(fork) = self.forks.iter_mut().find(|fork| fork.bye.has_key(&key)) {
            let is_final = response.status >= 200;
            fork.is_answered |= fork.bye.handle_response(response, now).is_some() && is_final;
            return;
        }
        let Some(index) = self.clients.iter().position(|slot| slot.transaction.has_key(&key)) else {
            return self.handle_stray(&response, now);
        };
        self.with_client(index, |ua, slot| {
            if let Some(response) = slot.transaction.handle_response(response, now) {
                ua.on_response(slot, response, now);
            }
        });
    }

    /// Lets every request of ours go on; those that fail by it are told to the user.
    pub(super) fn fail_clients(
        &mut self,
        now: Instant,
        go_on: impl Fn(&mut ClientSlot) -> Option<TransactionFailure>,
    ) {
        let fail = |slot: &mut ClientSlot| {
            let failure = go_on(slot)?;
            Some((slot.token, slot.kind(), failure))
        };
        let failed: Vec<_> = self.clients.iter_mut().filter_map(fail).collect();
        for (token, kind, failure) in failed {
            self.on_failure(token, kind, failure, now);
        }
    }

    fn on_response(&mut self, slot: &mut ClientSlot, response: Response, now: Instant) {
        let token = slot.token;
        let status = response.status;
        if response.is_success() {
            self.keyring.accepted(&response.headers);
        }
        if status == 422 && self.lengthen(slot, &response, now) {
            return;
        }
        let fault = match self.answer_challenge(slot, &response, now) {
            Ok(true) => return,
            Ok(false) => None,
            Err(fault) => Some(Box::new(fault)),
        };
        match &mut slot.purpose {
            Purpose::Initial(_) if status < 200 => self.on_progress(slot, response, now),
            Purpose::Initial(invitation) if status < 300 => {
                self.on_initial_answer(token, invitation, response, now);
            }
            Purpose::Initial(_) => {
                let why = self.unestablished();
                self.emit(DialogEvent::Refused { token, response, fault });
                self.terminate(why, now);
            }
            Purpose::ReInvite(_) if status < 200 => self.emit(DialogEvent::Progress { token, response }),
            Purpose::ReInvite(invitation) if status < 300 => self.on_answer(token, invitation, response),
            Purpose::ReInvite(_) => self.emit(DialogEvent::Refused { token, response, fault }),
            Purpose::Bye if status >= 200 => self.end(Some(status), now),
            Purpose::Update { .. } | Purpose::Other if status >= 200 => {
                self.refresh_target(&response);
                self.emit(DialogEvent::Responded { token, response, fault });
            }
            Purpose::Bye | Purpose::Cancel | Purpose::Update { .. } | Purpose::Other | Purpose::Repeated => {}
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
                    self.fork(&response, invitation.credentials(), now)
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
            Ack::NotDue => self.refresh_target(&response),
        }
        // After a BYE nobody will answer an offer, and the ACK is owed all the same.
        if invitation.offered || !self.is_confirmed() {
            self.send_ack(invitation, None);
        } else {
            invitation.ack = Ack::Due;
        }
        self.emit(DialogEvent::Answered { token, response });
    }

    /// Another branch of the first INVITE answered: acknowledged and ended (RFC 3261 §13.2.2.4).
    fn fork(&mut self, response: &Response, credentials: &Headers, now: Instant) {
        let tag = remote_tag(response);
        if let Some(fork) = self.forks.iter().find(|fork| fork.dialog.remote_tag() == tag.as_deref()) {
            self.out.push_back(Message::Request(fork.ack.clone()));
            return;
        }
        let Ok(cseq) = response.headers.cseq() else { return };
        if self.forks.len() >= MAX_FORKS {
            return;
        }
        let mut dialog = self.origin.opened_by(response);
        let mut ack = dialog.ack(cseq.number, &self.endpoint, &mut self.random);
        ack.headers.extend(credentials);
        self.out.push_back(Message::Request(ack.clone()));
        let mut bye = dialog.request(Method::Bye, &self.endpoint, &mut self.random);
        self.complete(&mut bye, Headers::new(), None);
        self.keyring.authorize(&mut bye);
        let bye = ClientTransaction::new(bye, self.endpoint.transport(), now);
        self.forks.push(Fork { dialog, ack, bye, is_answered: false, note: ForkNote::No });
    }

    /// A response without a transaction is dropped (RFC 6026 §8.1), save a 2xx to an INVITE: if that was given up, it
    /// made a session that has to be ended; if it was forgotten before its time, its ACK is due again.
    fn handle_stray(&mut self, response: &Response, now: Instant) {
        let headers = &response.headers;
        let is_ours = headers.from().is_ok_and(|from| from.tag() == Some(self.origin.local_tag()));
        let is_invite = headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite);
        let is_given_up =
            matches!(self.state, State::Ended(Ended { dialog: None, .. })) && self.role == Role::Caller;
        if !(response.is_success() && is_ours && is_invite) {
            return;
        }
        if is_given_up {
            self.fork(response, &Headers::new(), now);
        } else if let Some(number) = self.forgotten_invite(response, now) {
            // Its ACK was lost, and the peer would end the session for want of one (RFC 3261 §14.1).
            self.send_ack(&mut Invitation::forgotten(number), None);
        }
    }

    fn on_failure(&mut self, token: RequestToken, kind: Kind, failure: TransactionFailure, now: Instant) {
        match kind {
            Kind::Initial => {
                let why = self.unestablished();
                self.emit(DialogEvent::Failed { token, failure });
                self.terminate(why, now);
            }
            Kind::Bye => self.end(None, now),
            // The INVITE has its own time limit, and what was repeated its outcome.
            Kind::Cancel | Kind::Repeated => {}
            Kind::Other => self.emit(DialogEvent::Failed { token, failure }),
        }
    }

    /// Our BYE is done, by a final response of this status or without one.
    fn end(&mut self, status: Option<u16>, now: Instant) {
        if let State::Ending(ending) = &mut self.state {
            let why = match std::mem::replace(&mut ending.why, Termination::NotEstablished) {
                Termination::LocalBye { .. } => Termination::LocalBye { status },
                other => other,
            };
            self.terminate(why, now);
            if let State::Ended(ended) = &mut self.state {
                ended.is_unanswered = status.is_none();
            }
        }
    }

    fn unestablished(&self) -> Termination {
        match &self.state {
            State::Calling(Calling { cancel: Cancel::Wanted | Cancel::Sent, .. }) => Termination::Cancelled,
            _ => Termination::NotEstablished,
        }
    }

    /// Any 2xx in the dialog may say where the peer is from now on.
    fn refresh_target(&mut self, response: &Response) {
        if let Some(dialog) = self.state.dialog_mut().filter(|_| response.is_success()) {
            dialog.refresh_target(&response.headers);
        }
    }
}
