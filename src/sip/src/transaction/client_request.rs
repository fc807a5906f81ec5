//! The client transaction of every method but INVITE (RFC 3261 §17.1.2).

use std::time::{Duration, Instant};

use super::Outbox;
use super::client::TransactionFailure;
use super::timer::{T1, T2, T4, TRANSACTION_TIMEOUT, Timers, back_off};
use crate::{Message, Request, Response};

/// A request and what becomes of it.
#[derive(Debug)]
pub(super) struct RequestClient {
    request: Request,
    reliable: bool,
    state: State,
    timers: Timers<Timer>,
}

#[derive(Debug)]
enum State {
    /// Nothing was heard yet; `interval` is timer E's last.
    Trying {
        interval: Duration,
    },
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Timer {
    E,
    F,
    K,
}

impl RequestClient {
    pub(super) fn new(request: Request, reliable: bool, now: Instant, out: &mut Outbox) -> RequestClient {
        let mut timers = Timers::new();
        if !reliable {
            timers.set(Timer::E, now + T1);
        }
        timers.set(Timer::F, now + TRANSACTION_TIMEOUT);
        out.push_back(Message::Request(request.clone()));
        RequestClient { request, reliable, state: State::Trying { interval: T1 }, timers }
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    pub(super) fn handle_response(&mut self, response: Response, now: Instant) -> Option<Response> {
        match (&self.state, response.status) {
            (State::Trying { .. } | State::Proceeding, 100..200) => {
                self.state = State::Proceeding;
                Some(response)
            }
            (State::Trying { .. } | State::Proceeding, _) => {
                self.timers.clear();
                if self.reliable {
                    self.state = State::Terminated;
                } else {
                    self.timers.set(Timer::K, now + T4);
                    self.state = State::Completed;
                }
                Some(response)
            }
            (State::Completed | State::Terminated, _) => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<TransactionFailure> {
        let mut failure = None;
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::E => {
                    let next = match &mut self.state {
                        State::Trying { interval } => {
                            *interval = back_off(*interval);
                            *interval
                        }
                        _ => T2,
                    };
                    // What a stream has taken needs no repetition, and what it has not is repeated by [`Self::send_later`].
                    if !self.reliable {
                        self.timers.set(Timer::E, now + next);
                    }
                    out.push_back(Message::Request(self.request.clone()));
                }
                Timer::F => {
                    failure = Some(TransactionFailure::TimedOut);
                    self.terminate();
                }
                Timer::K => self.terminate(),
            }
        }
        failure
    }

    pub(super) fn handle_transport_error(&mut self) -> Option<TransactionFailure> {
        match self.state {
            State::Trying { .. } | State::Proceeding => {
                self.terminate();
                Some(TransactionFailure::Transport)
            }
            State::Completed | State::Terminated => None,
        }
    }

    pub(super) fn send_later(&mut self, now: Instant) {
        if matches!(self.state, State::Trying { .. } | State::Proceeding) && !self.timers.is_set(Timer::E) {
            self.timers.set(Timer::E, now + T2);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    pub(super) fn is_answered(&self) -> bool {
        matches!(self.state, State::Completed | State::Terminated)
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
        self.timers.stop(Timer::E);
    }

    pub(super) fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }
}
