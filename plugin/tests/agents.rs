//! Which agent an element records with, and what the agent's limits do.
#![cfg(test)]

mod common;

use common::call::Call;
use common::recorder::{Recorder, Script};
use common::{init, ready};
use gst::prelude::*;
use gstsiprec::SiprecAgent;

fn agent() -> SiprecAgent {
    init();
    gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap()).downcast().unwrap()
}

fn context_of(agent: &SiprecAgent) -> gst::Context {
    let mut context = gst::Context::new("gst.siprec.agent", true);
    context.get_mut().unwrap().structure_mut().set("agent", agent);
    context
}

/// The address that an INVITE comes from, as its Contact says.
fn contact(invite: &str) -> &str {
    let line = invite.lines().find(|line| line.starts_with("Contact:")).unwrap();
    line.split('@').nth(1).unwrap().split(['>', ';']).next().unwrap()
}

fn invited(recorder: &Recorder, set: impl FnOnce(&gst::Element)) -> (Call, String) {
    let call = Call::new(&recorder.uri(), set);
    call.begin();
    let invite = recorder.request("INVITE");
    (call, invite)
}

#[test]
fn elements_without_an_agent_share_one() {
    let recorder = Recorder::start(Script::Accept);
    let (_first, one) = invited(&recorder, |_| ());
    let (_second, other) = invited(&recorder, |_| ());
    assert_eq!(contact(&one), contact(&other));
    let (_third, own) = invited(&recorder, |siprec| siprec.set_property("agent", agent()));
    assert_ne!(contact(&one), contact(&own), "an agent of its own");
}

#[test]
fn elements_with_the_same_agent_share_it() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent();
    let (_first, one) = invited(&recorder, |siprec| siprec.set_property("agent", &agent));
    let (_second, other) = invited(&recorder, |siprec| siprec.set_context(&context_of(&agent)));
    assert_eq!(contact(&one), contact(&other));
}

#[test]
fn the_property_goes_before_the_context() {
    let recorder = Recorder::start(Script::Accept);
    let (by_property, by_context) = (agent(), agent());
    by_property.set_property("user", "by-property");
    by_context.set_property("user", "by-context");
    let (_call, invite) = invited(&recorder, |siprec| {
        siprec.set_context(&context_of(&by_context));
        siprec.set_property("agent", &by_property);
    });
    assert!(invite.contains("<sip:by-property@"), "{invite}");
}

#[test]
fn an_application_that_is_asked_gives_the_agent() {
    init();
    let recorder = Recorder::start(Script::Accept);
    let agent = agent();
    agent.set_property("user", "by-answer");
    let pipeline = gst::Pipeline::new();
    let siprec = gst::ElementFactory::make("siprec").property("recorder", recorder.uri()).build().unwrap();
    pipeline.add(&siprec).unwrap();
    let asked = context_of(&agent);
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        if let gst::MessageView::NeedContext(need) = message.view()
            && need.context_type() == "gst.siprec.agent"
        {
            let element = message.src().unwrap().clone().downcast::<gst::Element>().unwrap();
            element.set_context(&asked);
        }
        gst::BusSyncReply::Drop
    });
    let sink = siprec.request_pad_simple("sink_%u").unwrap();
    let inlet = common::Inlet::before(&sink);
    pipeline.set_state(gst::State::Playing).unwrap();
    inlet.begin();
    assert!(recorder.request("INVITE").contains("<sip:by-answer@"));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn one_recording_more_than_the_agent_may_have_fails_and_its_call_goes_on() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent();
    agent.set_property("max-sessions", 1u32);
    let with_agent = |siprec: &gst::Element| siprec.set_property("agent", &agent);
    let (first, _) = invited(&recorder, with_agent);
    first.wait_for_state("Recording");
    let second = Call::new(&recorder.uri(), with_agent);
    let failed = second.message("siprec-failed");
    let reason: String = failed.get("reason").unwrap();
    assert!(reason.contains("the limit of 1 "), "{reason}");
    assert_eq!(failed.get::<&str>("call-uuid"), Ok("00FA08K"));
    assert!(second.wait_for_state("Failed").contains("the limit of 1 "));
    assert_eq!(second.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Failed);
    second.begin();
    second.speak(0);
    assert_eq!(second.parties[0].1.take().bytes.len(), 1, "the call goes on");
    first.end();
    first.message("siprec-stopped");
    // There is room again as soon as the first is over.
    second.wish("start");
    second.wait_for_state("Recording");
}

#[test]
fn wrong_settings_of_an_agent_are_named_at_ready() {
    let wrong: [(&str, &str); 4] = [
        ("local-address", "nowhere"),
        ("media-address", "300.1.1.1"),
        ("advertised-address", "x"),
        ("rtp-port-range", "9-1"),
    ];
    for (property, value) in wrong {
        let agent = agent();
        agent.set_property(property, value);
        let error = ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element.set_property("agent", &agent);
        })
        .unwrap_err();
        assert!(error.contains(property) && error.contains(value), "{property}: {error}");
    }
}
