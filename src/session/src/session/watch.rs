//! A session watches its recorder: by evidence it is suspected, then asked, then lost (`protocol` 1.6).

use std::time::{Duration, Instant};

use siprec_model::{BranchId, FailureReason, RECALL_OVERLAP, REPORTS_WITHIN};
use siprec_sip::{Headers, Method, RequestToken, Response};

use super::doubt::{Belief, Growth, LAST_REPORT, Sign};
use super::life::Question;
use super::reports::Said;
use super::{Notice, Phase, RecordingSession, Reporting};

/// A receiver reports within this time: each 5 s on average, at random from half to one and a half times as often, divided by
/// 1.21828 (RFC 3550 §6.3.1), and on its way.
const REPORT_COMES: Duration = Duration::from_millis(7_500);

impl RecordingSession {
    /// Takes a sign other than a refusal that the recorder may be lost. Where it is worth a question, the session's refresh is that, and any
    /// response to it must come as soon as one to OPTIONS must. Who answers and takes no media all the same is lost.
    pub(crate) fn doubt(&mut self, sign: Sign, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        let growth = up.doubt.grow(sign, now);
        self.suspect(sign, growth, now);
    }

    /// The recorder's host has refused a packet of a stream.
    pub(crate) fn hear_refusal(&mut self, stream: BranchId, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        let growth = up.doubt.refuse(stream, up.agreed.taken(&self.rules), now);
        self.suspect(Sign::MediaRefused, growth, now);
    }

    /// A receiver report says that what its host has refused of a stream has arrived.
    pub(crate) fn hear_refutation(&mut self, stream: BranchId, now: Instant) {
        if let Phase::Up(up) = &mut self.phase {
            up.doubt.refute(stream, now);
        }
    }

    /// Packets of a stream leave without being refused any more.
    pub(crate) fn end_refusals(&mut self, stream: BranchId) {
        if let Phase::Up(up) = &mut self.phase {
            up.doubt.end_refusals(stream);
        }
    }

    /// What its host has refused so far says nothing any more.
    pub(crate) fn forget_refusals(&mut self) {
        if let Phase::Up(up) = &mut self.phase {
            up.doubt.forget_refusals();
        }
    }

    /// The session ends: what is refused now is known from here on.
    pub(super) fn keep_refusals(&mut self) {
        self.refusals =
            Some(self.refused_streams()).filter(|refused| !refused.is_empty()).map(Vec::into_boxed_slice);
    }

    /// Streams that its host refuses, and since when, or did when it was lost.
    pub(crate) fn refused_streams(&self) -> Vec<(BranchId, Instant)> {
        match &self.phase {
            Phase::Up(up) => up.doubt.refused_streams().collect(),
            Phase::Inviting(_) | Phase::Ending => {
                self.refusals.as_deref().map(<[_]>::to_vec).unwrap_or_default()
            }
        }
    }

    fn suspect(&mut self, sign: Sign, growth: Growth, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        match growth {
            Growth::None => {}
            Growth::Ask => {
                up.probe = true;
                up.offer.hasten(&self.rules.timers, now);
                self.notices.push_back(Notice::Suspected(sign));
            }
            Growth::Lost => self.lose_media(sign, now),
        }
    }

    /// A receiver report of the recorder has come.
    pub(crate) fn hear_report(&mut self, stream: BranchId, said: Said) {
        if let Phase::Up(up) = &mut self.phase {
            self.punctuality.note(stream, said.at);
            up.doubt.dispel(stream);
            up.doubt.reports.note(stream, said);
            up.life.report(said.heard(), &self.rules.timers, said.at);
        }
    }

    /// What the last report of a stream has shown; None where none has come.
    pub(crate) fn last_report(&self, stream: BranchId) -> Option<Said> {
        match &self.phase {
            Phase::Up(up) => up.doubt.reports.last(stream),
            Phase::Inviting(_) | Phase::Ending => None,
        }
    }

