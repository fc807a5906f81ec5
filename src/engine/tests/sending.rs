//! What leaves the engine, over real sockets.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use common::{FAST, LOCAL, Recorder, Rig, assert_in_order, numbered, rtp};
use siprec_engine::{EngineConfig, MediaSource, TapConfig};
use siprec_model::{BranchCommand, BranchEvent, BranchLimits, Component, DropCause, Hole, RtcpMode};

const SSRC: u32 = 0x1234_5678;

#[test]
fn a_recorder_that_answers_three_seconds_late_gets_the_call_from_its_first_packet() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    let start = Instant::now() - Duration::from_secs(3);
    for number in 0..150 {
        tap.push(&numbered(SSRC, number), start + Duration::from_millis(20) * number);
    }
    let (local, _) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    // The call goes on: what comes meanwhile joins the tail.
    for number in 150..200 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    let packets = recorder.packets(200);
    assert_in_order(&packets, 0);
    assert!((256..0x8000).contains(&packets[0].sequence), "RFC 4568 §6.4");
    assert!(packets.iter().all(|packet| packet.from == local && packet.ssrc == SSRC), "symmetric sending");
    let (events, report) = rig.close(branch);
    assert!(!events.iter().any(|event| matches!(event, BranchEvent::Gap(_))), "{events:?}");
    assert_eq!((report.seen, report.sent, report.drops.total()), (200, 200, 0));
    assert!(report.held >= 150);
}

#[test]
fn a_call_that_ends_before_the_answer_drains_and_says_so() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    let start = Instant::now() - Duration::from_secs(2);
    for number in 0..100 {
        tap.push(&numbered(SSRC, number), start + Duration::from_millis(20) * number);
    }
    tap.close_gate();
    drop(tap);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.command(BranchCommand::Drain { branch });
    rig.open(branch, &recorder);
    assert_in_order(&recorder.packets(100), 0);
    rig.expect(branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (100, 100));
}

#[test]
fn packets_that_came_before_their_branch_are_not_lost() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    for number in 0..10 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    rig.open_branch(&tap, 0, &recorder);
    assert_in_order(&recorder.packets(10), 0);
}

#[test]
fn what_a_tap_that_is_gone_left_reaches_a_branch_that_comes_later() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, other, recorder) = (rig.tap(), rig.tap(), Recorder::new());
    (0..3).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    let stream = tap.stream();
    drop(tap);
    // The thread has looked around since: it has made a branch of a newer tap.
    let (witness, _) = rig.open_branch(&other, 1, &Recorder::new());
    rig.close(witness);
    let branch = rig.create_for(stream, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    assert_in_order(&recorder.packets(3), 0);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (3, 3));
}

#[test]
fn one_stream_feeds_several_recorders() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.tap();
    let recorders = [Recorder::new(), Recorder::new(), Recorder::new()];
    for (slot, recorder) in recorders.iter().enumerate() {
        rig.open_branch(&tap, slot as u16, recorder);
    }
    for number in 0..20 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    for recorder in &recorders {
        assert_in_order(&recorder.packets(20), 0);
    }
}

