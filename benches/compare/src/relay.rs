//! The program that is measured, where it is not rtpengine.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, bail, ensure};
use gst::prelude::*;

use crate::bare;
use crate::orders::{Orders, say};
use crate::pipelines::{self, Targets};
use crate::row::Row;
use crate::traffic::Mode;

/// Says `ready`, is told `call PORT…`, `recording PORT…`, `recorder URI` and `start`, and answers `in PORT…` once it relays;
/// until `end`.
///
/// # Errors
/// When the pipeline does not play.
pub fn run(row: Row, mode: Mode, streams: usize) -> Result<()> {
    gst::init()?;
    for element in row.elements() {
        gst::ElementFactory::make(element).build().with_context(|| format!("no element {element}"))?;
    }
    say("ready")?;
    let orders = Orders::listen();
    let mut targets = Targets::default();
    loop {
        let order = orders.next().context("no start")?;
        match order.name() {
            "call" => targets.call = order.numbers()?,
            "recording" => targets.recording = order.numbers()?,
            "recorder" => targets.recorder = order.word(1).to_owned(),
            "start" => break,
            name => bail!("what is {name}?"),
        }
    }
    match row {
        Row::Loop | Row::LoopCopy => bare::run(row, mode, streams, &targets, &orders),
        _ => relay(row, mode, streams, targets, &orders),
    }
}

fn relay(row: Row, mode: Mode, streams: usize, mut targets: Targets, orders: &Orders) -> Result<()> {
    if matches!(row, Row::Ts | Row::TsTee) {
        targets.input = free_ports(streams)?;
    }
    let description = pipelines::describe(row, mode, streams, &targets);
    let pipeline = gst::parse::launch(&description)?.downcast::<gst::Pipeline>();
    let pipeline = pipeline.ok().context("no pipeline")?;
    if row == Row::StockTee || row == Row::TsTee {
        make_writable(&pipeline)?;
    }
    if !row.agent().is_empty() {
        give_agent(&pipeline, row.agent())?;
    }
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    bus.set_sync_handler(|_, message| {
        complain(message);
        gst::BusSyncReply::Drop
    });
    pipeline.set_state(gst::State::Playing)?;
    let mut ports = Vec::new();
    for stream in 0..streams {
        let source = pipeline.by_name(&format!("in{stream}")).context("no source")?;
        let port = source.property::<i32>("port");
        ensure!(port > 0, "stream {stream} listens nowhere");
        ports.push(port.to_string());
    }
    say(&format!("in {}", ports.join(" ")))?;
    while orders.next().is_some_and(|order| order.name() != "end") {}
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

/// Tells of what goes wrong: numbers of a row that fails say nothing.
fn complain(message: &gst::MessageRef) {
    match message.view() {
        gst::MessageView::Error(error) => eprintln!("{}: {:?}", error.error(), error.debug()),
        gst::MessageView::Element(element) => {
            let structure = element.structure().filter(|structure| structure.name().ends_with("-failed"));
            structure.into_iter().for_each(|structure| eprintln!("{structure}"));
        }
        _ => {}
    }
}

/// `srtpdec` works in place, and behind a `tee` it ends the call, since the buffer is not its own (GStreamer 1.22).
fn make_writable(pipeline: &gst::Pipeline) -> Result<()> {
    for element in pipeline.iterate_all_by_element_factory_name("srtpdec").into_iter() {
        let pad = element?.static_pad("rtp_sink").context("srtpdec has a pad")?;
        pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                buffer.make_mut();
            }
            gst::PadProbeReturn::Ok
        });
    }
    Ok(())
}

/// Gives all recordings one agent, which is told `properties`.
fn give_agent(pipeline: &gst::Pipeline, properties: &[(&str, &str)]) -> Result<()> {
    let kind = gst::glib::Type::from_name("GstSiprecAgent").context("no agent")?;
    let agent = gst::glib::Object::with_type(kind);
    for (name, value) in properties {
        agent.set_property_from_str(name, value);
    }
    for element in pipeline.iterate_all_by_element_factory_name("siprec").into_iter() {
        element?.set_property("agent", &agent);
    }
    Ok(())
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let sockets = (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect()
}
