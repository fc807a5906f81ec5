//! A call on a virtual clock: the recording under test, an engine and a resolver that do as they are told, and the
//! recorder's side of the dialog. What the recording does is kept as a transcript, one line for each output.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "each test uses its part, and a failure names its seed"
)]

pub mod paused;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;
use siprec_model::{
    BranchCommand, BranchEvent, BranchId, Medium, PayloadFormat, RecordingKey, SessionEvent,
    SessionEventKind, StreamFormat, StreamId, TimeSpan,
};
use siprec_session::{
    Command, Flow, Input, Output, Party, Recording, RecordingConfig, TransportEvent, parse_recorders,
};
use siprec_sip::{
    DialogNote, HeaderName, LEFT_BEHIND_STEP, Message, Method, Request, Response, SessionDescription,
    Transport, Uri,
};

pub const KEY: RecordingKey = RecordingKey::from_raw(7);

/// What the engine does by itself.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    pub binds: bool,
    pub drains: bool,
    /// Whether something is held when it is paused.
    pub freezes: bool,
    pub closes: bool,
}

/// One call.
pub struct Call {
    pub recording: Recording,
    pub now: Instant,
    pub engine: Engine,
    /// Whether the next recorder of the list is chosen without being asked to.
    pub chooses: bool,
    pub resolves: bool,
    /// What carries the signalling.
    pub transport: Transport,
    /// What SIP names as our address.
    pub signalled: &'static str,
    pub transcript: Vec<String>,
    /// Messages to the recorder that it has not looked at yet.
    pub wire: Vec<(u32, Message)>,
    pub events: Vec<SessionEvent>,
    pub branches: Vec<BranchCommand>,
    pub finished: usize,
    /// Since when nobody need wait for it.
    pub released: Option<Instant>,
    outputs: Vec<Output>,
    ended: BTreeSet<u16>,
    open: BTreeSet<u16>,
    paused: BTreeSet<u16>,
    /// How often the recorder of each branch was lost.
    recalls: BTreeMap<u16, u32>,
    /// Attempts that are not over.
    attempts: BTreeSet<u32>,
    /// What is written down: the dialogs that stand, by attempt and the recorder's tag, and the number of each.
    noted: BTreeMap<(u32, Option<String>), u32>,
    pub epoch: Instant,
    cseq: u32,
}

pub fn config(recorders: &str) -> RecordingConfig {
    let mut config = RecordingConfig::new(parse_recorders(recorders).unwrap());
    config.key = KEY;
    // What is asked every few seconds has its own tests.
    config.timers.probe = Duration::ZERO;
    config.recording_id = Some(siprec_model::RecordingId::new("00FA08K"));
    config.call_uuid = Some(siprec_model::CallUuid::new("UUID1"));
    config.parties = vec![Party { dn: "1001".into() }, Party { dn: "1002".into() }];
    config
}

/// A receiver report that shows that all was heard within this time.
pub fn report(unbroken: TimeSpan) -> BranchEvent {
    BranchEvent::ReportReceived {
        highest_sequence: 1,
        cumulative_lost: 0,
        fraction_lost: 0,
        missing_since: None,
        unbroken: Some(unbroken),
    }
}

pub fn pcmu() -> StreamFormat {
    audio(&[(0, "PCMU", 8000)])
}

pub fn audio(payloads: &[(u8, &str, u32)]) -> StreamFormat {
    let payload = |&(payload_type, encoding, clock_rate): &(u8, &str, u32)| PayloadFormat {
        payload_type,
        encoding: encoding.into(),
        clock_rate,
        channels: None,
        fmtp: None,
    };
    StreamFormat { medium: Medium::Audio, payloads: payloads.iter().map(payload).collect(), ptime_ms: None }
}

pub fn video(payload_type: u8, encoding: &str) -> StreamFormat {
    let mut format = audio(&[(payload_type, encoding, 90_000)]);
    format.medium = Medium::Video;
    format
}

pub fn stream(slot: u16) -> StreamId {
    StreamId::from_raw(100 + u64::from(slot))
}

pub fn branch(slot: u16) -> BranchId {
    BranchId { recording: KEY, leg: 0, slot }
}

