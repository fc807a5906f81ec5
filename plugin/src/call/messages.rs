//! How an application hears of a recording: element messages, WARNINGs, and the signal `state-changed`.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use siprec_model::{
    BranchReport, CallUuid, DropCause, FailureReason, Gap, Medium, RecordingId, SessionEvent,
    SessionEventKind, SessionInfo,
};
use siprec_session::{Indication, News};

use super::Siprec;
use super::enums::SiprecState;
use super::recording::Fault;
use super::whole::{Names, Whole};
use crate::rollover::RolloverDoubt;

/// Tells the application of what happened to a copy, counted from 0. Called on the notifier's thread, with no lock held.
pub(super) fn tell(element: &Siprec, whole: &Arc<Whole>, copy: usize, event: &SessionEvent) {
    let (news, indication) = whole.note(copy, event);
    let about = About { info: &event.info, copy, indication };
    let info = about.info;
    match &event.kind {
        SessionEventKind::StateChanged { .. } => {
            if news.as_ref().is_some_and(|news| news.whole.is_final()) {
                element.imp().recording_ended(whole);
            }
            if let Some(news) = news
                && let Some(reason) = tell_state(element, whole, &about, &news)
            {
                element.emit_by_name::<()>("state-changed", &[&SiprecState::from(news.whole), &reason]);
            }
        }
        SessionEventKind::Started => post(element, about.of_call("siprec-started")),
        SessionEventKind::Paused => post(element, about.of_call("siprec-paused")),
        SessionEventKind::Resumed => post(element, about.of_call("siprec-resumed")),
        SessionEventKind::Stopped { reason, said } => {
            let message = about
                .of_call("siprec-stopped")
                .field("reason", reason.as_str())
                .field_if_some("sip-code", said.cause.map(u32::from))
                .field_if_some("sip-text", said.text.as_deref());
            post(element, message);
        }
        SessionEventKind::Failed { reason, sip_code } => {
            let (sip_code, text) = said(reason, *sip_code);
            let message = about
                .of_call("siprec-failed")
                .field("reason", reason.to_string())
                .field_if_some("sip-code", sip_code.map(u32::from))
                .field_if_some("sip-text", text);
            post(element, message);
            warn(element, &format!("The recording failed: {reason}"), info);
        }
        SessionEventKind::FailedOver { from, uncertain } => {
            let message = about.of_call("siprec-failed-over").field("from", from);
            post(element, message.field("uncertain", nanoseconds(*uncertain)));
        }
        SessionEventKind::MediumOff { medium, reason, .. } => {
            post(element, about.of_call(off(*medium)).field("reason", reason));
            let whose = info.dn.as_ref().map(|dn| format!(" of {dn}")).unwrap_or_default();
            warn(element, &format!("The recording goes on without the {medium}{whose}: {reason}"), info);
        }
        SessionEventKind::MediumOn { medium } => {
            let name = match medium {
                Medium::Audio => "siprec-audio-on",
                Medium::Video => "siprec-video-on",
            };
            post(element, about.of_call(name));
        }
        SessionEventKind::Weakened { reason } => {
            post(element, about.message("siprec-weakened").field("reason", reason));
            warn(element, &format!("The recording is protected less than it could be: {reason}"), info);
        }
        SessionEventKind::Suspected { reason } => {
            post(element, about.message("siprec-suspected").field("reason", reason));
            warn(element, &format!("The recorder may be lost: {reason}"), info);
        }
        SessionEventKind::Gap { medium, gap } => {
            let message = about.message("siprec-gap").field("medium", medium.as_str());
            post(element, hole(message, gap));
            let doubt = element.imp().rollover_doubt(info.dn.as_deref());
            warn(element, &gap_in_words(gap.packets, gap.cause, doubt), info);
        }
        SessionEventKind::KeyframeWanted => {
            element.imp().ask_key_frame(info.dn.as_deref());
            post(element, about.message("siprec-keyframe-wanted"));
        }
        SessionEventKind::Report { medium, report, gaps } => {
            let message = about.message("siprec-report").field("medium", medium.as_str());
            post(element, account(message, report, gaps));
        }
    }
}

/// Tells of a copy's new state and, where its end leaves the call without a recording, what is to become of the call. The state of a
/// recording that another has followed is not the element's any more, nor the call's.
/// Gives the reason of the element's new state, for whoever emits the signal: last, since a handler may end everything.
fn tell_state(element: &Siprec, whole: &Arc<Whole>, about: &About<'_>, news: &News) -> Option<String> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let message = about
        .of_call("siprec-state")
        .field("state", SiprecState::from(news.copy))
        .field("reason", &news.copy_reason)
        .field("whole", SiprecState::from(news.whole))
        .field("copies", number(whole.copies()))
        .field("copies-recording", number(news.recording));
    post(element, message);
    if !element.imp().progress().is_latest(whole) {
        return None;
    }
    if let Some(reason) = news.impossible.as_ref().filter(|_| whole.is_mandatory) {
        let info = &SessionInfo { session: None, recorder: None, dn: None, ..about.info.clone() };
        post(element, About { info, ..*about }.of_whole("siprec-call-must-end").field("reason", reason));
        warn(element, &format!("The call must end, since it cannot be recorded: {reason}"), info);
    }
    news.changed.clone()
}

