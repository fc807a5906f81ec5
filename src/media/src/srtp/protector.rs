//! The recording side: packets towards a recorder, under a key made for it alone.

use std::fmt;

use siprec_model::{DropCause, SrtpKey};

use super::admission::Admission;
use super::header::{RTCP_HEADER, RtpHeader, rtcp_ssrc};
use super::keyset::Keyset;
use super::policy::Policy;
use super::transform::{Backend, ENCRYPTED, Refused};
use super::window::{Known, Window};

/// RFC 3711 §9.2: most packets of RTP under one key, and as many indices there are.
const MOST_RTP: u64 = 1 << 48;
/// RFC 3711 §9.2: most packets of RTCP under one key, and as many indices there are.
const MOST_RTCP: u64 = 1 << 31;
/// How far below a source's highest index one may be that was not used yet.
const REACH: u64 = 127;
/// The last such part of what a key may be used for is left for agreeing on another one.
const MARGIN: u64 = 16;

/// Encrypts and authenticates what one branch sends to one recorder.
///
/// It trusts nobody with its key: whatever it is given, no (key, SSRC, index) is used twice (RFC 3711 §9.1, RFC 7714
/// §8.4). A packet that would break that is refused, and taken off the buffer.
///
/// At most 8 sources are in use at once, 64 in all; one that was evicted by a ninth is never admitted again.
///
/// The rollover counter that a recorder sees begins at 0 with the first packet of each source, and follows the branch's
/// index from there.
pub struct Protector {
    backend: Backend,
    key: SrtpKey,
    keyset: Keyset,
    rtp: Admission<RtpUse>,
    rtcp: Admission<RtcpUse>,
    limits: KeyLimits,
    rtp_packets: u64,
    rtcp_packets: u64,
    wear: Wear,
}

/// How far each key may be used. By default as far as RFC 3711 §9.2 lets it; no limit beyond that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// Packets of RTP, 1 to 2^48.
    pub rtp: u64,
    /// Packets of RTCP, 1 to 2^31.
    pub rtcp: u64,
    /// The SRTCP index of each source's first packet, below 2^31. 1 by default, as libsrtp has it.
    pub first_rtcp: u32,
}

/// How much of what a key may be used for is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wear {
    /// A lot.
    #[default]
    Fresh,
    /// Less than a sixteenth: another key should be agreed on.
    Nearly,
    /// Nothing. Neither RTP nor RTCP leaves under it any more: whichever comes to its end first ends the key (RFC 3711
    /// §9.2).
    UsedUp,
}

/// What a key was used for in one source's RTP.
#[derive(Debug, Default)]
struct RtpUse {
    /// What is taken off the branch's index, so that the first packet has a rollover counter of 0.
    base: u64,
    /// No index below was or will be used under the present key.
    first: u64,
    used: Window,
}

/// What a key was used for in one source's RTCP.
#[derive(Debug, Default)]
struct RtcpUse {
    /// The last index used, if any was.
    last: Option<u32>,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self { rtp: MOST_RTP, rtcp: MOST_RTCP, first_rtcp: 1 }
    }
}

/// Why a key cannot be put to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// The backend does not take it.
    #[error("the {0:?} backend does not take this key")]
    Backend(Backend),
    /// It is in use: what starts afresh with it would use indices again.
    #[error("a stream cannot start afresh with the key that it has")]
    InUse,
    /// Its suite is of another cipher or length than the policy.
    #[error("the key is not one for the ciphers that were asked for")]
    Policy,
}

/// Why a packet was not protected. It is no longer in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtectFault {
    /// The buffer holds no packet of that length, source and sequence number.
    #[error("not the packet that it was said to be")]
    Malformed,
    /// Its index was used already.
    #[error("the index was used already")]
    Repeated,
    /// Its index is so far back (128) that nobody knows whether it was used.
    #[error("the index is too old")]
    TooOld,
    /// More sources than a key may have (8 at once, 64 in all), or one that was evicted before.
    #[error("too many sources under one key")]
    TooManySources,
    /// The key was used for as many packets as a key may be: another is needed.
    #[error("the key is used up")]
    KeyExhausted,
    /// The backend did not take it.
    #[error("the cryptography refused the packet")]
    Refused,
}

impl fmt::Debug for Protector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protector").field("key", &self.key).finish_non_exhaustive()
    }
}

