//! Property values on their way into settings.

use gst::glib;
use gst::glib::value::FromValue;

/// Takes a value that GObject has checked against the property's type; any other changes nothing.
pub(crate) fn take<'v, T: FromValue<'v>>(setting: &mut T, value: &'v glib::Value) {
    if let Ok(given) = value.get() {
        *setting = given;
    }
}

/// The same for a time in ns.
pub(crate) fn take_time(setting: &mut gst::ClockTime, value: &glib::Value) {
    if let Ok(nanoseconds) = value.get() {
        *setting = gst::ClockTime::from_nseconds(nanoseconds);
    }
}
