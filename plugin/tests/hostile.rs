//! What is no sound RTP on a stream's pad: the call has it untouched, the recorder never sees it, and it is counted.
#![cfg(test)]

mod common;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script};
use common::{rtp, rtp_bytes};
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
