//! What the recording session tells the media engine, and what the engine reports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::{BranchId, Fingerprint, Medium, RecorderKey, SrtpKey, SrtpSuite, StreamId, VideoCodec};

/// So much before the last evidence of a recorder is sent again: what it had received by then it may not have written. It
/// also makes good for the time that a packet takes from its arrival to its leaving.
pub const RECALL_OVERLAP: Duration = Duration::from_secs(2);

/// A receiver that reports does so within this time: three of the usual intervals (RFC 3550 §6.2).
pub const REPORTS_WITHIN: Duration = Duration::from_secs(15);

/// Where nobody has refused media for so long that is sent to a host (ICMP), it takes it. A host says so once a second at most (Linux:
/// `icmp_ratelimit`), and a router that looks for a neighbour in vain each 3 s (RFC 1122 §2.3.2.1, RFC 4861 §7.2.2).
pub const REFUSED_WITHIN: Duration = Duration::from_secs(4);

/// Refusals of media (ICMP) over this time are no accident of a recorder that is just opening its sockets. A little less than the
/// second that a host waits between two of them.
pub const INSISTENT_FOR: Duration = Duration::from_millis(900);

/// How the recording session reaches the media engine. The agent knows the engine only as this.
pub trait MediaControl: Send + Sync + 'static {
    /// Queues a command for the engine. Never blocks.
    ///
    /// # Errors
    /// [`MediaControlError::Full`] when the bounded queue is full, [`MediaControlError::Stopped`] when the engine
    /// has ended. In both cases the command has no effect.
    fn command(&self, command: BranchCommand) -> Result<(), MediaControlError>;
}

/// Why a command did not reach the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaControlError {
    /// The engine's command queue is full.
    #[error("the media engine's command queue is full")]
    Full,
    /// The engine has stopped.
    #[error("the media engine has stopped")]
    Stopped,
}

