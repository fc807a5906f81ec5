//! Sessions whose m-lines are many, or change what they are.

use std::collections::BTreeSet;

use siprec_recorder::Channel;

use crate::bench::Bench;
use crate::client::{Client, TWO_PARTIES};
use crate::packets::Voice;

const LINE: &str = TWO_PARTIES[1];
/// As many m-lines as a session may have.
const MOST: usize = 64;

const LEFT: Voice = Voice { ssrc: 0x1111, first: 0 };
const RIGHT: Voice = Voice { ssrc: 0x2222, first: 90_000 };

fn voice(line: usize) -> Voice {
    Voice { ssrc: 0x1000 + line as u32, first: 1000 * line as u32 }
}

#[tokio::test]
async fn sixty_four_lines_are_received_each_at_its_own_port() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "L1", &[LINE; MOST]).await;
    let answer = client.answer().await;
    let ports: BTreeSet<_> = answer.medias().map(|media| media.port()).collect();
    assert_eq!(answer.medias().count(), MOST);
    assert!(ports.len() == MOST && ports.iter().all(|port| *port != 0 && port % 2 == 0), "{ports:?}");
    for line in 0..MOST {
        client.burst(line, voice(line).packets(0..10)).await;
        client.rtcp(line, &voice(line).report(5_000_000, 0));
    }
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.report.streams.len(), MOST);
    for (line, stream) in outcome.report.streams.iter().enumerate() {
        assert_eq!((stream.index, stream.packets, stream.lost), (line, 10, 0));
        assert_eq!(stream.sources[0].ssrc, format!("{:08x}", voice(line).ssrc));
    }
    // The first two are heard; of the others the packets stay.
    assert_eq!(outcome.wav().channels, [voice(0).sound(0..10), voice(1).sound(0..10)]);
    for (line, stream) in outcome.report.streams.iter().enumerate().skip(2) {
        assert_eq!(stream.channel, None);
        let dump = std::fs::read(outcome.folder.join(format!("audio-{line}.rtpdump"))).unwrap();
        let last = voice(line).packet(9);
        assert!(dump.windows(last.len()).any(|window| window == last), "m-line {line}");
    }
    assert_eq!(outcome.files().len(), MOST - 2 + 3);
}

#[tokio::test]
async fn one_line_more_than_sixty_four_is_refused_with_the_reason() {
    let mut bench = Bench::new();
    let told = "the session description has more than 64 m-lines";
    let mut client = Client::invite(&bench, "L2", &[LINE; MOST + 1]).await;
    let response = client.response().await;
    assert_eq!((response.status, response.reason.as_str()), (488, told));
    let session = bench.finished().await.to_string();
    assert!(session.contains(&format!(" state=refused reason=\"488: {told}\"")), "{session}");
    assert_eq!(std::fs::read_dir(bench.output()).unwrap().count(), 0);

    // In a session it changes nothing.
    let mut client = Client::invite(&bench, "L3", TWO_PARTIES).await;
    client.answer().await;
    client.offer(&[LINE; MOST + 1]);
    let response = client.response().await;
    assert_eq!((response.status, response.reason.as_str()), (488, told));
    client.burst(1, RIGHT.packets(0..10)).await;
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.wav().channels[1], RIGHT.sound(0..10));
    assert_eq!(outcome.report.streams.len(), 2);
}

#[tokio::test]
async fn a_line_that_becomes_video_and_audio_again_is_two_streams_and_the_sound_goes_on() {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, "L4", TWO_PARTIES).await;
    client.answer().await;
    let audio = client.remote(1);
    client.burst(0, LEFT.packets(0..10)).await;
    client.burst(1, RIGHT.packets(0..10)).await;

    let video = "m=video 0 RTP/AVP 96\na=rtpmap:96 VP8/90000\na=sendonly";
    let answer = client.offer_again(&[LINE, video]).await;
    let media = answer.media(1).unwrap();
    assert_eq!(
        (media.medium().map(|medium| medium.to_string()), answer.version()),
        (Some("video".into()), 2)
    );
    assert_ne!(client.remote(1), audio, "packets that are late for the one cannot pass for the other");
    let picture = Voice { ssrc: 0x3333, first: 7 };
    client.burst(0, LEFT.packets(10..20)).await;
    client.burst(1, (0..5).map(|number| picture.packet_of(96, number, &[9; 50]))).await;

    client.offer_again(TWO_PARTIES).await;
    assert_eq!(client.remote(1), audio, "the stream of old has the port of old");
    client.burst(0, LEFT.packets(20..30)).await;
    // Its sequence numbers go on, its timestamps are the call's.
    let later = Voice { first: RIGHT.first + 1600, ..RIGHT };
    client.burst(1, later.packets(10..20)).await;
    client.rtcp(0, &LEFT.report(5_000_000, 0));
    client.rtcp(1, &RIGHT.report(5_000_000, 0));
    client.bye().await;

    let outcome = bench.outcome().await;
    let silence = vec![0; 1600];
    let wav = outcome.wav();
    assert_eq!(wav.channels[0], LEFT.sound(0..30));
    assert_eq!(wav.channels[1], [RIGHT.sound(0..10), silence, RIGHT.sound(10..20)].concat());
    let told: Vec<_> = outcome
        .report
        .streams
        .iter()
        .map(|stream| (stream.index, stream.medium.as_str(), stream.packets, stream.lost, stream.unwanted))
        .collect();
    assert_eq!(told, [(0, "audio", 30, 0, 0), (1, "audio", 20, 0, 0), (1, "video", 5, 0, 0)]);
    let off = |stream: usize| outcome.report.streams[stream].inactive.iter().filter(|time| time.off).count();
    assert_eq!([0, 1, 2].map(off), [0, 1, 1]);
    assert_eq!(outcome.report.streams[1].dn.as_deref(), Some("1002"));
    assert_eq!(outcome.report.streams[2].dn, None, "the parties are those of the sound");
    assert_eq!(outcome.files(), ["ladder.txt", "session.json", "session.wav", "video-2.rtpdump"]);
    let states: Vec<_> = outcome.report.states.iter().map(|state| state.reason.as_str()).collect();
    let (both, mixed) = ("audio recvonly, audio recvonly", "audio recvonly, video recvonly");
    assert_eq!(states[1..4], [both, mixed, both]);
}

#[tokio::test]
async fn a_line_that_becomes_audio_later_is_the_right_channel() {
    let mut bench = Bench::new();
    let video = "m=video 0 RTP/AVP 96\na=rtpmap:96 VP8/90000\na=sendonly";
    let mut client = Client::invite(&bench, "L5", &[video, LINE]).await;
    client.answer().await;
    client.burst(1, RIGHT.packets(0..10)).await;
    client.offer_again(TWO_PARTIES).await;
    client.burst(0, LEFT.packets(0..10)).await;
    client.rtcp(0, &LEFT.report(5_000_200, 0));
    client.rtcp(1, &RIGHT.report(5_000_000, 0));
    client.bye().await;
    let outcome = bench.outcome().await;
    let silence = vec![0; 1600];
    let wav = outcome.wav();
    assert_eq!(wav.channels[0], [RIGHT.sound(0..10), silence.clone()].concat());
    assert_eq!(wav.channels[1], [silence, LEFT.sound(0..10)].concat());
    let told: Vec<_> = outcome.report.streams.iter().map(|stream| (stream.index, stream.channel)).collect();
    assert_eq!(told, [(0, None), (1, Some(Channel::Left)), (0, Some(Channel::Right))]);
}
