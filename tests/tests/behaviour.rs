//! Recorders that misbehave, as the reference recorder can on request: the call never notices, and what can be recorded
//! is.

use std::time::Duration;

use anyhow::{Result, ensure};
use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::{Led, PATIENCE, channels, led_with, place};

/// An order that changes nothing.
const NOTHING: &str = "action unmute nobody";

/// A call without pauses with such a recorder.
fn talked(arguments: &[&str]) -> Result<Led> {
    led_with(arguments, "", [NOTHING, NOTHING], 1)
}

/// Insists that both parties are recorded whole.
fn ensure_whole(led: &Led) -> Result<()> {
    led.ensure_both_heard([&[0, 1, 2], &[0, 1, 2]])?;
    for stream in led.sessions[0].json["streams"].as_array().into_iter().flatten() {
        ensure!(stream["lost"] == 0 && stream["packets"] == 150, "{stream}");
    }
    Ok(())
}

fn count(printed: &str, message: &str) -> usize {
    printed.lines().filter(|line| line.starts_with(message)).count()
}

#[test]
fn odd_answers_are_understood() {
    ensure_whole(&talked(&["--odd-sdp"]).unwrap()).unwrap();
}

#[test]
fn a_refused_line_costs_its_party_only() {
    let led = talked(&["--refuse-line", "1"]).unwrap();
    led.speech.ensure_heard(&channels(&led.sessions[0]).unwrap()[0], 0, &[0, 1, 2]).unwrap();
    assert_eq!(led.sessions[0].json["streams"][1]["packets"], 0);
    assert!(
        led.printed
            .contains("WARNING: The recording goes on without the audio of 1002: the recorder refuses it")
    );
}

#[test]
fn an_interval_that_is_too_small_is_asked_again() {
    let led = talked(&["--min-se", "3600"]).unwrap();
    ensure_whole(&led).unwrap();
    let headers = led.sessions[0].json["headers"].as_array().unwrap();
    let value =
        |name: &str| headers.iter().find(|header| header["name"] == name).map(|header| &header["value"]);
    assert_eq!(value("Min-SE").and_then(|value| value.as_str()), Some("3600"), "{headers:?}");
    assert!(value("Session-Expires").unwrap().as_str().unwrap().starts_with("3600"), "{headers:?}");
}

#[test]
fn refreshes_of_every_kind_are_answered() {
    for method in ["invite", "offerless", "update", "update-sdp"] {
        let led = talked(&["--refresh-every", &format!("0.4:{method}")]).unwrap();
        ensure_whole(&led).unwrap();
        let ladder = std::fs::read_to_string(led.sessions[0].folder.join("ladder.txt")).unwrap();
        let request = if method.starts_with("update") { "UPDATE sip:" } else { "INVITE sip:siprec" };
        assert!(ladder.matches(request).count() >= 3, "{method}:\n{ladder}");
        assert!(!led.printed.contains("siprec-failed"), "{method}: {}", led.printed);
    }
}

