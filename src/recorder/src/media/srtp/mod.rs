//! Secured streams (RFC 3711): which packets are genuine. Ciphers and authentication are libsrtp's, by GStreamer's
//! elements; what is here chooses the key and the rollover counter, and counts.

mod elements;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::SrtpKey;

pub(crate) use elements::{Half, SrtpError};
use elements::{Protector, Unprotector};

/// Most sources that are told apart under one key.
const SOURCES: usize = 64;
/// How long packets under the key before are taken: until the answer of an offer was surely heard (64 x T1, RFC 3261
/// §17.1.1.2).
const OLD_KEY: Duration = Duration::from_secs(32);
/// Unknown sources are tried at most so often a second: each costs a context, and forgeries may have any SSRC. Those that
/// are expected have trials of their own, so that strangers do not keep them out.
const TRIALS: u32 = 100;
/// Packets by which a repeated one is known.
const REMEMBERED: usize = 1024;

/// The keys of one stream, and what was decrypted by them.
pub(crate) struct Security {
    /// The newest first; an older one is taken for a while.
    epochs: Vec<Epoch>,
    sealing: Option<(SrtpKey, Protector)>,
    /// Sources of which nothing is known, and those that are known by another key or from the other half.
    trials: [Trials; 2],
    recent: Recent,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is genuine, and this is what it says.
    Genuine(Vec<u8>),
    /// It is one that came before.
    Repeated,
    /// It was not made with the key, or not for this place in the sequence.
    NotAuthentic,
}

/// The time of one key.
struct Epoch {
    keys: Arc<[SrtpKey]>,
    rtp: Sources,
    rtcp: Sources,
    /// When it is over.
    until: Option<Instant>,
}

/// The sources of one half of a stream under one key.
struct Sources {
    half: Half,
    known: BTreeMap<u32, Unprotector>,
    /// For who is not known yet.
    spare: Unprotector,
    /// Highest index of each source (RFC 3711 §3.3.1), those before this key included.
    indices: BTreeMap<u32, u64>,
}

impl Security {
    /// Nothing opens before there is a key.
    pub(crate) fn new() -> Self {
        Self { epochs: Vec::new(), sealing: None, trials: Default::default(), recent: Recent::default() }
    }

    /// The other side sends under `keys` from now on. Rollover counters run on under a new key (RFC 3711 §3.3.1), unless
    /// an address has changed with it: then they begin `anew` (RFC 4568 §7.1.4). True when the keys are new.
    ///
    /// # Errors
    /// [`SrtpError`]; then nothing has changed.
    pub(crate) fn open_with(
        &mut self,
        keys: &[SrtpKey],
        anew: bool,
        now: Instant,
    ) -> Result<bool, SrtpError> {
        if self.epochs.first().is_some_and(|epoch| *epoch.keys == *keys) {
            return Ok(false);
        }
        let keys: Arc<[SrtpKey]> = keys.into();
        let before = self.epochs.first().filter(|_| !anew);
        let indices = before.map(|epoch| epoch.rtp.indices.clone()).unwrap_or_default();
        let epoch = Epoch {
            rtp: Sources::new(&keys, Half::Rtp, indices)?,
            rtcp: Sources::new(&keys, Half::Rtcp, BTreeMap::new())?,
            keys,
            until: None,
        };
        self.epochs.truncate(1);
        if let Some(old) = self.epochs.first_mut() {
            old.until = Some(now + OLD_KEY);
        }
        self.epochs.insert(0, epoch);
        // Whoever could not be opened so far has its chance with the new key.
        self.trials = Default::default();
        Ok(true)
    }

    /// We send RTCP under `key` from now on.
    ///
    /// # Errors
    /// [`SrtpError`]; then nothing has changed.
    pub(crate) fn seal_with(&mut self, key: &SrtpKey) -> Result<(), SrtpError> {
        if self.sealing.as_ref().is_none_or(|(known, _)| known != key) {
            self.sealing = Some((key.clone(), Protector::new(key, Half::Rtcp)?));
        }
        Ok(())
    }

    /// Protects RTCP. The index never begins anew under one key.
    pub(crate) fn seal(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.sealing.as_ref()?.1.seal(packet)
    }

