//! `protocol` 1.6: until when the recorder has for sure what it was sent, and so from where on the next one gets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use siprec_model::{BranchCommand, BranchEvent, Component, SessionEventKind, StopReason};
use siprec_session::{Command, Input, RecordingConfig, TransportEvent, parse_recorders};
use siprec_sip::Method;
use support::*;

const REFUSED: BranchEvent = BranchEvent::RemoteRefused { component: Component::Rtp };
const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};
const PROBE: Duration = Duration::from_secs(5);

/// Two recorders, which are asked every five seconds, and always report or need not.
fn probed(expects_reports: bool) -> RecordingConfig {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.expects_reports = expects_reports);
    let mut config = RecordingConfig { recorders: recorders.into(), ..config("sip:a.example") };
    config.timers.probe = PROBE;
    config
}

/// An established session whose streams are being sent.
fn recording(config: RecordingConfig) -> Call {
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call
}

/// Up to when the first branch was told that its recorder has what was sent, in seconds since the opening.
fn confirmed(call: &Call, opened: Instant) -> Vec<u64> {
    let of = |command: &BranchCommand| match command {
        BranchCommand::Confirm { branch, since } if branch.slot == 0 => Some((*since - opened).as_secs()),
        _ => None,
    };
    call.branches.iter().filter_map(of).collect()
}

/// The recorder answers OPTIONS for so long, within a second.
fn live(call: &mut Call, seconds: u32) {
    for _ in 0..seconds {
        call.wait_ms(1_000);
        if let Some(options) = call.find_request(&Method::Options) {
            call.answer(&options, 200, &[], "");
        }
    }
}

#[test]
fn an_answered_question_proves_what_was_sent_before_it_was_asked() {
    let mut call = recording(probed(false));
    let opened = call.now;
    for _ in 0..3 {
        call.wait(PROBE);
        let options = call.request(&Method::Options);
        call.wait_ms(1_500);
        assert!(!confirmed(&call, opened).contains(&(call.now - opened).as_secs()));
        call.answer(&options, 200, &[], "");
    }
    assert_eq!(confirmed(&call, opened), [5, 11, 18]);
}

#[test]
fn an_answered_offer_proves_what_was_sent_before_it_was_made() {
    let mut call = recording(config("sip:a.example sip:b.example"));
    call.wait_ms(10_000);
    let offered = call.now;
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    let reinvite = call.request(&Method::Invite);
    call.wait_ms(4_000);
    call.answer(&reinvite, 200, &[], &sdp(&[4000, 4002]));
    call.wait_ms(1_000);
    call.command(Command::ReplaceParty { slot: 0, dn: "1004".into() });
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 481, &[], "");
    assert_eq!(
        call.recalled(),
        [(0, offered), (1, offered)],
        "what came in the four seconds it may not have"
    );
}

#[test]
fn answers_prove_nothing_while_the_media_is_refused() {
    let mut call = recording(probed(false));
    let opened = call.now;
    live(&mut call, 6);
    assert_eq!(confirmed(&call, opened), [5]);
    call.media(0, REFUSED);
    live(&mut call, 9);
    assert_eq!(confirmed(&call, opened), [5]);
    // It was an accident.
    call.media(0, BranchEvent::RefusalsOver);
    live(&mut call, 6);
    assert_eq!(confirmed(&call, opened), [5, 15, 20]);
}

#[test]
fn what_its_host_has_refused_goes_to_the_next_recorder_from_the_first_refusal_on_whatever_that_is_lost_by() {
    let mut call = recording(probed(false));
    live(&mut call, 6);
    let refused = call.now;
    call.media(0, REFUSED);
    live(&mut call, 4);
    let answered = call.now;
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 481, &[], "");
    assert_eq!(call.recalled(), [(0, refused), (1, answered)]);
}

#[test]
fn answers_prove_nothing_of_a_recorder_that_reports_or_should() {
    for expects_reports in [false, true] {
        let mut call = recording(probed(expects_reports));
        let opened = call.now;
        if !expects_reports {
            call.media(1, REPORT);
        }
        live(&mut call, 14);
        call.media(1, REPORT);
        live(&mut call, 14);
        assert_eq!(confirmed(&call, opened), [], "expects reports: {expects_reports}");
    }
}

#[test]
fn what_a_recorder_that_always_reports_may_not_have_when_it_dies_its_last_report_says_alone() {
    let mut call = recording(probed(true));
    call.wait_ms(3_000);
    call.media(0, REPORT);
    let heard = call.now;
    live(&mut call, 12);
    call.wait_ms(10_000);
    assert!(call.take().iter().any(|line| line == "resolve sip:b.example"));
    assert_eq!(call.recalled(), [(0, heard), (1, heard)], "it may have been deaf when it answered");
}

