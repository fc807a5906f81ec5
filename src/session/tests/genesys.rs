//! `protocol` 1.1: the INVITE of the dialect `genesys`, read again by our parser and by one that is not ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use rsip::prelude::{HeadersExt, UntypedHeader};
use siprec_model::{BranchCommand, RecordingId, RtcpMode};
use siprec_session::{ConfigError, Flow, Input, Party, RecordingConfig, TransportEvent};
use siprec_sip::{HeaderName, Message, Method, Request, Transport};
use support::*;

fn invite(config: RecordingConfig) -> Request {
    config.check().unwrap();
    Call::inviting_with(config).request(&Method::Invite)
}

fn with_parameters(parameters: &[(&str, &str)]) -> RecordingConfig {
    let mut config = config("sip:rec.example");
    config.extra_parameters =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config
}

fn with_headers(headers: &[(&str, &str)]) -> RecordingConfig {
    let mut config = config("sip:rec.example");
    config.extra_headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    config
}

#[test]
fn the_request_uri_names_recording_call_and_parties() {
    let invite = invite(config("sip:recorder"));
    assert_eq!(
        invite.uri.as_str(),
        "sip:record=00FA08K@recorder;calluuid=UUID1;dn=1001;otherDN=1002;recordDN=1001"
    );
    assert_eq!(
        value(&invite, &HeaderName::To),
        "<sip:record=00FA08K@recorder>;calluuid=UUID1;dn=1001;otherDN=1002;recordDN=1001"
    );
}

#[test]
fn the_recorders_own_parameters_stay_in_the_request_uri_and_its_user_part_does_not() {
    let mut config = config("sip:somebody:secret@[2001:db8::9]:5070;transport=tcp");
    config.record_dn = Some("1002".into());
    let invite = invite(config);
    assert_eq!(
        invite.uri.as_str(),
        "sip:record=00FA08K@[2001:db8::9]:5070;transport=tcp;calluuid=UUID1;dn=1001;otherDN=1002;recordDN=1002"
    );
    assert!(value(&invite, &HeaderName::To).starts_with("<sip:record=00FA08K@[2001:db8::9]:5070>;calluuid"));
}

#[test]
fn lower_case_is_a_setting_of_the_recorder() {
    let mut config = config("sip:rec.example");
    config.recorders.listed_mut()[0].profile.lower_case_parameters = true;
    let uri = invite(config).uri.to_string();
    assert!(uri.ends_with(";calluuid=UUID1;dn=1001;otherdn=1002;recorddn=1001"), "{uri}");
}

#[test]
fn further_parameters_keep_their_order_and_some_stand_in_the_request_uri_only() {
    let invite = invite(with_parameters(&[
        ("sipsappname", "app"),
        ("datetime", "2026-11-22T10:00:00Z"),
        ("gvp-tenant-id", "[Tenant].profile"),
        ("media-id", "m1"),
        ("ani", ""),
    ]));
    assert!(
        invite.uri.as_str().ends_with(
            ";sipsappname=app;datetime=2026-11-22T10:00:00Z;gvp-tenant-id=[Tenant].profile;media-id=m1;ani"
        ),
        "{}",
        invite.uri
    );
    let to = value(&invite, &HeaderName::To);
    assert!(to.ends_with(";sipsappname=app;datetime=\"2026-11-22T10:00:00Z\";ani"), "{to}");
}

#[test]
fn parties_that_are_not_known_are_left_out() {
    let mut config = config("sip:rec.example");
    config.parties = vec![Party::default()];
    assert_eq!(invite(config).uri.as_str(), "sip:record=00FA08K@rec.example;calluuid=UUID1");
}

#[test]
fn a_dn_that_is_set_before_the_invite_is_in_it() {
    let mut call = Call::new(config("sip:rec.example"));
    call.command(siprec_session::Command::SetDn { slot: 1, dn: "2002".into() });
    call.add(0);
    call.format(0, pcmu());
    let uri = call.request(&Method::Invite).uri.to_string();
    assert!(uri.contains(";otherDN=2002;"), "{uri}");
}

