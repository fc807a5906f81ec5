//! RTP packets on their way from a call to a recorder, without sockets, threads or a clock of its own.
//!
//! - [`RtpView`] judges one packet of the call: RTP or not, sound or not. This is the only header parse.
//! - [`Branch`] is one stream of the call on its way to one recorder: it holds packets until the recorder
//!   answers, rewrites what leaves ([`Branch::handle_packet`], [`Branch::next_packet`]) and keeps the account
//!   in which `seen = sent + drops + held` always holds.
//! - [`Departed`] keeps what has left as it has left, for a recorder that asks for it again.
//! - [`dtls::Association`] makes the keys of a branch by a handshake with the recorder.
//! - [`rtcp::Reporter`] speaks RTCP beside a branch: sender reports, CNAME, BYE, and what the recorder reports.
//!
//! Time comes in as [`std::time::Instant`], packets as byte slices, and what leaves is appended to a buffer of the
//! caller, who may thus place many packets in one buffer for a batched send. After warm-up no packet costs a heap
//! allocation.
//!
//! ```
//! use std::time::Instant;
//! use siprec_media::{Branch, BranchSettings, RtpView};
//! use siprec_model::{BranchLimits, Medium, PayloadRule};
//!
//! let now = Instant::now();
//! let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits: BranchLimits::default() };
//! let mut branch = Branch::new(settings, 4711, now);
//! let packet = [0x80, 0, 0xAB, 0xCD, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF];
//! let mut out = Vec::new();
//!
//! // The recorder has not answered yet: the packet waits.
//! let view = RtpView::parse(&packet).unwrap();
//! assert!(branch.handle_packet(&view, now, &mut out).is_none());
//!
//! // It answers: what waited leaves first, under the branch's own sequence numbers.
//! branch.open(&[PayloadRule { from: 0, to: 0 }], now);
//! let sent = branch.next_packet(now, &mut out).unwrap();
//! assert_eq!(sent.index, 4711);
//! assert_eq!(&out[4..], &packet[4..]);
//! ```
//!
//! # Rules of `protocol` section 3 that live here
//! | rule | where |
//! |---|---|
//! | offset + extended call sequence within one open interval; last sent + 1 at each re-opening | `numbering` |
//! | no index twice (window of 128), older than the first of the interval dropped | `numbering` |
//! | a source that starts again with numbers it had is told from late packets by those behind them, and loses none | `doubt`, [`Branch`] |
//! | at most 8 sources at once, one retired is never admitted again | `source` |
//! | what receiver reports say was received, and what was missed at once | `receipts` |
//! | in-order drain, catch-up | `pacer`, [`Branch::next_packet`] |

#![forbid(unsafe_code)]

mod account;
mod blocks;
mod branch;
mod branch_clock;
mod clock;
mod departed;
mod doubt;
pub mod dtls;
mod entry;
mod first_packet;
mod forgotten;
mod gap;
mod group;
mod hold;
mod keyframe;
mod memory;
mod missed;
mod numbering;
mod pacer;
mod payload;
mod receipts;
mod rewrite;
mod ring;
pub mod rtcp;
mod rtp;
mod source;
pub mod srtp;
mod streak;
mod unproven;
mod usual;

pub use branch::{Branch, BranchSettings, Sent};
pub use clock::WallClock;
pub use departed::Departed;
pub use keyframe::begins_keyframe;
pub use memory::HoldMemory;
pub use rtp::{RtpView, Unusable, fixed_header};
pub use source::Sender;
