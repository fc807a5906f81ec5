//! The readers of SIP.

use siprec_sip::header::{InvalidHeaderValue, Params};
use siprec_sip::stream::Framer;
use siprec_sip::{
    CSeq, ContentType, HeaderName, HeaderValue, Headers, Message, Method, Multipart, NameAddr, Random,
    SessionExpires, Token, Uri, Via, multipart as parts,
};

/// One datagram.
pub fn sip_message(data: &[u8]) {
    match Message::parse(data) {
        Ok(message) => {
            ask(&message);
            let written = message.to_bytes();
            let again = Message::parse(&written)
                .unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
            assert_eq!(again.to_bytes(), written, "what was written is read as the same");
            assert_eq!(again.headers().len(), message.headers().len().max(again.headers().len()));
            assert_eq!(again.body(), message.body());
            let mut framer = Framer::new();
            framer.push(&written);
            let framed = framer.next().map(|message| message.map(|message| message.to_bytes()));
            assert_eq!(framed, Some(Ok(written)), "a stream carries the same");
            assert!(framer.next().is_none() && framer.pending() == 0);
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let Some(rejection) = error.rejection() {
                assert!((400..600).contains(&rejection.status));
                assert!(rejection.to_bytes().starts_with(b"SIP/2.0 "));
            }
        }
    }
}

/// Asks a message all that can be asked.
fn ask(message: &Message) {
    let headers = message.headers();
    let _ = (headers.via(), headers.vias(), headers.from(), headers.to(), headers.call_id(), headers.cseq());
    let _ = (headers.contact(), headers.contacts(), headers.record_routes(), headers.routes());
    let _ = (headers.content_type(), headers.content_length(), headers.session_expires(), headers.min_se());
    let _ = (headers.retry_after(), headers.max_forwards());
    let _ = (headers.require(), headers.supported(), headers.allow());
    let _ = headers.lists(&HeaderName::Supported, "timer");
    let _ = (format!("{message:?}"), message.redacted());
    if let Ok(Some(body)) = parts::find(headers, message.body(), "application/sdp") {
        crate::sdp(&body);
    }
    if let Message::Request(request) = message {
        let response = siprec_sip::response_to(request, 200, Some("tag")).to_bytes();
        let _ = Message::parse(&response);
    }
}

/// A stream: its first byte says how it is cut.
pub fn sip_stream(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    let read = |piece: usize| {
        let mut framer = Framer::new();
        let mut read = Vec::new();
        for piece in stream.chunks(piece) {
            framer.push(piece);
            for message in framer.by_ref() {
                read.push(message.map(|message| message.to_bytes()).map_err(|error| error.to_string()));
            }
        }
        assert!(read.len() <= stream.len(), "each message takes at least a byte");
        read
    };
    let whole = read(stream.len().max(1));
    assert_eq!(read(usize::from(*piece).max(1)), whole, "the messages depend on how the stream was cut");
}

