//! 422 and Min-SE (RFC 4028 §7.3, §7.4): what the dialog does by itself for the session timer.

use siprec_sip::{Body, DialogEvent, HeaderName, Headers, Message, Method, Request};

use crate::pair::{OFFER, describe};
use crate::solo::Solo;

fn interval(seconds: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(HeaderName::SessionExpires, seconds);
    headers
}

fn calling() -> Solo {
    Solo::calling_as(interval("1800"), Some(Body::sdp(OFFER)))
}

fn value(request: &Request, name: &HeaderName) -> String {
    request.headers.get(name).map(ToString::to_string).unwrap_or_default()
}

/// Session-Expires and Min-SE.
fn wanted(request: &Request) -> (String, String) {
    (value(request, &HeaderName::SessionExpires), value(request, &HeaderName::MinSe))
}

fn pair(expires: &str, min_se: &str) -> (String, String) {
    (expires.to_owned(), min_se.to_owned())
}

/// The peer finds a request too short; what we send then.
fn too_short(solo: &mut Solo, request: &Request, min_se: &[(HeaderName, &str)]) -> Vec<Message> {
    let response = solo.response(request, 422, min_se);
    solo.deliver(response);
    solo.messages()
}

/// The request that came of it, behind the ACK.
fn repeated(sent: Vec<Message>) -> Request {
    let lines: Vec<_> = sent.iter().map(describe).collect();
    match sent.into_iter().nth(1) {
        Some(Message::Request(request)) => request,
        _ => panic!("{lines:?}"),
    }
}

#[test]
fn an_invite_that_meets_422_is_repeated_with_the_interval_that_it_names() {
    let mut solo = calling();
    let first = solo.invite.clone();
    assert_eq!(wanted(&first), pair("1800", ""));
    let sent = too_short(&mut solo, &first, &[(HeaderName::MinSe, "3600")]);
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 1", "INVITE 2"]);
    let second = repeated(sent);
    assert_eq!(wanted(&second), pair("3600", "3600"));
    for name in [HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::Contact] {
        assert_eq!(value(&second, &name), value(&first, &name), "{name}");
    }
    assert_eq!((&second.uri, &second.body), (&first.uri, &first.body));
    assert_ne!(value(&second, &HeaderName::Via), value(&first, &HeaderName::Via));
    assert!(solo.events().is_empty(), "nothing has been refused yet");

    // The 422 comes again, because our ACK was lost.
    let again = solo.response(&first, 422, &[(HeaderName::MinSe, "3600")]);
    solo.deliver(again);
    assert_eq!(solo.sent(), ["ACK 1"]);

    solo.invite = second;
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    assert_eq!(solo.sent(), ["ACK 2"]);
    assert!(matches!(solo.events()[..], [DialogEvent::Answered { .. }]));

    // From now on each of our requests keeps to the bound, in whatever interval it asks.
    solo.ua
        .request(Method::Invite, interval("1800;refresher=uac"), Some(Body::sdp(OFFER)), solo.now)
        .unwrap();
    assert_eq!(wanted(&solo.next_request()), pair("3600;refresher=uac", "3600"));
}

#[test]
fn a_later_invite_that_meets_422_is_repeated_under_its_own_token() {
    let mut solo = calling();
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    solo.messages();
    solo.events();
    let token = solo
        .ua
        .request(Method::Invite, interval("90;refresher=uas"), Some(Body::sdp(OFFER)), solo.now)
        .unwrap();
    let reinvite = solo.next_request();
    let second = repeated(too_short(&mut solo, &reinvite, &[(HeaderName::MinSe, "120")]));
    assert_eq!(wanted(&second), pair("120;refresher=uas", "120"), "the role stays");
    assert_eq!(second.headers.cseq().unwrap().number, 3);
    assert!(!solo.ua.may_offer(), "the offer is open");
    let answer = solo.response(&second, 200, &[(HeaderName::Contact, "<sip:192.0.2.2:5060>")]);
    solo.deliver(answer);
    assert_eq!(solo.sent(), ["ACK 3"]);
    assert!(
        matches!(solo.events()[..], [DialogEvent::Answered { token: answered, .. }] if answered == token)
    );
}

