//! Peers and proxies that ask who we are (RFC 3261 §22).

use std::time::Duration;

use proptest::prelude::*;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::services::DigestGenerator;
use siprec_sip::{
    Body, ChallengeFault, Credentials, DialogEvent, HeaderName, Headers, Message, Method, Password, Request,
    Termination, Transport,
};

use crate::pair::{ANSWER, OFFER, config, describe};
use crate::solo::Solo;

const CONTACT: (HeaderName, &str) = (HeaderName::Contact, "<sip:192.0.2.2:5060>");
const USER: &str = "ada";
const PASSWORD: &str = "correct horse";

/// A caller with credentials for every realm, whose INVITE is out.
fn calling() -> Solo {
    calling_with(Some(Body::sdp(OFFER)))
}

fn calling_with(body: Option<Body>) -> Solo {
    let mut config = config(Transport::Udp);
    config.endpoint.credentials = vec![Credentials::new(USER, Password::new(PASSWORD), None).unwrap()];
    Solo::calling_by(config, Headers::new(), body)
}

/// A caller in a dialog without any challenge so far.
fn confirmed() -> Solo {
    let mut solo = calling();
    solo.answer_invite(200, Some(CONTACT.1));
    assert_eq!(solo.sent(), ["ACK 1"]);
    solo.events();
    solo
}

fn challenge(status: u16, nonce: &str, more: &str) -> (HeaderName, String) {
    let name = if status == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
    (name, format!("Digest realm=\"r\", nonce=\"{nonce}\"{more}"))
}

/// Refuses a request with a challenge and gives what is sent then.
fn refuse(solo: &mut Solo, request: &Request, status: u16, nonce: &str, more: &str) -> Vec<Message> {
    let (name, value) = challenge(status, nonce, more);
    let response = solo.response(request, status, &[(name, &value)]);
    solo.deliver(response);
    solo.messages()
}

fn request(message: &Message) -> &Request {
    match message {
        Message::Request(request) => request,
        Message::Response(response) => panic!("{response:?}"),
    }
}

fn number(request: &Request) -> u32 {
    request.headers.cseq().unwrap().number
}

fn credentials(request: &Request) -> Vec<String> {
    [HeaderName::Authorization, HeaderName::ProxyAuthorization]
        .iter()
        .flat_map(|name| request.headers.all(name).map(|value| value.to_string()).collect::<Vec<_>>())
        .collect()
}

/// What `rsip` makes of the credentials of a request. It knows SHA-256 by another name only.
fn judge(request: &Request) {
    let credentials = credentials(request);
    let [value] = &credentials[..] else { panic!("{credentials:?}") };
    let read = rsip::headers::Authorization::new(value.replace("SHA-256", "SHA256")).typed().unwrap();
    assert_eq!((read.username.as_str(), read.realm.as_str()), (USER, "r"));
    assert_eq!(read.uri.to_string(), request.uri.to_string());
    let method = request.method.to_string().parse().unwrap();
    assert!(DigestGenerator::from(&read, PASSWORD, &method).verify(&read.response), "{value}");
}

#[test]
fn a_challenged_invite_goes_again_with_credentials_that_another_program_accepts() {
    for (status, more) in [
        (401, ""),
        (401, ", algorithm=MD5, qop=\"auth\""),
        (407, ", algorithm=SHA-256, qop=\"auth,auth-int\", opaque=\"o\""),
        (407, ", algorithm=SHA-256"),
    ] {
        let mut solo = calling();
        let first = solo.invite.clone();
        let sent = refuse(&mut solo, &first, status, "n", more);
        assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 1", "INVITE 2"]);
        let again = request(&sent[1]);
        judge(again);
        assert_eq!(again.headers.contains(&HeaderName::ProxyAuthorization), status == 407);
        for name in [HeaderName::CallId, HeaderName::From, HeaderName::To, HeaderName::Contact] {
            assert_eq!(again.headers.get(&name), first.headers.get(&name), "{name}");
        }
        assert_eq!((&again.uri, &again.body), (&first.uri, &first.body));
        assert_ne!(again.headers.get(&HeaderName::Via), first.headers.get(&HeaderName::Via));
        assert!(matches!(solo.events()[..], [DialogEvent::Challenged { .. }]), "the user sees one INVITE");
    }
}

#[test]
fn the_ack_repeats_the_credentials_of_its_invite() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", ", qop=\"auth\"")[1]).clone();
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    let ack = solo.next_request();
    assert_eq!(describe(&Message::Request(ack.clone())), "ACK 2");
    assert_eq!(credentials(&ack), credentials(&again));

    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", ", qop=\"auth\"")[1]).clone();
    let busy = solo.response(&again, 486, &[]);
    solo.deliver(busy);
    assert_eq!(credentials(&solo.next_request()), credentials(&again), "of a refusal too");
}

