//! From a SIP URI to an address: literals and host names of the system's resolver. DNS SRV and NAPTR (RFC 3263)
//! belong here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use siprec_model::TlsProfile;
use siprec_sip::Uri;

use crate::{Destination, Protocol, ResolveError, TlsPeer};

/// Where a URI points, before its host name is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    port: Option<u16>,
    protocol: Option<Protocol>,
    profile: TlsProfile,
}

impl Target {
    /// Reads scheme, host, port and `;transport=` of a URI. A `sips:` URI is reached by TLS (RFC 3261 §26.2.2).
    ///
    /// # Errors
    /// [`ResolveError::Scheme`], [`ResolveError::Transport`], [`ResolveError::Insecure`] or [`ResolveError::NoHost`].
    pub fn of(uri: &Uri) -> Result<Self, ResolveError> {
        let scheme = uri.scheme();
        let sips = scheme.eq_ignore_ascii_case("sips");
        if !sips && !scheme.eq_ignore_ascii_case("sip") {
            return Err(ResolveError::Scheme(scheme.to_owned()));
        }
        let named = match uri.param("transport") {
            None => None,
            Some(name) => Some(Protocol::from_token(name).ok_or(ResolveError::Transport(name.to_owned()))?),
        };
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(ResolveError::NoHost);
        }
        let protocol = match named {
            // In a sips: URI, TCP is what TLS runs over (RFC 3261 §26.2.2).
            None | Some(Protocol::Tcp | Protocol::Tls) if sips => Some(Protocol::Tls),
            Some(protocol) if sips => return Err(ResolveError::Insecure(protocol)),
            named => named,
        };
        let host = host.to_ascii_lowercase();
        Ok(Self { host, port: uri.port(), protocol, profile: TlsProfile::default() })
    }

    /// The same, with what is particular about TLS there.
    #[must_use]
    pub fn with_tls(self, profile: &TlsProfile) -> Self {
        Self { profile: profile.clone(), ..self }
    }

    /// The same by TLS, whether or not the URI asks for it.
    ///
    /// # Errors
    /// [`ResolveError::Insecure`] where the URI asks for another transport.
    pub fn secured(self) -> Result<Self, ResolveError> {
        match self.protocol {
            None | Some(Protocol::Tls) => Ok(Self { protocol: Some(Protocol::Tls), ..self }),
            Some(protocol) => Err(ResolveError::Insecure(protocol)),
        }
    }

    /// What is particular about TLS there.
    pub fn tls(&self) -> &TlsProfile {
        &self.profile
    }

    /// The transport that the URI asks for.
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The destination of a literal address; `None` for a host name.
    pub fn literal(&self) -> Option<Destination> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(self.destination(SocketAddr::new(address.to_canonical(), self.port_or_default())))
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
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port_or_default()));
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

    fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(self.carrier().default_port())
    }

    /// RFC 3263 §4.1: UDP where nothing says otherwise.
    fn carrier(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::Udp)
    }

    fn destination(&self, remote: SocketAddr) -> Destination {
        let protocol = self.carrier();
        // RFC 5922 §7: the certificate is for the name in the URI, whatever DNS made of it.
        let peer = || Arc::new(TlsPeer::new(&self.host, &self.profile));
        let tls = (protocol == Protocol::Tls).then(peer);
        Destination { remote, protocol, fixed: self.protocol.is_some(), tls }
    }
}
