//! Two sources that take turns on one pad, as behind a mixer or a forwarder that merges them.
#![cfg(test)]

mod common;

use std::collections::BTreeMap;

use common::call::Call;
use common::recorder::{Recorder, Script};
use common::rtp_bytes_of;
use common::srtp::{Decoder, Encoder, SUITES, offered, srtp_caps};
use gst::prelude::*;

/// The sources, and the first sequence number of each.
const SOURCES: [(u32, u16); 2] = [(0xA000_0001, 65_500), (0xB000_0002, 9000)];
const PACKETS: u16 = 100;

/// Packet so many of a source, whose numbers may wrap.
fn packet((ssrc, first): (u32, u16), number: u16) -> Vec<u8> {
    let mut packet = rtp_bytes_of(ssrc, first.wrapping_add(number));
    packet[4..8].copy_from_slice(&(u32::from(first) + u32::from(number) * 160).to_be_bytes());
    packet
}

/// Insists that a recorder gets all of both, each with numbers of its own that go on, whatever opens the packets.
fn ensure_gets(recorder: &Recorder, open: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut numbers: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
    let word = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    for _ in 0..2 * PACKETS {
        let packet = open(recorder.packet(0).expect("a packet of every one"));
        let (ssrc, of) = (word(&packet, 8), numbers.entry(word(&packet, 8)).or_default());
        let (_, first) = SOURCES.into_iter().find(|(known, _)| *known == ssrc).unwrap();
        assert_eq!(word(&packet, 4), u32::from(first) + of.len() as u32 * 160, "in the order of the call");
        of.push(u16::from_be_bytes(packet[2..4].try_into().unwrap()));
    }
    for (ssrc, numbers) in numbers {
        let follow = numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        assert!(follow && numbers.len() == usize::from(PACKETS), "{ssrc:x}: {numbers:?}");
    }
}

/// Insists that nothing was missed anywhere, by the accounts of the stream.
fn ensure_lost_nothing(call: Call) {
    call.end();
    let told = call.messages_so_far();
    assert!(told.iter().all(|message| message.name() != "siprec-gap"), "{told:?}");
    let reports = told.iter().filter(|message| message.name() == "siprec-report");
    let seen = |report: &gst::Structure| report.get::<u64>("seen").unwrap();
    let report = reports.max_by_key(|report| seen(report)).unwrap();
    let counts = ["seen", "sent", "gaps"].map(|name| report.get::<u64>(name).unwrap());
    assert_eq!(counts, [u64::from(PACKETS) * 2, u64::from(PACKETS) * 2, 0], "{report}");
}

#[test]
fn sources_that_take_turns_on_a_pad_have_each_their_own_numbers_and_lose_nothing() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |_| ());
    call.begin();
    for number in 0..PACKETS {
        for source in SOURCES {
            let packet = gst::Buffer::from_mut_slice(packet(source, number));
            call.parties[0].0.pad.push(packet).unwrap();
        }
    }
    ensure_gets(&recorder, |packet| packet);
    ensure_lost_nothing(call);
}

#[test]
fn the_same_holds_where_the_call_and_the_recording_are_encrypted() {
    for suite in SUITES {
        let recorder = Recorder::start(Script::Accept);
        let call = Call::new(&recorder.uri(), |siprec| {
            siprec.set_property_from_str("srtp", "require");
            siprec.set_property("allow-clear-keys", true);
        });
        let key = suite.key(1);
        for (inlet, _) in &call.parties {
            inlet.begin_with(&srtp_caps(Some(&suite.caps(&key, None))));
        }
        let encoder = Encoder::new(suite, &key, None);
        for number in 0..PACKETS {
            for source in SOURCES {
                let packet = encoder.protect(packet(source, number));
                call.parties[0].0.pad.push(gst::Buffer::from_mut_slice(packet)).unwrap();
            }
        }
        let decoder = Decoder::new(&offered(&recorder.request("INVITE"), 0));
        ensure_gets(&recorder, |packet| decoder.unprotect(&packet).expect("srtpdec takes it"));
        ensure_lost_nothing(call);
    }
}
