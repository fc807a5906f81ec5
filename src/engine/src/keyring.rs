//! The keys of a stream on their way to the media thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use siprec_media::srtp::{CallKey, MAX_KEYS};
use siprec_model::SrtpKey;

/// Sources whose keys are asked for at once, at most; one more is not waited for.
const MAX_AWAITED: usize = 64;

/// What the call's side has said of keys.
///
/// It stands beside the queue of packets: a key serves from when the media thread knows it, for packets before and after.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    news: AtomicBool,
    said: Mutex<Said>,
    /// Somebody has taken note of the keys in use, and is to hear of those that are from then on.
    heard: AtomicBool,
    /// The keys that have decrypted something since then, the last at the end.
    used: Mutex<Vec<SrtpKey>>,
    /// Where the sources are.
    positions: Mutex<Vec<(u32, u64)>>,
}

#[derive(Debug, Default)]
struct Said {
    keys: Vec<CallKey>,
    awaited: Vec<u32>,
    answered: bool,
}

/// What was said since the media thread looked.
#[derive(Debug)]
pub(crate) struct News {
    /// New keys, the oldest first.
    pub(crate) keys: Vec<CallKey>,
    /// All sources whose packets wait for an answer.
    pub(crate) awaited: Vec<u32>,
    /// Somebody was asked, ever, and has answered.
    pub(crate) answered: bool,
}

impl Keyring {
    /// Adds a key.
    pub(crate) fn add(&self, key: CallKey) {
        self.say(|said| {
            said.keys.retain(|known| *known != key);
            if said.keys.len() >= MAX_KEYS {
                said.keys.remove(0);
            }
            said.keys.push(key);
        });
    }

    /// Packets of a source wait for a key that was asked for.
    pub(crate) fn expect(&self, ssrc: u32) {
        self.say(|said| {
            if said.awaited.len() < MAX_AWAITED && !said.awaited.contains(&ssrc) {
                said.awaited.push(ssrc);
            }
        });
    }

    /// Whoever was asked for a source's key has answered.
    pub(crate) fn settle(&self, ssrc: u32) {
        self.say(|said| {
            said.awaited.retain(|awaited| *awaited != ssrc);
            said.answered = true;
        });
    }

    /// The keys that have decrypted something since this was last asked, the one that did so last at the end.
    pub(crate) fn take_used(&self) -> Vec<SrtpKey> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        self.heard.store(true, Ordering::SeqCst);
        used
    }

    /// Whether somebody has, since [`Keyring::note_used`]. For the media thread.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard.load(Ordering::SeqCst)
    }

    /// These keys have decrypted something, the last one last. For the media thread.
    pub(crate) fn note_used<'a>(&self, keys: impl Iterator<Item = &'a SrtpKey>) {
        self.heard.store(false, Ordering::SeqCst);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            used.retain(|known| known != key);
            if used.len() >= MAX_KEYS {
                used.remove(0);
            }
            used.push(key.clone());
        }
    }

    /// The highest index of each source, as far as the media thread has come.
    pub(crate) fn positions(&self) -> Vec<(u32, u64)> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the media thread.
    pub(crate) fn note_positions(&self, positions: impl Iterator<Item = (u32, u64)>) {
        let mut noted = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        noted.clear();
        noted.extend(positions);
    }

    /// Whether something was said since the media thread looked.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::SeqCst)
    }

    /// What was said, if anything. For the media thread.
    pub(crate) fn take(&self) -> Option<News> {
        self.news.swap(false, Ordering::SeqCst).then(|| {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let keys = std::mem::take(&mut said.keys);
            News { keys, awaited: said.awaited.clone(), answered: said.answered }
        })
    }

    fn say(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        self.news.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use siprec_model::SrtpSuite;

    use super::*;

    fn key(byte: u8) -> CallKey {
        SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[byte; 28]).unwrap().into()
    }

    #[test]
    fn keys_in_use_are_told_once_the_last_one_last() {
        let keyring = Keyring::default();
        let keys: Vec<SrtpKey> = (0..20).map(|byte| key(byte).key).collect();
        assert!(!keyring.is_heard() && keyring.take_used().is_empty());
        assert!(keyring.is_heard());
        keyring.note_used(keys[..3].iter());
        keyring.note_used(keys[..1].iter());
        assert!(!keyring.is_heard());
        assert_eq!(keyring.take_used(), [1, 2, 0].map(|byte: usize| keys[byte].clone()));
        assert!(keyring.take_used().is_empty());
        keyring.note_used(keys.iter());
        assert_eq!(keyring.take_used(), keys[4..]);
    }

    #[test]
    fn the_newest_keys_and_all_that_waits_are_told_once() {
        let keyring = Keyring::default();
        assert!(!keyring.has_news() && keyring.take().is_none());
        (0..28).chain([13]).for_each(|byte| keyring.add(key(byte)));
        for ssrc in 0..100 {
            keyring.expect(ssrc);
            keyring.expect(0);
        }
        assert!(!keyring.take().unwrap().answered);
        (0..28).chain([13]).for_each(|byte| keyring.add(key(byte)));
        keyring.settle(1);
        assert!(keyring.has_news());
        let News { keys, awaited, answered } = keyring.take().unwrap();
        assert!(answered);
        assert_eq!(keys, [12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 13].map(key));
        assert_eq!((awaited.len(), awaited.first(), awaited.contains(&1)), (63, Some(&0), false));
        assert!(keyring.take().is_none());
        keyring.settle(0);
        assert_eq!(keyring.take().unwrap().keys, []);
    }
}
