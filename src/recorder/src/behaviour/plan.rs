//! What a recorder does by itself in a session, and when. No clock: time is an argument.

use std::time::{Duration, Instant};

use super::Behaviour;

/// Something that the recorder does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Pause,
    Resume,
    Move,
    Rekey,
    Refresh,
    AskKeyframe,
    HangUp,
}

/// The steps of one session.
#[derive(Debug)]
pub(crate) struct Plan {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    step: Step,
    again: Option<Duration>,
}

impl Plan {
    /// The steps of a session that was answered at `start`.
    pub(crate) fn new(behaviour: &Behaviour, start: Instant) -> Self {
        let mut entries = Vec::new();
        let mut add = |after: Duration, step, again| entries.push(Entry { at: start + after, step, again });
        for pause in &behaviour.pause_at {
            add(pause.after, Step::Pause, None);
            add(pause.after + pause.length, Step::Resume, None);
        }
        if let Some(pause) = behaviour.pause_every {
            let period = pause.after + pause.length;
            add(pause.after, Step::Pause, Some(period));
            add(period, Step::Resume, Some(period));
        }
        if let Some(after) = behaviour.move_after {
            add(after, Step::Move, None);
        }
        if let Some(after) = behaviour.rekey_after {
            add(after, Step::Rekey, None);
        }
        if let Some(refresh) = behaviour.refresh {
            add(refresh.every, Step::Refresh, Some(refresh.every));
        }
        if let Some(keyframes) = behaviour.keyframes {
            add(keyframes.every, Step::AskKeyframe, Some(keyframes.every));
        }
        if let Some(after) = behaviour.hang_up_after {
            add(after, Step::HangUp, None);
        }
        Self { entries }
    }

    /// When the next step is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.at).min()
    }

    /// The earliest step that is due at `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Step> {
        let index =
            (0..self.entries.len()).min_by_key(|index| self.entries.get(*index).map(|entry| entry.at))?;
        let entry = self.entries.get_mut(index).filter(|entry| entry.at <= now)?;
        let step = entry.step;
        match entry.again {
            Some(again) => entry.at += again,
            None => drop(self.entries.remove(index)),
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pause, Refresh, RefreshMethod};

    #[test]
    fn steps_come_in_the_order_of_their_times_and_repeat() {
        let seconds = Duration::from_secs;
        let behaviour = Behaviour {
            pause_every: Some(Pause { after: seconds(3), length: seconds(1) }),
            refresh: Some(Refresh { every: seconds(5), by: RefreshMethod::Invite }),
            hang_up_after: Some(seconds(9)),
            ..Behaviour::default()
        };
        let start = Instant::now();
        let mut plan = Plan::new(&behaviour, start);
        let mut seen = Vec::new();
        while let Some(at) = plan.next_timeout().filter(|at| *at <= start + seconds(9)) {
            assert_eq!(plan.due(at - Duration::from_nanos(1)), None);
            seen.push(((at - start).as_secs(), plan.due(at).unwrap()));
        }
        let expected = [
            (3, Step::Pause),
            (4, Step::Resume),
            (5, Step::Refresh),
            (7, Step::Pause),
            (8, Step::Resume),
            (9, Step::HangUp),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_honest_recorder_plans_nothing() {
        assert_eq!(Plan::new(&Behaviour::default(), Instant::now()).next_timeout(), None);
    }
}
