//! What goes into a [`Recording`](crate::Recording) and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, SessionEvent, StopReason, StreamFormat, StreamId, TlsProfile,
};
use siprec_sip::{DialogNote, Message, Request, Transport, Uri};

use crate::pool::{NoRecorder, RecorderWish};
use crate::recorder::RecorderTarget;
use crate::security::StreamSecurity;

/// Something that happened, given to [`Recording::handle`](crate::Recording::handle).
#[derive(Clone, Debug)]
pub enum Input {
    /// The application wants something.
    Command(Command),
    /// A SIP message with the Call-ID of one of the recording's dialogs.
    Message(Message),
    /// The recorder that an [`Output::ChooseRecorder`] asks for.
    Recorder {
        /// Number from there.
        attempt: u32,
        /// The recorder, or why there is none.
        choice: Box<Result<RecorderTarget, NoRecorder>>,
    },
    /// What became of an [`Output::Resolve`] or of a connection.
    Transport(TransportEvent),
    /// Something happened on a branch.
    Media(BranchId, BranchEvent),
    /// The time of [`Recording::next_deadline`](crate::Recording::next_deadline) has come.
    Timer,
}

/// What the application wants. Every command is valid at any time; one that makes no difference does nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A call stream is there (a pad was requested). Its packets are held from now on.
    AddStream {
        /// Which pad, below 64. The stream that had it before is over, as after [`Command::RemoveStream`].
        slot: u16,
        /// The tapped stream.
        stream: StreamId,
    },
    /// What the stream carries is known, or has changed.
    StreamFormat {
        /// The stream.
        stream: StreamId,
        /// What it carries.
        format: StreamFormat,
    },
    /// How the stream is protected in the call is known, or has changed. Without it a stream is plain.
    StreamSecurity {
        /// The stream.
        stream: StreamId,
        /// How.
        security: StreamSecurity,
    },
    /// A stream of the call cannot be recorded. One that was told of is over by that, as after [`Command::RemoveStream`], and
    /// told as not recorded, until its pad has another one that is, or [`Command::RemoveStream`] says that the call has it no more.
    /// Where no other one can be recorded, the recording has failed, until one comes that can.
    Unrecordable {
        /// The stream, where it was told of.
        stream: Option<StreamId>,
        /// Why, in words for people.
        reason: String,
    },
    /// The call stream is gone; what it left is still delivered. Its m-line is then free for another stream.
    RemoveStream {
        /// The stream.
        stream: StreamId,
    },
    /// The party of a stream has left the call, but another one may come in its place by [`Command::AddStream`]: what
    /// it left is still delivered, then its m-line becomes `inactive`. In a session of its own it gets a BYE.
    PartyLeft {
        /// The stream.
        stream: StreamId,
    },
    /// The party of a pad has become known, or is called otherwise. The INVITE carries what is known when it is sent;
    /// afterwards nothing is said to the recorder.
    SetDn {
        /// Which pad.
        slot: u16,
        /// Its directory number; empty where not known.
        dn: String,
    },
    /// Another party speaks on a stream that goes on (a transfer, a consultation). The recorder gets a new version of
    /// the session description. A session per party cannot change its party: there the stream is to be replaced.
    ReplaceParty {
        /// Which pad.
        slot: u16,
        /// The new party's directory number; empty where not known.
        dn: String,
    },
    /// The party of a pad receives somewhere else, as its own session description says. The recorder gets a new version.
    PartyMoved {
        /// Which pad.
        slot: u16,
    },
    /// A party has muted its line, or taken that back: see [`silent_streams`](crate::silent_streams).
    Mute {
        /// Which pad.
        slot: u16,
        /// Whether it is muted from now on.
        muted: bool,
    },
    /// Several commands of which the recorder is told at once, in one offer.
    Batch(Vec<Command>),
    /// Invite the recorder, or the first one again where the recording has failed and
    /// [begins anew](crate::RecordingConfig::begins_anew), as soon as every stream has a format, or [`Timers::auto_start`](crate::Timers::auto_start)
    /// later when at least one has.
    Start,
    /// End the recording after delivering what is held, within the drain time.
    Stop(StopReason),
    /// The time for the end is nearly over: each session ends with its BYE, and what is held is lost. What a recorder may not have that has
    /// not answered by [`Command::StopNow`] is lost with it.
    Part,
    /// End the recording at once. What is held is lost and reported.
    StopNow,
    /// End a recording that has failed and was not told to [begin anew](crate::RecordingConfig::begins_anew). Any other goes
    /// on.
    Conclude,
    /// Send nothing of the call until [`Command::Resume`].
    Pause,
    /// Record again.
    Resume,
}

