//! `protocol` section 3, as far as it is negotiated: who offers and accepts which keys, and when they change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use siprec_model::{BranchCommand, BranchEvent, MediaSecurity, OpenBranch, SrtpKey, SrtpKeys, SrtpSuite};
use siprec_session::{ByePolicy, Command, RecordingConfig, SrtpUse, StreamSecurity};
use siprec_sip::sdp::Crypto;
use siprec_sip::{Method, Request, SessionDescription, Transport};
use support::*;

use SrtpSuite::{AeadAes128Gcm as GCM, AesCm128HmacSha1_80 as CM};

const OPEN_BOTH: [&str; 2] = ["open 0 to 192.0.2.9:4000", "open 1 to 192.0.2.9:4002"];

/// A recording that is always encrypted, also where its keys are not.
fn secured(recorders: &str) -> RecordingConfig {
    let mut config = config(recorders);
    config.security.srtp = SrtpUse::Require;
    config.security.allow_clear_keys = true;
    config
}

/// The recorder's key for one of its ports.
fn theirs(port: u16, suite: SrtpSuite) -> SrtpKey {
    let mut master = vec![0x77; suite.master_length()];
    master[..2].copy_from_slice(&port.to_be_bytes());
    SrtpKey::new(suite, &master).unwrap()
}

fn crypto(tag: u32, port: u16, suite: SrtpSuite) -> String {
    format!("a=crypto:{}\r\n", *Crypto::new(tag, theirs(port, suite)).to_value())
}

/// An answer that takes the line of this tag and suite at each port.
fn answer(ports: &[u16], tag: u32, suite: SrtpSuite) -> String {
    lines_of(ports, |port| crypto(tag, port, suite))
}

/// A description with encrypted lines, and what stands behind each.
fn lines_of(ports: &[u16], behind: impl Fn(u16) -> String) -> String {
    let line = |port: &u16| format!("m=audio {port} RTP/SAVP 0\r\na=recvonly\r\n{}", behind(*port));
    sdp(&[]) + &ports.iter().map(line).collect::<String>()
}

/// What an offer or answer of ours has for each m-line: by tag, the key.
fn keys_of(body: &[u8]) -> Vec<BTreeMap<u32, SrtpKey>> {
    let sdp = SessionDescription::parse(body).unwrap();
    let keys = |line: Crypto| (line.tag(), line.keys()[0].clone());
    sdp.medias().map(|media| media.cryptos().map(Result::unwrap).map(keys).collect()).collect()
}

fn transports_of(body: &[u8]) -> Vec<String> {
    let sdp = SessionDescription::parse(body).unwrap();
    sdp.medias().map(|media| media.proto().to_owned()).collect()
}

/// What each branch was last opened with.
fn opened(call: &Call) -> BTreeMap<u16, OpenBranch> {
    let open = |command: &BranchCommand| match command {
        BranchCommand::Open(open) => Some((open.branch.slot, open.clone())),
        _ => None,
    };
    call.branches.iter().filter_map(open).collect()
}

fn keys(open: &OpenBranch) -> SrtpKeys {
    match &open.security {
        MediaSecurity::Srtp(keys) => SrtpKeys::clone(keys),
        other => panic!("{other:?}"),
    }
}

/// A session whose recorder took the suite of this tag, and its INVITE.
fn established(tag: u32, suite: SrtpSuite) -> (Call, Request) {
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    let invite = call.answer_invite(&answer(&[4000, 4002], tag, suite));
    call.take();
    (call, invite)
}

#[test]
fn each_line_and_suite_has_a_key_of_its_own_and_the_answer_chooses() {
    for (tag, suite) in [(1, GCM), (2, CM)] {
        let (call, invite) = established(tag, suite);
        assert_eq!(transports_of(&invite.body), ["RTP/SAVP"; 2]);
        let offered = keys_of(&invite.body);
        let all: Vec<&SrtpKey> = offered.iter().flat_map(BTreeMap::values).collect();
        assert_eq!(all.iter().map(|key| key.suite()).collect::<Vec<_>>(), [GCM, CM, GCM, CM]);
        for (index, key) in all.iter().enumerate() {
            assert!(!all[..index].iter().any(|other| other.key()[..16] == key.key()[..16]));
        }
        let opened = opened(&call);
        for (slot, port) in [(0_u16, 4000), (1, 4002)] {
            let keys = keys(&opened[&slot]);
            assert_eq!(keys.own, offered[usize::from(slot)][&tag]);
            assert_eq!(keys.recorder, [theirs(port, suite)]);
        }
    }
}