/// A command to one branch. Commands to one branch take effect in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub enum BranchCommand {
    /// Makes a branch in state *holding*: packets of `stream` wait in its ring until it is opened.
    Create {
        /// The new branch. A branch with this id must not exist.
        branch: BranchId,
        /// The tapped call stream that feeds it.
        stream: StreamId,
        /// Audio or video: decides what a full ring throws out.
        medium: Medium,
        /// RTP clock rate of the main codec in Hz, above 0; 8000 where it is not known yet.
        clock_rate: u32,
        /// RTCP canonical name (RFC 3550 §6.5.1): one for each party.
        cname: String,
        /// Bounds of ring and catch-up.
        limits: BranchLimits,
    },
    /// What the stream carries has become known, or has changed. A stream is often tapped before its caps come, so
    /// `Create` may have had to guess; durations and sender reports use the new clock rate from now on, and the ring
    /// the bounds of the medium.
    Describe {
        /// The branch.
        branch: BranchId,
        /// Audio or video.
        medium: Medium,
        /// RTP clock rate of the main codec in Hz, above 0.
        clock_rate: u32,
        /// Where key frames can be told from other packets, by the codec's payload format.
        codec: Option<VideoCodec>,
        /// RTCP canonical name: the party may have become known, too.
        cname: String,
    },
    /// Binds a port pair on `local` for the branch, before the offer. Answered by [`BranchEvent::PortsReady`] or
    /// [`BranchEvent::PortsFailed`]. A pair already held on the same address is kept.
    Bind {
        /// The branch.
        branch: BranchId,
        /// Local address, not a wildcard.
        local: IpAddr,
        /// A pair of ports or one port for both.
        rtcp: RtcpMode,
    },
    /// Lets the branch send: what is held first, then live packets (state *open*). Also moves an open branch to a
    /// new address. A new interval begins unless address and rules are unchanged and the branch is open.
    Open(OpenBranch),
    /// Begins the DTLS association of the branch, where it is not there yet, and changes nothing else: a recorder does not
    /// wait with its handshake until media flows.
    Associate(Box<OpenBranch>),
    /// Stops sending (state *paused*); what is held stays in the ring, unsent, and goes first after the next
    /// [`BranchCommand::Open`]. RTCP goes on.
    Pause {
        /// The branch.
        branch: BranchId,
    },
    /// Waits for the next [`BranchCommand::Open`], storing what comes (state *holding*).
    Hold {
        /// The branch.
        branch: BranchId,
    },
    /// Stops sending at the recorder's own wish, which it may take back (state *frozen*): what is held stays in the ring, unsent, does
    /// not grow old, and goes first after the next [`BranchCommand::Open`]. Packets that come are counted as
    /// [`DropCause::Closed`] until then, or until [`BranchCommand::Hold`]. RTCP goes on.
    Freeze {
        /// The branch.
        branch: BranchId,
    },
    /// Stops sending and forgets what is held; packets are counted as [`DropCause::Closed`] until the next
    /// [`BranchCommand::Hold`] or [`BranchCommand::Open`] (a refused or removed stream). RTCP goes on.
    Disable {
        /// The branch.
        branch: BranchId,
    },
    /// The recorder is lost: nothing more goes to it, neither RTP nor RTCP, and what it may not have is put back in front
    /// of what is held, in order. An open branch waits (state *holding*); one that is paused, frozen or disabled stays so. The
    /// next [`BranchCommand::Open`] begins a session with a receiver that knows nothing: other keys, sequence numbers
    /// and RTCP that begin anew, and what was put back first, paced by `catch_up`.
    ///
    /// What it may not have is judged for each synchronisation source:
    /// - where its receiver reports told of the source: all behind the highest sequence number that they acknowledged, or where
    ///   the recorder has missed a stretch at once ([`BranchEvent::StretchMissed`]), by the last report before that;
    ///   They are the better evidence, be they newer or older than `since`: a recorder may answer SIP and be deaf;
    /// - where they told of other sources only: all that is kept of the source;
    /// - where none came in this session: all that was sent at `since` or later.
    ///
    /// Either way what left in the last two seconds before the evidence is sent again too: a recorder that dies has received
    /// more than it has written. A report that contradicts what was sent (ahead of it, or going backwards) is none.
    ///
    /// What is gone from the ring by then is lost: [`BranchEvent::Gap`] with [`DropCause::RecorderLost`]; between two reports of which
    /// the second says how much was missed at once, no more than that. What is put
    /// back counts as waiting again, not as sent, and as [`BranchReport::resent`] once it has left again. After
    /// [`BranchCommand::Drain`], [`BranchEvent::BacklogEmpty`] comes (again) when all of it has left.
    Recall {
        /// The branch.
        branch: BranchId,
        /// When the recorder last gave a sign of life, by anything but receiver reports: the moment at which a request
        /// was sent that it answered, or the session's opening.
        since: Instant,
        /// The session that has been accepted in its place, where one has: what a DTLS association of that one has come to
        /// ([`DtlsAssociation::session`]) goes on.
        next: Option<u32>,
        /// It has missed a stretch at once since then at the earliest, of this stream or another one of its session: a source that has begun
        /// shortly before or since may have begun in it, and its first report does not tell.
        missed: Option<Instant>,
    },
    /// The recorder lives, and was alive for sure at `since`, as in [`BranchCommand::Recall`]. What left two seconds before
    /// that or earlier need not be kept any more, where the recorder sends no receiver reports: none has come in this session
    /// although the first packet left 15 s before `since`. Where one has, this changes nothing: a recorder may answer SIP
    /// and be deaf.
    Confirm {
        /// The branch.
        branch: BranchId,
        /// When the recorder gave its last sign of life.
        since: Instant,
    },
    /// By the reports of another stream of its session, the recorder has missed for good what left within this time. What left then of
    /// this branch, and reports of its own can say nothing of, is lost, too, and told as [`BranchEvent::Gap`] with
    /// [`DropCause::RecorderLost`]: that of a source which no report has come of, or which has ended, behind its last one; and what was sent of a source
    /// before its first report. A receiver counts from the first packet on that it has received (RFC 3550 A.3).
    Concede {
        /// The branch.
        branch: BranchId,
        /// When it was missed.
        within: TimeSpan,
    },
    /// The call has ended: nothing more comes. Answered by [`BranchEvent::BacklogEmpty`] as soon as an open branch
    /// has sent everything it holds.
    Drain {
        /// The branch.
        branch: BranchId,
    },
    /// The session is over, as far as it is ours to say: RTCP BYE, and nothing more leaves, neither RTP nor RTCP. What was
    /// sent is still kept, and what is held stays held, until it is known whether the recorder has lived to the end:
    /// [`BranchCommand::Close`] follows, or [`BranchCommand::Recall`]. What comes is not stored.
    Part {
        /// The branch.
        branch: BranchId,
    },
    /// RTCP BYE, release of ports and ring. What is still held is reported as lost: as [`DropCause::RecorderLost`] what
    /// was put back by [`BranchCommand::Recall`], else as [`DropCause::NotDrained`]. Answered by
    /// [`BranchEvent::Closed`].
    Close {
        /// The branch.
        branch: BranchId,
    },
}

