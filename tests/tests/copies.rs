//! Two reference recorders at once, as processes: what was said is what either has, sample by sample, also where the other is
//! killed.

use siprec_system_tests::call::{Call, babble};
use siprec_system_tests::recorder::Recorder;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::speech::{PATIENCE, places};

/// How many messages of this name are about this copy.
fn told(printed: &str, name: &str, copy: u32) -> usize {
    let (name, copy) = (format!("{name},"), format!("copy=(uint){copy},"));
    printed.lines().filter(|line| line.starts_with(&name) && line.contains(&copy)).count()
}

#[test]
fn both_recorders_have_every_sample_of_the_call() {
    let sandboxes = [Sandbox::new().unwrap(), Sandbox::new().unwrap()];
    let recorders = sandboxes.each_ref().map(|sandbox| Recorder::start(sandbox, &[]).unwrap());
    let [first, second] = recorders.each_ref().map(Recorder::uri);
    let properties = format!("recorder={first} second-recorder={second} dn=1 other-dn=2");
    let mut call = Call::start(&sandboxes[0], &properties).unwrap();
    let said = [babble(0, 5), babble(1, 5)];
    call.talk_untouched(&said).unwrap();
    call.hang_up().unwrap();
    for recorder in &recorders {
        let sessions = recorder.sessions(1, PATIENCE).unwrap();
        places(&sessions[0], &said).unwrap();
        for stream in sessions[0].json["streams"].as_array().unwrap() {
            assert!(stream["packets"] == 250 && stream["lost"] == 0, "{stream}");
        }
    }
}

#[test]
fn a_recorder_that_is_killed_costs_the_other_copy_no_sample() {
    let (sandbox, other) = (Sandbox::new().unwrap(), Sandbox::new().unwrap());
    let mut doomed = Recorder::start(&sandbox, &[]).unwrap();
    let recorder = Recorder::start(&other, &[]).unwrap();
    let properties = format!("recorder={} second-recorder={} dn=1 other-dn=2", doomed.uri(), recorder.uri());
    let mut call = Call::start_led(&sandbox, &properties).unwrap();
    let mut before = [babble(0, 13), babble(1, 13)];
    let after = before.each_mut().map(|party| party.split_off(50));
    call.talk_untouched(&before).unwrap();
    doomed.process().signal("KILL").unwrap();
    doomed.process().wait(PATIENCE).unwrap();
    // Long enough for the loss to be certain, and for the recorder to be invited once more in vain.
    call.talk_untouched(&after).unwrap();
    call.relay.say("quit").unwrap();
    let printed = call.relay.succeed(PATIENCE).unwrap();
    let sessions = recorder.sessions(1, PATIENCE).unwrap();
    for said in [&before, &after] {
        places(&sessions[0], said).unwrap();
    }
    for stream in sessions[0].json["streams"].as_array().unwrap() {
        assert!(stream["packets"] == 650 && stream["lost"] == 0, "{stream}");
    }
    assert!(told(&printed, "siprec-failed", 1) >= 1, "{printed}");
    for name in ["siprec-failed", "siprec-suspected", "siprec-gap"] {
        assert_eq!(told(&printed, name, 2), 0, "{name}: {printed}");
    }
}
