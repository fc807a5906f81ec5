//! What can go wrong at the agent's own doors. What goes wrong with a recording is an event of that recording.

use siprec_session::{ConfigError, PoolName};
use siprec_transport::BindError;

use crate::StateDirError;

/// Why the agent refuses.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The SIP port cannot be had; names address, port and protocol.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread could not be started.
    #[error("the agent's threads cannot be started: {0}")]
    Threads(#[source] std::io::Error),
    /// The folder for dialogs is of no use.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The system gives no randomness, without which no tag or id is safe.
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    /// The recording cannot be described.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The recording names a pool that there is not.
    #[error("there is no pool \"{0}\"")]
    UnknownPool(PoolName),
    /// The bound on recordings is reached.
    #[error("the limit of {limit} recordings at once is reached")]
    TooManySessions {
        /// The bound.
        limit: usize,
    },
    /// A recording with this key is open already.
    #[error("this recording is open already")]
    Duplicate,
    /// More commands wait for this recording than any call gives.
    #[error("too many commands wait for this recording")]
    Busy,
    /// The agent has been shut down.
    #[error("the agent has been shut down")]
    ShutDown,
    /// The process has forked: neither threads nor sockets are this process's own.
    #[error("the agent was started before this process forked")]
    Forked,
}
