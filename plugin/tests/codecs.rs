//! A call that changes its codec in the middle, through `siprec`, the real agent and engine.
#![cfg(test)]

mod common;

use std::time::Duration;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::rtp_bytes;
use gst::prelude::*;

const PCMA: &str = "application/x-rtp,media=audio,encoding-name=PCMA,clock-rate=8000,payload=8";

/// Caps that do not say what comes.
const UNUSABLE: &str = "application/x-rtp,media=audio,payload=99";

/// A call whose first ten packets of each party, of PCMU, the recorder has.
fn recorded() -> (Recorder, Call) {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    speak(&call, 0, 0..10);
    recorder.request("INVITE");
    call.wait_for_state("Recording");
    expect(&recorder, 0, 0..10);
    (recorder, call)
}

/// Both parties have these caps from here on.
fn change(call: &Call, caps: &str) {
    let caps: gst::Caps = caps.parse().unwrap();
    for (inlet, _) in &call.parties {
        assert!(inlet.pad.push_event(gst::event::Caps::new(&caps)));
    }
}

/// Packets of both parties with this payload type.
fn speak(call: &Call, payload_type: u8, sequences: std::ops::Range<u16>) {
    for sequence in sequences {
        for (inlet, _) in &call.parties {
            let mut packet = rtp_bytes(sequence);
            packet[1] = payload_type;
            inlet.pad.push(gst::Buffer::from_mut_slice(packet)).unwrap();
        }
    }
}

/// Insists that the recorder gets these next, on both lines.
fn expect(recorder: &Recorder, payload_type: u8, sequences: std::ops::Range<u16>) {
    for line in 0..2 {
        for sequence in sequences.clone() {
            let packet = recorder.packet(line).unwrap();
            let got = (packet[1] & 0x7F, timestamp(&packet));
            assert_eq!(got, (payload_type, u32::from(sequence) * 160), "line {line}");
        }
    }
}

/// Insists that all of so many packets of each party were sent.
fn expect_whole(call: &Call, packets: u64) {
    for _ in 0..2 {
        let report = call.message("siprec-report");
        let count = |field: &str| report.get::<u64>(field).unwrap();
        assert_eq!((count("seen"), count("sent"), count("gaps")), (packets, packets, 0), "{report}");
    }
}

/// What both streams had at the end: packets seen, sent, and dropped since nobody knew what they were.
fn accounts(call: &Call) -> [(u64, u64, u64); 2] {
    [(); 2].map(|()| {
        let report = call.message("siprec-report");
        let count = |field: &str| report.get::<u64>(field).unwrap();
        (count("seen"), count("sent"), count("dropped-payload-unknown"))
    })
}

#[test]
fn while_the_call_has_a_codec_that_the_recorder_refuses_it_is_off_and_what_is_missing_is_told() {
    let (recorder, call) = recorded();
    recorder.set_script(Script::Refuse(488));
    change(&call, PCMA);
    speak(&call, 8, 10..60);
    recorder.request("INVITE");
    let off = [call.message("siprec-audio-off"), call.message("siprec-audio-off")];
    // One follows the other.
    assert_eq!(off.map(|off| off.get::<String>("GSIP_RECORD").unwrap()), ["ON", "OFF"]);
    // The old one is agreed already.
    change(&call, common::PCMU);
    speak(&call, 0, 60..70);
    let on = [call.message("siprec-audio-on"), call.message("siprec-audio-on")];
    assert_eq!(on.map(|on| on.get::<String>("GSIP_RECORD").unwrap()), ["ON", "ON"]);
    expect(&recorder, 0, 60..70);
    call.end();
    assert_eq!(accounts(&call), [(70, 20, 50); 2]);
    let messages = call.messages_so_far();
    let gaps: Vec<_> = messages.iter().filter(|message| message.name() == "siprec-gap").collect();
    assert!(gaps.iter().all(|gap| gap.get::<&str>("reason") == Ok("payload-unknown")), "{gaps:?}");
    assert_eq!(gaps.iter().map(|gap| gap.get::<u64>("packets").unwrap()).sum::<u64>(), 100, "{gaps:?}");
}

#[test]
fn under_caps_that_lack_a_field_what_the_call_had_before_is_recorded_and_what_is_not_known_is_counted() {
    let (recorder, call) = recorded();
    change(&call, UNUSABLE);
    speak(&call, 0, 10..30);
    speak(&call, 99, 30..60);
    speak(&call, 0, 60..70);
    expect(&recorder, 0, 10..30);
    expect(&recorder, 0, 60..70);
    change(&call, common::PCMU);
    speak(&call, 0, 70..80);
    expect(&recorder, 0, 70..80);
    call.end();
    assert_eq!(accounts(&call), [(80, 50, 30); 2]);
    let messages = call.messages_so_far();
    let gaps = messages.iter().filter(|message| message.name() == "siprec-gap");
    let lost = gaps.map(|gap| (gap.get::<String>("reason").unwrap(), gap.get::<u64>("packets").unwrap()));
    assert_eq!(
        lost.collect::<Vec<_>>(),
        [("payload-unknown".to_owned(), 30), ("payload-unknown".to_owned(), 30)]
    );
    assert!(!messages.iter().any(|message| message.name() == "siprec-audio-off"), "{messages:?}");
}

