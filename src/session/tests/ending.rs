//! The end of a call at a recorder that answers SIP and may not have had the media: its answer to the BYE is not enough.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{BranchEvent, Component, RecordingState, StopReason};
use siprec_session::{Command, Input, RecordingConfig, SessionMode, TransportEvent, parse_recorders};
use siprec_sip::Method;
use support::*;

const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
const REFUSED: BranchEvent = BranchEvent::RemoteRefused { component: Component::Rtp };

fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

/// Two recorders that always send receiver reports.
fn two_that_report() -> RecordingConfig {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.expects_reports = true);
    RecordingConfig { recorders: recorders.into(), ..two_recorders() }
}

/// A call that is being recorded since now.
fn recorded(config: RecordingConfig) -> Call {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call
}

fn hang_up(call: &mut Call) {
    call.command(Command::Stop(StopReason::CallEnded));
}

/// The recorder is given up for this reason, and the next one gets what was sent since a moment.
#[track_caller]
fn assert_redelivered(call: &mut Call, reason: &str, since: Instant) {
    let lines = call.take();
    let failed = format!("* failed: the recorder takes no media: {reason}");
    assert!(lines.iter().any(|line| line.starts_with(&failed)), "{lines:?}");
    assert_eq!(call.recalled(), [(0, since), (1, since)]);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    for line in ["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002", "* failed over from sip:a.example"] {
        assert!(lines.iter().any(|other| other.starts_with(line)), "{line}: {lines:?}");
    }
    let mut last = lines.last().cloned();
    if reason == "it has sent no receiver report" {
        // Nor is the next one believed without any.
        assert_ne!(last.as_deref(), Some("> BYE"));
        call.media(0, REPORT);
        last = call.take().pop();
    }
    assert_eq!(last.as_deref(), Some("> BYE"));
    call.answer_bye_of(&invite);
    assert_eq!(call.recording.state(), RecordingState::Stopped);
}

/// The session ends as one whose recorder has everything.
#[track_caller]
fn assert_ended(call: &mut Call) {
    call.answer_bye();
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
    assert!(lines.contains(&"* stopped: call-ended".to_owned()), "{lines:?}");
    assert_eq!(call.recalled(), []);
}

#[test]
fn what_its_host_refuses_to_the_end_the_recorder_has_not_whatever_it_answers() {
    for (seconds, refused) in [(0, &[0][..]), (2, &[1]), (1, &[0, 1])] {
        let mut call = recorded(two_recorders());
        let begun = call.now;
        call.wait_ms(50);
        let refused_since = call.now;
        let mut answered = false;
        for _ in 0..=seconds {
            refused.iter().for_each(|slot| call.media(*slot, REFUSED));
            // That it answers the question says nothing of the media.
            if let Some(question) = call.find_request(&Method::Invite) {
                call.answer(&question, 200, &[], &sdp(&[4000, 4002]));
                answered = true;
            }
            call.wait_ms(900);
        }
        call.take();
        hang_up(&mut call);
        assert_redelivered(
            &mut call,
            "its host refuses the media",
            if answered { refused_since } else { begun },
        );
        assert_eq!(answered, seconds > 0);
    }
}

#[test]
fn a_host_that_has_begun_to_take_the_media_has_it() {
    let mut call = recorded(two_recorders());
    call.media(0, REFUSED);
    call.wait_ms(2_600);
    call.media(0, BranchEvent::RefusalsOver);
    hang_up(&mut call);
    assert_ended(&mut call);
}

#[test]
fn a_silence_or_a_pause_does_not_end_what_its_host_has_refused() {
    for pauses in [false, true] {
        let mut call = recorded(two_recorders());
        call.media(0, REFUSED);
        if pauses {
            call.command(Command::Pause);
            call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
        }
        call.wait(Duration::from_secs(15));
        call.take();
        hang_up(&mut call);
        call.wait_ms(500);
        let lines = call.take();
        assert!(lines.iter().any(|line| line.ends_with("its host refuses the media (ICMP)")), "{lines:?}");
        assert_eq!(call.recalled().len(), 2, "{lines:?}");
    }
}

