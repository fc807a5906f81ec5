//! The point where a call's stream is copied for the recording.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use siprec_engine::{Tap, TapStats};
use siprec_media::srtp::CallKey;
use siprec_session::StreamSecurity;

use crate::guard::guarded;
use crate::keys::CallKeys;
use crate::packet::with_bytes;
use crate::rollover::RolloverDoubt;
use crate::secrecy::{Secrecy, Wants};
use crate::sync::lock;
use crate::trail::Way;

/// The feed of one pad: copies what passes into the engine's tap while there is one.
///
/// Nothing here can fail for the call: what cannot be copied is counted, and a panic ends the feed.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<State>,
    unreadable: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tap: Option<Arc<Tap>>,
    /// None while the stream is plain.
    secrecy: Option<Box<Secrecy>>,
    /// Whether its party's session description says that the call encrypts the stream.
    confidential: bool,
    /// Former taps with packets whose key is being asked for: what they hold is still to be delivered.
    waiting: Vec<Arc<Tap>>,
}

/// Most former taps that wait for keys. Beyond these the oldest gets none.
const MOST_WAITING: usize = 4;

impl Feed {
    /// Copies one packet. `place` is named in the log. Gives its source where the key of that is to be asked for: the
    /// answer goes to [`Feed::settle`].
    pub(crate) fn buffer(&self, place: &gst::Object, buffer: &gst::BufferRef) -> Wants {
        self.copy(place, |state, arrival| self.packet(state, buffer, arrival).into_iter().collect())
    }

    /// Copies every packet of a list; they arrived together. Gives sources as [`Feed::buffer`] does.
    pub(crate) fn list(&self, place: &gst::Object, list: &gst::BufferListRef) -> Wants {
        self.copy(place, |state, arrival| {
            list.iter().filter_map(|buffer| self.packet(state, buffer, arrival)).collect()
        })
    }

    /// Takes a tap in place of the one before, if any.
    pub(crate) fn connect(&self, tap: Arc<Tap>) {
        let before = {
            let mut state = lock(&self.state);
            state.heed_all();
            if let Some(secrecy) = &mut state.secrecy {
                secrecy.tell(&tap);
            }
            tap.set_confidential(state.confidential);
            let before = state.tap.replace(tap);
            state.leave(before)
        };
        drop(before);
    }

    /// Whether what comes from here on is confidential although it may come in the clear, since the call encrypts it.
    pub(crate) fn set_confidential(&self, confidential: bool) {
        let mut state = lock(&self.state);
        state.confidential = confidential;
        if let Some(tap) = &state.tap {
            tap.set_confidential(confidential);
        }
    }

    /// Lets the tap go. When this returns, nothing that passes is copied; what was copied still reaches the
    /// recording.
    pub(crate) fn disconnect(&self) {
        let before = {
            let mut state = lock(&self.state);
            state.heed_all();
            let before = state.tap.take();
            state.leave(before)
        };
        drop(before);
    }

    /// The tap, if there is one.
    pub(crate) fn tap(&self) -> Option<Arc<Tap>> {
        lock(&self.state).tap.clone()
    }

    /// The stream is encrypted from here on, under the keys that its caps give, if any, or under those of its party's
    /// session description.
    pub(crate) fn secure(&self, caps: Option<CallKeys>, described: Vec<CallKey>) {
        let mut state = lock(&self.state);
        state.heed_use();
        let State { tap, secrecy, .. } = &mut *state;
        let secrecy = secrecy.get_or_insert_default();
        let keys = secrecy.renew(caps, described);
        if let Some(tap) = tap {
            tap.set_secured(true);
            keys.into_iter().for_each(|key| tap.add_key(key));
        }
    }

    /// The stream is plain from here on.
    pub(crate) fn expose(&self) {
        let mut state = lock(&self.state);
        if state.secrecy.take().is_some()
            && let Some(tap) = &state.tap
        {
            tap.set_secured(false);
        }
    }

    /// Adds keys that are new, while the stream is encrypted.
    pub(crate) fn add_keys(&self, keys: impl IntoIterator<Item = CallKey>) {
        let mut state = lock(&self.state);
        state.heed_use();
        let State { tap, secrecy: Some(secrecy), .. } = &mut *state else { return };
        for key in keys {
            if secrecy.add(key.clone())
                && let Some(tap) = tap
            {
                tap.add_key(key);
            }
        }
    }

    /// Whoever was asked for a source's key has answered, perhaps in vain.
    pub(crate) fn settle(&self, ssrc: u32, keys: impl IntoIterator<Item = CallKey>) {
        let keys: Vec<CallKey> = keys.into_iter().collect();
        self.add_keys(keys.iter().cloned());
        let mut state = lock(&self.state);
        let State { tap, secrecy, waiting, .. } = &mut *state;
        for former in &*waiting {
            keys.iter().for_each(|key| former.add_key(key.clone()));
        }
        for tap in tap.iter().chain(&*waiting) {
            tap.settle_key(ssrc);
        }
        if let Some(secrecy) = secrecy {
            secrecy.settle(ssrc);
        }
        if secrecy.as_ref().is_none_or(|secrecy| !secrecy.is_asking()) {
            waiting.clear();
        }
    }

