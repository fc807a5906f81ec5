//! The four transaction machines on a virtual clock: each timer, each state, over datagrams and over a stream.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are tests"
)]

use std::time::{Duration, Instant};

use Transport::{Tcp, Udp};
use siprec_sip::{
    AlreadyAnswered, ClientTransaction, Endpoint, HeaderName, Message, Method, NameAddr, Random, Request,
    Response, ServerTransaction, TransactionFailure, Transport, Uri, response_to,
};

fn request(method: Method, transport: Transport) -> Request {
    let address = |text: &str| NameAddr::parse(text.as_bytes()).unwrap();
    let endpoint = Endpoint::new(transport, "192.0.2.1", None, address("<sip:c@192.0.2.1>")).unwrap();
    let uri = Uri::parse("sip:recorder.example").unwrap();
    let mut random = Random::from_seed([3; 32]);
    let (from, to) = (address("<sip:c@192.0.2.1>"), address("<sip:recorder.example>"));
    let mut request = endpoint.request(method, uri, &from, &to, &mut random);
    request.headers.push(HeaderName::Route, "<sip:proxy.example;lr>");
    request
}

fn response(request: &Request, status: u16) -> Response {
    response_to(request, status, Some("callee"))
}

/// Either kind, for one loop over the clock.
trait Machine {
    fn next_timeout(&self) -> Option<Instant>;
    fn handle_timeout(&mut self, now: Instant) -> Option<TransactionFailure>;
    fn poll_transmit(&mut self) -> Option<Message>;
    fn is_terminated(&self) -> bool;
}

macro_rules! machine {
    ($type:ty) => {
        impl Machine for $type {
            fn next_timeout(&self) -> Option<Instant> {
                <$type>::next_timeout(self)
            }
            fn handle_timeout(&mut self, now: Instant) -> Option<TransactionFailure> {
                <$type>::handle_timeout(self, now)
            }
            fn poll_transmit(&mut self) -> Option<Message> {
                <$type>::poll_transmit(self)
            }
            fn is_terminated(&self) -> bool {
                <$type>::is_terminated(self)
            }
        }
    };
}
machine!(ClientTransaction);
machine!(ServerTransaction);

/// What left, at which ms after `start`.
type Sent = Vec<(u128, String)>;

fn drain(machine: &mut dyn Machine, at: Duration, sent: &mut Sent) {
    while let Some(message) = machine.poll_transmit() {
        let what = match message {
            Message::Request(request) => request.method.to_string(),
            Message::Response(response) => response.status.to_string(),
        };
        sent.push((at.as_millis(), what));
    }
}

/// Lets every timer run. Returns what was sent, when the machine terminated, and why.
fn run(machine: &mut dyn Machine, start: Instant) -> (Sent, Option<u128>, Option<TransactionFailure>) {
    let mut sent = Sent::new();
    let mut failure = None;
    let mut now = start;
    drain(machine, now - start, &mut sent);
    while let Some(at) = machine.next_timeout() {
        assert!(
            at >= now && at < start + Duration::from_secs(100),
            "a timer that stands still or never ends"
        );
        now = at;
        failure = machine.handle_timeout(now).or(failure);
        drain(machine, now - start, &mut sent);
    }
    (sent, machine.is_terminated().then(|| (now - start).as_millis()), failure)
}

fn times(sent: &Sent, what: &str) -> Vec<u128> {
    sent.iter().filter(|(_, kind)| kind == what).map(|(at, _)| *at).collect()
}

#[test]
fn timers_a_and_b_an_invite_is_repeated_over_datagrams_only_and_fails_after_64_t1() {
    for (transport, expected) in [(Udp, &[0, 500, 1500, 3500, 7500, 15500, 31500][..]), (Tcp, &[0][..])] {
        let now = Instant::now();
        let mut client = ClientTransaction::new(request(Method::Invite, transport), transport, now);
        let (sent, end, failure) = run(&mut client, now);
        assert_eq!(times(&sent, "INVITE"), expected);
        assert_eq!((end, failure), (Some(32_000), Some(TransactionFailure::TimedOut)));
    }
}

#[test]
fn timers_e_and_f_another_request_is_repeated_at_most_every_t2_and_fails_after_64_t1() {
    let repeated = &[0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500][..];
    for (transport, expected) in [(Udp, repeated), (Tcp, &[0][..])] {
        let now = Instant::now();
        let mut client = ClientTransaction::new(request(Method::Options, transport), transport, now);
        let (sent, end, failure) = run(&mut client, now);
        assert_eq!(times(&sent, "OPTIONS"), expected);
        assert_eq!((end, failure), (Some(32_000), Some(TransactionFailure::TimedOut)));
    }
}

