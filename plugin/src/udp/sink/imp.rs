//! The element itself: pad, states, events.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_net::gio;

use super::super::batch::{self, Together};
use super::super::fault::{OpenFault, SendFault};
use super::super::hub::Hub;
use super::super::{CAT, any_template};
use super::outlet::{Lost, Outlet};
use super::pace::Pace;
use super::settings::{HostPort, Settings};
use super::{actions, properties};
use crate::packet::with_bytes;
use crate::sync::lock;
use crate::trail::{self, Way};

/// Lock order: `opened`, then `settings`. Neither is held while a message is posted.
///
/// It has no preroll, so it is no `GstBaseSink`: one that was paused before its source would block the source's thread.
pub struct SiprecUdpSink {
    pad: gst::Pad,
    settings: Mutex<Settings>,
    opened: Mutex<Option<Opened>>,
    syncs: AtomicBool,
    pace: Pace,
    /// EOS that came before PLAYING, or that is over.
    ended: Mutex<Ended>,
}

/// What it has from READY on.
#[derive(Debug)]
struct Opened {
    outlet: Outlet,
    /// Last, so that the threads end after all that they may still use.
    hub: Arc<Hub>,
}

#[derive(Debug, Default)]
struct Ended {
    plays: bool,
    /// The number of the event.
    eos: Option<gst::Seqnum>,
    is_told: bool,
}

#[glib::object_subclass]
impl ObjectSubclass for SiprecUdpSink {
    const NAME: &'static str = "GstSiprecUdpSink";
    type Type = super::super::SiprecUdpSink;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        // The class has its template: it installed it itself.
        #[expect(clippy::expect_used)]
        let template = class.pad_template("sink").expect("a class has the templates that it installed");
        let pad = gst::Pad::builder_from_template(&template)
            .chain_function(|_, parent, buffer| with(parent, |sink| sink.take(&buffer)))
            .chain_list_function(|_, parent, list| with(parent, |sink| sink.take_list(&list)))
            .event_function(|pad, parent, event| {
                let sink = parent.and_then(|parent| parent.downcast_ref::<super::super::SiprecUdpSink>());
                sink.is_some_and(|sink| sink.imp().hear(pad, event))
            })
            .build();
        Self {
            pad,
            settings: Mutex::default(),
            opened: Mutex::default(),
            syncs: AtomicBool::new(false),
            pace: Pace::default(),
            ended: Mutex::default(),
        }
    }
}

/// A pad without its element has nowhere to send.
fn with(
    parent: Option<&gst::Object>,
    take: impl FnOnce(&SiprecUdpSink) -> Result<gst::FlowSuccess, gst::FlowError>,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let sink = parent.and_then(|parent| parent.downcast_ref::<super::super::SiprecUdpSink>());
    sink.map_or(Err(gst::FlowError::Flushing), |sink| take(sink.imp()))
}

impl ObjectImpl for SiprecUdpSink {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::all()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(actions::signals);
        &SIGNALS
    }

    fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let set = {
            let mut settings = lock(&self.settings);
            let set = settings.set(pspec.name(), value);
            self.syncs.store(settings.sync, Ordering::Relaxed);
            set
        };
        let done = set.and_then(|()| match pspec.name() {
            "host" | "port" | "clients" => self.renew_clients(),
            _ => Ok(()),
        });
        if let Err(fault) = done {
            gst::warning!(CAT, imp = self, "{} is not used: {fault}", pspec.name());
        }
    }

    fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let value = match pspec.name() {
            "used-socket" => Some(self.used_socket().to_value()),
            "stats" => Some(self.stats().to_value()),
            name => lock(&self.settings).value(name),
        };
        value.unwrap_or_else(|| pspec.default_value().clone())
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_element_flags(gst::ElementFlags::SINK);
        // A new element has no pad of this name.
        let _ = element.add_pad(&self.pad);
    }
}

impl GstObjectImpl for SiprecUdpSink {}

impl ElementImpl for SiprecUdpSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "UDP sender of many streams",
                "Sink/Network",
                "Sends a stream of UDP packets as they come, and never ends it because somebody does not take them",
                "The gst-siprec authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> =
            LazyLock::new(|| any_template("sink", gst::PadDirection::Sink));
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => {
                if let Err(fault) = self.open() {
                    gst::element_imp_error!(self, gst::ResourceError::OpenWrite, ("{fault}"));
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::ReadyToPaused => self.pace.set_flushing(false),
            gst::StateChange::PausedToPlaying => {
                let element = self.obj();
                self.pace.set_time(element.clock().zip(element.base_time()));
            }
            gst::StateChange::PlayingToPaused => {
                self.pace.set_time(None);
                lock(&self.ended).plays = false;
            }
            gst::StateChange::PausedToReady => self.pace.set_flushing(true),
            _ => {}
        }
        let changed = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToPlaying => {
                lock(&self.ended).plays = true;
                self.tell_end();
            }
            gst::StateChange::PausedToReady => *lock(&self.ended) = Ended::default(),
            gst::StateChange::ReadyToNull => {
                let closed = lock(&self.opened).take();
                drop(closed);
            }
            _ => {}
        }
        Ok(changed)
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Latency(latency) = event.view() {
            self.pace.set_latency(latency.latency());
        }
        self.parent_send_event(event)
    }
}

