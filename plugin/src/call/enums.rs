//! The enumerations of `siprec`'s properties and signals.

use gst::glib;
use siprec_model::RecordingState;
use siprec_session::{ByePolicy, Dialect, Keying, SessionMode, SrtpUse};

/// What is spoken with the recorder (`dialect`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecDialect")]
#[non_exhaustive]
pub enum SiprecDialect {
    /// Genesys Media Server active recording.
    #[default]
    #[enum_value(name = "Genesys Media Server active recording", nick = "genesys")]
    Genesys,
}

impl From<SiprecDialect> for Dialect {
    fn from(dialect: SiprecDialect) -> Self {
        match dialect {
            SiprecDialect::Genesys => Self::Genesys,
        }
    }
}

/// How the parties are spread over sessions (`session-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecSessionMode")]
#[non_exhaustive]
pub enum SiprecSessionMode {
    /// One session for all parties.
    #[default]
    #[enum_value(name = "One session for both parties, an m-line for each stream", nick = "both-parties")]
    BothParties,
    /// A session for each party.
    #[enum_value(name = "A session for each party, with its streams only", nick = "per-party")]
    PerParty,
}

impl From<SiprecSessionMode> for SessionMode {
    fn from(mode: SiprecSessionMode) -> Self {
        match mode {
            SiprecSessionMode::BothParties => Self::BothParties,
            SiprecSessionMode::PerParty => Self::PerParty,
        }
    }
}

/// When the media towards the recorder is encrypted (`srtp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecSrtp")]
pub enum SiprecSrtp {
    /// When the call is.
    #[default]
    #[enum_value(
        name = "At least as secure as the call: SRTP when a stream of the call is SRTP",
        nick = "auto"
    )]
    Auto,
    /// Always.
    #[enum_value(name = "Always SRTP, whatever the call is", nick = "require")]
    Require,
    /// Never.
    #[enum_value(name = "Never SRTP; recording a call that is needs allow-downgrade", nick = "disable")]
    Disable,
}

impl From<SiprecSrtp> for SrtpUse {
    fn from(srtp: SiprecSrtp) -> Self {
        match srtp {
            SiprecSrtp::Auto => Self::Auto,
            SiprecSrtp::Require => Self::Require,
            SiprecSrtp::Disable => Self::Disable,
        }
    }
}

/// Where the keys of encrypted media towards the recorder come from (`srtp-keying`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecKeying")]
pub enum SiprecKeying {
    /// The session descriptions.
    #[default]
    #[enum_value(name = "SDES: from the session descriptions, which need TLS", nick = "sdes")]
    Sdes,
    /// A handshake.
    #[enum_value(name = "DTLS-SRTP: from a handshake on the media's ports", nick = "dtls")]
    Dtls,
}

impl From<SiprecKeying> for Keying {
    fn from(keying: SiprecKeying) -> Self {
        match keying {
            SiprecKeying::Sdes => Self::Sdes,
            SiprecKeying::Dtls => Self::Dtls,
        }
    }
}

/// What a recorder's BYE means (`recorder-bye`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecBye")]
pub enum SiprecBye {
    /// The end of the recording.
    #[default]
    #[enum_value(name = "The recorder has decided that nothing more is to be recorded", nick = "stop")]
    Stop,
    /// A failure.
    #[enum_value(name = "The recorder is lost, and the next one takes the call", nick = "fail-over")]
    FailOver,
}

impl From<SiprecBye> for ByePolicy {
    fn from(bye: SiprecBye) -> Self {
        match bye {
            SiprecBye::Stop => Self::Stop,
            SiprecBye::FailOver => Self::FailOver,
        }
    }
}

/// What a recording that is impossible means for its call (`policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecPolicy")]
pub enum SiprecPolicy {
    /// Nothing.
    #[default]
    #[enum_value(name = "The call goes on without a recording", nick = "best-effort")]
    BestEffort,
    /// Its end.
    #[enum_value(name = "The application is told to end the call (siprec-call-must-end)", nick = "mandatory")]
    Mandatory,
}

/// Where a recording is (`state`, `state-changed`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecState")]
pub enum SiprecState {
    /// Not started.
    #[default]
    #[enum_value(name = "Not started", nick = "idle")]
    Idle,
    /// A recorder is being invited.
    #[enum_value(name = "A recorder is being invited", nick = "starting")]
    Starting,
    /// A recorder takes the call's media.
    #[enum_value(name = "A recorder takes the call's media", nick = "recording")]
    Recording,
    /// Paused.
    #[enum_value(name = "Paused", nick = "paused")]
    Paused,
    /// The call has ended, what is held is still being sent.
    #[enum_value(name = "The call has ended, what is held is still being sent", nick = "draining")]
    Draining,
    /// Over.
    #[enum_value(name = "Over", nick = "stopped")]
    Stopped,
    /// Over: no recorder took it.
    #[enum_value(name = "Over: no recorder took it", nick = "failed")]
    Failed,
}

impl From<RecordingState> for SiprecState {
    fn from(state: RecordingState) -> Self {
        match state {
            RecordingState::Idle => Self::Idle,
            RecordingState::Starting => Self::Starting,
            RecordingState::Recording => Self::Recording,
            RecordingState::Paused => Self::Paused,
            RecordingState::Draining => Self::Draining,
            RecordingState::Stopped => Self::Stopped,
            RecordingState::Failed => Self::Failed,
        }
    }
}
