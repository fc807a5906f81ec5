//! The last seconds of a session: the recorder has what was sent only where it lives to the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, Component, RecordingState, SessionEvent, SessionEventKind, StopReason};
use siprec_session::{ByePolicy, Command, Input, RecordingConfig, SessionMode, TransportEvent};
use siprec_sip::{Method, Request};
use support::*;

const LOST: &str = "* failed: the dialog with the recorder is lost: the BYE was";
const CONFIRMED: [&str; 5] = ["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"];

fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

/// A call that is being recorded ends: the INVITE that began it, and the BYE.
fn ended(config: RecordingConfig) -> (Call, Request, Request) {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(10_000);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining", "part 0", "part 1", "> BYE"]);
    let bye = call.request(&Method::Bye);
    (call, invite, bye)
}

fn position(lines: &[String], line: &str) -> usize {
    let found = lines.iter().position(|other| other.starts_with(line));
    found.unwrap_or_else(|| panic!("no {line:?}: {lines:?}"))
}

/// The next recorder accepts, and gets what the lost one may not have.
#[track_caller]
fn assert_redelivered(call: &mut Call, since: Instant) {
    let lines = call.take();
    assert!(position(&lines, LOST) < position(&lines, "> INVITE sendonly/sendonly v1"), "{lines:?}");
    assert_eq!(call.recalled(), [], "it may still answer");
    call.answer_invite(&sdp(&[6000, 6002]));
    assert_eq!(call.recalled(), [(0, since), (1, since)]);
    let lines = call.take();
    let order =
        ["recall 1", "open 0 to 192.0.2.9:6000", "* failed over from sip:a.example", "part 0", "> BYE"];
    let order = order.map(|line| position(&lines, line));
    assert!(order.is_sorted(), "{lines:?}");
    call.answer_bye();
    assert_eq!(call.take()[..4], CONFIRMED[..4]);
}

#[test]
fn any_answer_to_the_bye_but_two_says_that_the_recorder_lived_to_the_end() {
    for status in [200, 202, 403, 405, 500, 603] {
        let (mut call, _, bye) = ended(two_recorders());
        call.wait_ms(3_900);
        call.answer(&bye, status, &[], "");
        let lines = call.take();
        assert_eq!(lines[lines.len() - 5..], CONFIRMED, "{status}");
        assert_eq!(call.recalled(), []);
    }
}

#[test]
fn a_recorder_that_does_not_answer_the_bye_is_lost_and_the_next_one_gets_what_it_may_not_have() {
    let mut config = two_recorders();
    config.timers.probe = Duration::from_secs(5);
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(5_000);
    let asked = call.now;
    let options = call.request(&Method::Options);
    call.answer(&options, 200, &[], "");
    // It dies right after that, and the call ends before it is asked again.
    call.wait_ms(4_000);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(3_999);
    assert!(call.take().iter().all(|line| !line.starts_with("* ")));
    call.wait_ms(1);
    assert_redelivered(&mut call, asked);
}

#[test]
fn a_recorder_that_does_not_know_the_dialog_any_more_is_lost_at_once() {
    for status in [481, 408] {
        let (mut call, _, bye) = ended(two_recorders());
        let opened = call.now - Duration::from_secs(10);
        call.answer(&bye, status, &[], "");
        let told = |event: &SessionEvent| matches!(event.kind, SessionEventKind::Failed { sip_code: Some(code), .. } if code == status);
        assert!(call.events.iter().any(told));
        assert_redelivered(&mut call, opened);
    }
}

#[test]
fn a_recorder_that_cannot_be_reached_with_the_bye_is_lost_at_once() {
    let (mut call, ..) = ended(two_recorders());
    let opened = call.now - Duration::from_secs(10);
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    assert_redelivered(&mut call, opened);
}

#[test]
fn a_bye_of_the_recorder_that_crosses_ours_is_an_answer() {
    for policy in [ByePolicy::Stop, ByePolicy::FailOver] {
        let mut config = two_recorders();
        config.recorder_bye = policy;
        let (mut call, invite, bye) = ended(config);
        call.recorder_sends(&invite, "BYE", &[], "");
        call.answer(&bye, 481, &[], "");
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
        assert_eq!(call.recording.state(), RecordingState::Stopped);
        assert_eq!(call.recalled(), []);
    }
}

#[test]
fn an_answer_that_is_late_still_counts_until_another_recorder_has_accepted() {
    for accepted in [false, true] {
        let (mut call, _, bye) = ended(two_recorders());
        call.wait_ms(5_000);
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 180, &[], "");
        call.take();
        if accepted {
            call.engine.drains = false;
            call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
            call.take();
            call.answer(&bye, 200, &[], "");
            call.expect(&[]);
            continue;
        }
        call.answer(&bye, 200, &[], "");
        call.expect(&["close 0", "close 1", "> CANCEL", "* stopped: call-ended", "= stopped"]);
        assert_eq!(call.recalled(), []);
        // The INVITE is ended whatever it meets.
        call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
        call.expect(&["> ACK", "> BYE"]);
    }
}

