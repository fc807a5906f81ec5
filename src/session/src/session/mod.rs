//! One dialog with one recorder: offer and answer.

mod advice;
mod agreement;
mod clock;
mod description;
mod doubt;
mod farewell;
mod feedback;
mod incoming;
mod keys;
mod life;
mod offer;
mod punctuality;
mod remote;
mod reports;
mod rules;
mod waiting;
mod watch;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use siprec_model::{BranchId, FailureReason, HangUp, OpenBranch};
use siprec_sip::{
    Body, DialogEvent, DialogNote, DialogUa, HeaderName, Headers, Message, Method, Random, RequestToken,
    Response, Termination, TransactionFailure, UacConfig, Uri,
};

use crate::branches::BranchMode;
use crate::security::Protection;
pub(crate) use advice::Advice;
use advice::explained;
use agreement::Agreement;
pub(crate) use agreement::Verdict;
use clock::{SESSION_EXPIRES, SessionClock};
use description::{Description, Layout, Line};
pub(crate) use description::{Ports, WantedLine};
use doubt::Doubt;
pub(crate) use doubt::{Belief, Sign};
use farewell::{Farewell, Leave};
use keys::{KeyMaker, LineKeys};
use life::Life;
use offer::{Offer, Refusal};
use punctuality::Punctuality;
pub(crate) use punctuality::Reporting;
use remote::{RemoteDescription, sdp_of};
pub(crate) use reports::Said;
pub(crate) use rules::Rules;
use write::Writer;

/// One dialog with one recorder.
///
/// What is *wanted* is one [`Description`], replaced at any time. When no transaction is open, the difference between
/// it and what is *agreed* makes the next offer; an offer that was refused is not repeated until wanted changes.
#[derive(Debug)]
pub(crate) struct RecordingSession {
    ua: DialogUa,
    rules: Rules,
    layout: Layout,
    writer: Writer,
    wanted: Description,
    phase: Phase,
    /// Since when the recorder has accepted and media can flow, and when it was last alive for sure.
    lived: Option<Lived>,
    /// Streams that its host refused when it was lost, and since when.
    refusals: Option<Box<[(BranchId, Instant)]>>,
    punctuality: Punctuality,
    farewell: Farewell,
    leave: Leave,
    /// The call has ended: what is offered is to be answered soon, or not in time for another recorder.
    hurries: bool,
    notices: VecDeque<Notice>,
    /// Why a message could not be sent, while what follows from that is taken in.
    undelivered: Option<Box<str>>,
}

/// The life of a session that the recorder has accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lived {
    /// Since when.
    pub(crate) since: Instant,
    /// When the recorder was last alive for sure, receiver reports aside.
    pub(crate) proof: Instant,
    /// The same, and they count, too.
    pub(crate) alive: Instant,
}

#[derive(Debug)]
enum Phase {
    /// The INVITE is out.
    Inviting(Inviting),
    /// The recorder has accepted.
    Up(Box<Up>),
    /// CANCEL or BYE is out, or the dialog is over.
    Ending,
}

#[derive(Debug)]
struct Inviting {
    offered: Description,
    /// None once anything was heard.
    first_response: Option<Instant>,
    answer: Instant,
}

#[derive(Debug)]
struct Up {
    agreed: Agreement,
    offer: Offer,
    refused: Option<Refusal>,
    clock: SessionClock,
    doubt: Doubt,
    life: Life,
    /// Whether the recorder is to show that it lives, by its answer to an offer.
    probe: bool,
    /// Whether what is wanted now is to be agreed soon.
    presses: bool,
    /// Since when something waits for the recorder to agree.
    waits_since: Option<Instant>,
    /// Keys that nothing leaves under any more.
    spent: Vec<Arc<LineKeys>>,
}

