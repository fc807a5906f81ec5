//! The properties of a sink.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use gst_net::gio;

/// Every property of `siprecudpsink`.
pub(super) fn all() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let mut all = clients();
        all.extend(socket());
        all.extend(packets());
        all
    });
    &PROPERTIES
}

fn number(name: &str, nick: &str, blurb: &str, range: [i32; 2], default: i32) -> glib::ParamSpec {
    let [least, most] = range;
    let builder = glib::ParamSpecInt::builder(name).nick(nick).blurb(blurb).minimum(least).maximum(most);
    builder.default_value(default).mutable_ready().build()
}

fn clients() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("host")
            .nick("Host")
            .blurb("Address or name of the host to send to, or a multicast group: that of the first client")
            .default_value("localhost")
            .mutable_playing()
            .build(),
        glib::ParamSpecInt::builder("port")
            .nick("Port")
            .blurb("Port to send to: that of the first client")
            .minimum(0)
            .maximum(u16::MAX.into())
            .default_value(5004)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("clients")
            .nick("Clients")
            .blurb("Whom to send to: HOST:PORT, separated by commas. Sets host and port by the first of them")
            .default_value("localhost:5004")
            .mutable_playing()
            .build(),
    ]
}

fn socket() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("bind-address")
            .nick("Local address")
            .blurb("Address of this host to send from; the system chooses when not set")
            .mutable_ready()
            .build(),
        number(
            "bind-port",
            "Local port",
            "Port to send from; 0: one that is free. Where a siprecudpsrc of the process has the same address and port, \
             they have one socket together",
            [0, u16::MAX.into()],
            0,
        ),
        glib::ParamSpecObject::builder::<gio::Socket>("socket")
            .nick("Socket")
            .blurb(
                "Socket to send from, instead of one at bind-address and bind-port, such as the used-socket of a \
                 siprecudpsrc. It stays the application's, and open as long as either wants it",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecObject::builder::<gio::Socket>("used-socket")
            .nick("Used socket")
            .blurb("The socket that packets to the first client are sent from; none in NULL")
            .read_only()
            .build(),
        glib::ParamSpecUInt::builder("buffer-size")
            .nick("Buffer size")
            .blurb("Size of the kernel's send buffer in bytes; 0: as the system has it")
            .maximum(i32::MAX.unsigned_abs())
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("multicast-iface")
            .nick("Multicast interface")
            .blurb("Interface that packets to groups leave by; the system chooses when not set")
            .mutable_ready()
            .build(),
        number("ttl", "Time to live", "Hops that a packet to a host may take", [1, 255], 64),
        number("ttl-mc", "Time to live of multicast", "Hops that a packet to a group may take", [0, 255], 1),
        glib::ParamSpecBoolean::builder("loop")
            .nick("Multicast loop")
            .blurb("Members on this host get packets to groups, too")
            .default_value(true)
            .mutable_ready()
            .build(),
        number("qos-dscp", "DSCP", "Differentiated services code point; -1: as the system has it", [-1, 63], -1),
    ]
}

fn packets() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("sync")
            .nick("Sync")
            .blurb(
                "Packets leave at their running time, and none in PAUSED. Without a queue before it this holds up the thread \
                 that pushes",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Since READY, each for each client: packets and bytes that left, and lost for each cause: refused (how often \
                 a host said that nobody listens there), unreachable, buffer-full, no-buffers, too-large, \
                 not-permitted, other",
            )
            .read_only()
            .build(),
    ]
}
