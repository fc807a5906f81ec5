//! One measurement: sender, receiver, and what is measured between them, each a program of its own.

use std::fs::File;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::answerer::{Answerer, Offered, RECORDER_KEY};
use crate::pipelines::Targets;
use crate::program::Program;
use crate::row::Row;
use crate::rtpengine::Control;
use crate::sample::Sample;
use crate::sys::Stamps;
use crate::traffic::{self, Mode, Path, RATE};

/// Longest time for anything to be set up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most packets of a stream that are on the way while nothing is held: those of half a second, in which the slowest row sends once.
const ON_THE_WAY: f64 = 26.0;
/// How long nothing may come before everything has come: longer than the slowest row lets packets wait.
const SILENCE: Duration = Duration::from_millis(600);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Which round of which run.
    pub round: String,
    /// The row.
    pub row: Row,
    /// What is protected.
    pub mode: Mode,
    /// How many streams.
    pub streams: usize,
    /// All recorders take their packets on one address.
    pub one_address: bool,
    /// The receiver waits for packets, so that who sends wakes it, instead of looking for them.
    pub waits: bool,
    /// Recorders send receiver reports, where what is measured has told them a port for that.
    pub reports: bool,
    /// For how long packets come before anything is measured, at least.
    pub warm_up: Duration,
    /// How long, in seconds.
    pub seconds: u64,
    /// A folder for what the programs share.
    pub folder: PathBuf,
}

/// What is measured.
struct Relay {
    program: Program,
    /// Resident memory before there were streams, in KiB.
    resident_before: u64,
    input: Vec<u16>,
    _answerer: Option<Answerer>,
    /// What is offered of streams by sessions.
    offers: Receiver<Offered>,
}

impl Measurement {
    /// Measures.
    ///
    /// # Errors
    /// When a program fails or cannot be set up. What is lost or wrong is no error.
    pub fn run(&self) -> Result<Sample> {
        let stamps = self.folder.join("stamps");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&stamps)?;
        drop(Stamps::over(&file, self.streams)?);
        let mut receiver = Program::start("receiver", self.own("receive").arg(&stamps))?;
        let mut sender = Program::start("sender", self.own("send").arg(&stamps))?;
        let targets = Targets {
            call: receiver.hear("call", PATIENCE)?.numbers()?,
            recording: receiver.hear("recording", PATIENCE)?.numbers()?,
            ..Targets::default()
        };
        let rtcp = *receiver.hear("rtcp", PATIENCE)?.numbers::<u16>()?.first().context("no port")?;
        let relay = if self.row.is_rtpengine() {
            self.start_rtpengine(targets, &mut receiver)?
        } else {
            self.start_relay(targets, rtcp)?
        };
        let input: Vec<_> = relay.input.iter().map(u16::to_string).collect();
        sender.say(&format!("to {}", input.join(" ")))?;

        self.warm_up(&mut sender, &mut receiver, &relay)?;
        receiver.say("reset")?;
        receiver.hear("reset", PATIENCE)?;
        let before = relay.program.usage()?;
        let rounds = self.seconds * RATE;
        sender.say(&format!("go {rounds}"))?;
        let sent = sender.hear("sent", Duration::from_secs(self.seconds) + PATIENCE)?;
        wait_for_silence(&mut receiver)?;
        let after = relay.program.usage()?;
        let packets: u64 = sent.word(1).parse()?;
        receiver.say("report")?;
        let report = receiver.hear("report", PATIENCE)?;
        relay.program.finish_gently(self.row)?;
        receiver.finish()?;
        sender.finish()?;

