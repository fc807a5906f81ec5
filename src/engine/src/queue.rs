//! The way of a packet from the streaming thread to the media thread.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::packed::{MAX_PACKET, Mark, Packed};

/// A bounded queue of packets with one producer at a time and the media thread as its consumer.
///
/// It has two halves. The producer fills the active one; the consumer makes the other one active and then owns
/// what was filled, in place, for as long as it likes. So the producer never waits for the consumer, no byte is
/// copied twice, and nothing is allocated once both halves have grown to what a slice needs.
///
/// When the active half is full, packets are dropped, the newest first, until the consumer has taken it: what is
/// queued stays without a hole, and the hole comes after it.
#[derive(Debug)]
pub(crate) struct PacketQueue {
    limit: usize,
    /// Serialises producers. The consumer never takes it.
    producer: Mutex<()>,
    halves: [Mutex<Packed>; 2],
    active: AtomicUsize,
    filled: AtomicBool,
    /// There are more than [`PRESSING`] bytes.
    pressed: AtomicBool,
}

/// Bytes, bookkeeping included, that should not wait for the consumer's next regular look: what is sent at once must fit
/// into the receive buffer of a recorder, which has some 200 KB where nobody says otherwise, and counts a packet twice.
const PRESSING: usize = 16 * 1024;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is in the queue, whose consumer has not been told of anything since it last looked.
    First,
    /// It is in the queue.
    Queued,
    /// It is in the queue, and with it there is much.
    Pressing,
    /// There was no room.
    Dropped,
}

impl PacketQueue {
    /// A queue whose halves hold `limit` bytes each, their bookkeeping included.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            producer: Mutex::default(),
            halves: Default::default(),
            active: AtomicUsize::new(0),
            filled: AtomicBool::new(false),
            pressed: AtomicBool::new(false),
        }
    }

    /// Becomes the producer.
    pub(crate) fn produce(&self) -> Producer<'_> {
        Producer { queue: self, _lock: lock(&self.producer) }
    }

    /// Whether there is something to take.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::SeqCst)
    }

    /// Whether there is much.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// Takes everything that was queued. For the media thread only.
    pub(crate) fn take(&self) -> Batch<'_> {
        // In this order: what a producer adds after the change of halves must find the flag down and raise it.
        self.filled.store(false, Ordering::SeqCst);
        if self.is_pressed() {
            self.pressed.store(false, Ordering::SeqCst);
        }
        let filled = self.active.fetch_xor(1, Ordering::SeqCst);
        Batch { half: lock(self.half(filled)) }
    }

    fn half(&self, index: usize) -> &Mutex<Packed> {
        let [even, odd] = &self.halves;
        if index == 0 { even } else { odd }
    }

    /// The active half. A change of halves in between costs one more round: the consumer never holds the active one.
    fn active_half(&self) -> MutexGuard<'_, Packed> {
        loop {
            let active = self.active.load(Ordering::SeqCst);
            let half = lock_if_free(self.half(active));
            if let Some(half) = half
                && self.active.load(Ordering::SeqCst) == active
            {
                return half;
            }
            std::hint::spin_loop();
        }
    }

    fn announce(&self) -> Pushed {
        // The consumer lowers the flag before it changes the halves, so a raised flag covers this packet too.
        if self.filled.load(Ordering::SeqCst) {
            Pushed::Queued
        } else {
            self.filled.store(true, Ordering::SeqCst);
            Pushed::First
        }
    }
}

/// The right to add to a queue.
#[derive(Debug)]
pub(crate) struct Producer<'a> {
    queue: &'a PacketQueue,
    _lock: MutexGuard<'a, ()>,
}

impl Producer<'_> {
    /// Copies one packet, whose bytes are those of `parts` in order, into the queue.
    pub(crate) fn push(&mut self, parts: &[&[u8]], arrival: Instant) -> Pushed {
        let mut half = self.queue.active_half();
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        let stored = if size > MAX_PACKET { 0 } else { size };
        if half.overflow() > 0 || half.size() + stored + Packed::ENTRY > self.queue.limit {
            half.overflow_by_one();
            drop(half);
            self.queue.announce();
            return Pushed::Dropped;
        }
        half.push(parts, size, arrival);
        let is_much = half.size() > PRESSING;
        drop(half);
        let pushed = self.queue.announce();
        if is_much && !self.queue.is_pressed() {
            self.queue.pressed.store(true, Ordering::SeqCst);
            return Pushed::Pressing;
        }
        pushed
    }

    /// Whether packets find no room until the consumer has been here.
    pub(crate) fn is_overfull(&self) -> bool {
        self.queue.active_half().overflow() > 0
    }

    /// Notes what happened before the next packet. It takes no room that packets could fill, so it always succeeds.
    pub(crate) fn mark(&mut self, mark: Mark) -> Pushed {
        self.queue.active_half().mark(mark);
        self.queue.announce()
    }
}

