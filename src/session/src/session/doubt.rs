//! Signs that the recorder may be lost although its dialog stands: what they are, when they are worth a question, and when an
//! answer to that is not enough.

use std::time::{Duration, Instant};

use siprec_model::{BranchId, INSISTENT_FOR};

use super::reports::Reports;

/// So many refusals of the media, over [`INSISTENT_FOR`], are one of all of it.
const INSISTENT: u32 = 3;

/// Refusals further apart than this have nothing to do with each other.
const MEMORY: Duration = Duration::from_secs(10);

/// A recorder that reports on a stream has so long, from the first refusal on, to acknowledge what was sent since, before its
/// answer to SIP is held against it: an ICMP error is forged by whoever knows the ports. Receivers report every 5 s as a rule, at
/// random from half to one and a half times as often, divided by 1.21828 (RFC 3550 §6.3.1): 6.2 s at most, and what is under way.
const REPORT_WITHIN: Duration = Duration::from_secs(8);

/// A report that is overdue when the last packet has left may come so long. Then two in a row are missing, and there is time left to
/// deliver elsewhere what nobody acknowledges.
pub(super) const LAST_REPORT: Duration = Duration::from_secs(5);

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
            Self::MediaRefused => "its host refuses the media (ICMP)",
            Self::ReportsStopped => "its receiver reports have stopped",
            Self::NoReports => "it has sent no receiver report",
        })
    }
}

/// Whether a recorder has what it was sent of a stream that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belief {
    /// Nothing says that it has not.
    Sound,
    /// This says so, and it may still show that it has, until then.
    Open { sign: Sign, until: Instant },
    /// This says so, and nothing more is to come.
    Unsound(Sign),
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
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    refusals: Refusals,
    /// Streams that are refused, for as long as nothing says that this is over.
    refused: Vec<Refused>,
    /// How many there are in the session.
    streams: usize,
    /// What its receiver reports have shown.
    pub(super) reports: Reports,
    /// Those that should have been reported on again, or at all.
    overdue: Vec<BranchId>,
    /// How often in a row three intervals have passed without a report of a stream.
    missing: Vec<(BranchId, u32)>,
    /// When reports last disproved refusals.
    refuted: Option<Instant>,
    asked: Option<(Sign, Instant)>,
    /// The slot of the stream that this sign is of, where it is of one.
    asked_of: Option<u16>,
    answered: bool,
}

/// The refusals of a stream, whatever was answered meanwhile: the first and the last, and the first since they were rare.
#[derive(Clone, Copy, Debug)]
struct Refused {
    stream: BranchId,
    first: Instant,
    again: Instant,
    last: Instant,
}

/// Refusals of the media, one after the other.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    first: Option<Instant>,
    last: Option<Instant>,
    count: u32,
}

impl Doubt {
    /// Receiver reports of a stream have stopped.
    pub(super) fn miss_reports(&mut self, stream: BranchId, now: Instant) -> Growth {
        let growth = self.grow(Sign::ReportsStopped, now);
        if growth == Growth::Ask {
            self.asked_of = Some(stream.slot);
        }
        growth
    }

    /// Takes a sign other than a refusal of the media.
    pub(super) fn grow(&mut self, sign: Sign, now: Instant) -> Growth {
        match self.asked {
            // Silence is asked about each time: an answer to the last question says nothing of this one.
            Some((asked, at))
                if now < at + PATIENCE && (!self.answered || asked == sign && sign != Sign::Silent) =>
            {
                Growth::None
            }
            _ => {
                self.refusals = Refusals::default();
                (self.asked, self.asked_of, self.answered) = (Some((sign, now)), None, false);
                Growth::Ask
            }
        }
    }

    /// The recorder's host has refused a packet of a stream, one of so many that the recorder has agreed to.
    pub(super) fn refuse(&mut self, stream: BranchId, streams: usize, now: Instant) -> Growth {
        self.streams = streams;
        let first = self.note(stream, now);
        if !self.refusals.insist(now) {
            return Growth::None;
        }
        let was_answered = self.answered && matches!(self.asked, Some((Sign::MediaRefused, _)));
        let may_report = self.is_reported(stream) && now < first + REPORT_WITHIN;
        let was_refuted = self.refuted.is_some_and(|refuted| now < refuted + PATIENCE);
        match was_answered {
            true if may_report => Growth::None,
            // Who lives and goes on refusing, or has nothing to say of the media, will not take it any more.
            true => Growth::Lost,
            // What was not true a moment ago is worth no question yet.
            false if may_report && was_refuted => Growth::None,
            false => self.grow(Sign::MediaRefused, now),
        }
    }

    /// Writes down a refusal; since when the stream has been refused, without a silence in between.
    fn note(&mut self, stream: BranchId, now: Instant) -> Instant {
        match self.refused.iter_mut().find(|refused| refused.stream == stream) {
            Some(refused) => {
                if now > refused.last + MEMORY {
                    refused.again = now;
                }
                refused.last = now;
                refused.again
            }
            None => {
                self.refused.push(Refused { stream, first: now, again: now, last: now });
                now
            }
        }
    }

