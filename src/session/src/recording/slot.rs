//! One party's stream and its branch to the recorder.

mod course;
mod former;

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchId, DtlsAssociation, Medium, PayloadFormat, SrtpSuite, StreamFormat, StreamId,
    TimeSpan,
};

use self::former::FormerFormats;
use super::lines::Claim;
use crate::branches::BranchMode;
use crate::numbering::{comfort_noise, static_audio};
use crate::parties::PartyKey;
use crate::security::StreamSecurity;
use crate::session::{Ports, Said};

/// How long after the end of a stream its last packets may still be on their way to the engine, so that a branch
/// that seems never to have held anything is not given up too early.
const GRACE: Duration = Duration::from_millis(100);

/// How long the engine has to say what a paused stream has left, which it does at once unless it is busy.
const REPLY_TIME: Duration = Duration::from_secs(1);

/// An ICMP error says within so long that what has left was refused: it takes the way to the recorder and back.
const LATE_REFUSAL: Duration = Duration::from_secs(1);

/// What waits no longer than this has left soon: an offer was open.
const MOMENT: Duration = Duration::from_millis(500);

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
    former: FormerFormats,
    muted: bool,
    /// How it is protected in the call.
    security: StreamSecurity,
    /// How it was before it turned plain.
    formerly: Option<Formerly>,
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
    /// It is held, although its party's session has failed and no other one is sought.
    stranded: bool,
    /// The attempt of whose recorder the application was told that it does not take the stream.
    off_told: Option<u32>,
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
    /// It has ended and has no line any more. What it has sent is kept until then, for the next recorder, should this one be
    /// lost.
    kept: Option<Instant>,
    /// For how long packets are kept at most.
    hold_time: Duration,
    /// Since when it has not been open, where packets that came before or since wait for that.
    waiting: Option<Instant>,
    /// What the recorder before may not have had waits, too.
    is_recalled: bool,
    /// Until when what has waited may be leaving.
    behind_until: Option<Instant>,
    /// When packets began to leave to the present recorder.
    begun: Option<Instant>,
    /// Until when packets may have been sent, as far as it is over.
    sent: Option<Instant>,
    /// Since when it is silent by a pause or mute before which packets were leaving to the present recorder.
    silenced: Option<Instant>,
    /// How often its recorder was lost.
    recalls: u32,
    /// Whether ports were ever asked for.
    asked: bool,
    /// The DTLS association that it was last told to have.
    association: Option<Box<DtlsAssociation>>,
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
    /// What it left leaves although others are silent.
    speaks_out: bool,
}

/// How a stream was protected in the call.
#[derive(Clone, Copy, Debug)]
struct Formerly {
    security: StreamSecurity,
    /// Until when what came so may be kept.
    until: Instant,
    /// The next recorder is to get what came so.
    counts: bool,
}

