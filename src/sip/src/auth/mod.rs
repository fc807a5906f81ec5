//! Digest authentication as a client (RFC 3261 §22, RFC 7616, RFC 8760).

mod challenge;
mod credentials;
mod digest;
mod keyring;

pub use credentials::{Credentials, CredentialsError, Password};
pub use keyring::ChallengeFault;
pub(crate) use keyring::{Attempts, Keyring};

use crate::{HeaderName, Headers};

/// Who asks for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// The callee: 401 (RFC 3261 §22.2).
    Server,
    /// A proxy on the way: 407 (RFC 3261 §22.3).
    Proxy,
}

impl Asker {
    const ALL: [Asker; 2] = [Asker::Server, Asker::Proxy];

    /// The header that asks.
    fn challenge(self) -> HeaderName {
        match self {
            Asker::Server => HeaderName::WwwAuthenticate,
            Asker::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header that answers.
    fn credentials(self) -> HeaderName {
        match self {
            Asker::Server => HeaderName::Authorization,
            Asker::Proxy => HeaderName::ProxyAuthorization,
        }
    }

    /// The header of a success that says what to use from now on (RFC 7616 §3.5, RFC 7615 §4).
    fn info(self) -> HeaderName {
        match self {
            Asker::Server => HeaderName::AuthenticationInfo,
            Asker::Proxy => HeaderName::ProxyAuthenticationInfo,
        }
    }
}

/// The credentials in the headers of a request, as they are.
pub(crate) fn credentials_of(headers: &Headers) -> Headers {
    let mut credentials = Headers::new();
    for asker in Asker::ALL {
        credentials.copy_from(headers, &asker.credentials());
    }
    credentials
}
