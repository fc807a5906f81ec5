//! Offers that cross, and what is open when a BYE comes.

use std::time::Duration;

use siprec_sip::{
    Body, DialogEvent, HeaderName, Headers, Message, Method, ServerToken, Termination, Transport,
};

use crate::pair::{ANSWER, OFFER, Pair, Side, describe};
use crate::solo::Solo;

/// The peer sends an INVITE or UPDATE, which goes to the user.
fn asked(solo: &mut Solo, method: Method, cseq: u32, body: &[u8]) -> ServerToken {
    let request = solo.request(method, cseq, &[], body);
    solo.deliver(Message::Request(request));
    match solo.events()[..] {
        [DialogEvent::Request { token, .. }] => token,
        ref events => panic!("{events:?}"),
    }
}

#[test]
fn an_offer_while_ours_is_open_is_answered_491() {
    for ours in [Method::Invite, Method::Update] {
        for (theirs, body) in [(Method::Invite, OFFER), (Method::Invite, b""), (Method::Update, OFFER)] {
            let mut solo = Solo::caller();
            solo.ua.request(ours.clone(), Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
            solo.messages();
            assert_eq!(solo.ask(theirs.clone(), 1, &[], body).status, 491, "{ours} {theirs}");
            assert!(solo.events().is_empty());
            // An UPDATE without SDP is no offer.
            let token = asked(&mut solo, Method::Update, 2, b"");
            solo.ua.respond(token, 200, "", Headers::new(), None, solo.now).unwrap();
            assert_eq!(solo.sent(), ["200 UPDATE 2"]);
        }
    }
}

#[test]
fn an_offer_while_our_2xx_made_one_is_answered_491() {
    let mut solo = Solo::callee();
    let token = asked(&mut solo, Method::Invite, 2, b"");
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
    solo.messages();
    assert!(!solo.ua.may_offer());
    assert_eq!(solo.ask(Method::Update, 3, &[], OFFER).status, 491);
    let ack = solo.request(Method::Ack, 2, &[], ANSWER);
    solo.deliver(Message::Request(ack));
    assert!(matches!(&solo.events()[..], [DialogEvent::Acknowledged { ack, .. }] if ack.body == ANSWER));
    assert!(solo.ua.may_offer());
}

#[test]
fn a_second_offer_while_the_first_is_unanswered_is_answered_500_with_retry_after() {
    for first in [Method::Invite, Method::Update] {
        for second in [Method::Invite, Method::Update] {
            let mut solo = Solo::caller();
            asked(&mut solo, first.clone(), 1, OFFER);
            let response = solo.ask(second.clone(), 2, &[], OFFER);
            assert_eq!(response.status, 500, "{first} {second}");
            assert!((0..=10).contains(&response.headers.retry_after().unwrap().unwrap()));
        }
    }
    let (mut solo, _) = Solo::ringing(&[]);
    assert_eq!(solo.ask(Method::Invite, 2, &[], OFFER).status, 500, "before the first answer too");
}

#[test]
fn nothing_is_accepted_that_the_user_has_not_answered() {
    for method in [Method::Invite, Method::Update] {
        let mut solo = Solo::callee();
        asked(&mut solo, method.clone(), 2, OFFER);
        solo.wait(Duration::from_secs(100));
        let sent = solo.sent();
        assert!(sent.iter().all(|what| what.starts_with("100 ")), "{sent:?}");
    }
}

#[test]
fn offers_that_cross_are_both_refused_and_the_owner_of_the_call_id_waits_longer() {
    let mut pair = Pair::confirmed(Transport::Udp);
    for side in [Side::Caller, Side::Callee] {
        pair.request(side, Method::Invite, Some(OFFER)).unwrap();
    }
    pair.run_for(Duration::from_secs(1));
    for side in [Side::Caller, Side::Callee] {
        assert!(
            matches!(&pair.peer(side).events[..], [DialogEvent::Refused { response, .. }] if response.status == 491),
            "{side:?}"
        );
    }
    for _ in 0..1000 {
        let delay = pair.ua(Side::Caller).glare_delay().as_millis();
        assert!((2100..=4000).contains(&delay) && delay.is_multiple_of(10));
        let delay = pair.ua(Side::Callee).glare_delay().as_millis();
        assert!((0..=2000).contains(&delay) && delay.is_multiple_of(10));
    }
    // Over UDP a refused INVITE is open for its sender's peer until the ACK, which has come.
    assert!(pair.ua(Side::Caller).may_offer() && pair.ua(Side::Callee).may_offer());
}

#[test]
fn no_invite_of_ours_goes_out_while_one_of_the_peer_is_open() {
    let mut solo = Solo::callee();
    let token = asked(&mut solo, Method::Invite, 2, OFFER);
    assert!(!solo.ua.may_offer());
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    assert!(!solo.ua.may_offer(), "not before the ACK");
    let ack = solo.request(Method::Ack, 2, &[], b"");
    solo.deliver(Message::Request(ack));
    assert!(solo.ua.may_offer());

    let refused = solo.request(Method::Invite, 3, &[], OFFER);
    solo.deliver(Message::Request(refused.clone()));
    let Some(DialogEvent::Request { token, .. }) = solo.events().pop() else { panic!() };
    solo.ua.respond(token, 488, "", Headers::new(), None, solo.now).unwrap();
    assert!(!solo.ua.may_offer(), "nor before that of a refusal");
    let mut ack = refused;
    ack.method = Method::Ack;
    ack.headers.set(HeaderName::CSeq, "3 ACK");
    solo.deliver(Message::Request(ack));
    assert!(solo.ua.may_offer());
}

#[test]
fn a_bye_ends_what_is_open_in_both_directions() {
    let mut solo = Solo::caller();
    solo.ua.request(Method::Info, Headers::new(), None, solo.now).unwrap();
    asked(&mut solo, Method::Invite, 1, OFFER);
    solo.messages();
    let bye = solo.request(Method::Bye, 2, &[], b"");
    solo.deliver(Message::Request(bye));
    let mut sent = solo.sent();
    sent.sort();
    assert_eq!(sent, ["200 BYE 2", "487 INVITE 1"]);
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::RemoteBye(_))]));

    let mut solo = Solo::caller();
    solo.ua.request(Method::Invite, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
    let invite = solo.next_request();
    let bye = solo.request(Method::Bye, 1, &[], b"");
    solo.deliver(Message::Request(bye));
    assert_eq!(solo.sent(), ["200 BYE 1"]);
    let refused = solo.response(&invite, 487, &[]);
    solo.deliver(refused);
    assert_eq!(solo.sent(), ["ACK 2"], "our own INVITE ends properly");
    assert_eq!(solo.events().len(), 1);
}

