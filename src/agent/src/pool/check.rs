//! Asking recorders whether they live: by OPTIONS outside of any dialog (RFC 3261 §11). Time and chance are arguments.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use siprec_session::{FirstHop, OutboundProxy, RecorderPlace, RecorderTarget};
use siprec_sip::{
    ClientTransaction, Endpoint, HeaderName, Message, Method, NameAddr, Random, Request, Response, Uri,
    UriBuilder,
};
use siprec_transport::{Destination, ResolveError, Target};

use super::{HealthCheck, Pools};
use crate::routes::sip_transport;

/// Most addresses of one recorder that are asked in one round; it lives when one of them does.
const MOST_ADDRESSES: usize = 4;

/// Every recorder that is asked.
#[derive(Debug)]
pub(crate) struct Checks {
    who: Identity,
    random: Random,
    checkups: BTreeMap<RecorderPlace, Checkup>,
    /// By Call-ID of the question that is open.
    open: HashMap<String, RecorderPlace>,
    /// When [`Checks::run`] has something to do: the loop asks at each of its turns.
    due: Option<Instant>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) user_agent: String,
    pub(crate) outbound_proxy: OutboundProxy,
}

/// What has to be done for the checks.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Find a recorder, and say it by [`Checks::found`].
    Find(RecorderPlace, Box<Target>),
    /// Find the local address towards a place, and say it by [`Checks::ask`].
    Reach(RecorderPlace, Destination),
    /// Send a question.
    Send(Request, Destination),
    /// A recorder lives, or it does not, and why.
    Judge(RecorderPlace, HealthCheck, Verdict),
}

/// The outcome of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive(String),
    Dead(String),
}

/// One recorder's check.
#[derive(Debug)]
struct Checkup {
    target: RecorderTarget,
    rules: HealthCheck,
    /// When its next round begins.
    next: Instant,
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    /// When the present step is given up.
    deadline: Instant,
    step: Step,
    /// Where it is asked when it does not answer here.
    others: Vec<Destination>,
}

#[derive(Debug)]
enum Step {
    Finding,
    Asking { call_id: String, transaction: Box<ClientTransaction>, destination: Destination },
}

impl Checks {
    pub(crate) fn new(who: Identity, random: Random) -> Self {
        Self { who, random, checkups: BTreeMap::new(), open: HashMap::new(), due: None }
    }

    /// Asks the recorders of these pools from now on, and no others. One that is asked already goes on in its time; the
    /// first round of new ones is spread over a second, so that they are not all asked at once.
    pub(crate) fn follow(&mut self, pools: &Pools, now: Instant) {
        let mut wanted: BTreeMap<RecorderPlace, (RecorderTarget, HealthCheck)> = BTreeMap::new();
        for (_, rules) in pools.iter() {
            let Some(check) = rules.health_check else { continue };
            for member in &rules.pool.members {
                let entry = wanted.entry(RecorderPlace::of(&member.target.uri));
                entry.or_insert_with(|| (member.target.clone(), check));
            }
        }
        let spread = Duration::from_secs(1) / u32::try_from(wanted.len().max(1)).unwrap_or(u32::MAX);
        let mut before = std::mem::take(&mut self.checkups);
        for (number, (address, (target, rules))) in wanted.into_iter().enumerate() {
            let known =
                before.remove(&address).filter(|known| known.target == target && known.rules == rules);
            let first = now + spread * u32::try_from(number).unwrap_or_default();
            let checkup = known.unwrap_or(Checkup { target, rules, next: first, round: None });
            self.checkups.insert(address, checkup);
        }
        let checkups = &self.checkups;
        self.open.retain(|call_id, address| {
            checkups.get(address).is_some_and(|checkup| checkup.call_id() == Some(call_id.as_str()))
        });
        self.set_due();
    }

