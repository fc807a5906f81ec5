//! The public key in a certificate, as far as a handshake needs it.
//!
//! What a certificate says beyond its key is of no interest: the session description says that it is the right one, by its
//! fingerprint. So versions, dates, names and extensions are not looked at, and whatever stands in them does no harm.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    EcdsaVerificationAlgorithm, UnparsedPublicKey,
};

/// DER tags (X.690 §8).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// id-ecPublicKey, and the curves P-256 and P-384 (RFC 5480 §2.1.1).
const EC_PUBLIC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];

/// An elliptic curve that we can verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// What was hashed for a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignedHash {
    Sha256,
    Sha384,
}

/// The key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    pub(super) curve: Curve,
    point: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Finds the key of a certificate (RFC 5280 §4.1); None where there is none of a kind that we know.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut fields, _) = element(certificate, SEQUENCE)?;
        if let Some((_, rest)) = element(fields, VERSION) {
            fields = rest;
        }
        // Serial number, signature algorithm, issuer, validity, subject.
        for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
            (_, fields) = element(fields, tag)?;
        }
        let (key, _) = element(fields, SEQUENCE)?;
        let (algorithm, key) = element(key, SEQUENCE)?;
        let (kind, algorithm) = element(algorithm, OBJECT)?;
        let (curve, _) = element(algorithm, OBJECT)?;
        let curve = match curve {
            P256 => Curve::P256,
            P384 => Curve::P384,
            _ => return None,
        };
        let (bits, _) = element(key, BIT_STRING)?;
        match bits.split_first() {
            Some((0, point)) if kind == EC_PUBLIC_KEY => Some(Self { curve, point }),
            _ => None,
        }
    }

    /// Whether `signature` is this key's, of this message.
    pub(super) fn verifies(&self, message: &[u8], hash: SignedHash, signature: &[u8]) -> bool {
        let algorithm: &'static EcdsaVerificationAlgorithm = match (self.curve, hash) {
            (Curve::P256, SignedHash::Sha256) => &ECDSA_P256_SHA256_ASN1,
            (Curve::P256, SignedHash::Sha384) => &ECDSA_P256_SHA384_ASN1,
            (Curve::P384, SignedHash::Sha256) => &ECDSA_P384_SHA256_ASN1,
            (Curve::P384, SignedHash::Sha384) => &ECDSA_P384_SHA384_ASN1,
        };
        UnparsedPublicKey::new(algorithm, self.point).verify(message, signature).is_ok()
    }
}

/// The content of the element of this tag that `bytes` begins with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (own, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7F => (usize::from(short), rest),
        // One to three bytes of length: what is longer does not fit into a handshake.
        long @ 0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            (length.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*own == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::Identity;

    #[test]
    fn the_key_of_a_certificate_of_ours_is_found_and_of_no_part_of_one() {
        let identity = Identity::generate().unwrap();
        let certificate = identity.certificate();
        let key = PublicKey::of(certificate).unwrap();
        assert_eq!((key.curve, key.point.len(), key.point[0]), (Curve::P256, 65, 4));
        for length in 0..certificate.len() {
            assert_eq!(PublicKey::of(&certificate[..length]), None, "{length}");
        }
    }

    #[test]
    fn no_byte_of_a_certificate_can_make_it_panic() {
        let identity = Identity::generate().unwrap();
        let mut certificate = identity.certificate().to_vec();
        for place in 0..certificate.len() {
            let genuine = certificate[place];
            for byte in [0, 1, 0x7F, 0x80, 0x83, 0x84, 0xFF] {
                certificate[place] = byte;
                if let Some(key) = PublicKey::of(&certificate) {
                    assert!(!key.verifies(b"message", SignedHash::Sha256, &[0; 70]));
                }
            }
            certificate[place] = genuine;
        }
    }

    #[test]
    fn lengths_are_read_in_short_and_long_form() {
        let long = [&[SEQUENCE, 0x82, 0x01, 0x00][..], &[7; 256], &[9]].concat();
        assert_eq!(element(&long, SEQUENCE), Some((&long[4..260], &[9][..])));
        assert_eq!(element(&[INTEGER, 1, 5], INTEGER), Some((&[5][..], &[][..])));
        for bad in [
            &[][..],
            &[INTEGER],
            &[INTEGER, 2, 5],
            &[INTEGER, 0x80],
            &[INTEGER, 0x84, 0, 0, 0, 0],
            &[SEQUENCE, 0],
        ] {
            assert_eq!(element(bad, INTEGER), None, "{bad:?}");
        }
    }
}
