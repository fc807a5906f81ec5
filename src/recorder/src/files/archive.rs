//! The folder of one session.
//!
//! While the session runs, its files have names with `.partial` in them: `session.partial.wav` is playable at any
//! time, `audio-0.partial.rtpdump` holds what was received, `session.partial.json` who and what. At the end the WAV is
//! rendered anew from the packets where a late sender report or a late packet asks for it, and everything gets its
//! final name. A file that could not be completed keeps its partial name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use siprec_model::PayloadFormat;

use super::account::Account;
use super::render::Renderer;
use super::report::{Alignment, Channel, CutReport, SessionReport, StateReport, StreamReport, WavReport};
use super::track::{Datagram, Track};
use super::wav::Wav;
use crate::clock::{rfc3339, seconds};
use crate::media::layout::{Basis, Layout};
use crate::media::timeline::SECOND;

/// Two channels of the WAV; further audio streams are kept as RTP.
const MAX_CHANNELS: usize = 2;
/// How long the running file waits for packets that come late, in ns.
const PATIENCE: i64 = SECOND / 2;
/// The running file stands where it is while sender reports move it by less than this many ms.
const TOLERANCE_MS: i64 = 20;

/// Why a session's files cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// The files of one session.
pub(crate) struct Archive {
    folder: PathBuf,
    started: SystemTime,
    keep_rtp: bool,
    /// In the order in which they began, those of one offer by their m-lines; `None` for one that is not received.
    tracks: Vec<Option<Track>>,
    renderer: Option<Renderer>,
    account: Account,
    ladder: File,
    /// The pauses of each stream that are to be cut out.
    pauses: Option<Vec<Vec<(i64, i64)>>>,
    /// The sound without them.
    cut: Option<(Wav, Vec<CutReport>)>,
    /// The first error ended all writing.
    error: Option<String>,
}