/// What the session tells the recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Notice {
    /// The recorder accepted, and media can flow.
    Answered,
    /// The recorder refused what was offered within the session, which goes on as before.
    OfferRefused { code: u16, phrase: String },
    /// The session failed; the dialog may still have to end.
    Failed { reason: FailureReason, sip_code: Option<u16>, advice: Advice },
    /// The recorder sent BYE, and said this of it.
    EndedByRecorder(HangUp),
    /// The recorder has answered our BYE: it lived to the end.
    Parted,
    /// What it has agreed to is weak, in words.
    Weak(String),
    /// The recorder asks for a key frame.
    KeyframeWanted,
    /// The recorder may be lost; it is being asked.
    Suspected(Sign),
}

impl RecordingSession {
    /// Sends the INVITE.
    ///
    /// # Errors
    /// Where nothing can be offered.
    pub(crate) fn invite(
        config: UacConfig,
        mut headers: Headers,
        rules: Rules,
        wanted: &[WantedLine],
        random: &mut Random,
        now: Instant,
    ) -> Result<Self, FailureReason> {
        let mut layout = Layout::new(KeyMaker::new(rules.protection.clone(), random), rules.retransmission);
        let description = layout.describe(wanted, &Description::default());
        if !description.is_offerable() {
            return Err(FailureReason::LocalResources("no stream can be offered".to_owned()));
        }
        let mut writer = Writer::new(rules.media, rules.rtcp, &rules.protection, random);
        let text =
            writer.write(&description).map_err(|error| FailureReason::Configuration(error.to_string()))?;
        headers.push(HeaderName::SessionExpires, SESSION_EXPIRES.to_string());
        let inviting = Inviting {
            offered: description.clone(),
            first_response: Some(now + rules.timers.first_response),
            answer: now + rules.timers.answer,
        };
        Ok(Self {
            ua: DialogUa::invite(config, headers, Some(Body::sdp(text)), random, now),
            rules,
            layout,
            writer,
            wanted: description,
            phase: Phase::Inviting(inviting),
            lived: None,
            refusals: None,
            punctuality: Punctuality::default(),
            farewell: Farewell::default(),
            leave: Leave::default(),
            hurries: false,
            notices: VecDeque::new(),
            undelivered: None,
        })
    }

    /// Whether its media is encrypted as far as the call's is, or is to be by an offer that is not agreed yet.
    pub(crate) fn is_secured(&self) -> bool {
        self.layout.is_secured()
    }

    /// Whether the recorder has not agreed to encrypt what is to be encrypted.
    pub(crate) fn stays_plain(&self) -> bool {
        match &self.phase {
            Phase::Up(up) => self.wanted.turns_secured(&up.agreed.ours),
            Phase::Inviting(_) | Phase::Ending => false,
        }
    }

    /// Has streams of a plain session be encrypted as the call encrypts them: the next of [`Self::want`] says which, on the
    /// ports that are there (RFC 3264 §8.3.1).
    pub(crate) fn secure(&mut self, protection: Protection, random: &mut Random) {
        self.layout.secure(KeyMaker::new(protection.clone(), random));
        self.writer.protect(&protection);
        self.rules.protection = protection;
    }

    /// Since when the recorder has accepted and media can flow, if so, and when it was last alive for sure; also when that is over.
    pub(crate) fn lived(&self) -> Option<Lived> {
        match (&self.phase, self.lived) {
            (Phase::Up(up), Some(lived)) => {
                let refused = up.doubt.refused_streams().map(|(_, since)| since).min();
                Some(Lived { proof: up.life.proof(), alive: up.life.alive(refused), ..lived })
            }
            (_, lived) => lived,
        }
    }

    /// Whether the recorder has sent receiver reports as often as receivers do; also when the session is over.
    pub(crate) fn is_punctual(&self) -> bool {
        self.punctuality.is_shown()
    }

    /// The dialog's Call-ID.
    pub(crate) fn call_id(&self) -> String {
        self.ua.call_id().to_string()
    }

