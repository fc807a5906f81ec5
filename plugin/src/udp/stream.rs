//! One source's stream: from its socket to its pad, on a poll thread.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use gst_net::gio;

use super::batch::Together;
use super::poller::Poller;
use super::socket::Socket;
use super::watch::Watch;
use crate::pool::Pools;
use crate::sync::lock;
use crate::trail::{self, Trail};

/// Most packets of one stream in a row. Then it is the others' turn.
const MOST_AT_ONCE: usize = 16;
/// Which packet of each so many is followed on its way, to learn it: what is downstream may change.
const FOLLOWED: u64 = 256;
/// No datagram is larger.
const LARGEST: usize = 65_536;

/// Numbers of streams; 0 is none's.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a poll thread works with.
#[derive(Debug)]
pub(super) struct Desk {
    /// Where packets arrive. From here each is copied into memory that is as small as it is, which stays in the
    /// processor's cache, and any size is right.
    arrived: Box<[u8]>,
    pools: Option<Arc<Pools>>,
    /// How often the thread has looked which sockets are ready.
    pub(super) looks: u64,
}

impl Default for Desk {
    fn default() -> Self {
        Self { arrived: vec![0; LARGEST].into(), pools: None, looks: 0 }
    }
}

/// A stream lives while its element is PAUSED or PLAYING.
///
/// Lock order: the pad's stream lock, `place`, the poller's own locks. `course` is a leaf. None is held across a push but
/// the stream lock, which every push is made under (GStreamer's rule for pushes from any thread).
#[derive(Debug)]
pub(super) struct Stream {
    token: u64,
    pad: gst::Pad,
    socket: Arc<Socket>,
    with_sender: bool,
    course: Mutex<Course>,
    /// Packets are read and pushed.
    reads: AtomicBool,
    /// In which look it was served last.
    look: AtomicU64,
    home: Arc<Poller>,
    place: Mutex<Arc<Poller>>,
    watch: Arc<Watch>,
    timeout: Option<Duration>,
    counts: Arc<Counts>,
    trail: Trail,
}

/// What a source has counted since it was opened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Packets that downstream did not take because it flushes, or for which there was no memory.
    pub(super) dropped: AtomicU64,
    /// Errors of the socket.
    pub(super) errors: AtomicU64,
    /// How often it has lost its place on the shared thread.
    pub(super) moved: AtomicU64,
}

/// What comes next, besides packets.
#[derive(Debug, Default)]
struct Course {
    /// Stands for running time 0, with its clock. No timestamps without.
    time: Option<(gst::Clock, gst::ClockTime)>,
    begun: bool,
    caps: Option<gst::Caps>,
    caps_due: bool,
    segment_due: bool,
    /// The next packet does not follow on one that was pushed.
    is_discont: bool,
    events: Vec<gst::Event>,
    is_silent: bool,
    /// Until EOS; `None` for no end.
    packets_left: Option<u64>,
    eos: Option<gst::Event>,
    ended: bool,
}

/// What a stream is made of.
pub(super) struct Make<'a> {
    pub(super) pad: &'a gst::Pad,
    pub(super) socket: &'a Arc<Socket>,
    pub(super) caps: Option<gst::Caps>,
    pub(super) with_sender: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) packets: Option<u64>,
    pub(super) counts: &'a Arc<Counts>,
}

impl Stream {
    /// One that does not read yet.
    pub(super) fn new(make: Make<'_>, home: Arc<Poller>, watch: Arc<Watch>) -> Arc<Self> {
        Arc::new(Self {
            token: NEXT.fetch_add(1, Ordering::Relaxed),
            pad: make.pad.clone(),
            socket: make.socket.clone(),
            with_sender: make.with_sender,
            course: Mutex::new(Course {
                caps: make.caps,
                caps_due: true,
                segment_due: true,
                is_discont: true,
                packets_left: make.packets,
                ..Course::default()
            }),
            reads: AtomicBool::new(false),
            look: AtomicU64::new(0),
            place: Mutex::new(home.clone()),
            home,
            watch,
            timeout: make.timeout,
            counts: make.counts.clone(),
            trail: Trail::default(),
        })
    }

    pub(super) fn token(&self) -> u64 {
        self.token
    }

    pub(super) fn pad(&self) -> &gst::Pad {
        &self.pad
    }

    pub(super) fn udp(&self) -> &UdpSocket {
        &self.socket.udp
    }

    /// How many packets have come.
    pub(super) fn packets(&self) -> u64 {
        self.counts.packets.load(Ordering::Relaxed)
    }

