//! Header parameters: `;name=value;flag`.

use std::fmt;
use std::net::IpAddr;

use crate::syntax::{self, SyntaxError};

/// The parameters of a header value, in order, as written (RFC 3261 §25.1 `generic-param`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<Param>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Param {
    name: Box<str>,
    /// As written, with its quotes where it has them.
    value: Option<Box<[u8]>>,
}

impl Params {
    /// No parameters.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Parses what follows the main value; `text` is empty or begins with `;`, `base` is its offset in the header.
    pub(crate) fn parse(text: &[u8], base: usize) -> Result<Self, SyntaxError> {
        let mut params = Vec::new();
        for (at, part) in syntax::split_outside(text, b';') {
            let (name, value) = match syntax::cut(part, b'=') {
                Some((name, value)) => (syntax::trim(name), Some(syntax::trim(value))),
                None => (part, None),
            };
            let name = Some(name)
                .filter(|name| syntax::is_token(name))
                .and_then(|name| std::str::from_utf8(name).ok())
                .ok_or(SyntaxError::new(base + at, "a parameter name"))?;
            if let Some(value) = value
                && !is_value(value)
            {
                return Err(SyntaxError::new(base + at + name.len() + 1, "a parameter value"));
            }
            params.push(Param { name: name.into(), value: value.map(Into::into) });
        }
        Ok(Self(params))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every parameter: its name, and its value as written where it has one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().map(|param| (param.name.as_ref(), param.value.as_deref()))
    }

    /// Whether a parameter of this name is there, in any case.
    pub fn contains(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The first value of this name as written: a quoted string with its quotes, an empty text where there is no
    /// value. `None` where the parameter is missing or its value is not UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.raw(name)?).ok()
    }

    /// The first value of this name, without quotes and escapes; bytes that are not UTF-8 are replaced.
    pub fn unquoted(&self, name: &str) -> Option<String> {
        self.raw(name).map(syntax::unquote)
    }

    /// Sets the only parameter of this name: in the place of the first, or at the end. A `value` that is neither a
    /// token nor a host is quoted.
    ///
    /// # Errors
    /// Where `name` is no token.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SyntaxError> {
        let value = if is_bare(value) { value.to_owned() } else { syntax::quote(value) };
        self.put(name, Some(value.into_bytes().into()))
    }

    /// Sets a parameter without a value.
    ///
    /// # Errors
    /// Where `name` is no token.
    pub fn set_flag(&mut self, name: &str) -> Result<(), SyntaxError> {
        self.put(name, None)
    }

    /// Removes every parameter of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|param| !param.name.eq_ignore_ascii_case(name));
    }

    fn put(&mut self, name: &str, value: Option<Box<[u8]>>) -> Result<(), SyntaxError> {
        if !syntax::is_token(name.as_bytes()) {
            return Err(SyntaxError::new(0, "a parameter name"));
        }
        match self.0.iter().position(|param| param.name.eq_ignore_ascii_case(name)) {
            None => self.0.push(Param { name: name.into(), value }),
            Some(first) => {
                let mut index = 0;
                self.0.retain(|param| {
                    index += 1;
                    index <= first + 1 || !param.name.eq_ignore_ascii_case(name)
                });
                if let Some(param) = self.0.get_mut(first) {
                    param.value = value;
                }
            }
        }
        Ok(())
    }

    fn raw(&self, name: &str) -> Option<&[u8]> {
        let param = self.0.iter().find(|param| param.name.eq_ignore_ascii_case(name))?;
        Some(param.value.as_deref().unwrap_or_default())
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.iter() {
            out.push(b';');
            out.extend_from_slice(name.as_bytes());
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::new();
        self.write(&mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

/// What stands without quotes: a token, a host (RFC 3261 §25.1 `gen-value`), or the bare IPv6 address of `received`.
fn is_bare(value: &str) -> bool {
    syntax::is_token(value.as_bytes()) || super::is_host(value) || value.parse::<IpAddr>().is_ok()
}

/// A quoted string, or anything that ends the value neither for us nor for a stricter reader: field values such as
/// `datetime=2026-01-01T00:00:00Z` or a bare Latin-1 byte are seen and kept.
fn is_value(value: &[u8]) -> bool {
    match value.first() {
        Some(b'"') => syntax::quoted_length(value) == Some(value.len()),
        _ => {
            value.iter().all(|&byte| byte > b' ' && !matches!(byte, b'"' | b',' | b';' | b'<' | b'>' | 0x7f))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_empty_parameters_and_case_are_tolerated() {
        let params = Params::parse(b"; newparam =\tnewvalue ;;; secondparam ; Q = \"a;b=c\"", 0).unwrap();
        assert_eq!(params.get("NEWPARAM"), Some("newvalue"));
        assert_eq!(params.get("secondparam"), Some(""));
        assert_eq!(params.get("q"), Some("\"a;b=c\""));
        assert_eq!(params.unquoted("q").as_deref(), Some("a;b=c"));
        assert_eq!(params.get("other"), None);
        assert_eq!(params.to_string(), ";newparam=newvalue;secondparam;Q=\"a;b=c\"");
    }

    #[test]
    fn a_value_cannot_break_out() {
        let mut params = Params::new();
        for value in ["1001", "a;tag=x", "a\"b", "a\r\nVia: x", "a,b", "", "ü", "[::1]:5060", "<x>"] {
            params.set("dn", value).unwrap();
            let text = params.to_string();
            let back = Params::parse(text.as_bytes(), 0).unwrap();
            assert_eq!(back.iter().count(), 1, "{text}");
            assert_eq!(back.unquoted("dn").unwrap(), value.replace(['\r', '\n'], " "));
        }
        assert!(params.set("a b", "x").is_err());
        assert!(params.set("", "x").is_err());
    }

    #[test]
    fn only_a_token_or_a_host_stands_without_quotes() {
        for (value, written) in [
            ("1001", "x=1001"),
            ("h.example", "x=h.example"),
            ("2001:db8::1", "x=2001:db8::1"),
            ("[2001:db8::1]", "x=[2001:db8::1]"),
            ("2026-11-22T23:46:00Z", "x=\"2026-11-22T23:46:00Z\""),
            ("[Tenant].profile", "x=\"[Tenant].profile\""),
            ("", "x=\"\""),
        ] {
            let mut params = Params::new();
            params.set("x", value).unwrap();
            assert_eq!(params.to_string(), format!(";{written}"));
        }
    }

    #[test]
    fn set_keeps_the_place_and_leaves_one() {
        let mut params = Params::parse(b";a=1;tag=x;b;TAG=y", 0).unwrap();
        params.set("tag", "z").unwrap();
        assert_eq!(params.to_string(), ";a=1;tag=z;b");
        params.set_flag("rport").unwrap();
        params.remove("A");
        assert_eq!(params.to_string(), ";tag=z;b;rport");
    }

    #[test]
    fn faults_are_named_with_their_place() {
        assert_eq!(Params::parse(b";tag=\"x", 10), Err(SyntaxError::new(15, "a parameter value")));
        assert_eq!(Params::parse(b";=x", 0), Err(SyntaxError::new(1, "a parameter name")));
        assert!(Params::parse(b";tag=a b", 0).is_err());
    }
}
