//! The recorders that a recording may be sent to.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use siprec_model::TlsProfile;
use siprec_sip::{Uri, UriBuilder, UriError};

use crate::config::SessionMode;
use crate::place::RecorderPlace;
use crate::pool::PoolNameError;
use crate::proxy::OutboundProxy;
use crate::security::SecurityPolicy;

/// One recorder and what is particular about it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderTarget {
    /// Its address: a `sip:` or `sips:` URI with a host. A user part is replaced by the recording's name.
    pub uri: Uri,
    /// What is particular about it.
    pub profile: RecorderProfile,
}

impl RecorderTarget {
    /// A recorder with nothing particular.
    pub fn new(uri: Uri) -> Self {
        Self { uri, profile: RecorderProfile::default() }
    }

    /// Whether this is its address, however that is written ([`RecorderPlace`]).
    pub fn is_at(&self, uri: &Uri) -> bool {
        self.uri.as_str().eq_ignore_ascii_case(uri.as_str())
            || RecorderPlace::of(&self.uri) == RecorderPlace::of(uri)
    }

    /// Its address alone: scheme, host and port.
    ///
    /// # Errors
    /// The address has no host.
    pub fn address(&self) -> Result<Uri, UriError> {
        let host = self.uri.host().unwrap_or_default();
        let address = if self.uri.is_sips() { UriBuilder::sips(host) } else { UriBuilder::sip(host) };
        match self.uri.port() {
            Some(port) => address.port(port).build(),
            None => address.build(),
        }
    }

    /// Where the first request to it goes, where others are reached through the proxies `usual`. `sips_call`: the call is
    /// signalled by SIPS.
    pub fn first_hop(&self, usual: &OutboundProxy, sips_call: bool) -> FirstHop {
        let tls = self.profile.tls.clone();
        match self.outbound_proxy(usual).first() {
            Some(proxy) => FirstHop {
                uri: proxy.clone(),
                // RFC 3261 §26.2.2: every hop of a sips: URI. The certificate there is the proxy's.
                secure: sips_call || self.uri.is_sips(),
                tls: TlsProfile { server_name: None, ..tls },
            },
            None => FirstHop { uri: self.uri.clone(), secure: sips_call, tls },
        }
    }

    /// The proxies that it is reached through, where others are reached through `usual`.
    pub fn outbound_proxy<'a>(&'a self, usual: &'a OutboundProxy) -> &'a OutboundProxy {
        self.profile.outbound_proxy.as_ref().unwrap_or(usual)
    }

    /// The address as it may be shown: without user, password and headers.
    pub fn shown(&self) -> String {
        without_secrets(self.uri.as_str())
    }
}

impl FromStr for RecorderTarget {
    type Err = RecorderFault;

    /// A recorder with nothing particular, by its address.
    fn from_str(text: &str) -> Result<Self, RecorderFault> {
        parse_address(text.trim()).map(Self::new)
    }
}

/// Where the first request to a recorder goes.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstHop {
    /// What is to be found.
    pub uri: Uri,
    /// By TLS only, whatever the address says.
    pub secure: bool,
    /// TLS there.
    pub tls: TlsProfile,
}

/// What is particular about a recorder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecorderProfile {
    /// Whose payload type numbers are sent; the dialect's rule where not set.
    pub payload_types: Option<PayloadTypes>,
    /// How parties are spread over sessions; as the call says where not set. All recorders of a list must agree.
    pub session_mode: Option<SessionMode>,
    /// Spell the Request-URI's parameters `otherdn` and `recorddn` instead of `otherDN` and `recordDN`.
    pub lower_case_parameters: bool,
    /// Further headers of the INVITE for this recorder, after those of the call.
    pub extra_headers: Vec<(String, String)>,
    /// TLS with it.
    pub tls: TlsProfile,
    /// It always sends receiver reports: one that sends none for 15 s is deaf.
    pub expects_reports: bool,
    /// How many times faster than real time it takes what was held, as in [`BranchLimits::catch_up`]; as the call says where
    /// not set. One that places packets by their arrival takes none: 0.
    ///
    /// [`BranchLimits::catch_up`]: siprec_model::BranchLimits::catch_up
    pub catch_up: Option<f32>,
    /// Nothing is sent again that it has not got, and nothing is said of that: it takes no `a=rtcp-fb` under `RTP/AVP`.
    pub without_retransmission: bool,
    /// How its media is protected; as every recorder's where not set.
    pub security: Option<SecurityPolicy>,
    /// The proxies that it is reached through; as every recorder where not set, none where empty.
    pub outbound_proxy: Option<OutboundProxy>,
}

/// Whose payload type numbers are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadTypes {
    /// Those of our offer, whatever the answer lists (the vendor's text in the dialect `genesys`).
    Offered,
    /// Those of the answer, and only what it lists (RFC 3264 §5.1, §7).
    Answered,
}

/// Reads a list of recorders: SIP URIs separated by white space, in the order in which they are tried.
///
/// # Errors
/// Which entry is wrong, and why. An empty list is an error too.
pub fn parse_recorders(text: &str) -> Result<Vec<RecorderTarget>, RecorderListError> {
    let mut targets: Vec<RecorderTarget> = Vec::new();
    for (index, entry) in text.split_whitespace().enumerate() {
        let wrong =
            |fault| RecorderListError::Entry { position: index + 1, text: without_secrets(entry), fault };
        let uri = parse_address(entry).map_err(wrong)?;
        if targets.iter().any(|target| target.is_at(&uri)) {
            return Err(wrong(RecorderFault::Twice));
        }
        targets.push(RecorderTarget::new(uri));
    }
    if targets.is_empty() { Err(RecorderListError::Empty) } else { Ok(targets) }
}

