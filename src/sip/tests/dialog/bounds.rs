//! How many requests a dialog takes, what it keeps of them, and what becomes of those above.

use std::time::Duration;

use siprec_sip::{
    Body, DialogEvent, HeaderName, Headers, Message, Method, Request, Response, ServerToken, Termination,
    Transport,
};

use crate::pair::{ANSWER, OFFER};
use crate::solo::Solo;

/// Fifty milliseconds: twenty requests a second.
const STEP: Duration = Duration::from_millis(50);

fn answer(solo: &mut Solo) -> Option<Response> {
    let token = token_of(&solo.events().pop()?)?;
    solo.ua.respond(token, 200, "", Headers::new(), Some(Body::sdp(ANSWER)), solo.now).unwrap();
    responses(solo).pop()
}

fn responses(solo: &mut Solo) -> Vec<Response> {
    let messages = solo.messages().into_iter();
    messages
        .filter_map(|message| match message {
            Message::Response(response) => Some(response),
            Message::Request(_) => None,
        })
        .collect()
}

fn token_of(event: &DialogEvent) -> Option<ServerToken> {
    match event {
        DialogEvent::Request { token, .. } => Some(*token),
        _ => None,
    }
}

fn again(solo: &mut Solo, request: &Request) -> Vec<String> {
    solo.deliver(Message::Request(request.clone()));
    solo.sent()
}

#[test]
fn twenty_requests_a_second_are_all_answered() {
    for mut solo in [Solo::caller(), Solo::callee(), Solo::caller_by(Transport::Tcp)] {
        let mut cseq = 10;
        for _ in 0..200 {
            cseq += 1;
            assert_eq!(solo.ask(Method::Options, cseq, &[], b"").status, 200, "OPTIONS {cseq}");
            solo.wait(STEP);
        }
        for method in [Method::Update, Method::Invite] {
            for _ in 0..200 {
                cseq += 1;
                let request = solo.request(method.clone(), cseq, &[], OFFER);
                solo.deliver(Message::Request(request));
                assert_eq!(answer(&mut solo).unwrap().status, 200, "{method} {cseq}");
                if method == Method::Invite {
                    let ack = solo.request(Method::Ack, cseq, &[], b"");
                    solo.deliver(Message::Request(ack));
                    assert!(matches!(solo.events()[..], [DialogEvent::Acknowledged { .. }]));
                }
                solo.wait(STEP);
            }
        }
        assert!(solo.messages().is_empty() && solo.ua.may_offer());
    }
}

#[test]
fn beyond_64_open_requests_each_is_answered_500_and_never_done_and_a_bye_still_ends_it() {
    let mut solo = Solo::caller();
    let mut refused = Vec::new();
    for cseq in 1..=64 {
        let update = solo.request(Method::Update, cseq, &[], b"");
        solo.deliver(Message::Request(update));
    }
    let open: Vec<_> = solo.events().iter().filter_map(token_of).collect();
    assert_eq!(open.len(), 64);
    for cseq in 65..1000 {
        let method = match cseq % 4 {
            0 => Method::Options,
            1 => Method::Info,
            2 => Method::Invite,
            _ => Method::Update,
        };
        let offer = if method == Method::Invite { OFFER } else { b"" };
        let request = solo.request(method.clone(), cseq, &[], offer);
        solo.deliver(Message::Request(request.clone()));
        let answers = responses(&mut solo);
        let [answer] = &answers[..] else { panic!("{method} {cseq}: {answers:?}") };
        assert_eq!(answer.status, 500, "{method} {cseq}");
        let retry = answer.headers.retry_after().unwrap();
        let asks_later = matches!(method, Method::Invite | Method::Update);
        assert_eq!(retry.is_some(), asks_later, "{method} (RFC 3261 §14.2)");
        refused.push(request);
    }
    assert!(solo.events().is_empty(), "nothing of it was done");

    // There is room again, which is for new requests alone.
    for token in open {
        solo.ua.respond(token, 200, "", Headers::new(), None, solo.now).unwrap();
    }
    assert_eq!(responses(&mut solo).len(), 64);
    for request in &refused {
        let answers = again(&mut solo, request);
        assert_eq!(answers, [format!("500 {} {}", request.method, request.headers.cseq().unwrap().number)]);
    }
    assert!(solo.events().is_empty());
    assert_eq!(solo.ask(Method::Bye, 1000, &[], b"").status, 200);
    solo.wait(Duration::from_secs(40));
    solo.messages();
    assert!(matches!(solo.events()[..], [DialogEvent::Terminated(Termination::RemoteBye(_))]));
    assert!(solo.ua.is_finished());
}

