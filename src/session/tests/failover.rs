//! `protocol` 1.6 in the middle of a call: how a recorder is found to be lost, and what the next one gets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{
    BranchCommand, BranchEvent, Component, FailureReason, RecordingState, SessionEvent, SessionEventKind,
};
use siprec_session::{
    ByePolicy, Command, ConfigError, Input, RecordingConfig, TransportEvent, parse_recorders,
};
use siprec_sip::{Method, Request};
use support::*;

const REFUSED: BranchEvent = BranchEvent::RemoteRefused { component: Component::Rtp };
const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
const SUSPECTED: &str = "* suspected: its host refuses the media (ICMP)";
const PROBE: Duration = Duration::from_secs(5);

fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

/// The same, and they are asked every five seconds.
fn probed() -> RecordingConfig {
    let mut config = two_recorders();
    config.timers.probe = PROBE;
    config
}

/// The same recorders, which always report.
fn reporting() -> RecordingConfig {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.expects_reports = true);
    RecordingConfig { recorders: recorders.into(), ..two_recorders() }
}

/// An established session whose streams are being sent.
fn recording(config: RecordingConfig) -> Call {
    invited(config).0
}

/// The same with its INVITE.
fn invited(config: RecordingConfig) -> (Call, Request) {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    (call, invite)
}

/// When each branch was told that its recorder was alive for sure.
fn recalled(call: &Call) -> Vec<Instant> {
    call.recalled().into_iter().map(|(_, since)| since).collect()
}

