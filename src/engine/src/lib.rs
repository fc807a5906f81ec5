//! The recording side's media thread: taps, branches, sockets.
