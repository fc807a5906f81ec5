//! The end of a process that does not wait for its recordings.
//!
//! A program may exit milliseconds after its pipeline is in state NULL, as `gst-launch-1.0` does, or without that, and then
//! no thread of ours can say BYE any more. So the dialogs of the shared agent are left when the process exits.

use std::panic::catch_unwind;
use std::sync::Once;
use std::time::Duration;

use super::{log, shared};
use crate::sys;

/// Longest time that the exit of a process may take for it: some round trips.
const LONGEST: Duration = Duration::from_millis(300);

/// Has the dialogs of the shared agent left when the process exits. Until its first recording, a process has no such
/// handler.
pub(super) fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| sys::at_exit(leave));
}

extern "C" fn leave() {
    // GStreamer may be taken down already: nothing of it is used from here on.
    log::silence();
    let _ = catch_unwind(|| shared::leave(LONGEST));
}
