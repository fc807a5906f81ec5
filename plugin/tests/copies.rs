//! Two recorders at once: what either does is nothing to the other, and the application hears of each and of both.
#![cfg(test)]

mod common;

use std::time::Duration;

use common::call::{Call, timestamp};
use common::recorder::{Recorder, Script, media_sections};
use common::srtp::{Decoder, Encoder, SUITES, offered, srtp_caps};
use common::{init, ready, rtp, rtp_bytes, silent_recorder};
use gst::prelude::*;
use gstsiprec::SiprecState;
use gstsiprec::SiprecState::{Draining, Failed, Paused, Recording, Starting, Stopped};

/// A call with two recorders.
fn call(first: &str, second: &str, set: impl FnOnce(&gst::Element)) -> Call {
    Call::new(first, |siprec| {
        siprec.set_property("second-recorder", second);
        set(siprec);
    })
}

/// The next message of this name that is about this copy.
fn of_copy(call: &Call, name: &str, copy: u32) -> gst::Structure {
    let mut others = Vec::new();
    let found = loop {
        let message = call.message(name);
        if message.get::<u32>("copy") == Ok(copy) {
            break message;
        }
        others.push(message);
    };
    call.put_back(others);
    found
}

/// Insists that a line of a recorder gets these packets of the call next.
fn ensure_gets(recorder: &Recorder, line: usize, packets: std::ops::Range<u16>) {
    for number in packets {
        let packet = recorder.packet(line).unwrap_or_else(|| panic!("line {line}: no packet {number}"));
        assert_eq!(timestamp(&packet), u32::from(number) * 160, "line {line}");
    }
}

/// Every transition told so far: the copy, its state, the whole's, and how many record.
fn transitions(messages: &[gst::Structure]) -> Vec<(u32, SiprecState, SiprecState, u32)> {
    let number = |message: &gst::Structure, name: &str| message.get::<u32>(name).unwrap();
    let state = |message: &gst::Structure, name: &str| message.get::<SiprecState>(name).unwrap();
    let told = messages.iter().filter(|message| message.name() == "siprec-state");
    told.map(|it| {
        (number(it, "copy"), state(it, "state"), state(it, "whole"), number(it, "copies-recording"))
    })
    .collect()
}

#[test]
fn both_recorders_get_the_whole_call_by_dialogs_of_their_own() {
    let quick = Recorder::start(Script::Accept);
    let slow = Recorder::start(Script::AcceptAfter(Duration::from_millis(500)));
    let call = call(&quick.uri(), &slow.uri(), |_| ());
    call.begin();
    (0..20).for_each(|number| call.speak(number));
    let invites = [quick.request("INVITE"), slow.request("INVITE")];
    let ids = invites.each_ref().map(|invite| {
        let uri = invite.lines().next().unwrap();
        uri.split([':', '@']).nth(1).unwrap().to_owned()
    });
    assert!(ids[0].starts_with("record=") && ids[0] == ids[1], "one recording: {ids:?}");
    let started = [1, 2].map(|copy| of_copy(&call, "siprec-started", copy));
    for (message, recorder) in started.iter().zip([&quick, &slow]) {
        assert_eq!(message.get::<&str>("recorder"), Ok(recorder.uri().as_str()));
        assert_eq!(message.get::<&str>("GSIP_RECORD"), Ok("ON"));
        assert_eq!(message.get::<&str>("GSIP_REC_FN"), message.get::<&str>("recording-id"));
    }
    assert_ne!(started[0].get::<&str>("session"), started[1].get::<&str>("session"));
    (20..40).for_each(|number| call.speak(number));
    for recorder in [&quick, &slow] {
        (0..2).for_each(|line| ensure_gets(recorder, line, 0..40));
    }
    call.end();
    quick.request("BYE");
    slow.request("BYE");
    let mut reports: Vec<u32> = (0..4)
        .map(|_| {
            let report = call.message("siprec-report");
            assert_eq!(report.get::<u64>("sent"), Ok(40), "{report}");
            assert_eq!(report.get::<u64>("seen"), Ok(40), "{report}");
            report.get("copy").unwrap()
        })
        .collect();
    reports.sort_unstable();
    assert_eq!(reports, [1, 1, 2, 2]);
    call.wait_for_state("Stopped");
}

