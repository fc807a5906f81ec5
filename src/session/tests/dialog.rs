//! `protocol` 1.3 to 1.5: what happens within an established session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{RecordingState, StopReason};
use siprec_session::Command;
use siprec_sip::{HeaderName, Method, Request, SessionDescription};
use support::*;

const OPEN_BOTH: [&str; 2] = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002"];

/// An established session, and the INVITE that made it.
fn established() -> (Call, Request) {
    let mut call = Call::inviting();
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    (call, invite)
}

#[test]
fn pause_stops_rtp_before_the_reinvite_and_resume_sends_after_its_answer() {
    let (mut call, invite) = established();
    call.command(Command::Pause);
    call.expect(&["pause 0", "pause 1", "> INVITE inactive/inactive v2", "* paused", "= paused"]);
    let reinvite = call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    for name in [HeaderName::From, HeaderName::CallId] {
        assert_eq!(value(&reinvite, &name), value(&invite, &name));
    }
    assert_eq!(value(&reinvite, &HeaderName::To), value(&invite, &HeaderName::To) + ";tag=rec");
    call.expect(&["> ACK"]);
    call.command(Command::Resume);
    call.expect(&["hold 0", "hold 1", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[OPEN_BOTH[0], OPEN_BOTH[1], "> ACK", "* resumed", "= recording"]);
}

#[test]
fn pause_before_the_answer_is_offered_right_after_it_and_nothing_is_sent_between() {
    let mut call = Call::inviting();
    call.take();
    call.command(Command::Pause);
    call.expect(&["pause 0", "pause 1"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK", "> INVITE inactive/inactive v2", "* paused", "= paused"]);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&["> ACK"]);
}

#[test]
fn a_session_that_is_set_up_paused_offers_inactive_at_once() {
    let mut call = Call::new(config("sip:rec.example"));
    call.command(Command::Pause);
    call.add(0);
    call.format(0, pcmu());
    call.expect(&[
        "create 0",
        "pause 0",
        "describe 0",
        "resolve sip:rec.example",
        "= starting",
        "> INVITE inactive/off v1",
    ]);
    call.answer_invite(&sdp_with(&[4000, 0], "a=inactive\r\n"));
    call.expect(&["> ACK", "* paused", "= paused"]);
}

#[test]
fn pause_and_resume_within_one_transaction_merge() {
    let (mut call, _) = established();
    for _ in 0..50 {
        call.command(Command::Pause);
        call.command(Command::Resume);
    }
    let lines = call.take();
    assert_eq!(lines.iter().filter(|line| line.starts_with("> ")).count(), 1, "one offer is open at most");
    assert_eq!(lines[lines.len() - 2..], ["hold 0", "hold 1"], "nothing is sent while our inactive is open");
    assert_eq!(lines.iter().filter(|line| line.starts_with(['*', '='])).count(), 2, "paused once: {lines:?}");
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&["> ACK", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[OPEN_BOTH[0], OPEN_BOTH[1], "> ACK", "* resumed", "= recording"]);
}

#[test]
fn a_refused_pause_keeps_the_gates_closed_and_is_not_repeated() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    call.answer(&reinvite, 488, &[], "");
    call.expect(&["> ACK"]);
    call.command(Command::Pause);
    call.wait_ms(600_000);
    call.expect(&[]);
    assert_eq!(call.recording.state(), RecordingState::Paused);
    // What is wanted is agreed already.
    call.command(Command::Resume);
    call.expect(&[OPEN_BOTH[0], OPEN_BOTH[1], "* resumed", "= recording"]);
    // Wanted has changed since: the pause is offered again, in the same words.
    call.command(Command::Pause);
    call.expect(&["pause 0", "pause 1", "> INVITE inactive/inactive v2", "* paused", "= paused"]);
}

/// Nothing is sent from the command on, and what is told says so: `GSIP_RECORD` is what the parties are told.
#[test]
fn a_pause_is_told_at_once_and_once_whatever_the_recorder_says_of_it_and_when() {
    const PAUSED: [&str; 5] = ["pause 0", "pause 1", "> INVITE inactive/inactive v2", "* paused", "= paused"];
    let (mut call, _) = established();
    call.command(Command::Pause);
    call.expect(&PAUSED);
    for _ in 0..20 {
        let reinvite = call.request(&Method::Invite);
        call.answer(&reinvite, 491, &[], "");
        call.expect(&["> ACK"]);
        call.wait_ms(4_000);
        let repeated = call.take();
        assert!(!repeated.is_empty() && repeated.iter().all(|line| line == PAUSED[2]), "{repeated:?}");
    }
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 200, &[], &sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&["> ACK"]);
    call.command(Command::Resume);
    call.answer_invite(&sdp(&[4000, 4002]));
    let lines = call.take();
    assert_eq!(lines[lines.len() - 2..], ["* resumed", "= recording"]);
    // One that says nothing at all is lost, and so told.
    call.command(Command::Pause);
    assert_eq!(call.take()[3..], ["* paused", "= paused"]);
    call.wait_ms(31_000);
    assert_eq!(call.recording.state(), RecordingState::Paused);
    call.wait_ms(1_000);
    let told: Vec<_> = call.take().into_iter().filter(|line| line.starts_with(['*', '='])).collect();
    assert_eq!(told, ["* failed: the dialog with the recorder is lost: no answer within 32 s", "= starting"]);
}

#[test]
fn after_491_the_offer_is_repeated_between_2_1_and_4_seconds_later() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    call.answer(&reinvite, 491, &[], "");
    call.expect(&["> ACK"]);
    call.wait_ms(2099);
    call.expect(&[]);
    call.wait_ms(1901);
    assert_eq!(call.take()[0], "> INVITE inactive/inactive v2");
}