/// What is known of a loss, as [`BranchCommand::Recall`] says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loss {
    /// The session that has been accepted in its place.
    pub(super) next: Option<u32>,
    /// The recorder has missed a stretch at once since then, at the earliest.
    pub(super) missed: Option<Instant>,
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
    /// It is protected as this session says.
    Protected { session: u32, suite: SrtpSuite },
    /// It cannot be protected as this session says.
    Unprotected { session: u32, reason: String },
    /// The key that it is sent under in this session ends, or has ended.
    KeyWanted { session: u32, used_up: bool },
    /// The engine lost the branch.
    Lost(String),
    /// Its receiver reports have stayed away.
    Unreported,
    /// The recorder's host has refused a packet.
    Refused,
    /// The recorder's host refuses no more.
    Unrefused,
    /// The recorder has sent a receiver report.
    Reported(Said),
    /// It should have sent one.
    Overdue,
    /// The recorder has missed so many packets at once, and when, where its reports have told of that.
    Missed(u64, Option<TimeSpan>),
    /// It has missed some within this time that it will not get.
    LostWithin(TimeSpan),
    /// What was refused has arrived.
    Refuted,
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
            former: FormerFormats::default(),
            muted: false,
            security: StreamSecurity::default(),
            formerly: None,
            revision: 0,
            leg: None,
            branch: None,
            closing: false,
            ended: None,
            departed: false,
            left: false,
            dismissed: false,
            abandoned: false,
            stranded: false,
            off_told: None,
        }
    }

    /// The same stream on a branch of its own, for sessions to come.
    pub(super) fn next(&self, id: BranchId) -> Self {
        Self {
            format: self.format.clone(),
            unannounced: self.unannounced.clone(),
            muted: self.muted,
            security: self.security,
            ..Self::new(id, self.pad, self.stream, self.party.clone(), self.cname.clone())
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

    /// Whether it is this stream's, and its session has not ended.
    pub(super) fn carries(&self, stream: StreamId) -> bool {
        self.stream == stream && !self.abandoned
    }

    /// Whether its session has ended.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Whether its party's session has failed while others go on. Only a session that the party gets by
    /// another stream takes it.
    pub(super) fn is_stranded(&self) -> bool {
        self.stranded
    }

    pub(super) fn strand(&mut self, stranded: bool) {
        self.stranded = stranded;
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
        (self.leg, self.stranded) = (Some(leg), false);
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

    /// How the stream is protected in the call, or was when that came which the next recorder is to get.
    pub(super) fn security(&self) -> StreamSecurity {
        let former = self.formerly.filter(|formerly| formerly.counts && !self.security.is_secured());
        former.map_or(self.security, |formerly| formerly.security)
    }

    /// How it is protected from here on. What came before is kept for so long at most.
    pub(super) fn secure(&mut self, security: StreamSecurity, kept_for: Duration, now: Instant) {
        let before = std::mem::replace(&mut self.security, security);
        if before.is_secured() && !security.is_secured() {
            self.formerly = Some(Formerly { security: before, until: now + kept_for, counts: false });
        }
    }

    /// Another recorder is sought, which is to get what the last one may not have, or has nothing to do with that.
    pub(super) fn recollect(&mut self, redelivers: bool, now: Instant) {
        self.formerly.take_if(|formerly| formerly.until <= now);
        if let Some(formerly) = &mut self.formerly {
            formerly.counts = redelivers;
        }
    }

    /// Whether the stream is there and its format known.
    pub(super) fn is_described(&self) -> bool {
        self.format.is_some()
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

    /// What the stream carries is known, or has changed.
    pub(super) fn describe(&mut self, mut format: StreamFormat, out: &mut Vec<BranchCommand>, now: Instant) {
        for payload in self.unannounced.iter().filter(|_| format.medium == Medium::Audio) {
            if !format.payloads.iter().any(|known| known.payload_type == payload.payload_type) {
                format.payloads.push(payload.clone());
            }
        }
        if self.format.as_ref() != Some(&format) {
            self.leave_format(&format, now);
            self.format = Some(format);
            self.announce(out);
        }
    }

    /// The stream has another format from now on. What is kept of the one before goes out all the same, unless nothing of it is kept:
    /// nothing came, or it was not to be recorded.
    fn leave_format(&mut self, next: &StreamFormat, now: Instant) {
        let Some(branch) = &self.branch else { return };
        let before = self.format.as_ref().filter(|_| branch.fed && self.off_told.is_none());
        self.former.leave(before, next, (branch.is_behind(now), branch.remembers()), now);
    }

    /// A recorder is invited that gets all that is kept.
    pub(super) fn revive_formats(&mut self, now: Instant) {
        if let (Some(branch), Some(format)) = (&self.branch, &self.format) {
            self.former.revive(format, branch.remembers(), now);
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

    /// A static payload type came that the format lacks: its number says what it is (`protocol` rule 2.3).
    fn add_unannounced(&mut self, payload_type: u8, out: &mut Vec<BranchCommand>, now: Instant) {
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
            self.describe(format, out, now);
        }
    }
}
