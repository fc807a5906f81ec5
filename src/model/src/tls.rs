//! What is particular about TLS with one peer.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A version of TLS that may be spoken. Older ones are broken (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// `1.2` or `1.3`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a version of TLS that may be spoken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no version of TLS that may be spoken: \"1.2\" or \"1.3\"")]
pub struct UnknownTlsVersion(String);

impl FromStr for TlsVersion {
    type Err = UnknownTlsVersion;

    fn from_str(text: &str) -> Result<Self, UnknownTlsVersion> {
        [Self::V1_2, Self::V1_3]
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownTlsVersion(text.to_owned()))
    }
}

/// What is particular about TLS with one recorder; what is not set is as for every recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsProfile {
    /// The name (DNS name or IP address) that the recorder's certificate must be for, instead of the host of its URI.
    pub server_name: Option<String>,
    /// PEM file of the certificate authorities that may have signed the recorder's certificate.
    pub ca: Option<PathBuf>,
    /// The oldest version that is spoken with the recorder.
    pub min_version: Option<TlsVersion>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written_and_no_others() {
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            assert_eq!(version.as_str().parse(), Ok(version));
        }
        for wrong in ["1.1", "", "TLS 1.3", "1.20"] {
            assert!(wrong.parse::<TlsVersion>().unwrap_err().to_string().contains(wrong));
        }
    }
}