impl Call {
    pub fn new(config: RecordingConfig) -> Self {
        let now = Instant::now();
        Self {
            recording: Recording::new(config, [3; 32], now),
            now,
            engine: Engine { binds: true, drains: true, freezes: false, closes: true },
            chooses: true,
            resolves: true,
            transport: Transport::Udp,
            signalled: "192.0.2.1",
            transcript: Vec::new(),
            wire: Vec::new(),
            events: Vec::new(),
            branches: Vec::new(),
            finished: 0,
            released: None,
            outputs: Vec::new(),
            ended: BTreeSet::new(),
            open: BTreeSet::new(),
            paused: BTreeSet::new(),
            recalls: BTreeMap::new(),
            attempts: BTreeSet::new(),
            noted: BTreeMap::new(),
            epoch: now,
            cseq: 100,
        }
    }

    /// Two parties with PCMU, one recorder: the INVITE is out.
    pub fn inviting() -> Self {
        Self::inviting_with(config("sip:rec.example"))
    }

    pub fn inviting_with(config: RecordingConfig) -> Self {
        let mut call = Self::new(config);
        call.add(0);
        call.add(1);
        call.format(0, pcmu());
        call.format(1, pcmu());
        call
    }

    /// The same, answered, with the transcript up to here dropped.
    pub fn established() -> Self {
        Self::established_with(config("sip:rec.example"))
    }

    pub fn established_with(config: RecordingConfig) -> Self {
        let mut call = Self::inviting_with(config);
        call.answer_invite(&sdp(&[4000, 4002]));
        call.take();
        call
    }

    pub fn add(&mut self, slot: u16) {
        self.command(Command::AddStream { slot, stream: stream(slot) });
    }

    pub fn format(&mut self, slot: u16, format: StreamFormat) {
        self.command(Command::StreamFormat { stream: stream(slot), format });
    }

