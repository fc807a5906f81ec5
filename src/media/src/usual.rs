//! How much a network loses when nothing is cut.

/// A network may lose such a share before it is known, in millionths: 5 %.
const UNKNOWN: u64 = 50_000;

/// What the last two reports have told of losses: a share of the stream each, in millionths.
///
/// The more rarely a recorder reports, the more is lost at random between two reports: 5 % are a second of 20 s. What is lost of this
/// report as of both before it is no cut: one of them alone may have told of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usual([Option<u64>; 2]);

impl Usual {
    /// So many packets were missed of those that were sent.
    pub(crate) fn note(&mut self, missed: u64, sent: u64) {
        let share = missed.saturating_mul(1_000_000) / sent.max(1);
        self.0 = [self.0[1], Some(share)];
    }

    /// How many of so many packets may be missed as usual: what chance adds is more than twice the root of them in one of fifty reports.
    pub(crate) fn of(&self, sent: u64) -> u64 {
        let share = match self.0 {
            [Some(first), Some(second)] => first.min(second),
            [_, only] => only.unwrap_or(UNKNOWN),
        };
        let missed = sent.saturating_mul(share) / 1_000_000;
        missed + 2 * missed.isqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_of_the_last_two_reports_have_told_of_is_usual() {
        let mut usual = Usual::default();
        assert_eq!(usual.of(1000), 50 + 14);
        let mut of_1000 = |missed, sent| {
            usual.note(missed, sent);
            usual.of(1000)
        };
        let noted = [of_1000(50, 1000), of_1000(10, 250), of_1000(3, 10), of_1000(0, 10)];
        assert_eq!(noted, [50 + 14, 40 + 12, 40 + 12, 0]);
    }
}
