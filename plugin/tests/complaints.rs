//! What is wrong with an encrypted stream is told at once, in words that help, and not once for each packet.
#![cfg(test)]

mod common;

use common::call::Call;
use common::recorder::{Recorder, Script};
use common::srtp::{SUITES, Suite, buffer, srtp_caps as srtp};
use common::tee::Tee;
use common::{PCMU, rtp_bytes, rtp_bytes_of as packet};
use gst::prelude::*;

const CM80: Suite = SUITES[0];
const GCM: Suite = SUITES[3];

fn plain() -> gst::Caps {
    PCMU.parse().unwrap()
}

fn call(recorder: &Recorder) -> Call {
    Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true))
}

/// The WARNINGs that a call gave about the keys of its streams.
fn complaints(call: &Call) -> Vec<String> {
    warnings(call, "is encrypted (application/x-srtp)")
}

/// The WARNINGs of these words. The first is waited for, and the call is ended for the others.
fn warnings(call: &Call, words: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut take = |wait| {
        let message = call.bus.timed_pop_filtered(wait, &[gst::MessageType::Warning])?;
        let gst::MessageView::Warning(warning) = message.view() else { panic!() };
        told.push(warning.error().to_string());
        Some(told.iter().any(|text| text.contains(words)))
    };
    while !take(gst::ClockTime::from_seconds(15)).expect("a warning") {}
    call.end();
    while take(gst::ClockTime::ZERO).is_some() {}
    told.retain(|text| text.contains(words));
    told
}

#[test]
fn a_stream_that_turns_encrypted_with_every_packet_is_told_of_once() {
    let recorder = Recorder::start(Script::Accept);
    let call = call(&recorder);
    call.begin();
    let inlet = &call.parties[0].0;
    for number in 0..150 {
        inlet.pad.push_event(gst::event::Caps::new(&srtp(None)));
        inlet.pad.push(buffer(&packet(1, number))).unwrap();
        inlet.pad.push_event(gst::event::Caps::new(&plain()));
    }
    let told = complaints(&call);
    assert!(told.len() == 1 && told[0].contains("nobody has its key"), "{told:?}");
}

#[test]
fn a_stream_whose_caps_lack_a_field_with_every_packet_is_told_of_once() {
    let recorder = Recorder::start(Script::Accept);
    let call = call(&recorder);
    call.begin();
    let inlet = &call.parties[0].0;
    let mut odd = plain();
    odd.make_mut().set("clock-rate", 0);
    for number in 0..150 {
        inlet.pad.push_event(gst::event::Caps::new(&odd));
        inlet.pad.push(buffer(&packet(1, number))).unwrap();
        inlet.pad.push_event(gst::event::Caps::new(&plain()));
    }
    let told = warnings(&call, "is recorded as its caps were before: now its caps lack a usable field");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("sink_0") && told[0].contains("\"clock-rate\""), "{told:?}");
}

#[test]
fn a_stream_that_turns_into_no_rtp_with_every_packet_is_told_of_once_until_it_is_recorded_again() {
    let recorder = Recorder::start(Script::Accept);
    let call = call(&recorder);
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    recorder.set_script(Script::AcceptAfter(std::time::Duration::from_secs(60)));
    let inlet = &call.parties[0].0;
    for number in 1..150 {
        inlet.pad.push_event(gst::event::Caps::new(&"audio/x-raw".parse::<gst::Caps>().unwrap()));
        inlet.pad.push(buffer(&packet(1, number))).unwrap();
        inlet.pad.push_event(gst::event::Caps::new(&plain()));
    }
    let told = warnings(&call, "The recording goes on without the audio");
    assert_eq!(told.len(), 1, "{told:?}");
}

/// Before anything is asked for, or after its end.
#[test]
fn a_stream_that_no_recording_knows_is_told_with_what_the_call_is_to_be_told() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("auto-start", false);
        siprec.set_property("recording-id", "R1");
    });
    call.parties[0].0.begin_with(&"audio/x-raw".parse().unwrap());
    let off = call.message("siprec-audio-off");
    let text = |field: &str| off.get::<String>(field).unwrap();
    assert_eq!((text("GSIP_RECORD"), text("GSIP_REC_FN")), ("OFF".to_owned(), "R1".to_owned()), "{off}");
    assert_eq!((text("recording-id"), text("dn")), ("R1".to_owned(), "1001".to_owned()), "{off}");
    assert!(
        text("reason").contains("the stream of sink_0 is not recorded: its caps are audio/x-raw"),
        "{off}"
    );
}

