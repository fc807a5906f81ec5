//! Attempts: from the next recorder of the list to a session with it.

use std::time::Instant;

use siprec_model::{BranchId, FailureReason, SessionEventKind};
use siprec_sip::{Endpoint, Message, NameAddr, Transport, UacConfig, Uri, UriBuilder};

use super::end::Outcome;
use super::slot::Slot;
use super::{LEG, Recording, Stage};
use crate::branches::BranchMode;
use crate::config::SessionMode;
use crate::dialect::Subject;
use crate::io::{Flow, Output, TransportEvent};
use crate::recorder::RecorderTarget;
use crate::session::{Notice, RecordingSession, Rules, Verdict, WantedLine};

/// The attempt at one recorder, and what went before it.
#[derive(Debug, Default)]
pub(super) struct Leg {
    /// How many attempts were begun; the last one's number.
    attempts: u32,
    step: Step,
    /// Why each recorder failed, in order.
    failures: Vec<String>,
}

#[derive(Debug, Default)]
enum Step {
    /// No attempt was begun.
    #[default]
    Idle,
    /// The recorder's address is being looked for.
    Resolving { deadline: Instant },
    /// The ports for the offer are being bound.
    Binding { flow: Flow, deadline: Instant },
    /// The dialog is there, from the INVITE on.
    Session { flow: Flow, session: Box<RecordingSession> },
    /// No recorder is left, or the recording has ended.
    Over,
}

impl Leg {
    /// Which recorder of the list the present attempt is for.
    pub(super) fn target(&self) -> Option<usize> {
        usize::try_from(self.attempts).ok()?.checked_sub(1)
    }

    pub(super) fn flow(&self) -> Option<Flow> {
        match &self.step {
            Step::Binding { flow, .. } | Step::Session { flow, .. } => Some(*flow),
            Step::Idle | Step::Resolving { .. } | Step::Over => None,
        }
    }

