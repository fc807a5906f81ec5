//! What a recorder's session description says.

use std::net::SocketAddr;
use std::sync::Arc;

use siprec_model::{CertificateHash, Fingerprint, FingerprintFault, Medium, PayloadFormat};
use siprec_sip::sdp::{Crypto, CryptoFault, Direction, MediaView, SessionDescription, Setup};
use siprec_sip::{Headers, multipart};

use super::description::ForeignLine;
use super::feedback::Feedback;

/// Most lines with keys of one m-line that are looked at, and most with fingerprints.
const MOST_CRYPTOS: usize = 32;

/// A recorder's description, as far as it matters (`protocol` 1.2).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RemoteDescription {
    pub(super) text: Arc<SessionDescription>,
    pub(super) lines: Vec<RemoteLine>,
}

/// One m-line of the recorder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RemoteLine {
    /// Audio or video, where it is one.
    pub(super) medium: Option<Medium>,
    /// Where the stream goes, or why it goes nowhere.
    pub(super) target: Result<Target, String>,
    pub(super) direction: Direction,
    pub(super) formats: Vec<PayloadFormat>,
    /// What it says that it asks for.
    pub(super) feedback: Feedback,
    /// Where its keys come from.
    pub(super) profile: Profile,
    /// Its keys, each or why it cannot be used.
    pub(super) cryptos: Vec<Result<Crypto, CryptoFault>>,
    /// Who begins the handshake, where that is said so that it can be understood.
    pub(super) setup: Option<Setup>,
    /// The fingerprints of its certificate, each or why it cannot be used.
    pub(super) fingerprints: Vec<Result<Fingerprint, FingerprintFault>>,
    /// The name of its association.
    pub(super) tls_id: Option<String>,
}

/// Where the keys of an m-line come from, as its transport says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// It is in the clear.
    Plain,
    /// The description.
    Sdes,
    /// A handshake.
    Dtls,
}

impl Profile {
    fn of(media: &MediaView<'_>) -> Option<Self> {
        let is_plain = ["RTP/AVP", "RTP/AVPF"].iter().any(|plain| media.proto().eq_ignore_ascii_case(plain));
        match (media.is_secured(), media.is_dtls()) {
            (true, _) => Some(Self::Sdes),
            (_, true) => Some(Self::Dtls),
            _ => is_plain.then_some(Self::Plain),
        }
    }

    /// In words for people, with the transport.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "RTP/AVP, in the clear,",
            Self::Sdes => "RTP/SAVP",
            Self::Dtls => "UDP/TLS/RTP/SAVP",
        }
    }
}

/// Where a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: Option<SocketAddr>,
}

/// Why a description is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SdpFault {
    /// The message has none.
    #[error("it has no session description")]
    Missing,
    /// It cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// Every stream was refused.
    #[error("it takes no stream ({0})")]
    NothingTaken(String),
    /// A stream that it takes would not be protected as we offered.
    #[error("{0}")]
    Insecure(String),
}

/// The session description in a message.
pub(super) fn sdp_of(headers: &Headers, body: &[u8]) -> Result<Vec<u8>, SdpFault> {
    if body.is_empty() {
        return Err(SdpFault::Missing);
    }
    multipart::find(headers, body, "application/sdp")
        .map_err(|error| SdpFault::Malformed(error.to_string()))?
        .ok_or(SdpFault::Missing)
}

impl RemoteDescription {
    /// Reads a body.
    pub(super) fn parse(body: Vec<u8>) -> Result<Self, SdpFault> {
        let text =
            SessionDescription::parse(&body).map_err(|error| SdpFault::Malformed(error.to_string()))?;
        let lines = text.medias().map(|media| RemoteLine::read(&media)).collect();
        Ok(Self { text: Arc::new(text), lines })
    }

    /// The m-lines as refusals repeat them.
    pub(super) fn foreign(&self) -> impl Iterator<Item = ForeignLine> + '_ {
        (0..self.lines.len()).map(|index| ForeignLine { offer: Arc::clone(&self.text), index })
    }

    /// The same for an answer that says nothing: a 200 without SDP accepts, and the addresses stay.
    pub(super) fn unsaid(mut self) -> Self {
        let is_address = |line: &&mut RemoteLine| {
            line.target.as_ref().is_ok_and(|target| !target.rtp.ip().is_unspecified())
        };
        for line in self.lines.iter_mut().filter(is_address) {
            line.direction = Direction::RecvOnly;
        }
        self
    }
}

impl RemoteLine {
    fn read(media: &MediaView<'_>) -> Self {
        // `c=0.0.0.0` is the old way to say hold (RFC 3264 §8.4).
        let on_hold = media.connection().is_some_and(|address| address.is_unspecified());
        Self {
            medium: media.medium(),
            target: target(media),
            direction: if on_hold { Direction::Inactive } else { media.direction() },
            formats: media.payload_formats(),
            feedback: Feedback::of(media),
            profile: Profile::of(media).unwrap_or(Profile::Plain),
            cryptos: media.cryptos().take(MOST_CRYPTOS).collect(),
            setup: media.setup().and_then(Result::ok),
            fingerprints: media.fingerprints().take(MOST_CRYPTOS).collect(),
            tls_id: media.tls_id().map(str::to_owned),
        }
    }

    /// The keys that can be used. A tag is one line's (RFC 4568 §4.1): which of two an answer means could not be told.
    pub(super) fn usable_cryptos(&self) -> impl Iterator<Item = &Crypto> + Clone {
        let usable = self.cryptos.iter().filter_map(|line| line.as_ref().ok());
        usable
            .clone()
            .filter(move |line| usable.clone().filter(|other| other.tag() == line.tag()).count() == 1)
    }

    /// What the recorder's certificate must match: its fingerprints by the strongest hash (RFC 8122 §5).
    ///
    /// # Errors
    /// Why there is none, in words for people.
    pub(super) fn certificate(&self) -> Result<Vec<Fingerprint>, String> {
        let usable = || self.fingerprints.iter().filter_map(|fingerprint| fingerprint.as_ref().ok());
        let strongest: Option<CertificateHash> = usable().map(Fingerprint::hash).max();
        match (strongest, self.fingerprints.first()) {
            (Some(hash), _) => Ok(usable().filter(|own| own.hash() == hash).cloned().collect()),
            (None, Some(Err(fault))) => Err(format!("the recorder's certificate cannot be known: {fault}")),
            (None, _) => Err("the recorder names no certificate (a=fingerprint)".to_owned()),
        }
    }

    /// Where a stream of this medium goes, or why it goes nowhere.
    pub(super) fn target_for(&self, medium: Medium) -> Result<Target, String> {
        let target = self.target.clone()?;
        match self.medium {
            Some(own) if own == medium => Ok(target),
            _ => Err(format!("the recorder answers the {medium} line with another medium")),
        }
    }
}

fn target(media: &MediaView<'_>) -> Result<Target, String> {
    if media.is_off() {
        return Err("the recorder refuses it".to_owned());
    }
    if Profile::of(media).is_none() {
        return Err(format!("the recorder wants the transport {}", media.proto()));
    }
    let address = |target: Option<(siprec_sip::sdp::Address, u16)>| {
        target.and_then(|(address, port)| Some(SocketAddr::new(address.ip()?, port)))
    };
    let rtp = address(media.rtp()).ok_or("the recorder names no IP address for it")?;
    Ok(Target { rtp, rtcp: address(media.rtcp()) })
}
