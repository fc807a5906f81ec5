//! The gst-launch lines of the pages do what the pages say, and GStreamer has nothing to say against them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{PCMU, babble, ensure_untouched};
use siprec_system_tests::net::{free_udp_port, local, udp, wait_for_udp};
use siprec_system_tests::process::Process;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::rtp::{self, Collector};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sources::root;
use siprec_system_tests::speech::places;

const PATIENCE: Duration = Duration::from_secs(10);

/// The first gst-launch line of a page, with these of its words replaced.
fn line(page: &str, words: &[(&str, String)]) -> Result<String> {
    let text = std::fs::read_to_string(root().join(page))?;
    let (_, rest) = text.split_once("\n    gst-launch-1.0 ").context("the page has no gst-launch line")?;
    let mut line = format!("exec gst-launch-1.0 {}", rest.split("\n\n").next().unwrap_or_default());
    for (word, replacement) in words {
        ensure!(line.contains(word), "{page} does not say {word}: {line}");
        line = line.replace(word, replacement);
    }
    Ok(line)
}

/// Runs it until `talk` is over.
fn run(sandbox: &Sandbox, line: &str, ports: &[u16], talk: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut process = Process::start(sandbox, "line", sandbox.command("sh").args(["-c", line]))?;
    for port in ports {
        wait_for_udp(*port, PATIENCE).with_context(|| process.output())?;
    }
    talk().with_context(|| process.output())?;
    process.signal("INT")?;
    let printed = process.succeed(PATIENCE)?;
    ensure!(!["WARNING", "ERROR", "CRITICAL"].iter().any(|word| printed.contains(word)), "{printed}");
    Ok(())
}

fn recorded_by(page: &str, recorder_word: &str, caps_word: &str) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let (phones, ports) = ([udp()?, udp()?], [free_udp_port()?, free_udp_port()?]);
    let ears = [Collector::on(phones[0].try_clone()?)?, Collector::on(phones[1].try_clone()?)?];
    let to = |phone: usize| Ok::<_, anyhow::Error>(phones[phone].local_addr()?.port());
    let line = line(
        page,
        &[
            (recorder_word, recorder.uri()),
            (caps_word, format!("caps=\"{PCMU}\"")),
            ("port=5004", format!("address=127.0.0.1 port={}", ports[0])),
            ("port=5006", format!("address=127.0.0.1 port={}", ports[1])),
            ("host=B port=6004", format!("host=127.0.0.1 port={}", to(1)?)),
            ("host=A port=6006", format!("host=127.0.0.1 port={}", to(0)?)),
        ],
    )?;
    let said = [babble(0, 2), babble(1, 2)];
    run(&sandbox, &line, &ports, || {
        std::thread::scope(|scope| {
            let speaker = scope.spawn(|| rtp::play(&phones[0], local(ports[0]), &said[0]));
            rtp::play(&phones[1], local(ports[1]), &said[1])?;
            speaker.join().map_err(|_| anyhow::anyhow!("a speaker panicked"))?
        })?;
        // What is under way when the line ends is lost.
        let end = Instant::now() + PATIENCE;
        ears[0].wait_for(said[1].len(), end);
        ears[1].wait_for(said[0].len(), end);
        Ok(())
    })?;
    let [first, second] = ears;
    ensure_untouched(&said[1], &first.finish()?)?;
    ensure_untouched(&said[0], &second.finish()?)?;
    places(&recorder.sessions(1, PATIENCE)?[0], &said)?;
    Ok(())
}

#[test]
fn the_line_of_the_readme_records_its_call() {
    let caps = format!("caps=\"{PCMU}\"");
    recorded_by("README.md", "sip:recorder.example:5060", &caps).unwrap();
}

#[test]
fn the_line_of_the_page_of_siprec_records_its_call() {
    recorded_by("docs/siprec.md", "sip:recorder.example", "caps=\"…\"").unwrap();
}

#[test]
fn the_line_of_the_page_of_siprectee_copies_its_stream() {
    let sandbox = Sandbox::new().unwrap();
    let (call, copy) = (Collector::start().unwrap(), Collector::start().unwrap());
    let port = free_udp_port().unwrap();
    let line = line(
        "docs/siprectee.md",
        &[
            ("caps=\"…\"", format!("caps=\"{PCMU}\"")),
            ("port=5004", format!("address=127.0.0.1 port={port}")),
            ("host=B port=6004", format!("host=127.0.0.1 port={}", call.address().port())),
            ("host=recorder port=7004", format!("host=127.0.0.1 port={}", copy.address().port())),
        ],
    )
    .unwrap();
    let said = babble(0, 1);
    run(&sandbox, &line, &[port], || {
        rtp::play(&udp()?, local(port), &said)?;
        // What is under way when the line ends is lost.
        let end = Instant::now() + PATIENCE;
        call.wait_for(said.len(), end);
        copy.wait_for(said.len(), end);
        Ok(())
    })
    .unwrap();
    ensure_untouched(&said, &call.finish().unwrap()).unwrap();
    assert_eq!(copy.finish().unwrap().len(), said.len());
}
