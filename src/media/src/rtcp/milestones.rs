//! When the packets of a branch left, for as long as no report has acknowledged them.

use std::time::{Duration, Instant};

use crate::Branch;

/// So fine it is known, of what left lately.
const STEP: Duration = Duration::from_millis(100);
/// Marks of a source. Where there would be more, every other one goes: of what has long been unacknowledged it is known as much
/// more roughly.
const MOST: usize = 64;

/// When packets left, a mark for some of them.
#[derive(Debug, Default)]
pub(crate) struct Milestones {
    sources: Vec<Source>,
}

/// When a packet had left, and for how long nothing had been meant to be sent until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) at: Instant,
    pub(crate) rested: Duration,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    /// What the times of its marks are counted from.
    start: Instant,
    /// The last one is of the last packet.
    marks: Vec<Mark>,
    step: Duration,
}

/// All up to this index had left. Times in nanoseconds: a stream has many of these.
#[derive(Clone, Copy, Debug)]
struct Mark {
    index: u64,
    at: u64,
    rested: u64,
}

impl Milestones {
    /// Packets of the branch may have left. `rested` is for how long nothing was meant to be sent.
    pub(crate) fn note(&mut self, branch: &Branch, rested: Duration, now: Instant) {
        let left = Left { at: now, rested };
        for ssrc in branch.senders().map(|sender| sender.ssrc) {
            let Some(index) = branch.highest_sent(ssrc) else { continue };
            match self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
                Some(source) => source.note(index, left),
                None => self.sources.push(Source::new(ssrc, index, left)),
            }
        }
    }

    /// Sources that have given their place away are not asked for any more.
    pub(crate) fn forget_gone(&mut self, branch: &Branch) {
        self.sources.retain(|source| branch.senders().any(|sender| sender.ssrc == source.ssrc));
    }

    /// When a packet had left by its index, or one that left later than that by a step at most; None where it has not.
    pub(crate) fn left(&self, ssrc: u32, index: u64) -> Option<Left> {
        let source = self.sources.iter().find(|source| source.ssrc == ssrc)?;
        source.marks.iter().find(|mark| mark.index >= index).map(|mark| source.left(mark))
    }

    /// When the last packet of a source left.
    pub(crate) fn last(&self, ssrc: u32) -> Option<Instant> {
        let source = self.sources.iter().find(|source| source.ssrc == ssrc)?;
        source.marks.last().map(|mark| source.left(mark).at)
    }

    /// What left up to this index is not asked for any more.
    pub(crate) fn acknowledge(&mut self, ssrc: u32, index: u64) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
            let last = source.marks.last().map(|mark| mark.index);
            source.marks.retain(|mark| mark.index > index || Some(mark.index) == last);
            source.step = STEP;
        }
    }
}

impl Source {
    fn new(ssrc: u32, index: u64, left: Left) -> Self {
        let mut source = Self { ssrc, start: left.at, marks: Vec::with_capacity(MOST), step: STEP };
        source.note(index, left);
        source
    }

    fn left(&self, mark: &Mark) -> Left {
        Left { at: self.start + Duration::from_nanos(mark.at), rested: Duration::from_nanos(mark.rested) }
    }

    fn note(&mut self, index: u64, left: Left) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = nanos(left.at.saturating_duration_since(self.start));
        let mark = Mark { index, at, rested: nanos(left.rested) };
        match self.marks.as_mut_slice() {
            [.., last] if last.index == mark.index => return,
            // Numbers begin anew.
            [.., last] if last.index > mark.index => self.marks.clear(),
            [.., before, last] if mark.at <= before.at.saturating_add(nanos(self.step)) => {
                *last = mark;
                return;
            }
            _ => {}
        }
        if self.marks.len() >= MOST {
            let mut place = 0;
            self.marks.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.step *= 2;
        }
        self.marks.push(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet each 20 ms.
    fn source(packets: u64, start: Instant) -> Source {
        let left =
            |index| Left { at: start + Duration::from_millis(20) * index as u32, rested: Duration::ZERO };
        let mut source = Source::new(7, 0, left(0));
        (1..=packets).for_each(|index| source.note(index, left(index)));
        source
    }

    #[test]
    fn it_is_known_when_a_packet_left_to_a_step_and_after_a_while_more_roughly_but_never_too_early() {
        let start = Instant::now();
        for (packets, roughly) in [(250, 100), (600, 200), (1_200, 400), (180_000, 102_400)] {
            let milestones = Milestones { sources: vec![source(packets, start)] };
            assert!(milestones.sources[0].marks.len() <= MOST);
            for index in (0..=packets).step_by(37) {
                let left = milestones.left(7, index).unwrap().at.duration_since(start).as_millis() as u64;
                assert!((20 * index..=20 * index + roughly).contains(&left), "{index} of {packets}: {left}");
            }
            assert_eq!(milestones.left(7, packets + 1), None);
            assert_eq!(milestones.last(7), Some(start + Duration::from_millis(20 * packets)));
        }
    }

    #[test]
    fn what_is_acknowledged_makes_room_for_what_is_not() {
        let start = Instant::now();
        let mut milestones = Milestones { sources: vec![source(600, start)] };
        milestones.acknowledge(7, 600);
        assert_eq!(milestones.sources[0].marks.len(), 1);
        assert_eq!(milestones.sources[0].step, STEP);
    }
}