    /// The key of a source is to be asked for again.
    pub(crate) fn forget_key(&self, ssrc: u32) {
        if let Some(secrecy) = &mut lock(&self.state).secrecy {
            secrecy.forget(ssrc);
        }
    }

    /// The keys of all sources are.
    pub(crate) fn forget_keys(&self) {
        if let Some(secrecy) = &mut lock(&self.state).secrecy {
            secrecy.forget_all();
        }
    }

    /// How the stream is protected, as far as that is known.
    pub(crate) fn security(&self) -> StreamSecurity {
        match &lock(&self.state).secrecy {
            Some(secrecy) => StreamSecurity::Srtp(secrecy.suite()),
            None => StreamSecurity::Plain,
        }
    }

    /// Whether a wrong rollover counter may be why what comes cannot be read.
    pub(crate) fn rollover_doubt(&self) -> RolloverDoubt {
        let mut state = lock(&self.state);
        state.heed_use();
        state.secrecy.as_ref().map(|secrecy| secrecy.rollover_doubt()).unwrap_or_default()
    }

    /// Whether there is a key, or none is needed.
    pub(crate) fn is_readable(&self) -> bool {
        lock(&self.state).secrecy.as_ref().is_none_or(|secrecy| !secrecy.keys().is_empty())
    }

    /// What the tap has seen, and how many buffers could not be read.
    pub(crate) fn stats(&self) -> (TapStats, u64) {
        let stats = self.tap().map(|tap| tap.stats()).unwrap_or_default();
        (stats, self.unreadable.load(Ordering::Relaxed))
    }

    /// What memory a packet needs besides the feed itself.
    pub(crate) fn show(&self, way: &mut Way) {
        let state = lock(&self.state);
        state.secrecy.iter().for_each(|secrecy| way.value(&**secrecy));
        if let Some(tap) = &state.tap {
            way.value(&**tap);
            let (address, size) = tap.memory();
            way.memory(address, size);
        }
    }

    fn copy(&self, place: &gst::Object, work: impl FnOnce(&mut State, Instant) -> Vec<u32>) -> Wants {
        // The lock is this feed's own and is released before the call's buffer goes on.
        let copied = guarded(place, || {
            let mut state = lock(&self.state);
            if state.tap.is_none() && state.secrecy.is_none() {
                return Wants::default();
            }
            let sources = work(&mut state, Instant::now());
            // Where there is no tap, nothing is lost by it.
            let put_off =
                state.tap.is_some() && state.secrecy.as_mut().is_some_and(|secrecy| secrecy.takes_put_off());
            Wants { sources, put_off }
        });
        if copied.is_none() {
            guarded(place, || self.disconnect());
        }
        copied.unwrap_or_default()
    }

    fn packet(&self, state: &mut State, buffer: &gst::BufferRef, arrival: Instant) -> Option<u32> {
        let copied = with_bytes(buffer, |parts| {
            let State { tap, secrecy, .. } = state;
            let asked = secrecy.as_mut().and_then(|secrecy| secrecy.meet(parts, arrival));
            match (tap, secrecy) {
                (Some(tap), _) => {
                    // Before its packet: that waits for the answer.
                    if let Some(ssrc) = asked {
                        tap.expect_key(ssrc);
                    }
                    tap.push_gathered(parts, arrival);
                }
                (None, Some(secrecy)) => secrecy.pass(parts),
                (None, None) => {}
            }
            asked
        });
        if copied.is_none() {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
        }
        copied.flatten()
    }
}

impl State {
    /// Takes note of the keys that are in use, before another one may take the place of one.
    fn heed_use(&mut self) {
        if let State { tap: Some(tap), secrecy: Some(secrecy), .. } = self {
            secrecy.heed(tap);
        }
    }

    /// The same, and where its sources are: the tap goes.
    fn heed_all(&mut self) {
        self.heed_use();
        if let State { tap: Some(tap), secrecy: Some(secrecy), .. } = self {
            secrecy.leave(tap);
        }
    }

    /// Keeps a former tap while somebody is asked for a key that its packets wait for; else it is to be dropped.
    fn leave(&mut self, before: Option<Arc<Tap>>) -> Option<Arc<Tap>> {
        if !self.secrecy.as_ref().is_some_and(|secrecy| secrecy.is_asking()) {
            return before;
        }
        let oldest = (self.waiting.len() >= MOST_WAITING).then(|| self.waiting.remove(0));
        self.waiting.extend(before);
        oldest
    }
}