impl From<ProtectFault> for DropCause {
    fn from(fault: ProtectFault) -> Self {
        match fault {
            ProtectFault::Malformed => Self::Malformed,
            ProtectFault::Repeated | ProtectFault::TooOld => Self::Stale,
            ProtectFault::TooManySources => Self::TooManySources,
            ProtectFault::KeyExhausted | ProtectFault::Refused => Self::NotProtected,
        }
    }
}

impl Protector {
    /// Starts with a key that no other stream has.
    ///
    /// # Errors
    /// [`KeyRefused`], which the default backend has no reason for.
    pub fn new(key: &SrtpKey) -> Result<Self, KeyRefused> {
        Self::with_backend(key, Backend::default())
    }

    /// The same with another backend.
    ///
    /// # Errors
    /// [`KeyRefused`].
    pub fn with_backend(key: &SrtpKey, backend: Backend) -> Result<Self, KeyRefused> {
        Self::with_limits(key, backend, KeyLimits::default())
    }

    /// The same where this key and those after it end earlier than they must.
    ///
    /// # Errors
    /// [`KeyRefused`].
    pub fn with_limits(key: &SrtpKey, backend: Backend, limits: KeyLimits) -> Result<Self, KeyRefused> {
        Ok(Self {
            backend,
            key: key.clone(),
            keyset: keyset(backend, key)?,
            rtp: Admission::new(),
            rtcp: Admission::new(),
            limits: KeyLimits { rtp: limits.rtp.min(MOST_RTP), rtcp: limits.rtcp.min(MOST_RTCP), ..limits },
            rtp_packets: 0,
            rtcp_packets: 0,
            wear: Wear::Fresh,
        })
    }

    /// Goes on with another key at the same rollover counters and SRTCP indices: same address, new key (RFC 3711
    /// §8.2). Both go round at their end, since no index was used under this key (RFC 3711 §3.3.1, §3.4). Sources that
    /// were evicted stay so.
    ///
    /// # Errors
    /// [`KeyRefused`]; then the present key stays.
    pub fn rekey(&mut self, key: &SrtpKey) -> Result<(), KeyRefused> {
        self.keyset = keyset(self.backend, key)?;
        if !self.has_master_of(key) {
            (self.rtp_packets, self.rtcp_packets, self.wear) = (0, 0, Wear::Fresh);
            for source in self.rtp.active_mut() {
                source.first = source.used.highest().map_or(0, |highest| highest.saturating_sub(REACH));
            }
        }
        self.key = key.clone();
        Ok(())
    }

    /// Starts afresh with another key, rollover counters at 0: a new address, and so a new key (RFC 4568 §7.1.4).
    ///
    /// # Errors
    /// [`KeyRefused`], of the present key too; then that one stays. No key that was in use earlier may come again: that is
    /// for the caller to see to.
    pub fn restart(&mut self, key: &SrtpKey) -> Result<(), KeyRefused> {
        if self.has_master_of(key) {
            return Err(KeyRefused::InUse);
        }
        *self = Self::with_limits(key, self.backend, self.limits)?;
        Ok(())
    }

