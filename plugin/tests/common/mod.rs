//! What the tests of the elements share: a loaded plugin, RTP packets, and pads that note what reaches them.
#![allow(dead_code, missing_docs, reason = "each test binary uses its own part")]

pub(crate) mod call;
pub(crate) mod leaks;
pub(crate) mod recorder;
pub(crate) mod srtp;
pub(crate) mod tee;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use gst::prelude::*;

pub(crate) const PCMU: &str = "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0";

/// Initialises GStreamer with our plugin. Criticals end the test.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gst::glib::log_set_always_fatal(
            gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_ERROR,
        );
        gstsiprec::plugin_register_static().unwrap();
    });
}

pub(crate) fn caps() -> gst::Caps {
    init();
    PCMU.parse().unwrap()
}

/// A port of this host that nobody answers on, and the socket that keeps it so.
pub(crate) fn silent_recorder() -> (String, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let uri = format!("sip:127.0.0.1:{}", socket.local_addr().unwrap().port());
    (uri, socket)
}

/// A `siprec` that records nothing.
pub(crate) fn idle_siprec() -> gst::Element {
    init();
    gst::ElementFactory::make("siprec").property("auto-start", false).build().unwrap()
}

/// A `siprec` whose taps run, for a recorder that never answers.
pub(crate) fn tapping_siprec() -> (gst::Element, UdpSocket) {
    init();
    let (uri, socket) = silent_recorder();
    (gst::ElementFactory::make("siprec").property("recorder", uri).build().unwrap(), socket)
}

pub(crate) fn siprectee() -> gst::Element {
    init();
    gst::ElementFactory::make("siprectee").build().unwrap()
}

/// What NULL → READY says of a `siprec` on which `set` was called.
pub(crate) fn ready(set: impl FnOnce(&gst::Element)) -> Result<(), String> {
    init();
    let element = gst::ElementFactory::make("siprec").build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    set(&element);
    let changed = element.set_state(gst::State::Ready);
    let error = bus.pop_filtered(&[gst::MessageType::Error]).map(|message| match message.view() {
        gst::MessageView::Error(error) => error.error().to_string(),
        _ => unreachable!(),
    });
    element.set_state(gst::State::Null).unwrap();
    element.set_bus(None::<&gst::Bus>);
    assert_eq!(changed.is_err(), error.is_some(), "an ERROR goes with a refused state, and only with it");
    error.map_or(Ok(()), Err)
}

/// An RTP packet of 20 ms G.711.
pub(crate) fn rtp_bytes(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(0xC0FF_EE00_u32.to_be_bytes());
    packet.extend([0x55; 160]);
    packet
}

/// The same of this source.
pub(crate) fn rtp_bytes_of(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp_bytes(sequence);
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    packet
}

/// An RTP packet of a stream that can be told from any other: its SSRC and every byte of its payload say which it is.
pub(crate) fn marked_rtp(mark: u8, payload_type: u8, sequence: u16) -> gst::Buffer {
    let mut packet = rtp_bytes(sequence);
    packet[1] = payload_type;
    packet[8..12].fill(mark);
    packet[12..].fill(mark);
    gst::Buffer::from_mut_slice(packet)
}

pub(crate) fn rtp(sequence: u16) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(rtp_bytes(sequence));
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(20 * u64::from(sequence)));
    buffer
}

/// What reached a pad.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Address of each buffer, and whether it was writable (held by nobody else).
    pub(crate) buffers: Vec<(usize, bool)>,
    pub(crate) bytes: Vec<Vec<u8>>,
    /// Address and length of each list.
    pub(crate) lists: Vec<(usize, usize)>,
    pub(crate) events: Vec<gst::EventType>,
}

/// A sink pad of the test, behind an element's source pad.
pub(crate) struct Outlet {
    pub(crate) pad: gst::Pad,
    seen: Arc<Mutex<Seen>>,
    answer: Arc<Mutex<Result<gst::FlowSuccess, gst::FlowError>>>,
}

