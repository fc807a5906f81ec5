//! `siprectee` with SRTP on either side: encrypted by GStreamer's `srtpenc`, judged by its `srtpdec`.
#![cfg(test)]

mod common;

use std::sync::{Arc, Mutex};

use common::srtp::{Decoder, Encoder, SUITES, Suite, buffer};
use common::tee::{Tee, secure};
use common::{Outlet, caps, init, launch, rtp_bytes, siprectee};
use gst::prelude::*;

const AES: Suite = SUITES[0];
const GCM: Suite = SUITES[3];

/// Everything of a packet but what a branch changes: its number.
fn unnumbered(packet: &[u8]) -> (u8, u8, &[u8]) {
    (packet[0], packet[1] & 0x7F, &packet[4..])
}

fn of_source(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp_bytes(sequence);
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

/// Decrypts what left on a branch, and insists that it is these packets.
fn ensure_decrypts(decoder: &Decoder, sent: &[Vec<u8>], expected: &[Vec<u8>]) {
    assert_eq!(sent.len(), expected.len());
    for (sent, expected) in sent.iter().zip(expected) {
        let plain = decoder.unprotect(sent).expect("srtpdec takes it");
        assert_eq!(unnumbered(&plain), unnumbered(expected));
    }
}

#[test]
fn every_suite_of_a_call_is_recorded_in_every_suite() {
    for (n, call) in SUITES.into_iter().enumerate() {
        for (m, own) in SUITES.into_iter().enumerate() {
            let (call_key, own_key) = (call.key(n as u8), own.key(0x80 + m as u8));
            let encoder = Encoder::new(call, &call_key, None);
            let tee = Tee::new(&call.caps(&call_key, None), |pad| secure(pad, own, &own_key));
            let plain: Vec<_> = (0..20).map(rtp_bytes).collect();
            for packet in &plain {
                let encrypted = encoder.protect(packet.clone());
                let pushed = buffer(&encrypted);
                let address = pushed.as_ptr() as usize;
                tee.way.push(pushed).unwrap();
                let seen = tee.way.outlet.take();
                assert_eq!(seen.buffers, [(address, true)], "the same buffer, held by nobody else");
                assert_eq!(seen.bytes, [encrypted], "untouched");
            }
            let sent = tee.branch.take().bytes;
            assert!(sent.iter().all(|packet| packet.len() == rtp_bytes(0).len() + own.tag));
            ensure_decrypts(&Decoder::new(&own.caps(&own_key, None)), &sent, &plain);
            assert_eq!(tee.warnings(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_plain_call_is_recorded_encrypted() {
    for own in SUITES {
        let key = own.key(9);
        let tee = Tee::new(&caps(), |pad| secure(pad, own, &key));
        (0..5).for_each(|number| tee.push(&rtp_bytes(number)));
        let plain: Vec<_> = (0..5).map(rtp_bytes).collect();
        ensure_decrypts(&Decoder::new(&own.caps(&key, None)), &tee.branch.take().bytes, &plain);
        assert_eq!(tee.branch.pad.current_caps().unwrap().structure(0).unwrap().name(), "application/x-srtp");
    }
}

#[test]
fn an_encrypted_call_is_recorded_plain_only_where_that_is_allowed() {
    let key = AES.key(1);
    let encoder = Encoder::new(AES, &key, None);
    let tee = Tee::new(&AES.caps(&key, None), |_| ());
    for number in 0..10 {
        tee.push(&encoder.protect(rtp_bytes(number)));
    }
    let seen = tee.branch.take();
    assert!(seen.bytes.is_empty());
    assert_eq!(seen.events, [gst::EventType::StreamStart], "nothing says plain RTP");
    assert_eq!(tee.dropped("not-protected"), 10);
    let warnings = tee.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("rec_0 gets nothing"), "{warnings:?}");
    assert!(warnings[0].contains("allow-downgrade"), "{warnings:?}");

    tee.pad.set_property("allow-downgrade", true);
    tee.push(&encoder.protect(rtp_bytes(10)));
    let seen = tee.branch.take();
    use gst::EventType::{Caps, Segment};
    assert_eq!(seen.events, [Caps, Segment], "in this order");
    assert_eq!(unnumbered(&seen.bytes[0]), unnumbered(&rtp_bytes(10)));
    assert_eq!(tee.branch.pad.current_caps().unwrap().structure(0).unwrap().name(), "application/x-rtp");
    assert_eq!(tee.way.outlet.take().buffers.len(), 11);

    tee.pad.set_property("allow-downgrade", false);
    tee.push(&encoder.protect(rtp_bytes(11)));
    assert!(tee.branch.take().bytes.is_empty());
    assert_eq!(tee.warnings().len(), 1);
}

#[test]
fn caps_of_a_branch_have_no_key_of_the_call() {
    let key = AES.key(1);
    for (set, expected) in [(true, "application/x-srtp"), (false, "application/x-rtp")] {
        let mut keys = AES.caps(&key, Some(&[1, 2, 3, 4]));
        let fields = keys.make_mut();
        fields.set("roc", 0_u32);
        fields.set("srtp-key2", buffer(&AES.key(2)));
        fields.set("mki2", buffer(&[1, 2, 3, 5]));
        for (field, value) in [("media", "audio"), ("encoding-name", "PCMU")] {
            fields.set(field, value);
        }
        fields.set("ssrc", 0xC0FF_EE00_u32);
        let tee = Tee::new(&keys, |pad| match set {
            true => secure(pad, GCM, &GCM.key(3)),
            false => pad.set_property("allow-downgrade", true),
        });
        let encoder = Encoder::new(AES, &key, Some(&[1, 2, 3, 4]));
        tee.push(&encoder.protect(rtp_bytes(0)));
        assert_eq!(tee.branch.take().bytes.len(), 1);
        let told = tee.branch.pad.current_caps().unwrap();
        let wanted = format!("{expected},media=audio,encoding-name=PCMU,ssrc=(uint)3237998080");
        assert_eq!(told, wanted.parse::<gst::Caps>().unwrap());
        assert_eq!(tee.way.outlet.pad.current_caps(), Some(keys), "the call's own way has its caps");
    }
}

#[test]
fn srtpdec_behind_a_branch_needs_the_key_alone() {
    let (key, own) = (AES.key(1), GCM.key(2));
    let element = siprectee();
    let tee = Tee::of(element, &AES.caps(&key, None), |pad| secure(pad, GCM, &own));
    tee.pad.unlink(&tee.branch.pad).unwrap();
    let keys = GCM.caps(&own, None);
    let decoder = gst::ElementFactory::make("srtpdec").build().unwrap();
    decoder.connect("request-key", false, move |_| Some(keys.to_value()));
    let out = Outlet::behind(&decoder.static_pad("rtp_src").unwrap());
    decoder.set_state(gst::State::Playing).unwrap();
    tee.pad.link(&decoder.static_pad("rtp_sink").unwrap()).unwrap();
    let encoder = Encoder::new(AES, &key, None);
    (0..3).for_each(|number| tee.push(&encoder.protect(rtp_bytes(number))));
    assert_eq!(out.take().bytes.len(), 3);
    decoder.set_state(gst::State::Null).unwrap();
}

/// A tee whose `request-key` is answered by `answer`; the sources that it was emitted for.
fn asking(
    answer: impl Fn(u32) -> Option<gst::Caps> + Send + Sync + 'static,
) -> (gst::Element, Arc<Mutex<Vec<u32>>>) {
    let (element, asked) = (siprectee(), Arc::new(Mutex::new(Vec::new())));
    let noted = asked.clone();
    element.connect("request-key", false, move |arguments| {
        let element: gst::Element = arguments[0].get().unwrap();
        let pad: gst::Pad = arguments[1].get().unwrap();
        assert_eq!(Some(pad), element.static_pad("sink"));
        let ssrc = arguments[2].get().unwrap();
        noted.lock().unwrap().push(ssrc);
        Some(answer(ssrc).to_value())
    });
    (element, asked)
}

fn keyless() -> gst::Caps {
    init();
    "application/x-srtp,media=audio".parse().unwrap()
}

#[test]
fn each_source_is_asked_for_once_and_has_its_own_key() {
    let key = |ssrc: u32| AES.key(ssrc as u8);
    let (element, asked) = asking(move |ssrc| (ssrc != 3).then(|| AES.caps(&key(ssrc), None)));
    let own = GCM.key(200);
    let tee = Tee::of(element, &keyless(), |pad| secure(pad, GCM, &own));
    let encoders: Vec<_> = (0..4).map(|ssrc| Encoder::new(AES, &key(ssrc), None)).collect();
    let mut expected = Vec::new();
    for number in 0..10 {
        for ssrc in 0..4 {
            let packet = of_source(ssrc, number);
            tee.push(&encoders[ssrc as usize].protect(packet.clone()));
            if ssrc != 3 {
                expected.push(packet);
            }
        }
    }
    assert_eq!(*asked.lock().unwrap(), [0, 1, 2, 3]);
    ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &tee.branch.take().bytes, &expected);
    assert_eq!(tee.dropped("not-authentic"), 10, "a key of another source decrypts nothing");
}

#[test]
fn a_source_without_a_key_is_counted_and_asked_for_again_only_when_keys_change() {
    let (element, asked) = asking(|_| None);
    let tee = Tee::of(element, &keyless(), |pad| secure(pad, GCM, &GCM.key(1)));
    let encoder = Encoder::new(AES, &AES.key(2), None);
    let mut number = 0;
    let mut speak = || {
        (0..5).for_each(|_| {
            tee.push(&encoder.protect(rtp_bytes(number)));
            number += 1;
        });
        asked.lock().unwrap().len()
    };
    assert_eq!(speak(), 1);
    assert_eq!(speak(), 1);
    tee.new_caps(&"application/x-srtp,media=audio,payload=0".parse().unwrap());
    assert_eq!(speak(), 2);
    tee.way.element.emit_by_name::<()>("renew-keys", &[]);
    assert_eq!(speak(), 3);
    assert_eq!(tee.dropped("no-key"), 20);
    let warnings = tee.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("no-key"), "one burst: {warnings:?}");
    assert_eq!(tee.way.outlet.take().buffers.len(), 20);
}

#[test]
fn what_a_handler_answers_wrongly_is_told() {
    for (answer, told) in [
        (AES.caps(&[1; 29], None), "\"srtp-key\" does not fit"),
        (keyless(), "no \"srtp-key\""),
        (
            "application/x-srtp,srtp-cipher=null,srtp-auth=null,srtcp-cipher=null,srtcp-auth=null"
                .parse()
                .unwrap(),
            "neither encryption nor authentication",
        ),
    ] {
        let (element, asked) = asking(move |_| Some(answer.clone()));
        let tee = Tee::of(element, &keyless(), |pad| secure(pad, GCM, &GCM.key(1)));
        let encoder = Encoder::new(AES, &AES.key(2), None);
        (0..5).for_each(|number| tee.push(&encoder.protect(rtp_bytes(number))));
        assert_eq!((asked.lock().unwrap().len(), tee.dropped("no-key")), (1, 5));
        let warnings = tee.warnings();
        assert!(warnings.len() == 2 && warnings[0].contains(told), "{warnings:?}");
    }
}

#[test]
fn caps_with_a_wrong_key_are_told_and_the_call_goes_on() {
    let tee = Tee::new(&AES.caps(&[1; 3], None), |pad| secure(pad, GCM, &GCM.key(1)));
    let warnings = tee.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("\"srtp-key\" does not fit"), "{warnings:?}");
    tee.push(&Encoder::new(AES, &AES.key(2), None).protect(rtp_bytes(0)));
    assert_eq!(tee.dropped("no-key"), 1);
    assert_eq!(tee.way.outlet.take().buffers.len(), 1);
}

#[test]
fn a_call_that_changes_keys_is_recorded_on_and_packets_on_their_way_too() {
    let (first, second, own) = (AES.key(1), GCM.key(2), GCM.key(3));
    let tee = Tee::new(&AES.caps(&first, None), |pad| secure(pad, GCM, &own));
    let (before, after) = (Encoder::new(AES, &first, None), Encoder::new(GCM, &second, None));
    let mut expected = Vec::new();
    let mut speak = |encoder: &Encoder, number: u16| {
        tee.push(&encoder.protect(rtp_bytes(number)));
        expected.push(rtp_bytes(number));
    };
    (0..5).for_each(|number| speak(&before, number));
    tee.new_caps(&GCM.caps(&second, None));
    // Under way in the network while the caps came.
    (5..8).for_each(|number| speak(&before, number));
    (8..12).for_each(|number| speak(&after, number));
    ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &tee.branch.take().bytes, &expected);
    assert_eq!(tee.warnings(), Vec::<String>::new());
}

#[test]
fn a_new_key_that_comes_rounds_of_numbers_late_fits() {
    for suite in SUITES {
        let (keys, own) = ([suite.key(1), suite.key(2)], GCM.key(3));
        let tee = Tee::new(&suite.caps(&keys[0], None), |pad| secure(pad, GCM, &own));
        tee.push(&Encoder::new(suite, &keys[0], None).protect(rtp_bytes(0)));
        let encoder = Encoder::new(suite, &keys[1], None);
        let mut number = 0_u32;
        for _ in 0..200 {
            number += 1000;
            tee.push(&encoder.protect(rtp_bytes(number as u16)));
        }
        assert_eq!(tee.branch.take().bytes.len(), 1, "{suite:?}");
        tee.new_caps(&suite.caps(&keys[1], None));
        let next = rtp_bytes((number + 1) as u16);
        tee.push(&encoder.protect(next.clone()));
        let sent = tee.branch.take().bytes;
        ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &sent, &[next]);
    }
}

