//! Two associations that speak to each other over a network that the test makes, on a virtual clock.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use siprec_media::dtls::{Association, AssociationEvent, AssociationFault, Identity};
use siprec_media::srtp::{Protector, Unprotector};
use siprec_model::{DtlsAssociation, DtlsRole, SrtpKeys, SrtpSuite};

pub(crate) const ALL: [SrtpSuite; 3] =
    [SrtpSuite::AeadAes256Gcm, SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80];

/// Our certificate and the recorder's.
pub(crate) fn identities() -> &'static [Arc<Identity>; 2] {
    static MADE: OnceLock<[Arc<Identity>; 2]> = OnceLock::new();
    MADE.get_or_init(|| [(); 2].map(|()| Arc::new(Identity::generate().unwrap())))
}

pub(crate) fn terms(role: DtlsRole, peer: &Identity) -> DtlsAssociation {
    DtlsAssociation {
        role,
        fingerprints: vec![peer.fingerprint().clone()],
        suites: ALL.to_vec(),
        own_id: "own".to_owned(),
        recorder_id: None,
        session: 3,
    }
}

pub(crate) struct Pair {
    pub(crate) client: Association,
    pub(crate) server: Association,
    pub(crate) now: Instant,
    pub(crate) ended: [Option<AssociationEvent>; 2],
}

impl Pair {
    pub(crate) fn new() -> Self {
        let [own, other] = identities();
        Self::of(terms(DtlsRole::Client, other), terms(DtlsRole::Server, own))
    }

    pub(crate) fn of(client: DtlsAssociation, server: DtlsAssociation) -> Self {
        let [own, other] = identities();
        let now = Instant::now();
        Self {
            client: Association::new(Arc::clone(own), client, now),
            server: Association::new(Arc::clone(other), server, now),
            now,
            ended: [None, None],
        }
    }

    fn note(&mut self) {
        for (side, ended) in [&mut self.client, &mut self.server].into_iter().zip(&mut self.ended) {
            if let Some(event) = side.poll_event() {
                assert!(ended.replace(event).is_none(), "told twice");
            }
        }
    }

    /// Carries what there is; `network` says what arrives for what was sent by the client, or by the server.
    pub(crate) fn carry(&mut self, mut network: impl FnMut(bool, Vec<u8>) -> Vec<Vec<u8>>) -> bool {
        let sent: Vec<_> = std::iter::from_fn(|| self.client.poll_transmit()).collect();
        let answered: Vec<_> = std::iter::from_fn(|| self.server.poll_transmit()).collect();
        let any = !sent.is_empty() || !answered.is_empty();
        for datagram in sent.into_iter().flat_map(|datagram| network(true, datagram)) {
            self.server.handle_datagram(&datagram, self.now);
        }
        for datagram in answered.into_iter().flat_map(|datagram| network(false, datagram)) {
            self.client.handle_datagram(&datagram, self.now);
        }
        self.note();
        any
    }

    /// Lets time pass to the next timer; false where there is none within the limit.
    pub(crate) fn wait(&mut self, limit: Instant) -> bool {
        let due = [self.client.next_timeout(), self.server.next_timeout()].into_iter().flatten().min();
        let Some(due) = due.filter(|due| *due <= limit) else { return false };
        let late = self.now.saturating_duration_since(due);
        assert!(
            late < Duration::from_secs(1),
            "a timer that never comes: {:?} {:?}",
            self.client,
            self.server
        );
        self.now = self.now.max(due);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        self.note();
        true
    }

    pub(crate) fn run(&mut self, mut network: impl FnMut(bool, Vec<u8>) -> Vec<Vec<u8>>) {
        let limit = self.now + Duration::from_secs(30);
        for _ in 0..2000 {
            if !self.carry(&mut network) && (self.ended.iter().all(Option::is_some) || !self.wait(limit)) {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    pub(crate) fn keys(&self) -> [&SrtpKeys; 2] {
        self.ended.each_ref().map(|ended| match ended {
            Some(AssociationEvent::Secured(keys)) => &**keys,
            other => panic!("{other:?}"),
        })
    }

    pub(crate) fn faults(&self) -> [&AssociationFault; 2] {
        self.ended.each_ref().map(|ended| match ended {
            Some(AssociationEvent::Failed(fault)) => fault,
            other => panic!("{other:?}"),
        })
    }
}

pub(crate) fn all_arrives(_: bool, datagram: Vec<u8>) -> Vec<Vec<u8>> {
    vec![datagram]
}

/// Whether what one side protects the other takes.
pub(crate) fn check(keys: [&SrtpKeys; 2]) {
    let [client, server] = keys;
    assert_eq!(client.session, 3);
    for (from, to) in [(client, server), (server, client)] {
        assert_eq!(from.recorder, std::slice::from_ref(&to.own));
        let packet = [0x80, 0, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF];
        let mut out = packet.to_vec();
        Protector::new(&from.own).unwrap().protect_rtp(&mut out, packet.len(), 2, 0x1234).unwrap();
        let mut receiver = Unprotector::new();
        receiver.add_key(&to.recorder[0]).unwrap();
        let length = receiver.unprotect_rtp(&mut out).unwrap();
        assert_eq!(out[..length], packet);
    }
    assert_ne!(client.own, server.own);
}
