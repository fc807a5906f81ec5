//! Commands on their way to the media engine, in order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchId, MediaControl, MediaControlError};

/// How often a full engine is asked again.
const RETRY: Duration = Duration::from_millis(5);
/// How long a command may wait for a full engine.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most commands that wait for a full engine.
const CAPACITY: usize = 16 * 1024;

/// A command that the engine did not take, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) branch: BranchId,
    pub(crate) error: MediaControlError,
}

/// The way to the engine. A full engine is asked again for 2 s, which a burst of new calls may need; then, and at once
/// when it has stopped, the command is given back, so that its recording learns of it. What only saves memory does not wait.
pub(crate) struct Outbox {
    media: Arc<dyn MediaControl>,
    waiting: VecDeque<(Instant, BranchCommand)>,
}

impl Outbox {
    pub(crate) fn new(media: Arc<dyn MediaControl>) -> Self {
        Self { media, waiting: VecDeque::new() }
    }

    /// Gives a command, behind those that wait.
    ///
    /// # Errors
    /// Whose command it was, when the engine will not take it.
    pub(crate) fn push(&mut self, command: BranchCommand, now: Instant) -> Result<(), Refused> {
        if self.waiting.is_empty() {
            match self.give(command.clone()) {
                Ok(()) => return Ok(()),
                Err(MediaControlError::Full) => {}
                Err(error) => return Err(Refused { branch: command.branch(), error }),
            }
        }
        // The next one says as much, and more.
        if let BranchCommand::Confirm { .. } = command {
            return Ok(());
        }
        if self.waiting.len() >= CAPACITY {
            return Err(Refused { branch: command.branch(), error: MediaControlError::Full });
        }
        self.waiting.push_back((now, command));
        Ok(())
    }

    /// Gives what waits, and takes back what waited too long.
    pub(crate) fn retry(&mut self, now: Instant) -> Vec<Refused> {
        let mut refused = Vec::new();
        while let Some((since, command)) = self.waiting.front() {
            match self.give(command.clone()) {
                Ok(()) => {}
                Err(MediaControlError::Full) if now.duration_since(*since) < PATIENCE => break,
                Err(error) => refused.push(Refused { branch: command.branch(), error }),
            }
            self.waiting.pop_front();
        }
        refused
    }

    /// An engine that panics is as good as stopped, and no reason for the loop to end.
    fn give(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        catch_unwind(AssertUnwindSafe(|| self.media.command(command)))
            .unwrap_or(Err(MediaControlError::Stopped))
    }

    /// When to call [`Outbox::retry`].
    pub(crate) fn next_retry(&self, now: Instant) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| now + RETRY)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use siprec_model::RecordingKey;

    use super::*;

    struct Scripted {
        answers: Mutex<VecDeque<Result<(), MediaControlError>>>,
        taken: Mutex<Vec<u16>>,
    }

    impl MediaControl for Scripted {
        fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Ok(()));
            if answer.is_ok() {
                self.taken.lock().unwrap().push(command.branch().slot);
            }
            answer
        }
    }

    fn outbox(answers: impl IntoIterator<Item = Result<(), MediaControlError>>) -> (Outbox, Arc<Scripted>) {
        let answers = Mutex::new(answers.into_iter().collect());
        let media = Arc::new(Scripted { answers, taken: Mutex::default() });
        (Outbox::new(Arc::clone(&media) as Arc<dyn MediaControl>), media)
    }

    fn pause(slot: u16) -> BranchCommand {
        BranchCommand::Pause { branch: BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot } }
    }

    #[test]
    fn a_full_engine_gets_the_commands_later_and_in_order() {
        let now = Instant::now();
        let (mut outbox, media) = outbox([Err(MediaControlError::Full)]);
        outbox.push(pause(0), now).unwrap();
        outbox.push(pause(1), now).unwrap();
        assert!(outbox.next_retry(now).is_some());
        assert!(outbox.retry(now).is_empty());
        outbox.push(pause(2), now).unwrap();
        assert_eq!(*media.taken.lock().unwrap(), [0, 1, 2]);
        assert_eq!(outbox.next_retry(now), None);
    }

    #[test]
    fn a_command_that_stays_refused_is_given_back() {
        let now = Instant::now();
        let (mut outbox, media) = outbox([Err(MediaControlError::Full); 3]);
        outbox.push(pause(0), now).unwrap();
        assert!(outbox.retry(now + PATIENCE / 2).is_empty());
        let refused = outbox.retry(now + PATIENCE);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].error, MediaControlError::Full);
        assert!(media.taken.lock().unwrap().is_empty());
    }

    #[test]
    fn a_panicking_engine_counts_as_stopped() {
        struct Broken;
        impl MediaControl for Broken {
            fn command(&self, _: BranchCommand) -> Result<(), MediaControlError> {
                panic!("meant to panic")
            }
        }
        let mut outbox = Outbox::new(Arc::new(Broken));
        let refused = outbox.push(pause(0), Instant::now()).unwrap_err();
        assert_eq!(refused.error, MediaControlError::Stopped);
    }

    #[test]
    fn a_stopped_engine_refuses_at_once() {
        let (mut outbox, _) = outbox([Err(MediaControlError::Stopped)]);
        let refused = outbox.push(pause(0), Instant::now()).unwrap_err();
        assert_eq!(refused.error, MediaControlError::Stopped);
        assert_eq!(refused.branch, pause(0).branch());
    }
}
