//! The element's pad templates.

use std::sync::LazyLock;

use gst::prelude::*;

use super::pad::SiprecSinkPad;
use crate::format::{RTP, SRTP};

/// A stream of the call comes in.
pub(super) const SINK: &str = "sink_%u";
/// It goes out.
pub(super) const SRC: &str = "src_%u";
/// RTCP of a stream comes in.
pub(super) const RTCP_SINK: &str = "rtcp_sink_%u";
/// It goes out.
pub(super) const RTCP_SRC: &str = "rtcp_src_%u";

/// Every pad template of `siprec`.
pub(super) fn all() -> &'static [gst::PadTemplate] {
    static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
        let (rtp, rtcp) = (either(RTP, SRTP), either("application/x-rtcp", "application/x-srtcp"));
        let (sink, src) = (gst::PadDirection::Sink, gst::PadDirection::Src);
        let (request, sometimes) = (gst::PadPresence::Request, gst::PadPresence::Sometimes);
        [
            gst::PadTemplate::with_gtype(SINK, sink, request, &rtp, SiprecSinkPad::static_type()),
            gst::PadTemplate::new(SRC, src, sometimes, &rtp),
            gst::PadTemplate::new(RTCP_SINK, sink, request, &rtcp),
            gst::PadTemplate::new(RTCP_SRC, src, sometimes, &rtcp),
        ]
        .into_iter()
        .filter_map(Result::ok)
        .collect()
    });
    &TEMPLATES
}

fn either(plain: &str, secured: &str) -> gst::Caps {
    [plain, secured].into_iter().map(gst::Structure::new_empty).collect()
}
