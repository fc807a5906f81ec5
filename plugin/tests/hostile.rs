//! Bad input at run time: what is no sound RTP on a stream's pad, and recorders that answer nonsense. The call has every
//! packet, untouched; what went wrong is told or counted.
#![cfg(test)]

mod common;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::srtp::{Decoder, Encoder, SUITES, offered, srtp_caps};
use common::{rtp, rtp_bytes, rtp_bytes_of};
use gst::prelude::*;

/// RTP that contradicts itself.
fn malformed() -> Vec<Vec<u8>> {
    let with_first = |first: u8| {
        let mut packet = rtp_bytes(7);
        packet[0] = first;
        packet
    };
    let extension = |words: u16| {
        let mut packet = rtp_bytes(7)[..12].to_vec();
        packet[0] = 0x90;
        packet.extend([0xBE, 0xDE]);
        packet.extend(words.to_be_bytes());
        packet
    };
    let mut padding = with_first(0xA0);
    *padding.last_mut().unwrap() = 0xFF;
    let mut none = with_first(0xA0);
    *none.last_mut().unwrap() = 0;
    let mut all: Vec<Vec<u8>> = (1..12).map(|length| rtp_bytes(7)[..length].to_vec()).collect();
    all.extend([with_first(0x8F)[..40].to_vec(), extension(1), extension(0xFFFF), padding, none]);
    all
}

/// Neither RTP nor meant to be (RFC 7983): STUN, DTLS, RTCP, other versions, next to nothing.
fn other() -> Vec<Vec<u8>> {
    let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[9; 12]].concat();
    let dtls = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 7];
    let rtcp = [&[0x80, 200, 0, 6][..], &[1; 24]].concat();
    let version = [&[0x40][..], &rtp_bytes(7)[1..]].concat();
    vec![stun, dtls, rtcp, version, b"not RTP at all".to_vec(), Vec::new()]
}

#[test]
fn what_is_no_sound_rtp_passes_the_call_untouched_and_is_counted_by_cause() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 0);
    let (inlet, outlet) = &call.parties[0];
    outlet.take();
    let (malformed, other) = (malformed(), other());
    let hostile: Vec<&Vec<u8>> = malformed.iter().chain(&other).collect();
    for bytes in &hostile {
        inlet.pad.push(gst::Buffer::from_slice((*bytes).clone())).unwrap();
    }
    let list: gst::BufferList =
        hostile.iter().map(|bytes| gst::Buffer::from_slice((*bytes).clone())).collect();
    inlet.pad.push_list(list).unwrap();
    let seen = outlet.take();
    assert_eq!(seen.bytes, hostile.iter().map(|bytes| (*bytes).clone()).collect::<Vec<_>>());
    assert_eq!(seen.lists.len(), 1);
    inlet.pad.push(rtp(1)).unwrap();
    assert_eq!(timestamp(&recorder.packet(0).unwrap()), 160, "the next sound packet is the next recorded");
    call.end();
    let report = call.message("siprec-report");
    assert_eq!(report.get::<String>("dn").as_deref(), Ok("1001"), "{report}");
    let count = |field: &str| report.get::<u64>(field).unwrap();
    assert_eq!(count("sent"), 2, "{report}");
    assert_eq!(count("dropped-malformed"), 2 * malformed.len() as u64, "{report}");
    assert_eq!(count("dropped-not-rtp"), 2 * other.len() as u64, "{report}");
    assert_eq!(count("seen"), 2 + 2 * hostile.len() as u64, "{report}");
}

#[test]
fn no_bytes_on_the_pad_disturb_the_call() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    let (inlet, outlet) = &call.parties[1];
    let mut state = 0x1234_5678_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let mut sent = Vec::new();
    for _ in 0..2000 {
        let length = next() % 1500;
        let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        // Half of it looks like RTP at first sight.
        if next() % 2 == 0
            && let Some(first) = bytes.first_mut()
        {
            *first = 0x80 | *first & 0x3F;
        }
        inlet.pad.push(gst::Buffer::from_slice(bytes.clone())).unwrap();
        sent.push(bytes);
    }
    assert_eq!(outlet.take().bytes, sent);
    call.end();
    let reports = [call.message("siprec-report"), call.message("siprec-report")];
    let report = reports.iter().find(|report| report.get::<&str>("dn") == Ok("1002")).unwrap();
    let drops: u64 = report
        .iter()
        .filter(|(name, _)| name.starts_with("dropped-"))
        .map(|(_, value)| value.get::<u64>().unwrap())
        .sum();
    assert_eq!(report.get::<u64>("seen"), Ok(report.get::<u64>("sent").unwrap() + drops), "{report}");
    assert_eq!(report.get::<u64>("seen"), Ok(2000), "{report}");
}

/// Answers to the INVITE that no recording can be made of.
const ANSWERS: &[&str] = &[
    "\u{1}\0 no SDP",
    "v=0",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 99999 RTP/AVP 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio -1 RTP/AVP 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
     m=audio 0 RTP/AVP 0\r\nm=audio 0 RTP/AVP 0\r\n",
];

#[test]
fn an_answer_that_cannot_be_used_fails_the_recording_with_a_reason_and_the_call_goes_on() {
    for answer in ANSWERS {
        let recorder = Recorder::start(Script::Answer(answer));
        let call = Call::new(&recorder.uri(), |_| ());
        call.begin();
        call.speak(0);
        let failed = call.message("siprec-failed");
        assert!(failed.get::<&str>("reason").is_ok_and(|reason| !reason.is_empty()), "{answer:?}: {failed}");
        let ten_seconds = gst::ClockTime::from_seconds(10);
        let warning = call.bus.timed_pop_filtered(ten_seconds, &[gst::MessageType::Warning]);
        assert!(warning.is_some(), "{answer:?}");
        call.speak(1);
        for (_, outlet) in &call.parties {
            assert_eq!(outlet.take().buffers.len(), 2, "{answer:?}");
        }
    }
}

