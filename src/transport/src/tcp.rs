//! Connections: one for each peer, made when the first message is to go there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use siprec_sip::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connection::{Link, Outgoing, Write};
use crate::inbound::Inbound;
use crate::transport::{Shared, lock, spawn};
use crate::{Incoming, Protocol, SendError, Source, socket, udp};

const READ_BYTES: usize = 16 * 1024;
/// Pause after a failed accept: the process is out of file descriptors, and trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Queues a message for the connection to its peer, which is made if there is none.
pub(crate) fn send(shared: &Arc<Shared>, outgoing: Outgoing) -> Result<(), SendError> {
    let remote = outgoing.remote;
    let mut connections = lock(&shared.connections);
    let Ok(room) = Arc::clone(&shared.queued).try_acquire_owned() else {
        return Err(SendError::QueueFull { remote });
    };
    let mut write = Write::Message(Box::new(outgoing), room);
    if let Some(queue) = connections.queue(remote) {
        match queue.try_send(write) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => return Err(SendError::QueueFull { remote }),
            Err(mpsc::error::TrySendError::Closed(given_back)) => write = given_back,
        }
    }
    let limit = shared.config.limits.connections;
    if connections.len() >= limit {
        if !connections.evict() {
            return Err(SendError::TooManyConnections { remote, limit });
        }
        shared.counters.evicted.increment();
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
    if connections.len() >= shared.config.limits.connections {
        if !connections.evict() {
            return None;
        }
        shared.counters.evicted.increment();
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
    let pongs = lock(&shared.connections).queue(link.remote).map(mpsc::Sender::downgrade);
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
            Some(Write::Message(outgoing, _)) if link.is_repetition(&outgoing) => continue,
            Some(Write::Message(outgoing, _room)) => {
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
        if let Write::Message(outgoing, _room) = write
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
