//! Numbers and sources of what leaves.

use std::time::Instant;

use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Medium, PayloadRule};

use crate::call::{Call, FIRST, RULES, packet};

#[test]
fn a_pause_of_40000_packets_leaves_no_hole_in_the_numbers() {
    for (medium, marker) in [(Medium::Audio, true), (Medium::Video, false)] {
        let mut call = Call::new(medium, BranchLimits::default());
        call.open();
        call.talk(200);
        call.branch.pause(call.now());
        call.talk(800_000);
        call.open();
        call.talk(200);
        assert_eq!(call.indices(), (5000..5020).collect::<Vec<u64>>());
        assert!(call.sent.iter().zip(0..).all(|((_, _, set, _), n)| *set == (marker && n == 10)));
        assert_eq!(call.sent[10].3, (800_200 * 8) as u32, "the call's own timestamp");
        assert_eq!(call.branch.report().seen, 20);
    }
}

#[test]
fn opening_again_with_the_same_rules_begins_nothing_and_a_move_does() {
    let mut call = Call::audio();
    call.open();
    call.talk(20);
    call.ms += 20;
    call.open();
    call.talk(20);
    assert_eq!(call.indices(), [5000, 5002], "a loss of the call stays visible");
    call.ms += 20;
    call.branch.begin_interval();
    call.talk(20);
    call.ms += 20;
    call.branch.open(&[PayloadRule { from: 0, to: 8 }], call.now());
    call.talk(20);
    assert_eq!(call.indices(), [5000, 5002, 5003, 5004]);
}

#[test]
fn each_source_keeps_its_ssrc_and_has_numbers_of_its_own() {
    let mut call = Call::audio();
    call.open();
    for (sequence, ssrc) in [(100, 1), (101, 1), (9, 2), (102, 1), (10, 2)] {
        let packet = packet(sequence, u32::from(sequence) * 160, ssrc, 0);
        call.take(&packet);
    }
    assert_eq!(call.indices(), [5000, 5001, 5000, 5002, 5001]);
    let events = call.events();
    assert_eq!(
        events,
        [
            BranchEvent::FirstPacket { payload_type: 0, ssrc: 1, arrival: call.now() },
            BranchEvent::SourceChanged { ssrc: 2 }
        ]
    );
}

#[test]
fn a_flood_of_sources_does_not_push_out_the_calls_own() {
    let mut call = Call::audio();
    call.open();
    for n in 0..3000u32 {
        let forged = packet(n as u16, 0, 1000 + n, 0);
        call.take(&forged);
        call.talk(20);
    }
    let report = call.branch.report();
    // 7 places at first, and again each time 7 have been silent for 5 s, until there have been 64 sources.
    assert_eq!(report.sent, 3000 + 63);
    assert_eq!(report.drops.of(DropCause::TooManySources), 6000 - report.sent);
    let own = call.indices().into_iter().filter(|index| *index > 5000).collect::<Vec<u64>>();
    assert_eq!(own, (5001..8000).collect::<Vec<u64>>());
    let told = call.gaps();
    assert!(told.len() <= 61, "at most one a second: {}", told.len());
}

#[test]
fn a_retired_source_is_never_admitted_again() {
    let mut call = Call::audio();
    call.open();
    for ssrc in 0..9 {
        let packet = packet(1, 0, ssrc, 0);
        call.take(&packet);
        call.ms += if ssrc == 7 { 4999 } else { 0 };
    }
    assert_eq!(call.branch.report().drops.of(DropCause::TooManySources), 1, "nobody was silent for 5 s");
    call.ms += 1;
    for (ssrc, sent) in [(8, true), (0, false), (1, true)] {
        let before = call.sent.len();
        let packet = packet(2, 160, ssrc, 0);
        call.take(&packet);
        assert_eq!(call.sent.len() > before, sent, "source {ssrc}");
    }
}

#[test]
fn an_unknown_payload_type_is_counted_and_told_once_per_opening() {
    let mut call = Call::audio();
    let unknown = packet(1, 0, 1, 13);
    call.take(&unknown);
    call.open();
    call.poll();
    call.take(&unknown);
    let first = BranchEvent::FirstPacket { payload_type: 13, ssrc: 1, arrival: call.now() };
    let told = BranchEvent::PayloadUnknown { payload_type: 13 };
    assert_eq!(call.events(), [first, told.clone()]);
    call.branch.pause(call.now());
    call.open();
    call.take(&unknown);
    assert_eq!(call.events(), [told]);
    call.poll();
    call.ms += 500;
    call.poll();
    assert_eq!(call.branch.report().drops.of(DropCause::PayloadUnknown), 3);
    assert_eq!(call.sent, []);
}

#[test]
fn the_first_number_leaves_room_before_the_first_wrap() {
    for (given, first) in [(0, 256), (255, 256), (256, 256), (0x7FFF, 0x7FFF), (0xFFFF, 0x7FFF)] {
        let now = Instant::now();
        let limits = BranchLimits::default();
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let mut branch = Branch::new(settings, given, now);
        branch.open(RULES, now);
        let mut out = Vec::new();
        let packet = packet(60_000, 0, 1, 0);
        let sent = branch.handle_packet(&RtpView::parse(&packet).unwrap(), now, &mut out);
        assert_eq!(sent.unwrap().index, first);
    }
}

#[test]
fn a_packet_changed_in_place_is_the_one_that_is_appended() {
    let now = Instant::now();
    // What does not fit leaves or goes at once.
    let limits = BranchLimits { catch_up: 0.0, ..BranchLimits::default() };
    let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
    let branch = || {
        let mut branch = Branch::new(settings, FIRST, now);
        branch.open(RULES, now);
        branch
    };
    let (mut appending, mut in_place) = (branch(), branch());
    let mut last = packet(8, 160, 1, 0);
    last[0] |= 0x20;
    let packets = [packet(7, 0, 1, 0), packet(7, 0, 1, 0), packet(9, 320, 1, 99), packet(3, 0, 2, 0), last];
    for mut packet in packets {
        let mut out = Vec::new();
        let appended = match RtpView::parse(&packet) {
            Ok(view) => appending.handle_packet(&view, now, &mut out),
            Err(unusable) => {
                appending.handle_loss(unusable.into(), 1);
                None
            }
        };
        let before = packet.clone();
        assert_eq!(in_place.handle_packet_in_place(&mut packet, now), appended);
        assert_eq!(packet, if appended.is_some() { out } else { before });
    }
    assert_eq!(in_place.report(), appending.report());
    assert_eq!(in_place.report().sent, 2);
    // What does not leave at once is held as ever.
    in_place.hold(now);
    assert_eq!(in_place.handle_packet_in_place(&mut packet(8, 160, 1, 0), now), None);
    assert_eq!(in_place.held_packets(), 1);
}