    /// Opens what has come.
    pub(crate) fn open(&mut self, packet: &[u8], half: Half, now: Instant) -> Opened {
        self.epochs.retain(|epoch| epoch.until.is_none_or(|until| now < until));
        let Some((ssrc, sequence)) = place(packet, half) else { return Opened::NotAuthentic };
        // Those that know the source come first, since each try of a source that is new costs a context.
        let knowing = self.epochs.iter_mut().map(|epoch| epoch.half(half));
        let mut opened = None;
        for sources in knowing.filter(|sources| sources.known.contains_key(&ssrc)) {
            opened = opened.or_else(|| sources.open_known(packet, ssrc, sequence));
        }
        let is_expected = self.epochs.iter().any(|epoch| epoch.knows(ssrc));
        let [stranger, expected] = &mut self.trials;
        let trials = if is_expected { expected } else { stranger };
        for epoch in &mut self.epochs {
            let keys = Arc::clone(&epoch.keys);
            let sources = epoch.half(half);
            if opened.is_none() && !sources.known.contains_key(&ssrc) && sources.known.len() < SOURCES {
                opened = trials.take(now).then(|| sources.open_new(packet, ssrc, sequence, &keys)).flatten();
            }
        }
        if let Some(opened) = opened {
            self.recent.add(packet);
            return Opened::Genuine(opened);
        }
        if self.recent.has(packet) { Opened::Repeated } else { Opened::NotAuthentic }
    }
}

impl Epoch {
    fn knows(&self, ssrc: u32) -> bool {
        self.rtp.known.contains_key(&ssrc) || self.rtcp.known.contains_key(&ssrc)
    }

    fn half(&mut self, half: Half) -> &mut Sources {
        match half {
            Half::Rtp => &mut self.rtp,
            Half::Rtcp => &mut self.rtcp,
        }
    }
}

impl Sources {
    fn new(keys: &Arc<[SrtpKey]>, half: Half, indices: BTreeMap<u32, u64>) -> Result<Self, SrtpError> {
        let spare = Unprotector::new(Arc::clone(keys), half)?;
        Ok(Self { half, known: BTreeMap::new(), spare, indices })
    }

    fn open_known(&mut self, packet: &[u8], ssrc: u32, sequence: u16) -> Option<Vec<u8>> {
        let index = self.index(ssrc, sequence);
        let opened = self.known.get(&ssrc)?.open(packet, (index >> 16) as u32)?;
        self.note(ssrc, index);
        Some(opened)
    }

    fn open_new(
        &mut self,
        packet: &[u8],
        ssrc: u32,
        sequence: u16,
        keys: &Arc<[SrtpKey]>,
    ) -> Option<Vec<u8>> {
        let index = self.index(ssrc, sequence);
        let Some(opened) = self.spare.open(packet, (index >> 16) as u32) else {
            self.spare.forget();
            return None;
        };
        // Where there is no further context, the source has the same chance with its next packet.
        let next = Unprotector::new(Arc::clone(keys), self.half).ok()?;
        self.known.insert(ssrc, std::mem::replace(&mut self.spare, next));
        self.note(ssrc, index);
        Some(opened)
    }

    /// The index with this sequence number that is nearest to the highest one (RFC 3711 §3.3.1); a source that is new
    /// has not wrapped yet.
    fn index(&self, ssrc: u32, sequence: u16) -> u64 {
        let Some(highest) = self.indices.get(&ssrc) else { return u64::from(sequence) };
        let step = i64::from(sequence.wrapping_sub(*highest as u16) as i16);
        highest.checked_add_signed(step).unwrap_or(u64::from(sequence))
    }

    fn note(&mut self, ssrc: u32, index: u64) {
        let highest = self.indices.entry(ssrc).or_insert(index);
        *highest = index.max(*highest);
    }
}

/// SSRC and sequence number of a packet, which are never encrypted; of RTCP the first SSRC, and no number.
fn place(packet: &[u8], half: Half) -> Option<(u32, u16)> {
    let word = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    match half {
        Half::Rtp => Some((word(8)?, u16::from_be_bytes(*packet.get(2..)?.first_chunk()?))),
        Half::Rtcp => Some((word(4)?, 0)),
    }
}

/// How many unknown sources may be tried yet.
#[derive(Default)]
struct Trials {
    used: u32,
    since: Option<Instant>,
}

impl Trials {
    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            *self = Self { used: 0, since: Some(now) };
        }
        self.used += 1;
        self.used <= TRIALS
    }
}

/// The packets of late, by a hash that nobody else can reckon.
#[derive(Default)]
struct Recent {
    hasher: RandomState,
    hashes: VecDeque<u64>,
}

impl Recent {
    fn add(&mut self, packet: &[u8]) {
        if self.hashes.len() == REMEMBERED {
            self.hashes.pop_front();
        }
        self.hashes.push_back(self.hasher.hash_one(packet));
    }

    fn has(&self, packet: &[u8]) -> bool {
        self.hashes.contains(&self.hasher.hash_one(packet))
    }
}

/// Protects RTP as a client does that sends under the first of these keys.
#[cfg(test)]
pub(crate) fn sender(keys: &[SrtpKey]) -> impl Fn(&[u8]) -> Vec<u8> + use<> {
    let sender = Protector::new(&keys[0], Half::Rtp).unwrap();
    move |packet| sender.seal(packet).unwrap()
}

#[cfg(test)]
mod tests;
