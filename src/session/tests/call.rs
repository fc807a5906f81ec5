//! Transcripts of whole calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchCommand, BranchEvent, DropCause, Hole, RecordingState, StopReason};
use siprec_session::Command;
use siprec_sip::Method;
use support::*;

#[test]
fn a_call_is_recorded_from_its_first_packet_to_bye() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.expect(&["create 0", "create 1"]);
    call.format(0, pcmu());
    call.expect(&["describe 0"]);
    call.format(1, pcmu());
    call.expect(&["describe 1", "resolve sip:rec.example", "= starting", "> INVITE sendonly/sendonly v1"]);
    call.packet(0);
    call.packet(1);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 180, &[], "");
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "* started",
        "> ACK",
        "= recording",
    ]);
    assert_eq!(call.recording.state(), RecordingState::Recording);
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining", "part 0", "part 1", "> BYE"]);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"]);
}

#[test]
fn every_event_says_which_session_it_speaks_of() {
    let mut call = Call::inviting();
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    let gap = BranchEvent::Gap(Hole {
        start: call.now,
        packets: 3,
        duration: std::time::Duration::from_millis(60),
        cause: DropCause::RingFull,
    });
    call.media(1, gap);
    let info = &call.events.last().unwrap().info;
    assert_eq!(info.session.as_deref(), Some(value(&invite, &siprec_sip::HeaderName::CallId).as_str()));
    assert_eq!(info.recording_id.as_str(), "00FA08K");
    assert_eq!(info.call_uuid.as_str(), "UUID1");
    assert_eq!(info.recorder.as_deref(), Some("sip:rec.example"));
    assert_eq!(info.dn.as_deref(), Some("1002"));
}

#[test]
fn a_gap_begins_on_the_clock_of_the_call_which_is_one_for_all_streams() {
    let mut call = Call::inviting();
    let first = call.now;
    call.packet(1);
    call.wait_ms(500);
    call.packet(0);
    call.answer_invite(&sdp(&[4000, 4002]));
    let duration = std::time::Duration::from_millis(40);
    let start = first + std::time::Duration::from_millis(1500);
    let hole = Hole { start, packets: 2, duration, cause: DropCause::RingFull };
    call.media(0, BranchEvent::Gap(hole));
    let report = siprec_model::BranchReport { gaps: 1, holes: vec![hole], ..Default::default() };
    call.engine.closes = false;
    call.command(Command::StopNow);
    call.media(0, BranchEvent::Closed(Box::new(report)));
    let told = call.events.iter().filter_map(|event| match &event.kind {
        siprec_model::SessionEventKind::Gap { gap, .. } => Some(vec![*gap]),
        siprec_model::SessionEventKind::Report { gaps, .. } => Some(gaps.clone()),
        _ => None,
    });
    let start = std::time::Duration::from_millis(1500);
    let gap = siprec_model::Gap { start, duration, packets: 2, cause: DropCause::RingFull };
    assert_eq!(told.collect::<Vec<_>>(), [vec![gap], vec![gap]]);
}

#[test]
fn what_nobody_could_decrypt_is_the_first_of_the_call_also_where_it_is_told_late() {
    let mut call = Call::inviting();
    call.answer_invite(&sdp(&[4000, 4002]));
    let (first, second) = (call.now, std::time::Duration::from_secs(1));
    call.wait_ms(1000);
    call.packet(1);
    // One that nobody has seen says nothing of the beginning.
    let hole = |start, cause| BranchEvent::Gap(Hole { start, packets: 9, duration: second, cause });
    call.media(1, hole(first - 60 * second, DropCause::QueueFull));
    call.media(0, hole(first, DropCause::NoKey));
    call.media(0, hole(first + 3 * second, DropCause::RingFull));
    let starts = call.events.iter().filter_map(|event| match &event.kind {
        siprec_model::SessionEventKind::Gap { gap, .. } => Some(gap.start),
        _ => None,
    });
    let zero = std::time::Duration::ZERO;
    assert_eq!(starts.collect::<Vec<_>>(), [zero, zero, 3 * second]);
}

