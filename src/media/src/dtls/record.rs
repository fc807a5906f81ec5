//! Records and the pieces of handshake messages in them, as they stand on the wire (RFC 6347 §4.1, §4.2.2): what can be said
//! of them before anything is proven.

use siprec_model::DtlsRole;

/// Content types.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;

/// Kinds of handshake messages (RFC 5246 §7.4, RFC 6347 §4.3.2).
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const SERVER_HELLO_DONE: u8 = 14;
pub(super) const CERTIFICATE_VERIFY: u8 = 15;
pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Bytes of a record's header, and of a handshake message's.
pub(super) const RECORD_HEADER: usize = 13;
pub(super) const MESSAGE_HEADER: usize = 12;
/// Longest handshake message: one that fits into a record (RFC 6347 §4.1).
pub(super) const LONGEST_MESSAGE: usize = 16_000;
/// No handshake needs more records.
const MOST_RECORDS: u64 = 1 << 16;
/// What AES-GCM adds to a record (RFC 5288 §3).
const PROTECTION: usize = 8 + 16;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) kind: u8,
    pub(super) epoch: u16,
    number: u64,
    pub(super) body: &'a [u8],
    /// With its header.
    pub(super) whole: &'a [u8],
}

/// A piece of a handshake message, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) kind: u8,
    /// Of the whole message.
    pub(super) length: usize,
    /// Which message of its sender's this is.
    pub(super) number: u16,
    pub(super) offset: usize,
    pub(super) bytes: &'a [u8],
}

/// The records of a datagram; None where it is not made of whole ones.
pub(super) fn records(mut datagram: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut found = Vec::new();
    while !datagram.is_empty() {
        let (header, rest) = datagram.split_first_chunk::<RECORD_HEADER>()?;
        let [kind, major, minor, e1, e0, n5, n4, n3, n2, n1, n0, l1, l0] = *header;
        let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l1, l0])))?;
        let (whole, _) = datagram.split_at_checked(RECORD_HEADER + body.len())?;
        // DTLS 1.2, or 1.0 in what comes before the version is agreed (RFC 6347 §4.1).
        if matches!((major, minor), (254, 253 | 255)) {
            let epoch = u16::from_be_bytes([e1, e0]);
            let number = u64::from_be_bytes([0, 0, n5, n4, n3, n2, n1, n0]);
            found.push(Record { kind, epoch, number, body, whole });
        } else {
            // A record that is none, as any that is not plausible.
            found.push(Record { kind: 0, epoch: 0, number: 0, body, whole });
        }
        datagram = rest;
    }
    Some(found)
}

impl<'a> Record<'a> {
    /// Whether it could be one of a handshake's.
    pub(super) fn is_plausible(&self) -> bool {
        match (self.epoch, self.kind) {
            _ if self.number >= MOST_RECORDS => false,
            (0, CHANGE_CIPHER_SPEC) => self.body == [1],
            (0, ALERT) => self.body.len() == 2,
            (0, HANDSHAKE) => !self.body.is_empty(),
            (1, ALERT) => self.body.len() >= PROTECTION + 2,
            (1, HANDSHAKE) => self.body.len() >= PROTECTION + MESSAGE_HEADER,
            // Nothing is said under the keys of a handshake for SRTP but its end.
            _ => false,
        }
    }

    /// The pieces of handshake messages in a record in the clear; None where not all of them are plausible ones of whoever
    /// is not `own`.
    pub(super) fn pieces(&self, own: DtlsRole) -> Option<Vec<Piece<'a>>> {
        let mut rest = self.body;
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, behind) = piece(rest)?;
            if !piece.is_plausible(own) {
                return None;
            }
            pieces.push(piece);
            rest = behind;
        }
        Some(pieces)
    }
}

