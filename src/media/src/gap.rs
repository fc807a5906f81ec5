//! Holes in the recording, reported with their length.

use std::time::{Duration, Instant};

use siprec_model::{DropCause, Hole as Told};

/// Holes of one cause that follow each other within this time are told as one.
const MERGE: Duration = Duration::from_secs(1);

/// How long a loss that never ends goes untold at first, and then between two accounts of it.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// Causes that can last as long as the call. Anybody may send such packets, as many as he likes: their number says nothing
/// about time, so that the hole is as long as the time over which they came.
const LASTING: [DropCause; 2] = [DropCause::NoKey, DropCause::NotAuthentic];

/// Causes that make a hole in what should have been recorded. The others are told in another way
/// (a stream that is off) or lose nothing (packets that are not RTP). What is stale is one where it was found to be none
/// too late.
const CAUSES: [DropCause; 11] = [
    DropCause::QueueFull,
    DropCause::RingFull,
    DropCause::PayloadUnknown,
    DropCause::Stale,
    DropCause::TooManySources,
    DropCause::SendFailed,
    DropCause::NotDrained,
    DropCause::NoKey,
    DropCause::NotAuthentic,
    DropCause::NotProtected,
    DropCause::RecorderLost,
];

/// Collects what is lost until the recording goes on, so that one hole is one event.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    collecting: [Hole; CAUSES.len()],
    /// Whether any hole is being collected: the one question that a healthy packet asks.
    any: bool,
    /// Whether any hole is complete and waits to be told.
    ready: bool,
    count: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    packets: u64,
    duration: Duration,
    /// When the first came.
    start: Option<Instant>,
    /// When the first and the last came, of a cause that can last.
    arrivals: Option<(Instant, Instant)>,
    complete: bool,
    /// When a loss of this cause that lasts was first looked at.
    since: Option<Instant>,
    last_told: Option<Instant>,
}

impl Hole {
    /// Packets of it came from `first` to `last`.
    fn span(&mut self, first: Instant, last: Instant) {
        let (from, to) = self.arrivals.unwrap_or((first, last));
        self.arrivals = Some((from.min(first), to.max(last)));
    }

    fn duration(&self) -> Duration {
        self.arrivals.map_or(self.duration, |(first, last)| last.saturating_duration_since(first))
    }

    /// It is to be told as it is now.
    fn complete(&mut self, now: Instant) {
        self.complete = true;
        self.last_told = Some(now);
    }
}

impl Gaps {
    /// Adds lost packets of a cause that can last, which came from `first` to `last`.
    pub(crate) fn lost_between(&mut self, cause: DropCause, packets: u64, first: Instant, last: Instant) {
        self.lost(cause, packets, Duration::ZERO, first);
        if let Some(hole) = self.hole(cause).filter(|_| packets > 0) {
            hole.span(first, last);
        }
    }

    /// Adds lost packets that span `duration`, of which the first came at `start`.
    pub(crate) fn lost(&mut self, cause: DropCause, packets: u64, duration: Duration, start: Instant) {
        if let Some(hole) = self.hole(cause).filter(|_| packets > 0) {
            hole.packets = hole.packets.saturating_add(packets);
            hole.duration = hole.duration.saturating_add(duration);
            hole.start = Some(hole.start.map_or(start, |earlier| earlier.min(start)));
            self.any = true;
        }
    }

    /// The recording goes on: what is missing before this packet can be told.
    pub(crate) fn go_on(&mut self, now: Instant) {
        if self.any {
            self.complete(
                |hole, cause| {
                    // What can be made without end is told by time alone: see `persist`.
                    !LASTING.contains(&cause)
                        && hole.last_told.is_none_or(|last| now.saturating_duration_since(last) >= MERGE)
                },
                now,
            );
        }
    }

    /// Nothing goes on, but time does: what lasts is told now and then.
    pub(crate) fn persist(&mut self, now: Instant) {
        if !self.any {
            return;
        }
        let can_last = |cause: &DropCause| LASTING.contains(cause) || *cause == DropCause::PayloadUnknown;
        let lasting = self.collecting.iter_mut().zip(CAUSES).filter(|(_, cause)| can_last(cause));
        for (hole, cause) in lasting.filter(|(hole, _)| hole.packets > 0 && !hole.complete) {
            let [first, next] = PATIENCE;
            let due = if cause == DropCause::PayloadUnknown {
                // The recording may have gone on meanwhile: then it is another loss.
                let start = hole.start.unwrap_or(now);
                hole.last_told.filter(|told| start <= *told + first).map_or(start + first, |told| told + next)
            } else {
                let since = *hole.since.get_or_insert(now);
                hole.last_told.filter(|told| *told >= since).map_or(since + first, |told| told + next)
            };
            if now >= due {
                hole.complete(now);
                self.count += 1;
                self.ready = true;
            }
        }
    }

    /// The recording is over: everything is told.
    pub(crate) fn end(&mut self, now: Instant) {
        self.complete(|_, _| true, now);
    }

    /// The next complete hole.
    pub(crate) fn poll(&mut self) -> Option<Told> {
        if !self.ready {
            return None;
        }
        for (hole, cause) in self.collecting.iter_mut().zip(CAUSES) {
            if std::mem::take(&mut hole.complete) {
                // Whatever was lost came some time.
                let start = hole.start.or(hole.last_told)?;
                let told = Told { start, packets: hole.packets, duration: hole.duration(), cause };
                (hole.packets, hole.duration, hole.start, hole.arrivals) = (0, Duration::ZERO, None, None);
                return Some(told);
            }
        }
        self.ready = false;
        None
    }

