//! One dialog, at either end, whose peer and user follow a script.
//!
//! Steps: `callee` (first of all: we are invited), the messages of [`crate::script::Peer::message`], `wait MS`, `error`
//! (of the transport), `invite`, `update`, `info`, `bye`, `cancel`, `respond STATUS`, `acknowledge`.

use std::time::{Duration, Instant};

use siprec_sip::{
    Body, DialogEvent, DialogUa, Endpoint, Headers, Message, Method, NameAddr, Random, RequestToken,
    ServerToken, Transport, UacConfig, Uri,
};

use crate::script::{Peer, Step, steps};

const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
const INVITE: &[u8] =
    b"INVITE sip:client@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKi\r\n\
    From: <sip:peer@192.0.2.9>;tag=peer\r\nTo: <sip:client@192.0.2.1>\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\n\
    Contact: <sip:192.0.2.9>\r\nContent-Length: 0\r\n\r\n";

/// Runs a script.
pub fn dialog(data: &[u8]) {
    let steps = steps(data);
    let is_callee = steps.first().is_some_and(|step| step.verb() == "callee");
    let mut dialog = if is_callee { UnderTest::invited() } else { UnderTest::calling() };
    dialog.settle();
    for step in &steps {
        dialog.act(step);
        dialog.settle();
    }
    dialog.finish();
}

struct UnderTest {
    ua: DialogUa,
    now: Instant,
    peer: Peer,
    asked: Vec<ServerToken>,
    answered: Vec<RequestToken>,
    has_ended: bool,
}

impl UnderTest {
    fn calling() -> Self {
        let now = Instant::now();
        let contact = NameAddr::new(Uri::parse("sip:client@192.0.2.1").unwrap());
        let recorder = Uri::parse("sip:record=1@192.0.2.9").unwrap();
        let config = UacConfig {
            endpoint: endpoint(),
            request_uri: recorder.clone(),
            from: contact,
            to: NameAddr::new(recorder),
            route: Vec::new(),
        };
        let mut random = Random::from_seed([1; 32]);
        Self::new(DialogUa::invite(config, Headers::new(), Some(Body::sdp(SDP)), &mut random, now), now)
    }

    fn invited() -> Self {
        let now = Instant::now();
        let Ok(Message::Request(invite)) = Message::parse(INVITE) else { panic!("the INVITE is one") };
        let mut random = Random::from_seed([2; 32]);
        let (ua, token) = DialogUa::accept_invite(endpoint(), invite, &mut random, now).unwrap();
        let mut under_test = Self::new(ua, now);
        under_test.asked.push(token);
        under_test
    }

    fn new(ua: DialogUa, now: Instant) -> Self {
        let peer = Peer::new(&ua.call_id().to_string(), ua.local_tag());
        Self { ua, now, peer, asked: Vec::new(), answered: Vec::new(), has_ended: false }
    }

    fn act(&mut self, step: &Step) {
        let (ua, now) = (&mut self.ua, self.now);
        let body = || Some(Body::sdp(SDP));
        match step.verb() {
            "wait" => self.wait(Duration::from_millis(step.number::<u64>(1).min(600_000))),
            "error" => ua.handle_transport_error(now),
            "invite" => drop(ua.request(Method::Invite, Headers::new(), body(), now)),
            "update" => drop(ua.request(Method::Update, Headers::new(), body(), now)),
            "info" => drop(ua.request(Method::Info, Headers::new(), None, now)),
            "bye" => drop(ua.request(Method::Bye, Headers::new(), None, now)),
            "cancel" => ua.cancel(now),
            "respond" => {
                if let Some(token) = self.asked.last() {
                    let _ = ua.respond(*token, step.number(1), "", Headers::new(), body(), now);
                }
            }
            "acknowledge" => {
                if let Some(token) = self.answered.last() {
                    let _ = ua.acknowledge(*token, body());
                }
            }
            _ => {
                if let Some(message) = self.peer.message(step) {
                    let _ = ua.handle_message(message, now);
                }
            }
        }
    }

    /// Lets time pass, with every timer on its way.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut timers = 0;
        while let Some(at) = self.ua.next_timeout().filter(|at| *at <= end) {
            timers += 1;
            assert!(timers < 10_000, "the clock stands still");
            self.now = self.now.max(at);
            self.ua.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Takes what the dialog has to say.
    fn settle(&mut self) {
        let mut said = 0;
        loop {
            said += 1;
            assert!(said < 1000, "it does not stop talking");
            if let Some(message) = self.ua.poll_transmit() {
                self.peer.saw(&message);
            } else if let Some(event) = self.ua.poll_event() {
                assert!(!self.has_ended, "told after the end: {event:?}");
                match event {
                    DialogEvent::Request { token, .. } => self.asked.push(token),
                    DialogEvent::Answered { token, .. } => self.answered.push(token),
                    DialogEvent::Terminated(_) => self.has_ended = true,
                    _ => {}
                }
            } else {
                break;
            }
        }
        assert_eq!(self.has_ended, self.ua.is_terminated());
        assert!(self.ua.next_timeout().is_none_or(|at| at > self.now), "a deadline that stays in the past");
    }

    /// Whatever happened, the user can end it, and then nothing stays.
    fn finish(&mut self) {
        self.ua.cancel(self.now);
        if let Some(token) = self.asked.first().filter(|_| !self.ua.is_confirmed()) {
            let _ = self.ua.respond(*token, 486, "", Headers::new(), None, self.now);
        }
        self.settle();
        self.wait(Duration::from_secs(600));
        let _ = self.ua.request(Method::Bye, Headers::new(), None, self.now);
        self.settle();
        self.wait(Duration::from_secs(600));
        assert!(self.has_ended, "the dialog cannot be ended");
        assert!(self.ua.is_finished(), "something of it stays");
    }
}

fn endpoint() -> Endpoint {
    let contact = NameAddr::new(Uri::parse("sip:client@192.0.2.1").unwrap());
    Endpoint::new(Transport::Udp, "192.0.2.1", Some(5060), contact).unwrap()
}
