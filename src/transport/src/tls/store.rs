//! Certificates, keys and authorities, and what connections are made with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use siprec_model::TlsVersion;

use super::files::Watched;
use super::verify::SipVerifier;
use super::{TlsConfig, TlsIdentity, TlsPeer, pem};
use crate::TlsError;
use crate::transport::lock;

/// Most files of authorities that are remembered, one for each recorder that has its own.
const FILES: usize = 1024;

/// Everything that TLS needs; every method blocks, for it may read files.
#[derive(Debug)]
pub(crate) struct TlsStore {
    provider: Arc<CryptoProvider>,
    min_version: TlsVersion,
    identity: Option<Watched<CertifiedKey>>,
    ca: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    authorities: Mutex<HashMap<PathBuf, Arc<Watched<RootCertStore>>>>,
}

impl TlsStore {
    /// Reads every file that is named.
    ///
    /// # Errors
    /// The first one that cannot be used, and why.
    pub(crate) fn open(config: &TlsConfig) -> Result<Self, TlsError> {
        if config.listen.is_some() && config.identity.is_none() {
            return Err(TlsError::NoIdentity);
        }
        let identity = match &config.identity {
            Some(TlsIdentity { certificate, key }) => {
                Some(Watched::open(vec![certificate.clone(), key.clone()], certified_key)?)
            }
            None => None,
        };
        let store = Self {
            provider: Arc::new(ring::default_provider()),
            min_version: config.min_version,
            identity,
            ca: config.ca.clone(),
            client_ca: config.client_ca.clone(),
            authorities: Mutex::default(),
        };
        for path in [&config.ca, &config.client_ca].into_iter().flatten() {
            store.authorities(path)?;
        }
        Ok(store)
    }

    /// What a connection to `peer` is made with. Nothing is kept from one connection to the next, so that a change of
    /// files counts for the next one.
    ///
    /// # Errors
    /// A file that never could be used, or a peer without a proper name.
    pub(crate) fn client(
        &self,
        peer: &TlsPeer,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
        let name = ServerName::try_from(peer.name.clone()).map_err(|_| TlsError::Name(peer.name.clone()))?;
        let roots = match peer.ca.as_ref().or(self.ca.as_ref()) {
            Some(path) => self.authorities(path)?,
            None => system_authorities()?,
        };
        let verifier = SipVerifier::new(roots, Arc::clone(&self.provider));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions(peer.min_version.unwrap_or(self.min_version)))
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.current())))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), name))
    }

    /// What a connection that arrived is served with.
    ///
    /// # Errors
    /// As [`TlsStore::client`].
    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let identity = self.identity.as_ref().ok_or(TlsError::NoIdentity)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions(self.min_version))
            .map_err(refused)?;
        let builder = match &self.client_ca {
            Some(path) => {
                let roots = self.authorities(path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
                    .build()
                    .map_err(|error| TlsError::Refused(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.current())));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn authorities(&self, path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
        let known = lock(&self.authorities).get(path).map(Arc::clone);
        let watched = match known {
            Some(watched) => watched,
            None => {
                let watched = Arc::new(Watched::open(vec![path.to_owned()], root_store)?);
                let mut authorities = lock(&self.authorities);
                if authorities.len() >= FILES {
                    authorities.clear();
                }
                authorities.insert(path.to_owned(), Arc::clone(&watched));
                watched
            }
        };
        Ok(watched.current())
    }
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST: &[&SupportedProtocolVersion] = &[&version::TLS13];
    static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    match oldest {
        TlsVersion::V1_2 => BOTH,
        TlsVersion::V1_3 => NEWEST,
    }
}

fn refused(error: rustls::Error) -> TlsError {
    TlsError::Refused(error.to_string())
}

/// Reads a certificate's file and its key's.
fn certified_key(files: &[(&Path, &[u8])]) -> Result<CertifiedKey, TlsError> {
    let [(certificate_path, certificate), (key_path, key)] = files else {
        return Err(TlsError::NoIdentity);
    };
    let chain = pem::certificates(certificate_path, certificate)?;
    for (line, certificate) in &chain {
        check(certificate_path, *line, certificate)?;
    }
    let chain = chain.into_iter().map(|(_, certificate)| certificate).collect();
    let (line, key) = pem::private_key(key_path, key)?;
    match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
        Ok(key) => Ok(key),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::OtherKey {
            certificate: certificate_path.to_path_buf(),
            key: key_path.to_path_buf(),
        }),
        Err(error) => Err(malformed(key_path, line, &format!("this key cannot be used: {error}"))),
    }
}

/// Reads a file of authorities.
fn root_store(files: &[(&Path, &[u8])]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (path, text) in files {
        for (line, certificate) in pem::certificates(path, text)? {
            roots.add(certificate).map_err(|error| {
                malformed(path, line, &format!("this certificate cannot be used: {error}"))
            })?;
        }
    }
    Ok(roots)
}

fn check(
    path: &Path,
    line: usize,
    certificate: &rustls::pki_types::CertificateDer<'_>,
) -> Result<(), TlsError> {
    webpki::EndEntityCert::try_from(certificate)
        .map(drop)
        .map_err(|error| malformed(path, line, &format!("this certificate cannot be used: {error}")))
}

fn malformed(path: &Path, line: usize, reason: &str) -> TlsError {
    TlsError::Malformed { path: path.to_path_buf(), line, reason: reason.to_owned() }
}

/// What the system trusts, read anew: it may have changed, and connections are few.
fn system_authorities() -> Result<Arc<RootCertStore>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems keep certificates that no library reads any more.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = if reasons.is_empty() { "none was found".to_owned() } else { reasons.join("; ") };
        return Err(TlsError::NoSystemAuthorities(reason));
    }
    Ok(Arc::new(roots))
}
