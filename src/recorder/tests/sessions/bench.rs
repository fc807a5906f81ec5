//! A recorder in this process, with a folder of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use siprec_recorder::{FinishedSession, Recorder, RecorderConfig, SessionReport, WavSound};
use tokio::sync::mpsc;

/// Longest time that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) recorder: Recorder,
    finished: mpsc::UnboundedReceiver<FinishedSession>,
    folder: tempfile::TempDir,
}

/// A finished session and its files.
pub(crate) struct Outcome {
    pub(crate) folder: PathBuf,
    pub(crate) report: SessionReport,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A recorder whose configuration `change` has changed.
    pub(crate) fn with(change: impl FnOnce(&mut RecorderConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = RecorderConfig::new("127.0.0.1:0".parse().unwrap(), folder.path().join("out"));
        change(&mut config);
        let (sender, finished) = mpsc::unbounded_channel();
        let recorder = Recorder::start(config, move |session| sender.send(session).unwrap()).unwrap();
        Self { recorder, finished, folder }
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// The next session that ends.
    pub(crate) async fn finished(&mut self) -> FinishedSession {
        tokio::time::timeout(PATIENCE, self.finished.recv()).await.expect("a session ends").unwrap()
    }

    /// The next session that ends, with its files.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let FinishedSession { folder, report } = self.finished().await;
        let folder = folder.expect("a session with files");
        let json = std::fs::read(folder.join("session.json")).unwrap();
        let told: SessionReport = serde_json::from_slice(&json).unwrap();
        assert!(told == report, "{}", String::from_utf8_lossy(&json));
        Outcome { folder, report }
    }

    /// Ends the recorder; what it wrote stays until the value is dropped.
    pub(crate) async fn stop(self) -> (tempfile::TempDir, mpsc::UnboundedReceiver<FinishedSession>) {
        self.recorder.stop().await;
        (self.folder, self.finished)
    }
}

impl Outcome {
    pub(crate) fn wav(&self) -> WavSound {
        WavSound::read(&self.folder.join("session.wav")).unwrap()
    }

    pub(crate) fn ladder(&self) -> String {
        std::fs::read_to_string(self.folder.join("ladder.txt")).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        names(&self.folder)
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
