//! What is written down of a dialog, and the BYE of another process out of it.

use std::time::Duration;

use siprec_sip::{
    Body, Dialog, DialogEvent, DialogNote, DialogUa, HeaderName, HeaderValue, Headers, LEFT_BEHIND_STEP,
    Message, Method, NameAddr, Random, Termination, Transport,
};

use crate::pair::{OFFER, address, config, describe, endpoint, uri};
use crate::solo::Solo;

fn notes(solo: &mut Solo) -> Vec<DialogNote> {
    std::iter::from_fn(|| solo.ua.poll_note()).collect()
}

fn stands(solo: &mut Solo) -> Dialog {
    match notes(solo).as_slice() {
        [DialogNote::Stands(dialog)] => Dialog::clone(dialog),
        other => panic!("{other:?}"),
    }
}

fn over(tag: &str) -> [DialogNote; 1] {
    [DialogNote::Over { remote_tag: Some(tag.to_owned()), is_unanswered: false }]
}

fn unanswered(tag: &str) -> [DialogNote; 1] {
    [DialogNote::Over { remote_tag: Some(tag.to_owned()), is_unanswered: true }]
}

#[test]
fn a_dialog_stands_from_its_2xx_on_before_the_ack_leaves_and_until_its_bye_is_answered() {
    let mut solo = Solo::calling();
    assert_eq!(notes(&mut solo), []);
    solo.answer_invite(180, None);
    assert_eq!(notes(&mut solo), [], "nobody needs a BYE yet");
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    let dialog = stands(&mut solo);
    assert_eq!((dialog.local_cseq(), dialog.remote_tag()), (1, Some("peer")));
    assert_eq!(solo.sent(), ["ACK 1"]);
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    assert_eq!(notes(&mut solo), [], "the same again");

    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    assert_eq!(notes(&mut solo), []);
    let bye = solo.messages().into_iter().find_map(|message| match message {
        Message::Request(request) => (request.method == Method::Bye).then_some(request),
        Message::Response(_) => None,
    });
    solo.deliver(solo.response(&bye.unwrap(), 200, &[]));
    assert_eq!(notes(&mut solo), over("peer"));
    assert_eq!(notes(&mut solo), []);
}

#[test]
fn a_refused_invite_leaves_nothing_to_write_down() {
    let mut solo = Solo::calling();
    solo.answer_invite(486, None);
    assert_eq!(solo.sent(), ["ACK 1"]);
    assert_eq!(notes(&mut solo), []);
}

#[test]
fn a_bye_of_the_peer_and_one_that_nobody_answers_end_what_stood() {
    let mut solo = Solo::caller();
    stands(&mut solo);
    solo.ask(Method::Bye, 7, &[], b"");
    assert_eq!(notes(&mut solo), over("peer"));

    let mut solo = Solo::caller();
    stands(&mut solo);
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    solo.wait(Duration::from_secs(31));
    assert_eq!(notes(&mut solo), []);
    solo.wait(Duration::from_secs(2));
    assert_eq!(notes(&mut solo), unanswered("peer"));
}

#[test]
fn a_dialog_whose_bye_cannot_be_sent_stands_until_it_is_answered_or_has_had_its_time() {
    for is_answered in [true, false] {
        let mut solo = Solo::caller_by(Transport::Tcp);
        stands(&mut solo);
        solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
        let bye = solo.next_request();
        solo.ua.handle_transport_error(solo.now);
        solo.wait(Duration::from_secs(20));
        assert_eq!(notes(&mut solo), []);
        if is_answered {
            solo.deliver(solo.response(&bye, 200, &[]));
            assert_eq!(notes(&mut solo), over("peer"));
        }
        solo.wait(Duration::from_secs(12));
        assert_eq!(notes(&mut solo).is_empty(), is_answered);
    }
}

#[test]
fn a_2xx_that_crosses_cancel_stands_until_its_bye_is_done() {
    let mut solo = Solo::calling();
    solo.answer_invite(180, None);
    solo.ua.cancel(solo.now);
    solo.answer_invite(200, Some("<sip:192.0.2.2:5060>"));
    stands(&mut solo);
    assert_eq!(solo.sent(), ["CANCEL 1", "ACK 1", "BYE 2"]);
}

#[test]
fn another_branch_of_a_fork_stands_until_its_bye_is_answered() {
    let mut solo = Solo::caller();
    stands(&mut solo);
    solo.tag = "other";
    solo.answer_invite(200, Some("<sip:192.0.2.3:5060>"));
    let fork = stands(&mut solo);
    assert_eq!((fork.remote_tag(), fork.remote_target().as_str()), (Some("other"), "sip:192.0.2.3:5060"));
    let messages = solo.messages();
    assert_eq!(messages.iter().map(describe).collect::<Vec<_>>(), ["ACK 1", "BYE 2"]);
    let Some(Message::Request(bye)) = messages.into_iter().nth(1) else { panic!("no BYE") };
    solo.deliver(solo.response(&bye, 481, &[]));
    assert_eq!(notes(&mut solo), over("other"));
    solo.wait(Duration::from_secs(40));
    assert_eq!(notes(&mut solo), [], "the dialog itself goes on");
}

