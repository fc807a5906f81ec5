//! The RTCP of one branch.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rtcp_types::prelude::*;
use rtcp_types::{
    Bye, Compound, CompoundBuilder, ReceiverReport, RtcpWriteError, Sdes, SdesChunk, SdesItem, SenderReport,
};
use siprec_model::{BranchEvent, TimeSpan};

use super::feedback::{Feedback, feedback};
use super::interval::{INTERVAL, Intervals};
use super::milestones::{Left, Milestones};
use super::suspicion::Suspicion;
use crate::{Branch, Sender, WallClock};

/// Bytes that an SDES item holds at most (RFC 3550 §6.5).
const MAX_CNAME: usize = 255;
/// Reports that the recorder may leave out before they count as stopped.
const MISSED_REPORTS: u32 = 3;

/// Of fewer packets than these no report need come: they may be lost on the way, and a silence follow.
const ENOUGH: u64 = 8;
/// Of so many former recorders it is remembered who reported: fewer follow one another before all of a list have failed.
const FORMER: usize = 4;
/// The last so many packets before a silence, a second of speech, may be lost on the way to a recorder that hears.
const LOST_LAST: u16 = 50;
/// What left so shortly before a report came may be under way, or the report is.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Speaks RTCP for a branch: sender reports with CNAME, a BYE at the end, and listens to what the recorder reports.
///
/// It goes on while the branch is paused or inactive: the recorder's keepalive (RFC 3264 §5.1, RFC 7866 §8.2.3).
///
/// Call [`Reporter::poll_report`] whenever the branch has sent and at [`Reporter::next_timeout`],
/// [`Reporter::handle_datagram`] with what comes from the recorder, and [`Reporter::poll_event`] after either.
#[derive(Debug)]
pub struct Reporter {
    cname: String,
    /// Speaks for the branch until the call has shown a source.
    own_ssrc: u32,
    own_ssrc_used: bool,
    intervals: Intervals,
    due: Instant,
    /// What the last two reports said of each source.
    history: Vec<Reported>,
    reception: Reception,
    /// Who reported of former recorders, from where, the last one last: their reports may go on.
    former: Vec<(u32, SocketAddr)>,
    /// The last loss that former recorders have reported, all together.
    former_lost: Option<i32>,
    suspicion: Suspicion,
}

#[derive(Debug)]
struct Reported {
    ssrc: u32,
    /// Packets sent at the last report and at the one before.
    packets: [u64; 2],
}

/// What the recorder says of what it receives.
#[derive(Debug, Default)]
struct Reception {
    /// It always reports, whether it has yet or not.
    is_certain: bool,
    expected: Option<Expected>,
    /// Who reports, and from where.
    reporter: Option<(u32, SocketAddr)>,
    /// What it has received and lost of each source, as it said last.
    received: Vec<Received>,
    milestones: Milestones,
    /// For how long nothing was meant to be sent.
    rested: Duration,
    untold_report: Option<BranchEvent>,
    untold_refutation: bool,
    untold_overdue: bool,
    untold_stop: bool,
    untold_end: bool,
    untold_keyframe: bool,
}

/// What a report said of a source.
#[derive(Debug)]
struct Received {
    ssrc: u32,
    reporter: u32,
    highest_sequence: u32,
    cumulative_lost: i32,
    /// Packets that had left by then, of all sources.
    sent: u64,
}

/// What a datagram shows that reports on several sources, or on one.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// The source of which it shows most.
    ssrc: u32,
    /// When the first few packets left that should have come by then and have not; None where there are none.
    missing: Option<Left>,
}

/// When reports should come.
#[derive(Debug)]
struct Expected {
    /// When the last one came.
    begun: Instant,
    /// The same, or when the first few packets behind it left: on nothing, nobody need report (RFC 3550 §6.4).
    last: Instant,
    /// None before one has come of a recorder that need not send any: how long that takes says how often it does.
    interval: Option<Duration>,
    /// How many packets had left when that began, for as long as next to none has left since.
    idle_at: Option<u64>,
    /// Since when nothing is sent, where that is so: for so long the time stands still.
    resting: Option<Instant>,
    /// When the first few packets left that should have come and have not, by the last report: time counts from there.
    missing: Option<Instant>,
    /// The source that the last report was of. Where it says the same once more, what was under way has not come.
    of: Option<u32>,
    /// From when on time counted before that report came.
    before: Option<Instant>,
    overdue_told: bool,
}

