//! Long pauses, whose time passes in timestamps and sender reports alone.

use siprec_recorder::{CutReport, GapReport, WavSound};

use crate::bench::{Bench, Outcome};
use crate::client::{Client, TWO_PARTIES};
use crate::packets::Voice;

/// Packets that nobody sends: 800 s.
const PAUSE: u32 = 40_000;
const PAUSE_MS: u64 = PAUSE as u64 * 20;
const BEGIN_MS: u64 = 3_900_000_000_000;
const INACTIVE: [&str; 2] = ["m=audio 0 RTP/AVP 0\na=inactive"; 2];

/// The timestamps of the left party wrap within the pause, those of the right one do not.
const LEFT: Voice = Voice { ssrc: 0x1111, first: u32::MAX - 65_536 * 160 - 3_200_000 };
const RIGHT: Voice = Voice { ssrc: 0x2222, first: 90_000 };
/// The last twenty before the sequence numbers wrap.
const BEFORE: std::ops::RangeInclusive<u16> = 65_516..=65_535;

/// The packets of both parties before a pause, and after it with the sequence numbers that begin with `next`.
async fn paused(bench: &mut Bench, next: u16) -> Outcome {
    let mut client = Client::invite(bench, "P1", TWO_PARTIES).await;
    client.answer().await;
    for (stream, voice) in [LEFT, RIGHT].into_iter().enumerate() {
        client.burst(stream, voice.packets(BEFORE)).await;
        client.rtcp(stream, &voice.report(BEGIN_MS, *BEFORE.start()));
    }
    client.offer_again(&INACTIVE).await;
    client.offer_again(TWO_PARTIES).await;
    for (stream, voice) in [LEFT, RIGHT].into_iter().enumerate() {
        let later = after(voice, next);
        for number in next..next + 20 {
            let mut packet = later.packet(number);
            // The first of a talk spurt has the marker bit (RFC 3551 §4.1).
            packet[1] |= if number == next { 0x80 } else { 0 };
            client.rtp(stream, &packet);
        }
        client.rtcp(stream, &later.report(BEGIN_MS + PAUSE_MS + 400, next));
    }
    client.bye().await;
    bench.outcome().await
}

/// The same voice when `PAUSE` packets were not sent, and the next one has number `next`.
fn after(voice: Voice, next: u16) -> Voice {
    let first = voice.first.wrapping_add((65_536 + PAUSE) * 160).wrapping_sub(u32::from(next) * 160);
    Voice { first, ..voice }
}

fn ensure_silence(wav: &WavSound, next: u16) {
    for (channel, voice) in wav.channels.iter().zip([LEFT, RIGHT]) {
        let silence = PAUSE as usize * 160;
        assert_eq!(channel.len(), 20 * 160 + silence + 20 * 160);
        assert_eq!(channel[..20 * 160], voice.sound(BEFORE));
        assert!(channel[20 * 160..][..silence].iter().all(|sample| *sample == 0));
        assert_eq!(channel[20 * 160 + silence..], voice.sound(next..next + 20));
    }
}

fn ensure_cut(outcome: &Outcome, next: u16) {
    let expected = [LEFT, RIGHT].map(|voice| [voice.sound(BEFORE), voice.sound(next..next + 20)].concat());
    assert!(outcome.wav().channels == expected, "{:?}", outcome.report.wav);
    let cut = &outcome.report.wav.as_ref().unwrap().cut;
    assert_eq!(*cut, [CutReport { start: 0.4, duration: 800.0 }]);
}

fn cutting() -> Bench {
    Bench::with(|config| config.cut_pauses = true)
}

#[tokio::test]
async fn a_pause_of_forty_thousand_packets_is_silence_of_eight_hundred_seconds() {
    let mut bench = Bench::new();
    let outcome = paused(&mut bench, 0).await;
    ensure_silence(&outcome.wav(), 0);
    for stream in &outcome.report.streams {
        assert_eq!((stream.packets, stream.lost, stream.unwanted), (40, 0, 0));
        assert_eq!(stream.gaps, [GapReport { start: 0.4, duration: 800.0, lost: 0 }]);
    }
}

#[tokio::test]
async fn a_pause_of_forty_thousand_packets_is_cut_where_that_is_asked_for() {
    let mut bench = cutting();
    ensure_cut(&paused(&mut bench, 0).await, 0);
}

#[tokio::test]
async fn a_client_that_numbers_on_while_it_pauses_is_heard_at_the_same_places() {
    let next = (65_536 + PAUSE) as u16;
    let mut bench = Bench::new();
    let outcome = paused(&mut bench, next).await;
    ensure_silence(&outcome.wav(), next);
    assert!(outcome.report.streams.iter().all(|stream| stream.lost == 0), "{:?}", outcome.report.streams);
}

#[tokio::test]
async fn a_client_that_numbers_on_while_it_pauses_is_cut_at_the_same_places() {
    let next = (65_536 + PAUSE) as u16;
    let mut bench = cutting();
    ensure_cut(&paused(&mut bench, next).await, next);
}

#[tokio::test]
async fn what_another_source_said_before_a_pause_is_not_cut_with_it() {
    let mut bench = cutting();
    let mut client = Client::invite(&bench, "P2", &TWO_PARTIES[..1]).await;
    client.answer().await;
    client.burst(0, RIGHT.packets(0..10)).await;
    let other = Voice { ssrc: 0x4444, first: 0 };
    client.burst(0, other.packets(0..10)).await;
    client.offer_again(&INACTIVE[..1]).await;
    client.offer_again(&TWO_PARTIES[..1]).await;
    // The first source again, a second after it began.
    let later = Voice { first: RIGHT.first + 40 * 160, ..RIGHT };
    client.burst(0, later.packets(10..20)).await;
    client.rtcp(0, &RIGHT.report(BEGIN_MS, 0));
    client.rtcp(0, &other.report(BEGIN_MS + 200, 0));
    client.bye().await;
    let outcome = bench.outcome().await;
    let expected = [RIGHT.sound(0..10), other.sound(0..10), RIGHT.sound(10..20)].concat();
    assert_eq!(outcome.wav().channels, [expected]);
    assert_eq!(outcome.report.wav.unwrap().cut, [CutReport { start: 0.4, duration: 0.6 }]);
}
