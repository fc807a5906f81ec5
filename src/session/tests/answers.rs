//! `protocol` 1.2: what of an answer counts, rule by rule.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use siprec_model::{BranchCommand, OpenBranch, PayloadRule, SessionEvent, SessionEventKind};
use siprec_session::{PayloadTypes, RecordingConfig, parse_recorders};
use siprec_sip::sdp::MediaView;
use siprec_sip::{Method, SessionDescription};
use support::*;

/// What follows an INVITE that is answered so: branch commands, BYE, and what the application is told.
fn outcome(body: &str) -> Vec<String> {
    outcome_with(config("sip:rec.example"), body)
}

fn outcome_with(config: RecordingConfig, body: &str) -> Vec<String> {
    let mut call = Call::inviting_with(config);
    call.take();
    call.answer_invite(body);
    let told = |line: &&String| !line.starts_with("close") && *line != "> ACK" && !line.starts_with("= ");
    call.take().iter().filter(told).cloned().collect()
}

const OPENED: [&str; 3] = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002", "* started"];

#[test]
fn what_does_not_count_is_ignored() {
    let session = "v=0\r\no=rec 1 1 IN IP4 192.0.2.9\r\ns=-\r\n";
    let table = [
        ("recvonly", sdp(&[4000, 4002])),
        ("sendonly", sdp_with(&[4000, 4002], "a=sendonly\r\n")),
        ("sendrecv", sdp_with(&[4000, 4002], "a=sendrecv\r\n")),
        ("no direction", sdp_with(&[4000, 4002], "")),
        ("other ptime", sdp_with(&[4000, 4002], "a=ptime:40\r\na=maxptime:150\r\n")),
        (
            "other payload types",
            sdp(&[4000, 4002]).replace("AVP 0", "AVP 97 98").replace("rtpmap:0", "rtpmap:97"),
        ),
        ("payload types without rtpmap", sdp(&[4000, 4002]).replace("a=rtpmap:0 PCMU/8000\r\n", "")),
        (
            "attributes before the media",
            format!(
                "{session}c=IN IP4 192.0.2.9\r\nt=0 0\r\na=recvonly\r\na=rtpmap:0 PCMU/8000\r\n\
                 m=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 0\r\n"
            ),
        ),
        (
            "connection at media level",
            format!(
                "{session}t=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n\
                 m=audio 4002 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n"
            ),
        ),
        (
            "media level overrides session level",
            format!(
                "{session}c=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n\
                 m=audio 4002 RTP/AVP 0\r\nc=IN IP4 192.0.2.9\r\n"
            ),
        ),
        ("one m-line more than offered", sdp(&[4000, 4002, 4004])),
        ("line ends without CR", sdp(&[4000, 4002]).replace("\r\n", "\n")),
    ];
    for (rule, body) in table {
        assert_eq!(outcome(&body), OPENED, "{rule}");
    }
}

