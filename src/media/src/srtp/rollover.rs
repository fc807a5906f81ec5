//! The rollover counter that no packet carries (RFC 3711 §3.3.1), where it can only be guessed.

use std::ops::RangeInclusive;

/// A jump by more than this is believed only when the next packet goes on from there (RFC 3550 A.1).
const MAX_JUMP: u16 = 3000;
/// How far apart two packets may be that go on one from the other: some are lost, or come in another order.
const MAX_STEP: u16 = 16;
/// A round of sequence numbers.
const ROUND: u64 = 1 << 16;
/// Sources that are followed at once.
const MAX_FOLLOWED: usize = 16;

/// The index of a packet with this sequence number, if the highest so far was `highest`. `None` before 0 and beyond
/// 48 bits.
pub(crate) fn estimate(highest: u64, sequence: u16) -> Option<u64> {
    const HALF: u16 = 0x8000;
    let [.., high, low] = highest.to_be_bytes();
    let last = u16::from_be_bytes([high, low]);
    let rollover = highest >> 16;
    let rollover = if last < HALF && sequence.checked_sub(last).is_some_and(|ahead| ahead > HALF) {
        rollover.checked_sub(1)?
    } else if last.checked_sub(HALF).is_some_and(|floor| floor > sequence) {
        rollover + 1
    } else {
        rollover
    };
    (rollover <= u64::from(u32::MAX)).then_some((rollover << 16) | u64::from(sequence))
}

/// The same place in the round of sequence numbers before or after.
pub(crate) fn rounds_about(index: u64) -> [Option<u64>; 2] {
    [Some(index + ROUND).filter(|index| index >> 48 == 0), index.checked_sub(ROUND)]
}

/// Follows each source's index from headers alone, while nothing needs to be decrypted.
///
/// What is followed is a guess: headers can be forged. So few sources are kept, and a new one replaces that of which the
/// fewest packets came: a flood of forged sources pushes out its own.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    first: u64,
    highest: u64,
    /// The number of the last packet, where that was far off: the next one is near it if it was no stray.
    jumped_to: Option<u16>,
    packets: u64,
}

impl Followed {
    /// The index to begin with where only the distance from it is asked for, with room for what comes before it.
    pub(crate) fn somewhere(sequence: u16) -> u64 {
        ROUND | u64::from(sequence)
    }

    /// Notes a header. `start` is the index to begin with when the source is new.
    pub(crate) fn note(&mut self, ssrc: u32, sequence: u16, start: impl FnOnce() -> u64) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
            source.note(sequence);
        } else {
            let start = start();
            self.begin(ssrc, start..=start, 1);
        }
    }

    /// Where a source is known to be, by authentication or because an application says so.
    pub(crate) fn set(&mut self, ssrc: u32, highest: u64) {
        match self.sources.iter_mut().find(|source| source.ssrc == ssrc) {
            Some(source) => (source.highest, source.jumped_to) = (highest, None),
            None => self.begin(ssrc, highest..=highest, u64::MAX),
        }
    }

    /// Follows a source no more.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        self.sources.retain(|source| source.ssrc != ssrc);
    }

    /// Follows none any more, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.sources.clear();
    }

    /// The highest index of a source, as far as it was followed.
    pub(crate) fn highest(&self, ssrc: u32) -> Option<u64> {
        self.sources.iter().find(|source| source.ssrc == ssrc).map(|source| source.highest)
    }

    /// Takes over how far others have followed the same sources. `start` gives the index of a source that is new here.
    pub(crate) fn catch_up(&mut self, other: &Self, start: impl Fn(u32, u16) -> u64) {
        for source in &other.sources {
            let [.., high, low] = source.first.to_be_bytes();
            let sequence = u16::from_be_bytes([high, low]);
            let from = match self.highest(source.ssrc) {
                Some(highest) => estimate(highest, sequence).unwrap_or(highest),
                None => start(source.ssrc, sequence),
            };
            let index = from.saturating_add(source.highest.saturating_sub(source.first));
            if index >> 48 != 0 {
                continue;
            }
            match self.sources.iter_mut().find(|known| known.ssrc == source.ssrc) {
                Some(known) => {
                    known.highest = known.highest.max(index);
                    known.jumped_to = None;
                    known.packets = known.packets.saturating_add(source.packets);
                }
                None => self.begin(source.ssrc, from..=index, source.packets),
            }
        }
    }

    /// Whether no source is followed.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn begin(&mut self, ssrc: u32, indices: RangeInclusive<u64>, packets: u64) {
        if self.sources.len() >= MAX_FOLLOWED
            && let Some((place, _)) = self.sources.iter().enumerate().min_by_key(|(_, source)| source.packets)
        {
            self.sources.remove(place);
        }
        self.sources.reserve_exact(1);
        let (first, highest) = indices.into_inner();
        self.sources.push(Source { ssrc, first, highest, jumped_to: None, packets });
    }
}

