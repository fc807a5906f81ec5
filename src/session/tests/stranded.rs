//! Parties whose own session has failed while others are recorded: what they say is held and counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, RecordingState, StopReason};
use siprec_session::{Command, RecordingConfig, SessionMode};
use siprec_sip::{Message, Method, Request};
use support::*;

fn per_party(begins_anew: bool) -> RecordingConfig {
    let mut config = config("sip:rec.example");
    (config.mode, config.begins_anew) = (SessionMode::PerParty, begins_anew);
    config
}

/// Every INVITE that was sent since the last look, in order.
fn invites(call: &mut Call) -> Vec<Request> {
    let requests = std::mem::take(&mut call.wire).into_iter().filter_map(|(_, message)| match message {
        Message::Request(request) if request.method == Method::Invite => Some(request),
        _ => None,
    });
    requests.collect()
}

/// A call of 1001 and 1002, of whom the first one's session was refused. The INVITE of the other.
fn stranded(config: RecordingConfig) -> (Call, Request) {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    let [first, second] = invites(&mut call).try_into().unwrap();
    call.take();
    call.answer(&first, 486, &[], "");
    call.expect(&["* failed: the recorder refused: 486 Busy Here", "create 64", "close 0", "> ACK"]);
    (call, second)
}

/// The same, where the other is recorded.
fn beside_a_recorded_one(begins_anew: bool) -> (Call, Request) {
    let (mut call, second) = stranded(per_party(begins_anew));
    call.answer(&second, 200, &[], &sdp(&[4002]));
    call.take();
    call.wire.clear();
    call.packet(64);
    (call, second)
}

#[test]
fn a_copy_whose_sessions_fail_one_after_the_other_begins_anew_with_all_that_each_party_has_said_since() {
    let (mut call, second) = stranded(per_party(true));
    call.packet(64);
    call.wait_ms(1000);
    call.take();
    call.answer(&second, 486, &[], "");
    call.expect(&[
        "* failed: the recorder refused: 486 Busy Here",
        "create 65",
        "close 1",
        "> ACK",
        "= failed",
    ]);
    call.wait_ms(600_000);
    call.expect(&[]);
    call.wire.clear();
    call.command(Command::Start);
    for (invite, port) in invites(&mut call).iter().zip([4000, 4002]) {
        call.answer(invite, 200, &[], &sdp(&[port]));
    }
    let told = call.take();
    for open in ["open 64 to 192.0.2.9:4000", "open 65 to 192.0.2.9:4002"] {
        assert!(told.iter().any(|line| line == open), "{told:?}");
    }
    assert!(!told.iter().any(|line| line.starts_with("create")), "{told:?}");
}

#[test]
fn a_copy_that_does_not_begin_anew_gives_the_account_of_each_party_at_the_end() {
    for end in [Command::Stop(StopReason::CallEnded), Command::StopNow, Command::Conclude] {
        let (mut call, second) = stranded(per_party(true));
        call.answer(&second, 486, &[], "");
        (64..66).for_each(|slot| call.packet(slot));
        call.take();
        call.command(end);
        call.expect(&["close 64", "close 65", "finished"]);
    }
}

#[test]
fn a_party_whose_session_has_failed_is_counted_to_the_end_beside_one_that_is_recorded() {
    for begins_anew in [false, true] {
        let (mut call, _) = beside_a_recorded_one(begins_anew);
        call.wait_ms(600_000);
        call.expect(&[]);
        call.command(Command::Stop(StopReason::CallEnded));
        call.answer_bye();
        call.expect(&[
            "drain 1",
            "drain 64",
            "= draining",
            "part 1",
            "> BYE",
            "close 1",
            "close 64",
            "* stopped: call-ended",
            "= stopped",
            "finished",
        ]);
    }
}

#[test]
fn what_nobody_was_to_get_is_no_reason_to_say_that_the_end_has_taken_too_long() {
    let (mut call, second) = beside_a_recorded_one(false);
    call.engine.drains = false;
    call.command(Command::Stop(StopReason::CallEnded));
    let drain = per_party(false).timers.drain;
    call.wait(drain / 2);
    // Its recorder is lost, and the next one has time anew.
    call.recorder_sends(&second, "BYE", &[("Reason", "SIP;cause=503")], "");
    call.answer_invite(&sdp(&[6002]));
    call.wait(drain * 3 / 4);
    call.empty(1);
    call.answer_bye();
    let told = call.take();
    assert!(told.contains(&"* stopped: call-ended".to_owned()), "{told:?}");
}

