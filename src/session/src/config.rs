//! What a recording is asked to do: everything that is known before it starts.

use std::time::Duration;

use siprec_model::{BranchLimits, CallUuid, Fingerprint, RecordingId, RecordingKey, RtcpMode, SrtpSuite};
use siprec_sip::Credentials;

use crate::dialect::Dialect;
use crate::pool::Recorders;
use crate::proxy::OutboundProxy;
use crate::recorder::RecorderTarget;
use crate::security::SecurityPolicy;

/// Longest user-supplied text (DN, parameter, header, id) in bytes. It keeps the INVITE of any configuration within
/// what recorders parse.
pub const TEXT_LIMIT: usize = 1024;

/// Most bytes that Request-URI, To and headers of the call and its recorder make together in the INVITE: with what else is in
/// it, it stays below the 65,535 that a message may have.
pub const HEAD_LIMIT: usize = 48 * 1024;

/// Everything a [`Recording`](crate::Recording) is told before it starts.
///
/// Build it with [`RecordingConfig::new`] and change what differs; [`RecordingConfig::check`] names the first fault.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordingConfig {
    /// The recording's number within this process.
    pub key: RecordingKey,
    /// The recorders that are tried, each once. A list has at least one.
    pub recorders: Recorders,
    /// Other recordings of the same call, whose recorders this one leaves alone.
    pub other_copies: Vec<RecordingKey>,
    /// What is spoken with the recorders.
    pub dialect: Dialect,
    /// How parties are spread over sessions, unless the recorders' profiles say so
    /// ([`RecordingConfig::session_mode`]).
    pub mode: SessionMode,
    /// How they must be, where another recording of the same call has its gates in common with this one.
    pub required_mode: Option<SessionMode>,
    /// The recording's name at the recorder; a random UUID where the controller gives none.
    pub recording_id: Option<RecordingId>,
    /// The controller's name of the call; a random UUID where it gives none.
    pub call_uuid: Option<CallUuid>,
    /// The parties by slot (pad index). A slot beyond the list has no DN.
    pub parties: Vec<Party>,
    /// Who started the recording; the first party where not given.
    pub record_dn: Option<String>,
    /// Further parameters of the Request-URI in the order in which they are sent.
    pub extra_parameters: Vec<(String, String)>,
    /// Further headers of the INVITE in the order in which they are sent.
    pub extra_headers: Vec<(String, String)>,
    /// User part of `From` and `Contact`.
    pub user: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// Who we are to recorders and proxies that ask for a password.
    pub credentials: Vec<Credentials>,
    /// The proxies that recorders are reached through, unless their profiles say otherwise.
    pub outbound_proxy: OutboundProxy,
    /// Invite without being told: when every stream has a format, or [`Timers::auto_start`] after the first packet.
    pub auto_start: bool,
    /// With `auto_start` off: hold packets before [`Command::Start`](crate::Command::Start).
    pub pre_record: bool,
    /// Once it has failed, it can be told to begin anew: its state is `failed`, and it holds what comes from there on, until
    /// [`Command::Start`](crate::Command::Start) begins it again, with the same names, or a command ends it. Default off:
    /// it is over then. With a session for each party it holds that party from where its own has failed.
    pub begins_anew: bool,
    /// Whether video is recorded, too.
    pub record_video: bool,
    /// Bounds of each stream's ring and of its catch-up.
    pub limits: BranchLimits,
    /// How RTCP shares the ports of RTP.
    pub rtcp_mode: RtcpMode,
    /// The call is signalled by SIPS: its recording is signalled by TLS or not at all (RFC 7866 §12.2), also where a
    /// recorder's address says `sip:`.
    pub sips_call: bool,
    /// How the media is protected, unless the recorders' profiles say otherwise.
    pub security: SecurityPolicy,
    /// The fingerprint of the certificate that the media engine shows in handshakes of DTLS; needed for those.
    pub certificate: Option<Fingerprint>,
    /// What the BYE of a recorder means.
    pub recorder_bye: ByePolicy,
    /// How long things may take.
    pub timers: Timers,
}

