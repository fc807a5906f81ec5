//! The sequence numbers of one source on a branch (`protocol` section 3, first two rules).

use std::time::Instant;

use crate::doubt::{Doubt, Verdict};
use crate::rtp::Header;

/// How many indices back a late packet may still take its place.
const WINDOW: u64 = 128;
/// A jump of the call's sequence number by more than this, either way, is another stream (RFC 3550 A.1).
const MAX_JUMP: i64 = 3000;
/// Packets within [`MAX_JUMP`] cannot be older than this: late packets and duplicates lie so far behind at most.
const MAX_LATENESS_S: u32 = 60;
/// A number that comes so many times more is not a duplicate: the source does not count.
const MAX_REPEATS: u8 = 25;

/// Gives each packet of one source its index on the branch: rollover counter x 65,536 + sequence number.
///
/// Within one open interval the index is the call's extended sequence number plus a constant, so that losses and
/// reordering of the call stay visible. A new interval goes on at the last index sent + 1: the receiver's rollover
/// counter stays right however long the pause was (RFC 3711 §3.3.1). No index is ever given twice, which is what
/// forbids a two-time pad once packets are encrypted under it (RFC 3711 §9.1, RFC 7714 §8.4).
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    /// Highest index given so far; before the first packet, one less than the first index.
    highest: u64,
    /// Bit n: index `highest - n` has been given.
    given: u128,
    run: Option<Run>,
    /// How often the newest number has come again since a packet was numbered.
    repeats: u8,
    /// What was dropped in doubt, since the highest index was this.
    doubt: Option<(u64, Doubt)>,
}

/// A stretch of the stream without a hole of our making: packets of the same opening that came after the same pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Count of openings, ring overflows and moves before the packet left.
    pub(crate) opening: u32,
    /// Nanoseconds of pauses before it came: a backlog may hold packets from before and after a pause.
    pub(crate) paused: u64,
}

/// What holds within one interval.
#[derive(Clone, Debug)]
struct Run {
    interval: Interval,
    /// Index of the interval's first packet.
    first: u64,
    /// The call's sequence number of the highest index.
    call_sequence: u16,
    /// Newest RTP timestamp of the interval.
    timestamp: u32,
}

/// The place of a packet on the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) index: u64,
    /// The packet begins a new run of numbers.
    pub(crate) begins: bool,
}

/// Why a packet has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// The newest one again.
    Repeated,
    /// A duplicate, or older than what the interval may still send; or the first of a source that has started again with
    /// numbers a little lower than before. What comes behind it tells: see [`Doubt`].
    Doubtful,
}

impl Numbering {
    /// Numbers that begin with `first`.
    pub(crate) fn starting_at(first: u16) -> Self {
        Self { highest: u64::from(first).wrapping_sub(1), given: 0, run: None, repeats: 0, doubt: None }
    }

    /// For a receiver whose rollover counter begins at 0: numbers that would soon wrap begin anew with `first`, so that it
    /// cannot lose count where the first packets are lost (RFC 4568 §6.4).
    pub(crate) fn make_room(&mut self, first: u16) {
        if self.highest.wrapping_add(1) & 0x8000 != 0 {
            *self = Self::starting_at(first);
        }
    }

    /// The highest index given.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Numbers the next packet of the source in the open interval `interval`.
    pub(crate) fn assign(
        &mut self,
        interval: Interval,
        sequence: u16,
        timestamp: u32,
        clock_rate: u32,
    ) -> Result<Numbered, Unplaced> {
        let Some(run) = self.run.as_mut().filter(|run| run.interval == interval) else {
            return Ok(self.begin(interval, sequence, timestamp));
        };
        let step = i64::from(sequence.wrapping_sub(run.call_sequence).cast_signed());
        if step.abs() > MAX_JUMP {
            return Ok(self.begin(interval, sequence, timestamp));
        }
        if step > 0 {
            let step = step.unsigned_abs();
            run.call_sequence = sequence;
            if timestamp.wrapping_sub(run.timestamp).cast_signed() > 0 {
                run.timestamp = timestamp;
            }
            return Ok(self.advance(step, false));
        }
        self.assign_late(step.unsigned_abs(), interval, sequence, timestamp, clock_rate)
    }