#[test]
fn keys_in_the_clear_need_permission_and_are_warned_about() {
    let mut forbidden = secured("sip:rec.example");
    forbidden.security.allow_clear_keys = false;
    let mut call = Call::inviting_with(forbidden.clone());
    let lines = call.take();
    let failed = lines.iter().find(|line| line.starts_with("* failed")).unwrap();
    assert!(failed.contains("security: keys would cross the network in the clear (UDP)"), "{failed}");
    assert!(!lines.iter().any(|line| line.starts_with("> ")), "{lines:?}");

    let mut call = Call::inviting_with(secured("sip:rec.example"));
    let warning = "* weakened: the keys of the recording cross the network in the clear (UDP)";
    assert!(call.take().contains(&warning.to_owned()));

    let mut call = Call::new(forbidden);
    call.transport = Transport::Tls;
    call.add(0);
    call.format(0, pcmu());
    assert!(!call.take().iter().any(|line| line.starts_with("* weakened")));
    assert_eq!(transports_of(&call.request(&Method::Invite).body), ["RTP/SAVP"; 2]);
}

/// A call of which the second stream is encrypted.
fn half_encrypted(config: RecordingConfig) -> Call {
    let mut call = Call::new(config);
    for slot in 0..2 {
        call.add(slot);
    }
    let security = StreamSecurity::Srtp(Some(SrtpSuite::AesCm256HmacSha1_80));
    call.command(Command::StreamSecurity { stream: stream(1), security });
    for slot in 0..2 {
        call.format(slot, pcmu());
    }
    call
}

#[test]
fn an_encrypted_call_is_recorded_encrypted_or_not_at_all() {
    let mut auto = config("sip:rec.example");
    auto.security.allow_clear_keys = true;
    let mut call = half_encrypted(auto.clone());
    let is_weaker = |line: &&String| line.contains("weaker");
    assert_eq!(call.take().iter().filter(is_weaker).count(), 0, "nothing is agreed on yet");
    let invite = call.answer_invite(&answer(&[4000, 4002], 2, CM));
    assert_eq!(transports_of(&invite.body), ["RTP/SAVP"; 2]);
    let told: Vec<_> = call.take().into_iter().filter(|line| is_weaker(&line)).collect();
    assert_eq!(
        told,
        ["* weakened: AES_CM_128_HMAC_SHA1_80 protects the recording, which is weaker than the call's \
          AES_256_CM_HMAC_SHA1_80"]
    );

    let mut never = auto;
    never.security.srtp = SrtpUse::Disable;
    let mut call = half_encrypted(never.clone());
    let lines = call.take();
    let failed = lines.iter().find(|line| line.starts_with("* failed")).unwrap();
    assert!(failed.contains("recording it in the clear is not allowed"), "{failed}");

    never.security.allow_downgrade = true;
    let mut call = half_encrypted(never);
    assert!(call.take().contains(&"* weakened: the call is encrypted, and its recording is not".to_owned()));
    assert_eq!(transports_of(&call.request(&Method::Invite).body), ["RTP/AVP"; 2]);
}

#[test]
fn a_stream_that_turns_out_to_be_encrypted_leaves_a_plain_session() {
    let mut call = Call::established();
    let security = StreamSecurity::Srtp(None);
    call.command(Command::StreamSecurity { stream: stream(1), security });
    let off = "* audio of 1002 off: keys would cross the network in the clear (UDP), which is not allowed: the recorder \
               needs TLS";
    call.expect(&["disable 1", off]);
}

#[test]
fn what_a_lost_recorder_may_not_have_of_when_the_call_was_encrypted_goes_to_the_next_one_encrypted() {
    for (plain_for, protos) in [(6_000, ["RTP/SAVP"; 2]), (31_000, ["RTP/AVP"; 2])] {
        let mut auto = config("sip:a.example sip:b.example");
        auto.security.allow_clear_keys = true;
        auto.recorder_bye = ByePolicy::FailOver;
        let mut call = half_encrypted(auto);
        (0..2).for_each(|slot| call.packet(slot));
        let invite = call.answer_invite(&answer(&[4000, 4002], 2, CM));
        assert_eq!(transports_of(&invite.body), ["RTP/SAVP"; 2]);
        call.wait_ms(2_000);
        call.command(Command::StreamSecurity { stream: stream(1), security: StreamSecurity::Plain });
        call.wait_ms(plain_for);
        call.recorder_sends(&invite, "BYE", &[], "");
        assert_eq!(transports_of(&call.request(&Method::Invite).body), protos, "plain for {plain_for} ms");
    }
}

