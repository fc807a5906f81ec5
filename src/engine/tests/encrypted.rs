//! Calls that are encrypted: decrypted once for every branch, or not recorded and told. The cryptography itself is judged
//! in the media crate's tests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, SILENCE, assert_in_order, numbered, receive};
use siprec_engine::{EngineConfig, Tap};
use siprec_media::srtp::{CallKey, Passed, Protector, Unprotector};
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, DropCause, Hole, RtcpMode, SrtpKey, SrtpKeys, SrtpSuite,
};

const SSRC: u32 = 0xCAFE_F00D;

fn key(suite: SrtpSuite, mark: u8) -> SrtpKey {
    SrtpKey::new(suite, &vec![mark; suite.master_length()]).unwrap()
}

/// One direction of a call whose packets are encrypted.
struct Call {
    tap: Tap,
    protector: Protector,
    key: SrtpKey,
}

impl Call {
    fn new(rig: &Rig, suite: SrtpSuite) -> Self {
        let tap = rig.tap();
        tap.set_secured(true);
        let key = key(suite, 7);
        Self { tap, protector: Protector::new(&key).unwrap(), key }
    }

    fn add_key(&self) {
        self.tap.add_key(self.key.clone().into());
    }

    /// The `number`th packet, encrypted.
    fn packet(&mut self, ssrc: u32, number: u32) -> Vec<u8> {
        let mut packet = numbered(ssrc, number);
        let length = packet.len();
        self.protector.protect_rtp(&mut packet, length, ssrc, 1000 + u64::from(number)).unwrap();
        packet
    }

