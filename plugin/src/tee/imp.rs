//! The element itself: the stream's way, and the branches beside it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::call;
use super::copies::Copies;
use super::decryption::Decryption;
use super::keys_in_use::KeysInUse;
use super::pad::SiprecTeePad;
use super::protection::Incoming;
use crate::complaints::Complaints;
use crate::format::{RTP, SRTP};
use crate::guard::guarded;
use crate::passage;
use crate::pool::Pools;
use crate::slots::Slots;
use crate::sync::lock;

/// Lock order: none of these locks is taken while another is held, and none is held across a push.
pub struct SiprecTee {
    sink: gst::Pad,
    source: gst::Pad,
    numbers: Slots,
    /// The branches as the streaming thread sees them; replaced as a whole.
    branches: Mutex<Arc<[SiprecTeePad]>>,
    /// Memory for copies, of the thread that pushed last.
    pools: Mutex<Option<Arc<Pools>>>,
    /// Whether the stream's caps allow a copy.
    pub(super) recordable: AtomicBool,
    /// Whether the stream is encrypted.
    pub(super) is_secured: AtomicBool,
    pub(super) decryption: Mutex<Decryption>,
    pub(super) complaints: Mutex<Complaints>,
    pub(super) keys: KeysInUse,
    branches_made: AtomicU64,
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
                    guarded(tee.upcast_ref(), || tee.imp().tell_branches(&copy));
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
            pools: Mutex::default(),
            recordable: AtomicBool::new(true),
            is_secured: AtomicBool::new(false),
            decryption: Mutex::default(),
            complaints: Mutex::default(),
            keys: KeysInUse::default(),
            branches_made: AtomicU64::new(0),
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
                        "recordable (the caps allow a copy), encrypted (the stream is), and a structure for each branch by its pad's name: seen, \
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
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(call::signals);
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
            [
                gst::PadTemplate::new("sink", sink, always, &call),
                gst::PadTemplate::new("src", src, always, &call),
                gst::PadTemplate::with_gtype("rec_%u", src, request, &call, SiprecTeePad::static_type()),
            ]
            .into_iter()
            .filter_map(Result::ok)
            .collect()
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let changed = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            // The call has ended, and its keys with it.
            *lock(&self.decryption) = Decryption::default();
            *lock(&self.complaints) = Complaints::default();
            self.is_secured.store(false, Ordering::SeqCst);
            self.recordable.store(true, Ordering::SeqCst);
        }
        Ok(changed)
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let number = self.numbers.take("rec_", name)?;
        let made = self.branches_made.fetch_add(1, Ordering::Relaxed);
        let pad = SiprecTeePad::new(template, &format!("rec_{number}"), &self.sink, made);
        let _ = pad.set_active(true);
        self.settle(&pad, self.incoming());
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
        let stats = gst::Structure::builder("siprectee-stats")
            .field("recordable", self.recordable.load(Ordering::SeqCst))
            .field("encrypted", self.is_secured.load(Ordering::SeqCst));
        self.branches()
            .iter()
            .fold(stats, |stats, pad| {
                stats.field(pad.name().as_str(), pad.property::<gst::Structure>("stats"))
            })
            .build()
    }

    /// The stream's packet: its bytes are copied, the same buffer goes on, and then the branches have their turn.
    fn pass_buffer(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let copied = match self.wanting() {
            Some(branches) => self.copied(branches, |pools| Copies::of_buffer(&buffer, pools)),
            None => {
                self.follow(std::iter::once(&*buffer));
                None
            }
        };
        let pushed = self.source.push(buffer);
        self.give(copied, pushed)
    }

    /// As [`Self::pass_buffer`], and a list stays a list on every way.
    fn pass_list(&self, list: gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
        let copied = match self.wanting() {
            Some(branches) => self.copied(branches, |pools| Copies::of_list(&list, pools)),
            None => {
                self.follow(list.iter());
                None
            }
        };
        let pushed = self.source.push_list(list);
        self.give(copied, pushed)
    }

    /// The branches, if any of them wants a copy and one is allowed.
    fn wanting(&self) -> Option<Arc<[SiprecTeePad]>> {
        let branches = self.recordable.load(Ordering::Relaxed).then(|| self.branches())?;
        branches.iter().any(SiprecTeePad::is_wanted).then_some(branches)
    }

    /// Follows encrypted packets that nobody wants.
    fn follow<'a>(&self, packets: impl Iterator<Item = &'a gst::BufferRef>) {
        if self.is_secured.load(Ordering::Relaxed) {
            guarded(self.obj().upcast_ref(), || packets.for_each(|packet| self.observe(packet)));
        }
    }

    fn copied(&self, branches: Arc<[SiprecTeePad]>, copy: impl FnOnce(&Pools) -> Copies) -> Option<Copied> {
        let arrival = Instant::now();
        let copies = guarded(self.obj().upcast_ref(), || copy(Pools::here(&mut lock(&self.pools))))?;
        Some(Copied { copies, arrival, branches })
    }

    /// Gives the copies to the branches, and the stream its own answer.
    fn give(
        &self,
        copied: Option<Copied>,
        pushed: Result<gst::FlowSuccess, gst::FlowError>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Some(Copied { mut copies, arrival, branches }) = copied else { return pushed };
        // A stream that flushes wants its thread back at once.
        if pushed == Err(gst::FlowError::Flushing) {
            return pushed;
        }
        let ready = guarded(self.obj().upcast_ref(), || {
            let is_secured = self.is_secured.load(Ordering::Relaxed);
            let suite = if is_secured { self.decrypt(copies.packets(), arrival) } else { None };
            Incoming { is_secured, suite }
        });
        // What is still encrypted is for no branch.
        let Some(incoming) = ready else { return pushed };
        let mut wanting = branches.iter().filter(|branch| branch.is_wanted()).peekable();
        let mut left = Some(copies);
        while let Some(branch) = wanting.next() {
            guarded(branch.upcast_ref(), || {
                if self.settle(branch, incoming) {
                    self.tell_sticky(branch);
                }
                let copies = match wanting.peek() {
                    Some(_) => left.as_ref().map(|left| left.again(Pools::here(&mut lock(&self.pools)))),
                    None => left.take(),
                };
                if let Some(copies) = copies {
                    branch.send(copies, arrival);
                }
            });
        }
        pushed
    }

    pub(super) fn sink(&self) -> &gst::Pad {
        &self.sink
    }

    pub(super) fn branches(&self) -> Arc<[SiprecTeePad]> {
        lock(&self.branches).clone()
    }

    fn change_branches(&self, change: impl FnOnce(&mut Vec<SiprecTeePad>)) {
        let mut branches = lock(&self.branches);
        let mut list = branches.to_vec();
        change(&mut list);
        *branches = list.into();
    }
}

/// What one push leaves for the branches.
struct Copied {
    copies: Copies,
    arrival: Instant,
    branches: Arc<[SiprecTeePad]>,
}