impl RecordingConfig {
    /// The defaults, for a call that these recorders should take.
    pub fn new(recorders: impl Into<Recorders>) -> Self {
        Self {
            key: RecordingKey::unique(),
            recorders: recorders.into(),
            other_copies: Vec::new(),
            dialect: Dialect::default(),
            mode: SessionMode::default(),
            required_mode: None,
            recording_id: None,
            call_uuid: None,
            parties: Vec::new(),
            record_dn: None,
            extra_parameters: Vec::new(),
            extra_headers: Vec::new(),
            user: "siprec".to_owned(),
            user_agent: concat!("gst-siprec/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Vec::new(),
            outbound_proxy: OutboundProxy::default(),
            auto_start: true,
            pre_record: false,
            begins_anew: false,
            record_video: true,
            limits: BranchLimits::default(),
            rtcp_mode: RtcpMode::default(),
            sips_call: false,
            security: SecurityPolicy::default(),
            certificate: None,
            recorder_bye: ByePolicy::default(),
            timers: Timers::default(),
        }
    }

    /// The DN of a slot, where it has one.
    pub fn dn(&self, slot: u16) -> Option<&str> {
        self.parties.get(usize::from(slot)).map(|party| party.dn.as_str()).filter(|dn| !dn.is_empty())
    }

    /// How parties are spread over sessions: as the listed recorders' profiles say, else as the call does.
    pub fn session_mode(&self) -> SessionMode {
        self.recorders
            .listed()
            .first()
            .and_then(|recorder| recorder.profile.session_mode)
            .unwrap_or(self.mode)
    }

    /// Finds what cannot be sent or served.
    ///
    /// # Errors
    /// The first fault, in words for whoever set it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if matches!(&self.recorders, Recorders::Listed(recorders) if recorders.is_empty()) {
            return Err(ConfigError::NoRecorder);
        }
        let own = self.recorders.listed().iter().filter_map(|recorder| recorder.profile.catch_up);
        let mut paces = std::iter::once(self.limits.catch_up).chain(own);
        if let Some(wrong) = paces.find(|pace| *pace != 0.0 && !(1.0..=100.0).contains(pace)) {
            return Err(ConfigError::CatchUp(wrong));
        }
        let policies =
            self.recorders.listed().iter().filter_map(|recorder| recorder.profile.security.as_ref());
        for policy in std::iter::once(&self.security).chain(policies) {
            let is_repeated =
                |(index, suite)| policy.suites.iter().take(index).any(|other: &SrtpSuite| other == suite);
            if policy.suites.is_empty() {
                return Err(ConfigError::NoSuite);
            }
            if let Some((_, suite)) = policy.suites.iter().enumerate().find(|entry| is_repeated(*entry)) {
                return Err(ConfigError::SuiteTwice(*suite));
            }
        }
        let mode = |recorder: &RecorderTarget| recorder.profile.session_mode.unwrap_or(self.mode);
        if let Some(other) =
            self.recorders.listed().iter().find(|recorder| mode(recorder) != self.session_mode())
        {
            return Err(ConfigError::SessionMode { recorder: other.shown() });
        }
        if self.required_mode.is_some_and(|required| required != self.session_mode()) {
            return Err(ConfigError::OtherSessionMode);
        }
        self.dialect.check(self)
    }
}

/// How parties are spread over sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionMode {
    /// One session with an m-line for each stream of each party.
    #[default]
    BothParties,
    /// A session for each party, with its streams only. Streams with the same DN are one party's.
    PerParty,
}

/// What it means that the recorder ends a session by BYE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByePolicy {
    /// It has decided that nothing more is to be recorded: the session has ended. Unless it says itself that it cannot go on
    /// (`Reason: SIP;cause=5xx`, RFC 3326): then it is lost.
    #[default]
    Stop,
    /// It is lost, and the next recorder takes the call.
    FailOver,
}

/// One party of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// Its directory number, any text; empty where not known.
    pub dn: String,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From a stream's first packet to the INVITE although another stream has no format yet. Default 1 s.
    pub auto_start: Duration,
    /// For finding and reaching the recorder's address. Default 4 s.
    pub resolve: Duration,
    /// For binding the local ports. Default 2 s.
    pub ports: Duration,
    /// From the INVITE to the first response, 100 included. Default 2 s.
    pub first_response: Duration,
    /// From the INVITE to the answer. Default 6 s.
    pub answer: Duration,
    /// From the end of the call until what is held must have been delivered. Default 10 s.
    pub drain: Duration,
    /// How often a recorder of which nothing is heard is asked whether it lives; zero for never. Default 5 s.
    pub probe: Duration,
    /// How long its answer to that may take. Default 2 s.
    pub probe_answer: Duration,
    /// By how much sooner this recording asks than after [`probe`](Self::probe), in thousandths of that time, at most
    /// [`MOST_AHEAD`]; it refreshes its sessions sooner by a fifth of that share. Recordings that began at one moment, or of
    /// a process that stood still for a while, do not all ask their recorder at one moment where each has another. Default 0;
    /// an agent chooses it at random.
    pub ahead: u16,
}

