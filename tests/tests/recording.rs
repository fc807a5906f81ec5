//! A call through `gst-launch-1.0` and the reference recorder, as users run them: what was said is what is recorded, and
//! whatever the recorder does, the call is the same as without it.

use std::time::Duration;

use siprec_system_tests::call::{Call, babble, ensure_untouched};
use siprec_system_tests::process::run;
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::{channels, place, places};

#[test]
fn g711_is_recorded_sample_exact_and_both_parties_on_one_time_line() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let properties =
        format!("recorder={} call-uuid=EXACT dn=1001 other-dn=1002 recording-id=R1", recorder.uri());
    let mut call = Call::start(&sandbox, &properties).unwrap();
    let said = [babble(0, 5), babble(1, 5)];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();

    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    let places = places(&sessions[0], &said).unwrap();
    // Both began to speak at the same time: within a packet of each other, as the test's threads were.
    assert!(places[0].abs_diff(places[1]) <= 160, "{places:?}");
    let json = &sessions[0].json;
    assert_eq!(json["recording_id"], "R1");
    assert_eq!(json["call_uuid"], "EXACT");
    for (party, dn) in ["1001", "1002"].into_iter().enumerate() {
        let stream = &json["streams"][party];
        assert_eq!(stream["dn"], dn);
        assert_eq!((&stream["packets"], &stream["lost"]), (&250.into(), &0.into()), "{stream}");
    }
}

#[test]
fn what_leaves_from_one_port_for_all_streams_is_recorded_sample_exact_in_the_clear_and_encrypted() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let said = [babble(0, 2), babble(1, 2)];
    for (count, srtp) in [(1, "disable"), (2, "require allow-clear-keys=true")] {
        let properties = format!("recorder={} dn=1 other-dn=2 srtp={srtp}", recorder.uri());
        let agent = ["media-source=shared".to_owned()];
        let mut call = Call::start_led_with_agent(&sandbox, &properties, &agent).unwrap();
        call.talk_untouched(&said).unwrap();
        call.relay.say("quit").unwrap();
        call.relay.succeed(Duration::from_secs(20)).unwrap();
        let sessions = recorder.sessions(count, Duration::from_secs(20)).unwrap();
        for session in &sessions {
            places(session, &said).unwrap();
            for stream in session.json["streams"].as_array().unwrap() {
                assert_eq!((&stream["packets"], &stream["lost"]), (&100.into(), &0.into()), "{stream}");
            }
        }
    }
}

#[test]
fn a_call_of_two_seconds_is_recorded_whole_although_the_recorder_answers_after_three() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &["--answer-after", "3"]).unwrap();
    // The program stays until the recording is delivered: it has nothing else to do.
    let properties =
        format!("recorder={} call-uuid=SHORT dn=1 other-dn=2 stop-timeout=20000000000", recorder.uri());
    let mut call = Call::start(&sandbox, &properties).unwrap();
    let said = [babble(0, 2), babble(1, 2)];
    call.talk_untouched(&said).unwrap();
    call.relay.signal("INT").unwrap();
    call.relay.succeed(Duration::from_secs(20)).unwrap();
    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    places(&sessions[0], &said).unwrap();
}

#[test]
fn a_recorder_that_dies_in_mid_call_takes_nothing_of_the_call_with_it() {
    let sandbox = Sandbox::new().unwrap();
    let mut recorder = Recorder::start(&sandbox, &[]).unwrap();
    let mut call = Call::start(&sandbox, &format!("recorder={} dn=1 other-dn=2", recorder.uri())).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    recorder.process().signal("KILL").unwrap();
    recorder.process().wait(Duration::from_secs(5)).unwrap();
    call.talk_untouched(&[babble(2, 4), babble(3, 4)]).unwrap();
    assert!(call.relay.is_running().unwrap());
    call.hang_up().unwrap();
}

#[test]
fn a_frozen_recorder_takes_nothing_of_the_call_with_it() {
    let sandbox = Sandbox::new().unwrap();
    let mut recorder = Recorder::start(&sandbox, &[]).unwrap();
    recorder.process().signal("STOP").unwrap();
    let mut call = Call::start(&sandbox, &format!("recorder={} dn=1 other-dn=2", recorder.uri())).unwrap();
    call.talk_untouched(&[babble(0, 4), babble(1, 4)]).unwrap();
    call.relay.wait_for_line("siprec-failed", Duration::from_secs(10)).unwrap();
    call.hang_up().unwrap();
}

#[test]
fn a_silent_party_has_its_m_line_and_the_other_is_recorded_whole() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let mut call = Call::start(&sandbox, &format!("recorder={} dn=1 other-dn=2", recorder.uri())).unwrap();
    let said = [babble(0, 3), Vec::new()];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    let channels = channels(&sessions[0]).unwrap();
    assert_eq!(channels.len(), 2);
    place(&channels[0], &said[0]).unwrap();
    assert!(channels[1].iter().all(|sample| *sample == 0), "the silent party's channel is not silent");
    assert_eq!(sessions[0].json["streams"][1]["packets"], 0);
}

#[test]
fn the_call_is_the_same_with_and_without_the_element() {
    let sandbox = Sandbox::new().unwrap();
    let said = [babble(0, 2), babble(1, 2)];
    let mut bare = Call::start_bare(&sandbox).unwrap();
    let without = bare.talk(&said).unwrap();
    bare.hang_up().unwrap();

    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let mut call = Call::start(&sandbox, &format!("recorder={} dn=1 other-dn=2", recorder.uri())).unwrap();
    let with = call.talk(&said).unwrap();
    call.hang_up().unwrap();
    ensure_untouched(&said[0], &without[1]).unwrap();
    assert!(with == without, "the element changed the call");
}

#[test]
fn a_wrong_configuration_is_told_before_the_call_begins() {
    let sandbox = Sandbox::new().unwrap();
    let cases = [
        ("", "recorder"),
        ("recorder=nonsense", "nonsense"),
        ("recorder=http://127.0.0.1/", "http"),
        ("recorder=sip:127.0.0.1:99999", "99999"),
        ("recorder=sip:127.0.0.1 extra-parameters=p,tag=1", "tag"),
        ("recorder=sip:127.0.0.1 extra-parameters=p,lr=1", "lr"),
        ("recorder=sip:127.0.0.1 extra-headers=h,Via=x", "Via"),
    ];
    for (properties, named) in cases {
        let mut command = sandbox.gst_launch(&format!(
            "siprec name=rec {properties} fakesrc num-buffers=1 ! application/x-rtp ! rec.sink_0 rec.src_0 ! fakesink"
        ));
        let (status, printed) = run(&sandbox, "launch", &mut command, Duration::from_secs(10)).unwrap();
        let error = printed.lines().find(|line| line.starts_with("ERROR")).unwrap_or_default();
        assert!(!status.success(), "'{properties}' was accepted:\n{printed}");
        assert!(error.contains(named), "'{properties}': the error does not say '{named}':\n{printed}");
    }
}

#[test]
fn a_hostile_dn_reaches_the_recorder_as_it_is_and_nothing_else() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &[]).unwrap();
    let dn = "10;01@evil\u{1f600}?x=y&lr>";
    let mut call = Call::start(&sandbox, &format!("recorder={} dn={dn} other-dn=2", recorder.uri())).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    call.hang_up().unwrap();
    let sessions = recorder.sessions(1, Duration::from_secs(10)).unwrap();
    let json = &sessions[0].json;
    assert_eq!(json["streams"][0]["dn"], dn);
    let names: Vec<_> =
        json["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["calluuid", "dn", "otherDN", "recordDN"]);
}
