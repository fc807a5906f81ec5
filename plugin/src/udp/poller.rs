//! One thread that waits for the sockets of many streams.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use rustix::event::{EventfdFlags, epoll, eventfd};

use super::stream::{Desk, Stream};
use crate::guard::guarded;
use crate::sync::lock;
use crate::trail;

/// Stands for the event that wakes the thread, among the numbers of streams.
const WAKE: u64 = 0;
/// Most sockets that one look finds ready.
const MOST_READY: usize = 128;

/// What a poll thread works on. The thread may be exchanged while it hangs in a push: then another one goes on with all
/// of this but the stream that it hangs in.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    event: OwnedFd,
    streams: Mutex<HashMap<u64, Arc<Stream>>>,
    /// Streams that have something to do besides packets.
    kicked: Mutex<Vec<Arc<Stream>>>,
    /// Which thread is in charge, and what it is doing.
    turn: AtomicU64,
    /// The stream of the turn; says something during one only.
    current: AtomicU64,
    /// What is left to a thread that is no longer in charge. Whoever exchanges threads has the lock.
    left: Mutex<HashMap<u16, Arc<Poller>>>,
    stops: AtomicBool,
    /// Where the system tells of the thread that is in charge.
    status: Mutex<Option<PathBuf>>,
}

/// A moment in the life of a poller: whose turn it is, which one, and whether a stream is being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    thread: u16,
    count: u64,
    pub(super) is_busy: bool,
}

impl Turn {
    const COUNTED: u32 = 47;

    /// The first one of a thread.
    const fn first(thread: u16) -> Self {
        Self { thread, count: 0, is_busy: false }
    }

    const fn pack(self) -> u64 {
        (self.thread as u64) << (Self::COUNTED + 1) | self.count << 1 | self.is_busy as u64
    }

    const fn unpack(word: u64) -> Self {
        let count = (word >> 1) & ((1 << Self::COUNTED) - 1);
        Self { thread: (word >> (Self::COUNTED + 1)) as u16, count, is_busy: word & 1 == 1 }
    }
}