#[test]
fn ipv6_and_mux_work_like_the_rest() {
    let rig = Rig::new(EngineConfig { dscp: Some(46), ..EngineConfig::default() });
    let (tap, recorder) = (rig.tap(), Recorder::on(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let branch = rig.create(&tap, 0, FAST);
    let (rtp_address, rtcp_address) = rig.bind(branch, recorder.local(), RtcpMode::Mux);
    assert_eq!(rtp_address, rtcp_address);
    let remote = recorder.rtp.local_addr().unwrap();
    // With one port for both, reports would come between the packets.
    rig.open_at(branch, remote, None);
    for number in 0..20 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    let packets = recorder.packets(20);
    assert_in_order(&packets, 0);
    assert_eq!(packets[0].from, rtp_address);
}

#[test]
fn segmentation_offload_changes_nothing_that_arrives() {
    let mut arrived = Vec::new();
    for segmentation_offload in [false, true] {
        let rig = Rig::new(EngineConfig { segmentation_offload, ..EngineConfig::default() });
        let (tap, recorder) = (rig.tap(), Recorder::new());
        let now = Instant::now();
        for number in 0..120u16 {
            let size = if number % 7 == 0 { 33 } else { 160 };
            tap.push(&rtp(SSRC, number, u32::from(number) * 160, &vec![number as u8; size]), now);
        }
        rig.open_branch(&tap, 0, &recorder);
        let packets = recorder.packets(120);
        let first = packets[0].sequence;
        arrived.push(
            packets
                .into_iter()
                .map(|packet| (packet.sequence.wrapping_sub(first), packet.timestamp, packet.payload))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(arrived[0], arrived[1]);
}

#[test]
fn packets_of_every_size_pass_and_those_beyond_are_counted() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    let largest = vec![7; 65_507 - 12];
    tap.push(&rtp(SSRC, 0, 0, &[]), Instant::now());
    tap.push_gathered(&[&rtp(SSRC, 1, 160, &[1, 2]), &[3], &[], &[4]], Instant::now());
    tap.push(&rtp(SSRC, 2, 320, &largest), Instant::now());
    let packets = recorder.packets(3);
    assert_eq!(packets[0].payload, []);
    assert_eq!(packets[1].payload, [1, 2, 3, 4]);
    assert_eq!(packets[2].payload, largest);
    tap.push(&rtp(SSRC, 3, 480, &[7; 65_507 - 11]), Instant::now());
    tap.push(&[], Instant::now());
    tap.push(&[0x80, 200, 0, 1, 0, 0, 0, 1], Instant::now());
    let (_, report) = rig.close(branch);
    assert_eq!(report.sent, 3);
    assert_eq!(report.drops.of(DropCause::Malformed), 1);
    assert_eq!(report.drops.of(DropCause::NotRtp), 2);
    assert_eq!(report.seen, report.sent + report.drops.total());
}

#[test]
fn a_full_queue_drops_the_newest_counts_them_and_tells_the_gap() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.engine.tap(TapConfig { queue_bytes: 66 * 1024, ..TapConfig::default() });
    let recorder = Recorder::new();
    // Nothing is taken before the first branch exists.
    let now = Instant::now();
    for number in 0..1000 {
        tap.push(&numbered(SSRC, number), now);
    }
    let stats = tap.stats();
    assert_eq!(stats.packets + stats.queue_full, 1000);
    assert!(stats.queue_full > 0 && stats.packets > 300, "{stats:?}");
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    assert_in_order(&recorder.packets(stats.packets as usize), 0);
    tap.push(&numbered(SSRC, 1000), now);
    assert_eq!(recorder.packet().number(), 1000);
    let (events, report) = rig.close(branch);
    let gaps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            BranchEvent::Gap(Hole { packets, cause, .. }) => Some((*packets, *cause)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps, [(stats.queue_full, DropCause::QueueFull)]);
    assert_eq!(report.drops.of(DropCause::QueueFull), stats.queue_full);
    assert_eq!((report.seen, report.sent), (1001, stats.packets + 1));
}

#[test]
fn a_recorder_that_moves_gets_the_next_numbers_at_its_new_address() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, old, new) = (rig.tap(), Recorder::new(), Recorder::new());
    let (branch, local) = rig.open_branch(&tap, 0, &old);
    tap.push(&numbered(SSRC, 0), Instant::now());
    let before = old.packet();
    // The same again is no move.
    rig.open(branch, &old);
    tap.push(&numbered(SSRC, 1), Instant::now());
    assert_eq!(old.packet().sequence, before.sequence.wrapping_add(1));
    rig.open(branch, &new);
    // Answered after the command before it.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 7), Instant::now());
    let after = new.packet();
    assert_eq!((after.sequence, after.number()), (before.sequence.wrapping_add(2), 7));
    assert_eq!(after.from, local);
    old.assert_silence();
}

