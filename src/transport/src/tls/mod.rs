//! TLS under SIP: whose certificates are believed (RFC 5922), and which are ours.

mod error;
mod explain;
mod files;
mod pem;
mod store;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use siprec_model::{TlsProfile, TlsVersion};

pub use error::TlsError;
pub(crate) use explain::explain;
pub(crate) use store::TlsStore;

/// TLS of a transport. Files are read at the start and again when they have changed, at each new connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Our certificate: shown to peers that ask for one, and to those that connect to us.
    pub identity: Option<TlsIdentity>,
    /// PEM file of the certificate authorities that may have signed the certificate of a peer that we connect to;
    /// `None` is those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Where connections by TLS are taken; needs an [`identity`](Self::identity). Port 0 takes a free one; an IPv6
    /// wildcard takes IPv4 too.
    pub listen: Option<SocketAddr>,
    /// PEM file of the certificate authorities one of which must have signed the certificate of whoever connects to us;
    /// `None` asks for none.
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    /// Reads every file that is named, as a transport does when it begins. Blocks.
    ///
    /// # Errors
    /// The first one that cannot be used, and why.
    pub fn check(&self) -> Result<(), TlsError> {
        TlsStore::open(self).map(drop)
    }
}

/// Files of a certificate and its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The certificate, then those that lead from it to its authority.
    pub certificate: PathBuf,
    /// The certificate's private key (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}

/// Whom a connection by TLS must lead to, and how that is checked. Each has connections of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsPeer {
    /// The DNS name or IP address that the peer's certificate must be for (RFC 5922 §7).
    pub name: String,
    /// Authorities instead of [`TlsConfig::ca`].
    pub ca: Option<PathBuf>,
    /// The oldest version instead of [`TlsConfig::min_version`].
    pub min_version: Option<TlsVersion>,
}

impl TlsPeer {
    /// The peer named `host` in a URI, with what is particular about it.
    pub fn new(host: &str, profile: &TlsProfile) -> Self {
        let name = profile.server_name.as_deref().unwrap_or(host);
        Self {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            ca: profile.ca.clone(),
            min_version: profile.min_version,
        }
    }

    /// Whether a certificate could be for the name.
    ///
    /// # Errors
    /// [`TlsError::Name`].
    pub fn check_name(&self) -> Result<(), TlsError> {
        match ServerName::try_from(self.name.as_str()) {
            Ok(_) => Ok(()),
            Err(_) => Err(TlsError::Name(self.name.clone())),
        }
    }
}
