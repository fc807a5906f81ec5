//! Why bytes are no message.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Method, Response, answer_headers};
use crate::header::{HeaderError, HeaderName, Headers};
use crate::syntax::SyntaxError;
use crate::uri::UriError;

/// Most bytes of start line and headers.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Most header lines.
pub const MAX_HEADER_LINES: usize = 512;
/// Most bytes of a body.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Most characters of a reason phrase that quotes the message.
const MAX_REASON: usize = 120;

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
    pub(super) fn rejecting(mut self, method: &Method, headers: &Headers) -> Self {
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
            response.reason = format!("Bad Request: {}", self.kind).chars().take(MAX_REASON).collect();
        }
        response.headers = answer_headers(headers);
        if let Ok(to) = headers.to()
            && to.tag().is_none()
        {
            response.headers.set(HeaderName::To, to.with_tag(&stateless_tag(headers)));
        }
        self.rejection = Some(Box::new(response));
        self
    }
}

/// The same tag for each retransmission of a request that nobody remembers (RFC 3261 §8.2.7).
fn stateless_tag(request: &Headers) -> String {
    let mut hasher = DefaultHasher::new();
    for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        request.get(&name).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
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
