//! The media half of a session: its streams and its files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use siprec_model::Medium;
use siprec_sip::sdp::Direction;
use tokio::task::JoinHandle;

use crate::answer::{Line, TakenLine};
use crate::behaviour::OddCrypto;
use crate::clock;
use crate::config::RecorderConfig;
use crate::files::archive::{Archive, FileError};
use crate::files::report::{SessionReport, StreamReport};
use crate::files::track::Datagram;
use crate::media::receive::Manner;
use crate::media::rtcp::Feedback;
use crate::media::srtp::SrtpError;
use crate::stream::{Flow, Stream, TakeError};

/// How often packets go to the disk.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// The streams and files of one session.
pub(crate) struct Recording {
    address: IpAddr,
    manner: Manner,
    cut_pauses: bool,
    opened: SystemTime,
    streams: Vec<Stream>,
    /// For each m-line its present stream.
    lines: Vec<usize>,
    folder: Option<PathBuf>,
    files: Files,
    failure: Option<String>,
    /// Sequence number of the last full intra request.
    intra_requests: u8,
}

/// The archive is with this session, or with a thread that may wait for the disk.
enum Files {
    None,
    Idle(Box<Archive>),
    Busy(JoinHandle<Box<Archive>>),
}

impl Recording {
    /// Makes the session's folder, unless packets are only counted.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn open(
        config: &RecorderConfig,
        id: &str,
        address: IpAddr,
        ssrc: u32,
        started: SystemTime,
    ) -> Result<Self, FileError> {
        let manner = Manner {
            own_ssrc: ssrc,
            cname: format!("recorder@{address}"),
            keep: !config.count_only,
            reports: !config.behaviour.no_rtcp,
            deaf: config.behaviour.deaf,
            other_key: config.behaviour.odd_crypto == Some(OddCrypto::Key),
        };
        let mut recording = Self {
            address,
            manner,
            cut_pauses: config.cut_pauses,
            opened: SystemTime::now(),
            streams: Vec::new(),
            lines: Vec::new(),
            folder: None,
            files: Files::None,
            failure: None,
            intra_requests: 0,
        };
        if !config.count_only {
            let archive = Archive::create(&config.output, id, started, config.keep_rtp)?;
            recording.folder = Some(archive.folder().to_path_buf());
            recording.files = Files::Idle(Box::new(archive));
        }
        Ok(recording)
    }

    /// Receives what `lines` say. An m-line once begun keeps its ports; new ones get theirs. One that has changed its
    /// medium is another stream.
    ///
    /// # Errors
    /// When no ports are free, or secured media cannot be taken.
    pub(crate) async fn apply(&mut self, lines: &[Line]) -> Result<(), TakeError> {
        // What has come so far belongs to the formats so far.
        self.store().await;
        for (line, state) in lines.iter().enumerate() {
            let index = self.stream_of(line, state);
            let Some(stream) = self.streams.get_mut(index) else { continue };
            if let Line::Taken(taken) = state {
                let local = stream.take(taken, self.address, &self.manner)?;
                if let Files::Idle(archive) = &mut self.files {
                    archive.stream(index, taken.medium.as_str(), local, &taken.formats);
                }
            }
        }
        self.note(lines);
        Ok(())
    }

    /// Takes packets under the keys of these lines from now on.
    ///
    /// # Errors
    /// When secured media cannot be taken.
    pub(crate) fn secure(&mut self, lines: &[Line]) -> Result<(), SrtpError> {
        for (line, index) in lines.iter().zip(&self.lines) {
            if let (Line::Taken(taken), Some(stream)) = (line, self.streams.get_mut(*index)) {
                stream.secure(taken)?;
            }
        }
        Ok(())
    }

    /// Holds what no key opens from now on, because an offer of ours may be answered by new ones, or no longer.
    pub(crate) fn hold(&mut self, holds: bool) {
        for receiver in self.streams.iter().filter_map(Stream::receiver) {
            receiver.hold(holds);
        }
    }

    /// What has come that is not authentic, once for each burst, for people.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let streams = self.streams.iter().filter_map(|stream| Some((stream, stream.receiver()?.alarm()?)));
        streams.map(|(stream, alarm)| format!("m-line {}: {alarm}", stream.line())).collect()
    }

    /// Takes note of what flows from now on.
    pub(crate) fn note(&mut self, lines: &[Line]) {
        let now = SystemTime::now();
        for (line, state) in lines.iter().enumerate() {
            let stream = self.lines.get(line).and_then(|index| self.streams.get_mut(*index));
            let flow = match state {
                Line::Off(_) => Flow::Off,
                Line::Taken(taken) if taken.direction == Direction::RecvOnly => Flow::Active,
                Line::Taken(_) => Flow::Inactive,
            };
            if let Some(stream) = stream {
                stream.set_flow(flow, now);
            }
        }
    }

    /// The RTP port of an m-line: that of a move that is being offered, else that in use.
    pub(crate) fn port(&self, line: usize) -> Option<u16> {
        self.streams.get(*self.lines.get(line)?)?.port()
    }

    /// Takes other ports for all streams, to be offered.
    ///
    /// # Errors
    /// When none are free; then nothing has changed.
    pub(crate) fn prepare_move(&mut self) -> std::io::Result<()> {
        let address = self.address;
        let prepared = self.streams.iter_mut().try_for_each(|stream| stream.prepare_move(address));
        if prepared.is_err() {
            self.abandon_move();
        }
        prepared
    }

    /// The move was accepted.
    ///
    /// # Errors
    /// When the runtime cannot take the sockets.
    pub(crate) fn complete_move(&mut self) -> std::io::Result<()> {
        self.streams.iter_mut().try_for_each(Stream::complete_move)
    }

    /// The move was refused.
    pub(crate) fn abandon_move(&mut self) {
        self.streams.iter_mut().for_each(Stream::abandon_move);
    }

    /// Asks by RTCP for key frames of the video in `lines`, where their profile allows it.
    pub(crate) fn ask_keyframes(&mut self, lines: &[Line], by_loss: bool, by_intra: bool) {
        self.intra_requests = self.intra_requests.wrapping_add(1);
        for (line, state) in lines.iter().enumerate() {
            let Line::Taken(TakenLine { medium: Medium::Video, feedback, .. }) = state else { continue };
            let allowed = |name: &str| feedback.iter().any(|value| value.ends_with(name));
            let stream = self.lines.get(line).and_then(|index| self.streams.get(*index));
            let Some(receiver) = stream.and_then(Stream::receiver) else { continue };
            if by_loss && allowed("pli") {
                receiver.ask_keyframe(Feedback::PictureLoss);
            }
            if by_intra && allowed("fir") {
                receiver.ask_keyframe(Feedback::FullIntra(self.intra_requests));
            }
        }
    }

    /// Where the files are.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Why nothing more is written, where that is so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Brings what came since the last call to the disk, in another thread. Does nothing while that is still at the
    /// last call's work: then packets wait in bounded queues.
    pub(crate) async fn flush(
        &mut self,
        ladder: impl FnOnce() -> String,
        report: impl FnOnce() -> Option<SessionReport>,
    ) {
        if let Files::Busy(work) = &self.files
            && !work.is_finished()
        {
            return;
        }
        self.rest().await;
        let datagrams = self.collect();
        match std::mem::replace(&mut self.files, Files::None) {
            Files::Idle(mut archive) if self.failure.is_none() => {
                let (ladder, report) = (ladder(), report());
                self.files = Files::Busy(tokio::task::spawn_blocking(move || {
                    archive.ladder(&ladder);
                    archive.store(&datagrams);
                    archive.render(clock::nanoseconds(SystemTime::now()));
                    if let Some(report) = report {
                        archive.report(&report);
                    }
                    archive
                }));
            }
            other => self.files = other,
        }
    }

    /// Puts all streams into `report`, with their counters and parties.
    pub(crate) fn describe(&self, report: &mut SessionReport) {
        report.streams = self.streams.iter().map(|stream| stream.describe(self.opened)).collect();
        for party in &report.parties {
            let of_line = |stream: &&mut StreamReport| {
                party.stream == Some(stream.index) && stream.medium == Medium::Audio.as_str()
            };
            if let Some(stream) = report.streams.iter_mut().find(of_line) {
                stream.dn = Some(party.dn.clone());
            }
        }
    }

    /// Takes what has come, and receives no more.
    pub(crate) async fn stop(&mut self) {
        for stream in &mut self.streams {
            stream.stop().await;
        }
    }

    /// Completes the files and `report`.
    pub(crate) async fn finish(mut self, ladder: String, mut report: SessionReport) -> SessionReport {
        self.rest().await;
        self.describe(&mut report);
        let datagrams = self.collect();
        if let Files::Idle(mut archive) = self.files {
            let partial = report.clone();
            if self.cut_pauses {
                archive.cut_pauses(self.streams.iter().map(Stream::pauses).collect());
            }
            let work = tokio::task::spawn_blocking(move || {
                archive.ladder(&ladder);
                archive.store(&datagrams);
                archive.finish(&mut report);
                report
            });
            report = work.await.unwrap_or(SessionReport { error: Some(PANICKED.into()), ..partial });
        } else if let Some(failure) = self.failure {
            report.error.get_or_insert(failure);
        }
        report
    }

    /// Waits for the thread at work with the files.
    async fn rest(&mut self) {
        self.files = match std::mem::replace(&mut self.files, Files::None) {
            Files::Busy(work) => match work.await {
                Ok(archive) => {
                    self.failure = archive.error().map(str::to_owned);
                    Files::Idle(archive)
                }
                Err(_) => {
                    self.failure.get_or_insert_with(|| PANICKED.into());
                    Files::None
                }
            },
            other => other,
        };
    }

    /// Brings what came so far to the disk.
    async fn store(&mut self) {
        self.rest().await;
        let datagrams = self.collect();
        if let Files::Idle(mut archive) = std::mem::replace(&mut self.files, Files::None) {
            self.files = Files::Busy(tokio::task::spawn_blocking(move || {
                archive.store(&datagrams);
                archive
            }));
        }
        self.rest().await;
    }

    /// The stream of an m-line; a new one where it has none, or one of another medium.
    fn stream_of(&mut self, line: usize, state: &Line) -> usize {
        let fits = |stream: &Stream| match state {
            Line::Taken(taken) => stream.fits(taken.medium),
            Line::Off(_) => true,
        };
        let known = self.lines.get(line).copied();
        if let Some(index) = known.filter(|index| self.streams.get(*index).is_some_and(fits)) {
            return index;
        }
        if let Some(old) = known.and_then(|index| self.streams.get_mut(index)) {
            old.set_flow(Flow::Off, SystemTime::now());
        }
        let came_back = |stream: &Stream| stream.line() == line && fits(stream);
        let index = self.streams.iter().position(came_back).unwrap_or_else(|| {
            self.streams.push(Stream::new(line));
            self.streams.len() - 1
        });
        match self.lines.get_mut(line) {
            Some(slot) => *slot = index,
            None => self.lines.push(index),
        }
        index
    }

    fn collect(&self) -> Vec<(usize, Datagram)> {
        let streams = self.streams.iter().enumerate();
        let received = streams.filter_map(|(index, stream)| Some((index, stream.receiver()?.take())));
        received.flat_map(|(index, taken)| taken.into_iter().map(move |datagram| (index, datagram))).collect()
    }
}

/// What a session says whose files met a fault of this program.
const PANICKED: &str = "internal error while writing the files";
