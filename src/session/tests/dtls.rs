//! `protocol` section 3, DTLS: who begins which handshake, by which certificate, and when there is another one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use siprec_model::{
    BranchCommand, BranchEvent, CertificateHash, DtlsAssociation, DtlsRole, Fingerprint, MediaSecurity,
    OpenBranch, RecordingState, SrtpSuite, StopReason,
};
use siprec_session::{Command, Keying, RecordingConfig, SrtpUse};
use siprec_sip::sdp::Setup;
use siprec_sip::{Method, Request, SessionDescription, Transport};
use support::*;

const ID: &str = "recorders-own-name-of-it";

fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint::new(CertificateHash::Sha256, &[byte; 32]).unwrap()
}

/// A recording that is encrypted by handshakes.
fn secured(recorders: &str) -> RecordingConfig {
    let mut config = config(recorders);
    config.security.srtp = SrtpUse::Require;
    config.security.keying = Keying::Dtls;
    config.certificate = Some(fingerprint(1));
    config
}

/// A description of the recorder's whose lines have this behind them.
fn lines_of(ports: &[u16], behind: &str) -> String {
    let line = |port: &u16| format!("m=audio {port} UDP/TLS/RTP/SAVP 0\r\na=recvonly\r\n{behind}");
    sdp(&[]) + &ports.iter().map(line).collect::<String>()
}

fn behind(setup: &str, certificate: u8, id: &str) -> String {
    format!("a=setup:{setup}\r\na=fingerprint:{}\r\na=tls-id:{id}\r\n", fingerprint(certificate))
}

fn answer(setup: &str) -> String {
    lines_of(&[4000, 4002], &behind(setup, 2, ID))
}

/// For each m-line of ours: who begins, and the name of its association.
fn offered(body: &[u8]) -> Vec<(Setup, String)> {
    let sdp = SessionDescription::parse(body).unwrap();
    let line = |media: siprec_sip::sdp::MediaView<'_>| {
        assert_eq!(media.proto(), "UDP/TLS/RTP/SAVP");
        assert_eq!(media.fingerprints().collect::<Vec<_>>(), [Ok(fingerprint(1))]);
        assert_eq!(media.cryptos().count(), 0);
        (media.setup().unwrap().unwrap(), media.tls_id().unwrap().to_owned())
    };
    sdp.medias().map(line).collect()
}

/// What each branch was last told to be associated with.
fn associated(call: &Call) -> BTreeMap<u16, DtlsAssociation> {
    let association = |command: &BranchCommand| match command {
        BranchCommand::Associate(open) => Some((open.branch.slot, association(open))),
        _ => None,
    };
    call.branches.iter().filter_map(association).collect()
}

fn association(open: &OpenBranch) -> DtlsAssociation {
    match &open.security {
        MediaSecurity::Dtls(association) => DtlsAssociation::clone(association),
        other => panic!("{other:?}"),
    }
}

fn established(setup: &str) -> (Call, Request) {
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    let invite = call.answer_invite(&answer(setup));
    for slot in 0..2 {
        call.media(slot, secured_in(1));
    }
    (call, invite)
}

/// A handshake of this session has made keys.
fn secured_in(session: u32) -> BranchEvent {
    BranchEvent::Secured { session, suite: SrtpSuite::AesCm128HmacSha1_80 }
}

fn is_told(lines: &[String], what: &str) -> bool {
    lines.iter().any(|line| line.starts_with(&format!("* {what}")))
}

#[test]
fn the_offer_leaves_the_sides_to_the_answer_and_names_certificate_and_associations() {
    for (setup, role) in [("active", DtlsRole::Server), ("passive", DtlsRole::Client)] {
        let (mut call, invite) = established(setup);
        let lines = offered(&invite.body);
        assert_eq!(lines.iter().map(|(setup, _)| *setup).collect::<Vec<_>>(), [Setup::ActPass; 2]);
        assert_ne!(lines[0].1, lines[1].1, "each m-line has an association of its own");
        let transcript = call.take();
        let begins = transcript.iter().position(|line| line == "associate 0 with 192.0.2.9:4000");
        let opens = transcript.iter().position(|line| line == "open 0 to 192.0.2.9:4000");
        assert!(begins.unwrap() < opens.unwrap(), "{transcript:?}");
        for (slot, association) in associated(&call) {
            assert_eq!(association.role, role);
            assert_eq!(association.fingerprints, [fingerprint(2)]);
            assert_eq!(association.own_id, lines[usize::from(slot)].1);
            assert_eq!(association.recorder_id.as_deref(), Some(ID));
            assert_eq!(association.suites[0], SrtpSuite::AeadAes256Gcm);
            assert_eq!(association.session, 1);
        }
        assert_eq!(associated(&call).len(), 2);
    }
}

