//! The one thread that calls the application.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use siprec_model::{RecordingKey, SessionEvent, SessionEventKind};

use crate::idle::Idle;
use crate::pool::{RecorderChange, RecorderWatch};

/// What the application gave to be called with the events of one recording.
pub(crate) type Callback = Box<dyn Fn(SessionEvent) + Send>;

/// Events of one recording from which on further ones are merged.
const MERGE_FROM: usize = 64;

/// The queue to the application's callbacks, which run one after the other on a thread of their own: one that stalls
/// stalls no recording.
///
/// Each recording's events come in order. While 64 of one recording wait, a further one takes the place of the waiting
/// one that it makes obsolete: gaps add up, a change of state replaces the last, pause and resume replace each other.
/// The rest (started, stopped, failed, medium off, report) is never merged or dropped; a recording has few of them.
pub(crate) struct Notifier {
    state: Mutex<State>,
    filled: Condvar,
    idle: Arc<Idle>,
    watcher: Option<RecorderWatch>,
}

/// Something to be told.
enum Told {
    Event(RecordingKey, Callback, SessionEvent),
    Change(RecorderChange),
}

#[derive(Default)]
struct State {
    changes: VecDeque<RecorderChange>,
    channels: HashMap<RecordingKey, Channel>,
    /// Recordings with events, each once, in the order in which they are served.
    ready: VecDeque<RecordingKey>,
    closed: bool,
    /// Nobody is called any more.
    muted: bool,
}

#[derive(Default)]
struct Channel {
    /// Away while it runs.
    callback: Option<Callback>,
    events: VecDeque<SessionEvent>,
    /// Stands in `ready`.
    queued: bool,
    /// Nothing follows.
    ended: bool,
}

impl Notifier {
    /// Starts the thread. It logs to `log`.
    ///
    /// # Errors
    /// What the system says where it gives no thread.
    pub(crate) fn start(
        idle: Arc<Idle>,
        log: tracing::Dispatch,
        watcher: Option<RecorderWatch>,
    ) -> std::io::Result<Arc<Self>> {
        let notifier = Arc::new(Self { state: Mutex::default(), filled: Condvar::new(), idle, watcher });
        let served = Arc::clone(&notifier);
        // The thread ends by itself after `close`; nobody may wait for a callback that never returns.
        let _detached: JoinHandle<()> =
            std::thread::Builder::new().name("siprec-notify".to_owned()).spawn(move || {
                tracing::dispatcher::with_default(&log, || served.serve());
            })?;
        Ok(notifier)
    }

    /// Takes on a recording.
    pub(crate) fn open(&self, key: RecordingKey, callback: Callback) {
        self.lock().channels.insert(key, Channel { callback: Some(callback), ..Channel::default() });
    }

    /// Queues an event.
    pub(crate) fn push(&self, key: RecordingKey, event: SessionEvent) {
        let mut state = self.lock();
        let State { channels, ready, .. } = &mut *state;
        let Some(channel) = channels.get_mut(&key) else { return };
        if channel.events.len() >= MERGE_FROM {
            merge(&mut channel.events, event);
        } else {
            channel.events.push_back(event);
        }
        if channel.callback.is_some() && !std::mem::replace(&mut channel.queued, true) {
            ready.push_back(key);
        }
        self.idle.set_delivering(true);
        self.filled.notify_one();
    }

    /// Queues a recorder's change. While 64 of them wait the oldest is forgotten: what counts is how a recorder is now.
    pub(crate) fn tell(&self, change: RecorderChange) {
        if self.watcher.is_none() {
            return;
        }
        let mut state = self.lock();
        if state.changes.len() >= MERGE_FROM {
            state.changes.pop_front();
        }
        state.changes.push_back(change);
        self.filled.notify_one();
    }

    /// Lets go of a recording's callback once its events are delivered.
    pub(crate) fn end(&self, key: RecordingKey) {
        let mut state = self.lock();
        let Some(channel) = state.channels.get_mut(&key) else { return };
        channel.ended = true;
        if channel.events.is_empty() && channel.callback.is_some() {
            let ended = state.channels.remove(&key);
            drop(state);
            // Outside of the lock: what the callback owns may do anything when it goes.
            drop(ended);
        }
    }

    /// Calls nobody any more; what waits to be told is forgotten.
    pub(crate) fn mute(&self) {
        self.lock().muted = true;
    }

