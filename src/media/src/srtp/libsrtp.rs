//! libsrtp2 over OpenSSL, by its safe wrapper.
//!
//! It reckons rollover counters, SRTCP indices and replays by itself. Here the caller says which index a packet has, so
//! its own reckoning is steered to the same.

use siprec_model::SrtpKey;
use srtp::{CryptoPolicy, Session, StreamPolicy};

use super::policy::{Policy, Protection, Scheme};
use super::rollover::estimate;
use super::transform::{ENCRYPTED, INDEX_WORD, Refused, Transform};

/// Streams of one session: as many as there are sources on either side.
const MAX_STREAMS: usize = 64;
/// Packets that lead up to one that runs on under another key, at most.
const MOST_SKIPPED: u32 = 1 << 16;
/// How far one of them leads: less than half a round, which libsrtp would take for a step back.
const STEP: u64 = 0x7000;
/// How far before their end they stop: more than any window.
const NEAR: u64 = 0x1000;
/// Wide enough that the caller's own window decides.
const WINDOW: u64 = 1024;

/// The session keys of one master key.
pub(crate) struct Libsrtp {
    key: SrtpKey,
    policy: Policy,
    /// Apart from the other, so that a stream of RTP can be begun anew without its RTCP.
    rtp: Streams<u64>,
    rtcp: Streams<u32>,
    /// The rollover counters that were given for streams, by SSRC.
    given: Vec<(u32, u32)>,
    /// The packet at work: the wrapper wants room behind it.
    buffer: Vec<u8>,
}

/// A session with its streams: the SSRC of each, and its highest index, if it has had a packet.
struct Streams<T> {
    session: Session,
    known: Vec<(u32, Option<T>)>,
}

