//! How a session is to be negotiated.

use std::net::IpAddr;

use siprec_model::{RecorderKey, RtcpMode};

use super::Reporting;
use crate::config::Timers;
use crate::dialect::Dialect;
use crate::recorder::PayloadTypes;
use crate::security::Protection;

/// How a session is to be negotiated.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The session's number within the recording: that of its attempt.
    pub(crate) number: u32,
    /// The recorder that it is with, which other sessions may be with, too.
    pub(crate) recorder: RecorderKey,
    pub(crate) dialect: Dialect,
    pub(crate) payload_types: PayloadTypes,
    pub(crate) rtcp: RtcpMode,
    pub(crate) timers: Timers,
    /// Local address of the media.
    pub(crate) media: IpAddr,
    /// What SIP names as our address.
    pub(crate) signalled: IpAddr,
    /// How the media is to be protected.
    pub(crate) protection: Protection,
    /// Whether what the call encrypts may be sent in the clear.
    pub(crate) may_expose: bool,
    /// What is expected of its receiver reports.
    pub(crate) reporting: Reporting,
    /// How fast the recorder takes what was held, where it is particular about that.
    pub(crate) catch_up: Option<f32>,
    /// Whether the recorder may ask for packets that it has not got.
    pub(crate) retransmission: bool,
}
