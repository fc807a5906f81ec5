//! Fingerprints of certificates (RFC 8122 §5).

use std::fmt;
use std::str::FromStr;

/// How a certificate is hashed. Those that are broken (MD2, MD5, SHA-1) are not among them (RFC 8122 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateHash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl CertificateHash {
    /// Every one, the strongest last.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in `a=fingerprint`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// Bytes of its result.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a certificate is known by: the hash of its DER. No secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: CertificateHash,
    digest: Box<[u8]>,
}

/// Why a text is no fingerprint that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintFault {
    /// The hash is not known, or is broken.
    #[error("the hash {0:?} of a fingerprint is not one of sha-256, sha-384 and sha-512")]
    Hash(String),
    /// It is not pairs of hexadecimal digits with colons between them, as many as the hash has bytes.
    #[error("a fingerprint with {0} has {len} bytes, each of two hexadecimal digits", len = .0.length())]
    Digest(CertificateHash),
}

impl Fingerprint {
    /// From the hash of a certificate.
    ///
    /// # Errors
    /// [`FingerprintFault::Digest`] where it has another length.
    pub fn new(hash: CertificateHash, digest: &[u8]) -> Result<Self, FingerprintFault> {
        match digest.len() == hash.length() {
            true => Ok(Self { hash, digest: digest.into() }),
            false => Err(FingerprintFault::Digest(hash)),
        }
    }

    /// How the certificate was hashed.
    pub const fn hash(&self) -> CertificateHash {
        self.hash
    }

    /// The bytes.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintFault;

    /// Reads the value of `a=fingerprint`; digits of either case, since both are found.
    fn from_str(text: &str) -> Result<Self, FingerprintFault> {
        let text = text.trim();
        let (name, digits) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let hash = CertificateHash::ALL.into_iter().find(|hash| name.eq_ignore_ascii_case(hash.as_str()));
        let hash = hash.ok_or_else(|| FingerprintFault::Hash(name.chars().take(32).collect()))?;
        let byte = |pair: &str| match pair.as_bytes() {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(pair, 16).ok()
            }
            _ => None,
        };
        // One more than there may be, so that too many are not taken for enough.
        let bytes = digits.trim().split(':').take(hash.length() + 1).map(byte);
        let digest: Option<Vec<u8>> = bytes.collect();
        Self::new(hash, &digest.ok_or(FingerprintFault::Digest(hash))?)
    }
}

impl fmt::Display for Fingerprint {
    /// As in `a=fingerprint`, upper case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hash)?;
        for (index, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8122 §5's example, which is of a hash that is none of ours, and the same with one that is.
    const EXAMPLE: &str =
        "12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD";

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for hash in CertificateHash::ALL {
            let digest: Vec<u8> = (0..hash.length()).map(|byte| byte as u8 ^ 0xA5).collect();
            let fingerprint = Fingerprint::new(hash, &digest).unwrap();
            assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint.clone()));
            assert_eq!(fingerprint.to_string().to_lowercase().parse(), Ok(fingerprint));
        }
        let fingerprint: Fingerprint = format!("SHA-256  {EXAMPLE} ").parse().unwrap();
        assert_eq!(
            (fingerprint.hash(), fingerprint.digest()[..3].to_vec()),
            (CertificateHash::Sha256, vec![0x12, 0xDF, 0x3E])
        );
        assert_eq!(fingerprint.to_string(), format!("sha-256 {EXAMPLE}"));
    }

    #[test]
    fn what_is_none_is_named() {
        let fault = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        assert_eq!(fault(" "), FingerprintFault::Hash(String::new()));
        for name in ["md5", "sha-1", "sha256"] {
            assert_eq!(fault(&format!("{name} {EXAMPLE}")), FingerprintFault::Hash(name.to_owned()));
        }
        assert!(fault(&format!("{} {EXAMPLE}", "x".repeat(999))).to_string().len() < 120);
        let cases = [
            String::new(),
            EXAMPLE[3..].to_owned(),
            format!("{EXAMPLE}:00"),
            format!("{EXAMPLE}:"),
            EXAMPLE.replace(':', ""),
            EXAMPLE.replacen("12", "+2", 1),
            EXAMPLE.replacen("12", "\u{e9}", 1),
        ];
        for digits in cases {
            assert_eq!(
                fault(&format!("sha-256 {digits}")),
                FingerprintFault::Digest(CertificateHash::Sha256),
                "{digits}"
            );
        }
        assert!(
            Fingerprint::new(CertificateHash::Sha384, &[0; 32]).unwrap_err().to_string().contains("48 bytes")
        );
    }
}
