//! The send section: the only stretch of the media thread's work in which packets leave.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Lets a thread wait until a send that was under way has ended, without ever holding up the media thread.
///
/// The media thread reads the gates only after it has entered. Whoever closes a gate stores that first and then
/// calls [`SendSection::wait`]: either the media thread sees the closed gate, or the caller sees the section.
#[derive(Debug, Default)]
pub(crate) struct SendSection {
    /// Odd while the media thread is inside.
    epoch: AtomicU64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    left: Condvar,
}

impl SendSection {
    /// Enters; the section ends when the guard is dropped. For the media thread only.
    pub(crate) fn enter(&self) -> SendGuard<'_> {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        SendGuard { section: self }
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
pub(crate) struct SendGuard<'a> {
    section: &'a SendSection,
}

impl Drop for SendGuard<'_> {
    fn drop(&mut self) {
        self.section.epoch.fetch_add(1, Ordering::SeqCst);
        if self.section.waiting.load(Ordering::SeqCst) > 0 {
            // Taken so that a waiter is either before its check of the epoch or already asleep.
            drop(self.section.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.section.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_empty_section_is_not_waited_for() {
        let section = SendSection::default();
        drop(section.enter());
        section.wait();
    }

    #[test]
    fn a_waiter_leaves_only_after_the_section() {
        let section = Arc::new(SendSection::default());
        let guard = section.enter();
        let (done, finished) = mpsc::channel();
        let waiter = std::thread::spawn({
            let section = section.clone();
            move || {
                section.wait();
                done.send(()).unwrap();
            }
        });
        assert!(finished.recv_timeout(Duration::from_millis(50)).is_err(), "returned inside the section");
        drop(guard);
        finished.recv_timeout(Duration::from_secs(5)).unwrap();
        waiter.join().unwrap();
    }
}
