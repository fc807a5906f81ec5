//! A call through `siprec` is recorded: with the real agent and engine, by a recorder that follows a script.
#![cfg(test)]

mod common;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::{Inlet, Outlet, init, launch, rtp, rtp_bytes, run};
use gst::prelude::*;

const VOICE: &str = "audiotestsrc num-buffers=25 samplesperbuffer=160 is-live=true \
                     ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000";

#[test]
fn both_parties_are_recorded_from_the_first_packet_to_the_last() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    (0..10).for_each(|sequence| call.speak(sequence));
    let invite = recorder.request("INVITE");
    assert!(invite.contains(";calluuid=00FA08K;dn=1001;otherDN=1002;recordDN=1001"), "{invite}");
    let started = call.message("siprec-started");
    assert_eq!(started.get::<&str>("call-uuid"), Ok("00FA08K"));
    assert!(invite.contains(started.get::<&str>("recording-id").unwrap()));
    assert!(invite.contains(started.get::<&str>("session").unwrap()));
    call.wait_for_state("Recording");
    (10..20).for_each(|sequence| call.speak(sequence));
    for line in 0..2 {
        for sequence in 0..20 {
            let packet = recorder.packet(line).unwrap();
            assert_eq!(timestamp(&packet), sequence * 160, "line {line}");
            assert_eq!(packet[12..], rtp_bytes(0)[12..]);
        }
    }
    call.end();
    recorder.request("BYE");
    assert_eq!(call.message("siprec-stopped").get::<&str>("reason"), Ok("call-ended"));
    let reports: Vec<_> = (0..2).map(|_| call.message("siprec-report")).collect();
    for report in reports {
        assert_eq!(report.get::<u64>("sent"), Ok(20), "{report}");
        assert_eq!(report.get::<u64>("gaps"), Ok(0), "{report}");
    }
    call.wait_for_state("Stopped");
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Stopped);
}

#[test]
fn an_application_that_stalls_in_a_handler_stalls_neither_call_nor_session() {
    let recorder = Recorder::start(Script::Accept);
    let (go_on, stalled) = channel::<()>();
    let stalled = std::sync::Mutex::new(stalled);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.connect("state-changed", false, move |_| {
            let _ = stalled.lock().unwrap().recv();
            None
        });
    });
    call.begin();
    for sequence in 0..20 {
        call.speak(sequence);
        assert_eq!(timestamp(&recorder.packet(0).unwrap()), u32::from(sequence) * 160);
    }
    call.wish("stop");
    recorder.request("BYE");
    drop(go_on);
}

#[test]
fn a_call_that_ended_before_the_answer_is_recorded_whole() {
    let recorder = Recorder::start(Script::AcceptAfter(Duration::from_secs(2)));
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("stop-timeout", 0u64);
        siprec.set_property("catch-up", 100f32);
    });
    call.begin();
    (0..50).for_each(|sequence| call.speak(sequence));
    call.end();
    for line in 0..2 {
        for sequence in 0..50 {
            let packet = recorder.packet(line).unwrap_or_else(|| {
                panic!("no packet {sequence} on line {line}: {}", call.message("siprec-report"))
            });
            assert_eq!(timestamp(&packet), sequence * 160, "line {line}");
        }
    }
    recorder.request("BYE");
    call.message("siprec-stopped");
}

#[test]
fn a_pause_sends_nothing_and_ends_with_what_follows_it() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    assert!(recorder.packet(0).is_some() && recorder.packet(1).is_some());
    call.wish("pause");
    (1..50).for_each(|sequence| call.speak(sequence));
    call.message("siprec-paused");
    assert_eq!(recorder.packet_within(0, Duration::from_millis(150)), None);
    call.wish("resume");
    (50..60).for_each(|sequence| call.speak(sequence));
    call.message("siprec-resumed");
    for sequence in 50..60 {
        assert_eq!(timestamp(&recorder.packet(0).unwrap()), sequence * 160);
    }
}

