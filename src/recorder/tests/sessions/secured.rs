//! Sessions whose media is SRTP, with keys by SDES.

use std::collections::HashSet;

use siprec_recorder::{
    Behaviour, KeyframeMethod, Keyframes, OddCrypto, SessionReport, SrtpMode, SrtpReport, SrtpSuite,
};
use siprec_sip::SessionDescription;
use siprec_sip::sdp::Direction;
use std::time::Duration;

use crate::bench::{Bench, Outcome, PATIENCE};
use crate::client::Client;
use crate::packets::Voice;
use crate::srtp::{Line, Reader, Sender, answered, forms};

const LEFT: Voice = Voice { ssrc: 0x1111, first: 0 };
const RIGHT: Voice = Voice { ssrc: 0x2222, first: 90_000 };
const SUITE: SrtpSuite = SrtpSuite::AesCm128HmacSha1_80;

/// A PCMU stream with these lines.
fn audio(keys: &[&Line]) -> String {
    let keys: Vec<_> = keys.iter().map(|line| format!("\n{}", line.attribute())).collect();
    format!("m=audio 0 RTP/SAVP 0\na=sendonly{}", keys.concat())
}

/// How the only stream was secured.
fn account(report: &SessionReport) -> SrtpReport {
    report.streams[0].srtp.clone().expect("a secured stream")
}

/// The channels are these samples, no more and no less.
fn assert_sound(outcome: &Outcome, expected: &[Vec<i16>]) {
    let channels = outcome.wav().channels;
    let lengths: Vec<_> = channels.iter().map(Vec::len).collect();
    assert!(channels == expected, "channels of {lengths:?}: {:?}", outcome.report.streams);
}

/// Nothing that stays of the session, and nothing that is told of it, has a key.
fn assert_no_secrets(outcome: &Outcome, secrets: &[Vec<u8>]) {
    for name in outcome.files() {
        let bytes = std::fs::read(outcome.folder.join(&name)).unwrap();
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "a key in {name}");
        }
    }
}

#[tokio::test]
async fn two_parties_under_each_suite_are_sample_exact_and_leave_no_key() {
    let mut bench = Bench::new();
    for suite in SrtpSuite::ALL {
        let lines = [Line::new(suite, 1), Line::new(suite, 2)];
        let mut client =
            Client::invite(&bench, &format!("S-{suite}"), &[&audio(&[&lines[0]]), &audio(&[&lines[1]])])
                .await;
        let answer = client.answer().await;
        let own = [answered(&answer, 0), answered(&answer, 1)];
        for (media, own) in answer.medias().zip(&own) {
            assert_eq!((media.proto(), media.direction()), ("RTP/SAVP", Direction::RecvOnly));
            assert_eq!((own.tag(), own.suite()), (1, suite));
        }
        let masters: HashSet<_> = own.iter().map(|line| line.keys()[0].master().to_vec()).collect();
        assert_eq!(masters.len(), 2, "each m-line has a key of its own");
        let mut senders: Vec<Sender> = lines.iter().map(|line| line.sender(0)).collect();
        for (index, voice) in [LEFT, RIGHT].into_iter().enumerate() {
            let packets = senders[index].all(voice.packets(0..50));
            assert!(packets.iter().all(|packet| packet.len() == 172 + suite.rtp_tag_length()));
            client.burst(index, packets).await;
            let report = senders[index].rtcp(&voice.report(5_000_000, 0));
            client.rtcp(index, &report);
        }
        client.bye().await;
        let outcome = bench.outcome().await;
        assert_sound(&outcome, &[LEFT.sound(0..50), RIGHT.sound(0..50)]);
        let expected = SrtpReport { suite: suite.to_string(), keys: 1, packets: 50, ..SrtpReport::default() };
        for stream in &outcome.report.streams {
            assert_eq!(
                (stream.srtp.as_ref(), stream.packets, stream.sender_reports),
                (Some(&expected), 50, 1)
            );
        }
        let mut secrets: Vec<_> = lines.iter().flat_map(Line::secrets).collect();
        secrets.extend(masters.iter().flat_map(|master| forms(master)));
        assert_no_secrets(&outcome, &secrets);
        assert!(outcome.ladder().contains(&format!("a=crypto:1 {suite} inline:(key)")));
    }
}