/// A plain session over TLS with both streams, whose streams are encrypted from here on.
fn encrypted_late(config: RecordingConfig, slots: &[u16]) -> Call {
    let mut call = Call::new(config);
    call.transport = Transport::Tls;
    for slot in 0..2 {
        call.add(slot);
    }
    for slot in 0..2 {
        call.format(slot, pcmu());
    }
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    assert_eq!(transports_of(&invite.body), ["RTP/AVP"; 2]);
    call.take();
    let security = StreamSecurity::Srtp(Some(GCM));
    let turns = |slot: &u16| Command::StreamSecurity { stream: stream(*slot), security };
    call.command(Command::Batch(slots.iter().map(turns).collect()));
    call
}

#[test]
fn a_plain_session_is_encrypted_when_a_stream_turns_out_to_be() {
    let mut call = encrypted_late(config("sip:rec.example"), &[1]);
    call.expect(&["hold 1", "> INVITE sendonly/sendonly v2"]);
    // The other stream goes on as it was: nothing of it is lost on the way.
    let offer = call.request(&Method::Invite);
    assert_eq!(transports_of(&offer.body), ["RTP/AVP", "RTP/SAVP"]);
    assert!(opened(&call).values().all(|open| open.security == MediaSecurity::Plain && !open.may_expose));
    let mixed = sdp(&[4000]) + &format!("m=audio 4002 RTP/SAVP 0\r\na=recvonly\r\n{}", crypto(1, 4002, GCM));
    call.answer(&offer, 200, &[], &mixed);
    call.expect(&[OPEN_BOTH[1], "> ACK"]);
    assert_eq!(keys(&opened(&call)[&1]).own, keys_of(&offer.body)[1][&1]);
    // It may turn encrypted, too.
    call.command(Command::StreamSecurity { stream: stream(0), security: StreamSecurity::Srtp(Some(CM)) });
    let both = call.request(&Method::Invite);
    assert_eq!(transports_of(&both.body), ["RTP/SAVP"; 2]);
    assert_eq!(keys_of(&both.body)[1], keys_of(&offer.body)[1], "what has keys keeps them");
}

#[test]
fn a_recorder_that_switches_off_what_is_to_be_encrypted_is_left_where_nothing_else_is_in_the_session() {
    for (slots, off, goes_on) in [(&[0, 1][..], &[0, 0][..], false), (&[1], &[4000, 0], true)] {
        let mut call = encrypted_late(config("sip:rec.example sip:other.example"), slots);
        call.take();
        let offer = call.request(&Method::Invite);
        call.answer(&offer, 200, &[], &sdp(off));
        let lines = call.take();
        let failed = "* failed: security: the call is encrypted, and the recorder refuses to take it so";
        assert_eq!(lines.contains(&failed.to_owned()), !goes_on, "{lines:?}");
        assert_eq!(lines.iter().any(|line| line.starts_with("resolve sip:other")), !goes_on, "{lines:?}");
        assert_eq!(lines.iter().any(|line| line.starts_with("* audio of 1002 off")), goes_on, "{lines:?}");
    }
}

#[test]
fn a_recorder_that_may_not_even_be_asked_leads_to_the_next_at_once() {
    let mut call = half_encrypted(config("sip:a.example sip:b.example"));
    let lines = call.take();
    assert_eq!(lines.iter().filter(|line| line.starts_with("* failed")).count(), 2, "{lines:?}");
    assert!(lines.contains(&"resolve sip:b.example".to_owned()), "{lines:?}");
    assert!(lines.contains(&"= failed".to_owned()), "no time has passed: {lines:?}");
}