#[test]
fn a_refusal_is_told_and_the_call_goes_on() {
    let recorder = Recorder::start(Script::Refuse(603));
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    let failed = call.message("siprec-failed");
    assert_eq!(failed.get::<u32>("sip-code"), Ok(603));
    assert!(
        call.bus.timed_pop_filtered(gst::ClockTime::from_seconds(10), &[gst::MessageType::Warning]).is_some()
    );
    call.wait_for_state("Failed");
    (1..10).for_each(|sequence| call.speak(sequence));
    assert_eq!(call.parties[1].1.take().buffers.len(), 10);
}

#[test]
fn without_auto_start_nothing_happens_until_start() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    call.speak(0);
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Idle);
    call.wish("start");
    call.speak(1);
    call.wait_for_state("Recording");
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 160, "what came before start is not recorded");
    call.wish("stop");
    recorder.request("BYE");
    assert_eq!(call.message("siprec-stopped").get::<&str>("reason"), Ok("asked"));
    call.wait_for_state("Stopped");
    call.wish("start");
    recorder.request("INVITE");
    call.wait_for_state("Recording");
}

#[test]
fn start_right_after_stop_records_anew_while_the_old_recording_still_delivers() {
    let recorder = Recorder::start(Script::AcceptAfter(Duration::from_millis(300)));
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    let first = recorder.request("INVITE");
    // Not answered yet: what was said so far is held, and must still be delivered.
    call.wish("stop");
    call.wish("start");
    call.speak(1);
    let second = recorder.request("INVITE");
    assert_ne!(first.lines().next(), second.lines().next(), "another recording has another id");
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
    assert_eq!(timestamp(&recorder.packet(4).unwrap()), 160);
    recorder.request("BYE");
    assert_eq!(call.message("siprec-stopped").get::<&str>("reason"), Ok("asked"));
    // The states told are those of the latest recording.
    call.wait_for_state("Recording");
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Recording);
    (0..20).for_each(|_| {
        call.wish("stop");
        call.wish("start");
    });
    call.wish("stop");
    call.wait_for_state("Stopped");
}

#[test]
fn a_handler_that_sets_null_does_not_wait_for_itself() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("stop-timeout", 5_000_000_000_u64));
    let (tell, waited) = std::sync::mpsc::channel();
    call.siprec.connect("state-changed", false, move |arguments| {
        let element = arguments[0].get::<gst::Element>().unwrap();
        if arguments[1].get() == Ok(gstsiprec::SiprecState::Stopped) {
            let started = std::time::Instant::now();
            element.set_state(gst::State::Null).unwrap();
            tell.send(started.elapsed()).unwrap();
        }
        None
    });
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    call.wish("stop");
    let waited = waited.recv_timeout(Duration::from_secs(15)).unwrap();
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[test]
fn a_handler_that_starts_again_at_once_does_not_call_itself() {
    // Nothing to record with: each start fails before there is a session.
    let call = Call::new("", |siprec| siprec.set_property("auto-start", false));
    let (tell, done) = std::sync::mpsc::channel();
    let times = std::sync::atomic::AtomicUsize::new(0);
    call.siprec.connect("state-changed", false, move |arguments| {
        let element = arguments[0].get::<gst::Element>().unwrap();
        match times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            5000 => tell.send(()).unwrap(),
            number if number < 5000 => element.emit_by_name::<()>("start", &[]),
            _ => {}
        }
        None
    });
    call.wish("start");
    done.recv_timeout(Duration::from_secs(30)).unwrap();
}

#[test]
fn with_pre_record_the_recording_begins_before_start() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("auto-start", false);
        siprec.set_property("pre-record", true);
    });
    call.begin();
    (0..5).for_each(|sequence| call.speak(sequence));
    assert!(!recorder.has("INVITE"));
    call.wish("start");
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
}