#[test]
fn the_ack_with_an_answer_repeats_the_credentials_too() {
    let mut solo = calling_with(None);
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 407, "n", "")[1]).clone();
    let Message::Response(mut answer) = solo.response(&again, 200, &[CONTACT]) else { panic!() };
    answer.headers.push(HeaderName::ContentType, "application/sdp");
    answer.body = OFFER.to_vec();
    solo.deliver(Message::Response(answer));
    let events = solo.events();
    let [.., DialogEvent::Answered { token, .. }] = &events[..] else { panic!("{events:?}") };
    solo.ua.acknowledge(*token, Some(Body::sdp(ANSWER))).unwrap();
    let ack = solo.next_request();
    assert_eq!((number(&ack), credentials(&ack)), (2, credentials(&again)));
}

#[test]
fn later_requests_bring_credentials_by_themselves_and_count_the_nonce() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", ", qop=\"auth\"")[1]).clone();
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    solo.messages();
    for (method, count) in
        [(Method::Update, "00000002"), (Method::Info, "00000003"), (Method::Bye, "00000004")]
    {
        solo.ua.request(method, Headers::new(), None, solo.now).unwrap();
        let sent = solo.next_request();
        judge(&sent);
        assert!(credentials(&sent)[0].contains(&format!("nc={count}")), "{sent:?}");
        let answer = solo.response(&sent, 200, &[]);
        solo.deliver(answer);
    }
}

#[test]
fn every_request_in_the_dialog_can_be_challenged() {
    for status in [401, 407] {
        let mut solo = confirmed();
        for (method, body) in [
            (Method::Invite, Some(Body::sdp(OFFER))),
            (Method::Update, Some(Body::sdp(OFFER))),
            (Method::Update, None),
            (Method::Info, None),
            (Method::Options, None),
            (Method::Bye, None),
        ] {
            let token = solo.ua.request(method.clone(), Headers::new(), body, solo.now).unwrap();
            let first = solo.next_request();
            let nonce = number(&first).to_string();
            let sent = refuse(&mut solo, &first, status, &nonce, ", qop=\"auth\"");
            let again = request(sent.last().unwrap()).clone();
            assert_eq!((&again.method, number(&again)), (&method, number(&first) + 1));
            judge(&again);
            match &solo.events()[..] {
                [DialogEvent::Challenged { token: own }] => assert_eq!(*own, token),
                other => assert!(method == Method::Bye && other.is_empty(), "{other:?}"),
            }
            let answer = solo.response(&again, 200, &[]);
            solo.deliver(answer);
            let events = solo.events();
            match &events[..] {
                [DialogEvent::Answered { token: own, .. } | DialogEvent::Responded { token: own, .. }] => {
                    assert_eq!(*own, token, "{method}: the same request to its user");
                }
                [DialogEvent::Terminated(Termination::LocalBye { .. })] => assert_eq!(method, Method::Bye),
                other => panic!("{method}: {other:?}"),
            }
            solo.messages();
        }
    }
}

#[test]
fn without_credentials_a_challenged_bye_ends_the_dialog() {
    let mut solo = Solo::callee();
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    let bye = solo.next_request();
    assert!(refuse(&mut solo, &bye, 401, "n", "").is_empty(), "without credentials there is nothing to say");
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::LocalBye { .. })]));
}

#[test]
fn an_offer_stays_open_while_its_request_goes_again() {
    let mut solo = confirmed();
    solo.ua.request(Method::Invite, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
    let first = solo.next_request();
    refuse(&mut solo, &first, 401, "n", "");
    assert!(!solo.ua.may_offer());
    let glare = solo.ask(Method::Invite, 9, &[], OFFER);
    assert_eq!(glare.status, 491);
}

#[test]
fn server_and_proxies_are_answered_one_after_the_other_and_together() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let second = request(&refuse(&mut solo, &first, 407, "p", "")[1]).clone();
    let third = request(&refuse(&mut solo, &second, 401, "s", "")[1]).clone();
    assert_eq!(number(&third), 3);
    assert!(third.headers.contains(&HeaderName::Authorization));
    assert!(third.headers.contains(&HeaderName::ProxyAuthorization));
    let answer = solo.response(&third, 200, &[CONTACT]);
    solo.deliver(answer);
    assert_eq!(credentials(&solo.next_request()).len(), 2);
}

