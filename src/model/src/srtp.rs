//! SRTP suites and master keys.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// How the packets of one session are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// AES-128 in counter mode, HMAC-SHA1 of 80 bits (RFC 3711, RFC 4568 §6.2.1).
    AesCm128HmacSha1_80,
    /// The same with 32 bits for RTP and 80 for RTCP (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// AES-256 in counter mode, HMAC-SHA1 of 80 bits (RFC 6188).
    AesCm256HmacSha1_80,
    /// AES-128 in Galois/counter mode, 128 bits (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode, 128 bits (RFC 7714).
    AeadAes256Gcm,
}

impl SrtpSuite {
    /// Every suite, strongest first.
    pub const ALL: [Self; 5] = [
        Self::AeadAes256Gcm,
        Self::AesCm256HmacSha1_80,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    /// The name in `a=crypto` (RFC 4568 §6.2, RFC 6188 §4.1, RFC 7714 §14.2).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AesCm256HmacSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of master key and salt together, as in `inline:`.
    pub const fn master_length(self) -> usize {
        self.key_length() + self.salt_length()
    }

    /// Bytes that a tag adds to an RTP packet.
    pub const fn rtp_tag_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm256HmacSha1_80 => 10,
            Self::AesCm128HmacSha1_32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes that a tag adds to an RTCP packet, besides the index of four bytes.
    pub const fn rtcp_tag_length(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm256HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Whether another suite protects less than this one does: who re-encrypts should not do so unasked
    /// (RFC 7866 §12.2).
    pub fn is_stronger_than(self, other: Self) -> bool {
        let strength = |suite: Self| (suite.key_length(), suite.rtp_tag_length());
        let (own, other) = (strength(self), strength(other));
        own.0 > other.0 || own.1 > other.1
    }
}

impl fmt::Display for SrtpSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a suite that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no SRTP suite that is known")]
pub struct UnknownSuite(String);

impl FromStr for SrtpSuite {
    type Err = UnknownSuite;

    /// Reads the name in `a=crypto`, without regard to case (a literal of ABNF, RFC 5234 §2.3).
    fn from_str(text: &str) -> Result<Self, UnknownSuite> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownSuite(text.to_owned()))
    }
}

/// Longest master key identifier, in bytes (RFC 4568 §6.1).
pub const LONGEST_MKI: usize = 128;

/// Why bytes are no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Too few or too many for the suite.
    #[error("a master key of {suite} has {} bytes with its salt, not {found}", suite.master_length())]
    Length {
        /// The suite.
        suite: SrtpSuite,
        /// How many there are.
        found: usize,
    },
    /// A master key identifier that cannot be one.
    #[error("a master key identifier has 1 to {LONGEST_MKI} bytes, not {0}")]
    Mki(usize),
}

/// A master key with its salt, for one suite. The bytes are overwritten when it goes; `Debug` shows the suite alone.
#[derive(Clone)]
pub struct SrtpKey {
    suite: SrtpSuite,
    master: Zeroizing<Box<[u8]>>,
    mki: Option<Box<[u8]>>,
}

impl SrtpKey {
    /// From key and salt, in this order.
    ///
    /// # Errors
    /// [`KeyFault::Length`].
    pub fn new(suite: SrtpSuite, master: &[u8]) -> Result<Self, KeyFault> {
        if master.len() != suite.master_length() {
            return Err(KeyFault::Length { suite, found: master.len() });
        }
        Ok(Self { suite, master: Zeroizing::new(master.into()), mki: None })
    }

    /// The same with an identifier, which then stands in every packet.
    ///
    /// # Errors
    /// [`KeyFault::Mki`].
    pub fn with_mki(mut self, mki: &[u8]) -> Result<Self, KeyFault> {
        if !(1..=LONGEST_MKI).contains(&mki.len()) {
            return Err(KeyFault::Mki(mki.len()));
        }
        self.mki = Some(mki.into());
        Ok(self)
    }