#[test]
fn a_dn_that_is_set_too_long_fails_with_the_reason() {
    let mut call = Call::new(config("sip:rec.example"));
    call.command(siprec_session::Command::SetDn { slot: 1, dn: "9".repeat(1025) });
    call.add(0);
    call.format(0, pcmu());
    let failure = "* failed: configuration: the DN of party 1 has 1025 bytes, more than 1024".to_owned();
    assert!(call.take().contains(&failure));
}

#[test]
fn headers_are_those_of_the_protocol_and_those_of_call_and_recorder() {
    let mut config =
        with_headers(&[("X-Genesys-GVP-Session-ID", "A;b=c"), ("User-to-User", "00aa;encoding=hex")]);
    config.recorders.listed_mut()[0].profile.extra_headers = vec![("X-Port".into(), "7".into())];
    config.user = "media server".into();
    config.user_agent = "Unit/1".into();
    let invite = invite(config);
    let table = [
        ("Supported", "timer"),
        ("Session-Expires", "1800"),
        ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, NOTIFY"),
        ("Contact", "<sip:media%20server@192.0.2.1:5060>"),
        ("Content-Type", "application/sdp"),
        ("User-Agent", "Unit/1"),
        ("X-Genesys-GVP-Session-ID", "A;b=c"),
        ("User-to-User", "00aa;encoding=hex"),
        ("X-Port", "7"),
    ];
    for (name, expected) in table {
        assert_eq!(value(&invite, &HeaderName::parse(name).unwrap()), expected, "{name}");
    }
    assert!(value(&invite, &HeaderName::From).starts_with("<sip:media%20server@192.0.2.1:5060>;tag="));
    assert!(!invite.headers.contains(&HeaderName::Require), "it is not SIPREC");
}

#[test]
fn the_offer_is_in_the_documented_form() {
    for without in [true, false] {
        let mut config = config("sip:rec.example");
        config.recorders.listed_mut()[0].profile.without_retransmission = without;
        offer_of(config, if without { &[] } else { &["a=rtcp-fb:* nack"] });
    }
}

/// The offer is in the documented form, with `more` before each direction.
fn offer_of(config: RecordingConfig, more: &[&str]) {
    let mut call = Call::new(config);
    let mut format = audio(&[(9, "G722", 8000), (101, "telephone-event", 8000)]);
    format.payloads[1].fmtp = Some("0-15".into());
    format.ptime_ms = Some(20);
    call.add(0);
    call.add(1);
    call.format(0, format.clone());
    call.format(1, format);
    let body = String::from_utf8(call.request(&Method::Invite).body).unwrap();
    let lines: Vec<&str> = body.split("\r\n").collect();
    let number = lines[1].strip_prefix("o=- ").and_then(|rest| rest.strip_suffix(" 1 IN IP4 192.0.2.1"));
    assert!(number.is_some_and(|number| number.parse::<u64>().is_ok()), "{}", lines[1]);
    let media = |port| {
        [
            format!("m=audio {port} RTP/AVP 9 101").as_str(),
            "a=rtpmap:9 G722/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
        ]
        .iter()
        .chain(more)
        .chain(&["a=sendonly"])
        .map(|line| (*line).to_owned())
        .collect::<Vec<_>>()
    };
    let end = 6 + more.len();
    assert_eq!(lines[0], "v=0");
    assert_eq!(lines[2..5], ["s=phone-call", "c=IN IP4 192.0.2.1", "t=0 0"]);
    assert_eq!(lines[5..5 + end], media(10_000));
    assert_eq!(lines[5 + end..5 + 2 * end], media(10_002));
    assert_eq!(lines[5 + 2 * end..], [""]);
}

