//! The account of what arrived from one source, packet by packet (RFC 3550 A.1, A.3, A.8).

use std::time::{Duration, Instant};

use super::rtcp::ReportBlock;
use super::rtp::RtpHeader;

/// A sequence number this far ahead of the highest is a restart, not a loss (RFC 3550 A.1: MAX_DROPOUT).
const MAX_DROPOUT: i64 = 3000;
/// One this far behind is a restart, not a late packet.
const MAX_MISORDER: i64 = 1000;
/// Late packets and duplicates are told apart within this many packets; a multiple of 64.
const WINDOW: i64 = 1024;

/// The sequence number nearest to `reference` whose lower 16 bits are `sequence`; `None` when that is so far away
/// that the source must have begun anew.
pub(crate) fn extend_sequence(reference: i64, sequence: u16) -> Option<i64> {
    let step = i64::from(sequence.wrapping_sub(reference as u16) as i16);
    (-MAX_MISORDER..MAX_DROPOUT).contains(&step).then_some(reference + step)
}

/// What arrived from one synchronisation source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    /// Packets, duplicates included.
    pub(crate) packets: u64,
    /// Bytes of these packets, RTP headers included.
    pub(crate) bytes: u64,
    pub(crate) duplicates: u64,
    /// Packets that came behind a younger one.
    pub(crate) reordered: u64,
    /// Sender reports.
    pub(crate) reports: u64,
    /// The source said goodbye (RTCP BYE).
    pub(crate) left: bool,
    pub(crate) cname: Option<String>,
    first: i64,
    highest: i64,
    /// Expected packets of the runs before the last restart.
    expected_before: u64,
    seen: [u64; (WINDOW / 64) as usize],
    jitter: f64,
    transit: Option<(u32, Instant)>,
    last_report: Option<(u32, Instant)>,
    reported: (u64, u64),
}

impl Source {
    /// A source that nothing came from yet.
    pub(crate) fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            packets: 0,
            bytes: 0,
            duplicates: 0,
            reordered: 0,
            reports: 0,
            left: false,
            cname: None,
            first: 0,
            highest: 0,
            expected_before: 0,
            seen: [0; (WINDOW / 64) as usize],
            jitter: 0.0,
            transit: None,
            last_report: None,
            reported: (0, 0),
        }
    }

    /// Counts a packet of `length` bytes.
    pub(crate) fn packet(&mut self, header: &RtpHeader, length: usize, clock_rate: u32, arrival: Instant) {
        let extended = if self.packets == 0 { None } else { extend_sequence(self.highest, header.sequence) };
        let expected = self.expected();
        self.packets += 1;
        self.bytes += length as u64;
        match extended {
            None => {
                self.expected_before = expected;
                self.first = i64::from(header.sequence);
                self.highest = self.first;
                self.seen = [0; (WINDOW / 64) as usize];
                self.mark(self.first);
                self.transit = None;
            }
            Some(extended) if extended > self.highest => {
                for passed in self.highest + 1..extended.min(self.highest + WINDOW) {
                    self.clear(passed);
                }
                self.highest = extended;
                self.mark(extended);
            }
            Some(extended) => {
                self.first = self.first.min(extended);
                if self.highest - extended < WINDOW && self.is_marked(extended) {
                    self.duplicates += 1;
                } else {
                    self.reordered += 1;
                    self.mark(extended);
                }
            }
        }
        self.track_jitter(header.timestamp, clock_rate, arrival);
    }

    /// Takes note of a sender report's time.
    pub(crate) fn sender_report(&mut self, ntp: u64, arrival: Instant) {
        self.reports += 1;
        self.last_report = Some(((ntp >> 16) as u32, arrival));
    }

    /// Packets that should have come so far.
    pub(crate) fn expected(&self) -> u64 {
        if self.packets == 0 {
            return 0;
        }
        self.expected_before + (self.highest - self.first + 1) as u64
    }

    /// Packets that did not come.
    pub(crate) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.packets - self.duplicates)
    }

    /// What the next receiver report says; the interval since the last one ends here.
    pub(crate) fn report_block(&mut self, now: Instant) -> ReportBlock {
        let (expected, received) = (self.expected(), self.packets);
        let lost_since = (expected - self.reported.0) as i64 - (received - self.reported.1) as i64;
        let fraction_lost = match (expected - self.reported.0, lost_since) {
            (1.., 1..) => (lost_since * 256 / (expected - self.reported.0) as i64).min(255) as u8,
            _ => 0,
        };
        self.reported = (expected, received);
        let delay = self.last_report.map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(at));
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            lost: (expected as i64 - received as i64).clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: self.highest as u32,
            jitter: self.jitter as u32,
            last_report: self.last_report.map_or(0, |(ntp, _)| ntp),
            delay: (delay.as_secs_f64() * 65536.0) as u32,
        }
    }

    /// RFC 3550 A.8.
    fn track_jitter(&mut self, timestamp: u32, clock_rate: u32, arrival: Instant) {
        if let Some((last_timestamp, last_arrival)) = self.transit {
            let elapsed =
                arrival.saturating_duration_since(last_arrival).as_secs_f64() * f64::from(clock_rate);
            let step = f64::from(timestamp.wrapping_sub(last_timestamp) as i32);
            self.jitter += ((elapsed - step).abs() - self.jitter) / 16.0;
        }
        self.transit = Some((timestamp, arrival));
    }

    fn mark(&mut self, sequence: i64) {
        let (word, bit) = slot(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn clear(&mut self, sequence: i64) {
        let (word, bit) = slot(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }

    fn is_marked(&self, sequence: i64) -> bool {
        let (word, bit) = slot(sequence);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn slot(sequence: i64) -> (usize, u64) {
    let index = sequence.rem_euclid(WINDOW);
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(sequences: impl IntoIterator<Item = u16>) -> Source {
        let now = Instant::now();
        let mut source = Source::new(7);
        for (index, sequence) in sequences.into_iter().enumerate() {
            let header = RtpHeader {
                payload_type: 0,
                sequence,
                timestamp: u32::from(sequence).wrapping_mul(160),
                ssrc: 7,
                marker: false,
            };
            source.packet(&header, 172, 8000, now + Duration::from_millis(20) * index as u32);
        }
        source
    }

    #[test]
    fn losses_late_packets_and_duplicates_are_told_apart() {
        let source = received([65534, 65535, 1, 0, 0, 4, 4]);
        assert_eq!((source.expected(), source.lost()), (7, 2));
        assert_eq!((source.duplicates, source.reordered), (2, 1));
    }

    #[test]
    fn a_late_first_packet_is_no_loss() {
        let source = received([11, 10, 12]);
        assert_eq!((source.expected(), source.lost()), (3, 0));
    }

    #[test]
    fn a_restart_is_no_loss_of_thousands() {
        let source = received([100, 101, 40000, 40001]);
        assert_eq!((source.expected(), source.lost()), (4, 0));
    }

    #[test]
    fn a_slot_of_the_window_is_free_again_after_a_gap() {
        let source = received([0, 1, 2, 1026, 1025]);
        assert_eq!(source.duplicates, 0);
        assert_eq!(source.reordered, 1);
    }

    #[test]
    fn report_blocks_count_the_interval() {
        let mut source = received([0, 1, 2, 4]);
        source.sender_report(0x1122_3344_5566_7788, Instant::now());
        let block = source.report_block(Instant::now());
        assert_eq!((block.fraction_lost, block.lost, block.highest), (51, 1, 4));
        assert_eq!(block.last_report, 0x3344_5566);
        assert_eq!(source.report_block(Instant::now()).fraction_lost, 0, "nothing new was lost");
    }
}