#[test]
fn refusals_that_are_never_acknowledged_are_bounded_too() {
    let mut solo = Solo::caller();
    let first = solo.request(Method::Invite, 1, &[], OFFER);
    solo.deliver(Message::Request(first));
    for cseq in 2..200 {
        assert_eq!(solo.ask(Method::Invite, cseq, &[], OFFER).status, 500);
    }
    // What has a transaction is said again until the ACK comes (timer G), and that is no more than the bound.
    solo.wait(Duration::from_millis(600));
    assert_eq!(responses(&mut solo).iter().filter(|answer| answer.status == 500).count(), 63);
    solo.wait(Duration::from_secs(33));
    solo.messages();
    assert_eq!(solo.ask(Method::Options, 200, &[], b"").status, 200, "timer H has passed");
}

#[test]
fn what_is_kept_of_answered_requests_is_bounded_and_the_newest_stays() {
    // size of a header that each answer repeats, how many are known again at least and at most
    for (padding, least, most) in [(0, 40, 120), (2_000, 10, 35), (15_000, 2, 5)] {
        let mut solo = Solo::caller();
        let via = |number: u32| {
            let padding = "x".repeat(padding);
            format!("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKk{number};padding={padding}")
        };
        let requests: Vec<_> = (1..=300)
            .map(|cseq| solo.request(Method::Info, cseq, &[(HeaderName::Via, &via(cseq))], b""))
            .collect();
        for request in &requests {
            solo.deliver(Message::Request(request.clone()));
        }
        assert_eq!((responses(&mut solo).len(), solo.events().len()), (300, 300));
        let known: Vec<bool> = requests
            .iter()
            .rev()
            .map(|request| again(&mut solo, request)[0].starts_with("200 "))
            .take_while(|known| *known)
            .collect();
        assert!((least..=most).contains(&known.len()), "{padding}: {}", known.len());
        assert!(solo.events().is_empty(), "done once");
    }
}

#[test]
fn what_is_forgotten_is_answered_500_and_not_done_again() {
    let mut solo = Solo::caller();
    let mut first = Vec::new();
    for (cseq, method) in (1..).zip([Method::Info, Method::Update, Method::Options]) {
        let offer = if method == Method::Update { OFFER } else { b"" };
        let request = solo.request(method, cseq, &[], offer);
        solo.deliver(Message::Request(request.clone()));
        answer(&mut solo);
        first.push(request);
    }
    solo.messages();
    for cseq in 10..1000 {
        solo.ask(Method::Options, cseq, &[], b"");
    }
    for request in &first {
        let number = request.headers.cseq().unwrap().number;
        assert_eq!(again(&mut solo, request), [format!("500 {} {number}", request.method)]);
    }
    assert!(solo.events().is_empty());
}

#[test]
fn a_request_that_comes_again_by_another_connection_gets_its_answer_again() {
    let mut solo = Solo::caller_by(Transport::Tcp);
    let update = solo.request(Method::Update, 5, &[], OFFER);
    solo.deliver(Message::Request(update.clone()));
    assert_eq!(answer(&mut solo).unwrap().body, ANSWER);
    solo.deliver(Message::Request(update));
    let answers = responses(&mut solo);
    assert!(matches!(&answers[..], [answer] if answer.status == 200 && answer.body == ANSWER));
    assert!(solo.events().is_empty(), "it is not done again");

    // A stream needs no half minute after the end.
    solo.wait(Duration::from_secs(33));
    assert_eq!(solo.ask(Method::Bye, 6, &[], b"").status, 200);
    solo.events();
    assert!(solo.ua.is_finished());
}

#[test]
fn our_own_requests_are_all_sent_and_a_forgotten_2xx_is_acknowledged_again() {
    let mut solo = Solo::caller();
    let mut answers = Vec::new();
    for _ in 0..400 {
        solo.ua.request(Method::Invite, Headers::new(), Some(Body::sdp(OFFER)), solo.now).unwrap();
        let invite = solo.next_request();
        let ok = solo.response(&invite, 200, &[]);
        solo.deliver(ok.clone());
        assert_eq!(solo.sent(), [format!("ACK {}", invite.headers.cseq().unwrap().number)]);
        assert!(matches!(solo.events()[..], [DialogEvent::Answered { .. }]));
        answers.push(ok);
        solo.wait(STEP);
    }
    for (number, ok) in (2..).zip(&answers) {
        solo.deliver(ok.clone());
        let messages = solo.messages();
        let [Message::Request(ack)] = &messages[..] else { panic!("{number}: {messages:?}") };
        assert_eq!((ack.method.clone(), ack.headers.cseq().unwrap().number), (Method::Ack, number));
        assert!(ack.body.is_empty());
    }
    assert!(solo.events().is_empty(), "told once");
    solo.wait(Duration::from_secs(33));
    solo.deliver(answers.remove(0));
    assert!(solo.messages().is_empty(), "RFC 6026 §8.1");
}
