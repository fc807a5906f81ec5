//! One recording whose recorder, engine and application follow a script.
//!
//! Steps: the messages of [`crate::script::Peer::message`], `wait MS`, `start`, `stop`, `stop-now`, `pause`, `resume`,
//! `dn SLOT TEXT`, `add SLOT`, `remove SLOT`, `format SLOT PAYLOAD-TYPE ENCODING CLOCK-RATE`, `packet SLOT`, `refused SLOT`,
//! `empty SLOT`, `crashed SLOT`, `failed` (the connection). Names resolve and ports are bound at once.

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, BranchId, CallUuid, Component, Medium, PayloadFormat, RecordingId, RecordingKey,
    StopReason, StreamFormat, StreamId,
};
use siprec_session::{
    Command, Flow, Input, Output, Party, Recording, RecordingConfig, TransportEvent, parse_recorders,
};
use siprec_sip::Transport;

use crate::script::{Peer, Step, steps};

const KEY: RecordingKey = RecordingKey::from_raw(7);

/// Runs a script.
pub fn recording(data: &[u8]) {
    let mut call = UnderTest::new();
    for step in &steps(data) {
        call.act(step);
    }
    call.finish();
}

struct UnderTest {
    recording: Recording,
    now: Instant,
    peer: Peer,
    attempt: u32,
    finished: usize,
}

impl UnderTest {
    /// Two parties, two recorders, and the first INVITE on its way.
    fn new() -> Self {
        let now = Instant::now();
        let mut config = RecordingConfig::new(parse_recorders("sip:one.example sip:two.example").unwrap());
        config.key = KEY;
        config.recording_id = Some(RecordingId::new("00FA08K"));
        config.call_uuid = Some(CallUuid::new("UUID1"));
        config.parties = vec![Party { dn: "1001".into() }, Party { dn: "1002".into() }];
        let recording = Recording::new(config, [3; 32], now);
        let mut call = Self { recording, now, peer: Peer::default(), attempt: 0, finished: 0 };
        for slot in 0..2 {
            call.input(Input::Command(Command::AddStream { slot, stream: stream(slot) }));
            call.input(Input::Command(Command::StreamFormat { stream: stream(slot), format: format(0, "PCMU", 8000) }));
        }
        call
    }

    fn act(&mut self, step: &Step) {
        let slot = step.number::<u16>(1) % 4;
        let branch = BranchId { recording: KEY, leg: 0, slot };
        let command = |command| Some(Input::Command(command));
        let media = |event| Some(Input::Media(branch, event));
        let input = match step.verb() {
            "wait" => {
                self.wait(Duration::from_millis(step.number::<u64>(1).min(600_000)));
                None
            }
            "start" => command(Command::Start),
            "stop" => command(Command::Stop(StopReason::Asked)),
            "stop-now" => command(Command::StopNow),
            "pause" => command(Command::Pause),
            "resume" => command(Command::Resume),
            "dn" => command(Command::SetDn { slot, dn: step.word(2).to_owned() }),
            "add" => command(Command::AddStream { slot, stream: stream(slot) }),
            "remove" => command(Command::RemoveStream { stream: stream(slot) }),
            "format" => {
                let format = format(step.number::<u8>(2) % 128, step.word(3), step.number::<u32>(4).max(1));
                command(Command::StreamFormat { stream: stream(slot), format })
            }
            "packet" => media(BranchEvent::FirstPacket { payload_type: 0, ssrc: 1 }),
            "refused" => media(BranchEvent::RemoteRefused { component: Component::Rtp }),
            "empty" => media(BranchEvent::BacklogEmpty),
            "crashed" => media(BranchEvent::Crashed { reason: "panic".to_owned() }),
            "failed" => {
                let (attempt, reason) = (self.attempt, "reset".to_owned());
                Some(Input::Transport(TransportEvent::Failed { attempt, reason }))
            }
            _ => self.peer.message(step).map(Input::Message),
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
                Output::Resolve { attempt, .. } => {
                    self.attempt = attempt;
                    let event = TransportEvent::Resolved { attempt, flow: flow() };
                    self.recording.handle(Input::Transport(event), self.now);
                }
                Output::Send { message, .. } => self.peer.saw(&message),
                Output::Branch(command) => self.obey(&command),
                Output::Event(_) => {}
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
            BranchCommand::Drain { .. } => BranchEvent::BacklogEmpty,
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
    let payload = PayloadFormat { payload_type, encoding, clock_rate, channels: None, fmtp: None };
    StreamFormat { medium: Medium::Audio, payloads: vec![payload], ptime_ms: None }
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: "192.0.2.9:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        media: "192.0.2.1".parse().unwrap(),
    }
}
