//! The sound of a session's streams, put together in one WAV.
//!
//! The same renderer serves the file that is playable while the session runs, where it advances with what has come so
//! far, and the final file, where it runs once over everything. It goes from the packets on disk to the WAV, so it
//! can begin anew at any time: when a sender report shows that a stream stands elsewhere, when a packet comes too
//! late for its place in the decoder, or when a codec needs a higher rate.

use std::io;
use std::path::Path;

use super::track::{Entry, Track};
use super::wav::Wav;
use crate::media::decode::{Chunk, Decoder, first_frame};
use crate::media::layout::Layout;
use crate::media::timeline::{SECOND, scale};

/// Samples gathered before they are written.
const BLOCK: usize = 8192;

/// A WAV in the making.
pub(crate) struct Renderer {
    pub(crate) layout: Layout,
    pub(crate) wav: Wav,
    voices: Vec<Voice>,
    /// A packet was passed over, because younger ones had been decoded before it.
    pub(crate) late: bool,
}

/// One stream's way to one channel.
#[derive(Default)]
struct Voice {
    /// Entries of the track that were looked at.
    done: usize,
    /// Segment and sequence number of the packet decoded last.
    last: Option<(usize, i64)>,
    decoder: Option<Running>,
    block: Block,
}

/// A decoder at work in one segment.
struct Running {
    segment: usize,
    payload_type: u8,
    /// Timestamp at the decoder's media time 0.
    reference: i64,
    clock_rate: u32,
    decoder: Decoder,
}

/// Contiguous samples that are not yet in the file.
#[derive(Default)]
struct Block {
    at: i64,
    samples: Vec<i16>,
}

impl Renderer {
    /// Begins a WAV at `path` with one channel for each of `channels` tracks.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn create(path: &Path, channels: u16, layout: Layout) -> io::Result<Self> {
        let wav = Wav::create(path, channels, layout.rate)?;
        let voices = (0..channels).map(|_| Voice::default()).collect();
        Ok(Self { layout, wav, voices, late: false })
    }

    /// Renders the packets of `tracks` (one for each channel, each with its index in the layout) that arrived up to
    /// `until`, in ns since 1970, and makes the file playable up to there.
    ///
    /// # Errors
    /// Those of the file system. What cannot be decoded is noted in the track and left silent.
    pub(crate) fn advance(&mut self, tracks: &mut [&mut Track], until: i64) -> io::Result<()> {
        for (channel, track) in tracks.iter_mut().enumerate() {
            let Some(voice) = self.voices.get_mut(channel) else { break };
            let fresh = track.entries().get(voice.done..).unwrap_or_default();
            let mut due: Vec<Entry> =
                fresh.iter().take_while(|entry| entry.arrival <= until).copied().collect();
            voice.done += due.len();
            due.sort_by_key(|entry| (entry.place.segment, entry.place.sequence));
            for entry in &due {
                let key = (entry.place.segment, entry.place.sequence);
                if voice.last.is_some_and(|last| key <= last) {
                    self.late |= voice.last != Some(key);
                    continue;
                }
                voice.last = Some(key);
                let mut target = Target { channel: channel as u16, layout: &self.layout, wav: &mut self.wav };
                voice.play(track, entry, &mut target)?;
            }
            let mut target = Target { channel: channel as u16, layout: &self.layout, wav: &mut self.wav };
            voice.block.write(&mut target)?;
        }
        self.wav.update_header()
    }

    /// Lets the decoders give what they hold back and ends the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        for (channel, voice) in self.voices.iter_mut().enumerate() {
            let mut target = Target { channel: channel as u16, layout: &self.layout, wav: &mut self.wav };
            voice.end_decoder(&mut target)?;
            voice.block.write(&mut target)?;
        }
        self.wav.finish()
    }
}

/// Where a voice's samples go.
struct Target<'a> {
    channel: u16,
    layout: &'a Layout,
    wav: &'a mut Wav,
}

