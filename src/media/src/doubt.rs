//! Whether a packet that comes too late for its place is late, or the first of a source that has started again.

use std::time::{Duration, Instant};

use crate::rtp::Header;

/// How long it may stay open what such a packet is.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// So many packets in sequence are a source (`MIN_SEQUENTIAL` of RFC 3550 A.1, and one more: what comes twice may be two packets).
const MIN_SEQUENTIAL: u8 = 3;
/// Packets in sequence are no further apart than this.
const NEAR: i16 = 16;
/// So many useless packets in a row are a source that has started again, however fast they come.
const MAX_IN_A_ROW: u8 = 25;

/// A packet of a number that was given already, or is before all that may be given, and those behind it.
///
/// A source that has started again goes on in sequence and at the pace of its timestamps, and nothing comes of what it was
/// going to say before. What is late or comes twice comes between packets that are new, or all at once, with one that is
/// new behind it: whoever asks looks out for that one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    /// When the first one came.
    pub(crate) since: Instant,
    timestamp: u32,
    newest: u16,
    in_sequence: u8,
    in_a_row: u8,
    /// Their timestamps have gone on.
    goes_on: bool,
}

/// What a doubtful packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Late, or a duplicate.
    Late,
    /// The first of a source that has started again.
    Restarted,
}

impl Doubt {
    /// A packet came at `arrival` that is doubtful.
    pub(crate) fn of(header: &Header, arrival: Instant) -> Self {
        let Header { timestamp, sequence, .. } = *header;
        Self { since: arrival, timestamp, newest: sequence, in_sequence: 1, in_a_row: 1, goes_on: false }
    }

    /// The next packet of the source, which is no new one.
    pub(crate) fn next(&mut self, header: &Header, arrival: Instant, clock_rate: u32) -> Option<Verdict> {
        let step = header.sequence.wrapping_sub(self.newest).cast_signed();
        if !(-NEAR..=NEAR).contains(&step) {
            return Some(Verdict::Late);
        }
        self.in_a_row += 1;
        if step > 0 {
            self.newest = header.sequence;
            self.in_sequence += 1;
        }
        let elapsed = arrival.saturating_duration_since(self.since);
        let ticks = header.timestamp.wrapping_sub(self.timestamp).cast_signed();
        let spoken =
            Duration::from_nanos(u64::from(ticks.max(0).unsigned_abs()) * 1_000_000_000) / clock_rate.max(1);
        // A clock rate that is not known makes the pace wrong; nothing new in so long a time says the same.
        self.goes_on |= step > 0 && ticks > 0;
        let is_paced = step > 0 && ticks > 0 && elapsed * 2 >= spoken || elapsed >= PATIENCE;
        let has_restarted = self.in_sequence >= MIN_SEQUENTIAL && is_paced || self.in_a_row >= MAX_IN_A_ROW;
        has_restarted.then_some(Verdict::Restarted)
    }

    /// Nothing else comes that says more: rather too much is recorded than too little, apart from one moment alone.
    pub(crate) fn conclude(&self) -> Verdict {
        if self.goes_on { Verdict::Restarted } else { Verdict::Late }
    }

    /// Packets that came until the last, which was found to go on in sequence.
    pub(crate) fn before_last(&self) -> u64 {
        u64::from(self.in_a_row).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence number, and the milliseconds of timestamp and arrival.
    fn verdicts(packets: &[(u16, u32, u64)]) -> Vec<Option<Verdict>> {
        let start = Instant::now();
        let packet = |(sequence, ms, at): (u16, u32, u64)| {
            let header = Header { sequence, timestamp: (ms * 8).wrapping_sub(160), ..header() };
            (header, start + Duration::from_millis(at))
        };
        let (first, arrival) = packet(packets[0]);
        let mut doubt = Doubt::of(&first, arrival);
        let rest = packets[1..].iter().map(|&next| packet(next));
        rest.map(|(header, arrival)| doubt.next(&header, arrival, 8000)).collect()
    }

    fn header() -> Header {
        let bytes = [0x80; 12];
        crate::rtp::RtpView::parse(&bytes).unwrap().header
    }

    #[test]
    fn three_in_sequence_at_their_pace_are_a_source_that_has_started_again() {
        let found = verdicts(&[(65_535, 0, 0), (0, 20, 20), (1, 40, 40)]);
        assert_eq!(found, [None, Some(Verdict::Restarted)]);
        let lossy_and_jittery = verdicts(&[(7, 0, 0), (9, 40, 5), (8, 20, 6), (10, 60, 31)]);
        assert_eq!(lossy_and_jittery, [None, None, Some(Verdict::Restarted)]);
    }

    #[test]
    fn those_that_come_at_once_are_none_until_time_has_passed_or_they_are_very_many() {
        let burst: Vec<_> = (0..25).map(|n| (n, u32::from(n) * 20, 0)).collect();
        let found = verdicts(&burst);
        assert!(found[..23].iter().all(Option::is_none));
        assert_eq!(found[23], Some(Verdict::Restarted));
        let picture: Vec<_> = (0..20).map(|n| (n, 0, u64::from(n) * 3)).collect();
        assert!(verdicts(&picture).iter().all(Option::is_none));
        let found = verdicts(&[(0, 0, 0), (1, 2000, 0), (2, 4000, 499), (3, 6000, 500)]);
        assert_eq!(found, [None, None, Some(Verdict::Restarted)]);
    }

    #[test]
    fn what_does_not_go_on_was_late() {
        assert_eq!(verdicts(&[(100, 0, 0), (117, 340, 340)]), [Some(Verdict::Late)]);
        assert_eq!(verdicts(&[(100, 340, 0), (83, 0, 20)]), [Some(Verdict::Late)]);
        assert_eq!(verdicts(&[(100, 0, 0), (100, 0, 20), (100, 0, 40)]), [None, None]);
    }
}