#[test]
fn one_that_refuses_costs_the_other_nothing() {
    for refusing in [0, 1] {
        let recorder = Recorder::start(Script::Accept);
        let refuses = Recorder::start(Script::Refuse(603));
        let mut uris = [recorder.uri(), recorder.uri()];
        uris[refusing] = refuses.uri();
        let call = call(&uris[0], &uris[1], |_| ());
        call.begin();
        (0..10).for_each(|number| call.speak(number));
        let failed = call.message("siprec-failed");
        assert_eq!(failed.get::<u32>("copy"), Ok(refusing as u32 + 1));
        assert_eq!(failed.get::<u32>("sip-code"), Ok(603));
        assert_eq!(failed.get::<&str>("sip-text"), Ok("Not Today"));
        call.wait_for_state("Recording");
        (0..2).for_each(|line| ensure_gets(&recorder, line, 0..10));
        call.wish("pause");
        (10..20).for_each(|number| call.speak(number));
        assert_eq!(call.message("siprec-paused").get::<&str>("GSIP_RECORD"), Ok("PAUSED"));
        call.wait_for_state("Paused");
        call.wish("resume");
        (20..30).for_each(|number| call.speak(number));
        (0..2).for_each(|line| ensure_gets(&recorder, line, 20..30));
        call.wish("stop");
        recorder.request("BYE");
        assert_eq!(call.message("siprec-stopped").get::<&str>("GSIP_RECORD"), Ok("OFF"));
        assert_eq!(call.wait_for_state("Stopped"), "asked");
    }
}

#[test]
fn copies_of_overlapping_lists_never_go_to_one_recorder() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let both = format!("{} {}", recorders[0].uri(), recorders[1].uri());
    let overlapping = call(&both, &both, |_| ());
    overlapping.begin();
    let started = [1, 2].map(|copy| of_copy(&overlapping, "siprec-started", copy));
    let used = started.map(|message| message.get::<String>("recorder").unwrap());
    assert_ne!(used[0], used[1]);
    overlapping.end();

    let alone = Recorder::start(Script::Accept);
    let call = call(&alone.uri(), &alone.uri(), |_| ());
    call.begin();
    let failed = call.message("siprec-failed");
    let reason = failed.get::<String>("reason").unwrap();
    assert!(reason.contains("1 with another copy of the recording"), "{reason}");
    call.wait_for_state("Recording");
    (0..10).for_each(|number| call.speak(number));
    (0..2).for_each(|line| ensure_gets(&alone, line, 0..10));
    call.end();
}

#[test]
fn pause_and_stop_act_on_both_at_once() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let call = call(&recorders[0].uri(), &recorders[1].uri(), |_| ());
    call.begin();
    call.speak(0);
    (1..=2).for_each(|copy| drop(of_copy(&call, "siprec-started", copy)));
    for recorder in &recorders {
        (0..2).for_each(|line| ensure_gets(recorder, line, 0..1));
    }
    call.wish("pause");
    (1..20).for_each(|number| call.speak(number));
    call.wait_for_state("Paused");
    for recorder in &recorders {
        assert_eq!(recorder.packet_within(0, Duration::from_millis(150)), None);
    }
    call.wish("resume");
    (20..25).for_each(|number| call.speak(number));
    for recorder in &recorders {
        (0..2).for_each(|line| ensure_gets(recorder, line, 20..25));
    }
    call.wish("stop");
    recorders.iter().for_each(|recorder| drop(recorder.request("BYE")));
    call.wait_for_state("Stopped");
    call.wish("start");
    for recorder in &recorders {
        recorder.request("INVITE");
    }
    call.wait_for_state("Recording");
}

