//! Session descriptions: typed views over `sdp-types`, and a builder of offers and answers.
//!
//! Reading is tolerant, as the field asks for (`protocol` 1.2): attributes in odd places, missing lines, several
//! spaces, bytes that are not UTF-8. Writing is strict.

mod address;
mod build;
mod crypto;
mod direction;
mod dtls;
mod media;
mod tolerance;

pub use address::Address;
pub use build::{MediaBuilder, SdpBuilder};
pub use crypto::{Crypto, CryptoFault, SAVP};
pub use direction::Direction;
pub use dtls::{Setup, TLS_SAVP};
pub use media::{MediaView, static_format};

use std::fmt;
use std::net::IpAddr;

use crate::redact::redact;

/// Most bytes of a session description.
pub const MAX_SDP_BYTES: usize = 64 * 1024;
/// Most m-lines of a session description.
pub const MAX_MEDIA: usize = 64;

/// A session description (RFC 8866).
#[derive(Clone, PartialEq, Eq)]
pub struct SessionDescription(sdp_types::Session);

/// Why bytes are no session description, or a value cannot stand in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Longer than [`MAX_SDP_BYTES`].
    #[error("the session description is longer than {MAX_SDP_BYTES} bytes")]
    TooLong,
    /// More m-lines than [`MAX_MEDIA`].
    #[error("the session description has more than {MAX_MEDIA} m-lines")]
    TooManyMedia,
    /// What is wrong in which line.
    #[error("the session description cannot be read: {0}")]
    Malformed(String),
    /// A value given to the builder that would break its line.
    #[error("{0} cannot stand in a session description")]
    Value(&'static str),
}

impl SessionDescription {
    /// Parses a body.
    ///
    /// # Errors
    /// What is wrong and in which line.
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > MAX_SDP_BYTES {
            return Err(SdpError::TooLong);
        }
        let text = tolerance::repair(body);
        let session = sdp_types::Session::parse(text.as_bytes())
            .map_err(|error| SdpError::Malformed(error.to_string()))?;
        if session.medias.len() > MAX_MEDIA {
            return Err(SdpError::TooManyMedia);
        }
        Ok(Self(session))
    }

    /// The bytes for the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing to a vector cannot fail.
        let _ = self.0.write(&mut out);
        out
    }

    /// The session id of the origin line, as written.
    pub fn session_id(&self) -> &str {
        &self.0.origin.sess_id
    }

    /// The version of the origin line.
    pub const fn version(&self) -> u64 {
        self.0.origin.sess_version
    }

    /// The session's name.
    pub fn session_name(&self) -> &str {
        &self.0.session_name
    }

    /// How many m-lines there are.
    pub fn media_count(&self) -> usize {
        self.0.medias.len()
    }

    /// The m-line at `index`, counted from 0.
    pub fn media(&self, index: usize) -> Option<MediaView<'_>> {
        self.0.medias.get(index).map(|media| MediaView::new(&self.0, media))
    }

    /// Every m-line in order.
    pub fn medias(&self) -> impl Iterator<Item = MediaView<'_>> {
        self.0.medias.iter().map(|media| MediaView::new(&self.0, media))
    }

    /// The value of the first session-level attribute of this name, empty where it has none.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        media::first_value(&self.0.attributes, name)
    }

    /// Everything that `sdp-types` knows of it.
    pub const fn as_session(&self) -> &sdp_types::Session {
        &self.0
    }
}

/// Without keys.
impl fmt::Debug for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redact(&self.to_bytes()), f)
    }
}

/// The owner of a description: its `o=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Constant for the life of the dialog.
    pub session_id: u64,
    /// One higher with every change (RFC 3264 §8).
    pub version: u64,
    /// The host.
    pub address: IpAddr,
}
