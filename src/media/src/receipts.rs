//! What a recorder has of one source, as its receiver reports say, and where it missed a stretch at once.

use crate::entry::{Entry, Times};
use crate::streak::Streak;
use crate::usual::Usual;

/// A report tells of a cut where so much of the stream was missed behind the last one, in nanoseconds of the call.
const CUT: u64 = 1_000_000_000;

/// Fewer packets than these are an accident, whatever time they span.
const FEWEST: u64 = 8;

/// A report tells of losses where more than one packet of so many was missed. Where [one after the other](Streak) does,
/// the network is lossy, and nothing was cut.
const LOSSY: u64 = 20;

/// What comes after a cut is judged over at least this time, and who was told of one has as long to act, in nanoseconds.
const AFTERMATH: u64 = 1_000_000_000;

/// Within so long of a source's first report others have told that the way was cut as it began, if it was, in nanoseconds: that takes three
/// more reports.
const FOUND_WITHIN: u64 = 24_000_000_000;

/// Packets are counted so often at most, in nanoseconds: a recorder may send reports without end.
const HASTE: u64 = 200_000_000;

/// What the reports of a recorder say of one source.
///
/// | the report tells of | before | becomes of it |
/// |---|---|---|
/// | at most 5 % missed, or less than a second | no hole that is open | all up to it is the recorder's |
/// | a second or more missed at once | a [streak](Streak) of losses that is long, or no report of this source, and one of another | the same: the network is lossy |
/// | a second or more missed at once | a streak that is short, at most 5 % missed, or no report | a hole: all up to the report *before* is its, until another one decides |
/// | more than 5 % missed, be it less than a second or more | a hole, and the streak is short | that belongs to the hole, which stays open |
/// | more than 5 % missed | a hole, and the streak is long | the network has become lossy: all up to it is the recorder's |
/// | at most 5 % missed | a hole, of which some may be kept | a cut: still only that is its, for a while |
/// | the same | a hole, of which nothing is kept | a cut: it is lost, and all else is the recorder's |
/// | that of what was missed nearly all has come late | a hole | it was sent again in time: all up to it is its |
///
/// *Missed* is what was sent and not received; at once is what is a second or more beyond what is [usual](Usual), with what never left beside it. The call's own losses, which a receiver counts, too (RFC 3550 §6.4.1), were
/// not sent.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    /// The first report of all. It says nothing of what left before the first packet that it tells of, which nobody knows.
    first: Option<Report>,
    /// It tells of a hole, before which something was heard.
    first_tells: bool,
    /// From when on nothing is known to have been missed for good, in nanoseconds since the branch was made.
    whole: Option<u64>,
    /// What is the recorder's.
    taken: Option<Report>,
    /// The newest report that was judged, where it is another one.
    newest: Option<Report>,
    /// How long they have told of losses.
    streak: Streak,
    usual: Usual,
    burst: Option<Burst>,
    /// When packets were last counted.
    counted: Option<u64>,
}

/// What a receiver report says of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The highest index received.
    pub(crate) index: u64,
    /// Packets lost since the beginning, a number of 24 bits with a sign.
    pub(crate) lost: i32,
    /// When the report came, in nanoseconds since the branch was made.
    pub(crate) at: u64,
}

/// Packets that were sent one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// When the first of them came, in nanoseconds since the branch was made.
    pub(crate) start: u64,
    /// When the first of them came and the last, pauses left out, in nanoseconds.
    bounds: Option<(u64, u64)>,
}

