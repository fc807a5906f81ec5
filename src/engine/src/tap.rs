//! Where a call's packets enter the engine.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use siprec_media::fixed_header;
use siprec_media::srtp::{CallKey, Passed};
use siprec_model::{SrtpKey, StreamId};

use crate::keyring::Keyring;
use crate::packed::Mark;
use crate::queue::{PacketQueue, Producer, Pushed};
use crate::shared::Shared;

/// Settings of a [`Tap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// Most bytes that may wait for the media thread, bookkeeping included; twice as many while it is reading.
    /// At least 66 KiB, so that any datagram fits. Default 256 KiB: 24 s of G.711, half a second of video at
    /// 4 Mbit/s. When it is full, the newest packets are dropped, counted as
    /// [`QueueFull`](siprec_model::DropCause::QueueFull) and reported as a gap.
    pub queue_bytes: usize,
    /// Whether packets are taken from the start. Default open.
    pub gate: Gate,
    /// How many branches are to have the stream from its first packet on: from the first branch on, packets wait for the
    /// others, at most a second. Default 1.
    pub branches: usize,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self { queue_bytes: 256 * 1024, gate: Gate::Open, branches: 1 }
    }
}

/// Whether a tap lets packets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Packets are taken, and what branches hold may be sent.
    Open,
    /// Packets are not stored, and nothing of the stream is sent. What was taken before is kept.
    Closed,
}

/// What a tap has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapStats {
    /// Packets taken.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that met a closed gate.
    pub gated: u64,
    /// Packets dropped because the media thread did not keep up.
    pub queue_full: u64,
}

/// One tapped stream of a call: copies packets to the engine. Dropping it says that the stream is gone; what it
/// took before still reaches the branches, a first branch that is created within 10 s too.
pub struct Tap {
    tap: Arc<TapState>,
    engine: Arc<Shared>,
}

impl Tap {
    pub(crate) fn new(config: TapConfig, engine: Arc<Shared>) -> (Self, Arc<TapState>) {
        let tap = Arc::new(TapState {
            stream: StreamId::unique(),
            branches: config.branches,
            queue: PacketQueue::new(config.queue_bytes.max(66 * 1024)),
            secured: AtomicBool::new(false),
            described: AtomicBool::new(false),
            has_passed: AtomicBool::new(false),
            passed: Mutex::default(),
            keyring: Keyring::default(),
            closed: AtomicBool::new(config.gate == Gate::Closed),
            gone: AtomicBool::new(false),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            gated: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
        });
        (Self { tap: tap.clone(), engine }, tap)
    }

