//! One branch with its sockets: what the media thread runs.

mod ear;
mod ending;
mod keys;
mod repeats;
mod reports;
mod sending;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use siprec_media::rtcp::Reporter;
use siprec_media::srtp::KeyLimits;
use siprec_media::{Branch, BranchSettings};
use siprec_model::{
    BranchEvent, BranchId, BranchLimits, BranchReport, Component, MediaSecurity, Medium, OpenBranch,
    RtcpMode, TimeSpan, VideoCodec,
};

use crate::config::MediaSource;
use crate::discretion::{Discretion, Permission};
use crate::gate::Gate;
use crate::handshake::{Early, Handshakes};
use crate::hosts::Destination;
use crate::kit::{Kit, watch};
use crate::losses::{Losses, Waited};
use crate::ports::{PortPool, Ports};
use crate::remote::{Departures, Refusals, Remote};
use crate::shield::{FormerKeys, Shield};
use crate::trunk::TrunkId;

#[cfg(test)]
pub(crate) use self::ear::Queued;
pub(crate) use self::ear::Refusing;
use self::ending::Ending;
use self::repeats::Repeats;

/// How long before its branch was made a packet may have come.
const EARLIEST_ARRIVAL: Duration = Duration::from_secs(60);

/// A branch, its ports, its recorder's address and its RTCP.
#[derive(Debug)]
pub(crate) struct Outlet {
    id: BranchId,
    medium: Medium,
    limits: BranchLimits,
    branch: Branch,
    reporter: Reporter,
    /// None before a recorder has agreed to ask for what it has not got.
    repeats: Option<Box<Repeats>>,
    ending: Ending,
    ports: Option<Ports>,
    /// What its RTP may leave by instead of its own socket.
    shared: Option<TrunkId>,
    serial: u64,
    remote: Option<Remote>,
    /// None while its media is plain.
    shield: Option<Shield>,
    former_keys: FormerKeys,
    key_limits: KeyLimits,
    /// What was due and did not leave, since its key was used up.
    rtcp_unsent: u64,
    numbers: Numbers,
    /// The recorder was lost: the next one knows nothing.
    begins_anew: bool,
    /// None where nothing is protected by DTLS.
    handshakes: Option<Handshakes>,
    /// What is opened as soon as there are keys.
    pending: Option<Box<OpenBranch>>,
    early: Early,
    discretion: Discretion,
    state: State,
    /// The gate was opened again before the session's word that it had been shut: that word is out of date.
    reopened: bool,
    /// The call has ended: what is held leaves even though the tap's gate is shut.
    draining: bool,
    segmentation: bool,
    /// Held packets that may leave without budget: as many as came meanwhile.
    allowance: u32,
    next_allowance: Instant,
    refusals: Refusals,
    /// Since when the host has refused something of its recorder, once it has refused something of this branch.
    refused_since: Option<Instant>,
    departures: Departures,
    events: VecDeque<BranchEvent>,
}

/// What a branch is made of.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) branch: BranchId,
    pub(crate) medium: Medium,
    pub(crate) clock_rate: u32,
    pub(crate) cname: String,
    pub(crate) limits: BranchLimits,
    /// Random.
    pub(crate) seed: u64,
}

/// Where sequence numbers begin: at random, with room before the first wrap (RFC 4568 §6.4).
#[derive(Clone, Copy, Debug)]
struct Numbers(u64);

impl Numbers {
    fn first(self) -> u16 {
        256 + (self.0 % (0x8000 - 256)) as u16
    }

