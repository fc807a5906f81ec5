//! What a ring of video holds and throws out, and what a pause does to numbers that wrap.

#![cfg(test)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchEvent, BranchLimits, DropCause, Hole, Medium, PayloadRule, VideoCodec};

const RULES: &[PayloadRule] = &[PayloadRule { from: 96, to: 96 }];
/// Packets of one picture, and pictures from one key frame to the next.
const PACKETS: u64 = 3;
const GROUP: u64 = 10;
const PICTURE_MS: u64 = 40;

/// VP8 payload descriptors and first bytes (RFC 7741 §4.2, §4.3): the beginning of a partition 0, and what goes on.
const KEY: [u8; 4] = [0x10, 0x50, 0, 0];
const DELTA: [u8; 4] = [0x10, 0x51, 0, 0];
const REST: [u8; 4] = [0x00, 0x50, 0, 0];

struct Call {
    branch: Branch,
    start: Instant,
    ms: u64,
    picture: u64,
    /// The pictures of the packets sent, in order.
    sent: Vec<u64>,
    indices: Vec<u64>,
}

impl Call {
    fn new(limits: BranchLimits) -> Self {
        let start = Instant::now();
        let settings = BranchSettings { medium: Medium::Video, clock_rate: 90_000, limits };
        let branch = Branch::new(settings, 5000, start);
        Self { branch, start, ms: 0, picture: 0, sent: Vec::new(), indices: Vec::new() }
    }

