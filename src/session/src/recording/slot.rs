//! One party's stream and its branch to the recorder.

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, BranchLimits, Medium, PayloadFormat, RtcpMode, StreamFormat,
    StreamId,
};

use super::lines::Claim;
use crate::branches::{BranchMode, difference};
use crate::numbering::{comfort_noise, static_audio};
use crate::parties::PartyKey;
use crate::session::{Ports, WantedLine};

/// How long after the end of a stream its last packets may still be on their way to the engine, so that a branch
/// that seems never to have held anything is not given up too early.
const GRACE: Duration = Duration::from_millis(100);

/// Clock rate of a stream whose format is not known yet, in Hz.
const GUESSED_CLOCK_RATE: u32 = 8000;

/// One stream of the call.
#[derive(Debug)]
pub(super) struct Slot {
    id: BranchId,
    pad: u16,
    stream: StreamId,
    party: PartyKey,
    cname: String,
    format: Option<StreamFormat>,
    /// Static payload types that came although the format lacks them.
    unannounced: Vec<PayloadFormat>,
    muted: bool,
    /// How often the stream has got another party.
    revision: u32,
    /// The session that it is recorded in.
    leg: Option<usize>,
    /// None before packets may be held, and after the branch was closed.
    branch: Option<Branch>,
    /// The branch was closed and is not gone yet.
    closing: bool,
    /// When the stream ended, and until when what it left may be delivered.
    ended: Option<End>,
    /// The stream ended before the recording did: its party left, or another stream took its place.
    departed: bool,
    /// Its line waits for a successor.
    left: bool,
    /// Closed because it is not to be recorded.
    dismissed: bool,
    /// Closed because its session has ended.
    abandoned: bool,
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
    /// Silent for a successor of the stream, which has ended.
    parked: bool,
    /// Whether ports were ever asked for.
    asked: bool,
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
    pub(super) fn new(id: BranchId, pad: u16, stream: StreamId, party: PartyKey, cname: String) -> Self {
        Self {
            id,
            pad,
            stream,
            party,
            cname,
            format: None,
            unannounced: Vec::new(),
            muted: false,
            revision: 0,
            leg: None,
            branch: None,
            closing: false,
            ended: None,
            departed: false,
            left: false,
            dismissed: false,
            abandoned: false,
            off_told: false,
        }
    }

    pub(super) fn number(&self) -> u16 {
        self.id.slot
    }

    pub(super) fn branch(&self) -> BranchId {
        self.id
    }

    pub(super) fn stream(&self) -> StreamId {
        self.stream
    }

    pub(super) fn pad(&self) -> u16 {
        self.pad
    }

    pub(super) fn party(&self) -> &PartyKey {
        &self.party
    }

    pub(super) fn leg(&self) -> Option<usize> {
        self.leg
    }

    pub(super) fn is_of(&self, leg: usize) -> bool {
        self.leg == Some(leg)
    }

    pub(super) fn join(&mut self, leg: usize) {
        self.leg = Some(leg);
    }

    pub(super) fn medium(&self) -> Medium {
        self.format.as_ref().map_or(Medium::Audio, |format| format.medium)
    }

