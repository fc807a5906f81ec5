//! The transport's handle, and what its tasks share.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use siprec_model::TlsProfile;
use siprec_sip::{Message, Request, Response, Uri};
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::instrument::WithSubscriber as _;

use crate::connection::{Connections, Link, Outgoing, Peer, Security};
use crate::counters::Counters;
use crate::dns::Dns;
use crate::keepalive::{Beat, Kept, LostConnection};
use crate::peers::Peers;
use crate::socket::{self, Port};
use crate::tls::TlsStore;
use crate::unreachable::{self, Unanswered};
use crate::{
    BindError, Destination, KeepAlive, Protocol, ResolveError, SendError, Source, Target, TlsPeer,
    TransportConfig, TransportCounters, stream, udp, via,
};

/// RFC 3261 §18.1.1: the largest request that goes by UDP over a path of unknown MTU.
const LARGEST_UDP_REQUEST: usize = 1300;

/// What comes out of a transport.
#[derive(Debug)]
pub enum Incoming {
    /// A message arrived.
    Message(Received),
    /// A message that was taken for sending could not be delivered.
    Failed(SendFailure),
    /// A connection that somebody keeps alive has ended, and not for want of use. The next message makes another one.
    Lost(LostConnection),
}

/// A message that arrived.
#[derive(Debug)]
pub struct Received {
    /// The message. The top Via of a request carries `received` and `rport` where they are due, so that
    /// [`Transport::respond`] needs nothing but the response.
    pub message: Message,
    /// Where it came from.
    pub source: Source,
}

/// A message that could not be delivered.
#[derive(Debug)]
pub struct SendFailure {
    /// The message.
    pub message: Message,
    /// Where it was to go.
    pub remote: SocketAddr,
    /// Why it did not.
    pub error: SendError,
}

/// SIP over UDP and TCP on one local port, and over TLS on another. Clones share the ports, which are given back when
/// the last is dropped; what was queued before is still sent.
#[derive(Clone, Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    /// Its end is what the tasks wait for.
    _alive: Arc<watch::Sender<()>>,
    /// Ends with the last task.
    done: watch::Receiver<()>,
}

impl Transport {
    /// Takes the port and starts to listen. The receiver holds at most [`Limits::receive_queue`](crate::Limits)
    /// arrivals.
    ///
    /// # Errors
    /// [`BindError`], naming address, port and protocol.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    pub fn bind(config: TransportConfig) -> Result<(Self, mpsc::Receiver<Incoming>), BindError> {
        let tls = Arc::new(TlsStore::open(&config.tls)?);
        let Port { udp, tcp, local } = Port::bind(&config)?;
        let tls_listener =
            config.tls.listen.map(|address| socket::bind_tls(address, config.dscp)).transpose()?;
        let local_tls = tls_listener.as_ref().map(|(_, address)| *address);
        let (incoming, arrivals) = mpsc::channel(config.limits.receive_queue.max(1));
        let (datagrams, datagram_queue) = mpsc::channel(config.limits.write_queue.max(1));
        let (alive, closed) = watch::channel(());
        let (working, done) = watch::channel(());
        let queued = Arc::new(Semaphore::new(config.limits.queued.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared {
            local,
            local_tls,
            dns: Dns::new(config.dns_server),
            tls,
            config,
            datagrams,
            incoming,
            closed,
            _working: working,
            connections: Mutex::default(),
            queued,
            peers: Mutex::default(),
            unanswered: Mutex::default(),
            kept: Mutex::default(),
            counters: Counters::default(),
        });
        let udp = Arc::new(udp);
        spawn(udp::read(Arc::clone(&shared), Arc::clone(&udp)));
        spawn(unreachable::watch(Arc::clone(&shared), Arc::clone(&udp)));
        spawn(udp::write(Arc::clone(&shared), udp, datagram_queue));
        spawn(stream::listen(Arc::clone(&shared), tcp, Protocol::Tcp));
        if let Some((listener, _)) = tls_listener {
            spawn(stream::listen(Arc::clone(&shared), listener, Protocol::Tls));
        }
        Ok((Self { shared, _alive: Arc::new(alive), done }, arrivals))
    }

    /// The local address as bound (perhaps a wildcard) and the port of both protocols.
    pub fn local(&self) -> SocketAddr {
        self.shared.local
    }

    /// The local address and port of TLS, where connections by TLS are taken.
    pub fn local_tls(&self) -> Option<SocketAddr> {
        self.shared.local_tls
    }

    /// The port that peers are told for answers and requests by `protocol`. Without a port for TLS that of the others
    /// stands in: peers then reach us by the connections that we made.
    pub fn port(&self, protocol: Protocol) -> u16 {
        let tls = self.shared.local_tls.filter(|_| protocol == Protocol::Tls);
        tls.unwrap_or(self.shared.local).port()
    }

