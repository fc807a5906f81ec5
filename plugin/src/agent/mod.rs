//! The SIP agent as GStreamer applications see it: `GstSiprecAgent`, the one that elements share by default, and
//! the threads behind both.

mod enums;
mod exit;
mod imp;
mod lease;
mod log;
mod pools;
mod properties;
mod runtime;
mod settings;
mod shared;

use gst::glib;
use gst::prelude::*;

pub use enums::SiprecMediaSource;
pub(crate) use lease::Lease;

glib::wrapper! {
    /// `GstSiprecAgent`: the SIP agent and the media engine that recordings use.
    ///
    /// Creatable by its type name once the plugin `siprec` is loaded. It starts (binds its port, makes its threads)
    /// when the first element that uses it goes to READY, not before. Its action signal `shutdown(timeout)` ends
    /// every recording and waits, at most `timeout` nanoseconds, for their dialogs; `reload-config()` reads the pools of
    /// recorders again and gives what is wrong with them, or nothing.
    pub struct SiprecAgent(ObjectSubclass<imp::SiprecAgent>) @extends gst::Object;
}

/// The type of the [`gst::Context`] that gives elements their agent: its structure has a field `agent`.
pub const AGENT_CONTEXT: &str = "gst.siprec.agent";

impl SiprecAgent {
    /// The agent that a context gives, if it is of the right type and gives one.
    pub(crate) fn of_context(context: &gst::ContextRef) -> Option<Self> {
        let agent = context.structure().get("agent").ok()?;
        context.has_context_type(AGENT_CONTEXT).then_some(agent)
    }
}

/// Makes the type known by its name.
pub(crate) fn register() {
    SiprecAgent::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    SiprecMediaSource::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
}
