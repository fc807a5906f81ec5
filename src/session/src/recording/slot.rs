//! One party's stream and its branch to the recorder.

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, BranchLimits, Medium, RtcpMode, StreamFormat, StreamId,
};

use crate::branches::{BranchMode, difference};
use crate::numbering::static_audio;
use crate::session::{Ports, WantedLine};

/// How long after the end of a stream its last packets may still be on their way to the engine, so that a branch
/// that seems never to have held anything is not given up too early.
const GRACE: Duration = Duration::from_millis(100);

/// Clock rate of a stream whose format is not known yet, in Hz.
const GUESSED_CLOCK_RATE: u32 = 8000;

/// One m-line's worth of the call.
#[derive(Debug)]
pub(super) struct Slot {
    id: BranchId,
    stream: StreamId,
    cname: String,
    format: Option<StreamFormat>,
    /// None before packets may be held, and after the branch was closed.
    branch: Option<Branch>,
    /// Branches closed and not yet gone: their events come before those of the present one.
    closing: usize,
    /// When the stream ended, and until when what it left may be delivered.
    ended: Option<End>,
    off_told: bool,
}

#[derive(Debug)]
struct Branch {
    mode: BranchMode,
    ports: PortsState,
    /// Whether any packet came.
    fed: bool,
    /// Everything that was held after the stream's end has been sent.
    drained: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PortsState {
    Unbound,
    Asked,
    Bound(Ports),
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: Instant,
    deadline: Instant,
}

/// What a branch event means for the recording.
#[derive(Debug, PartialEq)]
pub(super) enum SlotNews {
    /// Nothing beyond the slot's own state.
    None,
    /// The first packet came.
    FirstPacket,
    /// No ports for this reason.
    PortsFailed(String),
    /// The engine lost the branch.
    Lost(String),
}

impl Slot {
    pub(super) fn new(id: BranchId, stream: StreamId, cname: String) -> Self {
        Self { id, stream, cname, format: None, branch: None, closing: 0, ended: None, off_told: false }
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) fn medium(&self) -> Medium {
        self.format.as_ref().map_or(Medium::Audio, |format| format.medium)
    }

    /// Whether the stream is there and its format known.
    pub(super) fn is_described(&self) -> bool {
        self.format.is_some()
    }

    /// Whether the stream has a branch at the engine.
    pub(super) fn is_live(&self) -> bool {
        self.branch.is_some()
    }

    /// Whether any packet of the stream came.
    pub(super) fn is_fed(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.fed)
    }

