//! Branches whose keys come from a handshake on their own ports. Who judges the handshake itself is in the tests of the
//! plugin (GStreamer's elements, over OpenSSL); here a recorder of the same library.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, SILENCE, numbered, receive};
use siprec_engine::{EngineConfig, Tap};
use siprec_media::dtls::{Association, AssociationEvent, Identity, is_dtls};
use siprec_media::srtp::Unprotector;
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, CertificateHash, DtlsAssociation, DtlsRole, Fingerprint,
    MediaSecurity, OpenBranch, PayloadRule, RecorderKey, RtcpMode, SrtpKeys, SrtpSuite,
};

const SSRC: u32 = 0xCAFE_F00D;
/// RFC 3550 §12.1.
const SENDER_REPORT: u8 = 200;

fn terms(role: DtlsRole, peer: &Fingerprint, id: &str) -> DtlsAssociation {
    DtlsAssociation {
        role,
        fingerprints: vec![peer.clone()],
        suites: SrtpSuite::ALL.to_vec(),
        own_id: id.to_owned(),
        recorder_id: None,
        session: 4,
    }
}

fn other(role: DtlsRole) -> DtlsRole {
    if role == DtlsRole::Client { DtlsRole::Server } else { DtlsRole::Client }
}

/// A recorder's end of handshakes.
struct Peer {
    identity: Arc<Identity>,
    /// What it has received that is none of DTLS.
    media: Vec<Vec<u8>>,
}

impl Peer {
    fn new() -> Self {
        Self { identity: Arc::new(Identity::generate().unwrap()), media: Vec::new() }
    }

    fn association(&self, rig: &Rig, role: DtlsRole) -> Association {
        let terms = terms(role, rig.engine.fingerprint(), "");
        Association::new(Arc::clone(&self.identity), terms, Instant::now())
    }

    /// Makes a handshake on a socket with whoever is at `engine`.
    fn shake(&mut self, mut association: Association, socket: &UdpSocket, engine: SocketAddr) -> SrtpKeys {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            while let Some(datagram) = association.poll_transmit() {
                socket.send_to(&datagram, engine).unwrap();
            }
            match association.poll_event() {
                Some(AssociationEvent::Secured(keys)) => return *keys,
                Some(AssociationEvent::Failed(fault)) => panic!("{fault}"),
                None => {}
            }
            match receive(socket, Duration::from_millis(20)) {
                Some((datagram, from)) if is_dtls(&datagram) => {
                    assert_eq!(from, engine);
                    association.handle_datagram(&datagram, Instant::now());
                }
                Some((datagram, _)) => self.media.push(datagram),
                None => association.handle_timeout(Instant::now()),
            }
        }
        panic!("the handshake did not end");
    }
}

struct Setting {
    rig: Rig,
    tap: Tap,
    branch: BranchId,
    recorder: Recorder,
    rtp: SocketAddr,
    rtcp: SocketAddr,
}

impl Setting {
    fn new(mode: RtcpMode) -> Self {
        Self::with(EngineConfig::default(), mode)
    }

    fn with(config: EngineConfig, mode: RtcpMode) -> Self {
        let rig = Rig::new(config);
        let tap = rig.tap();
        let branch = rig.create(&tap, 0, FAST);
        let (rtp, rtcp) = rig.bind(branch, LOCAL, mode);
        Self { rig, tap, branch, recorder: Recorder::new(), rtp, rtcp }
    }

    fn target(&self, terms: DtlsAssociation, mode: RtcpMode) -> OpenBranch {
        let rtp = self.recorder.rtp.local_addr().unwrap();
        let rtcp = match mode {
            RtcpMode::Pair => self.recorder.rtcp.local_addr().unwrap(),
            RtcpMode::Mux => rtp,
        };
        let security = MediaSecurity::Dtls(Box::new(terms));
        let payloads = vec![PayloadRule { from: 0, to: 0 }];
        OpenBranch {
            branch: self.branch,
            recorder: RecorderKey::from_raw(1),
            rtp,
            rtcp: Some(rtcp),
            security,
            may_expose: false,
            payloads,
            catch_up: None,
            expects_reports: false,
            retransmission: false,
        }
    }

    fn push(&self, number: u32) {
        self.tap.push(&numbered(SSRC, number), Instant::now());
    }
}

fn receiver(keys: &SrtpKeys) -> Unprotector {
    let mut receiver = Unprotector::new();
    receiver.add_key(&keys.recorder[0]).unwrap();
    receiver
}