    pub fn packet(&mut self, slot: u16) {
        self.media(slot, BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival: self.now });
    }

    pub fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    /// All that the branch held has left.
    pub fn empty(&mut self, slot: u16) {
        let recalls = self.recalls.get(&slot).copied().unwrap_or_default();
        self.media(slot, BranchEvent::BacklogEmpty { recalls });
    }

    pub fn media(&mut self, slot: u16, event: BranchEvent) {
        self.input(Input::Media(branch(slot), event));
    }

    pub fn input(&mut self, input: Input) {
        self.recording.handle(input, self.now);
        self.run();
    }

    /// Lets time pass, with every timer on its way.
    pub fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut steps = 0;
        while let Some(deadline) = self.recording.next_deadline().filter(|deadline| *deadline <= end) {
            steps += 1;
            assert!(steps < 10_000, "the timer does not advance");
            self.now = self.now.max(deadline);
            self.input(Input::Timer);
        }
        self.now = end;
        self.input(Input::Timer);
    }

    pub fn wait_ms(&mut self, milliseconds: u64) {
        self.wait(Duration::from_millis(milliseconds));
    }

    /// What happened since the last look.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.transcript)
    }

    #[track_caller]
    pub fn expect(&mut self, lines: &[&str]) {
        let transcript = self.take();
        assert_eq!(transcript, lines, "\nat {:?}", self.now - self.epoch);
    }

    /// Which branches were told that what was sent since when may be missing.
    pub fn recalled(&self) -> Vec<(u16, Instant)> {
        let since = |command: &BranchCommand| match command {
            BranchCommand::Recall { branch, since, .. } => Some((branch.slot, *since)),
            _ => None,
        };
        self.branches.iter().filter_map(since).collect()
    }

    /// The newest request of this method to the recorder; older messages are dropped.
    #[track_caller]
    pub fn request(&mut self, method: &Method) -> Request {
        let found = self.find_request(method);
        found.unwrap_or_else(|| panic!("no {method} was sent; transcript: {:?}", self.transcript))
    }

    pub fn find_request(&mut self, method: &Method) -> Option<Request> {
        let wire = std::mem::take(&mut self.wire);
        wire.into_iter().rev().find_map(|(_, message)| match message {
            Message::Request(request) if request.method == *method => Some(request),
            _ => None,
        })
    }

    /// The newest response to the recorder.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        let wire = std::mem::take(&mut self.wire);
        wire.into_iter()
            .rev()
            .find_map(|(_, message)| match message {
                Message::Response(response) => Some(response),
                Message::Request(_) => None,
            })
            .expect("a response")
    }

    /// The recorder answers a request.
    pub fn answer(&mut self, request: &Request, status: u16, headers: &[(&str, &str)], body: &str) {
        self.receive(&response_to(request, status, headers, body));
    }

    pub fn answer_invite(&mut self, body: &str) -> Request {
        let invite = self.request(&Method::Invite);
        self.answer(&invite, 200, &[], body);
        invite
    }

    pub fn answer_bye(&mut self) {
        let bye = self.request(&Method::Bye);
        self.answer(&bye, 200, &[], "");
    }

    /// The same in the dialog that `invite` opened; other messages stay.
    pub fn answer_bye_of(&mut self, invite: &Request) {
        let of_dialog = |message: &Message| match message {
            Message::Request(request) => {
                request.method == Method::Bye
                    && request.headers.call_id().ok() == invite.headers.call_id().ok()
            }
            Message::Response(_) => false,
        };
        let place = self.wire.iter().position(|(_, message)| of_dialog(message)).expect("a BYE");
        let (_, Message::Request(bye)) = self.wire.remove(place) else { unreachable!() };
        self.answer(&bye, 200, &[], "");
    }

    pub fn receive(&mut self, bytes: &str) {
        let message = Message::parse(bytes.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{bytes}"));
        self.input(Input::Message(message));
    }

    /// The recorder sends a request in the dialog that `invite` opened.
    pub fn recorder_sends(&mut self, invite: &Request, method: &str, headers: &[(&str, &str)], body: &str) {
        self.cseq += 1;
        let cseq = self.cseq;
        self.recorder_sends_numbered(invite, method, cseq, headers, body);
    }

    /// Shows every output since the last look.
    pub fn check_now(&mut self, mut check: impl FnMut(&Output)) {
        std::mem::take(&mut self.outputs).iter().for_each(&mut check);
    }

    /// The number of the recorder's last request.
    pub fn last_cseq(&self) -> u32 {
        self.cseq
    }

    pub fn recorder_sends_numbered(
        &mut self,
        invite: &Request,
        method: &str,
        cseq: u32,
        headers: &[(&str, &str)],
        body: &str,
    ) {
        self.recorder_sends_numbered_as(invite, method, cseq, "<sip:rec@192.0.2.9:5060>", headers, body);
    }

    /// The same from another Contact.
    pub fn recorder_sends_numbered_as(
        &mut self,
        invite: &Request,
        method: &str,
        cseq: u32,
        contact: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) {
        let from = value(invite, &HeaderName::From);
        let to = value(invite, &HeaderName::To);
        let call_id = value(invite, &HeaderName::CallId);
        let mut text = format!(
            "{method} sip:siprec@192.0.2.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKr{cseq}{method}\r\n\
             Max-Forwards: 70\r\nFrom: {to};tag=rec\r\nTo: {from}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\nContact: {contact}\r\n"
        );
        append(&mut text, headers, body);
        self.receive(&text);
    }

    fn run(&mut self) {
        while let Some(output) = self.recording.poll() {
            assert_eq!(self.finished, 0, "nothing comes after Finished: {output:?}");
            self.transcript.extend(self.line(&output));
            self.outputs.push(output.clone());
            self.count(&output);
            self.look_up(&output);
            match output {
                Output::ChooseRecorder { attempt, wish } if self.chooses => {
                    let choice = Box::new(wish.next_listed());
                    self.recording.handle(Input::Recorder { attempt, choice }, self.now);
                }
                Output::ChooseRecorder { .. }
                | Output::RecorderSilent { .. }
                | Output::RecorderAway { .. }
                | Output::SessionLost { .. }
                | Output::AttemptOver { .. }
                | Output::Stray(_)
                | Output::Note { .. } => {}
                Output::Resolve { attempt, .. } if self.resolves => {
                    let flow = self.flow();
                    let event = TransportEvent::Resolved { attempt, flow, more: false };
                    self.recording.handle(Input::Transport(event), self.now);
                }
                Output::Resolve { .. } => {}
                Output::Send { attempt, message, .. } => self.wire.push((attempt, message)),
                Output::Branch(command) => self.obey(command),
                Output::Event(event) => self.events.push(event),
                Output::Finished => self.finished += 1,
                Output::Released => {
                    assert!(self.released.replace(self.now).is_none(), "released twice");
                }
            }
        }
    }

    /// Each attempt is over once, after all that belongs to it.
    fn count(&mut self, output: &Output) {
        match output {
            Output::ChooseRecorder { attempt, .. } => drop(self.attempts.insert(*attempt)),
            Output::Resolve { attempt, after: Some(_), .. } => drop(self.attempts.insert(*attempt)),
            Output::Resolve { attempt, .. }
            | Output::RecorderSilent { attempt, .. }
            | Output::RecorderAway { attempt, .. }
            | Output::SessionLost { attempt }
            | Output::Note { attempt, .. }
            | Output::Send { attempt, .. } => {
                assert!(self.attempts.contains(attempt), "attempt {attempt} is not under way: {output:?}");
            }
            Output::AttemptOver { attempt } => {
                assert!(self.attempts.remove(attempt), "attempt {attempt} is over twice");
            }
            Output::Finished => assert!(self.attempts.is_empty(), "never over: {:?}", self.attempts),
            Output::Branch(_) | Output::Event(_) | Output::Released | Output::Stray(_) => {}
        }
    }

    /// No request leaves in a dialog that is not written down, or with a number that a BYE of the next process would not
    /// be above; nothing stays written down.
    fn look_up(&mut self, output: &Output) {
        match output {
            Output::Note { attempt, note: DialogNote::Stands(dialog) } => {
                let key = (*attempt, dialog.remote_tag().map(str::to_owned));
                self.noted.insert(key, dialog.local_cseq());
            }
            Output::Note { attempt, note: DialogNote::Over { remote_tag, .. } } => {
                let noted = self.noted.remove(&(*attempt, remote_tag.clone()));
                assert!(noted.is_some(), "over, but it never stood: {output:?}");
            }
            Output::Send { attempt, message: Message::Request(request), .. } => {
                let headers = &request.headers;
                let tag = headers.to().unwrap().tag().map(str::to_owned);
                // The ACK of a refusal has a tag, too.
                if tag.is_some() && request.method != Method::Ack {
                    let noted = self.noted.get(&(*attempt, tag)).copied();
                    let noted = noted.unwrap_or_else(|| panic!("not written down: {request:?}"));
                    assert!(headers.cseq().unwrap().number < noted + LEFT_BEHIND_STEP);
                }
            }
            // Its other branches are forgotten with it.
            Output::AttemptOver { attempt } => self.noted.retain(|(of, _), _| of != attempt),
            Output::Finished => assert!(self.noted.is_empty(), "still there: {:?}", self.noted),
            _ => {}
        }
    }

    pub fn flow(&self) -> Flow {
        Flow {
            transport: self.transport,
            remote: "192.0.2.9:5060".parse().unwrap(),
            local: format!("{}:5060", self.signalled).parse().unwrap(),
            media: "192.0.2.1".parse().unwrap(),
        }
    }

    fn obey(&mut self, command: BranchCommand) {
        let id = command.branch();
        if let BranchCommand::Recall { .. } = command {
            *self.recalls.entry(id.slot).or_default() += 1;
        }
        let recalls = self.recalls.get(&id.slot).copied().unwrap_or_default();
        let empty = BranchEvent::BacklogEmpty { recalls };
        let event = match &command {
            BranchCommand::Bind { local, .. } if self.engine.binds => {
                let rtp = SocketAddr::new(*local, 10_000 + 2 * id.slot);
                let rtcp = SocketAddr::new(*local, 10_001 + 2 * id.slot);
                Some(BranchEvent::PortsReady { rtp, rtcp })
            }
            BranchCommand::Open(_) => {
                self.open.insert(id.slot);
                self.paused.remove(&id.slot);
                (self.ended.contains(&id.slot) && self.engine.drains).then_some(empty)
            }
            BranchCommand::Drain { .. } => {
                self.ended.insert(id.slot);
                let is_empty = self.paused.contains(&id.slot) && !self.engine.freezes;
                let is_open = self.open.contains(&id.slot) && self.engine.drains;
                (is_open || is_empty).then_some(empty)
            }
            BranchCommand::Pause { .. } | BranchCommand::Freeze { .. } => {
                self.open.remove(&id.slot);
                self.paused.insert(id.slot);
                None
            }
            BranchCommand::Hold { .. }
            | BranchCommand::Disable { .. }
            | BranchCommand::Part { .. }
            | BranchCommand::Recall { .. } => {
                self.open.remove(&id.slot);
                self.paused.remove(&id.slot);
                None
            }
            BranchCommand::Create { .. } => {
                self.open.remove(&id.slot);
                self.paused.remove(&id.slot);
                self.ended.remove(&id.slot);
                self.recalls.remove(&id.slot);
                None
            }
            BranchCommand::Close { .. } if self.engine.closes => Some(BranchEvent::Closed(Box::default())),
            _ => None,
        };
        self.branches.push(command);
        if let Some(event) = event {
            self.recording.handle(Input::Media(id, event), self.now);
        }
    }

    /// One output as a line; what says little (bind, reports) is left out.
    fn line(&self, output: &Output) -> Option<String> {
        Some(match output {
            Output::ChooseRecorder { .. } if self.chooses => return None,
            Output::AttemptOver { .. }
            | Output::SessionLost { .. }
            | Output::RecorderSilent { .. }
            | Output::Note { .. } => return None,
            Output::ChooseRecorder { .. } => "choose".into(),
            Output::RecorderAway { delay, .. } => format!("away for {delay:?}"),
            Output::Resolve { uri, .. } => format!("resolve {uri}"),
            Output::Stray(request) => format!("stray {}", request.method),
            Output::Send { message: Message::Request(request), .. } => format!("> {}", describe(request)),
            Output::Send { message: Message::Response(response), .. } => {
                let method = response.headers.cseq().unwrap().method;
                format!("> {} {method}", response.status)
            }
            Output::Branch(command) => {
                let slot = command.branch().slot;
                match command {
                    BranchCommand::Bind { .. } | BranchCommand::Confirm { .. } => return None,
                    BranchCommand::Create { .. } => format!("create {slot}"),
                    BranchCommand::Describe { .. } => format!("describe {slot}"),
                    BranchCommand::Open(open) => format!("open {slot} to {}", open.rtp),
                    BranchCommand::Associate(open) => format!("associate {slot} with {}", open.rtp),
                    BranchCommand::Pause { .. } => format!("pause {slot}"),
                    BranchCommand::Hold { .. } => format!("hold {slot}"),
                    BranchCommand::Freeze { .. } => format!("freeze {slot}"),
                    BranchCommand::Disable { .. } => format!("disable {slot}"),
                    BranchCommand::Recall { .. } => format!("recall {slot}"),
                    BranchCommand::Concede { .. } => format!("concede {slot}"),
                    BranchCommand::Drain { .. } => format!("drain {slot}"),
                    BranchCommand::Part { .. } => format!("part {slot}"),
                    BranchCommand::Close { .. } => format!("close {slot}"),
                }
            }
            Output::Event(event) => match &event.kind {
                SessionEventKind::StateChanged { state, .. } => format!("= {state}"),
                SessionEventKind::Started => "* started".into(),
                SessionEventKind::Paused => "* paused".into(),
                SessionEventKind::Resumed => "* resumed".into(),
                SessionEventKind::Stopped { reason, .. } => format!("* stopped: {}", reason.as_str()),
                SessionEventKind::Failed { reason, .. } => format!("* failed: {reason}"),
                SessionEventKind::FailedOver { from, uncertain } => {
                    format!("* failed over from {from} after {uncertain:?}")
                }
                SessionEventKind::MediumOff { medium, reason, .. } => {
                    format!("* {medium} of {} off: {reason}", event.info.dn.as_deref().unwrap_or("?"))
                }
                SessionEventKind::MediumOn { medium } => {
                    format!("* {medium} of {} on", event.info.dn.as_deref().unwrap_or("?"))
                }
                SessionEventKind::Weakened { reason } => format!("* weakened: {reason}"),
                SessionEventKind::Suspected { reason } => format!("* suspected: {reason}"),
                SessionEventKind::Gap { gap, .. } => format!("* gap of {}", gap.packets),
                SessionEventKind::KeyframeWanted => "* key frame wanted".into(),
                SessionEventKind::Report { .. } => return None,
            },
            Output::Finished => "finished".into(),
            Output::Released => return None,
        })
    }
}

