//! A stream's way into the element: the sink pad of one party.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::{Medium, StreamFormat};

use super::Siprec;
use super::party::Parties;
use crate::complaints::{Complaint, Complaints};
use crate::format::{self, Unrecordable};
use crate::guard::guarded;
use crate::keys;
use crate::passage;
use crate::secrecy::Wants;
use crate::sync::lock;
use crate::tap::Feed;
use crate::trail::{self, Way};

glib::wrapper! {
    /// A sink pad of `siprec`: one stream of the call.
    ///
    /// Properties: `dn` (who speaks on this stream), `muted` and `stats` (read only).
    pub struct SiprecSinkPad(ObjectSubclass<imp::SinkPad>) @extends gst::Pad, gst::Object;
}

impl SiprecSinkPad {
    /// Both ends of the way of one stream through the element.
    pub(super) fn with_source(
        (sink_template, source_template): (&gst::PadTemplate, &gst::PadTemplate),
        index: u16,
        parties: Arc<Parties>,
    ) -> (Self, gst::Pad) {
        let sink = gst::PadBuilder::<Self>::from_template(sink_template)
            .name(format!("sink_{index}"))
            .flags(passage::FLAGS)
            .chain_function(|pad, _, buffer| pad.imp().chain(buffer))
            .chain_list_function(|pad, _, list| pad.imp().chain_list(list))
            .event_function(|pad, parent, event| pad.imp().event(parent, event))
            .query_function(|pad, parent, query| pad.imp().query(parent, query))
            .iterate_internal_links_function(|pad, _| passage::links(pad.source().cloned()))
            .build();
        let source = passage::source_pad(source_template, &format!("src_{index}"), sink.upcast_ref());
        sink.imp().place(index, source.clone(), parties);
        (sink, source)
    }

    /// The pad's number: which party of the call.
    pub(super) fn index(&self) -> u16 {
        self.imp().index()
    }

    /// Where this stream is copied.
    pub(super) fn feed(&self) -> &Feed {
        self.imp().feed()
    }

    /// The other end of the stream's way.
    pub(super) fn source(&self) -> Option<&gst::Pad> {
        self.imp().source()
    }

    /// Whether the stream has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.imp().has_ended()
    }

    /// The medium that the stream's caps name, right or wrong.
    pub(super) fn announced_medium(&self) -> Medium {
        self.stated_medium().unwrap_or(Medium::Audio)
    }

    /// The same; `None` where they name none.
    pub(super) fn stated_medium(&self) -> Option<Medium> {
        format::stated_medium(self.current_caps()?.as_ref())
    }

    /// Whether the application has not heard yet, under these caps, that there is no key for the stream. It has, from here
    /// on.
    pub(super) fn lacks_key_newly(&self) -> bool {
        self.imp().lacks_key_newly()
    }

    /// Whether the application is to hear of this now: see [`Complaints::admit`].
    pub(super) fn admit(&self, complaint: Complaint) -> Option<String> {
        self.imp().admit(complaint)
    }

    /// What the stream's caps said last; `None` before there were any. Those that lack something leave it as it was
    /// before in the call. See [`super::streams::carried`].
    pub(super) fn format(&self) -> Option<Result<StreamFormat, Unrecordable>> {
        self.imp().format()
    }

    /// The call is over: what its caps said does not stand in for what those of the next one lack.
    pub(super) fn outlive_call(&self) {
        self.imp().outlive_call();
    }
}

mod imp {
    use super::*;

    #[derive(Default)]
    pub struct SinkPad {
        place: OnceLock<Place>,
        feed: Feed,
        format: Mutex<Option<Result<StreamFormat, Unrecordable>>>,
        /// The format is that of a call that is over.
        outlived: AtomicBool,
        ended: AtomicBool,
        /// The application was told that there is no key under these caps.
        keyless_told: AtomicBool,
        complaints: Mutex<Complaints>,
    }

    struct Place {
        index: u16,
        source: gst::Pad,
        parties: Arc<Parties>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for SinkPad {
        const NAME: &'static str = "GstSiprecSinkPad";
        type Type = SiprecSinkPad;
        type ParentType = gst::Pad;
    }

