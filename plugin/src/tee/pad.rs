//! A branch of `siprectee`: the pad on which the recording's copy leaves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_media::{Branch, BranchSettings};
use siprec_model::{BranchLimits, DropCause, Medium, PayloadRule};

use super::copies::{Copies, Packet};
use super::keys_in_use::KeysInUse;
use super::protection::{Incoming, Outgoing, Protection, Refusal, Settled};
use super::suite::SiprecSrtpSuite;
use crate::complaints::Complaints;
use crate::keyframe;
use crate::keys::secret;
use crate::passage;
use crate::sync::lock;

glib::wrapper! {
    /// A source pad of `siprectee`: the recording's copy of the stream.
    ///
    /// Properties: `active`, `srtp-suite`, `srtp-key` (write only), `mki`, `allow-downgrade` and `stats` (read only).
    pub struct SiprecTeePad(ObjectSubclass<imp::TeePad>) @extends gst::Pad, gst::Object;
}

impl SiprecTeePad {
    /// A branch of the stream that comes in at `sink`. Its number is one that no other branch has or had.
    pub(super) fn new(template: &gst::PadTemplate, name: &str, sink: &gst::Pad, number: u64) -> Self {
        let (entry, source) = (sink.downgrade(), sink.downgrade());
        let pad = gst::PadBuilder::<Self>::from_template(template)
            .name(name)
            .event_function(|pad, _, event| pad.imp().event(event))
            .iterate_internal_links_function(move |_, _| passage::links(entry.upgrade()))
            .build();
        pad.imp().place(source, number);
        pad
    }

    /// What the stream carries, as far as numbering needs it.
    pub(super) fn describe(&self, medium: Medium, clock_rate: u32) {
        // A branch of the tee holds nothing that a codec could divide.
        lock(&self.imp().line).branch.describe(medium, clock_rate, None);
        self.imp().is_video.store(medium == Medium::Video, Ordering::SeqCst);
    }

    /// Whether somebody is there who takes packets.
    pub(super) fn is_wanted(&self) -> bool {
        let branch = self.imp();
        branch.linked.load(Ordering::Relaxed) && branch.active.load(Ordering::Relaxed)
    }

    /// Settles how packets leave, for a call that comes in like this.
    pub(super) fn settle(&self, incoming: Incoming, keys: &KeysInUse) -> Settled {
        let mut line = lock(&self.imp().line);
        let settled = line.protection.settle(incoming, keys);
        if settled.is_new && settled.outgoing.is_ok() {
            // What did not leave before is no loss on the way.
            line.branch.begin_interval();
        }
        if settled.begins {
            line.branch.make_room(imp::first_sequence());
        }
        settled
    }

    /// Whether what was settled has not been told yet. From now on it has.
    pub(super) fn is_news(&self) -> bool {
        lock(&self.imp().line).protection.is_news()
    }

    /// Whether the application is to hear of this now: see [`Complaints::admit`].
    pub(super) fn admit(&self, refusal: Refusal) -> Option<String> {
        lock(&self.imp().complaints).admit(refusal, Instant::now())
    }

    /// How packets leave; `None` where they do not.
    pub(super) fn outgoing(&self) -> Option<Outgoing> {
        lock(&self.imp().line).protection.outgoing()
    }

    /// Pushes the branch's view of the packets. Whatever comes of it stays here.
    pub(super) fn send(&self, packets: Copies, arrival: Instant) {
        let branch = self.imp();
        // Not linked, flushing, ended or broken: all the same to the call.
        match packets {
            Copies::One(packet) => {
                if let Some(buffer) = packet.and_then(|packet| branch.rewritten(packet, arrival)) {
                    branch.begin_picture();
                    let _ = self.push(buffer);
                }
            }
            Copies::List(packets) => {
                let mut list = gst::BufferList::new_sized(packets.len());
                if let Some(list) = list.get_mut() {
                    packets
                        .into_iter()
                        .filter_map(|packet| branch.rewritten(packet, arrival))
                        .for_each(|buffer| list.add(buffer));
                }
                if !list.is_empty() {
                    branch.begin_picture();
                    let _ = self.push_list(list);
                }
            }
        }
    }
}

mod imp {
    use super::*;

    pub struct TeePad {
        /// Never held across a push.
        pub(super) line: Mutex<Line>,
        pub(super) active: AtomicBool,
        /// What the pad says of itself, without its lock.
        pub(super) linked: AtomicBool,
        pub(super) is_video: AtomicBool,
        pub(super) complaints: Mutex<Complaints<Refusal>>,
        /// Packets left since the branch was linked or became active: its receiver knows what they build on.
        is_under_way: AtomicBool,
        /// Where the stream comes in.
        source: OnceLock<glib::WeakRef<gst::Pad>>,
    }

    /// What a packet goes through.
    pub(super) struct Line {
        pub(super) branch: Branch,
        pub(super) protection: Protection,
    }

