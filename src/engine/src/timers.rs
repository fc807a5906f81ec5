//! Which streams have a timer, and which is due first.

use std::collections::BTreeSet;
use std::time::Instant;

use siprec_model::StreamId;

/// The timers of all streams, one for each: setting one and finding those that are due costs the same however many streams
/// there are.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, StreamId)>,
}

/// When a stream is due, as [`Timers`] have it.
#[derive(Debug, Default)]
pub(crate) struct Scheduled(Option<Instant>);

impl Timers {
    /// The stream is due then, or never.
    pub(crate) fn set(&mut self, stream: StreamId, scheduled: &mut Scheduled, due: Option<Instant>) {
        if scheduled.0 == due {
            return;
        }
        if let Some(before) = std::mem::replace(&mut scheduled.0, due) {
            self.due.remove(&(before, stream));
        }
        self.due.extend(due.map(|due| (due, stream)));
    }

    /// When the first one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Those that are due, which from then on have no timer: the caller sets [`Scheduled`] anew. What is set meanwhile does not
    /// count.
    pub(crate) fn take_due(&mut self, now: Instant) -> BTreeSet<(Instant, StreamId)> {
        if self.next().is_none_or(|due| due > now) {
            return BTreeSet::new();
        }
        let after = (now, StreamId::from_raw(u64::MAX));
        let later = self.due.split_off(&after);
        std::mem::replace(&mut self.due, later)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_stream_is_due_once_and_at_its_latest_word() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [first, second, third] = [1, 2, 3].map(StreamId::from_raw);
        let mut timers = Timers::default();
        let mut scheduled: [Scheduled; 3] = Default::default();
        timers.set(first, &mut scheduled[0], Some(at(5)));
        timers.set(second, &mut scheduled[1], Some(at(5)));
        timers.set(third, &mut scheduled[2], Some(at(1)));
        timers.set(third, &mut scheduled[2], Some(at(9)));
        assert_eq!(timers.next(), Some(at(5)));
        assert!(timers.take_due(at(4)).is_empty());
        let due: Vec<_> = timers.take_due(at(5)).into_iter().map(|(_, stream)| stream).collect();
        assert_eq!(due, [first, second]);
        assert_eq!(timers.next(), Some(at(9)));
        timers.set(third, &mut scheduled[2], None);
        assert_eq!(timers.next(), None);
    }
}
