//! Recording sessions without input and output: what is said to recorders, and when.
//!
//! A [`Recording`] is one call's recording: its streams, the attempts at recorders, the session with the one that
//! takes it, the end. It is told what happens ([`Input`]) and says what must be done ([`Output`]); time and chance are
//! arguments, so that every behaviour can be replayed.
//!
//! ```
//! use std::time::Instant;
//!
//! use siprec_model::StreamId;
//! use siprec_session::{Command, Input, Output, Recording, RecordingConfig, parse_recorders};
//!
//! let config = RecordingConfig::new(parse_recorders("sip:recorder.example")?);
//! config.check()?;
//! let seed = [0; 32]; // from the system's entropy, save in tests
//! let mut recording = Recording::new(config, seed, Instant::now());
//!
//! let command = Command::AddStream { slot: 0, stream: StreamId::unique() };
//! recording.handle(Input::Command(command), Instant::now());
//! while let Some(output) = recording.poll() {
//!     assert!(matches!(output, Output::Branch(_)), "its packets are held from now on");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | what | rule | where |
//! |---|---|---|
//! | Request-URI, To, headers | `protocol` 1.1 | `dialect::genesys` |
//! | offer and answer | `protocol` 1.2, RFC 3264 | `session` |
//! | a party's own description as the source | `protocol` 1.2, 1.3, RFC 3264 | `party_sdp` |
//! | offers within the session, glare, refusals | `protocol` 1.3, 1.4, RFC 3261 §14 | `session::offer`, `session::incoming` |
//! | session timer | `protocol` 1.5, RFC 4028 | `session::clock` |
//! | pause, mute, parties that come and go | `protocol` 1.3 | `parties`, `recording` |
//! | the choice of a recorder | `protocol` 1.7 | `pool` |
//! | failure, the next recorder | `protocol` 1.6 | `recording` |
//! | several recorders at once, as one | `protocol` 1.6 | `copies` |
//! | what is written down of dialogs, so that the next process can end them | `protocol` 1.6 | `journal` |
//! | m-lines and whose they are | `protocol` 1.2, 2.1 | `recording::lines` |
//! | payload type numbers | `protocol` 2.2, RFC 3264 §8.3.2 | `numbering` |

#![forbid(unsafe_code)]

mod branches;
mod config;
mod copies;
mod dialect;
mod io;
mod journal;
mod numbering;
mod parties;
mod party_sdp;
mod place;
mod pool;
mod proxy;
mod recorder;
mod recording;
mod security;
mod session;

pub use config::{
    ByePolicy, ConfigError, HEAD_LIMIT, MOST_AHEAD, Party, RecordingConfig, SessionMode, TEXT_LIMIT, Text,
    Timers,
};
pub use copies::{Copies, Indication, News, Session};
pub use dialect::Dialect;
pub use io::{Command, Flow, Input, Output, TransportEvent};
pub use journal::{DialogWay, Journal, JournalError, JournalHead, LeftDialog};
pub use parties::{PartyKey, Voice, silent_streams};
pub use party_sdp::{PartyLine, PartySdp, PartySdpError};
pub use place::RecorderPlace;
pub use pool::{
    LocationPolicy, Member, MemberState, NoRecorder, Pool, PoolName, PoolNameError, RecorderWish, Recorders,
    Rotation, Strategy, Unfit,
};
pub use proxy::{OutboundProxy, OutboundProxyError};
pub use recorder::{
    FirstHop, PayloadTypes, RecorderFault, RecorderListError, RecorderProfile, RecorderTarget, is_one_host,
    parse_recorders,
};
pub use recording::{Recording, random_uuid};
pub use security::{Keying, SecurityPolicy, SrtpUse, StreamSecurity};
