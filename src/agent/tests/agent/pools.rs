//! Recorders out of pools.

use std::sync::Arc;
use std::time::{Duration, Instant};

use siprec_agent::{Agent, AgentConfig, AgentError, Pools, RecorderView};
use siprec_model::{FailureReason, RecordingState, SessionEventKind as Kind};
use siprec_session::{ByePolicy, Party, Recorders, RecordingConfig, SessionMode, parse_recorders};
use siprec_sip::Method;

use crate::support::{Call, DEADLINE, FakeMedia, Recorder, Script, agent_with, config};

fn pools(text: &str) -> Pools {
    Pools::parse(text, "pools.toml").unwrap()
}

/// A pool `east` of these recorders, each with lines of its own, that are not asked whether they live.
fn east(head: &str, recorders: &[(&Recorder, &str)]) -> Pools {
    let mut text = format!("[pool.east]\nhealth-check.interval = 0\n{head}\n");
    for (recorder, lines) in recorders {
        text += &format!("[[pool.east.recorder]]\nuri = \"{}\"\n{lines}\n", recorder.uri());
    }
    pools(&text)
}

fn agent_of(pools: Pools) -> Arc<Agent> {
    agent_with(&FakeMedia::new(), AgentConfig { pools, ..AgentConfig::default() })
}

fn pooled() -> RecordingConfig {
    pooled_in(None)
}

fn pooled_in(location: Option<&str>) -> RecordingConfig {
    RecordingConfig::new(Recorders::Pool {
        name: "east".parse().unwrap(),
        location: location.map(str::to_owned),
    })
}

fn recorders(agent: &Agent) -> Vec<RecorderView> {
    agent.pools().pop().unwrap().recorders
}

fn sessions(agent: &Agent) -> Vec<u32> {
    recorders(agent).iter().map(|recorder| recorder.sessions).collect()
}

/// Waits until the recorders have so many sessions.
fn wait_for_sessions(agent: &Agent, wanted: &[u32]) {
    let until = Instant::now() + DEADLINE;
    while sessions(agent) != wanted {
        assert!(Instant::now() < until, "{:?} instead of {wanted:?}", sessions(agent));
        std::thread::yield_now();
    }
}

fn recorded(agent: &Agent, config: RecordingConfig) -> Call {
    let mut call = Call::open(agent, config);
    call.wait_for_state(RecordingState::Recording);
    call
}

fn reason(mut call: Call) -> String {
    match call.wait_for("failure", |kind| matches!(kind, Kind::Failed { .. })) {
        Kind::Failed { reason, .. } => reason.to_string(),
        _ => String::new(),
    }
}

#[test]
fn a_recorder_has_one_capacity_however_its_address_is_written() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent_of(east("", &[(&recorder, "capacity = 1")]));
    let spelled_out = parse_recorders(&format!("{};Transport=UDP", recorder.uri())).unwrap();
    let listed = recorded(&agent, RecordingConfig::new(spelled_out));
    assert_eq!(sessions(&agent), [1]);
    assert_eq!(reason(Call::open(&agent, pooled())), "no recorder is left: 1 at capacity");
    listed.stop();
    wait_for_sessions(&agent, &[0]);
}

#[test]
fn calls_are_spread_over_the_pool_and_their_recorders_are_free_after_the_bye() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("strategy = \"round-robin\"", &[(&a, "weight = 2"), (&b, "")]));
    let calls: Vec<Call> = (0..6).map(|_| recorded(&agent, pooled())).collect();
    assert_eq!(sessions(&agent), [4, 2]);
    assert_eq!((a.dialogs(), b.dialogs()), (4, 2));
    calls.iter().for_each(Call::stop);
    wait_for_sessions(&agent, &[0, 0]);
    let chosen: Vec<u64> = recorders(&agent).iter().map(|recorder| recorder.chosen).collect();
    assert_eq!(chosen, [4, 2]);
}

#[test]
fn the_least_used_is_the_one_whose_calls_have_ended() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("strategy = \"least-used\"", &[(&a, ""), (&b, "")]));
    let calls: Vec<Call> = (0..4).map(|_| recorded(&agent, pooled())).collect();
    assert_eq!(sessions(&agent), [2, 2]);
    // Equals take turns: the second call and the third are the second recorder's.
    calls[1].stop();
    calls[2].stop();
    wait_for_sessions(&agent, &[2, 0]);
    let _more: Vec<Call> = (0..2).map(|_| recorded(&agent, pooled())).collect();
    assert_eq!(sessions(&agent), [2, 2]);
}

#[test]
fn a_pool_that_is_full_is_a_failure_with_words() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("", &[(&a, "capacity = 1"), (&b, "capacity = 2")]));
    let calls: Vec<Call> = (0..3).map(|_| recorded(&agent, pooled())).collect();
    assert_eq!(sessions(&agent), [1, 2]);
    assert_eq!(reason(Call::open(&agent, pooled())), "no recorder is left: 2 at capacity");
    calls[0].stop();
    wait_for_sessions(&agent, &[0, 2]);
    let _again = recorded(&agent, pooled());
}

