//! Sources whose keys somebody was asked for: each once, and of a flood few.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// Sources that are asked for at once. Beyond these, one in [`PATIENCE`], so that a flood of forged sources costs the
/// application little.
pub(crate) const MAX_ASKED: usize = 64;
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// Sources that go on (RFC 3550 §A.1), which forged ones at random do not, are asked for beside these, so many in
/// [`PATIENCE`].
pub(crate) const MOST_GOING_ON: usize = 20;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The latest last.
    sources: VecDeque<u32>,
    at: Option<Instant>,
    /// Those that were put off; `None` while nobody was.
    probation: Option<Box<Probation>>,
    /// How many of those were asked for since when.
    going_on: Option<(Instant, usize)>,
}

impl Asked {
    /// Whether somebody is to be asked for the key of a source, of which this is a packet, now. From here on somebody was.
    /// Where it says no, the source may have its turn with a later packet.
    pub(crate) fn admit(&mut self, ssrc: u32, sequence: u16, now: Instant) -> bool {
        if self.knows(ssrc) {
            return false;
        }
        if self.sources.len() >= MAX_ASKED {
            let goes_on = self.probation.get_or_insert_default().goes_on(ssrc, sequence);
            let has_turn = if goes_on { self.has_room_for_another(now) } else { self.is_patient(now) };
            if !has_turn {
                return false;
            }
            if !goes_on {
                self.at = Some(now);
            }
            self.sources.pop_front();
        } else {
            self.at = Some(now);
        }
        self.sources.push_back(ssrc);
        true
    }

    /// Whether somebody was asked for a source.
    pub(crate) fn knows(&self, ssrc: u32) -> bool {
        self.sources.contains(&ssrc)
    }

    /// A source may be asked for again.
    pub(crate) fn forget(&mut self, ssrc: u32) {
        self.sources.retain(|asked| *asked != ssrc);
    }

    /// All may.
    pub(crate) fn clear(&mut self) {
        self.sources.clear();
        self.probation = None;
    }

    fn is_patient(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now.saturating_duration_since(at) >= PATIENCE)
    }

    /// Counts one that goes on.
    fn has_room_for_another(&mut self, now: Instant) -> bool {
        let window = self.going_on.filter(|(since, _)| now.saturating_duration_since(*since) < PATIENCE);
        let (since, count) = window.unwrap_or((now, 0));
        self.going_on = Some((since, count + 1));
        count < MOST_GOING_ON
    }
}

/// The last sequence number of sources that were put off. Each has a place that another one may take over; nobody can tell
/// from outside which.
struct Probation {
    places: [Option<(u32, u16)>; PLACES],
    hash: RandomState,
}

/// So many that at 3000 forged packets a second a source keeps its place for the 20 ms between two of its packets, mostly.
const PLACES: usize = 1024;
/// How far a sequence number may be from the one before.
const MOST_STEP: u16 = 16;

impl Default for Probation {
    fn default() -> Self {
        Self { places: [None; PLACES], hash: RandomState::new() }
    }
}

impl std::fmt::Debug for Probation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probation").finish_non_exhaustive()
    }
}

impl Probation {
    /// Takes note of a packet. Says whether its source goes on from the one before.
    fn goes_on(&mut self, ssrc: u32, sequence: u16) -> bool {
        let place = usize::try_from(self.hash.hash_one(ssrc)).unwrap_or(usize::MAX) % PLACES;
        let Some(place) = self.places.get_mut(place) else { return false };
        let before = place.replace((ssrc, sequence)).filter(|(of, _)| *of == ssrc);
        before.is_some_and(|(_, before)| (1..=MOST_STEP).contains(&sequence.wrapping_sub(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that looks random, and is another one each time.
    fn forged(number: u32) -> (u32, u16) {
        let mixed = number.wrapping_mul(0x9E37_79B1);
        (mixed, (mixed >> 7) as u16)
    }

    #[test]
    fn a_source_that_goes_on_is_asked_for_in_the_middle_of_a_flood() {
        let start = Instant::now();
        for flood in [0_u32, 3, 60] {
            let mut asked = Asked::default();
            let mut questions = 0;
            for number in 0..MAX_ASKED as u32 {
                let (ssrc, sequence) = forged(number);
                assert!(asked.admit(ssrc, sequence, start));
            }
            // So many forged packets for each of its own, 20 ms apart, across a wrap.
            let turn = (0..500_u32).find(|packet| {
                let now = start + Duration::from_millis(20) * *packet;
                for number in 0..flood {
                    let (ssrc, sequence) = forged(1000 + packet * flood + number);
                    questions += u32::from(asked.admit(ssrc, sequence, now));
                }
                asked.admit(7, 65_534_u16.wrapping_add(*packet as u16), now)
            });
            assert!(turn.is_some_and(|turn| (1..50).contains(&turn)), "{flood}: {turn:?}");
            assert!(questions <= 1, "{flood}: {questions}");
            assert!(!asked.admit(7, 100, start + PATIENCE * 10), "each once");
        }
    }

    #[test]
    fn sources_that_go_on_are_asked_for_within_a_bound() {
        let start = Instant::now();
        let mut asked = Asked::default();
        let mut questions = [0; 2];
        for packet in 0..100_u16 {
            let now = start + Duration::from_millis(20) * u32::from(packet);
            for ssrc in 0..200_u32 {
                let second = usize::from(packet) / 50;
                questions[second] += usize::from(asked.admit(ssrc, packet, now));
            }
        }
        assert!(
            questions[0] <= MAX_ASKED + MOST_GOING_ON + 1 && questions[1] <= MOST_GOING_ON + 1,
            "{questions:?}"
        );
        assert!(questions[1] >= MOST_GOING_ON, "{questions:?}");
    }

    #[test]
    fn what_comes_once_or_repeats_itself_does_not_go_on() {
        let mut probation = Probation::default();
        assert!(!probation.goes_on(1, 10));
        assert!(!probation.goes_on(1, 10) && !probation.goes_on(1, 9) && !probation.goes_on(1, 40));
        assert!(probation.goes_on(1, 41) && probation.goes_on(1, 57) && !probation.goes_on(1, 74));
    }
}
