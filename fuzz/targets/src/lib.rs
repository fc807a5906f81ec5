//! What the fuzzer runs, as plain functions of bytes: `fuzz/fuzz_targets` hands them what libFuzzer makes up, and
//! `tests/replay.rs` hands them the corpus, on stable and in every run of the tests.
//!
//! A target panics where a rule is broken, not only where the code under test does.
//!
//! | target | reads |
//! |---|---|
//! | `sip_message` | one datagram: everything that can be asked of the message; what is written is read as the same |
//! | `sip_stream` | a byte stream: the same messages however it is cut |
//! | `sip_header` | one header value, by every typed reader |
//! | `sip_uri` | a URI, and a list of recorders |
//! | `multipart` | a Content-Type, then a body |
//! | `sdp` | a session description, and the answer that refuses it |
//! | `party_sdp` | what the two parties of a call say of themselves |
//! | `dialog` | a script (see [`script`]) of what peer and user do in one dialog |
//! | `recording` | a script of what recorder, engine and application do in one recording |
//! | `journal` | the lines of a file in which a process has written down its dialogs: what is read is written again as the same, and each dialog can be ended |
//! | `pools` | the file of an agent's pools |
//! | `rtp` | packets and commands of one branch |
//! | `rtcp` | datagrams of a recorder |
//! | `srtp` | encrypted packets of a call: genuine, forged, repeated, of other sources and keys |
//! | `srtcp` | the same for RTCP |
//! | `dtls` | datagrams of a handshake: genuine, forged, cut, lost, and anything else |
#![forbid(unsafe_code)]

mod dialog;
mod dtls;
mod journal;
mod media;
mod pools;
mod recording;
pub mod script;
mod sdp;
mod sip;
mod srtp;

/// A target by the name that its file in `fuzz_targets` and its folder in `corpus` have.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "sip_message", run: sip_message },
    Target { name: "sip_stream", run: sip_stream },
    Target { name: "sip_header", run: sip_header },
    Target { name: "sip_uri", run: sip_uri },
    Target { name: "multipart", run: multipart },
    Target { name: "sdp", run: sdp },
    Target { name: "party_sdp", run: party_sdp },
    Target { name: "dialog", run: dialog },
    Target { name: "recording", run: recording },
    Target { name: "journal", run: journal },
    Target { name: "pools", run: pools },
    Target { name: "rtp", run: rtp },
    Target { name: "rtcp", run: rtcp },
    Target { name: "srtp", run: srtp },
    Target { name: "srtcp", run: srtcp },
    Target { name: "dtls", run: dtls },
];

pub use dialog::dialog;
pub use dtls::dtls;
pub use journal::journal;
pub use media::{rtcp, rtp};
pub use pools::pools;
pub use recording::recording;
pub use sdp::{party_sdp, sdp};
pub use sip::{multipart, sip_header, sip_message, sip_stream, sip_uri};
pub use srtp::{srtcp, srtp};
