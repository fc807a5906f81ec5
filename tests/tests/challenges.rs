//! SIPp as a recorder that asks for a password at INVITE, re-INVITE and BYE, each time with another nonce. It computes
//! the answer itself for MD5 in Authorization, which is all that it knows; Kamailio judges the others.

use anyhow::Result;
use siprec_system_tests::sandbox::Sandbox;
use siprec_system_tests::sipp::{Sipp, Talk, end};

/// A call whose recorder asks by `status`. With `judged`, SIPp computes the response itself.
fn challenged(status: &str, algorithm: &str, judged: bool) -> Result<()> {
    let (asks, answers) = match status {
        "401" => ("WWW-Authenticate", "Authorization"),
        _ => ("Proxy-Authenticate", "Proxy-Authorization"),
    };
    let (part, close) = if judged { ("believed", "</nop>") } else { ("counted", "</recv>") };
    let words = [
        ("STATUS", status),
        ("ASKS", asks),
        ("ANSWERS", answers),
        ("ALGORITHM", algorithm),
        ("JUDGED", part),
        ("CLOSE", close),
    ];
    let sandbox = Sandbox::new()?;
    let mut sipp = Sipp::start_with(&sandbox, "challenge", &words)?;
    let agent = [
        "local-address=127.0.0.1".to_owned(),
        "auth-user=ada".to_owned(),
        "auth-password=correct horse".to_owned(),
    ];
    let mut call = sipp.led_call_with_agent(&sandbox, &agent)?;
    let mut talk = Talk::new();
    talk.until(&sandbox, &call, &mut sipp, "pause")?;
    call.order("action pause")?;
    talk.until(&sandbox, &call, &mut sipp, "ready")?;
    end(&sandbox, &mut call, &mut sipp)
}

#[test]
fn a_recorder_that_asks_by_401_gets_what_sipp_computes_too() {
    challenged("401", "MD5", true).unwrap();
}

#[test]
fn every_challenge_is_answered_in_the_header_that_it_asks_for() {
    for (status, algorithm) in [("401", "SHA-256"), ("407", "SHA-256"), ("407", "MD5")] {
        challenged(status, algorithm, false).unwrap();
    }
}