#[test]
fn a_stream_that_turns_out_to_be_encrypted_before_the_answer_is_never_sent_in_the_clear() {
    let mut call = Call::new(config("sip:rec.example"));
    call.transport = Transport::Tls;
    for slot in 0..2 {
        call.add(slot);
    }
    for slot in 0..2 {
        call.format(slot, pcmu());
    }
    for slot in 0..2 {
        call.command(Command::StreamSecurity { stream: stream(slot), security: StreamSecurity::Srtp(None) });
    }
    let invite = call.answer_invite(&sdp(&[4000, 4002]));
    assert_eq!(transports_of(&invite.body), ["RTP/AVP"; 2]);
    let offer = call.request(&Method::Invite);
    assert_eq!(transports_of(&offer.body), ["RTP/SAVP"; 2]);
    assert!(opened(&call).is_empty());
    call.answer(&offer, 200, &[], &answer(&[4000, 4002], 1, GCM));
    assert_eq!(opened(&call).len(), 2);
    assert!(opened(&call).values().all(|open| open.security != MediaSecurity::Plain));
}

#[test]
fn a_recorder_that_does_not_follow_into_encryption_is_left() {
    let (plain, in_the_clear) =
        (sdp(&[4000, 4002]), "the recorder wants RTP/AVP, in the clear, instead of RTP/SAVP");
    let cases = [
        (488, "", "the call is encrypted, and the recorder refuses to take it so: 488"),
        (200, plain.as_str(), in_the_clear),
        (200, "", in_the_clear),
    ];
    for (status, body, reason) in cases {
        let mut call = encrypted_late(config("sip:rec.example sip:other.example"), &[0, 1]);
        call.take();
        let offer = call.request(&Method::Invite);
        call.answer(&offer, status, &[], body);
        let lines = call.take();
        let failed = lines.iter().position(|line| line.starts_with("* failed: security: ")).unwrap();
        assert!(lines[failed].contains(reason), "{lines:?}");
        assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("resolve sip:other.example")), "{lines:?}");
        let invite = call.request(&Method::Invite);
        assert_eq!(transports_of(&invite.body), ["RTP/SAVP"; 2]);
        assert!(opened(&call).values().all(|open| open.security == MediaSecurity::Plain));
    }
}

#[test]
fn a_recorder_that_does_not_follow_into_encryption_keeps_what_is_plain() {
    let mut call = encrypted_late(config("sip:rec.example"), &[1]);
    call.take();
    let offer = call.request(&Method::Invite);
    call.answer(&offer, 488, &[], "");
    let off = "* audio of 1002 off: the call is encrypted, and recording it in the clear is not allowed";
    let lines = call.take();
    assert!(lines.contains(&"disable 1".to_owned()) && lines.contains(&off.to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("> BYE")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" off: ")).count(), 1, "told once: {lines:?}");
}

#[test]
fn a_recorder_whose_keys_are_not_its_own_or_serve_two_lines_is_warned_about() {
    let answers: [fn(&Request, u16) -> SrtpKey; 3] = [
        |_, port| theirs(port, GCM),
        |invite, port| keys_of(&invite.body)[usize::from(port == 4002)][&1].clone(),
        |_, _| theirs(4000, GCM),
    ];
    let warnings = [
        None,
        Some("the recorder uses a key of ours as its own"),
        Some("the recorder uses one key for several m-lines"),
    ];
    for (key, warning) in answers.into_iter().zip(warnings) {
        let mut call = Call::inviting_with(secured("sip:rec.example"));
        call.take();
        let invite = call.request(&Method::Invite);
        let behind = |port| format!("a=crypto:{}\r\n", *Crypto::new(1, key(&invite, port)).to_value());
        call.answer(&invite, 200, &[], &lines_of(&[4000, 4002], behind));
        let lines = call.take();
        let told: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("* weakened: ")).collect();
        assert_eq!(told, warning.into_iter().collect::<Vec<_>>(), "{lines:?}");
        assert_eq!(opened(&call).len(), 2, "it is recorded all the same");
    }
}

#[test]
fn what_may_not_be_recorded_in_the_clear_at_all_is_no_recording() {
    let mut never = config("sip:rec.example");
    never.security.srtp = SrtpUse::Disable;
    let mut call = encrypted_late(never.clone(), &[0, 1]);
    let lines = call.take();
    let failed = "* failed: security: the call is encrypted, and recording it in the clear is not allowed";
    assert!(lines.contains(&failed.to_owned()) && lines.contains(&"> BYE".to_owned()), "{lines:?}");
    assert!(lines.contains(&"= failed".to_owned()), "{lines:?}");

    never.security.allow_downgrade = true;
    let mut call = encrypted_late(never, &[0, 1]);
    call.expect(&["* weakened: the call is encrypted, and its recording is not"]);

    let mut lenient = config("sip:rec.example");
    lenient.security.allow_downgrade = true;
    let mut call = encrypted_late(lenient, &[0, 1]);
    call.take();
    let offer = call.request(&Method::Invite);
    call.answer(&offer, 488, &[], "");
    let lines = call.take();
    assert!(
        lines.contains(&"* weakened: the call is encrypted, and its recording is not".to_owned()),
        "{lines:?}"
    );
    assert!(OPEN_BOTH.iter().all(|open| lines.contains(&(*open).to_owned())), "{lines:?}");
}

