//! What is known of the recorders: who sits where, who lives, whose turn it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use siprec_model::RecordingKey;
use siprec_session::{
    Member, MemberState, NoRecorder, Pool, PoolName, RecorderPlace, RecorderTarget, RecorderWish, Recorders,
    Rotation,
};
use siprec_sip::Uri;

use super::bounds::Bounds;
use super::change::{RecorderChange, RecorderState};
use super::check::Verdict;
use super::view::{Health, PoolView, RecorderView};
use super::{HealthCheck, LONGEST_AWAY, PoolRules, Pools};

/// Most recorders outside of every pool of which anything is known; when there are more, what is over is forgotten.
const MOST_STRAYS: usize = 4096;

/// The pools, and the state of every recorder, whichever pool or list it is of.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    pools: Pools,
    /// What these say of recorders that are reached without them.
    bounds: Bounds,
    /// The pool that each recording has a recorder of, or had, until it is over.
    homes: HashMap<RecordingKey, PoolName>,
    /// Pools that are gone, as they were, for the recordings whose home they are.
    gone: HashMap<PoolName, Gone>,
    rotations: HashMap<PoolName, Rotation>,
    standings: HashMap<RecorderPlace, Standing>,
    /// By recording and attempt.
    seats: BTreeMap<(RecordingKey, u32), Seat>,
    forget_from: usize,
}

/// What is known of a recorder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    sessions: u32,
    chosen: u64,
    away_until: Option<Instant>,
    health: Health,
    /// How it is shown.
    shown: String,
    /// Questions in a row that speak against its health as it counts now.
    doubts: u32,
}

/// A pool that is gone, and how many recordings it is still the home of.
#[derive(Clone, Debug)]
struct Gone {
    rules: PoolRules,
    recordings: usize,
}

/// An attempt's place at a recorder.
#[derive(Clone, Debug)]
struct Seat {
    at: RecorderPlace,
    longest_away: Duration,
    /// The recorder has the session no more, although its dialog is not over.
    is_vacant: bool,
}

