//! When the next report is due.

use std::time::Duration;

/// Least time between reports (RFC 3550 §6.2). With two members this is what the bandwidth rule gives too: 5 % of
/// even the slowest codec carries far more than two small reports in 5 s.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Report times spread as RFC 3550 §6.3.1 asks, so that the streams of a process do not report in step.
#[derive(Debug)]
pub(crate) struct Intervals {
    random: u64,
}

impl Intervals {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed }
    }

    /// The time before the first report: half as long (RFC 3550 §6.2).
    pub(crate) fn first(&mut self) -> Duration {
        self.spread(INTERVAL / 2)
    }

    /// The time before any other report: 2.05 s to 6.16 s, 4.1 s on average.
    pub(crate) fn next(&mut self) -> Duration {
        self.spread(INTERVAL)
    }

    /// Uniform in 0.5 to 1.5 times, divided by e - 3/2, which makes good for the timer reconsideration that is
    /// needless between two members (RFC 3550 §6.3.1).
    fn spread(&mut self, interval: Duration) -> Duration {
        // SplitMix64: spreading timers needs no secret.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let fraction = (bits ^ (bits >> 31)) as f64 / u64::MAX as f64;
        interval.mul_f64((0.5 + fraction) / (std::f64::consts::E - 1.5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_spread_around_four_seconds() {
        let mut intervals = Intervals::new(1);
        let drawn: Vec<Duration> = (0..1000).map(|_| intervals.next()).collect();
        assert!(drawn.iter().all(|d| (2.05..6.16).contains(&d.as_secs_f64())));
        let mean = drawn.iter().sum::<Duration>().as_secs_f64() / 1000.0;
        assert!((3.9..4.3).contains(&mean), "{mean}");
        assert!((1.02..3.08).contains(&intervals.first().as_secs_f64()));
        assert_ne!(Intervals::new(1).next(), Intervals::new(2).next());
    }
}
