//! What the media thread shares with the threads that use it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use siprec_model::BranchCommand;

use crate::section::SendSection;
use crate::sys::Waker;
use crate::tap::TapState;

/// The mailbox of the media thread.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Commands that wait.
    pub(crate) commands: ArrayQueue<BranchCommand>,
    /// The stretch in which packets leave.
    pub(crate) section: Arc<SendSection>,
    /// Taps that the thread has not met yet.
    new_taps: Mutex<Vec<Arc<TapState>>>,
    waker: Waker,
    /// The thread waits without a deadline of its own; whoever gives it work wakes it.
    asleep: AtomicBool,
    /// Some tap has much that waits.
    pressed: AtomicBool,
    stop: AtomicBool,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Shared {
    pub(crate) fn new(commands: usize, waker: Waker) -> Self {
        Self {
            commands: ArrayQueue::new(commands),
            section: Arc::default(),
            new_taps: Mutex::default(),
            waker,
            asleep: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ended: Mutex::new(false),
            end: Condvar::new(),
        }
    }

    /// Makes the thread look at once.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Makes the thread look, if it would not by itself within milliseconds.
    pub(crate) fn wake_if_asleep(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Makes the thread look at once at the taps that have much.
    pub(crate) fn press(&self) {
        self.pressed.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// For the thread: whether there are such taps, since this was last asked.
    pub(crate) fn take_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst) && self.pressed.swap(false, Ordering::SeqCst)
    }

    /// For the thread: from now on it must be woken. It looks for work once more before it sleeps.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(crate) fn add_tap(&self, tap: Arc<TapState>) {
        self.new_taps.lock().unwrap_or_else(PoisonError::into_inner).push(tap);
    }

    pub(crate) fn take_new_taps(&self) -> Vec<Arc<TapState>> {
        std::mem::take(&mut *self.new_taps.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Says that the thread has ended when dropped, however it ends.
    pub(crate) fn end_guard(self: &Arc<Self>) -> EndGuard {
        EndGuard(self.clone())
    }

    pub(crate) fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the thread has ended, at most `timeout`; whether it has.
    pub(crate) fn wait_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while !*ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            ended = self.end.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Held by the media thread.
#[derive(Debug)]
pub(crate) struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.end.notify_all();
    }
}
