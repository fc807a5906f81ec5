//! What callers hand to the loop. Nothing here waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use siprec_model::{BranchEvent, BranchId, RecordingKey, RecordingState};
use siprec_session::{Command, RecordingConfig};
use tokio::sync::Notify;

use crate::AgentError;
use crate::notifier::Callback;

/// Most commands of one recording that wait for the loop.
const COMMANDS: usize = 1024;
/// Most media events that wait and only inform.
const INFORMING_EVENTS: usize = 8192;

/// Something for the loop to do.
pub(crate) enum Item {
    Open(Box<Opening>),
    Command(RecordingKey, Command),
    Media(BranchId, BranchEvent),
    /// There are other pools.
    Pools,
    /// Stop everything, and be over at this time.
    Shutdown(Instant),
    /// The same at once and in silence: the process is about to exit.
    Leave(Instant),
}

/// A recording to be made.
pub(crate) struct Opening {
    pub(crate) config: RecordingConfig,
    pub(crate) seed: [u8; 32],
    pub(crate) opened: Instant,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: Callback,
}

/// What a recording and its handles share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: AtomicU8,
    over: AtomicBool,
    commands: AtomicUsize,
}

impl Shared {
    pub(crate) fn state(&self) -> RecordingState {
        let state = self.state.load(Ordering::Acquire);
        STATES.get(usize::from(state)).copied().unwrap_or_default()
    }

    pub(crate) fn set_state(&self, state: RecordingState) {
        let number = STATES.iter().position(|known| *known == state).unwrap_or_default();
        self.state.store(u8::try_from(number).unwrap_or_default(), Ordering::Release);
    }

    /// Whether nothing comes of the recording any more.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn set_over(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Counts a command in, unless too many wait.
    fn reserve(&self) -> bool {
        let reserved = self.commands.try_update(Ordering::AcqRel, Ordering::Acquire, |commands| {
            (commands < COMMANDS).then_some(commands + 1)
        });
        reserved.is_ok()
    }

    /// Counts a command out.
    pub(crate) fn release(&self) {
        let _ =
            self.commands.try_update(Ordering::AcqRel, Ordering::Acquire, |commands| commands.checked_sub(1));
    }
}

const STATES: [RecordingState; 7] = [
    RecordingState::Idle,
    RecordingState::Starting,
    RecordingState::Recording,
    RecordingState::Paused,
    RecordingState::Draining,
    RecordingState::Stopped,
    RecordingState::Failed,
];

/// The queue into the loop, in order. Its bounds: a recording has at most 1024 commands waiting, a further one is
/// refused; media events that only inform are dropped and counted while 8192 of them wait; those on which the course
/// of a recording depends are always taken, and each branch makes only a few of them.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    informing: usize,
    dropped: u64,
    /// No further recordings.
    closed: bool,
    /// Nobody reads any more.
    ended: bool,
}

impl Inbox {
    /// Queues a recording.
    ///
    /// # Errors
    /// [`AgentError::ShutDown`].
    pub(crate) fn open(&self, opening: Opening) -> Result<(), AgentError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(AgentError::ShutDown);
        }
        queue.items.push_back(Item::Open(Box::new(opening)));
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues a command.
    ///
    /// # Errors
    /// [`AgentError::Busy`].
    pub(crate) fn command(
        &self,
        key: RecordingKey,
        shared: &Shared,
        command: Command,
    ) -> Result<(), AgentError> {
        if !shared.reserve() {
            return Err(AgentError::Busy);
        }
        self.push(Item::Command(key, command));
        Ok(())
    }

    /// Queues what happened on a branch.
    pub(crate) fn media(&self, branch: BranchId, event: BranchEvent) {
        let informs = only_informs(&event);
        let mut queue = self.lock();
        if queue.ended {
            return;
        }
        if informs && queue.informing >= INFORMING_EVENTS {
            queue.dropped += 1;
            return;
        }
        queue.informing += usize::from(informs);
        queue.items.push_back(Item::Media(branch, event));
        drop(queue);
        self.filled.notify_one();
    }

    /// Says that there are other pools.
    pub(crate) fn pools(&self) {
        self.push(Item::Pools);
    }

    /// Refuses recordings from now on and has the loop stop those that are open; the earliest deadline counts.
    pub(crate) fn shut_down(&self, deadline: Instant) {
        self.lock().closed = true;
        self.push(Item::Shutdown(deadline));
    }

    /// Refuses recordings from now on, and has the loop leave those that are open.
    pub(crate) fn leave(&self, deadline: Instant) {
        self.lock().closed = true;
        self.push(Item::Leave(deadline));
    }

    /// Lets go of what is queued, and takes nothing more: the loop is over.
    pub(crate) fn end(&self) {
        let mut queue = self.lock();
        (queue.closed, queue.ended) = (true, true);
        let left = std::mem::take(&mut queue.items);
        drop(queue);
        // Outside of the lock: an opening owns a callback, and what that owns may do anything when it goes.
        drop(left);
    }

    /// Takes all that is queued, and says how many informing events were dropped since the last time.
    pub(crate) fn take(&self) -> (VecDeque<Item>, u64) {
        let mut queue = self.lock();
        queue.informing = 0;
        (std::mem::take(&mut queue.items), std::mem::take(&mut queue.dropped))
    }

    /// Done when something may be queued.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn push(&self, item: Item) {
        let mut queue = self.lock();
        if !queue.ended {
            queue.items.push_back(item);
            drop(queue);
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a recording's course does not depend on the event: such events may come at any rate.
fn only_informs(event: &BranchEvent) -> bool {
    matches!(
        event,
        BranchEvent::RemoteRefused { .. }
            | BranchEvent::ReportReceived { .. }
            | BranchEvent::KeyframeWanted
            | BranchEvent::SourceChanged { .. }
            | BranchEvent::PayloadUnknown { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: BranchId = BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot: 0 };

    #[test]
    fn events_that_inform_are_dropped_over_the_bound_and_others_never() {
        let inbox = Inbox::default();
        for _ in 0..INFORMING_EVENTS + 3 {
            inbox.media(BRANCH, BranchEvent::KeyframeWanted);
        }
        inbox.media(BRANCH, BranchEvent::BacklogEmpty { recalls: 0 });
        let (items, dropped) = inbox.take();
        assert_eq!((items.len(), dropped), (INFORMING_EVENTS + 1, 3));
        assert!(matches!(items.back(), Some(Item::Media(_, BranchEvent::BacklogEmpty { .. }))));
        inbox.media(BRANCH, BranchEvent::KeyframeWanted);
        assert_eq!(inbox.take().0.len(), 1, "there is room again");
    }

    #[test]
    fn a_recording_cannot_fill_the_queue_with_commands() {
        let (inbox, shared, other) = (Inbox::default(), Shared::default(), Shared::default());
        let key = RecordingKey::from_raw(1);
        for _ in 0..COMMANDS {
            inbox.command(key, &shared, Command::Pause).unwrap();
        }
        assert!(matches!(inbox.command(key, &shared, Command::Pause), Err(AgentError::Busy)));
        inbox.command(RecordingKey::from_raw(2), &other, Command::Pause).unwrap();
        shared.release();
        inbox.command(key, &shared, Command::Pause).unwrap();
    }

    #[test]
    fn every_state_survives_the_handle() {
        for state in STATES {
            let shared = Shared::default();
            shared.set_state(state);
            assert_eq!(shared.state(), state);
        }
    }
}
