//! Encrypted branches: what leaves and comes is SRTP and SRTCP under the keys that were agreed, and nothing else. Who
//! judges the cryptography itself is in the media crate's tests, and at the recorder.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{DEADLINE, FAST, LOCAL, Recorder, Rig, SILENCE, numbered, receive};
use rtcp_types::prelude::*;
use rtcp_types::{Compound, Packet, PayloadFeedback, Pli, ReceiverReport, ReportBlock};
use siprec_engine::{EngineConfig, Tap};
use siprec_media::srtp::{KeyLimits, Protector, Unprotector};
use siprec_model::{BranchCommand, BranchEvent, BranchId, DropCause, RtcpMode, SrtpKey, SrtpKeys, SrtpSuite};

const SSRC: u32 = 0xCAFE_F00D;

fn key(suite: SrtpSuite, mark: u8) -> SrtpKey {
    SrtpKey::new(suite, &vec![mark; suite.master_length()]).unwrap()
}

fn keys(suite: SrtpSuite, mark: u8, session: u32) -> SrtpKeys {
    SrtpKeys {
        own: key(suite, mark),
        recorder: vec![key(suite, mark | 0x80)],
        recorder_lifetime: None,
        session,
    }
}

fn receiver(key: &SrtpKey) -> Unprotector {
    let mut receiver = Unprotector::new();
    receiver.add_key(key).unwrap();
    receiver
}

/// A branch that has its ports, and the tap that feeds it.
fn bound(rig: &Rig) -> (Tap, BranchId) {
    let tap = rig.tap();
    let branch = rig.create(&tap, 0, FAST);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    (tap, branch)
}

/// The number of the next packet, decrypted; `None` where these keys are not its.
fn next(recorder: &Recorder, receiver: &mut Unprotector) -> Option<(u32, u16)> {
    let (mut bytes, _) = receive(&recorder.rtp, DEADLINE).unwrap();
    let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
    let length = receiver.unprotect_rtp(&mut bytes).ok()?;
    assert_eq!(length, 12 + 160);
    Some((u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) / 160, sequence))
}

#[test]
fn what_leaves_is_protected_by_each_suite_also_what_was_held() {
    for suite in SrtpSuite::ALL {
        let rig = Rig::new(EngineConfig::default());
        let (tap, branch) = bound(&rig);
        let recorder = Recorder::new();
        (0..20).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
        let keys = keys(suite, 1, 1);
        rig.open_secured(branch, &recorder, &keys);
        let mut receiver = receiver(&keys.own);
        let first = next(&recorder, &mut receiver).unwrap();
        for number in 1..20 {
            assert_eq!(next(&recorder, &mut receiver), Some((number, first.1 + number as u16)), "{suite}");
        }
        tap.push(&numbered(SSRC, 20), Instant::now());
        assert_eq!(next(&recorder, &mut receiver), Some((20, first.1 + 20)));
        let (_, report) = rig.close(branch);
        assert_eq!((report.seen, report.sent, report.sent_bytes), (21, 21, 21 * 172));

        // RTCP, the BYE at last, is protected too: nothing of it is readable before.
        let mut said_goodbye = false;
        while let Some((mut datagram, _)) = receive(&recorder.rtcp, Duration::from_millis(50)) {
            assert!(!datagram.windows(10).any(|window| window == b"party@test"));
            let length = receiver.unprotect_rtcp(&mut datagram).unwrap();
            let compound = Compound::parse(&datagram[..length]).unwrap();
            said_goodbye |= compound.flatten().any(|packet| matches!(packet, Packet::Bye(_)));
        }
        assert!(said_goodbye, "{suite}");
    }
}

#[test]
fn only_rtcp_under_the_recorders_key_is_heard() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    let recorder = Recorder::new();
    let keys = keys(SrtpSuite::AesCm128HmacSha1_80, 1, 1);
    rig.open_secured(branch, &recorder, &keys);
    tap.push(&numbered(SSRC, 0), Instant::now());
    next(&recorder, &mut receiver(&keys.own)).unwrap();
    let report = |lost: u32| {
        let block = ReportBlock::builder(SSRC).extended_sequence_number(1).cumulative_lost(lost);
        let compound = Compound::builder().add_packet(ReceiverReport::builder(4711).add_report_block(block));
        let mut bytes = vec![0; compound.calculate_size().unwrap()];
        compound.write_into(&mut bytes).unwrap();
        bytes
    };
    let protected = |key: &SrtpKey, lost: u32| {
        let mut bytes = report(lost);
        let length = bytes.len();
        Protector::new(key).unwrap().protect_rtcp(&mut bytes, length).unwrap();
        bytes
    };
    for wrong in [report(1), protected(&keys.own, 2), protected(&key(SrtpSuite::AeadAes128Gcm, 9), 3)] {
        recorder.rtcp.send_to(&wrong, local).unwrap();
    }
    for length in 0..protected(&keys.recorder[0], 4).len() {
        recorder.rtcp.send_to(&protected(&keys.recorder[0], 4)[..length], local).unwrap();
    }
    recorder.rtcp.send_to(&protected(&keys.recorder[0], 5), local).unwrap();
    let lost = rig.expect(branch, |event| match event {
        BranchEvent::ReportReceived { cumulative_lost, .. } => Some(cumulative_lost),
        _ => None,
    });
    assert_eq!(lost, 5);
}

