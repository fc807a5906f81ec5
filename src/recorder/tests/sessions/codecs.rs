//! Every codec that the recorder decodes, encoded by GStreamer.

use gst::prelude::*;
use siprec_recorder::WavSound;

use crate::bench::Bench;
use crate::client::Client;

const TONE: f64 = 500.0;

/// Sends a second of a tone, and returns what was recorded of it.
async fn recorded(id: &str, line: &str, encoder: &str) -> WavSound {
    let mut bench = Bench::new();
    let mut client = Client::invite(&bench, id, &[line]).await;
    client.answer().await;
    let port = client.remote(0).port();
    let pipeline = gst::parse::launch(&format!(
        "audiotestsrc num-buffers=50 samplesperbuffer=960 freq={TONE} volume=0.5 ! audio/x-raw,rate=48000,channels=1 \
         ! audioconvert ! audioresample ! {encoder} ! udpsink host=127.0.0.1 port={port} sync=false"
    ))
    .unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(20),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
    });
    let message = ended.await.unwrap().expect("the tone ends");
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    client.bye().await;
    let outcome = bench.outcome().await;
    assert_eq!(outcome.report.streams[0].lost, 0);
    assert_eq!(outcome.report.streams[0].not_decoded, None);
    outcome.wav()
}

/// How much of the sound's power is in the tone, 0 to 1, by Goertzel's filter.
fn purity(samples: &[i16], rate: u32) -> f64 {
    let turn = std::f64::consts::TAU * TONE / f64::from(rate);
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let (sample, angle) = (f64::from(*sample), turn * index as f64);
        re += sample * angle.cos();
        im += sample * angle.sin();
        power += sample * sample;
    }
    2.0 * (re * re + im * im) / (power * samples.len() as f64)
}

#[tokio::test]
async fn every_codec_becomes_sound_at_its_rate() {
    for (id, line, encoder, rate) in [
        ("PCMU", "m=audio 0 RTP/AVP 0", "mulawenc ! rtppcmupay", 8000),
        ("PCMA", "m=audio 0 RTP/AVP 8", "alawenc ! rtppcmapay", 8000),
        ("G722", "m=audio 0 RTP/AVP 9", "avenc_g722 ! rtpg722pay", 16_000),
        ("opus", "m=audio 0 RTP/AVP 96\na=rtpmap:96 opus/48000/2", "opusenc ! rtpopuspay pt=96", 48_000),
        (
            "L16",
            "m=audio 0 RTP/AVP 97\na=rtpmap:97 L16/16000",
            "audio/x-raw,rate=16000 ! rtpL16pay pt=97",
            16_000,
        ),
    ] {
        let wav = recorded(id, line, encoder).await;
        assert_eq!(wav.rate, rate, "{id}");
        let sound = &wav.channels[0];
        assert!(sound.len().abs_diff(rate as usize) <= rate as usize / 20, "{id}: {} frames", sound.len());
        let middle = &sound[sound.len() / 10..sound.len() * 9 / 10];
        assert!(purity(middle, rate) > 0.95, "{id}: {}", purity(middle, rate));
    }
}