    /// Reads from now on, unless it has ended. Timestamps are by this clock, if any.
    ///
    /// # Errors
    /// The poll thread has no room for it.
    pub(super) fn start(self: &Arc<Self>, time: Option<(gst::Clock, gst::ClockTime)>) -> io::Result<()> {
        let is_over = {
            let mut course = lock(&self.course);
            course.time = time;
            course.is_discont = true;
            if course.ended {
                return Ok(());
            }
            course.packets_left == Some(0)
        };
        let place = lock(&self.place);
        if self.reads.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if let Err(error) = place.add(self) {
            self.reads.store(false, Ordering::Release);
            return Err(error);
        }
        if is_over {
            // It need not wait for a packet to find that out.
            place.kick(self.clone());
        }
        drop(place);
        self.watch.add(self, self.timeout);
        Ok(())
    }

    /// Does no longer. A push that is under way goes on.
    pub(super) fn stop(self: &Arc<Self>) {
        let mut place = lock(&self.place);
        if !self.reads.swap(false, Ordering::AcqRel) {
            return;
        }
        place.remove(self);
        // When it starts again it has shown nothing bad yet.
        *place = self.home.clone();
        drop(place);
        self.watch.remove(self);
    }

    /// Is another poller's from now on, if it reads.
    pub(super) fn move_to(self: &Arc<Self>, poller: &Arc<Poller>) {
        let mut place = lock(&self.place);
        if !self.reads.load(Ordering::Acquire) {
            return;
        }
        place.remove(self);
        if let Err(error) = poller.add(self) {
            gst::error!(super::CAT, obj = self.pad, "cannot be moved: {error}");
        }
        *place = poller.clone();
        self.counts.moved.fetch_add(1, Ordering::Relaxed);
    }

    fn kick(self: &Arc<Self>) {
        lock(&self.place).kick(self.clone());
    }

    /// Caps from now on.
    pub(super) fn set_caps(self: &Arc<Self>, caps: Option<gst::Caps>) {
        let mut course = lock(&self.course);
        course.caps = caps;
        course.caps_due = true;
    }

    /// Ends with this event after what is being pushed.
    pub(super) fn end(self: &Arc<Self>, eos: gst::Event) {
        lock(&self.course).eos = Some(eos);
        self.kick();
    }

