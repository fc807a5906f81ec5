//! PJSUA2 as a recorder that does not know that it is one: `phone.py` on Debian's own interpreter, with the wheel that
//! `pipelines/bootstrap.sh test` puts into the target folder.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::net::{free_rtp_port, free_udp_port, wait_for_udp};
use crate::process::{Process, wait_until};
use crate::sandbox::Sandbox;

/// A phone that answers.
pub struct Pjsua {
    process: Process,
    port: u16,
    heard: PathBuf,
}

impl Pjsua {
    /// Starts it with the shortest session interval, in seconds, that it takes.
    ///
    /// # Errors
    /// When it does not listen within 30 s.
    pub fn start(sandbox: &Sandbox, min_se: u32) -> Result<Self> {
        let packages = sandbox.build().with_file_name("python");
        ensure!(
            packages.join("pjsua2").exists(),
            "pjsua2 is missing: run `pipelines/bootstrap.sh test` first"
        );
        let (port, heard) = (free_udp_port()?, sandbox.join("phone.wav"));
        let mut command = sandbox.command("/usr/bin/python3");
        command
            .env("PYTHONPATH", packages)
            .arg(sandbox.source().join("tests/support/phone.py"))
            .args([port.to_string(), free_rtp_port()?.to_string()])
            .arg(&heard)
            .arg(min_se.to_string());
        let mut process = Process::start_led(sandbox, "phone", &mut command)?;
        process.wait_for_line("ready", Duration::from_secs(30))?;
        wait_for_udp(port, Duration::from_secs(30))?;
        Ok(Self { process, port, heard })
    }

    /// Its SIP URI.
    pub fn uri(&self) -> String {
        format!("sip:phone@127.0.0.1:{}", self.port)
    }

    /// Ends it, and gives the file with what it heard.
    ///
    /// # Errors
    /// When it does not end well within 10 s.
    pub fn finish(mut self) -> Result<PathBuf> {
        self.process.say("quit")?;
        self.process.succeed(Duration::from_secs(10))?;
        Ok(self.heard)
    }

    /// Has it do something, and waits until it says that this came of it.
    ///
    /// # Errors
    /// When it does not within 10 s.
    pub fn order(&mut self, command: &str, outcome: &str) -> Result<()> {
        let before = self.count(outcome);
        self.process.say(command)?;
        self.wait_for(outcome, before + 1)
    }

    /// Waits until it has said so for the `count`th time.
    ///
    /// # Errors
    /// When it does not within 10 s.
    pub fn wait_for(&self, line: &str, count: usize) -> Result<()> {
        wait_until(&format!("the phone says '{line}'"), Duration::from_secs(10), || {
            Ok((self.count(line) >= count).then_some(()))
        })
        .with_context(|| self.process.output())
    }

    fn count(&self, line: &str) -> usize {
        self.process.output().lines().filter(|said| *said == line).count()
    }
}
