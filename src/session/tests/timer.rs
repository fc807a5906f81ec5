//! `protocol` 1.5: the session timer (RFC 4028).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use siprec_model::StopReason;
use siprec_session::{Command, MOST_AHEAD};
use siprec_sip::{HeaderName, Method, Request, Response};
use support::*;

/// What the session timer does when the 200 has these headers.
fn with_timer(headers: &[(&str, &str)]) -> (Call, Request) {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    assert_eq!(value(&invite, &HeaderName::SessionExpires), "1800");
    call.answer(&invite, 200, headers, &sdp(&[4000, 4002]));
    call.take();
    (call, invite)
}

#[test]
fn we_refresh_at_half_the_interval_with_the_same_description() {
    let cases: [(&[(&str, &str)], u64); 3] = [
        (&[("Session-Expires", "600;refresher=uac"), ("Require", "timer")], 300),
        (&[("Session-Expires", "600")], 300),
        (&[], 900), // RFC 4028 §7.2
    ];
    for (headers, seconds) in cases {
        let (mut call, invite) = with_timer(headers);
        call.wait_ms(seconds * 1000 - 1);
        call.expect(&[]);
        call.wait_ms(1);
        call.expect(&["> INVITE sendonly/sendonly v1"]);
        let refresh = call.request(&Method::Invite);
        assert_eq!(refresh.body, invite.body);
        assert_eq!(value(&refresh, &HeaderName::SessionExpires), format!("{};refresher=uac", seconds * 2));
        call.answer(&refresh, 200, headers, &sdp(&[4000, 4002]));
        call.expect(&["> ACK"]);
        call.wait_ms(seconds * 1000);
        call.expect(&["> INVITE sendonly/sendonly v1"]);
    }
}

#[test]
fn who_is_ahead_of_others_refreshes_sooner_and_asks_sooner() {
    for (ahead, refresh_ms, probe_ms) in
        [(0, 300_000, 5_000), (MOST_AHEAD / 2, 294_000, 4_500), (MOST_AHEAD, 288_000, 4_000)]
    {
        let mut config = config("sip:a.example");
        config.timers.ahead = ahead;
        for (probe, due_ms, what, method) in [
            (Duration::ZERO, refresh_ms, "> INVITE sendonly/sendonly v1", Method::Invite),
            (Duration::from_secs(5), probe_ms, "> OPTIONS", Method::Options),
        ] {
            config.timers.probe = probe;
            let mut call = Call::inviting_with(config.clone());
            let invite = call.request(&Method::Invite);
            call.answer(&invite, 200, &[("Session-Expires", "600;refresher=uac")], &sdp(&[4000, 4002]));
            call.take();
            for _ in 0..3 {
                call.wait_ms(due_ms - 1);
                call.expect(&[]);
                call.wait_ms(1);
                call.expect(&[what]);
                let request = call.request(&method);
                let body = if method == Method::Invite { sdp(&[4000, 4002]) } else { String::new() };
                call.answer(&request, 200, &[("Session-Expires", "600;refresher=uac")], &body);
                call.take();
            }
        }
    }
}

#[test]
fn an_interval_that_is_shorter_than_may_be_is_kept_alive_at_its_half() {
    for (agreed, half) in [("60;refresher=uac", 30), ("20;refresher=uac", 10), ("4;refresher=uac", 5)] {
        let (mut call, _) = with_timer(&[("Session-Expires", agreed)]);
        for _ in 0..2 {
            call.wait_ms(half * 1000);
            call.expect(&["> INVITE sendonly/sendonly v1"]);
            let refresh = call.request(&Method::Invite);
            assert_eq!(value(&refresh, &HeaderName::SessionExpires), "90;refresher=uac");
            call.answer(&refresh, 200, &[("Session-Expires", agreed)], &sdp(&[4000, 4002]));
            call.expect(&["> ACK"]);
        }
    }
}

