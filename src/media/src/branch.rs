//! One stream of the call on its way to one recorder.

mod doubts;
mod kept;
mod losses;

use std::time::{Duration, Instant};

use doubts::Judged;
use siprec_model::{BranchEvent, BranchLimits, BranchReport, DropCause, Medium, PayloadRule, VideoCodec};

use crate::account::{Account, Way};
use crate::branch_clock::{BranchClock, nanos};
use crate::doubt::Verdict;
use crate::entry::{Entry, Times};
use crate::first_packet::FirstPacket;
use crate::group::Groups;
use crate::hold::{Hold, Judge};
use crate::memory::{HoldMemory, Purpose};
use crate::missed::Untold;
use crate::pacer::Pacer;
use crate::payload::PayloadMap;
use crate::rewrite::{Rewrite, Rewriter, Unsent};
use crate::rtp::RtpView;
use crate::source::Sender;
use crate::unproven::Unproven;

/// One stream of the call on its way to one recorder.
///
/// # States
/// | state | a packet of the call | what is held |
/// |---|---|---|
/// | *holding* (at first) | waits | stays; the oldest goes when time or bytes run out, of video whole groups of pictures |
/// | *open* | leaves at once, or joins the tail while something is held, or waits if its payload type is unknown, or if the next ones tell whether it is late | leaves in order, paced |
/// | *paused* | is not stored and not counted | stays, unsent |
/// | *frozen* | is counted as [`DropCause::Closed`] | stays, unsent |
/// | *closed* | is counted as [`DropCause::Closed`] | nothing |
///
/// What has left is kept in any state, behind what waits, until receiver reports acknowledge it, or without any the
/// recorder [proves](Branch::confirm) that it lives, or time, bytes or the shared [`HoldMemory`] run out:
/// [`recall`](Branch::recall) has it wait again. It never takes the room of what waits.
///
/// # Use
/// 1. Packets: [`RtpView::parse`], then [`Branch::handle_packet`]; what cannot be parsed, or never got here, goes to
///    [`Branch::handle_loss`]. While the caller's gate is shut, [`Branch::store_packet`] instead.
/// 2. Commands: [`open`](Branch::open), [`pause`](Branch::pause), [`hold`](Branch::hold),
///    [`freeze`](Branch::freeze), [`disable`](Branch::disable), [`recall`](Branch::recall), [`drain`](Branch::drain),
///    [`close`](Branch::close), in any state.
/// 3. Sending: [`Branch::next_packet`] until `None`, again at [`Branch::next_timeout`]. A branch that is not asked
///    keeps what it holds. What the socket refused goes to [`Branch::handle_send_failure`] before anything else leaves,
///    what receiver reports say to [`Branch::acknowledge`].
/// 4. Then [`Branch::poll_event`] until `None`.
///
/// At any time `seen = sent + drops.total() + held`, see [`Branch::report`] and [`Branch::held_packets`].
#[derive(Debug)]
pub struct Branch {
    state: State,
    hold: Hold,
    clock: BranchClock,
    limits: BranchLimits,
    /// The limits' own towards most recorders.
    catch_up: f32,
    medium: Medium,
    groups: Groups,
    rewriter: Rewriter,
    account: Account,
    first_packet: FirstPacket,
    drain: Drain,
    /// Packets were dropped behind the last one that left or waits: no loss of the call's, and so none for the receiver to count.
    torn: bool,
    /// What the recorder has missed, to be told.
    missed: Untold,
    /// What its host has refused, and no report has spoken of yet.
    unproven: Unproven,
}

/// What a branch is made of.
#[derive(Clone, Copy, Debug)]
pub struct BranchSettings {
    /// Audio or video: decides where the marker bit is set, how much is held, and what a full ring throws out.
    pub medium: Medium,
    /// RTP clock rate of the main codec in Hz; 0 counts as 8000.
    pub clock_rate: u32,
    /// Bounds of ring and catch-up. A `catch_up` between 0 and 1, or no number, counts as 1; more than 100 as 100.
    pub limits: BranchLimits,
}

