//! No packet costs a heap allocation after warm-up, and no context of SRTP more than 2 KB.

#![cfg(test)]
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use siprec_media::srtp::{Protector, UnprotectFault, Unprotector};
use siprec_media::{Branch, BranchSettings, Departed, HoldMemory, RtpView};
use siprec_model::{BranchLimits, DropCause, Medium, PayloadRule, SrtpKey, SrtpSuite, VideoCodec};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that are allocated and not freed.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

fn count(calls: u64, bytes: isize) {
    ALLOCATIONS.with(|count| count.set(count.get() + calls));
    LIVE.with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const RULES: [PayloadRule; 1] = [PayloadRule { from: 0, to: 0 }];

struct Call {
    branch: Branch,
    now: Instant,
    sequence: u16,
    out: Vec<u8>,
}

impl Call {
    fn new(hold_bytes: usize) -> Self {
        let limits = BranchLimits { hold_bytes, ..BranchLimits::default() };
        let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
        let now = Instant::now();
        Self {
            branch: Branch::new(settings, 1000, now),
            now,
            sequence: 60_000,
            out: Vec::with_capacity(4096),
        }
    }

    fn next(&mut self) -> [u8; 172] {
        self.now += Duration::from_millis(20);
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
        self.out.clear();
        packet
    }

    /// A packet behind a shut gate, which then opens.
    fn store_and_send(&mut self) {
        let packet = self.next();
        self.branch.store_packet(&RtpView::parse(&packet).unwrap(), self.now);
        self.branch.next_packet(self.now, &mut self.out).unwrap();
    }

    /// One packet of the call, and all that is due.
    fn packet(&mut self) {
        let packet = self.next();
        self.branch.handle_packet(&RtpView::parse(&packet).unwrap(), self.now, &mut self.out);
        self.branch.next_packet(self.now, &mut self.out);
        self.branch.next_packet(self.now, &mut self.out);
        while self.branch.poll_event().is_some() {}
    }
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1u8; 100]))) > 0);
}

#[test]
fn an_open_branch_allocates_nothing_for_a_packet() {
    let mut call = Call::new(512 * 1024);
    call.branch.open(&RULES, call.now);
    // What was sent is kept for 30 s, in memory that grows until then.
    (0..4000).for_each(|_| call.packet());
    assert_eq!(allocations(|| (0..10_000).for_each(|_| call.packet())), 0);
    assert_eq!(call.branch.report().sent, 14_000);
}

#[test]
fn a_full_ring_allocates_nothing_for_a_packet() {
    let mut call = Call::new(20_000);
    (0..200).for_each(|_| call.packet());
    assert_eq!(allocations(|| (0..10_000).for_each(|_| call.packet())), 0);
    assert_eq!(call.branch.report().drops.of(DropCause::RingFull), 10_200 - 96);
}

#[test]
fn a_backlog_that_leaves_allocates_nothing_for_a_packet() {
    let mut call = Call::new(1005 * 207);
    (0..1000).for_each(|_| call.packet());
    call.branch.open(&RULES, call.now);
    // The first block goes before the last one is full.
    (0..100).for_each(|_| call.packet());
    assert_eq!(allocations(|| (0..2000).for_each(|_| call.packet())), 0);
    assert_eq!((call.branch.held_packets(), call.branch.report().sent), (0, 3100));
}

#[test]
fn a_ring_that_fills_and_empties_allocates_nothing_for_a_packet() {
    let mut call = Call::new(512 * 1024);
    call.branch.open(&RULES, call.now);
    (0..4000).for_each(|_| call.store_and_send());
    assert_eq!(allocations(|| (0..1000).for_each(|_| call.store_and_send())), 0);
    assert_eq!(call.branch.report().held, 5000);
}

/// Video of one packet a picture, every tenth of which is a key frame.
#[test]
fn a_full_ring_of_video_allocates_nothing_for_a_packet() {
    let mut call = Call::new(0);
    let limits = BranchLimits { hold_bytes: 0, video_hold_bytes: 20_000, ..BranchLimits::default() };
    let settings = BranchSettings { medium: Medium::Video, clock_rate: 90_000, limits };
    call.branch = Branch::new(settings, 1000, call.now);
    call.branch.describe(Medium::Video, 90_000, Some(VideoCodec::Vp8));
    let picture = |call: &mut Call| {
        let mut packet = call.next();
        // RFC 7741 §4.2, §4.3: the start of a picture, and whether it is a key frame.
        (packet[12], packet[13]) = (0x10, u8::from(!call.sequence.is_multiple_of(10)));
        call.branch.handle_packet(&RtpView::parse(&packet).unwrap(), call.now, &mut call.out);
        while call.branch.poll_event().is_some() {}
    };
    (0..200).for_each(|_| picture(&mut call));
    assert_eq!(allocations(|| (0..10_000).for_each(|_| picture(&mut call))), 0);
    let held = call.branch.held_packets() as u64;
    assert!((82..=96).contains(&held), "{held}");
    assert_eq!(call.branch.report().drops.of(DropCause::RingFull), 10_200 - held);
}

