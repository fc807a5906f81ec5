//! The CSeq header.

use std::fmt;

use super::HeaderValue;
use crate::message::Method;
use crate::syntax::{self, SyntaxError};

/// A sequence number and the method it belongs to (RFC 3261 §20.16).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// Below 2^31 where the sender keeps RFC 3261 §8.1.1.5.
    pub number: u32,
    /// The method of the request.
    pub method: Method,
}

impl CSeq {
    /// A sequence number with its method.
    pub const fn new(number: u32, method: Method) -> Self {
        Self { number, method }
    }

    /// Parses the value.
    ///
    /// # Errors
    /// What was expected where.
    pub fn parse(value: &[u8]) -> Result<Self, SyntaxError> {
        let value = syntax::trim(value);
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, method) = value.split_at_checked(digits).unwrap_or((value, &[]));
        let number = syntax::decimal(number).ok_or(SyntaxError::new(0, "a number below 2^32"))?;
        if !method.first().is_some_and(u8::is_ascii_whitespace) {
            return Err(SyntaxError::new(digits, "white space and a method"));
        }
        let method = std::str::from_utf8(syntax::trim(method))
            .ok()
            .and_then(|text| Method::parse(text).ok())
            .ok_or(SyntaxError::new(digits + 1, "a method"))?;
        Ok(Self { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

impl From<&CSeq> for HeaderValue {
    fn from(cseq: &CSeq) -> Self {
        Self::from(cseq.to_string())
    }
}

impl From<CSeq> for HeaderValue {
    fn from(cseq: CSeq) -> Self {
        Self::from(&cseq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_method_are_read() {
        assert_eq!(CSeq::parse(b"0009\t\tINVITE"), Ok(CSeq::new(9, Method::Invite)));
        assert_eq!(CSeq::parse(b"4294967295 ack").map(|cseq| cseq.method == Method::Ack), Ok(false));
        for bad in ["", "INVITE", "1", "1INVITE", "36893488147419103232 REGISTER", "-1 BYE", "1 A B", "1 "] {
            assert!(CSeq::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
