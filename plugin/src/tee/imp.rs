//! The element itself: the stream's way, and the branches beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::copies::Copies;
use super::pad::SiprecTeePad;
use crate::format::{self, RTP, SRTP, Unrecordable};
use crate::guard::guarded;
use crate::keys;
use crate::passage;
use crate::slots::Slots;
use crate::sync::lock;

/// Lock order: none of these locks is taken while another is held, and none is held across a push.
pub struct SiprecTee {
    sink: gst::Pad,
    source: gst::Pad,
    numbers: Slots,
    /// The branches as the streaming thread sees them; replaced as a whole.
    branches: Mutex<Arc<[SiprecTeePad]>>,
    /// Memory that one push leaves for the next.
    scratch: Mutex<Copies>,
    /// Whether the stream's caps allow a copy.
    recordable: AtomicBool,
}

#[glib::object_subclass]
impl ObjectSubclass for SiprecTee {
    const NAME: &'static str = "GstSiprecTee";
    type Type = super::SiprecTee;
    type ParentType = gst::Element;
    type Interfaces = (gst::ChildProxy,);

    fn with_class(class: &Self::Class) -> Self {
        // The class has both templates: it installed them itself.
        #[expect(clippy::expect_used)]
        let template = |name| class.pad_template(name).expect("a class has the templates that it installed");
        let (sink_template, source_template) = (template("sink"), template("src"));
        let source = passage::always_source(&source_template);
        let behind = source.clone();
        let sink = gst::Pad::builder_from_template(&sink_template)
            .flags(passage::FLAGS)
            .chain_function(|_, parent, buffer| with(parent, |tee| tee.pass_buffer(buffer)))
            .chain_list_function(|_, parent, list| with(parent, |tee| tee.pass_list(list)))
            .event_function(|pad, parent, event| {
                let copy = event.clone();
                let handled = gst::Pad::event_default(pad, parent, event);
                if let Some(tee) = parent.and_then(|parent| parent.downcast_ref::<super::SiprecTee>()) {
                    guarded(tee.upcast_ref(), || tee.imp().tell_branches(copy));
                }
                handled
            })
            .query_function({
                let source = source.clone();
                move |pad, parent, query| passage::sink_query(pad, &source, parent, query)
            })
            .iterate_internal_links_function(move |_, _| passage::links(Some(behind.clone())))
            .build();
        Self {
            sink,
            source,
            numbers: Slots::default(),
            branches: Mutex::new(Arc::new([])),
            scratch: Mutex::default(),
            recordable: AtomicBool::new(true),
        }
    }
}

/// Runs the stream's own function; a pad without its element has no way on.
fn with(
    parent: Option<&gst::Object>,
    pass: impl FnOnce(&SiprecTee) -> Result<gst::FlowSuccess, gst::FlowError>,
) -> Result<gst::FlowSuccess, gst::FlowError> {
    let tee = parent.and_then(|parent| parent.downcast_ref::<super::SiprecTee>());
    tee.map_or(Err(gst::FlowError::Flushing), |tee| pass(tee.imp()))
}

impl ObjectImpl for SiprecTee {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb(
                        "recordable (the caps allow a copy), and a structure for each branch by its pad's name: seen, \
                         sent, sent-bytes, and dropped-CAUSE for each cause",
                    )
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn property(&self, _: usize, _: &glib::ParamSpec) -> glib::Value {
        self.stats().to_value()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> =
            LazyLock::new(|| vec![keys::crypto_caps_action()]);
        &SIGNALS
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sink, &self.source] {
            // A new element has no pad of this name.
            let _ = element.add_pad(pad);
        }
    }
}

impl GstObjectImpl for SiprecTee {}

impl ElementImpl for SiprecTee {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Recording tee",
                "Filter/Network/RTP",
                "Lets an RTP stream through untouched and copies it to recording branches that cannot disturb it",
                "The gst-siprec authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let (sink, src) = (gst::PadDirection::Sink, gst::PadDirection::Src);
            let (always, request) = (gst::PadPresence::Always, gst::PadPresence::Request);
            let call: gst::Caps = [RTP, SRTP].into_iter().map(gst::Structure::new_empty).collect();
            let plain = gst::Caps::new_empty_simple(RTP);
            [
                gst::PadTemplate::new("sink", sink, always, &call),
                gst::PadTemplate::new("src", src, always, &call),
                gst::PadTemplate::with_gtype("rec_%u", src, request, &plain, SiprecTeePad::static_type()),
            ]
            .into_iter()
            .filter_map(Result::ok)
            .collect()
        });
        &TEMPLATES
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let number = self.numbers.take("rec_", name)?;
        let pad = SiprecTeePad::new(template, &format!("rec_{number}"), &self.sink);
        let _ = pad.set_active(true);
        // Twice: what comes between the first and the joining would otherwise be missing.
        self.tell_sticky(&pad);
        self.change_branches(|branches| branches.push(pad.clone()));
        self.tell_sticky(&pad);
        if self.obj().add_pad(&pad).is_err() {
            self.change_branches(|branches| branches.retain(|branch| branch != &pad));
            self.numbers.free(number);
            return None;
        }
        self.obj().child_added(&pad, &pad.name());
        Some(pad.upcast())
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.change_branches(|branches| branches.retain(|branch| branch.upcast_ref::<gst::Pad>() != pad));
        let _ = pad.set_active(false);
        let _ = self.obj().remove_pad(pad);
        if let Some(number) = crate::slots::number("rec_", &pad.name()) {
            self.numbers.free(number);
        }
        self.obj().child_removed(pad, &pad.name());
    }
}

