//! A peer that sends anything at any time: nothing may panic, grow without bound, or stand still.

use std::time::{Duration, Instant};

use siprec_sip::{
    Body, CSeq, DialogEvent, DialogUa, HeaderName, Headers, Message, Method, Random, Request, Response,
    Transport,
};

use crate::pair::{ANSWER, OFFER, config, endpoint, uri};
use crate::solo::Solo;

/// The scripted madman and what it has learnt from our messages.
struct Chaos {
    random: Random,
    call_id: String,
    tags: Vec<Option<String>>,
    seen: Vec<Request>,
}

impl Chaos {
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u32) as usize].clone()
    }

    fn message(&mut self) -> Message {
        let mut message = match (self.random.below(2), self.seen.is_empty()) {
            (0, false) => Message::Response(self.response()),
            _ => Message::Request(self.request()),
        };
        if self.random.below(20) == 0 {
            let name = self.pick(&[
                HeaderName::Via,
                HeaderName::From,
                HeaderName::To,
                HeaderName::CSeq,
                HeaderName::CallId,
                HeaderName::Contact,
            ]);
            match self.random.below(2) {
                0 => drop(message.headers_mut().remove(&name)),
                _ => message.headers_mut().set(name, "\"<;,=\u{1}"),
            }
        }
        message
    }

    fn request(&mut self) -> Request {
        let method = self.pick(&[
            Method::Invite,
            Method::Ack,
            Method::Cancel,
            Method::Update,
            Method::Info,
            Method::Options,
            Method::Notify,
            Method::Refer,
            Method::parse("FOO").unwrap(),
        ]);
        let method = if self.random.below(200) == 0 { Method::Bye } else { method };
        let number = self.pick(&[0, 1, 1, 2, 3, 4, 5, u32::MAX]);
        let branch = self.random.below(12);
        let mut request = Request::new(method.clone(), uri("sip:x@192.0.2.1"));
        let headers = &mut request.headers;
        headers.push(HeaderName::Via, format!("SIP/2.0/UDP h;branch=z9hG4bK{branch}"));
        headers.push(HeaderName::CallId, self.call_id.clone());
        headers.push(HeaderName::CSeq, CSeq::new(number, method));
        for name in [HeaderName::From, HeaderName::To] {
            let tag = self.pick(&self.tags.clone()).map_or(String::new(), |tag| format!(";tag={tag}"));
            request.headers.push(name, format!("<sip:a@b>{tag}"));
        }
        self.extras(&mut request.headers);
        if self.random.below(2) == 0 {
            request.headers.push(HeaderName::ContentType, "application/sdp");
            request.body = OFFER.to_vec();
        }
        request
    }

    fn response(&mut self) -> Response {
        let recent = self.random.below(self.seen.len().min(8) as u32) as usize;
        let request = self.seen[self.seen.len() - 1 - recent].clone();
        let status = self.pick(&[100, 180, 183, 200, 200, 202, 302, 401, 408, 481, 487, 491, 500, 603]);
        let tag = self.pick(&self.tags.clone());
        let mut response = siprec_sip::response_to(&request, status, tag.as_deref());
        if self.random.below(20) == 0 {
            response.headers.set(HeaderName::CSeq, "7 INVITE");
        }
        self.extras(&mut response.headers);
        response
    }

    fn extras(&mut self, headers: &mut Headers) {
        let contact = self.pick(&["<sip:192.0.2.9>", "*", "<tel:1>", "<sip:", "<sip:[::1]:5060;lr>"]);
        headers.push(HeaderName::Contact, contact);
        if self.random.below(4) == 0 {
            headers.push(
                HeaderName::RecordRoute,
                self.pick(&["<sip:p;lr>", "<sip:p>, <sip:q;lr>", "garbage <"]),
            );
        }
        if self.random.below(8) == 0 {
            headers.push(HeaderName::Require, "x");
        }
    }

    fn act(&mut self, ua: &mut DialogUa, events: &[DialogEvent], now: Instant) {
        for event in events {
            if let DialogEvent::Request { token, .. } = event
                && self.random.below(3) > 0
            {
                let status = self.pick(&[99, 100, 180, 200, 200, 488, 700]);
                let _ = ua.respond(*token, status, "", Headers::new(), Some(Body::sdp(ANSWER)), now);
            }
            if let DialogEvent::Answered { token, .. } = event {
                let _ = ua.acknowledge(*token, Some(Body::sdp(ANSWER)));
            }
        }
        let method = self.pick(&[
            Method::Invite,
            Method::Update,
            Method::Info,
            Method::Options,
            Method::Ack,
            Method::Cancel,
        ]);
        match self.random.below(60) {
            0..10 => drop(ua.request(method, Headers::new(), Some(Body::sdp(OFFER)), now)),
            10..15 => drop(ua.request(method, Headers::new(), None, now)),
            15 => ua.cancel(now),
            16 => ua.handle_transport_error(now),
            17 => drop(ua.request(Method::Bye, Headers::new(), None, now)),
            _ => {}
        }
    }
}

