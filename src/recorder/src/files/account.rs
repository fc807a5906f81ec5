//! `session.json` on the disk: whole at any moment, and with its last words even where the disk is full.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::archive::FileError;
use super::report::SessionReport;

const RUNNING: &str = "session.partial.json";
const COMPLETE: &str = "session.json";
/// What is not whole yet.
const NEXT: &str = "session.next.json";

/// Bytes of white space at the end of the running account, for what is to be said when there is no more room.
const RESERVE: usize = 8 * 1024;

/// The account of one session, in its folder.
pub(super) struct Account {
    folder: PathBuf,
}

impl Account {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// Replaces the account of the session that runs.
    pub(super) fn run(&self, report: &SessionReport) -> Result<(), FileError> {
        let padded = text(report).map(|mut text| {
            text.resize(text.len() + RESERVE, b' ');
            text
        });
        self.replace(padded, RUNNING)
    }

    /// Writes the account of the session that is over.
    pub(super) fn complete(&self, report: &SessionReport) -> Result<(), FileError> {
        self.replace(text(report), COMPLETE)?;
        let path = self.folder.join(RUNNING);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(FileError { action: "remove", path, error })
            }
            _ => Ok(()),
        }
    }

    /// Says in the running account what can be said in no other file: in its place, so that it needs no room. What would not
    /// fit is left out: first the holes in the sound, then everything.
    pub(super) fn end_in_place(&self, report: &SessionReport) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.folder.join(RUNNING))?;
        let room = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        for report in [report, &brief(report)] {
            let mut text = text(report)?;
            if text.len() <= room {
                text.resize(room, b' ');
                return file.write_all(&text);
            }
        }
        Ok(())
    }

    fn replace(&self, text: io::Result<Vec<u8>>, name: &str) -> Result<(), FileError> {
        let next = self.folder.join(NEXT);
        text.and_then(|text| fs::write(&next, text))
            .map_err(|error| FileError { action: "write", path: next.clone(), error })
            .and_then(|()| {
                fs::rename(&next, self.folder.join(name)).map_err(|error| FileError {
                    action: "rename",
                    path: next.clone(),
                    error,
                })
            })
            .inspect_err(|_| {
                // It may never have been there.
                let _ = fs::remove_file(&next);
            })
    }
}

fn text(report: &SessionReport) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(report)?;
    text.push(b'\n');
    Ok(text)
}

fn brief(report: &SessionReport) -> SessionReport {
    let mut brief = report.clone();
    for stream in &mut brief.streams {
        stream.gaps.clear();
        stream.overlaps.clear();
        stream.inactive.clear();
    }
    brief
}
