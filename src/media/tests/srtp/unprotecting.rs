//! The call's side.

use siprec_media::srtp::{
    Authentication, Backend, Cipher, KeyRefused, Passed, Policy, Protector, UnprotectFault, Unprotector,
};
use siprec_model::{DropCause, SrtpKey, SrtpSuite};

use crate::common::{SSRC, ends, everything, key, protected, protected_rtcp, rtcp, unprotected};

const SUITE: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;

#[test]
fn a_replay_and_what_is_too_old_are_told_from_forgeries() {
    for (suite, one, other) in everything() {
        let (mut protector, mut unprotector) = ends(&key(suite, 0), one, other);
        let packets: Vec<_> = (1000..1200).map(|index| protected(&mut protector, SSRC, index)).collect();
        assert_eq!(unprotected(&mut unprotector, &packets[199]), Ok(1199));
        assert_eq!(unprotected(&mut unprotector, &packets[199]), Err(UnprotectFault::Replayed));
        assert_eq!(unprotected(&mut unprotector, &packets[72]), Ok(1072));
        assert_eq!(unprotected(&mut unprotector, &packets[71]), Err(UnprotectFault::TooOld));
        let mut forged = packets[198].clone();
        forged[20] ^= 1;
        assert_eq!(unprotected(&mut unprotector, &forged), Err(UnprotectFault::NotAuthentic));
        assert_eq!(unprotected(&mut unprotector, &packets[198]), Ok(1198));

        let report = protected_rtcp(&mut protector, SSRC);
        assert!(unprotector.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(unprotector.unprotect_rtcp(&mut report.clone()), Err(UnprotectFault::Replayed));
    }
}

#[test]
fn every_fault_has_its_drop_cause() {
    let table = [
        (UnprotectFault::Malformed, DropCause::Malformed),
        (UnprotectFault::NoKey, DropCause::NoKey),
        (UnprotectFault::UnknownMki, DropCause::NoKey),
        (UnprotectFault::NotAuthentic, DropCause::NotAuthentic),
        (UnprotectFault::Unencrypted, DropCause::NotAuthentic),
        (UnprotectFault::Replayed, DropCause::Replayed),
        (UnprotectFault::TooOld, DropCause::Replayed),
    ];
    for (fault, cause) in table {
        assert_eq!(DropCause::from(fault), cause);
    }
}

#[test]
fn without_a_key_nothing_is_decrypted_but_the_counter_is_followed() {
    for (suite, one, other) in everything() {
        let key = key(suite, 0);
        let mut protector = Protector::with_backend(&key, one).unwrap();
        let mut unprotector = Unprotector::with_backend(other);
        for index in (1000..200_000).step_by(1000) {
            let packet = protected(&mut protector, SSRC, index);
            assert_eq!(unprotected(&mut unprotector, &packet), Err(UnprotectFault::NoKey));
        }
        unprotector.add_key(&key).unwrap();
        let packet = protected(&mut protector, SSRC, 200_000);
        assert_eq!(unprotected(&mut unprotector, &packet), Ok(200_000u32 as u16));
    }
}

#[test]
fn joining_finds_the_counter_followed_or_given_and_one_either_way() {
    for (suite, one, other) in everything() {
        let key = key(suite, 0);
        let joins = |prepare: &dyn Fn(&mut Unprotector), index: u64| {
            let (mut protector, mut unprotector) = ends(&key, one, other);
            // The branch began at 0, long ago.
            protected(&mut protector, SSRC, 300);
            prepare(&mut unprotector);
            unprotected(&mut unprotector, &protected(&mut protector, SSRC, index)).is_ok()
        };
        let at = |roc: u64| (roc << 16) | 0x4321;
        assert!(joins(&|_| (), at(0)) && joins(&|_| (), at(1)) && !joins(&|_| (), at(2)));
        for roc in 4..=6 {
            assert!(joins(&|call| call.set_initial_roc(5), at(roc)), "{roc}");
            assert!(joins(&|call| call.set_roc(SSRC, 5), at(roc)), "{roc}");
        }
        for roc in [3, 7] {
            assert!(!joins(&|call| call.set_initial_roc(5), at(roc)), "{roc}");
            assert!(!joins(&|call| call.set_roc(SSRC, 5), at(roc)), "{roc}");
            assert!(!joins(&|call| call.set_roc(SSRC + 1, roc as u32), at(roc)), "{roc}");
        }
    }
}

/// A counter that was given for whatever sources there are is that of those that send already: after a transfer another one
/// begins.
#[test]
fn a_source_that_begins_beside_one_that_was_joined_late_is_found_at_0() {
    for (suite, one, other) in everything() {
        let (mut protector, mut unprotector) = ends(&key(suite, 0), one, other);
        unprotector.set_initial_roc(5);
        let [replay, joined, next] =
            [300, (5 << 16) | 0x4321, (5 << 16) | 0x4322].map(|index| protected(&mut protector, SSRC, index));
        assert_eq!(unprotected(&mut unprotector, &joined), Ok(0x4321));
        let mut another = Protector::with_backend(&key(suite, 0), one).unwrap();
        for index in [40_000, 65_535, 65_536] {
            let packet = protected(&mut another, SSRC + 1, index);
            assert_eq!(unprotected(&mut unprotector, &packet), Ok(index as u16), "{suite} {one:?} {other:?}");
        }
        assert_eq!(unprotected(&mut unprotector, &next), Ok(0x4322));
        assert!(unprotected(&mut unprotector, &replay).is_err(), "{suite}");

        // Nor can what the source once sent keep anybody from joining it where it is.
        let (_, mut unprotector) = ends(&key(suite, 0), one, other);
        unprotector.set_initial_roc(5);
        assert_eq!(unprotected(&mut unprotector, &replay), Ok(300));
        for packet in [&joined, &next] {
            assert!(unprotected(&mut unprotector, packet).is_ok(), "{suite} {one:?} {other:?}");
        }
        assert!(unprotected(&mut unprotector, &replay).is_err(), "{suite}");
    }
}

#[test]
fn the_counter_is_followed_without_cryptography_while_nothing_is_decrypted() {
    for (suite, one, other) in everything() {
        let (mut protector, mut unprotector) = ends(&key(suite, 0), one, other);
        let first = protected(&mut protector, SSRC, 1000);
        assert_eq!(unprotected(&mut unprotector, &first), Ok(1000));
        for index in (2000..300_000).step_by(2000) {
            unprotector.observe(&protected(&mut protector, SSRC, index));
        }
        let packet = protected(&mut protector, SSRC, 300_000);
        assert_eq!(unprotected(&mut unprotector, &packet), Ok(300_000u32 as u16));
        assert_eq!(unprotected(&mut unprotector, &first), Err(UnprotectFault::NotAuthentic));
    }
}

#[test]
fn what_passed_elsewhere_is_caught_up_with_whatever_the_counter_was() {
    for (suite, one, other) in everything() {
        for (before, gap) in [(1000, 300_000), ((7 << 16) + 65_000, 1000), (70_000, 0)] {
            let (mut protector, mut unprotector) = ends(&key(suite, 0), one, other);
            unprotector.set_initial_roc((before >> 16) as u32);
            // The branch began at 0, long ago.
            protected(&mut protector, SSRC, 300);
            let first = protected(&mut protector, SSRC, before);
            unprotected(&mut unprotector, &first).unwrap();
            // In two pieces: nobody knows the counter where it is followed.
            let (mut passed, mut later) = (Passed::default(), Passed::default());
            assert!(passed.is_empty());
            for index in (before + 1..before + gap).step_by(500) {
                let half = if index < before + gap / 2 { &mut passed } else { &mut later };
                half.note(&protected(&mut protector, SSRC, index));
            }
            let mut all = Passed::default();
            all.join(&passed);
            all.join(&later);
            unprotector.catch_up(&all);
            let next = before + gap + 1;
            let packet = protected(&mut protector, SSRC, next);
            assert_eq!(
                unprotected(&mut unprotector, &packet),
                Ok(next as u16),
                "{suite} {before} {one:?} {other:?}"
            );
            assert_eq!(unprotected(&mut unprotector, &packet), Err(UnprotectFault::Replayed));
        }
    }
}

/// Who takes a stream over, as the next recording of a call does, knows the counters that it has by now.
#[test]
fn another_unprotector_goes_on_from_where_one_was() {
    for (suite, one, other) in everything() {
        let (mut protector, mut first) = ends(&key(suite, 0), one, other);
        for index in (1000..300_000).step_by(5000) {
            assert!(unprotected(&mut first, &protected(&mut protector, SSRC, index)).is_ok());
        }
        let mut passed = Passed::default();
        // What was said before it of the same source is in it.
        passed.note(&protected(&mut protector, SSRC, 300_000));
        passed.join(&Passed::from(first.positions().collect()));
        assert!(!passed.is_empty());
        for index in (301_000..600_000).step_by(1000) {
            passed.note(&protected(&mut protector, SSRC, index));
        }
        let (_, mut second) = ends(&key(suite, 0), one, other);
        second.catch_up(&passed);
        let packet = protected(&mut protector, SSRC, 600_000);
        assert_eq!(unprotected(&mut second, &packet), Ok(600_000u32 as u16), "{suite} {one:?} {other:?}");
        // It knows better by now.
        second.catch_up(&Passed::from(first.positions().collect()));
        let packet = protected(&mut protector, SSRC, 600_001);
        assert_eq!(unprotected(&mut second, &packet), Ok(600_001u32 as u16));
        assert_eq!(second.positions().collect::<Vec<_>>(), [(SSRC, 600_001)]);
    }
}

/// Numbers that go on behind a jump: one after the other, seven of eight lost, or two by two in the wrong order, too.
const GOING_ON: [fn(u64) -> u64; 3] = [|number| number, |number| 8 * number, |number| 8 * (number ^ 1)];

/// RFC 3550 A.1 has a jump of 3000 and more believed when the next packet goes on from there: on a way that loses or
/// reorders packets that is not the next number.
#[test]
fn jumps_while_nothing_is_decrypted_are_followed_also_where_packets_are_lost_and_change_places() {
    for (jump, pattern) in [3001, 32_000].into_iter().flat_map(|jump| GOING_ON.map(|pattern| (jump, pattern)))
    {
        let (mut protector, mut seen) = ends(&key(SUITE, 0), Backend::default(), Backend::default());
        let (_, mut told) = ends(&key(SUITE, 0), Backend::default(), Backend::default());
        let mut last = 65_000;
        let first = protected(&mut protector, SSRC, last);
        assert!(unprotected(&mut seen, &first).is_ok() && unprotected(&mut told, &first).is_ok());
        let mut passed = Passed::default();
        // More than a round behind each jump, or a few packets.
        for packets in [10_000, 10_000, 10_000, 4] {
            let behind = last + jump;
            for number in 0..packets {
                last = behind + pattern(number);
                let [high, low] = (last as u16).to_be_bytes();
                let header = [&[0x80, 0, high, low, 0, 0, 0, 0][..], &SSRC.to_be_bytes()].concat();
                seen.observe(&header);
                passed.note(&header);
            }
        }
        told.catch_up(&passed);
        let packet = protected(&mut protector, SSRC, last + 9);
        for unprotector in [&mut seen, &mut told] {
            assert_eq!(unprotected(unprotector, &packet), Ok((last + 9) as u16), "{jump} ahead of 65000");
        }
    }
}

#[test]
fn an_old_and_a_new_key_are_valid_together() {
    for (suite, one, other) in everything() {
        let (old, new) = (key(suite, 0), key(suite, 1));
        let (mut before, mut unprotector) = ends(&old, one, other);
        let mut after = Protector::with_backend(&new, one).unwrap();
        unprotector.add_key(&new).unwrap();
        let mut take = |protector: &mut Protector, index: u64| {
            unprotected(&mut unprotector, &protected(protector, SSRC, index))
        };
        for index in [1000, 1001, 1003] {
            assert_eq!(take(&mut before, index), Ok(index as u16));
        }
        assert_eq!(take(&mut after, 1004), Ok(1004));
        assert_eq!(take(&mut before, 1002), Ok(1002), "{suite}");
        assert_eq!(take(&mut after, 1005), Ok(1005));
        unprotector.forget_older_keys();
        let late = protected(&mut before, SSRC, 999);
        assert_eq!(unprotected(&mut unprotector, &late), Err(UnprotectFault::NotAuthentic));
    }
}

#[test]
fn of_too_many_keys_the_one_goes_that_has_been_of_no_use_for_longest() {
    for (suite, one, other) in everything() {
        let (mut protector, mut unprotector) = ends(&key(suite, 0), one, other);
        // Keys change, of other sources, and the first key is in use all the while.
        for number in 1..60 {
            unprotector.add_key(&key(suite, number)).unwrap();
            let index = 1000 + u64::from(number);
            let packet = protected(&mut protector, SSRC, index);
            assert_eq!(unprotected(&mut unprotector, &packet), Ok(index as u16), "{suite} {number}");
        }
        let mut takes = |number: u8, ssrc: u32| {
            let mut protector = Protector::with_backend(&key(suite, number), one).unwrap();
            unprotected(&mut unprotector, &protected(&mut protector, ssrc, 1000))
        };
        // The 15 newest are there beside it.
        assert_eq!(takes(44, SSRC + 1), Err(UnprotectFault::NotAuthentic), "{suite}");
        for number in 45..60 {
            assert_eq!(takes(number, SSRC + u32::from(number)), Ok(1000), "{suite} {number}");
        }
        // All have been used. Two new ones do not push each other out before their first packets.
        unprotector.add_key(&key(suite, 60)).unwrap();
        unprotector.add_key(&key(suite, 61)).unwrap();
        for number in [60, 61] {
            let mut fresh = Protector::with_backend(&key(suite, number), one).unwrap();
            let packet = protected(&mut fresh, SSRC + u32::from(number), 1000);
            assert_eq!(unprotected(&mut unprotector, &packet), Ok(1000), "{suite} {number}");
        }
    }
}

#[test]
fn a_source_that_begins_again_with_a_new_key_is_followed_and_its_past_cannot_be_replayed() {
    for (suite, one, other) in everything() {
        let (old, new) = (key(suite, 0), key(suite, 1));
        let (mut before, mut unprotector) = ends(&old, one, other);
        let replay: Vec<_> = [5000, 70_000, 140_000].map(|index| protected(&mut before, SSRC, index)).into();
        for packet in &replay {
            unprotected(&mut unprotector, packet).unwrap();
        }
        unprotector.add_key(&new).unwrap();
        let mut after = Protector::with_backend(&new, one).unwrap();
        assert_eq!(unprotected(&mut unprotector, &protected(&mut after, SSRC, 4998)), Ok(4998));
        for packet in &replay {
            assert!(unprotected(&mut unprotector, packet).is_err(), "{suite}");
        }
        assert_eq!(unprotected(&mut unprotector, &protected(&mut after, SSRC, 5000)), Ok(5000));
    }
}

#[test]
fn identifiers_choose_the_key_and_unknown_ones_are_told() {
    for (suite, one, other) in everything() {
        let keys: Vec<_> = [1, 2].map(|seed| key(suite, seed).with_mki(&[0, seed]).unwrap()).into();
        let mut unprotector = Unprotector::with_backend(other);
        for key in &keys {
            unprotector.add_key(key).unwrap();
        }
        for (place, key) in keys.iter().enumerate() {
            let mut protector = Protector::with_backend(key, one).unwrap();
            let packet = protected(&mut protector, SSRC + place as u32, 1000);
            assert_eq!(unprotected(&mut unprotector, &packet), Ok(1000));
            assert!(unprotector.unprotect_rtcp(&mut protected_rtcp(&mut protector, SSRC)).is_ok());
        }
        let wrong = key(suite, 1).with_mki(&[0, 3]).unwrap();
        let packet = protected(&mut Protector::with_backend(&wrong, one).unwrap(), SSRC, 1001);
        assert_eq!(unprotected(&mut unprotector, &packet), Err(UnprotectFault::UnknownMki));
        let missing = key(suite, 1);
        let packet = protected(&mut Protector::with_backend(&missing, one).unwrap(), SSRC, 1002);
        assert_eq!(unprotected(&mut unprotector, &packet), Err(UnprotectFault::UnknownMki));
        let mut report = protected_rtcp(&mut Protector::with_backend(&wrong, one).unwrap(), SSRC);
        assert_eq!(unprotector.unprotect_rtcp(&mut report), Err(UnprotectFault::UnknownMki));
    }
}

#[test]
fn forged_sources_cost_no_memory_and_authentic_ones_are_64() {
    let (mut protector, mut unprotector) = ends(&key(SUITE, 0), Default::default(), Default::default());
    let mut forged = protected(&mut protector, SSRC, 1000);
    for ssrc in 0..5000u32 {
        forged[8..12].copy_from_slice(&ssrc.to_be_bytes());
        assert_eq!(unprotected(&mut unprotector, &forged), Err(UnprotectFault::NotAuthentic));
    }
    assert_eq!(unprotector.sources(), 0);
    for ssrc in 0..200 {
        let mut protector = Protector::new(&key(SUITE, 0)).unwrap();
        assert_eq!(unprotected(&mut unprotector, &protected(&mut protector, ssrc, 1000)), Ok(1000));
    }
    assert_eq!(unprotector.sources(), 64);
}

#[test]
fn nothing_of_another_length_or_with_another_bit_is_authentic() {
    for (suite, one, other) in everything() {
        let key = key(suite, 0).with_mki(&[5, 6]).unwrap();
        let (mut protector, mut unprotector) = ends(&key, one, other);
        let (packet, report) = (protected(&mut protector, SSRC, 1000), protected_rtcp(&mut protector, SSRC));
        for length in 0..packet.len() {
            assert!(unprotected(&mut unprotector, &packet[..length]).is_err(), "{suite} {length}");
        }
        for length in 0..report.len() {
            assert!(unprotector.unprotect_rtcp(&mut report[..length].to_vec()).is_err(), "{suite} {length}");
        }
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unprotected(&mut unprotector, &changed).is_err(), "{suite} {bit}");
        }
        for bit in 0..report.len() * 8 {
            let mut changed = report.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unprotector.unprotect_rtcp(&mut changed).is_err(), "{suite} {bit}");
        }
        assert_eq!(unprotected(&mut unprotector, &packet), Ok(1000));
        assert_eq!(unprotector.unprotect_rtcp(&mut report.clone()), Ok(rtcp(SSRC).len()));
    }
}

