//! Whether a recorder that is said to refuse the media takes it all the same, or again.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use siprec_model::REFUSED_WITHIN;

use super::reporter::sent;
use crate::Branch;

/// Packets that leave at longer intervals count for so much time: in a silence nothing is refused, and nothing taken.
const STEP: Duration = Duration::from_millis(200);

/// What was said of a recorder's host that refuses, and what its reports say to that.
///
/// Whoever knows the ports can forge an ICMP error: one need not quote more of a datagram than its ports (RFC 792), so what
/// is quoted proves nothing. A receiver report of what was sent later disproves it.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// What had been sent of each source when the recorder's host was first said to refuse it: the index of its last packet.
    marks: Vec<(u32, u64)>,
    refusal: Option<Refusal>,
    /// When that left which the host has refused of some stream, this one or another.
    of_host: Option<RangeInclusive<Instant>>,
}

/// A refusal that is not over.
#[derive(Debug)]
struct Refusal {
    /// What left from the first moment to the last may have been refused.
    first: Instant,
    last: Instant,
    /// When that was said.
    noted: Instant,
    /// Packets that had left when that was last looked at, and when the last of them had.
    sent: u64,
    at: Instant,
    /// For how long packets have left since without one that was refused; we heed what is refused once a second.
    taken: Duration,
    /// Reports had come before.
    was_reported: bool,
    /// Whoever reports is another receiver than before: it knows nothing of what came in between.
    is_other: bool,
}

impl Suspicion {
    /// The host refuses something of what left in this time: what is sent from here on it cannot have. Of sources that are suspected
    /// already the first time counts.
    pub(crate) fn begin(&mut self, branch: &Branch, refused: &RangeInclusive<Instant>, now: Instant) {
        for mark in branch.marks() {
            if self.marks.iter().all(|(ssrc, _)| *ssrc != mark.0) {
                self.marks.push(mark);
            }
        }
        let (first, was_reported, is_other) = match &self.refusal {
            Some(refusal) => (refusal.first, refusal.was_reported, refusal.is_other),
            None => (*refused.start(), branch.is_reported(), false),
        };
        let (sent, taken) = (sent(branch), Duration::ZERO);
        self.refusal = Some(Refusal {
            first,
            last: *refused.end(),
            noted: now,
            sent,
            at: now,
            taken,
            was_reported,
            is_other,
        });
    }

    /// When a refusal was last told that is not over.
    pub(crate) fn noted(&self) -> Option<Instant> {
        self.refusal.as_ref().map(|refusal| refusal.noted)
    }

    /// Packets may have left. Whether the refusal has ended, since none of them was refused for long enough.
    pub(crate) fn check(&mut self, branch: &mut Branch, now: Instant) -> bool {
        let Some(refusal) = &mut self.refusal else { return false };
        let sent = sent(branch);
        if sent == refusal.sent {
            return false;
        }
        refusal.taken += now.saturating_duration_since(refusal.at).min(STEP);
        (refusal.sent, refusal.at) = (sent, now);
        let is_over = refusal.taken >= REFUSED_WITHIN;
        if is_over {
            self.end(branch, now);
        }
        is_over
    }

    /// The refusal is over. Whether reports of whom had reported before say what has come of it; else it has not been sent.
    fn end(&mut self, branch: &mut Branch, now: Instant) -> bool {
        let marks = std::mem::take(&mut self.marks);
        let Some(Refusal { first, last, was_reported, is_other, .. }) = self.refusal.take() else {
            return false;
        };
        let is_reported = was_reported && !is_other;
        if is_reported {
            branch.await_proof(first, last, marks);
        } else {
            branch.handle_refusals(first, last, now);
        }
        is_reported
    }

    /// The host has refused something that left within this time, of whatever stream.
    pub(crate) fn hear_host(&mut self, refused: RangeInclusive<Instant>) {
        self.of_host = Some(refused);
    }

    /// Reports come of another receiver than before, which reported `last` at that time: what it says of what was refused is worth nothing.
    /// Where the host has refused something since, of whatever stream, it was this one, too: ICMP is told once a second.
    pub(crate) fn change_receiver(&mut self, branch: &mut Branch, last: Option<Instant>, now: Instant) {
        let is_later = |refused: &RangeInclusive<Instant>| last.is_none_or(|last| *refused.end() >= last);
        let of_host = self.of_host.take().filter(is_later);
        if self.refusal.is_none()
            && let Some(refused) = &of_host
        {
            self.begin(branch, refused, now);
        }
        if let Some(refusal) = &mut self.refusal {
            refusal.is_other = true;
            if let Some(refused) = of_host {
                refusal.first = refusal.first.min(*refused.start());
                refusal.last = refusal.last.max(*refused.end());
            }
        }
        branch.give_up_proof(now);
    }

    /// Whether what reports say now is worth nothing: one that has just begun to receive has missed nothing.
    pub(crate) fn distrusts_reports(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.is_other)
    }

    /// A report says that this is the highest sequence number received of a source (RFC 3550 §6.4.1; its low 16 bits count).
    /// Where the suspicion has ended by that, whether it was unfounded: where nobody had reported before, nobody knows.
    pub(crate) fn refute(
        &mut self,
        branch: &mut Branch,
        ssrc: u32,
        highest_sequence: u32,
        now: Instant,
    ) -> Option<bool> {
        let (_, sent) = self.marks.iter().find(|(of, _)| *of == ssrc)?;
        let is_refuted = branch.has_come_since(*sent, ssrc, highest_sequence);
        is_refuted.then(|| self.end(branch, now))
    }
}