impl Reporter {
    /// `cname` names the party in all its streams (RFC 3550 §6.5.1; cut at 255 bytes); `seed` is random and spreads
    /// the reports of many branches.
    pub fn new(cname: &str, seed: u64, now: Instant) -> Self {
        let mut intervals = Intervals::new(seed);
        Self {
            cname: cut(cname).to_owned(),
            own_ssrc: (seed >> 32) as u32 ^ seed as u32,
            own_ssrc_used: false,
            due: now + intervals.first(),
            intervals,
            history: Vec::new(),
            reception: Reception::default(),
            former: Vec::new(),
            former_lost: None,
            suspicion: Suspicion::default(),
        }
    }

    /// Names the party from the next report on (RFC 3550 §6.5.1; cut at 255 bytes): it may have become known late.
    pub fn rename(&mut self, cname: &str) {
        cut(cname).clone_into(&mut self.cname);
    }

    /// The recorder is another one: it has heard nothing, and nothing has been heard of it. What the one before reports from here on,
    /// of numbers that were its, says nothing of this one.
    pub fn restart(&mut self, now: Instant) {
        self.own_ssrc_used = false;
        self.due = now + self.intervals.first();
        self.history.clear();
        self.former_lost = self.receiver_lost();
        if let Some(reporter) = std::mem::take(&mut self.reception).reporter {
            self.former.retain(|former| *former != reporter);
            if self.former.len() == FORMER {
                self.former.remove(0);
            }
            self.former.push(reporter);
        }
        self.suspicion = Suspicion::default();
    }

    /// What comes from this address, where the recorder receives RTCP, is its, whoever has reported from there before.
    pub fn welcome(&mut self, address: SocketAddr) {
        self.former.retain(|(_, from)| *from != address);
    }

    /// The branch is open to a recorder that always sends reports, if `always`: they are expected from the first packet on
    /// that leaves, each 5 s (RFC 3550 §6.2). Of another the first one is waited for without end, and how long it takes says how
    /// often they should come, each 5 s at the most.
    pub fn expect(&mut self, always: bool, branch: &Branch, now: Instant) {
        let reception = &mut self.reception;
        reception.is_certain = always;
        match &mut reception.expected {
            Some(expected) if expected.interval.is_some() || !always => {
                reception.rested += expected.wake(now)
            }
            _ => reception.begin(branch, now),
        }
    }

    /// Nothing is sent until [`Reporter::expect`]: no report need come meanwhile, also of what has left before. A receiver need
    /// not report in a silence, and one that has not before must still show that it hears.
    pub fn rest(&mut self, now: Instant) {
        if let Some(expected) = &mut self.reception.expected {
            expected.resting.get_or_insert(now);
        }
    }

    /// The recorder's host is said to refuse media of what left within `refused`: the next report of what is sent from here on disproves
    /// that, and gives [`BranchEvent::RefusalRefuted`]. Where packets leave without one that is refused, for 4 s, that is over
    /// ([`BranchEvent::RefusalsOver`]).
    pub fn suspect(&mut self, branch: &Branch, refused: &RangeInclusive<Instant>, now: Instant) {
        self.suspicion.begin(branch, refused, now);
    }

    /// What left within this time the recorder's host has refused of some stream. It counts where another receiver than before comes
    /// to report that has not been heard of since: it has begun anew, and knows nothing of what came in between.
    pub fn hear_host(&mut self, refused: RangeInclusive<Instant>) {
        self.suspicion.hear_host(refused);
    }

    /// When the recorder's host was last said to refuse media, for as long as that is not over.
    pub fn suspected(&self) -> Option<Instant> {
        self.suspicion.noted()
    }

    /// When the next report is due.
    pub fn next_timeout(&self) -> Instant {
        let expected = self.reception.expected.as_ref().and_then(Expected::next);
        expected.map_or(self.due, |expected| expected.min(self.due))
    }