    pub(super) fn session(&self) -> Option<&RecordingSession> {
        match &self.step {
            Step::Session { session, .. } => Some(session),
            _ => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut RecordingSession> {
        match &mut self.step {
            Step::Session { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Why each recorder failed.
    pub(super) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Whether an attempt is under way that the recorder has not answered yet.
    pub(super) fn is_attempting(&self) -> bool {
        match &self.step {
            Step::Resolving { .. } | Step::Binding { .. } => true,
            Step::Session { session, .. } => session.is_inviting(),
            Step::Idle | Step::Over => false,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Resolving { deadline } | Step::Binding { deadline, .. } => Some(*deadline),
            Step::Session { session, .. } => session.next_deadline(),
            Step::Idle | Step::Over => None,
        }
    }

    pub(super) fn want(&mut self, wanted: &[WantedLine]) {
        if let Some(session) = self.session_mut() {
            session.want(wanted);
        }
    }

    pub(super) fn offer(&mut self, now: Instant) {
        if let Some(session) = self.session_mut() {
            session.offer_difference(now);
        }
    }

    /// What a branch is to do while nothing asks for silence; None where it goes on as it is.
    fn verdict(&self, branch: BranchId) -> Option<Verdict> {
        match &self.step {
            Step::Session { session, .. } => session.verdict(branch),
            _ => Some(Verdict { mode: BranchMode::Holding, off: None }),
        }
    }

    /// Takes the session out; nothing is attempted any more.
    pub(super) fn finish(&mut self) -> Option<(u32, RecordingSession)> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Session { session, .. } => Some((self.attempts, *session)),
            _ => None,
        }
    }
}

impl Recording {
    /// Begins with the next recorder of the list, or gives up.
    pub(super) fn next_attempt(&mut self, now: Instant) {
        let next = usize::try_from(self.leg.attempts).unwrap_or(usize::MAX);
        match self.config.recorders.get(next) {
            Some(recorder) => {
                self.leg.attempts += 1;
                self.call_id = None;
                self.leg.step = Step::Resolving { deadline: now + self.config.timers.resolve };
                let uri = recorder.uri.clone();
                self.output.push_back(Output::Resolve { attempt: self.leg.attempts, uri });
            }
            None => self.close(Outcome::Failed, now),
        }
    }

    /// The recorder of the present attempt.
    pub(super) fn recorder(&self) -> Option<&RecorderTarget> {
        self.config.recorders.get(self.leg.target()?)
    }

    pub(super) fn transport(&mut self, event: TransportEvent, now: Instant) {
        match event {
            TransportEvent::Resolved { attempt, flow } if attempt == self.leg.attempts => {
                if matches!(self.leg.step, Step::Resolving { .. }) {
                    self.bind(flow, now);
                }
            }
            TransportEvent::Unresolved { attempt, reason } if attempt == self.leg.attempts => {
                if matches!(self.leg.step, Step::Resolving { .. }) {
                    self.attempt_failed(FailureReason::Unresolved(reason), None, now);
                }
            }
            TransportEvent::Failed { attempt, reason } => {
                let current = self.leg.attempts == attempt;
                let present = self.leg.session_mut().filter(|_| current);
                let former = self.former.iter_mut().find(|(number, _)| *number == attempt);
                if let Some(session) = present.or(former.map(|(_, session)| session)) {
                    session.handle_transport_error(&reason, now);
                }
            }
            TransportEvent::Resolved { .. } | TransportEvent::Unresolved { .. } => {}
        }
    }

    /// Gives a message to the dialog that it belongs to.
    pub(super) fn message(&mut self, message: Message, now: Instant) {
        let present = self.leg.session_mut().into_iter();
        let former = self.former.iter_mut().map(|(_, session)| session);
        let mut message = message;
        for session in present.chain(former) {
            match session.handle_message(message, now) {
                Ok(()) => return,
                Err(unclaimed) => message = *unclaimed,
            }
        }
    }

    /// Asks for the ports of the offer on the address that leads to the recorder.
    fn bind(&mut self, flow: Flow, now: Instant) {
        self.leg.step = Step::Binding { flow, deadline: now + self.config.timers.ports };
        let mut commands = Vec::new();
        for slot in self.slots.values_mut() {
            slot.bind(flow.media, self.config.rtcp_mode, &mut commands);
        }
        self.branches(commands);
    }

    /// Sends the INVITE as soon as every stream has its ports.
    pub(super) fn invite_when_bound(&mut self, now: Instant) {
        let Step::Binding { flow, .. } = self.leg.step else { return };
        if self.slots.values().any(Slot::awaits_ports) {
            return;
        }
        match self.invite(flow, now) {
            Ok(session) => {
                self.call_id = Some(session.call_id());
                self.leg.step = Step::Session { flow, session: Box::new(session) };
            }
            Err(reason) => self.attempt_failed(reason, None, now),
        }
    }

    fn invite(&mut self, flow: Flow, now: Instant) -> Result<RecordingSession, FailureReason> {
        let lost = || FailureReason::Configuration("the recorder is not in the list".to_owned());
        let recorder = self.recorder().ok_or_else(lost)?;
        let subject =
            Subject { recorder, recording_id: &self.id, call_uuid: &self.call_uuid, config: &self.config };
        let dialect = self.config.dialect;
        let configuration = |reason: &dyn std::fmt::Display| FailureReason::Configuration(reason.to_string());
        // A DN may have been set since the configuration was checked.
        dialect.check(&self.config).map_err(|error| configuration(&error))?;
        let invite = dialect.invite(&subject).map_err(|error| configuration(&error))?;
        let (from, contact) =
            own_addresses(&self.config.user, &flow).map_err(|error| configuration(&error))?;
        let (host, port) = (flow.local.ip().to_string(), Some(flow.local.port()));
        let mut endpoint = Endpoint::new(flow.transport, &host, port, NameAddr::new(contact))
            .map_err(|error| configuration(&error))?;
        endpoint.user_agent = Some(self.config.user_agent.clone()).filter(|agent| !agent.is_empty());
        endpoint.supported = vec!["timer".to_owned()];
        let config = UacConfig {
            endpoint,
            request_uri: invite.request_uri,
            from: NameAddr::new(from),
            to: invite.to,
            route: Vec::new(),
        };
        let rules = Rules {
            dialect,
            payload_types: recorder.profile.payload_types.unwrap_or(dialect.payload_types()),
            rtcp: self.config.rtcp_mode,
            timers: self.config.timers,
            media: flow.media,
        };
        let wanted = self.wanted();
        RecordingSession::invite(config, invite.headers, rules, &wanted, &mut self.random, now)
    }

    /// What every m-line should be. In a session for both parties each has its line, there or not (`protocol` 1.2).
    pub(super) fn wanted(&self) -> Vec<WantedLine> {
        let parties = match self.config.mode {
            SessionMode::BothParties => 2,
        };
        let count = self.slots.keys().next_back().map_or(0, |last| usize::from(*last) + 1).max(parties);
        let mut wanted = vec![WantedLine::Absent; count];
        for (number, slot) in &self.slots {
            if let Some(line) = wanted.get_mut(usize::from(*number)) {
                *line = slot.wanted(self.paused);
            }
        }
        wanted
    }

    /// Brings every branch into the mode that pause and agreement ask for.
    pub(super) fn steer_branches(&mut self) {
        let mut commands = Vec::new();
        let mut off = Vec::new();
        for (number, slot) in &mut self.slots {
            let branch = BranchId { recording: self.config.key, leg: LEG, slot: *number };
            let Some(Verdict { mode, off: reason }) = self.leg.verdict(branch) else { continue };
            slot.steer(if self.paused { BranchMode::Paused } else { mode }, &mut commands);
            if slot.turns_off(reason.is_some())
                && let Some(reason) = reason
            {
                off.push((*number, slot.medium(), reason));
            }
        }
        self.branches(commands);
        for (number, medium, reason) in off {
            self.tell(Some(number), SessionEventKind::MediumOff { medium, reason });
        }
    }

    /// Hands out what the dialogs want to send.
    pub(super) fn send(&mut self) {
        let attempt = self.leg.attempts;
        let present = self.leg.session_mut().map(|session| (attempt, session));
        let former = self.former.iter_mut().map(|(attempt, session)| (*attempt, session));
        for (attempt, session) in former.chain(present) {
            while let Some(message) = session.poll_transmit() {
                self.output.push_back(Output::Send { attempt, message });
            }
        }
    }

    /// Acts on what the session has to say. Says whether there was anything.
    pub(super) fn take_notices(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(notice) = self.leg.session_mut().and_then(RecordingSession::poll_notice) {
            any = true;
            match notice {
                Notice::Answered => self.tell_answered(),
                Notice::OfferRefused { code, phrase } => self.offer_refused(code, &phrase),
                Notice::Failed { reason, sip_code } => self.attempt_failed(reason, sip_code, now),
                Notice::EndedByRecorder => {
                    self.close(Outcome::Stopped(siprec_model::StopReason::Recorder), now)
                }
                Notice::KeyframeWanted => self.tell(None, SessionEventKind::KeyframeWanted),
            }
        }
        any
    }

    /// A refused resume, or a refused stream, is not recorded although the call has it.
    fn offer_refused(&mut self, code: u16, phrase: &str) {
        let idle: Vec<_> = self
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.is_described() && !slot.is_open() && !self.paused)
            .map(|(number, slot)| (*number, slot.medium()))
            .collect();
        for (number, medium) in idle {
            let reason = format!("the recorder refuses the change: {code} {phrase}");
            self.tell(Some(number), SessionEventKind::MediumOff { medium, reason });
        }
    }

    /// The recorder of the present attempt is of no use: tells so, and tries the next one.
    pub(super) fn attempt_failed(&mut self, reason: FailureReason, sip_code: Option<u16>, now: Instant) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told | Stage::Finished) {
            return;
        }
        self.tell_failed(reason, sip_code);
        self.former.extend(self.leg.finish());
        self.next_attempt(now);
    }

