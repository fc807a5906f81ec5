//! A 16-bit PCM WAV file that is written anywhere, channel by channel, and is playable at every moment.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER: u64 = 44;
/// Frames that are copied at once.
const BLOCK: usize = 1 << 16;
/// RIFF sizes have 32 bits.
const MAX_DATA: u64 = u32::MAX as u64 - HEADER;

/// An open WAV file.
#[derive(Debug)]
pub(crate) struct Wav {
    file: File,
    channels: u16,
    rate: u32,
    /// Frames in the data chunk.
    frames: u64,
    /// Samples that had no place in the file.
    refused: u64,
}

impl Wav {
    /// Creates the file, or empties it, and writes a header for no sound.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn create(path: &Path, channels: u16, rate: u32) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let wav = Self { file, channels: channels.max(1), rate, frames: 0, refused: 0 };
        wav.update_header()?;
        Ok(wav)
    }

    /// Puts samples into one channel from frame `at` on. What is beyond 4 GiB is counted and left out. Frames that
    /// were never written are silence.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write(&mut self, channel: u16, at: u64, samples: &[i16]) -> io::Result<()> {
        let frame_bytes = u64::from(self.channels) * 2;
        let room = (MAX_DATA / frame_bytes).saturating_sub(at).min(samples.len() as u64) as usize;
        let (samples, refused) = samples.split_at(room);
        self.refused += refused.len() as u64;
        if samples.is_empty() || channel >= self.channels {
            return Ok(());
        }
        let mut block = vec![0u8; samples.len() * frame_bytes as usize];
        let offset = HEADER + at * frame_bytes;
        let known = (self.frames.saturating_sub(at) * frame_bytes).min(block.len() as u64) as usize;
        if let Some(known) = block.get_mut(..known) {
            self.file.read_exact_at(known, offset)?;
        }
        for (frame, sample) in block.chunks_exact_mut(frame_bytes as usize).zip(samples) {
            if let Some(place) =
                frame.get_mut(usize::from(channel) * 2..).and_then(|rest| rest.first_chunk_mut())
            {
                *place = sample.to_le_bytes();
            }
        }
        self.file.write_all_at(&block, offset)?;
        self.frames = self.frames.max(at + samples.len() as u64);
        Ok(())
    }

    /// Makes the header tell what the file holds now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn update_header(&self) -> io::Result<()> {
        let block_align = self.channels * 2;
        let data = (self.frames * u64::from(block_align)) as u32;
        let mut header = Vec::with_capacity(HEADER as usize);
        header.extend(b"RIFF");
        header.extend((data + 36).to_le_bytes());
        header.extend(b"WAVEfmt ");
        header.extend(16u32.to_le_bytes());
        header.extend(1u16.to_le_bytes());
        header.extend(self.channels.to_le_bytes());
        header.extend(self.rate.to_le_bytes());
        header.extend((self.rate * u32::from(block_align)).to_le_bytes());
        header.extend(block_align.to_le_bytes());
        header.extend(16u16.to_le_bytes());
        header.extend(b"data");
        header.extend(data.to_le_bytes());
        self.file.write_all_at(&header, 0)
    }

    /// Updates the header and waits until the disk has the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.update_header()?;
        self.file.sync_all()
    }

    /// Writes the file again at `path` without these frames, which are in order and do not overlap.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn copy_without(&self, path: &Path, cuts: &[Range<u64>]) -> io::Result<Self> {
        let mut copy = Self::create(path, self.channels, self.rate)?;
        let frame_bytes = u64::from(self.channels) * 2;
        let ends = cuts.iter().map(|cut| cut.start.min(self.frames)).chain([self.frames]);
        let begins = [0].into_iter().chain(cuts.iter().map(|cut| cut.end.min(self.frames)));
        let mut block = vec![0u8; BLOCK * usize::from(self.channels) * 2];
        for (begin, end) in begins.zip(ends) {
            let mut at = begin;
            while at < end {
                let frames = (end - at).min(BLOCK as u64);
                let bytes = block.get_mut(..(frames * frame_bytes) as usize).unwrap_or_default();
                self.file.read_exact_at(bytes, HEADER + at * frame_bytes)?;
                copy.file.write_all_at(bytes, HEADER + copy.frames * frame_bytes)?;
                copy.frames += frames;
                at += frames;
            }
        }
        copy.refused = self.refused;
        copy.finish()?;
        Ok(copy)
    }

    /// Frames in the file.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames per second.
    pub(crate) fn rate(&self) -> u32 {
        self.rate
    }

    /// Samples in a frame.
    pub(crate) fn channels(&self) -> u16 {
        self.channels
    }

    /// Samples that were left out because the file would pass 4 GiB.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }
}

