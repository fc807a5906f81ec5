//! What a dialog answers by itself, and how it addresses its requests: one rule a test.

use siprec_sip::{
    Body, DialogEvent, DialogUa, HeaderName, Headers, Message, Method, Random, RequestError, RespondError,
    Transport,
};

use crate::pair::{ANSWER, OFFER, config, endpoint, uri};
use crate::solo::Solo;

fn method(name: &str) -> Method {
    Method::parse(name).unwrap()
}

#[test]
fn what_any_dialog_can_answer_it_answers_by_itself() {
    // method, status, a header that the answer has
    let table = [
        ("OPTIONS", 200, Some(HeaderName::Accept)),
        ("OPTIONS", 200, Some(HeaderName::Allow)),
        ("INFO", 200, None),
        ("NOTIFY", 489, None),
        ("REFER", 405, Some(HeaderName::Allow)),
        ("SUBSCRIBE", 405, Some(HeaderName::Allow)),
        ("MESSAGE", 405, Some(HeaderName::Allow)),
        ("FOO", 501, None),
        ("invite", 501, None),
    ];
    for mut solo in [Solo::caller(), Solo::callee()] {
        for (cseq, (name, status, header)) in (100..).zip(table.clone()) {
            let response = solo.ask(method(name), cseq, &[], b"");
            assert_eq!(response.status, status, "{name}");
            assert!(header.is_none_or(|header| response.headers.contains(&header)), "{name}: {response:?}");
            let told = solo.events().len();
            assert_eq!(told, usize::from(name == "INFO"), "{name}");
        }
    }
}

#[test]
fn a_lower_number_or_the_same_is_answered_500_and_a_gap_is_legal() {
    let mut solo = Solo::caller();
    assert_eq!(solo.ask(Method::Options, 7, &[], b"").status, 200);
    assert_eq!(solo.ask(Method::Options, 6, &[], b"").status, 500);
    assert_eq!(solo.ask(Method::Info, 7, &[], b"").status, 500, "one that is no repetition");
    assert!(solo.events().is_empty());
    assert_eq!(solo.ask(Method::Options, 4_000_000, &[], b"").status, 200);
    assert_eq!(solo.ask(Method::Bye, 5, &[], b"").status, 500);
    assert!(solo.ua.is_confirmed());
    let mut solo = Solo::callee();
    assert_eq!(solo.ask(Method::Options, 0, &[], b"").status, 500, "lower than the INVITE");
}

#[test]
fn a_request_that_requires_what_nobody_knows_is_answered_420() {
    let mut solo = Solo::caller();
    let required = [(HeaderName::Require, "siprec, 100rel")];
    let response = solo.ask(Method::Invite, 1, &required, OFFER);
    assert_eq!(response.status, 420);
    assert_eq!(response.headers.get(&HeaderName::Unsupported).unwrap().to_str(), Some("siprec, 100rel"));
    assert_eq!(solo.ask(Method::Bye, 2, &required, b"").status, 200, "but a BYE always ends the session");

    let mut random = Random::from_seed([0; 32]);
    let invite = Solo::foreign_invite(&[(HeaderName::Require, "timer, siprec")]);
    let mut endpoint = endpoint(Transport::Udp, "192.0.2.1");
    endpoint.supported = vec!["TIMER".into()];
    let refusal =
        DialogUa::accept_invite(endpoint, invite, &mut random, std::time::Instant::now()).unwrap_err();
    assert_eq!(refusal.status, 420);
    assert_eq!(refusal.headers.get(&HeaderName::Unsupported).unwrap().to_str(), Some("siprec"));
}

#[test]
fn an_invite_that_cannot_open_a_dialog_is_answered_400() {
    for (name, value) in
        [(HeaderName::Contact, "*"), (HeaderName::Contact, "<tel:+1>"), (HeaderName::Contact, "<")]
    {
        let mut random = Random::from_seed([0; 32]);
        let invite = Solo::foreign_invite(&[(name, value)]);
        let now = std::time::Instant::now();
        let refusal =
            DialogUa::accept_invite(endpoint(Transport::Udp, "h"), invite, &mut random, now).unwrap_err();
        assert_eq!((refusal.status, refusal.reason.as_str()), (400, "no usable Contact"));
        assert!(refusal.headers.to().unwrap().tag().is_some());
    }
}