    /// Address and size in bytes of the memory that [`Tap::push`] needs, besides the tap itself and the room for the packet: for
    /// who has the processor fetch it beforehand.
    pub fn memory(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.tap).addr(), size_of::<TapState>())
    }

    /// The name by which branches are fed from this tap.
    pub fn stream(&self) -> StreamId {
        self.tap.stream
    }

    /// Copies one packet of the call for the recording. `arrival` is when it came in; it decides about lateness
    /// and about the wall clock of sender reports. Anything is taken, RTP or not: the branches judge.
    ///
    /// Never waits for the media thread or a system call, save one write of 8 bytes to wake the thread after a
    /// pause of the whole process's traffic.
    pub fn push(&self, packet: &[u8], arrival: Instant) {
        self.push_gathered(&[packet], arrival);
    }

    /// As [`Tap::push`], for one packet whose bytes lie in several pieces.
    pub fn push_gathered(&self, parts: &[&[u8]], arrival: Instant) {
        let tap = &*self.tap;
        let mut producer = tap.queue.produce();
        // Under the producer's lock: a closer that has it afterwards knows that no later packet is stored.
        let secured = tap.secured.load(Ordering::Relaxed);
        if tap.closed.load(Ordering::Relaxed) {
            if secured {
                tap.pass(parts);
            }
            drop(producer);
            tap.gated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if secured && !producer.is_overfull() {
            tap.tell_passed(&mut producer);
        }
        let pushed = producer.push(parts, arrival);
        if secured && pushed == Pushed::Dropped {
            tap.pass(parts);
        }
        // Under the lock there is one writer, and no need to lock the bus for a sum.
        let add = |sum: &AtomicU64, more| sum.store(sum.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        match pushed {
            Pushed::Dropped => add(&tap.queue_full, 1),
            Pushed::First | Pushed::Queued | Pushed::Pressing => {
                add(&tap.packets, 1);
                add(&tap.bytes, parts.iter().map(|part| part.len() as u64).sum());
            }
        }
        drop(producer);
        self.wake_for(pushed);
    }

    /// Says that packets pushed from now on are SRTP, or are plain again, as they are at first. Those that are encrypted are decrypted before
    /// any branch has them, see [`Tap::add_key`]; one that cannot be is counted by its cause and goes no further.
    pub fn set_secured(&self, secured: bool) {
        let mut producer = self.tap.queue.produce();
        if self.tap.secured.swap(secured, Ordering::Relaxed) != secured {
            let confidential = Some(self.tap.is_confidential());
            let marked = producer.mark(Mark { secured: Some(secured), confidential, ..Mark::default() });
            drop(producer);
            self.wake_for(marked);
        }
    }

    /// Says that packets pushed from now on are confidential although they come in the clear, since the call encrypts them,
    /// or are not, as they are not at first. As what is encrypted, they leave in the clear only where
    /// [`OpenBranch::may_expose`](siprec_model::OpenBranch::may_expose) says so.
    pub fn set_confidential(&self, confidential: bool) {
        let mut producer = self.tap.queue.produce();
        if self.tap.described.swap(confidential, Ordering::Relaxed) != confidential {
            let confidential = Some(self.tap.is_confidential());
            let marked = producer.mark(Mark { confidential, ..Mark::default() });
            drop(producer);
            self.wake_for(marked);
        }
    }

    /// Adds a key of the call. Up to 16 are valid at once, one more replaces the one that was given, or has
    /// decrypted something, longest ago. While there is none, packets wait:
    /// up to 1 MiB, the oldest are lost first, as [`NoKey`](siprec_model::DropCause::NoKey). Packets that no key fits, of a
    /// source of which others were authentic, wait a second for another one, up to 256 KiB.
    pub fn add_key(&self, key: CallKey) {
        self.tap.keyring.add(key);
        self.engine.wake_if_asleep();
    }

    /// The keys that have decrypted packets since this was last asked, the one that did so last at the end. The media thread
    /// tells of them some 100 ms later.
    pub fn take_used_keys(&self) -> Vec<SrtpKey> {
        self.tap.keyring.take_used()
    }

    /// Says that the key of a source is being asked for: its packets wait until [`Tap::settle_key`], in the same room.
    /// There may be 64 such sources.
    pub fn expect_key(&self, ssrc: u32) {
        self.tap.keyring.expect(ssrc);
        self.engine.wake_if_asleep();
    }

    /// Says that the question for a source's key was answered, by [`Tap::add_key`] or in vain.
    pub fn settle_key(&self, ssrc: u32) {
        self.tap.keyring.settle(ssrc);
        self.engine.wake_if_asleep();
    }

    /// Where the stream's sources are, as far as the media thread has come and what was not kept says: for
    /// [`Tap::note_passed`] of another tap that takes the stream over. Nothing may be pushed into this one any more.
    pub fn take_passed(&self) -> Passed {
        let mut passed = Passed::from(self.tap.keyring.positions());
        passed.join(&self.tap.take_passed());
        passed
    }

    /// Tells of encrypted packets that passed before those that are pushed next, and were not pushed.
    pub fn note_passed(&self, passed: Passed) {
        let mut producer = self.tap.queue.produce();
        let marked = producer.mark(Mark { passed, ..Mark::default() });
        drop(producer);
        self.wake_for(marked);
    }

    fn wake_for(&self, pushed: Pushed) {
        match pushed {
            Pushed::First => self.engine.wake_if_asleep(),
            Pushed::Pressing => self.engine.press(),
            Pushed::Queued | Pushed::Dropped => {}
        }
    }

    /// Closes the gate. When it returns, no packet that is pushed from now on is stored, and nothing of this stream
    /// leaves any more; what was pushed before is kept. Waits at most for one batch of sends (some 100 µs).
    pub fn close_gate(&self) {
        {
            let _producer = self.tap.queue.produce();
            self.tap.closed.store(true, Ordering::SeqCst);
        }
        self.engine.section.wait();
    }

    /// Opens the gate. Packets pushed from now on are stored even if the stream's branches are still paused:
    /// those wait from here on, until they are opened.
    pub fn open_gate(&self) {
        {
            let mut producer = self.tap.queue.produce();
            if !self.tap.closed.swap(false, Ordering::SeqCst) {
                return;
            }
            producer.mark(Mark { gate_opened: true, passed: self.tap.take_passed(), ..Mark::default() });
        }
        self.engine.wake();
    }

    /// The gate's state.
    pub fn gate(&self) -> Gate {
        if self.tap.is_closed() { Gate::Closed } else { Gate::Open }
    }

    /// What the tap has seen so far.
    pub fn stats(&self) -> TapStats {
        TapStats {
            packets: self.tap.packets.load(Ordering::Relaxed),
            bytes: self.tap.bytes.load(Ordering::Relaxed),
            gated: self.tap.gated.load(Ordering::Relaxed),
            queue_full: self.tap.queue_full.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("stream", &self.stream())
            .field("gate", &self.gate())
            .finish_non_exhaustive()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.tap.gone.store(true, Ordering::SeqCst);
        self.engine.wake();
    }
}

/// The part of a tap that the media thread sees.
#[derive(Debug)]
pub(crate) struct TapState {
    pub(crate) stream: StreamId,
    /// How many branches have it from the first packet on.
    pub(crate) branches: usize,
    pub(crate) queue: PacketQueue,
    pub(crate) keyring: Keyring,
    /// Changed by whoever produces.
    secured: AtomicBool,
    /// Changed by whoever produces.
    described: AtomicBool,
    /// Whether `passed` holds anything: nearly never.
    has_passed: AtomicBool,
    /// Encrypted packets that were not kept since the last that was.
    passed: Mutex<Passed>,
    closed: AtomicBool,
    gone: AtomicBool,
    packets: AtomicU64,
    bytes: AtomicU64,
    gated: AtomicU64,
    queue_full: AtomicU64,
}

impl TapState {
    /// Follows a packet that is not kept. For whoever produces.
    fn pass(&self, parts: &[&[u8]]) {
        let Some(header) = fixed_header(parts) else { return };
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).note(&header);
        self.has_passed.store(true, Ordering::Relaxed);
    }

    /// For whoever produces.
    fn is_confidential(&self) -> bool {
        self.secured.load(Ordering::Relaxed) || self.described.load(Ordering::Relaxed)
    }

    fn take_passed(&self) -> Passed {
        self.has_passed.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.passed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell_passed(&self, producer: &mut Producer<'_>) {
        if self.has_passed.load(Ordering::Relaxed) {
            producer.mark(Mark { passed: self.take_passed(), ..Mark::default() });
        }
    }

    /// Whether the gate is closed. The media thread asks inside its send section.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether the tap was dropped: nothing more is added to its queue.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}
