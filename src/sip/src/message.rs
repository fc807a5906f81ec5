//! Requests and responses.

mod error;
mod method;
mod parse;
mod reason;

pub use error::{MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADER_LINES, ParseError, ParseErrorKind};
pub use method::Method;
pub(crate) use parse::{Head, head_length, headers_and_body, skip_line_ends};

pub use reason::reason_phrase;

use std::fmt;

use crate::header::{HeaderName, Headers};
use crate::redact::redact;
use crate::uri::Uri;

/// A SIP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A SIP request (RFC 3261 §7.1).
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The Request-URI.
    pub uri: Uri,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// A SIP response (RFC 3261 §7.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code, 100-699.
    pub status: u16,
    /// Reason phrase, for people.
    pub reason: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

impl Message {
    /// Parses a datagram, which holds one message. Bytes after the declared Content-Length are dropped
    /// (RFC 3261 §18.3).
    ///
    /// What is checked: the start line; the form of every header line; that Via, From, To, Call-ID and CSeq are
    /// there, once where that is the rule, and well formed; that the CSeq's method is the request's; that the body is
    /// as long as declared. All other headers are kept as they are.
    ///
    /// # Errors
    /// What is wrong and in which line; [`ParseError::rejection`] has the response where one can be built.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        parse::datagram(datagram)
    }

    /// The bytes for the wire. Content-Length is set to what the body has. Whatever the public fields hold, a
    /// reason phrase cannot end its line.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }

    /// The text for logs and ladders: as on the wire, without keys and credentials.
    pub fn redacted(&self) -> String {
        redact(&self.to_bytes())
    }

    /// The headers of either kind.
    pub const fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The headers of either kind, for change.
    pub const fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Self::Request(request) => &mut request.headers,
            Self::Response(response) => &mut response.headers,
        }
    }

    /// The body of either kind.
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }
}

impl Request {
    /// A request without headers and body.
    pub const fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Vec::new() }
    }

    /// The bytes for the wire. Content-Length is set to what the body has.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(&format!("{} {} SIP/2.0\r\n", self.method, self.uri), &self.headers, &self.body)
    }

    /// Lets go of all but the method and the URI.
    pub(crate) fn forget_content(&mut self) {
        self.headers = Headers::new();
        self.body = Vec::new();
    }
}

impl Response {
    /// A response with the usual reason phrase, without headers and body.
    pub fn new(status: u16) -> Self {
        Self { status, reason: reason_phrase(status).to_owned(), headers: Headers::new(), body: Vec::new() }
    }

    /// A response to `request` with its Via, From, To, Call-ID and CSeq, and Timestamp in a 100 (RFC 3261 §8.2.6).
    /// The tag of To is the caller's business, and so is Record-Route.
    pub fn to_request(request: &Request, status: u16) -> Self {
        let mut response = Self::new(status);
        response.headers = answer_headers(&request.headers);
        if status == 100 {
            response.headers.copy_from(&request.headers, &HeaderName::Timestamp);
        }
        response
    }

    /// Whether this is a 1xx.
    pub const fn is_provisional(&self) -> bool {
        self.status < 200
    }

    /// Whether this is a 2xx.
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..300)
    }

    /// The bytes for the wire. Content-Length is set to what the body has; control characters of the reason phrase
    /// become spaces.
    pub fn to_bytes(&self) -> Vec<u8> {
        let reason = self.reason.replace(|character: char| character.is_ascii_control(), " ");
        write(&format!("SIP/2.0 {} {}\r\n", self.status, reason.trim_matches(' ')), &self.headers, &self.body)
    }
}

/// Without keys and credentials.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redact(&self.to_bytes()), f)
    }
}

/// Without keys and credentials.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redact(&self.to_bytes()), f)
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

fn answer_headers(request: &Headers) -> Headers {
    let mut headers = Headers::new();
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        headers.copy_from(request, &name);
    }
    headers
}

fn write(start_line: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(start_line.len() + headers.len() * 64 + body.len());
    out.extend_from_slice(start_line.as_bytes());
    headers.write(&mut out, Some(body.len()));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_phrase_cannot_end_its_line() {
        let mut response = Response::new(486);
        response.reason = "\0Busy\r\nVia: x\t".to_owned();
        assert_eq!(response.to_bytes(), b"SIP/2.0 486 Busy  Via: x\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_reason_phrase_has_nothing_for_a_terminal() {
        let bytes = "SIP/2.0 486 Busy\u{1b}]0;x\u{7}\u{9b}31m\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
                     From: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        let Message::Response(response) = Message::parse(bytes.as_bytes()).unwrap() else { panic!() };
        assert_eq!(response.reason, "Busy ]0;x  31m");
    }

    #[test]
    fn debug_and_log_text_have_no_secret() {
        let mut request = Request::new(Method::Invite, Uri::parse("sip:a").unwrap());
        request.headers.push(HeaderName::Authorization, "Digest SECRET");
        request.body = b"a=crypto:1 X inline:SECRET".to_vec();
        for text in [
            format!("{request:?}"),
            format!("{:?}", request.headers),
            Message::from(request.clone()).redacted(),
            format!(
                "{:?}",
                Response { status: 200, reason: String::new(), headers: request.headers, body: vec![] }
            ),
        ] {
            assert!(text.contains("redacted") && !text.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn a_response_takes_the_five_headers_of_its_request() {
        let mut request = Request::new(Method::Options, Uri::parse("sip:a").unwrap());
        for (name, value) in [
            (HeaderName::Via, "SIP/2.0/UDP a;branch=1"),
            (HeaderName::Via, "SIP/2.0/UDP b;branch=2"),
            (HeaderName::MaxForwards, "70"),
            (HeaderName::From, "<sip:a@b>;tag=1"),
            (HeaderName::To, "<sip:c@d>"),
            (HeaderName::CallId, "x"),
            (HeaderName::CSeq, "1 OPTIONS"),
            (HeaderName::Timestamp, "54"),
        ] {
            request.headers.push(name, value);
        }
        let response = Response::to_request(&request, 100);
        let names: Vec<_> = response.headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["Via", "Via", "From", "To", "Call-ID", "CSeq", "Timestamp"]);
        assert!(!Response::to_request(&request, 200).headers.contains(&HeaderName::Timestamp));
    }
}
