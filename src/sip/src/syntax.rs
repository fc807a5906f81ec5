//! The basic rules of RFC 3261 §25.1: tokens, quoted strings, linear white space, and splitting that respects both
//! quotes and angle brackets.

use std::fmt;

/// What was expected where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct SyntaxError {
    /// Byte offset in the text that was parsed.
    pub at: usize,
    /// What the grammar asks for there.
    pub expected: &'static str,
}

impl SyntaxError {
    pub(crate) const fn new(at: usize, expected: &'static str) -> Self {
        Self { at, expected }
    }
}

/// A non-empty string of token characters (RFC 3261 §25.1): it cannot break out of the place it is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(Box<str>);

impl Token {
    /// Takes `text` as a token.
    ///
    /// # Errors
    /// Where `text` is empty or has a character that no token may have.
    pub fn new(text: &str) -> Result<Self, SyntaxError> {
        match text.bytes().position(|byte| !is_token_byte(byte)) {
            None if text.is_empty() => Err(SyntaxError::new(0, "a token")),
            None => Ok(Self(text.into())),
            Some(at) => Err(SyntaxError::new(at, "a token character")),
        }
    }

    /// A token that the program itself spells.
    pub(crate) fn known(text: &'static str) -> Self {
        debug_assert!(is_token(text.as_bytes()), "{text}");
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~')
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// `bytes` without white space at either end.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let Some(start) = bytes.iter().position(|&byte| !is_white(byte)) else { return &[] };
    let end = bytes.iter().rposition(|&byte| !is_white(byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// Splits at the first `separator`, which is in neither part.
pub(crate) fn cut(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == separator)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Where the scan of a header value stands.
#[derive(Clone, Copy, Default, PartialEq)]
enum Place {
    #[default]
    Outside,
    Quotes,
    Escape,
    Angles,
}

impl Place {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') | (Self::Escape, _) => Self::Quotes,
            (Self::Outside, b'<') => Self::Angles,
            (Self::Quotes, b'\\') => Self::Escape,
            (Self::Quotes, b'"') | (Self::Angles, b'>') => Self::Outside,
            _ => self,
        }
    }
}

/// The position of the first byte outside quotes and angle brackets for which `wanted` holds.
pub(crate) fn find_outside(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut place = Place::default();
    for (at, &byte) in bytes.iter().enumerate() {
        if place == Place::Outside && wanted(byte) {
            return Some(at);
        }
        place = place.after(byte);
    }
    None
}

/// Splits at every `separator` outside quotes and angle brackets; parts are trimmed, empty ones left out, each comes
/// with its offset.
pub(crate) fn split_outside(bytes: &[u8], separator: u8) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some((0, bytes));
    std::iter::from_fn(move || {
        let (offset, text) = rest?;
        let part = match find_outside(text, |byte| byte == separator) {
            Some(at) => {
                rest = text.get(at + 1..).map(|tail| (offset + at + 1, tail));
                text.get(..at).unwrap_or_default()
            }
            None => {
                rest = None;
                text
            }
        };
        let leading = part.iter().take_while(|&&byte| is_white(byte)).count();
        Some((offset + leading, trim(part)))
    })
    .filter(|(_, part)| !part.is_empty())
}

/// The position after the quoted string that `bytes` begins with, or `None` where it does not end.
pub(crate) fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut place = Place::default();
    for (at, &byte) in bytes.iter().enumerate() {
        place = place.after(byte);
        if place == Place::Outside {
            return Some(at + 1);
        }
    }
    None
}

/// The text of a token or quoted string, quotes and escapes taken away. Bytes that are not UTF-8 are replaced.
pub(crate) fn unquote(bytes: &[u8]) -> String {
    let Some(inner) = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let mut plain = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for &byte in inner {
        if byte == b'\\' && !escaped {
            escaped = true;
        } else {
            plain.push(byte);
            escaped = false;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `text` as a quoted string. CR and LF have no form there (RFC 3261 §25.1 `quoted-pair`) and become spaces; other
/// control characters are escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '\r' | '\n' => quoted.push(' '),
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_ascii_control() && control != '\t' => quoted.extend(['\\', control]),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// A decimal number, and nothing but digits around it.
pub(crate) fn decimal<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_count_only_outside_quotes_and_brackets() {
        let parts: Vec<_> = split_outside(b" \"a, \\\"b\" <sip:x,y@z> , , <sip:q>;p=\"1,2\"", b',').collect();
        assert_eq!(parts, [(1, &b"\"a, \\\"b\" <sip:x,y@z>"[..]), (26, &b"<sip:q>;p=\"1,2\""[..])]);
    }

    #[test]
    fn a_quoted_string_holds_any_text() {
        for text in ["", "a", "a\"b", "\\", "a\\\"", "ä ☎", "tab\there"] {
            let quoted = quote(text);
            assert_eq!(unquote(quoted.as_bytes()), text);
            assert_eq!(quoted_length(quoted.as_bytes()), Some(quoted.len()), "{quoted}");
        }
        assert_eq!(quote("a\r\nVia: x"), "\"a  Via: x\"");
    }

    #[test]
    fn a_token_has_no_separators() {
        assert!(Token::new("a-.!%*_+`'~9").is_ok());
        assert_eq!(Token::new(""), Err(SyntaxError::new(0, "a token")));
        assert_eq!(Token::new("ab:c"), Err(SyntaxError::new(2, "a token character")));
        assert!(Token::new("ü").is_err());
    }

    #[test]
    fn a_number_is_only_digits() {
        assert_eq!(decimal::<u32>(b"4294967295"), Some(u32::MAX));
        for bad in [&b""[..], b"-1", b"+1", b"4294967296", b"1 ", b"1e3"] {
            assert_eq!(decimal::<u32>(bad), None);
        }
    }
}
