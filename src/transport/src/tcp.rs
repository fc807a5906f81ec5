//! Connections: one for each peer, made when the first message is to go there.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use siprec_sip::{Message, Method};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::inbound::Inbound;
use crate::transport::{Shared, lock, spawn};
use crate::{Incoming, Protocol, SendError, Source, socket, udp, via};

/// Most requests of one connection that are remembered until they are answered.
const OUTSTANDING: usize = 256;
const READ_BYTES: usize = 16 * 1024;
/// Pause after a failed accept: the process is out of file descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
    fn is_same(&self, other: &Self) -> bool {
        self.transaction.is_some() && self.transaction == other.transaction
    }
}

#[derive(Debug)]
enum Write {
    Message(Box<Outgoing>),
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

    fn insert(&mut self, remote: SocketAddr, queue: mpsc::Sender<Write>, arrived: bool) -> Arc<Link> {
        self.next_id += 1;
        let link = Arc::new(Link::new(remote, self.next_id, arrived));
        let connection = Connection { id: self.next_id, queue, arrived, link: Arc::clone(&link) };
        self.table.insert(remote, connection);
        link
    }

    fn remove(&mut self, remote: SocketAddr, id: u64) {
        if self.table.get(&remote).is_some_and(|connection| connection.id == id) {
            self.table.remove(&remote);
        }
    }

    /// Ends the arrived connection that was quiet longest; `false` when none arrived.
    fn evict(&mut self) -> bool {
        let quietest = self.table.iter().filter(|(_, connection)| connection.arrived);
        let quietest = quietest.min_by_key(|(_, connection)| connection.link.last_active());
        let Some(remote) = quietest.map(|(remote, _)| *remote) else { return false };
        self.table.remove(&remote).is_some()
    }
}

/// What the reader and the writer of one connection share.
#[derive(Debug)]
struct Link {
    remote: SocketAddr,
    id: u64,
    /// Something came from the peer, so that it is no host that merely accepts.
    proven: AtomicBool,
    active: Mutex<Instant>,
    /// Requests without any response yet.
    outstanding: Mutex<VecDeque<Outgoing>>,
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

    fn last_active(&self) -> Instant {
        *lock(&self.active)
    }

    fn touch(&self) {
        *lock(&self.active) = Instant::now();
    }

    /// Whether the same request waits for its answer on this connection. Its transaction repeats it because it
    /// believes in UDP; a stream loses nothing (RFC 3261 §17.1.1.2).
    fn is_repetition(&self, outgoing: &Outgoing) -> bool {
        lock(&self.outstanding).iter().any(|waiting| waiting.is_same(outgoing))
    }

    fn expect_answer(&self, outgoing: Outgoing) {
        let mut outstanding = lock(&self.outstanding);
        if outstanding.len() >= OUTSTANDING {
            outstanding.pop_front();
        }
        outstanding.push_back(outgoing);
    }

    /// The last message was written: what is never answered is done.
    fn written(&self) {
        let mut outstanding = lock(&self.outstanding);
        outstanding.pop_back_if(|last| last.transaction.is_none());
    }

    fn answered(&self, message: &Message) {
        let Message::Response(response) = message else { return };
        let (Some(branch), Ok(cseq)) = (via::branch(message), response.headers.cseq()) else { return };
        // RFC 3261 §17.1.3
        let answered = Some((branch, cseq.method));
        lock(&self.outstanding).retain(|waiting| waiting.transaction != answered);
    }
}

