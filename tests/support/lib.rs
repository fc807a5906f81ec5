//! What the system tests share: the program and plugin under test, child processes that cannot outlive a test, the
//! reference recorder, speech and RTP to feed a call with.

pub mod b2bua;
pub mod call;
pub mod capture;
pub mod derivation;
pub mod foreign;
pub mod judge;
pub mod kamailio;
pub mod metadata;
pub mod net;
pub mod network;
pub mod pjsua;
pub mod pki;
pub mod post;
pub mod process;
pub mod recorder;
pub mod rtp;
pub mod sandbox;
pub mod script;
pub mod secret;
pub mod sipp;
pub mod sources;
pub mod speech;
pub mod talk;
pub mod wav;
pub mod weather;
pub mod wiretap;
