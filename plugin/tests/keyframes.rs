//! Where key frames begin in the packets of GStreamer's own encoders and payloaders: we find them where it does.
#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;
use siprec_media::{RtpView, begins_keyframe};
use siprec_model::VideoCodec;

/// Bytes of the RTP header of a payloader, without CSRCs and extension.
const HEADER: usize = 12;

/// One packet of a payloader.
struct Packet {
    timestamp: u32,
    /// GStreamer's flag says that the packet begins a key frame.
    flagged: bool,
    /// We say so.
    begins: bool,
}

/// What became of a few seconds of a test picture.
struct Coded {
    packets: Vec<Packet>,
    /// The timestamps of the encoder's key frames.
    keyframes: BTreeSet<u32>,
}

impl Coded {
    /// Runs `encoder` with a key frame at least every 10 pictures, and `payloader`.
    fn by(codec: VideoCodec, encoder: &str, payloader: &str) -> Self {
        let pipeline = common::launch(&format!(
            "videotestsrc num-buffers=35 ! video/x-raw,width=320,height=240,format=I420,framerate=25/1 ! {encoder} \
             ! {payloader} name=payloader timestamp-offset=0 ! fakesink"
        ));
        let pipeline = pipeline.unwrap();
        let payloader = pipeline.by_name("payloader").unwrap();
        let (keyframes, packets) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        payloader.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, {
            let keyframes = keyframes.clone();
            move |_, info| {
                let buffer = info.buffer().unwrap();
                if !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT) {
                    keyframes.lock().unwrap().push(buffer.pts().unwrap());
                }
                gst::PadProbeReturn::Ok
            }
        });
        let either = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        payloader.static_pad("src").unwrap().add_probe(either, {
            let packets = packets.clone();
            move |_, info| {
                let note = |buffer: &gst::BufferRef| {
                    let bytes = buffer.map_readable().unwrap();
                    let packet = Packet {
                        timestamp: RtpView::parse(&bytes).unwrap().timestamp(),
                        flagged: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
                        begins: begins_keyframe(codec, &bytes[HEADER..]),
                    };
                    packets.lock().unwrap().push((buffer.pts().unwrap(), packet));
                };
                match &info.data {
                    Some(gst::PadProbeData::Buffer(buffer)) => note(buffer),
                    Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(note),
                    other => panic!("{other:?}"),
                }
                gst::PadProbeReturn::Ok
            }
        });
        assert_eq!(common::run(&pipeline).0, None, "{encoder}");
        let packets = std::mem::take(&mut *packets.lock().unwrap_or_else(PoisonError::into_inner));
        let keyframes = keyframes.lock().unwrap_or_else(PoisonError::into_inner);
        let timestamp_of = |pts| packets.iter().find(|(at, _)| at == pts).unwrap().1.timestamp;
        let keyframes: BTreeSet<u32> = keyframes.iter().map(timestamp_of).collect();
        Self { packets: packets.into_iter().map(|(_, packet)| packet).collect(), keyframes }
    }

    /// The packets that say so and are the first of their picture to do so.
    fn places(&self, says: impl Fn(&Packet) -> bool) -> Vec<usize> {
        let mut pictures = BTreeSet::new();
        let begin = |(_, packet): &(usize, &Packet)| says(packet) && pictures.insert(packet.timestamp);
        self.packets.iter().enumerate().filter(begin).map(|(place, _)| place).collect()
    }

    /// Where the packets of the encoder's key frames begin.
    fn starts(&self) -> Vec<usize> {
        self.places(|packet| self.keyframes.contains(&packet.timestamp))
    }

    /// We say that key frames begin where the encoder's do, and there is something to tell apart.
    fn assert_found(&self, chain: &str) {
        assert_eq!(self.places(|packet| packet.begins), self.starts(), "{chain}");
        assert!(self.keyframes.len() >= 3, "{chain}: {:?}", self.keyframes);
        let of_keyframes = |packet: &&Packet| self.keyframes.contains(&packet.timestamp);
        let packets = self.packets.iter().filter(of_keyframes).count();
        assert!(packets > self.keyframes.len(), "{chain}: no key frame is cut into fragments");
        assert!(packets < self.packets.len(), "{chain}: nothing but key frames");
    }
}

#[test]
fn h264_key_frames_begin_where_gstreamer_flags_them() {
    for encoder in ["openh264enc gop-size=10", "openh264enc gop-size=10 slice-mode=n-slices num-slices=3"] {
        for payloader in [
            "rtph264pay mtu=700 aggregate-mode=none",
            "rtph264pay mtu=700 aggregate-mode=zero-latency config-interval=-1",
            "rtph264pay mtu=1400 aggregate-mode=max-stap",
        ] {
            let coded = Coded::by(VideoCodec::H264, encoder, payloader);
            coded.assert_found(payloader);
            assert_eq!(coded.places(|packet| packet.flagged), coded.starts(), "{encoder} ! {payloader}");
        }
    }
}

/// GStreamer 1.22 flags packets of H.264 only; for the others its encoders' flags stand.
#[test]
fn h265_vp8_and_vp9_key_frames_begin_where_the_encoder_has_them() {
    for (codec, encoder, payloader) in [
        (VideoCodec::H265, "x265enc key-int-max=10 tune=zerolatency", "rtph265pay mtu=700"),
        (
            VideoCodec::H265,
            "x265enc key-int-max=10 tune=zerolatency",
            "rtph265pay mtu=1400 aggregate-mode=max",
        ),
        (VideoCodec::Vp8, "vp8enc keyframe-max-dist=10 deadline=1", "rtpvp8pay mtu=300"),
        (
            VideoCodec::Vp8,
            "vp8enc keyframe-max-dist=10 deadline=1",
            "rtpvp8pay mtu=300 picture-id-mode=7-bit",
        ),
        (
            VideoCodec::Vp8,
            "vp8enc keyframe-max-dist=10 deadline=1",
            "rtpvp8pay mtu=300 picture-id-mode=15-bit",
        ),
        (VideoCodec::Vp9, "vp9enc keyframe-max-dist=10 deadline=1", "rtpvp9pay mtu=300"),
        (
            VideoCodec::Vp9,
            "vp9enc keyframe-max-dist=10 deadline=1",
            "rtpvp9pay mtu=300 picture-id-mode=15-bit",
        ),
    ] {
        Coded::by(codec, encoder, payloader).assert_found(payloader);
    }
}