#[test]
fn the_clock_of_the_call_begins_with_what_nobody_could_decrypt() {
    let mut call = Call::inviting();
    call.answer_invite(&sdp(&[4000, 4002]));
    let start = call.now;
    let hole = |ms| Hole {
        start: start + std::time::Duration::from_millis(ms),
        packets: 9,
        duration: std::time::Duration::from_millis(180),
        cause: DropCause::NotAuthentic,
    };
    for ms in [0, 5000] {
        call.media(0, BranchEvent::Gap(hole(ms)));
    }
    call.wait_ms(600);
    call.packet(0);
    call.media(0, BranchEvent::Gap(hole(7000)));
    let told = call.events.iter().filter_map(|event| match &event.kind {
        siprec_model::SessionEventKind::Gap { gap, .. } => Some(gap.start.as_millis()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [0, 5000, 7000]);
}

#[test]
fn ids_that_nobody_gives_are_made_and_differ() {
    let id = |seed| {
        let mut config = config("sip:rec.example");
        config.recording_id = None;
        config.call_uuid = None;
        let recording = siprec_session::Recording::new(config, [seed; 32], std::time::Instant::now());
        assert_ne!(recording.recording_id().as_str(), recording.call_uuid().as_str());
        recording.recording_id().as_str().to_owned()
    };
    assert_ne!(id(1), id(2));
    let parts: Vec<usize> = id(1).split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(id(1).as_bytes()[14], b'4', "RFC 9562 §5.4");
}

#[test]
fn with_auto_start_the_invite_waits_a_second_for_the_other_party() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.wait_ms(5000);
    call.take();
    call.packet(0);
    call.wait_ms(999);
    call.expect(&[]);
    call.wait_ms(1);
    call.expect(&["resolve sip:rec.example", "= starting", "> INVITE sendonly/inactive v1"]);
}

#[test]
fn a_party_without_caps_gets_the_others_codec_inactive_and_is_offered_again_when_known() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, audio(&[(8, "PCMA", 8000)]));
    call.media(0, BranchEvent::FirstPacket { payload_type: 8, ssrc: 1, arrival: call.now });
    call.wait_ms(1000);
    let invite = call.request(&Method::Invite);
    let body = String::from_utf8(invite.body.clone()).unwrap();
    assert_eq!(body.matches("RTP/AVP 8\r\n").count(), 2, "{body}");
    assert!(body.ends_with("a=inactive\r\n"), "{body}");
    call.take();
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.expect(&["open 0 to 192.0.2.9:4000", "* started", "> ACK", "= recording"]);
    call.packet(1);
    call.expect(&["describe 1", "> INVITE sendonly/sendonly v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["open 1 to 192.0.2.9:4002", "> ACK"]);
}

#[test]
fn caps_that_come_before_the_answer_are_offered_after_it() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.packet(0);
    call.wait_ms(1000);
    call.format(1, pcmu());
    call.take();
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "* started",
        "> ACK",
        "> INVITE sendonly/sendonly v2",
        "= recording",
    ]);
}

#[test]
fn a_party_without_a_stream_has_its_line_switched_off() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.format(0, pcmu());
    call.expect(&[
        "create 0",
        "describe 0",
        "resolve sip:rec.example",
        "= starting",
        "> INVITE sendonly/off v1",
    ]);
    call.answer_invite(&sdp(&[4000, 0]));
    call.expect(&["open 0 to 192.0.2.9:4000", "* started", "> ACK", "= recording"]);
    call.add(1);
    call.format(1, pcmu());
    call.expect(&["create 1", "describe 1", "> INVITE sendonly/sendonly v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["open 1 to 192.0.2.9:4002", "> ACK"]);
}

#[test]
fn without_auto_start_nothing_is_held_before_start() {
    let mut settings = config("sip:rec.example");
    settings.auto_start = false;
    let mut call = Call::inviting_with(settings.clone());
    call.wait_ms(60_000);
    call.expect(&[]);
    call.command(Command::Start);
    call.expect(&[
        "create 0",
        "create 1",
        "resolve sip:rec.example",
        "= starting",
        "> INVITE sendonly/sendonly v1",
    ]);

    settings.pre_record = true;
    let mut call = Call::inviting_with(settings);
    call.expect(&["create 0", "create 1", "describe 0", "describe 1"]);
}

#[test]
fn a_call_shorter_than_the_set_up_is_delivered_whole() {
    let mut call = Call::inviting();
    call.packet(0);
    call.packet(1);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 100, &[], "");
    call.wait_ms(2000);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining"]);
    call.wait_ms(1000);
    call.engine.drains = false;
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.expect(&["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "* started", "> ACK"]);
    call.empty(0);
    call.expect(&[]);
    call.empty(1);
    call.expect(&["part 0", "part 1", "> BYE"]);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"]);
}

#[test]
fn a_call_that_ends_before_the_invite_is_still_recorded() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.packet(0);
    call.wait_ms(300);
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&[
        "drain 0",
        "drain 1",
        "resolve sip:rec.example",
        "= draining",
        "> INVITE sendonly/inactive v1",
    ]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["open 0 to 192.0.2.9:4000", "* started", "> ACK", "part 0", "part 1", "> BYE"]);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: call-ended", "= stopped", "finished"]);
}

