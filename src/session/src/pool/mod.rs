//! Pools of recorders: who may take a session, and who of them does.

mod choice;
mod name;
mod refusal;
mod wish;

use std::time::Instant;

pub use choice::Rotation;
pub use name::{PoolName, PoolNameError};
pub use refusal::{NoRecorder, Unfit};
pub use wish::RecorderWish;

use crate::recorder::{RecorderListError, RecorderTarget, parse_recorders};

/// Recorders among which each session's is chosen. What is particular to a moment is [`MemberState`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// How one is chosen among those that may.
    pub strategy: Strategy,
    /// Whether a session may leave the location that it asks for.
    pub location_policy: LocationPolicy,
    /// The recorders, in order; each address once.
    pub members: Vec<Member>,
}

impl Pool {
    /// The pool that a list of recorders is: each is tried in its turn, and nothing is said of how many sessions it may have.
    pub fn ordered(recorders: impl IntoIterator<Item = RecorderTarget>) -> Self {
        Self { members: recorders.into_iter().map(Member::new).collect(), ..Self::default() }
    }
}

/// A recorder as one of a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its address, and what is particular about it.
    pub target: RecorderTarget,
    /// Its share against that of the others, from 1 to 1000; without effect where the order decides.
    pub weight: u16,
    /// Most sessions of this process with it at once; no bound where not set.
    pub capacity: Option<u32>,
    /// The label of the place where it stands; one without a label stands in none.
    pub location: Option<String>,
    /// It gets no new sessions; those that it has go on.
    pub drained: bool,
}

impl Member {
    /// A recorder that takes whatever it gets.
    pub fn new(target: RecorderTarget) -> Self {
        Self { target, weight: 1, capacity: None, location: None, drained: false }
    }
}

/// How a pool chooses among the recorders that may take a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Strategy {
    /// The first.
    #[default]
    Ordered,
    /// In turn, each as often as its weight says, evenly mixed.
    RoundRobin,
    /// The one with the fewest sessions for its weight; in turn among equals.
    LeastUsed,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ordered, Self::RoundRobin, Self::LeastUsed];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::RoundRobin => "round-robin",
            Self::LeastUsed => "least-used",
        }
    }
}

/// Whether a session may be recorded elsewhere than in the location that it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocationPolicy {
    /// Where no recorder of the location can take it.
    #[default]
    Overflow,
    /// Never: it rather fails.
    Strict,
}

impl LocationPolicy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Overflow, Self::Strict];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Strict => "strict",
        }
    }
}

/// What is known of a recorder at the moment of a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    /// Sessions of this process with it, those included that are being set up.
    pub sessions: u32,
    /// It does not answer when it is asked whether it lives.
    pub unhealthy: bool,
    /// It wants no session before (RFC 3261 §20.33).
    pub away_until: Option<Instant>,
    /// It has another copy of the recording that the session is of.
    pub has_other_copy: bool,
}

/// The recorders that a recording may be sent to.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorders {
    /// These, in the order in which they are tried.
    Listed(Vec<RecorderTarget>),
    /// Those of a pool that has a name.
    Pool {
        /// The name.
        name: PoolName,
        /// The label of the place where the session should be recorded.
        location: Option<String>,
    },
}

/// Before the name of a pool, where recorders are named.
const PREFIX: &str = "pool:";

impl Recorders {
    /// Reads a list of recorders ([`parse_recorders`]), or `pool:NAME`.
    ///
    /// # Errors
    /// What is wrong with the list, or with the name.
    pub fn parse(text: &str, location: Option<&str>) -> Result<Self, RecorderListError> {
        let mut entries = text.split_whitespace();
        match (entries.next().and_then(|first| first.strip_prefix(PREFIX)), entries.next()) {
            (Some(name), None) => {
                let location = location.map(str::trim).filter(|location| !location.is_empty());
                Ok(Self::Pool { name: name.parse()?, location: location.map(str::to_owned) })
            }
            (Some(_), Some(_)) => Err(RecorderListError::BesidePool),
            (None, _) => parse_recorders(text).map(Self::Listed),
        }
    }

    /// Those of a list; none of a pool.
    pub fn listed(&self) -> &[RecorderTarget] {
        match self {
            Self::Listed(recorders) => recorders,
            Self::Pool { .. } => &[],
        }
    }

    /// The same, to say what is particular about them.
    pub fn listed_mut(&mut self) -> &mut [RecorderTarget] {
        match self {
            Self::Listed(recorders) => recorders,
            Self::Pool { .. } => &mut [],
        }
    }
}

impl From<Vec<RecorderTarget>> for Recorders {
    fn from(recorders: Vec<RecorderTarget>) -> Self {
        Self::Listed(recorders)
    }
}
