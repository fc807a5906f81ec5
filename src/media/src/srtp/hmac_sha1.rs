//! HMAC-SHA1 (RFC 2104), going on from where its key ends.
//!
//! The key is taken in once, and 40 bytes are left of it, less than a cache line. A hasher that is cloned for each packet
//! has 128, and takes a third more time.

use std::hint::black_box;

use sha1::block_api::compress;
use zeroize::Zeroizing;

use super::derivation::AUTHENTICATION_KEY;

/// Bytes of a whole tag, of which SRTP sends the first 10 or 4.
const TAG: usize = 20;
/// Bytes of a block of SHA-1.
const BLOCK: usize = 64;
/// Bytes of the length behind a message.
const LENGTH: usize = 8;

type State = [u32; 5];

/// FIPS 180-4 §5.3.1.
const INITIAL: State = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];

/// A key at work.
pub(crate) struct HmacSha1 {
    inner: Zeroizing<State>,
    outer: Zeroizing<State>,
}

impl HmacSha1 {
    pub(crate) fn new(key: &[u8; AUTHENTICATION_KEY]) -> Self {
        // RFC 2104 §2: ipad and opad.
        Self { inner: behind(key, 0x36), outer: behind(key, 0x5C) }
    }

    /// The tag of a message and the rollover counter behind it, if there is one.
    pub(crate) fn tag(&self, message: &[u8], rollover: Option<[u8; 4]>) -> [u8; TAG] {
        let inner = hash(&self.inner, message, rollover);
        hash(&self.outer, &inner, None)
    }

    /// Whether `tag` is how the tag of this begins. Takes as long wherever they differ.
    pub(crate) fn verifies(&self, tag: &[u8], message: &[u8], rollover: Option<[u8; 4]>) -> bool {
        let whole = self.tag(message, rollover);
        let differences = tag.iter().zip(whole).fold(0, |all, (given, made)| all | (given ^ made));
        tag.len() <= TAG && black_box(differences) == 0
    }
}

/// The state behind a block of a key and a pad.
fn behind(key: &[u8; AUTHENTICATION_KEY], pad: u8) -> Zeroizing<State> {
    let mut block = Zeroizing::new([pad; BLOCK]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    let mut state = Zeroizing::new(INITIAL);
    compress(&mut state, &[*block]);
    state
}

/// SHA-1 from a state behind one block on (FIPS 180-4 §5.1.1, §6.1).
fn hash(from: &State, message: &[u8], rollover: Option<[u8; 4]>) -> [u8; TAG] {
    let mut state = *from;
    let (blocks, rest) = message.as_chunks::<BLOCK>();
    compress(&mut state, blocks);
    let suffix = rollover.as_ref().map_or(&[][..], |rollover| rollover);
    let bits = (BLOCK + message.len() + suffix.len()) as u64 * 8;
    let mut end = [[0; BLOCK]; 2];
    let bytes = end.as_flattened_mut();
    let used = rest.len() + suffix.len();
    put(bytes, 0, rest);
    put(bytes, rest.len(), suffix);
    put(bytes, used, &[0x80]);
    let blocks = if used + 1 + LENGTH > BLOCK { 2 } else { 1 };
    put(bytes, blocks * BLOCK - LENGTH, &bits.to_be_bytes());
    compress(&mut state, end.get(..blocks).unwrap_or_default());
    let mut hash = [0; TAG];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// A place that is not there takes nothing: there is none, since two blocks have room for 63 + 4 + 1 + 8 bytes.
fn put(bytes: &mut [u8], place: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(place..place + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha1::Sha1;

    use super::*;

    fn judged(key: &[u8], message: &[u8], rollover: Option<[u8; 4]>) -> [u8; TAG] {
        let mac = <Hmac<Sha1> as KeyInit>::new_from_slice(key).unwrap().chain_update(message);
        let mac = rollover.into_iter().fold(mac, |mac, rollover| mac.chain_update(rollover));
        mac.finalize().into_bytes().into()
    }

    #[test]
    fn tags_of_every_length_are_those_of_another_implementation() {
        let key: [u8; 20] = std::array::from_fn(|place| 7 * place as u8 + 1);
        let message: Vec<u8> = (0..600u32).map(|place| (place * 31) as u8).collect();
        for length in 0..=message.len() {
            let message = &message[..length];
            for rollover in [None, Some([0; 4]), Some([1, 2, 3, 0xFF])] {
                let tag = HmacSha1::new(&key).tag(message, rollover);
                assert_eq!(tag, judged(&key, message, rollover), "{length} bytes, {rollover:?}");
            }
        }
    }

    #[test]
    fn a_tag_is_verified_by_its_beginning_and_every_bit_counts() {
        let mac = HmacSha1::new(&[9; 20]);
        let whole = mac.tag(b"message", Some([0, 0, 0, 1]));
        for length in [4, 10, 20] {
            let mut tag = whole[..length].to_vec();
            assert!(mac.verifies(&tag, b"message", Some([0, 0, 0, 1])));
            assert!(!mac.verifies(&tag, b"message", Some([0, 0, 0, 2])));
            assert!(!mac.verifies(&tag, b"message", None));
            for bit in 0..length * 8 {
                tag[bit / 8] ^= 1 << (bit % 8);
                assert!(!mac.verifies(&tag, b"message", Some([0, 0, 0, 1])), "bit {bit}");
                tag[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(!mac.verifies(&longer, b"message", Some([0, 0, 0, 1])));
    }
}
