//! Parties in sessions of their own, that mute, join, leave and are replaced; their session descriptions; their video.
#![cfg(test)]

mod common;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::{Inlet, Outlet, marked_rtp, rtp};
use gst::prelude::*;

const VIDEO: &str = "application/x-rtp,media=video,encoding-name=VP8,clock-rate=90000,payload=96";

fn per_party(recorder: &Recorder) -> Call {
    Call::new(&recorder.uri(), |siprec| siprec.set_property_from_str("session-mode", "per-party"))
}

fn update(call: &Call, pad: &str, dn: &str) -> Option<String> {
    let structure = gst::Structure::builder("parties").field(pad, dn).build();
    call.siprec.emit_by_name("update-parties", &[&structure])
}

fn set_sdp(call: &Call, dn: &str, sdp: &str) -> Option<String> {
    call.siprec.emit_by_name("set-party-sdp", &[&dn, &sdp])
}

fn sdp(lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{lines}")
}

fn gated(call: &Call) -> Vec<u64> {
    let stats = |pad: &gst::Pad| pad.property::<gst::Structure>("stats").get::<u64>("gated").unwrap();
    call.siprec.sink_pads().iter().map(stats).collect()
}

/// A further stream through the element.
fn add_stream(call: &Call, dn: &str, caps: &str) -> (gst::Pad, Inlet, Outlet) {
    let sink = call.siprec.request_pad_simple("sink_%u").unwrap();
    sink.set_property("dn", dn);
    let source = call.siprec.static_pad(&sink.name().replace("sink", "src")).unwrap();
    let (inlet, outlet) = (Inlet::before(&sink), Outlet::behind(&source));
    inlet.begin_with(&caps.parse().unwrap());
    (sink, inlet, outlet)
}

#[test]
fn each_party_is_recorded_in_a_session_of_its_own() {
    let recorder = Recorder::start(Script::Accept);
    let call = per_party(&recorder);
    call.begin();
    let invites = [recorder.request("INVITE"), recorder.request("INVITE")];
    for (invite, dn) in invites.iter().zip(["1001", "1002"]) {
        let line = invite.lines().next().unwrap();
        assert!(line.contains(&format!(";dn={dn};recordDN=1001 ")), "{line}");
        assert_eq!(invite.matches("m=audio").count(), 1);
    }
    call.parties[0].0.pad.push(marked_rtp(0xA1, 0, 1)).unwrap();
    call.parties[1].0.pad.push(marked_rtp(0xB2, 0, 1)).unwrap();
    assert_eq!(recorder.packet(0).unwrap()[12], 0xA1);
    assert_eq!(recorder.packet(4).unwrap()[12], 0xB2);
    let started: Vec<String> = (0..2).map(|_| call.message("siprec-started").get("dn").unwrap()).collect();
    assert!(started.contains(&"1001".to_owned()) && started.contains(&"1002".to_owned()), "{started:?}");
    call.end();
    assert_eq!(call.message("siprec-stopped").get::<String>("dn").as_deref(), Ok("1001"));
    assert_eq!(call.message("siprec-stopped").get::<String>("dn").as_deref(), Ok("1002"));
}

#[test]
fn a_muted_party_is_silent_from_the_call_of_mute_on() {
    let recorder = Recorder::start(Script::Accept);
    let call = per_party(&recorder);
    call.siprec.emit_by_name::<()>("mute", &[&"1002"]);
    call.begin();
    (0..5).for_each(|sequence| call.speak(sequence));
    assert_eq!(gated(&call), [0, 5], "muted before it was there");
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
    call.siprec.emit_by_name::<()>("unmute", &[&"1002"]);
    call.speak(5);
    assert_eq!(timestamp(&recorder.packet(4).unwrap()), 5 * 160);
    call.siprec.sink_pads()[0].set_property("muted", true);
    call.speak(6);
    assert_eq!(gated(&call), [1, 5]);
    assert!(call.siprec.sink_pads()[0].property::<bool>("muted"));
    assert_eq!(timestamp(&recorder.packet(4).unwrap()), 6 * 160);
}