#[test]
fn an_answer_that_would_protect_otherwise_than_offered_is_no_answer() {
    let two = |port| crypto(1, port, GCM) + &crypto(2, port, CM);
    let cases = [
        (sdp(&[4000, 4002]), "the recorder wants RTP/AVP, in the clear, instead of RTP/SAVP"),
        (lines_of(&[4000, 4002], |_| String::new()), "the recorder's answer has no keys (a=crypto)"),
        (lines_of(&[4000, 4002], two), "the recorder's answer has 2 lines a=crypto, not one"),
        (
            answer(&[4000, 4002], 3, CM),
            "the recorder answers a=crypto:3 AES_CM_128_HMAC_SHA1_80, which was not offered",
        ),
        (
            answer(&[4000, 4002], 1, CM),
            "the recorder answers a=crypto:1 AES_CM_128_HMAC_SHA1_80, which was not offered",
        ),
        (
            lines_of(&[4000, 4002], |_| "a=crypto:1 AEAD_AES_128_GCM inline:%%%\r\n".to_owned()),
            "the recorder's keys cannot be used: a=crypto:1: the key is not in base64",
        ),
    ];
    for (body, reason) in cases {
        let mut call = Call::inviting_with(secured("sip:rec.example"));
        call.take();
        call.answer_invite(&body);
        let lines = call.take();
        let expected = format!("* failed: the recorder's answer cannot be used: {reason}");
        assert_eq!(lines.first(), Some(&expected), "{lines:?}");
        assert!(lines.contains(&"> BYE".to_owned()) && opened(&call).is_empty(), "{lines:?}");
    }
}

#[test]
fn a_refused_line_leaves_the_other_encrypted() {
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    call.take();
    call.answer_invite(&answer(&[4000, 0], 1, GCM));
    call.expect(&[
        OPEN_BOTH[0],
        "disable 1",
        "* audio of 1002 off: the recorder refuses it",
        "* started",
        "> ACK",
        "= recording",
    ]);
}

#[test]
fn keys_stay_over_refreshes_pauses_and_equal_offers_of_the_recorder() {
    let (mut call, invite) = established(1, GCM);
    let before = opened(&call);
    call.wait_ms(900_000);
    let refresh = call.request(&Method::Invite);
    assert_eq!(refresh.body, invite.body);
    call.answer(&refresh, 200, &[], &answer(&[4000, 4002], 1, GCM));
    call.take();

    call.command(Command::Pause);
    call.answer_invite(&answer(&[4000, 4002], 1, GCM));
    call.command(Command::Resume);
    let resume = call.answer_invite(&answer(&[4000, 4002], 1, GCM));
    assert_eq!(keys_of(&resume.body), keys_of(&invite.body));
    assert_eq!(opened(&call), before);
    call.take();

    for _ in 0..2 {
        call.recorder_sends(&invite, "UPDATE", &[], &answer(&[4000, 4002], 1, GCM));
        call.expect(&["> 200 UPDATE"]);
        let response = call.response();
        let own = |slot| BTreeMap::from([(1, keys(&before[&slot]).own)]);
        assert_eq!(keys_of(&response.body), [own(0), own(1)]);
    }
}

