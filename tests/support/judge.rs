//! Which packets of a call the recordings of it hold, sample for sample, whatever became of the recorders.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::rtp::{Packet, SAMPLES_PER_PACKET};
use crate::speech::decoded;
use crate::wav;

/// So many samples are enough to know a packet by.
const START: usize = 16;

/// What the recordings of a call have of what was said.
#[derive(Default)]
pub struct Verdict {
    /// The numbers of the packets that no recording has, by party.
    pub missing: [Vec<usize>; 2],
    /// Packets that stand in a recording where they were not said.
    pub displaced: usize,
    /// How many recordings have sound.
    pub recordings: usize,
}

impl Verdict {
    /// Looks through every session's folder below these folders, complete or not.
    ///
    /// # Errors
    /// When a recording cannot be read, or is no recording of a call of two parties at 8000 Hz.
    pub fn of(said: &[Vec<Packet>; 2], folders: &[&Path]) -> Result<Self> {
        let mut verdict = Self::default();
        let mut found = [BTreeSet::new(), BTreeSet::new()];
        for file in folders.iter().flat_map(|folder| recordings(folder)) {
            let (rate, channels) = wav::channels(&file).with_context(|| file.display().to_string())?;
            ensure!(rate == 8000 && channels.len() <= 2, "{}: {rate} Hz", file.display());
            verdict.recordings += 1;
            for ((channel, said), found) in channels.iter().zip(said).zip(&mut found) {
                let places = places(channel, said);
                verdict.displaced += displaced(&places);
                found.extend(places.into_iter().map(|(number, _)| number));
            }
        }
        for ((missing, said), found) in verdict.missing.iter_mut().zip(said).zip(&found) {
            *missing = (0..said.len()).filter(|number| !found.contains(number)).collect();
        }
        Ok(verdict)
    }

    /// Samples that no recording has, of both parties.
    pub fn lost_samples(&self) -> usize {
        self.missing.iter().map(Vec::len).sum::<usize>() * SAMPLES_PER_PACKET
    }

    /// Insists that every sample is recorded, where it was said.
    ///
    /// # Errors
    /// When not.
    pub fn ensure_whole(&self) -> Result<()> {
        let ranges = self.missing.each_ref().map(|missing| ranges(missing));
        ensure!(self.lost_samples() == 0, "these packets are in no recording: {ranges:?}");
        ensure!(self.displaced == 0, "{} packets are displaced", self.displaced);
        Ok(())
    }
}

/// The files with sound below a recorder's folder.
fn recordings(folder: &Path) -> Vec<std::path::PathBuf> {
    let sessions = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let sound = |session: std::path::PathBuf| {
        ["session.wav", "session.partial.wav"]
            .map(|name| session.join(name))
            .into_iter()
            .find(|file| file.exists())
    };
    sessions.filter_map(sound).collect()
}

/// Where packets stand in a channel, by their numbers.
fn places(channel: &[i16], said: &[Packet]) -> Vec<(usize, usize)> {
    let sound: Vec<_> = said.iter().map(|packet| decoded(std::slice::from_ref(packet))).collect();
    let starts: HashMap<_, _> =
        sound.iter().enumerate().map(|(number, sound)| (&sound[..START], number)).collect();
    let here = |(at, window)| {
        let number = *starts.get(window)?;
        channel[at..].starts_with(&sound[number]).then_some((number, at))
    };
    channel.windows(START).enumerate().filter_map(here).collect()
}

/// How many stand otherwise than most of them.
fn displaced(places: &[(usize, usize)]) -> usize {
    let mut offsets: HashMap<isize, usize> = HashMap::new();
    for (number, at) in places {
        *offsets.entry(*at as isize - (number * SAMPLES_PER_PACKET) as isize).or_default() += 1;
    }
    places.len() - offsets.values().max().copied().unwrap_or(0)
}

/// Numbers in a row, as the first and the last of them.
pub fn ranges(numbers: &[usize]) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}