/// Tells the application of something that the agent knows nothing of. Called with no lock held.
pub(super) fn tell_fault(element: &Siprec, fault: &Fault) {
    let reason = match fault {
        Fault::Start { whole, copy, reason } => return tell_refusal(element, whole, *copy, reason),
        Fault::Stream { dn, medium, reason } => {
            let latest = element.imp().progress().latest();
            let indication = latest.as_ref().map_or(Indication::Off, |whole| whole.indication());
            let names = latest.map_or_else(|| Names::set(&element.imp().settings()), |it| it.names.clone());
            let message = gst::Structure::builder(off(*medium))
                .field_if_some("recording-id", names.recording_id.as_deref())
                .field_if_some("call-uuid", names.call_uuid)
                .field("reason", reason)
                .field_if_some("dn", dn.as_deref())
                .field("GSIP_RECORD", indication.as_str())
                .field_if_some("GSIP_REC_FN", names.recording_id);
            post(element, message);
            reason
        }
        // The recording goes on, or tells of itself.
        Fault::Command(reason) => reason,
    };
    gst::element_warning!(element, gst::ResourceError::Failed, ("{reason}"));
}

/// Tells that a copy cannot begin.
fn tell_refusal(element: &Siprec, whole: &Arc<Whole>, copy: usize, reason: &str) {
    let (news, indication) = whole.refuse(copy, reason);
    let text = |name: &Option<String>| name.clone().unwrap_or_default();
    let info = &SessionInfo {
        session: None,
        recording_id: RecordingId::new(text(&whole.names.recording_id)),
        call_uuid: CallUuid::new(text(&whole.names.call_uuid)),
        recorder: None,
        dn: None,
    };
    let about = About { info, copy, indication };
    post(element, about.of_call("siprec-failed").field("reason", reason));
    gst::element_warning!(element, gst::ResourceError::Failed, ("{reason}"));
    let Some(news) = news else { return };
    if let Some(reason) = tell_state(element, whole, &about, &news) {
        // On a thread of GStreamer's: a handler that starts again at once would else call itself for ever.
        element.call_async(move |element| {
            element.emit_by_name::<()>("state-changed", &[&SiprecState::from(news.whole), &reason]);
        });
    }
}

/// What a message speaks of.
#[derive(Clone, Copy)]
struct About<'a> {
    info: &'a SessionInfo,
    /// Counted from 0.
    copy: usize,
    /// What the call is to be told from now on.
    indication: Indication,
}

