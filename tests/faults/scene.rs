//! A call that is recorded while something goes wrong.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use siprec_system_tests::call::Call;
use siprec_system_tests::judge::{Verdict, ranges};
use siprec_system_tests::process::wait_until;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::talk::{Heard, Talk};

use crate::diary::{Diary, Entry};
use crate::row::Row;

/// How long a recording may take to end once its call has, and a message to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A recorder in a sandbox of its own.
pub(crate) struct Station {
    pub(crate) recorder: Recorder,
    _sandbox: Sandbox,
}

impl Station {
    pub(crate) fn open(arguments: &[&str]) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let recorder = Recorder::start(&sandbox, arguments)?;
        Ok(Self::new(sandbox, recorder))
    }

    /// One that runs, in its sandbox.
    pub(crate) fn new(sandbox: Sandbox, recorder: Recorder) -> Self {
        Self { recorder, _sandbox: sandbox }
    }

    pub(crate) fn uri(&self) -> String {
        self.recorder.uri()
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.recorder.process().signal("KILL")?;
        self.recorder.process().wait(PATIENCE).map(drop)
    }

    /// Has it complete its files, where it still can.
    fn close(&mut self) -> Result<()> {
        if self.recorder.process().is_running()? {
            self.recorder.process().signal("TERM")?;
            // One that is stopped hears it then.
            self.recorder.process().signal("CONT")?;
            self.recorder.process().wait(PATIENCE)?;
        }
        Ok(())
    }
}

/// How a call is recorded.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// URIs, the first one first, or the name of a pool.
    pub(crate) recorder: String,
    /// Further properties of the element, and properties of its agent.
    pub(crate) properties: &'a str,
    pub(crate) agent: Vec<String>,
    /// Variables of the relay's environment.
    pub(crate) variables: Vec<(&'a str, &'a str)>,
    /// How long the call is to be.
    pub(crate) seconds: usize,
}

/// The call.
pub(crate) struct Scene {
    sandbox: Sandbox,
    call: Call,
    talk: Option<Talk>,
    diary: Diary,
    injected: Option<Instant>,
}

/// What became of it.
pub(crate) struct Played {
    pub(crate) heard: Heard,
    pub(crate) entries: Vec<Entry>,
    injected: Option<Instant>,
    _sandbox: Sandbox,
}

impl Scene {
    /// The parties begin to speak.
    pub(crate) fn begin(plan: &Plan<'_>) -> Result<Self> {
        Self::begin_in(Sandbox::new()?, plan)
    }

    /// The same in a sandbox with the files of the agent.
    pub(crate) fn begin_in(sandbox: Sandbox, plan: &Plan<'_>) -> Result<Self> {
        let Plan { recorder, properties, agent, variables, seconds } = plan;
        let properties = format!("recorder=\"{recorder}\" call-uuid=C1 dn=1001 other-dn=1002 {properties}");
        let call = Call::start_led_among(&sandbox, &properties, agent, variables)?;
        let diary = Diary::of(sandbox.join("relay.log"));
        let talk = Some(Talk::begin(&call, *seconds)?);
        Ok(Self { sandbox, call, talk, diary, injected: None })
    }

    /// Waits until the parties have spoken for so many seconds.
    pub(crate) fn wait(&self, seconds: f64) {
        if let Some(talk) = &self.talk {
            talk.wait_for(Duration::from_secs_f64(seconds));
        }
    }

    /// Waits until this message has come `times` times.
    pub(crate) fn wait_for(&self, name: &str, times: usize) -> Result<()> {
        wait_until(&format!("{name} {times} times"), PATIENCE, || {
            let told = self.diary.entries().iter().filter(|entry| entry.name() == name).count();
            Ok((told >= times).then_some(()))
        })
        .with_context(|| self.call.relay.output())
    }

    /// What happens now is the fault.
    pub(crate) fn inject(&mut self) {
        self.injected = Some(Instant::now());
    }

    /// What the parties have still to say is said, and the recording ends.
    pub(crate) fn finish(mut self) -> Result<Played> {
        let heard = self.talk.take().context("the call goes on")?.finish()?;
        self.end(heard)
    }

    /// The call ends in the middle of a word.
    pub(crate) fn hang_up(mut self) -> Result<Played> {
        let heard = self.talk.take().context("the call goes on")?.stop()?;
        self.end(heard)
    }

    fn end(mut self, heard: Heard) -> Result<Played> {
        self.call.relay.say(&format!("quit {}", PATIENCE.as_secs()))?;
        let printed = self.call.relay.succeed(PATIENCE + Duration::from_secs(10))?;
        let entries = self.diary.finish();
        if std::env::var_os("KEEP_SANDBOX").is_some() {
            eprintln!("   {}", self.sandbox.path().display());
        }
        anyhow::ensure!(!printed.contains("CRITICAL") && !printed.contains("panicked"), "{printed}");
        Ok(Played { heard, entries, injected: self.injected, _sandbox: self.sandbox })
    }
}

impl Played {
    pub(crate) fn row(&self, fault: &str) -> Row {
        Row::new(fault, &self.heard, &self.entries, self.injected)
    }

    /// The row, with what the recorders have.
    pub(crate) fn judged(&self, fault: &str, stations: &mut [Station]) -> Result<Row> {
        stations.iter_mut().try_for_each(Station::close)?;
        let folders: Vec<PathBuf> =
            stations.iter().map(|station| station.recorder.folder().to_owned()).collect();
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        Ok(self.row(fault).judged(&self.verdict(&folders)?))
    }

    pub(crate) fn verdict(&self, folders: &[&Path]) -> Result<Verdict> {
        let verdict = Verdict::of(&self.heard.said, folders)?;
        if verdict.lost_samples() > 0 {
            let first = |missing: &Vec<usize>| ranges(missing).into_iter().take(5).collect::<Vec<_>>();
            eprintln!("   missing, first ranges: {:?}", verdict.missing.each_ref().map(first));
        }
        Ok(verdict)
    }
}
