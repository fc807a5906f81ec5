//! The choice of a recorder out of a pool.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use siprec_session::{
    LocationPolicy, Member, MemberState, NoRecorder, Pool, RecorderTarget, RecorderWish, Recorders, Rotation,
    Strategy as Choosing, Unfit,
};
use support::{random_settings, uri};

fn member(name: usize) -> Member {
    Member::new(RecorderTarget::new(uri(&format!("sip:r{name}.example"))))
}

fn pool(strategy: Choosing, weights: &[u16]) -> Pool {
    let members = weights.iter().enumerate().map(|(name, weight)| Member { weight: *weight, ..member(name) });
    Pool { strategy, location_policy: LocationPolicy::Overflow, members: members.collect() }
}

fn wish() -> RecorderWish {
    wish_in(None)
}

fn wish_in(location: Option<&str>) -> RecorderWish {
    let recorders = Recorders::Pool { name: "east".parse().unwrap(), location: location.map(str::to_owned) };
    RecorderWish { recorders, tried: Vec::new(), companion: None, other_copies: Vec::new(), redirect: None }
}

/// A pool with its state, as an agent has it: sessions begin, and never end.
struct Busy {
    pool: Pool,
    states: Vec<MemberState>,
    rotation: Rotation,
    now: Instant,
}

impl Busy {
    fn new(pool: Pool) -> Self {
        let states = vec![MemberState::default(); pool.members.len()];
        Self { pool, states, rotation: Rotation::default(), now: Instant::now() }
    }

    fn choose(&mut self, wish: &RecorderWish) -> Result<usize, NoRecorder> {
        let chosen = self.pool.choose(&self.states, &mut self.rotation, wish, self.now)?;
        self.states[chosen].sessions += 1;
        Ok(chosen)
    }

    fn choices(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.choose(&wish()).unwrap()).collect()
    }
}

fn unfit(refusal: NoRecorder) -> Unfit {
    match refusal {
        NoRecorder::Unfit(unfit) => unfit,
        NoRecorder::UnknownPool(name) => panic!("{name} is known"),
    }
}

#[test]
fn an_ordered_pool_takes_the_first_until_it_is_full_then_the_next() {
    let mut busy = Busy::new(pool(Choosing::Ordered, &[1, 9, 9]));
    busy.pool.members[0].capacity = Some(2);
    busy.pool.members[1].capacity = Some(1);
    assert_eq!(busy.choices(5), [0, 0, 1, 2, 2]);
    busy.states[0].sessions -= 1;
    assert_eq!(busy.choices(2), [0, 2]);
}

#[test]
fn round_robin_mixes_evenly_by_weight() {
    let mut busy = Busy::new(pool(Choosing::RoundRobin, &[1, 1, 1]));
    assert_eq!(busy.choices(7), [0, 1, 2, 0, 1, 2, 0]);
    let mut busy = Busy::new(pool(Choosing::RoundRobin, &[4, 2, 1]));
    assert_eq!(busy.choices(7), [0, 1, 0, 2, 0, 1, 0]);
}

#[test]
fn least_used_counts_sessions_against_weights_and_takes_turns_among_equals() {
    let mut busy = Busy::new(pool(Choosing::LeastUsed, &[1, 1]));
    busy.states[0].sessions = 2;
    assert_eq!(busy.choices(4), [1, 1, 0, 1]);
    let mut busy = Busy::new(pool(Choosing::LeastUsed, &[3, 1]));
    busy.choices(8);
    assert_eq!(busy.states.iter().map(|state| state.sessions).collect::<Vec<_>>(), [6, 2]);
}

#[test]
fn a_pool_that_changes_its_size_goes_on() {
    let mut busy = Busy::new(pool(Choosing::RoundRobin, &[1, 1]));
    busy.choices(3);
    busy.pool.members.push(member(2));
    busy.states.push(MemberState::default());
    let mut next = busy.choices(3);
    next.sort_unstable();
    assert_eq!(next, [0, 1, 2]);
}

#[test]
fn a_recorder_that_has_another_copy_is_left_alone_even_where_it_is_the_last() {
    for strategy in Choosing::ALL {
        let mut busy = Busy::new(pool(strategy, &[1, 1]));
        busy.states[0].has_other_copy = true;
        let mut wish = wish();
        assert_eq!(busy.choose(&wish), Ok(1), "{strategy:?}");
        wish.tried.push(uri("sip:r1.example"));
        let refusal = busy.choose(&wish).unwrap_err();
        assert_eq!(refusal.to_string(), "1 tried, 1 with another copy of the recording");
        assert!(!refusal.is_exhausted(), "the reason is told");
        assert_eq!(unfit(refusal), Unfit { tried: 1, other_copy: 1, ..Unfit::default() });
    }
}