    /// Pushes a packet as soon as the media thread has left room for it.
    fn push_when_there_is_room(&mut self, number: u32) {
        let packet = self.packet(SSRC, number);
        loop {
            let full = self.tap.stats().queue_full;
            self.tap.push(&packet, Instant::now());
            if self.tap.stats().queue_full == full {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn push(&mut self, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            let packet = self.packet(SSRC, number);
            self.tap.push(&packet, Instant::now());
        }
    }
}

/// A branch that sends in the clear, whatever the call does.
fn branch(rig: &Rig, call: &Call, slot: u16, recorder: &Recorder) -> BranchId {
    let branch = rig.create(&call.tap, slot, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.expose(branch, recorder);
    branch
}

/// A branch that sends in the clear what the call does.
fn discreet_branch(rig: &Rig, call: &Call, recorder: &Recorder) -> BranchId {
    let branch = rig.create(&call.tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    rig.open(branch, recorder);
    branch
}

#[test]
fn each_branch_gets_what_the_call_encrypts_in_the_clear_or_under_a_key_of_its_own() {
    for suite in SrtpSuite::ALL {
        let rig = Rig::new(EngineConfig::default());
        let mut call = Call::new(&rig, suite);
        call.add_key();
        let (plain, secured) = (Recorder::new(), Recorder::new());
        let one = branch(&rig, &call, 0, &plain);
        let other = rig.create(&call.tap, 1, FAST);
        rig.bind(other, LOCAL, RtcpMode::Pair);
        let own = key(SrtpSuite::AeadAes128Gcm, 1);
        let keys = SrtpKeys {
            own: own.clone(),
            recorder: vec![key(SrtpSuite::AeadAes128Gcm, 2)],
            recorder_lifetime: None,
            session: 1,
        };
        rig.open_secured(other, &secured, &keys);
        call.push(0..50);
        assert_in_order(&plain.packets(50), 0);
        let mut receiver = Unprotector::new();
        receiver.add_key(&own).unwrap();
        for number in 0..50u32 {
            let (mut bytes, _) = receive(&secured.rtp, DEADLINE).unwrap();
            let length = receiver.unprotect_rtp(&mut bytes).unwrap();
            assert_eq!((length, &bytes[12..16]), (172, &number.to_be_bytes()[..]), "{suite}");
        }
        for branch in [one, other] {
            let (_, report) = rig.close(branch);
            assert_eq!((report.seen, report.sent, report.drops.total()), (50, 50, 0));
        }
    }
}

#[test]
fn what_comes_before_the_key_waits_for_it_also_when_the_call_is_over_by_then() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm128HmacSha1_80);
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    call.push(0..20);
    rig.command(BranchCommand::Drain { branch });
    recorder.assert_silence();
    assert!(
        rig.events_within(Duration::ZERO)
            .iter()
            .all(|(_, event)| !matches!(event, BranchEvent::BacklogEmpty { .. }))
    );
    call.add_key();
    assert_in_order(&recorder.packets(20), 0);
    rig.expect(branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (20, 20));
}

#[test]
fn at_the_end_nothing_waits_for_a_key_that_was_refused() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm128HmacSha1_80);
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    call.tap.expect_key(SSRC);
    call.push(0..20);
    rig.command(BranchCommand::Drain { branch });
    recorder.assert_silence();
    assert!(
        rig.events_within(Duration::ZERO)
            .iter()
            .all(|(_, event)| !matches!(event, BranchEvent::BacklogEmpty { .. }))
    );
    call.tap.settle_key(SSRC);
    rig.expect(branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
    let (events, report) = rig.close(branch);
    let is_told = |event: &BranchEvent| {
        matches!(event, BranchEvent::Gap(Hole { packets: 20, cause: DropCause::NoKey, .. }))
    };
    assert!(events.iter().any(is_told), "{events:?}");
    assert_eq!((report.seen, report.drops.of(DropCause::NoKey)), (20, 20));
}

#[test]
fn what_waited_in_vain_is_accounted_for_by_when_it_came_although_there_was_a_pause_meanwhile() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm128HmacSha1_80);
    let branch = branch(&rig, &call, 0, &Recorder::new());
    let arrival = Instant::now();
    for number in 0..20 {
        let packet = call.packet(SSRC, number);
        call.tap.push(&packet, arrival + Duration::from_millis(20 * u64::from(number)));
    }
    call.tap.close_gate();
    rig.command(BranchCommand::Pause { branch });
    let (events, report) = rig.close(branch);
    let duration = Duration::from_millis(19 * 20);
    assert!(
        events.contains(&BranchEvent::Gap(Hole {
            start: arrival,
            packets: 20,
            duration,
            cause: DropCause::NoKey
        })),
        "{events:?}"
    );
    assert_eq!((report.seen, report.drops.of(DropCause::NoKey)), (20, 20));
}

#[test]
fn a_flood_of_forgeries_is_told_by_the_time_over_which_it_came() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let start = Instant::now();
    // What is authentic comes every 20 ms as far as its arrival says.
    for number in 0..20 {
        let arrival = start + Duration::from_millis(20 * u64::from(number));
        let packet = call.packet(SSRC, number);
        call.tap.push(&packet, arrival);
        for forgery in 0..50 {
            let mut forged = packet.clone();
            forged[2] ^= 0x40;
            forged[3] ^= forgery;
            call.tap.push(&forged, arrival);
        }
    }
    assert_eq!(recorder.packets(20).len(), 20);
    let (events, report) = rig.close(branch);
    assert_eq!((report.sent, report.drops.of(DropCause::NotAuthentic)), (20, 1000));
    let mut told = Duration::ZERO;
    for event in events {
        if let BranchEvent::Gap(Hole { duration, cause: DropCause::NotAuthentic, .. }) = event {
            told += duration;
        }
    }
    assert!(told <= Duration::from_millis(19 * 20), "{told:?}");
}