#[test]
fn over_tcp_and_ipv6_the_addresses_say_so() {
    let mut call = Call::new(config("sip:[2001:db8::9]"));
    call.resolves = false;
    call.add(0);
    call.format(0, pcmu());
    let flow = Flow {
        transport: Transport::Tcp,
        remote: "[2001:db8::9]:5060".parse().unwrap(),
        local: "[2001:db8::1]:5070".parse().unwrap(),
        media: "2001:db8::2".parse().unwrap(),
    };
    call.input(Input::Transport(TransportEvent::Resolved { attempt: 1, flow, more: false }));
    let invite = call.request(&Method::Invite);
    assert!(value(&invite, &HeaderName::Via).starts_with("SIP/2.0/TCP [2001:db8::1]:5070;branch=z9hG4bK"));
    assert!(value(&invite, &HeaderName::From).starts_with("<sip:siprec@[2001:db8::1]:5070>;tag="));
    assert_eq!(value(&invite, &HeaderName::Contact), "<sip:siprec@[2001:db8::1]:5070;transport=tcp>");
    let body = String::from_utf8(invite.body.clone()).unwrap();
    assert_eq!(body.matches("IN IP6 2001:db8::2\r\n").count(), 2, "{body}");
    let answer =
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 2001:db8::9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    call.take();
    call.answer(&invite, 200, &[], answer);
    assert_eq!(call.take()[0], "open 0 to [2001:db8::9]:4000");
}

#[test]
fn by_tls_contact_leads_to_us_the_same_way_and_by_sips_where_we_ask_so() {
    for (recorder, from, contact) in [
        ("sips:rec.example", "<sips:siprec@192.0.2.1:5061>;tag=", "<sips:siprec@192.0.2.1:5061>"),
        ("sip:rec.example", "<sip:siprec@192.0.2.1:5061>;tag=", "<sip:siprec@192.0.2.1:5061;transport=tls>"),
    ] {
        let mut call = Call::new(config(recorder));
        call.resolves = false;
        call.add(0);
        call.format(0, pcmu());
        let local = "192.0.2.1:5061".parse().unwrap();
        let flow = Flow { transport: Transport::Tls, local, ..call.flow() };
        call.input(Input::Transport(TransportEvent::Resolved { attempt: 1, flow, more: false }));
        let invite = call.request(&Method::Invite);
        assert!(value(&invite, &HeaderName::Via).starts_with("SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK"));
        assert!(value(&invite, &HeaderName::From).starts_with(from));
        assert_eq!(value(&invite, &HeaderName::Contact), contact);
    }
}

#[test]
fn rtp_and_rtcp_share_a_port_where_that_is_set() {
    let mut config = config("sip:rec.example");
    config.rtcp_mode = RtcpMode::Mux;
    let mut call = Call::inviting_with(config);
    let invite = call.request(&Method::Invite);
    assert_eq!(String::from_utf8(invite.body.clone()).unwrap().matches("a=rtcp-mux\r\n").count(), 2);
    call.answer(&invite, 200, &[], &sdp_with(&[4000, 4002], "a=rtcp-mux\r\n"));
    let rtcp = call.branches.iter().find_map(|command| match command {
        BranchCommand::Open(open) => open.rtcp,
        _ => None,
    });
    assert_eq!(rtcp, Some("192.0.2.9:4000".parse().unwrap()));
}

/// What a hostile or careless controller might give.
const HOSTILE: [&str; 16] = [
    "1001;lr",
    "a@evil.example",
    "\"quoted\"",
    "back\\slash",
    "a\r\nBYE sip:x SIP/2.0\r\n",
    "a\nVia: SIP/2.0/UDP evil",
    "📞 ☎ ünï",
    "a?Route=%3Csip:evil%3E",
    "<sip:evil@evil>",
    "a=b&c",
    "a,b",
    "%00%0d%0a",
    "\0\u{7f}\t",
    " ",
    ";",
    "a:b/c[d]",
];

