//! How far a call went on while nobody decrypted it.

use super::header::headline;
use super::rollover::Followed;

/// Follows the headers of packets that are not kept, without cryptography, so that rollover counters can be caught up
/// with when packets are wanted again: see [`Unprotector::catch_up`](super::Unprotector::catch_up).
///
/// At most 16 sources are followed; a new one replaces that of which the fewest packets came. Looks at the first 12 bytes
/// of a packet alone.
#[derive(Debug, Default)]
pub struct Passed {
    /// Where sources were before, by authentic packets: see [`Unprotector::positions`](super::Unprotector::positions).
    known: Vec<(u32, u64)>,
    followed: Followed,
}

impl Passed {
    /// What passes from where sources are, as another unprotector has found: one that knows nothing of them goes on from there.
    pub fn from(positions: Vec<(u32, u64)>) -> Self {
        Self { known: positions, followed: Followed::default() }
    }

    /// Notes a packet that passes. What is no RTP says nothing.
    pub fn note(&mut self, packet: &[u8]) {
        if let Some((ssrc, sequence)) = headline(packet) {
            self.followed.note(ssrc, sequence, || Followed::somewhere(sequence));
        }
    }

    /// Goes on where `later` has followed.
    pub fn join(&mut self, later: &Self) {
        for (ssrc, index) in &later.known {
            self.known.retain(|(known, _)| known != ssrc);
            self.known.push((*ssrc, *index));
            // What was counted up to there is in it.
            self.followed.forget(*ssrc);
        }
        self.followed.catch_up(&later.followed, |_, sequence| Followed::somewhere(sequence));
    }

    /// Whether nothing has passed, and nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.followed.is_empty()
    }

    pub(crate) fn known(&self) -> &[(u32, u64)] {
        &self.known
    }

    pub(crate) fn followed(&self) -> &Followed {
        &self.followed
    }
}
