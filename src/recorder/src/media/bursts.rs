//! When to tell of something that comes again and again.

use std::time::{Duration, Instant};

/// What comes within this time of another belongs to its burst.
const QUIET: Duration = Duration::from_secs(5);
/// Most bursts that are told.
const MOST: u64 = 100;

/// Events that are told once for each burst, and not for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bursts {
    begun: u64,
    told: u64,
    last: Option<Instant>,
}

impl Bursts {
    /// Takes note of an event.
    pub(crate) fn note(&mut self, now: Instant) {
        if self.last.replace(now).is_none_or(|last| now.saturating_duration_since(last) >= QUIET) {
            self.begun += 1;
        }
    }

    /// Whether a burst has begun that was not told yet.
    pub(crate) fn tell(&mut self) -> bool {
        let begun = self.begun.min(MOST);
        std::mem::replace(&mut self.told, begun) < begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_told_once_and_not_for_ever() {
        let (mut bursts, mut now) = (Bursts::default(), Instant::now());
        assert!(!bursts.tell());
        for _ in 0..10 {
            bursts.note(now);
            now += QUIET / 2;
        }
        assert!(bursts.tell() && !bursts.tell());
        let mut told = 1;
        for _ in 0..200 {
            now += QUIET;
            bursts.note(now);
            told += u64::from(bursts.tell());
        }
        assert_eq!(told, MOST);
    }
}