    /// Appends a compound packet to `out` when one is due: on the timer, and at once when the first packet of a
    /// source has left, since a recorder aligns the streams by our sender reports (RFC 3550 §6.2 lets unicast
    /// sessions start without delay). Gives its length in bytes.
    pub fn poll_report(
        &mut self,
        branch: &mut Branch,
        clock: &WallClock,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        self.reception.milestones.note(branch, self.reception.rested, now);
        self.reception.check(branch, now);
        self.reception.untold_end |= self.suspicion.check(branch, now);
        let has_new_source = branch.senders().any(|sender| self.reported(sender.ssrc).is_none());
        if now < self.due && !has_new_source {
            return None;
        }
        self.due = now + self.intervals.next();
        let length = append(&self.compound(branch, clock, false), out).ok();
        self.remember(branch);
        length
    }

    /// Appends the last compound packet, with a BYE for every source (RFC 3550 §6.6). Gives its length in bytes, or
    /// `None` when nothing was ever said that needs one.
    pub fn goodbye(&mut self, branch: &Branch, clock: &WallClock, out: &mut Vec<u8>) -> Option<usize> {
        if self.history.is_empty() && !self.own_ssrc_used && branch.senders().next().is_none() {
            return None;
        }
        let mut bye = Bye::builder();
        for sender in branch.senders() {
            bye = bye.add_source(sender.ssrc);
        }
        if self.own_ssrc_used {
            bye = bye.add_source(self.own_ssrc);
        }
        let compound = self.compound(branch, clock, true).add_packet(bye);
        append(&compound, out).ok()
    }

    /// Takes a datagram that came to the RTCP port from this address, one of the recorder. What makes no sense is passed over.
    /// What it acknowledges the branch need not keep.
    pub fn handle_datagram(&mut self, datagram: &[u8], from: SocketAddr, branch: &mut Branch, now: Instant) {
        let is_ours = |branch: &Branch, ssrc: u32| branch.senders().any(|sender| sender.ssrc == ssrc);
        let (reception, suspicion, former) = (&mut self.reception, &mut self.suspicion, &self.former);
        // A report on several sources is one report.
        let (mut heard, mut newest) = (None, None);
        feedback(datagram, |told| match told {
            Feedback::Report { reporter, ssrc, highest_sequence, cumulative_lost, fraction_lost }
                if is_ours(branch, ssrc) && !former.contains(&(reporter, from)) =>
            {
                if reception.reporter.replace((reporter, from)).is_some_and(|(before, _)| before != reporter)
                {
                    let last = reception.expected.as_ref().map(|expected| expected.begun);
                    suspicion.change_receiver(branch, last, now);
                }
                let said = Received { ssrc, reporter, highest_sequence, cumulative_lost, sent: sent(branch) };
                let makes_sense = branch.is_plausible(ssrc, highest_sequence);
                let missing = if makes_sense { reception.missing(&said, branch, now) } else { None };
                // Of one that never makes sense nobody can tell, unless it is said to report.
                let is_tellable = reception.is_certain || makes_sense;
                if !reception.note(said, branch) && is_tellable {
                    reception.repeat(Heard { ssrc, missing });
                    return;
                }
                if !suspicion.distrusts_reports() {
                    match suspicion.refute(branch, ssrc, highest_sequence, now) {
                        Some(true) => reception.untold_refutation = true,
                        Some(false) => reception.untold_end = true,
                        None => {}
                    }
                    branch.acknowledge(ssrc, highest_sequence, cumulative_lost, now);
                }
                heard = Some(Heard { ssrc, missing }.or_better(heard));
                newest = Some((highest_sequence, cumulative_lost, fraction_lost));
            }
            Feedback::KeyframeWanted { ssrc } if is_ours(branch, ssrc) => reception.untold_keyframe = true,
            // Who has left owes no report (RFC 3550 §6.3.7); that others do says nothing of who reports, nor does what comes from
            // elsewhere. Who always reports owes one of what left before, too: a BYE gives him no time, however often it comes.
            Feedback::Bye { ssrc } if !reception.is_certain && reception.reporter == Some((ssrc, from)) => {
                heard = None;
                reception.begin(branch, now);
            }
            // Who resends listens for himself.
            Feedback::Report { .. }
            | Feedback::KeyframeWanted { .. }
            | Feedback::Missing { .. }
            | Feedback::Bye { .. } => {}
        });
        if let Some((highest_sequence, cumulative_lost, fraction_lost)) = newest {
            let missing_since = heard.and_then(|heard| heard.missing).map(|left| left.at);
            let unbroken = heard.and_then(|heard| branch.unbroken(heard.ssrc));
            let unbroken = unbroken.map(|TimeSpan { from, to }| TimeSpan {
                from,
                to: missing_since.map_or(to, |since| since.min(to)),
            });
            self.reception.untold_report = Some(BranchEvent::ReportReceived {
                highest_sequence,
                cumulative_lost,
                fraction_lost,
                missing_since,
                unbroken,
            });
        }
        if let Some(heard) = heard {
            self.reception.came(heard, branch, now);
        }
    }