#[test]
fn one_that_is_silent_delays_neither_the_other_nor_its_pause_and_end() {
    let recorder = Recorder::start(Script::Accept);
    let (silent, _kept) = silent_recorder();
    let call = call(&silent, &recorder.uri(), |_| ());
    call.begin();
    (0..5).for_each(|number| call.speak(number));
    call.wait_for_state("Recording");
    (0..2).for_each(|line| ensure_gets(&recorder, line, 0..5));
    call.wish("pause");
    (5..10).for_each(|number| call.speak(number));
    recorder.request("INVITE");
    assert!(recorder.request("INVITE").contains("a=inactive"));
    assert_eq!(recorder.packet_within(0, Duration::from_millis(150)), None);
    call.wish("resume");
    (10..15).for_each(|number| call.speak(number));
    (0..2).for_each(|line| ensure_gets(&recorder, line, 10..15));
    call.wish("stop-now");
    recorder.request("BYE");
    call.wait_for_state("Stopped");
}

#[test]
fn one_that_dies_is_told_and_the_other_has_the_call_without_a_hole() {
    let recorder = Recorder::start(Script::Accept);
    let doomed = Recorder::start(Script::Accept);
    let call = call(&recorder.uri(), &doomed.uri(), |siprec| {
        siprec.set_property("probe-interval", gst::ClockTime::from_mseconds(500).nseconds());
        // As long as this it is sought.
        siprec.set_property("hold-time", gst::ClockTime::from_seconds(5).nseconds());
    });
    call.begin();
    (0..10).for_each(|number| call.speak(number));
    (1..=2).for_each(|copy| drop(of_copy(&call, "siprec-started", copy)));
    drop(doomed);
    (10..20).for_each(|number| call.speak(number));
    let failed = call.message("siprec-failed");
    assert_eq!(failed.get::<u32>("copy"), Ok(2), "{failed}");
    assert_eq!(failed.get::<&str>("GSIP_RECORD"), Ok("ON"), "the call is still recorded");
    // The recorder is asked once more before the copy is over.
    let over = loop {
        let state = of_copy(&call, "siprec-state", 2);
        if state.get::<SiprecState>("state") == Ok(Failed) {
            break state;
        }
    };
    assert_eq!(over.get::<SiprecState>("whole"), Ok(Recording));
    assert_eq!((over.get::<u32>("copies"), over.get::<u32>("copies-recording")), (Ok(2), Ok(1)));
    assert_eq!(call.siprec.property::<SiprecState>("state"), Recording);
    (20..30).for_each(|number| call.speak(number));
    (0..2).for_each(|line| ensure_gets(&recorder, line, 0..30));
    let stats = call.siprec.property::<gst::Structure>("stats");
    let copies: Vec<gst::Structure> =
        stats.get::<gst::Array>("copies").unwrap().iter().map(|copy| copy.get().unwrap()).collect();
    let sessions: Vec<usize> =
        copies.iter().map(|copy| copy.get::<gst::Array>("sessions").unwrap().len()).collect();
    assert_eq!(sessions, [1, 0], "{stats}");
    call.wish("stop");
    recorder.request("BYE");
    assert_eq!(call.wait_for_state("Stopped"), "asked");
}

#[test]
fn each_copy_tells_of_streams_that_their_caps_end_until_they_are_recorded_again() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let call = call(&recorders[0].uri(), &recorders[1].uri(), |_| ());
    call.begin();
    call.speak(0);
    let sessions =
        [1, 2].map(|copy| of_copy(&call, "siprec-started", copy).get::<String>("session").unwrap());
    for recorder in &recorders {
        (0..2).for_each(|line| ensure_gets(recorder, line, 0..1));
    }
    let told = |name: &str| {
        let text = |message: &gst::Structure, field: &str| message.get::<String>(field).unwrap();
        let mut indicated = Vec::new();
        for (copy, session) in [1, 2].into_iter().zip(&sessions) {
            for dn in ["1001", "1002"] {
                let message = of_copy(&call, name, copy);
                assert_eq!(
                    (text(&message, "session"), text(&message, "dn")),
                    (session.clone(), dn.to_owned())
                );
                indicated.push(text(&message, "GSIP_RECORD"));
            }
        }
        indicated
    };
    let raw: gst::Caps = "audio/x-raw".parse().unwrap();
    call.parties.iter().for_each(|(inlet, _)| assert!(inlet.pad.push_event(gst::event::Caps::new(&raw))));
    let off = told("siprec-audio-off");
    assert_eq!(off.iter().filter(|indicated| *indicated == "OFF").count(), 1, "the last one: {off:?}");
    let rtp: gst::Caps = common::PCMU.parse().unwrap();
    call.parties.iter().for_each(|(inlet, _)| assert!(inlet.pad.push_event(gst::event::Caps::new(&rtp))));
    call.speak(1);
    assert_eq!(told("siprec-audio-on"), ["ON"; 4]);
    for recorder in &recorders {
        (0..2).for_each(|line| ensure_gets(recorder, line, 1..2));
    }
}