#[test]
fn a_call_without_a_packet_invites_nobody_at_its_end() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&[
        "drain 0",
        "drain 1",
        "close 0",
        "close 1",
        "* stopped: call-ended",
        "= stopped",
        "finished",
    ]);
}

#[test]
fn a_stream_that_leaves_before_the_invite_is_delivered_too() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.packet(0);
    call.command(Command::RemoveStream { stream: stream(0) });
    call.wait_ms(500);
    call.take();
    call.format(1, pcmu());
    call.expect(&["describe 1", "resolve sip:rec.example", "= starting", "> INVITE sendonly/sendonly v1"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "* started",
        "> ACK",
        "= recording",
        "part 0",
        "> INVITE off/sendonly v2",
    ]);
}

#[test]
fn cancel_when_nothing_is_held() {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 180, &[], "");
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.expect(&["drain 0", "drain 1", "= draining"]);
    call.wait_ms(100); // packets may still be on their way to the engine
    call.expect(&["close 0", "close 1", "> CANCEL", "* stopped: call-ended", "= stopped"]);
    call.answer(&invite, 487, &[], "");
    call.expect(&["> ACK", "finished"]);
}

#[test]
fn a_packet_that_comes_right_after_the_stop_is_not_cancelled_away() {
    let mut call = Call::inviting();
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(20);
    call.packet(0);
    call.take();
    call.wait_ms(1000);
    call.expect(&["> INVITE sendonly/sendonly v1"]); // the transaction's repetition, no CANCEL
    assert_eq!(call.recording.state(), RecordingState::Draining);
}

#[test]
fn stop_now_cancels_at_once() {
    let mut call = Call::inviting();
    call.packet(0);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 180, &[], "");
    call.take();
    call.command(Command::StopNow);
    call.expect(&["close 0", "close 1", "> CANCEL", "* stopped: asked-at-once", "= stopped"]);
    // The recorder's 200 crosses the CANCEL.
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.expect(&["> ACK", "> BYE"]);
    call.answer_bye();
    call.expect(&["finished"]);
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut call = Call::inviting();
    call.command(Command::StopNow);
    let invite = call.request(&Method::Invite);
    call.take();
    call.answer(&invite, 180, &[], "");
    call.expect(&["> CANCEL"]);
}

#[test]
fn what_is_not_delivered_within_the_drain_time_is_given_up() {
    let mut call = Call::inviting();
    call.packet(0);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 200, &[], &sdp(&[4000, 4002]));
    call.engine.drains = false;
    call.take();
    call.command(Command::Stop(StopReason::CallEnded));
    call.wait_ms(9_999);
    call.expect(&["drain 0", "drain 1", "= draining"]);
    call.wait_ms(1);
    call.expect(&["part 0", "part 1", "> BYE"]);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "* stopped: drain-timeout", "= stopped", "finished"]);
}

#[test]
fn an_answer_that_never_comes_ends_the_drain_by_cancel() {
    let mut settings = config("sip:rec.example");
    settings.timers.answer = std::time::Duration::from_secs(60);
    let mut call = Call::inviting_with(settings);
    call.packet(0);
    let invite = call.request(&Method::Invite);
    call.answer(&invite, 100, &[], "");
    call.command(Command::Stop(StopReason::CallEnded));
    call.take();
    call.wait_ms(10_000);
    call.expect(&["close 0", "close 1", "> CANCEL", "* stopped: drain-timeout", "= stopped"]);
}

#[test]
fn bye_of_the_recorder_is_answered_and_ends_the_recording() {
    let mut call = Call::inviting();
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call.recorder_sends(&invite, "BYE", &[], "");
    call.expect(&["close 0", "close 1", "> 200 BYE", "* stopped: recorder-bye", "= stopped", "finished"]);
    assert_eq!(call.recording.next_deadline(), None);
}

