//! What a relay tells, and when.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How exact the times are.
const LOOK: Duration = Duration::from_millis(5);

/// A message of the element: its line, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Instant,
    pub(crate) line: String,
}

impl Entry {
    /// `started` of `siprec-started`.
    pub(crate) fn name(&self) -> &str {
        let name = self.line.split([',', ';']).next().unwrap_or_default();
        name.strip_prefix("siprec-").unwrap_or(name)
    }

    /// A field, without its type.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let rest = self.line.split_once(&format!(", {name}=("))?.1.split_once(')')?.1;
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split([',', ';']).next(),
        }
    }

    /// A field that is a number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.field(name).and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

/// Reads along in a file to which messages are printed.
pub(crate) struct Diary {
    entries: Arc<Mutex<Vec<Entry>>>,
    closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Diary {
    pub(crate) fn of(file: PathBuf) -> Self {
        let (entries, closed) = (Arc::<Mutex<Vec<Entry>>>::default(), Arc::<AtomicBool>::default());
        let (writes, stops) = (Arc::clone(&entries), Arc::clone(&closed));
        let reader = thread::spawn(move || {
            let mut read = 0;
            loop {
                let last = stops.load(Ordering::Relaxed);
                let text = std::fs::read(&file).unwrap_or_default();
                // A line that is still being written is left for the next look.
                while let Some(length) =
                    text.get(read..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
                {
                    let line = String::from_utf8_lossy(&text[read..read + length]).into_owned();
                    read += length + 1;
                    if line.starts_with("siprec-") {
                        let entry = Entry { at: Instant::now(), line };
                        writes.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
                    }
                }
                if last {
                    return;
                }
                thread::park_timeout(LOOK);
            }
        });
        Self { entries, closed, reader: Some(reader) }
    }

    /// What has been told so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that was told, once who tells has ended.
    pub(crate) fn finish(mut self) -> Vec<Entry> {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // It has nothing that can fail.
            let _ = reader.join();
        }
        self.entries()
    }
}
