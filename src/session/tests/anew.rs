//! A recording that has failed, and is told to begin anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{RecordingState, StopReason};
use siprec_session::{Command, RecordingConfig, SessionMode};
use siprec_sip::{Message, Method};
use support::*;

fn settings() -> RecordingConfig {
    let mut settings = config("sip:rec.example");
    settings.begins_anew = true;
    settings
}

/// A recording whose only recorder has refused it.
fn failed() -> Call {
    let mut call = Call::inviting_with(settings());
    call.packet(0);
    call.take();
    refuse(&mut call);
    call
}

fn refuse(call: &mut Call) {
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 603, &[], "");
}

const FAILED: [&str; 7] = [
    "* failed: the recorder refused: 603 Decline",
    "create 64",
    "create 65",
    "close 0",
    "close 1",
    "> ACK",
    "= failed",
];

#[test]
fn one_that_has_failed_holds_what_comes_and_start_begins_it_with_that_and_the_same_names() {
    let mut call = failed();
    call.expect(&FAILED);
    let names = (call.recording.recording_id().clone(), call.recording.call_uuid().clone());
    assert!(!call.recording.is_over());
    call.wait_ms(600_000);
    call.expect(&[]);
    call.packet(64);
    assert_eq!(call.recording.state(), RecordingState::Failed);
    call.command(Command::Start);
    call.expect(&["resolve sip:rec.example", "= starting", "> INVITE sendonly/sendonly v1"]);
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    assert!(invite.uri.to_string().contains(names.0.as_str()), "{}", invite.uri);
    call.expect(&[
        "open 64 to 192.0.2.9:4000",
        "open 65 to 192.0.2.9:4002",
        "* started",
        "> ACK",
        "= recording",
    ]);
    assert_eq!((call.recording.recording_id(), call.recording.call_uuid()), (&names.0, &names.1));
    call.command(Command::Start);
    call.expect(&[]);
}

#[test]
fn it_may_fail_and_begin_as_often_as_it_is_told_to() {
    let mut call = failed();
    for _ in 0..3 {
        call.take();
        call.command(Command::Start);
        call.expect(&["resolve sip:rec.example", "= starting", "> INVITE sendonly/sendonly v1"]);
        refuse(&mut call);
        let told = call.take();
        assert_eq!(told.iter().filter(|line| line.starts_with("create")).count(), 2, "{told:?}");
        assert_eq!(told.iter().filter(|line| *line == "= failed").count(), 1, "{told:?}");
    }
}

#[test]
fn what_was_said_meanwhile_holds_when_it_begins_anew() {
    let mut call = failed();
    call.take();
    call.command(Command::Pause);
    call.command(Command::RemoveStream { stream: stream(1) });
    call.add(2);
    call.format(2, pcmu());
    call.take();
    call.command(Command::Start);
    call.expect(&["resolve sip:rec.example", "= starting", "> INVITE inactive/inactive v1"]);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&["> ACK", "* paused", "= paused"]);
}

#[test]
fn its_end_leaves_it_failed_and_gives_the_account_of_what_it_held() {
    for command in [Command::Stop(StopReason::CallEnded), Command::StopNow, Command::Conclude] {
        let mut call = failed();
        call.take();
        call.packet(65);
        call.command(command);
        call.expect(&["close 64", "close 65", "finished"]);
        assert!(call.recording.is_over());
        assert_eq!(call.recording.state(), RecordingState::Failed);
    }
}

#[test]
fn only_one_that_waits_is_concluded() {
    let mut call = failed();
    call.take();
    call.command(Command::Start);
    call.take();
    call.command(Command::Conclude);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Conclude);
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

#[test]
fn commands_that_come_before_its_branches_are_gone_are_kept_and_told_in_order() {
    let mut call = Call::inviting_with(settings());
    call.engine.closes = false;
    call.take();
    refuse(&mut call);
    call.command(Command::Start);
    call.command(Command::Mute { slot: 0, muted: true });
    assert!(!call.take().contains(&"= failed".to_owned()), "the accounts of its branches come first");
    call.wait_ms(4999);
    call.expect(&[]);
    call.wait_ms(1);
    let told = call.take();
    let events: Vec<&String> = told.iter().filter(|line| line.starts_with(['=', '>'])).collect();
    assert_eq!(events, ["= failed", "= starting", "> INVITE inactive/inactive v1"], "{told:?}");
}

#[test]
fn one_that_is_not_to_begin_anew_is_over() {
    let mut call = Call::inviting_with(config("sip:rec.example"));
    call.packet(0);
    call.take();
    refuse(&mut call);
    call.expect(&[
        "* failed: the recorder refused: 603 Decline",
        "close 0",
        "close 1",
        "> ACK",
        "= failed",
        "finished",
    ]);
    assert!(call.recording.is_over());
    call.command(Command::Start);
    call.wait_ms(60_000);
    call.expect(&[]);
}

#[test]
fn a_session_for_each_party_begins_anew_for_the_streams_that_are_told_of_again() {
    let mut settings = settings();
    settings.mode = SessionMode::PerParty;
    let mut call = Call::inviting_with(settings);
    call.take();
    for (_, invite) in std::mem::take(&mut call.wire) {
        let Message::Request(invite) = invite else { unreachable!() };
        call.answer(&invite, 603, &[], "");
    }
    assert_eq!(call.recording.state(), RecordingState::Failed);
    call.take();
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    call.command(Command::Start);
    let told = call.take();
    let invites = told.iter().filter(|line| line.starts_with("> INVITE")).count();
    assert_eq!(invites, 2, "{told:?}");
}