#[test]
fn the_unhealthy_come_last_and_not_never() {
    for strategy in Choosing::ALL {
        let mut busy = Busy::new(pool(strategy, &[1, 1]));
        busy.states[0].unhealthy = true;
        let mut wish = wish();
        assert_eq!(busy.choose(&wish), Ok(1), "{strategy:?}");
        wish.tried.push(uri("sip:r1.example"));
        assert_eq!(busy.choose(&wish), Ok(0), "{strategy:?}");
        wish.tried.push(uri("SIP:R0.EXAMPLE"));
        let refusal = busy.choose(&wish).unwrap_err();
        assert!(refusal.is_exhausted(), "{refusal}");
    }
}

#[test]
fn one_that_asked_to_come_back_later_is_left_alone_until_then() {
    let mut busy = Busy::new(pool(Choosing::Ordered, &[1]));
    busy.states[0].away_until = Some(busy.now + Duration::from_secs(30));
    assert_eq!(unfit(busy.choose(&wish()).unwrap_err()), Unfit { away: 1, ..Unfit::default() });
    busy.now += Duration::from_secs(30);
    assert_eq!(busy.choose(&wish()), Ok(0));
}

#[test]
fn the_location_comes_first_and_others_only_where_the_policy_lets_them() {
    let mut busy = Busy::new(pool(Choosing::Ordered, &[1, 1, 1]));
    busy.pool.members[1].location = Some("paris".to_owned());
    busy.pool.members[2].location = Some("oslo".to_owned());
    assert_eq!(busy.choose(&wish_in(Some("oslo"))), Ok(2));
    assert_eq!(busy.choose(&wish_in(None)), Ok(0));
    // One that may be dead is no reason to stay.
    busy.states[2].unhealthy = true;
    assert_eq!(busy.choose(&wish_in(Some("oslo"))), Ok(0));
    busy.pool.location_policy = LocationPolicy::Strict;
    assert_eq!(busy.choose(&wish_in(Some("oslo"))), Ok(2));
    let none = busy.choose(&wish_in(Some("rome"))).unwrap_err();
    assert_eq!(none.to_string(), "3 in another location");
}

#[test]
fn a_recordings_sessions_stay_together_unless_there_is_an_order() {
    let mut wish = wish();
    wish.companion = Some(uri("sip:r2.example"));
    for (strategy, chosen) in [(Choosing::Ordered, 0), (Choosing::RoundRobin, 2), (Choosing::LeastUsed, 2)] {
        let mut busy = Busy::new(pool(strategy, &[9, 1, 1]));
        busy.states[2].sessions = 5;
        assert_eq!(busy.choose(&wish), Ok(chosen), "{strategy:?}");
        busy.states[2].unhealthy = true;
        assert_ne!(busy.choose(&wish), Ok(2), "{strategy:?}");
    }
}

#[test]
fn a_refusal_counts_each_recorder_once() {
    let mut busy = Busy::new(pool(Choosing::LeastUsed, &[1; 6]));
    let mut wish = wish_in(Some("oslo"));
    busy.pool.location_policy = LocationPolicy::Strict;
    busy.pool.members.iter_mut().for_each(|member| member.location = Some("oslo".to_owned()));
    wish.tried.push(uri("sip:r0.example"));
    busy.pool.members[0].drained = true;
    busy.pool.members[1].drained = true;
    busy.pool.members[2].location = None;
    busy.states[3].away_until = Some(busy.now + Duration::from_secs(1));
    busy.pool.members[4].capacity = Some(0);
    busy.pool.members[5].capacity = Some(7);
    busy.states[5].sessions = 7;
    assert_eq!(
        busy.choose(&wish).unwrap_err().to_string(),
        "1 tried, 2 at capacity, 1 asking to come back later, 1 drained, 1 in another location"
    );
    busy.pool.members.clear();
    assert_eq!(busy.choose(&wish).unwrap_err().to_string(), "there are none");
}

fn any_member() -> impl Strategy<Value = (Member, MemberState)> {
    let capacity = prop_oneof![Just(None), (0u32..4).prop_map(Some)];
    let location = prop_oneof![Just(None), Just(Some("a".to_owned())), Just(Some("b".to_owned()))];
    (1u16..=1000, capacity, location, any::<[bool; 4]>(), 0u32..4).prop_map(
        |(weight, capacity, location, [drained, unhealthy, has_other_copy, _], sessions)| {
            let member = Member { weight, capacity, location, drained, ..member(0) };
            (member, MemberState { sessions, unhealthy, has_other_copy, away_until: None })
        },
    )
}

