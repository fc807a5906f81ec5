//! Handshakes while somebody else sends in the recorder's name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use siprec_media::dtls::{Association, AssociationEvent, AssociationFault, Identity};
use siprec_model::{CertificateHash, DtlsRole, Fingerprint};

use crate::pair::{Pair, all_arrives, check, identities, terms};

/// Every datagram of a handshake of two others, each with which side it is for: what somebody can make up who knows the
/// protocol, and the certificates too where `knows`, but does not see what is sent.
pub(crate) fn foreign(knows: bool) -> Vec<(bool, Vec<u8>)> {
    let others = [(); 2].map(|()| Arc::new(Identity::generate().unwrap()));
    let [own, other] = if knows { identities() } else { &others };
    let now = Instant::now();
    let mut client = Association::new(Arc::clone(own), terms(DtlsRole::Client, other), now);
    let mut server = Association::new(Arc::clone(other), terms(DtlsRole::Server, own), now);
    let mut all = Vec::new();
    for _ in 0..4 {
        while let Some(datagram) = client.poll_transmit() {
            server.handle_datagram(&datagram, now);
            all.push((true, datagram));
        }
        while let Some(datagram) = server.poll_transmit() {
            client.handle_datagram(&datagram, now);
            all.push((false, datagram));
        }
    }
    assert!(matches!(client.poll_event(), Some(AssociationEvent::Secured(_))));
    assert_eq!(all.len(), 4, "flights 1, 4, 5 and 6");
    all
}

/// The records of a datagram.
pub(crate) fn records(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !datagram.is_empty() {
        let length = usize::from(u16::from_be_bytes([datagram[11], datagram[12]]));
        let (record, rest) = datagram.split_at(13 + length);
        records.push(record);
        datagram = rest;
    }
    records
}

/// What a record could be forged from it into.
pub(crate) fn forgeries(record: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![record.to_vec()];
    all.extend((0..record.len()).step_by(7).map(|length| record[..length].to_vec()));
    // Header of the record, of the message, its beginning.
    for place in 0..record.len().min(45) {
        for bits in [1, 0x80, 0xFF] {
            let mut other = record.to_vec();
            other[place] ^= bits;
            all.push(other);
        }
    }
    all
}

#[test]
fn a_handshake_ends_with_the_keys_of_the_two_whatever_others_send_between_its_flights() {
    for knows in [false, true] {
        let foreign = foreign(knows);
        let mut pair = Pair::new();
        let start = pair.now;
        pair.run(|by_client, datagram| {
            let for_this_side = foreign.iter().filter(|(from_client, _)| *from_client == by_client);
            // A client's first messages cannot be told from each other: see below.
            let is_hello = |record: &&[u8]| !(by_client && record[0] == 22 && record[13] == 1);
            let forged: Vec<_> = for_this_side
                .flat_map(|(_, datagram)| records(datagram))
                .filter(is_hello)
                .flat_map(forgeries)
                .collect();
            let (before, behind) = (forged.clone(), forged);
            before.into_iter().chain([datagram]).chain(behind).collect()
        });
        check(pair.keys());
        assert!(pair.client.refused() > 1000 && pair.server.refused() > 1000);
        assert!(pair.now - start < Duration::from_secs(2), "{knows}: {:?}", pair.now - start);
    }
}

#[test]
fn mutated_and_cut_records_of_the_handshake_itself_do_not_end_it() {
    for (side, name) in [(true, "to the server"), (false, "to the client")] {
        let mut pair = Pair::new();
        pair.run(|by_client, datagram| {
            if by_client != side || datagram[13] == 1 {
                return vec![datagram];
            }
            let mut all: Vec<_> =
                (0..datagram.len()).step_by(5).map(|end| datagram[..end].to_vec()).collect();
            // What a signature or a key covers, and every header.
            for record in records(&datagram) {
                for place in 0..record.len().min(59) {
                    let is_covered =
                        record[0] != 22 || place < 25 || matches!(record[13], 2 | 11 | 12 | 15 | 16);
                    if is_covered && !(record[0] == 22 && record[13] == 2 && !(27..59).contains(&place)) {
                        let mut other = record.to_vec();
                        other[place] ^= 0x10;
                        all.push(other);
                    }
                }
            }
            all.push(datagram);
            all
        });
        let ended = &pair.ended;
        assert!(
            ended.iter().all(|end| matches!(end, Some(AssociationEvent::Secured(_)))),
            "{name}: {ended:?}"
        );
        check(pair.keys());
    }
}

/// Each is answered for as long as a handshake takes; then the next one has its turn.
#[test]
fn a_client_is_heard_behind_others_that_only_say_hello() {
    let stranger = Arc::new(Identity::generate().unwrap());
    let [_, other] = identities();
    let mut pair = Pair::new();
    let start = pair.now;
    for _ in 0..200 {
        let mut intruder = Association::new(Arc::clone(&stranger), terms(DtlsRole::Client, other), pair.now);
        let hello = intruder.poll_transmit().unwrap();
        pair.server.handle_datagram(&hello, pair.now);
    }
    while pair.server.poll_transmit().is_some() {}
    pair.run(all_arrives);
    check(pair.keys());
    assert!(pair.now - start < Duration::from_secs(2), "{:?}", pair.now - start);
}