#[test]
fn a_pause_that_the_recorder_refuses_keeps_the_gates_shut() {
    let orders = ["action pause", "action resume"];
    let led = led_with(&["--refuse-reinvite", "488"], "", orders, 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
}

#[test]
fn answers_without_a_description_to_changes_are_taken_as_they_are_meant() {
    let orders = ["action pause", "action resume"];
    let led = led_with(&["--no-sdp-in-reinvite"], "", orders, 1).unwrap();
    led.ensure_both_heard([&[0, 2], &[0, 2]]).unwrap();
    assert_eq!(count(&led.printed, "siprec-paused"), 1, "{}", led.printed);
    assert_eq!(count(&led.printed, "siprec-resumed"), 1, "{}", led.printed);
}

#[test]
fn a_change_that_is_refused_with_retry_after_is_offered_again() {
    let arguments = ["--refuse-reinvite", "503", "--refuse-times", "1", "--retry-after", "1"];
    let led = led_with(&arguments, "", ["action pause", NOTHING], 1).unwrap();
    led.ensure_both_heard([&[0], &[0]]).unwrap();
    assert_eq!(count(&led.printed, "siprec-paused"), 1, "{}", led.printed);
    let ladder = std::fs::read_to_string(led.sessions[0].folder.join("ladder.txt")).unwrap();
    assert_eq!(ladder.matches("--- INVITE (").count(), 3, "{ladder}");
}

#[test]
fn while_the_recorder_wants_silence_nothing_is_sent() {
    let led = talked(&["--pause-at", "1:1.5"]).unwrap();
    for stream in led.sessions[0].json["streams"].as_array().unwrap() {
        assert_eq!(stream["unwanted"], 0, "{stream}");
        assert_eq!(stream["inactive"].as_array().unwrap().len(), 1, "{stream}");
        let packets = stream["packets"].as_u64().unwrap();
        assert!((60..130).contains(&packets), "{stream}");
    }
    for dn in ["1001", "1002"] {
        let warning =
            format!("WARNING: The recording goes on without the audio of {dn}: the recorder set it");
        assert_eq!(count(&led.printed, &warning), 1, "{}", led.printed);
        for message in ["siprec-audio-off", "siprec-audio-on"] {
            let whose = format!("dn=(string){dn}");
            let told = |line: &&str| line.starts_with(message) && line.contains(&whose);
            assert_eq!(led.printed.lines().filter(told).count(), 1, "{message}: {}", led.printed);
        }
    }
}

#[test]
fn a_recorder_that_pauses_again_and_again_has_silence_each_time() {
    let led = talked(&["--pause-every", "0.6:0.3"]).unwrap();
    for stream in led.sessions[0].json["streams"].as_array().unwrap() {
        assert_eq!(stream["unwanted"], 0, "{stream}");
        let pauses = stream["inactive"].as_array().unwrap();
        assert!(pauses.len() >= 3, "{stream}");
        let number = |pause: &serde_json::Value, name: &str| pause[name].as_f64().unwrap();
        let apart = |pair: &[serde_json::Value]| {
            number(&pair[0], "start") + number(&pair[0], "duration") < number(&pair[1], "start")
        };
        assert!(pauses.windows(2).all(apart), "{pauses:?}");
        assert!((60..140).contains(&stream["packets"].as_u64().unwrap()), "{stream}");
    }
}

#[test]
fn a_recorder_whose_interval_is_shorter_than_may_be_ends_the_recording_and_not_the_call() {
    let led = talked(&["--session-expires", "3", "--refresher", "uac"]).unwrap();
    assert_eq!(led.sessions[0].json["end_reason"], "the session timer expired");
    assert!(led.printed.contains("reason=(string)recorder-bye"), "{}", led.printed);
}

#[test]
fn a_recorder_that_refreshes_too_often_is_told_the_shortest_interval_and_goes_on() {
    let led = talked(&["--session-expires", "4", "--refresher", "uas"]).unwrap();
    ensure_whole(&led).unwrap();
    let ladder = std::fs::read_to_string(led.sessions[0].folder.join("ladder.txt")).unwrap();
    let mut rest = ladder.as_str();
    for told in [
        "client <-- 200 OK",
        "Session-Expires: 4;refresher=uas",
        "client <-- INVITE",
        "Session-Expires: 4;refresher=uac",
        "client --- 422",
        "Min-SE: 90",
        "client <-- INVITE",
        "Session-Expires: 90;refresher=uac",
        "client --- 200 OK",
        "Session-Expires: 90;refresher=uac",
        "BYE sip:",
    ] {
        rest = rest.split_once(told).unwrap_or_else(|| panic!("no {told:?} in its place:\n{ladder}")).1;
    }
}

#[test]
fn a_recorder_that_moves_is_followed() {
    let led = talked(&["--move-after", "1"]).unwrap();
    ensure_whole(&led).unwrap();
    for stream in led.sessions[0].json["streams"].as_array().unwrap() {
        let addresses = stream["addresses"].as_array().unwrap();
        assert_eq!(addresses.len(), 2, "{stream}");
        assert!(addresses.iter().all(|address| address["packets"].as_u64() > Some(30)), "{stream}");
    }
}

#[test]
fn a_recorder_that_hangs_up_ends_the_recording_and_not_the_call() {
    let led = talked(&["--hang-up-after", "1.5"]).unwrap();
    assert!(led.printed.contains("reason=(string)recorder-bye"), "{}", led.printed);
    led.ensure_both_heard([&[0], &[0]]).unwrap_err();
    let json = &led.sessions[0].json;
    assert_eq!(json["end_reason"], "the recorder hangs up");
}

#[test]
fn a_recorder_that_refuses_once_is_not_asked_again_and_the_next_one_records() {
    let sandbox = Sandbox::new().unwrap();
    let busy = Recorder::start(&sandbox, &["--refuse", "486:Gone fishing"]).unwrap();
    let other = Sandbox::new().unwrap();
    let recorder = Recorder::start(&other, &[]).unwrap();
    let properties = format!("recorder=\"{} {}\" dn=1 other-dn=2", busy.uri(), recorder.uri());
    let mut call = Call::start_led(&sandbox, &properties).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    call.relay.say("quit").unwrap();
    let printed = call.relay.succeed(PATIENCE).unwrap();
    assert!(printed.contains("486 Gone fishing"), "{printed}");
    assert_eq!(recorder.sessions(1, PATIENCE).unwrap()[0].json["streams"][0]["packets"], 50);
}

#[test]
fn a_recorder_that_is_killed_is_suspected_and_the_next_one_takes_the_call() {
    let (sandbox, other) = (Sandbox::new().unwrap(), Sandbox::new().unwrap());
    let mut doomed = Recorder::start(&sandbox, &[]).unwrap();
    let reserve = Recorder::start(&other, &[]).unwrap();
    let properties = format!("recorder=\"{} {}\" dn=1 other-dn=2", doomed.uri(), reserve.uri());
    let mut call = Call::start_led(&sandbox, &properties).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    doomed.process().signal("KILL").unwrap();
    doomed.process().wait(PATIENCE).unwrap();
    // Two seconds until its host's refusals count, and two until it should have answered.
    call.talk_untouched(&[babble(0, 8), babble(1, 8)]).unwrap();
    call.relay.say("quit").unwrap();
    let printed = call.relay.succeed(PATIENCE).unwrap();
    let told =
        [("siprec-suspected,", 1), ("siprec-failed,", 1), ("siprec-started,", 2), ("siprec-failed-over,", 1)];
    for (message, times) in told {
        assert_eq!(count(&printed, message), times, "{message}: {printed}");
    }
    let sessions = reserve.sessions(1, PATIENCE).unwrap();
    // The second talk repeats the numbers of the first, as a source that has started again. The lost one can have acknowledged
    // none but those of the first second; all others are the next one's, without a hole.
    for stream in sessions[0].json["streams"].as_array().unwrap() {
        let packets = stream["packets"].as_u64().unwrap();
        assert!((400..=450).contains(&packets) && stream["lost"] == 0, "{stream}");
    }
    for report in printed.lines().filter(|line| line.starts_with("siprec-report,")) {
        assert!(report.contains("sent=(guint64)450,") && report.contains("gaps=(guint64)0"), "{report}");
    }
}

#[test]
fn a_program_that_exits_with_media_held_leaves_its_dialog_by_bye_or_cancel() {
    for (answer_after, end) in [("1", "BYE from the client"), ("30", "CANCEL from the client")] {
        let sandbox = Sandbox::new().unwrap();
        let mut recorder = Recorder::start(&sandbox, &["--ring", "--answer-after", answer_after]).unwrap();
        // At the pace of the call, the second that was held never becomes less.
        let properties = "catch-up=1.0 stop-timeout=100000000 dn=1 other-dn=2";
        let mut call = Call::start(&sandbox, &format!("recorder={} {properties}", recorder.uri())).unwrap();
        call.talk_untouched(&[babble(0, 3), babble(1, 3)]).unwrap();
        call.hang_up().unwrap();
        let line = recorder.process().wait_for_line("session ", Duration::from_secs(2)).unwrap();
        assert!(line.contains(end), "{line}");
    }
}

#[test]
fn a_program_that_exits_in_mid_call_leaves_its_dialog_by_bye() {
    let sandbox = Sandbox::new().unwrap();
    let mut recorder = Recorder::start(&sandbox, &[]).unwrap();
    let properties = format!("recorder={} dn=1 other-dn=2", recorder.uri());
    let mut call = Call::start_led(&sandbox, &properties).unwrap();
    call.talk_untouched(&[babble(0, 1), babble(1, 1)]).unwrap();
    call.relay.say("exit").unwrap();
    call.relay.succeed(PATIENCE).unwrap();
    let line = recorder.process().wait_for_line("session ", Duration::from_secs(2)).unwrap();
    assert!(line.contains("BYE from the client"), "{line}");
}

#[test]
fn a_recorder_that_falls_silent_does_not_keep_the_call_or_its_end() {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &["--silent-after", "0.5"]).unwrap();
    let mut call = Call::start(&sandbox, &format!("recorder={} dn=1 other-dn=2", recorder.uri())).unwrap();
    call.talk_untouched(&[babble(0, 2), babble(1, 2)]).unwrap();
    call.hang_up().unwrap();
}

