//! The recording side's media thread.
//!
//! A call's streaming threads copy packets into [`Tap`]s; one thread for the whole process, the [`Engine`], takes
//! them from there, runs every recording's `Branch`es, and sends to the recorders. It owns
//! the sockets, the RTCP of the recordings (RFC 3550 §6), the pacing of what was held, and the end of each branch.
//! It knows nothing of sessions: it is told what to do by [`BranchCommand`](siprec_model::BranchCommand)s and
//! answers with [`BranchEvent`](siprec_model::BranchEvent)s.
//!
//! ```
//! use siprec_engine::{Engine, EngineConfig, TapConfig};
//!
//! let engine = Engine::start(EngineConfig::default(), |branch, event| println!("{branch}: {event:?}"))?;
//! let tap = engine.tap(TapConfig::default());
//! tap.push(&[0x80; 172], std::time::Instant::now());
//! # Ok::<(), siprec_engine::EngineError>(())
//! ```

#![expect(dead_code, reason = "the thread's loop comes next")]

mod config;
mod engine;
mod queue;
mod section;
mod shared;
mod sys;
mod tap;
mod worker;

pub use config::{EngineConfig, EngineError};
pub use engine::Engine;
pub use tap::{Gate, Tap, TapConfig, TapStats};