#[test]
fn eos_of_every_party_ends_the_recording_and_of_one_does_not() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    assert!(call.parties[0].0.pad.push_event(gst::event::Eos::new()));
    call.parties[1].0.pad.push(rtp(1)).unwrap();
    for sequence in 0..2 {
        assert_eq!(timestamp(&recorder.packet(1).unwrap()), sequence * 160);
    }
    assert!(call.parties[1].0.pad.push_event(gst::event::Eos::new()));
    recorder.request("BYE");
    call.wait_for_state("Stopped");
}

#[test]
fn the_release_of_the_last_pad_ends_the_recording_and_the_next_pad_begins_another() {
    for mode in ["both-parties", "per-party"] {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |siprec| siprec.set_property_from_str("session-mode", mode));
        call.begin();
        (0..5).for_each(|sequence| call.speak(sequence));
        let first = recorder.request("INVITE");
        call.wait_for_state("Recording");
        let release = |name: &str| call.siprec.release_request_pad(&call.siprec.static_pad(name).unwrap());
        release("sink_0");
        (5..10).for_each(|sequence| call.parties[1].0.pad.push(rtp(sequence)).map(drop).unwrap());
        release("sink_1");
        recorder.request("BYE");
        call.wait_for_state("Stopped");
        let reports = [(); 2].map(|()| call.message("siprec-report"));
        let mut sent = reports.map(|report| {
            assert_eq!(report.get::<u64>("seen"), report.get::<u64>("sent"), "{report}");
            report.get::<u64>("sent").unwrap()
        });
        sent.sort_unstable();
        assert_eq!(sent, [5, 10], "{mode}");
        // Another call comes through the same element.
        let sink = call.siprec.request_pad_simple("sink_0").unwrap();
        let inlet = Inlet::before(&sink);
        let _outlet = Outlet::behind(&call.siprec.static_pad("src_0").unwrap());
        inlet.begin();
        inlet.pad.push(rtp(70)).unwrap();
        let next = recorder.request("INVITE");
        let id = |invite: &str| invite.split(['@', ' ']).nth(1).unwrap().to_owned();
        assert_ne!(id(&first), id(&next), "{mode}");
        call.wait_for_state("Recording");
    }
}

#[test]
fn a_recording_that_was_stopped_is_not_begun_again_by_pads() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    recorder.request("INVITE");
    call.wish("stop");
    recorder.request("BYE");
    call.wait_for_state("Stopped");
    for name in ["sink_0", "sink_1"] {
        call.siprec.release_request_pad(&call.siprec.static_pad(name).unwrap());
    }
    let sink = call.siprec.request_pad_simple("sink_0").unwrap();
    let inlet = Inlet::before(&sink);
    let _outlet = Outlet::behind(&call.siprec.static_pad("src_0").unwrap());
    inlet.begin();
    inlet.pad.push(rtp(70)).unwrap();
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Stopped);
    call.wish("start");
    inlet.pad.push(rtp(71)).unwrap();
    recorder.request("INVITE");
}

#[test]
fn a_party_without_caps_does_not_keep_the_other_waiting() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.parties[0].0.begin();
    call.parties[0].0.pad.push(rtp(0)).unwrap();
    let invite = recorder.request("INVITE");
    assert_eq!(invite.matches("m=audio").count(), 2, "{invite}");
    call.wait_for_state("Recording");
    call.parties[1].0.begin();
    call.parties[1].0.pad.push(rtp(7)).unwrap();
    assert_eq!(timestamp(&recorder.packet(1).unwrap()), 7 * 160);
}

#[test]
fn stop_now_does_not_wait_for_the_answer() {
    let recorder = Recorder::start(Script::AcceptAfter(Duration::from_secs(60)));
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    recorder.request("INVITE");
    call.wish("stop-now");
    recorder.request("CANCEL");
    call.wait_for_state("Stopped");
}