#[test]
fn our_bye_ends_what_is_open_and_later_requests_find_nothing() {
    let mut solo = Solo::caller();
    let token = asked(&mut solo, Method::Invite, 1, OFFER);
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    let messages = solo.messages();
    let [Message::Response(refusal), Message::Request(bye)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((refusal.status, &bye.method), (487, &Method::Bye));
    assert!(solo.ua.respond(token, 200, "", Headers::new(), None, solo.now).is_err());
    assert_eq!(solo.ask(Method::Options, 2, &[], b"").status, 481);
    let ok = solo.response(bye, 200, &[]);
    solo.deliver(ok);
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::LocalBye { .. })]));
    assert_eq!(solo.ask(Method::Options, 3, &[], b"").status, 481);
    assert_eq!(solo.ask(Method::Bye, 4, &[], b"").status, 200);
    assert!(solo.events().is_empty(), "the end comes once");
}

#[test]
fn byes_that_cross_end_both_sides() {
    let mut pair = Pair::confirmed(Transport::Udp);
    for side in [Side::Caller, Side::Callee] {
        pair.request(side, Method::Bye, None).unwrap();
    }
    pair.run_for(Duration::from_secs(60));
    for side in [Side::Caller, Side::Callee] {
        assert!(matches!(pair.termination(side), Some(Termination::RemoteBye(_))));
        assert_eq!(pair.peer(side).events.len(), 1);
        assert!(pair.ua(side).is_finished());
    }
}

#[test]
fn our_bye_without_an_answer_ends_the_dialog_all_the_same() {
    let mut solo = Solo::caller();
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    solo.wait(Duration::from_millis(31_999));
    assert!(solo.events().is_empty());
    solo.wait(Duration::from_millis(1));
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::LocalBye { .. })]));
}

#[test]
fn a_bye_that_cannot_be_sent_is_sent_again_for_as_long_as_its_answer_has_time() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut solo = Solo::caller_by(transport);
        let start = solo.now;
        solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
        let mut tries = Vec::new();
        while !solo.ua.is_terminated() {
            for message in solo.messages() {
                assert_eq!(describe(&message), "BYE 2");
                tries.push((solo.now - start).as_secs());
                solo.ua.handle_transport_error(solo.now);
            }
            assert!(solo.events().is_empty() && solo.ua.is_hanging_up());
            solo.wait(solo.ua.next_timeout().unwrap() - solo.now);
        }
        assert_eq!(solo.now - start, Duration::from_secs(32));
        assert!(matches!(
            solo.events()[..],
            [DialogEvent::Terminated(Termination::LocalBye { status: None })]
        ));
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= 4), "{tries:?}");
        assert!(tries.last() >= Some(&27), "{tries:?}");
    }
}

#[test]
fn a_bye_that_a_stream_has_taken_at_last_is_not_repeated() {
    let mut solo = Solo::caller_by(Transport::Tcp);
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    assert_eq!(solo.sent(), ["BYE 2"]);
    solo.ua.handle_transport_error(solo.now);
    solo.wait(Duration::from_secs(31));
    assert_eq!(solo.sent(), ["BYE 2"]);
}

#[test]
fn a_request_without_an_answer_fails_and_the_dialog_waits_for_the_user() {
    for method in [Method::Invite, Method::Update, Method::Options] {
        let mut solo = Solo::caller();
        let token = solo.ua.request(method, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
        solo.wait(Duration::from_secs(33));
        let events = solo.events();
        assert!(matches!(events[..], [DialogEvent::Failed { token: failed, .. }] if failed == token));
        assert!(solo.ua.is_confirmed() && solo.ua.may_offer());
    }
}

#[test]
fn a_refused_reinvite_leaves_the_dialog_as_it_was() {
    for status in [401, 408, 481, 488, 491, 500, 503] {
        let mut solo = Solo::caller();
        let token =
            solo.ua.request(Method::Invite, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
        let invite = solo.next_request();
        let refusal = solo.response(&invite, status, &[]);
        solo.deliver(refusal);
        assert_eq!(solo.sent(), ["ACK 2"]);
        let events = solo.events();
        assert!(matches!(events[..], [DialogEvent::Refused { token: refused, .. }] if refused == token));
        assert!(solo.ua.is_confirmed() && solo.ua.may_offer());
    }
}