impl Piece<'_> {
    /// Whether it lies within its message, and that is one that may come as this one of its sender's (RFC 5246 §7.3). The
    /// numbers are fixed, since both sides show certificates, but for a request for a cookie before them.
    fn is_plausible(&self, own: DtlsRole) -> bool {
        let numbers = match (own, self.kind) {
            (DtlsRole::Client, HELLO_VERIFY_REQUEST) | (DtlsRole::Server, CLIENT_HELLO) => 0..=0,
            (DtlsRole::Client, SERVER_HELLO) => 0..=1,
            (DtlsRole::Client, CERTIFICATE) => 1..=2,
            (DtlsRole::Client, SERVER_KEY_EXCHANGE) => 2..=3,
            (DtlsRole::Client, CERTIFICATE_REQUEST) => 3..=4,
            (DtlsRole::Client, SERVER_HELLO_DONE) => 3..=5,
            (DtlsRole::Server, CERTIFICATE) => 1..=1,
            (DtlsRole::Server, CLIENT_KEY_EXCHANGE) => 2..=2,
            (DtlsRole::Server, CERTIFICATE_VERIFY) => 3..=3,
            _ => return false,
        };
        let fits = self.length <= LONGEST_MESSAGE && self.offset + self.bytes.len() <= self.length;
        let is_empty = self.length == 0;
        fits && numbers.contains(&self.number)
            && is_empty == (self.kind == SERVER_HELLO_DONE)
            && self.bytes.is_empty() == is_empty
    }
}

