//! Where GStreamer enters the plugin. Nothing is started here: the registry's scanner comes by, too.
#![expect(missing_docs, reason = "GStreamer's macro declares these")]

use gst::glib;

use crate::{agent, call, tee, udp};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    agent::register();
    call::register(plugin)?;
    tee::register(plugin)?;
    udp::register(plugin)
}

gst::plugin_define!(
    siprec,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
