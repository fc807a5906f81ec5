//! The last question to a recorder: our BYE. Who answers it has lived to the end, and so has what was sent until then.

use std::time::{Duration, Instant};

use siprec_model::FailureReason;
use siprec_sip::{HeaderName, Headers, Termination};

use super::{Advice, Notice, Phase, RecordingSession};

/// How many times the limit of OPTIONS the answer to a BYE may take: as long as a recorder that goes silent in the middle of
/// a call has from the first question to the verdict.
const PATIENCE: u32 = 2;

/// Whether the recorder has answered our BYE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Nobody wants to know.
    #[default]
    Unasked,
    /// It is to, by this time.
    Awaited { until: Instant, within: Duration },
    /// It has not. It may still.
    Missed,
    /// It has.
    Heard,
}

impl Farewell {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Awaited { until, .. } => Some(*until),
            Self::Unasked | Self::Missed | Self::Heard => None,
        }
    }
}

impl RecordingSession {
    /// Ends a session that the recorder has accepted, and wants to know whether it lives: [`Notice::Parted`], or
    /// [`Notice::Failed`].
    pub(crate) fn part(&mut self, now: Instant) {
        if let Phase::Up(_) = self.phase {
            let within = self.rules.timers.probe_answer * PATIENCE;
            self.lived = self.lived();
            self.farewell = Farewell::Awaited { until: now + within, within };
            self.end(now);
        }
    }

    /// Whether the recorder has answered the BYE of [`Self::part`], be it late.
    pub(crate) fn has_parted(&self) -> bool {
        self.farewell == Farewell::Heard
    }

    /// The dialog has ended while our BYE was out. Any answer but 408 and 481 says that the recorder knew of it, and so
    /// does a BYE of its own that has crossed ours.
    pub(super) fn hear_farewell(&mut self, how: &Termination) {
        let before = self.farewell;
        if matches!(before, Farewell::Unasked | Farewell::Heard) {
            return;
        }
        let is_awaited = matches!(before, Farewell::Awaited { .. });
        let knows_of_it = match how {
            Termination::RemoteBye(_) => true,
            Termination::LocalBye { status } => status.is_some_and(|status| !matches!(status, 408 | 481)),
            _ => false,
        };
        match how {
            _ if knows_of_it => {
                self.farewell = Farewell::Heard;
                if is_awaited {
                    self.notices.push_back(Notice::Parted);
                }
            }
            Termination::LocalBye { status } if is_awaited => {
                let why = status.map_or("not answered".to_owned(), |status| format!("answered by {status}"));
                self.miss_farewell(&why);
            }
            _ if is_awaited => self.miss_farewell("not answered"),
            _ => {}
        }
    }

    /// Looks whether the answer to our BYE is overdue.
    pub(super) fn await_farewell(&mut self, now: Instant) {
        if let Farewell::Awaited { until, within } = self.farewell
            && until <= now
        {
            self.miss_farewell(&format!("not answered within {within:?}"));
        }
    }

    fn miss_farewell(&mut self, why: &str) {
        self.farewell = Farewell::Missed;
        let reason = FailureReason::DialogLost(format!("the BYE was {why}"));
        self.notices.push_back(Notice::Failed { reason, sip_code: None, advice: Advice::default() });
    }
}

/// Whether a BYE of the recorder says that it cannot go on, and not that it has chosen to stop: by `Reason` with a
/// `cause` of its own failures, 500 to 599, under the protocol SIP (RFC 3326 §2).
pub(super) fn is_of_failure(headers: &Headers) -> bool {
    headers.values(&HeaderName::Reason).any(|reason| {
        // What is quoted is a text for people.
        let reason: String = String::from_utf8_lossy(reason).split('"').step_by(2).collect();
        let mut parts = reason.split(';').map(str::trim);
        let is_sip = parts.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case("SIP"));
        let mut causes = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("cause").then(|| value.trim_start().parse::<u16>().ok())?
        });
        is_sip && causes.any(|cause| (500..600).contains(&cause))
    })
}