#[test]
fn a_flood_of_sources_whose_key_nobody_gives_is_told_of_once() {
    let recorder = Recorder::start(Script::Accept);
    let call = call(&recorder);
    call.siprec.connect("request-key", false, |_| Some(None::<gst::Caps>.to_value()));
    let inlet = &call.parties[0].0;
    inlet.begin_with(&srtp(None));
    for ssrc in 0..200 {
        inlet.pad.push(buffer(&packet(ssrc, 1))).unwrap();
    }
    // That some are not asked for yet is told besides.
    let told = warnings(&call, "request-key gave no key for source");
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_flood_of_sources_that_are_not_asked_for_yet_is_told_of_once() {
    for asked in [true, false] {
        let recorder = Recorder::start(Script::Accept);
        let call = call(&recorder);
        if asked {
            call.siprec.connect("request-key", false, |_| Some(None::<gst::Caps>.to_value()));
        }
        call.begin();
        let inlet = &call.parties[0].0;
        inlet.pad.push_event(gst::event::Caps::new(&srtp(None)));
        for ssrc in 0..1000 {
            inlet.pad.push(buffer(&packet(ssrc, 1))).unwrap();
        }
        let words = if asked {
            "than request-key is asked for at once (64"
        } else {
            "is encrypted (application/x-srtp)"
        };
        let told = warnings(&call, words);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(asked || told[0].contains("nobody has its key"), "{told:?}");
    }
}

#[test]
fn a_key_of_caps_that_cannot_be_used_is_told_by_its_fields_alone() {
    for (change, words) in [
        (
            ("srtp-auth", "hmac-sha1-80"),
            &["\"srtp-auth\"", "\"srtp-cipher\"", "\"aes-128-gcm\"", "\"hmac-sha1-80\""],
        ),
        (
            ("srtcp-auth", "hmac-sha1-32"),
            &["\"srtcp-auth\"", "\"srtcp-cipher\"", "\"aes-128-gcm\"", "\"hmac-sha1-32\""],
        ),
        (
            ("srtcp-cipher", "aes-128-icm"),
            &["\"srtcp-auth\"", "\"srtcp-cipher\"", "\"aes-128-icm\"", "\"null\""],
        ),
        (
            ("srtcp-cipher", "aes-256-gcm"),
            &["\"srtp-cipher\"", "\"srtcp-cipher\"", "\"aes-128-gcm\"", "\"aes-256-gcm\""],
        ),
    ] {
        let recorder = Recorder::start(Script::Accept);
        let call = call(&recorder);
        let mut caps = srtp(Some(&GCM.caps(&GCM.key(1), None)));
        caps.make_mut().set(change.0, change.1);
        let inlet = &call.parties[0].0;
        inlet.begin_with(&caps);
        for number in 0..10 {
            inlet.pad.push(buffer(&packet(1, number))).unwrap();
        }
        let told = complaints(&call);
        assert!(told.len() == 1 && told[0].contains("its key cannot be used"), "{told:?}");
        assert!(words.iter().all(|word| told[0].contains(word)), "{told:?}");
        assert!(!told[0].contains("nobody has its key"), "{told:?}");
    }
}

#[test]
fn keys_that_are_too_many_are_told_by_the_first_that_is_not_taken() {
    let mut keys = CM80.caps(&CM80.key(1), Some(&[0, 1]));
    for number in 2..=40 {
        let fields = keys.make_mut();
        fields.set(format!("srtp-key{number}"), buffer(&CM80.key(number)));
        fields.set(format!("mki{number}"), buffer(&[0, number]));
    }
    let text = "there are more than 16 keys: \"srtp-key17\" and those after it are not taken";

    let recorder = Recorder::start(Script::Accept);
    let call = call(&recorder);
    call.parties[0].0.begin_with(&srtp(Some(&keys)));
    let told = complaints(&call);
    assert!(told.len() == 1 && told[0].contains(text), "{told:?}");

    let tee = Tee::new(&keys, |_| ());
    let told = tee.warnings();
    assert!(told.iter().any(|told| told.contains(text)), "{told:?}");
}

#[test]
fn a_stream_through_the_tee_that_turns_encrypted_with_every_packet_is_told_of_once_for_each_kind() {
    let key = CM80.key(1);
    for (caps, kinds) in [
        (CM80.caps(&key, None), &["rec_0 gets nothing"][..]),
        (
            gst::Caps::new_empty_simple("application/x-srtp"),
            &["have no \"srtp-key\"", "rec_0 gets nothing", "(no-key)"],
        ),
    ] {
        let tee = Tee::new(&plain(), |_| ());
        for number in 0..300 {
            tee.new_caps(&caps);
            tee.push(&rtp_bytes(number));
            tee.new_caps(&plain());
            tee.push(&rtp_bytes(number));
        }
        let told = tee.warnings();
        let once = |kind: &&str| told.iter().filter(|text| text.contains(*kind)).count() == 1;
        let authentic = usize::from(told.iter().any(|text| text.contains("(not-authentic)")));
        assert!(kinds.iter().all(once) && told.len() == kinds.len() + authentic, "{told:?}");
    }
}