/// The next recorder is invited, accepts, and gets what the lost one may not have.
#[track_caller]
fn assert_failed_over(call: &mut Call, why: &str, uncertain: Duration) {
    let lines = call.take();
    // What was asked last of the lost one is repeated before.
    let place = |line: &str| {
        let found = lines.iter().rposition(|other| other.starts_with(line));
        found.unwrap_or_else(|| panic!("no {line:?}: {lines:?}"))
    };
    let order =
        ["recall 0", "recall 1", why, "resolve sip:b.example", "> INVITE sendonly/sendonly v1"].map(place);
    assert!(order.is_sorted(), "{lines:?}");
    call.answer_invite(&sdp(&[6000, 6002]));
    let told = format!("* failed over from sip:a.example after {uncertain:?}");
    let lines = call.take();
    assert_eq!(lines[..2], ["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"], "{lines:?}");
    assert!(lines.contains(&"* started".to_owned()) && lines.contains(&told), "{told}: {lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

#[test]
fn a_recorder_is_asked_every_five_seconds_and_any_answer_but_two_says_that_it_lives() {
    for status in [200, 405, 403, 500, 603] {
        let mut call = recording(probed());
        for _ in 0..5 {
            call.wait_ms(4_999);
            call.expect(&[]);
            call.wait_ms(1);
            call.expect(&["> OPTIONS"]);
            let options = call.request(&Method::Options);
            call.answer(&options, status, &[], "");
            call.expect(&[]);
        }
    }
    for status in [408, 481] {
        let mut call = recording(probed());
        call.wait(PROBE);
        let options = call.request(&Method::Options);
        call.take();
        call.answer(&options, status, &[], "");
        let phrase = siprec_sip::message::reason_phrase(status).to_owned();
        let known = call.events.iter().any(|event| {
            let reason = FailureReason::DialogUnknown { code: status, phrase: phrase.clone() };
            event.kind == SessionEventKind::Failed { reason, sip_code: Some(status) }
        });
        assert!(known, "{:?}", call.events);
        assert_failed_over(&mut call, "* failed: the dialog with the recorder is lost: 4", PROBE);
    }
}

#[test]
fn a_recorder_that_answers_nothing_is_lost_within_nine_seconds_of_its_last_answer() {
    let mut call = recording(probed());
    let opened = call.now;
    call.wait(PROBE);
    let options = call.request(&Method::Options);
    call.answer(&options, 200, &[], "");
    call.take();
    // It dies right after that.
    call.wait(PROBE);
    call.expect(&["> OPTIONS"]);
    call.wait_ms(1_999);
    assert!(call.take().iter().all(|line| line == "> OPTIONS"));
    call.wait_ms(1);
    assert_eq!(call.take(), ["* suspected: it does not answer", "> INVITE sendonly/sendonly v1"]);
    call.wait_ms(1_999);
    assert_eq!(recalled(&call), []);
    call.wait_ms(1);
    // What was sent before the last answered question was sent has arrived.
    assert_eq!(recalled(&call), [opened + PROBE; 2]);
    assert_failed_over(&mut call, "* failed: the dialog with the recorder is lost", Duration::from_secs(9));
}

#[test]
fn a_recorder_that_only_ignores_options_goes_on_and_is_asked_by_refreshes() {
    let mut call = recording(probed());
    call.wait_ms(7_000);
    assert!(call.take().contains(&"* suspected: it does not answer".to_owned()));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    for _ in 0..4 {
        call.wait_ms(14_999);
        assert!(call.take().iter().all(|line| line == "> OPTIONS"), "repeated by its transaction only");
        call.wait_ms(1);
        assert!(call.take().contains(&"> INVITE sendonly/sendonly v1".to_owned()));
        call.answer_invite(&sdp(&[4000, 4002]));
        assert!(call.take().contains(&"> ACK".to_owned()));
    }
    // A refresh that is not answered either.
    call.wait_ms(15_000);
    call.take();
    call.wait_ms(2_000);
    assert_failed_over(&mut call, "* failed: the dialog with the recorder is lost", Duration::from_secs(17));
}

#[test]
fn an_answer_that_is_being_worked_on_may_take_as_long_as_a_first_one() {
    let mut call = recording(probed());
    call.wait_ms(7_000);
    let refresh = call.request(&Method::Invite);
    call.answer(&refresh, 100, &[], "");
    call.take();
    call.wait_ms(5_999);
    assert_eq!(recalled(&call), []);
    call.wait_ms(1);
    assert_eq!(recalled(&call).len(), 2);
}

#[test]
fn whoever_reports_or_asks_need_not_be_asked() {
    let (mut call, invite) = invited(probed());

    for round in 0..10 {
        call.wait_ms(4_000);
        if round % 2 == 0 {
            call.media(0, REPORT);
        } else {
            call.recorder_sends(&invite, "UPDATE", &[], "");
            call.expect(&["> 200 UPDATE"]);
        }
    }
    call.expect(&[]);
    call.wait(PROBE);
    call.expect(&["> OPTIONS"]);
}

#[test]
fn a_recorder_that_cannot_be_reached_any_more_is_asked_once_more_and_lost() {
    let mut call = recording(probed());
    call.wait(PROBE);
    call.take();
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    call.expect(&["* suspected: it does not answer", "> INVITE sendonly/sendonly v1"]);
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    assert_failed_over(&mut call, "* failed: the dialog with the recorder is lost", PROBE);
}

#[test]
fn a_recorder_whose_connection_ends_is_asked_at_once_over_a_new_one() {
    let lost = |call: &mut Call| call.input(Input::Transport(TransportEvent::ConnectionLost { attempt: 1 }));
    for probe in [PROBE, Duration::ZERO] {
        let mut config = two_recorders();
        config.timers.probe = probe;
        let mut call = recording(config);
        call.wait_ms(1_000);
        // It closes what is idle, and lives.
        lost(&mut call);
        call.expect(&["> OPTIONS"]);
        let options = call.request(&Method::Options);
        call.answer(&options, 405, &[], "");
        // And does so after each answer: that makes no more questions than usual.
        for _ in 0..10 {
            lost(&mut call);
        }
        call.wait_ms(4_999);
        call.expect(&[]);
        call.wait_ms(1);
        call.expect(&["> OPTIONS"]);
        let options = call.request(&Method::Options);
        call.answer(&options, 200, &[], "");
        let alive = call.now;
        // It is gone.
        call.wait_ms(4_000);
        lost(&mut call);
        call.wait_ms(1_000);
        call.take();
        let failed = TransportEvent::Failed { attempt: 1, reason: "connection refused".into() };
        call.input(Input::Transport(failed.clone()));
        call.expect(&["* suspected: it does not answer", "> INVITE sendonly/sendonly v1"]);
        call.input(Input::Transport(failed));
        assert_eq!(recalled(&call), [alive; 2]);
        assert_failed_over(&mut call, "* failed: the dialog with the recorder is lost", PROBE);
    }
}

#[test]
fn a_recorder_that_refuses_the_media_is_asked_by_an_early_refresh_and_lost_if_it_goes_on() {
    let mut call = recording(two_recorders());
    // Of the RTCP, as often as you like.
    for slot in [0, 1, 0, 1, 0, 1] {
        call.media(slot, BranchEvent::RemoteRefused { component: Component::Rtcp });
        call.wait_ms(1000);
    }
    for slot in 0..2 {
        call.media(slot, REFUSED);
    }
    call.expect(&[]);
    call.wait_ms(1000);
    call.media(0, REFUSED);
    call.expect(&[SUSPECTED, "> INVITE sendonly/sendonly v1"]);
    call.media(1, REFUSED);
    call.expect(&[]);
    // Its SIP lives; the media process was perhaps being restarted.
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    for _ in 0..2 {
        call.wait_ms(1000);
        call.media(0, REFUSED);
    }
    call.expect(&[]);
    call.wait_ms(1000);
    call.media(0, REFUSED);
    let uncertain = Duration::from_secs(4);
    assert_failed_over(&mut call, "* failed: the recorder takes no media: its host refuses", uncertain);
}

#[test]
fn a_recorder_that_reports_has_eight_seconds_to_acknowledge_what_is_refused() {
    let mut call = recording(two_recorders());
    (0..2).for_each(|slot| call.media(slot, REPORT));
    call.media(0, REFUSED);
    let refused = call.now;
    for second in 1..8 {
        call.wait_ms(1_000);
        call.media(0, REFUSED);
        if second == 2 {
            call.answer_invite(&sdp(&[4000, 4002]));
        }
        // Of what was sent before.
        call.media(0, REPORT);
    }
    call.expect(&[SUSPECTED, "> INVITE sendonly/sendonly v1", "> ACK"]);
    call.wait_ms(1_000);
    call.media(0, REFUSED);
    assert_eq!(recalled(&call), [refused; 2]);
    let why = "* failed: the recorder takes no media: its host refuses";
    assert_failed_over(&mut call, why, Duration::from_secs(8));
}

#[test]
fn a_flood_of_forged_refusals_loses_no_recorder_whose_reports_acknowledge_what_is_sent() {
    let mut call = recording(two_recorders());
    (0..2).for_each(|slot| call.media(slot, REPORT));
    for second in 0..60 {
        call.wait_ms(1_000);
        (0..2).for_each(|slot| call.media(slot, REFUSED));
        if second == 1 {
            call.answer_invite(&sdp(&[4000, 4002]));
        }
        // Each in its time.
        for slot in (0..2).filter(|slot| second % 6 == 2 + 2 * slot) {
            call.media(slot, REPORT);
            call.media(slot, BranchEvent::RefusalRefuted);
        }
    }
    call.expect(&[SUSPECTED, "> INVITE sendonly/sendonly v1", "> ACK"]);
}

#[test]
fn a_recorder_whose_reports_stop_is_asked_and_is_deaf_if_it_answers_without_one() {
    let mut call = recording(two_recorders());
    call.wait_ms(1000);
    call.media(0, BranchEvent::ReportsStopped);
    call.expect(&["* suspected: its receiver reports have stopped", "> INVITE sendonly/sendonly v1"]);
    call.media(0, REPORT);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    call.wait_ms(1000);
    call.media(0, BranchEvent::ReportsStopped);
    call.take();
    call.answer_invite(&sdp(&[4000, 4002]));
    assert_failed_over(
        &mut call,
        "* failed: the recorder takes no media: its receiver reports",
        Duration::from_secs(1),
    );
}

#[test]
fn each_recorder_takes_what_was_held_at_its_own_pace() {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders[0].profile.catch_up = Some(0.0);
    let mut config = probed();
    config.recorders = recorders.clone().into();
    let mut call = recording(config.clone());
    call.wait_ms(9_000);
    call.answer_invite(&sdp(&[6000, 6002]));
    let pace = |command: &BranchCommand| match command {
        BranchCommand::Open(open) => Some(open.catch_up),
        _ => None,
    };
    assert_eq!(call.branches.iter().filter_map(pace).collect::<Vec<_>>(), [Some(0.0), Some(0.0), None, None]);
    for wrong in [0.5, -1.0, 101.0, f32::NAN] {
        recorders[1].profile.catch_up = Some(wrong);
        config.recorders = recorders.clone().into();
        assert!(matches!(config.check(), Err(ConfigError::CatchUp(_))), "{wrong}");
    }
}

#[test]
fn a_recorder_that_always_reports_need_not_on_a_call_that_sends_nothing() {
    let mut call = recording(reporting());
    call.wait_ms(120_000);
    call.expect(&[]);
    call.media(0, BranchEvent::ReportsStopped);
    call.expect(&["* suspected: it has sent no receiver report", "> INVITE sendonly/sendonly v1"]);
}

#[test]
fn a_recorder_that_always_reports_is_deaf_without_reports() {
    let mut call = recording(reporting());
    let asks = call.branches.iter().filter_map(|command| match command {
        BranchCommand::Open(open) => Some(open.expects_reports),
        _ => None,
    });
    assert_eq!(asks.collect::<Vec<_>>(), [true; 2]);
    for _ in 0..4 {
        call.wait_ms(14_000);
        call.media(0, REPORT);
        // Of the other stream it never reports, and hears all the same.
        call.media(1, BranchEvent::ReportsStopped);
        call.expect(&[]);
    }
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.take();
    call.wait_ms(60_000);
    call.expect(&[]);
    call.command(Command::Resume);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    // Whether packets leave that it could report on, the media engine knows.
    call.wait_ms(15_000);
    call.expect(&[]);
    call.media(1, BranchEvent::ReportsStopped);
    call.expect(&["* suspected: it has sent no receiver report", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    // What it answered by SIP meanwhile says nothing of what was sent since its last report.
    let uncertain = Duration::from_secs(75);
    assert_failed_over(&mut call, "* failed: the recorder takes no media: it has sent no", uncertain);
}

#[test]
fn what_the_media_of_a_silent_stream_meets_says_nothing_of_the_recorder() {
    let mut call = recording(two_recorders());
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.take();
    for _ in 0..5 {
        call.media(0, BranchEvent::ReportsStopped);
        call.media(0, REFUSED);
        call.media(0, BranchEvent::RemoteRefused { component: Component::Rtcp });
        call.wait_ms(1000);
    }
    call.expect(&[]);
}

#[test]
fn a_suspected_recorder_that_has_an_offer_to_answer_is_not_asked_twice() {
    let mut call = recording(two_recorders());
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    call.expect(&["describe 0", "> INVITE sendonly/sendonly v2"]);
    call.media(0, BranchEvent::ReportsStopped);
    call.expect(&["* suspected: its receiver reports have stopped"]);
    call.media(0, REPORT);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    // Nor does it get more time for that answer than for another one.
    call.command(Command::ReplaceParty { slot: 0, dn: "1004".into() });
    call.wait_ms(10_000);
    call.media(0, BranchEvent::ReportsStopped);
    call.take();
    call.wait_ms(2_000);
    assert!(call.take().contains(&"resolve sip:b.example".to_owned()));
}

#[test]
fn a_bye_of_the_recorder_ends_the_session_or_is_a_failure_as_the_policy_says() {
    let (mut call, invite) = invited(two_recorders());

    call.recorder_sends(&invite, "BYE", &[], "");
    let lines = call.take();
    assert!(lines.contains(&"* stopped: recorder-bye".to_owned()), "{lines:?}");

    let mut config = two_recorders();
    config.recorder_bye = ByePolicy::FailOver;
    let (mut call, invite) = invited(config);

    call.wait_ms(1000);
    call.recorder_sends(&invite, "BYE", &[], "");
    assert_eq!(recalled(&call), [call.now; 2]);
    assert_failed_over(&mut call, "* failed: the recorder hung up", Duration::ZERO);
}

/// What the application is told of the recorder's BYE.
fn said(call: &Call) -> (Option<u16>, Option<String>) {
    let said = |event: &SessionEvent| match &event.kind {
        SessionEventKind::Stopped { said, .. }
        | SessionEventKind::Failed { reason: FailureReason::HungUp(said), .. } => Some(said.clone()),
        _ => None,
    };
    let said = call.events.iter().find_map(said).unwrap();
    (said.cause, said.text)
}

#[test]
fn a_bye_that_says_why_the_recorder_cannot_go_on_is_a_failure_whatever_the_policy() {
    for (reason, fails, cause, text) in [
        ("SIP;cause=500;text=\"disk full\"", true, Some(500), Some("disk full")),
        ("Q.850;cause=16, sip ; cause=503", true, Some(503), None),
        ("SIP;cause=200;text=\";cause=500\"", false, Some(200), Some(";cause=500")),
        ("SIP;text=\"a \\\"b\\\"; c\u{1b}\";cause=600", false, Some(600), Some("a \"b\"; c ")),
        ("Q.850;cause=500", false, None, None),
        ("SIP;cause=", false, None, None),
        ("", false, None, None),
    ] {
        let (mut call, invite) = invited(two_recorders());
        call.recorder_sends(&invite, "BYE", &[("Reason", reason)], "");
        assert_eq!(said(&call), (cause, text.map(str::to_owned)), "{reason}");
        if fails {
            assert_failed_over(&mut call, "* failed: the recorder hung up", Duration::ZERO);
        } else {
            let lines = call.take();
            assert!(lines.contains(&"* stopped: recorder-bye".to_owned()), "{reason}: {lines:?}");
        }
    }
}

#[test]
fn a_session_that_is_paused_fails_over_paused() {
    let mut call = recording(probed());
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.take();
    call.wait_ms(9_000);
    let lines = call.take();
    assert!(lines.contains(&"> INVITE inactive/inactive v1".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("hold")), "nothing is held in a pause: {lines:?}");
    call.answer_invite(&sdp_with(&[6000, 6002], "a=inactive\r\n"));
    assert_eq!(call.recording.state(), RecordingState::Paused);
    assert!(!call.take().iter().any(|line| line.starts_with("open")));
    call.command(Command::Resume);
    call.answer_invite(&sdp(&[6000, 6002]));
    assert!(call.take().contains(&"open 0 to 192.0.2.9:6000".to_owned()));
}

#[test]
fn the_new_session_is_the_same_recording_and_call_in_another_dialog() {
    let mut config = probed();
    (config.recording_id, config.call_uuid) = (None, None);
    let (mut call, first) = invited(config);
    call.wait_ms(9_000);
    let second = call.request(&Method::Invite);
    assert_eq!(first.uri.user(), second.uri.user());
    for name in ["calluuid", "dn", "otherDN", "recordDN"] {
        assert!(first.uri.param(name).is_some_and(|value| !value.is_empty()), "{name}");
        assert_eq!(first.uri.param(name), second.uri.param(name), "{name}");
    }
    assert_ne!(first.headers.call_id(), second.headers.call_id());
    assert_ne!(first.headers.from().unwrap().tag(), second.headers.from().unwrap().tag());
}

#[test]
fn recorders_that_failed_before_the_session_was_there_may_be_better_by_now() {
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 503, &[], "");
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call.wait_ms(10_000);
    call.media(0, BranchEvent::ReportsStopped);
    call.wait_ms(2_000);
    let lines = call.take();
    assert!(lines.contains(&"resolve sip:a.example".to_owned()), "{lines:?}");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 503, &[], "");
    // Last of all the one that was lost, which may have been restarted; then no other.
    assert!(call.take().contains(&"resolve sip:b.example".to_owned()));
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 503, &[], "");
    assert!(call.take().contains(&"= failed".to_owned()));
}

#[test]
fn what_the_lost_one_has_not_answered_is_not_repeated_once_it_has_answered_the_bye() {
    let (mut call, invite) = invited(two_recorders());
    call.media(0, BranchEvent::ReportsStopped);
    call.expect(&["* suspected: its receiver reports have stopped", "> INVITE sendonly/sendonly v1"]);
    call.wait_ms(2_000);
    call.answer_bye_of(&invite);
    call.answer_invite(&sdp(&[6000, 6002]));
    call.take();
    // Timer A would repeat the refresh twice more in this time.
    call.wait_ms(8_000);
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("> INVITE")), "{lines:?}");
}

