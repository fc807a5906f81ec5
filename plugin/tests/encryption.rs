//! Calls that are encrypted, and recordings that are: the call's packets are made by GStreamer's `srtpenc`, and what the
//! recorder gets is judged by its `srtpdec` (libsrtp).
#![cfg(test)]

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script, media_sections};
use common::srtp::{Decoder, Encoder, SUITES, Suite, base64, offered, srtp_caps as srtp};
use common::tee::Tee;
use common::{ready, rtp_bytes, rtp_bytes_of as packet, siprectee};
use gst::prelude::*;

const SSRC: u32 = 0xC0FF_EE00;
const CM80: Suite = SUITES[0];
const GCM: Suite = SUITES[3];

fn buffer(packet: &[u8]) -> gst::Buffer {
    gst::Buffer::from_mut_slice(packet.to_vec())
}

/// One party's packets, pushed as they are, and what the recorder got of them, in the clear.
fn passes(call: &Call, party: usize, packets: &[Vec<u8>]) {
    let (inlet, outlet) = &call.parties[party];
    for packet in packets {
        inlet.pad.push(buffer(packet)).unwrap();
    }
    assert_eq!(outlet.take().bytes, packets, "the call's packets go on as they came");
}

#[test]
fn an_encrypted_call_is_recorded_under_keys_of_the_recordings_own() {
    for (call_side, recording_side) in SUITES.into_iter().zip(SUITES.into_iter().cycle().skip(2)) {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property("allow-clear-keys", true);
            siprec.set_property("srtp-suites", recording_side.name);
        });
        let keys = [call_side.key(1), call_side.key(2)];
        for ((inlet, _), key) in call.parties.iter().zip(&keys) {
            inlet.begin_with(&srtp(Some(&call_side.caps(key, None))));
        }
        let encoders = keys.each_ref().map(|key| Encoder::new(call_side, key, None));
        for (party, encoder) in encoders.iter().enumerate() {
            let packets: Vec<_> = (0..20).map(|number| encoder.protect(rtp_bytes(number))).collect();
            passes(&call, party, &packets);
        }
        let invite = recorder.request("INVITE");
        for line in 0..2 {
            let section = media_sections(&invite).nth(line).unwrap();
            assert!(section.starts_with("audio ") && section.contains(" RTP/SAVP 0"), "{section}");
            let decoder = Decoder::new(&offered(&invite, line));
            for number in 0..20 {
                let sent = recorder.packet(line).unwrap();
                let plain = decoder.unprotect(&sent).unwrap_or_else(|| panic!("{}", recording_side.name));
                assert_eq!(timestamp(&plain), number * 160);
                assert_eq!(plain[12..], rtp_bytes(0)[12..]);
                assert_eq!(sent.len(), plain.len() + recording_side.tag);
            }
            let (mut report, mut ssrc) = ([0; 2048], [0; 4]);
            let [_, rtcp] = recorder.sockets(line);
            rtcp.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            let (length, _) = rtcp.recv_from(&mut report).unwrap();
            ssrc.copy_from_slice(&rtp_bytes(0)[8..12]);
            assert!(
                !report[8..length].windows(4).any(|word| word == ssrc),
                "all behind its header is encrypted"
            );
            let plain = decoder.unprotect_rtcp(&report[..length]).unwrap();
            // A sender report of this source, and its name.
            assert_eq!((plain[1], &plain[4..8], plain[29]), (200, &ssrc[..], 202), "{}", recording_side.name);
            assert_eq!(plain[32..36], ssrc);
            for key in &keys {
                assert!(!invite.contains(&base64(key)), "a key of the call leaves");
            }
        }
        assert_ne!(offered(&invite, 0), offered(&invite, 1), "each m-line has a key of its own");
        call.message("siprec-weakened");
        call.end();
    }
}

#[test]
fn a_plain_call_is_recorded_encrypted_where_that_is_required() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property_from_str("srtp", "require");
        siprec.set_property("allow-clear-keys", true);
    });
    call.begin();
    call.speak(0);
    let invite = recorder.request("INVITE");
    let decoder = Decoder::new(&offered(&invite, 1));
    let plain = decoder.unprotect(&recorder.packet(1).unwrap()).unwrap();
    assert_eq!(plain[12..], rtp_bytes(0)[12..]);
}

