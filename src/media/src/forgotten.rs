//! What a recorder may not have, and can no longer be sent to another one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::entry::{Entry, Times};
use crate::receipts::{Missed, Passage, Shortfall};

/// Losses that follow each other within this time are remembered as one, in nanoseconds.
const MERGE: u64 = 1_000_000_000;
/// So many are remembered; of more, the oldest two of a source become one.
const MOST: usize = 32;
/// Among so many sources that take turns, each has its stretch.
const AT_ONCE: usize = 4;
/// What leaves within this time is one part of its stretch, in nanoseconds.
const PART: u64 = MERGE / PARTS as u64;
const PARTS: usize = 20;

/// Packets that were sent and were thrown out of the ring before their recorder had acknowledged them.
///
/// They count as lost only if the recorder is, and only those that left after its last sign of life, or where its reports say that
/// they have not come. So this remembers when they left, and under which indices, as exactly as its bound allows: by twentieths
/// of a second, and less so what was long ago.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    stretches: VecDeque<Stretch>,
}

/// Packets of one source that left one after the other.
#[derive(Debug)]
struct Stretch {
    ssrc: u32,
    /// The lowest and the highest index under which one of them left, the low 32 bits.
    lowest: u32,
    highest: u32,
    /// When the first and the last of them came.
    came: Times,
    last_came: Times,
    /// When the first and the last of them left, in nanoseconds since the branch was made.
    from: u64,
    to: u64,
    packets: u64,
    /// How many of them left in each part of a second from the first one on, as far as that was counted. Where all are 0 it is not
    /// known any more.
    parts: [u8; PARTS],
    duration: Duration,
}

/// A hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) packets: u64,
    pub(crate) duration: Duration,
    /// When the first packet came, in nanoseconds since the branch was made.
    pub(crate) start: u64,
}

impl Lost {
    /// One packet more, after which the stream goes on `duration` later.
    pub(crate) fn add(&mut self, entry: &Entry, duration: Duration) {
        let came = entry.times.arrival;
        self.start = if self.packets == 0 { came } else { self.start.min(came) };
        self.packets += 1;
        self.duration += duration;
    }
}

impl From<Missed> for Lost {
    fn from(missed: Missed) -> Self {
        let Missed { packets, duration, behind } = missed;
        Self { packets, duration: Duration::from_nanos(duration), start: behind }
    }
}

impl Forgotten {
    /// Remembers a packet, after which the stream goes on `duration` later.
    pub(crate) fn note(&mut self, entry: &Entry, duration: Duration) {
        let at = entry.left_at();
        let ssrc = entry.header.ssrc;
        let of_source = |stretch: &&mut Stretch| stretch.ssrc == ssrc;
        let mut recent = self.stretches.iter_mut().rev().take(AT_ONCE);
        if let Some(last) = recent.find(of_source)
            && at.saturating_sub(last.from) < MERGE
        {
            last.add(entry, duration);
            return;
        }
        // One allocation, in a stream's life.
        self.stretches.reserve(MOST.saturating_sub(self.stretches.len()));
        if self.stretches.len() >= MOST
            && let Some(oldest) = self.stretches.pop_front()
            && let Some(next) = self.next_of(oldest.ssrc)
        {
            next.from = oldest.from;
            next.came = oldest.came;
            if next.ssrc == oldest.ssrc {
                next.lowest = oldest.lowest;
            }
            next.packets += oldest.packets;
            next.parts = [0; PARTS];
            next.duration += oldest.duration;
        }
        self.stretches.push_back(Stretch::of(entry, duration));
    }

    /// The oldest stretch of a source, or of any.
    fn next_of(&mut self, ssrc: u32) -> Option<&mut Stretch> {
        let place = self.stretches.iter().position(|stretch| stretch.ssrc == ssrc);
        self.stretches.get_mut(place.unwrap_or(0))
    }

    /// Forgets for good what a recorder has `acknowledged` of each source: all up to an index.
    pub(crate) fn settle(&mut self, acknowledged: impl Fn(u32) -> Option<u64>) {
        self.stretches.retain_mut(|stretch| {
            if let Some(index) = acknowledged(stretch.ssrc) {
                stretch.forget_up_to(index);
            }
            stretch.packets > 0
        });
    }