#[test]
fn a_mute_of_nobody_mutes_nobody() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("dn", None::<String>));
    call.begin();
    call.siprec.emit_by_name::<()>("mute", &[&""]);
    call.siprec.emit_by_name::<()>("mute", &[&None::<String>]);
    call.speak(0);
    assert_eq!(gated(&call), [0, 0]);
}

#[test]
fn in_a_session_for_both_a_muted_party_silences_both() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    call.siprec.emit_by_name::<()>("mute", &[&"1001"]);
    call.speak(0);
    assert_eq!(gated(&call), [1, 1]);
    call.wait_for_state("Paused");
    call.siprec.emit_by_name::<()>("unmute", &[&"1001"]);
    call.speak(1);
    for line in 0..2 {
        assert_eq!(timestamp(&recorder.packet(line).unwrap()), 160);
    }
}

#[test]
fn a_replaced_party_ends_its_session_and_the_next_packet_is_in_the_new_one() {
    let recorder = Recorder::start(Script::Accept);
    let call = per_party(&recorder);
    call.begin();
    let _ = [recorder.request("INVITE"), recorder.request("INVITE")];
    let speaks = |sequence| {
        call.parties[1].0.pad.push(rtp(sequence)).unwrap();
    };
    (0..5).for_each(speaks);
    assert_eq!(update(&call, "sink_1", "1003"), None);
    (5..10).for_each(speaks);
    let invite = recorder.request("INVITE");
    assert!(invite.lines().next().unwrap().contains(";dn=1003;"), "{invite}");
    let (old, new) = (4, 0);
    for sequence in 0..5 {
        assert_eq!(timestamp(&recorder.packet(old).unwrap()), sequence * 160);
    }
    for sequence in 5..10 {
        assert_eq!(timestamp(&recorder.packet(new).unwrap()), sequence * 160);
    }
    let stopped = call.message("siprec-stopped");
    assert_eq!(stopped.get::<String>("dn").as_deref(), Ok("1002"), "{stopped}");
    assert_eq!(stopped.get::<String>("reason").as_deref(), Ok("party-left"));
}

#[test]
fn in_a_session_for_both_a_replaced_party_is_told_in_one_offer() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    let first = recorder.request("INVITE");
    assert_eq!(update(&call, "sink_1", "1003"), None);
    let second = recorder.request("INVITE");
    let body = |message: &str| message.split("\r\n\r\n").nth(1).unwrap().to_owned();
    let without_version =
        |body: String| body.lines().filter(|line| !line.starts_with("o=")).collect::<String>();
    assert_ne!(body(&first), body(&second));
    assert_eq!(without_version(body(&first)), without_version(body(&second)));
    assert_eq!(call.siprec.property::<Option<String>>("other-dn").as_deref(), Some("1003"));
}

#[test]
fn a_party_that_left_has_a_silent_line_until_another_joins() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    recorder.request("INVITE");
    assert_eq!(update(&call, "sink_1", ""), None);
    let offer = recorder.request("INVITE");
    assert_eq!((offer.matches("a=sendonly").count(), offer.matches("a=inactive").count()), (1, 1), "{offer}");
    call.speak(0);
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
    assert_eq!(update(&call, "sink_1", "1003"), None);
    call.speak(1);
    let offer = recorder.request("INVITE");
    assert_eq!(offer.matches("a=sendonly").count(), 2, "{offer}");
    assert_eq!(timestamp(&recorder.packet(1).unwrap()), 160, "not what came while nobody was there");
}

#[test]
fn what_is_wrong_with_an_update_is_said_and_changes_nothing() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    assert_eq!(update(&call, "sink_7", "1003").as_deref(), Some("there is no pad \"sink_7\""));
    let long = "x".repeat(1025);
    let fault = update(&call, "sink_0", &long).unwrap();
    assert!(fault.contains("1025 bytes"), "{fault}");
    let wrong = gst::Structure::builder("parties").field("sink_0", "1009").field("sink_1", 7i32).build();
    let fault: Option<String> = call.siprec.emit_by_name("update-parties", &[&wrong]);
    assert_eq!(fault.as_deref(), Some("the DN of \"sink_1\" is no text"));
    assert_eq!(call.siprec.property::<Option<String>>("dn").as_deref(), Some("1001"));
}