/// Queues a message for the connection to its peer, which is made if there is none.
pub(crate) fn send(shared: &Arc<Shared>, outgoing: Outgoing) -> Result<(), SendError> {
    let remote = outgoing.remote;
    let mut connections = lock(&shared.connections);
    let mut write = Write::Message(Box::new(outgoing));
    if let Some(connection) = connections.table.get(&remote) {
        match connection.queue.try_send(write) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SendError::QueueFull { remote }),
            Err(mpsc::error::TrySendError::Closed(given_back)) => write = given_back,
        }
    }
    let limit = shared.config.limits.connections;
    if connections.table.len() >= limit && !connections.evict() {
        return Err(SendError::TooManyConnections { remote, limit });
    }
    let (queue, mut writes) = mpsc::channel(shared.config.limits.write_queue.max(1));
    queue.try_send(write).map_err(|_| SendError::QueueFull { remote })?;
    let link = connections.insert(remote, queue, false);
    drop(connections);
    let shared = Arc::clone(shared);
    spawn(async move {
        let error = match connect(&shared, remote).await {
            Ok(stream) => serve(&shared, stream, &link, &mut writes).await,
            Err(error) => error,
        };
        finish(&shared, &link, writes, error).await;
    });
    Ok(())
}

/// Accepts connections until the last handle is gone.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener) {
    let closed = shared.ended();
    tokio::pin!(closed);
    loop {
        let accepted = tokio::select! {
            () = &mut closed => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok((stream, remote)) => (stream, udp::canonical(remote)),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some((link, mut writes)) = admit(&shared, remote) else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        spawn(async move {
            let error = serve(&shared, stream, &link, &mut writes).await;
            finish(&shared, &link, writes, error).await;
        });
    }
}

/// Makes room for a connection that arrived; `None` when all places are taken by our own.
fn admit(shared: &Shared, remote: SocketAddr) -> Option<(Arc<Link>, mpsc::Receiver<Write>)> {
    let mut connections = lock(&shared.connections);
    shared.counters.accepted.increment();
    if connections.table.len() >= shared.config.limits.connections {
        shared.counters.evicted.increment();
        if !connections.evict() {
            return None;
        }
    }
    let (queue, writes) = mpsc::channel(shared.config.limits.write_queue.max(1));
    Some((connections.insert(remote, queue, true), writes))
}

async fn connect(shared: &Shared, remote: SocketAddr) -> Result<TcpStream, SendError> {
    let not_connected = |error: std::io::Error| SendError::NotConnected { remote, reason: error.to_string() };
    let socket =
        socket::connecting_socket(shared.local, remote, shared.config.dscp).map_err(not_connected)?;
    let after = shared.config.limits.connect_timeout;
    match timeout(after, socket.connect(remote)).await {
        Ok(connected) => connected.map_err(not_connected),
        Err(_) => Err(SendError::ConnectTimeout { remote, after }),
    }
}

/// Reads and writes one connection to its end; says how it ended.
async fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    link: &Link,
    writes: &mut mpsc::Receiver<Write>,
) -> SendError {
    let pongs =
        lock(&shared.connections).table.get(&link.remote).map(|connection| connection.queue.downgrade());
    let (reader, writer) = stream.into_split();
    let reason = tokio::select! {
        reason = read(shared, reader, link, pongs) => reason,
        reason = write(shared, writer, link, writes) => reason,
    };
    SendError::ConnectionLost { remote: link.remote, reason }
}

async fn write(
    shared: &Shared,
    mut stream: impl AsyncWrite + Unpin,
    link: &Link,
    writes: &mut mpsc::Receiver<Write>,
) -> String {
    let closed = shared.ended();
    tokio::pin!(closed);
    loop {
        let next = tokio::select! {
            biased;
            next = writes.recv() => next,
            () = &mut closed => return "the transport has ended".to_owned(),
        };
        let bytes = match next {
            None => return "closed on this side".to_owned(),
            Some(Write::Pong) => b"\r\n".to_vec(),
            Some(Write::Message(outgoing)) if link.is_repetition(&outgoing) => continue,
            Some(Write::Message(outgoing)) => {
                let bytes = outgoing.message.to_bytes();
                link.expect_answer(*outgoing);
                bytes
            }
        };
        match timeout(shared.config.limits.write_timeout, stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the peer does not read".to_owned(),
        }
        if bytes.len() > 2 {
            link.written();
            shared.counters.sent.increment();
        }
        link.touch();
    }
}

