//! What stays of a session: sound, packets, account and ladder.

mod account;
pub(crate) mod archive;
mod overlap;
pub(crate) mod render;
pub(crate) mod report;
pub(crate) mod rtpdump;
pub(crate) mod track;
pub(crate) mod wav;
