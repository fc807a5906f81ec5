//! An application that never lets a recording be: more offers than a dialog has transactions, and what is recorded all
//! the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_system_tests::call::Call;
use siprec_system_tests::process::wait_until;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::{PATIENCE, Speech, channels};

/// How often the call is paused and resumed.
const TIMES: usize = 40;

/// Gives an order, and waits until it was told so many times that it holds: a resume once the recorder has agreed.
fn obeyed(call: &mut Call, action: &str, told: &str, times: usize) -> Result<()> {
    call.order(&format!("action {action}"))?;
    wait_until(&format!("{told} for the {times}. time"), Duration::from_secs(10), || {
        let count = call.relay.output().lines().filter(|line| line.starts_with(told)).count();
        Ok((count >= times).then_some(()))
    })
}

#[test]
fn eighty_pauses_and_resumes_as_fast_as_they_are_answered_cost_nothing_of_the_recording() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let mut call = Call::start_led(&sandbox, &format!("recorder={} dn=1001 other-dn=1002", recorder.uri()))?;
    let mut speech = Speech::new();
    speech.part(&call)?;
    for time in 1..=TIMES {
        obeyed(&mut call, "pause", "siprec-paused", time)?;
        obeyed(&mut call, "resume", "siprec-resumed", time)?;
    }
    obeyed(&mut call, "pause", "siprec-paused", TIMES + 1)?;
    speech.part(&call)?;
    call.order("action resume")?;
    speech.part(&call)?;
    call.relay.say("quit")?;
    let printed = call.relay.succeed(PATIENCE)?;

    let sessions = recorder.sessions(1, PATIENCE)?;
    for (party, channel) in channels(&sessions[0])?.iter().enumerate() {
        speech.ensure_heard(channel, party, &[0, 2])?;
    }
    for told in ["siprec-gap", "siprec-failed", "WARNING"] {
        ensure!(!printed.contains(told), "{told}:\n{printed}");
    }
    let ladder = std::fs::read_to_string(sessions[0].folder.join("ladder.txt"))?;
    let count = |what: &str| ladder.lines().filter(|line| line.contains(what)).count();
    let offers = 2 * TIMES + 3;
    ensure!(count("--- INVITE (") == offers, "{} INVITEs, not {offers}:\n{ladder}", count("--- INVITE ("));
    ensure!(count("--- ACK (") == offers, "{} ACKs, not {offers}:\n{ladder}", count("--- ACK ("));
    Ok(())
}