impl Archive {
    /// Makes a new folder below `output`, named after the recording's id.
    ///
    /// # Errors
    /// [`FileError`] when the folder or a file in it cannot be made.
    pub(crate) fn create(
        output: &Path,
        id: &str,
        started: SystemTime,
        keep_rtp: bool,
    ) -> Result<Self, FileError> {
        let folder = new_folder(output, id)?;
        let path = folder.join("ladder.partial.txt");
        let ladder = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| FileError { action: "create", path, error })?;
        Ok(Self {
            account: Account::new(&folder),
            folder,
            started,
            keep_rtp,
            tracks: Vec::new(),
            renderer: None,
            ladder,
            pauses: None,
            cut: None,
            error: None,
        })
    }

    /// Where the files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What ended the writing, if anything did.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Begins a stream, or tells more of one that runs.
    pub(crate) fn stream(
        &mut self,
        index: usize,
        medium: &str,
        local: SocketAddr,
        formats: &[PayloadFormat],
    ) {
        if self.tracks.len() <= index {
            self.tracks.resize_with(index + 1, || None);
        }
        let path = self.folder.join(rtp_name(medium, index, true));
        let started = self.started;
        if let Some(slot @ None) = self.tracks.get_mut(index) {
            match Track::create(&path, medium, local, started) {
                Ok(track) => *slot = Some(track),
                Err(error) => return self.fail(FileError { action: "create", path, error }),
            }
        }
        if let Some(Some(track)) = self.tracks.get_mut(index) {
            track.learn(formats);
        }
    }

    /// Adds text to the ladder.
    pub(crate) fn ladder(&mut self, text: &str) {
        if self.error.is_none()
            && let Err(error) = self.ladder.write_all(text.as_bytes())
        {
            let path = self.folder.join("ladder.partial.txt");
            self.fail(FileError { action: "write", path, error });
        }
    }

    /// Stores datagrams, each with the index of its stream.
    pub(crate) fn store(&mut self, datagrams: &[(usize, Datagram)]) {
        if self.error.is_some() {
            return;
        }
        for (index, datagram) in datagrams {
            if let Some(Some(track)) = self.tracks.get_mut(*index) {
                track.store(datagram);
            }
        }
        for index in 0..self.tracks.len() {
            if let Some(Some(track)) = self.tracks.get_mut(index)
                && let Err(error) = track.flush()
            {
                let path = self.folder.join(rtp_name(&track.medium, index, true));
                return self.fail(FileError { action: "write", path, error });
            }
        }
    }

    /// Brings the playable file up to `now`, in ns since 1970.
    pub(crate) fn render(&mut self, now: i64) {
        if self.error.is_none()
            && let Err(error) = self.look().and_then(|()| self.advance(now - PATIENCE, false))
        {
            self.fail(error);
        }
    }

    /// Replaces `session.partial.json`.
    pub(crate) fn report(&mut self, report: &SessionReport) {
        if self.error.is_none()
            && let Err(error) = self.account.run(report)
        {
            self.fail(error);
        }
    }

    /// At the end, cuts out these pauses of each stream (from and until in ns since 1970), where all channels had one.
    pub(crate) fn cut_pauses(&mut self, pauses: Vec<Vec<(i64, i64)>>) {
        self.pauses = Some(pauses);
    }

    /// Completes all files and `report`. Unless everything could be written, the files that are incomplete keep their
    /// partial names and the report says why.
    pub(crate) fn finish(mut self, report: &mut SessionReport) {
        if self.error.is_none()
            && let Err(error) = self.look().and_then(|()| self.advance(i64::MAX, true))
        {
            self.fail(error);
        }
        if self.error.is_none()
            && let Err(error) = self.cut()
        {
            self.fail(error);
        }
        if self.error.is_none()
            && let Err(error) = self.rename_all()
        {
            self.fail(error);
        }
        self.describe(report);
        self.tell_failure(report);
        if let Err(error) = self.account.complete(report) {
            self.fail(error);
            self.tell_failure(report);
            // Where even that fails, the line of the session says it.
            let _ = self.account.end_in_place(report);
        }
    }

    /// Whether the session's folder is still where it was: files that were removed could be written for ever.
    fn look(&self) -> Result<(), FileError> {
        let gone = |error| FileError { action: "find", path: self.folder.clone(), error };
        let same = |path: &Path| -> io::Result<bool> {
            let (there, own) = (fs::metadata(path)?, self.ladder.metadata()?);
            Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
        };
        match same(&self.folder.join("ladder.partial.txt")) {
            Ok(true) => Ok(()),
            Ok(false) => Err(gone(io::Error::other("it was removed while the session ran"))),
            Err(error) => Err(gone(error)),
        }
    }

    /// A session whose files are not whole has failed, however it ended.
    fn tell_failure(&self, report: &mut SessionReport) {
        let Some(error) = &self.error else { return };
        report.error = Some(error.clone());
        if report.states.last().is_none_or(|last| last.state != "failed") {
            let at = rfc3339(SystemTime::now());
            report.states.push(StateReport { at, state: "failed".into(), reason: error.clone() });
        }
    }

    /// The indices of the streams that are channels of the WAV, left first.
    fn channels(&self) -> Vec<usize> {
        let audio = |track: &Option<Track>| track.as_ref().is_some_and(|track| track.medium == "audio");
        let indices =
            self.tracks.iter().enumerate().filter(|(_, track)| audio(track)).map(|(index, _)| index);
        indices.take(MAX_CHANNELS).collect()
    }

    fn advance(&mut self, until: i64, last: bool) -> Result<(), FileError> {
        let path = self.folder.join("session.partial.wav");
        let failed = |path: &Path, error| FileError { action: "write", path: path.into(), error };
        let channels = self.channels();
        let mut tracks: Vec<&mut Track> = Vec::new();
        for (index, track) in self.tracks.iter_mut().enumerate() {
            if channels.contains(&index) {
                tracks.extend(track.as_mut());
            }
        }
        let Some(rate) = tracks.iter().filter_map(|track| track.rate()).max() else { return Ok(()) };
        let timelines: Vec<_> = tracks.iter().map(|track| &track.timeline).collect();
        let layout = Layout::of(&timelines, rate);
        let count = tracks.len() as u16;
        let usable = self.renderer.as_mut().is_some_and(|renderer| {
            let tolerance = if last { 0 } else { i64::from(rate) * TOLERANCE_MS / 1000 };
            renderer.wav.channels() == count
                && renderer.layout.extend(&layout, tolerance)
                && !(last && renderer.late)
        });
        if usable && let Some(renderer) = &mut self.renderer {
            renderer.advance(&mut tracks, until).map_err(|error| failed(&path, error))?;
            if last {
                renderer.finish().map_err(|error| failed(&path, error))?;
            }
            if !(last && renderer.late) {
                return Ok(());
            }
        }
        // The running file stays as it is until the new one has taken its place.
        let next = self.folder.join("session.next.wav");
        let written = Renderer::create(&next, count, layout).and_then(|mut renderer| {
            renderer.advance(&mut tracks, until)?;
            if last {
                renderer.finish()?;
            }
            Ok(renderer)
        });
        let renderer = written.map_err(|error| {
            // What is begun has no use, and its room has.
            let _ = fs::remove_file(&next);
            failed(&next, error)
        })?;
        fs::rename(&next, &path).map_err(|error| FileError { action: "rename", path: next, error })?;
        self.renderer = Some(renderer);
        Ok(())
    }

    /// Replaces the sound file by one without what all channels paused.
    fn cut(&mut self) -> Result<(), FileError> {
        let (Some(pauses), Some(renderer)) = (&self.pauses, &self.renderer) else { return Ok(()) };
        let mut cuts: Option<Vec<Range<i64>>> = None;
        for (channel, index) in self.channels().into_iter().enumerate() {
            let Some(Some(track)) = self.tracks.get(index) else { continue };
            // A channel that never had anything has nothing to say of it.
            if track.entries().is_empty() {
                continue;
            }
            let own = pauses.get(index).map_or(&[][..], Vec::as_slice);
            let paused = track.paused(channel, &renderer.layout, own);
            cuts = Some(cuts.map_or(paused.clone(), |cuts| common(&cuts, &paused)));
        }
        let cuts: Vec<Range<u64>> = cuts
            .unwrap_or_default()
            .into_iter()
            .map(|cut| cut.start.max(0) as u64..cut.end.max(0) as u64)
            .collect();
        if cuts.is_empty() {
            return Ok(());
        }
        let next = self.folder.join("session.next.wav");
        let wav = renderer.wav.copy_without(&next, &cuts).map_err(|error| FileError {
            action: "write",
            path: next,
            error,
        })?;
        let rate = renderer.wav.rate();
        let told = cuts.iter().map(|cut| CutReport {
            start: seconds(cut.start as i64, rate),
            duration: seconds((cut.end - cut.start) as i64, rate),
        });
        let told = told.collect();
        self.rename("session.next.wav", "session.partial.wav")?;
        self.cut = Some((wav, told));
        Ok(())
    }

    fn rename_all(&mut self) -> Result<(), FileError> {
        if self.renderer.is_some() {
            self.rename("session.partial.wav", "session.wav")?;
        }
        self.rename("ladder.partial.txt", "ladder.txt")?;
        for (index, track) in self.tracks.iter().enumerate() {
            let Some(track) = track else { continue };
            let partial = rtp_name(&track.medium, index, true);
            if self.keeps(index, track) {
                self.rename(&partial, &rtp_name(&track.medium, index, false))?;
            } else {
                let path = self.folder.join(partial);
                fs::remove_file(&path).map_err(|error| FileError { action: "remove", path, error })?;
            }
        }
        Ok(())
    }

    /// Whether a stream's packets stay: when asked, and when the WAV does not have all of their sound.
    fn keeps(&self, index: usize, track: &Track) -> bool {
        let in_wav = self.channels().contains(&index) && track.not_decoded.is_none();
        self.keep_rtp || (!in_wav && !track.entries().is_empty()) || track.unknown_payload_type > 0
    }

    fn describe(&mut self, report: &mut SessionReport) {
        let partial = self.error.is_some();
        let whole = self.renderer.as_ref().map(|renderer| (&renderer.wav, Vec::new()));
        let cut = self.cut.as_ref().map(|(wav, cut)| (wav, cut.clone()));
        report.wav = cut.or(whole).map(|(wav, cut)| WavReport {
            file: if partial { "session.partial.wav" } else { "session.wav" }.into(),
            rate: wav.rate(),
            channels: wav.channels(),
            frames: wav.frames(),
            duration: seconds(wav.frames() as i64, wav.rate()),
            refused: wav.refused(),
            cut,
        });
        let channels = self.channels();
        for (index, track) in self.tracks.iter().enumerate() {
            let (Some(track), Some(stream)) = (track, report.streams.get_mut(index)) else { continue };
            let channel = channels.iter().position(|channel| *channel == index);
            self.describe_stream(index, channel, track, stream);
        }
    }

    fn describe_stream(
        &self,
        index: usize,
        channel: Option<usize>,
        track: &Track,
        stream: &mut StreamReport,
    ) {
        stream.channel = match channel {
            Some(0) => Some(Channel::Left),
            Some(_) => Some(Channel::Right),
            None => None,
        };
        stream.received_formats = track.received_formats();
        stream.unknown_payload_type = track.unknown_payload_type;
        stream.not_decoded.clone_from(&track.not_decoded);
        match (channel, &self.renderer) {
            (Some(channel), Some(renderer)) => {
                stream.gaps = track.gaps(channel, &renderer.layout);
                stream.overlaps = track.overlaps(channel, &renderer.layout);
                stream.alignment = alignment(renderer.layout.bases(channel));
            }
            _ => {
                let layout = Layout::of(&[&track.timeline], 1_000_000);
                stream.gaps = track.gaps(0, &layout);
                stream.overlaps = track.overlaps(0, &layout);
            }
        }
        let partial = self.error.is_some();
        stream.rtp_file =
            (partial || self.keeps(index, track)).then(|| rtp_name(&track.medium, index, partial));
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        let path = self.folder.join(from);
        fs::rename(&path, self.folder.join(to)).map_err(|error| FileError { action: "rename", path, error })
    }

    fn fail(&mut self, error: FileError) {
        self.error.get_or_insert_with(|| error.to_string());
    }
}

