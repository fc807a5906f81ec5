//! Addresses with a display name and parameters: From, To, Contact, Route, Record-Route.

use std::fmt;

use super::{HeaderValue, Params};
use crate::syntax::{self, SyntaxError};
use crate::uri::Uri;

/// A `name-addr` or `addr-spec` with header parameters (RFC 3261 §20.10), kept as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// With its quotes where it has them.
    display: Option<Box<[u8]>>,
    /// The address.
    pub uri: Uri,
    /// The header's parameters (not the URI's).
    pub params: Params,
}

impl NameAddr {
    /// `<uri>` without display name and parameters.
    pub const fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::new() }
    }

    /// The same with a display name, quoted as needed.
    #[must_use]
    pub fn with_display(mut self, name: &str) -> Self {
        self.display = Some(syntax::quote(name).into_bytes().into());
        self
    }

    /// The same with this tag in place of any other.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> Self {
        // The name is a token, so this cannot fail.
        let _ = self.params.set("tag", tag);
        self
    }

    /// The same without a tag.
    #[must_use]
    pub fn without_tag(mut self) -> Self {
        self.params.remove("tag");
        self
    }

    /// Parses one address.
    ///
    /// # Errors
    /// What was expected where.
    pub fn parse(value: &[u8]) -> Result<Self, SyntaxError> {
        let open = find_open_bracket(value)?;
        let Some(open) = open else { return Self::parse_bare(value) };
        let display = syntax::trim(value.get(..open).unwrap_or_default());
        let rest = value.get(open + 1..).unwrap_or_default();
        let Some((uri, params)) = syntax::cut(rest, b'>') else {
            return Err(SyntaxError::new(value.len(), "`>`"));
        };
        let after = open + 1 + uri.len() + 1;
        if let Some(&first) = syntax::trim(params).first()
            && first != b';'
        {
            return Err(SyntaxError::new(after, "`;` or the end"));
        }
        Ok(Self {
            display: (!display.is_empty()).then(|| display.into()),
            uri: parse_uri(uri, open + 1)?,
            params: Params::parse(params, after)?,
        })
    }

    /// Without brackets every parameter belongs to the header, and the URI has no `?`, `,` or `;` (RFC 3261 §20.10).
    fn parse_bare(value: &[u8]) -> Result<Self, SyntaxError> {
        let end = syntax::find_outside(value, |byte| byte == b';').unwrap_or(value.len());
        let (uri, params) = value.split_at_checked(end).unwrap_or((value, &[]));
        if let Some(at) = uri.iter().position(|&byte| matches!(byte, b'?' | b',')) {
            return Err(SyntaxError::new(at, "`<` before a URI that has `?` or `,`"));
        }
        Ok(Self { display: None, uri: parse_uri(uri, 0)?, params: Params::parse(params, end)? })
    }

    /// The display name without quotes and escapes; bytes that are not UTF-8 are replaced.
    pub fn display(&self) -> Option<String> {
        self.display.as_deref().map(syntax::unquote)
    }

    /// The tag (RFC 3261 §19.3). An empty tag counts as none.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(display) = &self.display {
            out.extend_from_slice(display);
            out.push(b' ');
        }
        out.push(b'<');
        out.extend_from_slice(self.uri.as_str().as_bytes());
        out.push(b'>');
        self.params.write(out);
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl From<&NameAddr> for HeaderValue {
    fn from(address: &NameAddr) -> Self {
        let mut out = Vec::new();
        address.write(&mut out);
        Self::from(out)
    }
}

impl From<NameAddr> for HeaderValue {
    fn from(address: NameAddr) -> Self {
        Self::from(&address)
    }
}

impl From<Uri> for NameAddr {
    fn from(uri: Uri) -> Self {
        Self::new(uri)
    }
}

