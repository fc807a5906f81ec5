//! Text for people to read: logs, ladders, `Debug`. Keys and credentials are left out.

use crate::header::HeaderName;

/// What stands for a secret.
const REDACTED: &str = "[redacted]";

/// Whether the value of this header proves who somebody is.
pub(crate) fn is_secret(name: &HeaderName) -> bool {
    matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization)
}

/// A message or body without the keys of `a=crypto` (RFC 4568 §9.1), `a=key-mgmt` (RFC 4567 §3.1) and `k=` (RFC 8866 §5.12)
/// lines and without the values of secret headers. Bytes that are not UTF-8 are replaced.
pub(crate) fn redact(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.get(..public_length(line)) {
            Some(public) if public.len() < line.trim_end().len() => {
                out.push_str(public);
                out.push_str(REDACTED);
                out.push_str(line.get(line.trim_end().len()..).unwrap_or_default());
            }
            _ => out.push_str(line),
        }
    }
    out
}

/// How much of a line may be shown.
fn public_length(line: &str) -> usize {
    let lower = line.to_ascii_lowercase();
    if lower.starts_with("a=crypto") {
        return lower.find("inline:").map_or("a=crypto".len(), |at| at + "inline:".len());
    }
    if let Some(kind) = ["a=key-mgmt:", "k="].iter().find(|kind| lower.starts_with(**kind)) {
        return kind.len();
    }
    match line.split_once(':') {
        Some((name, _)) if HeaderName::parse(name.trim()).is_ok_and(|name| is_secret(&name)) => {
            name.len() + 1
        }
        _ => line.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_credentials_are_left_out_and_all_else_stays() {
        let shown = redact(
            b"INVITE sip:a SIP/2.0\r\nauthorization : Digest response=\"SECRET\"\r\nProxy-Authorization:SECRET\r\n\
              Subject: a=crypto\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20;inline:SECRET\r\n\
              A=Crypto:SECRET\r\nk=clear:SECRET\r\na=key-mgmt:mikey SECRET\r\na=sendonly",
        );
        assert!(!shown.contains("SECRET"), "{shown}");
        assert_eq!(shown.matches(REDACTED).count(), 6);
        assert!(shown.starts_with("INVITE sip:a SIP/2.0\r\nauthorization :[redacted]\r\n"));
        assert!(shown.contains("Subject: a=crypto\r\n"));
        assert!(shown.ends_with("k=[redacted]\r\na=key-mgmt:[redacted]\r\na=sendonly"));
    }
}