#[test]
fn a_source_waits_while_its_key_is_asked_for_and_no_other_does() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes256Gcm);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let newcomer = SSRC + 1;
    let newcomers_key = key(SrtpSuite::AesCm128HmacSha1_32, 9);
    let mut newcomers = Protector::new(&newcomers_key).unwrap();
    call.tap.expect_key(newcomer);
    for number in 0..5 {
        let mut packet = numbered(newcomer, number);
        let length = packet.len();
        newcomers.protect_rtp(&mut packet, length, newcomer, 1000 + u64::from(number)).unwrap();
        call.tap.push(&packet, Instant::now());
    }
    call.push(0..5);
    assert!(recorder.packets(5).iter().all(|packet| packet.ssrc == SSRC));
    recorder.assert_silence();
    call.tap.add_key(CallKey::from(newcomers_key));
    call.tap.settle_key(newcomer);
    assert!(recorder.packets(5).iter().all(|packet| packet.ssrc == newcomer));
    // A question that was answered in vain: what waited is lost.
    call.tap.expect_key(newcomer + 1);
    let forged = call.packet(SSRC, 100);
    let forged = [&forged[..8], &(newcomer + 1).to_be_bytes(), &forged[12..]].concat();
    call.tap.push(&forged, Instant::now());
    recorder.assert_silence();
    call.tap.settle_key(newcomer + 1);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.of(DropCause::NotAuthentic)), (11, 10, 1));
}

/// The answer that brings a party's next key often comes behind its first packets.
#[test]
fn a_new_key_that_comes_after_its_first_packets_costs_none_of_them() {
    for suite in SrtpSuite::ALL {
        for mki in [false, true] {
            let keys = [7, 8].map(|mark| {
                let key = key(suite, mark);
                if mki { key.with_mki(&[mark]).unwrap() } else { key }
            });
            let rig = Rig::new(EngineConfig::default());
            let tap = rig.tap();
            tap.set_secured(true);
            let mut call = Call { tap, protector: Protector::new(&keys[0]).unwrap(), key: keys[0].clone() };
            call.add_key();
            let recorder = Recorder::new();
            let branch = branch(&rig, &call, 0, &recorder);
            call.push(0..10);
            assert_in_order(&recorder.packets(10), 0);
            call.protector.rekey(&keys[1]).unwrap();
            call.push(10..30);
            recorder.assert_silence();
            call.tap.add_key(keys[0].clone().into());
            recorder.assert_silence();
            call.tap.add_key(keys[1].clone().into());
            assert_in_order(&recorder.packets(20), 10);
            call.push(30..40);
            assert_in_order(&recorder.packets(10), 30);
            let (events, report) = rig.close(branch);
            assert_eq!((report.seen, report.sent, report.drops.total()), (40, 40, 0), "{suite} {mki}");
            assert!(!events.iter().any(|event| matches!(event, BranchEvent::Gap(_))), "{events:?}");
        }
    }
}

#[test]
fn the_keys_in_use_are_told_while_they_are_and_once_for_each_time_that_somebody_asks() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.add_key();
    call.tap.add_key(key(SrtpSuite::AeadAes128Gcm, 9).into());
    let recorder = Recorder::new();
    let _branch = branch(&rig, &call, 0, &recorder);
    assert!(call.tap.take_used_keys().is_empty());
    for round in 0..3 {
        call.push(2 * round..2 * round + 2);
        assert_in_order(&recorder.packets(2), 2 * round);
        let deadline = Instant::now() + DEADLINE;
        let used = loop {
            assert!(Instant::now() < deadline, "it is in use");
            let used = call.tap.take_used_keys();
            if !used.is_empty() {
                break used;
            }
            std::thread::yield_now();
        };
        assert!(used.iter().all(|used| *used == call.key) && used.len() == 1);
    }
}

#[test]
fn a_new_key_that_comes_in_a_pause_serves_what_came_before_it() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm256HmacSha1_80);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    call.push([0]);
    assert_in_order(&recorder.packets(1), 0);
    let next = key(SrtpSuite::AesCm256HmacSha1_80, 8);
    call.protector.rekey(&next).unwrap();
    call.push(1..5);
    call.tap.close_gate();
    rig.command(BranchCommand::Pause { branch });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    call.tap.add_key(next.into());
    recorder.assert_silence();
    call.tap.open_gate();
    rig.expose(branch, &recorder);
    assert_in_order(&recorder.packets(4), 1);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (5, 5));
}