impl ChildProxyImpl for SiprecTee {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        let branches = self.branches();
        branches.get(usize::try_from(index).ok()?).map(|pad| pad.clone().upcast())
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.branches().iter().find(|pad| pad.name() == name).map(|pad| pad.clone().upcast())
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.branches().len()).unwrap_or(u32::MAX)
    }
}

impl SiprecTee {
    fn stats(&self) -> gst::Structure {
        let recordable = self.recordable.load(Ordering::SeqCst);
        self.branches()
            .iter()
            .fold(gst::Structure::builder("siprectee-stats").field("recordable", recordable), |stats, pad| {
                stats.field(pad.name().as_str(), pad.property::<gst::Structure>("stats"))
            })
            .build()
    }

    /// The stream's packet: its bytes are copied, the same buffer goes on, and then the branches have their turn.
    fn pass_buffer(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let copied = self.copied(|copies| copies.take_buffer(&buffer));
        let pushed = self.source.push(buffer);
        self.give(copied, pushed)
    }

    /// As [`Self::pass_buffer`], and a list stays a list on every way.
    fn pass_list(&self, list: gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
        let copied = self.copied(|copies| copies.take_list(&list));
        let pushed = self.source.push_list(list);
        self.give(copied, pushed)
    }

    /// Copies, if anybody wants a copy.
    fn copied(&self, copy: impl FnOnce(&mut Copies)) -> Option<Copied> {
        let branches = self.branches();
        if branches.is_empty() || !self.recordable.load(Ordering::Relaxed) {
            return None;
        }
        let arrival = Instant::now();
        let mut packets = std::mem::take(&mut *lock(&self.scratch));
        guarded(self.obj().upcast_ref(), || copy(&mut packets))?;
        Some(Copied { packets, arrival, branches })
    }

    /// Gives the copies to the branches, and the stream its own answer.
    fn give(
        &self,
        copied: Option<Copied>,
        pushed: Result<gst::FlowSuccess, gst::FlowError>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        if let Some(Copied { packets, arrival, branches }) = copied {
            // A stream that flushes wants its thread back at once.
            if pushed != Err(gst::FlowError::Flushing) {
                for branch in &*branches {
                    guarded(branch.upcast_ref(), || branch.send(&packets, arrival));
                }
            }
            *lock(&self.scratch) = packets;
        }
        pushed
    }

    /// Gives the branches a copy of the stream's event, after it went its own way.
    fn tell_branches(&self, event: gst::Event) {
        let Some(event) = self.for_branches(event) else { return };
        for branch in &*self.branches() {
            let _ = branch.push_event(event.clone());
        }
    }

    fn tell_sticky(&self, branch: &SiprecTeePad) {
        self.sink.sticky_events_foreach(|event| {
            if let Some(event) = self.for_branches(event.clone()) {
                describe(branch, &event);
                let _ = branch.store_sticky_event(&event);
            }
            std::ops::ControlFlow::Continue(gst::EventForeachAction::Keep)
        });
    }

    /// The event as branches may have it: caps only of what may be copied, and without numbers that do not hold
    /// for the branch's own sequence.
    fn for_branches(&self, event: gst::Event) -> Option<gst::Event> {
        let gst::EventView::Caps(caps) = event.view() else { return Some(event) };
        let plain = format::plain_rtp(caps.caps());
        self.recordable.store(plain.is_ok(), Ordering::Relaxed);
        match plain {
            Ok(()) => {
                let mut caps = caps.caps_owned();
                for structure in caps.make_mut().iter_mut() {
                    structure.remove_fields(["seqnum-base", "seqnum-offset"]);
                }
                let event = gst::event::Caps::builder(&caps).seqnum(event.seqnum()).build();
                self.branches().iter().for_each(|branch| describe(branch, &event));
                Some(event)
            }
            Err(fault) => {
                self.warn(&fault);
                None
            }
        }
    }

    fn warn(&self, fault: &Unrecordable) {
        gst::element_imp_warning!(
            self,
            gst::StreamError::Format,
            ("The recording branches of this stream get nothing: {fault}")
        );
    }

    fn branches(&self) -> Arc<[SiprecTeePad]> {
        lock(&self.branches).clone()
    }

    fn change_branches(&self, change: impl FnOnce(&mut Vec<SiprecTeePad>)) {
        let mut branches = lock(&self.branches);
        let mut list = branches.to_vec();
        change(&mut list);
        *branches = list.into();
    }
}

/// Tells a branch the clock rate that caps name.
fn describe(branch: &SiprecTeePad, event: &gst::EventRef) {
    if let gst::EventView::Caps(caps) = event.view() {
        let (medium, clock_rate) = format::clock(caps.caps());
        branch.describe(medium, clock_rate);
    }
}

/// What one push leaves for the branches.
struct Copied {
    packets: Copies,
    arrival: Instant,
    branches: Arc<[SiprecTeePad]>,
}