    /// When to call [`Self::run`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    fn set_due(&mut self) {
        self.due = self.checkups.values().map(Checkup::next_deadline).min();
    }

    /// Does what is due. Recorders that want to be left alone are, which `is_away` tells.
    pub(crate) fn run(&mut self, now: Instant, is_away: impl Fn(&RecorderPlace) -> bool) -> Vec<Errand> {
        let mut errands = Vec::new();
        if self.due.is_none_or(|due| now < due) {
            return errands;
        }
        let due: Vec<RecorderPlace> = self
            .checkups
            .iter()
            .filter(|(_, checkup)| checkup.next_deadline() <= now)
            .map(|(address, _)| address.clone())
            .collect();
        for address in due {
            let Some(checkup) = self.checkups.get_mut(&address) else { continue };
            match &mut checkup.round {
                None if is_away(&address) => checkup.next = now + checkup.rules.interval,
                None => {
                    checkup.next = now + checkup.rules.interval;
                    let deadline = now + checkup.rules.timeout;
                    checkup.round = Some(Round { deadline, step: Step::Finding, others: Vec::new() });
                    match target(&checkup.target, &self.who.outbound_proxy) {
                        Err(error) => errands.extend(self.ends(&address, Verdict::Dead(error.to_string()))),
                        Ok(target) => match target.literal() {
                            Some(destination) => errands.push(Errand::Reach(address, destination)),
                            None => errands.push(Errand::Find(address, Box::new(target))),
                        },
                    }
                }
                Some(round) if round.deadline <= now => {
                    let reason = match round.step {
                        Step::Finding => "its address was not found in time".to_owned(),
                        Step::Asking { .. } => "it does not answer".to_owned(),
                    };
                    errands.extend(self.unanswered(&address, reason));
                }
                Some(Round { step: Step::Asking { transaction, destination, .. }, .. }) => {
                    // Its own end comes after ours.
                    let _ = transaction.handle_timeout(now);
                    errands.extend(transmit(transaction, destination));
                }
                Some(Round { step: Step::Finding, .. }) => {}
            }
        }
        self.set_due();
        errands
    }

    /// Takes what became of [`Errand::Find`].
    pub(crate) fn found(
        &mut self,
        address: &RecorderPlace,
        outcome: Result<Vec<Destination>, ResolveError>,
    ) -> Vec<Errand> {
        let round = self.checkups.get_mut(address).and_then(|checkup| checkup.round.as_mut());
        let Some(round) = round.filter(|round| matches!(round.step, Step::Finding)) else {
            return Vec::new();
        };
        match outcome {
            Ok(destinations) => {
                round.others = destinations.into_iter().take(MOST_ADDRESSES).rev().collect();
                self.unanswered(address, "it has no address".to_owned()).into_iter().collect()
            }
            Err(error) => self.ends(address, Verdict::Dead(error.to_string())).into_iter().collect(),
        }
    }

    /// Asks at a place that is reached from a local address; None where there is no way.
    pub(crate) fn ask(
        &mut self,
        address: &RecorderPlace,
        destination: Destination,
        local: Option<SocketAddr>,
        now: Instant,
    ) -> Vec<Errand> {
        let Some(checkup) = self.checkups.get(address).filter(|checkup| checkup.round.is_some()) else {
            return Vec::new();
        };
        let question = local
            .and_then(|local| question(&self.who, &checkup.target, &destination, local, &mut self.random));
        let Some((request, transport)) = question else {
            return self.unanswered(address, "there is no way to it".to_owned()).into_iter().collect();
        };
        let call_id = crate::worker::call_id(&request.headers).unwrap_or_default();
        self.open.insert(call_id.clone(), address.clone());
        let mut transaction = Box::new(ClientTransaction::new(request, transport, now));
        let errands = transmit(&mut transaction, &destination);
        if let Some(checkup) = self.checkups.get_mut(address)
            && let Some(round) = &mut checkup.round
        {
            round.deadline = now + checkup.rules.timeout;
            round.step = Step::Asking { call_id, transaction, destination };
        }
        self.set_due();
        errands
    }

    /// Takes a response, if it answers an open question.
    pub(crate) fn answered(&mut self, call_id: &str, response: Response, now: Instant) -> Vec<Errand> {
        let Some(address) = self.open.get(call_id).cloned() else { return Vec::new() };
        let round = self.checkups.get_mut(&address).and_then(|checkup| checkup.round.as_mut());
        let Some(Round { step: Step::Asking { transaction, .. }, .. }) = round else { return Vec::new() };
        if !transaction.is_match(&response) {
            return Vec::new();
        }
        let Some(response) =
            transaction.handle_response(response, now).filter(|response| response.status >= 200)
        else {
            return Vec::new();
        };
        let said = format!("it answers {} {}", response.status, response.reason);
        let errand = match is_alive(response.status) {
            true => self.ends(&address, Verdict::Alive(said)),
            false => self.unanswered(&address, said),
        };
        errand.into_iter().collect()
    }

    /// An open question could not be sent.
    pub(crate) fn unsent(&mut self, call_id: &str, reason: String) -> Vec<Errand> {
        let Some(address) = self.open.get(call_id).cloned() else { return Vec::new() };
        self.unanswered(&address, reason).into_iter().collect()
    }

    /// Asks at the next address, or judges that there is none left.
    fn unanswered(&mut self, address: &RecorderPlace, reason: String) -> Option<Errand> {
        let round = self.checkups.get_mut(address)?.round.as_mut()?;
        match round.others.pop() {
            Some(destination) => {
                if let Step::Asking { call_id, .. } = std::mem::replace(&mut round.step, Step::Finding) {
                    self.open.remove(&call_id);
                }
                Some(Errand::Reach(address.clone(), destination))
            }
            None => self.ends(address, Verdict::Dead(reason)),
        }
    }

    fn ends(&mut self, address: &RecorderPlace, verdict: Verdict) -> Option<Errand> {
        let checkup = self.checkups.get_mut(address)?;
        let rules = checkup.rules;
        if let Step::Asking { call_id, .. } = checkup.round.take()?.step {
            self.open.remove(&call_id);
        }
        self.set_due();
        Some(Errand::Judge(address.clone(), rules, verdict))
    }
}