    impl Default for TeePad {
        fn default() -> Self {
            // Nothing is ever held here: packets leave in the stream's own thread, or not at all.
            let limits = BranchLimits { hold_bytes: 0, ..BranchLimits::default() };
            let settings = BranchSettings { medium: Medium::Audio, clock_rate: 8000, limits };
            let now = Instant::now();
            let mut branch = Branch::new(settings, first_sequence(), now);
            branch.open(&every_payload_type(), now);
            Self {
                line: Mutex::new(Line { branch, protection: Protection::new(0) }),
                active: AtomicBool::new(true),
                linked: AtomicBool::new(false),
                is_video: AtomicBool::new(false),
                complaints: Mutex::default(),
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
                    glib::ParamSpecEnum::builder::<SiprecSrtpSuite>("srtp-suite")
                        .nick("SRTP suite")
                        .blurb(
                            "How the branch is encrypted, whatever the call is; none is plain RTP, which an \
                             encrypted call's branch is only with allow-downgrade",
                        )
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoxed::builder::<gst::Buffer>("srtp-key")
                        .nick("SRTP key")
                        .blurb(
                            "Master key and salt of this branch, as many bytes as the suite has; never one that the \
                             call or another branch has or had. Write only. Another one takes over with the next \
                             packet; sequence numbers and rollover counter run on",
                        )
                        .write_only()
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoxed::builder::<gst::Buffer>("mki")
                        .nick("Master key identifier")
                        .blurb("Stands in every packet of the branch, 1 to 128 bytes; none when not set")
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoolean::builder("allow-downgrade")
                        .nick("Allow downgrade")
                        .blurb("Whether an encrypted call leaves here as plain RTP when srtp-suite is none")
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
            let change = |change: &dyn Fn(&mut super::super::protection::Wish)| {
                lock(&self.line).protection.change(change);
                // What comes of what the application does it hears at once.
                *lock(&self.complaints) = Complaints::default();
            };
            match pspec.name() {
                "active" => {
                    if let Ok(wanted) = value.get() {
                        self.set_active(wanted);
                    }
                }
                "srtp-suite" => change(&|wish| wish.suite = value.get().unwrap_or_default()),
                "srtp-key" => {
                    let key = value.get::<Option<gst::Buffer>>().ok().flatten();
                    change(&|wish| wish.key = key.as_deref().map(secret));
                }
                "mki" => change(&|wish| wish.mki = value.get().ok().flatten()),
                _ => change(&|wish| wish.allow_downgrade = value.get().unwrap_or_default()),
            }
        }

        fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
            match pspec.name() {
                "active" => self.active.load(Ordering::SeqCst).to_value(),
                "srtp-suite" => lock(&self.line).protection.wish().suite.to_value(),
                "mki" => lock(&self.line).protection.wish().mki.to_value(),
                "allow-downgrade" => lock(&self.line).protection.wish().allow_downgrade.to_value(),
                _ => self.stats().to_value(),
            }
        }
    }

    impl GstObjectImpl for TeePad {}

    impl PadImpl for TeePad {
        fn linked(&self, peer: &gst::Pad) {
            self.parent_linked(peer);
            self.linked.store(true, Ordering::SeqCst);
        }

        fn unlinked(&self, peer: &gst::Pad) {
            self.parent_unlinked(peer);
            self.linked.store(false, Ordering::SeqCst);
            self.is_under_way.store(false, Ordering::SeqCst);
        }
    }

    impl TeePad {
        pub(super) fn place(&self, source: glib::WeakRef<gst::Pad>, number: u64) {
            // A pad is placed once, by its maker, before anybody else has it.
            let _ = self.source.set(source);
            lock(&self.line).protection = Protection::new(number);
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

        /// The packet as it leaves. The lock is free again when it is pushed.
        pub(super) fn rewritten(&self, mut packet: Packet, arrival: Instant) -> Option<gst::Buffer> {
            let line = &mut *lock(&self.line);
            let room = match packet.room() {
                // Whatever the packet is, it is not for this branch.
                _ if line.protection.outgoing().is_none() => Err(DropCause::NotProtected),
                room => room,
            };
            let (length, room) = match room {
                Ok(room) => room,
                Err(cause) => {
                    line.branch.handle_loss(cause, 1);
                    return None;
                }
            };
            let sent = line.branch.handle_packet_in_place(room.get_mut(..length)?, arrival)?;
            match line.protection.protect(room, &sent) {
                Ok(length) => packet.into_buffer(length),
                Err(fault) => {
                    line.branch.handle_refusal(fault.into(), 1, sent.length as u64);
                    None
                }
            }
        }

        fn set_active(&self, wanted: bool) {
            let (mut line, now) = (lock(&self.line), Instant::now());
            if self.active.swap(wanted, Ordering::SeqCst) == wanted {
                return;
            }
            if wanted {
                line.branch.open(&every_payload_type(), now);
            } else {
                line.branch.pause(now);
                self.is_under_way.store(false, Ordering::SeqCst);
            }
        }

        fn stats(&self) -> gst::Structure {
            let report = lock(&self.line).branch.report();
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

    /// Random, with room before the first wrap (RFC 4568 §6.4).
    pub(super) fn first_sequence() -> u16 {
        u16::try_from(glib::random_int_range(256, 32_768)).unwrap_or(256)
    }

    /// A branch has no agreement with anybody: every payload type leaves as it is.
    fn every_payload_type() -> Vec<PayloadRule> {
        (0..128).map(|number| PayloadRule { from: number, to: number }).collect()
    }
}