    /// The next thing that the recorder told. Of several reports or key frame requests since the last call, the
    /// newest counts.
    pub fn poll_event(&mut self) -> Option<BranchEvent> {
        let reception = &mut self.reception;
        if let Some(report) = reception.untold_report.take() {
            return Some(report);
        }
        if std::mem::take(&mut reception.untold_refutation) {
            return Some(BranchEvent::RefusalRefuted);
        }
        if std::mem::take(&mut reception.untold_end) {
            return Some(BranchEvent::RefusalsOver);
        }
        if std::mem::take(&mut reception.untold_overdue) {
            return Some(BranchEvent::ReportOverdue);
        }
        if std::mem::take(&mut reception.untold_stop) {
            return Some(BranchEvent::ReportsStopped);
        }
        std::mem::take(&mut reception.untold_keyframe).then_some(BranchEvent::KeyframeWanted)
    }

    /// The last cumulative loss that each recorder has reported, of all sources together, where any has.
    pub fn receiver_lost(&self) -> Option<i32> {
        let present = self.reception.received.iter().map(|of| of.cumulative_lost);
        present.chain(self.former_lost).reduce(i32::saturating_add)
    }

    /// A report for each source that has sent since the last report but one; without any, an empty receiver report
    /// (RFC 3550 §6.4). Then the CNAME of each source named.
    fn compound(&mut self, branch: &Branch, clock: &WallClock, ends: bool) -> CompoundBuilder<'_> {
        let mut compound = Compound::builder();
        let mut sdes = Sdes::builder();
        let mut reports = 0;
        let active = |sender: &&Sender| {
            ends || self.reported(sender.ssrc).is_none_or(|before| before.packets[1] != sender.packets)
        };
        for sender in branch.senders().filter(active) {
            reports += 1;
            compound = compound.add_packet(
                SenderReport::builder(sender.ssrc)
                    // The pair is the arrival of a packet of the call and its timestamp, not the moment of this
                    // report: so the streams of a call align however late they leave (`protocol` rule 2.6).
                    .ntp_timestamp(clock.ntp(sender.arrival))
                    .rtp_timestamp(sender.timestamp)
                    .packet_count(sender.packets as u32)
                    .octet_count(sender.octets as u32),
            );
            sdes = sdes.add_chunk(chunk(sender.ssrc, &self.cname));
        }
        if reports == 0 {
            let last = branch.senders().max_by_key(|sender| sender.arrival);
            let ssrc = last.map_or(self.own_ssrc, |sender| sender.ssrc);
            self.own_ssrc_used |= last.is_none();
            compound = compound.add_packet(ReceiverReport::builder(ssrc));
            sdes = sdes.add_chunk(chunk(ssrc, &self.cname));
        }
        compound.add_packet(sdes)
    }

    fn reported(&self, ssrc: u32) -> Option<&Reported> {
        self.history.iter().find(|reported| reported.ssrc == ssrc)
    }

    fn remember(&mut self, branch: &Branch) {
        self.reception.milestones.forget_gone(branch);
        self.history.retain(|reported| branch.senders().any(|sender| sender.ssrc == reported.ssrc));
        for sender in branch.senders() {
            match self.history.iter_mut().find(|reported| reported.ssrc == sender.ssrc) {
                Some(reported) => reported.packets = [sender.packets, reported.packets[0]],
                None => self.history.push(Reported { ssrc: sender.ssrc, packets: [sender.packets, 0] }),
            }
        }
    }
}

