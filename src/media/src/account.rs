//! The account of a branch.

use std::time::{Duration, Instant};

use siprec_model::{BranchReport, DropCause};

use crate::Sent;
use crate::gap::Gaps;
use crate::rewrite::Rewrite;
use crate::rtp::Header;

/// The branch's account, and the holes in it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) report: BranchReport,
    pub(crate) gaps: Gaps,
    /// Sources that the events have told of.
    pub(crate) sources_told: usize,
    last_arrival: Option<Instant>,
    /// Mean time between packets: the length of a lost packet that nobody saw.
    pub(crate) spacing: Duration,
}

impl Account {
    /// A packet of the call that should be recorded.
    pub(crate) fn seen(&mut self, arrival: Instant) {
        self.report.seen += 1;
        if let Some(last) = self.last_arrival {
            let step = arrival.saturating_duration_since(last).min(Duration::from_secs(1));
            self.spacing = if self.spacing.is_zero() { step } else { (self.spacing * 7 + step) / 8 };
        }
        self.last_arrival = Some(arrival);
    }

    /// Packets that should be recorded and cannot be decrypted, and when the first and the last of them came.
    pub(crate) fn undecrypted(&mut self, cause: DropCause, packets: u64, (first, last): (Instant, Instant)) {
        self.report.seen += packets;
        self.report.drops.add(cause, packets);
        self.gaps.lost_between(cause, packets, first, last);
    }

    /// Packets that do not leave, a hole of `duration`.
    pub(crate) fn dropped(&mut self, cause: DropCause, packets: u64, duration: Duration) {
        self.report.drops.add(cause, packets);
        self.gaps.lost(cause, packets, duration);
    }

    /// Accounts for a packet of `length` bytes that may leave, or may not. Answers what is written over its header.
    pub(crate) fn leaves(
        &mut self,
        rewrite: Result<Rewrite, DropCause>,
        now: Instant,
        header: &Header,
        length: usize,
        held: bool,
    ) -> Option<(Rewrite, Sent)> {
        let rewrite = match rewrite {
            Ok(rewrite) => rewrite,
            Err(cause) => {
                self.dropped(cause, 1, self.spacing);
                return None;
            }
        };
        self.gaps.go_on(now);
        self.report.sent += 1;
        self.report.sent_bytes += length as u64;
        self.report.held += u64::from(held);
        Some((rewrite, Sent { length, index: rewrite.index, ssrc: header.ssrc, held }))
    }
}