#[test]
fn every_transition_of_each_copy_is_told_once_and_in_order() {
    let recorder = Recorder::start(Script::Accept);
    let refuses = Recorder::start(Script::Refuse(486));
    let call = call(&refuses.uri(), &recorder.uri(), |_| ());
    call.begin();
    (0..10).for_each(|number| call.speak(number));
    call.wait_for_state("Recording");
    call.message("siprec-failed");
    call.wish("stop");
    call.wait_for_state("Stopped");
    let told = transitions(&call.messages_so_far());
    let of = |copy: u32| -> Vec<_> { told.iter().filter(|it| it.0 == copy).map(|it| it.1).collect() };
    assert_eq!(of(1), [Starting, Failed], "{told:?}");
    assert_eq!(of(2), [Starting, Recording, Draining, Stopped], "{told:?}");
    let mut whole: Vec<_> = told.iter().map(|it| it.2).collect();
    whole.dedup();
    assert_eq!(whole, [Starting, Recording, Draining, Stopped], "{told:?}");
    assert_eq!(told.iter().map(|it| it.3).max(), Some(1), "{told:?}");
}

#[test]
fn with_two_recorders_each_party_has_a_session_at_either() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let call = call(&recorders[0].uri(), &recorders[1].uri(), |siprec| {
        siprec.set_property_from_str("session-mode", "per-party");
    });
    call.begin();
    (0..10).for_each(|number| call.speak(number));
    (0..4).for_each(|_| drop(call.message("siprec-started")));
    for recorder in &recorders {
        let invites = [recorder.request("INVITE"), recorder.request("INVITE")];
        assert!(invites.iter().all(|invite| media_sections(invite).count() == 1));
        // The lines of the first dialog from 0 on, of the second from 4.
        [0, 4].into_iter().for_each(|line| ensure_gets(recorder, line, 0..10));
    }
    call.siprec.emit_by_name::<()>("mute", &[&"1001"]);
    (0..2).for_each(|_| assert_eq!(call.message("siprec-paused").get::<&str>("dn"), Ok("1001")));
    call.end();
    for recorder in &recorders {
        (0..2).for_each(|_| drop(recorder.request("BYE")));
    }
}

#[test]
fn an_encrypted_call_is_recorded_in_the_clear_by_one_and_encrypted_by_the_other() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pools.toml");
    let pool = |name: &str, recorder: &Recorder, security: &str| {
        let uri = recorder.uri();
        format!(
            "[pool.{name}]\nhealth-check.interval = 0\n[[pool.{name}.recorder]]\nuri = \"{uri}\"\nsecurity = {security}\n"
        )
    };
    let plain = pool("plain", &recorders[0], "{ srtp = \"disable\", allow-downgrade = true }");
    let secret = pool("secret", &recorders[1], "{ srtp = \"require\", allow-clear-keys = true }");
    std::fs::write(&path, plain + &secret).unwrap();
    init();
    let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
    agent.set_property("config", path.to_str().unwrap());
    let call = call("pool:plain", "pool:secret", |siprec| siprec.set_property("agent", &agent));
    let (suite, key) = (SUITES[0], SUITES[0].key(1));
    for (inlet, _) in &call.parties {
        inlet.begin_with(&srtp_caps(Some(&suite.caps(&key, None))));
    }
    let encoder = Encoder::new(suite, &key, None);
    for number in 0..20 {
        let packet = encoder.protect(rtp_bytes(number));
        call.parties[0].0.pad.push(gst::Buffer::from_mut_slice(packet)).unwrap();
    }
    let invites = recorders.each_ref().map(|recorder| recorder.request("INVITE"));
    assert!(invites[0].contains(" RTP/AVP 0") && invites[1].contains(" RTP/SAVP 0"));
    let decoder = Decoder::new(&offered(&invites[1], 0));
    for number in 0..20 {
        let plain = recorders[0].packet(0).unwrap();
        let opened = decoder.unprotect(&recorders[1].packet(0).unwrap()).expect("srtpdec takes it");
        for packet in [plain, opened] {
            assert_eq!((timestamp(&packet), &packet[12..]), (number * 160, &rtp_bytes(0)[12..]));
        }
    }
}

