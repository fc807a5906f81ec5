//! Where the packets of one stream stand in time, by their own timestamps and the sender reports.
//!
//! Arrival times are kept for one purpose only: a stream without any sender report is aligned by its least delayed
//! packet (see [`super::layout`]).

use std::collections::HashMap;

use super::reception::extend_sequence;
use super::rtp::RtpHeader;

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// A timestamp that runs this far ahead of the wall clock, or falls back by more than [`MAX_BACK`], belongs to a
/// source that began anew. Silence of up to this length may pass without any packet, and packets held during a
/// pause may come that late.
const MAX_AHEAD: i64 = 3600 * SECOND;
const MAX_BACK: i64 = 10 * SECOND;
/// Sender reports that agree this well belong to one run of the source's clock. The jitter of networks and of busy hosts
/// is below it; a source whose timestamps stood still (some phones on hold) is above.
const AGREEMENT: i64 = SECOND / 2;
/// A report that puts the reference later than a following one does by more than the jitter of single reports, and faster
/// than any clock drifts (one part in so many of the time between them), was made of a packet that came late.
const JITTER: i64 = SECOND / 10;
const DRIFT: i64 = 64;
/// Sources, and reports of each, that are kept before their first packet.
const MAX_EARLY: usize = 16;

/// The packets of one stream, divided into segments.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    segments: Vec<Segment>,
    current: HashMap<u32, usize>,
    /// Reports that came before their source's first packet.
    early: HashMap<u32, Vec<(u32, i64)>>,
}

/// A run of packets from one source whose timestamps belong together.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its source.
    pub(crate) ssrc: u32,
    /// RTP clock in Hz.
    pub(crate) clock_rate: u32,
    /// Extended timestamp of the first packet that arrived.
    pub(crate) reference: i64,
    /// Lowest and highest extended timestamp.
    pub(crate) lowest: i64,
    pub(crate) highest: i64,
    /// Smallest (arrival - RTP time since `reference`) in ns since 1970: the arrival time that `reference` has by the
    /// account of the least delayed packet.
    pub(crate) earliest: i64,
    /// (extended timestamp, NTP time in ns since 1900) of each sender report.
    reports: Vec<(i64, i64)>,
    /// Extended timestamps of packets with the marker bit.
    markers: Vec<i64>,
    /// (extended timestamp, silence before it) where the timestamp leapt between two packets that follow each other.
    leaps: Vec<(i64, i64)>,
    /// Last step of the timestamp between two such packets: how long a packet is.
    step: i64,
    first_arrival: i64,
    highest_sequence: i64,
}

/// A packet's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index into [`Timeline::segments`].
    pub(crate) segment: usize,
    /// Sequence number without wrap.
    pub(crate) sequence: i64,
    /// Timestamp without wrap, in units of the segment's clock.
    pub(crate) timestamp: i64,
}

/// From the packet with timestamp `from` on, the segment's `reference` stands at `origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) from: i64,
    /// NTP time in ns.
    pub(crate) origin: i64,
}

/// Sender reports that agree.
struct Run {
    /// First timestamp that it holds for.
    from: i64,
    reports: Vec<Standing>,
    /// The reference stands no earlier.
    least: i64,
}

/// What one report says.
#[derive(Clone, Copy)]
struct Standing {
    /// RTP time since the reference, in ns.
    elapsed: i64,
    /// Where the reference stands on the NTP clock, in ns.
    origin: i64,
}

impl Run {
    fn last(&self) -> Option<i64> {
        self.reports.last().map(|report| report.origin)
    }

    fn anchor(&self) -> Option<Anchor> {
        let origin = median(&mut self.timely())?.max(self.least);
        Some(Anchor { from: self.from, origin })
    }

    /// The origins by those reports that no later one proves to have been made while the source was late: a packet can come
    /// late, and the next ones catch up, but none comes early.
    fn timely(&self) -> Vec<i64> {
        let mut reports = self.reports.clone();
        reports.sort_by_key(|report| report.elapsed);
        let mut least = i64::MAX;
        let is_timely = |report: &Standing| {
            let level = report.origin.saturating_add(report.elapsed / DRIFT);
            least = least.min(level);
            level.saturating_sub(least) <= JITTER
        };
        let timely = reports.into_iter().rev().filter(is_timely);
        timely.map(|report| report.origin).collect()
    }
}

