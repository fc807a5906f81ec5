//! A recorder with several addresses: which is tried when (RFC 3263 §4.3), with a real DNS server.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::dnsmasq::Dnsmasq;
use crate::support::{Call, DEADLINE, FakeMedia, LOCALHOST, Recorder, Script, agent_with, config};
use siprec_agent::{Agent, AgentConfig};
use siprec_model::{FailureReason, RecordingState, SessionEventKind as Kind};
use siprec_sip::Method;

/// Serves `rec.test`, whose servers are these recorders in this order, and gives an agent that asks there.
fn dns(recorders: &[&Recorder], media: &Arc<FakeMedia>) -> (Dnsmasq, Arc<Agent>) {
    let mut records = "host-record=host.test,127.0.0.1\n".to_owned();
    for (priority, recorder) in recorders.iter().enumerate() {
        let port = recorder.address().port();
        writeln!(records, "srv-host=_sip._udp.rec.test,host.test,{port},{priority},0").unwrap();
    }
    let dnsmasq = Dnsmasq::serving(&records);
    let dns_server = Some(dnsmasq.address);
    let config = AgentConfig { local_address: Some(LOCALHOST), dns_server, ..AgentConfig::default() };
    let agent = agent_with(media, config);
    (dnsmasq, agent)
}

#[test]
fn an_address_that_is_silent_or_answers_503_gives_way_to_the_next_one() {
    let silent = Recorder::start(Script::Silent);
    let full = Recorder::start(Script::Refuse(503));
    let good = Recorder::start(Script::Accept);
    let media = FakeMedia::new();
    let (_dnsmasq, agent) = dns(&[&silent, &full, &good], &media);
    let mut call = Call::open(&agent, config("sip:rec.test"));
    call.wait_for_state(RecordingState::Recording);
    let failures: Vec<Kind> =
        call.so_far().iter().filter(|kind| matches!(kind, Kind::Failed { .. })).cloned().collect();
    assert!(matches!(&failures[0], Kind::Failed { reason: FailureReason::Timeout(_), .. }), "{failures:?}");
    assert!(matches!(&failures[1], Kind::Failed { sip_code: Some(503), .. }), "{failures:?}");
    let invites: Vec<_> =
        [&silent, &full, &good].map(|recorder| recorder.wait_for(&Method::Invite, 1)[0].clone()).into();
    // Each is another attempt, with a dialog and keys of its own.
    assert_ne!(invites[0].call_id(), invites[1].call_id());
    assert_ne!(invites[1].call_id(), invites[2].call_id());
    assert!(invites.iter().all(|invite| invite.request.uri.host() == Some("rec.test")));
    call.stop();
    good.wait_for(&Method::Bye, 1);
}

#[test]
fn a_recorder_that_refuses_is_not_asked_again_at_another_address() {
    let busy = Recorder::start(Script::Refuse(486));
    let other = Recorder::start(Script::Accept);
    let media = FakeMedia::new();
    let (_dnsmasq, agent) = dns(&[&busy, &other], &media);
    let mut call = Call::open(&agent, config("sip:rec.test"));
    call.wait_for_state(RecordingState::Failed);
    assert!(agent.wait_idle(DEADLINE));
    assert_eq!(other.dialogs(), 0);
}

#[test]
fn when_every_address_has_failed_so_has_the_recorder() {
    let full = [Recorder::start(Script::Refuse(503)), Recorder::start(Script::Refuse(503))];
    let media = FakeMedia::new();
    let (_dnsmasq, agent) = dns(&[&full[0], &full[1]], &media);
    let good = Recorder::start(Script::Accept);
    let mut call = Call::open(&agent, config(&format!("sip:rec.test {}", good.uri())));
    call.wait_for_state(RecordingState::Recording);
    let failed = call.so_far().iter().filter(|kind| matches!(kind, Kind::Failed { .. })).count();
    assert_eq!(failed, 2);
    assert_eq!(full[0].dialogs(), 1);
    assert_eq!(full[1].dialogs(), 1);
    call.stop();
    good.wait_for(&Method::Bye, 1);
}