#[test]
fn handshakes_need_no_secret_signalling_but_are_worth_no_more_than_it() {
    let warning = "* weakened: the certificates of the recording are named in signalling that can be changed on its way (UDP)";
    for (transport, warned) in [(Transport::Udp, true), (Transport::Tls, false)] {
        let mut call = Call::new(secured("sip:rec.example"));
        call.transport = transport;
        call.add(0);
        call.format(0, pcmu());
        call.request(&Method::Invite);
        assert_eq!(call.take().contains(&warning.to_owned()), warned);
    }
}

#[test]
fn without_a_certificate_of_ours_there_is_no_offer() {
    let mut config = secured("sip:rec.example");
    config.certificate = None;
    let lines = Call::inviting_with(config).take();
    assert!(lines.iter().any(|line| line.contains("security: the agent has no certificate")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("> ")), "{lines:?}");
}

#[test]
fn an_answer_that_would_protect_otherwise_than_offered_is_no_answer() {
    let print = format!("a=fingerprint:{}\r\n", fingerprint(2));
    let lines = |behind: &str| lines_of(&[4000, 4002], behind);
    let cases = [
        (sdp(&[4000, 4002]), "the recorder wants RTP/AVP, in the clear, instead of UDP/TLS/RTP/SAVP"),
        (
            answer("active").replace("UDP/TLS/RTP/SAVP", "RTP/SAVP"),
            "the recorder wants RTP/SAVP instead of UDP/TLS/RTP/SAVP",
        ),
        (lines("a=setup:active\r\n"), "the recorder names no certificate (a=fingerprint)"),
        (
            lines("a=setup:active\r\na=fingerprint:sha-1 00:01\r\n"),
            "the recorder's certificate cannot be known: the hash \"sha-1\" of a fingerprint is not one of \
             sha-256, sha-384 and sha-512",
        ),
        (lines(&format!("a=setup:actpass\r\n{print}")), "the recorder answers a=setup:actpass"),
        (lines(&format!("a=setup:holdconn\r\n{print}")), "the recorder answers a=setup:holdconn"),
    ];
    for (body, reason) in cases {
        let mut call = Call::inviting_with(secured("sip:rec.example"));
        call.take();
        call.answer_invite(&body);
        let lines = call.take();
        let expected = format!("* failed: the recorder's answer cannot be used: {reason}");
        assert_eq!(lines.first(), Some(&expected), "{lines:?}");
        assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
        assert!(associated(&call).is_empty());
    }
}

#[test]
fn a_handshake_answered_to_keys_or_to_plain_media_is_no_answer() {
    let mut keys = secured("sip:rec.example");
    keys.security.keying = Keying::Sdes;
    keys.security.allow_clear_keys = true;
    let cases = [(keys, "RTP/SAVP"), (config("sip:rec.example"), "RTP/AVP")];
    for (config, offered) in cases {
        let mut call = Call::inviting_with(config);
        call.take();
        call.answer_invite(&answer("active"));
        let lines = call.take();
        let expected = format!("the recorder wants UDP/TLS/RTP/SAVP instead of {offered}");
        assert!(lines.iter().any(|line| line.contains(&expected)), "{lines:?}");
        assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
    }
}

#[test]
fn of_several_fingerprints_those_of_the_strongest_hash_count() {
    let strong = Fingerprint::new(CertificateHash::Sha512, &[5; 64]).unwrap();
    let several = format!(
        "a=fingerprint:{}\r\na=fingerprint:sha-1 00\r\na=fingerprint:{strong}\r\na=setup:active\r\n",
        fingerprint(2)
    );
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    call.answer_invite(&lines_of(&[4000, 4002], &several));
    assert_eq!(associated(&call)[&0].fingerprints, [strong]);
    assert_eq!(associated(&call)[&0].recorder_id, None);
}

#[test]
fn what_the_handshake_of_a_session_proves_wrong_ends_it_and_the_next_recorder_is_invited() {
    let mut call = Call::inviting_with(secured("sip:a.example sip:b.example"));
    call.answer_invite(&answer("active"));
    call.take();
    let failed = |session| BranchEvent::SecurityFailed { session, reason: "another certificate".into() };
    call.media(0, failed(7));
    call.expect(&[]);
    call.media(0, failed(1));
    let lines = call.take();
    assert!(lines.contains(&"* failed: security: another certificate".to_owned()), "{lines:?}");
    assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
    let first = associated(&call)[&0].clone();
    let invite = call.answer_invite(&answer("active"));
    assert!(!offered(&invite.body).iter().any(|(_, id)| *id == first.own_id));
    let second = associated(&call)[&0].clone();
    assert_eq!((first.session, second.session), (1, 2));
    call.take();
    call.media(0, failed(1));
    call.expect(&[]);
}

