//! What SRTP costs: protect and unprotect of one packet of 172 bytes, by suite and backend, for 1, 200 and 1000 contexts
//! in turn; setting a context up, and its size.
//!
//! The rows take turns in short rounds, so that all see the same load of the machine. The best round and the median of all
//! are printed. Sizes are bytes on the heap and in the value; what C allocates is not in them.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use siprec_media::srtp::{Backend, Protector, Unprotector};
use siprec_model::{SrtpKey, SrtpSuite};

const ROUNDS: usize = 15;
const PACKETS: u32 = 20_000;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Many streams of one suite, a packet of each in turn.
struct Row {
    suite: SrtpSuite,
    backend: Backend,
    streams: Vec<(Protector, Unprotector)>,
    index: u64,
    rounds: Vec<Duration>,
}

fn main() {
    let kinds =
        || SrtpSuite::ALL.into_iter().flat_map(|suite| Backend::ALL.iter().map(move |of| (suite, *of)));
    println!("protect + unprotect of 172 bytes, ns");
    println!("{:<26} {:<8} {:>8} {:>8} {:>8}", "suite", "backend", "contexts", "best", "median");
    for contexts in [1, 200, 1000] {
        let mut rows: Vec<_> = kinds().map(|(suite, backend)| Row::new(suite, backend, contexts)).collect();
        for _ in 0..ROUNDS {
            rows.iter_mut().for_each(Row::round);
        }
        for row in &mut rows {
            row.rounds.sort_unstable();
            let ns = |round: usize| row.rounds[round].as_nanos() / u128::from(PACKETS);
            let (best, median) = (ns(0), ns(ROUNDS / 2));
            println!(
                "{:<26} {:<8} {contexts:>8} {best:>8} {median:>8}",
                row.suite.as_str(),
                name(row.backend)
            );
        }
    }
    println!(
        "\nsetting up a protector with its first packet, ns, and bytes after it; the same for an unprotector"
    );
    for (suite, backend) in kinds() {
        set_up(suite, backend);
    }
}

impl Row {
    fn new(suite: SrtpSuite, backend: Backend, contexts: usize) -> Self {
        let streams = (0..contexts).map(|number| stream(suite, backend, number)).collect();
        Self { suite, backend, streams, index: 1000, rounds: Vec::new() }
    }

    fn round(&mut self) {
        let mut out = Vec::with_capacity(256);
        let started = Instant::now();
        let mut left = PACKETS;
        while left > 0 {
            self.index += 1;
            for (protector, unprotector) in self.streams.iter_mut().take(left as usize) {
                out.clear();
                out.extend_from_slice(&packet(self.index));
                protector.protect_rtp(&mut out, 172, 1, self.index).expect("a packet that is protected");
                let length = unprotector.unprotect_rtp(&mut out).expect("a packet that is unprotected");
                black_box(&out[..length]);
                left -= 1;
            }
        }
        self.rounds.push(started.elapsed());
    }
}

fn set_up(suite: SrtpSuite, backend: Backend) {
    const CONTEXTS: usize = 1000;
    let mut out = Vec::with_capacity(256);
    let keys: Vec<_> = (0..CONTEXTS).map(|number| key(suite, number)).collect();
    let (mut protectors, mut unprotectors) = (Vec::with_capacity(CONTEXTS), Vec::with_capacity(CONTEXTS));
    let mut packets = Vec::with_capacity(CONTEXTS);
    for _ in 0..CONTEXTS {
        packets.push(Vec::with_capacity(256));
    }
    let before = (ALLOCATED.load(Ordering::Relaxed), Instant::now());
    for (key, out) in keys.iter().zip(&mut packets) {
        let mut protector = Protector::with_backend(key, backend).expect("a key that is taken");
        out.extend_from_slice(&packet(1000));
        protector.protect_rtp(out, 172, 1, 1000).expect("a packet that is protected");
        protectors.push(protector);
    }
    let between = (ALLOCATED.load(Ordering::Relaxed), Instant::now());
    for (key, packet) in keys.iter().zip(&packets) {
        out.clear();
        out.extend_from_slice(packet);
        let mut unprotector = Unprotector::with_backend(backend);
        unprotector.add_key(key).expect("a key that is taken");
        unprotector.unprotect_rtp(&mut out).expect("a packet that is unprotected");
        unprotectors.push(unprotector);
    }
    let after = (ALLOCATED.load(Ordering::Relaxed), Instant::now());
    let each = |from: (usize, Instant), to: (usize, Instant)| {
        ((to.1 - from.1).as_nanos() / CONTEXTS as u128, (to.0 - from.0) / CONTEXTS)
    };
    let ((protector_ns, protector_heap), (unprotector_ns, unprotector_heap)) =
        (each(before, between), each(between, after));
    println!(
        "{:<26} {:<8} {protector_ns:>8} {:>6} {unprotector_ns:>8} {:>6}",
        suite.as_str(),
        name(backend),
        protector_heap + size_of::<Protector>(),
        unprotector_heap + size_of::<Unprotector>(),
    );
}

fn stream(suite: SrtpSuite, backend: Backend, number: usize) -> (Protector, Unprotector) {
    let key = key(suite, number);
    let mut unprotector = Unprotector::with_backend(backend);
    unprotector.add_key(&key).expect("a key that is taken");
    (Protector::with_backend(&key, backend).expect("a key that is taken"), unprotector)
}

fn key(suite: SrtpSuite, number: usize) -> SrtpKey {
    let mut master = vec![7; suite.master_length()];
    master[..8].copy_from_slice(&number.to_be_bytes());
    SrtpKey::new(suite, &master).expect("a key of its length")
}

fn packet(index: u64) -> [u8; 172] {
    let mut packet = [0xD5; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    packet[8..12].copy_from_slice(&1u32.to_be_bytes());
    packet
}

fn name(backend: Backend) -> String {
    format!("{backend:?}").to_lowercase()
}
