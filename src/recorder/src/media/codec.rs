//! Which codecs become sound in the WAV. All others are kept as RTP.

use siprec_model::PayloadFormat;

/// A codec that the recorder decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
    /// Linear PCM (RFC 3551 §4.5.11).
    L16 {
        rate: u32,
        channels: u8,
    },
}

impl Codec {
    /// The codec of a payload type, if it is one of these.
    pub(crate) fn of(format: &PayloadFormat) -> Option<Self> {
        let channels = format.channels.unwrap_or(1);
        let is = |name: &str| format.encoding.eq_ignore_ascii_case(name);
        match (format.clock_rate, channels) {
            (8000, 1) if is("PCMU") => Some(Self::Pcmu),
            (8000, 1) if is("PCMA") => Some(Self::Pcma),
            (8000, 1) if is("G722") => Some(Self::G722),
            (48000, _) if is("opus") => Some(Self::Opus),
            (rate @ 8000..=96000, 1..=8) if is("L16") => Some(Self::L16 { rate, channels }),
            _ => None,
        }
    }

    /// Sampling rate of the decoded sound in Hz. G.722 has an RTP clock of 8000 and sound of 16000 Hz
    /// (RFC 3551 §4.5.2).
    pub(crate) fn rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
            Self::G722 => 16000,
            Self::Opus => 48000,
            Self::L16 { rate, .. } => rate,
        }
    }

    /// RTP clock in Hz.
    pub(crate) fn clock_rate(self) -> u32 {
        match self {
            Self::G722 => 8000,
            other => other.rate(),
        }
    }

    /// The GStreamer elements that depayload and decode it.
    pub(crate) fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Pcmu => &["rtppcmudepay", "mulawdec"],
            Self::Pcma => &["rtppcmadepay", "alawdec"],
            Self::G722 => &["rtpg722depay", "avdec_g722"],
            Self::Opus => &["rtpopusdepay", "opusdec"],
            Self::L16 { .. } => &["rtpL16depay"],
        }
    }

    /// `encoding-name` and, for L16, channel count of the caps.
    pub(crate) fn caps_fields(self) -> (&'static str, Option<u8>) {
        match self {
            Self::Pcmu => ("PCMU", None),
            Self::Pcma => ("PCMA", None),
            Self::G722 => ("G722", None),
            Self::Opus => ("OPUS", None),
            Self::L16 { channels, .. } => ("L16", Some(channels)),
        }
    }
}

/// Whether packets of this format carry sound that a codec of ours could not decode: everything but DTMF and comfort
/// noise, which are silence in a recording.
pub(crate) fn is_silence(format: &PayloadFormat) -> bool {
    ["telephone-event", "CN", "tone"].iter().any(|name| format.encoding.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_only_look_alike_are_not_decoded() {
        let format = |encoding: &str, clock_rate, channels| PayloadFormat {
            payload_type: 96,
            encoding: encoding.into(),
            clock_rate,
            channels,
            fmtp: None,
        };
        assert_eq!(Codec::of(&format("pcmu", 8000, None)), Some(Codec::Pcmu));
        assert_eq!(Codec::of(&format("PCMU", 16000, None)), None);
        assert_eq!(Codec::of(&format("OPUS", 48000, Some(2))), Some(Codec::Opus));
        assert_eq!(Codec::of(&format("L16", 16000, Some(2))), Some(Codec::L16 { rate: 16000, channels: 2 }));
        assert_eq!(Codec::of(&format("G729", 8000, None)), None);
        assert!(is_silence(&format("cn", 8000, None)));
    }
}