#[test]
fn where_the_recorder_moves_by_its_offer_our_answer_has_a_new_key() {
    for (tag, suite) in [(1, GCM), (5, CM)] {
        let (mut call, invite) = established(1, GCM);
        let before = opened(&call);
        call.recorder_sends(&invite, "INVITE", &[], &answer(&[6000, 4002], tag, suite));
        let lines = call.take();
        assert!(lines.contains(&"open 0 to 192.0.2.9:6000".to_owned()), "{lines:?}");
        let after = opened(&call);
        let answered = keys_of(&call.response().body);
        assert_eq!(answered[0], BTreeMap::from([(tag, keys(&after[&0]).own)]));
        assert_eq!(answered[1], BTreeMap::from([(tag, keys(&after[&1]).own)]));
        assert_ne!(keys(&after[&0]).own, keys(&before[&0]).own);
        assert_eq!(keys(&after[&0]).recorder, [theirs(6000, suite)]);
        // The other line stays where it is: its key for this suite is the one that was offered.
        assert_eq!(keys(&after[&1]).own, keys_of(&invite.body)[1][&if suite == GCM { 1 } else { 2 }]);
    }
}

#[test]
fn where_the_recorder_moves_in_its_answer_a_new_key_is_offered_at_once_and_sending_goes_on() {
    let (mut call, invite) = established(1, GCM);
    let before = opened(&call);
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    call.take();
    call.answer_invite(&answer(&[6000, 4002], 1, GCM));
    call.expect(&["open 0 to 192.0.2.9:6000", "> ACK", "> INVITE sendonly/sendonly v3"]);
    assert_eq!(keys(&opened(&call)[&0]).own, keys(&before[&0]).own, "until the new key is agreed");

    let offer = call.answer_invite(&answer(&[6000, 4002], 1, GCM));
    call.expect(&["open 0 to 192.0.2.9:6000", "> ACK"]);
    let (old, new) = (keys_of(&invite.body), keys_of(&offer.body));
    assert_eq!(keys(&opened(&call)[&0]).own, new[0][&1]);
    assert!(old[0].values().all(|key| !new[0].values().any(|new| new == key)));
    assert_eq!(old[1], new[1]);
}

#[test]
fn where_the_recorder_moves_in_the_ack_of_our_offer_a_new_key_is_offered_at_once() {
    let (mut call, invite) = established(1, GCM);
    call.recorder_sends(&invite, "INVITE", &[], "");
    call.expect(&["> 200 INVITE"]);
    let cseq = call.last_cseq();
    call.recorder_sends_numbered(&invite, "ACK", cseq, &[], &answer(&[6000, 4002], 1, GCM));
    call.expect(&["open 0 to 192.0.2.9:6000", "> INVITE sendonly/sendonly v2"]);
    let offer = call.answer_invite(&answer(&[6000, 4002], 1, GCM));
    let (old, new) = (keys_of(&invite.body), keys_of(&offer.body));
    assert_eq!(keys(&opened(&call)[&0]).own, new[0][&1]);
    assert!(old[0].values().all(|key| !new[0].values().any(|new| new == key)));
    assert_eq!(old[1], new[1]);
}

#[test]
fn an_ack_that_would_protect_otherwise_than_offered_leads_to_the_next_recorder() {
    let cases = [
        (sdp(&[4000, 4002]), "the recorder wants RTP/AVP, in the clear, instead of RTP/SAVP"),
        (
            answer(&[4000, 4002], 1, CM),
            "the recorder answers a=crypto:1 AES_CM_128_HMAC_SHA1_80, which was not offered",
        ),
    ];
    for (body, reason) in cases {
        let mut call = Call::inviting_with(secured("sip:a.example sip:b.example"));
        let invite = call.answer_invite(&answer(&[4000, 4002], 1, GCM));
        call.recorder_sends(&invite, "INVITE", &[], "");
        call.take();
        let (cseq, opened_before) = (call.last_cseq(), opened(&call));
        call.recorder_sends_numbered(&invite, "ACK", cseq, &[], &body);
        let lines = call.take();
        let expected = ["recall 0", "recall 1", "> BYE", "resolve sip:b.example"];
        assert!(expected.iter().all(|line| lines.iter().any(|other| other == line)), "{lines:?}");
        assert!(
            lines.iter().any(|line| line.starts_with("* failed: ") && line.ends_with(reason)),
            "{lines:?}"
        );
        assert_eq!(opened(&call), opened_before, "nothing leaves as the ACK has it");
    }
}

