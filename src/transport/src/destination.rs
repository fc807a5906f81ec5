//! Protocols, and where a message goes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::TlsPeer;

/// Default SIP port of UDP and TCP (RFC 3261 §19.1.2).
pub const DEFAULT_PORT: u16 = 5060;
/// Default SIP port of TLS (RFC 3261 §19.1.2).
pub const DEFAULT_TLS_PORT: u16 = 5061;

/// What carries SIP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// One message a datagram (RFC 3261 §18.1).
    Udp,
    /// A stream of messages framed by Content-Length (RFC 3261 §18.3).
    Tcp,
    /// The same under TLS (RFC 3261 §26.2.1).
    Tls,
}

impl Protocol {
    /// The token of Via, in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The port where a URI names none (RFC 3261 §19.1.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => DEFAULT_PORT,
            Self::Tls => DEFAULT_TLS_PORT,
        }
    }

    /// Reads the token of Via or of the URI parameter `transport`, in any case.
    pub fn from_token(token: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Address and port of the next hop.
    pub remote: SocketAddr,
    /// What carries it.
    pub protocol: Protocol,
    /// Whether the URI fixed the protocol (`;transport=`). If not, a request over 1300 bytes goes by TCP
    /// (RFC 3261 §18.1.1).
    pub fixed: bool,
    /// By TLS: whom the connection must lead to. `None` takes a connection that is there, whoever made it.
    pub tls: Option<Arc<TlsPeer>>,
}

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Address and port of the peer.
    pub remote: SocketAddr,
    /// What carried it.
    pub protocol: Protocol,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.remote, self.protocol)
    }
}