#[test]
fn an_encrypted_call_is_recorded_in_the_clear_only_where_that_is_allowed() {
    let begin = |call: &Call| {
        for (inlet, _) in &call.parties {
            inlet.begin_with(&srtp(Some(&CM80.caps(&CM80.key(1), None))));
        }
        let encoder = Encoder::new(CM80, &CM80.key(1), None);
        let packets: Vec<_> = (0..10).map(|number| encoder.protect(rtp_bytes(number))).collect();
        passes(call, 0, &packets);
    };
    let recorder = Recorder::start(Script::Accept);
    let disabled = |siprec: &gst::Element| siprec.set_property_from_str("srtp", "disable");
    let call = Call::new(&recorder.uri(), disabled);
    begin(&call);
    let failed = call.message("siprec-failed");
    let reason = failed.get::<&str>("reason").unwrap();
    assert!(reason.contains("encrypted") && reason.contains("not allowed"), "{reason}");
    begin(&call);
    assert!(!recorder.has("INVITE"));

    let call = Call::new(&recorder.uri(), |siprec| {
        disabled(siprec);
        siprec.set_property("allow-downgrade", true);
    });
    begin(&call);
    assert!(recorder.request("INVITE").contains(" RTP/AVP 0"));
    for number in 0..10 {
        let sent = recorder.packet(0).unwrap();
        assert_eq!((timestamp(&sent), &sent[12..]), (number * 160, &rtp_bytes(0)[12..]));
    }
    let weakened = call.message("siprec-weakened");
    assert!(weakened.get::<&str>("reason").unwrap().contains("its recording is not"), "{weakened}");
}

#[test]
fn keys_do_not_cross_the_network_in_the_clear_unless_that_is_allowed() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property_from_str("srtp", "require"));
    call.begin();
    call.speak(0);
    let failed = call.message("siprec-failed");
    let reason = failed.get::<&str>("reason").unwrap();
    assert!(reason.contains("keys") && reason.contains("TLS"), "{reason}");
    assert!(!recorder.has("INVITE"));
}

#[test]
fn whoever_answers_request_key_is_waited_for_and_the_call_is_not() {
    let recorder = Recorder::start(Script::Accept);
    let (answer, answers) = channel::<gst::Caps>();
    let answers = Mutex::new(answers);
    let asked: Arc<Mutex<Vec<(String, u32, ThreadId)>>> = Arc::default();
    let noted = asked.clone();
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        siprec.connect("request-key", false, move |arguments| {
            let pad = arguments[1].get::<gst::Pad>().unwrap().name().to_string();
            let ssrc = arguments[2].get::<u32>().unwrap();
            noted.lock().unwrap().push((pad, ssrc, std::thread::current().id()));
            Some(answers.lock().unwrap().recv().ok().to_value())
        });
    });
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(None)));
    let encoder = Encoder::new(GCM, &GCM.key(1), None);
    let encrypted: Vec<_> = (0..20).map(|number| encoder.protect(packet(SSRC, number))).collect();
    // Nobody has answered yet.
    passes(&call, 0, &encrypted);
    let invite = recorder.request("INVITE");
    let decoder = Decoder::new(&offered(&invite, 0));
    assert!(recorder.packet_within(0, Duration::from_millis(150)).is_none());
    answer.send(GCM.caps(&GCM.key(1), None)).unwrap();
    for number in 0..20 {
        let plain = decoder.unprotect(&recorder.packet(0).unwrap()).unwrap();
        assert_eq!(timestamp(&plain), number * 160);
    }
    // A transfer: another source, another key.
    let other = Encoder::new(CM80, &CM80.key(9), None);
    passes(&call, 0, &[other.protect(packet(7, 100)), other.protect(packet(7, 101))]);
    answer.send(CM80.caps(&CM80.key(9), None)).unwrap();
    for number in 100..102 {
        let plain = decoder.unprotect(&recorder.packet(0).unwrap()).unwrap();
        assert_eq!((timestamp(&plain), &plain[8..12]), (number * 160, &7u32.to_be_bytes()[..]));
    }
    // The application has new keys for a source.
    call.siprec.emit_by_name::<()>("remove-key", &[&7u32]);
    let renewed = Encoder::new(CM80, &CM80.key(10), None);
    passes(&call, 0, &[renewed.protect(packet(7, 102))]);
    answer.send(CM80.caps(&CM80.key(10), None)).unwrap();
    assert_eq!(timestamp(&decoder.unprotect(&recorder.packet(0).unwrap()).unwrap()), 102 * 160);
    let asked = asked.lock().unwrap();
    let questions: Vec<_> = asked.iter().map(|(pad, ssrc, _)| (pad.as_str(), *ssrc)).collect();
    assert_eq!(questions, [("sink_0", SSRC), ("sink_0", 7), ("sink_0", 7)]);
    assert!(asked.iter().all(|(.., thread)| *thread != std::thread::current().id()));
}

