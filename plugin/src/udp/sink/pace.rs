//! Waiting for a packet's time, where `sync` asks for it.

use std::sync::{Condvar, Mutex, PoisonError};

use gst::prelude::*;

use crate::sync::lock;

/// Whether packets may leave now, and when.
#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_flushing: bool,
    /// The clock of PLAYING, with its base time.
    time: Option<(gst::Clock, gst::ClockTime)>,
    latency: gst::ClockTime,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// What the streaming thread waits by.
    waits: Option<gst::SingleShotClockId>,
}

impl Pace {
    /// Begins anew: with flushing, whoever waits and comes is sent away; without, packets come again.
    pub(super) fn set_flushing(&self, is_flushing: bool) {
        self.change(|state| {
            state.is_flushing = is_flushing;
            if !is_flushing {
                state.segment = None;
            }
        });
    }

    /// PLAYING has this clock; `None` in PAUSED, where packets wait.
    pub(super) fn set_time(&self, time: Option<(gst::Clock, gst::ClockTime)>) {
        self.change(|state| state.time = time);
    }

    /// How much later packets leave than their running time.
    pub(super) fn set_latency(&self, latency: gst::ClockTime) {
        self.change(|state| state.latency = latency);
    }

    /// What timestamps mean from now on.
    pub(super) fn set_segment(&self, segment: &gst::Segment) {
        self.change(|state| state.segment = segment.downcast_ref().cloned());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        if let Some(waits) = &state.waits {
            waits.unschedule();
        }
        self.changed.notify_all();
    }

    /// Waits until PLAYING and for the time of a packet with this timestamp.
    ///
    /// # Errors
    /// The stream flushes.
    pub(super) fn wait(&self, timestamp: Option<gst::ClockTime>) -> Result<(), gst::FlowError> {
        let mut state = lock(&self.state);
        loop {
            if state.is_flushing {
                return Err(gst::FlowError::Flushing);
            }
            let Some((clock, base)) = &state.time else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let segment = state.segment.as_ref();
            let running = segment.zip(timestamp).and_then(|(segment, time)| segment.to_running_time(time));
            let Some(running) = running else { return Ok(()) };
            let id = clock.new_single_shot_id(*base + running + state.latency);
            state.waits = Some(id.clone());
            drop(state);
            let (waited, _) = id.wait();
            state = lock(&self.state);
            state.waits = None;
            // Whatever has changed counts from now on.
            if waited != Err(gst::ClockError::Unscheduled) {
                return if state.is_flushing { Err(gst::FlowError::Flushing) } else { Ok(()) };
            }
        }
    }
}