#[test]
fn where_no_recorder_is_left_the_last_seconds_are_told_as_lost() {
    let (mut call, ..) = ended(config("sip:a.example"));
    call.wait_ms(4_000);
    // The one that was lost may have been restarted.
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 503, &[], "");
    let lines = call.take();
    assert!(position(&lines, "recall 0") < position(&lines, "close 0"), "{lines:?}");
    assert!(lines.contains(&"= failed".to_owned()), "{lines:?}");
    call.wait_ms(40_000);
    assert_eq!(call.finished, 1);
}

#[test]
fn where_no_recorder_accepts_in_the_drain_time_the_last_seconds_are_told_as_lost() {
    let recorders: Vec<String> = ('a'..='z').map(|name| format!("sip:{name}.example")).collect();
    let (mut call, ..) = ended(config(&recorders.join(" ")));
    // The first one is lost after 4 s, and from then on there is `hold-time`.
    call.wait_ms(33_999);
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("recall") || line.starts_with("close")), "{lines:?}");
    call.wait_ms(1);
    let lines = call.take();
    let order =
        ["recall 0", "close 0", "* stopped: drain-timeout", "= stopped"].map(|line| position(&lines, line));
    assert!(order.is_sorted(), "{lines:?}");
    call.wait_ms(40_000);
    assert_eq!(call.finished, 1);
}

#[test]
fn an_unanswered_bye_leaves_the_next_recorder_all_of_the_time() {
    let (mut call, ..) = ended(two_recorders());
    call.engine.drains = false;
    call.wait_ms(4_000);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 180, &[], "");
    call.wait_ms(5_000);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    call.take();
    // It gets all that is kept at twice the speed: 15 s.
    call.wait_ms(15_000);
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with(['*', '='])), "{lines:?}");
    (0..2).for_each(|slot| call.empty(slot));
    call.answer_bye();
    let lines = call.take();
    assert!(lines.contains(&"* stopped: call-ended".to_owned()), "{lines:?}");
}

#[test]
fn however_many_recorders_are_lost_at_the_end_that_has_an_end() {
    let recorders: Vec<String> = ('a'..='z').map(|name| format!("sip:{name}.example")).collect();
    let (mut call, ..) = ended(config(&recorders.join(" ")));
    let end = call.now;
    let mut lost = 0;
    // Each one takes the session, and does not answer the BYE.
    while call.recording.state() != RecordingState::Stopped {
        call.wait_ms(500);
        if let Some(invite) = call.find_request(&Method::Invite) {
            call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
            lost += 1;
        }
        assert!(call.now < end + Duration::from_secs(70), "{lost} recorders");
    }
    assert!(
        call.now >= end + Duration::from_secs(60) && lost > 9,
        "{lost} recorders in {:?}",
        call.now - end
    );
}

#[test]
fn a_recorder_has_its_time_to_answer_the_bye_also_after_the_drain_time() {
    let mut config = two_recorders();
    config.timers.drain = Duration::from_secs(1);
    let (mut call, _, bye) = ended(config.clone());
    call.wait_ms(3_900);
    call.answer(&bye, 200, &[], "");
    let lines = call.take();
    assert_eq!(lines[lines.len() - 5..], CONFIRMED);
    // But no other one is sought then.
    let (mut call, ..) = ended(config);
    call.wait_ms(4_000);
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()) && !lines.iter().any(|line| line.contains("INVITE")));
    assert!(lines.contains(&"* stopped: drain-timeout".to_owned()), "{lines:?}");
}

#[test]
fn what_is_in_its_turn_as_the_call_ends_leaves_before_the_bye_also_where_nothing_may_be_drained() {
    for is_told in [true, false] {
        let mut config = two_recorders();
        config.timers.drain = Duration::ZERO;
        let mut call = Call::inviting_with(config);
        (0..2).for_each(|slot| call.packet(slot));
        call.answer_invite(&sdp(&[4000, 4002]));
        call.wait_ms(10_000);
        call.engine.drains = false;
        call.take();
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(30);
        call.expect(&["drain 0", "drain 1", "= draining"]);
        if is_told {
            (0..2).for_each(|slot| call.media(slot, BranchEvent::BacklogEmpty { recalls: 0 }));
        } else {
            // It still sends what it holds, and there is no time for that.
            call.wait_ms(69);
            call.expect(&[]);
            call.wait_ms(1);
        }
        call.expect(&["part 0", "part 1", "> BYE"]);
        call.answer_bye();
        let reason = if is_told { "call-ended" } else { "drain-timeout" };
        assert!(call.take().contains(&format!("* stopped: {reason}")));
    }
}

#[test]
fn nothing_is_waited_for_that_has_no_recorder_where_nothing_may_be_drained() {
    let mut config = two_recorders();
    config.timers.drain = Duration::ZERO;
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    let lines = call.take();
    assert!(lines.contains(&"close 0".to_owned()), "{lines:?}");
}