impl Passage {
    /// One packet more.
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.add_many(1, entry.times, entry.times);
        self.bytes += u64::from(entry.length());
    }

    /// Some packets more, of which the `first` and the `last` came then.
    pub(crate) fn add_many(&mut self, packets: u64, first: Times, last: Times) {
        let (from, to) = self.bounds.unwrap_or((first.active(), last.active()));
        self.bounds = Some((from.min(first.active()), to.max(last.active())));
        if self.packets == 0 {
            self.start = first.arrival;
        }
        self.packets += packets;
    }

    /// Together with what came behind it.
    pub(crate) fn and(self, next: Self) -> Self {
        let bounds = match (self.bounds, next.bounds) {
            (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
            (bounds, other) => bounds.or(other),
        };
        let start = if self.packets == 0 { next.start } else { self.start };
        let (packets, bytes) = (self.packets + next.packets, self.bytes + next.bytes);
        Self { packets, bytes, start, bounds }
    }

    /// The time over which they came, pauses left out, in nanoseconds.
    pub(crate) fn span(&self) -> u64 {
        self.bounds.map_or(0, |(first, last)| last - first)
    }

    /// The time over which so many packets of them came, where they came evenly, in nanoseconds.
    fn time_of(&self, packets: u64) -> u64 {
        let time = u128::from(self.span()) * u128::from(packets) / u128::from(self.packets.max(1));
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// Whether that is no accident.
    pub(crate) fn is_stretch(&self) -> bool {
        self.packets >= FEWEST && self.span() >= CUT
    }
}

/// What left of a source, and what was to leave and did not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) sent: Passage,
    pub(crate) unsent: Passage,
}

/// What a recorder has missed at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) packets: u64,
    /// In nanoseconds of the call.
    pub(crate) duration: u64,
    /// It came behind this moment, in nanoseconds since the branch was made.
    pub(crate) behind: u64,
}

impl Missed {
    /// Together with what was missed behind it.
    fn and(self, next: Self) -> Self {
        let Self { packets, duration, behind } = self;
        Self { packets: packets + next.packets, duration: duration.saturating_add(next.duration), behind }
    }
}

/// How many packets have not come of those that left behind one index up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    pub(crate) behind: u64,
    pub(crate) to: u64,
    pub(crate) packets: u64,
}

/// What follows from a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing more is the recorder's.
    Nothing,
    /// More of the source is the recorder's.
    Taken,
    /// It has missed this between these reports, and at least a part of where that may be is still kept.
    Cut(Missed, Between),
    /// It has missed this for good, between these reports.
    Lost(Missed, Between),
}

/// The time from one moment to another, in nanoseconds since the branch was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Between {
    /// Both, and what lies between them.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }
}

/// What may be done about a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// It may be sent again.
    Possible,
    /// The same, but not while nothing leaves.
    Suspended,
    /// What was missed is not sent again.
    Never,
}

/// Where a source's losses are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// From its first packet that was received: no other source has been reported on.
    Known,
    /// A receiver may go on with the count of another one.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    missed: Missed,
    /// Behind this index reports have told of less than a second that was missed.
    end: u64,
    /// When the last report came that has told of more, in nanoseconds since the branch was made.
    until: u64,
    /// When it was told of, once it is known to be a cut.
    told: Option<u64>,
    /// Nothing more comes of the source, and that was said of it.
    is_last: bool,
}

impl Burst {
    /// A report tells of it, and nothing has been said of it yet.
    fn told_by(report: Report, missed: Missed) -> Self {
        Self { missed, end: report.index, until: report.at, told: None, is_last: false }
    }
}

/// What happened between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Nothing was received.
    Idle,
    Clean,
    Lossy(Missed),
    Burst(Missed),
    /// It is not known yet.
    Unknown,
}

impl Receipts {
    /// Everything up to this is the recorder's, but for what a lossy network has lost.
    pub(crate) fn taken(&self) -> Option<Report> {
        self.taken
    }

    /// Up to this it is not certain yet: while the way was cut the source may have begun, and nothing tells but reports of others.
    pub(crate) fn uncertain(&self) -> Option<u64> {
        let (first, taken) = self.first.filter(|_| !self.first_tells).zip(self.taken)?;
        (taken.at < first.at.saturating_add(FOUND_WITHIN)).then_some(first.index)
    }

    /// The newest report that makes sense: none goes behind it.
    pub(crate) fn newest(&self) -> Option<Report> {
        self.newest.or(self.taken)
    }

    /// What is known to have been missed at once, and not given up.
    pub(crate) fn shortfall(&self) -> Option<Shortfall> {
        let (taken, newest, burst) = (self.taken?, self.newest?, self.burst?);
        Some(Shortfall { behind: taken.index, to: newest.index, packets: burst.missed.packets })
    }