impl SiprecUdpSink {
    fn open(&self) -> Result<(), OpenFault> {
        let settings = lock(&self.settings).clone();
        let hub = Hub::shared()?;
        let segments = siprec_engine::datagrams::has_segmentation_offload();
        let outlet = Outlet::open(&settings, &hub, segments)?;
        *lock(&self.opened) = Some(Opened { outlet, hub });
        Ok(())
    }

    /// A packet: it leaves before this returns, or with those that come in the same burst.
    fn take(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.syncs.load(Ordering::Relaxed) {
            self.pace.wait(buffer.dts_or_pts())?;
        }
        trail::pass(|way| self.show(way));
        let sent = with_bytes(buffer, |parts| {
            if batch::keep(&self.obj(), parts) {
                return None;
            }
            match parts {
                [packet] => self.send(packet),
                parts => self.send(&parts.concat()),
            }
        });
        let lost = sent.unwrap_or_else(|| lock(&self.opened).as_mut()?.outlet.lose());
        self.tell(lost);
        Ok(gst::FlowSuccess::Ok)
    }

    fn take_list(&self, list: &gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
        let _together = Together::begin();
        for buffer in list.iter() {
            self.take(buffer)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// What memory a packet needs here.
    fn show(&self, way: &mut Way) {
        way.element(&*self.obj());
        way.value(self);
        if let Some(opened) = &*lock(&self.opened) {
            opened.outlet.show(way);
        }
    }

    fn send(&self, packet: &[u8]) -> Option<Lost> {
        lock(&self.opened).as_mut()?.outlet.send(packet)
    }

    /// Sends packets that have waited for each other; each is a part of `bytes`.
    pub(crate) fn send_all(&self, bytes: &[u8], packets: &[Range<usize>]) {
        let lost = lock(&self.opened).as_mut().and_then(|opened| opened.outlet.send_all(bytes, packets));
        self.tell(lost);
    }

    fn tell(&self, lost: Option<Lost>) {
        let Some(Lost { fault, client, more }) = lost else { return };
        let what = match fault {
            SendFault::Refused => "nobody listens there",
            SendFault::Unreachable => "there is no way there",
            SendFault::BufferFull => "the socket's buffer is full",
            SendFault::NoBuffers => "the system has no room",
            SendFault::TooLarge => "a packet is too large for a datagram",
            SendFault::NotPermitted => "it is forbidden",
            SendFault::Other => "a packet cannot be read or sent",
        };
        gst::element_imp_warning!(
            self,
            gst::ResourceError::Write,
            ("Packets to {client} are lost, {what}{more}")
        );
    }

    /// Whether the event was taken.
    fn hear(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::StreamStart(start) => {
                let message = gst::message::StreamStart::builder().src(&*self.obj()).seqnum(event.seqnum());
                let message = match start.group_id() {
                    Some(group) => message.group_id(group),
                    None => message,
                };
                let _ = self.obj().post_message(message.build());
            }
            gst::EventView::Segment(segment) => self.pace.set_segment(segment.segment()),
            gst::EventView::FlushStart(_) => self.pace.set_flushing(true),
            gst::EventView::FlushStop(_) => {
                self.pace.set_flushing(false);
                let mut ended = lock(&self.ended);
                *ended = Ended { plays: ended.plays, ..Ended::default() };
            }
            gst::EventView::Eos(_) => {
                {
                    let mut ended = lock(&self.ended);
                    ended.eos = Some(event.seqnum());
                    ended.is_told = false;
                }
                self.tell_end();
                return true;
            }
            _ => {}
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// Says that the stream has ended, once, and in PLAYING only.
    fn tell_end(&self) {
        let told = {
            let mut ended = lock(&self.ended);
            let due = ended.plays && !ended.is_told;
            ended.is_told |= due;
            ended.eos.filter(|_| due)
        };
        if let Some(seqnum) = told {
            let message = gst::message::Eos::builder().src(&*self.obj()).seqnum(seqnum).build();
            let _ = self.obj().post_message(message);
        }
    }

    /// Lets the clients of the settings be those of the stream, if it is open.
    fn renew_clients(&self) -> Result<(), OpenFault> {
        let settings = lock(&self.settings).clone();
        match &mut *lock(&self.opened) {
            Some(Opened { outlet, hub }) => outlet.set_clients(&settings, hub),
            None => Ok(()),
        }
    }

    pub(super) fn change_clients(&self, change: impl FnOnce(&mut Vec<HostPort>)) {
        change(&mut lock(&self.settings).clients);
        if let Err(fault) = self.renew_clients() {
            gst::warning!(CAT, imp = self, "the clients are as before: {fault}");
        }
        self.obj().notify("clients");
    }

    fn used_socket(&self) -> Option<gio::Socket> {
        lock(&self.opened).as_mut()?.outlet.for_application()
    }

    fn stats(&self) -> gst::Structure {
        let opened = lock(&self.opened);
        let counts = opened.as_ref().map(|opened| opened.outlet.counts().clone()).unwrap_or_default();
        let stats = gst::Structure::builder("siprecudpsink-stats")
            .field("packets", counts.packets)
            .field("bytes", counts.bytes);
        SendFault::ALL
            .into_iter()
            .fold(stats, |stats, fault| stats.field(fault.as_str(), counts.lost(fault)))
            .build()
    }
}
