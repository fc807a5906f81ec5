//! What is told of the pools.

use std::time::Duration;

use siprec_session::{LocationPolicy, PoolName, Strategy};

/// A pool as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// Its name.
    pub name: PoolName,
    /// How it chooses.
    pub strategy: Strategy,
    /// Whether sessions may leave their location.
    pub location_policy: LocationPolicy,
    /// Its recorders, in order.
    pub recorders: Vec<RecorderView>,
}

/// A recorder of a pool as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderView {
    /// Its address, without user and password.
    pub uri: String,
    /// Its share.
    pub weight: u16,
    /// Most sessions; None where there is no bound.
    pub capacity: Option<u32>,
    /// Where it stands.
    pub location: Option<String>,
    /// It gets no new sessions.
    pub drained: bool,
    /// Sessions of this process with it now, those included that are being set up or ended.
    pub sessions: u32,
    /// How often it was chosen, since it is known.
    pub chosen: u64,
    /// Whether it lives.
    pub health: Health,
    /// For how long it still wants to be left alone.
    pub away: Option<Duration>,
}

/// Whether a recorder lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// It was not asked yet, or is not asked at all. It counts as alive.
    #[default]
    Unknown,
    /// It answers.
    Alive,
    /// It does not.
    Dead,
}

impl Health {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Dead => "dead",
        }
    }
}
