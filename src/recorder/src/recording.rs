//! The media half of a session: its streams and its files.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;

use crate::answer::{Line, TakenLine};
use crate::clock;
use crate::config::RecorderConfig;
use crate::files::archive::{Archive, FileError};
use crate::files::report::{SessionReport, SourceReport, StreamReport};
use crate::files::track::{Datagram, describe};
use crate::media::receive::{Account, Ports, Receiver};

/// How often packets go to the disk.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_millis(500);

/// The streams and files of one session.
pub(crate) struct Recording {
    address: IpAddr,
    count_only: bool,
    ssrc: u32,
    streams: Vec<Stream>,
    folder: Option<PathBuf>,
    files: Files,
    failure: Option<String>,
}

/// One m-line.
struct Stream {
    receiver: Option<Receiver>,
    report: StreamReport,
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
        let mut recording = Self {
            address,
            count_only: config.count_only,
            ssrc,
            streams: Vec::new(),
            folder: None,
            files: Files::None,
            failure: None,
        };
        if !config.count_only {
            let archive = Archive::create(&config.output, id, started, config.keep_rtp)?;
            recording.folder = Some(archive.folder().to_path_buf());
            recording.files = Files::Idle(Box::new(archive));
        }
        Ok(recording)
    }

    /// Receives what `lines` say. A stream once begun keeps its ports; new ones get theirs.
    ///
    /// # Errors
    /// When no ports are free.
    pub(crate) async fn apply(&mut self, lines: &[Line]) -> std::io::Result<()> {
        self.rest().await;
        for (index, line) in lines.iter().enumerate() {
            if self.streams.len() <= index {
                let report = StreamReport { index, ..StreamReport::default() };
                self.streams.push(Stream { receiver: None, report });
            }
            let Line::Taken(line) = line else { continue };
            let Some(stream) = self.streams.get_mut(index) else { continue };
            let local = stream.take(line, self.address, self.ssrc, self.count_only)?;
            if let Files::Idle(archive) = &mut self.files {
                archive.stream(index, line.medium.as_str(), local, &line.formats);
            }
        }
        Ok(())
    }

    /// The RTP port of an m-line.
    pub(crate) fn port(&self, index: usize) -> Option<u16> {
        Some(self.streams.get(index)?.receiver.as_ref()?.local().port())
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
        report.streams = self.streams.iter().map(Stream::describe).collect();
        for party in &report.parties {
            if let Some(stream) = party.stream.and_then(|index| report.streams.get_mut(index)) {
                stream.dn = Some(party.dn.clone());
            }
        }
    }

    /// Stops receiving, completes the files and `report`.
    pub(crate) async fn finish(mut self, ladder: String, mut report: SessionReport) -> SessionReport {
        for stream in &mut self.streams {
            if let Some(receiver) = &mut stream.receiver {
                receiver.stop().await;
            }
        }
        self.rest().await;
        self.describe(&mut report);
        let datagrams = self.collect();
        if let Files::Idle(mut archive) = self.files {
            let partial = report.clone();
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

    fn collect(&self) -> Vec<(usize, Datagram)> {
        let streams = self.streams.iter().enumerate();
        let received = streams.filter_map(|(index, stream)| Some((index, stream.receiver.as_ref()?.take())));
        received.flat_map(|(index, taken)| taken.into_iter().map(move |datagram| (index, datagram))).collect()
    }
}

/// What a session says whose files met a fault of this program.
const PANICKED: &str = "internal error while writing the files";

impl Stream {
    fn take(
        &mut self,
        line: &TakenLine,
        address: IpAddr,
        ssrc: u32,
        count_only: bool,
    ) -> std::io::Result<SocketAddr> {
        let receiver = match self.receiver.take() {
            Some(receiver) => receiver,
            None => {
                let cname = format!("recorder@{address}");
                Receiver::start(Ports::bind(address, line.mux)?, ssrc, cname, count_only)?
            }
        };
        receiver
            .describe(line.formats.iter().map(|format| (format.payload_type, format.clock_rate)), line.rtcp);
        let local = receiver.local();
        self.receiver = Some(receiver);
        self.report.medium = line.medium.to_string();
        self.report.label.clone_from(&line.label);
        self.report.local = Some(local.to_string());
        for format in line.formats.iter().map(describe) {
            if !self.report.formats.contains(&format) {
                self.report.formats.push(format);
            }
        }
        Ok(local)
    }

    fn describe(&self) -> StreamReport {
        let account = self.receiver.as_ref().map(Receiver::account).unwrap_or_default();
        let Account { sources, malformed, overrun, first, last } = account;
        let sum = |count: fn(&crate::media::reception::Source) -> u64| sources.iter().map(count).sum();
        StreamReport {
            packets: sum(|source| source.packets),
            bytes: sum(|source| source.bytes),
            lost: sum(|source| source.lost()),
            duplicates: sum(|source| source.duplicates),
            reordered: sum(|source| source.reordered),
            sender_reports: sum(|source| source.reports),
            first_packet: first.map(clock::rfc3339),
            last_packet: last.map(clock::rfc3339),
            malformed,
            overrun,
            sources: sources
                .iter()
                .map(|source| SourceReport {
                    ssrc: format!("{:08x}", source.ssrc),
                    cname: source.cname.clone(),
                    packets: source.packets,
                    left: source.left,
                })
                .collect(),
            ..self.report.clone()
        }
    }
}
