//! Authorities and certificates made for a test, in files.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use siprec_transport::TlsIdentity;
use tempfile::TempDir;

/// A folder of files, and the authority that signs them.
pub(crate) struct Pki {
    pub(crate) folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// What is particular about a certificate.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) dns: &'a [&'a str],
    pub(crate) uris: &'a [&'a str],
    pub(crate) addresses: &'a [&'a str],
    pub(crate) common_name: &'a str,
    /// Years from which and until which it is valid.
    pub(crate) years: Option<(i32, i32)>,
    /// For SIP domains only (RFC 5924).
    pub(crate) sip_only: bool,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name are told apart by their keys, and each test should be about one thing.
        let name = format!("Authority of {}", folder.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Writes `NAME.pem` and `NAME.key`; the files that are there are replaced.
    pub(crate) fn issue(&self, name: &str, wanted: &Wanted<'_>) -> TlsIdentity {
        let mut params = CertificateParams::default();
        let text = |text: &&str| (*text).try_into().unwrap();
        let uris = wanted.uris.iter().map(|uri| SanType::URI(text(uri)));
        let dns = wanted.dns.iter().map(|name| SanType::DnsName(text(name)));
        let addresses = wanted.addresses.iter().map(|address| SanType::IpAddress(address.parse().unwrap()));
        params.subject_alt_names = uris.chain(dns).chain(addresses).collect();
        params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        if let Some((from, until)) = wanted.years {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        }
        if wanted.sip_only {
            let sip_domain = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
            params.extended_key_usages.push(sip_domain);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate.pem(), &key.serialize_pem())
    }

    pub(crate) fn write(&self, name: &str, certificate: &str, key: &str) -> TlsIdentity {
        let identity = self.issued(name);
        fs::write(&identity.certificate, certificate).unwrap();
        fs::write(&identity.key, key).unwrap();
        identity
    }

    /// What was issued by this name.
    pub(crate) fn issued(&self, name: &str) -> TlsIdentity {
        TlsIdentity { certificate: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    /// The certificate of a host of this name.
    pub(crate) fn host(&self, name: &str) -> TlsIdentity {
        self.issue(name, &Wanted { dns: &[name], ..Wanted::default() })
    }
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
