//! A stream through `siprectee` with one branch, as the tests of encrypted streams lead it.

use gst::prelude::*;

use super::srtp::{Suite, buffer};
use super::{Outlet, Way, siprectee};

/// A stream through a `siprectee`, and one branch.
pub(crate) struct Tee {
    pub(crate) way: Way,
    pub(crate) pad: gst::Pad,
    pub(crate) branch: Outlet,
    pub(crate) bus: gst::Bus,
}

impl Tee {
    /// With a branch that `set` sets up, before the stream's caps come.
    pub(crate) fn new(caps: &gst::Caps, set: impl FnOnce(&gst::Pad)) -> Self {
        Self::of(siprectee(), caps, set)
    }

    pub(crate) fn of(element: gst::Element, caps: &gst::Caps, set: impl FnOnce(&gst::Pad)) -> Self {
        let way = Way::through(element);
        let bus = gst::Bus::new();
        way.element.set_bus(Some(&bus));
        let pad = way.element.request_pad_simple("rec_%u").unwrap();
        set(&pad);
        let branch = Outlet::behind(&pad);
        way.inlet.begin_with(caps);
        Self { way, pad, branch, bus }
    }

    pub(crate) fn push(&self, packet: &[u8]) {
        assert_eq!(self.way.push(buffer(packet)), Ok(gst::FlowSuccess::Ok));
    }

    pub(crate) fn new_caps(&self, caps: &gst::Caps) {
        assert!(self.way.inlet.pad.push_event(gst::event::Caps::new(caps)));
    }

    pub(crate) fn dropped(&self, cause: &str) -> u64 {
        let stats: gst::Structure = self.pad.property("stats");
        let (seen, sent) = (stats.get::<u64>("seen").unwrap(), stats.get::<u64>("sent").unwrap());
        let drops = stats.iter().filter(|(name, _)| name.starts_with("dropped-"));
        assert_eq!(seen, sent + drops.map(|(_, count)| count.get::<u64>().unwrap()).sum::<u64>(), "{stats}");
        stats.get::<u64>(&format!("dropped-{cause}")).unwrap_or(0)
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let text = |message: gst::Message| match message.view() {
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            _ => unreachable!(),
        };
        std::iter::from_fn(|| self.bus.pop_filtered(&[gst::MessageType::Warning])).map(text).collect()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.way.element.set_bus(None::<&gst::Bus>);
    }
}

/// A branch's suite and key.
pub(crate) fn secure(pad: &gst::Pad, suite: Suite, key: &[u8]) {
    pad.set_property_from_str("srtp-suite", &suite.nick());
    pad.set_property("srtp-key", buffer(key));
}