impl Outlet {
    /// Behind `source`.
    pub(crate) fn behind(source: &gst::Pad) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let answer = Arc::new(Mutex::new(Ok(gst::FlowSuccess::Ok)));
        let (of_buffer, of_list, of_event) = (seen.clone(), seen.clone(), seen.clone());
        let (to_buffer, to_list) = (answer.clone(), answer.clone());
        let any = gst::Caps::new_any();
        let (direction, presence) = (gst::PadDirection::Sink, gst::PadPresence::Always);
        let template = gst::PadTemplate::new("outlet", direction, presence, &any).unwrap();
        let pad = gst::Pad::builder_from_template(&template)
            .chain_function(move |_, _, mut buffer| {
                let address = buffer.as_ptr() as usize;
                let writable = buffer.get_mut().is_some();
                let mut seen = of_buffer.lock().unwrap();
                seen.buffers.push((address, writable));
                seen.bytes.push(buffer.map_readable().unwrap().to_vec());
                *to_buffer.lock().unwrap()
            })
            .chain_list_function(move |_, _, list| {
                of_list.lock().unwrap().lists.push((list.as_ptr() as usize, list.len()));
                *to_list.lock().unwrap()
            })
            .event_function(move |pad, parent, event| {
                of_event.lock().unwrap().events.push(event.type_());
                gst::Pad::event_default(pad, parent, event)
            })
            .build();
        pad.set_active(true).unwrap();
        source.link(&pad).unwrap();
        Self { pad, seen, answer }
    }

    /// Behind `source`, without keeping anything.
    pub(crate) fn ignoring(source: &gst::Pad) -> gst::Pad {
        Self::counting(source).0
    }

    /// The same, and how many buffers came.
    pub(crate) fn counting(source: &gst::Pad) -> (gst::Pad, Arc<AtomicUsize>) {
        let counted = Arc::new(AtomicUsize::new(0));
        let of_pad = counted.clone();
        let any = gst::Caps::new_any();
        let (direction, presence) = (gst::PadDirection::Sink, gst::PadPresence::Always);
        let template = gst::PadTemplate::new("counting", direction, presence, &any).unwrap();
        let pad = gst::Pad::builder_from_template(&template)
            .chain_function(move |_, _, _| {
                of_pad.fetch_add(1, Ordering::Relaxed);
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        pad.set_active(true).unwrap();
        source.link(&pad).unwrap();
        (pad, counted)
    }

    /// The bytes of each buffer so far.
    pub(crate) fn bytes(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().bytes.clone()
    }

    /// Each event so far.
    pub(crate) fn events(&self) -> Vec<gst::EventType> {
        self.seen.lock().unwrap().events.clone()
    }

    /// What it answers from now on.
    pub(crate) fn answer(&self, answer: Result<gst::FlowSuccess, gst::FlowError>) {
        *self.answer.lock().unwrap() = answer;
    }

    /// What came since the last time.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A source pad of the test, before an element's sink pad.
pub(crate) struct Inlet {
    pub(crate) pad: gst::Pad,
    events: Arc<Mutex<Vec<gst::EventType>>>,
}

impl Inlet {
    /// Before `sink`, with nothing sent yet.
    pub(crate) fn before(sink: &gst::Pad) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let noted = events.clone();
        let pad = gst::Pad::builder(gst::PadDirection::Src)
            .name("inlet")
            .event_function(move |_, _, event| {
                noted.lock().unwrap().push(event.type_());
                true
            })
            .query_function(|pad, parent, query| {
                if let gst::QueryViewMut::Latency(latency) = query.view_mut() {
                    latency.set(true, gst::ClockTime::from_mseconds(7), gst::ClockTime::NONE);
                    return true;
                }
                gst::Pad::query_default(pad, parent, query)
            })
            .build();
        pad.set_active(true).unwrap();
        pad.link(sink).unwrap();
        Self { pad, events }
    }

    /// Sends what precedes the first packet.
    pub(crate) fn begin(&self) {
        self.begin_with(&caps());
    }

    pub(crate) fn begin_with(&self, caps: &gst::Caps) {
        assert!(self.pad.push_event(gst::event::StreamStart::new("test")));
        assert!(self.pad.push_event(gst::event::Caps::new(caps)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.pad.push_event(gst::event::Segment::new(&segment)));
    }

    /// The upstream events that came since the last time.
    pub(crate) fn take_events(&self) -> Vec<gst::EventType> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

/// One stream through a playing element.
pub(crate) struct Way {
    pub(crate) element: gst::Element,
    pub(crate) inlet: Inlet,
    pub(crate) outlet: Outlet,
}

impl Way {
    /// Through `sink_0` of a `siprec`, or the `sink` of a `siprectee`.
    pub(crate) fn through(element: gst::Element) -> Self {
        let (sink, source) = match element.static_pad("sink") {
            Some(sink) => (sink, element.static_pad("src").unwrap()),
            None => {
                let sink = element.request_pad_simple("sink_%u").unwrap();
                let name = sink.name().replace("sink", "src");
                (sink, element.static_pad(&name).unwrap())
            }
        };
        let (inlet, outlet) = (Inlet::before(&sink), Outlet::behind(&source));
        element.set_state(gst::State::Playing).unwrap();
        Self { element, inlet, outlet }
    }

    pub(crate) fn push(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.inlet.pad.push(buffer)
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

/// Every element that a call may run through.
pub(crate) fn every_way() -> Vec<Way> {
    let (tapping, _) = tapping_siprec();
    let tee = siprectee();
    let branch = tee.request_pad_simple("rec_%u").unwrap();
    let sink = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
    branch.link(&sink.static_pad("sink").unwrap()).unwrap();
    sink.set_state(gst::State::Playing).unwrap();
    // The branch's sink lives as long as its link; the test's process ends soon.
    std::mem::forget(sink);
    [idle_siprec(), tapping, siprectee(), tee].into_iter().map(Way::through).collect()
}

/// Runs a pipeline until EOS or an error; answers the error's text and every element message.
pub(crate) fn run(pipeline: &gst::Pipeline) -> (Option<String>, Vec<gst::Structure>) {
    let bus = pipeline.bus().unwrap();
    let mut messages = Vec::new();
    let started = pipeline.set_state(gst::State::Playing);
    let deadline = Instant::now() + Duration::from_secs(if started.is_ok() { 30 } else { 0 });
    let mut error = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(message) = bus.timed_pop(gst::ClockTime::from_nseconds(left.as_nanos() as u64)) else {
            error = error.or_else(|| Some(format!("it does not end, {started:?}")));
            break;
        };
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(fault) => {
                error = Some(fault.error().to_string());
                break;
            }
            gst::MessageView::Element(element) => messages.extend(element.structure().map(ToOwned::to_owned)),
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (error, messages)
}

/// A pipeline from its description.
pub(crate) fn launch(description: &str) -> Result<gst::Pipeline, gst::glib::Error> {
    init();
    gst::parse::launch(description).map(|element| element.downcast().unwrap())
}
