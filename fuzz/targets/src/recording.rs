//! One recording whose recorders, engine and application follow a script.
//!
//! Steps: `per-party` (first of all: a session for each party), the messages of [`crate::script::Peer::message`],
//! `attempt NUMBER` (whose peer speaks from now on; else that of the latest INVITE), `wait MS`, `start`, `stop`, `stop-now`,
//! `pause`, `resume`, `mute SLOT`, `unmute SLOT`, `dn SLOT TEXT`, `replace SLOT TEXT`, `moved SLOT`, `add SLOT`, `remove SLOT`,
//! `left SLOT`, `format SLOT PAYLOAD-TYPE ENCODING CLOCK-RATE` (of video where the encoding is `H264`), `packet SLOT [LEG]`,
//! `refused SLOT [LEG]`, `empty SLOT [LEG]`, `crashed SLOT [LEG]`, `failed` (the connection). Names resolve and ports are
//! bound at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, CallUuid, Component, Medium, PayloadFormat, RecordingId,
    RecordingKey, StopReason, StreamFormat, StreamId,
};
use siprec_session::{
    Command, Flow, Input, Output, Party, Recording, RecordingConfig, SessionMode, TransportEvent,
    parse_recorders,
};
use siprec_sip::Transport;

use crate::script::{Peer, Step, steps};

const KEY: RecordingKey = RecordingKey::from_raw(7);

/// Runs a script.
pub fn recording(data: &[u8]) {
    let steps = steps(data);
    let is_per_party = steps.first().is_some_and(|step| step.verb() == "per-party");
    let mut call =
        UnderTest::new(if is_per_party { SessionMode::PerParty } else { SessionMode::BothParties });
    for step in &steps {
        call.act(step);
    }
    call.finish();
}

struct UnderTest {
    recording: Recording,
    now: Instant,
    peers: BTreeMap<u32, Peer>,
    attempt: u32,
    finished: usize,
}

impl UnderTest {
    /// Two parties, two recorders, and the first INVITE on its way.
    fn new(mode: SessionMode) -> Self {
        let now = Instant::now();
        let mut config = RecordingConfig::new(parse_recorders("sip:one.example sip:two.example").unwrap());
        config.key = KEY;
        config.mode = mode;
        config.recording_id = Some(RecordingId::new("00FA08K"));
        config.call_uuid = Some(CallUuid::new("UUID1"));
        config.parties = vec![Party { dn: "1001".into() }, Party { dn: "1002".into() }];
        let recording = Recording::new(config, [3; 32], now);
        let mut call = Self { recording, now, peers: BTreeMap::new(), attempt: 0, finished: 0 };
        for slot in 0..2 {
            call.input(Input::Command(Command::AddStream { slot, stream: stream(slot) }));
            call.input(Input::Command(Command::StreamFormat {
                stream: stream(slot),
                format: format(0, "PCMU", 8000),
            }));
        }
        call
    }

