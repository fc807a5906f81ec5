//! What a backend does: the transforms of one master key's session keys over single packets.

use aes::{Aes128Enc, Aes256Enc};
use siprec_model::SrtpKey;

use super::counter_mode::CounterMode;
use super::gcm::Gcm;
use super::policy::{Policy, Scheme};

/// Bytes of the word that carries an SRTCP packet's index (RFC 3711 §3.4).
pub(crate) const INDEX_WORD: usize = 4;
/// The bit of that word that says that the packet is encrypted.
pub(crate) const ENCRYPTED: u32 = 0x8000_0000;

/// Not sealed, or not opened: wrong key, wrong index, changed bytes, or too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// The session keys of one master key at work. Nothing here knows which index is right, or was used before: the caller
/// says it.
///
/// A packet stands in its slice with its trailer, but without a master key identifier:
///
/// | | RTP | RTCP |
/// |---|---|---|
/// | counter mode | header, payload, tag | header, payload, word with the index, tag |
/// | GCM | header, payload, tag | header, payload, tag, word with the index |
///
/// `header` is the number of bytes that stay as they are.
pub(crate) trait Transform: Send {
    /// Encrypts a packet in its place and fills in its trailer. `index` is rollover counter x 65,536 + sequence number.
    fn seal_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused>;

    /// Verifies a packet and decrypts it in its place.
    fn open_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused>;

    /// Encrypts a packet in its place and fills in its trailer, with `word` in it.
    fn seal_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused>;

    /// Verifies a packet and decrypts it in its place; `word` is what its trailer has.
    fn open_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused>;

    /// Whether a packet that was refused is not what it was: who tries another key or index needs a copy.
    fn spoils_what_it_refuses(&self) -> bool;
}

/// The last `length` bytes, and what stands before them.
pub(crate) fn split_end(bytes: &mut [u8], length: usize) -> Result<(&mut [u8], &mut [u8]), Refused> {
    let start = bytes.len().checked_sub(length).ok_or(Refused)?;
    bytes.split_at_mut_checked(start).ok_or(Refused)
}

/// Whose cryptography is used. Both give the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Backend {
    /// RustCrypto's AES and HMAC-SHA1 for counter mode, `ring` for GCM.
    #[default]
    Rust,
    /// libsrtp2 over OpenSSL, linked into the library.
    #[cfg(feature = "libsrtp")]
    Libsrtp,
}

impl Backend {
    /// Every backend of this build.
    #[cfg(not(feature = "libsrtp"))]
    pub const ALL: &[Self] = &[Self::Rust];
    /// Every backend of this build.
    #[cfg(feature = "libsrtp")]
    pub const ALL: &[Self] = &[Self::Rust, Self::Libsrtp];

    /// Session keys at work.
    pub(crate) fn transform(self, key: &SrtpKey, policy: &Policy) -> Result<Box<dyn Transform>, Refused> {
        match self {
            Self::Rust => Ok(match policy.scheme() {
                Scheme::CounterMode if key.suite().key_length() == 32 => {
                    Box::new(CounterMode::<Aes256Enc>::new(key, policy)?)
                }
                Scheme::CounterMode => Box::new(CounterMode::<Aes128Enc>::new(key, policy)?),
                Scheme::Gcm => Box::new(Gcm::new(key)?),
            }),
            #[cfg(feature = "libsrtp")]
            Self::Libsrtp => Ok(Box::new(super::libsrtp::Libsrtp::new(key, policy)?)),
        }
    }
}
