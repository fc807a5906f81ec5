//! A call that changes its codec in the middle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchCommand, BranchEvent, RecordingState, SessionEventKind};
use siprec_session::{ByePolicy, Command};
use siprec_sip::{Method, Request};
use support::*;

const OPEN: [&str; 2] = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002"];

fn change(call: &mut Call, payloads: &[(u8, &str, u32)]) {
    let format = |slot| Command::StreamFormat { stream: stream(slot), format: audio(payloads) };
    call.command(Command::Batch(vec![format(0), format(1)]));
}

/// Refuses every offer.
fn refuse(call: &mut Call) {
    while let Some(offer) = call.find_request(&Method::Invite) {
        call.answer(&offer, 488, &[], "");
    }
}

/// The payload types that leave, of the last opening of a stream.
fn leaving(call: &Call, slot: u16) -> Vec<u8> {
    let opened = call.branches.iter().rev().find_map(|command| match command {
        BranchCommand::Open(open) if open.branch == branch(slot) => Some(open),
        _ => None,
    });
    opened.unwrap().payloads.iter().map(|rule| rule.from).collect()
}

fn said_on(call: &Call) -> usize {
    call.events.iter().filter(|event| matches!(event.kind, SessionEventKind::MediumOn { .. })).count()
}

#[test]
fn a_codec_that_the_recorder_takes_is_held_until_it_has_said_so() {
    let mut call = Call::established();
    call.format(0, audio(&[(8, "PCMA", 8000)]));
    call.expect(&["describe 0", "hold 0", "> INVITE sendonly/sendonly v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[OPEN[0], "> ACK"]);
    assert_eq!(leaving(&call, 0), [8]);
}

#[test]
fn a_codec_that_the_recorder_refuses_is_off_for_as_long_as_the_call_has_it() {
    let mut call = Call::established();
    change(&mut call, &[(8, "PCMA", 8000)]);
    refuse(&mut call);
    let transcript = call.take();
    let told: Vec<_> = transcript.iter().filter(|line| line.starts_with('*')).collect();
    let reason = "off: the recorder refuses the change: 488 Not Acceptable Here";
    assert_eq!(told, [&format!("* audio of 1001 {reason}"), &format!("* audio of 1002 {reason}")]);
    let others = call.events.iter().filter_map(|event| match event.kind {
        SessionEventKind::MediumOff { others, .. } => Some(others),
        _ => None,
    });
    assert!(others.eq([true, false]), "nothing is recorded any more");
    // What comes is not for the recorder, and the session says no more of it.
    assert_eq!((leaving(&call, 0), leaving(&call, 1)), (vec![], vec![]));
    for slot in [0, 1] {
        call.media(slot, BranchEvent::PayloadUnknown { payload_type: 8 });
    }
    call.wait_ms(600_000);
    call.expect(&[]);
    assert_eq!((call.recording.state(), said_on(&call)), (RecordingState::Recording, 0));
    // The old codec is agreed already.
    change(&mut call, &[(0, "PCMU", 8000)]);
    let transcript = call.take();
    assert!(!transcript.iter().any(|line| line.contains("INVITE")), "{transcript:?}");
    assert_eq!((leaving(&call, 0), leaving(&call, 1)), (vec![0], vec![0]));
    assert_eq!(said_on(&call), 2, "{transcript:?}");
}

#[test]
fn another_codec_than_the_refused_one_is_offered_and_recorded() {
    let mut call = Call::established();
    change(&mut call, &[(8, "PCMA", 8000)]);
    refuse(&mut call);
    call.take();
    call.format(0, audio(&[(9, "G722", 8000)]));
    call.expect(&["describe 0", "hold 0", "hold 1", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    // The offer had the other stream's codec as well, and so it is taken now.
    call.expect(&[OPEN[0], OPEN[1], "* audio of 1001 on", "* audio of 1002 on", "> ACK"]);
    assert_eq!((leaving(&call, 0), leaving(&call, 1)), (vec![9], vec![8]));
}

#[test]
fn a_number_that_means_another_codec_now_does_not_leave_as_the_one_that_was_agreed() {
    let mut config = config("sip:rec.example");
    config.parties.truncate(1);
    let mut call = Call::new(config);
    call.add(0);
    call.format(0, audio(&[(96, "opus", 48_000)]));
    call.answer_invite(&sdp(&[4000]));
    call.format(0, audio(&[(96, "speex", 16_000)]));
    refuse(&mut call);
    assert_eq!(leaving(&call, 0), []);
}

#[test]
fn what_only_accompanies_a_refused_codec_is_nothing_to_record() {
    let mut call = Call::inviting();
    change(&mut call, &[(0, "PCMU", 8000), (101, "telephone-event", 8000)]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    let (before, with_events) = (call.events.len(), [(8, "PCMA", 8000), (101, "telephone-event", 8000)]);
    change(&mut call, &with_events);
    refuse(&mut call);
    assert_eq!(leaving(&call, 0), []);
    let is_off =
        |event: &&siprec_model::SessionEvent| matches!(event.kind, SessionEventKind::MediumOff { .. });
    assert_eq!(call.events[before..].iter().filter(is_off).count(), 2);
}

#[test]
fn a_refused_addition_leaves_what_is_agreed_as_it_was() {
    let mut call = Call::established();
    call.media(0, BranchEvent::PayloadUnknown { payload_type: 13 });
    refuse(&mut call);
    let transcript = call.take();
    assert_eq!(transcript[transcript.len() - 2..], [OPEN[0], "> ACK"], "{transcript:?}");
    assert_eq!(leaving(&call, 0), [0]);
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

#[test]
fn the_agreed_codec_is_recorded_again_also_where_it_comes_back_unannounced() {
    let mut call = Call::established();
    call.format(0, audio(&[(8, "PCMA", 8000)]));
    refuse(&mut call);
    call.take();
    call.media(0, BranchEvent::PayloadUnknown { payload_type: 0 });
    refuse(&mut call);
    assert_eq!(leaving(&call, 0), [0]);
    assert_eq!(said_on(&call), 1);
}

/// A call that has been recorded for three seconds by the first of two recorders, and that one's INVITE.
fn recorded() -> (Call, Request) {
    let mut config = config("sip:a.example sip:b.example");
    config.recorder_bye = ByePolicy::FailOver;
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(3_000);
    (call, invite)
}

/// The same whose next recorder is being invited: the first one has hung up.
fn failing_over() -> Call {
    let (mut call, invite) = recorded();
    call.recorder_sends(&invite, "BYE", &[], "");
    call
}

/// An answer that takes what the call may have here, whatever it is.
fn taking_all() -> String {
    sdp(&[6000, 6002])
        .replace("RTP/AVP 0\r\n", "RTP/AVP 0 8 9\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\n")
}

/// The payload types of each m-line that an INVITE offers.
fn offered(request: &Request) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(&request.body).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    lines.map(|line| line.split(' ').skip(3).map(|number| number.parse().unwrap()).collect()).collect()
}

#[test]
fn the_next_recorder_is_offered_what_the_call_had_before_too_since_packets_of_it_wait() {
    let mut call = failing_over();
    let invite = call.request(&Method::Invite);
    assert_eq!(offered(&invite), [[0], [0]]);
    // Before it has answered.
    change(&mut call, &[(8, "PCMA", 8000)]);
    call.answer(&invite, 200, &[], &taking_all());
    let offer = call.request(&Method::Invite);
    assert_eq!(offered(&offer), [[8, 0], [8, 0]]);
    call.answer(&offer, 200, &[], &taking_all());
    assert_eq!((leaving(&call, 0), leaving(&call, 1)), (vec![8, 0], vec![8, 0]));
    // While it gets what has waited.
    call.wait_ms(2_000);
    change(&mut call, &[(9, "G722", 8000)]);
    let offer = call.request(&Method::Invite);
    assert_eq!(offered(&offer), [[9, 8, 0], [9, 8, 0]]);
    call.answer(&offer, 200, &[], &taking_all());
    assert_eq!(leaving(&call, 0), [9, 8, 0]);
    // When that has left for sure.
    call.wait_ms(120_000);
    change(&mut call, &[(0, "PCMU", 8000)]);
    assert_eq!(offered(&call.request(&Method::Invite)), [[0], [0]]);
}

#[test]
fn what_the_call_has_left_before_its_recorder_is_lost_is_offered_to_the_next_one() {
    let (mut call, invite) = recorded();
    change(&mut call, &[(8, "PCMA", 8000)]);
    let offer = call.request(&Method::Invite);
    assert_eq!(offered(&offer), [[8], [8]], "all of the other has left");
    call.answer(&offer, 200, &[], &sdp(&[4000, 4002]));
    call.recorder_sends(&invite, "BYE", &[], "");
    let invite = call.request(&Method::Invite);
    assert_eq!(offered(&invite), [[8, 0], [8, 0]]);
    call.answer(&invite, 200, &[], &taking_all());
    assert_eq!(leaving(&call, 1), [8, 0]);
}

#[test]
fn who_would_take_only_what_the_call_had_before_is_offered_what_it_has_now_alone() {
    let mut call = failing_over();
    let invite = call.request(&Method::Invite);
    change(&mut call, &[(8, "PCMA", 8000)]);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let offer = call.request(&Method::Invite);
    assert_eq!(offered(&offer), [[8, 0], [8, 0]]);
    let before = call.branches.len();
    // `sdp` has PCMU alone.
    call.answer(&offer, 200, &[], &sdp(&[6000, 6002]));
    let opened = call.branches[before..].iter().any(|command| matches!(command, BranchCommand::Open(_)));
    assert!(!opened, "{:?}", &call.branches[before..]);
    let offer = call.request(&Method::Invite);
    assert_eq!(offered(&offer), [[8], [8]]);
    call.answer(&offer, 488, &[], "");
    let reason = "off: the recorder refuses the change: 488 Not Acceptable Here".to_owned();
    let transcript = call.take();
    assert!(transcript.iter().any(|line| line.ends_with(&reason)), "{transcript:?}");
}

#[test]
fn a_codec_that_was_refused_is_not_offered_again_when_the_call_has_left_it() {
    let mut call = failing_over();
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    change(&mut call, &[(8, "PCMA", 8000)]);
    refuse(&mut call);
    call.take();
    change(&mut call, &[(0, "PCMU", 8000)]);
    assert!(call.find_request(&Method::Invite).is_none(), "{:?}", call.take());
    assert_eq!(leaving(&call, 0), [0]);
}
