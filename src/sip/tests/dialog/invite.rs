//! CANCEL, forks, ACK and the repetition of a 2xx.

use std::time::Duration;

use siprec_sip::{
    Body, DialogEvent, HeaderName, Headers, Message, Method, Request, Termination, TransactionFailure,
    Transport,
};

use crate::pair::{ANSWER, OFFER, Pair, Side};
use crate::solo::Solo;

const SECOND: Duration = Duration::from_secs(1);

fn is_cancelled(events: &[DialogEvent]) -> bool {
    matches!(events, [DialogEvent::Terminated(Termination::Cancelled)])
}

#[test]
fn a_cancel_waits_for_a_provisional_response() {
    let mut solo = Solo::calling();
    solo.ua.cancel(solo.now);
    solo.ua.cancel(solo.now);
    assert!(solo.sent().is_empty());
    solo.answer_invite(100, None);
    let cancel = solo.next_request();
    // RFC 3261 §9.1: all of the INVITE's, To without a tag included.
    assert_eq!((&cancel.method, &cancel.uri), (&Method::Cancel, &solo.invite.uri));
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId] {
        assert_eq!(cancel.headers.get(&name), solo.invite.headers.get(&name), "{name}");
    }
    assert_eq!(cancel.headers.cseq().unwrap().to_string(), "1 CANCEL");
    let ok = solo.response(&cancel, 200, &[]);
    solo.deliver(ok);
    solo.answer_invite(487, None);
    assert_eq!(solo.sent(), ["ACK 1"]);
    assert!(is_cancelled(&solo.events()));
}

