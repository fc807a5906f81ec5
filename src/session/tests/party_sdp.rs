//! What a party's session description says of what is recorded of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use siprec_model::{Medium, StreamFormat};
use siprec_session::{PartySdp, PartySdpError};

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

fn party(lines: &[&str]) -> PartySdp {
    parse(lines).unwrap()
}

fn parse(lines: &[&str]) -> Result<PartySdp, PartySdpError> {
    PartySdp::parse(&format!("{HEAD}{}\r\n", lines.join("\r\n")))
}

fn formats(format: &StreamFormat) -> Vec<(u8, &str)> {
    format.payloads.iter().map(|payload| (payload.payload_type, payload.encoding.as_str())).collect()
}

#[test]
fn one_partys_list_stands_alone_until_the_others_is_known() {
    let own = party(&[
        "m=audio 4000 RTP/AVP 101 8 0",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:30",
    ]);
    let format = own.negotiated(None, Medium::Audio, 0).unwrap().unwrap();
    assert_eq!(formats(&format), [(8, "PCMA"), (0, "PCMU"), (101, "telephone-event")]);
    assert_eq!(format.ptime_ms, Some(30));
    assert_eq!(own.negotiated(None, Medium::Video, 0), Ok(None));
}

#[test]
fn what_both_list_is_negotiated_in_the_numbers_of_who_receives() {
    let own = party(&[
        "m=audio 4000 RTP/AVP 96 0 101",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
    ]);
    let other = party(&[
        "m=audio 5000 RTP/AVP 0 111 110 13",
        "a=rtpmap:111 OPUS/48000/2",
        "a=rtpmap:110 telephone-event/8000",
        "a=fmtp:110 0-16",
    ]);
    let format = own.negotiated(Some(&other), Medium::Audio, 0).unwrap().unwrap();
    assert_eq!(formats(&format), [(111, "opus"), (0, "PCMU"), (110, "telephone-event")]);
    assert_eq!(format.payloads[0].fmtp.as_deref(), Some("useinbandfec=1"));
    assert_eq!(format.payloads[2].fmtp.as_deref(), Some("0-16"));
}

#[test]
fn profiles_of_one_codec_are_told_apart_by_their_parameters() {
    let lines = |first: &str, second: &str| {
        party(&[
            "m=video 4000 RTP/AVP 97 98",
            "a=rtpmap:97 H264/90000",
            &format!("a=fmtp:97 {first}"),
            "a=rtpmap:98 H264/90000",
            &format!("a=fmtp:98 {second}"),
        ])
    };
    let own = lines("packetization-mode=1", "packetization-mode=0");
    let other = lines("packetization-mode=0", "packetization-mode=1");
    let format = own.negotiated(Some(&other), Medium::Video, 0).unwrap().unwrap();
    assert_eq!(formats(&format), [(98, "H264"), (97, "H264")]);
}

#[test]
fn without_a_common_codec_both_lists_are_named() {
    let own = party(&["m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000"]);
    let other = party(&["m=audio 4000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000"]);
    let error = own.negotiated(Some(&other), Medium::Audio, 0).unwrap_err().to_string();
    assert_eq!(
        error,
        "the parties have no audio codec in common: one has PCMU/8000, telephone-event/8000, the other PCMA/8000, \
         telephone-event/8000"
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    let malformed = PartySdp::parse("garbage").unwrap_err();
    assert!(matches!(malformed, PartySdpError::Malformed(_)), "{malformed}");
    let nothing = parse(&["m=application 9 UDP/DTLS/SCTP webrtc-datachannel"]).unwrap_err().to_string();
    assert!(nothing.contains("m-line 1 is \"application\""), "{nothing}");
    let nothing = parse(&["m=audio 4000 RTP/AVP 96"]).unwrap_err().to_string();
    assert!(nothing.contains("no payload type whose codec is known"), "{nothing}");
    let mixed = party(&["m=audio 4000 RTP/AVP 0", "m=image 5000 udptl t38"]);
    assert_eq!(mixed.unusable(), ["m-line 2 is \"image\", and audio and video are recorded only"]);
}

#[test]
fn a_line_that_sends_nothing_mutes_its_party() {
    let is_mute = |attribute: &str| party(&["m=audio 4000 RTP/AVP 0", attribute]).is_mute(true);
    assert!(!is_mute("a=sendrecv"));
    assert!(is_mute("a=recvonly"));
    assert!(is_mute("a=inactive"));
    assert!(is_mute("c=IN IP4 0.0.0.0"));
    assert!(is_mute("a=sendonly"), "hold");
    assert!(!party(&["m=audio 4000 RTP/AVP 0", "a=sendonly"]).is_mute(false));
    assert!(party(&["m=audio 0 RTP/AVP 0"]).is_mute(false), "switched off");
}

#[test]
fn a_camera_that_is_off_is_no_mute() {
    let lines = ["m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 96", "a=rtpmap:96 VP8/90000", "a=inactive"];
    assert!(!party(&lines).is_mute(true));
}

#[test]
fn a_changed_address_is_seen() {
    let before = party(&["m=audio 4000 RTP/AVP 0"]);
    assert!(!party(&["m=audio 4000 RTP/AVP 8"]).has_moved(&before));
    assert!(party(&["m=audio 4002 RTP/AVP 0"]).has_moved(&before));
    assert!(party(&["m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.2"]).has_moved(&before));
}

#[test]
fn each_stream_of_a_party_finds_its_line() {
    use Medium::{Audio, Video};
    let lines = [
        "m=audio 4000 RTP/AVP 0",
        "m=video 4002 RTP/AVP 96",
        "a=rtpmap:96 VP8/90000",
        "m=audio 4004 RTP/AVP 8",
    ];
    let sdp = party(&lines);
    assert_eq!(sdp.place(&[None, None]), [Some((Audio, 0)), Some((Video, 0))]);
    assert_eq!(sdp.place(&[None, Some(Audio), None]), [Some((Video, 0)), Some((Audio, 0)), Some((Audio, 1))]);
    assert_eq!(sdp.place(&[Some(Video), Some(Video)]), [Some((Video, 0)), None]);
}
