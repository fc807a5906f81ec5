//! What a recorder has not got and asks for (generic NACK, RFC 4585 §6.2.1) is sent again as it was sent before, and
//! nothing else is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, SILENCE, numbered, receive};
use rtcp_types::TransportFeedback;
use rtcp_types::prelude::*;
use siprec_engine::{EngineConfig, MediaSource, Tap};
use siprec_media::srtp::{Protector, Unprotector};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, MediaSecurity, OpenBranch, PayloadRule, RecorderKey, RtcpMode,
    SrtpKey, SrtpKeys, SrtpSuite,
};

const SSRC: u32 = 0xCAFE_F00D;
/// A packet leaves again so long after it has left, at the earliest.
const APART: Duration = Duration::from_millis(25);
const NOTHING: [Vec<u8>; 0] = [];

/// An open branch, and a recorder that asks for what it has not got.
struct Asking {
    rig: Rig,
    tap: Tap,
    branch: BranchId,
    local: SocketAddr,
    recorder: Recorder,
    next: u32,
}

impl Asking {
    fn new() -> Self {
        Self::of(EngineConfig::default(), RtcpMode::Pair)
    }

    fn of(config: EngineConfig, mode: RtcpMode) -> Self {
        let rig = Rig::new(config);
        let (tap, recorder) = (rig.tap(), Recorder::new());
        let branch = rig.create(&tap, 0, FAST);
        let (_, local) = rig.bind(branch, LOCAL, mode);
        Self { rig, tap, branch, local, recorder, next: 0 }
    }

    fn open(&self) {
        self.rig.open(self.branch, &self.recorder);
    }

    fn push(&mut self, count: u32) {
        for _ in 0..count {
            self.tap.push(&numbered(SSRC, self.next), Instant::now());
            self.next += 1;
        }
    }

    /// So many datagrams, as they come.
    fn datagrams(&self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| receive(&self.recorder.rtp, DEADLINE).unwrap().0).collect()
    }

    /// Everything that comes until nothing does for a while.
    fn all(&self) -> Vec<Vec<u8>> {
        let next = || receive(&self.recorder.rtp, Duration::from_millis(150));
        std::iter::from_fn(next).map(|(datagram, _)| datagram).collect()
    }

    fn ask(&self, sequences: &[u16]) {
        self.recorder.rtcp.send_to(&nack(sequences), self.local).unwrap();
    }
}

fn nack(sequences: &[u16]) -> Vec<u8> {
    let fci =
        sequences.iter().fold(rtcp_types::Nack::builder(), |fci, sequence| fci.add_rtp_sequence(*sequence));
    let request = TransportFeedback::builder_owned(fci).sender_ssrc(4711).media_ssrc(SSRC);
    let mut bytes = vec![0; request.calculate_size().unwrap()];
    request.write_into(&mut bytes).unwrap();
    bytes
}

fn protected(key: &SrtpKey, mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len();
    Protector::new(key).unwrap().protect_rtcp(&mut bytes, length).unwrap();
    bytes
}

fn sequence(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[2], datagram[3]])
}

fn keys(mark: u8, session: u32) -> SrtpKeys {
    let suite = SrtpSuite::AeadAes128Gcm;
    let key = |mark| SrtpKey::new(suite, &vec![mark; suite.master_length()]).unwrap();
    SrtpKeys { own: key(mark), recorder: vec![key(0xF0)], recorder_lifetime: None, session }
}

#[test]
fn what_is_asked_for_leaves_again_as_it_left_and_counts_once_as_sent() {
    for source in [MediaSource::PerStream, MediaSource::Shared] {
        for mode in [RtcpMode::Pair, RtcpMode::Mux] {
            let config = EngineConfig { media_source: source, ..EngineConfig::default() };
            let mut call = Asking::of(config, mode);
            call.open();
            call.push(10);
            let sent = call.datagrams(10);
            std::thread::park_timeout(APART);
            call.ask(&[sequence(&sent[3]), sequence(&sent[7])]);
            // Of the first packet no receiver knows that it is missing.
            let again = [&sent[3], &sent[7], &sent[0]].map(Clone::clone);
            assert_eq!(call.datagrams(3), again, "{source:?} {mode:?}");
            std::thread::park_timeout(APART);
            for number in [-1i16 as u16, 10] {
                call.ask(&[sequence(&sent[0]).wrapping_add(number)]);
            }
            assert_eq!(call.all(), [sent[0].clone()]);
            let (_, report) = call.rig.close(call.branch);
            assert_eq!((report.seen, report.sent, report.drops.total()), (10, 10, 0));
            assert_eq!((report.retransmitted, report.not_retransmitted), (4, 3));
        }
    }
}

