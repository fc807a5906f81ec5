//! How far a call went on while nobody decrypted it.

use super::header::headline;
use super::rollover::Followed;

/// A round of sequence numbers: where counting begins, so that there is room before the first number.
const ROUND: u64 = 1 << 16;

/// Follows the headers of packets that are not kept, without cryptography, so that rollover counters can be caught up
/// with when packets are wanted again: see [`Unprotector::catch_up`](super::Unprotector::catch_up).
///
/// At most 16 sources are followed; a new one replaces that of which the fewest packets came. Looks at the first 12 bytes
/// of a packet alone.
#[derive(Debug, Default)]
pub struct Passed(Followed);

impl Passed {
    /// Notes a packet that passes. What is no RTP says nothing.
    pub fn note(&mut self, packet: &[u8]) {
        if let Some((ssrc, sequence)) = headline(packet) {
            self.0.note(ssrc, sequence, || ROUND | u64::from(sequence));
        }
    }

    /// Goes on where `later` has followed.
    pub fn join(&mut self, later: &Self) {
        self.0.catch_up(&later.0, |_, sequence| ROUND | u64::from(sequence));
    }

    /// Whether nothing has passed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn followed(&self) -> &Followed {
        &self.0
    }
}