/// `INVITE sendonly/inactive v2`: the method, and of an offer the directions and the version.
fn describe(request: &Request) -> String {
    let mut text = request.method.to_string();
    if let Ok(sdp) = SessionDescription::parse(&request.body) {
        text.push(' ');
        text.push_str(&lines(&sdp));
        text.push_str(&format!(" v{}", sdp.version()));
    }
    text
}

/// Directions of the m-lines; a line with port 0 is `off`.
pub fn lines(sdp: &SessionDescription) -> String {
    let words: Vec<_> =
        sdp.medias().map(|media| if media.is_off() { "off" } else { media.direction().as_str() }).collect();
    words.join("/")
}

pub fn response_to(request: &Request, status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("SIP/2.0 {status} {}\r\n", siprec_sip::message::reason_phrase(status));
    for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        text.push_str(&format!("{name}: {}\r\n", value(request, &name)));
    }
    let to = value(request, &HeaderName::To);
    let tag = if to.contains("tag=") || status == 100 { "" } else { ";tag=rec" };
    text.push_str(&format!("To: {to}{tag}\r\n"));
    // That of a redirection is where to go instead.
    if request.method == Method::Invite && !(300..400).contains(&status) {
        text.push_str("Contact: <sip:rec@192.0.2.9:5060>\r\n");
    }
    append(&mut text, headers, body);
    text
}

