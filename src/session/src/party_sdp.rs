//! A party's own session description, as the source of what is recorded of it.

use std::net::SocketAddr;

use siprec_model::{Medium, PayloadFormat, StreamFormat};
use siprec_sip::SessionDescription;
use siprec_sip::sdp::{Direction, MediaView};

use crate::numbering::same_codec;

/// Formats that accompany a codec and never stand alone: events (RFC 4733) and comfort noise (RFC 3389).
const COMPANIONS: [&str; 2] = ["telephone-event", "CN"];

/// What a party of the call says of its media, in its latest offer or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartySdp {
    lines: Vec<PartyLine>,
    unusable: Vec<String>,
}

/// One m-line of a party that is not switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyLine {
    /// Its formats as the party lists them.
    pub format: StreamFormat,
    /// From the party's view; `inactive` where its address is `0.0.0.0` or `::` (RFC 3264 §8.4).
    pub direction: Direction,
    /// Where the party receives, where that is an IP address.
    pub address: Option<SocketAddr>,
    /// Whether its media is encrypted: `RTP/SAVP`, `UDP/TLS/RTP/SAVP` and the like.
    pub is_secured: bool,
}

/// Why a party's description, or a part of it, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartySdpError {
    /// It is no session description.
    #[error("{0}")]
    Malformed(String),
    /// It can be read, but no m-line of it can be recorded.
    #[error("nothing in the session description can be recorded: {0}")]
    Nothing(String),
    /// The two parties of the call have no codec in common.
    #[error("the parties have no {medium} codec in common: one has {own}, the other {other}")]
    NoCommonCodec {
        /// Of which medium.
        medium: Medium,
        /// The codecs of the one.
        own: String,
        /// The codecs of the other.
        other: String,
    },
}

impl PartySdp {
    /// Reads a description.
    ///
    /// # Errors
    /// Where it cannot be read, or nothing in it can be recorded.
    pub fn parse(text: &str) -> Result<Self, PartySdpError> {
        let sdp = SessionDescription::parse(text.as_bytes());
        Self::of(&sdp.map_err(|error| PartySdpError::Malformed(error.to_string()))?)
    }

    /// The same of one that is read already.
    ///
    /// # Errors
    /// Where nothing in it can be recorded.
    pub fn of(sdp: &SessionDescription) -> Result<Self, PartySdpError> {
        let mut party = Self { lines: Vec::new(), unusable: Vec::new() };
        for (index, media) in sdp.medias().enumerate().filter(|(_, media)| !media.is_off()) {
            match read(&media) {
                Ok(line) => party.lines.push(line),
                Err(fault) => party.unusable.push(format!("m-line {} {fault}", index + 1)),
            }
        }
        match party.unusable.as_slice() {
            [] if party.lines.is_empty() && sdp.medias().next().is_none() => {
                Err(PartySdpError::Nothing("it has no m-line".to_owned()))
            }
            unusable if party.lines.is_empty() && !unusable.is_empty() => {
                Err(PartySdpError::Nothing(unusable.join("; ")))
            }
            _ => Ok(party),
        }
    }

