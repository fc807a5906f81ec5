//! Attempts: from the choice of the next recorder to a session with it.

use std::time::{Duration, Instant};

use siprec_model::{FailureReason, HangUp, Medium, SessionEventKind, StopReason};
use siprec_sip::{Endpoint, Message, NameAddr, Transport, UacConfig, Uri, UriBuilder};

use super::leg::{Asked, COMEBACK, Comeback, Leg, LegEnd, Lost, Step};
use super::redirect::explained;
use super::slot::{Loss, Slot};
use super::tell::Scope;
use super::tried::Again;
use super::{Recording, Stage};
use crate::config::{ByePolicy, SessionMode};
use crate::dialect::Subject;
use crate::io::{Flow, Output, TransportEvent};
use crate::parties::PartyKey;
use crate::place::RecorderPlace;
use crate::pool::{NoRecorder, RecorderWish};
use crate::recorder::{FirstHop, RecorderTarget};
use crate::security;
use crate::session::{Advice, Lived, Notice, RecordingSession, Reporting, Rules};

/// A recorder that had a session for so long has proved itself, so that its loss begins a new count.
const STABLE: Duration = Duration::from_secs(30);

/// How many losses in a row, one after the other, have recorders tried again: after the next one those are left that were not tried yet.
const LOSSES: u32 = 3;

/// How many audio lines a session for both parties has at least (`protocol` 1.2).
const BOTH: usize = 2;

impl Recording {
    /// Begins with the next recorder.
    pub(super) fn next_attempt(&mut self, id: usize, now: Instant) {
        let deadline = now + self.config.timers.resolve;
        let Some(leg) = self.legs.get_mut(id) else { return };
        self.attempts += 1;
        leg.attempt = self.attempts;
        leg.recorder = None;
        leg.call_id = None;
        leg.step = Step::Choosing { asked: Asked::No, deadline };
        let redelivers = leg.lost.is_some();
        self.slots
            .values_mut()
            .filter(|slot| slot.is_of(id))
            .for_each(|slot| slot.recollect(redelivers, now));
    }

    /// Has the next recorder chosen, one after the other: each choice may depend on those before it.
    pub(super) fn ask_for_a_recorder(&mut self) {
        if self.legs.iter().filter_map(Leg::asked).any(|asked| asked != Asked::No) {
            return;
        }
        let recorder = |leg: &Leg| leg.recorder.as_ref().filter(|_| leg.is_active()).map(|it| it.uri.clone());
        let companion = self.legs.iter().find_map(recorder);
        let Some(leg) = self.legs.iter_mut().find(|leg| leg.is_choosing()) else { return };
        let (attempt, tried, redirect) = (leg.attempt, leg.tried.uris(), leg.redirects.pop_front());
        leg.ask(if redirect.is_some() { Asked::ForRedirect } else { Asked::ForAny });
        let (recorders, other_copies) = (self.config.recorders.clone(), self.config.other_copies.clone());
        let wish = RecorderWish { recorders, tried, companion, other_copies, redirect };
        self.output.push_back(Output::ChooseRecorder { attempt, wish: Box::new(wish) });
    }

    /// Takes the recorder that was chosen, or gives up.
    pub(super) fn chosen(&mut self, attempt: u32, choice: Result<RecorderTarget, NoRecorder>, now: Instant) {
        // Once the call has ended nobody waits for recorders that are gone.
        let has_ended = matches!(self.stage, Stage::Draining { .. });
        let kept_for = if has_ended { Duration::ZERO } else { self.config.limits.hold_time };
        let is_asked =
            |leg: &Leg| leg.attempts(attempt) && leg.asked().is_some_and(|asked| asked != Asked::No);
        let Some((id, leg)) = self.legs.iter_mut().enumerate().find(|(_, leg)| is_asked(leg)) else { return };
        match choice {
            Ok(recorder) => {
                leg.tried.push(&recorder, leg.asked() == Some(Asked::ForRedirect));
                leg.recorder = Some(recorder);
                self.resolve(id, None, now);
            }
            // Where it is sent is one place among others.
            Err(reason) if leg.asked() == Some(Asked::ForRedirect) => {
                leg.failures.push(format!("not tried where the recorder says: {reason}"));
                leg.ask(Asked::No);
            }
            Err(_) if leg.tried.release() => leg.ask(Asked::No),
            Err(_) if leg.waits_for_a_comeback(kept_for, now) => {}
            // Each has told why it failed.
            Err(reason) if reason.is_exhausted() => self.go_back(id, None, now),
            Err(reason) => self.go_back(id, Some(FailureReason::NoRecorder(reason.to_string())), now),
        }
    }

