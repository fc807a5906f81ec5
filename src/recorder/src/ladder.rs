//! The SIP messages of a session as text for people.

use std::time::SystemTime;

use siprec_sip::Message;
use siprec_transport::Source;

use crate::clock;

/// Writes the messages of one session, in order.
pub(crate) struct Ladder {
    start: SystemTime,
    text: String,
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Received,
    Sent,
}

impl Ladder {
    /// A ladder whose times count from `start`.
    pub(crate) fn new(call_id: &str, client: Source, start: SystemTime) -> Self {
        let text = format!(
            "Call-ID  {}\nclient   {client}\nstart    {}\n",
            printable(call_id),
            clock::rfc3339(start)
        );
        Self { start, text }
    }

    /// Adds a message.
    pub(crate) fn message(&mut self, way: Way, message: &Message, now: SystemTime) {
        let cseq = message.headers().cseq().map(|cseq| format!("{} {}", cseq.number, cseq.method));
        let title = match message {
            Message::Request(request) => request.method.to_string(),
            Message::Response(response) => format!("{} {}", response.status, response.reason),
        };
        let label = format!("{} ({})", printable(&title), cseq.unwrap_or_default());
        let elapsed = now.duration_since(self.start).unwrap_or_default().as_secs_f64();
        let arrow = match way {
            Way::Received => format!("client --- {label:-<40}--> recorder"),
            Way::Sent => format!("client <-- {label:-<40}--- recorder"),
        };
        self.text.push_str(&format!("\n{:>10.3}  {arrow}\n\n", elapsed));
        for line in String::from_utf8_lossy(&message.to_bytes()).lines() {
            let line = redact(line);
            let line = printable(&line);
            self.text.push_str(if line.is_empty() { "" } else { "    " });
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// What was added since the last call.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// Whether the value of this header proves an identity.
pub(crate) fn is_secret(header: &str) -> bool {
    ["Authorization", "Proxy-Authorization"].iter().any(|name| name.eq_ignore_ascii_case(header))
}

/// A line without the keys in it: of `a=crypto` (RFC 4568 §9.1), `a=key-mgmt` (RFC 4567 §3.1) and `k=` (RFC 8866 §5.12), and
/// of credentials (RFC 3261 §20.7).
fn redact(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    if let Some(kind) = ["a=crypto:", "a=key-mgmt:", "k="].iter().find(|kind| lower.starts_with(**kind)) {
        // Tag and suite are no secrets; without the one method that there is, nothing says where the key begins.
        let public = lower.find("inline:").map_or(kind.len(), |at| at + "inline:".len());
        return format!("{}(key)", line.get(..public).unwrap_or_default());
    }
    match line.split_once(':') {
        Some((name, _)) if is_secret(name.trim()) => format!("{name}: (secret)"),
        _ => line.to_owned(),
    }
}

/// Control characters come from the network and must not reach a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use siprec_transport::Protocol;
    use std::time::Duration;

    #[test]
    fn messages_stand_in_order_with_their_times() {
        let start = SystemTime::UNIX_EPOCH;
        let source = Source { remote: "127.0.0.1:5060".parse().unwrap(), protocol: Protocol::Udp };
        let mut ladder = Ladder::new("1@a", source, start);
        let text = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
                    To: <sip:b>\r\nCall-ID: 1@a\r\nCSeq: 7 OPTIONS\r\nAuthorization: Digest x\r\n\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET\x1b[0m\r\nA=Crypto:1 SECRET\r\n\
                    a=key-mgmt:mikey SECRET\r\nk=base64:SECRET\r\na=sendonly\r\n";
        let message = Message::parse(text.as_bytes()).unwrap();
        ladder.message(Way::Received, &message, start + Duration::from_millis(1500));
        let text = ladder.take();
        assert!(text.contains("     1.500  client --- OPTIONS (7 OPTIONS)---"), "{text}");
        assert!(text.contains("\n    Call-ID: 1@a\n"), "{text}");
        assert!(!text.contains("SECRET") && !text.contains("Digest x") && !text.contains('\x1b'), "{text}");
        assert!(text.contains("\n    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:(key)\n"), "{text}");
        assert!(
            text.ends_with("\n    A=Crypto:(key)\n    a=key-mgmt:(key)\n    k=(key)\n    a=sendonly\n"),
            "{text}"
        );
        assert_eq!(ladder.take(), "");
    }
}
