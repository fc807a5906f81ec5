//! The agent between a scripted recorder and a media engine that only answers, on loopback sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "agent/addresses.rs"]
mod addresses;
#[path = "agent/attempts.rs"]
mod attempts;
#[path = "../../transport/tests/dns/dnsmasq.rs"]
mod dnsmasq;
#[path = "agent/health.rs"]
mod health;
#[path = "agent/late.rs"]
mod late;
#[path = "agent/pools.rs"]
mod pools;
#[path = "agent/released.rs"]
mod released;
#[path = "agent/restart.rs"]
mod restart;
#[path = "agent/shutdown.rs"]
mod shutdown;
mod support;
#[path = "agent/unreached.rs"]
mod unreached;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use siprec_agent::{Agent, AgentConfig, AgentError};
use siprec_model::{
    BranchCommand, FailureReason, HangUp, MediaControlError, RecordingState, SessionEventKind as Kind,
    StopReason,
};
use siprec_session::{Command, RecordingConfig};
use siprec_sip::{Message, Method, SessionDescription};
use siprec_transport::Protocol;
use support::{
    Call, DEADLINE, FakeMedia, LOCALHOST, Recorder, Script, agent, agent_with, answer, begin, config,
};

fn is_failed(kind: &Kind) -> bool {
    matches!(kind, Kind::Failed { .. })
}

/// A session that has ended, of which the recorder has said nothing.
fn stopped(reason: StopReason) -> Kind {
    Kind::Stopped { reason, said: HangUp::default() }
}

#[test]
fn a_call_is_recorded_from_invite_to_bye_over_either_transport() {
    for (parameter, protocol) in
        [("", Protocol::Udp), (";transport=udp", Protocol::Udp), (";transport=tcp", Protocol::Tcp)]
    {
        let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
        let agent = agent(&media);
        let mut call = Call::open(&agent, config(&(recorder.uri() + parameter)));
        call.wait_for_state(RecordingState::Recording);
        assert_eq!(call.handle.state(), RecordingState::Recording);
        for port in [40_000, 40_002] {
            media.wait_for(
                "Open",
                |command| matches!(command, BranchCommand::Open(open) if open.rtp.port() == port),
            );
        }
        let invite = &recorder.wait_for(&Method::Invite, 1)[0];
        assert_eq!(invite.protocol, protocol);
        let local = format!("127.0.0.1:{}", agent.local().port());
        assert!(invite.request.headers.contact().unwrap().unwrap().uri.as_str().contains(&local));
        assert_eq!(invite.request.headers.via().unwrap().transport(), protocol.as_str());
        recorder.wait_for(&Method::Ack, 1);
        call.stop();
        assert_eq!(recorder.wait_for(&Method::Bye, 1)[0].protocol, protocol);
        let seen = call.seen();
        assert!(seen.contains(&Kind::Started), "{seen:?}");
        assert!(seen.contains(&stopped(StopReason::CallEnded)), "{seen:?}");
        assert!(agent.wait_idle(DEADLINE));
        assert_eq!(agent.sessions(), 0);
    }
}

#[test]
fn a_recorder_that_hangs_up_ends_the_recording() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    recorder.wait_for(&Method::Ack, 1);
    recorder.hang_up(&recorder.wait_for(&Method::Invite, 1)[0]);
    let seen = call.seen();
    assert!(seen.contains(&stopped(StopReason::Recorder)), "{seen:?}");
    assert!(agent.wait_idle(DEADLINE));
}

