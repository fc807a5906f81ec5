//! The element `siprec`: a call that is recorded.

mod actions;
mod delay;
mod enums;
mod imp;
mod keys;
mod messages;
mod pad;
mod party;
mod properties;
mod recording;
mod settings;
mod streams;
mod templates;
mod whole;

use gst::glib;
use gst::prelude::*;

pub use enums::{
    SiprecBye, SiprecDialect, SiprecKeying, SiprecPolicy, SiprecSessionMode, SiprecSrtp, SiprecState,
};
pub use pad::SiprecSinkPad;

glib::wrapper! {
    /// `siprec`: lets the streams of one call through untouched and has them recorded.
    ///
    /// Each request pad `sink_%u` comes with a pad `src_%u`; `rtcp_sink_%u` with `rtcp_src_%u`. The element is no
    /// bin, no sink and has no thread: a packet's bytes are copied for the recording, then the same buffer goes on.
    pub struct Siprec(ObjectSubclass<imp::Siprec>) @extends gst::Element, gst::Object, @implements gst::ChildProxy;
}

/// Makes the element known to GStreamer.
///
/// # Errors
/// GStreamer refuses the name or type.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    SiprecSinkPad::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecDialect::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecSessionMode::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecPolicy::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecState::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "siprec", gst::Rank::NONE, Siprec::static_type())
}
