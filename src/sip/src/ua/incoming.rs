//! Requests of the peer: what the dialog answers by itself, and what goes to the user.

use std::time::Instant;

use super::answer::unsupported;
use super::repeat::refreshes;
use super::slots::{ServerSlot, carries_sdp};
use super::{Calling, Confirmed, DialogEvent, DialogUa, Ended, Ending, Ringing, Role, State, Termination};
use crate::dialog::Dialog;
use crate::transaction::ServerKey;
use crate::{CSeq, HeaderName, Headers, Method, NameAddr, Request};

/// What is to be done with a request in the dialog.
enum Verdict {
    /// The dialog answers it; for a success that is all.
    Answer(u16, Headers),
    /// The dialog answers it 200, and the user is told.
    Tell,
    /// The user answers it.
    Ask,
    HangUp,
}

impl DialogUa {
    /// Takes a request; gives it back when it belongs elsewhere.
    pub(super) fn handle_request(&mut self, request: Request, now: Instant) -> Option<Request> {
        let key = ServerKey::of(&request);
        if let Some(slot) = self.servers.iter_mut().find(|slot| slot.transaction.has_key(&key))
            && slot.transaction.handle_request(&request, now)
        {
            return None;
        }
        match request.method {
            Method::Ack => self.on_ack(request, now),
            Method::Cancel => self.on_cancel(request, now),
            _ => self.on_request(request, now),
        }
    }

    /// The ACK of a 2xx, known by the number of its INVITE (RFC 3261 §13.2.2.4).
    fn on_ack(&mut self, ack: Request, now: Instant) -> Option<Request> {
        let Ok(number) = ack.headers.cseq().map(|cseq| cseq.number) else { return Some(ack) };
        let (local, remote) = tags(&ack);
        if self.dialog_with(local.as_deref(), remote.as_deref()).is_none() {
            return Some(ack);
        }
        let waits =
            |slot: &&mut ServerSlot| slot.unacknowledged.as_ref().is_some_and(|answer| answer.cseq == number);
        if let Some(slot) = self.servers.iter_mut().find(waits) {
            slot.unacknowledged = None;
            let token = slot.token;
            self.emit(DialogEvent::Acknowledged { token, ack });
            self.send_held_bye(now);
        }
        None
    }

    /// RFC 3261 §9.2.
    fn on_cancel(&mut self, cancel: Request, now: Instant) -> Option<Request> {
        let matching = |slot: &&ServerSlot| slot.transaction.is_cancelled_by(&cancel);
        let Some(slot) = self.servers.iter().find(matching) else { return Some(cancel) };
        let token = slot.token;
        let cancels = slot.transaction.request().method == Method::Invite && !slot.transaction.is_answered();
        self.answer(cancel, 200, Headers::new(), now);
        if cancels {
            self.answer_token(token, 487, &Headers::new(), now);
            self.emit(DialogEvent::Cancelled { token });
            if matches!(self.state, State::Ringing(_)) {
                self.terminate(Termination::Cancelled, now);
            }
        }
        None
    }

    fn on_request(&mut self, request: Request, now: Instant) -> Option<Request> {
        let Ok(cseq) = request.headers.cseq() else { return Some(request) };
        let (local, remote) = tags(&request);
        let in_fork = local.as_deref() == Some(self.origin.local_tag())
            && self.forks.iter().any(|fork| fork.dialog.remote_tag() == remote.as_deref());
        if in_fork {
            let status = if request.method == Method::Bye { 200 } else { 481 };
            self.answer(request, status, Headers::new(), now);
            return None;
        }
        let Some(dialog) = self.dialog_with(local.as_deref(), remote.as_deref()) else {
            if self.is_merged(&request) {
                // The first INVITE came twice, by different ways (RFC 3261 §8.2.2.2).
                self.answer(request, 482, Headers::new(), now);
                return None;
            }
            return Some(request);
        };
        let in_order = dialog.accept_cseq(cseq.number).is_ok();
        if self.is_full() && request.method != Method::Bye {
            // Its number is taken all the same: what was refused once is not done when it comes again.
            let asks_later = matches!(request.method, Method::Invite | Method::Update);
            let headers = if asks_later { self.retry_after() } else { Headers::new() };
            self.answer(request, 500, headers, now);
            return None;
        }
        if !in_order {
            self.answer(request, 500, Headers::new(), now);
            return None;
        }
        match self.judge(&request) {
            Verdict::Answer(status, headers) => {
                if status < 300 {
                    self.refresh_target_by(&request);
                }
                self.answer(request, status, headers, now);
            }
            Verdict::Tell => {
                self.refresh_target_by(&request);
                self.answer(request.clone(), 200, Headers::new(), now);
                self.emit(DialogEvent::Info(request));
            }
            Verdict::Ask => {
                self.refresh_target_by(&request);
                if refreshes(&request.method) {
                    self.min_se.note(&request.headers);
                }
                let token = self.receive(request.clone(), now);
                self.emit(DialogEvent::Request { token, request });
            }
            Verdict::HangUp => self.on_bye(request, now),
        }
        None
    }

