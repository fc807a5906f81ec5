//! Sessions of one party each, parties that mute, leave, join and are replaced, and video.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchCommand, BranchEvent, Medium, RecordingState, SessionEventKind, StopReason};
use siprec_session::{Command, ConfigError, Party, RecordingConfig, SessionMode, parse_recorders};
use siprec_sip::{HeaderName, Method, Request, SessionDescription};
use support::*;

fn per_party() -> RecordingConfig {
    let mut config = config("sip:rec.example");
    config.mode = SessionMode::PerParty;
    config
}

/// Every INVITE that was sent since the last look, in order.
fn invites(call: &mut Call) -> Vec<Request> {
    std::mem::take(&mut call.wire)
        .into_iter()
        .filter_map(|(_, message)| match message {
            siprec_sip::Message::Request(request) if request.method == Method::Invite => Some(request),
            _ => None,
        })
        .collect()
}

/// Two parties, each recorded in its own session.
fn two_sessions() -> (Call, Request, Request) {
    let mut call = Call::inviting_with(per_party());
    let invites: [Request; 2] = invites(&mut call).try_into().unwrap();
    for (invite, port) in invites.iter().zip([4000, 4002]) {
        call.answer(invite, 200, &[], &sdp(&[port]));
    }
    call.take();
    call.wire.clear();
    let [first, second] = invites;
    (call, first, second)
}

fn call_id(request: &Request) -> String {
    value(request, &HeaderName::CallId)
}

fn kinds(request: &Request) -> Vec<String> {
    let sdp = SessionDescription::parse(&request.body).unwrap();
    sdp.medias().map(|media| format!("{} {}", media.kind(), media.port())).collect()
}

#[test]
fn each_party_has_a_session_with_its_own_streams() {
    let mut call = Call::inviting_with(per_party());
    call.expect(&[
        "create 0",
        "create 1",
        "describe 0",
        "describe 1",
        "resolve sip:rec.example",
        "resolve sip:rec.example",
        "= starting",
        "> INVITE sendonly v1",
        "> INVITE sendonly v1",
    ]);
    let invites = invites(&mut call);
    let uris: Vec<_> = invites.iter().map(|invite| invite.uri.as_str().to_owned()).collect();
    assert_eq!(
        uris,
        [
            "sip:record=00FA08K@rec.example;calluuid=UUID1;dn=1001;recordDN=1001",
            "sip:record=00FA08K@rec.example;calluuid=UUID1;dn=1002;recordDN=1001",
        ]
    );
    assert_ne!(call_id(&invites[0]), call_id(&invites[1]));
    call.answer(&invites[1], 200, &[], &sdp(&[4002]));
    call.expect(&["open 1 to 192.0.2.9:4002", "* started", "> ACK", "= recording"]);
    call.answer(&invites[0], 200, &[], &sdp(&[4000]));
    call.expect(&["open 0 to 192.0.2.9:4000", "* started", "> ACK"]);
    let told: Vec<_> = call
        .events
        .iter()
        .filter(|event| event.kind == SessionEventKind::Started)
        .map(|event| (event.info.dn.as_deref(), event.info.session.as_deref()))
        .collect();
    let ids = [call_id(&invites[1]), call_id(&invites[0])];
    assert_eq!(told, [(Some("1002"), Some(ids[0].as_str())), (Some("1001"), Some(ids[1].as_str()))]);
}

#[test]
fn the_failure_of_one_partys_session_does_not_touch_the_others() {
    let (mut call, first, _) = two_sessions();
    call.recorder_sends(&first, "BYE", &[], "");
    call.expect(&["close 0", "> 200 BYE", "* stopped: recorder-bye"]);
    assert_eq!(call.recording.state(), RecordingState::Recording);
    call.command(Command::Stop(StopReason::CallEnded));
    call.answer_bye();
    call.expect(&[
        "drain 1",
        "= draining",
        "close 1",
        "> BYE",
        "* stopped: call-ended",
        "= stopped",
        "finished",
    ]);
}

