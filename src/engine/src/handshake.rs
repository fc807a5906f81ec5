//! The DTLS associations of one branch: one for its RTP, and one for its RTCP where that has ports of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use siprec_media::dtls::{Association, AssociationEvent, AssociationFault, Identity, LARGEST_DATAGRAM};
use siprec_model::{Component, DtlsAssociation, OpenBranch, SrtpKeys};

use crate::ports::Ports;

/// How many datagrams that came before the recorder's answer wait for it: one flight.
const MOST_EARLY: usize = 4;

/// Handshakes with one recorder.
#[derive(Debug)]
pub(crate) struct Handshakes {
    rtp: Handshake,
    /// None where RTCP shares RTP's.
    rtcp: Option<Handshake>,
}

#[derive(Debug)]
struct Handshake {
    address: SocketAddr,
    association: Association,
    keys: Option<Box<SrtpKeys>>,
}

/// What came of handshakes.
#[derive(Debug, PartialEq)]
pub(crate) enum News {
    /// There are keys for this component.
    Secured(Component),
    /// There will be none, and the branch cannot be protected as agreed.
    Failed(AssociationFault),
}

impl Handshakes {
    /// Begins them on these ports.
    pub(crate) fn new(
        identity: &Arc<Identity>,
        terms: &DtlsAssociation,
        target: &OpenBranch,
        ports: &Ports,
        now: Instant,
    ) -> Self {
        let handshake = |address| Handshake {
            address,
            association: Association::new(Arc::clone(identity), terms.clone(), now),
            keys: None,
        };
        // RFC 5764 §4.1: an association for each port of the recorder; one where it takes both on one (RFC 5761).
        let own_rtcp = target.rtcp.filter(|rtcp| ports.rtcp.is_some() && *rtcp != target.rtp);
        Self { rtp: handshake(target.rtp), rtcp: own_rtcp.map(handshake) }
    }

    /// Whether these are the handshakes of this association.
    pub(crate) fn are_of(&self, terms: &DtlsAssociation) -> bool {
        self.rtp.association.terms() == terms
    }

    /// The recorder has moved, and the association goes on.
    pub(crate) fn move_to(&mut self, target: &OpenBranch) {
        self.rtp.address = target.rtp;
        if let (Some(handshake), Some(rtcp)) = (&mut self.rtcp, target.rtcp) {
            handshake.address = rtcp;
        }
    }

    /// Which session they belong to.
    pub(crate) fn session(&self) -> u32 {
        self.rtp.association.terms().session
    }

    /// How many datagrams and records in the recorder's name were passed over, since they were broken or forged.
    pub(crate) fn refused(&self) -> u64 {
        let rtcp = self.rtcp.as_ref().map_or(0, |rtcp| rtcp.association.refused());
        self.rtp.association.refused().saturating_add(rtcp)
    }

    /// The keys of RTP, as soon as there are any.
    pub(crate) fn keys(&self) -> Option<&SrtpKeys> {
        self.rtp.keys.as_deref()
    }

    /// The keys of RTCP where it has its own, once it has them: `None` says that it has RTP's.
    pub(crate) fn rtcp_keys(&self) -> Option<Option<&SrtpKeys>> {
        self.rtcp.as_ref().map(|rtcp| rtcp.keys.as_deref())
    }

