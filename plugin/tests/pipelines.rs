//! Whole pipelines with our elements in the call: they preroll, play and end like pipelines without.
#![cfg(test)]

mod common;

use common::{PCMU, launch, run, silent_recorder};
use gst::prelude::*;

const VOICE: &str = "audiotestsrc num-buffers=25 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 \
                     ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000";

#[test]
fn a_call_without_a_recording_ends_like_any_other() {
    let call = launch(&format!(
        "siprec name=rec auto-start=false {VOICE} ! rec.sink_0 rec.src_0 ! fakesink \
         {VOICE} ! rec.sink_1 rec.src_1 ! fakesink"
    ));
    assert_eq!(run(&call.unwrap()).0, None);
}

#[test]
fn a_call_whose_recorder_is_silent_ends_like_any_other() {
    let (recorder, _socket) = silent_recorder();
    let call = launch(&format!(
        "siprec name=rec recorder={recorder} stop-timeout=0 sink_0::dn=1001 sink_1::dn=1002 \
         {VOICE} ! rec.sink_0 rec.src_0 ! fakesink {VOICE} ! rec.sink_1 rec.src_1 ! fakesink"
    ))
    .unwrap();
    let rec = call.by_name("rec").unwrap();
    assert_eq!(rec.property::<Option<String>>("dn").as_deref(), Some("1001"));
    assert_eq!(rec.property::<Option<String>>("other-dn").as_deref(), Some("1002"));
    assert_eq!(run(&call).0, None);
}

/// A pipeline waits for the end of every element that says that it is a sink; ours end no stream.
#[test]
fn no_element_is_a_sink_or_a_source_of_its_pipeline() {
    for element in [common::idle_siprec(), common::siprectee()] {
        let pad = element.request_pad_simple(if element.static_pad("sink").is_some() {
            "rec_%u"
        } else {
            "sink_%u"
        });
        let flags = element.element_flags();
        assert!(!flags.intersects(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE), "{flags:?}");
        element.release_request_pad(&pad.unwrap());
    }
}

#[test]
fn a_party_that_never_sends_holds_up_nobody() {
    let (recorder, _socket) = silent_recorder();
    let call = launch(&format!(
        "siprec name=rec recorder={recorder} stop-timeout=0 \
         udpsrc address=127.0.0.1 port=0 caps=\"{PCMU}\" ! rec.sink_0 rec.src_0 ! fakesink name=silent async=false \
         {VOICE} ! rec.sink_1 rec.src_1 ! fakesink name=speaks signal-handoffs=true sync=false"
    ))
    .unwrap();
    let (tell, heard) = std::sync::mpsc::channel();
    call.by_name("speaks").unwrap().connect("handoff", false, move |_| {
        tell.send(()).unwrap();
        None
    });
    call.set_state(gst::State::Playing).unwrap();
    for packet in 0..25 {
        heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap_or_else(|_| panic!("packet {packet}"));
    }
    call.set_state(gst::State::Null).unwrap();
}

#[test]
fn no_packet_at_all_is_no_reason_not_to_play_and_end() {
    let (recorder, _socket) = silent_recorder();
    let call = launch(&format!(
        "siprec name=rec recorder={recorder} stop-timeout=0 appsrc name=in caps=\"{PCMU}\" is-live=true format=time \
         ! rec.sink_0 rec.src_0 ! fakesink async=false"
    ))
    .unwrap();
    call.set_state(gst::State::Playing).unwrap();
    let (result, current, _) = call.state(gst::ClockTime::from_seconds(10));
    assert!(result.is_ok());
    assert_eq!(current, gst::State::Playing);
    let _ = call.by_name("in").unwrap().emit_by_name::<gst::FlowReturn>("end-of-stream", &[]);
    assert_eq!(run(&call).0, None);
}

#[test]
fn a_call_with_a_silent_party_ends_when_it_is_told_to_as_without_the_element() {
    let (recorder, _socket) = silent_recorder();
    let voice = VOICE.replace("num-buffers=25", "is-live=true");
    let silence = format!("udpsrc address=127.0.0.1 port=0 caps=\"{PCMU}\"");
    // A sink that waits for its first packet keeps a live pipeline from playing, with and without the element.
    let sink = "fakesink async=false";
    for call in [
        format!("{silence} ! {sink} {voice} ! {sink}"),
        format!(
            "siprec name=rec recorder={recorder} stop-timeout=0 {silence} ! rec.sink_0 rec.src_0 ! {sink} \
             {voice} ! rec.sink_1 rec.src_1 ! {sink}"
        ),
        format!("{silence} ! siprectee ! {sink} {voice} ! siprectee ! {sink}"),
    ] {
        let pipeline = launch(&call).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        assert!(pipeline.send_event(gst::event::Eos::new()), "{call}");
        assert_eq!(run(&pipeline).0, None, "{call}");
    }
}

