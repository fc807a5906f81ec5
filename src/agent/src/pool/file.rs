//! The file of pools.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use siprec_session::PoolNameError;
use siprec_transport::TlsConfig;
use toml::de::DeTable;

use super::Pools;
use super::entry::{self, LookAtFile};
use super::value::{Fault, Table};

/// Largest file in bytes: some thousand recorders.
const LARGEST: u64 = 1024 * 1024;
/// Most pools.
const MOST_POOLS: usize = 256;

impl Pools {
    /// Reads a file, and those of authorities that it names. Blocks.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn read(path: &Path) -> Result<Self, PoolFileError> {
        let name = path.display().to_string();
        let unreadable = |reason: String| PoolFileError { file: name.clone(), line: None, fault: reason };
        // A pipe would keep whoever reads it waiting, and a device need not end.
        let is_file = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.is_file();
        if !is_file {
            return Err(unreadable("it is no file".to_owned()));
        }
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        let length = read.map_err(|error| unreadable(error.to_string()))?;
        if length as u64 > LARGEST {
            return Err(unreadable(format!("it has more than {LARGEST} bytes")));
        }
        // Many recorders may have one authority.
        let mut good = BTreeSet::new();
        Self::parse_and(&text, &name, &mut |ca| {
            if !good.contains(ca) {
                TlsConfig { ca: Some(ca.to_owned()), ..TlsConfig::default() }.check()?;
                good.insert(ca.to_owned());
            }
            Ok(())
        })
    }

    /// Reads the text of a file, whose name is for errors. No file is looked at that it names.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn parse(text: &str, file: &str) -> Result<Self, PoolFileError> {
        Self::parse_and(text, file, &mut |_| Ok(()))
    }

    fn parse_and(text: &str, file: &str, look: &mut LookAtFile<'_>) -> Result<Self, PoolFileError> {
        Self::of(text, look).map_err(|Fault { span, key, text: what }| {
            let place = span.as_ref().map(|span| Place::of(text, span));
            let line = place.as_ref().map(|place| place.line);
            let key = key.or_else(|| place.and_then(|place| place.key));
            let fault = key.map(|key| format!("{key:?}: ")).unwrap_or_default() + &what;
            PoolFileError { file: file.to_owned(), line, fault }
        })
    }

    fn of(text: &str, look: &mut LookAtFile<'_>) -> Result<Self, Fault> {
        let file = DeTable::parse(text).map_err(|error| no_toml(text, &error))?;
        let Some(pools) = Table::root(file, &["pool"])?.take("pool") else { return Ok(Self::default()) };
        let count = pools.fault("");
        let pools = pools.entries("a table, with a table [pool.NAME] for each pool")?;
        if pools.len() > MOST_POOLS {
            let text = format!("there are {} pools, more than {MOST_POOLS}", pools.len());
            return Err(Fault { span: None, text, ..count });
        }
        let pool = |(name, place, value): (String, _, _)| {
            let wrong =
                |error: PoolNameError| Fault { span: Some(place), key: None, text: error.to_string() };
            Ok((name.parse().map_err(wrong)?, entry::rules(value, look)?))
        };
        pools.map(pool).collect()
    }
}

/// What the parser says of a text that is not TOML. Of a key that is wrong as such it does not say which it is.
fn no_toml(text: &str, error: &toml::de::Error) -> Fault {
    let span = error.span();
    let key = span.clone().and_then(|span| text.get(span));
    match (error.message().trim_end(), key) {
        ("duplicate key", Some(key)) => {
            Fault { span, key: Some(bare(key).to_owned()), text: "this key is given twice".to_owned() }
        }
        (what, Some(key)) if what.ends_with("dotted key") => {
            Fault { span, key: Some(bare(key).to_owned()), text: what.to_owned() }
        }
        (what, _) => Fault { span, key: None, text: what.to_owned() },
    }
}

fn bare(key: &str) -> &str {
    key.trim_matches(['"', '\''])
}

/// A file of pools that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {fault}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
pub struct PoolFileError {
    /// The file.
    pub file: String,
    /// The line, from 1, where it is one line's fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: String,
}

/// Where something stands.
struct Place {
    line: usize,
    /// The key before the value that the span covers.
    key: Option<String>,
}

impl Place {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let begun = before.rsplit('\n').next().unwrap_or_default();
        // Within an inline table the key is the last before the value; the value itself is never repeated, since an
        // address may hold a password.
        let key = begun.rsplit_once('=').map(|(key, _)| key);
        let key = key
            .map(|key| key.rsplit([',', '{', '=', '[']).next().unwrap_or_default().trim().trim_matches('"'));
        let is_key = |key: &&str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        Self { line, key: key.filter(is_key).map(str::to_owned) }
    }
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
