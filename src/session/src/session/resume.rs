//! When a pause or mute ends, the recorder is to agree that something is sent again. One that does not agree is of no use: what the call
//! says from here on would never leave.

use std::time::{Duration, Instant};

use siprec_model::FailureReason;

use super::{Phase, RecordingSession};

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

    /// Keeps in mind since when that is so. What streams that have ended say in a pause is not worth the session.
    pub(super) fn watch_resume(&mut self, now: Instant) {
        let is_withheld = self.is_withheld();
        if let Phase::Up(up) = &mut self.phase {
            up.withheld = if is_withheld && !up.presses { up.withheld.or(Some(now)) } else { None };
        }
    }

    /// When the recorder must have agreed.
    pub(super) fn resume_deadline(&self) -> Option<Instant> {
        let Phase::Up(up) = &self.phase else { return None };
        Some(up.withheld? + if self.hurries { HURRIES_WITHIN } else { AGREES_WITHIN })
    }

    /// Whether the recorder's refusal leaves nothing to be sent. One that concerns the encryption is judged by that.
    pub(crate) fn stays_silent(&self) -> bool {
        self.is_settled() && self.is_withheld() && !self.stays_plain()
    }

    /// Gives up a recorder that refuses to go on.
    pub(crate) fn lose_by_refusal(&mut self, code: u16, phrase: &str, now: Instant) {
        self.lose_unresumed(format!("it refuses to go on: {code} {phrase}"), Some(code), now);
    }

    /// Gives up a recorder whose answer refuses every stream. One that sets them inactive asks for silence, and may open them.
    pub(super) fn lose_by_answer(&mut self, now: Instant) {
        self.lose_unresumed("its answer refuses to go on with any stream".to_owned(), None, now);
    }

    /// Gives up a recorder that has not agreed to go on in time.
    pub(super) fn lose_by_delay(&mut self, now: Instant) {
        self.lose_unresumed("it has not agreed to go on in time".to_owned(), None, now);
    }

    fn lose_unresumed(&mut self, said: String, sip_code: Option<u16>, now: Instant) {
        self.bye(now);
        self.fail(FailureReason::MediaLost(said), sip_code);
        self.take_events(now);
    }
}
