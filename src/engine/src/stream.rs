//! One stream of a call on the media thread: from its tap to its branches.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, BranchId, StreamId};

use crate::decipher::Decipher;
use crate::gate::Gate;
use crate::gathering::Gathering;
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

    /// A host has refused streams of several calls since then.
    pub(crate) fn hear_host(
        &mut self,
        host: IpAddr,
        since: Instant,
        kit: &mut Kit,
        events: &mut Events,
        now: Instant,
    ) {
        self.each(kit, events, now, |outlet, _| outlet.hear_host(host, since, now));
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
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::{Duration, SystemTime};

    use rtcp_types::prelude::*;
    use rtcp_types::{ReceiverReport, ReportBlock};
    use siprec_media::dtls::Identity;
    use siprec_media::srtp::{KeyLimits, Protector};
    use siprec_media::{HoldMemory, WallClock};
    use siprec_model::{
        BranchLimits, Component, DropCause, DtlsAssociation, DtlsRole, MediaSecurity, Medium, OpenBranch,
        PayloadRule, RecordingKey, RtcpMode, SrtpKey, SrtpSuite,
    };

    use super::*;
    use crate::budget::Budget;
    use crate::burst::{Burst, Outcome};
    use crate::config::MediaSource;
    use crate::hosts::RefusingHosts;
    use crate::kit::Token;
    use crate::late::LateRoom;
    use crate::outlet::{Creation, Queued};
    use crate::ports::PortPool;
    use crate::shared::Shared;
    use crate::sys::{Epoll, Undelivered, Waker};
    use crate::tap::{Tap, TapConfig};
    use crate::trunk::{TrunkId, Trunks};

    const SSRC: u32 = 99;

    /// One stream with one branch, on a clock of the test's own.
    struct Rig {
        shared: Arc<Shared>,
        kit: Kit,
        stream: Stream,
        tap: Tap,
        branch: BranchId,
        recorder: UdpSocket,
        events: Events,
        now: Instant,
    }

    impl Rig {
        /// A backlog leaves at `catch_up` times real time.
        fn new(catch_up: f32) -> Self {
            Self::with(catch_up, TapConfig::default())
        }

        fn with(catch_up: f32, tap: TapConfig) -> Self {
            Self::sending_by(MediaSource::PerStream, catch_up, tap)
        }

        fn sending_by(source: MediaSource, catch_up: f32, tap: TapConfig) -> Self {
            let now = Instant::now();
            let shared = Arc::new(Shared::new(1, Waker::new().unwrap()));
            let mut kit = Kit {
                burst: Burst::default(),
                trunks: Trunks::new(shared.section.clone()),
                source,
                budget: Budget::new(5000, now),
                memory: HoldMemory::new(1 << 20),
                clock: WallClock::new(now, SystemTime::now()),
                epoll: Epoll::new().unwrap(),
                pool: PortPool::new(None, None),
                identity: Arc::new(Identity::generate().unwrap()),
                scratch: Vec::new(),
                segmentation: false,
                key_limits: KeyLimits::default(),
                refusing_hosts: RefusingHosts::default(),
                late_room: LateRoom::default(),
            };
            let (tap, state) = Tap::new(tap, shared.clone());
            let (branch, mut outlet) = outlet(catch_up, &kit, now);
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let recorder = UdpSocket::bind((local, 0)).unwrap();
            recorder.set_nonblocking(true).unwrap();
            outlet.bind(local, RtcpMode::Mux, 1, &mut kit, now);
            let mut stream = Stream::default();
            stream.meet_tap(state);
            stream.add(outlet, now);
            Self { shared, kit, stream, tap, branch, recorder, events: Events::new(), now }
        }

        fn open(&mut self) {
            self.open_at(self.recorder.local_addr().unwrap());
        }

        fn open_at(&mut self, rtp: SocketAddr) {
            let target = self.target(rtp, MediaSecurity::Plain);
            self.act(|outlet, kit, now| outlet.open(&target, kit, now));
        }

        fn target(&self, rtp: SocketAddr, security: MediaSecurity) -> OpenBranch {
            let payloads = vec![PayloadRule { from: 0, to: 0 }];
            let branch = self.branch;
            OpenBranch {
                branch,
                rtp,
                rtcp: None,
                security,
                may_expose: false,
                payloads,
                catch_up: None,
                expects_reports: false,
                retransmission: false,
            }
        }

        fn act(&mut self, act: impl FnOnce(&mut Outlet, &mut Kit, Instant)) {
            let now = self.now;
            let Self { shared, kit, stream, branch, events, .. } = self;
            stream.act(*branch, &shared.section, kit, events, now, |outlet, kit| act(outlet, kit, now));
        }

        /// The recorder's host refuses what has just left of another call.
        fn refuse_another(&mut self, other: RecordingKey) {
            let Self { recorder, stream, kit, events, now, .. } = self;
            let host = recorder.local_addr().unwrap().ip();
            kit.refusing_hosts.note(host, other, *now, *now);
            while let Some((host, since)) = kit.refusing_hosts.take_general(*now) {
                stream.hear_host(host, since, kit, events, *now);
            }
        }

        /// The recorder takes the next packet, and reports to that address that it has.
        fn report_next(&self, to: SocketAddr) {
            self.report_next_as(1, to);
        }

        fn report_next_as(&self, receiver: u32, to: SocketAddr) {
            let sent = packets(&self.recorder, 1).remove(0);
            let number = u16::from_be_bytes([sent[2], sent[3]]);
            let block = ReportBlock::builder(SSRC).extended_sequence_number(number.into());
            let mut report = [0; 32];
            ReceiverReport::builder(receiver).add_report_block(block).write_into(&mut report).unwrap();
            self.recorder.send_to(&report, to).unwrap();
        }

        fn hear(&mut self) {
            let Self { shared, kit, stream, branch, events, now, .. } = self;
            stream.receive(*branch, Token::of(1, Component::Rtp), &shared.section, kit, events, *now);
        }

        fn push(&self, sequence: u8, arrival: Instant) {
            self.tap.push(&[0x80, 0, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, SSRC as u8, 0xD5], arrival);
        }

        fn serve(&mut self) -> bool {
            self.kit.budget.refill(self.now);
            self.stream.serve(&self.shared.section, &mut self.kit, &mut self.events, self.now)
        }

        /// What the media thread does once it has been at all streams.
        fn flush(&mut self) {
            self.kit.trunks.flush();
            self.stream.settle(&mut self.kit, &mut self.events, self.now);
        }

        fn received(&self) -> usize {
            std::iter::from_fn(|| self.recorder.recv(&mut [0; 1500]).ok()).count()
        }

        fn told(&mut self) -> Vec<BranchEvent> {
            self.events.drain(..).map(|(_, event)| event).collect()
        }

        /// What is told while time passes and nothing comes, and when.
        fn told_within(&mut self, time: Duration) -> Vec<(BranchEvent, Instant)> {
            let (mut told, end) = (Vec::new(), self.now + time);
            while let Some(due) = self.stream.next_timeout().filter(|due| *due < end) {
                self.now = self.now.max(due);
                self.stream.handle_timeout(&mut self.kit, &mut self.events, self.now);
                told.extend(self.told().into_iter().map(|event| (event, due)));
            }
            self.now = end;
            told
        }
    }

    /// So many packets, once they have come.
    fn packets(recorder: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        recorder.set_nonblocking(false).unwrap();
        recorder.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let packets = (0..count).map(|_| {
            let mut packet = vec![0; 1500];
            let size = recorder.recv(&mut packet).unwrap();
            packet.truncate(size);
            packet
        });
        let packets = packets.collect();
        recorder.set_nonblocking(true).unwrap();
        packets
    }

    /// A branch of a recording of its own.
    fn outlet(catch_up: f32, kit: &Kit, now: Instant) -> (BranchId, Outlet) {
        let branch = BranchId { recording: RecordingKey::unique(), leg: 0, slot: 0 };
        let limits = BranchLimits { catch_up, ..BranchLimits::default() };
        let cname = "party".to_owned();
        let creation = Creation { branch, medium: Medium::Audio, clock_rate: 8000, cname, limits, seed: 1 };
        (branch, Outlet::new(creation, kit, now))
    }

    #[test]
    fn packets_wait_for_every_branch_that_their_tap_was_promised_and_not_for_ever() {
        for comes in [true, false] {
            let mut rig = Rig::with(1.0, TapConfig { branches: 2, ..TapConfig::default() });
            let first = rig.branch;
            rig.push(0, rig.now);
            rig.push(1, rig.now);
            assert!(!rig.serve());
            // The first branch is to end before the second is there.
            let Rig { shared, kit, stream, events, now, .. } = &mut rig;
            stream.drain(first, &shared.section, kit, events, *now);
            stream.close(first, &shared.section, kit, events, *now);
            let (second, outlet) = outlet(1.0, kit, *now);
            let end = stream.next_timeout().unwrap();
            assert!(end <= *now + Duration::from_secs(1));
            if comes {
                stream.add(outlet, *now);
            } else {
                rig.now = end - Duration::from_millis(1);
                assert!(!rig.serve());
                rig.now = end;
            }
            rig.serve();
            let mut branches = vec![first];
            if comes {
                let Rig { shared, kit, stream, events, now, .. } = &mut rig;
                stream.close(second, &shared.section, kit, events, *now);
                branches.push(second);
            }
            let closed = |(branch, event): (BranchId, BranchEvent)| match event {
                BranchEvent::Closed(report) => Some((branch, report.seen)),
                _ => None,
            };
            let seen: Vec<_> = rig.events.drain(..).filter_map(closed).collect();
            assert_eq!(seen, branches.into_iter().map(|branch| (branch, 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_a_tap_left_behind_waits_for_its_first_branch_and_not_for_ever() {
        let shared = Arc::new(Shared::new(1, Waker::new().unwrap()));
        let now = Instant::now();
        let orphan = |packets: u8| {
            let (tap, state) = Tap::new(TapConfig::default(), shared.clone());
            let mut stream = Stream::default();
            stream.meet_tap(state);
            (0..packets).for_each(|_| tap.push(&[0x80], now));
            assert!(!stream.is_over(now));
            stream
        };
        assert!(orphan(0).is_over(now), "nothing is left to wait with");
        let mut stream = orphan(1);
        assert!(!stream.is_over(now));
        let end = stream.next_timeout().unwrap();
        assert!(!stream.is_over(end - Duration::from_millis(1)));
        assert!(stream.is_over(end));
    }

    /// A known source goes on under a key that comes after `delay`, of which somebody is asked, or not. Gives how many
    /// packets have left by then, and the account.
    fn with_late_key(delay: Duration, asked: bool) -> (usize, siprec_model::BranchReport) {
        let mut rig = Rig::new(1.0);
        let key = |mark| SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[mark; 28]).unwrap();
        let mut call = Protector::new(&key(1)).unwrap();
        rig.tap.set_secured(true);
        rig.tap.add_key(key(1).into());
        let to = rig.recorder.local_addr().unwrap();
        let target = OpenBranch { may_expose: true, ..rig.target(to, MediaSecurity::Plain) };
        rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
        let start = rig.now;
        let push = |rig: &Rig, call: &mut Protector, index: u8, arrival| {
            let mut packet = vec![0x80, 0, 0, index, 0, 0, index, 0, 0, 0, 0, SSRC as u8, 0xD5];
            let length = packet.len();
            call.protect_rtp(&mut packet, length, SSRC, index.into()).unwrap();
            rig.tap.push(&packet, arrival);
        };
        push(&rig, &mut call, 0, start);
        rig.serve();
        rig.flush();
        call.rekey(&key(2)).unwrap();
        (1..4).for_each(|index| push(&rig, &mut call, index, start));
        rig.serve();
        if asked {
            rig.tap.expect_key(SSRC);
            rig.serve();
        }
        rig.now = start + delay;
        while let Some(due) = rig.stream.next_timeout().filter(|due| *due <= rig.now) {
            let Rig { kit, stream, events, .. } = &mut rig;
            stream.handle_timeout(kit, events, due);
            assert!(stream.next_timeout().is_none_or(|next| next > due));
        }
        rig.tap.add_key(key(2).into());
        rig.tap.settle_key(SSRC);
        rig.serve();
        rig.flush();
        let left = packets(&rig.recorder, 1).len() + rig.received();
        let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
        stream.close(*branch, &shared.section, kit, events, *now);
        let report = rig.told().into_iter().find_map(|event| match event {
            BranchEvent::Closed(report) => Some(*report),
            _ => None,
        });
        (left, report.unwrap())
    }

    #[test]
    fn packets_of_a_known_source_wait_a_second_for_a_new_key_and_as_long_as_it_is_asked_for() {
        for (milliseconds, asked, sent) in [(999, false, 4), (1000, false, 1), (5000, true, 4)] {
            let (left, report) = with_late_key(Duration::from_millis(milliseconds), asked);
            let lost = report.drops.of(DropCause::NotAuthentic);
            assert_eq!((left, report.seen, report.sent, lost), (sent, 4, sent as u64, 4 - sent as u64));
        }
    }

    #[test]
    fn a_backlog_behind_a_shut_gate_is_no_work_until_it_drains() {
        let mut rig = Rig::new(1.0);
        rig.push(0, rig.now);
        rig.push(1, rig.now + Duration::from_millis(400));
        rig.tap.close_gate();
        rig.open();
        assert!(!rig.serve());
        assert_eq!(rig.received(), 0);
        rig.act(|outlet, _, now| outlet.drain(now));
        assert!(rig.serve());
        assert_eq!(rig.received(), 1);
        // Nothing is due for 400 ms, but nobody will wake the thread either.
        rig.now += Duration::from_millis(399);
        assert!(rig.serve());
        assert_eq!(rig.received(), 0);
        rig.now += Duration::from_millis(1);
        assert!(rig.serve());
        assert_eq!(rig.received(), 1);
        // What has left last may be refused a moment later.
        let empty = BranchEvent::BacklogEmpty { recalls: 0 };
        assert!(rig.serve() && !rig.told().contains(&empty));
        rig.now += Duration::from_millis(100);
        rig.serve();
        assert!(rig.told().contains(&empty));
        assert!(!rig.serve());
    }

    #[test]
    fn a_pause_that_comes_after_its_own_resume_loses_nothing() {
        let mut rig = Rig::new(100.0);
        rig.open();
        rig.push(0, rig.now);
        rig.serve();
        rig.tap.close_gate();
        rig.tap.open_gate();
        rig.push(1, rig.now);
        rig.serve();
        assert_eq!(rig.received(), 2);
        // Only now does the session's word come that the gate was shut.
        rig.act(|outlet, _, now| outlet.pause(now));
        rig.now += Duration::from_millis(20);
        rig.push(2, rig.now);
        rig.serve();
        assert_eq!(rig.received(), 0);
        rig.act(|outlet, _, now| outlet.hold(now));
        rig.open();
        rig.serve();
        assert_eq!(rig.received(), 1);
        // The next pause is meant.
        rig.act(|outlet, _, now| outlet.pause(now));
        rig.now += Duration::from_millis(20);
        rig.push(3, rig.now);
        rig.open();
        rig.serve();
        assert_eq!(rig.received(), 0);
    }

    #[test]
    fn a_pause_that_the_recorder_asked_for_stores_nothing_while_the_gate_is_open() {
        let mut rig = Rig::new(100.0);
        rig.open();
        rig.act(|outlet, _, now| outlet.pause(now));
        rig.now += Duration::from_millis(20);
        rig.push(0, rig.now);
        rig.serve();
        rig.open();
        rig.push(1, rig.now);
        rig.serve();
        assert_eq!(rig.received(), 1);
    }

    #[test]
    fn what_leaves_by_a_trunk_waits_for_others_and_a_gate_that_is_shut_waits_for_it() {
        let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
        rig.open();
        rig.push(0, rig.now);
        rig.push(1, rig.now);
        assert!(rig.serve());
        assert_eq!(rig.received(), 0, "others may have something for the same system call");
        let (tap, recorder) = (Arc::new(rig.tap), rig.recorder);
        let closer = std::thread::spawn({
            let tap = tap.clone();
            move || {
                tap.close_gate();
                packets(&recorder, 2).len()
            }
        });
        // Long enough for it to come back too early.
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(!closer.is_finished());
        let mut trunks = rig.kit.trunks;
        trunks.flush();
        assert_eq!(closer.join().unwrap(), 2);
        tap.push(&[0x80; 172], rig.now);
        rig.kit.trunks = trunks;
        rig.stream.serve(&rig.shared.section, &mut rig.kit, &mut rig.events, rig.now);
        assert_eq!(rig.kit.trunks.burst(TrunkId(0)).unwrap().packets(), 0, "nothing comes after it");
    }

    #[test]
    fn a_branch_has_what_left_by_a_trunk_before_anything_is_done_to_it() {
        let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
        rig.open();
        rig.push(0, rig.now);
        rig.act(|outlet, _, now| outlet.pause(now));
        assert_eq!(packets(&rig.recorder, 1).len(), 1);
        rig.act(|outlet, _, now| outlet.hold(now));
        rig.open();
        rig.push(1, rig.now);
        let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
        stream.close(*branch, &shared.section, kit, events, *now);
        assert_eq!(packets(&rig.recorder, 1).len(), 1);
        let reports = rig.told().into_iter().filter_map(|event| match event {
            BranchEvent::Closed(report) => Some((report.seen, report.sent)),
            _ => None,
        });
        assert_eq!(reports.collect::<Vec<_>>(), [(2, 2)]);
    }

    #[test]
    fn what_does_not_leave_by_a_trunk_is_told_as_what_does_not_leave_otherwise() {
        for source in [MediaSource::PerStream, MediaSource::Shared] {
            let mut rig = Rig::sending_by(source, 100.0, TapConfig::default());
            // From a loopback address, no other host can be reached.
            rig.open_at("192.0.2.1:4000".parse().unwrap());
            rig.push(0, rig.now);
            rig.push(1, rig.now);
            rig.serve();
            rig.flush();
            let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
            assert_eq!(rig.told().iter().filter(|event| **event == refused).count(), 1, "{source:?}");
            let Rig { shared, kit, stream, events, now, branch, .. } = &mut rig;
            stream.close(*branch, &shared.section, kit, events, *now);
            let Some(BranchEvent::Closed(report)) = rig.told().pop() else { panic!("{source:?}") };
            let failed = report.drops.of(DropCause::SendFailed);
            assert_eq!((report.seen, report.sent, failed), (2, 0, 2), "{source:?}");
        }
    }

    #[test]
    fn a_backlog_longer_than_a_burst_leaves_by_a_trunk_in_order() {
        let mut rig = Rig::sending_by(MediaSource::Shared, 100.0, TapConfig::default());
        rig.kit.budget = Budget::new(1_000_000, rig.now);
        (0..200).for_each(|sequence| rig.push(sequence, rig.now));
        rig.serve();
        rig.open();
        rig.now += Duration::from_millis(100);
        rig.serve();
        rig.flush();
        let packets = packets(&rig.recorder, 200);
        let sequences: Vec<_> =
            packets.iter().map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");
    }

    #[test]
    fn what_is_keyed_by_a_handshake_leaves_by_the_ports_that_it_was_made_on() {
        let mut rig = Rig::sending_by(MediaSource::Shared, 1.0, TapConfig::default());
        let terms = DtlsAssociation {
            role: DtlsRole::Client,
            fingerprints: vec![rig.kit.identity.fingerprint().clone()],
            suites: SrtpSuite::ALL.to_vec(),
            own_id: String::new(),
            recorder_id: None,
            session: 1,
        };
        let recorder = rig.recorder.local_addr().unwrap();
        let secured = rig.target(recorder, MediaSecurity::Dtls(Box::new(terms)));
        rig.act(|outlet, kit, now| {
            assert_eq!(outlet.trunk(), Some(TrunkId(0)));
            outlet.associate(&secured, kit, now);
            assert_eq!(outlet.trunk(), None);
        });
        rig.open();
        rig.act(|outlet, _, _| assert_eq!(outlet.trunk(), Some(TrunkId(0)), "it has none any more"));
    }

    #[test]
    fn that_the_next_recorder_refuses_too_is_told_at_once() {
        let mut rig = Rig::new(1.0);
        let told = BranchEvent::RemoteRefused { component: Component::Rtp };
        for sequence in 0..2 {
            rig.open();
            rig.push(sequence, rig.now);
            rig.serve();
            let refused = Outcome { refused: true, ..Outcome::default() };
            rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
            assert_eq!(rig.told().iter().filter(|event| **event == told).count(), 1);
            rig.now += Duration::from_millis(20);
            rig.act(|outlet, _, now| outlet.recall(now, now));
        }
    }

    #[test]
    fn what_the_host_refuses_of_several_calls_it_refuses_of_all_that_do_not_report() {
        let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for (reports, opened, expected) in [(false, 0, 3), (true, 0, 0), (false, 12, 0)] {
            let mut rig = Rig::new(1.0);
            rig.open();
            let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
            let others = [RecordingKey::unique(), RecordingKey::unique()];
            for number in 0..50u8 {
                if opened > 0 && number == opened {
                    // The recorder before was lost, and the next one is on the same host.
                    rig.act(|outlet, _, now| outlet.recall(now, now));
                    rig.act(|outlet, kit, now| outlet.bind(local, RtcpMode::Mux, 2, kit, now));
                    rig.open();
                }
                rig.push(number, rig.now);
                rig.serve();
                if reports && number == 1 {
                    rig.report_next(rtp);
                    rig.hear();
                }
                if number >= 10 && number % 5 == 0 {
                    rig.refuse_another(others[usize::from(number / 5 % 2)]);
                }
                rig.now += Duration::from_millis(100);
            }
            // Of the four seconds in which it does, the first says too little.
            let told = rig.told().into_iter().filter(|event| *event == refused).count();
            assert_eq!(told, expected, "reports: {reports}, opened at {opened}");
        }
    }

    #[test]
    fn what_was_refused_is_kept_through_a_silence_whatever_the_recorder_answers() {
        let mut rig = Rig::new(100.0);
        rig.open();
        for number in 0..200u8 {
            rig.push(number, rig.now);
            rig.serve();
            if number == 180 {
                let refused = Outcome { refused: true, ..Outcome::default() };
                rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
            }
            rig.now += Duration::from_millis(100);
        }
        assert_eq!(rig.received(), 200);
        rig.now += Duration::from_secs(8);
        rig.act(|outlet, kit, now| {
            outlet.confirm(now, kit, now);
            outlet.recall(now, now);
            outlet.bind(IpAddr::V4(Ipv4Addr::LOCALHOST), RtcpMode::Mux, 2, kit, now);
        });
        rig.open();
        for _ in 0..50 {
            rig.now += Duration::from_millis(20);
            rig.serve();
        }
        // And two seconds more.
        let resent = rig.received();
        assert!((20 + 20..20 + 23).contains(&resent), "{resent}");
    }

    #[test]
    fn what_was_refused_of_who_reports_is_told_as_lost_where_all_ends_before_the_next_report() {
        // Of a stream whose own packets no error has quoted, its host says that it refuses those of two other calls.
        for (is_own, reports_again) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut rig = Rig::new(1.0);
            rig.open();
            let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
            let others = [RecordingKey::unique(), RecordingKey::unique()];
            for number in 0..120u8 {
                rig.push(number, rig.now);
                rig.serve();
                match number {
                    5 => {
                        rig.report_next(rtp);
                        rig.hear();
                    }
                    20..=40 if is_own => {
                        let refused = Outcome { refused: true, ..Outcome::default() };
                        rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
                    }
                    20..=40 => rig.refuse_another(others[usize::from(number % 2)]),
                    _ => {}
                }
                rig.now += Duration::from_millis(100);
            }
            let told = rig.told();
            assert_eq!(told.contains(&BranchEvent::RefusalsOver), is_own, "{told:?}");
            let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
            assert_eq!(told.contains(&refused), is_own, "{told:?}");
            if reports_again {
                packets(&rig.recorder, 110);
                rig.report_next(rtp);
                rig.hear();
            }
            let Rig { shared, kit, stream, branch, events, now, .. } = &mut rig;
            stream.close(*branch, &shared.section, kit, events, *now);
            let told = rig.told();
            let Some(BranchEvent::Closed(report)) = told.last() else { panic!("{told:?}") };
            let lost = report.drops.of(DropCause::RecorderLost);
            // And what the first error may be of.
            assert!(if reports_again { lost == 0 } else { (30..=33).contains(&lost) }, "{is_own}: {lost}");
            let gaps = told.iter().filter(|event| matches!(event, BranchEvent::Gap(_))).count();
            assert_eq!(gaps, usize::from(!reports_again), "{told:?}");
        }
    }

    /// As where the host tells of another stream each time (ICMP is rate limited).
    #[test]
    fn what_was_refused_once_is_refused_for_as_long_as_its_host_refuses_anything() {
        let mut rig = Rig::new(1.0);
        rig.open();
        let host = rig.recorder.local_addr().unwrap().ip();
        let mut over = None;
        let begun = rig.now;
        for number in 0..200u8 {
            rig.push(number, rig.now);
            rig.serve();
            match number {
                10 => {
                    let refused = Outcome { refused: true, ..Outcome::default() };
                    rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
                }
                11..60 if number % 10 == 0 => {
                    rig.kit.refusing_hosts.note(host, RecordingKey::unique(), rig.now, rig.now);
                }
                _ => {}
            }
            over = over.or(rig.told().contains(&BranchEvent::RefusalsOver).then_some(rig.now));
            rig.now += Duration::from_millis(100);
        }
        let over = over.unwrap().duration_since(begun);
        assert!((Duration::from_millis(8_900)..Duration::from_millis(9_300)).contains(&over), "{over:?}");
    }

    #[test]
    fn the_next_recorder_gets_all_since_the_host_of_the_lost_one_began_to_refuse_anything() {
        for hears_of_it in [true, false] {
            let mut rig = Rig::new(100.0);
            rig.open();
            let host = rig.recorder.local_addr().unwrap().ip();
            for number in 0..100u8 {
                rig.push(number, rig.now);
                rig.serve();
                if number >= 40 && number % 10 == 0 {
                    // Of another stream, but for one time.
                    let is_own = hears_of_it && number == 70;
                    let refused = Outcome { refused: is_own, ..Outcome::default() };
                    rig.act(|outlet, kit, now| outlet.settle(refused, kit, now));
                    rig.kit.refusing_hosts.note(host, RecordingKey::unique(), rig.now, rig.now);
                    rig.act(|outlet, kit, now| outlet.confirm(now, kit, now));
                }
                rig.now += Duration::from_millis(100);
            }
            assert_eq!(packets(&rig.recorder, 100).len(), 100);
            rig.act(|outlet, _, now| outlet.recall(now, now));
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            rig.act(|outlet, kit, now| outlet.bind(local, RtcpMode::Mux, 2, kit, now));
            rig.open();
            for _ in 0..50 {
                rig.now += Duration::from_millis(20);
                rig.serve();
            }
            // And two seconds more.
            let expected = if hears_of_it { 100 - 40 + 20 } else { 20 };
            let resent = rig.received();
            assert!(resent.abs_diff(expected) <= 2, "{hears_of_it}: {resent} of {expected}");
        }
    }

    #[test]
    fn what_the_host_refused_of_another_call_a_receiver_that_begins_anew_has_not_got() {
        let missed = |receiver: u32| {
            let mut rig = Rig::new(1.0);
            rig.open();
            let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
            let host = rig.recorder.local_addr().unwrap().ip();
            let other = RecordingKey::unique();
            for number in 0..110u8 {
                rig.push(number, rig.now);
                rig.serve();
                match number {
                    10 => rig.report_next(rtp),
                    20 | 30 | 40 => drop(rig.kit.refusing_hosts.note(host, other, rig.now, rig.now)),
                    60 => {
                        rig.received();
                        rig.push(number + 1, rig.now);
                        rig.serve();
                        rig.report_next_as(receiver, rtp);
                    }
                    _ => {}
                }
                rig.hear();
                rig.now += Duration::from_millis(100);
            }
            rig.told().into_iter().find_map(|event| match event {
                BranchEvent::StretchMissed { packets } => Some(packets),
                _ => None,
            })
        };
        assert_eq!(missed(1), None);
        let missed = missed(2).unwrap();
        assert!((20..=22).contains(&missed), "two seconds: {missed}");
    }

    #[test]
    fn a_router_has_lost_all_that_came_while_it_looked_for_the_host_whatever_the_error_quotes() {
        let mut rig = Rig::new(100.0);
        rig.open();
        for number in 0..100u8 {
            rig.push(number, rig.now);
            rig.serve();
            rig.now += Duration::from_millis(100);
        }
        // It quotes one that came half a second ago, since the older ones had to make room.
        let error = |is_of_a_search| Undelivered {
            destination: None,
            errno: libc::EHOSTUNREACH,
            is_of_a_search,
            rtp: Some((SSRC, 95)),
        };
        for (is_of_a_search, earliest) in [(false, 500), (true, 3_100)] {
            let mut queued = Queued::default();
            queued.note(&error(is_of_a_search));
            rig.act(|outlet, _, now| {
                let left = now.duration_since(*outlet.left(queued, now).start());
                assert_eq!(left, Duration::from_millis(earliest));
            });
        }
    }

    #[test]
    fn reports_that_came_and_stay_away_are_told_once() {
        let mut rig = Rig::new(1.0);
        rig.push(0, rig.now);
        rig.open();
        rig.now += Duration::from_millis(5);
        rig.serve();
        assert_eq!(rig.received(), 1);
        let block = ReportBlock::builder(SSRC);
        let mut report = [0; 32];
        ReceiverReport::builder(1).add_report_block(block).write_into(&mut report).unwrap();
        let Some(BranchEvent::PortsReady { rtcp, .. }) = rig.told().into_iter().next() else { panic!() };
        rig.recorder.send_to(&report, rtcp).unwrap();
        rig.hear();
        let told = rig.told();
        assert!(matches!(told.as_slice(), [BranchEvent::ReportReceived { .. }]), "{told:?}");
        // On next to nothing, nobody need report.
        (1..9).for_each(|sequence| rig.push(sequence, rig.now));
        rig.serve();
        let begun = rig.now;
        let stopped = rig.told_within(Duration::from_secs(60));
        let [(BranchEvent::ReportOverdue, overdue), (BranchEvent::ReportsStopped, at)] = stopped.as_slice()
        else {
            panic!("{stopped:?}")
        };
        assert!(*overdue < begun + Duration::from_secs(10), "an interval and a half");
        assert!(*at < begun + Duration::from_secs(20), "three intervals of 5 s");
    }

    #[test]
    fn a_refusal_behind_one_that_is_over_or_disproved_is_told_at_once() {
        let mut rig = Rig::new(1.0);
        rig.open();
        let Some(BranchEvent::PortsReady { rtp, .. }) = rig.told().into_iter().next() else { panic!() };
        let refused = || Outcome { refused: true, ..Outcome::default() };
        let told = BranchEvent::RemoteRefused { component: Component::Rtp };
        // No report of it has come before the first one.
        let ends = [BranchEvent::RefusalsOver, BranchEvent::RefusalRefuted, BranchEvent::RefusalRefuted];
        for (sequence, end) in (0..).zip(ends) {
            rig.now += Duration::from_millis(20);
            rig.push(sequence, rig.now);
            rig.serve();
            rig.act(|outlet, kit, now| outlet.settle(refused(), kit, now));
            let first = rig.told().into_iter().filter(|event| *event == told).count();
            assert_eq!(first, usize::from(sequence == 0), "that of the last round goes on");
            rig.report_next(rtp);
            // The report and the next refusal come in one turn.
            let shared = rig.shared.clone();
            rig.act(|outlet, kit, now| {
                let token = Token::of(1, Component::Rtp);
                let errors = outlet.receive_errors(token, now);
                outlet.receive(token, errors, Gate::new(&shared.section, None), kit, now);
                outlet.settle(refused(), kit, now);
            });
            let heard = rig.told();
            assert!(heard.ends_with(&[end, told.clone()]), "{heard:?}");
        }
    }

    #[test]
    fn reports_of_who_always_sends_them_are_expected_while_packets_leave() {
        let mut rig = Rig::new(1.0);
        let mut target = rig.target(rig.recorder.local_addr().unwrap(), MediaSecurity::Plain);
        target.expects_reports = true;
        let minute = Duration::from_secs(60);
        rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
        assert_eq!(rig.told_within(minute).len(), 1, "the ports");
        (0..8).for_each(|sequence| rig.push(sequence, rig.now));
        rig.now += Duration::from_millis(5);
        rig.serve();
        assert_eq!((rig.received(), rig.told().len()), (8, 1), "the first packet");
        rig.act(|outlet, _, now| outlet.pause(now));
        assert_eq!(rig.told_within(minute), [], "nothing leaves in a pause");
        rig.act(|outlet, kit, now| outlet.open(&target, kit, now));
        let begun = rig.now;
        let told = rig.told_within(minute);
        let after = |seconds| begun + Duration::from_secs(seconds);
        let [(BranchEvent::ReportOverdue, overdue), (BranchEvent::ReportsStopped, at)] = told.as_slice()
        else {
            panic!("{told:?}")
        };
        assert!(
            after(7) < *overdue && *overdue < after(10) && after(14) < *at && *at < after(20),
            "{told:?}"
        );
        assert_eq!(rig.told_within(minute), [], "nothing has left since");
    }
}
