//! The enumeration of a branch's suites.

use gst::glib;
use siprec_model::SrtpSuite;

/// How a branch is encrypted (`srtp-suite`). The nicks are the names in `a=crypto`, in small letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecSrtpSuite")]
#[non_exhaustive]
pub enum SiprecSrtpSuite {
    /// Plain RTP.
    #[default]
    #[enum_value(name = "Plain RTP", nick = "none")]
    None,
    /// AES-256 in Galois/counter mode.
    #[enum_value(name = "AEAD_AES_256_GCM (RFC 7714), key and salt of 44 bytes", nick = "aead-aes-256-gcm")]
    AeadAes256Gcm,
    /// AES-256 in counter mode, HMAC-SHA1 of 80 bits.
    #[enum_value(
        name = "AES_256_CM_HMAC_SHA1_80 (RFC 6188), key and salt of 46 bytes",
        nick = "aes-256-cm-hmac-sha1-80"
    )]
    AesCm256HmacSha1_80,
    /// AES-128 in Galois/counter mode.
    #[enum_value(name = "AEAD_AES_128_GCM (RFC 7714), key and salt of 28 bytes", nick = "aead-aes-128-gcm")]
    AeadAes128Gcm,
    /// AES-128 in counter mode, HMAC-SHA1 of 80 bits.
    #[enum_value(
        name = "AES_CM_128_HMAC_SHA1_80 (RFC 4568), key and salt of 30 bytes",
        nick = "aes-cm-128-hmac-sha1-80"
    )]
    AesCm128HmacSha1_80,
    /// AES-128 in counter mode, HMAC-SHA1 of 32 bits.
    #[enum_value(
        name = "AES_CM_128_HMAC_SHA1_32 (RFC 4568), key and salt of 30 bytes",
        nick = "aes-cm-128-hmac-sha1-32"
    )]
    AesCm128HmacSha1_32,
}

impl SiprecSrtpSuite {
    /// The suite, if there is one.
    pub(super) fn suite(self) -> Option<SrtpSuite> {
        match self {
            Self::None => None,
            Self::AeadAes256Gcm => Some(SrtpSuite::AeadAes256Gcm),
            Self::AesCm256HmacSha1_80 => Some(SrtpSuite::AesCm256HmacSha1_80),
            Self::AeadAes128Gcm => Some(SrtpSuite::AeadAes128Gcm),
            Self::AesCm128HmacSha1_80 => Some(SrtpSuite::AesCm128HmacSha1_80),
            Self::AesCm128HmacSha1_32 => Some(SrtpSuite::AesCm128HmacSha1_32),
        }
    }
}
