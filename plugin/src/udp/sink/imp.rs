//! The element itself: pad, states, events.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_net::gio;

use super::super::any_template;
use super::super::batch::{self, Together};
use super::super::fault::{OpenFault, SendFault};
use super::super::hub::Hub;
use super::clients::{Client, Clients, Found};
use super::outlet::{Lost, Outlet};
use super::pace::Pace;
use super::settings::Settings;
use super::{actions, properties};
use crate::packet::with_bytes;
use crate::sync::lock;
use crate::trail::{self, Way};

/// Most names that are looked up at once.
const MOST_LOOKED_UP: usize = 16;

/// Lock order: `opened`, then `settings`. Neither is held while a message is posted, nor while a name is looked up.
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
        match pspec.name() {
            name @ ("host" | "port" | "clients") => {
                self.set_clients(|clients| clients.set(name, value), Client::look_up);
            }
            name => {
                let mut settings = lock(&self.settings);
                settings.set(name, value);
                self.syncs.store(settings.sync, Ordering::Relaxed);
            }
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
        let clients = settings.clients.clone();
        let hub = Hub::shared()?;
        let segments = siprec_engine::datagrams::has_segmentation_offload();
        let found = clients.as_slice().iter().map(Client::look_up).collect::<Result<Vec<_>, _>>()?;
        let outlet = Outlet::open(settings.into_local()?, clients.as_slice(), &found, &hub, segments)?;
        *lock(&self.opened) = Some(Opened { outlet, hub });
        // Those that were set meanwhile.
        let news = |now: &mut Clients| {
            now.as_slice().iter().filter(|client| !clients.as_slice().contains(client)).cloned().collect()
        };
        self.set_clients(news, Client::look_up);
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

    pub(super) fn change_clients(&self, change: impl FnOnce(&mut Clients) -> Vec<Client>) {
        self.set_clients(change, Client::look_up);
        self.obj().notify("clients");
    }

    /// Lets the change be done, which answers with the clients that it names. Where the element is open it takes effect at
    /// once, but for names: each is looked up by itself, and this waits for all of them.
    fn set_clients(
        &self,
        change: impl FnOnce(&mut Clients) -> Vec<Client>,
        look_up: impl Fn(&Client) -> Result<Found, OpenFault> + Sync,
    ) {
        let named = change(&mut lock(&self.settings).clients);
        let (numeric, names): (Vec<_>, Vec<_>) = named.iter().partition(|client| client.numeric().is_some());
        let found: Vec<_> = numeric.into_iter().filter_map(Client::numeric).collect();
        self.renew(&found);
        if lock(&self.opened).is_none() {
            return;
        }
        let find = |client: &Client| match look_up(client) {
            Ok(found) => self.renew(&[found]),
            Err(fault) => self.tell_unserved(client, &fault),
        };
        for names in names.chunks(MOST_LOOKED_UP) {
            std::thread::scope(|scope| {
                let Some((last, others)) = names.split_last() else { return };
                for client in others {
                    let name = "siprecudp-name".to_owned();
                    let started = std::thread::Builder::new().name(name).spawn_scoped(scope, || find(client));
                    if started.is_err() {
                        find(client);
                    }
                }
                find(last);
            });
        }
    }

    /// Lets the clients of the settings be those of the stream, if it is open. These have been found.
    fn renew(&self, found: &[Found]) {
        let wanted;
        let faults = {
            let mut opened = lock(&self.opened);
            let Some(Opened { outlet, hub }) = &mut *opened else { return };
            wanted = lock(&self.settings).clients.clone();
            outlet.set_clients(wanted.as_slice(), found, hub)
        };
        for (client, fault) in faults {
            self.tell_unserved(client, &fault);
        }
    }

    /// Says that a client gets no packets, if it is still one.
    fn tell_unserved(&self, client: &Client, fault: &OpenFault) {
        let is_served = {
            let opened = lock(&self.opened);
            let Some(opened) = &*opened else { return };
            if !lock(&self.settings).clients.has_host_of(client) {
                return;
            }
            client.host().is_ok_and(|host| opened.outlet.serves(host))
        };
        let what = if is_served { "Packets go on to the former address of" } else { "No packets go to" };
        gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{what} {client}: {fault}"));
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::super::super::SiprecUdpSink as Element;
    use super::*;

    const HERE: Option<SocketAddr> = Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    const LONG: Duration = Duration::from_secs(60);

    /// Sets this host while the resolver is silent, until `meanwhile` has ended and what it answers with is found.
    fn while_looked_up(sink: &Element, host: &str, meanwhile: impl FnOnce() -> Option<SocketAddr>) {
        let (asked, is_asked) = mpsc::channel();
        let (answer, answered) = mpsc::channel::<Option<SocketAddr>>();
        let answered = Mutex::new(answered);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                sink.imp().set_clients(
                    |clients| clients.set("host", &host.to_value()),
                    |client| {
                        asked.send(()).unwrap();
                        let host = client.host()?.to_owned();
                        match lock(&answered).recv_timeout(LONG).unwrap() {
                            Some(address) => Ok(Found { host, address }),
                            None => Err(OpenFault::Destination { host, error: ErrorKind::NotFound.into() }),
                        }
                    },
                );
            });
            is_asked.recv_timeout(LONG).unwrap();
            answer.send(meanwhile()).unwrap();
        });
    }

    fn peer() -> (UdpSocket, u16) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(LONG)).unwrap();
        let port = peer.local_addr().unwrap().port();
        (peer, port)
    }

    fn gets(peer: &UdpSocket, expected: &[u8]) {
        let mut bytes = [0; 16];
        let size = peer.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..size], expected);
    }

    #[test]
    fn nothing_but_the_name_itself_waits_while_it_is_looked_up() {
        gst::init().unwrap();
        let sink: Element = gst::glib::Object::new();
        let [(one, one_port), (two, two_port), (three, three_port)] = [peer(), peer(), peer()];
        sink.set_property("clients", format!("127.0.0.1:{one_port},127.0.0.1:{two_port}"));
        sink.set_state(gst::State::Playing).unwrap();
        let push = |bytes: &[u8]| {
            let _ = sink.imp().take(&gst::Buffer::from_slice(bytes.to_vec())).unwrap();
        };
        push(b"both");
        while_looked_up(&sink, "slow.invalid", || {
            // Whoever is in its place gets nothing any more.
            push(b"two alone");
            sink.imp().stats();
            assert!(sink.imp().used_socket().is_some());
            sink.emit_by_name::<()>("remove", &[&"127.0.0.1", &i32::from(two_port)]);
            push(b"nobody's");
            sink.emit_by_name::<()>("add", &[&"127.0.0.1", &i32::from(two_port)]);
            push(b"two again");
            sink.set_property("port", i32::from(three_port));
            HERE
        });
        push(b"found");
        gets(&one, b"both");
        for expected in [&b"both"[..], b"two alone", b"two again", b"found"] {
            gets(&two, expected);
        }
        gets(&three, b"found");
        // One that is not wanted any more when it is found is not sent to.
        while_looked_up(&sink, "slow.invalid", || {
            sink.set_property("clients", format!("127.0.0.1:{two_port}"));
            HERE
        });
        push(b"two alone");
        assert_eq!(sink.imp().stats().get::<u64>("packets"), Ok(7));
        while_looked_up(&sink, "slow.invalid", || {
            sink.set_state(gst::State::Null).unwrap();
            HERE
        });
    }

    #[test]
    fn a_name_that_is_found_does_not_wait_for_another() {
        gst::init().unwrap();
        let sink: Element = gst::glib::Object::new();
        sink.set_property("clients", "127.0.0.1:9");
        sink.set_state(gst::State::Playing).unwrap();
        let is_served = |host: &str| lock(&sink.imp().opened).as_ref().unwrap().outlet.serves(host);
        for list in ["slow.invalid:9,good.invalid:9", "good.invalid:9,slow.invalid:9"] {
            sink.imp().set_clients(
                |clients| clients.set("clients", &list.to_value()),
                |client| {
                    let host = client.host()?.to_owned();
                    let deadline = Instant::now() + LONG;
                    while host == "slow.invalid" && !is_served("good.invalid") {
                        assert!(Instant::now() < deadline, "{list}");
                        std::thread::yield_now();
                    }
                    Ok(Found { host, address: HERE.unwrap() })
                },
            );
            assert!(is_served("slow.invalid") && is_served("good.invalid"));
            sink.set_property("clients", "127.0.0.1:9");
        }
        sink.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn a_name_that_is_lost_keeps_its_address_and_is_told_unless_it_is_not_wanted_any_more() {
        gst::init().unwrap();
        let sink: Element = gst::glib::Object::new();
        let bus = gst::Bus::new();
        sink.set_bus(Some(&bus));
        let told = || {
            let warning = bus.pop_filtered(&[gst::MessageType::Warning])?;
            let gst::MessageView::Warning(warning) = warning.view() else { return None };
            Some(warning.error().message().to_owned())
        };
        let (out, port) = peer();
        sink.set_property("clients", format!("127.0.0.1:{port}"));
        sink.set_state(gst::State::Playing).unwrap();
        let push = |bytes: &[u8]| {
            let _ = sink.imp().take(&gst::Buffer::from_slice(bytes.to_vec())).unwrap();
        };
        while_looked_up(&sink, "name.invalid", || HERE);
        push(b"found");
        while_looked_up(&sink, "name.invalid", || {
            push(b"looked up");
            None
        });
        push(b"lost");
        let warning = told().unwrap();
        assert!(
            warning.starts_with(&format!("Packets go on to the former address of name.invalid:{port}:")),
            "{warning}"
        );
        while_looked_up(&sink, "other.invalid", || {
            sink.set_property("host", "127.0.0.1");
            None
        });
        push(b"number");
        assert_eq!(told(), None);
        for expected in [&b"found"[..], b"looked up", b"lost", b"number"] {
            gets(&out, expected);
        }
        sink.set_bus(None::<&gst::Bus>);
        sink.set_state(gst::State::Null).unwrap();
    }
}