#[test]
fn an_offer_that_is_no_longer_wanted_is_not_repeated_after_491() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 491, &[], "");
    call.command(Command::Resume);
    call.take();
    call.wait_ms(10_000);
    call.expect(&[]);
    // The back-off is over: a new offer does not wait.
    call.command(Command::Pause);
    assert!(call.take().contains(&"> INVITE inactive/inactive v2".to_owned()));
}

#[test]
fn what_is_wanted_meanwhile_does_not_cut_the_time_after_491_short() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    call.answer(&reinvite, 491, &[], "");
    call.expect(&["> ACK"]);
    for command in [Command::Resume, Command::Pause] {
        call.wait_ms(1000);
        call.command(command);
        assert!(call.find_request(&Method::Invite).is_none());
    }
    call.take();
    call.wait_ms(99);
    call.expect(&[]);
    call.wait_ms(1901);
    assert_eq!(call.take()[0], "> INVITE inactive/inactive v2");
}

#[test]
fn with_retry_after_an_offer_is_repeated_twice_at_most() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    for repetition in 0..3 {
        let reinvite = call.request(&Method::Invite);
        call.take();
        call.answer(&reinvite, 503, &[("Retry-After", "3")], "");
        call.wait_ms(2999);
        assert!(!call.take().iter().any(|line| line.contains("INVITE")), "too early");
        call.wait_ms(1);
        assert_eq!(call.find_request(&Method::Invite).is_some(), repetition < 2, "repetition {repetition}");
        if repetition < 2 {
            let lines = call.take();
            assert_eq!(lines, ["> INVITE inactive/inactive v2"]);
            // Put it back for the next turn.
            call.wait_ms(500);
        }
    }
    call.wait_ms(100_000);
    assert!(call.find_request(&Method::Invite).is_none());
}

#[test]
fn no_retry_after_puts_an_offer_off_for_more_than_five_minutes() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    call.answer(&reinvite, 503, &[("Retry-After", "3600")], "");
    call.expect(&["> ACK"]);
    call.wait_ms(299_999);
    call.expect(&[]);
    call.wait_ms(1);
    call.expect(&["> INVITE inactive/inactive v2"]);
}

/// The recorder's offer, and what it is answered.
fn offered(method: &str, body: &str) -> (Vec<String>, SessionDescription) {
    let (mut call, invite) = established();
    call.recorder_sends(&invite, method, &[], body);
    let lines = call.take();
    let response = call.response();
    assert_eq!(response.status, 200);
    (lines, SessionDescription::parse(&response.body).unwrap())
}

#[test]
fn an_equal_offer_gets_the_same_answer() {
    for method in ["INVITE", "UPDATE"] {
        let mut call = Call::inviting();
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
        call.take();
        call.recorder_sends(&invite, method, &[], &sdp(&[4000, 4002]));
        call.expect(&[&format!("> 200 {method}")]);
        assert_eq!(call.response().body, invite.body);
    }
}

