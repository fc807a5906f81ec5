//! Whose answers are waited for when all is told: nobody waits long for recorders that were given up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{RecordingState, StopReason};
use siprec_session::{Command, Input, TransportEvent};
use siprec_sip::{Message, Method, Request, Transport};
use support::*;

/// Recorder a is lost, whose BYE nobody answers, and b has the call, which ends so much later. That BYE, and when it was sent.
fn ended_after(milliseconds: u64) -> (Call, Request, Instant) {
    let mut call = Call::established_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    call.input(Input::Transport(TransportEvent::ConnectionLost { attempt: 1 }));
    for _ in 0..2 {
        call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "reset".into() }));
    }
    let left = call.now;
    let requests: Vec<Request> = call.wire.drain(..).filter_map(|(_, message)| request(message)).collect();
    let last = |method| requests.iter().rfind(|request| request.method == method).cloned().unwrap();
    let (bye, invite) = (last(Method::Bye), last(Method::Invite));
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    call.wait_ms(milliseconds);
    call.command(Command::Stop(StopReason::CallEnded));
    call.answer_bye_of(&invite);
    assert_eq!((call.recording.state(), call.finished), (RecordingState::Stopped, 0));
    (call, bye, left)
}

fn request(message: Message) -> Option<Request> {
    match message {
        Message::Request(request) => Some(request),
        Message::Response(_) => None,
    }
}

#[test]
fn nobody_waits_for_a_lost_recorder_that_has_not_answered_its_bye_for_half_a_second() {
    for milliseconds in [500, 3_000] {
        let (mut call, ..) = ended_after(milliseconds);
        assert_eq!(call.released, Some(call.now), "at once");
        // It has its time all the same.
        call.take();
        call.wait_ms(4_000);
        assert!(call.take().contains(&"> BYE".to_owned()));
        call.wait_ms(40_000);
        assert_eq!(call.finished, 1);
    }
}

#[test]
fn a_lost_recorder_has_half_a_second_to_answer_its_bye_which_is_said_twice_by_then() {
    let (mut call, _, left) = ended_after(100);
    assert_eq!(call.released, None);
    call.take();
    call.wait_ms(399);
    assert_eq!((call.released, call.take()), (None, vec![]));
    call.wait_ms(1);
    assert_eq!(call.released, Some(left + Duration::from_millis(500)));
    assert_eq!(call.take(), ["> BYE"]);
}

#[test]
fn a_lost_recorder_that_answers_its_bye_is_over() {
    let (mut call, bye, _) = ended_after(100);
    call.answer(&bye, 200, &[], "");
    assert_eq!((call.released, call.finished), (None, 1));
}

#[test]
fn a_recorder_that_our_bye_does_not_reach_is_waited_for_half_a_second_and_has_its_time_all_the_same() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut call = Call::new(config("sip:a.example"));
        call.transport = transport;
        (0..2).for_each(|slot| call.add(slot));
        (0..2).for_each(|slot| call.format(slot, pcmu()));
        call.answer_invite(&sdp(&[4000, 4002]));
        (0..2).for_each(|slot| call.packet(slot));
        call.command(Command::StopNow);
        let bye = call.request(&Method::Bye);
        let unsent = || Input::Transport(TransportEvent::Failed { attempt: 1, reason: "no route".into() });
        call.input(unsent());
        assert_eq!((call.released, call.finished), (None, 0));
        call.wait_ms(500);
        assert_eq!(call.released, Some(call.now));
        for _ in 0..6 {
            call.take();
            call.wait_ms(4_000);
            assert!(call.take().contains(&"> BYE".to_owned()), "{transport:?}: it is sent again");
            call.input(unsent());
        }
        call.answer(&bye, 200, &[], "");
        assert_eq!(call.finished, 1);
    }
}

#[test]
fn a_recorder_that_was_not_given_up_is_waited_for_until_its_dialog_is_over() {
    let mut call = Call::established();
    (0..2).for_each(|slot| call.packet(slot));
    call.command(Command::StopNow);
    assert_eq!(call.recording.state(), RecordingState::Stopped);
    call.wait_ms(31_000);
    assert_eq!((call.released, call.finished), (None, 0));
    call.wait_ms(1_000);
    assert_eq!((call.released, call.finished), (None, 1));
}

#[test]
fn a_recorder_in_doubt_that_a_stop_at_once_gives_up_is_not_waited_for_longer() {
    let mut call = Call::established();
    (0..2).for_each(|slot| call.packet(slot));
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(700);
    assert_eq!(call.released, None, "its answer decides");
    call.command(Command::StopNow);
    assert_eq!(call.released, Some(call.now));
}

#[test]
fn an_invitation_that_was_given_up_is_not_waited_for_longer() {
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    call.wait_ms(2_000);
    let left = call.now;
    let invite = call.answer_invite(&sdp(&[6000, 6002]));
    call.command(Command::Stop(StopReason::CallEnded));
    call.answer_bye_of(&invite);
    assert_eq!((call.recording.state(), call.finished), (RecordingState::Stopped, 0));
    call.wait_ms(600);
    assert_eq!(call.released, Some(left + Duration::from_millis(500)));
}

/// A call whose re-INVITE to pause it the recorder leaves unanswered.
fn pausing() -> (Call, Request) {
    let mut call = Call::inviting();
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(1_000);
    call.command(Command::Pause);
    assert_ne!(call.request(&Method::Invite), invite, "the offer of silence");
    (call, invite)
}

#[test]
fn an_offer_that_the_recorder_left_open_when_it_hung_up_is_not_waited_for_longer() {
    let (mut call, invite) = pausing();
    call.recorder_sends(&invite, "BYE", &[], "");
    assert_eq!(call.recording.state(), RecordingState::Stopped);
    assert_eq!((call.released, call.finished), (None, 0));
    call.wait_ms(500);
    assert_eq!((call.released, call.finished), (Some(call.now), 0));
    // Its refusal would still get an ACK.
    call.wait_ms(32_000);
    assert_eq!(call.finished, 1);
}

#[test]
fn an_offer_that_the_recorder_left_open_when_it_answered_our_bye_is_not_waited_for_longer() {
    let (mut call, _) = pausing();
    call.command(Command::StopNow);
    call.answer_bye();
    assert_eq!((call.recording.state(), call.finished), (RecordingState::Stopped, 0));
    call.wait_ms(500);
    assert_eq!((call.released, call.finished), (Some(call.now), 0));
}