#[tokio::test]
async fn receiver_reports_and_key_frame_requests_come_as_srtcp_under_the_answers_key() {
    for suite in SrtpSuite::ALL {
        let keyframes = Keyframes { every: Duration::from_millis(300), by: Some(KeyframeMethod::Pli) };
        let bench = Bench::with(|config| config.behaviour.keyframes = Some(keyframes));
        let line = Line::new(suite, 1);
        let video = format!(
            "m=video 0 RTP/SAVPF 96\na=rtpmap:96 VP8/90000\na=rtcp-fb:* nack pli\na=sendonly\n{}",
            line.attribute()
        );
        let mut client = Client::invite(&bench, "S2", &[&video]).await;
        let answer = client.answer().await;
        assert_eq!(answer.media(0).unwrap().proto(), "RTP/SAVPF");
        let mut reader = Reader::new(&answered(&answer, 0));
        let mut sender = line.sender(0);
        client.rtp(0, &sender.rtp(&LEFT.packet_of(96, 5, &[1, 2, 3])));
        let socket = client.rtcp_socket(0);
        let (mut seen, mut buffer) = (HashSet::new(), [0; 2000]);
        while seen.len() < 2 {
            let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
            let length = received.expect("reports and requests").unwrap();
            let plain = reader.rtcp(&buffer[..length]).expect("genuine");
            assert_ne!(plain, buffer[..plain.len()]);
            for packet in rtcp_types::Compound::parse(&plain).unwrap() {
                match packet.unwrap() {
                    rtcp_types::Packet::Rr(report) => {
                        let block = report
                            .report_blocks()
                            .next()
                            .map(|block| (block.ssrc(), block.extended_sequence_number()));
                        if block == Some((LEFT.ssrc, 5)) {
                            seen.insert("report");
                        }
                    }
                    rtcp_types::Packet::PayloadFeedback(feedback) => {
                        assert_eq!(feedback.media_ssrc(), LEFT.ssrc);
                        seen.insert("request");
                    }
                    _ => {}
                }
            }
        }
        client.bye().await;
    }
}

