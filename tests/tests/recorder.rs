//! The program `siprec recorder`: its first line, its exit codes, and what stays when it is killed or the disk is full.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::process::{Process, run, wait_until};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::script::{AUDIO, Script};
use siprec_system_tests::wav;

const PATIENCE: Duration = Duration::from_secs(20);

fn seconds(path: &Path) -> f64 {
    wav::channels(path).map_or(0.0, |(rate, channels)| {
        channels.first().map_or(0.0, |samples| samples.len() as f64 / f64::from(rate))
    })
}

#[test]
fn wrong_use_a_taken_port_and_a_bad_folder_are_told_with_their_exit_codes() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let taken = recorder.address().to_owned();
    let file = sandbox.join("file");
    std::fs::write(&file, "")?;
    let file = file.display().to_string();
    for (arguments, code, told) in [
        (vec!["--listen", &taken], 1, taken.as_str()),
        (vec!["--listen", "127.0.0.1:0", "--output", &file], 1, "cannot create folder"),
        (vec!["--listen", "nonsense"], 2, "nonsense"),
        (vec!["--refuse", "200"], 2, "300 to 699"),
        (vec!["--refuse-times", "2"], 2, "--refuse <STATUS[:REASON]>"),
        (vec!["--retry-after", "2"], 2, "--redirect <URI>"),
        (vec!["--redirect", "nowhere"], 2, "no scheme"),
        (vec!["--redirect", "sip:a", "--refuse", "486"], 2, "cannot be used with"),
    ] {
        let mut command = sandbox.siprec();
        command.arg("recorder").args(&arguments).current_dir(sandbox.path());
        let (status, output) = run(&sandbox, "failing", &mut command, PATIENCE)?;
        ensure!(status.code() == Some(code), "{arguments:?}: {status}\n{output}");
        ensure!(output.contains(told) && !output.contains("panicked"), "{arguments:?}:\n{output}");
    }
    Ok(())
}

#[test]
fn interrupted_it_says_goodbye_tells_the_session_in_one_line_and_ends_well() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&recorder, "goodbye")?;
    script.speak(0..50)?;
    recorder.process().signal("INT")?;
    script.expect_bye()?;
    let output = recorder.process().succeed(PATIENCE)?;
    let lines: Vec<_> = output.lines().collect();
    ensure!(lines.len() == 2, "{output}");
    ensure!(output.contains("session id=goodbye call-uuid=U state=ended"), "{output}");
    ensure!(output.contains(" packets=50 lost=0 "), "{output}");
    ensure!(seconds(&recorder.folder().join("goodbye/session.wav")) == 1.0);
    Ok(())
}

#[test]
fn killed_it_leaves_a_file_that_plays() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&recorder, "killed")?;
    script.speak(0..100)?;
    let path = recorder.folder().join("killed/session.partial.wav");
    wait_until("the partial file has all", PATIENCE, || Ok((seconds(&path) == 2.0).then_some(())))?;
    recorder.process().signal("KILL")?;
    recorder.process().wait(PATIENCE)?;
    ensure!(seconds(&path) == 2.0);
    Ok(())
}

#[test]
fn a_full_disk_ends_the_session_and_not_the_program() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let folder = sandbox.join("recordings");
    // No file may grow beyond 64 blocks: the system then refuses to write, as it does on a full disk.
    let mut command = sandbox.command("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
    command.arg(sandbox.build().join("siprec"));
    command.args(["recorder", "--listen", "127.0.0.1:0", "--output"]).arg(&folder);
    let mut process = Process::start(&sandbox, "limited", &mut command)?;
    let line = process.wait_for_line("listening", PATIENCE)?;
    let address =
        line.split_whitespace().find_map(|word| word.strip_prefix("udp=")).context("no udp=")?.to_owned();
    let script = Script::begin_with(&address, "full", AUDIO, "")?;
    script.speak(0..1000)?;
    script.expect_bye()?;
    let line = process.wait_for_line("session id=full", PATIENCE)?;
    ensure!(line.contains(" state=failed ") && line.contains("error=\"cannot write "), "{line}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("full/session.json"))?)?;
    let error = json.get("error").and_then(|error| error.as_str()).unwrap_or_default();
    ensure!(error.starts_with("cannot write "), "{json}");
    let script = Script::begin_with(&address, "small", AUDIO, "")?;
    script.speak(0..10)?;
    process.signal("TERM")?;
    script.expect_bye()?;
    process.succeed(PATIENCE)?;
    ensure!(seconds(&folder.join("small/session.wav")) == 0.2);
    Ok(())
}

#[test]
fn a_picture_is_made_of_a_session_and_of_nothing_else() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &[])?;
    let script = Script::begin(&recorder, "picture")?;
    script.speak(0..50)?;
    script.end(&mut recorder)?;
    let picture = sandbox.join("a.png");
    let mut command = sandbox.siprec();
    command.arg("picture").arg(recorder.folder().join("picture")).arg(&picture);
    let (status, output) = run(&sandbox, "picture", &mut command, PATIENCE)?;
    ensure!(status.success(), "{output}");
    ensure!(std::fs::read(&picture)?.starts_with(b"\x89PNG\r\n\x1a\n"));
    let mut command = sandbox.siprec();
    command.arg("picture").arg(sandbox.path()).arg(&picture);
    let (status, output) = run(&sandbox, "picture", &mut command, PATIENCE)?;
    ensure!(status.code() == Some(1) && output.contains("session.json"), "{status}: {output}");
    Ok(())
}