    /// For another receiver.
    fn renew(&mut self) {
        self.0 = self.0.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// The state of the branch, as it was commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Holding,
    Open,
    Paused,
    Off,
}

impl Outlet {
    pub(crate) fn new(creation: Creation, kit: &Kit, now: Instant) -> Self {
        let Creation { branch: id, medium, clock_rate, cname, limits, seed } = creation;
        let numbers = Numbers(seed);
        let settings = BranchSettings { medium, clock_rate, limits };
        // Its time begins earlier than itself: what its tap has kept for it came before.
        let epoch = now.checked_sub(EARLIEST_ARRIVAL).unwrap_or(now);
        let mut branch = Branch::new(settings, numbers.first(), epoch);
        branch.share_memory(kit.memory.clone());
        Self {
            id,
            medium,
            limits,
            branch,
            repeats: None,
            ending: Ending::default(),
            reporter: Reporter::new(&cname, seed, now),
            ports: None,
            shared: None,
            serial: 0,
            remote: None,
            shield: None,
            former_keys: FormerKeys::default(),
            key_limits: kit.key_limits,
            rtcp_unsent: 0,
            numbers,
            begins_anew: false,
            handshakes: None,
            pending: None,
            early: Early::default(),
            discretion: Discretion::default(),
            state: State::Holding,
            reopened: false,
            draining: false,
            segmentation: kit.segmentation,
            allowance: 0,
            next_allowance: now,
            refusals: Refusals::default(),
            refused_since: None,
            departures: Departures::new(now),
            events: VecDeque::new(),
        }
    }

    pub(crate) fn id(&self) -> BranchId {
        self.id
    }

    /// What its sockets are named by in the epoll set; 0 before it had any.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// What comes to it is confidential, or is not.
    pub(crate) fn begin_discretion(&mut self, confidential: bool) {
        self.discretion = Discretion::new(confidential);
    }

    /// Learns what the stream carries and whose it is.
    pub(crate) fn describe(
        &mut self,
        medium: Medium,
        clock_rate: u32,
        codec: Option<VideoCodec>,
        cname: &str,
    ) {
        self.medium = medium;
        self.branch.describe(medium, clock_rate, codec);
        self.reporter.rename(cname);
    }

    /// Binds ports unless those held will do. `serial` names new ones in the epoll set.
    pub(crate) fn bind(&mut self, local: IpAddr, mode: RtcpMode, serial: u64, kit: &mut Kit, now: Instant) {
        if !self.ports.as_ref().is_some_and(|ports| ports.suit(local, mode)) {
            self.release(&mut kit.pool, now);
            self.forget_departed();
            self.handshakes = None;
            self.early = Early::default();
            match bind(local, mode, serial, kit, now) {
                Ok((ports, shared)) => (self.ports, self.shared) = (Some(ports), shared),
                Err(reason) => {
                    self.events.push_back(BranchEvent::PortsFailed { reason });
                    return;
                }
            }
            self.serial = serial;
            self.segmentation = kit.segmentation;
        }
        if let Some(Ports { rtp_address, rtcp_address, .. }) = self.ports {
            self.events.push_back(BranchEvent::PortsReady { rtp: rtp_address, rtcp: rtcp_address });
        }
    }

    /// Sends to `target` from now on.
    pub(crate) fn open(&mut self, target: &OpenBranch, kit: &Kit, now: Instant) {
        self.pending = None;
        if self.ports.is_none() {
            let reason = format!("no media ports are bound to send to {}", target.rtp);
            self.events.push_back(BranchEvent::PortsFailed { reason });
            return;
        }
        if let MediaSecurity::Dtls(_) = target.security {
            self.associate(target, kit, now);
            if self.handshakes.as_ref().is_none_or(|handshakes| handshakes.keys().is_none()) {
                // Nothing leaves before there are keys, and what comes meanwhile is not lost.
                self.hold(now);
                self.pending = Some(Box::new(target.clone()));
                return;
            }
        } else {
            self.handshakes = None;
            self.early = Early::default();
        }
        match self.discretion.permit(target) {
            Permission::Granted => {}
            Permission::AfterForgetting => self.branch.disable(now),
            Permission::Withheld => {
                self.wait(now);
                return;
            }
        }
        let remote = Remote::new(target);
        let has_moved = self.remote_address(Component::Rtp) != remote.address(Component::Rtp);
        if let Err(reason) = self.secure(&target.security, has_moved) {
            // Never in the clear what should be secured.
            let reason = format!("media to {} cannot be secured as asked: {reason}", target.rtp);
            self.events.push_back(BranchEvent::PortsFailed { reason });
            return;
        }
        if has_moved {
            self.departures.turn(now);
            self.forget_departed();
        }
        if self.remote_address(Component::Rtcp) != remote.address(Component::Rtcp) {
            self.refusals.hear_rtcp();
        }
        self.agree_on_repeats(target.retransmission, kit, now);
        self.branch.pace(target.catch_up);
        self.branch.open(&target.payloads, now);
        if self.is_open() && has_moved {
            self.branch.begin_interval();
        }
        if let Some(address) = remote.address(Component::Rtcp) {
            self.reporter.welcome(address);
        }
        self.reporter.expect(target.expects_reports, &self.branch, now);
        self.remote = Some(remote);
        self.state = State::Open;
        self.reopened = false;
    }