#[test]
fn messages_of_other_dialogs_are_given_back() {
    let mut solo = Solo::caller();
    let foreign = [
        solo.request(Method::Options, 1, &[(HeaderName::CallId, "other")], b""),
        solo.request(Method::Options, 1, &[(HeaderName::From, "<sip:a@b>;tag=other")], b""),
        solo.request(Method::Options, 1, &[(HeaderName::To, "<sip:a@b>;tag=other")], b""),
        solo.request(Method::Invite, 1, &[(HeaderName::To, "<sip:a@b>")], b""),
        solo.request(Method::Cancel, 1, &[], b""),
    ];
    for request in foreign {
        assert!(!solo.offer(Message::Request(request.clone())), "{request:?}");
    }
    assert!(solo.messages().is_empty() && solo.events().is_empty());
}

#[test]
fn the_first_invite_under_another_branch_is_answered_482() {
    let (mut solo, _) = Solo::ringing(&[]);
    let merged = Solo::foreign_invite(&[(HeaderName::Via, "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKother")]);
    solo.deliver(Message::Request(merged));
    assert_eq!(solo.sent(), ["482 INVITE 1"]);
}

#[test]
fn any_2xx_or_request_with_a_contact_moves_the_remote_target() {
    let mut solo = Solo::caller();
    let mut expected = 7000;
    let mut contact = || {
        expected += 1;
        (format!("<sip:192.0.2.2:{expected}>"), format!("sip:192.0.2.2:{expected}"))
    };
    for (cseq, method) in (1..).zip([Method::Update, Method::Info, Method::Options, Method::Invite]) {
        let (contact, target) = contact();
        let body = if method == Method::Invite { OFFER } else { b"" };
        let request = solo.request(method, cseq, &[(HeaderName::Contact, &contact)], body);
        solo.deliver(Message::Request(request));
        assert_eq!(solo.ua.remote_target().as_str(), target);
    }
    let [.., DialogEvent::Request { token, .. }] = &solo.events()[..] else { panic!() };
    solo.ua.respond(*token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    let ack = solo.request(Method::Ack, 4, &[], b"");
    solo.deliver(Message::Request(ack));
    solo.messages();
    for method in [Method::Invite, Method::Update, Method::Info] {
        let (contact, target) = contact();
        solo.ua.request(method, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
        let request = solo.next_request();
        let response = solo.response(&request, 200, &[(HeaderName::Contact, &contact)]);
        solo.deliver(response);
        assert_eq!(solo.ua.remote_target().as_str(), target);
        solo.messages();
    }
    // A refusal does not, and neither does what is no address.
    solo.ua.request(Method::Info, Headers::new(), None, solo.now).unwrap();
    let request = solo.next_request();
    let before = solo.ua.remote_target().clone();
    let response = solo.response(&request, 500, &[(HeaderName::Contact, "<sip:elsewhere>")]);
    solo.deliver(response);
    for (cseq, bad) in (4_000..).zip(["*", "<tel:+1>", "<>", "\"x", "<sip:a@b"]) {
        assert_eq!(solo.ask(Method::Options, cseq, &[(HeaderName::Contact, bad)], b"").status, 200);
    }
    assert_eq!(solo.ua.remote_target(), &before);
}

#[test]
fn a_2xx_without_contact_is_acknowledged_to_the_request_uri() {
    let mut solo = Solo::calling();
    solo.answer_invite(200, None);
    let ack = solo.next_request();
    assert_eq!((ack.method, &ack.uri), (Method::Ack, &solo.invite.uri));
    assert!(solo.ua.is_confirmed());
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    assert_eq!(solo.next_request().uri, solo.invite.uri);
}

#[test]
fn a_missing_to_tag_counts_as_null() {
    let mut solo = Solo::calling();
    let to = solo.invite.headers.get(&HeaderName::To).unwrap().to_str().unwrap().to_owned();
    let invite = solo.invite.clone();
    let ok = solo.response(&invite, 200, &[(HeaderName::To, &to), (HeaderName::Contact, "<sip:192.0.2.2>")]);
    solo.deliver(ok.clone());
    let ack = solo.next_request();
    assert_eq!(ack.headers.to().unwrap().tag(), None);
    solo.deliver(ok);
    assert_eq!(solo.sent(), ["ACK 1"], "the same dialog, no fork");
    let request = solo.request(Method::Options, 1, &[(HeaderName::From, "<sip:192.0.2.2>")], b"");
    solo.deliver(Message::Request(request));
    assert_eq!(solo.sent(), ["200 OPTIONS 1"]);
    assert_eq!(
        solo.ask(Method::Options, 2, &[], b"").status,
        200,
        "a tag that comes later is no other dialog"
    );
}

#[test]
fn requests_follow_the_record_route_backwards_at_the_caller() {
    let mut solo = Solo::calling();
    let invite = solo.invite.clone();
    let routes = "<sip:p2.example;lr>, <sip:p1.example;lr>";
    let ok = solo.response(
        &invite,
        200,
        &[(HeaderName::RecordRoute, routes), (HeaderName::Contact, "<sip:192.0.2.2:5090>")],
    );
    solo.deliver(ok);
    let ack = solo.next_request();
    assert_eq!(ack.uri.as_str(), "sip:192.0.2.2:5090");
    let route: Vec<_> = ack.headers.routes().unwrap().iter().map(|route| route.uri.to_string()).collect();
    assert_eq!(route, ["sip:p1.example;lr", "sip:p2.example;lr"]);
    assert_eq!(solo.ua.next_hop().as_str(), "sip:p1.example;lr");
}

#[test]
fn requests_follow_the_record_route_forwards_at_the_callee_and_the_2xx_repeats_it() {
    let routes = "<sip:p2.example;lr>, <sip:p1.example;lr>";
    let (mut solo, token) = Solo::ringing(&[(HeaderName::RecordRoute, routes)]);
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    let Some(Message::Response(ok)) = solo.ua.poll_transmit() else { panic!() };
    assert_eq!(ok.headers.get(&HeaderName::RecordRoute).unwrap().to_str(), Some(routes));
    assert!(ok.headers.contact().unwrap().is_some());
    let ack = solo.request(Method::Ack, 1, &[], b"");
    solo.deliver(Message::Request(ack));
    solo.ua.request(Method::Info, Headers::new(), None, solo.now).unwrap();
    let info = solo.next_request();
    let route: Vec<_> = info.headers.routes().unwrap().iter().map(|route| route.uri.to_string()).collect();
    assert_eq!(route, ["sip:p2.example;lr", "sip:p1.example;lr"]);
}

#[test]
fn a_strict_router_is_addressed_itself_and_the_target_ends_the_route() {
    let mut solo = Solo::calling();
    let invite = solo.invite.clone();
    let ok = solo.response(
        &invite,
        200,
        &[
            (HeaderName::RecordRoute, "<sip:loose.example;lr>, <sip:strict.example>"),
            (HeaderName::Contact, "<sip:192.0.2.2:5090>"),
        ],
    );
    solo.deliver(ok);
    let ack = solo.next_request();
    assert_eq!(ack.uri.as_str(), "sip:strict.example");
    let route: Vec<_> = ack.headers.routes().unwrap().iter().map(|route| route.uri.to_string()).collect();
    assert_eq!(route, ["sip:loose.example;lr", "sip:192.0.2.2:5090"]);
}

#[test]
fn a_preloaded_route_gives_way_to_an_answer_without_record_route() {
    let mut config = config(Transport::Udp);
    config.route = vec![uri("sip:proxy.example;lr")];
    let now = std::time::Instant::now();
    let mut random = Random::from_seed([1; 32]);
    let mut ua = DialogUa::invite(config, Headers::new(), Some(Body::sdp(OFFER)), &mut random, now);
    let Some(Message::Request(invite)) = ua.poll_transmit() else { panic!() };
    assert_eq!(invite.headers.routes().unwrap().len(), 1);
    assert_eq!(ua.next_hop().as_str(), "sip:proxy.example;lr");
    ua.handle_message(Message::Response(siprec_sip::response_to(&invite, 200, Some("x"))), now).unwrap();
    let Some(Message::Request(ack)) = ua.poll_transmit() else { panic!() };
    assert_eq!(ack.headers.routes().unwrap().len(), 0);
}

#[test]
fn from_to_and_call_id_stay_and_the_number_rises_by_one() {
    let mut solo = Solo::caller();
    for number in 2..5 {
        solo.ua.request(Method::Info, Headers::new(), None, solo.now).unwrap();
        let info = solo.next_request();
        assert_eq!(info.headers.get(&HeaderName::From), solo.invite.headers.get(&HeaderName::From));
        assert_eq!(info.headers.get(&HeaderName::CallId), solo.invite.headers.get(&HeaderName::CallId));
        let to = info.headers.get(&HeaderName::To).unwrap().to_string();
        assert_eq!(to, "<sip:record=1@192.0.2.2>;dn=1001;tag=peer");
        assert_eq!(info.headers.cseq().unwrap().number, number);
    }
}

#[test]
fn the_users_headers_are_added_and_those_of_the_protocol_are_not() {
    let mut headers = Headers::new();
    headers.push(HeaderName::parse("X-Test").unwrap(), "1");
    headers.push(HeaderName::SessionExpires, "1800");
    for name in [HeaderName::Via, HeaderName::CallId, HeaderName::Contact, HeaderName::CSeq, HeaderName::To] {
        headers.push(name, "forged");
    }
    let mut solo = Solo::caller();
    solo.ua.request(Method::Invite, headers.clone(), Some(Body::sdp(OFFER)), solo.now).unwrap();
    let invite = solo.next_request();
    let mut callee = Solo::callee();
    let request = callee.request(Method::Invite, 2, &[], OFFER);
    callee.deliver(Message::Request(request));
    let [DialogEvent::Request { token, .. }] = callee.events()[..] else { panic!() };
    callee.ua.respond(token, 200, "Fine", headers, Some(Body::sdp(ANSWER)), callee.now).unwrap();
    let Some(Message::Response(ok)) = callee.ua.poll_transmit() else { panic!() };
    assert_eq!(ok.reason, "Fine");
    for bytes in [Message::Request(invite).to_bytes(), Message::Response(ok).to_bytes()] {
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("X-Test: 1\r\n") && text.contains("Session-Expires: 1800\r\n"), "{text}");
        assert!(!text.contains("forged"), "{text}");
        assert_eq!(text.matches("Content-Length: ").count(), 1);
    }
}

#[test]
fn what_cannot_be_sent_now_is_an_error() {
    let mut solo = Solo::calling();
    let request =
        |solo: &mut Solo, method| solo.ua.request(method, Headers::new(), Some(Body::sdp(OFFER)), solo.now);
    assert_eq!(request(&mut solo, Method::Bye), Err(RequestError::NotEstablished));
    let mut solo = Solo::caller();
    assert_eq!(request(&mut solo, Method::Ack), Err(RequestError::Method));
    assert_eq!(request(&mut solo, Method::Cancel), Err(RequestError::Method));
    request(&mut solo, Method::Invite).unwrap();
    assert_eq!(request(&mut solo, Method::Invite), Err(RequestError::InviteOpen));
    assert_eq!(request(&mut solo, Method::Update), Err(RequestError::OfferOpen));
    request(&mut solo, Method::Bye).unwrap();
    assert_eq!(request(&mut solo, Method::Bye), Err(RequestError::Ended));
    let (mut solo, token) = Solo::ringing(&[]);
    let respond =
        |solo: &mut Solo, status| solo.ua.respond(token, status, "", Headers::new(), None, solo.now);
    assert_eq!(respond(&mut solo, 99), Err(RespondError::Status(99)));
    assert_eq!(respond(&mut solo, 700), Err(RespondError::Status(700)));
    respond(&mut solo, 486).unwrap();
    assert_eq!(respond(&mut solo, 200), Err(RespondError::AlreadyAnswered));
}
