//! A call from the INVITE to the BYE, at both ends.

use std::time::Duration;

use siprec_sip::{DialogEvent, Method, Termination, TransactionFailure, Transport};

use crate::pair::{ANSWER, OFFER, Pair, Side};

#[test]
fn a_call_is_invited_answered_acknowledged_and_ended_by_either_side() {
    for side in [Side::Caller, Side::Callee] {
        let mut pair = Pair::new(Transport::Tcp);
        pair.run_for(Duration::from_secs(1));
        let [DialogEvent::Answered { response, .. }] = &pair.caller.events[..] else {
            panic!("{:?}", pair.caller.events)
        };
        assert_eq!(response.body, ANSWER);
        assert!(matches!(&pair.callee.events[..], [DialogEvent::Acknowledged { .. }]));

        let number = if side == Side::Caller { 2 } else { 1 };
        pair.request(side, Method::Bye, None).unwrap();
        pair.run_for(Duration::from_secs(1));
        assert!(matches!(pair.termination(side), Some(Termination::LocalBye { .. })));
        assert!(matches!(pair.termination(side.other()), Some(Termination::RemoteBye(_))));
        let bye = format!("BYE {number}");
        let ok = format!("200 BYE {number}");
        let mut expected = vec![
            (0, Side::Caller, "INVITE 1"),
            (10, Side::Callee, "200 INVITE 1"),
            (20, Side::Caller, "ACK 1"),
            (1000, side, bye.as_str()),
            (1010, side.other(), ok.as_str()),
        ];
        let log: Vec<_> = pair.log.iter().map(|(at, by, what)| (*at, *by, what.as_str())).collect();
        assert_eq!(log, std::mem::take(&mut expected));
    }
}

#[test]
fn after_the_end_nothing_stays() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut pair = Pair::confirmed(transport);
        pair.request(Side::Caller, Method::Bye, None).unwrap();
        pair.run_for(Duration::from_secs(33));
        for side in [Side::Caller, Side::Callee] {
            assert!(pair.ua(side).is_finished(), "{transport} {side:?}");
            assert_eq!(pair.ua(side).next_timeout(), None);
        }
    }
}

#[test]
fn a_reinvite_is_answered_by_the_user() {
    let mut pair = Pair::confirmed(Transport::Udp);
    pair.request(Side::Caller, Method::Invite, Some(OFFER)).unwrap();
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.sent_by(Side::Caller), ["INVITE 2", "ACK 2"]);
    assert_eq!(pair.sent_by(Side::Callee), ["200 INVITE 2"]);
}

#[test]
fn a_silent_callee_is_invited_again_after_t1_doubling_until_64_t1() {
    let mut pair = Pair::new(Transport::Udp);
    pair.network.filter = Box::new(|_, _| true);
    pair.run_for(Duration::from_secs(40));
    assert_eq!(pair.times_of(Side::Caller, "INVITE 1"), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    let [DialogEvent::Failed { failure, .. }, DialogEvent::Terminated(Termination::NotEstablished)] =
        &pair.caller.events[..]
    else {
        panic!("{:?}", pair.caller.events)
    };
    assert_eq!(*failure, TransactionFailure::TimedOut);
    assert!(pair.ua(Side::Caller).is_finished());
}

#[test]
fn a_refusal_is_acknowledged_and_ends_both_sides() {
    let mut pair = Pair::new(Transport::Udp);
    pair.callee.auto = false;
    pair.run_for(Duration::from_secs(1));
    let (token, _) = pair.callee.asked[0];
    pair.respond(Side::Callee, token, 180, None);
    pair.respond(Side::Callee, token, 486, None);
    pair.run_for(Duration::from_secs(40));
    assert_eq!(pair.sent_by(Side::Caller), ["INVITE 1", "ACK 1"]);
    assert_eq!(pair.sent_by(Side::Callee), ["100 INVITE 1", "180 INVITE 1", "486 INVITE 1"]);
    let kinds: Vec<_> = pair.caller.events.iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 4, "100, 180, refused, terminated: {:?}", pair.caller.events);
    assert!(matches!(pair.termination(Side::Caller), Some(Termination::NotEstablished)));
    assert!(matches!(pair.termination(Side::Callee), Some(Termination::NotEstablished)));
    assert!(pair.ua(Side::Callee).is_finished());
}

#[test]
fn a_question_that_is_answered_wakes_nobody_before_the_next_one_and_is_forgotten_with_it() {
    let mut pair = Pair::confirmed(Transport::Udp);
    pair.run_for(Duration::from_secs(40));
    assert_eq!(pair.ua(Side::Caller).next_timeout(), None);
    pair.request(Side::Caller, Method::Options, None).unwrap();
    pair.run_for(Duration::from_secs(1));
    let (asked, late) = (pair.now - Duration::from_secs(1), Duration::from_secs(32));
    assert!(pair.ua(Side::Caller).next_timeout().is_some_and(|due| due >= asked + late));
    // Timer K has ended, and somebody comes by for another reason.
    let now = asked + Duration::from_secs(6);
    let caller = pair.caller.ua.as_mut().unwrap();
    caller.handle_timeout(now);
    assert_eq!(caller.next_timeout(), None);
    // With the dialog nothing else comes.
    pair.request(Side::Caller, Method::Bye, None).unwrap();
    pair.run_for(Duration::from_secs(6));
    assert!(pair.ua(Side::Caller).is_finished());
}