#[test]
fn a_recorder_that_is_gone_is_lost_with_the_first_question_that_nobody_takes() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    let (socket, next) = (UdpSocket::bind((LOCALHOST, 0)).unwrap(), Recorder::start(Script::Accept));
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let own = socket.local_addr().unwrap();
    let mut asked = config(&format!("sip:{own} {}", next.uri()));
    asked.timers.probe = Duration::from_millis(200);
    asked.timers.probe_answer = 3 * DEADLINE;
    let mut call = Call::open(&agent, asked);
    let mut buffer = [0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).expect("a request in time");
        let Message::Request(request) = Message::parse(&buffer[..length]).unwrap() else { continue };
        if request.method == Method::Ack {
            break;
        }
        if let Some(response) = answer(Script::Accept, &request, own) {
            socket.send_to(&response.to_bytes(), from).unwrap();
        }
    }
    // Who has somebody else as its only peer takes nothing of ours, and nobody else gets the port.
    socket.connect((LOCALHOST, 1)).unwrap();
    call.wait_for("failure", is_failed);
    call.wait_for("failover", |kind| matches!(kind, Kind::FailedOver { .. }));
    call.stop();
    call.wait_for_state(RecordingState::Stopped);
    assert!(agent.wait_idle(DEADLINE));
}

#[test]
fn a_recorder_whose_connection_ends_is_asked_over_a_new_one_before_its_time() {
    let (lost, next) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let media = FakeMedia::new();
    let agent = agent(&media);
    let mut config = config(&format!("{};transport=tcp {}", lost.uri(), next.uri()));
    config.timers.probe = Duration::from_secs(3600);
    let mut call = Call::open(&agent, config);
    call.wait_for_state(RecordingState::Recording);
    lost.wait_for(&Method::Ack, 1);
    // It dies: its connections end, and nobody listens any more.
    drop(lost);
    call.wait_for("failure", is_failed);
    call.wait_for("failover", |kind| matches!(kind, Kind::FailedOver { .. }));
    next.wait_for(&Method::Ack, 1);
}

#[test]
fn a_call_by_sips_is_not_recorded_without_tls() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    let config = RecordingConfig { sips_call: true, ..config("sip:127.0.0.1;transport=tcp") };
    let mut call = Call::open(&agent, config);
    let failed = call.wait_for("failure", is_failed);
    assert!(
        matches!(&failed, Kind::Failed { reason: FailureReason::Unresolved(why), .. } if why.contains("reached by TLS")),
        "{failed:?}"
    );
    call.wait_for_state(RecordingState::Failed);
    assert!(agent.wait_idle(DEADLINE));
}

#[test]
fn a_host_name_is_resolved() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&format!("sip:localhost:{}", recorder.address().port())));
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    call.seen();
}

#[test]
fn a_contact_that_only_the_recorder_can_resolve_does_not_lose_the_dialog() {
    let (recorder, media) = (Recorder::start(Script::PrivateContact), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    recorder.wait_for(&Method::Ack, 1);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    let seen = call.seen();
    assert!(seen.contains(&stopped(StopReason::CallEnded)), "{seen:?}");
}

/// A URI whose INVITE has more than 1300 bytes.
fn large(recorder: &str) -> RecordingConfig {
    let mut config = config(recorder);
    config.extra_parameters = (0..8).map(|number| (format!("p{number}"), "x".repeat(100))).collect();
    config
}

#[test]
fn a_large_invite_goes_by_tcp() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, large(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    let invite = &recorder.wait_for(&Method::Invite, 1)[0];
    assert!(invite.request.to_bytes().len() > 1300);
    assert_eq!(invite.protocol, Protocol::Tcp);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    call.seen();
}

#[test]
fn a_large_invite_goes_by_udp_where_tcp_is_refused() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let own = socket.local_addr().unwrap();
    let mut call = Call::open(&agent, large(&format!("sip:{own}")));
    let recorder = std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        let mut methods = Vec::new();
        while methods.last() != Some(&Method::Bye) {
            let (length, from) = socket.recv_from(&mut buffer).expect("a request in time");
            let Message::Request(request) = Message::parse(&buffer[..length]).unwrap() else { continue };
            assert_eq!(request.headers.via().unwrap().transport(), "UDP");
            if let Some(response) = answer(Script::Accept, &request, own) {
                socket.send_to(&response.to_bytes(), from).unwrap();
            }
            // On a busy machine a request comes twice.
            if !methods.contains(&request.method) {
                methods.push(request.method);
            }
        }
        methods
    });
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    call.seen();
    assert_eq!(recorder.join().unwrap(), [Method::Invite, Method::Ack, Method::Bye]);
}