/// What `siprec` and `siprectee` have in common, however they ask.
struct Asking {
    element: gst::Element,
    asked: Arc<Mutex<Vec<u32>>>,
}

impl Asking {
    /// Nobody has a key.
    fn of(element: &gst::Element) -> Self {
        let asked: Arc<Mutex<Vec<u32>>> = Arc::default();
        let noted = asked.clone();
        element.connect("request-key", false, move |arguments| {
            assert!(arguments[1].get::<gst::Pad>().unwrap().name().starts_with("sink"));
            noted.lock().unwrap().push(arguments[2].get().unwrap());
            Some(None::<gst::Caps>.to_value())
        });
        Self { element: element.clone(), asked }
    }

    /// The questions since the last look, so many of them at least.
    fn heard(&self, least: usize) -> Vec<u32> {
        let end = Instant::now() + Duration::from_secs(20);
        while self.asked.lock().unwrap().len() < least {
            assert!(Instant::now() < end, "{:?}, not {least}", self.asked.lock().unwrap());
            std::thread::yield_now();
        }
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        // `siprec` asks on several threads.
        asked.sort_unstable();
        asked
    }

    /// Both ask the same, `send` being the way of a packet of a source.
    fn check(&self, send: &dyn Fn(u32), new_caps: &dyn Fn()) {
        for _ in 0..3 {
            (1..=4).for_each(send);
        }
        assert_eq!(self.heard(4), [1, 2, 3, 4], "each source once");
        self.element.emit_by_name::<()>("remove-key", &[&3_u32]);
        (1..=4).for_each(send);
        assert_eq!(self.heard(1), [3]);
        self.element.emit_by_name::<()>("renew-keys", &[]);
        (1..=4).chain(1..=4).for_each(send);
        assert_eq!(self.heard(4), [1, 2, 3, 4]);
        new_caps();
        (1..=4).for_each(send);
        assert_eq!(self.heard(4), [1, 2, 3, 4]);
        let began = Instant::now();
        (1..=500).for_each(send);
        // The first four were asked for already.
        let asked = self.heard(60).len() as u64;
        assert!((60..=62 + began.elapsed().as_secs()).contains(&asked), "{asked}");
    }
}

#[test]
fn both_elements_ask_for_a_source_once_for_few_of_a_flood_and_again_when_they_are_told_to() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
    let inlet = &call.parties[0].0;
    inlet.begin_with(&srtp(None));
    let asking = Asking::of(call.siprec.upcast_ref());
    let push = |ssrc| {
        inlet.pad.push(buffer(&packet(ssrc, 1))).unwrap();
    };
    let caps = |media: &str| {
        let mut caps = srtp(None);
        caps.make_mut().set("a-field", media);
        assert!(inlet.pad.push_event(gst::event::Caps::new(&caps)));
    };
    asking.check(&push, &|| caps("new"));
    call.end();

    let element = siprectee();
    let asking = Asking::of(&element);
    let tee = Tee::of(element, &srtp(None), |pad| pad.set_property("allow-downgrade", true));
    let caps = |field: &str| {
        let mut caps = srtp(None);
        caps.make_mut().set("a-field", field);
        tee.new_caps(&caps);
    };
    asking.check(&|ssrc| tee.push(&packet(ssrc, 1)), &|| caps("new"));
}

