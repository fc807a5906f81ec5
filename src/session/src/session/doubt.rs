//! Signs that the recorder may be lost although its dialog stands: what they are, and when they are worth a question.

use std::time::{Duration, Instant};

/// Refusals of media this far apart are no accident of a recorder that is just opening its sockets.
const INSISTENCE: Duration = Duration::from_millis(900);

/// Refusals further apart than this have nothing to do with each other.
const MEMORY: Duration = Duration::from_secs(10);

/// After a question, further signs are not asked about for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something about the media that says that the recorder may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Its host refuses the RTP.
    MediaRefused,
    /// Its receiver reports have stopped.
    ReportsStopped,
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MediaRefused => "its host refuses the media (port unreachable)",
            Self::ReportsStopped => "its receiver reports have stopped",
        })
    }
}

/// What speaks against the recorder so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    refused: Option<Instant>,
    asked: Option<Instant>,
}

impl Doubt {
    /// Takes a sign; says whether the recorder should now be asked whether it lives.
    pub(super) fn grows(&mut self, sign: Sign, now: Instant) -> bool {
        if self.asked.is_some_and(|asked| now < asked + PATIENCE) {
            return false;
        }
        if sign == Sign::MediaRefused {
            let since = self.refused.filter(|first| now <= *first + MEMORY).unwrap_or(now);
            self.refused = Some(since);
            if now < since + INSISTENCE {
                return false;
            }
        }
        *self = Self { refused: None, asked: Some(now) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_is_no_reason_to_ask_and_a_second_one_is_asked_about_once() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let mut refused = |seconds| doubt.grows(Sign::MediaRefused, start + Duration::from_secs(seconds));
        let asked: Vec<u64> = (0..34).filter(|second| refused(*second)).collect();
        assert_eq!(asked, [1, 32]);
    }

    #[test]
    fn refusals_that_are_far_apart_are_accidents() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let mut refused = |seconds| doubt.grows(Sign::MediaRefused, start + Duration::from_secs(seconds));
        assert!((0..5).map(|n| n * 11).all(|second| !refused(second)));
    }

    #[test]
    fn reports_that_stop_are_asked_about_at_once() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        assert!(doubt.grows(Sign::ReportsStopped, now));
        assert!(!doubt.grows(Sign::ReportsStopped, now + Duration::from_secs(1)));
    }
}
