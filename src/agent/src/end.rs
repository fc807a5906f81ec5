//! The end of recordings, and of the agent.

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, FailureReason, RecordingKey, RecordingState, SessionEvent, SessionEventKind, SessionInfo,
    StopReason,
};
use siprec_session::{Command, Input};

use crate::worker::Worker;

/// Time for a BYE or CANCEL and its answer, before the agent gives up.
const LAST_CALL: Duration = Duration::from_millis(500);

/// What share of that is left for branches to give their account, and for the application to hear it.
const VERDICT_SHARE: u32 = 5;

/// So long branches may take for their account, however short the time was for everything else.
const ACCOUNT_TIME: Duration = Duration::from_millis(100);

/// The end of the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// What has not ended by then gets its BYE or CANCEL; `None` when that was done.
    last_call: Option<Instant>,
    /// Whose BYE is not answered by then is lost; `None` when that was done.
    verdict: Option<Instant>,
    /// What has not ended by then is given up.
    deadline: Instant,
}

impl Stopping {
    pub(crate) fn next_deadline(&self) -> Instant {
        self.last_call.or(self.verdict).unwrap_or(self.deadline)
    }
}

impl Worker {
    pub(crate) fn shut_down(&mut self, deadline: Instant) {
        let begun = self.stopping.is_some();
        let deadline = self.stopping.map_or(deadline, |stopping| stopping.deadline.min(deadline));
        let now = Instant::now();
        let last = (deadline.saturating_duration_since(now) / 4).min(LAST_CALL);
        let (last_call, verdict) = (Some(deadline - last), Some(deadline - last / VERDICT_SHARE));
        self.stopping = Some(Stopping { last_call, verdict, deadline: deadline.max(now + ACCOUNT_TIME) });
        if !begun {
            self.command_all(&Command::Stop(StopReason::Shutdown));
        }
    }

    /// Ends everything at once, and tells nobody.
    pub(crate) fn leave_all(&mut self, deadline: Instant) {
        self.parts.notifier.mute();
        self.stopping = Some(Stopping { last_call: None, verdict: None, deadline });
        self.command_all(&Command::StopNow);
    }

    pub(crate) fn run_stop(&mut self, now: Instant) {
        let Some(stopping) = &mut self.stopping else { return };
        let deadline = stopping.deadline;
        let is_last_call = stopping.last_call.take_if(|last_call| *last_call <= now).is_some();
        let is_over = stopping.verdict.take_if(|verdict| *verdict <= now).is_some();
        if is_last_call {
            self.command_all(&Command::Part);
        }
        if is_over {
            if !self.is_released() {
                self.parts.idle.cut_short();
            }
            self.command_all(&Command::StopNow);
        }
        if deadline <= now {
            let reason =
                FailureReason::DialogLost("the agent shut down before the recorder answered".to_owned());
            for key in self.keys() {
                self.give_up(key, reason.clone());
            }
        }
    }

    fn command_all(&mut self, command: &Command) {
        for key in self.keys() {
            self.feed(key, Input::Command(command.clone()));
        }
    }

    fn keys(&self) -> Vec<RecordingKey> {
        self.recordings.keys().copied().collect()
    }

    /// Ends a recording without its help.
    pub(crate) fn give_up(&mut self, key: RecordingKey, reason: FailureReason) {
        let Some(entry) = self.recordings.get(&key) else { return };
        for branch in entry.branches.clone() {
            self.command(BranchCommand::Close { branch });
        }
        if let Some(entry) = self.recordings.get(&key)
            && !entry.shared.state().is_final()
        {
            entry.shared.set_state(RecordingState::Failed);
            self.tell_failed(key, &entry.info, reason);
        }
        self.leave_notes(key);
        self.remove(key);
    }

    pub(crate) fn tell_failed(&self, key: RecordingKey, info: &SessionInfo, reason: FailureReason) {
        self.parts.idle.make_room(key);
        let words = reason.to_string();
        let changed = SessionEventKind::StateChanged { state: RecordingState::Failed, reason: words };
        for kind in [SessionEventKind::Failed { reason, sip_code: None }, changed] {
            self.parts.notifier.push(key, SessionEvent { info: info.clone(), kind });
        }
    }

    pub(crate) fn remove(&mut self, key: RecordingKey) {
        self.forget_notes(key, None);
        let Some(entry) = self.recordings.remove(&key) else { return };
        entry.shared.set_over();
        if let Some(deadline) = entry.deadline {
            self.timers.remove(&(deadline, key));
        }
        self.roster().leave_all(key, Instant::now());
        for call_id in &entry.call_ids {
            self.dialogs.remove(call_id);
        }
        self.leave(key);
    }

    /// Nobody need wait for what is left of a recording.
    pub(crate) fn release(&mut self, key: RecordingKey) {
        let Some(entry) = self.recordings.get_mut(&key) else { return };
        entry.is_released = true;
        self.flush();
        self.parts.idle.release(key);
    }

    /// Whether nobody need wait for any recording.
    pub(crate) fn is_released(&self) -> bool {
        self.recordings.values().all(|entry| entry.is_released)
    }

    pub(crate) fn leave(&self, key: RecordingKey) {
        self.flush();
        self.parts.notifier.end(key);
        self.parts.idle.leave(key);
    }

    /// Who has waited for the last recording may end its process at once.
    fn flush(&self) {
        if let Some(keeper) = self.parts.keeper.as_ref().filter(|_| self.is_released()) {
            keeper.flush();
        }
    }

    /// The loop ends: dialogs with recorders that were given up are left to the next process.
    pub(crate) fn let_go(&mut self) {
        for key in self.keys() {
            self.leave_notes(key);
            self.remove(key);
        }
    }
}

/// What the application is told of a panic.
pub(crate) fn panicked() -> FailureReason {
    FailureReason::LocalResources("a fault of the recording client; the log has its place".to_owned())
}
