//! A process that is killed in the middle of a recording, and the next one with the same folder: SIPp, as the recorder, gets
//! a BYE that belongs to its dialog.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_sip::Method;
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::net::lasting_port;
use siprec_system_tests::process::{Process, wait_until};
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sipp::Sipp;

const PATIENCE: Duration = Duration::from_secs(20);

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

/// A call that SIPp records, of a process that writes its dialogs down.
fn recorded(sandbox: &Sandbox, sipp: &mut Sipp, agent: &[String]) -> Result<Call> {
    let call = sipp.led_call_with_agent(sandbox, agent)?;
    call.talk_untouched(&[babble(0, 1), babble(1, 1)])?;
    sipp.wait_for(sandbox, "established", PATIENCE)?;
    Ok(call)
}

/// Another process, which is idle but for what was left to it.
fn idle(sandbox: &Sandbox, state: &Path) -> Result<Process> {
    let pipeline = "siprec name=rec auto-start=false audiotestsrc is-live=true ! mulawenc ! rtppcmupay ! rec.sink_0 \
                    rec.src_0 ! fakesink";
    let mut command = sandbox.gst_launch(pipeline);
    Process::start(sandbox, "next", command.env("GST_SIPREC_STATE_DIR", state))
}

fn the_next_process_ends_it(start: impl FnOnce(&Sandbox) -> Result<Sipp>, is_answered: bool) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let state = sandbox.join("state");
    let mut sipp = start(&sandbox)?;
    // SIPp answers to where the call's first message came from.
    let agent = [format!("state-dir={}", state.display()), format!("sip-port={}", lasting_port()?)];
    let call = recorded(&sandbox, &mut sipp, &agent)?;
    wait_until("the dialog is written down", PATIENCE, || Ok((files(&state)?.len() == 1).then_some(())))?;
    call.relay.signal("KILL")?;

    // It records nothing itself.
    let mut next = Call::start_led_with_agent(&sandbox, "auto-start=false", &agent)?;
    sipp.finish(&sandbox)?;
    if is_answered {
        wait_until("the file is gone", PATIENCE, || Ok(files(&state)?.is_empty().then_some(())))?;
    }
    next.relay.say("quit")?;
    next.relay.succeed(PATIENCE)?;
    // That its connection has ended is no answer.
    ensure!(files(&state)?.is_empty() == is_answered, "{:?}", files(&state)?);

    let requests = sipp.requests(&sandbox)?;
    let of = |method: &Method| {
        let mut found: Vec<_> = requests.iter().filter(|request| request.method == *method).collect();
        // On a busy machine a request is sent again before its answer is read.
        found.dedup_by(|again, first| again.to_bytes() == first.to_bytes());
        found
    };
    let (invites, acks, byes) = (of(&Method::Invite), of(&Method::Ack), of(&Method::Bye));
    ensure!((invites.len(), acks.len(), byes.len()) == (1, 1, 1), "{requests:?}");
    let (ack, bye) = (&acks[0].headers, &byes[0].headers);
    ensure!(ack.call_id()? == bye.call_id()?, "another Call-ID: {requests:?}");
    ensure!((ack.from()?, ack.to()?) == (bye.from()?, bye.to()?), "another dialog: {requests:?}");
    ensure!(acks[0].uri == byes[0].uri, "another target: {requests:?}");
    ensure!(ack.via()?.branch() != bye.via()?.branch(), "no transaction of its own: {requests:?}");
    Ok(())
}

#[test]
fn the_next_process_ends_the_dialog_of_one_that_was_killed() {
    the_next_process_ends_it(|sandbox| Sipp::start(sandbox, "left"), true).unwrap();
}

#[test]
fn the_next_process_ends_the_dialog_of_one_that_was_killed_by_tcp() {
    the_next_process_ends_it(|sandbox| Sipp::start_tcp(sandbox, "left-by-tcp"), false).unwrap();
}

#[test]
fn one_that_ends_gently_leaves_nothing() {
    let run = || -> Result<()> {
        let sandbox = Sandbox::new()?;
        let state = sandbox.join("state");
        let mut sipp = Sipp::start(&sandbox, "accept")?;
        let mut call = Call::start_among(
            &sandbox,
            &format!("recorder={} dn=1001 probe-interval=0", sipp.uri()),
            &[("GST_SIPREC_STATE_DIR", &state.display().to_string())],
        )?;
        call.talk_untouched(&[babble(0, 1), babble(1, 1)])?;
        call.relay.wait_for_line("siprec-started", PATIENCE)?;
        let standing = wait_until("the dialog is written down", PATIENCE, || {
            let files = files(&state)?;
            Ok((files.len() == 1).then_some(files))
        })?;
        // Another process leaves it alone, for its owner lives.
        let mut other = idle(&sandbox, &state)?;
        other.wait_for_line("PLAYING", PATIENCE)?;
        call.talk_untouched(&[babble(0, 1), babble(1, 1)])?;
        other.signal("INT")?;
        other.succeed(PATIENCE)?;
        ensure!(files(&state)? == standing, "{:?}", files(&state)?);

        // As gst-launch does: it exits milliseconds after NULL.
        call.hang_up()?;
        ensure!(files(&state)?.is_empty(), "{:?}", files(&state)?);
        sipp.finish(&sandbox)
    };
    run().unwrap();
}