#[test]
fn a_call_that_changes_keys_without_caps_asks_after_renew_keys() {
    let current = Arc::new(Mutex::new(AES.key(1)));
    let answer = current.clone();
    let (element, asked) = asking(move |_| Some(AES.caps(&answer.lock().unwrap(), None)));
    let tee = Tee::of(element, &keyless(), |pad| secure(pad, GCM, &GCM.key(3)));
    let before = Encoder::new(AES, &AES.key(1), None);
    (0..3).for_each(|number| tee.push(&before.protect(rtp_bytes(number))));
    *current.lock().unwrap() = AES.key(2);
    tee.way.element.emit_by_name::<()>("renew-keys", &[]);
    tee.push(&before.protect(rtp_bytes(3)));
    let after = Encoder::new(AES, &AES.key(2), None);
    (4..7).for_each(|number| tee.push(&after.protect(rtp_bytes(number))));
    assert_eq!(tee.branch.take().bytes.len(), 7);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn keys_are_told_apart_by_their_identifiers() {
    for (suite, branch) in SUITES.into_iter().zip(SUITES.into_iter().rev()) {
        let (keys, mkis) = ([suite.key(1), suite.key(2)], [[0, 0, 0, 1], [0, 0, 0, 2]]);
        let mut both = suite.caps(&keys[0], Some(&mkis[0]));
        both.make_mut().set("srtp-key2", buffer(&keys[1]));
        both.make_mut().set("mki2", buffer(&mkis[1]));
        let own = branch.key(3);
        let tee = Tee::new(&both, |pad| {
            secure(pad, branch, &own);
            pad.set_property("mki", buffer(&[7; 3]));
        });
        let mut expected = Vec::new();
        for (part, (key, mki)) in keys.iter().zip(&mkis).enumerate() {
            let encoder = Encoder::new(suite, key, Some(mki));
            for number in 0..5 {
                let packet = rtp_bytes(part as u16 * 5 + number);
                tee.push(&encoder.protect(packet.clone()));
                expected.push(packet);
            }
        }
        tee.push(&Encoder::new(suite, &suite.key(4), Some(&[9; 4])).protect(rtp_bytes(10)));
        assert_eq!(tee.dropped("no-key"), 1, "an identifier that no key has");
        let sent = tee.branch.take().bytes;
        // Before the tag (RFC 3711 §3.1), which GCM has as a part of the ciphertext (RFC 7714 §8.2).
        let behind = if branch.auth == "null" { 0 } else { branch.tag };
        assert!(sent.iter().all(|packet| packet[..packet.len() - behind].ends_with(&[7; 3])), "{branch:?}");
        ensure_decrypts(&Decoder::new(&branch.caps(&own, Some(&[7; 3]))), &sent, &expected);
    }
}

/// Sequence numbers that bring a source's rollover counter to 3 in a few packets.
fn three_rounds() -> impl Iterator<Item = u16> {
    (0..=11_u32).map(|step| (step * 20_000) as u16)
}

#[test]
fn a_call_is_joined_in_the_middle() {
    let key = AES.key(1);
    let wound = || {
        let encoder = Encoder::new(AES, &key, None);
        three_rounds().for_each(|number| drop(encoder.protect(rtp_bytes(number))));
        encoder
    };
    let first = (11 * 20_000_u32) as u16;
    // Told by the caps.
    let mut told = AES.caps(&key, None);
    told.make_mut().set("roc", 3_u32);
    let own = GCM.key(1);
    let tee = Tee::new(&told, |pad| secure(pad, GCM, &own));
    let encoder = wound();
    (1..5).for_each(|step| tee.push(&encoder.protect(rtp_bytes(first + step))));
    let expected: Vec<_> = (1..5).map(|step| rtp_bytes(first + step)).collect();
    // The branch begins at 0, whatever the call is at.
    ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &tee.branch.take().bytes, &expected);
    // Told by nobody, and so not known.
    let tee = Tee::new(&AES.caps(&key, None), |pad| secure(pad, GCM, &own));
    let encoder = wound();
    (1..5).for_each(|step| tee.push(&encoder.protect(rtp_bytes(first + step))));
    assert_eq!(tee.dropped("not-authentic"), 4);
}

