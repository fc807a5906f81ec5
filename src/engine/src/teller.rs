//! What happened to branches, told to whoever listens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, BranchId};

use crate::stream::Events;

/// How long receiver reports wait for others. Each branch has one every few seconds, so that many have some in each tick, and
/// whoever hears of them is woken by each: that costs several times as much as what is done about them.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where events go.
pub(crate) type Sink = Box<dyn Fn(BranchId, BranchEvent) + Send>;

/// Gives events to the sink, in order. Receiver reports wait a moment for others, all else is told at once, behind those that
/// wait.
pub(crate) struct Teller {
    sink: Sink,
    waiting: Events,
    /// When what waits is told at the latest.
    due: Option<Instant>,
}

impl Teller {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, waiting: Events::new(), due: None }
    }

    /// When to call [`Teller::tell`] although nothing has happened.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Takes `events`, and tells what is due. The branches that are gone are told of to `gone`.
    pub(crate) fn tell(&mut self, events: &mut Events, now: Instant, gone: impl FnMut(BranchId)) {
        let waits = events.iter().all(|(_, event)| matches!(event, BranchEvent::ReportReceived { .. }));
        if !events.is_empty() {
            self.waiting.append(events);
            self.due.get_or_insert(now + PATIENCE);
        }
        if !waits || self.due.is_some_and(|due| due <= now) {
            self.tell_all(gone);
        }
    }

    /// Tells what waits at once.
    pub(crate) fn tell_all(&mut self, mut gone: impl FnMut(BranchId)) {
        self.due = None;
        for (branch, event) in self.waiting.drain(..) {
            if matches!(event, BranchEvent::Closed(_) | BranchEvent::Crashed { .. }) {
                gone(branch);
            }
            // A sink that panics loses its event; the recordings of others go on.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.sink)(branch, event)));
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use siprec_model::RecordingKey;

    use super::*;

    const REPORT: BranchEvent = BranchEvent::ReportReceived {
        highest_sequence: 1,
        cumulative_lost: 0,
        fraction_lost: 0,
        missing_since: None,
        unbroken: None,
    };

    fn branch(slot: u16) -> BranchId {
        BranchId { recording: RecordingKey::from_raw(1), leg: 0, slot }
    }

    fn teller() -> (Teller, mpsc::Receiver<(BranchId, BranchEvent)>) {
        let (tell, told) = mpsc::channel();
        (Teller::new(Box::new(move |branch, event| tell.send((branch, event)).unwrap())), told)
    }

    #[test]
    fn reports_of_many_branches_are_told_together_and_soon() {
        let (mut teller, told) = teller();
        let start = Instant::now();
        for slot in 0..10 {
            let now = start + PATIENCE / 10 * u32::from(slot);
            teller.tell(&mut Events::from([(branch(slot), REPORT)]), now, |_| panic!("nobody is gone"));
            assert_eq!((told.try_iter().count(), teller.next_timeout()), (0, Some(start + PATIENCE)));
        }
        teller.tell(&mut Events::new(), start + PATIENCE, |_| panic!("nobody is gone"));
        let slots: Vec<u16> = told.try_iter().map(|(branch, _)| branch.slot).collect();
        assert_eq!((slots, teller.next_timeout()), ((0..10).collect(), None));
    }

    #[test]
    fn all_else_is_told_at_once_behind_the_reports_that_came_before() {
        let (mut teller, told) = teller();
        let now = Instant::now();
        let other = BranchEvent::ReportsStopped;
        teller.tell(&mut Events::from([(branch(0), REPORT)]), now, |_| {});
        teller.tell(&mut Events::from([(branch(1), other.clone()), (branch(0), REPORT)]), now, |_| {});
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            [(branch(0), REPORT), (branch(1), other), (branch(0), REPORT)]
        );
        assert_eq!(teller.next_timeout(), None);
        let mut gone = Vec::new();
        let crashed = BranchEvent::Crashed { reason: String::new() };
        teller.tell(&mut Events::from([(branch(1), crashed)]), now, |branch| gone.push(branch));
        assert_eq!(gone, [branch(1)]);
    }
}