impl BranchCommand {
    /// The branch that the command is for.
    pub fn branch(&self) -> BranchId {
        match self {
            Self::Create { branch, .. }
            | Self::Describe { branch, .. }
            | Self::Bind { branch, .. }
            | Self::Pause { branch }
            | Self::Hold { branch }
            | Self::Freeze { branch }
            | Self::Disable { branch }
            | Self::Recall { branch, .. }
            | Self::Confirm { branch, .. }
            | Self::Concede { branch, .. }
            | Self::Drain { branch }
            | Self::Part { branch }
            | Self::Close { branch } => *branch,
            Self::Open(open) => open.branch,
            Self::Associate(open) => open.branch,
        }
    }
}

/// Where and how an open branch sends.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenBranch {
    /// The branch.
    pub branch: BranchId,
    /// Whose it is at that address: what a host refuses counts by recorder.
    pub recorder: RecorderKey,
    /// Where RTP goes.
    pub rtp: SocketAddr,
    /// Where RTCP goes; `None` when the recorder takes none. Equal to `rtp` with rtcp-mux.
    pub rtcp: Option<SocketAddr>,
    /// How packets are secured.
    pub security: MediaSecurity,
    /// Whether what the call encrypts may leave in the clear, where [`OpenBranch::security`] is that. A branch that may not
    /// waits for another command from the first such packet on.
    pub may_expose: bool,
    /// Which of the call's payload types are sent, and as what. Others wait for half a second, with all behind them, for another
    /// command that has them or holds the branch; then they are dropped and counted until there is one (`protocol`
    /// rule 2.3). May be empty: then nothing that comes is for the recorder.
    pub payloads: Vec<PayloadRule>,
    /// [`BranchLimits::catch_up`] towards this recorder, where it is another one.
    pub catch_up: Option<f32>,
    /// Whether the recorder always sends receiver reports: else they are expected where one has come.
    pub expects_reports: bool,
    /// Whether packets that the recorder asks for again (generic NACK, RFC 4585 §6.2.1) are sent again: it has agreed to ask.
    pub retransmission: bool,
}

/// One payload type of the call and its number at the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadRule {
    /// Payload type in the call's packets, 0-127.
    pub from: u8,
    /// Payload type in the recording's packets, 0-127.
    pub to: u8,
}