#[test]
fn a_partys_session_description_says_what_is_offered() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    let a = "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n";
    let b = "m=audio 5000 RTP/AVP 8 0 100\r\na=rtpmap:100 telephone-event/8000\r\na=fmtp:100 0-15\r\n";
    assert_eq!(set_sdp(&call, "1001", &sdp(a)), None);
    assert_eq!(set_sdp(&call, "1002", &sdp(b)), None);
    call.begin();
    call.wish("start");
    let invite = recorder.request("INVITE");
    // What A sends, in B's numbers, with the codec of the caps first; and the other way round.
    assert!(invite.contains("RTP/AVP 0 8 100\r\n"), "{invite}");
    assert!(invite.contains("RTP/AVP 0 8 101\r\n"), "{invite}");
    assert!(invite.contains("a=rtpmap:100 telephone-event/8000\r\na=fmtp:100 0-15\r\n"), "{invite}");
    assert!(invite.contains("a=ptime:30\r\n"), "{invite}");
}

#[test]
fn what_was_started_in_null_records_and_what_was_stopped_again_does_not() {
    for stopped in [false, true] {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property("auto-start", false);
            siprec.set_property("recording-id", "first");
            siprec.emit_by_name::<()>("start", &[]);
            if stopped {
                siprec.emit_by_name::<()>("stop", &[]);
            }
        });
        // One that is there keeps its name, and `start` makes no difference to it.
        call.siprec.set_property("recording-id", "second");
        call.begin();
        call.wish("start");
        let expected = if stopped { "record=second" } else { "record=first" };
        let invite = recorder.request("INVITE");
        assert!(invite.contains(expected), "{invite}");
    }
}

#[test]
fn the_state_of_a_recording_is_told_to_its_end_by_messages_also_when_another_has_followed() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    let id = |state: &gst::Structure| state.get::<String>("recording-id").unwrap();
    let first = id(&call.message("siprec-state"));
    call.wish("stop");
    call.wish("start");
    call.speak(1);
    call.wait_for_state("Recording");
    let end = std::iter::repeat_with(|| call.message("siprec-state")).filter(|state| id(state) == first);
    let end = end.map(|state| state.get::<gstsiprec::SiprecState>("state").unwrap());
    let end = end.take_while(|state| *state != gstsiprec::SiprecState::Stopped);
    assert!(end.count() < 10);
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Recording);
}

#[test]
fn a_party_that_holds_or_mutes_by_its_description_is_silent() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    let line = "m=audio 4000 RTP/AVP 0\r\n";
    for silent in ["a=recvonly\r\n", "a=inactive\r\n", "a=sendonly\r\n", "c=IN IP4 0.0.0.0\r\n"] {
        let before = gated(&call);
        assert_eq!(set_sdp(&call, "1001", &sdp(&format!("{line}{silent}"))), None);
        call.speak(0);
        assert_eq!(gated(&call), [before[0] + 1, before[1] + 1], "{silent}");
        call.wait_for_state("Paused");
        assert_eq!(set_sdp(&call, "1001", &sdp(line)), None);
        call.wait_for_state("Recording");
    }
    call.siprec.set_property("hold-is-mute", false);
    let before = gated(&call);
    set_sdp(&call, "1001", &sdp(&format!("{line}a=sendonly\r\n")));
    call.speak(1);
    assert_eq!(gated(&call), before);
}

#[test]
fn a_session_mode_that_is_set_too_late_does_not_open_a_gate() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    call.siprec.set_property_from_str("session-mode", "per-party");
    call.siprec.emit_by_name::<()>("mute", &[&"1002"]);
    let before = gated(&call);
    call.speak(0);
    assert_eq!(gated(&call), [before[0] + 1, before[1] + 1], "the session is still both parties'");
}

