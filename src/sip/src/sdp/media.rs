//! One m-line of a description.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use siprec_model::{Medium, PayloadFormat, StreamFormat};

use super::{Address, Direction};

/// An m-line with all that applies to it. Session-level lines apply where it has none of its own.
#[derive(Clone, Copy)]
pub struct MediaView<'a> {
    session: &'a sdp_types::Session,
    media: &'a sdp_types::Media,
}

impl<'a> MediaView<'a> {
    pub(super) const fn new(session: &'a sdp_types::Session, media: &'a sdp_types::Media) -> Self {
        Self { session, media }
    }

    /// The media word: `audio`, `video`, `image`, …
    pub fn kind(&self) -> &'a str {
        &self.media.media
    }

    /// Audio or video, where it is one.
    pub fn medium(&self) -> Option<Medium> {
        [Medium::Audio, Medium::Video]
            .into_iter()
            .find(|medium| self.kind().eq_ignore_ascii_case(medium.as_str()))
    }

    /// The RTP port; 0 means that the stream is off.
    pub const fn port(&self) -> u16 {
        self.media.port
    }

    /// Whether the stream is refused or switched off (RFC 3264 §6, §8.2).
    pub const fn is_off(&self) -> bool {
        self.media.port == 0
    }

    /// The transport: `RTP/AVP`, `RTP/SAVP`, …
    pub fn proto(&self) -> &'a str {
        &self.media.proto
    }

    /// The formats of the m-line, as written.
    pub fn formats(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.media.fmt.split_ascii_whitespace()
    }

    /// The RTP payload types of the m-line, 0-127, in order and each once; what is none is left out.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + use<'a> {
        let mut seen = 0_u128;
        self.formats().filter_map(|format| format.parse().ok()).filter(move |payload_type: &u8| {
            // Nothing for what is no payload type.
            let bit = 1_u128.checked_shl((*payload_type).into()).unwrap_or_default();
            let is_new = bit != 0 && seen & bit == 0;
            seen |= bit;
            is_new
        })
    }

    /// What `a=rtpmap` says of a payload type, or what RFC 3551 §6 does. Without `fmtp`, see
    /// [`MediaView::payload_format`].
    pub fn rtpmap(&self, payload_type: u8) -> Option<PayloadFormat> {
        self.values("rtpmap")
            .filter_map(payload_type_and_rest)
            .find_map(|(own, rest)| parse_format(own, rest).filter(|_| own == payload_type))
            .or_else(|| static_format(payload_type))
    }

    /// The format parameters of a payload type.
    pub fn fmtp(&self, payload_type: u8) -> Option<&'a str> {
        self.values("fmtp")
            .filter_map(payload_type_and_rest)
            .find(|(own, _)| *own == payload_type)
            .map(|(_, rest)| rest)
    }

    /// `a=rtpmap` and `a=fmtp` of a payload type together.
    pub fn payload_format(&self, payload_type: u8) -> Option<PayloadFormat> {
        let format = self.rtpmap(payload_type)?;
        Some(PayloadFormat { fmtp: self.fmtp(payload_type).map(str::to_owned), ..format })
    }

    /// The formats of all payload types of the m-line that are known, in its order. It reads the attributes once, however
    /// many payload types a hostile m-line lists.
    pub fn payload_formats(&self) -> Vec<PayloadFormat> {
        let (mut maps, mut params) = (HashMap::new(), HashMap::new());
        for (payload_type, rest) in self.values("rtpmap").filter_map(payload_type_and_rest) {
            if let (Entry::Vacant(free), Some(format)) =
                (maps.entry(payload_type), parse_format(payload_type, rest))
            {
                free.insert(format);
            }
        }
        for (payload_type, rest) in self.values("fmtp").filter_map(payload_type_and_rest) {
            params.entry(payload_type).or_insert(rest);
        }
        self.payload_types()
            .filter_map(|payload_type| {
                let format = maps.remove(&payload_type).or_else(|| static_format(payload_type))?;
                Some(PayloadFormat {
                    fmtp: params.get(&payload_type).map(|rest| (*rest).to_owned()),
                    ..format
                })
            })
            .collect()
    }

    /// The stream as the m-line describes it; `None` where it is neither audio nor video, or names no payload type
    /// with a known format.
    pub fn stream_format(&self) -> Option<StreamFormat> {
        let payloads = self.payload_formats();
        let medium = self.medium().filter(|_| !payloads.is_empty())?;
        Some(StreamFormat { medium, payloads, ptime_ms: self.ptime_ms() })
    }

    /// Which way media flows, from the view of who wrote the description: the m-line's own word, else the
    /// session's, else both ways (RFC 3264 §5.1).
    pub fn direction(&self) -> Direction {
        let find = |attributes: &[sdp_types::Attribute]| {
            attributes.iter().find_map(|attribute| {
                let name = attribute.attribute.trim();
                Direction::ALL.into_iter().find(|direction| name.eq_ignore_ascii_case(direction.as_str()))
            })
        };
        find(&self.media.attributes).or_else(|| find(&self.session.attributes)).unwrap_or_default()
    }

    /// Where media goes: the m-line's own `c=`, else the session's, else, out of tolerance, another m-line's.
    pub fn connection(&self) -> Option<Address> {
        let others = self.session.medias.iter().flat_map(|media| media.connections.first());
        let connection = self
            .media
            .connections
            .first()
            .or(self.session.connection.as_ref())
            .or_else(|| others.into_iter().next())?;
        Some(Address::from_line(&connection.connection_address))
    }

    /// Where RTP goes; `None` where there is no address, or the stream is off.
    pub fn rtp(&self) -> Option<(Address, u16)> {
        (!self.is_off()).then(|| self.connection().map(|address| (address, self.port())))?
    }

    /// Where RTCP goes: the RTP port with `a=rtcp-mux` (RFC 5761 §5.1.1), what `a=rtcp` says (RFC 3605), else the
    /// port above RTP's. `None` where there is no address, no such port, or the stream is off.
    pub fn rtcp(&self) -> Option<(Address, u16)> {
        let (address, port) = self.rtp()?;
        if self.rtcp_mux() {
            return Some((address, port));
        }
        if let Some(value) = first_value(&self.media.attributes, "rtcp") {
            let mut words = value.split_ascii_whitespace();
            if let Some(port) =
                words.next().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0)
            {
                return Some((words.nth(2).map_or(address, Address::from_line), port));
            }
        }
        Some((address, port.checked_add(1)?))
    }

    /// Whether RTP and RTCP share a port (RFC 5761).
    pub fn rtcp_mux(&self) -> bool {
        self.values("rtcp-mux").next().is_some()
    }

    /// Packet time in milliseconds, above 0 and rounded, where it is said.
    pub fn ptime_ms(&self) -> Option<u32> {
        self.values("ptime")
            .find_map(|value| value.parse::<f32>().ok())
            .map(|ptime| ptime.round() as u32)
            .filter(|ptime| (1..=10_000).contains(ptime))
    }

    /// The label (RFC 4574). It belongs to one m-line, so the session's attributes do not count.
    pub fn label(&self) -> Option<&'a str> {
        first_value(&self.media.attributes, "label")
    }

    /// The value of the first attribute of this name, the m-line's or else the session's; empty where it has none.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        first_value(&self.media.attributes, name).or_else(|| first_value(&self.session.attributes, name))
    }

    /// Every value of this name that the m-line itself has.
    pub(super) fn own_values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        values(&self.media.attributes, name)
    }

    /// Every value of this name: the m-line's, then the session's.
    pub fn values<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        values(&self.media.attributes, name).chain(values(&self.session.attributes, name))
    }
}