    /// Over which time its reports show that all has come that left, but for what is usual: from the first one on, or the last hole, until
    /// the last one, or a hole of which it is not known yet what becomes of it.
    pub(crate) fn unbroken(&self) -> Option<Between> {
        let (from, taken) = self.whole.zip(self.taken)?;
        let hole = self.burst.map(|burst| burst.missed.behind);
        Some(Between { from, to: hole.map_or(taken.at, |hole| hole.min(taken.at)) })
    }

    /// Takes a report that contradicts nothing. `first` is the first index that was sent, and whether what it has lost by its first report was
    /// lost since then the `beginning` says; `outgoing` counts what was sent of the
    /// source behind one index up to another, or was to be, and `kept` what of that was sent and is kept.
    pub(crate) fn take(
        &mut self,
        report: Report,
        first: u64,
        beginning: Beginning,
        repair: Repair,
        outgoing: impl Fn(u64, u64) -> Outgoing,
        kept: impl Fn(u64, u64) -> Passage,
    ) -> Finding {
        self.first.get_or_insert(report);
        self.whole.get_or_insert(report.at);
        let begin = Report { index: first.saturating_sub(1), lost: 0, at: report.at };
        let before = self.newest().unwrap_or(begin);
        if let Some(burst) = self.burst {
            // A judgement needs something to judge, and who was told has a moment to act.
            let since = burst.told.unwrap_or(before.at);
            let waits = report.at < since.saturating_add(AFTERMATH);
            if waits || burst.told.is_some() && repair == Repair::Suspended {
                return Finding::Nothing;
            }
        }
        let repaired = self.repair(before, report);
        let course = self.course(before, report, outgoing);
        match course {
            Course::Clean => self.streak.end(),
            Course::Lossy(_) | Course::Burst(_) => self.streak.go_on(report.at),
            Course::Idle | Course::Unknown => {}
        }
        match (self.burst, course) {
            (None, _) if repaired => {
                self.taken = Some(report);
                self.newest = None;
                Finding::Taken
            }
            (_, Course::Unknown) | (Some(_), Course::Idle) => Finding::Nothing,
            (None, Course::Idle) => {
                self.taken = Some(Report { at: report.at, ..before });
                Finding::Taken
            }
            (None, Course::Burst(missed))
                if !self.streak.is_lossy() && (self.taken.is_some() || beginning == Beginning::Known) =>
            {
                self.first_tells |= self.taken.is_none();
                self.taken.get_or_insert(Report { at: missed.behind, ..begin });
                self.burst = Some(Burst::told_by(report, missed));
                self.newest = Some(report);
                Finding::Nothing
            }
            (Some(Burst { missed, end, told: None, .. }), Course::Lossy(more) | Course::Burst(more))
                if !self.streak.is_lossy() =>
            {
                let end = if matches!(course, Course::Burst(_)) { report.index } else { end };
                self.burst = Some(Burst { end, ..Burst::told_by(report, missed.and(more)) });
                self.newest = Some(report);
                Finding::Nothing
            }
            (Some(burst @ Burst { missed, told: None, .. }), Course::Clean)
                if repair != Repair::Never && self.may_be_kept(kept) =>
            {
                self.burst = Some(Burst { told: Some(report.at), ..burst });
                self.newest = Some(report);
                Finding::Cut(missed, self.between(burst))
            }
            (Some(burst @ Burst { told: Some(_), .. }), Course::Burst(next)) => {
                // What was told of is over, and the way was clean behind it.
                let lost = self.lose(burst);
                self.burst = Some(Burst::told_by(report, next));
                self.taken = self.newest.replace(report);
                lost
            }
            (burst, course) => {
                let lost = burst.filter(|burst| burst.told.is_some() || course == Course::Clean);
                let lost = lost.map(|burst| self.lose(burst));
                self.taken = Some(report);
                (self.newest, self.burst) = (None, None);
                lost.unwrap_or(Finding::Taken)
            }
        }
    }

    /// Nothing more comes that could tell a cut from a lossy network: what was missed at once, between which reports, where that is not known
    /// and a part of it may be `kept`.
    pub(crate) fn conclude(&mut self, kept: impl Fn(u64, u64) -> Passage) -> Option<(Missed, Between)> {
        let newest = self.newest.filter(|_| self.may_be_kept(kept))?;
        let burst = self.burst.filter(|burst| burst.told.is_none())?;
        self.burst = Some(Burst { told: Some(newest.at), is_last: true, ..burst });
        Some((burst.missed, self.between(burst)))
    }

