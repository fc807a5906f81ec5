//! URIs from parts that come from elsewhere.

use std::fmt::Write;
use std::net::Ipv6Addr;

use super::{Uri, UriError, unescape};

/// Builds a SIP URI. Every part is escaped as RFC 3261 §25.1 asks for, so that no value can end its place.
#[derive(Clone, Debug)]
pub struct UriBuilder {
    scheme: String,
    /// Escaped, with its password.
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Escaped names and values.
    params: Vec<(String, Option<String>)>,
    headers: Option<String>,
}

impl UriBuilder {
    /// `sip:host`. An IPv6 address needs no brackets.
    pub fn sip(host: &str) -> Self {
        Self::with_scheme("sip", host)
    }

    /// `sips:host`. An IPv6 address needs no brackets.
    pub fn sips(host: &str) -> Self {
        Self::with_scheme("sips", host)
    }

    fn with_scheme(scheme: &str, host: &str) -> Self {
        let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
        Self { scheme: scheme.to_owned(), user: None, host, port: None, params: Vec::new(), headers: None }
    }

    pub(super) fn from_uri(uri: &Uri) -> Self {
        let user = uri.user().map(|user| match uri.password() {
            Some(password) => format!("{user}:{password}"),
            None => user.to_owned(),
        });
        Self {
            scheme: uri.scheme().to_owned(),
            user,
            host: uri.host().unwrap_or_default().to_owned(),
            port: uri.port(),
            params: uri.params().map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect(),
            headers: uri.headers().map(str::to_owned),
        }
    }

    /// Sets the user part, or removes it where `user` is empty, and removes a password. `:`, `;` and `?` are escaped, though the grammar would let the
    /// last two stand: many readers cut there.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.user = (!user.is_empty()).then(|| escape(user, b"&=+$,/"));
        self
    }

    /// Sets the port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds a parameter behind the others.
    #[must_use]
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.params.push((escape_param(name), Some(escape_param(value))));
        self
    }

    /// Adds a parameter without a value.
    #[must_use]
    pub fn flag(mut self, name: &str) -> Self {
        self.params.push((escape_param(name), None));
        self
    }

    /// The URI.
    ///
    /// # Errors
    /// Where the host is none, a parameter has no name, or two have the same name without regard to case.
    pub fn build(self) -> Result<Uri, UriError> {
        for (index, (name, _)) in self.params.iter().enumerate() {
            if name.is_empty() {
                return Err(UriError::ParameterName);
            }
            let plain = unescape(name);
            if self.params.iter().take(index).any(|(other, _)| unescape(other).eq_ignore_ascii_case(&plain)) {
                return Err(UriError::RepeatedParameter(plain.into_owned()));
            }
        }
        let mut text = format!("{}:", self.scheme);
        if let Some(user) = &self.user {
            text.push_str(user);
            text.push('@');
        }
        // A host with a separator in it must not become something else.
        if !crate::header::is_host(&self.host) {
            return Err(UriError::Host(self.host));
        }
        text.push_str(&self.host);
        // Writing to a String cannot fail.
        if let Some(port) = self.port {
            let _ = write!(text, ":{port}");
        }
        for (name, value) in &self.params {
            let _ = match value {
                Some(value) => write!(text, ";{name}={value}"),
                None => write!(text, ";{name}"),
            };
        }
        if let Some(headers) = &self.headers {
            let _ = write!(text, "?{headers}");
        }
        Uri::parse(&text)
    }
}

/// `paramchar`: a `=` is not among them.
fn escape_param(text: &str) -> String {
    escape(text, b"[]/:&+$")
}

/// Escapes all but `unreserved` (RFC 3261 §25.1) and `also`.
fn escape(text: &str, also: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let mark = matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')');
        if byte.is_ascii_alphanumeric() || mark || also.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_uri_of_the_genesys_dialect_is_built_from_a_recorder() {
        let recorder = Uri::parse("sip:recorder.example:5070;transport=tcp").unwrap();
        let uri = recorder
            .to_builder()
            .user("record=00FA08K")
            .param("calluuid", "00FA08K")
            .param("dn", "1001")
            .param("gvp-tenant-id", "[Environment].IVR/x:1")
            .param("datetime", "2026-11-22T23:46:00Z")
            .build()
            .unwrap();
        assert_eq!(
            uri.as_str(),
            "sip:record=00FA08K@recorder.example:5070;transport=tcp;calluuid=00FA08K;dn=1001;\
             gvp-tenant-id=[Environment].IVR/x:1;datetime=2026-11-22T23:46:00Z"
        );
    }

    #[test]
    fn no_value_breaks_out() {
        for value in
            ["a;lr", "a@b", "a?Route=x", "a=b", "a\r\nVia: x", "a\"b<c>", "é ☎", "%40", "a b", "", ",", "\0"]
        {
            let uri = UriBuilder::sip("h").user(value).param("dn", value).flag("end").build().unwrap();
            assert_eq!(uri.host(), Some("h"), "{uri}");
            assert_eq!(unescape(uri.user().unwrap_or_default()), value);
            assert_eq!(uri.param_unescaped("DN").unwrap(), value);
            assert_eq!(uri.params().count(), 2, "{uri}");
            assert_eq!(uri.headers(), None);
            assert!(uri.as_str().is_ascii());
        }
        assert_eq!(UriBuilder::sip("h").user("a:b;c?d").build().unwrap().as_str(), "sip:a%3Ab%3Bc%3Fd@h");
    }

    #[test]
    fn a_wrong_host_or_name_is_refused() {
        for host in ["", "a b", "a;lr", "a@b", "a:5060", "[::1", "a?x", "é"] {
            assert_eq!(UriBuilder::sip(host).build(), Err(UriError::Host(host.to_owned())));
        }
        assert_eq!(UriBuilder::sip("h").param("", "x").build(), Err(UriError::ParameterName));
        let twice = UriBuilder::sip("h").param("dn", "1").param("DN", "2").build();
        assert_eq!(twice, Err(UriError::RepeatedParameter("DN".to_owned())));
        assert_eq!(UriBuilder::sips("::1").port(5061).build().unwrap().as_str(), "sips:[::1]:5061");
    }

    #[test]
    fn a_builder_from_a_uri_keeps_every_byte() {
        for text in [
            "sip:user;par=u%40example.net@example.com",
            "sips:alice:secret%41@[2001:db8::10]:5061;transport=tls;lr;x=%5b",
            "sip:a%40b@h?Route=%3Csip:p%3E&Subject=x",
            "SIP:h",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_builder().build().unwrap().as_str(), text);
        }
    }
}