    /// What of it cannot be recorded, in words for people.
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }

    /// The m-lines of a medium in their order, without those that are off.
    pub fn lines(&self, medium: Medium) -> impl Iterator<Item = &PartyLine> {
        self.lines.iter().filter(move |line| line.format.medium == medium)
    }

    /// Which line each of the party's streams has, by medium and number within it. A stream whose medium is known takes
    /// the next line of that medium; the others take the lines that are left, in their order.
    pub fn place(&self, streams: &[Option<Medium>]) -> Vec<Option<(Medium, usize)>> {
        let mut numbers = [(Medium::Audio, 0), (Medium::Video, 0)];
        let lines: Vec<(Medium, usize)> = self
            .lines
            .iter()
            .filter_map(|line| {
                let (medium, next) = numbers.iter_mut().find(|(medium, _)| *medium == line.format.medium)?;
                *next += 1;
                Some((*medium, *next - 1))
            })
            .collect();
        let mut free = lines;
        let mut placed = vec![None; streams.len()];
        let mut take = |wanted: Option<Medium>, place: &mut Option<(Medium, usize)>| {
            let fits = |(medium, _): &(Medium, usize)| wanted.is_none_or(|wanted| wanted == *medium);
            *place = free.iter().position(fits).map(|index| free.remove(index));
        };
        for known in [true, false] {
            for (stream, place) in streams.iter().zip(&mut placed) {
                if stream.is_some() == known {
                    take(*stream, place);
                }
            }
        }
        placed
    }

    /// Whether any of its media is encrypted; of this medium, where it is given.
    pub fn is_secured(&self, medium: Option<Medium>) -> bool {
        let is_of = |line: &&PartyLine| medium.is_none_or(|medium| medium == line.format.medium);
        self.lines.iter().filter(is_of).any(|line| line.is_secured)
    }

    /// Whether the party says nothing of itself to the other (`protocol` 1.3): no audio line sends, or none is left.
    /// A party that puts the other on hold (`sendonly`) counts where `hold_is_mute` says so.
    pub fn is_mute(&self, hold_is_mute: bool) -> bool {
        let speaks = |line: &PartyLine| match line.direction {
            Direction::SendRecv => true,
            Direction::SendOnly => !hold_is_mute,
            Direction::RecvOnly | Direction::Inactive => false,
        };
        let medium = if self.lines(Medium::Audio).next().is_some() { Medium::Audio } else { Medium::Video };
        !self.lines(medium).any(speaks)
    }

    /// What the party sends on its line of this medium and number: the formats that both parties list, in this party's
    /// order and with the payload type numbers by which the other wants to receive them (RFC 3264 §5.1). Without the
    /// other's description, its own list. None where the party has no such line.
    ///
    /// # Errors
    /// [`PartySdpError::NoCommonCodec`].
    pub fn negotiated(
        &self,
        other: Option<&Self>,
        medium: Medium,
        number: usize,
    ) -> Result<Option<StreamFormat>, PartySdpError> {
        let Some(own) = self.lines(medium).nth(number) else { return Ok(None) };
        let Some(theirs) = other.and_then(|other| other.lines(medium).nth(number)) else {
            return Ok(Some(own.format.clone()));
        };
        let mut payloads: Vec<PayloadFormat> = Vec::new();
        for format in &own.format.payloads {
            let taken = |number: u8| payloads.iter().any(|taken| taken.payload_type == number);
            let matching = theirs
                .format
                .payloads
                .iter()
                .filter(|theirs| same_codec(theirs, format) && !taken(theirs.payload_type));
            let best = matching.max_by_key(|theirs| {
                (theirs.fmtp == format.fmtp, theirs.payload_type == format.payload_type)
            });
            if let Some(theirs) = best {
                let fmtp = format.fmtp.clone().or_else(|| theirs.fmtp.clone());
                payloads.push(PayloadFormat { payload_type: theirs.payload_type, fmtp, ..format.clone() });
            }
        }
        if payloads.iter().all(is_companion) {
            let (own, other) = (codecs(&own.format), codecs(&theirs.format));
            return Err(PartySdpError::NoCommonCodec { medium, own, other });
        }
        payloads.sort_by_key(is_companion);
        Ok(Some(StreamFormat { medium, payloads, ptime_ms: theirs.format.ptime_ms.or(own.format.ptime_ms) }))
    }

    /// Whether the party receives somewhere else than in an earlier description.
    pub fn has_moved(&self, before: &Self) -> bool {
        let addresses = |sdp: &Self| sdp.lines.iter().map(|line| line.address).collect::<Vec<_>>();
        addresses(self) != addresses(before)
    }
}

fn read(media: &MediaView<'_>) -> Result<PartyLine, String> {
    if media.medium().is_none() {
        return Err(format!("is {:?}, and audio and video are recorded only", media.kind()));
    }
    let Some(mut format) = media.stream_format() else {
        return Err("names no payload type whose codec is known".to_owned());
    };
    if format.payloads.iter().all(is_companion) {
        return Err(format!("has no codec, only {}", codecs(&format)));
    }
    format.payloads.sort_by_key(is_companion);
    let on_hold = media.connection().is_some_and(|address| address.is_unspecified());
    let address = media.rtp().and_then(|(address, port)| Some(SocketAddr::new(address.ip()?, port)));
    let direction = if on_hold { Direction::Inactive } else { media.direction() };
    Ok(PartyLine { format, direction, address, is_secured: media.is_secured() || media.is_dtls() })
}

fn is_companion(format: &PayloadFormat) -> bool {
    COMPANIONS.iter().any(|companion| format.encoding.eq_ignore_ascii_case(companion))
}

fn codecs(format: &StreamFormat) -> String {
    let name = |format: &PayloadFormat| format!("{}/{}", format.encoding, format.clock_rate);
    format.payloads.iter().map(name).collect::<Vec<_>>().join(", ")
}
