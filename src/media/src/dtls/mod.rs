//! DTLS-SRTP: keys by a handshake on the media's own ports (RFC 5763, RFC 5764).
//!
//! - [`Identity`] is our certificate, made for the process; its fingerprint goes into the session description.
//! - [`Association`] is one handshake with a recorder, without sockets and on the caller's clock. What it ends with are
//!   keys for a [`Protector`](crate::srtp::Protector), or why there are none.
//!
//! The handshake is DTLS 1.2 with ECDHE and ECDSA, by the crate `dimpl`; its cryptography is `ring`'s (`provider`).
//! A recorder with an RSA certificate cannot be spoken to.
//!
//! # Rules and where they stand
//! | rule | source | where |
//! |---|---|---|
//! | the certificate is the one of the description, else the session fails | RFC 5763 §5, RFC 8122 §6.2 | [`Association`] |
//! | profiles, and keys from the exporter | RFC 5764 §4.1.2, §4.2; RFC 7714 §14.2 | `keys` |
//! | what is DTLS on a port of RTP | RFC 7983 §7 | [`is_dtls`] |
//! | records and messages that cannot be the recorder's are passed over | RFC 6347 §4.1.2.7 | `record`, `intake` |
//! | nothing in the clear is believed before a signature over our random bytes | RFC 5246 §7.4.3, §7.4.8 | `proof` |

mod assembly;
mod association;
mod certificate;
mod identity;
mod intake;
mod keys;
mod proof;
mod provider;
mod record;

pub use association::{Association, AssociationEvent, AssociationFault, LARGEST_DATAGRAM};
pub use identity::{HANDSHAKE_LIMIT, Identity, IdentityFault};

/// Whether a datagram that came to a port of RTP or RTCP is of DTLS, by its first byte (RFC 7983 §7).
pub fn is_dtls(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (20..64).contains(first))
}
