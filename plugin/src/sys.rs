//! The one system call that neither the standard library nor GLib has. The only file of this crate with `unsafe`.
#![allow(unsafe_code)]

/// Has a function called when the process exits by `exit()` or by returning from `main` (POSIX `atexit()`). Where the
/// system has no room for another one, nothing is called.
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handler stays where it is, since GStreamer never unloads a plugin, and the system calls it once.
    let _no_room = unsafe { libc::atexit(handler) };
}
