//! AES in Galois/counter mode (RFC 7714).

use std::hint::black_box;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use siprec_model::SrtpKey;
use zeroize::Zeroizing;

use super::derivation::{Purpose, SessionKeys};
use super::transform::{ENCRYPTED, INDEX_WORD, Refused, Transform};

/// Bytes of a tag (RFC 7714 §13.2).
const TAG: usize = 16;

/// The session keys of one master key.
pub(crate) struct Gcm {
    rtp: Keyed,
    rtcp: Keyed,
}

struct Keyed {
    key: LessSafeKey,
    salt: Zeroizing<[u8; 12]>,
}

impl Gcm {
    pub(crate) fn new(key: &SrtpKey) -> Result<Self, Refused> {
        Ok(Self {
            rtp: Keyed::new(&SessionKeys::derive(key, Purpose::Rtp))?,
            rtcp: Keyed::new(&SessionKeys::derive(key, Purpose::Rtcp))?,
        })
    }
}

impl Transform for Gcm {
    fn seal_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        let (header, rest) = packet.split_at_mut_checked(header).ok_or(Refused)?;
        let (payload, tag) = split_tag(rest)?;
        self.rtp.seal(self.rtp.rtp_nonce(ssrc, index), header, payload, tag)
    }

    fn open_rtp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Result<(), Refused> {
        let (header, rest) = packet.split_at_mut_checked(header).ok_or(Refused)?;
        let (payload, tag) = split_tag(rest)?;
        self.rtp.open(self.rtp.rtp_nonce(ssrc, index), header, payload, *tag)
    }

    fn seal_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let aad = rtcp_aad(packet, header, word)?;
        let rest = packet.get_mut(header..).ok_or(Refused)?;
        let (rest, index_word) = rest.split_last_chunk_mut::<INDEX_WORD>().ok_or(Refused)?;
        *index_word = word.to_be_bytes();
        let (payload, tag) = split_tag(rest)?;
        self.rtcp.seal(self.rtcp.rtcp_nonce(ssrc, word), &aad, payload, tag)
    }

    fn open_rtcp(&mut self, packet: &mut [u8], header: usize, ssrc: u32, word: u32) -> Result<(), Refused> {
        let aad = rtcp_aad(packet, header, word)?;
        let rest = packet.get_mut(header..).ok_or(Refused)?;
        let (rest, _) = rest.split_last_chunk_mut::<INDEX_WORD>().ok_or(Refused)?;
        let (payload, tag) = split_tag(rest)?;
        self.rtcp.open(self.rtcp.rtcp_nonce(ssrc, word), &aad, payload, *tag)
    }

    fn spoils_what_it_refuses(&self) -> bool {
        // Decrypted in the same pass, and cleared when the tag turns out to be another's.
        true
    }
}

impl Keyed {
    fn new(keys: &SessionKeys) -> Result<Self, Refused> {
        let algorithm = match keys.cipher().len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        let mut salt = Zeroizing::new([0; 12]);
        for (byte, derived) in salt.iter_mut().zip(keys.salt()) {
            *byte = *derived;
        }
        Ok(Self { key: schedule(algorithm, keys.cipher())?, salt })
    }

    /// RFC 7714 §8.1: two zero bytes, SSRC, rollover counter, sequence number; XOR salt.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce((u128::from(ssrc) << 48) | u128::from(index))
    }

    /// RFC 7714 §9.1: two zero bytes, SSRC, two zero bytes, a zero bit, the index of 31 bits; XOR salt.
    fn rtcp_nonce(&self, ssrc: u32, word: u32) -> Nonce {
        let index = word & !ENCRYPTED;
        self.nonce((u128::from(ssrc) << 48) | u128::from(index))
    }

    fn nonce(&self, numbers: u128) -> Nonce {
        let [_, _, _, _, numbers @ ..] = numbers.to_be_bytes();
        let mut nonce = numbers;
        for (byte, salt) in nonce.iter_mut().zip(self.salt.iter()) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: &mut [u8; TAG]) -> Result<(), Refused> {
        let made =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload).map_err(|_| Refused)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    fn open(&self, nonce: Nonce, aad: &[u8], payload: &mut [u8], tag: [u8; TAG]) -> Result<(), Refused> {
        let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag.into(), payload, 0..);
        opened.map(|_| ()).map_err(|_| Refused)
    }
}

/// `ring` does not clear its keys: another one is written over this one, in its place.
impl Drop for Keyed {
    fn drop(&mut self) {
        let algorithm = self.key.algorithm();
        let zeros = [0; 32];
        if let Some(nothing) = zeros.get(..algorithm.key_len())
            && let Ok(other) = schedule(algorithm, nothing)
        {
            self.key = other;
            black_box(&self.key);
        }
    }
}

fn schedule(algorithm: &'static Algorithm, key: &[u8]) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| Refused)
}

/// RFC 7714 §9.2: the first eight bytes and the word with the index, which stand apart.
fn rtcp_aad(packet: &[u8], header: usize, word: u32) -> Result<[u8; 12], Refused> {
    let mut aad = [0; 12];
    let (first, last) = aad.split_at_mut(8);
    first.copy_from_slice(packet.get(..header).filter(|header| header.len() == 8).ok_or(Refused)?);
    last.copy_from_slice(&word.to_be_bytes());
    Ok(aad)
}

fn split_tag(bytes: &mut [u8]) -> Result<(&mut [u8], &mut [u8; TAG]), Refused> {
    bytes.split_last_chunk_mut().ok_or(Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::vectors::hex;

    const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 \
        61727465 73207472 6573";
    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef \
        deadbeef deadbeef deadbeef";

    /// RFC 7714 §16 gives session keys, not master keys.
    fn session(length: u8) -> Gcm {
        let key: Vec<u8> = (0..length).collect();
        let keyed = || Keyed::new(&SessionKeys::given(&key, b"Quid pro quo")).unwrap();
        Gcm { rtp: keyed(), rtcp: keyed() }
    }

    #[test]
    fn rtp_packets_are_those_of_rfc_7714_section_16() {
        let table = [
            (
                16,
                "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a \
                51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
            ),
            (
                32,
                "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 \
                76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
            ),
        ];
        for (length, expected) in table {
            let (mut keys, mut packet) = (session(length), [hex(RTP), vec![0; TAG]].concat());
            keys.seal_rtp(&mut packet, 12, 0x5501_A0B2, 0xF17B).unwrap();
            assert_eq!(packet, hex(expected));
            keys.open_rtp(&mut packet, 12, 0x5501_A0B2, 0xF17B).unwrap();
            assert_eq!(packet[..packet.len() - TAG], hex(RTP));
        }
    }

    #[test]
    fn rtcp_packets_are_those_of_rfc_7714_section_17() {
        let table = [
            (
                16,
                "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
                4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
            ),
            (
                32,
                "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be \
                8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
            ),
        ];
        for (length, expected) in table {
            let (mut keys, mut packet) = (session(length), [hex(RTCP), vec![0; TAG + INDEX_WORD]].concat());
            keys.seal_rtcp(&mut packet, 8, 0x4D61_7273, 0x8000_05D4).unwrap();
            assert_eq!(packet, hex(expected));
            keys.open_rtcp(&mut packet, 8, 0x4D61_7273, 0x8000_05D4).unwrap();
            assert_eq!(packet[..packet.len() - TAG - INDEX_WORD], hex(RTCP));
        }
    }
}
