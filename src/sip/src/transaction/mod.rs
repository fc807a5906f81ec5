//! Transactions (RFC 3261 §17, RFC 6026): one request and the responses to it, made reliable.
//!
//! [`ClientTransaction`] and [`ServerTransaction`] stand alone, for requests outside a dialog (OPTIONS, or a request
//! that is only refused); [`DialogUa`](crate::DialogUa) is built of them. None does input or output or reads a clock.
//! The order is the same for both: `handle_*`, then `poll_transmit` until it is empty, then wait for `next_timeout`.
//!
//! | timer | value | unreliable transport only | where |
//! |---|---|---|---|
//! | A | T1, doubling | yes | INVITE client, retransmission |
//! | B | 64 × T1 | | INVITE client, no response at all |
//! | D | 64 × T1 | yes, else 0 | INVITE client, absorbs refusals |
//! | E | T1, doubling to T2 | yes | other client, retransmission |
//! | F | 64 × T1 | | other client, no final response |
//! | G | T1, doubling to T2 | yes | INVITE server, retransmission of a refusal |
//! | H | 64 × T1 | | INVITE server, no ACK |
//! | I | T4 | yes, else 0 | INVITE server, absorbs ACKs |
//! | J | 64 × T1 | yes, else 0 | other server, absorbs requests |
//! | K | T4 | yes, else 0 | other client, absorbs responses; in a dialog that goes on, as long as nothing else is due, at most 32 s |
//! | L | 64 × T1 | | INVITE server, absorbs INVITEs after a 2xx (RFC 6026 §7.1) |
//! | M | 64 × T1 | | INVITE client, passes on every 2xx (RFC 6026 §7.2) |

mod client;
mod client_invite;
mod client_request;
mod key;
mod server;
mod server_invite;
mod server_request;
pub(crate) mod timer;

use std::collections::VecDeque;
use std::fmt;

pub use client::{ClientTransaction, TransactionFailure};
pub use server::{AlreadyAnswered, ServerTransaction, response_to};
pub use timer::{T1, T2, T4, TRANSACTION_TIMEOUT};

pub(crate) use client::cancel_for;
pub(crate) use key::{ClientKey, ServerKey};

use crate::{Headers, Message};

/// The memory that these take, about.
pub(crate) fn kept_bytes(headers: &Headers, body: &[u8]) -> usize {
    headers.kept_bytes() + body.len()
}

/// What waits to be sent.
type Outbox = VecDeque<Message>;

/// What carries the messages to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams: the transactions retransmit.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// Whether messages neither get lost nor change places, so that nothing is sent twice (RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    /// As it stands in Via.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