#[test]
fn requests_outside_of_every_dialog_are_answered() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = socket.local_addr().unwrap();
    for (method, status) in
        [("OPTIONS", 200), ("BYE", 481), ("INVITE", 403), ("REGISTER", 405), ("BREW", 501)]
    {
        let request = format!(
            "{method} sip:client@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{method}\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), agent.local()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("an answer in time");
        let Message::Response(response) = Message::parse(&buffer[..length]).unwrap() else {
            panic!("no response")
        };
        assert_eq!(response.status, status, "{method}");
        assert!(response.headers.to().unwrap().tag().is_some(), "{method}");
    }
}

#[test]
fn a_request_that_guesses_the_call_id_is_no_request_of_the_dialog() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    let invite = &recorder.wait_for(&Method::Invite, 1)[0];
    let (call_id, from) = (invite.call_id(), invite.request.headers.from().unwrap());
    let own = from.tag().unwrap();
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let address = socket.local_addr().unwrap();
    // A CANCEL has the tags of what it cancels, and there is nothing (RFC 3261 §9.2).
    for (method, theirs, ours) in [
        ("BYE", "recorder", "guess"),
        ("BYE", "guess", own),
        ("OPTIONS", "guess", own),
        ("CANCEL", "recorder", own),
    ] {
        let request = format!(
            "{method} sip:client@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{method}{theirs}\r\n\
             From: <sip:a@b>;tag={theirs}\r\nTo: <sip:c@d>;tag={ours}\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
             Max-Forwards: 70\r\n\r\n"
        );
        socket.send_to(request.as_bytes(), agent.local()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("an answer in time");
        assert!(buffer[..length].starts_with(b"SIP/2.0 481 "), "{method} with {theirs} and {ours}");
    }
    assert_eq!(call.handle.state(), RecordingState::Recording);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
}

#[test]
fn a_flood_of_garbage_does_not_touch_a_recording() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    let socket = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    for number in 0..5000_u32 {
        let noise: Vec<u8> = number.to_le_bytes().repeat(20);
        // A full buffer is as good as garbage that arrived.
        let _ = socket.send_to(&noise, agent.local());
        let _ = socket.send_to(b"SIP/2.0 200 OK\r\nCall-ID: x\r\n\r\n", agent.local());
    }
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    recorder.wait_for(&Method::Bye, 1);
    let seen = call.seen();
    assert!(!seen.iter().any(is_failed), "{seen:?}");
}

fn begin_and_end_two_hundred_calls(config: impl Fn(&Recorder) -> RecordingConfig) {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut calls: Vec<Call> = (0..200)
        .map(|_| {
            let mut config = config(&recorder);
            // A machine that is busy with other tests is no reason to fail.
            config.timers.first_response = DEADLINE;
            config.timers.answer = DEADLINE;
            config.timers.ports = DEADLINE;
            Call::open(&agent, config)
        })
        .collect();
    for call in &mut calls {
        call.wait_for_state(RecordingState::Recording);
    }
    assert_eq!(agent.sessions(), 200);
    calls.iter().for_each(Call::stop);
    assert!(agent.wait_idle(DEADLINE));
    let mut ended: Vec<String> =
        recorder.wait_for(&Method::Bye, 200).iter().map(support::Seen::call_id).collect();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), 200, "each dialog has its own BYE");
    for call in calls {
        let seen = call.seen();
        assert!(!seen.iter().any(is_failed), "{seen:?}");
    }
}

#[test]
fn two_hundred_calls_begin_and_end_at_once_by_datagrams() {
    begin_and_end_two_hundred_calls(|recorder| config(&recorder.uri()));
}