/// How the packets of a branch are secured.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MediaSecurity {
    /// Plain RTP (`RTP/AVP`).
    Plain,
    /// SRTP and SRTCP (`RTP/SAVP`).
    Srtp(Box<SrtpKeys>),
    /// SRTP and SRTCP under the keys of a DTLS handshake (`UDP/TLS/RTP/SAVP`, RFC 5764). Nothing leaves before it is done.
    Dtls(Box<DtlsAssociation>),
}

/// An association of DTLS with a recorder, on the ports of a branch. One that differs in anything is another one, with
/// another handshake (RFC 8842 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsAssociation {
    /// Which side of the handshake is ours.
    pub role: DtlsRole,
    /// Of the recorder's certificate, which must have one of them. By one hash, and not empty.
    pub fingerprints: Vec<Fingerprint>,
    /// What the handshake may negotiate.
    pub suites: Vec<SrtpSuite>,
    /// Our name for it (`a=tls-id`).
    pub own_id: String,
    /// The recorder's name for it, where it has one.
    pub recorder_id: Option<String>,
    /// Which session of the branch it belongs to.
    pub session: u32,
}

/// A side of a DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// Begins the handshake.
    Client,
    /// Waits for it.
    Server,
}

/// The keys of both sides of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// What we send under. Made for this branch alone.
    pub own: SrtpKey,
    /// What the recorder sends its RTCP under: one key, or several with identifiers.
    pub recorder: Vec<SrtpKey>,
    /// How many packets of RTCP the recorder may send under them, where it has said so (RFC 4568 §6.1).
    pub recorder_lifetime: Option<u64>,
    /// Which session of the branch they belong to: what a recorder knows of indices ends with its session.
    pub session: u32,
}

/// How RTCP shares the ports of RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RtcpMode {
    /// RTP on an even port, RTCP on the next one (RFC 3550 §11).
    #[default]
    Pair,
    /// Both on one port (RFC 5761).
    Mux,
}

/// The two halves of an RTP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// RTP
    Rtp,
    /// RTCP
    Rtcp,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtp => "RTP",
            Self::Rtcp => "RTCP",
        })
    }
}

/// Bounds of a branch's ring and of its catch-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchLimits {
    /// Longest time that a packet is held, and that a sent one is kept. Default 30 s.
    pub hold_time: Duration,
    /// Most bytes of an audio stream that are held and kept, some bookkeeping for each packet included: where both find
    /// no room, what was sent goes first. Default 512 KiB. With 0, nothing is.
    pub hold_bytes: usize,
    /// The same of a video stream. Default 8 MiB.
    pub video_hold_bytes: usize,
    /// How much faster than real time a backlog may leave, 1.0 to 100.0; 0.0 drops the backlog on opening and
    /// reports it as a gap. Default 2.0.
    pub catch_up: f32,
}

impl Default for BranchLimits {
    fn default() -> Self {
        Self {
            hold_time: Duration::from_secs(30),
            hold_bytes: 512 * 1024,
            video_hold_bytes: 8 * 1024 * 1024,
            catch_up: 2.0,
        }
    }
}

/// The time from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan {
    /// Its beginning.
    pub from: Instant,
    /// Its end; no time has passed where that is not later.
    pub to: Instant,
}