/// The piece that `bytes` begin with, and what follows it.
pub(super) fn piece(bytes: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<MESSAGE_HEADER>()?;
    let [kind, l2, l1, l0, m1, m0, o2, o1, o0, f2, f1, f0] = *header;
    let number = |high, middle, low| usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let (bytes, rest) = rest.split_at_checked(number(f2, f1, f0))?;
    let piece = Piece {
        kind,
        length: number(l2, l1, l0),
        number: u16::from_be_bytes([m1, m0]),
        offset: number(o2, o1, o0),
        bytes,
    };
    Some((piece, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, version: [u8; 2], epoch: u16, number: u64, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let number = &number.to_be_bytes()[2..];
        [&[kind][..], &version, &epoch.to_be_bytes(), number, &length, body].concat()
    }

    fn message(kind: u8, length: u8, number: u8, offset: u8, bytes: &[u8]) -> Vec<u8> {
        let fragment = u8::try_from(bytes.len()).unwrap();
        [&[kind, 0, 0, length, 0, number, 0, 0, offset, 0, 0, fragment][..], bytes].concat()
    }

    #[test]
    fn a_datagram_is_made_of_whole_records() {
        let one = record(HANDSHAKE, [254, 253], 0, 7, &[1, 2, 3]);
        let two = record(ALERT, [254, 255], 1, 1 << 40, &[2, 40]);
        let both = [&one[..], &two].concat();
        let found = records(&both).unwrap();
        assert_eq!(found.iter().map(|record| record.whole).collect::<Vec<_>>(), [&one[..], &two]);
        assert_eq!((found[0].epoch, found[0].number, found[0].body), (0, 7, &[1, 2, 3][..]));
        assert_eq!((found[1].epoch, found[1].number), (1, 1 << 40));
        for length in 1..both.len() {
            assert_eq!(records(&both[..length]).is_some(), length == one.len(), "{length}");
        }
        assert_eq!(records(&[]), Some(Vec::new()));
    }

    #[test]
    fn type_version_epoch_number_and_length_of_a_record_are_looked_at() {
        let plausible = |kind, version, epoch, number, length: usize| {
            let mut body = vec![0; length];
            body.iter_mut().take(1).for_each(|byte| *byte = 1);
            records(&record(kind, version, epoch, number, &body)).unwrap()[0].is_plausible()
        };
        const V12: [u8; 2] = [254, 253];
        assert!(plausible(HANDSHAKE, V12, 0, 65_535, 1) && plausible(HANDSHAKE, [254, 255], 0, 0, 1));
        assert!(!plausible(HANDSHAKE, V12, 0, 65_536, 1) && !plausible(HANDSHAKE, V12, 0, 0, 0));
        for version in [[3, 3], [254, 252], [254, 254], [0, 0]] {
            assert!(!plausible(HANDSHAKE, version, 0, 0, 20), "{version:?}");
        }
        assert!(plausible(HANDSHAKE, V12, 1, 65_535, 36));
        assert!(!plausible(HANDSHAKE, V12, 1, 65_536, 36) && !plausible(HANDSHAKE, V12, 1, 0, 35));
        assert!(plausible(ALERT, V12, 1, 0, 26) && !plausible(ALERT, V12, 1, 0, 25));
        assert!(plausible(ALERT, V12, 0, 0, 2) && !plausible(ALERT, V12, 0, 0, 3));
        assert!(plausible(CHANGE_CIPHER_SPEC, V12, 0, 0, 1) && !plausible(CHANGE_CIPHER_SPEC, V12, 0, 0, 2));
        assert!(!plausible(CHANGE_CIPHER_SPEC, V12, 1, 0, 1));
        for kind in [0, 19, 23, 24, 63, 255] {
            assert!(!plausible(kind, V12, 0, 0, 40) && !plausible(kind, V12, 1, 0, 40), "{kind}");
        }
        for epoch in [2, 3, 65_535] {
            assert!(!plausible(HANDSHAKE, V12, epoch, 0, 40), "{epoch}");
        }
    }

    #[test]
    fn kind_number_and_place_of_a_message_are_looked_at() {
        let pieces = |own, bytes: &[u8]| {
            let record = record(HANDSHAKE, [254, 253], 0, 0, bytes);
            records(&record).unwrap()[0].pieces(own).map(|pieces| pieces.len())
        };
        let (client, server) = (DtlsRole::Client, DtlsRole::Server);
        for (own, kind, numbers) in [
            (client, HELLO_VERIFY_REQUEST, 0..=0),
            (client, SERVER_HELLO, 0..=1),
            (client, CERTIFICATE, 1..=2),
            (client, SERVER_KEY_EXCHANGE, 2..=3),
            (client, CERTIFICATE_REQUEST, 3..=4),
            (server, CLIENT_HELLO, 0..=0),
            (server, CERTIFICATE, 1..=1),
            (server, CLIENT_KEY_EXCHANGE, 2..=2),
            (server, CERTIFICATE_VERIFY, 3..=3),
        ] {
            for number in 0..=255 {
                let expected = numbers.contains(&number).then_some(1);
                assert_eq!(pieces(own, &message(kind, 3, number, 0, b"abc")), expected, "{kind} {number}");
            }
        }
        // Kinds of the other side's, of nobody's, and those that are said under keys only.
        for kind in [0, 1, 4, 15, 16, 20, 22, 255] {
            assert_eq!(pieces(client, &message(kind, 3, 0, 0, b"abc")), None, "{kind}");
        }
        for kind in [0, 2, 3, 4, 12, 13, 14, 20, 255] {
            assert_eq!(pieces(server, &message(kind, 3, 1, 0, b"abc")), None, "{kind}");
        }
        let hello = |length, offset, bytes: &[u8]| pieces(server, &message(1, length, 0, offset, bytes));
        assert_eq!((hello(9, 6, b"abc"), hello(9, 7, b"abc"), hello(2, 0, b"abc")), (Some(1), None, None));
        assert_eq!((hello(9, 9, b""), hello(0, 0, b"")), (None, None), "an empty piece says nothing");
        assert_eq!(pieces(client, &message(SERVER_HELLO_DONE, 0, 3, 0, b"")), Some(1));
        assert_eq!(pieces(client, &message(SERVER_HELLO_DONE, 3, 3, 0, b"abc")), None);
        let good = message(CLIENT_HELLO, 3, 0, 0, b"abc");
        assert_eq!(pieces(server, &[&good[..], &good].concat()), Some(2));
        assert_eq!(pieces(server, &[&good[..], &[1]].concat()), None, "nothing may follow");
        let mut long = good.clone();
        long[1] = 1;
        assert_eq!(pieces(server, &long), None, "longer than a record");
    }
}
