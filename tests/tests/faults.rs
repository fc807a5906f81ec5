//! Faults that cost nothing: bad networks, refused media, a full disk, calls that end in the middle of a failover. What takes
//! longer, or needs namespaces, is played by `tests/faults.sh`.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use siprec_system_tests::call::Call;
use siprec_system_tests::judge::Verdict;
use siprec_system_tests::network::Network;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::talk::{Heard, Talk};
use siprec_system_tests::weather::Weather;

const PATIENCE: Duration = Duration::from_secs(40);

/// A call that is recorded by the first of these that does.
fn call(sandbox: &Sandbox, recorders: &[&str], properties: &str) -> Result<Call> {
    let recorders = recorders.join(" ");
    Call::start_led(sandbox, &format!("recorder=\"{recorders}\" dn=1 other-dn=2 {properties}"))
}

/// The relay ends once the recording has; the call that it carried must be untouched. Gives what it printed.
fn end(call: &mut Call, heard: &Heard) -> Result<String> {
    call.relay.say("quit 30")?;
    let printed = call.relay.succeed(PATIENCE)?;
    heard.ensure_untouched()?;
    Ok(printed)
}

/// Has a recorder that lives complete its files.
fn close(recorder: &mut Recorder) -> Result<()> {
    recorder.process().signal("TERM")?;
    recorder.process().wait(PATIENCE).map(drop)
}

fn told(printed: &str, message: &str) -> usize {
    printed.lines().filter(|line| line.starts_with(message)).count()
}

/// What of a call of three seconds is missing in its recording, and how many packets of RTP were lost on the way there. A third of
/// them is, and of the RTCP in both directions.
fn through_rain(properties: &str, options: &[&str]) -> Result<(Verdict, usize, String)> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, options)?;
    let network = Network::before(recorder.address())?;
    network.media(Weather { lost: 0.3, ..Weather::default() });
    let mut call = call(&sandbox, &[&network.uri()], properties)?;
    let heard = Talk::begin(&call, 3)?.finish()?;
    let printed = end(&mut call, &heard)?;
    close(&mut recorder)?;
    let session = recorder.sessions(1, PATIENCE)?.remove(0);
    Ok((
        Verdict::of(&heard.said, &[recorder.folder()])?,
        network.lost().len(),
        format!("{printed}{}", session.json),
    ))
}

#[test]
fn what_a_network_loses_on_the_way_to_the_recorder_is_sent_again_and_nothing_is_missing() -> Result<()> {
    for properties in ["", "srtp=require allow-clear-keys=true"] {
        let (verdict, lost, told) = through_rain(properties, &[])?;
        ensure!(lost > 60, "{properties}: the network lost {lost} packets only");
        verdict.ensure_whole().with_context(|| format!("{properties}: {told}"))?;
        ensure!(
            told.contains("retransmitted=(guint64)") && !told.contains(" retransmitted=(guint64)0"),
            "{told}"
        );
        ensure!(!told.contains("\"not_authentic\":") || told.contains("\"not_authentic\":0"), "{told}");
    }
    Ok(())
}

#[test]
fn a_recorder_that_does_not_ask_gets_nothing_twice() -> Result<()> {
    let (verdict, lost, told) = through_rain("", &["--no-nack"])?;
    ensure!(lost > 60 && verdict.lost_samples() > 60 * 160, "{lost} lost, {told}");
    ensure!(told.matches(" retransmitted=(guint64)0").count() == 2, "{told}");
    Ok(())
}

#[test]
fn through_a_network_that_loses_repeats_and_reorders_only_what_it_lost_is_missing() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut recorder = Recorder::start(&sandbox, &["--no-nack"])?;
    let (bad, better) = (Network::before(recorder.address())?, Network::before(recorder.address())?);
    let media = Weather { lost: 0.3, overtaken: 0.2, repeated: 0.2, ..Weather::default() };
    bad.signalling(Weather { every: 3, overtaken: 0.2, repeated: 0.2, ..Weather::default() });
    for network in [&bad, &better] {
        network.media(media);
    }
    // Should the machine be so busy that the first is given up, the second one counts.
    let mut call = call(&sandbox, &[&bad.uri(), &better.uri()], "")?;
    let heard = Talk::begin(&call, 5)?.finish()?;
    let printed = end(&mut call, &heard)?;
    ensure!(told(&printed, "siprec-started,") >= 1, "{printed}");
    close(&mut recorder)?;
    let verdict = Verdict::of(&heard.said, &[recorder.folder()])?;
    let lost: HashSet<Vec<u8>> = bad.lost().into_iter().chain(better.lost()).collect();
    ensure!(lost.len() > 50, "the network lost {} packets only", lost.len());
    for (missing, said) in verdict.missing.iter().zip(&heard.said) {
        for number in missing {
            ensure!(lost.contains(&said[*number].payload), "packet {number} of {missing:?} arrived");
        }
    }
    ensure!(verdict.displaced == 0 && verdict.recordings >= 1, "{} displaced", verdict.displaced);
    Ok(())
}

