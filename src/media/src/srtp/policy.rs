//! What protects RTP and what protects RTCP under one key.

use std::fmt;
use std::str::FromStr;

use siprec_model::{Component, SrtpSuite};

/// How packets are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// Not at all.
    Null,
    /// AES-128 in counter mode (RFC 3711 §4.1.1).
    AesCm128,
    /// AES-256 in counter mode (RFC 6188).
    AesCm256,
    /// AES-128 in Galois/counter mode (RFC 7714).
    AesGcm128,
    /// AES-256 in Galois/counter mode (RFC 7714).
    AesGcm256,
}

/// How packets are authenticated, besides what the cipher does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// Not at all. The only one that goes with GCM, which authenticates by itself.
    Null,
    /// HMAC-SHA1, of which 32 bits are sent.
    HmacSha1_32,
    /// HMAC-SHA1, of which 80 bits are sent.
    HmacSha1_80,
}

/// Not the name of a cipher or authentication that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no SRTP cipher or authentication that is known")]
pub struct UnknownName(String);

impl Cipher {
    const ALL: [Self; 5] = [Self::Null, Self::AesCm128, Self::AesCm256, Self::AesGcm128, Self::AesGcm256];

    /// The name that GStreamer's `srtpdec` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::AesCm128 => "aes-128-icm",
            Self::AesCm256 => "aes-256-icm",
            Self::AesGcm128 => "aes-128-gcm",
            Self::AesGcm256 => "aes-256-gcm",
        }
    }
}

impl Authentication {
    const ALL: [Self; 3] = [Self::Null, Self::HmacSha1_32, Self::HmacSha1_80];

    /// The name that GStreamer's `srtpdec` has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::HmacSha1_32 => "hmac-sha1-32",
            Self::HmacSha1_80 => "hmac-sha1-80",
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cipher {
    type Err = UnknownName;

    /// Reads what [`Cipher::as_str`] writes.
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|cipher| cipher.as_str() == text);
        known.ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl FromStr for Authentication {
    type Err = UnknownName;

    /// Reads what [`Authentication::as_str`] writes.
    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|authentication| authentication.as_str() == text);
        known.ok_or_else(|| UnknownName(text.to_owned()))
    }
}

/// Why ciphers and authentications make no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// Neither RTP nor RTCP is protected at all: that is plain RTP, which needs no key.
    #[error("neither RTP nor RTCP would be encrypted or authenticated")]
    Plain,
    /// One master key cannot be for both.
    #[error("{rtp} for RTP and {rtcp} for RTCP cannot share a key")]
    Ciphers {
        /// Of RTP.
        rtp: Cipher,
        /// Of RTCP.
        rtcp: Cipher,
    },
    /// GCM authenticates by itself and takes nothing beside it (RFC 7714 §14).
    #[error("{of}: {cipher} authenticates by itself and goes with no {authentication}")]
    Twice {
        /// Which packets.
        of: Component,
        /// Theirs.
        cipher: Cipher,
        /// Theirs.
        authentication: Authentication,
    },
    /// SRTCP is always authenticated when it is encrypted (RFC 3711 §3.4).
    #[error("RTCP: what {0} encrypts must be authenticated")]
    UnauthenticatedRtcp(Cipher),
}

/// What protects RTP and what protects RTCP under one key: that of a suite, or on the call's side whatever was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    scheme: Scheme,
    key_length: usize,
    rtp: Protection,
    rtcp: Protection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    CounterMode,
    Gcm,
}

/// How the packets of RTP or of RTCP are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Protection {
    is_encrypted: bool,
    tag_length: usize,
}

impl From<SrtpSuite> for Policy {
    fn from(suite: SrtpSuite) -> Self {
        let protection = |tag_length| Protection { is_encrypted: true, tag_length };
        Self {
            scheme: match suite {
                SrtpSuite::AeadAes128Gcm | SrtpSuite::AeadAes256Gcm => Scheme::Gcm,
                SrtpSuite::AesCm128HmacSha1_80
                | SrtpSuite::AesCm128HmacSha1_32
                | SrtpSuite::AesCm256HmacSha1_80 => Scheme::CounterMode,
            },
            key_length: suite.key_length(),
            rtp: protection(suite.rtp_tag_length()),
            rtcp: protection(suite.rtcp_tag_length()),
        }
    }
}

impl Policy {
    /// What an application asked for, RTP first. A NULL cipher and missing authentication are here because somebody
    /// asked: no suite has them.
    ///
    /// # Errors
    /// [`PolicyFault`] for what cannot be served.
    pub fn new(rtp: (Cipher, Authentication), rtcp: (Cipher, Authentication)) -> Result<Self, PolicyFault> {
        let plain = (Cipher::Null, Authentication::Null);
        if (rtp, rtcp) == (plain, plain) {
            return Err(PolicyFault::Plain);
        }
        for (of, (cipher, authentication)) in [(Component::Rtp, rtp), (Component::Rtcp, rtcp)] {
            if cipher.is_gcm() && authentication != Authentication::Null {
                return Err(PolicyFault::Twice { of, cipher, authentication });
            }
        }
        if rtcp.0 != Cipher::Null && !rtcp.0.is_gcm() && rtcp.1 == Authentication::Null {
            return Err(PolicyFault::UnauthenticatedRtcp(rtcp.0));
        }
        let is_shared = match (rtp.0, rtcp.0) {
            (one, other) if one == other => true,
            (Cipher::Null, other) | (other, Cipher::Null) => !other.is_gcm(),
            _ => false,
        };
        if !is_shared {
            return Err(PolicyFault::Ciphers { rtp: rtp.0, rtcp: rtcp.0 });
        }
        let cipher = if rtp.0 == Cipher::Null { rtcp.0 } else { rtp.0 };
        Ok(Self {
            scheme: if cipher.is_gcm() { Scheme::Gcm } else { Scheme::CounterMode },
            key_length: cipher.key_length(),
            rtp: Protection::new(rtp),
            rtcp: Protection::new(rtcp),
        })
    }

