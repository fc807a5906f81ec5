//! The rows of `protocol` 1.4 and 1.5, and what of 1.2 is left, on the wire: SIPp is the recorder that talks back, and
//! judges each of our answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_system_tests::call::Call;
use siprec_system_tests::rtp::Packet;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sipp::{Sipp, Talk, end};

/// A call whose recorder is a scenario.
struct Session {
    sandbox: Sandbox,
    sipp: Sipp,
    call: Call,
    talk: Talk,
}

/// What came of it.
struct Outcome {
    said: [Vec<Packet>; 2],
    /// What arrived at the recorder's four ports.
    received: Vec<Vec<Packet>>,
    /// Everything that the element told.
    told: String,
}

impl Session {
    fn start(scenario: &str) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let sipp = Sipp::start(&sandbox, scenario)?;
        let call = sipp.led_call(&sandbox)?;
        Ok(Self { sandbox, sipp, call, talk: Talk::new() })
    }

    /// The parties speak until the scenario says a word.
    fn until(&mut self, word: &str) -> Result<()> {
        self.talk.until(&self.sandbox, &self.call, &mut self.sipp, word)
    }

    /// They speak on for so many fifths of a second.
    fn turns(&mut self, turns: usize) -> Result<()> {
        (0..turns).try_for_each(|_| self.talk.turn(&self.call))
    }

    /// Does what the scenario asks for.
    fn obey(&mut self, word: &str) -> Result<()> {
        self.until(word)?;
        self.call.order(&format!("action {word}"))
    }

    fn told(&mut self, line: &str) -> Result<String> {
        self.call.relay.wait_for_line(line, Duration::from_secs(10))
    }

    fn end(mut self) -> Result<Outcome> {
        end(&self.sandbox, &mut self.call, &mut self.sipp)?;
        let said = self.talk.said().map(<[Packet]>::to_vec);
        Ok(Outcome { said, received: self.sipp.received()?, told: self.call.relay.output() })
    }
}

impl Outcome {
    /// The payloads that arrived at these ports, in the order of the stream.
    fn payloads(&self, ports: &[usize]) -> Vec<&[u8]> {
        let mut packets: Vec<_> = ports.iter().flat_map(|port| &self.received[*port]).collect();
        let first = packets.first().map_or(0, |packet| packet.sequence);
        packets.sort_by_key(|packet| packet.sequence.wrapping_sub(first) as i16);
        packets.iter().map(|packet| packet.payload.as_slice()).collect()
    }

    /// Each party's words arrived whole, at either address.
    fn ensure_whole(&self) -> Result<()> {
        for (party, said) in self.said.iter().enumerate() {
            let said: Vec<_> = said.iter().map(|packet| packet.payload.as_slice()).collect();
            let heard = self.payloads(&[party, party + 2]);
            ensure!(said == heard, "party {party}: {} packets said, {} recorded", said.len(), heard.len());
        }
        Ok(())
    }

    /// Both addresses got something.
    fn ensure_moved(&self) -> Result<()> {
        let counts: Vec<_> = self.received.iter().map(Vec::len).collect();
        ensure!(counts.iter().all(|count| *count > 0), "packets at each port: {counts:?}");
        Ok(())
    }

    fn ensure_told(&self, what: &str, count: usize) -> Result<()> {
        let found = self.told.lines().filter(|line| line.contains(what)).count();
        ensure!(found == count, "'{what}' was told {found} times:\n{}", self.told);
        Ok(())
    }
}

/// A scenario that asks for nothing but a call of two who talk.
fn run(scenario: &str) -> Result<Outcome> {
    let mut session = Session::start(scenario)?;
    session.until("ready")?;
    session.turns(1)?;
    session.end()
}

/// A scenario that wants a pause.
fn run_paused(scenario: &str) -> Result<Outcome> {
    let mut session = Session::start(scenario)?;
    session.obey("pause")?;
    session.until("ready")?;
    session.end()
}

#[test]
fn requests_that_are_no_offers_get_their_answers() {
    let outcome = run("requests").unwrap();
    outcome.ensure_whole().unwrap();
}

#[test]
fn an_equal_offer_gets_our_last_description() {
    let outcome = run("same-offer").unwrap();
    outcome.ensure_whole().unwrap();
}

#[test]
fn other_ports_of_the_recorder_move_the_streams() {
    let outcome = run("moved").unwrap();
    outcome.ensure_whole().unwrap();
    outcome.ensure_moved().unwrap();
}

#[test]
fn what_the_recorder_switches_off_is_off_and_told_until_it_opens_it() {
    let outcome = run("switched-off").unwrap();
    outcome.ensure_told("WARNING: The recording goes on without the audio", 3).unwrap();
    let [first, second] = [0, 1].map(|party| outcome.payloads(&[party]).len());
    let said = outcome.said[0].len();
    assert!(second > 0 && second < first && first < said, "{second}, {first} of {said}");
}

#[test]
fn an_m_line_more_is_answered_with_port_0_and_stays() {
    let outcome = run_paused("more-lines").unwrap();
    assert!(outcome.received[2].is_empty(), "audio went to the video port");
}

#[test]
fn a_reinvite_without_sdp_gets_our_offer_and_its_ack_may_answer_it() {
    let outcome = run("late-offer").unwrap();
    outcome.ensure_whole().unwrap();
    outcome.ensure_moved().unwrap();
}

