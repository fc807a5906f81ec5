//! What holds whatever comes.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use siprec_media::srtp::{Backend, Protector};
use siprec_model::SrtpSuite;

use crate::common::{SSRC, ends, key, protected, rtp, unprotected};

fn suite() -> impl Strategy<Value = SrtpSuite> {
    prop::sample::select(SrtpSuite::ALL.to_vec())
}

fn backend() -> impl Strategy<Value = Backend> {
    prop::sample::select(Backend::ALL.to_vec())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A packet of a source, so far from its last index.
    Rtp { source: u32, by: i64 },
    /// A report of a source.
    Rtcp { source: u32 },
    /// A key that was never there.
    Rekey,
    /// The same, at another address.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![
        5 => -3i64..4,
        2 => -200i64..200,
        1 => -70_000i64..70_000,
        1 => Just(0),
        1 => Just(1 << 47),
        1 => Just(-(1 << 47)),
    ];
    prop_oneof![
        20 => (0u32..12, by).prop_map(|(source, by)| Step::Rtp { source, by }),
        5 => (0u32..12).prop_map(|source| Step::Rtcp { source }),
        1 => Just(Step::Rekey),
        1 => Just(Step::Restart),
    ]
}

/// A header of 12 bytes and 32 zeros: what is made of these is the keystream itself.
fn zeros(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence);
    packet.truncate(12);
    packet.resize(44, 0);
    packet
}

