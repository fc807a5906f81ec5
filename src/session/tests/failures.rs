//! `protocol` 1.6: how an attempt fails, and that the next recorder is tried.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, RecordingState, SessionEventKind, StopReason};
use siprec_session::{Command, Input, TransportEvent};
use siprec_sip::Method;
use support::*;

fn two_recorders() -> Call {
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
    call.packet(0);
    call.take();
    call
}

/// The lines, without those that are the same in each case.
#[track_caller]
fn assert_fails_over(call: &mut Call, failure: &str, sent: &[&str]) {
    let lines = call.take();
    let mut expected = vec![format!("* failed: {failure}"), "resolve sip:b.example".to_owned()];
    expected.extend(sent.iter().map(ToString::to_string));
    expected.push("> INVITE sendonly/sendonly v1".to_owned());
    assert_eq!(lines, expected);
    // The second recorder gets all that was held.
    call.answer_invite(&sdp(&[4000, 4002]));
    let opened = call.take();
    assert_eq!(opened[..3], ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "* started"]);
}

#[test]
fn a_refusal_leads_to_the_next_recorder() {
    for status in [302, 403, 404, 420, 486, 488, 500, 503, 600, 603] {
        let mut call = two_recorders();
        let invite = call.request(&Method::Invite);
        call.answer(&invite, status, &[], "");
        let phrase = siprec_sip::message::reason_phrase(status);
        assert_fails_over(&mut call, &format!("the recorder refused: {status} {phrase}"), &["> ACK"]);
        let failed = call.events.iter().find(|event| matches!(event.kind, SessionEventKind::Failed { .. }));
        let failed = failed.unwrap();
        assert!(
            matches!(failed.kind, SessionEventKind::Failed { sip_code: Some(code), .. } if code == status)
        );
        assert_eq!(failed.info.recorder.as_deref(), Some("sip:a.example"));
    }
}

#[test]
fn a_silent_recorder_has_two_seconds_to_the_first_response() {
    let mut call = two_recorders();
    call.wait_ms(1999);
    call.take();
    assert_eq!(call.recording.state(), RecordingState::Starting);
    call.wait_ms(1);
    assert_fails_over(&mut call, "the recorder did not answer within 2s", &[]);
}

#[test]
fn a_recorder_that_only_rings_has_six_seconds_to_the_answer() {
    let mut call = two_recorders();
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 100, &[], "");
    call.wait_ms(5999);
    call.expect(&[]);
    call.wait_ms(1);
    assert_fails_over(&mut call, "the recorder did not answer within 6s", &["> CANCEL"]);
}

#[test]
fn a_late_answer_of_a_recorder_given_up_is_ended_and_harms_nothing() {
    let mut call = two_recorders();
    let invite = call.request(&Method::Invite);
    call.wait_ms(2000);
    call.answer_invite(&sdp(&[5000, 5002]));
    call.take();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.expect(&["> ACK", "> BYE"]);
    assert_eq!(call.recording.state(), RecordingState::Recording);
    let bye = call.request(&Method::Bye);
    assert_eq!(value(&bye, &siprec_sip::HeaderName::CallId), value(&invite, &siprec_sip::HeaderName::CallId));
}

#[test]
fn each_attempt_has_a_dialog_of_its_own() {
    let mut call = two_recorders();
    let first = call.request(&Method::Invite);
    call.answer(&first, 486, &[], "");
    let second = call.request(&Method::Invite);
    assert_ne!(first.headers.call_id(), second.headers.call_id());
    assert_ne!(first.headers.from().unwrap().tag(), second.headers.from().unwrap().tag());
    assert_eq!(first.uri.user(), second.uri.user(), "the recording keeps its id");
}

#[test]
fn a_recorder_that_cannot_be_found_leads_to_the_next() {
    let mut call = Call::new(config("sip:a.example sip:b.example"));
    call.resolves = false;
    call.add(0);
    call.format(0, pcmu());
    call.take();
    call.input(Input::Transport(TransportEvent::Unresolved { attempt: 1, reason: "no such host".into() }));
    call.expect(&["* failed: the recorder cannot be resolved: no such host", "resolve sip:b.example"]);
    call.wait_ms(4000);
    call.expect(&[
        "* failed: the recorder cannot be resolved: no address within 4s",
        "close 0",
        "= failed",
        "finished",
    ]);
}

#[test]
fn a_resolution_that_comes_too_late_is_ignored() {
    let mut call = Call::new(config("sip:a.example sip:b.example"));
    call.resolves = false;
    call.add(0);
    call.format(0, pcmu());
    call.wait_ms(4000);
    call.take();
    let flow = call.flow();
    call.input(Input::Transport(TransportEvent::Resolved { attempt: 1, flow, more: false }));
    call.expect(&[]);
    call.input(Input::Transport(TransportEvent::Resolved { attempt: 2, flow, more: false }));
    call.expect(&["> INVITE sendonly/off v1"]);
}

#[test]
fn a_message_that_cannot_be_sent_leads_to_the_next() {
    let mut call = two_recorders();
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    assert_fails_over(&mut call, "the recorder cannot be reached: connection refused", &[]);
}

