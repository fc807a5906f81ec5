//! The element `siprecudpsrc`.

mod imp;
mod properties;
mod settings;

pub(super) use imp::SiprecUdpSrc;