#[test]
fn a_party_whose_session_is_refused_is_named_and_the_other_is_recorded() {
    let mut call = Call::inviting_with(per_party());
    let invites = invites(&mut call);
    call.answer(&invites[0], 200, &[], &sdp(&[4000]));
    call.take();
    call.answer(&invites[1], 486, &[], "");
    call.expect(&["* failed: the recorder refused: 486 Busy Here", "create 64", "close 1", "> ACK"]);
    let failed = call.events.iter().find(|event| matches!(event.kind, SessionEventKind::Failed { .. }));
    assert_eq!(failed.unwrap().info.dn.as_deref(), Some("1002"));
    assert_eq!(call.recording.state(), RecordingState::Recording);
}

#[test]
fn a_recording_whose_sessions_all_fail_has_failed() {
    let mut call = Call::inviting_with(per_party());
    for invite in invites(&mut call) {
        call.answer(&invite, 486, &[], "");
    }
    let states: Vec<_> = call
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            SessionEventKind::StateChanged { state: RecordingState::Failed, reason } => Some(reason.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        ["sip:rec.example for 1001: the recorder refused: 486 Busy Here; \
          sip:rec.example for 1002: the recorder refused: 486 Busy Here"]
    );
    assert_eq!(call.finished, 1);
}

#[test]
fn audio_and_video_of_one_party_share_its_session() {
    let mut config = per_party();
    config.parties = ["1001", "1002", "1001", "1002"].map(|dn| Party { dn: dn.into() }).to_vec();
    let mut call = Call::new(config);
    for slot in 0..4 {
        call.add(slot);
    }
    for slot in 0..4 {
        call.format(slot, if slot < 2 { pcmu() } else { video(96, "H264") });
    }
    let invites = invites(&mut call);
    assert_eq!(invites.len(), 2);
    assert_eq!(kinds(&invites[0]), ["audio 10000", "video 10004"]);
    assert_eq!(kinds(&invites[1]), ["audio 10002", "video 10006"]);
    let names: Vec<_> = call
        .branches
        .iter()
        .filter_map(|command| match command {
            BranchCommand::Create { cname, .. } => Some(cname.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names[0], names[2], "one RTCP name for each party");
    assert_eq!(names[1], names[3]);
    assert_ne!(names[0], names[1]);
}

#[test]
fn a_muted_party_silences_its_own_session_only() {
    let (mut call, ..) = two_sessions();
    call.command(Command::Mute { slot: 1, muted: true });
    call.expect(&["pause 1", "> INVITE inactive v2", "* paused"]);
    call.answer_invite(&sdp_with(&[4002], "a=inactive\r\n"));
    call.expect(&["> ACK"]);
    assert_eq!(call.recording.state(), RecordingState::Recording, "the other's goes on");
    call.command(Command::Mute { slot: 1, muted: false });
    call.expect(&["hold 1", "> INVITE sendonly v3"]);
    call.answer_invite(&sdp(&[4002]));
    call.expect(&["open 1 to 192.0.2.9:4002", "> ACK", "* resumed"]);
}

#[test]
fn a_muted_party_silences_the_session_of_both() {
    let mut call = Call::established();
    call.command(Command::Mute { slot: 0, muted: true });
    call.expect(&["pause 0", "pause 1", "> INVITE inactive/inactive v2", "* paused", "= paused"]);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&["> ACK"]);
}

#[test]
fn sending_begins_only_when_nothing_asks_for_silence_any_more() {
    let mut call = Call::established();
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.command(Command::Mute { slot: 0, muted: true });
    call.command(Command::Mute { slot: 1, muted: true });
    call.take();
    call.command(Command::Resume);
    call.command(Command::Mute { slot: 0, muted: false });
    call.expect(&[]);
    call.command(Command::Mute { slot: 1, muted: false });
    call.expect(&["hold 0", "hold 1", "> INVITE sendonly/sendonly v3"]);
}

#[test]
fn a_mute_before_the_stream_counts() {
    let mut call = Call::new(config("sip:rec.example"));
    call.command(Command::Mute { slot: 1, muted: true });
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.format(1, pcmu());
    let sdp = SessionDescription::parse(&call.request(&Method::Invite).body).unwrap();
    assert_eq!(lines(&sdp), "inactive/inactive");
}

#[test]
fn a_muted_party_that_leaves_mutes_nobody_any_more() {
    let mut call = Call::established();
    call.engine.freezes = true;
    call.command(Command::Mute { slot: 1, muted: true });
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.take();
    call.command(Command::RemoveStream { stream: stream(1) });
    // What its stream held before the mute is delivered first.
    call.expect(&["drain 1", "hold 0", "hold 1", "> INVITE sendonly/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "> ACK",
        "* resumed",
        "= recording",
        "close 1",
        "> INVITE sendonly/off v4",
    ]);
}

#[test]
fn a_mute_at_the_end_stays_to_the_end() {
    let mut call = Call::established();
    call.command(Command::Mute { slot: 1, muted: true });
    call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.take();
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
fn a_party_that_left_keeps_a_silent_line_for_its_successor() {
    let mut call = Call::established();
    call.command(Command::PartyLeft { stream: stream(1) });
    call.expect(&["drain 1", "pause 1", "> INVITE sendonly/inactive v2"]);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&["> ACK"]);
    call.command(Command::Batch(vec![
        Command::SetDn { slot: 1, dn: "1003".into() },
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    call.expect(&["create 64", "describe 64", "close 1", "> INVITE sendonly/sendonly v3"]);
    let body = String::from_utf8(call.answer_invite(&sdp(&[4000, 4006])).body).unwrap();
    assert!(body.contains("m=audio 10128 "), "the new stream's own ports: {body}");
    call.expect(&["open 64 to 192.0.2.9:4006", "> ACK"]);
}

#[test]
fn a_party_that_left_for_good_has_port_0() {
    let mut call = Call::established();
    call.command(Command::PartyLeft { stream: stream(1) });
    call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call.command(Command::RemoveStream { stream: stream(1) });
    call.expect(&["close 1", "> INVITE sendonly/off v3"]);
}

#[test]
fn a_party_that_leaves_gets_its_bye_and_one_that_joins_a_session() {
    let (mut call, ..) = two_sessions();
    call.command(Command::Batch(vec![
        Command::RemoveStream { stream: stream(1) },
        Command::SetDn { slot: 1, dn: "1003".into() },
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    call.expect(&[
        "drain 1",
        "create 64",
        "describe 64",
        "resolve sip:rec.example",
        "close 1",
        "> BYE",
        "* stopped: party-left",
        "> INVITE sendonly v1",
    ]);
    let invite = call.request(&Method::Invite);
    let uri = invite.uri.as_str();
    assert_eq!(uri, "sip:record=00FA08K@rec.example;calluuid=UUID1;dn=1003;recordDN=1001");
    let left: Vec<_> = call
        .events
        .iter()
        .filter(|event| matches!(event.kind, SessionEventKind::Stopped { .. }))
        .map(|event| event.info.dn.as_deref())
        .collect();
    assert_eq!(left, [Some("1002")]);
    call.answer(&invite, 200, &[], &sdp(&[4006]));
    call.expect(&["open 64 to 192.0.2.9:4006", "* started", "> ACK"]);
}

#[test]
fn a_recording_whose_parties_all_left_waits_for_others() {
    let (mut call, ..) = two_sessions();
    for slot in 0..2 {
        call.command(Command::RemoveStream { stream: stream(slot) });
    }
    call.wait_ms(100_000);
    assert_eq!(call.finished, 0);
    call.take();
    call.command(Command::AddStream { slot: 2, stream: stream(7) });
    call.command(Command::StreamFormat { stream: stream(7), format: pcmu() });
    call.answer_invite(&sdp(&[4000]));
    assert!(call.take().contains(&"open 2 to 192.0.2.9:4000".to_owned()));
}

#[test]
fn another_party_on_the_same_stream_is_told_by_a_new_version_alone() {
    let mut call = Call::inviting();
    let first = call.answer_invite(&sdp(&[4000, 4002]));
    call.take();
    call.command(Command::ReplaceParty { slot: 1, dn: "1003".into() });
    call.expect(&["describe 1", "> INVITE sendonly/sendonly v2"]);
    let second = call.answer_invite(&sdp(&[4000, 4002]));
    let text = |request: &Request| String::from_utf8(request.body.clone()).unwrap();
    let (first, second) = (text(&first), text(&second));
    let lines = |text: &str| {
        text.lines().filter(|line| !line.starts_with("o=")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(&first), lines(&second));
    call.expect(&["> ACK"]);
    call.command(Command::ReplaceParty { slot: 1, dn: "1003".into() });
    call.expect(&[]);
    call.command(Command::PartyMoved { slot: 1 });
    call.expect(&["> INVITE sendonly/sendonly v3"]);
}

#[test]
fn several_changes_at_once_make_one_offer() {
    let mut call = Call::established();
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 2, stream: stream(2) },
        Command::StreamFormat { stream: stream(2), format: pcmu() },
        Command::Pause,
    ]));
    // The ports of the third come a moment later, and wait for the answer.
    let offers = call.take().into_iter().filter(|line| line.starts_with("> INVITE")).count();
    assert_eq!(offers, 1);
}

#[test]
fn a_conference_grows_and_shrinks_and_lines_are_used_again() {
    let mut call = Call::established();
    call.add(2);
    call.format(2, pcmu());
    call.expect(&["create 2", "describe 2", "> INVITE sendonly/sendonly/sendonly v2"]);
    call.answer_invite(&sdp(&[4000, 4002, 4004]));
    call.expect(&["open 2 to 192.0.2.9:4004", "> ACK"]);
    call.command(Command::RemoveStream { stream: stream(1) });
    call.expect(&["drain 1", "close 1", "> INVITE sendonly/off/sendonly v3"]);
    call.answer_invite(&sdp(&[4000, 0, 4004]));
    call.take();
    call.add(3);
    call.format(3, pcmu());
    call.expect(&["create 3", "describe 3", "> INVITE sendonly/sendonly/sendonly v4"]);
    call.answer_invite(&sdp(&[4000, 4010, 4004]));
    call.expect(&["open 3 to 192.0.2.9:4010", "> ACK"]);
}

#[test]
fn a_session_for_both_has_audio_first_then_video_in_the_parties_order() {
    let mut config = config("sip:rec.example");
    config.parties = ["1001", "1002", "1002", "1001"].map(|dn| Party { dn: dn.into() }).to_vec();
    let mut call = Call::new(config);
    for slot in 0..4 {
        call.add(slot);
    }
    for slot in 0..4 {
        call.format(slot, if slot < 2 { pcmu() } else { video(96, "H264") });
    }
    let invite = call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 4004", "video 4006"]));
    assert_eq!(kinds(&invite), ["audio 10000", "audio 10002", "video 10006", "video 10004"]);
    let transcript = call.take();
    for line in ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "open 3 to 192.0.2.9:4004"] {
        assert!(transcript.contains(&line.to_owned()), "{transcript:?}");
    }
    assert!(transcript.contains(&"open 2 to 192.0.2.9:4006".to_owned()), "{transcript:?}");
    assert_eq!(transcript.iter().filter(|line| *line == "* key frame wanted").count(), 2);
}

#[test]
fn refused_video_is_told_and_the_session_goes_on() {
    let mut call = Call::new(config("sip:rec.example"));
    for slot in 0..3 {
        call.add(slot);
    }
    for slot in 0..3 {
        call.format(slot, if slot < 2 { pcmu() } else { video(96, "VP8") });
    }
    call.take();
    call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 0"]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "disable 2",
        "* video of ? off: the recorder refuses it",
        "* started",
        "> ACK",
        "= recording",
    ]);
    // What is known is not told again after each pause.
    call.command(Command::Pause);
    call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 0"]));
    call.command(Command::Resume);
    call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 0"]));
    assert!(!call.take().iter().any(|line| line.contains("video")));
    assert_eq!(call.recording.state(), RecordingState::Recording);
    // Another pause, and then the recorder takes it.
    call.command(Command::Pause);
    call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 0"]));
    call.command(Command::Resume);
    call.answer_invite(&sdp_of(&["audio 4000", "audio 4002", "video 4004"]));
    assert!(call.take().contains(&"* video of ? on".to_owned()));
}

#[test]
fn video_is_left_out_where_it_is_not_wanted() {
    let mut config = config("sip:rec.example");
    config.record_video = false;
    let mut call = Call::new(config);
    for slot in 0..3 {
        call.add(slot);
    }
    call.format(2, video(96, "VP8"));
    call.format(0, pcmu());
    call.format(1, pcmu());
    let invite = call.request(&Method::Invite);
    assert_eq!(kinds(&invite), ["audio 10000", "audio 10002"]);
    let is_report = |kind: &SessionEventKind| matches!(kind, SessionEventKind::Report { .. });
    assert!(!call.events.iter().any(|event| is_report(&event.kind)), "nothing is said of it");
}

#[test]
fn what_a_stream_held_that_is_not_to_be_recorded_is_no_gap() {
    let mut config = config("sip:rec.example");
    config.record_video = false;
    let mut call = Call::new(config);
    call.engine.closes = false;
    for slot in 0..2 {
        call.add(slot);
    }
    call.format(1, video(96, "VP8"));
    let lost = siprec_model::DropCause::NotDrained;
    let (start, duration) = (call.now, std::time::Duration::ZERO);
    let gap = |packets| BranchEvent::Gap(siprec_model::Hole { start, packets, duration, cause: lost });
    call.media(1, gap(1));
    call.media(0, gap(2));
    assert!(call.take().ends_with(&["* gap of 2".to_owned()]));
}

#[test]
fn key_frames_are_asked_for_whenever_video_opens() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.format(1, video(96, "VP8"));
    call.answer_invite(&sdp_of(&["audio 4000", "audio 0", "video 4004"]));
    call.command(Command::Pause);
    call.answer_invite(&sdp_of(&["audio 4000", "audio 0", "video 4004"]));
    call.command(Command::Resume);
    call.take();
    call.answer_invite(&sdp_of(&["audio 4000", "audio 0", "video 4004"]));
    let transcript = call.take();
    assert_eq!(transcript.iter().filter(|line| *line == "* key frame wanted").count(), 1, "{transcript:?}");
    call.media(1, BranchEvent::KeyframeWanted);
    call.expect(&["* key frame wanted"]);
    assert_eq!(call.events.last().unwrap().info.dn.as_deref(), Some("1002"));
}