    /// What is remembered of a source behind an index up to another one; rather too many packets than too few.
    pub(crate) fn sent_between(&self, ssrc: u32, behind: u64, to: u64) -> Passage {
        let mut passage = Passage::default();
        for stretch in self.stretches.iter().filter(|stretch| stretch.ssrc == ssrc) {
            stretch.pass(behind, to, &mut passage);
        }
        passage
    }

    /// Of a source not all has failed to come between two indices: what is more than that is forgotten for good, the newest first, since
    /// the hole may begin with the oldest.
    pub(crate) fn limit(&mut self, ssrc: u32, shortfall: Shortfall) {
        let Shortfall { behind, to, packets } = shortfall;
        let mut excess = self.sent_between(ssrc, behind, to).packets.saturating_sub(packets);
        for stretch in self.stretches.iter_mut().rev().filter(|stretch| stretch.ssrc == ssrc) {
            let come = stretch.packets_between(behind, to).min(excess);
            stretch.keep(stretch.packets - come);
            excess -= come;
        }
        self.stretches.retain(|stretch| stretch.packets > 0);
    }

    /// The recorder is lost, and so is what is remembered here: of sources that it has `reported` on all, of others what
    /// left at `since` or later, in nanoseconds since the branch was made; rather too many packets than too few.
    pub(crate) fn take(&mut self, since: u64, reported: impl Fn(u32) -> bool) -> Lost {
        let lost = self.add_up(|stretch| {
            let from = if reported(stretch.ssrc) { 0 } else { since };
            stretch.take_since(from)
        });
        self.stretches.clear();
        lost
    }

    /// What left from `from` to `to`, in nanoseconds since the branch was made, was refused: it is lost whatever becomes of the
    /// recorder, and no longer remembered here; rather too many packets than too few.
    pub(crate) fn take_between(&mut self, from: u64, to: u64) -> Lost {
        self.take_of(|_| true, from, to)
    }

    /// The same of some sources.
    pub(crate) fn take_of(&mut self, is_it: impl Fn(u32) -> bool, from: u64, to: u64) -> Lost {
        self.add_up(
            |stretch| if is_it(stretch.ssrc) { stretch.take_between(from, to) } else { Lost::default() },
        )
    }

    /// What is taken of all stretches together. One that is taken whole is forgotten.
    fn add_up(&mut self, take: impl Fn(&mut Stretch) -> Lost) -> Lost {
        let mut lost = Lost::default();
        self.stretches.retain_mut(|stretch| {
            let taken = take(stretch);
            if lost.packets == 0 {
                lost.start = taken.start;
            }
            lost.packets += taken.packets;
            lost.duration += taken.duration;
            stretch.packets > 0
        });
        lost
    }
}

impl Stretch {
    fn of(entry: &Entry, duration: Duration) -> Self {
        let (ssrc, index, came, at) = (entry.header.ssrc, entry.index(), entry.times, entry.left_at());
        Self {
            ssrc,
            lowest: index,
            highest: index,
            came,
            last_came: came,
            from: at,
            to: at,
            packets: 1,
            parts: std::array::from_fn(|part| u8::from(part == 0)),
            duration,
        }
    }

    fn add(&mut self, entry: &Entry, duration: Duration) {
        let index = entry.index();
        if index.wrapping_sub(self.lowest).cast_signed() < 0 {
            self.lowest = index;
        } else if index.wrapping_sub(self.highest).cast_signed() > 0 {
            self.highest = index;
        }
        self.last_came = entry.times;
        let at = entry.left_at();
        let part = self.part_of(at);
        if let Some(part) = self.parts.get_mut(part) {
            *part = part.saturating_add(1);
        }
        self.to = self.to.max(at);
        self.packets += 1;
        self.duration += duration;
    }

    /// How many indices it has: as many as packets, unless the call itself has lost some.
    fn width(&self) -> u64 {
        u64::from(self.highest.wrapping_sub(self.lowest)) + 1
    }

    /// How many of its indices are that one or an earlier one.
    fn up_to(&self, index: u64) -> u64 {
        let offset = i64::from((index as u32).wrapping_sub(self.lowest).cast_signed());
        u64::try_from(offset + 1).unwrap_or(0).min(self.width())
    }

