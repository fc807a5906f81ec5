//! SIPp as the recorder: it accepts, rings, refuses, stays silent, hangs up and answers oddly, and the call never
//! notices.

use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_system_tests::call::babble;
use siprec_system_tests::rtp::Packet;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sipp::Sipp;

/// Everything the party said, from the first packet on, with its own timestamps and without a hole.
fn ensure_recorded(sent: &[Packet], recorded: &[Packet]) -> Result<()> {
    ensure!(recorded.len() == sent.len(), "{} packets sent, {} recorded", sent.len(), recorded.len());
    for (index, (sent, recorded)) in sent.iter().zip(recorded).enumerate() {
        ensure!(sent.payload == recorded.payload, "packet {index} has another payload");
        ensure!(sent.timestamp == recorded.timestamp, "packet {index} has another timestamp");
        ensure!(sent.ssrc == recorded.ssrc, "packet {index} has another SSRC");
    }
    let first = recorded.first().map_or(0, |packet| packet.sequence);
    ensure!((256..1 << 15).contains(&first), "the first sequence number is {first}");
    for (index, packet) in recorded.iter().enumerate() {
        ensure!(packet.sequence == first.wrapping_add(index as u16), "a hole before packet {index}");
    }
    Ok(())
}

fn is_recorded_whole(scenario: &str) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut sipp = Sipp::start(&sandbox, scenario)?;
    let mut call = sipp.call(&sandbox)?;
    let said = [babble(0, 5), babble(1, 5)];
    call.talk_untouched(&said)?;
    call.hang_up()?;
    sipp.finish(&sandbox)?;
    for (said, recorded) in said.iter().zip(sipp.received()?) {
        ensure_recorded(said, &recorded)?;
    }
    Ok(())
}

fn refusing(sandbox: &Sandbox, code: u16, phrase: &str) -> Result<Sipp> {
    Sipp::start_with(sandbox, "reject", &[("CODE", &code.to_string()), ("PHRASE", phrase)])
}

fn fails_without_hurting_the_call(
    make: impl FnOnce(&Sandbox) -> Result<Sipp>,
    code: Option<u16>,
) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut sipp = make(&sandbox)?;
    let mut call = sipp.call(&sandbox)?;
    let said = [babble(0, 8), babble(1, 8)];
    call.talk_untouched(&said)?;
    let failed = call.relay.wait_for_line("siprec-failed", Duration::from_secs(10))?;
    if let Some(code) = code {
        ensure!(failed.contains(&format!("sip-code=(uint){code}")), "{failed}");
        sipp.finish(&sandbox)?;
    }
    call.hang_up()?;
    for recorded in sipp.received()? {
        ensure!(recorded.is_empty(), "RTP went to a recorder that did not accept");
    }
    Ok(())
}

#[test]
fn a_recorder_that_accepts_gets_the_whole_call() {
    is_recorded_whole("accept").unwrap();
}

#[test]
fn a_recorder_that_rings_first_gets_the_whole_call() {
    is_recorded_whole("ringing").unwrap();
}

#[test]
fn a_recorder_that_answers_after_three_seconds_gets_the_first_word() {
    is_recorded_whole("late").unwrap();
}

#[test]
fn an_odd_answer_is_good_enough() {
    is_recorded_whole("odd-sdp").unwrap();
}

#[test]
fn a_recorder_that_answers_options_in_its_dialog_in_any_way_lives() {
    let sandbox = Sandbox::new().unwrap();
    let mut sipp = Sipp::start(&sandbox, "asked").unwrap();
    let mut call = sipp.call_probed(&sandbox, 2).unwrap();
    let said = [babble(0, 5), babble(1, 5)];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    sipp.finish(&sandbox).unwrap();
    for (said, recorded) in said.iter().zip(sipp.received().unwrap()) {
        ensure_recorded(said, &recorded).unwrap();
    }
}

#[test]
fn busy_is_reported_and_the_call_goes_on() {
    fails_without_hurting_the_call(|sandbox| refusing(sandbox, 486, "Busy Here"), Some(486)).unwrap();
}

#[test]
fn unavailable_is_reported_and_the_call_goes_on() {
    fails_without_hurting_the_call(|sandbox| refusing(sandbox, 503, "Service Unavailable"), Some(503))
        .unwrap();
}

#[test]
fn decline_is_reported_and_the_call_goes_on() {
    fails_without_hurting_the_call(|sandbox| refusing(sandbox, 603, "Decline"), Some(603)).unwrap();
}

#[test]
fn silence_is_reported_and_the_call_goes_on() {
    fails_without_hurting_the_call(|sandbox| Sipp::start(sandbox, "silent"), None).unwrap();
}

#[test]
fn a_recorder_that_hangs_up_is_reported_and_the_call_goes_on() {
    let run = || -> Result<()> {
        let sandbox = Sandbox::new()?;
        let mut sipp = Sipp::start(&sandbox, "bye")?;
        let mut call = sipp.call(&sandbox)?;
        let said = [babble(0, 5), babble(1, 5)];
        call.talk_untouched(&said)?;
        let stopped = call.relay.wait_for_line("siprec-stopped", Duration::from_secs(5))?;
        ensure!(stopped.contains("recorder-bye"), "{stopped}");
        sipp.finish(&sandbox)?;
        call.hang_up()?;
        for recorded in sipp.received()?.iter().take(2) {
            let recorded = recorded.len();
            ensure!((10..150).contains(&recorded), "{recorded} packets of a recording of about a second");
        }
        Ok(())
    };
    run().unwrap();
}