#[test]
fn a_ringing_invite_is_cancelled_at_once() {
    let mut solo = Solo::calling();
    solo.answer_invite(180, None);
    solo.ua.cancel(solo.now);
    assert_eq!(solo.sent(), ["CANCEL 1"]);
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_acknowledged_and_ended_by_bye() {
    for provisional in [true, false] {
        let mut solo = Solo::calling();
        if provisional {
            solo.answer_invite(180, None);
            solo.events();
        }
        solo.ua.cancel(solo.now);
        solo.messages();
        solo.answer_invite(200, Some("<sip:192.0.2.2:5090>"));
        let messages = solo.messages();
        let [Message::Request(ack), Message::Request(bye)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((&ack.method, &bye.method), (&Method::Ack, &Method::Bye));
        assert_eq!(bye.uri.as_str(), "sip:192.0.2.2:5090");
        assert!(solo.events().is_empty(), "not told to the user, and not over yet");
        solo.answer_invite(200, Some("<sip:192.0.2.2:5090>"));
        assert_eq!(solo.sent(), ["ACK 1"], "the ACK was lost");
        let ok = solo.response(bye, 200, &[]);
        solo.deliver(ok);
        assert!(is_cancelled(&solo.events()));
    }
}

#[test]
fn a_cancelled_invite_without_an_answer_is_over_64_t1_after_the_cancel() {
    let mut solo = Solo::calling();
    solo.wait(10 * SECOND);
    solo.answer_invite(180, None);
    solo.events();
    solo.ua.cancel(solo.now);
    solo.wait(Duration::from_millis(31_999));
    assert!(solo.events().is_empty());
    solo.wait(Duration::from_millis(1));
    assert!(is_cancelled(&solo.events()));
    assert!(solo.sent().contains(&"CANCEL 1".to_owned()));
    solo.wait(40 * SECOND);
    assert!(solo.ua.is_finished());
    assert_eq!(solo.ua.next_timeout(), None);
}

#[test]
fn a_2xx_to_an_invite_that_was_given_up_is_acknowledged_and_ended() {
    let mut solo = Solo::calling();
    solo.wait(33 * SECOND);
    solo.messages();
    let events = solo.events();
    assert!(matches!(
        events[..],
        [DialogEvent::Failed { failure: TransactionFailure::TimedOut, .. }, DialogEvent::Terminated(_)]
    ));
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    assert_eq!(solo.sent(), ["ACK 1", "BYE 2"]);
    assert!(solo.events().is_empty());
}

#[test]
fn other_branches_of_a_fork_are_acknowledged_and_ended_and_the_user_never_knows() {
    let mut solo = Solo::calling();
    for tag in ["one", "two"] {
        solo.tag = tag;
        solo.answer_invite(180, Some("<sip:early>"));
    }
    solo.answer_invite(200, Some("<sip:two.example>"));
    assert_eq!(solo.sent(), ["ACK 1"]);
    solo.events();
    solo.tag = "one";
    solo.answer_invite(200, Some("<sip:one.example>"));
    let messages = solo.messages();
    let [Message::Request(ack), Message::Request(bye)] = &messages[..] else { panic!("{messages:?}") };
    for (request, method) in [(ack, Method::Ack), (bye, Method::Bye)] {
        assert_eq!((&request.method, request.uri.as_str()), (&method, "sip:one.example"));
        assert_eq!(request.headers.to().unwrap().tag(), Some("one"));
    }
    solo.answer_invite(200, Some("<sip:one.example>"));
    assert_eq!(solo.sent(), ["ACK 1"], "the same branch again");
    assert_eq!(solo.ask(Method::Info, 1, &[], b"").status, 481);
    assert_eq!(solo.ask(Method::Bye, 2, &[], b"").status, 200);
    let ok = solo.response(bye, 200, &[]);
    solo.deliver(ok);
    assert!(solo.events().is_empty());
    assert!(solo.ua.is_confirmed());
    assert_eq!(solo.ua.dialog().unwrap().remote_tag(), Some("two"));
}

#[test]
fn a_2xx_that_comes_again_gets_the_same_ack_again_for_64_t1() {
    let mut solo = Solo::calling();
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    let ack = solo.next_request();
    solo.wait(31 * SECOND);
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    assert_eq!(solo.next_request(), ack);
    assert_eq!(solo.events().len(), 1, "told once");
    solo.wait(2 * SECOND);
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    assert!(solo.sent().is_empty(), "RFC 6026 §8.1");
}

#[test]
fn without_an_offer_in_the_invite_the_ack_waits_for_the_users_answer() {
    let mut solo = Solo::calling_with(None);
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    assert!(solo.sent().is_empty());
    let [DialogEvent::Answered { token, .. }] = solo.events()[..] else { panic!() };
    assert!(!solo.ua.may_offer());
    solo.ua.acknowledge(token, Some(Body::sdp(ANSWER))).unwrap();
    let ack = solo.next_request();
    assert_eq!((&ack.method, &ack.body[..]), (&Method::Ack, ANSWER));
    assert!(solo.ua.acknowledge(token, None).is_err());
    assert!(solo.ua.may_offer());
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    assert_eq!(solo.next_request(), ack);
}

#[test]
fn an_answer_that_the_user_never_gives_is_an_empty_ack_before_the_bye() {
    let mut solo = Solo::calling_with(None);
    solo.answer_invite(200, Some("<sip:192.0.2.2>"));
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    assert_eq!(solo.sent(), ["ACK 1", "BYE 2"]);
}

#[test]
fn a_2xx_is_repeated_until_the_ack_over_any_transport() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut pair = Pair::new(transport);
        let mut dropped = 0;
        pair.network.filter = Box::new(move |_, message| {
            let is_ack = matches!(message, Message::Request(Request { method: Method::Ack, .. }));
            dropped += usize::from(is_ack);
            is_ack && dropped <= 3
        });
        pair.run_for(20 * SECOND);
        assert_eq!(pair.times_of(Side::Callee, "200 INVITE 1"), [10, 510, 1510, 3510], "{transport}");
        assert_eq!(pair.times_of(Side::Caller, "ACK 1").len(), 4);
        assert!(matches!(pair.callee.events[..], [DialogEvent::Acknowledged { .. }]));
    }
}

#[test]
fn without_an_ack_the_dialog_ends_by_bye_after_64_t1() {
    let mut pair = Pair::new(Transport::Udp);
    pair.network.filter =
        Box::new(|_, message| matches!(message, Message::Request(Request { method: Method::Ack, .. })));
    pair.run_for(60 * SECOND);
    assert_eq!(pair.times_of(Side::Callee, "BYE 1"), [32_010]);
    assert_eq!(pair.times_of(Side::Callee, "200 INVITE 1").len(), 11);
    assert!(matches!(pair.termination(Side::Callee), Some(Termination::Unacknowledged)));
    assert!(matches!(pair.termination(Side::Caller), Some(Termination::RemoteBye(_))));
}

