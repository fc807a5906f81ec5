//! Which recordings there are, and waiting for there to be none.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use siprec_model::RecordingKey;

use crate::AgentError;

/// The only thing of the agent that a caller's thread may wait on.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    state: Mutex<State>,
    changed: Condvar,
    /// The thread that tells the application: it cannot wait for itself to have told everything.
    teller: OnceLock<ThreadId>,
}

#[derive(Debug, Default)]
struct State {
    /// Every recording.
    recordings: HashMap<RecordingKey, Standing>,
    /// How many count.
    counted: usize,
    /// The notifier has events that no callback has taken.
    delivering: bool,
    /// The loop has ended, and with it the SIP port.
    ended: bool,
    /// The time for the end was over before all had ended.
    cut_short: bool,
}

/// What a recording still counts for.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Against the limit.
    counts: bool,
    /// Somebody may wait for its end.
    awaited: bool,
}

impl State {
    fn is_idle(&self, is_teller: bool) -> bool {
        let is_awaited = self.recordings.values().any(|standing| standing.awaited);
        !is_awaited && (is_teller || !self.delivering)
    }
}

impl Idle {
    /// The calling thread tells the application.
    pub(crate) fn set_teller(&self) {
        let _ = self.teller.set(thread::current().id());
    }

    /// Counts a recording in, unless there are `limit` (0: no limit).
    ///
    /// # Errors
    /// [`AgentError::TooManySessions`] or [`AgentError::Duplicate`].
    pub(crate) fn enter(&self, key: RecordingKey, limit: usize) -> Result<(), AgentError> {
        let mut state = self.lock();
        if limit != 0 && state.counted >= limit {
            return Err(AgentError::TooManySessions { limit });
        }
        if state.recordings.contains_key(&key) {
            return Err(AgentError::Duplicate);
        }
        state.recordings.insert(key, Standing { counts: true, awaited: true });
        state.counted += 1;
        Ok(())
    }

    /// A recording has come to its final state: there is room for another by the time that anybody hears of it.
    pub(crate) fn make_room(&self, key: RecordingKey) {
        let mut state = self.lock();
        let standing = state.recordings.get_mut(&key);
        if standing.is_some_and(|standing| std::mem::replace(&mut standing.counts, false)) {
            state.counted -= 1;
        }
    }

    /// Counts a recording out. Its last event must have been given to the notifier.
    pub(crate) fn leave(&self, key: RecordingKey) {
        let mut state = self.lock();
        if state.recordings.remove(&key).is_some_and(|standing| standing.counts) {
            state.counted -= 1;
        }
        self.changed.notify_all();
    }

    /// Nobody need wait for a recording any more. Its last event must have been given to the notifier.
    pub(crate) fn release(&self, key: RecordingKey) {
        if let Some(standing) = self.lock().recordings.get_mut(&key) {
            standing.awaited = false;
        }
        self.changed.notify_all();
    }

    /// The time for the end is over, and not all has ended.
    pub(crate) fn cut_short(&self) {
        self.lock().cut_short = true;
    }

    /// Recordings that have not ended.
    pub(crate) fn recordings(&self) -> usize {
        self.lock().recordings.len()
    }

    /// Says that the loop is over.
    pub(crate) fn set_ended(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Says whether events wait for their callbacks.
    pub(crate) fn set_delivering(&self, delivering: bool) {
        self.lock().delivering = delivering;
        self.changed.notify_all();
    }

    /// Waits until there is no recording that need be waited for and no event is left to deliver; says whether that came within `longest`.
    /// In a callback the events do not count.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let is_teller = self.is_teller();
        self.wait_until(longest, |state| state.is_idle(is_teller))
    }

    /// Waits until, besides, the loop is over; says whether all has ended before it had to.
    pub(crate) fn wait_ended(&self, longest: Duration) -> bool {
        let is_teller = self.is_teller();
        self.wait_until(longest, |state| state.ended && state.is_idle(is_teller)) && !self.lock().cut_short
    }

    fn is_teller(&self) -> bool {
        self.teller.get() == Some(&thread::current().id())
    }

    fn wait_until(&self, longest: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let started = Instant::now();
        let mut state = self.lock();
        while !reached(&state) {
            let left = longest.saturating_sub(started.elapsed());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RecordingKey = RecordingKey::from_raw(1);
    const OTHER: RecordingKey = RecordingKey::from_raw(2);

    #[test]
    fn waiting_ends_at_its_deadline() {
        let idle = Idle::default();
        idle.enter(KEY, 0).unwrap();
        let started = Instant::now();
        assert!(!idle.wait(Duration::from_millis(20)));
        assert!(started.elapsed() >= Duration::from_millis(20));
        idle.leave(KEY);
        assert!(idle.wait(Duration::ZERO));
        assert!(!idle.wait_ended(Duration::ZERO));
        idle.set_ended();
        assert!(idle.wait_ended(Duration::ZERO));
    }

    #[test]
    fn undelivered_events_are_waited_for() {
        let idle = Idle::default();
        idle.set_delivering(true);
        assert!(!idle.wait(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| idle.wait(Duration::from_secs(10)));
            idle.set_delivering(false);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn the_limit_counts_what_has_not_ended_and_no_key_is_used_twice() {
        let idle = Idle::default();
        idle.enter(KEY, 1).unwrap();
        assert!(matches!(idle.enter(OTHER, 1), Err(AgentError::TooManySessions { limit: 1 })));
        assert!(matches!(idle.enter(KEY, 2), Err(AgentError::Duplicate)));
        idle.leave(KEY);
        idle.enter(OTHER, 1).unwrap();
        assert_eq!(idle.recordings(), 1);
    }

    #[test]
    fn a_recording_that_is_released_is_not_waited_for_and_is_there_all_the_same() {
        let idle = Idle::default();
        idle.enter(KEY, 1).unwrap();
        idle.release(KEY);
        assert!(idle.wait(Duration::ZERO));
        assert_eq!(idle.recordings(), 1);
        assert!(matches!(idle.enter(OTHER, 1), Err(AgentError::TooManySessions { limit: 1 })));
        assert!(matches!(idle.enter(KEY, 2), Err(AgentError::Duplicate)));
    }

    #[test]
    fn an_end_that_was_cut_short_is_none_of_all() {
        let idle = Idle::default();
        idle.set_ended();
        assert!(idle.wait_ended(Duration::ZERO));
        idle.cut_short();
        assert!(!idle.wait_ended(Duration::ZERO));
    }

    #[test]
    fn a_recording_in_its_final_state_makes_room_once_and_is_waited_for() {
        let idle = Idle::default();
        idle.enter(KEY, 1).unwrap();
        idle.make_room(KEY);
        idle.make_room(KEY);
        idle.enter(OTHER, 1).unwrap();
        idle.leave(KEY);
        assert!(matches!(idle.enter(KEY, 1), Err(AgentError::TooManySessions { limit: 1 })));
        idle.make_room(OTHER);
        assert_eq!(idle.recordings(), 1);
        assert!(!idle.wait(Duration::ZERO));
    }
}