#[test]
fn it_has_heard_until_its_last_report_says_that_packets_have_not_come() {
    let mut call = recording(probed(true));
    call.wait_ms(3_000);
    let heard = call.now;
    call.wait_ms(1_000);
    call.media(
        0,
        BranchEvent::ReportReceived {
            highest_sequence: 1,
            cumulative_lost: 0,
            fraction_lost: 0,
            missing_since: Some(heard),
            unbroken: None,
        },
    );
    live(&mut call, 12);
    call.wait_ms(10_000);
    assert!(call.take().iter().any(|line| line == "resolve sip:b.example"));
    assert_eq!(call.recalled(), [(0, heard), (1, heard)]);
}

/// How long ago the lost recorder lived for sure, as the application is told once the next one has accepted.
#[track_caller]
fn uncertain(call: &mut Call) -> Duration {
    call.answer_invite(&sdp(&[6000, 6002]));
    let told = call.events.iter().find_map(|event| match event.kind {
        SessionEventKind::FailedOver { uncertain, .. } => Some(uncertain),
        _ => None,
    });
    told.unwrap_or_else(|| panic!("{:?}", call.events))
}

/// What has a recorder be lost.
type Way<'a> = &'a dyn Fn(&mut Call);

/// Both streams are reported on each two seconds, so that nothing is asked by SIP.
fn report(call: &mut Call, seconds: u32) {
    for _ in 0..seconds / 2 {
        call.wait_ms(2_000);
        (0..2).for_each(|slot| call.media(slot, REPORT));
    }
}

#[test]
fn a_report_is_as_good_a_sign_of_life_as_an_answer_and_what_nobody_reports_on_is_sent_again_since_the_answer()
{
    let unreachable = |call: &mut Call| {
        let reason = "connection refused".into();
        call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason }));
    };
    let refuse_offer = |call: &mut Call, status| {
        call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
        let reinvite = call.request(&Method::Invite);
        call.answer(&reinvite, status, &[], "");
    };
    let refuse_bye = |call: &mut Call, status| {
        call.command(Command::Stop(StopReason::CallEnded));
        let bye = call.request(&Method::Bye);
        call.answer(&bye, status, &[], "");
    };
    // Each a second after the last report, and how many seconds it takes.
    let ways: [(&str, u64, Way<'_>); 8] = [
        ("killed", 8, &|call| call.wait_ms(8_000)),
        ("481", 0, &|call| refuse_offer(call, 481)),
        ("408", 0, &|call| refuse_offer(call, 408)),
        ("TCP is gone", 0, &|call| {
            call.input(Input::Transport(TransportEvent::ConnectionLost { attempt: 1 }));
            unreachable(call);
            unreachable(call);
        }),
        ("BYE unanswered", 4, &|call| {
            call.command(Command::Stop(StopReason::CallEnded));
            call.wait_ms(4_000);
        }),
        ("BYE 481", 0, &|call| refuse_bye(call, 481)),
        ("BYE 408", 0, &|call| refuse_bye(call, 408)),
        ("BYE undelivered", 0, &|call| {
            call.command(Command::Stop(StopReason::CallEnded));
            unreachable(call);
        }),
    ];
    for (way, seconds, lose) in ways {
        let mut call = recording(probed(false));
        let opened = call.now;
        report(&mut call, 40);
        call.wait_ms(1_000);
        lose(&mut call);
        assert_eq!(uncertain(&mut call), Duration::from_secs(1 + seconds), "{way}");
        assert_eq!(call.recalled(), [(0, opened), (1, opened)], "{way}");
    }
}

#[test]
fn a_report_says_nothing_of_what_the_host_has_refused_before_it_came() {
    let mut call = recording(probed(false));
    report(&mut call, 20);
    call.media(0, REFUSED);
    report(&mut call, 4);
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 481, &[], "");
    assert_eq!(uncertain(&mut call), Duration::from_secs(4));
}

#[test]
fn of_a_stretch_that_was_missed_the_last_report_of_that_stream_counts() {
    let mut call = recording(probed(false));
    report(&mut call, 20);
    call.wait_ms(1_000);
    // Of the other one, which has been silent, nothing is missed.
    call.media(1, REPORT);
    call.wait_ms(1_000);
    call.media(0, BranchEvent::StretchMissed { packets: 60, within: None });
    call.media(0, REPORT);
    assert_eq!(uncertain(&mut call), Duration::from_secs(2));
}
