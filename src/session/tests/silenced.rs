//! The recorder asks for silence by an offer of its own: what waits by then is for it, what the call says in between is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::StopReason;
use siprec_session::{Command, Input, RecordingConfig, TransportEvent};
use siprec_sip::{Method, Request};
use support::*;

const INACTIVE: &str = "a=inactive\r\n";
const FROZEN: [&str; 2] = ["freeze 0", "freeze 1"];
const OPEN: [&str; 2] = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002"];

/// How a recorder asks for silence.
fn silences() -> [String; 2] {
    [sdp_with(&[4000, 4002], INACTIVE), sdp(&[0, 0])]
}

/// A session whose recorder has asked for silence, and the INVITE that made it.
fn silenced_by(config: RecordingConfig, silence: &str) -> (Call, Request) {
    let mut call = Call::inviting_with(config);
    call.engine.freezes = true;
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    demand(&mut call, &invite, silence);
    let lines = call.take();
    assert_eq!(lines[..2], FROZEN, "{lines:?}");
    (call, invite)
}

fn silenced(silence: &str) -> (Call, Request) {
    silenced_by(config("sip:rec.example"), silence)
}

/// The recorder makes an offer, and acknowledges our answer.
fn demand(call: &mut Call, invite: &Request, body: &str) {
    call.recorder_sends(invite, "INVITE", &[], body);
    let cseq = call.last_cseq();
    call.recorder_sends_numbered(invite, "ACK", cseq, &[], "");
}

/// What the branches were told.
fn commands(call: &mut Call) -> Vec<String> {
    let words = ["open", "hold", "pause", "freeze", "disable"];
    call.take().into_iter().filter(|line| words.iter().any(|word| line.starts_with(word))).collect()
}

#[test]
fn what_waits_is_frozen_until_the_recorder_opens_the_stream_again() {
    for silence in silences() {
        let (mut call, invite) = silenced(&silence);
        call.wait_ms(60_000);
        assert_eq!(commands(&mut call), Vec::<String>::new());
        demand(&mut call, &invite, &sdp(&[4000, 4002]));
        assert_eq!(commands(&mut call), OPEN);
    }
}

#[test]
fn a_refresh_that_the_recorder_answers_by_the_same_silence_stores_nothing_of_it() {
    for silence in silences() {
        for answer in silences() {
            let (mut call, invite) = silenced(&silence);
            call.wait_ms(900_000);
            let refresh = call.answer_invite(&answer);
            assert!(refresh.headers.cseq().unwrap().number > invite.headers.cseq().unwrap().number);
            assert_eq!(commands(&mut call), Vec::<String>::new());
            demand(&mut call, &invite, &sdp(&[4000, 4002]));
            assert_eq!(commands(&mut call), OPEN);
        }
    }
}

#[test]
fn a_codec_that_changes_in_the_silence_stores_nothing_of_it_and_is_open_where_the_recorder_says_so() {
    for silence in silences() {
        for (answer, opens) in [(sdp(&[4000, 4002]), true), (silence.clone(), false)] {
            let (mut call, _) = silenced(&silence);
            let change =
                |slot| Command::StreamFormat { stream: stream(slot), format: audio(&[(8, "PCMA", 8000)]) };
            call.command(Command::Batch(vec![change(0), change(1)]));
            assert_eq!(commands(&mut call), Vec::<String>::new());
            call.answer_invite(&answer);
            assert_eq!(commands(&mut call), if opens { OPEN.to_vec() } else { Vec::new() });
        }
    }
}

#[test]
fn a_pause_of_ours_in_the_silence_keeps_what_is_frozen_and_the_answer_to_the_resume_decides() {
    for silence in silences() {
        let (mut call, _) = silenced(&silence);
        call.command(Command::Pause);
        call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
        assert_eq!(commands(&mut call), ["pause 0", "pause 1"]);
        call.command(Command::Resume);
        call.answer_invite(&sdp(&[4000, 4002]));
        assert_eq!(commands(&mut call), ["hold 0", "hold 1", OPEN[0], OPEN[1]]);
    }
}

#[test]
fn silence_that_the_recorder_asks_for_in_a_pause_of_ours_loses_nothing_from_the_resume_on() {
    let mut call = Call::inviting();
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    call.take();
    demand(&mut call, &invite, &(sdp(&[4000]) + "m=audio 4002 RTP/AVP 0\r\na=inactive\r\n"));
    call.command(Command::Resume);
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    assert_eq!(commands(&mut call), ["hold 0", "hold 1"]);
}

#[test]
fn a_stream_that_is_refused_by_an_answer_is_off_and_not_frozen() {
    let mut call = Call::inviting();
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 0]));
    assert_eq!(commands(&mut call), ["open 0 to 192.0.2.9:4000", "disable 1"]);
}

