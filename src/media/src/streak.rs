//! Reports in a row that tell of losses: a network that loses, or one that was cut.

/// After fewer reports in a row that tell of losses a network may be well again.
const REPORTS: u32 = 3;

/// The same where none has ever told of next to none.
const FIRST_REPORTS: u32 = 2;

/// And so it may within this time, in nanoseconds: what was cut comes and goes for some seconds, however often it is reported on.
/// Of reports each 5 s, which is usual, the third is still within it, and with the fourth 20 s may have passed since the cut: `hold-time`
/// leaves no more.
const SETTLES: u64 = 12_000_000_000;

/// How long reports have told of losses, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streak {
    /// A report has told of next to none.
    was_clean: bool,
    /// Reports since then.
    reports: u32,
    /// When the first and the last of them came, in nanoseconds since the branch was made.
    first: u64,
    last: u64,
}

impl Streak {
    /// A report tells of next to no losses.
    pub(crate) fn end(&mut self) {
        *self = Self { was_clean: true, ..Self::default() };
    }

    /// A report that came `at` this time tells of losses.
    pub(crate) fn go_on(&mut self, at: u64) {
        if self.reports == 0 {
            self.first = at;
        }
        self.reports = self.reports.saturating_add(1);
        self.last = at;
    }

    /// Whether it has become too long for a way that was cut, or the network was never known to be any better.
    pub(crate) fn is_lossy(&self) -> bool {
        let is_long = self.reports >= REPORTS && self.last.saturating_sub(self.first) >= SETTLES;
        is_long || !self.was_clean && self.reports >= FIRST_REPORTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_network_is_lossy_after_three_reports_in_a_row_and_twelve_seconds() {
        for (interval, lossy) in [(1, 13), (2, 7), (5, 4), (6, 3), (20, 3)] {
            let mut streak = Streak::default();
            streak.end();
            for report in 1..lossy {
                streak.go_on(SECOND * interval * report);
                assert!(!streak.is_lossy(), "{report} reports, each {interval} s");
            }
            streak.go_on(SECOND * interval * lossy);
            assert!(streak.is_lossy(), "each {interval} s");
            streak.end();
            assert!(!streak.is_lossy());
        }
    }

    #[test]
    fn a_network_is_lossy_from_the_beginning_on_if_the_second_report_says_so_too() {
        let mut streak = Streak::default();
        streak.go_on(SECOND);
        assert!(!streak.is_lossy());
        streak.go_on(2 * SECOND);
        assert!(streak.is_lossy());
        streak.end();
        assert!(!streak.is_lossy());
    }
}
