//! Scripts: text that a person can read and a fuzzer can mutate.
//!
//! A line `%% VERB WORD ...` is a step; the lines under it, up to the next step, are its text. Lines end with LF in
//! the script and with CRLF in messages. In a message `$CALL` stands for the dialog's Call-ID, `$LOCAL` for our tag,
//! and `$VIA` for the Via of our latest request.
//!
//! ```text
//! %% answer 200 INVITE
//! Contact: <sip:192.0.2.9>
//!
//! v=0
//! %% wait 500
//! ```

use siprec_sip::{HeaderName, Message, Method, Request};

/// Most steps of a script that are run.
const MOST_STEPS: usize = 100;

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    words: Vec<String>,
    text: Vec<u8>,
}

/// The steps of a script.
pub fn steps(script: &[u8]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script.split(|byte| *byte == b'\n') {
        if let Some(words) = line.strip_prefix(b"%% ") {
            if steps.len() == MOST_STEPS {
                break;
            }
            let words = String::from_utf8_lossy(words).split_whitespace().map(str::to_owned).collect();
            steps.push(Step { words, text: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            step.text.extend_from_slice(b"\r\n");
        }
    }
    steps
}

impl Step {
    /// What to do.
    pub fn verb(&self) -> &str {
        self.word(0)
    }

    /// The words after the verb, from 1; empty where there is none.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// A word as a number, 0 where it is none.
    pub fn number<T: std::str::FromStr + Default>(&self, index: usize) -> T {
        self.word(index).parse().unwrap_or_default()
    }

    /// Header lines, and the body behind an empty line.
    fn lines_and_body(&self) -> (&[u8], &[u8]) {
        if let Some(body) = self.text.strip_prefix(b"\r\n") {
            return (b"", body);
        }
        match self.text.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => (&self.text[..end + 2], &self.text[end + 4..]),
            None => (&self.text, b""),
        }
    }
}

/// The other end of a dialog, as far as a script needs it to write messages that reach their dialog.
#[derive(Debug, Default)]
pub struct Peer {
    call_id: String,
    /// The tag of the end under test.
    local_tag: String,
    /// What the end under test has sent, oldest first.
    seen: Vec<Request>,
    branches: u32,
}

impl Peer {
    /// The peer of a dialog that exists already.
    pub fn new(call_id: &str, local_tag: &str) -> Self {
        Self { call_id: call_id.to_owned(), local_tag: local_tag.to_owned(), ..Self::default() }
    }

    /// Takes note of a message that was sent to the peer.
    ///
    /// # Panics
    /// Where it is no SIP message: requests of ours must always be.
    pub fn saw(&mut self, message: &Message) {
        if let Message::Request(request) = message {
            let bytes = request.to_bytes();
            assert!(Message::parse(&bytes).is_ok(), "{}", bytes.escape_ascii());
            self.call_id = request.headers.call_id().unwrap_or_default().to_owned();
            if let Ok(from) = request.headers.from() {
                self.local_tag = from.tag().unwrap_or_default().to_owned();
            }
            self.seen.push(request.clone());
        }
    }

    /// The message that a step sends: `receive` (as it stands), `answer STATUS [METHOD]`, `request METHOD [CSEQ]`.
    /// `None` for other steps, and where the text makes no message.
    pub fn message(&mut self, step: &Step) -> Option<Message> {
        let bytes = match step.verb() {
            "receive" => self.filled_in(&step.text),
            "answer" => self.answer(step)?,
            "request" => self.request(step),
            _ => return None,
        };
        Message::parse(&bytes).ok()
    }

    fn answer(&self, step: &Step) -> Option<Vec<u8>> {
        let wanted = step.word(2);
        let is_wanted = |request: &&Request| {
            request.method != Method::Ack && (wanted.is_empty() || request.method.to_string() == wanted)
        };
        let request = self.seen.iter().rev().find(is_wanted)?;
        let mut bytes = format!("SIP/2.0 {} x\r\n", step.word(1)).into_bytes();
        for name in [HeaderName::Via, HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
            for value in request.headers.all(&name) {
                bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        let to = request.headers.get(&HeaderName::To).map(ToString::to_string).unwrap_or_default();
        let tag = if to.contains(";tag=") { "" } else { ";tag=peer" };
        bytes.extend_from_slice(format!("To: {to}{tag}\r\n").as_bytes());
        Some(self.finish(bytes, step))
    }

    fn request(&mut self, step: &Step) -> Vec<u8> {
        self.branches += 1;
        let (method, branch) = (step.word(1), self.branches);
        let cseq = if step.word(2).is_empty() { (100 + branch).to_string() } else { step.word(2).to_owned() };
        let (call_id, tag) = (&self.call_id, &self.local_tag);
        let head = format!(
            "{method} sip:client@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp{branch}\r\n\
             From: <sip:peer@192.0.2.9>;tag=peer\r\nTo: <sip:client@192.0.2.1>;tag={tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n"
        );
        self.finish(head.into_bytes(), step)
    }

    /// The step's own lines come first, so that they win where a header counts once.
    fn finish(&self, head: Vec<u8>, step: &Step) -> Vec<u8> {
        let (lines, body) = step.lines_and_body();
        let mut bytes = head;
        bytes.extend_from_slice(&self.filled_in(lines));
        if body.starts_with(b"v=0") && !lines.windows(13).any(|window| window == b"Content-Type:") {
            bytes.extend_from_slice(b"Content-Type: application/sdp\r\n");
        }
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn filled_in(&self, text: &[u8]) -> Vec<u8> {
        let via = self.seen.last().and_then(|request| request.headers.get(&HeaderName::Via));
        let via = via.map(ToString::to_string).unwrap_or_default();
        let words =
            [("$CALL", self.call_id.as_str()), ("$LOCAL", self.local_tag.as_str()), ("$VIA", via.as_str())];
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            match words.iter().find(|(word, _)| rest.starts_with(word.as_bytes())) {
                Some((word, value)) => {
                    out.extend_from_slice(value.as_bytes());
                    rest = &rest[word.len()..];
                }
                None => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    }
}
