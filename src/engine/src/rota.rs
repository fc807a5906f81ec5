//! Whose turn it is.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use siprec_model::StreamId;

/// How often the media thread looks at what cannot wait for its turn.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Fewer streams than this are not worth a turn of their own: waking up costs more than they do.
const WORTH_A_TURN: u64 = 16;

/// Shares the streams out among ticks: each has its turn once in an interval, with all packets that have come for it
/// meanwhile. The more there are at once, the less each of them costs: its stream's state is looked up once, and the
/// kernel takes them as one payload. Many streams share the ticks evenly, so that recorders get no larger bursts than with a
/// shorter interval; few of them have theirs together.
///
/// Some streams are *eager*: they have a turn in each tick.
#[derive(Debug)]
pub(crate) struct Rota {
    start: Instant,
    /// How many ticks an interval has.
    ticks: u64,
    /// Streams with the same number modulo this have their turns together: 1 to as many as there are ticks.
    turns: u64,
    /// How many ticks have passed since the start, at the last slice and at this one.
    before: u64,
    now: u64,
    eager: BTreeSet<StreamId>,
}

impl Rota {
    /// One turn in `interval`, which is at least a tick.
    pub(crate) fn new(interval: Duration, start: Instant) -> Self {
        let ticks = ticks(interval).max(1);
        Self { start, ticks, turns: 1, before: 0, now: 0, eager: BTreeSet::new() }
    }

    /// Begins a slice among so many streams. In one that begins in the same tick as the last one, only eager streams have a
    /// turn.
    pub(crate) fn advance(&mut self, now: Instant, streams: usize) {
        self.turns = (streams as u64).div_ceil(WORTH_A_TURN).clamp(1, self.ticks);
        self.before = self.now;
        self.now = self.now.max(ticks(now.saturating_duration_since(self.start)));
    }

    /// Whether a stream has its turn in this slice.
    pub(crate) fn is_turn_of(&self, stream: StreamId) -> bool {
        let passed = self.now.saturating_sub(self.before);
        self.ticks_after(self.before, stream.as_raw() % self.turns) <= passed || self.eager.contains(&stream)
    }

    /// How long to wait for the next turn: half a tick at least, an interval at most.
    pub(crate) fn until_turn(&self, now: Instant) -> Duration {
        let turns = 0..self.turns;
        let ticks = turns.map(|turn| self.ticks_after(self.now, turn)).min().unwrap_or(1);
        let ticks = if self.eager.is_empty() { ticks } else { 1 };
        let ticks = u32::try_from(ticks).unwrap_or(1);
        let since = now.saturating_duration_since(self.start + TICK * self.now as u32);
        (TICK * ticks).saturating_sub(since).max(TICK / 2)
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
        self.eager.retain(|stream| is_there(*stream));
    }

    /// How many ticks after this one it is this turn: 1 to as many as an interval has.
    fn ticks_after(&self, tick: u64, turn: u64) -> u64 {
        let own = turn * self.ticks / self.turns;
        (own + self.ticks - (tick + 1) % self.ticks) % self.ticks + 1
    }
}

/// Whole ticks of a time.
fn ticks(time: Duration) -> u64 {
    (time.as_nanos() / TICK.as_nanos()) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Which of the streams 0, 1, … have a turn.
    fn turns(rota: &Rota, streams: usize) -> Vec<bool> {
        (0..streams as u64).map(|stream| rota.is_turn_of(StreamId::from_raw(stream))).collect()
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
            let mut rota = Rota::new(Duration::from_millis(interval), start);
            let ticks = interval / 10;
            // The tick of each stream's last turn.
            let mut last = vec![0; streams];
            let (mut ms, mut before) = (0, 0);
            for wait in waits {
                ms += wait;
                rota.advance(start + Duration::from_millis(ms), streams);
                let tick = ms / 10;
                for (last, has_turn) in last.iter_mut().zip(turns(&rota, streams)) {
                    // Its own tick lies behind the last slice, and not behind this one.
                    let earliest = if *last == 0 { 1 } else { *last - *last % ticks };
                    prop_assert!(!has_turn || tick > before && tick >= earliest);
                    if has_turn {
                        *last = tick;
                    }
                    prop_assert!(tick - *last < ticks.max(2) + 4, "{tick} {last}");
                }
                prop_assert!(tick - before < ticks || turns(&rota, streams).iter().all(|turn| *turn));
                before = tick;
            }
        }

        /// Who sleeps until the next turn misses none, and does not wake up in vain.
        #[test]
        fn the_next_turn_is_told(ms in 0_u64..300, streams in 1_usize..200) {
            let start = Instant::now();
            let mut rota = Rota::new(Duration::from_millis(100), start);
            let at = start + Duration::from_millis(ms);
            rota.advance(at, streams);
            let wait = rota.until_turn(at);
            prop_assert!(wait >= TICK / 2 && wait <= TICK * 10);
            let early = at + wait - Duration::from_millis(1);
            if early < at + wait && wait > TICK / 2 {
                rota.advance(early, streams);
                prop_assert!(!turns(&rota, streams).contains(&true));
                rota.advance(at + wait, streams);
                prop_assert!(turns(&rota, streams).contains(&true));
            }
        }
    }

    #[test]
    fn many_streams_share_the_ticks_and_few_have_their_turns_together() {
        let start = Instant::now();
        for (streams, most, busy) in [(1, 1, 1), (16, 16, 1), (40, 14, 3), (160, 16, 10), (1000, 100, 10)] {
            let mut rota = Rota::new(Duration::from_millis(100), start);
            rota.advance(start, streams);
            let slices = (1..=10).map(|tick| {
                rota.advance(start + TICK * tick, streams);
                turns(&rota, streams).iter().filter(|turn| **turn).count()
            });
            let slices = slices.collect::<Vec<_>>();
            assert_eq!(slices.iter().sum::<usize>(), streams, "{slices:?}");
            assert_eq!(slices.iter().max(), Some(&most), "{slices:?}");
            assert_eq!(slices.iter().filter(|slice| **slice > 0).count(), busy, "{slices:?}");
        }
    }

    #[test]
    fn an_eager_stream_has_a_turn_in_each_slice() {
        let start = Instant::now();
        let mut rota = Rota::new(Duration::from_millis(100), start);
        let [first, second] = [1, 2].map(StreamId::from_raw);
        rota.set_eager(second, true);
        rota.advance(start, 2);
        assert!(!rota.is_turn_of(first) && rota.is_turn_of(second));
        assert_eq!(rota.until_turn(start), TICK);
        rota.set_eager(second, false);
        assert!(!rota.is_turn_of(second));
        rota.set_eager(second, true);
        rota.retain(|stream| stream == first);
        assert!(!rota.is_turn_of(second));
    }
}
