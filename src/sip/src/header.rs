//! Headers: an ordered list that keeps every line, and typed views of the headers that dialogs need.

mod content_type;
mod cseq;
mod name;
mod name_addr;
mod params;
mod timer;
mod typed;
mod value;
mod via;

pub use content_type::ContentType;
pub use cseq::CSeq;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::Params;
pub use timer::{Refresher, SessionExpires};
pub use value::{HeaderValue, InvalidHeaderValue};
pub use via::Via;
pub(crate) use via::is_host;

use std::fmt;

use crate::redact::is_secret;
use crate::syntax::{self, SyntaxError};

/// The headers of a message or body part, in order, each line as it came.
///
/// Names compare without regard to case, and a compact form equals its long form (RFC 3261 §7.3.3). Nothing is lost:
/// unknown headers, spellings, bytes that are not UTF-8. Folded lines are joined by one space (§7.3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Field>);

/// One header line.
#[derive(Clone, PartialEq, Eq)]
struct Field {
    name: HeaderName,
    /// The name as written, where that is not the usual spelling.
    spelling: Option<Box<str>>,
    value: HeaderValue,
}

/// What is wrong with a header that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There is none.
    #[error("the {0} header is missing")]
    Missing(HeaderName),
    /// There are several where one is allowed.
    #[error("the {0} header stands more than once")]
    Repeated(HeaderName),
    /// Its value is not what the grammar asks for.
    #[error("{name} header: {error}")]
    Malformed {
        /// The header.
        name: HeaderName,
        /// What was expected where in its value.
        error: SyntaxError,
    },
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many header lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every line in order: the name as written and the value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|field| (field.written_name(), &field.value))
    }

    /// The first line with this name.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.iter().find(|field| field.name == *name).map(|field| &field.value)
    }

    /// Every line with this name, in order.
    pub fn all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> + 'a {
        self.0.iter().filter(move |field| field.name == *name).map(|field| &field.value)
    }

    /// Every value of this name, in order: lines are split at commas where the header's grammar is a list
    /// (RFC 3261 §7.3.1), and only there.
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> + 'a {
        let is_list = name.is_list();
        self.all(name).flat_map(move |value| {
            let (list, single) = if is_list {
                (Some(syntax::split_outside(value.as_bytes(), b',').map(|(_, part)| part)), None)
            } else {
                (None, Some(value.as_bytes()))
            };
            list.into_iter().flatten().chain(single)
        })
    }

    /// Whether a line with this name is there.
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Adds a line at the end.
    pub fn push(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        self.0.push(Field { name, spelling: None, value: value.into() });
    }

    /// Adds a line before all others, where a Via belongs.
    pub fn insert_first(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        self.0.insert(0, Field { name, spelling: None, value: value.into() });
    }

    /// Makes `value` the only one of this name: in the place of the first line, or at the end.
    pub fn set(&mut self, name: HeaderName, value: impl Into<HeaderValue>) {
        let Some(first) = self.0.iter().position(|field| field.name == name) else {
            self.push(name, value);
            return;
        };
        let mut index = 0;
        self.0.retain(|field| {
            let keep = index <= first || field.name != name;
            index += 1;
            keep
        });
        if let Some(field) = self.0.get_mut(first) {
            field.value = value.into();
        }
    }

    /// Removes every line of this name and says how many there were.
    pub fn remove(&mut self, name: &HeaderName) -> usize {
        let before = self.0.len();
        self.0.retain(|field| field.name != *name);
        before - self.0.len()
    }

    /// Appends every line of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Appends the lines of `name` in `other`, as they are.
    pub fn copy_from(&mut self, other: &Self, name: &HeaderName) {
        self.0.extend(other.0.iter().filter(|field| field.name == *name).cloned());
    }

    /// The memory that they take, about.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.0.iter().map(|field| size_of::<Field>() + field.value.as_bytes().len()).sum()
    }

    /// Adds a line as it stood on the wire.
    pub(crate) fn push_written(&mut self, name: &str, value: &[u8]) -> Result<(), SyntaxError> {
        let known = HeaderName::parse(name)?;
        let spelling = (known.as_str() != name).then(|| name.into());
        self.0.push(Field { name: known, spelling, value: HeaderValue::from_wire(value) });
        Ok(())
    }

    /// Writes every line; `length` replaces the value of each Content-Length, or is added.
    pub(crate) fn write(&self, out: &mut Vec<u8>, length: Option<usize>) {
        let mut written = false;
        for field in &self.0 {
            let own_length = length.filter(|_| field.name == HeaderName::ContentLength);
            if own_length.is_some() && std::mem::replace(&mut written, true) {
                continue;
            }
            out.extend_from_slice(field.written_name().as_bytes());
            out.extend_from_slice(b": ");
            match own_length {
                Some(length) => out.extend_from_slice(length.to_string().as_bytes()),
                None => out.extend_from_slice(field.value.as_bytes()),
            }
            out.extend_from_slice(b"\r\n");
        }
        if let Some(length) = length.filter(|_| !written) {
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
    }
}

impl Field {
    fn written_name(&self) -> &str {
        self.spelling.as_deref().unwrap_or_else(|| self.name.as_str())
    }
}

/// Without credentials.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_secret(&self.name) {
            true => write!(f, "{}: [redacted]", self.written_name()),
            false => write!(f, "{}: {}", self.written_name(), self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a str> {
        values.map(|value| std::str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn compact_and_long_names_are_one_header_and_keep_their_spelling() {
        let mut headers = Headers::new();
        headers.push_written("v", b"SIP/2.0/UDP a").unwrap();
        headers.push_written("VIA", b"SIP/2.0/UDP b, SIP/2.0/UDP c").unwrap();
        assert_eq!(headers.all(&HeaderName::Via).count(), 2);
        assert_eq!(
            texts(headers.values(&HeaderName::Via)),
            ["SIP/2.0/UDP a", "SIP/2.0/UDP b", "SIP/2.0/UDP c"]
        );
        let mut out = Vec::new();
        headers.write(&mut out, None);
        assert_eq!(out, b"v: SIP/2.0/UDP a\r\nVIA: SIP/2.0/UDP b, SIP/2.0/UDP c\r\n");
    }

    #[test]
    fn an_unknown_header_is_never_split() {
        let mut headers = Headers::new();
        headers.push(HeaderName::parse("X-List").unwrap(), "a, b");
        assert_eq!(texts(headers.values(&HeaderName::parse("x-list").unwrap())), ["a, b"]);
    }

    #[test]
    fn set_replaces_in_place_and_removes_the_others() {
        let mut headers = Headers::new();
        headers.push(HeaderName::Require, "timer");
        headers.push(HeaderName::Subject, "call");
        headers.push(HeaderName::Require, "100rel");
        headers.set(HeaderName::Require, "siprec");
        headers.set(HeaderName::Server, "x");
        let lines: Vec<_> = headers.iter().map(|(name, value)| (name, value.to_str().unwrap())).collect();
        assert_eq!(lines, [("Require", "siprec"), ("Subject", "call"), ("Server", "x")]);
        assert_eq!(headers.remove(&HeaderName::Subject), 1);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn content_length_is_written_once_and_true() {
        let mut headers = Headers::new();
        headers.push_written("l", b"99").unwrap();
        headers.push_written("Content-Length", b"99").unwrap();
        let mut out = Vec::new();
        headers.write(&mut out, Some(4));
        assert_eq!(out, b"l: 4\r\n");
    }
}
