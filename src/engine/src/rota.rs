//! Whose turn it is.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use siprec_model::StreamId;

/// How often the media thread looks at what cannot wait for its turn.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// How far apart turns may be. The work of a turn should be short: the threads of the call have to wait for it where there are few
/// processors.
const STEP: Duration = Duration::from_millis(2);
const STEPS_IN_TICK: u64 = (TICK.as_nanos() / STEP.as_nanos()) as u64;
/// Fewer streams than this are not worth a turn of their own where each has one in 100 ms: waking up costs more than their packets do.
/// Where a turn is of more time, fewer are.
const WORTH_A_TURN: u64 = 16;
const STEPS_OF_THAT: u64 = 50;

/// Shares the streams out among steps: each has its turn once in an interval, with all packets that have come for it
/// meanwhile. The more there are at once, the less each of them costs: its stream's state is looked up once, and the
/// kernel takes them as one payload. Many streams share the steps evenly, so that recorders get no larger bursts than with a
/// shorter interval; few of them have theirs together.
///
/// Some streams are *eager*: they have a turn in each tick, which is some steps.
#[derive(Debug)]
pub(crate) struct Rota {
    start: Instant,
    /// All streams, each with the step of an interval that its turns are in, in that order.
    members: Vec<(u64, StreamId)>,
    /// Some are not in their places.
    unsorted: bool,
    /// How many steps an interval has.
    steps: u64,
    /// Streams with the same number modulo this have their turns together: 1 to as many as there are steps.
    turns: u64,
    /// How many steps have passed since the start, at the last slice and at this one.
    before: u64,
    now: u64,
    eager: BTreeSet<StreamId>,
}

impl Rota {
    /// One turn in `interval`, which is at least a tick.
    pub(crate) fn new(interval: Duration, start: Instant) -> Self {
        let steps = steps(interval).max(1);
        let (members, eager) = (Vec::new(), BTreeSet::new());
        Self { start, members, unsorted: false, steps, turns: 1, before: 0, now: 0, eager }
    }

    /// Takes in a stream that it does not know yet.
    pub(crate) fn meet(&mut self, stream: StreamId) {
        self.members.push((0, stream));
        self.unsorted = true;
    }

    /// Begins a slice. In one that begins in the same step as the last one, none has a turn.
    pub(crate) fn advance(&mut self, now: Instant) {
        let worth =
            (self.members.len() as u64).saturating_mul(self.steps).div_ceil(WORTH_A_TURN * STEPS_OF_THAT);
        let turns = worth.clamp(1, self.steps);
        if std::mem::replace(&mut self.turns, turns) != turns || std::mem::take(&mut self.unsorted) {
            for (step, stream) in &mut self.members {
                *step = stream.as_raw() % turns * self.steps / turns;
            }
            self.members.sort_unstable();
        }
        self.before = self.now;
        self.now = self.now.max(steps(now.saturating_duration_since(self.start)));
    }

    /// Adds to `due` the streams that have their turns in this slice; one that is eager may come twice.
    pub(crate) fn collect_due(&self, due: &mut Vec<StreamId>) {
        let (before, now) = (self.before, self.now);
        if now - before >= self.steps {
            due.extend(self.members.iter().map(|(_, stream)| *stream));
            return;
        }
        // Since the last slice an interval has ended at most once.
        let (from, to) = (before % self.steps + 1, before % self.steps + now - before);
        let mut add = |from: u64, to: u64| {
            let start = self.members.partition_point(|(step, _)| *step < from);
            let theirs = self.members.get(start..).unwrap_or_default().iter();
            due.extend(theirs.take_while(|(step, _)| *step <= to).map(|(_, stream)| *stream));
        };
        add(from, to.min(self.steps - 1));
        if let Some(to) = to.checked_sub(self.steps) {
            add(0, to);
        }
        if now / STEPS_IN_TICK > before / STEPS_IN_TICK {
            due.extend(&self.eager);
        }
    }

    /// How long to wait for the next turn: half a step at least, an interval at most.
    pub(crate) fn until_turn(&self, now: Instant) -> Duration {
        let own = self.now % self.steps;
        // Before the first slice nobody has a place.
        let next = self.members.partition_point(|(step, _)| *step <= own);
        let steps = match (self.members.get(next), self.members.first()) {
            (Some((step, _)), _) => step - own,
            (None, Some((step, _))) => step + self.steps - own,
            (None, None) => self.steps - own,
        };
        let to_tick = STEPS_IN_TICK - self.now % STEPS_IN_TICK;
        let steps = if self.eager.is_empty() { steps } else { steps.min(to_tick) };
        let steps = u32::try_from(steps).unwrap_or(1);
        let begun = Duration::from_nanos(self.now.saturating_mul(STEP.as_nanos() as u64));
        let since = now.saturating_duration_since(self.start).saturating_sub(begun);
        (STEP * steps).saturating_sub(since).max(STEP / 2)
    }