fn alignment(bases: impl Iterator<Item = Basis>) -> Option<Alignment> {
    bases
        .map(|basis| match basis {
            Basis::SenderReports => Alignment::SenderReports,
            Basis::Arrival => Alignment::Arrival,
        })
        .reduce(|all, one| if all == one { all } else { Alignment::Mixed })
}

/// What two lists of ranges, each in order, have in common.
fn common(left: &[Range<i64>], right: &[Range<i64>]) -> Vec<Range<i64>> {
    let both = |one: &Range<i64>| {
        let one = one.clone();
        right.iter().map(move |other| one.start.max(other.start)..one.end.min(other.end))
    };
    left.iter().flat_map(both).filter(|range| !range.is_empty()).collect()
}

fn rtp_name(medium: &str, index: usize, partial: bool) -> String {
    // The medium is a token of the peer's choice (RFC 8866 §5.14) and must not choose our file names.
    let medium = if matches!(medium, "audio" | "video") { medium } else { "media" };
    format!("{medium}-{index}{}.rtpdump", if partial { ".partial" } else { "" })
}

/// A folder that did not exist. The id comes from the network: only letters, digits, `-`, `_` and inner dots of it
/// remain, at most 100.
fn new_folder(output: &Path, id: &str) -> Result<PathBuf, FileError> {
    let safe: String = id
        .chars()
        .take(100)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' })
        .collect();
    let safe = safe.trim_matches('.');
    let base = if safe.is_empty() { "session" } else { safe };
    let mut number = 1u32;
    loop {
        let path = match number {
            1 => output.join(base),
            _ => output.join(format!("{base}.{number}")),
        };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < u32::MAX => number += 1,
            Err(error) => return Err(FileError { action: "create folder", path, error }),
        }
    }
}

#[cfg(test)]
mod tests;