/// The present attempt fails since nobody is there.
fn absent(call: &mut Call, attempt: u32) {
    let reason = "connection refused".into();
    call.input(Input::Transport(TransportEvent::Failed { attempt, reason }));
}

#[test]
fn recorders_that_are_not_there_after_a_loss_are_sought_for_as_long_as_all_is_kept() {
    for comes_back in [true, false] {
        let mut call = recording(probed());
        call.wait(PROBE);
        absent(&mut call, 1);
        absent(&mut call, 1);
        let lost = call.now;
        // The other one is not there, either, and the lost one is not yet.
        let lines = call.take();
        assert!(lines.contains(&"resolve sip:b.example".to_owned()), "{lines:?}");
        absent(&mut call, 2);
        let lines = call.take();
        assert!(lines.contains(&"resolve sip:a.example".to_owned()), "{lines:?}");
        absent(&mut call, 3);
        call.wait_ms(3_999);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("resolve") || line == "= failed"), "{lines:?}");
        call.wait_ms(1);
        let lines = call.take();
        assert!(lines.contains(&"resolve sip:a.example".to_owned()), "{lines:?}");
        if comes_back {
            call.answer_invite(&sdp(&[6000, 6002]));
            let lines = call.take();
            assert!(lines.contains(&"* started".to_owned()), "{lines:?}");
            assert_eq!(call.recording.state(), RecordingState::Recording);
        } else {
            // They are sought each four seconds for as long as all is kept: for 30 s from the last proof of life on.
            let mut attempts = 4..;
            while call.recording.state() != RecordingState::Failed {
                attempts.by_ref().take(2).for_each(|attempt| absent(&mut call, attempt));
                call.wait_ms(500);
            }
            let lasted = call.now - lost;
            assert!((Duration::from_secs(20)..Duration::from_secs(30)).contains(&lasted), "{lasted:?}");
        }
    }
}