    /// A newer moment up to which the recorder has what was sent, as far as its answers say: where it sends receiver reports,
    /// or its host refuses the media, or it is suspected, they say nothing.
    pub(crate) fn poll_confirmed(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Up(up) = &mut self.phase else { return None };
        if up.doubt.speaks_against(now) { None } else { up.life.poll_confirmed() }
    }

    /// Whether the recorder has for sure what it was sent of a stream from one moment until another: it has shown later that it lives,
    /// and nothing speaks against it. Of one that reports its reports alone show that, of whatever stream, if they go back to before that
    /// time, or to where those of this one end.
    pub(crate) fn has_for_sure(&self, stream: BranchId, begun: Instant, sent: Instant, now: Instant) -> bool {
        let Phase::Up(up) = &self.phase else { return false };
        let safe = sent + RECALL_OVERLAP;
        let reports = &up.doubt.reports;
        let own = reports.last(stream).and_then(|last| last.unbroken);
        let from = own.map_or(begun, |unbroken| unbroken.to);
        !up.doubt.speaks_against(now) && (up.life.has_outlived(safe) || reports.span(from, safe))
    }

    /// Since when the recorder may not have what was sent, where anything speaks against it that is not settled yet.
    pub(crate) fn in_doubt_since(&self, now: Instant) -> Option<Instant> {
        let Phase::Up(up) = &self.phase else { return None };
        let heard = up.doubt.is_of_reports().then(|| up.life.heard());
        let signs = [Some(up.life.proof()), heard, up.doubt.refused_since(now)];
        signs.into_iter().flatten().min().filter(|_| up.doubt.speaks_against(now))
    }

    /// What says that the recorder takes no media, where that is not settled yet.
    pub(crate) fn media_in_doubt(&self, now: Instant) -> Option<Sign> {
        match &self.phase {
            Phase::Up(up) if self.is_up() => up.doubt.of_media(now),
            _ => None,
        }
    }