#[test]
fn a_mandatory_recording_that_is_impossible_ends_the_call_by_one_message_and_no_error() {
    let refuses = [Recorder::start(Script::Refuse(603)), Recorder::start(Script::Refuse(486))];
    for policy in ["mandatory", "best-effort"] {
        let call = call(&refuses[0].uri(), &refuses[1].uri(), |siprec| {
            siprec.set_property_from_str("policy", policy);
        });
        call.begin();
        call.speak(0);
        let reason = call.wait_for_state("Failed");
        call.speak(1);
        // An ERROR would end the test there.
        let told = call.messages_so_far();
        let must_end: Vec<_> =
            told.iter().filter(|message| message.name() == "siprec-call-must-end").collect();
        if policy == "best-effort" {
            assert_eq!(must_end.len(), 0, "{told:?}");
            continue;
        }
        let [must_end] = must_end[..] else { panic!("{told:?}") };
        let reasons = must_end.get::<&str>("reason").unwrap();
        assert_eq!(reasons, reason);
        assert!(reasons.contains("603 Not Today") && reasons.contains("486 Not Today"), "{reasons}");
        assert_eq!(must_end.get::<&str>("GSIP_RECORD"), Ok("OFF"));
        call.end();
    }
}

#[test]
fn a_mandatory_recording_is_impossible_only_when_both_recorders_are() {
    let recorder = Recorder::start(Script::Accept);
    let refuses = Recorder::start(Script::Refuse(603));
    let call = call(&refuses.uri(), &recorder.uri(), |siprec| {
        siprec.set_property_from_str("policy", "mandatory");
    });
    call.begin();
    call.speak(0);
    call.message("siprec-failed");
    call.wait_for_state("Recording");
    let invite = recorder.request("INVITE");
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-call-must-end"));
    recorder.hang_up(&invite);
    let reason = call.message("siprec-call-must-end").get::<String>("reason").unwrap();
    assert!(reason.contains("603 Not Today") && reason.ends_with("copy 2: recorder-bye"), "{reason}");
    call.wait_for_state("Stopped");
    call.wish("stop");
    call.end();
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-call-must-end"));
}

/// The states of a copy, until it has this one.
fn states_until(call: &Call, copy: u32, last: SiprecState) -> Vec<SiprecState> {
    let mut states = Vec::new();
    while states.last() != Some(&last) {
        states.push(of_copy(call, "siprec-state", copy).get::<SiprecState>("state").unwrap());
    }
    states
}