impl Checkup {
    fn next_deadline(&self) -> Instant {
        match &self.round {
            None => self.next,
            Some(Round { deadline, step: Step::Finding, .. }) => *deadline,
            Some(Round { deadline, step: Step::Asking { transaction, .. }, .. }) => {
                transaction.next_timeout().map_or(*deadline, |next| next.min(*deadline))
            }
        }
    }

    fn call_id(&self) -> Option<&str> {
        match &self.round.as_ref()?.step {
            Step::Asking { call_id, .. } => Some(call_id),
            Step::Finding => None,
        }
    }
}

/// Whether an answer shows that the recorder takes calls: any does, even a refusal, but those by which a proxy says that
/// it does not reach it (408, 502, 504), and 503, by which it says itself that it takes none.
fn is_alive(status: u16) -> bool {
    !matches!(status, 408 | 502 | 503 | 504)
}

fn transmit(transaction: &mut ClientTransaction, destination: &Destination) -> Vec<Errand> {
    let messages = std::iter::from_fn(|| transaction.poll_transmit());
    messages
        .filter_map(|message| match message {
            Message::Request(request) => Some(Errand::Send(request, destination.clone())),
            Message::Response(_) => None,
        })
        .collect()
}

/// Where a recorder's first hop is to be found.
fn target(recorder: &RecorderTarget, usual: &OutboundProxy) -> Result<Target, ResolveError> {
    let FirstHop { uri, secure, tls } = recorder.first_hop(usual, false);
    let target = Target::of(&uri)?.with_tls(&tls);
    if secure { target.secured() } else { Ok(target) }
}

fn question(
    who: &Identity,
    recorder: &RecorderTarget,
    destination: &Destination,
    local: SocketAddr,
    random: &mut Random,
) -> Option<(Request, siprec_sip::Transport)> {
    let transport = sip_transport(destination.protocol);
    let host = local.ip().to_string();
    let own = UriBuilder::sip(&host).user(&who.user).port(local.port()).build().ok()?;
    let to = recorder.address().ok()?;
    let contact = NameAddr::new(own.clone());
    let mut endpoint = Endpoint::new(transport, &host, Some(local.port()), contact).ok()?;
    endpoint.user_agent = Some(who.user_agent.clone()).filter(|agent| !agent.is_empty());
    endpoint.supported = vec!["timer".to_owned()];
    // Of a recording there is none yet, which the user part would name.
    let (from, uri) = (NameAddr::new(own), recorder.uri.to_builder().user("").build().ok()?);
    let mut request = endpoint.request(Method::Options, uri, &from, &NameAddr::new(to), random);
    request.headers.push(HeaderName::Accept, "application/sdp");
    for hop in recorder.outbound_proxy(&who.outbound_proxy).hops() {
        request.headers.push(HeaderName::Route, NameAddr::new(Uri::clone(hop)));
    }
    Some((request, transport))
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
