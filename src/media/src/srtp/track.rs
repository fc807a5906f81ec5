//! What is known of the sources of a call whose packets were authentic.

use super::rollover::{estimate, rounds_about};
use super::window::{Known, Window};

/// Sources that are known at once.
pub(crate) const MAX_SOURCES: usize = 64;

/// The sources of a call that have sent an authentic packet.
///
/// There are 64 at most: a new one replaces the one silent for longest. Forgeries make none.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    known: Vec<Source>,
    /// Place of the source of the last packet: nearly always that of the next one too.
    last: usize,
    clock: u64,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    rtp: Track,
    rtcp: Track,
    /// When it sent last, in authentic packets.
    sent: u64,
}

/// The indices that one source has used. Copied out, judged, and put back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Track {
    window: Window,
    /// The key of the last packet.
    key: u64,
    /// The newest key that it has used.
    newest_key: u64,
    /// The oldest key that it may still use: since it began again at a lower index, older ones could be replayed.
    oldest_key: u64,
}

impl Sources {
    pub(crate) fn rtp(&mut self, ssrc: u32) -> Track {
        self.find(ssrc).map(|source| source.rtp).unwrap_or_default()
    }

    pub(crate) fn rtcp(&mut self, ssrc: u32) -> Track {
        self.find(ssrc).map(|source| source.rtcp).unwrap_or_default()
    }

    pub(crate) fn put_rtp(&mut self, ssrc: u32, track: Track) {
        if let Some(source) = self.authentic(ssrc) {
            source.rtp = track;
        }
    }

    pub(crate) fn put_rtcp(&mut self, ssrc: u32, track: Track) {
        if let Some(source) = self.authentic(ssrc) {
            source.rtcp = track;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// Each with its highest index of RTP.
    pub(crate) fn highest(&self) -> impl Iterator<Item = (u32, u64)> {
        self.known.iter().filter_map(|source| Some((source.ssrc, source.rtp.highest()?)))
    }

    fn find(&mut self, ssrc: u32) -> Option<&mut Source> {
        if self.known.get(self.last).is_none_or(|source| source.ssrc != ssrc) {
            self.last = self.known.iter().position(|source| source.ssrc == ssrc)?;
        }
        self.known.get_mut(self.last)
    }

    /// The source, new or known, of a packet that was authentic.
    fn authentic(&mut self, ssrc: u32) -> Option<&mut Source> {
        self.clock += 1;
        if self.find(ssrc).is_none() {
            let new = Source { ssrc, rtp: Track::default(), rtcp: Track::default(), sent: 0 };
            if self.known.len() < MAX_SOURCES {
                // Most streams have one source for good.
                self.known.reserve_exact(1);
                self.known.push(new);
            } else if let Some(silent) = self.known.iter_mut().min_by_key(|source| source.sent) {
                *silent = new;
            }
        }
        let now = self.clock;
        let source = self.find(ssrc)?;
        source.sent = now;
        Some(source)
    }
}

impl Track {
    /// The key that the next packet most likely has.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// The highest index.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.window.highest()
    }

    /// Whether a packet of this key, or of a newer one, was authentic.
    pub(crate) fn has_used(&self, key: u64) -> bool {
        key <= self.newest_key
    }

    /// Whether packets of a key are still taken.
    pub(crate) fn admits(&self, key: u64) -> bool {
        key >= self.oldest_key
    }

    /// Whether an index is new under a key. Under one that the source has not used yet, each is.
    pub(crate) fn check(&self, key: u64, index: u64) -> Result<(), Known> {
        if self.has_used(key) { self.window.check(index) } else { Ok(()) }
    }

    /// Notes the index of an authentic packet.
    pub(crate) fn note(&mut self, key: u64, index: u64) {
        if !self.has_used(key) {
            if self.window.check(index).is_err() {
                // It began again: what the older keys have protected must not come again under the new indices.
                self.window = Window::default();
                self.oldest_key = key;
            }
            self.newest_key = key;
        }
        self.key = key;
        self.window.note(index);
    }
}

/// Indices that a packet may have, the likeliest first, without repetition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guesses {
    indices: [u64; 12],
    count: usize,
}

impl Guesses {
    /// Around each place of the stream that is known or believed.
    fn around(places: impl IntoIterator<Item = u64>, sequence: u16) -> Self {
        let mut guesses = Self::default();
        for place in places {
            let index = nearest(place, sequence);
            guesses.push(index);
            for round in rounds_about(index).into_iter().flatten() {
                guesses.push(round);
            }
        }
        guesses
    }

    /// The same one by one. Nearly always the first is right, so the others are only thought of after it.
    pub(crate) fn each(
        places: impl Iterator<Item = u64> + Clone,
        sequence: u16,
    ) -> impl Iterator<Item = u64> {
        let likeliest = places.clone().next().map(|place| nearest(place, sequence));
        let all = std::iter::once_with(move || Self::around(places, sequence));
        let others = all.flat_map(|guesses| guesses.indices.into_iter().take(guesses.count)).skip(1);
        likeliest.into_iter().chain(others)
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.indices.iter().copied().take(self.count)
    }

    fn push(&mut self, index: u64) {
        if !self.iter().any(|known| known == index)
            && let Some(free) = self.indices.get_mut(self.count)
        {
            *free = index;
            self.count += 1;
        }
    }
}

/// The index of a sequence number that lies nearest to a place.
fn nearest(place: u64, sequence: u16) -> u64 {
    // Before the first round and after the last there is none: then it can only be this one.
    estimate(place, sequence).unwrap_or((place & !0xFFFF) | u64::from(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_source_replaces_the_one_silent_for_longest() {
        let mut sources = Sources::default();
        for ssrc in 0..64 {
            let mut track = sources.rtp(ssrc);
            track.note(1, u64::from(ssrc));
            sources.put_rtp(ssrc, track);
        }
        let track = sources.rtcp(0);
        sources.put_rtcp(0, track);
        let track = sources.rtp(64);
        sources.put_rtp(64, track);
        assert_eq!(sources.count(), MAX_SOURCES);
        assert_eq!(sources.rtp(0).highest(), Some(0));
        assert_eq!(sources.rtp(1).highest(), None);
    }

    #[test]
    fn a_source_that_begins_again_under_a_new_key_bars_the_older_ones() {
        let mut track = Track::default();
        track.note(1, 70_000);
        track.note(2, 70_001);
        assert!(track.admits(1), "the old key is valid for a while");
        assert_eq!(track.check(1, 70_001), Err(Known::Repeated));
        assert_eq!(track.check(3, 5), Ok(()));
        track.note(3, 5);
        assert!(!track.admits(1) && !track.admits(2) && track.admits(3));
        assert_eq!(track.check(3, 5), Err(Known::Repeated));
        assert_eq!(track.highest(), Some(5));
    }

    #[test]
    fn guesses_are_the_place_and_a_round_either_way_once_each() {
        let guesses = |places: &[u64]| -> Vec<u64> { Guesses::each(places.iter().copied(), 0x10).collect() };
        assert_eq!(guesses(&[0x2_0005]), [0x2_0010, 0x3_0010, 0x1_0010]);
        assert_eq!(guesses(&[0x2_0005, 0x3_0005]), [0x2_0010, 0x3_0010, 0x1_0010, 0x4_0010]);
        assert_eq!(guesses(&[5]), [0x10, 0x1_0010]);
        assert_eq!(Guesses::each([5].into_iter(), 0xFFF0).collect::<Vec<_>>(), [0xFFF0, 0x1_FFF0]);
        assert_eq!(guesses(&[]), []);
    }
}
