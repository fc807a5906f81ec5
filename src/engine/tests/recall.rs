//! A recorder is lost, and another one takes its place.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use common::{FAST, LOCAL, Packet, Recorder, Rig, SILENCE, assert_in_order, numbered, receive};
use rtcp_types::prelude::*;
use rtcp_types::{ReceiverReport, ReportBlock};
use siprec_engine::{EngineConfig, HoldMemory, PROCESS_HOLD_BYTES};
use siprec_model::{
    BranchCommand, BranchEvent, BranchLimits, BranchReport, DropCause, Hole, RECALL_OVERLAP, RtcpMode,
};

const SSRC: u32 = 0x1234_5678;
const SPACING: Duration = Duration::from_millis(20);

#[test]
fn nothing_goes_to_a_recorder_that_was_lost_and_numbers_begin_anew_at_the_next() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, lost, next) = (rig.tap(), Recorder::new(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &lost);
    let start = Instant::now();
    (0..10).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    let before = lost.packets(10);
    rig.command(BranchCommand::Recall { branch, since: start, next: None, missed: None });
    // Commands to a branch take effect in order: this one's answer says that the other has.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 10), Instant::now());
    lost.assert_silence();
    rig.open(branch, &next);
    let after = next.packet();
    assert!((256..0x8000).contains(&after.sequence), "RFC 4568 §6.4");
    assert_ne!(after.sequence, before[9].sequence.wrapping_add(1));
    lost.assert_silence();
}

#[test]
fn what_this_host_cannot_send_is_not_told_as_lost_before_another_recorder_has_it() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, next) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    let start = Instant::now();
    // All hosts of the loopback network: the kernel lets nobody send there (EACCES).
    rig.open_at(branch, "127.255.255.255:4000".parse().unwrap(), None);
    let mut events = Vec::new();
    for number in 0..60 {
        tap.push(&numbered(SSRC, number), Instant::now());
        events.extend(rig.events_within(SPACING));
    }
    let is_refusal = |event: &BranchEvent| matches!(event, BranchEvent::RemoteRefused { .. });
    assert!(events.iter().any(|(_, event)| is_refusal(event)), "{events:?}");
    rig.command(BranchCommand::Recall { branch, since: start, next: None, missed: None });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &next);
    assert_in_order(&next.packets(60), 0);
    let (more, report) = rig.close(branch);
    let events = events.into_iter().map(|(_, event)| event).chain(more);
    let holes: Vec<_> = events.filter(|event| matches!(event, BranchEvent::Gap(_))).collect();
    assert_eq!(holes, []);
    assert_eq!((report.seen, report.sent, report.drops.total(), report.gaps), (60, 60, 0, 0));
}

/// A recorder takes 1000 packets of a call and is lost, which was last alive for sure when those from `lost_from` on came, and another
/// one gets the rest: what that one receives, by number, and the account. The first 400 leave a while before the others.
fn after_recall(config: EngineConfig, limits: BranchLimits, lost_from: u32) -> (Vec<u32>, BranchReport) {
    let rig = Rig::new(config);
    let (tap, lost, next) = (rig.tap(), Recorder::new(), Recorder::new());
    let branch = rig.create(&tap, 0, limits);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &lost);
    // Open before the first packet comes: they leave as they come.
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    let mut since = Instant::now();
    for numbers in [0..400, 400..500, 500..1000] {
        if numbers.start == 400 && lost_from > 0 {
            std::thread::sleep(RECALL_OVERLAP + Duration::from_secs(1));
        }
        if numbers.start == lost_from {
            since = Instant::now();
        }
        let count = numbers.len();
        numbers.for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
        lost.packets(count);
    }
    rig.command(BranchCommand::Recall { branch, since, next: None, missed: None });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (1000..1010).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    rig.open(branch, &next);
    rig.command(BranchCommand::Drain { branch });
    rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty { recalls: 1 }).then_some(()));
    let packets = next.arrived();
    let (_, report) = rig.close(branch);
    assert_in_order(&packets, packets.first().map_or(0, Packet::number));
    (packets.iter().map(Packet::number).collect(), report)
}

