//! Why no recorder was chosen.

use std::fmt;

use super::PoolName;

/// Why there is no recorder for a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRecorder {
    /// There is no pool with this name.
    #[error("there is no pool \"{0}\"")]
    UnknownPool(PoolName),
    /// None of the recorders may take it.
    #[error("{0}")]
    Unfit(Unfit),
}

impl NoRecorder {
    /// Whether nothing is new in it: there were recorders, and each has failed.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Unfit(unfit) if unfit.tried > 0 && *unfit == Unfit { tried: unfit.tried, ..Unfit::default() })
    }
}

/// How many recorders may not take a session, by the first reason for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfit {
    /// The session has been tried there.
    pub tried: usize,
    /// They have another copy of the same recording: two copies at one recorder are lost together.
    pub other_copy: usize,
    /// They get no new sessions.
    pub drained: usize,
    /// They are in other locations than the session must be.
    pub elsewhere: usize,
    /// They want no session before a time that has not come.
    pub away: usize,
    /// They have as many sessions as they may.
    pub full: usize,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.tried, "tried"),
            (self.other_copy, "with another copy of the recording"),
            (self.full, "at capacity"),
            (self.away, "asking to come back later"),
            (self.drained, "drained"),
            (self.elsewhere, "in another location"),
        ];
        let said: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if said.is_empty() { f.write_str("there are none") } else { f.write_str(&said.join(", ")) }
    }
}
