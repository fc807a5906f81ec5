//! Clients that come and go while packets flow, by the action signals of `udpsink`.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::super::SiprecUdpSink;
use super::settings::HostPort;

/// `add(host, port)`, `remove(host, port)`, `clear()`.
pub(super) fn signals() -> Vec<glib::subclass::Signal> {
    vec![
        with_client("add", |clients, client| clients.push(client)),
        with_client("remove", |clients, client| {
            if let Some(place) = clients.iter().position(|known| *known == client) {
                clients.remove(place);
            }
        }),
        glib::subclass::Signal::builder("clear")
            .action()
            .class_handler(|arguments| {
                sink(arguments)?.imp().change_clients(Vec::clear);
                None
            })
            .build(),
    ]
}

fn with_client(name: &'static str, change: fn(&mut Vec<HostPort>, HostPort)) -> glib::subclass::Signal {
    glib::subclass::Signal::builder(name)
        .param_types([String::static_type(), i32::static_type()])
        .action()
        .class_handler(move |arguments| {
            let host = arguments.get(1)?.get::<Option<String>>().ok()??;
            let port = u16::try_from(arguments.get(2)?.get::<i32>().ok()?).ok()?;
            sink(arguments)?.imp().change_clients(|clients| change(clients, (host, port)));
            None
        })
        .build()
}

fn sink(arguments: &[glib::Value]) -> Option<SiprecUdpSink> {
    arguments.first()?.get().ok()
}