#[test]
fn who_has_not_agreed_to_ask_is_not_heard() {
    let mut call = Asking::new();
    call.rig.command(BranchCommand::Open(OpenBranch {
        branch: call.branch,
        recorder: RecorderKey::from_raw(1),
        rtp: call.recorder.rtp.local_addr().unwrap(),
        rtcp: Some(call.recorder.rtcp.local_addr().unwrap()),
        security: MediaSecurity::Plain,
        may_expose: true,
        payloads: vec![PayloadRule { from: 0, to: 0 }],
        catch_up: None,
        expects_reports: false,
        retransmission: false,
    }));
    call.push(10);
    let sent = call.datagrams(10);
    std::thread::park_timeout(APART);
    call.ask(&[sequence(&sent[3])]);
    assert_eq!(call.all(), NOTHING);
    assert_eq!(call.rig.close(call.branch).1.retransmitted, 0);
}

/// A request that is not the recorder's asks for nothing; one that is gets the very bytes: nothing is encrypted twice.
#[test]
fn encrypted_packets_leave_again_byte_for_byte_for_who_has_the_recorders_key() {
    let mut call = Asking::new();
    let keys = keys(1, 1);
    call.rig.open_secured(call.branch, &call.recorder, &keys);
    call.push(10);
    let sent = call.datagrams(10);
    std::thread::park_timeout(APART);
    let request = nack(&[sequence(&sent[4])]);
    for forged in [request.clone(), protected(&keys.own, request.clone())] {
        call.recorder.rtcp.send_to(&forged, call.local).unwrap();
    }
    assert_eq!(call.all(), NOTHING);
    call.recorder.rtcp.send_to(&protected(&keys.recorder[0], request), call.local).unwrap();
    assert_eq!(call.datagrams(2), [sent[4].clone(), sent[0].clone()]);
}

/// `protocol` section 7: paused, muted, stopped or refused streams send nothing from the moment the command returns.
#[test]
fn nothing_leaves_again_through_a_shut_gate_and_what_left_before_may_once_it_is_open() {
    let mut call = Asking::new();
    call.open();
    call.push(10);
    let sent = call.datagrams(10);
    std::thread::park_timeout(APART);
    call.tap.close_gate();
    call.ask(&[sequence(&sent[4])]);
    assert_eq!(call.all(), NOTHING, "the gate is shut");
    call.rig.command(BranchCommand::Pause { branch: call.branch });
    call.tap.open_gate();
    call.ask(&[sequence(&sent[4])]);
    assert_eq!(call.all(), NOTHING, "the branch is paused");
    call.open();
    call.ask(&[sequence(&sent[4])]);
    assert_eq!(call.datagrams(2), [sent[4].clone(), sent[0].clone()]);
    call.rig.command(BranchCommand::Disable { branch: call.branch });
    std::thread::park_timeout(APART);
    call.ask(&[sequence(&sent[4])]);
    assert_eq!(call.all(), NOTHING, "the stream is refused");
}

