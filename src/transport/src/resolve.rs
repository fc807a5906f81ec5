//! From a SIP URI to an address: literals and host names of the system's resolver. DNS SRV and NAPTR (RFC 3263)
//! belong here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use siprec_sip::Uri;

use crate::{Destination, Protocol, ResolveError};

/// Default SIP port of UDP and TCP (RFC 3261 §19.1.2).
pub const DEFAULT_PORT: u16 = 5060;

/// Where a URI points, before its host name is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    port: u16,
    protocol: Option<Protocol>,
}

impl Target {
    /// Reads host, port and `;transport=` of a URI.
    ///
    /// # Errors
    /// [`ResolveError::Scheme`], [`ResolveError::Transport`] or [`ResolveError::NoHost`].
    pub fn of(uri: &Uri) -> Result<Self, ResolveError> {
        let scheme = uri.scheme();
        if scheme.eq_ignore_ascii_case("sips") {
            return Err(ResolveError::Transport("tls".to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("sip") {
            return Err(ResolveError::Scheme(scheme.to_owned()));
        }
        let protocol = match uri.param("transport") {
            None => None,
            Some(name) => Some(Protocol::from_token(name).ok_or(ResolveError::Transport(name.to_owned()))?),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(ResolveError::NoHost);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port: uri.port().unwrap_or(DEFAULT_PORT), protocol })
    }

    /// The transport that the URI asks for.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The destination of a literal address; `None` for a host name.
    pub fn literal(&self) -> Option<Destination> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(self.destination(SocketAddr::new(address.to_canonical(), self.port)))
    }

    /// Finds the address: a literal at once, a name by the system's resolver, whose order of preference is kept
    /// among the addresses that `reachable` accepts.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] or, after `deadline`, [`ResolveError::Timeout`].
    pub async fn resolve(
        &self,
        reachable: impl Fn(&SocketAddr) -> bool,
        deadline: Duration,
    ) -> Result<Destination, ResolveError> {
        let not_found = |reason: String| ResolveError::NotFound { host: self.host.clone(), reason };
        if let Some(literal) = self.literal() {
            return match reachable(&literal.remote) {
                true => Ok(literal),
                false => Err(not_found("the local address is of the other family".to_owned())),
            };
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let addresses = match tokio::time::timeout(deadline, lookup).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(not_found(error.to_string())),
            Err(_) => return Err(ResolveError::Timeout { host: self.host.clone(), after: deadline }),
        };
        let mut usable = addresses.filter(reachable);
        usable
            .next()
            .map(|remote| self.destination(remote))
            .ok_or_else(|| not_found("no address of a family that the local address reaches".to_owned()))
    }

    fn destination(&self, remote: SocketAddr) -> Destination {
        Destination {
            remote,
            protocol: self.protocol.unwrap_or(Protocol::Udp),
            fixed: self.protocol.is_some(),
        }
    }
}
