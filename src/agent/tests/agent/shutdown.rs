//! A shutdown whose time is over before a recorder has said that it lives.

use std::time::{Duration, Instant};

use siprec_agent::{Agent, AgentConfig};
use siprec_model::{
    BranchCommand, BranchEvent, FailureReason, RecordingState, SessionEventKind as Kind, StopReason,
};
use siprec_sip::Method;

use crate::stopped;
use crate::support::{Call, FakeMedia, LOCALHOST, Recorder, Script, agent, agent_with, config};

/// A packet of each stream has come.
fn feed(agent: &Agent, media: &FakeMedia) {
    for command in media.commands() {
        if let BranchCommand::Create { branch, .. } = command {
            let arrival = Instant::now();
            agent.media_event(branch, BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival });
        }
    }
}

#[test]
fn a_shutdown_that_ends_before_the_bye_is_answered_tells_a_failure_and_what_is_lost() {
    let (recorder, media) = (Recorder::start(Script::DeafAfterAnswer), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    feed(&agent, &media);
    let (started, longest) = (Instant::now(), Duration::from_millis(800));
    assert!(!agent.shutdown(longest), "not all has ended");
    assert!(started.elapsed() < longest + Duration::from_secs(2));
    assert_eq!(recorder.wait_for(&Method::Bye, 1).len(), 1);
    media.wait_for("Recall", |command| matches!(command, BranchCommand::Recall { .. }));
    let seen = call.seen();
    let is_told = |kind: &Kind| {
        let text = "the BYE was not answered before the time for the shutdown was over".to_owned();
        matches!(kind, Kind::Failed { reason, .. } if *reason == FailureReason::DialogLost(text))
    };
    assert!(seen.iter().any(is_told), "{seen:?}");
    assert!(!seen.contains(&stopped(StopReason::Shutdown)), "{seen:?}");
    let last = |kind: &&Kind| matches!(kind, Kind::StateChanged { .. });
    let state = seen.iter().rfind(last);
    assert!(matches!(state, Some(Kind::StateChanged { state: RecordingState::Failed, .. })), "{seen:?}");
}

/// It gets its BYE in the last half second only, since something is held.
#[test]
fn a_shutdown_of_a_recorder_that_answers_in_the_last_half_second_is_no_failure() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    media.holds_backlog.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    feed(&agent, &media);
    assert!(agent.shutdown(Duration::from_secs(2)));
    let seen = call.seen();
    assert!(seen.contains(&stopped(StopReason::Shutdown)), "{seen:?}");
    assert!(!media.commands().iter().any(|command| matches!(command, BranchCommand::Recall { .. })));
}

#[test]
fn however_short_the_time_each_stream_gives_its_account_and_a_failure_is_told_once() {
    for longest in [0, 1, 5] {
        let (recorder, media) = (Recorder::start(Script::DeafAfterAnswer), FakeMedia::new());
        let agent = agent(&media);
        media.holds_backlog.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut call = Call::open(&agent, config(&recorder.uri()));
        call.wait_for_state(RecordingState::Recording);
        feed(&agent, &media);
        let (started, longest) = (Instant::now(), Duration::from_millis(longest));
        assert!(!agent.shutdown(longest), "not all has ended");
        assert!(started.elapsed() < Duration::from_secs(1), "nobody waits for the accounts");
        assert!(agent.wait_idle(Duration::from_secs(20)));
        let seen = call.seen();
        let count = |is_told: fn(&Kind) -> bool| seen.iter().filter(|kind| is_told(kind)).count();
        assert_eq!(count(|kind| matches!(kind, Kind::Report { .. })), 2, "{longest:?}: {seen:?}");
        assert_eq!(count(|kind| matches!(kind, Kind::Failed { .. })), 1, "{longest:?}: {seen:?}");
        assert_eq!(recorder.wait_for(&Method::Bye, 1).len(), 1);
    }
}

/// Nothing needs a BYE or CANCEL. What is held waits for the recorder for as long as there is time for the rest of the end.
#[test]
fn a_shutdown_does_not_wait_for_a_name_that_nobody_needs_any_more() {
    let silent = std::net::UdpSocket::bind((LOCALHOST, 0)).unwrap();
    for (is_held, longest) in [(false, Duration::from_millis(450)), (true, Duration::from_millis(1_950))] {
        let media = FakeMedia::new();
        let agent = agent_with(
            &media,
            AgentConfig { dns_server: Some(silent.local_addr().unwrap()), ..AgentConfig::default() },
        );
        media.holds_backlog.store(is_held, std::sync::atomic::Ordering::Relaxed);
        let mut call = Call::open(&agent, config("sip:recorder.test"));
        call.wait_for_state(RecordingState::Starting);
        feed(&agent, &media);
        let started = Instant::now();
        assert!(agent.shutdown(Duration::from_secs(2)), "all has ended");
        assert!(started.elapsed() < longest, "{:?}", started.elapsed());
    }
}
