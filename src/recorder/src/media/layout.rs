//! Where every packet of a session stands in the WAV: one clock for all its streams.
//!
//! A segment with sender reports stands where they say (RFC 3550 §6.4.1: the NTP clock is common to all streams of
//! one sender). One without any is placed so that its least delayed packet was as long on the way as the least
//! delayed packet of the streams that have reports; when no stream has one, so that the least delayed packets of
//! all streams arrived in no time. Bursts and held packets therefore change nothing.

use super::timeline::{SECOND, Segment, Timeline, scale};

/// NTP clocks of two streams further apart than this are not one clock.
const MAX_SKEW: i64 = 3600 * SECOND;

/// Frames of the WAV for all segments of all streams.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// Frames per second.
    pub(crate) rate: u32,
    /// For each stream its segments.
    tracks: Vec<Vec<SegmentLayout>>,
}

/// Where one segment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLayout {
    reference: i64,
    clock_rate: u32,
    basis: Basis,
    spans: Vec<Span>,
}

/// From timestamp `from` on, the segment's reference stands at frame `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    start: i64,
}

/// What a segment was placed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    SenderReports,
    Arrival,
}

/// One segment on its way to a [`SegmentLayout`].
struct Candidate<'a> {
    track: usize,
    segment: &'a Segment,
    /// (first timestamp, time of the reference in ns); never empty.
    origins: Vec<(i64, i64)>,
    basis: Basis,
}

impl Layout {
    /// Places all segments; the earliest packet of all stands at frame 0.
    pub(crate) fn of(timelines: &[&Timeline], rate: u32) -> Self {
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        for (track, timeline) in timelines.iter().enumerate() {
            for segment in timeline.segments() {
                let origins: Vec<_> =
                    segment.anchors().iter().map(|anchor| (anchor.from, anchor.origin)).collect();
                let basis = if origins.is_empty() { Basis::Arrival } else { Basis::SenderReports };
                candidates.push(Candidate { track, segment, origins, basis });
            }
        }
        settle_clock(&mut candidates);
        let begin = candidates.iter().filter_map(Candidate::begin).min().unwrap_or(0);
        let mut tracks: Vec<Vec<SegmentLayout>> = vec![Vec::new(); timelines.len()];
        for candidate in candidates {
            if let Some(track) = tracks.get_mut(candidate.track) {
                track.push(candidate.place(begin, rate));
            }
        }
        Self { rate, tracks }
    }

    /// The frame at which the sample with this timestamp stands; below 0 for a sample that comes before the earliest
    /// packet known when the layout was made.
    pub(crate) fn frame(&self, track: usize, segment: usize, timestamp: i64) -> Option<i64> {
        self.frame_under(track, segment, timestamp, timestamp)
    }

    /// The frame at which `timestamp` stands under the anchor that holds at `holding`.
    pub(crate) fn frame_under(
        &self,
        track: usize,
        segment: usize,
        timestamp: i64,
        holding: i64,
    ) -> Option<i64> {
        let segment = self.tracks.get(track)?.get(segment)?;
        let span = segment.spans.iter().rev().find(|span| span.from <= holding)?;
        Some(span.start + scale(timestamp - segment.reference, i64::from(self.rate), segment.clock_rate))
    }

    /// What a stream's segments were placed by, in order.
    pub(crate) fn bases(&self, track: usize) -> impl Iterator<Item = Basis> + '_ {
        self.tracks.get(track).into_iter().flatten().map(|segment| segment.basis)
    }

    /// Takes over what `newer` knows in addition. False, and nothing is changed, when it contradicts this layout by
    /// more than `tolerance` frames.
    pub(crate) fn extend(&mut self, newer: &Layout, tolerance: i64) -> bool {
        let agrees = self.rate == newer.rate
            && self.tracks.len() <= newer.tracks.len()
            && self.tracks.iter().zip(&newer.tracks).all(|(old, new)| {
                old.len() <= new.len() && old.iter().zip(new).all(|(old, new)| old.agrees(new, tolerance))
            });
        if agrees {
            let mut merged = newer.clone();
            for (old, new) in self.tracks.iter_mut().zip(&mut merged.tracks) {
                for (old, new) in old.iter().zip(new) {
                    let known = old.spans.len();
                    new.spans.splice(..known, old.spans.iter().copied());
                }
            }
            *self = merged;
        }
        agrees
    }
}

impl SegmentLayout {
    fn agrees(&self, newer: &Self, tolerance: i64) -> bool {
        self.spans.len() <= newer.spans.len()
            && self
                .spans
                .iter()
                .zip(&newer.spans)
                .all(|(old, new)| old.from == new.from && (old.start - new.start).abs() <= tolerance)
    }
}

impl Candidate<'_> {
    /// How much later than by its own clock the segment's least delayed packet arrived.
    fn delay(&self) -> Option<i64> {
        self.origins.first().map(|(_, origin)| self.segment.earliest - origin)
    }

    /// When its first sample stands.
    fn begin(&self) -> Option<i64> {
        self.origins.first().map(|(_, origin)| origin + self.segment.elapsed(self.segment.lowest))
    }

    fn place(self, begin: i64, rate: u32) -> SegmentLayout {
        let spans = self.origins.iter().map(|(from, origin)| Span {
            from: *from,
            start: scale(origin - begin, i64::from(rate), SECOND as u32),
        });
        SegmentLayout {
            reference: self.segment.reference,
            clock_rate: self.segment.clock_rate,
            basis: self.basis,
            spans: spans.collect(),
        }
    }
}

