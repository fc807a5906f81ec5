//! What the user has set on an agent.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use siprec_agent::{
    Credentials, CredentialsError, Password, PoolFileError, Pools, TlsConfig, TlsError, TlsIdentity,
};
use siprec_model::{TlsVersion, UnknownTlsVersion};
use siprec_session::{OutboundProxy, OutboundProxyError, TEXT_LIMIT, is_one_host};

use super::enums::SiprecMediaSource;

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// The properties of an agent, as texts and numbers that the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) local_address: Option<String>,
    pub(super) media_address: Option<String>,
    pub(super) advertised_address: Option<String>,
    pub(super) sip_port: u16,
    pub(super) rtp_port_range: Option<String>,
    pub(super) tls_certificate: Option<String>,
    pub(super) tls_key: Option<String>,
    pub(super) tls_ca: Option<String>,
    pub(super) tls_min_version: String,
    pub(super) dns_server: Option<String>,
    pub(super) user: String,
    pub(super) user_agent: String,
    pub(super) qos_dscp_sip: Option<u8>,
    pub(super) qos_dscp_media: Option<u8>,
    pub(super) media_source: SiprecMediaSource,
    pub(super) send_interval: gst::ClockTime,
    pub(super) dtls_timeout: gst::ClockTime,
    pub(super) max_sessions: u32,
    pub(super) auth_user: Option<String>,
    pub(super) auth_password: Option<Password>,
    pub(super) auth_realm: Option<String>,
    pub(super) outbound_proxy: Option<String>,
    pub(super) config: Option<String>,
    pub(super) state_dir: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_address: None,
            media_address: None,
            advertised_address: None,
            sip_port: 0,
            rtp_port_range: None,
            tls_certificate: None,
            tls_key: None,
            tls_ca: None,
            tls_min_version: TlsVersion::default().to_string(),
            dns_server: None,
            user: "siprec".to_owned(),
            user_agent: concat!("gst-siprec/", env!("CARGO_PKG_VERSION")).to_owned(),
            qos_dscp_sip: None,
            qos_dscp_media: None,
            media_source: SiprecMediaSource::default(),
            send_interval: gst::ClockTime::from_mseconds(100),
            dtls_timeout: gst::ClockTime::from_seconds(10),
            max_sessions: 0,
            auth_user: None,
            auth_password: None,
            auth_realm: None,
            outbound_proxy: None,
            config: None,
            state_dir: None,
        }
    }
}

