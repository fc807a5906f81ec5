//! Words that all crates of gst-siprec share: ids, media formats, and what the recording session and the media
//! engine say to each other ([`BranchCommand`], [`BranchEvent`]) and to the application ([`SessionEvent`]).
//!
//! Only data lives here. The crates that act on it never see each other: the session decides, the engine sends.

#![forbid(unsafe_code)]

mod branch;
mod event;
mod fingerprint;
mod format;
mod id;
mod srtp;
mod tls;

pub use branch::{
    BranchCommand, BranchEvent, BranchLimits, BranchReport, Component, DropCause, DropCounts,
    DtlsAssociation, DtlsRole, Hole, INSISTENT_FOR, MediaControl, MediaControlError, MediaSecurity,
    OpenBranch, PayloadRule, RECALL_OVERLAP, REFUSED_WITHIN, REPORTS_WITHIN, RtcpMode, SrtpKeys, TimeSpan,
};
pub use event::{
    FailureReason, Gap, HangUp, RecordingState, SessionEvent, SessionEventKind, SessionInfo, StopReason,
};
pub use fingerprint::{CertificateHash, Fingerprint, FingerprintFault};
pub use format::{Medium, PayloadFormat, StreamFormat, VideoCodec};
pub use id::{BranchId, CallUuid, RecorderKey, RecordingId, RecordingKey, StreamId};
pub use srtp::{KeyFault, LONGEST_MKI, SrtpKey, SrtpSuite, UnknownSuite};
pub use tls::{TlsProfile, TlsVersion, UnknownTlsVersion};