/// The sound of a 16-bit PCM WAV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WavSound {
    /// Frames per second.
    pub rate: u32,
    /// The samples of each channel, all of one length.
    pub channels: Vec<Vec<i16>>,
}

impl WavSound {
    /// Reads a file. A data chunk that is shorter than its header says is read as far as it goes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] when it is not 16-bit PCM in a WAV, else what the file system says.
    pub fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        Self::parse(&bytes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is no 16-bit PCM WAV", path.display()))
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut chunks = bytes.strip_prefix(b"RIFF")?.get(4..)?.strip_prefix(b"WAVE")?;
        let mut format = None;
        loop {
            let (kind, rest) = chunks.split_first_chunk::<4>()?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length) as usize;
            let body = rest.get(..length).unwrap_or(rest);
            match (kind, format) {
                (b"fmt ", _) => {
                    let [1, 0, channels, 0, r0, r1, r2, r3, _, _, _, _, _, _, 16, 0] =
                        *body.first_chunk::<16>()?
                    else {
                        return None;
                    };
                    format = Some((usize::from(channels), u32::from_le_bytes([r0, r1, r2, r3])));
                }
                (b"data", Some((count @ 1.., rate))) => {
                    let mut channels = vec![Vec::with_capacity(body.len() / 2 / count); count];
                    for frame in body.chunks_exact(count * 2) {
                        for (channel, sample) in channels.iter_mut().zip(frame.chunks_exact(2)) {
                            channel.extend(sample.first_chunk().map(|sample| i16::from_le_bytes(*sample)));
                        }
                    }
                    return Some(Self { rate, channels });
                }
                _ => {}
            }
            chunks = rest.get(length + length % 2..)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_written_apart_and_out_of_order_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut wav = Wav::create(&path, 2, 8000).unwrap();
        wav.write(1, 3, &[30, 31]).unwrap();
        wav.write(0, 0, &[1, 2, 3, 4]).unwrap();
        wav.write(1, 1, &[29]).unwrap();
        wav.finish().unwrap();
        let sound = WavSound::read(&path).unwrap();
        assert_eq!(sound.rate, 8000);
        assert_eq!(sound.channels, [[1, 2, 3, 4, 0], [0, 29, 0, 30, 31]]);
    }

    #[test]
    fn a_file_that_was_not_finished_is_playable_up_to_the_last_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let mut wav = Wav::create(&path, 1, 8000).unwrap();
        assert_eq!(WavSound::read(&path).unwrap().channels, [Vec::<i16>::new()]);
        wav.write(0, 0, &[5; 100]).unwrap();
        wav.update_header().unwrap();
        wav.write(0, 100, &[6; 100]).unwrap();
        std::mem::forget(wav);
        assert_eq!(WavSound::read(&path).unwrap().channels, [vec![5; 100]]);
    }

    #[test]
    fn what_passes_four_gigabytes_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut wav = Wav::create(&folder.path().join("a.wav"), 2, 8000).unwrap();
        wav.write(0, MAX_DATA / 4 + 1, &[1; 10]).unwrap();
        assert_eq!((wav.refused(), wav.frames()), (10, 0));
    }
}