#[test]
fn no_value_breaks_out_of_its_place() {
    for hostile in HOSTILE {
        let mut config = with_parameters(&[("ani", hostile), ("end", "1")]);
        config.recording_id = Some(RecordingId::new(hostile));
        config.call_uuid = Some(siprec_model::CallUuid::new(hostile));
        config.parties = vec![Party { dn: hostile.into() }, Party { dn: "1002".into() }];
        config.user = hostile.into();
        let sent = invite(config);
        let bytes = sent.to_bytes();
        let Ok(Message::Request(read)) = Message::parse(&bytes) else { panic!("{hostile:?}") };
        assert_eq!(read.to_bytes(), bytes, "{hostile:?}");
        assert_eq!(read.uri.host(), Some("rec.example"), "{hostile:?}");
        assert_eq!(read.uri.headers(), None, "{hostile:?}");
        let names: Vec<&str> = read.uri.params().map(|(name, _)| name).collect();
        assert_eq!(names, ["calluuid", "dn", "otherDN", "recordDN", "ani", "end"], "{hostile:?}");
        for name in ["calluuid", "dn", "recordDN", "ani"] {
            assert_eq!(read.uri.param_unescaped(name).unwrap(), hostile);
        }
        let to = read.headers.to().unwrap();
        assert_eq!(to.uri.host(), Some("rec.example"), "{hostile:?}");
        assert_eq!(to.tag(), None, "{hostile:?}");
        assert_eq!(to.params.iter().count(), 6, "{hostile:?}");
        assert_eq!(read.headers.from().unwrap().uri.host(), Some("192.0.2.1"), "{hostile:?}");
        let count = |name: &HeaderName| read.headers.all(name).count();
        assert_eq!([count(&HeaderName::Via), count(&HeaderName::To), count(&HeaderName::From)], [1, 1, 1]);
    }
}

#[test]
fn a_foreign_parser_reads_the_same() {
    // rsip 0.4 does not know the `param-unreserved` of RFC 3261 §25.1 in a parameter.
    let known = |value: &&str| !value.contains(['[', ']', '/', ':', '&', '+', '$']);
    let values = HOSTILE.into_iter().filter(known).chain(["1001"]);
    for value in values {
        let mut config = with_parameters(&[("end", "1")]);
        config.parties = vec![Party { dn: value.into() }, Party { dn: "1002".into() }];
        let sent = invite(config);
        let read = rsip::Request::try_from(sent.to_bytes().as_slice())
            .unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(read.method, rsip::Method::Invite);
        assert_eq!(read.uri.host_with_port.to_string(), "rec.example", "{value:?}");
        assert_eq!(read.uri.auth.as_ref().map(|auth| auth.user.as_str()), Some("record=00FA08K"));
        assert_eq!(read.uri.params.len(), 5, "{value:?}: {}", read.uri);
        assert_eq!(read.call_id_header().unwrap().value(), self::value(&sent, &HeaderName::CallId));
        assert_eq!(read.cseq_header().unwrap().value(), "1 INVITE");
        assert_eq!(read.body, sent.body);
    }
}

#[test]
fn names_that_would_change_routing_or_the_dialog_are_refused() {
    for name in ["tag", "transport", "lr", "maddr", "ttl", "method", "user", "TAG", "Lr"] {
        let error = with_parameters(&[("ani", "1"), (name, "x")]).check().unwrap_err();
        assert!(
            matches!(&error, ConfigError::RefusedParameter { name: refused, .. } if refused == name),
            "{error}"
        );
        assert!(error.to_string().contains("it would change routing or the dialog"), "{error}");
    }
    for name in ["calluuid", "dn", "OTHERDN", "recordDN"] {
        let error = with_parameters(&[(name, "x")]).check().unwrap_err();
        assert!(error.to_string().contains("it has a property of its own"), "{error}");
    }
    for name in ["", "a b", "a;b", "a=b", "a\r\n", "ä", "a\"", "a%20"] {
        let error = with_parameters(&[(name, "x")]).check().unwrap_err();
        assert_eq!(error, ConfigError::BadParameterName(name.into()));
    }
    let error = with_parameters(&[("ani", "1"), ("ANI", "2")]).check().unwrap_err();
    assert_eq!(error, ConfigError::DuplicateParameter("ANI".into()));
}