#[test]
fn a_call_that_nobody_records_is_followed_until_somebody_does() {
    let key = AES.key(1);
    let tee = Tee::new(&AES.caps(&key, None), |pad| secure(pad, GCM, &GCM.key(2)));
    tee.pad.set_property("active", false);
    let encoder = Encoder::new(AES, &key, None);
    // Two packets each time: a jump is believed when the next one goes on from there.
    for number in (0..=66_u32).map(|step| (step * 3000) as u16) {
        for packet in [number, number.wrapping_add(1)] {
            tee.push(&encoder.protect(rtp_bytes(packet)));
        }
    }
    tee.pad.set_property("active", true);
    let last = (66 * 3000_u32) as u16;
    (2..6).for_each(|step| tee.push(&encoder.protect(rtp_bytes(last.wrapping_add(step)))));
    assert_eq!(tee.branch.take().bytes.len(), 4);
    assert_eq!(tee.warnings(), Vec::<String>::new());
}

/// Stretches of speech in which the numbers of both wrap, and between them pauses in which those of the call do: eleven
/// minutes of G.711 and more. One receiver hears it all (RFC 3711 §3.3.1).
#[test]
fn a_call_and_its_branch_wrap_around_also_over_long_pauses() {
    for (suite, branch) in SUITES.into_iter().zip(SUITES.into_iter().rev()) {
        let (key, own) = (suite.key(1), branch.key(2));
        let tee = Tee::new(&suite.caps(&key, None), |pad| secure(pad, branch, &own));
        let (encoder, decoder) = (Encoder::new(suite, &key, None), Decoder::new(&branch.caps(&own, None)));
        let mut number = 0_u32;
        for _ in 0..4 {
            for _ in 0..80 {
                number += 1000;
                let plain = rtp_bytes(number as u16);
                tee.push(&encoder.protect(plain.clone()));
                ensure_decrypts(&decoder, &tee.branch.take().bytes, &[plain]);
            }
            tee.pad.set_property("active", false);
            for _ in 0..50 {
                number += 1500;
                tee.push(&encoder.protect(rtp_bytes(number as u16)));
            }
            assert!(tee.branch.take().bytes.is_empty());
            tee.pad.set_property("active", true);
        }
        assert_eq!(tee.warnings(), Vec::<String>::new(), "{suite:?}");
    }
}

