//! What may be wrong with sockets.

use std::io;
use std::net::SocketAddr;

/// Why an element cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFault {
    /// The name has no address.
    #[error("\"{host}\" is no address of this host, and no name of one")]
    Host {
        /// As it was set.
        host: String,
    },
    /// A name that packets are to be sent to has no address, or nobody says which.
    #[error("cannot find the address of \"{host}\": {error}")]
    Destination {
        /// As it was set.
        host: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Packets cannot leave from an address or a socket of another family.
    #[error("{client} cannot be reached from {local}: one is an IPv4 address and the other an IPv6 address")]
    Family {
        /// Where to.
        client: SocketAddr,
        /// Address of `bind-address`, or of the socket that was given.
        local: SocketAddr,
    },
    /// A list of destinations has an entry that is none.
    #[error("\"{entry}\" in clients is not HOST:PORT")]
    Client {
        /// As it was set.
        entry: String,
    },
    /// The system refuses the address.
    #[error("cannot bind to {local}: {error}")]
    Bind {
        /// Where to.
        local: SocketAddr,
        /// What it says.
        #[source]
        error: io::Error,
    },
    /// The group cannot be joined.
    #[error("cannot join {group}{on}: {error}")]
    Join {
        /// The group.
        group: SocketAddr,
        /// On which interface, as text to be put behind it.
        on: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The socket cannot have this setting.
    #[error("cannot set {option}: {error}")]
    Option {
        /// The property.
        option: &'static str,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// What was given as socket is none for datagrams of IP.
    #[error("the socket that was given is not an open UDP socket")]
    Given,
    /// The process has forked.
    #[error("the poll thread was started before this process forked, and stayed behind")]
    Forked,
    /// There is no room for a thread or for what it waits with.
    #[error("cannot start the poll thread: {0}")]
    Start(#[source] io::Error),
}

/// Why a packet did not leave, for the statistics and for warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendFault {
    /// The host said that nobody listens there (ECONNREFUSED).
    Refused,
    /// There is no way there (EHOSTUNREACH, ENETUNREACH, ENETDOWN).
    Unreachable,
    /// The socket's buffer is full (EAGAIN).
    BufferFull,
    /// The system or the interface has no room (ENOBUFS, ENOMEM).
    NoBuffers,
    /// The packet is larger than a datagram may be (EMSGSIZE).
    TooLarge,
    /// It is forbidden (EACCES, EPERM).
    NotPermitted,
    /// It cannot be read, or anything else.
    Other,
}

impl SendFault {
    /// All of them, in the order of their declaration.
    pub(super) const ALL: [Self; 7] = [
        Self::Refused,
        Self::Unreachable,
        Self::BufferFull,
        Self::NoBuffers,
        Self::TooLarge,
        Self::NotPermitted,
        Self::Other,
    ];

    /// Its name in `stats`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::BufferFull => "buffer-full",
            Self::NoBuffers => "no-buffers",
            Self::TooLarge => "too-large",
            Self::NotPermitted => "not-permitted",
            Self::Other => "other",
        }
    }

    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENETDOWN) => Self::Unreachable,
            Some(libc::EAGAIN) => Self::BufferFull,
            Some(libc::ENOBUFS | libc::ENOMEM) => Self::NoBuffers,
            Some(libc::EMSGSIZE) => Self::TooLarge,
            Some(libc::EACCES | libc::EPERM) => Self::NotPermitted,
            _ => Self::Other,
        }
    }
}
