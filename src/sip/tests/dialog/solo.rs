//! One end, and a peer that is a script: its messages are written by the test.

use std::time::{Duration, Instant};

use siprec_sip::{
    Body, CSeq, DialogEvent, DialogUa, HeaderName, Headers, Message, Method, Random, Request, Response,
    Transport, UacConfig,
};

use crate::pair::{ANSWER, OFFER, config, describe, endpoint, uri};

pub(crate) struct Solo {
    pub(crate) ua: DialogUa,
    pub(crate) now: Instant,
    /// The INVITE that opened the dialog.
    pub(crate) invite: Request,
    /// Tag of the scripted peer.
    pub(crate) tag: &'static str,
    branches: u32,
}

impl Solo {
    /// A caller whose INVITE is out.
    pub(crate) fn calling() -> Solo {
        Solo::calling_with(Some(Body::sdp(OFFER)))
    }

    pub(crate) fn calling_with(body: Option<Body>) -> Solo {
        Solo::calling_as(Headers::new(), body)
    }

    pub(crate) fn calling_as(headers: Headers, body: Option<Body>) -> Solo {
        Solo::calling_by(config(Transport::Udp), headers, body)
    }

    pub(crate) fn calling_by(config: UacConfig, headers: Headers, body: Option<Body>) -> Solo {
        let now = Instant::now();
        let mut random = Random::from_seed([1; 32]);
        let mut ua = DialogUa::invite(config, headers, body, &mut random, now);
        let Some(Message::Request(invite)) = ua.poll_transmit() else { panic!("no INVITE") };
        Solo { ua, now, invite, tag: "peer", branches: 0 }
    }

    /// A caller in a confirmed dialog.
    pub(crate) fn caller() -> Solo {
        Solo::caller_by(Transport::Udp)
    }

    pub(crate) fn caller_by(transport: Transport) -> Solo {
        let mut solo = Solo::calling_by(config(transport), Headers::new(), Some(Body::sdp(OFFER)));
        solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
        assert_eq!(solo.sent(), ["ACK 1"]);
        assert!(matches!(solo.events()[..], [DialogEvent::Answered { .. }]));
        solo
    }

    /// A callee that was invited with these headers set on the INVITE.
    pub(crate) fn ringing(set: &[(HeaderName, &str)]) -> (Solo, siprec_sip::ServerToken) {
        let now = Instant::now();
        let mut random = Random::from_seed([2; 32]);
        let invite = Solo::foreign_invite(set);
        let (ua, token) =
            DialogUa::accept_invite(endpoint(Transport::Udp, "192.0.2.1"), invite.clone(), &mut random, now)
                .unwrap();
        (Solo { ua, now, invite, tag: "peer", branches: 0 }, token)
    }

    /// A callee in a confirmed dialog.
    pub(crate) fn callee() -> Solo {
        let (mut solo, token) = Solo::ringing(&[]);
        solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
        assert_eq!(solo.sent(), ["200 INVITE 1"]);
        let ack = solo.request(Method::Ack, 1, &[], b"");
        solo.deliver(Message::Request(ack));
        assert!(matches!(solo.events()[..], [DialogEvent::Acknowledged { .. }]));
        solo
    }

    /// An INVITE of the scripted peer.
    pub(crate) fn foreign_invite(set: &[(HeaderName, &str)]) -> Request {
        let mut invite = Request::new(Method::Invite, uri("sip:client@192.0.2.1"));
        for (name, value) in [
            (HeaderName::Via, "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKinvite"),
            (HeaderName::From, "<sip:recorder@192.0.2.2>;tag=peer"),
            (HeaderName::To, "<sip:client@192.0.2.1>"),
            (HeaderName::CallId, "call"),
            (HeaderName::CSeq, "1 INVITE"),
            (HeaderName::Contact, "<sip:192.0.2.2:5060>"),
            (HeaderName::ContentType, "application/sdp"),
        ] {
            invite.headers.push(name, value);
        }
        for (name, value) in set {
            invite.headers.set(name.clone(), *value);
        }
        invite.body = OFFER.to_vec();
        invite
    }

    /// A request of the peer in the dialog.
    pub(crate) fn request(
        &mut self,
        method: Method,
        cseq: u32,
        set: &[(HeaderName, &str)],
        body: &[u8],
    ) -> Request {
        self.branches += 1;
        let mut request = Request::new(method.clone(), uri("sip:192.0.2.1:5060"));
        let headers = &mut request.headers;
        headers.push(HeaderName::Via, format!("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKpeer{}", self.branches));
        headers.push(HeaderName::From, format!("<sip:recorder@192.0.2.2>;tag={}", self.tag));
        headers.push(HeaderName::To, format!("<sip:client@192.0.2.1>;tag={}", self.ua.local_tag()));
        headers.push(HeaderName::CallId, self.ua.call_id().clone());
        headers.push(HeaderName::CSeq, CSeq::new(cseq, method));
        for (name, value) in set {
            headers.set(name.clone(), *value);
        }
        if !body.is_empty() && !headers.contains(&HeaderName::ContentType) {
            headers.push(HeaderName::ContentType, "application/sdp");
        }
        request.body = body.to_vec();
        request
    }

    /// A response of the peer to a request of ours.
    pub(crate) fn response(&self, to: &Request, status: u16, set: &[(HeaderName, &str)]) -> Message {
        let mut response: Response = siprec_sip::response_to(to, status, Some(self.tag));
        for (name, value) in set {
            response.headers.set(name.clone(), *value);
        }
        Message::Response(response)
    }

    pub(crate) fn answer_invite(&mut self, status: u16, contact: Option<&str>) {
        let invite = self.invite.clone();
        let contact: Vec<_> = contact.into_iter().map(|contact| (HeaderName::Contact, contact)).collect();
        let response = self.response(&invite, status, &contact);
        self.deliver(response);
    }

    /// Puts a message before the dialog, by way of the wire.
    pub(crate) fn deliver(&mut self, message: Message) {
        assert!(self.offer(message), "the dialog did not want it");
    }

    /// Whether the dialog took it.
    pub(crate) fn offer(&mut self, message: Message) -> bool {
        let message = Message::parse(&message.to_bytes()).unwrap();
        self.ua.handle_message(message, self.now).is_ok()
    }

    /// A request of the peer, and the one response that it gets at once.
    pub(crate) fn ask(
        &mut self,
        method: Method,
        cseq: u32,
        set: &[(HeaderName, &str)],
        body: &[u8],
    ) -> Response {
        let request = self.request(method, cseq, set, body);
        self.deliver(Message::Request(request));
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        match messages.remove(0) {
            Message::Response(response) => response,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    pub(crate) fn messages(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.ua.poll_transmit()).collect()
    }

    pub(crate) fn sent(&mut self) -> Vec<String> {
        self.messages().iter().map(describe).collect()
    }

    pub(crate) fn next_request(&mut self) -> Request {
        match self.ua.poll_transmit() {
            Some(Message::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn events(&mut self) -> Vec<DialogEvent> {
        std::iter::from_fn(|| self.ua.poll_event()).collect()
    }

    /// Moves the clock, stopping at each deadline.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.ua.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now);
            self.now = at;
            self.ua.handle_timeout(at);
        }
        self.now = end;
    }
}
