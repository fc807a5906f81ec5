//! Recorders that die, stop, are slow, deaf or full, and the clock that jumps.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::pki::Authority;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;

use crate::Case;
use crate::baseline::Baseline;
use crate::row::Row;
use crate::scene::{Plan, Played, Scene, Station};

pub(crate) const CASES: &[Case] = &[
    ("none", none),
    ("killed", killed),
    ("stopped", stopped),
    ("late", late),
    ("deaf", deaf),
    ("full", full),
    ("both", both),
    ("copies", copies),
    ("clock", clock),
    ("tcp", tcp),
    ("tls", tls),
];

/// The URIs of these recorders, the first one first.
pub(crate) fn uris(stations: &[Station]) -> String {
    stations.iter().map(Station::uri).collect::<Vec<_>>().join(" ")
}

/// A recorder with these arguments, and one that has nothing to do until it fails.
pub(crate) fn two(arguments: &[&str]) -> Result<Vec<Station>> {
    Ok(vec![Station::open(arguments)?, Station::open(&[])?])
}

pub(crate) fn plan(stations: &[Station], seconds: usize) -> Plan<'static> {
    Plan { recorder: uris(stations), seconds, ..Plan::default() }
}

/// A call to which nothing happens.
pub(crate) fn undisturbed(baseline: &mut Baseline) -> Result<()> {
    baseline.play(uris(&two(&[])?))
}

fn none() -> Result<Vec<Row>> {
    let unrecorded = Plan { properties: "auto-start=false", seconds: 15, ..Plan::default() };
    let unrecorded = Scene::begin(&unrecorded)?.finish()?.row("none, and nothing is recorded");
    let mut stations = two(&[])?;
    let recorded = Scene::begin(&plan(&stations, 20))?.finish()?;
    Ok(vec![unrecorded, recorded.judged("none", &mut stations)?])
}

fn killed() -> Result<Vec<Row>> {
    let mut stations = two(&[])?;
    let mut scene = Scene::begin(&plan(&stations, 25))?;
    scene.wait(6.0);
    scene.inject();
    stations[0].kill()?;
    Ok(vec![scene.finish()?.judged("recorder killed (SIGKILL)", &mut stations)?])
}

fn stopped() -> Result<Vec<Row>> {
    let mut stations = two(&[])?;
    let mut scene = Scene::begin(&plan(&stations, 35))?;
    scene.wait(6.0);
    scene.inject();
    stations[0].recorder.process().signal("STOP")?;
    let played = scene.finish()?;
    // What it would write if it went on does not count.
    stations[0].kill()?;
    Ok(vec![played.judged("recorder stopped (SIGSTOP)", &mut stations)?])
}

fn late() -> Result<Vec<Row>> {
    let mut stations = two(&["--answer-after", "5.5"])?;
    let mut scene = Scene::begin(&plan(&stations, 18))?;
    scene.inject();
    Ok(vec![scene.finish()?.judged("recorder slow: answers the INVITE after 5.5 s of 6 s", &mut stations)?])
}

/// Recorders of a pool that are expected to report.
fn reporting(stations: &[Station], seconds: usize) -> Result<(Sandbox, Plan<'static>)> {
    let sandbox = Sandbox::new()?;
    let mut text = "[pool.east]\nhealth-check = { interval = 0 }\n".to_owned();
    for station in stations {
        text += &format!("[[pool.east.recorder]]\nuri = \"{}\"\nexpects-rr = true\n", station.uri());
    }
    let file = sandbox.join("pools.toml");
    std::fs::write(&file, text)?;
    let agent = vec![format!("config={}", file.display())];
    Ok((sandbox, Plan { recorder: "pool:east".to_owned(), agent, seconds, ..Plan::default() }))
}

fn deaf() -> Result<Vec<Row>> {
    let mut stations = two(&["--deaf"])?;
    let (sandbox, plan) = reporting(&stations, 48)?;
    let mut scene = Scene::begin_in(sandbox, &plan)?;
    scene.inject();
    let expected = scene.finish()?.judged("recorder accepts SIP and is deaf, `expects-rr`", &mut stations)?;
    let mut stations = two(&["--deaf"])?;
    let mut scene = Scene::begin(&self::plan(&stations, 12))?;
    scene.inject();
    let mut never =
        scene.finish()?.judged("recorder accepts SIP, is deaf and never reports", &mut stations)?;
    never.remark("cannot be told from one that records: use `expects-rr`");
    Ok(vec![expected, never])
}

/// A recorder whose disk, of memory, has room for eight seconds, and one that has more.
fn full() -> Result<Vec<Row>> {
    let sandbox = Sandbox::new()?;
    let folder = sandbox.join("recordings");
    std::fs::create_dir(&folder)?;
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&folder))?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let mut stations = vec![Station::new(sandbox, recorder), Station::open(&[])?];
    let mut scene = Scene::begin(&plan(&stations, 25))?;
    scene.wait(6.0);
    scene.inject();
    let fault = "recorder's disk full about 2 s later: it hangs up and says why";
    let row = scene.finish()?.judged(fault, &mut stations)?;
    // Where that fails, the mount goes with its namespace.
    let _ = run(Command::new("umount").arg("--lazy").arg(&folder));
    Ok(vec![row])
}