/// The type of the first packet of the next datagram that is none of DTLS, decrypted.
fn next_reports(receiver: &mut Unprotector, socket: &UdpSocket, within: Duration) -> Option<u8> {
    let mut datagrams = std::iter::from_fn(|| receive(socket, within));
    let (mut datagram, _) = datagrams.find(|(datagram, _)| !is_dtls(datagram))?;
    receiver.unprotect_rtcp(&mut datagram).unwrap();
    Some(datagram[1])
}

/// The number of a packet, decrypted.
fn number(receiver: &mut Unprotector, mut packet: Vec<u8>) -> u32 {
    let length = receiver.unprotect_rtp(&mut packet).unwrap();
    assert_eq!(length, 12 + 160);
    u32::from_be_bytes(packet[4..8].try_into().unwrap()) / 160
}

#[test]
fn what_was_held_leaves_under_the_keys_of_the_handshake_whoever_begins_it() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        for mode in [RtcpMode::Pair, RtcpMode::Mux] {
            let setting = Setting::new(mode);
            let mut peer = Peer::new();
            (0..10).for_each(|number| setting.push(number));
            let terms = terms(role, peer.identity.fingerprint(), "one");
            setting.rig.command(BranchCommand::Open(setting.target(terms, mode)));
            let recorder = &setting.recorder;
            let association = peer.association(&setting.rig, other(role));
            let keys = peer.shake(association, &recorder.rtp, setting.rtp);
            let mut receiver = receiver(&keys);
            let mut rtcp_receiver = None;
            if mode == RtcpMode::Pair {
                let association = peer.association(&setting.rig, other(role));
                let rtcp = peer.shake(association, &recorder.rtcp, setting.rtcp);
                assert_ne!(rtcp.own, keys.own, "RFC 5764 §4.1: RTCP has a handshake of its own");
                rtcp_receiver = Some(self::receiver(&rtcp));
            }
            let mut packets: Vec<Vec<u8>> = peer.media.drain(..).collect();
            while packets.iter().filter(|packet| packet[1] & 0x7F == 0).count() < 10 {
                packets.push(receive(&recorder.rtp, DEADLINE).unwrap().0);
            }
            packets.retain(|packet| packet[1] & 0x7F == 0);
            for (expected, packet) in packets.into_iter().enumerate() {
                assert_eq!(number(&mut receiver, packet), expected as u32);
            }
            // Protected by the keys of RTCP, and by no others. Of a pair its handshake may still go on.
            let receiver = rtcp_receiver.as_mut().unwrap_or(&mut receiver);
            if mode == RtcpMode::Pair {
                assert_eq!(next_reports(receiver, &recorder.rtcp, DEADLINE), Some(SENDER_REPORT));
            }
            let (events, report) = setting.rig.close(setting.branch);
            assert_eq!((report.seen, report.sent), (10, 10), "{events:?}");
            let socket = if mode == RtcpMode::Pair { &recorder.rtcp } else { &recorder.rtp };
            let mut heard = 0;
            while next_reports(receiver, socket, SILENCE).is_some() {
                heard += 1;
            }
            assert!(heard > 0, "{role:?} {mode:?}");
        }
    }
}

#[test]
fn nothing_leaves_before_there_are_keys() {
    let setting = Setting::new(RtcpMode::Pair);
    let peer = Peer::new();
    let terms = terms(DtlsRole::Server, peer.identity.fingerprint(), "one");
    setting.rig.command(BranchCommand::Open(setting.target(terms, RtcpMode::Pair)));
    (0..10).for_each(|number| setting.push(number));
    setting.recorder.assert_silence();
    assert!(receive(&setting.recorder.rtcp, SILENCE).is_none());
    let (_, report) = setting.rig.close(setting.branch);
    assert_eq!((report.seen, report.sent), (10, 0));
    setting.recorder.assert_silence();
    assert!(receive(&setting.recorder.rtcp, SILENCE).is_none(), "nor its BYE");
}

