//! What a transport counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a [`Transport`](crate::Transport) has seen since it was bound.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct TransportCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TransportCounters {
                TransportCounters { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages received and passed on.
    received,
    /// Messages written to a socket.
    sent,
    /// Arrivals that are no SIP message and could not be answered.
    malformed,
    /// Bad requests that were answered 400.
    answered_bad,
    /// Datagrams that had to wait because the reader of the arrivals was behind.
    delayed,
    /// Datagrams not sent because the write queue was full.
    unsent,
    /// Requests of which a host or a router said that nobody takes them (ICMP).
    unreachable,
    /// Requests that went by TCP because of their size.
    promoted,
    /// Requests that went by UDP because TCP was refused.
    fell_back,
    /// Connections accepted.
    accepted,
    /// Connections closed to make room for others.
    evicted,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
