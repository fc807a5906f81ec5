//! Recorders that report more rarely than most, and those that are deaf beside them: how long is waited for reports in one call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchEvent, RecordingState, StopReason};
use siprec_session::{Command, RecordingConfig, parse_recorders};
use siprec_sip::Method;
use support::*;

const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
/// The first report comes then, in a tenth of a second, and the others so long behind it and one another.
const FIRST: u64 = 25;
const SLOW: u64 = 200;
/// What the media engine takes for three intervals.
const THREE: u64 = 150;

/// When a recorder reports, in tenths of a second since it has the session.
type Reports = fn(u64) -> bool;

fn slow(at: u64) -> bool {
    at >= FIRST && (at - FIRST).is_multiple_of(SLOW)
}

/// It becomes slow after its second report.
fn slowing(at: u64) -> bool {
    at == FIRST || at >= 70 && (at - 70).is_multiple_of(SLOW)
}

/// As often as receivers do, and then not at all.
fn deaf(at: u64) -> bool {
    at == FIRST || at == 70
}

fn once(at: u64) -> bool {
    at == FIRST
}

fn never(_: u64) -> bool {
    false
}

/// Recorders that have the session, one after the other, and when each was left, in tenths of a second.
struct Story {
    call: Call,
    had: Vec<(char, u64)>,
}

fn two_recorders(always_report: bool) -> RecordingConfig {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.expects_reports = always_report);
    RecordingConfig { recorders: recorders.into(), ..config("sip:a.example sip:b.example") }
}

/// A call of so many seconds whose recorders answer everything, and report like this in each session that they have.
fn told(config: RecordingConfig, seconds: u64, mut reports: impl FnMut(char, usize) -> Reports) -> Story {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    let (mut had, mut reported, mut heard, mut expects) = (Vec::new(), never as Reports, 0, false);
    let mut dialog = None;
    for _ in 0..seconds * 10 {
        if let Some(invite) = call.find_request(&Method::Invite) {
            call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
            let call_id = invite.headers.call_id().unwrap().to_string();
            if dialog.replace(call_id.clone()) != Some(call_id) {
                let who = invite.uri.to_string().split('@').nth(1).unwrap().chars().next().unwrap();
                let times = had.iter().filter(|(name, _)| *name == who).count();
                (reported, heard) = (reports(who, times), 0);
                // None is expected before the first one, of who does not always report.
                expects = opened_to_report(&call);
                had.push((who, 0));
            }
        }
        call.wait_ms(100);
        let at = &mut had.last_mut().unwrap().1;
        *at += 1;
        if reported(*at) {
            (heard, expects) = (*at, true);
            (0..2).for_each(|slot| call.media(slot, REPORT));
        } else if expects && *at - heard == THREE / 2 {
            (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportOverdue));
        } else if expects && *at - heard == THREE {
            heard = *at;
            (0..2).for_each(|slot| call.media(slot, BranchEvent::ReportsStopped));
        }
    }
    Story { call, had }
}

fn opened_to_report(call: &Call) -> bool {
    let opened = call.branches.iter().rev().find_map(|command| match command {
        siprec_model::BranchCommand::Open(open) => Some(open.expects_reports),
        _ => None,
    });
    opened.unwrap()
}

/// Who had the session, and for how many whole seconds.
fn had(story: &Story) -> Vec<(char, u64)> {
    story.had.iter().map(|(who, tenths)| (*who, tenths / 10)).collect()
}

#[test]
fn of_recorders_that_report_rarely_one_is_left_and_no_other() {
    for reports in [slow as Reports, slowing] {
        let mut story = told(two_recorders(false), 297, |_, _| reports);
        assert_eq!(story.had.iter().map(|(who, _)| *who).collect::<String>(), "ab", "{:?}", story.had);
        let call = &mut story.call;
        assert_eq!(call.recording.state(), RecordingState::Recording);
        // Its last report is more than 7.5 s old.
        call.take();
        call.command(Command::Stop(StopReason::CallEnded));
        assert!(call.take().contains(&"> BYE".to_owned()));
        call.answer_bye();
        assert_eq!(call.recording.state(), RecordingState::Stopped);
    }
}

#[test]
fn one_that_reports_rarely_keeps_the_session_of_one_that_was_deaf() {
    let story = told(two_recorders(false), 300, |who, _| if who == 'a' { deaf } else { slow });
    assert_eq!(had(&story), [('a', 22), ('b', 277)]);
}

#[test]
fn a_deaf_one_that_follows_one_that_reports_rarely_is_found_after_thirty_seconds() {
    let story = told(two_recorders(false), 300, |who, _| if who == 'b' { deaf } else { slow });
    assert_eq!(had(&story), [('a', 17), ('b', 37), ('a', 245)]);
}

#[test]
fn one_that_has_reported_as_often_as_receivers_do_and_never_does_again_is_found_in_half_the_time() {
    let story = told(two_recorders(false), 300, |who, times| match (who, times) {
        ('a', 0) => deaf,
        ('b', 0) => deaf,
        ('a', _) => never,
        _ => slow,
    });
    assert_eq!(had(&story)[..2], [('a', 22), ('b', 37)]);
    assert_eq!(had(&story)[2], ('a', 30), "a third one would have sixty");
}

#[test]
fn that_no_report_comes_any_more_never_ends_the_recording_of_a_call() {
    let story = told(two_recorders(false), 900, |_, _| once);
    assert_eq!(story.call.recording.state(), RecordingState::Recording);
    let seconds: Vec<u64> = had(&story).iter().map(|(_, seconds)| *seconds).collect();
    assert!(seconds[..seconds.len() - 1].windows(2).all(|pair| pair[1] > pair[0] * 3 / 2), "{seconds:?}");
}

#[test]
fn who_always_reports_is_left_as_soon_as_ever_however_many_were_left_before() {
    let story = told(two_recorders(true), 40, |_, _| once);
    assert_eq!(had(&story)[..2], [('a', 17), ('b', 17)]);
}
