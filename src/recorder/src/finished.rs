//! What the application is told at the end of a session.

use std::fmt;
use std::path::PathBuf;

use crate::SessionReport;

/// A session that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedSession {
    /// Where its files are; `None` when there are none.
    pub folder: Option<PathBuf>,
    /// What `session.json` says.
    pub report: SessionReport,
}

/// One line of `name=value` words. Values that hold anything but plain text are quoted and escaped.
impl fmt::Display for FinishedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let state = report.states.last().map_or("", |last| last.state.as_str());
        let sum = |count: fn(&crate::StreamReport) -> u64| report.streams.iter().map(count).sum::<u64>();
        write!(f, "session id={}", Word(&report.recording_id))?;
        if let Some(call_uuid) = &report.call_uuid {
            write!(f, " call-uuid={}", Word(call_uuid))?;
        }
        write!(f, " state={}", Word(state))?;
        if let Some(reason) = &report.end_reason {
            write!(f, " reason={}", Word(reason))?;
        }
        write!(
            f,
            " duration={:.3} streams={} packets={} lost={}",
            report.duration,
            report.streams.len(),
            sum(|stream| stream.packets),
            sum(|stream| stream.lost)
        )?;
        let not_authentic = sum(|stream| stream.srtp.as_ref().map_or(0, |srtp| srtp.not_authentic));
        if not_authentic > 0 {
            write!(f, " not-authentic={not_authentic}")?;
        }
        if let Some(folder) = &self.folder {
            write!(f, " folder={}", Word(&folder.to_string_lossy()))?;
        }
        match &report.error {
            Some(error) => write!(f, " error={}", Word(error)),
            None => Ok(()),
        }
    }
}

/// A value, quoted where a reader that splits at spaces would need it.
struct Word<'a>(&'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"';
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_one_line_whatever_its_names_hold() {
        let report = SessionReport {
            recording_id: "a\r\nb \u{1b}[0m".into(),
            call_uuid: Some("00FA08K".into()),
            ..SessionReport::default()
        };
        let line = FinishedSession { folder: Some("/tmp/a b".into()), report }.to_string();
        assert_eq!(
            line,
            "session id=\"a\\r\\nb \\u{1b}[0m\" call-uuid=00FA08K state=\"\" duration=0.000 streams=0 packets=0 \
             lost=0 folder=\"/tmp/a b\""
        );
    }
}
