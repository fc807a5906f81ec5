//! Where a URI points, and how its addresses are found.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_model::TlsProfile;
use siprec_sip::{Uri, UriBuilder, UriError};
use tokio::time::timeout;

use super::lookup::Dns;
use super::records::{Server, Service, ordered, preferred};
use crate::{Destination, Protocol, ResolveError, TlsPeer};

/// Most destinations of one URI; each may cost its user a timeout.
const DESTINATIONS: usize = 8;

/// Where a URI points, before DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    /// The host that is to be asked instead (`;maddr=`).
    server: Option<String>,
    port: Option<u16>,
    /// What the URI names.
    transport: Option<Protocol>,
    /// By TLS only.
    secure: bool,
    profile: TlsProfile,
}

impl Target {
    /// Reads scheme, host, port, `;transport=` and `;maddr=` of a URI. A `sips:` URI is reached by TLS (RFC 3261 §26.2.2). The
    /// host that `;maddr=` names is found instead of the URI's own (RFC 3263 §4), whose name its certificate is for all the
    /// same.
    ///
    /// # Errors
    /// [`ResolveError::Scheme`], [`ResolveError::Transport`], [`ResolveError::Insecure`], [`ResolveError::NoHost`] or
    /// [`ResolveError::Server`].
    pub fn of(uri: &Uri) -> Result<Self, ResolveError> {
        let scheme = uri.scheme();
        let sips = scheme.eq_ignore_ascii_case("sips");
        if !sips && !scheme.eq_ignore_ascii_case("sip") {
            return Err(ResolveError::Scheme(scheme.to_owned()));
        }
        let transport = match uri.param("transport") {
            None => None,
            Some(name) => Some(Protocol::from_token(name).ok_or(ResolveError::Transport(name.to_owned()))?),
        };
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(ResolveError::NoHost);
        }
        let server = uri.param_unescaped("maddr").map(|server| one_server(&server)).transpose()?;
        let profile = TlsProfile::default();
        let plain =
            Self { host: plain_host(host), server, port: uri.port(), transport, secure: false, profile };
        match transport {
            // In a sips: URI, TCP is what TLS runs over (RFC 3261 §26.2.2).
            Some(Protocol::Tcp) if sips => Ok(Self { transport: Some(Protocol::Tls), secure: true, ..plain }),
            _ if sips => plain.secured(),
            _ => Ok(plain),
        }
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
        match self.transport {
            None | Some(Protocol::Tls) => Ok(Self { secure: true, ..self }),
            Some(protocol) => Err(ResolveError::Insecure(protocol)),
        }
    }

    /// What is particular about TLS there.
    pub fn tls(&self) -> &TlsProfile {
        &self.profile
    }

    /// The transport that the URI asks for.
    pub fn protocol(&self) -> Option<Protocol> {
        if self.secure { Some(Protocol::Tls) } else { self.transport }
    }

    /// A URI that points there, without what is particular about TLS: read again it is the same target.
    ///
    /// # Errors
    /// The host stands in no URI.
    pub fn uri(&self) -> Result<Uri, UriError> {
        let uri = if self.secure { UriBuilder::sips(&self.host) } else { UriBuilder::sip(&self.host) };
        let uri = self.port.map_or(uri.clone(), |port| uri.port(port));
        let name = self.transport.map(|transport| transport.as_str().to_ascii_lowercase());
        let uri = name.map_or(uri.clone(), |name| uri.param("transport", &name));
        let server = self.server.as_deref().map(|server| match server.contains(':') {
            true => format!("[{server}]"),
            false => server.to_owned(),
        });
        server.map_or(uri.clone(), |server| uri.param("maddr", &server)).build()
    }

    /// Where it was found before.
    pub fn found_at(&self, remote: SocketAddr, protocol: Protocol, fixed: bool) -> Destination {
        Destination { fixed, ..self.at(remote.ip(), remote.port(), protocol) }
    }

    /// The destination of a literal address; `None` for a host name.
    pub fn literal(&self) -> Option<Destination> {
        let address: IpAddr = self.sought().parse().ok()?;
        Some(self.at_named_port(address))
    }

    /// The host that is found: RFC 3263 §4 calls it TARGET.
    fn sought(&self) -> &str {
        self.server.as_deref().unwrap_or(&self.host)
    }

    /// Finds the destinations that `reachable` accepts, in the order in which they are tried (RFC 3263 §4): never none.
    ///
    /// # Errors
    /// [`ResolveError::NotFound`] or, after `deadline`, [`ResolveError::Timeout`].
    pub(crate) async fn resolve(
        &self,
        dns: &Dns,
        reachable: impl Fn(&SocketAddr) -> bool,
        deadline: Duration,
    ) -> Result<Vec<Destination>, ResolveError> {
        if let Some(literal) = self.literal() {
            let reached = reachable(&literal.remote);
            return match reached {
                true => Ok(vec![literal]),
                false => Err(self.not_found("the local address is of the other family".to_owned())),
            };
        }
        let started = Instant::now();
        let mut found = Vec::new();
        // DNS that does not answer must leave time for the system's resolver, which may know the host without it.
        let services = timeout(deadline / 2, self.services(dns)).await;
        let servers = services.unwrap_or_else(|_| {
            tracing::info!(
                host = self.sought(),
                "DNS does not tell in time whether there are records of services"
            );
            Ok(Vec::new())
        })?;
        let looked_up = async {
            match servers.is_empty() {
                true => {
                    self.look_up(dns, self.sought(), &mut found, |address| self.at_named_port(address)).await
                }
                false => {
                    let mut last = Ok(());
                    for (Server { host, port, .. }, protocol) in servers {
                        let at = |address| self.at(address, port, protocol);
                        let outcome = self.look_up(dns, &host, &mut found, at).await;
                        last = if found.is_empty() { outcome } else { Ok(()) };
                    }
                    last
                }
            }
        };
        let outcome = timeout(deadline.saturating_sub(started.elapsed()), looked_up).await;
        let any = !found.is_empty();
        found.retain(|destination| reachable(&destination.remote));
        match outcome {
            _ if !found.is_empty() => Ok(found),
            _ if any => {
                Err(self.not_found("no address of a family that the local address reaches".to_owned()))
            }
            Ok(outcome) => {
                Err(outcome.err().unwrap_or_else(|| self.not_found("it has no address".to_owned())))
            }
            Err(_) => Err(ResolveError::Timeout { host: self.sought().to_owned(), after: deadline }),
        }
    }

    /// The servers of the best service that the domain has by a transport that may be used, in order; none where DNS
    /// says nothing, or where the URI says enough (RFC 3263 §4.1-4.2).
    async fn services(&self, dns: &Dns) -> Result<Vec<(Server, Protocol)>, ResolveError> {
        if self.port.is_some() || is_this_host(self.sought()) {
            return Ok(Vec::new());
        }
        let mut services: Vec<Service> = match self.transport {
            Some(_) => Vec::new(),
            None => preferred(told(dns.preferences(self.sought()).await, self.sought()), self.secure),
        };
        let protocols = self.protocol().map_or(vec![Protocol::Udp, Protocol::Tcp], |protocol| vec![protocol]);
        services.extend(protocols.into_iter().map(|protocol| Service::of(self.sought(), protocol)));
        let mut refused = None;
        for service in services {
            let servers = told(dns.servers(&service.name).await, &service.name);
            match servers.as_slice() {
                [] => {}
                // RFC 2782: a lone "." says that there is no such service.
                [Server { host, .. }] if host == "." => refused = Some(service.protocol),
                _ => {
                    let servers = ordered(servers, draw).into_iter();
                    return Ok(servers.map(|server| (server, service.protocol)).collect());
                }
            }
        }
        match refused {
            Some(protocol) => Err(self.not_found(format!("its domain offers no SIP by {protocol}"))),
            None => Ok(Vec::new()),
        }
    }

    async fn look_up(
        &self,
        dns: &Dns,
        host: &str,
        found: &mut Vec<Destination>,
        at: impl Fn(IpAddr) -> Destination,
    ) -> Result<(), ResolveError> {
        let addresses = dns.addresses(host).await.map_err(|reason| match host == self.sought() {
            true => self.not_found(reason),
            false => self.not_found(format!("its server {host} has no address: {reason}")),
        })?;
        for destination in addresses.into_iter().map(|address| at(address.to_canonical())) {
            if found.len() < DESTINATIONS && !found.contains(&destination) {
                found.push(destination);
            }
        }
        Ok(())
    }

    fn at_named_port(&self, address: IpAddr) -> Destination {
        // RFC 3263 §4.1: UDP where nothing says otherwise.
        let protocol = self.protocol().unwrap_or(Protocol::Udp);
        self.at(address.to_canonical(), self.port.unwrap_or(protocol.default_port()), protocol)
    }

    fn at(&self, address: IpAddr, port: u16, protocol: Protocol) -> Destination {
        // RFC 5922 §7: the certificate is for the name in the URI, whatever DNS made of it.
        let peer = || Arc::new(TlsPeer::new(&self.host, &self.profile));
        let tls = (protocol == Protocol::Tls).then(peer);
        // A domain that has UDP has not said that it has no TCP for what is too long.
        let fixed = self.protocol().is_some() || protocol != Protocol::Udp;
        Destination { remote: SocketAddr::new(address, port), protocol, fixed, tls }
    }

    fn not_found(&self, reason: String) -> ResolveError {
        ResolveError::NotFound { host: self.sought().to_owned(), reason }
    }
}