#[test]
fn what_counts_switches_a_stream_off() {
    let first =
        |off: &str| vec!["open 0 to 192.0.2.9:4000".to_owned(), off.to_owned(), "* started".to_owned()];
    let disabled = |reason: &str| {
        let mut lines = first(&format!("* audio of 1002 off: {reason}"));
        lines.insert(1, "disable 1".to_owned());
        lines
    };
    let two = |second: &str| sdp(&[4000]) + second;
    let at = |address: &str| two(&format!("m=audio 4002 RTP/AVP 0\r\nc=IN IP4 {address}\r\n"));
    let nobodys =
        |address: &str| disabled(&format!("the recorder takes it at {address}, which is nobody's address"));
    let table = [
        ("port 0", sdp(&[4000, 0]), disabled("the recorder refuses it")),
        ("a missing m-line", sdp(&[4000]), disabled("the recorder's answer lacks its m-line")),
        (
            "another medium",
            two("m=video 4002 RTP/AVP 96\r\n"),
            disabled("the recorder answers the audio line with another medium"),
        ),
        (
            "an encrypted profile without our keys",
            two("m=audio 4002 RTP/SAVP 0\r\n"),
            disabled("the recorder wants RTP/SAVP instead of RTP/AVP"),
        ),
        (
            "a host name for an address",
            two("m=audio 4002 RTP/AVP 0\r\nc=IN IP4 media.example\r\n"),
            disabled("the recorder names no IP address for it"),
        ),
        (
            "an address of the other family",
            two("m=audio 4002 RTP/AVP 0\r\nc=IN IP6 2001:db8::9\r\n"),
            disabled("the recorder takes it at 2001:db8::9, and was offered IPv4"),
        ),
        ("broadcast", at("255.255.255.255"), nobodys("255.255.255.255")),
        ("a reserved address", at("255.255.255.254"), nobodys("255.255.255.254")),
        ("an address of this network", at("0.0.0.1"), nobodys("0.0.0.1")),
        ("a group", at("224.0.0.1/64"), nobodys("224.0.0.1")),
        (
            "our own port, of another stream",
            two("m=audio 10000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n"),
            disabled("the recorder takes it at 192.0.2.1:10000, which is our own port"),
        ),
        (
            "our own port of RTCP",
            two("m=audio 10001 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n"),
            disabled("the recorder takes it at 192.0.2.1:10001, which is our own port"),
        ),
        (
            "another port of our host",
            two("m=audio 10004 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n"),
            vec!["open 0 to 192.0.2.9:4000".into(), "open 1 to 192.0.2.1:10004".into(), "* started".into()],
        ),
        (
            "inactive: nothing is sent, and what is held waits for its re-INVITE",
            two("m=audio 4002 RTP/AVP 0\r\na=inactive\r\n"),
            first("* audio of 1002 off: the recorder set it inactive"),
        ),
        (
            "the old way to say hold",
            two("m=audio 4002 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n"),
            first("* audio of 1002 off: the recorder set it inactive"),
        ),
    ];
    for (rule, body, expected) in table {
        assert_eq!(outcome(&body), expected, "{rule}");
    }
}

#[test]
fn where_rtcp_would_go_to_ourselves_it_goes_to_the_port_above_rtps() {
    let target = |port: u16, rtcp: &str| {
        let mut call = Call::new(config("sip:rec.example"));
        call.signalled = "198.51.100.7";
        call.add(0);
        call.format(0, pcmu());
        call.answer_invite(&sdp_with(&[port, 0], &format!("a=recvonly\r\n{rtcp}")));
        let opened = call.branches.iter().find_map(|command| match command {
            BranchCommand::Open(open) => Some(open.clone()),
            _ => None,
        });
        let open = opened.unwrap_or_else(|| panic!("{rtcp}: {:?}", call.transcript));
        assert_eq!(open.rtp, format!("192.0.2.9:{port}").parse().unwrap());
        open.rtcp.map(|rtcp| rtcp.to_string())
    };
    for (port, rtcp, expected) in [
        (4000, "", Some("192.0.2.9:4001")),
        (4000, "a=rtcp:4100\r\n", Some("192.0.2.9:4100")),
        (4000, "a=rtcp:10001\r\n", Some("192.0.2.9:10001")),
        (4000, "a=rtcp:4100 IN IP4 192.0.2.1\r\n", Some("192.0.2.1:4100")),
        (4000, "a=rtcp:10001 IN IP4 192.0.2.1\r\n", Some("192.0.2.9:4001")),
        (4000, "a=rtcp:10000 IN IP4 192.0.2.1\r\n", Some("192.0.2.9:4001")),
        (4000, "a=rtcp:10001 IN IP4 198.51.100.7\r\n", Some("192.0.2.9:4001")),
        (4000, "a=rtcp:4100 IN IP4 198.51.100.7\r\n", Some("198.51.100.7:4100")),
        (65_535, "a=rtcp:10001 IN IP4 192.0.2.1\r\n", None),
    ] {
        assert_eq!(target(port, rtcp).as_deref(), expected, "{port} {rtcp}");
    }
}

