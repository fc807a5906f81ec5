//! Measures recorded calls beside what a user would take instead: see `docs/performance.md`, or run it with `--help`.
//!
//! `benches/compare/run.sh` builds all that it takes and starts it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, Parser, Subcommand};
use siprec_compare::measure::Measurement;
use siprec_compare::receiver::{self, Judge};
use siprec_compare::row::Row;
use siprec_compare::sample::Sample;
use siprec_compare::sys::{self, Stamps};
use siprec_compare::traffic::Mode;
use siprec_compare::{plot, relay, sender, table};
use srtp::{CryptoPolicy, Session, StreamPolicy};

#[derive(Parser)]
#[command(about = "Measures recorded calls beside what a user would take instead")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measure, row by row, again and again, and print what is found; `report` reads the samples
    Run(Run),
    /// Make tables and picture of samples
    Report {
        /// The file of samples
        samples: PathBuf,
        /// Where `performance.md` and `performance.svg` are; without it, tables are printed
        #[arg(long)]
        into: Option<PathBuf>,
    },
    #[command(hide = true)]
    Send(Role),
    #[command(hide = true)]
    Receive(Role),
    #[command(hide = true)]
    Relay(Role),
}

#[derive(Args)]
struct Run {
    /// Rounds, in each of which every row has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Streams of 50 packets a second, several numbers with commas between
    #[arg(long, value_delimiter = ',', default_values_t = [10, 50, 200, 500, 1000])]
    streams: Vec<usize>,
    /// What is protected
    #[arg(long, value_delimiter = ',', default_values_t = [Mode::Plain, Mode::Secured, Mode::Srtp].map(ModeName))]
    modes: Vec<ModeName>,
    /// Rows; all that can be had without it
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    /// For how many seconds packets come before each measurement, at least: rings are as large as they become after some ten
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    /// How many seconds each row is measured, each time
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// All recorders take their packets on one address
    #[arg(long)]
    one_address: bool,
    /// The receiver waits for packets, and whoever sends wakes it, at the sender's cost: so it is where the recorder runs on the same
    /// machine. Without it, the receiver looks each 2 ms
    #[arg(long)]
    waits: bool,
    /// Recorders send receiver reports, as real ones do; `false`: none, so that each session has to ask its recorder
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    reports: bool,
    /// Fail where a row cannot be measured, or a packet is not what was said
    #[arg(long)]
    strict: bool,
    /// Where samples are added
    #[arg(long, default_value = "target/compare/samples.tsv")]
    samples: PathBuf,
}

#[derive(Args)]
struct Role {
    #[arg(long)]
    mode: Mode,
    #[arg(long)]
    streams: usize,
    #[arg(long)]
    row: Option<Row>,
    #[arg(long)]
    one_address: bool,
    #[arg(long)]
    waits: bool,
    stamps: Option<PathBuf>,
}

/// A mode that prints its name.
#[derive(Clone, Copy)]
struct ModeName(Mode);

impl std::fmt::Display for ModeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl std::str::FromStr for ModeName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(name, true).map(Self)
    }
}

fn main() -> Result<()> {
    sys::allow_descriptors();
    match Arguments::parse().what {
        What::Run(run) => run.run(),
        What::Report { samples, into } => report(&samples, into.as_deref()),
        What::Send(role) => sender::run(role.mode, role.streams, &role.stamps()?),
        What::Receive(role) => receiver::run(
            role.mode,
            role.streams,
            role.one_address,
            role.waits,
            &role.stamps()?,
            &Libsrtp::judge,
        ),
        What::Relay(role) => relay::run(role.row.context("which row?")?, role.mode, role.streams),
    }
}

impl Role {
    fn stamps(&self) -> Result<Stamps> {
        let path = self.stamps.as_deref().context("where are the stamps?")?;
        Ok(Stamps::over(&File::options().read(true).write(true).open(path)?, self.streams)?)
    }
}