#[test]
fn a_pipeline_tells_its_bus_and_ends() {
    let recorder = Recorder::start(Script::Accept);
    let call = launch(&format!(
        "siprec name=rec recorder={} dn=1001 other-dn=1002 \
         extra-parameters=\"p,agentid=(string)7\" {VOICE} ! rec.sink_0 rec.src_0 ! fakesink \
         {VOICE} ! rec.sink_1 rec.src_1 ! fakesink",
        recorder.uri()
    ))
    .unwrap();
    let (error, messages) = run(&call);
    assert_eq!(error, None);
    assert!(messages.iter().any(|message| message.name() == "siprec-started"), "{messages:?}");
    assert!(recorder.request("INVITE").contains(";agentid=7"));
    // run() has set it to NULL, which waits for the BYE.
    assert!(recorder.has("BYE"));
}

#[test]
fn an_agent_of_the_application_is_used_and_shut_down() {
    init();
    let recorder = Recorder::start(Script::Accept);
    let agent: gst::Object =
        gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap())
            .downcast()
            .unwrap();
    agent.set_property("local-address", "127.0.0.1");
    agent.set_property("user", "tester");
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("agent", &agent));
    call.begin();
    call.speak(0);
    let invite = recorder.request("INVITE");
    assert!(invite.contains("<sip:tester@127.0.0.1"), "{invite}");
    call.wait_for_state("Recording");
    assert!(agent.emit_by_name::<bool>("shutdown", &[&10_000_000_000u64]));
    assert!(recorder.has("BYE"));
    call.speak(1);
}

#[test]
fn a_context_gives_the_agent() {
    init();
    let recorder = Recorder::start(Script::Accept);
    let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
    agent.set_property("user", "by-context");
    let mut context = gst::Context::new("gst.siprec.agent", true);
    let agent = agent.downcast::<gstsiprec::SiprecAgent>().unwrap();
    context.get_mut().unwrap().structure_mut().set("agent", &agent);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_context(&context));
    call.begin();
    call.speak(0);
    assert!(recorder.request("INVITE").contains("<sip:by-context@"));
}

#[test]
fn the_state_that_is_read_is_the_present_one_while_a_handler_takes_its_time() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    let (enter, entered) = channel();
    let (leave, left) = channel::<()>();
    let left = std::sync::Mutex::new(left);
    call.siprec.connect("state-changed", false, move |_| {
        let _ = enter.send(());
        let _ = left.lock().unwrap().recv_timeout(Duration::from_secs(15));
        None
    });
    call.begin();
    call.speak(0);
    entered.recv_timeout(Duration::from_secs(15)).unwrap();
    let reads = |wanted: gstsiprec::SiprecState| {
        let deadline = Instant::now() + Duration::from_secs(15);
        while call.siprec.property::<gstsiprec::SiprecState>("state") != wanted {
            assert!(Instant::now() < deadline, "never {wanted:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    reads(gstsiprec::SiprecState::Recording);
    call.wish("stop");
    recorder.request("BYE");
    reads(gstsiprec::SiprecState::Stopped);
    let stats = call.siprec.property::<gst::Structure>("stats");
    assert_eq!(stats.get::<gstsiprec::SiprecState>("state"), Ok(gstsiprec::SiprecState::Stopped));
    drop(leave);
}

#[test]
fn a_call_of_which_no_stream_can_be_recorded_is_told_as_failed_and_recorded_from_the_first_that_can() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property_from_str("policy", "mandatory");
        siprec.set_property("record-video", false);
    });
    let (rtp_caps, unknown) = (gst::Caps::builder("application/x-rtp"), "x-unknown\"\r\n");
    let unknown = rtp_caps.field("media", "audio").field("encoding-name", unknown).field("payload", 99);
    call.parties[0].0.begin_with(&unknown.field("clock-rate", 8000).build());
    let video = gst::Caps::builder("application/x-rtp").field("media", "video").field("payload", 96);
    let video = video.field("encoding-name", "VP8").field("clock-rate", 90_000).build();
    call.parties[1].0.begin_with(&video);
    let reason = call.wait_for_state("Failed");
    assert!(reason.contains("no stream of the call can be recorded"), "{reason}");
    let failed = call.message("siprec-failed");
    assert_eq!(failed.get::<&str>("GSIP_RECORD"), Ok("OFF"));
    assert_eq!(call.message("siprec-call-must-end").get::<String>("reason"), Ok(reason));
    assert_eq!(call.siprec.property::<gstsiprec::SiprecState>("state"), gstsiprec::SiprecState::Failed);
    // One of them becomes a stream that can be.
    call.begin();
    call.speak(0);
    recorder.request("INVITE");
    call.wait_for_state("Recording");
    call.end();
    recorder.request("BYE");
    call.wait_for_state("Stopped");
}

