//! Whatever is commanded and whatever the recorder does: the rules hold, and the recording ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use siprec_model::{
    BranchCommand, BranchEvent, CertificateHash, Component, DtlsAssociation, Fingerprint, MediaSecurity,
    PayloadFormat, RecordingState, SessionEvent, SessionEventKind, SrtpKey, SrtpSuite, StopReason, StreamId,
    TimeSpan,
};
use siprec_session::{
    ByePolicy, Command, Input, Keying, Output, SessionMode, SrtpUse, StreamSecurity, TransportEvent,
};
use siprec_sip::sdp::{Crypto, TLS_SAVP};
use siprec_sip::{HeaderName, Message, Method, Request, SessionDescription};
use support::*;

#[derive(Clone, Debug)]
enum Step {
    Command(Command),
    Packet(u16),
    Engine(u16, BranchEvent),
    /// What reports show between so many seconds ago: what was heard, or lost for good.
    Shown(u16, bool, [u8; 2]),
    Wait(u32),
    /// The recorder answers one of our requests that it has not answered.
    Answer {
        which: usize,
        status: u16,
        timer: usize,
        body: usize,
    },
    /// The recorder sends a request of its own in the dialog of one of our INVITEs.
    Request {
        which: usize,
        method: &'static str,
        timer: usize,
        body: usize,
    },
    /// The recorder sends again what it sent last.
    Repeat,
    Fault(u32),
}

const RECORDERS: &str = "sip:a.example sip:b.example sip:c.example";

/// Session descriptions of the recorder, good and bad. The port tells the m-line: 0 for 4000 and 6000, 1 for 4002.
fn bodies() -> Vec<String> {
    vec![
        String::new(),
        sdp(&[4000, 4002]),
        sdp(&[6000, 6002]),
        sdp(&[4000, 0]),
        sdp(&[0, 0]),
        sdp(&[4000]),
        sdp(&[4000, 4002, 4004]),
        sdp_of(&["audio 4000", "audio 4002", "video 4004", "video 4006"]),
        sdp_of(&["audio 4000", "video 4002"]),
        sdp_of(&["video 4000"]),
        sdp_with(&[4000, 4002], "a=inactive\r\n"),
        sdp_with(&[4000, 4002], "a=sendonly\r\n"),
        "v=garbage".to_owned(),
        sdp(&[4000, 4002]).replace("192.0.2.9", "0.0.0.0"),
        sdp(&[4000, 4002]).replace("RTP/AVP", "RTP/SAVP"),
    ]
}

/// The same with keys for what was plain.
fn secured_bodies() -> Vec<String> {
    let key = |tag: u32, suite: SrtpSuite| {
        let key = SrtpKey::new(suite, &vec![tag as u8; suite.master_length()]).unwrap();
        format!("RTP/SAVP 0\r\na=crypto:{}\r\n", *Crypto::new(tag, key).to_value())
    };
    let with = |text: String, index: usize| match index % 5 {
        0 => text.replace("RTP/AVP 0\r\n", &key(9, SrtpSuite::AesCm128HmacSha1_80)),
        1 => text.replace("RTP/AVP 0\r\n", &key(2, SrtpSuite::AesCm128HmacSha1_80)),
        _ => text.replace("RTP/AVP 0\r\n", &key(1, SrtpSuite::AeadAes128Gcm)),
    };
    bodies().into_iter().zip(2..).map(|(text, index)| with(text, index)).collect()
}

/// The same with certificates for what was plain.
fn handshake_bodies() -> Vec<String> {
    let fingerprint = |byte: u8| Fingerprint::new(CertificateHash::Sha256, &[byte; 32]).unwrap();
    let line = |setup: &str, byte, id: &str| {
        let fingerprint = fingerprint(byte);
        format!("{TLS_SAVP} 0\r\na=setup:{setup}\r\na=fingerprint:{fingerprint}\r\na=tls-id:{id:x>20}\r\n")
    };
    let with = |text: String, index: usize| match index % 6 {
        0 => text.replace("RTP/AVP 0\r\n", &line("actpass", 1, "a")),
        1 => text.replace("RTP/AVP 0\r\n", &line("passive", 1, "b")),
        2 => text.replace("RTP/AVP 0\r\n", &line("active", 2, "")),
        _ => text.replace("RTP/AVP 0\r\n", &line("active", 1, "a")),
    };
    bodies().into_iter().zip(2..).map(|(text, index)| with(text, index)).collect()
}