    /// The complete holes that nobody has been told of yet.
    pub(crate) fn untold(&self) -> impl Iterator<Item = Told> {
        self.collecting.iter().zip(CAUSES).filter(|(hole, _)| hole.complete).filter_map(|(hole, cause)| {
            let start = hole.start.or(hole.last_told)?;
            Some(Told { start, packets: hole.packets, duration: hole.duration(), cause })
        })
    }

    /// Complete holes so far, told or not.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn hole(&mut self, cause: DropCause) -> Option<&mut Hole> {
        let place = CAUSES.iter().position(|known| *known == cause)?;
        self.collecting.get_mut(place)
    }

    fn complete(&mut self, is_due: impl Fn(&Hole, DropCause) -> bool, now: Instant) {
        self.any = false;
        let holes = self.collecting.iter_mut().zip(CAUSES);
        for (hole, cause) in holes.filter(|(hole, _)| hole.packets > 0 && !hole.complete) {
            if is_due(hole, cause) {
                hole.complete(now);
                self.count += 1;
                self.ready = true;
            } else {
                self.any = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(packets: u64, ms: u64, cause: DropCause) -> Option<(u64, u64, DropCause)> {
        Some((packets, ms, cause))
    }

    fn poll(gaps: &mut Gaps) -> Option<(u64, u64, DropCause)> {
        gaps.poll().map(|told| (told.packets, told.duration.as_millis() as u64, told.cause))
    }

    #[test]
    fn a_hole_is_told_once_and_whole_when_the_recording_goes_on() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        gaps.lost(DropCause::RingFull, 2, Duration::from_millis(40), now);
        gaps.lost(DropCause::RingFull, 1, Duration::from_millis(20), now - Duration::from_secs(1));
        assert_eq!(poll(&mut gaps), None);
        gaps.go_on(now + Duration::from_secs(1));
        let (start, duration) = (now - Duration::from_secs(1), Duration::from_millis(60));
        assert_eq!(gaps.poll(), Some(Told { start, packets: 3, duration, cause: DropCause::RingFull }));
        assert_eq!(poll(&mut gaps), None);
        assert_eq!(gaps.count(), 1);
    }

    #[test]
    fn holes_in_quick_succession_are_told_as_one() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        let mut events = Vec::new();
        for n in 0..200 {
            gaps.lost(
                DropCause::QueueFull,
                1,
                Duration::from_millis(20),
                start + Duration::from_millis(10 * n),
            );
            gaps.go_on(start + Duration::from_millis(10 * n));
            events.extend(poll(&mut gaps));
        }
        gaps.end(start + Duration::from_secs(2));
        events.extend(poll(&mut gaps));
        let causes = [gap(1, 20, DropCause::QueueFull), gap(100, 2000, DropCause::QueueFull)];
        assert_eq!(events[..2], causes.map(Option::unwrap));
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn what_anybody_can_send_is_as_long_as_the_time_over_which_it_came_and_told_by_time_alone() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        let mut events = Vec::new();
        for ms in 0..25_000 {
            let now = start + Duration::from_millis(ms);
            for _ in 0..20 {
                gaps.lost_between(DropCause::NotAuthentic, 1, now, now);
            }
            // What is authentic goes on all the while.
            gaps.go_on(now);
            gaps.persist(now);
            events.extend(poll(&mut gaps));
        }
        gaps.end(start + Duration::from_secs(60));
        events.extend(poll(&mut gaps));
        let told = [(20_020, 1000), (200_000, 9999), (200_000, 9999), (79_980, 3998)];
        let told = told.map(|(packets, ms)| gap(packets, ms, DropCause::NotAuthentic).unwrap());
        assert_eq!(events, told);
    }

    #[test]
    fn a_payload_type_that_nobody_agreed_on_is_told_now_and_then_and_when_the_recording_goes_on() {
        let start = Instant::now();
        let mut gaps = Gaps::default();
        let mut events = Vec::new();
        let mut lose = |from: u64, packets: u64| {
            for n in 0..packets {
                let now = start + Duration::from_millis(from + 20 * n);
                gaps.lost(DropCause::PayloadUnknown, 1, Duration::from_millis(20), now);
                gaps.persist(now);
                events.extend(poll(&mut gaps));
            }
            gaps.go_on(start + Duration::from_millis(from + 20 * packets));
            events.extend(poll(&mut gaps));
        };
        lose(0, 750);
        lose(100_000, 10);
        let told = [(51, 1020), (500, 10_000), (199, 3980), (10, 200)];
        assert_eq!(events, told.map(|(packets, ms)| gap(packets, ms, DropCause::PayloadUnknown).unwrap()));
    }

    #[test]
    fn causes_are_told_apart_and_harmless_ones_not_at_all() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        for cause in DropCause::ALL {
            gaps.lost(cause, 1, Duration::ZERO, now);
        }
        gaps.end(now);
        let told: Vec<_> = std::iter::from_fn(|| poll(&mut gaps)).collect();
        assert_eq!(told.len(), CAUSES.len());
    }

    #[test]
    fn a_hole_that_waits_to_be_told_is_counted_once() {
        let now = Instant::now();
        let mut gaps = Gaps::default();
        gaps.lost(DropCause::SendFailed, 1, Duration::from_millis(20), now);
        gaps.go_on(now);
        gaps.lost(DropCause::SendFailed, 1, Duration::from_millis(20), now);
        gaps.end(now);
        assert_eq!(gaps.count(), 1);
        assert_eq!(poll(&mut gaps), gap(2, 40, DropCause::SendFailed));
        assert_eq!(poll(&mut gaps), None);
    }
}