#[test]
fn the_next_recorder_gets_everything_since_the_last_proof_of_life_and_two_seconds_more() {
    let (numbers, report) = after_recall(EngineConfig::default(), FAST, 500);
    assert_eq!(numbers, (400..1010).collect::<Vec<u32>>());
    assert_eq!((report.seen, report.sent, report.resent, report.drops.total()), (1010, 1010, 600, 0));
}

#[test]
fn a_session_that_is_over_says_goodbye_once_and_keeps_what_was_sent_until_its_recorder_has_answered() {
    let rig = Rig::new(EngineConfig::default());
    for is_lost in [false, true] {
        let (tap, recorder, next) = (rig.tap(), Recorder::new(), Recorder::new());
        let branch = rig.create(&tap, u16::from(is_lost), FAST);
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        rig.open(branch, &recorder);
        let start = Instant::now();
        (0..10).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
        recorder.packets(10);
        rig.command(BranchCommand::Drain { branch });
        rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty { recalls: 0 }).then_some(()));
        rig.command(BranchCommand::Part { branch });
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        // The call goes on, but not for the recorder.
        tap.push(&numbered(SSRC, 10), Instant::now());
        if is_lost {
            rig.command(BranchCommand::Recall { branch, since: start, next: None, missed: None });
            rig.bind(branch, LOCAL, RtcpMode::Pair);
            rig.open(branch, &next);
            assert_eq!(
                next.packets(10).iter().map(Packet::number).collect::<Vec<_>>(),
                (0..10).collect::<Vec<_>>()
            );
            rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty { recalls: 1 }).then_some(()));
        }
        let (_, report) = rig.close(branch);
        assert_eq!((report.seen, report.sent, report.drops.total()), (10, 10, 0));
        recorder.assert_silence();
        let goodbyes = std::iter::from_fn(|| receive(&recorder.rtcp, SILENCE))
            .filter(|(packet, _)| says_goodbye(packet));
        assert_eq!(goodbyes.count(), 1);
    }
}

#[test]
fn what_no_other_recorder_gets_is_told_as_lost_with_the_recorder() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, recorder) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &recorder);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    let start = Instant::now() - Duration::from_secs(20);
    (0..1000).for_each(|number| tap.push(&numbered(SSRC, number), start + SPACING * number));
    recorder.packets(1000);
    rig.command(BranchCommand::Part { branch });
    rig.command(BranchCommand::Recall { branch, since: start, next: None, missed: None });
    let (events, report) = rig.close(branch);
    let gaps: Vec<_> = events.into_iter().filter(|event| matches!(event, BranchEvent::Gap(_))).collect();
    let (packets, duration, cause) = (1000, SPACING * 1000, DropCause::RecorderLost);
    let hole = Hole { start, packets, duration, cause };
    assert_eq!(gaps, [BranchEvent::Gap(hole)]);
    assert_eq!((report.gaps, &report.holes), (1, &vec![hole]));
    assert_eq!((report.seen, report.sent, report.drops.of(cause)), (1000, 0, 1000));
}

/// What a recorder reports that has received everything up to this packet, but for so many.
fn report(recorder: &Recorder, local: SocketAddr, highest: u16, lost: u32) {
    let highest = u32::from(highest);
    let block = ReportBlock::builder(SSRC).extended_sequence_number(highest).cumulative_lost(lost);
    let report = ReceiverReport::builder(4711).add_report_block(block);
    let mut bytes = vec![0; report.calculate_size().unwrap()];
    report.write_into(&mut bytes).unwrap();
    recorder.rtcp.send_to(&bytes, local).unwrap();
}

