//! How a recording asks for its recorders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::{BranchEvent, SessionEventKind};
use siprec_session::{
    Input, NoRecorder, Output, RecorderTarget, RecorderWish, Recorders, SessionMode, TransportEvent, Unfit,
};
use siprec_sip::Method;
use support::*;

fn pooled() -> Call {
    let mut config = config("sip:unused.example");
    config.recorders = Recorders::Pool { name: "east".parse().unwrap(), location: Some("oslo".to_owned()) };
    let mut call = Call::new(config);
    call.chooses = false;
    call
}

fn describe_parties(call: &mut Call) {
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
}

fn wishes(call: &mut Call) -> Vec<(u32, RecorderWish)> {
    let mut wishes = Vec::new();
    call.check_now(|output| {
        if let Output::ChooseRecorder { attempt, wish } = output {
            wishes.push((*attempt, (**wish).clone()));
        }
    });
    wishes
}

fn choose(call: &mut Call, attempt: u32, recorder: &str) {
    let choice = Box::new(Ok(RecorderTarget::new(uri(recorder))));
    call.input(Input::Recorder { attempt, choice });
}

fn refuse(call: &mut Call, attempt: u32, refusal: NoRecorder) {
    call.input(Input::Recorder { attempt, choice: Box::new(Err(refusal)) });
}

#[test]
fn each_attempt_asks_for_a_recorder_and_says_which_it_has_had() {
    let mut call = pooled();
    describe_parties(&mut call);
    let (first, wish) = wishes(&mut call).pop().unwrap();
    assert_eq!((wish.location(), wish.tried.len()), (Some("oslo"), 0));
    choose(&mut call, first, "sip:a.example");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    let (second, wish) = wishes(&mut call).pop().unwrap();
    assert_eq!(wish.tried, [uri("sip:a.example")]);
    choose(&mut call, second, "sip:b.example");
    call.answer_invite(&sdp(&[4000, 4002]));
    assert_eq!(call.events.last().unwrap().info.recorder.as_deref(), Some("sip:b.example"));
}

#[test]
fn that_there_is_no_recorder_is_a_failure_with_words() {
    let mut call = pooled();
    describe_parties(&mut call);
    let (attempt, _) = wishes(&mut call).pop().unwrap();
    call.take();
    refuse(&mut call, attempt, NoRecorder::Unfit(Unfit { full: 2, drained: 1, ..Unfit::default() }));
    call.expect(&[
        "* failed: no recorder is left: 2 at capacity, 1 drained",
        "close 0",
        "close 1",
        "= failed",
        "finished",
    ]);
    let SessionEventKind::StateChanged { reason, .. } = &call.events.last().unwrap().kind else { panic!() };
    assert_eq!(reason, "no recorder is left: 2 at capacity, 1 drained");
}

#[test]
fn that_all_were_tried_is_said_by_their_own_failures() {
    let mut call = pooled();
    describe_parties(&mut call);
    let (attempt, _) = wishes(&mut call).pop().unwrap();
    choose(&mut call, attempt, "sip:a.example");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    let (attempt, _) = wishes(&mut call).pop().unwrap();
    refuse(&mut call, attempt, NoRecorder::Unfit(Unfit { tried: 1, ..Unfit::default() }));
    let failures = call.events.iter().filter(|event| matches!(event.kind, SessionEventKind::Failed { .. }));
    assert_eq!(failures.count(), 1);
    let SessionEventKind::StateChanged { reason, .. } = &call.events.last().unwrap().kind else { panic!() };
    assert_eq!(reason, "sip:a.example: the recorder refused: 486 Busy Here");
}

#[test]
fn a_choice_that_never_comes_fails_in_time_and_one_that_comes_late_counts_for_nothing() {
    let mut call = pooled();
    describe_parties(&mut call);
    let (attempt, _) = wishes(&mut call).pop().unwrap();
    call.wait(Duration::from_secs(4));
    assert_eq!(call.finished, 1);
    call.take();
    choose(&mut call, attempt, "sip:a.example");
    call.expect(&[]);
}

