//! How an application hears of a recording: element messages, WARNINGs, and the signal `state-changed`.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::{BranchReport, Medium, SessionEvent, SessionEventKind, SessionInfo};

use super::Siprec;
use super::enums::SiprecState;

/// Tells the application of an event. Called on the notifier's thread, with no lock held.
pub(super) fn tell(element: &Siprec, event: &SessionEvent) {
    let info = &event.info;
    match &event.kind {
        SessionEventKind::StateChanged { state, reason } => {
            element.emit_by_name::<()>("state-changed", &[&SiprecState::from(*state), reason]);
        }
        SessionEventKind::Started => post(element, about(info, "siprec-started")),
        SessionEventKind::Paused => post(element, about(info, "siprec-paused")),
        SessionEventKind::Resumed => post(element, about(info, "siprec-resumed")),
        SessionEventKind::Stopped { reason } => {
            post(element, about(info, "siprec-stopped").field("reason", reason.as_str()));
        }
        SessionEventKind::Failed { reason, sip_code } => {
            let message = about(info, "siprec-failed")
                .field("reason", reason.to_string())
                .field_if_some("sip-code", sip_code.map(u32::from));
            post(element, message);
            warn(element, &format!("The recording failed: {reason}"), info);
        }
        SessionEventKind::MediumOff { medium, reason } => {
            if *medium == Medium::Video {
                post(element, about(info, "siprec-video-off").field("reason", reason));
            }
            warn(element, &format!("The recording goes on without {medium}: {reason}"), info);
        }
        SessionEventKind::Gap { packets, duration, cause } => {
            let message = about(info, "siprec-gap")
                .field("reason", cause.as_str())
                .field("packets", *packets)
                .field("duration", nanoseconds(*duration));
            post(element, message);
            let text = format!("The recording has a gap of {packets} packets ({})", cause.as_str());
            warn(element, &text, info);
        }
        SessionEventKind::KeyframeWanted => {
            element.imp().ask_key_frame(info.dn.as_deref());
            post(element, about(info, "siprec-keyframe-wanted"));
        }
        SessionEventKind::Report { medium, report } => {
            post(element, account(about(info, "siprec-report").field("medium", medium.as_str()), report));
        }
    }
}

/// Tells the application that something of the recording failed before there was a session.
pub(super) fn tell_failure(element: &Siprec, dn: Option<&str>, reason: &str) {
    let structure = gst::Structure::builder("siprec-failed").field_if_some("dn", dn).field("reason", reason);
    post(element, structure);
    gst::element_warning!(element, gst::ResourceError::Failed, ("{reason}"), ["dn: {dn:?}"]);
}

type Builder = gst::structure::Builder;

/// The fields that say which session a message speaks of.
fn about(info: &SessionInfo, name: &str) -> Builder {
    gst::Structure::builder(name)
        .field_if_some("session", info.session.as_deref())
        .field("recording-id", info.recording_id.as_str())
        .field("call-uuid", info.call_uuid.as_str())
        .field_if_some("recorder", info.recorder.as_deref())
        .field_if_some("dn", info.dn.as_deref())
}

fn account(message: Builder, report: &BranchReport) -> Builder {
    let message = message
        .field("seen", report.seen)
        .field("sent", report.sent)
        .field("sent-bytes", report.sent_bytes)
        .field("held", report.held)
        .field("gaps", report.gaps)
        .field_if_some("receiver-lost", report.receiver_lost);
    report.drops.iter().fold(message, |message, (cause, packets)| {
        message.field(format!("dropped-{}", cause.as_str()), packets)
    })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn post(element: &Siprec, structure: Builder) {
    let message = gst::message::Element::builder(structure.build()).src(element).build();
    // Without a bus nobody listens.
    let _ = element.post_message(message);
}

fn warn(element: &Siprec, text: &str, info: &SessionInfo) {
    gst::element_warning!(
        element,
        gst::ResourceError::Failed,
        ("{text}"),
        ["recording {} at {:?}, session {:?}", info.recording_id, info.recorder, info.session]
    );
}

/// The signal's declaration.
pub(super) fn state_changed() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("state-changed")
        .param_types([SiprecState::static_type(), String::static_type()])
        .build()
}