#[test]
fn what_left_before_a_pause_or_mute_may_be_refused_a_moment_later() {
    let mute = Command::Mute { slot: 1, muted: true };
    for (silence, later_ms, is_heeded) in
        [(Command::Pause, 5, true), (mute, 900, true), (Command::Pause, 1_000, false)]
    {
        let mut call = recorded(two_recorders());
        let begun = call.now;
        call.wait_ms(100);
        call.command(silence);
        call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
        call.wait_ms(later_ms);
        call.media(0, REFUSED);
        call.wait_ms(15_000);
        call.take();
        hang_up(&mut call);
        call.wait_ms(500);
        if is_heeded {
            let lines = call.take();
            let failed = "* failed: the recorder takes no media: its host refuses the media (ICMP)";
            assert!(lines.contains(&failed.to_owned()), "{lines:?}");
            assert_eq!(call.recalled().iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0, 1]);
            assert!(call.recalled()[0].1 >= begun);
        } else {
            assert_ended(&mut call);
        }
    }
}

#[test]
fn what_was_refused_as_a_pause_began_counts_when_it_is_over() {
    for taken in [false, true] {
        let mut call = recorded(two_recorders());
        call.command(Command::Pause);
        call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
        call.media(0, REFUSED);
        call.command(Command::Resume);
        call.answer_invite(&sdp(&[4000, 4002]));
        call.wait_ms(2_600);
        call.take();
        if taken {
            call.media(0, BranchEvent::RefusalsOver);
            hang_up(&mut call);
            assert_ended(&mut call);
        } else {
            hang_up(&mut call);
            let lines = call.take();
            assert!(lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
            assert_eq!(call.recalled().len(), 2);
        }
    }
}

/// The ports are the same, and what is refused at one recorder says nothing of the next.
#[test]
fn what_the_recorder_before_has_refused_as_a_pause_began_says_nothing_of_the_next() {
    let mut call = recorded(two_recorders());
    call.command(Command::Pause);
    call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason: "connection refused".into() }));
    let invite = call.answer_invite(&sdp_with(&[6000, 6002], "a=inactive\r\n"));
    call.media(0, REFUSED);
    call.take();
    hang_up(&mut call);
    call.wait_ms(150);
    call.answer_invite(&sdp(&[6000, 6002]));
    call.answer_bye_of(&invite);
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
}

#[test]
fn a_recorder_that_reports_has_time_to_report_on_what_its_host_is_said_to_refuse() {
    for refuted in [true, false] {
        let mut call = recorded(two_recorders());
        (0..2).for_each(|slot| call.media(slot, REPORT));
        let begun = call.now;
        call.wait_ms(1_000);
        call.media(0, REFUSED);
        call.wait_ms(500);
        call.take();
        hang_up(&mut call);
        call.wait_ms(7_400);
        assert_eq!(call.take(), ["drain 0", "drain 1", "= draining"]);
        if refuted {
            call.media(0, BranchEvent::RefusalRefuted);
            assert_ended(&mut call);
        } else {
            call.wait_ms(100);
            assert_redelivered(&mut call, "its host refuses the media", begun);
        }
    }
}

#[test]
fn a_report_that_is_overdue_at_the_end_is_waited_for() {
    for comes in [true, false] {
        let mut call = recorded(two_recorders());
        let begun = call.now;
        call.wait_ms(1_000);
        (0..2).for_each(|slot| call.media(slot, REPORT));
        call.wait_ms(7_500);
        call.media(1, BranchEvent::ReportOverdue);
        call.take();
        hang_up(&mut call);
        call.wait_ms(4_900);
        assert_eq!(call.take(), ["drain 0", "drain 1", "= draining"]);
        if comes {
            call.media(1, REPORT);
            assert_ended(&mut call);
            continue;
        }
        call.wait_ms(100);
        assert_redelivered(&mut call, "its receiver reports have stopped", begun);
    }
}

