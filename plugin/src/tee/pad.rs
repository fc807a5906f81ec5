//! A branch of `siprectee`: the pad on which the recording's copy leaves.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_media::{Branch, BranchSettings, RtpView};
use siprec_model::{BranchLimits, Medium, PayloadRule};

use super::copies::{Copies, Timing};
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
        let entry = sink.downgrade();
        gst::PadBuilder::<Self>::from_template(template)
            .name(name)
            .event_function(|_, _, event| ends_here(&event))
            .iterate_internal_links_function(move |_, _| passage::links(entry.upgrade()))
            .build()
    }

    /// What the stream carries, as far as numbering needs it.
    pub(super) fn describe(&self, medium: Medium, clock_rate: u32) {
        // A branch of the tee holds nothing that a codec could divide.
        lock(&self.imp().branch).describe(medium, clock_rate, None);
    }

    /// Pushes the branch's view of the packets. Whatever comes of it stays here.
    pub(super) fn send(&self, packets: &Copies, arrival: Instant) {
        if !self.is_linked() {
            return;
        }
        let mut buffers = self.imp().rewritten(packets, arrival);
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

/// Events from behind a branch end at its pad: the stream is not theirs. The answer says whether that is well.
fn ends_here(event: &gst::EventRef) -> bool {
    matches!(event.type_(), gst::EventType::Reconfigure | gst::EventType::Latency | gst::EventType::Qos)
}

mod imp {
    use super::*;

    pub struct TeePad {
        pub(super) branch: Mutex<Branch>,
        active: Mutex<bool>,
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
            Self { branch: Mutex::new(branch), active: Mutex::new(true) }
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
    impl PadImpl for TeePad {}

    impl TeePad {
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
