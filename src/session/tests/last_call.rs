//! The end of a shutdown: recorders that have not answered the BYE when its time is over may not have what was sent last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Instant;

use siprec_model::{BranchEvent, Component, RecordingState, StopReason};
use siprec_session::{Command, RecordingConfig, SessionMode};
use siprec_sip::{Message, Method};
use support::*;

const UNANSWERED: &str = "* failed: the dialog with the recorder is lost: \
                          the BYE was not answered before the time for the shutdown was over";

fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

/// A call is being recorded, whose recorder was alive for sure at a moment.
fn recorded(config: RecordingConfig) -> (Call, Instant) {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    let accepted = call.now;
    call.wait_ms(3_000);
    call.take();
    (call, accepted)
}

fn shut_down(call: &mut Call) {
    call.command(Command::Stop(StopReason::Shutdown));
}

#[track_caller]
fn assert_told_as_lost(call: &mut Call, failed: &str, since: Instant) {
    let lines = call.take();
    let told = |wanted: &str| lines.iter().position(|line| line.starts_with(wanted));
    let order = ["recall 0", "close 0", "= failed"].map(told);
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{lines:?}");
    assert!(told(failed) < told("= failed"), "{lines:?}");
    assert!(told(failed).is_some(), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("* stopped") || line.contains("INVITE")), "{lines:?}");
    assert_eq!(call.recalled(), [(0, since), (1, since)]);
    assert_eq!(call.recording.state(), RecordingState::Failed);
    call.wait_ms(40_000);
    assert_eq!(call.finished, 1);
}

#[test]
fn a_bye_that_is_unanswered_when_a_shutdown_ends_is_told_as_a_failure_with_what_the_recorder_may_not_have() {
    let (mut call, accepted) = recorded(two_recorders());
    shut_down(&mut call);
    call.wait_ms(1_500);
    call.expect(&["drain 0", "drain 1", "= draining", "part 0", "part 1", "> BYE", "> BYE", "> BYE"]);
    call.command(Command::Part);
    call.expect(&[]);
    call.wait_ms(400);
    call.take();
    call.command(Command::StopNow);
    assert_told_as_lost(&mut call, UNANSWERED, accepted);
}

#[test]
fn an_answer_to_the_bye_counts_until_a_shutdown_ends() {
    let (mut call, _) = recorded(two_recorders());
    shut_down(&mut call);
    call.wait_ms(1_500);
    call.command(Command::Part);
    call.wait_ms(399);
    call.answer_bye();
    call.command(Command::StopNow);
    let lines = call.take();
    assert!(lines.contains(&"* stopped: shutdown".to_owned()), "{lines:?}");
    assert_eq!((call.recalled(), call.recording.state()), (vec![], RecordingState::Stopped));
}

/// What is held is not delivered any more, and the answer to the BYE is waited for all the same.
#[test]
fn a_session_that_still_delivers_gets_its_bye_shortly_before_a_shutdown_ends() {
    for answers in [true, false] {
        let (mut call, accepted) = recorded(two_recorders());
        call.engine.drains = false;
        shut_down(&mut call);
        call.wait_ms(1_500);
        call.expect(&["drain 0", "drain 1", "= draining"]);
        call.command(Command::Part);
        call.expect(&["part 0", "part 1", "> BYE"]);
        call.wait_ms(400);
        if answers {
            call.answer_bye();
            call.expect(&["close 0", "close 1", "* stopped: shutdown", "= stopped", "finished"]);
            assert_eq!(call.recalled(), []);
        } else {
            call.command(Command::StopNow);
            assert_told_as_lost(&mut call, UNANSWERED, accepted);
        }
    }
}

#[test]
fn what_a_recorder_may_not_have_whose_media_is_in_doubt_is_told_as_lost_whatever_it_answers_to_the_bye() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    for (sign, reason) in
        [(BranchEvent::ReportsStopped, "its receiver reports have stopped"), (refused, "its host refuses")]
    {
        let (mut call, accepted) = recorded(two_recorders());
        call.engine.drains = false;
        call.media(
            0,
            BranchEvent::ReportReceived {
                highest_sequence: 1,
                cumulative_lost: 0,
                fraction_lost: 0,
                missing_since: None,
                unbroken: None,
            },
        );
        call.media(0, sign);
        shut_down(&mut call);
        call.wait_ms(1_500);
        call.take();
        call.command(Command::Part);
        assert_told_as_lost(&mut call, &format!("* failed: the recorder takes no media: {reason}"), accepted);
    }
}

#[test]
fn no_other_recorder_is_sought_when_a_shutdown_is_about_to_end() {
    // The BYE is found unanswered before the shutdown ends.
    let (mut call, accepted) = recorded(two_recorders());
    shut_down(&mut call);
    call.wait_ms(3_800);
    call.command(Command::Part);
    call.take();
    call.wait_ms(200);
    let failed = "* failed: the dialog with the recorder is lost: the BYE was not answered within 4s";
    assert_told_as_lost(&mut call, failed, accepted);
    // One that was being sought has no time left.
    let (mut call, accepted) = recorded(two_recorders());
    shut_down(&mut call);
    call.wait_ms(4_000);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 180, &[], "");
    call.take();
    call.command(Command::Part);
    let lines = call.take();
    assert_eq!(lines[..5], ["recall 0", "recall 1", "close 0", "close 1", "> CANCEL"], "{lines:?}");
    assert_eq!(call.recalled(), [(0, accepted), (1, accepted)]);
    assert_eq!(call.recording.state(), RecordingState::Failed);
}

#[test]
fn each_party_s_recorder_answers_for_itself_when_a_shutdown_ends() {
    let mut call = Call::new(RecordingConfig { mode: SessionMode::PerParty, ..two_recorders() });
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
        call.packet(slot);
    }
    let invites: Vec<_> = call
        .wire
        .drain(..)
        .filter_map(|(_, message)| match message {
            Message::Request(request) => Some(request),
            Message::Response(_) => None,
        })
        .collect();
    invites.iter().for_each(|invite| call.answer(invite, 200, &[], &sdp(&[4000])));
    shut_down(&mut call);
    call.wait_ms(1_500);
    call.command(Command::Part);
    call.answer_bye_of(&invites[1]);
    call.take();
    call.command(Command::StopNow);
    let lines = call.take();
    assert!(lines.iter().any(|line| line.starts_with(UNANSWERED)), "{lines:?}");
    assert_eq!(call.recalled().iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0]);
    assert_eq!(call.recording.state(), RecordingState::Stopped, "one has all of its party");
}

#[test]
fn a_stop_at_once_tells_as_lost_what_a_recorder_may_not_have_that_should_have_answered_the_bye() {
    for (waited_ms, is_told) in [(499, false), (500, true)] {
        let (mut call, accepted) = recorded(two_recorders());
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(waited_ms);
        call.take();
        call.command(Command::StopNow);
        let lines = call.take();
        assert!(lines.contains(&"* stopped: asked-at-once".to_owned()), "{lines:?}");
        let lost = [(0, accepted), (1, accepted)];
        assert_eq!(call.recalled(), if is_told { &lost[..] } else { &[] });
    }
}

#[test]
fn a_shutdown_that_is_about_to_end_before_anything_has_begun_ends_at_once() {
    let mut call = Call::inviting_with(two_recorders());
    call.command(Command::Part);
    call.wait_ms(100);
    let lines = call.take();
    assert!(lines.contains(&"= stopped".to_owned()), "{lines:?}");
}
