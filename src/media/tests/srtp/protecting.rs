//! The recording side.

use siprec_media::srtp::{Backend, KeyLimits, KeyRefused, ProtectFault, Protector, Unprotector, Wear};
use siprec_model::{DropCause, SrtpSuite};

use crate::common::{SSRC, ends, everything, key, protected, protected_rtcp, rtcp, rtp, unprotected};

const SUITE: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;

fn fault(protector: &mut Protector, ssrc: u32, index: u64) -> ProtectFault {
    let mut out = [b"before".as_slice(), &rtp(ssrc, index as u16)].concat();
    let fault = protector.protect_rtp(&mut out, 172, ssrc, index).unwrap_err();
    assert_eq!(out, b"before", "what is refused is taken off the buffer, and nothing else");
    fault
}

#[test]
fn what_was_protected_is_unprotected_on_every_backend_and_across_them() {
    for (suite, one, other) in everything() {
        for mki in [&[][..], &[9], &[1; 128]] {
            let key = match mki {
                [] => key(suite, 0),
                mki => key(suite, 0).with_mki(mki).unwrap(),
            };
            let (mut protector, mut unprotector) = ends(&key, one, other);
            for index in 1000..1010 {
                let packet = protected(&mut protector, SSRC, index);
                assert_eq!(packet.len(), 172 + suite.rtp_tag_length() + mki.len());
                assert_eq!(
                    unprotected(&mut unprotector, &packet),
                    Ok(index as u16),
                    "{suite} {one:?} {other:?}"
                );
                let mut packet = protected_rtcp(&mut protector, SSRC);
                assert_eq!(packet.len(), rtcp(SSRC).len() + 4 + suite.rtcp_tag_length() + mki.len());
                let length = unprotector.unprotect_rtcp(&mut packet).unwrap();
                assert_eq!(packet[..length], rtcp(SSRC));
            }
        }
    }
}

/// Else every test that goes over all backends would hold the first one to itself.
#[test]
fn a_build_with_libsrtp_tests_it() {
    let backends: Vec<_> = Backend::ALL.iter().map(|backend| format!("{backend:?}")).collect();
    let expected: &[&str] = if cfg!(feature = "libsrtp") { &["Rust", "Libsrtp"] } else { &["Rust"] };
    assert_eq!(backends, expected);
    assert_eq!(everything().count(), SrtpSuite::ALL.len() * expected.len() * expected.len());
}

#[test]
fn both_backends_give_the_same_bytes() {
    for suite in SrtpSuite::ALL {
        let key = key(suite, 3).with_mki(b"mki").unwrap();
        let bytes = |backend: &Backend| {
            let mut protector = Protector::with_backend(&key, *backend).unwrap();
            let rtp: Vec<_> = [65_534, 65_535, 65_536, 65_533, 65_537, 70_000]
                .map(|index| protected(&mut protector, SSRC, index))
                .concat();
            [rtp, protected_rtcp(&mut protector, SSRC), protected_rtcp(&mut protector, SSRC)].concat()
        };
        let all: Vec<_> = Backend::ALL.iter().map(bytes).collect();
        assert!(all.iter().all(|one| *one == all[0]), "{suite}");
    }
}

#[test]
fn an_index_is_used_once_and_too_old_ones_never() {
    let mut protector = Protector::new(&key(SUITE, 0)).unwrap();
    protected(&mut protector, SSRC, 1000);
    protected(&mut protector, SSRC, 998);
    for (index, expected) in
        [(1000, ProtectFault::Repeated), (998, ProtectFault::Repeated), (872, ProtectFault::TooOld)]
    {
        assert_eq!(fault(&mut protector, SSRC, index), expected);
        assert_eq!(DropCause::from(expected), DropCause::Stale);
    }
    protected(&mut protector, SSRC, 999);
    protected(&mut protector, SSRC, 873);
    protected(&mut protector, SSRC + 1, 1000);
}

