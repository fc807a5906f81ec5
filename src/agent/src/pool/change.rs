//! What is told when a recorder's state changes.

use std::fmt;
use std::sync::Arc;

/// Who is told of recorders whose state changes, on the thread that tells the application everything.
#[derive(Clone)]
pub struct RecorderWatch(Arc<dyn Fn(RecorderChange) + Send + Sync>);

impl RecorderWatch {
    /// Has this called.
    pub fn new(watch: impl Fn(RecorderChange) + Send + Sync + 'static) -> Self {
        Self(Arc::new(watch))
    }

    pub(crate) fn tell(&self, change: RecorderChange) {
        (self.0)(change);
    }
}

impl fmt::Debug for RecorderWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecorderWatch(..)")
    }
}

/// A recorder whose state has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderChange {
    /// Its address, without user and password.
    pub recorder: String,
    /// How it is now.
    pub state: RecorderState,
    /// Why, in words for people.
    pub reason: String,
}

/// How a recorder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecorderState {
    /// It answers.
    Alive,
    /// It does not: it is tried after all others.
    Dead,
    /// It wants to be left alone for a time: it is not tried.
    Away,
}

impl RecorderState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Dead => "dead",
            Self::Away => "away",
        }
    }
}