#[test]
fn a_422_that_a_longer_interval_does_not_help_is_a_refusal() {
    let table: [&[(HeaderName, &str)]; 3] =
        [&[], &[(HeaderName::MinSe, "1800")], &[(HeaderName::MinSe, "soon")]];
    for min_se in table {
        let mut solo = calling();
        let invite = solo.invite.clone();
        let sent = too_short(&mut solo, &invite, min_se);
        assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 1"], "{min_se:?}");
        assert!(
            matches!(solo.events()[..], [DialogEvent::Refused { .. }, DialogEvent::Terminated(_)]),
            "{min_se:?}"
        );
    }
}

#[test]
fn a_peer_that_always_wants_more_is_given_up() {
    let mut solo = calling();
    let mut invite = solo.invite.clone();
    for min_se in ["2000", "2001", "2002"] {
        invite = repeated(too_short(&mut solo, &invite, &[(HeaderName::MinSe, min_se)]));
    }
    let sent = too_short(&mut solo, &invite, &[(HeaderName::MinSe, "2003")]);
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 4"]);
    assert!(matches!(solo.events()[..], [DialogEvent::Refused { .. }, DialogEvent::Terminated(_)]));
}

#[test]
fn a_cancelled_invite_is_not_repeated() {
    let mut solo = calling();
    let invite = solo.invite.clone();
    solo.answer_invite(180, None);
    solo.ua.cancel(solo.now);
    solo.messages();
    let sent = too_short(&mut solo, &invite, &[(HeaderName::MinSe, "3600")]);
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 1"]);
    assert!(matches!(solo.events()[..], [.., DialogEvent::Terminated(_)]));
}

#[test]
fn the_largest_min_se_of_either_side_is_kept_and_never_below_90() {
    let mut solo = calling();
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    solo.messages();
    for (cseq, min_se) in [(1, "30"), (2, "600"), (3, "300")] {
        let refresh = solo.request(Method::Update, cseq, &[(HeaderName::MinSe, min_se)], b"");
        solo.deliver(Message::Request(refresh));
        let token = solo.events().into_iter().find_map(|event| match event {
            DialogEvent::Request { token, .. } => Some(token),
            _ => None,
        });
        solo.ua.respond(token.unwrap(), 200, "", Headers::new(), None, solo.now).unwrap();
        solo.messages();
        solo.ua.request(Method::Update, interval("90"), None, solo.now).unwrap();
        let update = solo.next_request();
        let expected = if cseq == 1 { pair("90", "90") } else { pair("600", "600") };
        assert_eq!(wanted(&update), expected, "after {min_se}");
        let answer = solo.response(&update, 200, &[]);
        solo.deliver(answer);
    }
}

#[test]
fn min_se_on_answers_to_other_requests_is_ignored() {
    let mut solo = calling();
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    solo.messages();
    for status in [200, 422] {
        solo.ua.request(Method::Options, Headers::new(), None, solo.now).unwrap();
        let options = solo.next_request();
        let answer = solo.response(&options, status, &[(HeaderName::MinSe, "3600")]);
        solo.deliver(answer);
        assert!(solo.sent().is_empty());
    }
    solo.ua.request(Method::Invite, interval("1800"), Some(Body::sdp(OFFER)), solo.now).unwrap();
    assert_eq!(wanted(&solo.next_request()), pair("1800", ""));
}

#[test]
fn an_update_without_a_body_is_the_users_to_answer() {
    for mut solo in [Solo::caller(), Solo::callee()] {
        let update = solo.request(Method::Update, 9, &[(HeaderName::SessionExpires, "90")], b"");
        solo.deliver(Message::Request(update));
        let Some(DialogEvent::Request { token, request }) = solo.events().pop() else { panic!() };
        assert_eq!(value(&request, &HeaderName::SessionExpires), "90");
        solo.ua.respond(token, 200, "", Headers::new(), None, solo.now).unwrap();
        let Some(Message::Response(response)) = solo.messages().pop() else { panic!() };
        for name in [HeaderName::Allow, HeaderName::Contact, HeaderName::Accept] {
            assert!(response.headers.contains(&name), "{name}");
        }
    }
}
