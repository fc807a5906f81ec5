//! SIPp.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::Transport;

const SCENARIO: &str = include_str!("../recorder.xml");

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// SIPp as a recorder of any number of sessions. Dropping it ends it.
pub(crate) struct Recorder {
    child: Child,
    uri: String,
    port: u16,
    /// Hears what it finds wrong.
    complaints: Option<JoinHandle<String>>,
    _folder: TempDir,
}

impl Recorder {
    /// One that asks for refreshes in this interval of seconds.
    ///
    /// # Errors
    /// If SIPp is missing, or does not listen.
    pub(crate) fn start(transport: Transport, interval: u32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let scenario = folder.path().join("recorder.xml");
        std::fs::write(&scenario, SCENARIO.replace("INTERVAL", &interval.to_string()))?;
        let port = free_port()?;
        let (mode, parameter) = match transport {
            Transport::Udp => ("u1", "udp"),
            Transport::Tcp => ("t1", "tcp"),
        };
        let mut child = Command::new("sipp")
            .arg("-sf")
            .arg(&scenario)
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-t", mode, "-nr", "-aa", "-nostdin"])
            .args(["-trace_err", "-error_file", "/dev/stderr"])
            .args(["-buff_size", "4194304"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("SIPp is not installed: pipelines/bootstrap.sh test")?;
        let complaints = child.stderr.take().map(|told| std::thread::spawn(move || complaints(told)));
        let uri = format!("sip:127.0.0.1:{port};transport={parameter}");
        let mut recorder = Self { child, uri, port, complaints, _folder: folder };
        recorder.wait_until_it_listens(transport, port)?;
        Ok(recorder)
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and says what it found wrong.
    ///
    /// # Errors
    /// If it has seen a message that it did not expect.
    pub(crate) fn stop(mut self) -> Result<()> {
        let alive = self.child.try_wait()?.is_none();
        self.child.kill()?;
        self.child.wait()?;
        let complaints = self.complaints.take().and_then(|heard| heard.join().ok()).unwrap_or_default();
        if !complaints.is_empty() {
            bail!("SIPp says: {complaints}");
        }
        if !alive {
            bail!("SIPp ended by itself");
        }
        Ok(())
    }

    fn wait_until_it_listens(&mut self, transport: Transport, port: u16) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let listens = match transport {
                Transport::Udp => UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err(),
                Transport::Tcp => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
            };
            if listens {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("SIPp does not start: {status}");
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        bail!("SIPp does not listen")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first lines of what SIPp finds wrong. That it answers by itself is none of it.
fn complaints(told: impl Read) -> String {
    let lines = BufReader::new(told).lines().map_while(Result::ok);
    let wrong = lines.filter(|line| {
        !line.is_empty()
            && !line.contains("Automatic response mode for an unexpected INFO, NOTIFY, OPTIONS or UPDATE")
            && line != "The following events occurred:"
    });
    let mut first = String::new();
    for (number, line) in wrong.enumerate() {
        if number < 20 {
            first.push_str(&line);
            first.push('\n');
        }
    }
    first
}

/// A port that was free for UDP and TCP a moment ago: SIPp cannot say which port it took.
fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port")
}
