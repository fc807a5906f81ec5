//! What protects a branch: its own key towards the recorder, and the recorder's for its RTCP.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use siprec_media::Sent;
use siprec_media::srtp::{Backend, KeyLimits, KeyRefused, ProtectFault, Protector, Unprotector, Wear};
use siprec_model::{SrtpKey, SrtpKeys};

/// SRTP and SRTCP of one branch with one recorder.
pub(crate) struct Shield {
    protector: Protector,
    recorder: Unprotector,
    /// How many packets of the recorder's RTCP were taken under its keys.
    heard: u64,
    keys: SrtpKeys,
    rtcp: RtcpKeys,
    limits: KeyLimits,
    /// What was told of the use of our own key.
    told: Wear,
}

/// The keys that a branch has left, and does not take up again: their indices may have been used (RFC 3711 §9.1).
/// They are known by a hash under a random key, so that none stays in memory.
#[derive(Debug, Default)]
pub(crate) struct FormerKeys {
    hasher: RandomState,
    hashes: VecDeque<u64>,
}

impl FormerKeys {
    /// So many are remembered: an hour of failovers every few seconds.
    const MOST: usize = 1024;

    /// The branch leaves this key.
    pub(crate) fn remember(&mut self, key: &SrtpKey) {
        if self.hashes.len() >= Self::MOST {
            self.hashes.pop_front();
        }
        self.hashes.push_back(self.hash(key));
    }

    pub(crate) fn contain(&self, key: &SrtpKey) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.hash(key))
    }

    fn hash(&self, key: &SrtpKey) -> u64 {
        self.hasher.hash_one(key.master())
    }
}

/// Where the keys of RTCP come from.
enum RtcpKeys {
    /// They are RTP's.
    Shared,
    /// A handshake of its own, which has not ended.
    Awaited,
    /// A handshake of its own.
    Own(Box<Shield>),
}

impl Shield {
    /// For the first recorder of a branch.
    ///
    /// # Errors
    /// [`KeyRefused`].
    pub(crate) fn new(keys: &SrtpKeys, limits: KeyLimits) -> Result<Self, KeyRefused> {
        let protector = Protector::with_limits(&keys.own, Backend::default(), limits)?;
        let (recorder, keys) = (receiver(keys)?, keys.clone());
        Ok(Self { protector, recorder, heard: 0, keys, rtcp: RtcpKeys::Shared, limits, told: Wear::Fresh })
    }

    /// Goes on with these keys. Another session of the recorder, or another address, begins with a rollover counter of 0;
    /// another key at the same address goes on with the present one (`protocol` section 3). Answers whether it begins.
    ///
    /// # Errors
    /// [`KeyRefused`]; then nothing has changed.
    pub(crate) fn renew(&mut self, keys: &SrtpKeys, has_moved: bool) -> Result<bool, KeyRefused> {
        if *keys == self.keys {
            return Ok(false);
        }
        let recorder = if keys.recorder == self.keys.recorder && keys.session == self.keys.session {
            None
        } else {
            Some(receiver(keys)?)
        };
        let begins = keys.own != self.keys.own && (has_moved || keys.session != self.keys.session);
        if begins {
            self.protector.restart(&keys.own)?;
        } else if keys.own != self.keys.own {
            self.protector.rekey(&keys.own)?;
        }
        if let Some(recorder) = recorder {
            self.recorder = recorder;
            self.heard = 0;
        }
        if self.keys.own.master() != keys.own.master() {
            self.told = Wear::Fresh;
        }
        self.keys = keys.clone();
        Ok(begins)
    }

    /// What it protects with.
    pub(crate) fn own_key(&self) -> &SrtpKey {
        &self.keys.own
    }

    /// Has RTCP go by its own keys: these, or nothing before they are there.
    ///
    /// # Errors
    /// [`KeyRefused`]; then RTCP waits.
    pub(crate) fn separate_rtcp(&mut self, keys: Option<&SrtpKeys>) -> Result<(), KeyRefused> {
        let Some(keys) = keys else {
            self.rtcp = RtcpKeys::Awaited;
            return Ok(());
        };
        match &self.rtcp {
            RtcpKeys::Own(own) if own.keys == *keys => {}
            _ => {
                self.rtcp = RtcpKeys::Awaited;
                self.rtcp = RtcpKeys::Own(Box::new(Self::new(keys, self.limits)?));
            }
        }
        Ok(())
    }

