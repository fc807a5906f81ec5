//! The element itself: pads, properties, signals, states.

use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::StopReason;

use super::enums::SiprecState;
use super::messages;
use super::pad::SiprecSinkPad;
use super::party::Parties;
use super::recording::{Live, Wish};
use super::settings::Settings;
use super::whole::Progress;
use super::{actions, keys, properties, templates};
use crate::agent::{AGENT_CONTEXT, SiprecAgent};
use crate::passage;
use crate::slots::{self, Slots};
use crate::sync::lock;

#[derive(Default)]
pub struct Siprec {
    settings: Mutex<Settings>,
    parties: Arc<Parties>,
    streams: Slots,
    rtcp: Slots,
    live: Mutex<Live>,
    progress: Progress,
    context: Mutex<Option<SiprecAgent>>,
}

#[glib::object_subclass]
impl ObjectSubclass for Siprec {
    const NAME: &'static str = "GstSiprec";
    type Type = super::Siprec;
    type ParentType = gst::Element;
    type Interfaces = (gst::ChildProxy,);
}

impl ObjectImpl for Siprec {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::all()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let mut all = vec![
                action("start", Wish::Start),
                action("stop", Wish::Stop(StopReason::Asked)),
                action("stop-now", Wish::StopNow),
                action("pause", Wish::Pause),
                action("resume", Wish::Resume),
                messages::state_changed(),
            ];
            all.extend(actions::signals());
            all.extend(keys::signals());
            all
        });
        &SIGNALS
    }

    fn set_property(&self, _: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if let Some(index) = party(pspec.name()) {
            if value.get().is_ok_and(|dn| self.parties.set_dn(index, dn)) {
                self.party_changed(index);
            }
        } else {
            lock(&self.settings).set(pspec.name(), value);
            self.warn_of_delay(pspec);
        }
    }

    fn property(&self, _: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "state" => SiprecState::from(self.progress.state()).to_value(),
            "stats" => self.stats().to_value(),
            name => match party(name) {
                Some(index) => self.parties.dn(index).to_value(),
                None => lock(&self.settings).value(name).unwrap_or_else(|| pspec.default_value().clone()),
            },
        }
    }
}

/// The pad whose DN an element's property stands for.
fn party(property: &str) -> Option<u16> {
    match property {
        "dn" => Some(0),
        "other-dn" => Some(1),
        _ => None,
    }
}

fn action(name: &'static str, wish: Wish) -> glib::subclass::Signal {
    glib::subclass::Signal::builder(name)
        .action()
        .class_handler(move |arguments| {
            if let Some(element) = arguments.first().and_then(|value| value.get::<super::Siprec>().ok()) {
                element.imp().wish(wish);
            }
            None
        })
        .build()
}

impl GstObjectImpl for Siprec {}

impl ElementImpl for Siprec {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Call recording client",
                "Filter/Network/RTP",
                "Lets the RTP streams of a call through untouched and has them recorded by a SIP recorder",
                "The gst-siprec authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        templates::all()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        match template.name_template() {
            templates::SINK => self.add_stream(template, name),
            templates::RTCP_SINK => self.add_rtcp(template, name),
            _ => None,
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let (source, slots, number) = if let Some(pad) = pad.downcast_ref::<SiprecSinkPad>() {
            self.stream_removed(pad);
            (pad.source().cloned(), &self.streams, Some(pad.index()))
        } else {
            let number = slots::number("rtcp_sink_", &pad.name());
            let source = number.and_then(|number| self.obj().static_pad(&format!("rtcp_src_{number}")));
            (source, &self.rtcp, number)
        };
        // The source end first: it lets go of a push that is under way.
        for end in source.iter().chain([pad]) {
            let _ = end.set_active(false);
            let _ = self.obj().remove_pad(end);
        }
        if let Some(number) = number {
            slots.free(number);
        }
        if pad.is::<SiprecSinkPad>() {
            self.obj().child_removed(pad, &pad.name());
            self.stream_ended();
        }
    }

    fn set_context(&self, context: &gst::Context) {
        if let Some(agent) = SiprecAgent::of_context(context) {
            lock(&self.context).replace(agent);
        }
        self.parent_set_context(context);
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::NullToReady => {
                if let Err(message) = self.acquire_agent() {
                    self.post_error_message(message);
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::ReadyToPaused => self.call_begins(),
            _ => {}
        }
        let changed = self.parent_change_state(transition);
        match transition {
            gst::StateChange::PausedToReady => self.call_ends(),
            gst::StateChange::ReadyToNull => self.release_agent(),
            _ => {}
        }
        changed
    }
}