#[test]
fn two_hundred_calls_begin_and_end_at_once_over_one_connection() {
    begin_and_end_two_hundred_calls(|recorder| config(&(recorder.uri() + ";transport=tcp")));
}

#[test]
fn two_hundred_large_calls_begin_and_end_at_once() {
    begin_and_end_two_hundred_calls(|recorder| large(&recorder.uri()));
}

#[test]
fn the_limit_on_recordings_is_said_and_ends_with_them() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent_with(&media, AgentConfig { max_sessions: 1, ..AgentConfig::default() });
    let mut first = Call::open(&agent, config(&recorder.uri()));
    let refused = agent.open(config(&recorder.uri()), |_| {}).unwrap_err();
    assert!(matches!(refused, AgentError::TooManySessions { limit: 1 }), "{refused}");
    first.wait_for_state(RecordingState::Recording);
    first.stop();
    assert!(agent.wait_idle(DEADLINE));
    Call::open(&agent, config(&recorder.uri())).wait_for_state(RecordingState::Recording);
}

#[test]
fn a_faulty_configuration_is_refused_before_anything_happens() {
    let media = FakeMedia::new();
    let agent = agent(&media);
    let mut faulty = config("sip:127.0.0.1");
    faulty.extra_parameters = vec![("tag".to_owned(), "x".to_owned())];
    let refused = agent.open(faulty, |_| panic!("no event")).unwrap_err();
    assert!(matches!(refused, AgentError::Config(_)) && refused.to_string().contains("tag"), "{refused}");
    assert_eq!(agent.sessions(), 0);
}

#[test]
fn a_port_in_use_is_named() {
    let media = FakeMedia::new();
    let first = agent(&media);
    let config = AgentConfig {
        local_address: Some(LOCALHOST),
        sip_port: first.local().port(),
        ..AgentConfig::default()
    };
    let refused = Agent::start(config, FakeMedia::new()).unwrap_err();
    assert!(refused.to_string().contains(&first.local().to_string()), "{refused}");
}

#[test]
fn an_engine_that_is_full_for_a_moment_costs_nothing() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    media.refusals.lock().unwrap().extend([MediaControlError::Full; 5]);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    call.stop();
    let seen = call.seen();
    assert!(!seen.iter().any(is_failed), "{seen:?}");
}

#[test]
fn an_engine_that_stops_is_a_failure_with_its_reason() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    media.refusals.lock().unwrap().extend([MediaControlError::Stopped; 1000]);
    call.stop();
    let failed = call.wait_for("failure", is_failed);
    let Kind::Failed { reason: FailureReason::LocalResources(reason), .. } = &failed else {
        panic!("{failed:?}")
    };
    assert!(reason.contains("engine has stopped"), "{reason}");
    call.wait_for_state(RecordingState::Failed);
    recorder.wait_for(&Method::Bye, 1);
    assert!(agent.wait_idle(DEADLINE));

    let mut late = Call::open(&agent, config(&recorder.uri()));
    late.wait_for(
        "word of it",
        |kind| matches!(kind, Kind::MediumOff { reason, .. } if reason.contains("engine has stopped")),
    );
}

#[test]
fn a_recording_that_panics_fails_and_the_others_go_on() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut other = Call::open(&agent, config(&recorder.uri()));
    other.wait_for_state(RecordingState::Recording);
    let mut endless = config(&recorder.uri());
    // No instant is that far away: adding it panics inside the recording.
    endless.timers.resolve = Duration::MAX;
    let mut broken = Call::open(&agent, endless);
    let failed = broken.wait_for("failure", is_failed);
    assert!(matches!(&failed, Kind::Failed { reason: FailureReason::LocalResources(_), .. }), "{failed:?}");
    broken.wait_for_state(RecordingState::Failed);
    assert_eq!(broken.handle.state(), RecordingState::Failed);
    broken.seen();
    let key = other.handle.key();
    media.wait_for(
        "Close of the broken one's branches",
        |command| matches!(command, BranchCommand::Close { branch } if branch.recording != key),
    );
    other.stop();
    recorder.wait_for(&Method::Bye, 1);
    other.seen();
    assert!(agent.wait_idle(DEADLINE));
}