#[test]
fn a_recording_that_never_began_stops_without_a_message() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.take();
    call.command(Command::Stop(StopReason::Asked));
    call.expect(&["drain 0", "close 0", "* stopped: asked", "= stopped", "finished"]);
    let mut call = Call::new(config("sip:rec.example"));
    call.command(Command::StopNow);
    call.expect(&["* stopped: asked-at-once", "= stopped", "finished"]);
}

#[test]
fn commands_after_the_end_do_nothing() {
    let mut call = Call::established();
    call.command(Command::StopNow);
    call.answer_bye();
    call.take();
    for command in [
        Command::Start,
        Command::Pause,
        Command::Resume,
        Command::Stop(StopReason::Asked),
        Command::StopNow,
        Command::AddStream { slot: 0, stream: stream(5) },
    ] {
        call.command(command);
    }
    call.wait_ms(100_000);
    call.expect(&[]);
    assert_eq!(call.finished, 1);
}

#[test]
fn an_engine_that_never_confirms_does_not_keep_the_recording() {
    let mut call = Call::established();
    call.engine.closes = false;
    call.command(Command::StopNow);
    call.answer_bye();
    call.expect(&["close 0", "close 1", "> BYE"]);
    call.wait_ms(5000);
    call.expect(&["* stopped: asked-at-once", "= stopped", "finished"]);
}

#[test]
fn a_stream_that_leaves_is_delivered_and_switched_off_and_its_line_stays() {
    let mut call = Call::established();
    call.command(Command::RemoveStream { stream: stream(1) });
    call.expect(&["drain 1", "close 1", "> INVITE sendonly/off v2"]);
    call.answer_invite(&sdp(&[4000, 0]));
    call.expect(&["> ACK"]);
    // Another one takes its place.
    call.command(Command::AddStream { slot: 1, stream: stream(7) });
    call.command(Command::StreamFormat { stream: stream(7), format: pcmu() });
    call.expect(&["create 1", "describe 1", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4006]));
    call.expect(&["open 1 to 192.0.2.9:4006", "> ACK"]);
}

#[test]
fn a_stream_in_the_place_of_another_is_told_apart_from_it() {
    let mut call = Call::established();
    call.engine.closes = false;
    call.engine.binds = false;
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 0, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    // What the old one left is delivered before its line goes to the new one.
    call.expect(&["drain 0", "create 64", "describe 64", "close 0"]);
    // The old branch's last words are not the new one's.
    let rtp = "192.0.2.1:12000".parse().unwrap();
    call.media(0, BranchEvent::PortsReady { rtp, rtcp: rtp });
    call.media(0, BranchEvent::Closed(Box::default()));
    call.expect(&[]);
    let (rtp, rtcp) = ("192.0.2.1:12100".parse().unwrap(), "192.0.2.1:12101".parse().unwrap());
    call.media(64, BranchEvent::PortsReady { rtp, rtcp });
    call.expect(&["> INVITE sendonly/sendonly v2"]);
    let body = String::from_utf8(call.answer_invite(&sdp(&[4000, 4002])).body).unwrap();
    assert!(body.contains("m=audio 12100 "), "{body}");
    call.expect(&["open 64 to 192.0.2.9:4000", "> ACK"]);
}

