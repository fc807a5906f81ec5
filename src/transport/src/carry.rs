//! What passes over one connection, and what becomes of messages when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use siprec_sip::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connection::{Link, Outgoing, Write};
use crate::inbound::Inbound;
use crate::keepalive::{Beat, LostConnection};
use crate::transport::{Shared, lock};
use crate::{Incoming, SendError, Source, stream, tls};

const READ_BYTES: usize = 16 * 1024;
/// How long the peer may take to be told that the connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads and writes one connection to its end; says how it ended.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite,
    link: &Link,
    writes: &mut mpsc::Receiver<Write>,
) -> SendError {
    let pongs = lock(&shared.connections).queue(&link.peer).map(mpsc::Sender::downgrade);
    let (reader, writer) = tokio::io::split(stream);
    let reason = tokio::select! {
        reason = read(shared, reader, link, pongs) => reason,
        reason = write(shared, writer, link, writes) => reason,
    };
    SendError::ConnectionLost { remote: link.peer.remote, reason }
}

async fn write(
    shared: &Shared,
    mut stream: impl AsyncWrite + Unpin,
    link: &Link,
    writes: &mut mpsc::Receiver<Write>,
) -> String {
    let closed = shared.ended();
    tokio::pin!(closed);
    let mut wake = Instant::now();
    let reason = loop {
        let next = tokio::select! {
            biased;
            next = writes.recv() => next,
            () = &mut closed => break "the transport has ended",
            () = tokio::time::sleep_until(wake.into()), if !link.arrived => match shared.beat(link) {
                Beat::Wait(until) => {
                    wake = until;
                    continue;
                }
                Beat::Ping => Some(Write::Ping),
                Beat::Lost => return "the peer answers keepalives no more".to_owned(),
            },
        };
        let bytes = match next {
            None => break "closed on this side",
            Some(Write::Ping) => b"\r\n\r\n".to_vec(),
            Some(Write::Pong) => b"\r\n".to_vec(),
            Some(Write::Message(outgoing, _)) if link.is_repetition(&outgoing) => continue,
            Some(Write::Message(outgoing, _room)) => {
                let bytes = outgoing.message.to_bytes();
                link.expect_answer(*outgoing);
                bytes
            }
        };
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        match timeout(shared.config.limits.write_timeout, written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tls::explain(&error),
            Err(_) => return "the peer does not read".to_owned(),
        }
        if bytes.len() > 4 {
            link.written();
            shared.counters.sent.increment();
        }
        link.touch();
    };
    // TLS tells its end from a connection that was cut. Nobody may be there to hear it.
    let _ = timeout(FAREWELL, stream.shutdown()).await;
    reason.to_owned()
}

async fn read(
    shared: &Arc<Shared>,
    mut stream: impl AsyncRead + Unpin,
    link: &Link,
    pongs: Option<mpsc::WeakSender<Write>>,
) -> String {
    let limits = &shared.config.limits;
    let source = Source { remote: link.peer.remote, protocol: link.peer.protocol() };
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
            Ok(Err(error)) => return tls::explain(&error),
            Err(_) if inbound.partial_since().is_some() => {
                return "the peer does not finish its message".to_owned();
            }
            // A write may have made it active in the meantime.
            Err(_) if link.last_active().elapsed() < limits.idle_timeout => continue,
            Err(_) => return "idle".to_owned(),
        };
        link.proven.store(true, Ordering::Relaxed);
        link.touch();
        let owed = lock(&link.pulse).is_owed();
        let pong = inbound.push(buffer.get(..length).unwrap_or_default(), owed);
        lock(&link.pulse).hear(pong, Instant::now());
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
                    lock(&shared.connections).remove(link);
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
pub(crate) async fn finish(
    shared: &Arc<Shared>,
    link: &Link,
    mut writes: mpsc::Receiver<Write>,
    error: SendError,
) {
    lock(&shared.connections).remove(link);
    writes.close();
    tracing::debug!(remote = %link.peer.remote, %error, "connection ended");
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
    let was_idle = link.last_active().elapsed() >= shared.config.limits.idle_timeout;
    if proven && !was_idle && lock(&shared.kept).contains(&link.peer) {
        // The reader of the arrivals may be gone: then nobody wants to know.
        let _ = shared.incoming.send(Incoming::Lost(LostConnection { peer: link.peer.clone() })).await;
    }
}

async fn recover(shared: &Arc<Shared>, outgoing: Outgoing, proven: bool, error: &SendError) {
    let Outgoing { message, peer, .. } = outgoing.clone();
    let remote = peer.remote;
    let recovered = match &outgoing.message {
        // Protocol 2.4: refused, or reset before it ever spoke.
        Message::Request(_) if outgoing.promoted && !proven => shared.fall_back(message.clone(), remote),
        Message::Request(_) if proven && !outgoing.again => {
            stream::send(shared, Outgoing { again: true, ..outgoing })
        }
        // RFC 3261 §18.2.2: a connection to the address in Via takes the place of the one that brought the request.
        Message::Response(response) if !outgoing.again => shared.respond(response.clone()),
        _ => Err(error.clone()),
    };
    if let Err(error) = recovered {
        shared.report(message, remote, error).await;
    }
}
