//! A call that is recorded while everything is captured, with something planted in every source.

use std::time::{Duration, Instant};

use gst::prelude::*;
use siprec_media::dtls::{Association, AssociationEvent};
use siprec_model::SrtpKeys;

use crate::captured::Captured;
use crate::common::call::{Call, timestamp};
use crate::common::init;
use crate::common::recorder::{Recorder, Script};
use crate::common::srtp::{Decoder, srtp_caps};
use crate::secret::{Plants, Secret};

/// Packets that each party says.
pub(crate) const PACKETS: u16 = 10;

/// In each source something else is planted, by what the application says there by itself.
struct Planted {
    /// A header of the INVITE, which the agent logs.
    agent: Plants,
    /// A field of the stream's caps.
    events: Plants,
    /// A text that differs from its default.
    graph: Plants,
    /// A line of our own.
    log: Plants,
    /// The name of the recording.
    messages: Plants,
    /// A text.
    properties: Plants,
    /// A party's number: each has a session of its own.
    stats: Plants,
}

pub(crate) struct Scene {
    bin: Alone,
    captured: Captured,
    planted: Planted,
    pub(crate) recorder: Recorder,
    pub(crate) call: Call,
    agent: gst::glib::Object,
}

/// Has the element alone in it, so that the graph has nothing of anybody else.
struct Alone(gst::Bin);

/// An element that leaves its bus, and with it the last of messages that have its pads, waits for itself.
impl Drop for Alone {
    fn drop(&mut self) {
        for element in self.0.children() {
            if let Some(bus) = element.bus() {
                element.set_state(gst::State::Null).unwrap();
                element.set_bus(None::<&gst::Bus>);
                bus.set_flushing(true);
            }
        }
    }
}

impl Scene {
    /// A call that begins to be recorded, encrypted or not.
    pub(crate) fn begin(script: Script, is_secured: bool, set: impl FnOnce(&gst::Element)) -> Self {
        init();
        let planted = Planted {
            agent: Plants::in_all(),
            events: Plants::in_text(),
            graph: Plants::in_text(),
            log: Plants::in_all(),
            messages: Plants::in_text(),
            properties: Plants::in_text(),
            stats: Plants::in_text(),
        };
        let captured = Captured::begin();
        let recorder = Recorder::start(script);
        let agent = gst::glib::Object::with_type(gst::glib::Type::from_name("GstSiprecAgent").unwrap());
        let bin = Alone(gst::Bin::new());
        let call = Call::new(&format!("{};transport=udp", recorder.uri()), |siprec| {
            bin.0.add(siprec).unwrap();
            siprec.set_property("agent", &agent);
            siprec.set_property_from_str("session-mode", "per-party");
            siprec.set_property("dn", planted.stats.text());
            siprec.set_property("recording-id", planted.messages.text());
            siprec.set_property("call-uuid", planted.graph.text());
            siprec.set_property("record-dn", planted.properties.text());
            let headers = gst::Structure::builder("headers").field("X-Plant", planted.agent.text());
            siprec.set_property("extra-headers", headers.build());
            set(siprec);
        });
        let mut caps = srtp_caps(None);
        let fields = caps.get_mut().unwrap().structure_mut(0).unwrap();
        fields.set("further", planted.events.text());
        if !is_secured {
            fields.set_name("application/x-rtp");
        }
        captured.listen(&call.bus);
        for (inlet, outlet) in &call.parties {
            [&inlet.pad, &outlet.pad].into_iter().for_each(|pad| captured.watch(pad));
            inlet.begin_with(&caps);
        }
        Self { bin, captured, planted, recorder, call, agent }
    }

    /// Ends the call, and holds that none of these is anywhere. The packets that the recorder has got first in a session are
    /// as they were said, by keys that are made caps of last, since GStreamer logs caps.
    pub(crate) fn end<K>(
        self,
        secrets: &[Secret],
        heard: &[(Vec<Vec<u8>>, K)],
        caps: impl Fn(&K) -> gst::Caps,
    ) {
        let Self { bin, captured, planted, call, agent, .. } = self;
        // The application's thread hears of a session later than the recorder.
        (0..2).for_each(|_| drop(call.message("siprec-started")));
        captured.log(&planted.log.text());
        captured.graph(&bin.0);
        let pads = call.siprec.pads().into_iter().map(gst::Pad::upcast);
        for object in pads.chain([call.siprec.clone().upcast(), agent.clone()]) {
            let names = captured.properties(&object);
            assert!(names.iter().any(|name| ["name", "user-agent"].contains(&name.as_str())), "{names:?}");
        }
        captured.property("stats", call.siprec.upcast_ref(), "stats");
        call.end();
        assert!(agent.emit_by_name::<bool>("shutdown", &[&10_000_000_000_u64]));
        // Its reports come last, by a thread of their own.
        (0..2).for_each(|_| drop(call.message("siprec-report")));
        let Planted { agent, events, graph, log, messages, properties, stats } = &planted;
        let planted = [
            ("agent", agent),
            ("events", events),
            ("graph", graph),
            ("log", log),
            ("messages", messages),
            ("properties", properties),
            ("stats", stats),
        ];
        captured.end().ensure_silent(&planted, secrets);
        // Judged by GStreamer's elements, which log keys themselves, and so speak last.
        for (packets, keys) in heard {
            let decoder = Decoder::new(&caps(keys));
            for (number, packet) in (0..).zip(packets) {
                assert_eq!(timestamp(&decoder.unprotect(packet).unwrap()), number * 160);
            }
        }
    }
}

/// Has two ends shake hands, or one with somebody far: `carry` takes their datagrams and brings others, until all have keys.
pub(crate) fn shake_hands<const ENDS: usize>(
    mut ends: [Association; ENDS],
    mut carry: impl FnMut(&mut [Association; ENDS]),
) -> [SrtpKeys; ENDS] {
    let mut keys = [const { None }; ENDS];
    let end = Instant::now() + Duration::from_secs(20);
    while keys.iter().any(Option::is_none) {
        assert!(Instant::now() < end, "{ends:?}");
        carry(&mut ends);
        for (association, keys) in ends.iter_mut().zip(&mut keys) {
            association.handle_timeout(Instant::now());
            if let Some(event) = association.poll_event() {
                let AssociationEvent::Secured(secured) = event else { panic!("{event:?}") };
                *keys = Some(*secured);
            }
        }
        std::thread::yield_now();
    }
    // What the other end has not got yet.
    carry(&mut ends);
    keys.map(Option::unwrap)
}
