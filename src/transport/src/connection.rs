//! What is known of each connection.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use siprec_sip::{Message, Method};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::transport::lock;
use crate::via;

/// Most requests of one connection that are remembered until they are answered.
const OUTSTANDING: usize = 256;

/// A message on its way over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) remote: SocketAddr,
    /// Branch and method of a request that is answered; `None` for ACK and responses.
    pub(crate) transaction: Option<(String, Method)>,
    /// TCP only because of its size: UDP is the way out.
    pub(crate) promoted: bool,
    /// Its first connection was lost already.
    pub(crate) again: bool,
}

impl Outgoing {
    pub(crate) fn new(message: Message, remote: SocketAddr) -> Self {
        let transaction = match &message {
            Message::Request(request) if request.method != Method::Ack => {
                via::branch(&message).map(|branch| (branch, request.method.clone()))
            }
            _ => None,
        };
        Self { message, remote, transaction, promoted: false, again: false }
    }

    /// Whether `other` is the same request of the same transaction.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.transaction.is_some() && self.transaction == other.transaction
    }
}

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Write {
    /// A message with its share of what may wait on all connections.
    Message(Box<Outgoing>, OwnedSemaphorePermit),
    /// The answer to a keepalive (RFC 5626 §4.4.1).
    Pong,
}

/// The connections by peer. The only strong sender of a connection's queue is here: taking it out ends the
/// connection.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: HashMap<SocketAddr, Connection>,
    next_id: u64,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    queue: mpsc::Sender<Write>,
    /// Made by the peer.
    arrived: bool,
    link: Arc<Link>,
}

impl Connections {
    pub(crate) fn contains(&self, peer: SocketAddr) -> bool {
        self.table.contains_key(&peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// What is to be written to `peer`, where there is a connection.
    pub(crate) fn queue(&self, peer: SocketAddr) -> Option<&mpsc::Sender<Write>> {
        self.table.get(&peer).map(|connection| &connection.queue)
    }

    pub(crate) fn insert(
        &mut self,
        remote: SocketAddr,
        queue: mpsc::Sender<Write>,
        arrived: bool,
    ) -> Arc<Link> {
        self.next_id += 1;
        let link = Arc::new(Link::new(remote, self.next_id, arrived));
        let connection = Connection { id: self.next_id, queue, arrived, link: Arc::clone(&link) };
        self.table.insert(remote, connection);
        link
    }

    pub(crate) fn remove(&mut self, remote: SocketAddr, id: u64) {
        if self.table.get(&remote).is_some_and(|connection| connection.id == id) {
            self.table.remove(&remote);
        }
    }

    /// Ends one that arrived, to make room; `false` when none did. It is taken from the host that has the most, so that
    /// one host that takes all places gives up its own; there it is the one that was quiet longest.
    pub(crate) fn evict(&mut self) -> bool {
        let mut hosts: HashMap<IpAddr, usize> = HashMap::new();
        let arrived = || self.table.iter().filter(|(_, connection)| connection.arrived);
        for (remote, _) in arrived() {
            *hosts.entry(remote.ip()).or_default() += 1;
        }
        let crowded = |remote: &SocketAddr| hosts.get(&remote.ip()).copied();
        let chosen = arrived()
            .min_by_key(|(remote, connection)| (Reverse(crowded(remote)), connection.link.last_active()));
        let Some(remote) = chosen.map(|(remote, _)| *remote) else { return false };
        self.table.remove(&remote).is_some()
    }
}

/// What the reader and the writer of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) remote: SocketAddr,
    pub(crate) id: u64,
    /// Something came from the peer, so that it is no host that merely accepts.
    pub(crate) proven: AtomicBool,
    active: Mutex<Instant>,
    /// Requests without any response yet.
    pub(crate) outstanding: Mutex<VecDeque<Outgoing>>,
}

impl Link {
    fn new(remote: SocketAddr, id: u64, proven: bool) -> Self {
        Self {
            remote,
            id,
            proven: AtomicBool::new(proven),
            active: Mutex::new(Instant::now()),
            outstanding: Mutex::default(),
        }
    }

    pub(crate) fn last_active(&self) -> Instant {
        *lock(&self.active)
    }

    pub(crate) fn touch(&self) {
        *lock(&self.active) = Instant::now();
    }

    /// Whether the same request waits for its answer on this connection. Its transaction repeats it because it
    /// believes in UDP; a stream loses nothing (RFC 3261 §17.1.1.2).
    pub(crate) fn is_repetition(&self, outgoing: &Outgoing) -> bool {
        lock(&self.outstanding).iter().any(|waiting| waiting.is_same(outgoing))
    }

    pub(crate) fn expect_answer(&self, outgoing: Outgoing) {
        let mut outstanding = lock(&self.outstanding);
        if outstanding.len() >= OUTSTANDING {
            outstanding.pop_front();
        }
        outstanding.push_back(outgoing);
    }

    /// The last message was written: what is never answered is done.
    pub(crate) fn written(&self) {
        let mut outstanding = lock(&self.outstanding);
        outstanding.pop_back_if(|last| last.transaction.is_none());
    }

    pub(crate) fn answered(&self, message: &Message) {
        let Message::Response(response) = message else { return };
        let (Some(branch), Ok(cseq)) = (via::branch(message), response.headers.cseq()) else { return };
        // RFC 3261 §17.1.3
        let answered = Some((branch, cseq.method));
        lock(&self.outstanding).retain(|waiting| waiting.transaction != answered);
    }
}
