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
    let long = "x".repeat(5000);
    // property, value, what is said of it
    let wrong: [(&str, &str, &str); 23] = [
        ("local-address", "nowhere", "nowhere"),
        ("state-dir", "/dev/null", "\"/dev/null\" is no folder"),
        ("state-dir", "/no/such/folder", "cannot be used"),
        ("local-address", "192.0.2.1", "192.0.2.1 is no address of this host"),
        ("local-address", "224.0.0.1", "224.0.0.1 is no address that a recorder could send to"),
        ("local-address", "255.255.255.255", "255.255.255.255 is no address that a recorder could send to"),
        ("media-address", "300.1.1.1", "300.1.1.1"),
        ("media-address", "2001:db8::1", "2001:db8::1 is no address of this host"),
        ("media-address", "0.0.0.0", "0.0.0.0 is no address that a recorder could send to"),
        ("advertised-address", "x", "\"x\""),
        ("advertised-address", "::", ":: is no address that a recorder could send to"),
        ("advertised-address", "255.255.255.255", "is no address that a recorder could send to"),
        ("rtp-port-range", "9-1", "9-1"),
        ("user", "", "it is empty"),
        ("user", "a\r\nTo: <sip:evil@example>", "control characters"),
        ("user", "bell\u{7}", "control characters"),
        ("user", &long, "5000 bytes"),
        ("user-agent", "a\nb", "control characters"),
        ("user-agent", "a\u{85}b", "control characters"),
        ("user-agent", &long, "5000 bytes"),
        ("dns-server", "192.0.2.53:0", "\"192.0.2.53:0\" has an address or a port at which no server can be"),
        ("dns-server", "0.0.0.0", "\"0.0.0.0\" has an address or a port at which no server can be"),
        ("outbound-proxy", "sip:224.0.0.1", "has the host 224.0.0.1, which is no host's address"),
    ];
    for (property, value, named) in wrong {
        let agent = agent();
        agent.set_property(property, value);
        let error = ready(|element| {
            element.set_property("recorder", "sip:127.0.0.1:9");
            element.set_property("agent", &agent);
        })
        .unwrap_err();
        let whose = format!("agent property \"{property}\"");
        assert!(error.contains(&whose) && error.contains(named), "{property}={value:?}: {error}");
    }
}

#[test]
fn users_and_user_agents_may_be_any_text_of_one_line() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent();
    agent.set_property("user", "Zoë @ <home>");
    agent.set_property("user-agent", "Aufzeichnung/1.0 (für alle: ☎)");
    let (_call, invite) = invited(&recorder, |siprec| siprec.set_property("agent", &agent));
    assert!(invite.contains("<sip:Zo%C3%AB%20%40%20%3Chome%3E@"), "{invite}");
    assert!(invite.contains("User-Agent: Aufzeichnung/1.0 (für alle: ☎)\r\n"), "{invite}");
}

/// What the log warns of from now on, by whom it is about.
fn warnings() -> std::sync::mpsc::Receiver<(String, String)> {
    init();
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    gst::log::set_active(true);
    gst::log::set_threshold_for_name("siprec", gst::DebugLevel::Warning);
    gst::log::add_log_function(move |category, level, _, _, _, object, message| {
        if category.name() == "siprec" && level == gst::DebugLevel::Warning {
            let whose = object.map(ToString::to_string).unwrap_or_default();
            let text = message.get().map(|text| text.to_string()).unwrap_or_default();
            // The test may have seen enough.
            let _ = tell.lock().unwrap().send((whose, text));
        }
    });
    told
}

#[test]
fn a_property_that_is_set_too_late_is_told_once_with_when_it_counts() {
    let recorder = Recorder::start(Script::Accept);
    let agent = agent();
    let told = warnings();
    let (call, _) = invited(&recorder, |siprec| {
        siprec.set_property("agent", &agent);
        siprec.set_property("drain-timeout", 1_000_000_000_u64);
    });
    call.wait_for_state("Recording");
    // Other tests of this process may be heard too.
    let heard = |name: &str| {
        let named = format!("property \"{name}\"");
        told.try_iter().map(|(_, text)| text).filter(|text| text.contains(&named)).collect::<Vec<_>>()
    };
    assert!(heard("agent").is_empty() && heard("drain-timeout").is_empty(), "before READY nothing is late");
    let table: [(&str, gst::glib::Value, Option<&str>); 8] = [
        ("recorder", "sip:127.0.0.1:9".to_value(), Some("the next recording")),
        ("hold-bytes", 4096_u32.to_value(), Some("the next recording")),
        ("session-mode", call.siprec.property_value("session-mode"), Some("the next recording")),
        ("auto-start", false.to_value(), Some("the next change from READY to PAUSED")),
        ("agent", agent.to_value(), Some("the next change from NULL to READY")),
        ("dn", "1001".to_value(), None),
        ("hold-is-mute", false.to_value(), None),
        ("stop-timeout", 1_u64.to_value(), None),
    ];
    for (name, value, when) in table {
        call.siprec.set_property_from_value(name, &value);
        let texts = heard(name);
        assert_eq!(texts.len(), usize::from(when.is_some()), "{name}: {texts:?}");
        assert!(texts.iter().zip(when).all(|(text, when)| text.contains(when)), "{name}: {texts:?}");
    }
    agent.set_property("user", "late");
    let texts = heard("user");
    assert!(matches!(&texts[..], [text] if text.contains("when it starts again")), "{texts:?}");

    // With no recording under way the next one is the one that is meant.
    call.wish("stop");
    call.wait_for_state("Stopped");
    call.siprec.set_property("recorder", recorder.uri());
    assert!(heard("recorder").is_empty());
    call.wish("start");
    call.wait_for_state("Recording");
    assert!(recorder.request("INVITE").contains("<sip:siprec@"), "the agent goes on as it began");
}