#[test]
fn without_the_recorders_refresh_the_session_ends_before_the_interval_does() {
    let (mut call, invite) = with_timer(&[("Session-Expires", "600;refresher=uas"), ("Require", "timer")]);
    call.wait_ms(500_000);
    let timer = [("Session-Expires", "600;refresher=uac"), ("Supported", "timer")];
    call.recorder_sends(&invite, "UPDATE", &timer, &sdp(&[4000, 4002]));
    call.expect(&["> 200 UPDATE"]);
    let response = call.response();
    assert_eq!(timer_of(&response), "600;refresher=uac");
    assert_eq!(response.headers.require(), ["timer"]);
    call.wait_ms(567_999);
    call.expect(&[]);
    call.wait_ms(1); // RFC 4028 §10: min(32 s, interval/3) before the end
    let lines = call.take();
    assert_eq!(lines[2], "* failed: the dialog with the recorder is lost: the session timer expired");
    assert!(lines.contains(&"> BYE".to_owned()));
}

#[test]
fn a_refused_refresh_is_tried_again_later() {
    let (mut call, _) = with_timer(&[("Session-Expires", "600;refresher=uac")]);
    call.wait_ms(300_000);
    let refresh = call.request(&Method::Invite);
    call.take();
    call.answer(&refresh, 488, &[], "");
    call.expect(&["> ACK"]);
    call.wait_ms(149_999);
    call.expect(&[]);
    call.wait_ms(1);
    call.expect(&["> INVITE sendonly/sendonly v1"]);
}

/// Session-Expires of a response.
fn timer_of(response: &Response) -> String {
    response.headers.get(&HeaderName::SessionExpires).map(ToString::to_string).unwrap_or_default()
}

/// Session-Expires and Min-SE of a request.
fn wanted(request: &Request) -> (String, String) {
    (value(request, &HeaderName::SessionExpires), value(request, &HeaderName::MinSe))
}

#[test]
fn an_invite_that_meets_422_is_repeated_with_the_recorders_interval() {
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
    let invite = call.request(&Method::Invite);
    call.take();
    call.answer(&invite, 422, &[("Min-SE", "3600")], "");
    call.expect(&["> ACK", "> INVITE sendonly/sendonly v1"]);
    let second = call.request(&Method::Invite);
    assert_eq!(wanted(&second), ("3600".to_owned(), "3600".to_owned()));
    assert_eq!(second.body, invite.body, "the same offer");
    assert_eq!(value(&second, &HeaderName::CallId), value(&invite, &HeaderName::CallId));
    call.answer(&second, 200, &[("Session-Expires", "3600;refresher=uac")], &sdp(&[4000, 4002]));
    assert_eq!(call.take()[..3], ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "* started"]);
    // The largest Min-SE stands in every later request.
    call.wait_ms(1_799_999);
    call.expect(&[]);
    call.wait_ms(1);
    call.expect(&["> INVITE sendonly/sendonly v1"]);
    let refresh = call.request(&Method::Invite);
    assert_eq!(wanted(&refresh), ("3600;refresher=uac".to_owned(), "3600".to_owned()));
}

#[test]
fn a_422_without_a_use_is_a_refusal() {
    for min_se in [None, Some("90"), Some("1800"), Some("soon")] {
        let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
        let invite = call.request(&Method::Invite);
        call.take();
        let headers: Vec<_> = min_se.map(|seconds| ("Min-SE", seconds)).into_iter().collect();
        call.answer(&invite, 422, &headers, "");
        let lines = call.take();
        assert!(lines[0].starts_with("* failed: the recorder refused: 422"), "{min_se:?}: {lines:?}");
        assert!(lines.contains(&"resolve sip:b.example".to_owned()), "{min_se:?}: {lines:?}");
    }
}