    /// The stream for the table of m-lines.
    pub(super) fn claim(&self) -> Claim<'_> {
        let dn = self.party.dn().unwrap_or_default();
        Claim { number: self.id.slot, pad: self.pad, medium: self.medium(), dn }
    }

    /// Whether its pad still brings it.
    pub(super) fn is_present(&self) -> bool {
        self.ended.is_none() && !self.dismissed && !self.abandoned
    }

    /// Whether its party has muted it, and is still there or was to the end.
    pub(super) fn is_muted(&self) -> bool {
        self.muted && !(self.departed || self.dismissed || self.abandoned)
    }

    pub(super) fn mute(&mut self, muted: bool) {
        self.muted = muted;
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

    /// Whether the stream's ports are bound.
    pub(super) fn is_bound(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| matches!(branch.ports, PortsState::Bound(_)))
    }

    /// Whether nothing of it is left at the engine, nor will be.
    pub(super) fn is_gone(&self) -> bool {
        self.branch.is_none() && !self.closing
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone() && (self.ended.is_some() || self.dismissed || self.abandoned)
    }

    /// Whether the account of the branch is of no interest: the stream was not to be recorded.
    pub(super) fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// Another party, or another name of it.
    pub(super) fn rename(&mut self, party: PartyKey, cname: String, out: &mut Vec<BranchCommand>) {
        self.party = party;
        if self.cname != cname {
            self.cname = cname;
            self.announce(out);
        }
    }

    /// Another party speaks, which is to be told.
    pub(super) fn revise(&mut self) {
        self.revision += 1;
    }

    /// Makes the branch: from now on packets are held.
    pub(super) fn create(&mut self, limits: BranchLimits, out: &mut Vec<BranchCommand>) {
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
            asked: false,
        });
    }

    /// What the stream carries is known, or has changed.
    pub(super) fn describe(&mut self, mut format: StreamFormat, out: &mut Vec<BranchCommand>) {
        for payload in self.unannounced.iter().filter(|_| format.medium == Medium::Audio) {
            if !format.payloads.iter().any(|known| known.payload_type == payload.payload_type) {
                format.payloads.push(payload.clone());
            }
        }
        if self.format.as_ref() != Some(&format) {
            self.format = Some(format);
            self.announce(out);
        }
    }

    /// Says to the engine what the stream carries and whose it is.
    fn announce(&self, out: &mut Vec<BranchCommand>) {
        if let (Some(format), Some(_)) = (&self.format, &self.branch) {
            out.push(BranchCommand::Describe {
                branch: self.id,
                medium: format.medium,
                clock_rate: format.clock_rate(),
                codec: format.video_codec(),
                cname: self.cname.clone(),
            });
        }
    }

    /// The session of the stream has ended.
    pub(super) fn abandon(&mut self, out: &mut Vec<BranchCommand>) {
        self.abandoned = true;
        self.close(out);
    }

    /// The stream is not to be recorded.
    pub(super) fn dismiss(&mut self, out: &mut Vec<BranchCommand>) {
        self.dismissed = true;
        self.close(out);
    }

    /// Asks for ports on a local address; those of another address are forgotten.
    pub(super) fn bind(&mut self, local: std::net::IpAddr, rtcp: RtcpMode, out: &mut Vec<BranchCommand>) {
        if let Some(branch) = &mut self.branch {
            branch.ports = PortsState::Asked;
            branch.asked = true;
            out.push(BranchCommand::Bind { branch: self.id, local, rtcp });
        }
    }

    /// Whether ports were never asked for.
    pub(super) fn is_unasked(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| !branch.asked)
    }

    /// Whether ports were asked for and neither came nor failed.
    pub(super) fn awaits_ports(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.ports == PortsState::Asked)
    }

    /// What the stream wants of a line of this medium.
    pub(super) fn wanted(&self, medium: Medium, silent: bool) -> WantedLine {
        let Some(branch) = &self.branch else { return WantedLine::Absent { medium } };
        match (branch.ports, &self.format) {
            (PortsState::Bound(ports), Some(format)) => WantedLine::Stream {
                ports,
                format: format.clone(),
                send: !(silent || branch.parked),
                revision: self.revision,
            },
            (PortsState::Bound(ports), None) => WantedLine::Unready { ports: Some(ports), medium, silent },
            (PortsState::Asked, _) => WantedLine::Unready { ports: None, medium, silent },
            (PortsState::Unbound, _) => WantedLine::Absent { medium },
        }
    }

    /// Brings the branch into a mode. One that has no ports or no format cannot be open. Says whether it opens anew.
    pub(super) fn steer(&mut self, mode: BranchMode, out: &mut Vec<BranchCommand>) -> bool {
        let Some(branch) = &mut self.branch else { return false };
        let ready = self.format.is_some() && matches!(branch.ports, PortsState::Bound(_));
        let mode = match mode {
            _ if branch.parked => BranchMode::Paused,
            BranchMode::Open(_) if !ready => BranchMode::Holding,
            mode => mode,
        };
        let command = difference(self.id, &branch.mode, &mode);
        let opens = matches!(command, Some(BranchCommand::Open(_)));
        out.extend(command);
        branch.mode = mode;
        opens
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

    pub(super) fn is_departed(&self) -> bool {
        self.departed
    }

    /// The stream has ended before the recording; whether its line is kept for a successor.
    pub(super) fn depart(&mut self, keeps_line: bool) {
        self.departed = true;
        self.left = keeps_line;
    }

    /// Whether the stream's line is kept, silent, for a successor once it is drained.
    pub(super) fn is_left(&self) -> bool {
        self.left
    }

    /// Keeps the line, and RTCP, of a stream that has ended and is drained.
    pub(super) fn park(&mut self) {
        if let Some(branch) = &mut self.branch {
            branch.parked = true;
        }
    }

    pub(super) fn is_parked(&self) -> bool {
        self.branch.as_ref().is_some_and(|branch| branch.parked)
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
        self.branch.as_ref().filter(|branch| !branch.parked)?;
        [at + GRACE, deadline].into_iter().find(|instant| *instant > handled)
    }

    /// Closes the branch, if it is there.
    pub(super) fn close(&mut self, out: &mut Vec<BranchCommand>) {
        if self.branch.take().is_some() {
            self.closing = true;
            out.push(BranchCommand::Close { branch: self.id });
        }
    }

    /// Stops waiting for closed branches.
    pub(super) fn give_up(&mut self) {
        self.branch = None;
        self.closing = false;
    }

    /// Whether the application should now be told that the recorder does not take the stream: once for each time.
    pub(super) fn turns_off(&mut self, off: bool) -> bool {
        let news = off && !self.off_told;
        self.off_told = off;
        news
    }

    /// Takes an event of the branch. After it was closed only its end counts.
    pub(super) fn handle(&mut self, event: &BranchEvent, out: &mut Vec<BranchCommand>) -> SlotNews {
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
            BranchEvent::PayloadUnknown { payload_type } => {
                self.add_unannounced(*payload_type, out);
                SlotNews::None
            }
            BranchEvent::SourceChanged { .. }
            | BranchEvent::RemoteRefused { .. }
            | BranchEvent::ReportReceived { .. }
            | BranchEvent::ReportsStopped
            | BranchEvent::KeyframeWanted
            | BranchEvent::Gap { .. } => SlotNews::None,
        }
    }

    /// A static payload type came that the format lacks: its number says what it is (`protocol` rule 2.3).
    fn add_unannounced(&mut self, payload_type: u8, out: &mut Vec<BranchCommand>) {
        let Some(format) = self.format.clone().filter(|format| format.medium == Medium::Audio) else {
            return;
        };
        let known =
            |formats: &[PayloadFormat]| formats.iter().any(|known| known.payload_type == payload_type);
        if let Some(payload) = static_audio(payload_type).or_else(|| comfort_noise(payload_type))
            && !known(&format.payloads)
            && !known(&self.unannounced)
        {
            self.unannounced.push(payload);
            self.describe(format, out);
        }
    }
}