    /// Nothing more comes of the source: between which reports something was missed that nobody gets. Once.
    pub(crate) fn last_hole(&mut self) -> Option<Between> {
        let burst = self.burst.filter(|burst| !burst.is_last)?;
        self.burst = Some(Burst { is_last: true, ..burst });
        Some(self.between(burst))
    }

    /// What was missed at once and will not be sent again, since nothing more comes of the source.
    pub(crate) fn give_up(&mut self) -> Option<Missed> {
        self.burst.take().map(|burst| burst.missed)
    }

    /// A hole is over, and stays one.
    fn lose(&mut self, burst: Burst) -> Finding {
        self.whole = Some(burst.until);
        Finding::Lost(burst.missed, self.between(burst))
    }

    /// Between which reports it is.
    fn between(&self, Burst { until, .. }: Burst) -> Between {
        Between { from: self.taken.map_or(until, |taken| taken.at.min(until)), to: until }
    }

    /// Whether so much is kept of where a second or more was missed that it may be sent again: a living recorder is not left for less.
    fn may_be_kept(&self, kept: impl Fn(u64, u64) -> Passage) -> bool {
        let hole = self.taken.zip(self.burst);
        hole.is_some_and(|(taken, burst)| kept(taken.index, burst.end).is_stretch())
    }

    /// What the recorder has missed at once and got late, because it asked for it again (RFC 4585 §6.2.1), is no longer
    /// lost (RFC 3550 §6.4.1). Whether that leaves nothing to speak of.
    fn repair(&mut self, before: Report, report: Report) -> bool {
        let Some(Burst { missed, .. }) = &mut self.burst else { return false };
        let come = u64::try_from(lost_since(report, before).saturating_neg()).unwrap_or(0);
        let left = missed.packets.saturating_sub(come);
        let duration = u128::from(missed.duration) * u128::from(left) / u128::from(missed.packets.max(1));
        missed.duration = u64::try_from(duration).unwrap_or(u64::MAX);
        missed.packets = left;
        let is_over = come > 0 && (missed.packets < FEWEST || missed.duration < CUT);
        if is_over {
            self.burst = None;
        }
        is_over
    }

    fn course(&mut self, before: Report, report: Report, outgoing: impl Fn(u64, u64) -> Outgoing) -> Course {
        let expected = report.index.saturating_sub(before.index);
        if expected == 0 {
            return Course::Idle;
        }
        let Some(lost) = u64::try_from(lost_since(report, before)).ok().filter(|lost| *lost > 0) else {
            self.usual.note(0, expected);
            return Course::Clean;
        };
        if self.counted.is_some_and(|counted| report.at < counted.saturating_add(HASTE)) {
            return Course::Unknown;
        }
        self.counted = Some(report.at);
        // Whoever reports a highest number has received that packet.
        let Some(received) = expected.checked_sub(lost).filter(|received| *received > 0) else {
            return Course::Lossy(Missed::default());
        };
        let Outgoing { sent: passage, unsent } = outgoing(before.index, report.index);
        // What is no longer kept is not always known to the packet.
        let packets = passage.packets.saturating_sub(received).min(lost);
        // What never left is missing in the same hole.
        let missing = packets.saturating_sub(self.usual.of(passage.packets)) + unsent.packets;
        let is_burst = packets > 0 && missing >= FEWEST && passage.and(unsent).time_of(missing) >= CUT;
        self.usual.note(packets, passage.packets);
        let missed = Missed { packets, duration: passage.time_of(packets), behind: passage.start };
        match packets * LOSSY <= passage.packets {
            _ if is_burst => Course::Burst(missed),
            true => Course::Clean,
            false => Course::Lossy(missed),
        }
    }
}

/// How many more are lost than before. The counter wraps where a receiver does not hold it at its end (RFC 3550 §6.4.1).
fn lost_since(report: Report, before: Report) -> i32 {
    (report.lost.wrapping_sub(before.lost) << 8) >> 8
}
