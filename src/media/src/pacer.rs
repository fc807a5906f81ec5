//! How fast a backlog leaves.

use std::time::{Duration, Instant};

/// How far a drain that was held up by its host may fall behind its plan and still make it good in one burst.
const SLACK: Duration = Duration::from_millis(100);

/// Lets held packets out at a multiple of the speed at which they came.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Times faster than real time: at least 1, infinite where nothing waits for its time.
    speed: f64,
    /// A moment of the backlog (ns of [`crate::ring::Times::active`]) and when it was or may be sent.
    anchor: Option<(u64, Instant)>,
}

impl Pacer {
    /// `catch_up` as in [`BranchLimits`]. With 0 there is no backlog to pace: the little that a shut gate may have
    /// left behind goes at once, so that live packets do not queue up behind it.
    ///
    /// [`BranchLimits`]: siprec_model::BranchLimits
    pub(crate) fn new(catch_up: f32) -> Self {
        let speed =
            if catch_up == 0.0 { f64::INFINITY } else { f64::from(catch_up).clamp(1.0, 100.0).max(1.0) };
        Self { speed, anchor: None }
    }

    /// When the packet that came at `active` may leave.
    pub(crate) fn due(&self, active: u64, now: Instant) -> Instant {
        let Some((from, at)) = self.anchor else { return now };
        // A float loses at most microseconds here, over hours of backlog.
        let wait = active.saturating_sub(from) as f64 / self.speed;
        at.checked_add(Duration::from_nanos(wait as u64)).unwrap_or(now)
    }

    /// Notes that the packet that came at `active` leaves. A plan that was missed by more than [`SLACK`] is put off:
    /// the drain does not hurry afterwards.
    pub(crate) fn left(&mut self, active: u64, now: Instant) {
        if self.anchor.is_none() {
            self.anchor = Some((active, now));
        } else if now.saturating_duration_since(self.due(active, now)) > SLACK {
            self.anchor = Some((active, now.checked_sub(SLACK).unwrap_or(now)));
        }
    }

    /// The backlog is gone; the next one is paced anew.
    pub(crate) fn rest(&mut self) {
        self.anchor = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_backlog_leaves_at_its_speed() {
        let start = Instant::now();
        let mut pacer = Pacer::new(2.0);
        assert_eq!(pacer.due(700 * MS, start), start);
        pacer.left(700 * MS, start);
        assert_eq!(pacer.due(720 * MS, start), start + Duration::from_millis(10));
        assert_eq!(pacer.due(1700 * MS, start), start + Duration::from_millis(500));
    }

    #[test]
    fn a_drain_that_was_held_up_does_not_hurry_afterwards() {
        let start = Instant::now();
        let mut pacer = Pacer::new(2.0);
        pacer.left(0, start);
        let late = start + Duration::from_secs(3);
        pacer.left(20 * MS, late);
        assert_eq!(pacer.due(220 * MS, late), late);
        assert_eq!(pacer.due(240 * MS, late), late + Duration::from_millis(10));
    }

    #[test]
    fn without_catch_up_nothing_waits() {
        let start = Instant::now();
        let mut pacer = Pacer::new(0.0);
        pacer.left(0, start);
        assert_eq!(pacer.due(20_000 * MS, start), start);
    }

    #[test]
    fn speeds_out_of_range_are_brought_into_it() {
        let start = Instant::now();
        for (catch_up, ms) in [(0.5, 1000), (f32::NAN, 1000), (-3.0, 1000), (1e9, 10)] {
            let mut pacer = Pacer::new(catch_up);
            pacer.left(0, start);
            assert_eq!(pacer.due(1000 * MS, start), start + Duration::from_millis(ms), "{catch_up}");
        }
    }

    #[test]
    fn a_late_wake_up_is_made_good() {
        let start = Instant::now();
        let mut pacer = Pacer::new(2.0);
        pacer.left(0, start);
        pacer.left(20 * MS, start + Duration::from_millis(15));
        assert_eq!(pacer.due(40 * MS, start), start + Duration::from_millis(20));
    }
}