/// Whether the dialog was confirmed at some time, and whether it ended.
fn run(mut ua: DialogUa, seed: u64) -> (bool, bool) {
    let mut bytes = [5; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut chaos = Chaos {
        random: Random::from_seed(bytes),
        call_id: ua.call_id().to_string(),
        tags: vec![
            None,
            Some("peer".into()),
            Some("peer".into()),
            Some("fork".into()),
            Some(ua.local_tag().into()),
        ],
        seen: Vec::new(),
    };
    let mut now = Instant::now();
    let mut confirmed = false;
    let mut ended = false;
    for _ in 0..300 {
        if chaos.random.below(10) == 0 {
            now += Duration::from_millis(chaos.random.below(20_000).into());
            ua.handle_timeout(now);
        }
        assert!(
            ua.next_timeout().is_none_or(|at| at > now),
            "seed {seed}: a deadline that stays in the past"
        );
        let _ = ua.handle_message(chaos.message(), now);
        let mut sent = 0;
        while let Some(message) = ua.poll_transmit() {
            sent += 1;
            assert!(
                Message::parse(&message.to_bytes()).is_ok() || chaos_made(&message),
                "seed {seed}: {message:?}"
            );
            if let Message::Request(request) = message {
                chaos.seen.push(request);
            }
        }
        assert!(sent < 200, "seed {seed}: {sent} messages for one");
        let events: Vec<_> = std::iter::from_fn(|| ua.poll_event()).collect();
        assert!(!ended || events.is_empty(), "seed {seed}: told after the end: {events:?}");
        confirmed |= ua.is_confirmed();
        ended |= events.iter().any(|event| matches!(event, DialogEvent::Terminated(_)));
        assert_eq!(ended, ua.is_terminated(), "seed {seed}");
        chaos.act(&mut ua, &events, now);
    }
    if ua.is_terminated() {
        for _ in 0..10_000 {
            let Some(at) = ua.next_timeout() else { break };
            ua.handle_timeout(at);
            while ua.poll_transmit().is_some() {}
            while ua.poll_event().is_some() {}
        }
        assert!(ua.is_finished(), "seed {seed}: it never finishes");
    }
    (confirmed, ended)
}

/// A response repeats what it was asked with, however broken that was.
fn chaos_made(message: &Message) -> bool {
    matches!(message, Message::Response(_))
}

#[test]
fn no_sequence_of_messages_breaks_a_caller() {
    let mut outcomes = Vec::new();
    for seed in 0..60 {
        let mut random = Random::from_seed([1; 32]);
        let body = (seed % 2 == 0).then(|| Body::sdp(OFFER));
        let ua = DialogUa::invite(config(Transport::Udp), Headers::new(), body, &mut random, Instant::now());
        outcomes.push(run(ua, seed));
    }
    check_variety(&outcomes);
}

#[test]
fn no_sequence_of_messages_breaks_a_callee() {
    let mut outcomes = Vec::new();
    for seed in 0..60 {
        let mut random = Random::from_seed([1; 32]);
        let (now, invite) = (Instant::now(), Solo::foreign_invite(&[]));
        let endpoint = endpoint(Transport::Udp, "192.0.2.1");
        let (mut ua, token) = DialogUa::accept_invite(endpoint, invite, &mut random, now).unwrap();
        if seed % 4 == 0 {
            ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), now).unwrap();
        }
        outcomes.push(run(ua, seed));
    }
    check_variety(&outcomes);
}

/// The tests would prove little if every dialog died at once.
fn check_variety(outcomes: &[(bool, bool)]) {
    for met in [(true, true), (false, true)] {
        let times = outcomes.iter().filter(|outcome| **outcome == met).count();
        assert!(times > 0, "(confirmed, ended) = {met:?} {times} times");
    }
}
