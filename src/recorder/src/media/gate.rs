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
