//! What can go wrong, and with which address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Protocol, TlsError};

/// Why the local port could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the port.
    #[error("SIP port {address}/{protocol} is in use by another program")]
    InUse {
        /// UDP or TCP.
        protocol: Protocol,
        /// The address that was wanted.
        address: SocketAddr,
    },
    /// The address does not belong to this host, the port needs privileges, or the system has no socket left.
    #[error("cannot take SIP port {address}/{protocol}: {source}")]
    Refused {
        /// UDP or TCP.
        protocol: Protocol,
        /// The address that was wanted.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// No number was found that is free for UDP and TCP at once.
    #[error("no port of {address} is free for UDP and TCP at once")]
    NoCommonPort {
        /// The address, with port 0.
        address: SocketAddr,
    },
}

impl BindError {
    pub(crate) fn new(protocol: Protocol, address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { protocol, address },
            _ => Self::Refused { protocol, address, source },
        }
    }
}

/// Why a message was not taken for sending, or could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer, or many peers, do not read: too much waits to be written. The message is not sent.
    #[error("too much waits to be written to {remote}, or to all peers together")]
    QueueFull {
        /// The peer.
        remote: SocketAddr,
    },
    /// The bound on connections is reached.
    #[error("no connection to {remote}: the limit of {limit} connections is reached")]
    TooManyConnections {
        /// The peer.
        remote: SocketAddr,
        /// The bound.
        limit: usize,
    },
    /// The local address is of the other family.
    #[error("{remote} cannot be reached from local address {local}")]
    WrongFamily {
        /// The peer.
        remote: SocketAddr,
        /// The local address.
        local: SocketAddr,
    },
    /// A response whose top Via does not say where it goes.
    #[error("the response's Via does not tell where to send it")]
    UnusableVia,
    /// A connection by TLS was to be there, and there is none.
    #[error("there is no TLS connection with {remote}")]
    NoConnection {
        /// The peer.
        remote: SocketAddr,
    },
    /// A file of TLS never could be used, or the peer has no name that a certificate could be for.
    #[error("no TLS with {remote}: {error}")]
    Tls {
        /// The peer.
        remote: SocketAddr,
        /// What is wrong.
        error: TlsError,
    },
    /// The peer or its certificate was refused, or it refused us.
    #[error("no TLS with {remote}: {reason}")]
    Handshake {
        /// The peer.
        remote: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The peer did not finish the handshake of TLS in time.
    #[error("no TLS with {remote} within {after:?}: the peer does not finish the handshake")]
    HandshakeTimeout {
        /// The peer.
        remote: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// The connection could not be made.
    #[error("cannot connect to {remote}/TCP: {reason}")]
    NotConnected {
        /// The peer.
        remote: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// The peer did not take the connection in time.
    #[error("cannot connect to {remote}/TCP within {after:?}")]
    ConnectTimeout {
        /// The peer.
        remote: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended before the message was answered.
    #[error("the connection to {remote} was lost: {reason}")]
    ConnectionLost {
        /// The peer.
        remote: SocketAddr,
        /// How it ended.
        reason: String,
    },
    /// No address of this host leads there.
    #[error("no route to {remote}: {reason}")]
    NoRoute {
        /// The peer.
        remote: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// The system refused the datagram: no route, too long.
    #[error("cannot send to {remote}/UDP: {reason}")]
    Datagram {
        /// The peer.
        remote: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// A host or a router says that nobody takes the request (ICMP).
    #[error("nobody takes SIP at {remote}/UDP: {reason}")]
    Unreachable {
        /// The peer.
        remote: SocketAddr,
        /// What was said.
        reason: String,
    },
    /// The transport has ended.
    #[error("the SIP transport has ended")]
    Ended,
}

/// Why a SIP URI leads to no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The scheme is not one that can be sent to.
    #[error("the URI scheme \"{0}\" cannot be reached")]
    Scheme(String),
    /// The URI asks for a transport that there is not.
    #[error("the transport \"{0}\" is not supported")]
    Transport(String),
    /// TLS is wanted, by `sips:` or by the caller, and the URI asks for another transport.
    #[error("it must be reached by TLS, and its URI asks for {0}")]
    Insecure(Protocol),
    /// The URI has no host.
    #[error("the URI has no host")]
    NoHost,
    /// The host that its `;maddr=` names is none, or one of many.
    #[error("\"maddr={0}\" is no host's name or address")]
    Server(String),
    /// The name has no address that the local address can reach.
    #[error("\"{host}\" has no usable address: {reason}")]
    NotFound {
        /// The name.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The resolver did not answer in time.
    #[error("\"{host}\" was not resolved within {after:?}")]
    Timeout {
        /// The name.
        host: String,
        /// How long was waited.
        after: Duration,
    },
}
