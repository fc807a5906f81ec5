//! What leaves by one socket for many branches.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{FAST, LOCAL, Packet, Recorder, Rig, assert_in_order, numbered, receive, rtp};
use siprec_engine::{EngineConfig, MediaSource, Tap};
use siprec_model::{BranchEvent, BranchId, Component, RtcpMode};

const SSRC: u32 = 0xFEED;
const FAMILIES: [IpAddr; 2] = [LOCAL, IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn rig() -> Rig {
    Rig::new(EngineConfig { media_source: MediaSource::Shared, ..EngineConfig::default() })
}

/// Streams whose sources are 0, 1 …, each with a branch that sends there, and the ports that the branches have named.
fn streams(rig: &Rig, to: &[&Recorder]) -> Vec<(Tap, BranchId, SocketAddr)> {
    let stream = |(slot, recorder): (usize, &&Recorder)| {
        let tap = rig.tap();
        let (branch, named) = rig.open_branch(&tap, slot as u16, recorder);
        // Answered after the opening.
        rig.bind(branch, recorder.local(), RtcpMode::Pair);
        (tap, branch, named)
    };
    to.iter().enumerate().map(stream).collect()
}

/// Packets of each source, in the order in which they came.
fn sorted(packets: Vec<Packet>) -> HashMap<u32, Vec<Packet>> {
    let mut sorted: HashMap<u32, Vec<Packet>> = HashMap::new();
    for packet in packets {
        sorted.entry(packet.ssrc).or_default().push(packet);
    }
    sorted
}

/// A recorder at whose ports nobody listens: they are taken, but for what comes from elsewhere.
fn deaf(local: IpAddr) -> Recorder {
    let recorder = Recorder::on(local);
    recorder.rtp.connect((local, 9)).unwrap();
    recorder.rtcp.connect((local, 9)).unwrap();
    recorder
}

#[test]
fn all_streams_reach_one_address_from_one_port() {
    for local in FAMILIES {
        let (rig, recorder) = (rig(), Recorder::on(local));
        let streams = streams(&rig, &[&recorder; 20]);
        for number in 0..10 {
            for (source, (tap, ..)) in streams.iter().enumerate() {
                tap.push(&numbered(source as u32, number), Instant::now());
            }
        }
        let sources = sorted(recorder.packets(200));
        assert_eq!(sources.len(), 20);
        sources.values().for_each(|packets| assert_in_order(packets, 0));
        let ports: HashSet<SocketAddr> = sources.values().flatten().map(|packet| packet.from).collect();
        assert_eq!(ports.len(), 1, "{ports:?}");
        assert!(streams.iter().all(|(.., named)| !ports.contains(named)));
        for (_, branch, named) in &streams {
            let (_, report) = rig.close(*branch);
            assert_eq!((report.seen, report.sent), (10, 10), "{named}");
        }
        let named: HashSet<SocketAddr> =
            streams.iter().map(|(.., named)| SocketAddr::new(named.ip(), named.port() + 1)).collect();
        let mut heard = HashSet::new();
        while heard != named {
            // RTCP comes from where it may be answered.
            let (_, from) = receive(&recorder.rtcp, common::DEADLINE).expect("a branch said nothing");
            assert!(named.contains(&from), "{from}");
            heard.insert(from);
        }
    }
}

#[test]
fn each_stream_reaches_the_address_of_its_own() {
    for local in FAMILIES {
        let rig = rig();
        let recorders: Vec<Recorder> = (0..20).map(|_| Recorder::on(local)).collect();
        let streams = streams(&rig, &recorders.iter().collect::<Vec<_>>());
        for number in 0..10 {
            for (source, (tap, ..)) in streams.iter().enumerate() {
                tap.push(&numbered(source as u32, number), Instant::now());
            }
        }
        let mut ports = HashSet::new();
        for (source, recorder) in recorders.iter().enumerate() {
            let packets = recorder.packets(10);
            assert_in_order(&packets, 0);
            assert!(packets.iter().all(|packet| packet.ssrc == source as u32));
            ports.extend(packets.iter().map(|packet| packet.from));
        }
        assert_eq!(ports.len(), 1, "{ports:?}");
    }
}

#[test]
fn packets_of_all_sizes_arrive_as_they_were_said_and_in_order() {
    let (rig, recorder) = (rig(), Recorder::new());
    let streams = streams(&rig, &[&recorder; 5]);
    let payload = |source: u32, number: u32| -> Vec<u8> {
        let size = [1, 160, 160, 33, 1200, 160, 240][(source + number) as usize % 7];
        (0..size).map(|byte| (byte + source + number) as u8).collect()
    };
    for number in 0..40_u16 {
        for (source, (tap, ..)) in (0..).zip(&streams) {
            let packet = rtp(source, number, u32::from(number) * 160, &payload(source, number.into()));
            tap.push(&packet, Instant::now());
        }
    }
    let sources = sorted(recorder.packets(200));
    for (source, packets) in sources {
        for (number, packet) in (0..).zip(&packets) {
            assert_eq!(packet.payload, payload(source, number), "{source}: {number}");
            assert_eq!(packet.timestamp, number * 160);
        }
        assert_eq!(packets.len(), 40);
    }
}

#[test]
fn recorders_that_refuse_are_told_of_and_keep_nothing_from_the_others() {
    for local in FAMILIES {
        let rig = rig();
        let dead: Vec<Recorder> = (0..20).map(|_| deaf(local)).collect();
        let alive: Vec<Recorder> = (0..3).map(|_| Recorder::on(local)).collect();
        let all: Vec<&Recorder> = dead.iter().take(10).chain(&alive).chain(dead.iter().skip(10)).collect();
        let streams = streams(&rig, &all);
        for number in 0..50 {
            for (source, (tap, ..)) in streams.iter().enumerate() {
                tap.push(&numbered(source as u32, number), Instant::now());
            }
        }
        for recorder in &alive {
            assert_in_order(&recorder.packets(50), 0);
        }
        let lost = |index: &usize| !(10..13).contains(index);
        let mut missing: HashSet<BranchId> =
            streams.iter().enumerate().filter(|(index, _)| lost(index)).map(|(_, stream)| stream.1).collect();
        let end = Instant::now() + common::DEADLINE;
        let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
        let mut number = 50;
        while !missing.is_empty() {
            assert!(Instant::now() < end, "{missing:?}");
            streams.iter().for_each(|(tap, ..)| tap.push(&numbered(7, number), Instant::now()));
            number += 1;
            for (branch, event) in rig.events_within(Duration::from_millis(20)) {
                let is_alive = streams[10..13].iter().any(|stream| stream.1 == branch);
                assert!(!is_alive || event != refused, "{branch:?} goes to a recorder that is there");
                if event == refused {
                    missing.remove(&branch);
                }
            }
        }
        for (_, branch, _) in streams {
            let (_, report) = rig.close(branch);
            assert_eq!(report.seen, report.sent + report.drops.total());
        }
    }
}

#[test]
fn a_way_that_does_not_exist_fails_alone() {
    let (rig, recorder) = (rig(), Recorder::new());
    let (lost_tap, tap) = (rig.tap(), rig.tap());
    let lost = rig.create(&lost_tap, 0, FAST);
    rig.bind(lost, LOCAL, RtcpMode::Pair);
    // From a loopback address, no other host can be reached; and a recorder may say what is of the other family.
    rig.open_at(lost, "192.0.2.1:4000".parse().unwrap(), None);
    let foreign_tap = rig.tap();
    let foreign = rig.create(&foreign_tap, 1, FAST);
    rig.bind(foreign, LOCAL, RtcpMode::Pair);
    rig.open_at(foreign, "[::1]:4000".parse().unwrap(), None);
    let (branch, _) = rig.open_branch(&tap, 2, &recorder);
    for number in 0..20 {
        for tap in [&lost_tap, &tap, &foreign_tap] {
            tap.push(&numbered(SSRC, number), Instant::now());
        }
    }
    assert_in_order(&recorder.packets(20), 0);
    for (branch, sent) in [(lost, 0), (foreign, 0), (branch, 20)] {
        let (events, report) = rig.close(branch);
        assert_eq!((report.seen, report.sent), (20, sent), "{events:?}");
    }
}

#[test]
fn a_gate_that_is_shut_stops_its_stream_in_the_middle_of_a_batch() {
    let (rig, recorder) = (rig(), Recorder::new());
    let streams = streams(&rig, &[&recorder; 8]);
    let paused = 3;
    let (tap, ..) = &streams[paused];
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                for (source, (tap, ..)) in streams.iter().enumerate() {
                    tap.push(&numbered(source as u32, number), Instant::now());
                }
                number += 1;
                // As fast as the engine is asked to run, not faster than it can.
                std::thread::park_timeout(Duration::from_micros(500));
            }
            number
        });
        for _ in 0..50 {
            // Until it sends again.
            while recorder.packet().ssrc != paused as u32 {}
            tap.close_gate();
            // What had left before may still be on its way; the others go on.
            recorder.arrived();
            recorder.packets(30);
            for packet in recorder.packets(30) {
                assert_ne!(packet.ssrc, paused as u32);
            }
            tap.open_gate();
        }
        stop.store(true, Ordering::Relaxed);
        calls.join().unwrap()
    });
    // Until what the shut gate has kept from leaving has left, which a closing branch does not wait for.
    tap.push(&numbered(paused as u32, last), Instant::now());
    while recorder.packet().timestamp != last.wrapping_mul(160) {}
    for (tap, branch, _) in &streams {
        let (_, report) = rig.close(*branch);
        let stats = tap.stats();
        assert_eq!((report.seen, report.sent), (stats.packets + stats.queue_full, stats.packets));
    }
    assert!(tap.stats().gated > 0);
}

