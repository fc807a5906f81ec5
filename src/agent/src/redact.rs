//! SIP messages as they may stand in a log.

use std::fmt::{self, Write as _};

/// Headers whose values are secrets or lead to them.
const SECRET_HEADERS: [&str; 4] =
    ["authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info"];
const HIDDEN: &str = "<redacted>";

/// A message without keys and credentials: the values of Authorization and its relatives, and in session descriptions
/// the keys of `a=crypto` (RFC 4568), `a=key-mgmt` (RFC 4567) and `k=` (RFC 4566).
pub(crate) struct Redacted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        let mut in_secret = false;
        for line in text.split_inclusive('\n') {
            let content = line.trim_end_matches(['\r', '\n']);
            let end = line.get(content.len()..).unwrap_or_default();
            // A folded line goes on with the value of the header before it (RFC 3261 §7.3.1).
            if in_secret && content.starts_with([' ', '\t']) {
                write!(f, " {HIDDEN}{end}")?;
                continue;
            }
            let shown = shown_part(content);
            in_secret = shown.is_some_and(is_secret_header);
            match shown {
                Some(shown) => {
                    write_plainly(f, shown)?;
                    write!(f, "{HIDDEN}{end}")?;
                }
                None => write_plainly(f, line)?,
            }
        }
        Ok(())
    }
}

/// Control characters of a peer do nothing to whoever reads the log.
fn write_plainly(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|character| match character {
        '\r' | '\n' | '\t' => f.write_char(character),
        control if control.is_control() => write!(f, "\\x{:02x}", u32::from(control)),
        printable => f.write_char(printable),
    })
}

/// The part of a line before its secret; `None` where it has none.
fn shown_part(line: &str) -> Option<&str> {
    if let Some(colon) = line.find(':')
        && is_secret_header(line.get(..=colon)?)
    {
        return line.get(..=colon);
    }
    if has_prefix(line, "a=crypto:") || has_prefix(line, "a=key-mgmt:") {
        // The tag and the suite are no secrets; all behind them may be.
        let key = line.to_ascii_lowercase().find("inline:").map(|at| at + "inline:".len());
        return line.get(..key.or_else(|| line.find(':').map(|colon| colon + 1))?);
    }
    has_prefix(line, "k=").then(|| line.get(..2)).flatten()
}

fn is_secret_header(with_colon: &str) -> bool {
    let name = with_colon.trim_end_matches(':').trim();
    SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

fn has_prefix(line: &str, prefix: &str) -> bool {
    line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let message = b"INVITE sip:a SIP/2.0\r\nAuthorization : Digest SECRET\r\n\tSECRET=folded\r\nFrom: <sip:b>\r\n\
            proxy-authorization:SECRET\r\nContent-Length: 9\r\n\r\nv=0\r\nk=prompt SECRET\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:SECRET|2^20;inline:SECRET\r\na=key-mgmt:mikey SECRET\r\n\
            a=sendonly\r\n";
        let text = Redacted(message).to_string();
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 INLINE:<redacted>\r\n"), "{text}");
        assert!(text.contains("From: <sip:b>\r\n") && text.ends_with("a=sendonly\r\n"), "{text}");
    }

    #[test]
    fn a_peer_cannot_write_to_the_terminal() {
        assert_eq!(Redacted(b"X: \x1b[2J\0\r\n").to_string(), "X: \\x1b[2J\\x00\r\n");
    }

    #[test]
    fn everything_else_is_printed_as_it_is() {
        let message = "SIP/2.0 200 OK\r\nX: M\u{fc}ller\r\nkeep=1\r\n\r\nno line end";
        assert_eq!(Redacted(message.as_bytes()).to_string(), message);
    }
}