#[test]
fn the_next_recorder_gets_what_is_frozen_where_the_silent_one_is_lost() {
    for silence in silences() {
        let (mut call, invite) = silenced_by(config("sip:a.example sip:b.example"), &silence);
        call.recorder_sends(&invite, "BYE", &[("Reason", "SIP;cause=503")], "");
        let lines = call.take();
        let place =
            |line: &str| lines.iter().position(|other| other == line).unwrap_or_else(|| panic!("{lines:?}"));
        for slot in 0..2 {
            assert!(place(&format!("recall {slot}")) < place(&format!("hold {slot}")), "{lines:?}");
        }
        call.answer_invite(&sdp(&[6000, 6002]));
        assert_eq!(commands(&mut call), ["open 0 to 192.0.2.9:6000", "open 1 to 192.0.2.9:6002"]);
    }
}

/// The recorder shows that it lives, long after it was last sent anything.
fn lives_on(call: &mut Call, invite: &Request, silence: &str) {
    call.wait_ms(10_000);
    demand(call, invite, silence);
    call.take();
}

/// What is done but for the BYE, which goes again and again.
fn deeds(call: &mut Call) -> Vec<String> {
    call.take().into_iter().filter(|line| line != "> BYE").collect()
}

#[test]
fn what_is_frozen_at_the_end_of_the_call_is_lost_where_the_recorder_answers_the_bye() {
    for silence in silences() {
        let (mut call, invite) = silenced_by(config("sip:a.example sip:b.example"), &silence);
        lives_on(&mut call, &invite, &silence);
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(100);
        call.expect(&["drain 0", "drain 1", "= draining", "part 0", "part 1", "> BYE"]);
        call.wait_ms(3_900);
        assert_eq!(deeds(&mut call), Vec::<String>::new());
        call.answer_bye();
        call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"]);
    }
}

#[test]
fn the_next_recorder_gets_what_is_frozen_where_the_silent_one_does_not_answer_the_bye() {
    for silence in silences() {
        for is_delivered in [true, false] {
            let (mut call, invite) = silenced_by(config("sip:a.example sip:b.example"), &silence);
            lives_on(&mut call, &invite, &silence);
            call.command(Command::Stop(StopReason::CallEnded));
            call.wait_ms(100);
            call.take();
            if is_delivered {
                call.wait_ms(3_999);
                assert_eq!(deeds(&mut call), Vec::<String>::new());
                call.wait_ms(1);
            } else {
                let reason = "connection refused".into();
                call.input(Input::Transport(TransportEvent::Failed { attempt: 1, reason }));
            }
            let offer = call.request(&Method::Invite);
            let lines = call.take();
            assert!(lines.iter().any(|line| line.starts_with("* failed: ")), "{lines:?}");
            call.engine.freezes = false;
            call.answer(&offer, 200, &[], &sdp(&[6000, 6002]));
            let lines = call.take();
            assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
            assert!(lines.contains(&"open 1 to 192.0.2.9:6002".to_owned()), "{lines:?}");
            call.answer_bye();
            assert!(call.take().contains(&"* stopped: call-ended".to_owned()));
        }
    }
}

#[test]
fn where_nothing_is_frozen_the_session_of_a_silent_recorder_ends_with_the_bye() {
    let (mut call, invite) = silenced(&silences()[0]);
    call.engine.freezes = false;
    lives_on(&mut call, &invite, &silences()[0]);
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&[
        "drain 0",
        "drain 1",
        "= draining",
        "close 0",
        "close 1",
        "> BYE",
        "* stopped: call-ended",
        "= stopped",
    ]);
}

#[test]
fn the_next_recorder_gets_what_the_first_answer_held_up_where_the_bye_is_not_answered() {
    let mut call = Call::inviting_with(config("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    let invite = call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    lives_on(&mut call, &invite, &silences()[0]);
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "part 0", "part 1", "> BYE", "= draining"]);
    call.wait_ms(4_000);
    call.answer_invite(&sdp(&[6000, 6002]));
    let lines = call.take();
    assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
    call.answer_bye();
    assert!(call.take().contains(&"* stopped: call-ended".to_owned()));
}

#[test]
fn the_end_of_the_call_waits_for_the_answer_that_may_open_what_is_frozen() {
    for silence in silences() {
        let (mut call, _) = silenced(&silence);
        call.format(0, audio(&[(8, "PCMA", 8000)]));
        call.command(Command::Stop(StopReason::CallEnded));
        let lines = call.take();
        assert!(!lines.contains(&"> BYE".to_owned()), "{lines:?}");
        call.answer_invite(&sdp(&[4000, 4002]));
        let lines = call.take();
        assert_eq!(lines[..2], OPEN, "{lines:?}");
        assert_eq!(lines.last().unwrap(), "> BYE", "{lines:?}");
    }
}

#[test]
fn another_stream_in_the_line_of_a_silent_one_is_held_until_the_recorder_opens_it() {
    let (mut call, invite) = silenced(&silences()[0]);
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    // The engine has as long to say that nothing is frozen of the one that ends.
    call.wait_ms(100);
    let offer = call.request(&Method::Invite);
    call.answer(&offer, 200, &[], &sdp_with(&[4000, 4002], INACTIVE));
    // A branch holds from the beginning.
    assert_eq!(commands(&mut call), Vec::<String>::new());
    demand(&mut call, &invite, &sdp(&[4000, 4002]));
    assert_eq!(commands(&mut call), [OPEN[0], "open 64 to 192.0.2.9:4002"]);
}