    /// RFC 3261 §15.1.2. Whatever is open, in either direction, ends with it.
    fn on_bye(&mut self, bye: Request, now: Instant) {
        self.answer(bye.clone(), 200, Headers::new(), now);
        match self.state {
            // The callee must not do this before its 2xx (§15), and some do: the INVITE has to be given up.
            State::Calling(_) => self.cancel(now),
            State::Ended(_) => {}
            State::Ringing(_) | State::Confirmed(_) | State::Ending(_) => {
                self.terminate(Termination::RemoteBye(Box::new(bye)), now);
            }
        }
    }

    fn judge(&mut self, request: &Request) -> Verdict {
        let method = &request.method;
        if *method == Method::Bye {
            return Verdict::HangUp;
        }
        if matches!(self.state, State::Ending(_) | State::Ended(_)) {
            return Verdict::Answer(481, Headers::new());
        }
        if !self.endpoint.allow.contains(method) {
            return Verdict::Answer(if method.is_known() { 405 } else { 501 }, Headers::new());
        }
        if let Some(unsupported) = unsupported(&request.headers, &self.endpoint.supported) {
            return Verdict::Answer(420, unsupported);
        }
        match method {
            Method::Invite => self.judge_glare().unwrap_or(Verdict::Ask),
            Method::Update => {
                let glare = carries_sdp(&request.headers, &request.body).then(|| self.judge_glare());
                glare.flatten().unwrap_or(Verdict::Ask)
            }
            Method::Info => Verdict::Tell,
            Method::Options => Verdict::Answer(200, Headers::new()),
            // There is no subscription here (RFC 6665 §4.1.3).
            Method::Notify => Verdict::Answer(489, Headers::new()),
            // The user put it into Allow, so the user knows.
            _ => Verdict::Ask,
        }
    }

    /// Whether an offer of the peer comes at a bad time (RFC 3261 §14.2, RFC 3311 §5.2).
    fn judge_glare(&mut self) -> Option<Verdict> {
        let unanswered = |slot: &ServerSlot| {
            !slot.transaction.is_answered() && slot.transaction.request().method == Method::Invite
        };
        let peers_turn = self.is_peer_offer_open() || self.servers.iter().any(unanswered);
        if self.is_our_offer_open() {
            Some(Verdict::Answer(491, Headers::new()))
        } else if peers_turn {
            Some(Verdict::Answer(500, self.retry_after()))
        } else {
            None
        }
    }

    /// When an offer that comes too soon may come again: in 0 to 10 s (RFC 3261 §14.2, RFC 3311 §5.2).
    fn retry_after(&mut self) -> Headers {
        let mut headers = Headers::new();
        headers.push(HeaderName::RetryAfter, self.random.below(11).to_string());
        headers
    }

    /// Any request in the dialog may say where the peer is from now on, unless we refuse it by ourselves.
    fn refresh_target_by(&mut self, request: &Request) {
        let (local, remote) = tags(request);
        if let Some(dialog) = self.dialog_with(local.as_deref(), remote.as_deref()) {
            dialog.refresh_target(&request.headers);
        }
    }

    /// Whether this is the first INVITE under another branch (RFC 3261 §8.2.2.2).
    fn is_merged(&self, request: &Request) -> bool {
        let Role::Callee { cseq } = self.role else { return false };
        let (local, remote) = tags(request);
        local.is_none()
            && remote.as_deref() == self.origin.remote_tag()
            && request.headers.cseq().is_ok_and(|own| own == CSeq::new(cseq, Method::Invite))
    }

    /// The dialog with these tags, early ones included.
    fn dialog_with(&mut self, local: Option<&str>, remote: Option<&str>) -> Option<&mut Dialog> {
        let dialogs = match &mut self.state {
            State::Calling(Calling { early, .. }) => early.iter_mut(),
            State::Ringing(Ringing { dialog })
            | State::Confirmed(Confirmed { dialog })
            | State::Ending(Ending { dialog, .. })
            | State::Ended(Ended { dialog: Some(dialog), .. }) => std::slice::from_mut(dialog).iter_mut(),
            State::Ended(Ended { dialog: None, .. }) => return None,
        };
        dialogs.into_iter().find(|dialog| dialog.is_match(local, remote))
    }
}

/// The tags of a request, as its receiver sees them: local, remote.
fn tags(request: &Request) -> (Option<String>, Option<String>) {
    let tag = |address: NameAddr| address.tag().map(str::to_owned);
    (request.headers.to().ok().and_then(tag), request.headers.from().ok().and_then(tag))
}
