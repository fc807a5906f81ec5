//! From bytes to a message.

use std::fmt;

use super::{Message, Method, Request, Response, answer_headers};
use crate::header::{HeaderError, HeaderName, Headers};
use crate::syntax::{self, SyntaxError};
use crate::uri::{Uri, UriError};

/// Most bytes of start line and headers.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Most header lines.
pub const MAX_HEADER_LINES: usize = 512;
/// Most bytes of a body.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Why bytes are no message, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line number from 1, where the fault is in one line.
    pub line: Option<usize>,
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// The response that RFC 3261 asks for, where the request is whole enough for one.
    rejection: Option<Box<Response>>,
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Nothing but line ends.
    #[error("there is no message")]
    Empty,
    /// Start line and headers are longer than [`MAX_HEADER_BYTES`].
    #[error("start line and headers are longer than {MAX_HEADER_BYTES} bytes")]
    HeadersTooLong,
    /// More lines than [`MAX_HEADER_LINES`].
    #[error("there are more than {MAX_HEADER_LINES} header lines")]
    TooManyHeaders,
    /// The body is longer than [`MAX_BODY_BYTES`].
    #[error("the body is longer than {MAX_BODY_BYTES} bytes")]
    BodyTooLong,
    /// No empty line ends the headers.
    #[error("no empty line ends the headers")]
    Unterminated,
    /// A CR that no LF follows.
    #[error("a carriage return stands alone")]
    BareCarriageReturn,
    /// The first line is neither a request line nor a status line.
    #[error("start line: {0}")]
    StartLine(SyntaxError),
    /// The Request-URI.
    #[error("Request-URI: {0}")]
    RequestUri(UriError),
    /// A SIP version that is not 2.0.
    #[error("the SIP version is not 2.0")]
    Version,
    /// A line that is no header.
    #[error("header line: {0}")]
    HeaderLine(SyntaxError),
    /// A header that every message must have, or that says how long the body is.
    #[error("{0}")]
    Header(HeaderError),
    /// The method of the CSeq is not the request's.
    #[error("the CSeq is for {cseq}, the request is {method}")]
    MethodMismatch {
        /// The method of the request line.
        method: Method,
        /// The method of the CSeq.
        cseq: Method,
    },
    /// The body is shorter than declared.
    #[error("the body has {present} bytes, Content-Length says {declared}")]
    BodyTooShort {
        /// What Content-Length says.
        declared: usize,
        /// What there is.
        present: usize,
    },
}

impl ParseError {
    pub(crate) fn new(line: Option<usize>, kind: ParseErrorKind) -> Self {
        Self { line, kind, rejection: None }
    }

    /// The response to send, where the message is a request other than ACK, and has what a response needs: 400, or
    /// 505 for another SIP version, or 513 for one that is too long. Its reason phrase says what is wrong
    /// (RFC 3261 §21.4.1).
    pub fn rejection(&self) -> Option<&Response> {
        self.rejection.as_deref()
    }

    /// Adds the response where `headers`, those of a request, have what it needs.
    fn rejecting(mut self, method: &Method, headers: &Headers) -> Self {
        let answerable = headers.via().is_ok()
            && [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
                .iter()
                .all(|name| headers.contains(name));
        if *method == Method::Ack || !answerable {
            return self;
        }
        let status = match self.kind {
            ParseErrorKind::Version => 505,
            ParseErrorKind::BodyTooLong | ParseErrorKind::HeadersTooLong | ParseErrorKind::TooManyHeaders => {
                513
            }
            _ => 400,
        };
        let mut response = Response::new(status);
        if status == 400 {
            response.reason = format!("Bad Request: {}", self.kind);
        }
        response.headers = answer_headers(headers);
        self.rejection = Some(Box::new(response));
        self
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.kind),
            None => write!(f, "{}", self.kind),
        }
    }
}

impl std::error::Error for ParseError {}

/// A message without its body, and how long that is.
#[derive(Debug)]
pub(crate) struct Head {
    start: Start,
    headers: Headers,
    /// What Content-Length says, where it says anything.
    pub(crate) length: Option<usize>,
    /// A fault that leaves the framing alone: reported once the body has gone by.
    fault: Option<ParseError>,
}

#[derive(Debug)]
enum Start {
    Request {
        method: Method,
        uri: Uri,
    },
    Response {
        status: u16,
        reason: String,
    },
    /// A request line with a fault.
    Bad {
        method: Method,
    },
}

pub(super) fn datagram(bytes: &[u8]) -> Result<Message, ParseError> {
    let bytes = skip_line_ends(bytes);
    let Some(end) = head_length(bytes, 0) else {
        return Err(unterminated(bytes));
    };
    let (head, body) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    let head = Head::parse(head)?;
    match head.length {
        Some(declared) if declared > body.len() => {
            Err(head.reject(ParseErrorKind::BodyTooShort { declared, present: body.len() }))
        }
        Some(declared) => head.finish(body.get(..declared).unwrap_or_default()),
        None => head.finish(body),
    }
}

