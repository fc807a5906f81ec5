//! Calls whose parties pause, mute, come and go, through a relay and the reference recorder: what was said while it was
//! to be recorded is in the right session, at the right time.

use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::{PATIENCE, channels, led, place, session};

#[test]
fn each_party_is_recorded_in_its_own_session_sample_exact() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let properties =
        format!("recorder={} session-mode=per-party call-uuid=APART dn=1001 other-dn=1002", recorder.uri());
    let mut call = Call::start(&sandbox, &properties).unwrap();
    let said = [babble(0, 3), babble(1, 3)];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    let sessions = recorder.sessions(2, PATIENCE).unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].json["recording_id"], sessions[1].json["recording_id"]);
    for (dn, said) in ["1001", "1002"].into_iter().zip(&said) {
        let session = session(&sessions, dn).unwrap();
        let channels = channels(session).unwrap();
        assert_eq!(channels.len(), 1, "{dn} alone");
        place(&channels[0], said).unwrap();
        let parameters = session.json["parameters"].as_array().unwrap();
        assert!(!parameters.iter().any(|parameter| parameter["name"] == "otherDN"), "{parameters:?}");
        assert!(parameters.iter().any(|p| p["name"] == "recordDN" && p["value"] == "1001"), "{parameters:?}");
    }
}

#[test]
fn a_pause_is_silence_of_its_length_and_nothing_of_it_is_recorded() {
    let led = led("", ["action pause", "action resume"], 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
    assert!(
        led.printed.contains("siprec-paused") && led.printed.contains("siprec-resumed"),
        "{}",
        led.printed
    );
}

#[test]
fn a_muted_party_is_silent_in_its_own_session_and_the_other_is_whole() {
    let led = led("session-mode=per-party", ["action mute 1002", "action unmute 1002"], 2).unwrap();
    led.speech.ensure_heard(&led.channel("1001").unwrap(), 0, &[0, 1, 2]).unwrap();
    led.speech.ensure_heard(&led.channel("1002").unwrap(), 1, &[0, 2]).unwrap();
}

#[test]
fn a_party_that_takes_over_has_a_session_of_its_own_from_the_very_packet_on() {
    let led = led("session-mode=per-party", ["update sink_1=1003", "update sink_1=1004"], 4).unwrap();
    led.speech.ensure_heard(&led.channel("1001").unwrap(), 0, &[0, 1, 2]).unwrap();
    for (part, dn) in ["1002", "1003", "1004"].into_iter().enumerate() {
        led.speech.ensure_heard(&led.channel(dn).unwrap(), 1, &[part]).unwrap();
        let session = session(&led.sessions, dn).unwrap();
        assert_eq!(session.json["streams"][0]["packets"], 50, "{dn}: no packet more");
    }
}

#[test]
fn a_session_for_both_takes_another_party_on_the_same_line() {
    let led = led("", ["update sink_1=", "update sink_1=1003"], 1).unwrap();
    let channels = channels(&led.sessions[0]).unwrap();
    led.speech.ensure_heard(&channels[0], 0, &[0, 1, 2]).unwrap();
    led.speech.ensure_heard_within(&channels[1], 1, &[0, 2], 800).unwrap();
    for dn in ["1001", "1002", "1003"] {
        let report = format!("dn=(string){dn}");
        let is_report = |line: &&str| line.starts_with("siprec-report") && line.contains(&report);
        assert_eq!(led.printed.lines().filter(is_report).count(), 1, "{dn}:\n{}", led.printed);
    }
}

#[test]
fn a_party_that_holds_by_its_session_description_silences_the_session_of_both() {
    let led = led("", ["sdp 1001 sendonly.sdp", "sdp 1001 sendrecv.sdp"], 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
    let states = led.sessions[0].json["states"].as_array().unwrap();
    assert!(states.iter().any(|state| state["state"] == "paused"), "{states:?}");
}