impl Run {
    fn run(&self) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("compare-").tempdir()?;
        if let Some(parent) = self.samples.parent() {
            fs::create_dir_all(parent)?;
        }
        let is_new = !self.samples.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(&self.samples)?;
        if is_new {
            writeln!(file, "{}", Sample::HEAD)?;
        }
        println!("{}", Sample::HEAD);
        let rows = if self.rows.is_empty() { available_rows() } else { self.rows.clone() };
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        for round in 1..=self.rounds {
            for (streams, ModeName(mode)) in
                self.streams.iter().flat_map(|streams| self.modes.iter().map(move |mode| (*streams, *mode)))
            {
                for row in &rows {
                    let measurement = Measurement {
                        round: format!("{began}-{round}"),
                        row: *row,
                        mode,
                        streams,
                        one_address: self.one_address,
                        waits: self.waits,
                        reports: self.reports,
                        warm_up: Duration::from_secs(self.warm_up),
                        seconds: self.seconds,
                        folder: folder.path().to_owned(),
                    };
                    match measurement.run() {
                        Ok(sample) => {
                            println!("{}", sample.line());
                            writeln!(file, "{}", sample.line())?;
                            if self.strict {
                                ensure_genuine(&sample)?;
                            }
                        }
                        Err(fault) if self.strict => return Err(fault),
                        Err(fault) => eprintln!("{} with {streams} streams: {fault:#}", row.name()),
                    }
                }
            }
        }
        Ok(())
    }
}

fn ensure_genuine(sample: &Sample) -> Result<()> {
    ensure!(sample.judged > 0 && sample.wrong == 0, "packets are wrong: {}", sample.line());
    Ok(())
}

/// Those whose programs and plugins are here.
fn available_rows() -> Vec<Row> {
    use clap::ValueEnum as _;
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    let has_thread_sharing = std::env::current_exe().is_ok_and(|program| {
        program
            .ancestors()
            .nth(2)
            .is_some_and(|build| build.join("threadshare/libgstthreadshare.so").exists())
    });
    let is_available = |row: &Row| match row {
        Row::Rtpengine | Row::RtpengineSubscribe => is_there("rtpengine"),
        Row::Ts | Row::TsTee => has_thread_sharing,
        _ => true,
    };
    Row::value_variants().iter().copied().filter(is_available).collect()
}

fn report(samples: &Path, into: Option<&Path>) -> Result<()> {
    let text = fs::read_to_string(samples).with_context(|| format!("reading {}", samples.display()))?;
    let samples: Vec<Sample> =
        text.lines().filter(|line| *line != Sample::HEAD).map(str::parse).collect::<Result<_>>()?;
    let tables = table::tables(&samples);
    let Some(into) = into else {
        println!("{tables}");
        return Ok(());
    };
    let page = into.join("performance.md");
    fs::write(&page, table::insert(&fs::read_to_string(&page)?, &tables)?)?;
    fs::write(into.join("performance.svg"), plot::draw(&samples))?;
    Ok(())
}

/// libsrtp, built from its source: not the one that GStreamer and rtpengine use, and not our own.
struct Libsrtp(Session);

impl Libsrtp {
    fn judge(key: &[u8]) -> Result<Box<dyn Judge>> {
        let policy = StreamPolicy {
            rtp: CryptoPolicy::aes_cm_128_hmac_sha1_80(),
            rtcp: CryptoPolicy::aes_cm_128_hmac_sha1_80(),
            key,
            ..StreamPolicy::default()
        };
        let refused = |fault| anyhow!("libsrtp refuses: {fault:?}");
        Ok(Box::new(Self(Session::with_inbound_template(policy).map_err(refused)?)))
    }
}

impl Judge for Libsrtp {
    fn unprotect(&mut self, packet: &mut Vec<u8>) -> Result<()> {
        self.0.unprotect(packet).map_err(|fault| anyhow!("{fault:?}"))
    }
}