    impl ObjectImpl for SinkPad {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecString::builder("dn")
                        .nick("Directory number")
                        .blurb("Who speaks on this stream, any text; the recorder is told what is set when it is invited")
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoolean::builder("muted")
                        .nick("Muted")
                        .blurb("The party has muted its line: nothing of its session is recorded until it takes that back")
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                        .nick("Statistics")
                        .blurb(
                            "What was copied for the recording: packets, bytes, gated (met a closed gate), \
                             queue-full and unreadable (lost), secured (SRTP), recordable (the caps allow it, or did \
                             before they lacked something)",
                        )
                        .read_only()
                        .build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
            let Some(place) = self.place.get() else { return };
            match pspec.name() {
                "dn" if value.get().is_ok_and(|dn| place.parties.set_dn(place.index, dn)) => {
                    self.with_element(|element| element.party_changed(place.index));
                }
                "muted" => {
                    place.parties.mute_pad(place.index, value.get().unwrap_or_default());
                    self.with_element(super::super::imp::Siprec::mute_changed);
                }
                _ => {}
            }
        }

        fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
            match pspec.name() {
                "dn" => self.place.get().and_then(|place| place.parties.dn(place.index)).to_value(),
                "muted" => {
                    self.place.get().is_some_and(|place| place.parties.is_pad_muted(place.index)).to_value()
                }
                _ => self.stats().to_value(),
            }
        }
    }

    impl GstObjectImpl for SinkPad {}
    impl PadImpl for SinkPad {}

    impl SinkPad {
        pub(super) fn place(&self, index: u16, source: gst::Pad, parties: Arc<Parties>) {
            // A pad is placed once, by its maker, before anybody else has it.
            let _ = self.place.set(Place { index, source, parties });
        }

        pub(super) fn index(&self) -> u16 {
            self.place.get().map_or(0, |place| place.index)
        }

        pub(super) fn source(&self) -> Option<&gst::Pad> {
            self.place.get().map(|place| &place.source)
        }

        pub(super) fn feed(&self) -> &Feed {
            &self.feed
        }

        pub(super) fn has_ended(&self) -> bool {
            self.ended.load(Ordering::SeqCst)
        }

        pub(super) fn format(&self) -> Option<Result<StreamFormat, Unrecordable>> {
            lock(&self.format).clone()
        }

        /// The call's packet: copied, then pushed on as it came, with no lock held and no reference kept.
        pub(super) fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            trail::pass(|way| self.show(way));
            let wants = self.feed.buffer(self.obj().upcast_ref(), &buffer);
            if !wants.is_empty() {
                self.ask(wants);
            }
            self.source().ok_or(gst::FlowError::NotLinked)?.push(buffer)
        }

        /// What memory a packet needs here.
        fn show(&self, way: &mut Way) {
            way.value(self);
            self.feed.show(way);
            self.source().into_iter().for_each(|source| way.link(source));
        }

        /// As [`Self::chain`], and a list stays a list.
        pub(super) fn chain_list(&self, list: gst::BufferList) -> Result<gst::FlowSuccess, gst::FlowError> {
            let wants = self.feed.list(self.obj().upcast_ref(), &list);
            if !wants.is_empty() {
                self.ask(wants);
            }
            self.source().ok_or(gst::FlowError::NotLinked)?.push_list(list)
        }

        /// The call's event goes on first; then the recording is told of what concerns it.
        pub(super) fn event(&self, parent: Option<&gst::Object>, event: gst::Event) -> bool {
            let news = News::of(&event);
            let handled = gst::Pad::event_default(&*self.obj(), parent, event);
            if let Some(news) = news {
                guarded(self.obj().upcast_ref(), || self.take(news));
            }
            handled
        }

        pub(super) fn query(&self, parent: Option<&gst::Object>, query: &mut gst::QueryRef) -> bool {
            match self.source() {
                Some(source) => passage::sink_query(self.obj().upcast_ref(), source, parent, query),
                None => false,
            }
        }

        fn take(&self, news: News) {
            match news {
                News::Caps(caps) => {
                    let learnt = self.learn(&caps);
                    let security = self.feed.security();
                    self.take_keys(&caps);
                    if matches!(learnt, Learnt::Format) || security != self.feed.security() {
                        self.with_element(|element| element.format_changed(&self.obj()));
                    }
                    if let Learnt::Unusable(fault) = learnt {
                        self.with_element(|element| element.format_goes_on(&self.obj(), fault));
                    }
                }
                News::Begins => self.ended.store(false, Ordering::SeqCst),
                News::Ends => {
                    self.ended.store(true, Ordering::SeqCst);
                    self.with_element(super::super::imp::Siprec::stream_ended);
                }
            }
        }

        /// Takes note of the format that caps name. Where they lack something, the stream goes on with the one it has: what
        /// each packet is says its payload type, and one that is not known is counted.
        fn learn(&self, caps: &gst::CapsRef) -> Learnt {
            let said = format::from_caps(caps);
            let mut format = lock(&self.format);
            let outlived = self.outlived.load(Ordering::SeqCst);
            match (&*format, said) {
                (Some(Ok(before)), Err(fault @ Unrecordable::Field(_)))
                    if !outlived
                        && format::stated_medium(caps).is_none_or(|medium| medium == before.medium) =>
                {
                    Learnt::Unusable(fault)
                }
                (before, said) => {
                    let is_new = before.as_ref() != Some(&said);
                    *format = Some(said);
                    self.outlived.store(false, Ordering::SeqCst);
                    if is_new { Learnt::Format } else { Learnt::Nothing }
                }
            }
        }

        pub(super) fn outlive_call(&self) {
            self.outlived.store(true, Ordering::SeqCst);
        }

        fn take_keys(&self, caps: &gst::CapsRef) {
            self.keyless_told.store(false, Ordering::SeqCst);
            if format::is_encrypted(caps) {
                self.with_element(|element| element.secure(&self.obj(), keys::from_caps(caps)));
            } else {
                self.feed.expose();
            }
        }

        fn ask(&self, wants: Wants) {
            guarded(self.obj().upcast_ref(), || {
                self.with_element(|element| element.ask_keys(&self.obj(), wants));
            });
        }

        pub(super) fn lacks_key_newly(&self) -> bool {
            !self.keyless_told.swap(true, Ordering::SeqCst)
        }

        pub(super) fn admit(&self, complaint: Complaint) -> Option<String> {
            lock(&self.complaints).admit(complaint, Instant::now())
        }

        fn with_element(&self, work: impl FnOnce(&super::super::imp::Siprec)) {
            if let Some(element) = self.obj().parent().and_downcast::<Siprec>() {
                work(element.imp());
            }
        }

        fn stats(&self) -> gst::Structure {
            let (tap, unreadable) = self.feed.stats();
            gst::Structure::builder("siprec-stream-stats")
                .field("packets", tap.packets)
                .field("bytes", tap.bytes)
                .field("gated", tap.gated)
                .field("queue-full", tap.queue_full)
                .field("unreadable", unreadable)
                .field("secured", self.feed.security().is_secured())
                .field("recordable", lock(&self.format).as_ref().is_some_and(Result::is_ok))
                .build()
        }
    }

    /// What caps say of the format.
    enum Learnt {
        /// What is known.
        Nothing,
        /// Another one, or that there is none.
        Format,
        /// Too little, so that the one before holds.
        Unusable(Unrecordable),
    }

    /// What an event of the call means for the recording.
    enum News {
        Caps(gst::Caps),
        Begins,
        Ends,
    }

    impl News {
        fn of(event: &gst::EventRef) -> Option<Self> {
            match event.view() {
                gst::EventView::Caps(caps) => Some(Self::Caps(caps.caps_owned())),
                gst::EventView::StreamStart(_) | gst::EventView::FlushStop(_) => Some(Self::Begins),
                gst::EventView::Eos(_) => Some(Self::Ends),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::Trail;
    use crate::trail::tests::has;

    #[test]
    fn the_way_of_a_packet_through_the_element_is_learnt() {
        gst::init().unwrap();
        let element: Siprec = glib::Object::new();
        let pad = element.request_pad_simple("sink_0").unwrap().downcast::<SiprecSinkPad>().unwrap();
        pad.set_active(true).unwrap();
        assert!(pad.send_event(gst::event::StreamStart::new("way")));
        assert!(pad.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
        let trail = Trail::default();
        let passed = trail.learn(|| pad.chain(gst::Buffer::from_slice(b"packet")));
        assert_eq!(passed, Err(gst::FlowError::NotLinked));
        assert!(has(&trail, std::ptr::from_ref(pad.imp()).addr()));
        assert!(has(&trail, pad.source().unwrap().as_ptr().addr()));
    }
}