/// What happens on a branch. An event of one branch is never overtaken by a later one of the same branch.
#[derive(Clone, Debug, PartialEq)]
pub enum BranchEvent {
    /// The ports for the offer are bound.
    PortsReady {
        /// Local RTP address.
        rtp: SocketAddr,
        /// Local RTCP address; equal to `rtp` with rtcp-mux.
        rtcp: SocketAddr,
    },
    /// No ports could be bound.
    PortsFailed {
        /// What the system said, with address and range.
        reason: String,
    },
    /// The DTLS handshake of the branch's RTP has made keys: what is opened leaves from now on. Once for each association.
    Secured {
        /// The session of the association ([`DtlsAssociation::session`]).
        session: u32,
        /// The suite that the keys are for.
        suite: SrtpSuite,
    },
    /// The branch cannot be protected as agreed: its DTLS handshake failed, or the recorder's certificate is another one.
    SecurityFailed {
        /// The session of the association ([`DtlsAssociation::session`]).
        session: u32,
        /// What failed.
        reason: String,
    },
    /// The key that the branch sends under ends (RFC 3711 §9.2), and another one is wanted: once when less than a sixteenth of
    /// its use is left, and once when nothing is. Then neither RTP nor RTCP leaves before [`BranchCommand::Open`] brings
    /// another key.
    KeyWanted {
        /// The session of the key ([`SrtpKeys::session`]).
        session: u32,
        /// Nothing is left.
        used_up: bool,
    },
    /// The stream's first packet arrived (for each branch once).
    FirstPacket {
        /// Its payload type.
        payload_type: u8,
        /// Its synchronisation source.
        ssrc: u32,
        /// When it came.
        arrival: Instant,
    },
    /// The call stream goes on with another synchronisation source.
    SourceChanged {
        /// The new source.
        ssrc: u32,
    },
    /// A payload type came that the agreed m-line does not have; once for each payload type and opening, before its packets are
    /// given up.
    PayloadUnknown {
        /// The payload type, 0-127.
        payload_type: u8,
    },
    /// The recorder's host or a router on the way refused it (ICMP: port, host or network unreachable, or prohibited), or sending
    /// failed. At most one event a second; at once behind
    /// [`BranchEvent::RefusalRefuted`] and [`BranchEvent::RefusalsOver`].
    RemoteRefused {
        /// The port concerned.
        component: Component,
    },
    /// After [`BranchEvent::RemoteRefused`] of RTP: a receiver report acknowledges what was sent since, so that those errors
    /// are forged or over. Once until the next refusal.
    RefusalRefuted,
    /// After [`BranchEvent::RemoteRefused`] of RTP: packets have left for 4 s since, and none was refused. Once until the next
    /// refusal. What was refused before counts as not sent, unless receiver reports go on that say what has come. Where the next one does
    /// not come before the end, a second or more of that is a stretch that was missed ([`BranchEvent::StretchMissed`]).
    RefusalsOver,
    /// The recorder sent a receiver report of more than it had received before, or of as much where nothing has left since and it
    /// misses a second of speech at most.
    ReportReceived {
        /// Extended highest sequence number received, as in the report.
        highest_sequence: u32,
        /// Cumulative number of packets lost, as in the report.
        cumulative_lost: i32,
        /// Fraction lost since the last report, in 1/256.
        fraction_lost: u8,
        /// When those packets began to leave of which it says that they have not come, although they left a second or more
        /// before the report came; None where there are none. Eight packets that may be lost on the way are none, nor is the last
        /// second of speech before a silence.
        missing_since: Option<Instant>,
        /// Over which time the reports of that source show, without a break, that what left has come: from the first of them on, or
        /// the last hole, until now, or `missing_since`, or the beginning of a hole of which it is not known yet what becomes of it. A hole is
        /// a stretch that was missed ([`BranchEvent::StretchMissed`]). None where they make no sense.
        unbroken: Option<TimeSpan>,
    },
    /// Receiver reports came, or always do ([`OpenBranch::expects_reports`]), packets have left since, and the next one is overdue:
    /// it has stayed away for one interval and a half, from `missing_since` on where the last one said so. Once until one comes, or
    /// sending begins anew. An interval is the time between
    /// the last two reports, or to the first one since packets leave; 5 s at least, and for who always reports.
    ReportOverdue,
    /// Receiver reports came, or always do, packets have left since, and three intervals have passed without one; again after each
    /// three intervals more in which packets leave.
    ReportsStopped,
    /// The recorder has missed a second or more of the stream at once, and next to nothing was lost some time before and is now: the
    /// way to it was cut. All since the last report before is kept, or a second of it at least; with [`BranchCommand::Recall`] at once
    /// that is sent again, and without it the hole is told as [`BranchEvent::Gap`] when further reports have come. Where less than
    /// that is kept, the hole is told at once, and this event does not come.
    /// It comes before the [`BranchEvent::ReportReceived`] of the report that shows it; after [`BranchCommand::Drain`] it may come
    /// behind [`BranchEvent::BacklogEmpty`], too.
    StretchMissed {
        /// Packets that it has missed.
        packets: u64,
        /// When it was missed: between the last report before the hole and the last one that told of it; None where its host has refused it.
        within: Option<TimeSpan>,
    },
    /// The recorder has missed a second or more of the stream at once, and nobody gets it: it is told as [`BranchEvent::Gap`], at once or
    /// when the branch is closed. What left of other streams within the same time it may have missed, too: see
    /// [`BranchCommand::Concede`].
    StretchLost {
        /// As in [`BranchEvent::StretchMissed`].
        within: TimeSpan,
    },
    /// The recorder asks for a key frame (PLI or FIR).
    KeyframeWanted,
    /// After [`BranchCommand::Drain`]: all that was held has been sent.
    BacklogEmpty {
        /// How many [`BranchCommand::Recall`] the branch had taken by then: one that was on its way is still to come, and with
        /// it what the branch holds then.
        recalls: u32,
    },
    /// Something that should be recorded was not: a hole of this length in the recording.
    Gap(Hole),
    /// The branch is gone; its last event.
    Closed(Box<BranchReport>),
    /// The engine lost this branch by a fault of its own (a caught panic): it is gone, and nothing else is touched.
    Crashed {
        /// What is known of it.
        reason: String,
    },
}

