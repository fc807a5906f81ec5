//! The server transaction of every method but INVITE (RFC 3261 §17.2.2).

use std::time::Instant;

use super::Outbox;
use super::server::AlreadyAnswered;
use super::timer::TRANSACTION_TIMEOUT;
use crate::{Message, Request, Response};

/// A received request and the answers to it.
#[derive(Debug)]
pub(super) struct RequestServer {
    request: Request,
    absorbs: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Trying and Proceeding in one: what was said so far.
    Open {
        provisional: Option<Box<Response>>,
    },
    /// Answered; the request is absorbed until timer J.
    Completed {
        answer: Box<Response>,
        timer_j: Instant,
    },
    Terminated,
}

impl RequestServer {
    /// `absorbs` says whether the request may come again once it is answered.
    pub(super) fn new(request: Request, absorbs: bool) -> RequestServer {
        RequestServer { request, absorbs, state: State::Open { provisional: None } }
    }

    pub(super) fn absorb(&mut self) {
        self.absorbs = true;
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// The request came again.
    pub(super) fn handle_retransmission(&mut self, out: &mut Outbox) {
        match &self.state {
            State::Open { provisional: Some(response) } | State::Completed { answer: response, .. } => {
                out.push_back(Message::Response(response.as_ref().clone()));
            }
            State::Open { provisional: None } | State::Terminated => {}
        }
    }

    pub(super) fn respond(
        &mut self,
        response: Response,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), AlreadyAnswered> {
        let State::Open { provisional } = &mut self.state else { return Err(AlreadyAnswered) };
        out.push_back(Message::Response(response.clone()));
        if response.status < 200 {
            *provisional = Some(Box::new(response));
            return Ok(());
        }
        self.state = if self.absorbs {
            State::Completed { answer: Box::new(response), timer_j: now + TRANSACTION_TIMEOUT }
        } else {
            State::Terminated
        };
        self.request.forget_content();
        Ok(())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.state = State::Terminated;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Completed { timer_j, .. } => Some(*timer_j),
            State::Open { .. } | State::Terminated => None,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.state, State::Open { .. })
    }

    /// The answer, while it is kept.
    pub(super) fn kept(&self) -> Option<&Response> {
        match &self.state {
            State::Completed { answer, .. } => Some(answer),
            State::Open { .. } | State::Terminated => None,
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
