//! Messages on a stream (RFC 3261 §18.3): Content-Length says where one ends.

use crate::header::{HeaderError, HeaderName};
use crate::message::{
    Head, MAX_HEADER_BYTES, Message, ParseError, ParseErrorKind, head_length, skip_line_ends,
};

/// Cuts a stream into messages. Line ends between messages, the keep-alives of RFC 5626 §3.5.1, are skipped.
///
/// Iterating gives every whole message; `None` means that more bytes are needed, not that the stream is over.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes at the front that are known not to hold the end of the headers.
    scanned: usize,
    /// A head whose body has not come yet, and where that begins.
    waiting: Option<(Head, usize)>,
    /// After a fault that hides where the next message begins.
    lost: bool,
}

/// What is wrong with a message on a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The message is bad, its length is known: the stream goes on.
    #[error("{0}")]
    Bad(ParseError),
    /// The message is bad and hides where the next one begins: close the connection once the rejection is sent.
    #[error("{0}; the stream cannot go on")]
    Lost(ParseError),
}

impl FrameError {
    /// The fault.
    pub const fn error(&self) -> &ParseError {
        match self {
            Self::Bad(error) | Self::Lost(error) => error,
        }
    }
}

impl Framer {
    /// A framer at the start of a stream.
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), scanned: 0, waiting: None, lost: false }
    }

    /// Adds bytes from the stream. After [`FrameError::Lost`] they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.lost {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The next head and where its body begins.
    fn head(&mut self) -> Option<Result<(Head, usize), ParseError>> {
        if let Some(waiting) = self.waiting.take() {
            return Some(Ok(waiting));
        }
        if self.scanned == 0 {
            let skipped = self.buffer.len() - skip_line_ends(&self.buffer).len();
            self.buffer.drain(..skipped);
        }
        match head_length(&self.buffer, self.scanned) {
            Some(end) => {
                let head = Head::parse(self.buffer.get(..end).unwrap_or_default());
                Some(head.map(|head| (head, end)))
            }
            None => {
                self.scanned = self.buffer.len();
                let too_long = self.scanned > MAX_HEADER_BYTES;
                too_long.then(|| Err(ParseError::new(None, ParseErrorKind::HeadersTooLong)))
            }
        }
    }

    fn lose(&mut self, error: ParseError) -> FrameError {
        *self = Self { lost: true, ..Self::new() };
        FrameError::Lost(error)
    }
}

impl Iterator for Framer {
    type Item = Result<Message, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, end) = match self.head()? {
            Ok(found) => found,
            Err(error) => return Some(Err(self.lose(error))),
        };
        let Some(length) = head.length else {
            // RFC 3261 §18.3: mandatory on streams.
            let missing = HeaderError::Missing(HeaderName::ContentLength);
            return Some(Err(self.lose(head.reject(ParseErrorKind::Header(missing)))));
        };
        let Some(body) = self.buffer.get(end..end + length) else {
            self.waiting = Some((head, end));
            return None;
        };
        let message = head.finish(body).map_err(FrameError::Bad);
        self.buffer.drain(..end + length);
        self.scanned = 0;
        Some(message)
    }
}
