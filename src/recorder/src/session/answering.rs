//! What the recorder answers to the client's offers.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use siprec_model::Medium;
use siprec_sip::sdp::{Direction, Origin, SdpError};
use siprec_sip::{
    Body, HeaderName, Headers, Method, NameAddr, Request, ServerToken, SessionDescription, Uri,
};

use super::Session;
use crate::answer::{self, Line};
use crate::behaviour::{Behaviour, Refuse, odd, plan::Plan};
use crate::clock::rfc3339;
use crate::config::RecorderConfig;
use crate::invitation::session_description;
use crate::recording::Recording;
use crate::security::Terms;
use crate::stream::TakeError;

/// Why an offer is not taken.
pub(super) struct Refusal {
    status: u16,
    /// Reason phrase; empty for the usual one.
    reason: String,
    headers: Headers,
}

impl Refusal {
    pub(super) fn new(status: u16, reason: &str) -> Self {
        Self { status, reason: reason.to_owned(), headers: Headers::new() }
    }
}

impl Session {
    /// Answers the first INVITE.
    pub(super) async fn answer_invite(&mut self) {
        let Some(token) = self.ringing.take() else { return };
        match self.accept().await {
            Ok(body) => self.succeed(token, Some(body)),
            Err(refusal) => {
                let Refusal { status, reason, .. } = &refusal;
                let told = if reason.is_empty() { status.to_string() } else { format!("{status}: {reason}") };
                self.end("refused", &told);
                self.refuse(token, refusal);
            }
        }
    }

    async fn accept(&mut self) -> Result<Body, Refusal> {
        let behaviour = self.shared.behaviour().clone();
        let number = self.shared.refused.load(Ordering::Relaxed);
        let elsewhere = behaviour.redirection(number);
        if !elsewhere.is_empty() {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(self.away_to(elsewhere));
        }
        if let Some(refuse) = behaviour.refusal(behaviour.refuse.as_ref(), number) {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return Err(self.as_told(refuse));
        }
        if let Some(headers) = self.timer.refusal(&self.invite.headers) {
            return Err(Refusal { headers, ..Refusal::new(422, "") });
        }
        let offer = session_description(&self.invite).ok_or_else(|| Refusal::new(488, "No Offer"))?;
        let offer =
            SessionDescription::parse(&offer).map_err(|error| Refusal::new(488, &error.to_string()))?;
        let lines = self.decide(&offer);
        if !lines.iter().any(|line| matches!(line, Line::Taken(_))) {
            return Err(Refusal::new(488, &nothing(&lines)));
        }
        let id = if self.invitation.recording_id.is_empty() {
            self.report.call_id.clone()
        } else {
            self.invitation.recording_id.clone()
        };
        let ssrc = self.random.next_u32();
        let opened = Recording::open(&self.shared.config, &id, self.address, ssrc, self.started);
        let recording = opened.map_err(|error| self.fail(500, &error.to_string()))?;
        self.recording = Some(recording);
        let body = self.negotiate(&offer, lines).await?;
        let now = Instant::now();
        self.answered = Some(now);
        self.plan = Some(Plan::new(&behaviour, now));
        self.report.answered = Some(rfc3339(SystemTime::now()));
        Ok(body)
    }

    /// Answers a re-INVITE or UPDATE. Without an offer the last answer is ours (RFC 3261 §14.2); an UPDATE without one
    /// only refreshes (RFC 4028 §7.4).
    pub(super) async fn renegotiate(&mut self, token: ServerToken, request: &Request) {
        if let Some(headers) = self.timer.refusal(&request.headers) {
            return self.refuse(token, Refusal { headers, ..Refusal::new(422, "") });
        }
        let answered = self.reconsider(request).await;
        match answered {
            Ok(body) => {
                let is_silent =
                    self.shared.behaviour().no_sdp_in_reinvite && request.method == Method::Invite;
                let headers = self.timer.answer(&request.headers, Instant::now());
                self.respond(token, 200, "", headers, body.filter(|_| !is_silent));
            }
            Err(refusal) => self.refuse(token, refusal),
        }
    }

    async fn reconsider(&mut self, request: &Request) -> Result<Option<Body>, Refusal> {
        let behaviour = self.shared.behaviour().clone();
        let Some(offer) = session_description(request) else {
            if request.method != Method::Invite {
                return Ok(None);
            }
            let last = self.answer.as_ref().ok_or_else(|| Refusal::new(488, "No Offer"))?;
            let body = Body::sdp(last.to_bytes());
            self.offered = true;
            self.hold(true);
            return Ok(Some(body));
        };
        if let Some(refuse) = behaviour.refusal(behaviour.refuse_reinvite.as_ref(), self.refused) {
            self.refused += 1;
            return Err(self.as_told(refuse));
        }
        let offer =
            SessionDescription::parse(&offer).map_err(|error| Refusal::new(488, &error.to_string()))?;
        let lines = self.decide(&offer);
        self.negotiate(&offer, lines).await.map(Some)
    }

    /// What becomes of the m-lines of an offer.
    pub(super) fn decide(&self, offer: &SessionDescription) -> Vec<Line> {
        let RecorderConfig { srtp, srtp_suites, behaviour, .. } = &self.shared.config;
        let mut lines = answer::lines(offer, Terms { mode: *srtp, suites: srtp_suites, before: &self.lines });
        behaviour.bend(&mut lines);
        lines
    }

