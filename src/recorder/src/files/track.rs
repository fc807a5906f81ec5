//! One stream on its way to the files: its packets on disk and where each stands in time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use siprec_model::PayloadFormat;

use super::overlap::{Overlap, overlaps};
use super::report::{GapReport, OverlapReport};
use super::rtpdump::RtpDump;
use crate::clock::seconds;
use crate::media::codec::{Codec, is_silence};
use crate::media::layout::Layout;
use crate::media::rtcp::{self, Report};
use crate::media::rtp::RtpHeader;
use crate::media::timeline::{Place, SECOND, Timeline, scale};

/// Gaps told in `session.json`.
const MAX_GAPS: usize = 1000;
/// A hole in the timestamps without a lost packet is told from this length on, in ns.
const SILENCE: i64 = SECOND / 2;

/// A datagram as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    /// In ns since 1970.
    pub(crate) arrival: i64,
    pub(crate) rtcp: bool,
}

/// One stream's packets.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) medium: String,
    formats: BTreeMap<u8, PayloadFormat>,
    dump: RtpDump,
    started: i64,
    pub(crate) timeline: Timeline,
    entries: Vec<Entry>,
    /// Formats that packets came in.
    received: BTreeMap<u8, PayloadFormat>,
    pub(crate) unknown_payload_type: u64,
    /// Why some of its sound is not in the WAV.
    pub(crate) not_decoded: Option<String>,
}

/// How long a packet lasts: the shortest step between neighbours, in units of the timestamp.
fn shortest_step(entries: &[&Entry]) -> i64 {
    let step = |pair: &[&Entry]| match pair {
        [before, after]
            if before.place.segment == after.place.segment
                && after.place.sequence - before.place.sequence == 1 =>
        {
            Some(after.place.timestamp - before.place.timestamp).filter(|step| *step > 0)
        }
        _ => None,
    };
    entries.windows(2).filter_map(step).min().unwrap_or(0)
}

/// A packet in the dump.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) payload_type: u8,
    /// `None`: nothing to be heard.
    pub(crate) codec: Option<Codec>,
    pub(crate) arrival: i64,
    at: u64,
    length: u16,
}

