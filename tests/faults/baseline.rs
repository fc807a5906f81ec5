//! Calls of a kind to which nothing happens, between those to which something does.

use std::time::Duration;

use anyhow::Result;

use crate::row::Row;
use crate::scene::{Plan, Scene};

/// How long such a call is: 500 packets.
pub(crate) const SECONDS: usize = 5;

/// The latencies of such calls, played among the faults of the kind and after the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baseline {
    p99s: Vec<Duration>,
}

impl Baseline {
    /// Plays one more, with these recorders.
    pub(crate) fn play(&mut self, recorder: String) -> Result<()> {
        let heard = Scene::begin(&Plan { recorder, seconds: SECONDS, ..Plan::default() })?.finish()?.heard;
        heard.ensure_untouched()?;
        self.p99s.push(heard.latency(99));
        Ok(())
    }

    /// The latency of one that was played otherwise.
    pub(crate) fn of(row: &Row) -> Self {
        Self { p99s: vec![row.p99] }
    }

    /// The smallest and the largest, of how many.
    pub(crate) fn spread(&self) -> Option<(Duration, Duration, usize)> {
        let (least, most) = (self.p99s.iter().min()?, self.p99s.iter().max()?);
        Some((*least, *most, self.p99s.len()))
    }
}