/// A packet that was appended to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its length in bytes: the last so many bytes of the output.
    pub length: usize,
    /// Rollover counter x 65,536 + sequence number on the branch. For one [`Sent::ssrc`] no index comes twice, unless
    /// [`Branch::begin_session`] or [`Branch::make_room`] lies between.
    pub index: u64,
    /// Its synchronisation source.
    pub ssrc: u32,
    /// It waited in the ring: counts against the host's catch-up budget.
    pub held: bool,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Packets wait until a recorder takes them.
    Holding,
    Open(Open),
    Paused(Paused),
    /// As paused, but what comes is lost to the recording.
    Frozen(Paused),
}

/// Packets leave.
#[derive(Debug)]
struct Open {
    payloads: PayloadMap,
    pacer: Pacer,
    /// Until when the first packet that waits does so, unless another comes that tells whether it is late.
    doubt: Option<Instant>,
}

/// What is held is frozen; what comes is not for the recorder.
#[derive(Debug)]
struct Paused {
    since: Instant,
}

#[derive(Debug, PartialEq, Eq)]
enum Drain {
    NotAsked,
    Asked,
    Told,
}

impl Branch {
    /// A branch in state *holding*. `first_sequence` is the number of the first packet that each source sends: random
    /// in 256 ..= 32,767 (RFC 4568 §6.4); other values are brought into that range.
    pub fn new(settings: BranchSettings, first_sequence: u16, now: Instant) -> Self {
        let BranchSettings { medium, clock_rate, limits } = settings;
        Self {
            state: State::Holding,
            hold: Hold::new(hold_bytes(&limits, medium)),
            clock: BranchClock::new(now),
            limits,
            catch_up: limits.catch_up,
            medium,
            groups: Groups::new(medium),
            rewriter: Rewriter::new(medium, clock_rate, first_sequence),
            account: Account::new(now),
            first_packet: FirstPacket::default(),
            drain: Drain::NotAsked,
            torn: false,
            missed: Untold::default(),
            unproven: Unproven::default(),
        }
    }

    /// What it holds and keeps is part of this budget from now on.
    pub fn share_memory(&mut self, memory: HoldMemory) {
        self.hold.ring.join(memory);
    }

    /// Takes a packet of the call that arrived at `arrival`. If it leaves at once, its bytes are appended to `out`
    /// and described; else it waits, or is dropped and counted, and `out` is untouched.
    pub fn handle_packet(
        &mut self,
        packet: &RtpView<'_>,
        arrival: Instant,
        out: &mut Vec<u8>,
    ) -> Option<Sent> {
        let (rewrite, sent) = self.pass(packet, arrival)?;
        let start = out.len();
        out.extend_from_slice(packet.bytes());
        rewrite.write(out.get_mut(start..).unwrap_or_default());
        Some(sent)
    }

    /// As [`Branch::handle_packet`] for a packet in memory of its own, where it is changed into what leaves. What cannot be
    /// parsed is dropped and counted.
    pub fn handle_packet_in_place(&mut self, packet: &mut [u8], arrival: Instant) -> Option<Sent> {
        let passed = match RtpView::parse(packet) {
            Ok(packet) => self.pass(&packet, arrival),
            Err(unusable) => {
                self.handle_loss(unusable.into(), 1);
                None
            }
        };
        let (rewrite, sent) = passed?;
        rewrite.write(packet);
        Some(sent)
    }

    /// Takes a packet of the call that must not leave now although the branch may be open: it arrived before the
    /// gate of its tap was shut.
    pub fn store_packet(&mut self, packet: &RtpView<'_>, arrival: Instant) {
        let times = self.clock.times(arrival);
        let ages = match &self.state {
            State::Closed => {
                self.account.seen(arrival);
                self.account.dropped(DropCause::Closed, 1, Duration::ZERO, times.arrival);
                self.forget_older(times);
                self.torn = true;
                return;
            }
            State::Paused(paused) if arrival >= paused.since => return,
            State::Frozen(frozen) if arrival >= frozen.since => {
                // What is kept does not grow old meanwhile.
                self.account.seen(arrival);
                self.account.dropped(DropCause::Closed, 1, Duration::ZERO, times.arrival);
                self.torn = true;
                return;
            }
            State::Holding => true,
            // Time does not count once packets may leave: a slow drain must not lose what it has promised.
            State::Paused(_) | State::Frozen(_) | State::Open(_) => false,
        };
        if let State::Open(open) = &mut self.state {
            open.payloads.note(packet.payload_type());
            open.doubt = None;
        }
        self.first_packet.note(&packet.header, arrival);
        self.account.seen(arrival);
        if !self.hold.ring.could_hold(packet) {
            self.account.dropped(DropCause::RingFull, 1, self.account.spacing, times.arrival);
            self.torn = true;
            return;
        }
        self.forget_older(times);
        let oldest = self.oldest(times);
        let next = Entry::arriving(packet, times);
        let mut evicted = false;
        loop {
            let is_old = ages && self.hold.ring.front().is_some_and(|front| front.ages_from() < oldest);
            let judge = judge(&self.groups, &self.rewriter, &self.account);
            if !is_old && self.hold.makes_room_for(packet, Purpose::Waiting, judge) {
                break;
            }
            if !self.evict(Some(&next)) {
                // Others have used the memory up.
                self.account.dropped(DropCause::RingFull, 1, self.account.spacing, times.arrival);
                self.torn = true;
                return;
            }
            evicted = true;
        }
        if evicted {
            self.rewriter.begin_interval();
        }
        let begins = self.groups.begins(packet);
        self.hold.ring.push(packet, times, begins, std::mem::take(&mut self.torn));
    }

