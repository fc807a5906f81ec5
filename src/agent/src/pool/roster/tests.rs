use siprec_session::parse_recorders;

use super::*;

const POOL: &str = r#"
[pool.east]
health-check = { failures = 3, recoveries = 2 }
recorder = [{ uri = "sip:a.example" }, { uri = "sip:b.example" }]
"#;

fn roster() -> Roster {
    Roster::new(Pools::parse(POOL, "pools.toml").unwrap())
}

fn place(uri: &str) -> RecorderPlace {
    RecorderPlace::of(&Uri::parse(uri).unwrap())
}

/// An attempt of a new recording at the recorder that the list or pool says.
fn sat_down(roster: &mut Roster, recorders: &str, now: Instant) -> (RecordingKey, u32) {
    let recorders = Recorders::parse(recorders, None).unwrap();
    let wish = RecorderWish {
        recorders,
        tried: Vec::new(),
        companion: None,
        other_copies: Vec::new(),
        redirect: None,
    };
    let attempt = (RecordingKey::unique(), 1);
    roster.choose(attempt, &wish, now).unwrap();
    attempt
}

#[test]
fn a_shorter_retry_after_does_not_cut_a_longer_one_short() {
    let (mut roster, now) = (roster(), Instant::now());
    let [first, second] = [(); 2].map(|()| sat_down(&mut roster, "sip:x.example", now));
    roster.send_away(first, Duration::from_secs(60), now);
    roster.send_away(second, Duration::from_secs(5), now);
    let until = now + Duration::from_secs(60);
    assert!(roster.is_away(&place("sip:x.example"), until - Duration::from_millis(1)));
    assert!(!roster.is_away(&place("sip:x.example"), until));
}

#[test]
fn who_wants_to_be_left_alone_is_not_forgotten_before_that_is_over() {
    let (mut roster, now) = (roster(), Instant::now());
    let attempt = sat_down(&mut roster, "sip:x.example", now);
    roster.send_away(attempt, Duration::from_secs(60), now);
    roster.leave_all(attempt.0, now);
    let pools = roster.pools().clone();
    // Others are configured, and all is looked through.
    roster.replace(pools.clone(), now + Duration::from_secs(59));
    assert!(roster.is_away(&place("sip:x.example"), now + Duration::from_secs(59)));
    roster.replace(pools, now + Duration::from_secs(60));
    assert!(roster.standings.is_empty());
}

#[test]
fn a_pool_that_is_gone_is_kept_until_the_last_recording_is_over_whose_home_it_is() {
    let (now, name) = (Instant::now(), "east".parse::<PoolName>().unwrap());
    let recorders = parse_recorders("sip:a.example sip:b.example").unwrap();
    let pools = || {
        let rules = PoolRules::new(Pool::ordered(recorders.iter().cloned()));
        Pools::from_iter([(name.clone(), rules)])
    };
    let wish = RecorderWish {
        recorders: Recorders::Pool { name: name.clone(), location: None },
        tried: Vec::new(),
        companion: None,
        other_copies: Vec::new(),
        redirect: None,
    };
    let mut roster = Roster::new(pools());
    let keys = [1, 2, 3].map(RecordingKey::from_raw);
    for key in &keys[..2] {
        roster.choose((*key, 1), &wish, now).unwrap();
    }
    roster.replace(Pools::default(), now);
    // Whether it has a recorder now does not matter.
    roster.leave(keys[0], 1, now);
    for key in &keys[..2] {
        roster.choose((*key, 2), &wish, now).unwrap();
    }
    let stranger = roster.choose((keys[2], 1), &wish, now);
    assert!(matches!(stranger, Err(NoRecorder::UnknownPool(_))), "{stranger:?}");
    roster.leave_all(keys[0], now);
    roster.choose((keys[1], 3), &wish, now).unwrap();
    roster.leave_all(keys[1], now);
    assert!(roster.gone.is_empty() && roster.homes.is_empty() && roster.rotations.is_empty());
    // One that comes back is as it is now.
    roster = Roster::new(pools());
    roster.choose((keys[0], 1), &wish, now).unwrap();
    roster.replace(Pools::default(), now);
    roster.replace(pools(), now);
    assert!(roster.gone.is_empty());
}

#[test]
fn so_many_questions_in_a_row_must_fail_or_be_answered_as_the_pool_says() {
    let mut roster = roster();
    let address = place("sip:a.example");
    let check = roster.pools().iter().next().unwrap().1.health_check.unwrap();
    let mut hear = |is_alive: bool| {
        let verdict =
            if is_alive { Verdict::Alive("200".to_owned()) } else { Verdict::Dead("silent".to_owned()) };
        roster.judge(&address, check, verdict).map(|change| change.state)
    };
    assert_eq!(hear(true), Some(RecorderState::Alive), "the first answer of all is enough");
    // An answer in between begins the count anew.
    assert_eq!([false, false, true, false, false].map(&mut hear), [None; 5]);
    assert_eq!(hear(false), Some(RecorderState::Dead));
    assert_eq!([false, true, false, true].map(&mut hear), [None; 4]);
    assert_eq!(hear(true), Some(RecorderState::Alive));
}

#[test]
fn an_invite_that_reaches_nobody_tells_another_reason_than_one_that_nobody_answers() {
    let refused = "cannot connect to 192.0.2.1:5060/TCP: Connection refused";
    for (unreached, told) in [
        (None, "it does not answer an INVITE".to_owned()),
        (Some(refused.to_owned()), format!("no INVITE reaches it: {refused}")),
    ] {
        let (mut roster, now) = (roster(), Instant::now());
        let attempts = [(); 3].map(|()| sat_down(&mut roster, "sip:a.example", now));
        let changes = attempts.map(|attempt| roster.miss(attempt, unreached.clone()));
        let [None, None, Some(change)] = changes else { panic!("{changes:?}") };
        assert_eq!((change.state, change.reason), (RecorderState::Dead, told));
    }
}
