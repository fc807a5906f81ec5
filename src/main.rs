//! The program `siprec`: argument parsing and wiring of the subcommands, nothing else.

mod behaviour;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, getrlimit, setrlimit};
use siprec_recorder::{Recorder, RecorderConfig, SrtpMode, SrtpSuite, TlsConfig, TlsIdentity};
use tokio::signal::unix::{SignalKind, signal};

use behaviour::BehaviourArguments;

/// Call recording for GStreamer.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Recorder(Box<RecorderArguments>),
    Picture(PictureArguments),
}

/// Answers recording sessions and writes each into a folder: session.wav, session.json, ladder.txt.
///
/// The first line on standard output tells the address: "listening udp=ADDRESS:PORT tcp=ADDRESS:PORT output=FOLDER",
/// with "tls=ADDRESS:PORT" before the output where there is TLS.
/// One line follows for each session at its end. Runs until SIGINT or SIGTERM.
#[derive(Args)]
struct RecorderArguments {
    /// Address and port for SIP by UDP and TCP; RTP comes to the same address. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:5060")]
    listen: SocketAddr,
    /// Address and port for SIP by TLS. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "certificate")]
    listen_tls: Option<SocketAddr>,
    /// PEM file of the certificate for TLS, and of those that lead to its authority. Read again when it changes.
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key; the certificate's file when not given.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// PEM file of authorities: who connects by TLS must show a certificate that one of them has signed.
    #[arg(long, value_name = "FILE", requires = "listen_tls")]
    client_ca: Option<PathBuf>,
    /// Folder for the sessions' folders; made when it does not exist.
    #[arg(long, value_name = "FOLDER", default_value = "recordings")]
    output: PathBuf,
    /// Count packets, decode and write nothing (for load tests).
    #[arg(long)]
    count_only: bool,
    /// Keep the packets of every stream as .rtpdump, not only of those that cannot be decoded.
    #[arg(long)]
    keep_rtp: bool,
    /// What becomes of pauses in session.wav.
    #[arg(long, value_enum, default_value_t = Pauses::Silence)]
    pauses: Pauses,
    /// Whether streams are to be secured by SRTP, with keys in the session description.
    #[arg(long, value_enum, default_value_t = Srtp::Accept)]
    srtp: Srtp,
    /// The suites of SRTP that are accepted, the best first.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = SrtpSuite::ALL)]
    srtp_suites: Vec<SrtpSuite>,
    #[command(flatten)]
    behaviour: BehaviourArguments,
}

/// What becomes of a time in which the client was silent because one side asked for it.
#[derive(Clone, Copy, ValueEnum)]
enum Pauses {
    /// Silence of its length: the time line stays true.
    Silence,
    /// Nothing: what came before and after it join.
    Cut,
}

/// Whether streams are to be secured.
#[derive(Clone, Copy, ValueEnum)]
enum Srtp {
    /// Plain and secured ones are taken.
    Accept,
    /// Plain ones are refused.
    Require,
    /// Secured ones are refused.
    Refuse,
}

/// Draws a recording: the waveform of each channel over the time line.
#[derive(Args)]
struct PictureArguments {
    /// The folder of a finished session, or a WAV file.
    recording: PathBuf,
    /// The PNG file to write.
    picture: PathBuf,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Recorder(arguments) => record(*arguments),
        Command::Picture(PictureArguments { recording, picture }) => {
            siprec_recorder::draw(&recording, &picture).context("no picture")
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading it, and the status tells too.
            let _ = writeln!(std::io::stderr(), "siprec: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn record(arguments: RecorderArguments) -> Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Runtime::new().context("no runtime")?;
    let outcome = runtime.block_on(run(arguments));
    // Threads that wait for a disk must not keep the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Every stream takes three files; the usual soft limit of 1024 ends at 170 sessions of two.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // With a lower limit some sessions are refused with a clear reason.
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn run(arguments: RecorderArguments) -> Result<()> {
    let config = RecorderConfig {
        tls: tls(&arguments),
        count_only: arguments.count_only,
        keep_rtp: arguments.keep_rtp,
        cut_pauses: matches!(arguments.pauses, Pauses::Cut),
        srtp: match arguments.srtp {
            Srtp::Accept => SrtpMode::Accept,
            Srtp::Require => SrtpMode::Require,
            Srtp::Refuse => SrtpMode::Refuse,
        },
        srtp_suites: arguments.srtp_suites,
        behaviour: arguments.behaviour.into(),
        ..RecorderConfig::new(arguments.listen, arguments.output)
    };
    let output = config.output.display().to_string();
    let mut interrupted = signal(SignalKind::interrupt()).context("no signal handler")?;
    let mut terminated = signal(SignalKind::terminate()).context("no signal handler")?;
    let recorder = Recorder::start(config, |session| say(&session.to_string()))
        .context("the recorder does not start")?;
    let local = recorder.local();
    let tls = recorder.local_tls().map(|local| format!(" tls={local}")).unwrap_or_default();
    say(&format!("listening udp={local} tcp={local}{tls} output={output}"));
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    recorder.stop().await;
    Ok(())
}

fn tls(arguments: &RecorderArguments) -> TlsConfig {
    let identity = |certificate: PathBuf| TlsIdentity {
        key: arguments.key.clone().unwrap_or_else(|| certificate.clone()),
        certificate,
    };
    TlsConfig {
        listen: arguments.listen_tls,
        identity: arguments.certificate.clone().map(identity),
        client_ca: arguments.client_ca.clone(),
        ..TlsConfig::default()
    }
}

/// Writes a line to standard output. Nobody may be reading it any more, and that is no reason to end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