    /// The recorder is lost, which was alive for sure at `since`: nothing more goes to it, and what it may not have waits for the next
    /// one. The branch knows of what left at once only when it came: that may have been a turn before it left. An association of the
    /// `next` session goes on.
    pub(crate) fn recall(
        &mut self,
        since: Instant,
        next: Option<u32>,
        missed: Option<Instant>,
        now: Instant,
    ) {
        self.discretion.revoke();
        self.pending = None;
        if self.handshakes.as_ref().is_none_or(|present| Some(present.session()) != next) {
            self.handshakes = None;
            self.early = Early::default();
        }
        self.remote = None;
        self.refusals = Refusals::default();
        let left_by = self.departures.left_by(since);
        let since = self.refused_since.take().map_or(left_by, |refused| refused.min(left_by));
        self.departures.forget_waits();
        self.reporter.restart(now);
        self.begins_anew = true;
        self.forget_departed();
        self.break_ending();
        match missed {
            Some(missed_since) => self.branch.recall_missed(since, missed_since, now),
            None => self.branch.recall(since, now),
        }
        if self.state == State::Open {
            self.state = State::Holding;
        }
    }

    /// The recorder lived at `since`. Where its host refuses something of it, that may refuse this, too, without saying so; and what it has
    /// refused of this is not over before more has left without that.
    pub(crate) fn confirm(&mut self, since: Instant, kit: &Kit, now: Instant) {
        let is_refusing = |destination| kit.refusing_hosts.is_refusing(destination, now);
        if self.reporter.suspected().is_none() && !self.destination().is_some_and(is_refusing) {
            self.branch.confirm(self.departures.left_by(since));
        }
    }

    /// The recorder has missed what left within this time, by the reports of another stream.
    pub(crate) fn concede(&mut self, within: TimeSpan, now: Instant) {
        self.branch.concede(within, now);
    }

    /// Keeps what is held and stores nothing.
    pub(crate) fn pause(&mut self, now: Instant) {
        if self.reopened {
            self.hold(now);
            return;
        }
        self.pending = None;
        self.discretion.revoke();
        self.branch.pause(now);
        self.reporter.rest(now);
        self.state = State::Paused;
    }

    /// Keeps what is held and stores what comes.
    pub(crate) fn hold(&mut self, now: Instant) {
        self.pending = None;
        self.discretion.revoke();
        self.wait(now);
    }

    fn wait(&mut self, now: Instant) {
        self.branch.hold(now);
        self.reporter.rest(now);
        self.state = State::Holding;
        self.reopened = false;
    }

    /// Keeps what is held, and stores nothing: the recorder asks for silence.
    pub(crate) fn freeze(&mut self, now: Instant) {
        self.branch.freeze(now);
        self.switch_off(now);
    }

    /// Forgets what is held and stores nothing.
    pub(crate) fn disable(&mut self, now: Instant) {
        self.branch.disable(now);
        self.switch_off(now);
    }

    /// The recorder does not take what comes.
    fn switch_off(&mut self, now: Instant) {
        self.pending = None;
        self.discretion.revoke();
        self.forget_departed();
        self.reporter.rest(now);
        self.state = State::Off;
        self.reopened = false;
    }

    /// Nothing more comes.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.branch.drain();
        self.draining = true;
        self.next_allowance = now;
    }

    /// Accounts for packets that waited for a key and never got here.
    pub(crate) fn lose(&mut self, losses: Losses, now: Instant) {
        for (cause, Waited { packets, arrivals }) in losses.each() {
            let Some(arrivals) = arrivals else { continue };
            self.branch.handle_vain_wait(cause, packets, arrivals);
            self.branch.tell_lasting_losses(now);
        }
    }

