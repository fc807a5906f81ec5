//! The element itself: pad, states, events.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_net::gio;

use super::super::fault::OpenFault;
use super::super::hub::Hub;
use super::super::socket::Socket;
use super::super::stream::{Counts, Make, Stream};
use super::super::{CAT, any_template};
use super::properties;
use super::settings::{Membership, Settings};
use crate::sync::lock;
use crate::sys;

/// Neither lock is held while the other is taken, nor across a push.
pub struct SiprecUdpSrc {
    pad: gst::Pad,
    settings: Mutex<Settings>,
    opened: Mutex<Option<Opened>>,
}

/// What it has from READY on.
#[derive(Debug)]
struct Opened {
    socket: Arc<Socket>,
    joined: Option<Membership>,
    counts: Arc<Counts>,
    /// From PAUSED on.
    stream: Option<Arc<Stream>>,
    /// Last, so that the threads end after all that they may still use.
    hub: Arc<Hub>,
}

#[glib::object_subclass]
impl ObjectSubclass for SiprecUdpSrc {
    const NAME: &'static str = "GstSiprecUdpSrc";
    type Type = super::super::SiprecUdpSrc;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        // The class has its template: it installed it itself.
        #[expect(clippy::expect_used)]
        let template = class.pad_template("src").expect("a class has the templates that it installed");
        let pad = gst::Pad::builder_from_template(&template)
            // The others ask for what a live source cannot do.
            .event_function(|_, _, event| {
                matches!(
                    event.type_(),
                    gst::EventType::Latency | gst::EventType::Qos | gst::EventType::Reconfigure
                )
            })
            .query_function(|pad, parent, query| {
                let source = parent.and_then(|parent| parent.downcast_ref::<super::super::SiprecUdpSrc>());
                source.is_some_and(|source| source.imp().answer(query))
                    || gst::Pad::query_default(pad, parent, query)
            })
            .build();
        Self { pad, settings: Mutex::default(), opened: Mutex::default() }
    }
}

impl ObjectImpl for SiprecUdpSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::all()
    }

    fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
        if pspec.name() == "caps"
            && let Some(stream) = self.stream()
        {
            stream.set_caps(lock(&self.settings).caps.clone());
        }
    }

    fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let opened = match pspec.name() {
            "port" => self.port().map(|port| i32::from(port).to_value()),
            "used-socket" => Some(self.used_socket().to_value()),
            "stats" => Some(self.stats().to_value()),
            _ => None,
        };
        let value = opened.or_else(|| lock(&self.settings).value(pspec.name()));
        value.unwrap_or_else(|| pspec.default_value().clone())
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_element_flags(gst::ElementFlags::SOURCE);
        // A new element has no pad of this name.
        let _ = element.add_pad(&self.pad);
    }
}

impl GstObjectImpl for SiprecUdpSrc {}

impl ElementImpl for SiprecUdpSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "UDP receiver of many streams",
                "Source/Network",
                "Receives a stream of UDP packets on a thread that all elements of its kind share",
                "The gst-siprec authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| any_template("src", gst::PadDirection::Src));
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let prepared = match transition {
            gst::StateChange::NullToReady => self.open(),
            gst::StateChange::ReadyToPaused => self.prepare(),
            gst::StateChange::PlayingToPaused => {
                self.stream().inspect(Stream::stop);
                Ok(())
            }
            gst::StateChange::PausedToReady => {
                self.stream().inspect(Stream::abandon);
                Ok(())
            }
            _ => Ok(()),
        };
        prepared.map_err(|fault| self.refuse(&fault))?;
        // Makes the pad let go of a push that is under way, and waits for it.
        let changed = self.parent_change_state(transition)?;
        match transition {
            // A live source has no packet to show before PLAYING.
            gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused => {
                return Ok(gst::StateChangeSuccess::NoPreroll);
            }
            gst::StateChange::PausedToPlaying => self.start().map_err(|fault| self.refuse(&fault))?,
            gst::StateChange::PausedToReady => {
                if let Some(opened) = &mut *lock(&self.opened) {
                    opened.stream = None;
                }
            }
            gst::StateChange::ReadyToNull => self.close(),
            _ => {}
        }
        Ok(changed)
    }

    fn send_event(&self, event: gst::Event) -> bool {
        let Some(stream) = self.stream() else { return false };
        match event.view() {
            gst::EventView::Eos(_) => stream.end(event),
            gst::EventView::FlushStart(_) => {
                let flushes = self.pad.push_event(event);
                stream.stop();
                return flushes;
            }
            gst::EventView::FlushStop(_) => {
                let flushed = {
                    let _nobody_pushes = self.pad.stream_lock();
                    stream.flushed();
                    self.pad.push_event(event)
                };
                if self.obj().current_state() == gst::State::Playing
                    && let Err(fault) = self.start()
                {
                    let _told = self.refuse(&fault);
                }
                return flushed;
            }
            // These are the stream's own to say.
            gst::EventView::StreamStart(_) | gst::EventView::Caps(_) | gst::EventView::Segment(_) => {
                return false;
            }
            _ if !event.is_downstream() => return self.parent_send_event(event),
            _ if event.is_serialized() => stream.send(event),
            _ => return self.pad.push_event(event),
        }
        true
    }
}