#[test]
fn start_begins_a_copy_anew_that_has_failed_with_all_that_came_since() {
    let recorder = Recorder::start(Script::Accept);
    let again = Recorder::start(Script::Refuse(603));
    let call = call(&recorder.uri(), &again.uri(), |_| ());
    call.begin();
    let refused = again.request("INVITE");
    assert_eq!(states_until(&call, 2, Failed), [Starting, Failed]);
    call.speak(0);
    call.wait_for_state("Recording");
    (1..20).for_each(|number| call.speak(number));
    assert_eq!(call.siprec.property::<SiprecState>("state"), Recording);
    again.set_script(Script::Accept);
    call.wish("start");
    let invite = again.request("INVITE");
    let uri = |invite: &str| invite.lines().next().unwrap().to_owned();
    assert_eq!(uri(&invite), uri(&refused), "the same recording of the same call");
    assert_eq!(states_until(&call, 2, Recording), [Starting, Recording]);
    assert_eq!(of_copy(&call, "siprec-started", 2).get::<&str>("GSIP_RECORD"), Ok("ON"));
    (20..30).for_each(|number| call.speak(number));
    for recorder in [&again, &recorder] {
        (0..2).for_each(|line| ensure_gets(recorder, line, 0..30));
    }
    call.wish("start");
    call.end();
    recorder.request("BYE");
    again.request("BYE");
    call.wait_for_state("Stopped");
    let told = call.messages_so_far();
    let reports = told.iter().filter(|message| message.name() == "siprec-report");
    let mut accounts: Vec<(u32, u64, u64)> = reports
        .map(|it| (it.get("copy").unwrap(), it.get("seen").unwrap(), it.get("sent").unwrap()))
        .collect();
    accounts.sort_unstable();
    assert_eq!(accounts, [(1, 30, 30), (1, 30, 30), (2, 0, 0), (2, 0, 0), (2, 30, 30), (2, 30, 30)]);
}

#[test]
fn what_a_copy_could_not_keep_until_it_began_anew_is_told_as_one_gap() {
    let recorder = Recorder::start(Script::Accept);
    let again = Recorder::start(Script::Refuse(603));
    let call = call(&recorder.uri(), &again.uri(), |siprec| siprec.set_property("hold-bytes", 8192_u32));
    call.begin();
    states_until(&call, 2, Failed);
    again.request("INVITE");
    call.speak(0);
    call.wait_for_state("Recording");
    (1..100).for_each(|number| call.speak(number));
    again.set_script(Script::Accept);
    call.wish("start");
    let mut lost: Vec<u64> = (0..2)
        .map(|_| {
            let gap = of_copy(&call, "siprec-gap", 2);
            let number = |name: &str| gap.get::<u64>(name).unwrap();
            assert_eq!(gap.get::<&str>("reason"), Ok("ring-full"));
            assert_eq!(number("duration"), number("packets") * 20_000_000, "{gap}");
            number("packets")
        })
        .collect();
    assert!(lost.iter().all(|lost| (10..90).contains(lost)), "{lost:?}");
    let mut first: Vec<u64> =
        (0..2).map(|line| u64::from(timestamp(&again.packet(line).unwrap())) / 160).collect();
    lost.sort_unstable();
    first.sort_unstable();
    assert_eq!(first, lost, "what follows the gap comes first");
}

#[test]
fn all_parties_of_a_copy_whose_sessions_failed_one_after_the_other_are_sent_after_start_or_counted() {
    for begins_anew in [true, false] {
        let recorder = Recorder::start(Script::Accept);
        let again = Recorder::start(Script::Refuse(603));
        let call = call(&recorder.uri(), &again.uri(), |siprec| {
            siprec.set_property_from_str("session-mode", "per-party");
        });
        call.begin();
        states_until(&call, 2, Failed);
        (0..20).for_each(|number| call.speak(number));
        if begins_anew {
            again.set_script(Script::Accept);
            call.wish("start");
            (0..2).for_each(|_| drop(of_copy(&call, "siprec-started", 2)));
        }
        call.end();
        let mut accounts: Vec<(u32, u64, u64)> = (0..6)
            .map(|_| call.message("siprec-report"))
            .map(|it| (it.get("copy").unwrap(), it.get("seen").unwrap(), it.get("sent").unwrap()))
            .collect();
        accounts.sort_unstable();
        call.wait_for_state("Stopped");
        let late = (2, 20, if begins_anew { 20 } else { 0 });
        assert_eq!(accounts, [(1, 20, 20), (1, 20, 20), (2, 0, 0), (2, 0, 0), late, late]);
    }
}