    /// Since when the media has been refused, as far as that says something of all streams: that of one that has long been silent
    /// does not, unless there is no other that has not been refused.
    pub(super) fn refused_since(&self, now: Instant) -> Option<Instant> {
        let are_all = self.refused.len() >= self.streams;
        let heeded = self.refused.iter().filter(|refused| are_all || refused.is_recent(now));
        heeded.map(|refused| refused.first).min()
    }

    /// When [`Self::refused_since`] says nothing any more, if nothing more is refused.
    pub(super) fn refusals_fade(&self) -> Option<Instant> {
        self.refused.iter().map(Refused::fades).max()
    }

    /// Streams that are refused, and since when: what was sent of them since, the recorder cannot have.
    pub(super) fn refused_streams(&self) -> impl Iterator<Item = (BranchId, Instant)> + '_ {
        self.refused.iter().map(|refused| (refused.stream, refused.first))
    }

    /// Packets of a stream leave again without being refused.
    pub(super) fn end_refusals(&mut self, stream: BranchId) {
        self.refused.retain(|refused| refused.stream != stream);
        if self.refused.is_empty() {
            self.forget_refusals();
        }
    }

    /// What was refused before says nothing any more.
    pub(super) fn forget_refusals(&mut self) {
        self.refused.clear();
        self.refusals = Refusals::default();
        if matches!(self.asked, Some((Sign::MediaRefused, _))) {
            (self.asked, self.asked_of, self.answered) = (None, None, false);
        }
    }

    /// Whether receiver reports of a stream have come.
    pub(super) fn is_reported(&self, stream: BranchId) -> bool {
        self.reports.are_of(stream)
    }

    /// Three intervals have passed without a report of a stream, or three more; how often that was so in a row.
    pub(super) fn count_missing(&mut self, stream: BranchId) -> u32 {
        match self.missing.iter_mut().find(|(missing, _)| *missing == stream) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.missing.push((stream, 1));
                1
            }
        }
    }

    /// A report of a stream is overdue.
    pub(super) fn miss(&mut self, stream: BranchId) {
        if !self.overdue.contains(&stream) {
            self.overdue.push(stream);
        }
    }

    /// Whether the recorder has what it was sent until `sent` of a stream that has ended; `hears` where it has shown, by whatever
    /// stream, that it heard then. Its host may have begun to take what it refused at first; and that it is silent, it can show by its
    /// answer to our BYE.
    pub(super) fn believe(&self, stream: BranchId, sent: Instant, hears: bool, now: Instant) -> Belief {
        if let Some(refused) = self.refused.iter().find(|refused| refused.stream == stream) {
            let until = refused.again + REPORT_WITHIN;
            return match self.is_reported(stream) && now < until {
                true => Belief::Open { sign: Sign::MediaRefused, until },
                false => Belief::Unsound(Sign::MediaRefused),
            };
        }
        match self.asked {
            Some((sign @ (Sign::ReportsStopped | Sign::NoReports), at)) if !self.answered => {
                Belief::Open { sign, until: at + PATIENCE }
            }
            _ if self.overdue.contains(&stream) && (self.is_reported(stream) || !hears) => {
                let sign = if self.is_reported(stream) { Sign::ReportsStopped } else { Sign::NoReports };
                Belief::Open { sign, until: sent + LAST_REPORT }
            }
            _ => Belief::Sound,
        }
    }

    /// Whether anything speaks against the recorder that an answer to SIP does not refute.
    pub(super) fn speaks_against(&self, now: Instant) -> bool {
        self.refused_since(now).is_some() || self.asked.is_some() && !self.answered
    }

    /// Whether the question is open why it does not report.
    pub(super) fn is_of_reports(&self) -> bool {
        !self.answered && matches!(self.asked, Some((Sign::ReportsStopped | Sign::NoReports, _)))
    }

    /// What speaks against the recorder that no answer to SIP refutes.
    pub(super) fn of_media(&self, now: Instant) -> Option<Sign> {
        match self.asked {
            _ if self.refused_since(now).is_some() => Some(Sign::MediaRefused),
            Some((sign, _)) if self.is_of_reports() => Some(sign),
            _ => None,
        }
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

    /// A receiver report of a stream has come: the recorder hears, or did. While its host refuses the media that is not enough, nor
    /// is it where those of another stream have stopped.
    pub(super) fn dispel(&mut self, stream: BranchId) {
        self.reports.admit(stream);
        self.overdue.retain(|overdue| *overdue != stream);
        self.missing.retain(|(missing, _)| *missing != stream);
        let is_refused = !self.refused.is_empty();
        if !is_refused {
            self.refusals = Refusals::default();
        }
        let is_of_it = self.asked_of.is_none_or(|of| of == stream.slot);
        if is_of_it && (!is_refused || !matches!(self.asked, Some((Sign::MediaRefused, _)))) {
            (self.asked, self.asked_of, self.answered) = (None, None, false);
        }
    }

    /// A receiver report says that what is refused of a stream has arrived.
    pub(super) fn refute(&mut self, stream: BranchId, now: Instant) {
        self.end_refusals(stream);
        self.refuted = Some(now);
        self.dispel(stream);
    }
}

