//! Multipart bodies (RFC 2046 §5.1, RFC 5621).

use std::fmt;

use crate::header::{ContentType, HeaderError, HeaderName, Headers};
use crate::random::Random;
use crate::redact::redact;
use crate::syntax;

/// Most parts of a body.
pub const MAX_PARTS: usize = 64;

/// The parts of a `multipart` body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multipart {
    /// In order.
    pub parts: Vec<Part>,
}

/// One part.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Content-Type, Content-Disposition and the like; without Content-Type it is `text/plain`.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why a body is no multipart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    /// The Content-Type has no usable boundary (RFC 2046 §5.1.1: 1 to 70 characters).
    #[error("the Content-Type has no boundary of 1 to 70 characters")]
    Boundary,
    /// The boundary line is not in the body.
    #[error("the boundary is not in the body")]
    NoPart,
    /// The body ends before the closing boundary line.
    #[error("the closing boundary is missing")]
    Unterminated,
    /// More parts than [`MAX_PARTS`].
    #[error("there are more than {MAX_PARTS} parts")]
    TooManyParts,
    /// A header line of a part, counted from 1, is none.
    #[error("part {0} has a line that is no header")]
    Header(usize),
    /// The Content-Type of message or part.
    #[error("{0}")]
    ContentType(#[from] HeaderError),
}

impl Part {
    /// A part of this type.
    pub fn new(content_type: &ContentType, body: Vec<u8>) -> Self {
        let mut headers = Headers::new();
        headers.push(HeaderName::ContentType, content_type);
        Self { headers, body }
    }
}

impl Multipart {
    /// Takes a body apart by the boundary of its Content-Type. Preamble and epilogue are left out.
    ///
    /// # Errors
    /// See [`MultipartError`].
    pub fn parse(content_type: &ContentType, body: &[u8]) -> Result<Self, MultipartError> {
        let boundary = content_type
            .params
            .unquoted("boundary")
            .filter(|boundary| (1..=70).contains(&boundary.len()))
            .ok_or(MultipartError::Boundary)?;
        let delimiter = format!("--{boundary}");
        let mut parts = Vec::new();
        let mut rest = delimiter_line(body, delimiter.as_bytes()).ok_or(MultipartError::NoPart)?;
        while !rest.last {
            if parts.len() == MAX_PARTS {
                return Err(MultipartError::TooManyParts);
            }
            let next =
                delimiter_line(rest.after, delimiter.as_bytes()).ok_or(MultipartError::Unterminated)?;
            parts.push(parse_part(next.before, parts.len() + 1)?);
            rest = next;
        }
        Ok(Self { parts })
    }

    /// The Content-Type and the bytes of a `multipart/mixed` with a boundary that is in no part.
    pub fn to_bytes(&self, random: &mut Random) -> (ContentType, Vec<u8>) {
        let mut parts = Vec::new();
        for part in &self.parts {
            let mut bytes = Vec::new();
            part.headers.write(&mut bytes, None);
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&part.body);
            parts.push(bytes);
        }
        let boundary = loop {
            // 100 random bits: a second try is a matter of form.
            let boundary = random.token(20);
            let taken =
                |bytes: &Vec<u8>| bytes.windows(boundary.len()).any(|window| window == boundary.as_bytes());
            if !parts.iter().any(taken) {
                break boundary;
            }
        };
        let mut body = Vec::new();
        for part in parts {
            body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            body.extend_from_slice(&part);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (ContentType::mixed(&boundary), body)
    }
}

/// The body of this media type (`application/sdp`) in a message: the whole body, or the first such part of a
/// multipart, nested ones too. An SDP body without any Content-Type is recognised, as some recorders send it.
///
/// # Errors
/// Where the Content-Type or the multipart is malformed.
pub fn find(headers: &Headers, body: &[u8], wanted: &str) -> Result<Option<Vec<u8>>, MultipartError> {
    find_in(headers, body, wanted, 4)
}

fn find_in(
    headers: &Headers,
    body: &[u8],
    wanted: &str,
    depth: usize,
) -> Result<Option<Vec<u8>>, MultipartError> {
    if body.is_empty() {
        return Ok(None);
    }
    let Some(content_type) = headers.content_type()? else {
        let is_sdp = body.starts_with(b"v=0") && wanted.eq_ignore_ascii_case("application/sdp");
        return Ok(is_sdp.then(|| body.to_vec()));
    };
    if content_type.is(wanted) {
        return Ok(Some(body.to_vec()));
    }
    if content_type.is_multipart() && depth > 0 {
        for part in Multipart::parse(&content_type, body)?.parts {
            if let Some(found) = find_in(&part.headers, &part.body, wanted, depth - 1)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Without keys.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("headers", &self.headers).field("body", &redact(&self.body)).finish()
    }
}

/// What stands around a delimiter line.
struct Delimiter<'a> {
    before: &'a [u8],
    after: &'a [u8],
    last: bool,
}