    /// Whether packets that come now are stored or sent.
    pub(crate) fn wants_packets(&self) -> bool {
        matches!(self.state, State::Holding | State::Open)
    }

    /// Whether held packets wait only for their time, or for the gate, or the last of all for its receipt.
    pub(crate) fn has_backlog(&self) -> bool {
        self.is_open() && (self.branch.held_packets() > 0 || self.is_ending())
    }

    /// Whether it cannot wait for its turn: its recorder places packets by their arrival, a handshake goes on, or the end is
    /// near.
    pub(crate) fn is_eager(&self) -> bool {
        self.branch.keeps_time()
            || self.is_ending()
            || self.handshakes.as_ref().is_some_and(|handshakes| handshakes.keys().is_none())
    }

    /// Whether what is held leaves even through a shut gate.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Says goodbye, and sends nothing more. What was sent is kept.
    pub(crate) fn part(&mut self, kit: &mut Kit, now: Instant) {
        self.break_ending();
        self.say_goodbye(kit, now);
        self.remote = None;
        self.pending = None;
        self.discretion.revoke();
        self.branch.pause(now);
        self.state = State::Paused;
        self.reopened = false;
    }

    /// Sends what is due, and says goodbye. The account is final.
    pub(crate) fn close(&mut self, gate: Gate<'_>, kit: &mut Kit, now: Instant) -> BranchReport {
        self.break_ending();
        self.flush(gate, kit, now);
        kit.trunks.flush();
        let outcome = kit.trunks.take_outcome(self.id);
        self.settle(outcome, kit, now);
        self.branch.close(now);
        self.say_goodbye(kit, now);
        let (receiver_lost, rtcp_unsent) = (self.reporter.receiver_lost(), self.rtcp_unsent);
        self.add_repeats_to(BranchReport { receiver_lost, rtcp_unsent, ..self.branch.report() })
    }

    /// Gives back the ports.
    pub(crate) fn release(&mut self, pool: &mut PortPool, now: Instant) {
        if let Some(ports) = self.ports.take() {
            pool.release(ports, now);
        }
    }

    /// The next thing that happened.
    pub(crate) fn poll_event(&mut self) -> Option<BranchEvent> {
        if !self.is_open() && self.break_ending() {
            return Some(BranchEvent::BacklogEmpty { recalls: self.branch.recalls() });
        }
        let event = self.events.pop_front().or_else(|| match self.branch.poll_event() {
            Some(BranchEvent::BacklogEmpty { .. }) if self.begin_ending() => None,
            event => event,
        });
        event.or_else(|| self.poll_reporter())
    }

    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// What comes from here on is for the recorder again, although the session's own word may not be here yet.
    fn meet_open_gate(&mut self, now: Instant) {
        match self.state {
            State::Paused => self.hold(now),
            State::Open | State::Holding => {
                self.branch.begin_interval();
                self.reopened = true;
            }
            State::Off => {}
        }
    }

    fn remote_address(&self, component: Component) -> Option<SocketAddr> {
        self.remote.as_ref()?.address(component)
    }

    /// The recorder, and its host, where its media goes.
    fn destination(&self) -> Option<Destination> {
        self.remote.as_ref().map(Remote::destination)
    }
}

/// Ports for a branch, watched under the tokens of `serial`, and what its RTP may leave by instead.
fn bind(
    local: IpAddr,
    mode: RtcpMode,
    serial: u64,
    kit: &mut Kit,
    now: Instant,
) -> Result<(Ports, Option<TrunkId>), String> {
    let Kit { pool, epoll, trunks, source, .. } = kit;
    let shared = match source {
        MediaSource::PerStream => None,
        MediaSource::Shared => Some(trunks.of(local, pool, epoll, now)?),
    };
    let ports = pool.bind(local, mode, now).map_err(|error| error.to_string())?;
    if let Err(error) = watch(epoll, &ports, serial) {
        pool.release(ports, now);
        return Err(format!("the media ports on {local} cannot be watched: {error}"));
    }
    Ok((ports, shared))
}