fn append(text: &mut String, headers: &[(&str, &str)], body: &str) {
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if body.starts_with("v=0") && !headers.iter().any(|(name, _)| *name == "Content-Type") {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
}

pub fn value(request: &Request, name: &HeaderName) -> String {
    request.headers.get(name).map(ToString::to_string).unwrap_or_default()
}

pub fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

/// An answer of the recorder that receives PCMU on these ports.
pub fn sdp(ports: &[u16]) -> String {
    sdp_with(ports, "a=recvonly\r\n")
}

/// The same with other lines behind each m-line.
pub fn sdp_with(ports: &[u16], attributes: &str) -> String {
    let mut text = "v=0\r\no=rec 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n".to_owned();
    for port in ports {
        text.push_str(&format!("m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n{attributes}"));
    }
    text
}

/// An answer with these m-lines, such as `audio 4000`. Formats are named by number only.
pub fn sdp_of(lines: &[&str]) -> String {
    let head = "v=0\r\no=rec 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";
    lines.iter().fold(head.to_owned(), |text, line| text + &format!("m={line} RTP/AVP 0\r\na=recvonly\r\n"))
}

/// The same cases in every run. With `PROPTEST_CASES=1000000` others, and more of them, from a seed that a failure
/// prints: `PROPTEST_RNG_SEED` with it, and the same number of cases, is the same run again.
pub fn random_settings(cases: u32, seed: u64) -> ProptestConfig {
    let mut settings = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        settings.cases = cases;
        settings.rng_seed = RngSeed::Fixed(seed);
    } else if settings.rng_seed == RngSeed::Random {
        settings.rng_seed = RngSeed::Fixed(RandomState::new().build_hasher().finish());
    }
    if let RngSeed::Fixed(seed) = settings.rng_seed {
        println!("PROPTEST_CASES={} PROPTEST_RNG_SEED={seed}", settings.cases);
    }
    settings
}
