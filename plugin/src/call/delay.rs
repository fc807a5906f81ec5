//! Properties that are set too late to count for what goes on.

use std::fmt;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_agent::RecordingHandle;

use super::imp::Siprec;
use crate::sync::lock;

/// What a property waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// NULL to READY.
    Ready,
    /// READY to PAUSED.
    Paused,
    /// A recording that begins.
    Recording,
}

impl Next {
    /// From when on a property counts; `None` for one that counts at once.
    fn of(property: &str) -> Option<Self> {
        match property {
            "agent" => Some(Self::Ready),
            "auto-start" | "pre-record" => Some(Self::Paused),
            "hold-is-mute" | "stop-timeout" => None,
            _ => Some(Self::Recording),
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "the next change from NULL to READY",
            Self::Paused => "the next change from READY to PAUSED",
            Self::Recording => "the next recording",
        })
    }
}

impl Siprec {
    /// Says in the log from when on a property counts that was set too late for now. Called with no lock held.
    pub(super) fn warn_of_delay(&self, pspec: &glib::ParamSpec) {
        let Some(next) = Next::of(pspec.name()) else { return };
        let is_late = match next {
            Next::Ready => self.obj().current_state() >= gst::State::Ready,
            Next::Paused => self.obj().current_state() >= gst::State::Paused,
            Next::Recording => self.is_recording(),
        };
        if is_late {
            gst::warning!(
                crate::CAT,
                imp = self,
                "property \"{}\" was set too late for now: it counts from {next} on",
                pspec.name()
            );
        }
    }

    fn is_recording(&self) -> bool {
        let live = lock(self.live());
        let goes_on = |recording: &RecordingHandle| !recording.is_over();
        !live.ending && live.recordings.iter().any(goes_on)
    }
}