/// Why a list of recorders cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecorderListError {
    /// There is nothing in it.
    #[error("no recorder is given")]
    Empty,
    /// A pool is named that cannot be.
    #[error(transparent)]
    PoolName(#[from] PoolNameError),
    /// A pool stands for all of them.
    #[error("a pool stands alone: nothing may stand beside it")]
    BesidePool,
    /// One entry is wrong.
    #[error("recorder {position} (\"{text}\") {fault}")]
    Entry {
        /// Which, from 1.
        position: usize,
        /// The entry, without user, password and headers.
        text: String,
        /// What is wrong with it.
        fault: RecorderFault,
    },
}

/// What is wrong with a recorder's URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecorderFault {
    /// It does not parse.
    #[error("is no URI: {0}")]
    Malformed(String),
    /// It has another scheme.
    #[error("begins with \"{0}:\" instead of \"sip:\" or \"sips:\"")]
    Scheme(String),
    /// It has no host.
    #[error("has no host")]
    NoHost,
    /// Its host is an address that no one host has: a wildcard, a group, or all hosts of a network.
    #[error("has the host {0}, which is no host's address")]
    NotOneHost(IpAddr),
    /// Its port is 0, where nobody can listen.
    #[error("has port 0, where nobody can listen")]
    Port,
    /// It asks for a transport that we do not speak.
    #[error("asks for the transport \"{0}\", which is none of \"udp\", \"tcp\" and \"tls\"")]
    Transport(String),
    /// It has `?headers`, which a Request-URI cannot have (RFC 3261 §19.1.1).
    #[error("has headers (\"?…\"), which such an address cannot have")]
    Headers,
    /// It has a parameter that a Request-URI cannot have (RFC 3261 §19.1.1).
    #[error("has the parameter \"{0}\", which such an address cannot have")]
    Parameter(String),
    /// Its `maddr`, the host that is asked instead (RFC 3261 §19.1.1), is none, or one of many.
    #[error("has the parameter \"maddr\" with \"{0}\", which is no host's name or address")]
    Server(String),
    /// An address of the same recorder stands earlier in the list ([`RecorderPlace`]).
    #[error("is listed twice")]
    Twice,
}

/// A SIP URI that a request can be addressed to.
pub(crate) fn parse_address(entry: &str) -> Result<Uri, RecorderFault> {
    let uri = Uri::parse(entry).map_err(|error| RecorderFault::Malformed(error.to_string()))?;
    check_recorder(&uri)?;
    Ok(uri)
}

/// Finds what a recorder's address cannot have.
pub(crate) fn check_recorder(uri: &Uri) -> Result<(), RecorderFault> {
    if !["sip", "sips"].iter().any(|scheme| uri.scheme().eq_ignore_ascii_case(scheme)) {
        return Err(RecorderFault::Scheme(uri.scheme().to_owned()));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(RecorderFault::NoHost);
    }
    if let Some(address) = uri.host_ip().filter(|address| !is_one_host(address)) {
        return Err(RecorderFault::NotOneHost(address));
    }
    if uri.port() == Some(0) {
        return Err(RecorderFault::Port);
    }
    if let Some(name) = uri.param("transport")
        && !["udp", "tcp", "tls"].iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        return Err(RecorderFault::Transport(name.to_owned()));
    }
    if uri.headers().is_some() {
        return Err(RecorderFault::Headers);
    }
    if let Some(server) = uri.param_unescaped("maddr").filter(|server| !is_one_server(server)) {
        return Err(RecorderFault::Server(server.into_owned()));
    }
    match uri.params().find(|(name, _)| name.eq_ignore_ascii_case("method")) {
        Some((name, _)) => Err(RecorderFault::Parameter(name.to_owned())),
        None => Ok(()),
    }
}

fn is_one_server(server: &str) -> bool {
    let host = UriBuilder::sip(server).build();
    host.is_ok_and(|host| host.host_ip().is_none_or(|address| is_one_host(&address)))
}

/// Whether a session can be with whoever has the address; a group has no one answer (RFC 3261 §18.1.1 sends such requests
/// by `maddr`).
pub fn is_one_host(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    !address.is_unspecified() && !address.is_multicast() && address != Ipv4Addr::BROADCAST
}

/// `sip:user:secret@host?Header=secret` as `sip:host?…`. Works on text, so that malformed entries can be shown too.
pub(crate) fn without_secrets(uri: &str) -> String {
    let scheme = uri.find(':').map_or(0, |colon| colon + 1);
    // What looks like headers in the user part belongs to that (RFC 3261 §25.1).
    let (scheme, rest) = match uri.rfind('@') {
        Some(at) => (uri.get(..scheme).filter(|_| scheme <= at).unwrap_or_default(), uri.get(at + 1..)),
        None => ("", Some(uri)),
    };
    let rest = rest.unwrap_or_default();
    match rest.split_once('?') {
        Some((address, _)) => format!("{scheme}{address}?…"),
        None => format!("{scheme}{rest}"),
    }
}