#[test]
fn a_packet_that_is_not_what_it_is_said_to_be_is_refused() {
    let mut protector = Protector::new(&key(SUITE, 0)).unwrap();
    let refused = |protector: &mut Protector, packet: &[u8], length, ssrc, index| {
        let mut out = packet.to_vec();
        assert_eq!(protector.protect_rtp(&mut out, length, ssrc, index), Err(ProtectFault::Malformed));
        assert_eq!(out.len(), packet.len().saturating_sub(length));
    };
    refused(&mut protector, &rtp(SSRC, 5), 172, SSRC + 1, 5);
    refused(&mut protector, &rtp(SSRC, 5), 172, SSRC, 6);
    refused(&mut protector, &rtp(SSRC, 5), 173, SSRC, 5);
    refused(&mut protector, &rtp(SSRC, 5), 11, SSRC, 5);
    refused(&mut protector, &[], 0, SSRC, 5);
    let mut out = vec![0x80, 200, 0, 1, 1, 2, 3];
    assert_eq!(protector.protect_rtcp(&mut out, 7), Err(ProtectFault::Malformed));
    assert!(out.is_empty());
}

#[test]
fn eight_sources_are_in_use_at_once_and_an_evicted_one_never_again() {
    let mut protector = Protector::new(&key(SUITE, 0)).unwrap();
    for ssrc in 0..9 {
        protected(&mut protector, ssrc, 300);
        protected_rtcp(&mut protector, ssrc);
    }
    assert_eq!(fault(&mut protector, 0, 301), ProtectFault::TooManySources);
    let mut out = rtcp(0);
    assert_eq!(protector.protect_rtcp(&mut out, 44), Err(ProtectFault::TooManySources));
    protected(&mut protector, 1, 301);
    protector.rekey(&key(SUITE, 1)).unwrap();
    assert_eq!(fault(&mut protector, 0, 301), ProtectFault::TooManySources);
    protector.restart(&key(SUITE, 2)).unwrap();
    protected(&mut protector, 0, 301);
}

#[test]
fn no_index_goes_beyond_48_bits() {
    let mut protector = Protector::new(&key(SUITE, 0)).unwrap();
    protected(&mut protector, SSRC, 300);
    protected(&mut protector, SSRC, (1 << 48) - 1);
    assert_eq!(fault(&mut protector, SSRC, 1 << 48), ProtectFault::KeyExhausted);
    assert_eq!(DropCause::from(ProtectFault::KeyExhausted), DropCause::NotProtected);
}

/// The SRTCP index that a packet has.
fn index_of(suite: SrtpSuite, packet: &[u8]) -> u32 {
    let behind = match suite.master_length() {
        28 | 44 => 0,
        _ => suite.rtcp_tag_length(),
    };
    let word = u32::from_be_bytes(*packet[..packet.len() - behind].last_chunk().unwrap());
    assert_ne!(word & 0x8000_0000, 0, "it is encrypted");
    word & 0x7FFF_FFFF
}

/// RFC 3711 §3.3.1: the counter of another key goes round.
#[test]
fn another_key_goes_on_behind_48_bits_at_index_0() {
    for suite in SrtpSuite::ALL {
        let mut protector = Protector::new(&key(suite, 0)).unwrap();
        protected(&mut protector, SSRC, 300);
        assert_eq!(protector.wear(), Wear::Fresh);
        protected(&mut protector, SSRC, (1 << 48) - 2);
        assert_eq!(protector.wear(), Wear::Nearly, "{suite}");
        assert_eq!(fault(&mut protector, SSRC, 1 << 48), ProtectFault::KeyExhausted);
        assert_eq!(protector.wear(), Wear::UsedUp);
        protector.rekey(&key(suite, 0)).unwrap();
        assert_eq!(fault(&mut protector, SSRC, 1 << 48), ProtectFault::KeyExhausted);

        protector.rekey(&key(suite, 1)).unwrap();
        assert_eq!(protector.wear(), Wear::Fresh);
        assert_eq!(fault(&mut protector, SSRC, (1 << 48) - 2), ProtectFault::Repeated);
        let mut other = Protector::new(&key(suite, 1)).unwrap();
        for low in [0, 1, 65_536] {
            let expected = protected(&mut other, SSRC, low);
            assert_eq!(protected(&mut protector, SSRC, (1 << 48) + low), expected, "{suite}");
        }
        // The second round has an end as well: where the key began.
        protected(&mut protector, SSRC, (2 << 48) - 130);
        assert_eq!(fault(&mut protector, SSRC, 2 << 48), ProtectFault::KeyExhausted);
    }
}