impl About<'_> {
    /// A message about a copy's session, or the copy itself.
    fn message(&self, name: &str) -> Builder {
        self.named(name)
            .field("copy", u32::try_from(self.copy).unwrap_or(u32::MAX).saturating_add(1))
            .field_if_some("session", self.info.session.as_deref())
            .field_if_some("recorder", self.info.recorder.as_deref())
            .field_if_some("dn", self.info.dn.as_deref())
    }

    /// The same, of something that the call's parties may have to be told of (`protocol` 1.6).
    fn of_call(&self, name: &str) -> Builder {
        self.indicated(self.message(name))
    }

    /// A message about the recording as a whole, of which the call's parties may have to be told.
    fn of_whole(&self, name: &str) -> Builder {
        self.indicated(self.named(name))
    }

    fn named(&self, name: &str) -> Builder {
        gst::Structure::builder(name)
            .field("recording-id", self.info.recording_id.as_str())
            .field("call-uuid", self.info.call_uuid.as_str())
    }

    fn indicated(&self, message: Builder) -> Builder {
        message
            .field("GSIP_RECORD", self.indication.as_str())
            .field("GSIP_REC_FN", self.info.recording_id.as_str())
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

fn hole(message: Builder, gap: &Gap) -> Builder {
    message
        .field("reason", gap.cause.as_str())
        .field("packets", gap.packets)
        .field("start", nanoseconds(gap.start))
        .field("duration", nanoseconds(gap.duration))
}

fn account(message: Builder, report: &BranchReport, gaps: &[Gap]) -> Builder {
    let holes = gaps.iter().map(|gap| hole(gst::Structure::builder("gap"), gap).build());
    let message = message
        .field("seen", report.seen)
        .field("sent", report.sent)
        .field("sent-bytes", report.sent_bytes)
        .field("held", report.held)
        .field("resent", report.resent)
        .field("retransmitted", report.retransmitted)
        .field("not-retransmitted", report.not_retransmitted)
        .field("gaps", report.gaps)
        .field("holes", gst::Array::new(holes))
        .field_if_some("receiver-lost", report.receiver_lost)
        .field_if_some("rtcp-unsent", Some(report.rtcp_unsent).filter(|packets| *packets > 0));
    report.drops.iter().fold(message, |message, (cause, packets)| {
        message.field(format!("dropped-{}", cause.as_str()), packets)
    })
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Posts a message. The log has each, too, and what is lost as a warning where nobody listens any more, as once the pipeline is in
/// NULL: its bus throws away what is posted then, and does not say so.
fn post(element: &Siprec, structure: Builder) {
    let structure = structure.build();
    let message = gst::message::Element::builder(structure.clone()).src(element).build();
    let is_heard = element.post_message(message).is_ok() && element.current_state() > gst::State::Null;
    let whether = if is_heard { "told" } else { "nobody has heard" };
    if !is_heard && is_loss(&structure) {
        gst::warning!(crate::CAT, obj = element, "{whether}: {structure}");
    } else {
        gst::info!(crate::CAT, obj = element, "{whether}: {structure}");
    }
}

fn is_loss(structure: &gst::Structure) -> bool {
    let number = |field: &str| structure.get::<u64>(field).unwrap_or_default();
    match structure.name().as_str() {
        "siprec-gap" | "siprec-failed" | "siprec-call-must-end" => true,
        "siprec-report" => number("seen") > number("sent"),
        _ => false,
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
fn gap_in_words(packets: u64, cause: DropCause, doubt: RolloverDoubt) -> String {
    let (packets, name) = (packets_in_words(packets), cause.as_str());
    let what = match cause {
        DropCause::NotAuthentic => doubt.in_words(),
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

/// What the recorder has said by SIP where a session has failed.
fn said(reason: &FailureReason, sip_code: Option<u16>) -> (Option<u16>, Option<&str>) {
    match reason {
        FailureReason::Refused { phrase, .. } | FailureReason::DialogUnknown { phrase, .. } => {
            (sip_code, Some(phrase))
        }
        FailureReason::HungUp(said) => (said.cause, said.text.as_deref()),
        _ => (sip_code, None),
    }
}

/// The signal's declaration.
pub(super) fn state_changed() -> glib::subclass::Signal {
    glib::subclass::Signal::builder("state-changed")
        .param_types([SiprecState::static_type(), String::static_type()])
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use siprec_model::HangUp;

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
    fn a_failure_says_what_the_recorder_has_said_before_and_within_the_dialog() {
        let phrase = || "Gone".to_owned();
        let hung_up = HangUp { cause: Some(500), text: Some(phrase()) };
        for (reason, sip_code, expected) in [
            (FailureReason::Refused { code: 486, phrase: phrase() }, Some(486), (Some(486), Some("Gone"))),
            (
                FailureReason::DialogUnknown { code: 481, phrase: phrase() },
                Some(481),
                (Some(481), Some("Gone")),
            ),
            (
                FailureReason::DialogLost("the BYE was answered by 408".to_owned()),
                Some(408),
                (Some(408), None),
            ),
            (FailureReason::HungUp(hung_up), None, (Some(500), Some("Gone"))),
            (FailureReason::Timeout(Duration::from_secs(2)), None, (None, None)),
        ] {
            assert_eq!(said(&reason, sip_code), expected, "{reason}");
        }
    }

    #[test]
    fn a_hole_says_when_it_began_and_how_long_it_is_in_nanoseconds() {
        gst::init().unwrap();
        let (start, duration) = (Duration::from_millis(1500), Duration::from_millis(40));
        let gap = Gap { start, duration, packets: 2, cause: DropCause::RingFull };
        let told = hole(gst::Structure::builder("siprec-gap"), &gap).build();
        assert_eq!(told.get::<u64>("start"), Ok(1_500_000_000));
        assert_eq!(told.get::<u64>("duration"), Ok(40_000_000));
        assert_eq!((told.get::<u64>("packets"), told.get::<&str>("reason")), (Ok(2), Ok("ring-full")));
    }

    #[test]
    fn what_nobody_can_read_is_not_said_to_be_missing() {
        assert_eq!(
            gap_in_words(2, DropCause::QueueFull, RolloverDoubt::None),
            "The recording has a gap of 2 packets (queue-full)"
        );
        for cause in [DropCause::NotAuthentic, DropCause::NoKey] {
            let text = gap_in_words(1, cause, RolloverDoubt::Given);
            assert!(text.starts_with("Dropped 1 packet ") && text.contains(cause.as_str()), "{text}");
            assert!(text.contains("where the stream has nothing else"), "{text}");
        }
    }

    #[test]
    fn one_packet_is_no_packets() {
        assert_eq!([0, 1, 2].map(packets_in_words), ["0 packets", "1 packet", "2 packets"]);
    }
}