#[test]
fn capacity_and_drain_of_a_pool_bind_calls_that_list_its_recorder() {
    let (a, b, other) =
        (Recorder::start(Script::Accept), Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("", &[(&a, "capacity = 1"), (&b, "")]));
    let pooled = recorded(&agent, pooled());
    let list = |recorders: &[&Recorder]| {
        let uris: Vec<String> = recorders.iter().map(|recorder| recorder.uri()).collect();
        RecordingConfig { recorder_bye: ByePolicy::FailOver, ..config(&uris.join(" ")) }
    };
    assert_eq!(reason(Call::open(&agent, list(&[&a]))), "no recorder is left: 1 at capacity");
    let mut moves = recorded(&agent, list(&[&a, &b]));
    assert_eq!((sessions(&agent), a.dialogs()), (vec![1, 1], 1));
    pooled.stop();
    wait_for_sessions(&agent, &[0, 1]);
    let _again = recorded(&agent, list(&[&a]));
    agent.set_pools(east("", &[(&a, "capacity = 1"), (&b, "drain = true")]));
    let words = reason(Call::open(&agent, list(&[&a, &b])));
    assert_eq!(words, "no recorder is left: 1 at capacity, 1 drained");
    assert_eq!(sessions(&agent), [1, 1], "each keeps what it has");
    let _call = recorded(&agent, list(&[&b, &other]));
    assert_eq!((b.dialogs(), other.dialogs()), (1, 1));
    // One that is drained and loses what it has does not get it back, which it does otherwise.
    b.hang_up(&b.wait_for(&Method::Invite, 1)[0]);
    let lost = moves
        .wait_for("the end", |kind| matches!(kind, Kind::StateChanged { state: RecordingState::Failed, .. }));
    assert!(matches!(&lost, Kind::StateChanged { reason, .. } if reason.ends_with(&words)), "{lost:?}");
    assert_eq!(b.dialogs(), 1);
}

#[test]
fn a_call_stays_in_its_location_as_the_policy_says() {
    let (oslo, rome) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let members = [(&rome, "location = \"rome\""), (&oslo, "location = \"oslo\"\ncapacity = 1")];
    let agent = agent_of(east("", &members));
    let _first = recorded(&agent, pooled_in(Some("oslo")));
    let _second = recorded(&agent, pooled_in(Some("oslo")));
    assert_eq!(sessions(&agent), [1, 1]);
    agent.set_pools(east("location-policy = \"strict\"", &members));
    let reason = reason(Call::open(&agent, pooled_in(Some("oslo"))));
    assert_eq!(reason, "no recorder is left: 1 at capacity, 1 in another location");
}

#[test]
fn pools_change_while_calls_go_on() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("", &[(&a, ""), (&b, "")]));
    let first = recorded(&agent, pooled());
    agent.set_pools(east("", &[(&a, "drain = true"), (&b, "")]));
    let second = recorded(&agent, pooled());
    assert_eq!(sessions(&agent), [1, 1], "the drained one keeps what it has");
    assert!(recorders(&agent)[0].drained);
    agent.set_pools(east("", &[(&a, "drain = true"), (&b, "capacity = 1")]));
    assert_eq!(reason(Call::open(&agent, pooled())), "no recorder is left: 1 at capacity, 1 drained");
    first.stop();
    second.stop();
    a.wait_for(&Method::Bye, 1);
    b.wait_for(&Method::Bye, 1);
    agent.set_pools(Pools::default());
    assert!(matches!(agent.open(pooled(), drop), Err(AgentError::UnknownPool(_))));
}

#[test]
fn a_pool_may_give_each_party_its_session_and_both_have_the_same_recorder() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let head = "strategy = \"round-robin\"\nsession-mode = \"per-party\"";
    let agent = agent_of(east(head, &[(&a, ""), (&b, "")]));
    let parties = || {
        let parties = ["1001", "1002"].map(|dn| Party { dn: dn.to_owned() }).into();
        RecordingConfig { parties, ..pooled() }
    };
    let call = recorded(&agent, parties());
    assert_eq!(call.handle.session_mode(), SessionMode::PerParty);
    a.wait_for(&Method::Invite, 2);
    wait_for_sessions(&agent, &[2, 0]);
    let _call = recorded(&agent, parties());
    b.wait_for(&Method::Invite, 2);
    wait_for_sessions(&agent, &[2, 2]);
}

#[test]
fn what_no_recorder_of_the_pool_can_be_told_is_refused_at_once() {
    let a = Recorder::start(Script::Accept);
    let agent = agent_of(pools(&format!("[[pool.east.recorder]]\nuri = \"{};node=7\"\n", a.uri())));
    let mut clashing = pooled();
    clashing.extra_parameters = vec![("node".to_owned(), "8".to_owned())];
    assert!(matches!(agent.open(clashing, drop), Err(AgentError::Config(_))));
}

