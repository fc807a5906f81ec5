//! RTP to sound with GStreamer's own elements, in the calling thread: no pipeline, no queue, no clock.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use super::codec::Codec;
use super::timeline::{SECOND, scale};

/// What stands in the way of decoding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// A GStreamer plugin is not installed.
    #[error("GStreamer element {0} is missing")]
    ElementMissing(&'static str),
    /// The elements do not work together.
    #[error("decoder: {0}")]
    Element(String),
}

impl From<gst::glib::BoolError> for DecodeError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Element(error.to_string())
    }
}

/// Decoded sound, one channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chunk {
    /// Media time of the first sample in ns, as given to [`Decoder::push`].
    pub(crate) time: i64,
    pub(crate) samples: Vec<i16>,
}

/// Buffer times must not be negative; media times may.
const OFFSET: i64 = 100_000 * SECOND;

/// Depayloader, decoder and converter of one payload type.
pub(crate) struct Decoder {
    input: gst::Pad,
    elements: Vec<gst::Element>,
    _output: gst::Pad,
    decoded: Arc<Mutex<Vec<Chunk>>>,
}

impl Decoder {
    /// A decoder that gives one channel at `rate` Hz.
    ///
    /// # Errors
    /// [`DecodeError::ElementMissing`] when GStreamer lacks a plugin for this codec.
    pub(crate) fn new(codec: Codec, payload_type: u8, rate: u32) -> Result<Self, DecodeError> {
        let mut names = codec.elements().to_vec();
        names.push("audioconvert");
        if codec.rate() != rate {
            names.push("audioresample");
        }
        names.push("capsfilter");
        let elements = names.into_iter().map(element).collect::<Result<Vec<_>, _>>()?;
        if let Some(filter) = elements.last() {
            filter.set_property("caps", output_caps(rate));
        }
        for pair in elements.windows(2) {
            if let [upstream, downstream] = pair {
                upstream.link(downstream)?;
            }
        }
        let decoded = Arc::new(Mutex::new(Vec::new()));
        let input = gst::Pad::builder(gst::PadDirection::Src).build();
        let output = output_pad(Arc::clone(&decoded));
        let missing = || DecodeError::Element("no pad to link".into());
        let first = elements.first().and_then(|element| element.static_pad("sink")).ok_or_else(missing)?;
        let last = elements.last().and_then(|element| element.static_pad("src")).ok_or_else(missing)?;
        let linking = |error: gst::PadLinkError| DecodeError::Element(error.to_string());
        input.link(&first).map_err(linking)?;
        last.link(&output).map_err(linking)?;
        let decoder = Self { input, elements, _output: output, decoded };
        decoder.start(codec, payload_type)?;
        Ok(decoder)
    }

    /// Decodes an RTP packet whose first sample has media time `time` in ns.
    ///
    /// # Errors
    /// [`DecodeError::Element`] when the elements cannot go on. A packet that only cannot be decoded is silence.
    pub(crate) fn push(&mut self, packet: Vec<u8>, time: i64) -> Result<(), DecodeError> {
        let Ok(time) = u64::try_from(time + OFFSET) else { return Ok(()) };
        let mut buffer = gst::Buffer::from_mut_slice(packet);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(time));
        }
        match self.input.push(buffer) {
            Ok(_) => Ok(()),
            Err(error) => Err(DecodeError::Element(error.to_string())),
        }
    }

    /// What was decoded since the last call, in order.
    pub(crate) fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut *self.decoded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the elements give up what they hold back, and returns it.
    pub(crate) fn finish(mut self) -> Vec<Chunk> {
        self.input.push_event(gst::event::Eos::new());
        self.take()
    }

    fn start(&self, codec: Codec, payload_type: u8) -> Result<(), DecodeError> {
        for element in self.elements.iter().rev() {
            element
                .set_state(gst::State::Playing)
                .map_err(|_| DecodeError::Element(format!("{} does not start", element.name())))?;
        }
        self._output.set_active(true)?;
        self.input.set_active(true)?;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(gst::ClockTime::ZERO);
        for event in [
            gst::event::StreamStart::new("recorder"),
            gst::event::Caps::new(&rtp_caps(codec, payload_type)),
            gst::event::Segment::new(&segment),
        ] {
            if !self.input.push_event(event) {
                return Err(DecodeError::Element(format!("{codec:?} is not accepted")));
            }
        }
        Ok(())
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        for element in &self.elements {
            // An element that does not stop is dropped all the same.
            let _ = element.set_state(gst::State::Null);
        }
    }
}

