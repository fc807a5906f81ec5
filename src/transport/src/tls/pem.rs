//! PEM files (RFC 7468), with the lines of what is wrong in them.

use std::path::Path;

use rustls::pki_types::pem::{self, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroize as _;

use crate::TlsError;

/// Certificates, each with the line where it begins. At least one.
pub(super) fn certificates(
    path: &Path,
    text: &[u8],
) -> Result<Vec<(usize, CertificateDer<'static>)>, TlsError> {
    let mut found = Vec::new();
    for mut section in sections(path, text)? {
        if section.kind == Some(SectionKind::Certificate) {
            found.push((section.line, CertificateDer::from(std::mem::take(&mut section.der))));
        }
    }
    if found.is_empty() {
        let hint = if contains(text, b"PRIVATE KEY-----") { ": it has a private key" } else { "" };
        return Err(TlsError::Missing { path: path.into(), wanted: "certificate", hint });
    }
    Ok(found)
}

/// The first private key, with the line where it begins.
pub(super) fn private_key(path: &Path, text: &[u8]) -> Result<(usize, PrivateKeyDer<'static>), TlsError> {
    for mut section in sections(path, text)? {
        let der = std::mem::take(&mut section.der);
        let key = match section.kind {
            Some(SectionKind::PrivateKey) => PrivateKeyDer::Pkcs8(der.into()),
            Some(SectionKind::RsaPrivateKey) => PrivateKeyDer::Pkcs1(der.into()),
            Some(SectionKind::EcPrivateKey) => PrivateKeyDer::Sec1(der.into()),
            _ => continue,
        };
        return Ok((section.line, key));
    }
    let hint = match () {
        () if contains(text, b"ENCRYPTED") => ": it is encrypted, and must not be",
        () if contains(text, b"BEGIN CERTIFICATE-----") => ": it has a certificate",
        () => "",
    };
    Err(TlsError::Missing { path: path.into(), wanted: "private key", hint })
}

/// What stands between two markers.
struct Section {
    line: usize,
    /// `None` where it is of no kind that is known.
    kind: Option<SectionKind>,
    der: Vec<u8>,
}

fn sections(path: &Path, text: &[u8]) -> Result<Vec<Section>, TlsError> {
    let mut found = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    let mut offset = 0;
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let start = offset;
        offset += line.len();
        let malformed =
            |line, reason: &str| TlsError::Malformed { path: path.into(), line, reason: reason.to_owned() };
        if line.starts_with(b"-----BEGIN ") {
            if let Some((began, _)) = open {
                return Err(malformed(began, "this section has no END line"));
            }
            open = Some((number + 1, start));
        } else if line.starts_with(b"-----END ") {
            let Some((began, from)) = open.take() else {
                return Err(malformed(number + 1, "an END line without a BEGIN line"));
            };
            // A key that carries headers is encrypted (RFC 1421), which its user is told.
            let slice = text.get(from..offset).unwrap_or_default();
            if contains(slice, b"Proc-Type:") {
                continue;
            }
            let mut reader = slice;
            match pem::from_buf(&mut reader) {
                Ok(Some((kind, der))) => found.push(Section { line: began, kind: Some(kind), der }),
                Ok(None) => found.push(Section { line: began, kind: None, der: Vec::new() }),
                Err(pem::Error::Base64Decode(_)) => {
                    return Err(malformed(began, "this section is no base64"));
                }
                Err(pem::Error::MissingSectionEnd { .. }) => {
                    return Err(malformed(began, "this section ends with the END line of another kind"));
                }
                Err(error) => return Err(malformed(began, &error.to_string())),
            }
        }
    }
    match open {
        Some((line, _)) => {
            let reason = "this section has no END line".to_owned();
            Err(TlsError::Malformed { path: path.into(), line, reason })
        }
        None => Ok(found),
    }
}

/// A file may hold a key among others, which is not left in memory.
impl Drop for Section {
    fn drop(&mut self) {
        self.der.zeroize();
    }
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