#[test]
fn an_in_place_element_downstream_works_on_the_calls_own_buffer() {
    for element in ["siprec auto-start=false name=e", "siprectee name=e"] {
        let (sink, source) =
            if element.starts_with("siprectee") { ("sink", "src") } else { ("sink_0", "src_0") };
        // With single-segment, identity writes the timestamp into the buffer itself: it copies one that is not writable.
        let call = launch(&format!(
            "{element} appsrc name=in caps=\"{PCMU}\" format=time ! e.{sink} e.{source} \
             ! identity single-segment=true ! appsink name=out sync=false"
        ))
        .unwrap();
        call.set_state(gst::State::Playing).unwrap();
        let buffer = common::rtp(1);
        let address = buffer.as_ptr() as usize;
        let input = call.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        input.push_buffer(buffer).unwrap();
        input.end_of_stream().unwrap();
        let output = call.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let sample = output.pull_sample().unwrap();
        assert_eq!(sample.buffer().unwrap().as_ptr() as usize, address, "{element}");
        call.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn srtpdec_behind_our_elements_decrypts_every_packet() {
    let key = "012345678901234567890123456789012345678901234567890123456789";
    let srtp = format!(
        "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0,ssrc=(uint)7,\
         srtp-key=(buffer){key},srtp-cipher=(string)aes-128-icm,srtp-auth=(string)hmac-sha1-80,\
         srtcp-cipher=(string)aes-128-icm,srtcp-auth=(string)hmac-sha1-80"
    );
    for element in ["siprec auto-start=false name=e", "siprectee name=e e.rec_0 ! fakesink async=false"] {
        let (sink, source) =
            if element.starts_with("siprectee") { ("sink", "src") } else { ("sink_0", "src_0") };
        let call = launch(&format!(
            "{element} {VOICE} ssrc=7 ! enc.rtp_sink_0 srtpenc name=enc key={key} enc.rtp_src_0 \
             ! capssetter caps=\"{srtp}\" ! e.{sink} e.{source} ! srtpdec name=dec \
             ! fakesink name=out signal-handoffs=true sync=false"
        ))
        .unwrap();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = count.clone();
        call.by_name("out").unwrap().connect("handoff", false, move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            None
        });
        assert_eq!(run(&call).0, None, "{element}");
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 25, "{element}");
    }
}

#[test]
fn pads_come_and_go_while_the_call_plays() {
    let (recorder, _socket) = silent_recorder();
    let voice = VOICE.replace("num-buffers=25", "num-buffers=-1");
    let call = launch(&format!(
        "siprec name=rec recorder={recorder} stop-timeout=0 {voice} \
         ! rec.sink_0 rec.src_0 ! fakesink name=stays signal-handoffs=true sync=false"
    ))
    .unwrap();
    let (tell, heard) = std::sync::mpsc::sync_channel(1);
    call.by_name("stays").unwrap().connect("handoff", false, move |_| {
        let _ = tell.try_send(());
        None
    });
    let rec = call.by_name("rec").unwrap();
    call.set_state(gst::State::Playing).unwrap();
    for round in 0..20 {
        let sink = rec.request_pad_simple("sink_%u").unwrap();
        assert_eq!(sink.name(), "sink_1", "round {round}");
        let guest = gst::parse::bin_from_description(&voice, true).unwrap();
        let out = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
        call.add_many([guest.upcast_ref(), &out]).unwrap();
        rec.static_pad("src_1").unwrap().link(&out.static_pad("sink").unwrap()).unwrap();
        guest.static_pad("src").unwrap().link(&sink).unwrap();
        out.sync_state_with_parent().unwrap();
        guest.sync_state_with_parent().unwrap();
        heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        // Locked, or the pipeline may set them playing again while it is on its way there itself.
        guest.set_locked_state(true);
        out.set_locked_state(true);
        guest.set_state(gst::State::Null).unwrap();
        rec.release_request_pad(&sink);
        out.set_state(gst::State::Null).unwrap();
        call.remove_many([guest.upcast_ref(), &out]).unwrap();
        assert!(rec.static_pad("src_1").is_none());
        heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    }
    call.set_state(gst::State::Null).unwrap();
}
