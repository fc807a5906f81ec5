//! The element `siprectee`: the recording's copy of one stream as a GStreamer pad.

mod call;
mod copies;
mod decryption;
mod events;
mod imp;
mod keys_in_use;
mod pad;
mod protection;
mod suite;

use gst::glib;
use gst::prelude::*;

pub use pad::SiprecTeePad;
pub use suite::SiprecSrtpSuite;

glib::wrapper! {
    /// `siprectee`: lets one RTP stream through untouched, and gives a copy of each packet to every request pad
    /// `rec_%u`, under that pad's own sequence numbers, after the stream's own push.
    ///
    /// What happens behind a `rec_%u` pad (errors, flushes, unlinking) never reaches the stream. Its packets are
    /// pushed by the stream's own thread: put a `queue leaky=downstream` behind it, as with `tee`.
    pub struct SiprecTee(ObjectSubclass<imp::SiprecTee>) @extends gst::Element, gst::Object, @implements gst::ChildProxy;
}

/// Makes the element known to GStreamer.
///
/// # Errors
/// GStreamer refuses the name or type.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    SiprecSrtpSuite::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecTeePad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "siprectee", gst::Rank::NONE, SiprecTee::static_type())
}