proptest! {
    #![proptest_config(config(600))]

    /// No bookkeeping of ours is asked: a keystream that comes twice is a two-time pad.
    #[test]
    fn no_keystream_leaves_twice_under_hostile_input(
        suite in suite(),
        backend in backend(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut keys = 0;
        let mut protector = Protector::with_backend(&key(suite, keys), backend).unwrap();
        let mut indices = [300i64; 12];
        let mut keystreams = HashSet::new();
        let mut taken = 0;
        for step in steps {
            match step {
                Step::Rtp { source, by } => {
                    let place = &mut indices[source as usize];
                    let index = u64::try_from(*place + by).unwrap_or(0);
                    let mut out = zeros(source, index as u16);
                    if protector.protect_rtp(&mut out, 44, source, index).is_ok() {
                        taken += 1;
                        *place = index as i64;
                        prop_assert!(keystreams.insert(out[12..44].to_vec()), "twice");
                    } else {
                        prop_assert!(out.is_empty());
                    }
                }
                Step::Rtcp { source } => {
                    let mut out = [&[0x80, 200, 0, 9], source.to_be_bytes().as_slice(), &[0; 32]].concat();
                    if protector.protect_rtcp(&mut out, 40).is_ok() {
                        taken += 1;
                        prop_assert!(keystreams.insert(out[8..40].to_vec()), "twice");
                    } else {
                        prop_assert!(out.is_empty());
                    }
                }
                Step::Rekey => {
                    keys += 1;
                    protector.rekey(&key(suite, keys)).unwrap();
                }
                Step::Restart => {
                    keys += 1;
                    protector.restart(&key(suite, keys)).unwrap();
                }
            }
            prop_assume!(keys < 250);
        }
        prop_assert_eq!(keystreams.len(), taken);
    }

    #[test]
    fn every_sound_packet_comes_out_as_it_went_in(
        suite in suite(),
        one in backend(),
        other in backend(),
        mki in prop::collection::vec(any::<u8>(), 0..6),
        packets in prop::collection::vec(
            (any::<[u8; 12]>(), 0usize..16, prop::option::of(0usize..20), prop::collection::vec(any::<u8>(), 0..1500)),
            1..8,
        ),
    ) {
        let key = if mki.is_empty() { key(suite, 1) } else { key(suite, 1).with_mki(&mki).unwrap() };
        let (mut protector, mut unprotector) = ends(&key, one, other);
        for (number, (mut header, csrcs, extension, payload)) in packets.into_iter().enumerate() {
            let index = 500 + number as u64;
            // Padding is set as it comes: nobody looks at it before it is decrypted.
            header[0] = 0x80 | (header[0] & 0x20) | (u8::from(extension.is_some()) << 4) | csrcs as u8;
            header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            header[8..12].copy_from_slice(&SSRC.to_be_bytes());
            let mut packet = [&header[..], &vec![3; csrcs * 4]].concat();
            if let Some(words) = extension {
                packet.extend_from_slice(&[0xBE, 0xDE, 0, words as u8]);
                packet.resize(packet.len() + words * 4, 9);
            }
            packet.extend_from_slice(&payload);

            let mut out = [b"before".as_slice(), &packet].concat();
            let length = protector.protect_rtp(&mut out, packet.len(), SSRC, index).unwrap();
            prop_assert_eq!(&out[..6], b"before");
            let mut taken = out[6..].to_vec();
            prop_assert_eq!(taken.len(), length);
            if payload.len() > 15 {
                prop_assert_ne!(&taken[packet.len() - payload.len()..packet.len()], &payload[..]);
            }
            let length = unprotector.unprotect_rtp(&mut taken).unwrap();
            prop_assert_eq!(&taken[..length], &packet[..]);
        }
    }

    /// Wraps, losses of half a round, and packets that overtake each other, also over a wrap.
    #[test]
    fn the_counter_is_right_over_wraps_gaps_and_reordering(
        suite in suite(),
        one in backend(),
        other in backend(),
        first in 256u64..0x8000,
        steps in prop::collection::vec(
            prop_oneof![6 => 1u64..3, 2 => 1u64..100, 2 => 20_000u64..32_000],
            1..120,
        ),
        swaps in prop::collection::vec((0usize..120, 1usize..4), 0..60),
    ) {
        let mut index = first;
        let mut indices = vec![first];
        for step in steps {
            index += step;
            indices.push(index);
        }
        // Only what stays within a window of the highest may overtake.
        for (place, by) in swaps {
            if let (Some(early), Some(late)) = (indices.get(place), indices.get(place + by))
                && early.abs_diff(*late) < 30
            {
                indices.swap(place, place + by);
            }
        }
        let (mut protector, mut unprotector) = ends(&key(suite, 2), one, other);
        let mut highest = 0;
        let mut is_first = true;
        for index in indices {
            // What is older than the first packet of all in another round has no index.
            if std::mem::take(&mut is_first) && index < first + 200 {
                highest = index;
            }
            if highest.max(index) - index >= 128 {
                continue;
            }
            let packet = protected(&mut protector, SSRC, index);
            prop_assert_eq!(unprotected(&mut unprotector, &packet), Ok(index as u16));
            highest = highest.max(index);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_are_taken(
        suite in suite(),
        backend in backend(),
        mut bytes in prop::collection::vec(any::<u8>(), 0..80),
        first in prop::option::of(0x80u8..0xC0),
    ) {
        if let (Some(byte), Some(first)) = (bytes.first_mut(), first) {
            *byte = first;
        }
        for key in [key(suite, 0), key(suite, 0).with_mki(&[1, 2, 3]).unwrap()] {
            let (_, mut unprotector) = ends(&key, backend, backend);
            unprotector.observe(&bytes);
            prop_assert!(unprotector.unprotect_rtp(&mut bytes.clone()).is_err());
            prop_assert!(unprotector.unprotect_rtcp(&mut bytes.clone()).is_err());
            prop_assert_eq!(unprotector.sources(), 0);
            let mut protector = Protector::with_backend(&key, backend).unwrap();
            for length in [0, bytes.len(), bytes.len() + 1, usize::MAX] {
                let mut out = bytes.clone();
                let before = out.len();
                match protector.protect_rtp(&mut out, length, 1, 2) {
                    Ok(length) => prop_assert_eq!(out.len(), length),
                    Err(_) => prop_assert_eq!(out.len(), before.saturating_sub(length)),
                }
                let _ = protector.protect_rtcp(&mut bytes.clone(), length);
            }
        }
    }
}
