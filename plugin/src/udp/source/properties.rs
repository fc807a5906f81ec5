//! The properties of a source.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use gst_net::gio;

use super::settings::Settings;

/// Every property of `siprecudpsrc`.
pub(super) fn all() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let defaults = Settings::default();
        let mut all = socket(&defaults);
        all.extend(multicast());
        all.extend(packets());
        all.extend(report());
        all
    });
    &PROPERTIES
}

fn socket(defaults: &Settings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("address")
            .nick("Address")
            .blurb("Address or name of this host to receive at, or a multicast group")
            .default_value(defaults.address.as_str())
            .mutable_ready()
            .build(),
        glib::ParamSpecInt::builder("port")
            .nick("Port")
            .blurb("Port to receive at; 0: one that is free, which can be read here from READY on")
            .minimum(0)
            .maximum(u16::MAX.into())
            .default_value(defaults.port.into())
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("buffer-size")
            .nick("Buffer size")
            .blurb("Size of the kernel's receive buffer in bytes; 0: as the system has it")
            .maximum(i32::MAX.unsigned_abs())
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("reuse")
            .nick("Reuse")
            .blurb("Others may receive at the same port")
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecObject::builder::<gio::Socket>("socket")
            .nick("Socket")
            .blurb(
                "Socket to receive from, instead of one at address and port. It stays the application's, and open as long \
                 as either wants it",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecObject::builder::<gio::Socket>("used-socket")
            .nick("Used socket")
            .blurb("The socket that packets are received from; none in NULL")
            .read_only()
            .build(),
    ]
}

fn multicast() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("auto-multicast")
            .nick("Join multicast groups")
            .blurb("Join the group that address names, and leave it in NULL")
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("multicast-iface")
            .nick("Multicast interfaces")
            .blurb("Interfaces to join the group on, separated by commas; one that the system chooses when not set")
            .mutable_ready()
            .build(),
    ]
}

fn packets() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoxed::builder::<gst::Caps>("caps")
            .nick("Caps")
            .blurb("Caps of the packets")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("do-timestamp")
            .nick("Timestamps")
            .blurb("Packets have the running time of their arrival")
            .default_value(true)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("retrieve-sender-address")
            .nick("Sender's address")
            .blurb("Packets have a GstNetAddressMeta with their sender, which costs allocations")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("timeout")
            .nick("Timeout")
            .blurb(
                "Element message GstUDPSrcTimeout when no packet has come for so long, in ns, counted in steps of 25 ms; 0: \
                 none",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecInt::builder("num-buffers")
            .nick("Number of packets")
            .blurb("Packets before EOS; -1: no end")
            .minimum(-1)
            .default_value(-1)
            .mutable_ready()
            .build(),
    ]
}

fn report() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Since READY: packets, bytes, dropped (not taken by a downstream that flushes), kernel-dropped (the socket's \
                 buffer was full), errors (of the socket), moved (how often it was moved off the shared thread)",
            )
            .read_only()
            .build(),
    ]
}
