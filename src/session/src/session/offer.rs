//! Our offers within a session: at most one is open, and a refused one is not repeated.

use std::time::{Duration, Instant};

use siprec_model::{BranchId, OpenBranch};
use siprec_sip::{Body, Method, RequestToken, Response, ServerToken};

use super::description::{Description, Ports};
use super::{Phase, RecordingSession, Rules, Up, Verdict};
use crate::branches::BranchMode;
use crate::config::Timers;

/// How long an offer may stay without a final response: as long as a transaction lives that hears nothing.
const ANSWER_TIME: Duration = siprec_sip::TRANSACTION_TIMEOUT;

/// How often an offer is repeated because the recorder asked for it by 500 or 503 with Retry-After.
const RETRIES: u8 = 2;

/// Longest Retry-After that is honoured, in seconds.
const LONGEST_RETRY_AFTER: u32 = 300;

/// The offer that is open.
#[derive(Clone, Debug)]
pub(super) enum Offer {
    None,
    /// In our re-INVITE.
    Sent {
        description: Description,
        token: RequestToken,
        sent: Instant,
        deadline: Instant,
        /// Whoever has it has said that it works on it.
        is_worked_on: bool,
    },
    /// In our 200 to an INVITE without an offer; the ACK brings the answer.
    InAnswer {
        token: ServerToken,
        description: Description,
    },
}

/// An offer that the recorder refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    description: Description,
    /// When it is repeated, if at all.
    retry: Option<Instant>,
    /// How often it was repeated after Retry-After.
    retries: u8,
    /// What was said of it, in words for people.
    said: String,
}