/// All hosts of the loopback network, where the kernel lets nobody send (EACCES).
const NOWHERE: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.255.255.255\r\nt=0 0\r\n\
                       m=audio 40000 RTP/AVP 0\r\na=recvonly\r\nm=audio 40002 RTP/AVP 0\r\na=recvonly\r\n";

#[test]
fn what_this_host_cannot_send_to_a_recorder_is_at_the_next_one_and_never_told_as_lost() {
    let (nowhere, next) = (Recorder::start(Script::Answer(NOWHERE)), Recorder::start(Script::Accept));
    let call = Call::new(&format!("{} {}", nowhere.uri(), next.uri()), |_| ());
    call.begin();
    call.message("siprec-started");
    let mut messages = Vec::new();
    let mut said = 0;
    while !messages.iter().any(|message: &gst::Structure| message.name() == "siprec-failed-over") {
        assert!(said < 700, "{messages:?}");
        call.speak(said);
        said += 1;
        std::thread::sleep(Duration::from_millis(20));
        messages.extend(call.messages_so_far());
    }
    assert!(said > 50, "it goes on for a while: {said}");
    for line in 0..2 {
        for sequence in 0..said {
            assert_eq!(timestamp(&next.packet(line).unwrap()), u32::from(sequence) * 160, "line {line}");
        }
    }
    call.end();
    for _ in 0..2 {
        let report = call.message("siprec-report");
        let count = |field: &str| report.get::<u64>(field).unwrap();
        assert_eq!((count("seen"), count("sent"), count("gaps")), (said.into(), said.into(), 0), "{report}");
    }
    messages.extend(call.messages_so_far());
    assert!(messages.iter().all(|message| message.name() != "siprec-gap"), "{messages:?}");
}

#[test]
fn what_is_lost_once_the_pipeline_is_in_null_is_in_the_log() {
    let recorder = Recorder::start(Script::AcceptAfter(Duration::from_secs(60)));
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("stop-timeout", 100_000_000_u64);
        siprec.set_property("drain-timeout", 1_000_000_000_u64);
    });
    let (tell, told) = channel();
    gst::log::set_threshold_for_name("siprec", gst::DebugLevel::Info);
    gst::log::add_log_function(move |category, level, _, _, _, _, message| {
        if category.name() == "siprec"
            && let Some(text) = message.get()
        {
            let _ = tell.send((level, text.to_string()));
        }
    });
    call.begin();
    (0..10).for_each(|sequence| call.speak(sequence));
    recorder.request("INVITE");
    call.siprec.set_state(gst::State::Null).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut lost = std::collections::BTreeMap::new();
    while lost.len() < 2 {
        let (level, text) =
            told.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("a gap");
        if let Some(gap) =
            text.strip_prefix("nobody has heard: ").and_then(|text| text.parse::<gst::Structure>().ok())
            && gap.name() == "siprec-gap"
        {
            assert_eq!(level, gst::DebugLevel::Warning);
            lost.insert(gap.get::<String>("dn").unwrap(), gap.get::<u64>("packets").unwrap());
        }
    }
    assert_eq!(lost.into_values().collect::<Vec<_>>(), [10, 10]);
}