    /// How many of its packets left behind an index up to another one, at most: it is not known which of its indices the call has lost.
    fn packets_between(&self, behind: u64, to: u64) -> u64 {
        self.up_to(to).saturating_sub(self.up_to(behind)).min(self.packets)
    }

    /// Adds what left behind an index up to another one.
    fn pass(&self, behind: u64, to: u64, passage: &mut Passage) {
        let packets = self.packets_between(behind, to);
        if packets > 0 {
            let (first, end) = (self.up_to(behind), self.up_to(to));
            passage.add_many(packets, self.came_at(first), self.came_at(end - 1));
        }
    }

    /// When about that of its indices came.
    fn came_at(&self, place: u64) -> Times {
        Times {
            arrival: self.part_way(self.came.arrival, self.last_came.arrival, place),
            paused: self.part_way(self.came.paused, self.last_came.paused, place),
        }
    }

    /// What is as far between two moments as that of its indices between the first and the last.
    fn part_way(&self, from: u64, to: u64, place: u64) -> u64 {
        let way = u128::from(to.saturating_sub(from)) * u128::from(place);
        from + u64::try_from(way / u128::from(self.width().saturating_sub(1).max(1))).unwrap_or(0)
    }

    /// Forgets what left up to this index.
    fn forget_up_to(&mut self, index: u64) {
        let gone = self.up_to(index);
        if gone == 0 {
            return;
        }
        self.keep(self.packets.min(self.width() - gone));
        self.came = self.came_at(gone);
        self.from = self.part_way(self.from, self.to, gone);
        self.parts = [0; PARTS];
        self.lowest = self.lowest.wrapping_add(gone as u32);
    }

    /// Only so many of its packets count from now on.
    fn keep(&mut self, packets: u64) {
        let part = packets as f64 / self.packets.max(1) as f64;
        (self.packets, self.duration) = (packets, self.duration.mul_f64(part));
    }

    /// In which of its parts that is which left then.
    fn part_of(&self, at: u64) -> usize {
        usize::try_from(at.saturating_sub(self.from) / PART).unwrap_or(PARTS).min(PARTS - 1)
    }

    /// How many left at `since` or later, at most: packets may leave many at once.
    fn left_since(&self, since: u64) -> u64 {
        if since <= self.from {
            return self.packets;
        }
        if since > self.to {
            return 0;
        }
        if self.parts.iter().all(|part| *part == 0) {
            return ((self.packets as f64 * self.part_after(since)).ceil() as u64).max(1).min(self.packets);
        }
        // What is counted in no part may have left at any time.
        let earlier: u64 = self.parts.iter().take(self.part_of(since)).map(|part| u64::from(*part)).sum();
        self.packets.saturating_sub(earlier)
    }

    /// Takes out what left at `since` or later.
    fn take_since(&mut self, since: u64) -> Lost {
        let packets = self.left_since(since);
        let (start, duration) = (self.start_of(self.part_after(since)), self.duration);
        self.keep(self.packets - packets);
        Lost { packets, duration: duration.saturating_sub(self.duration), start }
    }

    /// Takes out what left from `from` to `to`; rather too many packets than too few.
    fn take_between(&mut self, from: u64, to: u64) -> Lost {
        if to < self.from || self.to < from {
            return Lost::default();
        }
        let (first, last) = (from.max(self.from), to.min(self.to));
        let start = self.start_of(self.part_after(first));
        let (all, whole) = (self.packets, self.duration);
        let taken = if self.parts.iter().all(|part| *part == 0) {
            self.shorten(first, last)
        } else {
            // What is counted in no part may have left at any time.
            let (first, last) = (self.part_of(first), self.part_of(last));
            let parts = self.parts.iter_mut().enumerate();
            parts.filter(|(part, _)| (first..=last).contains(part)).for_each(|(_, packets)| *packets = 0);
            all - self.parts.iter().map(|part| u64::from(*part)).sum::<u64>()
        };
        self.keep(all - taken);
        Lost { packets: taken, duration: whole.saturating_sub(self.duration), start }
    }

