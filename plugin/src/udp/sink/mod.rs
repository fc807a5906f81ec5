//! The element `siprecudpsink`.

mod actions;
mod clients;
mod imp;
mod outlet;
mod pace;
mod properties;
mod settings;

pub(super) use imp::SiprecUdpSink;
