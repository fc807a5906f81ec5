//! Signs that the recorder may be lost although its dialog stands: what they are, when they are worth a question, and when an
//! answer to that is not enough.

use std::time::{Duration, Instant};

/// Refusals of the media over this time, at least [`INSISTENT`] of them, are no accident of a recorder that is just opening
/// its sockets.
const INSISTENCE: Duration = Duration::from_millis(900);
const INSISTENT: u32 = 3;

/// Refusals further apart than this have nothing to do with each other.
const MEMORY: Duration = Duration::from_secs(10);

/// Who has answered a question is not asked again about the same for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that says that the recorder may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It does not answer OPTIONS within the dialog.
    Silent,
    /// Its host refuses the RTP.
    MediaRefused,
    /// Its receiver reports have stopped.
    ReportsStopped,
    /// It always sends receiver reports, and has sent none.
    NoReports,
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Silent => "it does not answer",
            Self::MediaRefused => "its host refuses the media (port unreachable)",
            Self::ReportsStopped => "its receiver reports have stopped",
            Self::NoReports => "it has sent no receiver report",
        })
    }
}

/// What follows from a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Nothing yet.
    None,
    /// The recorder should be asked whether it lives.
    Ask,
    /// It has answered, and takes no media all the same.
    Lost,
}

/// What speaks against the recorder so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubt {
    refusals: Refusals,
    /// The first and the last refusal of those that have not paused since, whatever was answered meanwhile.
    refused: Option<(Instant, Instant)>,
    asked: Option<(Sign, Instant)>,
    answered: bool,
}

/// Refusals of the media, one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    first: Option<Instant>,
    last: Option<Instant>,
    count: u32,
}

impl Doubt {
    /// Takes a sign.
    pub(super) fn grow(&mut self, sign: Sign, now: Instant) -> Growth {
        if sign == Sign::MediaRefused {
            let goes_on = self.refused.filter(|(_, last)| now <= *last + MEMORY);
            self.refused = Some((goes_on.map_or(now, |(first, _)| first), now));
        }
        if sign == Sign::MediaRefused && !self.refusals.insist(now) {
            return Growth::None;
        }
        match self.asked {
            // Who lives and goes on refusing, or has nothing to say of the media, will not take it any more.
            Some((Sign::MediaRefused, _)) if self.answered && sign == Sign::MediaRefused => Growth::Lost,
            // Silence is asked about each time: an answer to the last question says nothing of this one.
            Some((_, at)) if now < at + PATIENCE && (sign != Sign::Silent || !self.answered) => Growth::None,
            _ => {
                self.refusals = Refusals::default();
                (self.asked, self.answered) = (Some((sign, now)), false);
                Growth::Ask
            }
        }
    }

    /// Since when the media is refused.
    pub(super) fn refused_since(&self) -> Option<Instant> {
        self.refused.map(|(first, _)| first)
    }

    /// Whether anything speaks against the recorder that an answer to SIP does not refute.
    pub(super) fn speaks_against(&self, now: Instant) -> bool {
        let is_refused = self.refused.is_some_and(|(_, last)| now <= last + MEMORY);
        is_refused || self.asked.is_some() && !self.answered
    }

    /// Whether the question is open why it did not answer.
    pub(super) fn is_of_silence(&self) -> bool {
        !self.answered && matches!(self.asked, Some((Sign::Silent, _)))
    }

    /// The recorder has answered; says what is still against it, if that is enough.
    pub(super) fn answered(&mut self) -> Option<Sign> {
        let open = self.asked.filter(|_| !self.answered);
        self.answered = true;
        self.refusals = Refusals::default();
        open.map(|(sign, _)| sign).filter(|sign| matches!(sign, Sign::ReportsStopped | Sign::NoReports))
    }

    /// A receiver report has come: the recorder hears.
    pub(super) fn dispel(&mut self) {
        *self = Self::default();
    }
}

impl Refusals {
    /// Counts one; says whether that makes them more than an accident.
    fn insist(&mut self, now: Instant) -> bool {
        if self.last.is_none_or(|last| now > last + MEMORY) {
            *self = Self { first: Some(now), last: None, count: 0 };
        }
        self.last = Some(now);
        self.count += 1;
        self.count >= INSISTENT && self.first.is_some_and(|first| now >= first + INSISTENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn refusals_are_asked_about_when_they_insist() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let grown: Vec<_> =
            (0..4).map(|second| doubt.grow(Sign::MediaRefused, start + SECOND * second)).collect();
        assert_eq!(grown, [Growth::None, Growth::None, Growth::Ask, Growth::None]);
    }

    #[test]
    fn who_answers_and_goes_on_refusing_is_lost() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let refused = |doubt: &mut Doubt, second| doubt.grow(Sign::MediaRefused, start + SECOND * second);
        assert_eq!([0, 1, 2].map(|second| refused(&mut doubt, second))[2], Growth::Ask);
        assert_eq!(doubt.answered(), None);
        assert_eq!(
            [3, 4, 5].map(|second| refused(&mut doubt, second)),
            [Growth::None, Growth::None, Growth::Lost]
        );
    }

    #[test]
    fn refusals_that_are_far_apart_are_accidents() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!((0..9).all(|n| doubt.grow(Sign::MediaRefused, start + SECOND * n * 11) == Growth::None));
    }

    #[test]
    fn who_answers_without_a_report_is_deaf_unless_one_comes_first() {
        for sign in [Sign::ReportsStopped, Sign::NoReports] {
            let (mut doubt, now) = (Doubt::default(), Instant::now());
            assert_eq!(doubt.grow(sign, now), Growth::Ask);
            assert_eq!(doubt.grow(sign, now + SECOND), Growth::None);
            assert_eq!(doubt.answered(), Some(sign));
            let mut doubt = Doubt::default();
            assert_eq!(doubt.grow(sign, now), Growth::Ask);
            doubt.dispel();
            assert_eq!(doubt.answered(), None);
        }
    }

    #[test]
    fn silence_is_asked_about_once_and_again_after_an_answer() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        assert_eq!(doubt.grow(Sign::Silent, now), Growth::Ask);
        assert_eq!(doubt.grow(Sign::Silent, now + SECOND), Growth::None);
        assert_eq!(doubt.answered(), None);
        assert_eq!(doubt.grow(Sign::Silent, now + 2 * SECOND), Growth::Ask);
    }
}
