//! The INVITE client transaction (RFC 3261 §17.1.1 as changed by RFC 6026 §7.2).

use std::time::{Duration, Instant};

use super::Outbox;
use super::client::{TransactionFailure, ack_for};
use super::timer::{T1, TRANSACTION_TIMEOUT, Timers};
use crate::{Message, Request, Response};

/// An INVITE and what becomes of it.
#[derive(Debug)]
pub(super) struct InviteClient {
    request: Request,
    reliable: bool,
    state: State,
    timers: Timers<Timer>,
}

#[derive(Debug)]
enum State {
    /// Nothing was heard yet; `interval` is timer A's last.
    Calling {
        interval: Duration,
    },
    /// A provisional response came.
    Proceeding,
    /// Refused; the refusal is acknowledged again whenever it comes again.
    Completed {
        ack: Box<Request>,
    },
    /// Answered; each 2xx, from this or another branch of a fork, goes to the user.
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Timer {
    A,
    B,
    D,
    M,
}

impl InviteClient {
    pub(super) fn new(request: Request, reliable: bool, now: Instant, out: &mut Outbox) -> InviteClient {
        let mut timers = Timers::new();
        if !reliable {
            timers.set(Timer::A, now + T1);
        }
        timers.set(Timer::B, now + TRANSACTION_TIMEOUT);
        out.push_back(Message::Request(request.clone()));
        InviteClient { request, reliable, state: State::Calling { interval: T1 }, timers }
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    pub(super) fn handle_response(
        &mut self,
        response: Response,
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Response> {
        match (&self.state, response.status) {
            (State::Calling { .. } | State::Proceeding, 100..200) => {
                self.timers.clear();
                self.state = State::Proceeding;
                Some(response)
            }
            (State::Calling { .. } | State::Proceeding, 200..300) => {
                self.timers.clear();
                self.timers.set(Timer::M, now + TRANSACTION_TIMEOUT);
                self.state = State::Accepted;
                Some(response)
            }
            (State::Calling { .. } | State::Proceeding, 300..) => {
                let ack = ack_for(&self.request, &response);
                out.push_back(Message::Request(ack.clone()));
                self.timers.clear();
                if self.reliable {
                    self.state = State::Terminated;
                } else {
                    self.timers.set(Timer::D, now + TRANSACTION_TIMEOUT);
                    self.state = State::Completed { ack: Box::new(ack) };
                }
                Some(response)
            }
            (State::Completed { ack }, 300..) => {
                out.push_back(Message::Request(ack.as_ref().clone()));
                None
            }
            (State::Accepted, 200..300) => Some(response),
            _ => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<TransactionFailure> {
        let mut failure = None;
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::A => {
                    if let State::Calling { interval } = &mut self.state {
                        // Timer A doubles without a limit; timer B ends it (RFC 3261 §17.1.1.2).
                        *interval *= 2;
                        self.timers.set(Timer::A, now + *interval);
                        out.push_back(Message::Request(self.request.clone()));
                    }
                }
                Timer::B => {
                    failure = Some(TransactionFailure::TimedOut);
                    self.terminate();
                }
                Timer::D | Timer::M => self.terminate(),
            }
        }
        failure
    }

    pub(super) fn handle_transport_error(&mut self) -> Option<TransactionFailure> {
        match self.state {
            State::Calling { .. } => {
                self.terminate();
                Some(TransactionFailure::Transport)
            }
            // The ACK could not leave. The user has its answer already (RFC 3261 §17.1.1.2, Figure 5).
            State::Completed { .. } => {
                self.terminate();
                None
            }
            State::Proceeding | State::Accepted | State::Terminated => None,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.state, State::Calling { .. } | State::Proceeding)
    }

    /// The ACK of a refusal.
    pub(super) fn kept(&self) -> Option<&Request> {
        match &self.state {
            State::Completed { ack } => Some(ack),
            State::Calling { .. } | State::Proceeding | State::Accepted | State::Terminated => None,
        }
    }

    pub(super) fn forget_request(&mut self) {
        if self.is_answered() {
            self.request.forget_content();
        }
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    pub(super) fn fall_silent(&mut self) {
        self.timers.stop(Timer::A);
    }

    pub(super) fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }
}
