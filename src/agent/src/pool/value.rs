//! What stands in the file, taken as what it must be.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most characters of a value that are told.
const SHOWN: usize = 40;

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    /// The key, with all before it.
    pub(super) key: Option<String>,
    pub(super) text: String,
}

/// A value, its key, and where it stands.
#[derive(Debug)]
pub(super) struct Value<'a> {
    key: String,
    span: Range<usize>,
    value: DeValue<'a>,
}

/// A table with known keys.
#[derive(Debug)]
pub(super) struct Table<'a> {
    key: String,
    span: Range<usize>,
    values: BTreeMap<String, Value<'a>>,
}

impl<'a> Value<'a> {
    /// What is wrong with it.
    pub(super) fn fault(&self, what: impl Display) -> Fault {
        Fault { span: Some(self.span.clone()), key: Some(self.key.clone()), text: what.to_string() }
    }

    /// It is something else than what is wanted. A string is not repeated, since an address may hold a password.
    pub(super) fn wrong(&self, wanted: impl Display) -> Fault {
        let is = match &self.value {
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Integer(number) => shown(&number.to_string()),
            DeValue::Float(number) => shown(number.as_str()),
            DeValue::Boolean(is_set) => is_set.to_string(),
            DeValue::Datetime(_) => "a date or a time".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.fault(format!("it is {is}, but must be {wanted}"))
    }

    /// A table that has no other keys than these.
    pub(super) fn table(self, wanted: impl Display, keys: &[&str]) -> Result<Table<'a>, Fault> {
        match self.value {
            DeValue::Table(table) => Table::new(self.key, self.span, table, keys),
            _ => Err(self.wrong(wanted)),
        }
    }

    /// What stands in a table whose keys the user chooses, behind these and their places.
    pub(super) fn entries(
        self,
        wanted: impl Display,
    ) -> Result<impl ExactSizeIterator<Item = (String, Range<usize>, Self)>, Fault> {
        let DeValue::Table(table) = self.value else { return Err(self.wrong(wanted)) };
        Ok(table.into_iter().map(move |(name, value)| {
            let value = Self::of(path(&self.key, name.get_ref()), value);
            (name.get_ref().to_string(), name.span(), value)
        }))
    }

    /// What stands in an array; each has the key of that.
    pub(super) fn array(self, wanted: impl Display) -> Result<Vec<Self>, Fault> {
        let DeValue::Array(array) = self.value else { return Err(self.wrong(wanted)) };
        Ok(array.into_iter().map(|value| Self::of(self.key.clone(), value)).collect())
    }

    pub(super) fn text(&self, wanted: impl Display) -> Result<&str, Fault> {
        self.value.as_str().ok_or_else(|| self.wrong(wanted))
    }

    /// A text that is read as something that says itself what is wrong with it.
    pub(super) fn parsed<T>(&self, wanted: impl Display) -> Result<T, Fault>
    where
        T: FromStr<Err: Display>,
    {
        self.text(wanted)?.parse().map_err(|error| self.fault(error))
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Result<T, Fault> {
        let wanted = one_of(words.iter().map(|(word, _)| *word));
        let text = self.text(&wanted)?;
        let known = words.iter().find(|(word, _)| *word == text);
        let is_word = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        match known {
            Some((_, meant)) => Ok(*meant),
            None if is_word => Err(self.fault(format!("it is \"{}\", but must be {wanted}", shown(text)))),
            None => Err(self.wrong(wanted)),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Fault> {
        self.value.as_bool().ok_or_else(|| self.wrong("`true` or `false`"))
    }

    pub(super) fn whole(&self, least: u32, most: u32) -> Result<u32, Fault> {
        let number = self.value.as_integer().and_then(|_| self.number::<u32>());
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.wrong(format!("a whole number from {least} to {most}")))
    }

    pub(super) fn seconds(&self, least: f64, most: f64) -> Result<Duration, Fault> {
        let number = self.number::<f64>().filter(|number| (least..=most).contains(number));
        let seconds = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
        seconds.ok_or_else(|| self.wrong(format!("a number of seconds from {least} to {most}")))
    }

    /// A number of either kind.
    pub(super) fn number<T: FromStr>(&self) -> Option<T> {
        match &self.value {
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
                number.to_string().parse().ok()
            }
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        }
    }

    fn of(key: String, value: Spanned<DeValue<'a>>) -> Self {
        Self { key, span: value.span(), value: value.into_inner() }
    }
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(file: Spanned<DeTable<'a>>, keys: &[&str]) -> Result<Self, Fault> {
        Self::new(String::new(), file.span(), file.into_inner(), keys)
    }

    fn new(key: String, span: Range<usize>, table: DeTable<'a>, keys: &[&str]) -> Result<Self, Fault> {
        let unknown = table.keys().filter(|name| !keys.contains(&name.get_ref().as_ref()));
        if let Some(name) = unknown.min_by_key(|name| name.span().start) {
            let text = format!("there is no such key; it must be {}", one_of(keys.iter().copied()));
            return Err(Fault { span: Some(name.span()), key: Some(path(&key, name.get_ref())), text });
        }
        let values = table
            .into_iter()
            .map(|(name, value)| (name.get_ref().to_string(), Value::of(path(&key, name.get_ref()), value)));
        Ok(Self { values: values.collect(), key, span })
    }

    /// The value of a key, where it is written.
    pub(super) fn take(&mut self, key: &str) -> Option<Value<'a>> {
        self.values.remove(key)
    }

    /// The value of a key that cannot be left out.
    pub(super) fn need(&mut self, key: &str, wanted: impl Display) -> Result<Value<'a>, Fault> {
        self.take(key).ok_or_else(|| Fault {
            span: Some(self.span.clone()),
            key: Some(path(&self.key, key)),
            text: format!("it is missing, and must be {wanted}"),
        })
    }

    /// What is wrong with all of it.
    pub(super) fn fault(&self, what: impl Display) -> Fault {
        Fault { span: Some(self.span.clone()), key: Some(self.key.clone()), text: what.to_string() }
    }
}

fn path(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// The words that may stand somewhere.
pub(super) fn one_of<'a>(words: impl ExactSizeIterator<Item = &'a str>) -> String {
    let mut text = if words.len() > 1 { "one of ".to_owned() } else { String::new() };
    for (number, word) in words.enumerate() {
        let _ = write!(text, "{}`{word}`", if number == 0 { "" } else { ", " });
    }
    text
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
