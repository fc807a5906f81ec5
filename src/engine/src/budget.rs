//! How fast all backlogs together may leave.

use std::time::{Duration, Instant};

/// What is not spent is saved for so long: enough for a slice that comes late, too little for a burst.
const SAVING: Duration = Duration::from_millis(100);
/// Shares of one packet: a nanosecond of a rate of one packet a second.
const SHARES: u64 = 1_000_000_000;

/// A bucket of packets that may leave ahead of real time, refilled at a constant rate.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Packets per second.
    rate: u32,
    shares: u64,
    filled: Instant,
    /// What each branch may take in this slice, in packets.
    portion: u64,
    /// Branches that asked in this slice.
    claims: u64,
}

impl Budget {
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self { rate, shares: 0, filled: now, portion: 1, claims: 0 }
    }

    /// Begins a slice: adds what has come together since the last one, and divides it among as many branches as asked
    /// in that.
    pub(crate) fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).min(SAVING);
        self.filled = self.filled.max(now);
        let most = (u64::from(self.rate) * nanoseconds(SAVING)).max(SHARES);
        self.shares = (self.shares + u64::from(self.rate) * nanoseconds(elapsed)).min(most);
        self.portion = (self.shares / SHARES / std::mem::take(&mut self.claims).max(1)).max(1);
    }

    /// What one branch may take in this slice, in packets.
    pub(crate) fn claim(&mut self) -> u64 {
        self.claims += 1;
        self.portion
    }

    /// Whether a packet of this portion may go.
    pub(crate) fn grants(&self, portion: u64) -> bool {
        portion > 0 && self.shares >= SHARES
    }

    /// Takes one packet of this portion.
    pub(crate) fn take(&mut self, portion: &mut u64) {
        *portion = portion.saturating_sub(1);
        self.shares = self.shares.saturating_sub(SHARES);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(budget: &mut Budget) -> u32 {
        let mut packets = 0;
        let mut all = u64::MAX;
        while budget.grants(all) {
            budget.take(&mut all);
            packets += 1;
        }
        packets
    }

    #[test]
    fn a_second_brings_its_rate_however_it_is_cut() {
        for slice in [1, 5, 20, 100] {
            let mut now = Instant::now();
            let mut budget = Budget::new(5000, now);
            let mut packets = 0;
            for _ in 0..1000 / slice {
                now += Duration::from_millis(slice);
                budget.refill(now);
                packets += spend(&mut budget);
            }
            assert_eq!(packets, 5000, "slices of {slice} ms");
        }
    }

    #[test]
    fn little_is_saved() {
        let now = Instant::now();
        let mut budget = Budget::new(5000, now);
        budget.refill(now + Duration::from_secs(3600));
        assert_eq!(spend(&mut budget), 500);
    }

    #[test]
    fn a_slow_budget_still_saves_one_whole_packet() {
        let start = Instant::now();
        let mut budget = Budget::new(1, start);
        let mut packets = 0;
        for step in 1..=50 {
            budget.refill(start + Duration::from_millis(step * 100));
            packets += spend(&mut budget);
        }
        assert_eq!(packets, 5);
    }

    #[test]
    fn no_budget_is_no_packet() {
        let now = Instant::now();
        let mut budget = Budget::new(0, now);
        budget.refill(now + Duration::from_secs(1));
        assert_eq!(spend(&mut budget), 0);
    }

    #[test]
    fn those_who_asked_share_the_next_slice() {
        let mut now = Instant::now();
        let mut budget = Budget::new(5000, now);
        for slice in 0..10 {
            now += Duration::from_millis(20);
            budget.refill(now);
            let taken: Vec<u64> = (0..4)
                .map(|_| {
                    let mut portion = budget.claim();
                    let mut packets = 0;
                    while budget.grants(portion) {
                        budget.take(&mut portion);
                        packets += 1;
                    }
                    packets
                })
                .collect();
            if slice > 0 {
                assert_eq!(taken, [25; 4]);
            }
        }
    }
}
