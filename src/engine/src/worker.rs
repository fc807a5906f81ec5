//! The media thread.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use siprec_media::WallClock;
use siprec_media::dtls::Identity;
use siprec_model::{BranchCommand, BranchEvent, BranchId, StreamId};

use crate::budget::Budget;
use crate::burst::Burst;
use crate::config::EngineConfig;
use crate::hosts::RefusingHosts;
use crate::kit::{Kit, Token};
use crate::late::LateRoom;
use crate::outlet::{Creation, Outlet, Refusing};
use crate::ports::PortPool;
use crate::rota::{Rota, TICK};
use crate::shared::Shared;
use crate::stream::{Events, Stream};
use crate::sys::{self, Epoll};
use crate::teller::{Sink, Teller};
use crate::timers::Timers;
use crate::trunk::Trunks;

/// How long after the last packet the thread goes on with its ticks before it sleeps until it is woken.
const RESTLESS: Duration = Duration::from_millis(100);
/// The thread's distance in priority from the thread that started it: the call goes first.
const NICE: i32 = 5;

/// The state of the media thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    teller: Teller,
    kit: Kit,
    streams: BTreeMap<StreamId, Stream>,
    routes: Routes,
    next_serial: u64,
    /// Where the last slice began: the next one begins behind it, so that the budget is shared fairly.
    first: StreamId,
    /// Who is to be served in this slice, whoever's turn it is: something was done to them.
    due: Vec<StreamId>,
    timers: Timers,
    rota: Rota,
    awake_until: Instant,
    events: Events,
    ready: Vec<u64>,
    refusing: Refusing,
    random: Random,
}

impl Worker {
    /// # Errors
    /// When the process has no descriptor left.
    pub(crate) fn new(
        config: EngineConfig,
        identity: Arc<Identity>,
        shared: Arc<Shared>,
        seed: u64,
        sink: Sink,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let kit = Kit {
            burst: Burst::default(),
            trunks: Trunks::new(shared.section.clone()),
            source: config.media_source,
            budget: Budget::new(config.catch_up_budget, now),
            memory: config.hold_memory,
            clock: WallClock::new(now, SystemTime::now()),
            epoll: Epoll::new()?,
            pool: PortPool::new(config.port_range, config.dscp),
            identity,
            scratch: Vec::new(),
            segmentation: config.segmentation_offload && sys::has_segmentation_offload(),
            late_room: LateRoom::default(),
            key_limits: config.key_limits,
            refusing_hosts: RefusingHosts::default(),
        };
        Ok(Self {
            shared,
            teller: Teller::new(sink),
            kit,
            streams: BTreeMap::new(),
            routes: Routes::default(),
            next_serial: 0,
            first: StreamId::from_raw(0),
            due: Vec::new(),
            timers: Timers::default(),
            rota: Rota::new(config.send_interval, now),
            awake_until: now,
            events: Events::new(),
            ready: Vec::new(),
            refusing: Refusing::new(),
            random: Random(seed),
        })
    }

    /// Works until it is asked to stop; then closes all branches.
    pub(crate) fn run(mut self) {
        sys::lower_priority(NICE);
        while !self.shared.is_asked_to_stop() {
            self.wait();
            let now = Instant::now();
            self.meet_taps();
            self.obey(now);
            self.listen(now);
            self.serve(now);
            self.run_timers(now);
        }
        self.obey(Instant::now());
        self.streams.values_mut().for_each(Stream::stop_gathering);
        let branches: Vec<BranchId> = self.routes.branches.keys().copied().collect();
        for branch in branches {
            self.execute(BranchCommand::Close { branch }, Instant::now());
        }
        self.teller.tell_all(|_| {});
    }

    /// Sleeps until somebody has a turn while packets come, else until a timer, a socket or another thread wakes it.
    fn wait(&mut self) {
        let now = Instant::now();
        let due = self.timers.next().into_iter().chain(self.teller.next_timeout()).min();
        let timer = due.map(|due| due.saturating_duration_since(now));
        if now >= self.awake_until {
            self.shared.set_asleep(true);
            // A packet that came before this did not wake anybody.
            let is_fed = self.streams.values().any(Stream::is_fed);
            if !is_fed {
                sys::wait(self.shared.waker(), Some(&self.kit.epoll), timer);
            }
            self.shared.set_asleep(false);
            if !is_fed {
                return;
            }
        }
        // Sockets are read once a tick: whoever floods one cannot make the thread run more often.
        let turn = self.rota.until_turn(now);
        let timer = timer.map_or(turn, |timer| timer.max(TICK));
        sys::wait(self.shared.waker(), None, Some(turn.min(timer)));
    }

    fn meet_taps(&mut self) {
        for tap in self.shared.take_new_taps() {
            self.stream(tap.stream).meet_tap(tap);
        }
    }

