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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OPTIONS sip:a SIP/2.0\r\nv: SIP/2.0/TCP h;branch=1\r\nf: <sip:a>;tag=1\r\nt: <sip:b>\r\n\
                        i: 1\r\nCSeq: 1 OPTIONS\r\n";

    fn framed(stream: &str) -> Vec<Result<Message, FrameError>> {
        let mut framer = Framer::new();
        framer.push(stream.as_bytes());
        framer.collect()
    }

    #[test]
    fn keep_alives_between_messages_are_skipped() {
        let message = format!("{HEAD}l: 2\r\n\r\nab");
        let found = framed(&format!("\r\n\r\n{message}\r\n{message}\r\n\r\n"));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|message| message.as_ref().is_ok_and(|message| message.body() == b"ab")));
    }

    #[test]
    fn a_message_waits_for_its_last_byte() {
        let message = format!("{HEAD}l: 2\r\n\r\nab");
        let mut framer = Framer::new();
        for byte in message.bytes() {
            assert!(framer.next().is_none());
            framer.push(&[byte]);
        }
        assert!(framer.next().is_some_and(|message| message.is_ok()));
        assert_eq!(framer.pending(), 0);
    }

    #[test]
    fn a_bad_message_of_known_length_does_not_stop_the_stream() {
        let good = format!("{HEAD}l: 0\r\n\r\n");
        for bad in [
            good.replace("CSeq: 1 OPTIONS", "CSeq: x"),
            good.replace("SIP/2.0\r\nv", "SIP/3.0\r\nv"),
            good.replace("OPTIONS sip:a SIP/2.0", "SIP/2.0 4294967301 no"),
            good.replace("OPTIONS sip:a SIP/2.0", "nonsense"),
            good.replace("l: 0", "l: 3\r\nnonsense") + "abc",
        ] {
            let found = framed(&format!("{bad}{good}"));
            assert!(matches!(found.as_slice(), [Err(FrameError::Bad(_)), Ok(_)]), "{bad}: {found:?}");
        }
    }

    #[test]
    fn a_message_of_unknown_length_ends_the_stream() {
        for (bad, status) in [
            (format!("{HEAD}\r\n"), Some(400)),
            (format!("{HEAD}l: x\r\n\r\n"), Some(400)),
            (format!("{HEAD}l: 1\r\nl: 2\r\n\r\n"), Some(400)),
            (format!("{HEAD}l: 1048577\r\n\r\n"), Some(513)),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), None),
            ("x".repeat(MAX_HEADER_BYTES + 1), None),
        ] {
            let found = framed(&format!("{bad}{HEAD}l: 0\r\n\r\n"));
            let [Err(FrameError::Lost(error))] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(error.rejection().map(|rejection| rejection.status), status);
        }
        let mut framer = Framer::new();
        framer.push(b"\xff\xff\r\n\r\n");
        assert!(framer.next().is_some_and(|message| message.is_err()));
        framer.push(HEAD.as_bytes());
        assert_eq!((framer.next(), framer.pending()), (None, 0));
    }
}
