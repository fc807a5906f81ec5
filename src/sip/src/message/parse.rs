//! From bytes to a message.

use super::error::{MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADER_LINES, ParseError, ParseErrorKind};
use super::{Message, Method, Request, Response};
use crate::header::Headers;
use crate::syntax::{self, SyntaxError};
use crate::uri::{Uri, UriError};

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
    /// A first line with a fault; the method where it can be told.
    Bad {
        method: Option<Method>,
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
            Some((_, line)) => start_line(line),
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
            Self::Request { method, .. } | Self::Bad { method: Some(method) } => {
                error.rejecting(method, headers)
            }
            Self::Response { .. } | Self::Bad { method: None } => error,
        }
    }

    /// The headers without which nothing can be done with a message (RFC 3261 §8.1.1, §8.2.6).
    fn check(&self, headers: &Headers) -> Result<(), ParseErrorKind> {
        headers.via().map_err(ParseErrorKind::Header)?;
        headers.vias().map_err(ParseErrorKind::Header)?;
        headers.from().map_err(ParseErrorKind::Header)?;
        headers.to().map_err(ParseErrorKind::Header)?;
        headers.call_id().map_err(ParseErrorKind::Header)?;
        let cseq = headers.cseq().map_err(ParseErrorKind::Header)?.method;
        match self {
            Self::Request { method, .. } if *method != cseq => {
                Err(ParseErrorKind::MethodMismatch { method: method.clone(), cseq })
            }
            _ => Ok(()),
        }
    }
}

/// A request line or a status line. With a fault in it the headers are still read: they say how long the message is,
/// and what a response needs.
fn start_line(line: &[u8]) -> (Start, Option<ParseError>) {
    let line = syntax::trim(line);
    let (first, rest) = syntax::cut(line, b' ').unwrap_or((line, &[]));
    let is_response = first.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
    let method =
        std::str::from_utf8(first).ok().filter(|_| !is_response).and_then(|name| Method::parse(name).ok());
    let parsed = match &method {
        _ if is_response => status_line(first, rest),
        Some(method) => request_line(rest).map(|uri| Start::Request { method: method.clone(), uri }),
        None => Err(ParseErrorKind::StartLine(SyntaxError::new(0, "a method or `SIP/2.0`"))),
    };
    match parsed {
        Ok(start) => (start, None),
        Err(kind) => (Start::Bad { method }, Some(ParseError::new(Some(1), kind))),
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
    // It is shown to people, on terminals too, and a phrase has no control characters (RFC 3261 §25.1).
    let reason = String::from_utf8_lossy(syntax::trim(reason)).replace(char::is_control, " ");
    Ok(Start::Response { status, reason })
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