#[tokio::test]
async fn video_is_kept_as_it_was_before_it_was_encrypted() {
    let mut bench = Bench::new();
    let line = Line::new(SrtpSuite::AeadAes256Gcm, 1);
    let video = format!("m=video 0 RTP/SAVP 96\na=rtpmap:96 H264/90000\na=sendonly\n{}", line.attribute());
    let mut client = Client::invite(&bench, "S3", &[&video]).await;
    client.answer().await;
    let plain: Vec<_> = (0..40).map(|number| LEFT.packet_of(96, number, &vec![number as u8; 1100])).collect();
    let mut sender = line.sender(0);
    client.burst(0, sender.all(plain.clone())).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    let dump = std::fs::read(outcome.folder.join("video-0.rtpdump")).unwrap();
    for packet in &plain {
        assert!(dump.windows(packet.len()).any(|window| window == packet));
    }
    assert_eq!((outcome.report.streams[0].packets, account(&outcome.report).packets), (40, 40));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_and_the_reason_is_told() {
    let good = Line::new(SUITE, 1);
    let unusable = [
        (audio(&[]), "audio has no line a=crypto"),
        (audio(&[&good.clone().with(" UNENCRYPTED_SRTCP")]), "audio a=crypto:1: the session parameter"),
        (audio(&[&good, &good]), "audio a=crypto:1: the tag stands twice"),
        ("m=audio 0 UDP/TLS/RTP/SAVP 0".to_owned(), ""),
    ];
    let mut bench = Bench::new();
    for (line, told) in &unusable {
        let mut client = Client::invite(&bench, "S4", &[line]).await;
        let response = client.response().await;
        assert_eq!(response.status, 488);
        assert!(
            response.reason.starts_with("No Stream That Can Be Recorded") && response.reason.contains(told)
        );
        bench.finished().await;
        // Beside one that can be taken it has port 0.
        let mut client = Client::invite(&bench, "S4", &[line, &audio(&[&good])]).await;
        let answer = client.answer().await;
        let ports: Vec<_> = answer.medias().map(|media| media.port() > 0).collect();
        assert_eq!(ports, [false, true], "{line}");
        client.bye().await;
        let outcome = bench.outcome().await;
        assert!(outcome.report.states[1].reason.contains(told), "{:?}", outcome.report.states[1]);
    }
}

#[tokio::test]
async fn plain_or_secured_lines_are_refused_where_the_recorder_is_told_so() {
    let (plain, secured) = ("m=audio 0 RTP/AVP 0".to_owned(), audio(&[&Line::new(SUITE, 1)]));
    for (mode, refused, taken, told) in [
        (SrtpMode::Require, &plain, &secured, "off (audio is not secured), audio recvonly"),
        (SrtpMode::Refuse, &secured, &plain, "off (audio is secured), audio recvonly"),
    ] {
        let mut bench = Bench::with(|config| config.srtp = mode);
        let mut client = Client::invite(&bench, "S5", &[refused]).await;
        assert_eq!(client.response().await.status, 488);
        bench.finished().await;
        let mut client = Client::invite(&bench, "S5", &[refused, taken]).await;
        let answer = client.answer().await;
        assert_eq!(answer.medias().map(|media| media.port() > 0).collect::<Vec<_>>(), [false, true]);
        client.bye().await;
        assert_eq!(bench.outcome().await.report.states[1].reason, told);
    }
}

#[tokio::test]
async fn the_best_suite_in_the_recorders_eyes_is_answered_by_its_tag() {
    let offered = [
        Line::tagged(7, SUITE, 1),
        Line::tagged(3, SrtpSuite::AeadAes128Gcm, 2),
        Line::tagged(21, SrtpSuite::AesCm128HmacSha1_32, 3),
    ];
    let line = audio(&offered.iter().collect::<Vec<_>>());
    for (suites, tag) in [
        (SrtpSuite::ALL.to_vec(), 3),
        (vec![SUITE, SrtpSuite::AeadAes128Gcm], 7),
        (vec![SrtpSuite::AeadAes256Gcm, SrtpSuite::AesCm128HmacSha1_32], 21),
    ] {
        let bench = Bench::with(|config| config.srtp_suites = suites);
        let mut client = Client::invite(&bench, "S6", &[&line]).await;
        let answer = client.answer().await;
        assert_eq!(answered(&answer, 0).tag(), tag);
        client.bye().await;
    }
    let bench = Bench::with(|config| config.srtp_suites = vec![SrtpSuite::AeadAes256Gcm]);
    let mut client = Client::invite(&bench, "S6", &[&line]).await;
    let response = client.response().await;
    assert_eq!(response.status, 488);
    assert!(response.reason.contains("a=crypto:7 AES_CM_128_HMAC_SHA1_80: the suite is not accepted"));
}

#[tokio::test]
async fn a_new_key_in_a_reinvite_goes_on_where_the_old_one_ended_and_the_recorder_keeps_its_own() {
    for suite in SrtpSuite::ALL {
        let mut bench = Bench::new();
        let (first, second) = (Line::new(suite, 1), Line::new(suite, 2));
        let mut client = Client::invite(&bench, "S7", &[&audio(&[&first])]).await;
        let answer = client.answer().await;
        let (mut old, mut new) = (first.sender(0), second.sender(0));
        client.burst(0, old.all(LEFT.packets(0..50))).await;

        let again = client.offer_again(&[&audio(&[&first])]).await;
        assert_eq!(answered(&again, 0), answered(&answer, 0), "nothing has changed");
        assert_eq!(again.to_bytes(), answer.to_bytes());
        let again = client.offer_again(&[&audio(&[&second])]).await;
        assert_eq!(answered(&again, 0), answered(&answer, 0), "our key stays when theirs changes");
        // Some are under way under the old key.
        client.burst(0, old.all(LEFT.packets(50..60))).await;
        client.burst(0, new.all(LEFT.packets(60..100))).await;
        client.bye().await;
        let outcome = bench.outcome().await;
        assert_sound(&outcome, &[LEFT.sound(0..100)]);
        let expected =
            SrtpReport { suite: suite.to_string(), keys: 2, packets: 100, ..SrtpReport::default() };
        assert_eq!(account(&outcome.report), expected);
    }
}

#[tokio::test]
async fn the_rollover_counter_runs_on_under_a_new_key() {
    let mut bench = Bench::with(|config| config.count_only = true);
    let (first, second) = (Line::new(SUITE, 1), Line::new(SUITE, 2));
    let mut client = Client::invite(&bench, "S8", &[&audio(&[&first])]).await;
    client.answer().await;
    let (mut old, mut new, mut anew) = (first.sender(0), second.sender(0), second.sender(0));
    // Both count alike: the sender goes once around, in strides that SRTP can follow.
    for number in [0, 20_000, 40_000, 60_000, 500] {
        let packet = LEFT.packet(number);
        client.burst(0, [old.rtp(&packet)]).await;
        new.rtp(&packet);
    }
    client.offer_again(&[&audio(&[&second])]).await;
    client
        .burst(0, [new.rtp(&LEFT.packet(501)), anew.rtp(&LEFT.packet(502)), new.rtp(&LEFT.packet(503))])
        .await;
    client.bye().await;
    let report = bench.finished().await.report;
    let expected =
        SrtpReport { suite: SUITE.to_string(), keys: 2, packets: 7, not_authentic: 1, replayed: 0 };
    assert_eq!(account(&report), expected, "a sender that begins anew is not understood");
}

#[tokio::test]
async fn a_line_that_becomes_secured_and_plain_again_is_recorded_throughout() {
    let mut bench = Bench::new();
    let line = Line::new(SUITE, 1);
    let plain = "m=audio 0 RTP/AVP 0\na=sendonly";
    let mut client = Client::invite(&bench, "S9", &[plain]).await;
    client.answer().await;
    client.burst(0, LEFT.packets(0..10)).await;
    let answer = client.offer_again(&[&audio(&[&line])]).await;
    assert_eq!(answer.media(0).unwrap().proto(), "RTP/SAVP");
    client.burst(0, line.sender(0).all(LEFT.packets(10..20))).await;
    // Plain packets on a secured line are not what was agreed.
    client.burst(0, LEFT.packets(500..505)).await;
    let answer = client.offer_again(&[plain]).await;
    assert_eq!(
        (answer.media(0).unwrap().proto(), answer.media(0).unwrap().cryptos().count()),
        ("RTP/AVP", 0)
    );
    client.burst(0, LEFT.packets(20..30)).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_sound(&outcome, &[LEFT.sound(0..30)]);
    let srtp = account(&outcome.report);
    assert_eq!((outcome.report.streams[0].packets, srtp.packets, srtp.not_authentic), (30, 10, 5));
}

#[tokio::test]
async fn media_under_a_wrong_key_is_told_once_and_never_recorded() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "S10", &[&audio(&[&Line::new(SUITE, 1)])]).await;
    client.answer().await;
    let mut stranger = Line::new(SUITE, 2).sender(0);
    client.burst(0, stranger.all(LEFT.packets(0..100))).await;
    client.rtcp(0, &stranger.rtcp(&LEFT.report(5_000_000, 0)));
    client.bye().await;
    let outcome = bench.outcome().await;
    let stream = &outcome.report.streams[0];
    assert_eq!((stream.packets, stream.sender_reports, stream.sources.len()), (0, 0, 0));
    assert_eq!((account(&outcome.report).packets, account(&outcome.report).not_authentic), (0, 101));
    let told: Vec<_> =
        outcome.report.states.iter().filter(|state| state.reason.contains("not authentic")).collect();
    assert_eq!(told.len(), 1, "{:?}", outcome.report.states);
    assert!(told[0].reason.starts_with("m-line 0: "));
    assert!(outcome.report.wav.is_none());
    let line = siprec_recorder::FinishedSession { folder: None, report: outcome.report }.to_string();
    assert!(line.contains(" packets=0 lost=0 not-authentic=101"), "{line}");
}

