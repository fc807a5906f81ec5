//! What we want to send, line by line: the source of every offer.

use std::net::SocketAddr;
use std::sync::Arc;

use siprec_model::{Medium, PayloadFormat, StreamFormat};
use siprec_sip::SessionDescription;

use super::feedback::Feedback;
use super::keys::{Accepted, KeyMaker, LineKeys};
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
        /// What it had before, and packets may still have that wait for the recorder.
        former: Vec<PayloadFormat>,
        /// `sendonly`, else `inactive`.
        send: bool,
        /// The call encrypts it: its line has keys also where others have none.
        secured: bool,
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
    /// What the recorder may ask for.
    pub(crate) feedback: Feedback,
    /// The keys that it is sent under; none where it is plain, or off.
    pub(super) keys: Option<Arc<LineKeys>>,
    /// What it takes of the recorder's offer; none in what we offer.
    pub(super) accepted: Option<Accepted>,
}

/// An m-line of the recorder's, which a refusal repeats (RFC 3264 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForeignLine {
    pub(crate) offer: Arc<SessionDescription>,
    pub(crate) index: usize,
}

/// What the m-lines of one session have been: they never become fewer (RFC 3264 §8), and their payload type numbers
/// never change their codec.
#[derive(Debug)]
pub(crate) struct Layout {
    slots: Vec<SlotHistory>,
    maker: KeyMaker,
    /// Whether recorders may ask for anything.
    has_feedback: bool,
    /// Only lines of streams that the call encrypts have keys: the others were there before.
    is_mixed: bool,
}

#[derive(Clone, Debug, Default)]
struct SlotHistory {
    numbering: Numbering,
    foreign: Option<ForeignLine>,
    /// The keys of the line, and the ports that they were made for.
    keys: Option<(Ports, Arc<LineKeys>)>,
    /// Only what the stream has now is offered: the recorder would take what it had before, and not that.
    forgoes_former: bool,
}

impl Layout {
    /// A layout whose lines have keys by this maker, and say what may be asked for, or do not.
    pub(super) fn new(maker: KeyMaker, has_feedback: bool) -> Self {
        Self { slots: Vec::new(), maker, has_feedback, is_mixed: false }
    }

    /// Has the lines of streams that the call encrypts have keys by this maker; those that are plain stay so.
    pub(super) fn secure(&mut self, maker: KeyMaker) {
        self.maker = maker;
        self.is_mixed = true;
        self.slots.iter_mut().for_each(|slot| slot.keys = None);
    }

    /// Whether its lines are encrypted.
    pub(super) fn is_secured(&self) -> bool {
        self.maker.is_secured()
    }

    /// Offers what its stream had before no more in a line.
    pub(super) fn forgo_former(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.forgoes_former = true;
        }
    }

    /// Gives a line new keys, for what goes to another address from now on.
    pub(super) fn renew_keys(&mut self, index: usize) -> Option<Arc<LineKeys>> {
        let slot = self.slots.get_mut(index)?;
        let (ports, _) = slot.keys.take()?;
        let keys = self.maker.make()?;
        slot.keys = Some((ports, Arc::clone(&keys)));
        Some(keys)
    }

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
        let Self { maker, is_mixed, has_feedback, .. } = self;
        let lines = self.slots.iter_mut().enumerate().map(|(index, slot)| {
            let absent = WantedLine::Absent { medium: Medium::Audio };
            let wanted = wanted.get(index).unwrap_or(&absent);
            match (wanted, before.lines.get(index), &slot.foreign) {
                (WantedLine::Stream { ports, format, former, send, secured, revision }, ..) => {
                    slot.foreign = None;
                    let is_plain = *is_mixed && !secured && slot.keys.is_none();
                    Line::Stream(StreamLine {
                        revision: *revision,
                        ..slot.stream(
                            Some(*ports),
                            (format, former),
                            *send,
                            (!is_plain).then_some(&mut *maker),
                        )
                    })
                }
                (_, _, Some(foreign)) => Line::Foreign(foreign.clone()),
                (WantedLine::Unready { silent, .. }, Some(Line::Stream(line)), None) => {
                    Line::Stream(StreamLine { send: line.send && !silent, ..line.clone() })
                }
                (WantedLine::Unready { ports, medium, .. }, _, None) => {
                    let maker = (!*is_mixed).then_some(&mut *maker);
                    Line::Stream(slot.stream(*ports, (&known(*medium), &[]), false, maker))
                }
                (WantedLine::Absent { .. }, Some(line @ Line::Stream(_)), None) => line.off(),
                (WantedLine::Absent { medium }, _, None) => {
                    Line::Stream(slot.stream(None, (&known(*medium), &[]), false, None))
                }
            }
        });
        let lines = lines.map(|line| match line {
            Line::Stream(stream) => Line::Stream(StreamLine {
                feedback: Feedback::offered(*has_feedback, stream.medium),
                ..stream
            }),
            Line::Foreign(_) => line,
        });
        Description { lines: lines.collect() }
    }

    /// Remembers the m-lines beyond ours that the recorder offered.
    pub(crate) fn extend(&mut self, offered: impl Iterator<Item = ForeignLine>) {
        for foreign in offered.skip(self.slots.len()) {
            self.slots.push(SlotHistory { foreign: Some(foreign), ..SlotHistory::default() });
        }
    }

    /// The m-lines from `index` on that only the recorder wanted.
    pub(crate) fn rejected(&self, index: usize) -> impl Iterator<Item = Line> + '_ {
        self.slots.iter().skip(index).filter_map(|slot| slot.foreign.clone()).map(Line::Foreign)
    }
}