    fn vp8(limits: BranchLimits) -> Self {
        let mut call = Self::new(limits);
        call.branch.describe(Medium::Video, 90_000, Some(VideoCodec::Vp8));
        call
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn pictures(&mut self, count: u64) {
        for _ in 0..count {
            for part in 0..PACKETS {
                let packet = packet(self.picture, part);
                let mut out = Vec::new();
                let view = RtpView::parse(&packet).unwrap();
                if let Some(sent) = self.branch.handle_packet(&view, self.now(), &mut out) {
                    self.note(&out, sent.index);
                }
            }
            self.picture += 1;
            self.ms += PICTURE_MS;
            self.poll();
        }
    }

    fn poll(&mut self) {
        let mut out = Vec::new();
        while let Some(sent) = self.branch.next_packet(self.now(), &mut out) {
            self.note(&out, sent.index);
            out.clear();
        }
    }

    fn note(&mut self, out: &[u8], index: u64) {
        let picture = RtpView::parse(out).unwrap().timestamp() / (90 * PICTURE_MS as u32);
        self.sent.push(picture.into());
        self.indices.push(index);
    }

    /// Opens, and lets everything that is held leave.
    fn deliver(&mut self) {
        self.branch.open(RULES, self.now());
        while self.branch.held_packets() > 0 {
            self.ms += PICTURE_MS;
            self.poll();
        }
    }

    fn gaps(&mut self) -> Vec<(u64, u64, DropCause)> {
        let of = |event| match event {
            BranchEvent::Gap(Hole { packets, duration, cause, .. }) => {
                Some((packets, duration.as_millis() as u64, cause))
            }
            _ => None,
        };
        std::iter::from_fn(|| self.branch.poll_event()).filter_map(of).collect()
    }
}

/// A packet of 112 bytes.
fn packet(picture: u64, part: u64) -> Vec<u8> {
    let descriptor = match (part, picture % GROUP) {
        (0, 0) => KEY,
        (0, _) => DELTA,
        _ => REST,
    };
    let sequence = (picture * PACKETS + part) as u16;
    let timestamp = (picture * 90 * PICTURE_MS) as u32;
    let header = [&[0x80, 96][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 9]];
    [header.concat(), descriptor.to_vec(), vec![0xD5; 96]].concat()
}

#[test]
fn what_is_left_of_video_begins_with_a_key_frame() {
    let limits = BranchLimits { hold_time: Duration::from_secs(2), ..BranchLimits::default() };
    let mut call = Call::vp8(limits);
    call.pictures(95);
    call.deliver();
    // 2 s hold 50 pictures; the group that began before goes as a whole.
    assert_eq!(call.sent.first(), Some(&50), "{:?}", &call.sent[..5]);
    assert_eq!(call.sent.len() as u64, 45 * PACKETS);
    assert_eq!(call.gaps(), [(50 * PACKETS, 50 * PICTURE_MS, DropCause::RingFull)]);
}

#[test]
fn a_full_ring_of_video_throws_out_whole_groups() {
    let limits = BranchLimits { video_hold_bytes: 10_000, hold_bytes: 1, ..BranchLimits::default() };
    let mut call = Call::vp8(limits);
    call.pictures(100);
    assert!(call.branch.held_bytes() <= 10_000);
    call.deliver();
    assert_eq!(call.sent[0] % GROUP, 0, "begins with a key frame");
    let expected: Vec<u64> = (call.sent[0]..100).flat_map(|picture| [picture; PACKETS as usize]).collect();
    assert_eq!(call.sent, expected, "and has everything from there on");
}

#[test]
fn video_of_an_unknown_codec_goes_picture_by_picture() {
    let limits = BranchLimits { hold_time: Duration::from_secs(2), ..BranchLimits::default() };
    let mut call = Call::new(limits);
    call.pictures(95);
    call.deliver();
    assert_eq!(call.sent.first(), Some(&45));
    assert_eq!(call.sent.len() as u64 % PACKETS, 0, "no part of a picture");
}

#[test]
fn a_codec_that_becomes_known_counts_for_what_is_held_already() {
    let limits = BranchLimits { video_hold_bytes: 10_000, ..BranchLimits::default() };
    let mut call = Call::new(limits);
    call.pictures(22);
    call.branch.describe(Medium::Video, 90_000, Some(VideoCodec::Vp8));
    call.pictures(10);
    call.deliver();
    assert_eq!(call.sent[0] % GROUP, 0, "{:?}", &call.sent[..5]);
}

#[test]
fn a_stream_that_turns_out_to_be_audio_has_the_bounds_of_audio() {
    let limits = BranchLimits { hold_bytes: 3000, ..BranchLimits::default() };
    let mut call = Call::new(limits);
    call.pictures(100);
    assert!(call.branch.held_bytes() > 3000);
    call.branch.describe(Medium::Audio, 8000, None);
    assert!(call.branch.held_bytes() <= 3000, "{}", call.branch.held_bytes());
    assert_eq!(call.gaps().len(), 0, "told when it is opened");
    call.deliver();
    assert_eq!(call.gaps().len(), 1);
}

/// Twenty seconds of a call, whose recorder has reported on all but the last pictures, is lost at the end.
fn lost(mut before: impl FnMut(&mut Call)) -> Call {
    let mut call = Call::vp8(BranchLimits::default());
    call.deliver();
    call.pictures(500);
    let reported = call.indices[(437 * PACKETS - 1) as usize];
    call.branch.acknowledge(9, reported as u32, 0, call.now());
    before(&mut call);
    call.branch.recall(call.now(), call.now());
    call.sent.clear();
    call
}

fn all(pictures: std::ops::Range<u64>) -> Vec<u64> {
    pictures.flat_map(|picture| [picture; PACKETS as usize]).collect()
}

#[test]
fn what_the_next_recorder_gets_of_video_begins_with_the_key_frame_of_what_the_last_one_may_not_have() {
    let mut call = lost(|_| {});
    call.deliver();
    // 437 is the first one of which nothing is known, and 430 begins its group.
    assert_eq!(call.sent, all(430..500));
    assert_eq!(call.gaps(), []);
}

#[test]
fn what_the_ring_has_no_room_for_goes_so_that_the_next_recorder_gets_whole_groups() {
    // Room for 15 pictures and two packets.
    let limits = BranchLimits { video_hold_bytes: 147 * 47, ..BranchLimits::default() };
    for (pictures, first) in [(34, 20), (32, 20), (40, 30), (41, 30)] {
        let mut call = Call::vp8(limits);
        call.deliver();
        call.pictures(pictures);
        call.branch.recall(call.start, call.now());
        call.sent.clear();
        call.deliver();
        assert_eq!(call.sent, all(first..pictures));
        assert_eq!(call.gaps(), [(first * PACKETS, first * PICTURE_MS, DropCause::RecorderLost)]);
    }
}

#[test]
fn where_no_other_group_is_behind_what_is_left_of_one_is_sent_again() {
    let limits = BranchLimits { video_hold_bytes: 147 * 15, ..BranchLimits::default() };
    let mut call = Call::vp8(limits);
    call.deliver();
    call.pictures(9);
    call.branch.recall(call.start, call.now());
    call.sent.clear();
    call.deliver();
    assert_eq!(call.sent, all(4..9));
}

#[test]
fn what_a_lost_recorder_may_not_have_and_the_next_one_refuses_is_a_gap() {
    let mut call = lost(|_| {});
    call.pictures(10);
    call.branch.disable(call.now());
    assert_eq!(call.gaps(), [(70 * PACKETS, 70 * PICTURE_MS, DropCause::RecorderLost)]);
    let drops = call.branch.report().drops;
    assert_eq!(drops.of(DropCause::Closed), 10 * PACKETS, "what the lost one was never sent");
    assert_eq!(call.branch.report().sent + drops.total(), 510 * PACKETS);
}

#[test]
fn a_recorder_that_is_lost_in_a_pause_costs_nothing_and_nothing_of_the_pause_is_sent() {
    let mut call = lost(|call| {
        call.branch.pause(call.now());
        call.pictures(100);
    });
    call.pictures(10);
    assert_eq!(call.sent, [], "nothing leaves in a pause");
    call.deliver();
    call.pictures(10);
    assert_eq!(call.sent, [all(430..500), all(610..620)].concat());
    assert_eq!(call.gaps(), []);
}

#[test]
fn a_recorder_that_is_lost_while_the_stream_is_off_leaves_what_it_may_not_have_to_the_next_one() {
    let mut call = lost(|call| {
        call.branch.disable(call.now());
        call.pictures(20);
    });
    assert_eq!(call.sent, []);
    call.deliver();
    assert_eq!(call.sent, all(430..500));
    assert_eq!(call.branch.report().drops.of(DropCause::Closed), 20 * PACKETS);
}

#[test]
fn a_pause_in_which_the_numbers_wrap_loses_nothing_afterwards() {
    let mut call = Call::vp8(BranchLimits::default());
    call.picture = 21_000;
    call.deliver();
    call.pictures(20);
    call.branch.pause(call.now());
    // 63,000 + 60 packets before it, and over 65,536 within.
    call.pictures(13_400);
    call.branch.open(RULES, call.now());
    call.pictures(20);
    let expected: Vec<u64> = (5000..5000 + 40 * PACKETS).collect();
    assert_eq!(call.indices, expected);
    assert_eq!(call.branch.report().drops.total(), 0);
}

proptest! {
    /// However small the ring and however long the groups: nothing is cut in the middle of a picture, nothing is out of
    /// order, and every packet is sent or counted.
    #[test]
    fn every_picture_is_whole_and_accounted_for(bytes in 2048..60_000_usize, pictures in 1..200_u64, known: bool) {
        let limits = BranchLimits { video_hold_bytes: bytes, ..BranchLimits::default() };
        let mut call = if known { Call::vp8(limits) } else { Call::new(limits) };
        call.pictures(pictures);
        call.deliver();
        let first = call.sent[0];
        let expected: Vec<u64> = (first..pictures).flat_map(|picture| [picture; PACKETS as usize]).collect();
        prop_assert_eq!(&call.sent, &expected);
        let report = call.branch.report();
        prop_assert_eq!(report.sent + report.drops.of(DropCause::RingFull), pictures * PACKETS);
        // With 35 bytes of bookkeeping each.
        let fits_a_group = bytes as u64 >= (GROUP + 1) * PACKETS * (112 + 35);
        prop_assert!(!known || !fits_a_group || first % GROUP == 0, "begins at {}", first);
    }
}
