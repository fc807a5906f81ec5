//! What the recorder asks for within a session (`protocol` 1.4).

use std::time::Instant;

use siprec_sip::{Body, HeaderName, Headers, Method, Request, ServerToken};

use super::description::{Description, Line, StreamLine};
use super::keys::LineKeys;
use super::offer::Offer;
use super::remote::{Profile, RemoteDescription, RemoteLine, SdpFault, sdp_of};
use super::{Notice, Phase, RecordingSession};
use crate::numbering::{NumberedFormat, same_codec};
use crate::recorder::PayloadTypes;

impl RecordingSession {
    /// A re-INVITE or an UPDATE.
    pub(super) fn requested(&mut self, token: ServerToken, request: &Request, now: Instant) {
        let no_offer = request.method == Method::Update && request.body.is_empty();
        let Phase::Up(up) = &mut self.phase else {
            // Before the answer there is nothing to change yet (RFC 3261 §14.2).
            let status = if no_offer { 200 } else { 491 };
            self.respond(token, status, Headers::new(), None, now);
            return;
        };
        let mut clock = up.clock;
        let headers = match clock.answer(&request.headers, now) {
            Ok(headers) => headers,
            Err(too_small) => {
                self.respond(token, 422, too_small.headers(), None, now);
                return;
            }
        };
        if no_offer {
            up.clock = clock;
            self.respond(token, 200, headers, None, now);
            return;
        }
        let offered = sdp_of(&request.headers, &request.body).and_then(RemoteDescription::parse);
        let offer = match offered {
            Ok(offer) => offer,
            Err(SdpFault::Missing) if request.method == Method::Invite && request.body.is_empty() => {
                let description = up.agreed.ours.offered();
                let Ok(body) = self.writer.write(&description) else {
                    self.respond(token, 500, Headers::new(), None, now);
                    return;
                };
                up.clock = clock;
                up.offer = Offer::InAnswer { token, description };
                self.respond(token, 200, headers, Some(Body::sdp(body)), now);
                return;
            }
            Err(SdpFault::Missing) => {
                let mut headers = Headers::new();
                headers.push(HeaderName::Accept, "application/sdp");
                self.respond(token, 415, headers, None, now);
                return;
            }
            Err(SdpFault::Malformed(_) | SdpFault::NothingTaken(_) | SdpFault::Insecure(_)) => {
                self.respond(token, 488, Headers::new(), None, now);
                return;
            }
        };
        // A description that has not changed asks for nothing, and so gets what it got before.
        let unchanged = offer == up.agreed.theirs;
        let mut basis = if unchanged { up.agreed.ours.clone() } else { up.answerable(&self.wanted).clone() };
        // Where it moves, or begins a new association, or ours is used up, our answer brings a new key (`protocol` section 3).
        let mut ended = up.agreed.ended_by(&offer);
        if !unchanged {
            ended.extend((0..basis.lines.len()).filter(|index| up.is_spent(*index)));
        }
        for index in ended.iter().copied() {
            let keys = self.layout.renew_keys(index);
            for description in [&mut basis, &mut self.wanted] {
                if let Some(stream) = description.lines.get_mut(index).and_then(Line::stream_mut) {
                    stream.keys.clone_from(&keys);
                }
            }
        }
        for (index, (line, theirs)) in basis.lines.iter_mut().zip(&offer.lines).enumerate() {
            if let Some(stream) = line.stream_mut() {
                let present = up.agreed.side(index).filter(|_| !ended.contains(&index));
                stream.accepted = stream.keys.as_ref().and_then(|keys| keys.accept(theirs, present));
            }
        }
        let mut answer = answer_to(&offer, &basis, self.rules.payload_types);
        if !unchanged {
            // An answer adds no feedback to what was offered (RFC 4585 §4.2). One to what has not changed is our last
            // description as it was.
            for (line, theirs) in answer.lines.iter_mut().zip(&offer.lines) {
                if let Some(stream) = line.stream_mut() {
                    stream.feedback = stream.feedback.and(theirs.feedback);
                }
            }
        }
        let Ok(body) = self.writer.write(&answer) else {
            self.respond(token, 500, Headers::new(), None, now);
            return;
        };
        // An offer of fewer m-lines than there were (RFC 3264 §8 forbids it) switches off those that it lacks: ours never
        // become fewer.
        let offered = offer.lines.len();
        let kept = |(index, line): (usize, &Line)| if index < offered { line.clone() } else { line.off() };
        let lines = basis.lines.iter().enumerate().map(kept).collect();
        up.clock = clock;
        self.layout.extend(offer.foreign());
        if !unchanged {
            up.agreed.follow(Description { lines }, offer, &self.rules);
            // The m-lines that only the recorder wanted stay, switched off.
            for description in [&mut up.agreed.ours, &mut self.wanted] {
                let rejected: Vec<Line> = self.layout.rejected(description.lines.len()).collect();
                description.lines.extend(rejected);
            }
        }
        self.respond(token, 200, headers, Some(Body::sdp(body)), now);
    }

