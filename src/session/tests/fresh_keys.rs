//! Whose keys are whose: every place that is invited gets keys that nobody has had (`protocol` section 3), by suites of its
//! own list.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use siprec_model::{BranchEvent, SrtpKey, SrtpSuite};
use siprec_session::{Input, RecordingConfig, SecurityPolicy, SrtpUse, TransportEvent};
use siprec_sip::sdp::Crypto;
use siprec_sip::{Credentials, HeaderName, Method, Password, Request, SessionDescription};
use support::*;

use SrtpSuite::{AeadAes128Gcm as GCM, AesCm128HmacSha1_80 as CM};

/// A recording that is always encrypted, also where its keys are not.
fn secured(recorders: &str) -> RecordingConfig {
    let mut config = config(recorders);
    config.security.srtp = SrtpUse::Require;
    config.security.allow_clear_keys = true;
    config
}

/// What an offer has for each m-line: by tag, the key.
fn keys_of(body: &[u8]) -> Vec<BTreeMap<u32, SrtpKey>> {
    let sdp = SessionDescription::parse(body).unwrap();
    let keys = |media: siprec_sip::sdp::MediaView<'_>| {
        media.cryptos().map(Result::unwrap).map(|line| (line.tag(), line.keys()[0].clone())).collect()
    };
    sdp.medias().map(keys).collect()
}

#[test]
fn every_recorder_gets_keys_of_its_own_and_a_repeated_invite_the_same() {
    let password = Credentials::new("ada", Password::new("secret"), None).unwrap();
    let digest = "Digest realm=\"r\", nonce=\"n\"";
    // RFC 3261 §22.2, §22.3, RFC 4028 §6: the same request again, to the same recorder.
    for (status, header) in [
        (401, ("WWW-Authenticate", digest)),
        (407, ("Proxy-Authenticate", digest)),
        (422, ("Min-SE", "3600")),
    ] {
        let mut config = secured("sip:a.example sip:b.example");
        config.credentials = vec![password.clone()];
        let mut call = Call::inviting_with(config);
        let first = call.request(&Method::Invite);
        call.answer(&first, status, &[header], "");
        let repeated = call.request(&Method::Invite);
        assert_eq!(value(&repeated, &HeaderName::CallId), value(&first, &HeaderName::CallId));
        assert_eq!(repeated.body, first.body, "{status}");
        call.answer(&repeated, 603, &[], "");
        ensure_others(&call.request(&Method::Invite), &first);
    }
}

/// Insists that an INVITE has none of the keys of another, and as many.
#[track_caller]
fn ensure_others(invite: &Request, before: &Request) {
    let (old, new) = (keys_of(&before.body), keys_of(&invite.body));
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        assert!(!new.is_empty() && old.values().all(|key| !new.values().any(|new| new == key)));
    }
}

/// RFC 3263 §4.3: another server of the recorder's is somebody else.
#[test]
fn every_address_of_a_recorder_gets_keys_of_its_own() {
    let mut call = Call::new(secured("sip:rec.example"));
    call.resolves = false;
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    let mut invites = Vec::new();
    for (attempt, more) in [(1, true), (2, false)] {
        let flow = call.flow();
        call.input(Input::Transport(TransportEvent::Resolved { attempt, flow, more }));
        let invite = call.request(&Method::Invite);
        call.answer(&invite, 503, &[], "");
        invites.push(invite);
    }
    let [first, second] = &invites[..] else { panic!() };
    assert_eq!(first.uri, second.uri);
    ensure_others(second, first);
}

#[test]
fn each_recorder_is_offered_the_suites_of_its_own_profile() {
    let mut config = secured("sip:a.example sip:b.example sip:c.example");
    let lists = [vec![SrtpSuite::AeadAes256Gcm], vec![CM, SrtpSuite::AesCm256HmacSha1_80]];
    for (recorder, suites) in config.recorders.listed_mut().iter_mut().zip(&lists) {
        let own = SecurityPolicy { suites: suites.clone(), ..config.security.clone() };
        recorder.profile.security = Some(own);
    }
    let mut call = Call::inviting_with(config);
    for suites in lists.into_iter().chain([vec![GCM, CM]]) {
        let invite = call.request(&Method::Invite);
        for line in keys_of(&invite.body) {
            assert_eq!(
                line.keys().copied().collect::<Vec<_>>(),
                (1..=suites.len() as u32).collect::<Vec<_>>()
            );
            assert_eq!(line.values().map(SrtpKey::suite).collect::<Vec<_>>(), suites);
        }
        call.answer(&invite, 603, &[], "");
    }
}

/// `protocol` 1.6: a session that takes over in the middle of a call.
#[test]
fn the_recorder_that_takes_over_in_the_middle_of_a_call_gets_keys_of_its_own() {
    let mut call = Call::inviting_with(secured("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    let first = call.request(&Method::Invite);
    let line = |port: u16| {
        let key = SrtpKey::new(GCM, &[port as u8; 28]).unwrap();
        format!("m=audio {port} RTP/SAVP 0\r\na=crypto:{}\r\n", *Crypto::new(1, key).to_value())
    };
    call.answer(&first, 200, &[], &(sdp(&[]) + &line(4000) + &line(4002)));
    assert!(call.take().contains(&"* started".to_owned()));
    call.media(0, BranchEvent::ReportsStopped);
    // The last question to the first one.
    let refresh = call.request(&Method::Invite);
    assert_eq!(keys_of(&refresh.body), keys_of(&first.body));
    call.wait_ms(2_000);
    ensure_others(&call.request(&Method::Invite), &first);
}
