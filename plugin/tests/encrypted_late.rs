//! When it becomes known late that a call is encrypted, or early by its parties' descriptions alone: nothing is lost, and
//! nothing leaves in the clear. Judged by GStreamer's `srtpdec`.
#![cfg(test)]

mod common;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script, media_sections};
use common::srtp::{Decoder, Encoder, SUITES, Suite, base64, offered, srtp_caps};
use common::{PCMU, rtp_bytes};
use gst::prelude::*;

const CM80: Suite = SUITES[0];

fn keys() -> [Vec<u8>; 2] {
    [CM80.key(1), CM80.key(2)]
}

/// Both parties' descriptions, with these transports and their keys.
fn describe(siprec: &gst::Element, transport: &str) {
    for (dn, key) in ["1001", "1002"].into_iter().zip(keys()) {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 {transport} 0\r\n\
             a=crypto:1 {} inline:{}\r\n",
            CM80.name,
            base64(&key)
        );
        assert_eq!(siprec.emit_by_name::<Option<String>>("set-party-sdp", &[&dn, &sdp]), None);
    }
}

/// What each party says from `first` on, encrypted.
fn speak(call: &Call, encoders: &[Encoder; 2], first: u16) {
    for (encoder, (inlet, _)) in encoders.iter().zip(&call.parties) {
        for number in first..first + 10 {
            let packet = encoder.protect(rtp_bytes(number));
            inlet.pad.push(gst::Buffer::from_mut_slice(packet)).unwrap();
        }
    }
}

/// The recorder gets ten packets of each party from `first` on, under what an offer says, and nothing else.
fn heard(recorder: &Recorder, offer: &str, first: u16) {
    for line in 0..2 {
        let section = media_sections(offer).nth(line).unwrap();
        assert!(section.starts_with("audio ") && section.contains(" RTP/SAVP 0"), "{section}");
        let decoder = Decoder::new(&offered(offer, line));
        for number in first..first + 10 {
            let plain = decoder.unprotect(&recorder.packet(line).unwrap()).unwrap();
            assert_eq!(timestamp(&plain), u32::from(number) * 160);
            assert_eq!(plain[12..], rtp_bytes(0)[12..]);
        }
    }
}

/// The next offer; where that is of one party's stream alone, which is told first, the one after it.
fn secured_offer(recorder: &Recorder) -> String {
    let offer = recorder.request("INVITE");
    let is_mixed = media_sections(&offer).any(|section| section.contains(" RTP/AVP "));
    if is_mixed { recorder.request("INVITE") } else { offer }
}

/// The next offer; where it left before the second party had joined, the one after it.
fn whole_offer(recorder: &Recorder) -> String {
    let offer = recorder.request("INVITE");
    let is_whole = media_sections(&offer).all(|section| !section.starts_with("audio 0 "));
    if is_whole { offer } else { recorder.request("INVITE") }
}

fn encoders() -> [Encoder; 2] {
    keys().map(|key| Encoder::new(CM80, &key, None))
}

#[test]
fn descriptions_say_that_a_call_is_encrypted_before_any_caps_do() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        describe(siprec, "RTP/SAVP");
    });
    let invite = whole_offer(&recorder);
    assert!(call.parties.iter().all(|(inlet, _)| !inlet.pad.has_current_caps()), "there were caps already");
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp_caps(None)));
    speak(&call, &encoders(), 0);
    heard(&recorder, &invite, 0);
}

#[test]
fn a_session_offered_in_the_clear_turns_encrypted_with_the_first_caps() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        // Keys as a best effort: whether they are used is known to the caps alone.
        describe(siprec, "RTP/AVP");
    });
    let invite = recorder.request("INVITE");
    assert!(invite.contains(" RTP/AVP 0"), "{invite}");
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp_caps(None)));
    speak(&call, &encoders(), 0);
    heard(&recorder, &secured_offer(&recorder), 0);
}

