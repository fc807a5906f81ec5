//! What has not come and is asked for again: generic NACK (RFC 4585 §6.2.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::reception::extend_sequence;

/// What is so much late has not only been overtaken.
const TOLERANCE: Duration = Duration::from_millis(25);
/// It is asked for again so long after it was, which is longer than it should take to come.
const REPEAT: Duration = Duration::from_millis(60);
/// And given up so long after it was missed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most packets of one source that are missed at once: of more, the newest.
const MOST_MISSED: usize = 512;
/// A packet this far before the first that came was sent before it, and lost.
const MOST_BEFORE: i64 = 128;
/// Most packets that one datagram asks for, and how long it is until the next.
const MOST_ASKED: usize = 256;
const APART: Duration = Duration::from_millis(20);
/// Sources of which anything is missed.
const SOURCES: usize = 8;

/// The holes in what has come of one stream.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    sources: Vec<Holes>,
    /// When the last datagram asked for anything.
    asked: Option<Instant>,
    /// Since when nothing should come.
    inactive: Option<Instant>,
    /// How many packets have come that were missed, and were asked for.
    pub(crate) repaired: u64,
}

/// Those of one source.
#[derive(Debug)]
struct Holes {
    ssrc: u32,
    lowest: i64,
    highest: i64,
    /// By number, the lowest first.
    holes: VecDeque<Hole>,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    sequence: i64,
    since: Instant,
    next: Instant,
    times: u32,
}

impl Missing {
    /// A packet has come.
    pub(crate) fn note(&mut self, ssrc: u32, sequence: u16, now: Instant) {
        let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) else {
            if self.sources.len() >= SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(Holes::new(ssrc, sequence));
            return;
        };
        self.repaired += u64::from(source.note(sequence, now));
    }

    /// Nothing should come from now on, or it should again: what is missed is not asked for meanwhile, and not given up.
    pub(crate) fn set_active(&mut self, active: bool, now: Instant) {
        if !active {
            self.inactive.get_or_insert(now);
        } else if let Some(since) = self.inactive.take() {
            let pause = now.saturating_duration_since(since);
            for hole in self.sources.iter_mut().flat_map(|source| &mut source.holes) {
                hole.since += pause;
                hole.next += pause;
            }
        }
    }

    /// When [`Missing::ask`] has something to say.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let holes = self.sources.iter().flat_map(|source| &source.holes);
        let next = holes.map(|hole| hole.next).min().filter(|_| self.inactive.is_none())?;
        Some(self.asked.map_or(next, |asked| next.max(asked + APART)))
    }

    /// What is to be asked for now, by source; nothing, mostly.
    pub(crate) fn ask(&mut self, now: Instant) -> Vec<(u32, Vec<u16>)> {
        if self.next_timeout().is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.asked = Some(now);
        let mut left = MOST_ASKED;
        let asked = self.sources.iter_mut().map(|source| (source.ssrc, source.ask(&mut left, now)));
        asked.filter(|(_, sequences)| !sequences.is_empty()).collect()
    }

    /// The source has left.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        self.sources.retain(|source| source.ssrc != ssrc);
    }
}

impl Holes {
    fn new(ssrc: u32, sequence: u16) -> Self {
        let sequence = i64::from(sequence);
        Self { ssrc, lowest: sequence, highest: sequence, holes: VecDeque::new() }
    }

    /// Whether it was missed, and had been asked for.
    fn note(&mut self, sequence: u16, now: Instant) -> bool {
        let Some(sequence) = extend_sequence(self.highest, sequence) else {
            // It has begun anew.
            *self = Self::new(self.ssrc, sequence);
            return false;
        };
        if sequence > self.highest {
            self.miss(self.highest + 1, sequence, now);
            self.highest = sequence;
        } else if sequence < self.lowest {
            if self.lowest - sequence <= MOST_BEFORE {
                // Who sends the first packet again knows that it is the first.
                let before = (sequence + 1..self.lowest).rev();
                before.for_each(|missed| self.holes.push_front(Hole::new(missed, now)));
                self.bound();
                self.lowest = sequence;
            }
        } else if let Ok(place) = self.holes.binary_search_by_key(&sequence, |hole| hole.sequence) {
            return self.holes.remove(place).is_some_and(|hole| hole.times > 0);
        }
        false
    }

    /// The numbers from `first` to before `end` have not come.
    fn miss(&mut self, first: i64, end: i64, now: Instant) {
        let first = first.max(end - MOST_MISSED as i64);
        self.holes.extend((first..end).map(|sequence| Hole::new(sequence, now)));
        self.bound();
    }

