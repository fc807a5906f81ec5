//! One master key at work: its transform, and where its identifier stands in a packet.

use siprec_model::SrtpKey;

use super::policy::{Policy, Scheme};
use super::transform::{Backend, INDEX_WORD, Refused, Transform, split_end};

/// A master key's session keys with its identifier.
///
/// The identifier stands between the ciphertext and the tag in counter mode (RFC 3711 §3.1, §3.4), and last in GCM, whose
/// tag is part of the ciphertext (RFC 7714 §8.2, §9).
pub(crate) struct Keyset {
    transform: Box<dyn Transform>,
    mki: Box<[u8]>,
    policy: Policy,
}

impl Keyset {
    pub(crate) fn new(backend: Backend, key: &SrtpKey, policy: Policy) -> Result<Self, Refused> {
        let transform = backend.transform(key, &policy)?;
        Ok(Self { transform, mki: key.mki().unwrap_or_default().into(), policy })
    }

    /// Bytes that are added to an RTP packet.
    pub(crate) fn rtp_overhead(&self) -> usize {
        self.policy.rtp().tag_length() + self.mki.len()
    }

    /// Bytes that are added to an RTCP packet.
    pub(crate) fn rtcp_overhead(&self) -> usize {
        INDEX_WORD + self.policy.rtcp().tag_length() + self.mki.len()
    }

    /// Protects an RTP packet, behind which stands room for what is added, and no more.
    pub(crate) fn seal_rtp(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), Refused> {
        let (inner, _) = split_end(packet, self.mki.len())?;
        self.transform.seal_rtp(inner, header, ssrc, index)?;
        self.insert_mki(packet, self.policy.rtp().tag_length())
    }

    /// Protects an RTCP packet, behind which stands room for what is added, and no more.
    pub(crate) fn seal_rtcp(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        word: u32,
    ) -> Result<(), Refused> {
        let (inner, _) = split_end(packet, self.mki.len())?;
        self.transform.seal_rtcp(inner, header, ssrc, word)?;
        self.insert_mki(packet, self.policy.rtcp().tag_length())
    }

    /// Whether a packet is long enough, behind a clear header, and has the identifier of this key.
    pub(crate) fn fits_rtp(&self, packet: &[u8], header: usize) -> Result<(), Misfit> {
        self.fits(packet, header, self.policy.rtp().tag_length(), 0)
    }

    /// The same for RTCP; gives the word with the index.
    pub(crate) fn fits_rtcp(&self, packet: &[u8], header: usize) -> Result<u32, Misfit> {
        let tag = self.policy.rtcp().tag_length();
        self.fits(packet, header, tag, INDEX_WORD)?;
        let end = packet.len().saturating_sub(self.mki.len() + self.behind_mki(tag));
        let word = packet.get(..end).and_then(<[u8]>::last_chunk).ok_or(Misfit::Short)?;
        Ok(u32::from_be_bytes(*word))
    }

    /// Whether RTCP is to be encrypted.
    pub(crate) fn encrypts_rtcp(&self) -> bool {
        self.policy.rtcp().is_encrypted()
    }

    /// Verifies and decrypts a packet that fits; gives the length without trailer.
    pub(crate) fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Refused> {
        let tag = self.policy.rtp().tag_length();
        let length = self.remove_mki(packet, tag)?;
        let inner = packet.get_mut(..length).ok_or(Refused)?;
        match self.transform.open_rtp(inner, header, ssrc, index) {
            Ok(()) => Ok(length - tag),
            Err(refused) => {
                self.restore_mki(packet, tag);
                Err(refused)
            }
        }
    }

    /// Verifies and decrypts a packet that fits; gives the length without trailer.
    pub(crate) fn open_rtcp(
        &mut self,
        packet: &mut [u8],
        header: usize,
        ssrc: u32,
        word: u32,
    ) -> Result<usize, Refused> {
        let tag = self.policy.rtcp().tag_length();
        let length = self.remove_mki(packet, tag)?;
        let inner = packet.get_mut(..length).ok_or(Refused)?;
        match self.transform.open_rtcp(inner, header, ssrc, word) {
            Ok(()) => Ok(length - tag - INDEX_WORD),
            Err(refused) => {
                self.restore_mki(packet, tag);
                Err(refused)
            }
        }
    }

    /// See [`Transform::spoils_what_it_refuses`].
    pub(crate) fn spoils_what_it_refuses(&self) -> bool {
        self.transform.spoils_what_it_refuses()
    }

    fn fits(&self, packet: &[u8], header: usize, tag: usize, word: usize) -> Result<(), Misfit> {
        let trailer = word + tag + self.mki.len();
        if packet.len() < header.saturating_add(trailer) {
            return Err(Misfit::Short);
        }
        if self.mki.is_empty() {
            return Ok(());
        }
        let end = packet.len().saturating_sub(self.behind_mki(tag));
        let found = packet.get(end.saturating_sub(self.mki.len())..end).unwrap_or_default();
        if *found == *self.mki { Ok(()) } else { Err(Misfit::Mki) }
    }

    /// Bytes that follow the identifier.
    fn behind_mki(&self, tag: usize) -> usize {
        match self.policy.scheme() {
            Scheme::CounterMode => tag,
            Scheme::Gcm => 0,
        }
    }

    /// Writes the identifier into its place; the room for it is at the end.
    fn insert_mki(&self, packet: &mut [u8], tag: usize) -> Result<(), Refused> {
        if self.mki.is_empty() {
            return Ok(());
        }
        let (_, end) = split_end(packet, self.mki.len() + self.behind_mki(tag))?;
        end.rotate_right(self.mki.len());
        let (place, _) = end.split_at_mut_checked(self.mki.len()).ok_or(Refused)?;
        place.copy_from_slice(&self.mki);
        Ok(())
    }

    /// Moves the identifier to the end; gives the length without it.
    fn remove_mki(&self, packet: &mut [u8], tag: usize) -> Result<usize, Refused> {
        if self.mki.is_empty() {
            return Ok(packet.len());
        }
        let length = packet.len().checked_sub(self.mki.len()).ok_or(Refused)?;
        let start = length.checked_sub(self.behind_mki(tag)).ok_or(Refused)?;
        packet.get_mut(start..).ok_or(Refused)?.rotate_left(self.mki.len());
        Ok(length)
    }

    fn restore_mki(&self, packet: &mut [u8], tag: usize) {
        let start = packet.len().saturating_sub(self.mki.len() + self.behind_mki(tag));
        if let Some(end) = packet.get_mut(start..) {
            end.rotate_right(self.mki.len());
        }
    }
}

/// Why a packet cannot be one of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Too short for its trailer.
    Short,
    /// It has another identifier.
    Mki,
}