/// RFC 4585 §6.3.1, under SRTCP: whoever has no key of the recorder's asks for nothing.
#[test]
fn a_request_for_a_key_frame_counts_under_the_recorders_key_alone() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    let recorder = Recorder::new();
    let keys = keys(SrtpSuite::AeadAes256Gcm, 1, 1);
    rig.open_secured(branch, &recorder, &keys);
    tap.push(&numbered(SSRC, 0), Instant::now());
    next(&recorder, &mut receiver(&keys.own)).unwrap();
    let ask = |key: Option<&SrtpKey>| {
        let request = PayloadFeedback::builder_owned(Pli::builder()).sender_ssrc(99).media_ssrc(SSRC);
        let mut bytes = vec![0; request.calculate_size().unwrap()];
        request.write_into(&mut bytes).unwrap();
        let length = bytes.len();
        if let Some(key) = key {
            Protector::new(key).unwrap().protect_rtcp(&mut bytes, length).unwrap();
        }
        recorder.rtcp.send_to(&bytes, local).unwrap();
    };
    for forger in [None, Some(&keys.own), Some(&key(SrtpSuite::AeadAes256Gcm, 9))] {
        ask(forger);
    }
    let wants = |event: &BranchEvent| *event == BranchEvent::KeyframeWanted;
    assert!(!rig.events_within(SILENCE).iter().any(|(_, event)| wants(event)));
    ask(Some(&keys.recorder[0]));
    rig.expect(branch, |event| wants(&event).then_some(()));
}

/// RFC 4568 §6.1: a key that has come to its end is not used any more, and another one is.
#[test]
fn rtcp_is_heard_for_the_lifetime_of_the_recorders_key_and_under_its_next_one() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let (_, local) = rig.bind(branch, LOCAL, RtcpMode::Pair);
    let recorder = Recorder::new();
    let mut keys = keys(SrtpSuite::AeadAes128Gcm, 1, 1);
    keys.recorder_lifetime = Some(2);
    rig.open_secured(branch, &recorder, &keys);
    tap.push(&numbered(SSRC, 0), Instant::now());
    next(&recorder, &mut receiver(&keys.own)).unwrap();
    let heard = |protector: &mut Protector, losses: [u32; 3]| {
        for lost in losses {
            let block = ReportBlock::builder(SSRC).extended_sequence_number(lost).cumulative_lost(lost);
            let report =
                Compound::builder().add_packet(ReceiverReport::builder(4711).add_report_block(block));
            let mut bytes = vec![0; report.calculate_size().unwrap()];
            report.write_into(&mut bytes).unwrap();
            let length = bytes.len();
            protector.protect_rtcp(&mut bytes, length).unwrap();
            recorder.rtcp.send_to(&bytes, local).unwrap();
        }
    };
    let told = |expected: i32| {
        rig.expect(branch, |event| match event {
            BranchEvent::ReportReceived { cumulative_lost, .. } => {
                assert!(cumulative_lost <= 2 || cumulative_lost >= 7, "{cumulative_lost}");
                (cumulative_lost == expected).then_some(())
            }
            _ => None,
        });
    };
    let mut theirs = Protector::new(&keys.recorder[0]).unwrap();
    heard(&mut theirs, [1, 2, 3]);
    told(2);
    // Its end stays its end, also where our own key is another one.
    keys.own = key(SrtpSuite::AeadAes128Gcm, 2);
    rig.open_secured(branch, &recorder, &keys);
    let number = push_until(&tap, &recorder, &keys.own, 1);
    heard(&mut theirs, [4, 5, 6]);
    keys.own = key(SrtpSuite::AeadAes128Gcm, 3);
    keys.recorder = vec![key(SrtpSuite::AeadAes128Gcm, 0x99)];
    rig.open_secured(branch, &recorder, &keys);
    push_until(&tap, &recorder, &keys.own, number);
    heard(&mut Protector::new(&keys.recorder[0]).unwrap(), [7, 8, 9]);
    told(8);
}

