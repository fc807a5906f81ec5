//! Which branches the packets of a stream wait for before any of them gets one.

use std::time::{Duration, Instant};

/// How long packets wait for the other branches that are to have them once the first is there.
const GATHER_TIME: Duration = Duration::from_secs(1);

/// The coming of a stream's branches: one that comes late is to have the same packets as the first.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    /// How many branches have come. From the first on, packets are no longer kept for one to come.
    come: usize,
    /// Until when packets wait for the others.
    until: Option<Instant>,
}

impl Gathering {
    /// One branch more is here, of `promised` in all, where that is known.
    pub(crate) fn add(&mut self, promised: Option<usize>, now: Instant) {
        self.come += 1;
        if promised.is_none_or(|promised| self.come >= promised) {
            self.until = None;
        } else if self.come == 1 {
            self.until = Some(now + GATHER_TIME);
        }
    }

    /// Packets wait for no other branch any more.
    pub(crate) fn stop(&mut self) {
        self.until = None;
    }

    /// The same where it has lasted long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// Whether a branch has come, and may have gone since.
    pub(crate) fn has_begun(&self) -> bool {
        self.come > 0
    }

    /// Whether packets wait for another branch.
    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Until when they do.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_a_second_from_the_first_branch_on_for_those_that_were_promised() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        assert!(!gathering.has_begun() && !gathering.is_on());
        gathering.add(Some(3), now);
        assert!(gathering.has_begun());
        gathering.add(Some(3), now + GATHER_TIME / 2);
        assert_eq!(gathering.until(), Some(now + Duration::from_secs(1)), "the second one prolongs nothing");
        gathering.expire(now + Duration::from_millis(999));
        assert!(gathering.is_on());
        gathering.expire(now + Duration::from_secs(1));
        assert!(!gathering.is_on());
        gathering.add(Some(3), now + Duration::from_secs(2));
        assert!(!gathering.is_on(), "the last one begins nothing");
    }

    #[test]
    fn packets_wait_for_nobody_once_all_are_here_or_where_none_was_promised() {
        let now = Instant::now();
        for (promised, branches) in [(None, 1), (Some(1), 1), (Some(2), 2)] {
            let mut gathering = Gathering::default();
            (0..branches).for_each(|_| gathering.add(promised, now));
            assert!(gathering.has_begun() && !gathering.is_on(), "{promised:?}");
        }
        let mut gathering = Gathering::default();
        gathering.add(Some(2), now);
        gathering.stop();
        assert!(gathering.has_begun() && !gathering.is_on());
    }
}