/// Finds the next line that is the delimiter; the line end before it belongs to it (RFC 2046 §5.1.1).
fn delimiter_line<'a>(bytes: &'a [u8], delimiter: &[u8]) -> Option<Delimiter<'a>> {
    let mut start = 0;
    while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at_checked(length)?;
        if let Some(tail) = line.strip_prefix(delimiter) {
            let closing = tail.strip_prefix(b"--");
            if syntax::trim(closing.unwrap_or(tail)).is_empty() {
                let before = bytes.get(..start)?;
                let before = before.strip_suffix(b"\n").unwrap_or(before);
                let before = before.strip_suffix(b"\r").unwrap_or(before);
                return Some(Delimiter { before, after, last: closing.is_some() });
            }
        }
        start += length;
    }
    None
}

fn parse_part(bytes: &[u8], number: usize) -> Result<Part, MultipartError> {
    let (headers, body) = crate::message::headers_and_body(bytes).ok_or(MultipartError::Header(number))?;
    Ok(Part { headers, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(text: &str) -> ContentType {
        ContentType::new(text).unwrap()
    }

    #[test]
    fn preamble_epilogue_and_line_ends_around_boundaries_are_not_content() {
        let body = b"preamble\r\n--b 1 \r\nContent-Type: a/b\r\nX: y\r\n\r\none\r\n\r\n--b 1\r\n\r\n--b 12\r\n--b 1--\r\nend";
        let parts = Multipart::parse(&content_type("multipart/mixed;boundary=\"b 1\""), body).unwrap().parts;
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].body, b"one\r\n");
        assert!(parts[0].headers.content_type().unwrap().unwrap().is("a/b"));
        assert_eq!(parts[1].body, b"--b 12");
        assert!(parts[1].headers.is_empty());
    }

    #[test]
    fn the_first_header_of_a_part_may_be_folded() {
        let body = b"--b\r\nContent-Type:\r\n application/sdp\r\n\r\nv=0\r\n--b--";
        let parts = Multipart::parse(&content_type("multipart/mixed;boundary=b"), body).unwrap().parts;
        assert!(parts[0].headers.content_type().unwrap().unwrap().is("application/sdp"));
    }

    #[test]
    fn what_is_no_multipart_is_refused_with_the_reason() {
        let parse = |content: &str, body: &str| Multipart::parse(&content_type(content), body.as_bytes());
        let mixed = "multipart/mixed;boundary=b";
        assert_eq!(parse("multipart/mixed", "--b--"), Err(MultipartError::Boundary));
        assert_eq!(parse(mixed, "--c--"), Err(MultipartError::NoPart));
        assert_eq!(parse(mixed, "--b\r\n\r\nx"), Err(MultipartError::Unterminated));
        assert_eq!(parse(mixed, "--b\r\n\r\nx\r\n--b\r\nx\r\n--b--"), Err(MultipartError::Header(2)));
        assert_eq!(parse(mixed, &"--b\r\n".repeat(99)), Err(MultipartError::TooManyParts));
        assert_eq!(parse(mixed, "--b--"), Ok(Multipart::default()));
    }

    #[test]
    fn a_description_is_found_wherever_it_stands() {
        let inner = "--i\r\nContent-Type: Application/SDP\r\n\r\nv=0\r\n--i--";
        let outer = format!(
            "--o\r\nContent-Type: text/plain\r\n\r\nhi\r\n--o\r\n\
             Content-Type: multipart/alternative;boundary=i\r\n\r\n{inner}\r\n--o--"
        );
        for (content, body, expected) in [
            (Some("application/sdp"), "v=0", Some("v=0")),
            (Some("multipart/mixed;boundary=o"), outer.as_str(), Some("v=0")),
            (None, "v=0", Some("v=0")),
            (None, "x", None),
            (Some("text/plain"), "v=0", None),
            (Some("application/sdp"), "", None),
        ] {
            let mut headers = Headers::new();
            if let Some(content) = content {
                headers.push(HeaderName::ContentType, content);
            }
            let found = find(&headers, body.as_bytes(), "application/sdp").unwrap();
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{content:?}");
        }
    }
}