/// RFC 3711 §3.3.1 and §9.1: another recorder knows of no rollover, and another key has its own indices.
#[test]
fn what_goes_to_the_next_recorder_is_under_keys_whose_rollover_begins_at_zero() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let (lost, other) = (Recorder::new(), Recorder::new());
    let former = keys(SrtpSuite::AeadAes128Gcm, 1, 1);
    rig.open_secured(branch, &lost, &former);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    let mut receiver_of_lost = receiver(&former.own);
    let (mut number, mut last, mut has_wrapped) = (0, 0, false);
    while !has_wrapped || last < 300 {
        (number..number + 250).for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
        for _ in 0..250 {
            let (came, sequence) = next(&lost, &mut receiver_of_lost).unwrap();
            // The timestamp counts no further.
            assert_eq!(came, number % (u32::MAX / 160 + 1));
            has_wrapped |= sequence < last;
            (number, last) = (number + 1, sequence);
        }
    }
    rig.command(BranchCommand::Recall { branch, since: Instant::now(), next: None, missed: None });
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    let fresh = keys(SrtpSuite::AeadAes128Gcm, 2, 2);
    rig.open_secured(branch, &other, &fresh);
    let mut receiver_of_other = receiver(&fresh.own);
    let (first, sequence) = next(&other, &mut receiver_of_other).expect("of rollover 0");
    assert!(first < number && (256..0x8000).contains(&sequence), "{first} of {number} as {sequence}");
    for following in first + 1..number {
        let expected = sequence.wrapping_add((following - first) as u16);
        assert_eq!(next(&other, &mut receiver_of_other), Some((following, expected)));
    }
}

/// Pushes packets until one comes to `recorder` under `key`, which a receiver takes that knows of no rollover. Gives the
/// number of the next one.
fn push_until(tap: &Tap, recorder: &Recorder, key: &SrtpKey, mut number: u32) -> u32 {
    let mut receiver = receiver(key);
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        tap.push(&numbered(SSRC, number), Instant::now());
        number += 1;
        // What the command has not overtaken still goes the old way.
        while let Some((mut bytes, _)) = receive(&recorder.rtp, Duration::from_millis(20)) {
            if receiver.unprotect_rtp(&mut bytes).is_ok() {
                return number;
            }
        }
    }
    panic!("nothing has come under the new key");
}

#[test]
fn another_key_at_the_same_address_and_at_another_is_taken_up() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let (recorder, other) = (Recorder::new(), Recorder::new());
    let suite = SrtpSuite::AeadAes256Gcm;
    let all = [keys(suite, 1, 1), keys(suite, 2, 1), keys(suite, 3, 1)];
    let mut number = 0;
    for (keys, recorder) in all.iter().zip([&recorder, &recorder, &other]) {
        rig.open_secured(branch, recorder, keys);
        number = push_until(&tap, recorder, &keys.own, number);
    }
    // The same keys again, as after a refresh: nothing begins anew, and no index comes twice.
    rig.open_secured(branch, &other, &all[2]);
    number = push_until(&tap, &other, &all[2].own, number);
    let (_, report) = rig.close(branch);
    assert_eq!((report.seen, report.sent), (u64::from(number), u64::from(number)));
}

#[test]
fn a_key_that_was_left_is_never_taken_up_again_and_nothing_leaves_for_it() {
    let suite = SrtpSuite::AeadAes128Gcm;
    for turns_plain in [false, true] {
        let rig = Rig::new(EngineConfig::default());
        let (tap, branch) = bound(&rig);
        let (recorder, other) = (Recorder::new(), Recorder::new());
        let [first, second] = [keys(suite, 1, 1), keys(suite, 2, 1)];
        rig.open_secured(branch, &recorder, &first);
        let mut number = push_until(&tap, &recorder, &first.own, 0);
        if turns_plain {
            rig.open(branch, &recorder);
        } else {
            rig.open_secured(branch, &recorder, &second);
            number = push_until(&tap, &recorder, &second.own, number);
        }
        rig.open_secured(branch, &other, &keys(suite, 1, 2));
        let reason = rig.expect(branch, |event| match event {
            BranchEvent::PortsFailed { reason } => Some(reason),
            _ => None,
        });
        assert!(reason.contains("cannot be secured as asked"), "{reason}");
        for number in number..number + 5 {
            tap.push(&numbered(SSRC, number), Instant::now());
        }
        // Neither under the key nor, which would be worse, in the clear.
        other.assert_silence();
    }
}

