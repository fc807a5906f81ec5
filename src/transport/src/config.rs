//! What a transport is made from.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::TlsConfig;

/// Address, port and bounds of a [`Transport`](crate::Transport).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportConfig {
    /// Local address; `None` is every address of the host, in both families where the host has them.
    pub local: Option<IpAddr>,
    /// Local port for UDP and TCP; 0 takes one that is free for both. That of TLS is in [`TlsConfig`].
    pub port: u16,
    /// Differentiated services code point of what is sent, 0-63 (RFC 2474); `None` leaves the system's.
    pub dscp: Option<u8>,
    /// The DNS server that is asked for everything; `None` asks as the system does.
    pub dns_server: Option<SocketAddr>,
    /// TLS.
    pub tls: TlsConfig,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a [`Transport`](crate::Transport) against peers that are slow, dead or hostile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time for a connection to be accepted. Default 1.5 s: one repetition of the SYN, and the fall back to
    /// UDP still comes within the 2 s in which a first response is wanted.
    pub connect_timeout: Duration,
    /// Longest time for the handshake of TLS on a connection of ours, once it is accepted. Default 1.5 s: with
    /// [`connect_timeout`](Self::connect_timeout), most of the time in which a first response is wanted. A handshake that
    /// a peer begins counts as a message.
    pub handshake_timeout: Duration,
    /// A connection on which nothing passes for this long is closed. Default 30 min, beyond the refresh interval of
    /// a session.
    pub idle_timeout: Duration,
    /// A connection that we made and that dialogs use ([`KeepAlive`](crate::KeepAlive)) is sent a keepalive after nothing
    /// came on it for this long (RFC 5626 §4.4.1). Zero sends none. Default 30 s.
    pub keepalive: Duration,
    /// A peer that has ever answered a keepalive and leaves one without anything at all for this long is lost. Default
    /// 10 s (RFC 5626 §4.4.1).
    pub pong_timeout: Duration,
    /// Longest time from the first byte of a message to its last. Default 30 s.
    pub message_timeout: Duration,
    /// Longest time for the peer to take one message. Default 10 s.
    pub write_timeout: Duration,
    /// Most connections, both ways together. Over it, a new one takes the place of one that arrived: of the host that
    /// has the most, the one that was quiet longest. Default 512.
    pub connections: usize,
    /// Most messages that wait to be written to one connection; a further one fails. By UDP as many may wait for all
    /// peers together; a further one is lost and counted. Default 8192: what ten thousand sessions have to say within
    /// some seconds waits for a recorder that is busy, and a burst of new calls for its connection.
    pub write_queue: usize,
    /// Most messages that wait to be written to all connections together, so that peers that do not read what they asked
    /// for cannot take the memory; a further one fails. Default 16,384.
    pub queued: usize,
    /// Most arrivals that wait to be read. Over it, nothing is read from sockets: connections wait, and so do datagrams as
    /// far as the socket's buffer has room (4 MiB where the system allows it). Default 1024.
    pub receive_queue: usize,
    /// Longest message in bytes, headers and body. Default 65,535.
    pub message_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(1500),
            handshake_timeout: Duration::from_millis(1500),
            idle_timeout: Duration::from_secs(1800),
            keepalive: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            connections: 512,
            write_queue: 8192,
            queued: 16 * 1024,
            receive_queue: 1024,
            message_bytes: 65_535,
        }
    }
}