/// A hole in the recording of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// When the first packet of it came from the call; about when, of packets that nobody has seen. Of what receiver reports have shown
    /// to be missed ([`BranchEvent::StretchMissed`]), the earliest that it may be: when the first packet came behind what the last
    /// report before had acknowledged. The hole lies between that and the next report, nobody knows where.
    pub start: Instant,
    /// Packets lost.
    pub packets: u64,
    /// Their span in the stream's own time; of what reports have shown, what so many take on the average of those sent in between.
    pub duration: Duration,
    /// Why.
    pub cause: DropCause,
}

/// Why a packet of the call was not sent to a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// Not RTP: RTCP, STUN, DTLS or anything else on the stream's pad (`protocol` rule 2.5).
    NotRtp,
    /// RTP that contradicts itself: truncated header, CSRC, extension or padding.
    Malformed,
    /// The tap's queue was full: the engine did not keep up.
    QueueFull,
    /// The ring was full or the packet too old.
    RingFull,
    /// Its payload type is not in the agreed m-line.
    PayloadUnknown,
    /// Older than the first packet of the interval, or a duplicate: no hole. Told as one where it was found to be none: its
    /// source had started again with numbers that it had had, and what comes behind could not be waited for.
    Stale,
    /// The stream is switched off at this recorder, or the recording is over.
    Closed,
    /// More synchronisation sources than a stream may have.
    TooManySources,
    /// The socket did not take it.
    SendFailed,
    /// Still held when the recording ended.
    NotDrained,
    /// SRTP of the call for which there is no key, or none with the packet's identifier.
    NoKey,
    /// SRTP of the call that is forged, damaged, or of another key.
    NotAuthentic,
    /// SRTP of the call that came before, or may have.
    Replayed,
    /// It could not be encrypted for the recorder: the key is used up, or the cryptography refused.
    NotProtected,
    /// Sent to a recorder that was lost and may not have it, and not sent to the next one: not kept long enough, or there
    /// was none in time.
    RecorderLost,
}

