//! What GStreamer and our elements say, each source apart, as it is said.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use gst::prelude::*;

use crate::secret::Evidence;

/// What is captured now. Nothing of it belongs to whoever notes it: GStreamer frees a function that is removed while other
/// threads are in it.
static SAID: Mutex<Option<Evidence>> = Mutex::new(None);

/// Adds to a source.
fn add(source: &str, parts: &[Vec<u8>]) {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(evidence) = said.as_mut() {
        parts.iter().for_each(|part| evidence.add(source, part));
    }
}

/// Everything that was said while it lived.
///
/// A source has bytes where its values are bytes (buffers in properties, messages and events), else texts as GStreamer or Rust
/// writes them. A key that is no text cannot stand raw in these: those that the tests choose are texts.
pub(crate) struct Captured {
    /// There is one log.
    _alone: MutexGuard<'static, ()>,
}

impl Captured {
    /// Captures the log from here on: of all categories, at all levels, `log`, but for what the agent says (`tracing`), which
    /// is `agent`.
    pub(crate) fn begin() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        static LISTENS: Once = Once::new();
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = Some(Evidence::default());
        LISTENS.call_once(|| {
            gst::log::add_log_function(|category, level, _, function, _, object, message| {
                // What is written may log in its turn: before the lock.
                let message = message.get();
                let object = object.map(ToString::to_string).unwrap_or_default();
                let line = format!("{} {level:?} {function} {object}: ", category.name()).into_bytes();
                let line = [line.as_slice(), message.as_ref().map_or(b"", |text| text.as_bytes())].concat();
                add(if category.name() == "siprecagent" { "agent" } else { "log" }, &[line]);
            });
            gst::log::remove_default_log_function();
        });
        gst::log::set_default_threshold(gst::DebugLevel::Memdump);
        Self { _alone: alone }
    }

    /// Says this at the last level as our elements do: there is one category of a name.
    pub(crate) fn log(&self, text: &str) {
        let category = gst::DebugCategory::new("siprec", gst::DebugColorFlags::empty(), None);
        gst::memdump!(category, "{text}");
    }

    /// What all was said.
    pub(crate) fn end(self) -> Evidence {
        gst::log::set_default_threshold(gst::DebugLevel::None);
        SAID.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap()
    }

    /// Adds every readable property of an object, and gives their names.
    pub(crate) fn properties(&self, object: &gst::glib::Object) -> Vec<String> {
        let all = object.list_properties();
        let readable =
            all.iter().filter(|property| property.flags().contains(gst::glib::ParamFlags::READABLE));
        let names: Vec<_> = readable.map(|property| property.name().to_owned()).collect();
        names.iter().for_each(|name| self.property("properties", object, name));
        names
    }

    /// Adds one property to a source.
    pub(crate) fn property(&self, source: &str, object: &gst::glib::Object, name: &str) {
        let value = object.property_value(name);
        let mut parts = vec![name.as_bytes().to_vec()];
        if !matches!(value.get::<Option<gst::Structure>>(), Ok(None)) {
            parts.push(format!("{value:?}").into_bytes());
        }
        parts_of_value(&value, &mut parts);
        add(source, &parts);
    }

    /// Adds every message that comes to a bus from here on, whoever takes it from there.
    pub(crate) fn listen(&self, bus: &gst::Bus) {
        bus.set_sync_handler(|_, message| {
            let mut parts = vec![format!("{message:?}").into_bytes()];
            if let Some(structure) = message.structure() {
                parts.push(structure.to_string().into_bytes());
                parts_of(structure, &mut parts);
            }
            add("messages", &parts);
            gst::BusSyncReply::Pass
        });
    }

    /// Adds a graph of a bin with all that can be in one.
    pub(crate) fn graph(&self, bin: &impl IsA<gst::Bin>) {
        let graph = bin.debug_to_dot_data(gst::DebugGraphDetails::all());
        add("graph", &[graph.as_bytes().to_vec()]);
    }

    /// Adds every event that passes a pad from here on.
    pub(crate) fn watch(&self, pad: &gst::Pad) {
        pad.add_probe(gst::PadProbeType::EVENT_BOTH, |_, info| {
            if let Some(event) = info.event() {
                let mut parts = vec![format!("{event:?}").into_bytes()];
                event.structure().iter().for_each(|structure| parts_of(structure, &mut parts));
                add("events", &parts);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

fn parts_of(structure: &gst::StructureRef, parts: &mut Vec<Vec<u8>>) {
    parts.push(structure.name().as_bytes().to_vec());
    for (name, value) in structure.iter() {
        parts.push(name.as_bytes().to_vec());
        parts_of_value(value, parts);
    }
}

/// The bytes and texts that a value is made of, as they are: what GStreamer writes of it may leave buffers out, and escapes texts.
fn parts_of_value(value: &gst::glib::Value, parts: &mut Vec<Vec<u8>>) {
    // What is not there has no bytes, and GStreamer does not write it down.
    if let Ok(structure) = value.get::<Option<gst::Structure>>() {
        structure.iter().for_each(|structure| parts_of(structure, parts));
    } else if let Ok(caps) = value.get::<Option<gst::Caps>>() {
        caps.iter().flat_map(|caps| caps.iter()).for_each(|structure| parts_of(structure, parts));
    } else if let Ok(array) = value.get::<gst::Array>() {
        array.iter().for_each(|value| parts_of_value(value, parts));
    } else if let Ok(list) = value.get::<gst::List>() {
        list.iter().for_each(|value| parts_of_value(value, parts));
    } else if let Ok(buffer) = value.get::<Option<gst::Buffer>>() {
        parts.extend(buffer.map(|buffer| buffer.map_readable().unwrap().to_vec()));
    } else if let Ok(bytes) = value.get::<Option<gst::glib::Bytes>>() {
        parts.extend(bytes.map(|bytes| bytes.to_vec()));
    } else if let Ok(error) = value.get::<Option<gst::glib::Error>>() {
        parts.extend(error.map(|error| error.message().as_bytes().to_vec()));
    } else if let Ok(text) = value.get::<Option<String>>() {
        parts.extend(text.map(String::into_bytes));
    } else if let Ok(text) = value.serialize() {
        parts.push(text.as_bytes().to_vec());
    }
}