#[test]
fn what_went_to_another_recorder_or_under_another_key_never_leaves_again() {
    for moves in [false, true] {
        let mut call = Asking::new();
        call.rig.open_secured(call.branch, &call.recorder, &keys(1, 1));
        call.push(10);
        let sent = call.datagrams(10);
        std::thread::park_timeout(APART);
        let all: Vec<u16> = sent.iter().map(|datagram| sequence(datagram)).collect();
        if moves {
            call.recorder = Recorder::new();
        }
        call.rig.open_secured(call.branch, &call.recorder, &keys(2, 1));
        // What the command has not overtaken still goes the old way.
        let end = Instant::now() + DEADLINE;
        let mut receiver = Unprotector::new();
        receiver.add_key(&keys(2, 1).own).unwrap();
        let mut is_new = |datagram: &Vec<u8>| receiver.unprotect_rtp(&mut datagram.clone()).is_ok();
        let new = loop {
            assert!(Instant::now() < end, "nothing leaves any more");
            call.push(1);
            if let Some(new) = call.all().into_iter().find(&mut is_new) {
                break new;
            }
        };
        let request = protected(&keys(2, 1).recorder[0], nack(&all));
        call.recorder.rtcp.send_to(&request, call.local).unwrap();
        // Numbers may be the same under another key.
        assert!(call.all().iter().all(|datagram| *datagram == new), "moves: {moves}");
        let (_, report) = call.rig.close(call.branch);
        assert!(report.retransmitted <= 1 && report.not_retransmitted >= 9, "{report:?}");
    }
}

#[test]
fn what_left_encrypted_never_leaves_again_once_the_branch_is_plain() {
    let mut call = Asking::new();
    call.rig.open_secured(call.branch, &call.recorder, &keys(1, 1));
    call.push(10);
    let sent = call.datagrams(10);
    std::thread::park_timeout(APART);
    call.open();
    let end = Instant::now() + DEADLINE;
    let plain = loop {
        assert!(Instant::now() < end, "it does not become plain");
        call.push(1);
        // What the command has not overtaken is encrypted, too.
        if let Some(plain) = call.all().into_iter().find(|datagram| datagram.len() < sent[0].len()) {
            break plain;
        }
    };
    call.ask(&sent.iter().map(|datagram| sequence(datagram)).collect::<Vec<_>>());
    assert!(call.all().iter().all(|datagram| *datagram == plain));
    let (_, report) = call.rig.close(call.branch);
    assert!(report.not_retransmitted >= 10, "{report:?}");
}

#[test]
fn a_flood_of_requests_gets_no_more_than_has_left_and_64_packets() {
    let mut call = Asking::new();
    call.open();
    call.push(50);
    let sent: Vec<u16> = call.datagrams(50).iter().map(|datagram| sequence(datagram)).collect();
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        call.ask(&sent);
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let again = call.all().len();
    assert!((50..=64).contains(&again), "{again}");
    let (_, report) = call.rig.close(call.branch);
    assert_eq!((report.sent, report.retransmitted), (50, again as u64));
    assert!(report.not_retransmitted > 1000, "{report:?}");
}

#[test]
fn without_budget_nothing_leaves_again() {
    let config = EngineConfig { catch_up_budget: 0, ..EngineConfig::default() };
    let mut call = Asking::of(config, RtcpMode::Pair);
    call.open();
    // What comes before that is done is held, and would need the budget itself.
    std::thread::park_timeout(SILENCE);
    call.push(10);
    let sent = call.datagrams(10);
    std::thread::park_timeout(APART);
    call.ask(&[sequence(&sent[4])]);
    assert_eq!(call.all(), NOTHING);
}