#[test]
fn a_stalled_event_handler_stalls_no_other_recording() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let (go, gate) = mpsc::channel::<()>();
    let stalled = agent
        .open(config(&recorder.uri()), move |_| {
            let _ = gate.recv_timeout(DEADLINE);
        })
        .unwrap();
    begin(&stalled).unwrap();
    let call = Call::open(&agent, config(&recorder.uri()));
    recorder.wait_for(&Method::Ack, 2);
    call.stop();
    stalled.command(Command::StopNow).unwrap();
    recorder.wait_for(&Method::Bye, 2);
    assert!(!agent.wait_idle(Duration::from_millis(50)), "the events are not delivered yet");
    drop(go);
    assert!(agent.wait_idle(DEADLINE));
    call.seen();
}

#[test]
fn shutdown_delivers_what_is_held_and_says_bye() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    media.holds_backlog.store(true, Ordering::Relaxed);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    let ending = {
        let agent = Arc::clone(&agent);
        std::thread::spawn(move || agent.shutdown(DEADLINE))
    };
    for slot in 0..2 {
        media.wait_for(
            "Drain",
            |command| matches!(command, BranchCommand::Drain { branch } if branch.slot == slot),
        );
    }
    assert_eq!(recorder.count(&Method::Bye), 0, "no BYE while something is held");
    media.drain_all();
    assert!(ending.join().unwrap());
    recorder.wait_for(&Method::Bye, 1);
    let seen = call.seen();
    assert!(seen.contains(&stopped(StopReason::Shutdown)), "{seen:?}");
    let refused = agent.open(config(&recorder.uri()), |_| {}).unwrap_err();
    assert!(matches!(refused, AgentError::ShutDown), "{refused}");
    assert_eq!(agent.sessions(), 0);
    assert!(UdpSocket::bind(agent.local()).is_ok(), "the port is free");
}

#[test]
fn shutdown_is_bounded_and_what_it_gives_up_is_told() {
    let (recorder, media) = (Recorder::start(Script::DeafAfterAnswer), FakeMedia::new());
    let agent = agent(&media);
    media.holds_backlog.store(true, Ordering::Relaxed);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    let longest = Duration::from_millis(400);
    let started = Instant::now();
    agent.shutdown(longest);
    assert!(started.elapsed() >= longest && started.elapsed() < longest + Duration::from_secs(2));
    recorder.wait_for(&Method::Bye, 1);
    assert!(agent.wait_idle(DEADLINE));
    assert!(call.handle.state().is_final());
    let seen = call.seen();
    assert!(
        seen.iter().any(|kind| matches!(kind, Kind::StateChanged { state, .. } if state.is_final())),
        "{seen:?}"
    );
    media.wait_for("Close", |command| matches!(command, BranchCommand::Close { .. }));
}

#[test]
fn leaving_says_bye_at_once_although_something_is_held_and_tells_nobody() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    media.holds_backlog.store(true, Ordering::Relaxed);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    call.handle.command(Command::Stop(StopReason::CallEnded)).unwrap();
    media.wait_for("Drain", |command| matches!(command, BranchCommand::Drain { .. }));
    assert!(agent.leave(DEADLINE));
    assert_eq!(recorder.count(&Method::Bye), 1);
    let late = |kind: &Kind| matches!(kind, Kind::Stopped { .. } | Kind::Report { .. });
    assert!(!call.seen().iter().any(late));
}

#[test]
fn a_dropped_agent_lets_its_recordings_end_by_themselves() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let agent = agent(&media);
    let mut short = config(&recorder.uri());
    // The engine's events have no door any more, so that the branches cannot report; the dialog ends all the same.
    short.timers.drain = Duration::from_millis(100);
    let mut call = Call::open(&agent, short);
    call.wait_for_state(RecordingState::Recording);
    drop(agent);
    recorder.wait_for(&Method::Bye, 1);
}

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<String>>);

