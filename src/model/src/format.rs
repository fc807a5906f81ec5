//! What a call stream carries.

use std::fmt;

/// The medium of an m-line (RFC 8866 §5.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    /// `m=audio`
    Audio,
    /// `m=video`
    Video,
}

impl Medium {
    /// The word of the m-line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A video codec whose key frames can be told from its RTP payload format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VideoCodec {
    /// RFC 6184
    H264,
    /// RFC 7798
    H265,
    /// RFC 7741
    Vp8,
    /// RFC 9628
    Vp9,
}

impl VideoCodec {
    /// The codec with this encoding name, compared without regard to case (RFC 4855 §3).
    pub fn named(encoding: &str) -> Option<Self> {
        let is = |name: &str| encoding.eq_ignore_ascii_case(name);
        match () {
            () if is("H264") => Some(Self::H264),
            () if is("H265") => Some(Self::H265),
            () if is("VP8") => Some(Self::Vp8),
            () if is("VP9") => Some(Self::Vp9),
            () => None,
        }
    }
}

/// One payload type of a stream: what `a=rtpmap` and `a=fmtp` say of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PayloadFormat {
    /// RTP payload type, 0-127.
    pub payload_type: u8,
    /// Encoding name as registered, e.g. `PCMU`, `opus`, `telephone-event`.
    pub encoding: String,
    /// RTP clock rate in Hz, above 0.
    pub clock_rate: u32,
    /// Channel count of `a=rtpmap`, where it is written.
    pub channels: Option<u8>,
    /// Value of `a=fmtp` without the payload type, where there is one.
    pub fmtp: Option<String>,
}

/// What one call stream carries: the negotiated formats of the call, the main codec first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamFormat {
    /// Audio or video.
    pub medium: Medium,
    /// The negotiated formats, main codec first; never empty.
    pub payloads: Vec<PayloadFormat>,
    /// Packet time in milliseconds (`a=ptime`), where known.
    pub ptime_ms: Option<u32>,
}

impl StreamFormat {
    /// The RTP clock rate in Hz of the main codec, or 8000 when the list is empty.
    pub fn clock_rate(&self) -> u32 {
        self.payloads.first().map_or(8000, |payload| payload.clock_rate)
    }

    /// The main codec, where it is a video codec whose key frames can be told.
    pub fn video_codec(&self) -> Option<VideoCodec> {
        let main = self.payloads.first().filter(|_| self.medium == Medium::Video)?;
        VideoCodec::named(&main.encoding)
    }
}
