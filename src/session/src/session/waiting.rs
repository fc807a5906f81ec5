//! What waits for the recorder to agree: all of a session when a pause or mute ends, a stream that has come, or that has changed what it
//! carries. A recorder that does not agree in time is of no use: what waits would be lost.

use std::time::{Duration, Instant};

use siprec_model::FailureReason;

use super::description::{Description, StreamLine};
use super::{Phase, RecordingSession, Up};

/// How long the recorder may take to agree, answers that ask for another try included (491, Retry-After): less than the default
/// `hold-time` by what it takes to find the next one.
const AGREES_WITHIN: Duration = Duration::from_secs(10);
/// The same once the call has ended: there must be time for another recorder. A glare back-off is over by then (RFC 3261 §14.1).
const HURRIES_WITHIN: Duration = Duration::from_secs(5);

impl RecordingSession {
    /// Whether something is to be sent, and the agreement is that nothing is.
    fn is_withheld(&self) -> bool {
        self.is_silent() && self.wanted.streams().any(|stream| stream.send)
    }

    /// Keeps in mind since when something waits. What streams that have ended say in a pause is not worth the session.
    pub(super) fn watch_waiting(&mut self, now: Instant) {
        let is_withheld = self.is_withheld();
        if let Phase::Up(up) = &mut self.phase {
            let waits = !up.presses && (is_withheld || up.has_waiting(&self.wanted));
            up.waits_since = if waits { up.waits_since.or(Some(now)) } else { None };
        }
    }

    /// When the recorder must have agreed.
    pub(super) fn agreement_deadline(&self) -> Option<Instant> {
        let Phase::Up(up) = &self.phase else { return None };
        Some(up.waits_since? + if self.hurries { HURRIES_WITHIN } else { AGREES_WITHIN })
    }

    /// Whether nothing is sent by agreement, and the recorder is to agree that something is.
    pub(super) fn resumes(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.waits_since.is_some()) && self.is_withheld()
    }

    /// Whether the recorder's refusal leaves nothing to be sent. One that concerns the encryption is judged by that.
    pub(crate) fn stays_silent(&self) -> bool {
        self.is_settled() && self.is_withheld() && !self.stays_plain()
    }

    /// Gives up a recorder that refuses to go on.
    pub(crate) fn lose_by_refusal(&mut self, code: u16, phrase: &str, now: Instant) {
        self.lose_unresumed(format!("it refuses to go on: {code} {phrase}"), Some(code), now);
    }

    /// Gives up a recorder whose answer refuses every stream, where one was to go on, or had been taken as it is offered. One that sets them inactive asks for silence, and may open them.
    pub(super) fn lose_by_answer(&mut self, now: Instant) {
        self.lose_unresumed("its answer refuses to go on with any stream".to_owned(), None, now);
    }

    /// Gives up a recorder that has not agreed in time.
    pub(super) fn lose_by_delay(&mut self, now: Instant) {
        if self.is_withheld() {
            self.lose_unresumed("it has not agreed to go on in time".to_owned(), None, now);
        } else {
            self.lose("it has not agreed in time to what has changed", now);
        }
    }

    fn lose_unresumed(&mut self, said: String, sip_code: Option<u16>, now: Instant) {
        self.bye(now);
        self.fail(FailureReason::MediaLost(said), sip_code);
        self.take_events(now);
    }
}

impl Up {
    /// Whether a stream waits for an offer that is open or to come.
    fn has_waiting(&self, wanted: &Description) -> bool {
        let waits = |(index, line): (usize, &StreamLine)| {
            line.send && line.ports.is_some() && self.is_news(index, line)
        };
        let mut lines =
            wanted.lines.iter().enumerate().filter_map(|(index, line)| Some((index, line.stream()?)));
        (self.differs(wanted) || self.offer.proposed() == Some(wanted)) && lines.any(waits)
    }

    /// Whether a stream is not sent as it is wanted before the recorder has agreed.
    fn is_news(&self, index: usize, wanted: &StreamLine) -> bool {
        self.agreed.ours.stream(index).is_none_or(|agreed| {
            !agreed.send
                || agreed.ports != wanted.ports
                || agreed.formats != wanted.formats
                || agreed.keys.is_none() && wanted.keys.is_some()
        }) || self.is_spent(index)
    }
}
