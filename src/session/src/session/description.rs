//! What we want to send, line by line: the source of every offer.

use std::net::SocketAddr;
use std::sync::Arc;

use siprec_model::{Medium, PayloadFormat, StreamFormat};
use siprec_sip::SessionDescription;

use crate::numbering::{NumberedFormat, Numbering};

/// The local addresses of one m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) rtp: SocketAddr,
    pub(crate) rtcp: SocketAddr,
}

/// What the recording wants of one m-line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WantedLine {
    /// No stream (yet, or any more): port 0.
    Absent {
        /// What the line is for.
        medium: Medium,
    },
    /// A stream that is not ready to be described: the line stays as it is, or silent.
    Unready {
        /// What can be offered of it where the line must be new: `inactive`, with another line's format.
        ports: Option<Ports>,
        /// What the line is for.
        medium: Medium,
        silent: bool,
    },
    /// A stream.
    Stream {
        ports: Ports,
        format: StreamFormat,
        /// `sendonly`, else `inactive`.
        send: bool,
        /// Which of the stream's parties speaks: another one is told by a new version, even where nothing else changes.
        revision: u32,
    },
}

/// All m-lines of ours, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Description {
    pub(crate) lines: Vec<Line>,
}

/// One m-line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// A party's stream.
    Stream(StreamLine),
    /// An m-line that only the recorder wanted: port 0 for as long as the session lives.
    Foreign(ForeignLine),
}

/// One m-line of ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamLine {
    pub(crate) medium: Medium,
    pub(crate) ports: Option<Ports>,
    /// Never empty in a description that can be offered.
    pub(crate) formats: Vec<NumberedFormat>,
    pub(crate) ptime_ms: Option<u32>,
    pub(crate) send: bool,
    /// As in [`WantedLine::Stream`].
    pub(crate) revision: u32,
}

/// An m-line of the recorder's, which a refusal repeats (RFC 3264 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignLine {
    pub(crate) offer: Arc<SessionDescription>,
    pub(crate) index: usize,
}

/// What the m-lines of one session have been: they never become fewer (RFC 3264 §8), and their payload type numbers
/// never change their codec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    slots: Vec<SlotHistory>,
}

#[derive(Clone, Debug, Default)]
struct SlotHistory {
    numbering: Numbering,
    foreign: Option<ForeignLine>,
}

impl Layout {
    /// Turns what is wanted into m-lines; `before` is what was wanted until now.
    pub(crate) fn describe(&mut self, wanted: &[WantedLine], before: &Description) -> Description {
        self.slots.resize_with(self.slots.len().max(wanted.len()), SlotHistory::default);
        let known = |medium| {
            let same = wanted.iter().find_map(|line| match line {
                WantedLine::Stream { format, .. } if format.medium == medium => Some(format.clone()),
                _ => None,
            });
            same.unwrap_or_else(|| usual(medium))
        };
        let lines = self.slots.iter_mut().enumerate().map(|(index, slot)| {
            let absent = WantedLine::Absent { medium: Medium::Audio };
            let wanted = wanted.get(index).unwrap_or(&absent);
            match (wanted, before.lines.get(index), &slot.foreign) {
                (WantedLine::Stream { ports, format, send, revision }, ..) => {
                    slot.foreign = None;
                    Line::Stream(StreamLine {
                        revision: *revision,
                        ..slot.stream(Some(*ports), format, *send)
                    })
                }
                (_, _, Some(foreign)) => Line::Foreign(foreign.clone()),
                (WantedLine::Unready { silent, .. }, Some(Line::Stream(line)), None) => {
                    Line::Stream(StreamLine { send: line.send && !silent, ..line.clone() })
                }
                (WantedLine::Unready { ports, medium, .. }, _, None) => {
                    Line::Stream(slot.stream(*ports, &known(*medium), false))
                }
                (WantedLine::Absent { .. }, Some(Line::Stream(line)), None) => {
                    Line::Stream(StreamLine { ports: None, send: false, ..line.clone() })
                }
                (WantedLine::Absent { medium }, _, None) => {
                    Line::Stream(slot.stream(None, &known(*medium), false))
                }
            }
        });
        Description { lines: lines.collect() }
    }

    /// Remembers the m-lines beyond ours that the recorder offered.
    pub(crate) fn extend(&mut self, offered: impl Iterator<Item = ForeignLine>) {
        for foreign in offered.skip(self.slots.len()) {
            self.slots.push(SlotHistory { numbering: Numbering::default(), foreign: Some(foreign) });
        }
    }

    /// The m-lines from `index` on that only the recorder wanted.
    pub(crate) fn rejected(&self, index: usize) -> impl Iterator<Item = Line> + '_ {
        self.slots.iter().skip(index).filter_map(|slot| slot.foreign.clone()).map(Line::Foreign)
    }
}

impl SlotHistory {
    fn stream(&mut self, ports: Option<Ports>, format: &StreamFormat, send: bool) -> StreamLine {
        StreamLine {
            medium: format.medium,
            ports,
            formats: self.numbering.assign(&format.payloads),
            ptime_ms: format.ptime_ms,
            send,
            revision: 0,
        }
    }
}

/// What a line says of a medium that no stream of the session has yet.
fn usual(medium: Medium) -> StreamFormat {
    let (payload_type, encoding, clock_rate) = match medium {
        Medium::Audio => (0, "PCMU", 8000),
        Medium::Video => (96, "H264", 90_000),
    };
    let payload =
        PayloadFormat { payload_type, encoding: encoding.to_owned(), clock_rate, channels: None, fmtp: None };
    StreamFormat { medium, payloads: vec![payload], ptime_ms: None }
}

impl Description {
    /// Whether any stream has ports, and every stream has something to say of its format.
    pub(crate) fn is_offerable(&self) -> bool {
        self.streams().any(|line| line.ports.is_some()) && self.streams().all(|line| !line.formats.is_empty())
    }

    /// The lines that are streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &StreamLine> {
        self.lines.iter().filter_map(Line::stream)
    }

    /// The stream of an m-line.
    pub(crate) fn stream(&self, index: usize) -> Option<&StreamLine> {
        self.lines.get(index)?.stream()
    }
}

impl Line {
    /// The same with port 0.
    pub(crate) fn off(&self) -> Self {
        match self {
            Self::Stream(stream) => Self::Stream(StreamLine { ports: None, send: false, ..stream.clone() }),
            Self::Foreign(foreign) => Self::Foreign(foreign.clone()),
        }
    }

    pub(crate) fn stream(&self) -> Option<&StreamLine> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Foreign(_) => None,
        }
    }
}