impl Refused {
    fn fades(&self) -> Instant {
        self.last + MEMORY
    }

    fn is_recent(&self, now: Instant) -> bool {
        now < self.fades()
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
        self.count >= INSISTENT && self.first.is_some_and(|first| now >= first + INSISTENT_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use siprec_model::RecordingKey;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stream(slot: u16) -> BranchId {
        BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot }
    }

    /// What follows from a refusal of the first stream in each of these seconds.
    fn refused(doubt: &mut Doubt, start: Instant, seconds: Range<u32>) -> Vec<Growth> {
        seconds.map(|second| doubt.refuse(stream(0), 2, start + SECOND * second)).collect()
    }

    #[test]
    fn refusals_are_asked_about_when_they_insist() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        let grown = refused(&mut doubt, start, 0..4);
        assert_eq!(grown, [Growth::None, Growth::None, Growth::Ask, Growth::None]);
    }

    #[test]
    fn who_answers_and_goes_on_refusing_is_lost() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert_eq!(refused(&mut doubt, start, 0..3)[2], Growth::Ask);
        assert_eq!(doubt.answered(), None);
        assert_eq!(refused(&mut doubt, start, 3..6), [Growth::None, Growth::None, Growth::Lost]);
    }

    #[test]
    fn who_reports_has_eight_seconds_to_acknowledge_what_is_refused() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        doubt.dispel(stream(0));
        assert_eq!(refused(&mut doubt, start, 1..4)[2], Growth::Ask);
        assert_eq!(doubt.answered(), None);
        // A report of what was sent before says nothing.
        doubt.dispel(stream(0));
        let grown = refused(&mut doubt, start, 4..10);
        assert_eq!((grown[..5].iter().all(|grown| *grown == Growth::None), grown[5]), (true, Growth::Lost));
    }

    #[test]
    fn refusals_that_reports_disprove_may_go_on_for_ever_and_are_asked_about_once() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        doubt.dispel(stream(0));
        assert_eq!(refused(&mut doubt, start, 0..3)[2], Growth::Ask);
        doubt.answered();
        for round in 0..20 {
            doubt.refute(stream(0), start + SECOND * (3 + 6 * round));
            let grown = refused(&mut doubt, start, 3 + 6 * round..9 + 6 * round);
            assert!(grown.iter().all(|grown| *grown == Growth::None), "{round}: {grown:?}");
            assert_eq!(
                doubt.refused_since(start + SECOND * (8 + 6 * round)),
                Some(start + SECOND * (3 + 6 * round))
            );
        }
        // Then they are true.
        let grown = refused(&mut doubt, start, 123..127);
        assert_eq!(grown.iter().filter(|grown| **grown == Growth::Ask).count(), 1, "{grown:?}");
        doubt.answered();
        assert_eq!(refused(&mut doubt, start, 127..130)[2], Growth::Lost);
    }

    #[test]
    fn what_arrives_of_one_stream_says_nothing_of_another() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        doubt.dispel(stream(0));
        assert_eq!(refused(&mut doubt, start, 0..3)[2], Growth::Ask);
        doubt.answered();
        doubt.refute(stream(1), start + 3 * SECOND);
        assert_eq!(*refused(&mut doubt, start, 4..9).last().unwrap(), Growth::Lost);
    }

    #[test]
    fn what_is_refused_of_a_silent_stream_says_nothing_of_others_in_the_end_unless_all_are_refused() {
        for (streams, remains) in [(1, true), (2, false)] {
            let (mut doubt, start) = (Doubt::default(), Instant::now());
            doubt.refuse(stream(0), streams, start);
            assert!(doubt.speaks_against(start + MEMORY / 2), "{streams}");
            assert_eq!(doubt.speaks_against(start + MEMORY * 3), remains, "{streams}");
            doubt.end_refusals(stream(0));
            assert!(!doubt.speaks_against(start), "{streams}");
        }
    }

    #[test]
    fn refusals_that_are_far_apart_are_accidents() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!((0..9).all(|n| doubt.refuse(stream(0), 2, start + SECOND * n * 11) == Growth::None));
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
            doubt.dispel(stream(0));
            assert_eq!(doubt.answered(), None);
        }
    }

    #[test]
    fn that_reports_of_a_stream_have_stopped_no_report_of_another_refutes() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        for comes in [0, 1] {
            assert_eq!(doubt.miss_reports(stream(0), now), Growth::Ask);
            doubt.dispel(stream(comes));
            assert_eq!(doubt.answered(), (comes == 1).then_some(Sign::ReportsStopped));
        }
    }

    #[test]
    fn a_report_refutes_that_there_are_none_also_while_the_media_is_refused() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert_eq!(doubt.grow(Sign::ReportsStopped, start), Growth::Ask);
        refused(&mut doubt, start, 0..1);
        doubt.dispel(stream(1));
        assert_eq!(doubt.answered(), None);
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
