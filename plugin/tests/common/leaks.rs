//! GStreamer's own count of the objects that are alive.

use std::collections::BTreeMap;

use gst::prelude::*;

use super::init;

/// What is made while this counts.
pub(crate) struct Leaks(gst::glib::Object);

impl Leaks {
    /// Counts from now on.
    pub(crate) fn track() -> Self {
        init();
        gst::Plugin::load_by_name("coretracers").unwrap();
        let tracer = gst::glib::Object::with_type(gst::glib::Type::from_name("GstLeaksTracer").unwrap());
        tracer.emit_by_name::<()>("activity-start-tracking", &[]);
        Self(tracer)
    }

    /// Nothing is left of what was made, of which some was of this type.
    pub(crate) fn assert_none_left(&self, seen: &str) {
        let activity = self.0.emit_by_name::<gst::Structure>("activity-get-checkpoint", &[]);
        let objects = |list: &str| -> Vec<(String, String)> {
            let list = activity.get::<gst::List>(list).unwrap();
            let field = |object: &gst::Structure, name: &str| object.get::<String>(name).unwrap();
            list.iter()
                .map(|object| object.get::<gst::Structure>().unwrap())
                .map(|object| (field(&object, "type-name"), field(&object, "address")))
                .collect()
        };
        let mut alive: BTreeMap<_, i32> = BTreeMap::new();
        objects("objects-created-list").into_iter().for_each(|object| *alive.entry(object).or_default() += 1);
        assert!(alive.keys().any(|(kind, _)| kind == seen), "the tracer sees no {seen}");
        objects("objects-removed-list").into_iter().for_each(|object| *alive.entry(object).or_default() -= 1);
        alive.retain(|_, count| *count != 0);
        assert!(alive.is_empty(), "{alive:?}");
    }
}
