//! Whether the recorder lives: when it last proved that, and when it is to prove it next.

use std::time::{Duration, Instant};

use siprec_sip::RequestToken;

use crate::config::Timers;

/// How much more rarely a recorder is asked that does not answer OPTIONS, since the question is a whole re-INVITE then.
const RARELY: u32 = 3;

/// How often at most a question is urgent.
const HASTE: Duration = Duration::from_secs(5);

/// A proof is worth telling where it is newer than the last one by so much.
const NEWS: Duration = Duration::from_secs(1);

/// A session's knowledge of its recorder's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// When the recorder was alive for sure.
    proof: Instant,
    /// The OPTIONS that is out, when it was sent.
    asked: Option<(RequestToken, Instant)>,
    /// When the next one is due; None where nothing is asked.
    next: Option<Instant>,
    /// When the next question was last made urgent.
    hastened: Option<Instant>,
    /// It lives and does not answer OPTIONS.
    ignores_options: bool,
    /// It always sends receiver reports.
    expects_reports: bool,
    /// When it last showed that it hears: it reported, or nothing had been sent yet.
    heard: Instant,
    /// Until when what had left has come, as its receiver reports show, if any has come.
    reported: Option<Instant>,
    /// The last proof that was told.
    confirmed: Instant,
}

impl Life {
    /// The recorder has just accepted. `expects_reports` says that it always sends receiver reports.
    pub(super) fn begin(timers: &Timers, expects_reports: bool, now: Instant) -> Self {
        let next = (!timers.probe.is_zero()).then(|| now + timers.probe_interval());
        Self {
            proof: now,
            asked: None,
            next,
            hastened: None,
            ignores_options: false,
            expects_reports,
            heard: now,
            reported: None,
            confirmed: now,
        }
    }

    /// When the recorder was last alive for sure. Of one that always reports its SIP proves nothing: it may be deaf.
    pub(super) fn proof(&self) -> Instant {
        if self.expects_reports { self.proof.min(self.heard) } else { self.proof }
    }

    /// When it was last alive for sure, by whatever it has shown that: of one that always reports, or none of whose reports came, as
    /// [`Self::proof`]. What it reports proves nothing of what its host has `refused` since then.
    pub(super) fn alive(&self, refused: Option<Instant>) -> Instant {
        let heard = refused.map_or(self.heard, |refused| self.heard.min(refused));
        match self.reported {
            None => self.proof(),
            Some(_) if self.expects_reports => heard,
            Some(_) => self.proof.max(heard),
        }
    }

    /// A newer proof that the recorder has what was sent by then. None where it reports, or always should: then its reports
    /// alone say so, since it may answer SIP and be deaf.
    pub(super) fn poll_confirmed(&mut self) -> Option<Instant> {
        let is_news = self.proof >= self.confirmed + NEWS;
        if !is_news || self.reported.is_some() || self.expects_reports {
            return None;
        }
        self.confirmed = self.proof;
        Some(self.proof)
    }

    /// Whether it has lived longer than until `safe` for sure, by its answers. Of one that reports, or always should, they do not say so.
    pub(super) fn has_outlived(&self, safe: Instant) -> bool {
        self.reported.is_none() && !self.expects_reports && safe < self.proof
    }

    /// When it last showed that it hears, or nothing had been sent yet.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// It has taken no media for sure since a moment, `None` for as long as it has not shown that it hears: what it said by SIP
    /// meanwhile proves nothing.
    pub(super) fn deny(&mut self, since: Option<Instant>) {
        self.heard = since.map_or(self.heard, |since| self.heard.min(since));
        self.proof = self.proof.min(since.unwrap_or(self.heard));
    }

    /// The recorder has answered what was sent at `sent`, or has sent something now.
    pub(super) fn prove(&mut self, sent: Instant, timers: &Timers, now: Instant) {
        self.proof = self.proof.max(sent);
        self.postpone(timers, now);
    }

    /// Something came that makes the next question unnecessary.
    fn postpone(&mut self, timers: &Timers, now: Instant) {
        let often = timers.probe_interval();
        let interval = if self.ignores_options { often * RARELY } else { often };
        self.next = (!timers.probe.is_zero()).then(|| now + interval);
    }

    /// Something came that makes the next question urgent, unless that was so a short while ago: a recorder may close its
    /// connection after each answer.
    pub(super) fn hasten(&mut self, now: Instant) {
        let earliest = self.hastened.map_or(now, |hastened| hastened + HASTE).max(now);
        self.next = Some(self.next.map_or(earliest, |next| next.min(earliest)));
        if earliest == now {
            self.hastened = Some(now);
        }
    }

    /// A receiver report has come. It shows that the recorder heard what left until `heard`.
    pub(super) fn report(&mut self, heard: Instant, timers: &Timers, now: Instant) {
        self.reported = self.reported.max(Some(heard));
        self.postpone(timers, now);
        self.heard = self.heard.max(heard);
    }

    /// Whether it always sends receiver reports.
    pub(super) fn expects_reports(&self) -> bool {
        self.expects_reports
    }

    /// Whether it always sends receiver reports, and has sent none.
    pub(super) fn owes_first_report(&self) -> bool {
        self.expects_reports && self.reported.is_none()
    }

    /// Whether it had shown no longer than `within` before a moment that it hears, of whatever stream.
    pub(super) fn had_heard(&self, within: Duration, moment: Instant) -> bool {
        moment < self.heard + within
    }

    /// What is due to be asked, if anything.
    pub(super) fn question(&self, now: Instant) -> Option<Question> {
        let is_due = self.asked.is_none() && self.next.is_some_and(|next| next <= now);
        is_due.then_some(if self.ignores_options { Question::Refresh } else { Question::Options })
    }

    /// The question was asked, by OPTIONS where there is a token.
    pub(super) fn ask(&mut self, token: Option<RequestToken>, timers: &Timers, now: Instant) {
        self.asked = token.map(|token| (token, now));
        self.postpone(timers, now);
    }

    /// Takes the answer to a request of ours, if it is the question: when that was sent.
    pub(super) fn answer(&mut self, token: RequestToken) -> Option<Instant> {
        let (_, sent) = self.asked.take_if(|(asked, _)| *asked == token)?;
        Some(sent)
    }

    /// Whether the question has been unanswered for too long; says so once.
    pub(super) fn is_overdue(&mut self, timers: &Timers, now: Instant) -> bool {
        self.asked.take_if(|(_, sent)| *sent + timers.probe_answer <= now).is_some()
    }

    /// The recorder lives although it has not answered OPTIONS.
    pub(super) fn forgive(&mut self) {
        self.ignores_options = true;
    }

    /// When something is due.
    pub(super) fn next_deadline(&self, timers: &Timers) -> Option<Instant> {
        let answer = self.asked.map(|(_, sent)| sent + timers.probe_answer);
        answer.or(self.next)
    }
}

/// How a recorder is asked whether it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// By OPTIONS within the dialog.
    Options,
    /// By the refresh of the session.
    Refresh,
}
