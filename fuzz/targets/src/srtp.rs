//! SRTP and SRTCP of a call: genuine packets, forgeries and anything else.
//!
//! The first byte chooses the suite and whether keys have identifiers. Then steps, each a byte that says what, and its
//! operands: see [`Call::act`].

use std::collections::HashMap;

use siprec_media::srtp::{Protector, UnprotectFault, Unprotector};
use siprec_model::{SrtpKey, SrtpSuite};

const SSRC: u32 = 0x0000_CA11;

/// Packets of RTP.
pub fn srtp(data: &[u8]) {
    run(data, false);
}

/// Packets of RTCP.
pub fn srtcp(data: &[u8]) {
    run(data, true);
}

fn run(data: &[u8], is_rtcp: bool) {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let suite = SrtpSuite::ALL[usize::from(*kind) % SrtpSuite::ALL.len()];
    let mut call = Call::new(suite, kind & 0x80 != 0, is_rtcp);
    // The whole rest as one packet of somebody else's.
    call.foreign(rest);
    let mut steps = 0;
    while let Some((step, after)) = rest.split_first() {
        rest = call.act(*step, after);
        steps += 1;
        if steps > 2000 {
            break;
        }
    }
    assert!(call.unprotector.sources() <= 64);
}

struct Call {
    suite: SrtpSuite,
    has_mki: bool,
    is_rtcp: bool,
    keys: u8,
    peer: Protector,
    unprotector: Unprotector,
    index: u64,
    /// What the peer has sent: the packet before it was protected, and whether it has been taken.
    sent: HashMap<Vec<u8>, (Vec<u8>, bool)>,
    last: Vec<u8>,
}

impl Call {
    fn new(suite: SrtpSuite, has_mki: bool, is_rtcp: bool) -> Self {
        let key = key(suite, has_mki, 0);
        let mut unprotector = Unprotector::new();
        unprotector.add_key(&key).unwrap();
        let peer = Protector::new(&key).unwrap();
        let (sent, last) = (HashMap::new(), Vec::new());
        Self { suite, has_mki, is_rtcp, keys: 0, peer, unprotector, index: 0x7FF0, sent, last }
    }

    /// Does one step; gives what it has not read.
    fn act<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        match step % 8 {
            // Any bytes.
            0 => {
                let length = rest.first().map_or(0, |length| usize::from(*length));
                let (packet, rest) =
                    rest.get(1..).unwrap_or_default().split_at_checked(length).unwrap_or((rest, &[]));
                self.foreign(packet);
                return rest;
            }
            // The next packets of the call.
            1 => {
                for _ in 0..=step / 8 {
                    self.index += 1;
                    self.send(SSRC);
                    self.arrives(&self.last.clone());
                }
            }
            // It jumps, to another source.
            2 => {
                let Some((&[high, low, source], rest)) = rest.split_first_chunk() else { return &[] };
                self.index += u64::from(u16::from_be_bytes([high, low]));
                self.send(SSRC + u32::from(source));
                self.arrives(&self.last.clone());
                return rest;
            }
            // The last packet, with a byte of another value, or cut off.
            3 => {
                let Some((&[place, value], rest)) = rest.split_first_chunk() else { return &[] };
                let mut forged = self.last.clone();
                let place = usize::from(place) % forged.len().max(1);
                match (forged.get_mut(place), value) {
                    (Some(_), 0) => forged.truncate(place),
                    (Some(byte), value) => *byte ^= value,
                    (None, _) => {}
                }
                self.foreign(&forged);
                return rest;
            }
            // A replay.
            4 => self.foreign(&self.last.clone()),
            // A packet that nobody decrypts.
            5 => {
                self.index += u64::from(step) * 64;
                self.send(SSRC);
                self.unprotector.observe(&self.last);
            }
            // Another key.
            6 => {
                self.keys = self.keys.wrapping_add(1);
                let key = key(self.suite, self.has_mki, self.keys);
                self.unprotector.add_key(&key).unwrap();
                self.peer.rekey(&key).unwrap();
            }
            _ => self.unprotector.forget_older_keys(),
        }
        rest
    }

    /// The peer sends a packet.
    fn send(&mut self, ssrc: u32) {
        let [.., high, low] = self.index.to_be_bytes();
        let first = if self.is_rtcp { [0x80, 200, 0, 6] } else { [0x80, 0, high, low] };
        let mut packet = first.to_vec();
        if !self.is_rtcp {
            packet.extend_from_slice(&[0; 4]);
        }
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&[high; 20]);
        let mut out = packet.clone();
        let done = match self.is_rtcp {
            true => self.peer.protect_rtcp(&mut out, packet.len()),
            false => self.peer.protect_rtp(&mut out, packet.len(), ssrc, self.index),
        };
        assert_eq!(done.unwrap_or(0), out.len());
        if done.is_ok() {
            self.sent.insert(out.clone(), (packet, false));
            self.last = out;
        }
    }

    /// A packet that should be genuine: it is taken once, and as it was.
    fn arrives(&mut self, packet: &[u8]) {
        let mut copy = packet.to_vec();
        match self.unprotect(&mut copy) {
            Ok(length) => {
                let (plain, taken) = self.sent.get_mut(packet).expect("taken although nobody has sent it");
                assert_eq!(copy[..length], plain[..], "not what was sent");
                // An old source may have been forgotten for a new one; no script has so many.
                assert!(!std::mem::replace(taken, true), "taken twice");
            }
            Err(fault) => {
                assert_eq!(copy, packet, "what is refused stays as it was");
                assert_ne!(fault, UnprotectFault::NoKey, "there is always a key");
            }
        }
    }

    /// Anything: if it is taken, the peer has sent it.
    fn foreign(&mut self, packet: &[u8]) {
        self.unprotector.observe(packet);
        self.arrives(packet);
    }

    fn unprotect(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectFault> {
        match self.is_rtcp {
            true => self.unprotector.unprotect_rtcp(packet),
            false => self.unprotector.unprotect_rtp(packet),
        }
    }
}

fn key(suite: SrtpSuite, has_mki: bool, number: u8) -> SrtpKey {
    let key = SrtpKey::new(suite, &vec![number ^ 0x5A; suite.master_length()]).unwrap();
    if has_mki { key.with_mki(&[0, number]).unwrap() } else { key }
}