/// Behind the last packet nothing comes that shows whether it is missing.
#[test]
fn the_last_packet_of_a_stream_that_misses_some_leaves_again_until_nobody_asks() {
    for lossy in [true, false] {
        let mut call = Asking::new();
        call.open();
        call.push(10);
        let sent = call.datagrams(10);
        if lossy {
            std::thread::park_timeout(APART);
            call.ask(&[sequence(&sent[4])]);
            assert_eq!(call.datagrams(2), [sent[4].clone(), sent[0].clone()]);
        }
        call.tap.close_gate();
        let drained = Instant::now();
        call.rig.command(BranchCommand::Drain { branch: call.branch });
        if lossy {
            assert_eq!(call.datagrams(2), [sent[9].clone(), sent[9].clone()]);
            // The last but one is missing, too.
            call.ask(&[sequence(&sent[8])]);
            let last = call.datagrams(5);
            assert_eq!(last.iter().filter(|datagram| **datagram == sent[0]).count(), 1);
            assert_eq!(last.iter().filter(|datagram| **datagram == sent[8]).count(), 1);
            assert_eq!(last.iter().filter(|datagram| **datagram == sent[9]).count(), 3);
        }
        call.rig.expect(call.branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
        let took = drained.elapsed();
        assert_eq!(took > Duration::from_millis(300), lossy, "{took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(call.all(), NOTHING, "told, and nothing more leaves");
    }
}

#[test]
fn a_recorder_that_asks_for_ever_does_not_keep_the_end_from_coming() {
    let mut call = Asking::new();
    call.open();
    call.push(10);
    let sent: Vec<u16> = call.datagrams(10).iter().map(|datagram| sequence(datagram)).collect();
    std::thread::park_timeout(APART);
    call.ask(&sent);
    call.datagrams(1);
    call.rig.command(BranchCommand::Drain { branch: call.branch });
    let drained = Instant::now();
    loop {
        call.ask(&sent);
        let events = call.rig.events_within(Duration::from_millis(20));
        if events.iter().any(|(_, event)| matches!(event, BranchEvent::BacklogEmpty { .. })) {
            break;
        }
        assert!(drained.elapsed() < DEADLINE, "the end has not come");
    }
    assert!(drained.elapsed() > Duration::from_secs(1), "{:?}", drained.elapsed());
}

/// Whatever happens: no key protects two packets under one index (RFC 3711 §9.1).
#[test]
fn no_two_packets_have_one_key_and_one_index() {
    let mut call = Asking::new();
    let mut random = 0x1234_5678_9ABC_DEF1u64;
    let mut roll = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let mut used = vec![keys(1, 1)];
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for _ in 0..90 {
        match roll(10) {
            0..4 => call.push(1 + roll(8) as u32),
            4..7 => {
                let numbers = seen.iter().rev().take(40).map(|datagram| sequence(datagram));
                let asked: Vec<u16> = numbers.filter(|_| roll(3) == 0).collect();
                let request = protected_as(&used[0].recorder[0], nack(&asked), seen.len() as u32);
                call.recorder.rtcp.send_to(&request, call.local).unwrap();
            }
            7 if is_open => {
                match roll(3) {
                    0 => call.rig.command(BranchCommand::Pause { branch: call.branch }),
                    1 => call.rig.command(BranchCommand::Hold { branch: call.branch }),
                    _ => {
                        let since = Instant::now() - Duration::from_secs(5);
                        call.rig.command(BranchCommand::Recall {
                            branch: call.branch,
                            since,
                            next: None,
                            missed: None,
                        });
                        used.push(keys(used.len() as u8 + 1, used.len() as u32 + 1));
                    }
                }
                is_open = false;
            }
            8 if used.len() < 30 && roll(2) == 0 => {
                // Another key, in this session or in another.
                let session = used.last().unwrap().session + roll(2) as u32;
                used.push(keys(used.len() as u8 + 1, session));
                call.rig.open_secured(call.branch, &call.recorder, used.last().unwrap());
                is_open = true;
            }
            _ => {
                call.rig.open_secured(call.branch, &call.recorder, used.last().unwrap());
                is_open = true;
            }
        }
        if roll(2) == 0 {
            std::thread::park_timeout(Duration::from_millis(12));
        }
        while let Some((datagram, _)) = receive(&call.recorder.rtp, Duration::from_millis(1)) {
            seen.push(datagram);
        }
    }
    let (_, report) = call.rig.close(call.branch);
    seen.extend(call.all());
    assert!(report.retransmitted > 10, "{report:?}");
    let mut by_index: HashMap<(usize, u16), &Vec<u8>> = HashMap::new();
    for datagram in &seen {
        let key = used.iter().position(|keys| {
            let mut receiver = Unprotector::new();
            receiver.add_key(&keys.own).unwrap();
            receiver.unprotect_rtp(&mut datagram.clone()).is_ok()
        });
        // No test is so long that the numbers wrap: the rollover counter is 0 under each key.
        let other = by_index.insert((key.unwrap(), sequence(datagram)), datagram);
        assert!(other.is_none_or(|other| other == datagram), "two packets under one index");
    }
}

/// From a source of its own, whose index begins anew.
fn protected_as(key: &SrtpKey, mut request: Vec<u8>, ssrc: u32) -> Vec<u8> {
    request[4..8].copy_from_slice(&(ssrc % 7).to_be_bytes());
    protected(key, request)
}