#[test]
fn without_ports_there_is_no_offer() {
    let mut call = Call::new(config("sip:rec.example"));
    call.engine.binds = false;
    call.add(0);
    call.format(0, pcmu());
    call.take();
    call.media(0, BranchEvent::PortsFailed { reason: "10000-10010 are in use".into() });
    call.expect(&["* failed: local resources: 10000-10010 are in use", "close 0", "= failed", "finished"]);

    let mut call = Call::new(config("sip:rec.example"));
    call.engine.binds = false;
    call.add(0);
    call.format(0, pcmu());
    call.take();
    call.wait_ms(2000);
    call.expect(&["* failed: local resources: no ports within 2s", "close 0", "= failed", "finished"]);
}

#[test]
fn the_last_failure_ends_the_recording_with_every_reason() {
    let mut call = two_recorders();
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 603, &[], "");
    let reason = call.events.iter().rev().find_map(|event| match &event.kind {
        SessionEventKind::StateChanged { state: RecordingState::Failed, reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(
        reason.as_deref(),
        Some(
            "sip:a.example: the recorder refused: 486 Busy Here; sip:b.example: the recorder refused: 603 Decline"
        )
    );
    assert_eq!(call.recording.state(), RecordingState::Failed);
    assert_eq!(call.finished, 1);
}

#[test]
fn of_many_recorders_that_fail_the_first_reasons_are_told_and_how_many_more_there_are() {
    let recorders: Vec<String> = (0..60).map(|number| format!("sip:r{number}.example")).collect();
    let mut call = Call::inviting_with(config(&recorders.join(" ")));
    while call.finished == 0 {
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 486, &[], "");
    }
    let SessionEventKind::StateChanged { reason, .. } = &call.events.last().unwrap().kind else { panic!() };
    let told: Vec<&str> = reason.split("; ").collect();
    let [first, .., last] = &told[..] else { panic!("{reason}") };
    assert_eq!(*first, "sip:r0.example: the recorder refused: 486 Busy Here");
    assert_eq!(*last, format!("and {} more", 60 - (told.len() - 1)));
    assert!((1900..2020).contains(&reason.len()), "{}: {reason}", reason.len());
}

#[test]
fn a_dialog_that_is_lost_gets_one_bye_and_the_next_recorder() {
    for status in [408, 481] {
        let mut call = Call::established_with(config("sip:a.example sip:b.example"));
        call.command(Command::Pause);
        call.command(Command::Resume);
        let reinvite = call.request(&Method::Invite);
        call.take();
        call.answer(&reinvite, status, &[], "");
        let lines = call.take();
        let failed = format!("* failed: the dialog with the recorder is lost: {status}");
        assert!(lines.iter().any(|line| line.starts_with(&failed)), "{lines:?}");
        assert!(call.events.iter().any(|event| {
            matches!(event.kind, SessionEventKind::Failed { sip_code: Some(code), .. } if code == status)
        }));
        assert_eq!(lines.iter().filter(|line| *line == "> BYE").count(), 1, "{lines:?}");
        assert_eq!(lines.last().unwrap(), "> INVITE sendonly/sendonly v1");
    }
}

#[test]
fn a_reinvite_that_nobody_answers_loses_the_dialog_and_the_recorder_is_tried_once_more() {
    let mut call = Call::established();
    call.command(Command::Pause);
    call.take();
    call.wait_ms(31_999);
    assert!(!call.take().iter().any(|line| line.contains("BYE")));
    call.wait_ms(1);
    let lines = call.take();
    assert_eq!(lines.iter().filter(|line| *line == "> BYE").count(), 1, "{lines:?}");
    assert!(lines.contains(&"> INVITE inactive/inactive v1".to_owned()), "{lines:?}");
    // Four seconds after the loss once more, since it did not answer.
    call.wait_ms(5_999);
    let lines = call.take();
    assert_eq!(lines.iter().filter(|line| line.starts_with("resolve")).count(), 1, "{lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Starting);
    call.wait_ms(1);
    assert!(call.take().contains(&"= failed".to_owned()));
}

#[test]
fn the_end_of_the_call_does_not_stop_the_search_for_a_recorder() {
    let mut call = two_recorders();
    let invite = call.request(&Method::Invite);
    call.command(Command::Stop(StopReason::CallEnded));
    call.take();
    call.answer(&invite, 486, &[], "");
    call.take();
    call.answer_invite(&sdp(&[4000, 4002]));
    let lines = call.take();
    assert!(lines.contains(&"> BYE".to_owned()) && lines.contains(&"* started".to_owned()), "{lines:?}");
}

#[test]
fn a_bye_that_nobody_answers_ends_too() {
    let mut call = Call::established();
    call.command(Command::StopNow);
    call.take();
    call.wait_ms(32_000);
    assert_eq!(call.take().last().unwrap(), "finished");
    assert_eq!(call.recording.next_deadline(), None);
}

#[test]
fn why_a_message_cannot_be_sent_within_a_session_is_the_failure_s_reason() {
    let why = "no TLS with 192.0.2.9:5061: the peer's certificate is refused: it is for other.example";
    let failed = |call: &mut Call| {
        call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: why.into() }));
        call.take()
    };
    let mut call = Call::established_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    call.input(Input::Transport(TransportEvent::ConnectionLost { attempt: 1 }));
    failed(&mut call);
    let lines = failed(&mut call);
    let told =
        format!("* failed: the dialog with the recorder is lost: the message could not be sent: {why}");
    assert!(lines.contains(&told), "{lines:?}");
    // And of the BYE.
    let mut call = Call::established_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    call.command(Command::Stop(StopReason::CallEnded));
    let lines = failed(&mut call);
    let told = format!("* failed: the dialog with the recorder is lost: the BYE was not delivered: {why}");
    assert!(lines.contains(&told), "{lines:?}");
}