/// The `<` of a name-addr, after a display name that may be quoted.
fn find_open_bracket(value: &[u8]) -> Result<Option<usize>, SyntaxError> {
    let start = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let rest = value.get(start..).unwrap_or_default();
    let quoted = if rest.first() == Some(&b'"') {
        syntax::quoted_length(rest)
            .ok_or(SyntaxError::new(value.len(), "the closing quote of the display name"))?
    } else {
        0
    };
    let tail = rest.get(quoted..).unwrap_or_default();
    // A quoted display name is followed by a bracket; a bare URI may have one only in a quoted parameter.
    match syntax::find_outside(tail, |byte| matches!(byte, b'<' | b';')) {
        Some(at) if tail.get(at) == Some(&b'<') => Ok(Some(start + quoted + at)),
        _ if quoted > 0 => Err(SyntaxError::new(start + quoted, "`<`")),
        _ => Ok(None),
    }
}

fn parse_uri(bytes: &[u8], base: usize) -> Result<Uri, SyntaxError> {
    // White space inside the brackets is wrong, and harmless (RFC 4475 §3.1.2.14).
    std::str::from_utf8(syntax::trim(bytes))
        .ok()
        .and_then(|text| Uri::parse(text).ok())
        .ok_or(SyntaxError::new(base, "a URI"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_understood() {
        // value, display, uri, tag
        let table: [(&str, Option<&str>, &str, Option<&str>); 9] = [
            ("<sip:a@b>", None, "sip:a@b", None),
            ("sip:a@b;tag=1", None, "sip:a@b", Some("1")),
            ("sip:vivekg@chair.example ;   tag    = 19", None, "sip:vivekg@chair.example", Some("19")),
            ("caller<sip:caller@example.com>;tag=323", Some("caller"), "sip:caller@example.com", Some("323")),
            ("Bell, Alexander <sip:a@b>;tag=43", Some("Bell, Alexander"), "sip:a@b", Some("43")),
            (
                "\"J Rosenberg \\\\\\\"\" <sip:j@e>\t;\ttag = 98",
                Some("J Rosenberg \\\""),
                "sip:j@e",
                Some("98"),
            ),
            (
                "\"a <sip:no@no>\" <sip:record=1@h;dn=2>;dn=3",
                Some("a <sip:no@no>"),
                "sip:record=1@h;dn=2",
                None,
            ),
            ("< sip:t.watson@example.org >", None, "sip:t.watson@example.org", None),
            ("<tel:+1-201-555-0123;phone-context=x>;tag=", None, "tel:+1-201-555-0123;phone-context=x", None),
        ];
        for (value, display, uri, tag) in table {
            let address =
                NameAddr::parse(value.as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!(address.display().as_deref(), display, "{value}");
            assert_eq!(address.uri.as_str(), uri, "{value}");
            assert_eq!(address.tag(), tag, "{value}");
            assert_eq!(NameAddr::parse(HeaderValue::from(&address).as_bytes()), Ok(address));
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_in_the_display_name() {
        let address = NameAddr::parse(b"\"M\xfcller\" <sip:m@b>;x=\"\xe4\"").unwrap();
        assert_eq!(HeaderValue::from(&address).as_bytes(), b"\"M\xfcller\" <sip:m@b>;x=\"\xe4\"");
        assert_eq!(address.display().as_deref(), Some("M\u{fffd}ller"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            &b""[..],
            b"*",
            b"\"unbalanced <sip:a@b>",
            b"\"Mr. J. User <sip:j.user@example.com>",
            b"\"name\" sip:a@b",
            b"<sip:a@b",
            b"<sip:a@b> x",
            b"sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            b"<sip:a b@c>",
            b"<sip:\xff@c>",
        ] {
            assert!(NameAddr::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_display_name_and_tag_cannot_break_out() {
        let address = NameAddr::new(Uri::parse("sip:a@b").unwrap())
            .with_display("x\" <sip:evil@e>\r\nVia: y")
            .with_tag("t;lr");
        let text = address.to_string();
        let back = NameAddr::parse(text.as_bytes()).unwrap();
        assert_eq!(back.uri.as_str(), "sip:a@b");
        assert!(!text.contains('\n'));
        assert_eq!(back.params.iter().count(), 1);
        assert_eq!(address.without_tag().tag(), None);
    }
}
