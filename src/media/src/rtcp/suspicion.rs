//! Whether a recorder that is said to refuse the media takes it all the same.

use crate::Branch;

/// What had been sent of each source when the recorder's host was first said to refuse it.
///
/// Whoever knows the ports can forge an ICMP error: one need not quote more of a datagram than its ports (RFC 792), so what
/// is quoted proves nothing. A receiver report of what was sent later disproves it.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    /// Source, and the index of its last packet then.
    marks: Vec<(u32, u64)>,
}

impl Suspicion {
    /// The host refuses: what is sent from here on it cannot have. Of sources that are suspected already the first time counts.
    pub(crate) fn begin(&mut self, branch: &Branch) {
        for ssrc in branch.senders().map(|sender| sender.ssrc) {
            if self.marks.iter().all(|(marked, _)| *marked != ssrc)
                && let Some(sent) = branch.highest_sent(ssrc)
            {
                self.marks.push((ssrc, sent));
            }
        }
    }

    /// A report says that this is the highest sequence number received of a source (RFC 3550 §6.4.1; its low 16 bits count).
    /// Whether the recorder was suspected, and is not any more.
    pub(crate) fn refute(&mut self, branch: &Branch, ssrc: u32, highest_sequence: u32) -> bool {
        let mark = self.marks.iter().find(|(marked, _)| *marked == ssrc);
        let Some(((_, mark), sent)) = mark.zip(branch.highest_sent(ssrc)) else { return false };
        let back = (sent as u16).wrapping_sub(highest_sequence as u16);
        // Further back than that it is ahead of what was sent, and says nothing.
        let received = sent.checked_sub(back.into()).filter(|_| back <= 0x7FFF);
        let is_refuted = received.is_some_and(|received| received > *mark);
        if is_refuted {
            self.marks.clear();
        }
        is_refuted
    }
}
