//! Why a handshake failed, in words for those who run the two programs.

use std::io;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// Explains the end of a connection by TLS.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => explain_tls(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        None => error.to_string(),
    }
}

fn explain_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => {
            format!("the peer's certificate is refused: {}", explain_certificate(fault))
        }
        rustls::Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "the peer speaks no version of TLS that we allow".to_owned(),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        other => other.to_string(),
    }
}

fn explain_certificate(fault: &CertificateError) -> String {
    match fault {
        // The latter where an authority that we trust is merely called like the one that signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "none of the authorities that we trust has signed it".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = match presented.as_slice() {
                [] => "no name that counts".to_owned(),
                names => names.join(", "),
            };
            format!("it is for {presented}, not for {}", expected.to_str())
        }
        other => {
            // The library has no variant of its own for what happens most with certificates made by hand.
            let text = format!("{other:?}");
            match text.contains("CaUsedAsEndEntity") {
                true => {
                    "it is an authority's own certificate, which may not serve as that of a host".to_owned()
                }
                false => other.to_string(),
            }
        }
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate of ours",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::UnsupportedCertificate => "it does not accept the certificate",
        AlertDescription::CertificateExpired => "it finds the certificate expired",
        AlertDescription::CertificateRevoked => "it finds the certificate revoked",
        AlertDescription::UnknownCA => "it does not trust the authority that signed the certificate",
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we allow",
        AlertDescription::HandshakeFailure => {
            "it and we have no way to agree, or it asks for a certificate of ours"
        }
        AlertDescription::UnrecognisedName => "it does not know the name that it was asked for",
        other => return format!("the peer refuses: {other:?}"),
    };
    format!("the peer refuses: {why}")
}
