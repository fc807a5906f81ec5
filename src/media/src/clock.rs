//! From the process's monotonic clock to the time of day.

use std::time::{Duration, Instant, SystemTime};

/// Seconds from 1900, where NTP begins, to 1970, where Unix does (RFC 5905 §6).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// Ties the monotonic clock to the time of day once, so that all streams of a process share one time line and no
/// step of the system's clock bends it.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    instant: Instant,
    since_1900: Duration,
}

impl WallClock {
    /// `instant` and `system` are the same moment. A time before 1970 counts as 1970.
    pub fn new(instant: Instant, system: SystemTime) -> Self {
        let since_1970 = system.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant, since_1900: since_1970 + Duration::from_secs(NTP_TO_UNIX_S) }
    }

    /// The 64-bit NTP timestamp of a moment (RFC 3550 §4): seconds since 1900, modulo 2^32, in 32.32 fixed point.
    pub fn ntp(&self, at: Instant) -> u64 {
        let time = match at.checked_duration_since(self.instant) {
            Some(after) => self.since_1900.saturating_add(after),
            None => self.since_1900.saturating_sub(self.instant.saturating_duration_since(at)),
        };
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        (time.as_secs() << 32) | fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_counts_from_1900_in_fixed_point() {
        let instant = Instant::now() + Duration::from_secs(60);
        let clock = WallClock::new(instant, SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!(clock.ntp(instant), (NTP_TO_UNIX_S + 10) << 32);
        let half = instant + Duration::from_millis(500);
        assert_eq!(clock.ntp(half), (NTP_TO_UNIX_S + 10) << 32 | 0x8000_0000);
        let before = instant - Duration::from_millis(9750);
        assert_eq!(clock.ntp(before), NTP_TO_UNIX_S << 32 | 0x4000_0000);
    }
}