/// What the recorder says of the session timer.
const TIMERS: [&[(&str, &str)]; 9] = [
    &[],
    &[("Session-Expires", "1800;refresher=uac"), ("Supported", "timer")],
    &[("Session-Expires", "90;refresher=uas"), ("Supported", "timer")],
    &[("Session-Expires", "90;refresher=uac"), ("Supported", "timer"), ("Min-SE", "1")],
    &[("Session-Expires", "120")],
    &[("Session-Expires", "30"), ("Supported", "timer")],
    &[("Session-Expires", "soon"), ("Min-SE", "later")],
    &[("Min-SE", "3600")],
    &[("Min-SE", "4294967295")],
];

/// Where a recorder sends its sessions (3xx), sound or not.
const ELSEWHERE: [&str; 6] = [
    "<sip:d.example>;q=0.2, <sip:e.example:5070;transport=tcp>;q=0.7",
    "<sip:a.example>, <sip:b.example>, <sip:c.example>",
    "<sip:1.example>, <sip:2.example>, <sip:3.example>, <sip:4.example>, <sip:5.example>, <sip:6.example>",
    "<sips:d.example>, <tel:1001>",
    "<sip:record=X@7.example;calluuid=other;dn=2>, <sip:8.example>",
    "nowhere",
];

/// Streams belong to pads once and for all: this one to the pad with this number modulo [`PADS`].
const PADS: u16 = 4;