#[test]
fn at_the_end_nothing_waits_for_a_key_that_nobody_asks_for() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    call.push([0]);
    assert_in_order(&recorder.packets(1), 0);
    call.protector.rekey(&key(SrtpSuite::AeadAes128Gcm, 8)).unwrap();
    let arrival = Instant::now() + Duration::from_secs(60);
    for number in 1..5 {
        // They would wait for a minute.
        let packet = call.packet(SSRC, number);
        call.tap.push(&packet, arrival);
    }
    rig.command(BranchCommand::Drain { branch });
    rig.expect(branch, |event| matches!(event, BranchEvent::BacklogEmpty { .. }).then_some(()));
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.of(DropCause::NotAuthentic)), (5, 1, 4));
}

#[test]
fn a_call_turns_encrypted_and_plain_again_between_two_packets() {
    let rig = Rig::new(EngineConfig::default());
    let tap = rig.tap();
    let key = key(SrtpSuite::AeadAes128Gcm, 7);
    let mut call = Call { protector: Protector::new(&key).unwrap(), tap, key };
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    for round in 0..4 {
        let numbers = round * 10..(round + 1) * 10;
        call.tap.set_secured(round % 2 == 1);
        if round % 2 == 1 {
            call.push(numbers);
            call.add_key();
        } else {
            numbers.for_each(|number| call.tap.push(&numbered(SSRC, number), Instant::now()));
        }
    }
    let mut packets = recorder.packets(40);
    packets.sort_by_key(|packet| packet.number());
    assert_eq!(packets.iter().map(|packet| packet.number()).collect::<Vec<_>>(), (0..40).collect::<Vec<_>>());
    // What says that it is encrypted and is not, and the other way round, is no packet of the call.
    call.tap.set_secured(true);
    call.tap.push(&numbered(SSRC, 100), Instant::now());
    call.push([101]);
    assert_eq!(recorder.packet().number(), 101);
    let (_, report) = rig.close(branch);
    assert_eq!(report.drops.of(DropCause::NotAuthentic), 1);
}

/// Whoever has the key, or the next one, may take an hour: what comes meanwhile is lost, and not how often the numbers wrapped.
#[test]
fn rollovers_while_there_is_no_key_that_fits_are_followed() {
    for is_first in [true, false] {
        let rig = Rig::new(EngineConfig::default());
        let mut call = Call::new(&rig, SrtpSuite::AeadAes256Gcm);
        let recorder = Recorder::new();
        let branch = branch(&rig, &call, 0, &recorder);
        if !is_first {
            call.add_key();
            call.push([0]);
            assert_in_order(&recorder.packets(1), 0);
            call.key = key(SrtpSuite::AeadAes256Gcm, 8);
            call.protector.rekey(&call.key).unwrap();
        }
        for number in (10..200_000).step_by(10) {
            call.push_when_there_is_room(number);
        }
        call.add_key();
        call.push_when_there_is_room(200_000);
        while recorder.packet().number() < 200_000 {}
        let (_, report) = rig.close(branch);
        let lost = if is_first { DropCause::NoKey } else { DropCause::NotAuthentic };
        assert!(report.drops.of(lost) > 10_000, "{report:?}");
    }
}

#[test]
fn rollovers_behind_a_shut_gate_and_before_the_first_packet_are_followed() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm256HmacSha1_80);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let mut passed = Passed::default();
    for number in (0..200_000).step_by(1000) {
        let packet = call.packet(SSRC, number);
        passed.note(&packet);
    }
    call.tap.note_passed(passed);
    call.push([200_000]);
    assert_eq!(recorder.packet().number(), 200_000);
    call.tap.close_gate();
    rig.command(BranchCommand::Pause { branch });
    call.push((201_000..400_000).step_by(1000));
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    call.tap.open_gate();
    rig.expose(branch, &recorder);
    call.push([400_000]);
    assert_eq!(recorder.packet().number(), 400_000);
    // The recorder pauses; the gate stays open, and nothing is decrypted.
    rig.command(BranchCommand::Pause { branch });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    call.push((401_000..600_000).step_by(1000));
    rig.expose(branch, &recorder);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    call.push([600_000]);
    assert_eq!(recorder.packet().number(), 600_000);
    assert_eq!(recorder.arrived(), []);
    let (_, report) = rig.close(branch);
    assert_eq!((report.sent, report.drops.total()), (3, 0));
}