/// What became of an attempt's way to its recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// The recorder's address is known and a local address towards it is chosen.
    Resolved {
        /// Number from [`Output::Resolve`].
        attempt: u32,
        /// The way.
        flow: Flow,
        /// There are further addresses of the same recorder, for when this one fails.
        more: bool,
    },
    /// The recorder's address cannot be found.
    Unresolved {
        /// Number from [`Output::Resolve`].
        attempt: u32,
        /// Why, in words for people.
        reason: String,
    },
    /// The connection to the recorder has ended; the next message makes another one.
    ConnectionLost {
        /// Number from [`Output::Resolve`].
        attempt: u32,
    },
    /// A message of the attempt could not be sent.
    Failed {
        /// Number from [`Output::Resolve`].
        attempt: u32,
        /// Why, in words for people.
        reason: String,
    },
}

/// The way to a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What carries SIP.
    pub transport: Transport,
    /// Where the first request goes.
    pub remote: SocketAddr,
    /// What `Via`, `From` and `Contact` name as ours.
    pub local: SocketAddr,
    /// Local address of the media towards this recorder.
    pub media: IpAddr,
}

/// Something to be done, in the order in which it must be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Choose the recorder that is tried next, and say it by [`Input::Recorder`]: at once, since all else waits for it.
    ChooseRecorder {
        /// Number of the attempt, unique within the recording.
        attempt: u32,
        /// Which is wanted.
        wish: Box<RecorderWish>,
    },
    /// Find the address of a recorder, or of the proxy before it, and say it by [`Input::Transport`].
    Resolve {
        /// Number of the attempt: that of the choice, or where `after` is set a new one.
        attempt: u32,
        /// The recorder of the attempt.
        recorder: Uri,
        /// Where it is to be found: its own address, or that of the proxy before it.
        uri: Uri,
        /// By TLS only, whatever the address says.
        secure: bool,
        /// TLS there.
        tls: TlsProfile,
        /// The attempt whose address has failed: the recorder's next one is wanted (RFC 3263 §4.3).
        after: Option<u32>,
    },
    /// The recorder of the attempt wants nothing more for so long (503 with Retry-After, RFC 3261 §21.5.4).
    RecorderAway {
        /// Number of the attempt.
        attempt: u32,
        /// How long.
        delay: Duration,
    },
    /// The recorder of the attempt said nothing, or cannot be reached, at any of its addresses.
    RecorderSilent {
        /// Number of the attempt.
        attempt: u32,
        /// Why it cannot be reached, at the last of them; None where it said nothing.
        unreached: Option<String>,
    },
    /// The recorder has lost the session of the attempt, or is lost itself: it has room for another session, this call's above
    /// all, although the dialog is not over before the BYE is answered.
    SessionLost {
        /// Number of the attempt.
        attempt: u32,
    },
    /// The attempt is over, and its dialog with it: the recorder has room for another session.
    AttemptOver {
        /// Number of the attempt.
        attempt: u32,
    },
    /// Write down that a dialog of the attempt stands, or that it is over, before what follows is sent.
    Note {
        /// Number of the attempt.
        attempt: u32,
        /// Which dialog.
        note: DialogNote,
    },
    /// Send a SIP message on the attempt's way.
    Send {
        /// Number of the attempt.
        attempt: u32,
        /// The message.
        message: Message,
        /// Where a request goes; `None` for a response, which knows its way.
        next_hop: Option<Box<Uri>>,
    },
    /// Answer a request as one that belongs to no dialog: it has the Call-ID of one of ours, and not its tags, or cancels nothing.
    Stray(Box<Request>),
    /// Command a branch.
    Branch(BranchCommand),
    /// Tell the application.
    Event(SessionEvent),
    /// All that the application hears of is told, and the dialogs that are left are those of recorders that were given up: nobody need wait
    /// for [`Output::Finished`], which comes when those have answered the BYE or have had their time for it. Given once, and not where
    /// that comes first.
    Released,
    /// Everything is over: every dialog has ended, every branch is closed. The last output.
    Finished,
}
