//! The cases of RFC 4475 (SIP torture tests) and RFC 5118 (IPv6), each written anew after the RFC's facts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use siprec_sip::{HeaderName, Message, Method, ParseErrorKind, Request, Response};

/// A message from its start line and header lines; LF becomes CRLF.
fn wire(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn request(text: &str) -> Request {
    match Message::parse(&wire(text)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn response(text: &str) -> Response {
    match Message::parse(&wire(text)) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

/// Start line, five plain headers, more headers.
fn plain(start: &str, more: &str) -> String {
    let method = start.split(' ').next().unwrap();
    let method = if method.starts_with("SIP/") { "INVITE" } else { method };
    format!(
        "{start}\nVia: SIP/2.0/UDP host.example;branch=z9hG4bKx\nFrom: <sip:caller@example.com>;tag=1\n\
         To: <sip:user@example.com>\nCall-ID: id@host\nCSeq: 1 {method}\n{more}\n"
    )
}

/// The fault of a message, and the status of the response to it.
fn fault(text: &str) -> (ParseErrorKind, Option<u16>) {
    match Message::parse(&wire(text)) {
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let status = error.rejection().map(|rejection| rejection.status);
            (error.kind, status)
        }
        Ok(message) => panic!("{message:?} was taken"),
    }
}

#[test]
fn a_short_tortuous_invite_is_read() {
    // §3.1.1.1: white space and folding wherever they are legal, an empty header, several contacts and vias.
    let request = request(
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\n\
         TO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\n\
         from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\n\
         MaX-fOrWaRdS: 0068\n\
         Call-ID: wsinv.ndaksdj@192.0.2.1\n\
         Content-Length   : 4\n\
         cseq: 0009\n  INVITE\n\
         Via  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\n\
         s :\n\
         NewFangledHeader:   newfangled value\n continued newfangled value\n\
         UnknownHeaderWithUnusualValue: ;;,,;;,;\n\
         Content-Type: application/sdp\n\
         Route:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\n\
         v:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n SIP  /    2.0   / UDP  \
         192.168.255.111   ; branch=\n z9hG4bK30239\n\
         m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  \
         secondparam ; q = 0.33\n\
         \n1234",
    );
    let headers = &request.headers;
    assert_eq!(request.uri.as_str(), "sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert_eq!(headers.to().unwrap().tag(), Some("1918181833n"));
    let from = headers.from().unwrap();
    assert_eq!((from.display().as_deref(), from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!(headers.max_forwards(), Ok(Some(68)));
    assert_eq!(headers.cseq().unwrap().number, 9);
    let branches: Vec<_> =
        headers.vias().unwrap().iter().map(|via| via.branch().unwrap().to_owned()).collect();
    assert_eq!(branches, ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]);
    assert_eq!(headers.get(&HeaderName::Subject).unwrap().as_bytes(), b"");
    let value = |name| headers.get(&HeaderName::parse(name).unwrap()).unwrap().to_str().unwrap().to_owned();
    assert_eq!(value("NewFangledHeader"), "newfangled value continued newfangled value");
    assert_eq!(value("unknownheaderwithunusualvalue"), ";;,,;;,;");
    assert!(headers.routes().unwrap()[0].uri.param("lr").is_some());
    let contact = headers.contact().unwrap().unwrap();
    assert_eq!(contact.display().as_deref(), Some("Quoted string \"\""));
    assert_eq!(contact.params.get("q"), Some("0.33"));
    assert_eq!(request.body, b"1234");
}

#[test]
fn a_wide_range_of_characters_is_kept() {
    // §3.1.1.2
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    let uri = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@h.example";
    let request = request(&format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n\
         To: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\n\
         From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"\u{440}\u{430}\";\
         tag=_token~1'+`*%!-.\n\
         Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}}{{\nCSeq: 139122385 {method}\n\
         extensionHeader-!.%*+_`'~:\u{feff}\u{5927}\u{505c}\u{96fb}\nContent-Length: 0\n\n"
    ));
    assert_eq!(request.method.as_str(), method);
    assert_eq!(request.uri.as_str(), uri);
    assert_eq!(request.uri.host(), Some("h.example"));
    assert_eq!(request.uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    let to = request.headers.to().unwrap();
    assert_eq!(to.display().as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(request.headers.from().unwrap().tag(), Some("_token~1'+`*%!-."));
    assert_eq!(request.headers.call_id().unwrap(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    let extension = request.headers.get(&HeaderName::parse("extensionheader-!.%*+_`'~").unwrap()).unwrap();
    assert_eq!(extension.to_str(), Some("\u{feff}\u{5927}\u{505c}\u{96fb}"));
}

#[test]
fn escapes_stay_escapes() {
    // §3.1.1.3 to §3.1.1.5 and §3.1.1.10
    for uri in [
        "sip:sips%3Auser%40example.com@example.net",
        "sip:null-%00-null@example.com",
        "sip:user;par=u%40example.net@example.com",
        "sip:%75se%72@example.com",
    ] {
        let request = request(&plain(&format!("INVITE {uri} SIP/2.0"), ""));
        assert_eq!(request.uri.as_str(), uri);
        let sent = Message::from(request).to_bytes();
        assert!(sent.starts_with(format!("INVITE {uri} SIP/2.0\r\n").as_bytes()));
    }
    let escaped = request(&plain("RE%47IST%45R sip:registrar.example.com SIP/2.0", ""));
    assert_ne!(escaped.method, Method::Register);
    assert_eq!(escaped.method.as_str(), "RE%47IST%45R");
}

#[test]
fn a_display_name_needs_no_space_before_its_bracket() {
    // §3.1.1.6
    let text = plain("OPTIONS sip:user@example.com SIP/2.0", "").replace("From: <", "From: caller<");
    let from = request(&text).headers.from().unwrap();
    assert_eq!((from.display().as_deref(), from.uri.as_str()), (Some("caller"), "sip:caller@example.com"));
}

#[test]
fn long_values_are_kept() {
    // §3.1.1.7
    let long = "longvalue".repeat(1000);
    let text = plain(
        "INVITE sip:user@example.com SIP/2.0",
        &format!("Unknown-{long}: {long}\nContact: <sip:{long}@example.com>;extra={long}\n"),
    );
    let request = request(&text);
    assert_eq!(request.headers.contact().unwrap().unwrap().params.get("extra"), Some(long.as_str()));
    let written = request.to_bytes();
    assert!(Message::parse(&written).unwrap().to_bytes() == written);
}

#[test]
fn what_follows_the_declared_body_is_dropped() {
    // §3.1.1.8
    let request = request(
        &(plain("REGISTER sip:example.com SIP/2.0", "Content-Length: 2\n")
            + "ab\nINVITE sip:joe@example.com SIP/2.0"),
    );
    assert_eq!((request.method, request.body), (Method::Register, b"ab".to_vec()));
}

#[test]
fn every_transport_of_a_via_is_read() {
    // §3.1.1.10
    let vias = "UDP t1;branch=1\nVia: SIP/2.0/SCTP t2;branch=2\nVia: SIP/2.0/TLS t3;branch=3\n\
                Via: SIP/2.0/UNKNOWN t4;branch=4\nVia: SIP/2.0/TCP t5;branch=5";
    let text =
        plain("OPTIONS sip:user@example.com SIP/2.0", "").replace("UDP host.example;branch=z9hG4bKx", vias);
    let transports: Vec<_> =
        request(&text).headers.vias().unwrap().iter().map(|via| via.transport().to_owned()).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn reason_phrases_may_be_strange_or_empty() {
    // §3.1.1.12 and §3.1.1.13
    let strange = "= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}";
    assert_eq!(response(&plain(&format!("SIP/2.0 200 {strange}"), "")).reason, strange);
    for start in ["SIP/2.0 100 ", "SIP/2.0 100"] {
        let response = response(&plain(start, ""));
        assert_eq!((response.status, response.reason.as_str()), (100, ""));
    }
}

#[test]
fn what_is_wrong_and_harmless_is_read() {
    // §3.1.2.8 more than one space; §3.1.2.10 white space at the end of the request line; §3.1.2.14 spaces inside
    // the brackets; §3.1.2.15 commas in a display name without quotes; §3.3.1 a branch that is only the cookie;
    // §3.3.8 (RFC 2543) no branch and no tag.
    let good = plain("INVITE sip:user@example.com SIP/2.0", "");
    for (from, to) in [
        ("INVITE sip:user@example.com SIP/2.0", "INVITE  sip:user@example.com  SIP/2.0"),
        ("SIP/2.0\n", "SIP/2.0  \n"),
        ("<sip:caller@example.com>", "\"Watson, Thomas\" < sip:caller@example.com >"),
        ("<sip:caller@example.com>", "Bell, Alexander <sip:caller@example.com>"),
        ("branch=z9hG4bKx", "branch=z9hG4bK"),
        (";branch=z9hG4bKx", ""),
        (";tag=1", ""),
    ] {
        let request = request(&good.replacen(from, to, 1));
        assert_eq!(request.uri.as_str(), "sip:user@example.com");
        assert_eq!(request.headers.from().unwrap().uri.as_str(), "sip:caller@example.com");
    }
    assert_eq!(request(&good.replace("\r\n", "\n")), request(&good), "a lone LF ends a line");
}

#[test]
fn unknown_schemes_are_kept_for_the_application_to_refuse() {
    // §3.3.2 to §3.3.4
    for uri in
        ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002", "isbn:2983792873"]
    {
        let request = request(&plain(&format!("OPTIONS {uri} SIP/2.0"), ""));
        assert_eq!(request.uri.as_str(), uri);
        assert!(!request.uri.is_sip());
    }
}

#[test]
fn faults_get_an_error_that_names_them_and_a_response() {
    let good = plain("INVITE sip:user@example.com SIP/2.0", "Content-Length: 0\n");
    request(&good);
    // what it is; what is replaced by what; the status of the response
    let table = [
        ("§3.1.2.1 separators without values", "host.example;branch=z9hG4bKx", "192.0.2.15;;,;,,", 400),
        ("§3.1.2.2 length beyond the end", "Length: 0", "Length: 9999", 400),
        ("§3.1.2.3 negative length", "Length: 0", "Length: -999", 400),
        ("§3.1.2.4 sequence number too large", "CSeq: 1 ", "CSeq: 36893488147419103232 ", 400),
        ("§3.1.2.6 open quotes", "To: <", "To: \"Mr. J. User <", 400),
        (
            "§3.1.2.7 brackets around the Request-URI",
            "sip:user@example.com SIP",
            "<sip:user@example.com> SIP",
            400,
        ),
        (
            "§3.1.2.8 white space in the Request-URI",
            "sip:user@example.com SIP",
            "sip:user@example.com; lr SIP",
            400,
        ),
        (
            "§3.1.2.13 `?` without brackets",
            "<sip:caller@example.com>",
            "sip:caller@example.com?Route=%3Csip:x%3E",
            400,
        ),
        ("§3.1.2.16 another version", "SIP/2.0\n", "SIP/7.0\n", 505),
        ("§3.1.2.17 methods do not match", "CSeq: 1 INVITE", "CSeq: 1 OPTIONS", 400),
        ("§3.1.2.18 unknown methods do not match", "CSeq: 1 INVITE", "CSeq: 1 NEWMETHOD", 400),
        ("§3.3.7 a header too often", "To: <", "t: <sip:other@example.com>\nTo: <", 400),
        ("§3.3.9 lengths that differ", "Length: 0", "Length: 0\nl: 8", 400),
        ("no version", " SIP/2.0\n", "\n", 400),
        ("no host", "sip:user@example.com SIP", "sip:user@ SIP", 400),
        ("a line without a colon", "CSeq: 1", "nonsense\nCSeq: 1", 400),
        ("a bare carriage return", "Length: 0", "Length: 0\nX: a\rVia: b", 400),
        ("a first header line that is folded", "SIP/2.0\nVia", "SIP/2.0\n folded\nVia", 400),
        ("no Request-URI", "INVITE sip:user@example.com ", "INVITE ", 400),
    ];
    for (what, from, to, status) in table {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{what}");
        let (kind, answer) = fault(&bad);
        assert_eq!(answer, Some(status), "{what}: {kind}");
    }
}

#[test]
fn a_fault_names_its_line() {
    let text = plain("INVITE sip:user@example.com SIP/2.0", "no colon\n");
    let error = Message::parse(&wire(&text)).unwrap_err();
    assert_eq!(error.line, Some(7));
    assert_eq!(error.to_string(), "line 7: header line: expected `:` at byte 8");
    let rejection = error.rejection().unwrap();
    assert_eq!(rejection.reason, "Bad Request: header line: expected `:` at byte 8");
    assert!(rejection.headers.to().unwrap().tag().is_some());
    assert_eq!(
        Message::parse(&wire(&text)).unwrap_err().rejection(),
        Some(rejection),
        "the same for each copy"
    );
}

#[test]
fn insufficient_messages_get_no_response() {
    // §3.3.1: nothing that a response could be sent by
    for line in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let text = plain("INVITE sip:user@example.com SIP/2.0", "");
        let without: String = text.split_inclusive('\n').filter(|own| !own.starts_with(line)).collect();
        let (kind, answer) = fault(&without);
        assert!(kind.to_string().contains(line), "{kind}");
        assert_eq!(answer, None);
    }
    let (_, answer) = fault(&plain("ACK sip:user@example.com SIP/2.0", "Content-Length: 9\n"));
    assert_eq!(answer, None, "an ACK is never answered");
    let (_, answer) = fault(&plain("SIP/2.0 200 OK", "Content-Length: 9\n"));
    assert_eq!(answer, None, "nor is a response");
}

#[test]
fn status_codes_are_three_digits() {
    // §3.1.2.19
    for code in ["4294967301", "20", "099", "700", "-20", "2x0", "0200", ""] {
        let (kind, _) = fault(&plain(&format!("SIP/2.0 {code} better not break the receiver"), ""));
        assert!(matches!(kind, ParseErrorKind::StartLine(_)), "{code}: {kind}");
    }
}

#[test]
fn sizes_are_limited() {
    let many = "X: y\n".repeat(600);
    let (kind, answer) = fault(&plain("INVITE sip:a@b SIP/2.0", &many));
    assert_eq!((kind, answer), (ParseErrorKind::TooManyHeaders, Some(513)));
    let (kind, _) = fault(&plain("INVITE sip:a@b SIP/2.0", &format!("X: {}\n", "y".repeat(70_000))));
    assert_eq!(kind, ParseErrorKind::HeadersTooLong);
    let (kind, answer) = fault(&plain("INVITE sip:a@b SIP/2.0", "Content-Length: 99999999\n"));
    assert_eq!((kind, answer), (ParseErrorKind::BodyTooLong, Some(513)));
    assert_eq!(fault("").0, ParseErrorKind::Empty);
    assert_eq!(fault("INVITE sip:a@b SIP/2.0\n").0, ParseErrorKind::Unterminated);
}

#[test]
fn ipv6_references_are_read() {
    // RFC 5118 §4.1, §4.5, §4.6, §4.10
    let text = plain("REGISTER sip:[2001:db8::10]:5070;x SIP/2.0", "Contact: <sip:u@[2001:db8::1]>;q=1\n")
        .replace("UDP host.example", "UDP [2001:db8::9:1]:5061;received=[2001:db8::9:255]");
    let request = request(&text);
    assert_eq!(request.uri.host(), Some("[2001:db8::10]"));
    assert_eq!(request.uri.port(), Some(5070));
    let via = request.headers.via().unwrap();
    assert_eq!((via.host(), via.port), ("[2001:db8::9:1]", Some(5061)));
    assert_eq!(via.received(), "2001:db8::9:255".parse().ok());
    assert_eq!(request.headers.contact().unwrap().unwrap().uri.host_ip(), "2001:db8::1".parse().ok());
    // RFC 5118 §4.2: without brackets host and port cannot be told apart
    assert_eq!(fault(&plain("REGISTER sip:2001:db8::10 SIP/2.0", "")).1, Some(400));
}
