//! UDP input and output for many streams: `siprecudpsrc` and `siprecudpsink`.
//!
//! A thread for each stream is what costs most where many small packets come slowly. Here one thread of the process waits
//! for the sockets of all streams, and pushes what comes on the pad of each stream's own element.

mod batch;
mod fault;
mod hub;
mod poller;
mod sink;
mod socket;
mod source;
mod stream;
mod watch;

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// `siprecudpsrc`: receives the datagrams of one stream, on a thread that it shares with all others of its kind.
    pub struct SiprecUdpSrc(ObjectSubclass<source::SiprecUdpSrc>) @extends gst::Element, gst::Object;
}

glib::wrapper! {
    /// `siprecudpsink`: sends the packets of one stream at once, and never ends it because somebody does not take them.
    pub struct SiprecUdpSink(ObjectSubclass<sink::SiprecUdpSink>) @extends gst::Element, gst::Object;
}

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("siprecudp", gst::DebugColorFlags::empty(), Some("UDP input and output"))
});

/// Makes the elements known to GStreamer.
///
/// # Errors
/// GStreamer refuses a name or type.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "siprecudpsrc", gst::Rank::NONE, SiprecUdpSrc::static_type())?;
    gst::Element::register(Some(plugin), "siprecudpsink", gst::Rank::NONE, SiprecUdpSink::static_type())
}

/// The only pad template that an element of these has.
fn any_template(name: &str, direction: gst::PadDirection) -> Vec<gst::PadTemplate> {
    let caps = gst::Caps::new_any();
    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).into_iter().collect()
}
