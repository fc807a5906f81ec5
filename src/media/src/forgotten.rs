//! What a recorder may not have, and can no longer be sent to another one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::entry::Entry;
use crate::receipts::Missed;

/// Losses that follow each other within this time are remembered as one, in nanoseconds.
const MERGE: u64 = 1_000_000_000;
/// So many are remembered; of more, the oldest two of a source become one.
const MOST: usize = 32;
/// Among so many sources that take turns, each has its stretch.
const AT_ONCE: usize = 4;

/// Packets that were sent and were thrown out of the ring before their recorder had acknowledged them.
///
/// They count as lost only if the recorder is, and only those that left after its last sign of life. So this remembers when
/// they left, as exactly as its bound allows: second by second, less so what was long ago.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    stretches: VecDeque<Stretch>,
}

/// Packets of one source that left one after the other.
#[derive(Debug)]
struct Stretch {
    newest: Entry,
    /// When the first of them came.
    came: u64,
    /// When the first and the last of them left, in nanoseconds since the branch was made.
    from: u64,
    to: u64,
    packets: u64,
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
        let of_source = |stretch: &&mut Stretch| stretch.newest.header.ssrc == entry.header.ssrc;
        let mut recent = self.stretches.iter_mut().rev().take(AT_ONCE);
        if let Some(last) = recent.find(of_source)
            && at.saturating_sub(last.from) < MERGE
        {
            last.newest = *entry;
            last.to = last.to.max(at);
            last.packets += 1;
            last.duration += duration;
            return;
        }
        // One allocation, in a stream's life.
        self.stretches.reserve(MOST.saturating_sub(self.stretches.len()));
        if self.stretches.len() >= MOST
            && let Some(oldest) = self.stretches.pop_front()
            && let Some(next) = self.next_of(oldest.newest.header.ssrc)
        {
            next.from = oldest.from;
            next.came = oldest.came;
            next.packets += oldest.packets;
            next.duration += oldest.duration;
        }
        let came = entry.times.arrival;
        self.stretches.push_back(Stretch { newest: *entry, came, from: at, to: at, packets: 1, duration });
    }

    /// The oldest stretch of a source, or of any.
    fn next_of(&mut self, ssrc: u32) -> Option<&mut Stretch> {
        let place = self.stretches.iter().position(|stretch| stretch.newest.header.ssrc == ssrc);
        self.stretches.get_mut(place.unwrap_or(0))
    }

    /// Forgets for good what a recorder has acknowledged.
    pub(crate) fn settle(&mut self, settled: impl Fn(&Entry) -> bool) {
        self.stretches.retain(|stretch| !settled(&stretch.newest));
    }

    /// The recorder is lost, and so is what is remembered here: of sources that it has `reported` on all, of others what
    /// left at `since` or later, in nanoseconds since the branch was made.
    pub(crate) fn take(&mut self, since: u64, reported: impl Fn(u32) -> bool) -> Lost {
        let lost = self.add_up(|stretch| {
            let from = if reported(stretch.newest.header.ssrc) { 0 } else { since };
            stretch.take_between(from, u64::MAX)
        });
        self.stretches.clear();
        lost
    }

    /// What left from `from` to `to`, in nanoseconds since the branch was made, was refused: it is lost whatever becomes of the
    /// recorder, and no longer remembered here.
    pub(crate) fn take_between(&mut self, from: u64, to: u64) -> Lost {
        self.add_up(|stretch| stretch.take_between(from, to))
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
    /// Takes out what left from `from` to `to`, as exactly as is remembered.
    fn take_between(&mut self, from: u64, to: u64) -> Lost {
        if to < self.from || self.to < from {
            return Lost::default();
        }
        let (first, last) = (from.max(self.from), to.min(self.to));
        let (start, end) = (self.start_of(self.part_after(first)), self.start_of(self.part_after(last)));
        let span = self.to - self.from;
        let part = if span == 0 { 1.0 } else { (last - first) as f64 / span as f64 };
        let packets = (self.packets as f64 * part).round() as u64;
        let duration = self.duration.mul_f64(part);
        self.packets -= packets.min(self.packets);
        self.duration = self.duration.saturating_sub(duration);
        // What is left lies behind it, or in front of it; on both sides it is remembered as one.
        if first == self.from && last < self.to {
            (self.from, self.came) = (last, end);
        } else if last == self.to && first > self.from {
            self.to = first;
        }
        Lost { packets, duration, start }
    }

    /// When the first packet of its last `part` came.
    fn start_of(&self, part: f64) -> u64 {
        let span = self.newest.times.arrival.saturating_sub(self.came);
        self.came + (span as f64 * (1.0 - part)) as u64
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
    use crate::entry::Times;
    use crate::rtp::RtpView;

    const SPACING: Duration = Duration::from_millis(20);

    fn entry(ssrc: u8, number: u64) -> Entry {
        let packet = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ssrc];
        let times = Times { arrival: number * 20_000_000, paused: 0 };
        Entry::arriving(&RtpView::parse(&packet).unwrap(), times)
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
        forgotten.settle(|entry| entry.header.ssrc == 1);
        assert_eq!(take(&mut forgotten, 0, false), lost(500), "what was acknowledged is one source's alone");
    }

    #[test]
    fn what_was_refused_is_taken_once_and_the_rest_stays() {
        for (from, to, refused) in
            [(100, 400, 300), (0, 250, 250), (250, 499, 249), (0, 600, 500), (600, 900, 0)]
        {
            let mut forgotten = of(0..500);
            let lost = forgotten.take_between(from * 20_000_000, to * 20_000_000);
            let is_near = |packets: u64, expected: u64| packets.abs_diff(expected) <= 2;
            assert!(is_near(lost.packets, refused), "{from} to {to}: {lost:?}");
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
        forgotten.settle(|entry| entry.header.ssrc == 1);
        assert_eq!(take(&mut forgotten, 0, false), lost(1));
    }
}