    /// Whether the recorder is being sent the stream.
    pub(super) fn is_open(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| matches!(branch.mode, BranchMode::Open(_)))
    }

    /// Whether every branch that was ever closed is gone, and none is there.
    pub(super) fn is_gone(&self) -> bool {
        self.branch.is_none() && self.closing == 0
    }

    /// Another stream takes the slot; the branch of the old one is closed.
    pub(super) fn replace(&mut self, stream: StreamId, out: &mut Vec<BranchCommand>) {
        self.close(out);
        *self = Self { closing: self.closing, ..Self::new(self.id, stream, std::mem::take(&mut self.cname)) };
    }

    /// Makes the branch: from now on packets are held.
    pub(super) fn create(&mut self, limits: BranchLimits, out: &mut Vec<BranchCommand>) {
        if self.branch.is_some() || self.ended.is_some() {
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
        });
    }

    /// What the stream carries is known, or has changed.
    pub(super) fn describe(&mut self, format: StreamFormat, out: &mut Vec<BranchCommand>) {
        if self.format.as_ref() == Some(&format) {
            return;
        }
        if self.branch.is_some() {
            out.push(BranchCommand::Describe {
                branch: self.id,
                medium: format.medium,
                clock_rate: format.clock_rate(),
                codec: format.video_codec(),
                cname: self.cname.clone(),
            });
        }
        self.format = Some(format);
    }

    /// Asks for ports on a local address; those of another address are forgotten.
    pub(super) fn bind(&mut self, local: std::net::IpAddr, rtcp: RtcpMode, out: &mut Vec<BranchCommand>) {
        if let Some(branch) = &mut self.branch {
            branch.ports = PortsState::Asked;
            out.push(BranchCommand::Bind { branch: self.id, local, rtcp });
        }
    }

    /// Whether ports were asked for and neither came nor failed.
    pub(super) fn awaits_ports(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.ports == PortsState::Asked)
    }

    /// The m-line that the slot wants.
    pub(super) fn wanted(&self, paused: bool) -> WantedLine {
        let Some(branch) = &self.branch else { return WantedLine::Absent };
        match (branch.ports, &self.format) {
            (PortsState::Bound(ports), Some(format)) => {
                WantedLine::Stream { ports, format: format.clone(), send: !paused }
            }
            (PortsState::Bound(ports), None) => WantedLine::Unready { ports: Some(ports), silent: paused },
            (PortsState::Asked, _) => WantedLine::Unready { ports: None, silent: paused },
            (PortsState::Unbound, _) => WantedLine::Absent,
        }
    }

    /// Brings the branch into a mode. One that has no ports or no format cannot be open.
    pub(super) fn steer(&mut self, mode: BranchMode, out: &mut Vec<BranchCommand>) {
        if let Some(branch) = &mut self.branch {
            let ready = self.format.is_some() && matches!(branch.ports, PortsState::Bound(_));
            let mode = if matches!(mode, BranchMode::Open(_)) && !ready { BranchMode::Holding } else { mode };
            out.extend(difference(self.id, &branch.mode, &mode));
            branch.mode = mode;
        }
    }

    /// The stream has ended; what it left may be delivered until the deadline.
    pub(super) fn end(&mut self, now: Instant, deadline: Instant, out: &mut Vec<BranchCommand>) {
        if self.ended.is_none() {
            self.ended = Some(End { at: now, deadline });
            if self.branch.is_some() {
                out.push(BranchCommand::Drain { branch: self.id });
            }
        }
    }

    /// Whether an ended stream has nothing left to deliver. `may_open` says whether a branch that holds something may
    /// yet be opened.
    pub(super) fn is_drained(&self, may_open: bool, now: Instant) -> bool {
        let Some(End { at, deadline }) = self.ended else { return false };
        let Some(branch) = &self.branch else { return true };
        if branch.drained || now >= deadline {
            return true;
        }
        match branch.mode {
            BranchMode::Open(_) => false,
            BranchMode::Holding if branch.fed => !may_open,
            BranchMode::Holding => !may_open || now >= at + GRACE,
            // What a pause froze stays unsent, since a paused stream sends nothing; closing reports it as lost.
            BranchMode::Paused | BranchMode::Disabled => true,
        }
    }

    /// Whether an ended stream ran out of time with something undelivered.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let undelivered = self.branch.as_ref().is_some_and(|branch| branch.fed && !branch.drained);
        undelivered && self.ended.is_some_and(|end| now >= end.deadline)
    }

    /// When [`Slot::is_drained`] may change by itself.
    pub(super) fn next_deadline(&self, handled: Instant) -> Option<Instant> {
        let End { at, deadline } = self.ended?;
        self.branch.as_ref()?;
        [at + GRACE, deadline].into_iter().find(|instant| *instant > handled)
    }

    /// Closes the branch, if it is there.
    pub(super) fn close(&mut self, out: &mut Vec<BranchCommand>) {
        if self.branch.take().is_some() {
            self.closing += 1;
            out.push(BranchCommand::Close { branch: self.id });
        }
    }

    /// Stops waiting for closed branches.
    pub(super) fn give_up(&mut self) {
        self.branch = None;
        self.closing = 0;
    }

    /// Whether the application should now be told that the recorder does not take the stream: once for each time.
    pub(super) fn turns_off(&mut self, off: bool) -> bool {
        let news = off && !self.off_told;
        self.off_told = off;
        news
    }

    /// Takes an event of the branch. While a closed branch is not gone, events are its, and only its end counts.
    pub(super) fn handle(&mut self, event: &BranchEvent, out: &mut Vec<BranchCommand>) -> SlotNews {
        let ends = matches!(event, BranchEvent::Closed(_) | BranchEvent::Crashed { .. });
        if self.closing > 0 {
            self.closing -= usize::from(ends);
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
            BranchEvent::FirstPacket { payload_type, .. } => {
                branch.fed = true;
                // A static payload type says what the stream carries where no caps do.
                if let Some(payload) = static_audio(*payload_type).filter(|_| self.format.is_none()) {
                    let format =
                        StreamFormat { medium: Medium::Audio, payloads: vec![payload], ptime_ms: None };
                    self.describe(format, out);
                }
                SlotNews::FirstPacket
            }
            BranchEvent::BacklogEmpty => {
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
            BranchEvent::SourceChanged { .. }
            | BranchEvent::PayloadUnknown { .. }
            | BranchEvent::RemoteRefused { .. }
            | BranchEvent::ReportReceived { .. }
            | BranchEvent::ReportsStopped
            | BranchEvent::KeyframeWanted
            | BranchEvent::Gap { .. } => SlotNews::None,
        }
    }
}
