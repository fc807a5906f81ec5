//! What the application is told of a recording.

use std::fmt;
use std::time::{Duration, Instant};

use crate::{BranchReport, CallUuid, DropCause, Hole, Medium, RecordingId};

/// The state of a recording as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum RecordingState {
    /// Not started.
    #[default]
    Idle,
    /// A recorder is being invited.
    Starting,
    /// At least one recorder takes the call's media.
    Recording,
    /// Paused by command or because a party muted.
    Paused,
    /// The call has ended; what is held is still being sent.
    Draining,
    /// Over.
    Stopped,
    /// Over, because no recorder could take it.
    Failed,
}

impl RecordingState {
    /// The word used in properties and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Recording => "recording",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

impl fmt::Display for RecordingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which session an event speaks of. Fields that do not apply are empty or `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Call-ID of the dialog with the recorder, once there is one.
    pub session: Option<String>,
    /// The recording's id.
    pub recording_id: RecordingId,
    /// The call's id.
    pub call_uuid: CallUuid,
    /// The recorder's URI, without any password.
    pub recorder: Option<String>,
    /// The party concerned, where one is.
    pub dn: Option<String>,
}

/// Something that happened to a recording, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEvent {
    /// The session it happened to.
    pub info: SessionInfo,
    /// What happened.
    pub kind: SessionEventKind,
}

/// What happened to a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEventKind {
    /// The aggregate state changed.
    StateChanged {
        /// The new state.
        state: RecordingState,
        /// Why, in words for people.
        reason: String,
    },
    /// A recorder accepted the session: media flows.
    Started,
    /// Nothing is sent any more: by a pause or mute, from its command on whatever the recorder says of it, or since the session was set
    /// up silent.
    Paused,
    /// Media flows again.
    Resumed,
    /// The session ended as asked or by the recorder's BYE.
    Stopped {
        /// Why.
        reason: StopReason,
        /// What the recorder's BYE says of it, where that is the reason.
        said: HangUp,
    },
    /// A recorder accepted the session that another was lost with.
    FailedOver {
        /// The one that was lost, as its events named it.
        from: String,
        /// From the last proof that it lived until now, be it an answer or a receiver report: what the call brought meanwhile is sent to
        /// this one.
        uncertain: Duration,
    },
    /// The session failed at this recorder.
    Failed {
        /// Why.
        reason: FailureReason,
        /// The SIP status code behind it, where there is one.
        sip_code: Option<u16>,
    },
    /// A medium is not recorded although the call has it.
    MediumOff {
        /// Which.
        medium: Medium,
        /// Why, in words for people.
        reason: String,
        /// Whether the session takes any other stream.
        others: bool,
    },
    /// A medium is recorded that was said to be off, or in whose session all was.
    MediumOn {
        /// Which.
        medium: Medium,
    },
    /// The recording is protected less than it could be, as its policy allows.
    Weakened {
        /// In what way, in words for people.
        reason: String,
    },
    /// The recorder may be lost, and is being asked.
    Suspected {
        /// What speaks against it, in words for people.
        reason: String,
    },
    /// The recording has a hole.
    Gap {
        /// Of which medium.
        medium: Medium,
        /// The hole.
        gap: Gap,
    },
    /// A key frame is wanted of the source of the stream of [`SessionInfo::dn`].
    KeyframeWanted,
    /// The final account of one stream.
    Report {
        /// Audio or video.
        medium: Medium,
        /// The account.
        report: Box<BranchReport>,
        /// [`BranchReport::holes`] on the call's clock.
        gaps: Vec<Gap>,
    },
}

/// A hole in the recording of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first lost packet came, counted from the first packet of any stream of the recording. Time of the call: it
    /// goes on in pauses. Of a hole that receiver reports have shown, the earliest that it may be ([`Hole::start`]).
    pub start: Duration,
    /// Their span.
    pub duration: Duration,
    /// Packets lost.
    pub packets: u64,
    /// Why.
    pub cause: DropCause,
}

impl Gap {
    /// A hole in a recording whose first packet came at `begun`.
    pub fn new(hole: &Hole, begun: Instant) -> Self {
        let Hole { start, packets, duration, cause } = *hole;
        Self { start: start.saturating_duration_since(begun), duration, packets, cause }
    }
}

/// Why a session ended without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// `stop` was asked and everything held was delivered.
    Asked,
    /// `stop-now` was asked.
    AskedAtOnce,
    /// The call ended (EOS, or the element left PAUSED).
    CallEnded,
    /// The call ended, and the deadline passed before everything held was delivered.
    DrainTimeout,
    /// The recorder sent BYE.
    Recorder,
    /// The party of a session of its own left the call.
    PartyLeft,
    /// The agent shut down.
    Shutdown,
}

impl StopReason {
    /// The word used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::AskedAtOnce => "asked-at-once",
            Self::CallEnded => "call-ended",
            Self::DrainTimeout => "drain-timeout",
            Self::Recorder => "recorder-bye",
            Self::PartyLeft => "party-left",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a recorder's BYE says of itself: the header `Reason` of the protocol SIP (RFC 3326 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HangUp {
    /// The SIP status code (`cause`), where it has one.
    pub cause: Option<u16>,
    /// The words for people (`text`), where it has any.
    pub text: Option<String>,
}

/// Why a session failed at a recorder (`protocol` 1.6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailureReason {
    /// The recorder answered negatively.
    #[error("the recorder refused: {code} {phrase}")]
    Refused {
        /// SIP status code.
        code: u16,
        /// Reason phrase.
        phrase: String,
    },
    /// No recorder may take the session.
    #[error("no recorder is left: {0}")]
    NoRecorder(String),
    /// The recorder did not answer in time.
    #[error("the recorder did not answer within {0:?}")]
    Timeout(Duration),
    /// The recorder's address could not be found.
    #[error("the recorder cannot be resolved: {0}")]
    Unresolved(String),
    /// The recorder cannot be reached.
    #[error("the recorder cannot be reached: {0}")]
    Unreachable(String),
    /// The recorder accepted, but its session description is of no use.
    #[error("the recorder's answer cannot be used: {0}")]
    UnusableAnswer(String),
    /// The recorder lives and takes no media.
    #[error("the recorder takes no media: {0}")]
    MediaLost(String),
    /// The recorder lives, and so many packets were lost on the way to it at once, as its receiver reports say.
    #[error("the recorder has missed {0} packets at once")]
    Missed(u64),
    /// The recorder lives, and a stream began while packets of another one were lost on the way to it, as its receiver reports say.
    #[error("the recorder has missed the beginning of a stream")]
    MissedBeginning,
    /// The recorder sent BYE, which is taken for a failure. What it says of it (RFC 3326).
    #[error("the recorder hung up")]
    HungUp(HangUp),
    /// The dialog was lost: no answer, or none that could be acknowledged.
    #[error("the dialog with the recorder is lost: {0}")]
    DialogLost(String),
    /// The recorder does not know the dialog any more, or is not behind what answers for it (408, 481).
    #[error("the dialog with the recorder is lost: {code} {phrase}")]
    DialogUnknown {
        /// SIP status code.
        code: u16,
        /// Reason phrase.
        phrase: String,
    },
    /// No local ports, or the media engine could not serve the session.
    #[error("local resources: {0}")]
    LocalResources(String),
    /// What protects the call or its keys would be lost, and the policy forbids that.
    #[error("security: {0}")]
    Security(String),
    /// The session itself cannot be described (bad id, parameter or header).
    #[error("configuration: {0}")]
    Configuration(String),
}
