//! Sound of two sources in one place.

use std::ops::Range;

/// A stretch in which two segments have sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    /// Frames of the WAV.
    pub(crate) frames: Range<i64>,
    /// The segment that came later, and is written over the other.
    pub(crate) heard: usize,
    pub(crate) covered: usize,
}

/// What stretches of different segments have in common, in order; at most the first `most`.
pub(crate) fn overlaps(mut sounds: Vec<(Range<i64>, usize)>, most: usize) -> Vec<Overlap> {
    sounds.retain(|(frames, _)| !frames.is_empty());
    sounds.sort_by_key(|(frames, segment)| (frames.start, *segment));
    let mut found: Vec<Overlap> = Vec::new();
    let mut sounding: Vec<(Range<i64>, usize)> = Vec::new();
    for (frames, segment) in sounds {
        sounding.retain(|(before, _)| before.end > frames.start);
        for (before, other) in sounding.iter().filter(|(_, other)| *other != segment) {
            let common = frames.start..frames.end.min(before.end);
            let (heard, covered) = (segment.max(*other), segment.min(*other));
            let goes_on = |last: &&mut Overlap| {
                (last.heard, last.covered, last.frames.end) == (heard, covered, common.start)
            };
            if let Some(last) = found.iter_mut().rev().take(sounding.len()).find(goes_on) {
                last.frames.end = common.end;
            } else if found.len() < most {
                found.push(Overlap { frames: common, heard, covered });
            } else {
                return found;
            }
        }
        sounding.push((frames, segment));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sounds: &[(Range<i64>, usize)]) -> Vec<(Range<i64>, usize, usize)> {
        let found = overlaps(sounds.to_vec(), 10).into_iter();
        found.map(|overlap| (overlap.frames, overlap.heard, overlap.covered)).collect()
    }

    #[test]
    fn what_two_segments_have_in_common_is_found_whichever_began_first() {
        assert_eq!(of(&[(0..10, 0), (10..20, 1), (15..25, 0)]), [(15..20, 1, 0)]);
        assert_eq!(of(&[(5..15, 0), (0..10, 1)]), [(5..10, 1, 0)]);
        assert_eq!(of(&[(0..30, 0), (0..10, 1), (20..40, 1)]), [(0..10, 1, 0), (20..30, 1, 0)]);
        assert_eq!(of(&[(0..10, 0), (3..5, 1), (4..6, 2)]), [(3..5, 1, 0), (4..6, 2, 0), (4..5, 2, 1)]);
    }

    #[test]
    fn stretches_of_one_segment_and_empty_ones_overlap_nothing() {
        assert_eq!(of(&[(0..10, 3), (5..15, 3), (7..7, 1)]), []);
    }

    #[test]
    fn a_stretch_that_goes_on_in_the_next_is_one() {
        assert_eq!(of(&[(0..30, 0), (5..10, 1), (10..20, 1)]), [(5..20, 1, 0)]);
    }

    #[test]
    fn there_is_a_bound() {
        let sounds = (0..100).flat_map(|n| [(n * 10..n * 10 + 5, 0), (n * 10..n * 10 + 3, 1)]).collect();
        assert_eq!(overlaps(sounds, 10).len(), 10);
    }
}