#[test]
fn offers_that_cross_get_491_and_ours_comes_again_later() {
    let outcome = run_paused("glare").unwrap();
    outcome.ensure_told("siprec-paused", 1).unwrap();
}

#[test]
fn a_refused_pause_is_not_repeated_and_keeps_the_gates_closed() {
    let mut session = Session::start("refused-pause").unwrap();
    session.obey("pause").unwrap();
    let said = session.talk.said()[0].len();
    session.until("ready").unwrap();
    let outcome = session.end().unwrap();
    for party in 0..2 {
        assert_eq!(outcome.payloads(&[party]).len(), said, "party {party} was recorded while paused");
    }
}

#[test]
fn with_retry_after_an_offer_is_asked_again_twice_at_most() {
    run_paused("retry-after").unwrap();
}

#[test]
fn a_481_loses_the_dialog_and_gets_one_bye() {
    let mut session = Session::start("lost").unwrap();
    session.obey("pause").unwrap();
    let failed = session.told("siprec-failed").unwrap();
    assert!(failed.contains("481"), "{failed}");
    session.until("ready").unwrap();
    session.end().unwrap();
}

#[test]
fn a_bye_that_crosses_our_reinvite_ends_both() {
    let mut session = Session::start("crossing-bye").unwrap();
    session.obey("pause").unwrap();
    let stopped = session.told("siprec-stopped").unwrap();
    assert!(stopped.contains("recorder-bye"), "{stopped}");
    session.until("ready").unwrap();
    session.end().unwrap();
}

#[test]
fn we_refresh_at_half_the_interval_by_the_same_description() {
    let mut session = Session::start("half-interval").unwrap();
    session.until("agreed").unwrap();
    let waited = session.sipp.wait_for(&session.sandbox, "refreshed", Duration::from_secs(60)).unwrap();
    assert!(waited.as_secs().abs_diff(45) <= 3, "{waited:?}");
    session.until("ready").unwrap();
    session.turns(1).unwrap();
    let offers = session.sipp.offers(&session.sandbox).unwrap();
    assert!(offers.len() == 2 && offers[0] == offers[1], "{offers:?}");
    session.end().unwrap().ensure_whole().unwrap();
}

#[test]
fn a_recorder_that_does_not_refresh_gets_a_bye_before_the_interval_ends() {
    let mut session = Session::start("expiry").unwrap();
    session.until("agreed").unwrap();
    let waited = session.sipp.wait_for(&session.sandbox, "expired", Duration::from_secs(80)).unwrap();
    assert!(waited.as_secs().abs_diff(60) <= 3, "{waited:?}");
    let failed = session.told("siprec-failed").unwrap();
    assert!(failed.contains("expired"), "{failed}");
    session.turns(1).unwrap();
    session.end().unwrap();
}

#[test]
fn too_small_an_interval_is_asked_for_again_and_refused_to_the_recorder() {
    let outcome = run_paused("interval").unwrap();
    outcome.ensure_told("siprec-started", 1).unwrap();
    outcome.ensure_told("siprec-failed", 0).unwrap();
}

#[test]
fn the_recorders_refreshes_are_answered_with_the_timer() {
    let outcome = run("refresh").unwrap();
    outcome.ensure_whole().unwrap();
}

#[test]
fn a_recorder_that_never_stops_asking_gets_its_120_answers_within_seconds() {
    let outcome = run("refresh-often").unwrap();
    outcome.ensure_whole().unwrap();
    outcome.ensure_told("siprec-gap", 0).unwrap();
}

#[test]
fn a_200_without_contact_and_without_a_tag_opens_a_session() {
    let outcome = run("sloppy").unwrap();
    outcome.ensure_whole().unwrap();
}

#[test]
fn a_200_again_gets_its_ack_again_and_another_branch_its_bye() {
    let outcome = run("fork").unwrap();
    outcome.ensure_whole().unwrap();
    outcome.ensure_told("siprec-started", 1).unwrap();
}

#[test]
fn a_contact_that_changes_moves_our_requests() {
    run_paused("contact").unwrap();
}

#[test]
fn a_200_without_sdp_to_our_reinvite_keeps_the_addresses() {
    let mut session = Session::start("silent-answer").unwrap();
    session.obey("pause").unwrap();
    session.obey("resume").unwrap();
    session.told("siprec-resumed").unwrap();
    session.until("ready").unwrap();
    session.turns(2).unwrap();
    let outcome = session.end().unwrap();
    let last = outcome.said[0].last().unwrap();
    assert_eq!(outcome.payloads(&[0]).last(), Some(&last.payload.as_slice()), "its last word is missing");
}

#[test]
fn an_answer_that_is_inactive_is_opened_by_the_recorder_and_gets_the_first_word() {
    let outcome = run("opened-later").unwrap();
    outcome.ensure_whole().unwrap();
}

#[test]
fn a_missing_m_line_is_a_refused_one() {
    let outcome = run("fewer-lines").unwrap();
    outcome.ensure_told("WARNING: The recording goes on without the audio", 1).unwrap();
    assert_eq!(outcome.payloads(&[0]).len(), outcome.said[0].len());
    assert!(outcome.received[1].is_empty());
}