#[test]
fn what_a_recorder_has_missed_at_once_by_its_reports_goes_to_the_next_one() {
    // What reports say behind that which shows the hole; the first of two shows that some more is lost.
    for behind in [&[][..], &[200], &[225, 225]] {
        let rig = Rig::new(EngineConfig::default());
        let (tap, cut, next) = (rig.tap(), Recorder::new(), Recorder::new());
        let branch = rig.create(&tap, 0, FAST);
        let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
        rig.open(branch, &cut);
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        let start = Instant::now() - Duration::from_secs(20);
        let push = |numbers: Range<u32>| {
            let count = numbers.len();
            for number in numbers {
                tap.push(&numbered(SSRC, number), start + SPACING * number);
            }
            cut.packets(count)
        };
        let reported = || {
            rig.expect(branch, |event| matches!(event, BranchEvent::ReportReceived { .. }).then_some(()));
        };
        let first = push(0..300)[0].sequence;
        report(&cut, local, first.wrapping_add(299), 0);
        reported();
        // Packets 400 to 599 do not arrive, so that the first of them may be any behind the last report.
        push(300..700);
        report(&cut, local, first.wrapping_add(699), 200);
        reported();
        let mut last = 700;
        for lost in behind {
            // What comes behind is judged over a second.
            std::thread::sleep(Duration::from_millis(1050));
            push(last..last + 100);
            last += 100;
            report(&cut, local, first.wrapping_add(last as u16 - 1), *lost);
            let missed = rig.expect(branch, |event| match event {
                BranchEvent::StretchMissed { packets, .. } => Some(Some(packets)),
                BranchEvent::ReportReceived { .. } => Some(None),
                _ => None,
            });
            assert_eq!(missed, (last == 700 + 100 * behind.len() as u32).then_some(u64::from(*lost)));
        }
        rig.command(BranchCommand::Hold { branch });
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        rig.command(BranchCommand::Recall { branch, since: Instant::now(), next: None, missed: None });
        rig.open(branch, &next);
        rig.command(BranchCommand::Drain { branch });
        rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty { recalls: 1 }).then_some(()));
        let packets = next.arrived();
        assert_in_order(&packets, packets[0].number());
        assert!(packets[0].number() <= 300, "{}", packets[0].number());
        assert_eq!(packets.last().map(Packet::number), Some(last - 1));
        let (events, account) = rig.close(branch);
        assert!(!events.iter().any(|event| matches!(event, BranchEvent::Gap(_))), "{events:?}");
        assert_eq!((account.seen, account.sent, account.drops.total()), (last.into(), last.into(), 0));
    }
}

/// The session says BYE as soon as the report has come for which it waits.
#[test]
fn what_a_report_shows_after_the_end_is_told_before_the_report() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, cut) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, FAST);
    let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &cut);
    let start = Instant::now() - Duration::from_secs(20);
    (0..300).for_each(|number| tap.push(&numbered(SSRC, number), start + SPACING * number));
    let first = cut.packets(300)[0].sequence;
    report(&cut, local, first.wrapping_add(299), 0);
    rig.expect(branch, |event| matches!(event, BranchEvent::ReportReceived { .. }).then_some(()));
    (300..700).for_each(|number| tap.push(&numbered(SSRC, number), start + SPACING * number));
    cut.packets(400);
    rig.command(BranchCommand::Drain { branch });
    rig.expect(branch, |event| (event == BranchEvent::BacklogEmpty { recalls: 0 }).then_some(()));
    // Packets 400 to 599 did not arrive.
    report(&cut, local, first.wrapping_add(699), 200);
    let mut is_missed = false;
    rig.expect(branch, |event| match event {
        BranchEvent::StretchMissed { packets: 200, .. } => {
            is_missed = true;
            None
        }
        BranchEvent::ReportReceived { .. } => Some(()),
        _ => None,
    });
    assert!(is_missed);
}

/// Whether an RTCP compound packet has a BYE (RFC 3550 §6.6).
fn says_goodbye(mut compound: &[u8]) -> bool {
    while let [_, kind, high, low, ..] = compound {
        if *kind == 203 {
            return true;
        }
        let length = 4 * (usize::from(u16::from_be_bytes([*high, *low])) + 1);
        compound = compound.get(length..).unwrap_or_default();
    }
    false
}

