//! Reference recorder: answers recording sessions of the dialect `genesys` and writes what it hears.
//!
//! ```text
//!            SIP (UDP, TCP)                     RTP, RTCP
//!                  |                                |
//!   recorder -> session (one a dialog) -> recording (streams and files)
//!                  |                          |            |
//!               ladder                     media/       files/
//! ```
//!
//! Packets are stored as they come and placed on one time line by their timestamps and sender reports, never by
//! arrival; see `media/layout.rs` for the rule when no sender report came. Decoding is GStreamer's. Nothing of this
//! path is shared with the crates that send, so that the recorder can judge them.

#![forbid(unsafe_code)]

mod answer;
mod behaviour;
mod clock;
mod config;
mod files;
mod finished;
mod invitation;
mod ladder;
mod ledger;
mod media;
mod picture;
mod recorder;
mod recording;
mod security;
mod session;
mod stream;

pub use behaviour::{
    BadValue, Behaviour, KeyframeMethod, Keyframes, MIN_SE, OddCrypto, Pause, Refresh, RefreshMethod, Refuse,
    seconds,
};
pub use config::{RecorderConfig, StartError};
pub use files::archive::FileError;
pub use files::report::{
    AddressReport, Alignment, Channel, CutReport, GapReport, InactiveReport, OverlapReport, ParameterReport,
    PartyReport, PayloadTypeReport, SessionReport, SourceReport, SrtpReport, StateReport, StreamReport,
    WavReport,
};
pub use files::wav::WavSound;
pub use finished::FinishedSession;
pub use picture::{PictureError, draw};
pub use recorder::Recorder;
pub use security::SrtpMode;
pub use siprec_model::SrtpSuite;
pub use siprec_sip::{Refresher, Uri};
pub use siprec_transport::{TlsConfig, TlsIdentity};
