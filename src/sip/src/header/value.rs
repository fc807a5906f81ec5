//! Header values: bytes that cannot end their line.

use std::borrow::Cow;
use std::fmt;

use crate::syntax;

/// The value of one header line: bytes without CR and LF, and without white space at either end.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HeaderValue(Box<[u8]>);

/// A value that would end its header line or be cut by a careless peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the header value is a control character ({byte:#04x})")]
pub struct InvalidHeaderValue {
    /// Where.
    pub at: usize,
    /// Which.
    pub byte: u8,
}

impl HeaderValue {
    /// Takes a value from a user, unchanged but for white space at the ends.
    ///
    /// # Errors
    /// Where it holds a control character other than the tab.
    pub fn new(value: &str) -> Result<Self, InvalidHeaderValue> {
        match value.bytes().enumerate().find(|&(_, byte)| byte.is_ascii_control() && byte != b'\t') {
            Some((at, byte)) => Err(InvalidHeaderValue { at, byte }),
            None => Ok(Self(syntax::trim(value.as_bytes()).into())),
        }
    }

    /// Joins folded lines; `value` comes from a parser that has cut it at a line end which no white space follows.
    pub(crate) fn from_wire(value: &[u8]) -> Self {
        let value = syntax::trim(value);
        if !value.contains(&b'\n') && !value.contains(&b'\r') {
            return Self(value.into());
        }
        let mut joined = Vec::with_capacity(value.len());
        for line in value.split(|&byte| byte == b'\n').map(syntax::trim).filter(|line| !line.is_empty()) {
            if !joined.is_empty() {
                joined.push(b' ');
            }
            joined.extend(line.iter().map(|&byte| if byte == b'\r' { b' ' } else { byte }));
        }
        Self(joined.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, where it is UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The text; bytes that are not UTF-8 are replaced.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

/// Line ends become spaces, so that no value ends its header. [`HeaderValue::new`] refuses them instead.
impl From<&str> for HeaderValue {
    fn from(value: &str) -> Self {
        Self::from(value.as_bytes().to_vec())
    }
}

/// Line ends become spaces, so that no value ends its header. [`HeaderValue::new`] refuses them instead.
impl From<String> for HeaderValue {
    fn from(value: String) -> Self {
        Self::from(value.into_bytes())
    }
}

/// Line ends become spaces, so that no value ends its header.
impl From<Vec<u8>> for HeaderValue {
    fn from(mut value: Vec<u8>) -> Self {
        for byte in &mut value {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Self(syntax::trim(&value).into())
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_string_lossy())
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_joined_by_one_space() {
        let value = HeaderValue::from_wire(b" I know you're there,\r\n\t pick up \r\n   the phone!  ");
        assert_eq!(value.to_str(), Some("I know you're there, pick up the phone!"));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let value = HeaderValue::from_wire(b"M\xfcller");
        assert_eq!(value.as_bytes(), b"M\xfcller");
        assert_eq!(value.to_str(), None);
        assert_eq!(value.to_string_lossy(), "M\u{fffd}ller");
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        assert_eq!(HeaderValue::new("a\r\nVia: b"), Err(InvalidHeaderValue { at: 1, byte: b'\r' }));
        assert!(HeaderValue::new("a\0").is_err());
        assert_eq!(HeaderValue::from("a\r\nVia: b").as_bytes(), b"a  Via: b");
        assert_eq!(HeaderValue::new("☎ ok").unwrap().to_str(), Some("☎ ok"));
    }
}
