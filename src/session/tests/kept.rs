//! Streams that end before their session: what they have sent is the recorder's only when that has shown later that it lives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::{BranchEvent, Component, RecordingState, StopReason};
use siprec_session::{Command, Input, RecordingConfig, TransportEvent};
use siprec_sip::{Method, Request};
use support::*;

const PROBE: Duration = Duration::from_secs(5);
const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
};

/// A session with the first of two recorders whose streams are being sent.
fn recording(config: RecordingConfig) -> Call {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(4_000);
    call.take();
    call
}

fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

fn probed() -> RecordingConfig {
    let mut config = two_recorders();
    config.timers.probe = PROBE;
    config
}

/// The pad of the second party is released.
fn release(call: &mut Call) {
    call.command(Command::RemoveStream { stream: stream(1) });
}

/// The recorder is found to be gone by the first request that cannot be delivered: the INVITE to the next one.
fn lose(call: &mut Call) -> Request {
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    call.request(&Method::Invite)
}

/// It is found to be gone because it does not answer the question: the INVITE to the next one.
fn lose_in_silence(call: &mut Call) -> Request {
    call.media(0, BranchEvent::ReportsStopped);
    call.wait_ms(2_000);
    call.request(&Method::Invite)
}

#[test]
fn what_a_released_stream_has_sent_goes_to_the_next_recorder_and_then_it_ends() {
    let mut call = recording(two_recorders());
    release(&mut call);
    call.expect(&["drain 1", "part 1", "> INVITE sendonly/off v2"]);
    let invite = lose(&mut call);
    let lines = call.take();
    assert!(lines.contains(&"recall 1".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
    // It is kept for yet another one, and has no line.
    let last: Vec<&str> = lines.iter().rev().take(2).rev().map(String::as_str).collect();
    assert_eq!(last, ["part 1", "> INVITE sendonly/off v2"]);
    assert!(!lines.contains(&"close 1".to_owned()), "{lines:?}");
}

#[test]
fn what_a_replaced_stream_has_sent_gets_a_line_of_its_own_behind_its_successors() {
    let mut call = recording(two_recorders());
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    call.expect(&["drain 1", "create 64", "describe 64", "part 1", "> INVITE sendonly/sendonly v2"]);
    call.packet(64);
    call.answer_invite(&sdp(&[4000, 4006]));
    let invite = lose_in_silence(&mut call);
    let body = String::from_utf8(invite.body.clone()).unwrap();
    let ports: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("m=audio ")).collect();
    let ports: Vec<&str> = ports.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ports, ["10000", "10128", "10002"], "{body}");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002, 6004]));
    let lines = call.take();
    for line in ["open 0 to 192.0.2.9:6000", "open 64 to 192.0.2.9:6002", "open 1 to 192.0.2.9:6004"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    assert_eq!(lines.last().unwrap(), "> INVITE sendonly/sendonly/off v2");
}

