//! Two ends of a dialog on a virtual clock, over a simulated network.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests are tests"
)]

mod basic;
mod bounds;
mod challenge;
mod chaos;
mod glare;
mod interval;
mod invite;
mod loss;
mod notes;
mod pair;
mod routes;
mod rules;
mod solo;
