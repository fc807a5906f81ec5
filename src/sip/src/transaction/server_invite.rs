//! The INVITE server transaction (RFC 3261 §17.2.1 as changed by RFC 6026 §7.1).

use std::time::{Duration, Instant};

use super::Outbox;
use super::client::TransactionFailure;
use super::server::{AlreadyAnswered, response_to};
use super::timer::{T1, T4, TRANSACTION_TIMEOUT, Timers, back_off};
use crate::{Message, Request, Response};

/// How long the user may take before the transaction says 100 Trying for it (RFC 3261 §17.2.1).
const TRYING_AFTER: Duration = Duration::from_millis(200);

/// A received INVITE and the answers to it.
#[derive(Debug)]
pub(super) struct InviteServer {
    request: Request,
    reliable: bool,
    state: State,
    timers: Timers<Timer>,
}

#[derive(Debug)]
enum State {
    Proceeding {
        provisional: Option<Box<Response>>,
    },
    /// Refused; `interval` is timer G's last.
    Completed {
        refusal: Box<Response>,
        interval: Duration,
    },
    /// The refusal was acknowledged.
    Confirmed,
    /// Answered with a 2xx, which the user sends again until the ACK comes.
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Timer {
    Trying,
    G,
    H,
    I,
    L,
}

impl InviteServer {
    pub(super) fn new(request: Request, reliable: bool, now: Instant) -> InviteServer {
        let mut timers = Timers::new();
        timers.set(Timer::Trying, now + TRYING_AFTER);
        InviteServer { request, reliable, state: State::Proceeding { provisional: None }, timers }
    }

    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// The INVITE came again.
    pub(super) fn handle_retransmission(&mut self, out: &mut Outbox) {
        match &mut self.state {
            State::Proceeding { provisional: Some(response) } => {
                out.push_back(Message::Response(response.as_ref().clone()));
            }
            State::Proceeding { .. } => self.send_trying(out),
            State::Completed { refusal, .. } => out.push_back(Message::Response(refusal.as_ref().clone())),
            // RFC 6026 §7.1: absorbed, the 2xx is sent again by the user's own timer.
            State::Accepted | State::Confirmed | State::Terminated => {}
        }
    }

    /// An ACK with the INVITE's branch came. False when it acknowledges a 2xx, which is for the user.
    pub(super) fn handle_ack(&mut self, now: Instant) -> bool {
        if let State::Completed { .. } = self.state {
            self.timers.clear();
            if self.reliable {
                self.state = State::Terminated;
            } else {
                self.timers.set(Timer::I, now + T4);
                self.state = State::Confirmed;
            }
        }
        !matches!(self.state, State::Accepted)
    }

    pub(super) fn respond(
        &mut self,
        response: Response,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), AlreadyAnswered> {
        match (&mut self.state, response.status) {
            (State::Proceeding { provisional }, ..200) => {
                self.timers.stop(Timer::Trying);
                out.push_back(Message::Response(response.clone()));
                *provisional = Some(Box::new(response));
            }
            (State::Proceeding { .. }, 200..300) => {
                self.timers.clear();
                self.timers.set(Timer::L, now + TRANSACTION_TIMEOUT);
                self.state = State::Accepted;
                self.request.forget_content();
                out.push_back(Message::Response(response));
            }
            (State::Proceeding { .. }, 300..) => {
                self.timers.clear();
                if !self.reliable {
                    self.timers.set(Timer::G, now + T1);
                }
                self.timers.set(Timer::H, now + TRANSACTION_TIMEOUT);
                out.push_back(Message::Response(response.clone()));
                self.state = State::Completed { refusal: Box::new(response), interval: T1 };
                self.request.forget_content();
            }
            (State::Accepted, 200..300) => out.push_back(Message::Response(response)),
            _ => return Err(AlreadyAnswered),
        }
        Ok(())
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<TransactionFailure> {
        let mut failure = None;
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Trying => self.send_trying(out),
                Timer::G => {
                    if let State::Completed { refusal, interval } = &mut self.state {
                        *interval = back_off(*interval);
                        self.timers.set(Timer::G, now + *interval);
                        out.push_back(Message::Response(refusal.as_ref().clone()));
                    }
                }
                Timer::H => {
                    failure = Some(TransactionFailure::TimedOut);
                    self.terminate();
                }
                Timer::I | Timer::L => self.terminate(),
            }
        }
        failure
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    pub(super) fn is_answered(&self) -> bool {
        !matches!(self.state, State::Proceeding { .. })
    }

    /// True while RFC 3261 §14.1 forbids an INVITE of ours: until the refusal is acknowledged. (For a 2xx the user
    /// knows.)
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Proceeding { .. } | State::Completed { .. })
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }

    pub(super) fn terminate(&mut self) {
        self.timers.clear();
        self.state = State::Terminated;
    }

    fn send_trying(&mut self, out: &mut Outbox) {
        let trying = response_to(&self.request, 100, None);
        self.timers.stop(Timer::Trying);
        out.push_back(Message::Response(trying.clone()));
        if let State::Proceeding { provisional } = &mut self.state {
            *provisional = Some(Box::new(trying));
        }
    }
}