/// A property of an agent that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    /// Not an address.
    #[error("agent property \"{property}\": \"{text}\" is no IP address")]
    Address {
        /// The property.
        property: &'static str,
        /// Its value.
        text: String,
    },
    /// An address of another host.
    #[error("agent property \"{property}\": {address} is no address of this host: {reason}")]
    Foreign {
        /// The property.
        property: &'static str,
        /// Its value.
        address: IpAddr,
        /// What the system said.
        reason: String,
    },
    /// Not the address of one host.
    #[error("agent property \"{property}\": {address} is no address that a recorder could send to")]
    Unreachable {
        /// The property.
        property: &'static str,
        /// Its value.
        address: IpAddr,
    },
    /// The file of pools.
    #[error("agent property \"config\": {0}")]
    Pools(#[from] PoolFileError),
    /// The file of pools had some, and has none any more.
    #[error("agent property \"config\": {0}: it has no pool any more")]
    NoPool(String),
    /// A text that must not be empty is.
    #[error("agent property \"{0}\": it is empty")]
    Empty(&'static str),
    /// A text that no header can hold.
    #[error("agent property \"{0}\": it has control characters, which cannot stand in a SIP header")]
    ControlCharacters(&'static str),
    /// A text that recorders have no room for.
    #[error("agent property \"{property}\": it has {length} bytes, more than {TEXT_LIMIT}")]
    TooLong {
        /// The property.
        property: &'static str,
        /// The length of its value.
        length: usize,
    },
    /// A file that cannot be used.
    #[error("agent property \"{property}\": {error}")]
    Tls {
        /// The property that names it.
        property: &'static str,
        /// What is wrong with it.
        error: TlsError,
    },
    /// Not a range of ports.
    #[error("agent property \"rtp-port-range\": \"{0}\" is no range of ports such as 20000-29999")]
    Range(String),
    /// Not the address of a DNS server.
    #[error("agent property \"dns-server\": \"{0}\" is no IP address, with or without a port")]
    DnsServer(String),
    /// Nobody listens at port 0, nor at an address that no one host has.
    #[error("agent property \"dns-server\": \"{0}\" has an address or a port at which no server can be")]
    NoDnsServer(String),
    /// Not a version of TLS.
    #[error("agent property \"tls-min-version\": {0}")]
    TlsVersion(#[from] UnknownTlsVersion),
    /// A key without what it is for.
    #[error("agent property \"tls-key\": it needs \"tls-certificate\"")]
    KeyAlone,
    /// The next port number is that of TLS.
    #[error(
        "agent property \"sip-port\": with \"tls-certificate\" it must be below 65535, for TLS takes the next one"
    )]
    NoTlsPort,
    /// There is only one of user and password.
    #[error("agent property \"{missing}\" is not set, but \"{set}\" is")]
    Half {
        /// The one that is set.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Not a user.
    #[error("agent property \"auth-user\": {0}")]
    User(#[from] CredentialsError),
    /// Not a list of proxies.
    #[error("agent property \"outbound-proxy\": {0}")]
    OutboundProxy(#[from] OutboundProxyError),
}

impl Settings {
    /// Where SIP is bound; every address when not set.
    pub(super) fn local_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        own_address("local-address", self.local_address.as_deref())
    }

    /// Where media is bound, when not where the system's route goes.
    pub(super) fn media_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        reachable("media-address", own_address("media-address", self.media_address.as_deref())?)
    }

    /// What the recorder is told, when not the local address.
    pub(super) fn advertised_address(&self) -> Result<Option<IpAddr>, SettingsError> {
        reachable("advertised-address", address("advertised-address", self.advertised_address.as_deref())?)
    }

    /// User part of From and Contact; a URI can hold any text there, but nobody means such a one.
    pub(super) fn user(&self) -> Result<String, SettingsError> {
        match self.user.as_str() {
            "" => Err(SettingsError::Empty("user")),
            user => header_text("user", user),
        }
    }

    /// What User-Agent says; empty leaves it out.
    pub(super) fn user_agent(&self) -> Result<String, SettingsError> {
        header_text("user-agent", &self.user_agent)
    }

    /// The DNS server; as the system does when not set.
    pub(super) fn dns_server(&self) -> Result<Option<SocketAddr>, SettingsError> {
        let Some(text) = set(self.dns_server.as_deref()) else { return Ok(None) };
        let with_port = text.parse::<SocketAddr>().ok();
        let server = with_port.or_else(|| Some(SocketAddr::new(unbracketed(text).parse().ok()?, DNS_PORT)));
        let server = server.ok_or_else(|| SettingsError::DnsServer(text.to_owned()))?;
        if server.port() == 0 || !is_one_host(&server.ip()) {
            return Err(SettingsError::NoDnsServer(text.to_owned()));
        }
        Ok(Some(server))
    }

    /// TLS: with a certificate recorders are let in at the port after that of UDP and TCP.
    pub(super) fn tls(&self) -> Result<TlsConfig, SettingsError> {
        let (certificate, key) = (set(self.tls_certificate.as_deref()), set(self.tls_key.as_deref()));
        let (identity, listen) = match (certificate, key) {
            (None, None) => (None, None),
            (None, Some(_)) => return Err(SettingsError::KeyAlone),
            (Some(certificate), key) => {
                let key = key.unwrap_or(certificate).into();
                let port = match self.sip_port {
                    0 => 0,
                    port => port.checked_add(1).ok_or(SettingsError::NoTlsPort)?,
                };
                let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                let listen = SocketAddr::new(self.local_address()?.unwrap_or(any), port);
                (Some(TlsIdentity { certificate: certificate.into(), key }), Some(listen))
            }
        };
        let ca = set(self.tls_ca.as_deref()).map(Into::into);
        let min_version = self.tls_min_version.trim().parse()?;
        Ok(TlsConfig { identity, ca, min_version, listen, client_ca: None })
    }

    /// The same, with every file read. Blocks.
    pub(super) fn readable_tls(&self) -> Result<TlsConfig, SettingsError> {
        let config = self.tls()?;
        let identity = TlsConfig { ca: None, ..config.clone() };
        identity.check().map_err(|error| {
            let certificate = config.identity.as_ref().map(|identity| identity.certificate.as_path());
            let property = if error.path() == certificate { "tls-certificate" } else { "tls-key" };
            SettingsError::Tls { property, error }
        })?;
        let authorities = TlsConfig { ca: config.ca.clone(), ..TlsConfig::default() };
        authorities.check().map_err(|error| SettingsError::Tls { property: "tls-ca", error })?;
        Ok(config)
    }

    /// Who we are to those who ask, if anybody. An empty password is one, an empty user is none.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, SettingsError> {
        let half = |set, missing| SettingsError::Half { set, missing };
        let realm = self.auth_realm.as_deref().filter(|realm| !realm.is_empty());
        match (self.auth_user.as_deref().filter(|user| !user.is_empty()), &self.auth_password) {
            (None, None) if realm.is_some() => Err(half("auth-realm", "auth-user")),
            (None, None) => Ok(None),
            (Some(_), None) => Err(half("auth-user", "auth-password")),
            (None, Some(_)) => Err(half("auth-password", "auth-user")),
            (Some(user), Some(password)) => Ok(Some(Credentials::new(user, password.clone(), realm)?)),
        }
    }

    /// The proxies before the recorders.
    pub(super) fn outbound_proxy(&self) -> Result<OutboundProxy, SettingsError> {
        Ok(self.outbound_proxy.as_deref().unwrap_or_default().parse()?)
    }

    /// Where dialogs are written down; nowhere when not set.
    pub(super) fn state_dir(&self) -> Option<PathBuf> {
        set(self.state_dir.as_deref()).map(PathBuf::from)
    }

    /// The pools of recorders; none when not set.
    pub(super) fn pools(&self) -> Result<Pools, SettingsError> {
        let Some(path) = set(self.config.as_deref()) else { return Ok(Pools::default()) };
        Ok(Pools::read(Path::new(path))?)
    }

    /// The ports of media; any when not set.
    pub(super) fn rtp_ports(&self) -> Result<Option<RangeInclusive<u16>>, SettingsError> {
        let Some(text) = set(self.rtp_port_range.as_deref()) else { return Ok(None) };
        let wrong = || SettingsError::Range(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let range = port(first)?..=port(last)?;
        if range.is_empty() { Err(wrong()) } else { Ok(Some(range)) }
    }
}

fn set(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn address(property: &'static str, text: Option<&str>) -> Result<Option<IpAddr>, SettingsError> {
    let Some(text) = set(text) else { return Ok(None) };
    unbracketed(text)
        .parse()
        .map(Some)
        .map_err(|_| SettingsError::Address { property, text: text.to_owned() })
}

/// An address that sockets can be bound to, and that answers can come to: that of one host, or every one.
fn own_address(property: &'static str, text: Option<&str>) -> Result<Option<IpAddr>, SettingsError> {
    let Some(address) = address(property, text)? else { return Ok(None) };
    if !address.to_canonical().is_unspecified() {
        reachable(property, Some(address))?;
    }
    let foreign = |error: io::Error| SettingsError::Foreign { property, address, reason: error.to_string() };
    let socket = UdpSocket::bind((address, 0)).map_err(foreign)?;
    match socket.local_addr().and_then(|own| socket.connect(own)) {
        // The broadcast address of a network of ours: only the system knows it, and binds to it like to one of ours.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Err(SettingsError::Unreachable { property, address })
        }
        _ => Ok(Some(address)),
    }
}

/// An address that stands for one host.
fn reachable(property: &'static str, address: Option<IpAddr>) -> Result<Option<IpAddr>, SettingsError> {
    match address {
        Some(address) if !is_one_host(&address) => Err(SettingsError::Unreachable { property, address }),
        address => Ok(address),
    }
}

/// A text that a header can hold.
fn header_text(property: &'static str, text: &str) -> Result<String, SettingsError> {
    if text.chars().any(char::is_control) {
        return Err(SettingsError::ControlCharacters(property));
    }
    match text.len() {
        length if length > TEXT_LIMIT => Err(SettingsError::TooLong { property, length }),
        _ => Ok(text.to_owned()),
    }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn addresses_may_stand_in_brackets_and_empty_is_not_set() {
        let of = |text: &str| address("local-address", Some(text));
        assert_eq!(of("[::1]"), Ok(Some(Ipv6Addr::LOCALHOST.into())));
        assert_eq!(of(" 127.0.0.1 "), Ok(Some(Ipv4Addr::LOCALHOST.into())));
        assert_eq!(of(""), Ok(None));
        assert!(of("recorder.example").is_err());
    }

    #[test]
    fn no_address_of_ours_is_one_of_many_hosts() {
        let settings = |text: &str| {
            let text = Some(text.to_owned());
            Settings {
                local_address: text.clone(),
                media_address: text.clone(),
                advertised_address: text,
                ..Settings::default()
            }
        };
        for many in ["224.0.0.1", "239.1.2.3", "255.255.255.255", "ff02::1", "[ff05::2]", "::ffff:224.0.0.1"]
        {
            let (settings, address) = (settings(many), unbracketed(many).parse().unwrap());
            let refused = |property| Err(SettingsError::Unreachable { property, address });
            assert_eq!(settings.local_address(), refused("local-address"));
            assert_eq!(settings.media_address(), refused("media-address"));
            assert_eq!(settings.advertised_address(), refused("advertised-address"));
        }
        // That of all hosts of the loopback network.
        let all = settings("127.255.255.255");
        let address = "127.255.255.255".parse().unwrap();
        let refused = |property| Err(SettingsError::Unreachable { property, address });
        assert_eq!(all.local_address(), refused("local-address"));
        assert_eq!(all.media_address(), refused("media-address"));
        for own in ["127.0.0.1", "127.1.2.3"] {
            let own = settings(own);
            assert!(own.local_address().is_ok() && own.media_address().is_ok());
        }
        assert!(settings("0.0.0.0").local_address().is_ok(), "every address of one kind");
    }

    #[test]
    fn a_dns_server_is_an_address_with_or_without_a_port() {
        let of =
            |text: &str| Settings { dns_server: Some(text.to_owned()), ..Settings::default() }.dns_server();
        let at = |text: &str| Ok(Some(text.parse().unwrap()));
        assert_eq!(of("192.0.2.53"), at("192.0.2.53:53"));
        assert_eq!(of("192.0.2.53:5353"), at("192.0.2.53:5353"));
        assert_eq!(of("[::1]"), at("[::1]:53"));
        assert_eq!(of("::1"), at("[::1]:53"));
        assert_eq!(of("[::1]:5353"), at("[::1]:5353"));
        assert_eq!(of(" "), Ok(None));
        assert_eq!(of("dns.example"), Err(SettingsError::DnsServer("dns.example".into())));
        for nowhere in ["192.0.2.53:0", "[::1]:0", "0.0.0.0", "::", "224.0.0.251:5353", "255.255.255.255"] {
            assert_eq!(of(nowhere), Err(SettingsError::NoDnsServer(nowhere.into())));
        }
    }

    #[test]
    fn a_realm_is_nothing_without_a_user() {
        let of = |realm: &str| {
            Settings { auth_realm: Some(realm.to_owned()), ..Settings::default() }.credentials()
        };
        let half = SettingsError::Half { set: "auth-realm", missing: "auth-user" };
        assert_eq!(of("recorder"), Err(half));
        assert_eq!(of(""), Ok(None));
    }

    #[test]
    fn with_a_certificate_tls_listens_at_the_next_port() {
        let settings = |certificate: Option<&str>, key: Option<&str>, sip_port| Settings {
            tls_certificate: certificate.map(str::to_owned),
            tls_key: key.map(str::to_owned),
            sip_port,
            local_address: Some("127.0.0.1".to_owned()),
            ..Settings::default()
        };
        assert_eq!(settings(None, None, 5060).tls(), Ok(TlsConfig::default()));
        let both = settings(Some("both.pem"), None, 5060).tls().unwrap();
        assert_eq!(both.listen, Some("127.0.0.1:5061".parse().unwrap()));
        assert_eq!(both.identity.unwrap().key.to_str(), Some("both.pem"));
        let any = settings(Some("a.pem"), Some("a.key"), 0).tls().unwrap();
        assert_eq!(any.listen, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(any.identity.unwrap().key.to_str(), Some("a.key"));
        assert_eq!(settings(None, Some("a.key"), 0).tls(), Err(SettingsError::KeyAlone));
        assert_eq!(settings(Some("a.pem"), None, 65535).tls(), Err(SettingsError::NoTlsPort));
        let old = Settings { tls_min_version: "1.1".to_owned(), ..Settings::default() };
        assert!(matches!(old.tls(), Err(SettingsError::TlsVersion(_))));
    }

    #[test]
    fn port_ranges_are_two_numbers() {
        let of = |text: &str| {
            Settings { rtp_port_range: Some(text.to_owned()), ..Settings::default() }.rtp_ports()
        };
        assert_eq!(of("20000-20999"), Ok(Some(20_000..=20_999)));
        assert_eq!(of(""), Ok(None));
        for wrong in ["20000", "a-b", "1-70000", "-", "9-1"] {
            assert_eq!(of(wrong), Err(SettingsError::Range(wrong.to_owned())));
        }
    }
}