/// RFC 3711 §3.4: not reset by another key, and modulo 2^31.
#[test]
fn an_srtcp_index_goes_round_and_a_key_ends_before_it_has_been_round() {
    for suite in SrtpSuite::ALL {
        let limits = KeyLimits { rtcp: 4, first_rtcp: 0x7FFF_FFFD, ..KeyLimits::default() };
        let mut protector = Protector::with_limits(&key(suite, 0), Backend::Rust, limits).unwrap();
        let mut indices = Vec::new();
        for seed in 1..4 {
            let mut receiver = Unprotector::new();
            receiver.add_key(&key(suite, seed - 1)).unwrap();
            for _ in 0..4 {
                let mut packet = protected_rtcp(&mut protector, SSRC);
                indices.push(index_of(suite, &packet));
                let length = receiver.unprotect_rtcp(&mut packet).unwrap();
                assert_eq!(packet[..length], rtcp(SSRC), "{suite}");
                // Another key: a receiver would take the round for a replay.
                receiver = Unprotector::new();
                receiver.add_key(&key(suite, seed - 1)).unwrap();
            }
            assert_eq!(protector.wear(), Wear::UsedUp);
            let mut out = rtcp(SSRC);
            let length = out.len();
            assert_eq!(protector.protect_rtcp(&mut out, length), Err(ProtectFault::KeyExhausted));
            assert!(out.is_empty());
            protector.rekey(&key(suite, seed)).unwrap();
        }
        let expected = [0x7FFF_FFFD, 0x7FFF_FFFE, 0x7FFF_FFFF].into_iter().chain(0..9);
        assert_eq!(indices, expected.collect::<Vec<_>>(), "{suite}");
    }
}

/// RFC 3711 §9.2: "whichever occurs before" ends the key.
#[test]
fn a_key_is_used_for_so_many_packets_of_either_kind_and_says_in_time_that_it_ends() {
    let limits = KeyLimits { rtp: 64, rtcp: 32, ..KeyLimits::default() };
    for (rtp_packets, rtcp_packets) in [(64, 0), (0, 32), (64, 20), (20, 32)] {
        let mut protector = Protector::with_limits(&key(SUITE, 0), Backend::Rust, limits).unwrap();
        for round in 1..3_u8 {
            let first = 1000 * u64::from(round);
            let (mut rtp_left, mut rtcp_left) = (rtp_packets, rtcp_packets);
            while rtp_left + rtcp_left > 0 {
                let nearly = rtp_packets - rtp_left >= 60 || rtcp_packets - rtcp_left >= 30;
                assert_eq!(protector.wear(), if nearly { Wear::Nearly } else { Wear::Fresh });
                // The kind that ends the key comes last.
                if rtcp_left > 0 && (rtcp_packets < 32 || rtp_left == 0) {
                    protected_rtcp(&mut protector, SSRC + rtcp_left % 2);
                    rtcp_left -= 1;
                } else {
                    protected(&mut protector, SSRC + rtp_left % 2, first + u64::from(rtp_left / 2));
                    rtp_left -= 1;
                }
            }
            assert_eq!(protector.wear(), Wear::UsedUp);
            assert_eq!(fault(&mut protector, SSRC, first + 500), ProtectFault::KeyExhausted);
            let mut out = rtcp(SSRC);
            assert_eq!(protector.protect_rtcp(&mut out, 44), Err(ProtectFault::KeyExhausted));
            match round {
                1 => protector.rekey(&key(SUITE, round)).unwrap(),
                _ => protector.restart(&key(SUITE, round)).unwrap(),
            }
            assert_eq!(protector.wear(), Wear::Fresh);
        }
    }
    let limits = KeyLimits { rtp: u64::MAX, rtcp: u64::MAX, ..KeyLimits::default() };
    let mut protector = Protector::with_limits(&key(SUITE, 0), Backend::Rust, limits).unwrap();
    protected(&mut protector, SSRC, 0);
    protected(&mut protector, SSRC, (1 << 48) - 1);
    assert_eq!(fault(&mut protector, SSRC, 1 << 48), ProtectFault::KeyExhausted);
}