fn element(name: &'static str) -> Result<gst::Element, DecodeError> {
    gst::ElementFactory::make(name).build().map_err(|_| DecodeError::ElementMissing(name))
}

fn output_caps(rate: u32) -> gst::Caps {
    gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", rate as i32)
        .field("channels", 1i32)
        .build()
}

fn rtp_caps(codec: Codec, payload_type: u8) -> gst::Caps {
    let (encoding, channels) = codec.caps_fields();
    let mut caps = gst::Caps::builder("application/x-rtp")
        .field("media", "audio")
        .field("encoding-name", encoding)
        .field("clock-rate", codec.clock_rate() as i32)
        .field("payload", i32::from(payload_type));
    if let Some(channels) = channels {
        caps = caps.field("channels", i32::from(channels));
    }
    caps.build()
}

fn output_pad(decoded: Arc<Mutex<Vec<Chunk>>>) -> gst::Pad {
    gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| {
            let time = buffer.pts().map_or(0, |time| time.nseconds() as i64) - OFFSET;
            let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            let samples = map
                .chunks_exact(2)
                .filter_map(|pair| pair.first_chunk().map(|bytes| i16::from_le_bytes(*bytes)));
            let chunk = Chunk { time, samples: samples.collect() };
            decoded.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build()
}

/// The frame, relative to media time 0, at which a chunk begins.
pub(crate) fn first_frame(chunk: &Chunk, rate: u32) -> i64 {
    scale(chunk.time, i64::from(rate), SECOND as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn packet(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(7u32.to_be_bytes());
        packet.extend(payload);
        packet
    }

    #[test]
    fn pcmu_is_exact_and_a_gap_stays_a_gap() {
        gst::init().unwrap();
        let mut decoder = Decoder::new(Codec::Pcmu, 0, 8000).unwrap();
        let ramp: Vec<u8> = (0..160).map(|value| value as u8).collect();
        decoder.push(packet(0, 1, 160, &ramp), 20 * MS).unwrap();
        decoder.push(packet(0, 2, 320, &ramp), 40 * MS).unwrap();
        decoder.push(packet(0, 5, 800, &ramp), 100 * MS).unwrap();
        let chunks = decoder.finish();
        let places: Vec<_> =
            chunks.iter().map(|chunk| (first_frame(chunk, 8000), chunk.samples.len())).collect();
        assert_eq!(places, [(160, 160), (320, 160), (800, 160)]);
        // ITU-T G.711, table 2a: code 0 is the most negative value, 0x7f is minus zero.
        assert_eq!((chunks[0].samples[0], chunks[0].samples[0x7f]), (-32124, 0));
    }

    #[test]
    fn l16_stereo_becomes_one_channel() {
        gst::init().unwrap();
        let mut decoder = Decoder::new(Codec::L16 { rate: 16000, channels: 2 }, 96, 16000).unwrap();
        decoder.push(packet(96, 1, 0, &[0x01, 0x00, 0x01, 0x00, 0x02, 0x00, 0x02, 0x00]), 0).unwrap();
        assert_eq!(decoder.finish()[0].samples, [0x100, 0x200]);
    }

    #[test]
    fn a_slower_codec_is_resampled_in_place() {
        gst::init().unwrap();
        let mut decoder = Decoder::new(Codec::Pcmu, 0, 16000).unwrap();
        for index in 0..10u16 {
            let time = i64::from(index) * 20 * MS;
            decoder.push(packet(0, index, u32::from(index) * 160, &[0x20; 160]), time).unwrap();
        }
        let chunks = decoder.finish();
        assert_eq!(first_frame(&chunks[0], 16000), 0);
        let length = chunks.iter().map(|chunk| chunk.samples.len()).sum::<usize>();
        assert!(length.abs_diff(3200) <= 1, "{length}");
    }

    #[test]
    fn rubbish_in_a_packet_is_silence_not_the_end() {
        gst::init().unwrap();
        let mut decoder = Decoder::new(Codec::Opus, 96, 48000).unwrap();
        for sequence in 0..20u16 {
            let rubbish: Vec<u8> =
                (0..60).map(|byte| ((u16::from(byte as u8) * 37) ^ (sequence * 91)) as u8).collect();
            let time = i64::from(sequence) * 20 * MS;
            decoder.push(packet(96, sequence, u32::from(sequence) * 960, &rubbish), time).unwrap();
        }
    }
}
