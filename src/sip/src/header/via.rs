//! The Via header.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::{HeaderValue, Params};
use crate::syntax::{self, SyntaxError, Token};

/// One Via value (RFC 3261 §20.42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Protocol name and version, usually `SIP/2.0`.
    protocol: Box<str>,
    /// Transport as written: `UDP`, `TCP`, `TLS`, …
    transport: Token,
    /// Host of sent-by as written; an IPv6 address with its brackets.
    host: Box<str>,
    /// Port of sent-by, where written.
    pub port: Option<u16>,
    /// `branch`, `received`, `rport` and the rest.
    pub params: Params,
}

impl Via {
    /// `SIP/2.0/transport host:port;branch=branch`. An IPv6 address gets its brackets.
    ///
    /// # Errors
    /// Where transport or branch is no token, or `host` is neither a host name nor an address.
    pub fn new(transport: &str, host: &str, port: Option<u16>, branch: &str) -> Result<Self, SyntaxError> {
        let bare_ipv6 = host.parse::<Ipv6Addr>().is_ok();
        let host = if bare_ipv6 { format!("[{host}]") } else { host.to_owned() };
        if !is_host(&host) {
            return Err(SyntaxError::new(0, "a host"));
        }
        let mut params = Params::new();
        params.set("branch", Token::new(branch)?.as_str())?;
        Ok(Self {
            protocol: "SIP/2.0".into(),
            transport: Token::new(transport)?,
            host: host.into(),
            port,
            params,
        })
    }

    /// Parses one value.
    ///
    /// # Errors
    /// What was expected where.
    pub fn parse(value: &[u8]) -> Result<Self, SyntaxError> {
        let end = syntax::find_outside(value, |byte| byte == b';').unwrap_or(value.len());
        let (main, params) = value.split_at_checked(end).unwrap_or((value, &[]));
        let main = std::str::from_utf8(main).map_err(|_| SyntaxError::new(0, "ASCII"))?;
        // White space may stand around every slash: `SIP / 2.0 / UDP host` (RFC 4475 §3.1.1.1).
        let mut slashes = main.splitn(3, '/');
        let (Some(name), Some(version), Some(rest)) = (slashes.next(), slashes.next(), slashes.next()) else {
            return Err(SyntaxError::new(0, "`SIP/2.0/transport`"));
        };
        let rest_at = name.len() + version.len() + 2;
        let (name, version, rest) = (name.trim(), version.trim(), rest.trim());
        Token::new(name)?;
        Token::new(version)?;
        let (transport, sent_by) = rest
            .split_once([' ', '\t'])
            .ok_or(SyntaxError::new(rest_at, "a transport and the sender's host"))?;
        let (host, port) =
            split_sent_by(sent_by).ok_or(SyntaxError::new(rest_at, "the sender's host and port"))?;
        Ok(Self {
            protocol: format!("{name}/{version}").into(),
            transport: Token::new(transport).map_err(|_| SyntaxError::new(rest_at, "a transport"))?,
            host: host.into(),
            port,
            params: Params::parse(params, end)?,
        })
    }

    /// The transport as written: `UDP`, `TCP`, `TLS`, …
    pub fn transport(&self) -> &str {
        self.transport.as_str()
    }

    /// The host of sent-by as written; an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host of sent-by, where it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        bracketed_ip(&self.host)
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// The source address that a server added (RFC 3261 §18.2.1), with or without brackets (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        self.params.unquoted("received").as_deref().and_then(bracketed_ip)
    }

    /// The source port that a server added (RFC 3581 §4).
    pub fn rport(&self) -> Option<u16> {
        syntax::decimal(self.params.get("rport")?.as_bytes())
    }

    /// Whether the client asks for the response at the port it sent from (RFC 3581 §3).
    pub fn wants_rport(&self) -> bool {
        self.params.contains("rport")
    }

    fn to_bytes(&self) -> Vec<u8> {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let mut out = format!("{}/{} {}{port}", self.protocol, self.transport, self.host).into_bytes();
        self.params.write(&mut out);
        out
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl From<&Via> for HeaderValue {
    fn from(via: &Via) -> Self {
        Self::from(via.to_bytes())
    }
}

impl From<Via> for HeaderValue {
    fn from(via: Via) -> Self {
        Self::from(&via)
    }
}

fn bracketed_ip(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A host name, an IPv4 address, or an IPv6 address in brackets. Underscores are wrong, and seen.
pub(crate) fn is_host(text: &str) -> bool {
    if text.starts_with('[') {
        return bracketed_ip(text).is_some();
    }
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// `host [: port]`, white space allowed around the colon.
fn split_sent_by(text: &str) -> Option<(&str, Option<u16>)> {
    let text = text.trim();
    let host_end = match text.starts_with('[') {
        true => text.find(']')? + 1,
        false => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(host_end)?;
    let (host, rest) = (host.trim(), rest.trim());
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(syntax::decimal(port.trim().as_bytes())?),
        None if rest.is_empty() => None,
        None => return None,
    };
    is_host(host).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_via_is_understood() {
        // value, transport, host, port, branch
        let table = [
            (
                "SIP/2.0/UDP pc33.example.com;branch=z9hG4bK1",
                "UDP",
                "pc33.example.com",
                None,
                Some("z9hG4bK1"),
            ),
            ("SIP / 2.0 / TCP spindle ; branch = z9 ", "TCP", "spindle", None, Some("z9")),
            ("SIP/2.0/TLS [2001:db8::9:1]:5061;branch=b", "TLS", "[2001:db8::9:1]", Some(5061), Some("b")),
            ("SIP/2.0/UNKNOWN t4.example.com : 5070", "UNKNOWN", "t4.example.com", Some(5070), None),
            ("SIP/2.0/UDP 192.0.2.2:5060;branch=", "UDP", "192.0.2.2", Some(5060), None),
            ("SIP/2.0/UDP\t_h_;rport;branch=b", "UDP", "_h_", None, Some("b")),
        ];
        for (value, transport, host, port, branch) in table {
            let via = Via::parse(value.as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"));
            assert_eq!((via.transport(), via.host(), via.port), (transport, host, port), "{value}");
            assert_eq!(via.branch(), branch, "{value}");
            assert_eq!(Via::parse(via.to_string().as_bytes()), Ok(via));
        }
    }

    #[test]
    fn received_and_rport_are_read() {
        let via = Via::parse(b"SIP/2.0/UDP [::1];received=[2001:db8::9:255];rport=5061;branch=b").unwrap();
        assert_eq!(via.received(), "2001:db8::9:255".parse().ok());
        assert_eq!(via.rport(), Some(5061));
        assert_eq!(via.host_ip(), "::1".parse().ok());
        let asked = Via::parse(b"SIP/2.0/UDP a;rport;received=2001:db8::1").unwrap();
        assert_eq!((asked.wants_rport(), asked.rport()), (true, None));
        assert_eq!(asked.received(), "2001:db8::1".parse().ok());
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for bad in [
            "",
            "SIP/2.0",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ;branch=x",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP a:99999",
            "SIP/2.0/UDP a:",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP a,b",
            "/2.0/UDP a",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_built_via_cannot_be_broken_out_of() {
        assert_eq!(
            Via::new("TCP", "::1", Some(5060), "z9hG4bKx").unwrap().to_string(),
            "SIP/2.0/TCP [::1]:5060;branch=z9hG4bKx"
        );
        assert!(Via::new("UDP", "a;x", None, "b").is_err());
        assert!(Via::new("UDP x", "a", None, "b").is_err());
        assert!(Via::new("UDP", "a", None, "b;c").is_err());
    }
}
