//! A branch of `siprectee`: the pad on which the recording's copy leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, Medium, PayloadRule};

use super::copies::{Copies, Timing};
use crate::keyframe;
use crate::passage;
use crate::sync::lock;

glib::wrapper! {
    /// A source pad of `siprectee`: the recording's copy of the stream.
    ///
    /// Properties: `active` and `stats` (read only).
    pub struct SiprecTeePad(ObjectSubclass<imp::TeePad>) @extends gst::Pad, gst::Object;
}

impl SiprecTeePad {
    /// A branch of the stream that comes in at `sink`.
    pub(super) fn new(template: &gst::PadTemplate, name: &str, sink: &gst::Pad) -> Self {
        let (entry, source) = (sink.downgrade(), sink.downgrade());
        let pad = gst::PadBuilder::<Self>::from_template(template)
            .name(name)
            .event_function(|pad, _, event| pad.imp().event(event))
            .iterate_internal_links_function(move |_, _| passage::links(entry.upgrade()))
            .build();
        pad.imp().place(source);
        pad
    }

    /// What the stream carries, as far as numbering needs it.
    pub(super) fn describe(&self, medium: Medium, clock_rate: u32) {
        // A branch of the tee holds nothing that a codec could divide.
        lock(&self.imp().branch).describe(medium, clock_rate, None);
        self.imp().is_video.store(medium == Medium::Video, Ordering::SeqCst);
    }

    /// Pushes the branch's view of the packets. Whatever comes of it stays here.
    pub(super) fn send(&self, packets: &Copies, arrival: Instant) {
        if !self.is_linked() {
            return;
        }
        let mut buffers = self.imp().rewritten(packets, arrival);
        if !buffers.is_empty() {
            self.imp().begin_picture();
        }
        // Not linked, flushing, ended or broken: all the same to the call.
        if packets.is_list() {
            if !buffers.is_empty() {
                let _ = self.push_list(buffers.into_iter().collect());
            }
        } else if let Some(buffer) = buffers.pop() {
            let _ = self.push(buffer);
        }
    }
}

mod imp {
    use super::*;

    pub struct TeePad {
        pub(super) branch: Mutex<Branch>,
        active: Mutex<bool>,
        pub(super) is_video: AtomicBool,
        /// Packets left since the branch was linked or became active: its receiver knows what they build on.
        is_under_way: AtomicBool,
        /// Where the stream comes in.
        source: OnceLock<glib::WeakRef<gst::Pad>>,
    }

    impl Default for TeePad {
        fn default() -> Self {
            // Nothing is ever held here: packets leave in the stream's own thread, or not at all.
            let limits = BranchLimits { hold_bytes: 0, ..BranchLimits::default() };
            let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
            let now = Instant::now();
            let first = glib::random_int_range(256, 32_768);
            let mut branch = Branch::new(settings, u16::try_from(first).unwrap_or(256), now);
            branch.open(&every_payload_type(), now);
            Self {
                branch: Mutex::new(branch),
                active: Mutex::new(true),
                is_video: AtomicBool::new(false),
                is_under_way: AtomicBool::new(false),
                source: OnceLock::new(),
            }
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for TeePad {
        const NAME: &'static str = "GstSiprecTeePad";
        type Type = SiprecTeePad;
        type ParentType = gst::Pad;
    }

    impl ObjectImpl for TeePad {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecBoolean::builder("active")
                        .nick("Active")
                        .blurb(
                            "Whether packets leave here. After a break the sequence numbers go on where they \
                             stopped; nothing of the break is sent",
                        )
                        .default_value(true)
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                        .nick("Statistics")
                        .blurb("What was sent: seen, sent, sent-bytes, and dropped-CAUSE for each cause")
                        .read_only()
                        .build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
            if let ("active", Ok(wanted)) = (pspec.name(), value.get()) {
                self.set_active(wanted);
            }
        }

        fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
            match pspec.name() {
                "active" => lock(&self.active).to_value(),
                _ => self.stats().to_value(),
            }
        }
    }

    impl GstObjectImpl for TeePad {}

    impl PadImpl for TeePad {
        fn unlinked(&self, peer: &gst::Pad) {
            self.parent_unlinked(peer);
            self.is_under_way.store(false, Ordering::SeqCst);
        }
    }

    impl TeePad {
        pub(super) fn place(&self, source: glib::WeakRef<gst::Pad>) {
            // A pad is placed once, by its maker, before anybody else has it.
            let _ = self.source.set(source);
        }

        /// Events from behind a branch end at its pad, since the stream is not theirs, but for the wish for a key
        /// frame. The answer says whether that is well.
        pub(super) fn event(&self, event: gst::Event) -> bool {
            use gst::EventType::{Latency, Qos, Reconfigure};
            if keyframe::is_asked_by(&event) {
                return self.source().is_some_and(|source| source.push_event(event));
            }
            matches!(event.type_(), Reconfigure | Latency | Qos)
        }

        /// Asks the source for a key frame when video begins to leave (`protocol` rule 2.7).
        pub(super) fn begin_picture(&self) {
            if self.is_under_way.load(Ordering::Relaxed) || self.is_under_way.swap(true, Ordering::SeqCst) {
                return;
            }
            if self.is_video.load(Ordering::SeqCst)
                && let Some(source) = self.source()
            {
                keyframe::ask(&source);
            }
        }

        fn source(&self) -> Option<gst::Pad> {
            self.source.get().and_then(glib::WeakRef::upgrade)
        }

        /// The packets that leave, as new buffers. The lock is free again when they are pushed.
        pub(super) fn rewritten(&self, packets: &Copies, arrival: Instant) -> Vec<gst::Buffer> {
            let mut branch = lock(&self.branch);
            let mut out = Vec::new();
            packets
                .iter()
                .filter_map(|(packet, timing)| {
                    out.clear();
                    match RtpView::parse(packet) {
                        Ok(view) => branch.handle_packet(&view, arrival, &mut out).map(drop)?,
                        Err(unusable) => {
                            branch.handle_loss(unusable.into(), 1);
                            return None;
                        }
                    }
                    Some(buffer(std::mem::take(&mut out), timing))
                })
                .collect()
        }

        fn set_active(&self, wanted: bool) {
            let mut active = lock(&self.active);
            if std::mem::replace(&mut *active, wanted) == wanted {
                return;
            }
            let (mut branch, now) = (lock(&self.branch), Instant::now());
            if wanted {
                branch.open(&every_payload_type(), now);
            } else {
                branch.pause(now);
                self.is_under_way.store(false, Ordering::SeqCst);
            }
        }

        fn stats(&self) -> gst::Structure {
            let report = lock(&self.branch).report();
            let stats = gst::Structure::builder("siprec-branch-stats")
                .field("seen", report.seen)
                .field("sent", report.sent)
                .field("sent-bytes", report.sent_bytes);
            let drops = report.drops.iter().filter(|(_, packets)| *packets > 0);
            drops
                .fold(stats, |stats, (cause, packets)| {
                    stats.field(format!("dropped-{}", cause.as_str()), packets)
                })
                .build()
        }
    }

    /// A branch has no agreement with anybody: every payload type leaves as it is.
    fn every_payload_type() -> Vec<PayloadRule> {
        (0..128).map(|number| PayloadRule { from: number, to: number }).collect()
    }

    fn buffer(bytes: Vec<u8>, timing: Timing) -> gst::Buffer {
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(timing.pts);
            buffer.set_dts(timing.dts);
        }
        buffer
    }
}