#[test]
fn another_key_goes_on_at_the_same_indices_and_a_new_start_begins_at_0() {
    for (suite, one, other) in everything() {
        let keys = [0, 1, 2].map(|seed| key(suite, seed));
        let (mut protector, mut unprotector) = ends(&keys[0], one, other);
        let index = 3 * 65_536 + 7;
        for index in [5, 65_530, 65_540, 2 * 65_536, index - 40_000, index] {
            let packet = protected(&mut protector, SSRC, index);
            assert_eq!(unprotected(&mut unprotector, &packet), Ok(index as u16));
        }
        let report = protected_rtcp(&mut protector, SSRC);

        // The same address, another key: a recorder that has followed keeps its counter.
        protector.rekey(&keys[1]).unwrap();
        unprotector.add_key(&keys[1]).unwrap();
        assert_eq!(unprotected(&mut unprotector, &protected(&mut protector, SSRC, index + 1)), Ok(8));
        let next = protected_rtcp(&mut protector, SSRC);
        let word = |packet: &[u8], suite: SrtpSuite| match suite.master_length() {
            28 | 44 => u32::from_be_bytes(*packet.last_chunk().unwrap()),
            _ => u32::from_be_bytes(*packet[..packet.len() - 10].last_chunk().unwrap()),
        };
        assert_eq!((word(&report, suite), word(&next, suite)), (0x8000_0001, 0x8000_0002));
        assert_eq!(fault(&mut protector, SSRC, index + 1), ProtectFault::Repeated);

        // Another address: a recorder that knows nothing begins at 0.
        protector.restart(&keys[2]).unwrap();
        let (_, mut unprotector) = ends(&keys[2], one, other);
        assert_eq!(unprotected(&mut unprotector, &protected(&mut protector, SSRC, index + 2)), Ok(9));
        assert_eq!(fault(&mut protector, SSRC, 65_535), ProtectFault::TooOld);
        assert_eq!(word(&protected_rtcp(&mut protector, SSRC), suite), 0x8000_0001);
        assert_eq!(protector.restart(&keys[2]), Err(KeyRefused::InUse));
    }
}

#[test]
fn a_packet_protected_in_place_is_the_one_that_is_appended() {
    for (suite, one, other) in everything() {
        for mki in [&[][..], &[9], &[1; 128]] {
            let key = match mki {
                [] => key(suite, 0),
                mki => key(suite, 0).with_mki(mki).unwrap(),
            };
            let (mut appending, mut in_place) =
                (Protector::with_backend(&key, one).unwrap(), Protector::with_backend(&key, other).unwrap());
            assert_eq!(in_place.overhead(), suite.rtp_tag_length() + mki.len());
            for index in [1000, 1001, 1003, 1002] {
                let mut room = rtp(SSRC, index as u16);
                room.resize(172 + in_place.overhead() + 5, 0xEE);
                let length = in_place.protect_rtp_in_place(&mut room, 172, SSRC, index).unwrap();
                assert_eq!(
                    room[..length],
                    protected(&mut appending, SSRC, index),
                    "{suite} {one:?} {other:?}"
                );
                assert_eq!(room[length..], [0xEE; 5]);
            }
        }
    }
}

#[test]
fn without_room_for_what_is_added_no_packet_is_protected_and_no_index_used() {
    for suite in SrtpSuite::ALL {
        let mut protector = Protector::new(&key(suite, 0)).unwrap();
        let mut room = rtp(SSRC, 1000);
        for missing in 1..=suite.rtp_tag_length() {
            room.resize(172 + suite.rtp_tag_length() - missing, 0);
            let done = protector.protect_rtp_in_place(&mut room, 172, SSRC, 1000);
            assert_eq!(done, Err(ProtectFault::Malformed));
            assert_eq!(room[..172], rtp(SSRC, 1000));
        }
        assert_eq!(
            protector.protect_rtp_in_place(&mut [], usize::MAX, SSRC, 1000),
            Err(ProtectFault::Malformed)
        );
        room.resize(172 + suite.rtp_tag_length(), 0);
        assert!(protector.protect_rtp_in_place(&mut room, 172, SSRC, 1000).is_ok());
        room[..172].copy_from_slice(&rtp(SSRC, 1000));
        let again = protector.protect_rtp_in_place(&mut room, 172, SSRC, 1000);
        assert_eq!(again, Err(ProtectFault::Repeated));
    }
}