#[test]
fn a_recording_has_started_when_there_are_keys() {
    let mut call = Call::inviting_with(secured("sip:rec.example"));
    call.answer_invite(&answer("active"));
    let lines = call.take();
    assert!(lines.contains(&"> ACK".to_owned()) && !is_told(&lines, "started"), "{lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Starting);
    // Those of a former session.
    call.media(0, secured_in(7));
    call.expect(&[]);
    call.media(1, secured_in(1));
    let lines = call.take();
    assert!(is_told(&lines, "started"), "{lines:?}");
    assert_eq!(call.recording.state(), RecordingState::Recording);
    call.media(0, secured_in(1));
    call.expect(&[]);
}

#[test]
fn a_handshake_that_fails_before_there_are_keys_is_a_failure_at_set_up() {
    let fails: [fn(&mut Call, &Request); 2] = [
        |call, _| {
            call.media(0, BranchEvent::SecurityFailed { session: 1, reason: "no handshake in 10s".into() });
        },
        |call, invite| call.recorder_sends(invite, "BYE", &[], ""),
    ];
    for fail in fails {
        let mut call = Call::inviting_with(secured("sip:a.example sip:b.example"));
        let invite = call.answer_invite(&answer("active"));
        fail(&mut call, &invite);
        let lines = call.take();
        assert!(is_told(&lines, "failed: ") && !is_told(&lines, "stopped"), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("recall")), "nothing was sent: {lines:?}");
        call.answer_invite(&answer("active"));
        call.media(0, secured_in(2));
        let lines = call.take();
        assert!(is_told(&lines, "started") && !is_told(&lines, "failed over"), "{lines:?}");
    }
}

#[test]
fn an_association_stays_over_refreshes_pauses_and_equal_offers_of_the_recorder() {
    for (setup, own) in [("active", Setup::Passive), ("passive", Setup::Active)] {
        let (mut call, invite) = established(setup);
        let before = associated(&call);
        call.take();
        call.wait_ms(900_000);
        let refresh = call.request(&Method::Invite);
        assert_eq!(refresh.body, invite.body);
        call.answer(&refresh, 200, &[], &answer(setup));
        call.command(Command::Pause);
        call.answer_invite(&answer(setup));
        call.command(Command::Resume);
        let resume = call.answer_invite(&answer(setup));
        assert_eq!(offered(&resume.body), offered(&invite.body));
        assert!(!call.take().iter().any(|line| line.starts_with("associate")));

        // RFC 8842 §5.3: our answer keeps the side that we have.
        for theirs in [setup, "actpass"] {
            call.recorder_sends(&invite, "INVITE", &[], &answer(theirs));
            let expected: Vec<_> = offered(&invite.body).into_iter().map(|(_, id)| (own, id)).collect();
            assert_eq!(offered(&call.response().body), expected);
        }
        assert!(!call.take().iter().any(|line| line.starts_with("associate")));
        assert_eq!(associated(&call), before);
    }
}

#[test]
fn where_the_recorder_moves_or_names_another_association_ours_is_another_one_too() {
    let other_id = "recorders-other-name-of-it";
    let offers = [
        (lines_of(&[6000, 4002], &behind("actpass", 2, ID)), vec![0]),
        (lines_of(&[4000, 4002], &behind("actpass", 2, other_id)), vec![0, 1]),
        (lines_of(&[4000, 4002], &behind("actpass", 3, ID)), vec![0, 1]),
    ];
    for (offer, renewed) in offers {
        let (mut call, invite) = established("active");
        let before = associated(&call);
        call.recorder_sends(&invite, "INVITE", &[], &offer);
        let answered = offered(&call.response().body);
        let after = associated(&call);
        for (slot, line) in [(0_u16, 0_usize), (1, 1)] {
            if renewed.contains(&slot) {
                // A new one begins as RFC 5763 §5 recommends: who answers is active.
                assert_eq!(answered[line].0, Setup::Active);
                assert_eq!(after[&slot].role, DtlsRole::Client);
                assert_ne!(after[&slot].own_id, before[&slot].own_id);
                assert_eq!(after[&slot].own_id, answered[line].1);
            } else {
                assert_eq!(answered[line], (Setup::Passive, before[&slot].own_id.clone()));
                assert_eq!(after[&slot], before[&slot]);
            }
        }
    }
}

#[test]
fn where_the_recorder_moves_in_its_answer_a_new_association_is_offered_at_once() {
    let (mut call, invite) = established("active");
    call.command(Command::ReplaceParty { slot: 0, dn: "1003".into() });
    let moved = lines_of(&[6000, 4002], &behind("active", 2, ID));
    call.answer_invite(&moved);
    let again = call.answer_invite(&moved);
    let (old, new) = (offered(&invite.body), offered(&again.body));
    assert_ne!(old[0], new[0]);
    assert_eq!(old[1], new[1]);
    assert_eq!(associated(&call)[&0].own_id, new[0].1);
}

