//! Calls that are recorded all at once.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use siprec_agent::{Agent, RecordingHandle};
use siprec_model::{CallUuid, SessionEventKind, StopReason};
use siprec_session::{Command, Party, RecordingConfig, parse_recorders};

use crate::answering::begin;

/// How long nothing may happen while something must.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a dialog may be remembered when it is over: as long as a message of it may come again (RFC 3261 §17), and some.
const LINGER: Duration = Duration::from_secs(45);

/// Calls of two parties with G.711.
pub(crate) struct Calls {
    agent: Arc<Agent>,
    recorder: String,
    probe: Duration,
    handles: Vec<RecordingHandle>,
    tell: Sender<Told>,
    told: Receiver<Told>,
}

/// What the agent says of a recording that is of interest here.
enum Told {
    Started,
    Stopped,
    /// A question stayed without an answer for 2 s: nothing is lost yet.
    Suspected,
    Wrong(SessionEventKind),
}

/// What happened while sessions were held.
#[derive(Default)]
pub(crate) struct Held {
    /// How often an answer was late that then came.
    pub(crate) suspected: u32,
    /// Sessions that ended by themselves, and what was told of the first.
    pub(crate) lost: u32,
    pub(crate) first_loss: Option<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("a session started"),
            Self::Stopped => f.write_str("a session stopped"),
            Self::Suspected => f.write_str("a session was suspected"),
            Self::Wrong(kind) => write!(f, "{kind:?}"),
        }
    }
}

impl Calls {
    pub(crate) fn new(agent: &Arc<Agent>, recorder: &str, probe: Duration) -> Self {
        let (tell, told) = mpsc::channel();
        Self {
            agent: Arc::clone(agent),
            recorder: recorder.to_owned(),
            probe,
            handles: Vec::new(),
            tell,
            told,
        }
    }

    /// Has so many sessions, at most `window` of which are being set up at a time.
    ///
    /// # Errors
    /// If one fails, or none gets on for 20 s.
    pub(crate) fn set_up(&mut self, sessions: u32, window: u32) -> Result<()> {
        let (mut opened, mut started) = (0, 0);
        while started < sessions {
            while opened < sessions && opened - started < window {
                self.open(opened)?;
                opened += 1;
            }
            match self.next()? {
                Told::Started => started += 1,
                Told::Suspected => {}
                other => bail!("after {started} that started: {other}"),
            }
        }
        Ok(())
    }

    /// Lets them be, and says what happened to them.
    ///
    /// # Errors
    /// If nobody can tell.
    pub(crate) fn hold(&self, time: Duration) -> Result<Held> {
        let until = Instant::now() + time;
        let mut held = Held::default();
        loop {
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => return Ok(held),
                Err(RecvTimeoutError::Disconnected) => bail!("nobody tells anything"),
                Ok(Told::Suspected) => held.suspected += 1,
                Ok(told) => {
                    held.lost += 1;
                    held.first_loss.get_or_insert_with(|| told.to_string());
                }
            }
        }
    }

    /// Ends all.
    ///
    /// # Errors
    /// If one does not end as it should.
    pub(crate) fn end(&mut self, window: u32) -> Result<()> {
        let mut handles = std::mem::take(&mut self.handles).into_iter();
        let (mut ending, mut all_told) = (0, false);
        while ending > 0 || !all_told {
            while ending < window && !all_told {
                let Some(handle) = handles.next() else {
                    all_told = true;
                    break;
                };
                handle.command(Command::Stop(StopReason::CallEnded))?;
                ending += 1;
            }
            if ending > 0 {
                match self.next()? {
                    Told::Stopped => ending -= 1,
                    Told::Suspected => {}
                    other => bail!("instead of an end: {other}"),
                }
            }
        }
        if !self.agent.wait_idle(LINGER) {
            bail!("the agent still has {} recordings", self.agent.sessions());
        }
        Ok(())
    }

    fn open(&mut self, number: u32) -> Result<()> {
        let mut config = RecordingConfig::new(parse_recorders(&self.recorder)?);
        config.call_uuid = Some(CallUuid::new(format!("CALL-{number}")));
        config.parties = [1, 2].map(|party| Party { dn: format!("{party}{number:06}") }).to_vec();
        config.timers.probe = self.probe;
        let tell = self.tell.clone();
        let handle = self.agent.open(config, move |event| {
            let told = match event.kind {
                SessionEventKind::Started => Told::Started,
                SessionEventKind::Stopped { .. } => Told::Stopped,
                SessionEventKind::Suspected { .. } => Told::Suspected,
                kind @ SessionEventKind::Failed { .. } => Told::Wrong(kind),
                _ => return,
            };
            // Whoever waited may have given up.
            let _ = tell.send(told);
        })?;
        begin(&handle)?;
        self.handles.push(handle);
        Ok(())
    }

    fn next(&self) -> Result<Told> {
        match self.told.recv_timeout(PATIENCE) {
            Ok(told) => Ok(told),
            Err(error) => bail!("nothing happens: {error}"),
        }
    }
}
