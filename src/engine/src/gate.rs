//! The gate of a stream, as the media thread meets it.

use crate::section::{SendGuard, SendSection};
use crate::tap::TapState;

/// The way out of a stream: through its tap's gate, into the send section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate<'a> {
    section: &'a SendSection,
    /// `None` when the stream's tap was never met: nothing can be shut.
    tap: Option<&'a TapState>,
}

impl<'a> Gate<'a> {
    pub(crate) fn new(section: &'a SendSection, tap: Option<&'a TapState>) -> Self {
        Self { section, tap }
    }

    /// Enters the send section unless the gate is shut, which a branch that drains passes all the same: what it
    /// holds came before.
    pub(crate) fn enter(self, draining: bool) -> Option<SendGuard<&'a SendSection>> {
        let guard = self.section.enter();
        // Only now: see `SendSection`.
        if !draining && self.is_shut() { None } else { Some(guard) }
    }

    /// Whether the gate is shut at this moment.
    pub(crate) fn is_shut(self) -> bool {
        self.tap.is_some_and(TapState::is_closed)
    }
}