#[test]
fn what_leaves_and_is_asked_for_again_allocates_nothing_for_a_packet() {
    let mut call = Call::new(0);
    let mut departed = Departed::new(64 * 1024, HoldMemory::new(1 << 20), call.now);
    let mut packets = |call: &mut Call, count: u32| {
        let mut again = 0;
        for _ in 0..count {
            let packet = call.next();
            departed.keep(&packet, call.now);
            again += u32::from(
                departed.again(0, call.sequence.wrapping_sub(5), call.now, &mut call.out).is_some(),
            );
        }
        again
    };
    packets(&mut call, 500);
    assert_eq!(allocations(|| assert_eq!(packets(&mut call, 5000), 5000)), 0);
}

/// Packets of the call that are decrypted, and encrypted again for a recorder; one in ten is a forgery that comes twice,
/// is followed between, and one a report.
#[test]
fn decrypting_and_encrypting_allocate_nothing_for_a_packet() {
    for suite in SrtpSuite::ALL {
        let key =
            |byte| SrtpKey::new(suite, &vec![byte; suite.master_length()]).unwrap().with_mki(b"mki").unwrap();
        let mut peer = Protector::new(&key(1)).unwrap();
        let mut unprotector = Unprotector::new();
        unprotector.add_key(&key(1)).unwrap();
        let mut protector = Protector::new(&key(2)).unwrap();
        let mut report = vec![0x80, 200, 0, 6];
        report.resize(28, 0);
        let mut call = Call::new(0);
        let mut index = 60_000u64;
        let mut packets = |call: &mut Call, count: u64| {
            for _ in 0..count {
                let packet = call.next();
                index += 1;
                call.out.extend_from_slice(&packet);
                peer.protect_rtp(&mut call.out, 172, 0, index).unwrap();
                if index.is_multiple_of(10) {
                    call.out[30] ^= 1;
                    let forged = unprotector.unprotect_rtp(&mut call.out);
                    assert_eq!(forged, Err(UnprotectFault::NotAuthentic));
                    unprotector.observe(&call.out);
                    let forged = unprotector.unprotect_rtp(&mut call.out);
                    assert_eq!(forged, Err(UnprotectFault::NotAuthentic));
                    call.out[30] ^= 1;
                    let start = call.out.len();
                    call.out.extend_from_slice(&report);
                    peer.protect_rtcp(&mut call.out, 28).unwrap();
                    assert_eq!(unprotector.unprotect_rtcp(&mut call.out[start..]), Ok(28));
                    call.out.truncate(start);
                }
                assert_eq!(unprotector.unprotect_rtp(&mut call.out), Ok(172));
                call.out.truncate(172);
                protector.protect_rtp(&mut call.out, 172, 0, index).unwrap();
            }
        };
        packets(&mut call, 20);
        assert_eq!(allocations(|| packets(&mut call, 7000)), 0, "{suite}");
    }
}

/// With its first packet, what it is itself and what it has on the heap.
#[test]
fn a_context_takes_less_than_2_kb() {
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::new(suite, &vec![1; suite.master_length()]).unwrap();
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&Call::new(0).next());
        let live = || LIVE.with(Cell::get);
        let before = live();
        let mut protector = Protector::new(&key).unwrap();
        protector.protect_rtp(&mut out, 172, 0, 60_001).unwrap();
        let between = live();
        let mut unprotector = Unprotector::new();
        unprotector.add_key(&key).unwrap();
        assert_eq!(unprotector.unprotect_rtp(&mut out), Ok(172));
        for (heap, own) in
            [(between - before, size_of::<Protector>()), (live() - between, size_of::<Unprotector>())]
        {
            assert!(heap > 0 && heap as usize + own < 2048, "{suite}: {heap} + {own} bytes");
        }
    }
}