    /// Whether a stream has a turn in each tick.
    pub(crate) fn set_eager(&mut self, stream: StreamId, eager: bool) {
        if eager {
            self.eager.insert(stream);
        } else if !self.eager.is_empty() {
            self.eager.remove(&stream);
        }
    }

    /// Forgets streams that are gone.
    pub(crate) fn retain(&mut self, is_there: impl Fn(StreamId) -> bool) {
        self.members.retain(|(_, stream)| is_there(*stream));
        self.eager.retain(|stream| is_there(*stream));
    }
}

/// Whole steps of a time.
fn steps(time: Duration) -> u64 {
    (time.as_nanos() / STEP.as_nanos()) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Which of the streams 0, 1, … have a turn.
    fn turns(rota: &Rota, streams: usize) -> Vec<bool> {
        let mut due = Vec::new();
        rota.collect_due(&mut due);
        (0..streams as u64).map(|stream| due.contains(&StreamId::from_raw(stream))).collect()
    }

    /// One with the streams 0, 1, …
    fn rota(interval: Duration, start: Instant, streams: usize) -> Rota {
        let mut rota = Rota::new(interval, start);
        (0..streams as u64).for_each(|stream| rota.meet(StreamId::from_raw(stream)));
        rota
    }

    proptest! {
        /// Whenever slices begin and however long they take, each stream has one turn in each interval.
        #[test]
        fn each_stream_has_its_turn_once_in_an_interval(
            interval in 10_u64..150,
            streams in 1_usize..400,
            waits in prop::collection::vec(0_u64..35, 1..100),
        ) {
            let start = Instant::now();
            let mut rota = rota(Duration::from_millis(interval), start, streams);
            let steps = interval / 2;
            // The step of each stream's last turn.
            let mut last = vec![0; streams];
            let (mut ms, mut before) = (0, 0);
            for wait in waits {
                ms += wait;
                rota.advance(start + Duration::from_millis(ms));
                let step = ms / 2;
                for (last, has_turn) in last.iter_mut().zip(turns(&rota, streams)) {
                    // Its own step lies behind the last slice, and not behind this one.
                    let earliest = if *last == 0 { 1 } else { *last - *last % steps };
                    prop_assert!(!has_turn || step > before && step >= earliest);
                    if has_turn {
                        *last = step;
                    }
                    prop_assert!(step - *last < steps.max(2) + 18, "{step} {last}");
                }
                prop_assert!(step - before < steps || turns(&rota, streams).iter().all(|turn| *turn));
                before = step;
            }
        }

        /// Who sleeps until the next turn misses none, and does not wake up in vain.
        #[test]
        fn the_next_turn_is_told(ms in 0_u64..300, streams in 1_usize..200) {
            let start = Instant::now();
            let mut rota = rota(Duration::from_millis(100), start, streams);
            let at = start + Duration::from_millis(ms);
            rota.advance(at);
            let wait = rota.until_turn(at);
            prop_assert!(wait >= STEP / 2 && wait <= STEP * 50);
            let early = at + wait - Duration::from_millis(1);
            if early < at + wait && wait > STEP / 2 {
                rota.advance(early);
                prop_assert!(!turns(&rota, streams).contains(&true));
                rota.advance(at + wait);
                prop_assert!(turns(&rota, streams).contains(&true));
            }
        }
    }

    #[test]
    fn many_streams_share_the_interval_and_few_have_their_turns_together() {
        let start = Instant::now();
        for (streams, most, busy) in [(1, 1, 1), (16, 16, 1), (40, 14, 3), (160, 16, 10), (1000, 20, 50)] {
            let mut rota = rota(Duration::from_millis(100), start, streams);
            rota.advance(start);
            let slices = (1..=50).map(|step| {
                rota.advance(start + STEP * step);
                turns(&rota, streams).iter().filter(|turn| **turn).count()
            });
            let slices = slices.collect::<Vec<_>>();
            assert_eq!(slices.iter().sum::<usize>(), streams, "{slices:?}");
            assert_eq!(slices.iter().max(), Some(&most), "{slices:?}");
            assert_eq!(slices.iter().filter(|slice| **slice > 0).count(), busy, "{slices:?}");
        }
    }

    #[test]
    fn an_eager_stream_has_a_turn_in_each_tick() {
        let start = Instant::now();
        let mut rota = rota(Duration::from_millis(100), start, 2);
        let [first, second] = [0, 1].map(StreamId::from_raw);
        rota.set_eager(second, true);
        rota.advance(start);
        assert_eq!(rota.until_turn(start), TICK);
        rota.advance(start + TICK);
        assert_eq!(turns(&rota, 2), [false, true]);
        rota.set_eager(second, false);
        assert_eq!(turns(&rota, 2), [false, false]);
        rota.set_eager(second, true);
        rota.retain(|stream| stream == first);
        assert_eq!(turns(&rota, 2), [false, false]);
        rota.set_eager(second, true);
        rota.advance(start + TICK + STEP);
        assert_eq!(turns(&rota, 2), [false, false], "more often is of no use");
        assert_eq!(rota.until_turn(start + TICK + STEP), TICK - STEP);
    }
}