impl Timeline {
    /// Places a packet; `arrival` is in ns since 1970, and packets come in the order of arrival.
    pub(crate) fn packet(&mut self, header: &RtpHeader, clock_rate: u32, arrival: i64) -> Place {
        let continued = self.current.get(&header.ssrc).copied().and_then(|index| {
            let place = self.segments.get_mut(index)?.continue_with(header, clock_rate, arrival)?;
            Some(Place { segment: index, ..place })
        });
        continued.unwrap_or_else(|| self.begin(header, clock_rate, arrival))
    }

    /// Gives a packet that carries no sound its place in the sequence. Its timestamp may run on another clock
    /// (RFC 7160), so it counts for nothing. `None` before the source's first packet with sound.
    pub(crate) fn soundless_packet(&mut self, header: &RtpHeader) -> Option<Place> {
        let index = self.current.get(&header.ssrc).copied()?;
        let segment = self.segments.get_mut(index)?;
        let sequence = extend_sequence(segment.highest_sequence, header.sequence)?;
        segment.highest_sequence = segment.highest_sequence.max(sequence);
        Some(Place { segment: index, sequence, timestamp: segment.highest })
    }

    /// Takes a sender report: at NTP timestamp `ntp` the source's RTP clock was `rtp`.
    pub(crate) fn sender_report(&mut self, ssrc: u32, ntp: u64, rtp: u32) {
        let ntp = ntp_to_ns(ntp);
        match self.current.get(&ssrc).and_then(|index| self.segments.get_mut(*index)) {
            Some(segment) => segment.sender_report(rtp, ntp),
            None if self.early.len() < MAX_EARLY || self.early.contains_key(&ssrc) => {
                let reports = self.early.entry(ssrc).or_default();
                reports.truncate(MAX_EARLY - 1);
                reports.push((rtp, ntp));
            }
            None => {}
        }
    }

    /// All segments, in the order of their first packets' arrival.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn begin(&mut self, header: &RtpHeader, clock_rate: u32, arrival: i64) -> Place {
        let timestamp = i64::from(header.timestamp);
        let sequence = i64::from(header.sequence);
        let mut segment = Segment {
            ssrc: header.ssrc,
            clock_rate: clock_rate.max(1),
            reference: timestamp,
            lowest: timestamp,
            highest: timestamp,
            earliest: arrival,
            reports: Vec::new(),
            markers: Vec::new(),
            leaps: Vec::new(),
            step: 0,
            first_arrival: arrival,
            highest_sequence: sequence,
        };
        for (rtp, ntp) in self.early.remove(&header.ssrc).unwrap_or_default() {
            segment.sender_report(rtp, ntp);
        }
        self.current.insert(header.ssrc, self.segments.len());
        self.segments.push(segment);
        Place { segment: self.segments.len() - 1, sequence, timestamp }
    }
}

impl Segment {
    /// RTP time of `timestamp` since the segment's reference, in ns.
    pub(crate) fn elapsed(&self, timestamp: i64) -> i64 {
        scale(timestamp - self.reference, SECOND, self.clock_rate)
    }

    /// Where the reference stands on the sender's NTP clock, for each run of that clock; empty without reports.
    ///
    /// Reports each of which agrees with the next within [`AGREEMENT`] form a run, whose anchor is the median of those that
    /// were not made while the source caught up, so that the jitter in single reports and a slow drift have little weight. The next run begins with the first packet with the marker
    /// bit after the last report of the run before, or, without one, right after that report.
    ///
    /// A run never stands on the sound of the one before. Where it would, that one's reports were made of packets
    /// that had come late, by a source or a path that has caught up since, and say nothing of where its sound belongs.
    pub(crate) fn anchors(&self) -> Vec<Anchor> {
        let mut runs: Vec<Run> = Vec::new();
        let mut run: Option<Run> = None;
        let mut last_report = i64::MIN;
        for &(timestamp, ntp) in &self.reports {
            let elapsed = self.elapsed(timestamp);
            let origin = ntp - elapsed;
            let report = Standing { elapsed, origin };
            match run.as_mut() {
                Some(run) if run.last().is_some_and(|last| (origin - last).abs() <= AGREEMENT) => {
                    run.reports.push(report);
                }
                _ => {
                    let leads = run.as_ref().and_then(Run::last).is_some_and(|last| origin < last);
                    let from =
                        if run.is_some() { self.turn(last_report, timestamp, leads) } else { i64::MIN };
                    if let Some(done) = run.replace(Run { from, reports: vec![report], least: i64::MIN }) {
                        self.settle(&mut runs, done);
                    }
                }
            }
            last_report = last_report.max(timestamp);
        }
        if let Some(done) = run {
            self.settle(&mut runs, done);
        }
        runs.iter().filter_map(Run::anchor).collect()
    }