    /// What is sent from now on is for a receiver whose rollover counter begins at 0. Numbers of the upper half, which would
    /// soon wrap, begin anew with `first_sequence`, the others go on.
    pub fn make_room(&mut self, first_sequence: u16) {
        self.rewriter.make_room(first_sequence);
    }

    /// What is sent from now on is for another receiver, which knows nothing of what was sent: numbers begin anew with
    /// `first_sequence`, and so do sources and their accounts for sender reports. Only where nothing encrypted has left
    /// under the key that comes: indices are given again ([`Sent::index`]).
    pub fn begin_session(&mut self, first_sequence: u16) {
        self.rewriter.begin_session(first_sequence);
        self.account.sources_told = 0;
    }

    /// From the next opening on, a backlog leaves so many times faster than real time, or as the limits say.
    pub fn pace(&mut self, catch_up: Option<f32>) {
        self.catch_up = catch_up.unwrap_or(self.limits.catch_up);
    }

    /// Whether nothing leaves late: its recorder places packets by their arrival ([`BranchLimits::catch_up`] is 0).
    pub fn keeps_time(&self) -> bool {
        self.catch_up == 0.0
    }

    /// Lets the branch send: what is held first. Begins a new interval of sequence numbers, unless the branch is open
    /// with the same rules already.
    ///
    /// A payload type that the rules lack is told ([`BranchEvent::PayloadUnknown`]), and its packets wait for half a second,
    /// with all behind them: other rules may have it. After that they are dropped until there are others; at once where
    /// the branch catches nothing up.
    pub fn open(&mut self, payloads: &[PayloadRule], now: Instant) {
        let mut payloads = PayloadMap::new(payloads, !self.keeps_time());
        if let State::Open(open) = &mut self.state {
            if !open.payloads.is_same(&payloads) {
                payloads.note_all(self.hold.ring.payload_types());
                open.payloads = payloads;
                open.doubt = None;
                self.rewriter.begin_interval();
            }
            return;
        }
        self.leave_state(now);
        let oldest = self.oldest(self.clock.times(now));
        let no_catch_up = self.keeps_time();
        while self.hold.ring.front().is_some_and(|front| no_catch_up || front.ages_from() < oldest) {
            self.evict(None);
        }
        self.rewriter.begin_interval();
        payloads.note_all(self.hold.ring.payload_types());
        self.state = State::Open(Open { payloads, pacer: Pacer::new(self.catch_up), doubt: None });
    }

    /// What the stream carries has become known. From now on durations are reckoned with this clock rate (in Hz; 0
    /// counts as 8000), and the ring has the bounds of the medium: what is held beyond them goes, the oldest first.
    /// With a `codec`, a full ring of video throws out whole groups of pictures, those held already included.
    pub fn describe(&mut self, medium: Medium, clock_rate: u32, codec: Option<VideoCodec>) {
        self.medium = medium;
        self.rewriter.describe(medium, clock_rate);
        let regroups = self.groups.describe(medium, codec);
        if regroups {
            self.hold.ring.regroup(|packet| self.groups.begins(packet));
        }
        self.hold.ring.set_limit(hold_bytes(&self.limits, medium));
        while self.hold.ring.is_over() && self.hold.forget(judge(&self.groups, &self.rewriter, &self.account))
        {
        }
        let mut evicted = false;
        while self.hold.ring.is_over() {
            evicted |= self.evict(None);
        }
        if evicted {
            self.rewriter.begin_interval();
            self.look_again();
        }
    }