#[test]
fn what_a_party_has_sent_that_left_goes_to_the_next_recorder() {
    let mut call = recording(two_recorders());
    call.command(Command::PartyLeft { stream: stream(1) });
    call.expect(&["drain 1", "pause 1", "> INVITE sendonly/inactive v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    let invite = lose_in_silence(&mut call);
    let lines = call.take();
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
    // Its line is kept for a successor there, too.
    assert_eq!(lines.last().unwrap(), "> INVITE sendonly/inactive v2");
}

#[test]
fn a_stream_that_ends_as_the_recorder_is_lost_goes_to_the_next_one_although_it_had_nothing_left_before() {
    let mut call = recording(two_recorders());
    release(&mut call);
    call.engine.drains = false;
    call.command(Command::RemoveStream { stream: stream(0) });
    let invite = lose(&mut call);
    // On its way before the engine heard of the loss.
    call.media(0, BranchEvent::BacklogEmpty { recalls: 0 });
    call.take();
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    for line in ["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"] {
        assert!(lines.contains(&line.to_owned()), "{line}: {lines:?}");
    }
    assert!(!lines.contains(&"part 0".to_owned()), "{lines:?}");
    call.empty(0);
    assert!(call.take().contains(&"part 0".to_owned()));
}

#[test]
fn a_released_stream_gives_its_account_when_an_answered_question_has_proved_that_it_arrived() {
    let mut call = recording(probed());
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    assert!(
        !call.take().contains(&"close 1".to_owned()),
        "the answer is none of a question two seconds later"
    );
    call.wait(PROBE);
    let options = call.request(&Method::Options);
    assert_eq!(call.take().iter().filter(|line| *line == "close 1").count(), 0);
    call.answer(&options, 200, &[], "");
    call.expect(&["close 1"]);
}

#[test]
fn of_a_recorder_that_reports_a_report_two_seconds_later_of_another_stream_proves_it() {
    let mut call = recording(two_recorders());
    call.media(0, REPORT);
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.wait_ms(2_000);
    call.media(0, REPORT);
    assert!(!call.take().contains(&"close 1".to_owned()));
    call.wait_ms(1);
    call.media(0, REPORT);
    call.expect(&["close 1"]);
}

#[test]
fn a_report_proves_nothing_of_what_left_when_it_says_that_packets_have_not_come() {
    let mut call = recording(two_recorders());
    let deaf = BranchEvent::ReportReceived {
        highest_sequence: 1,
        cumulative_lost: 0,
        fraction_lost: 0,
        missing_since: Some(call.now),
    };
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.wait_ms(4_000);
    call.media(0, deaf);
    assert!(!call.take().contains(&"close 1".to_owned()));
    let invite = lose_in_silence(&mut call);
    assert!(call.take().contains(&"recall 1".to_owned()));
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    call.wait_ms(2_001);
    call.media(0, REPORT);
    assert!(call.take().contains(&"close 1".to_owned()));
}

#[test]
fn what_nothing_proves_is_kept_for_the_hold_time() {
    let config = two_recorders();
    let hold_time = config.limits.hold_time;
    let mut call = recording(config);
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.wait(hold_time - Duration::from_millis(1));
    assert!(!call.take().contains(&"close 1".to_owned()));
    call.wait_ms(1);
    call.expect(&["close 1"]);
}

#[test]
fn a_stream_that_has_sent_nothing_is_not_kept() {
    let mut call = Call::established();
    release(&mut call);
    call.expect(&["drain 1", "close 1", "> INVITE sendonly/off v2"]);
}

#[test]
fn a_recorder_that_does_not_answer_the_bye_may_miss_what_a_released_stream_has_sent() {
    let mut call = recording(two_recorders());
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    // Longer than what it left at first may take.
    call.wait_ms(15_000);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(4_000);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let again = call.request(&Method::Invite);
    let lines = call.take();
    assert!(lines.contains(&"recall 1".to_owned()), "{lines:?}");
    call.answer(&again, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
    call.answer_bye();
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

/// Nothing but its own clock wakes the recording: no report comes, and the recorder is asked nothing.
#[test]
fn what_is_kept_while_the_recorder_is_in_doubt_is_given_up_when_that_is_over_or_has_lasted_too_long() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    let cases = [
        (&[25][..], Some(35), 35),
        (&[15], Some(20), 30),
        (&[25], None, 60),
        (&[24, 33, 42, 51, 59], None, 60),
    ];
    for (refused_at, taken_at, over_at) in cases {
        let mut call = recording(two_recorders());
        release(&mut call);
        call.answer_invite(&sdp(&[4000, 0]));
        let begun = call.now;
        let wait_until = |call: &mut Call, seconds: u64| {
            let at = begun + Duration::from_secs(seconds);
            call.wait(at - call.now);
        };
        for at in refused_at {
            wait_until(&mut call, *at);
            call.media(0, refused.clone());
            // That it answers says nothing of what its host refuses.
            if let Some(question) = call.find_request(&Method::Invite) {
                call.answer(&question, 200, &[], &sdp(&[4000, 0]));
            }
        }
        if let Some(at) = taken_at.filter(|at| *at < over_at) {
            wait_until(&mut call, at);
            call.media(0, BranchEvent::RefusalsOver);
        }
        wait_until(&mut call, over_at - 1);
        assert!(!call.take().contains(&"close 1".to_owned()), "at {refused_at:?}");
        wait_until(&mut call, over_at);
        if taken_at == Some(over_at) {
            call.media(0, BranchEvent::RefusalsOver);
        }
        assert!(call.take().contains(&"close 1".to_owned()), "at {refused_at:?}: not after {over_at} s");
    }
}