#[test]
fn who_answers_refreshes_and_no_questions_is_asked_about_refusals_all_the_same() {
    let mut call = recording(probed());
    // A question is not answered, and the refresh is.
    call.wait_ms(7_000);
    call.answer_invite(&sdp(&[4000, 4002]));
    let lines = call.take();
    assert!(lines.contains(&"* suspected: it does not answer".to_owned()), "{lines:?}");
    call.wait_ms(500);
    for _ in 0..4 {
        call.media(0, REFUSED);
        call.wait_ms(400);
    }
    assert!(call.take().contains(&SUSPECTED.to_owned()));
    call.answer_invite(&sdp(&[4000, 4002]));
    for _ in 0..4 {
        call.media(0, REFUSED);
        call.wait_ms(400);
    }
    let lines = call.take();
    assert!(lines.iter().any(|line| line.starts_with("* failed: the recorder takes no media")), "{lines:?}");
}

/// As where our own link is down, or DNS, or all ports are taken by what has just been lost.
#[test]
fn who_cannot_be_asked_after_a_loss_is_sought_again_too() {
    let reason = || "no way".to_owned();
    for why in ["no address", "no ports", "silence"] {
        let mut call = recording(RecordingConfig { timers: probed().timers, ..config("sip:a.example") });
        call.wait(PROBE);
        call.resolves = why != "no address";
        call.engine.binds = why != "no ports";
        absent(&mut call, 1);
        absent(&mut call, 1);
        match why {
            "no address" => {
                let unresolved = TransportEvent::Unresolved { attempt: 2, reason: reason() };
                call.input(Input::Transport(unresolved));
            }
            "no ports" => call.media(0, BranchEvent::PortsFailed { reason: reason() }),
            _ => call.wait_ms(2_000),
        }
        assert_eq!(call.recording.state(), RecordingState::Starting, "{why}: {:?}", call.take());
        (call.resolves, call.engine.binds) = (true, true);
        call.take();
        call.wire.clear();
        // Four seconds after the loss.
        call.wait_ms(if why == "silence" { 2_000 } else { 4_000 });
        call.answer_invite(&sdp(&[6000, 6002]));
        assert_eq!(call.recording.state(), RecordingState::Recording, "{why}: {:?}", call.take());
    }
}