#[test]
fn a_branch_rolls_over_under_its_key_and_another_session_starts_at_0() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let recorder = Recorder::new();
    let suite = SrtpSuite::AesCm128HmacSha1_32;
    let first = keys(suite, 1, 1);
    rig.open_secured(branch, &recorder, &first);
    let mut of_first = receiver(&first.own);
    let (mut before, mut wrapped) = (0, false);
    let mut number = 0;
    // Enough for one wrap, wherever the random first number was, in bursts that the sockets hold.
    while number < 66_000 {
        for _ in 0..200 {
            tap.push(&numbered(SSRC, number), Instant::now());
            number += 1;
        }
        for _ in 0..200 {
            let (_, sequence) = next(&recorder, &mut of_first).unwrap();
            wrapped |= sequence < before;
            before = sequence;
        }
    }
    assert!(wrapped);
    // Another session of the recorder, at the same address, knows nothing of what was.
    let second = keys(suite, 2, 2);
    rig.open_secured(branch, &recorder, &second);
    number = push_until(&tap, &recorder, &second.own, number);
    let (_, report) = rig.close(branch);
    assert_eq!((report.sent, report.drops.of(DropCause::NotProtected)), (u64::from(number), 0));
}

#[test]
fn a_branch_that_turns_encrypted_has_room_before_its_numbers_wrap() {
    let rig = Rig::new(EngineConfig::default());
    let (tap, branch) = bound(&rig);
    let recorder = Recorder::new();
    rig.open(branch, &recorder);
    let (mut number, mut sequence) = (0, 0);
    while sequence < 0x8000 {
        for _ in 0..200 {
            tap.push(&numbered(SSRC, number), Instant::now());
            number += 1;
        }
        for _ in 0..200 {
            let (bytes, _) = receive(&recorder.rtp, DEADLINE).unwrap();
            sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
        }
    }
    let keys = keys(SrtpSuite::AeadAes128Gcm, 1, 1);
    rig.open_secured(branch, &recorder, &keys);
    let deadline = Instant::now() + DEADLINE;
    let first = loop {
        assert!(Instant::now() < deadline, "nothing is encrypted");
        tap.push(&numbered(SSRC, number), Instant::now());
        number += 1;
        let (bytes, _) = receive(&recorder.rtp, DEADLINE).unwrap();
        // What the command has not overtaken is still plain.
        if bytes.len() > 12 + 160 {
            break u16::from_be_bytes([bytes[2], bytes[3]]);
        }
    };
    assert!(
        first < 0x8000,
        "{first} after {sequence}: where it is lost, its receiver never finds the rollover counter"
    );
}

/// What the branch says of the end of its key next.
fn wanted(rig: &Rig, branch: BranchId) -> (u32, bool) {
    rig.expect(branch, |event| match event {
        BranchEvent::KeyWanted { session, used_up } => Some((session, used_up)),
        _ => None,
    })
}

fn is_wanted((_, event): &(BranchId, BranchEvent)) -> bool {
    matches!(event, BranchEvent::KeyWanted { .. })
}