#[test]
fn a_list_is_a_list_whatever_it_is_encrypted_with() {
    let (key, own) = (GCM.key(1), AES.key(2));
    let tee = Tee::new(&GCM.caps(&key, None), |pad| secure(pad, AES, &own));
    let encoder = Encoder::new(GCM, &key, None);
    let list: gst::BufferList = (0..5).map(|number| buffer(&encoder.protect(rtp_bytes(number)))).collect();
    let address = list.as_ptr() as usize;
    tee.way.inlet.pad.push_list(list).unwrap();
    assert_eq!(tee.way.outlet.take().lists, [(address, 5)]);
    assert_eq!(tee.branch.take().lists.iter().map(|(_, length)| *length).collect::<Vec<_>>(), [5]);
}

#[test]
fn no_key_is_used_for_two_things() {
    let (call, own) = (GCM.key(1), GCM.key(2));
    let encoder = Encoder::new(GCM, &call, None);
    let packet = |number| encoder.protect(rtp_bytes(number));
    // That of the call.
    let tee = Tee::new(&GCM.caps(&call, None), |pad| secure(pad, GCM, &call));
    tee.push(&packet(0));
    assert!(tee.branch.take().bytes.is_empty());
    let warnings = tee.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("for one branch alone"), "{warnings:?}");
    // One of its own, and the first again: neither is new to it.
    tee.pad.set_property("srtp-key", buffer(&own));
    tee.push(&packet(1));
    assert_eq!(tee.branch.take().bytes.len(), 1);
    // That of another branch, and that of one that is gone.
    let second = tee.way.element.request_pad_simple("rec_%u").unwrap();
    let outlet = Outlet::behind(&second);
    secure(&second, GCM, &own);
    tee.push(&packet(2));
    assert!(outlet.take().bytes.is_empty());
    tee.pad.unlink(&tee.branch.pad).unwrap();
    tee.way.element.release_request_pad(&tee.pad);
    second.set_property("mki", buffer(&[1]));
    tee.push(&packet(3));
    assert!(outlet.take().bytes.is_empty());
    second.set_property("srtp-key", buffer(&GCM.key(3)));
    tee.push(&packet(4));
    assert_eq!(outlet.take().bytes.len(), 1);
}