    /// Ends the thread once everything is delivered.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn serve(&self) {
        self.idle.set_teller();
        while let Some(told) = self.next() {
            let (key, callback, event) = match told {
                Told::Event(key, callback, event) => (key, callback, event),
                Told::Change(change) => {
                    let watch = || self.watcher.iter().for_each(|watcher| watcher.tell(change.clone()));
                    if catch_unwind(AssertUnwindSafe(watch)).is_err() {
                        tracing::error!("the application's handler of changed recorders panicked");
                    }
                    continue;
                }
            };
            if catch_unwind(AssertUnwindSafe(|| callback(event))).is_err() {
                tracing::error!(recording = %key, "the application's event handler panicked");
            }
            let ended = self.give_back(key, callback);
            drop(ended);
        }
    }

    /// Waits for the next event; `None` when the notifier is closed and nothing is left.
    fn next(&self) -> Option<Told> {
        let mut state = self.lock();
        loop {
            if let Some(change) = state.changes.pop_front().filter(|_| !state.muted) {
                return Some(Told::Change(change));
            }
            if let Some(key) = state.ready.pop_front() {
                let muted = state.muted;
                let Some(channel) = state.channels.get_mut(&key) else { continue };
                channel.queued = false;
                if muted {
                    channel.events.clear();
                }
                let Some(event) = channel.events.pop_front() else { continue };
                let Some(callback) = channel.callback.take() else { continue };
                return Some(Told::Event(key, callback, event));
            }
            self.idle.set_delivering(false);
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts the callback back, or returns it where nothing follows.
    fn give_back(&self, key: RecordingKey, callback: Callback) -> Option<Callback> {
        let mut state = self.lock();
        let State { channels, ready, .. } = &mut *state;
        let Some(channel) = channels.get_mut(&key) else { return Some(callback) };
        if channel.ended && channel.events.is_empty() {
            channels.remove(&key);
            return Some(callback);
        }
        channel.callback = Some(callback);
        channel.queued = !channel.events.is_empty();
        if channel.queued {
            ready.push_back(key);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds an event to a queue that is full, in the place of what it makes obsolete.
fn merge(events: &mut VecDeque<SessionEvent>, mut event: SessionEvent) {
    let obsolete = events.iter().rposition(|earlier| earlier.info == event.info && replaces(&event, earlier));
    if let Some(earlier) = obsolete.and_then(|place| events.remove(place))
        && let SessionEventKind::Gap { gap: earlier, .. } = earlier.kind
        && let SessionEventKind::Gap { gap, .. } = &mut event.kind
    {
        gap.packets += earlier.packets;
        gap.duration += earlier.duration;
        gap.start = gap.start.min(earlier.start);
    }
    events.push_back(event);
}

fn replaces(event: &SessionEvent, earlier: &SessionEvent) -> bool {
    use SessionEventKind::{Gap, KeyframeWanted, Paused, Resumed, StateChanged};
    match (&event.kind, &earlier.kind) {
        (StateChanged { .. }, StateChanged { .. })
        | (Paused | Resumed, Paused | Resumed)
        | (KeyframeWanted, KeyframeWanted) => true,
        (Gap { medium, gap }, Gap { medium: of, gap: earlier }) => medium == of && gap.cause == earlier.cause,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use siprec_model::{
        CallUuid, DropCause, Gap, HangUp, Medium, RecordingId, RecordingState, SessionInfo, StopReason,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn event(kind: SessionEventKind) -> SessionEvent {
        let info = SessionInfo {
            session: None,
            recording_id: RecordingId::new("r"),
            call_uuid: CallUuid::new("c"),
            recorder: None,
            dn: None,
        };
        SessionEvent { info, kind }
    }

    fn state(state: RecordingState) -> SessionEvent {
        event(SessionEventKind::StateChanged { state, reason: String::new() })
    }

    fn gap(packets: u64) -> SessionEvent {
        let duration = Duration::from_millis(20 * packets);
        let gap = Gap { start: Duration::ZERO, packets, duration, cause: DropCause::ALL[0] };
        event(SessionEventKind::Gap { medium: Medium::Audio, gap })
    }

    #[test]
    fn a_stalled_application_stalls_nobody_and_still_learns_the_end() {
        let idle = Arc::new(Idle::default());
        let notifier = Notifier::start(Arc::clone(&idle), tracing::Dispatch::none(), None).unwrap();
        let key = RecordingKey::from_raw(1);
        let (go, gate) = mpsc::channel::<()>();
        let (seen, events) = mpsc::channel();
        notifier.open(
            key,
            Box::new(move |event| {
                gate.recv_timeout(DEADLINE).ok();
                seen.send(event.kind).unwrap();
            }),
        );
        notifier.push(key, event(SessionEventKind::Started));
        for _ in 0..1000 {
            notifier.push(key, event(SessionEventKind::Paused));
            notifier.push(key, state(RecordingState::Paused));
            notifier.push(key, gap(2));
            notifier.push(key, event(SessionEventKind::Resumed));
            notifier.push(key, state(RecordingState::Recording));
        }
        notifier.push(
            key,
            event(SessionEventKind::Stopped { reason: StopReason::Asked, said: HangUp::default() }),
        );
        notifier.push(key, state(RecordingState::Stopped));
        notifier.end(key);
        assert!(!idle.wait(Duration::ZERO));
        drop(go);
        assert!(idle.wait(DEADLINE));
        // The callback is let go, and with it the sender.
        let kinds: Vec<_> = events.iter().collect();
        assert!(kinds.len() <= MERGE_FROM + 3, "{}", kinds.len());
        assert_eq!(kinds.first(), Some(&SessionEventKind::Started));
        assert!(
            kinds.contains(&SessionEventKind::Stopped { reason: StopReason::Asked, said: HangUp::default() })
        );
        assert_eq!(kinds.last(), Some(&state(RecordingState::Stopped).kind));
        let gaps: u64 = kinds
            .iter()
            .map(|kind| if let SessionEventKind::Gap { gap, .. } = kind { gap.packets } else { 0 })
            .sum();
        assert_eq!(gaps, 2000, "no gap is forgotten");
    }

    #[test]
    fn a_panicking_handler_is_called_again_and_others_too() {
        let idle = Arc::new(Idle::default());
        let notifier = Notifier::start(Arc::clone(&idle), tracing::Dispatch::none(), None).unwrap();
        let (seen, events) = mpsc::channel();
        for number in 1..=2 {
            let seen = seen.clone();
            let key = RecordingKey::from_raw(number);
            notifier.open(
                key,
                Box::new(move |event| {
                    seen.send(number).unwrap();
                    assert!(number != 1 || event.kind != SessionEventKind::Started, "meant to panic");
                }),
            );
            notifier.push(key, event(SessionEventKind::Started));
            notifier.push(key, event(SessionEventKind::Paused));
        }
        assert!(idle.wait(DEADLINE));
        let mut calls: Vec<_> = events.try_iter().collect();
        calls.sort_unstable();
        assert_eq!(calls, [1, 1, 2, 2]);
        notifier.close();
    }
}
