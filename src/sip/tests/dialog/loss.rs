//! Both ends under a network that loses, repeats and reorders, with users that do whatever they like.

use std::time::Duration;

use siprec_sip::{DialogEvent, Method, Random, RequestToken, Transport};

use crate::pair::{OFFER, Pair, Side};

const SIDES: [Side; 2] = [Side::Caller, Side::Callee];

/// A network at its worst: over 30 % loss, and delays longer than T1, so that everything is repeated and overtaken.
fn bad_network(seed: u64) -> Pair {
    let mut pair = Pair::with_seed(Transport::Udp, seed);
    pair.network.loss = 30;
    pair.network.duplication = 30;
    pair.network.delay = (Duration::from_millis(1), Duration::from_millis(900));
    pair
}

fn random(seed: u64) -> Random {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    Random::from_seed(bytes)
}

/// What each end was told makes sense by itself.
fn check_events(pair: &Pair, seed: u64) {
    for (side, peer) in [(Side::Caller, &pair.caller), (Side::Callee, &pair.callee)] {
        let ends = peer.events.iter().filter(|event| matches!(event, DialogEvent::Terminated(_))).count();
        assert_eq!(ends, 1, "seed {seed} {side:?}: the end comes once: {:?}", peer.events);
        assert!(
            matches!(peer.events.last(), Some(DialogEvent::Terminated(_))),
            "seed {seed} {side:?}: and last"
        );
        let outcome = |event: &DialogEvent| -> Option<RequestToken> {
            match event {
                DialogEvent::Answered { token, .. }
                | DialogEvent::Refused { token, .. }
                | DialogEvent::Responded { token, .. }
                | DialogEvent::Failed { token, .. } => Some(*token),
                _ => None,
            }
        };
        let mut outcomes: Vec<_> = peer.events.iter().filter_map(outcome).collect();
        let all = outcomes.len();
        outcomes.sort();
        outcomes.dedup();
        assert_eq!(outcomes.len(), all, "seed {seed} {side:?}: one outcome a request");
    }
}

#[test]
fn a_call_comes_up_and_down_under_loss_and_reordering() {
    for seed in 0..60 {
        let mut pair = bad_network(seed);
        let mut random = random(seed);
        pair.run_for(Duration::from_secs(30));
        for side in SIDES {
            assert!(pair.ua(side).is_confirmed(), "seed {seed} {side:?}: {:?}", pair.log);
        }
        let side = SIDES[random.below(2) as usize];
        pair.request(side, Method::Bye, None).unwrap();
        pair.run_for(Duration::from_secs(120));
        for side in SIDES {
            assert!(pair.ua(side).is_finished(), "seed {seed} {side:?}: {:?}", pair.log);
            assert_eq!(pair.ua(side).next_timeout(), None);
        }
        check_events(&pair, seed);
    }
}

#[test]
fn whatever_both_users_do_under_loss_the_end_is_the_same_for_both() {
    let mut requests = 0;
    for seed in 0..60 {
        let mut pair = bad_network(seed);
        let mut random = random(seed);
        for _ in 0..40 {
            pair.run_for(Duration::from_millis(random.below(1500).into()));
            let side = SIDES[random.below(2) as usize];
            if pair.peer(side).ua.is_none() {
                continue;
            }
            let may_offer = pair.ua(side).may_offer();
            let (method, body) = match random.below(5) {
                0 | 1 => (Method::Invite, Some(OFFER)),
                2 => (Method::Update, Some(OFFER)),
                3 => (Method::Info, None),
                _ => (Method::Options, None),
            };
            let is_invite = method == Method::Invite;
            let sent = pair.request(side, method, body);
            requests += usize::from(sent.is_ok());
            if is_invite {
                assert_eq!(sent.is_ok(), may_offer, "seed {seed}: may_offer tells the truth");
            } else {
                assert!(sent.is_ok() || !may_offer, "seed {seed}: {sent:?}");
            }
        }
        pair.run_for(Duration::from_secs(40));
        let side = SIDES[random.below(2) as usize];
        if pair.ua(side).is_confirmed() {
            pair.request(side, Method::Bye, None).unwrap();
        }
        pair.run_for(Duration::from_secs(150));
        for side in SIDES {
            assert!(pair.ua(side).is_finished(), "seed {seed} {side:?}: {:?}", pair.log);
        }
        check_events(&pair, seed);
    }
    assert!(requests > 600, "the test must do something: {requests}");
}

#[test]
fn a_cancel_under_loss_leaves_no_session_at_either_end() {
    for seed in 0..60 {
        let mut pair = bad_network(seed);
        let mut random = random(seed);
        // The callee answers at once, or never, or when it is nearly too late.
        pair.callee.auto = false;
        pair.run_for(Duration::from_millis(random.below(4000).into()));
        let now = pair.now;
        pair.ua(Side::Caller).cancel(now);
        pair.settle();
        pair.run_for(Duration::from_millis(random.below(500).into()));
        pair.callee.auto = random.below(2) == 0;
        pair.run_for(Duration::from_secs(200));
        assert!(pair.ua(Side::Caller).is_finished(), "seed {seed}: {:?}", pair.log);
        if let Some(ua) = &pair.callee.ua {
            assert!(ua.is_finished(), "seed {seed}: {:?}", pair.log);
        }
    }
}