impl Source {
    fn note(&mut self, sequence: u16) {
        self.packets = self.packets.saturating_add(1);
        let Some(index) = estimate(self.highest, sequence) else { return };
        let is_near = index.abs_diff(self.highest) <= u64::from(MAX_JUMP);
        if is_near || self.jumped_to.is_some_and(|jumped_to| go_on(jumped_to, sequence)) {
            self.highest = self.highest.max(index);
            self.jumped_to = None;
        } else {
            self.jumped_to = Some(sequence);
        }
    }
}

/// Whether two packets are of one stretch. The same one twice proves nothing.
fn go_on(one: u16, other: u16) -> bool {
    let apart = one.wrapping_sub(other).min(other.wrapping_sub(one));
    (1..=MAX_STEP).contains(&apart)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// RFC 3711 appendix A, in its own words.
    fn appendix_a(rollover: i64, last: i64, sequence: i64) -> i64 {
        let rollover = if last < 32_768 {
            if sequence - last > 32_768 { rollover - 1 } else { rollover }
        } else if last - 32_768 > sequence {
            rollover + 1
        } else {
            rollover
        };
        rollover * 65_536 + sequence
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn the_index_is_estimated_as_appendix_a_of_rfc_3711_does(
            rollover in prop_oneof![0u32..3, Just(u32::MAX), any::<u32>()],
            last in any::<u16>(),
            sequence in any::<u16>(),
        ) {
            let expected = appendix_a(rollover.into(), last.into(), sequence.into());
            let expected = u64::try_from(expected).ok().filter(|index| index >> 48 == 0);
            prop_assert_eq!(estimate((u64::from(rollover) << 16) | u64::from(last), sequence), expected);
        }
    }

    #[test]
    fn half_a_round_away_is_the_same_round_as_in_appendix_a_of_rfc_3711() {
        for last in [0, 1, 0x7FFF, 0x8000, 0xFFFF] {
            for away in [0x7FFF, 0x8000, 0x8001] {
                for sequence in [u16::wrapping_add(last, away), u16::wrapping_sub(last, away)] {
                    let expected = appendix_a(5, last.into(), sequence.into());
                    let found = estimate(5 << 16 | u64::from(last), sequence);
                    assert_eq!(found.map(|index| index as i64), Some(expected), "{last} {sequence}");
                }
            }
        }
    }

    #[test]
    fn a_source_is_followed_over_wraps_and_its_strays_are_not() {
        let mut followed = Followed::default();
        let mut sequence = 65_000u16;
        for _ in 0..200_000 {
            followed.note(7, sequence, || 65_000);
            sequence = sequence.wrapping_add(1);
        }
        let expected = 65_000 + 199_999;
        assert_eq!(followed.highest(7), Some(expected));
        for stray in [sequence.wrapping_add(30_000), sequence.wrapping_sub(30_000), 5] {
            followed.note(7, stray, || 0);
        }
        assert_eq!(followed.highest(7), Some(expected));
        let far = sequence.wrapping_add(20_000);
        // A packet that comes twice is a stray all the same.
        followed.note(7, far, || 0);
        followed.note(7, far, || 0);
        assert_eq!(followed.highest(7), Some(expected));
        followed.note(7, far.wrapping_add(1), || 0);
        assert_eq!(followed.highest(7), Some(expected + 20_002));
    }

    #[test]
    fn a_flood_of_sources_pushes_out_its_own() {
        let mut followed = Followed::default();
        for sequence in 0..100 {
            followed.note(1, sequence, || 0);
            followed.note(2, sequence, || 0);
        }
        for ssrc in 1000..10_000 {
            followed.note(ssrc, 9, || 9);
        }
        assert_eq!((followed.highest(1), followed.highest(2)), (Some(99), Some(99)));
        assert_eq!(followed.sources.len(), MAX_FOLLOWED);
    }
}
