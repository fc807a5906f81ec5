//! What can be wrong with the files of TLS.

use std::path::{Path, PathBuf};

/// Why a file of TLS cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// It is missing, or may not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A section of it is broken.
    #[error("{}, line {line}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where the section begins, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It has nothing of the kind that it is for.
    #[error("{} has no {wanted} in PEM{hint}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
        /// What is there instead, where that is known.
        hint: &'static str,
    },
    /// Certificate and key are not of one pair.
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Connections cannot be taken without a certificate to show.
    #[error("TLS connections cannot be taken without a certificate and its key")]
    NoIdentity,
    /// There are no authorities.
    #[error("this system trusts no certificate authority ({0}); give a CA file")]
    NoSystemAuthorities(String),
    /// The peer's name is neither a DNS name nor an IP address.
    #[error("\"{0}\" is no name that a certificate could be for")]
    Name(String),
    /// The library refuses the settings.
    #[error("{0}")]
    Refused(String),
}

impl TlsError {
    /// The file that is to be put right, where it is one; the key's, where the two do not belong together.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. } | Self::Malformed { path, .. } | Self::Missing { path, .. } => {
                Some(path)
            }
            Self::OtherKey { key, .. } => Some(key),
            Self::NoIdentity | Self::NoSystemAuthorities(_) | Self::Name(_) | Self::Refused(_) => None,
        }
    }
}