    /// Protects the RTP packet in the last `length` bytes of `out`, and gives its new length. `ssrc` and `index`
    /// (rollover counter x 65,536 + sequence number) are those of [`crate::Sent`].
    ///
    /// # Errors
    /// [`ProtectFault`]; then the packet is taken off `out`.
    pub fn protect_rtp(
        &mut self,
        out: &mut Vec<u8>,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, ProtectFault> {
        let overhead = self.keyset.rtp_overhead();
        append(out, length, overhead, |room| self.protect_rtp_in_place(room, length, ssrc, index))
    }

    /// The same for a packet at the beginning of `room`, behind which there is room for [`Protector::overhead`] bytes.
    ///
    /// # Errors
    /// [`ProtectFault`]; then what stands in `room` must not leave.
    pub fn protect_rtp_in_place(
        &mut self,
        room: &mut [u8],
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, ProtectFault> {
        let protected = length.saturating_add(self.keyset.rtp_overhead());
        let packet = room.get_mut(..protected).ok_or(ProtectFault::Malformed)?;
        let header = packet.get(..length).and_then(RtpHeader::parse).ok_or(ProtectFault::Malformed)?;
        // The recorder derives the index from the packet: they must be the same.
        if header.ssrc != ssrc || u64::from(header.sequence) != index & 0xFFFF {
            return Err(ProtectFault::Malformed);
        }
        if self.wear == Wear::UsedUp {
            return Err(ProtectFault::KeyExhausted);
        }
        let source = self.rtp.of(ssrc).map_err(|_| ProtectFault::TooManySources)?;
        if source.used.highest().is_none() {
            source.base = index & !0xFFFF;
        }
        let index = index.checked_sub(source.base).ok_or(ProtectFault::TooOld)?;
        // The index goes round, and what it has come round to was used.
        let used = index.saturating_sub(source.first);
        if used >= MOST_RTP {
            self.wear = Wear::UsedUp;
            return Err(ProtectFault::KeyExhausted);
        }
        source.used.check(index).map_err(|known| match known {
            Known::Repeated => ProtectFault::Repeated,
            Known::TooOld => ProtectFault::TooOld,
        })?;
        // Before the keystream exists: an index that was tried counts as used.
        source.used.note(index);
        self.rtp_packets += 1;
        self.wear = self
            .wear
            .max(Wear::of(self.rtp_packets, self.limits.rtp))
            .max(Wear::of(used, MOST_RTP).min(Wear::Nearly));
        self.keyset
            .seal_rtp(packet, header.length, ssrc, index % MOST_RTP)
            .map_err(|Refused| ProtectFault::Refused)?;
        Ok(protected)
    }

    /// How much of what the key may be used for is left.
    pub fn wear(&self) -> Wear {
        self.wear
    }

    /// Bytes that protecting adds to an RTP packet.
    pub fn overhead(&self) -> usize {
        self.keyset.rtp_overhead()
    }

    /// Protects the RTCP packet in the last `length` bytes of `out`, and gives its new length. Its index is the next of
    /// its sender.
    ///
    /// # Errors
    /// [`ProtectFault`]; then the packet is taken off `out`.
    pub fn protect_rtcp(&mut self, out: &mut Vec<u8>, length: usize) -> Result<usize, ProtectFault> {
        let overhead = self.keyset.rtcp_overhead();
        append(out, length, overhead, |room| self.protect_rtcp_in_place(room, length))
    }

    /// Whether session keys would be the same, whatever the identifier and the length of the tag.
    fn has_master_of(&self, key: &SrtpKey) -> bool {
        self.key.master() == key.master()
    }

    fn protect_rtcp_in_place(&mut self, packet: &mut [u8], length: usize) -> Result<usize, ProtectFault> {
        let ssrc = packet.get(..length).and_then(rtcp_ssrc).ok_or(ProtectFault::Malformed)?;
        if self.wear == Wear::UsedUp {
            return Err(ProtectFault::KeyExhausted);
        }
        let source = self.rtcp.of(ssrc).map_err(|_| ProtectFault::TooManySources)?;
        // Modulo 2^31 (RFC 3711 §3.4): a key ends before any source comes round to what it has used under it.
        let index = source.last.map_or(self.limits.first_rtcp, |last| last + 1) & !ENCRYPTED;
        source.last = Some(index);
        self.rtcp_packets += 1;
        self.wear = self.wear.max(Wear::of(self.rtcp_packets, self.limits.rtcp));
        self.keyset
            .seal_rtcp(packet, RTCP_HEADER, ssrc, index | ENCRYPTED)
            .map_err(|Refused| ProtectFault::Refused)?;
        Ok(packet.len())
    }
}

impl Wear {
    fn of(used: u64, limit: u64) -> Self {
        if used >= limit {
            Self::UsedUp
        } else if used >= limit - limit / MARGIN {
            Self::Nearly
        } else {
            Self::Fresh
        }
    }
}

/// Gives a packet at the end of `out` room for what `protect` adds to it. One that it refuses is taken off.
fn append(
    out: &mut Vec<u8>,
    length: usize,
    overhead: usize,
    protect: impl FnOnce(&mut [u8]) -> Result<usize, ProtectFault>,
) -> Result<usize, ProtectFault> {
    let Some(start) = out.len().checked_sub(length) else {
        out.clear();
        return Err(ProtectFault::Malformed);
    };
    out.resize(out.len() + overhead, 0);
    let done = protect(out.get_mut(start..).unwrap_or_default());
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn keyset(backend: Backend, key: &SrtpKey) -> Result<Keyset, KeyRefused> {
    Keyset::new(backend, key, Policy::from(key.suite())).map_err(|Refused| KeyRefused::Backend(backend))
}