    /// The ACK of our 2xx; where that made an offer, it brings the answer. One that cannot be used keeps what was.
    pub(super) fn acknowledged(&mut self, token: ServerToken, ack: &Request, now: Instant) {
        let Phase::Up(up) = &mut self.phase else { return };
        if let Some(description) = up.offer.take_answered(token)
            && let Ok(theirs) = sdp_of(&ack.headers, &ack.body).and_then(RemoteDescription::parse)
        {
            let moved = up.agreed.renew(description, Some(theirs), &self.rules);
            // As in any answer: never a silent fall back to something less (`protocol` section 3).
            if let Err(reason) = up.agreed.check_security(&self.rules) {
                self.fail_insecure(reason, now);
                return;
            }
            self.renew_keys(&moved);
        }
        self.offer_difference(now);
    }

    /// An INFO, which is answered already.
    pub(super) fn informed(&mut self, request: &Request) {
        // RFC 5168 §5.
        let is_control = request
            .headers
            .content_type()
            .ok()
            .flatten()
            .is_some_and(|content_type| content_type.is("application/media_control+xml"));
        if is_control && String::from_utf8_lossy(&request.body).contains("picture_fast_update") {
            self.notices.push_back(Notice::KeyframeWanted);
        }
    }

    fn respond(
        &mut self,
        token: ServerToken,
        status: u16,
        headers: Headers,
        body: Option<Body>,
        now: Instant,
    ) {
        // A request that was cancelled meanwhile, or ended by a BYE, needs no answer.
        let _ = self.ua.respond(token, status, "", headers, body, now);
    }
}

/// Our answer to an offer of the recorder: as many m-lines as it has, those beyond ours refused.
fn answer_to(offer: &RemoteDescription, ours: &Description, policy: PayloadTypes) -> Description {
    let lines = offer.lines.iter().zip(offer.foreign()).enumerate().map(|(index, (theirs, foreign))| {
        ours.stream(index)
            .and_then(|stream| answer_line(stream, theirs, policy))
            .map_or(Line::Foreign(foreign), Line::Stream)
    });
    Description { lines: lines.collect() }
}

fn answer_line(ours: &StreamLine, theirs: &RemoteLine, policy: PayloadTypes) -> Option<StreamLine> {
    theirs.target_for(ours.medium).ok()?;
    ours.ports?;
    // What is encrypted is answered in kind, and what is plain is not (RFC 4568 §5.1.2).
    let fits = match (ours.keys.as_deref(), theirs.profile) {
        (None, Profile::Plain) => true,
        (Some(LineKeys::Sdes(_)), Profile::Sdes) => ours.accepted.is_some(),
        (Some(LineKeys::Dtls(_)), Profile::Dtls) => ours.accepted.is_some() && theirs.certificate().is_ok(),
        _ => false,
    };
    if !fits {
        return None;
    }
    let formats: Vec<NumberedFormat> = match policy {
        PayloadTypes::Offered => ours.formats.clone(),
        PayloadTypes::Answered => ours
            .formats
            .iter()
            .filter_map(|numbered| {
                let theirs = theirs.formats.iter().find(|theirs| same_codec(theirs, &numbered.format))?;
                let mut format = numbered.clone();
                format.format.payload_type = theirs.payload_type;
                Some(format)
            })
            .collect(),
    };
    let send = ours.send && theirs.direction.receives();
    (!formats.is_empty()).then(|| StreamLine { formats, send, ..ours.clone() })
}