    /// When what its host has refused says nothing of other streams any more, if nothing more is refused.
    pub(crate) fn refusals_fade(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Up(up) => up.doubt.refusals_fade(),
            Phase::Inviting(_) | Phase::Ending => None,
        }
    }

    /// A receiver report of a stream is overdue although packets of it have left since the last one, or the first. Behind a
    /// recorder that was left for no more than that it says nothing.
    pub(crate) fn miss_report(&mut self, stream: BranchId) {
        if let Phase::Up(up) = &mut self.phase
            && self.rules.reporting.patience() == 1
            && (up.life.expects_reports() || up.doubt.is_reported(stream))
        {
            up.doubt.miss(stream);
        }
    }

    /// Reports of a stream have stayed away for three intervals, or for three more, although packets of it have left. A recorder that
    /// always reports, and has not of this stream, hears where it has of another.
    pub(crate) fn miss_reports(&mut self, stream: BranchId, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        let (reporting, count) = (self.rules.reporting, up.doubt.count_missing(stream));
        if up.doubt.is_reported(stream) || !reporting.is_expected() {
            if count >= reporting.patience() {
                let growth = up.doubt.miss_reports(stream, now);
                self.suspect(Sign::ReportsStopped, growth, now);
            }
        } else if count >= reporting.first_patience()
            && !up.life.had_heard(REPORTS_WITHIN, now)
            && (reporting == Reporting::Certain || up.life.owes_first_report())
        {
            self.doubt(Sign::NoReports, now);
        }
    }

    /// Until when a recorder may report that always does and never has, where packets began to leave to it and the last of its streams
    /// ended; None where none of that is so.
    pub(crate) fn first_report_comes(&self, begun: Instant, ended: Instant) -> Option<Instant> {
        match &self.phase {
            Phase::Up(up) if self.is_up() && up.life.owes_first_report() => {
                Some((begun + REPORT_COMES).max(ended + LAST_REPORT))
            }
            _ => None,
        }
    }

    /// Whether the recorder has what it was sent until `sent` of a stream that has ended.
    pub(crate) fn believe(&self, stream: BranchId, sent: Instant, now: Instant) -> Belief {
        match &self.phase {
            Phase::Up(up) => up.doubt.believe(stream, sent, up.life.had_heard(REPORT_COMES, sent), now),
            Phase::Inviting(_) | Phase::Ending => Belief::Sound,
        }
    }

    /// The connection to the recorder has ended. Idle ones are closed all day, and so are those of recorders that die: it is
    /// asked at once, over a new one.
    pub(crate) fn lose_connection(&mut self, now: Instant) {
        if let Phase::Up(up) = &mut self.phase {
            up.life.hasten(now);
        }
        self.examine(now);
    }

    /// From now on offers must be answered as soon as questions must.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.hurries = true;
        if let Phase::Up(up) = &mut self.phase {
            up.offer.hasten(&self.rules.timers, now);
        }
    }

    /// What is offered next, and what is open, must be answered as soon as questions must.
    pub(crate) fn press(&mut self, now: Instant) {
        if let Phase::Up(up) = &mut self.phase {
            up.presses = true;
            up.offer.hasten(&self.rules.timers, now);
        }
    }

    /// Asks the recorder whether it lives, where that is due, and doubts it where it has not said so.
    pub(super) fn examine(&mut self, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        let timers = self.rules.timers;
        let is_overdue = up.life.is_overdue(&timers, now);
        match up.life.question(now) {
            Some(Question::Options) => {
                let token = self.ua.request(Method::Options, Headers::new(), None, now).ok();
                up.life.ask(token, &timers, now);
            }
            Some(Question::Refresh) => {
                up.probe = true;
                up.offer.hasten(&timers, now);
                up.life.ask(None, &timers, now);
            }
            None => {}
        }
        if is_overdue {
            self.doubt(Sign::Silent, now);
        }
    }

    /// The recorder has answered what was sent at `sent`.
    pub(super) fn prove(&mut self, sent: Instant, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        up.life.prove(sent, &self.rules.timers, now);
        if let Some(sign) = up.doubt.answered() {
            self.lose_media(sign, now);
        }
    }

    /// Takes the final response to a request that was no INVITE: only the question whether the recorder lives is one.
    pub(super) fn responded(&mut self, token: RequestToken, response: &Response, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(sent) = up.life.answer(token) else { return };
        if matches!(response.status, 408 | 481) {
            self.lose_by(response, now);
        } else {
            up.life.prove(sent, &self.rules.timers, now);
        }
    }

    /// The recorder has answered an offer that was sent at `sent`.
    pub(super) fn survive(&mut self, sent: Option<Instant>, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        up.probe = false;
        if up.doubt.is_of_silence() {
            up.life.forgive();
        }
        if let Some(sent) = sent {
            self.prove(sent, now);
        }
    }

    /// The recorder's host refuses another session of the call, and so it may this one, since then, without saying so. Who reports is
    /// judged by that.
    pub(crate) fn lose_with_another(&mut self, since: Instant, now: Instant) {
        if let Phase::Up(up) = &mut self.phase
            && self.lived.is_some()
            && up.doubt.reports.is_empty()
        {
            up.life.deny(Some(since));
            self.lose_media(Sign::MediaRefused, now);
        }
    }

    /// Whether it was given up since it did not report, although its profile does not say that it does.
    pub(crate) fn was_unreported(&self) -> bool {
        self.rules.reporting != Reporting::Certain && self.punctuality.has_ceased()
    }

    /// Gives up a recorder that lives and takes no media.
    pub(crate) fn lose_media(&mut self, sign: Sign, now: Instant) {
        if matches!(sign, Sign::ReportsStopped | Sign::NoReports) {
            self.punctuality.cease();
        }
        if let Phase::Up(up) = &mut self.phase {
            up.life.deny(up.doubt.refused_since(now).or(Some(now)).filter(|_| sign == Sign::MediaRefused));
        }
        self.bye(now);
        self.fail(FailureReason::MediaLost(sign.to_string()), None);
        self.take_events(now);
    }
}
