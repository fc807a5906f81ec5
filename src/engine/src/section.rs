//! The send section: the only stretch of the media thread's work in which packets leave.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Lets a thread wait until a send that was under way has ended, without ever holding up the media thread.
///
/// The media thread reads the gates only after it has entered. Whoever closes a gate stores that first and then
/// calls [`SendSection::wait`]: either the media thread sees the closed gate, or the caller sees the section.
#[derive(Debug, Default)]
pub(crate) struct SendSection {
    /// Odd while the media thread is inside.
    epoch: AtomicU64,
    /// How often it has entered without leaving. Nobody else looks at it.
    depth: AtomicUsize,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    left: Condvar,
}

impl SendSection {
    /// Enters; the section ends when the guard is dropped, and with it those that were entered before. For the media thread
    /// only.
    pub(crate) fn enter(&self) -> SendGuard<&Self> {
        self.begin();
        SendGuard(self)
    }

    /// The same with a guard that can be kept, for packets that leave later: their gates were read in the section that
    /// goes on with it.
    pub(crate) fn stay(self: &Arc<Self>) -> SendGuard<Arc<Self>> {
        self.begin();
        SendGuard(Arc::clone(self))
    }

    fn begin(&self) {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
        if depth == 0 {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn end(&self) {
        let depth = self.depth.load(Ordering::Relaxed).saturating_sub(1);
        self.depth.store(depth, Ordering::Relaxed);
        if depth > 0 {
            return;
        }
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Taken so that a waiter is either before its check of the epoch or already asleep.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.left.notify_all();
        }
    }

    /// Returns as soon as no section is under way that began before the call.
    pub(crate) fn wait(&self) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if epoch.is_multiple_of(2) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.epoch.load(Ordering::SeqCst) == epoch {
            lock = self.left.wait(lock).unwrap_or_else(PoisonError::into_inner);
        }
        drop(lock);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The media thread is inside the send section.
#[derive(Debug)]
pub(crate) struct SendGuard<S: Deref<Target = SendSection>>(S);

impl<S: Deref<Target = SendSection>> Drop for SendGuard<S> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_empty_section_is_not_waited_for() {
        let section = SendSection::default();
        drop(section.enter());
        section.wait();
    }

    /// A thread that waits for the section, and whether it has.
    fn waiter(section: &Arc<SendSection>) -> (std::thread::JoinHandle<()>, mpsc::Receiver<()>) {
        let (done, finished) = mpsc::channel();
        let section = section.clone();
        let waiter = std::thread::spawn(move || {
            section.wait();
            done.send(()).unwrap();
        });
        (waiter, finished)
    }

    #[test]
    fn a_waiter_leaves_only_after_the_section() {
        let section = Arc::new(SendSection::default());
        let guard = section.enter();
        let (waiter, finished) = waiter(&section);
        assert!(finished.recv_timeout(Duration::from_millis(50)).is_err(), "returned inside the section");
        drop(guard);
        finished.recv_timeout(Duration::from_secs(20)).unwrap();
        waiter.join().unwrap();
    }

    #[test]
    fn a_section_that_goes_on_is_waited_for_whatever_ends_within_it() {
        let section = Arc::new(SendSection::default());
        let first = section.enter();
        let stays = section.stay();
        drop(first);
        let (waiter, finished) = waiter(&section);
        (0..100).for_each(|_| drop(section.enter()));
        assert!(finished.recv_timeout(Duration::from_millis(50)).is_err(), "returned inside the section");
        drop(stays);
        finished.recv_timeout(Duration::from_secs(20)).unwrap();
        waiter.join().unwrap();
        section.wait();
    }
}
