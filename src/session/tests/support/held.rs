//! An established session with nothing around it, to see what the core alone takes.

#![allow(dead_code, unreachable_pub, reason = "each user takes its part")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchEvent, Medium, PayloadFormat, RecordingKey, StreamFormat, StreamId};
use siprec_session::{
    Command, Flow, Input, Output, Party, Recording, RecordingConfig, TransportEvent, parse_recorders,
};
use siprec_sip::{HeaderName, Message, Request, Transport};

const SDP: &str = "v=0\r\no=rec 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                   m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=recvonly\r\n\
                   m=audio 4002 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=recvonly\r\n";

/// An established session for both parties.
pub struct Held {
    recording: Recording,
    now: Instant,
    invite: Request,
    cseq: u32,
}

impl Held {
    pub fn new(number: usize, now: Instant) -> Self {
        let mut config = RecordingConfig::new(parse_recorders("sip:rec.example").unwrap());
        config.key = RecordingKey::from_raw(number as u64);
        config.parties = vec![Party { dn: "1001".into() }, Party { dn: "1002".into() }];
        let mut seed = [0; 32];
        seed.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        let mut recording = Recording::new(config, seed, now);
        let payload = PayloadFormat {
            payload_type: 0,
            encoding: "PCMU".into(),
            clock_rate: 8000,
            channels: None,
            fmtp: None,
        };
        for slot in 0..2 {
            let stream = StreamId::from_raw(2 * number as u64 + u64::from(slot));
            recording.handle(Input::Command(Command::AddStream { slot, stream }), now);
            let format =
                StreamFormat { medium: Medium::Audio, payloads: vec![payload.clone()], ptime_ms: None };
            recording.handle(Input::Command(Command::StreamFormat { stream, format }), now);
        }
        let mut invite = None;
        while let Some(output) = recording.poll() {
            match output {
                Output::ChooseRecorder { attempt, wish } => {
                    let choice = Box::new(wish.next_listed());
                    recording.handle(Input::Recorder { attempt, choice }, now);
                }
                Output::Resolve { attempt, .. } => {
                    let event = TransportEvent::Resolved { attempt, flow: flow(), more: false };
                    recording.handle(Input::Transport(event), now);
                }
                Output::Branch(BranchCommand::Bind { branch, local, .. }) => {
                    let port = 10_000 + 2 * branch.slot;
                    let (rtp, rtcp) = (SocketAddr::new(local, port), SocketAddr::new(local, port + 1));
                    recording.handle(Input::Media(branch, BranchEvent::PortsReady { rtp, rtcp }), now);
                }
                Output::Send { message: Message::Request(request), .. } => invite = Some(request),
                _ => {}
            }
        }
        let mut held = Self { recording, now, invite: invite.unwrap(), cseq: 100 };
        let answer = held.answer();
        assert_eq!(held.receive(&answer), 1, "the ACK");
        held
    }

    /// A request of the recorder.
    pub fn request(&mut self, method: &str, with_sdp: bool) -> String {
        self.cseq += 1;
        self.numbered(method, if with_sdp { SDP } else { "" })
    }

    /// Takes a message, and says how many messages that made us send.
    pub fn receive(&mut self, bytes: &str) -> usize {
        let message = Message::parse(bytes.as_bytes()).unwrap();
        self.recording.handle(Input::Message(message), self.now);
        let outputs = std::iter::from_fn(|| self.recording.poll());
        outputs
            .filter(|output| matches!(output, Output::Send { message, .. } if !message.to_bytes().is_empty()))
            .count()
    }

    /// Acknowledges an INVITE, and lets the transaction of the last request end.
    pub fn settle(&mut self, method: &str) {
        if method == "INVITE" {
            let ack = self.numbered("ACK", "");
            self.receive(&ack);
        }
        self.wait(Duration::from_secs(40));
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.recording.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.recording.handle(Input::Timer, self.now);
            while self.recording.poll().is_some() {}
        }
        self.now = end;
    }

    fn header(&self, name: HeaderName) -> String {
        self.invite.headers.get(&name).map(ToString::to_string).unwrap_or_default()
    }

    fn answer(&self) -> String {
        let head = [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq]
            .map(|name| format!("{name}: {}\r\n", self.header(name.clone())))
            .concat();
        format!(
            "SIP/2.0 200 OK\r\n{head}To: {};tag=rec\r\nContact: <sip:rec@192.0.2.9:5060>\r\n\
             Session-Expires: 1800;refresher=uas\r\nRequire: timer\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            self.header(HeaderName::To),
            SDP.len()
        )
    }

    fn numbered(&self, method: &str, body: &str) -> String {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:siprec@192.0.2.1:5060 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKr{cseq}{method}\r\nMax-Forwards: 70\r\n\
             From: {to};tag=rec\r\nTo: {from}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:rec@192.0.2.9:5060>\r\nSupported: timer\r\n\
             Session-Expires: 1800;refresher=uac\r\n{kind}Content-Length: {length}\r\n\r\n{body}",
            cseq = self.cseq,
            to = self.header(HeaderName::To),
            from = self.header(HeaderName::From),
            call_id = self.header(HeaderName::CallId),
            length = body.len(),
        )
    }
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: "192.0.2.9:5060".parse().unwrap(),
        local: "192.0.2.1:5060".parse().unwrap(),
        media: "192.0.2.1".parse().unwrap(),
    }
}

/// Memory of this process that is in RAM.
pub fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
