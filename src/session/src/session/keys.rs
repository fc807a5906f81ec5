//! The keys of our m-lines (RFC 4568).

use std::sync::Arc;

use siprec_model::{SrtpKey, SrtpSuite};
use siprec_sip::Random;
use siprec_sip::sdp::Crypto;
use zeroize::Zeroizing;

/// The keys under which one m-line is sent, one for each suite that is offered: nobody else has them. New ones are made
/// whenever the line gets other ports, or its receiver another address (`protocol` section 3).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LineKeys(Vec<SrtpKey>);

impl LineKeys {
    fn make(suites: &[SrtpSuite], random: &mut Random) -> Self {
        let key = |suite: &SrtpSuite| {
            let mut master = Zeroizing::new(vec![0; suite.master_length()]);
            random.fill(&mut master);
            SrtpKey::new(*suite, &master).ok()
        };
        Self(suites.iter().filter_map(key).collect())
    }

    /// The lines that offer them; tags from 1 on (RFC 4568 §4.1 forbids leading zeros).
    pub(super) fn offer(&self) -> impl Iterator<Item = Crypto> + '_ {
        (1..).zip(&self.0).map(|(tag, key)| Crypto::new(tag, key.clone()))
    }

    /// The key that was offered under a tag, if for this suite.
    pub(super) fn offered(&self, tag: u32, suite: SrtpSuite) -> Option<&SrtpKey> {
        let place = usize::try_from(tag).ok()?.checked_sub(1)?;
        self.0.get(place).filter(|key| key.suite() == suite)
    }

    /// Accepts one of the recorder's lines: the one whose suite comes first in our own order (RFC 4568 §5.1.2).
    pub(super) fn accept<'a>(&self, lines: impl Iterator<Item = &'a Crypto> + Clone) -> Option<Crypto> {
        self.0.iter().find_map(|key| {
            let line = lines.clone().find(|line| line.suite() == key.suite());
            line.map(|line| Crypto::new(line.tag(), key.clone()))
        })
    }
}

/// Makes the keys of one session's m-lines; nothing where its media is plain.
#[derive(Debug)]
pub(super) struct KeyMaker {
    suites: Vec<SrtpSuite>,
    random: Random,
}

impl KeyMaker {
    /// For these suites, the best first; none for plain media.
    pub(super) fn new(suites: Vec<SrtpSuite>, random: &mut Random) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        if !suites.is_empty() {
            random.fill(&mut *seed);
        }
        Self { suites, random: Random::from_seed(*seed) }
    }

    /// Whether the session's media is encrypted.
    pub(super) fn is_secured(&self) -> bool {
        !self.suites.is_empty()
    }

    /// Keys that nobody has had.
    pub(super) fn make(&mut self) -> Option<Arc<LineKeys>> {
        self.is_secured().then(|| Arc::new(LineKeys::make(&self.suites, &mut self.random)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_and_suite_has_a_key_of_its_own() {
        let mut random = Random::from_seed([7; 32]);
        let mut maker = KeyMaker::new(SrtpSuite::ALL.to_vec(), &mut random);
        let lines: Vec<Crypto> =
            (0..3).flat_map(|_| maker.make().unwrap().offer().collect::<Vec<_>>()).collect();
        assert_eq!(lines.len(), 15);
        assert_eq!(lines.iter().map(Crypto::tag).collect::<Vec<_>>(), [1, 2, 3, 4, 5].repeat(3));
        for (index, line) in lines.iter().enumerate() {
            let master = line.keys()[0].master();
            assert!(!lines[..index].iter().any(|other| other.keys()[0].master() == master));
        }
        assert!(KeyMaker::new(Vec::new(), &mut random).make().is_none());
    }

    #[test]
    fn what_is_accepted_is_the_best_of_ours_that_they_have_under_their_tag() {
        let mut random = Random::from_seed([7; 32]);
        let suites = vec![SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80];
        let keys = KeyMaker::new(suites, &mut random).make().unwrap();
        let theirs = |tag, suite: SrtpSuite| {
            Crypto::new(tag, SrtpKey::new(suite, &vec![9; suite.master_length()]).unwrap())
        };
        let both = [theirs(3, SrtpSuite::AesCm128HmacSha1_80), theirs(9, SrtpSuite::AeadAes128Gcm)];
        let accepted = keys.accept(both.iter()).unwrap();
        assert_eq!((accepted.tag(), accepted.suite()), (9, SrtpSuite::AeadAes128Gcm));
        assert_eq!(keys.offered(1, SrtpSuite::AeadAes128Gcm), accepted.keys().first());
        assert_eq!(keys.offered(1, SrtpSuite::AesCm128HmacSha1_80), None);
        assert_eq!(keys.offered(0, SrtpSuite::AeadAes128Gcm), None);
        assert!(keys.accept([theirs(1, SrtpSuite::AesCm256HmacSha1_80)].iter()).is_none());
    }
}
