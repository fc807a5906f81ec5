//! Whether a recorder reports as often as receivers do, and what is expected of it.

use std::time::{Duration, Instant};

use siprec_model::BranchId;

/// Two reports of a stream so far apart are of one that reports each 5 s, or more often (RFC 3550 §6.2, §6.3.1: 2.0 to 6.2 s, and what the
/// two may have been under way); and so close together may be one that came twice.
const FURTHEST: Duration = Duration::from_secs(8);
const CLOSEST: Duration = Duration::from_secs(1);

/// Most times that the patience with recorders is doubled that do not report: to a quarter of an hour.
const DOUBLED: u32 = 6;

/// What is expected of a recorder's receiver reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reporting {
    /// It always reports, as its profile says.
    Certain,
    /// What it is taken to do; `again` says that it has had the session before and reported as often as receivers do.
    Likely { again: bool, patience: u32 },
}

impl Reporting {
    /// Nothing is said of the recorder. `left` is how many were left in this call since they did not report, although they answered:
    /// each one makes it less likely that they were deaf, and that this one is.
    pub(crate) fn likely(again: bool, left: u32) -> Self {
        Self::Likely { again, patience: 1 << left.min(DOUBLED) }
    }

    /// Whether reports are to come, whether one has come yet or not.
    pub(super) fn is_expected(self) -> bool {
        matches!(self, Self::Certain | Self::Likely { again: true, .. })
    }

    /// How often in a row they must have stayed away for three intervals before that counts.
    pub(super) fn patience(self) -> u32 {
        match self {
            Self::Certain => 1,
            Self::Likely { patience, .. } => patience,
        }
    }

    /// The same of one of which none has come in this session. Who has reported as often as receivers do, and never does any more, is
    /// deaf rather than slow.
    pub(super) fn first_patience(self) -> u32 {
        (self.patience() / 2).max(1)
    }
}

/// What its receiver reports have shown of that.
#[derive(Debug, Default)]
pub(super) struct Punctuality {
    /// When the last report of each stream came, until it is known.
    last: Vec<(BranchId, Instant)>,
    is_shown: bool,
    /// It was given up since none has come any more.
    has_ceased: bool,
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

    /// The recorder is given up since none comes any more.
    pub(super) fn cease(&mut self) {
        self.has_ceased = true;
    }

    /// Whether the recorder was given up for that.
    pub(super) fn has_ceased(&self) -> bool {
        self.has_ceased
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
