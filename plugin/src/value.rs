//! Property values on their way into settings.

use gst::glib;
use gst::glib::value::FromValue;

/// Takes a value that GObject has checked against the property's type; any other changes nothing.
pub(crate) fn take<'v, T: FromValue<'v>>(setting: &mut T, value: &'v glib::Value) {
    if let Ok(given) = value.get() {
        *setting = given;
    }
}
