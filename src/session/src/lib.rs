//! Recording sessions without input and output: what is said to recorders, and when.
//!
//! A [`Recording`] is one call's recording: its streams, the attempts at recorders, the session with the one that
//! takes it, the end. It is told what happens ([`Input`]) and says what must be done ([`Output`]); time and chance are
//! arguments, so that every behaviour can be replayed.
//!
//! | what | rule | where |
//! |---|---|---|
//! | Request-URI, To, headers | `protocol` 1.1 | `dialect::genesys` |
//! | offer and answer | `protocol` 1.2, RFC 3264 | `session` |
//! | offers within the session, glare, refusals | `protocol` 1.3, 1.4, RFC 3261 §14 | `session::offer`, `session::incoming` |
//! | session timer | `protocol` 1.5, RFC 4028 | `session::clock` |
//! | failure, the next recorder | `protocol` 1.6 | `recording` |
//! | payload type numbers | `protocol` 2.2, RFC 3264 §8.3.2 | `numbering` |

#![forbid(unsafe_code)]

mod branches;
mod config;
mod dialect;
mod io;
mod numbering;
mod recorder;
mod recording;
mod session;

pub use config::{ConfigError, Party, RecordingConfig, SessionMode, TEXT_LIMIT, Timers};
pub use dialect::Dialect;
pub use io::{Command, Flow, Input, Output, TransportEvent};
pub use recorder::{
    PayloadTypes, RecorderFault, RecorderListError, RecorderProfile, RecorderTarget, parse_recorders,
};
pub use recording::Recording;