impl Libsrtp {
    pub(crate) fn new(key: &SrtpKey, policy: &Policy) -> Result<Self, Refused> {
        // Whether it takes the policy at all, before the first packet asks.
        let mut probe = Streams::<u64>::new()?;
        probe.begin(0, stream_policy(key, policy)?)?;
        Ok(Self {
            key: key.clone(),
            policy: *policy,
            rtp: Streams::new()?,
            rtcp: Streams::new()?,
            given: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Sees to it that libsrtp gives the next packet that it seals this index. The counter that `set_stream_roc` gives is
    /// ignored by its GCM, so packets that go nowhere lead up to it: empty ones, which use no keystream.
    fn lead_to(&mut self, ssrc: u32, index: u64) -> Result<(), Refused> {
        if self.rtp.highest(ssrc).is_none() {
            self.rtp.begin(ssrc, stream_policy(&self.key, &self.policy)?)?;
        }
        for _ in 0..MOST_SKIPPED {
            if self.rtp.reckons(ssrc, index) {
                return Ok(());
            }
            let highest = self.rtp.highest(ssrc).flatten().unwrap_or(0);
            // It never stops within a window of the packet that it leads to.
            let ahead =
                index.checked_sub(highest).and_then(|ahead| ahead.checked_sub(NEAR)).ok_or(Refused)?;
            let step = highest + ahead.min(STEP);
            if ahead == 0 || ahead / STEP > u64::from(MOST_SKIPPED) || !self.rtp.reckons(ssrc, step) {
                return Err(Refused);
            }
            let [.., high, low] = step.to_be_bytes();
            self.buffer.clear();
            self.buffer.extend_from_slice(&[0x80, 0, high, low, 0, 0, 0, 0]);
            self.buffer.extend_from_slice(&ssrc.to_be_bytes());
            self.rtp.session.protect(&mut self.buffer).map_err(|_| Refused)?;
            self.rtp.note(ssrc, step);
        }
        Err(Refused)
    }

    /// Sees to it that libsrtp takes the next packet that it opens for one of this index.
    fn expect(&mut self, ssrc: u32, index: u64) -> Result<(), Refused> {
        let rollover = u32::try_from(index >> 16).map_err(|_| Refused)?;
        // Its GCM never lets go of a counter that it was given, whatever the numbers do afterwards.
        let is_held = self.given.iter().any(|(given, counter)| *given == ssrc && *counter != rollover);
        if self.rtp.reckons(ssrc, index) && !is_held {
            return Ok(());
        }
        self.rtp.begin(ssrc, stream_policy(&self.key, &self.policy)?)?;
        self.given.retain(|(given, _)| *given != ssrc);
        if rollover == 0 {
            return Ok(());
        }
        self.given.push((ssrc, rollover));
        self.rtp.session.set_stream_roc(ssrc, rollover).map_err(|_| Refused)
    }

    fn load(&mut self, packet: &[u8]) {
        self.buffer.clear();
        self.buffer.extend_from_slice(packet);
    }

    /// Puts back what libsrtp has made, if it is as long as it should be.
    fn store(&self, packet: &mut [u8]) -> Result<(), Refused> {
        if packet.len() != self.buffer.len() {
            return Err(Refused);
        }
        packet.copy_from_slice(&self.buffer);
        Ok(())
    }
}

impl Transform for Libsrtp {
    fn seal_rtp(&mut self, packet: &mut [u8], _: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        self.lead_to(ssrc, index)?;
        let plain = packet.len().checked_sub(self.policy.rtp().tag_length()).ok_or(Refused)?;
        self.load(packet.get(..plain).ok_or(Refused)?);
        self.rtp.session.protect(&mut self.buffer).map_err(|_| Refused)?;
        self.rtp.note(ssrc, index);
        // What it has reckoned after all decides what the keystream was.
        let rollover = self.rtp.highest(ssrc).flatten().map(|highest| highest >> 16);
        let reckoned = self.rtp.session.get_stream_roc(ssrc).map_err(|_| Refused)?;
        if rollover != Some(reckoned.into()) {
            return Err(Refused);
        }
        self.store(packet)
    }

    fn open_rtp(&mut self, packet: &mut [u8], _: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        self.expect(ssrc, index)?;
        self.load(packet);
        if self.rtp.session.unprotect(&mut self.buffer).is_err() {
            // A counter that it was given stays with it, and forgeries must not keep streams.
            self.rtp.end(ssrc)?;
            self.given.retain(|(given, _)| *given != ssrc);
            return Err(Refused);
        }
        self.rtp.note(ssrc, index);
        let plain = packet.len().checked_sub(self.policy.rtp().tag_length()).ok_or(Refused)?;
        self.store(packet.get_mut(..plain).ok_or(Refused)?)
    }

    fn seal_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let index = word & !ENCRYPTED;
        if self.rtcp.highest(ssrc).is_none() {
            self.rtcp.begin(ssrc, stream_policy(&self.key, &self.policy)?)?;
        }
        let last = self.rtcp.highest(ssrc).flatten().unwrap_or(0);
        let skipped =
            index.checked_sub(last + 1).filter(|skipped| *skipped <= MOST_SKIPPED).ok_or(Refused)?;
        let clear = packet.get(..header).ok_or(Refused)?;
        for _ in 0..skipped {
            self.buffer.clear();
            self.buffer.extend_from_slice(clear);
            self.rtcp.session.protect_rtcp(&mut self.buffer).map_err(|_| Refused)?;
        }
        let trailer = INDEX_WORD + self.policy.rtcp().tag_length();
        let plain = packet.len().checked_sub(trailer).ok_or(Refused)?;
        self.load(packet.get(..plain).ok_or(Refused)?);
        self.rtcp.session.protect_rtcp(&mut self.buffer).map_err(|_| Refused)?;
        self.rtcp.note(ssrc, index);
        self.store(packet)
    }

    fn open_rtcp(&mut self, packet: &mut [u8], _: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let is_new = self.rtcp.highest(ssrc).is_none();
        if is_new {
            self.rtcp.begin(ssrc, stream_policy(&self.key, &self.policy)?)?;
        }
        self.load(packet);
        if self.rtcp.session.unprotect_rtcp(&mut self.buffer).is_err() {
            if is_new {
                self.rtcp.end(ssrc)?;
            }
            return Err(Refused);
        }
        self.rtcp.note(ssrc, word & !ENCRYPTED);
        let trailer = INDEX_WORD + self.policy.rtcp().tag_length();
        let plain = packet.len().checked_sub(trailer).ok_or(Refused)?;
        self.store(packet.get_mut(..plain).ok_or(Refused)?)
    }

    fn spoils_what_it_refuses(&self) -> bool {
        // It works on a copy.
        false
    }
}

impl<T: Copy + Ord> Streams<T> {
    fn new() -> Result<Self, Refused> {
        Ok(Self { session: Session::new().map_err(|_| Refused)?, known: Vec::new() })
    }

    /// `None` for a source without a stream.
    fn highest(&self, ssrc: u32) -> Option<Option<T>> {
        self.known.iter().find(|(known, _)| *known == ssrc).map(|(_, highest)| *highest)
    }

    /// Begins a stream, anew if there is one. The oldest makes room.
    fn begin(&mut self, ssrc: u32, policy: StreamPolicy<'_>) -> Result<(), Refused> {
        self.end(ssrc)?;
        if self.known.len() >= MAX_STREAMS
            && let Some((oldest, _)) = self.known.first()
        {
            self.end(*oldest)?;
        }
        self.session.add_stream(ssrc, policy).map_err(|_| Refused)?;
        self.known.push((ssrc, None));
        Ok(())
    }

    fn end(&mut self, ssrc: u32) -> Result<(), Refused> {
        if let Some(place) = self.known.iter().position(|(known, _)| *known == ssrc) {
            self.known.remove(place);
            // Of all its functions, this one alone wants the SSRC in the order of the network.
            self.session.remove_stream(ssrc.to_be()).map_err(|_| Refused)?;
        }
        Ok(())
    }

    fn note(&mut self, ssrc: u32, index: T) {
        if let Some((_, highest)) = self.known.iter_mut().find(|(known, _)| *known == ssrc) {
            *highest = (*highest).max(Some(index));
        }
    }
}

impl Streams<u64> {
    /// Whether libsrtp gives a packet with this index's sequence number this index.
    fn reckons(&self, ssrc: u32, index: u64) -> bool {
        const HALF: u64 = 0x8000;
        let [.., high, low] = index.to_be_bytes();
        let sequence = u16::from_be_bytes([high, low]);
        match self.highest(ssrc) {
            Some(Some(highest)) if highest > HALF => estimate(highest, sequence) == Some(index),
            // Up to half a round it does not look back.
            Some(_) => index == u64::from(sequence),
            None => false,
        }
    }
}

fn stream_policy<'a>(key: &'a SrtpKey, policy: &Policy) -> Result<StreamPolicy<'a>, Refused> {
    Ok(StreamPolicy {
        rtp: crypto_policy(key, policy, policy.rtp())?,
        rtcp: crypto_policy(key, policy, policy.rtcp())?,
        key: key.master(),
        window_size: WINDOW,
        ..StreamPolicy::default()
    })
}