#[test]
fn a_deaf_recorder_changes_nothing_for_the_call() {
    let led = talked(&["--deaf"]).unwrap();
    assert_eq!(led.sessions[0].json["streams"][0]["packets"], 0);
    assert_eq!(count(&led.printed, "siprec-stopped"), 1, "{}", led.printed);
}

fn assert_key_frames_are_asked_of_the_source(method: &str, properties: &str) {
    let sandbox = Sandbox::new().unwrap();
    let recorder = Recorder::start(&sandbox, &["--keyframe-every", &format!("0.5:{method}")]).unwrap();
    let pipeline = format!(
        "siprec name=rec recorder={} stop-timeout=5000000000 {properties} videotestsrc is-live=true num-buffers=75 ! \
         video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! vp8enc deadline=1 keyframe-max-dist=1000 ! \
         rtpvp8pay pt=96 ! rec.sink_0 rec.src_0 ! fakesink",
        recorder.uri()
    );
    let mut launch = sandbox.gst_launch(&pipeline);
    let (status, printed) =
        siprec_system_tests::process::run(&sandbox, "video", &mut launch, PATIENCE).unwrap();
    assert!(status.success(), "{printed}");
    let asked = printed.lines().filter(|line| line.contains("siprec-keyframe-wanted")).count();
    assert!((4..=8).contains(&asked), "{asked}: {printed}");
}

#[test]
fn key_frames_that_the_recorder_asks_for_by_info_are_asked_of_the_source() {
    assert_key_frames_are_asked_of_the_source("info", "");
}

/// RFC 4585 §6.3.1 and RFC 5104 §4.3.1, as SRTCP in the second.
#[test]
fn key_frames_that_the_recorder_asks_for_by_feedback_are_asked_of_the_source() {
    assert_key_frames_are_asked_of_the_source("pli", "");
    assert_key_frames_are_asked_of_the_source("fir", "srtp=require allow-clear-keys=true");
}

#[test]
fn pauses_are_cut_where_that_is_asked_for() {
    let led = led_with(&["--pauses", "cut"], "", ["action pause", "action resume"], 1).unwrap();
    let wav = &led.sessions[0].json["wav"];
    assert_eq!(wav["cut"].as_array().unwrap().len(), 1, "{wav}");
    // The third part follows the first at once, but for what one party was silent longer than the other.
    for (party, channel) in channels(&led.sessions[0]).unwrap().iter().enumerate() {
        let part = |part: usize| place(channel, &led.speech.parts[part][party]).unwrap();
        let apart = part(2) - part(0);
        assert!((8000..8800).contains(&apart), "party {party}: {apart}");
    }
}
