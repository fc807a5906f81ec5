//! How attempts at recorders fail before there is a session: each of them by its own reason, and the next recorder is tried.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use siprec_agent::AgentConfig;
use siprec_model::{FailureReason, RecordingState, SessionEventKind as Kind};

use crate::is_failed;
use crate::support::{Call, DEADLINE, FakeMedia, LOCALHOST, Recorder, Script, agent, agent_with, config};

#[test]
fn a_dead_recorder_is_a_failure_with_its_reason_and_the_next_one_is_tried() {
    let silent = Recorder::start(Script::Silent);
    let busy = Recorder::start(Script::Refuse(486));
    let good = Recorder::start(Script::Accept);
    let media = FakeMedia::new();
    let agent = agent(&media);
    let mut impatient = config(&format!("{} {} {}", silent.uri(), busy.uri(), good.uri()));
    impatient.timers.first_response = Duration::from_millis(100);
    let mut call = Call::open(&agent, impatient);
    let mut failures =
        vec![call.wait_for("first failure", is_failed), call.wait_for("second failure", is_failed)];
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    call.wait_for_state(RecordingState::Stopped);
    // The dialog with the silent one is not over before RFC 3261 says so; nobody waits for it.
    failures.extend(call.so_far().iter().filter(|kind| is_failed(kind)).skip(2).cloned());
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(matches!(&failures[0], Kind::Failed { reason: FailureReason::Timeout(_), .. }), "{failures:?}");
    assert!(matches!(&failures[1], Kind::Failed { sip_code: Some(486), .. }), "{failures:?}");
}

#[test]
fn a_recorder_whose_port_is_closed_gives_way_to_the_next_one_without_any_wait() {
    for local in [LOCALHOST, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let (next, media) = (Recorder::start_on(local, Script::Accept), FakeMedia::new());
        let agent = agent_with(&media, AgentConfig { local_address: Some(local), ..AgentConfig::default() });
        // No port of this number is given to anybody who asks for any.
        let closed = SocketAddr::new(local, 1);
        let mut patient = config(&format!("sip:{closed};transport=udp {}", next.uri()));
        // Who waits for these fails.
        (patient.timers.first_response, patient.timers.answer) = (3 * DEADLINE, 3 * DEADLINE);
        let mut call = Call::open(&agent, patient);
        let failed = call.wait_for("failure", is_failed);
        let told = format!("nobody takes SIP at {closed}/UDP: Connection refused");
        assert!(
            matches!(&failed, Kind::Failed { reason: FailureReason::Unreachable(why), .. } if why.starts_with(&told)),
            "{failed:?}"
        );
        call.wait_for_state(RecordingState::Recording);
        call.stop();
        call.seen();
    }
}

#[test]
fn names_and_addresses_that_lead_nowhere_are_said() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    for recorder in ["sip:no-such-host.invalid", "sip:[::1]", "sips:127.0.0.1;transport=udp"] {
        let mut call = Call::open(&agent, config(recorder));
        let failed = call.wait_for("failure", is_failed);
        assert!(
            matches!(&failed, Kind::Failed { reason: FailureReason::Unresolved(_), .. }),
            "{recorder}: {failed:?}"
        );
        call.wait_for_state(RecordingState::Failed);
    }
    assert!(agent.wait_idle(DEADLINE));
}

/// The failures in their order.
fn failures(call: &Call) -> Vec<FailureReason> {
    let reason = |kind: &Kind| match kind {
        Kind::Failed { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    call.so_far().iter().filter_map(reason).collect()
}

#[test]
fn connections_that_are_refused_or_hang_and_names_that_there_are_not_lead_to_the_next_recorder() {
    // It takes connections, and never says a word on them.
    let hangs = TcpListener::bind((LOCALHOST, 0)).unwrap();
    let hanging = hangs.local_addr().unwrap();
    let (good, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut config = config(&format!(
        "sip:127.0.0.1:1;transport=tcp sips:{hanging} sip:no-such-host.invalid {}",
        good.uri()
    ));
    // The transport's own limit is what ends a handshake; who waits for these fails.
    (config.timers.first_response, config.timers.answer) = (3 * DEADLINE, 3 * DEADLINE);
    let mut call = Call::open(&agent, config);
    call.wait_for_state(RecordingState::Recording);
    let told = failures(&call);
    let [refused, hung, unknown] = &told[..] else { panic!("{told:?}") };
    let is_unreachable = |reason: &FailureReason, what: &str| matches!(reason, FailureReason::Unreachable(why) if why.contains(what));
    assert!(is_unreachable(refused, "cannot connect to 127.0.0.1:1/TCP"), "{refused}");
    assert!(is_unreachable(hung, "the peer does not finish the handshake"), "{hung}");
    assert!(matches!(unknown, FailureReason::Unresolved(_)), "{unknown}");
    call.stop();
    call.seen();
}

#[test]
fn when_each_recorder_has_failed_in_its_own_way_the_recording_has_with_all_reasons() {
    let scripts = [
        Script::Silent,
        Script::OnlyTries,
        Script::Refuse(420),
        Script::Refuse(486),
        Script::AcceptsWithout,
        Script::TakesNothing,
    ];
    let recorders = scripts.map(Recorder::start);
    let media = FakeMedia::new();
    let agent = agent(&media);
    let uris = recorders.each_ref().map(Recorder::uri);
    let mut impatient = config(&uris.join(" "));
    impatient.timers.first_response = Duration::from_millis(500);
    impatient.timers.answer = Duration::from_millis(1000);
    let mut call = Call::open(&agent, impatient);
    let failed = call
        .wait_for("the end", |kind| matches!(kind, Kind::StateChanged { state: RecordingState::Failed, .. }));
    let Kind::StateChanged { reason, .. } = failed else { panic!("{failed:?}") };
    let expected = [
        "the recorder did not answer within 500ms",
        "the recorder did not answer within 1s",
        "the recorder refused: 420 Bad Extension",
        "the recorder refused: 486 Busy Here",
        "the recorder's answer cannot be used: ",
        "the recorder's answer cannot be used: ",
    ];
    let told: Vec<&str> = reason.split("; ").collect();
    assert_eq!(told.len(), expected.len(), "{reason}");
    for ((told, uri), expected) in told.iter().zip(&uris).zip(expected) {
        assert!(told.starts_with(&format!("{uri}: {expected}")), "{told}");
    }
    // Each was asked once.
    assert!(recorders.iter().all(|recorder| recorder.dialogs() == 1));
    assert_eq!(failures(&call).len(), expected.len());
}