/// A translation of addresses on the way names it in our offer, which then comes back.
#[test]
fn our_own_offer_is_of_no_use_at_the_address_that_sip_names_as_ours_either() {
    let answered = |ports: &[u16], address: &str| {
        let mut call = Call::new(config("sip:rec.example"));
        call.signalled = "198.51.100.7";
        (0..2).for_each(|slot| call.add(slot));
        (0..2).for_each(|slot| call.format(slot, pcmu()));
        call.take();
        call.answer_invite(&sdp(ports).replace("IN IP4 192.0.2.9", &format!("IN IP4 {address}")));
        call.take().remove(0)
    };
    for ports in [[10_000, 10_002], [10_000, 0]] {
        let refused = "* failed: the recorder's answer cannot be used: it takes no stream (the recorder takes it at \
                       198.51.100.7:10000, which is our own port)";
        assert_eq!(answered(&ports, "198.51.100.7"), refused, "{ports:?}");
    }
    // A recorder behind the same address, which has one port number with us, and one at another.
    assert_eq!(answered(&[10_000, 4002], "198.51.100.7"), "open 0 to 198.51.100.7:10000");
    assert_eq!(answered(&[10_002, 10_000], "198.51.100.7"), "open 0 to 198.51.100.7:10002");
    assert_eq!(answered(&[10_000, 10_002], "198.51.100.8"), "open 0 to 198.51.100.8:10000");
}

#[test]
fn an_answer_of_no_use_is_acknowledged_and_ended_by_bye() {
    let takes_nothing =
        |why: &str| format!("* failed: the recorder's answer cannot be used: it takes no stream ({why})");
    let table = [
        ("port 0 for every stream", sdp(&[0, 0]), takes_nothing("the recorder refuses it")),
        (
            "no session description",
            String::new(),
            "* failed: the recorder's answer cannot be used: it has no session description".to_owned(),
        ),
        (
            "an address of the other family for every stream",
            sdp(&[4000, 4002]).replace("IN IP4 192.0.2.9", "IN IP6 2001:db8::9"),
            takes_nothing("the recorder takes it at 2001:db8::9, and was offered IPv4"),
        ),
        (
            "our own offer, sent back",
            sdp(&[10_000, 10_002]).replace("IN IP4 192.0.2.9", "IN IP4 192.0.2.1"),
            takes_nothing("the recorder takes it at 192.0.2.1:10000, which is our own port"),
        ),
        ("no m-line", sdp(&[]), takes_nothing("the recorder's answer lacks its m-line")),
    ];
    for (rule, body, failure) in table {
        let mut call = Call::inviting();
        call.take();
        call.answer_invite(&body);
        assert_eq!(call.take(), [&failure, "close 0", "close 1", "> ACK", "> BYE", "= failed"], "{rule}");
        call.answer_bye();
        call.expect(&["finished"]);
    }
}

#[test]
fn an_answer_without_a_format_of_any_stream_is_of_no_use_where_its_numbers_count() {
    let mut recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    recorders.iter_mut().for_each(|recorder| recorder.profile.payload_types = Some(PayloadTypes::Answered));
    let mut call =
        Call::inviting_with(RecordingConfig { recorders: recorders.into(), ..config("sip:a.example") });
    call.take();
    call.answer_invite(
        &sdp(&[4000, 4002]).replace("AVP 0", "AVP 97").replace("rtpmap:0 PCMU", "rtpmap:97 G726-32"),
    );
    let lines = call.take();
    let failed = "* failed: the recorder's answer cannot be used: it takes no stream (the recorder's answer has none of its formats)";
    assert_eq!(lines[0], failed, "{lines:?}");
    assert!(lines.contains(&"> INVITE sendonly/sendonly v1".to_owned()), "the next recorder: {lines:?}");
}

#[test]
fn an_answer_that_cannot_be_read_is_of_no_use() {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    call.take();
    call.answer(&invite, 200, &[("Content-Type", "application/sdp")], "hello");
    let lines = call.take();
    assert!(
        lines[0].starts_with(
            "* failed: the recorder's answer cannot be used: the session description cannot be read"
        ),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["close 0", "close 1", "> ACK", "> BYE", "= failed"]);
}

