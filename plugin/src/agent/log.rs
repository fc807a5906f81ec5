//! What the agent logs, in GStreamer's debug category `siprecagent`.

use std::fmt::{self, Write};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("siprecagent", gst::DebugColorFlags::empty(), Some("SIP agent of gst-siprec"))
});

/// GStreamer is gone, or going.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Logs nothing any more.
pub(super) fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// A dispatcher that writes into the category. It is given to the agent's own threads; no global one is set.
pub(super) fn dispatch() -> Dispatch {
    Dispatch::new(ToGStreamer)
}

struct ToGStreamer;

impl Subscriber for ToGStreamer {
    /// The category's threshold may change at any time, and by default `tracing` asks once only.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !SILENT.load(Ordering::Relaxed)
            && (!metadata.is_event() || level(metadata.level()) <= CAT.threshold())
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        CAT.log(
            None::<&gst::glib::Object>,
            level(metadata.level()),
            gst::glib::GStr::from_utf8_until_nul(b"agent\0").unwrap_or_default(),
            metadata.target(),
            metadata.line().unwrap_or(0),
            format_args!("{line}"),
        );
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn level(level: &Level) -> gst::DebugLevel {
    match *level {
        Level::ERROR => gst::DebugLevel::Error,
        Level::WARN => gst::DebugLevel::Warning,
        Level::INFO => gst::DebugLevel::Info,
        Level::DEBUG => gst::DebugLevel::Debug,
        Level::TRACE => gst::DebugLevel::Trace,
    }
}

/// The text of an event: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.message, self.fields)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_threshold_that_is_raised_later_shows_what_was_silent_before() {
        gst::init().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let noted = lines.clone();
        let _log = gst::log::add_log_function(move |category, level, _, _, _, _, message| {
            if category.name() == "siprecagent" {
                noted.lock().unwrap().push((level, message.get().unwrap().to_string()));
            }
        });
        let say = |number: u8| tracing::debug!(number, "said");
        tracing::dispatcher::with_default(&dispatch(), || {
            CAT.set_threshold(gst::DebugLevel::Warning);
            say(1);
            CAT.set_threshold(gst::DebugLevel::Debug);
            say(2);
            CAT.set_threshold(gst::DebugLevel::Warning);
            say(3);
            tracing::warn!("heard");
        });
        let expected = [(gst::DebugLevel::Debug, "said number=2"), (gst::DebugLevel::Warning, "heard")];
        let expected = expected.map(|(level, text)| (level, text.to_owned()));
        assert_eq!(*lines.lock().unwrap(), expected);
    }
}
