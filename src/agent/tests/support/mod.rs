//! A recorder that follows a script, a media engine that only answers, and a call between them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answering;
mod call;
mod media;
mod recorder;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(crate) use answering::begin;
pub(crate) use call::{Call, agent, agent_with, config};
pub(crate) use media::FakeMedia;
pub(crate) use recorder::{Recorder, Script, Seen, answer};

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
