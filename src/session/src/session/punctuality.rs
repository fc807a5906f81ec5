//! Whether a recorder reports as often as receivers do.

use std::time::{Duration, Instant};

use siprec_model::BranchId;

/// Two reports of a stream so far apart are of one that reports each 5 s, or more often (RFC 3550 §6.2, §6.3.1: 2.0 to 6.2 s, and what the
/// two may have been under way); and so close together may be one that came twice.
const FURTHEST: Duration = Duration::from_secs(8);
const CLOSEST: Duration = Duration::from_secs(1);

/// What its receiver reports have shown of that.
#[derive(Debug, Default)]
pub(super) struct Punctuality {
    /// When the last report of each stream came, until it is known.
    last: Vec<(BranchId, Instant)>,
    is_shown: bool,
}

impl Punctuality {
    /// A report of a stream has come.
    pub(super) fn note(&mut self, stream: BranchId, now: Instant) {
        if self.is_shown {
            return;
        }
        match self.last.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, last)) => {
                let apart = now.saturating_duration_since(*last);
                if apart >= CLOSEST {
                    *last = now;
                    self.is_shown = apart <= FURTHEST;
                }
            }
            None => self.last.push((stream, now)),
        }
        if self.is_shown {
            self.last = Vec::new();
        }
    }

    /// Whether one has followed another as soon as that.
    pub(super) fn is_shown(&self) -> bool {
        self.is_shown
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::RecordingKey;

    use super::*;

    fn shown(reports: &[(u16, u64)]) -> bool {
        let (mut punctuality, start) = (Punctuality::default(), Instant::now());
        for (slot, millis) in reports {
            let stream = BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot: *slot };
            punctuality.note(stream, start + Duration::from_millis(*millis));
        }
        punctuality.is_shown()
    }

    #[test]
    fn it_is_shown_by_two_reports_of_one_stream() {
        assert!(shown(&[(0, 2_000), (0, 8_200)]));
        assert!(shown(&[(0, 2_000), (1, 2_900), (1, 5_000)]));
        assert!(!shown(&[(0, 2_000), (1, 5_000)]));
        assert!(!shown(&[(0, 2_000), (0, 2_010)]), "it came twice");
        assert!(!shown(&[(0, 2_000), (0, 10_300), (0, 30_000)]), "each 20 s");
        assert!(shown(&[(0, 2_000), (0, 30_000), (0, 36_000)]), "after a pause");
    }
}