#[test]
fn what_the_ring_has_no_room_for_is_told_as_lost_with_the_recorder() {
    let limits = BranchLimits { hold_bytes: 207 * 300, ..FAST };
    let (numbers, report) = after_recall(EngineConfig::default(), limits, 400);
    // Of 600 packets that it may not have, 300 were kept, and 10 of them made room for those that came.
    assert_eq!(numbers, (710..1010).collect::<Vec<u32>>());
    let told = [DropCause::RecorderLost, DropCause::RingFull].map(|cause| report.drops.of(cause));
    assert_eq!((report.seen, report.sent, report.resent), (1010, 700, 290));
    assert_eq!(told, [300, 10]);
}

/// A packet leaves up to a `send_interval` after it has come. That the recorder lived in between says nothing of it.
#[test]
fn what_came_before_the_last_proof_of_life_and_left_after_it_is_told_as_lost_where_it_is_kept_no_more() {
    let rig = Rig::new(EngineConfig { send_interval: Duration::from_secs(1), ..EngineConfig::default() });
    let (tap, lost) = (rig.tap(), Recorder::new());
    let branch = rig.create(&tap, 0, BranchLimits { hold_bytes: 207 * 10, ..FAST });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, &lost);
    for number in 0..2 {
        tap.push(&numbered(SSRC, number), Instant::now());
        lost.packet();
    }
    // Its turn was just now: these have nearly a second to wait for the next one.
    (2..52).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    assert_eq!(receive(&lost.rtp, SILENCE), None);
    let since = Instant::now();
    lost.packets(50);
    rig.command(BranchCommand::Recall { branch, since, next: None, missed: None });
    let (_, report) = rig.close(branch);
    let told = report.drops.of(DropCause::RecorderLost);
    assert!((50..=52).contains(&told), "{told}");
    assert_eq!((report.seen, report.sent + told), (52, 52));
}

#[test]
fn the_memory_of_all_branches_bounds_what_is_kept_and_then_what_waits() {
    let config = EngineConfig { hold_memory: HoldMemory::new(64 << 10), ..EngineConfig::default() };
    let (numbers, report) = after_recall(config, FAST, 0);
    // Three quarters are for what was sent: 16 KiB for what may be asked for, and four blocks of 39 packets, of which the first
    // goes as a whole.
    let kept = 1000 - u64::from(numbers[0]);
    assert!((3 * 39..=4 * 39).contains(&kept), "{kept}");
    assert_eq!(numbers.last(), Some(&1009));
    assert_eq!((report.seen, report.seen - report.sent), (1010, report.drops.total()));
    assert_eq!(report.drops.of(DropCause::RecorderLost), 1000 - kept);
}

/// Whatever agents an application makes, it is one process that has the memory.
#[test]
fn engines_share_the_memory_of_the_process_unless_they_are_given_another() {
    let [one, other] = [EngineConfig::default(), EngineConfig::default()];
    assert_eq!(one.hold_memory, other.hold_memory);
    assert_ne!(one.hold_memory, HoldMemory::new(PROCESS_HOLD_BYTES));

    let memory = HoldMemory::new(64 << 10);
    let rigs =
        [(); 2].map(|()| Rig::new(EngineConfig { hold_memory: memory.clone(), ..EngineConfig::default() }));
    let branches = rigs.each_ref().map(|rig| {
        let tap = rig.tap();
        let branch = rig.create(&tap, 0, FAST);
        (0..1000).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        branch
    });
    assert!(memory.used() <= 64 << 10, "{}", memory.used());
    let held = [0, 1].map(|engine| {
        let (_, report) = rigs[engine].close(branches[engine]);
        assert_eq!(report.drops.total(), 1000);
        report.drops.of(DropCause::NotDrained)
    });
    let bytes = numbered(SSRC, 0).len() as u64 * (held[0] + held[1]);
    assert!(held[0] > 0 && bytes <= 64 << 10, "{held:?} packets, {bytes} bytes");
}