/// The m-line alone: attributes may hold keys.
impl fmt::Debug for MediaView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {} {} {}", self.kind(), self.port(), self.proto(), self.media.fmt)
    }
}

pub(super) fn first_value<'a>(attributes: &'a [sdp_types::Attribute], name: &str) -> Option<&'a str> {
    values(attributes, name).next()
}

/// Names compare without regard to case, and white space around name and value does not count: both are seen.
fn values<'a, 'n>(
    attributes: &'a [sdp_types::Attribute],
    name: &'n str,
) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute.trim().eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim())
}

/// The payload type that a value of `rtpmap` or `fmtp` begins with, and what follows it.
fn payload_type_and_rest(value: &str) -> Option<(u8, &str)> {
    let (payload_type, rest) = value.split_once([' ', '\t'])?;
    Some((payload_type.parse().ok()?, rest.trim()))
}

/// `encoding/clock-rate[/channels]` (RFC 8866 §6.6).
fn parse_format(payload_type: u8, text: &str) -> Option<PayloadFormat> {
    let mut parts = text.split('/').map(str::trim);
    let encoding = parts.next().filter(|encoding| !encoding.is_empty())?.to_owned();
    let clock_rate = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = parts.next().and_then(|channels| channels.parse().ok()).filter(|channels| *channels > 0);
    Some(PayloadFormat { payload_type, encoding, clock_rate, channels, fmtp: None })
}

/// The format of a payload type that needs no `a=rtpmap` (RFC 3551 §6, tables 4 and 5).
pub fn static_format(payload_type: u8) -> Option<PayloadFormat> {
    let (encoding, clock_rate, channels) = match payload_type {
        0 => ("PCMU", 8000, None),
        3 => ("GSM", 8000, None),
        4 => ("G723", 8000, None),
        5 => ("DVI4", 8000, None),
        6 => ("DVI4", 16000, None),
        7 => ("LPC", 8000, None),
        8 => ("PCMA", 8000, None),
        9 => ("G722", 8000, None),
        10 => ("L16", 44100, Some(2)),
        11 => ("L16", 44100, None),
        12 => ("QCELP", 8000, None),
        13 => ("CN", 8000, None),
        14 => ("MPA", 90000, None),
        15 => ("G728", 8000, None),
        16 => ("DVI4", 11025, None),
        17 => ("DVI4", 22050, None),
        18 => ("G729", 8000, None),
        25 => ("CelB", 90000, None),
        26 => ("JPEG", 90000, None),
        28 => ("nv", 90000, None),
        31 => ("H261", 90000, None),
        32 => ("MPV", 90000, None),
        33 => ("MP2T", 90000, None),
        34 => ("H263", 90000, None),
        _ => return None,
    };
    Some(PayloadFormat { payload_type, encoding: encoding.to_owned(), clock_rate, channels, fmtp: None })
}