#[test]
fn another_branch_whose_bye_nobody_answers_is_over_in_time() {
    let mut solo = Solo::caller();
    stands(&mut solo);
    solo.tag = "other";
    solo.answer_invite(200, None);
    stands(&mut solo);
    solo.ua.handle_transport_error(solo.now);
    assert_eq!(notes(&mut solo), [], "it is sent again");
    solo.wait(Duration::from_secs(40));
    assert_eq!(notes(&mut solo), unanswered("other"));
}

#[test]
fn a_dialog_is_written_down_again_when_the_peer_moves_and_before_its_numbers_run_away() {
    let mut solo = Solo::caller();
    stands(&mut solo);
    let contact = (HeaderName::Contact, "<sip:192.0.2.9:5070>");
    let update = solo.request(Method::Update, 7, &[contact], b"");
    solo.deliver(Message::Request(update));
    let token = solo.events().into_iter().find_map(|event| match event {
        DialogEvent::Request { token, .. } => Some(token),
        _ => None,
    });
    solo.ua.respond(token.unwrap(), 200, "", Headers::new(), None, solo.now).unwrap();
    let moved = stands(&mut solo);
    assert_eq!(solo.sent(), ["200 UPDATE 7"]);
    assert_eq!(moved.remote_target().as_str(), "sip:192.0.2.9:5070");

    let mut noted = moved.local_cseq();
    let mut again = 0;
    for _ in 0..1500 {
        solo.ua.request(Method::Options, Headers::new(), None, solo.now).unwrap();
        for note in notes(&mut solo) {
            let DialogNote::Stands(dialog) = note else { panic!("{note:?}") };
            (noted, again) = (dialog.local_cseq(), again + 1);
        }
        let options = solo.next_request();
        assert!(options.headers.cseq().unwrap().number < noted + LEFT_BEHIND_STEP);
        solo.deliver(solo.response(&options, 200, &[]));
        solo.events();
    }
    assert!((2..=4).contains(&again), "written down {again} times for 1500 requests");
}

/// A dialog through a proxy, as another process has written it down.
fn left() -> Dialog {
    Dialog::left_behind(
        HeaderValue::from("left"),
        address("<sip:siprec@192.0.2.1:5060>;tag=us"),
        address("\"Recorder\" <sip:record=1@192.0.2.2>;tag=peer"),
        7,
        uri("sip:recorder@192.0.2.3:5080"),
        vec![address("<sip:192.0.2.2;lr>")],
    )
}

#[test]
fn a_dialog_that_was_left_behind_gets_a_bye_with_a_higher_number() {
    let mut random = Random::from_seed([3; 32]);
    let now = std::time::Instant::now();
    let endpoint = endpoint(Transport::Udp, "192.0.2.77");
    let mut ua = DialogUa::bye_left_behind(endpoint, left(), &mut random, now);
    let Some(Message::Request(bye)) = ua.poll_transmit() else { panic!("no BYE") };
    let headers = &bye.headers;
    assert_eq!((&bye.method, bye.uri.as_str()), (&Method::Bye, "sip:recorder@192.0.2.3:5080"));
    assert_eq!(headers.get(&HeaderName::Route).unwrap().to_str(), Some("<sip:192.0.2.2;lr>"));
    assert_eq!(headers.get(&HeaderName::CSeq).unwrap().to_str(), Some("1007 BYE"));
    assert_eq!(headers.call_id().unwrap(), "left");
    assert_eq!(headers.from().unwrap(), *left().local());
    assert_eq!(headers.to().unwrap(), *left().remote());
    assert!(headers.get(&HeaderName::Via).unwrap().to_str().unwrap().contains("192.0.2.77:5060"));
    assert_eq!(ua.next_hop_of(&bye).as_str(), "sip:192.0.2.2;lr");
    let response = siprec_sip::response_to(&bye, 481, Some("peer"));
    ua.handle_message(Message::Response(response), now).unwrap();
    assert!(matches!(ua.poll_event(), Some(DialogEvent::Terminated(Termination::LocalBye { .. }))));
    assert!(ua.is_terminated());
}

#[test]
fn the_number_of_a_bye_stays_legal() {
    let far = Dialog::left_behind(
        left().call_id().clone(),
        NameAddr::clone(left().local()),
        NameAddr::clone(left().remote()),
        u32::MAX,
        left().remote_target().clone(),
        Vec::new(),
    );
    let mut random = Random::from_seed([3; 32]);
    let now = std::time::Instant::now();
    let mut ua = DialogUa::bye_left_behind(config(Transport::Udp).endpoint, far, &mut random, now);
    let Some(Message::Request(bye)) = ua.poll_transmit() else { panic!("no BYE") };
    assert_eq!(bye.headers.cseq().unwrap().number, (1 << 31) - 1);
}

#[test]
fn who_never_asks_for_notes_has_a_dialog_that_ends_all_the_same() {
    let mut solo = Solo::calling_with(Some(Body::sdp(OFFER)));
    solo.answer_invite(200, None);
    solo.tag = "other";
    solo.answer_invite(200, None);
    solo.ua.request(Method::Bye, Headers::new(), None, solo.now).unwrap();
    solo.messages();
    solo.wait(Duration::from_secs(70));
    solo.events();
    solo.messages();
    assert!(solo.ua.is_finished());
}
