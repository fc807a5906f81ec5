//! Our session descriptions as text.

use std::net::IpAddr;

use siprec_model::{Fingerprint, PayloadFormat, RtcpMode};
use siprec_sip::Random;
use siprec_sip::sdp::{Direction, MediaBuilder, Origin, SAVP, SdpBuilder, SdpError, Setup, TLS_SAVP};
use zeroize::Zeroizing;

use super::description::{Description, ForeignLine, Line, StreamLine};
use super::keys::{Accepted, LineKeys};
use crate::security::Protection;

/// The transport of an m-line that is plain.
const AVP: &str = "RTP/AVP";

/// Writes one session's descriptions: each that differs from the one before has the next version (RFC 3264 §8).
#[derive(Debug)]
pub(super) struct Writer {
    origin: Origin,
    rtcp: RtcpMode,
    /// Of lines that are off.
    transport: &'static str,
    certificate: Option<Fingerprint>,
    last: Option<(Description, Zeroizing<Vec<u8>>)>,
}

impl Writer {
    pub(super) fn new(media: IpAddr, rtcp: RtcpMode, protection: &Protection, random: &mut Random) -> Self {
        let session_id = u64::from(random.next_u32());
        let origin = Origin { session_id, version: 0, address: media };
        let mut writer = Self { origin, rtcp, transport: AVP, certificate: None, last: None };
        writer.protect(protection);
        writer
    }

    /// Lines that are off say from here on that they would be protected so.
    pub(super) fn protect(&mut self, protection: &Protection) {
        (self.transport, self.certificate) = match protection {
            Protection::Plain => (AVP, None),
            Protection::Sdes(_) => (SAVP, None),
            Protection::Dtls { fingerprint, .. } => (TLS_SAVP, Some(fingerprint.clone())),
        };
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
        let transport = match (stream.keys.as_deref(), stream.ports) {
            (Some(LineKeys::Sdes(_)), _) => SAVP,
            (Some(LineKeys::Dtls(_)), _) => TLS_SAVP,
            (None, Some(_)) => AVP,
            (None, None) => self.transport,
        };
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
        media = match stream.keys.as_deref() {
            None => media,
            Some(keys @ LineKeys::Sdes(_)) => match stream.accepted.as_ref().and_then(Accepted::crypto) {
                Some(accepted) => media.crypto(accepted),
                None => keys.offer().fold(media, |media, line| media.crypto(&line)),
            },
            Some(LineKeys::Dtls(id)) => {
                // RFC 8842 §5.2: every offer leaves the choice of the sides to the answer.
                let setup = match stream.accepted {
                    Some(Accepted::Dtls(setup)) => setup,
                    _ => Setup::ActPass,
                };
                self.certificate.iter().fold(media, |media, fingerprint| media.dtls(setup, fingerprint, id))
            }
        };
        let direction = if stream.send { Direction::SendOnly } else { Direction::Inactive };
        stream.feedback.write(media).direction(direction)
    }
}