        let lost = |came: f64| (1.0 - came / packets as f64).max(0.0);
        let recording_loss = if self.row.records() { lost(report.value("recording")?) } else { 0.0 };
        Ok(Sample {
            round: self.round.clone(),
            row: self.row,
            mode: self.mode,
            streams: self.streams,
            one_address: self.one_address,
            packets,
            cpu: (after.nanos.saturating_sub(before.nanos)) as f64 / 1000.0 / packets as f64,
            call_loss: lost(report.value("call")?),
            recording_loss,
            threads: after.threads,
            memory: after.resident.saturating_sub(relay.resident_before) as f64 / self.streams as f64,
            p50: report.value("p50")?,
            p99: report.value("p99")?,
            judged: report.value("judged")? as u64,
            wrong: report.value("wrong")? as u64,
            load: load(),
        })
    }

    /// Sends until every stream has come through on both paths, and whatever was held meanwhile.
    fn warm_up(&self, sender: &mut Program, receiver: &mut Program, relay: &Relay) -> Result<()> {
        let deadline = Instant::now() + self.warm_up + PATIENCE;
        let is_cold_until = Instant::now() + self.warm_up;
        let mut sent = 0;
        loop {
            sender.say(&format!("go {}", RATE / 2))?;
            sent += sender.hear("sent", PATIENCE)?.word(1).parse::<u64>()?;
            for Offered { stream, rtcp, key } in relay.offers.try_iter() {
                if let Some(key) = key {
                    receiver.say(&format!("key recording {stream} {key}"))?;
                }
                self.have_reported(receiver, stream, rtcp, &RECORDER_KEY)?;
            }
            receiver.say("status")?;
            let status = receiver.hear("status", PATIENCE)?;
            let (call, recording) = (status.value("call")?, status.value("recording")?);
            if Instant::now() < is_cold_until {
                continue;
            }
            if !self.row.records() && call > 0.0 {
                break;
            }
            // What is overloaded never gets there: it is measured as it is, once it has had time to.
            let has_caught_up = recording + ON_THE_WAY * self.streams as f64 >= sent as f64;
            let is_lossy = sent > 10 * RATE * self.streams as u64;
            if status.value("streams")? as usize == self.streams && has_caught_up || is_lossy {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "{} of {} streams are recorded; {call} and {recording} of {sent} packets came",
                    status.value("streams")?,
                    self.streams
                );
            }
        }
        wait_for_silence(receiver)
    }

    fn start_relay(&self, targets: Targets, rtcp: u16) -> Result<Relay> {
        let (tell, offers) = channel();
        let answerer = if self.row.has_sessions() {
            let on_offer = Box::new(move |offered| {
                let _ = tell.send(offered);
            });
            Some(Answerer::start(targets.recording.clone(), rtcp, on_offer)?)
        } else {
            None
        };
        let mut command = self.own("relay");
        command.arg("--row").arg(self.row.name());
        let mut program = Program::start("relay", &mut command)?;
        program.hear("ready", PATIENCE)?;
        let resident_before = program.usage()?.resident;
        let words = |ports: &[u16]| ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        program.say(&format!("call {}", words(&targets.call)))?;
        program.say(&format!("recording {}", words(&targets.recording)))?;
        if let Some(answerer) = &answerer {
            program.say(&format!("recorder {}", answerer.uri()))?;
        }
        program.say("start")?;
        let input = program.hear("in", PATIENCE)?.numbers()?;
        Ok(Relay { program, resident_before, input, _answerer: answerer, offers })
    }

    fn start_rtpengine(&self, targets: Targets, receiver: &mut Program) -> Result<Relay> {
        let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("rtpengine");
        command.args([
            "--foreground",
            "--log-stderr",
            "--log-level=2",
            "--table=-1",
            "--interface=127.0.0.1",
        ]);
        // Below the ports that the system gives away.
        command.args(["--port-min=10000", "--port-max=32000"]).arg(format!("--listen-ng=127.0.0.1:{port}"));
        let program = Program::start("rtpengine", &mut command)?;
        let mut control = Control::connect(port)?;
        let resident_before = program.usage()?.resident;
        let setup = control.set_up(self.mode, self.streams, &targets, self.row.records())?;
        for (path, stream, key) in setup.keys {
            let path = if path == Path::Call { "call" } else { "recording" };
            receiver.say(&format!("key {path} {stream} {key}"))?;
        }
        for (stream, rtcp) in setup.reports {
            self.have_reported(receiver, stream, rtcp, &traffic::master(Path::Call, stream))?;
        }
        let (_, offers) = channel();
        Ok(Relay { program, resident_before, input: setup.input, _answerer: None, offers })
    }

    /// Has the recorder of a stream send its reports there, under its own key where the recording is SRTP.
    fn have_reported(&self, receiver: &mut Program, stream: usize, rtcp: u16, key: &[u8]) -> Result<()> {
        if !self.reports {
            return Ok(());
        }
        let key = if self.mode.secures_recording() { STANDARD.encode(key) } else { String::new() };
        receiver.say(&format!("reports {stream} {rtcp} {key}"))
    }

    /// This program in another role.
    fn own(&self, role: &str) -> Command {
        let program = std::env::current_exe().unwrap_or_default();
        let mut command = Command::new(&program);
        command.arg(role).arg("--mode").arg(self.mode.name()).arg("--streams").arg(self.streams.to_string());
        if role == "receive" && self.one_address {
            command.arg("--one-address");
        }
        if role == "receive" && self.waits {
            command.arg("--waits");
        }
        if role == "relay" {
            // target/<profile>/examples/compare
            let build = program.ancestors().nth(2).unwrap_or(FilePath::new("."));
            let plugins = [build.to_owned(), build.join("threadshare"), self.folder.join("plugins")];
            if let Ok(plugins) = std::env::join_paths(plugins) {
                command.env("GST_PLUGIN_PATH", plugins);
            }
            command.env("GST_REGISTRY", self.folder.join("registry.bin"));
        }
        command
    }
}

impl Program {
    /// rtpengine knows no orders.
    fn finish_gently(self, row: Row) -> Result<()> {
        if row.is_rtpengine() { Ok(()) } else { self.finish() }
    }
}

fn wait_for_silence(receiver: &mut Program) -> Result<()> {
    let mut last = (0.0, 0.0);
    for _ in 0..20 {
        std::thread::sleep(SILENCE);
        receiver.say("status")?;
        let status = receiver.hear("status", PATIENCE)?;
        let now = (status.value("call")?, status.value("recording")?);
        if now == last {
            return Ok(());
        }
        last = now;
    }
    ensure!(last.0 > 0.0, "nothing comes through");
    Ok(())
}

fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}
