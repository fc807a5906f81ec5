//! Randomness that comes in as an argument.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A source of unguessable numbers, tags and branches, wholly decided by its seed.
///
/// A program seeds it from the system's entropy, a test with a constant.
#[derive(Clone)]
pub struct Random(ChaCha20Rng);

/// Letters of generated tokens: legal in every token, tag, branch and boundary, and no case pairs, because tags are
/// compared without regard to case by some peers.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

impl Random {
    /// A source that yields the same sequence for the same seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number in `0..limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u32) -> u32 {
        // The bias of a 64-bit product is below 2^-32.
        ((u64::from(self.next_u32()) * u64::from(limit)) >> 32) as u32
    }

    /// A token of `length` characters with five random bits each.
    pub fn token(&mut self, length: usize) -> String {
        (0..length)
            .map(|_| {
                let index = (self.next_u32() >> 27) as usize;
                char::from(LETTERS.get(index).copied().unwrap_or(b'a'))
            })
            .collect()
    }

    /// A tag for From or To: 80 random bits (RFC 3261 §19.3 wants at least 32).
    pub fn tag(&mut self) -> String {
        self.token(16)
    }

    /// A Via branch that is unique and says so (RFC 3261 §8.1.1.7).
    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.token(20))
    }

    /// An independent source for a part of the program, so that its use does not shift the numbers of another.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }
}

// The state would tell every future tag, branch and key.
impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_sequence() {
        let mut one = Random::from_seed([7; 32]);
        let mut same = Random::from_seed([7; 32]);
        let mut other = Random::from_seed([8; 32]);
        assert_eq!(one.branch(), same.branch());
        assert_ne!(one.branch(), other.branch());
        assert_ne!(one.tag(), one.tag());
    }

    #[test]
    fn below_stays_below() {
        let mut random = Random::from_seed([1; 32]);
        let mut seen = [false; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn debug_does_not_show_the_state() {
        assert_eq!(format!("{:?}", Random::from_seed([9; 32])), "Random(..)");
    }
}