/// Everything that was queued at one moment. Dropping it empties that half of the queue.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    half: MutexGuard<'a, Packed>,
}

impl Deref for Batch<'_> {
    type Target = Packed;

    fn deref(&self) -> &Packed {
        &self.half
    }
}

impl DerefMut for Batch<'_> {
    fn deref_mut(&mut self) -> &mut Packed {
        &mut self.half
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.half.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of a branch happens outside of every change to a half.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_if_free<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(std::sync::TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use siprec_model::DropCause;

    use super::*;
    use crate::packed::Item;

    fn packets(batch: &Batch<'_>) -> Vec<Vec<u8>> {
        batch
            .items()
            .filter_map(|item| match item {
                Item::Packet(bytes, _) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let queue = PacketQueue::new(4096);
        let start = Instant::now();
        assert_eq!(queue.produce().push(&[b"one"], start), Pushed::First);
        assert_eq!(
            queue.produce().push(&[b"t", b"", b"wo"], start + Duration::from_millis(20)),
            Pushed::Queued
        );
        assert!(queue.is_filled());
        let batch = queue.take();
        assert_eq!(
            batch.items().collect::<Vec<_>>(),
            [Item::Packet(b"one", start), Item::Packet(b"two", start + Duration::from_millis(20))]
        );
        assert_eq!(batch.overflow(), 0);
        assert!(!queue.is_filled());
    }

    #[test]
    fn the_producer_goes_on_while_a_batch_is_held() {
        let queue = PacketQueue::new(4096);
        queue.produce().push(&[b"one"], Instant::now());
        let batch = queue.take();
        assert_eq!(queue.produce().push(&[b"two"], Instant::now()), Pushed::First);
        assert_eq!(packets(&batch), [b"one"]);
        drop(batch);
        assert_eq!(packets(&queue.take()), [b"two"]);
        assert_eq!(packets(&queue.take()), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_full_queue_drops_the_newest_until_it_is_taken() {
        let queue = PacketQueue::new(3 * (100 + Packed::ENTRY));
        let start = Instant::now();
        for index in 0..3u8 {
            assert_ne!(queue.produce().push(&[&[index; 100]], start), Pushed::Dropped);
        }
        assert_eq!(queue.produce().push(&[&[3; 100]], start + Duration::from_millis(60)), Pushed::Dropped);
        assert_eq!(
            queue.produce().push(&[b"x"], start + Duration::from_millis(80)),
            Pushed::Dropped,
            "nothing may follow a hole that has not been told"
        );
        let batch = queue.take();
        assert_eq!(packets(&batch).len(), 3);
        assert_eq!(batch.overflow(), 2);
        drop(batch);
        assert_ne!(queue.produce().push(&[b"x"], start), Pushed::Dropped);
    }

    #[test]
    fn a_packet_that_no_datagram_can_carry_leaves_only_its_trace() {
        let queue = PacketQueue::new(1 << 20);
        let now = Instant::now();
        queue.produce().push(&[&vec![0x80; MAX_PACKET]], now);
        queue.produce().push(&[&vec![0x80; MAX_PACKET], b"x"], now);
        let batch = queue.take();
        assert!(matches!(
            batch.items().collect::<Vec<_>>().as_slice(),
            [Item::Packet(bytes, _), Item::Lost(DropCause::Malformed, None)] if bytes.len() == MAX_PACKET
        ));
    }

    #[test]
    fn toggling_a_gate_takes_no_memory() {
        let queue = PacketQueue::new(4096);
        for _ in 0..100_000 {
            queue.produce().mark(Mark { gate_opened: true, ..Mark::default() });
        }
        assert_eq!(queue.take().items().count(), 1);
    }

    #[test]
    fn nothing_is_lost_or_reordered_between_two_threads() {
        const COUNT: u32 = 200_000;
        let queue = PacketQueue::new(64 * 1024);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let now = Instant::now();
                for number in 0..COUNT {
                    while queue.produce().push(&[&number.to_be_bytes()], now) == Pushed::Dropped {
                        std::thread::yield_now();
                    }
                }
            });
            let mut next = 0;
            while next < COUNT {
                if !queue.is_filled() {
                    std::thread::yield_now();
                    continue;
                }
                for item in queue.take().items() {
                    let Item::Packet(bytes, _) = item else { panic!("{item:?}") };
                    assert_eq!(bytes, next.to_be_bytes());
                    next += 1;
                }
            }
        });
    }
}