#[test]
fn jumps_of_the_numbers_in_pauses_lose_nothing_behind_them() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm128HmacSha1_80);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let mut number = 0;
    call.push([number]);
    assert_in_order(&recorder.packets(1), number);
    // Three jumps in each pause, of which a round of numbers is not half, and packets that do not follow each other.
    for (round, jump) in [3001, 32_000, 10_000, 32_000].into_iter().enumerate() {
        let by_gate = round % 2 == 0;
        if by_gate {
            call.tap.close_gate();
        }
        rig.command(BranchCommand::Pause { branch });
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        for _ in 0..3 {
            number += jump;
            call.push([number + 3, number, number + 5]);
        }
        if by_gate {
            call.tap.open_gate();
        }
        rig.expose(branch, &recorder);
        rig.bind(branch, LOCAL, RtcpMode::Pair);
        number += jump;
        call.push(number..number + 3);
        assert_in_order(&recorder.packets(3), number);
    }
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.total()), (13, 13, 0));
}

#[test]
fn what_is_no_packet_of_the_call_is_dropped_by_its_cause() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AesCm128HmacSha1_80);
    call.add_key();
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let genuine = call.packet(SSRC, 0);
    let now = Instant::now();
    call.tap.push(&genuine, now);
    call.tap.push(&genuine, now);
    let next = call.packet(SSRC, 1);
    for length in 0..next.len() {
        call.tap.push(&next[..length], now);
    }
    for place in 0..next.len() {
        let mut forged = next.clone();
        forged[place] ^= 1;
        call.tap.push(&forged, now);
    }
    call.tap.push(&[&[0x80, 201], &next[2..]].concat(), now);
    call.tap.push(&next, now);
    assert_in_order(&recorder.packets(2), 0);
    let (_, report) = rig.close(branch);
    let drops = |cause| report.drops.of(cause);
    // One forgery has the number of the packet before, one that of a packet long ago; what has less than its header and
    // tag is no packet.
    assert_eq!(drops(DropCause::Replayed), 3);
    assert_eq!((drops(DropCause::NotRtp), drops(DropCause::Malformed)), (2, 21));
    assert_eq!(report.seen, 4 + 2 * next.len() as u64);
    assert_eq!(report.drops.total(), report.seen - 2);
    assert_eq!(recorder.arrived(), []);
}

#[test]
fn a_wrong_key_is_told_while_it_lasts_and_not_only_at_the_end() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.tap.add_key(key(SrtpSuite::AeadAes128Gcm, 1).into());
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let tell = std::thread::spawn(move || {
        rig.expect(branch, |event| match event {
            BranchEvent::Gap(Hole { packets, cause, .. }) => Some((packets, cause)),
            _ => None,
        })
    });
    let mut number = 0;
    while !tell.is_finished() {
        call.push([number]);
        number += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let told = tell.join().unwrap();
    assert!(told.0 > 1, "{told:?}");
    assert_eq!(told.1, DropCause::NotAuthentic);
}

