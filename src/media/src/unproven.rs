//! What a recorder's host has refused and takes again, for as long as no receiver report has said what has come of it.

use siprec_model::INSISTENT_FOR;

/// In nanoseconds.
const SHORTEST: u64 = INSISTENT_FOR.as_nanos() as u64;
/// A host says once a second that it refuses something (Linux: `icmp_ratelimit`): it may have gone on for so long behind the last
/// time that it said so, in nanoseconds.
const UNSAID: u64 = 1_000_000_000;
/// So many stretches are remembered; of more, the oldest two become one.
const MOST: usize = 32;

/// Stretches of a stream that were refused, a second or more each, of a recorder that had reported before: its next report says what
/// has come. It may not live to send one, and the call may end first.
#[derive(Debug, Default)]
pub(crate) struct Unproven(Vec<Stretch>);

/// What was refused at once.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// When the first of it left, and the last may have, in nanoseconds since the branch was made.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// What had been sent of each source when the first was refused: the index of its last packet.
    marks: Vec<(u32, u64)>,
    /// It was said to be worth another session.
    is_told: bool,
}

impl Stretch {
    /// Whether something that was refused from `first` on is of this one.
    fn goes_on(&self, first: u64) -> bool {
        !self.is_told && first <= self.last
    }
}

impl Unproven {
    /// What left from `first` on until `last` was refused, when each source had been sent up to its mark. Where that is said once more of
    /// what goes on, the first marks count.
    pub(crate) fn note(&mut self, first: u64, last: u64, marks: Vec<(u32, u64)>) {
        if last.saturating_sub(first) < SHORTEST {
            return;
        }
        let last = last.saturating_add(UNSAID);
        if let Some(before) = self.0.last_mut().filter(|before| before.goes_on(first)) {
            before.first = before.first.min(first);
            before.last = before.last.max(last);
            return;
        }
        self.0.push(Stretch { first, last, marks, is_told: false });
        if self.0.len() > MOST {
            let oldest = self.0.remove(0);
            if let Some(next) = self.0.first_mut() {
                next.first = oldest.first;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the first of all left.
    pub(crate) fn first(&self) -> Option<u64> {
        self.0.first().map(|stretch| stretch.first)
    }

    /// A report has come of a source: what was refused before what it is `beyond` the mark of it speaks of.
    pub(crate) fn prove(&mut self, ssrc: u32, beyond: impl Fn(u64) -> bool) -> Vec<Stretch> {
        let is_proven =
            |stretch: &mut Stretch| stretch.marks.iter().any(|(of, sent)| *of == ssrc && beyond(*sent));
        self.0.extract_if(.., is_proven).collect()
    }

    /// Those that were not said to be worth another session. They count as told from here on.
    pub(crate) fn take_untold(&mut self) -> impl Iterator<Item = &Stretch> {
        self.0.iter_mut().filter_map(|stretch| {
            let was_told = std::mem::replace(&mut stretch.is_told, true);
            (!was_told).then_some(&*stretch)
        })
    }

    /// All of them: no report will speak of them.
    pub(crate) fn take(&mut self) -> Vec<Stretch> {
        std::mem::take(&mut self.0)
    }
}