/// Gives every segment an origin on one clock.
fn settle_clock(candidates: &mut [Candidate<'_>]) {
    let first_delay = candidates.iter().find_map(Candidate::delay);
    for candidate in candidates.iter_mut() {
        let skewed = |delay: i64| first_delay.is_some_and(|first| (delay - first).abs() > MAX_SKEW);
        if candidate.delay().is_some_and(skewed) {
            candidate.origins.clear();
            candidate.basis = Basis::Arrival;
        }
    }
    let shift = candidates.iter().filter_map(Candidate::delay).min().unwrap_or(0);
    for candidate in candidates.iter_mut().filter(|candidate| candidate.origins.is_empty()) {
        candidate.origins.push((i64::MIN, candidate.segment.earliest - shift));
    }
}

#[cfg(test)]
mod tests {
    use super::super::rtp::RtpHeader;
    use super::*;

    const MS: i64 = 1_000_000;

    fn stream(ssrc: u32, first: u32, packets: u32, arrival: impl Fn(u32) -> i64) -> Timeline {
        let mut timeline = Timeline::default();
        for index in 0..packets {
            let header = RtpHeader {
                payload_type: 0,
                sequence: index as u16,
                timestamp: first.wrapping_add(index * 160),
                ssrc,
                marker: false,
            };
            timeline.packet(&header, 8000, arrival(index));
        }
        timeline
    }

    fn ntp(ms: u64) -> u64 {
        ((ms / 1000) << 32) | ((ms % 1000) << 32).div_ceil(1000)
    }

    #[test]
    fn sender_reports_align_two_streams_whatever_their_arrival() {
        let mut left = stream(1, 5000, 10, |_| 9000 * MS);
        let mut right = stream(2, 90_000, 10, |index| i64::from(index) * 20 * MS);
        left.sender_report(1, ntp(100_000), 5000);
        right.sender_report(2, ntp(100_250), 90_000);
        let layout = Layout::of(&[&left, &right], 8000);
        assert_eq!(layout.frame(0, 0, 5000), Some(0));
        assert_eq!(layout.frame(1, 0, 90_000), Some(2000));
        assert_eq!(layout.frame(1, 0, 90_160), Some(2160));
    }

    #[test]
    fn without_reports_the_least_delayed_packets_align_the_streams() {
        // The first stream was held for 3 s and delivered in a burst; both were live at 4 s.
        let left = stream(1, 0, 201, |index| (i64::from(index) * 20).max(3000) * MS + 7_000 * MS);
        let right = stream(2, 0, 201, |index| i64::from(index) * 20 * MS + 7_000 * MS);
        let layout = Layout::of(&[&left, &right], 8000);
        assert_eq!((layout.frame(0, 0, 0), layout.frame(1, 0, 0)), (Some(0), Some(0)));
        assert!(layout.bases(0).all(|basis| basis == Basis::Arrival));
    }

    #[test]
    fn a_stream_without_reports_joins_the_clock_of_one_that_has_them() {
        let mut left = stream(1, 0, 10, |index| i64::from(index) * 20 * MS + 50_010 * MS);
        left.sender_report(1, ntp(900_000), 0);
        let right = stream(2, 0, 10, |index| i64::from(index) * 20 * MS + 50_110 * MS);
        let layout = Layout::of(&[&left, &right], 8000);
        assert_eq!((layout.frame(0, 0, 0), layout.frame(1, 0, 0)), (Some(0), Some(800)));
    }

    #[test]
    fn clocks_that_are_decades_apart_are_not_believed() {
        let mut left = stream(1, 0, 10, |index| i64::from(index) * 20 * MS);
        left.sender_report(1, ntp(3_900_000_000_000), 0);
        let mut right = stream(2, 0, 10, |index| i64::from(index) * 20 * MS + 100 * MS);
        right.sender_report(2, ntp(5_000), 0);
        let layout = Layout::of(&[&left, &right], 8000);
        assert_eq!(layout.frame(1, 0, 0), Some(800));
        assert_eq!(layout.bases(1).collect::<Vec<_>>(), [Basis::Arrival]);
    }

    #[test]
    fn a_late_report_within_tolerance_moves_nothing_and_beyond_it_is_refused() {
        let mut left = stream(1, 0, 10, |_| 0);
        let right = stream(2, 0, 10, |_| 0);
        left.sender_report(1, ntp(1000), 0);
        let mut layout = Layout::of(&[&left, &right], 8000);
        let before = layout.clone();
        left.sender_report(1, ntp(1001), 0);
        assert!(layout.extend(&Layout::of(&[&left, &right], 8000), 160));
        assert_eq!(layout.frame(0, 0, 0), before.frame(0, 0, 0));
        let mut moved = stream(2, 0, 10, |_| 0);
        moved.sender_report(2, ntp(3000), 0);
        assert!(!layout.extend(&Layout::of(&[&left, &moved], 8000), 160));
    }

    #[test]
    fn a_later_segment_is_added_to_the_layout() {
        let mut left = stream(1, 0, 10, |_| 0);
        let mut layout = Layout::of(&[&left], 8000);
        let header = RtpHeader { payload_type: 0, sequence: 0, timestamp: 77, ssrc: 3, marker: false };
        left.packet(&header, 8000, 1000 * MS);
        assert!(layout.extend(&Layout::of(&[&left], 8000), 0));
        assert_eq!(layout.frame(0, 1, 77), Some(8000 + 9 * 160));
    }
}
