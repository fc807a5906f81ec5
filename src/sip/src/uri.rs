//! URIs that keep their text.

mod build;

pub use build::UriBuilder;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::syntax;

/// A URI, byte for byte as written: `sip:`, `sips:`, `tel:` (RFC 3966) or any other scheme.
///
/// Equality is that of the text. The accessors take the text apart and change nothing: escapes stay escapes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    text: Box<str>,
    /// Length of the scheme, without its colon.
    scheme: usize,
    /// For `sip` and `sips`.
    parts: Option<SipParts>,
    /// Where the parameters' first `;` stands, or where it would.
    params: usize,
    /// Where the headers' `?` stands, or the end.
    headers: usize,
}

/// Byte offsets in the text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SipParts {
    /// End of the user part with its password; `None` where there is no `@`.
    user_end: Option<usize>,
    host: (usize, usize),
    port: Option<u16>,
}

/// Why a text is no URI, or a part cannot stand in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not UTF-8.
    #[error("not a text")]
    NotText,
    /// No scheme with a colon at the start.
    #[error("no scheme, such as `sip:`, at the start")]
    Scheme,
    /// A character that may stand in no URI, and would end it for its reader.
    #[error("{character:?} at byte {at} cannot stand in a URI")]
    Character {
        /// Byte offset.
        at: usize,
        /// The character.
        character: char,
    },
    /// Nothing after the scheme.
    #[error("nothing after the scheme")]
    Empty,
    /// The user part before the `@` is empty.
    #[error("nothing before the `@`")]
    User,
    /// Neither a host name nor an address.
    #[error("`{0}` is neither a host name nor an address")]
    Host(String),
    /// Not a number from 0 to 65535.
    #[error("`{0}` is no port")]
    Port(String),
    /// A parameter without a name.
    #[error("a parameter has no name")]
    ParameterName,
    /// A parameter that is there already (RFC 3261 §19.1.1 allows each name once).
    #[error("parameter `{0}` is there already")]
    RepeatedParameter(String),
}