    /// Where a run begins whose first report is the one at `timestamp`. One that leads the run before does so since the
    /// timestamps leapt ahead, if they did.
    fn turn(&self, last_report: i64, timestamp: i64, leads: bool) -> i64 {
        let within = |at: &i64| *at > last_report && *at <= timestamp;
        let leap = self.leaps.iter().map(|(at, _)| *at).rfind(within).filter(|_| leads);
        leap.or_else(|| self.markers.iter().copied().find(within)).unwrap_or(last_report + 1)
    }

    /// Adds a run to those before it, of which it takes the place where they were late.
    fn settle(&self, runs: &mut Vec<Run>, mut run: Run) {
        while let (Some(before), Some(anchor)) = (runs.last().and_then(Run::anchor), run.anchor()) {
            let silence =
                self.leaps.iter().find(|(at, _)| *at == anchor.from).map_or(0, |(_, silence)| *silence);
            let silence = scale(silence, SECOND, self.clock_rate);
            let lead = before.origin - anchor.origin;
            if lead.abs() <= AGREEMENT {
                run.reports.extend(runs.pop().map(|before| before.reports).unwrap_or_default());
                run.from = before.from;
            } else if lead <= silence {
                break;
            } else if silence > 0 && lead - silence <= AGREEMENT {
                // The timestamps leapt, and the reports have their jitter.
                run.least = before.origin - silence;
                break;
            } else {
                runs.pop();
                run.from = before.from;
            }
        }
        runs.push(run);
    }

    fn continue_with(&mut self, header: &RtpHeader, clock_rate: u32, arrival: i64) -> Option<Place> {
        if clock_rate != self.clock_rate {
            return None;
        }
        let sequence = extend_sequence(self.highest_sequence, header.sequence)?;
        let step = i64::from(header.timestamp.wrapping_sub(self.highest as u32) as i32);
        let timestamp = self.highest + step;
        let elapsed = self.elapsed(timestamp);
        if elapsed - (arrival - self.first_arrival) > MAX_AHEAD
            || scale(step, SECOND, self.clock_rate) < -MAX_BACK
        {
            return None;
        }
        if sequence == self.highest_sequence + 1 && step > 0 {
            if scale(step, SECOND, self.clock_rate) > AGREEMENT {
                self.leaps.push((timestamp, step - self.step));
            } else {
                self.step = step;
            }
        }
        self.highest_sequence = self.highest_sequence.max(sequence);
        self.highest = self.highest.max(timestamp);
        self.lowest = self.lowest.min(timestamp);
        self.earliest = self.earliest.min(arrival - elapsed);
        if header.marker {
            self.markers.push(timestamp);
        }
        Some(Place { segment: 0, sequence, timestamp })
    }

    fn sender_report(&mut self, rtp: u32, ntp: i64) {
        let timestamp = self.highest + i64::from(rtp.wrapping_sub(self.highest as u32) as i32);
        let ahead = scale(timestamp - self.highest, SECOND, self.clock_rate);
        if ahead.abs() <= MAX_AHEAD {
            self.reports.push((timestamp, ntp));
        }
    }
}

/// `value * multiplier / divisor`, rounded to the nearest.
pub(crate) fn scale(value: i64, multiplier: i64, divisor: u32) -> i64 {
    let divisor = i128::from(divisor.max(1));
    let product = i128::from(value) * i128::from(multiplier);
    (product + divisor / 2).div_euclid(divisor) as i64
}

/// An NTP timestamp in ns since 1900 (RFC 3550 §4).
fn ntp_to_ns(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64;
    let fraction = ((ntp & 0xffff_ffff) as i64 * SECOND + (1 << 31)) >> 32;
    seconds * SECOND + fraction
}

