//! What stands between the sockets of a stream and its account: the keys, where it is secured.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use siprec_model::SrtpSuite;

use super::bursts::Bursts;
use super::rtp;
use super::srtp::{Half, Opened, Security, SrtpError};
use crate::security::{self, Keys};

/// Most packets that wait for a key.
const HELD: usize = 512;

/// When and where a datagram came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) time: SystemTime,
    pub(crate) from: SocketAddr,
    /// The address that it came to.
    pub(crate) local: SocketAddr,
}

/// The keys of a stream, and what was counted.
#[derive(Default)]
pub(crate) struct Gate {
    /// `None` while the stream is plain.
    security: Option<Security>,
    /// Packets that no key opens, while another key may be on its way.
    held: Option<VecDeque<(Vec<u8>, Arrival)>>,
    account: Option<SrtpAccount>,
}

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It is taken as it is: the stream is plain, or it can be neither RTP nor RTCP.
    Plain,
    /// This was in it.
    Opened(Vec<u8>),
    /// It is not taken, or not yet.
    Stopped,
}

/// What was counted of a secured stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct SrtpAccount {
    /// The last one.
    pub(crate) suite: Option<SrtpSuite>,
    /// Sets of keys.
    pub(crate) keys: u64,
    /// RTP packets that were opened.
    pub(crate) packets: u64,
    pub(crate) not_authentic: u64,
    pub(crate) replayed: u64,
    bursts: Bursts,
}

impl Gate {
    /// Takes and sends packets under these keys, or plain ones, from now on. With new keys of the other side the rollover
    /// counters begin `anew` where an address has changed. True when those keys are new.
    ///
    /// # Errors
    /// [`SrtpError`]: GStreamer lacks what is needed.
    pub(crate) fn secure(
        &mut self,
        keys: Option<&Keys>,
        anew: bool,
        other_key: bool,
    ) -> Result<bool, SrtpError> {
        let Some(keys) = keys else {
            self.security = None;
            return Ok(false);
        };
        let security = self.security.get_or_insert_with(Security::new);
        // A recorder that is told to answer by a wrong key sends under one that nobody knows.
        let other = other_key.then(|| security::fresh(keys.ours.suite())).flatten();
        security.seal_with(other.as_ref().unwrap_or(&keys.ours))?;
        let is_new = security.open_with(keys.theirs.keys(), anew, Instant::now())?;
        if is_new {
            let account = self.account.get_or_insert_default();
            account.suite = Some(keys.theirs.suite());
            account.keys += 1;
        }
        Ok(is_new)
    }

    /// Holds what no key opens from now on, or no longer.
    pub(crate) fn hold(&mut self, holds: bool) {
        self.held = holds.then(VecDeque::new);
    }

    /// What is held, in the order in which it came, to be given to [`Gate::pass`] again.
    pub(crate) fn take_held(&mut self) -> Vec<(Vec<u8>, Arrival)> {
        self.held.as_mut().map(|held| held.drain(..).collect()).unwrap_or_default()
    }

    /// Takes a datagram that came.
    pub(crate) fn pass(&mut self, bytes: &[u8], arrival: Arrival) -> Passed {
        let half = if rtp::is_rtcp(bytes) { Half::Rtcp } else { Half::Rtp };
        let secured = self.security.as_mut().filter(|_| half == Half::Rtcp || rtp::is_rtp(bytes));
        let Some(security) = secured else { return Passed::Plain };
        let account = self.account.get_or_insert_default();
        match security.open(bytes, half, arrival.now) {
            Opened::Genuine(opened) => {
                account.packets += u64::from(half == Half::Rtp);
                return Passed::Opened(opened);
            }
            Opened::Repeated => account.replayed += 1,
            Opened::NotAuthentic => match &mut self.held {
                Some(held) => {
                    held.push_back((bytes.to_vec(), arrival));
                    if held.len() > HELD && held.pop_front().is_some() {
                        account.reject(arrival.now);
                    }
                }
                None => account.reject(arrival.now),
            },
        }
        Passed::Stopped
    }