impl Track {
    /// A stream whose packets go to a new file at `path`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn create(
        path: &Path,
        medium: &str,
        local: std::net::SocketAddr,
        started: std::time::SystemTime,
    ) -> io::Result<Self> {
        let mut dump = RtpDump::create(path, local, started)?;
        dump.flush()?;
        Ok(Self {
            medium: medium.into(),
            formats: BTreeMap::new(),
            dump,
            started: crate::clock::nanoseconds(started),
            timeline: Timeline::default(),
            entries: Vec::new(),
            received: BTreeMap::new(),
            unknown_payload_type: 0,
            not_decoded: None,
        })
    }

    /// Learns what payload types mean. A type once known keeps its meaning (RFC 3264 §8.3.2).
    pub(crate) fn learn(&mut self, formats: &[PayloadFormat]) {
        for format in formats {
            self.formats.entry(format.payload_type).or_insert_with(|| format.clone());
        }
    }

    /// Stores and places one datagram; [`Track::flush`] brings it to the disk.
    pub(crate) fn store(&mut self, datagram: &Datagram) {
        let elapsed = Duration::from_nanos((datagram.arrival - self.started).max(0) as u64);
        let at = self.dump.append(&datagram.bytes, datagram.rtcp, elapsed);
        if datagram.rtcp {
            for report in rtcp::parse(&datagram.bytes) {
                if let Report::Sender { ssrc, ntp, rtp, .. } = report {
                    self.timeline.sender_report(ssrc, ntp, rtp);
                }
            }
        } else if let Some(header) = RtpHeader::parse(&datagram.bytes) {
            self.index(&header, at, datagram);
        }
    }

    /// Writes what was stored to the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.dump.flush()
    }

    /// All packets in the order of their arrival.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The bytes of a packet.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn packet(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        self.dump.read(entry.at, usize::from(entry.length))
    }

    /// Highest sampling rate of the sound that came in so far, in Hz.
    pub(crate) fn rate(&self) -> Option<u32> {
        self.received.values().filter_map(Codec::of).map(Codec::rate).max()
    }

    /// Formats that packets came in, e.g. `0 PCMU/8000`.
    pub(crate) fn received_formats(&self) -> Vec<String> {
        self.received.values().map(describe).collect()
    }

    /// The holes in its sound on the WAV's time line.
    pub(crate) fn gaps(&self, track: usize, layout: &Layout) -> Vec<GapReport> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| (entry.place.segment, entry.place.sequence));
        let steps = || {
            let pairs = entries.windows(2).filter_map(|pair| match pair {
                [before, after] => Some((before.place, after.place)),
                _ => None,
            });
            pairs.filter(|(before, after)| before.segment == after.segment)
        };
        let packet = shortest_step(&entries);
        let mut gaps = Vec::new();
        for (before, after) in steps() {
            let lost = (after.sequence - before.sequence - 1).max(0);
            let clock_rate =
                self.timeline.segments().get(before.segment).map_or(8000, |segment| segment.clock_rate);
            let step = after.timestamp - before.timestamp;
            let span = scale(step, SECOND, clock_rate);
            if lost == 0 && span < SILENCE {
                continue;
            }
            let start = layout.frame(track, before.segment, before.timestamp + packet).unwrap_or(0);
            gaps.push(GapReport {
                start: seconds(start, layout.rate),
                duration: seconds(step - packet, clock_rate),
                lost: lost as u64,
            });
            if gaps.len() == MAX_GAPS {
                break;
            }
        }
        gaps
    }

    /// Where two segments have sound in the same place of the WAV, of which the later one is heard.
    pub(crate) fn overlaps(&self, track: usize, layout: &Layout) -> Vec<OverlapReport> {
        let ssrc = |segment: usize| {
            let segment = self.timeline.segments().get(segment);
            format!("{:08x}", segment.map_or(0, |segment| segment.ssrc))
        };
        let overlap = |Overlap { frames, heard, covered }: Overlap| OverlapReport {
            start: seconds(frames.start, layout.rate),
            duration: seconds(frames.end - frames.start, layout.rate),
            heard: ssrc(heard),
            covered: ssrc(covered),
        };
        overlaps(self.sounds(track, layout), MAX_GAPS).into_iter().map(overlap).collect()
    }

    /// The stretches of sound of each segment: frames of the WAV.
    fn sounds(&self, track: usize, layout: &Layout) -> Vec<(Range<i64>, usize)> {
        let mut entries: Vec<&Entry> = self.entries.iter().filter(|entry| entry.codec.is_some()).collect();
        entries.sort_by_key(|entry| (entry.place.segment, entry.place.sequence));
        let usual = shortest_step(&entries);
        let mut sounds: Vec<(Range<i64>, usize)> = Vec::new();
        for segment in entries.chunk_by(|one, other| one.place.segment == other.place.segment) {
            let packet = Some(shortest_step(segment)).filter(|step| *step > 0).unwrap_or(usual);
            let mut stretches: Vec<Range<i64>> = Vec::new();
            for entry in segment {
                let Place { segment, timestamp, .. } = entry.place;
                let frame = |at| layout.frame_under(track, segment, at, timestamp);
                let (Some(from), Some(until)) = (frame(timestamp), frame(timestamp + packet)) else {
                    continue;
                };
                match stretches.last_mut() {
                    Some(last) if (last.start..=last.end).contains(&from) => last.end = last.end.max(until),
                    _ => stretches.push(from..until),
                }
            }
            let number = segment.first().map_or(0, |entry| entry.place.segment);
            sounds.extend(stretches.into_iter().map(|stretch| (stretch, number)));
        }
        sounds
    }

    /// Where nothing was sent because of one of these pauses, from and until in ns since 1970: frames of the WAV, in
    /// order. Neighbours are so by their places in the WAV: who speaks after a pause may be another source, or one that
    /// began anew.
    pub(crate) fn paused(&self, track: usize, layout: &Layout, pauses: &[(i64, i64)]) -> Vec<Range<i64>> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| (entry.place.segment, entry.place.sequence));
        let packet = shortest_step(&entries);
        let span = |entry: &&Entry| {
            let Place { segment, timestamp, .. } = entry.place;
            let frame = |at| layout.frame_under(track, segment, at, timestamp);
            Some((frame(timestamp)?..frame(timestamp + packet)?, entry.arrival))
        };
        let mut spans: Vec<(Range<i64>, i64)> = entries.iter().filter_map(span).collect();
        spans.sort_by_key(|(span, _)| (span.start, span.end));
        let silence = |pair: &[(Range<i64>, i64)]| match pair {
            [(before, left), (after, came_back)] => {
                let within = |(from, until): &(i64, i64)| *from < *came_back && *until > *left;
                let silence = before.end..after.start;
                (!silence.is_empty() && pauses.iter().any(within)).then_some(silence)
            }
            _ => None,
        };
        spans.windows(2).filter_map(silence).collect()
    }

    fn index(&mut self, header: &RtpHeader, at: u64, datagram: &Datagram) {
        let known = self.formats.get(&header.payload_type);
        let (codec, place) = match known {
            Some(format) if !is_silence(format) => {
                if let Slot::Vacant(slot) = self.received.entry(format.payload_type) {
                    slot.insert(format.clone());
                    if Codec::of(format).is_none() {
                        self.not_decoded = Some(format!("{} is not decoded", describe(format)));
                    }
                }
                let place = self.timeline.packet(header, format.clock_rate, datagram.arrival);
                (Codec::of(format), Some(place))
            }
            known => {
                if known.is_none() {
                    self.unknown_payload_type += 1;
                    self.not_decoded.get_or_insert_with(|| {
                        format!("payload type {} was not offered", header.payload_type)
                    });
                }
                (None, self.timeline.soundless_packet(header))
            }
        };
        if let Some(place) = place {
            self.entries.push(Entry {
                place,
                payload_type: header.payload_type,
                codec: codec.filter(|_| self.medium == "audio"),
                arrival: datagram.arrival,
                at,
                length: datagram.bytes.len().min(usize::from(u16::MAX)) as u16,
            });
        }
    }
}

/// `0 PCMU/8000`
pub(crate) fn describe(format: &PayloadFormat) -> String {
    let channels = format.channels.filter(|count| *count > 1).map(|count| format!("/{count}"));
    format!(
        "{} {}/{}{}",
        format.payload_type,
        format.encoding,
        format.clock_rate,
        channels.unwrap_or_default()
    )
}