#[test]
fn a_recorder_that_always_reports_and_has_not_is_waited_for() {
    for comes in [true, false] {
        let mut call = recorded(two_that_report());
        let begun = call.now;
        call.wait_ms(7_500);
        (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportOverdue));
        call.wait_ms(500);
        call.take();
        hang_up(&mut call);
        call.wait_ms(4_900);
        assert_eq!(call.take(), ["drain 0", "drain 1", "= draining"]);
        if comes {
            call.media(0, REPORT);
            assert_ended(&mut call);
            continue;
        }
        call.wait_ms(100);
        assert_redelivered(&mut call, "it has sent no receiver report", begun);
    }
}

/// It may be deaf, and what another one had before is sent to it anew: none of that is believed without a single report.
#[test]
fn the_first_report_of_a_recorder_that_always_reports_is_waited_for_however_short_the_call() {
    for (seconds, waits_ms) in [(0, 7_500), (2, 5_500), (6, 5_000)] {
        for comes in [true, false] {
            let mut call = recorded(two_that_report());
            let begun = call.now;
            call.wait(Duration::from_secs(seconds));
            hang_up(&mut call);
            call.wait_ms(waits_ms - 1);
            assert_eq!(call.take(), ["drain 0", "drain 1", "= draining"]);
            if comes {
                call.media(1, REPORT);
                assert_ended(&mut call);
                continue;
            }
            call.wait_ms(1);
            let lines = call.take();
            let failed = "* failed: the recorder takes no media: it has sent no receiver report";
            assert!(lines.contains(&failed.to_owned()), "{lines:?}");
            assert_eq!(call.recalled(), [(0, begun), (1, begun)]);
            // The next one owes a report, too.
            let invite = call.request(&Method::Invite);
            call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
            call.wait_ms(3_000);
            assert!(!call.take().contains(&"part 0".to_owned()));
            call.media(0, REPORT);
            call.answer_bye_of(&invite);
            assert!(call.take().contains(&"* stopped: call-ended".to_owned()));
        }
    }
}

#[test]
fn a_deaf_recorder_that_gets_all_anew_as_the_call_ends_is_found_before_that_is_over() {
    let mut call = recorded(two_that_report());
    call.wait_ms(15_000);
    (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportsStopped));
    call.wait_ms(2_000);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let begun = call.now;
    call.take();
    call.wait_ms(1_000);
    // It is still being sent what the first one may not have.
    call.engine.drains = false;
    hang_up(&mut call);
    call.wait_ms(6_499);
    assert!(!call.take().iter().any(|line| line.starts_with("* failed")));
    call.wait_ms(1);
    let lines = call.take();
    let failed = "* failed: the recorder takes no media: it has sent no receiver report";
    assert!(lines.contains(&failed.to_owned()), "{lines:?}");
    assert!(call.recalled().ends_with(&[(0, begun), (1, begun)]));
}

#[test]
fn a_recorder_that_always_reports_and_answers_after_the_call_has_its_time_to_report() {
    for comes in [true, false] {
        let mut call = Call::inviting_with(two_that_report());
        (0..2).for_each(|slot| call.packet(slot));
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 180, &[], "");
        call.wait_ms(500);
        hang_up(&mut call);
        call.wait_ms(5_000);
        call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
        // Longer than `drain-timeout`.
        call.wait_ms(7_400);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("* failed") || line == "> BYE"), "{lines:?}");
        if comes {
            call.media(0, REPORT);
            assert_ended(&mut call);
            continue;
        }
        call.wait_ms(100);
        let lines = call.take();
        assert!(lines.contains(&"resolve sip:b.example".to_owned()), "{lines:?}");
        assert_eq!(call.recalled().len(), 2);
    }
}