/// RFC 3711 §9.2: the key management is called before a key has come to its end.
#[test]
fn a_key_that_is_nearly_used_up_is_followed_by_another_one_in_a_reinvite() {
    let (mut call, invite) = established(1, GCM);
    let ends = BranchEvent::KeyWanted { session: 1, used_up: false };
    call.media(0, BranchEvent::KeyWanted { session: 99, used_up: true });
    call.expect(&[""; 0]);
    call.media(0, ends.clone());
    call.expect(&["> INVITE sendonly/sendonly v2"]);
    assert_eq!(keys(&opened(&call)[&0]).own, keys_of(&invite.body)[0][&1], "until the new key is agreed");
    // Another one is on its way.
    call.media(0, ends);
    let offer = call.answer_invite(&answer(&[4000, 4002], 1, GCM));
    call.expect(&["open 0 to 192.0.2.9:4000", "> ACK"]);
    let (old, new) = (keys_of(&invite.body), keys_of(&offer.body));
    assert_eq!(keys(&opened(&call)[&0]).own, new[0][&1]);
    assert!(old[0].values().all(|key| !new[0].values().any(|new| new == key)));
    assert_eq!(old[1], new[1], "the other line keeps its key");
    // Nor does it come back with the next offer.
    call.command(Command::Pause);
    let pause = call.answer_invite(&answer(&[4000, 4002], 1, GCM));
    assert_eq!(keys_of(&pause.body), new);
}

/// RFC 3711 §9.2: nothing more under it, whatever the recorder says.
#[test]
fn where_another_key_is_refused_the_stream_stops_with_its_key_and_goes_on_with_the_next_one() {
    let (mut call, invite) = established(1, GCM);
    call.media(0, BranchEvent::KeyWanted { session: 1, used_up: false });
    let first = call.request(&Method::Invite);
    call.answer(&first, 488, &[], "");
    call.expect(&["> INVITE sendonly/sendonly v2", "> ACK"]);
    call.wait_ms(60_000);
    call.expect(&[""; 0]);

    // At its end it is asked for once more, by another key again, and nothing leaves until there is an answer.
    call.media(0, BranchEvent::KeyWanted { session: 1, used_up: true });
    call.expect(&["hold 0", "> INVITE sendonly/sendonly v3"]);
    let second = call.request(&Method::Invite);
    assert_ne!(keys_of(&second.body)[0], keys_of(&first.body)[0]);
    call.answer(&second, 488, &[], "");
    call.expect(&["* audio of 1001 off: its key is used up, and the recorder refuses another one", "> ACK"]);
    call.wait_ms(60_000);
    call.expect(&[""; 0]);

    // The recorder's own offer gets a key that was never used, and neither of the old ones.
    call.recorder_sends(&invite, "INVITE", &[], &answer(&[4000, 4002], 7, GCM));
    let lines = call.take();
    assert!(lines.contains(&OPEN_BOTH[0].to_owned()), "{lines:?}");
    assert!(lines.contains(&"* audio of 1001 on".to_owned()), "{lines:?}");
    let own = keys(&opened(&call)[&0]).own;
    assert_eq!(keys_of(&call.response().body)[0], BTreeMap::from([(7, own.clone())]));
    for body in [&invite.body, &first.body] {
        assert!(!keys_of(body)[0].values().any(|key| *key == own));
    }
}

#[test]
fn a_key_that_ends_while_its_stream_is_paused_is_replaced_all_the_same() {
    let (mut call, invite) = established(2, CM);
    call.command(Command::Pause);
    call.answer_invite(&answer(&[4000, 4002], 2, CM));
    call.take();
    call.media(1, BranchEvent::KeyWanted { session: 1, used_up: true });
    let offer = call.answer_invite(&answer(&[4000, 4002], 2, CM));
    call.take();
    assert_ne!(keys_of(&offer.body)[1], keys_of(&invite.body)[1]);
    call.command(Command::Resume);
    call.answer_invite(&answer(&[4000, 4002], 2, CM));
    assert_eq!(keys(&opened(&call)[&1]).own, keys_of(&offer.body)[1][&2]);
}

#[test]
fn what_an_offer_of_the_recorder_cannot_protect_is_off() {
    let (mut call, invite) = established(1, GCM);
    let other = |port: u16| {
        if port == 4000 { crypto(1, port, GCM) } else { crypto(1, port, SrtpSuite::AeadAes256Gcm) }
    };
    call.recorder_sends(&invite, "INVITE", &[], &lines_of(&[4000, 4002], other));
    let lines = call.take();
    assert!(lines.contains(&"disable 1".to_owned()), "{lines:?}");
    let answer = SessionDescription::parse(&call.response().body).unwrap();
    assert_eq!(support::lines(&answer), "sendonly/off");
    call.recorder_sends(&invite, "INVITE", &[], &sdp(&[4000, 4002]));
    let answer = SessionDescription::parse(&call.response().body).unwrap();
    assert_eq!(support::lines(&answer), "off/off", "never in the clear");
}