async fn read(
    shared: &Arc<Shared>,
    mut stream: impl AsyncRead + Unpin,
    link: &Link,
    pongs: Option<mpsc::WeakSender<Write>>,
) -> String {
    let limits = &shared.config.limits;
    let source = Source { remote: link.remote, protocol: Protocol::Tcp };
    let mut inbound = Inbound::new(limits.message_bytes);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let (since, longest) = match inbound.partial_since() {
            Some(since) => (since, limits.message_timeout),
            None => (link.last_active(), limits.idle_timeout),
        };
        let length = match timeout(longest.saturating_sub(since.elapsed()), stream.read(&mut buffer)).await {
            Ok(Ok(0)) => return "closed by the peer".to_owned(),
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return error.to_string(),
            Err(_) if inbound.partial_since().is_some() => {
                return "the peer does not finish its message".to_owned();
            }
            // A write may have made it active in the meantime.
            Err(_) if link.last_active().elapsed() < limits.idle_timeout => continue,
            Err(_) => return "idle".to_owned(),
        };
        link.proven.store(true, Ordering::Relaxed);
        link.touch();
        inbound.push(buffer.get(..length).unwrap_or_default());
        loop {
            match inbound.next(shared, source) {
                Ok(Some(received)) => {
                    link.answered(&received.message);
                    shared.counters.received.increment();
                    // Waiting here leaves the rest in the peer's hands: TCP's own flow control is the bound.
                    if shared.incoming.send(Incoming::Message(received)).await.is_err() {
                        return "the transport has ended".to_owned();
                    }
                }
                Ok(None) => break,
                Err(reason) => {
                    tracing::debug!(%source, %reason, "the stream cannot go on");
                    // Ends the writer, once it has written the rejection.
                    lock(&shared.connections).remove(link.remote, link.id);
                    return std::future::pending().await;
                }
            }
        }
        if inbound.take_ping()
            && let Some(queue) = pongs.as_ref().and_then(mpsc::WeakSender::upgrade)
        {
            // A full queue is activity enough.
            let _ = queue.try_send(Write::Pong);
        }
    }
}

/// Gives every message that the connection did not deliver its second chance, or reports it.
async fn finish(shared: &Arc<Shared>, link: &Link, mut writes: mpsc::Receiver<Write>, error: SendError) {
    lock(&shared.connections).remove(link.remote, link.id);
    writes.close();
    tracing::debug!(remote = %link.remote, %error, "connection ended");
    if shared.closed.has_changed().is_err() {
        return;
    }
    let mut left = std::mem::take(&mut *lock(&link.outstanding));
    while let Ok(write) = writes.try_recv() {
        if let Write::Message(outgoing) = write
            && !left.iter().any(|other| other.is_same(&outgoing))
        {
            left.push_back(*outgoing);
        }
    }
    let proven = link.proven.load(Ordering::Relaxed);
    for outgoing in left {
        recover(shared, outgoing, proven, &error).await;
    }
}

async fn recover(shared: &Arc<Shared>, outgoing: Outgoing, proven: bool, error: &SendError) {
    let Outgoing { message, remote, .. } = outgoing.clone();
    let recovered = match &outgoing.message {
        // Protocol 2.4: refused, or reset before it ever spoke.
        Message::Request(_) if outgoing.promoted && !proven => shared.fall_back(message.clone(), remote),
        Message::Request(_) if proven && !outgoing.again => {
            send(shared, Outgoing { again: true, ..outgoing })
        }
        // RFC 3261 §18.2.2: a connection to the address in Via takes the place of the one that brought the request.
        Message::Response(response) if !outgoing.again => shared.respond(response.clone()),
        _ => Err(error.clone()),
    };
    if let Err(error) = recovered {
        shared.report(message, remote, error).await;
    }
}
