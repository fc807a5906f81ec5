//! Handshakes between two associations, over a network that loses, repeats, reorders and forges, on a virtual clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod forged;
mod openssl;
mod pair;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pair::{Pair, all_arrives, check, identities, terms};
use proptest::prelude::*;
use siprec_media::dtls::{
    Association, AssociationEvent, AssociationFault, Identity, LARGEST_DATAGRAM, is_dtls,
};
use siprec_model::{CertificateHash, DtlsRole, Fingerprint, SrtpSuite};

#[test]
fn both_sides_end_with_each_others_keys() {
    let mut pair = Pair::new();
    pair.run(|_, datagram| {
        assert!(is_dtls(&datagram) && datagram.len() <= 1150);
        vec![datagram]
    });
    check(pair.keys());
    assert_eq!(pair.keys()[0].own.suite(), SrtpSuite::AeadAes256Gcm);
    let again = {
        let mut pair = Pair::new();
        pair.run(all_arrives);
        pair.keys()[0].clone()
    };
    assert_ne!(again.own, pair.keys()[0].own, "each handshake has keys of its own");
}

#[test]
fn another_certificate_than_named_ends_it_on_whichever_side_that_is() {
    let [own, other] = identities();
    let stranger = Identity::generate().unwrap();
    let cases = [(DtlsRole::Client, other), (DtlsRole::Server, own)];
    for (role, genuine) in cases {
        let (mut client, mut server) = (terms(DtlsRole::Client, other), terms(DtlsRole::Server, own));
        let (wrong, index) = if role == DtlsRole::Client { (&mut client, 0) } else { (&mut server, 1) };
        wrong.fingerprints = vec![stranger.fingerprint().clone()];
        let mut pair = Pair::of(client, server);
        pair.run(all_arrives);
        let Some(AssociationEvent::Failed(fault)) = &pair.ended[index] else { panic!("{:?}", pair.ended) };
        assert_eq!(*fault, AssociationFault::Fingerprint(genuine.fingerprint().clone()));
        assert!(fault.to_string().contains(&genuine.fingerprint().to_string()));
    }
}

#[test]
fn a_certificate_may_be_one_of_several_and_named_by_any_hash() {
    let [own, other] = identities();
    let digest = ring_sha512(other.certificate());
    let mut client = terms(DtlsRole::Client, other);
    client.fingerprints = vec![
        Fingerprint::new(CertificateHash::Sha512, &[0; 64]).unwrap(),
        Fingerprint::new(CertificateHash::Sha512, &digest).unwrap(),
    ];
    let mut pair = Pair::of(client, terms(DtlsRole::Server, own));
    pair.run(all_arrives);
    check(pair.keys());
}

fn ring_sha512(bytes: &[u8]) -> Vec<u8> {
    ring::digest::digest(&ring::digest::SHA512, bytes).as_ref().to_vec()
}

#[test]
fn what_is_weaker_than_asked_for_is_no_security() {
    let [own, other] = identities();
    let mut server = terms(DtlsRole::Server, own);
    server.suites = vec![SrtpSuite::AesCm256HmacSha1_80];
    let mut pair = Pair::of(terms(DtlsRole::Client, other), server);
    pair.run(all_arrives);
    assert_eq!(
        pair.ended[1],
        Some(AssociationEvent::Failed(AssociationFault::Suite(SrtpSuite::AeadAes256Gcm)))
    );
}

#[test]
fn a_recorder_that_says_nothing_is_given_up_after_ten_seconds() {
    let mut pair = Pair::new();
    let start = pair.now;
    let mut sent = 0;
    pair.run(|_, _| {
        sent += 1;
        Vec::new()
    });
    for fault in pair.faults() {
        assert_eq!(*fault, AssociationFault::Timeout(Duration::from_secs(10)));
    }
    assert_eq!(pair.now - start, Duration::from_secs(10));
    assert!((4..20).contains(&sent), "{sent} datagrams to somebody who does not answer");
    assert_eq!((pair.client.next_timeout(), pair.server.next_timeout()), (None, None));
}