/// What libsrtp calls it. It has no name for a NULL cipher with 32 bits of HMAC-SHA1.
fn crypto_policy(key: &SrtpKey, policy: &Policy, protection: Protection) -> Result<CryptoPolicy, Refused> {
    let is_long = key.suite().key_length() == 32;
    Ok(match (policy.scheme(), protection.is_encrypted(), protection.tag_length(), is_long) {
        (Scheme::Gcm, _, _, false) => CryptoPolicy::aes_gcm_128_16_auth(),
        (Scheme::Gcm, _, _, true) => CryptoPolicy::aes_gcm_256_16_auth(),
        (Scheme::CounterMode, true, 10, false) => CryptoPolicy::aes_cm_128_hmac_sha1_80(),
        (Scheme::CounterMode, true, 4, false) => CryptoPolicy::aes_cm_128_hmac_sha1_32(),
        (Scheme::CounterMode, true, 0, false) => CryptoPolicy::aes_cm_128_null_auth(),
        (Scheme::CounterMode, true, 10, true) => CryptoPolicy::aes_cm_256_hmac_sha1_80(),
        (Scheme::CounterMode, true, 4, true) => CryptoPolicy::aes_cm_256_hmac_sha1_32(),
        (Scheme::CounterMode, true, 0, true) => CryptoPolicy::aes_cm_256_null_auth(),
        (Scheme::CounterMode, false, 10, _) => CryptoPolicy::null_cipher_hmac_sha1_80(),
        (Scheme::CounterMode, false, 0, _) => CryptoPolicy::null_cipher_hmac_null(),
        (Scheme::CounterMode, ..) => return Err(Refused),
    })
}