impl Offer {
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Self::None)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self, Self::Sent { deadline, .. } if *deadline <= now)
    }

    /// When the request was sent that it stands in, if it does.
    pub(super) fn sent(&self) -> Option<Instant> {
        match self {
            Self::Sent { sent, .. } => Some(*sent),
            Self::None | Self::InAnswer { .. } => None,
        }
    }

    /// Whether it stands in this request.
    pub(super) fn is_in(&self, request: RequestToken) -> bool {
        matches!(self, Self::Sent { token, .. } if *token == request)
    }

    /// The recorder has no more time for its answer than it has for one to a question, or where it works on it to a first offer.
    pub(super) fn hasten(&mut self, timers: &Timers, now: Instant) {
        if let Self::Sent { deadline, is_worked_on, .. } = self {
            let time = if *is_worked_on { timers.answer } else { timers.probe_answer };
            *deadline = (now + time).min(*deadline);
        }
    }

    /// What is offered and not answered yet.
    pub(super) fn proposed(&self) -> Option<&Description> {
        match self {
            Self::None => None,
            Self::Sent { description, .. } | Self::InAnswer { description, .. } => Some(description),
        }
    }

    /// Whoever has it works on it: it may take so long since it was sent.
    pub(super) fn grant(&mut self, time: Duration) {
        if let Self::Sent { sent, deadline, is_worked_on, .. } = self {
            *deadline = (*sent + time).max(*deadline);
            *is_worked_on = true;
        }
    }

    /// Closes an offer that was sent in a request of ours.
    pub(super) fn take(&mut self) -> Option<Description> {
        match std::mem::replace(self, Self::None) {
            Self::Sent { description, .. } => Some(description),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Closes an offer that was sent in the answer to this request.
    pub(super) fn take_answered(&mut self, acknowledged: ServerToken) -> Option<Description> {
        match std::mem::replace(self, Self::None) {
            Self::InAnswer { token, description } if token == acknowledged => Some(description),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Up {
    /// Whether something is wanted that is neither agreed nor refused for good.
    pub(super) fn differs(&self, wanted: &Description) -> bool {
        let refused = self
            .refused
            .as_ref()
            .is_some_and(|refusal| refusal.retry.is_none() && refusal.description == *wanted);
        !wanted.is_as_offered(&self.agreed.ours) && wanted.is_offerable() && !refused
    }

    /// What the branch of an m-line is to do. A stream whose ports or formats are other than those agreed waits for the
    /// answer that says so.
    pub(super) fn verdict(
        &self,
        branch: BranchId,
        index: usize,
        wanted: &Description,
        rules: &Rules,
    ) -> Verdict {
        let pending = self.offer.is_open() || self.differs(wanted);
        let renewed = self
            .agreed
            .ours
            .stream(index)
            .zip(wanted.stream(index))
            .is_some_and(|(agreed, wanted)| pending && agreed.formats != wanted.formats);
        // What the call changes to while the recorder asks for silence is not for it either.
        let silenced = self.agreed.is_silenced(index);
        if renewed && !silenced || self.has_other_ports(index, wanted) {
            return Verdict { mode: BranchMode::Holding, off: None };
        }
        if self.is_spent(index) && !silenced {
            let off =
                (!pending).then(|| "its key is used up, and the recorder refuses another one".to_owned());
            return Verdict { mode: BranchMode::Holding, off };
        }
        let verdict = self.agreed.verdict(branch, index, rules, self.offer.proposed());
        match self.agreed.ours.stream(index).zip(wanted.stream(index)) {
            Some((agreed, wanted)) if agreed.formats != wanted.formats => {
                verdict.confined(&agreed.formats, &wanted.formats, || self.refusal())
            }
            _ => verdict,
        }
    }

    /// Why what a stream has changed to is not agreed, in words for people.
    fn refusal(&self) -> String {
        let said = self.refused.as_ref().map_or("it cannot be described", |refusal| &refusal.said);
        format!("the recorder refuses the change: {said}")
    }

    /// Whether nothing may leave any more under the keys that an m-line has by agreement (RFC 3711 §9.2).
    pub(super) fn is_spent(&self, index: usize) -> bool {
        let keys = self.agreed.ours.stream(index).and_then(|line| line.keys.as_ref());
        keys.is_some_and(|keys| self.spent.contains(keys))
    }

    /// The association that the branch of an m-line should have by now. One with other ports than those that are agreed,
    /// as of a party that has just come in another's place, has none: an association is of its addresses (RFC 8842 §4).
    pub(super) fn association(
        &self,
        branch: BranchId,
        ports: Ports,
        index: usize,
        rules: &Rules,
    ) -> Option<OpenBranch> {
        let agreed = self.agreed.ours.stream(index).and_then(|line| line.ports);
        if agreed == Some(ports) { self.agreed.association(branch, index, rules) } else { None }
    }

    fn has_other_ports(&self, index: usize, wanted: &Description) -> bool {
        let agreed = self.agreed.ours.stream(index);
        agreed.zip(wanted.stream(index)).is_some_and(|(agreed, wanted)| agreed.ports != wanted.ports)
    }

    /// What an answer of ours may say: what is wanted, unless the recorder has refused it.
    pub(super) fn answerable<'a>(&'a self, wanted: &'a Description) -> &'a Description {
        if self.differs(wanted) { wanted } else { &self.agreed.ours }
    }

    /// When something is due. An offer that may not be made now is made when what stands in its way has ended.
    pub(super) fn next_deadline(&self, may_offer: bool, timers: &Timers) -> Option<Instant> {
        let offer = match &self.offer {
            Offer::Sent { deadline, .. } => Some(*deadline),
            Offer::None if may_offer => {
                let retry = self.refused.as_ref().and_then(|refusal| refusal.retry);
                retry.or_else(|| self.clock.refresh())
            }
            Offer::None | Offer::InAnswer { .. } => None,
        };
        offer.into_iter().chain(self.clock.expiry()).chain(self.life.next_deadline(timers)).min()
    }

    /// Wanted has changed, or an offer was accepted: nothing is held against the next one, but a glare back-off runs on.
    pub(super) fn forget_refusal(&mut self) {
        self.refused = self.refused.take().filter(|refusal| refusal.retry.is_some());
    }

    /// The recorder refused our offer: the session stays as it was (RFC 3261 §14.1). Says whether that is final.
    pub(super) fn refuse(&mut self, response: &Response, glare_delay: Duration, now: Instant) -> bool {
        let Some(description) = self.offer.take() else { return false };
        let retries = self.refused.take().map_or(0, |refusal| refusal.retries);
        let retry_after = response.headers.retry_after().ok().flatten();
        let (retry, retries) = match (response.status, retry_after) {
            (491, _) => (Some(now + glare_delay), retries),
            // While something waits, the time for that is the bound.
            (500 | 503, Some(seconds)) if retries < RETRIES || self.waits_since.is_some() => (
                Some(now + Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER).into())),
                retries.saturating_add(1),
            ),
            _ => (None, 0),
        };
        let said = format!("{} {}", response.status, response.reason);
        self.refused = Some(Refusal { description, retry, retries, said });
        self.clock.postpone(now);
        retry.is_none()
    }

    /// Whether the time to repeat a refused offer has not come yet.
    fn backs_off(&self, now: Instant) -> bool {
        self.refused.as_ref().and_then(|refusal| refusal.retry).is_some_and(|retry| now < retry)
    }
}

impl RecordingSession {
    /// When no transaction is open, the difference between wanted and agreed makes the next offer; without one, the
    /// session timer or a doubt may want the same again.
    pub(crate) fn offer_difference(&mut self, now: Instant) {
        self.watch_waiting(now);
        let Phase::Up(up) = &mut self.phase else { return };
        if up.offer.is_open() || up.backs_off(now) || !self.ua.may_offer() {
            return;
        }
        let description = if up.differs(&self.wanted) {
            self.wanted.clone()
        } else if up.probe || up.clock.refresh().is_some_and(|due| due <= now) {
            up.agreed.ours.offered()
        } else {
            up.presses = false;
            up.refused = up.refused.take().filter(|refusal| refusal.retry.is_none());
            return;
        };
        let Ok(body) = self.writer.write(&description) else {
            // What cannot be written will not become writable by trying again.
            let said = "it cannot be written down".to_owned();
            up.refused = Some(Refusal { description, retry: None, retries: 0, said });
            return;
        };
        let sent = self.ua.request(Method::Invite, up.clock.request(), Some(Body::sdp(body)), now);
        if let Ok(token) = sent {
            let probe = std::mem::take(&mut up.probe);
            let is_urgent = probe || up.presses || self.hurries;
            let time = if is_urgent { self.rules.timers.probe_answer } else { ANSWER_TIME };
            up.offer =
                Offer::Sent { description, token, sent: now, deadline: now + time, is_worked_on: false };
        }
    }
}
