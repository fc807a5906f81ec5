//! Our certificate.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dimpl::{Config, DtlsCertificate};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::digest::{SHA256, SHA384, SHA512, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use siprec_model::{CertificateHash, Fingerprint};
use zeroize::Zeroizing;

use super::provider;

/// How long a handshake may take by default, from the answer of the recorder on.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Whose certificate it says to be; nobody looks at it.
const NAME: &str = "siprec";
/// After how long a flight that was not answered is sent again, the first time. Recorders are near.
const FIRST_RETRY: Duration = Duration::from_millis(400);
/// Datagrams of ours are no larger: with the headers of IPv6 and UDP they pass every network.
const LARGEST_SENT: usize = 1150;
/// How many records of the recorder wait for others.
pub(super) const LONGEST_QUEUE: usize = 30;

/// A certificate with its key, made here and signed by itself, for as many associations as there are. It is known by its
/// fingerprint only. The key leaves no copy and has no `Debug`.
pub struct Identity {
    certificate: Vec<u8>,
    fingerprint: Fingerprint,
    pub(super) key: Arc<PrivateKey>,
    pub(super) config: Arc<Config>,
    /// How long each handshake may take.
    pub(super) limit: Duration,
}

/// Why no certificate could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFault {
    /// The system's randomness, or the library's self-tests failed.
    #[error("no certificate for DTLS could be made: {0}")]
    Failed(String),
}

/// The key of a certificate. Another one is written over it when it goes, since `ring` does not clear it.
pub(super) struct PrivateKey(EcdsaKeyPair);

impl Identity {
    /// Makes a certificate of ECDSA on P-256, which RFC 8827 §6.5 has every endpoint know.
    ///
    /// # Errors
    /// [`IdentityFault`]
    pub fn generate() -> Result<Self, IdentityFault> {
        Self::of(CertificateParams::default())
    }

    /// The same with more in it.
    pub(super) fn of(mut params: CertificateParams) -> Result<Self, IdentityFault> {
        let failed = |error: &dyn fmt::Display| IdentityFault::Failed(error.to_string());
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(&error))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        let certificate = params.self_signed(&pair).map_err(|error| failed(&error))?.der().to_vec();
        let key = PrivateKey::read(&Zeroizing::new(pair.serialize_der()));
        let key = key.ok_or(IdentityFault::Failed("its key cannot be read".to_owned()))?;
        let fingerprint = fingerprint(&certificate, CertificateHash::Sha256)
            .ok_or(IdentityFault::Failed("it cannot be hashed".to_owned()))?;
        let config = Config::builder()
            .with_crypto_provider(provider::provider())
            .mtu(LARGEST_SENT)
            .max_queue_rx(LONGEST_QUEUE)
            .require_client_certificate(true)
            // Who we speak to is known from signalling, and nobody else is answered.
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRY)
            .build()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            certificate,
            fingerprint,
            key: Arc::new(key),
            config: Arc::new(config),
            limit: HANDSHAKE_LIMIT,
        })
    }

    /// The same where a handshake may take so long, instead of [`HANDSHAKE_LIMIT`].
    #[must_use]
    pub const fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The SHA-256 of the certificate, for `a=fingerprint`.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The certificate, in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What `dimpl` takes; its key is handed over by [`provider::with_key`].
    pub(super) fn for_dimpl(&self) -> DtlsCertificate {
        DtlsCertificate { certificate: self.certificate.clone(), private_key: Vec::new() }
    }
}

/// The fingerprint alone.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.fingerprint.to_string()).finish()
    }
}

impl PrivateKey {
    fn read(pkcs8: &[u8]) -> Option<Self> {
        pair(pkcs8).map(Self)
    }

    /// The signature of this message, in ASN.1, by SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Option<ring::signature::Signature> {
        self.0.sign(&SystemRandom::new(), message).ok()
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        let other = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
        if let Some(other) = other.ok().and_then(|other| pair(other.as_ref())) {
            self.0 = other;
            black_box(&self.0);
        }
    }
}

fn pair(pkcs8: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new()).ok()
}

/// The fingerprint of a certificate.
pub(super) fn fingerprint(certificate: &[u8], hash: CertificateHash) -> Option<Fingerprint> {
    let algorithm = match hash {
        CertificateHash::Sha256 => &SHA256,
        CertificateHash::Sha384 => &SHA384,
        CertificateHash::Sha512 => &SHA512,
    };
    Fingerprint::new(hash, digest(algorithm, certificate).as_ref()).ok()
}
