//! What is measured: ways to relay calls, each with and without recording them.

use clap::ValueEnum;

/// A way to relay calls, and to record them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Row {
    /// `udpsrc ! udpsink`.
    Stock,
    /// The same with `siprec` between them.
    StockSiprec,
    /// The same with `tee ! queue ! srtpdec ! srtpenc ! udpsink`.
    StockTee,
    /// rtpengine's userspace relay.
    Rtpengine,
    /// The same with a subscription to each stream.
    RtpengineSubscribe,
    /// The thread-sharing elements of gst-plugins-rs.
    Ts,
    /// The same with `tee ! ts-queue ! srtpdec ! srtpenc ! ts-udpsink`.
    TsTee,
    /// `siprecudpsrc ! siprecudpsink`.
    Shared,
    /// The same with `siprec` between them.
    SharedSiprec,
    /// The same, whose recordings leave from one port.
    SharedSiprecOnePort,
    /// `siprecudpsrc ! siprec ! siprecudpsink`, whose recordings may be half a second late.
    SharedSiprecLate,
    /// The same, whose recordings leave from one port.
    SharedSiprecOnePortLate,
    /// One thread that does nothing but receive and send.
    Loop,
    /// The same with a copy, decrypted and encrypted anew.
    LoopCopy,
}

impl Row {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// As tables have it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Stock => "`udpsrc ! udpsink`",
            Self::StockSiprec => "`udpsrc ! siprec ! udpsink`",
            Self::StockTee => "`udpsrc ! tee ! udpsink`, `queue ! srtpdec ! srtpenc ! udpsink`",
            Self::Rtpengine => "rtpengine",
            Self::RtpengineSubscribe => "rtpengine, subscribed to",
            Self::Ts => "`ts-udpsrc ! ts-udpsink`",
            Self::TsTee => "`ts-udpsrc ! tee ! ts-udpsink`, `ts-queue ! srtpdec ! srtpenc ! ts-udpsink`",
            Self::Shared => "`siprecudpsrc ! siprecudpsink`",
            Self::SharedSiprec => "`siprecudpsrc ! siprec ! siprecudpsink`",
            Self::SharedSiprecOnePort => "`siprecudpsrc ! siprec ! siprecudpsink`, `media-source=shared`",
            Self::SharedSiprecLate => "`siprecudpsrc ! siprec ! siprecudpsink`, `send-interval` 500 ms",
            Self::SharedSiprecOnePortLate => {
                "`siprecudpsrc ! siprec ! siprecudpsink`, `media-source=shared`, `send-interval` 500 ms"
            }
            Self::Loop => "bare loop",
            Self::LoopCopy => "bare loop with a copy",
        }
    }

    /// The row that relays the same way without recording; `None` for one that does not record.
    pub fn without_recording(self) -> Option<Self> {
        match self {
            Self::StockSiprec | Self::StockTee => Some(Self::Stock),
            Self::RtpengineSubscribe => Some(Self::Rtpengine),
            Self::TsTee => Some(Self::Ts),
            Self::SharedSiprec
            | Self::SharedSiprecOnePort
            | Self::SharedSiprecLate
            | Self::SharedSiprecOnePortLate => Some(Self::Shared),
            Self::LoopCopy => Some(Self::Loop),
            Self::Stock | Self::Rtpengine | Self::Ts | Self::Shared | Self::Loop => None,
        }
    }

    /// Whether it records.
    pub fn records(self) -> bool {
        self.without_recording().is_some()
    }

    /// Whether its recordings are sessions by SIP.
    pub fn has_sessions(self) -> bool {
        self == Self::StockSiprec || self.has_sessions_on_shared_threads()
    }

    fn has_sessions_on_shared_threads(self) -> bool {
        self.without_recording() == Some(Self::Shared)
    }

    /// What its agent is told, as properties and their values.
    pub fn agent(self) -> &'static [(&'static str, &'static str)] {
        const ONE_PORT: (&str, &str) = ("media-source", "shared");
        const LATE: (&str, &str) = ("send-interval", "500000000");
        match self {
            Self::SharedSiprecOnePort => &[ONE_PORT],
            Self::SharedSiprecLate => &[LATE],
            Self::SharedSiprecOnePortLate => &[ONE_PORT, LATE],
            _ => &[],
        }
    }

    /// Whether its input and output are ours.
    pub fn has_shared_threads(self) -> bool {
        self == Self::Shared || self.has_sessions_on_shared_threads()
    }

    /// Whether rtpengine does it.
    pub fn is_rtpengine(self) -> bool {
        matches!(self, Self::Rtpengine | Self::RtpengineSubscribe)
    }

    /// The elements that it takes, but for GStreamer's own.
    pub fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Ts => &["ts-udpsrc", "ts-udpsink"],
            Self::TsTee => &["ts-udpsrc", "ts-udpsink", "ts-queue", "srtpdec", "srtpenc"],
            Self::Shared => &["siprecudpsrc", "siprecudpsink"],
            _ if self.has_sessions_on_shared_threads() => &["siprecudpsrc", "siprecudpsink", "siprec"],
            Self::StockSiprec => &["siprec"],
            Self::StockTee => &["srtpdec", "srtpenc"],
            _ => &[],
        }
    }
}