    /// A packet of ours as it is sent; `None` when it cannot be secured as it must be.
    pub(crate) fn seal(&self, packet: Vec<u8>) -> Option<Vec<u8>> {
        match &self.security {
            Some(security) => security.seal(&packet),
            None => Some(packet),
        }
    }

    /// What was counted; `None` where the stream was never secured.
    pub(crate) fn account(&self) -> Option<&SrtpAccount> {
        self.account.as_ref()
    }

    /// What came that should not have, once for each burst.
    pub(crate) fn alarm(&mut self) -> Option<String> {
        let account = self.account.as_mut()?;
        account.bursts.tell().then(|| {
            let count = account.not_authentic;
            format!("{count} packets are not authentic so far: forged, plain, or of another key")
        })
    }
}

impl SrtpAccount {
    fn reject(&mut self, now: Instant) {
        self.not_authentic += 1;
        self.bursts.note(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_model::SrtpKey;
    use siprec_sip::sdp::Crypto;

    const SUITE: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;

    fn keys(byte: u8) -> Keys {
        let key = |byte| SrtpKey::new(SUITE, &[byte; 30]).unwrap();
        Keys { theirs: Crypto::new(1, key(byte)), ours: key(200) }
    }

    /// What a client sends under its key of [`keys`].
    fn packets(byte: u8, numbers: std::ops::Range<u16>) -> Vec<Vec<u8>> {
        let sender = crate::media::srtp::sender(keys(byte).theirs.keys());
        numbers.map(|number| sender(&plain(number))).collect()
    }

    fn plain(number: u16) -> Vec<u8> {
        let [high, low] = number.to_be_bytes();
        vec![0x80, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2]
    }

    fn arrival() -> Arrival {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        Arrival { now: Instant::now(), time: SystemTime::now(), from: address, local: address }
    }

    fn not_authentic(gate: &Gate) -> u64 {
        gate.account().map_or(0, |account| account.not_authentic)
    }

    #[test]
    fn a_plain_stream_is_taken_as_it_is_and_so_is_what_can_be_no_packet() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(&plain(1), arrival()), Passed::Plain);
        assert_eq!(gate.seal(plain(1)), Some(plain(1)));
        assert!(gate.account().is_none() && gate.alarm().is_none());
        gate.secure(Some(&keys(1)), false, false).unwrap();
        assert_eq!(gate.pass(b"junk", arrival()), Passed::Plain);
        assert_eq!(gate.pass(&plain(1), arrival()), Passed::Stopped);
        assert_ne!(gate.seal(plain(1)), Some(plain(1)));
        assert!(gate.alarm().unwrap().starts_with("1 packets are not authentic"));
        gate.secure(None, false, false).unwrap();
        assert_eq!(gate.pass(&plain(2), arrival()), Passed::Plain);
        assert_eq!(not_authentic(&gate), 1, "the account stays");
    }

    #[test]
    fn what_comes_before_its_key_is_held_in_order_and_within_bounds() {
        let mut gate = Gate::default();
        gate.secure(Some(&keys(1)), false, false).unwrap();
        gate.hold(true);
        let early = packets(2, 0..HELD as u16 + 3);
        for packet in &early {
            assert_eq!(gate.pass(packet, arrival()), Passed::Stopped);
        }
        assert_eq!(not_authentic(&gate), 3, "the oldest are given up");
        assert!(gate.secure(Some(&keys(2)), false, false).unwrap());
        let held = gate.take_held();
        assert_eq!(held.len(), HELD);
        for (number, (packet, at)) in (3..).zip(held) {
            assert_eq!(gate.pass(&packet, at), Passed::Opened(plain(number)));
        }
        assert_eq!((gate.take_held().len(), gate.account().unwrap().packets), (0, HELD as u64));
        gate.hold(false);
        assert_eq!(gate.pass(&packets(3, 0..1)[0], arrival()), Passed::Stopped);
        assert_eq!((gate.take_held().len(), not_authentic(&gate)), (0, 4), "nothing is held any more");
    }
}
