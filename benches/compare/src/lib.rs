//! Measures recorded calls, over loopback, beside what a user would take instead: see `docs/performance.md`.
//!
//! A measurement takes three programs: a [`sender`], what is measured ([`relay`], or [`rtpengine`]), and a [`receiver`], which
//! compares a share of what comes with what was said. [`measure`] leads them; [`table`] and [`plot`] make what they find
//! readable.

pub mod answerer;
pub mod bare;
pub mod bencode;
pub mod measure;
pub mod orders;
pub mod pipelines;
pub mod plot;
pub mod program;
pub mod receiver;
pub mod relay;
pub mod reports;
pub mod row;
pub mod rtpengine;
pub mod sample;
pub mod sender;
pub mod summary;
pub mod sys;
pub mod table;
pub mod traffic;
