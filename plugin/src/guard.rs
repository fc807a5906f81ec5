//! Keeps a fault of the recording half away from the call.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs recording work on a thread of the call. A panic in it is logged and answered with `None`: the call goes on,
/// and nothing unwinds into GStreamer.
///
/// GStreamer's own guard (`catch_panic_pad_function`) posts an ERROR message, which stops the call, so it does not
/// serve here. What `work` changes may be half changed after a panic; the callers drop it.
pub(crate) fn guarded<T>(place: &gst::Object, work: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no text");
            gst::error!(crate::CAT, obj = place, "the recording half panicked, the call goes on: {text}");
            None
        }
    }
}