#[tokio::test]
async fn forgeries_garbage_and_packets_cut_at_every_length_change_nothing() {
    for suite in [SUITE, SrtpSuite::AeadAes128Gcm] {
        let mut bench = Bench::new();
        let line = Line::new(suite, 1);
        let mut client = Client::invite(&bench, "S11", &[&audio(&[&line])]).await;
        client.answer().await;
        let mut sender = line.sender(0);
        let genuine = sender.all(LEFT.packets(0..100));
        let report = sender.rtcp(&LEFT.report(5_000_000, 0));
        client.burst(0, genuine[..50].to_vec()).await;
        let whole = &genuine[50];
        client.burst(0, (0..whole.len()).map(|length| whole[..length].to_vec())).await;
        for length in 0..report.len() {
            client.rtcp(0, &report[..length]);
        }
        // Floods: of this source, of ten thousand others, and of bytes that are nothing at all.
        let forged = |ssrc: u32, number: u16| {
            let mut packet = Voice { ssrc, first: 0 }.packet(number);
            packet.extend([0x5a; 16]);
            packet
        };
        client.burst(0, (0..5_000).map(|number| forged(LEFT.ssrc, number % 200))).await;
        client.burst(0, (0..10_000).map(|number| forged(0x7000_0000 + number, 50))).await;
        client
            .burst(0, (0..1_000u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes().repeat(40)))
            .await;
        client.burst(0, genuine[50..].to_vec()).await;
        client.burst(0, genuine[90..].to_vec()).await;
        client.rtcp(0, &report);
        client.bye().await;
        let outcome = bench.outcome().await;
        let stream = &outcome.report.streams[0];
        assert_sound(&outcome, &[LEFT.sound(0..100)]);
        assert_eq!(
            (stream.packets, stream.lost, stream.sources.len(), stream.sender_reports),
            (100, 0, 1, 1)
        );
        let srtp = account(&outcome.report);
        assert_eq!((srtp.packets, srtp.replayed), (100, 10));
        assert!(srtp.not_authentic > 15_000, "{srtp:?}");
    }
}

