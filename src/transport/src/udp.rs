//! Datagrams: one message each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use siprec_sip::Message;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::transport::{Shared, lock};
use crate::{Incoming, Protocol, SendError, Source, inbound};

/// The largest payload of a datagram.
const LARGEST_DATAGRAM: usize = 65_535;
/// How often a datagram is sent anew because the socket tells of another one.
const OTHERS: usize = 8;

/// Reads datagrams until the last handle is gone. While the reader of the arrivals is behind none is read: the socket's
/// buffer keeps as many as it has room for.
pub(crate) async fn read(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    let closed = shared.ended();
    tokio::pin!(closed);
    loop {
        let received = tokio::select! {
            () = &mut closed => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        let (length, remote) = match received {
            Ok(received) => received,
            // An ICMP error of an earlier datagram, which `unreachable` reads, or a moment without memory: the socket goes on.
            Err(error) => {
                tracing::debug!(%error, "receiving a datagram failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let datagram = buffer.get(..length).unwrap_or_default();
        let source = Source { remote: canonical(remote), protocol: Protocol::Udp };
        let Some(received) = inbound::datagram(&shared, datagram, source) else { continue };
        lock(&shared.unanswered).answered(&received.message);
        match shared.incoming.try_send(Incoming::Message(received)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(waiting)) => {
                shared.counters.delayed.increment();
                tokio::select! {
                    () = &mut closed => return,
                    sent = shared.incoming.send(waiting) => if sent.is_err() { return },
                }
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
        shared.counters.received.increment();
    }
}

/// Writes what is queued until the last handle is gone and the queue is empty.
pub(crate) async fn write(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    mut queue: mpsc::Receiver<(Message, SocketAddr)>,
) {
    let closed = shared.ended();
    tokio::pin!(closed);
    loop {
        let (message, remote) = tokio::select! {
            biased;
            queued = queue.recv() => match queued {
                Some(queued) => queued,
                None => return,
            },
            () = &mut closed => return,
        };
        let bytes = message.to_bytes();
        match send(&socket, &bytes, mapped(remote, shared.local)).await {
            Ok(()) => {
                shared.counters.sent.increment();
                lock(&shared.unanswered).sent(&message, bytes, remote);
            }
            Err(error) if is_transient(&error) => shared.counters.unsent.increment(),
            Err(error) => {
                let error = SendError::Datagram { remote, reason: error.to_string() };
                shared.report(message, remote, error).await;
            }
        }
    }
}

/// Sends a datagram. The socket may first tell what became of others, and each time it is not sent.
async fn send(socket: &UdpSocket, bytes: &[u8], remote: SocketAddr) -> io::Result<()> {
    for _ in 0..OTHERS {
        if socket.send_to(bytes, remote).await.is_ok() {
            return Ok(());
        }
    }
    socket.send_to(bytes, remote).await.map(drop)
}

/// An IPv4 peer of a dual-stack socket under its own address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address as a socket bound to `local` wants it.
fn mapped(remote: SocketAddr, local: SocketAddr) -> SocketAddr {
    match (remote.ip(), local.is_ipv6()) {
        (IpAddr::V4(address), true) => SocketAddr::new(address.to_ipv6_mapped().into(), remote.port()),
        _ => remote,
    }
}

/// The socket reports the ICMP error of another datagram, or has no memory just now: as good as lost on the way.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted | io::ErrorKind::OutOfMemory
    )
}