    /// Begins a new interval of sequence numbers: the recorder moved, or takes the stream anew.
    pub fn begin_interval(&mut self) {
        self.rewriter.begin_interval();
        self.look_again();
    }

    /// Stops sending. What is held stays, and goes first when the branch opens again.
    pub fn pause(&mut self, now: Instant) {
        if !matches!(self.state, State::Paused(_)) {
            self.leave_state(now);
            self.state = State::Paused(Paused { since: now });
        }
    }

    /// The recorder asks for silence, and may open the stream again: what is held stays, and goes first then. What comes meanwhile is
    /// not for it, then or later.
    pub fn freeze(&mut self, now: Instant) {
        if !matches!(self.state, State::Frozen(_)) {
            self.leave_state(now);
            self.state = State::Frozen(Paused { since: now });
            self.account.gaps.end(now);
        }
    }

    /// Waits for the next opening, storing what comes.
    pub fn hold(&mut self, now: Instant) {
        if !matches!(self.state, State::Holding) {
            self.leave_state(now);
            self.state = State::Holding;
        }
    }

    /// Stops sending and forgets what waits: the stream is off at this recorder. What had gone to a recorder that was lost is lost
    /// with that, and told as a gap.
    pub fn disable(&mut self, now: Instant) {
        self.leave_state(now);
        self.lose_waiting(DropCause::Closed);
        self.account.gaps.end(now);
    }

    /// The call has ended. [`BranchEvent::BacklogEmpty`] comes once, as soon as nothing is held.
    pub fn drain(&mut self) {
        if self.drain == Drain::NotAsked {
            self.drain = Drain::Asked;
        }
        self.look_again();
    }

    /// The recording is over: what is still held is lost and told as a gap, what had gone to a recorder that was lost as
    /// lost with that. [`Branch::report`] is final after this,
    /// apart from [`Branch::handle_send_failure`]; packets that come nevertheless count as [`DropCause::Closed`].
    pub fn close(&mut self, now: Instant) {
        self.drop_late();
        self.leave_state(now);
        for missed in self.rewriter.sources.give_up() {
            self.account.lost(missed.into());
        }
        self.lose_unproven();
        self.hold.forget_all(judge(&self.groups, &self.rewriter, &self.account));
        self.account.given_up(self.hold.take_given_up());
        self.lose_waiting(DropCause::NotDrained);
        self.account.gaps.end(now);
    }

