//! A loop that is late has messages waiting that came in time: it reads them before it lets anybody's time run out.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::worker::Worker;

/// A timer so far behind says that the loop, or the whole process, stood still.
const LATE: Duration = Duration::from_millis(50);
/// Longest time for what came meanwhile to be read.
const PATIENCE: Duration = Duration::from_millis(250);
/// When nothing came for so long, all is read that was there.
const QUIET: Duration = Duration::from_millis(2);

impl Worker {
    /// Reads what came while the loop stood still, once for all timers that ran out meanwhile.
    pub(crate) async fn catch_up(&mut self) {
        let now = Instant::now();
        let timer = self.timers.first().map(|(deadline, _)| *deadline);
        let others = [self.checks.next_deadline(), self.farewells.next_deadline()];
        let Some(first) = others.into_iter().chain([timer]).flatten().min() else { return };
        let is_read = self.read_until.is_some_and(|until| first <= until);
        if is_read || now.saturating_duration_since(first) < LATE {
            return;
        }
        // The sockets' readers may not have run either.
        while let Ok(Some(arrival)) = timeout(QUIET, self.parts.arrivals.recv()).await {
            self.take_arrivals(arrival);
            if now.elapsed() >= PATIENCE {
                break;
            }
        }
        self.read_until = Some(now);
    }
}
