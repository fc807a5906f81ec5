//! `siprecudpsrc` and `siprecudpsink`, with plain sockets of the system as their peers.
#![cfg(test)]

mod clients;
#[path = "../common/mod.rs"]
mod common;
mod peer;
mod shared;
mod sink;
mod source;
