//! What an encrypted call's network may send to `siprectee`: it is dropped on the branches, counted by cause, told once a
//! burst, and goes on to the call as it came.
#![cfg(test)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::srtp::{Decoder, Encoder, SUITES, Suite};
use common::tee::{Tee, secure};
use common::{rtp_bytes, siprectee};
use gst::prelude::*;

const AES: Suite = SUITES[0];
const GCM: Suite = SUITES[3];

fn recorded(suite: Suite) -> (Tee, Encoder) {
    let key = suite.key(1);
    let tee = Tee::new(&suite.caps(&key, None), |pad| secure(pad, GCM, &GCM.key(2)));
    (tee, Encoder::new(suite, &key, None))
}

fn sent(tee: &Tee) -> usize {
    tee.branch.take().bytes.len()
}

#[test]
fn a_replay_is_recorded_once() {
    for suite in SUITES {
        let (tee, encoder) = recorded(suite);
        let packets: Vec<_> = (0..200).map(|number| encoder.protect(rtp_bytes(number))).collect();
        for packet in packets.iter().chain(&packets) {
            tee.push(packet);
        }
        assert_eq!((sent(&tee), tee.dropped("replayed")), (200, 200), "{suite:?}");
        assert_eq!(tee.way.outlet.take().buffers.len(), 400);
        assert_eq!(tee.warnings(), Vec::<String>::new(), "nothing is missing in the recording");
    }
}

#[test]
fn a_wrong_key_is_told_once() {
    for suite in SUITES {
        let (tee, _) = recorded(suite);
        let other = Encoder::new(suite, &suite.key(3), None);
        (0..100).for_each(|number| tee.push(&other.protect(rtp_bytes(number))));
        assert_eq!((sent(&tee), tee.dropped("not-authentic")), (0, 100), "{suite:?}");
        let warnings = tee.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("not-authentic"), "{warnings:?}");
        assert_eq!(tee.way.outlet.take().buffers.len(), 100);
    }
}

#[test]
fn packets_cut_off_anywhere_reach_no_branch() {
    for suite in SUITES {
        let (tee, encoder) = recorded(suite);
        let whole = encoder.protect(rtp_bytes(0));
        for length in 0..whole.len() {
            tee.push(&whole[..length]);
        }
        let dropped: u64 =
            ["not-rtp", "malformed", "not-authentic"].iter().map(|cause| tee.dropped(cause)).sum();
        assert_eq!((sent(&tee), dropped), (0, whole.len() as u64), "{suite:?}");
        assert!(tee.dropped("malformed") >= 12, "{suite:?}");
        assert_eq!(tee.way.outlet.take().buffers.len(), whole.len());
        tee.push(&whole);
        assert_eq!(sent(&tee), 1, "{suite:?}: the whole one has not been seen");
    }
}

#[test]
fn packets_changed_anywhere_reach_no_branch() {
    for suite in SUITES {
        let (tee, encoder) = recorded(suite);
        let whole = encoder.protect(rtp_bytes(7));
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x10;
            tee.push(&changed);
        }
        assert_eq!(sent(&tee), 0, "{suite:?}");
        tee.push(&whole);
        assert_eq!(sent(&tee), 1, "{suite:?}");
    }
}

#[test]
fn a_flood_of_forged_sources_asks_a_bounded_number_of_times_and_the_real_one_is_recorded_on() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (element, counted) = (siprectee(), asked.clone());
    let key = AES.key(1);
    let answer = AES.caps(&key, None);
    element.connect("request-key", false, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Some(answer.to_value())
    });
    let caps = "application/x-srtp,media=audio".parse().unwrap();
    let own = GCM.key(2);
    let tee = Tee::of(element, &caps, |pad| secure(pad, GCM, &own));
    let encoder = Encoder::new(AES, &key, None);
    let decoder = Decoder::new(&GCM.caps(&own, None));
    let mut forged = encoder.protect(rtp_bytes(0));
    let began = Instant::now();
    tee.push(&forged);
    let mut recorded = sent(&tee);
    for round in 0..10_000_u32 {
        forged[2..4].copy_from_slice(&(round as u16).to_be_bytes());
        forged[8..12].copy_from_slice(&(round % 5000).to_be_bytes());
        tee.push(&forged);
        if round % 100 == 0 {
            tee.push(&encoder.protect(rtp_bytes(1 + (round / 100) as u16)));
            for packet in tee.branch.take().bytes {
                assert!(decoder.unprotect(&packet).is_some());
                recorded += 1;
            }
        }
    }
    assert_eq!((recorded, tee.dropped("not-authentic")), (101, 10_000));
    // 64 at once, then one a second.
    let most = 64 + usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let asked = asked.load(Ordering::SeqCst);
    assert!((64..=most).contains(&asked), "{asked}");
    assert_eq!(tee.warnings().len(), 1, "one burst");
    assert_eq!(tee.way.outlet.take().buffers.len(), 10_101);
}

#[test]
fn forgeries_of_the_real_source_do_not_disturb_it() {
    for suite in SUITES {
        let (tee, encoder) = recorded(suite);
        for number in 0..300 {
            let real = encoder.protect(rtp_bytes(number));
            for ahead in [1, 1000, 40_000] {
                let mut forged = real.clone();
                forged[2..4].copy_from_slice(&number.wrapping_add(ahead).to_be_bytes());
                tee.push(&forged);
            }
            tee.push(&real);
        }
        assert_eq!((sent(&tee), tee.dropped("not-authentic")), (300, 900), "{suite:?}");
    }
}

#[test]
fn what_shares_the_port_is_no_fault() {
    let (tee, encoder) = recorded(AES);
    for other in
        [&[0x80, 200, 0, 1, 0, 0, 0, 1][..], &[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], &[22, 254, 253, 0]]
    {
        tee.push(other);
    }
    tee.push(&encoder.protect(rtp_bytes(0)));
    assert_eq!((sent(&tee), tee.dropped("not-rtp")), (1, 3));
    assert_eq!(tee.warnings(), Vec::<String>::new());
}

#[test]
fn a_source_that_begins_again_under_the_same_key_is_a_replay() {
    // The sender restarted and uses its key again: two-time pad on its side, and no second one on ours.
    let (tee, encoder) = recorded(AES);
    (0..10).for_each(|number| tee.push(&encoder.protect(rtp_bytes(number))));
    let again = Encoder::new(AES, &AES.key(1), None);
    for number in 0..10 {
        let mut other = rtp_bytes(number);
        other[12..].fill(0xAA);
        tee.push(&again.protect(other));
    }
    assert_eq!((sent(&tee), tee.dropped("replayed")), (10, 10));
}

#[test]
fn a_second_source_on_a_port_is_recorded_beside_the_first() {
    let (tee, _) = recorded(AES);
    let encoders = [0, 1].map(|_| Encoder::new(AES, &AES.key(1), None));
    for number in 0..50 {
        for (source, encoder) in encoders.iter().enumerate() {
            let mut packet = rtp_bytes(number);
            packet[8] = source as u8;
            tee.push(&encoder.protect(packet));
        }
    }
    assert_eq!(sent(&tee), 100);
    let pushed = tee.way.outlet.take();
    assert!(pushed.buffers.iter().all(|(_, is_writable)| *is_writable) && pushed.buffers.len() == 100);
}
