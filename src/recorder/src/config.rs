//! What a recorder is made from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use siprec_model::SrtpSuite;
use siprec_transport::{BindError, TlsConfig};

use crate::behaviour::Behaviour;
use crate::files::archive::FileError;
use crate::security::SrtpMode;

/// Address, folder and habits of a [`Recorder`](crate::Recorder).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Local address for SIP by UDP and TCP; port 0 takes one that is free for both. RTP comes to the same address.
    pub listen: SocketAddr,
    /// TLS; [`TlsConfig::listen`] is where SIP by TLS is taken.
    pub tls: TlsConfig,
    /// Folder in which every session gets a folder of its own; made when it does not exist.
    pub output: PathBuf,
    /// Count packets, write nothing.
    pub count_only: bool,
    /// Keep the packets of every stream as `.rtpdump`, not only of those that cannot be decoded.
    pub keep_rtp: bool,
    /// Cut pauses out of the sound file, instead of keeping the time line by silence.
    pub cut_pauses: bool,
    /// Whether streams are to be secured.
    pub srtp: SrtpMode,
    /// The suites that are accepted, the best first.
    pub srtp_suites: Vec<SrtpSuite>,
    /// What it does beyond answering rightly.
    pub behaviour: Behaviour,
    /// Longest time that [`Recorder::stop`](crate::Recorder::stop) takes.
    pub stop_timeout: Duration,
}

impl RecorderConfig {
    /// A recorder that answers at once and records.
    pub fn new(listen: SocketAddr, output: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            tls: TlsConfig::default(),
            output: output.into(),
            count_only: false,
            keep_rtp: false,
            cut_pauses: false,
            srtp: SrtpMode::default(),
            srtp_suites: SrtpSuite::ALL.to_vec(),
            behaviour: Behaviour::default(),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a recorder does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The SIP port cannot be had.
    #[error("{0}")]
    Bind(BindError),
    /// The output folder cannot be written to.
    #[error("{0}")]
    Output(FileError),
    /// GStreamer does not start.
    #[error("GStreamer: {0}")]
    GStreamer(gst::glib::Error),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}