#[test]
fn an_answer_within_a_multipart_is_found() {
    let mut call = Call::inviting();
    let invite = call.request(&Method::Invite);
    call.take();
    let body = format!(
        "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b--\r\n",
        sdp(&[4000, 4002])
    );
    call.answer(&invite, 200, &[("Content-Type", "multipart/mixed;boundary=b")], &body);
    assert_eq!(call.take()[..3], OPENED);
}

#[test]
fn the_first_answer_may_come_inactive_and_the_recorder_opens_it_later() {
    let mut call = Call::inviting();
    call.packet(0);
    call.take();
    let invite = call.answer_invite(&sdp_with(&[4000, 4002], "a=inactive\r\n"));
    call.expect(&[
        "* audio of 1001 off: the recorder set it inactive",
        "* audio of 1002 off: the recorder set it inactive",
        "* started",
        "> ACK",
        "= recording",
    ]);
    let others = |event: &SessionEvent| match event.kind {
        SessionEventKind::MediumOff { others, .. } => Some(others),
        _ => None,
    };
    assert_eq!(call.events.iter().filter_map(others).next_back(), Some(false), "nothing is recorded");
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "* audio of 1001 on",
        "* audio of 1002 on",
        "> 200 INVITE",
    ]);
}

fn payloads(policy: Option<PayloadTypes>, answer: &str) -> Vec<PayloadRule> {
    let mut config = config("sip:rec.example");
    config.recorders.listed_mut()[0].profile.payload_types = policy;
    let mut call = Call::new(config);
    call.add(0);
    call.format(0, audio(&[(8, "PCMA", 8000), (101, "telephone-event", 8000)]));
    call.answer_invite(answer);
    let open = call.branches.iter().find_map(|command| match command {
        BranchCommand::Open(OpenBranch { payloads, .. }) => Some(payloads.clone()),
        _ => None,
    });
    open.unwrap_or_default()
}

#[test]
fn payload_types_are_those_that_we_offered_unless_the_recorder_wants_its_own() {
    let answer = "v=0\r\no=rec 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                  m=audio 4000 RTP/AVP 8 97\r\na=rtpmap:97 TELEPHONE-EVENT/8000\r\n";
    let rule = |from, to| PayloadRule { from, to };
    assert_eq!(payloads(None, answer), [rule(8, 8), rule(101, 101)]);
    assert_eq!(payloads(Some(PayloadTypes::Answered), answer), [rule(8, 8), rule(101, 97)]);
    let only_events = answer.replace("8 97", "97");
    assert_eq!(payloads(Some(PayloadTypes::Answered), &only_events), [rule(101, 97)]);
    let others = answer.replace("8 97", "3");
    assert_eq!(payloads(Some(PayloadTypes::Answered), &others), []);
}

#[test]
fn rtcp_goes_where_the_answer_says() {
    let table = [
        ("the port above", "", Some("192.0.2.9:4001")),
        ("a=rtcp", "a=rtcp:5005\r\n", Some("192.0.2.9:5005")),
        ("a=rtcp with an address", "a=rtcp:5005 IN IP4 198.51.100.7\r\n", Some("198.51.100.7:5005")),
    ];
    for (rule, attributes, expected) in table {
        let mut call = Call::inviting();
        call.answer_invite(&sdp_with(&[4000, 4002], attributes));
        let rtcp = call.branches.iter().find_map(|command| match command {
            BranchCommand::Open(open) => open.rtcp,
            _ => None,
        });
        assert_eq!(rtcp, expected.map(|address| address.parse().unwrap()), "{rule}");
    }
}

/// Whether packets are sent again that the recorder asks for, line by line.
fn retransmits(without: bool, attributes: &str) -> Vec<bool> {
    let mut config = config("sip:rec.example");
    config.recorders.listed_mut()[0].profile.without_retransmission = without;
    let mut call = Call::inviting_with(config);
    call.answer_invite(&sdp_with(&[4000, 4002], attributes));
    opened(&call)
}

