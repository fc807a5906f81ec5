//! Sources whose keys somebody was asked for: each once, and of a flood few.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Sources that are asked for at once. Beyond these, one in [`PATIENCE`], so that a flood of forged sources costs the
/// application little, and a new party after it is asked for all the same.
pub(crate) const MAX_ASKED: usize = 64;
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The latest last.
    sources: VecDeque<u32>,
    at: Option<Instant>,
}

impl Asked {
    /// Whether somebody is to be asked for the key of a source now. From here on somebody was.
    pub(crate) fn admit(&mut self, ssrc: u32, now: Instant) -> bool {
        if self.sources.contains(&ssrc) {
            return false;
        }
        if self.sources.len() >= MAX_ASKED {
            if self.at.is_some_and(|at| now.saturating_duration_since(at) < PATIENCE) {
                return false;
            }
            self.sources.pop_front();
        }
        self.at = Some(now);
        self.sources.push_back(ssrc);
        true
    }

    /// A source may be asked for again.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        self.sources.retain(|asked| *asked != ssrc);
    }

    /// All may.
    pub(crate) fn clear(&mut self) {
        self.sources.clear();
    }
}