    /// Takes a datagram of DTLS that came to a component's port. Only what comes from where the answers go is heard; says
    /// whether it does.
    pub(crate) fn receive(
        &mut self,
        component: Component,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> bool {
        let handshake = match (component, &mut self.rtcp) {
            (Component::Rtcp, Some(rtcp)) => rtcp,
            _ => &mut self.rtp,
        };
        let is_from_there = handshake.address == from;
        if is_from_there {
            handshake.association.handle_datagram(datagram, now);
        }
        is_from_there
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for handshake in self.all_mut() {
            if handshake.association.next_timeout().is_some_and(|due| due <= now) {
                handshake.association.handle_timeout(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let rtcp = self.rtcp.as_ref().and_then(|rtcp| rtcp.association.next_timeout());
        self.rtp.association.next_timeout().into_iter().chain(rtcp).min()
    }

    /// Sends what they have to say, and gives the next thing that came of them.
    pub(crate) fn poll(&mut self, ports: &Ports) -> Option<News> {
        for (index, handshake) in self.all_mut().enumerate() {
            let component = if index == 0 { Component::Rtp } else { Component::Rtcp };
            let socket = match component {
                Component::Rtp => &ports.rtp,
                Component::Rtcp => ports.rtcp_socket(),
            };
            while let Some(datagram) = handshake.association.poll_transmit() {
                // The first try may tell of an earlier datagram instead; what is lost is sent again.
                let sent = socket.send_to(&datagram, handshake.address);
                if sent.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock) {
                    let _ = socket.send_to(&datagram, handshake.address);
                }
            }
            match handshake.association.poll_event() {
                Some(AssociationEvent::Secured(keys)) => {
                    handshake.keys = Some(keys);
                    return Some(News::Secured(component));
                }
                // Without keys for its RTCP a branch is sent all the same, and says and hears nothing of it; but another
                // certificate is another recorder.
                Some(AssociationEvent::Failed(fault))
                    if component == Component::Rtp || matches!(fault, AssociationFault::Fingerprint(_)) =>
                {
                    return Some(News::Failed(fault));
                }
                Some(AssociationEvent::Failed(_)) | None => {}
            }
        }
        None
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Handshake> {
        std::iter::once(&mut self.rtp).chain(&mut self.rtcp)
    }
}

/// What recorders say before their answer has come this far: they need not wait for anything, and would say it again only
/// after a second.
#[derive(Debug, Default)]
pub(crate) struct Early(Vec<(Component, SocketAddr, Vec<u8>)>);

impl Early {
    /// Keeps a datagram; the newest of too many are dropped.
    pub(crate) fn keep(&mut self, component: Component, from: SocketAddr, datagram: &[u8]) {
        if self.0.len() < MOST_EARLY && datagram.len() <= LARGEST_DATAGRAM {
            self.0.push((component, from, datagram.to_vec()));
        }
    }

    /// Gives all of it to handshakes that have just begun.
    pub(crate) fn give(&mut self, handshakes: &mut Handshakes, now: Instant) {
        for (component, from, datagram) in std::mem::take(&mut self.0) {
            handshakes.receive(component, &datagram, from, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use siprec_model::{
        BranchId, DtlsRole, MediaSecurity, PayloadRule, RecorderKey, RecordingKey, RtcpMode, SrtpSuite,
    };

    use super::*;
    use crate::ports::PortPool;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn terms(identity: &Identity) -> DtlsAssociation {
        DtlsAssociation {
            role: DtlsRole::Client,
            fingerprints: vec![identity.fingerprint().clone()],
            suites: SrtpSuite::ALL.to_vec(),
            own_id: String::new(),
            recorder_id: None,
            session: 5,
        }
    }

    #[test]
    fn a_recorder_that_does_not_answer_is_given_up_and_one_that_is_elsewhere_not_heard() {
        let identity = Arc::new(Identity::generate().unwrap());
        let start = Instant::now();
        let ports = PortPool::new(None, None).bind(LOCAL, RtcpMode::Pair, start).unwrap();
        let sockets = [(); 3].map(|()| UdpSocket::bind((LOCAL, 0)).unwrap());
        let address = |index: usize| sockets[index].local_addr().unwrap();
        let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
        let security = MediaSecurity::Dtls(Box::new(terms(&identity)));
        let payloads = vec![PayloadRule { from: 0, to: 0 }];
        let target = OpenBranch {
            branch,
            recorder: RecorderKey::from_raw(1),
            rtp: address(0),
            rtcp: Some(address(1)),
            security,
            may_expose: false,
            payloads,
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        };
        let mut handshakes = Handshakes::new(&identity, &terms(&identity), &target, &ports, start);
        assert!(handshakes.are_of(&terms(&identity)) && handshakes.session() == 5);
        assert_eq!(handshakes.rtcp_keys(), Some(None));
        let mut now = start;
        let mut news = None;
        while let Some(due) = handshakes.next_timeout() {
            now = now.max(due);
            assert!(!handshakes.receive(Component::Rtp, &[22; 20], address(2), now));
            assert!(!handshakes.receive(Component::Rtcp, &[22; 20], address(0), now));
            handshakes.handle_timeout(now);
            while let Some(told) = handshakes.poll(&ports) {
                assert_eq!(news.replace(told), None, "told once");
            }
        }
        let patience = Duration::from_secs(10);
        assert_eq!(now - start, patience);
        assert_eq!(news, Some(News::Failed(AssociationFault::Timeout(patience))));
        for (socket, hears) in sockets.iter().zip([true, true, false]) {
            socket.set_nonblocking(true).unwrap();
            let datagrams = std::iter::from_fn(|| socket.recv(&mut [0; 2048]).ok()).count();
            assert_eq!((4..20).contains(&datagrams), hears, "{datagrams}");
        }
    }

    #[test]
    fn what_comes_early_is_kept_up_to_a_bound() {
        let mut early = Early::default();
        let from = SocketAddr::new(LOCAL, 9);
        early.keep(Component::Rtp, from, &[22; LARGEST_DATAGRAM + 1]);
        assert!(early.0.is_empty());
        (0..100).for_each(|byte| early.keep(Component::Rtp, from, &[22, byte]));
        assert_eq!(early.0.len(), MOST_EARLY);
    }
}
