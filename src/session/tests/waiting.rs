//! A stream has changed or come, and the recorder does not agree to that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{RecordingState, StopReason};
use siprec_session::Command;
use siprec_sip::{Method, Request};
use support::paused::two_recorders;
use support::*;

const FAILED: &str =
    "* failed: the dialog with the recorder is lost: it has not agreed in time to what has changed";

/// What happens to a session that stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Codec,
    Third,
}

/// How the recorder takes the offer of that.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reply {
    /// This status, with a Retry-After of so many seconds, again and again.
    Later(u16, &'static str),
    /// It works on it.
    Trying,
    None,
    /// It has sent an offer itself, and does not acknowledge our answer.
    Blocked,
}

fn change(call: &mut Call, change: Change) {
    match change {
        Change::Codec => call.format(0, audio(&[(8, "PCMA", 8000)])),
        Change::Third => {
            call.add(2);
            call.format(2, pcmu());
            call.packet(2);
        }
    }
}

/// A session of which the recorder does not agree to a change, and the offer of that where there is one.
fn disagreeing(what: Change, reply: Reply) -> (Call, Option<Request>) {
    let mut call = Call::inviting_with(two_recorders());
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    (0..2).for_each(|slot| call.packet(slot));
    if reply == Reply::Blocked {
        call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
    }
    call.wire.clear();
    call.take();
    change(&mut call, what);
    let offer = call.find_request(&Method::Invite);
    assert_eq!(offer.is_none(), reply == Reply::Blocked);
    (call, offer)
}

/// Lets so many tenths of a second pass, with the recorder's replies to offers, and its answers to questions; what happened.
fn wait(call: &mut Call, reply: Reply, mut offer: Option<Request>, tenths: u32) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..tenths {
        said.extend(call.take());
        if said.iter().any(|line| line.starts_with("* failed")) {
            break;
        }
        for (_, message) in std::mem::take(&mut call.wire) {
            let siprec_sip::Message::Request(request) = message else { continue };
            match request.method {
                Method::Options => call.answer(&request, 200, &[], ""),
                Method::Invite => offer = Some(request),
                _ => {}
            }
        }
        if let Some(offer) = offer.take() {
            match reply {
                Reply::Later(status, after) => call.answer(&offer, status, &[("Retry-After", after)], ""),
                Reply::Trying => call.answer(&offer, 100, &[], ""),
                Reply::None | Reply::Blocked => {}
            }
        }
        call.wait_ms(100);
    }
    said.extend(call.take());
    said
}

const REPLIES: [Reply; 7] = [
    Reply::Later(491, "0"),
    Reply::Later(500, "1"),
    Reply::Later(503, "1"),
    Reply::Later(503, "20"),
    Reply::Trying,
    Reply::None,
    Reply::Blocked,
];

#[test]
fn who_does_not_agree_to_a_change_within_ten_seconds_is_left_for_the_next_one() {
    for what in [Change::Codec, Change::Third] {
        for reply in REPLIES {
            let (mut call, offer) = disagreeing(what, reply);
            let begun = call.now;
            let before = wait(&mut call, reply, offer, 98);
            assert!(
                !before.iter().any(|line| line.starts_with("* failed")),
                "{what:?} {reply:?}: {before:?}"
            );
            let said = wait(&mut call, reply, None, 4);
            assert!(said.contains(&FAILED.to_owned()), "{what:?} {reply:?}: {said:?}");
            assert!((call.now - begun).as_millis() <= 10_200);
            assert!(said.contains(&"> BYE".to_owned()) && said.contains(&"recall 0".to_owned()), "{said:?}");
            call.wait_ms(10);
            let invite = call.request(&Method::Invite);
            let ports = if what == Change::Third { &[6000, 6002, 6004][..] } else { &[6000, 6002] };
            call.answer(&invite, 200, &[], &sdp(ports));
            assert_eq!(call.recording.state(), RecordingState::Recording);
        }
    }
}

#[test]
fn at_the_end_of_the_call_it_has_five_seconds() {
    for what in [Change::Codec, Change::Third] {
        for reply in REPLIES {
            let (mut call, offer) = disagreeing(what, reply);
            // The engine has not sent what waits.
            call.engine.drains = false;
            let begun = call.now;
            let mut said = wait(&mut call, reply, offer, 20);
            call.command(Command::Stop(StopReason::CallEnded));
            said.extend(wait(&mut call, reply, None, 40));
            let failed = said.iter().any(|line| line.starts_with("* failed"));
            assert!(failed && (call.now - begun).as_millis() <= 5_200, "{what:?} {reply:?}: {said:?}");
            call.wait_ms(10);
            assert!(call.find_request(&Method::Invite).is_some(), "{what:?} {reply:?} {said:?}");
        }
    }
}

#[test]
fn who_agrees_in_the_end_is_not_left() {
    for what in [Change::Codec, Change::Third] {
        let (mut call, offer) = disagreeing(what, Reply::Trying);
        let mut said = Vec::new();
        let offer = offer.unwrap();
        call.answer(&offer, 491, &[], "");
        call.wait_ms(4_100);
        let again = call.request(&Method::Invite);
        call.answer(&again, 200, &[], &sdp(&[4000, 4002, 4004]));
        said.extend(wait(&mut call, Reply::None, None, 200));
        assert!(!said.iter().any(|line| line.starts_with("* failed")), "{what:?}: {said:?}");
        assert_eq!(call.recording.state(), RecordingState::Recording);
    }
}

#[test]
fn what_changes_while_another_change_is_agreed_has_its_own_time() {
    let (mut call, offer) = disagreeing(Change::Codec, Reply::Trying);
    let offer = offer.unwrap();
    call.answer(&offer, 100, &[], "");
    call.wait_ms(5_000);
    change(&mut call, Change::Third);
    call.wait_ms(900);
    call.answer(&offer, 200, &[], &sdp(&[4000, 4002]));
    let begun = call.now;
    let again = call.request(&Method::Invite);
    let before = wait(&mut call, Reply::Trying, Some(again), 58);
    assert!(!before.iter().any(|line| line.starts_with("* failed")), "{before:?}");
    let said = wait(&mut call, Reply::Trying, None, 60);
    assert!(said.contains(&FAILED.to_owned()), "{said:?}");
    assert!((9_900..10_200).contains(&(call.now - begun).as_millis()));
}

#[test]
fn who_works_on_an_offer_when_the_call_ends_has_six_seconds_for_it() {
    for works in [true, false] {
        let (mut call, offer) = disagreeing(Change::Codec, Reply::None);
        call.engine.drains = false;
        let offer = offer.unwrap();
        if works {
            call.answer(&offer, 183, &[], "");
        }
        call.wait_ms(300);
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(3_000);
        let is_lost = call.take().iter().any(|line| line.starts_with("* failed"));
        assert_eq!(is_lost, !works);
    }
}

/// As the stream goes on without what was refused, whoever does not answer a mere refresh is lost as ever.
#[test]
fn what_was_refused_for_good_waits_for_nothing() {
    let (mut call, offer) = disagreeing(Change::Codec, Reply::None);
    call.answer(&offer.unwrap(), 488, &[], "");
    let said = wait(&mut call, Reply::None, None, 300);
    assert!(!said.iter().any(|line| line.starts_with("* failed")), "{said:?}");
    call.format(0, pcmu());
    assert!(!call.take().iter().any(|line| line.contains("INVITE")), "it is agreed");
    assert_eq!(call.recording.state(), RecordingState::Recording);
}
