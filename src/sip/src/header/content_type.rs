//! The Content-Type header.

use std::fmt;

use super::{HeaderValue, Params};
use crate::syntax::{self, SyntaxError, Token};

/// A media type with parameters (RFC 3261 §20.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    main: Token,
    sub: Token,
    /// `boundary`, `charset` and the rest.
    pub params: Params,
}

impl ContentType {
    /// The type `main/sub` without parameters.
    ///
    /// # Errors
    /// Where `text` is not two tokens with a slash between them.
    pub fn new(text: &str) -> Result<Self, SyntaxError> {
        Self::parse(text.as_bytes())
    }

    /// Parses the value.
    ///
    /// # Errors
    /// What was expected where.
    pub fn parse(value: &[u8]) -> Result<Self, SyntaxError> {
        let end = syntax::find_outside(value, |byte| byte == b';').unwrap_or(value.len());
        let (name, params) = value.split_at_checked(end).unwrap_or((value, &[]));
        let (main, sub) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| name.split_once('/'))
            .ok_or(SyntaxError::new(0, "`type/subtype`"))?;
        Ok(Self {
            sub: Token::new(sub.trim()).map_err(|_| SyntaxError::new(main.len() + 1, "a subtype"))?,
            main: Token::new(main.trim())?,
            params: Params::parse(params, end)?,
        })
    }

    /// `multipart/mixed` with a boundary that is a token.
    pub(crate) fn mixed(boundary: &str) -> Self {
        let mut params = Params::new();
        // The name is a token, so this cannot fail.
        let _ = params.set("boundary", boundary);
        Self { main: Token::known("multipart"), sub: Token::known("mixed"), params }
    }

    /// Whether this is the type `text` (`main/sub`), parameters and case aside.
    pub fn is(&self, text: &str) -> bool {
        text.split_once('/').is_some_and(|(main, sub)| {
            self.main.as_str().eq_ignore_ascii_case(main) && self.sub.as_str().eq_ignore_ascii_case(sub)
        })
    }

    /// Whether this is any `multipart` type.
    pub fn is_multipart(&self) -> bool {
        self.main.as_str().eq_ignore_ascii_case("multipart")
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.main, self.sub, self.params)
    }
}

impl From<&ContentType> for HeaderValue {
    fn from(content_type: &ContentType) -> Self {
        let mut out = format!("{}/{}", content_type.main, content_type.sub).into_bytes();
        content_type.params.write(&mut out);
        Self::from(out)
    }
}

impl From<ContentType> for HeaderValue {
    fn from(content_type: ContentType) -> Self {
        Self::from(&content_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_compare_without_case_and_parameters() {
        let content_type = ContentType::parse(b"Multipart / Mixed ; boundary=\"a b\"").unwrap();
        assert!(content_type.is("multipart/mixed"));
        assert!(content_type.is_multipart());
        assert_eq!(content_type.params.unquoted("boundary").as_deref(), Some("a b"));
        assert_eq!(content_type.to_string(), "Multipart/Mixed;boundary=\"a b\"");
        for bad in ["", "text", "/sdp", "application/", "a b/c", "application/sdp sdp"] {
            assert!(ContentType::new(bad).is_err(), "{bad}");
        }
    }
}