/// Runs a program of the system that has to succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {error}");
    Ok(())
}

fn both() -> Result<Vec<Row>> {
    let mut stations = two(&[])?;
    let mut scene = Scene::begin(&plan(&stations, 25))?;
    scene.wait(6.0);
    scene.inject();
    stations[0].kill()?;
    stations[1].kill()?;
    let mut dead = scene.finish()?.judged("both recorders killed", &mut stations)?;
    dead.remark("nobody is left to record");

    let mut stations = two(&[])?;
    let mut scene = Scene::begin(&plan(&stations, 28))?;
    scene.wait(6.0);
    scene.inject();
    let address = stations[0].recorder.address().to_owned();
    stations[0].kill()?;
    stations[1].kill()?;
    scene.wait(8.0);
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start_by(&sandbox, &["env"], &address, &[])?;
    stations.push(Station::new(sandbox, recorder));
    let again = scene.finish()?;
    Ok(vec![dead, again.judged("both recorders killed, one is back after 2 s", &mut stations)?])
}

fn copies() -> Result<Vec<Row>> {
    let mut first = two(&[])?;
    let mut second = two(&[])?;
    let properties = format!("second-recorder=\"{}\"", uris(&second));
    let plan = Plan { properties: &properties, ..plan(&first, 25) };
    let mut scene = Scene::begin(&plan)?;
    scene.wait(6.0);
    scene.inject();
    first[0].kill()?;
    second[0].kill()?;
    let played: Played = scene.finish()?;
    let fault = "two copies, the recorders of both killed";
    let mut row = played.judged(fault, &mut first)?;
    let other = played.judged(fault, &mut second)?;
    row.remark(&format!("the second copy lost {} samples", other.speech.unwrap_or_default()));
    Ok(vec![row])
}

/// Where Debian has libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

fn clock() -> Result<Vec<Row>> {
    let mut stations = two(&[])?;
    let sandbox = Sandbox::new()?;
    let file = sandbox.join("clock");
    std::fs::write(&file, "+0\n")?;
    let shown = file.display().to_string();
    let variables = vec![
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", shown.as_str()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let mut scene = Scene::begin_in(sandbox, &Plan { variables, ..plan(&stations, 25) })?;
    for (second, jump) in [(6.0, "+3600\n"), (14.0, "-3600\n"), (20.0, "+0\n")] {
        scene.wait(second);
        if second < 7.0 {
            scene.inject();
        }
        std::fs::write(&file, jump)?;
    }
    Ok(vec![
        scene
            .finish()?
            .judged("the wall clock jumps an hour ahead, two back, and one ahead", &mut stations)?,
    ])
}

/// Breaks every connection to a port.
fn break_connections(port: &str) -> Result<()> {
    run(Command::new("ss").args(["--kill", "state", "established", "dst", "127.0.0.1", "dport", "=", port]))
}

fn broken(mut stations: Vec<Station>, plan: &Plan<'_>, port: &str, fault: &str) -> Result<Row> {
    let mut scene = Scene::begin(plan)?;
    scene.wait(6.0);
    scene.inject();
    break_connections(port)?;
    scene.wait(14.0);
    break_connections(port)?;
    scene.finish()?.judged(fault, &mut stations)
}

fn tcp() -> Result<Vec<Row>> {
    let stations = two(&[])?;
    let [first, second] = [0, 1].map(|index| format!("{};transport=tcp", stations[index].uri()));
    let plan = Plan { recorder: format!("{first} {second}"), seconds: 20, ..Plan::default() };
    let port = stations[0].recorder.address().rsplit(':').next().unwrap_or_default().to_owned();
    Ok(vec![broken(stations, &plan, &port, "TCP connection broken, twice")?])
}

fn tls() -> Result<Vec<Row>> {
    let sandbox = Sandbox::new()?;
    let authority = Authority::new(&sandbox, "ours")?;
    let certificate = authority.sign("recorder", "IP:127.0.0.1")?;
    let files = [&certificate.certificate, &certificate.key].map(|path| path.display().to_string());
    let arguments = ["--listen-tls", "127.0.0.1:0", "--certificate", &files[0], "--key", &files[1]];
    let stations = vec![Station::open(&arguments)?, Station::open(&arguments)?];
    let mut addresses = Vec::new();
    for station in &stations {
        addresses.push(station.recorder.tls().context("it listens by TLS")?);
    }
    let agent = vec![format!("tls-ca={}", authority.file().display())];
    let recorder = format!("sips:{} sips:{}", addresses[0], addresses[1]);
    let plan = Plan { recorder, properties: "srtp=require", agent, seconds: 20, ..Plan::default() };
    Ok(vec![broken(stations, &plan, &addresses[0].port().to_string(), "TLS connection broken, twice, SRTP")?])
}