impl tracing::Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                *self.0 += &format!("{}={value:?}\n", field.name());
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn the_log_goes_to_the_given_subscriber_and_to_no_global_one() {
    let (recorder, media, log) = (Recorder::start(Script::Accept), FakeMedia::new(), Capture::default());
    let config_with_log =
        AgentConfig { log: Some(tracing::Dispatch::new(log.clone())), ..AgentConfig::default() };
    let agent = agent_with(&media, config_with_log);
    let mut call = Call::open(&agent, config(&recorder.uri()));
    call.wait_for_state(RecordingState::Recording);
    UdpSocket::bind((LOCALHOST, 0)).unwrap().send_to(b"garbage", agent.local()).unwrap();
    assert!(agent.shutdown(DEADLINE));
    let text = log.0.lock().unwrap().clone();
    assert!(text.contains("INVITE sip:record=") && text.contains("SIP/2.0 200 OK"), "{text}");
    assert!(text.contains("not a SIP message"), "the transport's tasks log there too: {text}");
    let is_none =
        tracing::dispatcher::get_default(tracing::Dispatch::is::<tracing::subscriber::NoSubscriber>);
    assert!(is_none, "this thread logs nowhere");
}

#[test]
fn each_recorder_sees_the_address_that_leads_to_it() {
    let media = FakeMedia::new();
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let any: IpAddr = if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let agent = agent_with(&media, AgentConfig { local_address: Some(any), ..AgentConfig::default() });
    let ipv6 = has_ipv6.then_some(IpAddr::from(Ipv6Addr::LOCALHOST));
    for own in [LOCALHOST].into_iter().chain(ipv6) {
        for parameter in ["", ";transport=tcp"] {
            let recorder = Recorder::start_on(own, Script::Accept);
            let mut call = Call::open(&agent, config(&(recorder.uri() + parameter)));
            call.wait_for_state(RecordingState::Recording);
            let invite = &recorder.wait_for(&Method::Invite, 1)[0].request;
            assert_eq!(invite.headers.via().unwrap().host_ip(), Some(own));
            assert_eq!(invite.headers.contact().unwrap().unwrap().uri.host_ip(), Some(own));
            let offer = SessionDescription::parse(&invite.body).unwrap();
            assert_eq!(
                offer.media(0).unwrap().connection().map(|address| address.to_string()),
                Some(own.to_string())
            );
            call.stop();
            recorder.wait_for(&Method::Bye, 1);
            call.seen();
        }
    }
}

#[test]
fn the_advertised_address_stands_in_via_and_contact_and_media_has_its_own() {
    let (recorder, media) = (Recorder::start(Script::Accept), FakeMedia::new());
    let addresses = AgentConfig {
        advertised_address: Some("192.0.2.5".parse().unwrap()),
        media_address: Some("127.0.0.2".parse().unwrap()),
        user: "client".to_owned(),
        ..AgentConfig::default()
    };
    let agent = agent_with(&media, addresses);
    let _call = Call::open(&agent, config(&recorder.uri()));
    let invite = &recorder.wait_for(&Method::Invite, 1)[0].request;
    let expected = format!("192.0.2.5:{}", agent.local().port());
    let via = invite.headers.via().unwrap();
    assert_eq!(format!("{}:{}", via.host(), via.port.unwrap()), expected);
    let contact = invite.headers.contact().unwrap().unwrap().uri;
    assert_eq!(contact.as_str(), format!("sip:client@{expected}"));
    assert!(String::from_utf8_lossy(&invite.body).contains("127.0.0.2"));
    media.wait_for(
        "Bind",
        |command| matches!(command, BranchCommand::Bind { local, .. } if local.to_string() == "127.0.0.2"),
    );
}
