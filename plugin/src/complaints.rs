//! What is wrong with a stream, told at once and then now and then: who can flood the call must not flood its application.

use std::time::{Duration, Instant};

use siprec_model::DropCause;

use crate::format::Unrecordable;
use crate::keys::CapsFault;

/// The shortest time between two complaints of one kind.
const PAUSE: Duration = Duration::from_secs(10);
/// Most kinds that are told within [`PAUSE`]. Others count only where there is room again.
const MOST_KINDS: usize = 16;

/// What is wrong with a stream, whichever source or packet of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// Nobody has its key.
    Keyless,
    /// The key of its caps cannot be used.
    Caps(CapsFault),
    /// There are more keys than are taken.
    TooManyKeys,
    /// `request-key` is not asked for all sources yet.
    PutOff,
    /// `request-key` gave nothing.
    Unanswered,
    /// `request-key` gave caps without a key: what they lack.
    KeylessAnswer(String),
    /// `request-key` gave a key that cannot be used.
    Answer(CapsFault),
    /// A key of the call is that of a branch.
    KeyInUse,
    /// A key cannot be used although its length is right.
    KeyRefused,
    /// Packets of it are lost.
    Lost(DropCause),
    /// Its caps cannot be recorded.
    Unrecordable(Unrecordable),
    /// The same, and it is recorded by what they said before.
    Unusable(Unrecordable),
}

/// Which kinds of complaint were told when.
#[derive(Debug)]
pub(crate) struct Complaints<K = Complaint>(Vec<Told<K>>);

#[derive(Debug)]
struct Told<K> {
    kind: K,
    at: Instant,
    /// How many have not been told since.
    untold: u64,
}

impl<K> Default for Complaints<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Complaints<K> {
    /// Says whether there is to be a WARNING at `now`, by what it says besides its text: how many of the kind were kept
    /// back since the last one, or nothing.
    pub(crate) fn admit(&mut self, kind: K, now: Instant) -> Option<String> {
        if let Some(told) = self.0.iter_mut().find(|told| told.kind == kind) {
            let passed = now.saturating_duration_since(told.at);
            if passed < PAUSE {
                told.untold = told.untold.saturating_add(1);
                return None;
            }
            told.at = now;
            return Some(match std::mem::take(&mut told.untold) {
                0 => String::new(),
                untold => format!(" ({untold} more such complaints in the {} s before)", passed.as_secs()),
            });
        }
        if self.0.len() >= MOST_KINDS {
            self.0.retain(|told| now.saturating_duration_since(told.at) < PAUSE);
        }
        (self.0.len() < MOST_KINDS).then(|| {
            self.0.push(Told { kind, at: now, untold: 0 });
            String::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_at_once_and_then_once_in_ten_seconds_with_how_many_there_were() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let mut told = Vec::new();
        for tick in 0..2500 {
            let now = start + Duration::from_millis(10 * tick);
            told.extend(complaints.admit(Complaint::Keyless, now).map(|more| (tick, more)));
        }
        let more = " (999 more such complaints in the 10 s before)".to_owned();
        assert_eq!(told, [(0, String::new()), (1000, more.clone()), (2000, more)]);
        let later = start + Duration::from_secs(3600);
        let more = complaints.admit(Complaint::Keyless, later).unwrap();
        assert!(more.starts_with(" (499 more"), "{more}");
        assert_eq!(complaints.admit(Complaint::Keyless, later + PAUSE), Some(String::new()));
    }

    #[test]
    fn kinds_do_not_wait_for_each_other_and_are_not_without_number() {
        let start = Instant::now();
        let mut complaints = Complaints::default();
        let told = (0..1000).filter(|kind| complaints.admit(*kind, start).is_some()).count();
        assert_eq!(told, MOST_KINDS);
        assert_eq!(complaints.admit(0, start + PAUSE / 2), None);
        assert_eq!(complaints.admit(999, start + PAUSE), Some(String::new()), "there is room again");
        assert_eq!(complaints.admit(999, start + PAUSE), None);
    }
}