    /// Takes the streams of an offer and writes the answer.
    pub(super) async fn negotiate(
        &mut self,
        offer: &SessionDescription,
        lines: Vec<Line>,
    ) -> Result<Body, Refusal> {
        let said = if self.paused { answer::silenced(&lines) } else { lines.clone() };
        let Some(recording) = &mut self.recording else { return Err(Refusal::new(500, "")) };
        if let Err(error) = recording.apply(&said).await {
            let told = match error {
                TakeError::Ports(error) => format!("no RTP ports on {}: {error}", self.address),
                TakeError::Srtp(error) => format!("no secured media: {error}"),
            };
            return Err(self.fail(500, &told));
        }
        let answer = self.describe(offer, &said).map_err(|error| Refusal::new(488, &error.to_string()))?;
        let Behaviour { odd_sdp, odd_crypto, .. } = self.shared.behaviour();
        let bytes = if *odd_sdp { odd::rewrite(&answer) } else { answer.to_bytes() };
        let body = Body::sdp(match odd_crypto {
            Some(how) => odd::bend_keys(&bytes, offer, *how),
            None => bytes,
        });
        self.answer = Some(answer);
        self.lines = lines;
        self.tell_lines(&said);
        self.judge_keys();
        Ok(body)
    }

    /// Our side of these lines; the version counts the changes (RFC 3264 §8).
    ///
    /// # Errors
    /// Where the other side's description holds a word that must not be repeated.
    pub(super) fn describe(
        &mut self,
        other: &SessionDescription,
        lines: &[Line],
    ) -> Result<SessionDescription, SdpError> {
        let recording = self.recording.as_ref();
        let (session_id, address) = (self.session_id, self.address);
        let describe = |version| {
            let origin = Origin { session_id, version, address };
            let port = |index| recording.and_then(|recording| recording.port(index));
            answer::describe(other, lines, port, origin, address)
        };
        let description = describe(self.version)?;
        if self.answer.as_ref().is_none_or(|last| *last == description) {
            return Ok(description);
        }
        self.version += 1;
        describe(self.version)
    }

    /// Takes note of what is recorded, and of whom.
    pub(super) fn tell_lines(&mut self, lines: &[Line]) {
        let audio = |line: &Line| matches!(line, Line::Taken(line) if line.medium == Medium::Audio);
        let audio: Vec<_> = (0..lines.len()).filter(|index| lines.get(*index).is_some_and(audio)).collect();
        if self.report.parties.iter().filter(|party| party.stream.is_some()).count() < audio.len() {
            self.report.parties = self.invitation.party_reports(&audio);
        }
        let flows = |line: &Line| matches!(line, Line::Taken(line) if line.direction == Direction::RecvOnly);
        let state = if lines.iter().any(flows) { "recording" } else { "paused" };
        let told: Vec<_> = lines.iter().map(tell).collect();
        let told = told.join(", ");
        if self.report.states.last().is_none_or(|last| last.state != state || last.reason != told) {
            self.enter(state, &told);
        }
    }

    fn succeed(&mut self, token: ServerToken, body: Option<Body>) {
        let headers = self.timer.answer(&self.invite.headers, Instant::now());
        self.respond(token, 200, "", headers, body);
    }

    fn refuse(&mut self, token: ServerToken, refusal: Refusal) {
        let Refusal { status, reason, headers } = refusal;
        self.respond(token, status, &reason, headers, None);
    }

    fn respond(
        &mut self,
        token: ServerToken,
        status: u16,
        reason: &str,
        headers: Headers,
        body: Option<Body>,
    ) {
        // It fails only when the request is gone, and then nobody waits.
        let _ = self.ua.respond(token, status, reason, headers, body, Instant::now());
    }

    /// The refusal that the recorder is told to give.
    fn as_told(&self, refuse: &Refuse) -> Refusal {
        Refusal { headers: self.retry_after(), ..Refusal::new(refuse.status(), refuse.reason()) }
    }

    /// The redirection that the recorder is told to give.
    fn away_to(&self, places: &[Uri]) -> Refusal {
        let mut headers = self.retry_after();
        for place in places {
            headers.push(HeaderName::Contact, NameAddr::new(place.clone()));
        }
        Refusal { headers, ..Refusal::new(302, "") }
    }

    fn retry_after(&self) -> Headers {
        let mut headers = Headers::new();
        if let Some(seconds) = self.shared.behaviour().retry_after {
            headers.push(HeaderName::RetryAfter, seconds.to_string());
        }
        headers
    }

    fn fail(&mut self, status: u16, error: &str) -> Refusal {
        self.report.error = Some(error.to_owned());
        Refusal::new(status, "")
    }
}

/// `audio recvonly`
fn tell(line: &Line) -> String {
    match line {
        Line::Taken(line) => format!("{} {}", line.medium, line.direction),
        Line::Off(None) => "off".to_owned(),
        Line::Off(Some(why)) => format!("off ({why})"),
    }
}

/// Longest reason phrase that is told.
const PHRASE: usize = 300;

/// Why no line is taken.
fn nothing(lines: &[Line]) -> String {
    let mut phrase = "No Stream That Can Be Recorded".to_owned();
    for line in lines {
        if let Line::Off(Some(why)) = line
            && phrase.len() + why.len() <= PHRASE
        {
            phrase.push_str(&format!("; {why}"));
        }
    }
    phrase
}