#[test]
fn a_paused_session_makes_its_handshake_at_once() {
    let mut call = Call::new(secured("sip:rec.example"));
    call.command(Command::Pause);
    for slot in 0..2 {
        call.add(slot);
        call.format(slot, pcmu());
    }
    call.answer_invite(&answer("active"));
    let lines = call.take();
    assert!(lines.contains(&"associate 0 with 192.0.2.9:4000".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("open")), "{lines:?}");
}

#[test]
fn who_comes_in_anothers_place_has_no_association_before_its_own_is_agreed() {
    let (mut call, invite) = established("active");
    let before = associated(&call);
    call.take();
    call.command(Command::Batch(vec![
        Command::Pause,
        Command::AddStream { slot: 1, stream: stream(7) },
        Command::StreamFormat { stream: stream(7), format: pcmu() },
    ]));
    let lines = call.take();
    assert!(lines.contains(&"create 64".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("associate")), "{lines:?}");
    // The pause is offered before the new stream has its ports.
    let pause = call.answer_invite(&answer("active"));
    assert_eq!(offered(&pause.body), offered(&invite.body));
    assert!(!call.take().iter().any(|line| line.starts_with("associate")));
    let again = call.answer_invite(&answer("active"));
    let (old, new) = (offered(&invite.body), offered(&again.body));
    assert_eq!(old[0], new[0]);
    assert_ne!(old[1], new[1]);
    let after = associated(&call);
    assert_eq!(after[&0], before[&0]);
    assert_eq!(after[&64].own_id, new[1].1);
}

#[test]
fn what_an_offer_of_the_recorder_cannot_protect_is_off() {
    let (mut call, invite) = established("active");
    let bad = [
        sdp(&[4000, 4002]),
        lines_of(&[4000, 4002], "a=setup:actpass\r\n"),
        lines_of(&[4000, 4002], &behind("holdconn", 2, ID)),
        answer("active").replace("UDP/TLS/RTP/SAVP", "RTP/SAVP"),
    ];
    for offer in bad {
        call.recorder_sends(&invite, "INVITE", &[], &offer);
        let answer = SessionDescription::parse(&call.response().body).unwrap();
        assert_eq!(support::lines(&answer), "off/off", "never in the clear");
    }
}

/// RFC 3711 §9.2: keys that a handshake has made come to their end as well.
#[test]
fn keys_of_a_handshake_that_are_nearly_used_up_are_followed_by_another_association() {
    let (mut call, invite) = established("passive");
    call.media(0, BranchEvent::KeyWanted { session: 1, used_up: false });
    let offer = call.request(&Method::Invite);
    let (before, after) = (offered(&invite.body), offered(&offer.body));
    assert_ne!(before[0].1, after[0].1);
    assert_eq!(before[1], after[1]);
}

/// Two recorders, the first of which has the call for 9 s.
fn recorded_by_the_first() -> Call {
    let mut call = Call::inviting_with(secured("sip:a.example sip:b.example"));
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&answer("active"));
    (0..2).for_each(|slot| call.media(slot, secured_in(1)));
    call.wait_ms(9_000);
    call
}

#[test]
fn who_takes_over_makes_one_handshake_also_where_what_was_sent_before_is_put_back_behind_it() {
    let unanswered: fn(&mut Call) = |call| {
        call.command(Command::Stop(StopReason::CallEnded));
        call.wait_ms(4_000);
    };
    let missed: fn(&mut Call) =
        |call| call.media(0, BranchEvent::StretchMissed { packets: 200, within: None });
    for (lose, ends) in [(unanswered, true), (missed, false)] {
        let mut call = recorded_by_the_first();
        lose(&mut call);
        call.take();
        call.answer_invite(&answer("active"));
        let lines = call.take();
        let begun = |slot: u16| format!("associate {slot} with 192.0.2.9:400{}", 2 * slot);
        assert!((0..2).all(|slot| lines.contains(&begun(slot))), "{lines:?}");
        (0..2).for_each(|slot| call.media(slot, secured_in(2)));
        let lines = call.take();
        assert!(!lines.iter().any(|line| line.starts_with("associate")), "{lines:?}");
        let order = ["recall 0", "open 0", "* failed over"]
            .map(|start| lines.iter().position(|line| line.starts_with(start)).unwrap());
        assert!(order.is_sorted(), "{lines:?}");
        let next = |command: &BranchCommand| match command {
            BranchCommand::Recall { next, missed, .. } => Some((*next, missed.is_some())),
            _ => None,
        };
        assert_eq!(call.branches.iter().filter_map(next).collect::<Vec<_>>(), [(Some(2), !ends); 2]);
        if ends {
            assert!(lines.contains(&"> BYE".to_owned()), "{lines:?}");
        }
    }
}
