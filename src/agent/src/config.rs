//! What an agent is made from.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use siprec_model::Fingerprint;
use siprec_session::OutboundProxy;
use siprec_sip::Credentials;
use siprec_transport::{Limits, TlsConfig};

use crate::pool::{Pools, RecorderWatch};

/// Addresses, names and bounds of an [`Agent`](crate::Agent).
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Local address of SIP; `None` is every address of the host, and each recorder sees the one that the route to it
    /// begins with.
    pub local_address: Option<IpAddr>,
    /// Local port of SIP, for UDP and TCP; 0 takes a free one.
    pub sip_port: u16,
    /// The address that Via and Contact name instead of the local one (a host behind address translation).
    pub advertised_address: Option<IpAddr>,
    /// Local address of RTP and RTCP; `None` is the one that SIP uses towards the recorder.
    pub media_address: Option<IpAddr>,
    /// User part of From and Contact of every recording.
    pub user: String,
    /// `User-Agent` of every recording, and `Server` of what the agent answers by itself.
    pub user_agent: String,
    /// Who we are to recorders and proxies that ask for a password.
    pub credentials: Vec<Credentials>,
    /// The fingerprint of the certificate that the media engine shows in handshakes of DTLS; without one no recording
    /// can be secured by those.
    pub certificate: Option<Fingerprint>,
    /// The proxies that recorders are reached through, unless their profiles say otherwise.
    pub outbound_proxy: OutboundProxy,
    /// The pools that recordings may name.
    pub pools: Pools,
    /// Most recordings at once, 0 for no bound. Default 0.
    pub max_sessions: usize,
    /// Differentiated services code point of SIP, 0-63; `None` leaves the system's.
    pub sip_dscp: Option<u8>,
    /// The DNS server that is asked for everything; `None` asks as the system does.
    pub dns_server: Option<SocketAddr>,
    /// How long a host name may take to be resolved. Default 4 s.
    pub resolve_timeout: Duration,
    /// Where dialogs are written down, so that those of a process that crashes are ended by the next agent with the same
    /// folder; nowhere by default. It is made where only its last part is missing.
    pub state_dir: Option<PathBuf>,
    /// TLS: whom we believe, and what we show. Recorders' profiles may say otherwise for one of them.
    pub tls: TlsConfig,
    /// Bounds of the SIP transport.
    pub limits: Limits,
    /// Told of recorders of pools whose state changes, on the thread that tells the application everything.
    pub watcher: Option<RecorderWatch>,
    /// Where the agent's tasks and its notifier thread log to; `None` is wherever the process logs to. No global
    /// subscriber is ever installed.
    pub log: Option<tracing::Dispatch>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            local_address: None,
            sip_port: 0,
            advertised_address: None,
            media_address: None,
            user: "siprec".to_owned(),
            user_agent: concat!("gst-siprec/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials: Vec::new(),
            certificate: None,
            outbound_proxy: OutboundProxy::default(),
            pools: Pools::default(),
            max_sessions: 0,
            sip_dscp: None,
            dns_server: None,
            resolve_timeout: Duration::from_secs(4),
            state_dir: None,
            tls: TlsConfig::default(),
            limits: Limits::default(),
            watcher: None,
            log: None,
        }
    }
}
