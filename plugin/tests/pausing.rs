//! What arrives while a call is paused is neither stored nor sent, whenever the pause was asked for and whatever pads,
//! caps and recordings come meanwhile.
#![cfg(test)]

mod common;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::{Inlet, caps, rtp};
use gst::prelude::*;

/// How many packets of each party met a shut gate.
fn gated(call: &Call) -> Vec<u64> {
    let stats = |pad: &gst::Pad| pad.property::<gst::Structure>("stats").get::<u64>("gated").unwrap();
    call.siprec.sink_pads().iter().map(stats).collect()
}

/// Ends the pause and tells how the recording begins: on each line with the party's first packet after it, and not
/// with what came before.
fn resumed_with(call: &Call, recorder: &Recorder, first: u16) {
    resumed_in(0..2, call, recorder, first);
}

/// The same of the dialog whose lines these are at the recorder.
fn resumed_in(lines: std::ops::Range<usize>, call: &Call, recorder: &Recorder, first: u16) {
    call.wish("resume");
    (first..first + 5).for_each(|sequence| call.speak(sequence));
    for line in lines {
        for sequence in first..first + 5 {
            assert_eq!(timestamp(&recorder.packet(line).unwrap()), u32::from(sequence) * 160, "line {line}");
        }
    }
    call.end();
    call.message("siprec-stopped");
}

#[test]
fn a_pause_before_the_call_holds_from_its_first_packet_on() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.emit_by_name::<()>("pause", &[]));
    call.begin();
    (0..10).for_each(|sequence| call.speak(sequence));
    let invite = recorder.request("INVITE");
    assert_eq!(invite.matches("a=inactive").count(), 2, "{invite}");
    call.wait_for_state("Paused");
    (10..20).for_each(|sequence| call.speak(sequence));
    assert_eq!(gated(&call), [20, 20]);
    resumed_with(&call, &recorder, 20);
    for report in [call.message("siprec-report"), call.message("siprec-report")] {
        assert_eq!(report.get::<u64>("sent"), Ok(5), "{report}");
        assert_eq!(report.get::<u64>("seen"), Ok(5), "{report}");
    }
}

#[test]
fn a_pause_before_start_is_kept_for_the_recording_that_starts() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("auto-start", false));
    call.begin();
    call.speak(0);
    call.wish("pause");
    call.wish("start");
    (1..10).for_each(|sequence| call.speak(sequence));
    call.wait_for_state("Paused");
    assert_eq!(gated(&call), [9, 9]);
    resumed_with(&call, &recorder, 10);
}

#[test]
fn a_pause_outlasts_the_recording_that_it_was_asked_for() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    call.wish("pause");
    call.wait_for_state("Paused");
    call.wish("stop");
    call.wait_for_state("Stopped");
    call.wish("start");
    (0..10).for_each(|sequence| call.speak(sequence));
    call.wait_for_state("Paused");
    resumed_in(4..6, &call, &recorder, 10);
}

#[test]
fn a_pause_that_is_taken_back_before_the_call_leaves_no_trace() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.emit_by_name::<()>("pause", &[]);
        siprec.emit_by_name::<()>("resume", &[]);
    });
    call.begin();
    call.speak(0);
    assert!(!recorder.request("INVITE").contains("a=inactive"));
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
}

#[test]
fn a_pad_that_comes_in_a_pause_has_its_gate_shut() {
    let recorder = Recorder::start(Script::Accept);
    let mut call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    call.wish("pause");
    call.wait_for_state("Paused");
    let leaving = call.siprec.static_pad("sink_1").unwrap();
    call.siprec.release_request_pad(&leaving);
    let coming = call.siprec.request_pad_simple("sink_1").unwrap();
    call.parties[1] =
        (Inlet::before(&coming), common::Outlet::behind(&call.siprec.static_pad("src_1").unwrap()));
    call.parties[1].0.begin();
    (0..10).for_each(|sequence| call.speak(sequence));
    assert_eq!(gated(&call), [10, 10]);
    resumed_with(&call, &recorder, 10);
}

#[test]
fn a_stream_whose_caps_become_good_in_a_pause_has_its_gate_shut() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    let text = "application/x-rtp,media=text,payload=0".parse().unwrap();
    call.parties[0].0.begin();
    call.parties[1].0.begin_with(&text);
    call.wait_for_state("Recording");
    call.wish("pause");
    call.wait_for_state("Paused");
    call.parties[1].0.pad.push(rtp(0)).unwrap();
    assert!(call.parties[1].0.pad.push_event(gst::event::Caps::new(&caps())));
    (1..10).for_each(|sequence| call.speak(sequence));
    assert_eq!(gated(&call), [9, 9]);
    resumed_with(&call, &recorder, 10);
}

#[test]
fn what_was_said_before_a_pause_that_lasts_to_the_end_is_delivered_then_and_nothing_that_came_in_it() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.wait_for_state("Recording");
    // Within one interval of sending: the last of them are still here when the gates shut.
    (0..5).for_each(|sequence| call.speak(sequence));
    call.wish("pause");
    (5..10).for_each(|sequence| call.speak(sequence));
    call.wait_for_state("Paused");
    call.wish("stop");
    assert_eq!(call.wait_for_state("Stopped"), "asked");
    for line in 0..2 {
        for sequence in 0..5 {
            assert_eq!(timestamp(&recorder.packet(line).unwrap()), sequence * 160, "line {line}");
        }
    }
    for _ in 0..2 {
        let report = call.message("siprec-report");
        assert_eq!((report.get::<u64>("seen"), report.get::<u64>("sent")), (Ok(5), Ok(5)), "{report}");
    }
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-gap"));
}

/// Both parties' sessions have gone to another recorder in the pause, and neither has had a packet there when its party is replaced.
#[test]
fn what_parties_said_before_a_pause_in_which_their_recorder_was_lost_and_they_were_replaced_is_at_the_next_one()
 {
    let (lost, next) = (Recorder::start(Script::Accept), Recorder::start(Script::Accept));
    let recorders = format!("{} {}", lost.uri(), next.uri());
    let call = Call::new(&recorders, |siprec| siprec.set_property_from_str("session-mode", "per-party"));
    call.begin();
    for _ in 0..2 {
        call.message("siprec-started");
    }
    (0..20).for_each(|sequence| call.speak(sequence));
    for line in [0, 4] {
        (0..15).for_each(|_| drop(lost.packet(line).unwrap()));
    }
    drop(lost);
    call.wish("pause");
    (20..30).for_each(|sequence| call.speak(sequence));
    for _ in 0..2 {
        call.message("siprec-failed-over");
    }
    assert!(next.packet_within(0, std::time::Duration::from_millis(100)).is_none(), "it is paused");
    let others = gst::Structure::builder("p").field("sink_0", "1004").field("sink_1", "1005").build();
    assert_eq!(call.siprec.emit_by_name::<Option<String>>("update-parties", &[&others]), None);
    for line in [0, 4] {
        for sequence in 0..20 {
            assert_eq!(timestamp(&next.packet(line).unwrap()), sequence * 160, "line {line}");
        }
    }
    for _ in 0..2 {
        let report = call.message("siprec-report");
        assert_eq!((report.get::<u64>("seen"), report.get::<u64>("sent")), (Ok(20), Ok(20)), "{report}");
    }
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-gap"));
    call.end();
}