#[test]
fn a_null_cipher_is_taken_when_it_was_asked_for_and_never_else() {
    let null = (Cipher::Null, Authentication::HmacSha1_80);
    let aes = (Cipher::AesCm128, Authentication::HmacSha1_80);
    let clear = Policy::new(null, aes).unwrap();
    let key = key(SUITE, 0);
    let mut unprotector = Unprotector::new();
    assert_eq!(unprotector.add_key_with(&key_of(SrtpSuite::AeadAes128Gcm), clear), Err(KeyRefused::Policy));
    unprotector.add_key_with(&key, clear).unwrap();
    // What a policy with encryption makes is authentic under one without, and stays as it is.
    let packet = protected(&mut Protector::new(&key).unwrap(), SSRC, 1000);
    let mut taken = packet.clone();
    let length = unprotector.unprotect_rtp(&mut taken).unwrap();
    assert_eq!(taken[..length], packet[..length]);

    let mut strict = Unprotector::new();
    strict.add_key(&key).unwrap();
    let mut report = protected_rtcp(&mut Protector::new(&key).unwrap(), SSRC);
    let word = report.len() - 14;
    report[word] &= 0x7F;
    assert_eq!(strict.unprotect_rtcp(&mut report), Err(UnprotectFault::Unencrypted));
}

fn key_of(suite: SrtpSuite) -> SrtpKey {
    key(suite, 0)
}
