//! Who belongs together: which streams are one party's, which sessions they are recorded in, and when they are silent.

use crate::config::SessionMode;

/// One party of a call: all streams with the same DN. A stream whose DN is not known is a party of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartyKey {
    /// The party with this directory number, which is not empty.
    Dn(String),
    /// The unknown party of this pad.
    Pad(u16),
}

impl PartyKey {
    /// The party of a pad with this DN, empty where not known.
    pub fn new(pad: u16, dn: &str) -> Self {
        if dn.is_empty() { Self::Pad(pad) } else { Self::Dn(dn.to_owned()) }
    }

    /// Its directory number, where that is known.
    pub fn dn(&self) -> Option<&str> {
        match self {
            Self::Dn(dn) => Some(dn),
            Self::Pad(_) => None,
        }
    }
}

/// A stream, as far as its silence depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Whose stream it is.
    pub party: PartyKey,
    /// Whether its party has muted it.
    pub muted: bool,
}

/// Which streams are silent, in the order given (`protocol` 1.3): all of them while the recording is paused, and all
/// that share a session with one that is muted. The gate of a silent stream is closed.
pub fn silent_streams(mode: SessionMode, paused: bool, streams: &[Voice]) -> Vec<bool> {
    let muted = |party: &PartyKey| {
        streams
            .iter()
            .any(|stream| stream.muted && (mode == SessionMode::BothParties || stream.party == *party))
    };
    streams.iter().map(|stream| paused || muted(&stream.party)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voices() -> Vec<Voice> {
        let voice = |pad, dn, muted| Voice { party: PartyKey::new(pad, dn), muted };
        vec![voice(0, "1001", false), voice(1, "1002", true), voice(2, "1002", false), voice(3, "", false)]
    }

    #[test]
    fn a_muted_party_silences_the_session_for_both() {
        assert_eq!(silent_streams(SessionMode::BothParties, false, &voices()), [true; 4]);
    }

    #[test]
    fn a_muted_party_silences_its_own_session_only() {
        let silent = silent_streams(SessionMode::PerParty, false, &voices());
        assert_eq!(silent, [false, true, true, false]);
    }

    #[test]
    fn a_pause_silences_everyone() {
        assert_eq!(silent_streams(SessionMode::PerParty, true, &voices()), [true; 4]);
    }

    #[test]
    fn parties_without_a_number_are_strangers() {
        assert_ne!(PartyKey::new(0, ""), PartyKey::new(1, ""));
        assert_eq!(PartyKey::new(0, "1001"), PartyKey::new(1, "1001"));
        assert_eq!(PartyKey::new(0, "").dn(), None);
    }
}