/// The agent's doors and its loop have it in common; neither holds it for long.
pub(crate) fn lock(roster: &Mutex<Roster>) -> MutexGuard<'_, Roster> {
    roster.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Roster {
    pub(crate) fn new(pools: Pools) -> Self {
        Self { bounds: Bounds::of(&pools), pools, ..Self::default() }
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Has other pools from now on. What is known of the recorders stays; sessions too. A recording whose pool is gone chooses by
    /// what that was, should it lose its recorder.
    pub(crate) fn replace(&mut self, pools: Pools, now: Instant) {
        self.bounds = Bounds::of(&pools);
        let before = std::mem::replace(&mut self.pools, pools);
        for (name, rules) in before.iter().filter(|(name, _)| self.pools.get(name).is_none()) {
            let recordings = self.homes.values().filter(|home| *home == name).count();
            self.gone.insert(name.clone(), Gone { rules: rules.clone(), recordings });
        }
        self.gone.retain(|name, gone| gone.recordings > 0 && self.pools.get(name).is_none());
        self.rotations.retain(|name, _| self.pools.get(name).is_some() || self.gone.contains_key(name));
        let checked = self.pools.iter().filter(|(_, rules)| rules.health_check.is_some());
        let checked: HashSet<RecorderPlace> = checked.flat_map(|(_, rules)| addresses(&rules.pool)).collect();
        // Of one that is not asked any more nothing is known.
        for (_, standing) in self.standings.iter_mut().filter(|(address, _)| !checked.contains(address)) {
            (standing.health, standing.doubts) = (Health::Unknown, 0);
        }
        self.forget(now);
    }

    /// Chooses the recorder of an attempt, and gives it a seat there.
    pub(crate) fn choose(
        &mut self,
        (key, attempt): (RecordingKey, u32),
        wish: &RecorderWish,
        now: Instant,
    ) -> Result<RecorderTarget, NoRecorder> {
        let named = match &wish.recorders {
            Recorders::Pool { name, .. } => Some(name),
            Recorders::Listed(_) => None,
        };
        // As the pool is, or as it was where it is gone and the recording's home.
        let gone = named.filter(|name| self.homes.get(&key) == Some(*name));
        let gone = gone.and_then(|name| self.gone.get(name)).map(|gone| &gone.rules);
        let rules = named
            .map(|name| self.pools.get(name).or(gone).ok_or_else(|| NoRecorder::UnknownPool(name.clone())));
        let rules = rules.transpose()?;
        let longest_away = rules.map_or(LONGEST_AWAY, |rules| rules.longest_away);
        let mut rotation = named.and_then(|name| self.rotations.remove(name)).unwrap_or_default();
        let chosen = match (&wish.redirect, rules) {
            (Some(redirect), rules) => {
                let pool = Pool {
                    members: vec![self.sent_to(rules, redirect, wish)],
                    location_policy: rules.map(|rules| rules.pool.location_policy).unwrap_or_default(),
                    ..Pool::default()
                };
                self.choose_in(&pool, &mut Rotation::default(), wish, now)
            }
            (None, Some(rules)) => self.choose_in(&rules.pool, &mut rotation, wish, now),
            (None, None) => {
                let mut pool = Pool::ordered(wish.recorders.listed().iter().cloned());
                pool.members = pool.members.into_iter().map(|member| self.bounds.bind(member)).collect();
                self.choose_in(&pool, &mut rotation, wish, now)
            }
        };
        if let Some(name) = named {
            self.rotations.insert(name.clone(), rotation);
        }
        let target = chosen?;
        if let Some(name) = named
            && self.homes.get(&key) != Some(name)
        {
            self.homes.insert(key, name.clone());
        }
        let at = RecorderPlace::of(&target.uri);
        let standing = self.standings.entry(at.clone()).or_default();
        standing.chosen += 1;
        standing.shown = target.shown();
        self.sit(key, attempt, Seat { at, longest_away, is_vacant: false });
        Ok(target)
    }

    /// Where a recorder sends somebody: one of the pool, as that says, or a stranger.
    fn sent_to(&self, rules: Option<&PoolRules>, redirect: &RecorderTarget, wish: &RecorderWish) -> Member {
        let members = rules.map(|rules| rules.pool.members.as_slice()).unwrap_or_default();
        let known = members.iter().find(|member| member.target.is_at(&redirect.uri));
        // A stranger is where whoever sends there wants it to be.
        let stranger =
            || Member { location: wish.location().map(str::to_owned), ..Member::new(redirect.clone()) };
        known.cloned().unwrap_or_else(|| self.bounds.bind(stranger()))
    }

    fn choose_in(
        &self,
        pool: &Pool,
        rotation: &mut Rotation,
        wish: &RecorderWish,
        now: Instant,
    ) -> Result<RecorderTarget, NoRecorder> {
        let of_copy = |key: &RecordingKey| self.seats.range((*key, 0)..=(*key, u32::MAX));
        let copied: Vec<&RecorderPlace> =
            wish.other_copies.iter().flat_map(of_copy).map(|(_, seat)| &seat.at).collect();
        let state = |member: &Member| {
            let has_other_copy = copied.contains(&&RecorderPlace::of(&member.target.uri));
            MemberState { has_other_copy, ..self.state(&member.target.uri) }
        };
        let states: Vec<MemberState> = pool.members.iter().map(state).collect();
        let chosen = pool.choose(&states, rotation, wish, now)?;
        // The choice is an index into what it was given.
        let member = pool.members.get(chosen).ok_or(NoRecorder::Unfit(siprec_session::Unfit::default()))?;
        Ok(member.target.clone())
    }

    fn state(&self, uri: &Uri) -> MemberState {
        let standing = self.standings.get(&RecorderPlace::of(uri));
        standing.map_or_else(MemberState::default, |standing| MemberState {
            sessions: standing.sessions,
            unhealthy: standing.health == Health::Dead,
            away_until: standing.away_until,
            ..MemberState::default()
        })
    }

    /// An attempt goes to this recorder, whether it was chosen or is tried at another address of it.
    pub(crate) fn go_to(&mut self, key: RecordingKey, attempt: u32, recorder: &Uri) {
        if !self.seats.contains_key(&(key, attempt)) {
            let at = RecorderPlace::of(recorder);
            let of_earlier = self.seats.range((key, 0)..(key, attempt)).next_back();
            let longest_away = of_earlier
                .filter(|(_, seat)| seat.at == at)
                .map_or(LONGEST_AWAY, |(_, seat)| seat.longest_away);
            self.sit(key, attempt, Seat { at, longest_away, is_vacant: false });
        }
    }

    fn sit(&mut self, key: RecordingKey, attempt: u32, seat: Seat) {
        self.standings.entry(seat.at.clone()).or_default().sessions += 1;
        self.seats.insert((key, attempt), seat);
    }

    /// The recorder of an attempt wants to be left alone.
    pub(crate) fn send_away(
        &mut self,
        (key, attempt): (RecordingKey, u32),
        delay: Duration,
        now: Instant,
    ) -> Option<RecorderChange> {
        let seat = self.seats.get(&(key, attempt))?;
        let delay = delay.min(seat.longest_away);
        let standing = self.standings.get_mut(&seat.at)?;
        standing.away_until = standing.away_until.max(Some(now + delay));
        (!delay.is_zero()).then(|| RecorderChange {
            recorder: standing.shown.clone(),
            state: RecorderState::Away,
            reason: format!("it is busy, and wants to be left alone for {} s", delay.as_secs()),
        })
    }

    /// The recorder of an attempt did not answer it, or could not be reached, which counts as an unanswered question where it is
    /// asked any.
    pub(crate) fn miss(
        &mut self,
        (key, attempt): (RecordingKey, u32),
        unreached: Option<String>,
    ) -> Option<RecorderChange> {
        let at = self.seats.get(&(key, attempt))?.at.clone();
        let check = self.pools.iter().find_map(|(_, rules)| {
            rules.health_check.filter(|_| addresses(&rules.pool).any(|address| address == at))
        });
        let reason = match unreached {
            Some(why) => format!("no INVITE reaches it: {why}"),
            None => "it does not answer an INVITE".to_owned(),
        };
        self.judge(&at, check?, Verdict::Dead(reason))
    }

    /// Whether a recorder wants to be left alone.
    pub(crate) fn is_away(&self, address: &RecorderPlace, now: Instant) -> bool {
        let until = self.standings.get(address).and_then(|standing| standing.away_until);
        until.is_some_and(|until| now < until)
    }

    /// Takes the outcome of a question whether a recorder lives. Says whether it counts otherwise from now on.
    pub(crate) fn judge(
        &mut self,
        address: &RecorderPlace,
        check: HealthCheck,
        verdict: Verdict,
    ) -> Option<RecorderChange> {
        // It may have left every pool meanwhile.
        let member = self.pools.iter().flat_map(|(_, rules)| &rules.pool.members);
        let shown = member
            .map(|member| &member.target)
            .find(|target| RecorderPlace::of(&target.uri) == *address)?
            .shown();
        let standing = self.standings.entry(address.clone()).or_default();
        standing.shown = shown;
        let (health, needed, state, reason) = match verdict {
            // The first answer of all is enough.
            Verdict::Alive(reason) if standing.health == Health::Unknown => {
                (Health::Alive, 1, RecorderState::Alive, reason)
            }
            Verdict::Alive(reason) => (Health::Alive, check.recoveries, RecorderState::Alive, reason),
            Verdict::Dead(reason) => (Health::Dead, check.failures, RecorderState::Dead, reason),
        };
        if standing.health == health {
            standing.doubts = 0;
            return None;
        }
        standing.doubts += 1;
        if standing.doubts < needed {
            return None;
        }
        standing.doubts = 0;
        standing.health = health;
        Some(RecorderChange { recorder: standing.shown.clone(), state, reason })
    }

    /// The recorder of an attempt has the session no more: whoever lost it may be tried again at once, be it full or not.
    pub(crate) fn vacate(&mut self, key: RecordingKey, attempt: u32) {
        let Some(seat) = self.seats.get_mut(&(key, attempt)) else { return };
        if !std::mem::replace(&mut seat.is_vacant, true)
            && let Some(standing) = self.standings.get_mut(&seat.at)
        {
            standing.sessions = standing.sessions.saturating_sub(1);
        }
    }

    /// An attempt is over.
    pub(crate) fn leave(&mut self, key: RecordingKey, attempt: u32, now: Instant) {
        self.vacate(key, attempt);
        if self.seats.remove(&(key, attempt)).is_none() {
            return;
        }
        if self.standings.len() > self.forget_from.max(MOST_STRAYS) {
            self.forget(now);
            // What is left may be many; they are not looked through again for every one that leaves.
            self.forget_from = self.standings.len() * 2;
        }
    }

    /// A recording is over.
    pub(crate) fn leave_all(&mut self, key: RecordingKey, now: Instant) {
        let attempts: Vec<u32> =
            self.seats.range((key, 0)..=(key, u32::MAX)).map(|((_, attempt), _)| *attempt).collect();
        for attempt in attempts {
            self.leave(key, attempt, now);
        }
        if let Some(home) = self.homes.remove(&key)
            && let Some(gone) = self.gone.get_mut(&home)
        {
            gone.recordings = gone.recordings.saturating_sub(1);
            if gone.recordings == 0 {
                self.gone.remove(&home);
                self.rotations.remove(&home);
            }
        }
    }

    /// Forgets recorders that no pool has, that have no session, and that may be spoken to.
    fn forget(&mut self, now: Instant) {
        let pooled: HashSet<RecorderPlace> =
            self.pools.iter().flat_map(|(_, rules)| addresses(&rules.pool)).collect();
        self.standings.retain(|address, standing| {
            standing.sessions > 0
                || standing.away_until.is_some_and(|until| now < until)
                || pooled.contains(address)
        });
    }

    /// What is to be seen.
    pub(crate) fn view(&self, now: Instant) -> Vec<PoolView> {
        let recorder = |member: &Member| {
            let standing =
                self.standings.get(&RecorderPlace::of(&member.target.uri)).cloned().unwrap_or_default();
            RecorderView {
                uri: member.target.shown(),
                weight: member.weight,
                capacity: member.capacity,
                location: member.location.clone(),
                drained: member.drained,
                sessions: standing.sessions,
                chosen: standing.chosen,
                health: standing.health,
                away: standing
                    .away_until
                    .map(|until| until.saturating_duration_since(now))
                    .filter(|left| !left.is_zero()),
            }
        };
        let pools = self.pools.iter().map(|(name, rules)| PoolView {
            name: name.clone(),
            strategy: rules.pool.strategy,
            location_policy: rules.pool.location_policy,
            recorders: rules.pool.members.iter().map(recorder).collect(),
        });
        pools.collect()
    }
}

fn addresses(pool: &Pool) -> impl Iterator<Item = RecorderPlace> + '_ {
    pool.members.iter().map(|member| RecorderPlace::of(&member.target.uri))
}

#[cfg(test)]
#[path = "roster/tests.rs"]
mod tests;