fn single_command() -> impl Strategy<Value = Command> {
    let format = prop_oneof![
        Just(pcmu()),
        Just(audio(&[(96, "opus", 48_000)])),
        Just(audio(&[(96, "speex", 16_000), (101, "telephone-event", 8000)])),
        Just(video(96, "VP8")),
        Just(video(97, "H264")),
    ];
    let number = || 0..3 * PADS;
    let dn = || prop_oneof![Just(String::new()), Just("1001".to_owned()), "\\PC{0,5}"];
    prop_oneof![
        4 => Just(Command::Pause),
        4 => Just(Command::Resume),
        2 => Just(Command::Start),
        1 => Just(Command::Stop(StopReason::CallEnded)),
        1 => Just(Command::StopNow),
        1 => Just(Command::Part),
        4 => number().prop_map(|number| Command::AddStream { slot: number % PADS, stream: stream(number) }),
        6 => (number(), format)
            .prop_map(|(number, format)| Command::StreamFormat { stream: stream(number), format }),
        2 => number().prop_map(|number| Command::RemoveStream { stream: stream(number) }),
        1 => prop::option::of(number()).prop_map(|number| {
            Command::Unrecordable { stream: number.map(stream), reason: "it is text".to_owned() }
        }),
        1 => number().prop_map(|number| Command::PartyLeft { stream: stream(number) }),
        3 => (number(), any::<bool>(), any::<bool>()).prop_map(|(number, secured, known)| {
            let suite = known.then_some(SrtpSuite::AeadAes128Gcm);
            let security = if secured { StreamSecurity::Srtp(suite) } else { StreamSecurity::Plain };
            Command::StreamSecurity { stream: stream(number), security }
        }),
        1 => (0..PADS, dn()).prop_map(|(slot, dn)| Command::SetDn { slot, dn }),
        1 => (0..PADS, dn()).prop_map(|(slot, dn)| Command::ReplaceParty { slot, dn }),
        3 => (0..PADS, any::<bool>()).prop_map(|(slot, muted)| Command::Mute { slot, muted }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => single_command(),
        1 => prop::collection::vec(single_command(), 0..5).prop_map(Command::Batch),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        Just(BranchEvent::BacklogEmpty { recalls: 0 }),
        Just(BranchEvent::KeyframeWanted),
        Just(BranchEvent::ReportOverdue),
        Just(BranchEvent::ReportsStopped),
        Just(BranchEvent::StretchMissed { packets: 200, within: None }),
        Just(BranchEvent::RemoteRefused { component: Component::Rtp }),
        Just(BranchEvent::RefusalRefuted),
        Just(BranchEvent::RefusalsOver),
        Just(BranchEvent::PayloadUnknown { payload_type: 13 }),
        Just(BranchEvent::PortsFailed { reason: "in use".into() }),
        Just(BranchEvent::SecurityFailed { session: 1, reason: "another certificate".into() }),
        Just(BranchEvent::Crashed { reason: "panic".into() }),
    ];
    let status = prop_oneof![
        3 => Just(100_u16),
        3 => Just(180),
        12 => Just(200),
        2 => Just(491),
        2 => Just(488),
        1 => Just(503),
        2 => Just(302),
        2 => Just(422),
        1 => Just(481),
        1 => Just(408),
    ];
    let method = prop_oneof![
        Just("INVITE"),
        Just("ACK"),
        Just("BYE"),
        Just("UPDATE"),
        Just("INFO"),
        Just("OPTIONS"),
        Just("CANCEL"),
        Just("FOO"),
    ];
    let body = 0..bodies().len();
    prop_oneof![
        6 => command().prop_map(Step::Command),
        2 => (0..PADS).prop_map(Step::Packet),
        1 => (prop_oneof![0..PADS, 64..68_u16], event).prop_map(|(slot, event)| Step::Engine(slot, event)),
        1 => (0..PADS, any::<bool>(), [0..40_u8, 0..40]).prop_map(|(slot, lost, ago)| Step::Shown(slot, lost, ago)),
        4 => prop_oneof![0..50_u32, 0..3000_u32, 0..60_000_u32].prop_map(Step::Wait),
        8 => (0..4_usize, status, 0..TIMERS.len(), body.clone())
            .prop_map(|(which, status, timer, body)| Step::Answer { which, status, timer, body }),
        2 => (0..3_usize, method, 0..TIMERS.len(), body)
            .prop_map(|(which, method, timer, body)| Step::Request { which, method, timer, body }),
        1 => Just(Step::Repeat),
        1 => (1..3_u32).prop_map(Step::Fault),
    ]
}

/// What the rules allow, learnt from what was seen.
#[derive(Default)]
struct Model {
    per_party: bool,
    keying: Option<Keying>,
    /// Whether what the call encrypts is encrypted, and nothing else.
    as_the_call: bool,
    /// Whether the engine says at once that all has left.
    drains: bool,
    /// A shutdown has no more time.
    time_is_over: bool,
    /// Streams that are encrypted in the call.
    encrypted: BTreeSet<StreamId>,
    /// Which dialog has offered each key of ours.
    offered_keys: BTreeMap<String, String>,
    /// To how many places the recording was sent since a recorder has last accepted.
    redirected: usize,
    /// Which branch each key of ours was used for.
    keys: Vec<(SrtpKey, u16)>,
    paused: bool,
    /// Which branch each association of ours is of.
    associations: BTreeMap<String, u16>,
    /// Pads whose party has muted.
    muted: BTreeSet<u16>,
    /// Branches that exist at the engine.
    branches: BTreeMap<u16, Branch>,
    /// Our INVITE without a final response, by Call-ID.
    open_invites: BTreeMap<String, u32>,
    /// m-lines of our last description that was accepted, by Call-ID: a refused one has changed nothing.
    m_lines: BTreeMap<String, usize>,
    /// m-lines of our last offer, and `lines` as it was before.
    offered: BTreeMap<String, (usize, BTreeMap<u16, usize>)>,
    /// What each payload type of an m-line means, by Call-ID.
    codecs: BTreeMap<(String, usize, u8), String>,
    version: BTreeMap<String, u64>,
    seen: BTreeSet<Vec<u8>>,
    /// The m-line of each branch in the newest description that has it: its own port tells which it is.
    lines: BTreeMap<u16, usize>,
    /// Which dialog has described each branch last.
    describers: BTreeMap<u16, String>,
    /// Branches that were opened to these m-lines since the last look.
    opened: BTreeMap<u16, usize>,
    /// Streams of which a branch was closed before they ended, since the last look.
    let_go: BTreeSet<StreamId>,
    /// A recorder has ended its session by its BYE since the last look.
    hung_up: bool,
}

struct Branch {
    pad: u16,
    stream: StreamId,
    is_open: bool,
    /// It is open in the clear.
    is_plain: bool,
    /// Its stream has ended; what it left may be sent although others are muted.
    has_ended: bool,
    /// It has ended just now, and the engine has not said that all has left.
    is_leaving: bool,
    association: Option<Box<DtlsAssociation>>,
}

impl Model {
    fn command(&mut self, command: &Command) {
        match command {
            Command::Pause => self.paused = true,
            Command::Part => self.time_is_over = true,
            Command::Resume => self.paused = false,
            Command::Mute { slot, muted: true } => drop(self.muted.insert(*slot)),
            Command::Mute { slot, muted: false } => drop(self.muted.remove(slot)),
            // Of a stream that is not there it says nothing.
            Command::StreamSecurity { stream, security }
                if security.is_secured() && self.branches.values().any(|branch| branch.stream == *stream) =>
            {
                self.encrypted.insert(*stream);
            }
            Command::StreamSecurity { stream, .. } => drop(self.encrypted.remove(stream)),
            Command::Batch(commands) => commands.iter().for_each(|command| self.command(command)),
            _ => {}
        }
    }

    /// Whether nothing of a branch may be sent.
    fn is_silent(&self, branch: &Branch) -> bool {
        let present = || self.branches.values().filter(|branch| !branch.has_ended);
        let mutes =
            |other: &&Branch| self.muted.contains(&other.pad) && (!self.per_party || other.pad == branch.pad);
        // What it has is from before.
        !branch.has_ended && (self.paused || present().any(|other| mutes(&other)))
    }

    /// What must be true whenever everything that was said has been done.
    fn check_settled(&mut self) {
        for (number, branch) in &self.branches {
            assert!(!(branch.is_open && self.is_silent(branch)), "branch {number} is open and silent");
            let is_exposed = branch.is_open && branch.is_plain && self.encrypted.contains(&branch.stream);
            assert!(!is_exposed, "branch {number} of an encrypted stream is open in the clear");
        }
        for (slot, line) in std::mem::take(&mut self.opened) {
            self.check_line(slot, line);
        }
    }

    fn check_line(&self, slot: u16, line: usize) {
        assert_eq!(self.lines.get(&slot), Some(&line), "branch {slot} goes to another's m-line");
    }

    /// What the call brings while it is recorded is sent, held or counted, whatever sessions fail, unless a recorder has chosen to stop.
    fn check_held(&mut self, is_over: bool) {
        let let_go = std::mem::take(&mut self.let_go);
        let excused = std::mem::take(&mut self.hung_up) || is_over;
        for stream in let_go.into_iter().filter(|_| !excused) {
            let is_held = self.branches.values().any(|branch| branch.stream == stream);
            assert!(is_held, "{stream:?} is there, and in no account");
        }
    }

    fn check(&mut self, output: &Output) {
        match output {
            Output::Event(SessionEvent {
                kind: SessionEventKind::Stopped { reason: StopReason::Recorder, .. },
                ..
            }) => self.hung_up = true,
            Output::Branch(command) => self.check_branch(command),
            Output::Send { message: Message::Request(request), .. } => self.check_request(request),
            Output::Send { message: Message::Response(response), .. } => {
                let call_id = response.headers.call_id().unwrap().to_owned();
                if let Ok(sdp) = SessionDescription::parse(&response.body)
                    && self.seen.insert(response.to_bytes())
                {
                    self.check_version(&call_id, &sdp);
                }
            }
            Output::Resolve { recorder, after: None, .. } => {
                let is_listed = RECORDERS.split(' ').any(|listed| uri(listed) == *recorder);
                self.redirected += usize::from(!is_listed);
                // Five times each, of all that are sought each 4 s for 30 s.
                assert!(self.per_party || self.redirected <= 5 * 9, "sent on for ever, now to {recorder}");
            }
            Output::Resolve { .. }
            | Output::RecorderSilent { .. }
            | Output::RecorderAway { .. }
            | Output::SessionLost { .. }
            | Output::AttemptOver { .. }
            | Output::Note { .. }
            | Output::ChooseRecorder { .. }
            | Output::Event(_)
            | Output::Released
            | Output::Stray(_)
            | Output::Finished => {}
        }
    }

    fn check_branch(&mut self, command: &BranchCommand) {
        let slot = command.branch().slot;
        if let BranchCommand::Recall { .. } = command
            && let Some(line) = self.opened.remove(&slot)
        {
            // The next recorder's lines are others.
            self.check_line(slot, line);
        }
        let branch = self.branches.get_mut(&slot);
        match (command, branch) {
            (BranchCommand::Create { stream, .. }, None) => {
                self.encrypted.remove(stream);
                let pad = u16::try_from((stream.as_raw() - 100) % u64::from(PADS)).unwrap();
                self.branches.insert(
                    slot,
                    Branch {
                        pad,
                        stream: *stream,
                        is_open: false,
                        is_plain: false,
                        has_ended: false,
                        is_leaving: false,
                        association: None,
                    },
                );
            }
            (BranchCommand::Create { .. }, Some(_)) => panic!("branch {slot} exists already"),
            (command, None) => panic!("{command:?} for no branch"),
            (BranchCommand::Close { .. }, Some(branch)) => {
                self.let_go.extend(Some(branch.stream).filter(|_| !branch.has_ended));
                self.branches.remove(&slot);
            }
            (BranchCommand::Open(open), Some(branch)) => {
                assert_ne!(open.rtp.port(), 0);
                assert!(!open.rtp.ip().is_unspecified());
                let line = usize::from(open.rtp.port() % 1000 / 2);
                // The answer that describes it may go out next.
                self.opened.insert(slot, line);
                // Of a codec that the recorder refuses nothing leaves.
                branch.is_open = !open.payloads.is_empty();
                branch.is_plain = open.security == MediaSecurity::Plain;
                assert!(!(branch.is_plain && open.may_expose), "nothing may be exposed");
                match (&open.security, self.keying) {
                    (MediaSecurity::Plain, None) => {}
                    (MediaSecurity::Dtls(association), Some(Keying::Dtls)) => {
                        assert_eq!(
                            branch.association.as_ref(),
                            Some(association),
                            "the handshake of branch {slot} has begun"
                        );
                    }
                    (MediaSecurity::Srtp(keys), keying)
                        if keying == Some(Keying::Sdes) || keying.is_none() && self.as_the_call =>
                    {
                        let used = self.keys.iter().find(|(key, _)| *key == keys.own).map(|(_, slot)| *slot);
                        assert!(
                            used.is_none_or(|used| used == slot),
                            "one key for branches {slot} and {used:?}"
                        );
                        assert!(!keys.recorder.contains(&keys.own));
                        if used.is_none() {
                            self.keys.push((keys.own.clone(), slot));
                        }
                    }
                    (other, _) => panic!("branch {slot} is opened as {other:?}"),
                }
            }
            (BranchCommand::Associate(open), Some(branch)) => {
                let MediaSecurity::Dtls(association) = &open.security else { panic!("{:?}", open.security) };
                assert_ne!(branch.association.as_ref(), Some(association), "it is there already");
                assert!(!association.fingerprints.is_empty());
                let owner = *self.associations.entry(association.own_id.clone()).or_insert(slot);
                assert_eq!(owner, slot, "one association for two branches");
                branch.association = Some(association.clone());
            }
            (BranchCommand::Drain { .. }, Some(branch)) => {
                branch.has_ended = true;
                branch.is_leaving = branch.is_open && !self.drains && !self.time_is_over;
            }
            (BranchCommand::Part { .. }, Some(branch)) if branch.is_leaving => {
                panic!("branch {slot} parts while it sends what has come")
            }
            (
                BranchCommand::Pause { .. }
                | BranchCommand::Hold { .. }
                | BranchCommand::Freeze { .. }
                | BranchCommand::Disable { .. }
                | BranchCommand::Part { .. }
                | BranchCommand::Recall { .. },
                Some(branch),
            ) => branch.is_open = false,
            (
                BranchCommand::Describe { .. }
                | BranchCommand::Bind { .. }
                | BranchCommand::Confirm { .. }
                | BranchCommand::Concede { .. },
                Some(_),
            ) => {}
        }
    }

    fn check_request(&mut self, request: &Request) {
        let call_id = request.headers.call_id().unwrap().to_owned();
        let cseq = request.headers.cseq().unwrap().number;
        if request.method != Method::Invite || !self.seen.insert(request.to_bytes()) {
            return;
        }
        if let Some(open) = self.open_invites.insert(call_id.clone(), cseq) {
            panic!("INVITE {cseq} while {open} is open");
        }
        let (interval, least) =
            (request.headers.session_expires().unwrap().unwrap(), request.headers.min_se());
        assert!(interval.seconds >= least.unwrap().unwrap_or(90).max(90), "RFC 4028 §7.4");
        let sdp = SessionDescription::parse(&request.body).expect("every INVITE has an offer");
        let lines = sdp.medias().flat_map(|media| media.cryptos().flatten().collect::<Vec<_>>());
        let keys = lines.map(|line| line.to_value().to_string());
        for key in keys {
            let owner = self.offered_keys.entry(key).or_insert_with(|| call_id.clone());
            assert_eq!(*owner, call_id, "one key offered in two dialogs");
        }
        self.offered.insert(call_id.clone(), (sdp.media_count(), self.lines.clone()));
        self.check_version(&call_id, &sdp);
        let fewest = if self.per_party { 1 } else { 2 };
        let before = self.m_lines.get(&call_id).copied().unwrap_or(fewest);
        assert!(sdp.media_count() >= before, "RFC 3264 §8: never fewer m-lines");
        for (index, media) in sdp.medias().enumerate() {
            for number in media.payload_types() {
                let Some(PayloadFormat { encoding, .. }) = media.payload_format(number) else { continue };
                let key = (call_id.clone(), index, number);
                let meant = self.codecs.entry(key).or_insert_with(|| encoding.clone());
                assert_eq!(*meant, encoding, "RFC 3264 §8.3.2");
            }
        }
    }

    fn check_version(&mut self, call_id: &str, sdp: &SessionDescription) {
        for (line, media) in sdp.medias().enumerate().filter(|(_, media)| media.port() >= 10_000) {
            let slot = (media.port() - 10_000) / 2;
            self.lines.insert(slot, line);
            self.describers.insert(slot, call_id.to_owned());
        }
        let before = self.version.insert(call_id.to_owned(), sdp.version());
        assert!(before.is_none_or(|before| (before..=before + 1).contains(&sdp.version())));
    }

    /// A final response to an INVITE of ours arrives.
    fn answered(&mut self, request: &Request, status: u16) {
        let call_id = request.headers.call_id().unwrap();
        let cseq = request.headers.cseq().unwrap().number;
        if request.method == Method::Invite && status >= 200 && self.open_invites.get(call_id) == Some(&cseq)
        {
            self.open_invites.remove(call_id);
            match self.offered.remove(call_id) {
                Some((count, _)) if status < 300 => {
                    self.redirected = 0;
                    self.m_lines.insert(call_id.to_owned(), count);
                }
                // Where a stream was agreed to be, it is again, unless another dialog has it now.
                Some((_, before)) => {
                    let is_here = |slot: &u16| self.describers.get(slot).is_some_and(|id| id == call_id);
                    self.lines.extend(before.into_iter().filter(|(slot, _)| is_here(slot)));
                }
                None => {}
            }
        }
    }
}

fn run(steps: Vec<Step>, seed: u8) {
    let (keying, bodies) = match seed % 8 {
        0 => (Some(Keying::Sdes), secured_bodies()),
        4 => (Some(Keying::Dtls), handshake_bodies()),
        _ => (None, bodies()),
    };
    // Keys may be offered in the clear, so that the call's own protection decides.
    let as_the_call = seed % 8 == 2;
    let secured = secured_bodies();
    let mut settings = config(RECORDERS);
    settings.auto_start = !seed.is_multiple_of(3);
    settings.pre_record = seed.is_multiple_of(2);
    settings.begins_anew = seed % 4 < 2;
    let per_party = seed.is_multiple_of(7) || seed.is_multiple_of(11);
    if per_party {
        settings.mode = SessionMode::PerParty;
    }
    let drops_video = seed.is_multiple_of(13);
    settings.record_video = !drops_video;
    if seed.is_multiple_of(2) {
        settings.timers.probe = Duration::from_secs(5);
    }
    if seed % 4 == 1 {
        settings.timers.drain = Duration::ZERO;
    }
    if seed % 3 == 1 {
        settings.recorder_bye = ByePolicy::FailOver;
    }
    for recorder in settings.recorders.listed_mut() {
        recorder.profile.expects_reports = seed % 5 == 1;
    }
    settings.security.allow_clear_keys = as_the_call;
    if let Some(keying) = keying {
        settings.security.srtp = SrtpUse::Require;
        settings.security.keying = keying;
        settings.security.allow_clear_keys = true;
        settings.certificate = Fingerprint::new(CertificateHash::Sha256, &[7; 32]).ok();
    }
    let mut call = Call::new(settings);
    call.engine.drains = !seed.is_multiple_of(5);
    call.engine.freezes = seed.is_multiple_of(3);
    let drains = call.engine.drains;
    let mut model = Model { per_party, keying, as_the_call, drains, ..Model::default() };
    let mut unanswered: Vec<Request> = Vec::new();
    let mut invites: Vec<Request> = Vec::new();
    let mut dialogs: BTreeMap<u32, String> = BTreeMap::new();
    let mut last = None;
    for slot in 0..2 {
        call.add(slot);
    }
    for step in steps {
        model.branches.values_mut().for_each(|branch| branch.is_leaving = false);
        match step {
            Step::Command(command) => {
                model.command(&command);
                call.command(command);
            }
            Step::Packet(slot) => call.packet(slot),
            Step::Engine(slot, event) => {
                if matches!(event, BranchEvent::Crashed { .. }) {
                    call.check_now(|output| model.check(output));
                    if model.branches.remove(&slot).is_none() {
                        continue;
                    }
                }
                call.media(slot, event);
            }
            Step::Shown(slot, lost, ago) => {
                let [from, to] = ago.map(|seconds| call.now - Duration::from_secs(seconds.into()));
                let within = TimeSpan { from, to };
                call.media(slot, if lost { BranchEvent::StretchLost { within } } else { report(within) });
            }
            Step::Wait(milliseconds) => call.wait_ms(u64::from(milliseconds)),
            Step::Answer { which, status, timer, body } if which < unanswered.len() => {
                let request = if status < 200 { unanswered[which].clone() } else { unanswered.remove(which) };
                let mut headers = [TIMERS[timer], &[("Retry-After", "1")]].concat();
                if status == 302 {
                    headers.push(("Contact", ELSEWHERE[timer % ELSEWHERE.len()]));
                }
                let is_offered = |what: &[u8]| request.body.windows(what.len()).any(|bytes| bytes == what);
                let agreeable = as_the_call && is_offered(b"RTP/SAVP");
                let text = if agreeable { &secured[body] } else { &bodies[body] };
                let text = response_to(&request, status, &headers, text);
                model.answered(&request, status);
                last = Some(text.clone());
                call.receive(&text);
            }
            Step::Request { which, method, timer, body } if which < invites.len() => {
                let invite = invites[which].clone();
                if method == "ACK" {
                    let cseq = call.last_cseq();
                    call.recorder_sends_numbered(&invite, method, cseq, &[], &bodies[body]);
                } else {
                    call.recorder_sends(&invite, method, TIMERS[timer], &bodies[body]);
                }
            }
            Step::Repeat => {
                if let Some(text) = &last {
                    call.receive(text);
                }
            }
            Step::Fault(attempt) => {
                let event = TransportEvent::Failed { attempt, reason: "reset".into() };
                call.input(Input::Transport(event));
                if let Some(call_id) = dialogs.get(&attempt) {
                    model.open_invites.remove(call_id);
                }
            }
            Step::Answer { .. } | Step::Request { .. } => {}
        }
        call.check_now(|output| model.check(output));
        model.check_settled();
        model.check_held(call.recording.is_over() || drops_video);
        let is_told = call.recording.state() == RecordingState::Recording;
        assert!(!(model.paused && is_told), "it is paused, and told to be recorded");
        for (attempt, message) in std::mem::take(&mut call.wire) {
            dialogs.insert(attempt, message.headers().call_id().unwrap().to_owned());
            if let Message::Request(request) = message
                && request.method != Method::Ack
                && !unanswered.iter().any(|known| same(known, &request))
            {
                if request.method == Method::Invite && !invites.iter().any(|known| same(known, &request)) {
                    invites.push(request.clone());
                }
                unanswered.push(request);
            }
        }
    }
    call.command(Command::StopNow);
    call.wait_ms(200_000);
    call.check_now(|output| model.check(output));
    assert_eq!(call.finished, 1, "the recording ends: {:?}", call.transcript);
    assert_eq!(call.recording.next_deadline(), None);
    assert!(call.recording.state().is_final());
    assert!(model.branches.is_empty(), "every branch is closed");
}

fn same(left: &Request, right: &Request) -> bool {
    left.method == right.method && left.headers.get(&HeaderName::Via) == right.headers.get(&HeaderName::Via)
}

proptest! {
    #![proptest_config(random_settings(300, 20_261_122))]

    #[test]
    fn the_rules_hold_and_the_recording_ends(steps in prop::collection::vec(step(), 0..80), seed: u8) {
        run(steps, seed);
    }
}
