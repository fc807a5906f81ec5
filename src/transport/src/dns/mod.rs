//! From a SIP URI to the addresses that serve it, in the order in which they are tried (RFC 3263).

mod lookup;
mod records;
mod target;

pub(crate) use lookup::Dns;
pub use target::Target;
