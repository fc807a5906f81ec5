//! The rules of holding, opening and draining, one test each, on a clock of the test's own.

#![cfg(test)]

#[path = "rules/backlog.rs"]
mod backlog;
#[path = "rules/call.rs"]
mod call;
#[path = "rules/frozen.rs"]
mod frozen;
#[path = "rules/kept.rs"]
mod kept;
#[path = "rules/numbers.rs"]
mod numbers;
#[path = "rules/restart.rs"]
mod restart;
#[path = "rules/room.rs"]
mod room;