    fn act(&mut self, step: &Step) {
        let slot = step.number::<u16>(1) % 4;
        let branch = BranchId { recording: KEY, leg: step.number(2), slot };
        let command = |command| Some(Input::Command(command));
        let media = |event| Some(Input::Media(branch, event));
        let input = match step.verb() {
            "wait" => {
                self.wait(Duration::from_millis(step.number::<u64>(1).min(600_000)));
                None
            }
            "start" => command(Command::Start),
            "stop" => command(Command::Stop(StopReason::Asked)),
            "part" => command(Command::Part),
            "stop-now" => command(Command::StopNow),
            "pause" => command(Command::Pause),
            "resume" => command(Command::Resume),
            "mute" => command(Command::Mute { slot, muted: true }),
            "unmute" => command(Command::Mute { slot, muted: false }),
            "replace" => command(Command::ReplaceParty { slot, dn: step.word(2).to_owned() }),
            "moved" => command(Command::PartyMoved { slot }),
            "left" => command(Command::PartyLeft { stream: stream(slot) }),
            "attempt" => {
                self.attempt = step.number(1);
                None
            }
            "dn" => command(Command::SetDn { slot, dn: step.word(2).to_owned() }),
            "add" => command(Command::AddStream { slot, stream: stream(slot) }),
            "forbid" => {
                let reason = step.word(2).to_owned();
                command(Command::Unrecordable { stream: Some(stream(slot)), reason })
            }
            "remove" => command(Command::RemoveStream { stream: stream(slot) }),
            "format" => {
                let format = format(step.number::<u8>(2) % 128, step.word(3), step.number::<u32>(4).max(1));
                command(Command::StreamFormat { stream: stream(slot), format })
            }
            "packet" => media(BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival: self.now }),
            "refused" => media(BranchEvent::RemoteRefused { component: Component::Rtp }),
            "empty" => media(BranchEvent::BacklogEmpty { recalls: 0 }),
            "crashed" => media(BranchEvent::Crashed { reason: "panic".to_owned() }),
            "failed" => {
                let (attempt, reason) = (self.attempt, "reset".to_owned());
                Some(Input::Transport(TransportEvent::Failed { attempt, reason }))
            }
            _ => self.peers.entry(self.attempt).or_default().message(step).map(Input::Message),
        };
        if let Some(input) = input {
            self.input(input);
        }
    }

    fn input(&mut self, input: Input) {
        self.recording.handle(input, self.now);
        let mut outputs = 0;
        while let Some(output) = self.recording.poll() {
            outputs += 1;
            assert!(outputs < 1000, "it does not stop talking");
            assert_eq!(self.finished, 0, "nothing comes after Finished: {output:?}");
            match output {
                Output::ChooseRecorder { attempt, wish } => {
                    let choice = Box::new(wish.next_listed());
                    self.recording.handle(Input::Recorder { attempt, choice }, self.now);
                }
                Output::Resolve { attempt, .. } => {
                    self.attempt = attempt;
                    let event = TransportEvent::Resolved { attempt, flow: flow(), more: false };
                    self.recording.handle(Input::Transport(event), self.now);
                }
                Output::Send { attempt, message, .. } => self.peers.entry(attempt).or_default().saw(&message),
                Output::Branch(command) => self.obey(&command),
                Output::Event(_)
                | Output::RecorderSilent { .. }
                | Output::RecorderAway { .. }
                | Output::SessionLost { .. }
                | Output::AttemptOver { .. }
                | Output::Released
                | Output::Stray(_)
                | Output::Note { .. } => {}
                Output::Finished => self.finished += 1,
            }
        }
    }

    /// The engine's part.
    fn obey(&mut self, command: &BranchCommand) {
        let event = match command {
            BranchCommand::Bind { local, .. } => {
                let port = 10_000 + 2 * command.branch().slot;
                BranchEvent::PortsReady { rtp: (*local, port).into(), rtcp: (*local, port + 1).into() }
            }
            BranchCommand::Drain { .. } => BranchEvent::BacklogEmpty { recalls: 0 },
            BranchCommand::Close { .. } => BranchEvent::Closed(Box::default()),
            _ => return,
        };
        self.recording.handle(Input::Media(command.branch(), event), self.now);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut timers = 0;
        while let Some(at) = self.recording.next_deadline().filter(|at| *at <= end) {
            timers += 1;
            assert!(timers < 10_000, "the clock stands still");
            self.now = self.now.max(at);
            self.input(Input::Timer);
        }
        self.now = end;
        self.input(Input::Timer);
    }

    /// Whatever happened, the application can end it, with a recorder that is silent from now on.
    fn finish(&mut self) {
        self.input(Input::Command(Command::StopNow));
        assert!(self.recording.state().is_final(), "stop-now leaves it {}", self.recording.state());
        self.wait(Duration::from_secs(600));
        assert_eq!(self.finished, 1, "it never finishes");
    }
}

fn stream(slot: u16) -> StreamId {
    StreamId::from_raw(100 + u64::from(slot))
}

fn format(payload_type: u8, encoding: &str, clock_rate: u32) -> StreamFormat {
    let encoding = if encoding.is_empty() { "PCMU" } else { encoding }.to_owned();
    let medium = if encoding == "H264" { Medium::Video } else { Medium::Audio };
    let payload = PayloadFormat { payload_type, encoding, clock_rate, channels: None, fmtp: None };
    StreamFormat { medium, payloads: vec![payload], ptime_ms: None }
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: "192.0.2.9:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        media: "192.0.2.1".parse().unwrap(),
    }
}