#[test]
fn an_offer_within_the_session_that_meets_422_is_repeated_at_once() {
    let (mut call, _) = with_timer(&[("Session-Expires", "600;refresher=uac")]);
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    assert_eq!(wanted(&reinvite), ("600;refresher=uac".to_owned(), String::new()));
    call.take();
    call.answer(&reinvite, 422, &[("Min-SE", "900")], "");
    call.expect(&["> ACK", "> INVITE inactive/inactive v2"]);
    let second = call.request(&Method::Invite);
    assert_eq!(wanted(&second), ("900;refresher=uac".to_owned(), "900".to_owned()));
    assert_eq!(second.body, reinvite.body);
    call.answer(&second, 200, &[("Session-Expires", "900;refresher=uac")], &sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    call.wait_ms(450_000);
    call.expect(&["> INVITE inactive/inactive v2"]);
}

#[test]
fn min_se_is_never_below_90() {
    let (mut call, invite) = with_timer(&[("Session-Expires", "90;refresher=uac")]);
    let timer = [("Session-Expires", "90;refresher=uac"), ("Min-SE", "5"), ("Supported", "timer")];
    call.recorder_sends(&invite, "UPDATE", &timer, "");
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    assert_eq!(wanted(&reinvite), ("90;refresher=uas".to_owned(), "90".to_owned()));
}

#[test]
fn a_refresh_with_too_small_an_interval_gets_422_and_changes_nothing() {
    for method in ["INVITE", "UPDATE"] {
        let (mut call, invite) =
            with_timer(&[("Session-Expires", "600;refresher=uas"), ("Require", "timer")]);
        call.wait_ms(500_000);
        let timer = [("Session-Expires", "89;refresher=uac"), ("Supported", "timer")];
        call.recorder_sends(&invite, method, &timer, &sdp(&[6000, 6002]));
        call.expect(&[&format!("> 422 {method}")]);
        assert_eq!(call.response().headers.min_se().unwrap(), Some(90));
        // It was no refresh.
        call.wait_ms(68_000);
        assert!(call.take().contains(&"> BYE".to_owned()), "{method}");
    }
}

#[test]
fn the_recorder_refreshes_by_reinvite_or_update_with_or_without_sdp() {
    for (method, body) in [
        ("INVITE", sdp(&[4000, 4002])),
        ("INVITE", String::new()),
        ("UPDATE", sdp(&[4000, 4002])),
        ("UPDATE", String::new()),
    ] {
        let (mut call, invite) = with_timer(&[("Session-Expires", "90;refresher=uas"), ("Require", "timer")]);
        for _ in 0..5 {
            call.wait_ms(45_000);
            call.expect(&[]);
            let timer = [("Session-Expires", "90;refresher=uac"), ("Supported", "timer")];
            call.recorder_sends(&invite, method, &timer, &body);
            call.expect(&[&format!("> 200 {method}")]);
            let response = call.response();
            assert_eq!(timer_of(&response), "90;refresher=uac");
            assert_eq!(response.headers.require(), ["timer"]);
            if method == "INVITE" {
                let cseq = call.last_cseq();
                call.recorder_sends_numbered(&invite, "ACK", cseq, &[], &sdp(&[4000, 4002]));
            }
        }
        call.wait_ms(59_999);
        call.expect(&[]);
        call.wait_ms(1); // 90 - min(32, 90/3)
        assert!(call.take().contains(&"> BYE".to_owned()), "{method}");
    }
}

#[test]
fn the_recorder_may_hand_the_refreshes_to_us() {
    let (mut call, invite) = with_timer(&[("Session-Expires", "600;refresher=uas"), ("Require", "timer")]);
    let timer = [("Session-Expires", "600;refresher=uas"), ("Supported", "timer")];
    call.recorder_sends(&invite, "UPDATE", &timer, "");
    assert_eq!(timer_of(&call.response()), "600;refresher=uas");
    call.take();
    call.wait_ms(300_000);
    call.expect(&["> INVITE sendonly/sendonly v1"]);
    assert_eq!(value(&call.request(&Method::Invite), &HeaderName::SessionExpires), "600;refresher=uac");
}

#[test]
fn where_the_recorder_forgets_its_timer_we_go_on_refreshing() {
    type Case = (&'static [(&'static str, &'static str)], &'static str, bool);
    let table: [Case; 3] = [
        (&[], "", false),
        (&[("Supported", "timer")], "600;refresher=uas", true),
        (&[("Session-Expires", "600;refresher=uac")], "600;refresher=uas", false),
    ];
    for (headers, expected, requires) in table {
        let (mut call, invite) =
            with_timer(&[("Session-Expires", "600;refresher=uas"), ("Require", "timer")]);
        call.recorder_sends(&invite, "UPDATE", headers, &sdp(&[4000, 4002]));
        let response = call.response();
        assert_eq!(timer_of(&response), expected, "{headers:?}");
        assert_eq!(response.headers.require() == ["timer"], requires, "{headers:?}");
        call.take();
        call.wait_ms(299_999);
        call.expect(&[]);
        call.wait_ms(1);
        call.expect(&["> INVITE sendonly/sendonly v1"]);
    }
}

#[test]
fn our_offers_keep_the_roles() {
    for (role, next) in [("uac", "600;refresher=uac"), ("uas", "600;refresher=uas")] {
        let (mut call, _) = with_timer(&[("Session-Expires", &format!("600;refresher={role}"))]);
        for command in [Command::Pause, Command::Resume] {
            call.command(command);
            let reinvite = call.request(&Method::Invite);
            assert_eq!(value(&reinvite, &HeaderName::SessionExpires), next);
            call.answer(&reinvite, 200, &[("Session-Expires", next)], &sdp(&[4000, 4002]));
        }
    }
}

#[test]
fn any_offer_of_ours_is_a_refresh_too() {
    let timer = [("Session-Expires", "600;refresher=uac")];
    let (mut call, _) = with_timer(&timer);
    call.wait_ms(299_000);
    call.command(Command::Pause);
    let reinvite = call.request(&Method::Invite);
    call.answer(&reinvite, 200, &timer, &sdp(&[4000, 4002]));
    call.take();
    call.wait_ms(299_999);
    call.expect(&[]);
    call.wait_ms(1);
    call.expect(&["> INVITE inactive/inactive v2"]);
}

#[test]
fn a_timer_on_the_answer_to_bye_is_ignored() {
    let (mut call, _) = with_timer(&[("Session-Expires", "600;refresher=uac")]);
    call.command(Command::Stop(StopReason::CallEnded));
    let bye = call.request(&Method::Bye);
    assert_eq!(wanted(&bye), (String::new(), String::new()));
    call.take();
    let timer = [("Session-Expires", "90;refresher=uas"), ("Require", "timer"), ("Min-SE", "90")];
    call.answer(&bye, 200, &timer, "");
    call.expect(&["finished"]);
    assert_eq!(call.recording.next_deadline(), None);
}

#[test]
fn a_refresh_that_nobody_answers_loses_the_dialog() {
    let (mut call, _) = with_timer(&[("Session-Expires", "600;refresher=uac")]);
    call.wait_ms(300_000);
    call.expect(&["> INVITE sendonly/sendonly v1"]);
    call.wait_ms(32_000);
    let lines = call.take();
    assert_eq!(lines.iter().filter(|line| *line == "> BYE").count(), 1, "{lines:?}");
    let lost = "* failed: the dialog with the recorder is lost: no answer within 32 s";
    assert!(lines.contains(&lost.to_owned()), "{lines:?}");
}

#[test]
fn an_update_without_sdp_before_our_answer_is_answered() {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 183, &[], "");
    call.take();
    call.recorder_sends(&invite, "UPDATE", &[], "");
    call.expect(&["> 200 UPDATE"]);
}