    /// Keeps the connection to `destination` alive by pings, where there is one, until the handle is dropped.
    pub fn keep_alive(&self, destination: &Destination) -> KeepAlive {
        let remote = destination.remote;
        let peer = match (destination.protocol, &destination.tls) {
            (Protocol::Tls, Some(peer)) => Peer::tls(remote, Arc::clone(peer)),
            (Protocol::Tls, None) => Peer { remote, security: Security::Arrived },
            _ => Peer::plain(remote),
        };
        KeepAlive::new(peer, &self.shared)
    }

    /// The local address that a message to `remote` leaves from, never a wildcard.
    ///
    /// # Errors
    /// [`SendError::WrongFamily`], or [`SendError::NoRoute`].
    pub fn local_towards(&self, remote: SocketAddr) -> Result<IpAddr, SendError> {
        if !self.shared.reaches(&remote) {
            return Err(SendError::WrongFamily { remote, local: self.shared.local });
        }
        match self.shared.local.ip() {
            any if any.is_unspecified() => socket::route_to(remote)
                .map_err(|error| SendError::NoRoute { remote, reason: error.to_string() }),
            bound => Ok(bound),
        }
    }

    /// Finds where a URI leads (RFC 3263 §4), with the families that the local address reaches: the destinations in the
    /// order in which they are tried, at least one.
    ///
    /// # Errors
    /// [`ResolveError`]; a host name that is not resolved within `deadline` fails.
    pub async fn resolve(&self, uri: &Uri, deadline: Duration) -> Result<Vec<Destination>, ResolveError> {
        self.resolve_target(&Target::of(uri)?, deadline).await
    }

    /// As [`Transport::resolve`], for a URI already taken apart.
    ///
    /// # Errors
    /// [`ResolveError`]; a host name that is not resolved within `deadline` fails.
    pub async fn resolve_target(
        &self,
        target: &Target,
        deadline: Duration,
    ) -> Result<Vec<Destination>, ResolveError> {
        target.resolve(&self.shared.dns, |remote| self.shared.reaches(remote), deadline).await
    }

    /// Queues a request. Never waits. The transport in its top Via is set to the one that carries it.
    ///
    /// Over 1300 bytes it goes by TCP, unless the destination's protocol is fixed or the peer refused TCP before;
    /// ACK and CANCEL of such a transaction follow it. When TCP is refused or reset before anything came from the
    /// peer, the same request goes by UDP. A request whose connection ends before an answer is sent once more on
    /// a new one when the connection was an old one. What fails in the end comes out as [`Incoming::Failed`].
    ///
    /// # Errors
    /// [`SendError::QueueFull`], [`SendError::TooManyConnections`], [`SendError::WrongFamily`],
    /// [`SendError::UnusableVia`] or [`SendError::Ended`]; the request is not sent.
    pub fn send(&self, request: Request, destination: Destination) -> Result<(), SendError> {
        let Destination { remote, protocol, fixed, tls } = destination;
        if !self.shared.reaches(&remote) {
            return Err(SendError::WrongFamily { remote, local: self.shared.local });
        }
        let mut message = Message::Request(request);
        let promoted = protocol == Protocol::Udp && !fixed && self.shared.goes_by_tcp(&message, remote);
        let protocol = if promoted { Protocol::Tcp } else { protocol };
        via::set_protocol(&mut message, protocol)?;
        if promoted {
            self.shared.counters.promoted.increment();
        }
        match protocol {
            Protocol::Udp => self.shared.send_datagram(message, remote),
            Protocol::Tcp => {
                let outgoing = Outgoing::new(message, Peer::plain(remote));
                stream::send(&self.shared, Outgoing { promoted, ..outgoing })
            }
            Protocol::Tls => {
                let found = || lock(&self.shared.connections).find(remote, Protocol::Tls);
                let peer = tls.map(|peer| Peer::tls(remote, peer)).or_else(found);
                let peer = peer.ok_or(SendError::NoConnection { remote })?;
                stream::send(&self.shared, Outgoing::new(message, peer))
            }
        }
    }

    /// Queues a response to a request that this transport received. Never waits. It goes back on the connection
    /// that brought the request, or to the address that its top Via tells (RFC 3261 §18.2.2, RFC 3581 §4).
    ///
    /// # Errors
    /// As for [`Transport::send`]; the response is not sent.
    pub fn respond(&self, response: Response) -> Result<(), SendError> {
        self.shared.respond(response)
    }

    /// Sends a message the way its kind asks for: [`Transport::send`] or [`Transport::respond`], where
    /// `destination` is not looked at.
    ///
    /// # Errors
    /// As for [`Transport::send`].
    pub fn dispatch(&self, message: Message, destination: Destination) -> Result<(), SendError> {
        match message {
            Message::Request(request) => self.send(request, destination),
            Message::Response(response) => self.respond(response),
        }
    }