    /// Whether the recorder has accepted, media can flow, and the session goes on.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_)) && self.lived.is_some()
    }

    /// Whether the recorder has accepted, and nothing can flow before there are keys (RFC 5763 §5).
    pub(crate) fn shakes_hands(&self) -> bool {
        matches!(self.phase, Phase::Up(_)) && self.lived.is_none()
    }

    /// Whether the recorder's answer to the INVITE is awaited.
    pub(crate) fn is_inviting(&self) -> bool {
        matches!(self.phase, Phase::Inviting(_))
    }

    /// Whether the dialog is over. An INVITE that a BYE overtook still gets the ACK of its refusal.
    pub(crate) fn is_over(&self) -> bool {
        self.ua.is_terminated() && !self.ua.is_inviting()
    }

    /// Whether what is wanted is agreed or refused: no offer is open or to come.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.phase {
            Phase::Up(up) => !up.offer.is_open() && !up.differs(&self.wanted),
            Phase::Inviting(_) | Phase::Ending => false,
        }
    }

    /// Whether nothing is sent by agreement.
    pub(crate) fn is_silent(&self) -> bool {
        match &self.phase {
            Phase::Up(up) => up.agreed.ours.streams().all(|stream| !stream.send),
            Phase::Inviting(_) | Phase::Ending => false,
        }
    }

    /// What the branch of the m-line `index` is to do, and whether the recorder takes the stream; None where the session
    /// is about to end.
    pub(crate) fn verdict(&self, branch: BranchId, index: usize) -> Option<Verdict> {
        match &self.phase {
            Phase::Up(up) => Some(up.verdict(branch, index, &self.wanted, &self.rules)),
            Phase::Inviting(_) => Some(Verdict { mode: BranchMode::Holding, off: None }),
            Phase::Ending => None,
        }
    }

    /// The DTLS association that the branch of the m-line `index` should have by now, on these ports of its own.
    pub(crate) fn association(&self, branch: BranchId, ports: Ports, index: usize) -> Option<OpenBranch> {
        match &self.phase {
            Phase::Up(up) => up.association(branch, ports, index, &self.rules),
            Phase::Inviting(_) | Phase::Ending => None,
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// Gives it back when it belongs to another dialog.
    pub(crate) fn handle_message(&mut self, message: Message, now: Instant) -> Result<(), Box<Message>> {
        self.ua.handle_message(message, now)?;
        self.take_events(now);
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.ua.handle_timeout(now);
        self.take_events(now);
        match &self.phase {
            // The dialog has sent BYE by itself (RFC 3261 §13.3.1.4): nothing may be sent while that is not answered yet.
            Phase::Up(_) if !self.ua.is_confirmed() => {
                self.leave.say(now);
                self.fail(FailureReason::DialogLost("an answer was never acknowledged".to_owned()), None);
            }
            Phase::Inviting(inviting) => {
                let timers = self.rules.timers;
                if inviting.answer <= now {
                    self.abandon(FailureReason::Timeout(timers.answer), now);
                } else if inviting.first_response.is_some_and(|deadline| deadline <= now) {
                    self.abandon(FailureReason::Timeout(timers.first_response), now);
                }
            }
            Phase::Up(up) if up.offer.is_overdue(now) => self.lose("an offer was never answered", now),
            Phase::Up(up) if up.clock.expiry().is_some_and(|end| end <= now) => {
                self.lose("the session timer expired", now)
            }
            Phase::Up(_) if self.agreement_deadline().is_some_and(|end| end <= now) => {
                self.lose_by_delay(now)
            }
            Phase::Up(_) => {
                self.examine(now);
                self.offer_difference(now);
            }
            Phase::Ending => self.await_farewell(now),
        }
    }

    /// A message could not be sent.
    pub(crate) fn handle_transport_error(&mut self, reason: &str, now: Instant) {
        self.ua.handle_transport_error(now);
        if self.is_inviting() && self.ua.is_terminated() {
            self.fail(FailureReason::Unreachable(reason.to_owned()), None);
        }
        self.undelivered = Some(reason.into());
        self.take_events(now);
        self.miss_undelivered();
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Inviting(inviting) => {
                [inviting.first_response, Some(inviting.answer)].into_iter().flatten().min()
            }
            Phase::Up(up) => up.next_deadline(self.ua.may_offer(), &self.rules.timers),
            Phase::Ending => self.farewell.next_deadline(),
        };
        own.into_iter().chain(self.agreement_deadline()).chain(self.ua.next_timeout()).min()
    }

    /// Replaces what is wanted; [`Self::offer_difference`] makes it known.
    pub(crate) fn want(&mut self, wanted: &[WantedLine]) {
        let wanted = self.layout.describe(wanted, &self.wanted);
        if wanted != self.wanted {
            self.wanted = wanted;
            if let Phase::Up(up) = &mut self.phase {
                up.forget_refusal();
            }
        }
    }

    /// Ends the session: CANCEL before the answer, BYE after it.
    pub(crate) fn end(&mut self, now: Instant) {
        match self.phase {
            Phase::Inviting(_) => self.cancel(now),
            Phase::Up(_) => self.bye(now),
            Phase::Ending => return,
        }
        self.phase = Phase::Ending;
        self.take_events(now);
    }

    /// The keys of a stream are there.
    pub(crate) fn handle_protected(&mut self, now: Instant) {
        if self.shakes_hands() {
            self.begin(now);
        }
    }

    /// The media of the session cannot be protected as it must be: it has failed.
    pub(crate) fn fail_insecure(&mut self, reason: String, now: Instant) {
        match self.phase {
            Phase::Inviting(_) => self.abandon(FailureReason::Security(reason), now),
            Phase::Up(_) => {
                self.bye(now);
                self.fail(FailureReason::Security(reason), None);
                self.take_events(now);
            }
            Phase::Ending => {}
        }
    }

    /// The next thing to be written down, before the next message is sent.
    pub(crate) fn poll_note(&mut self) -> Option<DialogNote> {
        self.ua.poll_note()
    }

    /// The next message to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Message> {
        self.ua.poll_transmit()
    }

    /// Where a message of [`Self::poll_transmit`] goes; `None` for a response.
    pub(crate) fn next_hop(&self, message: &Message) -> Option<Box<Uri>> {
        match message {
            Message::Request(request) => Some(Box::new(self.ua.next_hop_of(request))),
            Message::Response(_) => None,
        }
    }

    /// The next thing that the recording should know.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.ua.poll_event() {
            match event {
                DialogEvent::Progress { .. } | DialogEvent::Challenged { .. } => match &mut self.phase {
                    Phase::Inviting(inviting) => inviting.first_response = None,
                    // Somebody works on it, so that it may take as long as a first one.
                    Phase::Up(up) => up.offer.grant(self.rules.timers.answer),
                    Phase::Ending => {}
                },
                DialogEvent::Answered { response, .. } => self.answered(&response, now),
                DialogEvent::Refused { response, fault, .. } => self.refused(explained(response, fault), now),
                DialogEvent::Failed { token, failure } => self.unanswered(token, failure, now),
                DialogEvent::Request { token, request } => {
                    self.prove(now, now);
                    self.requested(token, &request, now);
                }
                DialogEvent::Acknowledged { token, ack } => self.acknowledged(token, &ack, now),
                DialogEvent::Responded { token, response, .. } => self.responded(token, &response, now),
                DialogEvent::Cancelled { .. } => {}
                DialogEvent::Info(request) => self.informed(&request),
                DialogEvent::Terminated(how) => self.terminated(&how, now),
            }
        }
    }

    fn answered(&mut self, response: &Response, now: Instant) {
        let resumes = self.resumes();
        match &mut self.phase {
            Phase::Inviting(inviting) => {
                let offered = std::mem::take(&mut inviting.offered);
                self.accepted(offered, response, now);
            }
            Phase::Up(up) => {
                up.clock.restart(&response.headers, now);
                let sent = up.offer.sent();
                if let Some(offered) = up.offer.take() {
                    // What has changed meanwhile has its time from here on.
                    up.waits_since = None;
                    let turns_secured = offered.turns_secured(&up.agreed.ours);
                    let must_take = resumes || up.agreed.takes_some_of(&offered, &self.rules);
                    // A 200 without SDP, or with one that says nothing, keeps the last addresses (`protocol` 1.2).
                    let theirs = sdp_of(&response.headers, &response.body).and_then(RemoteDescription::parse);
                    let moved = up.agreed.renew(offered, theirs.ok(), &self.rules);
                    up.forget_refusal();
                    if let Err(reason) = up.agreed.check_security(&self.rules) {
                        self.fail_insecure(reason, now);
                        return;
                    }
                    if turns_secured && up.agreed.taken(&self.rules) == 0 {
                        let reason = "the call is encrypted, and the recorder refuses to take it so";
                        self.fail_insecure(reason.to_owned(), now);
                        return;
                    }
                    if must_take && up.agreed.taken(&self.rules) == 0 {
                        self.lose_by_answer(now);
                        return;
                    }
                    self.notices.extend(up.agreed.weak_keys(&self.rules).into_iter().map(Notice::Weak));
                    let former_alone = up.agreed.confine_to_former();
                    self.forgo_former(&former_alone);
                    self.renew_keys(&moved);
                }
                self.survive(sent, now);
                self.offer_difference(now);
            }
            Phase::Ending => {}
        }
    }

    /// The recorder accepted; its answer decides whether it is of use.
    fn accepted(&mut self, offered: Description, response: &Response, now: Instant) {
        let agreed = sdp_of(&response.headers, &response.body)
            .and_then(RemoteDescription::parse)
            .map(|theirs| Agreement::new(offered, theirs))
            .and_then(|agreed| agreed.usable(&self.rules));
        match agreed {
            Ok(agreed) => {
                let clock = SessionClock::start(self.rules.timers.ahead, &response.headers, now);
                let life = Life::begin(&self.rules.timers, self.rules.reporting.is_expected(), now);
                let waits = agreed.has_association(&self.rules);
                self.notices.extend(agreed.weak_keys(&self.rules).into_iter().map(Notice::Weak));
                let mut up = Up {
                    agreed,
                    offer: Offer::None,
                    refused: None,
                    clock,
                    doubt: Doubt::default(),
                    life,
                    probe: false,
                    presses: false,
                    waits_since: None,
                    spent: Vec::new(),
                };
                let former_alone = up.agreed.confine_to_former();
                self.phase = Phase::Up(Box::new(up));
                self.forgo_former(&former_alone);
                if !waits {
                    self.begin(now);
                }
                self.offer_difference(now);
            }
            Err(fault) => {
                self.bye(now);
                self.fail(FailureReason::UnusableAnswer(fault.to_string()), None);
            }
        }
    }

    /// Media can flow.
    fn begin(&mut self, now: Instant) {
        self.lived = Some(Lived { since: now, proof: now, alive: now });
        self.notices.push_back(Notice::Answered);
    }

    fn refused(&mut self, response: Response, now: Instant) {
        match &mut self.phase {
            Phase::Inviting(_) => {
                let advice = Advice::of(&response);
                let Response { status: code, reason: phrase, .. } = response;
                self.phase = Phase::Ending;
                let reason = FailureReason::Refused { code, phrase };
                self.notices.push_back(Notice::Failed { reason, sip_code: Some(code), advice });
            }
            Phase::Up(_) if matches!(response.status, 408 | 481) => {
                self.lose_by(&response, now);
            }
            Phase::Up(up) => {
                let sent = up.offer.sent();
                let glare_delay = self.ua.glare_delay();
                let final_refusal = up.refuse(&response, glare_delay, now);
                self.survive(sent, now);
                if final_refusal {
                    let Response { status: code, reason: phrase, .. } = response;
                    self.notices.push_back(Notice::OfferRefused { code, phrase });
                    self.offer_difference(now);
                }
            }
            Phase::Ending => {}
        }
    }

    /// Offers in these lines only what their streams have now.
    fn forgo_former(&mut self, lines: &[usize]) {
        for index in lines {
            self.layout.forgo_former(*index);
            if let Some(stream) = self.wanted.lines.get_mut(*index).and_then(Line::stream_mut) {
                stream.formats.retain(|format| !format.is_former);
            }
        }
    }

    /// Gives lines new keys whose recorder has moved: the next offer says so (`protocol` section 3).
    fn renew_keys(&mut self, lines: &[usize]) {
        for index in lines {
            if let Some(keys) = self.layout.renew_keys(*index)
                && let Some(stream) = self.wanted.lines.get_mut(*index).and_then(Line::stream_mut)
            {
                stream.keys = Some(keys);
            }
        }
    }

    /// The key of an m-line ends, or has ended: the next offer brings another one (RFC 3711 §9.2). One that was refused is
    /// offered once more, and then with another one, when the present one has ended.
    pub(crate) fn replace_key(&mut self, index: usize, used_up: bool) {
        let Phase::Up(up) = &mut self.phase else { return };
        let keys_of =
            |description: &Description| description.stream(index).and_then(|line| line.keys.clone());
        let (Some(agreed), wanted) = (keys_of(&up.agreed.ours), keys_of(&self.wanted)) else { return };
        if used_up {
            up.spent.push(Arc::clone(&agreed));
        }
        let is_other = wanted.is_some_and(|wanted| wanted != agreed);
        if !is_other || !up.offer.is_open() && !up.differs(&self.wanted) {
            self.renew_keys(&[index]);
        }
    }

    fn unanswered(&mut self, token: RequestToken, failure: TransactionFailure, now: Instant) {
        match (&mut self.phase, failure) {
            (Phase::Inviting(_), TransactionFailure::TimedOut) => {
                self.fail(FailureReason::Timeout(siprec_sip::TRANSACTION_TIMEOUT), None);
            }
            (Phase::Inviting(_), TransactionFailure::Transport) => {
                self.fail(FailureReason::Unreachable(failure.to_string()), None);
            }
            (Phase::Up(up), _) if up.offer.is_in(token) => {
                let why = match &self.undelivered {
                    Some(reason) => format!("{failure}: {reason}"),
                    None => failure.to_string(),
                };
                self.lose(&why, now);
            }
            (Phase::Up(up), _) => {
                // An old question was given up.
                if up.life.answer(token).is_some() {
                    self.doubt(Sign::Silent, now);
                }
            }
            (Phase::Ending, _) => {}
        }
    }

    fn terminated(&mut self, how: &Termination, now: Instant) {
        self.leave.end(now);
        match (&self.phase, how) {
            (Phase::Ending, _) => self.hear_farewell(how),
            (Phase::Up(_), Termination::RemoteBye(bye)) => {
                self.lived = self.lived().map(|lived| Lived { proof: now, alive: now, ..lived });
                self.keep_refusals();
                self.phase = Phase::Ending;
                self.notices.push_back(Notice::EndedByRecorder(farewell::hang_up(&bye.headers)));
            }
            (Phase::Inviting(_) | Phase::Up(_), _) => {
                self.fail(FailureReason::DialogLost("the dialog ended".to_owned()), None);
            }
        }
    }

    /// Gives up an INVITE that nobody answers in time.
    fn abandon(&mut self, reason: FailureReason, now: Instant) {
        self.cancel(now);
        self.fail(reason, None);
        self.take_events(now);
    }

    /// Gives up a dialog that the recorder seems to have lost: one BYE.
    fn lose(&mut self, why: &str, now: Instant) {
        self.bye(now);
        self.fail(FailureReason::DialogLost(why.to_owned()), None);
        self.take_events(now);
    }

    /// The recorder answers that it does not know the dialog.
    fn lose_by(&mut self, response: &Response, now: Instant) {
        let (code, phrase) = (response.status, response.reason.clone());
        self.bye(now);
        self.fail(FailureReason::DialogUnknown { code, phrase }, Some(code));
        self.take_events(now);
    }

    fn fail(&mut self, reason: FailureReason, sip_code: Option<u16>) {
        self.leave.give_up();
        self.lived = self.lived();
        self.keep_refusals();
        self.phase = Phase::Ending;
        self.notices.push_back(Notice::Failed { reason, sip_code, advice: Advice::default() });
    }

    fn cancel(&mut self, now: Instant) {
        self.leave.say(now);
        self.ua.cancel(now);
    }

    fn bye(&mut self, now: Instant) {
        self.leave.say(now);
        // Where the dialog has ended already, there is nobody to say it to.
        let _ = self.ua.request(Method::Bye, Headers::new(), None, now);
    }
}
