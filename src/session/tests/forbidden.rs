//! A stream that the call turns into something that cannot be recorded, in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, RecordingState, SessionEvent, SessionEventKind};
use siprec_session::{ByePolicy, Command, Copies, Indication, RecordingConfig};
use siprec_sip::Method;
use support::*;

const REASON: &str = "it is raw";

fn forbid(call: &mut Call, number: u16) {
    call.command(Command::Unrecordable { stream: Some(stream(number)), reason: REASON.to_owned() });
}

/// The pad's stream can be recorded again, as another one.
fn come_back(call: &mut Call, slot: u16, number: u16) {
    let stream = stream(number);
    let format = Command::StreamFormat { stream, format: pcmu() };
    call.command(Command::Batch(vec![Command::AddStream { slot, stream }, format]));
}

fn alone() -> RecordingConfig {
    let mut config = config("sip:a.example sip:b.example");
    config.parties.truncate(1);
    config
}

/// A recorded call of one party, which speaks.
fn recorded() -> Call {
    let mut call = Call::new(alone());
    call.add(0);
    call.format(0, pcmu());
    call.packet(0);
    call.answer_invite(&sdp(&[4000]));
    call.take();
    call
}

/// What the application has been told of media so far.
fn told(call: &Call) -> Vec<&SessionEvent> {
    let of_media = |event: &&SessionEvent| {
        matches!(event.kind, SessionEventKind::MediumOff { .. } | SessionEventKind::MediumOn { .. })
    };
    call.events.iter().filter(of_media).collect()
}

/// What the call's parties are to be told after all of that, and how many streams are off.
fn said(call: &Call) -> (Indication, usize) {
    let mut copies = Copies::new(1);
    call.events.iter().for_each(|event| drop(copies.note(0, event)));
    let off = copies.sessions_of(0).map(|(_, session)| session.off.len()).sum();
    (copies.indication(), off)
}

#[test]
fn a_stream_that_cannot_be_recorded_any_more_is_off_in_its_session_until_its_pad_has_one_that_can() {
    let mut call = recorded();
    assert_eq!(said(&call), (Indication::On, 0));
    forbid(&mut call, 0);
    let transcript = call.take();
    assert_eq!(transcript[0], format!("* audio of 1001 off: {REASON}"));
    let [off] = told(&call)[..] else { panic!() };
    assert!(off.info.session.is_some() && off.info.recorder.is_some(), "{off:?}");
    assert_eq!(said(&call), (Indication::Off, 1));
    // What it brought has left.
    call.empty(0);
    assert_eq!(call.recording.state(), RecordingState::Recording);
    come_back(&mut call, 0, 7);
    assert_eq!(told(&call).len(), 1, "it is not recorded yet");
    call.answer_invite(&sdp(&[4000]));
    assert_eq!(call.take().last().unwrap(), "> ACK");
    let [_, on] = told(&call)[..] else { panic!() };
    assert!(matches!(on.kind, SessionEventKind::MediumOn { .. }), "{on:?}");
    assert_eq!((on.info.session.clone(), on.info.dn.as_deref()), (call_id(&call), Some("1001")));
    assert_eq!(said(&call), (Indication::On, 0));
}

fn call_id(call: &Call) -> Option<String> {
    call.events.iter().find_map(|event| event.info.session.clone())
}

#[test]
fn of_two_streams_the_other_one_is_recorded_on() {
    let mut call = Call::established();
    (0..2).for_each(|slot| call.packet(slot));
    forbid(&mut call, 1);
    assert_eq!(call.take()[0], format!("* audio of 1002 off: {REASON}"));
    assert_eq!(said(&call), (Indication::On, 1));
    forbid(&mut call, 0);
    assert_eq!(said(&call), (Indication::Off, 2));
}

#[test]
fn what_a_stream_leaves_when_its_session_is_accepted_does_not_turn_it_on() {
    let mut call = Call::new(alone());
    call.add(0);
    call.format(0, pcmu());
    call.packet(0);
    forbid(&mut call, 0);
    let transcript = call.take();
    call.answer_invite(&sdp(&[4000]));
    let opened = call.take().iter().any(|line| line.starts_with("open 0"));
    assert!(opened, "what it brought before is delivered: {transcript:?}");
    assert_eq!(told(&call).len(), 1);
    assert_eq!(said(&call), (Indication::Off, 1));
}

#[test]
fn a_stream_that_comes_and_goes_before_the_recorder_answers_is_told_once() {
    let mut call = recorded();
    for number in 7..20 {
        forbid(&mut call, if number == 7 { 0 } else { number - 1 });
        come_back(&mut call, 0, number);
    }
    assert_eq!(told(&call).len(), 1);
    call.empty(0);
    while let Some(offer) = call.find_request(&Method::Invite) {
        call.answer(&offer, 200, &[], &sdp(&[4000; 14]));
    }
    let [_, on] = told(&call)[..] else { panic!("{:?}", told(&call)) };
    assert!(matches!(on.kind, SessionEventKind::MediumOn { .. }), "{on:?}");
    assert_eq!(said(&call), (Indication::On, 0));
}

#[test]
fn a_stream_that_is_not_to_be_recorded_or_is_over_is_not_told() {
    let mut settings = config("sip:rec.example");
    settings.record_video = false;
    let mut call = Call::established_with(settings);
    call.engine.closes = false;
    call.add(2);
    call.format(2, video(96, "VP8"));
    call.command(Command::RemoveStream { stream: stream(1) });
    call.media(1, BranchEvent::BacklogEmpty { recalls: 0 });
    for number in [1, 2, 9] {
        forbid(&mut call, number);
    }
    call.command(Command::Unrecordable { stream: None, reason: REASON.to_owned() });
    assert!(told(&call).is_empty(), "{:?}", told(&call));
}

#[test]
fn the_next_recorder_does_not_have_the_stream_either_and_that_is_told_before_it_has_started() {
    for is_released in [false, true] {
        let mut config = alone();
        config.recorder_bye = ByePolicy::FailOver;
        let mut call = Call::new(config);
        call.add(0);
        call.format(0, pcmu());
        call.packet(0);
        let invite = call.answer_invite(&sdp(&[4000]));
        forbid(&mut call, 0);
        if is_released {
            call.command(Command::RemoveStream { stream: stream(0) });
        }
        call.recorder_sends(&invite, "BYE", &[], "");
        call.take();
        call.answer_invite(&sdp(&[4000]));
        let transcript = call.take();
        let off = format!("* audio of 1001 off: {REASON}");
        let at = |line: &str| transcript.iter().position(|told| told == line);
        if is_released {
            assert_eq!(at(&off), None, "the call does not have it any more: {transcript:?}");
            continue;
        }
        assert!(at(&off).is_some() && at(&off) < at("* started"), "{transcript:?}");
        assert_eq!(said(&call), (Indication::Off, 1));
        come_back(&mut call, 0, 7);
        call.answer_invite(&sdp(&[4000]));
        assert_eq!(said(&call), (Indication::On, 0));
    }
}