#[test]
fn a_recorder_whose_host_comes_to_refuse_the_media_is_left_without_a_hole() -> Result<()> {
    let (sandbox, other) = (Sandbox::new()?, Sandbox::new()?);
    let (mut first, mut next) = (Recorder::start(&sandbox, &[])?, Recorder::start(&other, &[])?);
    let network = Network::before(first.address())?;
    let mut call = call(&sandbox, &[&network.uri(), &next.uri()], "")?;
    let talk = Talk::begin(&call, 60)?;
    call.relay.wait_for_line("siprec-started,", PATIENCE)?;
    talk.wait_for(talk.elapsed() + Duration::from_secs(1));
    network.refuse_media();
    call.relay.wait_for_line("siprec-failed-over,", PATIENCE)?;
    let heard = talk.stop()?;
    end(&mut call, &heard)?;
    close(&mut first)?;
    close(&mut next)?;
    Verdict::of(&heard.said, &[first.folder(), next.folder()])?.ensure_whole()
}

#[test]
fn a_recorder_whose_disk_is_full_is_left_without_a_hole() -> Result<()> {
    let (sandbox, other) = (Sandbox::new()?, Sandbox::new()?);
    // No file may grow beyond 64 blocks, a second of two parties: the system then refuses to write, as on a full disk. That is
    // before the recorder's second report, so that it has not acknowledged what it can no longer write.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"];
    let mut full = Recorder::start_by(&sandbox, &limit, "127.0.0.1:0", &[])?;
    let mut next = Recorder::start(&other, &[])?;
    let mut call = call(&sandbox, &[&full.uri(), &next.uri()], "")?;
    let talk = Talk::begin(&call, 60)?;
    call.relay.wait_for_line("siprec-failed-over,", PATIENCE)?;
    let heard = talk.stop()?;
    end(&mut call, &heard)?;
    close(&mut full)?;
    close(&mut next)?;
    Verdict::of(&heard.said, &[full.folder(), next.folder()])?.ensure_whole()
}

/// The first recorder is killed; the call ends once this message has come, and nothing is missing.
fn ends_after(message: &str) -> Result<()> {
    let (sandbox, other) = (Sandbox::new()?, Sandbox::new()?);
    let mut doomed = Recorder::start(&sandbox, &[])?;
    let mut next = Recorder::start(&other, &["--answer-after", "1"])?;
    let mut call = call(&sandbox, &[&doomed.uri(), &next.uri()], "")?;
    let talk = Talk::begin(&call, 60)?;
    call.relay.wait_for_line("siprec-started,", PATIENCE)?;
    // Well after its first report, and before the second: it has written what it has acknowledged.
    talk.wait_for(talk.elapsed() + Duration::from_millis(2_200));
    doomed.process().signal("KILL")?;
    doomed.process().wait(PATIENCE)?;
    call.relay.wait_for_line(message, PATIENCE)?;
    let heard = talk.stop()?;
    end(&mut call, &heard)?;
    close(&mut next)?;
    let folders: [&Path; 2] = [doomed.folder(), next.folder()];
    Verdict::of(&heard.said, &folders)?.ensure_whole()
}

#[test]
fn a_call_that_ends_as_its_recorder_is_given_up_is_recorded_whole() -> Result<()> {
    ends_after("siprec-failed,")
}

#[test]
fn a_call_that_ends_while_the_next_recorder_is_told_the_rest_is_recorded_whole() -> Result<()> {
    ends_after("siprec-failed-over,")
}