impl Uri {
    /// Takes `text` as a URI.
    ///
    /// Characters that the grammar wants escaped are let through where they cannot end the URI: it is kept as it is.
    ///
    /// # Errors
    /// See [`UriError`].
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let refused = |character: char| {
            character.is_control() || character.is_whitespace() || matches!(character, '<' | '>' | '"')
        };
        if let Some((at, character)) = text.char_indices().find(|&(_, character)| refused(character)) {
            return Err(UriError::Character { at, character });
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let scheme_is_valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !scheme_is_valid {
            return Err(UriError::Scheme);
        }
        if rest.is_empty() {
            return Err(UriError::Empty);
        }
        if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") {
            return Self::parse_sip(text, scheme.len());
        }
        let headers = text.find('?').unwrap_or(text.len());
        let params = text.find(';').unwrap_or(text.len()).min(headers);
        Ok(Self { text: text.into(), scheme: scheme.len(), parts: None, params, headers })
    }

    fn parse_sip(text: &str, scheme: usize) -> Result<Self, UriError> {
        let start = scheme + 1;
        let after = |at: usize| text.get(at..).unwrap_or_default();
        // `@` stands unescaped nowhere else, while `;` and `?` may stand in the user part (RFC 3261 §25.1).
        let user_end = after(start).find('@').map(|at| start + at);
        if user_end == Some(start) {
            return Err(UriError::User);
        }
        let host_start = user_end.map_or(start, |at| at + 1);
        let rest = after(host_start);
        let params = host_start + rest.find([';', '?']).unwrap_or(rest.len());
        let headers = params + after(params).find('?').unwrap_or(text.len() - params);
        let host_port = text.get(host_start..params).unwrap_or_default();
        let host_length = match host_port.starts_with('[') {
            true => host_port.find(']').map_or(host_port.len(), |at| at + 1),
            false => host_port.find(':').unwrap_or(host_port.len()),
        };
        let (host, port) = host_port.split_at_checked(host_length).unwrap_or((host_port, ""));
        if !crate::header::is_host(host) {
            return Err(UriError::Host(host.to_owned()));
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => {
                Some(syntax::decimal(digits.as_bytes()).ok_or_else(|| UriError::Port(digits.to_owned()))?)
            }
            None if port.is_empty() => None,
            None => return Err(UriError::Port(port.to_owned())),
        };
        let host = (host_start, host_start + host_length);
        Ok(Self {
            text: text.into(),
            scheme,
            parts: Some(SipParts { user_end, host, port }),
            params,
            headers,
        })
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme as written, without its colon.
    pub fn scheme(&self) -> &str {
        self.slice(0, self.scheme)
    }

    /// Whether the scheme is `sip` or `sips`.
    pub const fn is_sip(&self) -> bool {
        self.parts.is_some()
    }

    /// Whether the scheme is `sips`.
    pub fn is_sips(&self) -> bool {
        self.scheme().eq_ignore_ascii_case("sips")
    }

    /// What stands between the scheme and the parameters, as written: `user@host:port`, or the number of a `tel:`.
    pub fn address(&self) -> &str {
        self.slice(self.scheme + 1, self.params)
    }

    /// The user part of a SIP URI, as written, without password; what looks like parameters in it belongs to it.
    pub fn user(&self) -> Option<&str> {
        let user_info = self.slice(self.scheme + 1, self.parts?.user_end?);
        Some(user_info.split_once(':').map_or(user_info, |(user, _)| user))
    }

    /// The password of a SIP URI, as written.
    pub fn password(&self) -> Option<&str> {
        self.slice(self.scheme + 1, self.parts?.user_end?).split_once(':').map(|(_, password)| password)
    }

    /// The host of a SIP URI, as written; an IPv6 address with its brackets.
    pub fn host(&self) -> Option<&str> {
        let (start, end) = self.parts?.host;
        Some(self.slice(start, end))
    }

    /// The host of a SIP URI, where it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        let host = self.host()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port of a SIP URI, where written.
    pub fn port(&self) -> Option<u16> {
        self.parts?.port
    }

    /// Every parameter as written: its name, and its value where there is a `=`.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.slice(self.params, self.headers)
            .split(';')
            .filter(|param| !param.is_empty())
            .map(|param| param.split_once('=').map_or((param, None), |(name, value)| (name, Some(value))))
    }

    /// The value of a parameter as written, empty where it has none. Names compare without regard to case and
    /// escapes (RFC 3261 §19.1.4).
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .find(|(own, _)| unescape(own).eq_ignore_ascii_case(name))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// The value of a parameter with its escapes resolved; bytes that are not UTF-8 are replaced.
    pub fn param_unescaped(&self, name: &str) -> Option<Cow<'_, str>> {
        self.param(name).map(unescape)
    }

    /// What follows the `?`, as written.
    pub fn headers(&self) -> Option<&str> {
        self.text.get(self.headers + 1..)
    }

    /// A builder that begins with all that this SIP URI has, byte for byte. From another scheme it builds nothing but
    /// an error, for want of a host.
    pub fn to_builder(&self) -> UriBuilder {
        UriBuilder::from_uri(self)
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl std::str::FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

/// `text` with its `%xx` escapes resolved. What is no escape stays; bytes that are not UTF-8 are replaced.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let value = match tail {
            [high, low, ..] if *first == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match value {
            Some((high, low)) => {
                plain.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_the_text_is_kept() {
        // text, user, host, port, parameters, headers
        let table = [
            ("sip:h", None, "h", None, "", None),
            ("sip:a@b:5060", Some("a"), "b", Some(5060), "", None),
            ("sips:a:pw@b;lr", Some("a"), "b", None, "lr", None),
            ("sip:a%40b@h", Some("a%40b"), "h", None, "", None),
            ("sip:record=ID@host;calluuid=X;DN=1", Some("record=ID"), "host", None, "calluuid=X DN=1", None),
            ("sip:u;par=u%40e@h;q?x=y&z=;?", Some("u;par=u%40e"), "h", None, "q", Some("x=y&z=;?")),
            ("sip:a?b/c,d=e&f$+g@h", Some("a?b/c,d=e&f$+g"), "h", None, "", None),
            (
                "sip:[2001:db8::1]:5061;transport=tls",
                None,
                "[2001:db8::1]",
                Some(5061),
                "transport=tls",
                None,
            ),
            ("sip:a@[::1]?x", Some("a"), "[::1]", None, "", Some("x")),
            ("sip:h;gvp-tenant-id=[T].p/q:1;;x=", None, "h", None, "gvp-tenant-id=[T].p/q:1 x=", None),
            (
                "sip:+1-555;phone-context=x@gw;user=phone",
                Some("+1-555;phone-context=x"),
                "gw",
                None,
                "user=phone",
                None,
            ),
        ];
        for (text, user, host, port, params, headers) in table {
            let uri = Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(uri.as_str(), text);
            assert_eq!((uri.user(), uri.host(), uri.port()), (user, Some(host), port), "{text}");
            let own: Vec<_> = uri
                .params()
                .map(|(name, value)| value.map_or(name.to_owned(), |value| format!("{name}={value}")))
                .collect();
            assert_eq!(own.join(" "), params, "{text}");
            assert_eq!(uri.headers(), headers, "{text}");
        }
    }

    #[test]
    fn other_schemes_are_kept() {
        let tel = Uri::parse("tel:+1-201-555-0123;phone-context=example.com;x").unwrap();
        assert_eq!((tel.scheme(), tel.address()), ("tel", "+1-201-555-0123"));
        assert_eq!(tel.param("PHONE-CONTEXT"), Some("example.com"));
        assert_eq!((tel.user(), tel.host(), tel.port(), tel.is_sip()), (None, None, None, false));
        assert_eq!(Uri::parse("urn:service:sos").unwrap().address(), "service:sos");
    }

    #[test]
    fn names_of_parameters_compare_without_case_and_escapes() {
        let uri = Uri::parse("sip:h;Call%55UID=a%3Bb;lr").unwrap();
        assert_eq!(uri.param("calluuid"), Some("a%3Bb"));
        assert_eq!(uri.param_unescaped("callUUID").as_deref(), Some("a;b"));
        assert_eq!((uri.param("lr"), uri.param("dn")), (Some(""), None));
        assert_eq!(unescape("a%4"), "a%4");
        assert_eq!(unescape("%zz%ff"), "%zz\u{fffd}");
    }

    #[test]
    fn what_is_no_uri_is_refused_with_the_reason() {
        let character = |at, character| UriError::Character { at, character };
        for (text, error) in [
            ("", UriError::Scheme),
            ("recorder.example", UriError::Scheme),
            ("1sip:h", UriError::Scheme),
            (":h", UriError::Scheme),
            ("tel:", UriError::Empty),
            ("sip:@h", UriError::User),
            ("sip:a@", UriError::Host(String::new())),
            ("sip:a@b@c", UriError::Host("b@c".to_owned())),
            ("sip:h:", UriError::Port(String::new())),
            ("sip:h:65536", UriError::Port("65536".to_owned())),
            ("sip:h:5o60", UriError::Port("5o60".to_owned())),
            ("sip:[::1", UriError::Host("[::1".to_owned())),
            ("sip:[::1]x", UriError::Port("x".to_owned())),
            ("sip:2001:db8::10", UriError::Port("db8::10".to_owned())),
            ("sip:h\u{e9}", UriError::Host("h\u{e9}".to_owned())),
            ("sip:a b@h", character(5, ' ')),
            ("sip:h\r\nVia: x", character(5, '\r')),
            ("sip:h>", character(5, '>')),
            ("sip:\0", character(4, '\0')),
        ] {
            assert_eq!(Uri::parse(text), Err(error), "{text:?}");
        }
    }
}