/// Caps of something that is not recorded.
const RAW: &str = "audio/x-raw,format=S16LE,rate=8000,channels=1,layout=interleaved";

#[test]
fn a_stream_that_is_no_rtp_for_a_while_is_told_off_in_its_session_and_on_when_it_is_recorded_again() {
    let (recorder, call) = recorded();
    let off_now = || {
        let list = |of: &gst::Structure, name| of.get::<gst::Array>(name).unwrap();
        let first = |list: gst::Array| list[0].get::<gst::Structure>().unwrap();
        let copy = first(list(&call.siprec.property::<gst::Structure>("stats"), "copies"));
        list(&first(list(&copy, "sessions")), "off").len()
    };
    let text = |message: &gst::Structure, field: &str| message.get::<String>(field).unwrap();
    let session = text(&call.message("siprec-started"), "session");
    let about = |message: &gst::Structure| {
        assert_eq!(text(message, "session"), session, "{message}");
        assert!(text(message, "recorder").starts_with("sip:127.0.0.1"), "{message}");
        assert_eq!(message.get::<u32>("copy"), Ok(1), "{message}");
        assert_eq!(text(message, "GSIP_REC_FN"), text(message, "recording-id"), "{message}");
        (text(message, "dn"), text(message, "GSIP_RECORD"))
    };
    change(&call, RAW);
    let off = [call.message("siprec-audio-off"), call.message("siprec-audio-off")];
    assert!(text(&off[0], "reason").contains("its caps are audio/x-raw, not application/x-rtp (sink_0)"));
    let both = |first: &str, second: &str| {
        [("1001".to_owned(), first.to_owned()), ("1002".to_owned(), second.to_owned())]
    };
    assert_eq!(off.each_ref().map(about), both("ON", "OFF"));
    assert_eq!(off_now(), 2);
    // Of no account.
    speak(&call, 0, 10..20);
    change(&call, common::PCMU);
    speak(&call, 0, 20..30);
    let on = [call.message("siprec-audio-on"), call.message("siprec-audio-on")];
    assert_eq!(on.each_ref().map(about), both("ON", "ON"));
    assert_eq!(off_now(), 0);
    call.end();
    let seen: u64 = (0..4).map(|_| call.message("siprec-report").get::<u64>("seen").unwrap()).sum();
    assert_eq!(seen, 40);
    drop(recorder);
}

/// A pad knows nothing of the next call.
#[test]
fn caps_that_lack_a_field_are_not_made_good_by_those_of_the_call_before() {
    let (recorder, call) = recorded();
    for state in [gst::State::Ready, gst::State::Playing] {
        call.siprec.set_state(state).unwrap();
    }
    recorder.request("BYE");
    for (inlet, _) in &call.parties {
        inlet.begin_with(&UNUSABLE.parse().unwrap());
    }
    let off = call.message("siprec-audio-off");
    assert!(off.get::<&str>("reason").unwrap().contains("its caps lack a usable field"), "{off}");
}

#[test]
fn a_codec_that_the_call_changes_to_is_recorded_from_its_first_packet_on() {
    for caps in [Some(PCMA), None] {
        let (recorder, call) = recorded();
        if let Some(caps) = caps {
            change(&call, caps);
        }
        speak(&call, 8, 10..60);
        let offer = recorder.request("INVITE");
        assert!(offer.contains(if caps.is_some() { "RTP/AVP 8\r\n" } else { "RTP/AVP 0 8\r\n" }), "{offer}");
        expect(&recorder, 8, 10..60);
        call.end();
        expect_whole(&call, 60);
    }
}

#[test]
fn what_waits_of_the_codec_before_is_recorded_too() {
    let recorder = Recorder::start(Script::AcceptAfter(Duration::from_secs(1)));
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    speak(&call, 0, 0..200);
    recorder.request("INVITE");
    call.wait_for_state("Recording");
    recorder.set_script(Script::Accept);
    // Four seconds of each party are leaving.
    expect(&recorder, 0, 0..10);
    change(&call, PCMA);
    speak(&call, 8, 200..210);
    let offer = recorder.request("INVITE");
    assert!(offer.contains("RTP/AVP 8 0\r\n"), "{offer}");
    expect(&recorder, 0, 10..200);
    expect(&recorder, 8, 200..210);
    call.end();
    expect_whole(&call, 210);
}