fn median(values: &mut [i64]) -> Option<i64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16, timestamp: u32) -> RtpHeader {
        RtpHeader { payload_type: 0, sequence, timestamp, ssrc: 7, marker: false }
    }

    /// An NTP timestamp of so many milliseconds.
    fn ntp(ms: u64) -> u64 {
        ((ms / 1000) << 32) | (((ms % 1000) << 32) / 1000)
    }

    const MS: i64 = 1_000_000;

    #[test]
    fn timestamps_and_sequence_numbers_run_through_their_wrap() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(65535, u32::MAX - 79), 8000, 0);
        let place = timeline.packet(&header(0, 80), 8000, 20 * MS);
        assert_eq!((place.segment, place.sequence), (0, 65536));
        assert_eq!(timeline.segments()[0].elapsed(place.timestamp), 20 * MS);
    }

    #[test]
    fn a_new_source_and_a_reset_source_begin_segments() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(0, 1_000_000), 8000, 0);
        assert_eq!(timeline.packet(&RtpHeader { ssrc: 8, ..header(1, 0) }, 8000, 0).segment, 1);
        assert_eq!(timeline.packet(&header(1, 1_000_160), 8000, 0).segment, 0, "the old source goes on");
        assert_eq!(timeline.packet(&header(2, 500_000), 8000, 0).segment, 2, "62 s back");
        assert_eq!(timeline.packet(&header(3, 2_000_000_000), 8000, 0).segment, 3, "three days ahead");
        assert_eq!(timeline.packet(&header(40_000, 2_000_000_160), 8000, 0).segment, 4, "a jump in sequence");
    }

    #[test]
    fn a_pause_of_eleven_minutes_and_what_was_held_before_it_stay_in_one_segment() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(0, 0), 8000, 0);
        let eleven_minutes = 660 * SECOND;
        assert_eq!(timeline.packet(&header(1, 160), 8000, eleven_minutes).segment, 0);
        assert_eq!(timeline.packet(&header(2, 160 + 660 * 8000), 8000, eleven_minutes).segment, 0);
    }

    #[test]
    fn the_median_of_jittered_reports_is_the_anchor() {
        let mut timeline = Timeline::default();
        timeline.sender_report(7, ntp(1_030), 8000);
        timeline.packet(&header(0, 8000), 8000, 0);
        timeline.sender_report(7, ntp(6_000), 48_000);
        timeline.sender_report(7, ntp(11_002), 88_000);
        // A report of a packet that came late on a busy host.
        timeline.sender_report(7, ntp(16_252), 128_000);
        timeline.sender_report(7, ntp(21_001), 168_000);
        let anchors = timeline.segments()[0].anchors();
        assert_eq!(anchors.len(), 1);
        assert!((anchors[0].origin - 1002 * MS).abs() < 10, "{anchors:?}");
    }

    #[test]
    fn a_clock_that_stood_still_gets_a_second_anchor_at_the_talk_spurt() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(0, 0), 8000, 0);
        timeline.sender_report(7, ntp(0), 0);
        timeline.packet(&header(1, 160), 8000, 0);
        timeline.packet(&RtpHeader { marker: true, ..header(2, 320) }, 8000, 0);
        timeline.packet(&header(3, 480), 8000, 0);
        timeline.sender_report(7, ntp(60_060), 480);
        let anchors = timeline.segments()[0].anchors();
        assert_eq!(anchors.iter().map(|anchor| anchor.from).collect::<Vec<_>>(), [i64::MIN, 320]);
        assert_eq!(anchors[1].origin - anchors[0].origin, 60 * SECOND);
    }

    #[test]
    fn reports_of_a_source_that_fell_behind_and_caught_up_change_nothing() {
        for delay in [500, 1200, 2000, 3000, 10_000] {
            let mut timeline = Timeline::default();
            for index in 0..300u32 {
                let header = header(index as u16, index * 160);
                timeline.packet(&header, 8000, i64::from(index) * 20 * MS);
                if index % 25 == 0 {
                    let late =
                        if (50..150).contains(&index) { delay * u64::from(index - 50) / 100 } else { 0 };
                    timeline.sender_report(7, ntp(5000 + u64::from(index) * 20 + late), index * 160);
                }
            }
            let anchors = timeline.segments()[0].anchors();
            assert_eq!(anchors.len(), 1, "{delay}: {anchors:?}");
            assert!((anchors[0].origin - 5000 * MS).abs() <= AGREEMENT / 2, "{delay}: {anchors:?}");
        }
    }

    #[test]
    fn reports_that_were_made_while_a_source_caught_up_do_not_count_however_many_they_are() {
        // So many ms late was each of the reports, which are made every 400 ms or, where they are more, 200 ms of sound.
        let bursts: [(u32, &[u64]); 4] = [
            (20, &[1600, 1200, 800, 400, 0]),
            (20, &[0, 400, 800, 1200, 1600, 1200, 800, 400, 0]),
            (10, &[2000, 1800, 1600, 1400, 1200, 1000, 800, 600, 400, 200, 0]),
            (20, &[0, 0, 0, 0, 1600, 1250, 800, 450, 20]),
        ];
        for (every, late) in bursts {
            let mut timeline = Timeline::default();
            let packets = every * late.len() as u32;
            for index in 0..packets {
                timeline.packet(&header(index as u16, index * 160), 8000, i64::from(index) * 20 * MS);
                if index % every == 0 {
                    let late = late[(index / every) as usize];
                    timeline.sender_report(7, ntp(5000 + u64::from(index) * 20 + late), index * 160);
                }
            }
            let anchors = timeline.segments()[0].anchors();
            let [anchor] = anchors[..] else { panic!("{late:?}: {anchors:?}") };
            assert!((anchor.origin - 5000 * MS).abs() <= 20 * MS, "{late:?}: {anchors:?}");
        }
    }

    #[test]
    fn a_clock_that_drifts_is_anchored_in_its_middle() {
        for drift in [-100, 100_i64] {
            let mut timeline = Timeline::default();
            timeline.packet(&header(0, 0), 8000, 0);
            // An hour of reports every 5 s, by a clock that is off by 100 ppm.
            for report in 0..720_u32 {
                let (index, seconds) = (report * 250, i64::from(report) * 5);
                timeline.packet(&header(index as u16, index * 160), 8000, seconds * SECOND);
                let at = 10_000_000 + seconds * 1_000_000 + seconds * drift;
                timeline.sender_report(7, ntp(at as u64 / 1000), index * 160);
            }
            let anchors = timeline.segments()[0].anchors();
            let [anchor] = anchors[..] else { panic!("{anchors:?}") };
            assert!((anchor.origin - (10_000 + drift * 18 / 10) * MS).abs() <= 2 * MS, "{anchors:?}");
        }
    }

    #[test]
    fn timestamps_that_leap_ahead_stand_right_after_what_was_before() {
        let mut timeline = Timeline::default();
        let leap = |index: u32| if index < 60 { 0 } else { 480_000 };
        for index in 0..120u32 {
            timeline.packet(
                &header(index as u16, index * 160 + leap(index)),
                8000,
                i64::from(index) * 20 * MS,
            );
            if index % 25 == 0 {
                // 3 ms of jitter in the reports after the leap.
                let jitter = u64::from(index >= 60) * 3;
                timeline.sender_report(
                    7,
                    ntp(5003 + u64::from(index) * 20 - jitter),
                    index * 160 + leap(index),
                );
            }
        }
        let segment = &timeline.segments()[0];
        let anchors = segment.anchors();
        assert_eq!(
            anchors.iter().map(|anchor| anchor.from).collect::<Vec<_>>(),
            [i64::MIN, 60 * 160 + 480_000]
        );
        assert_eq!(anchors[0].origin - anchors[1].origin, 60 * SECOND);
    }

    #[test]
    fn a_report_of_another_epoch_is_no_anchor() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(0, 0), 8000, 0);
        timeline.sender_report(7, ntp(1000), 1 << 31);
        assert!(timeline.segments()[0].anchors().is_empty());
    }

    #[test]
    fn the_least_delayed_packet_counts_for_the_arrival_rule() {
        let mut timeline = Timeline::default();
        timeline.packet(&header(0, 0), 8000, 3000 * MS);
        timeline.packet(&header(1, 160), 8000, 3000 * MS);
        timeline.packet(&header(200, 32_000), 8000, 4010 * MS);
        assert_eq!(timeline.segments()[0].earliest, 10 * MS);
    }
}
