//! What is heard, where.

use std::time::Duration;

use siprec_recorder::{Alignment, Channel, GapReport, WavSound};

use crate::bench::{Bench, PATIENCE, names};
use crate::client::{Client, TWO_PARTIES};
use crate::packets::Voice;

const LEFT: Voice = Voice { ssrc: 0x1111, first: u32::MAX - 4000 };
const RIGHT: Voice = Voice { ssrc: 0x2222, first: 90_000 };

fn silence(milliseconds: usize) -> Vec<i16> {
    vec![0; milliseconds * 8]
}

#[tokio::test]
async fn two_parties_are_sample_exact_and_stand_where_their_sender_reports_say() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A1", TWO_PARTIES).await;
    client.answer().await;
    // The right party, which spoke 140 ms later, arrives first.
    client.burst(1, RIGHT.packets(0..100)).await;
    client.burst(0, LEFT.packets(0..100)).await;
    client.rtcp(0, &LEFT.report(3_900_000_000_000, 0));
    client.rtcp(1, &RIGHT.report(3_900_000_001_140, 50));
    client.bye().await;
    let outcome = bench.outcome().await;
    let wav = outcome.wav();
    assert_eq!(wav.rate, 8000);
    assert_eq!(wav.channels[0], [LEFT.sound(0..100), silence(140)].concat());
    assert_eq!(wav.channels[1], [silence(140), RIGHT.sound(0..100)].concat());
    let streams = &outcome.report.streams;
    assert_eq!((streams[0].packets, streams[0].lost, streams[0].sender_reports), (100, 0, 1));
    assert_eq!(streams[0].alignment, Some(Alignment::SenderReports));
    assert!(streams[1].first_packet < streams[0].last_packet && streams[1].first_packet.is_some());
    assert_eq!((streams[0].channel, streams[1].channel), (Some(Channel::Left), Some(Channel::Right)));
    assert_eq!((streams[0].dn.as_deref(), streams[1].dn.as_deref()), (Some("1001"), Some("1002")));
    assert_eq!(outcome.files(), ["ladder.txt", "session.json", "session.wav"]);
}

#[tokio::test]
async fn thirty_seconds_that_were_held_and_come_a_hundred_times_faster_are_all_there() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A2", TWO_PARTIES).await;
    client.answer().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for portion in 0..150 {
        ticks.tick().await;
        for number in portion * 10..(portion + 1) * 10 {
            client.rtp(0, &LEFT.packet(number));
        }
    }
    client.burst(1, RIGHT.packets(0..10)).await;
    client.rtcp(0, &LEFT.report(5_000_000, 1499));
    client.rtcp(1, &RIGHT.report(5_000_000, 0));
    client.bye().await;
    let outcome = bench.outcome().await;
    let wav = outcome.wav();
    assert_eq!(outcome.report.streams[0].lost, 0);
    assert_eq!(wav.channels[0][..240_000], LEFT.sound(0..1500));
    assert_eq!(wav.channels[1][29_980 * 8..30_180 * 8], RIGHT.sound(0..10));
}

#[tokio::test]
async fn three_seconds_at_twice_their_speed_join_the_live_packets() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A3", TWO_PARTIES).await;
    client.answer().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for number in 0..150 {
        ticks.tick().await;
        client.rtp(0, &LEFT.packet(number));
        if number % 2 == 0 {
            client.rtp(1, &RIGHT.packet(number / 2));
        }
    }
    client.rtcp(0, &LEFT.report(5_000_000, 0));
    client.rtcp(1, &RIGHT.report(5_001_500, 0));
    client.bye().await;
    let wav = bench.outcome().await.wav();
    assert_eq!(wav.channels[0], LEFT.sound(0..150));
    assert_eq!(wav.channels[1], [silence(1500), RIGHT.sound(0..75)].concat());
}

#[tokio::test]
async fn lost_packets_are_silence_of_exact_length_and_late_ones_take_their_places() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A4", &TWO_PARTIES[..1]).await;
    client.answer().await;
    let order = (0..50).filter(|number| !(20..25).contains(number));
    let mut order: Vec<u16> = order.collect();
    order.swap(3, 4);
    let last = order.len() - 1;
    order.swap(last - 5, last);
    order.insert(10, order[8]);
    client.burst(0, order.into_iter().map(|number| LEFT.packet(number))).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.wav().channels, [[LEFT.sound(0..20), silence(100), LEFT.sound(25..50)].concat()]);
    let stream = &outcome.report.streams[0];
    assert_eq!((stream.packets, stream.lost, stream.duplicates), (46, 5, 1));
    assert!(stream.reordered > 0);
    assert_eq!(stream.gaps, [GapReport { start: 0.4, duration: 0.1, lost: 5 }]);
    assert_eq!(stream.alignment, Some(Alignment::Arrival));
}

