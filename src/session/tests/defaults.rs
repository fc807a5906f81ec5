//! The defaults fit together: what is kept is longer than it takes to find that a recorder is lost and to try the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::{BranchCommand, BranchEvent, BranchLimits, RECALL_OVERLAP};
use siprec_session::{RecordingConfig, Timers};
use siprec_sip::{Method, Request};
use support::*;

/// What is to be left over.
const SPARE: Duration = Duration::from_secs(5);

fn recording(mut config: RecordingConfig) -> Call {
    config.timers = Timers::default();
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call
}

/// The recorder answers its questions for so long.
fn live(call: &mut Call, seconds: u32) {
    for _ in 0..seconds {
        call.wait_ms(1_000);
        if let Some(options) = call.find_request(&Method::Options) {
            call.answer(&options, 200, &[], "");
        }
    }
}

/// The recorder that is invited now says that it works on it, and nothing more for nearly as long as it may.
fn ring(call: &mut Call) -> Request {
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 100, &[], "");
    call.wait_ms(5_999);
    invite
}

/// The recorder that is invited now accepts: from when on it must get what was sent, this is how old the first of that is.
#[track_caller]
fn assert_kept(call: &mut Call, invite: &Request) {
    let since = |command: &BranchCommand| match command {
        BranchCommand::Recall { branch, since, .. } if branch.slot == 0 => Some(*since),
        _ => None,
    };
    let since = call.branches.iter().rev().find_map(since).unwrap();
    call.take();
    call.answer(invite, 200, &[], &sdp(&[6000, 6002]));
    assert!(call.take().contains(&"open 0 to 192.0.2.9:6000".to_owned()));
    let age = call.now - since + RECALL_OVERLAP;
    assert!(age + SPARE <= BranchLimits::default().hold_time, "{age:?}");
}

#[test]
fn a_recorder_that_falls_silent_and_two_that_only_ring_take_less_than_the_hold_time() {
    let mut call = recording(config("sip:a.example sip:b.example sip:c.example"));
    live(&mut call, 5);
    // It has answered a question, and dies.
    call.wait_ms(7_000);
    // The last question is the session's refresh.
    call.request(&Method::Invite);
    call.wait_ms(2_000);
    ring(&mut call);
    call.wait_ms(1);
    let last = ring(&mut call);
    assert_kept(&mut call, &last);
}

#[test]
fn a_deaf_recorder_that_always_reports_and_one_that_only_rings_take_less_than_the_hold_time() {
    let mut config = config("sip:a.example sip:b.example");
    for recorder in config.recorders.listed_mut() {
        recorder.profile.expects_reports = true;
    }
    let mut call = recording(config);
    live(&mut call, 14);
    call.wait_ms(1_000);
    call.media(0, BranchEvent::ReportsStopped);
    let refresh = call.request(&Method::Invite);
    call.wait_ms(1_999);
    call.take();
    call.answer(&refresh, 200, &[], &sdp(&[4000, 4002]));
    let last = ring(&mut call);
    assert_kept(&mut call, &last);
}