    /// The stream of that name, new where there was none.
    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams.entry(id).or_insert_with(|| {
            self.rota.meet(id);
            Stream::default()
        })
    }

    /// Executes the commands that wait. Those that come meanwhile have woken the thread for the next round.
    fn obey(&mut self, now: Instant) {
        for _ in 0..self.shared.commands.len() {
            let Some(command) = self.shared.commands.pop() else { break };
            self.execute(command, now);
        }
    }

    fn execute(&mut self, command: BranchCommand, now: Instant) {
        let branch = command.branch();
        match command {
            BranchCommand::Create { branch, stream, medium, clock_rate, cname, limits } => {
                let seed = self.random.next();
                self.create(stream, Creation { branch, medium, clock_rate, cname, limits, seed }, now);
            }
            BranchCommand::Describe { medium, clock_rate, codec, cname, .. } => {
                self.act(branch, now, |outlet, _| outlet.describe(medium, clock_rate, codec, &cname));
            }
            BranchCommand::Bind { local, rtcp, .. } => {
                self.next_serial += 1;
                let serial = self.next_serial;
                let bound = self.act(branch, now, |outlet, kit| {
                    outlet.bind(local, rtcp, serial, kit, now);
                    outlet.serial()
                });
                match bound {
                    Some(serial) => self.routes.set_serial(branch, serial),
                    None => {
                        let reason = "the media engine has no such branch".to_owned();
                        self.events.push_back((branch, BranchEvent::PortsFailed { reason }));
                    }
                }
            }
            BranchCommand::Open(open) => {
                self.act(branch, now, |outlet, kit| outlet.open(&open, kit, now));
            }
            BranchCommand::Associate(open) => {
                self.act(branch, now, |outlet, kit| outlet.associate(&open, kit, now));
            }
            BranchCommand::Pause { .. } => {
                self.act(branch, now, |outlet, _| outlet.pause(now));
            }
            BranchCommand::Hold { .. } => {
                self.act(branch, now, |outlet, _| outlet.hold(now));
            }
            BranchCommand::Freeze { .. } => {
                self.act(branch, now, |outlet, _| outlet.freeze(now));
            }
            BranchCommand::Disable { .. } => {
                self.act(branch, now, |outlet, _| outlet.disable(now));
            }
            BranchCommand::Recall { since, next, missed, .. } => {
                self.act(branch, now, |outlet, _| outlet.recall(since, next, missed, now));
            }
            BranchCommand::Confirm { since, .. } => {
                self.act(branch, now, |outlet, kit| outlet.confirm(since, kit, now));
            }
            BranchCommand::Concede { within, .. } => {
                self.act(branch, now, |outlet, _| outlet.concede(within, now));
            }
            BranchCommand::Drain { .. } => {
                let id = self.routes.branches.get(&branch).map(|route| route.stream);
                if let Some((id, stream)) = id.and_then(|id| Some((id, self.streams.get_mut(&id)?))) {
                    stream.drain(branch, &self.shared.section, &mut self.kit, &mut self.events, now);
                    stream.schedule(id, &mut self.timers, &mut self.rota);
                    self.due.push(id);
                }
            }
            BranchCommand::Part { .. } => {
                self.act(branch, now, |outlet, kit| outlet.part(kit, now));
            }
            BranchCommand::Close { .. } => self.close(branch, now),
        }
        self.tell(now);
    }

    fn create(&mut self, stream: StreamId, creation: Creation, now: Instant) {
        if self.routes.branches.contains_key(&creation.branch) {
            return;
        }
        if !self.streams.get(&stream).is_some_and(Stream::has_tap) {
            // The tap may be newer than the last look.
            self.meet_taps();
        }
        self.routes.branches.insert(creation.branch, Route { stream, serial: 0 });
        let outlet = Outlet::new(creation, &self.kit, now);
        let id = stream;
        self.stream(stream);
        let Some(stream) = self.streams.get_mut(&id) else { return };
        // What came before the first branch is for it, and for those that its tap was promised; what came before any other
        // was for those before it.
        stream.feed(&self.shared.section, &mut self.kit, &mut self.events, now);
        stream.add(outlet, now);
        stream.schedule(id, &mut self.timers, &mut self.rota);
        self.due.push(id);
    }

    fn act<R>(
        &mut self,
        branch: BranchId,
        now: Instant,
        act: impl FnOnce(&mut Outlet, &mut Kit) -> R,
    ) -> Option<R> {
        let id = self.routes.branches.get(&branch)?.stream;
        let stream = self.streams.get_mut(&id)?;
        let result = stream.act(branch, &self.shared.section, &mut self.kit, &mut self.events, now, act);
        stream.schedule(id, &mut self.timers, &mut self.rota);
        self.due.push(id);
        result
    }

    /// One of the branch's sockets has something to tell.
    fn hear(&mut self, branch: BranchId, token: Token, now: Instant) {
        let Some(id) = self.routes.branches.get(&branch).map(|route| route.stream) else { return };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.receive(branch, token, &self.shared.section, &mut self.kit, &mut self.events, now);
            stream.schedule(id, &mut self.timers, &mut self.rota);
            self.due.push(id);
        }
    }

    fn close(&mut self, branch: BranchId, now: Instant) {
        let Some(route) = self.routes.branches.get(&branch) else { return };
        if let Some(stream) = self.streams.get_mut(&route.stream) {
            stream.close(branch, &self.shared.section, &mut self.kit, &mut self.events, now);
            stream.schedule(route.stream, &mut self.timers, &mut self.rota);
            self.due.push(route.stream);
        }
    }

    /// Reads what recorders sent, and the errors of what was sent to them.
    fn listen(&mut self, now: Instant) {
        let mut ready = std::mem::take(&mut self.ready);
        self.kit.epoll.ready(&mut ready);
        for trunk in ready.iter().filter_map(|token| Token::from_raw(*token).trunk()) {
            self.kit.trunks.refusing(trunk, &mut self.refusing);
        }
        // First of all: an error is of what has left by now.
        if !self.refusing.is_empty() {
            for stream in self.streams.values_mut() {
                stream.hear_refusals(&self.refusing, &mut self.kit, &mut self.events, now);
            }
            self.refusing.clear();
        }
        for token in ready.drain(..).map(Token::from_raw) {
            if let Some(branch) = self.routes.serials.get(&token.serial()).copied() {
                self.hear(branch, token, now);
                self.awake_until = now + RESTLESS;
            }
        }
        self.ready = ready;
        while let Some((refuser, since)) = self.kit.refusing_hosts.take_general(now) {
            for stream in self.streams.values_mut() {
                stream.hear_host(refuser, since, &mut self.kit, &mut self.events, now);
            }
        }
        self.tell(now);
    }

    /// Takes what has been tapped and sends what is due, stream by stream.
    fn serve(&mut self, now: Instant) {
        self.kit.budget.refill(now);
        self.rota.advance(now);
        let mut due = std::mem::take(&mut self.due);
        self.rota.collect_due(&mut due);
        if self.shared.take_pressed() {
            let pressed = self.streams.iter().filter(|(_, stream)| stream.is_pressed());
            due.extend(pressed.map(|(id, _)| *id));
        }
        due.sort_unstable();
        due.dedup();
        let next = due.partition_point(|id| *id <= self.first);
        due.rotate_left(next);
        let mut worked = false;
        let mut ended = false;
        if let Some(first) = due.first() {
            self.first = *first;
        }
        for id in due.drain(..) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let is_idle = stream.is_idle();
            if !is_idle {
                worked |= stream.serve(&self.shared.section, &mut self.kit, &mut self.events, now);
            }
            let is_empty = stream.is_empty();
            if is_empty {
                ended |= stream.is_over(now);
            }
            if !is_idle || is_empty {
                stream.schedule(id, &mut self.timers, &mut self.rota);
            }
            if !self.events.is_empty() {
                // Nobody is told of anything within the send section.
                self.kit.trunks.flush();
                self.teller.tell(&mut self.events, now, |branch| self.routes.remove(branch));
            }
        }
        self.due = due;
        self.settle(now);
        if worked {
            self.awake_until = now + RESTLESS;
        }
        if ended {
            self.streams.retain(|_, stream| !stream.is_over(now));
            self.rota.retain(|id| self.streams.contains_key(&id));
        }
    }

    /// Sends what waits in trunks, and tells the branches what became of it.
    fn settle(&mut self, now: Instant) {
        self.kit.trunks.flush();
        while let Some(branch) = self.kit.trunks.untold() {
            let route = self.routes.branches.get(&branch);
            if let Some(stream) = route.and_then(|route| self.streams.get_mut(&route.stream)) {
                stream.settle(&mut self.kit, &mut self.events, now);
            }
            // Of one that is gone.
            self.kit.trunks.take_outcome(branch);
        }
        self.tell(now);
    }

    fn run_timers(&mut self, now: Instant) {
        for (_, id) in self.timers.take_due(now) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.handle_timeout(&mut self.kit, &mut self.events, now);
                stream.schedule(id, &mut self.timers, &mut self.rota);
            }
        }
        self.tell(now);
    }

    fn tell(&mut self, now: Instant) {
        self.teller.tell(&mut self.events, now, |branch| self.routes.remove(branch));
    }
}

/// The way to a branch: from commands, and from its sockets.
#[derive(Debug, Default)]
struct Routes {
    branches: HashMap<BranchId, Route>,
    /// Which branch has the sockets with this serial number.
    serials: HashMap<u64, BranchId>,
}

#[derive(Debug)]
struct Route {
    /// The stream that feeds the branch.
    stream: StreamId,
    /// Its sockets; 0 while it has none.
    serial: u64,
}

impl Routes {
    fn set_serial(&mut self, branch: BranchId, serial: u64) {
        if let Some(route) = self.branches.get_mut(&branch) {
            self.serials.remove(&std::mem::replace(&mut route.serial, serial));
            self.serials.insert(serial, branch);
        }
    }

    fn remove(&mut self, branch: BranchId) {
        if let Some(route) = self.branches.remove(&branch) {
            self.serials.remove(&route.serial);
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

/// Numbers that nobody can guess from outside: SplitMix64 from a random seed. They are no secret of anybody's.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}