    /// Appends the next held packet that is due at `now` to `out`.
    pub fn next_packet(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Sent> {
        if self.hold.ring.is_empty() { None } else { self.next_held(now, out) }
    }

    #[inline(never)]
    fn next_held(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Sent> {
        while let State::Open(open) = &mut self.state
            && let Some(held) = self.hold.ring.front()
        {
            if open.due(&held, now) > now {
                return None;
            }
            let way = if held.is_recalled() { Way::Again } else { Way::Held };
            if held.is_afresh() {
                // A hole of our making is before it, or was before the recorder was lost.
                self.rewriter.begin_interval();
            }
            let arrival = self.clock.arrival(held.times);
            let rewrite = self.rewriter.rewrite(&mut open.payloads, &held.header, arrival, held.times.paused);
            let sent = match rewrite {
                Ok(rewrite) => {
                    open.pacer.left(held.times.active(), now);
                    let start = out.len();
                    self.hold.ring.copy_front(&held, out);
                    rewrite.write(out.get_mut(start..).unwrap_or_default());
                    self.hold.leave(held, rewrite.index, self.clock.times(now), self.rewriter.opening());
                    let length = held.length().into();
                    Some(self.account.leaves(rewrite, (arrival, now), &held.header, length, way))
                }
                Err(unsent) => {
                    let cause = match unsent {
                        Unsent::Dropped(cause) => cause,
                        Unsent::Doubtful => match self.judge_front(&held, now) {
                            Judged::Waits => return None,
                            Judged::Is(Verdict::Restarted) => {
                                self.rewriter.begin_interval();
                                continue;
                            }
                            Judged::Is(Verdict::Late) => DropCause::Stale,
                        },
                    };
                    self.hold.ring.discard();
                    let next = self.hold.ring.front();
                    let span = self.groups.span(&held, next.as_ref(), self.rewriter.clock_rate());
                    self.account.stays(cause, span.unwrap_or(self.account.spacing), arrival, way);
                    None
                }
            };
            if let State::Open(open) = &mut self.state
                && self.hold.ring.is_empty()
            {
                open.pacer.rest();
            }
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    /// When [`Branch::next_packet`] has something to give, at the earliest; `None` when nothing may leave.
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        match &self.state {
            State::Open(open) => {
                let held = self.hold.ring.front()?;
                let due = open.pacer.due(held.times.active(), now).max(open.payloads.wait(&held, now));
                Some(open.doubt.map_or(due, |until| due.max(until)))
            }
            State::Closed | State::Holding | State::Paused(_) | State::Frozen(_) => None,
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<BranchEvent> {
        if let Some(first) = self.first_packet.poll() {
            return Some(first);
        }
        if let Some(ssrc) = self.poll_source_change() {
            return Some(BranchEvent::SourceChanged { ssrc });
        }
        if let State::Open(open) = &mut self.state
            && let Some(payload_type) = open.payloads.poll_unknown()
        {
            return Some(BranchEvent::PayloadUnknown { payload_type });
        }
        self.account.given_up(self.hold.take_given_up());
        if let Some(hole) = self.account.poll_hole() {
            return Some(BranchEvent::Gap(hole));
        }
        let has_ended = self.has_ended();
        // A report may come for as long as the session waits for one.
        if has_ended {
            self.conclude();
        }
        if self.missed.is_any()
            && let Some(missed) = self.poll_missed()
        {
            return Some(missed);
        }
        if has_ended && self.drain == Drain::Asked {
            self.drain = Drain::Told;
            return Some(BranchEvent::BacklogEmpty { recalls: self.recalls() });
        }
        None
    }

    /// Whether the call has ended, and all has left.
    fn has_ended(&self) -> bool {
        self.drain != Drain::NotAsked && self.held_packets() == 0
    }

    /// The account so far.
    pub fn report(&self) -> BranchReport {
        let mut report = self.account.report.clone();
        let room = BranchReport::MOST_HOLES.saturating_sub(report.holes.len());
        report.holes.extend(self.account.gaps.untold().take(room));
        report.gaps = self.account.gaps.count();
        report
    }

    /// Packets that wait.
    pub fn held_packets(&self) -> usize {
        self.hold.ring.packets()
    }

    /// Bytes that wait, a few bytes of bookkeeping for each packet included.
    pub fn held_bytes(&self) -> usize {
        self.hold.ring.bytes()
    }

    /// What sender reports say of each source, in the order in which they appeared.
    pub fn senders(&self) -> impl Iterator<Item = &Sender> {
        self.rewriter.sources.senders()
    }

    /// Whether a receiver report of a source contradicts nothing that was sent.
    pub(crate) fn is_plausible(&self, ssrc: u32, highest_sequence: u32) -> bool {
        self.rewriter.sources.is_plausible(ssrc, highest_sequence)
    }

    /// Whether receiver reports have come that make sense.
    pub fn is_reported(&self) -> bool {
        self.rewriter.sources.have_reports()
    }

    /// The index (RFC 3711 §3.3.1) of the packet of a source that has left as the last in order; its low 16 bits are the
    /// sequence number.
    pub(crate) fn highest_sent(&self, ssrc: u32) -> Option<u64> {
        self.rewriter.sources.highest_sent(ssrc)
    }

    /// Whether a source has come further than to this index, by a report that says that this is the highest sequence number received of
    /// it (RFC 3550 §6.4.1; its low 16 bits count). Where nothing has left since, the last packet will do.
    pub(crate) fn has_come_since(&self, index: u64, ssrc: u32, highest_sequence: u32) -> bool {
        let Some(sent) = self.highest_sent(ssrc) else { return false };
        let back = (sent as u16).wrapping_sub(highest_sequence as u16);
        // Further back than that it is ahead of what was sent, and says nothing.
        let received = sent.checked_sub(back.into()).filter(|_| back <= 0x7FFF);
        received.is_some_and(|received| received > index || received == sent)
    }

    /// The last source that sent, or would have.
    pub fn last_ssrc(&self) -> Option<u32> {
        self.rewriter.sources.last_ssrc()
    }

    /// Ends the present state, leaving *closed*.
    fn leave_state(&mut self, now: Instant) {
        if let State::Paused(silent) | State::Frozen(silent) =
            std::mem::replace(&mut self.state, State::Closed)
        {
            self.clock.stood_still(now.saturating_duration_since(silent.since));
        }
    }

    /// What is written over a packet that leaves at once; else it is stored, or dropped and counted.
    fn pass(&mut self, packet: &RtpView<'_>, arrival: Instant) -> Option<(Rewrite, Sent)> {
        let State::Open(open) = &mut self.state else {
            self.store_packet(packet, arrival);
            return None;
        };
        let may_wait = || self.hold.ring.could_hold(packet);
        if !self.hold.ring.is_empty() || open.payloads.expects(packet.payload_type()) && may_wait() {
            self.store_packet(packet, arrival);
            return None;
        }
        if std::mem::take(&mut self.torn) {
            self.rewriter.begin_interval();
        }
        let paused = self.clock.paused();
        let rewrite = self.rewriter.rewrite(&mut open.payloads, &packet.header, arrival, paused);
        let rewrite = match rewrite {
            Ok(rewrite) => rewrite,
            Err(unsent) => self.reconsider(packet, unsent, arrival)?,
        };
        self.first_packet.note(&packet.header, arrival);
        self.account.seen(arrival);
        let length = packet.bytes().len();
        let sent = self.account.leaves(rewrite, (arrival, arrival), &packet.header, length, Way::Live);
        if self.hold.ring.is_wanted() {
            let times = self.clock.times(arrival);
            self.forget_older(times);
            let begins = self.groups.begins(packet);
            let judge = judge(&self.groups, &self.rewriter, &self.account);
            self.hold.keep(packet, times, begins, sent.index, judge);
        }
        Some((rewrite, sent))
    }

    /// All that waits is lost, for this cause or with the recorder that had it.
    fn lose_waiting(&mut self, cause: DropCause) {
        while let Some(held) = self.hold.ring.discard() {
            self.lose(&held, cause);
        }
    }

    /// A packet that waited as the first one is lost, for this cause or with the recorder that had it.
    fn lose(&mut self, held: &Entry, cause: DropCause) {
        let next = self.hold.ring.front();
        let span = self.groups.span(held, next.as_ref(), self.rewriter.clock_rate());
        let cause = if held.is_recalled() { DropCause::RecorderLost } else { cause };
        self.account.dropped(cause, 1, span.unwrap_or(self.account.spacing), held.times.arrival);
    }

    /// Throws out the first packet that waits and what belongs to it; whether there was one. `next` is the one behind
    /// when no other waits.
    fn evict(&mut self, next: Option<&Entry>) -> bool {
        self.groups.evict(&mut self.hold.ring, &mut self.account, self.rewriter.clock_rate(), next)
    }

    /// What left before this is no longer kept, and what came before it no longer held, in the branch's time without its
    /// pauses.
    fn oldest(&self, now: Times) -> u64 {
        now.active().saturating_sub(nanos(self.limits.hold_time))
    }

    fn forget_older(&mut self, now: Times) {
        let oldest = self.oldest(now);
        self.hold.forget_older(oldest, judge(&self.groups, &self.rewriter, &self.account));
    }

    /// A source after the first: the first is told by [`BranchEvent::FirstPacket`].
    fn poll_source_change(&mut self) -> Option<u32> {
        let admitted = self.rewriter.sources.admitted();
        let untold = admitted.checked_sub(self.account.sources_told.max(1)).filter(|untold| *untold > 0)?;
        self.account.sources_told = admitted - untold + 1;
        self.rewriter.sources.newest(untold - 1)
    }
}

impl Open {
    /// When a packet that waits may leave, or is given up.
    fn due(&mut self, held: &Entry, now: Instant) -> Instant {
        self.payloads.advance(now);
        let due = self.pacer.due(held.times.active(), now).max(self.payloads.wait(held, now));
        self.doubt.map_or(due, |until| due.max(until))
    }
}

fn judge<'a>(groups: &'a Groups, rewriter: &'a Rewriter, account: &Account) -> Judge<'a> {
    Judge { groups, rewriter, spacing: account.spacing }
}

/// Most bytes that the ring of such a stream holds.
fn hold_bytes(limits: &BranchLimits, medium: Medium) -> usize {
    match medium {
        Medium::Audio => limits.hold_bytes,
        Medium::Video => limits.video_hold_bytes,
    }
}