#[test]
fn a_recorder_that_moves_is_followed() {
    let (rig, old, new) = (rig(), Recorder::new(), Recorder::new());
    let tap = rig.tap();
    let (branch, _) = rig.open_branch(&tap, 0, &old);
    tap.push(&numbered(SSRC, 0), Instant::now());
    let before = old.packet();
    rig.open(branch, &new);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 1), Instant::now());
    let after = new.packet();
    assert_eq!((after.number(), after.from), (1, before.from));
    old.assert_silence();
}

#[test]
fn a_port_that_cannot_be_had_is_told_before_the_offer() {
    let first = loop {
        let port = UdpSocket::bind((LOCAL, 0)).unwrap().local_addr().unwrap().port() & !1;
        if UdpSocket::bind((LOCAL, port)).is_ok() && UdpSocket::bind((LOCAL, port + 1)).is_ok() {
            break port;
        }
    };
    let rig = Rig::new(EngineConfig {
        port_range: Some(first..=first + 1),
        media_source: MediaSource::Shared,
        ..EngineConfig::default()
    });
    let tap = rig.tap();
    let branch = rig.create(&tap, 0, FAST);
    rig.command(siprec_model::BranchCommand::Bind { branch, local: LOCAL, rtcp: RtcpMode::Pair });
    // One of the two is the shared one, so that there is no pair.
    let reason = rig.expect(branch, |event| match event {
        BranchEvent::PortsFailed { reason } => Some(reason),
        _ => None,
    });
    assert!(reason.contains(&format!("127.0.0.1 in {first}-{}", first + 1)), "{reason}");
}