    /// The same of a packet that lies so far `back` behind the newest one.
    #[cold]
    fn assign_late(
        &mut self,
        back: u64,
        interval: Interval,
        sequence: u16,
        timestamp: u32,
        clock_rate: u32,
    ) -> Result<Numbered, Unplaced> {
        let Some(run) = &self.run else { return Ok(self.begin(interval, sequence, timestamp)) };
        let bit = 1u128.checked_shl(u32::try_from(back).unwrap_or(u32::MAX)).unwrap_or(0);
        let index = self.highest.saturating_sub(back);
        if back < WINDOW && index >= run.first && self.given & bit == 0 {
            self.given |= bit;
            (self.repeats, self.doubt) = (0, None);
            return Ok(Numbered { index, begins: false });
        }
        // A source that starts again with numbers a little lower than before looks like a burst of old packets,
        // but its timestamps do not.
        let behind = run.timestamp.wrapping_sub(timestamp);
        let is_late = behind <= clock_rate.saturating_mul(MAX_LATENESS_S);
        if !is_late || self.repeats >= MAX_REPEATS {
            return Ok(self.begin(interval, sequence, timestamp));
        }
        if back > 0 || self.present_doubt().is_some() {
            return Err(Unplaced::Doubtful);
        }
        self.repeats += 1;
        Err(Unplaced::Repeated)
    }

    /// Whether a packet that comes now would be newer than all of the present run.
    pub(crate) fn is_new(&self, sequence: u16) -> bool {
        self.run.as_ref().is_some_and(|run| {
            let step = i64::from(sequence.wrapping_sub(run.call_sequence).cast_signed());
            (1..=MAX_JUMP).contains(&step)
        })
    }

    /// A doubtful packet came at `arrival` and cannot wait for what comes behind it. If it shows that the source has started
    /// again, it may leave in another interval, and this is said of those that were dropped before it.
    pub(crate) fn doubt(&mut self, header: &Header, arrival: Instant, clock_rate: u32) -> Option<Doubt> {
        let going_on =
            self.present_doubt().and_then(|mut doubt| match doubt.next(header, arrival, clock_rate) {
                Some(Verdict::Late) => None,
                verdict => Some((doubt, verdict)),
            });
        match going_on {
            Some((doubt, Some(_))) => {
                self.doubt = None;
                Some(doubt)
            }
            Some((doubt, None)) => {
                self.doubt = Some((self.highest, doubt));
                None
            }
            None => {
                self.doubt = Some((self.highest, Doubt::of(header, arrival)));
                None
            }
        }
    }

    /// What was dropped in doubt, unless a packet had a place since.
    fn present_doubt(&self) -> Option<Doubt> {
        self.doubt.filter(|(highest, _)| *highest == self.highest).map(|(_, doubt)| doubt)
    }

    fn begin(&mut self, interval: Interval, sequence: u16, timestamp: u32) -> Numbered {
        let numbered = self.advance(1, true);
        self.run = Some(Run { interval, first: numbered.index, call_sequence: sequence, timestamp });
        numbered
    }