#[test]
fn garbage_and_lies_before_the_answer_do_not_keep_a_call_from_being_recorded() {
    let recorder = Recorder::start(Script::AcceptBehind(&[
        b"",
        b"\0",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 999999 OK\r\n<Via>\r\n<From>\r\n<To>;tag=1\r\n<Call-ID>\r\n<CSeq>\r\n\r\n",
        b"SIP/2.0 200 OK\r\n<Via>\r\n<From>\r\n<To>;tag=1\r\n<Call-ID>\r\n<CSeq>\r\nContent-Length: 4000000000\r\n\r\nv=0",
        b"SIP/2.0 200 OK\r\n<Via>\r\n<From>\r\n<To>;tag=1\r\n<Call-ID>\r\n<CSeq>\r\nContent-Length: -3\r\n\r\nv=0",
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKof-somebody-else\r\n<From>\r\n<To>;tag=1\r\n<Call-ID>\r\n<CSeq>\r\n\r\n",
        b"SIP/2.0 200 OK\r\n<Via>\r\n<From>\r\n<To>;tag=1\r\n<Call-ID>\r\nCSeq: 7 BYE\r\n\r\n",
        b"\xFF\xFE INVITE sip:you SIP/2.0\r\n\r\n",
    ]));
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    for line in 0..2 {
        assert_eq!(timestamp(&recorder.packet(line).unwrap()), 0);
    }
    assert_eq!(call.parties[0].1.take().buffers.len(), 1);
}

#[test]
fn media_ports_that_are_all_in_use_fail_the_recording_with_the_range_and_the_call_goes_on() {
    let recorder = Recorder::start(Script::Accept);
    // Nobody else gets the port of a bound socket, and without it there is no pair in the range.
    let taken = loop {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        if socket.local_addr().unwrap().port().is_multiple_of(2) {
            break socket;
        }
    };
    let port = taken.local_addr().unwrap().port();
    let range = format!("{port}-{}", port + 1);
    common::init();
    let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
    agent.set_property("local-address", "127.0.0.1");
    agent.set_property("rtp-port-range", &range);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property("agent", &agent));
    call.begin();
    call.speak(0);
    let failed = call.message("siprec-failed");
    let reason = failed.get::<String>("reason").unwrap();
    assert!(reason.contains(&port.to_string()), "{reason}");
    call.speak(1);
    assert_eq!(call.parties[0].1.take().buffers.len(), 2);
}

/// Packets of thousands of sources that nobody has a key for, and forgeries in the party's own name.
#[test]
fn a_flood_of_forgeries_costs_an_encrypted_call_nothing_and_is_told_once() {
    const PARTY: u32 = 0xC0FF_EE00;
    const SAID: u16 = 40;
    const FORGED: u32 = 125;
    common::init();
    for suite in [SUITES[0], SUITES[3]] {
        let recorder = Recorder::start(Script::Accept);
        let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
        agent.set_property("local-address", "127.0.0.1");
        agent.set_property("send-interval", 10_000_000_u64);
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property("allow-clear-keys", true);
            siprec.set_property("agent", &agent);
        });
        let key = suite.key(1);
        call.parties
            .iter()
            .for_each(|(inlet, _)| inlet.begin_with(&srtp_caps(Some(&suite.caps(&key, None)))));
        let encoder = Encoder::new(suite, &key, None);
        let (inlet, outlet) = &call.parties[0];
        let mut decoder = None;
        for number in 0..SAID {
            let genuine = encoder.protect(rtp_bytes_of(PARTY, number));
            let mut pushed = Vec::new();
            for forgery in 0..FORGED {
                let mut forged = genuine.clone();
                if forgery % 5 == 0 {
                    let ahead = number.wrapping_add(1 + forgery as u16 * 300);
                    forged[2..4].copy_from_slice(&ahead.to_be_bytes());
                } else {
                    let source = u32::from(number) * FORGED + forgery;
                    forged[8..12].copy_from_slice(&source.to_be_bytes());
                }
                pushed.push(forged);
            }
            pushed.push(genuine);
            for packet in &pushed {
                inlet.pad.push(gst::Buffer::from_slice(packet.clone())).unwrap();
            }
            let seen = outlet.take();
            assert_eq!(seen.bytes, pushed, "the call has every one of them");
            let decoder =
                decoder.get_or_insert_with(|| Decoder::new(&offered(&recorder.request("INVITE"), 0)));
            let plain = decoder.unprotect(&recorder.packet(0).unwrap()).expect("srtpdec takes it");
            assert_eq!(timestamp(&plain), u32::from(number) * 160, "{suite:?}");
        }
        call.end();
        let reports = [call.message("siprec-report"), call.message("siprec-report")];
        let report = reports.iter().find(|report| report.get::<&str>("dn") == Ok("1001")).unwrap();
        let count = |field: &str| report.get::<u64>(field).unwrap_or(0);
        assert_eq!(count("sent"), u64::from(SAID), "{report}");
        assert_eq!(count("dropped-not-authentic"), u64::from(SAID) * u64::from(FORGED), "{report}");
        let told = call.messages_so_far();
        let gaps = told.iter().filter(|message| message.name() == "siprec-gap").count();
        assert!((1..=2).contains(&gaps), "after a second, and at the end: {told:?}");
    }
}
