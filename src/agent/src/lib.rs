//! The loop that turns a recording's outputs into effects.
//!
//! An [`Agent`] owns one SIP port and one task. What happens (commands, SIP messages, branch events, time) goes into
//! the sans-IO [`Recording`](siprec_session::Recording)s; what they want done (resolve, send, command a branch, tell the
//! application) is done here. The media engine is known only as a [`MediaControl`](siprec_model::MediaControl).
//!
//! | thread | what it does | what may hold it up |
//! |---|---|---|
//! | `siprec-agent` x 2 | the loop, sockets, name look-ups; shared by all agents of the process | nothing of the application |
//! | `siprec-notify` | calls the application, one event after the other | the application's handlers |
//! | `siprec-state`, with a state folder | writes dialogs down | the disk; the loop waits for it 250 ms once, and then no more until it has answered |
//! | `siprec-sweep`, with a state folder | at the start, finds dialogs that others have left behind | the disk |
//! | the caller's | queues, and returns; waits only in `wait_idle` and `shutdown` | their deadline |
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | commands of a recording | 1024 | refused: [`AgentError::Busy`] |
//! | media events | 8192 that only inform | those are dropped and counted; the others are always taken, each branch makes a few |
//! | events to the application | 64 of a recording | state changes, pauses and gaps merge; the few others are always taken |
//! | commands to the engine | 16,384, for 2 s | the recording is told that the branch is lost |
//! | changes of recorders to the application | 64 | the oldest is forgotten |
//! | dialogs to be written down | one line for each that stands or has just ended | only the latest is written |
//! | dialogs that were left behind | 10,000 in one start | the rest waits for the next one |
//! | SIP, each way | [`Limits`] | see there |
//!
//! A panic inside one recording ends that recording, told as a failure; the others go on.

#![forbid(unsafe_code)]

mod agent;
mod config;
mod effects;
mod end;
mod entry;
mod error;
mod farewell;
mod health;
mod idle;
mod inbox;
mod late;
mod note;
mod notifier;
mod outbox;
mod pool;
mod redact;
mod responder;
mod routes;
mod runtime;
mod state;
mod worker;

pub use agent::{Agent, RecordingHandle, StateWatch, new_uuid};
pub use config::AgentConfig;
pub use error::AgentError;
pub use pool::{
    Health, HealthCheck, PoolFileError, PoolRules, PoolView, Pools, RecorderChange, RecorderState,
    RecorderView, RecorderWatch,
};
pub use siprec_sip::{Credentials, CredentialsError, Password};
pub use siprec_transport::{BindError, Limits, TlsConfig, TlsError, TlsIdentity, TlsPeer};
pub use state::StateDirError;
