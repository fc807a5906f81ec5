//! The keys of our m-lines (RFC 4568), and the names of their associations (RFC 8842).

use std::sync::Arc;

use siprec_model::{SrtpKey, SrtpSuite};
use siprec_sip::Random;
use siprec_sip::sdp::{Crypto, Setup};
use zeroize::Zeroizing;

use super::remote::RemoteLine;
use crate::security::Protection;

/// Characters of the name of an association, with five random bits each: RFC 8842 §4 wants 20 at least, and 120 bits.
const TLS_ID_LENGTH: usize = 32;

/// What one m-line is sent under: nobody else has it. New ones are made whenever the line gets other ports, or its receiver
/// another address (`protocol` section 3).
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LineKeys {
    /// A key for each suite that is offered.
    Sdes(Vec<SrtpKey>),
    /// The name of an association, whose handshake makes the keys.
    Dtls(String),
}

/// What our answer takes of the recorder's offer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Accepted {
    /// One of its lines, with our key.
    Sdes(Crypto),
    /// This side of the handshake.
    Dtls(Setup),
}

impl Accepted {
    /// The line with keys that an answer has.
    pub(super) fn crypto(&self) -> Option<&Crypto> {
        match self {
            Self::Sdes(crypto) => Some(crypto),
            Self::Dtls(_) => None,
        }
    }
}

impl LineKeys {
    fn make(protection: &Protection, random: &mut Random) -> Option<Self> {
        match protection {
            Protection::Plain => None,
            Protection::Sdes(suites) => {
                let key = |suite: &SrtpSuite| {
                    let mut master = Zeroizing::new(vec![0; suite.master_length()]);
                    random.fill(&mut master);
                    SrtpKey::new(*suite, &master).ok()
                };
                Some(Self::Sdes(suites.iter().filter_map(key).collect()))
            }
            Protection::Dtls { .. } => Some(Self::Dtls(random.token(TLS_ID_LENGTH))),
        }
    }

    fn keys(&self) -> &[SrtpKey] {
        match self {
            Self::Sdes(keys) => keys,
            Self::Dtls(_) => &[],
        }
    }

    /// The lines that offer them; tags from 1 on (RFC 4568 §4.1 forbids leading zeros).
    pub(super) fn offer(&self) -> impl Iterator<Item = Crypto> + '_ {
        (1..).zip(self.keys()).map(|(tag, key)| Crypto::new(tag, key.clone()))
    }

    /// The key that was offered under a tag, if for this suite.
    pub(super) fn offered(&self, tag: u32, suite: SrtpSuite) -> Option<&SrtpKey> {
        let place = usize::try_from(tag).ok()?.checked_sub(1)?;
        self.keys().get(place).filter(|key| key.suite() == suite)
    }

    /// Accepts what the recorder offers. `present` is our side of the association, where there is one: it keeps that
    /// (RFC 8842 §5.3).
    pub(super) fn accept(&self, theirs: &RemoteLine, present: Option<Setup>) -> Option<Accepted> {
        match self {
            Self::Sdes(_) => self.accept_key(theirs.usable_cryptos()).map(Accepted::Sdes),
            Self::Dtls(_) => {
                let own = match theirs.setup {
                    Some(Setup::ActPass) => present.unwrap_or(Setup::Active),
                    Some(Setup::Passive) => Setup::Active,
                    // Who does not say is active (RFC 4145 §4.1).
                    Some(Setup::Active) | None => Setup::Passive,
                    Some(Setup::HoldConn) => return None,
                };
                Some(Accepted::Dtls(own))
            }
        }
    }

    /// Accepts one of the recorder's lines: the one whose suite comes first in our own order (RFC 4568 §5.1.2).
    fn accept_key<'a>(&self, lines: impl Iterator<Item = &'a Crypto> + Clone) -> Option<Crypto> {
        self.keys().iter().find_map(|key| {
            let line = lines.clone().find(|line| line.suite() == key.suite());
            line.map(|line| Crypto::new(line.tag(), key.clone()))
        })
    }
}

/// Makes the keys of one session's m-lines; nothing where its media is plain.
#[derive(Debug)]
pub(super) struct KeyMaker {
    protection: Protection,
    random: Random,
}

impl KeyMaker {
    pub(super) fn new(protection: Protection, random: &mut Random) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        if protection.is_secured() {
            random.fill(&mut *seed);
        }
        Self { protection, random: Random::from_seed(*seed) }
    }

    /// Whether the session's media is encrypted.
    pub(super) fn is_secured(&self) -> bool {
        self.protection.is_secured()
    }

    /// Keys that nobody has had.
    pub(super) fn make(&mut self) -> Option<Arc<LineKeys>> {
        LineKeys::make(&self.protection, &mut self.random).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_and_suite_has_a_key_of_its_own() {
        let mut random = Random::from_seed([7; 32]);
        let mut maker = KeyMaker::new(Protection::Sdes(SrtpSuite::ALL.to_vec()), &mut random);
        let lines: Vec<Crypto> =
            (0..3).flat_map(|_| maker.make().unwrap().offer().collect::<Vec<_>>()).collect();
        assert_eq!(lines.len(), 15);
        assert_eq!(lines.iter().map(Crypto::tag).collect::<Vec<_>>(), [1, 2, 3, 4, 5].repeat(3));
        for (index, line) in lines.iter().enumerate() {
            let master = line.keys()[0].master();
            assert!(!lines[..index].iter().any(|other| other.keys()[0].master() == master));
        }
        assert!(KeyMaker::new(Protection::Plain, &mut random).make().is_none());
    }

    #[test]
    fn what_is_accepted_is_the_best_of_ours_that_they_have_under_their_tag() {
        let mut random = Random::from_seed([7; 32]);
        let suites = vec![SrtpSuite::AeadAes128Gcm, SrtpSuite::AesCm128HmacSha1_80];
        let keys = KeyMaker::new(Protection::Sdes(suites), &mut random).make().unwrap();
        let theirs = |tag, suite: SrtpSuite| {
            Crypto::new(tag, SrtpKey::new(suite, &vec![9; suite.master_length()]).unwrap())
        };
        let both = [theirs(3, SrtpSuite::AesCm128HmacSha1_80), theirs(9, SrtpSuite::AeadAes128Gcm)];
        let accepted = keys.accept_key(both.iter()).unwrap();
        assert_eq!((accepted.tag(), accepted.suite()), (9, SrtpSuite::AeadAes128Gcm));
        assert_eq!(keys.offered(1, SrtpSuite::AeadAes128Gcm), accepted.keys().first());
        assert_eq!(keys.offered(1, SrtpSuite::AesCm128HmacSha1_80), None);
        assert_eq!(keys.offered(0, SrtpSuite::AeadAes128Gcm), None);
        assert!(keys.accept_key([theirs(1, SrtpSuite::AesCm256HmacSha1_80)].iter()).is_none());
    }
}