fn opened(call: &Call) -> Vec<bool> {
    let commands = call.branches.iter().filter_map(|command| match command {
        BranchCommand::Open(open) => Some(open.retransmission),
        _ => None,
    });
    commands.collect()
}

/// RFC 4585 §4.2
#[test]
fn packets_are_sent_again_where_both_sides_say_so() {
    let table = [
        ("", false),
        ("a=rtcp-fb:* nack\r\n", true),
        ("a=rtcp-fb:0 nack\r\n", true),
        ("a=rtcp-fb:* nack pli\r\n", false),
        ("a=rtcp-fb:* ccm fir\r\na=rtcp-fb:*  nack\r\n", true),
        ("a=rtcp-fb:nack\r\n", false),
        ("a=rtcp-fb\r\n", false),
    ];
    for (attributes, expected) in table {
        assert_eq!(retransmits(false, attributes), [expected; 2], "{attributes}");
        assert_eq!(retransmits(true, attributes), [false; 2], "{attributes}");
    }
    let mut call = Call::inviting();
    let only_second = sdp(&[4000, 4002]) + "a=rtcp-fb:* nack\r\n";
    call.answer_invite(&only_second.replace("RTP/AVP", "RTP/AVPF"));
    assert_eq!(opened(&call), [false, true], "also where it answers by the profile with feedback");
}

#[test]
fn our_answer_adds_no_feedback_to_what_the_recorder_offers() {
    let said = |call: &mut Call| String::from_utf8(call.response().body).unwrap().matches("rtcp-fb").count();
    let mut call = Call::inviting();
    let plain = sdp(&[4000, 4002]);
    let invite = call.answer_invite(&plain);
    let offered = String::from_utf8(invite.body.clone()).unwrap();
    // What has not changed gets our last description, as it was.
    call.recorder_sends(&invite, "INVITE", &[], &plain);
    assert_eq!(String::from_utf8(call.response().body).unwrap(), offered);
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4004, 4002]));
    assert_eq!(said(&mut call), 0);
    call.recorder_sends(&invite, "INVITE", &[], &sdp_with(&[4004, 4002], "a=rtcp-fb:* nack\r\n"));
    assert_eq!(said(&mut call), 2);
    assert_eq!(opened(&call).last(), Some(&true));
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4004, 4002]));
    assert_eq!(said(&mut call), 0);
    assert_eq!(opened(&call).last(), Some(&false), "it asks for nothing any more");
}

#[test]
fn key_frames_may_be_asked_for_of_video_and_our_answer_has_what_was_offered_of_it() {
    let mut call = Call::new(config("sip:rec.example"));
    (0..2).for_each(|slot| call.add(slot));
    call.format(0, pcmu());
    call.format(1, video(31, "H261"));
    let answer = sdp_of(&["audio 4000", "audio 0", "video 4004"]);
    let invite = call.answer_invite(&answer);
    let said = |body: &[u8]| {
        let sdp = SessionDescription::parse(body).unwrap();
        let values = |media: MediaView<'_>| media.values("rtcp-fb").map(str::to_owned).collect();
        sdp.medias().map(values).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(said(&invite.body), [vec!["* nack"], vec![], vec!["* nack", "* nack pli", "* ccm fir"]]);
    let moved = sdp_of(&["audio 4008", "audio 0", "video 4004"]) + "a=rtcp-fb:* ccm fir\r\n";
    call.recorder_sends(&invite, "INVITE", &[], &moved);
    assert_eq!(said(&call.response().body), [vec![], vec![], vec!["* ccm fir"]]);
}

#[test]
fn a_200_without_sdp_to_a_reinvite_keeps_the_address() {
    let mut call = Call::established();
    call.command(siprec_session::Command::Pause);
    call.answer_invite("");
    call.command(siprec_session::Command::Resume);
    call.take();
    call.answer_invite("");
    call.expect(&[
        "open 0 to 192.0.2.9:4000",
        "open 1 to 192.0.2.9:4002",
        "> ACK",
        "* resumed",
        "= recording",
    ]);
}
