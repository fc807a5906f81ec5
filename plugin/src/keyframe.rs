//! Asking the source of a video stream for a key frame.

use gst::prelude::*;

/// The name of GStreamer's event, which encoders and RTP sessions (as PLI or FIR) understand.
const FORCE_KEY_UNIT: &str = "GstForceKeyUnit";

/// Asks whoever sends to `sink` for a key frame. Where nobody upstream can make one, nothing comes of it.
pub(crate) fn ask(sink: &gst::Pad) {
    let structure = gst::Structure::builder(FORCE_KEY_UNIT).field("all-headers", true).build();
    let _ = sink.push_event(gst::event::CustomUpstream::new(structure));
}

/// Whether an event from downstream asks for a key frame.
pub(crate) fn is_asked_by(event: &gst::EventRef) -> bool {
    event.type_() == gst::EventType::CustomUpstream && event.has_name(FORCE_KEY_UNIT)
}
