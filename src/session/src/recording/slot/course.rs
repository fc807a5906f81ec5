//! The way of one stream's branch: made, bound, steered, drained, closed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchLimits, Component, MediaSecurity, Medium, OpenBranch, RECALL_OVERLAP,
    RtcpMode, StreamFormat,
};

use super::{
    Branch, End, GRACE, GUESSED_CLOCK_RATE, LATE_REFUSAL, Loss, MOMENT, PortsState, REPLY_TIME, Slot,
    SlotNews,
};
use crate::branches::{BranchMode, difference};
use crate::numbering::static_audio;
use crate::session::{Ports, Said, WantedLine};

impl Slot {
    /// Whether the stream has a branch at the engine.
    pub(in crate::recording) fn is_live(&self) -> bool {
        self.branch.is_some()
    }

    /// Whether any packet of the stream came.
    pub(in crate::recording) fn is_fed(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.fed)
    }

    /// Whether the recorder is being sent the stream.
    pub(in crate::recording) fn is_open(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.mode.sends())
    }

    /// Whether what the present recorder was sent before a pause or mute may be refused only now.
    fn was_open(&self, now: Instant) -> bool {
        self.branch.as_ref().and_then(|branch| branch.silenced).is_some_and(|at| now < at + LATE_REFUSAL)
    }

    /// Whether the stream's ports are bound.
    pub(in crate::recording) fn is_bound(&self) -> bool {
        self.ports().is_some()
    }

    /// The stream's ports, once they are bound.
    pub(in crate::recording) fn ports(&self) -> Option<Ports> {
        match self.branch.as_ref()?.ports {
            PortsState::Bound(ports) => Some(ports),
            PortsState::Asked | PortsState::Unbound => None,
        }
    }

    /// Whether nothing of it is left at the engine, nor will be.
    pub(in crate::recording) fn is_gone(&self) -> bool {
        self.branch.is_none() && !self.closing
    }

    /// Whether nothing more will come of it.
    pub(in crate::recording) fn is_over(&self) -> bool {
        self.is_gone() && (self.ended.is_some() || self.dismissed || self.abandoned)
    }

    /// Whether the account of the branch is of no interest: the stream was not to be recorded.
    pub(in crate::recording) fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Makes the branch: from now on packets are held.
    pub(in crate::recording) fn create(&mut self, limits: BranchLimits, out: &mut Vec<BranchCommand>) {
        if self.branch.is_some() || !self.is_present() {
            return;
        }
        out.push(BranchCommand::Create {
            branch: self.id,
            stream: self.stream,
            medium: self.medium(),
            clock_rate: self.format.as_ref().map_or(GUESSED_CLOCK_RATE, StreamFormat::clock_rate),
            cname: self.cname.clone(),
            limits,
        });
        self.branch = Some(Branch {
            mode: BranchMode::Holding,
            ports: PortsState::Unbound,
            fed: false,
            drained: false,
            parked: false,
            kept: None,
            hold_time: limits.hold_time,
            waiting: None,
            is_recalled: false,
            behind_until: None,
            begun: None,
            sent: None,
            silenced: None,
            recalls: 0,
            asked: false,
            association: None,
        });
    }

    /// The session of the stream has ended.
    pub(in crate::recording) fn abandon(&mut self, out: &mut Vec<BranchCommand>) {
        self.abandoned = true;
        self.close(out);
    }

    /// The stream is not to be recorded.
    pub(in crate::recording) fn dismiss(&mut self, out: &mut Vec<BranchCommand>) {
        self.dismissed = true;
        self.close(out);
    }

    /// Asks for ports on a local address; those of another address are forgotten.
    pub(in crate::recording) fn bind(&mut self, local: IpAddr, rtcp: RtcpMode, out: &mut Vec<BranchCommand>) {
        if let Some(branch) = &mut self.branch {
            branch.ports = PortsState::Asked;
            branch.asked = true;
            out.push(BranchCommand::Bind { branch: self.id, local, rtcp });
        }
    }

    /// Whether ports were never asked for.
    pub(in crate::recording) fn is_unasked(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| !branch.asked)
    }

    /// Whether ports were asked for and neither came nor failed.
    pub(in crate::recording) fn awaits_ports(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.ports == PortsState::Asked)
    }

    /// What the stream wants of a line of this medium.
    pub(in crate::recording) fn wanted(&self, medium: Medium, silent: bool) -> WantedLine {
        let Some(branch) = &self.branch else { return WantedLine::Absent { medium } };
        let silent = silent && !self.speaks_out();
        match (branch.ports, &self.format) {
            (PortsState::Bound(ports), Some(format)) => WantedLine::Stream {
                ports,
                format: format.clone(),
                former: self.former.offered().to_vec(),
                send: !(silent || branch.parked),
                secured: self.security().is_secured(),
                revision: self.revision,
            },
            (PortsState::Bound(ports), None) => WantedLine::Unready { ports: Some(ports), medium, silent },
            (PortsState::Asked, _) => WantedLine::Unready { ports: None, medium, silent },
            (PortsState::Unbound, _) => WantedLine::Absent { medium },
        }
    }

    /// Brings the branch into a mode. One that has no ports or no format cannot be open. Says whether it opens anew.
    pub(in crate::recording) fn steer(
        &mut self,
        mode: BranchMode,
        out: &mut Vec<BranchCommand>,
        now: Instant,
    ) -> bool {
        let Some(branch) = &mut self.branch else { return false };
        let ready = self.format.is_some() && matches!(branch.ports, PortsState::Bound(_));
        let mode = match mode {
            _ if branch.parked => BranchMode::Paused,
            BranchMode::Open(_) if !ready => BranchMode::Holding,
            mode => mode,
        };
        let command = difference(self.id, &branch.mode, &mode);
        let opens = command.is_some() && mode.sends();
        if branch.is_sending() && !mode.sends() {
            branch.sent = Some(now);
            branch.silenced = Some(now).filter(|_| matches!(mode, BranchMode::Paused));
        }
        out.extend(command);
        branch.mode = mode;
        branch.wait(now);
        branch.begin(now);
        opens
    }

    /// The recorder is lost, which was alive for sure at `since`: what it may not have is sent to the next one.
    pub(in crate::recording) fn recall(
        &mut self,
        since: Instant,
        Loss { next, missed }: Loss,
        out: &mut Vec<BranchCommand>,
    ) {
        let Some(branch) = &mut self.branch else { return };
        if branch.parked {
            // Silent since it has ended, and not because anything asked for silence.
            out.push(BranchCommand::Hold { branch: self.id });
        }
        if branch.parked || matches!(branch.mode, BranchMode::Open(_)) {
            branch.mode = BranchMode::Holding;
        }
        (branch.drained, branch.parked, branch.kept) = (false, false, None);
        branch.association.take_if(|association| Some(association.session) != next);
        (branch.begun, branch.silenced) = (None, None);
        branch.recalls += 1;
        branch.is_recalled = true;
        out.push(BranchCommand::Recall { branch: self.id, since, next, missed });
    }

    /// Its session is over as far as it is ours to say: nothing more leaves, and what was sent is kept.
    pub(in crate::recording) fn part(&mut self, out: &mut Vec<BranchCommand>) {
        if let Some(branch) = &mut self.branch {
            branch.mode = BranchMode::Paused;
            out.push(BranchCommand::Part { branch: self.id });
        }
    }

    /// Whether anything was sent that a recorder may not have that was last alive for sure at `proof`.
    pub(in crate::recording) fn may_be_lost(&self, proof: Instant) -> bool {
        let sent_later = |branch: &Branch| branch.sent.is_some_and(|sent| sent + RECALL_OVERLAP >= proof);
        self.branch.as_ref().is_some_and(|branch| branch.is_sending() || sent_later(branch))
    }

    /// Whether something of it waits that its recorder does not take.
    pub(in crate::recording) fn is_withheld(&self) -> bool {
        let waits = |branch: &Branch| matches!(branch.mode, BranchMode::Holding | BranchMode::Frozen);
        self.branch.as_ref().is_some_and(|branch| branch.fed && !branch.drained && waits(branch))
    }

    /// What an ended stream left may be delivered until then, at least.
    pub(in crate::recording) fn prolong(&mut self, until: Instant) {
        if let Some(end) = &mut self.ended {
            end.deadline = end.deadline.max(until);
        }
    }

    /// Whether what an ended stream left may no longer be delivered.
    pub(in crate::recording) fn is_out_of_time(&self, now: Instant) -> bool {
        self.ended.is_some_and(|end| now >= end.deadline)
    }

    /// Has the branch begin its handshake as soon as it may, whether it is to send or not.
    pub(in crate::recording) fn associate(
        &mut self,
        wanted: Option<OpenBranch>,
        out: &mut Vec<BranchCommand>,
    ) {
        let (Some(branch), Some(open)) = (&mut self.branch, wanted) else { return };
        if let MediaSecurity::Dtls(association) = &open.security
            && branch.association.as_ref() != Some(association)
        {
            branch.association = Some(association.clone());
            out.push(BranchCommand::Associate(Box::new(open)));
        }
    }

    /// The stream has ended; what it left may be delivered until the deadline. What its recorder is being sent leaves in any case: the
    /// engine, which says so when it has, would be at it as the BYE comes.
    pub(in crate::recording) fn end(
        &mut self,
        now: Instant,
        deadline: Instant,
        out: &mut Vec<BranchCommand>,
    ) {
        match &mut self.ended {
            None => {
                let deadline = if self.is_open() { deadline.max(now + GRACE) } else { deadline };
                self.ended = Some(End { at: now, deadline, speaks_out: false });
                if self.branch.is_some() {
                    out.push(BranchCommand::Drain { branch: self.id });
                }
            }
            // It had ended before the call did: what may be lost of it has as much time as that of the others.
            Some(end) => end.deadline = end.deadline.max(deadline),
        }
    }

    pub(in crate::recording) fn is_departed(&self) -> bool {
        self.departed
    }

    /// The stream has ended before the recording; whether its line is kept for a successor.
    pub(in crate::recording) fn depart(&mut self, keeps_line: bool) {
        self.departed = true;
        self.left = keeps_line;
    }

    /// Whether the stream's line is kept, silent, for a successor once it is drained.
    pub(in crate::recording) fn is_left(&self) -> bool {
        self.left
    }

    /// Keeps the line, and RTCP, of a stream that has ended and is drained.
    pub(in crate::recording) fn park(&mut self) {
        if let Some(branch) = &mut self.branch {
            branch.parked = true;
        }
    }

    /// Gives the line away of a stream that has ended and is drained. What it has sent stays, until `until` at the latest.
    pub(in crate::recording) fn keep(&mut self, until: Instant, out: &mut Vec<BranchCommand>) {
        self.part(out);
        self.left = false;
        if let Some(branch) = &mut self.branch {
            (branch.parked, branch.kept) = (true, Some(until));
        }
    }

    /// Until when what it has sent is kept although it has ended and has no line any more; None where that is not so.
    pub(in crate::recording) fn kept_until(&self) -> Option<Instant> {
        self.branch.as_ref()?.kept
    }

    /// When packets of it began to leave to the present recorder.
    pub(in crate::recording) fn sent_since(&self) -> Option<Instant> {
        self.branch.as_ref()?.begun
    }

    /// When it ended, if it has.
    pub(in crate::recording) fn ended(&self) -> Option<Instant> {
        self.ended.map(|end| end.at)
    }

    /// Until when packets of it have left, once all have that were to.
    pub(in crate::recording) fn sent_until(&self) -> Option<Instant> {
        self.branch.as_ref().filter(|branch| branch.drained)?.sent
    }

    /// Until when packets of it may have left although something of it waits, now that it has ended; None where none has.
    pub(in crate::recording) fn ended_sending(&self) -> Option<Instant> {
        let End { at, .. } = self.ended?;
        let branch = self.branch.as_ref()?;
        branch.sent.or_else(|| branch.is_sending().then_some(at))
    }

    /// Until when what an ended stream left may be delivered.
    pub(in crate::recording) fn deadline(&self) -> Option<Instant> {
        self.ended.map(|end| end.deadline)
    }

    pub(in crate::recording) fn is_parked(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.parked)
    }

    /// Whether an ended stream has nothing left to deliver. `may_open` says whether a branch that holds something may
    /// yet be opened.
    pub(in crate::recording) fn is_drained(&self, may_open: bool, now: Instant) -> bool {
        let Some(End { at, deadline, .. }) = self.ended else { return false };
        let Some(branch) = &self.branch else { return true };
        if branch.drained || now >= deadline {
            return true;
        }
        match branch.mode {
            BranchMode::Open(_) => false,
            BranchMode::Holding if branch.fed => !may_open,
            BranchMode::Holding => !may_open || now >= at + GRACE,
            BranchMode::Paused if branch.parked => true,
            // Where nothing is frozen, the engine says so at once.
            BranchMode::Paused | BranchMode::Frozen if branch.fed => !may_open && now >= at + GRACE,
            BranchMode::Paused => now >= at + REPLY_TIME,
            BranchMode::Frozen | BranchMode::Disabled => true,
        }
    }

    /// Whether an ended stream has something from before a pause or mute that has not been sent.
    pub(in crate::recording) fn is_frozen(&self, now: Instant) -> bool {
        self.is_left_over(now)
            && self.branch.as_ref().is_some_and(|branch| matches!(branch.mode, BranchMode::Paused))
    }

    /// Whether an ended stream has something from before a pause or mute that has not been sent, or had been sent to a recorder
    /// that is lost.
    pub(in crate::recording) fn is_left_over(&self, now: Instant) -> bool {
        let (Some(End { at, deadline, .. }), Some(branch)) = (self.ended, &self.branch) else { return false };
        let waits = matches!(branch.mode, BranchMode::Paused | BranchMode::Holding) && !branch.parked;
        waits && branch.fed && !branch.drained && (at + GRACE..deadline).contains(&now)
    }

    /// From now on what the stream has left leaves, whatever asks for silence. Says whether it has ended and that is new.
    pub(in crate::recording) fn speak_out(&mut self) -> bool {
        self.ended.as_mut().is_some_and(|end| !std::mem::replace(&mut end.speaks_out, true))
    }

    /// Whether what the stream has left leaves, whatever asks for silence. It has ended: nothing more comes of it.
    pub(in crate::recording) fn speaks_out(&self) -> bool {
        self.ended.is_some_and(|end| end.speaks_out)
    }

    /// Whether an ended stream ran out of time with something undelivered that a recorder was to get.
    pub(in crate::recording) fn is_overdue(&self, now: Instant) -> bool {
        let undelivered = self.branch.as_ref().is_some_and(|branch| branch.fed && !branch.drained);
        undelivered && !self.stranded && self.is_out_of_time(now)
    }

    /// When [`Slot::is_drained`] may change by itself.
    pub(in crate::recording) fn next_deadline(&self, handled: Instant) -> Option<Instant> {
        let End { at, deadline, .. } = self.ended?;
        // One that is kept is drained.
        self.branch.as_ref().filter(|branch| !branch.parked)?;
        [at + GRACE, at + REPLY_TIME, deadline].into_iter().filter(|instant| *instant > handled).min()
    }

    /// Closes the branch, if it is there.
    pub(in crate::recording) fn close(&mut self, out: &mut Vec<BranchCommand>) {
        if self.branch.take().is_some() {
            self.closing = true;
            out.push(BranchCommand::Close { branch: self.id });
        }
    }

    /// Stops waiting for closed branches.
    pub(in crate::recording) fn give_up(&mut self) {
        self.branch = None;
        self.closing = false;
    }

    /// The recorder of this attempt does not take the stream. Says whether the application does not know that yet.
    pub(in crate::recording) fn turn_off(&mut self, attempt: u32) -> bool {
        self.off_told.replace(attempt) != Some(attempt)
    }

    /// Whether the application knows that the stream is not recorded in this attempt.
    pub(in crate::recording) fn is_off(&self, attempt: u32) -> bool {
        self.off_told == Some(attempt)
    }

    /// Whether the application should now be told that the stream is recorded again: it is, and was said to be off.
    pub(in crate::recording) fn turns_on(&mut self) -> bool {
        self.is_open() && self.off_told.take().is_some()
    }

    /// Whether the application was told that it cannot be recorded as it is.
    pub(in crate::recording) fn is_unrecordable(&self) -> bool {
        self.format.is_none() && self.off_told.is_some()
    }

    /// Takes an event of the branch. After it was closed only its end counts.
    pub(in crate::recording) fn handle(
        &mut self,
        event: &BranchEvent,
        out: &mut Vec<BranchCommand>,
        now: Instant,
    ) -> SlotNews {
        let ends = matches!(event, BranchEvent::Closed(_) | BranchEvent::Crashed { .. });
        if self.closing {
            self.closing = !ends;
            return SlotNews::None;
        }
        let Some(branch) = &mut self.branch else { return SlotNews::None };
        match event {
            BranchEvent::PortsReady { rtp, rtcp } => {
                branch.ports = PortsState::Bound(Ports { rtp: *rtp, rtcp: *rtcp });
                SlotNews::None
            }
            BranchEvent::PortsFailed { reason } => {
                branch.ports = PortsState::Unbound;
                SlotNews::PortsFailed(reason.clone())
            }
            BranchEvent::Secured { session, suite } => {
                SlotNews::Protected { session: *session, suite: *suite }
            }
            BranchEvent::SecurityFailed { session, reason } => {
                SlotNews::Unprotected { session: *session, reason: reason.clone() }
            }
            BranchEvent::KeyWanted { session, used_up } => {
                SlotNews::KeyWanted { session: *session, used_up: *used_up }
            }
            BranchEvent::FirstPacket { payload_type, .. } => {
                branch.fed = true;
                branch.begin(now);
                // A static payload type says what the stream carries where no caps do, or others.
                if self.format.is_some() {
                    self.add_unannounced(*payload_type, out, now);
                } else if let Some(payload) = static_audio(*payload_type) {
                    let format =
                        StreamFormat { medium: Medium::Audio, payloads: vec![payload], ptime_ms: None };
                    self.describe(format, out, now);
                }
                SlotNews::FirstPacket
            }
            // That it was empty before it was told that its recorder is lost is no longer true.
            BranchEvent::BacklogEmpty { recalls } if *recalls != branch.recalls => SlotNews::None,
            BranchEvent::BacklogEmpty { .. } => {
                if branch.is_sending() {
                    branch.sent = Some(now);
                }
                branch.drained = self.ended.is_some();
                SlotNews::None
            }
            BranchEvent::Closed(_) => {
                self.branch = None;
                SlotNews::Lost("the media engine closed the branch by itself".to_owned())
            }
            BranchEvent::Crashed { reason } => {
                self.branch = None;
                SlotNews::Lost(reason.clone())
            }
            BranchEvent::PayloadUnknown { payload_type } => {
                self.add_unannounced(*payload_type, out, now);
                SlotNews::None
            }
            // A recorder that is sent nothing has nothing to refuse, or to report on.
            BranchEvent::RemoteRefused { component: Component::Rtp }
                if self.is_open() || self.was_open(now) =>
            {
                SlotNews::Refused
            }
            BranchEvent::ReportsStopped if self.is_open() => SlotNews::Unreported,
            BranchEvent::ReportOverdue if self.is_open() => SlotNews::Overdue,
            BranchEvent::ReportReceived { missing_since, unbroken, .. } => {
                SlotNews::Reported(Said { at: now, missing_since: *missing_since, unbroken: *unbroken })
            }
            // While nothing is sent, nothing is sent again.
            BranchEvent::StretchMissed { packets, within } if self.is_open() => {
                SlotNews::Missed(*packets, *within)
            }
            BranchEvent::StretchMissed { within: Some(within), .. } => SlotNews::LostWithin(*within),
            BranchEvent::StretchLost { within } => SlotNews::LostWithin(*within),
            BranchEvent::RefusalRefuted => SlotNews::Refuted,
            BranchEvent::RefusalsOver => SlotNews::Unrefused,
            BranchEvent::SourceChanged { .. }
            | BranchEvent::RemoteRefused { .. }
            | BranchEvent::ReportOverdue
            | BranchEvent::ReportsStopped
            | BranchEvent::StretchMissed { .. }
            | BranchEvent::KeyframeWanted
            | BranchEvent::Gap(_) => SlotNews::None,
        }
    }
}