#[test]
fn a_port_that_nobody_listens_on_is_told_once_a_second() {
    for local in [LOCAL, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let rig = Rig::new(EngineConfig::default());
        let tap = rig.tap();
        // The recorder's sockets are closed at once: every packet is answered by an ICMP error.
        let (branch, _) = rig.open_branch(&tap, 0, &Recorder::on(local));
        let begun = Instant::now();
        let mut refusals = Vec::new();
        for number in 0..40 {
            tap.push(&numbered(SSRC, number), Instant::now());
            let events = rig.events_within(Duration::from_millis(10)).into_iter();
            refusals.extend(events.filter_map(|(_, event)| match event {
                BranchEvent::RemoteRefused { component } => Some(component),
                _ => None,
            }));
        }
        let seconds = 1 + begun.elapsed().as_secs() as usize;
        for component in [Component::Rtp, Component::Rtcp] {
            let count = refusals.iter().filter(|refused| **refused == component).count();
            assert!((1..=seconds).contains(&count), "{local}: {refusals:?}");
        }
        let (_, report) = rig.close(branch);
        assert_eq!(report.seen, report.sent + report.drops.total());
    }
}

/// How many datagrams have come.
fn drain(socket: &UdpSocket) -> u64 {
    socket.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| socket.recv(&mut [0; 1 << 11]).ok()).count() as u64
}

/// A call of eight seconds, whose recorder takes nothing for 600 ms and never reports: how many packets it has missed, and how many
/// count as not sent.
fn missed_and_told(config: EngineConfig) -> (u64, u64) {
    const PACKETS: u64 = 400;
    let rig = Rig::new(config);
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    let Recorder { rtp, rtcp: _rtcp } = recorder;
    let address = rtp.local_addr().unwrap();
    let mut socket = Some(rtp);
    let mut taken = 0;
    let start = Instant::now();
    for number in 0..PACKETS as u32 {
        std::thread::sleep(
            (start + Duration::from_millis(20) * number).saturating_duration_since(Instant::now()),
        );
        tap.push(&numbered(SSRC, number), Instant::now());
        taken += socket.as_ref().map_or(0, drain);
        match number {
            75 => socket = None,
            105 => socket = Some(UdpSocket::bind(address).unwrap()),
            _ => {}
        }
    }
    let (_, report) = rig.close(branch);
    taken += socket.as_ref().map_or(0, drain);
    assert_eq!(report.seen, PACKETS);
    assert_eq!(report.sent + report.drops.total(), PACKETS);
    (PACKETS - taken, report.drops.of(DropCause::SendFailed))
}

#[test]
fn what_was_refused_for_less_than_a_second_counts_as_not_sent_and_nothing_else() {
    let mut configs = Vec::new();
    for media_source in [MediaSource::PerStream, MediaSource::Shared] {
        for send_interval in [10, 100, 250].map(Duration::from_millis) {
            configs.push(EngineConfig { media_source, send_interval, ..EngineConfig::default() });
        }
    }
    std::thread::scope(|scope| {
        let calls = configs.iter().map(|config| scope.spawn(|| missed_and_told(config.clone())));
        for (call, config) in calls.collect::<Vec<_>>().into_iter().zip(&configs) {
            let (missed, told) = call.join().unwrap();
            let EngineConfig { media_source, send_interval, .. } = config;
            // With shorter intervals than an error may be under way, it may be of what left before.
            let others = if *send_interval < Duration::from_millis(100) { 6 } else { 1 };
            assert!(missed >= 20, "{missed} {media_source:?} {send_interval:?}");
            assert!(
                (missed..=missed + others).contains(&told),
                "{missed} missed, {told} told: {media_source:?} {send_interval:?}"
            );
        }
    });
}

#[test]
fn that_the_last_packet_is_refused_is_told_before_the_end() {
    for source in [MediaSource::PerStream, MediaSource::Shared] {
        let rig = Rig::new(EngineConfig { media_source: source, ..EngineConfig::default() });
        let tap = rig.tap();
        let (branch, _) = rig.open_branch(&tap, 0, &Recorder::new());
        tap.push(&numbered(SSRC, 0), Instant::now());
        rig.command(BranchCommand::Drain { branch });
        let mut is_refused = false;
        rig.expect(branch, |event| {
            is_refused |= event == BranchEvent::RemoteRefused { component: Component::Rtp };
            matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(())
        });
        assert!(is_refused, "{source:?}");
    }
}

