//! SIP over UDP, TCP and TLS, for the recording agent and for the reference recorder.
//!
//! One [`Transport`] owns one local port number for UDP and TCP, and one more for TLS. [`Transport::send`] and
//! [`Transport::respond`] only queue and never wait; what arrives, and what could not be delivered, comes out of one
//! bounded channel of [`Incoming`].
//!
//! | rule | where |
//! |---|---|
//! | RFC 3261 §18.1.1: requests over 1300 bytes by TCP, by UDP where TCP is refused | [`Transport::send`] |
//! | RFC 3261 §18.2.1, RFC 3581 §4: `received`, `rport` | `via` |
//! | RFC 3261 §18.2.2: responses back on the request's transport | [`Transport::respond`] |
//! | RFC 3261 §18.3: framing; a request that lies about its length is answered 400 | `inbound`, `stream` |
//! | RFC 5626 §4.4.1: keepalives, sent and answered | [`KeepAlive`], `keepalive`, `carry` |
//! | RFC 3261 §26.2.1, RFC 5922 §7: TLS, and whose certificate is believed | [`TlsConfig`], [`TlsPeer`], `tls` |
//! | RFC 3261 §19.1.2, RFC 3263 §4, RFC 2782: from a URI to transport, addresses and ports | [`Target`], [`Transport::resolve`] |
//!
//! Everything is bounded: connections, the write queue of each, the size of a message, the channel of arrivals.

#![forbid(unsafe_code)]

mod carry;
mod config;
mod connection;
mod counters;
mod destination;
mod dns;
mod error;
mod inbound;
mod keepalive;
mod peers;
mod socket;
mod stream;
mod tls;
mod transport;
mod udp;
mod unreachable;
mod via;

pub use config::{Limits, TransportConfig};
pub use counters::TransportCounters;
pub use destination::{DEFAULT_PORT, DEFAULT_TLS_PORT, Destination, Protocol, Source};
pub use dns::Target;
pub use error::{BindError, ResolveError, SendError};
pub use keepalive::{KeepAlive, LostConnection};
pub use tls::{TlsConfig, TlsError, TlsIdentity, TlsPeer};
pub use transport::{Incoming, Received, SendFailure, Transport};
