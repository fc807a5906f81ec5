//! From bytes to messages: a bad request is answered when it says enough of itself, all else that is no message is
//! dropped and counted.

use std::sync::Arc;
use std::time::Instant;

use siprec_sip::stream::{FrameError, Framer};
use siprec_sip::{Message, ParseError};

use crate::transport::Shared;
use crate::{Received, Source, via};

/// The keepalive that wants an answer (RFC 5626 §4.4.1), in bytes.
const PING: usize = b"\r\n\r\n".len();
/// Its answer.
const PONG: usize = b"\r\n".len();

/// Reads one datagram.
pub(crate) fn datagram(shared: &Arc<Shared>, datagram: &[u8], source: Source) -> Option<Received> {
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        // A keepalive of NAT bindings; over UDP nothing answers it.
        return None;
    }
    if datagram.len() > shared.config.limits.message_bytes {
        shared.counters.malformed.increment();
        return None;
    }
    match Message::parse(datagram) {
        Ok(message) => accept(shared, message, source),
        Err(error) => {
            reject(shared, &error, source);
            None
        }
    }
}

/// Messages of one connection.
#[derive(Debug)]
pub(crate) struct Inbound {
    framer: Framer,
    /// Bytes of line ends since the last message.
    line_ends: usize,
    ping: bool,
    partial_since: Option<Instant>,
    limit: usize,
}

impl Inbound {
    pub(crate) fn new(limit: usize) -> Self {
        Self { framer: Framer::new(), line_ends: 0, ping: false, partial_since: None, limit }
    }

    /// Since when the connection owes the rest of a message.
    pub(crate) fn partial_since(&self) -> Option<Instant> {
        self.partial_since
    }

    /// Whether a keepalive came since the last call.
    pub(crate) fn take_ping(&mut self) -> bool {
        std::mem::take(&mut self.ping)
    }

    /// Takes what came. Where a pong is owed, a line end between messages is one, which the return value tells.
    pub(crate) fn push(&mut self, bytes: &[u8], owed: bool) -> bool {
        let mut pong = false;
        if self.framer.pending() == 0 {
            let line_ends = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.line_ends += line_ends;
            if owed && self.line_ends >= PONG {
                self.line_ends -= PONG;
                pong = true;
            }
            self.ping |= self.line_ends >= PING;
            self.line_ends = if line_ends == bytes.len() { self.line_ends % PING } else { 0 };
        }
        self.framer.push(bytes);
        pong
    }

    /// The next whole message, `None` when more bytes are needed.
    ///
    /// # Errors
    /// Why the stream cannot go on.
    pub(crate) fn next(&mut self, shared: &Arc<Shared>, source: Source) -> Result<Option<Received>, String> {
        loop {
            match self.framer.next() {
                Some(Ok(message)) => {
                    self.partial_since = None;
                    if let Some(received) = accept(shared, message, source) {
                        return Ok(Some(received));
                    }
                }
                Some(Err(FrameError::Bad(error))) => {
                    self.partial_since = None;
                    reject(shared, &error, source);
                }
                Some(Err(FrameError::Lost(error))) => {
                    reject(shared, &error, source);
                    return Err(error.to_string());
                }
                None if self.framer.pending() > self.limit => {
                    shared.counters.malformed.increment();
                    return Err(format!("a message is longer than {} bytes", self.limit));
                }
                None => {
                    if self.framer.pending() == 0 {
                        self.partial_since = None;
                    } else {
                        self.partial_since.get_or_insert_with(Instant::now);
                    }
                    return Ok(None);
                }
            }
        }
    }
}

fn accept(shared: &Arc<Shared>, mut message: Message, source: Source) -> Option<Received> {
    if let Message::Request(request) = &mut message
        && !via::note_source(&mut request.headers, source)
    {
        shared.counters.malformed.increment();
        return None;
    }
    Some(Received { message, source })
}

fn reject(shared: &Arc<Shared>, error: &ParseError, source: Source) {
    tracing::debug!(%source, %error, "not a SIP message");
    let answered = error.rejection().cloned().is_some_and(|mut response| {
        via::note_source(&mut response.headers, source) && shared.respond(response).is_ok()
    });
    if answered {
        shared.counters.answered_bad.increment();
    } else {
        shared.counters.malformed.increment();
    }
}
