//! Recorders out of pools on the wire: SIPp judges what they are asked, sends elsewhere and asks for time; the reference
//! recorder dies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::pki::Authority;
use siprec_system_tests::process::{run, wait_until};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sipp::Sipp;

const PATIENCE: Duration = Duration::from_secs(20);

/// A pool `east` of these recorders, each asked once by the hour unless the head says otherwise; gives the agent's
/// property.
fn pool(sandbox: &Sandbox, head: &str, recorders: &[&str]) -> Result<String> {
    let mut text = format!("[pool.east]\n{head}\n");
    for recorder in recorders {
        text += &format!("[[pool.east.recorder]]\nuri = \"{recorder}\"\n");
    }
    let file = sandbox.join("pools.toml");
    std::fs::write(&file, text)?;
    Ok(format!("config={}", file.display()))
}

fn call(sandbox: &Sandbox, recorder: &str, agent: &[String]) -> Result<Call> {
    let properties = format!("recorder=\"{recorder}\" call-uuid=C1 dn=1001 other-dn=1002");
    Call::start_led_with_agent(sandbox, &properties, agent)
}

fn count(call: &Call, message: &str) -> usize {
    call.relay.output().lines().filter(|line| line.starts_with(message)).count()
}

/// The relay ends its call, and says how often each of these messages came.
fn end<const N: usize>(call: &mut Call, messages: [&str; N]) -> Result<[usize; N]> {
    call.relay.say("quit")?;
    call.relay.succeed(PATIENCE)?;
    Ok(messages.map(|message| count(call, message)))
}

#[test]
fn a_recorder_that_moved_is_followed_and_the_first_word_is_not_lost() -> Result<()> {
    let (first, second) = (Sandbox::new()?, Sandbox::new()?);
    let mut there = Sipp::start(&second, "accept")?;
    let mut moved = Sipp::start_with(&first, "redirect", &[("PLACE", there.uri())])?;
    let mut call = moved.call(&first)?;
    let said = [babble(0, 4), babble(1, 4)];
    call.talk_untouched(&said)?;
    let told = call.hang_up()?;
    ensure!(told.contains("sip-code=(uint)302"), "{told}");
    moved.finish(&first)?;
    there.finish(&second)?;
    for (said, recorded) in said.iter().zip(there.received()?) {
        let payloads = |packets: &[siprec_system_tests::rtp::Packet]| -> Vec<Vec<u8>> {
            packets.iter().map(|packet| packet.payload.clone()).collect()
        };
        ensure!(payloads(said) == payloads(&recorded), "{} of {} packets", recorded.len(), said.len());
    }
    Ok(())
}

#[test]
fn a_busy_recorder_is_not_asked_by_the_next_recording() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut busy = Sipp::start(&sandbox, "busy")?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let mut call =
        call(&sandbox, &format!("{} {}", busy.uri(), recorder.uri()), &["user=siprec".to_owned()])?;
    call.talk_untouched(&[babble(0, 2), babble(1, 2)])?;
    call.relay.wait_for_line("siprec-started", PATIENCE)?;
    call.order("action stop")?;
    call.relay.wait_for_line("siprec-stopped", PATIENCE)?;
    // SIPp has ended: whoever asked it again would wait for two seconds, and say so.
    busy.finish(&sandbox)?;
    call.order("action start")?;
    call.talk_untouched(&[babble(0, 2), babble(1, 2)])?;
    recorder_has(&recorder, 1)?;
    let counts = end(&mut call, ["siprec-failed,", "siprec-started,"])?;
    ensure!(counts == [1, 2], "{counts:?}\n{}", call.relay.output());
    recorder_has(&recorder, 2)
}

fn recorder_has(recorder: &Recorder, sessions: usize) -> Result<()> {
    recorder.sessions(sessions, PATIENCE).map(drop)
}

#[test]
fn a_question_is_one_as_sipp_and_tshark_know_it_and_its_answer_is_told() -> Result<()> {
    for (code, phrase, state) in
        [(200, "OK", "alive"), (405, "Method Not Allowed", "alive"), (503, "Full", "dead")]
    {
        let sandbox = Sandbox::new()?;
        let words = [("CODE", code.to_string()), ("PHRASE", phrase.to_owned())];
        let words = words.each_ref().map(|(word, instead)| (*word, instead.as_str()));
        let mut judge = Sipp::start_with(&sandbox, "options", &words)?;
        let head = "health-check = { interval = 3600, failures = 1 }";
        let agent = pool(&sandbox, head, &[judge.uri()])?;
        // Nobody is recorded: the pool is only watched.
        let mut call = call(&sandbox, "sip:127.0.0.1:9", &[agent])?;
        let changed = call.relay.wait_for_line("changed:", PATIENCE)?;
        let expected = format!("changed: {} {state} it answers {code} {phrase}", judge.uri());
        ensure!(changed.trim() == expected, "{changed}");
        judge.finish(&sandbox)?;
        end(&mut call, [])?;
    }
    Ok(())
}