#[test]
fn the_first_report_is_waited_for_where_a_party_leaves_its_own_session_too() {
    for comes in [true, false] {
        let mut call = Call::new(RecordingConfig { mode: SessionMode::PerParty, ..two_that_report() });
        call.add(0);
        call.format(0, pcmu());
        call.packet(0);
        call.answer_invite(&sdp(&[4000]));
        call.command(Command::PartyLeft { stream: stream(0) });
        call.wait_ms(7_400);
        assert!(!call.take().contains(&"> BYE".to_owned()));
        if comes {
            call.media(0, REPORT);
            call.expect(&["part 0", "> BYE", "= starting"]);
            continue;
        }
        call.wait_ms(100);
        let lines = call.take();
        assert!(lines.contains(&"resolve sip:b.example".to_owned()), "{lines:?}");
    }
}

#[test]
fn a_recorder_that_was_sent_nothing_owes_no_report_at_the_end() {
    let mut call = Call::inviting_with(two_that_report());
    call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(1_000);
    call.take();
    hang_up(&mut call);
    call.wait_ms(200);
    assert!(call.take().contains(&"> BYE".to_owned()));
}

#[test]
fn a_recorder_that_is_lost_at_the_end_leaves_the_next_one_all_of_the_time() {
    for takes_all in [true, false] {
        let mut call = recorded(two_that_report());
        call.wait_ms(7_500);
        (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportOverdue));
        hang_up(&mut call);
        call.engine.drains = false;
        call.wait_ms(5_000);
        let lines = call.take();
        assert!(lines.iter().any(|line| line.starts_with("* failed: ")), "{lines:?}");
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
        assert!(call.take().contains(&"open 0 to 192.0.2.9:6000".to_owned()));
        // Of the 10 s that the end may take, 5 are over; 30 s are kept of each stream.
        for _ in 0..14 {
            call.wait_ms(2_000);
            call.media(0, REPORT);
        }
        call.wait_ms(1_999);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with(['*', '='])), "{lines:?}");
        if takes_all {
            (0..2).for_each(|slot| call.empty(slot));
        } else {
            call.wait_ms(1);
        }
        call.answer_bye_of(&invite);
        let told = if takes_all { "* stopped: call-ended" } else { "* stopped: drain-timeout" };
        let lines = call.take();
        assert!(lines.contains(&told.to_owned()), "{lines:?}");
    }
}

#[test]
fn a_recorder_that_is_lost_shortly_before_the_end_leaves_the_next_one_all_of_the_time() {
    for accepts_before in [true, false] {
        let mut call = recorded(two_recorders());
        call.media(0, REPORT);
        call.wait_ms(18_000);
        call.media(0, BranchEvent::ReportsStopped);
        call.wait_ms(2_000);
        let invite = call.request(&Method::Invite);
        let accept = |call: &mut Call| call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
        call.engine.drains = false;
        if accepts_before {
            accept(&mut call);
        }
        call.wait_ms(500);
        hang_up(&mut call);
        call.wait_ms(1_400);
        if !accepts_before {
            accept(&mut call);
        }
        call.take();
        // `hold-time`, from when the next one has accepted, or from the end on.
        call.wait_ms(27_500);
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with(['*', '='])), "{lines:?}");
        (0..2).for_each(|slot| call.empty(slot));
        call.answer_bye_of(&invite);
        let lines = call.take();
        assert!(lines.contains(&"* stopped: call-ended".to_owned()), "{lines:?}");
    }
}

#[test]
fn a_recorder_that_always_reports_need_not_at_the_end_on_what_has_not_left() {
    let mut call = recorded(two_that_report());
    // All has been reported on that has left since: the media engine calls no report overdue.
    call.media(0, REPORT);
    call.wait_ms(8_000);
    call.take();
    hang_up(&mut call);
    assert_ended(&mut call);
}