#[test]
fn another_certificate_than_agreed_fails_the_session_and_nothing_is_sent() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let setting = Setting::new(RtcpMode::Mux);
        let stranger = Fingerprint::new(CertificateHash::Sha256, &[9; 32]).unwrap();
        setting.push(0);
        let terms = terms(role, &stranger, "one");
        setting.rig.command(BranchCommand::Open(setting.target(terms, RtcpMode::Mux)));
        let peer = Peer::new();
        let mut association = peer.association(&setting.rig, other(role));
        let end = Instant::now() + DEADLINE;
        let mut media = 0;
        let told = loop {
            while let Some(datagram) = association.poll_transmit() {
                setting.recorder.rtp.send_to(&datagram, setting.rtp).unwrap();
            }
            match receive(&setting.recorder.rtp, Duration::from_millis(20)) {
                Some((datagram, _)) if is_dtls(&datagram) => {
                    association.handle_datagram(&datagram, Instant::now());
                }
                Some(_) => media += 1,
                None => association.handle_timeout(Instant::now()),
            }
            let told = setting.rig.events_within(Duration::from_millis(1));
            let failed = told.into_iter().find_map(|(_, event)| match event {
                BranchEvent::SecurityFailed { session, reason } => Some((session, reason)),
                _ => None,
            });
            assert!(Instant::now() < end, "nothing was told");
            if let Some(failed) = failed {
                break failed;
            }
        };
        assert_eq!(told.0, 4);
        assert!(told.1.contains("is not the one that its description names"), "{}", told.1);
        assert!(told.1.contains(&peer.identity.fingerprint().to_string()), "{}", told.1);
        assert_eq!(media, 0);
    }
}

#[test]
fn a_recorder_that_stays_silent_is_given_up_in_time_and_nothing_is_sent() {
    const LIMIT: Duration = Duration::from_millis(600);
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let config = EngineConfig { handshake_limit: LIMIT, ..EngineConfig::default() };
        let setting = Setting::with(config, RtcpMode::Pair);
        let peer = Peer::new();
        (0..10).for_each(|number| setting.push(number));
        let terms = terms(role, peer.identity.fingerprint(), "one");
        let began = Instant::now();
        setting.rig.command(BranchCommand::Open(setting.target(terms, RtcpMode::Pair)));
        let (session, reason) = setting.rig.expect(setting.branch, |event| match event {
            BranchEvent::SecurityFailed { session, reason } => Some((session, reason)),
            _ => None,
        });
        assert!(began.elapsed() >= LIMIT, "{role:?}");
        assert_eq!(session, 4);
        assert!(reason.contains("did not end within 600ms"), "{reason}");
        let mut hellos = 0;
        while let Some((datagram, _)) = receive(&setting.recorder.rtp, SILENCE) {
            assert!(is_dtls(&datagram), "{role:?}");
            hellos += 1;
        }
        // A server only answers; a client asks again.
        assert_eq!(hellos > 1, role == DtlsRole::Client, "{role:?}: {hellos}");
        let (_, report) = setting.rig.close(setting.branch);
        assert_eq!((report.seen, report.sent), (10, 0), "it was held, and is not gone");
    }
}

#[test]
fn a_recorder_that_begins_before_its_answer_is_here_need_not_begin_again() {
    let setting = Setting::new(RtcpMode::Pair);
    let peer = Peer::new();
    let mut association = peer.association(&setting.rig, DtlsRole::Client);
    let hello = association.poll_transmit().unwrap();
    setting.recorder.rtp.send_to(&hello, setting.rtp).unwrap();
    // Whatever else comes is passed over.
    for datagram in [&[22; 3000][..], &[0x80; 12], &[], &[22]] {
        Recorder::new().rtp.send_to(datagram, setting.rtp).unwrap();
    }
    std::iter::repeat_with(|| setting.rig.events_within(SILENCE)).take(2).for_each(drop);
    let terms = terms(DtlsRole::Server, peer.identity.fingerprint(), "one");
    setting.rig.command(BranchCommand::Associate(Box::new(setting.target(terms, RtcpMode::Pair))));
    let (answer, from) = receive(&setting.recorder.rtp, DEADLINE).unwrap();
    assert_eq!((from, answer[0]), (setting.rtp, 22));
}

#[test]
fn a_handshake_can_be_over_before_the_branch_is_opened() {
    let setting = Setting::new(RtcpMode::Mux);
    let mut peer = Peer::new();
    let target = setting.target(terms(DtlsRole::Client, peer.identity.fingerprint(), "one"), RtcpMode::Mux);
    setting.rig.command(BranchCommand::Associate(Box::new(target.clone())));
    setting.rig.command(BranchCommand::Pause { branch: setting.branch });
    let association = peer.association(&setting.rig, DtlsRole::Server);
    let mut receiver = receiver(&peer.shake(association, &setting.recorder.rtp, setting.rtp));
    setting.recorder.assert_silence();
    setting.rig.command(BranchCommand::Open(target));
    // What comes before the branch is open is not for the recorder.
    let end = Instant::now() + DEADLINE;
    let first = (0..).find_map(|number| {
        assert!(Instant::now() < end, "nothing came");
        setting.push(number);
        let is_media = |datagram: &Vec<u8>| datagram[1] & 0x7F == 0;
        receive(&setting.recorder.rtp, SILENCE).map(|(datagram, _)| datagram).filter(is_media)
    });
    assert!(number(&mut receiver, first.unwrap()) < 1000);
}