#[test]
fn a_branch_that_changes_back_and_forth_uses_no_index_twice() {
    let own = [AES.key(1), AES.key(2)];
    let tee = Tee::new(&caps(), |pad| secure(pad, AES, &own[0]));
    let decoders = [Decoder::new(&AES.caps(&own[0], None)), Decoder::new(&AES.caps(&own[1], None))];
    let mut number = 0;
    let mut taken = 0;
    for round in 0..12 {
        match round % 4 {
            1 => tee.pad.set_property_from_str("srtp-suite", "none"),
            2 => tee.pad.set_property("active", false),
            3 => {
                tee.pad.set_property("active", true);
                secure(&tee.pad, AES, &own[1]);
            }
            _ => secure(&tee.pad, AES, &own[0]),
        }
        for _ in 0..50 {
            // A source that begins again and again.
            tee.push(&rtp_bytes(number % 120));
            number += 1;
        }
        for packet in tee.branch.take().bytes {
            let decoder = &decoders[usize::from(round % 4 == 3)];
            if round % 4 != 1 {
                assert!(decoder.unprotect(&packet).is_some(), "srtpdec refuses what it saw before");
                taken += 1;
            }
        }
    }
    assert!(taken > 100, "{taken}");
}

#[test]
fn a_branch_that_cannot_be_encrypted_says_why() {
    let told = |set: &dyn Fn(&gst::Pad)| {
        let tee = Tee::new(&caps(), |pad| set(pad));
        (0..3).for_each(|number| tee.push(&rtp_bytes(number)));
        assert!(tee.branch.take().bytes.is_empty());
        assert_eq!((tee.dropped("not-protected"), tee.way.outlet.take().buffers.len()), (3, 3));
        let mut warnings = tee.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings.remove(0)
    };
    let suite = |pad: &gst::Pad| pad.set_property_from_str("srtp-suite", &GCM.nick());
    assert!(told(&|pad| suite(pad)).contains("srtp-key is not"));
    assert!(told(&|pad| secure(pad, GCM, &[1; 30])).contains("has 28 bytes with its salt, not 30"));
    assert!(
        told(&|pad| {
            secure(pad, GCM, &GCM.key(1));
            pad.set_property("mki", buffer(&[1; 129]));
        })
        .contains("has 1 to 128 bytes, not 129")
    );
}

