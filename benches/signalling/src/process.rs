//! What processes take.

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
    /// Of this process.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub(crate) fn now() -> Result<Self> {
        Self::of(std::process::id())
    }

    /// Of the process of this number.
    ///
    /// # Errors
    /// If `/proc` cannot be read, as when there is no such process.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The second field, the name, may hold spaces; the fields behind it are counted from the third.
        let (_, fields) = stat.rsplit_once(") ").context("a stat without a name")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system).context("no times")?;
        let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
        let pages: i64 = statm.split_whitespace().nth(1).context("no pages")?.parse()?;
        Ok(Self { processor: Duration::from_millis(10 * ticks), resident: 4096 * pages })
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            processor: self.processor.saturating_sub(earlier.processor),
            resident: self.resident - earlier.resident,
        }
    }

    /// The processor time as a share of one core over `time`, in percent.
    pub(crate) fn percent_of(&self, time: Duration) -> f64 {
        100.0 * self.processor.as_secs_f64() / time.as_secs_f64().max(0.01)
    }
}

/// How many datagrams the sockets of a local port had no room for.
///
/// # Errors
/// If `/proc` cannot be read.
pub(crate) fn dropped_datagrams(port: u16) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/udp")?;
    let mut dropped = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let local = fields.get(1).and_then(|address| address.rsplit_once(':')).context("no address")?;
        if u16::from_str_radix(local.1, 16)? == port {
            dropped += fields.last().context("no drops")?.parse::<u64>()?;
        }
    }
    Ok(dropped)
}
