//! The other programs of a measurement, and what the system says of them.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::orders::Order;

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

/// What a program has used and uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time of all threads that run, user and system, in ns.
    pub nanos: u64,
    /// Threads.
    pub threads: u64,
    /// Resident memory in KiB.
    pub resident: u64,
}

impl Program {
    /// Starts one that is led by lines, and answers by lines.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        let output = child.stdout.take().context("no output")?;
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// Tells it something.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("no input")?;
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .with_context(|| format!("telling {}", self.name))
    }

    /// Waits for a line that begins so.
    ///
    /// # Errors
    /// When it ends, says something else, or `within` has passed.
    pub fn hear(&mut self, name: &str, within: Duration) -> Result<Order> {
        let line = self
            .lines
            .recv_timeout(within)
            .with_context(|| format!("{} does not say '{name}' within {within:?}", self.name))?;
        let order = Order::from(line.as_str());
        ensure!(order.name() == name, "{} says '{line}', not '{name}'", self.name);
        Ok(order)
    }

    /// What it uses now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        let folder = format!("/proc/{}", self.child.id());
        let gone = || format!("{} has ended", self.name);
        let mut nanos = 0;
        for task in fs::read_dir(format!("{folder}/task")).with_context(gone)?.flatten() {
            // A thread may end while we look.
            let times = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += times.split_whitespace().next().and_then(|run| run.parse::<u64>().ok()).unwrap_or(0);
        }
        let status = fs::read_to_string(format!("{folder}/status")).with_context(gone)?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Usage { nanos, threads: of("Threads:"), resident: of("VmRSS:") })
    }

    /// Lets it end by itself, and ends it if it does not within 10 s.
    ///
    /// # Errors
    /// When it has failed.
    pub fn finish(mut self) -> Result<()> {
        let _ = self.say("end");
        for _ in 0..1000 {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} failed: {status}", self.name);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("{} does not end", self.name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