#[test]
fn the_key_of_a_branch_cannot_be_read() {
    let tee = Tee::new(&caps(), |pad| secure(pad, GCM, &GCM.key(1)));
    let property = tee.pad.find_property("srtp-key").unwrap();
    assert!(!property.flags().contains(gst::glib::ParamFlags::READABLE));
    assert!(tee.pad.find_property("mki").unwrap().flags().contains(gst::glib::ParamFlags::READABLE));
}

#[test]
fn a_call_that_becomes_encrypted_leaves_a_plain_branch() {
    let key = AES.key(1);
    let tee = Tee::new(&caps(), |_| ());
    tee.push(&rtp_bytes(0));
    assert_eq!(tee.branch.take().bytes.len(), 1);
    tee.new_caps(&AES.caps(&key, None));
    tee.push(&Encoder::new(AES, &key, None).protect(rtp_bytes(1)));
    assert!(tee.branch.take().bytes.is_empty());
    tee.new_caps(&caps());
    tee.push(&rtp_bytes(2));
    assert_eq!(tee.branch.take().bytes.len(), 1);
}

#[test]
fn a_call_that_ends_takes_its_keys_along() {
    let (key, own) = (AES.key(1), GCM.key(2));
    let tee = Tee::new(&AES.caps(&key, None), |pad| secure(pad, GCM, &own));
    let encoder = Encoder::new(AES, &key, None);
    let decoder = Decoder::new(&GCM.caps(&own, None));
    tee.push(&encoder.protect(rtp_bytes(0)));
    ensure_decrypts(&decoder, &tee.branch.take().bytes, &[rtp_bytes(0)]);
    for state in [gst::State::Ready, gst::State::Playing] {
        tee.way.element.set_state(state).unwrap();
    }
    tee.way.inlet.begin_with(&keyless());
    tee.push(&encoder.protect(rtp_bytes(1)));
    assert_eq!(tee.dropped("no-key"), 1);
    tee.new_caps(&AES.caps(&key, None));
    tee.push(&encoder.protect(rtp_bytes(2)));
    ensure_decrypts(&decoder, &tee.branch.take().bytes, &[rtp_bytes(2)]);
}

