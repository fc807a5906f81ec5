//! Recorders out of pools, as applications name and see them.
#![cfg(test)]

mod common;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::call::Call;
use common::recorder::{Recorder, Script};
use common::{init, ready};
use gst::prelude::*;
use gstsiprec::SiprecAgent;
use tempfile::TempDir;

/// An agent with a file of pools that may be written again.
struct Pooled {
    agent: SiprecAgent,
    folder: TempDir,
    changes: Receiver<(String, String, String)>,
}

impl Pooled {
    fn new(text: &str) -> Self {
        init();
        let kind = gst::glib::Type::from_name("GstSiprecAgent").unwrap();
        let agent: SiprecAgent = gst::glib::Object::with_type(kind).downcast().unwrap();
        let (tell, changes) = channel();
        let tell = std::sync::Mutex::new(tell);
        agent.connect("recorder-changed", false, move |arguments| {
            let text = |index: usize| arguments[index].get::<String>().unwrap();
            drop(tell.lock().unwrap().send((text(1), text(2), text(3))));
            None
        });
        let pooled = Self { agent, folder: tempfile::tempdir().unwrap(), changes };
        pooled.write(text);
        pooled.agent.set_property("config", pooled.path());
        pooled
    }

    fn path(&self) -> String {
        self.folder.path().join("pools.toml").to_str().unwrap().to_owned()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn reload(&self) -> Option<String> {
        self.agent.emit_by_name("reload-config", &[])
    }

    fn call(&self, set: impl FnOnce(&gst::Element)) -> Call {
        let call = Call::new("pool:east", |siprec| {
            siprec.set_property("agent", &self.agent);
            set(siprec);
        });
        call.begin();
        call
    }

    fn recorders(&self) -> Vec<gst::Structure> {
        let pools: gst::Structure = self.agent.property("pools");
        let pool: gst::Structure = pools.get("east").unwrap();
        let recorders: gst::Array = pool.get("recorders").unwrap();
        recorders.iter().map(|recorder| recorder.get().unwrap()).collect()
    }

    fn sessions(&self) -> Vec<u32> {
        self.recorders().iter().map(|recorder| recorder.get("sessions").unwrap()).collect()
    }
}

fn east(head: &str, recorders: &[(&str, &str)]) -> String {
    let mut text = format!("[pool.east]\nhealth-check.interval = 0\n{head}\n");
    for (uri, lines) in recorders {
        text += &format!("[[pool.east.recorder]]\nuri = \"{uri}\"\n{lines}\n");
    }
    text
}

#[test]
fn calls_are_recorded_by_the_pool_that_they_name_and_it_may_change_meanwhile() {
    let (a, b) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let (one, two) = (a.uri(), b.uri());
    let pooled =
        Pooled::new(&east("strategy = \"round-robin\"", &[(&one, ""), (&two, "location = \"oslo\"")]));
    assert_eq!(pooled.agent.property::<gst::Structure>("pools").n_fields(), 0, "before it runs");
    let calls: Vec<Call> = (0..2).map(|_| pooled.call(|_| ())).collect();
    calls.iter().for_each(|call| drop(call.wait_for_state("Recording")));
    assert_eq!(pooled.sessions(), [1, 1]);
    let there = pooled.call(|siprec| siprec.set_property("location", "oslo"));
    there.wait_for_state("Recording");
    assert_eq!(pooled.sessions(), [1, 2]);
    let recorder = &pooled.recorders()[1];
    assert_eq!(recorder.get::<&str>("uri"), Ok(two.as_str()));
    assert_eq!(recorder.get::<&str>("location"), Ok("oslo"));
    assert_eq!(recorder.get::<&str>("health"), Ok("unknown"));

    pooled.write(&east("", &[(&one, "drain = true"), (&two, "capacity = 2")]));
    assert_eq!(pooled.reload(), None);
    let refused = pooled.call(|_| ());
    let failed = refused.message("siprec-failed");
    assert_eq!(failed.get::<&str>("reason"), Ok("no recorder is left: 1 at capacity, 1 drained"));
    assert_eq!(pooled.sessions(), [1, 2], "who records goes on");

    pooled.write("[pool.east]\nstrategy = \"any\"\n");
    let error = pooled.reload().unwrap();
    let expected =
        "pools.toml, line 2: \"pool.east.strategy\": it is \"any\", but must be one of `ordered`, ";
    assert!(error.starts_with("agent property \"config\": ") && error.contains(expected), "{error}");
    assert_eq!(pooled.recorders().len(), 2, "the pools stay as they were");
    let spelled_out = format!("{one};transport=udp");
    for (text, expected) in [
        (
            east("", &[(&one, "tls.ca = \"/nowhere/ca.pem\"")]),
            "line 6: \"pool.east.recorder.tls.ca\": cannot read /nowhere/ca.pem",
        ),
        (
            east("", &[(&one, "security = { srtp = \"disable\", keying = \"dtls\" }")]),
            "line 6: \"pool.east.recorder.security.keying\": dtls makes no keys with srtp = \"disable\"",
        ),
        (
            east("", &[(&one, ""), (&spelled_out, "")]),
            "line 8: \"pool.east.recorder.uri\": it is listed twice",
        ),
    ] {
        pooled.write(&text);
        let error = pooled.reload().unwrap();
        assert!(error.contains(expected), "{error}");
        assert_eq!(pooled.sessions(), [1, 2], "the pools stay as they were");
    }

    let other = pooled.folder.path().join("other.toml");
    std::fs::write(&other, east("", &[(&one, "")])).unwrap();
    pooled.agent.set_property("config", other.to_str().unwrap());
    assert_eq!(pooled.sessions(), [1]);
}

#[test]
fn a_file_that_has_no_pool_any_more_leaves_the_pools_as_they_are() {
    let recorder = Recorder::start(Script::Accept);
    let pooled = Pooled::new(&east("", &[(&recorder.uri(), "")]));
    let call = pooled.call(|_| ());
    call.wait_for_state("Recording");
    for text in ["", "# [pool.east]\n"] {
        pooled.write(text);
        let error = pooled.reload().unwrap();
        let expected = format!("agent property \"config\": {}: it has no pool any more", pooled.path());
        assert_eq!(error, expected);
        assert_eq!(pooled.sessions(), [1], "the pools stay as they were");
    }
    pooled.call(|_| ()).wait_for_state("Recording");
    // Who wants none says so.
    pooled.agent.set_property("config", None::<&str>);
    assert_eq!(pooled.agent.property::<gst::Structure>("pools").n_fields(), 0);
    pooled.write("");
    pooled.agent.set_property("config", pooled.path());
    assert_eq!(pooled.reload(), None, "there was none");
}

/// What is set on an element.
type Setting<'a> = &'a dyn Fn(&gst::Element);

#[test]
fn what_is_wrong_with_a_pool_is_an_error_at_ready() {
    let pooled = Pooled::new(&east("", &[("sip:127.0.0.1:9", "")]));
    let with = |set: Setting<'_>| {
        ready(|element| {
            element.set_property("agent", &pooled.agent);
            set(element);
        })
    };
    let wrong: [(Setting<'_>, &str); 5] = [
        (&|element| element.set_property("recorder", "pool:west"), "the agent has no pool \"west\""),
        (&|element| element.set_property("recorder", "pool:"), "\"\" is no pool's name"),
        (&|element| element.set_property("recorder", "pool:east sip:a"), "a pool stands alone"),
        (
            &|element| {
                element.set_property("recorder", "sip:a");
                element.set_property("location", "oslo");
            },
            "property \"location\": it is for pools",
        ),
        (
            &|element| {
                element.set_property("recorder", "pool:east");
                element.set_property("recorder-tls", gst::Structure::builder("tls").field("ca", "x").build());
            },
            "property \"recorder-tls\": the file of pools",
        ),
    ];
    for (set, named) in wrong {
        let error = with(set).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
    with(&|element| element.set_property("recorder", "pool:east")).unwrap();
    let bad = Pooled::new("[pool.east]\nrecorder = 7\n");
    let error = ready(|element| {
        element.set_property("agent", &bad.agent);
        element.set_property("recorder", "pool:east");
    })
    .unwrap_err();
    assert!(error.contains("agent property \"config\"") && error.contains("line 2"), "{error}");
    assert!(bad.reload().unwrap().contains("line 2"), "also while the agent does not run");
}

#[test]
fn a_recorder_that_dies_is_told_by_a_signal_and_seen_in_the_pools() {
    let recorder = Recorder::start(Script::Accept);
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = format!("sip:{}", dead.local_addr().unwrap());
    let text = east("", &[(&silent, ""), (&recorder.uri(), "")])
        .replace("health-check.interval = 0", "health-check = { interval = 0.1, failures = 1 }");
    let pooled = Pooled::new(&text);
    let call = pooled.call(|_| ());
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let (uri, state, reason) = pooled.changes.recv_timeout(left).expect("a change");
        if state == "dead" {
            assert_eq!((uri, reason.as_str()), (silent, "it does not answer"));
            break;
        }
    }
    assert_eq!(pooled.recorders()[0].get::<&str>("health"), Ok("dead"));
    call.end();
}