/// RFC 3711 §9.2, for a key that ends after 64 packets.
#[test]
fn a_key_says_in_time_that_it_ends_nothing_leaves_behind_its_end_and_another_goes_on() {
    let key_limits = KeyLimits { rtp: 64, ..KeyLimits::default() };
    let rig = Rig::new(EngineConfig { key_limits, ..EngineConfig::default() });
    let (tap, branch) = bound(&rig);
    let recorder = Recorder::new();
    let all = [1, 2].map(|mark| keys(SrtpSuite::AeadAes128Gcm, mark, 3));
    rig.open_secured(branch, &recorder, &all[0]);
    let push = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| tap.push(&numbered(SSRC, number), Instant::now()));
    };
    let mut receiver = receiver(&all[0].own);
    push(0..59);
    let (_, first) = next(&recorder, &mut receiver).unwrap();
    (1..59).for_each(|number| assert_eq!(next(&recorder, &mut receiver).unwrap().0, number));
    assert!(!rig.events_within(SILENCE).iter().any(is_wanted), "it has not come near its end");
    push(59..60);
    assert_eq!(wanted(&rig, branch), (3, false));
    push(60..63);
    (59..63).for_each(|number| assert_eq!(next(&recorder, &mut receiver).unwrap().0, number));
    assert!(!rig.events_within(SILENCE).iter().any(is_wanted), "it is told once");
    push(63..74);
    assert_eq!(wanted(&rig, branch), (3, true));
    assert_eq!(next(&recorder, &mut receiver).unwrap().0, 63);
    assert!(receive(&recorder.rtp, SILENCE).is_none(), "nothing leaves behind its end");

    rig.open_secured(branch, &recorder, &all[1]);
    receiver.add_key(&all[1].own).unwrap();
    let mut number = 74;
    let deadline = Instant::now() + DEADLINE;
    let (came, sequence) = loop {
        assert!(Instant::now() < deadline, "nothing goes on");
        push(number..number + 1);
        number += 1;
        if let Some((mut bytes, _)) = receive(&recorder.rtp, Duration::from_millis(20)) {
            let sequence = u16::from_be_bytes([bytes[2], bytes[3]]);
            receiver.unprotect_rtp(&mut bytes).unwrap();
            break (u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) / 160, sequence);
        }
    };
    assert_eq!(sequence, first + came as u16, "numbers go on");
    let (_, report) = rig.close(branch);
    let dropped = report.drops.of(DropCause::NotProtected);
    assert_eq!((report.seen, report.sent + dropped), (u64::from(number), u64::from(number)));
    assert_eq!(dropped, u64::from(came - 64));
    assert!(report.holes.iter().any(|hole| hole.cause == DropCause::NotProtected), "{:?}", report.holes);
}

/// RFC 3711 §9.2: "whichever occurs before". The index goes on under the next key (RFC 3711 §3.4).
#[test]
fn rtcp_that_a_key_cannot_protect_any_more_is_counted_ends_the_key_and_goes_on_under_the_next() {
    let key_limits = KeyLimits { rtcp: 1, first_rtcp: 0x7FFF_FFFF, ..KeyLimits::default() };
    let rig = Rig::new(EngineConfig { key_limits, ..EngineConfig::default() });
    let (tap, branch) = bound(&rig);
    let recorder = Recorder::new();
    let suite = SrtpSuite::AeadAes256Gcm;
    let all = [1, 2].map(|mark| keys(suite, mark, 3));
    let index = |datagram: &[u8]| u32::from_be_bytes(*datagram.last_chunk().unwrap());
    rig.open_secured(branch, &recorder, &all[0]);
    // The first packet of a source brings a report at once.
    tap.push(&numbered(SSRC, 0), Instant::now());
    assert_eq!(wanted(&rig, branch), (3, true));
    let (mut report, _) = receive(&recorder.rtcp, DEADLINE).unwrap();
    assert_eq!(index(&report), 0xFFFF_FFFF);
    receiver(&all[0].own).unprotect_rtcp(&mut report).unwrap();
    next(&recorder, &mut receiver(&all[0].own)).unwrap();
    tap.push(&numbered(SSRC + 1, 1), Instant::now());
    assert!(receive(&recorder.rtp, SILENCE).is_none(), "the key has ended");

    rig.open_secured(branch, &recorder, &all[1]);
    rig.bind(branch, LOCAL, RtcpMode::Pair);
    tap.push(&numbered(SSRC, 2), Instant::now());
    let (_, account) = rig.close(branch);
    // Under the next key one packet of RTCP leaves, the BYE at the latest.
    let (mut report, _) = receive(&recorder.rtcp, DEADLINE).unwrap();
    assert!(index(&report) == 0x8000_0000 || index(&report) == 0xFFFF_FFFF, "{:x}", index(&report));
    receiver(&all[1].own).unprotect_rtcp(&mut report).unwrap();
    assert!(account.drops.of(DropCause::NotProtected) > 0, "{account:?}");
}

#[test]
fn the_account_has_the_rtcp_that_did_not_leave() {
    for (rtcp, unsent) in [(1, 1), (1 << 31, 0)] {
        let key_limits = KeyLimits { rtcp, ..KeyLimits::default() };
        let rig = Rig::new(EngineConfig { key_limits, ..EngineConfig::default() });
        let (tap, branch) = bound(&rig);
        let recorder = Recorder::new();
        rig.open_secured(branch, &recorder, &keys(SrtpSuite::AesCm128HmacSha1_80, 1, 1));
        tap.push(&numbered(SSRC, 0), Instant::now());
        receive(&recorder.rtcp, DEADLINE).unwrap();
        // The BYE.
        let (_, report) = rig.close(branch);
        assert_eq!(report.rtcp_unsent, unsent);
        assert_eq!(receive(&recorder.rtcp, SILENCE).is_some(), unsent == 0);
    }
}