    fn tell_failed(&mut self, reason: FailureReason, sip_code: Option<u16>) {
        let recorder = self.recorder().map(RecorderTarget::shown).unwrap_or_default();
        self.leg.failures.push(format!("{recorder}: {reason}"));
        self.tell(None, SessionEventKind::Failed { reason, sip_code });
    }

    /// No ports for one stream. Before the offer that ends the attempt; later only the new stream is not recorded.
    pub(super) fn ports_failed(&mut self, number: u16, reason: String, now: Instant) {
        match &self.leg.step {
            Step::Binding { .. } => self.attempt_failed(FailureReason::LocalResources(reason), None, now),
            Step::Session { .. } => self.tell_off(number, reason),
            Step::Idle | Step::Resolving { .. } | Step::Over => {}
        }
    }

    /// The engine lost a branch. The recording goes on with the others; without any it has failed.
    pub(super) fn branch_lost(&mut self, number: u16, reason: String, now: Instant) {
        self.tell_off(number, reason.clone());
        let started = !matches!(self.stage, Stage::Idle { .. });
        if started && !self.slots.values().any(Slot::is_live) {
            self.tell_failed(FailureReason::LocalResources(reason), None);
            self.close(Outcome::Failed, now);
        }
    }

    /// Does what is due in the present attempt and in former dialogs.
    pub(super) fn expire_leg(&mut self, now: Instant) {
        for (_, session) in &mut self.former {
            session.handle_timeout(now);
        }
        let timers = self.config.timers;
        match &mut self.leg.step {
            Step::Resolving { deadline } if *deadline <= now => {
                let reason = format!("no address within {:?}", timers.resolve);
                self.attempt_failed(FailureReason::Unresolved(reason), None, now);
            }
            Step::Binding { deadline, .. } if *deadline <= now => {
                let reason = format!("no ports within {:?}", timers.ports);
                self.attempt_failed(FailureReason::LocalResources(reason), None, now);
            }
            Step::Session { session, .. } => session.handle_timeout(now),
            Step::Idle | Step::Resolving { .. } | Step::Binding { .. } | Step::Over => {}
        }
    }
}

/// `From` and `Contact`: `sip:user@host:port`, the latter with the transport that leads to us (RFC 3261 §8.1.1.8).
fn own_addresses(user: &str, flow: &Flow) -> Result<(Uri, Uri), siprec_sip::UriError> {
    let host = flow.local.ip().to_string();
    let own = UriBuilder::sip(&host).user(user).port(flow.local.port());
    let contact = match flow.transport {
        Transport::Udp => own.clone(),
        Transport::Tcp | Transport::Tls => {
            own.clone().param("transport", &flow.transport.as_str().to_ascii_lowercase())
        }
    };
    Ok((own.build()?, contact.build()?))
}