    /// Tries the present recorder at its next address `after` an attempt.
    fn try_elsewhere(&mut self, id: usize, after: u32, now: Instant) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        self.attempts += 1;
        leg.attempt = self.attempts;
        leg.call_id = None;
        self.resolve(id, Some(after), now);
    }

    /// Has the present recorder's address found.
    fn resolve(&mut self, id: usize, after: Option<u32>, now: Instant) {
        let Some(recorder) = self.recorder(id).cloned() else { return };
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.more = false;
        leg.step = Step::Resolving { deadline: now + self.config.timers.resolve };
        let attempt = leg.attempt;
        let FirstHop { uri, secure, tls } =
            recorder.first_hop(&self.config.outbound_proxy, self.config.sips_call);
        self.output.push_back(Output::Resolve { attempt, recorder: recorder.uri, uri, secure, tls, after });
    }

    /// Takes a session's present attempt away, with its dialog where that is not over yet.
    pub(super) fn retire(&mut self, id: usize) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        // One that nobody was asked for yet has not begun.
        if leg.is_before_dialog() && leg.asked() != Some(Asked::No) {
            self.output.push_back(Output::AttemptOver { attempt: leg.attempt });
        }
        self.former.extend(leg.finish());
    }

    /// The recorder of a session's present attempt.
    pub(super) fn recorder(&self, leg: usize) -> Option<&RecorderTarget> {
        self.legs.get(leg)?.recorder.as_ref()
    }

    /// How the recorder of a session's present attempt may be shown.
    pub(super) fn recorder_shown(&self, leg: usize) -> String {
        self.recorder(leg).map(RecorderTarget::shown).unwrap_or_default()
    }

    pub(super) fn transport(&mut self, event: TransportEvent, now: Instant) {
        let (TransportEvent::Resolved { attempt, .. }
        | TransportEvent::Unresolved { attempt, .. }
        | TransportEvent::ConnectionLost { attempt }
        | TransportEvent::Failed { attempt, .. }) = &event;
        let found = self.legs.iter_mut().enumerate().find(|(_, leg)| leg.attempts(*attempt));
        match (event, found) {
            (TransportEvent::Resolved { flow, more, .. }, Some((id, leg))) => {
                if matches!(leg.step, Step::Resolving { .. }) {
                    leg.more = more;
                    self.bind(id, flow, now);
                }
            }
            (TransportEvent::Unresolved { reason, .. }, Some((id, leg))) => {
                if matches!(leg.step, Step::Resolving { .. }) {
                    self.attempt_failed(id, FailureReason::Unresolved(reason), None, now);
                }
            }
            (TransportEvent::Failed { attempt, reason }, found) => {
                let present = found.and_then(|(_, leg)| leg.session_mut());
                let former = self.former.iter_mut().find(|(number, _)| *number == attempt);
                if let Some(session) = present.or(former.map(|(_, session)| session)) {
                    session.handle_transport_error(&reason, now);
                }
            }
            (TransportEvent::ConnectionLost { .. }, Some((_, leg))) => {
                if let Some(session) = leg.session_mut() {
                    session.lose_connection(now);
                }
            }
            (_, None) => {}
        }
    }

    /// Gives a message to the dialog that it belongs to. A late response to none needs no answer.
    pub(super) fn message(&mut self, message: Message, now: Instant) {
        let present = self.legs.iter_mut().filter_map(|leg| leg.session_mut());
        let former = self.former.iter_mut().map(|(_, session)| session);
        let mut message = message;
        for session in present.chain(former) {
            match session.handle_message(message, now) {
                Ok(()) => return,
                Err(unclaimed) => message = *unclaimed,
            }
        }
        if let Message::Request(request) = message {
            self.output.push_back(Output::Stray(Box::new(request)));
        }
    }

    /// Asks for the ports of the offer on the address that leads to the recorder.
    fn bind(&mut self, id: usize, flow: Flow, now: Instant) {
        let Some(leg) = self.legs.get_mut(id) else { return };
        leg.step = Step::Binding { flow, deadline: now + self.config.timers.ports };
        let mut commands = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.is_of(id)) {
            slot.bind(flow.media, self.config.rtcp_mode, &mut commands);
        }
        self.branches(commands);
    }

    /// Sends the INVITE of each session as soon as every stream of it has its ports.
    pub(super) fn invite_when_bound(&mut self, now: Instant) {
        for id in 0..self.legs.len() {
            let Some(Step::Binding { flow, .. }) = self.legs.get(id).map(|leg| &leg.step) else { continue };
            let flow = *flow;
            if self.slots.values().any(|slot| slot.is_of(id) && slot.awaits_ports()) {
                continue;
            }
            self.lay_out(id);
            self.slots.values_mut().filter(|slot| slot.is_of(id)).for_each(|slot| slot.revive_formats(now));
            match self.invite(id, flow, now) {
                Ok(session) => {
                    self.tell_weaknesses(id, &flow);
                    if let Some(leg) = self.legs.get_mut(id) {
                        leg.call_id = Some(session.call_id());
                        leg.step = Step::Session { flow, session: Box::new(session) };
                    }
                }
                Err(reason) => self.attempt_failed(id, reason, None, now),
            }
        }
    }

    /// Gives each stream of a session that begins its m-line.
    fn lay_out(&mut self, id: usize) {
        let audio_lines = match self.mode {
            SessionMode::BothParties => BOTH,
            SessionMode::PerParty => 0,
        };
        let mut live: Vec<&Slot> =
            self.slots.values().filter(|slot| slot.is_of(id) && slot.is_live()).collect();
        // What those have left that are gone goes behind whoever came in their place.
        live.sort_by_key(|slot| slot.is_departed());
        let claims: Vec<_> = live.into_iter().map(Slot::claim).collect();
        if let Some(leg) = self.legs.get_mut(id) {
            leg.lines.lay_out(&claims, audio_lines);
        }
    }

    fn invite(&mut self, id: usize, flow: Flow, now: Instant) -> Result<RecordingSession, FailureReason> {
        let lost = || FailureReason::Configuration("the recorder is not in the list".to_owned());
        let recorder = self.recorder(id).ok_or_else(lost)?;
        let (dn, other_dn) = self.dns(id);
        let subject = Subject {
            recorder,
            recording_id: &self.id,
            call_uuid: &self.call_uuid,
            dn,
            other_dn,
            config: &self.config,
        };
        let protection =
            self.protection(id, &flow).map_err(|fault| FailureReason::Security(fault.to_string()))?;
        let dialect = self.config.dialect;
        let configuration = |reason: &dyn std::fmt::Display| FailureReason::Configuration(reason.to_string());
        // A DN may have been set since the configuration was checked, and a pool may have changed.
        dialect.check(&self.config).map_err(|error| configuration(&error))?;
        let invite = dialect.invite(&subject).map_err(|error| configuration(&error))?;
        let (from, contact) = own_addresses(&self.config.user, &flow, &invite.request_uri)
            .map_err(|error| configuration(&error))?;
        let (host, port) = (flow.local.ip().to_string(), Some(flow.local.port()));
        let mut endpoint = Endpoint::new(flow.transport, &host, port, NameAddr::new(contact))
            .map_err(|error| configuration(&error))?;
        endpoint.user_agent = Some(self.config.user_agent.clone()).filter(|agent| !agent.is_empty());
        endpoint.supported = vec!["timer".to_owned()];
        endpoint.credentials.clone_from(&self.config.credentials);
        let config = UacConfig {
            endpoint,
            request_uri: invite.request_uri,
            from: NameAddr::new(from),
            to: invite.to,
            route: recorder.outbound_proxy(&self.config.outbound_proxy).hops().to_vec(),
        };
        let leg = self.legs.get(id);
        let reports_again = leg.is_some_and(|leg| leg.tried.is_punctual(recorder));
        let rules = Rules {
            number: leg.map_or(0, |leg| leg.attempt),
            recorder: RecorderPlace::of(&recorder.uri).key(),
            dialect,
            payload_types: recorder.profile.payload_types.unwrap_or(dialect.payload_types()),
            rtcp: self.config.rtcp_mode,
            timers: self.config.timers,
            media: flow.media,
            signalled: flow.local.ip(),
            protection,
            may_expose: self.policy(id).allow_downgrade,
            reporting: match recorder.profile.expects_reports {
                true => Reporting::Certain,
                false => Reporting::likely(reports_again, leg.map_or(0, |leg| leg.unreported)),
            },
            catch_up: recorder.profile.catch_up,
            retransmission: !recorder.profile.without_retransmission,
        };
        let wanted = self.wanted(id);
        RecordingSession::invite(config, invite.headers, rules, &wanted, &mut self.random, now)
    }

    /// The parties that a session's INVITE names: its own, or the two of the first two m-lines.
    fn dns(&self, id: usize) -> (Option<&str>, Option<&str>) {
        let Some(leg) = self.legs.get(id) else { return (None, None) };
        if let Some(party) = &leg.party {
            return (party.dn(), None);
        }
        let mut lines = leg.lines.iter().take(BOTH).enumerate().map(|(index, line)| {
            let owner = line.owner.and_then(|number| self.slots.get(&number));
            match owner.map(Slot::party) {
                Some(party) => party.dn(),
                None => u16::try_from(index).ok().and_then(|pad| self.config.dn(pad)),
            }
        });
        (lines.next().flatten(), lines.next().flatten())
    }

    /// Acts on what the sessions have to say. Says whether there was anything.
    pub(super) fn take_notices(&mut self, now: Instant) -> bool {
        let mut any = false;
        // One that fails may have others fail with it.
        while self.take_round_of_notices(now) {
            any = true;
        }
        any
    }

    fn take_round_of_notices(&mut self, now: Instant) -> bool {
        let mut any = false;
        for id in 0..self.legs.len() {
            while let Some(notice) = self
                .legs
                .get_mut(id)
                .and_then(|leg| leg.session_mut())
                .and_then(RecordingSession::poll_notice)
            {
                any = true;
                match notice {
                    Notice::Answered => self.tell_answered(id, now),
                    Notice::Parted => self.parted(id, now),
                    Notice::OfferRefused { code, phrase } => self.offer_refused(id, code, &phrase, now),
                    Notice::Failed { reason, sip_code, advice } => {
                        let reason = explained(reason, self.follow(id, &advice));
                        self.take_advice(id, &advice, now);
                        self.attempt_failed(id, reason, sip_code, now);
                    }
                    Notice::EndedByRecorder(said) => self.hung_up(id, said, now),
                    Notice::Weak(reason) => self.tell_weakness(id, reason),
                    Notice::KeyframeWanted => self.ask_key_frames(id),
                    Notice::Suspected(sign) => {
                        let reason = sign.to_string();
                        self.tell(Scope::Leg(id), SessionEventKind::Suspected { reason });
                    }
                }
            }
        }
        any
    }

    /// The recorder has ended the session: it chose to stop, or cannot go on, as it may say by a `cause` of its own failures,
    /// 500 to 599.
    fn hung_up(&mut self, id: usize, said: HangUp, now: Instant) {
        let failed = said.cause.is_some_and(|cause| (500..600).contains(&cause));
        match self.config.recorder_bye {
            ByePolicy::Stop if !failed && self.has_begun(id) => {
                if let Some(leg) = self.legs.get_mut(id) {
                    leg.said = said;
                }
                self.end_leg(id, LegEnd::Stopped { reason: StopReason::Recorder, told: false }, now);
            }
            ByePolicy::Stop | ByePolicy::FailOver => {
                self.attempt_failed(id, FailureReason::HungUp(said), None, now);
            }
        }
    }

    /// Whether media could flow in a session, which may be over.
    fn has_begun(&self, id: usize) -> bool {
        self.legs.get(id).and_then(Leg::session).is_some_and(|session| session.lived().is_some())
    }

    /// The recorder asks for key frames without saying of which stream.
    fn ask_key_frames(&mut self, id: usize) {
        let is_video = |slot: &&Slot| slot.is_of(id) && slot.is_live() && slot.medium() == Medium::Video;
        let videos: Vec<u16> = self.slots.values().filter(is_video).map(Slot::number).collect();
        for number in videos {
            self.tell(Scope::Slot(number), SessionEventKind::KeyframeWanted);
        }
    }

    /// A refused stream is not recorded although the call has it. Who refuses to go on after a pause takes nothing more: the next
    /// recorder has the rest.
    fn offer_refused(&mut self, id: usize, code: u16, phrase: &str, now: Instant) {
        let stays_plain = self.legs.get(id).and_then(Leg::session).is_some_and(RecordingSession::stays_plain);
        if stays_plain
            && !self.policy(id).allow_downgrade
            && self.security_of(id).iter().all(|stream| stream.is_secured())
        {
            let reason =
                format!("the call is encrypted, and the recorder refuses to take it so: {code} {phrase}");
            if let Some(session) = self.legs.get_mut(id).and_then(Leg::session_mut) {
                session.fail_insecure(reason, now);
            }
            return;
        }
        if stays_plain && self.policy(id).allow_downgrade {
            let reason = security::UNENCRYPTED.to_owned();
            self.tell(Scope::Leg(id), SessionEventKind::Weakened { reason });
        }
        if self.is_silent(id) {
            return;
        }
        if let Some(session) =
            self.legs.get_mut(id).and_then(Leg::session_mut).filter(|session| session.stays_silent())
        {
            return session.lose_by_refusal(code, phrase, now);
        }
        let is_idle =
            |slot: &&Slot| slot.is_of(id) && slot.is_described() && slot.is_present() && !slot.is_open();
        let idle: Vec<u16> = self.slots.values().filter(is_idle).map(Slot::number).collect();
        for number in idle {
            // One that is off already for a reason of its own has not been refused now.
            self.tell_off_once(number, || format!("the recorder refuses the change: {code} {phrase}"));
        }
    }

    /// The recorder of the present attempt is of no use: tells so, and tries its next address where it may be another
    /// host that fails, else the next recorder.
    pub(super) fn attempt_failed(
        &mut self,
        id: usize,
        reason: FailureReason,
        sip_code: Option<u16>,
        now: Instant,
    ) {
        if matches!(self.stage, Stage::Closing { .. } | Stage::Told | Stage::Finished) {
            return;
        }
        let elsewhere = fails_by_host(&reason, sip_code);
        let silent = match &reason {
            FailureReason::Timeout(_) => Some(None),
            FailureReason::Unreachable(why) => Some(Some(why.clone())),
            _ => None,
        };
        // What may be otherwise in a moment.
        let is_absent = silent.is_some()
            || matches!(reason, FailureReason::Unresolved(_) | FailureReason::LocalResources(_));
        self.recall(id, &reason, now);
        self.tell_failed(id, reason, sip_code);
        if self.is_last_call() {
            return self.end_leg(id, LegEnd::Failed, now);
        }
        let is_tail = self.legs.get(id).is_some_and(|leg| leg.parting.is_some());
        if is_tail {
            self.end_silence(id, now);
        }
        if is_tail && !self.may_redeliver(id, now) {
            return self.give_up_tail(id, now);
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        if is_absent && let Some(lost) = &mut leg.lost {
            lost.miss();
        }
        let attempt = leg.attempt;
        let after = Some(attempt).filter(|_| elsewhere && leg.more);
        if let (Some(unreached), None) = (silent, after) {
            self.output.push_back(Output::RecorderSilent { attempt, unreached });
        }
        self.retire(id);
        match after {
            Some(after) => self.try_elsewhere(id, after, now),
            None => self.next_attempt(id, now),
        }
    }

    /// Takes for how long a recorder that refuses a session wants to be left alone. One host of several does not speak for them all.
    fn take_advice(&mut self, id: usize, advice: &Advice, now: Instant) {
        let Some(leg) = self.legs.get_mut(id).filter(|leg| !leg.more) else { return };
        if let Some(delay) = advice.away {
            if let Some(lost) = leg.lost.as_mut().filter(|_| delay <= COMEBACK) {
                lost.put_off(now + delay);
            }
            self.output.push_back(Output::RecorderAway { attempt: leg.attempt, delay });
        }
    }

    /// A session has failed that its recorder had accepted: what that may not have goes to the next one.
    fn recall(&mut self, id: usize, reason: &FailureReason, now: Instant) {
        let shown = self.recorder_shown(id);
        let Some(session) = self.legs.get(id).and_then(Leg::session) else { return };
        let Some(lived) = session.lived() else { return };
        let refused = session.refused_streams();
        if matches!(reason, FailureReason::MediaLost(_))
            && let Some(since) = refused.iter().map(|(_, since)| *since).min()
        {
            self.lose_companions(id, since, now);
        }
        let Some(leg) = self.legs.get_mut(id) else { return };
        self.output.push_back(Output::SessionLost { attempt: leg.attempt });
        leg.losses = if now >= lived.since + STABLE { 1 } else { leg.losses + 1 };
        let (again, comeback) = match (leg.losses > LOSSES, may_come_back(reason)) {
            (true, _) => (Again::Nobody, Comeback::Over),
            (false, true) => (Again::All, Comeback::Unneeded { until: now + COMEBACK }),
            (false, false) => (Again::Others, Comeback::Over),
        };
        leg.look_elsewhere(again);
        let Lived { proof, alive, .. } = lived;
        leg.lost.get_or_insert(Lost { recorder: shown, proof, alive, at: now, comeback });
        let is_tail = leg.parting.is_some();
        if is_tail {
            leg.lose_tail();
        }
        self.deliver_again(id, now);
        if is_tail {
            return;
        }
        let since = |branch| {
            let since = refused.iter().find(|(stream, _)| *stream == branch).map(|(_, since)| *since);
            Some(since.map_or(lived.proof, |since| since.min(lived.proof)))
        };
        self.recall_streams(id, since, Loss::default());
    }

    pub(super) fn tell_failed(&mut self, id: usize, reason: FailureReason, sip_code: Option<u16>) {
        let recorder = self.recorder_shown(id);
        let Some(leg) = self.legs.get_mut(id) else { return };
        let whose = leg.party.as_ref().and_then(PartyKey::dn).map(|dn| format!(" for {dn}"));
        let whose = whose.unwrap_or_default();
        leg.failures.push(match recorder.is_empty() {
            true => format!("{reason}{whose}"),
            false => format!("{recorder}{whose}: {reason}"),
        });
        self.tell(Scope::Leg(id), SessionEventKind::Failed { reason, sip_code });
    }

    /// No ports for one stream. Before the offer that ends the attempt; later only the new stream is not recorded.
    pub(super) fn ports_failed(&mut self, number: u16, reason: String, now: Instant) {
        let Some(id) = self.slots.get(&number).and_then(Slot::leg) else { return };
        match self.legs.get(id).map(|leg| &leg.step) {
            Some(Step::Binding { .. }) => {
                self.attempt_failed(id, FailureReason::LocalResources(reason), None, now);
            }
            Some(Step::Session { .. }) => self.tell_off(number, reason),
            Some(Step::Choosing { .. } | Step::Waiting { .. } | Step::Resolving { .. } | Step::Over)
            | None => {}
        }
    }

    /// The engine lost a branch. The session goes on with the others; without any it has failed.
    pub(super) fn branch_lost(&mut self, number: u16, reason: String, now: Instant) {
        self.tell_off(number, reason.clone());
        let Some(id) = self.slots.get(&number).and_then(Slot::leg) else { return };
        if let Some(leg) = self.legs.get_mut(id) {
            leg.lines.release(number);
            if leg.is_active() && !self.slots.values().any(|slot| slot.is_of(id) && slot.is_live()) {
                self.tell_failed(id, FailureReason::LocalResources(reason), None);
                self.end_leg(id, LegEnd::Failed, now);
            }
        }
    }

    /// Does what is due in the present attempts and in former dialogs.
    pub(super) fn expire_legs(&mut self, now: Instant) {
        for (_, session) in &mut self.former {
            session.handle_timeout(now);
        }
        let timers = self.config.timers;
        for id in 0..self.legs.len() {
            let Some(leg) = self.legs.get_mut(id) else { continue };
            match &mut leg.step {
                Step::Choosing { deadline, .. } if *deadline <= now => {
                    let reason = "no recorder was chosen in time".to_owned();
                    self.go_back(id, Some(FailureReason::NoRecorder(reason)), now);
                }
                Step::Waiting { until } if *until <= now => {
                    leg.tried.clear();
                    leg.step = Step::Choosing { asked: Asked::No, deadline: now + timers.resolve };
                }
                Step::Resolving { deadline } if *deadline <= now => {
                    let reason = format!("no address within {:?}", timers.resolve);
                    self.attempt_failed(id, FailureReason::Unresolved(reason), None, now);
                }
                Step::Binding { deadline, .. } if *deadline <= now => {
                    let reason = format!("no ports within {:?}", timers.ports);
                    self.attempt_failed(id, FailureReason::LocalResources(reason), None, now);
                }
                Step::Session { session, .. } => session.handle_timeout(now),
                Step::Choosing { .. }
                | Step::Waiting { .. }
                | Step::Resolving { .. }
                | Step::Binding { .. }
                | Step::Over => {}
            }
        }
    }

    /// Hands out what the dialogs want to send.
    pub(super) fn send(&mut self) {
        let present = self.legs.iter_mut().filter_map(|leg| leg.attempt_session());
        let former = self.former.iter_mut().map(|(attempt, session)| (*attempt, session));
        for (attempt, session) in former.chain(present) {
            while let Some(note) = session.poll_note() {
                self.output.push_back(Output::Note { attempt, note });
            }
            while let Some(message) = session.poll_transmit() {
                let next_hop = session.next_hop(&message);
                self.output.push_back(Output::Send { attempt, message, next_hop });
            }
        }
    }
}