#[test]
fn a_wrong_password_is_said_once_and_ends_the_dialog_with_a_reason() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", "")[1]).clone();
    let sent = refuse(&mut solo, &again, 401, "n", "");
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 2"]);
    let events = solo.events();
    let [
        ..,
        DialogEvent::Refused { response, fault, .. },
        DialogEvent::Terminated(Termination::NotEstablished),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(response.status, 401);
    let expected = ChallengeFault::Rejected { realm: "r".into(), user: USER.into() };
    assert_eq!(fault.as_deref(), Some(&expected));
}

#[test]
fn a_nonce_that_grew_old_is_replaced_and_the_session_goes_on() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "old", ", qop=\"auth\"")[1]).clone();
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    solo.messages();
    solo.events();
    // Some servers say `stale`, and some only ask again: the credentials were not an answer to this request's challenge.
    for (nonce, more) in [("new", ", qop=\"auth\", stale=true"), ("newer", ", qop=\"auth\"")] {
        solo.ua.request(Method::Options, Headers::new(), None, solo.now).unwrap();
        let options = solo.next_request();
        let again = request(&refuse(&mut solo, &options, 401, nonce, more)[0]).clone();
        assert!(credentials(&again)[0].contains(&format!("nonce=\"{nonce}\"")));
        assert!(credentials(&again)[0].contains("nc=00000001"), "a new nonce is counted anew");
        assert!(matches!(solo.events()[..], [DialogEvent::Challenged { .. }]));
        let answer = solo.response(&again, 200, &[]);
        solo.deliver(answer);
        assert_eq!(solo.events().len(), 1);
    }
}

#[test]
fn a_server_that_asks_for_ever_is_given_up() {
    let mut solo = calling();
    let mut invite = solo.invite.clone();
    for round in 0..100 {
        let sent = refuse(&mut solo, &invite, 401, &round.to_string(), ", stale=true");
        match sent.last().map(request) {
            Some(again) if again.method == Method::Invite => invite = again.clone(),
            _ => break,
        }
    }
    let events = solo.events();
    let [.., DialogEvent::Refused { fault, .. }, DialogEvent::Terminated(_)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(fault.as_deref(), Some(&ChallengeFault::Endless));
    assert!(number(&invite) < 20);
}

#[test]
fn a_cancel_is_never_given_credentials_and_a_cancelled_invite_is_not_sent_again() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 407, "n", "")[1]).clone();
    let ringing = solo.response(&again, 180, &[]);
    solo.deliver(ringing);
    solo.ua.cancel(solo.now);
    let cancel = solo.next_request();
    assert_eq!((&cancel.method, number(&cancel)), (&Method::Cancel, 2));
    assert!(credentials(&cancel).is_empty());
    assert!(refuse(&mut solo, &cancel, 401, "c", "").is_empty());
    let sent = refuse(&mut solo, &again, 401, "other", "");
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 2"]);
    assert!(matches!(solo.events()[..], [.., DialogEvent::Terminated(Termination::Cancelled)]));
}

#[test]
fn a_cancel_before_any_answer_waits_for_the_invite_that_carries_credentials() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", "")[1]).clone();
    solo.ua.cancel(solo.now);
    assert_eq!(solo.sent(), [""; 0]);
    let trying = solo.response(&again, 100, &[]);
    solo.deliver(trying);
    assert_eq!(solo.sent(), ["CANCEL 2"]);
}

#[test]
fn a_refused_invite_that_comes_again_gets_its_ack_again_and_nothing_else() {
    let mut solo = calling();
    let first = solo.invite.clone();
    refuse(&mut solo, &first, 401, "n", "");
    solo.events();
    let sent = refuse(&mut solo, &first, 401, "n", "");
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 1"]);
    assert!(solo.events().is_empty());
}

#[test]
fn the_time_limit_of_the_refused_transaction_is_no_failure() {
    let mut solo = confirmed();
    solo.ua.request(Method::Invite, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
    let first = solo.next_request();
    let again = request(&refuse(&mut solo, &first, 401, "n", "")[1]).clone();
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    solo.messages();
    assert!(matches!(solo.events()[..], [DialogEvent::Challenged { .. }, DialogEvent::Answered { .. }]));
    solo.ua.handle_transport_error(solo.now);
    solo.wait(Duration::from_secs(64));
    assert!(solo.events().is_empty());
}

#[test]
fn another_branch_of_a_fork_is_ended_with_credentials() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", "")[1]).clone();
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    solo.messages();
    solo.tag = "another";
    let answer = solo.response(&again, 200, &[CONTACT]);
    solo.deliver(answer);
    let sent = solo.messages();
    assert_eq!(sent.iter().map(describe).collect::<Vec<_>>(), ["ACK 2", "BYE 3"]);
    assert_eq!(credentials(request(&sent[0])), credentials(&again));
    judge(request(&sent[1]));
}

