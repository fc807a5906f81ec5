//! What is known of each connection.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use siprec_sip::{Message, Method};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::keepalive::Pulse;
use crate::transport::lock;
use crate::{Protocol, TlsPeer, via};

/// Most requests of one connection that are remembered until they are answered.
const OUTSTANDING: usize = 256;

/// What tells connections apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) remote: SocketAddr,
    pub(crate) security: Security,
}

/// Whether a connection is secured, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    Plain,
    /// TLS that the peer began.
    Arrived,
    /// TLS that we began.
    Tls(Arc<TlsPeer>),
}

impl Peer {
    pub(crate) fn plain(remote: SocketAddr) -> Self {
        Self { remote, security: Security::Plain }
    }

    pub(crate) fn tls(remote: SocketAddr, peer: Arc<TlsPeer>) -> Self {
        Self { remote, security: Security::Tls(peer) }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self.security {
            Security::Plain => Protocol::Tcp,
            Security::Arrived | Security::Tls(_) => Protocol::Tls,
        }
    }
}

/// A message on its way over a connection.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) peer: Peer,
    /// Branch and method of a request that is answered; `None` for ACK and responses.
    pub(crate) transaction: Option<(String, Method)>,
    /// TCP only because of its size: UDP is the way out.
    pub(crate) promoted: bool,
    /// Its first connection was lost already.
    pub(crate) again: bool,
}

impl Outgoing {
    pub(crate) fn new(message: Message, peer: Peer) -> Self {
        let transaction = match &message {
            Message::Request(request) if request.method != Method::Ack => {
                via::branch(&message).map(|branch| (branch, request.method.clone()))
            }
            _ => None,
        };
        Self { message, peer, transaction, promoted: false, again: false }
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
    /// A keepalive (RFC 5626 §4.4.1).
    Ping,
    /// The answer to one.
    Pong,
}

/// The connections by peer. The only strong sender of a connection's queue is here: taking it out ends the
/// connection.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: HashMap<Peer, Connection>,
    next_id: u64,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    queue: mpsc::Sender<Write>,
    link: Arc<Link>,
}

impl Connections {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The connection with an address, whoever made it and for whom.
    pub(crate) fn find(&self, remote: SocketAddr, protocol: Protocol) -> Option<Peer> {
        let first = match protocol {
            Protocol::Tls => Peer { remote, security: Security::Arrived },
            _ => Peer::plain(remote),
        };
        if self.table.contains_key(&first) {
            return Some(first);
        }
        // Each recorder's identity has a connection of its own, so that those of TLS are looked through.
        let found = || self.table.keys().find(|peer| peer.remote == remote && peer.protocol() == protocol);
        (protocol == Protocol::Tls).then(found).flatten().cloned()
    }

    /// What is to be written to `peer`, where there is a connection.
    pub(crate) fn queue(&self, peer: &Peer) -> Option<&mpsc::Sender<Write>> {
        self.table.get(peer).map(|connection| &connection.queue)
    }

    pub(crate) fn insert(&mut self, peer: Peer, queue: mpsc::Sender<Write>, arrived: bool) -> Arc<Link> {
        self.next_id += 1;
        let link = Arc::new(Link::new(peer.clone(), self.next_id, arrived));
        let connection = Connection { id: self.next_id, queue, link: Arc::clone(&link) };
        self.table.insert(peer, connection);
        link
    }

    pub(crate) fn remove(&mut self, link: &Link) {
        if self.table.get(&link.peer).is_some_and(|connection| connection.id == link.id) {
            self.table.remove(&link.peer);
        }
    }

    /// Ends one that arrived, to make room; `false` when none did. It is taken from the host that has the most, so that
    /// one host that takes all places gives up its own; there it is the one that was quiet longest.
    pub(crate) fn evict(&mut self) -> bool {
        let mut hosts: HashMap<IpAddr, usize> = HashMap::new();
        let arrived = || self.table.iter().filter(|(_, connection)| connection.link.arrived);
        for (peer, _) in arrived() {
            *hosts.entry(peer.remote.ip()).or_default() += 1;
        }
        let crowded = |peer: &Peer| hosts.get(&peer.remote.ip()).copied();
        let chosen = arrived()
            .min_by_key(|(peer, connection)| (Reverse(crowded(peer)), connection.link.last_active()));
        let Some(peer) = chosen.map(|(peer, _)| peer.clone()) else { return false };
        self.table.remove(&peer).is_some()
    }
}

/// What the reader and the writer of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Peer,
    pub(crate) id: u64,
    /// Something came from the peer, so that it is no host that merely accepts.
    pub(crate) proven: AtomicBool,
    /// Made by the peer.
    pub(crate) arrived: bool,
    pub(crate) pulse: Mutex<Pulse>,
    active: Mutex<Instant>,
    /// Requests without any response yet.
    pub(crate) outstanding: Mutex<VecDeque<Outgoing>>,
}

impl Link {
    fn new(peer: Peer, id: u64, arrived: bool) -> Self {
        let now = Instant::now();
        Self {
            peer,
            id,
            proven: AtomicBool::new(arrived),
            arrived,
            pulse: Mutex::new(Pulse::new(now)),
            active: Mutex::new(now),
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