/// Whether another host of the same recorder may do better: RFC 3263 §4.3 (transport failure, timeout, 503), and a dialog
/// that died with its host.
fn fails_by_host(reason: &FailureReason, sip_code: Option<u16>) -> bool {
    let lost = matches!(
        reason,
        FailureReason::Timeout(_)
            | FailureReason::Unreachable(_)
            | FailureReason::DialogLost(_)
            | FailureReason::DialogUnknown { .. }
    );
    lost || sip_code == Some(503)
}

/// Whether a recorder that was lost so may have been restarted.
fn may_come_back(reason: &FailureReason) -> bool {
    matches!(
        reason,
        FailureReason::DialogLost(_)
            | FailureReason::DialogUnknown { .. }
            | FailureReason::HungUp(_)
            | FailureReason::MediaLost(_)
            | FailureReason::Timeout(_)
            | FailureReason::Unreachable(_)
    )
}

/// `From` and `Contact`: `sip:user@host:port`, the latter with the transport that leads to us; `sips:` where the
/// Request-URI is (RFC 3261 §8.1.1.8).
fn own_addresses(user: &str, flow: &Flow, request_uri: &Uri) -> Result<(Uri, Uri), siprec_sip::UriError> {
    let host = flow.local.ip().to_string();
    let sips = request_uri.scheme().eq_ignore_ascii_case("sips");
    let own = if sips { UriBuilder::sips(&host) } else { UriBuilder::sip(&host) };
    let own = own.user(user).port(flow.local.port());
    let contact = match flow.transport {
        Transport::Tls if sips => own.clone(),
        Transport::Udp => own.clone(),
        Transport::Tcp | Transport::Tls => {
            own.clone().param("transport", &flow.transport.as_str().to_ascii_lowercase())
        }
    };
    Ok((own.build()?, contact.build()?))
}