    /// The element goes to READY: nothing is pushed any more, not even what was asked for.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.stop();
        lock(&self.course).ended = true;
    }

    /// Sends this serialized event, between packets.
    pub(super) fn send(self: &Arc<Self>, event: gst::Event) {
        lock(&self.course).events.push(event);
        self.kick();
    }

    /// Begins anew after a flush.
    pub(super) fn flushed(&self) {
        let mut course = lock(&self.course);
        course.segment_due = true;
        course.is_discont = true;
        course.ended = false;
        course.eos = None;
    }

    /// Nothing has come for the time that `timeout` says.
    pub(super) fn tell_silence(self: &Arc<Self>) {
        lock(&self.course).is_silent = true;
        self.kick();
    }

    /// It has been moved off the shared thread, for its push has taken longer than this.
    pub(super) fn tell_moved(&self, longer: Duration) {
        let Some(element) = self.pad.parent_element() else { return };
        // Not on this thread: it has the others to serve.
        element.call_async(move |element| {
            let told = gst::Structure::builder("siprecudp-blocked").field(
                "longer-than",
                gst::ClockTime::try_from(longer).unwrap_or(gst::ClockTime::ZERO),
            );
            let _ = element.post_message(gst::message::Element::builder(told.build()).src(element).build());
            gst::element_warning!(
                element,
                gst::StreamError::Failed,
                (
                    "What follows has not taken a packet for {} ms; it is served by a thread of its own from now on",
                    longer.as_millis()
                ),
                ["a queue behind this element keeps it on the thread that all share"]
            );
        });
    }

    #[cfg(test)]
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Has the processor fetch what its packets need: its turn is next.
    pub(super) fn fetch(&self) {
        self.trail.fetch();
    }

    /// What is to be done, on a poll thread.
    pub(super) fn serve(self: &Arc<Self>, desk: &mut Desk) {
        // The first one has events before it.
        if self.packets() % FOLLOWED == 1 {
            self.trail.learn(|| {
                trail::pass(|way| {
                    way.value(&*self.socket);
                    way.value(&*self.counts);
                    way.link(&self.pad);
                });
                self.take_turn(desk);
            });
        } else {
            self.take_turn(desk);
        }
    }

    fn take_turn(self: &Arc<Self>, desk: &mut Desk) {
        let _stream = self.pad.stream_lock();
        let Some(time) = self.come_to_packets() else { return };
        if !self.reads.load(Ordering::Acquire) {
            return;
        }
        // One packet, mostly. Who is found ready in two looks running has a burst.
        let is_burst = self.look.swap(desk.looks, Ordering::Relaxed).wrapping_add(1) == desk.looks;
        let _together = is_burst.then(Together::begin);
        for _ in 0..if is_burst { MOST_AT_ONCE } else { 1 } {
            let received = if self.with_sender {
                self.socket.udp.recv_from(&mut desk.arrived).map(|(size, sender)| (size, Some(sender)))
            } else {
                self.socket.udp.recv(&mut desk.arrived).map(|size| (size, None))
            };
            match received {
                Ok((size, sender)) => {
                    if !self.push(desk, size, sender, &time) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Where packets of this socket were refused, which is told here once.
                Err(error) => {
                    self.counts.errors.fetch_add(1, Ordering::Relaxed);
                    gst::debug!(super::CAT, obj = self.pad, "receiving: {error}");
                }
            }
        }
    }

    /// Pushes all events that are due. The clock for packets, or `None` when the stream has ended.
    fn come_to_packets(self: &Arc<Self>) -> Option<Option<(gst::Clock, gst::ClockTime)>> {
        let mut course = lock(&self.course);
        if course.ended {
            return None;
        }
        if !course.begun {
            course.begun = true;
            drop(course);
            let element = self.pad.parent_element()?;
            let id = self.pad.create_stream_id(&element, None::<&str>);
            let start = gst::event::StreamStart::builder(&id).group_id(gst::GroupId::next());
            self.pad.push_event(start.build());
            course = lock(&self.course);
        }
        if std::mem::take(&mut course.caps_due)
            && let Some(caps) = course.caps.clone()
        {
            drop(course);
            self.pad.push_event(gst::event::Caps::new(&caps));
            course = lock(&self.course);
        }
        if std::mem::take(&mut course.segment_due) {
            drop(course);
            let segment = gst::FormattedSegment::<gst::ClockTime>::new();
            self.pad.push_event(gst::event::Segment::new(&segment));
            course = lock(&self.course);
        }
        if !course.events.is_empty() {
            let events = std::mem::take(&mut course.events);
            drop(course);
            events.into_iter().for_each(|event| {
                self.pad.push_event(event);
            });
            course = lock(&self.course);
        }
        if std::mem::take(&mut course.is_silent) {
            drop(course);
            self.post_silence();
            course = lock(&self.course);
        }
        if course.eos.is_some() || course.packets_left == Some(0) {
            drop(course);
            self.finish();
            return None;
        }
        Some(course.time.clone())
    }

    /// Pushes what has arrived; whether there may be more.
    fn push(
        self: &Arc<Self>,
        desk: &mut Desk,
        size: usize,
        sender: Option<SocketAddr>,
        time: &Option<(gst::Clock, gst::ClockTime)>,
    ) -> bool {
        self.counts.packets.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(size as u64, Ordering::Relaxed);
        let now = time.as_ref().map(|(clock, base)| clock.time().saturating_sub(*base));
        let Some(mut buffer) = desk.buffer(size) else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(now);
            buffer.set_dts(now);
            if let Some(sender) = sender {
                gst_net::NetAddressMeta::add(buffer, &gio::InetSocketAddress::from(sender));
            }
        }
        let is_last = {
            let mut course = lock(&self.course);
            if std::mem::take(&mut course.is_discont)
                && let Some(buffer) = buffer.get_mut()
            {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
            let left = course.packets_left.as_mut();
            left.is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            })
        };
        match self.pad.push(buffer) {
            Ok(_) if is_last => {
                self.finish();
                false
            }
            Ok(_) => true,
            // It goes on by itself when downstream does, for a call that flushes is not over.
            Err(gst::FlowError::Flushing) => {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                self.reads.load(Ordering::Acquire)
            }
            Err(gst::FlowError::Eos) => {
                self.finish();
                false
            }
            Err(error) => {
                self.fail(error);
                self.finish();
                false
            }
        }
    }

    fn finish(self: &Arc<Self>) {
        self.stop();
        let eos = {
            let mut course = lock(&self.course);
            course.ended = true;
            course.eos.take()
        };
        self.pad.push_event(eos.unwrap_or_else(gst::event::Eos::new));
    }

    /// Says what every source says when nobody takes its packets.
    fn fail(&self, error: gst::FlowError) {
        if let Some(element) = self.pad.parent_element() {
            gst::element_error!(
                element,
                gst::StreamError::Failed,
                ("Internal data stream error."),
                ["streaming stopped, reason {error:?}"]
            );
        }
    }

    /// The message of `udpsrc`, by its name.
    fn post_silence(&self) {
        let (Some(element), Some(timeout)) = (self.pad.parent_element(), self.timeout) else { return };
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let told = gst::Structure::builder("GstUDPSrcTimeout").field("timeout", nanoseconds).build();
        let _ = element.post_message(gst::message::Element::builder(told).src(&element).build());
    }
}

impl Desk {
    /// A buffer with the first bytes of what has arrived.
    fn buffer(&mut self, size: usize) -> Option<gst::Buffer> {
        let mut buffer = Pools::here(&mut self.pools).buffer(size)?;
        let made = buffer.get_mut()?;
        made.copy_from_slice(0, self.arrived.get(..size)?).ok()?;
        made.set_size(size);
        Some(buffer)
    }
}