impl Voice {
    fn play(&mut self, track: &mut Track, entry: &Entry, target: &mut Target<'_>) -> io::Result<()> {
        let Some(codec) = entry.codec else { return Ok(()) };
        let fits = |running: &Running| {
            running.segment == entry.place.segment && running.payload_type == entry.payload_type
        };
        if !self.decoder.as_ref().is_some_and(fits) {
            self.end_decoder(target)?;
            match Decoder::new(codec, entry.payload_type, target.layout.rate) {
                Ok(decoder) => {
                    self.decoder = Some(Running {
                        segment: entry.place.segment,
                        payload_type: entry.payload_type,
                        reference: entry.place.timestamp,
                        clock_rate: codec.clock_rate(),
                        decoder,
                    });
                }
                Err(error) => {
                    track.not_decoded = Some(error.to_string());
                    return Ok(());
                }
            }
        }
        let packet = track.packet(entry)?;
        let outcome = self.decoder.as_mut().map(|running| {
            let elapsed = entry.place.timestamp - running.reference;
            let pushed = running.decoder.push(packet, scale(elapsed, SECOND, running.clock_rate));
            (pushed, running.decoder.take())
        });
        if let Some((pushed, chunks)) = outcome {
            self.place(chunks, target)?;
            if let Err(error) = pushed {
                // A decoder that gave up is replaced at the next packet.
                track.not_decoded = Some(error.to_string());
                self.decoder = None;
            }
        }
        Ok(())
    }

    fn end_decoder(&mut self, target: &mut Target<'_>) -> io::Result<()> {
        let Some(Running { segment, reference, clock_rate, decoder, .. }) = self.decoder.take() else {
            return Ok(());
        };
        let chunks = decoder.finish();
        self.put(chunks, segment, reference, clock_rate, target)
    }

    fn place(&mut self, chunks: Vec<Chunk>, target: &mut Target<'_>) -> io::Result<()> {
        let Some((segment, reference, clock_rate)) =
            self.decoder.as_ref().map(|running| (running.segment, running.reference, running.clock_rate))
        else {
            return Ok(());
        };
        self.put(chunks, segment, reference, clock_rate, target)
    }

    /// Puts decoded sound where its timestamp says. The sample at the decoder's reference is looked up in the layout
    /// under the anchor that holds at the chunk's own timestamp; from there on samples count, so that neighbouring
    /// chunks join without a seam.
    fn put(
        &mut self,
        chunks: Vec<Chunk>,
        segment: usize,
        reference: i64,
        clock_rate: u32,
        target: &mut Target<'_>,
    ) -> io::Result<()> {
        let rate = target.layout.rate;
        for chunk in chunks {
            let timestamp = reference + scale(chunk.time, i64::from(clock_rate), SECOND as u32);
            let Some(at) = target.layout.frame_under(target.channel.into(), segment, reference, timestamp)
            else {
                continue;
            };
            self.block.append(at + first_frame(&chunk, rate), chunk.samples, target)?;
        }
        Ok(())
    }
}

impl Block {
    fn append(&mut self, at: i64, samples: Vec<i16>, target: &mut Target<'_>) -> io::Result<()> {
        if at != self.at + self.samples.len() as i64 || self.samples.len() >= BLOCK {
            self.write(target)?;
            self.at = at;
        }
        self.samples.extend(samples);
        Ok(())
    }

    fn write(&mut self, target: &mut Target<'_>) -> io::Result<()> {
        // What stands before the first frame comes from a packet that the layout did not know yet; the next layout
        // does.
        let cut = (-self.at).clamp(0, self.samples.len() as i64);
        if let Some(samples) = self.samples.get(cut as usize..) {
            target.wav.write(target.channel, (self.at + cut).max(0) as u64, samples)?;
        }
        self.at += self.samples.len() as i64;
        self.samples.clear();
        Ok(())
    }
}
