//! Where the keys of clients were used: one that comes again elsewhere would encrypt two streams alike.

use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;

use siprec_model::SrtpKey;

/// Most keys that are remembered; the oldest are forgotten.
const KEYS: usize = 20_000;

/// The keys of all sessions, by a hash that nobody else can reckon.
#[derive(Default)]
pub(crate) struct Ledger {
    hasher: RandomState,
    uses: HashMap<u64, Use>,
    order: VecDeque<u64>,
}

/// Where a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// Names the session.
    pub(crate) session: u64,
    /// The m-line.
    pub(crate) line: usize,
    /// Where the client sends from; `None` while that is not known.
    pub(crate) source: Option<SocketAddr>,
}

impl Ledger {
    /// Takes note of a key. Why it should have been another one, where that is so.
    pub(crate) fn note(&mut self, key: &SrtpKey, now: Use) -> Option<&'static str> {
        let hash = self.hasher.hash_one(key.master());
        let known = match self.uses.entry(hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => {
                empty.insert(now);
                self.order.push_back(hash);
                if self.order.len() > KEYS
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.uses.remove(&oldest);
                }
                return None;
            }
        };
        let before = *known;
        known.source = now.source.or(known.source);
        if before.session != now.session {
            return Some("its key was used in another session (RFC 4568 §6.1)");
        }
        if before.line != now.line {
            return Some("its key is used on another m-line (RFC 4568 §6.1)");
        }
        let has_moved = matches!((before.source, now.source), (Some(old), Some(new)) if old != new);
        has_moved.then_some("the client has moved and kept its key (RFC 4568 §7.1.4)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_model::SrtpSuite;

    fn key(number: u32) -> SrtpKey {
        let mut master = [0; 28];
        master[..4].copy_from_slice(&number.to_be_bytes());
        SrtpKey::new(SrtpSuite::AeadAes128Gcm, &master).unwrap()
    }

    #[test]
    fn a_key_stays_with_one_line_of_one_session_at_one_address() {
        let mut ledger = Ledger::default();
        let at = |session, line, port: Option<u16>| Use {
            session,
            line,
            source: port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
        };
        assert_eq!(ledger.note(&key(1), at(1, 0, Some(5000))), None);
        assert_eq!(ledger.note(&key(1), at(1, 0, Some(5000))), None, "unchanged");
        assert_eq!(ledger.note(&key(1), at(1, 0, None)), None, "on hold");
        assert_eq!(ledger.note(&key(2), at(1, 1, Some(5002))), None);
        assert!(ledger.note(&key(1), at(1, 0, Some(6000))).unwrap().contains("moved"));
        assert!(ledger.note(&key(1), at(1, 1, Some(5002))).unwrap().contains("m-line"));
        assert!(ledger.note(&key(1), at(2, 0, Some(5000))).unwrap().contains("session"));
    }

    #[test]
    fn only_so_many_keys_are_remembered() {
        let mut ledger = Ledger::default();
        for number in 0..KEYS as u32 + 10 {
            assert_eq!(ledger.note(&key(number), Use { session: 1, line: 0, source: None }), None);
        }
        assert_eq!((ledger.uses.len(), ledger.order.len()), (KEYS, KEYS));
        let elsewhere = Use { session: 2, line: 0, source: None };
        assert_eq!(ledger.note(&key(0), elsewhere), None, "forgotten");
        assert!(ledger.note(&key(KEYS as u32), elsewhere).is_some());
    }
}