#[test]
fn each_datagram_alone_may_be_lost() {
    for lost in 0..12 {
        let mut pair = Pair::new();
        let mut number = 0;
        pair.run(|_, datagram| {
            number += 1;
            if number == lost + 1 { Vec::new() } else { vec![datagram] }
        });
        check(pair.keys());
    }
}

/// RFC 6347 §4.2.4: who has sent the last flight answers for it as long as the other may ask.
#[test]
fn the_last_flight_is_repeated_on_demand_and_then_all_is_forgotten() {
    let mut pair = Pair::new();
    let mut losing = true;
    let start = pair.now;
    let mut lost = 0;
    let limit = start + Duration::from_secs(9);
    // The server has its keys; what it says of that is lost three times.
    while pair.ended[0].is_none() {
        let secured = pair.ended[1].is_some();
        if !pair.carry(|by_client, datagram| {
            if !by_client && secured && losing {
                lost += 1;
                losing = lost < 3;
                Vec::new()
            } else {
                vec![datagram]
            }
        }) {
            assert!(pair.wait(limit), "{:?}", pair.ended);
        }
    }
    check(pair.keys());
    assert!(pair.wait(start + Duration::from_secs(100)));
    while pair.wait(start + Duration::from_secs(100)) {}
    assert_eq!((pair.client.next_timeout(), pair.server.next_timeout()), (None, None));
    assert!(pair.client.poll_transmit().is_none());
}

/// Whoever can send in the recorder's name can hinder it, but not by a datagram or two.
#[test]
fn a_stranger_before_the_recorder_does_not_end_the_handshake() {
    let [own, other] = identities();
    let stranger = Arc::new(Identity::generate().unwrap());
    let now = Instant::now();
    let mut intruder = Association::new(stranger, terms(DtlsRole::Client, other), now);
    let hello = intruder.poll_transmit().unwrap();
    let mut pair = Pair::of(terms(DtlsRole::Client, other), terms(DtlsRole::Server, own));
    for forged in [&hello[..], &ALERT, &hello, &[22; 40], &[20], &[63; 2000]] {
        pair.server.handle_datagram(forged, pair.now);
        while pair.server.poll_transmit().is_some() {}
    }
    pair.client.handle_datagram(&[22; 40], pair.now);
    pair.run(all_arrives);
    check(pair.keys());
}

/// A fatal alert that nobody has authenticated.
const ALERT: [u8; 15] = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];

#[test]
fn alerts_that_nobody_has_authenticated_do_not_even_slow_a_handshake_that_goes_on() {
    for forged in [1, 50] {
        let mut pair = Pair::new();
        let start = pair.now;
        pair.run(|to_server, datagram| {
            let alerts = std::iter::repeat_n(ALERT.to_vec(), if to_server { 0 } else { forged });
            alerts.chain([datagram]).collect()
        });
        check(pair.keys());
        // Whoever begins again pauses before that.
        assert_eq!(pair.now, start, "{forged}");
    }
}