impl SlotHistory {
    fn stream(
        &mut self,
        ports: Option<Ports>,
        (format, former): (&StreamFormat, &[PayloadFormat]),
        send: bool,
        maker: Option<&mut KeyMaker>,
    ) -> StreamLine {
        StreamLine {
            keys: ports.zip(maker).and_then(|(ports, maker)| self.keys_for(ports, maker)),
            accepted: None,
            medium: format.medium,
            ports,
            formats: self.numbering.assign(&format.payloads, if self.forgoes_former { &[] } else { former }),
            ptime_ms: format.ptime_ms,
            send,
            revision: 0,
            feedback: Feedback::default(),
        }
    }

    /// The line's keys while its ports stay, else new ones: an address of ours that changes brings a new key
    /// (RFC 4568 §7.1.4).
    fn keys_for(&mut self, ports: Ports, maker: &mut KeyMaker) -> Option<Arc<LineKeys>> {
        if !self.keys.as_ref().is_some_and(|(own, _)| *own == ports) {
            self.keys = maker.make().map(|keys| (ports, keys));
        }
        self.keys.as_ref().map(|(_, keys)| Arc::clone(keys))
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

    /// The same as an offer of ours.
    pub(crate) fn offered(&self) -> Self {
        let mut offered = self.clone();
        offered.lines.iter_mut().filter_map(Line::stream_mut).for_each(|stream| stream.accepted = None);
        offered
    }

    /// Whether it says the same as an offer of ours, whatever of the recorder's offers it takes.
    pub(crate) fn is_as_offered(&self, offered: &Self) -> bool {
        self.lines.len() == offered.lines.len()
            && self.lines.iter().zip(&offered.lines).all(|(own, other)| match (own, other) {
                (Line::Stream(own), Line::Stream(other)) if own.accepted != other.accepted => {
                    StreamLine { accepted: None, ..own.clone() }
                        == StreamLine { accepted: None, ..other.clone() }
                }
                (own, other) => own == other,
            })
    }

    /// Whether a stream has keys here that was plain `before`.
    pub(crate) fn turns_secured(&self, before: &Self) -> bool {
        let turns = |(line, before): (&Line, &Line)| {
            let (Some(line), Some(before)) = (line.stream(), before.stream()) else { return false };
            line.keys.is_some() && before.keys.is_none() && before.ports.is_some()
        };
        self.lines.iter().zip(&before.lines).any(turns)
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
            Self::Stream(stream) => Self::Stream(StreamLine {
                ports: None,
                send: false,
                keys: None,
                accepted: None,
                ..stream.clone()
            }),
            Self::Foreign(foreign) => Self::Foreign(foreign.clone()),
        }
    }

    pub(crate) fn stream(&self) -> Option<&StreamLine> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Foreign(_) => None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut StreamLine> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Foreign(_) => None,
        }
    }
}
