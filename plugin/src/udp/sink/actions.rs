//! Clients that come and go while packets flow, by the action signals of `udpsink`.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::super::SiprecUdpSink;
use super::clients::{Client, Clients};

/// `add(host, port)`, `remove(host, port)`, `clear()`.
pub(super) fn signals() -> Vec<glib::subclass::Signal> {
    vec![
        with_client("add", Clients::add),
        with_client("remove", |clients, client| {
            clients.remove(&client);
            Vec::new()
        }),
        glib::subclass::Signal::builder("clear")
            .action()
            .class_handler(|arguments| {
                sink(arguments)?.imp().change_clients(|clients| {
                    clients.clear();
                    Vec::new()
                });
                None
            })
            .build(),
    ]
}

fn with_client(
    name: &'static str,
    change: fn(&mut Clients, Client) -> Vec<Client>,
) -> glib::subclass::Signal {
    glib::subclass::Signal::builder(name)
        .param_types([String::static_type(), i32::static_type()])
        .action()
        .class_handler(move |arguments| {
            let host = arguments.get(1)?.get::<Option<String>>().ok()?.unwrap_or_default();
            let client = Client::of(&host, arguments.get(2)?.get().ok()?);
            sink(arguments)?.imp().change_clients(|clients| change(clients, client));
            None
        })
        .build()
}

fn sink(arguments: &[glib::Value]) -> Option<SiprecUdpSink> {
    arguments.first()?.get().ok()
}
