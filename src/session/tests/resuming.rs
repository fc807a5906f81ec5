//! A pause or mute has ended, and the recorder does not agree that something is sent again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, Component, RecordingState, StopReason};
use siprec_session::Command;
use siprec_sip::{Method, Request};
use support::paused::{INACTIVE, paused, two_recorders};
use support::*;

/// What is told and sent when the present recorder is left for the next one.
fn left(said: &str) -> Vec<String> {
    let failed = format!("* failed: the recorder takes no media: {said}");
    let lines = ["recall 0", "recall 1", &failed, "resolve sip:b.example", "> ACK", "> BYE", "= starting"];
    let lines = lines.into_iter().chain(["> INVITE sendonly/sendonly v1"]);
    lines.map(str::to_owned).collect()
}

/// The next recorder takes it, and gets all.
fn accept(call: &mut Call) {
    call.wait_ms(100);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert_eq!(lines[..2], ["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"], "{lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

/// The re-INVITE by which the recording is to go on.
fn resume(call: &mut Call, command: Command) -> Request {
    call.take();
    call.command(command);
    let reinvite = call.request(&Method::Invite);
    assert!(call.take().contains(&"> INVITE sendonly/sendonly v3".to_owned()));
    reinvite
}

#[test]
fn who_refuses_to_go_on_after_a_pause_is_left_for_the_next_recorder_at_once() {
    for (status, said) in [(488, "488 Not Acceptable Here"), (503, "503 Service Unavailable")] {
        let mut call = paused(two_recorders(), true);
        let reinvite = resume(&mut call, Command::Resume);
        call.answer(&reinvite, status, &[], "");
        assert_eq!(call.take(), left(&format!("it refuses to go on: {said}")));
        accept(&mut call);
    }
}

#[test]
fn who_refuses_to_go_on_after_a_mute_is_left_too() {
    let mut call = Call::inviting_with(two_recorders());
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Mute { slot: 0, muted: true });
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    let reinvite = resume(&mut call, Command::Mute { slot: 0, muted: false });
    call.answer(&reinvite, 488, &[], "");
    assert_eq!(call.take(), left("it refuses to go on: 488 Not Acceptable Here"));
    accept(&mut call);
}

#[test]
fn who_refuses_all_streams_in_its_answer_is_left_too_and_who_asks_for_silence_is_not() {
    let mut call = paused(two_recorders(), true);
    let reinvite = resume(&mut call, Command::Resume);
    call.answer(&reinvite, 200, &[], &sdp(&[0, 0]));
    assert_eq!(call.take(), left("its answer refuses to go on with any stream"));
    accept(&mut call);
    for answer in [sdp_with(&[4000, 4002], INACTIVE), sdp(&[0, 4002])] {
        let mut call = paused(two_recorders(), true);
        let reinvite = resume(&mut call, Command::Resume);
        call.answer(&reinvite, 200, &[], &answer);
        assert!(!call.take().contains(&"> BYE".to_owned()));
        assert_eq!(call.recording.state(), RecordingState::Recording);
    }
}

/// What is told once a recorder has answered so that is asked by an early refresh, since its host refuses the media.
fn refreshed(answer: &str) -> (Call, Vec<String>) {
    let mut call = Call::inviting_with(two_recorders());
    call.answer_invite(&sdp(&[4000, 4002]));
    for _ in 0..3 {
        call.media(0, BranchEvent::RemoteRefused { component: Component::Rtp });
        call.wait_ms(500);
    }
    call.take();
    call.answer_invite(answer);
    let lines = call.take();
    (call, lines)
}

#[test]
fn who_takes_back_its_word_by_an_answer_that_refuses_all_streams_is_left() {
    let (mut call, lines) = refreshed(&sdp(&[0, 0]));
    let failed = "* failed: the recorder takes no media: its answer refuses to go on with any stream";
    assert!(lines.iter().any(|line| line == failed), "{lines:?}");
    accept(&mut call);
    for answer in [sdp(&[0, 4002]), sdp_with(&[4000, 4002], INACTIVE)] {
        let (call, lines) = refreshed(&answer);
        assert!(!lines.contains(&"> BYE".to_owned()), "{lines:?}");
        assert_eq!(call.recording.state(), RecordingState::Recording);
    }
}

#[test]
fn who_refuses_by_port_0_what_it_has_never_taken_is_not_left() {
    let mut config = two_recorders();
    config.parties.truncate(1);
    let mut call = Call::new(config);
    call.add(0);
    call.format(0, audio(&[(0, "PCMU", 8000)]));
    call.answer_invite(&sdp(&[4000]));
    call.format(0, audio(&[(96, "opus", 48_000)]));
    call.take();
    call.answer_invite(&sdp(&[0]));
    assert!(!call.take().contains(&"> BYE".to_owned()));
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

#[test]
fn where_the_only_recorder_refuses_to_go_on_it_is_invited_anew() {
    let mut call = paused(config("sip:a.example"), true);
    let reinvite = resume(&mut call, Command::Resume);
    call.answer(&reinvite, 488, &[], "");
    assert!(call.take().contains(&"> INVITE sendonly/sendonly v1".to_owned()));
    accept(&mut call);
}

#[test]
fn a_recorder_that_asks_for_another_try_again_and_again_has_ten_seconds() {
    for (status, headers) in [(491, vec![]), (503, vec![("Retry-After", "6")])] {
        let mut call = paused(two_recorders(), true);
        let mut reinvite = Some(resume(&mut call, Command::Resume));
        let mut tries = 0;
        for _ in 0..99 {
            if let Some(reinvite) = reinvite.take() {
                tries += 1;
                call.answer(&reinvite, status, &headers, "");
            }
            call.wait_ms(100);
            reinvite = call.find_request(&Method::Invite);
        }
        assert!(tries > 1, "it is asked again");
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("* failed") || line == "> BYE"), "{lines:?}");
        call.wait_ms(100);
        let lines = call.take();
        let failed = "* failed: the recorder takes no media: it has not agreed to go on in time";
        assert!(lines.iter().any(|line| line == failed), "{status}: {lines:?}");
        accept(&mut call);
    }
}