/// A request for a cookie, which nothing proves.
fn cookie_request(cookie: &[u8]) -> Vec<u8> {
    let length = u8::try_from(cookie.len()).unwrap();
    let mut datagram = vec![22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15 + length];
    datagram.extend_from_slice(&[3, 0, 0, 3 + length, 0, 0, 0, 0, 0, 0, 0, 3 + length, 254, 255, length]);
    datagram.extend_from_slice(cookie);
    datagram
}

#[test]
fn a_forged_request_for_a_cookie_confuses_nobody_who_answers() {
    let mut pair = Pair::new();
    let start = pair.now;
    pair.run(|by_client, datagram| match by_client {
        true => vec![datagram],
        false => vec![cookie_request(b"forged"), datagram, cookie_request(b"forged")],
    });
    check(pair.keys());
    assert_eq!(pair.now, start);
}

#[test]
fn a_request_for_a_cookie_is_answered_where_nothing_else_comes() {
    let [own, other] = identities();
    let start = Instant::now();
    let mut client = Association::new(Arc::clone(own), terms(DtlsRole::Client, other), start);
    let hello = client.poll_transmit().unwrap();
    client.handle_datagram(&cookie_request(b"some cookie"), start);
    assert!(client.poll_transmit().is_none());
    let due = client.next_timeout().unwrap();
    assert_eq!(due - start, Duration::from_millis(300));
    client.handle_timeout(due);
    let again = client.poll_transmit().unwrap();
    assert_eq!(again[27..59], hello[27..59], "the same random bytes");
    assert!(again.windows(11).any(|bytes| bytes == b"some cookie") && again[18] == 1);
}

/// RFC 5763 §5: what the certificate proves is that this is another one.
#[test]
fn another_certificate_counts_only_where_its_owner_has_answered_us() {
    let [own, other] = identities();
    let foreign = foreign(false);
    let now = Instant::now();
    let mut client = Association::new(Arc::clone(own), terms(DtlsRole::Client, other), now);
    for (_, datagram) in foreign.iter().filter(|(by_client, _)| !*by_client) {
        client.handle_datagram(datagram, now);
    }
    assert_eq!(client.poll_event(), None, "nobody has signed our random bytes");
    let stranger = Identity::generate().unwrap();
    let mut wrong = terms(DtlsRole::Client, other);
    wrong.fingerprints = vec![stranger.fingerprint().clone()];
    let mut pair = Pair::of(wrong, terms(DtlsRole::Server, own));
    let start = pair.now;
    pair.carry(|_, datagram| vec![datagram]);
    pair.carry(|_, datagram| vec![datagram]);
    let fault = AssociationFault::Fingerprint(other.fingerprint().clone());
    assert_eq!(pair.ended[0], Some(AssociationEvent::Failed(fault)));
    assert_eq!(pair.now, start, "at once");
    assert_eq!(other.fingerprint().hash(), CertificateHash::Sha256);
    assert_ne!(Fingerprint::clone(other.fingerprint()), *stranger.fingerprint());
}

#[test]
fn a_flood_of_forged_key_exchanges_costs_a_bounded_number_of_signatures() {
    let [own, other] = identities();
    let start = Instant::now();
    let mut client = Association::new(Arc::clone(own), terms(DtlsRole::Client, other), start);
    let foreign = foreign(true);
    let (_, flight) = foreign.iter().find(|(by_client, _)| !*by_client).unwrap();
    let records = records(flight);
    let (began, mut forged) = (Instant::now(), 0_u32);
    for record in records.iter().cycle().take(20_000) {
        let mut record = record.to_vec();
        forged += 1;
        // In the random of the hello, the point or the signature.
        if let Some(place) = record.get_mut(30..34) {
            place.copy_from_slice(&forged.to_be_bytes());
        }
        client.handle_datagram(&record, start);
    }
    assert_eq!(client.poll_event(), None);
    // 100 signatures are some milliseconds; 20,000 messages with 8 versions of the other each would be minutes, unoptimised.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever does not see the handshake does not end it, whatever they send and whenever.
    #[test]
    fn no_records_of_anybody_else_end_a_handshake(
        forged in prop::collection::vec(
            (any::<bool>(), 0..4_usize, 0..12_usize, 0..900_usize, any::<u8>(), any::<prop::sample::Index>()), 0..40),
        knows in any::<bool>(),
    ) {
        let foreign = foreign(knows);
        let mut pair = Pair::new();
        pair.run(|by_client, datagram| {
            let mut all = vec![datagram];
            for (to_server, flight, number, place, bits, at) in &forged {
                if *to_server != by_client {
                    continue;
                }
                let records = records(&foreign[*flight].1);
                let mut record = records[number % records.len()].to_vec();
                let place = place % record.len();
                record[place] ^= bits;
                // A client's hello is another client, a plain alert a reason to doubt: they have tests of their own.
                if !matches!((record[0], record[13]), (22, 1) | (21, _)) {
                    all.insert(at.index(all.len() + 1), record);
                }
            }
            all
        });
        prop_assert!(pair.ended.iter().all(|end| matches!(end, Some(AssociationEvent::Secured(_)))), "{:?}", pair.ended);
        check(pair.keys());
    }
}