impl DropCause {
    /// Every cause, in the order of [`DropCounts`].
    pub const ALL: [Self; 15] = [
        Self::NotRtp,
        Self::Malformed,
        Self::QueueFull,
        Self::RingFull,
        Self::PayloadUnknown,
        Self::Stale,
        Self::Closed,
        Self::TooManySources,
        Self::SendFailed,
        Self::NotDrained,
        Self::NoKey,
        Self::NotAuthentic,
        Self::Replayed,
        Self::NotProtected,
        Self::RecorderLost,
    ];

    /// The word used in statistics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRtp => "not-rtp",
            Self::Malformed => "malformed",
            Self::QueueFull => "queue-full",
            Self::RingFull => "ring-full",
            Self::PayloadUnknown => "payload-unknown",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::TooManySources => "too-many-sources",
            Self::SendFailed => "send-failed",
            Self::NotDrained => "not-drained",
            Self::NoKey => "no-key",
            Self::NotAuthentic => "not-authentic",
            Self::Replayed => "replayed",
            Self::NotProtected => "not-protected",
            Self::RecorderLost => "recorder-lost",
        }
    }
}

/// Dropped packets by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropCause::ALL.len()]);

impl DropCounts {
    /// Adds `packets` to the count of `cause`.
    pub fn add(&mut self, cause: DropCause, packets: u64) {
        if let Some(count) = self.0.get_mut(cause as usize) {
            *count = count.saturating_add(packets);
        }
    }

    /// Takes `packets` off the count of `cause`: they are not lost after all.
    pub fn take_back(&mut self, cause: DropCause, packets: u64) {
        if let Some(count) = self.0.get_mut(cause as usize) {
            *count = count.saturating_sub(packets);
        }
    }

    /// The count of `cause`.
    pub fn of(&self, cause: DropCause) -> u64 {
        self.0.get(cause as usize).copied().unwrap_or(0)
    }

    /// Every cause with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DropCause, u64)> + '_ {
        DropCause::ALL.into_iter().zip(self.0.iter().copied())
    }

    /// The sum over all causes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The account of one branch at its end. `seen = sent + drops.total()` holds for every report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BranchReport {
    /// Packets that the call sent while the stream was meant to be recorded.
    pub seen: u64,
    /// Packets sent to the recorder.
    pub sent: u64,
    /// Bytes of RTP sent to the recorder.
    pub sent_bytes: u64,
    /// How many of the sent packets waited in the ring first.
    pub held: u64,
    /// How many of the sent packets went to a recorder that was lost before: each counts as sent once.
    pub resent: u64,
    /// How often a packet that the recorder has not got, and has asked for, was sent once more. Each counts as sent once.
    pub retransmitted: u64,
    /// How often the recorder has asked for one in vain: it had left too long ago, or under another key, or too lately, or too
    /// many were asked for.
    pub not_retransmitted: u64,
    /// Packets not sent, by cause.
    pub drops: DropCounts,
    /// Holes in the recording.
    pub gaps: u64,
    /// The first [`BranchReport::MOST_HOLES`] of them, in the order in which they were told.
    pub holes: Vec<Hole>,
    /// The recorder's last cumulative loss, where it reported.
    pub receiver_lost: Option<i32>,
    /// Packets of RTCP that were due and did not leave, since the key was used up.
    pub rtcp_unsent: u64,
}

impl BranchReport {
    /// Most holes that a report has one by one.
    pub const MOST_HOLES: usize = 64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_counts_for_itself() {
        let mut counts = DropCounts::default();
        for (index, cause) in DropCause::ALL.into_iter().enumerate() {
            counts.add(cause, index as u64 + 1);
        }
        for (index, (cause, count)) in counts.iter().enumerate() {
            assert_eq!(count, index as u64 + 1, "{}", cause.as_str());
            assert_eq!(counts.of(cause), count);
        }
        assert_eq!(counts.total(), 120);
        counts.take_back(DropCause::RecorderLost, 7);
        counts.take_back(DropCause::NotRtp, 2);
        assert_eq!((counts.total(), counts.of(DropCause::NotRtp)), (112, 0));
    }
}
