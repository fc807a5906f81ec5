//! Pools of recorders: what the file says of them, and what is known of each recorder.

mod bounds;
mod change;
mod check;
mod entry;
mod file;
mod roster;
mod value;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use siprec_session::{Pool, PoolName, SessionMode};

pub use change::{RecorderChange, RecorderState, RecorderWatch};
pub(crate) use check::{Checks, Errand, Identity};
pub use file::PoolFileError;
pub(crate) use roster::{Roster, lock};
pub use view::{Health, PoolView, RecorderView};

/// How long a busy recorder is left alone at most where its pool does not say otherwise.
const LONGEST_AWAY: Duration = Duration::from_secs(300);

/// The pools of recorders that have a name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pools(BTreeMap<PoolName, PoolRules>);

impl Pools {
    /// The pool of a name.
    pub fn get(&self, name: &PoolName) -> Option<&PoolRules> {
        self.0.get(name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PoolName, &PoolRules)> {
        self.0.iter()
    }
}

impl FromIterator<(PoolName, PoolRules)> for Pools {
    fn from_iter<T: IntoIterator<Item = (PoolName, PoolRules)>>(pools: T) -> Self {
        Self(pools.into_iter().collect())
    }
}

/// What is set for one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRules {
    /// The recorders, and how they are chosen.
    pub pool: Pool,
    /// How the recorders are asked whether they live; None where they are not.
    pub health_check: Option<HealthCheck>,
    /// The longest time for which a recorder is left alone that asks for it (503 with Retry-After). Default 300 s.
    pub longest_away: Duration,
}

impl PoolRules {
    /// A pool with nothing particular, whose recorders are asked whether they live.
    pub fn new(pool: Pool) -> Self {
        Self { pool, health_check: Some(HealthCheck::default()), longest_away: LONGEST_AWAY }
    }

    /// How parties are spread over sessions, where the pool says so: all its recorders agree.
    pub(crate) fn session_mode(&self) -> Option<SessionMode> {
        self.pool.members.first().and_then(|member| member.target.profile.session_mode)
    }
}

/// How a recorder is asked whether it lives: by OPTIONS outside of any dialog (RFC 3261 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one question to the next. Default 10 s.
    pub interval: Duration,
    /// How long the answer may take. Default 2 s.
    pub timeout: Duration,
    /// How many questions in a row must fail until the recorder counts as dead. Default 3.
    pub failures: u32,
    /// How many must then be answered until it counts as alive. Default 1.
    pub recoveries: u32,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            failures: 3,
            recoveries: 1,
        }
    }
}
