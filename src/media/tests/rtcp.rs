//! RTCP towards the recorder and back.

#![cfg(test)]

#[path = "rtcp/expected.rs"]
mod expected;
#[path = "rtcp/missing.rs"]
mod missing;
#[path = "rtcp/refusals.rs"]
mod refusals;
#[path = "rtcp/said.rs"]
mod said;
#[path = "rtcp/session.rs"]
mod session;