#[test]
fn a_busy_recorder_of_a_pool_or_a_list_is_left_alone_while_it_asks_for_that() {
    let (busy, good) = (Recorder::start(Script::Busy(600)), Recorder::start(Script::Accept));
    let agent = agent_of(east("retry-after-limit = 100", &[(&busy, ""), (&good, "")]));
    let _calls: Vec<Call> = (0..3).map(|_| recorded(&agent, pooled())).collect();
    assert_eq!(busy.dialogs(), 1);
    let away = recorders(&agent)[0].away.unwrap();
    assert!(away > Duration::from_secs(90) && away <= Duration::from_secs(100), "{away:?}");
    // A list has no rules of its own, but the same recorder is as busy for it.
    let _call = recorded(&agent, config(&format!("{} {}", busy.uri(), good.uri())));
    let reason = reason(Call::open(&agent, config(&busy.uri())));
    assert_eq!(reason, "no recorder is left: 1 asking to come back later");
    assert_eq!(busy.dialogs(), 1);
    let busy = Recorder::start(Script::Busy(600));
    for _ in 0..2 {
        let _call = recorded(&agent, config(&format!("{} {}", busy.uri(), good.uri())));
    }
    assert_eq!(busy.dialogs(), 1);
}

#[test]
fn a_recorder_that_sends_elsewhere_is_followed_unless_nothing_may_go_there() {
    let good = Recorder::start(Script::Accept);
    let server = Recorder::start(Script::Redirect(good.address()));
    let last = Recorder::start(Script::Accept);
    // To a stranger.
    let agent = agent_of(east("", &[(&server, ""), (&last, "")]));
    let _call = recorded(&agent, pooled());
    assert_eq!((good.dialogs(), last.dialogs()), (1, 0));
    wait_for_sessions(&agent, &[0, 0]);
    // To one of the pool, which counts it.
    agent.set_pools(east("", &[(&server, ""), (&last, ""), (&good, "capacity = 2")]));
    let _call = recorded(&agent, pooled());
    wait_for_sessions(&agent, &[0, 0, 2]);
    // To one that is full.
    let _call = recorded(&agent, pooled());
    wait_for_sessions(&agent, &[0, 1, 2]);
    // A list's, which is bound by the pool as well.
    let failed = Call::open(&agent, config(&server.uri()))
        .wait_for("the end", |kind| matches!(kind, Kind::StateChanged { state: RecordingState::Failed, .. }));
    let words = "not tried where the recorder says: 1 at capacity";
    assert!(matches!(&failed, Kind::StateChanged { reason, .. } if reason.ends_with(words)), "{failed:?}");
    agent.set_pools(east("", &[(&server, ""), (&last, ""), (&good, "capacity = 3")]));
    let _call = recorded(&agent, config(&server.uri()));
    wait_for_sessions(&agent, &[0, 1, 3]);
}

/// A service that is restarted while it has as many sessions as it may.
#[test]
fn a_full_recorder_that_has_lost_its_sessions_has_room_for_them_at_once() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent_of(east("", &[(&recorder, "capacity = 2")]));
    let config = || RecordingConfig { recorder_bye: ByePolicy::FailOver, ..pooled() };
    let mut calls = [(); 2].map(|()| recorded(&agent, config()));
    assert_eq!(sessions(&agent), [2]);
    for invite in recorder.wait_for(&Method::Invite, 2) {
        recorder.hang_up(&invite);
    }
    for call in &mut calls {
        call.wait_for("failover", |kind| matches!(kind, Kind::FailedOver { .. }));
    }
    wait_for_sessions(&agent, &[2]);
    calls.iter().for_each(Call::stop);
    wait_for_sessions(&agent, &[0]);
}

#[test]
fn a_call_whose_pool_is_gone_is_failed_over_to_another_recorder_of_it_and_no_new_call_is() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let agent = agent_of(east("", &[(&a, ""), (&b, "")]));
    let mut call = recorded(&agent, RecordingConfig { recorder_bye: ByePolicy::FailOver, ..pooled() });
    agent.set_pools(Pools::default());
    // Nor does another change bring it back, or take it away.
    agent.set_pools(pools(&format!("[[pool.west.recorder]]\nuri = \"{}\"\n", a.uri())));
    assert!(matches!(agent.open(pooled(), drop), Err(AgentError::UnknownPool(_))));
    a.hang_up(&a.wait_for(&Method::Invite, 1)[0]);
    call.wait_for("failover", |kind| matches!(kind, Kind::FailedOver { .. }));
    assert_eq!(b.dialogs(), 1);
}

#[test]
fn a_recorder_that_fails_is_not_the_calls_any_more_when_its_dialog_is_over() {
    let (refusing, good) = (Recorder::start(Script::Refuse(486)), Recorder::start(Script::Accept));
    let agent = agent_of(east("", &[(&refusing, ""), (&good, "")]));
    let mut call = recorded(&agent, pooled());
    // It takes RFC 3261 §17.1.1.2 to be sure that the ACK has arrived; a call is one session until then.
    assert_eq!(sessions(&agent)[1], 1);
    let failed = call
        .so_far()
        .iter()
        .any(|kind| matches!(kind, Kind::Failed { reason: FailureReason::Refused { code: 486, .. }, .. }));
    assert!(failed);
    call.stop();
    call.wait_for_state(RecordingState::Stopped);
}
