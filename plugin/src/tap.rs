//! The point where a call's stream is copied for the recording.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use siprec_engine::{Tap, TapStats};

use crate::guard::guarded;
use crate::packet::with_bytes;
use crate::sync::lock;

/// The feed of one pad: copies what passes into the engine's tap while there is one.
///
/// Nothing here can fail for the call: what cannot be copied is counted, and a panic ends the feed.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    tap: Mutex<Option<Arc<Tap>>>,
    unreadable: AtomicU64,
}

impl Feed {
    /// Copies one packet. `place` is named in the log.
    pub(crate) fn buffer(&self, place: &gst::Object, buffer: &gst::BufferRef) {
        self.copy(place, |tap, arrival| self.packet(tap, buffer, arrival));
    }

    /// Copies every packet of a list; they arrived together.
    pub(crate) fn list(&self, place: &gst::Object, list: &gst::BufferListRef) {
        self.copy(place, |tap, arrival| list.iter().for_each(|buffer| self.packet(tap, buffer, arrival)));
    }

    /// Takes a tap in place of the one before, if any.
    pub(crate) fn connect(&self, tap: Arc<Tap>) {
        let before = lock(&self.tap).replace(tap);
        drop(before);
    }

    /// Lets the tap go. When this returns, nothing that passes is copied; what was copied still reaches the
    /// recording.
    pub(crate) fn disconnect(&self) {
        let before = lock(&self.tap).take();
        drop(before);
    }

    /// The tap, if there is one.
    pub(crate) fn tap(&self) -> Option<Arc<Tap>> {
        lock(&self.tap).clone()
    }

    /// What the tap has seen, and how many buffers could not be read.
    pub(crate) fn stats(&self) -> (TapStats, u64) {
        let stats = self.tap().map(|tap| tap.stats()).unwrap_or_default();
        (stats, self.unreadable.load(Ordering::Relaxed))
    }

    fn copy(&self, place: &gst::Object, work: impl FnOnce(&Tap, Instant)) {
        // The lock is this feed's own and is released before the call's buffer goes on.
        let copied = guarded(place, || {
            if let Some(tap) = lock(&self.tap).as_deref() {
                work(tap, Instant::now());
            }
        });
        if copied.is_none() {
            guarded(place, || self.disconnect());
        }
    }

    fn packet(&self, tap: &Tap, buffer: &gst::BufferRef, arrival: Instant) {
        if with_bytes(buffer, |parts| tap.push_gathered(parts, arrival)).is_none() {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
        }
    }
}