#[test]
fn a_copy_that_begins_anew_is_paused_where_the_recording_is() {
    let recorder = Recorder::start(Script::Accept);
    let again = Recorder::start(Script::Refuse(603));
    let call = call(&again.uri(), &recorder.uri(), |_| ());
    call.begin();
    states_until(&call, 1, Failed);
    call.speak(0);
    call.wait_for_state("Recording");
    call.wish("pause");
    call.wait_for_state("Paused");
    again.request("INVITE");
    again.set_script(Script::Accept);
    call.wish("start");
    assert!(again.request("INVITE").contains("a=inactive"));
    assert_eq!(states_until(&call, 1, Paused).last(), Some(&Paused));
    call.speak(1);
    assert_eq!(again.packet_within(0, Duration::from_millis(150)), None);
    call.wish("resume");
    (2..5).for_each(|number| call.speak(number));
    for line in 0..2 {
        ensure_gets(&again, line, 0..1);
        ensure_gets(&again, line, 2..5);
    }
}

#[test]
fn a_mandatory_recording_whose_copies_fail_again_is_told_of_again() {
    let refuses = [Recorder::start(Script::Accept), Recorder::start(Script::Refuse(603))];
    let call = call(&refuses[0].uri(), &refuses[1].uri(), |siprec| {
        siprec.set_property_from_str("policy", "mandatory");
    });
    call.begin();
    call.speak(0);
    states_until(&call, 2, Failed);
    let invite = refuses[0].request("INVITE");
    call.wish("start");
    assert_eq!(states_until(&call, 2, Failed), [Starting, Failed], "begun anew, in vain");
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-call-must-end"));
    refuses[0].hang_up(&invite);
    call.message("siprec-call-must-end");
    call.wait_for_state("Stopped");
    // None is left: another recording begins, in both copies.
    refuses[0].set_script(Script::Refuse(486));
    call.wish("start");
    call.message("siprec-call-must-end");
    call.wait_for_state("Failed");
}

#[test]
fn a_mandatory_recording_that_ends_as_asked_is_possible() {
    let recorder = Recorder::start(Script::Accept);
    let call = Call::new(&recorder.uri(), |siprec| siprec.set_property_from_str("policy", "mandatory"));
    call.begin();
    call.speak(0);
    call.wait_for_state("Recording");
    call.wish("stop");
    call.wait_for_state("Stopped");
    call.wish("start");
    call.wait_for_state("Recording");
    call.end();
    call.wait_for_state("Stopped");
    assert!(call.messages_so_far().iter().all(|message| message.name() != "siprec-call-must-end"));
}

#[test]
fn a_copy_that_the_agent_has_no_room_for_is_told_and_the_other_goes_on() {
    init();
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
    agent.set_property("max-sessions", 1_u32);
    let call = call(&recorders[0].uri(), &recorders[1].uri(), |siprec| siprec.set_property("agent", &agent));
    let failed = call.message("siprec-failed");
    assert_eq!(failed.get::<u32>("copy"), Ok(2));
    assert!(failed.get::<&str>("reason").unwrap().contains("the limit of 1 recordings"), "{failed}");
    call.begin();
    (0..10).for_each(|number| call.speak(number));
    (0..2).for_each(|line| ensure_gets(&recorders[0], line, 0..10));
    call.wait_for_state("Recording");
}

#[test]
fn a_second_recorder_that_cannot_be_is_an_error_that_names_its_property() {
    let error = ready(|siprec| {
        siprec.set_property("recorder", "sip:127.0.0.1:9");
        siprec.set_property("second-recorder", "pool:west");
    });
    assert!(error.unwrap_err().contains("property \"second-recorder\": the agent has no pool \"west\""));
}

#[test]
fn a_party_that_joins_is_recorded_by_both_from_its_first_packet() {
    let recorders = [Recorder::start(Script::Accept), Recorder::start(Script::Accept)];
    let call = call(&recorders[0].uri(), &recorders[1].uri(), |_| ());
    call.begin();
    call.speak(0);
    (1..=2).for_each(|copy| drop(of_copy(&call, "siprec-started", copy)));
    let sink = call.siprec.request_pad_simple("sink_2").unwrap();
    let source = call.siprec.static_pad("src_2").unwrap();
    let (inlet, _outlet) = (common::Inlet::before(&sink), common::Outlet::behind(&source));
    inlet.begin();
    (0..10).for_each(|number| assert!(inlet.pad.push(rtp(number)).is_ok()));
    recorders.iter().for_each(|recorder| ensure_gets(recorder, 2, 0..10));
}
