//! Bencode, the language of rtpengine's control protocol: dictionaries, lists and texts; its numbers are only read.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
    /// Values in order.
    List(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl Value {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.extend_from_slice(format!("{}:", text.len()).as_bytes());
                out.extend_from_slice(text);
            }
            Self::Number(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
            Self::List(values) => {
                out.push(b'l');
                values.iter().for_each(|value| value.write(out));
                out.push(b'e');
            }
            Self::Map(values) => {
                out.push(b'd');
                for (name, value) in values {
                    Self::from(name.as_str()).write(out);
                    value.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// The value at the beginning of `bytes`, and what comes after it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = bytes.split_first()?;
        match first {
            b'i' => {
                let end = rest.iter().position(|byte| *byte == b'e')?;
                let number = std::str::from_utf8(rest.get(..end)?).ok()?.parse().ok()?;
                Some((Self::Number(number), rest.get(end + 1..)?))
            }
            b'l' | b'd' => {
                let (mut values, mut rest) = (Vec::new(), rest);
                while *rest.first()? != b'e' {
                    let (value, after) = Self::decode(rest)?;
                    values.push(value);
                    rest = after;
                }
                let rest = rest.get(1..)?;
                if *first == b'l' {
                    return Some((Self::List(values), rest));
                }
                let mut map = BTreeMap::new();
                let mut values = values.into_iter();
                while let (Some(Self::Text(name)), Some(value)) = (values.next(), values.next()) {
                    map.insert(String::from_utf8(name).ok()?, value);
                }
                Some((Self::Map(map), rest))
            }
            _ => {
                let colon = bytes.iter().position(|byte| *byte == b':')?;
                let length: usize = std::str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
                let end = colon.checked_add(1)?.checked_add(length)?;
                Some((Self::Text(bytes.get(colon + 1..end)?.to_vec()), bytes.get(end..)?))
            }
        }
    }

    /// A text of a dictionary.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self {
            Self::Map(values) => match values.get(name)? {
                Self::Text(text) => std::str::from_utf8(text).ok(),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let list = Value::List(vec!["a".into(), Value::Number(-3)]);
        let value = Value::Map([("command".to_owned(), "offer".into()), ("flags".to_owned(), list)].into());
        let bytes = value.encode();
        assert_eq!(bytes, b"d7:command5:offer5:flagsl1:ai-3eee");
        assert_eq!(Value::decode(&bytes), Some((value, &[][..])));
        for end in 0..bytes.len() {
            assert_eq!(Value::decode(&bytes[..end]), None);
        }
    }
}
