//! A Rust application that records a call which it carries itself.
//!
//! ```text
//! cargo run --example embed -- sip:recorder.example:5060
//! ```
//!
//! Each party's RTP comes from the application (appsrc), runs through `siprec` untouched and goes back to the
//! application (appsink). It pauses the recording for a second, and ends when the recording has ended.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::Duration;

use anyhow::{Context, Result, bail};
use gst::prelude::*;

const PACKETS: u16 = 200;

fn main() -> Result<()> {
    let recorder = std::env::args().nth(1).context("usage: embed RECORDER-URI")?;
    gst::init()?;

    let rec = gst::ElementFactory::make("siprec")
        .property("recorder", &recorder)
        .property("call-uuid", "RUST-1")
        .property("dn", "1001")
        .property("other-dn", "1002")
        .build()?;
    rec.connect("state-changed", false, |arguments| {
        let element = arguments.first()?.get::<gst::Element>().ok()?;
        let (_, state) = gst::glib::EnumValue::from_value(arguments.get(1)?)?;
        if matches!(state.nick(), "stopped" | "failed") {
            let reason = arguments.get(2)?.get::<String>().ok()?;
            let over = gst::Structure::builder(state.nick()).field("reason", reason).build();
            let _ = element.post_message(gst::message::Application::new(over));
        }
        None
    });
    let pipeline = gst::Pipeline::new();
    pipeline.add(&rec)?;
    let parties = [add_party(&pipeline, &rec, 0)?, add_party(&pipeline, &rec, 1)?];
    pipeline.set_state(gst::State::Playing)?;

    let talk = std::thread::spawn({
        let rec = rec.clone();
        move || talk(&rec, &parties)
    });
    let ended = watch(&pipeline);
    talk.join().map_err(|_| anyhow::anyhow!("the talking thread panicked"))??;
    pipeline.set_state(gst::State::Null)?;
    ended
}

/// `appsrc ! rec.sink_n  rec.src_n ! appsink`
fn add_party(pipeline: &gst::Pipeline, rec: &gst::Element, index: u32) -> Result<gst_app::AppSrc> {
    let caps = gst::Caps::builder("application/x-rtp")
        .field("media", "audio")
        .field("encoding-name", "PCMU")
        .field("clock-rate", 8000)
        .field("payload", 0)
        .build();
    let input = gst_app::AppSrc::builder()
        .caps(&caps)
        .is_live(true)
        .format(gst::Format::Time)
        .do_timestamp(true)
        .build();
    let output = gst_app::AppSink::builder().sync(false).async_(false).build();
    output.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(|sink| {
                sink.pull_sample().map(|_| gst::FlowSuccess::Ok).map_err(|_| gst::FlowError::Eos)
            })
            .build(),
    );
    pipeline.add_many([input.upcast_ref::<gst::Element>(), output.upcast_ref()])?;
    input.link_pads(None, rec, Some(&format!("sink_{index}")))?;
    rec.link_pads(Some(&format!("src_{index}")), &output, None)?;
    Ok(input)
}

/// Four seconds of two tones; the third second is not recorded.
fn talk(rec: &gst::Element, parties: &[gst_app::AppSrc]) -> Result<()> {
    for sequence in 0..PACKETS {
        match sequence {
            100 => rec.emit_by_name::<()>("pause", &[]),
            150 => rec.emit_by_name::<()>("resume", &[]),
            _ => {}
        }
        for (party, input) in (0_u32..).zip(parties) {
            let mut packet = vec![0x80, 0];
            packet.extend(sequence.to_be_bytes());
            packet.extend((u32::from(sequence) * 160).to_be_bytes());
            packet.extend((0x3000 + party).to_be_bytes());
            packet.extend((0..160_u32).map(|i| if i / (4 + 4 * party) % 2 == 0 { 0x10 } else { 0x90 }));
            input.push_buffer(gst::Buffer::from_mut_slice(packet))?;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for input in parties {
        input.end_of_stream()?;
    }
    Ok(())
}

/// Prints what `siprec` reports until the recording has ended. One recorder's failure is no end: the next is tried.
fn watch(pipeline: &gst::Pipeline) -> Result<()> {
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    for message in bus.iter_timed(gst::ClockTime::from_seconds(20)) {
        match message.view() {
            gst::MessageView::Error(error) => bail!("{}", error.error()),
            gst::MessageView::Element(element) => {
                if let Some(structure) = element.structure().filter(|s| s.name().starts_with("siprec-")) {
                    println!("{structure}");
                }
            }
            gst::MessageView::Application(over) => match over.structure() {
                Some(stopped) if stopped.name() == "stopped" => return Ok(()),
                failed => bail!("the recording failed: {failed:?}"),
            },
            _ => {}
        }
    }
    bail!("no end within 20 s")
}