#[test]
fn headers_of_the_protocol_itself_are_refused() {
    for name in
        ["Via", "v", "FROM", "t", "Call-ID", "i", "CSeq", "m", "Content-Length", "l", "Route", "Require", "x"]
    {
        let error = with_headers(&[(name, "x")]).check().unwrap_err();
        assert_eq!(error, ConfigError::RefusedHeader(name.into()));
    }
    for name in ["", "X Y", "X:", "X\r\nVia"] {
        assert_eq!(with_headers(&[(name, "x")]).check(), Err(ConfigError::BadHeaderName(name.into())));
    }
    for value in ["a\r\nVia: x", "a\nb", "\0"] {
        assert_eq!(with_headers(&[("X-A", value)]).check(), Err(ConfigError::BadHeaderValue("X-A".into())));
    }
    let mut of_recorder = config("sip:rec.example");
    of_recorder.recorders.listed_mut()[0].profile.extra_headers = vec![("To".into(), "x".into())];
    assert_eq!(of_recorder.check(), Err(ConfigError::RefusedHeader("To".into())));
}

#[test]
fn other_faults_of_a_configuration_are_named() {
    let faulty = |change: fn(&mut RecordingConfig)| {
        let mut config = config("sip:rec.example");
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert_eq!(faulty(|config| config.recorders = Vec::new().into()), "no recorder is given");
    assert_eq!(faulty(|config| config.user.clear()), "the user is empty");
    assert_eq!(
        faulty(|config| config.recording_id = Some(RecordingId::new(""))),
        "the recording id is empty"
    );
    assert_eq!(
        faulty(|config| config.parties[1].dn = "9".repeat(1025)),
        "the DN of party 1 has 1025 bytes, more than 1024"
    );
    assert_eq!(
        faulty(|config| config.limits.catch_up = 0.5),
        "catch-up is 0.5, but must be 0 or from 1.0 to 100.0"
    );
    assert!(faulty(|config| config.limits.catch_up = f32::NAN).starts_with("catch-up is NaN"));
    assert!(faulty(|config| config.user_agent = "a\r\nb".into()).contains("User-Agent"));
    assert_eq!(
        faulty(|config| config.recorders.listed_mut()[0].uri = uri("sip:rec.example;dn=5")),
        "the recorder \"sip:rec.example;dn=5\" cannot be used: the Request-URI cannot be built: \
         parameter `dn` is there already"
    );
    assert!(
        faulty(|config| config.recorders.listed_mut()[0].uri = uri("tel:+1"))
            .contains("begins with \"tel:\"")
    );
}

#[test]
fn what_makes_an_invite_too_long_together_is_refused_before_anything_is_sent() {
    let headers = |count: usize| (0..count).map(|number| (format!("X-{number}"), "x".repeat(1000))).collect();
    let parameters =
        |count: usize| (0..count).map(|number| (format!("p{number}"), "ä".repeat(500))).collect();
    let checked = |extra_headers, extra_parameters| {
        RecordingConfig { extra_headers, extra_parameters, ..config("sip:rec.example") }.check()
    };
    assert_eq!(checked(headers(40), Vec::new()), Ok(()));
    let error = checked(headers(50), Vec::new()).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { length, .. } if length > 50_000), "{error}");
    assert!(error.to_string().ends_with("bytes together, more than 49152"), "{error}");
    // A parameter stands in two places, and each byte of it may take three.
    assert_eq!(checked(Vec::new(), parameters(8)), Ok(()));
    assert!(matches!(checked(Vec::new(), parameters(20)), Err(ConfigError::TooLarge { .. })));
    // The recorder's own headers come on top.
    let mut both = config("sip:rec.example");
    both.extra_headers = headers(30);
    both.recorders.listed_mut()[0].profile.extra_headers = headers(30);
    assert!(matches!(both.check(), Err(ConfigError::TooLarge { .. })));
}
