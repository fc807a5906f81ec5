//! In what order recorders are tried once one of them has lost a session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, RecordingState};
use siprec_sip::Method;
use support::*;

fn calling(recorders: &str) -> Call {
    let mut call = Call::inviting_with(config(recorders));
    (0..2).for_each(|slot| call.packet(slot));
    call
}

/// Which recorders an address was sought of since this was asked last: their first letters.
fn tried(call: &mut Call) -> String {
    call.take().iter().filter_map(|line| line.strip_prefix("resolve sip:")?.chars().next()).collect()
}

fn accept(call: &mut Call) {
    call.answer_invite(&sdp(&[4000, 4002]));
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

fn refuse(call: &mut Call) {
    refuse_with(call, 503, &[]);
}

fn refuse_with(call: &mut Call, status: u16, headers: &[(&str, &str)]) {
    let invite = call.request(&Method::Invite);
    call.answer(&invite, status, headers, "");
}

/// The recorder that has the session is deaf. Which one is tried then.
fn lose(call: &mut Call) -> String {
    call.wait_ms(9_000);
    call.media(0, BranchEvent::ReportsStopped);
    tried(call);
    call.wait_ms(2_000);
    tried(call)
}

/// Who has the session accepts it, has it for so long and 11 s more, and loses it, so many times. In what order they were tried.
fn lost_in_turn(call: &mut Call, times: usize, milliseconds: u64) -> String {
    let mut order = tried(call);
    for _ in 0..times {
        accept(call);
        call.wait_ms(milliseconds);
        order += &lose(call);
    }
    order
}

#[test]
fn who_was_not_tried_comes_first_then_who_failed_then_who_lost_it_and_the_last_one_last() {
    let mut call = calling("sip:a.example sip:b.example sip:c.example sip:d.example");
    refuse(&mut call);
    accept(&mut call);
    assert_eq!(tried(&mut call), "ab");
    assert_eq!(lose(&mut call), "c");
    accept(&mut call);
    assert_eq!(lose(&mut call), "d");
    refuse(&mut call);
    refuse(&mut call);
    // `d` has failed, too, but in this round: it is not tried twice.
    assert_eq!(tried(&mut call), "ab");
    refuse(&mut call);
    assert_eq!(tried(&mut call), "c");
    refuse(&mut call);
    assert_eq!(call.recording.state(), RecordingState::Failed);
}

#[test]
fn two_that_are_lost_in_turn_are_tried_in_turn() {
    let mut call = calling("sip:a.example sip:b.example");
    assert_eq!(lost_in_turn(&mut call, 3, 0), "abab");
}

#[test]
fn the_fourth_loss_in_a_row_leaves_who_was_not_tried_yet() {
    let mut call = calling("sip:a.example sip:b.example sip:c.example sip:d.example sip:e.example");
    assert_eq!(lost_in_turn(&mut call, 4, 0), "abcde");
    refuse(&mut call);
    assert_eq!(call.recording.state(), RecordingState::Failed);
}

#[test]
fn one_that_has_had_the_session_for_thirty_seconds_begins_a_new_count() {
    let mut call = calling("sip:a.example sip:b.example");
    assert_eq!(lost_in_turn(&mut call, 6, 20_000), "abababa");
}

#[test]
fn where_a_recorder_sends_the_session_it_may_send_it_again() {
    let mut call = calling("sip:a.example sip:b.example");
    refuse_with(&mut call, 302, &[("Contact", "<sip:c.example>")]);
    accept(&mut call);
    assert_eq!(tried(&mut call), "ac");
    assert_eq!(lose(&mut call), "b");
    refuse(&mut call);
    assert_eq!(tried(&mut call), "a");
    refuse_with(&mut call, 302, &[("Contact", "<sip:c.example>")]);
    assert_eq!(tried(&mut call), "c");
    accept(&mut call);
}

#[test]
fn one_that_is_just_being_started_is_waited_for_after_a_loss() {
    let retry_after = |seconds: &'static str| [("Retry-After", seconds)];
    for (first, then, waits) in [("1", "1", Some(4_000)), ("1", "3", Some(4_500)), ("5", "6", None)] {
        let mut call = calling("sip:a.example sip:b.example");
        accept(&mut call);
        lose(&mut call);
        call.wait_ms(1_500);
        refuse_with(&mut call, 503, &retry_after(first));
        refuse_with(&mut call, 503, &retry_after(then));
        let Some(waits) = waits else {
            assert_eq!(call.recording.state(), RecordingState::Failed);
            continue;
        };
        tried(&mut call);
        call.wait_ms(waits - 1_500 - 1);
        assert_eq!(tried(&mut call), "", "{then}");
        call.wait_ms(1);
        assert_eq!(tried(&mut call), "a", "{then}");
        accept(&mut call);
    }
}
