//! Descriptions as recorders write them, read through the typed views.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use siprec_model::{Medium, PayloadFormat};
use siprec_sip::SessionDescription;
use siprec_sip::sdp::{
    Address, Direction, MAX_MEDIA, MAX_SDP_BYTES, MediaBuilder, Origin, SdpBuilder, SdpError,
};

const HEAD: &str = "v=0\no=- 1 1 IN IP4 192.0.2.20\ns=-\nt=0 0\n";

/// A description from session-level and media lines.
fn sdp(lines: &str) -> SessionDescription {
    SessionDescription::parse(format!("{HEAD}{lines}").replace('\n', "\r\n").as_bytes()).unwrap()
}

fn host(name: &str) -> Address {
    Address::Host(name.to_owned())
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

#[test]
fn the_address_is_the_media_lines_own_or_else_the_sessions_or_else_another_ones() {
    for (lines, expected) in [
        ("c=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 0\n", Some(ip("192.0.2.1"))),
        ("c=IN IP4 192.0.2.1\nm=audio 5004 RTP/AVP 0\nc=IN IP4 192.0.2.2\n", Some(ip("192.0.2.2"))),
        ("m=audio 5004 RTP/AVP 0\nc=IN IP6 2001:db8::1\n", Some(ip("2001:db8::1"))),
        ("m=audio 5004 RTP/AVP 0\nc=IN IP4 rtp.recorder.example\n", Some(host("rtp.recorder.example"))),
        ("m=audio 5004 RTP/AVP 0\nc=IN IP4 224.2.17.12/127\n", Some(ip("224.2.17.12"))),
        ("m=audio 5004 RTP/AVP 0\na=ptime:20\nc=IN  IP4  192.0.2.1 \n", Some(ip("192.0.2.1"))),
        ("m=audio 5004 RTP/AVP 0\nm=audio 5006 RTP/AVP 0\nc=IN IP4 192.0.2.3\n", Some(ip("192.0.2.3"))),
        ("m=audio 5004 RTP/AVP 0\n", None),
    ] {
        let description = sdp(lines);
        let media = description.media(0).unwrap();
        assert_eq!(media.connection(), expected, "{lines}");
        assert_eq!(media.rtp(), expected.map(|address| (address, 5004)), "{lines}");
    }
    assert!(
        sdp("c=IN IP4 0.0.0.0\nm=audio 5004 RTP/AVP 0\n")
            .media(0)
            .unwrap()
            .connection()
            .unwrap()
            .is_unspecified()
    );
}

#[test]
fn the_direction_is_the_media_lines_own_or_else_the_sessions() {
    for (lines, expected) in [
        ("m=audio 5004 RTP/AVP 0\n", Direction::SendRecv),
        ("m=audio 5004 RTP/AVP 0\na=recvonly\n", Direction::RecvOnly),
        ("a=inactive\nm=audio 5004 RTP/AVP 0\n", Direction::Inactive),
        ("a=inactive\nm=audio 5004 RTP/AVP 0\na=recvonly\n", Direction::RecvOnly),
        ("m=audio 5004 RTP/AVP 0\na=InActive \n", Direction::Inactive),
        ("m=audio 5004 RTP/AVP 0\nm=audio 5006 RTP/AVP 0\na=inactive\n", Direction::SendRecv),
    ] {
        assert_eq!(sdp(lines).media(0).unwrap().direction(), expected, "{lines}");
    }
    for direction in Direction::ALL {
        assert_eq!(direction.reversed().reversed(), direction);
        assert_eq!(direction.sends(), direction.reversed().receives());
    }
}

#[test]
fn rtcp_goes_where_it_is_said_or_one_port_above() {
    let base = "c=IN IP4 192.0.2.1\n";
    for (lines, expected) in [
        ("m=audio 5004 RTP/AVP 0\n", Some((ip("192.0.2.1"), 5005))),
        ("m=audio 5004 RTP/AVP 0\na=rtcp:6000\n", Some((ip("192.0.2.1"), 6000))),
        ("m=audio 5004 RTP/AVP 0\na=rtcp:6000 IN IP6 2001:db8::9\n", Some((ip("2001:db8::9"), 6000))),
        ("m=audio 5004 RTP/AVP 0\na=rtcp:nonsense\n", Some((ip("192.0.2.1"), 5005))),
        ("m=audio 5004 RTP/AVP 0\na=rtcp:6000\na=rtcp-mux\n", Some((ip("192.0.2.1"), 5004))),
        ("a=rtcp-mux\nm=audio 5004 RTP/AVP 0\n", Some((ip("192.0.2.1"), 5004))),
        ("m=audio 65535 RTP/AVP 0\n", None),
        ("m=audio 0 RTP/AVP 0\n", None),
    ] {
        assert_eq!(sdp(&format!("{base}{lines}")).media(0).unwrap().rtcp(), expected, "{lines}");
    }
}

#[test]
fn formats_come_from_the_attributes_or_from_the_static_table() {
    let description = sdp(
        "m=audio 5004 RTP/AVP 0 96 9 101 97 200 x\na=rtpmap: 96 opus/48000/2\na=fmtp:96 useinbandfec=1; stereo=1\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=rtpmap:9 G722/8000\na=rtpmap:97 bad\na=ptime: 20\n",
    );
    let media = description.media(0).unwrap();
    assert_eq!(media.formats().count(), 7);
    assert_eq!(media.payload_types().collect::<Vec<_>>(), [0, 96, 9, 101, 97]);
    let format = media.stream_format().unwrap();
    assert_eq!((format.medium, format.ptime_ms), (Medium::Audio, Some(20)));
    let short: Vec<_> = format
        .payloads
        .iter()
        .map(|payload| {
            let PayloadFormat { payload_type, encoding, clock_rate, channels, fmtp } = payload;
            (*payload_type, encoding.as_str(), *clock_rate, *channels, fmtp.as_deref())
        })
        .collect();
    assert_eq!(
        short,
        [
            (0, "PCMU", 8000, None, None),
            (96, "opus", 48000, Some(2), Some("useinbandfec=1; stereo=1")),
            (9, "G722", 8000, None, None),
            (101, "telephone-event", 8000, None, Some("0-15")),
        ]
    );
    assert_eq!(sdp("m=image 5004 udptl t38\n").media(0).unwrap().stream_format(), None);
    assert_eq!(sdp("m=audio 5004 RTP/AVP 99\n").media(0).unwrap().stream_format(), None);
}

#[test]
fn a_payload_type_that_is_listed_or_described_twice_counts_once() {
    let description = sdp(
        "m=audio 5004 RTP/AVP 96 0 96 0\na=rtpmap:96 bad\na=rtpmap:96 opus/48000/2\na=rtpmap:96 G722/8000\n\
         a=fmtp:96 first=1\na=fmtp:96 second=1\n",
    );
    let media = description.media(0).unwrap();
    assert_eq!(media.payload_types().collect::<Vec<_>>(), [96, 0]);
    let formats = media.payload_formats();
    assert_eq!(formats.iter().map(|format| format.encoding.as_str()).collect::<Vec<_>>(), ["opus", "PCMU"]);
    assert_eq!(formats[0].fmtp.as_deref(), Some("first=1"));
    assert_eq!(media.payload_format(96).as_ref(), formats.first(), "asked one by one it is the same");
}

#[test]
fn ptime_is_whole_milliseconds_in_reason() {
    for (value, expected) in
        [("20", Some(20)), ("30.0", Some(30)), ("0", None), ("-5", None), ("x", None), ("1e30", None)]
    {
        let lines = format!("m=audio 5004 RTP/AVP 0\na=ptime:{value}\n");
        assert_eq!(sdp(&lines).media(0).unwrap().ptime_ms(), expected, "{value}");
    }
}

#[test]
fn labels_and_other_attributes_are_found() {
    let description = sdp(
        "a=tool:x\na=label:9\nm=audio 5004 RTP/SAVP 0\na=label:1\na=crypto:1 A inline:b\nm=video 0 RTP/AVP 31\n",
    );
    let (audio, video) = (description.media(0).unwrap(), description.media(1).unwrap());
    assert_eq!((audio.label(), video.label()), (Some("1"), None));
    assert_eq!(audio.attribute("crypto"), Some("1 A inline:b"));
    assert_eq!((audio.attribute("tool"), description.attribute("tool")), (Some("x"), Some("x")));
    assert_eq!((audio.proto(), video.medium(), video.is_off()), ("RTP/SAVP", Some(Medium::Video), true));
    assert_eq!((description.media_count(), description.media(2).is_none()), (2, true));
}

#[test]
fn an_odd_answer_is_understood() {
    let bytes =
        b"\r\nv=0 \r\nm=audio  30000  RTP/AVP   0 8\r\r\na= sendonly\nA=ptime:30\nm=video 0 RTP/AVP\n\
                  c=IN IP4 192.0.2.20\no=x 1 1 IN IP4 192.0.2.20\ns=Gr\xfc\xdfe\r\n\0\0";
    let description = SessionDescription::parse(bytes).unwrap();
    assert_eq!(description.media_count(), 2);
    let media = description.media(0).unwrap();
    assert_eq!(media.rtp(), Some((ip("192.0.2.20"), 30000)));
    assert_eq!(media.direction(), Direction::SendOnly);
    assert_eq!(media.payload_types().collect::<Vec<_>>(), [0, 8]);
    assert!(description.media(1).unwrap().is_off());
}

#[test]
fn what_is_no_description_is_refused_with_the_line() {
    for (bytes, part) in [
        (&b""[..], "version"),
        (b"hello", "line 1"),
        (b"v=1\r\n", "line 1"),
        (b"v=0\r\no=- 1 x IN IP4 h\r\n", "line 2"),
        (b"v=0\r\nm=audio 99999 RTP/AVP 0\r\n", "line 2"),
        (b"v=0\r\nm=audio 5004 RTP/AVP\r\n", "line 2"),
        (b"v=0\r\ns=a\0b\r\n", "line 2"),
        (b"v=0\r\nc=IN IP4\r\n", "line 2"),
    ] {
        let error = SessionDescription::parse(bytes).unwrap_err();
        assert!(error.to_string().contains(part), "{}: {error}", bytes.escape_ascii());
    }
    assert_eq!(SessionDescription::parse(&vec![b'a'; MAX_SDP_BYTES + 1]), Err(SdpError::TooLong));
    let many = format!("{HEAD}{}", "m=audio 0 RTP/AVP 0\n".repeat(MAX_MEDIA + 1));
    assert_eq!(SessionDescription::parse(many.as_bytes()), Err(SdpError::TooManyMedia));
}

fn pcmu() -> PayloadFormat {
    PayloadFormat {
        payload_type: 0,
        encoding: "PCMU".to_owned(),
        clock_rate: 8000,
        channels: None,
        fmtp: None,
    }
}

fn builder() -> SdpBuilder {
    let address = "2001:db8::10".parse().unwrap();
    SdpBuilder::new(Origin { session_id: 7, version: 3, address }, "phone-call", address)
}

#[test]
fn an_offer_and_its_answer_are_built() {
    let opus = PayloadFormat {
        payload_type: 96,
        encoding: "opus".to_owned(),
        clock_rate: 48000,
        channels: Some(2),
        fmtp: Some("stereo=1".to_owned()),
    };
    let audio = MediaBuilder::new(Medium::Audio, 20000, "RTP/AVP", &[opus, pcmu()])
        .ptime_ms(20)
        .rtcp_port(20005)
        .label("1")
        .direction(Direction::SendOnly);
    let video = MediaBuilder::new(
        Medium::Video,
        20010,
        "RTP/AVPF",
        &[PayloadFormat { payload_type: 97, encoding: "H264".to_owned(), clock_rate: 90000, ..pcmu() }],
    )
    .rtcp_mux()
    .connection("192.0.2.9".parse().unwrap());
    let offer = builder().attribute("tool", "x").media(audio).media(video).build().unwrap();
    assert_eq!(
        String::from_utf8(offer.to_bytes()).unwrap(),
        "v=0\r\no=- 7 3 IN IP6 2001:db8::10\r\ns=phone-call\r\nc=IN IP6 2001:db8::10\r\nt=0 0\r\na=tool:x\r\n\
         m=audio 20000 RTP/AVP 96 0\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=fmtp:96 stereo=1\r\n\
         a=ptime:20\r\na=rtcp:20005\r\na=label:1\r\na=sendonly\r\n\
         m=video 20010 RTP/AVPF 97\r\nc=IN IP4 192.0.2.9\r\na=rtpmap:97 H264/90000\r\na=rtcp-mux\r\n"
    );
    assert_eq!(SessionDescription::parse(&offer.to_bytes()).unwrap().to_bytes(), offer.to_bytes());
    assert_eq!((offer.session_id(), offer.version(), offer.session_name()), ("7", 3, "phone-call"));

    let answer = builder()
        .media(MediaBuilder::new(Medium::Audio, 30000, "RTP/AVP", &[pcmu()]).direction(Direction::RecvOnly))
        .media(MediaBuilder::refusal(&offer.media(1).unwrap()))
        .build()
        .unwrap();
    assert!(answer.to_bytes().ends_with(b"m=video 0 RTP/AVPF 97\r\n"));
    assert!(answer.media(1).unwrap().is_off());
}

#[test]
fn no_value_breaks_out_of_a_description() {
    let audio = || MediaBuilder::new(Medium::Audio, 1, "RTP/AVP", &[pcmu()]);
    let with = |format: PayloadFormat| MediaBuilder::new(Medium::Audio, 1, "RTP/AVP", &[format]);
    let evil = "x\r\na=crypto:1 A inline:b".to_owned();
    for (index, media) in [
        with(PayloadFormat { encoding: evil.clone(), ..pcmu() }),
        with(PayloadFormat { encoding: "PC MU".to_owned(), ..pcmu() }),
        with(PayloadFormat { clock_rate: 0, ..pcmu() }),
        with(PayloadFormat { payload_type: 128, ..pcmu() }),
        with(PayloadFormat { fmtp: Some(evil.clone()), ..pcmu() }),
        MediaBuilder::new(Medium::Audio, 1, "RTP/AVP 0", &[pcmu()]),
        MediaBuilder::new(Medium::Audio, 1, "RTP/AVP", &[]),
        audio().label(&evil),
        audio().attribute("a b", ""),
        audio().attribute("", "x"),
    ]
    .into_iter()
    .enumerate()
    {
        let result = builder().media(media).build();
        assert!(matches!(result, Err(SdpError::Value(_))), "{index}: {result:?}");
    }
    let address = "192.0.2.1".parse().unwrap();
    let origin = Origin { session_id: 1, version: 1, address };
    assert!(SdpBuilder::new(origin, &evil, address).build().is_err());
    assert!(SdpBuilder::new(origin, "", address).build().is_err());
    assert!(builder().attribute("x", &evil).build().is_err());
}
