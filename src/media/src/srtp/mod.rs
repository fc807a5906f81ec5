//! SRTP and SRTCP: packets decrypted with the call's keys, and encrypted with a recorder's own.
//!
//! - [`Protector`] is the recording side: it uses each index of its key once only, whatever it is given.
//! - [`Unprotector`] is the call's side: several keys, joining in the middle, replays and forgeries told apart.
//! - [`CallKey`] is a key as a call's application gives it, with the [`Policy`] that it asks for, a suite's or not.
//! - [`Passed`] follows a call while nobody decrypts it.
//! - [`Backend`] is whose cryptography is used.
//!
//! Packets are protected and unprotected in their place; after warm-up none costs a heap allocation. Derived keys are
//! overwritten when they go, and nothing here has a `Debug` that shows one.
//!
//! ```
//! use siprec_media::srtp::{Protector, Unprotector};
//! use siprec_model::{SrtpKey, SrtpSuite};
//!
//! let key = SrtpKey::new(SrtpSuite::AeadAes128Gcm, &[7; 28]).unwrap();
//! let packet = [0x80, 0, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF];
//!
//! let mut out = packet.to_vec();
//! let length = Protector::new(&key).unwrap().protect_rtp(&mut out, packet.len(), 2, 0x1234).unwrap();
//! assert_eq!((out.len(), length), (packet.len() + 16, packet.len() + 16));
//!
//! let mut call = Unprotector::new();
//! call.add_key(&key).unwrap();
//! let length = call.unprotect_rtp(&mut out).unwrap();
//! assert_eq!(out[..length], packet);
//! ```
//!
//! # Rules and where they stand
//! | rule | source | where |
//! |---|---|---|
//! | session keys, key derivation rate 0 | RFC 3711 §4.3, RFC 6188 §3, RFC 7714 §11 | `derivation` |
//! | transforms | RFC 3711 §4.1.1, §4.2; RFC 6188; RFC 7714 §8, §9 | `counter_mode`, `gcm` |
//! | master key identifier | RFC 3711 §3.1, §3.4 | `keyset` |
//! | no index twice, at most 8 sources, packets under one key | RFC 3711 §9.1, §9.2; RFC 7714 §8.4 | `protector` |
//! | rollover counter | RFC 3711 §3.3.1, appendix A | `rollover` |
//! | replay | RFC 3711 §3.3.2 | `window` |

mod admission;
mod call_key;
mod counter_mode;
mod derivation;
mod gcm;
mod header;
mod hmac_sha1;
mod keyset;
#[cfg(feature = "libsrtp")]
mod libsrtp;
mod passed;
mod policy;
mod protector;
mod rollover;
mod track;
mod transform;
mod unprotector;
mod unread;
#[cfg(test)]
mod vectors;
mod window;

pub use call_key::CallKey;
pub use passed::Passed;
pub use policy::{Authentication, Cipher, Policy, PolicyFault, UnknownName};
pub use protector::{KeyLimits, KeyRefused, ProtectFault, Protector, Wear};
pub use transform::Backend;
pub use unprotector::{MAX_KEYS, UnprotectFault, Unprotector};
