//! The end of a stream: what has left last may be refused a moment later.

use std::time::{Duration, Instant};

use super::Outlet;
use crate::gate::Gate;
use crate::kit::Kit;

/// For so long an error of the recorder's host may be under way.
const ERRORS_COME: Duration = Duration::from_millis(20);

/// Whether all has left, and errors may come of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nobody waits for that.
    #[default]
    None,
    /// All has left, and nobody has been told yet.
    Due,
    /// Errors are waited for until then.
    Listening(Instant),
}

impl Outlet {
    /// All has left. Whether the recorder may miss the last of it, or errors may come, so that nobody is told yet.
    pub(super) fn begin_ending(&mut self) -> bool {
        self.begin_farewell() || self.begin_listening()
    }

    /// Whether the end waits for anything but packets.
    pub(super) fn is_ending(&self) -> bool {
        self.bids_farewell() || self.is_open() && self.ending != Ending::None
    }

    /// There is no end, or nothing more to wait for. Whether it has not been told yet.
    pub(super) fn break_ending(&mut self) -> bool {
        let bade_farewell = self.break_farewell();
        self.break_listening() || bade_farewell
    }

    /// Goes on with what the end waits for; whether that is over.
    pub(super) fn has_ended(&mut self, gate: Gate<'_>, kit: &mut Kit, now: Instant) -> bool {
        self.say_farewell(gate, kit, now) || self.has_listened(now)
    }

    fn begin_listening(&mut self) -> bool {
        let may_be_refused = self.is_open() && self.branch.senders().next().is_some();
        if may_be_refused {
            self.ending = Ending::Due;
        }
        may_be_refused
    }

    fn break_listening(&mut self) -> bool {
        std::mem::take(&mut self.ending) != Ending::None
    }

    /// Whether errors were waited for, and long enough.
    fn has_listened(&mut self, now: Instant) -> bool {
        match self.ending {
            Ending::None => false,
            Ending::Due => {
                self.ending = Ending::Listening(now + ERRORS_COME);
                false
            }
            Ending::Listening(until) => now >= until && self.break_listening(),
        }
    }
}
