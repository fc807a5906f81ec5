//! Recorders that have sent receiver reports in this call, and get its session again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::{BranchCommand, BranchEvent, RecordingState};
use siprec_sip::Method;
use support::*;

const REPORT: BranchEvent = BranchEvent::ReportReceived {
    highest_sequence: 1,
    cumulative_lost: 0,
    fraction_lost: 0,
    missing_since: None,
    unbroken: None,
};

/// Whether reports are expected of the recorder that has the session now.
fn expects_reports(call: &Call) -> bool {
    let opened = call.branches.iter().rev().find_map(|command| match command {
        BranchCommand::Open(open) => Some(open.expects_reports),
        _ => None,
    });
    opened.unwrap()
}

/// The recorder does not know the dialog any more, when it is asked next; the next one has it.
fn lose(call: &mut Call) {
    let options = loop {
        if let Some(options) = call.find_request(&Method::Options) {
            break options;
        }
        call.wait_ms(100);
    };
    call.answer(&options, 481, &[], "");
    call.wait_ms(10);
    call.answer_invite(&sdp(&[6000, 6002]));
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

/// Two recorders, the first of which reports at these times, in seconds, before it is lost, and then the second one is: whether the first
/// one is to report, once it has the session again.
fn again(reports: &[(u16, u64)]) -> bool {
    let mut config = config("sip:a.example sip:b.example");
    config.timers.probe = Duration::from_secs(5);
    let mut call = Call::inviting_with(config);
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    let begun = call.now;
    for (slot, seconds) in reports {
        while call.now < begun + Duration::from_secs(*seconds) {
            call.wait_ms(100);
            if let Some(options) = call.find_request(&Method::Options) {
                call.answer(&options, 200, &[], "");
            }
        }
        call.media(*slot, REPORT);
    }
    assert!(!expects_reports(&call));
    lose(&mut call);
    assert!(!expects_reports(&call), "of the other one nothing is known");
    lose(&mut call);
    assert!(call.take().iter().any(|line| line.contains("sip:a.example")), "the first one again");
    expects_reports(&call)
}

#[test]
fn who_has_reported_in_this_call_is_to_report_when_it_has_the_session_again() {
    assert!(again(&[(0, 4), (1, 5), (0, 9), (1, 10)]));
}

#[test]
fn who_has_not_or_rarely_need_not() {
    assert!(!again(&[]));
    assert!(!again(&[(0, 10), (1, 11), (0, 28), (1, 29)]), "each 18 s");
}
