//! How much memory all rings may have together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A budget of bytes that many branches share for what they hold and keep.
///
/// Packets that wait may use all of it; those that were sent, and are kept in case their recorder is lost, may make a
/// ring grow only while a quarter is free. So what was sent never takes the room of what was not.
///
/// Clones are the same budget, and equal to no other.
#[derive(Clone, Debug)]
pub struct HoldMemory(Arc<Budget>);

impl PartialEq for HoldMemory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for HoldMemory {}

#[derive(Debug)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// What memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Packets that no recorder has yet.
    Waiting,
    /// Packets that were sent.
    Kept,
}

/// The part of the budget that one ring has.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// None where nothing is bounded.
    memory: Option<HoldMemory>,
    bytes: usize,
}

impl HoldMemory {
    /// At most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Budget { limit, used: AtomicUsize::new(0) }))
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize, purpose: Purpose) -> bool {
        let limit = match purpose {
            Purpose::Waiting => self.0.limit,
            Purpose::Kept => self.0.limit / 4 * 3,
        };
        let taken = self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= limit)
        });
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Share {
    /// From now on a part of this budget. What the ring has already it keeps, even beyond the budget.
    pub(crate) fn join(&mut self, memory: HoldMemory) {
        memory.0.used.fetch_add(self.bytes, Ordering::Relaxed);
        if let Some(before) = self.memory.replace(memory) {
            before.give_back(self.bytes);
        }
    }

    /// Makes it `bytes`; whether the budget allows that. Less is always allowed.
    pub(crate) fn resize(&mut self, bytes: usize, purpose: Purpose) -> bool {
        if let Some(memory) = &self.memory {
            match bytes.checked_sub(self.bytes) {
                Some(more) if !memory.take(more, purpose) => return false,
                Some(_) => {}
                None => memory.give_back(self.bytes - bytes),
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(memory: &HoldMemory) -> Share {
        let mut share = Share::default();
        share.join(memory.clone());
        share
    }

    #[test]
    fn what_was_sent_grows_to_three_quarters_and_what_waits_to_the_limit() {
        let memory = HoldMemory::new(1000);
        let (mut kept, mut waiting) = (share(&memory), share(&memory));
        assert!(kept.resize(750, Purpose::Kept));
        assert!(!kept.resize(751, Purpose::Kept));
        assert!(waiting.resize(250, Purpose::Waiting));
        assert!(!waiting.resize(251, Purpose::Waiting));
        assert!(kept.resize(500, Purpose::Kept), "less is always allowed");
        assert!(!kept.resize(501, Purpose::Kept), "all together");
        assert!(waiting.resize(500, Purpose::Waiting));
        assert_eq!(memory.used(), 1000);
    }

    #[test]
    fn what_a_ring_had_is_given_back_with_it() {
        let memory = HoldMemory::new(1000);
        let mut share = share(&memory);
        assert!(share.resize(400, Purpose::Waiting));
        let other = HoldMemory::new(100);
        share.join(other.clone());
        assert_eq!((memory.used(), other.used()), (0, 400));
        drop(share);
        assert_eq!(other.used(), 0);
    }
}
