//! The call ends in a pause or mute: what was said before that was to be recorded, and is delivered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{RecordingState, StopReason};
use siprec_session::{Command, Input, TransportEvent};
use siprec_sip::Method;
use support::paused::{INACTIVE, paused, two_recorders};
use support::*;

#[test]
fn what_a_pause_froze_leaves_once_the_call_has_ended() {
    let mut call = paused(two_recorders(), true);
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining"]);
    call.wait_ms(100);
    let lines = call.take();
    assert_eq!(lines.last().unwrap(), "> INVITE sendonly/sendonly v3", "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("open")), "before it was agreed: {lines:?}");
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "> ACK",
        "part 0",
        "part 1",
        "> BYE",
    ]);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"]);
}

#[test]
fn where_nothing_is_frozen_nothing_is_agreed_anew() {
    let mut call = paused(two_recorders(), false);
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining", "part 0", "part 1", "> BYE"]);
}

#[test]
fn nothing_frozen_leaves_while_the_call_goes_on() {
    let mut call = paused(two_recorders(), true);
    call.wait_ms(100_000);
    call.expect(&[]);
}

#[test]
fn a_mute_at_the_end_froze_what_leaves_then_of_its_session_alone() {
    let mut call = Call::inviting_with(config("sip:a.example"));
    call.engine.freezes = true;
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Mute { slot: 1, muted: true });
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    call.command(Command::Stop(StopReason::CallEnded));
    call.take();
    call.wait_ms(100);
    assert_eq!(call.take().last().unwrap(), "> INVITE sendonly/sendonly v3");
}

#[test]
fn a_recorder_that_refuses_to_go_on_has_it_told_as_lost() {
    let mut call = paused(config("sip:a.example"), true);
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(100);
    let invite = call.request(&Method::Invite);
    call.take();
    call.answer(&invite, 488, &[], "");
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("open")), "{lines:?}");
    assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
}

#[test]
fn a_recorder_that_died_in_the_pause_is_found_in_time_for_another_one() {
    let mut call = paused(two_recorders(), true);
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(100);
    call.take();
    call.wait_ms(2_000);
    let invite = call.request(&Method::Invite);
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
    call.answer_bye();
    assert!(call.take().contains(&"* stopped: call-ended".to_owned()));
}

#[test]
fn a_paused_recorder_that_does_not_answer_the_bye_is_lost_and_the_next_one_gets_what_it_may_not_have() {
    for how in [Command::Pause, Command::Mute { slot: 0, muted: true }] {
        let mut call = Call::inviting_with(two_recorders());
        (0..2).for_each(|slot| call.packet(slot));
        call.answer_invite(&sdp(&[4000, 4002]));
        call.wait_ms(4_000);
        call.command(how);
        call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
        call.command(Command::Stop(StopReason::CallEnded));
        call.take();
        call.wait_ms(4_000);
        let invite = call.request(&Method::Invite);
        let lines = call.take();
        assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
        call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
        let lines = call.take();
        assert!(lines.contains(&"recall 1".to_owned()), "{lines:?}");
        assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
        call.answer_bye();
        assert!(call.take().contains(&"* stopped: call-ended".to_owned()));
        assert_eq!(call.recording.state(), RecordingState::Stopped);
    }
}

#[test]
fn what_went_to_the_next_recorder_in_a_pause_leaves_when_the_call_ends() {
    let mut call = paused(two_recorders(), false);
    call.command(Command::PartyMoved { slot: 0 });
    let reason = "connection refused".into();
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason }));
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp_with(&[6000, 6002], INACTIVE));
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> INVITE inactive/inactive v1".to_owned()), "{lines:?}");
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(100);
    assert_eq!(call.take().last().unwrap(), "> INVITE sendonly/sendonly v2");
    call.answer_invite(&sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
}

#[test]
fn an_engine_that_is_late_with_the_first_packet_has_a_second_to_tell_of_it() {
    for is_told in [true, false] {
        let mut call = Call::inviting_with(config("sip:a.example"));
        call.engine.freezes = true;
        call.answer_invite(&sdp(&[4000, 4002]));
        call.command(Command::Pause);
        call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
        call.take();
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(999);
        call.expect(&["drain 0", "drain 1", "= draining"]);
        if is_told {
            call.packet(0);
            call.expect(&["hold 0", "hold 1", "> INVITE sendonly/sendonly v3"]);
        } else {
            call.wait_ms(1);
            call.expect(&["close 0", "close 1", "> BYE", "* stopped: call-ended", "= stopped"]);
        }
    }
}
