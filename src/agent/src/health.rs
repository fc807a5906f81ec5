//! Asking the recorders of pools whether they live, within the loop.

use std::net::SocketAddr;
use std::time::Instant;

use siprec_session::RecorderPlace;
use siprec_sip::{Message, Response};
use siprec_transport::{Destination, ResolveError};
use tracing::instrument::WithSubscriber as _;

use crate::pool::{self, Errand, RecorderChange, RecorderState};
use crate::redact::Redacted;
use crate::worker::{Worker, call_id, tell};

/// What became of a recorder's address.
pub(crate) type Found = (RecorderPlace, Result<Vec<Destination>, ResolveError>);

impl Worker {
    /// Asks the recorders of the pools as they are now.
    pub(crate) fn follow_pools(&mut self) {
        let pools = self.roster().pools().clone();
        self.checks.follow(&pools, Instant::now());
    }

    /// Asks whom it is time to ask.
    pub(crate) fn run_checks(&mut self, now: Instant) {
        let errands = {
            let roster = pool::lock(&self.parts.roster);
            self.checks.run(now, |address| roster.is_away(address, now))
        };
        self.run_errands(errands);
    }

    pub(crate) fn take_found(&mut self, (address, outcome): Found) {
        let errands = self.checks.found(&address, outcome);
        self.run_errands(errands);
    }

    /// Takes a response, if it is to a question of ours.
    pub(crate) fn take_health(&mut self, response: Response) {
        if let Some(call_id) = call_id(&response.headers) {
            let errands = self.checks.answered(&call_id, response, Instant::now());
            self.run_errands(errands);
        }
    }

    /// Takes a message that was not delivered, if it is a question of ours.
    pub(crate) fn take_unasked(&mut self, message: &Message, reason: String) {
        if let Some(call_id) = call_id(message.headers()) {
            let errands = self.checks.unsent(&call_id, reason);
            self.run_errands(errands);
        }
    }

    fn run_errands(&mut self, errands: Vec<Errand>) {
        let mut errands = std::collections::VecDeque::from(errands);
        while let Some(errand) = errands.pop_front() {
            match errand {
                Errand::Find(address, target) => {
                    let (transport, deadline) = (self.parts.transport.clone(), self.parts.resolve_timeout);
                    let search = async move { (address, transport.resolve_target(&target, deadline).await) };
                    tokio::spawn(tell(self.finding.clone(), search).with_current_subscriber());
                }
                Errand::Reach(address, destination) => {
                    let local = self.parts.transport.local_towards(destination.remote).ok();
                    let port = self.parts.transport.port(destination.protocol);
                    let local =
                        local.map(|local| SocketAddr::new(self.parts.advertised.unwrap_or(local), port));
                    errands.extend(self.checks.ask(&address, destination, local, Instant::now()));
                }
                Errand::Send(request, destination) => {
                    tracing::debug!("sent to {}\n{}", destination.remote, Redacted(&request.to_bytes()));
                    let call_id = call_id(&request.headers).unwrap_or_default();
                    if let Err(error) = self.parts.transport.send(request, destination) {
                        errands.extend(self.checks.unsent(&call_id, error.to_string()));
                    }
                }
                Errand::Judge(address, check, verdict) => {
                    let change = self.roster().judge(&address, check, verdict);
                    self.tell_change(change);
                }
            }
        }
    }

    pub(crate) fn tell_change(&self, change: Option<RecorderChange>) {
        let Some(change) = change else { return };
        let RecorderChange { recorder, state, reason } = &change;
        match state {
            RecorderState::Alive => tracing::info!(%recorder, %reason, "a recorder is alive"),
            RecorderState::Dead => tracing::warn!(%recorder, %reason, "a recorder counts as dead"),
            RecorderState::Away => tracing::warn!(%recorder, %reason, "a recorder is busy"),
        }
        self.parts.notifier.tell(change);
    }
}