    /// How many left from `first` to `last`, where it is not known when: what remains lies behind it, or in front of it, or on both sides.
    fn shorten(&mut self, first: u64, last: u64) -> u64 {
        let span = self.to - self.from;
        let part = if span == 0 { 1.0 } else { (last - first) as f64 / span as f64 };
        if first == self.from && last < self.to {
            (self.from, self.came.arrival) = (last, self.start_of(self.part_after(last)));
        } else if last == self.to && first > self.from {
            self.to = first;
        }
        ((self.packets as f64 * part).ceil() as u64).clamp(1, self.packets)
    }

    /// When the first packet of its last `part` came.
    fn start_of(&self, part: f64) -> u64 {
        let span = self.last_came.arrival.saturating_sub(self.came.arrival);
        self.came.arrival + (span as f64 * (1.0 - part)) as u64
    }

    /// How much of it left at `since` or later, 0 to 1.
    fn part_after(&self, since: u64) -> f64 {
        if since <= self.from {
            1.0
        } else if since > self.to {
            0.0
        } else {
            (self.to - since) as f64 / (self.to - self.from) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Left;
    use crate::rtp::RtpView;

    const SPACING: Duration = Duration::from_millis(20);

    fn entry(ssrc: u8, number: u64) -> Entry {
        entry_at(ssrc, number, number * 20_000_000)
    }

    fn entry_at(ssrc: u8, number: u64, arrival: u64) -> Entry {
        let packet = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ssrc];
        let times = Times { arrival, paused: 0 };
        let left = Left { index: number, at: times, afresh: false, waited: false };
        Entry::arriving(&RtpView::parse(&packet).unwrap(), times).left(left)
    }

    fn of(packets: std::ops::Range<u64>) -> Forgotten {
        let mut forgotten = Forgotten::default();
        packets.for_each(|number| forgotten.note(&entry(1, number), SPACING));
        forgotten
    }

    fn lost(packets: u64) -> (u64, Duration) {
        (packets, SPACING * packets as u32)
    }

    fn take(forgotten: &mut Forgotten, since: u64, reported: bool) -> (u64, Duration) {
        let Lost { packets, duration, .. } = forgotten.take(since, |_| reported);
        (packets, duration)
    }

    #[test]
    fn what_left_after_the_last_sign_of_life_is_lost() {
        for (since, expected) in [(0, 500), (500, 0), (250, 250), (100, 400)] {
            assert_eq!(take(&mut of(0..500), since * 20_000_000, false), lost(expected), "since {since}");
        }
        assert_eq!(take(&mut of(0..500), 400 * 20_000_000, true), lost(500));
    }

    #[test]
    fn of_packets_that_leave_many_at_once_none_is_missing() {
        // Pauses, bursts and key frames: when each of them leaves, in milliseconds.
        let left: Vec<u64> =
            (0..600).map(|number| number / 40 * 700 + number % 40 * (number % 40) / 4).collect();
        for since in (0..11_000).step_by(17) {
            let mut forgotten = Forgotten::default();
            for (number, ms) in (0..).zip(&left) {
                forgotten.note(&entry_at(1, number, ms * 1_000_000), SPACING);
            }
            let after = |ms: u64| left.iter().filter(|left| **left >= ms).count() as u64;
            let (packets, _) = take(&mut forgotten, since * 1_000_000, false);
            let most = after(since.saturating_sub(PART / 1_000_000));
            assert!((after(since)..=most).contains(&packets), "since {since}: {packets} of {}", after(since));
        }
    }

    #[test]
    fn what_is_lost_begins_where_the_recorder_was_last_alive() {
        let start = |since: u64| of(0..500).take(since * 20_000_000, |_| false).start / 20_000_000;
        assert_eq!((start(0), start(250), start(333)), (0, 250, 333));
        assert_eq!(of(0..500).take(u64::MAX, |_| true).start, 0);
    }

    #[test]
    fn little_is_remembered_and_recent_things_exactly() {
        let mut forgotten = of(0..200_000);
        assert!(forgotten.stretches.len() <= MOST);
        assert_eq!(take(&mut forgotten, 199_000 * 20_000_000, false), lost(1000));
        assert_eq!(take(&mut forgotten, 0, true), lost(0), "told once");
        assert_eq!(take(&mut of(0..200_000), 0, false), lost(200_000));
    }

    #[test]
    fn sources_that_take_turns_are_remembered_each_for_itself() {
        let mut forgotten = Forgotten::default();
        (0..1000).for_each(|number| forgotten.note(&entry(1 + (number % 2) as u8, number), SPACING));
        forgotten.settle(|ssrc| (ssrc == 1).then_some(1000));
        assert_eq!(take(&mut forgotten, 0, false), lost(500), "what was acknowledged is one source's alone");
    }

    #[test]
    fn what_was_refused_is_taken_once_and_the_rest_stays() {
        for (from, to, refused) in
            [(100, 400, 300), (0, 250, 250), (250, 499, 249), (0, 600, 500), (600, 900, 0)]
        {
            let mut forgotten = of(0..500);
            let lost = forgotten.take_between(from * 20_000_000, to * 20_000_000);
            // Twice a twentieth of a second more.
            assert!((refused..=refused + 4).contains(&lost.packets), "{from} to {to}: {lost:?}");
            assert_eq!(lost.start / 20_000_000, if refused == 0 { 0 } else { from }, "{from} to {to}");
            let again = forgotten.take_between(from * 20_000_000, to * 20_000_000).packets;
            assert!(again <= 2, "{from} to {to}: {again} once more");
            let (rest, _) = take(&mut forgotten, 0, false);
            assert_eq!(lost.packets + again + rest, 500, "each is told of once");
        }
    }

    #[test]
    fn what_was_acknowledged_is_not_lost() {
        let mut forgotten = of(0..500);
        forgotten.note(&entry(2, 500), SPACING);
        forgotten.settle(|ssrc| (ssrc == 1).then_some(499));
        assert_eq!(take(&mut forgotten, 0, false), lost(1));
    }

    #[test]
    fn of_what_was_acknowledged_in_part_the_rest_is_remembered_to_the_packet() {
        for acknowledged in [0, 49, 50, 51, 98, 100, 317, 498, 499] {
            let mut forgotten = of(0..500);
            forgotten.settle(|_| Some(acknowledged));
            let rest = forgotten.take(0, |_| true);
            assert_eq!((rest.packets, rest.duration), lost(499 - acknowledged), "up to {acknowledged}");
            let start = if acknowledged == 499 { 0 } else { acknowledged + 1 };
            assert_eq!(rest.start / 20_000_000, start, "up to {acknowledged}");
        }
    }

    #[test]
    fn it_is_known_how_many_left_between_two_indices_and_when_they_came() {
        let forgotten = of(0..500);
        for (behind, to) in [(0, 499), (49, 51), (75, 76), (99, 230), (480, 700), (500, 700), (99, 99)] {
            let passage = forgotten.sent_between(1, behind, to);
            let packets = to.min(499).saturating_sub(behind);
            assert_eq!(passage.packets, packets, "behind {behind} up to {to}");
            assert_eq!(passage.span() / 20_000_000, packets.saturating_sub(1), "behind {behind} up to {to}");
            let start = if packets == 0 { 0 } else { behind + 1 };
            assert_eq!(passage.start / 20_000_000, start, "behind {behind} up to {to}");
        }
        assert_eq!(forgotten.sent_between(2, 0, 499), Passage::default());
    }

    #[test]
    fn what_the_call_has_lost_is_never_taken_for_too_few_packets() {
        let mut forgotten = Forgotten::default();
        let left: Vec<u64> = (0..500).filter(|number| number % 7 != 3).collect();
        left.iter().for_each(|number| forgotten.note(&entry(1, *number), SPACING));
        for (behind, to) in [(10, 480), (99, 149), (120, 125)] {
            let sent = left.iter().filter(|number| (behind + 1..=to).contains(*number)).count() as u64;
            let passage = forgotten.sent_between(1, behind, to);
            assert!(passage.packets >= sent, "behind {behind} up to {to}");
            assert!(
                passage.packets - sent <= 14,
                "behind {behind} up to {to}: {} of {sent}",
                passage.packets
            );
        }
    }

    #[test]
    fn no_more_is_lost_than_reports_say_and_what_they_do_not_speak_of() {
        for (packets, rest) in [(0, 250), (1, 251), (100, 350), (200, 450), (300, 450)] {
            let mut forgotten = of(0..500);
            forgotten.settle(|_| Some(49));
            forgotten.limit(1, Shortfall { behind: 49, to: 249, packets });
            let expected = lost(rest);
            assert_eq!(take(&mut forgotten, 0, true), expected, "{packets} have not come");
        }
    }
}