#[test]
fn an_answer_without_a_usable_key_is_told_and_costs_the_source_only() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        siprec.connect("request-key", false, |arguments| {
            Some(match arguments[2].get::<u32>().unwrap() {
                1 => Some(CM80.caps(&CM80.key(1), None)).to_value(),
                2 => None::<gst::Caps>.to_value(),
                3 => Some(gst::Caps::new_empty_simple("application/x-srtp")).to_value(),
                5 => Some(gst::Caps::new_empty_simple("application/x-rtp")).to_value(),
                _ => Some(CM80.caps(&[7; 12], None)).to_value(),
            })
        });
    });
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(None)));
    let encoder = Encoder::new(CM80, &CM80.key(1), None);
    let stranger = Encoder::new(CM80, &CM80.key(2), None);
    for ssrc in 1..=5 {
        let end = if ssrc == 1 { &encoder } else { &stranger };
        passes(&call, 0, &[end.protect(packet(ssrc, 1))]);
    }
    let mut told: Vec<String> = Vec::new();
    while told.len() < 4 {
        let wait = gst::ClockTime::from_seconds(15);
        let message = call.bus.timed_pop_filtered(wait, &[gst::MessageType::Warning]).expect("a warning");
        let gst::MessageView::Warning(warning) = message.view() else { panic!() };
        let text = warning.error().to_string();
        if text.contains("request-key") {
            told.push(text);
        }
    }
    told.sort();
    assert!(told.iter().any(|text| text.contains("source 2") && text.contains("no key")), "{told:?}");
    let lack = "source 3 have no \"srtp-key\"";
    assert!(told.iter().any(|text| text.contains(lack)), "{told:?}");
    assert!(told.iter().any(|text| text.contains("source 4") && text.contains("12")), "{told:?}");
    let other = "source 5 are application/x-rtp, not application/x-srtp";
    assert!(told.iter().any(|text| text.contains(other)), "{told:?}");
    let invite = recorder.request("INVITE");
    let plain = Decoder::new(&offered(&invite, 0)).unprotect(&recorder.packet(0).unwrap()).unwrap();
    assert_eq!(plain[8..12], 1u32.to_be_bytes());
    call.end();
    let report = call.message("siprec-report");
    assert_eq!(report.get::<u64>("dropped-not-authentic"), Ok(4), "{report}");
}

#[test]
fn a_partys_session_description_gives_the_keys_that_it_sends_under() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(None)));
    let describe = |dn: &str, crypto: &str| {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\n{crypto}"
        );
        call.siprec.emit_by_name::<Option<String>>("set-party-sdp", &[&dn, &sdp])
    };
    let line = |tag: u8, suite: Suite, key: &[u8]| {
        format!("a=crypto:{tag} {} inline:{}\r\n", suite.name, base64(key))
    };
    let (first, second) = (CM80.key(3), GCM.key(4));
    // An offer of several suites: the answer, which we need not know, has chosen the second.
    let offer = line(1, GCM, &GCM.key(99)) + &line(2, CM80, &first);
    assert_eq!(describe("1001", &offer), None);
    assert_eq!(describe("1002", &line(1, GCM, &second)), None);
    let ends = [Encoder::new(CM80, &first, None), Encoder::new(GCM, &second, None)];
    for (party, end) in ends.iter().enumerate() {
        let packets: Vec<_> = (0..5).map(|number| end.protect(rtp_bytes(number))).collect();
        passes(&call, party, &packets);
    }
    let invite = recorder.request("INVITE");
    let decoders = [0, 1].map(|line| Decoder::new(&offered(&invite, line)));
    for (line, decoder) in decoders.iter().enumerate() {
        for number in 0..5 {
            let plain = decoder.unprotect(&recorder.packet(line).unwrap()).unwrap();
            assert_eq!(timestamp(&plain), number * 160);
        }
    }
    // A new key in the middle of the call, and packets of the old one that are late.
    let renewed = CM80.key(5);
    assert_eq!(describe("1001", &line(1, CM80, &renewed)), None);
    let fresh = Encoder::new(CM80, &renewed, None);
    passes(
        &call,
        0,
        &[fresh.protect(rtp_bytes(6)), ends[0].protect(rtp_bytes(5)), fresh.protect(rtp_bytes(7))],
    );
    let mut numbers: Vec<_> = (0..3)
        .map(|_| timestamp(&decoders[0].unprotect(&recorder.packet(0).unwrap()).unwrap()) / 160)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [5, 6, 7]);
    let fault = describe("1002", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0LWtleQ==\r\n").unwrap();
    assert!(fault.starts_with("m-line 1: a=crypto:1: ") && !fault.contains("c2VjcmV0"), "{fault}");
    let fault = describe("1002", "a=crypto:none\r\n").unwrap();
    assert_eq!(fault.matches("a=crypto").count(), 1, "{fault}");
    let fault = describe("1002", "").unwrap();
    assert!(fault.starts_with("m-line 1 is encrypted (RTP/SAVP) and has no a=crypto"), "{fault}");
    let fault = call.siprec.emit_by_name::<Option<String>>("set-party-sdp", &[&"1002", &"hello"]).unwrap();
    assert_eq!(fault.matches("session description").count(), 1, "{fault}");
}

