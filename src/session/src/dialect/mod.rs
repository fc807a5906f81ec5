//! What differs between the recorders' protocols, as pure functions: the INVITE, and how an answer is read.

mod genesys;

use siprec_model::{CallUuid, RecordingId};
use siprec_sip::sdp::Direction;
use siprec_sip::{Headers, NameAddr, Uri};

use crate::config::{ConfigError, RecordingConfig};
use crate::recorder::{PayloadTypes, RecorderTarget};

/// What is spoken with a recorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// Genesys Media Server active recording: the Request-URI names recording and parties, the body is plain SDP.
    #[default]
    Genesys,
}

impl Dialect {
    /// The word used in properties.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesys => "genesys",
        }
    }

    /// Finds what the dialect cannot express.
    pub(crate) fn check(self, config: &RecordingConfig) -> Result<(), ConfigError> {
        match self {
            Self::Genesys => genesys::check(config),
        }
    }

    /// The head of the INVITE.
    pub(crate) fn invite(self, subject: &Subject<'_>) -> Result<Invite, InviteError> {
        match self {
            Self::Genesys => genesys::invite(subject),
        }
    }

    /// Whose payload type numbers are sent where the recorder's profile does not say.
    pub(crate) fn payload_types(self) -> PayloadTypes {
        match self {
            Self::Genesys => genesys::PAYLOAD_TYPES,
        }
    }

    /// Whether every Request-URI has a parameter of this name.
    pub(crate) fn sets_parameter(self, name: &str, config: &RecordingConfig) -> bool {
        match self {
            Self::Genesys => genesys::sets_parameter(name, config),
        }
    }

    /// Whether an answer with this direction takes media.
    pub(crate) fn answer_takes_media(self, direction: Direction) -> bool {
        match self {
            Self::Genesys => genesys::answer_takes_media(direction),
        }
    }
}

/// What an INVITE speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) recorder: &'a RecorderTarget,
    pub(crate) recording_id: &'a RecordingId,
    pub(crate) call_uuid: &'a CallUuid,
    /// The session's party, or the first of both; None where not known.
    pub(crate) dn: Option<&'a str>,
    /// The other party of a session for both.
    pub(crate) other_dn: Option<&'a str>,
    pub(crate) config: &'a RecordingConfig,
}

/// The head of an INVITE, as far as a dialect decides it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Invite {
    pub(crate) request_uri: Uri,
    pub(crate) to: NameAddr,
    pub(crate) headers: Headers,
}

impl Invite {
    /// The bytes that Request-URI and To make.
    pub(crate) fn address_length(&self) -> usize {
        self.request_uri.as_str().len() + self.to.to_string().len()
    }

    /// The bytes that the headers make.
    pub(crate) fn header_length(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.as_bytes().len() + ": \r\n".len()).sum()
    }
}

/// Why no INVITE can be built although the configuration was checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} cannot be built: {reason}")]
pub(crate) struct InviteError {
    pub(crate) part: &'static str,
    pub(crate) reason: String,
}

impl InviteError {
    fn new(part: &'static str, error: &dyn std::error::Error) -> Self {
        Self { part, reason: error.to_string() }
    }
}
