//! GStreamer plugin `siprec`: records live calls that run through GStreamer pipelines.
//!
//! - [`Siprec`] (`siprec`) lets the streams of one call through untouched and has them recorded by a SIP recorder.
//! - [`SiprecTee`] (`siprectee`) gives the recording's copy of one stream to the pipeline itself.
//! - [`SiprecUdpSrc`] and [`SiprecUdpSink`] (`siprecudpsrc`, `siprecudpsink`) are UDP input and output for many streams.
//! - [`SiprecAgent`] (`GstSiprecAgent`) is the SIP agent that recordings use, where an application wants its own.
//!
//! ```text
//! gst-launch-1.0 siprec name=rec recorder=sip:recorder.example dn=1001 other-dn=1002 \
//!   udpsrc port=5004 caps=application/x-rtp,payload=0 ! rec.sink_0  rec.src_0 ! udpsink host=B port=6004 \
//!   udpsrc port=5006 caps=application/x-rtp,payload=0 ! rec.sink_1  rec.src_1 ! udpsink host=A port=6006
//! ```
//!
//! The call comes first: its buffers go on as they came, and nothing that happens to a recording reaches them.

mod agent;
mod asked;
mod call;
mod complaints;
mod entry;
mod format;
mod guard;
mod keyframe;
mod keys;
mod packet;
mod passage;
mod pool;
mod rollover;
mod secrecy;
mod slots;
mod sync;
mod sys;
mod tap;
mod tee;
mod trail;
mod udp;
mod value;

use std::sync::LazyLock;

pub use agent::{AGENT_CONTEXT, SiprecAgent, SiprecMediaSource};
pub use call::{
    Siprec, SiprecBye, SiprecDialect, SiprecKeying, SiprecPolicy, SiprecSessionMode, SiprecSinkPad,
    SiprecSrtp, SiprecState,
};
/// Makes the plugin known in a process that links this crate, instead of loading the shared library.
pub use entry::plugin_register_static;
pub use keys::caps_of_crypto;
pub use tee::{SiprecSrtpSuite, SiprecTee, SiprecTeePad};
pub use udp::{SiprecUdpSink, SiprecUdpSrc};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("siprec", gst::DebugColorFlags::empty(), Some("Call recording elements"))
});