#[test]
fn a_choice_for_another_attempt_counts_for_nothing() {
    let mut call = pooled();
    describe_parties(&mut call);
    let (attempt, _) = wishes(&mut call).pop().unwrap();
    call.take();
    choose(&mut call, attempt + 1, "sip:a.example");
    call.expect(&[]);
    choose(&mut call, attempt, "sip:b.example");
    assert!(call.take().contains(&"resolve sip:b.example".to_owned()));
    choose(&mut call, attempt, "sip:c.example");
    call.expect(&[]);
}

#[test]
fn a_partys_session_names_the_recorder_of_the_others() {
    let mut config = config("sip:unused.example");
    config.mode = SessionMode::PerParty;
    config.recorders = Recorders::Pool { name: "east".parse().unwrap(), location: None };
    let mut call = Call::new(config);
    call.chooses = false;
    describe_parties(&mut call);
    let (first, wish) = wishes(&mut call).pop().unwrap();
    assert_eq!(wish.companion, None);
    choose(&mut call, first, "sip:a.example");
    let (second, wish) = wishes(&mut call).pop().unwrap();
    assert_eq!(wish.companion, Some(uri("sip:a.example")));
    choose(&mut call, second, "sip:a.example");
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    let (_, wish) = wishes(&mut call).pop().unwrap();
    assert_eq!((wish.tried, wish.companion), (vec![uri("sip:a.example")], Some(uri("sip:a.example"))));
}

#[test]
fn a_recorder_that_has_lost_the_session_has_room_before_the_next_choice_and_once() {
    let mut call = Call::established_with(config("sip:a.example"));
    call.chooses = false;
    call.check_now(|_| ());
    let mut order = Vec::new();
    let mut look = |call: &mut Call| {
        call.check_now(|output| match output {
            Output::SessionLost { attempt } => order.push(("lost", *attempt)),
            Output::ChooseRecorder { attempt, .. } => order.push(("choose", *attempt)),
            Output::AttemptOver { attempt } => order.push(("over", *attempt)),
            _ => {}
        });
    };
    call.media(0, BranchEvent::ReportsStopped);
    call.wait_ms(2_000);
    look(&mut call);
    choose(&mut call, 2, "sip:a.example");
    call.answer_bye();
    call.wait_ms(60_000);
    look(&mut call);
    assert_eq!(order[..2], [("lost", 1), ("choose", 2)]);
    let ends: Vec<_> = order.iter().filter(|(_, attempt)| *attempt == 1).collect();
    assert_eq!(ends, [&("lost", 1), &("over", 1)]);
}

#[test]
fn a_recorder_that_says_nothing_is_told_from_one_that_refuses() {
    let silent = |call: &mut Call| {
        let mut silent = Vec::new();
        call.check_now(|output| {
            if let Output::RecorderSilent { attempt, unreached } = output {
                silent.push((*attempt, unreached.clone()));
            }
        });
        silent
    };
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example sip:c.example"));
    call.wait(Duration::from_secs(2));
    assert_eq!(silent(&mut call), [(1, None)]);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 486, &[], "");
    assert_eq!(silent(&mut call), []);
    let reason = "refused".to_owned();
    call.input(Input::Transport(TransportEvent::Failed { attempt: 3, reason: reason.clone() }));
    assert_eq!(silent(&mut call), [(3, Some(reason))]);
    // One of several addresses says nothing of the others.
    let mut call = Call::new(config("sip:a.example"));
    call.resolves = false;
    describe_parties(&mut call);
    for (attempt, more) in [(1, true), (2, false)] {
        let flow = call.flow();
        call.input(Input::Transport(TransportEvent::Resolved { attempt, flow, more }));
        call.wait(Duration::from_secs(2));
        assert_eq!(silent(&mut call).is_empty(), more);
    }
}
