//! The first packet of a stream.

use std::time::Instant;

use siprec_model::BranchEvent;

use crate::rtp::Header;

/// Whether the first packet of a stream has come, and was told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum FirstPacket {
    #[default]
    Awaited,
    Untold {
        payload_type: u8,
        ssrc: u32,
        arrival: Instant,
    },
    Told,
}

impl FirstPacket {
    /// A packet has come.
    pub(crate) fn note(&mut self, header: &Header, arrival: Instant) {
        if *self == Self::Awaited {
            *self = Self::Untold { payload_type: header.payload_type, ssrc: header.ssrc, arrival };
        }
    }

    /// What is to be told of it, once.
    pub(crate) fn poll(&mut self) -> Option<BranchEvent> {
        let Self::Untold { payload_type, ssrc, arrival } = *self else { return None };
        *self = Self::Told;
        Some(BranchEvent::FirstPacket { payload_type, ssrc, arrival })
    }
}