#[test]
fn a_call_that_turns_encrypted_is_recorded_encrypted_from_there_on() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
    call.begin();
    for number in 0..10 {
        call.speak(number);
    }
    recorder.request("INVITE");
    for line in 0..2 {
        for number in 0..10 {
            assert_eq!(timestamp(&recorder.packet(line).unwrap()), number * 160);
        }
    }
    // What follows at once waits: the session hears of it later than the packets come.
    for ((inlet, _), key) in call.parties.iter().zip(keys()) {
        let caps = srtp_caps(Some(&CM80.caps(&key, None)));
        inlet.pad.push_event(gst::event::Caps::new(&caps));
    }
    speak(&call, &encoders(), 10);
    heard(&recorder, &secured_offer(&recorder), 10);
    let reports = || (0..2).map(|_| call.message("siprec-report").get::<u64>("sent").unwrap());
    call.wish("stop");
    assert_eq!(reports().collect::<Vec<_>>(), [20, 20]);
}

#[test]
fn caps_that_lack_a_field_and_say_that_the_call_is_encrypted_are_heeded() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
    call.begin();
    (0..10).for_each(|number| call.speak(number));
    recorder.request("INVITE");
    for line in 0..2 {
        for number in 0..10 {
            assert_eq!(timestamp(&recorder.packet(line).unwrap()), number * 160);
        }
    }
    for ((inlet, _), key) in call.parties.iter().zip(keys()) {
        let mut caps = srtp_caps(Some(&CM80.caps(&key, None)));
        let fields = caps.make_mut().structure_mut(0).unwrap();
        fields.remove_fields(["payload", "encoding-name", "clock-rate"]);
        inlet.pad.push_event(gst::event::Caps::new(&caps));
    }
    speak(&call, &encoders(), 10);
    heard(&recorder, &secured_offer(&recorder), 10);
}

#[test]
fn a_recorder_that_will_not_take_an_encrypted_call_fails_by_name_and_the_call_goes_on() {
    let recorder = Recorder::start(Script::Accept);
    // Keys may not cross this signalling in the clear.
    let call = Call::new(&recorder.uri(), |_| {});
    call.begin();
    call.speak(0);
    recorder.request("INVITE");
    call.wait_for_state("Recording");
    let caps = srtp_caps(Some(&CM80.caps(&CM80.key(1), None)));
    call.parties.iter().for_each(|(inlet, _)| assert!(inlet.pad.push_event(gst::event::Caps::new(&caps))));
    let failed = call.message("siprec-failed");
    let reason = failed.get::<&str>("reason").unwrap();
    assert!(reason.contains("keys would cross the network in the clear"), "{failed}");
    call.wait_for_state("Failed");
    recorder.request("BYE");
    let sent: gst::Caps = PCMU.parse().unwrap();
    assert_ne!(sent, caps);
    for (inlet, outlet) in &call.parties {
        inlet.pad.push(gst::Buffer::from_mut_slice(rtp_bytes(1))).unwrap();
        assert_eq!(outlet.take().bytes.len(), 2, "the call goes on");
    }
}

#[test]
fn what_a_description_says_to_be_encrypted_is_not_sent_in_the_clear_from_the_moment_it_is_given() {
    let recorder = Recorder::start(Script::Accept);
    // Keys may not cross this signalling in the clear, so that the recording fails.
    let call = Call::new(&recorder.uri(), |_| {});
    call.begin();
    call.speak(0);
    recorder.request("INVITE");
    call.wait_for_state("Recording");
    for line in 0..2 {
        assert_eq!(timestamp(&recorder.packet(line).unwrap()), 0);
    }
    describe(&call.siprec, "RTP/SAVP");
    for number in 1..20 {
        call.speak(number);
    }
    call.wait_for_state("Failed");
    for line in 0..2 {
        assert_eq!(recorder.packet_within(line, std::time::Duration::from_millis(200)), None);
    }
}