#[tokio::test]
async fn a_codec_that_is_not_decoded_is_kept_as_rtp() {
    let mut bench = Bench::new();
    let lines = ["m=audio 0 RTP/AVP 18\na=sendonly", TWO_PARTIES[1]];
    let mut client = Client::invite(&bench, "A5", &lines).await;
    client.answer().await;
    client.burst(0, (0..20).map(|number| LEFT.packet_of(18, number, &[7; 20]))).await;
    client.burst(1, RIGHT.packets(0..20)).await;
    client.rtcp(0, &LEFT.report(5_000_000, 0));
    client.rtcp(1, &RIGHT.report(5_000_000, 0));
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.files(), ["audio-0.rtpdump", "ladder.txt", "session.json", "session.wav"]);
    let stream = &outcome.report.streams[0];
    assert_eq!(stream.not_decoded.as_deref(), Some("18 G729/8000 is not decoded"));
    let dump = std::fs::read(outcome.folder.join(stream.rtp_file.as_ref().unwrap())).unwrap();
    let local: std::net::SocketAddr = stream.local.as_ref().unwrap().parse().unwrap();
    let head = format!("#!rtpplay1.0 127.0.0.1/{}\n", local.port());
    assert!(dump.starts_with(head.as_bytes()));
    assert_eq!(dump.len(), head.len() + 16 + 20 * (8 + 12 + 20) + 8 + 28);
    assert!(dump.windows(32).any(|window| window == LEFT.packet_of(18, 19, &[7; 20])));
    assert_eq!(outcome.wav().channels[1][..20 * 160], RIGHT.sound(0..20));
}

#[tokio::test]
async fn a_pause_is_silence_and_every_state_is_told() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A6", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.burst(0, LEFT.packets(0..10)).await;
    let directions =
        |answer: siprec_sip::SessionDescription| answer.media(0).unwrap().direction().to_string();
    let paused = client.offer_again(&["m=audio 0 RTP/AVP 0\na=inactive"]).await;
    assert_eq!(directions(paused), "inactive");
    let resumed = client.offer_again(&["m=audio 0 RTP/AVP 0\na=sendonly"]).await;
    assert_eq!((resumed.version(), directions(resumed)), (3, "recvonly".into()));
    // Sequence numbers go on without a gap, timestamps with the call's.
    let later = Voice { first: LEFT.first.wrapping_add(4000), ..LEFT };
    client.burst(0, later.packets(10..20)).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    let expected = [LEFT.sound(0..10), silence(500), LEFT.sound(10..20)].concat();
    assert_eq!(outcome.wav().channels, [expected]);
    let states: Vec<_> = outcome.report.states.iter().map(|state| state.state.as_str()).collect();
    assert_eq!(states, ["invited", "recording", "paused", "recording", "ended"]);
    assert_eq!(outcome.report.streams[0].lost, 0);
}

#[tokio::test]
async fn a_party_that_joins_gets_the_other_channel() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "A7", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.burst(0, LEFT.packets(0..10)).await;
    let before = client.remote(0);
    client.offer_again(TWO_PARTIES).await;
    assert_eq!(client.remote(0), before, "a stream keeps its port");
    client.burst(1, RIGHT.packets(0..10)).await;
    client.rtcp(0, &LEFT.report(5_000_000, 0));
    client.rtcp(1, &RIGHT.report(5_000_200, 0));
    client.bye().await;
    let wav = bench.outcome().await.wav();
    assert_eq!(wav.channels[0], [LEFT.sound(0..10), silence(200)].concat());
    assert_eq!(wav.channels[1], [silence(200), RIGHT.sound(0..10)].concat());
}

#[tokio::test]
async fn a_crash_leaves_a_playable_wav() {
    let bench = Bench::new();
    let mut client = Client::invite(&bench, "A8", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.burst(0, LEFT.packets(0..50)).await;
    let path = bench.output().join("A8").join("session.partial.wav");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        if let Ok(wav) = WavSound::read(&path)
            && wav.channels[0].len() == 8000
        {
            assert_eq!(wav.channels[0], LEFT.sound(0..50));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{:?}", names(&bench.output().join("A8")));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(bench.recorder);
    assert_eq!(WavSound::read(&path).unwrap().channels[0], LEFT.sound(0..50));
    assert!(path.with_file_name("session.partial.json").exists());
    assert!(path.with_file_name("audio-0.partial.rtpdump").exists());
}
