//! Which indices of one source were used or seen.

/// The highest index, and which of the 128 up to it were there (RFC 3711 §3.3.2 asks for 64 at least).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    highest: u64,
    /// Bit n: index `highest - n` was there. 0 before the first.
    there: u128,
}

/// Why an index is not new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It was there.
    Repeated,
    /// So far back that nobody knows.
    TooOld,
}

impl Window {
    /// The highest index so far; `None` before the first.
    pub(crate) fn highest(&self) -> Option<u64> {
        (self.there != 0).then_some(self.highest)
    }

    /// Whether an index is new. Changes nothing.
    pub(crate) fn check(&self, index: u64) -> Result<(), Known> {
        if self.there == 0 || index > self.highest {
            return Ok(());
        }
        match self.bit(index) {
            None => Err(Known::TooOld),
            Some(bit) if self.there & bit != 0 => Err(Known::Repeated),
            Some(_) => Ok(()),
        }
    }

    /// Notes an index.
    pub(crate) fn note(&mut self, index: u64) {
        if self.there == 0 {
            (self.highest, self.there) = (index, 1);
        } else if let Some(ahead) = index.checked_sub(self.highest).filter(|ahead| *ahead > 0) {
            let shifted = u32::try_from(ahead).ok().and_then(|ahead| self.there.checked_shl(ahead));
            (self.highest, self.there) = (index, shifted.unwrap_or(0) | 1);
        } else if let Some(bit) = self.bit(index) {
            self.there |= bit;
        }
    }

    fn bit(&self, index: u64) -> Option<u128> {
        let back = u32::try_from(self.highest.checked_sub(index)?).ok()?;
        1u128.checked_shl(back)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn the_window_reaches_127_back_and_no_further() {
        let mut window = Window::default();
        assert_eq!((window.highest(), window.check(0)), (None, Ok(())));
        window.note(1000);
        assert_eq!(window.check(1000), Err(Known::Repeated));
        assert_eq!(window.check(1000 - 127), Ok(()));
        assert_eq!(window.check(1000 - 128), Err(Known::TooOld));
        window.note(u64::MAX);
        assert_eq!(window.check(1000), Err(Known::TooOld));
        assert_eq!(window.check(u64::MAX - 1), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]
        #[test]
        fn an_index_passes_once_and_only_if_it_is_not_too_old(
            steps in proptest::collection::vec(prop_oneof![-200i64..200, -3i64..4, -70_000i64..70_000], 1..400),
        ) {
            let (mut window, mut passed) = (Window::default(), BTreeSet::new());
            let mut index = 100_000i64;
            for step in steps {
                index = (index + step).max(0);
                let now = index as u64;
                let highest = passed.last().copied();
                let expected = match highest {
                    _ if passed.contains(&now) && highest.unwrap() - now < 128 => Err(Known::Repeated),
                    Some(highest) if now + 128 <= highest => Err(Known::TooOld),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(now), expected);
                if expected.is_ok() {
                    window.note(now);
                    passed.insert(now);
                }
                prop_assert_eq!(window.highest(), passed.last().copied());
            }
        }
    }
}