    fn bound(&mut self) {
        let beyond = self.holes.len().saturating_sub(MOST_MISSED);
        self.holes.drain(..beyond);
    }

    fn ask(&mut self, left: &mut usize, now: Instant) -> Vec<u16> {
        self.holes.retain(|hole| now < hole.since + PATIENCE);
        let mut asked = Vec::new();
        for hole in self.holes.iter_mut().filter(|hole| hole.next <= now) {
            if *left == 0 {
                break;
            }
            *left -= 1;
            hole.next = now + REPEAT;
            hole.times += 1;
            asked.push(hole.sequence as u16);
        }
        asked
    }
}

impl Hole {
    fn new(sequence: i64, now: Instant) -> Self {
        Self { sequence, since: now, next: now + TOLERANCE, times: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Packets that come at once, and the time.
    fn come(sequences: impl IntoIterator<Item = u16>) -> (Missing, Instant) {
        let now = Instant::now();
        let mut missing = Missing::default();
        sequences.into_iter().for_each(|sequence| missing.note(7, sequence, now));
        (missing, now)
    }

    fn asked(missing: &mut Missing, now: Instant) -> Vec<u16> {
        missing.ask(now).into_iter().flat_map(|(_, sequences)| sequences).collect()
    }

    #[test]
    fn what_has_not_come_is_asked_for_once_it_is_surely_late_and_again_until_it_comes() {
        let (mut missing, now) = come([65_534, 1, 2]);
        assert_eq!(asked(&mut missing, now + TOLERANCE - MS), [0; 0], "it may have been overtaken");
        assert_eq!(asked(&mut missing, now + TOLERANCE), [65_535, 0]);
        assert_eq!(missing.next_timeout(), Some(now + TOLERANCE + REPEAT));
        missing.note(7, 0, now + 50 * MS);
        missing.note(7, 0, now + 50 * MS);
        assert_eq!(asked(&mut missing, now + TOLERANCE + REPEAT), [65_535]);
        assert_eq!(missing.repaired, 1);
        let times = (0..4000).filter(|ms| !asked(&mut missing, now + 100 * MS + MS * *ms).is_empty()).count();
        assert_eq!((times, missing.next_timeout()), (31, None), "given up after two seconds");
    }

    #[test]
    fn what_is_overtaken_is_not_asked_for() {
        let (mut missing, now) = come([1, 3, 2, 4]);
        assert_eq!((missing.next_timeout(), missing.repaired), (None, 0));
        assert_eq!(asked(&mut missing, now + 10 * REPEAT), [0; 0]);
    }

    #[test]
    fn a_packet_before_the_first_that_came_shows_what_is_missing_between() {
        let (mut missing, now) = come([105, 106, 101]);
        assert_eq!(asked(&mut missing, now + REPEAT), [102, 103, 104]);
        missing.note(7, 103, now);
        assert_eq!(asked(&mut missing, now + 3 * REPEAT), [102, 104]);
    }

    #[test]
    fn datagrams_are_few_and_bounded_and_long_holes_too() {
        let (mut missing, now) = come([0, 2000]);
        let first = asked(&mut missing, now + TOLERANCE);
        assert_eq!((first.len(), first[0]), (MOST_ASKED, 2000 - MOST_MISSED as u16));
        assert_eq!(missing.next_timeout(), Some(now + TOLERANCE + APART));
        assert_eq!(asked(&mut missing, now + TOLERANCE + APART).len(), MOST_ASKED);
        missing.note(7, 40_000, now);
        assert_eq!(missing.next_timeout(), None, "it has begun anew");
        for ssrc in 0..100 {
            missing.note(ssrc, 1, now);
            missing.note(ssrc, 9, now);
        }
        assert_eq!(missing.sources.len(), SOURCES);
    }

    #[test]
    fn in_a_pause_nothing_is_asked_for_or_given_up() {
        let (mut missing, now) = come([1, 3]);
        missing.set_active(false, now + MS);
        assert_eq!((missing.next_timeout(), asked(&mut missing, now + REPEAT)), (None, vec![]));
        let resumed = now + Duration::from_secs(60);
        missing.set_active(true, resumed);
        assert_eq!(asked(&mut missing, resumed + TOLERANCE), [2]);
    }

    #[test]
    fn of_a_source_that_has_left_nothing_is_missed() {
        let (mut missing, _) = come([1, 3]);
        missing.forget(7);
        assert_eq!(missing.next_timeout(), None);
    }
}