#[tokio::test]
async fn several_keys_are_told_apart_by_their_identifiers() {
    for suite in SrtpSuite::ALL {
        let mut bench = Bench::new();
        let line = Line::with_identifiers(suite, 1);
        let mut client = Client::invite(&bench, "S12", &[&audio(&[&line])]).await;
        let answer = client.answer().await;
        assert_eq!(answered(&answer, 0).keys().len(), 1);
        client.burst(0, line.sender(0).all(LEFT.packets(0..10))).await;
        client.burst(0, line.sender(1).all(LEFT.packets(10..20))).await;
        client.bye().await;
        let outcome = bench.outcome().await;
        assert_sound(&outcome, &[LEFT.sound(0..20)]);
        assert_no_secrets(&outcome, &line.secrets());
    }
}

#[tokio::test]
async fn a_recorder_that_rekeys_or_moves_offers_new_keys_and_takes_those_of_the_answer() {
    for moves in [false, true] {
        let after = Some(Duration::from_millis(500));
        let behaviour = match moves {
            false => Behaviour { rekey_after: after, ..Behaviour::default() },
            true => Behaviour { move_after: after, ..Behaviour::default() },
        };
        let mut bench = Bench::with(|config| config.behaviour = behaviour);
        let (first, second) = (Line::new(SUITE, 1), Line::new(SUITE, 2));
        let mut client = Client::invite(&bench, "S13", &[&audio(&[&first])]).await;
        let answer = client.answer().await;
        let (before, place) = (answered(&answer, 0), client.remote(0));
        client.burst(0, first.sender(0).all(LEFT.packets(0..10))).await;
        let (token, offer) = client.next_offer().await;
        let own = answered(&offer, 0);
        assert_eq!((own.tag(), own.suite()), (before.tag(), before.suite()));
        assert_ne!(own.keys(), before.keys());
        assert_eq!(client.remote(0) != place, moves);
        // Media overtakes the answer that says how it is secured.
        let mut sender = second.sender(0);
        client.burst(0, sender.all(LEFT.packets(10..20))).await;
        client.accept(token, &[&audio(&[&second])]);
        client.burst(0, sender.all(LEFT.packets(20..30))).await;
        let mut reader = Reader::new(&own);
        let (socket, mut buffer) = (client.rtcp_socket(0), [0; 2000]);
        loop {
            let received = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
            let length = received.expect("a report under the new key").unwrap();
            if reader.rtcp(&buffer[..length]).is_some() {
                break;
            }
        }
        client.bye().await;
        let outcome = bench.outcome().await;
        assert_sound(&outcome, &[LEFT.sound(0..30)]);
        let expected = SrtpReport { suite: SUITE.to_string(), keys: 2, packets: 30, ..SrtpReport::default() };
        assert_eq!(account(&outcome.report), expected);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_an_offer_brings_its_new_key_in_the_ack() {
    let mut bench = Bench::new();
    let (first, second) = (Line::new(SUITE, 1), Line::new(SUITE, 2));
    let mut client = Client::invite(&bench, "S17", &[&audio(&[&first])]).await;
    let answer = client.answer().await;
    client.burst(0, first.sender(0).all(LEFT.packets(0..10))).await;
    let offer = client.ask_offer(&[&audio(&[&second])]).await;
    assert_eq!(answered(&offer, 0), answered(&answer, 0));
    client.burst(0, second.sender(0).all(LEFT.packets(10..20))).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_sound(&outcome, &[LEFT.sound(0..20)]);
    let expected = SrtpReport { suite: SUITE.to_string(), keys: 2, packets: 20, ..SrtpReport::default() };
    assert_eq!(account(&outcome.report), expected);
}

#[tokio::test]
async fn an_answer_to_the_recorders_offer_that_is_not_secured_ends_the_stream() {
    let after = Some(Duration::from_millis(200));
    for (wrong, told) in [
        ("m=audio 0 RTP/AVP 0\na=sendonly".to_owned(), "off (audio answered by RTP/AVP)"),
        (audio(&[]), "off (audio answered without a=crypto)"),
        (audio(&[&Line::tagged(2, SUITE, 1)]), "off (audio answered by a=crypto:2"),
        (audio(&[&Line::new(SUITE, 1), &Line::tagged(2, SUITE, 1)]), "off (audio answered by several"),
    ] {
        let mut bench = Bench::with(|config| config.behaviour.rekey_after = after);
        let mut client = Client::invite(&bench, "S14", &[&audio(&[&Line::new(SUITE, 1)])]).await;
        client.answer().await;
        let (token, _) = client.next_offer().await;
        client.accept(token, &[&wrong]);
        client.bye().await;
        let report = bench.outcome().await.report;
        assert!(report.states.iter().any(|state| state.reason.starts_with(told)), "{:?}", report.states);
    }
}

#[tokio::test]
async fn odd_answers_are_as_odd_as_they_are_told_to_be() {
    let offered = Line::tagged(4, SUITE, 1);
    let odd = async |how| {
        let bench = Bench::with(|config| config.behaviour.odd_crypto = Some(how));
        let mut client = Client::invite(&bench, "S15", &[&audio(&[&offered])]).await;
        let answer: SessionDescription = client.answer().await;
        client.bye().await;
        let media = answer.media(0).unwrap();
        let lines: Vec<_> =
            media.cryptos().map(|line| line.map(|line| (line.tag(), line.suite())).unwrap()).collect();
        (media.proto().to_owned(), lines)
    };
    let secured = |lines: &[(u32, SrtpSuite)]| ("RTP/SAVP".to_owned(), lines.to_vec());
    assert_eq!(odd(OddCrypto::Plain).await, ("RTP/AVP".to_owned(), vec![]));
    assert_eq!(odd(OddCrypto::None).await, secured(&[]));
    assert_eq!(odd(OddCrypto::Two).await, secured(&[(4, SUITE), (5, SUITE)]));
    assert_eq!(odd(OddCrypto::Suite).await, secured(&[(4, SrtpSuite::AeadAes256Gcm)]));
    assert_eq!(odd(OddCrypto::Tag).await, secured(&[(5, SUITE)]));
    assert_eq!(odd(OddCrypto::Key).await, secured(&[(4, SUITE)]));
}

#[tokio::test]
async fn a_recorder_with_a_wrong_key_sends_what_the_answers_key_does_not_open() {
    for (odd, genuine) in [(None, true), (Some(OddCrypto::Key), false)] {
        let bench = Bench::with(|config| config.behaviour.odd_crypto = odd);
        let line = Line::new(SUITE, 1);
        let mut client = Client::invite(&bench, "S16", &[&audio(&[&line])]).await;
        let answer = client.answer().await;
        client.rtp(0, &line.sender(0).rtp(&LEFT.packet(1)));
        let (socket, mut buffer) = (client.rtcp_socket(0), [0; 2000]);
        let length =
            tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("a report").unwrap();
        assert_eq!(Reader::new(&answered(&answer, 0)).rtcp(&buffer[..length]).is_some(), genuine);
        client.bye().await;
    }
}

#[tokio::test]
async fn keys_that_should_have_been_others_are_told() {
    let mut bench = Bench::new();
    let keys = [Line::new(SUITE, 1), Line::new(SUITE, 2)];
    let notes = |report: &SessionReport| {
        let reasons = report.states.iter().map(|state| state.reason.clone());
        reasons.filter(|reason| reason.contains("RFC 4568")).collect::<Vec<_>>()
    };
    let mut client = Client::invite(&bench, "S18", &[&audio(&[&keys[0]]), &audio(&[&keys[1]])]).await;
    client.answer().await;
    client.offer_again(&[&audio(&[&keys[0]]), &audio(&[&keys[1]])]).await;
    client.bye().await;
    assert_eq!(notes(&bench.outcome().await.report), [""; 0], "as it should be");

    let mut client = Client::invite(&bench, "S18", &[&audio(&[&keys[0]])]).await;
    client.answer().await;
    client.bye().await;
    let told = "m-line 0: its key was used in another session (RFC 4568 §6.1)";
    assert_eq!(notes(&bench.outcome().await.report), [told]);

    let other = Line::new(SUITE, 3);
    let mut client = Client::invite(&bench, "S18", &[&audio(&[&other]), &audio(&[&other])]).await;
    client.answer().await;
    client.bye().await;
    let told = "m-line 1: its key is used on another m-line (RFC 4568 §6.1)";
    assert_eq!(notes(&bench.outcome().await.report), [told]);

    let fourth = Line::new(SUITE, 4);
    let mut client = Client::invite(&bench, "S18", &[&audio(&[&fourth])]).await;
    client.answer().await;
    client.change_ports();
    client.offer_again(&[&audio(&[&fourth])]).await;
    client.bye().await;
    let told = "m-line 0: the client has moved and kept its key (RFC 4568 §7.1.4)";
    assert_eq!(notes(&bench.outcome().await.report), [told]);
}

#[tokio::test]
async fn a_client_that_moves_with_a_new_key_begins_its_rollover_counter_anew() {
    let mut bench = Bench::with(|config| config.count_only = true);
    let (first, second) = (Line::new(SUITE, 1), Line::new(SUITE, 2));
    let mut client = Client::invite(&bench, "S19", &[&audio(&[&first])]).await;
    client.answer().await;
    let mut old = first.sender(0);
    for number in [0, 20_000, 40_000, 60_000, 500] {
        client.burst(0, [old.rtp(&LEFT.packet(number))]).await;
    }
    client.change_ports();
    client.offer_again(&[&audio(&[&second])]).await;
    client.burst(0, second.sender(0).all(LEFT.packets(501..511))).await;
    client.bye().await;
    let expected = SrtpReport { suite: SUITE.to_string(), keys: 2, packets: 15, ..SrtpReport::default() };
    assert_eq!(account(&bench.finished().await.report), expected);
}