#[test]
fn a_codec_that_changes_in_the_call_is_offered_before_it_is_sent() {
    let mut call = Call::established();
    call.format(0, audio(&[(9, "G722", 8000)]));
    call.expect(&["describe 0", "hold 0", "> INVITE sendonly/sendonly v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["open 0 to 192.0.2.9:4000", "> ACK"]);
}

#[test]
fn a_payload_type_that_changes_its_meaning_gets_another_number() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.format(0, audio(&[(96, "opus", 48_000)]));
    call.answer_invite(&sdp(&[4000, 0]));
    call.format(0, audio(&[(96, "speex", 16_000)]));
    let body = String::from_utf8(call.answer_invite(&sdp(&[4000, 0])).body).unwrap();
    assert!(body.contains("RTP/AVP 127\r\na=rtpmap:127 speex/16000"), "{body}");
    let open = call.branches.iter().rev().find_map(|command| match command {
        BranchCommand::Open(open) => Some(open.payloads.clone()),
        _ => None,
    });
    assert_eq!(open.unwrap(), [siprec_model::PayloadRule { from: 96, to: 127 }]);
}

#[test]
fn a_format_that_cannot_be_described_is_told_and_does_no_harm() {
    let hostile = [
        audio(&[]),
        audio(&[(0, "PCMU", 0)]),
        audio(&[(128, "PCMU", 8000)]),
        audio(&[(0, "", 8000)]),
        audio(&[(0, "PC\r\nm=video", 8000)]),
        audio(&[(0, "PC MU", 8000)]),
    ];
    for format in hostile {
        let mut call = Call::new(config("sip:rec.example"));
        call.add(0);
        call.take();
        call.format(0, format.clone());
        call.expect(&["* audio of 1001 off: none of its formats can be described"]);
        // The others of a list serve.
        let mut mixed = format;
        mixed.payloads.extend(pcmu().payloads);
        mixed.payloads[0].fmtp = None;
        call.format(0, mixed);
        assert_eq!(call.take().last().unwrap(), "> INVITE sendonly/off v1");
    }
}

#[test]
fn a_slot_beyond_what_a_session_can_hold_is_told() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(64);
    call.expect(&["* audio of ? off: a session has at most 64 streams"]);
    call.add(u16::MAX);
    call.add(0);
    call.format(0, pcmu());
    assert_eq!(call.take().last().unwrap(), "> INVITE sendonly/off v1");
}

#[test]
fn a_branch_that_the_engine_loses_leaves_the_other_one_recording() {
    let mut call = Call::established();
    call.media(0, BranchEvent::Crashed { reason: "caught panic".into() });
    call.expect(&["* audio of 1001 off: caught panic", "> INVITE off/sendonly v2"]);
    call.answer_invite(&sdp(&[0, 4002]));
    call.take();
    call.media(1, BranchEvent::Crashed { reason: "again".into() });
    call.expect(&["* audio of 1002 off: again", "* failed: local resources: again", "> BYE", "= failed"]);
}

#[test]
fn a_call_of_which_nothing_can_be_recorded_has_failed_a_second_later_until_something_can() {
    let nothing: [fn(&mut Call); 4] = [
        |call| call.format(0, video(96, "VP8")),
        |call| call.format(0, audio(&[(96, "not\nthis", 8000)])),
        |call| {
            call.command(Command::Unrecordable { stream: Some(stream(0)), reason: "it is text".to_owned() });
        },
        |call| {
            call.command(Command::RemoveStream { stream: stream(0) });
            call.command(Command::Unrecordable { stream: None, reason: "it is text".to_owned() });
        },
    ];
    for nothing in nothing {
        let mut settings = config("sip:rec.example");
        settings.record_video = false;
        let mut call = Call::new(settings);
        call.add(0);
        nothing(&mut call);
        call.wait_ms(999);
        assert_eq!(call.recording.state(), RecordingState::Idle);
        call.take();
        call.wait_ms(1);
        let told = call.take();
        assert!(
            told[0].starts_with("* failed: ") && told[0].contains("no stream of the call can be recorded")
        );
        assert_eq!(told[1..], ["= failed"], "{told:?}");
        call.wait_ms(60_000);
        call.expect(&[]);
        assert!(!call.recording.is_over());
        call.add(1);
        call.format(1, pcmu());
        assert_eq!(call.recording.state(), RecordingState::Starting);
        call.request(&Method::Invite);
    }
}

#[test]
fn a_call_of_which_nothing_can_be_recorded_ends_as_failed() {
    for command in [Command::Stop(StopReason::CallEnded), Command::StopNow] {
        let mut settings = config("sip:rec.example");
        settings.record_video = false;
        let mut call = Call::new(settings);
        call.add(0);
        call.format(0, video(96, "VP8"));
        call.wait_ms(2000);
        call.command(Command::Conclude);
        assert!(!call.recording.is_over());
        call.take();
        call.command(command);
        call.expect(&["finished"]);
        assert_eq!(call.recording.state(), RecordingState::Failed);
    }
}

#[test]
fn one_stream_that_cannot_be_recorded_or_is_not_known_yet_is_no_failure() {
    let mut settings = config("sip:rec.example");
    settings.record_video = false;
    let mut call = Call::new(settings);
    call.add(0);
    call.add(1);
    call.format(0, video(96, "VP8"));
    call.wait_ms(5000);
    assert_eq!(call.recording.state(), RecordingState::Idle);
    call.format(1, pcmu());
    assert_eq!(call.recording.state(), RecordingState::Starting);
}
