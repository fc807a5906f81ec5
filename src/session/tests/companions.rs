//! Sessions of one call with one recorder whose host refuses the media, and says so now and then only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchEvent, Component, RecorderKey, TimeSpan};
use siprec_session::{Party, RecordingConfig, SessionMode};
use siprec_sip::{Message, Method, Request};
use support::*;

const REFUSED: BranchEvent = BranchEvent::RemoteRefused { component: Component::Rtp };
const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
const SECOND: Duration = Duration::from_secs(1);

/// Answers all INVITEs and re-INVITEs that wait.
fn answer_all(call: &mut Call) -> Vec<Request> {
    let mut invites = Vec::new();
    for (_, message) in std::mem::take(&mut call.wire) {
        let Message::Request(request) = message else { continue };
        if request.method == Method::Invite {
            call.answer(&request, 200, &[], &sdp(&[4000 + 2 * invites.len() as u16]));
            invites.push(request);
        }
    }
    invites
}

/// Four parties, each with a session of its own at the first of two recorders, that is invited; so many of them speak.
fn four_parties(speaking: u16) -> Call {
    let parties = ["1001", "1002", "1003", "1004"].map(|dn| Party { dn: dn.into() }).to_vec();
    let config =
        RecordingConfig { parties, mode: SessionMode::PerParty, ..config("sip:a.example sip:b.example") };
    let mut call = Call::new(config);
    for slot in 0..4 {
        call.add(slot);
        call.format(slot, pcmu());
        if slot < speaking {
            call.packet(slot);
        }
    }
    call
}

/// The same, accepted.
fn four_sessions() -> Call {
    let mut call = four_parties(4);
    assert_eq!(answer_all(&mut call).len(), 4);
    call.take();
    call
}

fn recalled(call: &Call) -> Vec<(u16, Instant)> {
    let mut recalled = call.recalled();
    recalled.sort();
    recalled
}

#[test]
fn refusals_of_all_sessions_with_a_recorder_count_together_and_those_that_heard_of_none_are_lost_with_them() {
    let mut call = four_sessions();
    call.wait(SECOND);
    let first = call.now;
    // One a second, in turns.
    for number in 0..8 {
        call.media(number % 2, REFUSED);
        answer_all(&mut call);
        call.wait(SECOND);
    }
    let lines = call.take();
    let failed =
        lines.iter().filter(|line| line.starts_with("* failed: the recorder takes no media")).count();
    assert_eq!(failed, 4, "{lines:?}");
    let since = |slot| recalled(&call).into_iter().find(|(other, _)| *other == slot).unwrap().1;
    assert!((0..4).all(|slot| since(slot) <= first + SECOND), "as of when the first was refused");
}

#[test]
fn a_session_of_which_the_recorder_reports_is_judged_by_its_reports() {
    let mut call = four_sessions();
    call.media(2, REPORT);
    for _ in 0..3 {
        (0..3).for_each(|_| {
            call.media(0, REFUSED);
            call.wait(SECOND / 2);
        });
        answer_all(&mut call);
    }
    let lost: Vec<u16> = recalled(&call).into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(lost, [0, 1, 3]);
}

/// What the engine knows the recorder by in each session with it that has begun.
fn keys(call: &Call) -> Vec<RecorderKey> {
    let key = |command: &BranchCommand| match command {
        BranchCommand::Open(open) => Some(open.recorder),
        _ => None,
    };
    call.branches.iter().filter_map(key).collect()
}

/// Two streams that these recorders are invited to record, the first of which has accepted.
fn recorded_by(recorders: &str) -> Call {
    let mut call = Call::inviting_with(config(recorders));
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call
}

#[test]
fn all_sessions_with_a_recorder_have_its_key_and_none_with_another_one() {
    let mut call = recorded_by("sip:a.example sip:b.example");
    call.media(0, BranchEvent::StretchMissed { packets: 200, within: None });
    call.answer_invite(&sdp(&[6000, 6002]));
    let found = keys(&call);
    assert_eq!((found[0], found[2]), (found[1], found[3]));
    assert_ne!(found[0], found[2]);
    // At the same address, in another recording, and however it is written.
    for (recorder, place) in [("sip:me@A.example", 0), ("sip:b.example", 2)] {
        assert_eq!(keys(&recorded_by(recorder)), [found[place]; 2]);
    }
}

/// Four sessions whose recorder reports; the last stream has begun at 13 s, in a cut from 12 s on, and the first one's reports tell.
fn joined_in_a_cut() -> (Call, TimeSpan) {
    let mut call = four_parties(3);
    answer_all(&mut call);
    call.wait(SECOND * 13);
    call.packet(3);
    answer_all(&mut call);
    call.wait(SECOND * 4);
    let unbroken = TimeSpan { from: call.epoch + SECOND * 5, to: call.epoch + SECOND * 12 };
    for slot in 0..3 {
        call.media(slot, report(unbroken));
    }
    call.take();
    let hole = TimeSpan { from: unbroken.to, to: call.now };
    call.wait(SECOND * 5);
    (call, hole)
}

#[test]
fn a_session_whose_stream_began_in_the_hole_of_another_one_is_left_with_that() {
    let (mut call, hole) = joined_in_a_cut();
    call.media(0, BranchEvent::StretchMissed { packets: 200, within: Some(hole) });
    let lines = call.take();
    let suspected: Vec<_> = lines.iter().filter(|line| line.starts_with("* suspected")).collect();
    let expected = [
        "* suspected: it has missed 200 packets at once",
        "* suspected: it has missed the beginning of a stream",
    ];
    assert_eq!(suspected, expected);
    answer_all(&mut call);
    let recalled = recalled(&call);
    let slots: Vec<u16> = recalled.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, [0, 3], "the others' own reports tell of theirs");
    assert!(recalled.iter().all(|(_, since)| *since <= hole.from));
    let lines = call.take();
    assert!(
        lines.contains(&"* failed: the recorder has missed the beginning of a stream".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn what_nobody_gets_of_a_hole_sessions_with_the_same_recorder_have_missed_too() {
    let (mut call, within) = joined_in_a_cut();
    call.media(0, BranchEvent::StretchLost { within });
    call.expect(&["concede 1", "concede 2", "concede 3"]);
}
