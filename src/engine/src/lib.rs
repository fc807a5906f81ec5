//! The recording side's media thread.
//!
//! A call's streaming threads copy packets into [`Tap`]s; one thread for the whole process, the [`Engine`], takes
//! them from there, runs every recording's `Branch`es, and sends to the recorders. It owns
//! the sockets, the RTCP of the recordings (RFC 3550 §6), the pacing of what was held, and the end of each branch.
//! Each branch has ports of its own, since a recorder tells streams apart by them; so a branch's packets of one slice
//! leave by one system call, and packets of one size as one payload (`sendmmsg`, UDP segmentation offload). Where
//! recorders do not mind from which port RTP comes ([`MediaSource::Shared`]), so do the packets of all branches.
//!
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

mod budget;
mod burst;
mod config;
mod decipher;
mod discretion;
mod engine;
#[cfg(test)]
mod fault;
mod gate;
mod gathering;
mod handshake;
mod hosts;
mod keyring;
mod kit;
mod late;
mod losses;
mod outlet;
mod packed;
mod ports;
mod queue;
mod remote;
mod rota;
mod section;
mod shared;
mod shield;
mod stream;
mod sys;
mod tap;
mod teller;
mod timers;
mod trunk;
mod worker;

/// Sending many datagrams by one system call, for whoever has sockets of their own.
pub mod datagrams {
    pub use crate::sys::{MAX_MESSAGES, Message, has_segmentation_offload, send};
}

pub use config::{EngineConfig, EngineError, MediaSource, PROCESS_HOLD_BYTES};
pub use engine::Engine;
pub use siprec_media::HoldMemory;
pub use tap::{Gate, Tap, TapConfig, TapStats};