#[test]
fn a_changed_address_moves_the_stream() {
    for method in ["INVITE", "UPDATE"] {
        let (lines, answer) = offered(method, &sdp(&[6000, 4002]));
        assert_eq!(lines, ["open 0 to 192.0.2.9:6000", &format!("> 200 {method}")]);
        assert_eq!(support::lines(&answer), "sendonly/sendonly");
    }
}

#[test]
fn what_the_recorder_switches_off_is_off_until_it_opens_it() {
    let inactive = sdp(&[4000]) + "m=audio 4002 RTP/AVP 0\r\na=inactive\r\n";
    let cases = [
        (inactive, "sendonly/inactive", "the recorder set it inactive"),
        (sdp(&[4000, 0]), "sendonly/off", "the recorder refuses it"),
        (
            sdp(&[4000]) + "m=audio 4002 RTP/AVP 0\r\na=sendonly\r\n",
            "sendonly/inactive",
            "the recorder set it inactive",
        ),
    ];
    for (body, expected, reason) in cases {
        let (mut call, invite) = established();
        call.recorder_sends(&invite, "INVITE", &[], &body);
        call.expect(&["freeze 1", &format!("* audio of 1002 off: {reason}"), "> 200 INVITE"]);
        let answer = SessionDescription::parse(&call.response().body).unwrap();
        assert_eq!(support::lines(&answer), expected);
        acknowledge(&mut call, &invite, "");
        call.wait_ms(60_000);
        call.expect(&[]); // we do not fight it
        call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
        call.expect(&["open 1 to 192.0.2.9:4002", "* audio of 1002 on", "> 200 INVITE"]);
    }
}

#[test]
fn m_lines_that_the_recorders_offer_lacks_are_off_and_stay() {
    let (mut call, invite) = established();
    call.recorder_sends(&invite, "UPDATE", &[], &sdp(&[4000]));
    call.expect(&["hold 1", "> 200 UPDATE", "> INVITE sendonly/sendonly v3"]);
    // It does not want them back: a refresh has them still.
    let offer = call.request(&Method::Invite);
    call.answer(&offer, 488, &[], "");
    let refusal = "* audio of 1002 off: the recorder refuses the change: 488 Not Acceptable Here";
    call.expect(&[refusal, "> ACK"]);
    call.wait_ms(900_000);
    call.expect(&["> INVITE sendonly/off v4"]);
}

#[test]
fn one_m_line_more_is_answered_with_port_0_and_stays() {
    let (mut call, invite) = established();
    let body = sdp(&[4000, 4002]) + "m=video 4010 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    call.recorder_sends(&invite, "INVITE", &[], &body);
    call.expect(&["> 200 INVITE"]);
    let answer = SessionDescription::parse(&call.response().body).unwrap();
    assert_eq!(support::lines(&answer), "sendonly/sendonly/off");
    assert_eq!(answer.media(2).unwrap().kind(), "video");
    acknowledge(&mut call, &invite, "");
    // RFC 3264 §8: never fewer m-lines than before.
    call.command(Command::Pause);
    assert!(call.take().iter().any(|line| line.starts_with("> INVITE inactive/inactive/off")));
}

/// The recorder's ACK of our 2xx to its last INVITE.
fn acknowledge(call: &mut Call, invite: &Request, body: &str) {
    let cseq = call.last_cseq();
    call.recorder_sends_numbered(invite, "ACK", cseq, &[], body);
}

#[test]
fn a_reinvite_without_sdp_gets_our_description_as_an_offer() {
    let (mut call, invite) = established();
    call.recorder_sends(&invite, "INVITE", &[], "");
    call.expect(&["> 200 INVITE"]);
    assert_eq!(call.response().body, invite.body, "unchanged");
    acknowledge(&mut call, &invite, &sdp(&[6000, 6002]));
    call.expect(&["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"]);
}

#[test]
fn an_unusable_ack_keeps_the_old_state() {
    for body in ["", "v=garbage"] {
        let (mut call, invite) = established();
        call.recorder_sends(&invite, "INVITE", &[], "");
        call.take();
        acknowledge(&mut call, &invite, body);
        call.expect(&[]);
        assert_eq!(call.recording.state(), RecordingState::Recording);
    }
}