#[test]
fn timer_e_after_a_provisional_response_is_t2() {
    let now = Instant::now();
    let mut client = ClientTransaction::new(request(Method::Options, Udp), Udp, now);
    let trying = response(client.request(), 100);
    assert!(client.handle_response(trying, now).is_some());
    let (sent, end, failure) = run(&mut client, now);
    assert_eq!(times(&sent, "OPTIONS"), [0, 500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]);
    assert_eq!((end, failure), (Some(32_000), Some(TransactionFailure::TimedOut)));
}

#[test]
fn an_invite_that_is_ringing_waits_for_ever() {
    let now = Instant::now();
    let mut client = ClientTransaction::new(request(Method::Invite, Udp), Udp, now);
    assert!(client.handle_response(response(client.request(), 180), now).is_some());
    assert_eq!(client.next_timeout(), None);
    assert!(!client.is_answered() && !client.is_terminated());
}

#[test]
fn timers_d_k_and_m_a_client_absorbs_what_comes_again_for_so_long() {
    // method, status, transport, how long in ms
    let table = [
        (Method::Invite, 486, Udp, 32_000),
        (Method::Invite, 486, Tcp, 0),
        (Method::Invite, 200, Udp, 32_000),
        (Method::Invite, 200, Tcp, 32_000),
        (Method::Bye, 200, Udp, 5_000),
        (Method::Bye, 200, Tcp, 0),
        (Method::Bye, 481, Udp, 5_000),
    ];
    for (method, status, transport, expected) in table {
        let now = Instant::now();
        let mut client = ClientTransaction::new(request(method.clone(), transport), transport, now);
        let answer = response(client.request(), status);
        assert!(client.handle_response(answer, now).is_some(), "{method} {status}");
        assert!(client.is_answered());
        let (_, end, failure) = run(&mut client, now);
        assert_eq!((end, failure), (Some(expected), None), "{method} {status} {transport}");
    }
}

#[test]
fn a_refused_invite_is_acknowledged_each_time_and_told_once() {
    let now = Instant::now();
    let mut client = ClientTransaction::new(request(Method::Invite, Udp), Udp, now);
    let invite = client.request().clone();
    let refusal = response(&invite, 603);
    assert!(client.handle_response(refusal.clone(), now).is_some());
    assert!(client.handle_response(refusal.clone(), now).is_none());
    let mut sent = Vec::new();
    while let Some(message) = client.poll_transmit() {
        sent.push(message);
    }
    let [Message::Request(_), Message::Request(ack), Message::Request(again)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(ack, again);
    // RFC 3261 §17.1.1.3: all of the INVITE's, and the To of the response.
    assert_eq!((&ack.method, &ack.uri), (&Method::Ack, &invite.uri));
    for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::Route] {
        assert_eq!(ack.headers.get(&name), invite.headers.get(&name), "{name}");
    }
    assert_eq!(ack.headers.get(&HeaderName::To), refusal.headers.get(&HeaderName::To));
    assert_eq!(ack.headers.cseq().unwrap().to_string(), "1 ACK");
}

#[test]
fn rfc_6026_each_2xx_of_an_invite_reaches_the_user() {
    let now = Instant::now();
    let mut client = ClientTransaction::new(request(Method::Invite, Udp), Udp, now);
    let answer = response(client.request(), 200);
    for _ in 0..3 {
        assert!(client.handle_response(answer.clone(), now).is_some());
    }
    let late = response(client.request(), 486);
    assert!(client.handle_response(late, now).is_none(), "a refusal after a 2xx means nothing");
}

#[test]
fn a_final_response_to_another_request_is_told_once() {
    let now = Instant::now();
    let mut client = ClientTransaction::new(request(Method::Bye, Udp), Udp, now);
    let answer = response(client.request(), 200);
    assert!(client.handle_response(answer.clone(), now).is_some());
    assert!(client.handle_response(answer, now).is_none());
}