#[test]
fn a_stream_without_a_key_waits_in_bounded_room_and_all_of_it_is_accounted_for() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    let recorder = Recorder::new();
    let branch = branch(&rig, &call, 0, &recorder);
    let packet = call.packet(SSRC, 0);
    let count = 3 * (1 << 20) / packet.len();
    let mut gaps = 0;
    for _ in 0..count {
        call.tap.push(&packet, Instant::now());
        std::thread::yield_now();
    }
    let (events, report) = rig.close(branch);
    for event in events {
        if let BranchEvent::Gap(Hole { packets, cause: DropCause::NoKey, .. }) = event {
            gaps += packets;
        }
    }
    let lost = report.drops.of(DropCause::NoKey);
    assert_eq!(lost + report.drops.of(DropCause::QueueFull), count as u64);
    assert_eq!((report.seen, report.sent, gaps), (count as u64, 0, lost));
}

/// The sizes of what a recorder gets: waits for so many packets, and then for more, which should not come.
fn sizes(recorder: &Recorder, expected: usize) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let Some((bytes, _)) =
        receive(&recorder.rtp, if sizes.len() < expected { DEADLINE } else { SILENCE })
    {
        sizes.push(bytes.len());
    }
    sizes
}

#[test]
fn what_the_call_encrypts_waits_behind_a_plain_branch_until_that_is_told_otherwise() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.tap.set_secured(false);
    let recorder = Recorder::new();
    let branch = discreet_branch(&rig, &call, &recorder);
    (0..10).for_each(|number| call.tap.push(&numbered(SSRC, number), Instant::now()));
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    // The session knows nothing of it yet.
    call.add_key();
    call.tap.set_secured(true);
    call.push(10..30);
    assert_eq!(sizes(&recorder, 0), [0; 0]);
    // Not even an order that was on its way.
    rig.open(branch, &recorder);
    assert_eq!(sizes(&recorder, 0), [0; 0]);
    let own = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[9; 28]).unwrap();
    let theirs = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[8; 28]).unwrap();
    rig.open_secured(
        branch,
        &recorder,
        &SrtpKeys { own, recorder: vec![theirs], recorder_lifetime: None, session: 1 },
    );
    assert_eq!(sizes(&recorder, 20), [172 + 16; 20]);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (30, 30));
}

#[test]
fn what_is_confidential_in_the_clear_waits_too_and_is_forgotten_where_it_may_not_leave() {
    let rig = Rig::new(EngineConfig::default());
    let call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.tap.set_secured(false);
    let recorder = Recorder::new();
    let branch = discreet_branch(&rig, &call, &recorder);
    let push = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| call.tap.push(&numbered(SSRC, number), Instant::now()));
    };
    call.tap.set_confidential(true);
    push(0..10);
    assert_eq!(sizes(&recorder, 0), [0; 0]);
    // The call has changed its mind before the session has said anything.
    call.tap.set_confidential(false);
    push(10..20);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    call.tap.set_confidential(true);
    push(20..30);
    rig.command(BranchCommand::Disable { branch });
    call.tap.set_confidential(false);
    rig.open(branch, &recorder);
    push(30..40);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.of(DropCause::Closed)), (40, 20, 20));
}

#[test]
fn what_waited_for_its_key_does_not_leave_in_the_clear_although_the_call_is_plain_by_then() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    call.tap.set_secured(false);
    let recorder = Recorder::new();
    let branch = discreet_branch(&rig, &call, &recorder);
    let push = |call: &Call, numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| call.tap.push(&numbered(SSRC, number), Instant::now()));
    };
    push(&call, 0..10);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    call.tap.set_secured(true);
    call.push(10..20);
    call.tap.set_secured(false);
    push(&call, 20..30);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    call.add_key();
    assert_eq!(sizes(&recorder, 0), [0; 0]);
    push(&call, 30..40);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent, report.drops.of(DropCause::Closed)), (40, 30, 10));
}

#[test]
fn what_the_call_encrypts_leaves_in_the_clear_where_that_is_allowed() {
    let rig = Rig::new(EngineConfig::default());
    let mut call = Call::new(&rig, SrtpSuite::AeadAes128Gcm);
    let recorder = Recorder::new();
    branch(&rig, &call, 0, &recorder);
    call.add_key();
    call.push(0..10);
    assert_eq!(sizes(&recorder, 10), [172; 10]);
}