#[test]
fn the_callees_bye_waits_for_the_ack_of_its_first_2xx() {
    let (mut solo, token) = Solo::ringing(&[]);
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    solo.messages();
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    assert!(solo.sent().is_empty());
    let ack = solo.request(Method::Ack, 1, &[], b"");
    solo.deliver(Message::Request(ack));
    assert_eq!(solo.sent(), ["BYE 1"]);

    let (mut solo, token) = Solo::ringing(&[]);
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    solo.wait(33 * SECOND);
    assert_eq!(solo.sent().last().unwrap(), "BYE 1", "or for 64 T1");
}

#[test]
fn a_cancel_of_the_peer_is_answered_and_its_invite_487() {
    let (mut solo, token) = Solo::ringing(&[]);
    let mut cancel = solo.invite.clone();
    cancel.method = Method::Cancel;
    cancel.headers.set(HeaderName::CSeq, "1 CANCEL");
    solo.deliver(Message::Request(cancel.clone()));
    assert_eq!(solo.sent(), ["487 INVITE 1", "200 CANCEL 1"]);
    let events = solo.events();
    let [DialogEvent::Cancelled { token: cancelled }, DialogEvent::Terminated(Termination::Cancelled)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(*cancelled, token);
    assert!(solo.ua.respond(token, 200, "", Headers::new(), None, solo.now).is_err());
    solo.deliver(Message::Request(cancel));
    assert_eq!(solo.sent(), ["200 CANCEL 1"], "the same again");
}

#[test]
fn a_cancel_after_the_2xx_is_answered_and_has_no_effect() {
    let (mut solo, token) = Solo::ringing(&[]);
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    solo.messages();
    let mut cancel = solo.invite.clone();
    cancel.method = Method::Cancel;
    cancel.headers.set(HeaderName::CSeq, "1 CANCEL");
    solo.deliver(Message::Request(cancel));
    assert_eq!(solo.sent(), ["200 CANCEL 1"]);
    assert!(solo.events().is_empty() && solo.ua.is_confirmed());
}

#[test]
fn an_early_dialog_answers_requests_and_becomes_the_confirmed_one() {
    let mut solo = Solo::calling();
    solo.answer_invite(183, Some("<sip:early.example>"));
    assert_eq!(solo.ask(Method::Options, 5, &[], b"").status, 200);
    assert_eq!(solo.ask(Method::Update, 6, &[], OFFER).status, 491, "our offer is open");
    assert_eq!(solo.ask(Method::Info, 4, &[], b"").status, 500);
    solo.answer_invite(200, None);
    assert_eq!(
        solo.next_request().uri.as_str(),
        "sip:early.example",
        "no Contact in the 2xx: the early one stays"
    );
    assert_eq!(solo.ask(Method::Options, 5, &[], b"").status, 500, "and so do the numbers");
}

#[test]
fn a_bye_in_an_early_dialog_gives_the_invite_up() {
    let mut solo = Solo::calling();
    solo.answer_invite(183, Some("<sip:early.example>"));
    solo.events();
    let bye = solo.request(Method::Bye, 1, &[], b"");
    solo.deliver(Message::Request(bye));
    assert_eq!(solo.sent(), ["200 BYE 1", "CANCEL 1"]);
    solo.answer_invite(487, None);
    assert!(is_cancelled(&solo.events()));

    let (mut solo, token) = Solo::ringing(&[]);
    solo.ua.respond(token, 180, "", Headers::new(), None, solo.now).unwrap();
    solo.messages();
    let bye = solo.request(Method::Bye, 2, &[], b"");
    solo.deliver(Message::Request(bye));
    assert_eq!(solo.sent(), ["487 INVITE 1", "200 BYE 2"]);
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::RemoteBye(_))]));
}

#[test]
fn a_transport_error_ends_an_invite_that_nobody_heard() {
    let mut solo = Solo::calling();
    solo.ua.handle_transport_error(solo.now);
    let events = solo.events();
    let [DialogEvent::Failed { failure, .. }, DialogEvent::Terminated(Termination::NotEstablished)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(*failure, TransactionFailure::Transport);
}
