//! Nobody waits long for recorders that were given up.

use std::time::{Duration, Instant};

use siprec_agent::Agent;
use siprec_model::{BranchCommand, BranchEvent, RecordingState, SessionEventKind as Kind, StopReason};
use siprec_sip::Method;

use crate::stopped;
use crate::support::{Call, DEADLINE, FakeMedia, Recorder, Script, agent, config};

/// The first recorder is lost, since it leaves its BYE unanswered, and the second one has the call.
pub(crate) fn lost_and_ended(
    agent: &Agent,
    media: &FakeMedia,
    dead: &Recorder,
    living: &Recorder,
) -> Vec<Kind> {
    let mut asked = config(&format!("{} {}", dead.uri(), living.uri()));
    asked.timers.probe_answer = Duration::from_millis(400);
    let mut call = Call::open(agent, asked);
    call.wait_for_state(RecordingState::Recording);
    for command in media.commands() {
        if let BranchCommand::Create { branch, .. } = command {
            let arrival = Instant::now();
            agent.media_event(branch, BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival });
        }
    }
    call.stop();
    call.wait_for("failed over", |kind| matches!(kind, Kind::FailedOver { .. }));
    for command in media.commands() {
        if let BranchCommand::Recall { branch, .. } = command {
            agent.media_event(branch, BranchEvent::BacklogEmpty { recalls: 1 });
        }
    }
    call.wait_for_state(RecordingState::Stopped);
    call.so_far().to_vec()
}

#[test]
fn nobody_waits_for_the_bye_of_a_lost_recorder_when_another_has_the_call() {
    let (dead, living) = (Recorder::start(Script::DeafAfterAnswer), Recorder::start(Script::Accept));
    let media = FakeMedia::new();
    let agent = agent(&media);
    let seen = lost_and_ended(&agent, &media, &dead, &living);
    let told = Instant::now();
    assert!(seen.contains(&stopped(StopReason::CallEnded)), "{seen:?}");
    assert!(agent.wait_idle(DEADLINE));
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
    assert_eq!(agent.sessions(), 1, "its dialog goes on");
    let said = dead.count(&Method::Bye);
    let repeated = Instant::now() + DEADLINE;
    while dead.count(&Method::Bye) == said {
        assert!(Instant::now() < repeated, "the BYE is repeated");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    // Nor does the end of the agent.
    assert!(agent.shutdown(DEADLINE));
    assert!(told.elapsed() < DEADLINE, "{:?}", told.elapsed());
}