#[test]
fn a_stream_that_turns_out_to_be_video_moves_to_a_video_line() {
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    call.wait_ms(1000);
    call.packet(0);
    call.wait_ms(1000);
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    assert_eq!(kinds(&invite), ["audio 10000", "audio 10002"]);
    call.take();
    call.format(1, video(96, "VP8"));
    let invite = call.request(&Method::Invite);
    assert_eq!(kinds(&invite), ["audio 10000", "audio 0", "video 10002"]);
}

#[test]
fn a_static_payload_type_that_comes_unannounced_is_offered() {
    let mut call = Call::established();
    call.media(0, BranchEvent::PayloadUnknown { payload_type: 13 });
    call.expect(&["describe 0", "hold 0", "> INVITE sendonly/sendonly v2"]);
    let offer = String::from_utf8(call.answer_invite(&sdp(&[4000, 4002])).body).unwrap();
    assert!(offer.contains("RTP/AVP 0 13\r\n"), "{offer}");
    call.expect(&["open 0 to 192.0.2.9:4000", "> ACK"]);
    // Caps that come again do not take it back; a dynamic type says nothing.
    call.format(0, pcmu());
    call.media(0, BranchEvent::PayloadUnknown { payload_type: 99 });
    call.expect(&[]);
}

#[test]
fn a_first_packet_of_a_static_payload_type_that_caps_lack_is_offered_before_anything_is_sent() {
    let first = |call: &mut Call, payload_type: u8| {
        let arrival = call.now;
        call.media(0, BranchEvent::FirstPacket { payload_type, ssrc: 1, arrival });
    };
    let formats = |invite: &Request| String::from_utf8(invite.body.clone()).unwrap();
    // Before the INVITE: that has it.
    let mut call = Call::new(config("sip:rec.example"));
    call.add(0);
    call.add(1);
    call.format(0, pcmu());
    first(&mut call, 8);
    call.format(1, pcmu());
    let invite = formats(&call.request(&Method::Invite));
    assert!(invite.contains("RTP/AVP 0 8\r\n"), "{invite}");
    // Behind it: what is held waits for the answer to another offer, and so does the packet.
    let mut call = Call::inviting();
    call.take();
    first(&mut call, 8);
    call.answer_invite(&sdp(&[4000, 4002]));
    call.expect(&[
        "describe 0",
        "open 1 to 192.0.2.9:4002",
        "* started",
        "> ACK",
        "> INVITE sendonly/sendonly v2",
        "= recording",
    ]);
    let offer = formats(&call.answer_invite(&sdp(&[4000, 4002])));
    assert!(offer.contains("RTP/AVP 0 8\r\n"), "{offer}");
    call.expect(&["open 0 to 192.0.2.9:4000", "> ACK"]);
}

