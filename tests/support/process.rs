//! Child processes that are watched, bounded in time, and never outlive the test.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::sandbox::Sandbox;

/// A running program whose output goes to files of the sandbox. Dropping it ends it.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command`; both its outputs go to `<name>.log` in the sandbox.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(sandbox: &Sandbox, name: &str, command: &mut Command) -> Result<Self> {
        Self::start_with(sandbox, name, command, Stdio::null())
    }

    /// The same for a program that is led by lines on its standard input: see [`Process::say`].
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_led(sandbox: &Sandbox, name: &str, command: &mut Command) -> Result<Self> {
        Self::start_with(sandbox, name, command, Stdio::piped())
    }

    fn start_with(sandbox: &Sandbox, name: &str, command: &mut Command, input: Stdio) -> Result<Self> {
        let output = sandbox.join(format!("{name}.log"));
        let file = File::create(&output)?;
        let child = command
            .stdin(input)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, output })
    }

    /// Says a line to a program that was started with [`Process::start_led`].
    ///
    /// # Errors
    /// When it does not listen.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the program is not led")?;
        writeln!(input, "{line}").with_context(|| format!("saying '{line}' to {}", self.name))
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has printed a line that holds `wanted`; gives the line.
    ///
    /// # Errors
    /// When `within` has passed, or the program has ended without it.
    pub fn wait_for_line(&mut self, wanted: &str, within: Duration) -> Result<String> {
        let name = self.name.clone();
        wait_until(&format!("{name} prints '{wanted}'"), within, || {
            let ended = self.child.try_wait()?;
            let output = self.output();
            // The last line may still be growing.
            let whole =
                if ended.is_some() { output.len() } else { output.rfind('\n').map_or(0, |end| end + 1) };
            if let Some(line) =
                output.get(..whole).into_iter().flat_map(str::lines).find(|line| line.contains(wanted))
            {
                return Ok(Some(line.to_owned()));
            }
            ensure!(ended.is_none(), "{name} ended ({ended:?}) without printing '{wanted}'");
            Ok(None)
        })
        .with_context(|| format!("{}:\n{}", self.name, self.output()))
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When `within` has passed.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait_until(&format!("{name} ends"), within, || Ok(self.child.try_wait()?))
            .with_context(|| format!("{}:\n{}", self.name, self.output()))
    }

    /// Waits until it ends, and insists that it ended well.
    ///
    /// # Errors
    /// When `within` has passed, or with what it printed when it failed.
    pub fn succeed(&mut self, within: Duration) -> Result<String> {
        let status = self.wait(within)?;
        ensure!(status.success(), "{} failed ({status}):\n{}", self.name, self.output());
        Ok(self.output())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal, named as `kill` names it (`INT`, `TERM`, `STOP`, `KILL`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status()?;
        ensure!(status.success(), "kill -{signal} {} failed", self.name);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already; then neither call has anything to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end and gives what it printed on both outputs, well or not.
///
/// # Errors
/// When it cannot be started, or does not end `within`.
pub fn run(
    sandbox: &Sandbox,
    name: &str,
    command: &mut Command,
    within: Duration,
) -> Result<(ExitStatus, String)> {
    let mut process = Process::start(sandbox, name, command)?;
    let status = process.wait(within)?;
    Ok((status, process.output()))
}

/// Asks `probe` again and again until it has an answer.
///
/// # Errors
/// The probe's own error, or that `within` has passed.
pub fn wait_until<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}");
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