/// Largest [`Timers::ahead`].
pub const MOST_AHEAD: u16 = 200;

impl Timers {
    /// How often this recording asks whether its recorder lives.
    pub(crate) fn probe_interval(&self) -> Duration {
        self.probe - share(self.probe, self.ahead)
    }
}

/// When a recording refreshes a session for which that is due after `interval` (RFC 4028 §7.4).
pub(crate) fn refresh_after(interval: Duration, ahead: u16) -> Duration {
    interval - share(interval, ahead) / 5
}

fn share(time: Duration, ahead: u16) -> Duration {
    time * u32::from(ahead.min(MOST_AHEAD)) / 1000
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            auto_start: Duration::from_secs(1),
            resolve: Duration::from_secs(4),
            ports: Duration::from_secs(2),
            first_response: Duration::from_secs(2),
            answer: Duration::from_secs(6),
            drain: Duration::from_secs(10),
            probe: Duration::from_secs(5),
            probe_answer: Duration::from_secs(2),
            ahead: 0,
        }
    }
}

/// A text that somebody has set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Text {
    /// [`RecordingConfig::user`].
    #[error("the user")]
    User,
    /// [`RecordingConfig::recording_id`].
    #[error("the recording id")]
    RecordingId,
    /// [`RecordingConfig::call_uuid`].
    #[error("the call UUID")]
    CallUuid,
    /// [`RecordingConfig::record_dn`].
    #[error("the DN of the recording party")]
    RecordDn,
    /// The DN of a slot.
    #[error("the DN of party {0}")]
    Dn(usize),
    /// A parameter with this name.
    #[error("the parameter {0:?}")]
    Parameter(String),
    /// A header with this name.
    #[error("the header {0:?}")]
    Header(String),
}

/// A fault of a [`RecordingConfig`]. All are the caller's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The list of recorders is empty.
    #[error("no recorder is given")]
    NoRecorder,
    /// `catch-up` is neither 0 nor from 1.0 to 100.0.
    #[error("catch-up is {0}, but must be 0 or from 1.0 to 100.0")]
    CatchUp(f32),
    /// The recorders of one list are to be tried one after the other, and so must agree on the sessions.
    #[error("the recorder \"{recorder}\" has another session mode than those before it")]
    SessionMode {
        /// The first that differs, without user and password.
        recorder: String,
    },
    /// Two recordings of a call must agree on the sessions.
    #[error("the session mode is another one than that of the recorder that records beside")]
    OtherSessionMode,
    /// There is no suite to offer.
    #[error("no SRTP suite is given")]
    NoSuite,
    /// A suite is offered twice.
    #[error("the SRTP suite {0} is listed twice")]
    SuiteTwice(SrtpSuite),
    /// A text is longer than [`TEXT_LIMIT`].
    #[error("{what} has {length} bytes, more than {TEXT_LIMIT}")]
    TooLong {
        /// Which text.
        what: Text,
        /// Its length in bytes.
        length: usize,
    },
    /// Parameters and headers make more than [`HEAD_LIMIT`] together.
    #[error("the parameters and headers make {length} bytes together, more than {HEAD_LIMIT}")]
    TooLarge {
        /// In bytes, as they would be sent.
        length: usize,
        /// How much of it are the headers.
        headers: usize,
    },
    /// A text that must not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// No INVITE can be sent to a recorder.
    #[error("the recorder \"{recorder}\" cannot be used: {reason}")]
    Recorder {
        /// Its address, without user and password.
        recorder: String,
        /// Why.
        reason: String,
    },
    /// A parameter would change routing or the dialog, or has a property of its own.
    #[error("the parameter name \"{name}\" is refused: {reason}")]
    RefusedParameter {
        /// The name as given.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A parameter's name has characters that a URI parameter cannot have.
    #[error("{0:?} cannot be a parameter name")]
    BadParameterName(String),
    /// A parameter is given twice (names compare without regard to case).
    #[error("the parameter \"{0}\" is given twice")]
    DuplicateParameter(String),
    /// A header belongs to the protocol itself, or has a property of its own.
    #[error("the header \"{0}\" is refused: the protocol sets it")]
    RefusedHeader(String),
    /// A header's name is no token (RFC 3261 §25.1).
    #[error("{0:?} cannot be a header name")]
    BadHeaderName(String),
    /// A header's value has line breaks or other control characters.
    #[error("the value of the header \"{0}\" has control characters")]
    BadHeaderValue(String),
}