    /// The suite that it is for.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        self.master.get(..self.suite.key_length()).unwrap_or_default()
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        self.master.get(self.suite.key_length()..).unwrap_or_default()
    }

    /// Key and salt, as `inline:` has them.
    pub fn master(&self) -> &[u8] {
        &self.master
    }

    /// The identifier.
    pub fn mki(&self) -> Option<&[u8]> {
        self.mki.as_deref()
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKey").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// Takes as long whatever is different.
impl PartialEq for SrtpKey {
    fn eq(&self, other: &Self) -> bool {
        let lengths = self.suite == other.suite && self.mki == other.mki;
        let different = self.master.iter().zip(other.master.iter()).fold(0, |all, (a, b)| all | (a ^ b));
        lengths && different == 0
    }
}

impl Eq for SrtpKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        let of = |suite: SrtpSuite| {
            (suite.as_str(), suite.master_length(), suite.rtp_tag_length(), suite.rtcp_tag_length())
        };
        let expected = [
            ("AEAD_AES_256_GCM", 44, 16, 16),
            ("AES_256_CM_HMAC_SHA1_80", 46, 10, 10),
            ("AEAD_AES_128_GCM", 28, 16, 16),
            ("AES_CM_128_HMAC_SHA1_80", 30, 10, 10),
            ("AES_CM_128_HMAC_SHA1_32", 30, 4, 10),
        ];
        assert_eq!(SrtpSuite::ALL.map(of), expected);
    }

    #[test]
    fn names_are_read_as_they_are_written_and_no_others() {
        for suite in SrtpSuite::ALL {
            assert_eq!(suite.as_str().parse(), Ok(suite));
            assert_eq!(suite.as_str().to_lowercase().parse(), Ok(suite));
        }
        for wrong in ["", "F8_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_8"] {
            assert!(wrong.parse::<SrtpSuite>().unwrap_err().to_string().contains(wrong));
        }
    }

    #[test]
    fn a_key_shows_its_suite_and_no_byte_of_itself() {
        let key = SrtpKey::new(SrtpSuite::AesCm128HmacSha1_80, &[0xAB; 30]).unwrap();
        let key = key.with_mki(&[0xAB; 4]).unwrap();
        assert_eq!(format!("{key:?}"), "SrtpKey { suite: AesCm128HmacSha1_80, .. }");
        assert_eq!((key.key().len(), key.salt().len(), key.mki().map(<[u8]>::len)), (16, 14, Some(4)));
    }

    #[test]
    fn a_key_of_another_length_is_refused_by_both_lengths() {
        for (suite, length) in [(SrtpSuite::AeadAes128Gcm, 30), (SrtpSuite::AesCm256HmacSha1_80, 0)] {
            let fault = SrtpKey::new(suite, &vec![0; length]).unwrap_err().to_string();
            assert!(fault.contains(&suite.master_length().to_string()), "{fault}");
            assert!(fault.contains(&length.to_string()), "{fault}");
        }
        for mki in [0, 129] {
            let key = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[0; 28]).unwrap();
            assert_eq!(key.with_mki(&vec![0; mki]), Err(KeyFault::Mki(mki)));
        }
    }

    #[test]
    fn keys_are_equal_when_all_of_them_is() {
        let suite = SrtpSuite::AeadAes128Gcm;
        let key = |byte| SrtpKey::new(suite, &[byte; 28]).unwrap();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_ne!(key(1), key(1).with_mki(&[1]).unwrap());
    }

    #[test]
    fn a_shorter_key_or_tag_is_weaker() {
        use SrtpSuite::{AeadAes128Gcm, AeadAes256Gcm, AesCm128HmacSha1_32, AesCm128HmacSha1_80};
        assert!(AeadAes256Gcm.is_stronger_than(AeadAes128Gcm));
        assert!(AesCm128HmacSha1_80.is_stronger_than(AesCm128HmacSha1_32));
        assert!(!AesCm128HmacSha1_32.is_stronger_than(AesCm128HmacSha1_80));
        assert!(!AeadAes128Gcm.is_stronger_than(AeadAes128Gcm));
    }
}
