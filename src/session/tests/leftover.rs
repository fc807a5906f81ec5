//! A stream ends in a pause or mute that goes on without it: what was said before is delivered, and nothing else leaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::BranchEvent;
use siprec_session::{Command, Input, SessionMode, TransportEvent};
use siprec_sip::{Method, Request};
use support::paused::{INACTIVE, paused, two_recorders};
use support::*;

/// The same as [`paused`] with a session for each party: their INVITEs, too.
fn paused_apart(freezes: bool) -> (Call, Vec<Request>) {
    let mut config = two_recorders();
    config.mode = SessionMode::PerParty;
    let mut call = Call::inviting_with(config);
    call.engine.freezes = freezes;
    (0..2).for_each(|slot| call.packet(slot));
    let invites = invites(&mut call);
    for (invite, port) in invites.iter().zip([4000, 4002]) {
        call.answer(invite, 200, &[], &sdp(&[port]));
    }
    call.wait_ms(4_000);
    call.command(Command::Pause);
    accept_silence(&mut call);
    call.take();
    (call, invites)
}

/// The requests of this kind that nobody has looked at yet.
fn requests(call: &mut Call, method: &Method) -> Vec<Request> {
    let wire = std::mem::take(&mut call.wire);
    let requests = wire.into_iter().filter_map(|(_, message)| match message {
        siprec_sip::Message::Request(request) if request.method == *method => Some(request),
        _ => None,
    });
    requests.collect()
}

fn invites(call: &mut Call) -> Vec<Request> {
    requests(call, &Method::Invite)
}

/// The recorder takes what it is offered, and sends nothing.
fn accept_silence(call: &mut Call) {
    for invite in invites(call) {
        call.answer(&invite, 200, &[], &sdp_with(&[4000, 4002], INACTIVE));
    }
}

/// The pad of the second party is released.
fn release(call: &mut Call) {
    call.command(Command::RemoveStream { stream: stream(1) });
}