/// The host of a URI without the brackets of an address.
fn plain_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.to_ascii_lowercase()
}

/// The host that `;maddr=` names. A group, which RFC 3261 §18.1.1 sends requests to by it, has no one answer.
fn one_server(server: &str) -> Result<String, ResolveError> {
    let refused = || ResolveError::Server(server.to_owned());
    UriBuilder::sip(server).build().map_err(|_| refused())?;
    let host = plain_host(server);
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if address.is_multicast() || address.is_unspecified() => Err(refused()),
        _ => Ok(host),
    }
}

/// RFC 6761 §6.3: nobody else's business.
fn is_this_host(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost")
}

/// Records that cannot be had are as good as none: the host itself may still be found.
fn told<T>(outcome: Result<Vec<T>, String>, name: &str) -> Vec<T> {
    outcome.unwrap_or_else(|reason| {
        tracing::info!(name, reason, "DNS does not tell whether there are records of services");
        Vec::new()
    })
}

/// A number from 0 to `most`. Without randomness the heaviest server is the first, which is no harm.
fn draw(most: u32) -> u32 {
    let drawn = getrandom::u32().map_or(u64::from(most), |drawn| u64::from(drawn) % (u64::from(most) + 1));
    u32::try_from(drawn).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_of_a_target_is_read_as_the_same_target() {
        for (text, same) in [
            ("sip:Recorder.Example", "sip:recorder.example"),
            ("sip:user:secret@192.0.2.7:5070;lr;transport=TCP", "sip:192.0.2.7:5070;transport=tcp"),
            ("sip:[2001:db8::7];transport=tls", "sip:[2001:db8::7];transport=tls"),
            ("sips:192.0.2.7", "sips:192.0.2.7"),
            ("sips:192.0.2.7;transport=tcp", "sips:192.0.2.7;transport=tls"),
            ("sip:rec.example:5070;maddr=Node7.Example", "sip:rec.example:5070;maddr=node7.example"),
            ("sips:rec.example;maddr=[2001:db8::7];x", "sips:rec.example;maddr=[2001:db8::7]"),
        ] {
            let target = Target::of(&Uri::parse(text).unwrap()).unwrap();
            let uri = target.uri().unwrap();
            assert_eq!(uri.as_str(), same);
            assert_eq!(Target::of(&uri).unwrap(), target, "{text}");
        }
        let secured =
            Target::of(&Uri::parse("sip:a.example;transport=tls").unwrap()).unwrap().secured().unwrap();
        assert_eq!(Target::of(&secured.uri().unwrap()).unwrap(), secured);
    }

    /// RFC 3261 §19.1.1, RFC 3263 §4.
    #[test]
    fn maddr_says_which_host_is_asked_and_the_certificate_is_the_uris() {
        let target = |text: &str| Target::of(&Uri::parse(text).unwrap());
        let literal = |text: &str| target(text).unwrap().literal().unwrap();
        assert_eq!(literal("sip:rec.example:5070;maddr=192.0.2.7").remote, "192.0.2.7:5070".parse().unwrap());
        assert_eq!(
            literal("sip:192.0.2.1;MADDR=[2001:db8::7]").remote,
            "[2001:db8::7]:5060".parse().unwrap()
        );
        let secure = literal("sips:rec.example;maddr=192.0.2.7");
        assert_eq!(
            (secure.remote, secure.tls.unwrap().name.as_str()),
            ("192.0.2.7:5061".parse().unwrap(), "rec.example")
        );
        assert_eq!(target("sip:192.0.2.1;maddr=node7.example").unwrap().literal(), None);
        for nobody in ["", "a,b", "224.0.1.75", "[ff02::1]", "0.0.0.0"] {
            let refused = target(&format!("sip:192.0.2.1;maddr={nobody}"));
            assert_eq!(refused, Err(ResolveError::Server(nobody.to_owned())));
        }
    }

    #[test]
    fn a_place_that_is_known_has_the_certificate_of_the_targets_name() {
        let target = Target::of(&Uri::parse("sips:a.example").unwrap()).unwrap();
        let remote = "192.0.2.7:5061".parse().unwrap();
        let found = target.found_at(remote, Protocol::Tls, true);
        assert_eq!((found.remote, found.protocol, found.fixed), (remote, Protocol::Tls, true));
        assert_eq!(found.tls.unwrap().name, "a.example");
        assert_eq!(target.found_at(remote, Protocol::Tcp, false).tls, None);
    }
}