#[test]
fn a_recorder_that_says_nothing_but_alerts_is_given_up_with_the_alert_after_seven_tries() {
    let [own, other] = identities();
    let start = Instant::now();
    let mut client = Association::new(Arc::clone(own), terms(DtlsRole::Client, other), start);
    let (mut now, mut randoms) = (start, std::collections::BTreeSet::new());
    let event = loop {
        while let Some(hello) = client.poll_transmit() {
            randoms.insert(hello[27..59].to_vec());
            client.handle_datagram(&ALERT, now);
        }
        if let Some(event) = client.poll_event() {
            break event;
        }
        now = client.next_timeout().unwrap();
        client.handle_timeout(now);
    };
    assert_eq!(event, AssociationEvent::Failed(AssociationFault::Alert(40)));
    assert_eq!(randoms.len(), 7);
    assert!((3000..4000).contains(&(now - start).as_millis()), "{:?}", now - start);
    let text = AssociationFault::Alert(40).to_string();
    for part in ["alert 40", "handshake_failure", "one possible cause"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn a_flood_of_first_messages_costs_a_bounded_number_of_answers() {
    let [own, other] = identities();
    let now = Instant::now();
    let mut server = Association::new(Arc::clone(own), terms(DtlsRole::Server, other), now);
    let mut client = Association::new(Arc::clone(other), terms(DtlsRole::Client, own), now);
    let mut hello = client.poll_transmit().unwrap();
    let mut answers = 0;
    for number in 0_u32..5000 {
        hello[30..34].copy_from_slice(&number.to_be_bytes());
        server.handle_datagram(&hello, now);
        answers += std::iter::from_fn(|| server.poll_transmit()).count();
    }
    assert!((1..=20).contains(&answers), "{answers}");
}

#[test]
fn what_is_none_of_dtls_or_too_large_for_it_is_passed_over() {
    for first in 0..=255_u8 {
        assert_eq!(is_dtls(&[first, 0]), (20..=63).contains(&first));
    }
    assert!(!is_dtls(&[]));
    let mut pair = Pair::new();
    pair.server.handle_datagram(&[], pair.now);
    pair.server.handle_datagram(&[0x80; 172], pair.now);
    pair.server.handle_datagram(&vec![22; LARGEST_DATAGRAM + 1], pair.now);
    pair.run(all_arrives);
    check(pair.keys());
}

#[test]
fn nothing_is_shown_of_keys() {
    let mut pair = Pair::new();
    pair.run(all_arrives);
    let shown = format!("{:?} {:?} {:?}", pair.client, pair.ended, identities());
    assert!(shown.contains("secured") && shown.len() < 4000, "{shown}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    for key in pair.keys() {
        for secret in [key.own.key(), key.own.salt()] {
            assert!(!shown.contains(&hex(secret)) && !shown.contains(&list(secret)));
        }
    }
}

/// What becomes of one datagram.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    Late,
    Flipped(usize, u8),
    Cut(usize),
    /// Behind a forgery made of it.
    After(usize, u8),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => Just(Fate::Late),
        2 => (0..1200_usize, 1..=255_u8).prop_map(|(place, bits)| Fate::Flipped(place, bits)),
        1 => (0..1200_usize).prop_map(Fate::Cut),
        3 => (0..60_usize, 1..=255_u8).prop_map(|(place, bits)| Fate::After(place, bits)),
    ]
}

fn flipped(mut datagram: Vec<u8>, place: usize, bits: u8) -> Vec<u8> {
    let place = place % datagram.len();
    datagram[place] ^= bits;
    datagram
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// It ends on both sides; and where both have keys, they are each other's.
    #[test]
    fn whatever_the_network_does_it_ends_and_never_with_different_keys(fates in prop::collection::vec(fate(), 0..40)) {
        let mut pair = Pair::new();
        let mut fates = fates.into_iter();
        let mut late = None;
        pair.run(|_, datagram| {
            let mut arrives = match fates.next().unwrap_or(Fate::Arrives) {
                Fate::Arrives => vec![datagram],
                Fate::Lost => Vec::new(),
                Fate::Twice => vec![datagram.clone(), datagram],
                Fate::Late => return late.replace(datagram).into_iter().collect(),
                Fate::Flipped(place, bits) => vec![flipped(datagram, place, bits)],
                Fate::Cut(place) => vec![datagram[..place % datagram.len()].to_vec()],
                Fate::After(place, bits) => vec![flipped(datagram.clone(), place, bits), datagram],
            };
            arrives.extend(late.take());
            arrives
        });
        if let [Some(AssociationEvent::Secured(client)), Some(AssociationEvent::Secured(server))] = &pair.ended {
            check([client, server]);
        }
        prop_assert!(pair.ended.iter().all(Option::is_some), "{:?}", pair.ended);
    }
}