#[test]
fn caps_renew_keys_with_identifiers_in_the_middle_of_the_call() {
    for suite in SUITES {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
        let [(inlet, _), (silent, _)] = &call.parties[..] else { panic!() };
        silent.begin();
        inlet.begin_with(&srtp(Some(&suite.caps(&suite.key(1), Some(b"\x01\x02")))));
        let first = Encoder::new(suite, &suite.key(1), Some(b"\x01\x02"));
        passes(&call, 0, &[first.protect(rtp_bytes(0))]);
        let caps = srtp(Some(&suite.caps(&suite.key(2), Some(b"\x01\x03"))));
        assert!(inlet.pad.push_event(gst::event::Caps::new(&caps)));
        let second = Encoder::new(suite, &suite.key(2), Some(b"\x01\x03"));
        passes(
            &call,
            0,
            &[second.protect(rtp_bytes(2)), first.protect(rtp_bytes(1)), second.protect(rtp_bytes(3))],
        );
        let invite = recorder.request("INVITE");
        let decoder = Decoder::new(&offered(&invite, 0));
        let mut numbers: Vec<_> = (0..4)
            .map(|_| timestamp(&decoder.unprotect(&recorder.packet(0).unwrap()).unwrap()) / 160)
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3], "{suite:?}");
    }
}

#[test]
fn a_call_is_joined_at_the_counter_of_its_caps_and_a_source_that_comes_later_at_0() {
    for (suite, is_asked) in SUITES.into_iter().flat_map(|suite| [(suite, false), (suite, true)]) {
        let recorder = Recorder::start(Script::Accept);
        let key = suite.key(1);
        let mut keys = suite.caps(&key, None);
        keys.make_mut().set("roc", 3_u32);
        let (first, later) = (keys.clone(), suite.caps(&key, None));
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property("allow-clear-keys", true);
            siprec.connect("request-key", false, move |arguments| {
                assert!(is_asked);
                Some(if arguments[2].get() == Ok(SSRC) { &first } else { &later }.to_value())
            });
        });
        let given = (!is_asked).then_some(&keys);
        call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(given)));
        let encoder = Encoder::new(suite, &key, None);
        // Before anybody listens.
        for step in 0..11_u32 {
            encoder.protect(packet(SSRC, (step * 20_000) as u16));
        }
        let joined = (11 * 20_000_u32) as u16;
        // In between, a transfer.
        let said = [(SSRC, joined), (SSRC, joined + 1), (7, 40_000), (7, 40_001), (SSRC, joined + 2)]
            .map(|(ssrc, number)| packet(ssrc, number));
        passes(&call, 0, &said.each_ref().map(|packet| encoder.protect(packet.clone())));
        let decoder = Decoder::new(&offered(&recorder.request("INVITE"), 0));
        // Who waits for an answer may come behind who has one.
        let heard = said.each_ref().map(|_| {
            let plain = decoder.unprotect(&recorder.packet(0).unwrap()).unwrap();
            plain[4..].to_vec()
        });
        for ssrc in [SSRC, 7] {
            let of = |packets: &[&[u8]]| -> Vec<Vec<u8>> {
                let is_of = |packet: &&&[u8]| packet[4..8] == ssrc.to_be_bytes();
                packets.iter().filter(is_of).map(|packet| packet.to_vec()).collect()
            };
            let (said, heard) =
                (said.each_ref().map(|packet| &packet[4..]), heard.each_ref().map(Vec::as_slice));
            assert_eq!(of(&heard), of(&said), "{suite:?} {is_asked}");
        }
    }
}