#[test]
fn the_account_of_a_stream_names_the_party_that_it_was_of() {
    let mut call = Call::established();
    call.engine.closes = false;
    call.command(Command::Batch(vec![
        Command::RemoveStream { stream: stream(1) },
        Command::SetDn { slot: 1, dn: "1003".into() },
    ]));
    call.media(1, BranchEvent::Closed(Box::default()));
    let report = call.events.iter().find(|event| matches!(event.kind, SessionEventKind::Report { .. }));
    let report = report.unwrap();
    assert_eq!(report.info.dn.as_deref(), Some("1002"));
    assert!(matches!(&report.kind, SessionEventKind::Report { medium: Medium::Audio, .. }));
}

#[test]
fn the_recorders_of_a_list_must_agree_on_the_sessions() {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders[1].profile.session_mode = Some(SessionMode::PerParty);
    let config = RecordingConfig::new(recorders.clone());
    let expected = ConfigError::SessionMode { recorder: "sip:b.example".into() };
    assert_eq!(config.check(), Err(expected));
    recorders[0].profile.session_mode = Some(SessionMode::PerParty);
    let config = RecordingConfig::new(recorders);
    config.check().unwrap();
    assert_eq!(config.session_mode(), SessionMode::PerParty);
}

#[test]
fn the_end_of_a_replaced_stream_says_nothing_of_its_successor() {
    let mut call = Call::established();
    call.engine.drains = false;
    call.command(Command::Batch(vec![
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::RemoveStream { stream: stream(1) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
        Command::Mute { slot: 1, muted: true },
    ]));
    let silent =
        |call: &mut Call| lines(&SessionDescription::parse(&call.request(&Method::Invite).body).unwrap());
    assert_eq!(silent(&mut call), "inactive/inactive");
}

#[test]
fn while_no_party_is_there_nothing_is_told_to_be_recorded() {
    let mut call = Call::new(per_party());
    call.add(0);
    call.format(0, pcmu());
    call.packet(0);
    call.answer_invite(&sdp(&[4000]));
    assert_eq!(call.recording.state(), RecordingState::Recording);
    call.command(Command::PartyLeft { stream: stream(0) });
    assert_eq!(call.recording.state(), RecordingState::Starting);
    call.command(Command::Pause);
    assert_eq!(call.recording.state(), RecordingState::Paused);
    call.answer_bye();
    call.command(Command::Resume);
    assert_eq!(call.recording.state(), RecordingState::Starting);
    call.command(Command::AddStream { slot: 0, stream: stream(7) });
    call.format(7, pcmu());
    call.packet(7);
    call.answer_invite(&sdp(&[4000]));
    assert_eq!(call.recording.state(), RecordingState::Recording);
}
