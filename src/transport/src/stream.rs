//! Connections by TCP and TLS: one for each peer, made when the first message is to go there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::connection::{Connections, Link, Outgoing, Peer, Security, Write};
use crate::transport::{Shared, lock, spawn};
use crate::{Protocol, SendError, TlsError, TlsPeer, carry, socket, tls, udp};

/// Pause after a failed accept: the process is out of file descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Queues a message for the connection to its peer, which is made if there is none.
pub(crate) fn send(shared: &Arc<Shared>, outgoing: Outgoing) -> Result<(), SendError> {
    let peer = outgoing.peer.clone();
    let remote = peer.remote;
    let mut connections = lock(&shared.connections);
    let Ok(room) = Arc::clone(&shared.queued).try_acquire_owned() else {
        return Err(SendError::QueueFull { remote });
    };
    let mut write = Write::Message(Box::new(outgoing), room);
    if let Some(queue) = connections.queue(&peer) {
        match queue.try_send(write) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SendError::QueueFull { remote }),
            Err(mpsc::error::TrySendError::Closed(given_back)) => write = given_back,
        }
    }
    if peer.security == Security::Arrived {
        return Err(SendError::NoConnection { remote });
    }
    if !make_room(shared, &mut connections) {
        let limit = shared.config.limits.connections;
        return Err(SendError::TooManyConnections { remote, limit });
    }
    let (queue, mut writes) = mpsc::channel(shared.config.limits.write_queue.max(1));
    queue.try_send(write).map_err(|_| SendError::QueueFull { remote })?;
    let link = connections.insert(peer, queue, false);
    drop(connections);
    let shared = Arc::clone(shared);
    spawn(async move {
        let error = open(&shared, &link, &mut writes).await;
        carry::finish(&shared, &link, writes, error).await;
    });
    Ok(())
}

/// Makes a connection and serves it to its end; says how it ended.
async fn open(shared: &Arc<Shared>, link: &Link, writes: &mut mpsc::Receiver<Write>) -> SendError {
    let stream = match connect(shared, link.peer.remote).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    match &link.peer.security {
        Security::Tls(peer) => match secure(shared, stream, link.peer.remote, peer).await {
            Ok(stream) => carry::serve(shared, stream, link, writes).await,
            Err(error) => error,
        },
        Security::Plain | Security::Arrived => carry::serve(shared, stream, link, writes).await,
    }
}

/// Accepts connections, of TCP or TLS, until the last handle is gone.
pub(crate) async fn listen(shared: Arc<Shared>, listener: TcpListener, protocol: Protocol) {
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
        let peer = match protocol {
            Protocol::Tls => Peer { remote, security: Security::Arrived },
            _ => Peer::plain(remote),
        };
        let Some((link, mut writes)) = admit(&shared, peer) else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        spawn(async move {
            let error = match link.peer.security {
                Security::Arrived => match accept(&shared, stream, remote).await {
                    Ok(stream) => carry::serve(&shared, stream, &link, &mut writes).await,
                    Err(error) => {
                        tracing::info!(%error, "a connection was refused");
                        error
                    }
                },
                Security::Plain | Security::Tls(_) => carry::serve(&shared, stream, &link, &mut writes).await,
            };
            carry::finish(&shared, &link, writes, error).await;
        });
    }
}

/// Takes in a connection that arrived; `None` when all places are taken by our own.
fn admit(shared: &Shared, peer: Peer) -> Option<(Arc<Link>, mpsc::Receiver<Write>)> {
    let mut connections = lock(&shared.connections);
    shared.counters.accepted.increment();
    if !make_room(shared, &mut connections) {
        return None;
    }
    let (queue, writes) = mpsc::channel(shared.config.limits.write_queue.max(1));
    Some((connections.insert(peer, queue, true), writes))
}

/// Makes room for one more connection; `false` when all places are taken by our own.
fn make_room(shared: &Shared, connections: &mut Connections) -> bool {
    if connections.len() < shared.config.limits.connections {
        return true;
    }
    let made = connections.evict();
    if made {
        shared.counters.evicted.increment();
    }
    made
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

/// The handshake of a connection that we made.
async fn secure(
    shared: &Shared,
    stream: TcpStream,
    remote: SocketAddr,
    peer: &Arc<TlsPeer>,
) -> Result<client::TlsStream<TcpStream>, SendError> {
    let (store, wanted) = (Arc::clone(&shared.tls), Arc::clone(peer));
    let (config, name) = from_files(remote, move || store.client(&wanted)).await?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    let stream = within(shared.config.limits.handshake_timeout, remote, handshake).await?;
    let version = stream.get_ref().1.protocol_version();
    tracing::debug!(%remote, name = peer.name, ?version, "TLS is there");
    Ok(stream)
}

/// The handshake of a connection that arrived.
async fn accept(
    shared: &Shared,
    stream: TcpStream,
    remote: SocketAddr,
) -> Result<server::TlsStream<TcpStream>, SendError> {
    let store = Arc::clone(&shared.tls);
    let config = from_files(remote, move || store.server()).await?;
    let handshake = TlsAcceptor::from(config).accept(stream);
    within(shared.config.limits.message_timeout, remote, handshake).await
}

/// Files are read on a thread that may wait for them.
async fn from_files<T: Send + 'static>(
    remote: SocketAddr,
    read: impl FnOnce() -> Result<T, TlsError> + Send + 'static,
) -> Result<T, SendError> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let read = move || tracing::dispatcher::with_default(&log, read);
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => outcome.map_err(|error| SendError::Tls { remote, error }),
        Err(_) => Err(SendError::Ended),
    }
}

async fn within<T>(
    after: Duration,
    remote: SocketAddr,
    handshake: impl Future<Output = std::io::Result<T>>,
) -> Result<T, SendError> {
    match timeout(after, handshake).await {
        Ok(outcome) => outcome.map_err(|error| SendError::Handshake { remote, reason: tls::explain(&error) }),
        Err(_) => Err(SendError::HandshakeTimeout { remote, after }),
    }
}