#[test]
fn a_recording_that_begins_late_knows_how_often_the_numbers_have_wrapped() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| {
        siprec.set_property("allow-clear-keys", true);
        siprec.set_property("auto-start", false);
    });
    call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(Some(&GCM.caps(&GCM.key(1), None)))));
    let encoder = Encoder::new(GCM, &GCM.key(1), None);
    let (inlet, outlet) = &call.parties[0];
    for number in 0..150_000u32 {
        inlet.pad.push(buffer(&encoder.protect(rtp_bytes(number as u16)))).unwrap();
        if number % 1000 == 0 {
            outlet.take();
        }
    }
    outlet.take();
    call.wish("start");
    passes(&call, 0, &[encoder.protect(rtp_bytes(150_000u32 as u16))]);
    let invite = recorder.request("INVITE");
    let plain = Decoder::new(&offered(&invite, 0)).unprotect(&recorder.packet(0).unwrap()).unwrap();
    assert_eq!(timestamp(&plain), u32::from(150_000u32 as u16) * 160);
}

/// Of the 22 minutes that a round of numbers of G.711 takes, a call has many, and its recordings may end and begin.
#[test]
fn a_recording_that_begins_anew_knows_how_often_the_numbers_wrapped_in_the_last_one_and_since() {
    for suite in [CM80, GCM] {
        // While it is on, while it is paused, while there is none.
        for rounds in [[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 3, 3]] {
            let recorder = Recorder::start(Script::Accept);
            let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
            let keys = srtp(Some(&suite.caps(&suite.key(1), None)));
            call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&keys));
            let encoder = Encoder::new(suite, &suite.key(1), None);
            let mut number = 1000_u32;
            let mut says = |packets: u32| {
                let first = number;
                number += packets * 2000;
                let said: Vec<_> = (0..packets)
                    .map(|nth| encoder.protect(packet(SSRC, (first + nth * 2000) as u16)))
                    .collect();
                passes(&call, 0, &said);
                first
            };
            let hears = |invite: &str, line: usize, first: u32, packets: u32| {
                let decoder = Decoder::new(&offered(invite, 0));
                for nth in 0..packets {
                    let sent = recorder.packet(line);
                    let sent = sent.unwrap_or_else(|| panic!("{suite:?} {rounds:?} {line} {nth}"));
                    let plain = decoder.unprotect(&sent).unwrap();
                    let expected = u32::from((first + nth * 2000) as u16) * 160;
                    assert_eq!(timestamp(&plain), expected, "{suite:?} {rounds:?}");
                }
            };
            let packets = rounds.map(|rounds| rounds * 65_536 / 2000);
            let first = says(packets[0] + 1);
            let invite = recorder.request("INVITE");
            hears(&invite, 0, first, packets[0] + 1);
            call.wish("pause");
            says(packets[1]);
            call.wish("stop");
            call.wait_for_state("Stopped");
            says(packets[2]);
            call.wish("start");
            call.wish("resume");
            let first = says(3);
            let id =
                |invite: &str| invite.lines().find(|line| line.starts_with("Call-ID:")).map(str::to_owned);
            let mut invites = std::iter::repeat_with(|| recorder.request("INVITE"));
            hears(&invites.find(|other| id(other) != id(&invite)).unwrap(), 4, first, 3);
        }
    }
}

