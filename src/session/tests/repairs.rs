//! A recorder lives and has missed a stretch at once: what becomes of its session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::{
    BranchCommand, BranchEvent, Component, RecordingState, SessionEventKind, StopReason, TimeSpan,
};
use siprec_session::{Command, parse_recorders};
use siprec_sip::{Method, Request};
use support::*;

const CUT: BranchEvent = BranchEvent::StretchMissed { packets: 200, within: None };
const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
const SUSPECTED: &str = "* suspected: it has missed 200 packets at once";
const LEFT: &str = "* failed: the recorder has missed 200 packets at once";

/// An established session whose streams are being sent, and its INVITE.
fn recording(recorders: &str) -> (Call, Request) {
    let mut call = Call::inviting_with(config(recorders));
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.wait(Duration::from_secs(20));
    call.take();
    (call, invite)
}

fn cut(call: &mut Call) -> Vec<String> {
    call.media(0, CUT);
    call.take()
}

fn opened(call: &Call) -> Vec<u16> {
    let port = |command: &BranchCommand| match command {
        BranchCommand::Open(open) => Some(open.rtp.port()),
        _ => None,
    };
    call.branches.iter().filter_map(port).collect()
}

#[test]
fn the_next_recorder_gets_what_was_missed_and_the_last_one_stands_until_it_has_accepted() {
    let (mut call, first) = recording("sip:a.example sip:b.example");
    let lines = cut(&mut call);
    assert_eq!(
        lines,
        [SUSPECTED, "hold 0", "hold 1", "resolve sip:b.example", "> INVITE sendonly/sendonly v1"]
            .map(str::to_owned),
    );
    assert_eq!(call.recording.state(), RecordingState::Recording);
    // The other stream has missed the same.
    call.media(1, CUT);
    call.expect(&[]);
    let next = call.answer_invite(&sdp(&[6000, 6002]));
    let lines = call.take();
    let place =
        |line: &str| lines.iter().position(|other| other == line).unwrap_or_else(|| panic!("{lines:?}"));
    let order = ["recall 0", "recall 1", LEFT, "open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"];
    assert!(order.map(place).is_sorted(), "{lines:?}");
    assert!(place(LEFT) < place("* started"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* failed over from sip:a.example")), "{lines:?}");
    assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
    assert_ne!(first.headers.call_id().unwrap(), next.headers.call_id().unwrap());
    let told: Vec<_> = call.events.iter().map(|event| (&event.kind, &event.info)).collect();
    let failed = told.iter().find(|(kind, _)| format!("{kind:?}").starts_with("Failed {")).unwrap();
    assert_eq!(failed.1.recorder.as_deref(), Some("sip:a.example"));
    assert_eq!(failed.1.session.as_deref(), Some(first.headers.call_id().unwrap()));
    assert_eq!(call.recording.state(), RecordingState::Recording);
    call.answer_bye_of(&first);
}

#[test]
fn what_its_host_has_refused_is_sent_again_from_the_first_refusal_on() {
    let mut settings = config("sip:a.example sip:b.example");
    settings.timers.probe = Duration::from_secs(1);
    let mut call = Call::inviting_with(settings);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    // It answers what it is asked by SIP all the while.
    let live = |call: &mut Call| {
        call.wait_ms(1_000);
        if let Some(options) = call.find_request(&Method::Options) {
            call.answer(&options, 200, &[], "");
        }
    };
    (0..20).for_each(|_| live(&mut call));
    let refused_since = call.now;
    call.media(0, BranchEvent::RemoteRefused { component: Component::Rtp });
    (0..4).for_each(|_| live(&mut call));
    call.take();
    call.media(0, CUT);
    call.media(0, BranchEvent::RefusalsOver);
    call.answer_invite(&sdp(&[6000, 6002]));
    assert_eq!(call.recalled(), [(0, refused_since), (1, refused_since)]);
}

#[test]
fn where_there_is_no_other_the_same_recorder_gets_it_in_a_new_session() {
    let (mut call, first) = recording("sip:a.example");
    assert!(cut(&mut call).contains(&"resolve sip:a.example".to_owned()));
    let next = call.answer_invite(&sdp(&[6000, 6002]));
    assert_ne!(first.headers.call_id().unwrap(), next.headers.call_id().unwrap());
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()) && lines.contains(&"> BYE".to_owned()), "{lines:?}");
    assert_eq!(opened(&call)[2..], [6000, 6002]);
    call.answer_bye_of(&first);
    call.command(Command::Stop(StopReason::Asked));
    call.answer_bye();
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

#[test]
fn where_nobody_accepts_the_session_goes_on_as_it_was() {
    let (mut call, first) = recording("sip:a.example sip:b.example");
    cut(&mut call);
    for recorder in ["b", "a"] {
        let invite = call.request(&Method::Invite);
        assert!(invite.uri.to_string().contains(&format!("{recorder}.example")), "{}", invite.uri);
        call.answer(&invite, 486, &[], "");
    }
    let lines = call.take();
    let reopened = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002"].map(str::to_owned);
    assert!(lines.windows(2).any(|pair| pair == reopened), "{lines:?}");
    assert!(!lines.iter().any(|line| line == "> BYE" || line.starts_with("recall")), "{lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Recording);
    // In the same dialog.
    call.command(Command::Pause);
    let pause = call.request(&Method::Invite);
    assert_eq!(pause.headers.call_id().unwrap(), first.headers.call_id().unwrap());
    call.answer(&pause, 200, &[], &sdp(&[4000, 4002]));
    assert_eq!(call.recording.state(), RecordingState::Paused);
    call.command(Command::Stop(StopReason::Asked));
    call.answer_bye_of(&first);
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

#[test]
fn a_recorder_that_always_reports_need_not_while_it_is_sent_nothing() {
    let mut settings = config("sip:a.example");
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.expects_reports = true);
    settings.recorders = recorders.into();
    let mut call = Call::inviting_with(settings);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    // Its last report is 12 s old when the search begins, which takes 10 s.
    call.wait(Duration::from_secs(12));
    call.take();
    cut(&mut call);
    for _ in 0..2 {
        let invite = call.request(&Method::Invite);
        call.receive(&response_to(&invite, 180, &[], ""));
        call.wait(Duration::from_secs(5));
        call.answer(&invite, 486, &[], "");
    }
    assert!(call.take().contains(&"open 0 to 192.0.2.9:4000".to_owned()));
    // That nothing was sent meanwhile, and since when something is, the media engine knows.
    call.wait_ms(15_000);
    call.expect(&[]);
    call.media(0, BranchEvent::ReportsStopped);
    assert!(call.take().contains(&"* suspected: it has sent no receiver report".to_owned()));
}

#[test]
fn a_session_is_left_for_this_once_in_thirty_seconds_and_three_times_in_all() {
    let (mut call, mut last) = recording("sip:a.example");
    for port in [6000, 6100, 6200] {
        assert!(cut(&mut call).contains(&SUSPECTED.to_owned()));
        let next = call.answer_invite(&sdp(&[port, port + 2]));
        call.answer_bye_of(&last);
        last = next;
        call.wait_ms(29_999);
        call.take();
        assert_eq!(cut(&mut call), [""; 0]);
        call.wait_ms(1);
        call.take();
    }
    call.wait(Duration::from_secs(300));
    call.take();
    assert_eq!(cut(&mut call), [""; 0]);
}

#[test]
fn while_nothing_is_sent_nothing_is_sent_again() {
    let (mut call, _) = recording("sip:a.example sip:b.example");
    call.command(Command::Pause);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    assert_eq!(cut(&mut call), [""; 0]);
}

#[test]
fn a_pause_that_comes_meanwhile_is_one_of_the_next_session() {
    let (mut call, first) = recording("sip:a.example sip:b.example");
    cut(&mut call);
    call.command(Command::Pause);
    let lines = call.take();
    assert!(lines.contains(&"pause 0".to_owned()), "{lines:?}");
    call.answer_invite(&sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("open")), "{lines:?}");
    call.answer_bye_of(&first);
    call.answer_invite(&sdp(&[6000, 6002]));
    assert_eq!(call.recording.state(), RecordingState::Paused);
    call.command(Command::Resume);
    call.answer_invite(&sdp(&[6000, 6002]));
    assert!(call.take().contains(&"open 0 to 192.0.2.9:6000".to_owned()));
}

/// Nothing of the pause will be in the next session either: what is told must not wait for that.
#[test]
fn a_pause_that_comes_meanwhile_is_told_at_once_of_the_session_that_stands_and_again_of_the_next() {
    for is_accepted in [true, false] {
        let (mut call, first) = recording("sip:a.example");
        cut(&mut call);
        call.command(Command::Pause);
        let lines = call.take();
        assert_eq!(lines[lines.len() - 2..], ["* paused", "= paused"], "{lines:?}");
        let standing = first.headers.call_id().unwrap();
        assert_eq!(call.events[call.events.len() - 2].info.session.as_deref(), Some(standing));
        let told = |call: &mut Call| {
            let lines = call.take().into_iter();
            lines.filter(|line| line.starts_with(['*', '='])).collect::<Vec<_>>()
        };
        let invite = call.request(&Method::Invite);
        if is_accepted {
            call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
            let lines = told(&mut call);
            assert!(lines.first().unwrap().starts_with(LEFT), "{lines:?}");
            assert_eq!(lines.iter().filter(|line| *line == "* paused").count(), 1, "{lines:?}");
            assert!(!lines.iter().any(|line| line.starts_with('=') || line == "* started"), "{lines:?}");
            let paused = call.events.iter().rfind(|event| matches!(event.kind, SessionEventKind::Paused));
            assert_eq!(paused.unwrap().info.session.as_deref(), Some(invite.headers.call_id().unwrap()));
        } else {
            call.answer(&invite, 486, &[], "");
            assert_eq!(
                told(&mut call),
                ["* failed: the recorder refused: 486 Busy Here"],
                "it is paused already"
            );
        }
        assert_eq!(call.recording.state(), RecordingState::Paused);
    }
}

#[test]
fn stop_now_ends_both_sessions() {
    let (mut call, first) = recording("sip:a.example sip:b.example");
    cut(&mut call);
    let invite = call.request(&Method::Invite);
    call.receive(&response_to(&invite, 180, &[], ""));
    call.command(Command::StopNow);
    let lines = call.take();
    assert!(lines.contains(&"> BYE".to_owned()) && lines.contains(&"> CANCEL".to_owned()), "{lines:?}");
    call.answer_bye_of(&first);
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

#[test]
fn a_call_that_ends_meanwhile_is_delivered_to_the_next_recorder() {
    let (mut call, first) = recording("sip:a.example sip:b.example");
    cut(&mut call);
    call.command(Command::Stop(StopReason::Asked));
    assert_eq!(call.recording.state(), RecordingState::Draining);
    let next = call.answer_invite(&sdp(&[6000, 6002]));
    call.answer_bye_of(&first);
    let lines = call.take();
    assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
    call.answer_bye_of(&next);
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

#[test]
fn a_cut_that_the_end_of_the_call_tells_of_is_made_good_before_the_recording_ends() {
    for accepts in [true, false] {
        let (mut call, first) = recording("sip:a.example sip:b.example");
        call.engine.drains = false;
        call.command(Command::Stop(StopReason::Asked));
        (0..2).for_each(|slot| call.media(slot, CUT));
        (0..2).for_each(|slot| call.empty(slot));
        assert_eq!(call.recording.state(), RecordingState::Draining);
        let lines = call.take();
        assert!(lines.contains(&SUSPECTED.to_owned()) && !lines.contains(&"> BYE".to_owned()), "{lines:?}");
        let last = if accepts {
            let next = call.answer_invite(&sdp(&[6000, 6002]));
            call.answer_bye_of(&first);
            let lines = call.take();
            assert!(lines.contains(&"recall 1".to_owned()), "{lines:?}");
            assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
            assert_eq!(call.recording.state(), RecordingState::Draining);
            (0..2).for_each(|slot| call.empty(slot));
            next
        } else {
            for _ in 0..2 {
                let invite = call.request(&Method::Invite);
                call.answer(&invite, 486, &[], "");
            }
            first
        };
        assert!(call.take().contains(&"> BYE".to_owned()), "{accepts}");
        call.answer_bye_of(&last);
        assert_eq!(call.recording.state(), RecordingState::Stopped);
    }
}

#[test]
fn a_cut_that_the_report_tells_of_for_which_the_bye_waits_is_made_good_as_well() {
    for accepts in [true, false] {
        let (mut call, first) = recording("sip:a.example sip:b.example");
        (0..2).for_each(|slot| call.media(slot, REPORT));
        call.wait_ms(8_000);
        (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportOverdue));
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(2_000);
        assert!(!call.take().contains(&"> BYE".to_owned()));
        // The engine tells what a report shows before that it has come.
        for slot in 0..2 {
            call.media(slot, CUT);
            call.media(slot, REPORT);
        }
        let lines = call.take();
        assert!(lines.contains(&SUSPECTED.to_owned()) && !lines.contains(&"> BYE".to_owned()), "{lines:?}");
        let last = if accepts {
            let next = call.answer_invite(&sdp(&[6000, 6002]));
            call.answer_bye_of(&first);
            let lines = call.take();
            for line in ["recall 0", "recall 1", LEFT, "open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"]
            {
                assert!(lines.iter().any(|other| other == line), "{line}: {lines:?}");
            }
            next
        } else {
            for _ in 0..2 {
                let invite = call.request(&Method::Invite);
                call.answer(&invite, 486, &[], "");
            }
            assert!(call.take().contains(&"> BYE".to_owned()));
            first
        };
        call.answer_bye_of(&last);
        assert_eq!(call.recording.state(), RecordingState::Stopped);
    }
}

#[test]
fn a_recorder_that_hangs_up_meanwhile_is_not_gone_back_to() {
    let (mut call, first) = recording("sip:a.example");
    cut(&mut call);
    call.recorder_sends(&first, "BYE", &[], "");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()), "what it has missed is told: {lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Failed);
}

/// A report that comes at the end of the call shows a hole.
fn cut_at_end(call: &mut Call) -> TimeSpan {
    let within = TimeSpan { from: call.now - Duration::from_secs(8), to: call.now };
    call.media(0, BranchEvent::StretchMissed { packets: 200, within: Some(within) });
    within
}

fn conceded(call: &Call) -> Vec<(u16, TimeSpan)> {
    let of = |command: &BranchCommand| match command {
        BranchCommand::Concede { branch, within } => Some((branch.slot, *within)),
        _ => None,
    };
    call.branches.iter().filter_map(of).collect()
}

#[test]
fn where_nobody_accepts_at_the_end_of_the_call_the_other_streams_have_missed_the_same() {
    let (mut call, _) = recording("sip:a.example");
    call.engine.drains = false;
    call.command(Command::Stop(StopReason::CallEnded));
    let within = cut_at_end(&mut call);
    // While another session is sought it may get all.
    call.media(1, BranchEvent::StretchLost { within });
    let invite = call.request(&Method::Invite);
    assert_eq!(conceded(&call), []);
    call.answer(&invite, 486, &[], "");
    assert_eq!(conceded(&call), [(1, within)]);
    assert!(!call.branches.iter().any(|command| matches!(command, BranchCommand::Recall { .. })));
}

#[test]
fn where_no_session_is_sought_at_the_end_the_other_streams_have_missed_the_same() {
    // One was left a moment ago, in which the session stayed as it was.
    let (mut call, _) = recording("sip:a.example");
    cut(&mut call);
    call.media(0, REPORT);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    call.engine.drains = false;
    call.command(Command::Stop(StopReason::CallEnded));
    let within = cut_at_end(&mut call);
    assert_eq!(conceded(&call), [(1, within)]);
}

#[test]
fn a_hole_that_is_found_behind_the_bye_is_one_of_the_other_streams_too() {
    let (mut call, _) = recording("sip:a.example");
    call.command(Command::Stop(StopReason::CallEnded));
    let bye = call.request(&Method::Bye);
    let within = cut_at_end(&mut call);
    assert_eq!(conceded(&call), [(1, within)]);
    call.answer(&bye, 200, &[], "");
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}
