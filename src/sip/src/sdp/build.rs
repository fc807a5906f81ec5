//! Descriptions from parts.

use std::net::IpAddr;

use sdp_types::{Attribute, Connection, Media, Session};
use siprec_model::{Medium, PayloadFormat};

use super::{Direction, MAX_MEDIA, MediaView, Origin, SdpError, SessionDescription};
use crate::syntax;

/// Builds a description: `v= o=- s= c= t=0 0`, then the m-lines in the order in which they were added.
#[derive(Clone)]
pub struct SdpBuilder {
    session: Session,
    fault: Option<SdpError>,
}

/// Builds one m-line.
#[derive(Clone)]
pub struct MediaBuilder {
    media: Media,
    fault: Option<SdpError>,
}

impl SdpBuilder {
    /// A description of `origin` with this `s=` line, and `c=` at session level.
    pub fn new(origin: Origin, session_name: &str, connection: IpAddr) -> Self {
        let line = sdp_types::Origin::with_ip_addr(origin.session_id, origin.version, origin.address);
        let mut session = Session::new(line, session_name);
        session.set_connection(Connection::from_ip_addr(connection));
        let is_valid = is_text(session_name) && !session_name.is_empty();
        Self { session, fault: (!is_valid).then_some(SdpError::Value("the session name")) }
    }

    /// Adds an m-line behind the others.
    #[must_use]
    pub fn media(mut self, media: MediaBuilder) -> Self {
        self.fault = self.fault.or(media.fault);
        self.session.medias.push(media.media);
        self
    }

    /// Adds a session-level attribute; an empty value is none.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        let (attribute, fault) = attribute(name, value);
        self.session.attributes.push(attribute);
        self.fault = self.fault.or(fault);
        self
    }

    /// The description.
    ///
    /// # Errors
    /// The first value that would break its line, or [`SdpError::TooManyMedia`].
    pub fn build(self) -> Result<SessionDescription, SdpError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.session.medias.len() > MAX_MEDIA => Err(SdpError::TooManyMedia),
            None => Ok(SessionDescription(self.session)),
        }
    }
}

impl MediaBuilder {
    /// `m=medium port proto payload-types`, then `a=rtpmap` for each of them and `a=fmtp` where it has one.
    pub fn new(medium: Medium, port: u16, proto: &str, formats: &[PayloadFormat]) -> Self {
        let payload_types: Vec<_> = formats.iter().map(|format| format.payload_type.to_string()).collect();
        let mut builder =
            Self { media: raw_media(medium.as_str(), port, proto, &payload_types.join(" ")), fault: None };
        if !proto.split('/').all(|word| syntax::is_token(word.as_bytes())) {
            builder.fault = Some(SdpError::Value("the transport"));
        }
        if formats.is_empty() || formats.iter().any(|format| format.payload_type > 127) {
            builder.fault = Some(SdpError::Value("a list of payload types that is empty or goes above 127"));
        }
        for format in formats {
            let channels = format.channels.map(|channels| format!("/{channels}")).unwrap_or_default();
            if !syntax::is_token(format.encoding.as_bytes()) || format.clock_rate == 0 {
                builder.fault = Some(SdpError::Value("an encoding name or clock rate"));
            }
            let rtpmap =
                format!("{} {}/{}{channels}", format.payload_type, format.encoding, format.clock_rate);
            builder = builder.attribute("rtpmap", &rtpmap);
        }
        for format in formats {
            if let Some(fmtp) = &format.fmtp {
                builder = builder.attribute("fmtp", &format!("{} {fmtp}", format.payload_type));
            }
        }
        builder
    }

    /// The m-line that refuses `offered`, or leaves it off: the same with port 0 (RFC 3264 §6).
    pub fn refusal(offered: &MediaView<'_>) -> Self {
        let formats: Vec<_> = offered.formats().collect();
        Self { media: raw_media(offered.kind(), 0, offered.proto(), &formats.join(" ")), fault: None }
    }

    /// Adds `a=ptime`, in milliseconds.
    #[must_use]
    pub fn ptime_ms(self, ptime: u32) -> Self {
        self.attribute("ptime", &ptime.to_string())
    }

    /// Adds `a=label` (RFC 4574).
    #[must_use]
    pub fn label(self, label: &str) -> Self {
        self.attribute("label", label)
    }

    /// Adds the direction.
    #[must_use]
    pub fn direction(self, direction: Direction) -> Self {
        self.attribute(direction.as_str(), "")
    }

    /// Adds `a=rtcp-mux` (RFC 5761).
    #[must_use]
    pub fn rtcp_mux(self) -> Self {
        self.attribute("rtcp-mux", "")
    }

    /// Adds `a=rtcp` with a port that is not the one above RTP's (RFC 3605).
    #[must_use]
    pub fn rtcp_port(self, port: u16) -> Self {
        self.attribute("rtcp", &port.to_string())
    }

    /// Adds a `c=` line of its own.
    #[must_use]
    pub fn connection(mut self, address: IpAddr) -> Self {
        self.media.connections.push(Connection::from_ip_addr(address));
        self
    }

    /// Adds an attribute; an empty value is none.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        let (attribute, fault) = attribute(name, value);
        self.media.attributes.push(attribute);
        self.fault = self.fault.or(fault);
        self
    }
}

fn raw_media(medium: &str, port: u16, proto: &str, formats: &str) -> Media {
    Media {
        media: medium.to_owned(),
        port,
        num_ports: None,
        proto: proto.to_owned(),
        fmt: formats.to_owned(),
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes: Vec::new(),
    }
}

fn attribute(name: &str, value: &str) -> (Attribute, Option<SdpError>) {
    let is_valid = syntax::is_token(name.as_bytes()) && is_text(value);
    let value = (!value.is_empty()).then(|| value.to_owned());
    (Attribute { attribute: name.to_owned(), value }, (!is_valid).then_some(SdpError::Value("an attribute")))
}

/// What may stand in a line (RFC 8866 §9 `byte-string`).
fn is_text(text: &str) -> bool {
    !text.contains(['\0', '\r', '\n'])
}
