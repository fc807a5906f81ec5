//! Looks after the poll threads: a stream whose downstream blocks loses its place, and one that is silent is told.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::hub::Threads;
use super::poller::{Poller, Turn};
use super::stream::Stream;
use crate::sync::lock;

/// How often it looks.
const TICK: Duration = Duration::from_millis(25);
/// After how many looks at one and the same turn a stream has held up the others for too long: 50 to 75 ms.
const PATIENCE: u32 = 3;
/// The same of one that computes all the while, or would if it had a processor: on a busy machine that is nobody's fault, and
/// one more thread is no help.
const PATIENCE_WITH_WORK: u32 = 40;

#[derive(Debug)]
pub(super) struct Watch {
    pollers: Vec<Arc<Poller>>,
    threads: Arc<Threads>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stops: bool,
    /// How many streams run.
    running: usize,
    /// Those that want to be told of silence.
    timed: Vec<Timed>,
}

/// The turn that a poller was seen in.
#[derive(Debug)]
struct Seen {
    turn: Turn,
    /// How many looks in a row it was this one.
    looks: u32,
    since: Instant,
}

/// A stream that wants to be told of silence.
#[derive(Debug)]
struct Timed {
    stream: Arc<Stream>,
    timeout: Duration,
    packets: u64,
    since: Instant,
}

impl Watch {
    pub(super) fn new(pollers: Vec<Arc<Poller>>, threads: Arc<Threads>) -> Self {
        Self { pollers, threads, state: Mutex::default(), changed: Condvar::new() }
    }

    /// A stream runs; one with a timeout is told when nothing comes for so long.
    pub(super) fn add(&self, stream: &Arc<Stream>, timeout: Option<Duration>) {
        let mut state = lock(&self.state);
        state.running += 1;
        state.timed.extend(timeout.map(|timeout| Timed {
            stream: stream.clone(),
            timeout,
            packets: stream.packets(),
            since: Instant::now(),
        }));
        self.changed.notify_one();
    }

    /// A stream that [`Self::add`] was called for runs no longer.
    pub(super) fn remove(&self, stream: &Arc<Stream>) {
        let mut state = lock(&self.state);
        state.running = state.running.saturating_sub(1);
        state.timed.retain(|timed| !Arc::ptr_eq(&timed.stream, stream));
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stops = true;
        self.changed.notify_one();
    }

    /// The thread that looks. While no stream runs it sleeps.
    pub(super) fn run(&self) {
        let mut seen: Vec<_> = self.pollers.iter().map(|poller| Seen::new(poller.turn(), 0)).collect();
        let mut state = lock(&self.state);
        while !state.stops {
            state = if state.running == 0 {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0
            };
            if state.stops {
                break;
            }
            let now = Instant::now();
            let silent: Vec<_> = state.timed.iter_mut().filter_map(|timed| timed.silent(now)).collect();
            drop(state);
            silent.into_iter().for_each(|stream| stream.tell_silence());
            for (poller, seen) in self.pollers.iter().zip(&mut seen) {
                self.look(poller, seen);
            }
            state = lock(&self.state);
        }
    }

    fn look(&self, poller: &Arc<Poller>, seen: &mut Seen) {
        let turn = poller.turn();
        if !turn.is_busy || turn != seen.turn {
            *seen = Seen::new(turn, 1);
            return;
        }
        seen.looks += 1;
        if seen.looks < PATIENCE || seen.looks < PATIENCE_WITH_WORK && poller.computes() {
            return;
        }
        // The next look may be at a thread that has not come to its first line yet.
        seen.looks = 0;
        let since = seen.since;
        let next = poller.clone();
        // The thread must be there before anything is taken from the other one.
        let started = self.threads.spawn("siprecudp", move || match next.displace(turn) {
            Ok(Some((number, stream))) => {
                if let Some(stream) = stream {
                    stream.tell_moved(since.elapsed());
                }
                next.run(number);
            }
            Ok(None) => {}
            Err(error) => gst::error!(super::CAT, "cannot make room for another poll thread: {error}"),
        });
        if let Err(error) = started {
            gst::error!(super::CAT, "cannot start another poll thread: {error}");
        }
    }
}

impl Seen {
    fn new(turn: Turn, looks: u32) -> Self {
        Self { turn, looks, since: Instant::now() }
    }
}

impl Timed {
    /// The stream, if nothing has come for as long as it says, once each time.
    fn silent(&mut self, now: Instant) -> Option<Arc<Stream>> {
        let packets = self.stream.packets();
        if packets != self.packets {
            self.packets = packets;
            self.since = now;
            return None;
        }
        (now.saturating_duration_since(self.since) >= self.timeout).then(|| {
            self.since = now;
            self.stream.clone()
        })
    }
}