impl Branch {
    /// Notes what waits by the present mode. What waits for a moment only, as for the answer to another offer, has left soon.
    fn wait(&mut self, now: Instant) {
        match self.mode {
            BranchMode::Holding => _ = self.waiting.get_or_insert(now),
            BranchMode::Open(_) => {
                let has_waited = self.waiting.take().is_some_and(|since| now > since + MOMENT);
                if std::mem::take(&mut self.is_recalled) || has_waited {
                    self.behind_until = Some(now + self.remembers());
                }
            }
            // What waited before goes first afterwards.
            BranchMode::Paused | BranchMode::Frozen => {}
            BranchMode::Disabled => {
                (self.waiting, self.is_recalled, self.behind_until) = (None, false, None);
            }
        }
    }

    /// Whether packets may wait for the recorder that came some time ago.
    pub(super) fn is_behind(&self, now: Instant) -> bool {
        self.waiting.is_some() || self.is_recalled || self.behind_until.is_some_and(|until| now < until)
    }

    /// For how long packets may be kept, and be leaving then.
    pub(super) fn remembers(&self) -> Duration {
        self.hold_time * 2
    }

    /// Notes when packets of the stream begin to leave.
    fn begin(&mut self, now: Instant) {
        if self.is_sending() {
            self.begun.get_or_insert(now);
        }
    }

    /// Whether packets of the stream may be leaving.
    fn is_sending(&self) -> bool {
        self.fed && !self.drained && self.mode.sends()
    }
}