    /// A suite that has master keys as this policy needs them.
    pub fn key_suite(&self) -> SrtpSuite {
        match (self.scheme, self.key_length) {
            (Scheme::CounterMode, 32) => SrtpSuite::AesCm256HmacSha1_80,
            (Scheme::CounterMode, _) if self.rtp.tag_length == 4 => SrtpSuite::AesCm128HmacSha1_32,
            (Scheme::CounterMode, _) => SrtpSuite::AesCm128HmacSha1_80,
            (Scheme::Gcm, 32) => SrtpSuite::AeadAes256Gcm,
            (Scheme::Gcm, _) => SrtpSuite::AeadAes128Gcm,
        }
    }

    /// Whether keys of a suite fit: same cipher, same length.
    pub(crate) fn takes_keys_of(&self, suite: SrtpSuite) -> bool {
        let other = Self::from(suite);
        (self.scheme, self.key_length) == (other.scheme, other.key_length)
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn rtp(&self) -> Protection {
        self.rtp
    }

    pub(crate) fn rtcp(&self) -> Protection {
        self.rtcp
    }
}

impl Protection {
    fn new((cipher, authentication): (Cipher, Authentication)) -> Self {
        let tag_length = match authentication {
            _ if cipher.is_gcm() => 16,
            Authentication::Null => 0,
            Authentication::HmacSha1_32 => 4,
            Authentication::HmacSha1_80 => 10,
        };
        Self { is_encrypted: cipher != Cipher::Null, tag_length }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        self.is_encrypted
    }

    pub(crate) fn tag_length(self) -> usize {
        self.tag_length
    }
}

impl Cipher {
    fn is_gcm(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm256)
    }

    /// Bytes of its key. Authentication without a cipher has its keys derived with AES-128 (RFC 3711 §4.3.1).
    fn key_length(self) -> usize {
        match self {
            Self::Null | Self::AesCm128 | Self::AesGcm128 => 16,
            Self::AesCm256 | Self::AesGcm256 => 32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: [&str; 4]) -> Result<Policy, PolicyFault> {
        let [rtp, rtp_auth, rtcp, rtcp_auth] = names;
        let pair = |cipher: &str, auth: &str| (cipher.parse().unwrap(), auth.parse().unwrap());
        Policy::new(pair(rtp, rtp_auth), pair(rtcp, rtcp_auth))
    }

    #[test]
    fn the_usual_caps_are_the_suites() {
        let table = [
            (["aes-128-icm", "hmac-sha1-80", "aes-128-icm", "hmac-sha1-80"], SrtpSuite::AesCm128HmacSha1_80),
            (["aes-128-icm", "hmac-sha1-32", "aes-128-icm", "hmac-sha1-80"], SrtpSuite::AesCm128HmacSha1_32),
            (["aes-256-icm", "hmac-sha1-80", "aes-256-icm", "hmac-sha1-80"], SrtpSuite::AesCm256HmacSha1_80),
            (["aes-128-gcm", "null", "aes-128-gcm", "null"], SrtpSuite::AeadAes128Gcm),
            (["aes-256-gcm", "null", "aes-256-gcm", "null"], SrtpSuite::AeadAes256Gcm),
        ];
        for (names, suite) in table {
            assert_eq!(named(names), Ok(Policy::from(suite)));
            assert_eq!(Policy::from(suite).key_suite(), suite);
        }
    }

    #[test]
    fn what_is_weaker_is_served_when_it_is_asked_for() {
        let served = [
            ["aes-128-icm", "hmac-sha1-32", "aes-128-icm", "hmac-sha1-32"],
            ["aes-256-icm", "hmac-sha1-32", "aes-256-icm", "hmac-sha1-80"],
            ["aes-128-icm", "null", "aes-128-icm", "hmac-sha1-80"],
            ["null", "hmac-sha1-80", "null", "hmac-sha1-80"],
            ["aes-128-icm", "hmac-sha1-80", "null", "null"],
            ["null", "null", "aes-256-icm", "hmac-sha1-80"],
        ];
        for names in served {
            let policy = named(names).unwrap();
            assert!(policy.takes_keys_of(policy.key_suite()));
            assert_ne!(policy, Policy::from(policy.key_suite()));
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_its_reason() {
        let refused = [
            (["null"; 4], "neither RTP nor RTCP"),
            (["aes-128-icm", "hmac-sha1-80", "aes-256-icm", "hmac-sha1-80"], "cannot share a key"),
            (["aes-128-gcm", "null", "null", "null"], "cannot share a key"),
            (["aes-128-gcm", "null", "aes-128-icm", "hmac-sha1-80"], "cannot share a key"),
            (["aes-128-gcm", "hmac-sha1-80", "aes-128-gcm", "null"], "goes with no"),
            (["aes-128-icm", "hmac-sha1-80", "aes-128-icm", "null"], "must be authenticated"),
        ];
        for (names, reason) in refused {
            let fault = named(names).unwrap_err().to_string();
            assert!(fault.contains(reason), "{names:?}: {fault}");
            assert!(!fault.contains("Aes") && !fault.contains("Hmac"), "names are those of caps: {fault}");
        }
        assert!("aes-192-icm".parse::<Cipher>().unwrap_err().to_string().contains("aes-192-icm"));
        assert!("hmac-md5".parse::<Authentication>().unwrap_err().to_string().contains("hmac-md5"));
    }
}
