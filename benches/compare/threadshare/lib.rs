//! The plugin of `gst-plugin-threadshare`, as it is.

pub use plugin::*;
