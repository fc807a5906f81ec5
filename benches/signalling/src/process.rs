//! What this process takes.

use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time so far, and memory now.
pub(crate) struct Usage {
    /// Of all threads, user and system; the kernel counts in hundredths of a second.
    pub(crate) processor: Duration,
    /// Bytes in RAM; of a difference, what they grew by.
    pub(crate) resident: i64,
}

impl Usage {
    /// # Errors
    /// If `/proc` cannot be read.
    pub(crate) fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The second field, the name, may hold spaces; the fields behind it are counted from the third.
        let (_, fields) = stat.rsplit_once(") ").context("a stat without a name")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system).context("no times")?;
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages: i64 = statm.split_whitespace().nth(1).context("no pages")?.parse()?;
        Ok(Self { processor: Duration::from_millis(10 * ticks), resident: 4096 * pages })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            resident: self.resident - earlier.resident,
        }
    }
}
