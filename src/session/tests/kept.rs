//! Streams that end before their session: what they have sent is the recorder's only when that has shown later that it lives.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchEvent, Component, RecordingState, StopReason, TimeSpan};
use siprec_session::{Command, Input, RecordingConfig, TransportEvent};
use siprec_sip::{Method, Request};
use support::*;

const PROBE: Duration = Duration::from_secs(5);

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

/// So many seconds into the call.
fn at(call: &Call, seconds: u64) -> Instant {
    call.epoch + Duration::from_secs(seconds)
}

fn wait_until(call: &mut Call, seconds: u64) {
    let at = at(call, seconds);
    call.wait(at - call.now);
}

/// A report of a stream comes that shows that all was heard between these seconds of the call.
fn hear(call: &mut Call, slot: u16, from: u64, to: u64) {
    let unbroken = TimeSpan { from: at(call, from), to: at(call, to) };
    call.media(slot, report(unbroken));
}

fn is_closed(call: &mut Call) -> bool {
    call.take().contains(&"close 1".to_owned())
}

/// The second party is released at 16 s, of which reports told until the end of the second given, if any did.
fn released(own: Option<u64>) -> Call {
    let mut call = recording(two_recorders());
    wait_until(&mut call, 5);
    hear(&mut call, 0, 5, 5);
    if let Some(own) = own {
        wait_until(&mut call, own);
        hear(&mut call, 1, 5, own);
    }
    wait_until(&mut call, 16);
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.take();
    call
}

#[test]
fn of_a_recorder_that_reports_the_reports_of_another_stream_prove_it_that_go_on_for_two_seconds() {
    let mut call = released(Some(12));
    wait_until(&mut call, 18);
    hear(&mut call, 0, 5, 18);
    assert!(!is_closed(&mut call));
    call.wait_ms(1);
    let unbroken = TimeSpan { from: at(&call, 12), to: call.now };
    call.media(0, report(unbroken));
    assert!(is_closed(&mut call));
}

#[test]
fn reports_that_begin_behind_its_own_last_one_prove_nothing_of_a_stream() {
    // A stream that no report has told of, or until 12 s, and another one that is heard from that second on.
    for (own, heard_from) in [(None, 5), (Some(12), 13)] {
        let mut call = released(own);
        for seconds in [18, 23, 28] {
            wait_until(&mut call, seconds);
            hear(&mut call, 0, heard_from, seconds);
        }
        assert!(!is_closed(&mut call), "{own:?}");
        lose_in_silence(&mut call);
        assert!(call.take().contains(&"recall 1".to_owned()), "{own:?}");
    }
}

#[test]
fn a_stream_that_has_come_and_gone_in_a_cut_is_kept_until_another_one_tells_of_it() {
    let mut settings = two_recorders();
    settings.timers.probe = PROBE * 2;
    let mut call = Call::inviting_with(settings);
    call.packet(0);
    call.answer_invite(&sdp(&[4000, 4002]));
    for seconds in [5, 9] {
        wait_until(&mut call, seconds);
        hear(&mut call, 0, 5, seconds);
    }
    // The way of the media is cut at 12 s; the recorder answers by SIP all the while.
    wait_until(&mut call, 13);
    call.packet(1);
    wait_until(&mut call, 16);
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.take();
    wait_until(&mut call, 18);
    // Nobody knows yet what becomes of the hole, and a third one has joined.
    hear(&mut call, 0, 5, 12);
    call.command(Command::AddStream { slot: 2, stream: stream(9) });
    call.command(Command::StreamFormat { stream: stream(9), format: pcmu() });
    call.packet(2);
    call.answer_invite(&sdp(&[4000, 0, 4004]));
    for seconds in [20, 22] {
        wait_until(&mut call, seconds);
        hear(&mut call, 2, 20, seconds);
    }
    assert!(!is_closed(&mut call));
    wait_until(&mut call, 23);
    let within = TimeSpan { from: at(&call, 12), to: at(&call, 18) };
    call.media(0, BranchEvent::StretchMissed { packets: 200, within: Some(within) });
    hear(&mut call, 0, 5, 12);
    call.answer_invite(&sdp(&[6000, 0, 6004]));
    let recalled: Vec<_> = call.recalled().into_iter().filter(|(slot, _)| *slot == 1).collect();
    assert_eq!(recalled, [(1, at(&call, 12))], "since before the cut, whatever it answered by SIP");
    call.answer_invite(&sdp(&[6000, 6002, 6004]));
    assert!(call.take().contains(&"open 1 to 192.0.2.9:6002".to_owned()));
}

#[test]
fn what_nobody_gets_of_a_hole_others_have_missed_too_also_those_that_have_ended() {
    let mut call = released(None);
    wait_until(&mut call, 20);
    let within = TimeSpan { from: at(&call, 12), to: at(&call, 18) };
    call.media(0, BranchEvent::StretchLost { within });
    call.expect(&["concede 1"]);
    assert!(call.branches.contains(&BranchCommand::Concede { branch: branch(1), within }));
}

#[test]
fn a_report_proves_nothing_of_what_left_when_it_says_that_packets_have_not_come() {
    let mut call = released(Some(12));
    wait_until(&mut call, 21);
    hear(&mut call, 0, 5, 16);
    assert!(!is_closed(&mut call));
    let invite = lose_in_silence(&mut call);
    assert!(call.take().contains(&"recall 1".to_owned()));
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    call.answer_invite(&sdp(&[6000, 0]));
    let begun = call.now;
    call.wait_ms(2_001);
    let unbroken = TimeSpan { from: begun, to: call.now };
    call.media(0, report(unbroken));
    assert!(is_closed(&mut call));
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