#[test]
fn what_cannot_be_used_of_a_description_is_named() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    let fault = |dn: &str, text: &str| set_sdp(&call, dn, text).unwrap();
    assert!(fault("1001", "nonsense").contains("cannot be read"));
    assert!(fault("", &sdp("m=audio 4000 RTP/AVP 0\r\n")).contains("needs the DN"));
    let image = sdp("m=audio 4000 RTP/AVP 0\r\nm=image 4002 udptl t38\r\n");
    assert_eq!(fault("1001", &image), "m-line 2 is \"image\", and audio and video are recorded only");
    let other = fault("1002", &sdp("m=audio 5000 RTP/AVP 8\r\n"));
    assert!(other.contains("no audio codec in common"), "{other}");
}

#[test]
fn a_party_that_no_recording_can_name_is_refused_and_nothing_else_is_told_to_fail() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    let long = "x".repeat(1025);
    let fault = set_sdp(&call, &long, &sdp("m=audio 4000 RTP/AVP 0\r\n")).unwrap();
    assert!(fault.contains("1025 bytes, more than 1024"), "{fault}");
    call.siprec.emit_by_name::<()>("mute", &[&long]);
    let warning = call
        .bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Warning])
        .expect("a warning");
    let gst::MessageView::Warning(warning) = warning.view() else { panic!("{warning:?}") };
    assert!(warning.error().message().contains("cannot be muted"), "{:?}", warning.error());
    call.begin();
    call.wait_for_state("Recording");
    assert!(call.bus.iter().all(|message| message.structure().is_none_or(|s| s.name() != "siprec-failed")));
}

#[test]
fn a_stream_whose_caps_forbid_it_is_off_and_the_recording_goes_on() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    let text = gst::Caps::builder("application/x-rtp").field("media", "text").build();
    call.parties[0].0.begin_with(&text);
    let off = call.message("siprec-audio-off");
    assert_eq!(off.get::<&str>("dn"), Ok("1001"));
    assert!(off.get::<&str>("reason").unwrap().contains("\"text\""), "{off}");
    call.parties[1].0.begin();
    call.wait_for_state("Recording");
}

#[test]
fn four_streams_reach_their_own_m_lines() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    // The second party's video comes first: the lines follow the parties, not the pads.
    let (_, b_video, _outlet_b) = add_stream(&call, "1002", VIDEO);
    let (_, a_video, _outlet_a) = add_stream(&call, "1001", VIDEO);
    call.wish("start");
    let invite = recorder.request("INVITE");
    let media: Vec<_> = invite.lines().filter(|line| line.starts_with("m=")).map(|line| &line[..7]).collect();
    assert_eq!(media, ["m=audio", "m=audio", "m=video", "m=video"], "{invite}");
    call.wait_for_state("Recording");
    let inlets = [
        (&call.parties[0].0, 0xA1, 0),
        (&call.parties[1].0, 0xB1, 0),
        (&a_video, 0xA2, 96),
        (&b_video, 0xB2, 96),
    ];
    for sequence in 0..3 {
        for (inlet, mark, payload_type) in &inlets {
            inlet.pad.push(marked_rtp(*mark, *payload_type, sequence)).unwrap();
        }
    }
    for (line, (_, mark, payload_type)) in inlets.iter().enumerate() {
        for _ in 0..3 {
            let packet = recorder.packet(line).unwrap();
            assert_eq!(packet[1] & 0x7F, *payload_type, "line {line}");
            assert!(packet[12..].iter().all(|byte| byte == mark), "line {line}: {:x}", packet[12]);
        }
    }
}