#[test]
fn what_the_recorder_says_of_its_keys_holds_for_its_keys() {
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    let line = |port| crypto(1, port, GCM).trim_end().to_owned() + "|2^20|7:4 WSH=128 -odd=1\r\n";
    let invite = call.answer_invite(&lines_of(&[4000, 4002], line));
    assert!(call.take().contains(&OPEN_BOTH[0].to_owned()));
    for open in opened(&call).values() {
        let keys = keys(open);
        assert_eq!(keys.recorder_lifetime, Some(1 << 20));
        assert_eq!(keys.recorder[0].mki(), Some(&[0, 0, 0, 7][..]));
        assert_eq!(keys.own.mki(), None, "nobody has asked us for one");
    }
    let offered = String::from_utf8(invite.body).unwrap();
    let lines: Vec<_> = offered.lines().filter(|line| line.starts_with("a=crypto:")).collect();
    // Nothing but tag, suite and key: the suite's own lifetime, no identifier, no parameter.
    assert!(lines.len() == 4 && lines.iter().all(|line| line.split(' ').count() == 3 && !line.contains('|')));
}

#[test]
fn an_answer_with_a_parameter_that_changes_packets_or_a_lifetime_beyond_the_suites_is_no_answer() {
    for (behind, reason) in [
        (" KDR=4", "the session parameter \"KDR=4\" is not supported"),
        (" UNENCRYPTED_SRTP", "the session parameter \"UNENCRYPTED_SRTP\" is not supported"),
        (" UNENCRYPTED_SRTCP", "the session parameter \"UNENCRYPTED_SRTCP\" is not supported"),
        (" UNAUTHENTICATED_SRTP", "the session parameter \"UNAUTHENTICATED_SRTP\" is not supported"),
        (" FEC_ORDER=FEC_SRTP", "the session parameter \"FEC_ORDER=FEC_SRTP\" is not supported"),
        (" FEC_KEY=inline:abc", "the session parameter \"FEC_KEY=inline:…\" is not supported"),
        (" WSH=32", "the session parameter \"WSH=32\" is not supported"),
        (" WHAT=1", "the session parameter \"WHAT=1\" is not supported"),
        ("|2^49", "the lifetime is not 1 to 2^48 packets"),
        ("|1:129", "an identifier does not fit into its length"),
    ] {
        let mut call = Call::inviting_with(secured("sip:rec.example"));
        call.take();
        let line = |port| crypto(1, port, GCM).trim_end().to_owned() + behind + "\r\n";
        call.answer_invite(&lines_of(&[4000, 4002], line));
        let lines = call.take();
        let expected = format!(
            "* failed: the recorder's answer cannot be used: the recorder's keys cannot be used: a=crypto:1: {reason}"
        );
        assert_eq!(lines.first(), Some(&expected), "{lines:?}");
        assert!(opened(&call).is_empty());
    }
}

#[test]
fn lines_of_an_offer_that_cannot_be_used_are_passed_over_and_tags_that_stand_twice_too() {
    let (mut call, invite) = established(2, CM);
    let other = |port| {
        let (strong, weak) = (crypto(2, port, GCM), crypto(4, port, CM));
        let odd = crypto(3, port, GCM);
        format!("{} KDR=1\r\n{odd}{odd}{weak}", strong.trim_end())
    };
    call.recorder_sends(&invite, "INVITE", &[], &lines_of(&[4000, 4002], other));
    let answered = keys_of(&call.response().body);
    let tags: Vec<_> = answered.iter().map(|keys| keys.keys().copied().collect::<Vec<_>>()).collect();
    assert_eq!(tags, [[4], [4]]);
}

#[test]
fn suites_that_cannot_be_offered_are_refused_before_the_call() {
    let mut config = secured("sip:rec.example");
    assert_eq!(config.check(), Ok(()));
    config.security.suites = vec![GCM, CM, GCM];
    assert_eq!(config.check().unwrap_err().to_string(), "the SRTP suite AEAD_AES_128_GCM is listed twice");
    config.security.suites.clear();
    assert_eq!(config.check().unwrap_err().to_string(), "no SRTP suite is given");
}