#[test]
fn a_branch_that_is_encrypted_late_leaves_room_before_its_numbers_wrap() {
    let own = AES.key(1);
    let tee = Tee::new(&caps(), |_| ());
    let mut number = 0_u16;
    let mut last = 0;
    while last < 60_000 {
        tee.push(&rtp_bytes(number));
        number = number.wrapping_add(1000);
        last =
            tee.branch.take().bytes.last().map_or(last, |packet| u16::from_be_bytes([packet[2], packet[3]]));
    }
    secure(&tee.pad, AES, &own);
    tee.push(&rtp_bytes(number));
    let sent = tee.branch.take().bytes;
    let first = u16::from_be_bytes([sent[0][2], sent[0][3]]);
    assert!(first < 32_768, "{first}");
    ensure_decrypts(&Decoder::new(&AES.caps(&own, None)), &sent, &[rtp_bytes(number)]);
}

#[test]
fn a_line_for_gst_launch_sets_a_branch_up() {
    let (key, own) = (AES.key(1), GCM.key(2));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pipeline = launch(&format!(
        "appsrc name=in format=time caps=\"application/x-srtp,srtp-key=(buffer){},srtp-cipher=aes-128-icm,\
         srtp-auth=hmac-sha1-80,srtcp-cipher=aes-128-icm,srtcp-auth=hmac-sha1-80\" ! siprectee name=tee \
         rec_0::srtp-suite={} rec_0::srtp-key={} ! fakesink async=false \
         tee.rec_0 ! appsink name=out async=false sync=false",
        hex(&key),
        GCM.nick(),
        hex(&own)
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let encoder = Encoder::new(AES, &key, None);
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    for number in 0..3 {
        source.push_buffer(buffer(&encoder.protect(rtp_bytes(number)))).unwrap();
    }
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let sent: Vec<_> = (0..3)
        .map(|_| {
            let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(30)).expect("a packet");
            sample.buffer().unwrap().map_readable().unwrap().to_vec()
        })
        .collect();
    pipeline.set_state(gst::State::Null).unwrap();
    let plain: Vec<_> = (0..3).map(rtp_bytes).collect();
    ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &sent, &plain);
}

#[test]
fn a_null_cipher_that_somebody_wrote_is_still_authenticated() {
    let null = Suite { cipher: "null", ..AES };
    let (key, own) = (null.key(1), GCM.key(2));
    let tee = Tee::new(&null.caps(&key, None), |pad| secure(pad, GCM, &own));
    let encoder = Encoder::new(null, &key, None);
    let mut changed = encoder.protect(rtp_bytes(0));
    assert_eq!(changed[..172], rtp_bytes(0));
    tee.push(&changed);
    changed[3] = 1;
    tee.push(&changed);
    ensure_decrypts(&Decoder::new(&GCM.caps(&own, None)), &tee.branch.take().bytes, &[rtp_bytes(0)]);
    assert_eq!(tee.dropped("not-authentic"), 1);
}
