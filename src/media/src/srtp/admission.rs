//! The few sources that one recording key is used for.

/// Sources at once (`protocol` section 3).
const MAX_ACTIVE: usize = 8;
/// Sources in all: those evicted are remembered, since they may not come again.
const MAX_EVER: usize = 64;

/// What is known of each source that a key is used for.
#[derive(Debug)]
pub(crate) struct Admission<T> {
    /// The one used last at the end.
    active: Vec<(u32, T)>,
    evicted: Vec<u32>,
}

/// The key was used for too many sources, or for this one before it was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAdmitted;

impl<T: Default> Admission<T> {
    pub(crate) fn new() -> Self {
        Self { active: Vec::with_capacity(1), evicted: Vec::new() }
    }

    /// A source, new or known. When all places are taken, the one unused for longest is evicted.
    pub(crate) fn of(&mut self, ssrc: u32) -> Result<&mut T, NotAdmitted> {
        if self.active.last().is_none_or(|(last, _)| *last != ssrc) {
            let source = match self.active.iter().position(|(known, _)| *known == ssrc) {
                Some(place) => self.active.remove(place),
                None => self.admit(ssrc)?,
            };
            self.active.push(source);
        }
        self.active.last_mut().map(|(_, source)| source).ok_or(NotAdmitted)
    }

    /// The sources in use.
    pub(crate) fn active_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.active.iter_mut().map(|(_, source)| source)
    }

    fn admit(&mut self, ssrc: u32) -> Result<(u32, T), NotAdmitted> {
        if self.active.len() + self.evicted.len() >= MAX_EVER || self.evicted.contains(&ssrc) {
            return Err(NotAdmitted);
        }
        if self.active.len() >= MAX_ACTIVE {
            self.evicted.push(self.active.remove(0).0);
        }
        Ok((ssrc, T::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninth_source_evicts_the_one_unused_for_longest_for_good() {
        let mut sources = Admission::<u32>::new();
        for ssrc in 0..8 {
            *sources.of(ssrc).unwrap() = ssrc + 100;
        }
        assert_eq!(sources.of(0), Ok(&mut 100));
        assert_eq!(sources.of(8), Ok(&mut 0));
        assert_eq!(sources.of(1), Err(NotAdmitted));
        assert_eq!(sources.of(0), Ok(&mut 100));
    }

    #[test]
    fn a_key_is_used_for_64_sources_in_all() {
        let mut sources = Admission::<u32>::new();
        assert_eq!((0..1000).filter(|ssrc| sources.of(*ssrc).is_ok()).count(), 64);
        assert_eq!(sources.of(63), Ok(&mut 0));
    }
}