#[test]
fn a_challenged_request_that_is_also_too_short_goes_a_third_time_with_new_credentials() {
    let mut config = config(Transport::Udp);
    config.endpoint.credentials = vec![Credentials::new(USER, Password::new(PASSWORD), None).unwrap()];
    let mut headers = Headers::new();
    headers.push(HeaderName::SessionExpires, "1800");
    let mut solo = Solo::calling_by(config, headers, Some(Body::sdp(OFFER)));
    let first = solo.invite.clone();
    let second = request(&refuse(&mut solo, &first, 401, "n", ", qop=\"auth\"")[1]).clone();
    let short = solo.response(&second, 422, &[(HeaderName::MinSe, "3600")]);
    solo.deliver(short);
    let sent = solo.messages();
    let third = request(&sent[1]).clone();
    judge(&third);
    assert!(credentials(&third)[0].contains("nc=00000002"));
    let answer = solo.response(&third, 200, &[CONTACT]);
    solo.deliver(answer);
    assert_eq!(credentials(&solo.next_request()), credentials(&third));
}

#[test]
fn headers_of_the_user_cannot_pass_for_credentials() {
    let mut solo = confirmed();
    let mut headers = Headers::new();
    headers.push(HeaderName::Authorization, "Digest username=\"eve\"");
    solo.ua.request(Method::Options, headers, None, solo.now).unwrap();
    assert!(credentials(&solo.next_request()).is_empty());
}

#[test]
fn no_message_shows_the_password_and_no_text_for_people_the_response() {
    let mut solo = calling();
    let first = solo.invite.clone();
    let again = request(&refuse(&mut solo, &first, 401, "n", "")[1]).clone();
    assert!(!String::from_utf8_lossy(&again.to_bytes()).contains(PASSWORD));
    let shown = format!("{:?} {again:?}", solo.ua);
    assert!(!shown.contains(PASSWORD) && !shown.contains("response="), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever asks: one INVITE more, or a refusal that says why.
    #[test]
    fn any_challenge_is_answered_or_refused_with_a_reason(
        lines in prop::collection::vec(challenge_line(), 0..4),
        status in prop::sample::select(vec![401_u16, 407]),
    ) {
        let mut solo = calling();
        let first = solo.invite.clone();
        let Message::Response(mut response) = solo.response(&first, status, &[]) else { panic!() };
        for line in &lines {
            let name = if status == 401 { HeaderName::WwwAuthenticate } else { HeaderName::ProxyAuthenticate };
            response.headers.push(name, line.clone());
        }
        solo.deliver(Message::Response(response));
        let sent = solo.messages();
        let events = solo.events();
        match sent.len() {
            1 => {
                let refused =
                    matches!(&events[..], [.., DialogEvent::Refused { fault: Some(_), .. }, DialogEvent::Terminated(_)]);
                prop_assert!(refused);
            }
            2 => {
                prop_assert_eq!(events.len(), 1);
                let again = request(&sent[1]);
                prop_assert!(!credentials(again).is_empty());
                let read = Message::parse(&sent[1].to_bytes()).unwrap();
                // With its Content-Length.
 prop_assert_eq!(read.headers().len(), again.headers.len() + 1, "nothing breaks out of its line");
            }
            other => prop_assert!(false, "{} messages", other),
        }
    }
}

/// From the grammar, near it, and far from it.
fn challenge_line() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        "\"[a-z0-9,=\\\\ ]{0,12}\"",
        "[a-zA-Z0-9-]{0,12}",
        "\"[^\r\n]{0,8}",
        Just("\"auth\"".to_owned()),
        Just("SHA-256".to_owned()),
        Just("MD5-sess".to_owned()),
    ];
    let name = prop::sample::select(vec![
        "realm",
        "nonce",
        "opaque",
        "stale",
        "algorithm",
        "qop",
        "domain",
        "Digest realm",
        "x",
    ]);
    let fields = prop::collection::vec((name, value), 0..7).prop_map(|fields| {
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("Digest realm=\"r\", nonce=\"n\", {}", fields.join(", ")).into_bytes()
    });
    prop_oneof![
        4 => fields.clone(),
        1 => fields.prop_map(|line| line.get(24..).unwrap_or_default().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}
