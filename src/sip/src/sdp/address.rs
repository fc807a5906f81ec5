//! Where media goes.

use std::fmt;
use std::net::IpAddr;

/// The address of a `c=` line: an IP address, or a host name for the resolver (RFC 8866 §5.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, as written.
    Host(String),
}

impl Address {
    /// Takes the address of a `c=` line; what multicast appends to it (`/ttl`) is left out.
    pub(super) fn from_line(text: &str) -> Self {
        let address = text.split_once('/').map_or(text, |(address, _)| address).trim();
        let plain = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        plain.parse().map_or_else(|_| Self::Host(address.to_owned()), Self::Ip)
    }

    /// The IP address, where it is one.
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Host(_) => None,
        }
    }

    /// Whether this is `0.0.0.0` or `::`, the old way to say hold (RFC 3264 §8.4).
    pub fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Host(host) => f.write_str(host),
        }
    }
}
