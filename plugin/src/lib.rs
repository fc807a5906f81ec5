//! GStreamer plugin that records live calls.
