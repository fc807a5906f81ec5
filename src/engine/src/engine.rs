//! The handle on the media thread.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use siprec_model::{BranchCommand, BranchEvent, BranchId, MediaControl, MediaControlError};

use crate::config::{EngineConfig, EngineError};
use crate::shared::Shared;
use crate::sys::Waker;
use crate::tap::{Tap, TapConfig};
use crate::worker::Worker;

/// Longest time that dropping an engine takes.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The one thread that does all recordings' media work.
///
/// Streams come in by [`Engine::tap`], orders by [`MediaControl::command`], and what happens goes to the sink.
/// Dropping the engine closes every branch (RTCP BYE, [`BranchEvent::Closed`]) and ends the thread; taps that
/// outlive it take packets until their queue is full.
pub struct Engine {
    shared: Arc<Shared>,
    thread: ThreadId,
}

impl Engine {
    /// Starts the thread. `sink` is called on it with every event, the events of one branch in order; it must
    /// return fast and never wait.
    ///
    /// # Errors
    /// [`EngineError`] when the configuration contradicts itself or the system gives no thread or descriptor.
    pub fn start(
        config: EngineConfig,
        sink: impl Fn(BranchId, BranchEvent) + Send + 'static,
    ) -> Result<Self, EngineError> {
        config.check()?;
        let shared = Arc::new(Shared::new(config.command_queue, Waker::new().map_err(EngineError::Start)?));
        let worker = Worker::new(config, shared.clone(), Box::new(sink)).map_err(EngineError::Start)?;
        let guard = shared.end_guard();
        let handle = thread::Builder::new()
            .name("siprec-engine".into())
            .spawn(move || {
                let _guard = guard;
                worker.run();
            })
            .map_err(EngineError::Start)?;
        Ok(Self { shared, thread: handle.thread().id() })
    }

    /// Taps one more stream. What is pushed before the first branch is created for the stream waits in the tap's
    /// queue.
    pub fn tap(&self, config: TapConfig) -> Tap {
        let (tap, state) = Tap::new(config, self.shared.clone());
        self.shared.add_tap(state);
        tap
    }
}

impl MediaControl for Engine {
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        if self.shared.has_ended() || self.shared.is_asked_to_stop() {
            return Err(MediaControlError::Stopped);
        }
        self.shared.commands.push(command).map_err(|_| MediaControlError::Full)?;
        self.shared.wake();
        Ok(())
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("waiting", &self.shared.commands.len()).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.ask_to_stop();
        // The last handle may be dropped by the sink, on the thread itself, which then ends by itself.
        if thread::current().id() != self.thread {
            self.shared.wait_end(STOP_TIMEOUT);
        }
    }
}
