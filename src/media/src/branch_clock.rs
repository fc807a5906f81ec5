//! The time of a branch.

use std::time::{Duration, Instant};

use crate::entry::Times;

/// The branch's own time, with and without pauses: what is held does not grow old while it may not leave.
#[derive(Debug)]
pub(crate) struct BranchClock {
    start: Instant,
    paused: Duration,
}

impl BranchClock {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, paused: Duration::ZERO }
    }

    /// A pause of this length is over.
    pub(crate) fn stood_still(&mut self, paused: Duration) {
        self.paused += paused;
    }

    /// How long it was paused, in nanoseconds.
    pub(crate) fn paused(&self) -> u64 {
        nanos(self.paused)
    }

    pub(crate) fn times(&self, at: Instant) -> Times {
        let arrival = at.saturating_duration_since(self.start);
        Times { arrival: nanos(arrival), paused: self.paused() }
    }

    pub(crate) fn arrival(&self, times: Times) -> Instant {
        self.moment(times.arrival)
    }

    /// So many nanoseconds since the branch was made.
    pub(crate) fn moment(&self, nanos: u64) -> Instant {
        self.start + Duration::from_nanos(nanos)
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