/// Without leading line ends: keep-alives and the remains of sloppy senders (RFC 3261 §7.5).
pub(crate) fn skip_line_ends(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(start..).unwrap_or_default()
}

/// The length of start line, headers and the empty line after them, where that is there. The bytes before `from` are
/// known not to hold the end.
pub(crate) fn head_length(bytes: &[u8], from: usize) -> Option<usize> {
    let from = from.saturating_sub(3);
    let tail = bytes.get(from..)?;
    // A lone LF ends a line too: what careless senders and hand-made tests write.
    tail.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').find_map(|(at, _)| {
        match tail.get(at + 1..)? {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }
    })
}

/// The headers and the body of a part of a multipart. Both may be empty.
pub(crate) fn headers_and_body(bytes: &[u8]) -> Option<(Headers, &[u8])> {
    let empty_line = [&b"\r\n"[..], b"\n"].into_iter().find_map(|end| bytes.strip_prefix(end));
    if let Some(body) = empty_line {
        return Some((Headers::new(), body));
    }
    let end = head_length(bytes, 0).unwrap_or(bytes.len());
    let (head, body) = bytes.split_at_checked(end)?;
    let mut headers = Headers::new();
    for (_, line) in (Lines { rest: head, next: 2 }) {
        if headers.len() == MAX_HEADER_LINES {
            return None;
        }
        header_line(line, &mut headers).ok()?;
    }
    Some((headers, body))
}

fn unterminated(bytes: &[u8]) -> ParseError {
    let kind = match bytes.len() {
        0 => ParseErrorKind::Empty,
        length if length > MAX_HEADER_BYTES => ParseErrorKind::HeadersTooLong,
        _ => ParseErrorKind::Unterminated,
    };
    ParseError::new(None, kind)
}

impl Head {
    /// Parses start line and headers; `bytes` ends with the empty line.
    ///
    /// # Errors
    /// Only for faults after which the length of the body is not known; others wait for [`Head::finish`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.len() > MAX_HEADER_BYTES {
            return Err(ParseError::new(None, ParseErrorKind::HeadersTooLong));
        }
        let mut lines = Lines { rest: bytes, next: 1 };
        let (start, mut fault) = match lines.next() {
            Some((_, line)) => start_line(line).map_err(|kind| ParseError::new(Some(1), kind))?,
            None => return Err(ParseError::new(None, ParseErrorKind::Empty)),
        };
        let mut headers = Headers::new();
        for (number, line) in lines {
            if headers.len() == MAX_HEADER_LINES {
                return Err(
                    start.reject(ParseError::new(Some(number), ParseErrorKind::TooManyHeaders), &headers)
                );
            }
            if let Err(kind) = header_line(line, &mut headers) {
                fault.get_or_insert(ParseError::new(Some(number), kind));
            }
        }
        let length = match headers.content_length() {
            Ok(length) if length.unwrap_or(0) > MAX_BODY_BYTES => {
                return Err(start.reject(ParseError::new(None, ParseErrorKind::BodyTooLong), &headers));
            }
            Ok(length) => length,
            Err(error) => {
                let fault = fault.unwrap_or(ParseError::new(None, ParseErrorKind::Header(error)));
                return Err(start.reject(fault, &headers));
            }
        };
        let fault = fault.or_else(|| start.check(&headers).err().map(|kind| ParseError::new(None, kind)));
        Ok(Self { start, headers, length, fault })
    }

    /// The whole message.
    ///
    /// # Errors
    /// The first fault of the head.
    pub(crate) fn finish(self, body: &[u8]) -> Result<Message, ParseError> {
        if let Some(fault) = self.fault {
            return Err(self.start.reject(fault, &self.headers));
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(self.reject(ParseErrorKind::BodyTooLong));
        }
        let (headers, body) = (self.headers, body.to_vec());
        Ok(match self.start {
            Start::Request { method, uri } => Message::Request(Request { method, uri, headers, body }),
            Start::Response { status, reason } => {
                Message::Response(Response { status, reason, headers, body })
            }
            // A bad start line always leaves a fault.
            Start::Bad { .. } => return Err(ParseError::new(Some(1), ParseErrorKind::Empty)),
        })
    }

    /// The error of this kind, unless the head has one of its own.
    pub(crate) fn reject(self, kind: ParseErrorKind) -> ParseError {
        let fault = self.fault.unwrap_or(ParseError::new(None, kind));
        self.start.reject(fault, &self.headers)
    }
}

impl Start {
    fn reject(&self, error: ParseError, headers: &Headers) -> ParseError {
        match self {
            Self::Request { method, .. } | Self::Bad { method } => error.rejecting(method, headers),
            Self::Response { .. } => error,
        }
    }