impl Poller {
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &event, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Arc::new(Self {
            epoll,
            event,
            streams: Mutex::default(),
            kicked: Mutex::default(),
            turn: AtomicU64::new(Turn::first(0).pack()),
            current: AtomicU64::new(WAKE),
            left: Mutex::default(),
            stops: AtomicBool::new(false),
            status: Mutex::default(),
        }))
    }

    /// Waits for packets of this stream from now on.
    ///
    /// # Errors
    /// The kernel has no room for it, or its socket is waited for already.
    pub(super) fn add(&self, stream: &Arc<Stream>) -> io::Result<()> {
        lock(&self.streams).insert(stream.token(), stream.clone());
        let data = epoll::EventData::new_u64(stream.token());
        let added = epoll::add(&self.epoll, stream.udp(), data, epoll::EventFlags::IN);
        if added.is_err() {
            lock(&self.streams).remove(&stream.token());
        }
        Ok(added?)
    }

    /// No longer does. The thread may still be serving it.
    pub(super) fn remove(&self, stream: &Stream) {
        if lock(&self.streams).remove(&stream.token()).is_some() {
            self.forget(stream.udp());
            // A thread that has nothing else left may end.
            self.wake();
        }
    }

    fn forget(&self, socket: &UdpSocket) {
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// How many streams it waits for.
    pub(super) fn streams(&self) -> usize {
        lock(&self.streams).len()
    }

    /// Has the thread serve this stream although there may be no packet.
    pub(super) fn kick(&self, stream: Arc<Stream>) {
        lock(&self.kicked).push(stream);
        self.wake();
    }

    fn wake(&self) {
        // A counter that is full has woken its thread already.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// Has the threads of it end.
    pub(super) fn stop(&self) {
        self.stops.store(true, Ordering::Release);
        for left in lock(&self.left).values() {
            left.stop();
        }
        self.wake();
    }

    /// What it is doing.
    pub(super) fn turn(&self) -> Turn {
        Turn::unpack(self.turn.load(Ordering::Acquire))
    }

    /// Whether its thread computes or waits for a processor, by what the system tells of it. One that waits for
    /// anything else does not, nor does one of which nothing is known.
    pub(super) fn computes(&self) -> bool {
        let status = lock(&self.status).as_ref().and_then(|status| std::fs::read_to_string(status).ok());
        // The state follows on the name, which may have any character (proc_pid_stat(5)).
        status.is_some_and(|status| status.rsplit(')').next().is_some_and(|rest| rest.starts_with(" R")))
    }

    /// Takes everything but the stream that is being served away from the thread that has been in this turn for too long.
    /// Answers with the number of the thread that is to go on, and the stream, if it is still waited for. `None` when the
    /// turn has ended.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn displace(&self, seen: Turn) -> io::Result<Option<(u16, Option<Arc<Stream>>)>> {
        let alone = Self::new()?;
        let mut left = lock(&self.left);
        let token = self.current.load(Ordering::Acquire);
        let next = seen.thread.wrapping_add(1);
        let exchanged = self.turn.compare_exchange(
            seen.pack(),
            Turn::first(next).pack(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if exchanged.is_err() {
            return Ok(None);
        }
        if self.stops.load(Ordering::Acquire) {
            alone.stop();
        }
        left.insert(seen.thread, alone.clone());
        let stream = lock(&self.streams).get(&token).cloned();
        // Still under the lock: the thread must not find that nothing is left to it before this is.
        if let Some(stream) = &stream {
            stream.move_to(&alone);
        }
        Ok(Some((next, stream)))
    }

    /// Works as this thread until told to stop. A thread that has lost its place goes on with what is left to it, until
    /// that is nothing.
    pub(super) fn run(&self, thread: u16) {
        let mut desk = Desk::default();
        let thread_self = std::fs::read_link("/proc/thread-self").ok();
        *lock(&self.status) = thread_self.map(|thread| Path::new("/proc").join(thread).join("stat"));
        self.work(&mut desk, thread, false);
        let left = lock(&self.left).get(&thread).cloned();
        if let Some(alone) = left {
            alone.work(&mut desk, 0, true);
            lock(&self.left).remove(&thread);
        }
    }

    fn work(&self, desk: &mut Desk, thread: u16, until_empty: bool) {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; MOST_READY];
        let mut turn = Turn::first(thread);
        let mut kicked = Vec::new();
        while !(self.stops.load(Ordering::Acquire) || until_empty && self.has_nothing_left()) {
            desk.looks = desk.looks.wrapping_add(1);
            let ready = match epoll::wait(&self.epoll, &mut events, None) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    gst::error!(super::CAT, "cannot wait for packets: {error}");
                    return;
                }
            };
            self.announce(ready);
            for (index, event) in ready.iter().enumerate() {
                let token = event.data.u64();
                if token == WAKE {
                    let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
                    std::mem::swap(&mut kicked, &mut lock(&self.kicked));
                    while let Some(stream) = kicked.pop() {
                        if !self.serve(desk, &mut turn, &stream) {
                            lock(&self.kicked).append(&mut kicked);
                            self.wake();
                            return;
                        }
                    }
                    continue;
                }
                let next = ready.get(index + 1).map(|next| next.data.u64());
                let stream = self.called(token, next);
                if stream.is_some_and(|stream| !self.serve(desk, &mut turn, &stream)) {
                    return;
                }
            }
        }
    }

    /// Has the processor fetch what the turns of these events begin with.
    fn announce(&self, ready: &[epoll::Event]) {
        let streams = lock(&self.streams);
        let called = ready.iter().filter_map(|event| streams.get(&event.data.u64()));
        called.for_each(|stream| trail::fetch(Arc::as_ptr(stream)));
    }

    /// The stream whose turn it is; one that has been removed since is not there any more. While it is served, what the next
    /// one needs is on its way.
    fn called(&self, token: u64, next: Option<u64>) -> Option<Arc<Stream>> {
        let streams = lock(&self.streams);
        next.and_then(|next| streams.get(&next)).inspect(|next| next.fetch());
        streams.get(&token).cloned()
    }

    fn has_nothing_left(&self) -> bool {
        lock(&self.streams).is_empty() && lock(&self.kicked).is_empty()
    }

    /// Serves a stream; whether this thread is still in charge afterwards.
    fn serve(&self, desk: &mut Desk, turn: &mut Turn, stream: &Arc<Stream>) -> bool {
        turn.count = (turn.count + 1) & ((1 << Turn::COUNTED) - 1);
        turn.is_busy = true;
        self.current.store(stream.token(), Ordering::Relaxed);
        let during = turn.pack();
        self.turn.store(during, Ordering::Release);
        guarded(stream.pad().upcast_ref(), || stream.serve(desk));
        turn.is_busy = false;
        self.turn.compare_exchange(during, turn.pack(), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_the_same_after_packing() {
        for thread in [0, 1, u16::MAX] {
            for count in [0, 1, (1 << Turn::COUNTED) - 1] {
                for is_busy in [false, true] {
                    let turn = Turn { thread, count, is_busy };
                    assert_eq!(Turn::unpack(turn.pack()), turn);
                }
            }
        }
    }

    #[test]
    fn a_thread_that_waits_does_not_compute_and_one_that_is_unknown_neither() {
        let poller = Poller::new().unwrap();
        assert!(!poller.computes());
        let works = poller.clone();
        let thread = std::thread::spawn(move || works.run(0));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let is_waiting = || lock(&poller.status).is_some() && !poller.computes();
        while !is_waiting() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        poller.stop();
        thread.join().unwrap();
        // What asks computes.
        let here = std::fs::read_link("/proc/thread-self").unwrap();
        *lock(&poller.status) = Some(Path::new("/proc").join(here).join("stat"));
        assert!(poller.computes());
    }
}
