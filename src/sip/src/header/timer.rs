//! The Session-Expires header.

use std::fmt;

use super::{HeaderValue, Params};
use crate::syntax::{self, SyntaxError};

/// A session interval and who keeps it (RFC 4028 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Interval in seconds.
    pub seconds: u32,
    /// Who refreshes, where that is said.
    pub refresher: Option<Refresher>,
}

/// Who refreshes a session: the roles are those of the request that carries or is answered with the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The sender of the request.
    Uac,
    /// The one who answers it.
    Uas,
}

impl SessionExpires {
    /// Parses the value. An unknown refresher counts as none.
    ///
    /// # Errors
    /// What was expected where.
    pub fn parse(value: &[u8]) -> Result<Self, SyntaxError> {
        let (seconds, params) = parse_seconds(value)?;
        let refresher = match params.get("refresher") {
            Some(role) if role.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(role) if role.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        };
        Ok(Self { seconds, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seconds)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}

impl From<SessionExpires> for HeaderValue {
    fn from(expires: SessionExpires) -> Self {
        Self::from(expires.to_string())
    }
}

/// `delta-seconds` with an optional comment (Retry-After has one, RFC 3261 §20.33) and parameters. A number that
/// does not fit counts as the largest (§25.1 sets no bound).
pub(super) fn parse_seconds(value: &[u8]) -> Result<(u32, Params), SyntaxError> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = value.split_at_checked(digits).unwrap_or((value, &[]));
    if number.is_empty() {
        return Err(SyntaxError::new(0, "a number of seconds"));
    }
    let seconds = syntax::decimal(number).unwrap_or(u32::MAX);
    let end = comment_length(rest).ok_or(SyntaxError::new(value.len(), "`)`"))?;
    let params = rest.get(end..).unwrap_or_default();
    match syntax::trim(params).first() {
        None | Some(b';') => Ok((seconds, Params::parse(params, digits + end)?)),
        Some(_) => Err(SyntaxError::new(digits + end, "`;` or the end")),
    }
}

/// The length of white space and one comment, nested and escaped as RFC 3261 §25.1 allows; `None` where it does not
/// end.
fn comment_length(bytes: &[u8]) -> Option<usize> {
    if syntax::trim(bytes).first() != Some(&b'(') {
        return Some(0);
    }
    let (mut depth, mut escaped) = (0_usize, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_and_refresher_are_read_and_written() {
        for (text, seconds, refresher) in [
            ("1800", 1800, None),
            ("90;refresher=uac", 90, Some(Refresher::Uac)),
            ("4000 ; Refresher = UAS", 4000, Some(Refresher::Uas)),
            ("90;refresher=proxy", 90, None),
            ("99999999999", u32::MAX, None),
        ] {
            let expires = SessionExpires::parse(text.as_bytes()).unwrap();
            assert_eq!((expires.seconds, expires.refresher), (seconds, refresher), "{text}");
            assert_eq!(SessionExpires::parse(expires.to_string().as_bytes()), Ok(expires));
        }
        for bad in ["", "x", "-1", "90 x", ";refresher=uac"] {
            assert!(SessionExpires::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_comment_is_skipped() {
        let (seconds, params) = parse_seconds(b"120 (I'm (in) a \\) meeting);duration=60").unwrap();
        assert_eq!((seconds, params.get("duration")), (120, Some("60")));
        assert!(parse_seconds(b"120 (open").is_err());
    }
}
