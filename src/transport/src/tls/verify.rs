//! Whether a server's certificate is the one that it should be.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use siprec_sip::Uri;
use webpki::{EndEntityCert, KeyUsage};

/// `id-kp-sipDomain` (RFC 5924 §4), in the form of its content octets.
const SIP_DOMAIN: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x14];

/// Verifies a SIP server's certificate: its chain as usual, its name by RFC 5922 §7.
pub(super) struct SipVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl SipVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Self {
        Self { roots, provider }
    }
}

impl fmt::Debug for SipVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipVerifier").field("authorities", &self.roots.len()).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for SipVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let bad = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let certificate = EndEntityCert::try_from(end_entity).map_err(bad)?;
        if let Err(error) =
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)
        {
            // RFC 5924: a certificate may be for SIP domains only.
            let usage = KeyUsage::required(SIP_DOMAIN);
            let roots = &self.roots.roots;
            certificate
                .verify_for_usage(algorithms, roots, intermediates, now, usage, None, None)
                .map_err(|_| error)?;
        }
        verify_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// RFC 5922 §7.1-7.2: a `sip:` URI without user part, or a DNS name, in subjectAltName; without regard to case, and never
/// by a wildcard. A host that is an address may stand there as such too. The common name does not count.
fn verify_name(certificate: &EndEntityCert<'_>, wanted: &ServerName<'_>) -> Result<(), rustls::Error> {
    let hosts: Vec<String> = certificate.valid_uri_names().filter_map(sip_host).collect();
    let dns: Vec<&str> = certificate.valid_dns_names().filter(|name| !name.contains('*')).collect();
    let verified = match wanted {
        ServerName::DnsName(domain) => {
            let domain = domain.as_ref();
            hosts.iter().map(String::as_str).chain(dns).any(|name| name.eq_ignore_ascii_case(domain))
        }
        ServerName::IpAddress(address) => {
            let address = IpAddr::from(*address);
            hosts.iter().any(|host| host.parse() == Ok(address))
                || certificate.verify_is_valid_for_subject_name(wanted).is_ok()
        }
        _ => false,
    };
    if verified {
        return Ok(());
    }
    let uris = certificate.valid_uri_names().map(str::to_owned);
    let presented = certificate.valid_dns_names().map(str::to_owned).chain(uris).collect();
    let expected = wanted.to_owned();
    Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }))
}

/// The domain that a URI in a certificate stands for.
fn sip_host(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    let is_domain = uri.scheme().eq_ignore_ascii_case("sip") && uri.user().is_none();
    let host = uri.host().filter(|_| is_domain)?;
    Some(host.trim_matches(['[', ']']).to_owned())
}