    /// The headers without which nothing can be done with a message (RFC 3261 §8.1.1, §8.2.6).
    fn check(&self, headers: &Headers) -> Result<(), ParseErrorKind> {
        headers.vias().map_err(ParseErrorKind::Header)?;
        headers.via().map_err(ParseErrorKind::Header)?;
        headers.from().map_err(ParseErrorKind::Header)?;
        headers.to().map_err(ParseErrorKind::Header)?;
        headers.call_id().map_err(ParseErrorKind::Header)?;
        let cseq = headers.cseq().map_err(ParseErrorKind::Header)?.method;
        match self {
            Self::Request { method, .. } | Self::Bad { method } if *method != cseq => {
                Err(ParseErrorKind::MethodMismatch { method: method.clone(), cseq })
            }
            _ => Ok(()),
        }
    }
}

/// A request line or a status line. A fault after the method lets the headers be read, for the response.
fn start_line(line: &[u8]) -> Result<(Start, Option<ParseError>), ParseErrorKind> {
    let line = syntax::trim(line);
    let (first, rest) =
        syntax::cut(line, b' ').ok_or(ParseErrorKind::StartLine(SyntaxError::new(0, "three words")))?;
    if first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(first, rest).map(|start| (start, None));
    }
    let method = std::str::from_utf8(first)
        .ok()
        .and_then(|name| Method::parse(name).ok())
        .ok_or(ParseErrorKind::StartLine(SyntaxError::new(0, "a method or `SIP/2.0`")))?;
    match request_line(rest) {
        Ok(uri) => Ok((Start::Request { method, uri }, None)),
        Err(kind) => Ok((Start::Bad { method }, Some(ParseError::new(Some(1), kind)))),
    }
}

/// `Request-URI SP SIP-Version`. More spaces than one between the words are wrong, and harmless (RFC 4475 §3.1.2.9).
fn request_line(rest: &[u8]) -> Result<Uri, ParseErrorKind> {
    let space = rest.iter().rposition(|&byte| byte == b' ').ok_or(missing_version())?;
    let (uri, version) = rest.split_at_checked(space).ok_or(missing_version())?;
    let version = syntax::trim(version);
    if !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return Err(missing_version());
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(ParseErrorKind::Version);
    }
    let text =
        std::str::from_utf8(syntax::trim(uri)).map_err(|_| ParseErrorKind::RequestUri(UriError::NotText))?;
    Uri::parse(text).map_err(ParseErrorKind::RequestUri)
}

fn missing_version() -> ParseErrorKind {
    ParseErrorKind::StartLine(SyntaxError::new(0, "`SIP/2.0` at the end"))
}

/// `SIP-Version SP Status-Code SP Reason-Phrase`; the phrase may be empty, and its space missing.
fn status_line(version: &[u8], rest: &[u8]) -> Result<Start, ParseErrorKind> {
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(ParseErrorKind::Version);
    }
    let rest = syntax::trim(rest);
    let (code, reason) = syntax::cut(rest, b' ').unwrap_or((rest, &[]));
    let status = syntax::decimal::<u16>(code)
        .filter(|status| code.len() == 3 && (100..700).contains(status))
        .ok_or(ParseErrorKind::StartLine(SyntaxError::new(8, "a status code from 100 to 699")))?;
    Ok(Start::Response { status, reason: String::from_utf8_lossy(syntax::trim(reason)).into_owned() })
}

fn header_line(line: &[u8], headers: &mut Headers) -> Result<(), ParseErrorKind> {
    let bare = |&(at, byte): &(usize, &u8)| *byte == b'\r' && line.get(at + 1) != Some(&b'\n');
    if line.iter().enumerate().any(|place| bare(&place)) {
        return Err(ParseErrorKind::BareCarriageReturn);
    }
    let (name, value) =
        syntax::cut(line, b':').ok_or(ParseErrorKind::HeaderLine(SyntaxError::new(line.len(), "`:`")))?;
    // White space may stand before the colon (RFC 3261 §7.3.1), never before the name.
    let name = std::str::from_utf8(name).unwrap_or_default().trim_end_matches([' ', '\t']);
    headers
        .push_written(name, value)
        .map_err(|_| ParseErrorKind::HeaderLine(SyntaxError::new(0, "a header name")))
}

/// Lines up to the empty one, each with its number and with the folded lines that belong to it; line ends cut off.
struct Lines<'a> {
    rest: &'a [u8],
    /// The number of the next line; the first is the start line.
    next: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        let mut end = 0;
        loop {
            let line = self.rest.get(end..)?;
            end += line.iter().position(|&byte| byte == b'\n').map_or(line.len(), |at| at + 1);
            self.next += 1;
            // A start line is never folded (RFC 3261 §7.1).
            let folded = number > 1 && matches!(self.rest.get(end), Some(b' ' | b'\t'));
            if !folded {
                break;
            }
        }
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then_some((number, line))
    }
}