/// The second party is replaced where each has a session of its own.
fn replace(call: &mut Call) {
    call.command(Command::Batch(vec![
        Command::RemoveStream { stream: stream(1) },
        Command::SetDn { slot: 1, dn: "1005".into() },
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
}

fn lose(call: &mut Call, attempt: u32) {
    let reason = "connection refused".into();
    call.input(Input::Transport(TransportEvent::Failed { attempt, reason }));
}

#[track_caller]
fn assert_has(lines: &[String], line: &str) {
    assert!(lines.iter().any(|other| other == line), "{line}: {lines:?}");
}

#[track_caller]
fn assert_silent(lines: &[String], slot: u16) {
    assert!(!lines.iter().any(|line| line.starts_with(&format!("open {slot} "))), "{lines:?}");
}

#[test]
fn what_a_pause_froze_of_a_stream_that_ends_in_it_leaves_while_the_others_stay_silent() {
    let mut call = paused(two_recorders(), true);
    release(&mut call);
    call.expect(&["drain 1"]);
    call.wait_ms(100);
    call.expect(&["hold 1", "> INVITE inactive/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["open 1 to 192.0.2.9:4002", "> ACK", "part 1", "> INVITE inactive/off v4"]);
    call.answer_invite(&sdp_with(&[4000, 0], INACTIVE));
    call.wait_ms(1_000);
    call.command(Command::Resume);
    call.answer_invite(&sdp(&[4000, 0]));
    let lines = call.take();
    assert_has(&lines, "open 0 to 192.0.2.9:4000");
    assert_silent(&lines, 1);
}

#[test]
fn what_it_has_to_say_is_agreed_soon_also_where_the_pause_was_not_yet() {
    let mut call = Call::inviting_with(two_recorders());
    call.engine.freezes = true;
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Pause);
    let pause = call.request(&Method::Invite);
    release(&mut call);
    call.wait_ms(100);
    call.answer(&pause, 200, &[], &sdp_with(&[4000, 4002], INACTIVE));
    call.take();
    // The answer to what it has to say does not come.
    call.request(&Method::Invite);
    call.wait_ms(1_999);
    let failed = |lines: &[String]| lines.iter().any(|line| line.starts_with("* failed: "));
    let lines = call.take();
    assert!(!failed(&lines), "{lines:?}");
    call.wait_ms(1);
    let lines = call.take();
    assert!(failed(&lines), "{lines:?}");
}

#[test]
fn where_nothing_of_it_is_frozen_nothing_is_agreed_but_that_it_is_gone() {
    let mut call = paused(two_recorders(), false);
    release(&mut call);
    call.expect(&["drain 1", "part 1", "> INVITE inactive/off v3"]);
}

#[test]
fn one_that_another_mutes_speaks_out_too() {
    let mut call = Call::inviting_with(two_recorders());
    call.engine.freezes = true;
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Mute { slot: 0, muted: true });
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    release(&mut call);
    call.take();
    call.wait_ms(100);
    call.expect(&["hold 1", "> INVITE inactive/sendonly v3"]);
}

#[test]
fn a_recorder_that_does_not_answer_then_is_found_to_be_lost_in_time() {
    let mut call = paused(two_recorders(), true);
    release(&mut call);
    call.wait_ms(100);
    call.take();
    call.wait_ms(2_000);
    let invite = call.request(&Method::Invite);
    let lines = call.take();
    assert_has(&lines, "recall 1");
    assert_has(&lines, "> INVITE inactive/sendonly v1");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert_has(&lines, "open 1 to 192.0.2.9:6002");
    assert_silent(&lines, 0);
}

#[test]
fn a_recorder_that_refuses_that_has_it_told_as_lost() {
    let mut call = paused(two_recorders(), true);
    release(&mut call);
    call.wait_ms(100);
    let invite = call.request(&Method::Invite);
    call.take();
    call.answer(&invite, 488, &[], "");
    let lines = call.take();
    assert_silent(&lines, 1);
    assert_has(&lines, "close 1");
}

#[test]
fn what_waits_in_a_pause_for_the_next_recorder_leaves_when_its_stream_ends() {
    let mut call = paused(two_recorders(), false);
    call.command(Command::PartyMoved { slot: 0 });
    lose(&mut call, 1);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp_with(&[6000, 6002], INACTIVE));
    let lines = call.take();
    assert_has(&lines, "recall 1");
    // Both have what the lost one may not have.
    call.engine.freezes = true;
    release(&mut call);
    call.wait_ms(100);
    assert_eq!(call.take().last().unwrap(), "> INVITE inactive/sendonly v2");
    call.answer_invite(&sdp(&[6000, 6002]));
    let lines = call.take();
    assert_has(&lines, "open 1 to 192.0.2.9:6002");
    assert_silent(&lines, 0);
}

#[test]
fn what_a_stream_has_sent_that_ended_before_a_pause_goes_to_the_next_recorder_in_it() {
    let mut call = Call::inviting_with(two_recorders());
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(4_000);
    release(&mut call);
    call.answer_invite(&sdp(&[4000, 0]));
    call.wait_ms(800);
    call.command(Command::Pause);
    call.take();
    lose(&mut call, 1);
    let invite = call.request(&Method::Invite);
    let lines = call.take();
    assert_has(&lines, "recall 1");
    assert_has(&lines, "> INVITE inactive/sendonly v1");
    call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
    let lines = call.take();
    assert_has(&lines, "open 1 to 192.0.2.9:6002");
    assert_silent(&lines, 0);
    assert_eq!(lines.last().unwrap(), "> INVITE inactive/off v2");
}

#[test]
fn what_a_party_left_in_a_pause_is_delivered_before_its_session_ends() {
    let (mut call, _) = paused_apart(true);
    replace(&mut call);
    call.take();
    call.wait_ms(100);
    let offer = invites(&mut call).pop().unwrap();
    assert_has(&call.take(), "> INVITE sendonly v3");
    call.answer(&offer, 200, &[], &sdp(&[4002]));
    let lines = call.take();
    assert_eq!(lines, ["open 1 to 192.0.2.9:4002", "> ACK", "part 1", "> BYE"]);
    call.answer_bye();
    assert_has(&call.take(), "* stopped: party-left");
}

#[test]
fn a_party_that_left_in_a_pause_whose_recorder_does_not_answer_its_bye_goes_to_the_next_one() {
    let (mut call, _) = paused_apart(false);
    replace(&mut call);
    accept_silence(&mut call);
    assert_has(&call.take(), "> BYE");
    call.wait_ms(4_000);
    let invite = invites(&mut call).pop().unwrap();
    assert_has(&call.take(), "> INVITE sendonly v1");
    call.answer(&invite, 200, &[], &sdp(&[6002]));
    let lines = call.take();
    assert_has(&lines, "recall 1");
    assert_has(&lines, "open 1 to 192.0.2.9:6002");
    assert_silent(&lines, 64);
    call.answer_bye();
    assert_has(&call.take(), "* stopped: party-left");
}

#[test]
fn a_party_that_comes_back_to_the_session_in_which_what_it_had_left_leaves_stays_silent() {
    let (mut call, _) = paused_apart(false);
    call.command(Command::PartyLeft { stream: stream(1) });
    call.take();
    call.wait_ms(4_000);
    let invite = invites(&mut call).pop().unwrap();
    call.engine.drains = false;
    call.answer(&invite, 200, &[], &sdp(&[6002]));
    assert_has(&call.take(), "open 1 to 192.0.2.9:6002");
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    call.packet(64);
    for offer in invites(&mut call) {
        call.answer(&offer, 200, &[], &sdp(&[6002, 6004]));
    }
    call.media(1, BranchEvent::BacklogEmpty { recalls: 1 });
    for offer in invites(&mut call) {
        call.answer(&offer, 200, &[], &sdp(&[6002, 6004]));
    }
    let lines = call.take();
    assert_silent(&lines, 64);
    assert_has(&lines, "> INVITE inactive v2");
}
