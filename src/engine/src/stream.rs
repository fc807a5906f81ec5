//! One stream of a call on the media thread: from its tap to its branches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, BranchId, StreamId};

use crate::decipher::Decipher;
use crate::gate::Gate;
use crate::gathering::Gathering;
use crate::hosts::Refuser;
use crate::kit::{Kit, Token};
use crate::losses::Losses;
use crate::outlet::{Outlet, Refusing};
use crate::rota::Rota;
use crate::section::SendSection;
use crate::tap::TapState;
use crate::timers::{Scheduled, Timers};

/// How long packets of a tap that is gone wait for a first branch. The agent needs some milliseconds to make one;
/// a call may be over sooner.
const ORPHAN_TIME: Duration = Duration::from_secs(10);

/// A tapped stream and the branches that it feeds.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// `None` before the tap was met.
    tap: Option<Arc<TapState>>,
    /// None while nothing of it was ever encrypted.
    decipher: Option<Box<Decipher>>,
    /// What comes is confidential.
    confidential: bool,
    outlets: Vec<Outlet>,
    /// Branches that drain as soon as no packet waits for a key, or for another branch.
    to_drain: Vec<BranchId>,
    /// Branches that end as soon as no packet waits for another branch.
    to_close: Vec<BranchId>,
    gathering: Gathering,
    /// Until when the packets that a tap left behind wait for a first branch.
    orphan_until: Option<Instant>,
    /// There may be something to do although no packet has come.
    restless: bool,
    /// When it is known to be due.
    scheduled: Scheduled,
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

    pub(crate) fn add(&mut self, mut outlet: Outlet, now: Instant) {
        outlet.begin_discretion(self.confidential);
        self.restless = true;
        self.orphan_until = None;
        self.outlets.push(outlet);
        self.gathering.add(self.tap.as_ref().map(|tap| tap.branches), now);
    }

    /// Packets wait for no other branch any more.
    pub(crate) fn stop_gathering(&mut self) {
        self.restless = true;
        self.gathering.stop();
    }

    /// Whether no branch is here, or not any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.outlets.is_empty()
    }

    /// Whether a branch has packets to take.
    pub(crate) fn is_fed(&self) -> bool {
        self.gathering.has_begun()
            && !self.gathering.is_on()
            && self.tap.as_ref().is_some_and(|tap| tap.queue.is_filled() || tap.keyring.has_news())
    }

    /// Whether nothing can come of this stream any more. What a tap left behind before there was a branch waits for
    /// one, a while: [`Stream::orphaned_until`] tells how long.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if !self.outlets.is_empty() {
            return false;
        }
        match &self.tap {
            Some(tap) if !tap.is_gone() => false,
            Some(tap) if !self.gathering.has_begun() && tap.queue.is_filled() => {
                now >= *self.orphan_until.get_or_insert(now + ORPHAN_TIME)
            }
            _ => true,
        }
    }

    /// When [`Stream::handle_timeout`] or [`Stream::is_over`] has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let late = self.decipher.as_ref().and_then(|decipher| decipher.next_timeout());
        let waits = self.orphan_until.into_iter().chain(self.gathering.until()).chain(late);
        self.outlets.iter().filter_map(Outlet::next_timeout).chain(waits).min()
    }

    /// Has its timer and its turns set to what they are now. Of a stream whose timer was due, once that was dealt with.
    pub(crate) fn schedule(&mut self, id: StreamId, timers: &mut Timers, rota: &mut Rota) {
        let due = self.next_timeout();
        timers.set(id, &mut self.scheduled, due);
        rota.set_eager(id, self.restless || self.outlets.iter().any(Outlet::is_eager));
    }

    /// Whether so much has been queued that it should not wait for its turn.
    pub(crate) fn is_pressed(&self) -> bool {
        self.tap.as_ref().is_some_and(|tap| tap.queue.is_pressed())
    }

    /// Whether there is nothing for [`Stream::serve`] to do. Three times out of four: then not even the branches' memory is
    /// looked at.
    pub(crate) fn is_idle(&self) -> bool {
        !self.restless && !self.is_fed()
    }

    /// Takes what the tap has queued to all branches, and sends what is due; whether there was anything to do. What leaves by
    /// a trunk waits there.
    pub(crate) fn serve(
        &mut self,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) -> bool {
        self.gathering.expire(now);
        let fed = self.take_fed(section, kit, events, now);
        if !self.gathering.is_on() {
            // Where nothing was queued, nothing else does.
            self.drain_ready(kit, events, now);
            for branch in std::mem::take(&mut self.to_close) {
                self.close(branch, section, kit, events, now);
            }
        }
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
                    flushed |= sent || outlet.is_draining() || !gate.is_shut();
                    index += 1;
                }
                None => drop(self.outlets.remove(index)),
            }
        }
        self.restless = self.gathering.is_on()
            || !self.to_drain.is_empty()
            || !self.to_close.is_empty()
            || self.outlets.iter().any(Outlet::has_backlog);
        fed || flushed
    }

    /// Takes what the tap has queued to all branches and sends it, so that what is done to one of them next concerns only later
    /// packets.
    pub(crate) fn feed(&mut self, section: &SendSection, kit: &mut Kit, events: &mut Events, now: Instant) {
        if self.take_fed(section, kit, events, now) {
            kit.trunks.flush();
            self.settle(kit, events, now);
        }
    }

    /// Tells the branches what became of packets that left by a trunk.
    pub(crate) fn settle(&mut self, kit: &mut Kit, events: &mut Events, now: Instant) {
        if kit.trunks.untold().is_some() {
            self.each(kit, events, now, |outlet, kit| {
                let outcome = kit.trunks.take_outcome(outlet.id());
                outlet.settle(outcome, kit, now);
            });
        }
    }

    /// Some addresses were found to refuse what came by a trunk.
    pub(crate) fn hear_refusals(
        &mut self,
        refusing: &Refusing,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.each(kit, events, now, |outlet, kit| outlet.hear_refusals(refusing, kit, now));
    }

    /// What is refused of several calls since then.
    pub(crate) fn hear_host(
        &mut self,
        refuser: Refuser,
        since: Instant,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.each(kit, events, now, |outlet, _| outlet.hear_host(refuser, since, now));
    }

    /// Takes what the tap has queued to all branches; whether there was any.
    fn take_fed(&mut self, section: &SendSection, kit: &mut Kit, events: &mut Events, now: Instant) -> bool {
        if !self.is_fed() {
            return false;
        }
        let Some(tap) = &self.tap else { return false };
        self.restless = true;
        let gate = Gate::new(section, Some(tap));
        let news = tap.keyring.take();
        // After the keys: those that were there before a packet serve it.
        let mut batch = tap.queue.take();
        if (news.is_some() || batch.changes_security()) && self.decipher.is_none() {
            self.decipher = Some(Box::new(Decipher::new(kit.late_room.clone())));
        }
        let mut released = None;
        let mut given_up = Losses::default();
        if let Some(decipher) = &mut self.decipher {
            let wanted = self.outlets.iter().any(Outlet::wants_packets);
            if let Some(news) = news {
                decipher.learn(news);
                released = decipher.release(self.confidential);
            }
            decipher.expire(now);
            decipher.work(&mut batch, wanted);
            decipher.tell_used(&tap.keyring);
            decipher.tell_positions(&tap.keyring);
            given_up = decipher.given_up();
        }
        self.outlets.retain_mut(|outlet| {
            let fed = guarded(outlet, kit, events, now, |outlet, kit| {
                outlet.lose(given_up, now);
                if let Some(released) = &released {
                    outlet.accept(released, gate, kit, now);
                }
                outlet.accept(&batch, gate, kit, now);
            });
            fed.is_some()
        });
        self.confidential = batch.confidential().unwrap_or(self.confidential);
        drop(batch);
        self.drain_ready(kit, events, now);
        true
    }

    /// Drains the branches for which nothing waits for a key any more.
    fn drain_ready(&mut self, kit: &mut Kit, events: &mut Events, now: Instant) {
        let Self { to_drain, outlets, .. } = self;
        if to_drain.is_empty() || self.gathering.is_on() {
            return;
        }
        let is_over = outlets.iter().all(|outlet| outlet.is_draining() || to_drain.contains(&outlet.id()));
        if let Some(decipher) = &mut self.decipher {
            decipher.give_up_late();
            if is_over {
                decipher.give_up();
            }
            let given_up = decipher.given_up();
            self.each(kit, events, now, |outlet, _| outlet.lose(given_up, now));
        }
        if !self.has_waiting() {
            let branches = std::mem::take(&mut self.to_drain);
            self.each(kit, events, now, |outlet, _| {
                if branches.contains(&outlet.id()) {
                    outlet.drain(now);
                }
            });
        }
    }

    /// Nothing more comes for a branch. It drains when no packet waits for a key any more that may still come: once all
    /// branches are to drain, only what is being asked for.
    pub(crate) fn drain(
        &mut self,
        branch: BranchId,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.feed(section, kit, events, now);
        self.restless = true;
        self.to_drain.push(branch);
        self.drain_ready(kit, events, now);
    }

    /// The packets that wait for a key of the call.
    fn waiting(&self) -> Losses {
        self.decipher.as_ref().map(|decipher| decipher.waiting()).unwrap_or_default()
    }

    /// Whether any waits for one that is asked for.
    fn has_waiting(&self) -> bool {
        self.decipher.as_ref().is_some_and(|decipher| decipher.awaits_keys())
    }

    /// Runs `act` on every branch.
    fn each(
        &mut self,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
        act: impl Fn(&mut Outlet, &mut Kit),
    ) {
        self.outlets.retain_mut(|outlet| guarded(outlet, kit, events, now, &act).is_some());
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
        self.restless = true;
        let index = self.outlets.iter().position(|outlet| outlet.id() == branch)?;
        let result = guarded(self.outlets.get_mut(index)?, kit, events, now, act);
        if result.is_none() {
            self.outlets.remove(index);
        }
        result
    }

    /// One of the branch's sockets has something to tell.
    pub(crate) fn receive(
        &mut self,
        branch: BranchId,
        token: Token,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        // Errors are of what has left, not of what leaves now.
        let Some(outlet) = self.outlets.iter().find(|outlet| outlet.id() == branch) else { return };
        let refused = outlet.receive_errors(token, now);
        self.feed(section, kit, events, now);
        self.restless = true;
        let gate = Gate::new(section, self.tap.as_deref());
        let Some(index) = self.outlets.iter().position(|outlet| outlet.id() == branch) else { return };
        let Some(outlet) = self.outlets.get_mut(index) else { return };
        let receive = |outlet: &mut Outlet, kit: &mut Kit| outlet.receive(token, refused, gate, kit, now);
        let heard = guarded(outlet, kit, events, now, receive);
        if heard.is_none() {
            self.outlets.remove(index);
        }
    }

    /// Runs the timers of all branches: that of the stream was due, and is set no more.
    pub(crate) fn handle_timeout(&mut self, kit: &mut Kit, events: &mut Events, now: Instant) {
        self.restless = true;
        self.scheduled = Scheduled::default();
        if let Some(decipher) = &mut self.decipher {
            decipher.expire(now);
            let given_up = decipher.given_up();
            self.each(kit, events, now, |outlet, _| outlet.lose(given_up, now));
        }
        self.outlets.retain_mut(|outlet| {
            if outlet.next_timeout().is_none_or(|due| due > now) {
                return true;
            }
            guarded(outlet, kit, events, now, |outlet, kit| outlet.handle_timeout(kit, now)).is_some()
        });
    }

    /// Ends one branch, once it has what came before.
    pub(crate) fn close(
        &mut self,
        branch: BranchId,
        section: &SendSection,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.restless = true;
        if self.gathering.is_on() {
            return self.to_close.push(branch);
        }
        self.feed(section, kit, events, now);
        let Some(index) = self.outlets.iter().position(|outlet| outlet.id() == branch) else { return };
        let mut outlet = self.outlets.remove(index);
        let waiting = self.waiting();
        let gate = Gate::new(section, self.tap.as_deref());
        if let Some(report) = guarded(&mut outlet, kit, events, now, |outlet, kit| {
            // Others may still get them; this branch does not.
            outlet.lose(waiting, now);
            outlet.close(gate, kit, now)
        }) {
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
    kit.abandon_unassigned();
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    BranchEvent::Crashed { reason: text.unwrap_or("unknown").to_owned() }
}

#[cfg(test)]
mod tests;