#[test]
fn a_way_that_does_not_exist_is_a_refusal_and_a_gap() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.tap();
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    // From a loopback address, no other host can be reached.
    rig.open_at(branch, "192.0.2.1:4000".parse().unwrap(), None);
    tap.push(&numbered(SSRC, 0), Instant::now());
    rig.expect(branch, |event| {
        (event == BranchEvent::RemoteRefused { component: Component::Rtp }).then_some(())
    });
    let (events, report) = rig.close(branch);
    assert_eq!(report.drops.of(DropCause::SendFailed), 1);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, BranchEvent::Gap(Hole { cause: DropCause::SendFailed, .. }))),
        "{events:?}"
    );
}

#[test]
fn an_opening_without_ports_is_told_and_loses_nothing() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    tap.push(&numbered(SSRC, 0), Instant::now());
    rig.open(branch, &recorder);
    rig.expect(branch, |event| matches!(event, BranchEvent::PortsFailed { .. }).then_some(()));
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    assert_eq!(recorder.packet().number(), 0);
}

#[test]
fn backlogs_share_the_budget_fairly() {
    const BRANCHES: usize = 8;
    let rig = Rig::new(EngineConfig { catch_up_budget: 400, ..EngineConfig::default() });
    let recorders: Vec<Recorder> = (0..BRANCHES).map(|_| Recorder::new()).collect();
    let taps: Vec<_> = (0..BRANCHES).map(|_| rig.tap()).collect();
    let limits = BranchLimits { hold_bytes: 4 << 20, ..FAST };
    let start = Instant::now() - Duration::from_secs(20);
    let mut branches = Vec::new();
    for (slot, tap) in taps.iter().enumerate() {
        for number in 0..1000 {
            tap.push(&numbered(SSRC, number), start + Duration::from_millis(20) * number);
        }
        let branch = rig.create(tap, slot as u16, limits);
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        branches.push(branch);
    }
    let begun = Instant::now();
    for (branch, recorder) in branches.into_iter().zip(&recorders) {
        rig.open(branch, recorder);
    }
    rig.events_within(Duration::from_secs(1));
    let counts: Vec<usize> = recorders.iter().map(|recorder| recorder.arrived().len()).collect();
    let elapsed = begun.elapsed().as_secs_f64();
    let (least, most) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
    let sum: usize = counts.iter().sum();
    // What the budget brings in that time and had saved for 100 ms before; not much less on a busy machine.
    assert!((sum as f64) <= 400.0 * (elapsed + 0.1) + 1.0, "{counts:?} in {elapsed} s");
    assert!(sum > 200, "{counts:?} in {elapsed} s");
    // The first one to open also has what was saved before the others came.
    assert!(most - least < 80, "{counts:?}");
}

#[test]
fn without_budget_a_backlog_leaves_as_fast_as_the_call_goes_on() {
    let rig = Rig::new(EngineConfig { catch_up_budget: 0, ..EngineConfig::default() });
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let start = Instant::now() - Duration::from_secs(3);
    for number in 0..100 {
        tap.push(&numbered(SSRC, number), start + Duration::from_millis(20) * number);
    }
    let (branch, _) = rig.open_branch(&tap, 0, &recorder);
    // Answered after the opening.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    recorder.assert_silence();
    for number in 100..110 {
        tap.push(&numbered(SSRC, number), Instant::now());
    }
    assert_in_order(&recorder.packets(10), 0);
    recorder.assert_silence();
    // After the end of the call nothing comes any more that could set the speed: the clock does.
    rig.command(BranchCommand::Drain { branch });
    assert_eq!(recorder.packets(100).len(), 100);
    rig.expect(branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
}