impl Reception {
    /// Takes what is said of a source, one that has sent: there are not many. Whether that shows that the recorder hears: one that
    /// repeats itself has received nothing since (RFC 3550 §6.4: it need not report then), which says nothing in a silence.
    fn note(&mut self, said: Received, branch: &Branch) -> bool {
        match self.received.iter_mut().find(|before| before.ssrc == said.ssrc) {
            Some(before) => {
                let is_news = before.highest_sequence != said.highest_sequence;
                let is_silence = (before.reporter, before.sent) == (said.reporter, said.sent);
                let is_heard = is_news || is_silence && said.lag(branch).is_some_and(|lag| lag <= LOST_LAST);
                *before = said;
                is_heard
            }
            None => {
                self.received.push(said);
                true
            }
        }
    }

    /// When the first few packets of a source left that should have come, as this is said of it, and have not: what left a while ago,
    /// but for what may be lost on the way before a silence.
    fn missing(&mut self, said: &Received, branch: &Branch, now: Instant) -> Option<Left> {
        let lag = said.lag(branch)?;
        let highest = branch.highest_sent(said.ssrc)?.checked_sub(lag.into())?;
        self.milestones.acknowledge(said.ssrc, highest);
        let left = self.milestones.left(said.ssrc, highest + ENOUGH)?;
        let has_come = |at: Instant| at + UNDER_WAY <= now;
        let is_silence = self.milestones.last(said.ssrc).is_some_and(has_come);
        (has_come(left.at) && !(is_silence && lag <= LOST_LAST)).then_some(left)
    }

    /// A report has come that shows that the recorder hears, or did.
    fn came(&mut self, heard: Heard, branch: &Branch, now: Instant) {
        let interval = match &mut self.expected {
            Some(expected) if !self.is_certain => expected.measured(branch, now).max(INTERVAL),
            _ => INTERVAL,
        };
        let mut next = Expected::begin(Some(interval), branch, now);
        let mut is_idle = false;
        if let Some(expected) = &mut self.expected {
            expected.follow(branch, now);
            if expected.resting.is_some() {
                next.resting = Some(now);
                self.rested += expected.wake(now);
            }
            next.before = expected.since();
            is_idle = next.before.is_none();
        }
        // Where next to nothing has left since the report before, that has told of all.
        if !is_idle {
            next.of = Some(heard.ssrc);
            let missing = heard.missing.map(|left| self.counted_from(left));
            next.missing = missing.map(|missing| next.before.map_or(missing, |before| before.max(missing)));
        }
        self.expected = Some(next);
        self.untold_overdue = false;
    }

    /// A report says the same as the last one of its source: where that is the one that counts, what was under way then has not come.
    fn repeat(&mut self, heard: Heard) {
        let missing = heard.missing.map(|left| self.counted_from(left));
        if let Some(expected) = self.expected.as_mut().filter(|expected| expected.of == Some(heard.ssrc))
            && let Some(missing) = missing
        {
            let before = expected.before.unwrap_or(missing);
            expected.missing.get_or_insert(missing.max(before));
        }
    }

    /// That moment, and so much later as time has stood still since.
    fn counted_from(&self, left: Left) -> Instant {
        left.at + self.rested.saturating_sub(left.rested)
    }

    /// Expects what it would expect had no report come.
    fn begin(&mut self, branch: &Branch, now: Instant) {
        let interval = self.is_certain.then_some(INTERVAL);
        self.expected = Some(Expected::begin(interval, branch, now));
    }

