//! What the recorder does by itself: refreshes, pauses, moves, asks for key frames, hangs up.

use std::time::Instant;

use siprec_sip::{Body, Headers, Method, Request, RequestToken, Response, SessionDescription};

use super::{Due, Session};
use crate::answer::{self, Line};
use crate::behaviour::plan::Step;
use crate::behaviour::{KeyframeMethod, RefreshMethod};
use crate::invitation::session_description_in;
use crate::security;

/// RFC 5168 §7.1.
const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><media_control><vc_primitive><to_encoder>\
                                   <picture_fast_update/></to_encoder></vc_primitive></media_control>";

/// A request of ours that may change the session.
#[derive(Debug)]
pub(super) struct OwnOffer {
    token: RequestToken,
    step: Step,
    /// What it offers; None where it only refreshes, or asks the client for an offer.
    offered: Option<(Vec<Line>, SessionDescription)>,
}

impl Session {
    /// When something is due that the recorder does by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if !self.ua.is_confirmed() {
            return None;
        }
        let plan = self.plan.as_ref().and_then(crate::behaviour::plan::Plan::next_timeout);
        plan.into_iter().chain(self.timer.next_timeout()).chain(self.not_before).min()
    }

    /// Does, or puts in the queue, what is due.
    pub(super) async fn take_due(&mut self) {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
        }
        match self.timer.due(now) {
            Some(Due::Refresh) => self.waiting.push_back(Step::Refresh),
            Some(Due::Expired) => self.hang_up("the session timer expired"),
            None => {}
        }
        while let Some(step) = self.plan.as_mut().and_then(|plan| plan.due(now)) {
            match step {
                Step::AskKeyframe => self.ask_keyframe(now),
                Step::HangUp => self.hang_up("the recorder hangs up"),
                step => self.waiting.push_back(step),
            }
        }
    }

    /// Sends the next offer, if there is one to send and RFC 3261 allows it now.
    pub(super) async fn act_when_possible(&mut self) {
        if self.own.is_some() || self.not_before.is_some() || !self.ua.may_offer() {
            return;
        }
        let Some(step) = self.waiting.pop_front() else { return };
        let (method, offered) = match step {
            Step::Refresh => match self.shared.behaviour().refresh_method() {
                RefreshMethod::Invite => (Method::Invite, self.offer(step)),
                RefreshMethod::UpdateSdp => (Method::Update, self.offer(step)),
                RefreshMethod::Offerless => (Method::Invite, None),
                RefreshMethod::Update => (Method::Update, None),
            },
            _ => (Method::Invite, self.offer(step)),
        };
        if offered.is_none() && !matches!(step, Step::Refresh) {
            return;
        }
        let body = offered.as_ref().map(|(_, description)| Body::sdp(description.to_bytes()));
        match self.ua.request(method, self.timer.request(), body, Instant::now()) {
            Ok(token) => {
                self.paused = self.pauses(step);
                self.own = Some(OwnOffer { token, step, offered });
                self.hold(true);
            }
            // The dialog is over.
            Err(_) => {
                if let Some(recording) = &mut self.recording {
                    recording.abandon_move();
                }
            }
        }
    }

    /// Whether the recorder wants silence after this step.
    fn pauses(&self, step: Step) -> bool {
        match step {
            Step::Pause => true,
            Step::Resume => false,
            Step::Move | Step::Rekey | Step::Refresh | Step::AskKeyframe | Step::HangUp => self.paused,
        }
    }

    /// What the recorder offers with this step.
    fn offer(&mut self, step: Step) -> Option<(Vec<Line>, SessionDescription)> {
        if step == Step::Move {
            self.recording.as_mut()?.prepare_move().ok()?;
        }
        let mut lines = if self.pauses(step) { answer::silenced(&self.lines) } else { self.lines.clone() };
        // RFC 4568 §7.1.4: who moves its address brings new keys.
        if matches!(step, Step::Move | Step::Rekey) {
            security::renew(&mut lines);
        }
        let last = self.answer.clone()?;
        let description = self.describe(&last, &lines).ok()?;
        Some((lines, description))
    }

    /// The client accepted a request of ours.
    pub(super) async fn own_accepted(&mut self, token: RequestToken, response: &Response) {
        let Some(own) = self.own.take_if(|own| own.token == token) else { return };
        self.timer.answered(&response.headers, Instant::now());
        let said = session_description_in(&response.headers, &response.body)
            .and_then(|sdp| SessionDescription::parse(&sdp).ok());
        match (own.offered, said) {
            (Some((offered, description)), said) => {
                if let Some(said) = said {
                    answer::heed(&mut self.lines, &said, &offered);
                }
                self.answer = Some(description);
                if own.step == Step::Move
                    && let Some(recording) = &mut self.recording
                    && let Err(error) = recording.complete_move()
                {
                    self.report.error = Some(format!("the recorder cannot move: {error}"));
                }
                self.follow_lines();
            }
            // We asked for an offer: the ACK answers it.
            (None, Some(offer))
                if response.headers.cseq().is_ok_and(|cseq| cseq.method == Method::Invite) =>
            {
                let lines = self.decide(&offer);
                let body = self.negotiate(&offer, lines).await.ok();
                // It fails when nothing waits for it.
                let _ = self.ua.acknowledge(token, body);
            }
            (None, _) => {}
        }
        self.hold(false);
    }

    /// Holds what no key opens while a description of ours waits for its answer, which may bring another key.
    pub(super) fn hold(&mut self, holds: bool) {
        if let Some(recording) = &mut self.recording {
            recording.hold(holds);
        }
    }

    /// The client answers, in its ACK, an offer of ours in a 2xx that repeated our last description.
    pub(super) fn acknowledged(&mut self, ack: &Request) {
        if std::mem::take(&mut self.offered) {
            self.heed_keys(ack);
            self.hold(false);
        }
    }

    /// Takes the keys of the client's answer. An answer that cannot be used keeps the old state, and what it says of
    /// directions was asked for by nobody.
    fn heed_keys(&mut self, ack: &Request) {
        let said = session_description_in(&ack.headers, &ack.body)
            .and_then(|sdp| SessionDescription::parse(&sdp).ok());
        let Some(said) = said else { return };
        let mut heeded = self.lines.clone();
        answer::heed(&mut heeded, &said, &self.lines);
        for (line, heeded) in self.lines.iter_mut().zip(heeded) {
            if let (Line::Taken(line), Line::Taken(heeded)) = (line, heeded) {
                line.keys = heeded.keys;
                line.source = heeded.source;
            }
        }
        self.follow_lines();
    }

    /// Receives by the lines as they are agreed.
    fn follow_lines(&mut self) {
        let lines = if self.paused { answer::silenced(&self.lines) } else { self.lines.clone() };
        if let Some(recording) = &mut self.recording {
            recording.note(&lines);
            if let Err(error) = recording.secure(&lines) {
                self.report.error = Some(format!("no secured media: {error}"));
            }
        }
        self.tell_lines(&lines);
        self.judge_keys();
    }

    /// The client refused a request of ours: the session stays as it was.
    pub(super) fn own_refused(&mut self, token: RequestToken, response: &Response) {
        let Some(own) = self.own.take_if(|own| own.token == token) else { return };
        self.hold(false);
        match response.status {
            // RFC 3261 §14.1
            491 => {
                self.not_before = Some(Instant::now() + self.ua.glare_delay());
                self.waiting.push_front(own.step);
            }
            422 if self.timer.widen(&response.headers) => self.waiting.push_front(own.step),
            408 | 481 => self.hang_up("the client has lost the session"),
            status => {
                match own.step {
                    Step::Pause => self.paused = false,
                    Step::Resume => self.paused = true,
                    _ => {}
                }
                if let Some(recording) = &mut self.recording {
                    recording.abandon_move();
                }
                self.enter_note(&format!("the client refuses the recorder's offer: {status}"));
            }
        }
    }

    fn ask_keyframe(&mut self, now: Instant) {
        let by = self.shared.behaviour().keyframes.and_then(|keyframes| keyframes.by);
        let wants = |method| by.is_none_or(|by| by == method);
        if wants(KeyframeMethod::Info) {
            let body = Body {
                content_type: "application/media_control+xml".into(),
                bytes: PICTURE_FAST_UPDATE.as_bytes().to_vec(),
            };
            // It fails only when the dialog is over.
            let _ = self.ua.request(Method::Info, Headers::new(), Some(body), now);
        }
        if let Some(recording) = &mut self.recording {
            recording.ask_keyframes(&self.lines, wants(KeyframeMethod::Pli), wants(KeyframeMethod::Fir));
        }
    }

    /// The present state again, with something that happened in it.
    pub(super) fn enter_note(&mut self, note: &str) {
        let state =
            self.report.states.last().map_or_else(|| "recording".to_owned(), |last| last.state.clone());
        self.enter(&state, note);
    }
}
