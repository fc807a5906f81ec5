//! Our session descriptions as text.

use std::net::IpAddr;

use siprec_model::{PayloadFormat, RtcpMode};
use siprec_sip::Random;
use siprec_sip::sdp::{Direction, MediaBuilder, Origin, SAVP, SdpBuilder, SdpError};

use zeroize::Zeroizing;

use super::description::{Description, ForeignLine, Line, StreamLine};

/// The transport of an m-line without keys.
const AVP: &str = "RTP/AVP";

/// Writes one session's descriptions: each that differs from the one before has the next version (RFC 3264 §8).
#[derive(Debug)]
pub(super) struct Writer {
    origin: Origin,
    rtcp: RtcpMode,
    is_secured: bool,
    last: Option<(Description, Zeroizing<Vec<u8>>)>,
}

impl Writer {
    pub(super) fn new(media: IpAddr, rtcp: RtcpMode, is_secured: bool, random: &mut Random) -> Self {
        let session_id = u64::from(random.next_u32());
        Self { origin: Origin { session_id, version: 0, address: media }, rtcp, is_secured, last: None }
    }

    /// The description as text.
    ///
    /// # Errors
    /// Where a value cannot stand in a description.
    pub(super) fn write(&mut self, description: &Description) -> Result<Vec<u8>, SdpError> {
        if let Some((last, text)) = &self.last
            && last == description
        {
            return Ok(text.to_vec());
        }
        let origin = Origin { version: self.origin.version + 1, ..self.origin };
        let mut builder = SdpBuilder::new(origin, "phone-call", origin.address);
        for line in &description.lines {
            if let Some(media) = self.line(line) {
                builder = builder.media(media);
            }
        }
        let text = builder.build()?.to_bytes();
        self.origin = origin;
        self.last = Some((description.clone(), Zeroizing::new(text.clone())));
        Ok(text)
    }

    fn line(&self, line: &Line) -> Option<MediaBuilder> {
        match line {
            Line::Stream(stream) => Some(self.stream(stream)),
            Line::Foreign(ForeignLine { offer, index }) => {
                offer.media(*index).map(|media| MediaBuilder::refusal(&media))
            }
        }
    }

    fn stream(&self, stream: &StreamLine) -> MediaBuilder {
        let formats: Vec<PayloadFormat> =
            stream.formats.iter().map(|numbered| numbered.format.clone()).collect();
        let port = stream.ports.map_or(0, |ports| ports.rtp.port());
        let transport = if self.is_secured { SAVP } else { AVP };
        let mut media = MediaBuilder::new(stream.medium, port, transport, &formats);
        if let Some(ptime) = stream.ptime_ms {
            media = media.ptime_ms(ptime);
        }
        let Some(ports) = stream.ports else { return media.direction(Direction::Inactive) };
        match self.rtcp {
            RtcpMode::Mux => media = media.rtcp_mux(),
            // RFC 3605: only where it is not the port above RTP's.
            RtcpMode::Pair if Some(ports.rtcp.port()) != ports.rtp.port().checked_add(1) => {
                media = media.rtcp_port(ports.rtcp.port());
            }
            RtcpMode::Pair => {}
        }
        match (&stream.accepted, &stream.keys) {
            (Some(accepted), _) => media = media.crypto(accepted),
            (None, Some(keys)) => media = keys.offer().fold(media, |media, line| media.crypto(&line)),
            (None, None) => {}
        }
        media.direction(if stream.send { Direction::SendOnly } else { Direction::Inactive })
    }
}