#[test]
fn what_the_recorder_has_confirmed_needs_no_answer_to_the_bye() {
    let mut config = two_recorders();
    config.timers.probe = Duration::from_secs(5);
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.wait_ms(5_000);
    let options = call.request(&Method::Options);
    call.answer(&options, 200, &[], "");
    call.take();
    call.command(Command::Stop(StopReason::Asked));
    call.expect(&[
        "drain 0",
        "drain 1",
        "= draining",
        "close 0",
        "close 1",
        "> BYE",
        "* stopped: asked",
        "= stopped",
    ]);
    call.wait_ms(40_000);
    assert_eq!(call.finished, 1);
}

#[test]
fn a_stop_at_once_waits_for_nobody() {
    let (mut call, ..) = ended(two_recorders());
    call.command(Command::StopNow);
    call.expect(&["close 0", "close 1", "* stopped: asked-at-once", "= stopped"]);
    assert_eq!(call.recalled(), []);
    // But what is known to be lost is told.
    let (mut call, ..) = ended(two_recorders());
    call.wait_ms(4_000);
    call.take();
    call.command(Command::StopNow);
    let lines = call.take();
    assert_eq!(lines[..4], ["recall 0", "recall 1", "close 0", "close 1"], "{lines:?}");
}

#[test]
fn a_party_that_leaves_its_own_session_is_waited_for_alone() {
    let mut config = config("sip:a.example sip:b.example");
    config.mode = SessionMode::PerParty;
    let mut call = Call::new(config);
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
        call.packet(slot);
    }
    let invites: Vec<Request> = call
        .wire
        .drain(..)
        .filter_map(|(_, message)| match message {
            siprec_sip::Message::Request(request) => Some(request),
            siprec_sip::Message::Response(_) => None,
        })
        .collect();
    assert_eq!(invites.len(), 2);
    for (invite, port) in invites.iter().zip([4000, 4000]) {
        call.answer(invite, 200, &[], &sdp(&[port]));
    }
    call.take();
    call.command(Command::PartyLeft { stream: stream(1) });
    call.expect(&["drain 1", "part 1", "> BYE"]);
    assert_eq!(call.recording.state(), RecordingState::Recording);
    // The same party again is another session.
    call.command(Command::AddStream { slot: 1, stream: stream(7) });
    call.format(7, pcmu());
    let lines = call.take();
    assert!(lines.contains(&"> INVITE sendonly v1".to_owned()), "{lines:?}");
    call.answer_bye_of(&invites[1]);
    let lines = call.take();
    assert!(lines.contains(&"* stopped: party-left".to_owned()), "{lines:?}");
    assert_eq!(call.recalled(), []);
}

#[test]
fn a_shutdown_whose_time_is_up_is_a_shutdown() {
    let mut call = Call::established();
    call.packet(0);
    call.command(Command::Stop(StopReason::Shutdown));
    call.wait_ms(400);
    call.take();
    call.command(Command::StopNow);
    call.wait_ms(40_000);
    let lines = call.take();
    assert!(lines.contains(&"* stopped: shutdown".to_owned()), "{lines:?}");
}

#[test]
fn a_stop_at_once_tells_as_lost_what_was_refused_before_a_long_silence() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    for streams in [1, 2] {
        let mut config = two_recorders();
        config.timers.probe = Duration::from_secs(5);
        let mut call = Call::established_with(config);
        (0..2).for_each(|slot| call.packet(slot));
        call.wait_ms(1_000);
        let since = call.now;
        (0..streams).for_each(|slot| call.media(slot, refused.clone()));
        for _ in 0..24 {
            call.wait_ms(1_000);
            if let Some(options) = call.find_request(&Method::Options) {
                call.answer(&options, 200, &[], "");
            }
        }
        call.take();
        call.command(Command::StopNow);
        call.take();
        let recalled = call.recalled();
        let of_all: Vec<_> = (0..streams).collect();
        assert_eq!(recalled.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), of_all);
        assert!(recalled.iter().all(|(_, from)| *from <= since), "{recalled:?}");
    }
}

#[test]
fn a_stop_at_once_tells_as_lost_what_a_suspected_recorder_may_not_have() {
    let refused = BranchEvent::RemoteRefused { component: Component::Rtp };
    // Who answers may be deaf: only its reports say that it is not.
    for (event, heard) in [(BranchEvent::ReportsStopped, 0), (refused, 5)] {
        let mut config = two_recorders();
        config.timers.probe = Duration::from_secs(5);
        let mut call = Call::established_with(config);
        let began = call.now;
        (0..2).for_each(|slot| call.packet(slot));
        call.wait_ms(5_000);
        let options = call.request(&Method::Options);
        call.answer(&options, 200, &[], "");
        call.wait_ms(1_000);
        for _ in 0..3 {
            call.media(0, event.clone());
            call.wait_ms(500);
        }
        assert!(call.take().iter().any(|line| line.starts_with("* suspected")), "{event:?}");
        call.command(Command::StopNow);
        let lines = call.take();
        assert_eq!(lines[..4], ["recall 0", "recall 1", "close 0", "close 1"], "{lines:?}");
        let since = began + Duration::from_secs(heard);
        assert_eq!(call.recalled(), [(0, since), (1, since)], "{event:?}");
    }
}
