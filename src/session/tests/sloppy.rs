//! `protocol` 1.4, the paragraphs under the table: addresses, tags and numbers of recorders that are not careful.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_session::Command;
use siprec_sip::{HeaderName, Method, Request};
use support::*;

/// A 200 to an INVITE as `response_to` writes it, with the line that begins so replaced.
fn answer_but(invite: &Request, line: &str, instead: &str) -> String {
    let text = response_to(invite, 200, &[], &sdp(&[4000, 4002]));
    let found = text.split_inclusive("\r\n").find(|found| found.starts_with(line)).unwrap();
    text.replacen(found, instead, 1)
}

fn inviting() -> (Call, Request) {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    call.take();
    (call, invite)
}

#[track_caller]
fn assert_runs(call: &mut Call) {
    let lines = call.take();
    assert_eq!(lines[..3], ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "* started"]);
}

#[test]
fn a_2xx_without_contact_is_acknowledged_to_the_request_uri_and_the_session_runs() {
    let (mut call, invite) = inviting();
    call.receive(&answer_but(&invite, "Contact:", ""));
    assert_runs(&mut call);
    assert_eq!(call.request(&Method::Ack).uri, invite.uri);
    call.command(Command::Pause);
    assert_eq!(call.request(&Method::Invite).uri, invite.uri);
}

#[test]
fn a_missing_to_tag_counts_as_null() {
    let (mut call, invite) = inviting();
    call.receive(&answer_but(&invite, "To:", &format!("To: {}\r\n", value(&invite, &HeaderName::To))));
    assert_runs(&mut call);
    assert_eq!(value(&call.request(&Method::Ack), &HeaderName::To), value(&invite, &HeaderName::To));
    // Its own requests may have a tag after all.
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
    call.expect(&["> 200 INVITE"]);
    call.recorder_sends(&invite, "BYE", &[], "");
    assert!(call.take().contains(&"> 200 BYE".to_owned()));
}

#[test]
fn a_contact_that_changes_moves_our_requests() {
    let moved = "<sip:moved@192.0.2.9:7000>";
    // By its requests.
    for method in ["INVITE", "UPDATE", "OPTIONS", "INFO"] {
        let (mut call, invite) = inviting();
        call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
        let cseq = call.last_cseq() + 1;
        call.recorder_sends_numbered_as(&invite, method, cseq, moved, &[], "");
        if method == "INVITE" {
            call.recorder_sends_numbered_as(&invite, "ACK", cseq, moved, &[], &sdp(&[4000, 4002]));
        }
        call.command(Command::Pause);
        let reinvite = call.request(&Method::Invite);
        assert_eq!(reinvite.uri.as_str(), "sip:moved@192.0.2.9:7000", "{method}");
    }
    // By its answers.
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    assert_eq!(reinvite.uri.as_str(), "sip:rec@192.0.2.9:5060");
    call.receive(&answer_but(&reinvite, "Contact:", &format!("Contact: {moved}\r\n")));
    assert_eq!(call.request(&Method::Ack).uri.as_str(), "sip:moved@192.0.2.9:7000");
    // Not by a refusal.
    call.command(Command::Resume);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 488, &[("Contact", "<sip:elsewhere@192.0.2.9>")], "");
    call.command(Command::StopNow);
    assert_eq!(call.request(&Method::Bye).uri.as_str(), "sip:moved@192.0.2.9:7000");
}

#[test]
fn a_2xx_that_comes_again_gets_its_ack_again_and_changes_nothing() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    let ack = call.request(&Method::Ack);
    for _ in 0..3 {
        call.answer(&invite, 200, &[], &sdp(&[6000, 6002]));
        call.expect(&["> ACK"]);
        assert_eq!(call.request(&Method::Ack), ack);
    }
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    for _ in 0..2 {
        call.answer(&reinvite, 200, &[], &sdp_with(&[4000, 4002], "a=inactive\r\n"));
        call.expect(&["> ACK"]);
    }
}

#[test]
fn another_branch_of_a_forked_invite_is_acknowledged_and_ended() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    let other = format!("To: {};tag=other\r\n", value(&invite, &HeaderName::To));
    call.receive(&answer_but(&invite, "To:", &other));
    call.expect(&["> ACK", "> BYE"]);
    let bye = call.request(&Method::Bye);
    assert!(value(&bye, &HeaderName::To).ends_with(";tag=other"));
    call.answer(&bye, 200, &[], "");
    call.expect(&[]);
    // The session itself goes on.
    call.command(Command::Pause);
    call.expect(&["pause 0", "pause 1", "> INVITE inactive/inactive v2", "* paused", "= paused"]);
}

#[test]
fn a_lower_number_gets_500_and_a_gap_is_legal() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    call.recorder_sends_numbered(&invite, "INVITE", 7, &[], &sdp(&[4000, 4002]));
    call.expect(&["> 200 INVITE"]);
    call.recorder_sends_numbered(&invite, "UPDATE", 6, &[], &sdp(&[6000, 6002]));
    call.expect(&["> 500 UPDATE"]);
    call.recorder_sends_numbered(&invite, "OPTIONS", 70_000, &[], "");
    call.expect(&["> 200 OPTIONS"]);
}

#[test]
fn a_request_that_comes_again_gets_the_same_answer_and_acts_once() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    for expected in [&["open 0 to 192.0.2.9:6000", "> 200 UPDATE"][..], &["> 200 UPDATE"]] {
        call.recorder_sends_numbered(&invite, "UPDATE", 7, &[], &sdp(&[6000, 4002]));
        call.expect(expected);
    }
}

#[test]
fn an_answer_of_ours_that_nobody_acknowledges_loses_the_dialog() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
    call.wait_ms(31_999);
    let lines = call.take();
    assert!(lines.iter().all(|line| line == "> 200 INVITE"), "{lines:?}");
    assert!(lines.len() > 5, "it is sent again: {lines:?}");
    call.wait_ms(1);
    let lines = call.take();
    let failed = "* failed: the dialog with the recorder is lost: an answer was never acknowledged";
    assert_eq!(lines[..3], ["recall 0", "recall 1", failed], "nothing is sent any more: {lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "> BYE").count(), 1, "{lines:?}");
}

#[test]
fn a_recorders_request_that_asks_for_the_unknown_gets_420() {
    let (mut call, invite) = inviting();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    assert_runs(&mut call);
    call.recorder_sends(&invite, "INVITE", &[("Require", "timer, 100rel")], &sdp(&[6000, 6002]));
    call.expect(&["> 420 INVITE"]);
    call.recorder_sends(&invite, "INVITE", &[("Require", "timer")], &sdp(&[4000, 4002]));
    call.expect(&["> 200 INVITE"]);
}