impl SiprecUdpSrc {
    fn stream(&self) -> Option<Arc<Stream>> {
        lock(&self.opened).as_ref()?.stream.clone()
    }

    fn refuse(&self, fault: &OpenFault) -> gst::StateChangeError {
        gst::element_imp_error!(self, gst::ResourceError::OpenRead, ("{fault}"));
        gst::StateChangeError
    }

    fn open(&self) -> Result<(), OpenFault> {
        let settings = lock(&self.settings).clone();
        let hub = Hub::shared()?;
        let (socket, joined) = settings.open(&hub)?;
        gst::debug!(CAT, imp = self, "receives at {}", socket.local);
        let is_new = socket.local.port() != settings.port;
        *lock(&self.opened) = Some(Opened { socket, joined, counts: Arc::default(), stream: None, hub });
        if is_new {
            self.obj().notify("port");
        }
        Ok(())
    }

    fn prepare(&self) -> Result<(), OpenFault> {
        let settings = lock(&self.settings).clone();
        let mut opened = lock(&self.opened);
        let Some(opened) = &mut *opened else { return Ok(()) };
        let (poller, watch) = opened.hub.poller()?;
        let make = Make {
            pad: &self.pad,
            socket: &opened.socket,
            caps: settings.caps.clone(),
            with_sender: settings.retrieve_sender_address,
            timeout: settings.silence(),
            packets: settings.packets(),
            counts: &opened.counts,
        };
        opened.stream = Some(Stream::new(make, poller, watch));
        Ok(())
    }

    fn start(&self) -> Result<(), OpenFault> {
        let does_timestamp = lock(&self.settings).do_timestamp;
        let element = self.obj();
        let time = does_timestamp.then(|| element.clock().zip(element.base_time())).flatten();
        match self.stream() {
            Some(stream) => stream.start(time).map_err(OpenFault::Start),
            None => Ok(()),
        }
    }

    fn close(&self) {
        let Some(opened) = lock(&self.opened).take() else { return };
        if let Some(joined) = &opened.joined {
            joined.leave(&opened.socket);
        }
        opened.socket.end_reading();
    }

    fn port(&self) -> Option<u16> {
        lock(&self.opened).as_ref().map(|opened| opened.socket.local.port())
    }

    fn used_socket(&self) -> Option<gio::Socket> {
        lock(&self.opened).as_ref()?.socket.for_application()
    }

    fn stats(&self) -> gst::Structure {
        let opened = lock(&self.opened);
        let read = |count: fn(&Counts) -> u64| opened.as_ref().map_or(0, |opened| count(&opened.counts));
        let kernel = opened.as_ref().and_then(|opened| sys::dropped(&opened.socket.udp)).unwrap_or(0);
        gst::Structure::builder("siprecudpsrc-stats")
            .field("packets", read(|counts| counts.packets.load(Ordering::Relaxed)))
            .field("bytes", read(|counts| counts.bytes.load(Ordering::Relaxed)))
            .field("dropped", read(|counts| counts.dropped.load(Ordering::Relaxed)))
            .field("kernel-dropped", u64::from(kernel))
            .field("errors", read(|counts| counts.errors.load(Ordering::Relaxed)))
            .field("moved", read(|counts| counts.moved.load(Ordering::Relaxed)))
            .build()
    }

    /// Answers what a source answers by itself.
    fn answer(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            gst::QueryViewMut::Scheduling(scheduling) => {
                scheduling.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
                scheduling.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            gst::QueryViewMut::Caps(asked) => {
                let caps = lock(&self.settings).caps.clone().unwrap_or_else(gst::Caps::new_any);
                let filtered = asked
                    .filter()
                    .map(|filter| filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First));
                asked.set_result(&filtered.unwrap_or(caps));
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::trail::tests::has;

    #[test]
    fn the_way_of_a_packet_to_the_socket_that_it_leaves_by_is_learnt() {
        gst::init().unwrap();
        let out = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source: crate::udp::SiprecUdpSrc =
            glib::Object::builder().property("address", "127.0.0.1").property("port", 0).build();
        let sink: crate::udp::SiprecUdpSink = glib::Object::builder()
            .property("host", "127.0.0.1")
            .property("port", i32::from(out.local_addr().unwrap().port()))
            .build();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([source.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        source.link(&sink).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let to = ("127.0.0.1", source.imp().port().unwrap());
        let stream = source.imp().stream().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let passed = [
            source.static_pad("src").unwrap().as_ptr().addr(),
            sink.static_pad("sink").unwrap().as_ptr().addr(),
            sink.as_ptr().addr(),
            std::ptr::from_ref(sink.imp()).addr(),
        ];
        while !passed.into_iter().all(|address| has(stream.trail(), address)) {
            assert!(Instant::now() < deadline, "{:?}", stream.trail());
            out.send_to(b"packet", to).unwrap();
            out.recv(&mut [0; 16]).unwrap();
        }
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