    /// Whether nothing can be said by RTCP yet.
    pub(crate) fn awaits_rtcp(&self) -> bool {
        matches!(self.rtcp, RtcpKeys::Awaited)
    }

    /// Has RTCP go by RTP's keys.
    pub(crate) fn share_rtcp(&mut self) {
        self.rtcp = RtcpKeys::Shared;
    }

    /// The session of the key that it has come nearer to the end of than was known, and whether that is its end.
    pub(crate) fn poll_wear(&mut self) -> Option<(u32, bool)> {
        let of_rtcp = match &self.rtcp {
            RtcpKeys::Own(own) => own.protector.wear(),
            RtcpKeys::Shared | RtcpKeys::Awaited => Wear::Fresh,
        };
        let wear = self.protector.wear().max(of_rtcp);
        let is_news = wear > self.told;
        self.told = self.told.max(wear);
        is_news.then_some((self.keys.session, wear == Wear::UsedUp))
    }

    /// Protects the packet that was just appended, and gives its new length. One that is refused is taken off.
    pub(crate) fn protect(&mut self, out: &mut Vec<u8>, sent: Sent) -> Result<usize, ProtectFault> {
        self.protector.protect_rtp(out, sent.length, sent.ssrc, sent.index)
    }

    /// Protects RTCP, which is all of `datagram`.
    pub(crate) fn protect_rtcp(&mut self, datagram: &mut Vec<u8>) -> Result<usize, ProtectFault> {
        let length = datagram.len();
        match &mut self.rtcp {
            RtcpKeys::Shared => self.protector.protect_rtcp(datagram, length),
            RtcpKeys::Awaited => Err(ProtectFault::Refused),
            RtcpKeys::Own(own) => own.protector.protect_rtcp(datagram, length),
        }
    }

    /// What the recorder's RTCP says, if it is the recorder's, and under a key whose lifetime is not over.
    pub(crate) fn unprotect_rtcp<'a>(&mut self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        match &mut self.rtcp {
            RtcpKeys::Shared => {}
            RtcpKeys::Awaited => return None,
            RtcpKeys::Own(own) => return own.unprotect_rtcp(datagram),
        }
        if self.keys.recorder_lifetime.is_some_and(|lifetime| self.heard >= lifetime) {
            return None;
        }
        let length = self.recorder.unprotect_rtcp(datagram).ok()?;
        self.heard += 1;
        datagram.get(..length)
    }

    /// Bytes that it adds to each packet.
    pub(crate) fn overhead(&self) -> usize {
        let own = &self.keys.own;
        own.suite().rtp_tag_length() + own.mki().map_or(0, <[u8]>::len)
    }
}

fn receiver(keys: &SrtpKeys) -> Result<Unprotector, KeyRefused> {
    let mut receiver = Unprotector::new();
    // The newest of an unprotector's keys is tried first, and the first of a description is the one to use first.
    keys.recorder.iter().rev().try_for_each(|key| receiver.add_key(key))?;
    Ok(receiver)
}

/// The suite alone.
impl std::fmt::Debug for Shield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shield").field("own", &self.keys.own).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::SrtpSuite;

    use super::*;

    fn keys(mark: u8, session: u32) -> SrtpKeys {
        let suite = SrtpSuite::AeadAes128Gcm;
        let key = |mark| SrtpKey::new(suite, &vec![mark; suite.master_length()]).unwrap();
        SrtpKeys { own: key(mark), recorder: vec![key(0xF0)], recorder_lifetime: None, session }
    }

    #[test]
    fn counters_begin_at_0_with_another_key_at_another_address_or_in_another_session_and_else_run_on() {
        let of_first = (1, 1);
        for ((mark, session), has_moved, begins) in [
            (of_first, true, false),
            ((2, 1), false, false),
            ((2, 1), true, true),
            ((2, 2), false, true),
            ((1, 2), true, false),
        ] {
            let mut shield = Shield::new(&keys(1, 1), KeyLimits::default()).unwrap();
            let renewed = shield.renew(&keys(mark, session), has_moved);
            assert_eq!(renewed, Ok(begins), "key {mark}, session {session}, moved: {has_moved}");
        }
    }
}
