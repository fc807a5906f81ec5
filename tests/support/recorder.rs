//! The reference recorder as a running program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{Process, wait_until};
use crate::sandbox::Sandbox;

/// `siprec recorder` on an ephemeral port of 127.0.0.1.
pub struct Recorder {
    process: Process,
    folder: PathBuf,
    address: String,
    tls: Option<SocketAddr>,
}

/// One finished session: its folder and its `session.json`.
pub struct Session {
    /// The folder.
    pub folder: PathBuf,
    /// `session.json`.
    pub json: Value,
}

impl Recorder {
    /// Starts it with further arguments.
    ///
    /// # Errors
    /// When it does not say within 30 s where it listens: on a machine that has just begun, GStreamer reads all plugins first.
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        Self::start_by(sandbox, &["env"], "127.0.0.1:0", arguments)
    }

    /// The same at another address, and by a program that becomes it, with the arguments of that program before its own.
    ///
    /// # Errors
    /// When it does not say within 30 s where it listens: on a machine that has just begun, GStreamer reads all plugins first.
    pub fn start_by(sandbox: &Sandbox, program: &[&str], listen: &str, arguments: &[&str]) -> Result<Self> {
        let folder = sandbox.join("recordings");
        let (first, others) = program.split_first().context("no program")?;
        let mut command = sandbox.command(first);
        command.args(others).arg(sandbox.build().join("siprec"));
        command.args(["recorder", "--listen", listen, "--output"]).arg(&folder).args(arguments);
        let mut process = Process::start(sandbox, "recorder", &mut command)?;
        let line = process.wait_for_line("listening", Duration::from_secs(30))?;
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("udp=").or_else(|| word.strip_prefix("udp:")))
            .with_context(|| format!("no udp= in '{line}'"))?
            .to_owned();
        let tls = line.split_whitespace().find_map(|word| word.strip_prefix("tls="));
        let tls = tls.map(str::parse).transpose()?;
        Ok(Self { process, folder, address, tls })
    }

    /// Its SIP URI.
    pub fn uri(&self) -> String {
        format!("sip:{}", self.address)
    }

    /// `ADDRESS:PORT` of its SIP.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it takes SIP by TLS.
    pub fn tls(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Where it writes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until `count` sessions are complete.
    ///
    /// # Errors
    /// When they are not within the time.
    pub fn sessions(&self, count: usize, within: Duration) -> Result<Vec<Session>> {
        wait_until(&format!("{count} finished sessions"), within, || {
            let mut sessions = Vec::new();
            let Ok(entries) = self.folder.read_dir() else { return Ok(None) };
            for entry in entries {
                let folder = entry?.path();
                if let Ok(text) = std::fs::read(folder.join("session.json")) {
                    sessions.push(Session { folder, json: serde_json::from_slice(&text)? });
                }
            }
            sessions.sort_by(|a, b| a.folder.cmp(&b.folder));
            Ok((sessions.len() >= count).then_some(sessions))
        })
        .with_context(|| format!("recorder:\n{}", self.process.output()))
    }
}

impl Session {
    /// The stereo file.
    pub fn wav(&self) -> PathBuf {
        self.folder.join("session.wav")
    }
}