#[test]
fn refused_video_is_told_and_audio_is_recorded() {
    let recorder = Recorder::start(Script::RefuseVideo);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    let (_, video, _outlet) = add_stream(&call, "1001", VIDEO);
    call.wish("start");
    let off = call.message("siprec-video-off");
    assert_eq!(off.get::<String>("dn").as_deref(), Ok("1001"), "{off}");
    assert_eq!(off.get::<String>("reason").as_deref(), Ok("the recorder refuses it"));
    call.speak(0);
    video.pad.push(marked_rtp(0xA2, 96, 0)).unwrap();
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
}

#[test]
fn video_is_not_offered_where_it_is_not_to_be_recorded() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("auto-start", false);
        siprec.set_property("record-video", false);
    });
    call.begin();
    let (_, video, outlet) = add_stream(&call, "1001", VIDEO);
    call.wish("start");
    let invite = recorder.request("INVITE");
    assert!(!invite.contains("m=video"), "{invite}");
    video.pad.push(marked_rtp(0xA2, 96, 0)).unwrap();
    assert_eq!(outlet.take().bytes.len(), 1, "the call has it");
}

#[test]
fn a_key_frame_is_asked_of_the_source_when_video_begins_to_be_recorded() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    let (_, video, _outlet) = add_stream(&call, "1001", VIDEO);
    video.take_events();
    call.wish("start");
    let wanted = call.message("siprec-keyframe-wanted");
    assert_eq!(wanted.get::<String>("dn").as_deref(), Ok("1001"), "{wanted}");
    assert!(video.take_events().contains(&gst::EventType::CustomUpstream));
    assert!(!call.parties[0].0.take_events().contains(&gst::EventType::CustomUpstream), "not of the audio");
}

/// RFC 4585 §6.3.1, RFC 5104 §4.3.1: behind an empty receiver report, as RFC 3550 §6.1 wants it.
fn key_frame_requests(source: [u8; 4]) -> [Vec<u8>; 2] {
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    let picture_loss = [&[0x81, 206, 0, 2, 0, 0, 0, 9][..], &source].concat();
    let full_intra = [&[0x84, 206, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0][..], &source, &[1, 0, 0, 0]].concat();
    [picture_loss, full_intra].map(|request| [&report[..], &request].concat())
}

#[test]
fn a_recorder_that_asks_for_a_key_frame_has_it_asked_of_the_source() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    let (_, video, _outlet) = add_stream(&call, "1001", VIDEO);
    call.wish("start");
    let invite = recorder.request("INVITE");
    let line = invite.lines().find_map(|line| line.strip_prefix("m=video ")).unwrap();
    let port: u16 = line.split(' ').next().unwrap().parse().unwrap();
    call.message("siprec-keyframe-wanted");
    video.pad.push(marked_rtp(0xA2, 96, 0)).unwrap();
    // The offer's lines: audio of both parties, then the video.
    recorder.packet(2).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for request in key_frame_requests([0xA2; 4]) {
        video.take_events();
        socket.send_to(&request, ("127.0.0.1", port + 1)).unwrap();
        let wanted = call.message("siprec-keyframe-wanted");
        assert_eq!(wanted.get::<String>("dn").as_deref(), Ok("1001"), "{wanted}");
        assert_eq!(video.take_events(), [gst::EventType::CustomUpstream]);
    }
}

#[test]
fn a_muted_party_whose_pad_goes_silences_nobody_any_more() {
    for by_action in [true, false] {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |_| ());
        call.begin();
        call.wait_for_state("Recording");
        let leaving = call.siprec.static_pad("sink_1").unwrap();
        match by_action {
            true => call.siprec.emit_by_name::<()>("mute", &[&"1002"]),
            false => leaving.set_property("muted", true),
        }
        call.wait_for_state("Paused");
        call.speak(0);
        assert_eq!(gated(&call), [1, 1]);
        call.siprec.release_request_pad(&leaving);
        call.wait_for_state("Recording");
        (1..6).for_each(|sequence| {
            call.parties[0].0.pad.push(rtp(sequence)).unwrap();
        });
        assert_eq!(gated(&call), [1]);
        assert_eq!(timestamp(&recorder.packet(0).unwrap()), 160);
        call.end();
        call.message("siprec-stopped");
    }
}