#[test]
fn a_response_belongs_to_the_transaction_of_its_branch_and_method() {
    let now = Instant::now();
    let client = ClientTransaction::new(request(Method::Invite, Udp), Udp, now);
    let own = response(client.request(), 200);
    assert!(client.is_match(&own));
    let mut other_method = own.clone();
    other_method.headers.set(HeaderName::CSeq, "1 CANCEL");
    assert!(!client.is_match(&other_method));
    let mut other_branch = own.clone();
    other_branch.headers.set(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother");
    assert!(!client.is_match(&other_branch));
    let mut nothing = own;
    nothing.headers.remove(&HeaderName::Via);
    assert!(!client.is_match(&nothing));
}

#[test]
fn a_transport_error_fails_what_waits_for_a_response() {
    let now = Instant::now();
    for method in [Method::Invite, Method::Bye] {
        let mut client = ClientTransaction::new(request(method.clone(), Tcp), Tcp, now);
        assert_eq!(client.handle_transport_error(), Some(TransactionFailure::Transport));
        assert!(client.is_terminated());
        let mut client = ClientTransaction::new(request(method, Udp), Udp, now);
        let answer = response(client.request(), 500);
        client.handle_response(answer, now);
        assert_eq!(client.handle_transport_error(), None);
    }
}

#[test]
fn an_unanswered_invite_says_trying_after_200_ms_and_at_once_when_it_comes_again() {
    let now = Instant::now();
    let invite = request(Method::Invite, Udp);
    let mut server = ServerTransaction::new(invite.clone(), Udp, now);
    let (sent, end, _) = run(&mut server, now);
    assert_eq!((sent, end), (vec![(200, "100".into())], None));

    let mut server = ServerTransaction::new(invite.clone(), Udp, now);
    assert!(server.handle_request(&invite, now));
    let (sent, ..) = run(&mut server, now);
    assert_eq!(sent, [(0, "100".into())]);

    let mut server = ServerTransaction::new(invite.clone(), Udp, now);
    server.respond(response(&invite, 180), now).unwrap();
    assert!(server.handle_request(&invite, now));
    let (sent, ..) = run(&mut server, now);
    assert_eq!(
        sent,
        [(0, "180".into()), (0, "180".into())],
        "the last provisional response, and no 100 after it"
    );
}

#[test]
fn timers_g_and_h_a_refusal_is_repeated_over_datagrams_only_until_64_t1() {
    let repeated = &[0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500][..];
    for (transport, expected) in [(Udp, repeated), (Tcp, &[0][..])] {
        let now = Instant::now();
        let invite = request(Method::Invite, transport);
        let mut server = ServerTransaction::new(invite.clone(), transport, now);
        server.respond(response(&invite, 486), now).unwrap();
        let (sent, end, failure) = run(&mut server, now);
        assert_eq!(times(&sent, "486"), expected);
        assert_eq!((end, failure), (Some(32_000), Some(TransactionFailure::TimedOut)));
    }
}

#[test]
fn timers_i_j_and_l_a_server_absorbs_what_comes_again_for_so_long() {
    // method, status, acknowledged, transport, how long in ms
    let table = [
        (Method::Invite, 486, true, Udp, 5_000),
        (Method::Invite, 486, true, Tcp, 0),
        (Method::Invite, 200, false, Udp, 32_000),
        (Method::Invite, 200, false, Tcp, 32_000),
        (Method::Bye, 200, false, Udp, 32_000),
        (Method::Bye, 200, false, Tcp, 0),
    ];
    for (method, status, acknowledged, transport, expected) in table {
        let now = Instant::now();
        let request = request(method, transport);
        let mut server = ServerTransaction::new(request.clone(), transport, now);
        server.respond(response(&request, status), now).unwrap();
        if acknowledged {
            let mut ack = request.clone();
            ack.method = Method::Ack;
            assert!(server.is_match(&ack));
            assert!(server.handle_request(&ack, now));
        }
        let (sent, end, failure) = run(&mut server, now);
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!((end, failure), (Some(expected), None), "{} {status} {transport}", request.method);
    }
}

#[test]
fn a_request_that_comes_again_gets_the_same_response_again() {
    let now = Instant::now();
    for (method, status, times) in [(Method::Bye, 200, 3), (Method::Invite, 486, 3), (Method::Invite, 200, 1)]
    {
        let request = request(method, Udp);
        let mut server = ServerTransaction::new(request.clone(), Udp, now);
        server.respond(response(&request, status), now).unwrap();
        for _ in 0..2 {
            assert!(server.is_match(&request) && server.handle_request(&request, now));
        }
        let mut sent = Sent::new();
        drain(&mut server, Duration::ZERO, &mut sent);
        // RFC 6026 §7.1: after a 2xx the INVITE is absorbed without a word.
        assert_eq!(sent, vec![(0, status.to_string()); times]);
    }
}

#[test]
fn rfc_6026_the_ack_of_a_2xx_is_for_the_user_and_the_2xx_may_be_sent_again() {
    let now = Instant::now();
    let invite = request(Method::Invite, Udp);
    let mut server = ServerTransaction::new(invite.clone(), Udp, now);
    server.respond(response(&invite, 200), now).unwrap();
    server.respond(response(&invite, 200), now).unwrap();
    let mut ack = invite;
    ack.method = Method::Ack;
    assert!(!server.handle_request(&ack, now));
}

#[test]
fn there_is_one_final_response() {
    let now = Instant::now();
    for method in [Method::Invite, Method::Options] {
        let request = request(method, Udp);
        let mut server = ServerTransaction::new(request.clone(), Udp, now);
        server.respond(response(&request, 100), now).unwrap();
        server.respond(response(&request, 404), now).unwrap();
        for status in [180, 200, 500] {
            assert_eq!(server.respond(response(&request, status), now), Err(AlreadyAnswered));
        }
    }
}

#[test]
fn a_request_belongs_to_the_transaction_of_its_branch_sender_and_method() {
    let now = Instant::now();
    let invite = request(Method::Invite, Udp);
    let server = ServerTransaction::new(invite.clone(), Udp, now);
    let branch = invite.headers.via().unwrap().branch().unwrap().to_owned();
    // Via, method, whether it is the same, whether it is its CANCEL
    let table = [
        (format!("SIP/2.0/UDP 192.0.2.1;rport;branch={branch}"), Method::Invite, true, false),
        (format!("SIP/2.0/UDP 192.0.2.1:5060;branch={}", branch.to_uppercase()), Method::Invite, true, false),
        (format!("SIP/2.0/UDP 192.0.2.1;branch={branch}"), Method::Ack, true, false),
        (format!("SIP/2.0/UDP 192.0.2.1;branch={branch}"), Method::Cancel, false, true),
        (format!("SIP/2.0/UDP 192.0.2.1;branch={branch}"), Method::Bye, false, false),
        (format!("SIP/2.0/UDP 192.0.2.9;branch={branch}"), Method::Invite, false, false),
        (format!("SIP/2.0/UDP 192.0.2.1:5061;branch={branch}"), Method::Cancel, false, false),
        (format!("SIP/2.0/UDP 192.0.2.1;branch={branch}x"), Method::Invite, false, false),
    ];
    for (via, method, same, cancels) in table {
        let mut other = invite.clone();
        other.method = method.clone();
        other.headers.set(HeaderName::Via, via.clone());
        assert_eq!(
            (server.is_match(&other), server.is_cancelled_by(&other)),
            (same, cancels),
            "{method} {via}"
        );
    }
}

#[test]
fn without_a_unique_branch_rfc_2543_matching_applies() {
    let now = Instant::now();
    let mut invite = request(Method::Invite, Udp);
    invite.headers.set(HeaderName::Via, "SIP/2.0/UDP 192.0.2.1");
    let server = ServerTransaction::new(invite.clone(), Udp, now);
    let mut ack = invite.clone();
    ack.method = Method::Ack;
    ack.headers.set(HeaderName::CSeq, "1 ACK");
    assert!(server.is_match(&invite) && server.is_match(&ack));
    let mut later = invite.clone();
    later.headers.set(HeaderName::CSeq, "2 INVITE");
    assert!(!server.is_match(&later));
    let mut other_call = invite;
    other_call.headers.set(HeaderName::CallId, "other");
    assert!(!server.is_match(&other_call));
}

#[test]
fn a_response_carries_what_the_request_came_with() {
    let mut invite = request(Method::Invite, Udp);
    invite.headers.push(HeaderName::Via, "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKfirst");
    invite.headers.push(HeaderName::Timestamp, "54");
    let trying = response_to(&invite, 100, None);
    assert_eq!(trying.headers.vias().unwrap(), invite.headers.vias().unwrap());
    assert!(trying.headers.contains(&HeaderName::Timestamp));
    assert_eq!(trying.headers.to().unwrap().tag(), None);
    let ok = response_to(&invite, 200, Some("mine"));
    assert_eq!(ok.headers.to().unwrap().tag(), Some("mine"));
    assert!(!ok.headers.contains(&HeaderName::Timestamp));
    invite.headers.set(HeaderName::To, "<sip:recorder.example>;tag=theirs");
    assert_eq!(response_to(&invite, 200, Some("mine")).headers.to().unwrap().tag(), Some("theirs"));
}