#[test]
fn a_recorder_that_is_killed_is_not_tried_once_that_is_known_and_drain_moves_calls_at_once() -> Result<()> {
    let (sandbox, other, third) = (Sandbox::new()?, Sandbox::new()?, Sandbox::new()?);
    let (mut first, second) = (Recorder::start(&sandbox, &[])?, Recorder::start(&other, &[])?);
    let third = Recorder::start(&third, &[])?;
    let head = "health-check = { interval = 0.5, failures = 2 }";
    let uris = [first.uri(), second.uri(), third.uri()];
    let recorders = uris.each_ref().map(String::as_str);
    let agent = pool(&sandbox, head, &recorders)?;
    let properties = "recorder=pool:east auto-start=false dn=1001 other-dn=1002";
    let mut call = Call::start_led_with_agent(&sandbox, properties, &[agent])?;
    wait_until("all are alive", PATIENCE, || Ok((count(&call, "changed:") >= 3).then_some(())))?;
    first.process().signal("KILL")?;
    call.relay.wait_for_line(&format!("changed: {} dead", first.uri()), PATIENCE)?;
    call.order("action start")?;
    call.talk_untouched(&[babble(0, 2), babble(1, 2)])?;
    call.order("action stop")?;
    recorder_has(&second, 1)?;
    let text = std::fs::read_to_string(sandbox.join("pools.toml"))?;
    let drained =
        text.replace(&format!("{}\"\n", second.uri()), &format!("{}\"\ndrain = true\n", second.uri()));
    ensure!(drained != text);
    std::fs::write(sandbox.join("pools.toml"), drained)?;
    call.order("agent reload-config").context("the file is right")?;
    call.order("action start")?;
    call.talk_untouched(&[babble(0, 2), babble(1, 2)])?;
    let [failed] = end(&mut call, ["siprec-failed,"])?;
    ensure!(failed == 0, "{}", call.relay.output());
    recorder_has(&third, 1)?;
    recorder_has(&second, 1)
}

#[test]
fn a_recorder_by_tls_is_asked_by_tls_and_lives_only_with_its_own_certificate() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let (ours, strange) = (Authority::new(&sandbox, "ours")?, Authority::new(&sandbox, "strange")?);
    let certificate = ours.sign("recorder", "URI:sip:rec.test")?;
    let shown = |path: &std::path::Path| path.display().to_string();
    let files = [shown(&certificate.certificate), shown(&certificate.key)];
    let tls = ["--listen-tls", "127.0.0.1:0", "--certificate", &files[0], "--key", &files[1]];
    let recorder = Recorder::start(&sandbox, &tls)?;
    let uri = format!("sips:{}", recorder.tls().context("it listens by TLS")?);
    for (authority, name, state) in
        [(&ours, "rec.test", "alive"), (&strange, "rec.test", "dead"), (&ours, "other.test", "dead")]
    {
        let text = format!(
            "[pool.east]\nhealth-check = {{ interval = 3600, failures = 1, timeout = 4 }}\n\
             [[pool.east.recorder]]\nuri = \"{uri}\"\ntls = {{ ca = \"{}\", server-name = \"{name}\" }}\n",
            shown(&authority.file())
        );
        let file = sandbox.join("pools.toml");
        std::fs::write(&file, text)?;
        let mut call = call(&sandbox, "sip:127.0.0.1:9", &[format!("config={}", shown(&file))])?;
        let changed = call.relay.wait_for_line("changed:", PATIENCE)?;
        ensure!(changed.starts_with(&format!("changed: {uri} {state} ")), "{name}: {changed}");
        ensure!(state == "alive" || changed.contains("certificate"), "{name}: {changed}");
        end(&mut call, [])?;
    }
    Ok(())
}

#[test]
fn gst_launch_uses_the_pools_that_the_environment_names() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let recorder = Recorder::start(&sandbox, &[])?;
    let launch = |config: &str| -> Result<(std::process::ExitStatus, String)> {
        let pipeline = "siprec name=rec recorder=pool:east dn=1001 \
                        audiotestsrc is-live=true num-buffers=50 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 \
                        ! mulawenc ! rtppcmupay ! rec.sink_0 rec.src_0 ! fakesink async=false";
        let mut command = sandbox.gst_launch(pipeline);
        command.env("GST_SIPREC_CONFIG", sandbox.join(config));
        run(&sandbox, "launched", &mut command, PATIENCE)
    };
    pool(&sandbox, "", &[&recorder.uri()])?;
    let (status, output) = launch("pools.toml")?;
    ensure!(status.success(), "{output}");
    recorder_has(&recorder, 1)?;
    std::fs::write(sandbox.join("bad.toml"), "[pool.east]\n")?;
    let (status, output) = launch("bad.toml")?;
    ensure!(
        !status.success()
            && output.contains("bad.toml, line 1: \"pool.east.recorder\": there are 0 recorders"),
        "{output}"
    );
    Ok(())
}