#[test]
fn a_party_whose_session_has_failed_holds_nothing_up() {
    let (mut call, second) = stranded(per_party(false));
    call.packet(64);
    call.recorder_sends(&second, "BYE", &[], "");
    call.answer(&second, 486, &[], "");
    let told = call.take();
    assert_eq!(told.iter().filter(|line| line.starts_with("close")).count(), 2, "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("finished"));
    assert_eq!(call.recording.state(), RecordingState::Failed);
}

#[test]
fn what_a_party_says_in_a_pause_is_not_held_for_it_either() {
    let (mut call, _) = beside_a_recorded_one(true);
    call.command(Command::Pause);
    assert!(call.take().contains(&"pause 64".to_owned()));
    call.command(Command::Resume);
    assert!(call.take().contains(&"hold 64".to_owned()));
    call.command(Command::Mute { slot: 0, muted: true });
    call.expect(&["pause 64"]);
}

#[test]
fn a_party_whose_session_has_failed_gives_its_account_when_it_leaves() {
    for leave in [Command::RemoveStream { stream: stream(0) }, Command::PartyLeft { stream: stream(0) }] {
        let (mut call, _) = beside_a_recorded_one(false);
        call.command(leave);
        call.expect(&["drain 64", "close 64"]);
        assert_eq!(call.recording.state(), RecordingState::Recording);
    }
}

#[test]
fn a_session_that_a_party_gets_by_another_stream_takes_what_is_held_of_it_too() {
    let (mut call, _) = beside_a_recorded_one(false);
    call.command(Command::SetDn { slot: 2, dn: "1001".into() });
    call.add(2);
    call.format(2, video(97, "H264"));
    call.expect(&["create 2", "describe 2", "resolve sip:rec.example", "> INVITE sendonly/sendonly v1"]);
    call.answer_invite(&sdp_of(&["audio 6000", "video 6002"]));
    assert!(call.take().contains(&"open 64 to 192.0.2.9:6000".to_owned()));
}

#[test]
fn what_a_party_brings_whose_branch_has_crashed_is_counted_on_another_one() {
    let (mut call, _) = beside_a_recorded_one(true);
    call.media(1, BranchEvent::Crashed { reason: "panic".into() });
    let told = call.take();
    assert!(told.contains(&"create 65".to_owned()), "{told:?}");
    assert_eq!(call.recording.state(), RecordingState::Failed);
    // One that crashes too is made anew with the recording alone.
    call.media(64, BranchEvent::Crashed { reason: "panic".into() });
    call.command(Command::Stop(StopReason::CallEnded));
    call.answer_bye();
    assert_eq!(call.finished, 1);
}

#[test]
fn who_is_left_behind_without_a_recorder_has_the_recording_fail_and_begin_anew() {
    // 1001's session has failed, and 1002 leaves.
    let (mut call, _) = beside_a_recorded_one(true);
    call.command(Command::RemoveStream { stream: stream(1) });
    call.answer_bye();
    call.expect(&[
        "drain 1",
        "part 1",
        "> BYE",
        "= starting",
        "close 1",
        "* stopped: party-left",
        "= failed",
    ]);
    call.command(Command::Start);
    call.answer_invite(&sdp(&[6000]));
    assert!(call.take().contains(&"open 64 to 192.0.2.9:6000".to_owned()));

    // 1002 leaves, and 1001's session fails.
    let mut call = Call::inviting_with(per_party(true));
    (0..2).for_each(|slot| call.packet(slot));
    let both: [Request; 2] = invites(&mut call).try_into().unwrap();
    for (invite, port) in both.iter().zip([4000, 4002]) {
        call.answer(invite, 200, &[], &sdp(&[port]));
    }
    call.wire.clear();
    call.command(Command::RemoveStream { stream: stream(1) });
    call.answer_bye();
    call.take();
    call.recorder_sends(&both[0], "BYE", &[("Reason", "SIP;cause=503")], "");
    for _ in 0..20 {
        for invite in invites(&mut call) {
            call.answer(&invite, 486, &[], "");
        }
        call.wait_ms(4000);
    }
    let told = call.take();
    assert!(told.contains(&"= failed".to_owned()) && told.contains(&"create 64".to_owned()), "{told:?}");
}

#[test]
fn the_recording_of_who_is_left_behind_without_a_recorder_is_over_as_one_that_has_failed() {
    let (mut call, _) = beside_a_recorded_one(false);
    call.command(Command::RemoveStream { stream: stream(1) });
    call.answer_bye();
    call.expect(&[
        "drain 1",
        "part 1",
        "> BYE",
        "= starting",
        "close 1",
        "close 64",
        "* stopped: party-left",
        "= failed",
        "finished",
    ]);
}
