//! How the programs of a measurement talk: lines of words, the first of which says what it is.

use std::io::{BufRead as _, Write as _};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::Duration;

use anyhow::{Result, anyhow};

/// One line.
#[derive(Clone, Debug)]
pub struct Order {
    words: Vec<String>,
}

impl From<&str> for Order {
    fn from(line: &str) -> Self {
        Self { words: line.split_whitespace().map(str::to_owned).collect() }
    }
}

impl Order {
    /// Its first word.
    pub fn name(&self) -> &str {
        self.word(0)
    }

    /// A word, empty where there is none.
    pub fn word(&self, place: usize) -> &str {
        self.words.get(place).map_or("", String::as_str)
    }

    /// All words but the first as numbers.
    ///
    /// # Errors
    /// When one is none.
    pub fn numbers<T: FromStr>(&self) -> Result<Vec<T>> {
        let numbers = self.words.iter().skip(1).map(|word| word.parse());
        numbers.collect::<Result<_, _>>().map_err(|_| anyhow!("no numbers: {}", self.words.join(" ")))
    }

    /// The value of a word `NAME=VALUE`.
    ///
    /// # Errors
    /// When there is no such word, or it is no number.
    pub fn value(&self, name: &str) -> Result<f64> {
        let of = |word: &String| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
        self.words.iter().find_map(of).ok_or_else(|| anyhow!("no {name} in {}", self.words.join(" ")))
    }
}

/// What comes in on standard input.
#[derive(Debug)]
pub struct Orders {
    lines: Receiver<String>,
}

impl Orders {
    /// Listens from now on, on a thread of its own.
    pub fn listen() -> Self {
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                let Ok(line) = line else { break };
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// The next order; `None` when none will come.
    pub fn next(&self) -> Option<Order> {
        self.lines.recv().ok().map(|line| line.as_str().into())
    }

    /// An order that is there already. `end` when none will come.
    pub fn waiting(&self) -> Option<Order> {
        match self.lines.try_recv() {
            Ok(line) => Some(line.as_str().into()),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some("end".into()),
        }
    }

    /// The next order, if it comes soon. `end` when none will come.
    pub fn soon(&self, within: Duration) -> Option<Order> {
        match self.lines.recv_timeout(within) {
            Ok(line) => Some(line.as_str().into()),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some("end".into()),
        }
    }
}

/// Says a line on standard output.
///
/// # Errors
/// When nobody listens.
pub fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
