//! The choice: a function of the pool, its state, what is wished, and whose turn it is.

use std::cmp::Reverse;
use std::time::Instant;

use super::{LocationPolicy, Member, MemberState, NoRecorder, Pool, RecorderWish, Strategy, Unfit};

/// Whose turn it is in a pool: what each recorder is owed, in sessions times weights. It fits a pool of any size, and
/// begins anew where the pool has changed its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation(Vec<i64>);

/// How well a recorder fits; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// One that may be dead comes after all others, but it does come: trying beats a certain failure.
    unhealthy: bool,
    elsewhere: bool,
}

/// Why a recorder is out of the question.
enum Bar {
    Tried,
    OtherCopy,
    Drained,
    Elsewhere,
    Away,
    Full,
}

impl Pool {
    /// Chooses the recorder of a session: an index into the members. `states` has one entry for each of them.
    ///
    /// Never chosen are recorders that the session has tried, that have another copy of its recording, that are drained, that are at their capacity, that asked
    /// to come back later, and where the location is strict those elsewhere. Among the others the healthy come before
    /// the unhealthy, then those of the location before others; among equals the strategy decides, unless one of them is
    /// the companion, which is then chosen (but an order is never changed for that).
    ///
    /// # Errors
    /// There is none, and why.
    pub fn choose(
        &self,
        states: &[MemberState],
        rotation: &mut Rotation,
        wish: &RecorderWish,
        now: Instant,
    ) -> Result<usize, NoRecorder> {
        let mut unfit = Unfit::default();
        let mut fitting: Vec<(Fit, usize)> = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            let state = states.get(index).copied().unwrap_or_default();
            match self.bar(member, state, wish, now) {
                Some(Bar::Tried) => unfit.tried += 1,
                Some(Bar::OtherCopy) => unfit.other_copy += 1,
                Some(Bar::Drained) => unfit.drained += 1,
                Some(Bar::Elsewhere) => unfit.elsewhere += 1,
                Some(Bar::Away) => unfit.away += 1,
                Some(Bar::Full) => unfit.full += 1,
                None => {
                    let elsewhere = is_elsewhere(member, wish);
                    fitting.push((Fit { unhealthy: state.unhealthy, elsewhere }, index));
                }
            }
        }
        let Some(best) = fitting.iter().map(|(fit, _)| *fit).min() else {
            return Err(NoRecorder::Unfit(unfit));
        };
        let best: Vec<usize> =
            fitting.into_iter().filter(|(fit, _)| *fit == best).map(|(_, index)| index).collect();
        let chosen = match self.strategy {
            Strategy::Ordered => best.first().copied(),
            Strategy::RoundRobin => self.companion(&best, wish).or_else(|| self.turn(&best, rotation)),
            Strategy::LeastUsed => {
                self.companion(&best, wish).or_else(|| self.turn(&self.least_used(&best, states), rotation))
            }
        };
        chosen.ok_or(NoRecorder::Unfit(unfit))
    }

    fn bar(&self, member: &Member, state: MemberState, wish: &RecorderWish, now: Instant) -> Option<Bar> {
        let bars = [
            (wish.has_tried(&member.target), Bar::Tried),
            (state.has_other_copy, Bar::OtherCopy),
            (member.drained, Bar::Drained),
            (self.location_policy == LocationPolicy::Strict && is_elsewhere(member, wish), Bar::Elsewhere),
            (state.away_until.is_some_and(|until| now < until), Bar::Away),
            (member.capacity.is_some_and(|capacity| state.sessions >= capacity), Bar::Full),
        ];
        bars.into_iter().find_map(|(applies, bar)| applies.then_some(bar))
    }

    fn companion(&self, among: &[usize], wish: &RecorderWish) -> Option<usize> {
        let companion = wish.companion.as_ref()?;
        let is_it =
            |index: usize| self.members.get(index).is_some_and(|member| member.target.is_at(companion));
        among.iter().copied().find(|index| is_it(*index))
    }

    /// Those with the fewest sessions for their weight.
    fn least_used(&self, among: &[usize], states: &[MemberState]) -> Vec<usize> {
        let load = |index: &usize| {
            let sessions = states.get(*index).map_or(0, |state| u64::from(state.sessions));
            (sessions, self.weight(*index))
        };
        // a/b < c/d as a*d < c*b, since a ratio of whole numbers has no rounding then.
        let less = |(a, b): (u64, u64), (c, d): (u64, u64)| a * d < c * b;
        let is_least = |index: &&usize| !among.iter().any(|other| less(load(other), load(index)));
        among.iter().filter(is_least).copied().collect()
    }

    /// The one that is owed most, after each was given its weight; it pays for all. Over any time in which the same
    /// take part each gets its share, and nobody waits longer than the weights require.
    fn turn(&self, among: &[usize], rotation: &mut Rotation) -> Option<usize> {
        if rotation.0.len() != self.members.len() {
            rotation.0 = vec![0; self.members.len()];
        }
        let mut total = 0;
        for index in among {
            let weight = i64::try_from(self.weight(*index)).unwrap_or(1);
            total += weight;
            if let Some(owed) = rotation.0.get_mut(*index) {
                *owed += weight;
            }
        }
        let owed = |index: usize| rotation.0.get(index).copied().unwrap_or_default();
        let chosen = among.iter().copied().max_by_key(|index| (owed(*index), Reverse(*index)))?;
        if let Some(owed) = rotation.0.get_mut(chosen) {
            *owed -= total;
        }
        Some(chosen)
    }

    fn weight(&self, index: usize) -> u64 {
        self.members.get(index).map_or(1, |member| u64::from(member.weight.max(1)))
    }
}

/// Whether a recorder is not in the location that is asked for.
fn is_elsewhere(member: &Member, wish: &RecorderWish) -> bool {
    wish.location().is_some_and(|wanted| member.location.as_deref() != Some(wanted))
}