#[test]
fn a_recorder_that_is_lost_at_once_each_time_is_not_tried_for_ever() {
    let mut call = Call::inviting_with(config("sip:a.example"));
    (0..2).for_each(|slot| call.packet(slot));
    for _ in 0..4 {
        call.answer_invite(&sdp(&[4000, 4002]));
        call.wait_ms(9_000);
        call.take();
        call.media(0, BranchEvent::ReportsStopped);
        call.wait_ms(2_000);
        if call.recording.state() == RecordingState::Failed {
            return;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn a_call_that_ends_while_its_recorder_is_lost_is_delivered_to_the_next() {
    let mut call = recording(probed());
    call.engine.drains = false;
    call.wait_ms(7_000);
    call.command(Command::Stop(siprec_model::StopReason::CallEnded));
    call.take();
    call.wait_ms(2_000);
    let lines = call.take();
    assert!(lines.contains(&"recall 0".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
    call.answer_invite(&sdp(&[6000, 6002]));
    assert!(call.take().contains(&"open 0 to 192.0.2.9:6000".to_owned()));
    for slot in 0..2 {
        call.empty(slot);
    }
    let lines = call.take();
    assert!(lines.contains(&"> BYE".to_owned()) && lines.contains(&"part 0".to_owned()), "{lines:?}");
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped"]);
}