#[test]
fn an_offer_that_cannot_be_read_is_refused_and_changes_nothing() {
    let (mut call, invite) = established();
    call.recorder_sends(&invite, "INVITE", &[("Content-Type", "application/sdp")], "v=garbage");
    call.expect(&["> 488 INVITE"]);
    let (mut call, invite) = established();
    call.recorder_sends(&invite, "INVITE", &[("Content-Type", "text/plain")], "hello");
    call.expect(&["> 415 INVITE"]);
}

#[test]
fn other_requests_get_their_answers() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let table: [Case; 6] = [
        ("UPDATE", &[], "> 200 UPDATE"),
        ("OPTIONS", &[], "> 200 OPTIONS"),
        ("INFO", &[], "> 200 INFO"),
        ("NOTIFY", &[("Event", "presence"), ("Subscription-State", "active")], "> 489 NOTIFY"),
        ("REFER", &[("Refer-To", "<sip:x@y>")], "> 405 REFER"),
        ("FOO", &[], "> 501 FOO"),
    ];
    for (method, headers, expected) in table {
        let (mut call, invite) = established();
        call.recorder_sends(&invite, method, headers, "");
        call.expect(&[expected]);
        let response = call.response();
        if matches!(method, "UPDATE" | "OPTIONS") {
            for name in [HeaderName::Allow, HeaderName::Accept, HeaderName::Supported] {
                assert!(response.headers.contains(&name), "{method}: {name}");
            }
        }
    }
}

#[test]
fn info_asks_for_a_key_frame() {
    let mut call = Call::new(config("sip:rec.example"));
    for slot in 0..2 {
        call.add(slot);
    }
    call.format(0, pcmu());
    call.format(1, video(96, "VP8"));
    let invite = call.answer_invite(&sdp_of(&["audio 4000", "audio 0", "video 4004"]));
    call.take();
    let body = "<?xml version=\"1.0\"?><media_control><vc_primitive><to_encoder><picture_fast_update/>\
                </to_encoder></vc_primitive></media_control>";
    call.recorder_sends(&invite, "INFO", &[("Content-Type", "application/media_control+xml")], body);
    call.expect(&["* key frame wanted", "> 200 INFO"]);
}

#[test]
fn an_offer_while_ours_is_open_gets_491() {
    let (mut call, invite) = established();
    call.command(Command::Pause);
    call.take();
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[6000, 6002]));
    call.expect(&["> 491 INVITE"]);
    call.recorder_sends(&invite, "UPDATE", &[], &sdp(&[6000, 6002]));
    call.expect(&["> 491 UPDATE"]);
}

#[test]
fn our_offer_waits_until_the_recorders_invite_is_acknowledged() {
    let (mut call, invite) = established();
    call.recorder_sends(&invite, "INVITE", &[], "");
    call.take();
    call.command(Command::Pause);
    call.expect(&["pause 0", "pause 1", "* paused", "= paused"]);
    acknowledge(&mut call, &invite, &sdp(&[4000, 4002]));
    call.expect(&["> INVITE inactive/inactive v2"]);
}

#[test]
fn the_recorders_offer_is_answered_with_what_is_wanted() {
    let (mut call, invite) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 491, &[], "");
    call.take();
    // Its offer, the cause of the glare, carries our pause as well as ours would.
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[6000, 6002]));
    call.expect(&["> 200 INVITE"]);
    assert_eq!(
        support::lines(&SessionDescription::parse(&call.response().body).unwrap()),
        "inactive/inactive"
    );
    acknowledge(&mut call, &invite, "");
    call.wait_ms(10_000);
    call.expect(&[]);
}

#[test]
fn bye_ends_our_open_offer_too() {
    let (mut call, invite) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.take();
    call.recorder_sends(&invite, "BYE", &[], "");
    let lines = call.take();
    assert!(lines.contains(&"> 200 BYE".to_owned()) && lines.last().unwrap() == "= stopped", "{lines:?}");
    call.answer(&reinvite, 487, &[], "");
    call.expect(&["> ACK", "finished"]);
}

#[test]
fn an_open_offer_that_a_bye_overtook_is_not_waited_for_for_ever() {
    let (mut call, invite) = established();
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 100, &[], "");
    call.recorder_sends(&invite, "BYE", &[], "");
    call.wait_ms(32_000);
    assert_eq!(call.take().last().unwrap(), "finished");
    assert_eq!(call.recording.next_deadline(), None);
}

#[test]
fn stop_with_an_open_offer_sends_bye() {
    let (mut call, _) = established();
    call.command(Command::Pause);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    let lines = call.take();
    assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
}