#[test]
fn what_is_in_doubt_when_the_drain_time_is_over_is_told_as_lost() {
    let mut config = two_recorders();
    config.timers.drain = Duration::from_secs(3);
    let mut call = recorded(config);
    call.media(0, REPORT);
    call.wait_ms(7_500);
    call.media(0, REFUSED);
    hang_up(&mut call);
    call.take();
    call.wait_ms(2_999);
    assert_eq!(call.take(), Vec::<String>::new());
    call.wait_ms(1);
    let lines = call.take();
    assert!(lines.iter().any(|line| line.starts_with("* failed: the recorder takes no media")), "{lines:?}");
    assert_eq!(call.recalled().len(), 2, "what is recalled and not delivered is told by the branch");
    assert!(matches!(call.recording.state(), RecordingState::Stopped | RecordingState::Failed), "{lines:?}");
}

#[test]
fn an_offer_that_holds_up_the_end_of_the_call_is_answered_soon_or_the_next_recorder_gets_it() {
    let mut call = recorded(two_recorders());
    call.command(Command::Pause);
    call.request(&Method::Invite);
    call.command(Command::Resume);
    call.wait_ms(5_000);
    call.take();
    hang_up(&mut call);
    let failed = |lines: &[String]| lines.iter().any(|line| line.starts_with("* failed: "));
    call.wait_ms(1_999);
    let lines = call.take();
    assert!(!failed(&lines), "{lines:?}");
    call.wait_ms(1);
    let lines = call.take();
    assert!(failed(&lines) && lines.contains(&"resolve sip:b.example".to_owned()), "{lines:?}");
    assert_eq!(call.recalled().len(), 2);
}

#[test]
fn a_report_that_has_not_come_when_the_drain_time_is_over_proves_nothing() {
    let mut config = two_recorders();
    config.timers.drain = Duration::from_secs(3);
    let mut call = recorded(config);
    call.media(0, REPORT);
    call.wait_ms(7_500);
    call.media(0, BranchEvent::ReportOverdue);
    call.take();
    hang_up(&mut call);
    call.wait_ms(3_000);
    call.answer_bye();
    let lines = call.take();
    assert!(!lines.iter().any(|line| line.starts_with("* failed")), "{lines:?}");
    assert_eq!(call.recalled(), []);
}

#[test]
fn a_report_that_was_overdue_before_a_pause_may_come_in_it_and_is_not_forgiven() {
    for comes in [true, false] {
        let mut call = recorded(two_recorders());
        call.media(0, REPORT);
        call.wait_ms(7_500);
        call.media(0, BranchEvent::ReportOverdue);
        call.command(Command::Pause);
        call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
        if comes {
            call.media(0, REPORT);
        }
        call.wait(Duration::from_secs(60));
        call.take();
        hang_up(&mut call);
        call.wait_ms(500);
        if comes {
            assert_ended(&mut call);
            continue;
        }
        let lines = call.take();
        assert!(lines.iter().any(|line| line.ends_with("its receiver reports have stopped")), "{lines:?}");
        assert_eq!(call.recalled().len(), 2, "{lines:?}");
    }
}

#[test]
fn a_released_stream_whose_media_is_refused_goes_to_the_next_recorder() {
    let mut call = recorded(two_recorders());
    call.media(1, REFUSED);
    call.wait_ms(500);
    call.take();
    call.command(Command::RemoveStream { stream: stream(1) });
    let lines = call.take();
    assert!(lines.iter().any(|line| line.starts_with("* failed: the recorder takes no media")), "{lines:?}");
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "{lines:?}");
}

#[test]
fn where_nobody_else_is_left_it_has_failed() {
    let mut call = recorded(config("sip:a.example"));
    call.media(0, REFUSED);
    call.wait_ms(500);
    call.take();
    hang_up(&mut call);
    call.wait(Duration::from_secs(12));
    let lines = call.take();
    assert!(lines.iter().any(|line| line.starts_with("* failed: the recorder takes no media")), "{lines:?}");
    assert_eq!(call.recalled().len(), 2);
    assert!(call.recording.state() == RecordingState::Failed, "{lines:?}");
}
