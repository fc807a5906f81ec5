//! The enumerations of the agent's properties.

use gst::glib;
use siprec_engine::MediaSource;

/// By which ports RTP leaves towards recorders (`media-source`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSiprecMediaSource")]
#[non_exhaustive]
pub enum SiprecMediaSource {
    /// By those that the session names.
    #[default]
    #[enum_value(name = "Each stream from the port that its session names", nick = "per-stream")]
    PerStream,
    /// By one for all.
    #[enum_value(
        name = "All streams from one port for each local address, which takes less time",
        nick = "shared"
    )]
    Shared,
}

impl From<SiprecMediaSource> for MediaSource {
    fn from(source: SiprecMediaSource) -> Self {
        match source {
            SiprecMediaSource::PerStream => Self::PerStream,
            SiprecMediaSource::Shared => Self::Shared,
        }
    }
}