    /// Gives back this handle and waits until what was queued is sent and every task has ended, at most `longest`.
    /// Only the last handle has something to wait for.
    pub async fn close(self, longest: Duration) {
        let mut done = self.done.clone();
        drop(self);
        // Nothing is ever sent on it: it ends, or the time does.
        let _ = tokio::time::timeout(longest, done.changed()).await;
    }

    /// What has been counted so far.
    pub fn counters(&self) -> TransportCounters {
        self.shared.counters.snapshot()
    }
}

/// What the handle and the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) local: SocketAddr,
    local_tls: Option<SocketAddr>,
    dns: Dns,
    pub(crate) tls: Arc<TlsStore>,
    pub(crate) config: TransportConfig,
    pub(crate) incoming: mpsc::Sender<Incoming>,
    /// Ends with the last handle.
    pub(crate) closed: watch::Receiver<()>,
    _working: watch::Sender<()>,
    pub(crate) connections: Mutex<Connections>,
    /// Room for messages on all connections.
    pub(crate) queued: Arc<Semaphore>,
    pub(crate) counters: Counters,
    peers: Mutex<Peers>,
    /// Requests by UDP without any response yet.
    pub(crate) unanswered: Mutex<Unanswered>,
    /// Connections that dialogs use.
    pub(crate) kept: Mutex<Kept>,
    datagrams: mpsc::Sender<(Message, SocketAddr)>,
}

impl Shared {
    pub(crate) fn respond(self: &Arc<Self>, response: Response) -> Result<(), SendError> {
        let route = via::ResponseRoute::of(&response).ok_or(SendError::UnusableVia)?;
        let message = Message::Response(response);
        match route.protocol {
            Protocol::Udp => self.send_datagram(message, route.source),
            protocol => {
                let open = lock(&self.connections).find(route.source, protocol);
                let again = open.is_none();
                let peer = open.unwrap_or_else(|| match protocol {
                    Protocol::Tls => {
                        let named = TlsPeer::new(&route.host, &TlsProfile::default());
                        Peer::tls(route.sent_by, Arc::new(named))
                    }
                    _ => Peer::plain(route.sent_by),
                });
                stream::send(self, Outgoing { again, ..Outgoing::new(message, peer) })
            }
        }
    }

    /// Queues a datagram; a full queue loses it, as the network might.
    pub(crate) fn send_datagram(&self, message: Message, remote: SocketAddr) -> Result<(), SendError> {
        match self.datagrams.try_send((message, remote)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.counters.unsent.increment();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(SendError::Ended),
        }
    }

    /// Remembers that `remote` takes no TCP, and sends by UDP what was meant for it.
    pub(crate) fn fall_back(&self, mut message: Message, remote: SocketAddr) -> Result<(), SendError> {
        lock(&self.peers).refuse_tcp(remote, Instant::now());
        self.counters.fell_back.increment();
        via::set_protocol(&mut message, Protocol::Udp)?;
        self.send_datagram(message, remote)
    }

    pub(crate) async fn report(&self, message: Message, remote: SocketAddr, error: SendError) {
        // The reader of the arrivals may be gone: then nobody wants to know.
        let _ = self.incoming.send(Incoming::Failed(SendFailure { message, remote, error })).await;
    }

    /// What is due for the life of a connection that we made.
    pub(crate) fn beat(&self, link: &Link) -> Beat {
        let now = Instant::now();
        let limits = &self.config.limits;
        if limits.keepalive.is_zero() {
            return Beat::Wait(now + limits.idle_timeout);
        }
        let kept = lock(&self.kept).contains(&link.peer);
        lock(&link.pulse).beat(kept, limits.keepalive, limits.pong_timeout, now)
    }

    /// Done when the last handle is gone.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }

    /// Whether the local address can reach the family of `remote`.
    fn reaches(&self, remote: &SocketAddr) -> bool {
        match self.local.ip() {
            IpAddr::V6(local) if local.is_unspecified() => true,
            IpAddr::V6(_) => remote.is_ipv6(),
            IpAddr::V4(_) => remote.is_ipv4(),
        }
    }

    /// RFC 3261 §18.1.1 for requests whose destination leaves the choice; ACK to a refusal and CANCEL go where
    /// their INVITE went (§17.1.1.3, §9.1).
    fn goes_by_tcp(&self, message: &Message, remote: SocketAddr) -> bool {
        let mut peers = lock(&self.peers);
        if peers.refuses_tcp(remote, Instant::now()) {
            return false;
        }
        let branch = via::branch(message).unwrap_or_default();
        if message.to_bytes().len() > LARGEST_UDP_REQUEST {
            peers.promote(remote, &branch);
            return true;
        }
        peers.is_promoted(remote, &branch)
    }
}

/// Starts a task that logs where its starter does.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task.with_current_subscriber());
}

/// Locks; what a panicked holder left behind is whole, because no code under these locks can stop half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