#[test]
fn a_key_that_is_missing_or_wrong_is_told_and_the_call_goes_on() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("allow-clear-keys", true));
    call.parties[0].0.begin_with(&srtp(None));
    call.parties[1].0.begin_with(&srtp(Some(&GCM.caps(&GCM.key(1), None))));
    let encoder = Encoder::new(GCM, &GCM.key(2), None);
    passes(&call, 0, &[encoder.protect(rtp_bytes(0))]);
    let wait = gst::ClockTime::from_seconds(15);
    loop {
        let message = call.bus.timed_pop_filtered(wait, &[gst::MessageType::Warning]).expect("a warning");
        let gst::MessageView::Warning(warning) = message.view() else { panic!() };
        let text = warning.error().to_string();
        if ["sink_0", "srtp-key", "request-key", "set-party-sdp"].iter().all(|word| text.contains(word)) {
            break;
        }
    }
    recorder.request("INVITE");
    // Told while the call goes on, not only at its end.
    let packets: Vec<_> = (1..1000).map(|number| encoder.protect(rtp_bytes(number))).collect();
    let pad = call.parties[1].0.pad.clone();
    let (enough, told) = channel::<()>();
    let speaks = std::thread::spawn(move || {
        for packet in packets {
            pad.push(buffer(&packet)).unwrap();
            if told.recv_timeout(Duration::from_millis(20)).is_ok() {
                break;
            }
        }
    });
    let gap = call.message("siprec-gap");
    enough.send(()).unwrap();
    speaks.join().unwrap();
    assert_eq!(gap.get::<&str>("reason"), Ok("not-authentic"), "{gap}");
    let stats = call.siprec.property::<gst::Structure>("stats");
    assert!(stats.get::<gst::Structure>("sink_0").unwrap().get::<bool>("secured").unwrap());
}

#[test]
fn suites_that_cannot_be_offered_are_named_at_ready() {
    let with = |list: &'static str| {
        ready(move |siprec| {
            siprec.set_property("recorder", "sip:recorder.invalid");
            siprec.set_property("srtp-suites", list);
        })
    };
    with("AEAD_AES_256_GCM, aes_cm_128_hmac_sha1_32").unwrap();
    for (list, wrong) in
        [("AES_512", "AES_512"), ("", "suite"), ("AEAD_AES_128_GCM AEAD_AES_128_GCM", "AEAD_AES_128_GCM")]
    {
        let error = with(list).unwrap_err();
        assert!(error.contains("\"srtp-suites\"") && error.contains(wrong), "{error}");
    }
}

#[test]
fn a_key_that_is_asked_for_in_the_call_serves_although_it_comes_after_its_end() {
    for end in ["stop", "eos"] {
        let recorder = Recorder::start(Script::Accept);
        let (answer, answers) = channel::<Option<gst::Caps>>();
        let (tell, asked) = channel();
        let answers = Mutex::new(answers);
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property("allow-clear-keys", true);
            siprec.connect("request-key", false, move |_| {
                tell.send(()).unwrap();
                Some(answers.lock().unwrap().recv().unwrap().to_value())
            });
        });
        call.parties.iter().for_each(|(inlet, _)| inlet.begin_with(&srtp(None)));
        let encoder = Encoder::new(CM80, &CM80.key(1), None);
        let packets: Vec<_> = (0..10).map(|number| encoder.protect(rtp_bytes(number))).collect();
        passes(&call, 0, &packets);
        asked.recv_timeout(Duration::from_secs(15)).unwrap();
        let invite = recorder.request("INVITE");
        match end {
            "stop" => call.wish("stop"),
            _ => call
                .parties
                .iter()
                .for_each(|(inlet, _)| assert!(inlet.pad.push_event(gst::event::Eos::new()))),
        }
        call.wait_for_state("Draining");
        answer.send(Some(CM80.caps(&CM80.key(1), None))).unwrap();
        let decoder = Decoder::new(&offered(&invite, 0));
        for number in 0..10 {
            assert_eq!(timestamp(&decoder.unprotect(&recorder.packet(0).unwrap()).unwrap()), number * 160);
        }
        call.wait_for_state("Stopped");
        let reports = [call.message("siprec-report"), call.message("siprec-report")];
        assert!(reports.iter().any(|report| report.get::<u64>("sent") == Ok(10)), "{end}: {reports:?}");
    }
}
