//! The media engine as the agent sees it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Instant;

use siprec_agent::Agent;
use siprec_model::{BranchCommand, BranchEvent, MediaControl, MediaControlError};

use super::DEADLINE;
use super::answering::Answering;

/// Binds ports, drains and closes at once, unless told otherwise.
#[derive(Default)]
pub(crate) struct FakeMedia {
    answering: Answering,
    commands: Mutex<Vec<BranchCommand>>,
    commanded: Condvar,
    /// What the next commands are answered instead of being taken.
    pub(crate) refusals: Mutex<VecDeque<MediaControlError>>,
    /// Nothing drains before [`FakeMedia::drain_all`].
    pub(crate) holds_backlog: AtomicBool,
    /// The next command is not taken before somebody sends here, or nobody can any more.
    pub(crate) stalled: Mutex<Option<mpsc::Receiver<()>>>,
}

impl FakeMedia {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn connect(&self, agent: &Arc<Agent>) {
        self.answering.connect(agent);
    }

    /// Waits until a command like this was given.
    pub(crate) fn wait_for(&self, what: &str, is_wanted: impl Fn(&BranchCommand) -> bool) -> BranchCommand {
        let until = Instant::now() + DEADLINE;
        let mut commands = self.commands.lock().unwrap();
        loop {
            if let Some(command) = commands.iter().find(|command| is_wanted(command)) {
                return command.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} among {commands:?}");
            commands = self.commanded.wait_timeout(commands, left).unwrap().0;
        }
    }

    pub(crate) fn commands(&self) -> Vec<BranchCommand> {
        self.commands.lock().unwrap().clone()
    }

    /// Reports that every branch told to drain has nothing left.
    pub(crate) fn drain_all(&self) {
        for command in self.commands() {
            if let BranchCommand::Drain { branch } = command {
                self.answering.tell(branch, BranchEvent::BacklogEmpty { recalls: 0 });
            }
        }
    }
}

impl MediaControl for FakeMedia {
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError> {
        if let Some(released) = self.stalled.lock().unwrap().take() {
            // It is released, or the test is over.
            let _ = released.recv_timeout(DEADLINE);
        }
        if let Some(refusal) = self.refusals.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        let branch = command.branch();
        let is_held =
            matches!(command, BranchCommand::Drain { .. }) && self.holds_backlog.load(Ordering::Relaxed);
        let event = self.answering.answer(&command).filter(|_| !is_held);
        self.commands.lock().unwrap().push(command);
        self.commanded.notify_all();
        if let Some(event) = event {
            self.answering.tell(branch, event);
        }
        Ok(())
    }
}