    fn check(&mut self, branch: &Branch, now: Instant) {
        let Some(expected) = self.expected.as_mut().filter(|expected| expected.resting.is_none()) else {
            return;
        };
        expected.follow(branch, now);
        let Some(interval) = expected.interval else { return };
        if now >= expected.is_overdue_at(interval) && !std::mem::replace(&mut expected.overdue_told, true) {
            self.untold_overdue = true;
        }
        if now >= expected.stops(interval) {
            self.expected = Some(Expected::begin(Some(INTERVAL), branch, now));
            self.untold_stop = true;
        }
    }
}

impl Heard {
    /// The one that shows more: who hears a source hears.
    fn or_better(self, other: Option<Self>) -> Self {
        let shows = |heard: &Self| (heard.missing.is_none(), heard.missing.map(|left| left.at));
        other.filter(|other| shows(other) > shows(&self)).unwrap_or(self)
    }
}

impl Received {
    /// How many packets of the source have left behind what has come of it.
    fn lag(&self, branch: &Branch) -> Option<u16> {
        let sent = branch.highest_sent(self.ssrc)?;
        Some((sent as u16).wrapping_sub(self.highest_sequence as u16))
    }
}

impl Expected {
    fn begin(interval: Option<Duration>, branch: &Branch, now: Instant) -> Self {
        let idle_at = Some(sent(branch));
        Self {
            begun: now,
            last: now,
            interval,
            idle_at,
            resting: None,
            missing: None,
            of: None,
            before: None,
            overdue_told: false,
        }
    }

    /// Something is sent again. For how long time has stood still.
    fn wake(&mut self, now: Instant) -> Duration {
        let rest = self.resting.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.begun += rest;
        self.last += rest;
        for moment in [&mut self.missing, &mut self.before].into_iter().flatten() {
            *moment += rest;
        }
        rest
    }

    /// From when on time counts; None while next to nothing is sent of which a report need come.
    fn since(&self) -> Option<Instant> {
        self.missing.or(self.idle_at.is_none().then_some(self.last))
    }

    /// While next to nothing is sent, time begins anew.
    fn follow(&mut self, branch: &Branch, now: Instant) {
        if let Some(idle_at) = self.idle_at.filter(|_| self.resting.is_none()) {
            self.last = now;
            self.idle_at = Some(idle_at).filter(|idle_at| sent(branch).abs_diff(*idle_at) < ENOUGH);
        }
    }

    /// How often reports come, as one does now. How much of a silence belongs to that nobody knows: it is as often as before, unless that
    /// cannot be.
    fn measured(&mut self, branch: &Branch, now: Instant) -> Duration {
        self.follow(branch, now);
        let until = self.resting.unwrap_or(now);
        let [shortest, longest] = [self.last, self.begun].map(|from| until.saturating_duration_since(from));
        self.interval.unwrap_or(shortest).min(longest).max(shortest)
    }

    /// Receivers take up to half as long again as they mean to (RFC 3550 §6.3.1).
    fn is_overdue_at(&self, interval: Duration) -> Instant {
        self.missing.unwrap_or(self.last) + interval * 3 / 2
    }

    fn stops(&self, interval: Duration) -> Instant {
        self.missing.unwrap_or(self.last) + interval * MISSED_REPORTS
    }

    /// When there is something to tell of it, if it does not come.
    fn next(&self) -> Option<Instant> {
        let interval = self.interval.filter(|_| self.resting.is_none())?;
        Some(if self.overdue_told { self.stops(interval) } else { self.is_overdue_at(interval) })
    }
}

/// Packets that have left.
pub(super) fn sent(branch: &Branch) -> u64 {
    branch.senders().map(|sender| sender.packets).sum()
}

/// As much of a name as an SDES item holds.
fn cut(cname: &str) -> &str {
    cname.get(..cname.floor_char_boundary(MAX_CNAME)).unwrap_or_default()
}

fn chunk(ssrc: u32, cname: &str) -> rtcp_types::SdesChunkBuilder<'_> {
    SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, cname))
}

fn append(compound: &CompoundBuilder<'_>, out: &mut Vec<u8>) -> Result<usize, RtcpWriteError> {
    let start = out.len();
    let size = compound.calculate_size()?;
    out.resize(start + size, 0);
    compound.write_into(out.get_mut(start..).unwrap_or_default())
}