/// One value, by every typed reader; what one has read it writes so that it reads the same again.
pub fn sip_header(data: &[u8]) {
    // Line ends never get here: the message reader has unfolded them.
    let data: Vec<u8> = data.iter().map(|byte| if b"\r\n".contains(byte) { b' ' } else { *byte }).collect();
    let data = data.as_slice();
    if let Ok(via) = Via::parse(data) {
        let _ = (via.host_ip(), via.received(), via.rport(), via.wants_rport(), via.branch());
        params(&via.params);
        let written = HeaderValue::from(&via);
        assert_eq!(Via::parse(written.as_bytes()).as_ref(), Ok(&via), "{written}");
    }
    if let Ok(address) = NameAddr::parse(data) {
        let _ = address.display();
        params(&address.params);
        let written = HeaderValue::from(&address);
        assert_eq!(NameAddr::parse(written.as_bytes()).as_ref(), Ok(&address), "{written}");
        let tagged = address.with_tag("a");
        assert_eq!(tagged.tag(), Some("a"));
        assert_eq!(tagged.without_tag().tag(), None);
    }
    if let Ok(cseq) = CSeq::parse(data) {
        let written = HeaderValue::from(&cseq);
        assert_eq!(CSeq::parse(written.as_bytes()), Ok(cseq));
    }
    if let Ok(content_type) = ContentType::parse(data) {
        let _ = content_type.is_multipart();
        params(&content_type.params);
        let written = HeaderValue::from(&content_type);
        assert_eq!(ContentType::parse(written.as_bytes()).as_ref(), Ok(&content_type), "{written}");
    }
    if let Ok(expires) = SessionExpires::parse(data) {
        let _ = format!("{expires:?}");
    }
    let text = String::from_utf8_lossy(data);
    let _: (Result<Method, _>, Result<Token, _>) = (Method::parse(&text), Token::new(&text));
    let value: Result<HeaderValue, InvalidHeaderValue> = HeaderValue::new(&text);
    let name = HeaderName::parse(&text);
    if let (Ok(value), Ok(name)) = (value, name.or_else(|_| HeaderName::parse("X-Any"))) {
        // A list is split and asked for in every way.
        for name in [name, HeaderName::Contact, HeaderName::Via, HeaderName::Require, HeaderName::RetryAfter]
        {
            let mut headers = Headers::new();
            headers.push(name.clone(), value.clone());
            assert!(headers.values(&name).all(|part| part.len() <= value.as_bytes().len()));
            let _ = (headers.vias(), headers.contacts(), headers.require(), headers.retry_after());
        }
    }
}

fn params(params: &Params) {
    let count = params.iter().count();
    assert_eq!(params.is_empty(), count == 0);
    for (name, _) in params.iter() {
        assert!(params.contains(name), "{name}");
        let _ = (params.get(name), params.unquoted(name));
    }
}

/// A URI, and the same text as a list of recorders.
pub fn sip_uri(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = siprec_session::parse_recorders(&text).map_err(|error| error.to_string());
    let _ = siprec_sip::uri::unescape(&text);
    let Ok(uri) = Uri::parse(&text) else { return };
    assert_eq!(uri.as_str(), text, "a URI is kept byte for byte");
    let _ = (uri.scheme(), uri.is_sips(), uri.host_ip(), uri.port(), uri.headers());
    for (name, _) in uri.params() {
        let _ = (uri.param(name), uri.param_unescaped(name));
    }
    assert!(text.contains(uri.address()));
    let address = NameAddr::new(uri.clone());
    assert_eq!(NameAddr::parse(HeaderValue::from(&address).as_bytes()).map(|read| read.uri), Ok(uri.clone()));
    if uri.is_sip() {
        let user = uri.user().map(|user| match uri.password() {
            Some(password) => format!("{user}:{password}@"),
            None => format!("{user}@"),
        });
        let start = format!("{}:{}{}", uri.scheme(), user.unwrap_or_default(), uri.host().unwrap());
        assert!(text.starts_with(&start), "{text} does not start with {start}");
        if let Ok(built) = uri.to_builder().param("calluuid", "a;b@c?d").build() {
            assert_eq!(
                (built.host(), built.user(), built.headers()),
                (uri.host(), uri.user(), uri.headers())
            );
            assert_eq!(built.params().count(), uri.params().count() + 1);
        }
    }
}

/// The first line is the Content-Type, the rest the body.
pub fn multipart(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let Ok(content_type) = ContentType::parse(line) else { return };
    let mut headers = Headers::new();
    headers.push(HeaderName::ContentType, &content_type);
    for wanted in ["application/sdp", "application/rs-metadata+xml"] {
        if let Ok(Some(found)) = parts::find(&headers, body, wanted) {
            assert!(found.len() <= body.len());
        }
    }
    let Ok(read) = Multipart::parse(&content_type, body) else { return };
    let (content_type, written) = read.to_bytes(&mut Random::from_seed([7; 32]));
    let again = Multipart::parse(&content_type, &written);
    assert_eq!(again.as_ref(), Ok(&read), "{}", written.escape_ascii());
}
