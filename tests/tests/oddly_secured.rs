//! Recorders that change their keys, or answer secured lines as nobody may: what can be recorded is, and nothing goes where
//! the keys are not agreed. The reference recorder judges by libsrtp, and tells of keys that are used twice.

use anyhow::{Result, ensure};
use siprec_system_tests::speech::{Led, led_with};

/// An order that changes nothing.
const NOTHING: &str = "action unmute nobody";
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// A plain call whose recording is secured.
fn talked(arguments: &[&str]) -> Result<Led> {
    let properties = format!("srtp=require allow-clear-keys=true srtp-suites={SUITE}");
    led_with(arguments, &properties, [NOTHING, NOTHING], 1)
}

/// Insists that every packet of both parties was genuine and is there, under so many keys one after the other.
fn ensure_whole(led: &Led, keys: u64) -> Result<()> {
    led.ensure_both_heard([&[0, 1, 2], &[0, 1, 2]])?;
    let json = &led.sessions[0].json;
    for stream in json["streams"].as_array().into_iter().flatten() {
        ensure!(stream["lost"] == 0 && stream["packets"] == 150, "{stream}");
        let srtp = serde_json::json!({
            "suite": SUITE, "keys": keys, "packets": 150, "not_authentic": 0, "replayed": 0
        });
        ensure!(stream["srtp"] == srtp, "{stream}");
    }
    ensure!(!json["states"].to_string().contains("RFC 4568"), "{}", json["states"]);
    Ok(())
}

#[test]
fn a_recorder_with_another_key_or_at_another_place_gets_everything() {
    ensure_whole(&talked(&["--rekey-after", "1"]).unwrap(), 1).unwrap();
    // Where the recorder goes elsewhere, we need another key too (RFC 4568 §7.1.4).
    ensure_whole(&talked(&["--move-after", "1"]).unwrap(), 2).unwrap();
}

#[test]
fn pauses_of_the_recorder_leave_the_keys_as_they_are() {
    let led = talked(&["--pause-at", "1:1"]).unwrap();
    for stream in led.sessions[0].json["streams"].as_array().unwrap() {
        assert_eq!((&stream["srtp"]["keys"], &stream["srtp"]["not_authentic"]), (&1.into(), &0.into()));
        assert_eq!((&stream["srtp"]["packets"], &stream["unwanted"]), (&stream["packets"], &0.into()));
    }
}

#[test]
fn an_answer_that_is_not_secured_as_it_must_be_gets_no_packet() {
    for odd in ["plain", "none", "two", "suite", "tag"] {
        let led = talked(&["--odd-crypto", odd]).unwrap();
        for stream in led.sessions[0].json["streams"].as_array().unwrap() {
            assert_eq!(stream["packets"], 0, "{odd}: {stream}");
            assert_eq!(stream["srtp"]["not_authentic"], 0, "{odd}: {stream}");
        }
        assert!(led.printed.lines().any(|line| line.starts_with("siprec-failed")), "{odd}: {}", led.printed);
    }
}

#[test]
fn a_recorder_that_reports_under_another_key_is_recorded_at_all_the_same() {
    ensure_whole(&talked(&["--odd-crypto", "key"]).unwrap(), 1).unwrap();
}