#[test]
fn a_recorder_that_never_answers_the_offer_to_go_on_has_ten_seconds() {
    let mut call = paused(two_recorders(), true);
    let reinvite = resume(&mut call, Command::Resume);
    call.answer(&reinvite, 100, &[], "");
    call.wait_ms(4_000);
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
    call.wait_ms(6_000);
    assert!(call.take().contains(&"> INVITE sendonly/sendonly v1".to_owned()));
    accept(&mut call);
}

#[test]
fn who_agrees_in_the_end_or_is_paused_again_is_not_left() {
    for agrees in [true, false] {
        let mut call = paused(two_recorders(), true);
        let reinvite = resume(&mut call, Command::Resume);
        call.answer(&reinvite, 491, &[], "");
        call.wait_ms(4_000);
        let again = call.request(&Method::Invite);
        if agrees {
            call.answer(&again, 200, &[], &sdp(&[4000, 4002]));
        } else {
            call.command(Command::Pause);
            call.answer(&again, 488, &[], "");
        }
        call.wait_ms(3_000);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("* failed") || line == "> BYE"), "{lines:?}");
        let state = if agrees { RecordingState::Recording } else { RecordingState::Paused };
        assert_eq!(call.recording.state(), state);
        call.wait_ms(8_000);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.contains("in time")), "{lines:?}");
    }
}

#[test]
fn what_was_set_up_in_a_pause_and_may_not_begin_goes_to_the_next_recorder() {
    let mut call = Call::new(two_recorders());
    call.command(Command::Pause);
    (0..2).for_each(|slot| {
        call.add(slot);
        call.format(slot, pcmu());
    });
    call.command(Command::Start);
    call.wait_ms(100);
    // One party after the other.
    call.answer_invite(&sdp_with(&[4000, 0], INACTIVE));
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    call.take();
    call.command(Command::Resume);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 488, &[], "");
    assert!(call.take().contains(&"> INVITE sendonly/sendonly v1".to_owned()));
    accept(&mut call);
}

#[test]
fn at_the_end_of_the_call_it_has_five_seconds() {
    let mut call = paused(two_recorders(), true);
    let mut reinvite = Some(resume(&mut call, Command::Resume));
    call.command(Command::Stop(StopReason::CallEnded));
    let mut seconds = 0.0;
    while seconds < 6.0 {
        if let Some(reinvite) = reinvite.take().or_else(|| call.find_request(&Method::Invite)) {
            if call.take().contains(&"> INVITE sendonly/sendonly v1".to_owned()) {
                break;
            }
            call.answer(&reinvite, 491, &[], "");
        }
        call.wait_ms(100);
        seconds += 0.1;
    }
    assert!((4.9..5.3).contains(&seconds), "{seconds}");
}