#[test]
fn another_association_has_other_keys_and_what_comes_meanwhile_is_held() {
    let setting = Setting::new(RtcpMode::Mux);
    let mut peer = Peer::new();
    let (mut receivers, mut numbers) = (Vec::new(), Vec::new());
    for (id, first) in [("one", 0), ("two", 11)] {
        let terms = terms(DtlsRole::Server, peer.identity.fingerprint(), id);
        setting.rig.command(BranchCommand::Open(setting.target(terms, RtcpMode::Mux)));
        (first..first + 10).for_each(|number| setting.push(number));
        let association = peer.association(&setting.rig, DtlsRole::Client);
        let keys = peer.shake(association, &setting.recorder.rtp, setting.rtp);
        receivers.push(receiver(&keys));
        // Under the new keys in any case.
        setting.push(first + 10);
        while numbers.last().is_none_or(|(_, number)| *number < first + 10) {
            let mut packet = match peer.media.is_empty() {
                true => receive(&setting.recorder.rtp, DEADLINE).unwrap().0,
                false => peer.media.remove(0),
            };
            if packet[1] & 0x7F == 0 {
                let length = packet.len();
                let mut keyed = receivers.iter_mut();
                let by = keyed.position(|receiver| receiver.unprotect_rtp(&mut packet).is_ok()).unwrap();
                assert_eq!(packet.len(), length);
                numbers.push((by, u32::from_be_bytes(packet[4..8].try_into().unwrap()) / 160));
            }
        }
    }
    // What came before the new association was asked for may go by the old one; all goes in order, and none twice.
    assert!(numbers.iter().map(|(_, number)| *number).eq(0..=21), "{numbers:?}");
    assert!(numbers.is_sorted_by_key(|(by, _)| *by), "{numbers:?}");
    assert_eq!(numbers.first().zip(numbers.last()).map(|(first, last)| (first.0, last.0)), Some((0, 1)));
}

#[test]
fn what_is_put_back_behind_the_handshake_of_the_next_session_leaves_under_its_keys() {
    for mode in [RtcpMode::Mux, RtcpMode::Pair] {
        let setting = Setting::new(mode);
        let start = Instant::now();
        let mut numbers = Vec::new();
        for session in [4, 5] {
            let mut peer = Peer::new();
            let terms = DtlsAssociation {
                session,
                ..terms(DtlsRole::Server, peer.identity.fingerprint(), &session.to_string())
            };
            let target = setting.target(terms, mode);
            if session == 5 {
                setting.rig.command(BranchCommand::Part { branch: setting.branch });
            }
            setting.rig.command(BranchCommand::Associate(Box::new(target.clone())));
            let association = peer.association(&setting.rig, DtlsRole::Client);
            let mut receiver = receiver(&peer.shake(association, &setting.recorder.rtp, setting.rtp));
            if session == 5 {
                let branch = setting.branch;
                setting.rig.command(BranchCommand::Recall {
                    branch,
                    since: start,
                    next: Some(5),
                    missed: None,
                });
            }
            setting.rig.command(BranchCommand::Open(target));
            if session == 4 {
                (0..10).for_each(|number| setting.push(number));
            }
            let of_session = numbers.len() + 10;
            while numbers.len() < of_session {
                let (packet, _) = receive(&setting.recorder.rtp, DEADLINE).expect("a packet");
                if packet[1] & 0x7F == 0 && !is_dtls(&packet) {
                    numbers.push(number(&mut receiver, packet));
                }
            }
        }
        assert!(numbers.iter().copied().eq((0..10).chain(0..10)), "{numbers:?}");
    }
}

#[test]
fn every_engine_has_a_certificate_of_its_own() {
    let engines = [Rig::new(EngineConfig::default()), Rig::new(EngineConfig::default())];
    let [one, two] = engines.each_ref().map(|rig| rig.engine.fingerprint().clone());
    assert_ne!(one, two);
    assert_eq!(one.hash(), CertificateHash::Sha256);
}