    fn advance(&mut self, step: u64, begins: bool) -> Numbered {
        // The first index may be 0: then `highest` starts one below it.
        self.highest = self.highest.wrapping_add(step);
        self.given = u32::try_from(step).ok().and_then(|step| self.given.checked_shl(step)).unwrap_or(0) | 1;
        self.repeats = 0;
        Numbered { index: self.highest, begins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    /// A stream of 20 ms packets: the timestamp follows the sequence number.
    fn timestamp_of(sequence: u16) -> u32 {
        u32::from(sequence) * 160
    }

    fn opening(opening: u32) -> Interval {
        Interval { opening, paused: 0 }
    }

    fn indices(numbering: &mut Numbering, interval: u32, sequences: &[u16]) -> Vec<Option<u64>> {
        sequences
            .iter()
            .map(|&sequence| {
                numbering
                    .assign(opening(interval), sequence, timestamp_of(sequence), RATE)
                    .ok()
                    .map(|n| n.index)
            })
            .collect()
    }

    #[test]
    fn the_first_packet_gets_the_first_number() {
        let mut numbering = Numbering::starting_at(256);
        let first = numbering.assign(opening(0), 40_000, 0, RATE).unwrap();
        assert_eq!(first, Numbered { index: 256, begins: true });
        let mut from_zero = Numbering::starting_at(0);
        assert_eq!(indices(&mut from_zero, 0, &[9, 10]), [Some(0), Some(1)]);
    }

    #[test]
    fn numbers_that_would_soon_wrap_begin_anew_for_a_new_receiver_and_others_go_on() {
        let mut low = Numbering::starting_at(65_000);
        low.assign(opening(0), 1, 0, RATE).unwrap();
        low.make_room(300);
        assert_eq!(indices(&mut low, 1, &[2]), [Some(300)]);
        low.make_room(400);
        assert_eq!(indices(&mut low, 2, &[3]), [Some(301)]);
        let mut before_its_half = Numbering::starting_at(0x7FFE);
        assert_eq!(indices(&mut before_its_half, 0, &[1]), [Some(0x7FFE)]);
        before_its_half.make_room(300);
        assert_eq!(indices(&mut before_its_half, 1, &[2]), [Some(0x7FFF)]);
        before_its_half.make_room(300);
        assert_eq!(indices(&mut before_its_half, 2, &[3]), [Some(300)]);
    }

    #[test]
    fn losses_and_reordering_of_the_call_stay_visible() {
        let mut numbering = Numbering::starting_at(1000);
        let sent = indices(&mut numbering, 0, &[10, 11, 14, 13, 15]);
        assert_eq!(sent, [Some(1000), Some(1001), Some(1004), Some(1003), Some(1005)]);
    }

    #[test]
    fn wraps_of_the_call_and_of_the_branch_go_on_counting() {
        let mut numbering = Numbering::starting_at(65_534);
        let sent = indices(&mut numbering, 0, &[65_535, 0, 1]);
        assert_eq!(sent, [Some(65_534), Some(65_535), Some(65_536)]);
    }

    #[test]
    fn a_new_interval_goes_on_at_last_sent_plus_one() {
        let mut numbering = Numbering::starting_at(300);
        assert_eq!(indices(&mut numbering, 0, &[10, 11, 13]), [Some(300), Some(301), Some(303)]);
        // 40,000 packets of pause.
        let next = numbering.assign(opening(1), 40_013, 7, RATE).unwrap();
        assert_eq!(next, Numbered { index: 304, begins: true });
        assert_eq!(
            numbering.assign(opening(1), 40_014, 8, RATE).unwrap(),
            Numbered { index: 305, begins: false }
        );
    }

    #[test]
    fn a_pause_within_a_backlog_leaves_no_hole() {
        let mut numbering = Numbering::starting_at(300);
        assert_eq!(indices(&mut numbering, 0, &[10, 11]), [Some(300), Some(301)]);
        let after = Interval { opening: 0, paused: 7 };
        assert_eq!(numbering.assign(after, 900, 0, RATE), Ok(Numbered { index: 302, begins: true }));
    }

    #[test]
    fn older_than_the_first_of_the_interval_is_stale() {
        let mut numbering = Numbering::starting_at(300);
        assert_eq!(indices(&mut numbering, 0, &[10, 9]), [Some(300), None]);
        assert_eq!(indices(&mut numbering, 1, &[20, 19, 21]), [Some(301), None, Some(302)]);
    }

    #[test]
    fn duplicates_and_packets_behind_the_window_are_stale() {
        let mut numbering = Numbering::starting_at(300);
        let mut sequences: Vec<u16> = (0..200).filter(|n| *n != 71 && *n != 72).collect();
        sequences.extend([199, 150, 72, 71, 72]);
        let sent = indices(&mut numbering, 0, &sequences);
        // 199 - 72 = 127 is the last place of the window, 71 lies behind it. What came late comes once, too.
        assert_eq!(&sent[198..], [None, None, Some(372), None, None]);
    }

    #[test]
    fn a_jump_beyond_3000_begins_a_new_run() {
        for (jump, expected) in [(3000u16, 3256), (3001, 257), (62_000, 257)] {
            let mut numbering = Numbering::starting_at(256);
            indices(&mut numbering, 0, &[100]);
            let sequence = 100u16.wrapping_add(jump);
            let next = numbering.assign(opening(0), sequence, 0, RATE).unwrap();
            assert_eq!(next, Numbered { index: expected, begins: expected == 257 }, "jump {jump}");
        }
    }

    #[test]
    fn a_source_that_starts_again_a_little_lower_begins_a_new_run() {
        let mut numbering = Numbering::starting_at(256);
        indices(&mut numbering, 0, &[1000, 1001, 1002]);
        let restarted = numbering.assign(opening(0), 700, 0xF000_0000, RATE).unwrap();
        assert_eq!(restarted, Numbered { index: 259, begins: true });
    }

    #[test]
    fn a_number_that_comes_25_times_more_begins_a_new_run_in_the_end() {
        let mut numbering = Numbering::starting_at(256);
        let sent = indices(&mut numbering, 0, &[1000; 27]);
        assert!(sent[1..26].iter().all(Option::is_none));
        assert_eq!((sent[0], sent[26]), (Some(256), Some(257)));
        let again = numbering.assign(opening(0), 1000, timestamp_of(1000), RATE);
        assert_eq!(again, Err(Unplaced::Repeated));
    }

    #[test]
    fn numbers_a_little_lower_are_doubtful_however_many_come() {
        let mut numbering = Numbering::starting_at(256);
        indices(&mut numbering, 0, &[1000]);
        for sequence in 500..600 {
            let placed = numbering.assign(opening(0), sequence, timestamp_of(sequence), RATE);
            assert_eq!(placed, Err(Unplaced::Doubtful));
        }
        assert_eq!(
            [999, 1000, 1001, 4000, 4001].map(|next| numbering.is_new(next)),
            [false, false, true, true, false]
        );
    }

    /// How many were dropped before those that show, coming at once, that the source has started again.
    fn dropped(numbering: &mut Numbering, sequences: &[u16]) -> Vec<u64> {
        let arrival = Instant::now();
        let bytes = [0x80; 12];
        let header = crate::rtp::RtpView::parse(&bytes).unwrap().header;
        let headers = sequences.iter().map(|&sequence| Header {
            sequence,
            timestamp: timestamp_of(sequence),
            ..header
        });
        let shown = headers.filter_map(|header| numbering.doubt(&header, arrival, RATE));
        shown.map(|doubt| doubt.before_last()).collect()
    }

    #[test]
    fn what_cannot_wait_shows_in_the_end_that_the_source_has_started_again() {
        let mut numbering = Numbering::starting_at(256);
        indices(&mut numbering, 0, &[1000]);
        assert_eq!(dropped(&mut numbering, &(500..530).collect::<Vec<u16>>()), [24]);
    }

    #[test]
    fn packets_of_use_show_that_the_source_has_not_started_again() {
        for (next, index) in [(1001, 257), (1003, 259)] {
            let mut numbering = Numbering::starting_at(256);
            indices(&mut numbering, 0, &[1000, 1002]);
            assert_eq!(dropped(&mut numbering, &[1000; 20]), []);
            assert_eq!(indices(&mut numbering, 0, &[next]), [Some(index)]);
            assert_eq!(dropped(&mut numbering, &[1000; 20]), []);
        }
    }
}