fn any_pool() -> impl Strategy<Value = Busy> {
    let strategy =
        prop_oneof![Just(Choosing::Ordered), Just(Choosing::RoundRobin), Just(Choosing::LeastUsed)];
    let policy = prop_oneof![Just(LocationPolicy::Overflow), Just(LocationPolicy::Strict)];
    (strategy, policy, prop::collection::vec((any_member(), prop::option::of(0u64..3)), 0..8)).prop_map(
        |(strategy, location_policy, members)| {
            let mut busy = Busy::new(Pool { strategy, location_policy, members: Vec::new() });
            for (name, ((it, state), away)) in members.into_iter().enumerate() {
                let away_until = away.map(|seconds| busy.now + Duration::from_secs(seconds));
                busy.pool.members.push(Member { target: member(name).target, ..it });
                busy.states.push(MemberState { away_until, ..state });
            }
            busy
        },
    )
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}\n{:?}", self.pool, self.states)
    }
}

proptest! {
    #![proptest_config(random_settings(512, 0x0070_6f6f))]

    /// A session that fails everywhere: each recorder that may take it is tried once, none other, the healthy first.
    #[test]
    fn whoever_may_is_tried_once_and_nobody_else(
        busy in any_pool(),
        location in prop_oneof![Just(None), Just(Some("a"))],
        companion in prop::option::of(0usize..8),
    ) {
        let mut busy = busy;
        let mut wish = wish_in(location);
        wish.companion = companion.map(|name| member(name).target.uri);
        let before = busy.states.clone();
        let mut tried = Vec::new();
        let refusal = loop {
            match busy.choose(&wish) {
                Ok(chosen) => {
                    wish.tried.push(busy.pool.members[chosen].target.uri.clone());
                    tried.push(chosen);
                    prop_assert!(tried.len() <= 8);
                }
                Err(refusal) => break unfit(refusal),
            }
        };
        let may = |index: &usize| {
            let (member, state) = (&busy.pool.members[*index], &before[*index]);
            let is_there = location.is_none_or(|wanted| member.location.as_deref() == Some(wanted));
            !member.drained
                && !state.has_other_copy
                && member.capacity.is_none_or(|capacity| state.sessions < capacity)
                && state.away_until.is_none_or(|until| until <= busy.now)
                && (is_there || busy.pool.location_policy == LocationPolicy::Overflow)
        };
        let mut expected: Vec<usize> = (0..busy.pool.members.len()).filter(may).collect();
        let is_unhealthy = |index: &usize| before[*index].unhealthy;
        prop_assert!(tried.iter().map(is_unhealthy).is_sorted(), "{tried:?}");
        if busy.pool.strategy == Choosing::Ordered && location.is_none() {
            expected.sort_by_key(is_unhealthy);
            prop_assert_eq!(&tried, &expected);
        }
        tried.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&tried, &expected);
        let Unfit { tried: again, other_copy, drained, elsewhere, away, full } = refusal;
        prop_assert_eq!(again, tried.len());
        prop_assert_eq!(again + other_copy + drained + elsewhere + away + full, busy.pool.members.len());
    }

    /// Over any number of turns nobody is a whole turn away from its share.
    #[test]
    fn turns_follow_the_weights(weights in prop::collection::vec(1u16..=1000, 1..6), turns in 1usize..400) {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let mut busy = Busy::new(pool(Choosing::RoundRobin, &weights));
        busy.choices(turns);
        for (state, weight) in busy.states.iter().zip(&weights) {
            let share = turns as f64 * f64::from(*weight) / total;
            let off = (f64::from(state.sessions) - share).abs();
            prop_assert!(off < weights.len() as f64, "{weights:?} {share} {}", state.sessions);
        }
    }

    /// Sessions that come and go: no recorder ever has more than it may, and none is refused while one has room.
    #[test]
    fn capacity_is_never_exceeded_and_always_used(
        strategy in prop_oneof![Just(Choosing::Ordered), Just(Choosing::RoundRobin), Just(Choosing::LeastUsed)],
        capacities in prop::collection::vec(0u32..5, 1..5),
        steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 1..60),
    ) {
        let mut busy = Busy::new(pool(strategy, &vec![1; capacities.len()]));
        for (member, capacity) in busy.pool.members.iter_mut().zip(&capacities) {
            member.capacity = Some(*capacity);
        }
        let mut sessions: Vec<usize> = Vec::new();
        let room: u32 = capacities.iter().sum();
        for step in steps {
            match step {
                Some(ended) if !sessions.is_empty() => {
                    let recorder = sessions.swap_remove(ended.index(sessions.len()));
                    busy.states[recorder].sessions -= 1;
                }
                _ => match busy.choose(&wish()) {
                    Ok(chosen) => sessions.push(chosen),
                    Err(_) => prop_assert_eq!(sessions.len() as u32, room),
                },
            }
            for (state, capacity) in busy.states.iter().zip(&capacities) {
                prop_assert!(state.sessions <= *capacity);
            }
        }
    }
}
