//! A handshake of DTLS with a recorder, in whose name somebody else sends, too.
//!
//! The first byte chooses who begins. Then steps, each a byte that says what, and its operands: see [`Call::act`].

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use siprec_media::dtls::{Association, AssociationEvent, Identity};
use siprec_model::{DtlsAssociation, DtlsRole, SrtpKeys, SrtpSuite};

/// Most steps that are run, and most datagrams that may wait.
const MOST_STEPS: usize = 200;
const MOST_WAITING: usize = 64;

/// Datagrams of a handshake.
pub fn dtls(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else { return };
    let role = if first % 2 == 0 { DtlsRole::Client } else { DtlsRole::Server };
    let mut call = Call::new(role);
    for _ in 0..MOST_STEPS {
        let Some((step, after)) = rest.split_first() else { break };
        rest = call.act(*step, after);
    }
    for _ in 0..6 {
        call.carry(true);
    }
    let ended = [&call.own.ended, &call.recorder.ended];
    if let [Some(Ok(own)), Some(Ok(recorder))] = ended {
        assert_eq!(own.recorder, std::slice::from_ref(&recorder.own));
        assert_eq!(recorder.recorder, std::slice::from_ref(&own.own));
    }
    // Whoever sends without seeing what is sent, and in no time, changes nothing; but a client's first message is another client.
    assert!(!call.is_blind || matches!(ended, [Some(Ok(_)), Some(Ok(_))]), "{ended:?}");
}

struct Call {
    own: End,
    recorder: End,
    now: Instant,
    /// The last datagram of the recorder's.
    last: Vec<u8>,
    is_blind: bool,
}

struct End {
    association: Association,
    ended: Option<Result<Box<SrtpKeys>, String>>,
}

impl Call {
    fn new(role: DtlsRole) -> Self {
        static IDENTITIES: OnceLock<[Arc<Identity>; 2]> = OnceLock::new();
        let [own, recorder] =
            IDENTITIES.get_or_init(|| [(); 2].map(|()| Arc::new(Identity::generate().unwrap())));
        let now = Instant::now();
        let end = |role, identity: &Arc<Identity>, peer: &Identity| {
            let terms = DtlsAssociation {
                role,
                fingerprints: vec![peer.fingerprint().clone()],
                suites: SrtpSuite::ALL.to_vec(),
                own_id: String::new(),
                recorder_id: None,
                session: 1,
            };
            End { association: Association::new(Arc::clone(identity), terms, now), ended: None }
        };
        let other = if role == DtlsRole::Client { DtlsRole::Server } else { DtlsRole::Client };
        let (own, recorder) = (end(role, own, recorder), end(other, recorder, own));
        Self { own, recorder, now, last: Vec::new(), is_blind: true }
    }

    /// Does one step; gives what it has not read.
    fn act<'a>(&mut self, step: u8, rest: &'a [u8]) -> &'a [u8] {
        match step % 6 {
            // Any datagram.
            0 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return &[] };
                let length = usize::from(u16::from_be_bytes(*length));
                let (datagram, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                self.is_blind &=
                    self.own.association.terms().role == DtlsRole::Client || !datagram.contains(&22);
                self.own.hear(datagram, self.now);
                return rest;
            }
            // What both have to say arrives.
            1 => self.carry(true),
            // The recorder's last datagram again, with a byte of another value.
            2 => {
                let Some((&[high, low, value], rest)) = rest.split_first_chunk() else { return &[] };
                let place = usize::from(u16::from_be_bytes([high, low]));
                let mut forged = self.last.clone();
                let length = forged.len().max(1);
                forged.get_mut(place % length).into_iter().for_each(|byte| *byte ^= value);
                self.is_blind = false;
                self.own.hear(&forged, self.now);
                return rest;
            }
            // Or cut off.
            3 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return &[] };
                let length = usize::from(u16::from_be_bytes(*length)).min(self.last.len());
                self.is_blind = false;
                self.own.hear(&self.last[..length], self.now);
                return rest;
            }
            // Time passes.
            4 => {
                let Some((wait, rest)) = rest.split_first() else { return &[] };
                self.now += Duration::from_millis(10) * u32::from(*wait);
                self.is_blind = false;
                for end in [&mut self.own, &mut self.recorder] {
                    end.association.handle_timeout(self.now);
                    end.note();
                }
                return rest;
            }
            // What both have to say is lost.
            _ => {
                self.is_blind = false;
                self.carry(false);
            }
        }
        rest
    }

    fn carry(&mut self, arrives: bool) {
        let [said, heard] = [&mut self.own, &mut self.recorder].map(End::say);
        self.last = heard.last().unwrap_or(&self.last).clone();
        if arrives {
            said.iter().for_each(|datagram| self.recorder.hear(datagram, self.now));
            heard.iter().for_each(|datagram| self.own.hear(datagram, self.now));
        }
    }
}

impl End {
    fn say(&mut self) -> Vec<Vec<u8>> {
        let said: Vec<_> = std::iter::from_fn(|| self.association.poll_transmit()).collect();
        assert!(said.len() <= MOST_WAITING);
        said
    }

    fn hear(&mut self, datagram: &[u8], now: Instant) {
        self.association.handle_datagram(datagram, now);
        self.note();
    }

    fn note(&mut self) {
        let ended = match self.association.poll_event() {
            Some(AssociationEvent::Secured(keys)) => Ok(keys),
            Some(AssociationEvent::Failed(fault)) => Err(fault.to_string()),
            None => return,
        };
        assert!(self.ended.replace(ended).is_none(), "told twice");
    }
}