impl ChildProxyImpl for Siprec {
    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        self.sink_pads().nth(usize::try_from(index).ok()?).map(glib::object::Cast::upcast)
    }

    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        self.sink_pads().find(|pad| pad.name() == name).map(glib::object::Cast::upcast)
    }

    fn children_count(&self) -> u32 {
        u32::try_from(self.sink_pads().count()).unwrap_or(u32::MAX)
    }
}

impl Siprec {
    /// What the user has set, as of now.
    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(super) fn parties(&self) -> &Parties {
        &self.parties
    }

    pub(super) fn live(&self) -> &Mutex<Live> {
        &self.live
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The pads of the call's streams.
    pub(super) fn sink_pads(&self) -> impl Iterator<Item = SiprecSinkPad> + use<> {
        self.obj().sink_pads().into_iter().filter_map(|pad| pad.downcast().ok())
    }

    /// The agent that the pipeline's context gives, asking the application for one.
    pub(super) fn agent_of_context(&self) -> Option<SiprecAgent> {
        let known = || lock(&self.context).clone();
        known().or_else(|| {
            let element = self.obj();
            let question = gst::message::NeedContext::builder(AGENT_CONTEXT).src(&*element).build();
            // Whoever has one answers by set_context(), before this returns.
            let _ = element.post_message(question);
            known()
        })
    }

    fn add_stream(&self, template: &gst::PadTemplate, name: Option<&str>) -> Option<gst::Pad> {
        let index = self.streams.take("sink_", name)?;
        let source_template = self.obj().pad_template(templates::SRC)?;
        let (sink, source) =
            SiprecSinkPad::with_source((template, &source_template), index, self.parties.clone());
        if !self.add_passage(sink.upcast_ref(), &source) {
            self.streams.free(index);
            return None;
        }
        self.stream_added(&sink);
        self.obj().child_added(&sink, &sink.name());
        Some(sink.upcast())
    }

    fn add_rtcp(&self, template: &gst::PadTemplate, name: Option<&str>) -> Option<gst::Pad> {
        let index = self.rtcp.take("rtcp_sink_", name)?;
        let source_template = self.obj().pad_template(templates::RTCP_SRC)?;
        let names = (format!("rtcp_sink_{index}"), format!("rtcp_src_{index}"));
        let (sink, source) = passage::plain((template, &source_template), (&names.0, &names.1));
        if !self.add_passage(&sink, &source) {
            self.rtcp.free(index);
            return None;
        }
        Some(sink)
    }

    /// Adds both ends, active, the source end last: who links it on `pad-added` finds its sink.
    fn add_passage(&self, sink: &gst::Pad, source: &gst::Pad) -> bool {
        let element = self.obj();
        let _ = source.set_active(true);
        let _ = sink.set_active(true);
        if element.add_pad(sink).is_err() {
            return false;
        }
        if element.add_pad(source).is_err() {
            let _ = element.remove_pad(sink);
            return false;
        }
        true
    }

    fn stats(&self) -> gst::Structure {
        let state = SiprecState::from(self.progress.state());
        self.sink_pads()
            .fold(gst::Structure::builder("siprec-stats").field("state", state), |stats, pad| {
                stats.field(pad.name().as_str(), pad.property::<gst::Structure>("stats"))
            })
            .field("copies", self.progress.copies())
            .build()
    }
}
