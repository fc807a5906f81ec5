//! One stream of a call on the media thread: from its tap to its branches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use siprec_model::{BranchEvent, BranchId};

use crate::gate::Gate;
use crate::kit::Kit;
use crate::outlet::Outlet;
use crate::section::SendSection;
use crate::tap::TapState;

/// A tapped stream and the branches that it feeds.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// `None` before the tap was met.
    tap: Option<Arc<TapState>>,
    outlets: Vec<Outlet>,
    /// A branch was made: packets are no longer kept for one to come.
    had_outlet: bool,
}

/// What happened to branches, in order.
pub(crate) type Events = VecDeque<(BranchId, BranchEvent)>;

impl Stream {
    pub(crate) fn meet_tap(&mut self, tap: Arc<TapState>) {
        self.tap = Some(tap);
    }

    /// Whether there is a tap, gone or not.
    pub(crate) fn has_tap(&self) -> bool {
        self.tap.is_some()
    }

    pub(crate) fn add(&mut self, outlet: Outlet) {
        self.had_outlet = true;
        self.outlets.push(outlet);
    }

    /// Whether a branch has packets to take.
    pub(crate) fn is_fed(&self) -> bool {
        self.had_outlet && self.tap.as_ref().is_some_and(|tap| tap.queue.is_filled())
    }

    /// Whether nothing can come of this stream any more.
    pub(crate) fn is_over(&self) -> bool {
        self.outlets.is_empty() && self.tap.as_ref().is_none_or(|tap| tap.is_gone())
    }

    /// When [`Stream::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.outlets.iter().filter_map(Outlet::next_timeout).min()
    }

    /// Takes what the tap has queued to all branches, and sends what is due; whether there was anything to do.
    pub(crate) fn serve(
        &mut self,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) -> bool {
        let fed = self.feed(section, kit, events, now);
        let gate = Gate::new(section, self.tap.as_deref());
        let mut flushed = false;
        let mut index = 0;
        while let Some(outlet) = self.outlets.get_mut(index) {
            if !outlet.has_backlog() {
                index += 1;
                continue;
            }
            let sent = guarded(outlet, kit, events, now, |outlet, kit| outlet.flush(gate, kit, now));
            match sent {
                Some(sent) => {
                    // A backlog behind a shut gate is no work: whoever opens it wakes the thread.
                    flushed |= sent || !gate.is_shut();
                    index += 1;
                }
                None => drop(self.outlets.remove(index)),
            }
        }
        fed || flushed
    }

    /// Takes what the tap has queued to all branches, so that what is done to one of them next concerns only later
    /// packets; whether there was any.
    pub(crate) fn feed(
        &mut self,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) -> bool {
        if !self.is_fed() {
            return false;
        }
        let Some(tap) = &self.tap else { return false };
        let gate = Gate::new(section, Some(tap));
        let batch = tap.queue.take();
        self.outlets.retain_mut(|outlet| {
            guarded(outlet, kit, events, now, |outlet, kit| outlet.accept(&batch, gate, kit, now)).is_some()
        });
        true
    }

    /// Runs `act` on one branch after it has taken what came before. `None` when there is no such branch or it
    /// crashed.
    pub(crate) fn act<R>(
        &mut self,
        branch: BranchId,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
        act: impl FnOnce(&mut Outlet, &mut Kit) -> R,
    ) -> Option<R> {
        self.feed(section, kit, events, now);
        let index = self.outlets.iter().position(|outlet| outlet.id() == branch)?;
        let result = guarded(self.outlets.get_mut(index)?, kit, events, now, act);
        if result.is_none() {
            self.outlets.remove(index);
        }
        result
    }

    /// Runs the timers of all branches.
    pub(crate) fn handle_timeout(&mut self, kit: &mut Kit, events: &mut Events, now: Instant) {
        self.outlets.retain_mut(|outlet| {
            if outlet.next_timeout().is_none_or(|due| due > now) {
                return true;
            }
            guarded(outlet, kit, events, now, |outlet, kit| outlet.handle_timeout(kit, now)).is_some()
        });
    }

    /// Ends one branch.
    pub(crate) fn close(
        &mut self,
        branch: BranchId,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.feed(section, kit, events, now);
        let Some(index) = self.outlets.iter().position(|outlet| outlet.id() == branch) else { return };
        let mut outlet = self.outlets.remove(index);
        let gate = Gate::new(section, self.tap.as_deref());
        if let Some(report) =
            guarded(&mut outlet, kit, events, now, |outlet, kit| outlet.close(gate, kit, now))
        {
            outlet.release(&mut kit.pool, now);
            events.push_back((branch, BranchEvent::Closed(Box::new(report))));
        }
    }
}

/// Runs one slice of one branch's work and collects its events. If it panics, the branch is told of as crashed, and
/// the caller drops it; nothing else is touched.
fn guarded<R>(
    outlet: &mut Outlet,
    kit: &mut Kit,
    events: &mut Events,
    now: Instant,
    work: impl FnOnce(&mut Outlet, &mut Kit) -> R,
) -> Option<R> {
    let branch = outlet.id();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let result = work(outlet, kit);
        while let Some(event) = outlet.poll_event() {
            events.push_back((branch, event));
        }
        result
    }));
    match result {
        Ok(result) => Some(result),
        Err(panic) => {
            events.push_back((branch, crashed(&*panic, kit)));
            outlet.release(&mut kit.pool, now);
            None
        }
    }
}

fn crashed(panic: &(dyn std::any::Any + Send), kit: &mut Kit) -> BranchEvent {
    // Whatever the branch had prepared is not sent in its name.
    kit.burst.clear();
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    BranchEvent::Crashed { reason: text.unwrap_or("unknown").to_owned() }
}
