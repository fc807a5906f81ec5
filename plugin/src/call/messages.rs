//! How an application hears of a recording: element messages, WARNINGs, and the signal `state-changed`.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::{BranchReport, DropCause, Medium, SessionEvent, SessionEventKind, SessionInfo};

use super::Siprec;
use super::enums::SiprecState;
use super::recording::Fault;

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
        SessionEventKind::FailedOver { from, uncertain } => {
            let message = about(info, "siprec-failed-over").field("from", from);
            post(element, message.field("uncertain", nanoseconds(*uncertain)));
        }
        SessionEventKind::MediumOff { medium, reason } => {
            post(element, about(info, off(*medium)).field("reason", reason));
            let whose = info.dn.as_ref().map(|dn| format!(" of {dn}")).unwrap_or_default();
            warn(element, &format!("The recording goes on without the {medium}{whose}: {reason}"), info);
        }
        SessionEventKind::MediumOn { medium } => {
            let name = match medium {
                Medium::Audio => "siprec-audio-on",
                Medium::Video => "siprec-video-on",
            };
            post(element, about(info, name));
        }
        SessionEventKind::Weakened { reason } => {
            post(element, about(info, "siprec-weakened").field("reason", reason));
            warn(element, &format!("The recording is protected less than it could be: {reason}"), info);
        }
        SessionEventKind::Suspected { reason } => {
            post(element, about(info, "siprec-suspected").field("reason", reason));
            warn(element, &format!("The recorder may be lost: {reason}"), info);
        }
        SessionEventKind::Gap { medium, packets, duration, cause } => {
            let message = about(info, "siprec-gap")
                .field("medium", medium.as_str())
                .field("reason", cause.as_str())
                .field("packets", *packets)
                .field("duration", nanoseconds(*duration));
            post(element, message);
            warn(element, &gap_in_words(*packets, *cause), info);
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

/// Tells the application of something that the agent knows nothing of. Called with no lock held.
pub(super) fn tell_fault(element: &Siprec, fault: &Fault) {
    let (Fault::Start(reason) | Fault::Stream { reason, .. } | Fault::Command(reason)) = fault;
    let settings = element.imp().settings();
    let named = |name: &str| {
        gst::Structure::builder(name)
            .field_if_some("recording-id", settings.recording_id.as_deref())
            .field_if_some("call-uuid", settings.call_uuid.as_deref())
            .field("reason", reason)
    };
    match fault {
        Fault::Start(_) => post(element, named("siprec-failed")),
        Fault::Stream { dn, medium, .. } => {
            post(element, named(off(*medium)).field_if_some("dn", dn.as_deref()));
        }
        // The recording goes on, as it was.
        Fault::Command(_) => {}
    }
    gst::element_warning!(element, gst::ResourceError::Failed, ("{reason}"));
    if let Fault::Start(reason) = fault {
        // On a thread of GStreamer's: a handler that starts again at once would else call itself for ever.
        let reason = reason.clone();
        element.call_async(move |element| {
            element.emit_by_name::<()>("state-changed", &[&SiprecState::Failed, &reason]);
        });
    }
}

/// The message that a medium is not recorded although the call has it.
fn off(medium: Medium) -> &'static str {
    match medium {
        Medium::Audio => "siprec-audio-off",
        Medium::Video => "siprec-video-off",
    }
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
        .field("resent", report.resent)
        .field("gaps", report.gaps)
        .field_if_some("receiver-lost", report.receiver_lost);
    report.drops.iter().fold(message, |message, (cause, packets)| {
        message.field(format!("dropped-{}", cause.as_str()), packets)
    })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Posts a message. Where nobody listens any more, as once the pipeline is in NULL, the log has it.
fn post(element: &Siprec, structure: Builder) {
    let structure = structure.build();
    let message = gst::message::Element::builder(structure.clone()).src(element).build();
    if element.post_message(message).is_err() {
        let number = |field: &str| structure.get::<u64>(field).unwrap_or_default();
        let is_loss = match structure.name().as_str() {
            "siprec-gap" | "siprec-failed" => true,
            "siprec-report" => number("seen") > number("sent"),
            _ => false,
        };
        if is_loss {
            gst::warning!(crate::CAT, obj = element, "nobody has heard: {structure}");
        } else {
            gst::info!(crate::CAT, obj = element, "nobody has heard: {structure}");
        }
    }
}

fn warn(element: &Siprec, text: &str, info: &SessionInfo) {
    gst::element_warning!(element, gst::ResourceError::Failed, ("{text}"), ["{}", whence(info)]);
}

fn packets_in_words(count: u64) -> String {
    match count {
        1 => "1 packet".to_owned(),
        count => format!("{count} packets"),
    }
}

/// What is lost. Of packets that nobody can read it is not known that they belonged to the call.
fn gap_in_words(packets: u64, cause: DropCause) -> String {
    let (packets, name) = (packets_in_words(packets), cause.as_str());
    let what = match cause {
        DropCause::NotAuthentic => "forged, damaged or under another key",
        DropCause::NoKey => "under a key that nobody gave",
        _ => return format!("The recording has a gap of {packets} ({name})"),
    };
    format!(
        "Dropped {packets} that came {what} ({name}): the recording has a gap where the stream has nothing else"
    )
}

/// Which recording and which session of it, in words.
fn whence(info: &SessionInfo) -> String {
    let mut text = format!("recording {}", info.recording_id.as_str());
    for (what, value) in [(" at ", &info.recorder), (", session ", &info.session)] {
        if let Some(value) = value {
            text.push_str(what);
            text.push_str(value);
        }
    }
    text
}

/// The signal's declaration.
pub(super) fn state_changed() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("state-changed")
        .param_types([SiprecState::static_type(), String::static_type()])
        .build()
}

#[cfg(test)]
mod tests {
    use siprec_model::{CallUuid, RecordingId};

    use super::*;

    #[test]
    fn a_warning_says_whence_it_is_in_words() {
        let mut info = SessionInfo {
            session: None,
            recording_id: RecordingId::new("R1"),
            call_uuid: CallUuid::new("U1"),
            recorder: None,
            dn: None,
        };
        assert_eq!(whence(&info), "recording R1");
        info.recorder = Some("sip:rec.example".to_owned());
        info.session = Some("abc".to_owned());
        assert_eq!(whence(&info), "recording R1 at sip:rec.example, session abc");
    }

    #[test]
    fn what_nobody_can_read_is_not_said_to_be_missing() {
        assert_eq!(
            gap_in_words(2, DropCause::QueueFull),
            "The recording has a gap of 2 packets (queue-full)"
        );
        for cause in [DropCause::NotAuthentic, DropCause::NoKey] {
            let text = gap_in_words(1, cause);
            assert!(text.starts_with("Dropped 1 packet ") && text.contains(cause.as_str()), "{text}");
            assert!(text.contains("where the stream has nothing else"), "{text}");
        }
    }

    #[test]
    fn one_packet_is_no_packets() {
        assert_eq!([0, 1, 2].map(packets_in_words), ["0 packets", "1 packet", "2 packets"]);
    }
}
